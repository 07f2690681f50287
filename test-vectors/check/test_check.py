"""Tests of what no vector tests by itself: `python3 -m unittest`."""

from __future__ import annotations

import base64
import hashlib
import itertools
import unittest
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ed25519
import merkle
import policy as language
from bundles import Verdict, verify
from delegation import check_narrowing, check_scope, glob_within, in_scope
from fold import EMPTY_MAP, Fold
from notes import parse_vkey
from records import action_digest, parse_record, policy_digest, preimage, spell
from rules import RuleError
from shapes import base64url
from strictjson import canonical, parse
from trust import TrustError, parse_trust


class StrictJson(unittest.TestCase):
    def rule(self, data: bytes) -> str | None:
        try:
            parse(data)
        except RuleError as error:
            return error.rule
        return None

    def test_canonical_text_is_read(self) -> None:
        for text in ('{}', '{"a":[1,-1,0.5,1e+21,true,false,null],"b":{"":"\\u001f\\n\\"\\\\€😀"}}'):
            self.assertEqual(canonical(parse(text.encode())), text.encode())

    def test_members_are_in_utf16_order(self) -> None:
        self.assertIsNone(self.rule('{"😀":1,"ﬀ":2}'.encode()))
        self.assertEqual(self.rule('{"ﬀ":2,"😀":1}'.encode()), "R-JSON-03")

    def test_each_rule(self) -> None:
        cases = {
            b'{"a":"\xff"}': "R-JSON-01",
            b'{"a":"\xed\xa0\x80"}': "R-JSON-01",
            b'\xef\xbb\xbf{}': "R-JSON-01",
            b"": "R-JSON-02",
            b"[]": "R-JSON-02",
            b'{"a":01}': "R-JSON-02",
            b'{"a":"\n"}': "R-JSON-02",
            b'{"a":1': "R-JSON-02",
            b'{"a": 1}': "R-JSON-03",
            b'{"b":1,"a":1}': "R-JSON-03",
            b'{"a":1.0}': "R-JSON-03",
            b'{"a":-0}': "R-JSON-03",
            b'{"a":1e5}': "R-JSON-03",
            b'{"a":"\\u000A"}': "R-JSON-03",
            b'{"a":"\\/"}': "R-JSON-03",
            b'{"a":"\\ud83d\\ude00"}': "R-JSON-03",
            b'{"a":1,"a":1}': "R-JSON-04",
            b'{"a":1,"b":1,"a":1}': "R-JSON-04",
            b'{"a":1,"\\u0061":1}': "R-JSON-03",
            b'{"a":"\\ud800"}': "R-JSON-05",
            '{"a":"\ufdd0"}'.encode(): "R-JSON-05",
            '{"a":"\U0001ffff"}'.encode(): "R-JSON-05",
            b'{"a":9007199254740992}': "R-JSON-06",
            b'{"a":1e400}': "R-JSON-06",
            b"{}{}": "R-JSON-08",
            b"{}\n": "R-JSON-08",
        }
        for data, rule in cases.items():
            with self.subTest(data):
                self.assertEqual(self.rule(data), rule)

    def test_depth(self) -> None:
        self.assertIsNone(self.rule(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"))
        self.assertEqual(self.rule(b'{"a":' + b"[" * 32 + b"]" * 32 + b"}"), "R-JSON-07")


class Base64(unittest.TestCase):
    def test_unused_bits_are_zero(self) -> None:
        self.assertEqual(base64url("AA"), b"\0")
        for text in ("AB", "A", "AA==", "A+", "A\n"):
            self.assertIsNone(base64url(text))


class Signatures(unittest.TestCase):
    def test_strict(self) -> None:
        private = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
        key = private.public_key().public_bytes_raw()
        signature = private.sign(b"x")
        self.assertTrue(ed25519.verify(key, signature, b"x"))
        self.assertFalse(ed25519.verify(key, signature, b"y"))
        high = (int.from_bytes(signature[32:], "little") + ed25519.ORDER).to_bytes(32, "little")
        self.assertFalse(ed25519.verify(key, signature[:32] + high, b"x"))
        identity = (1).to_bytes(32, "little")
        self.assertFalse(ed25519.verify(identity, identity + bytes(32), b"x"))

    def test_points(self) -> None:
        for y in [*ed25519.SMALL_ORDER_Y, ed25519.P, ed25519.P + 1, ed25519.P + 3, 2**255 - 1]:
            for sign in (0, 1 << 255):
                self.assertFalse(ed25519.good_point((y | sign).to_bytes(32, "little")))
        self.assertTrue(ed25519.good_point((4).to_bytes(32, "little")))


class Merkle(unittest.TestCase):
    LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(17)]

    def test_known_root(self) -> None:
        # RFC 6962 trees of transparency-dev: leaves "", 00, 10.
        leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in ("", "00", "10")]
        self.assertEqual(merkle.root([]).hex()[:8], "e3b0c442")
        self.assertEqual(merkle.root(leaves).hex()[:8], "aeb6bcfe")

    def test_growing(self) -> None:
        tree = merkle.Growing()
        for leaf in self.LEAVES:
            tree.append(leaf)
        for size, root in enumerate(tree.roots):
            self.assertEqual(root, merkle.root(self.LEAVES[:size]))

    def path(self, index: int, leaves: list[bytes]) -> list[bytes]:
        if len(leaves) == 1:
            return []
        k = merkle.split(len(leaves))
        if index < k:
            return self.path(index, leaves[:k]) + [merkle.root(leaves[k:])]
        return self.path(index - k, leaves[k:]) + [merkle.root(leaves[:k])]

    def test_inclusion(self) -> None:
        for size in range(1, 18):
            leaves = self.LEAVES[:size]
            for index in range(size):
                proof = self.path(index, leaves)
                self.assertEqual(merkle.inclusion_root(index, size, leaves[index], proof), merkle.root(leaves))
                with self.assertRaises(merkle.ProofError):
                    merkle.inclusion_root(index, size, leaves[index], [*proof, bytes(32)])
                if proof:
                    with self.assertRaises(merkle.ProofError):
                        merkle.inclusion_root(index, size, leaves[index], proof[1:])

    def subproof(self, first: int, leaves: list[bytes], whole: bool) -> list[bytes]:
        if first == len(leaves):
            return [] if whole else [merkle.root(leaves)]
        k = merkle.split(len(leaves))
        if first <= k:
            return self.subproof(first, leaves[:k], whole) + [merkle.root(leaves[k:])]
        return self.subproof(first - k, leaves[k:], False) + [merkle.root(leaves[:k])]

    def test_consistency(self) -> None:
        for second in range(1, 18):
            for first in range(1, second + 1):
                proof = self.subproof(first, self.LEAVES[:second], True)
                old, new = merkle.root(self.LEAVES[:first]), merkle.root(self.LEAVES[:second])
                merkle.verify_consistency(first, second, old, new, proof)
                for broken in (proof + [bytes(32)], proof[:-1]):
                    if broken != proof:
                        with self.assertRaises(merkle.ProofError):
                            merkle.verify_consistency(first, second, old, new, broken)
                with self.assertRaises(merkle.ProofError):
                    merkle.verify_consistency(first, second, bytes(32), new, proof)

    def test_multiproof(self) -> None:
        for size in range(1, 12):
            for mask in range(1, 1 << size, 3):
                indices = {index for index in range(size) if mask >> index & 1}
                self.assertEqual(self.multiproof(size, indices), merkle.root(self.LEAVES[:size]))

    def multiproof(self, size: int, indices: set[int]) -> bytes:
        parts = multiproof_parts(self.LEAVES[:size], indices)
        return merkle.multiproof_root(size, {index: self.LEAVES[index] for index in indices}, parts)

    def test_multiproof_has_one_encoding(self) -> None:
        parts = multiproof_parts(self.LEAVES[:7], {2, 5})
        leaves = {2: self.LEAVES[2], 5: self.LEAVES[5]}
        self.assertEqual([len(part) for part in parts], [1, 2, 1])
        for moved in ([parts[0] + parts[1][:1], parts[1][1:], parts[2]], [parts[0], parts[1], parts[2] * 2]):
            with self.assertRaises(merkle.ProofError):
                merkle.multiproof_root(7, leaves, moved)


def multiproof_parts(leaves: list[bytes], indices: set[int]) -> list[list[bytes]]:
    order = sorted(indices)
    parts: list[list[bytes]] = [[] for _ in range(len(order) + 1)]
    for start, size in merkle.free_subtrees(len(leaves), indices):
        parts[sum(index < start for index in order)].append(merkle.root(leaves[start : start + size]))
    return parts


