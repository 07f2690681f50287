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
from records import action_digest, policy_digest, preimage, spell
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

    def bundle(self, unused: set[int]) -> tuple[bytes, str]:
        leaves = [merkle.leaf_hash(data) for data in self.entries]
        text = f"example.org/log\n{len(leaves)}\n{base64.b64encode(merkle.root(leaves)).decode()}\n"
        identifier = parse_vkey(self.vkey).id
        signature = base64.b64encode(identifier + self.private["note"].sign(text.encode())).decode()
        indices = [index for index in range(len(leaves)) if index not in unused]
        parts = [
            [base64.b64encode(one).decode() for one in part] for part in multiproof_parts(leaves, set(indices))
        ]
        header = {"checkpoints": 1, "documents": 0, "entries": len(indices), "format": "counterfoil-bundle/1"}
        header |= {"log": self.genesis, "payloads": 0, "run": self.run}
        lines = [canonical(header)]
        lines.append(canonical({"checkpoint": f"{text}\n— example.org/log {signature}\n", "consistency": []}))
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

    def verify(self, without: set[int], policy: str = "quorum none\\n") -> Verdict:
        data, trust = self.bundle(without)
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
        data = b"\x04" + office.public("witness")
        identifier = hashlib.sha256(b"example.org/witness\n" + data).digest()[:4].hex()
        vkey = f"example.org/witness+{identifier}+{base64.b64encode(data).decode()}"
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


def keyring_of(log: Log, principal: str) -> str:
    """The last keyring record of a principal."""
    found = [data for data in log.entries if parse(data)["body"].get("principal") == principal]
    return spell(merkle.leaf_hash(found[-1]))


if __name__ == "__main__":
    unittest.main()
