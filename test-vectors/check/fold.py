"""The fold: positional rules over the entries of a log, in index order (spec/runs.md, spec/log.md).

One class serves whole logs and bundles. A bundle shows some entries only (`complete=False`); where a rule depends on
what is absent, it is neither held nor broken, and stands among the findings as not shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import policy as language
import shapes as s
from delegation import Link, Window, check_narrowing, check_scope, in_scope
from notes import parse_vkey
from records import Record, action_digest, parse_record, policy_digest, spell
from rules import Finding, NotShown, RuleError
from strictjson import canonical

EMPTY_MAP = spell(hashlib.sha256(b"counterfoil/v1/map/empty\n").digest())  # spec/log.md


@dataclass
class Key:
    principal: str
    role: str
    not_before: int | None = None
    not_after: int | None = None
    retired: bool = False
    revoked: int | None = None  # the index at which the first revocation took effect
    disputed: bool = False  # whether a revocation said `distrust_from`
    replaced_by: bytes | None = None
    signed: list[int] = field(default_factory=list)

    @property
    def limited(self) -> bool:
        return self.not_before is not None or self.not_after is not None

    @property
    def live(self) -> bool:
        return not self.retired and self.revoked is None


@dataclass
class PolicyInForce:
    digest: str
    document: dict[str, Any]
    since: int  # the index at which it took effect, and after which no other did


@dataclass
class Candidate:
    """A record that waits for signatures of the authority."""

    record: Record
    signers: set[str]


@dataclass
class Run:
    owner_key: bytes
    owner: str
    requester: str  # the principal that signed the trigger
    records: int = 1


@dataclass
class Proposal:
    record: Record
    index: int
    groups: frozenset[str]  # of the proposer, at the proposal's index
    chain: list[Link]  # of the delegation under which it acts
    ended: bool = False
    cancelled: bool = False
    superseded: bool = False
    log_time: int | None = None  # in a bundle: none, if the snapshot that gives it is not shown without a gap
    withdrawn: bool = False  # whether somebody withdrew a decision on it
    previewed: bool = False  # whether a parent says that a preview of its action succeeded
    uses: dict[int, Execution] = field(default_factory=dict)  # which execution holds which use

    def due(self, after: int) -> int | None:
        """When a timer is due: so long after log time, or after its own time if that is later."""
        return None if self.log_time is None else max(self.log_time, self.record.time) + after

    @property
    def request(self) -> language.Request:
        body = self.record.body
        return language.Request(
            body["action"],
            body["risk"],
            body.get("tags", []),
            self.record.principal,
            self.groups,
            frozenset(link.record.id for link in self.chain),
        )


@dataclass
class Decision:
    record: Record
    groups: frozenset[str]  # of whoever decides, at the decision's index
    escalated: frozenset[tuple[str, int]]  # the steps that stand before it, under the policy in force at its index
    cancelled: bool = False

    @property
    def who(self) -> str:
        """Whose decision it is: the approver's, if it is by link."""
        return str(self.record.body.get("approver", self.record.principal))

    @property
    def approval(self) -> language.Approval:
        body = self.record.body
        window = body.get("window", {"from": 0, "until": 0})
        return language.Approval(
            self.who,
            self.record.role,
            self.groups,
            body["surface"],
            self.record.value["signer"]["key"].partition(":")[0],
            body.get("uses", 0),
            window["until"] - window["from"],
            body.get("rule"),
            self.escalated,
            self.record.principal,
        )


@dataclass(frozen=True)
class Timer:
    """What a time-out or an escalation says, once."""

    proposal: str
    rule: str
    step: int | None  # none: the time-out

    @classmethod
    def of(cls, record: Record) -> Timer | None:
        body = record.body
        if record.type == "escalation" or (record.type == "decision" and "rule" in body):
            return cls(body["proposal"], body["rule"], body.get("step"))
        return None


@dataclass
class Said:
    """A timer that stands."""

    index: int
    policy: str
    proposal: int  # the index of its proposal
    after: int


@dataclass
class Execution:
    record: Record
    index: int
    windows: list[Window]  # of its decisions, and the validity of links
    tries: int = 1  # how many executions its use had with it
    reported: bool = False  # whether it has an outcome, be it that nothing is known
    unknown: bool = True  # no conclusive outcome and no settlement yet
    doubtful: bool = False  # whether an outcome or a settlement of it is in doubt
    log_time: int | None = None
    late: bool = False  # log time lies outside a window
    gap: bool = False  # in a bundle: the snapshot that gives log time is not shown without a gap


#: spec/records.md §6: which members of a body name records of the run, and their types (R-CHAIN-04).
REFERENCES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "proposal": [("supersedes", ("proposal",))],
    "decision": [("proposal", ("proposal",))],
    "escalation": [("proposal", ("proposal",))],
    "cancel": [("target", ("proposal", "decision"))],
    "execution": [("proposal", ("proposal",)), ("decisions", ("decision",)), ("retries", ("execution",))],
    "outcome": [("execution", ("execution",))],
    "refusal": [("proposal", ("proposal",)), ("decisions", ("decision",))],
    "settlement": [("execution", ("execution",))],
    "handoff": [("open", ("proposal", "execution"))],
}


def references(record: Record) -> list[tuple[str, tuple[str, ...]]]:
    result = []
    for member, types in REFERENCES.get(record.type, []):
        named = record.body.get(member, [])
        for one in [named] if isinstance(named, str) else named:
            result.append((one, types))
    return result


