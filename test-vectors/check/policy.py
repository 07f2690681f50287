"""Policy documents in the languages counterfoil-policy/0 and /1 (spec/policy.md)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import shapes as s
from rules import RuleError
from strictjson import canonical

SCHEMES = ("ed25519", "mldsa44", "p256", "sshsig-ed25519", "webauthn-p256")
SURFACES = ("independent_page", "link", "none", "operator_page", "terminal")
RISKS = ("low", "medium", "high", "critical")

# Which documents are readable -----------------------------------------------------------------------------------------

_uses = s.integer(1, 1000)
_window = s.integer(1, 31_622_400_000)

_document_0 = s.obj(
    break_glass=s.boolean,
    language=s.one_of("counterfoil-policy/0"),
    rule=s.obj(
        count=s.integer(1, 16),
        role=s.one_of("human"),
        groups=s.ascending(s.principal, 0, 32),
        segregation=s.boolean,
        uses=_uses,
        window=_window,
    ),
)


def _array(element: s.Check, low: int, high: int) -> s.Check:
    def check(value: Any) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            s.fail(f"no array of {low} to {high}")
        for one in value:
            element(one)

    return check


def _one_member(**members: s.Check) -> s.Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= members.keys():
            s.fail(f"not exactly one of {sorted(members)}")
        for name, inner in value.items():
            members[name](inner)

    return check


def glob(value: Any) -> None:
    if not isinstance(value, str) or not 1 <= len(value.encode()) <= 256 or value.count("*") > 8:
        s.fail("no glob")


def _literal_order(value: Any) -> tuple[Any, ...]:
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, int):
        return (2, value)
    if isinstance(value, str):
        return (3, value.encode())
    raise RuleError("R-REC-06", "no value that an argument is compared with")


def _literals(value: Any) -> None:
    _array(lambda one: None, 1, 64)(value)
    order = [_literal_order(one) for one in value]
    if any(a >= b for a, b in zip(order, order[1:], strict=False)):
        s.fail("one_of does not ascend")


_tests: dict[str, s.Check] = {
    "one_of_": _literals,
    "glob_": glob,
    "over_": s.amount,
    "at_most_": s.amount,
    "present_": s.boolean,
}
tests = s.obj(**_tests)  # of the value at one pointer, any number of them
_argument = s.obj(path=s.pointer, **_tests)


def _test_of_argument(value: Any) -> None:
    _argument(value)
    if len(value) != 2:
        s.fail("path and one test")


_cost = s.obj(amount=s.amount, currency=s.currency)
_tags = s.ascending(s.label, 1, 32)


def _delegation(value: Any) -> None:
    """Whether there is one, or ids of links."""
    if not isinstance(value, bool):
        s.ascending(s.hash_, 1, 32)(value)


_leaf: dict[str, s.Check] = {
    "always": s.one_of(True),
    "tool": glob,
    "target": glob,
    "mode": s.one_of("apply", "preview"),
    "definition": s.ascending(s.hash_, 1, 64),
    "argument": _test_of_argument,
    "cost": _one_member(over=_cost, at_most=_cost),
    "risk": s.obj(at_least=s.one_of(*RISKS)),
    "tags": _one_member(any=_tags, all=_tags, none=_tags),
    "principal": s.ascending(s.principal, 1, 64),
    "group": s.ascending(s.principal, 1, 32),
    "delegation": _delegation,
}


def _matcher(value: Any, depth: int = 1) -> int:
    """How many matchers it is, itself counted."""
    if depth > 8:
        s.fail("matchers nest more than 8 deep")
    if not isinstance(value, dict) or len(value) != 1:
        s.fail("a matcher has one member")
    ((name, inner),) = value.items()
    if name in ("all", "any"):
        _array(lambda one: None, 1, 64)(inner)
        return 1 + sum(_matcher(one, depth + 1) for one in inner)
    if name == "not":
        return 1 + _matcher(inner, depth + 1)
    if name not in _leaf:
        s.fail(f"no matcher {name}")
    _leaf[name](inner)
    return 1


_requirement = s.obj(
    count=s.integer(1, 16),
    principals_=s.ascending(s.principal, 1, 64),
    groups_=s.ascending(s.principal, 1, 32),
    schemes_=s.ascending(s.one_of(*SCHEMES), 1, 5),
    surfaces_=s.ascending(s.one_of(*SURFACES), 1, 5),
)


def _anything(value: Any) -> None:
    pass


_after = s.integer(1, 31_622_400_000)
_asked = s.obj(groups_=s.ascending(s.principal, 1, 16), principals_=s.ascending(s.principal, 1, 16))


def _to(value: Any) -> None:
    _asked(value)
    if not value:
        s.fail("a step asks somebody")


_common: dict[str, s.Check] = {"name": s.principal, "match": _anything}
_conduct: dict[str, s.Check] = {
    "evidence_": s.ascending(s.one_of("completeness", "freshness", "witnessed"), 1, 3),
    "preview_": s.boolean,
    "retries_": s.integer(1, 16),
}
_rules: dict[str, s.Check] = {
    "allow": s.obj(effect=s.one_of("allow"), uses=_uses, **_conduct, **_common),
    "deny": s.obj(effect=s.one_of("deny"), **_common),
    "require": s.obj(
        effect=s.one_of("require"),
        uses=_uses,
        requirements=_array(_requirement, 1, 8),
        window=_window,
        segregation=s.boolean,
        break_glass_=s.boolean,
        escalation_=_array(s.obj(after=_after, to=_to), 1, 16),
        timeout_=s.obj(after=_after, then=s.one_of("approve", "reject")),
        **_conduct,
        **_common,
    ),
}


def _rule(value: Any) -> None:
    effect = value.get("effect") if isinstance(value, dict) else None
    if not isinstance(effect, str) or effect not in _rules:
        s.fail("no effect")
    _rules[effect](value)
    if effect == "require" and sum(one["count"] for one in value["requirements"]) > 16:
        s.fail("more than 16 approvers")
    times = [step["after"] for step in value.get("escalation", [])]
    times += [value["timeout"]["after"]] if "timeout" in value else []
    if any(one >= two for one, two in zip(times, times[1:], strict=False)):
        s.fail("steps ascend by time, and come before the time-out")


def _source(value: Any) -> None:
    s.obj(tool=glob, amount=s.pointer, currency_=s.currency, currency_at_=s.pointer)(value)
    if ("currency" in value) == ("currency_at" in value):
        s.fail("exactly one of currency and currency_at")


_document_1 = s.obj(
    language=s.one_of("counterfoil-policy/1"),
    rules=_array(_rule, 1, 1000),
    costs_=_array(_source, 0, 256),
    free_=_array(s.obj(tool=glob, paths=s.ascending(s.pointer, 1, 32)), 0, 256),
)


def _check(document: Any) -> None:
    if isinstance(document, dict) and document.get("language") == "counterfoil-policy/0":
        _document_0(document)
        return
    _document_1(document)
    if len(canonical(document)) > 1_048_576:
        s.fail("more than 1,048,576 bytes")
    counts = [_matcher(rule["match"]) for rule in document["rules"]]
    if max(counts) > 128 or sum(counts) > 8192:
        s.fail("too many matchers")
    if len({rule["name"] for rule in document["rules"]}) < len(counts):
        s.fail("two rules of one name")


def readable(document: Any) -> bool:
    """R-POL-01, without the digest."""
    try:
        _check(document)
    except RuleError:
        return False
    return True


# What a document says of an action ------------------------------------------------------------------------------------


@dataclass
class Request:
    """An action, and what is known of its proposal; `groups` are the proposer's at the proposal's index.

    `links` are the ids of the delegations under which it acts, none if it acts under none.
    """

    action: dict[str, Any]
    risk: str
    tags: list[str]
    proposer: str
    groups: frozenset[str]
    links: frozenset[str] = frozenset()


@dataclass
class Approval:
    """A decision, who decided, and their groups at the decision's index.

    By link, the principal is the approver, and the signer another. By time-out, it says `rule`, and nobody decided.
    `escalated` are the steps that stood before it and let those decide whom they ask: names of rules, and steps counted
    from 1.
    """

    principal: str
    role: str
    groups: frozenset[str]
    surface: str
    scheme: str
    uses: int
    window: int
    rule: str | None = None
    escalated: frozenset[tuple[str, int]] = frozenset()
    signer: str | None = None  # who signed it, if not the principal

    @property
    def people(self) -> set[str]:
        """From whom it comes: by time-out from nobody, by link from the approver and whoever signed."""
        return set() if self.rule is not None else {self.principal, self.signer or self.principal}

    @property
    def is_link(self) -> bool:
        return self.role == "policy" and self.rule is None and self.surface == "link"


@dataclass
class Assessment:
    """`says` is allowed, required, or the rule that is broken: R-EXEC-15, R-EXEC-16."""

    says: str
    rules: list[dict[str, Any]]

    @property
    def uses(self) -> int:
        return min(rule["uses"] for rule in self.rules)

    @property
    def retries(self) -> int:
        """How often a use may be tried again; where the action is denied, never."""
        says = [rule.get("retries", 0) for rule in self.rules] if self.says in ("allowed", "required") else []
        return min(says, default=0)

    @property
    def preview(self) -> bool:
        """Whether what is applied has to have been previewed."""
        return self.says in ("allowed", "required") and any(rule.get("preview", False) for rule in self.rules)

    @property
    def evidence(self) -> list[str]:
        """What a gate has to be shown first: what any rule demands."""
        rules = self.rules if self.says in ("allowed", "required") else []
        return sorted({one for rule in rules for one in rule.get("evidence", [])})

    @property
    def break_glass(self) -> bool:
        return self.says == "required" and all(rule.get("break_glass", False) for rule in self.rules)

    def entitles(self, one: Approval) -> bool:
        if self.says != "required":
            return one.role == "human"
        return any(_entitles(rule, place, one) for rule in self.rules for place in rule["requirements"])

    def entitles_against(self, one: Approval) -> bool:
        """Whom a rule asks may say no on every surface, with every key of theirs."""
        if self.says != "required" or one.role != "human":
            return self.entitles(one)
        return any(_asks(rule, place, one) for rule in self.rules for place in rule["requirements"])

    def timed(self, name: str) -> dict[str, Any] | None:
        """The rule of that name, if it applies and can have timers."""
        found = [rule for rule in self.rules if self.says == "required" and rule["name"] == name]
        return found[0] if found else None

    def check_terms(self, involved: set[str], approvals: list[Approval]) -> None:
        """R-EXEC-12 and R-EXEC-07, for every rule that applies."""
        for rule in self.rules:
            if any(one.uses > rule["uses"] or one.window > rule["window"] for one in approvals):
                raise RuleError("R-EXEC-12", rule["name"])
        for rule in self.rules:
            if rule["segregation"] and any(one.people & involved for one in approvals):
                raise RuleError("R-EXEC-07", rule["name"])

    def is_met(self, rule: dict[str, Any], approvals: list[Approval]) -> bool:
        """Whether these approvals meet the requirements of a rule, or an approval by its time-out is among them."""
        if rule.get("timeout", {}).get("then") == "approve" and any(one.rule == rule["name"] for one in approvals):
            return True
        places = [one for one in rule["requirements"] for _ in range(one["count"])]
        return _placed(rule, places, _by_principal([one for one in approvals if one.rule is None]))

    def is_due(self, rule: dict[str, Any], involved: set[str], approvals: list[Approval]) -> bool:
        """Whether the rule is *not met*; `involved` is whoever is, without a runtime."""
        counting = []
        for one in approvals:
            try:
                self.check_terms(involved, [one])
            except RuleError:
                continue
            counting.append(one)
        return not self.is_met(rule, counting)

    def judge(self, involved: set[str], approvals: list[Approval], *, lacks_preview: bool = False) -> int:
        """The uses that are granted; or the rule that does not hold. `lacks_preview`: it is applied, and was not previewed."""
        if lacks_preview and self.preview:
            raise RuleError("R-EXEC-17")
        if self.says == "required":
            self.check_terms(involved, approvals)
            for rule in self.rules:
                if not self.is_met(rule, approvals):
                    raise RuleError("R-EXEC-06", rule["name"])
        elif self.says != "allowed":
            raise RuleError(self.says)
        return min([self.uses, *(one.uses for one in approvals)])


def _as_1(document: dict[str, Any]) -> dict[str, Any]:
    """spec/policy.md §2: a document of language 0, as rules of language 1."""
    old = document["rule"]
    requirement: dict[str, Any] = {"count": old["count"], "surfaces": list(SURFACES)}
    if old["groups"]:
        requirement["groups"] = old["groups"]
    rule = {name: old[name] for name in ("uses", "window", "segregation")}
    rule |= {"name": "rule", "effect": "require", "match": {"always": True}, "requirements": [requirement]}
    rule |= {"no_links": True}  # which no document can say
    return {"rules": [rule | {"break_glass": document["break_glass"]}]}


def assess(document: dict[str, Any], request: Request) -> Assessment:
    if document["language"] == "counterfoil-policy/0":
        return Assessment("required", _as_1(document)["rules"])
    tool = request.action["tool"]
    listed = {path for entry in document.get("free", []) if matches(entry["tool"], tool) for path in entry["paths"]}
    if not set(request.action.get("free", [])) <= listed:
        return Assessment("R-EXEC-16", [])

    def such(effect: str, *answers: bool | None) -> list[dict[str, Any]]:
        rules = [rule for rule in document["rules"] if rule["effect"] == effect]
        return [rule for rule in rules if _test(rule["match"], document, request) in answers]

    if denying := such("deny", True, None):
        return Assessment("R-EXEC-15", denying)
    if requiring := such("require", True, None):
        return Assessment("required", requiring)
    allowing = such("allow", True)
    return Assessment("allowed" if allowing else "R-EXEC-15", allowing)


def answers(document: dict[str, Any], request: Request) -> dict[str, str]:
    """What the matcher of each rule answers, by the rule's name."""
    words = {True: "yes", False: "no", None: "unresolved"}
    return {rule["name"]: words[_test(rule["match"], document, request)] for rule in document["rules"]}


