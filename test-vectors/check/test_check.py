"""Tests of what no vector tests by itself: `python3 -m unittest`."""

from __future__ import annotations

import base64
import hashlib
import unittest
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import ed25519
import merkle
from bundles import verify
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

    def add(self, kind: str, signer: str, role: str, body: dict[str, Any], **envelope: Any) -> str:
        value: dict[str, Any] = {
            "v": "counterfoil/1",
            "type": kind,
            "time": self.time,
            "signer": {**self.holder(signer), "role": role},
            "body": body,
            **envelope,
        }
        if kind != "genesis":
            value["log"] = self.genesis
        signature = self.private[signer].sign(preimage(value))
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


if __name__ == "__main__":
    unittest.main()
