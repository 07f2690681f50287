"""Bundles: lines, proofs, payloads and the verdict (spec/bundle.md, spec/verification.md)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import shapes as s
from fold import Fold
from merkle import EMPTY_ROOT, Growing, ProofError, inclusion_root, leaf_hash, multiproof_root, verify_consistency
from notes import Checkpoint, Note, NoteError, cosigned_at, parse_checkpoint, parse_note, repeats, signed_by
from records import Record, commitment, parse_record, policy_digest, spell
from rules import Finding, RuleError
from strictjson import parse
from trust import DIMENSIONS, Trust

# spec/limits.md
MAX_LINE = 6_291_456
MAX_CONTENT = 4_194_304
MAX_CHECKPOINTS = 4096
MAX_DOCUMENTS = 4096
MAX_PAYLOADS = 65_536
MAX_HASHES = 126

#: spec/verification.md §3: how much shorter than `after` witnesses may have seen the proposal, in milliseconds.
TOLERANCE = 300_000


class Unreadable(Exception):
    """The reading ends (spec/verification.md §1)."""

    def __init__(self, rule: str, detail: str = "") -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


def _base64(limit: int | None = None, length: int | None = None, url: bool = True) -> s.Check:
    def check(value: Any) -> None:
        data = (s.base64url if url else s.base64std)(value) if isinstance(value, str) else None
        if data is None or (length is not None and len(data) != length):
            s.fail("base64")
        if limit is not None and len(data) > limit:  # type: ignore[arg-type]
            raise Unreadable("R-BUN-04", "content")

    return check


_hashes = s.array(_base64(length=32, url=False), 0, MAX_HASHES)
_any_string = s.pattern(r"(?s).*")

HEADER = s.obj(
    checkpoints=s.size,
    documents=s.size,
    entries=s.size,
    format=s.one_of("counterfoil-bundle/1"),
    log=s.hash_,
    payloads=s.size,
    run=s.hash_,
)
CHECKPOINT = s.obj(checkpoint=_any_string, consistency=_hashes)
DOCUMENT = s.obj(document=s.open_object, policy=s.hash_)
ENTRY = s.obj(index=s.index, left=_hashes)
END = s.obj(right=_hashes)
PAYLOAD = s.obj(
    commitment=s.hash_,
    content=_base64(limit=MAX_CONTENT),
    label=s.label,
    salt=_base64(length=32),
    set_=s.obj(
        index=s.integer(0, 65_535),
        items=s.integer(1, 65_536),
        proof=s.array(_base64(length=32, url=False), 0, 16),
        root=s.hash_,
    ),
)


@dataclass
class Bundle:
    """The lines of a bundle, each of the shape that is due, as far as they could be read."""

    header: dict[str, Any] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    entries: list[tuple[int, list[bytes], bytes]] = field(default_factory=list)
    right: list[bytes] | None = None  # None: the reading ended before
    payloads: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None  # the rule that ended the reading

    @property
    def has_entries(self) -> bool:
        return bool(self.header) and len(self.entries) == self.header["entries"]


class _Lines:
    def __init__(self, data: bytes) -> None:
        self.lines = data.split(b"\n")
        self.unfinished = self.lines.pop()
        self.at = 0

    def raw(self) -> bytes:
        if self.at == len(self.lines):
            if self.unfinished:
                raise Unreadable("R-BUN-02", "the last line is not complete")
            raise Unreadable("R-BUN-03", "too few lines")
        line = self.lines[self.at]
        self.at += 1
        if len(line) + 1 > MAX_LINE:
            raise Unreadable("R-BUN-04", "line")
        return line

    def take(self, shape: s.Check, rule: str = "R-BUN-02") -> dict[str, Any]:
        try:
            value = parse(self.raw())
            shape(value)
        except RuleError as error:
            raise Unreadable(rule, f"line {self.at}: {error}") from None
        return value


#: Opens a checkpoint under the reader's keys. The size of its tree, if it opens.
Opener = Callable[[dict[str, Any]], int | None]


def _ascends(values: list[Any], what: str) -> None:
    if any(one >= two for one, two in zip(values, values[1:], strict=False)):
        raise Unreadable("R-BUN-02", f"{what} out of order")


def _decode(hashes: list[str]) -> list[bytes]:
    return [s.base64std(one) or b"" for one in hashes]


def read(data: bytes, opener: Opener) -> Bundle:
    """spec/bundle.md, lines 1 to 6, up to the first that can't be read."""
    bundle = Bundle()
    try:
        _read(_Lines(data), bundle, opener)
    except Unreadable as error:
        bundle.error = error.rule
    return bundle