# Matchers: True, False, or None for unresolved ------------------------------------------------------------------------


def _test(matcher: dict[str, Any], document: dict[str, Any], request: Request) -> bool | None:
    ((name, inner),) = matcher.items()
    if name in ("all", "any"):
        decisive = name == "any"
        answers = {_test(one, document, request) for one in inner}
        return decisive if decisive in answers else None if None in answers else not decisive
    if name == "not":
        answer = _test(inner, document, request)
        return None if answer is None else not answer
    return LEAVES[name](inner, document, request)


def _test_argument(inner: dict[str, Any], document: dict[str, Any], request: Request) -> bool | None:
    ((name, bound),) = ((name, bound) for name, bound in inner.items() if name != "path")
    return test_at(inner["path"], name, bound, request.action)


def test_at(path: str, name: str, bound: Any, action: dict[str, Any]) -> bool | None:
    """What a test answers of the argument at a pointer."""
    found, value = _find(action, path)
    if name == "present":
        return None if found is None else found is bound
    return passes(name, bound, value) if found else None


def passes(name: str, bound: Any, value: Any) -> bool | None:
    """What a test answers of a value that is there."""
    if name == "present":
        return bool(bound)
    if name == "one_of":
        return any(type(one) is type(value) and one == value for one in bound)
    if name == "glob":
        return isinstance(value, str) and matches(bound, value)
    number = _number(value)
    if number is None:
        return None
    return number > Decimal(bound) if name == "over" else number <= Decimal(bound)


