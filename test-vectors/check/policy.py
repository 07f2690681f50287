"""Policy documents in the language counterfoil-policy/0 (spec/policy.md)."""

from __future__ import annotations

from typing import Any

import shapes as s
from rules import RuleError

_document = s.obj(
    break_glass=s.boolean,
    language=s.one_of("counterfoil-policy/0"),
    rule=s.obj(
        count=s.integer(1, 16),
        role=s.one_of("human"),
        groups=s.ascending(s.principal, 0, 32),
        segregation=s.boolean,
        uses=s.integer(1, 1000),
        window=s.integer(1, 31_622_400_000),
    ),
)


def readable(document: Any) -> bool:
    """R-POL-01, without the digest."""
    try:
        _document(document)
    except RuleError:
        return False
    return True


def entitled(document: dict[str, Any], role: str, groups: frozenset[str]) -> bool:
    """spec/policy.md, *Entitled*: role and groups of the principal at the decision's index."""
    rule = document["rule"]
    return role == rule["role"] and (not rule["groups"] or bool(groups & set(rule["groups"])))
