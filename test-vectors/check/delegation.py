"""Delegations: the grammar of a scope, what is in it, what lies within another one, and bounds (spec/delegation.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import policy as language
import shapes as s
from records import Record
from rules import RuleError

#: From and until, both ends included. Where nothing says when it ends, it does not.
Window = tuple[int, float]


@dataclass
class Link:
    """A delegation in effect, and what the executions under it took."""

    record: Record
    above: Link | None  # the one that it narrows; none above that of the authority
    executions: int = 0
    spent: Fraction = Fraction(0)  # exact, which sums of Decimal are not

    @property
    def chain(self) -> list[Link]:
        """From this one up to that of the authority."""
        return [self, *(self.above.chain if self.above else [])]

    @property
    def delegate(self) -> dict[str, str]:
        delegate: dict[str, str] = self.record.body["delegate"]
        return delegate

    @property
    def validity(self) -> list[Window]:
        """§5: the window that its `not_before` and `not_after` make, if one of them stands."""
        body = self.record.body
        if "not_before" not in body and "not_after" not in body:
            return []
        return [(body.get("not_before", 0), body.get("not_after", math.inf))]

    def check(self, cost: tuple[Decimal, str] | None, *, is_retry: bool = False) -> None:
        """R-DEL-07, for an execution of this cost; None if the policy does not know it.

        For a retry nothing has to be left.
        """
        body = self.record.body
        if not is_retry and self.executions >= body.get("uses", math.inf):
            raise RuleError("R-DEL-07", "uses")
        if "spend" not in body:
            return
        if cost is None:
            raise RuleError("R-DEL-07", "the cost is not known")
        amount, currency = cost
        before = {"per_action": Fraction(0), "total": self.spent}
        for name, bound in body["spend"].items():
            if currency != bound["currency"]:
                raise RuleError("R-DEL-07", name)
            if is_retry and name == "total":
                continue
            if before[name] + Fraction(amount) > Fraction(bound["amount"]):
                raise RuleError("R-DEL-07", name)

    def take(self, cost: tuple[Decimal, str] | None) -> None:
        """Counts an execution. What it cost is added up only where `check` demands that it is known."""
        self.executions += 1
        if "spend" in self.record.body:
            assert cost is not None
            self.spent += Fraction(cost[0])


# §1: the grammar of a scope, and what is in it ------------------------------------------------------------------------


def check_scope(scope: list[dict[str, Any]]) -> None:
    """R-DEL-01."""
    try:
        for entry in scope:
            language.glob(entry["tool"])
            if "target" in entry:
                language.glob(entry["target"])
            if "arguments" in entry:
                _check_arguments(entry["arguments"])
    except RuleError as error:
        raise RuleError("R-DEL-01", error.detail) from None


def _check_arguments(arguments: dict[str, Any]) -> None:
    s.mapping(s.pointer, language.tests, 64)(arguments)
    if not arguments or not all(arguments.values()):
        s.fail("no argument, or no test of one")


def in_scope(action: dict[str, Any], scope: list[dict[str, Any]]) -> bool:
    return any(_in_entry(action, entry) for entry in scope)


def _in_entry(action: dict[str, Any], entry: dict[str, Any]) -> bool:
    """What is unresolved holds nothing."""
    return (
        language.matches(entry["tool"], action["tool"])
        and ("target" not in entry or ("target" in action and language.matches(entry["target"], action["target"])))
        and all(
            language.test_at(path, name, bound, action) is True
            for path, tests in entry.get("arguments", {}).items()
            for name, bound in tests.items()
        )
    )


# §2: narrowing --------------------------------------------------------------------------------------------------------


def check_narrowing(body: dict[str, Any], other: dict[str, Any]) -> None:
    """R-DEL-03: the table of §2. `body` is that of the delegation that narrows the other one."""
    held = {
        "scope": all(any(_entry_within(one, entry) for entry in other["scope"]) for one in body["scope"]),
        "depth": body["depth"] < other["depth"],
        "spend": _spend_within(body.get("spend", {}), other.get("spend", {})),
        "uses": body.get("uses", 0) <= other.get("uses", math.inf),
        "not_after": body.get("not_after", 0) <= other.get("not_after", math.inf),
        "not_before": body.get("not_before", math.inf) >= other.get("not_before", 0),
        "audience": body.get("audience", other.get("audience")) == other.get("audience", body.get("audience")),
    }
    for name, holds in held.items():
        if not holds:
            raise RuleError("R-DEL-03", name)


def _entry_within(one: dict[str, Any], other: dict[str, Any]) -> bool:
    arguments = one.get("arguments", {})
    return (
        glob_within(one["tool"], other["tool"])
        and ("target" not in other or ("target" in one and glob_within(one["target"], other["target"])))
        and all(
            any(_test_within(test, (name, bound)) for test in arguments.get(path, {}).items())
            for path, tests in other.get("arguments", {}).items()
            for name, bound in tests.items()
        )
    )


def glob_within(one: str, other: str) -> bool:
    """Whether the other matches every string that the one matches."""
    strange = next(char for char in map(chr, range(0xE000, 0xF8FF)) if char not in one + other)
    return language.matches(other, one.replace("*", strange))


def _test_within(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    (name, bound), (wanted, limit) = one, other
    if name == "one_of":
        return all(language.passes(wanted, limit, value) is True for value in bound)
    if wanted == "present":
        return one == other or (limit and name != "present")
    if name != wanted:
        return False
    if name == "glob":
        return glob_within(bound, limit)
    return Decimal(bound) >= Decimal(limit) if name == "over" else Decimal(bound) <= Decimal(limit)


def _spend_within(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[name]["currency"] == other[name]["currency"]
        and Decimal(one[name]["amount"]) <= Decimal(other[name]["amount"])
        for name in one.keys() & other.keys()
    )