def _test_cost(inner: dict[str, Any], document: dict[str, Any], request: Request) -> bool | None:
    ((side, bound),) = inner.items()
    cost = cost_of(document, request.action)
    if cost is None:
        return None
    amount, currency = cost
    if currency != bound["currency"]:
        return None
    return amount > Decimal(bound["amount"]) if side == "over" else amount <= Decimal(bound["amount"])


def cost_of(document: dict[str, Any], action: dict[str, Any]) -> tuple[Decimal, str] | None:
    """The cost of an action, if the policy knows it."""
    tool = action["tool"]
    costs = {_cost_by(one, action) for one in document.get("costs", []) if matches(one["tool"], tool)}
    return costs.pop() if len(costs) == 1 else None


def _test_delegation(inner: bool | list[str], document: dict[str, Any], request: Request) -> bool:
    return bool(request.links) is inner if isinstance(inner, bool) else bool(request.links & set(inner))


def _cost_by(source: dict[str, Any], action: dict[str, Any]) -> tuple[Decimal, str] | None:
    found, value = _find(action, source["amount"])
    amount = _number(value) if found else None
    currency = source.get("currency")
    if currency is None:
        found, currency = _find(action, source["currency_at"])
        if not found or not isinstance(currency, str) or not re.fullmatch("[A-Z0-9]{3,12}", currency):
            return None
    return None if amount is None or amount < 0 else (amount, currency)