def _read(lines: _Lines, bundle: Bundle, opener: Opener) -> None:
    header = lines.take(HEADER, "R-BUN-01")
    if header["checkpoints"] < 1 or header["entries"] < 1:
        raise Unreadable("R-BUN-01", "counts")
    for name, limit in (("checkpoints", MAX_CHECKPOINTS), ("documents", MAX_DOCUMENTS), ("payloads", MAX_PAYLOADS)):
        if header[name] > limit:
            raise Unreadable("R-BUN-04", name)
    bundle.header = header
    sizes: list[int] = []
    for _ in range(header["checkpoints"]):
        bundle.checkpoints.append(lines.take(CHECKPOINT))
        size = opener(bundle.checkpoints[-1])
        sizes += [] if size is None else [size]
        _ascends(sizes[-2:], "checkpoints")
    for _ in range(header["documents"]):
        bundle.documents.append(lines.take(DOCUMENT))
        _ascends([one["policy"] for one in bundle.documents[-2:]], "documents")
    for _ in range(header["entries"]):
        entry = lines.take(ENTRY)
        bundle.entries.append((entry["index"], _decode(entry["left"]), lines.raw()))
        _ascends([index for index, _, _ in bundle.entries[-2:]], "entries")
    bundle.right = _decode(lines.take(END)["right"])
    for _ in range(header["payloads"]):
        bundle.payloads.append(lines.take(PAYLOAD))
        _ascends([one["commitment"] for one in bundle.payloads[-2:]], "payloads")
    if lines.at != len(lines.lines) or lines.unfinished:
        raise Unreadable("R-BUN-03", "lines after the last")


@dataclass
class Verdict:
    conclusion: str
    answers: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass
class _Opened:
    note: Note
    checkpoint: Checkpoint
    consistency: list[bytes]


def verify(data: bytes, trust: Trust, now: int) -> Verdict:
    """The verdict. Of an unreadable bundle, what was read before the reading ended is still answered."""
    return _Verifier(data, trust, now).verdict()


