"""The reader's trust file (spec/trust.md)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

import shapes as s
from notes import NoteError, Policy, VerifierKey, parse_policy, parse_vkey
from rules import RuleError

DIMENSIONS = ("integrity", "authority", "conformity", "inclusion", "completeness", "witnessed", "freshness")
UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class TrustError(Exception):
    """No trust file."""


@dataclass(frozen=True)
class Range:
    start: int
    until: int | None
    roots: frozenset[bytes]


@dataclass(frozen=True)
class Trust:
    genesis: str
    origin: str
    log_keys: tuple[VerifierKey, ...]
    ranges: tuple[Range, ...]
    witnesses: Policy
    dimensions: tuple[str, ...]
    max_age: int | None

    def pins(self, index: int, key: bytes) -> bool:
        """R-AUTH-02. A range holds from `from` to `until`, both included."""
        if not self.ranges:
            return True
        covering = [one for one in self.ranges if one.start <= index and (one.until is None or index <= one.until)]
        return any(key in one.roots for one in covering)


def _members(table: dict[str, object], required: set[str], optional: set[str]) -> None:
    if not required <= table.keys() or not table.keys() <= required | optional:
        raise TrustError(f"members {sorted(table)}")


def parse_trust(text: str) -> Trust:
    try:
        table = tomllib.loads(text)
        _members(
            table,
            {"version", "genesis", "origin", "log_keys", "witnesses", "require"},
            {"authority"},
        )
        _members(table["witnesses"], {"policy"}, set())
        _members(table["require"], {"dimensions"}, {"max_age"})
        if type(table["version"]) is not int or table["version"] != 1:
            raise TrustError("version")
        if not table["log_keys"] or not table["require"]["dimensions"]:
            raise TrustError("log_keys or dimensions")
        dimensions = table["require"]["dimensions"]
        if not set(dimensions) <= set(DIMENSIONS) or len(set(dimensions)) != len(dimensions):
            raise TrustError("dimensions")
        log_keys = tuple(map(parse_vkey, table["log_keys"]))
        if any(key.name != table["origin"] for key in log_keys):
            raise TrustError("a log key of another origin")
        s.hash_(table["genesis"])
        ranges = []
        for one in table.get("authority", []):
            _members(one, {"roots"}, {"from", "until"})
            start, until = one.get("from", 0), one.get("until")
            s.index(start)
            if until is not None:
                s.index(until)
            if not one["roots"] or (until is not None and start > until):
                raise TrustError("a range without roots, or an empty one")
            for key in one["roots"]:
                s.key(key)
            ranges.append(Range(start, until, frozenset(map(s.key_bytes, one["roots"]))))
        age = table["require"].get("max_age")
        match = re.fullmatch("([0-9]+)([smhd])", age) if age is not None else None
        if age is not None and (match is None or int(match[1]) == 0):
            raise TrustError("max_age")
        return Trust(
            table["genesis"],
            table["origin"],
            log_keys,
            tuple(ranges),
            parse_policy(table["witnesses"]["policy"]),
            tuple(dimensions),
            int(match[1]) * UNITS[match[2]] if match else None,
        )
    except (tomllib.TOMLDecodeError, NoteError, RuleError, KeyError, TypeError) as error:
        raise TrustError(str(error)) from error
