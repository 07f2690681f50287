"""Records: bytes, envelope, body, id, statement, signature (spec/records.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import ed25519
import shapes as s
from merkle import leaf_hash
from notes import NoteError, parse_vkey
from rules import RuleError
from strictjson import canonical, parse

MAX_RECORD = 65535
ROLES = ("agent", "human", "runtime", "policy", "authority", "log")
FORM_MEMBERS = ("log", "run", "parents", "prev")

#: spec/records.md §3: form -> which of log, run, parents, prev stand.
FORMS: dict[str, tuple[str, ...]] = {
    "root": (),
    "trigger": ("log",),
    "run": ("log", "run", "parents"),
    "chain": ("log", "prev"),
    "single": ("log",),
}


@dataclass(frozen=True)
class Type:
    form: str
    roles: frozenset[str]
    body: s.Check


def _genesis(body: Any) -> None:
    s.obj(
        origin=s.label,
        authority=s.obj(roots=s.array(s.holder, 1, 16), threshold=s.integer(1, 16)),
        log=s.obj(note_keys=s.array(s.label, 1, 4), snapshot=s.holder),
        limits=s.obj(record_bytes=s.integer(1024, MAX_RECORD), run_records=s.integer(8, 1_000_000)),
        fold=s.one_of(0),
    )(body)
    roots = body["authority"]["roots"]
    if len({root["principal"] for root in roots}) != len(roots):
        s.fail("a principal stands twice among the roots")
    if body["authority"]["threshold"] > len(roots):
        s.fail("the threshold is larger than the number of roots")
    if body["origin"] == "counterfoil/v1/record":
        s.fail("origin")
    keys = [s.key_bytes(holder["key"]) for holder in [*roots, body["log"]["snapshot"]]]
    for vkey in body["log"]["note_keys"]:
        try:
            keys.append(parse_vkey(vkey).material)
        except NoteError as error:
            s.fail(f"vkey: {error}")
    if len(set(keys)) != len(keys):
        s.fail("a key stands twice")


def _keyring(body: Any) -> None:
    s.obj(
        change=s.one_of("enrol", "rotate", "retire"),
        principal=s.principal,
        key=s.key,
        role=s.one_of(*ROLES),
        replaces_=s.key,
        groups=s.ascending(s.principal, 0, 32),
        not_before_=s.millis,
        not_after_=s.millis,
        name_=s.item,
        threshold_=s.integer(1, 16),
    )(body)
    if body["change"] == "rotate" and "replaces" not in body:
        raise RuleError("R-REC-05", "replaces")
    if body["change"] != "rotate" and "replaces" in body:
        s.fail("replaces stands in a rotation only")
    if body["change"] == "retire" and ("not_before" in body or "not_after" in body):
        s.fail("a retirement has no validity")
    if body["role"] in ("authority", "log") and ("not_before" in body or "not_after" in body):
        s.fail("a key of the authority or of the log has no validity")
    if "threshold" in body and body["role"] != "authority":
        s.fail("a threshold stands with role authority only")


def _policy(body: Any) -> None:
    s.obj(document_=s.open_object, digest_=s.hash_)(body)
    if not body:
        raise RuleError("R-REC-05", "document or digest")
    if len(body) != 1:
        s.fail("exactly one of document and digest")


def _revocation_target(value: Any) -> None:
    s.obj(key_=s.key, delegation_=s.hash_)(value)
    if not value:
        raise RuleError("R-REC-05", "key or delegation")
    if len(value) != 1:
        s.fail("a target is one of key and delegation")


def _observation(body: Any) -> None:
    s.obj(kind=s.one_of("evidence", "triage", "plan", "note"), items_=s.items, summary_=s.text)(body)
    if "items" not in body and "summary" not in body:
        raise RuleError("R-REC-05", "items or summary")


def _decision(body: Any) -> None:
    s.obj(
        proposal=s.hash_,
        action=s.hash_,
        policy=s.hash_,
        verdict=s.one_of("approve", "reject", "request_changes"),
        shown_=s.item,
        surface=s.one_of("terminal", "independent_page", "operator_page", "link", "none"),
        basis=s.basis,
        approver_=s.principal,
        rule_=s.principal,
        window_=s.window,
        uses_=s.integer(1, 1000),
        reason_=s.text,
        changes_=s.obj(action_=s.action, note_=s.text),
    )(body)
    for member in ("window", "uses"):
        if (member in body) != (body["verdict"] == "approve"):
            raise RuleError("R-DEC-01", member)
    if "changes" in body and body["verdict"] != "request_changes":
        raise RuleError("R-DEC-01", "changes")


def _voice(role: str, body: Any) -> None:
    """R-DEC-03. In whose voice a decision speaks; other roles sign none (R-ROLE-01)."""
    if role == "human" and ("approver" in body or "rule" in body):
        raise RuleError("R-DEC-03", "a human decides in their own name")
    if role == "policy" and ("approver" in body) == ("rule" in body):
        raise RuleError("R-DEC-03", "exactly one of approver and rule")
    if "approver" in body and body["surface"] != "link":
        raise RuleError("R-DEC-03", "by link on another surface")
    if "rule" in body and (body["surface"] != "none" or body["verdict"] == "request_changes"):
        raise RuleError("R-DEC-03", "by time-out on a surface, or with another verdict than a timer has")
    if ("shown" in body) == ("rule" in body):
        raise RuleError("R-DEC-03", "shown")


def _execution(body: Any) -> None:
    s.obj(
        proposal=s.hash_,
        use=s.integer(1, 1000),
        action=s.action,
        decisions=s.decisions,
        policy=s.hash_,
        basis=s.basis,
        nonce=s.nonce,
        retries_=s.hash_,
        break_glass_=s.obj(reason=s.text),
    )(body)
    if body["decisions"] and "break_glass" in body:
        s.fail("decisions and break_glass: one of the two")


def _type(form: str, roles: str, body: s.Check) -> Type:
    return Type(form, frozenset(roles.split()), body)


TYPES: dict[str, Type] = {
    "genesis": _type("root", "authority", _genesis),
    "snapshot": _type("chain", "log", s.obj(index=s.index, fold=s.index, map=s.hash_)),
    "keyring": _type("chain", "authority", _keyring),
    "policy": _type("chain", "authority", _policy),
    "endorsement": _type("single", "authority", s.obj(candidate=s.hash_)),
    "delegation": _type(
        "chain",
        "authority agent human",
        s.obj(
            delegate=s.holder,
            scope=s.array(s.obj(tool=s.label, target_=s.label, arguments_=s.open_object), 1, 64),
            spend_=s.obj(per_action_=s.cost, total_=s.cost),
            uses_=s.integer(1, 1_000_000),
            depth=s.integer(0, 16),
            audience_=s.audience,
            not_before_=s.millis,
            not_after_=s.millis,
        ),
    ),
    "revocation": _type(
        "single",
        "authority agent human runtime policy",
        s.obj(target=_revocation_target, reason_=s.text, distrust_from_=s.index),
    ),
    "trigger": _type(
        "trigger",
        "agent runtime",
        s.obj(
            event=s.obj(source=s.label, id=s.label, kind_=s.label),
            owner=s.holder,
            content_=s.items,
            summary_=s.text,
        ),
    ),
    "observation": _type("run", "agent", _observation),
    "proposal": _type(
        "run",
        "agent",
        s.obj(
            action=s.action,
            audience=s.audience,
            risk=s.one_of("low", "medium", "high", "critical"),
            cost_=s.cost,
            tags_=s.ascending(s.label, 0, 32),
            delegation_=s.hash_,
            evidence_=s.items,
            summary_=s.text,
            metadata_=s.mapping(s.label, s.label, 32),
            supersedes_=s.hash_,
        ),
    ),
    "decision": _type("run", "human policy", _decision),
    "escalation": _type(
        "run",
        "policy",
        s.obj(
            proposal=s.hash_,
            policy=s.hash_,
            rule=s.principal,
            step=s.integer(1, 16),
            to=s.array(s.audience, 1, 32),
            reason_=s.text,
        ),
    ),
    "cancel": _type("run", "agent human authority", s.obj(target=s.hash_, reason_=s.text)),
    "execution": _type("run", "runtime", _execution),
    "outcome": _type(
        "run",
        "runtime",
        s.obj(
            execution=s.hash_,
            status=s.one_of("succeeded", "failed", "unknown"),
            effects=s.one_of("none", "partial", "complete", "unknown"),
            result_=s.item,
            attestation_=s.item,
            detail_=s.text,
        ),
    ),
    "refusal": _type(
        "run",
        "runtime",
        s.obj(
            code=s.label,
            proposal_=s.hash_,
            use_=s.integer(1, 1000),
            action_=s.action,
            decisions_=s.decisions,
            detail_=s.text,
            count=s.integer(1, 1_000_000),
            basis_=s.basis,
        ),
    ),
    "settlement": _type(
        "run",
        "human",
        s.obj(
            execution=s.hash_,
            status=s.one_of("succeeded", "failed"),
            effects=s.one_of("none", "partial", "complete"),
            evidence_=s.items,
            reason_=s.text,
        ),
    ),
    "handoff": _type(
        "run",
        "agent",
        s.obj(to=s.holder, open=s.ascending(s.hash_, 0, 64), basis=s.basis, items_=s.items, summary_=s.text),
    ),
    "rejection": _type(
        "single",
        "log",
        s.obj(id_=s.hash_, statement_=s.hash_, code=s.label, rule=s.label, size=s.size),
    ),
}


def spell(digest: bytes) -> str:
    return "sha256:" + digest.hex()


def action_digest(action: Any) -> str:
    return spell(hashlib.sha256(b"counterfoil/v1/action\n" + canonical(action)).digest())


def policy_digest(document: Any) -> str:
    return spell(hashlib.sha256(b"counterfoil/v1/policy\n" + canonical(document)).digest())


def commitment(salt: bytes, label: str, content: bytes) -> str:
    name = label.encode()
    preimage = b"counterfoil/v1/commitment\n" + salt + len(name).to_bytes(4, "big") + name + content
    return spell(hashlib.sha256(preimage).digest())


@dataclass(frozen=True)
class Record:
    """A record whose intrinsic rules hold."""

    data: bytes
    value: dict[str, Any]
    id: str
    statement: str

    @property
    def type(self) -> str:
        return str(self.value["type"])

    @property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = self.value["body"]
        return body

    @property
    def role(self) -> str:
        return str(self.value["signer"]["role"])

    @property
    def principal(self) -> str:
        return str(self.value["signer"]["principal"])

    @property
    def key(self) -> bytes:
        """The key's material: equal material is one key, whatever its prefix (spec/records.md §2)."""
        return s.key_bytes(self.value["signer"]["key"])

    @property
    def run(self) -> str | None:
        return self.id if self.type == "trigger" else self.value.get("run")

    @property
    def time(self) -> int:
        return int(self.value["time"])