class _Verifier:
    def __init__(self, data: bytes, trust: Trust, now: int) -> None:
        self.trust = trust
        self.now = now
        self.findings: list[Finding] = []
        self.opened: list[_Opened] = []
        self.records: dict[int, Record] = {}
        self.strays: set[int] = set()
        self.bundle = read(data, self.open_checkpoint)

    def report(self, rule: str, index: int | None = None) -> None:
        self.findings.append(Finding(index, rule))

    def doubt(self, rule: str, index: int | None = None) -> None:
        """Reports a rule that is not shown to hold, and not broken."""
        self.findings.append(Finding(index, rule, is_broken=False))

    def verdict(self) -> Verdict:
        self.included = False
        self.fold_entries()
        if self.bundle.right is not None:
            self.check_proofs()
        self.check_genesis()
        self.check_documents()
        self.check_payloads()
        if self.bundle.error is not None:
            self.report(self.bundle.error)
        else:
            self.check_unused()
            for index in self.fold.untimed + self.fold.judged:
                self.doubt("R-KEY-06", index)
        return self.answer()

    # 2. Checkpoints: R-CP-01 to R-CP-03 -----------------------------------------------------------------------------

    def open_checkpoint(self, line: dict[str, Any]) -> int | None:
        try:
            note = parse_note(line["checkpoint"])
            signed = [signed_by(note, key) for key in self.trust.log_keys]
        except NoteError:
            signed = []
        if not any(signed):
            self.report("R-CP-01")
            return None
        try:
            checkpoint = parse_checkpoint(note.text)
        except NoteError:
            self.report("R-CP-03")
            return None
        if checkpoint.extensions or checkpoint.size == 0 or repeats(note):
            self.report("R-CP-03")
            return None
        if checkpoint.origin != self.trust.origin:
            self.report("R-CP-02")
            return None
        self.opened.append(_Opened(note, checkpoint, _decode(line["consistency"])))
        return checkpoint.size

    @property
    def last(self) -> _Opened | None:
        complete = len(self.opened) == len(self.bundle.checkpoints)
        return self.opened[-1] if complete and self.opened else None

    # 3. Entries ---------------------------------------------------------------------------------------------------

    def fold_entries(self) -> None:
        growing = Growing()  # roots of the sizes before the first gap
        for index, _, data in self.bundle.entries:
            if index == growing.size:
                growing.append(leaf_hash(data))
        by_size = {one.checkpoint.size: one.checkpoint.root for one in self.opened}

        def root_at(size: int) -> bytes | None:
            if size == 0:
                return EMPTY_ROOT
            return growing.roots[size] if size <= growing.size else by_size.get(size)

        def before_fold(index: int, record: Record) -> None:
            if record.role == "authority" and not self.trust.pins(index, record.key):
                raise RuleError("R-AUTH-02")

        documents = {policy_digest(one["document"]): one["document"] for one in self.bundle.documents}
        self.fold = Fold(complete=False, documents=documents, root_at=root_at, before_fold=before_fold)
        for index, _, data in self.bundle.entries:
            if self.is_stray(data):
                self.fold.reach(index)
                self.records[index] = parse_record(data)
                self.strays.add(index)
            elif (record := self.fold.entry(index, data)) is not None:
                self.records[index] = record
        self.findings += self.fold.findings

    def is_stray(self, data: bytes) -> bool:
        """Whether a record is unused whatever the fold would say of it (spec/bundle.md, *Which entries*)."""
        try:
            record = parse_record(data)
        except RuleError:
            return False
        if record.type == "endorsement":
            return all(one.id != record.body["candidate"] for one in self.records.values())
        return record.run is not None and record.run != self.bundle.header["run"]

    # 4. Proofs ----------------------------------------------------------------------------------------------------

    def check_proofs(self) -> None:
        last = self.last
        if last is None:
            return
        leaves = {index: leaf_hash(data) for index, _, data in self.bundle.entries}
        parts = [left for _, left, _ in self.bundle.entries] + [self.bundle.right or []]
        try:
            if multiproof_root(last.checkpoint.size, leaves, parts) != last.checkpoint.root:
                raise ProofError("another root")
            self.included = True
        except ProofError as error:
            self.report("R-INC-01", error.index)
        if last.consistency:
            self.report("R-CONS-01")
        for one in self.opened[:-1]:
            old, new = one.checkpoint, last.checkpoint
            try:
                verify_consistency(old.size, new.size, old.root, new.root, one.consistency)
            except ProofError:
                self.report("R-CONS-01")
        for one in self.opened:
            end = self.records.get(one.checkpoint.size - 1)
            if one.checkpoint.size - 1 not in {index for index, _, _ in self.bundle.entries}:
                self.doubt("R-CP-04", one.checkpoint.size - 1)
            elif end is None or end.type != "snapshot":
                self.report("R-CP-04", one.checkpoint.size - 1)

    # 5. Genesis -----------------------------------------------------------------------------------------------------

    def check_genesis(self) -> None:
        if not self.bundle.entries:
            return
        if self.bundle.header["log"] != self.trust.genesis:
            self.report("R-TRUST-01")  # beside the finding for entry 0: spec/bundle.md, line 1
        genesis = self.records.get(0)
        if genesis is None or genesis.type != "genesis" or genesis.id != self.trust.genesis:
            self.report("R-TRUST-01", 0)
        elif genesis.body["origin"] != self.trust.origin:
            self.report("R-CP-02", 0)

    # 6. Payloads ----------------------------------------------------------------------------------------------------

    def check_documents(self) -> None:
        named = {one.body.get("digest") for one in self.records.values() if one.type == "policy"}
        for line in self.bundle.documents:
            if policy_digest(line["document"]) != line["policy"]:
                self.report("R-BUN-06")
            if self.bundle.error is None and line["policy"] not in named:
                self.report("R-BUN-07")

    def check_payloads(self) -> None:
        """R-BUN-05 and R-BUN-06 by a payload, then R-BUN-06 by what records claim."""
        named = {index: Named.by(record) for index, record in self.records.items()}
        disclosed: dict[str, tuple[str, int]] = {}
        for line in self.bundle.payloads:
            content, salt = s.base64url(line["content"]), s.base64url(line["salt"])
            assert content is not None and salt is not None
            place = line.get("set")
            if place is None:
                is_named = any(line["commitment"] in one.items for one in named.values())
                fits = True
            else:
                is_named = any((place["root"], place["items"]) in one.sets for one in named.values())
                fits = _in_set(line["commitment"], place)
            if not is_named:
                self.report("R-BUN-05")
            elif not fits or commitment(salt, line["label"], content) != line["commitment"]:
                self.report("R-BUN-06")
            else:
                disclosed[line["commitment"]] = (line["label"], len(content))
        for index, one in named.items():
            if self.records[index].id in self.fold.entries and not one.is_so(disclosed):
                self.report("R-BUN-06", index)

    # 6. Nothing is unused -------------------------------------------------------------------------------------------

    def check_unused(self) -> None:
        """R-BUN-07, by closing the set that spec/bundle.md, *Which entries*, describes."""
        used = self.wanted() - self.strays
        if self.last is None:  # a note that was not opened says nothing about the snapshot that ends its tree
            used |= {index for index, one in self.records.items() if one.type == "snapshot"}
        for index, _, _ in self.bundle.entries:
            if index in self.records and index not in used:
                self.report("R-BUN-07", index)

    def wanted(self) -> set[int]:
        run = self.bundle.header["run"]
        records = self.records
        used = {index for index, one in records.items() if index == 0 or one.run == run or one.type == "policy"}
        used |= {one.checkpoint.size - 1 for one in self.opened}
        for index, one in records.items():
            if one.run != run:
                continue
            if one.type == "execution":
                used |= self.beside(index)
            if one.type == "escalation" or (one.type == "decision" and "rule" in one.body):
                used |= self.beside(index)
                for at, other in records.items():
                    if other.id == one.body["proposal"] and other.type == "proposal":
                        used |= self.beside(at)
        while True:
            more = used | self.needed_by(used)
            if more == used:
                return used
            used = more

    def beside(self, index: int) -> set[int]:
        """The snapshot before an entry, and the first after it."""
        snapshots = sorted(index for index, one in self.records.items() if one.type == "snapshot")
        return {*[at for at in snapshots if at < index][-1:], *[at for at in snapshots if at > index][:1]}

    def needed_by(self, used: set[int]) -> set[int]:
        chosen = [self.records[index] for index in used if index in self.records]
        ids = {one.id for one in chosen}
        principals: set[str] = set()
        groups: set[str] = set()
        for one in chosen:
            principals.add(one.principal)
            if one.type == "genesis":
                principals |= {root["principal"] for root in one.body["authority"]["roots"]}
                principals.add(one.body["log"]["snapshot"]["principal"])
            for member in ("owner", "to", "delegate"):
                holder = one.body.get(member)
                if isinstance(holder, dict):
                    principals.add(holder["principal"])
            if "approver" in one.body:
                principals.add(one.body["approver"])
            audiences = [one.body["audience"]] if "audience" in one.body else []
            audiences += one.body["to"] if one.type == "escalation" else []
            for audience in audiences:
                if "principal" in audience:
                    principals.add(audience["principal"])
                elif one.type == "proposal":
                    groups.add(audience["group"])
        keyring = {index: one for index, one in self.records.items() if one.type == "keyring"}
        principals |= {one.body["principal"] for one in keyring.values() if groups & set(one.body["groups"])}
        needed = {index for index, one in keyring.items() if one.body["principal"] in principals}
        keys = {s.key_bytes(one.body["key"]): one.body["principal"] for one in keyring.values()}
        for one in chosen:
            if one.type == "genesis":
                for holder in [*one.body["authority"]["roots"], one.body["log"]["snapshot"]]:
                    keys[s.key_bytes(holder["key"])] = holder["principal"]
        links = {one.body.get("delegation") for one in chosen if one.type == "proposal"}
        links |= {one.value["prev"] for one in chosen if one.type == "delegation"}
        for index, one in self.records.items():
            if one.type == "endorsement" and one.body["candidate"] in ids:
                needed.add(index)
            if one.type == "delegation" and one.id in links:
                needed.add(index)
            if one.type == "revocation" and one.body["target"].get("delegation") in ids:
                needed.add(index)
            if one.type == "revocation" and "key" in one.body["target"]:
                if keys.get(s.key_bytes(one.body["target"]["key"])) in principals:
                    needed.add(index)
        limited = [(index, one) for index, one in keyring.items() if {"not_before", "not_after"} & one.body.keys()]
        for index in used & self.records.keys():
            signer = self.records[index].key
            if any(at < index and s.key_bytes(one.body["key"]) == signer for at, one in limited):
                needed |= self.beside(index)
        return needed

    # 7. and the answers ---------------------------------------------------------------------------------------------

    def answer(self) -> Verdict:
        self.not_shown = {"completeness"}
        if not self.bundle.has_entries:
            self.not_shown |= {"authority", "conformity"}
        if not self.included:
            self.not_shown.add("inclusion")
        self.place_executions()
        self.place_timers()
        if self.bundle.error is None and self.included:
            self.witnessed()
            self.freshness()
        else:
            self.not_shown |= {"witnessed", "freshness"}
        failed = {one.dimension for one in self.findings if one.is_broken}
        doubted = {one.dimension for one in self.findings if not one.is_broken}
        answers = {}
        for dimension in DIMENSIONS:
            if dimension in failed:
                answers[dimension] = "fail"
            elif dimension in doubted or dimension in self.not_shown:
                answers[dimension] = "not_shown"
            else:
                answers[dimension] = "pass"
        return Verdict(self.conclusion(answers), answers, self.findings)

    def conclusion(self, answers: dict[str, str]) -> str:
        if self.bundle.error is not None:
            return "unreadable"
        if "fail" in answers.values():
            return "violated"
        if all(answers[one] == "pass" for one in self.trust.dimensions):
            return "shown"
        return "not_shown"

    def place_executions(self) -> None:
        """spec/verification.md §3: conformity needs an execution, and each of them in time."""
        executions = [one for one in self.fold.executions.values() if not one.late]
        if not executions:
            self.not_shown.add("conformity")
        for one in executions:
            if not one.windows:
                continue  # without decisions, and without a link that has a validity, there is no window
            if one.log_time is None or one.gap:
                self.doubt("R-EXEC-08", one.index)
            elif not self.trust.witnesses.is_none:
                existed, until = self.existed_by(one.index), min(until for _, until in one.windows)
                if until < math.inf and (existed is None or existed > until):
                    self.doubt("R-EXEC-08", one.index)

    def place_timers(self) -> None:
        """spec/verification.md §3: witnesses saw the proposal for long enough, whatever the log's clock says."""
        if self.trust.witnesses.is_none:
            return
        for one in self.fold.timers.values():
            timer, proposal = self.existed_by(one.index), self.existed_by(one.proposal)
            if timer is None or proposal is None or timer - proposal < one.after - TOLERANCE:
                self.doubt("R-TIME-02", one.index)

    def cosignatures(self, opened: _Opened) -> dict[str, list[int]]:
        result: dict[str, list[int]] = {}
        for name, key in self.trust.witnesses.witnesses.items():
            times = [cosigned_at(opened.note, key, one) for one in opened.note.by(key)]
            result[name] = [time for time in times if time is not None]
        return result

    def existed_by(self, index: int) -> int | None:
        earliest: dict[str, int] = {}
        for opened in self.opened:
            if opened.checkpoint.size > index:
                for name, times in self.cosignatures(opened).items():
                    for time in times:
                        earliest[name] = min(time, earliest.get(name, time))
        for time in sorted(earliest.values()):
            if self.trust.witnesses.satisfied({name for name, at in earliest.items() if at <= time}):
                return time
        return None

    def fresh(self) -> int | None:
        """fresh(N), or under `quorum none` the time of the last snapshot."""
        if self.last is None:
            return None
        if self.trust.witnesses.is_none:
            return self.fold.snapshot[1].time if self.fold.snapshot else None
        latest = {name: max(times) for name, times in self.cosignatures(self.last).items() if times}
        for time in sorted(latest.values(), reverse=True):
            if self.trust.witnesses.satisfied({name for name, at in latest.items() if at >= time}):
                return time
        return None

    def witnessed(self) -> None:
        """R-WIT-01, which never fails. Of a reader who asks for no witnesses it is not shown."""
        cosigners = {name for name, times in self.cosignatures(self.last).items() if times} if self.last else set()
        if self.trust.witnesses.is_none or not self.trust.witnesses.satisfied(cosigners):
            self.doubt("R-WIT-01")

    def freshness(self) -> None:
        """R-FRESH-01, in both directions. Of a reader who sets no `max_age` it is not shown."""
        fresh = self.fresh()
        if self.trust.max_age is None or fresh is None:
            self.doubt("R-FRESH-01")
        elif abs(self.now - fresh) > self.trust.max_age:
            self.report("R-FRESH-01")


