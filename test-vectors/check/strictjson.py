"""Strict JSON: RFC 8259, I-JSON and RFC 8785 spelling (spec/records.md §1, R-JSON-01 to R-JSON-08).

The scanner stops at the first violation and names its rule. Canonical spelling of single strings and numbers is
asked of the `rfc8785` package; so is the whole value, once more, at the end.
"""

from __future__ import annotations

import re
from typing import Any

import rfc8785

from rules import RuleError

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32  # spec/limits.md; an object or array is one level, the outermost is level 1

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPACE = " \t\n\r"


def canonical(value: Any) -> bytes:
    """JCS(value) by the library."""
    return rfc8785.dumps(value)


def parse(data: bytes) -> dict[str, Any]:
    """The object that `data` spells canonically, or a RuleError."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RuleError("R-JSON-01", str(error)) from None
    if text.startswith("\ufeff"):
        raise RuleError("R-JSON-01", "byte order mark")
    scanner = _Scanner(text)
    if scanner.peek() in _SPACE and scanner.peek():
        raise RuleError("R-JSON-03", "white space before the object")
    if scanner.peek() != "{":
        raise RuleError("R-JSON-02", "not an object")
    value = scanner.object(1)
    if scanner.at != len(text):
        raise RuleError("R-JSON-08", f"at character {scanner.at}")
    if canonical(value) != data:
        raise RuleError("R-JSON-03", "the JCS library writes other bytes")
    return value


def is_noncharacter(code: int) -> bool:
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def expect(self, wanted: str) -> None:
        """Takes one character; white space in its place is a spelling error, anything else a syntax error."""
        found = self.peek()
        if found == wanted:
            self.at += 1
        elif found and found in _SPACE:
            raise RuleError("R-JSON-03", f"white space at character {self.at}")
        else:
            raise RuleError("R-JSON-02", f"expected {wanted!r} at character {self.at}")

    def value(self, depth: int) -> Any:
        first = self.peek()
        if first in ("{", "["):
            if depth > MAX_DEPTH:
                raise RuleError("R-JSON-07", f"at character {self.at}")
            return self.object(depth) if first == "{" else self.array(depth)
        if first == '"':
            return self.string()
        for word, meaning in (("true", True), ("false", False), ("null", None)):
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return meaning
        if first and first in _SPACE:
            raise RuleError("R-JSON-03", f"white space at character {self.at}")
        return self.number()

    def object(self, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        self.expect("{")
        if self.peek() == "}":
            self.at += 1
            return result
        last = b""
        while True:
            if self.peek() != '"':
                self.expect('"')
            name = self.string()
            if name in result:
                raise RuleError("R-JSON-04", name)
            units = name.encode("utf-16-be")
            if result and units < last:
                raise RuleError("R-JSON-03", f"member {name!r} out of order")
            last = units
            self.expect(":")
            result[name] = self.value(depth + 1)
            if self.peek() != ",":
                self.expect("}")
                return result
            self.at += 1

    def array(self, depth: int) -> list[Any]:
        result: list[Any] = []
        self.expect("[")
        if self.peek() == "]":
            self.at += 1
            return result
        while True:
            result.append(self.value(depth + 1))
            if self.peek() != ",":
                self.expect("]")
                return result
            self.at += 1

    def string(self) -> str:
        start = self.at
        self.expect('"')
        units: list[str] = []
        while True:
            char = self.peek()
            self.at += 1
            if char == '"':
                break
            if char == "" or ord(char) < 0x20:
                raise RuleError("R-JSON-02", f"string at character {start}")
            units.append(self.escape() if char == "\\" else char)
        # Join escaped surrogate pairs; a surrogate that stays alone makes the decoder fail.
        try:
            value = "".join(units).encode("utf-16-be", "surrogatepass").decode("utf-16-be")
        except UnicodeDecodeError:
            raise RuleError("R-JSON-05", f"lone surrogate in the string at character {start}") from None
        if any(is_noncharacter(ord(char)) for char in value):
            raise RuleError("R-JSON-05", f"noncharacter in the string at character {start}")
        if canonical(value).decode() != self.text[start : self.at]:
            raise RuleError("R-JSON-03", f"escapes of the string at character {start}")
        return value

    def escape(self) -> str:
        char = self.peek()
        self.at += 1
        if char in _ESCAPES and char:
            return _ESCAPES[char]
        digits = self.text[self.at : self.at + 4]
        if char != "u" or not re.fullmatch("[0-9a-fA-F]{4}", digits):
            raise RuleError("R-JSON-02", f"escape at character {self.at}")
        self.at += 4
        return chr(int(digits, 16))

    def number(self) -> int | float:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise RuleError("R-JSON-02", f"no value at character {self.at}")
        spelled = match[0]
        self.at = match.end()
        if match[2] is None and match[3] is None:
            # Written as an integer (spec/records.md §1): the range is judged before the spelling.
            if abs(int(spelled)) > MAX_INTEGER:
                raise RuleError("R-JSON-06", spelled)
            if spelled == "-0":
                raise RuleError("R-JSON-03", spelled)
            return int(spelled)
        value = float(spelled)
        # In the range of a double, and only zero rounds to zero.
        vanishes = value == 0 and any(digit in "123456789" for digit in re.split("[eE]", spelled)[0])
        if value in (float("inf"), float("-inf")) or vanishes:
            raise RuleError("R-JSON-06", spelled)
        if canonical(value).decode() != spelled:
            raise RuleError("R-JSON-03", spelled)
        return value