def preimage(value: dict[str, Any]) -> bytes:
    """spec/records.md §4."""
    return b"counterfoil/v1/record\n" + canonical({name: member for name, member in value.items() if name != "sig"})


def check_shape(value: dict[str, Any]) -> None:
    """R-REC-02 to R-REC-10, R-ACT, R-DEC-01, R-DEC-03, R-SIG-02 on a parsed record."""
    known = {"v", "type", "time", "signer", "body", "sig", *FORM_MEMBERS}
    if "v" in value and value["v"] != "counterfoil/1":
        raise RuleError("R-REC-02", str(value["v"]))
    if "type" in value and (not isinstance(value["type"], str) or value["type"] not in TYPES):
        raise RuleError("R-REC-03", str(value["type"]))
    for name in value:
        if name not in known:
            raise RuleError("R-REC-04", name)
    for name in ("v", "type", "time", "signer", "body", "sig"):
        if name not in value:
            raise RuleError("R-REC-05", name)
    kind = TYPES[value["type"]]
    for name in FORM_MEMBERS:
        if (name in value) != (name in FORMS[kind.form]):
            raise RuleError("R-REC-07", name)
    checks = {"log": s.hash_, "run": s.hash_, "prev": s.hash_, "parents": _parents}
    for name, check in checks.items():
        if name in value:
            check(value[name])
    s.millis(value["time"])
    s.obj(key=s.key, principal=s.principal, role=s.one_of(*ROLES))(value["signer"])
    s.signature(value["sig"])
    kind.body(value["body"])
    if value["type"] == "decision":
        _voice(value["signer"]["role"], value["body"])
    if value["type"] == "genesis":
        signer = {"key": value["signer"]["key"], "principal": value["signer"]["principal"]}
        if signer not in value["body"]["authority"]["roots"]:
            s.fail("the signer is none of the roots")


def _parents(value: Any) -> None:
    """R-REC-09 also where there are none or too many."""
    if not isinstance(value, list):
        s.fail("parents is no array")
    for member in value:
        s.hash_(member)
    if not 1 <= len(value) <= 16 or not s.ascends(value):
        raise RuleError("R-REC-09", "1 to 16, ascending, no repeats")


def parse_record(data: bytes) -> Record:
    """Every intrinsic rule. Raises RuleError."""
    if len(data) > MAX_RECORD:
        raise RuleError("R-REC-01", f"{len(data)} bytes")
    value = parse(data)
    check_shape(value)
    if value["signer"]["role"] not in TYPES[value["type"]].roles:
        raise RuleError("R-ROLE-01", value["signer"]["role"])
    signed = preimage(value)
    raw = s.base64url(value["sig"])
    assert raw is not None
    if not ed25519.verify(s.key_bytes(value["signer"]["key"]), raw, signed):
        raise RuleError("R-SIG-01", "signature")
    return Record(data, value, spell(leaf_hash(data)), spell(hashlib.sha256(signed).digest()))