def _test_tags(inner: dict[str, Any], document: dict[str, Any], request: Request) -> bool:
    ((share, tags),) = inner.items()
    present = [tag in request.tags for tag in tags]
    return not any(present) if share == "none" else any(present) if share == "any" else all(present)


LEAVES: dict[str, Callable[[Any, dict[str, Any], Request], bool | None]] = {
    "always": lambda inner, document, request: True,
    "tool": lambda inner, document, request: matches(inner, request.action["tool"]),
    "target": lambda inner, document, request: (
        "target" in request.action and matches(inner, request.action["target"])
    ),
    "mode": lambda inner, document, request: inner == request.action["mode"],
    "definition": lambda inner, document, request: request.action.get("connector", {}).get("schema") in inner,
    "argument": _test_argument,
    "cost": _test_cost,
    "risk": lambda inner, document, request: RISKS.index(request.risk) >= RISKS.index(inner["at_least"]),
    "tags": _test_tags,
    "principal": lambda inner, document, request: request.proposer in inner,
    "group": lambda inner, document, request: bool(request.groups & set(inner)),
    "delegation": _test_delegation,
}


def matches(pattern: str, text: str) -> bool:
    parts = [re.escape(part) for part in pattern.encode().split(b"*")]
    return re.fullmatch(b".*".join(parts), text.encode(), re.DOTALL) is not None


