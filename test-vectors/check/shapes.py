"""Types of values in records (spec/records.md §2 and §5) as checkers.

A checker takes a value and raises RuleError: R-REC-04 for a member that is not named, R-REC-05 for one that is
missing, R-REC-06 for a value outside its type. Where another rule is closer (keys, lists), that one is raised.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from rules import RuleError

Check = Callable[[Any], None]

MAX_INTEGER = 2**53 - 1
RESERVED_SCHEMES = {"webauthn-p256", "sshsig-ed25519", "p256", "mldsa44"}


def fail(detail: str) -> None:
    raise RuleError("R-REC-06", detail)


def base64url(text: str) -> bytes | None:
    """Strict unpadded base64url (RFC 4648 §5): unused bits are zero."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text) or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text else None


def base64std(text: str) -> bytes | None:
    """Strict padded standard base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if base64.b64encode(data).decode() == text else None


# Primitive types, spec/records.md §2 -------------------------------------------------------------------------------


def pattern(expression: str) -> Check:
    compiled = re.compile(expression)

    def check(value: Any) -> None:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            fail(f"{value!r} does not match {expression}")

    return check


def integer(low: int, high: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            fail(f"{value!r} is no integer from {low} to {high}")

    return check


def one_of(*values: Any) -> Check:
    def check(value: Any) -> None:
        if not any(type(value) is type(wanted) and value == wanted for wanted in values):
            fail(f"{value!r} is none of {values}")

    return check


def string(limit: int, controls_allowed: str) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, str) or not 1 <= len(value.encode()) <= limit:
            fail(f"no string of 1 to {limit} bytes")
        for char in value:
            if (ord(char) < 0x20 or 0x7F <= ord(char) <= 0x9F) and char not in controls_allowed:
                fail(f"control character U+{ord(char):04X}")

    return check


hash_ = pattern(r"sha256:[0-9a-f]{64}")
principal = pattern(r"[a-z0-9][a-z0-9._-]{0,63}")
amount = pattern(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
currency = pattern(r"[A-Z0-9]{3,12}")
nonce = pattern(r"[A-Za-z0-9_-]{22,64}")
millis = index = size = integer(0, MAX_INTEGER)
label = string(256, "")
text = string(4096, "\n\t")
boolean = one_of(True, False)


def open_object(value: Any) -> None:
    if not isinstance(value, dict):
        fail("no object")


def pointer(value: Any) -> None:
    label(value)
    if not re.fullmatch(r"(/([^~/]|~[01])*)+", value, re.DOTALL):
        fail(f"{value!r} is no JSON Pointer")


def key(value: Any) -> None:
    """R-REC-08 for form, R-SIG-02 for a scheme that is not of this version."""
    if not isinstance(value, str):
        fail("a key is a string")
    scheme, colon, encoded = value.partition(":")
    if not colon or not scheme:
        raise RuleError("R-REC-08", f"{value!r} has no scheme")
    if scheme != "ed25519":
        raise RuleError("R-SIG-02", scheme)
    data = base64url(encoded)
    if data is None or len(data) != 32:
        raise RuleError("R-REC-08", value)


def key_bytes(value: str) -> bytes:
    data = base64url(value.partition(":")[2])
    assert data is not None
    return data


def signature(value: Any) -> None:
    data = base64url(value) if isinstance(value, str) else None
    if data is None or len(data) != 64:
        fail("no signature")


# Combinators -------------------------------------------------------------------------------------------------------


def obj(**members: Check) -> Check:
    """A closed object. A trailing underscore in a keyword means that the member may be absent."""
    required = {name for name in members if not name.endswith("_")}
    checks = {name.rstrip("_"): check for name, check in members.items()}

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            fail("no object")
        for name in value:
            if name not in checks:
                raise RuleError("R-REC-04", name)
        for name in sorted(required):
            if name not in value:
                raise RuleError("R-REC-05", name)
        for name, member in value.items():
            checks[name](member)

    return check


def array(element: Check, low: int, high: int) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, list) or not low <= len(value) <= high:
            fail(f"no array of {low} to {high}")
        for member in value:
            element(member)

    return check


def ascends(values: list[str]) -> bool:
    """Lists ascend by their UTF-8 bytes, without repeats (spec/records.md §5)."""
    encoded = [value.encode() for value in values]
    return all(one < two for one, two in zip(encoded, encoded[1:], strict=False))


def ascending(element: Check, low: int, high: int, rule: str = "R-REC-10") -> Check:
    inner = array(element, low, high)

    def check(value: Any) -> None:
        inner(value)
        if not ascends(value):
            raise RuleError(rule, "not ascending")

    return check


def mapping(name_check: Check, value_check: Check, high: int) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict) or len(value) > high:
            fail(f"no object of at most {high} members")
        for name, member in value.items():
            name_check(name)
            value_check(member)

    return check


# Shared body objects, spec/records.md §5 ----------------------------------------------------------------------------

holder = obj(key=key, principal=principal)
cost = obj(amount=amount, currency=currency)
basis = obj(size=size, root=hash_)
item = obj(commitment=hash_, label=label, media_type=label, size=size)
item_set = obj(items=integer(1, 65536), label=label, root=hash_)
parents = ascending(hash_, 1, 16, "R-REC-09")
decisions = ascending(hash_, 0, 16)


def window(value: Any) -> None:
    obj(**{"from": millis, "until": millis})(value)
    if value["from"] >= value["until"]:
        raise RuleError("R-DEC-01", "from is not before until")


def audience(value: Any) -> None:
    """Exactly one of `principal` and `group`."""
    obj(principal_=principal, group_=principal)(value)
    if not value:
        raise RuleError("R-REC-05", "an audience is a principal or a group")
    if len(value) != 1:
        fail("an audience is one of principal and group")


def item_or_set(value: Any) -> None:
    if isinstance(value, dict) and "root" in value:
        item_set(value)
    else:
        item(value)


items = array(item_or_set, 1, 64)


def action(value: Any) -> None:
    """Shape, then R-ACT-01 and R-ACT-02."""
    obj(
        tool=label,
        target_=label,
        arguments=open_object,
        mode=one_of("apply", "preview"),
        connector_=obj(name=label, schema=hash_),
        precondition_=open_object,
        committed_=mapping(pointer, hash_, 32),
        free_=ascending(pointer, 0, 32),
    )(value)
    committed = list(value.get("committed", {}))
    free = value.get("free", [])
    for number, path in enumerate(committed):
        if touches(path, value["arguments"]) or any(overlap(path, other) for other in committed[:number]):
            raise RuleError("R-ACT-01", path)
    for number, path in enumerate(free):
        if touches(path, value["arguments"]) or any(overlap(path, other) for other in committed + free[:number]):
            raise RuleError("R-ACT-02", path)


def tokens(path: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def touches(path: str, arguments: Any) -> bool:
    """Whether a pointer resolves to a value, or passes through one that is not an object."""
    value = arguments
    for token in tokens(path):
        if not isinstance(value, dict):
            return True
        if token not in value:
            return False
        value = value[token]
    return True


def overlap(one: str, two: str) -> bool:
    first, second = tokens(one), tokens(two)
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]