class Fold:
    def __init__(
        self,
        *,
        complete: bool = True,
        documents: dict[str, dict[str, Any]] | None = None,
        root_at: Callable[[int], bytes | None] = lambda size: None,
        before_fold: Callable[[int, Record], None] = lambda index, record: None,
    ) -> None:
        self.complete = complete
        self.documents = documents or {}
        self.root_at = root_at
        self.before_fold = before_fold  # R-AUTH-02, which needs the reader's trust
        self.findings: list[Finding] = []

        self.genesis: Record | None = None
        self.entries: dict[str, tuple[int, Record]] = {}
        self.shown: set[str] = set()  # whatever is a record
        self.doubtful: dict[str, Record] = {}  # those of which a rule is neither held nor broken; they are not applied
        self.statements: set[str] = set()
        self.keys: dict[bytes, Key] = {}
        self.note_keys: set[bytes] = set()
        self.groups: dict[str, frozenset[str]] = {}
        self.threshold = 1
        self.candidates: dict[str, Candidate] = {}
        self.keyring_heads: dict[str, str] = {}
        self.policy_head: str | None = None
        self.policy: PolicyInForce | None = None
        self.policy_in_doubt = False  # whether a later document, which is not shown, may be in force instead
        self.snapshot: tuple[int, Record] | None = None
        self.links: dict[str, Link] = {}  # delegations that took effect
        self.revoked_delegations: set[str] = set()
        self.runs: dict[str, Run] = {}
        self.proposals: dict[str, Proposal] = {}
        self.decisions: dict[str, Decision] = {}
        self.doubtful_approvals: list[Decision] = []  # which may meet a rule, where that would keep a timer away
        self.executions: dict[str, Execution] = {}
        self.waiting: list[Execution] = []  # executions since the last snapshot
        self.undated: list[Proposal] = []  # proposals since the last snapshot
        self.timers: dict[Timer, Said] = {}  # those that stand
        self.doubtfully_timed: set[str] = set()  # proposals about which a timer is in doubt
        self.judged: list[int] = []  # records since the last snapshot whose keys have a validity
        self.untimed: list[int] = []  # those of which the next snapshot did not show that no other lay before them
        self.last_index = -1
        self.gap = False  # whether an entry since the last shown snapshot is not shown

    def entry(self, index: int, data: bytes) -> Record | None:
        """Checks and applies one entry; the record, if its intrinsic rules hold."""
        self.reach(index)
        record: Record | None = None
        try:
            record = parse_record(data)
            self.shown.add(record.id)
            self.before_fold(index, record)
            self.check(index, record)
            self.apply(index, record)
        except RuleError as error:
            self.find(index, error)
            if record is not None and isinstance(error, NotShown):
                self.leave_in_doubt(index, record)
        return record

    def leave_in_doubt(self, index: int, record: Record) -> None:
        """Notes what may have changed by an entry that is not applied, where a rule asks for it."""
        self.doubtful[record.id] = record
        concerned = self.doubtful.get(record.body["candidate"]) if record.type == "endorsement" else record
        if concerned is not None and concerned.type == "policy":
            self.policy_in_doubt = True  # an endorsement may be what lets it take effect
        if record.type in ("outcome", "settlement"):
            self.doubt_ending(index, record)
        elif (timer := Timer.of(record)) is not None:
            self.doubtfully_timed.add(timer.proposal)
        elif record.type == "decision" and record.body["verdict"] == "approve" and self.may_stand(index, record):
            self.doubtful_approvals.append(self.decision(record))

    def doubt_ending(self, index: int, record: Record) -> None:
        """Notes that an execution may have ended, unless what says so breaks a rule all the same."""
        if record.body["execution"] not in self.executions:
            return
        try:
            self.check_body(index, record)
        except NotShown:
            pass
        except RuleError:
            return
        self.executions[record.body["execution"]].doubtful = True

    def may_stand(self, index: int, record: Record) -> bool:
        """Whether a decision in doubt breaks none of the rules that were not looked at any more."""
        if record.body["proposal"] not in self.proposals:
            return False
        checks: list[Callable[[], None]] = [
            lambda: self.check_limits(record),
            lambda: self.check_chain(record),
            lambda: self.check_body(index, record),
        ]
        for check in checks:
            try:
                check()
            except NotShown:
                continue
            except RuleError:
                return False
        return True

    def reach(self, index: int) -> None:
        """Notes that the entry of this index is the next one shown."""
        self.gap = self.gap or index != self.last_index + 1
        self.last_index = index

    def find(self, index: int | None, error: RuleError) -> None:
        self.findings.append(Finding(index, error.rule, not isinstance(error, NotShown)))

    # Checks, in the order of spec/runs.md §1: log and statement, signer, limits, chain, basis, body ------------------

    def check(self, index: int, record: Record) -> None:
        self.check_log(index, record)
        if record.type != "genesis":
            self.check_signer(record)
        self.check_limits(record)
        if record.type != "genesis":
            self.check_chain(record)
            self.check_body(index, record)

    def check_log(self, index: int, record: Record) -> None:
        if record.type != "genesis" and (self.genesis is None or record.value["log"] != self.genesis.id):
            raise RuleError("R-LOG-01")
        if (record.type == "genesis") != (index == 0):
            raise RuleError("R-LOG-02")
        if record.type == "rejection":
            raise RuleError("R-LOG-05")
        if record.statement in self.statements:
            raise RuleError("R-LOG-03")

    def check_limits(self, record: Record) -> None:
        """R-LOG-04. A genesis is held to its own limits."""
        limits = (self.genesis or record).body["limits"]
        if len(record.data) > limits["record_bytes"]:
            raise RuleError("R-LOG-04", "bytes")
        run = self.runs.get(record.run or "")
        if run is not None and run.records >= limits["run_records"]:
            raise RuleError("R-LOG-04", "records of the run")

    def check_signer(self, record: Record) -> None:
        """R-KEY-01 to R-KEY-06."""
        key = self.keys.get(record.key)
        if key is None:
            raise (RuleError if self.complete else NotShown)("R-KEY-01")
        if key.role != record.role:
            raise RuleError("R-KEY-02")
        if key.principal != record.principal:
            raise RuleError("R-KEY-03")
        if key.retired:
            raise RuleError("R-KEY-04")
        if key.revoked is not None:
            raise RuleError("R-KEY-05")
        if not key.limited:
            return
        doubt = RuleError if self.complete else NotShown  # a snapshot between the two may not be shown
        if self.snapshot is None:
            raise doubt("R-KEY-06", "before the first snapshot")
        now = self.snapshot[1].time
        if key.not_after is not None and now > key.not_after:
            raise RuleError("R-KEY-06", "not_after")
        if key.not_before is not None and now < key.not_before:
            raise doubt("R-KEY-06", "not_before")

    def check_chain(self, record: Record) -> None:
        """R-CHAIN-01 to R-CHAIN-05."""
        if "run" in record.value and record.value["run"] not in self.runs:
            raise self.dangling("R-CHAIN-03", record.value["run"])
        for parent in record.value.get("parents", []):
            if parent not in self.entries:
                raise self.dangling("R-CHAIN-01", parent)
        for parent in record.value.get("parents", []):
            if self.entries[parent][1].run != record.value["run"]:
                raise RuleError("R-CHAIN-02", parent)
        for named, types in references(record):
            found = self.entries.get(named)
            if found is None:
                raise self.dangling("R-CHAIN-04", named)
            if found[1].run != record.value["run"] or found[1].type not in types:
                raise RuleError("R-CHAIN-04", named)
        if "prev" in record.value:
            self.check_prev(record)

    def dangling(self, rule: str, named: str) -> RuleError:
        """A record of the run that is not there was taken out; one that is there in doubt leaves this one in doubt too."""
        return NotShown(rule, named) if named in self.doubtful else RuleError(rule, named)

    def check_prev(self, record: Record) -> None:
        assert self.genesis is not None
        prev = record.value["prev"]
        if prev in self.doubtful and record.type == "snapshot":
            raise NotShown("R-CHAIN-05", "whether it is the head is in doubt")
        if record.type == "delegation":
            found = self.entries.get(prev)
            if found is None and not self.complete:
                return  # spec/runs.md §1: a `prev` that is not there breaks nothing
            if found is None or found[1].type not in ("delegation", "genesis"):
                raise RuleError("R-CHAIN-05")
            return
        is_there = prev in self.shown and prev not in self.doubtful
        if record.type in ("keyring", "policy") and not is_there and not self.complete:
            return  # spec/runs.md §1; one in doubt may be the head
        if record.type == "keyring":
            head = self.keyring_heads.get(record.body["principal"])
        elif record.type == "policy":
            head = self.policy_head
        else:
            head = self.snapshot[1].id if self.snapshot else None
            if not self.complete and self.gap and prev not in self.entries:
                return  # a snapshot between the two is not shown
        if prev != (head or self.genesis.id):
            raise RuleError("R-CHAIN-05")

    def check_body(self, index: int, record: Record) -> None:
        if "basis" in record.body:
            self.check_basis(index, record)
        getattr(self, f"check_{record.type}", lambda index, record: None)(index, record)

    def check_basis(self, index: int, record: Record) -> None:
        basis = record.body["basis"]
        if basis["size"] > index:
            raise RuleError("R-BASIS-01", "beyond the record")
        on_policy_alone = record.type == "execution" and not (
            record.body["decisions"] or "break_glass" in record.body or "retries" in record.body
        )
        if on_policy_alone:
            named_is_known = self.policy is not None and self.policy.digest == record.body["policy"]
            if named_is_known and not self.policy_in_doubt and self.policy.since >= basis["size"]:
                # In a bundle, a policy may be left out, without which it looks younger.
                raise (RuleError if self.complete else NotShown)("R-BASIS-01", "does not cover the policy")
        elif any(self.entries[named][0] >= basis["size"] for named, _ in references(record)):
            raise RuleError("R-BASIS-01", "does not cover what is named")
        root = self.root_at(basis["size"])
        if root is not None and spell(root) != basis["root"]:
            raise RuleError("R-BASIS-02")

    # Bodies -----------------------------------------------------------------------------------------------------

    def check_snapshot(self, index: int, record: Record) -> None:
        if record.body["index"] != index:
            raise RuleError("R-SNAP-01")
        if self.snapshot is not None and record.time <= self.snapshot[1].time:
            raise RuleError("R-SNAP-02")
        if record.body["fold"] != 0 or record.body["map"] != EMPTY_MAP:
            raise RuleError("R-SNAP-03")

    def check_keyring(self, index: int, record: Record) -> None:
        """R-KEY-07, R-KEY-08, R-AUTH-03; also where the record takes effect."""
        body = record.body
        key = s.key_bytes(body["key"])
        if body["change"] in ("enrol", "rotate") and (key in self.keys or key in self.note_keys):
            raise RuleError("R-KEY-07")
        if body["change"] in ("rotate", "retire"):
            old = self.keys.get(s.key_bytes(body["replaces"]) if body["change"] == "rotate" else key)
            if old is None or not old.live or (old.principal, old.role) != (body["principal"], body["role"]):
                raise RuleError("R-KEY-08")
        holders = self.authority_holders(without=key if body["change"] == "retire" else None)
        if body["change"] != "retire" and body["role"] == "authority":
            holders.add(body["principal"])
        self.check_threshold(body.get("threshold", self.threshold), holders)

    def authority_holders(self, without: bytes | None = None) -> set[str]:
        return {
            key.principal
            for material, key in self.keys.items()
            if key.role == "authority" and key.live and material != without
        }

    def check_threshold(self, threshold: int, holders: set[str]) -> None:
        if threshold > len(holders):
            raise RuleError("R-AUTH-03")

    def check_policy(self, index: int, record: Record) -> None:
        """R-POL-01: a policy that can't be read changes nothing."""
        document = self.document_of(record)
        if document is None and not self.complete:
            raise NotShown("R-POL-01", "the document is not at hand")
        if document is None or not language.readable(document):
            raise RuleError("R-POL-01")

    def document_of(self, record: Record) -> dict[str, Any] | None:
        document: dict[str, Any] | None = record.body.get("document") or self.documents.get(
            record.body.get("digest", "")
        )
        return document

    def check_endorsement(self, index: int, record: Record) -> None:
        candidate = self.candidates.get(record.body["candidate"])
        if candidate is None:
            raise self.dangling("R-AUTH-01", record.body["candidate"])
        if record.principal in candidate.signers:
            raise RuleError("R-AUTH-01")

    def check_delegation(self, index: int, record: Record) -> None:
        """R-DEL-01 to R-DEL-03 and R-DEL-06; also where the record takes effect."""
        assert self.genesis is not None
        check_scope(record.body["scope"])
        prev = record.value["prev"]
        if prev == self.genesis.id:
            if record.role != "authority":
                raise RuleError("R-DEL-02", "not the authority")
            return
        above = self.link("R-DEL-02", prev, record)
        self.check_ended(above.chain)
        check_narrowing(record.body, above.record.body)

    def link(self, rule: str, named: str, record: Record) -> Link:
        """A delegation in effect, of which the record's signer is the delegate."""
        if named not in self.entries and not self.complete:
            raise NotShown(rule, "the delegation is not shown")
        link = self.links.get(named)
        if link is None and (named in self.doubtful or (named in self.candidates and not self.complete)):
            raise NotShown(rule, "not shown to be in effect")
        if link is None:
            raise RuleError(rule, "not in effect")
        if not self.is_holder(record, link.delegate):
            raise RuleError(rule, "not the delegate")
        return link

    def is_holder(self, record: Record, holder: dict[str, str]) -> bool:
        """Whether it is signed with the named key or the one that rotations put in its place."""
        return record.key == self.rotated(s.key_bytes(holder["key"])) and record.principal == holder["principal"]

    def rotated(self, material: bytes) -> bytes:
        key = self.keys.get(material)
        return material if key is None or key.replaced_by is None else self.rotated(key.replaced_by)

    def check_ended(self, chain: list[Link]) -> None:
        """R-DEL-06."""
        if any(self.has_ended(link) for link in chain):
            raise RuleError("R-DEL-06")

    def has_ended(self, link: Link) -> bool:
        """spec/delegation.md §4: it is revoked, or a key of its delegate is that rotations connect with the named one."""
        last = self.rotated(s.key_bytes(link.delegate["key"]))
        connected = [key for material, key in self.keys.items() if self.rotated(material) == last]
        return any(key.revoked is not None for key in connected) or link.record.id in self.revoked_delegations

    def check_revocation(self, index: int, record: Record) -> None:
        """R-REV-01, R-REV-02 and, for an authority key, R-AUTH-03."""
        target = record.body["target"]
        if "delegation" in target:
            found = self.entries.get(target["delegation"])
            if found is None and not self.complete:
                raise NotShown("R-REV-01", "the delegation is not shown")
            if found is None or found[1].type != "delegation" or found[1].id in self.revoked_delegations:
                raise RuleError("R-REV-01")
            holders = {found[1].principal, found[1].body["delegate"]["principal"]}
        else:
            key = self.keys.get(s.key_bytes(target["key"]))
            first_dispute = key is not None and not key.disputed and "distrust_from" in record.body
            if key is None or (key.revoked is not None and not first_dispute):
                raise RuleError("R-REV-01")
            holders = set() if "distrust_from" in record.body else {key.principal}
        if record.role != "authority" and record.principal not in holders:
            raise RuleError("R-REV-02")
        if self.revokes_authority(record):
            self.check_threshold(self.threshold, self.authority_holders(without=s.key_bytes(target["key"])))

    def revokes_authority(self, record: Record) -> bool:
        if record.type != "revocation" or "key" not in record.body["target"]:
            return False
        key = self.keys.get(s.key_bytes(record.body["target"]["key"]))
        return key is not None and key.role == "authority"

    def check_trigger(self, index: int, record: Record) -> None:
        self.check_recipient(record.body["owner"])

    def check_handoff(self, index: int, record: Record) -> None:
        self.check_owner(record)
        self.check_recipient(record.body["to"])

    def is_human(self, principal: str) -> bool:
        """Whether the principal holds a live key of role `human`."""
        return any(key.principal == principal and key.role == "human" and key.live for key in self.keys.values())

    def check_recipient(self, holder: dict[str, str]) -> None:
        """R-HAND-01: a run is given to a live agent key of the named principal."""
        key = self.keys.get(s.key_bytes(holder["key"]))
        if key is None or not key.live or key.role != "agent" or key.principal != holder["principal"]:
            raise RuleError("R-HAND-01")

    def check_owner(self, record: Record) -> None:
        """R-OWN-01: the named key, or the one that rotations put in its place."""
        run = self.runs[record.value["run"]]
        if record.key != self.rotated(run.owner_key) or record.principal != run.owner:
            raise RuleError("R-OWN-01")

    def check_observation(self, index: int, record: Record) -> None:
        self.check_owner(record)

    def check_proposal(self, index: int, record: Record) -> None:
        self.check_owner(record)
        if "supersedes" in record.body:
            old = self.proposals[record.body["supersedes"]]
            if old.superseded or old.cancelled or old.uses:
                raise RuleError("R-PROP-01")
        if "delegation" in record.body:
            self.check_acting(record)

    def check_acting(self, record: Record) -> None:
        """R-DEL-04 to R-DEL-06 (spec/delegation.md §3)."""
        chain = self.link("R-DEL-04", record.body["delegation"], record).chain
        if not all(in_scope(record.body["action"], link.record.body["scope"]) for link in chain):
            raise RuleError("R-DEL-05")
        self.check_ended(chain)

    def check_cancel(self, index: int, record: Record) -> None:
        if record.role == "agent":
            self.check_owner(record)
        decision = self.decisions.get(record.body["target"])
        if record.role == "authority":
            return
        if decision is not None:
            if record.role != "human" or record.principal not in (decision.record.principal, decision.who):
                raise RuleError("R-CAN-01")
        elif record.role != "agent":
            raise RuleError("R-CAN-01")

    def check_decision(self, index: int, record: Record) -> None:
        proposal = self.proposals[record.body["proposal"]]
        if record.body["action"] != action_digest(proposal.record.body["action"]):
            raise RuleError("R-DEC-02")
        if "approver" in record.body:
            self.check_link(record.body["approver"])
        if "rule" in record.body:
            self.check_timer(record, proposal)

    def check_link(self, approver: str) -> None:
        """R-LINK-01."""
        self.check_human("R-LINK-01", approver)

    def check_human(self, rule: str, principal: str) -> None:
        """In a bundle, a keyring record may be left out that gave the principal another key."""
        if not self.is_human(principal):
            raise RuleError(rule, "by link") if self.complete else NotShown(rule, "by link")

    def check_escalation(self, index: int, record: Record) -> None:
        self.check_timer(record, self.proposals[record.body["proposal"]])

    def check_timer(self, record: Record, proposal: Proposal) -> None:
        """R-TIME-01 to R-TIME-03 (spec/policy.md §1, *What is signed in role `policy`*)."""
        timer = Timer.of(record)
        assert timer is not None
        said, rule, after = self.timed(record, proposal)
        due = proposal.due(after)
        if due is not None and "window" in record.body and record.body["window"]["from"] < due:
            raise RuleError("R-TIME-02", "the window begins before it is due")
        if due is None or self.snapshot is None or self.snapshot[1].time < due:
            # In a bundle, a snapshot may be left out that would show it due.
            raise RuleError("R-TIME-02") if self.complete else NotShown("R-TIME-02")
        if timer.proposal in self.doubtfully_timed:  # spec/verification.md §3
            raise NotShown("R-TIME-03", "one before it is in doubt")
        self.check_turn(timer, rule, proposal)
        if record.body.get("verdict") == "approve" and proposal.withdrawn:
            raise RuleError("R-TIME-03", "somebody withdrew a decision")
        decisions = [*self.decisions.values(), *self.doubtful_approvals]
        approvals = [one.approval for one in decisions if self.may_count(one, proposal)]
        if not said.is_due(rule, self.involved(proposal), approvals):
            # In a bundle, a revocation may be left out, after which an approval counts no more, or one is in doubt.
            raise RuleError("R-TIME-03", "met") if self.complete else NotShown("R-TIME-03", "met")

    def steps_before(self, timer: Timer, rule: dict[str, Any]) -> set[Timer]:
        end = timer.step or len(rule.get("escalation", [])) + 1
        return {replace(timer, step=step) for step in range(1, end)}

    def check_turn(self, timer: Timer, rule: dict[str, Any], proposal: Proposal) -> None:
        """R-TIME-03, but for what was approved."""
        if proposal.ended or proposal.uses:
            raise RuleError("R-TIME-03", "over")
        if timer in self.timers or replace(timer, step=None) in self.timers:
            raise RuleError("R-TIME-03", "said before")
        if self.steps_before(timer, rule) - self.timers.keys():
            raise RuleError("R-TIME-03", "a step before it was not said")

    def timed(self, record: Record, proposal: Proposal) -> tuple[language.Assessment, dict[str, Any], int]:
        """What the policy says, the rule of a timer, and its `after`; R-TIME-01."""
        body = record.body
        if self.policy_in_doubt:
            raise NotShown("R-TIME-01", "the policy in force is not shown")
        if self.policy is None or self.policy.digest != body["policy"]:
            raise RuleError("R-TIME-01", "another policy")
        said = language.assess(self.policy.document, proposal.request)
        rule = said.timed(body["rule"])
        if rule is None:
            raise RuleError("R-TIME-01", "no such rule applies")
        if record.type == "decision":
            if rule.get("timeout", {}).get("then") != body["verdict"]:
                raise RuleError("R-TIME-01", "no such time-out")
            after = rule["timeout"]["after"]
        else:
            steps = rule.get("escalation", [])
            if body["step"] > len(steps):
                raise RuleError("R-TIME-01", "no such step")
            step = steps[body["step"] - 1]
            asked = [{"principal": one} for one in step["to"].get("principals", [])]
            asked += [{"group": one} for one in step["to"].get("groups", [])]
            if body["to"] != asked:
                raise RuleError("R-TIME-01", "the step asks others")
            after = step["after"]
        if self.policy.since >= proposal.index:
            # In a bundle, a policy may be left out, without which it looks younger.
            doubt = RuleError if self.complete else NotShown
            raise doubt("R-TIME-01", "a policy that is younger than the proposal")
        return said, rule, int(after)

    def may_count(self, decision: Decision, proposal: Proposal) -> bool:
        """Whether it holds of an approval what R-EXEC-05, R-EXEC-09 and R-EXEC-11 want, or is not shown not to."""
        try:
            self.check_approves(decision, proposal)
            self.check_holds(decision)
        except NotShown:
            return True
        except RuleError:
            return False
        return True

    def check_approves(self, decision: Decision, proposal: Proposal) -> None:
        """R-EXEC-05, of one decision."""
        named = decision.record.body
        if named["proposal"] != proposal.record.id or named["verdict"] != "approve" or decision.cancelled:
            raise RuleError("R-EXEC-05")

    def check_all_hold(self, decisions: list[Decision]) -> None:
        """R-EXEC-09 and R-EXEC-11. What one decision breaks goes before what is not shown of another."""
        doubts: list[NotShown] = []
        for decision in decisions:
            try:
                self.check_holds(decision)
            except NotShown as doubt:
                doubts.append(doubt)
        if doubts:
            raise doubts[0]

    def check_holds(self, decision: Decision) -> None:
        """R-EXEC-09 and R-EXEC-11, of one decision."""
        assert self.policy is not None
        named = decision.record.body
        if named["policy"] != self.policy.digest:
            raise RuleError("R-EXEC-09", "decision")
        if self.keys[decision.record.key].revoked is not None:
            raise RuleError("R-EXEC-11")
        if "approver" in named:
            self.check_human("R-EXEC-11", named["approver"])

    def involved(self, proposal: Proposal) -> set[str]:
        """Whom segregation keeps out, but for the runtime."""
        run = self.runs[proposal.record.value["run"]]
        return {run.requester, proposal.record.principal, *(link.delegate["principal"] for link in proposal.chain)}

    def check_execution(self, index: int, record: Record) -> None:
        """R-EXEC-01 to R-EXEC-17, R-DEL-06, R-DEL-07 (spec/runs.md §5).

        R-EXEC-08 for log time waits for the next snapshot.
        """
        body = record.body
        proposal = self.proposals[body["proposal"]]
        if canonical(body["action"]) != canonical(proposal.record.body["action"]):
            raise RuleError("R-EXEC-01")
        named = [proposal.record.body, *(link.record.body for link in proposal.chain)]
        if not all(self.in_audience(record.principal, one["audience"]) for one in named if "audience" in one):
            raise RuleError("R-EXEC-10")
        self.check_ended(proposal.chain)
        holder = proposal.uses.get(body["use"])
        if holder is not None and holder.record.id != body.get("retries"):
            raise RuleError("R-EXEC-02")
        if proposal.ended:
            raise RuleError("R-EXEC-04")
        if body["proposal"] in self.doubtfully_timed:  # spec/verification.md §3
            raise NotShown("R-EXEC-04", "a timer in doubt may have ended it")
        if self.policy_in_doubt:
            raise NotShown("R-EXEC-09", "the policy in force is not shown")
        if self.policy is None or self.policy.digest != body["policy"]:
            raise RuleError("R-EXEC-09", "execution")
        if "retries" in body:
            self.check_retry(record, proposal, holder)
        if "break_glass" in body:
            said = language.assess(self.policy.document, proposal.request)
            if said.says not in ("allowed", "required"):
                raise RuleError(said.says)
            if not said.break_glass:
                raise RuleError("R-EXEC-13")
            if body["use"] > said.uses:
                raise RuleError("R-EXEC-03", "break-glass")
        else:
            self.check_quorum(record, proposal, [self.decisions[one] for one in body["decisions"]])
        self.check_bounds(record, proposal)

    def check_retry(self, record: Record, proposal: Proposal, holder: Execution | None) -> None:
        """R-EXEC-14; by R-EXEC-02, whatever holds the use is what is retried."""
        assert self.policy is not None
        if holder is None:
            raise RuleError("R-EXEC-14", "what it names does not hold the use")
        if holder.record.principal != record.principal:
            raise RuleError("R-EXEC-14", "of another runtime")
        if not holder.unknown:
            raise RuleError("R-EXEC-14", "it ended")
        if holder.tries > language.assess(self.policy.document, proposal.request).retries:
            raise RuleError("R-EXEC-14", "too often")
        if holder.doubtful:
            raise NotShown("R-EXEC-14", "an outcome or a settlement is in doubt")
        if not holder.reported:
            raise RuleError("R-EXEC-14", "it has no outcome")

    def check_bounds(self, record: Record, proposal: Proposal) -> None:
        """R-EXEC-08 by the validity of links, and R-DEL-07."""
        assert self.policy is not None
        if not all(inside(record.time, window) for link in proposal.chain for window in link.validity):
            raise RuleError("R-EXEC-08", "the runtime's own time, and the validity of a link")
        cost = language.cost_of(self.policy.document, record.body["action"])
        for link in proposal.chain:
            link.check(cost, is_retry="retries" in record.body)

    def check_quorum(self, record: Record, proposal: Proposal, decisions: list[Decision]) -> None:
        assert self.policy is not None
        body = record.body
        for decision in decisions:
            self.check_approves(decision, proposal)
        self.check_all_hold(decisions)
        involved = self.involved(proposal) | {record.principal}
        said = language.assess(self.policy.document, proposal.request)
        lacks_preview = body["action"]["mode"] == "apply" and not proposal.previewed
        granted = said.judge(involved, [decision.approval for decision in decisions], lacks_preview=lacks_preview)
        if body["use"] > granted:
            raise RuleError("R-EXEC-03")
        if not all(inside(record.time, window) for window in windows(decisions)):
            raise RuleError("R-EXEC-08", "the runtime's own time")

    def in_audience(self, principal: str, audience: dict[str, str]) -> bool:
        if "principal" in audience:
            return principal == audience["principal"]
        return audience["group"] in self.groups.get(principal, frozenset())

    def check_outcome(self, index: int, record: Record) -> None:
        execution = self.executions[record.body["execution"]]
        if execution.record.principal != record.principal:
            raise RuleError("R-OUT-01")
        if not execution.unknown or (execution.reported and record.body["status"] == "unknown"):
            raise RuleError("R-OUT-02")

    def check_settlement(self, index: int, record: Record) -> None:
        if not self.executions[record.body["execution"]].unknown:
            raise RuleError("R-SET-01")

    # Effects ------------------------------------------------------------------------------------------------------

    def apply(self, index: int, record: Record) -> None:
        self.entries[record.id] = (index, record)
        self.statements.add(record.statement)
        if record.key in self.keys:
            self.keys[record.key].signed.append(index)
            if self.keys[record.key].limited:
                self.judged.append(index)
        if "run" in record.value:
            self.runs[record.value["run"]].records += 1
        getattr(self, f"apply_{record.type}", lambda index, record: None)(index, record)

    def apply_genesis(self, index: int, record: Record) -> None:
        body = record.body
        self.genesis = record
        self.threshold = body["authority"]["threshold"]
        self.note_keys = {parse_vkey(vkey).material for vkey in body["log"]["note_keys"]}
        for root in body["authority"]["roots"]:
            self.keys[s.key_bytes(root["key"])] = Key(root["principal"], "authority")
        snapshot = body["log"]["snapshot"]
        self.keys[s.key_bytes(snapshot["key"])] = Key(snapshot["principal"], "log")
        self.keys[record.key].signed.append(index)

    def apply_snapshot(self, index: int, record: Record) -> None:
        before = self.snapshot[1].id if self.snapshot else (self.genesis.id if self.genesis else "")
        for execution in self.waiting:
            execution.log_time = record.time
            execution.gap = record.value["prev"] != before
            if not execution.gap and not all(inside(record.time, window) for window in execution.windows):
                execution.late = True
                self.findings.append(Finding(execution.index, "R-EXEC-08"))
        self.waiting = []
        for proposal in self.undated:
            proposal.log_time = record.time if record.value["prev"] == before else None
        self.undated = []
        if record.value["prev"] != before:
            self.untimed += self.judged
        self.judged = []
        self.snapshot = (index, record)
        self.gap = False

    def apply_keyring(self, index: int, record: Record) -> None:
        self.keyring_heads[record.body["principal"]] = record.id
        self.authorize(index, record)

    def apply_policy(self, index: int, record: Record) -> None:
        self.policy_head = record.id
        self.authorize(index, record)

    def apply_revocation(self, index: int, record: Record) -> None:
        if self.revokes_authority(record):
            self.authorize(index, record)
        else:
            self.revoke(index, record)

    def apply_delegation(self, index: int, record: Record) -> None:
        if record.value["prev"] in self.links:
            self.take_effect(index, record)
        else:
            self.authorize(index, record)

    def authorize(self, index: int, record: Record) -> None:
        """Takes effect at once, or waits for endorsements (spec/runs.md §3)."""
        signers = {record.principal} if record.role == "authority" else set()
        if len(signers) >= self.threshold:
            self.take_effect(index, record)
        else:
            self.candidates[record.id] = Candidate(record, signers)

    def apply_endorsement(self, index: int, record: Record) -> None:
        candidate = self.candidates[record.body["candidate"]]
        candidate.signers.add(record.principal)
        if len(candidate.signers) < self.threshold:
            return
        del self.candidates[candidate.record.id]
        try:  # its body is judged again where it takes effect; if that does not hold there, it has no effect
            getattr(self, f"check_{candidate.record.type}")(index, candidate.record)
        except RuleError:
            return
        self.take_effect(index, candidate.record)

    def take_effect(self, index: int, record: Record) -> None:
        if record.type == "keyring":
            self.change_keys(record)
        elif record.type == "policy":
            self.set_policy(index, record)
        elif record.type == "delegation":
            self.links[record.id] = Link(record, self.links.get(record.value["prev"]))
        else:
            self.revoke(index, record)

    def change_keys(self, record: Record) -> None:
        body = record.body
        material = s.key_bytes(body["key"])
        if body["change"] == "retire":
            self.keys[material].retired = True
        else:
            validity = (body.get("not_before"), body.get("not_after"))
            self.keys[material] = Key(body["principal"], body["role"], *validity)
        if body["change"] == "rotate":
            old = self.keys[s.key_bytes(body["replaces"])]
            old.retired = True
            old.replaced_by = material
        self.groups[body["principal"]] = frozenset(body["groups"])
        self.threshold = body.get("threshold", self.threshold)

    def set_policy(self, index: int, record: Record) -> None:
        """The same document again goes on being in force."""
        document = self.document_of(record)
        assert document is not None
        digest = policy_digest(document)
        is_shown = not self.policy_in_doubt and record.value["prev"] in self.entries
        if self.policy is None or self.policy.digest != digest or not is_shown:
            self.policy = PolicyInForce(digest, document, index)
        self.policy_in_doubt = False

    def revoke(self, index: int, record: Record) -> None:
        target = record.body["target"]
        if "delegation" in target:
            self.revoked_delegations.add(target["delegation"])
            return
        key = self.keys[s.key_bytes(target["key"])]
        key.revoked = index if key.revoked is None else key.revoked
        if "distrust_from" in record.body:
            key.disputed = True
            if any(signed >= record.body["distrust_from"] for signed in key.signed):
                self.find(None, NotShown("R-KEY-09"))  # never fails, and is about a range

    def apply_trigger(self, index: int, record: Record) -> None:
        owner = record.body["owner"]
        self.runs[record.id] = Run(s.key_bytes(owner["key"]), owner["principal"], record.principal)

    def apply_handoff(self, index: int, record: Record) -> None:
        run, to = self.runs[record.value["run"]], record.body["to"]
        run.owner_key, run.owner = s.key_bytes(to["key"]), to["principal"]

    def apply_proposal(self, index: int, record: Record) -> None:
        chain = self.links[record.body["delegation"]].chain if "delegation" in record.body else []
        self.proposals[record.id] = Proposal(record, index, self.groups.get(record.principal, frozenset()), chain)
        self.proposals[record.id].previewed = any(self.previews(one, record) for one in record.value["parents"])
        self.undated.append(self.proposals[record.id])
        if "supersedes" in record.body:
            old = self.proposals[record.body["supersedes"]]
            old.superseded = old.ended = True

    def previews(self, parent: str, proposal: Record) -> bool:
        """Whether a parent says that a preview of the action succeeded that a proposal is about."""
        outcome = self.entries[parent][1]
        if outcome.type != "outcome" or outcome.body["status"] != "succeeded":
            return False
        done = self.executions[outcome.body["execution"]].record.body["action"]
        return bool(done["mode"] == "preview" and canonical(done | {"mode": "apply"}) == canonical(proposal.body["action"]))

    def apply_decision(self, index: int, record: Record) -> None:
        body = record.body
        self.decisions[record.id] = self.decision(record)
        if "rule" in body:
            self.start(index, record)
        if body["verdict"] != "approve" and self.has_effect(self.decisions[record.id]):
            self.proposals[body["proposal"]].ended = True

    def decision(self, record: Record) -> Decision:
        """A decision, as whoever decides stands at this index."""
        groups = self.groups.get(record.body.get("approver", record.principal), frozenset())
        return Decision(record, groups, self.escalated(record.body))

    def escalated(self, body: dict[str, Any]) -> frozenset[tuple[str, int]]:
        """The steps that let others decide: under the policy in force, which an approval has to name."""
        if self.policy is None or (body["verdict"] == "approve" and body["policy"] != self.policy.digest):
            return frozenset()
        return frozenset(
            (timer.rule, timer.step)
            for timer, said in self.timers.items()
            if timer.step is not None and (timer.proposal, said.policy) == (body["proposal"], self.policy.digest)
        )

    def has_effect(self, decision: Decision) -> bool:
        """Whether a negative decision ends its proposal (spec/runs.md §4)."""
        body = decision.record.body
        if "rule" in body:
            return True  # by time-out
        if self.policy is None:
            return decision.record.role == "human"  # if no policy is in force, any human's does
        said = language.assess(self.policy.document, self.proposals[body["proposal"]].request)
        return said.entitles_against(decision.approval)

    def apply_escalation(self, index: int, record: Record) -> None:
        self.start(index, record)

    def start(self, index: int, record: Record) -> None:
        """Notes a timer that stands."""
        timer, proposal = Timer.of(record), self.proposals[record.body["proposal"]]
        assert timer is not None
        _, _, after = self.timed(record, proposal)
        self.timers[timer] = Said(index, record.body["policy"], proposal.index, after)

    def apply_cancel(self, index: int, record: Record) -> None:
        target = record.body["target"]
        if target in self.decisions:
            decision = self.decisions[target]
            decision.cancelled = True
            self.proposals[decision.record.body["proposal"]].withdrawn = True
        else:
            proposal = self.proposals[target]
            proposal.cancelled = proposal.ended = True

    def apply_execution(self, index: int, record: Record) -> None:
        assert self.policy is not None
        proposal = self.proposals[record.body["proposal"]]
        before = proposal.uses.get(record.body["use"])
        if before is None:  # a retry takes nothing
            cost = language.cost_of(self.policy.document, record.body["action"])
            for link in proposal.chain:
                link.take(cost)
        named = [] if "break_glass" in record.body else [self.decisions[one] for one in record.body["decisions"]]
        validity = [window for link in proposal.chain for window in link.validity]
        execution = Execution(record, index, windows(named) + validity, 1 if before is None else before.tries + 1)
        proposal.uses[record.body["use"]] = execution
        self.executions[record.id] = execution
        self.waiting.append(execution)

    def apply_outcome(self, index: int, record: Record) -> None:
        self.executions[record.body["execution"]].reported = True
        if record.body["status"] != "unknown":
            self.executions[record.body["execution"]].unknown = False

    def apply_settlement(self, index: int, record: Record) -> None:
        self.executions[record.body["execution"]].unknown = False


def windows(decisions: list[Decision]) -> list[Window]:
    approvals = [one.record.body["window"] for one in decisions if "window" in one.record.body]
    return [(window["from"], window["until"]) for window in approvals]


def inside(time: int, window: Window) -> bool:
    """Both ends lie inside (spec/runs.md §5)."""
    return window[0] <= time <= window[1]