def consistency_proof(leaves: list[bytes], size: int, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962."""
    if size == len(leaves):
        return [] if whole else [merkle.root(leaves)]
    at = merkle.split(len(leaves))
    if size <= at:
        return [*consistency_proof(leaves[:at], size, whole), merkle.root(leaves[at:])]
    return [*consistency_proof(leaves[at:], size - at, False), merkle.root(leaves[:at])]


class Log:
    """A log of one run, made here, so that fold and bundles are tested before there is a vector."""

    WINDOW = {"from": 1000, "until": 100_000}

    def __init__(self) -> None:
        self.private: dict[str, Ed25519PrivateKey] = {}
        self.entries: list[bytes] = []
        self.time = 1000
        note = self.public("note")
        data = b"\x01" + note
        identifier = hashlib.sha256(b"example.org/log\n" + data).digest()[:4]
        self.vkey = f"example.org/log+{identifier.hex()}+{base64.b64encode(data).decode()}"
        self.genesis = self.add(
            "genesis",
            "root",
            "authority",
            {
                "origin": "example.org/log",
                "authority": {"roots": [self.holder("root")], "threshold": 1},
                "log": {"note_keys": [self.vkey], "snapshot": self.holder("snap")},
                "limits": {"record_bytes": 65535, "run_records": 1000},
                "fold": 0,
            },
        )
        self.last_snapshot = self.genesis

    def public(self, name: str) -> bytes:
        self.private.setdefault(name, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()))
        return self.private[name].public_key().public_bytes_raw()

    @property
    def witness(self) -> str:
        data = b"\x04" + self.public("witness")
        identifier = hashlib.sha256(b"example.org/witness\n" + data).digest()[:4].hex()
        return f"example.org/witness+{identifier}+{base64.b64encode(data).decode()}"

    def key(self, name: str) -> str:
        return "ed25519:" + base64.urlsafe_b64encode(self.public(name)).rstrip(b"=").decode()

    def holder(self, name: str) -> dict[str, str]:
        return {"key": self.key(name), "principal": name}

    def add(
        self, kind: str, signer: str, role: str, body: dict[str, Any], key: str | None = None, **envelope: Any
    ) -> str:
        value: dict[str, Any] = {
            "v": "counterfoil/1",
            "type": kind,
            "time": self.time,
            "signer": {"key": self.key(key or signer), "principal": signer, "role": role},
            "body": body,
            **envelope,
        }
        if kind != "genesis":
            value["log"] = self.genesis
        signature = self.private[key or signer].sign(preimage(value))
        value["sig"] = base64.urlsafe_b64encode(signature).rstrip(b"=").decode()
        data = canonical(value)
        self.entries.append(data)
        return spell(merkle.leaf_hash(data))

    def snapshot(self) -> None:
        self.time += 1000
        body = {"index": len(self.entries), "fold": 0, "map": EMPTY_MAP}
        self.last_snapshot = self.add("snapshot", "snap", "log", body, prev=self.last_snapshot)

    def basis(self) -> dict[str, Any]:
        leaves = [merkle.leaf_hash(data) for data in self.entries]
        return {"size": len(leaves), "root": spell(merkle.root(leaves))}

    def whole_run(self) -> None:
        for name, role in (("agent", "agent"), ("human", "human"), ("gate", "runtime")):
            body: dict[str, Any] = {"change": "enrol", "principal": name, "key": self.key(name)}
            body |= {"role": role, "groups": []}
            self.add("keyring", "root", "authority", body, prev=self.genesis)
        rule = {"count": 1, "role": "human", "groups": [], "segregation": True, "uses": 1, "window": 1_000_000}
        document = {"break_glass": False, "language": "counterfoil-policy/0", "rule": rule}
        self.add("policy", "root", "authority", {"document": document}, prev=self.genesis)
        self.snapshot()
        owned: dict[str, Any] = {"event": {"source": "test", "id": "1"}, "owner": self.holder("agent")}
        self.run = self.add("trigger", "agent", "agent", owned)
        action = {"tool": "t", "arguments": {}, "mode": "apply"}
        body = {"action": action, "audience": {"principal": "gate"}, "risk": "low"}
        proposal = self.add("proposal", "agent", "agent", body, run=self.run, parents=[self.run])
        self.snapshot()
        shown = {"commitment": EMPTY_MAP, "label": "shown", "media_type": "text/plain", "size": 0}
        decision = self.add(
            "decision",
            "human",
            "human",
            {
                "proposal": proposal,
                "action": action_digest(action),
                "policy": policy_digest(document),
                "verdict": "approve",
                "shown": shown,
                "surface": "terminal",
                "basis": self.basis(),
                "window": self.WINDOW,
                "uses": 1,
            },
            run=self.run,
            parents=[proposal],
        )
        self.snapshot()
        nonce = "nonce-of-a-python-test"
        execution = {"proposal": proposal, "use": 1, "action": action, "decisions": [decision], "nonce": nonce}
        execution |= {"policy": policy_digest(document), "basis": self.basis()}
        executed = self.add("execution", "gate", "runtime", execution, run=self.run, parents=[decision])
        self.snapshot()
        outcome = {"execution": executed, "status": "succeeded", "effects": "complete"}
        self.add("outcome", "gate", "runtime", outcome, run=self.run, parents=[executed])
        self.add("execution", "gate", "runtime", execution | {"use": 1}, run=self.run, parents=[executed])
        self.snapshot()

    def note(self, size: int, cosigned: int | None) -> str:
        """A checkpoint, and when a witness cosigned it, in seconds."""
        leaves = [merkle.leaf_hash(data) for data in self.entries[:size]]
        text = f"example.org/log\n{len(leaves)}\n{base64.b64encode(merkle.root(leaves)).decode()}\n"
        identifier = parse_vkey(self.vkey).id
        signature = base64.b64encode(identifier + self.private["note"].sign(text.encode())).decode()
        note = f"{text}\n— example.org/log {signature}\n"
        if cosigned is not None:
            self.public("witness")
            signature_ = self.private["witness"].sign(f"cosignature/v1\ntime {cosigned}\n{text}".encode())
            data = base64.b64encode(parse_vkey(self.witness).id + cosigned.to_bytes(8, "big") + signature_).decode()
            note += f"— example.org/witness {data}\n"
        return note

    def bundle(
        self, unused: set[int], cosigned: int | None = None, before: dict[int, int | None] | None = None
    ) -> tuple[bytes, str]:
        """`cosigned`: when a witness cosigned the last checkpoint; `before`: others, by size."""
        leaves = [merkle.leaf_hash(data) for data in self.entries]
        before = before or {}
        indices = [index for index in range(len(leaves)) if index not in unused]
        parts = [
            [base64.b64encode(one).decode() for one in part] for part in multiproof_parts(leaves, set(indices))
        ]
        header = {"checkpoints": len(before) + 1, "documents": 0, "entries": len(indices), "format": "counterfoil-bundle/1"}
        header |= {"log": self.genesis, "payloads": 0, "run": self.run}
        lines = [canonical(header)]
        for size, at in sorted(before.items()):
            proof = [base64.b64encode(one).decode() for one in consistency_proof(leaves, size)]
            lines.append(canonical({"checkpoint": self.note(size, at), "consistency": proof}))
        lines.append(canonical({"checkpoint": self.note(len(leaves), cosigned), "consistency": []}))
        for index, left in zip(indices, parts, strict=False):
            lines += [canonical({"index": index, "left": left}), self.entries[index]]
        lines.append(canonical({"right": parts[-1]}))
        trust = f"""version = 1
genesis = "{self.genesis}"
origin = "example.org/log"
log_keys = ["{self.vkey}"]
[witnesses]
policy = "quorum none\\n"
[require]
dimensions = ["integrity", "authority", "conformity", "inclusion"]
max_age = "10m"
"""
        return b"".join(line + b"\n" for line in lines), trust


class Folding(unittest.TestCase):
    def test_a_use_is_consumed_once(self) -> None:
        log = Log()
        log.whole_run()
        tree = merkle.Growing()
        fold = Fold(root_at=lambda size: tree.roots[size])
        for index, data in enumerate(log.entries):
            fold.entry(index, data)
            tree.append(merkle.leaf_hash(data))
        self.assertEqual([(one.rule, one.index) for one in fold.findings], [("R-EXEC-02", len(log.entries) - 2)])

    def findings(self, log: Log) -> list[tuple[str, int | None]]:
        fold = Fold()
        for index, data in enumerate(log.entries):
            fold.entry(index, data)
        return [(one.rule, one.index) for one in fold.findings]

    def test_a_key_with_a_validity_may_not_sign_before_the_first_snapshot(self) -> None:
        log = Log()
        enrolment = {"change": "enrol", "principal": "human", "key": log.key("human"), "role": "human", "groups": []}
        log.add("keyring", "root", "authority", enrolment | {"not_after": 1 << 40}, prev=log.genesis)
        own = {"target": {"key": log.key("human")}}
        log.add("revocation", "human", "human", own)
        log.snapshot()
        log.add("revocation", "human", "human", own)
        self.assertEqual(self.findings(log), [("R-KEY-06", 2)])

    def test_a_delegation_is_revoked_once(self) -> None:
        log = Log()
        body = {"delegate": {"key": log.key("agent"), "principal": "agent"}, "scope": [{"tool": "t"}], "depth": 0}
        delegation = log.add("delegation", "root", "authority", body, prev=log.genesis)
        log.add("revocation", "root", "authority", {"target": {"delegation": delegation}})
        log.add("revocation", "root", "authority", {"target": {"delegation": delegation}, "reason": "again"})
        self.assertEqual(self.findings(log), [("R-REV-01", 3)])

    def test_bundle(self) -> None:
        log = Log()
        log.whole_run()
        del log.entries[-2:]
        log.snapshot()
        log.entries.pop()  # its `prev` is the snapshot that was removed
        log.entries.pop()  # the outcome
        data, trust = log.bundle(unused={5, 8})  # snapshots that are not next to the execution
        verdict = verify(data, parse_trust(trust), log.time)
        self.assertEqual([one.rule for one in verdict.findings], ["R-WIT-01"])  # the reason for *not shown*
        self.assertEqual(verdict.conclusion, "shown")
        self.assertEqual(verdict.answers["completeness"], "not_shown")
        verdict = verify(data.replace(b'"right":[]', b'"right":["' + b"A" * 43 + b'="]'), parse_trust(trust), log.time)
        self.assertEqual([one.rule for one in verdict.findings], ["R-INC-01"])
        needless, _ = log.bundle(unused={8})
        verdict = verify(needless, parse_trust(trust), log.time)
        self.assertEqual([(one.rule, one.index) for one in verdict.findings][0], ("R-BUN-07", 5))
        verdict = verify(data + b"{}\n", parse_trust(trust), log.time)
        self.assertEqual([one.rule for one in verdict.findings], ["R-BUN-03"])

    def test_trust_is_refused_as_the_specification_refuses_it(self) -> None:
        log = Log()
        log.whole_run()
        log.snapshot()
        _, text = log.bundle(unused=set())
        root = log.key("root")
        self.assertEqual(parse_trust(f'{text}[[authority]]\nroots = ["{root}"]\n').ranges[0].start, 0)
        for more in (
            "[auditors]\n",
            "[[authority]]\nroots = []\n",
            f'[[authority]]\nfrom = 3\nuntil = 2\nroots = ["{root}"]\n',
            f'[[authority]]\nfrom = -1\nroots = ["{root}"]\n',
        ):
            with self.subTest(more), self.assertRaises(TrustError):
                parse_trust(text + more)
        for old, new in (
            ('"10m"', '"+10m"'),
            ('"integrity"', '"integrity", "integrity"'),
            ("version = 1", "version = true"),
        ):
            self.assertIn(old, text)
            with self.subTest(new), self.assertRaises(TrustError):
                parse_trust(text.replace(old, new))


HASH = "sha256:" + "0" * 64


class Scopes(unittest.TestCase):
    """What is in a scope, and what lies within another one."""

    def is_scope(self, entry: dict[str, Any]) -> bool:
        try:
            check_scope([entry])
        except RuleError as error:
            self.assertEqual(error.rule, "R-DEL-01")
            return False
        return True

    def test_grammar(self) -> None:
        every = {"one_of": [None, False, 1, "a"], "glob": "*", "over": "0", "at_most": "1.5", "present": True}
        for entry in (
            {"tool": "*" * 8, "target": "*"},
            {"tool": "t", "arguments": {"/a": every, "/b/~0~1": {"present": False}}},
            {"tool": "t", "arguments": {f"/{number}": {"present": True} for number in range(64)}},
        ):
            with self.subTest(entry):
                self.assertTrue(self.is_scope(entry))
        for entry in (
            {"tool": "*" * 9},
            {"tool": "t", "target": "*" * 9},
            {"tool": "t", "arguments": {}},
            {"tool": "t", "arguments": {f"/{number}": {"present": True} for number in range(65)}},
            {"tool": "t", "arguments": {"a": {"present": True}}},
            {"tool": "t", "arguments": {"": {"present": True}}},
            {"tool": "t", "arguments": {"/a": {}}},
            {"tool": "t", "arguments": {"/a": True}},
            {"tool": "t", "arguments": {"/a": {"under": "1"}}},
            {"tool": "t", "arguments": {"/a": {"path": "/a", "present": True}}},
            {"tool": "t", "arguments": {"/a": {"at_most": 1}}},
            {"tool": "t", "arguments": {"/a": {"at_most": "-1"}}},
            {"tool": "t", "arguments": {"/a": {"one_of": []}}},
            {"tool": "t", "arguments": {"/a": {"one_of": ["b", "a"]}}},
            {"tool": "t", "arguments": {"/a": {"one_of": [0.5]}}},
        ):
            with self.subTest(entry):
                self.assertFalse(self.is_scope(entry))

    def test_an_action_is_in_one_of_the_entries(self) -> None:
        tests: dict[str, Any] = {"/amount": {"at_most": "200", "over": "10"}, "/why": {"one_of": ["damaged", "late"]}}
        scope: list[dict[str, Any]] = [
            {"tool": "pay.*", "target": "shop-*", "arguments": tests},
            {"tool": "look"},
        ]
        action: dict[str, Any] = {"tool": "pay.out", "target": "shop-1", "arguments": {"amount": "200", "why": "late"}}
        self.assertTrue(in_scope(action, scope))
        self.assertTrue(in_scope({"tool": "look", "target": "anywhere", "arguments": {}}, scope))
        for other in (
            {"tool": "pay"},
            {"target": "depot-1"},
            {"arguments": {"amount": "200"}},
            {"arguments": {"amount": "200.01", "why": "late"}},
            {"arguments": {"amount": 10, "why": "late"}},
            {"arguments": {"amount": "much", "why": "late"}},
        ):
            with self.subTest(other):
                self.assertFalse(in_scope(action | other, scope))
        del action["target"]
        self.assertFalse(in_scope(action, scope))

    def test_what_is_committed_or_free_holds_no_test(self) -> None:
        for test in ({"one_of": ["x"]}, {"glob": "*"}, {"over": "0"}, {"at_most": "1"}, {"present": True}):
            for test in (test, {"present": False}):
                for path in ("/a", "/a/b", "/a/b/c"):
                    for hidden in ({"committed": {path: HASH}}, {"free": [path]}):
                        action: dict[str, Any] = {"tool": "t", "arguments": {}, **hidden}
                        self.assertFalse(in_scope(action, [{"tool": "t", "arguments": {"/a/b": test}}]))
        absent = {"tool": "t", "arguments": {"/a": {"present": False}}}
        self.assertTrue(in_scope({"tool": "t", "arguments": {}}, [absent]))

    def test_globs_within_globs(self) -> None:
        """Against all short strings of two letters."""
        texts = ["".join(text) for size in range(6) for text in itertools.product("ab", repeat=size)]
        globs = ["".join(text) for size in range(1, 4) for text in itertools.product("ab*", repeat=size)]
        matched = {glob: {text for text in texts if language.matches(glob, text)} for glob in globs}
        for one in globs:
            for other in globs:
                self.assertEqual(glob_within(one, other), matched[one] <= matched[other], (one, other))

    def narrows(self, body: dict[str, Any], other: dict[str, Any]) -> bool:
        usual = {"scope": [{"tool": "t"}]}
        try:
            check_narrowing({"depth": 0} | usual | body, {"depth": 1} | usual | other)
        except RuleError as error:
            self.assertEqual(error.rule, "R-DEL-03")
            return False
        return True

    def test_every_bound_narrows(self) -> None:
        eur = {"amount": "10.50", "currency": "EUR"}
        less, more, usd = eur | {"amount": "10.5"}, eur | {"amount": "10.500000000000000001"}, eur | {"currency": "USD"}
        cases: list[tuple[str, Any, list[Any], list[Any]]] = [
            ("depth", 2, [0, 1], [2, 3]),
            ("uses", 5, [1, 5], [6]),
            ("not_after", 5, [0, 5], [6]),
            ("not_before", 5, [5, 6], [0, 4]),
            ("audience", {"principal": "a"}, [{"principal": "a"}], [{"principal": "b"}, {"group": "a"}]),
            ("spend", {"total": eur}, [{"total": less}, {"per_action": usd}, {}], [{"total": more}, {"total": usd}]),
            ("spend", {"per_action": eur}, [{"per_action": less}, {"total": more}], [{"per_action": more}]),
        ]
        for name, other, within, beyond in cases:
            for value in within:
                self.assertTrue(self.narrows({name: value}, {"depth": 9, name: other}), (name, value))
            for value in beyond:
                self.assertFalse(self.narrows({name: value}, {"depth": 9, name: other}), (name, value))
            if name != "depth":
                self.assertTrue(self.narrows({}, {name: other}))
                self.assertTrue(self.narrows({name: within[0]}, {}))
        self.assertFalse(self.narrows({"depth": 0}, {"depth": 0}))

    def test_scopes_narrow(self) -> None:
        other = [{"tool": "pay.*", "target": "shop-*"}, {"tool": "look"}]
        for entry, within in (
            ({"tool": "pay.out", "target": "shop-1"}, True),
            ({"tool": "look", "target": "anywhere"}, True),
            ({"tool": "pay.out"}, False),
            ({"tool": "pay*", "target": "shop-1"}, False),
            ({"tool": "pay.out", "target": "*"}, False),
            ({"tool": "*"}, False),
        ):
            self.assertEqual(self.narrows({"scope": [entry]}, {"scope": other}), within, entry)
            self.assertEqual(self.narrows({"scope": [{"tool": "look"}, entry]}, {"scope": other}), within, entry)

    def test_tests_narrow(self) -> None:
        absent, present = {"present": False}, {"present": True}
        for one, other, within in (
            ({"one_of": [1, "1"]}, {"at_most": "1"}, True),
            ({"one_of": [1, "x"]}, {"at_most": "1"}, False),
            ({"one_of": [-1, 2]}, {"over": "0"}, False),
            ({"one_of": ["a", "ab"]}, {"glob": "a*"}, True),
            ({"one_of": [1]}, {"glob": "*"}, False),
            ({"one_of": ["a"]}, {"one_of": ["a", "b"]}, True),
            ({"one_of": [True]}, {"one_of": [1]}, False),
            ({"one_of": [None]}, present, True),
            ({"one_of": [None]}, absent, False),
            ({"glob": "a*"}, {"glob": "*"}, True),
            ({"glob": "a"}, {"one_of": ["a"]}, False),
            ({"over": "1.0"}, {"over": "1"}, True),
            ({"over": "0.9"}, {"over": "1"}, False),
            ({"at_most": "1.0"}, {"at_most": "1"}, True),
            ({"at_most": "1.1"}, {"at_most": "1"}, False),
            ({"at_most": "1"}, {"over": "0"}, False),
            ({"glob": "*"}, present, True),
            ({"over": "1"}, present, True),
            ({"at_most": "1"}, present, True),
            (present, present, True),
            (absent, present, False),
            (absent, absent, True),
            (present, absent, False),
            ({"over": "2", "at_most": "3"}, {"over": "1", "at_most": "4", "present": True}, True),
            ({"at_most": "3"}, {"over": "1", "at_most": "4"}, False),
        ):
            first, second = ({"scope": [{"tool": "t", "arguments": {"/a": test}}]} for test in (one, other))
            self.assertEqual(self.narrows(first, second), within, (one, other))
            elsewhere = {"scope": [{"tool": "t", "arguments": {"/b": one}}]}
            self.assertFalse(self.narrows(elsewhere, second))
            self.assertTrue(self.narrows(first, {}))


class Office(Log):
    """Agents who pay under delegations, under a policy that allows everything."""

    ALLOW = {"effect": "allow", "match": {"always": True}, "name": "all", "uses": 1000}
    REQUIRE: dict[str, Any] = {"effect": "require", "match": {"always": True}, "name": "all", "requirements": [{"count": 1}]}
    REQUIRE |= {"segregation": True, "uses": 1000, "window": 1_000_000, "break_glass": True}
    COST = {"amount": "/amount", "currency_at": "/currency", "tool": "pay"}

    def __init__(self, rule: dict[str, Any] = ALLOW, **document: Any) -> None:
        super().__init__()
        people = {"agent": ("lead", "desk", "clerk"), "human": ("boss", "head"), "runtime": ("gate", "other")}
        for role, names in people.items():
            for name in names:
                self.enrol(name, role, groups=["gates"] if name == "gate" else [])
        self.document = {"language": "counterfoil-policy/1", "rules": [rule], "costs": [self.COST]} | document
        self.head = self.add("policy", "root", "authority", {"document": self.document}, prev=self.genesis)
        self.snapshot()
        self.actions: dict[str, tuple[str, dict[str, Any]]] = {}

    def enrol(self, name: str, role: str, **body: Any) -> str:
        body = {"change": "enrol", "principal": name, "key": self.key(name), "role": role, "groups": []} | body
        return self.add("keyring", "root", "authority", body, prev=self.genesis)

    def rotate(self, name: str, role: str, key: str, prev: str) -> str:
        body = {"change": "rotate", "principal": name, "key": self.key(key), "role": role, "groups": []}
        return self.add("keyring", "root", "authority", body | {"replaces": self.key(name)}, prev=prev)

    def grant(self, signer: str, role: str, delegate: str, above: str = "", key: str | None = None, **body: Any) -> str:
        body = {"delegate": self.holder(delegate), "scope": [{"tool": "pay"}], "depth": 4 if above == "" else 2} | body
        return self.add("delegation", signer, role, body, key=key, prev=above or self.genesis)

    def chain(self, *bounds: dict[str, Any]) -> tuple[str, str, str]:
        """The authority to lead, lead to desk, desk to clerk."""
        first, second, third = [*bounds, {}, {}, {}][:3]
        lead = self.grant("root", "authority", "lead", **first)
        desk = self.grant("lead", "agent", "desk", lead, **second)
        return lead, desk, self.grant("desk", "agent", "clerk", desk, **({"depth": 0} | third))

    def propose(
        self, agent: str, delegation: str | None, amount: Any = "1", key: str | None = None, **body: Any
    ) -> str:
        event = {"source": "test", "id": str(len(self.entries))}
        owner = {"principal": agent, "key": self.key(key or agent)}
        self.run = self.add("trigger", agent, "agent", {"event": event, "owner": owner}, key=key)
        action: dict[str, Any] = {"tool": "pay", "mode": "apply"}
        action["arguments"] = {"amount": amount, "currency": "EUR"}
        body = {"action": action, "audience": {"principal": "gate"}, "risk": "low"} | body
        if delegation is not None:
            body["delegation"] = delegation
        proposal = self.add("proposal", agent, "agent", body, key=key, run=self.run, parents=[self.run])
        self.actions[proposal] = self.run, body["action"]
        return proposal

    def approve(self, proposal: str, who: str) -> str:
        run, action = self.actions[proposal]
        shown = {"commitment": HASH, "label": "shown", "media_type": "text/plain", "size": 0}
        body: dict[str, Any] = {"proposal": proposal, "action": action_digest(action)}
        body["policy"] = policy_digest(self.document)
        body |= {"verdict": "approve", "shown": shown, "surface": "terminal", "basis": self.basis()}
        body |= {"window": {"from": 0, "until": 1_000_000}, "uses": 9}
        return self.add("decision", who, "human", body, run=run, parents=[proposal])

    def execute(self, proposal: str, use: int = 1, gate: str = "gate", **body: Any) -> str:
        run, action = self.actions[proposal]
        body = {"proposal": proposal, "use": use, "action": action, "decisions": [], "basis": self.basis()} | body
        body |= {"nonce": "nonce-of-a-python-test", "policy": policy_digest(self.document)}
        return self.add("execution", gate, "runtime", body, run=run, parents=[proposal])

    def revoke(self, signer: str, role: str, **target: str) -> str:
        return self.add("revocation", signer, role, {"target": target})

    def verify(
        self,
        without: set[int],
        policy: str = "quorum none\\n",
        cosigned: int | None = None,
        before: dict[int, int | None] | None = None,
    ) -> Verdict:
        data, trust = self.bundle(without, cosigned, before)
        trust = trust.replace("quorum none\\n", policy)
        pinned = f'{trust}[[authority]]\nroots = ["{self.key("root")}"]\n'
        return verify(data, parse_trust(pinned), self.time)


class Delegating(unittest.TestCase):
    def setUp(self) -> None:
        self.office = Office()

    def found(self, office: Office | None = None) -> list[str]:
        """The rules that are broken, in the order of the log."""
        fold = Fold()
        for index, data in enumerate((office or self.office).entries):
            fold.entry(index, data)
        self.assertTrue(all(one.is_broken for one in fold.findings))
        return [one.rule for one in fold.findings]

    def test_a_chain_of_three_links(self) -> None:
        office = self.office
        office.execute(office.propose("clerk", office.chain()[2]))
        office.snapshot()
        self.assertEqual(self.found(), [])

    def test_who_proposes(self) -> None:
        """R-DEL-04 wants the delegate of the named link, not that of one above or below."""
        lead, desk, clerk = self.office.chain()
        self.office.propose("lead", desk)
        self.office.propose("clerk", desk)
        self.office.propose("lead", lead)
        self.office.propose("desk", HASH)
        self.office.propose("desk", self.office.genesis)
        self.assertEqual(self.found(), ["R-DEL-04"] * 4)

    def test_unreadable_scope(self) -> None:
        office = self.office
        none = office.grant("root", "authority", "lead", scope=[{"tool": "pay", "arguments": {"amount": "1"}}])
        office.propose("lead", none)
        self.assertEqual(self.found(), ["R-DEL-01", "R-DEL-04"])

    def test_who_signs(self) -> None:
        office = self.office
        office.grant("lead", "agent", "desk")  # the genesis is narrowed by the authority only
        lead = office.grant("root", "authority", "lead")
        office.grant("desk", "agent", "clerk", lead)
        office.grant("root", "authority", "clerk", lead)
        self.assertEqual(self.found(), ["R-DEL-02"] * 3)

    def test_a_human_passes_on(self) -> None:
        office = self.office
        boss = office.grant("root", "authority", "boss")
        office.execute(office.propose("clerk", office.grant("boss", "human", "clerk", boss)))
        self.assertEqual(self.found(), [])

    def test_narrowing_is_judged_for_each_link(self) -> None:
        office = self.office
        lead = office.grant("root", "authority", "lead", depth=2, uses=5)
        office.grant("lead", "agent", "desk", lead, depth=2)
        office.grant("lead", "agent", "desk", lead, depth=1, uses=6)
        office.grant("lead", "agent", "desk", lead, depth=1, scope=[{"tool": "pay*"}])
        desk = office.grant("lead", "agent", "desk", lead, depth=1)
        clerk = office.grant("desk", "agent", "clerk", desk, depth=0, uses=6)  # of that above it alone
        office.grant("clerk", "agent", "lead", clerk, depth=0)
        self.assertEqual(self.found(), ["R-DEL-03"] * 4)

    def test_scope_of_every_link(self) -> None:
        office = self.office
        few = {"scope": [{"tool": "pay", "arguments": {"/amount": {"at_most": "5"}}}]}
        fewer = {"scope": [{"tool": "pay", "arguments": {"/amount": {"at_most": "3"}}}]}
        last = office.chain(few, few, fewer)[2]
        for amount in ("3.0", "3.01", "much"):
            office.propose("clerk", last, amount)
        action = {"tool": "pay", "arguments": {}, "mode": "apply"}
        office.propose("clerk", last, action=action | {"committed": {"/amount": HASH}})
        office.propose("clerk", last, action=action | {"free": ["/amount"]})
        self.assertEqual(self.found(), ["R-DEL-05"] * 4)

    def test_a_revoked_link_in_the_middle(self) -> None:
        office = self.office
        lead, desk, clerk = office.chain()
        first, second = office.propose("clerk", clerk), office.propose("lead", lead)
        office.execute(first)
        office.revoke("lead", "agent", delegation=desk)
        office.execute(first, use=2)
        office.propose("clerk", clerk)
        office.propose("desk", desk)
        office.grant("desk", "agent", "clerk", desk, depth=1)
        office.execute(second)  # above it
        office.propose("desk", office.grant("lead", "agent", "desk", lead, depth=1))  # and beside it
        self.assertEqual(self.found(), ["R-DEL-06"] * 4)

    def test_the_revoked_key_of_a_delegate(self) -> None:
        for name in ("lead", "desk", "clerk"):
            office = Office()
            proposal = office.propose("clerk", office.chain()[2])
            office.execute(proposal)
            office.revoke("root", "authority", key=office.key(name))
            office.execute(proposal, use=2)
            self.assertEqual(self.found(office), ["R-DEL-06"])

    def test_the_revoked_key_of_the_authority_ends_nothing(self) -> None:
        office = self.office
        office.enrol("second", "authority")
        lead = office.grant("second", "authority", "lead")
        office.revoke("root", "authority", key=office.key("second"))
        office.execute(office.propose("lead", lead))
        self.assertEqual(self.found(), [])

    def test_rotation_of_the_key_of_a_delegate(self) -> None:
        office = Office()
        lead = office.grant("root", "authority", "lead")
        head = keyring_of(office, "lead")
        office.rotate("lead", "agent", "lead-2", head)
        desk = office.grant("lead", "agent", "desk", lead, key="lead-2")
        proposal = office.propose("desk", desk)
        office.execute(proposal)
        office.execute(office.propose("lead", lead, key="lead-2"))
        self.assertEqual(self.found(office), [])
        office.revoke("root", "authority", key=office.key("lead-2"))  # which signed the link of desk
        office.execute(proposal, use=2)
        self.assertEqual(self.found(office), ["R-DEL-06"])

    def test_a_retired_key_ends_nothing(self) -> None:
        office = self.office
        proposal = office.propose("clerk", office.chain()[2])
        body = {"change": "retire", "principal": "desk", "key": office.key("desk"), "role": "agent", "groups": []}
        office.add("keyring", "root", "authority", body, prev=keyring_of(office, "desk"))
        office.execute(proposal)
        self.assertEqual(self.found(), [])

    def test_a_delegation_waits_for_the_threshold(self) -> None:
        office = self.office
        office.enrol("second", "authority", threshold=2)
        lead = office.grant("root", "authority", "lead")
        office.propose("lead", lead)
        office.grant("lead", "agent", "desk", lead)
        office.add("endorsement", "second", "authority", {"candidate": lead})
        desk = office.grant("lead", "agent", "desk", lead, depth=1)  # takes effect at its index
        office.execute(office.propose("desk", desk))
        office.add("endorsement", "second", "authority", {"candidate": desk})
        self.assertEqual(self.found(), ["R-DEL-04", "R-DEL-02", "R-AUTH-01"])

    def test_revoked_before_it_took_effect(self) -> None:
        office = self.office
        office.enrol("second", "authority", threshold=2)
        lead = office.grant("root", "authority", "lead")
        office.revoke("lead", "agent", delegation=lead)
        office.add("endorsement", "second", "authority", {"candidate": lead})
        office.propose("lead", lead)
        self.assertEqual(self.found(), ["R-DEL-06"])

    def test_who_revokes(self) -> None:
        for signer, role in (("root", "authority"), ("lead", "agent"), ("desk", "agent")):
            office = Office()
            desk = office.chain()[1]
            office.revoke(signer, role, delegation=desk)
            self.assertEqual(self.found(office), [])
        office = Office()
        desk = office.chain()[1]
        office.revoke("clerk", "agent", delegation=desk)
        office.revoke("boss", "human", delegation=desk)
        self.assertEqual(self.found(office), ["R-REV-02"] * 2)
        body = {"target": {"delegation": desk}, "distrust_from": 0}  # which means nothing here
        office.add("revocation", "desk", "agent", body)
        office.add("revocation", "lead", "agent", body)
        self.assertEqual(self.found(office), ["R-REV-02"] * 2 + ["R-REV-01"])

    def test_the_audience_of_every_link(self) -> None:
        office = self.office
        clerk = office.chain({"audience": {"group": "gates"}})[2]
        both: dict[str, Any] = {"audience": {"principal": "other"}}
        office.execute(office.propose("clerk", clerk))
        office.execute(office.propose("clerk", clerk, **both), gate="other")
        lead = office.grant("root", "authority", "lead", audience={"principal": "other"})
        office.execute(office.propose("lead", lead, **both), gate="other")
        office.execute(office.propose("lead", lead))
        self.assertEqual(self.found(), ["R-EXEC-10"] * 2)

    def test_validity_is_a_window(self) -> None:
        cases: list[tuple[dict[str, int], list[str]]] = [
            ({"not_before": 2000, "not_after": 3000}, []),
            ({"not_before": 2000, "not_after": 2999}, ["R-EXEC-08"]),  # log time is 3000
            ({"not_after": 1999}, ["R-EXEC-08"]),  # the runtime's own time is 2000
            ({"not_before": 2001}, ["R-EXEC-08"]),
            ({"not_before": 2000}, []),
        ]
        for bounds, rules in cases:
            for at in range(3):
                office = Office()
                clerk = office.chain(*[bounds if link == at else {} for link in range(3)])[2]
                office.execute(office.propose("clerk", clerk))
                office.snapshot()
                self.assertEqual((office.time, self.found(office)), (3000, rules), bounds)

    def test_uses_are_shared_by_siblings(self) -> None:
        office = self.office
        lead = office.grant("root", "authority", "lead", uses=3)
        desk = office.propose("desk", office.grant("lead", "agent", "desk", lead, uses=2))
        clerk = office.propose("clerk", office.grant("lead", "agent", "clerk", lead))
        for use in (1, 2, 3):
            office.execute(desk, use)
        for use in (1, 2):
            office.execute(clerk, use)
        office.execute(office.propose("lead", None))  # under none
        self.assertEqual(self.found(), ["R-DEL-07"] * 2)

    def test_a_total_is_shared_by_siblings_and_exact(self) -> None:
        office = self.office
        total = {"amount": "999999999999999999.999999999999999999", "currency": "EUR"}
        lead = office.grant("root", "authority", "lead", spend={"total": total})
        desk, clerk = (office.grant("lead", "agent", name, lead) for name in ("desk", "clerk"))
        office.execute(office.propose("desk", desk, "999999999999999999.9"))
        office.execute(office.propose("clerk", clerk, "0.1"))
        office.execute(office.propose("clerk", clerk, "0.099999999999999999"))
        office.execute(office.propose("desk", desk, "0.000000000000000001"))
        office.execute(office.propose("desk", desk, 0))
        self.assertEqual(self.found(), ["R-DEL-07"] * 2)

    def test_cost_of_one_action(self) -> None:
        office = self.office
        ten = {"amount": "10", "currency": "EUR"}
        lead = office.grant("root", "authority", "lead", spend={"per_action": ten})
        zero = office.grant("root", "authority", "lead", spend={"total": ten | {"amount": "0"}})
        for amount in ("10.0", 10, "10.01", 11, -1, "much"):
            office.execute(office.propose("lead", lead, amount))
        action = {"tool": "pay", "arguments": {"amount": "1", "currency": "USD"}, "mode": "apply"}
        office.execute(office.propose("lead", lead, action=action))
        office.execute(office.propose("lead", zero, "0.00"))
        office.execute(office.propose("lead", zero, "0.01"))
        self.assertEqual(self.found(), ["R-DEL-07"] * 6)

    def test_what_counts(self) -> None:
        """A preview, an execution that came late, one that failed; not one that was refused."""
        office = self.office
        lead = office.grant("root", "authority", "lead", uses=3, not_after=2500)
        preview = {"tool": "pay", "arguments": {"amount": "1", "currency": "EUR"}, "mode": "preview"}
        proposal = office.propose("lead", lead, action=preview)
        failed = office.execute(proposal)
        outcome = {"execution": failed, "status": "failed", "effects": "none"}
        office.add("outcome", "gate", "runtime", outcome, run=office.run, parents=[failed])
        office.execute(proposal, gate="other", use=2)
        office.execute(proposal, use=2)
        office.snapshot()
        office.time = 2400  # the runtimes' own
        office.execute(proposal, use=3)
        office.execute(proposal, use=4)
        self.assertEqual(self.found(), ["R-EXEC-10", "R-EXEC-08", "R-EXEC-08", "R-DEL-07"])

    def test_a_policy_that_knows_no_cost(self) -> None:
        office = Office(costs=[])
        cost = {"amount": "10", "currency": "EUR"}
        office.execute(office.propose("lead", office.grant("root", "authority", "lead", spend={"total": cost})))
        office.execute(office.propose("lead", office.grant("root", "authority", "lead", uses=1)))
        self.assertEqual(self.found(office), ["R-DEL-07"])

    def test_break_glass_counts(self) -> None:
        office = Office(Office.REQUIRE)
        proposal = office.propose("lead", office.grant("root", "authority", "lead", uses=1))
        office.execute(proposal, break_glass={"reason": "fire"})
        office.execute(proposal, use=2, break_glass={"reason": "fire"})
        self.assertEqual(self.found(office), ["R-DEL-07"])

    def test_a_delegate_in_the_chain_does_not_approve(self) -> None:
        office = Office(Office.REQUIRE)
        boss = office.grant("root", "authority", "boss")
        proposal = office.propose("clerk", office.grant("boss", "human", "clerk", boss))
        mine, other = office.approve(proposal, "boss"), office.approve(proposal, "head")
        office.execute(proposal, decisions=[mine])
        office.execute(proposal, decisions=[other])
        free = office.propose("clerk", None)
        office.execute(free, decisions=[office.approve(free, "boss")])
        self.assertEqual(self.found(office), ["R-EXEC-07"])

    def test_matcher(self) -> None:
        for match, allowed in (
            (True, "clerk lead"),
            (False, "none"),
            ("lead", "clerk lead"),
            ("clerk", "clerk"),
            ("nobody", ""),
        ):
            office = Office()
            ids = dict(zip(("lead", "desk", "clerk"), office.chain(), strict=True)) | {"nobody": HASH}
            matcher = {"delegation": [ids[match]] if isinstance(match, str) else match}
            office.document = {"language": "counterfoil-policy/1", "rules": [Office.ALLOW | {"match": matcher}]}
            self.assertTrue(language.readable(office.document))
            office.add("policy", "root", "authority", {"document": office.document}, prev=office.head)
            proposals = [("clerk", ids["clerk"]), ("lead", ids["lead"]), ("desk", None)]
            for proposal in [office.propose(*one) for one in proposals]:
                office.execute(proposal)
            names = ["clerk", "lead", "none"]
            self.assertEqual(self.found(office), ["R-EXEC-15"] * len(set(names) - set(allowed.split())))

    def test_matchers_that_are_none(self) -> None:
        for inner in (None, 1, [], ["x"], [HASH, HASH], ["sha256:" + f"{one:064x}" for one in range(33)]):
            rule = Office.ALLOW | {"match": {"delegation": inner}}
            self.assertFalse(language.readable({"language": "counterfoil-policy/1", "rules": [rule]}))

    def test_bundle(self) -> None:
        office = self.office
        lead, desk, clerk = office.chain()
        used = len(office.entries)
        aside = office.grant("lead", "agent", "desk", lead, depth=1)
        office.revoke("lead", "agent", delegation=aside)
        office.snapshot()
        proposal = office.propose("clerk", clerk)
        office.execute(proposal)
        office.snapshot()
        office.revoke("desk", "agent", delegation=clerk)
        office.snapshot()
        verdict = office.verify(set())
        kinds = [parse(data)["type"] for data in office.entries]
        here = {at for at, kind in enumerate(kinds) if kind in ("delegation", "revocation")}
        unused = {one.index for one in verdict.findings if one.rule == "R-BUN-07"}
        self.assertEqual(unused & here, {used, used + 1})
        verdict = office.verify({at for at in unused if at is not None})
        self.assertEqual([one.rule for one in verdict.findings], ["R-WIT-01"])
        self.assertEqual(verdict.conclusion, "shown")
        verdict = office.verify({at for at in unused if at is not None} | {used - 2})  # without the link in the middle
        self.assertEqual([(one.rule, one.index) for one in verdict.findings][0], ("R-DEL-02", used - 1))
        self.assertFalse(any(one.is_broken for one in verdict.findings if one.rule.startswith("R-DEL")))
        self.assertEqual(verdict.answers["authority"], "not_shown")


    def test_witnesses_who_came_too_late_for_a_link(self) -> None:
        office = self.office
        vkey = office.witness
        cases: list[tuple[dict[str, int], list[str]]] = [
            ({"not_after": 9000}, ["R-EXEC-08", "R-WIT-01"]),
            ({"not_before": 1}, ["R-WIT-01"]),  # it does not end
            ({}, ["R-WIT-01"]),
        ]
        for bounds, rules in cases:
            office = Office()
            office.execute(office.propose("clerk", office.chain(bounds)[2]))
            office.snapshot()
            verdict = office.verify(set(), f"witness w {vkey}\\nquorum w\\n")
            found = [one for one in verdict.findings if one.rule not in ("R-BUN-07", "R-FRESH-01")]
            self.assertEqual([one.rule for one in found], rules)
            self.assertFalse(any(one.is_broken for one in found))


class Trying(unittest.TestCase):
    """Retries and previews, which the policy of an office lets and wants."""

    def found(self, office: Office) -> list[str]:
        fold = Fold()
        for index, data in enumerate(office.entries):
            fold.entry(index, data)
        return [one.rule for one in fold.findings]

    def report(self, office: Office, proposal: str, execution: str, status: str = "unknown") -> str:
        effects = "unknown" if status == "unknown" else "none"
        body = {"execution": execution, "status": status, "effects": effects}
        run = office.actions[proposal][0]
        return office.add("outcome", "gate", "runtime", body, run=run, parents=[execution])

    def test_retries_are_counted_along_the_chain(self) -> None:
        office = Office(Office.ALLOW | {"retries": 2})
        proposal = office.propose("clerk", None)
        last = office.execute(proposal)
        for _ in range(3):
            self.report(office, proposal, last)
            last = office.execute(proposal, retries=last)
        self.assertEqual(self.found(office), ["R-EXEC-14"])

    def test_what_may_be_retried(self) -> None:
        office = Office(Office.ALLOW | {"retries": 1})
        for status, broken in (("", ["R-EXEC-14"]), ("succeeded", ["R-EXEC-14"]), ("failed", ["R-EXEC-14"]), ("unknown", [])):
            before = len(self.found(office))
            proposal = office.propose("clerk", None)
            execution = office.execute(proposal)
            if status:
                self.report(office, proposal, execution, status)
            office.execute(proposal, retries=execution)
            self.assertEqual(self.found(office)[before:], broken, status)

    def test_who_holds_the_use(self) -> None:
        office = Office(Office.ALLOW | {"retries": 3})
        proposal = office.propose("clerk", None)
        first, second = office.execute(proposal), office.execute(proposal, use=2)
        for one in (first, second):
            self.report(office, proposal, one)
        office.execute(proposal, use=2, retries=first)  # another holds it
        office.execute(proposal, use=3, retries=first)  # nobody holds it
        office.execute(proposal)  # it is held, and not named
        again = office.execute(proposal, retries=first)
        office.execute(proposal, retries=first)  # the retry holds it
        office.execute(proposal, retries=again)  # of which nothing is known
        self.assertEqual(self.found(office), ["R-EXEC-02", "R-EXEC-14", "R-EXEC-02", "R-EXEC-02", "R-EXEC-14"])

    def test_a_delegation_pays_once(self) -> None:
        office = Office(Office.ALLOW | {"retries": 1})
        lead = office.grant("root", "authority", "lead", uses=1, spend={"total": {"amount": "5", "currency": "EUR"}})
        proposal = office.propose("lead", lead, "5")
        first = office.execute(proposal)
        self.report(office, proposal, first)
        office.execute(proposal, retries=first)
        office.execute(office.propose("lead", lead, "0"))
        self.assertEqual(self.found(office), ["R-DEL-07"])

    def test_previews(self) -> None:
        office = Office(Office.ALLOW | {"preview": True})
        for status, amount, broken in (
            ("succeeded", "1", []),
            ("failed", "1", ["R-EXEC-17"]),
            ("unknown", "1", ["R-EXEC-17"]),
            ("succeeded", "2", ["R-EXEC-17"]),
        ):
            before = len(self.found(office))
            office.propose("clerk", None)
            run, action = office.run, {"tool": "pay", "arguments": {"amount": amount, "currency": "EUR"}, "mode": "preview"}
            body = {"action": action, "audience": {"principal": "gate"}, "risk": "low"}
            preview = office.add("proposal", "clerk", "agent", body, run=run, parents=[run])
            office.actions[preview] = run, action
            outcome = self.report(office, preview, office.execute(preview), status)
            applied = action | {"mode": "apply", "arguments": {"amount": "1", "currency": "EUR"}}
            proposal = office.add("proposal", "clerk", "agent", body | {"action": applied}, run=run, parents=[outcome])
            office.actions[proposal] = run, applied
            office.execute(proposal)
            self.assertEqual(self.found(office)[before:], broken, (status, amount))


class Clock(Office):
    """A server that keeps time: actions want one of finance, asked later of boss, and end by time-out."""

    STEPS: list[dict[str, Any]] = [
        {"after": 1000, "to": {"principals": ["boss"]}},
        {"after": 2000, "to": {"groups": ["chiefs"], "principals": ["boss", "head"]}},
    ]
    TO: list[list[dict[str, str]]] = [
        [{"principal": "boss"}],
        [{"principal": "boss"}, {"principal": "head"}, {"group": "chiefs"}],
    ]
    SURFACES = ["link", "terminal"]
    RULE: dict[str, Any] = Office.REQUIRE | {
        "requirements": [{"count": 1, "groups": ["finance"], "surfaces": SURFACES}],
        "uses": 2,
        "escalation": STEPS,
        "timeout": {"after": 3000, "then": "approve"},
    }

    def __init__(self, then: str = "approve", steps: bool = True, after: int = 3000, **document: Any) -> None:
        rule = {name: value for name, value in self.RULE.items() if steps or name != "escalation"}
        super().__init__(rule | {"timeout": {"after": after, "then": then}}, **document)
        for name, groups in (("fay", ["finance"]), ("cid", ["chiefs"]), ("gus", ["finance"])):
            self.enrol(name, "human", groups=groups)
        self.enrol("server", "policy")

    def wait(self, snapshots: int) -> None:
        for _ in range(snapshots):
            self.snapshot()

    def decide(self, proposal: str, who: str, role: str = "human", key: str | None = None, **body: Any) -> str:
        run, action = self.actions[proposal]
        shown = {"commitment": HASH, "label": "shown", "media_type": "text/plain", "size": 0}
        usual: dict[str, Any] = {"proposal": proposal, "action": action_digest(action), "verdict": "approve"}
        usual |= {"policy": policy_digest(self.document), "shown": shown, "surface": "terminal"}
        usual |= {"basis": self.basis()} | body
        if usual["verdict"] == "approve":
            usual = {"window": {"from": 0, "until": 1_000_000}, "uses": 2} | usual
        usual = {name: value for name, value in usual.items() if value is not None}
        return self.add("decision", who, role, usual, key=key, run=run, parents=[proposal])

    def link(self, proposal: str, approver: str, **body: Any) -> str:
        return self.decide(proposal, "server", "policy", **({"approver": approver, "surface": "link"} | body))

    def time_out(self, proposal: str, **body: Any) -> str:
        usual: dict[str, Any] = {"rule": "all", "surface": "none", "shown": None}
        if body.get("verdict", "approve") == "approve":
            usual["window"] = {"from": self.time, "until": self.time + 1_000_000}
        return self.decide(proposal, "server", "policy", **(usual | body))

    def escalate(self, proposal: str, step: int, **body: Any) -> str:
        run, _ = self.actions[proposal]
        usual = {"proposal": proposal, "policy": policy_digest(self.document), "rule": "all", "step": step}
        usual |= {"to": self.TO[min(step, 2) - 1]}
        return self.add("escalation", "server", "policy", usual | body, run=run, parents=[proposal])

    def set_policy(self, document: dict[str, Any]) -> None:
        self.document = document
        self.head = self.add("policy", "root", "authority", {"document": document}, prev=self.head)

    def hide_policy(self, document: dict[str, Any]) -> None:
        """A policy whose document stays in the log."""
        self.head = self.add("policy", "root", "authority", {"digest": policy_digest(document)}, prev=self.head)

    def cancel(self, target: str, proposal: str, who: str, role: str = "human", key: str | None = None) -> str:
        run = self.actions[proposal][0]
        return self.add("cancel", who, role, {"target": target}, key=key, run=run, parents=[target])

    def retire(self, who: str, groups: list[str] | None = None) -> None:
        body = {"change": "retire", "principal": who, "key": self.key(who), "role": "human", "groups": groups or []}
        self.add("keyring", "root", "authority", body, prev=keyring_of(self, who))


class Timing(unittest.TestCase):
    """Time-outs, escalation, and decisions by link (spec/policy.md §1)."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.documents: dict[str, dict[str, Any]] = {}

    def in_part(self, clock: Clock, without: set[int] | None = None) -> list[tuple[str, bool]]:
        """What a bundle gives, without some entries: each rule, and whether it is broken."""
        fold = Fold(complete=False, documents=self.documents)
        for index, data in enumerate(clock.entries):
            if index not in (without or set()):
                fold.entry(index, data)
        return [(one.rule, one.is_broken) for one in fold.findings]

    def found(self, clock: Clock | None = None) -> list[str]:
        fold = Fold(documents=self.documents)
        for index, data in enumerate((clock or self.clock).entries):
            fold.entry(index, data)
        return [one.rule for one in fold.findings]

    def is_readable(self, **rule: Any) -> bool:
        rule = {name: value for name, value in (Clock.RULE | rule).items() if value is not None}
        return language.readable({"language": "counterfoil-policy/1", "rules": [rule]})

    def test_documents(self) -> None:
        boss = {"principals": ["boss"]}
        names = [f"n-{number:02}" for number in range(17)]
        for good in (
            {"escalation": None},
            {"timeout": None},
            {"timeout": {"after": 2001, "then": "reject"}},
            {"timeout": {"after": 31_622_400_000, "then": "reject"}},
            {"escalation": [{"after": number + 1, "to": boss} for number in range(16)]},
            {"escalation": [{"after": 1, "to": {"groups": names[:16], "principals": names[:16]}}]},
        ):
            with self.subTest(good):
                self.assertTrue(self.is_readable(**good))
        for bad in (
            {"timeout": {"after": 2000, "then": "approve"}},
            {"timeout": {"after": 31_622_400_001, "then": "approve"}},
            {"timeout": {"after": 3000, "then": "request_changes"}},
            {"timeout": {"after": 3000}},
            {"escalation": []},
            {"escalation": [{"after": 0, "to": boss}]},
            {"escalation": [{"after": 1, "to": boss}] * 2},
            {"escalation": [{"after": 2, "to": boss}, {"after": 1, "to": boss}]},
            {"escalation": [{"after": number + 1, "to": boss} for number in range(17)]},
            {"escalation": [{"after": 1, "to": {}}]},
            {"escalation": [{"after": 1, "to": {"groups": []}}]},
            {"escalation": [{"after": 1, "to": {"groups": ["b", "a"]}}]},
            {"escalation": [{"after": 1, "to": {"principals": names}}]},
            {"escalation": [{"after": 1, "to": {"everybody": True}}]},
            {"effect": "allow", "requirements": None, "segregation": None, "window": None, "break_glass": None},
        ):
            with self.subTest(bad):
                self.assertFalse(self.is_readable(**bad))

    def test_voices(self) -> None:
        """R-DEC-03."""
        proposal = self.clock.propose("clerk", None)
        shown = {"commitment": HASH, "label": "shown", "media_type": "text/plain", "size": 0}
        bad: list[tuple[str, dict[str, Any]]] = [
            ("human", {"approver": "fay", "surface": "link"}),
            ("human", {"rule": "all", "surface": "none", "shown": None}),
            ("human", {"shown": None}),
            ("policy", {}),
            ("policy", {"surface": "link"}),
            ("policy", {"approver": "fay"}),
            ("policy", {"approver": "fay", "surface": "link", "shown": None}),
            ("policy", {"approver": "fay", "rule": "all", "surface": "link"}),
            ("policy", {"rule": "all", "surface": "none", "shown": shown}),
            ("policy", {"rule": "all", "shown": None}),
            ("policy", {"rule": "all", "surface": "none", "shown": None, "verdict": "request_changes"}),
        ]
        for role, body in bad:
            self.clock.decide(proposal, "server" if role == "policy" else "fay", role, **body)
        self.clock.decide(proposal, "fay", surface="link")  # by a key of their own
        self.assertEqual(self.found(), ["R-DEC-03"] * len(bad))

    def test_a_time_out_is_due_at_its_time(self) -> None:
        for wait, rules in ((0, ["R-TIME-02", "R-CHAIN-04"]), (3, ["R-TIME-02", "R-CHAIN-04"]), (4, []), (5, [])):
            clock = Clock(steps=False)
            proposal = clock.propose("clerk", None)
            clock.wait(wait)  # the first snapshot gives the log time of the proposal
            clock.execute(proposal, decisions=[clock.time_out(proposal)])
            self.assertEqual(self.found(clock), rules, wait)

    def test_the_window_of_a_time_out_begins_when_it_is_due(self) -> None:
        for begins, wait, rules in (
            (-1, 4, ["R-TIME-02", "R-CHAIN-04"]),
            (0, 4, []),
            (-1, 9, ["R-TIME-02", "R-CHAIN-04"]),  # however late it is said
            (0, 9, []),
            (5000, 9, []),
        ):
            clock = Clock(steps=False)
            proposal = clock.propose("clerk", None)
            clock.snapshot()
            due = clock.time + 3000
            clock.wait(wait - 1)
            window = {"from": due + begins, "until": due + 10_000}
            clock.execute(proposal, decisions=[clock.time_out(proposal, window=window)])
            self.assertEqual(self.found(clock), rules, (begins, wait))

    def test_the_window_of_a_time_out_in_a_bundle(self) -> None:
        for begins, wait, broken in ((-1, 4, True), (0, 4, False), (-1, 3, True), (0, 3, False)):
            clock = Clock(steps=False)
            proposal = clock.propose("clerk", None)
            dated = len(clock.entries)
            clock.snapshot()
            due = clock.time + 3000
            clock.wait(wait - 1)
            last = len(clock.entries) - 1
            clock.time_out(proposal, window={"from": due + begins, "until": due + 10_000})
            self.assertEqual(self.in_part(clock), [("R-TIME-02", broken)] if broken or wait < 4 else [])
            self.assertEqual(self.in_part(clock, {last}), [("R-TIME-02", broken)])  # whether or not it was due
            self.assertEqual(self.in_part(clock, {dated}), [("R-TIME-02", False)])  # since when is not shown

    def ahead(self, clock: Clock, by: int) -> tuple[str, int]:
        """A proposal that claims a time so long after its log time; the index of the snapshot that dates it."""
        clock.time += 1000 + by
        proposal = clock.propose("clerk", None)
        clock.time -= 1000 + by
        clock.snapshot()
        return proposal, len(clock.entries) - 1

    def test_a_timer_counts_from_the_time_of_its_proposal(self) -> None:
        """Where that is later than its log time."""
        cases = [(-1000, 3, True), (0, 3, True), (1, 3, False), (1, 4, True), (1000, 3, False), (1000, 4, True)]
        for by, wait, is_due in cases:
            clock = Clock(steps=False)
            proposal, dated = self.ahead(clock, by)
            clock.wait(wait)
            last = len(clock.entries) - 1
            window = {"from": clock.time + 1000, "until": clock.time + 9000}
            clock.execute(proposal, decisions=[clock.time_out(proposal, window=window)])
            rules = [] if is_due else ["R-TIME-02", "R-CHAIN-04"]
            found = [rule for rule in self.found(clock) if rule != "R-EXEC-08"]  # executed before that window
            self.assertEqual(found, rules, (by, wait))
            found_in_part = [one for one in self.in_part(clock) if one[0] != "R-EXEC-08"]
            self.assertEqual(found_in_part, [(rule, False) for rule in rules], (by, wait))
            for left_out in (dated, last):
                self.assertIn(("R-TIME-02", False), self.in_part(clock, {left_out}))

    def test_a_step_counts_from_the_time_of_its_proposal(self) -> None:
        for by, is_due in ((1000, True), (1001, False)):
            clock = Clock()
            proposal, _ = self.ahead(clock, by)
            clock.wait(2)  # 1000 after the proposal
            clock.escalate(proposal, 1)
            self.assertEqual(self.found(clock), [] if is_due else ["R-TIME-02"])
            self.assertEqual(self.in_part(clock), [] if is_due else [("R-TIME-02", False)])

    def test_a_log_that_dates_a_proposal_back(self) -> None:
        """The snapshot after the proposal says a time long past, and the next one the true one."""
        clock = Clock(steps=False)
        proposal, _ = self.ahead(clock, 7_200_000)
        clock.time += 7_200_000
        clock.snapshot()
        begins = clock.time - 7_200_000 + 3000
        clock.time_out(proposal, window={"from": begins, "until": clock.time + 9000})
        clock.time_out(proposal, window={"from": clock.time + 3000, "until": clock.time + 9000})
        self.assertEqual(self.found(clock), ["R-TIME-02"] * 2)
        self.assertEqual(self.in_part(clock), [("R-TIME-02", True), ("R-TIME-02", False)])

    def test_the_window_of_a_time_out_counts_from_the_time_of_the_proposal(self) -> None:
        for begins, is_broken in ((-1, True), (0, False)):
            clock = Clock(steps=False)
            proposal, dated = self.ahead(clock, 5000)
            due = clock.time + 5000 + 3000
            clock.wait(8)
            last = len(clock.entries) - 1
            self.assertEqual(clock.time, due)
            clock.time_out(proposal, window={"from": due + begins, "until": due + 10_000})
            self.assertEqual(self.found(clock), ["R-TIME-02"] if is_broken else [])
            self.assertEqual(self.in_part(clock), [("R-TIME-02", True)] if is_broken else [])
            self.assertEqual(self.in_part(clock, {last}), [("R-TIME-02", is_broken)])
            self.assertEqual(self.in_part(clock, {dated}), [("R-TIME-02", False)])  # though it can't be earlier

    def test_the_window_of_a_time_out_after_a_timer_in_doubt(self) -> None:
        clock = Clock()
        proposal = clock.propose("clerk", None)
        clock.snapshot()
        clock.escalate(proposal, 1)  # by the snapshots that are shown, it is early
        clock.wait(3)
        clock.time_out(proposal, window={"from": 0, "until": 10})
        clock.time_out(proposal)
        doubts = [("R-TIME-02", False), ("R-TIME-02", True), ("R-TIME-03", False)]
        self.assertEqual(self.in_part(clock), doubts)

    def test_the_window_of_a_time_out_under_a_policy_that_is_not_shown_to_be_old(self) -> None:
        """R-TIME-01 goes before R-TIME-02, and ends the judgement if it is in doubt."""
        clock = Clock(steps=False)
        proposal = clock.propose("clerk", None)
        clock.set_policy(clock.document | {"free": []})
        clock.wait(4)
        clock.time_out(proposal, window={"from": 0, "until": 10})
        self.assertEqual(self.in_part(clock), [("R-TIME-01", False)])
        self.assertEqual(self.found(clock), ["R-TIME-01"])

    def test_a_time_out_rejects(self) -> None:
        clock = Clock("reject", steps=False)
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(proposal)
        clock.time_out(proposal, verdict="reject")
        clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
        self.assertEqual(self.found(clock), ["R-TIME-01", "R-EXEC-04"])

    def test_timers_that_no_policy_has(self) -> None:
        clock = self.clock
        clock.TO = [Clock.TO[0], Clock.TO[1][::-1]]
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(proposal, policy=HASH)
        clock.time_out(proposal, rule="other")
        clock.time_out(proposal, verdict="reject")
        clock.escalate(proposal, 3)
        clock.escalate(proposal, 2)  # in another order
        clock.escalate(proposal, 1, to=Clock.TO[1])
        clock.escalate(proposal, 1, rule="other")
        clock.escalate(proposal, 1, policy=HASH)
        self.assertEqual(self.found(), ["R-TIME-01"] * 8)

    def test_a_rule_that_does_not_apply_has_no_timer(self) -> None:
        deny = {"effect": "deny", "match": {"always": True}, "name": "none"}
        document = {"language": "counterfoil-policy/1", "rules": [Clock.RULE, deny]}
        clock = Clock()
        clock.set_policy(document)
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(proposal)
        clock.time_out(proposal, rule="none")
        self.assertEqual(self.found(clock), ["R-TIME-01"] * 2)

    def test_under_language_0_nothing_counts(self) -> None:
        clock = self.clock
        rule = {"count": 1, "role": "human", "groups": [], "segregation": True, "uses": 2, "window": 1_000_000}
        clock.document = {"break_glass": False, "language": "counterfoil-policy/0", "rule": rule}
        clock.add("policy", "root", "authority", {"document": clock.document}, prev=clock.head)
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(proposal, rule="rule")
        clock.escalate(proposal, 1, rule="rule")
        clock.link(proposal, "fay", verdict="reject")  # without effect
        clock.execute(proposal, decisions=[clock.link(proposal, "fay")])
        clock.execute(proposal, decisions=[clock.decide(proposal, "fay", surface="link")])
        self.assertEqual(self.found(), ["R-TIME-01", "R-TIME-01", "R-EXEC-06"])

    def test_once_and_while_open(self) -> None:
        clock = self.clock
        once = clock.propose("clerk", None)
        ended, executed, met = (clock.propose("clerk", None) for _ in range(3))
        clock.wait(4)
        clock.time_out(once)  # before its steps
        clock.escalate(once, 2)
        clock.escalate(once, 1)
        clock.escalate(once, 1, reason="again")
        clock.time_out(once, reason="one step is not both")
        clock.escalate(once, 2, reason="now it is")
        by_time = clock.time_out(once, reason="so is this")
        clock.time_out(once, reason="again")
        clock.escalate(once, 2, reason="after the time-out")
        clock.cancel(by_time, once, "root", "authority")
        clock.time_out(once, reason="and again")
        clock.decide(ended, "fay", verdict="reject")
        clock.escalate(ended, 1)
        clock.execute(executed, decisions=[], break_glass={"reason": "fire"})
        clock.escalate(executed, 1)
        clock.decide(met, "fay")
        clock.escalate(met, 1)
        self.assertEqual(self.found(), ["R-TIME-03"] * 10)

    def test_what_does_not_meet_a_rule(self) -> None:
        clock = Clock()
        clock.enrol("insider", "agent")
        head = keyring_of(clock, "insider")
        own: dict[str, Any] = {"change": "enrol", "principal": "insider", "key": clock.key("insider-2")}
        clock.add("keyring", "root", "authority", own | {"role": "human", "groups": ["finance"]}, prev=head)
        own = {"change": "enrol", "principal": "insider", "key": clock.key("insider-3"), "role": "policy"}
        head = keyring_of(clock, "insider")
        clock.add("keyring", "root", "authority", own | {"groups": ["finance"]}, prev=head)
        wide, revoked, named, stranger = (clock.propose("clerk", None) for _ in range(4))
        involved, signed = clock.propose("insider", None), clock.propose("insider", None)
        clock.wait(4)
        clock.decide(wide, "fay", window={"from": 0, "until": 1_000_001})
        clock.decide(named, "gus", policy=HASH)
        clock.decide(stranger, "cid")
        clock.decide(involved, "insider", key="insider-2")
        clock.decide(signed, "insider", "policy", key="insider-3", approver="fay", surface="link")
        clock.decide(revoked, "gus")
        clock.revoke("root", "authority", key=clock.key("gus"))
        for one in (wide, revoked, named, stranger, involved, signed):
            clock.escalate(one, 1)
            clock.escalate(one, 2)
            clock.execute(one, decisions=[clock.time_out(one)])
        self.assertEqual(self.found(clock), [])

    def test_what_was_withdrawn(self) -> None:
        for then, rules in (("approve", ["R-TIME-03"]), ("reject", [])):
            for who in ("fay", "cid"):  # also of somebody who was not entitled
                clock = Clock(then)
                proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
                clock.wait(4)
                clock.cancel(clock.decide(proposal, who), proposal, who)
                clock.escalate(proposal, 1)
                clock.escalate(proposal, 2)
                clock.time_out(proposal, verdict=then)
                clock.escalate(other, 1)
                clock.escalate(other, 2)
                clock.time_out(other, verdict=then)
                self.assertEqual(self.found(clock), rules, (then, who))

    def test_a_withdrawn_rejection_keeps_an_approving_time_out_away(self) -> None:
        for then, rules in (("approve", ["R-TIME-03"]), ("reject", [])):
            for who, role in (("cid", "human"), ("root", "authority")):
                clock = Clock(then, steps=False)
                proposal = clock.propose("clerk", None)
                clock.wait(4)
                rejected = clock.decide(proposal, "cid", verdict="reject")  # without effect
                clock.cancel(rejected, proposal, who, role)
                clock.time_out(proposal, verdict=then)
                self.assertEqual(self.found(clock), rules, (then, who))

    def test_a_policy_is_older_than_what_it_times(self) -> None:
        clock = Clock(steps=False)
        first, old = clock.document, clock.propose("clerk", None)
        second = first | {"free": []}
        clock.set_policy(second)
        young = clock.propose("clerk", None)
        clock.set_policy(second)  # the same goes on
        clock.wait(4)
        clock.time_out(old)
        clock.time_out(young)
        between = clock.propose("clerk", None)
        clock.set_policy(first)
        clock.set_policy(second)
        last = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(between)  # it was in force before, and is again, but not since
        clock.time_out(last)
        self.assertEqual(self.found(clock), ["R-TIME-01"] * 2)
        self.assertEqual(self.in_part(clock), [("R-TIME-01", False)] * 2)  # one left out may make it look younger

    def test_a_policy_that_is_said_again_goes_on(self) -> None:
        for says_the_same in (True, False):
            for by_digest in (True, False):
                clock = Clock(steps=False)
                document = clock.document
                self.documents = {policy_digest(document): document}
                proposal = clock.propose("clerk", None)
                if not says_the_same:
                    clock.set_policy(document | {"free": []})
                if by_digest:
                    clock.hide_policy(document)
                    clock.document = document
                else:
                    clock.set_policy(document)
                clock.wait(4)
                clock.execute(proposal, decisions=[clock.time_out(proposal)])
                self.assertEqual(self.found(clock), [] if says_the_same else ["R-TIME-01", "R-CHAIN-04"])
                found = [] if says_the_same else [("R-TIME-01", False), ("R-CHAIN-04", False)]
                self.assertEqual(self.in_part(clock), found)

    def test_a_young_policy_without_such_a_timer(self) -> None:
        clock = Clock(steps=False)
        proposal = clock.propose("clerk", None)
        clock.set_policy(clock.document | {"free": []})
        clock.wait(4)
        clock.time_out(proposal, rule="other")
        self.assertEqual(self.in_part(clock), [("R-TIME-01", True)])

    def test_a_policy_that_is_not_shown(self) -> None:
        for names_the_one_in_doubt in (False, True):  # whether that is the head is in doubt: nothing is broken
            with self.subTest(names_the_one_in_doubt):
                self.check_hidden_policy(names_the_one_in_doubt)

    def check_hidden_policy(self, names_the_one_in_doubt: bool) -> None:
        clock = Clock(steps=False)
        second = clock.document | {"free": []}
        proposal, head = clock.propose("clerk", None), clock.head
        clock.hide_policy(second)
        clock.wait(4)
        clock.time_out(proposal)
        self.documents = {policy_digest(second): second}
        self.assertEqual(self.found(clock), ["R-TIME-01"])
        self.documents = {}
        if not names_the_one_in_doubt:
            clock.head = head
        clock.set_policy(clock.document)
        clock.time_out(proposal, reason="again")  # nor is it shown that no other was in force meanwhile
        young = clock.propose("clerk", None)
        clock.wait(4)
        clock.time_out(young)
        self.assertEqual(self.in_part(clock), [(one, False) for one in ("R-POL-01", "R-TIME-01", "R-TIME-01")])

    def test_an_execution_under_a_policy_that_is_not_shown(self) -> None:
        for names_the_one_in_doubt in (False, True):
            clock = Clock()
            first, second = clock.document, clock.document | {"free": []}
            proposal = clock.propose("clerk", None)
            clock.hide_policy(second)
            clock.document = second if names_the_one_in_doubt else first
            clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
            clock.set_policy(first)
            clock.execute(proposal, decisions=[clock.decide(proposal, "fay", reason="now")])
            self.documents = {policy_digest(second): second}
            broken = ["R-EXEC-02"] if names_the_one_in_doubt else ["R-EXEC-09"]
            self.assertEqual(self.found(clock), broken)
            self.documents = {}
            self.assertEqual(self.in_part(clock), [("R-POL-01", False), ("R-EXEC-09", False)])

    def test_an_endorsement_of_a_policy_that_is_not_shown(self) -> None:
        clock = Clock()
        body = {"change": "enrol", "principal": "second", "key": clock.key("second"), "role": "authority", "groups": []}
        clock.add("keyring", "root", "authority", body | {"threshold": 2}, prev=clock.genesis)
        clock.hide_policy(clock.document)
        at = len(clock.entries) - 1
        clock.add("endorsement", "second", "authority", {"candidate": clock.head})
        self.documents = {policy_digest(clock.document): clock.document}
        self.assertEqual(self.found(clock), [])
        self.documents = {}
        self.assertEqual(self.in_part(clock), [("R-POL-01", False), ("R-AUTH-01", False)])
        self.assertEqual(self.in_part(clock, {at}), [("R-AUTH-01", True)])  # in a bundle it is unused, and not folded

    def test_an_endorsement_of_a_policy_that_is_not_shown_after_another(self) -> None:
        """What waited in doubt may take effect behind a policy that is shown."""
        clock = Clock()
        hidden, shown = clock.document | {"free": []}, clock.document | {"costs": []}
        body = {"change": "enrol", "principal": "second", "key": clock.key("second"), "role": "authority", "groups": []}
        clock.add("keyring", "root", "authority", body | {"threshold": 2}, prev=clock.genesis)
        clock.hide_policy(hidden)
        waits = clock.head
        clock.set_policy(shown)
        clock.add("endorsement", "second", "authority", {"candidate": clock.head})
        proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
        clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
        clock.add("endorsement", "second", "authority", {"candidate": waits})
        clock.execute(other, decisions=[clock.decide(other, "fay")])
        clock.wait(2)
        clock.escalate(other, 1)
        self.documents = {policy_digest(hidden): hidden}
        self.assertEqual(self.found(clock), ["R-EXEC-09", "R-TIME-01"])
        self.documents = {}
        doubts = ["R-POL-01", "R-AUTH-01", "R-EXEC-09", "R-TIME-01"]
        self.assertEqual(self.in_part(clock), [(one, False) for one in doubts])

    def test_a_run_whose_trigger_is_in_doubt(self) -> None:
        clock = Clock()
        early = clock.time + 1500
        clock.enrol("late", "agent", not_before=early)
        clock.wait(2)
        due = len(clock.entries) - 1
        clock.decide(clock.propose("late", None), "fay")
        self.assertEqual(self.found(clock), [])
        doubts = [("R-KEY-06", False), ("R-KEY-06", False), ("R-CHAIN-03", False)]
        self.assertEqual(self.in_part(clock, {due}), doubts)
        key = {"change": "enrol", "principal": "late", "key": clock.key("late-2"), "role": "agent", "groups": []}
        clock.add("keyring", "root", "authority", key, prev=keyring_of(clock, "late"))
        handed = {"kind": "note", "summary": "by another key"}
        clock.add("observation", "late", "agent", handed, key="late-2", run=clock.run, parents=[clock.run])
        self.assertEqual(self.found(clock), ["R-OWN-01"])
        self.assertEqual(self.in_part(clock, {due})[3:], [("R-CHAIN-03", False)])

    def test_a_keyring_record_that_names_one_in_doubt(self) -> None:
        clock = Clock(steps=False)
        at, prev = len(clock.entries), keyring_of(clock, "fay")
        clock.retire("fay")
        body = {"change": "enrol", "principal": "fay", "key": clock.key("fay-2"), "role": "human", "groups": []}
        clock.add("keyring", "root", "authority", body, prev=keyring_of(clock, "fay"))
        self.assertEqual(self.found(clock), [])
        fold = Fold(complete=False)
        for index, data in enumerate(clock.entries):
            if index == at:  # as if a rule were neither held nor broken
                fold.reach(index)
                record = parse_record(data)
                fold.shown.add(record.id)
                fold.doubtful[record.id] = record
            else:
                fold.entry(index, data)
        self.assertEqual(fold.findings, [])
        body |= {"key": clock.key("fay-3")}
        clock.add("keyring", "root", "authority", body, prev=prev)  # which is there, and not the head
        fold.entry(len(clock.entries) - 1, clock.entries[-1])
        self.assertEqual([(one.rule, one.is_broken) for one in fold.findings], [("R-CHAIN-05", True)])

    def test_a_policy_record_that_is_left_out(self) -> None:
        for second in ({"free": []}, {}):
            clock = Clock(steps=False)
            first, proposal = clock.document, clock.propose("clerk", None)
            left_out = len(clock.entries)
            clock.set_policy(first | second)
            clock.set_policy(first)
            clock.wait(4)
            clock.time_out(proposal)
            self.assertEqual(self.found(clock), ["R-TIME-01"] if second else [])
            self.assertEqual(self.in_part(clock, {left_out}), [("R-TIME-01", False)])

    def test_terms_of_a_time_out_are_bounded(self) -> None:
        clock = Clock(steps=False)
        wide, closed = clock.propose("clerk", None), clock.propose("clerk", None)
        clock.wait(4)
        clock.execute(wide, decisions=[clock.time_out(wide, uses=3)])
        clock.time_out(wide)  # once is once
        later = {"from": clock.time + 1, "until": clock.time + 5}
        clock.execute(closed, decisions=[clock.time_out(closed, window=later)])
        self.assertEqual(self.found(clock), ["R-EXEC-12", "R-TIME-03", "R-EXEC-08"])

    def test_a_time_out_comes_from_nobody(self) -> None:
        clock = Clock(steps=False)
        own: dict[str, Any] = {"change": "enrol", "principal": "gate", "key": clock.key("gate-2"), "role": "policy"}
        clock.add("keyring", "root", "authority", own | {"groups": ["gates"]}, prev=keyring_of(clock, "gate"))
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        by_time: dict[str, Any] = {"rule": "all", "surface": "none", "shown": None}
        by_time["window"] = {"from": clock.time, "until": clock.time + 5}
        clock.execute(proposal, decisions=[clock.decide(proposal, "gate", "policy", key="gate-2", **by_time)])
        clock.execute(proposal, use=2, decisions=[clock.link(proposal, "fay")])  # signed by somebody else
        self.assertEqual(self.found(clock), [])

    def test_a_time_out_meets_its_rule_alone(self) -> None:
        other = Office.REQUIRE | {"name": "second", "requirements": [{"count": 1, "principals": ["head"]}], "uses": 2}
        clock = Clock()
        clock.document = {"language": "counterfoil-policy/1", "rules": [Clock.RULE, other]}
        clock.add("policy", "root", "authority", {"document": clock.document}, prev=clock.head)
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        clock.escalate(proposal, 1)
        clock.escalate(proposal, 2)
        by_time = clock.time_out(proposal)
        clock.time_out(proposal, rule="second")
        clock.execute(proposal, decisions=[by_time])
        clock.execute(proposal, decisions=sorted([by_time, clock.decide(proposal, "head")]))
        self.assertEqual(self.found(clock), ["R-TIME-01", "R-EXEC-06"])

    def test_those_whom_a_step_asks_decide_after_it(self) -> None:
        clock = self.clock
        proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
        clock.wait(3)
        before = clock.decide(proposal, "boss")
        clock.escalate(proposal, 1)
        clock.execute(proposal, decisions=[before])
        clock.execute(proposal, decisions=[clock.decide(proposal, "cid")])  # whom the second step asks
        clock.execute(other, decisions=[clock.decide(other, "boss")])  # of whom nobody asked that
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        clock.escalate(other, 1)
        clock.escalate(other, 2)
        clock.execute(other, decisions=[clock.decide(other, "cid")])
        self.assertEqual(self.found(), ["R-EXEC-06"] * 3)

    def test_those_whom_a_step_asks_reject(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        clock.wait(2)
        clock.decide(proposal, "boss", verdict="reject")  # without effect
        clock.escalate(proposal, 1)
        clock.decide(proposal, "boss", verdict="reject", reason="again")
        clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
        self.assertEqual(self.found(), ["R-EXEC-04"])

    def test_a_step_counts_under_its_policy(self) -> None:
        clock = self.clock
        first, proposal = clock.document, clock.propose("clerk", None)
        clock.wait(2)
        clock.escalate(proposal, 1)
        second = first | {"costs": []}
        clock.set_policy(second)
        clock.decide(proposal, "boss", verdict="reject", policy=policy_digest(first))  # without effect
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        clock.escalate(proposal, 1)  # the proposal is older than this policy
        early = clock.decide(proposal, "boss", policy=policy_digest(first), reason="under another policy")
        clock.set_policy(first)
        clock.execute(proposal, decisions=[early])
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        self.assertEqual(self.found(), ["R-EXEC-06", "R-TIME-01", "R-EXEC-06"])

    def test_a_step_counts_against_under_the_policy_in_force(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        clock.wait(2)
        clock.escalate(proposal, 1)
        clock.decide(proposal, "boss", verdict="reject", policy=HASH)
        clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
        self.assertEqual(self.found(), ["R-EXEC-04"])

    def test_a_step_counts_though_its_key_is_revoked(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        clock.wait(2)
        clock.escalate(proposal, 1)
        clock.revoke("root", "authority", key=clock.key("server"))
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        self.assertEqual(self.found(), [])

    def test_by_link(self) -> None:
        clock = self.clock
        proposal, rejected = clock.propose("clerk", None), clock.propose("clerk", None)
        clock.link(proposal, "nobody")
        clock.link(proposal, "gate")  # no human
        clock.retire("gus")
        clock.link(proposal, "gus")
        clock.execute(proposal, decisions=[clock.link(proposal, "head")])
        clock.link(proposal, "head", verdict="reject")  # without effect
        clock.execute(proposal, decisions=[clock.link(proposal, "fay")])
        clock.link(rejected, "fay", verdict="request_changes")
        clock.execute(rejected, decisions=[clock.decide(rejected, "fay")])
        self.assertEqual(self.found(), ["R-LINK-01"] * 3 + ["R-EXEC-06", "R-EXEC-04"])

    def test_by_link_on_the_usual_surfaces(self) -> None:
        clock = Clock()
        clock.document = {"language": "counterfoil-policy/1", "rules": [Office.REQUIRE]}
        clock.add("policy", "root", "authority", {"document": clock.document}, prev=clock.head)
        proposal = clock.propose("clerk", None)
        clock.execute(proposal, decisions=[clock.link(proposal, "fay")])
        self.assertEqual(self.found(clock), ["R-EXEC-06"])

    def test_who_is_asked_says_no_anywhere_with_any_key(self) -> None:
        for more, surface in (({}, "none"), ({"schemes": ["mldsa44"]}, "terminal")):
            rule = Office.REQUIRE | {"requirements": [{"count": 1, "groups": ["finance"]} | more]}
            clock = Clock()
            clock.document = {"language": "counterfoil-policy/1", "rules": [rule]}
            clock.add("policy", "root", "authority", {"document": clock.document}, prev=clock.head)
            for who, rules in (("fay", "R-EXEC-04"), ("cid", "R-EXEC-06")):  # who is asked, and who is not
                proposal = clock.propose("clerk", None)
                clock.decide(proposal, who, surface=surface, verdict="reject")
                clock.execute(proposal)
                self.assertEqual(self.found(clock)[-1], rules, (surface, who))

    def test_an_approver_by_link_is_not_involved(self) -> None:
        clock = self.clock
        own: dict[str, Any] = {"change": "enrol", "principal": "clerk", "key": clock.key("clerk-2"), "role": "human"}
        clock.add("keyring", "root", "authority", own | {"groups": ["finance"]}, prev=keyring_of(clock, "clerk"))
        proposal = clock.propose("clerk", None)
        clock.execute(proposal, decisions=[clock.link(proposal, "clerk")])
        self.assertEqual(self.found(), ["R-EXEC-07"])

    def test_who_signs_for_an_approver_by_link_is_not_involved(self) -> None:
        for who in ("clerk", "gate"):  # the proposer, the runtime
            clock = Clock()
            own: dict[str, Any] = {"change": "enrol", "principal": who, "key": clock.key("own"), "role": "policy"}
            groups = ["gates"] if who == "gate" else []
            clock.add("keyring", "root", "authority", own | {"groups": groups}, prev=keyring_of(clock, who))
            proposal = clock.propose("clerk", None)
            by: dict[str, Any] = {"key": "own", "approver": "fay", "surface": "link"}
            clock.execute(proposal, decisions=[clock.decide(proposal, who, "policy", **by)])
            clock.decide(proposal, who, "policy", **by, verdict="reject")  # which anybody entitled may
            clock.execute(proposal, decisions=[clock.decide(proposal, "fay")])
            self.assertEqual(self.found(clock), ["R-EXEC-07", "R-EXEC-04"], who)

    def test_by_link_without_a_policy(self) -> None:
        for who, role, rules in (("fay", "human", ["R-EXEC-04"]), ("server", "policy", ["R-EXEC-09"])):
            clock = Clock()
            bare = [data for data in clock.entries if parse(data)["type"] not in ("policy", "snapshot")]
            clock.entries, clock.last_snapshot = bare, clock.genesis
            clock.snapshot()
            proposal = clock.propose("clerk", None)
            by: dict[str, Any] = {"approver": "fay", "surface": "link"} if role == "policy" else {}
            clock.decide(proposal, who, role, verdict="reject", **by)
            clock.execute(proposal)
            self.assertEqual(self.found(clock), rules)

    def test_an_approver_by_link_is_one_person(self) -> None:
        clock = Clock()
        rule = Clock.RULE | {"requirements": [{"count": 2, "groups": ["finance"], "surfaces": Clock.SURFACES}]}
        clock.document = {"language": "counterfoil-policy/1", "rules": [rule]}
        clock.add("policy", "root", "authority", {"document": clock.document}, prev=clock.head)
        proposal = clock.propose("clerk", None)
        link, own = clock.link(proposal, "fay"), clock.decide(proposal, "fay")
        clock.execute(proposal, decisions=sorted([link, own]))
        clock.execute(proposal, decisions=sorted([own, clock.link(proposal, "gus")]))
        self.assertEqual(self.found(clock), ["R-EXEC-06"])

    def test_an_approver_by_link_without_a_key(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        link, own = clock.link(proposal, "gus"), clock.decide(proposal, "fay")
        clock.retire("gus")
        clock.retire("fay")
        clock.execute(proposal, decisions=[link])
        clock.execute(proposal, decisions=[own])  # a key that is retired is not revoked
        self.assertEqual(self.found(), ["R-EXEC-11"])

    def test_an_approver_by_link_whose_key_is_not_shown(self) -> None:
        clock = self.clock
        proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
        second = len(clock.entries)
        body = {"change": "enrol", "principal": "gus", "key": clock.key("gus-2"), "role": "human", "groups": ["finance"]}
        clock.add("keyring", "root", "authority", body, prev=keyring_of(clock, "gus"))
        link = clock.link(proposal, "gus")
        clock.retire("gus", groups=["finance"])
        clock.execute(proposal, decisions=[link])
        clock.execute(other, decisions=[clock.link(other, "gus")])
        self.assertEqual(self.found(), [])
        self.assertEqual(self.in_part(clock), [])
        doubts = [("R-EXEC-11", False), ("R-LINK-01", False), ("R-CHAIN-04", False)]
        self.assertEqual(self.in_part(clock, {second}), doubts)

    def test_what_is_broken_goes_before_an_approver_in_doubt(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        links, own = [clock.link(proposal, who) for who in ("gus", "head")], clock.decide(proposal, "fay")
        clock.retire("gus")
        clock.retire("head")
        clock.revoke("root", "authority", key=clock.key("fay"))
        clock.execute(proposal, decisions=sorted([*links, own]))
        clock.execute(proposal, decisions=sorted(links))
        self.assertEqual(self.found(), ["R-EXEC-11"] * 2)
        self.assertEqual(self.in_part(clock), [("R-EXEC-11", True), ("R-EXEC-11", False)])

    def test_the_revoked_key_of_the_server_is_shown(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        link = clock.link(proposal, "gus")
        clock.retire("gus")
        clock.revoke("root", "authority", key=clock.key("server"))
        clock.execute(proposal, decisions=[link])
        self.assertEqual(self.in_part(clock), [("R-EXEC-11", True)])

    def test_an_approver_by_link_in_doubt_may_meet_a_rule(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        clock.link(proposal, "gus")
        clock.retire("gus")
        clock.wait(2)
        clock.escalate(proposal, 1)
        self.assertEqual(self.found(), [])
        self.assertEqual(self.in_part(clock), [("R-TIME-03", False)])

    def test_an_approver_in_doubt_goes_before_what_breaks_the_terms(self) -> None:
        clock = self.clock
        terms: list[tuple[str, str, dict[str, Any]]] = [
            ("boss", "human", {"uses": 3}),
            ("boss", "human", {"window": {"from": 0, "until": 1_000_001}}),
            ("clerk", "human", {}),
            ("boss", "human", {}),
        ]
        body = {"change": "enrol", "principal": "clerk", "key": clock.key("clerk-2"), "role": "human", "groups": []}
        clock.add("keyring", "root", "authority", body, prev=keyring_of(clock, "clerk"))
        proposal = clock.propose("clerk", None)
        link, wide = clock.link(proposal, "gus"), clock.link(proposal, "gus", uses=3)
        others = []
        for at, (who, role, more) in enumerate(terms):
            key = "clerk-2" if who == "clerk" else None
            others.append(clock.decide(proposal, who, role, key, reason=str(at), **more))
        clock.retire("gus")
        for other in others:
            clock.execute(proposal, decisions=sorted([link, other]))
        clock.execute(proposal, decisions=[wide])  # of one decision, the rules are judged in their order
        self.assertEqual(self.found(), ["R-EXEC-11"] * 5)
        self.assertEqual(self.in_part(clock), [("R-EXEC-11", False)] * 5)

    def test_an_approver_in_doubt_where_nothing_is_required(self) -> None:
        clock = Clock()
        clock.set_policy(clock.document | {"rules": [Office.ALLOW]})
        proposal = clock.propose("clerk", None)
        link, own = clock.link(proposal, "gus"), clock.decide(proposal, "boss", uses=1000)
        clock.retire("gus")
        clock.execute(proposal, decisions=sorted([link, own]))
        self.assertEqual(self.found(clock), ["R-EXEC-11"])
        self.assertEqual(self.in_part(clock), [("R-EXEC-11", False)])

    def test_an_approval_in_doubt_before_a_timer(self) -> None:
        """By link, on behalf of somebody whose key is not shown."""
        cases: list[tuple[dict[str, Any], bool]] = [({}, True)]
        cases += [({"policy": HASH}, False), ({"uses": 3}, False), ({"action": HASH}, False)]
        for more, counts in cases:
            clock = Clock()
            proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
            enrolled = len(clock.entries)
            body = {"change": "enrol", "principal": "gus", "role": "human", "groups": ["finance"]}
            clock.add("keyring", "root", "authority", body | {"key": clock.key("gus-2")}, prev=keyring_of(clock, "gus"))
            clock.retire("gus", groups=["finance"])
            clock.link(proposal, "gus", **more)
            clock.wait(2)
            clock.escalate(proposal, 1)
            clock.escalate(other, 1)  # nobody approved that
            broken = ["R-DEC-02"] if "action" in more else []
            self.assertEqual(self.found(clock), broken + (["R-TIME-03"] if counts else []))
            doubts = [("R-DEC-02", True)] if broken else [("R-LINK-01", False)]
            doubts += [("R-TIME-03", False)] if counts else []
            self.assertEqual(self.in_part(clock, {enrolled}), doubts)

    def test_an_approval_by_a_key_that_is_not_shown_to_be_valid_before_a_timer(self) -> None:
        for verdict, more, revoked, is_met in (
            ("approve", {}, False, True),
            ("approve", {}, True, False),  # what a revoked key signed counts no more, whenever it was valid
            ("approve", {"action": HASH}, False, False),
            ("reject", {}, False, False),  # as if it had not been said
        ):
            clock = Clock()
            clock.enrol("late", "human", groups=["finance"], not_before=clock.time + 1500)
            proposal = clock.propose("clerk", None)
            clock.wait(2)
            valid = len(clock.entries) - 1
            clock.decide(proposal, "late", verdict=verdict, **more)
            if revoked:
                clock.revoke("root", "authority", key=clock.key("late"))
            clock.wait(1)
            clock.escalate(proposal, 1)
            doubts = [("R-KEY-06", False)] + ([("R-TIME-03", False)] if is_met else [])
            self.assertEqual(self.in_part(clock, {valid}), doubts, (verdict, more, revoked))

    def test_an_approval_in_doubt_that_does_not_suffice(self) -> None:
        requirements = [{"count": 2, "groups": ["finance"], "surfaces": Clock.SURFACES}]
        clock = Clock(rules=[Clock.RULE | {"requirements": requirements}])
        for proposal, with_another in ((clock.propose("clerk", None), False), (clock.propose("clerk", None), True)):
            clock.wait(2)
            if with_another:
                clock.decide(proposal, "fay")
            else:
                clock.retire("gus", groups=["finance"])
            clock.link(proposal, "gus")
            clock.escalate(proposal, 1)
        self.assertEqual(self.in_part(clock), [("R-LINK-01", False), ("R-LINK-01", False), ("R-TIME-03", False)])

    def test_who_cancels_a_decision_by_link(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        link, by_time = clock.link(proposal, "fay"), None
        clock.cancel(link, proposal, "gus")
        clock.cancel(link, proposal, "fay")
        clock.wait(4)
        clock.execute(proposal, decisions=[link])
        other = clock.propose("clerk", None)
        clock.wait(4)
        clock.escalate(other, 1)
        clock.escalate(other, 2)
        by_time = clock.time_out(other)
        clock.cancel(by_time, other, "fay")
        clock.execute(other, decisions=[by_time])
        self.assertEqual(self.found(), ["R-CAN-01", "R-EXEC-05", "R-CAN-01"])

    def test_who_signed_a_decision_by_link_or_time_out_cancels_it_as_a_human(self) -> None:
        clock = Clock(steps=False)
        for who, role, groups in (("server", "human", []), ("fay", "agent", ["finance"]), ("clerk", "human", ["finance"])):
            own = {"change": "enrol", "principal": who, "key": clock.key(who + "-2"), "role": role, "groups": groups}
            clock.add("keyring", "root", "authority", own, prev=keyring_of(clock, who))
        proposal, other, last = (clock.propose("clerk", None) for _ in range(3))
        clock.wait(4)
        by_link, by_time = clock.link(proposal, "fay"), clock.time_out(other)
        clock.cancel(by_link, proposal, "server", key="server-2")
        clock.cancel(by_time, other, "server", key="server-2")
        clock.execute(proposal, decisions=[by_link])
        clock.execute(other, decisions=[by_time])
        clock.cancel(by_link, proposal, "fay", "agent", key="fay-2")  # who does not own the run
        own_link = clock.link(last, "clerk")
        clock.cancel(own_link, last, "clerk", "agent")  # who owns it, but as an agent
        clock.cancel(own_link, last, "clerk", key="clerk-2")
        clock.cancel(last, last, "clerk", key="clerk-2")  # a proposal, as a human
        self.assertEqual(self.found(clock), ["R-EXEC-05"] * 2 + ["R-OWN-01"] + ["R-CAN-01"] * 2)

    def timed(self) -> tuple[Clock, int, set[int]]:
        """A run with a time-out that is executed; the index of the time-out, and what its bundle does not hold."""
        clock = Clock(steps=False)
        clock.snapshot()
        proposal = clock.propose("clerk", None)
        clock.wait(4)
        at = len(clock.entries)
        by_time = clock.time_out(proposal)
        clock.snapshot()
        clock.execute(proposal, decisions=[by_time])
        clock.snapshot()
        unused = {one.index for one in clock.verify(set()).findings if one.rule == "R-BUN-07"}
        return clock, at, {one for one in unused if one is not None}

    def test_bundle(self) -> None:
        clock, at, unused = self.timed()
        proposal = at - 5
        self.assertEqual([parse(clock.entries[one])["type"] for one in (proposal, at)], ["proposal", "decision"])
        # The snapshots beside the proposal, the time-out and the execution stay: those between and before don't.
        snapshots = {one for one, data in enumerate(clock.entries) if parse(data)["type"] == "snapshot"}
        self.assertEqual(snapshots - unused, {proposal - 2, proposal + 1, at - 1, at + 1, at + 3})
        verdict = clock.verify(unused)
        self.assertEqual([one.rule for one in verdict.findings], ["R-WIT-01"])
        self.assertEqual(verdict.conclusion, "shown")
        verdict = clock.verify(unused | {at - 1})  # which shows that it is due
        self.assertEqual((verdict.findings[0].index, verdict.findings[0].rule), (at, "R-TIME-02"))
        self.assertFalse(any(one.is_broken for one in verdict.findings))
        self.assertEqual((verdict.conclusion, verdict.answers["authority"]), ("not_shown", "not_shown"))
        verdict = clock.verify(unused | {proposal + 1})  # which dates the proposal
        self.assertEqual((verdict.findings[0].index, verdict.findings[0].rule), (at, "R-TIME-02"))
        self.assertFalse(any(one.is_broken for one in verdict.findings))

    def test_a_proposal_that_is_not_dated(self) -> None:
        """Also where it would be due by the snapshots that are there."""
        clock = Clock(steps=False)
        proposal = clock.propose("clerk", None)
        dated = len(clock.entries)
        clock.wait(6)
        clock.time_out(proposal)
        self.assertEqual(self.found(clock), [])
        self.assertEqual(self.in_part(clock, {dated + 1}), [])
        self.assertEqual(self.in_part(clock, {dated}), [("R-TIME-02", False)])

    def test_a_revocation_that_is_left_out(self) -> None:
        clock = self.clock
        proposal = clock.propose("clerk", None)
        clock.wait(2)
        clock.decide(proposal, "gus")
        at = len(clock.entries)
        clock.revoke("root", "authority", key=clock.key("gus"))
        clock.escalate(proposal, 1)
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        self.assertEqual(self.in_part(clock), [])
        self.assertEqual(self.in_part(clock, {at}), [("R-TIME-03", False), ("R-EXEC-04", False)])
        self.assertEqual(self.found(), [])

    def test_what_rests_on_a_timer_in_doubt(self) -> None:
        clock = self.clock
        proposal, other = clock.propose("clerk", None), clock.propose("clerk", None)
        clock.snapshot()
        clock.snapshot()
        due = len(clock.entries) - 1
        clock.escalate(proposal, 1)
        clock.wait(2)
        clock.escalate(proposal, 1, reason="again")
        clock.escalate(proposal, 2)
        clock.time_out(proposal)
        clock.escalate(other, 2)
        clock.time_out(other)
        clock.execute(proposal, decisions=[clock.decide(proposal, "boss")])
        clock.execute(other, decisions=[clock.decide(other, "boss")])
        clock.execute(proposal, use=2, decisions=[clock.decide(proposal, "fay")])  # that suffices whatever a step says
        self.assertEqual(self.found(), ["R-TIME-03"] * 3 + ["R-EXEC-06"])
        doubts = [("R-TIME-02", False)] + [("R-TIME-03", False)] * 3 + [("R-TIME-03", True)] * 2
        doubts += [("R-EXEC-04", False), ("R-EXEC-06", True), ("R-EXEC-04", False)]
        self.assertEqual(self.in_part(clock, {due}), doubts)

    def test_every_timer_after_one_in_doubt(self) -> None:
        """Also of another rule, and also one that was said before."""
        second = {"name": "second", "timeout": {"after": 3000, "then": "reject"}}
        rule = {name: value for name, value in Clock.RULE.items() if name != "escalation"}
        clock = Clock(steps=False, rules=[rule | {"timeout": {"after": 1000, "then": "approve"}}, rule | second])
        proposal = clock.propose("clerk", None)
        clock.wait(2)
        clock.time_out(proposal)
        clock.wait(1)
        clock.time_out(proposal, rule="second", verdict="reject")
        clock.time_out(proposal, reason="again")
        clock.decide(proposal, "fay", verdict="reject")
        clock.execute(proposal, decisions=[clock.decide(proposal, "gus")])
        self.assertEqual(self.found(clock), ["R-TIME-02", "R-TIME-03", "R-EXEC-04"])
        doubts = [("R-TIME-02", False), ("R-TIME-03", False), ("R-EXEC-04", True)]  # what ended is not in doubt
        self.assertEqual(self.in_part(clock), doubts)

    def witnessed(self, at_proposal: int | None, at_timer: int, after: int = 600) -> list[tuple[str, bool]]:
        """What is found of a time-out if witnesses came so many seconds after the proposal, and after it was due."""
        clock = Clock(steps=False, after=after * 1000)
        clock.time = 7_200_000
        clock.snapshot()
        proposal = clock.propose("clerk", None)
        clock.snapshot()
        begun, dated = len(clock.entries), clock.time
        clock.time = dated + after * 1000 - 1000
        clock.snapshot()
        at, due = len(clock.entries), clock.time
        window = {"from": due, "until": due + 1_000_000}
        clock.execute(proposal, decisions=[clock.time_out(proposal, window=window)])
        clock.snapshot()
        self.assertEqual(due, dated + after * 1000)
        policy = f"witness w {clock.witness}\\nquorum w\\n"
        before = {begun: None if at_proposal is None else dated // 1000 + at_proposal}
        verdict = clock.verify(set(), policy, due // 1000 + at_timer, before)
        self.assertEqual(verdict.answers["conformity"], "pass")
        found = [one for one in verdict.findings if one.rule not in ("R-BUN-07", "R-FRESH-01")]
        self.assertTrue(all(one.index == at for one in found))
        self.assertEqual(verdict.answers["authority"], "not_shown" if found else "pass")
        return [(one.rule, one.is_broken) for one in found]

    def test_the_clock_of_the_witnesses(self) -> None:
        doubt = [("R-TIME-02", False)]
        self.assertEqual(self.witnessed(0, 0), [])
        self.assertEqual(self.witnessed(0, -300), [])
        self.assertEqual(self.witnessed(0, -301), doubt)
        self.assertEqual(self.witnessed(300, 0), [])
        self.assertEqual(self.witnessed(301, 0), doubt)
        self.assertEqual(self.witnessed(390, 390), [])  # however late both
        self.assertEqual(self.witnessed(-5000, -5300), [])  # whatever the log's clock says
        self.assertEqual(self.witnessed(-5000, -5301), doubt)
        self.assertEqual(self.witnessed(None, 0), doubt)  # the last checkpoint covers the proposal too

    def test_short_timers_before_witnesses(self) -> None:
        self.assertEqual(self.witnessed(None, 0, after=300), [])  # one checkpoint is enough for both
        self.assertEqual(self.witnessed(None, 0, after=301), [("R-TIME-02", False)])
        self.assertEqual(self.witnessed(0, -300, after=301), [])

    def test_witnesses_who_are_too_few(self) -> None:
        clock, at, unused = self.timed()
        clock.public("witness")
        verdict = clock.verify(unused, f"witness w {clock.witness}\\nquorum w\\n")
        found = [(one.rule, one.index, one.is_broken) for one in verdict.findings]
        self.assertIn(("R-TIME-02", at, False), found)
        self.assertEqual(verdict.answers["authority"], "not_shown")


def keyring_of(log: Log, principal: str) -> str:
    """The last keyring record of a principal."""
    found = [data for data in log.entries if parse(data)["body"].get("principal") == principal]
    return spell(merkle.leaf_hash(found[-1]))


if __name__ == "__main__":
    unittest.main()