@dataclass
class Named:
    """The payloads that a record names: what it claims of each commitment, and sets by root and number of items."""

    items: dict[str, list[tuple[str, int | None]]] = field(default_factory=dict)  # label and, of an item, size
    sets: set[tuple[str, int]] = field(default_factory=set)

    @classmethod
    def by(cls, record: Record) -> Named:
        named = cls()
        named.collect(record.body)
        return named

    def collect(self, value: Any) -> None:
        """Items, item sets and committed arguments below `value`. Open places hold none, and are not entered."""
        if isinstance(value, list):
            for one in value:
                self.collect(one)
        elif isinstance(value, dict):
            if value.keys() == {"commitment", "label", "media_type", "size"}:
                self.items.setdefault(value["commitment"], []).append((value["label"], value["size"]))
            elif value.keys() == {"items", "label", "root"}:
                self.sets.add((value["root"], value["items"]))
            for name, one in value.items():
                if name == "committed":
                    for path, digest in one.items():
                        self.items.setdefault(digest, []).append((path, None))
                elif name not in ("arguments", "precondition", "document", "metadata"):
                    self.collect(one)

    def is_so(self, disclosed: dict[str, tuple[str, int]]) -> bool:
        """Whether what is claimed is so, as far as it was disclosed (spec/bundle.md, *Claims*)."""
        for name, claims in self.items.items():
            if name in disclosed:
                label, size = disclosed[name]
                if any(one != label or length not in (None, size) for one, length in claims):
                    return False
        return True


def _in_set(named: str, place: dict[str, Any]) -> bool:
    leaf = leaf_hash(bytes.fromhex(named.removeprefix("sha256:")))
    try:
        root = inclusion_root(place["index"], place["items"], leaf, _decode(place["proof"]))
    except ProofError:
        return False
    return bool(spell(root) == place["root"])
