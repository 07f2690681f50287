"""C2SP signed notes, verifier keys, checkpoints, cosignatures and witness policies.

c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature, tlog-policy; used by spec/log.md, spec/bundle.md and
spec/trust.md.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import ed25519
from shapes import base64std

NOTE = 0x01  # an Ed25519 signature over the note's text
COSIGNATURE = 0x04  # a timestamped Ed25519 cosignature
MLDSA = 0x06  # not verified here
MAX_NOTE = 196_609  # spec/limits.md


class NoteError(Exception):
    """Text that is no vkey, note, checkpoint or policy."""


@dataclass(frozen=True)
class VerifierKey:
    name: str
    id: bytes
    kind: int
    material: bytes


def parse_vkey(text: str) -> VerifierKey:
    """`<name>+<key id>+base64(type || key)`."""
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise NoteError("not of three parts")
    name, hex_id, encoded = parts
    if not name or any(char.isspace() for char in name) or not re.fullmatch("[0-9a-f]{8}", hex_id):
        raise NoteError("name or id")
    data = base64std(encoded)
    if not data or (data[0] in (NOTE, COSIGNATURE) and len(data) != 33):
        raise NoteError("key")
    if hashlib.sha256(name.encode() + b"\n" + data).digest()[:4].hex() != hex_id:
        raise NoteError("the id is not that of name and key")
    return VerifierKey(name, bytes.fromhex(hex_id), data[0], data[1:])


@dataclass(frozen=True)
class Signature:
    name: str
    id: bytes
    data: bytes


@dataclass(frozen=True)
class Note:
    text: str
    signatures: tuple[Signature, ...]

    def by(self, key: VerifierKey) -> list[Signature]:
        return [one for one in self.signatures if (one.name, one.id) == (key.name, key.id)]


def parse_note(text: str) -> Note:
    if len(text.encode()) > MAX_NOTE:
        raise NoteError("too large")
    if any(ord(char) < 0x20 and char != "\n" for char in text):
        raise NoteError("control character")
    body, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise NoteError("no signatures")
    signatures = []
    for line in tail[:-1].split("\n"):
        match = re.fullmatch(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)", line)
        data = base64std(match[2]) if match else None
        if match is None or data is None or len(data) < 5:
            raise NoteError("signature line")
        signatures.append(Signature(match[1], data[:4], data[4:]))
    return Note(body + "\n", tuple(signatures))


def repeats(note: Note) -> bool:
    """Whether a signature line stands twice (R-CP-03). One key may sign more than once, as cosigners do."""
    return len(set(note.signatures)) != len(note.signatures)


@dataclass(frozen=True)
class Checkpoint:
    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...]


def parse_checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] != "" or any(line == "" for line in lines[:-1]):
        raise NoteError("lines of the checkpoint")
    if not re.fullmatch("0|[1-9][0-9]*", lines[1]) or int(lines[1]) >= 2**63:
        raise NoteError("tree size")
    root = base64std(lines[2])
    if root is None or len(root) != 32:
        raise NoteError("root hash")
    return Checkpoint(lines[0], int(lines[1]), root, tuple(lines[3:-1]))


def signed_by(note: Note, key: VerifierKey) -> bool:
    """Whether a known key signed. A line of the key that does not verify rejects the note (signed-note, SHOULD)."""
    good = False
    for one in note.by(key):
        if key.kind == NOTE:
            valid = ed25519.verify(key.material, one.data, note.text.encode())
        elif key.kind == COSIGNATURE:
            valid = cosigned_at(note, key, one) is not None
        else:
            valid = False
        if not valid:
            raise NoteError(f"a signature by {key.name} does not verify")
        good = True
    return good


def cosigned_at(note: Note, key: VerifierKey, one: Signature) -> int | None:
    """Milliseconds of a valid Ed25519 cosignature, else None."""
    if key.kind != COSIGNATURE or len(one.data) != 72:
        return None
    seconds = int.from_bytes(one.data[:8], "big")
    message = f"cosignature/v1\ntime {seconds}\n{note.text}".encode()
    if seconds >= 2**63 or not ed25519.verify(key.material, one.data[8:], message):
        return None
    return seconds * 1000


@dataclass(frozen=True)
class Policy:
    """c2sp.org/tlog-policy."""

    logs: tuple[VerifierKey, ...]
    witnesses: dict[str, VerifierKey]
    groups: dict[str, tuple[int, tuple[str, ...]]]
    quorum: str

    @property
    def is_none(self) -> bool:
        return self.quorum == "none"

    def satisfied(self, cosigners: set[str], name: str | None = None) -> bool:
        name = self.quorum if name is None else name
        if name == "none":
            return True
        if name in self.witnesses:
            return name in cosigners
        threshold, members = self.groups[name]
        return sum(self.satisfied(cosigners, member) for member in members) >= threshold


def parse_policy(text: str) -> Policy:
    logs: list[VerifierKey] = []
    witnesses: dict[str, VerifierKey] = {}
    groups: dict[str, tuple[int, tuple[str, ...]]] = {}
    members_used: set[str] = set()
    quorum: str | None = None
    for line in text.split("\n"):
        words = re.split(r"[ \t]+", line.strip(" \t"))
        if words == [""] or words[0].startswith("#"):
            continue
        kind, rest = words[0], words[1:]
        if kind == "log" and len(rest) in (1, 2):
            key = parse_vkey(rest[0])
            if any(key.material == other.material for other in logs):
                raise NoteError("a log twice")
            logs.append(key)
        elif kind == "witness" and len(rest) in (2, 3):
            key = parse_vkey(rest[1])
            if any(key.material == other.material for other in witnesses.values()):
                raise NoteError("a witness twice")
            _new_name(rest[0], witnesses, groups)
            witnesses[rest[0]] = key
        elif kind == "group" and len(rest) >= 3:
            name, count, members = rest[0], rest[1], rest[2:]
            _new_name(name, witnesses, groups)
            for member in members:
                if member in members_used or (member not in witnesses and member not in groups):
                    raise NoteError(f"member {member}")
                members_used.add(member)
            if count not in ("all", "any") and not re.fullmatch("[1-9][0-9]*", count):
                raise NoteError("threshold")
            threshold = {"all": len(members), "any": 1}.get(count) or int(count)
            if threshold > len(members):
                raise NoteError("threshold")
            groups[name] = (threshold, tuple(members))
        elif kind == "quorum" and len(rest) == 1 and quorum is None:
            if rest[0] != "none" and rest[0] not in witnesses and rest[0] not in groups:
                raise NoteError("quorum")
            quorum = rest[0]
        else:
            raise NoteError(f"line {line!r}")
    if quorum is None:
        raise NoteError("no quorum")
    return Policy(tuple(logs), witnesses, groups, quorum)


def _new_name(name: str, witnesses: dict[str, VerifierKey], groups: dict[str, tuple[int, tuple[str, ...]]]) -> None:
    if name == "none" or name in witnesses or name in groups:
        raise NoteError(f"the name {name} stands twice")