def _find(action: dict[str, Any], path: str) -> tuple[bool | None, Any]:
    """Whether there is a value at the path, None if that is not known; and the value."""
    hidden: Iterable[str] = [*action.get("committed", {}), *action.get("free", [])]
    for other in hidden:
        if (path + "/").startswith(other + "/") or (other + "/").startswith(path + "/"):
            return None, None
    value = action["arguments"]
    for token in path.split("/")[1:]:
        token = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and re.fullmatch("0|[1-9][0-9]*", token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return False, None
    return True, value


def _number(value: Any) -> Decimal | None:
    if type(value) is int:
        return Decimal(value)
    try:
        s.amount(value)
    except RuleError:
        return None
    return Decimal(value)


# Approvals ------------------------------------------------------------------------------------------------------------


def _asks(rule: dict[str, Any], requirement: dict[str, Any], one: Approval) -> bool:
    belongs = "principals" not in requirement and "groups" not in requirement
    belongs = belongs or one.principal in requirement.get("principals", [])
    belongs = belongs or bool(one.groups & set(requirement.get("groups", [])))
    for number, step in enumerate(rule.get("escalation", []), 1):
        if (rule["name"], number) in one.escalated:
            belongs = belongs or one.principal in step["to"].get("principals", [])
            belongs = belongs or bool(one.groups & set(step["to"].get("groups", [])))
    return belongs


def _entitles(rule: dict[str, Any], requirement: dict[str, Any], one: Approval) -> bool:
    usual = ["independent_page", "operator_page", "terminal"]
    return (
        (one.role == "human" or (one.is_link and "no_links" not in rule))
        and _asks(rule, requirement, one)
        and one.scheme in requirement.get("schemes", SCHEMES)
        and one.surface in requirement.get("surfaces", usual)
    )


def _by_principal(approvals: list[Approval]) -> list[list[Approval]]:
    return [[one for one in approvals if one.principal == name] for name in sorted({one.principal for one in approvals})]


def _placed(rule: dict[str, Any], places: list[dict[str, Any]], people: list[list[Approval]]) -> bool:
    """Whether each place can have somebody of its own. By sets of people, so that equal choices are tried once."""
    reached = {frozenset[int]()}
    for place in places:
        able = {at for at, decisions in enumerate(people) if any(_entitles(rule, place, one) for one in decisions)}
        reached = {taken | {at} for taken in reached for at in able - taken}
    return bool(reached)
