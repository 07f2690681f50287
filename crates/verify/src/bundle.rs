//! Reading a bundle line by line, in memory that does not grow with it beyond ids (`spec/bundle.md`).

use std::num::NonZeroUsize;

use counterfoil_receipt::{
    Commitment, Malformed, Opening, PolicyDigest, RecordId, Role, RunId, UnverifiedRecord,
    bundle::{
        CheckpointLine, DocumentLine, EndLine, Header, PayloadLine, PositionLine, ProofHashes, read_line,
    },
    field::Field,
    limits,
};
use counterfoil_tlog::{Hash, LeafIndex, MultiproofVerifier, QuorumTime, TreeHead};

use crate::{
    checkpoint::{self, ShownCheckpoint, ShownRoots},
    execution,
    fault::{Fault, Finding, Shown},
    keys,
    record::{KeyCache, Record, check_signature},
    rule::{Dimension, Rule},
    state::{Effect, Scope, State},
    trust::Trust,
    usage::{self, Used},
    verdict::{Answer, Verdict, answer},
};

/// The most threads that a [`Verifier`] uses, whatever it is told.
pub const MAX_THREADS: usize = 64;

/// Records whose signatures are checked together: about 0.5 MB of ordinary ones.
const BATCH: usize = 512;

/// Bytes of lines that wait to be checked: a line may have 6 MiB, whatever it then turns out to be.
const BATCH_BYTES: usize = 33_554_432;

/// Verifies a bundle that is in memory. `now` is the reader's time in milliseconds; only *freshness* depends on it.
///
/// ```
/// # use counterfoil_verify::{Conclusion, Trust, verify};
/// # let trust = Trust::parse(&format!("version = 1\ngenesis = \"sha256:{:064}\"\norigin = \"example.org/log\"\n\
/// #   log_keys = [\"example.org/log+9b35c4e5+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k\"]\n\
/// #   witnesses.policy = \"quorum none\\n\"\nrequire.dimensions = [\"integrity\"]\n", 0));
/// # let Ok(trust) = trust else { return };
/// // Nothing shows nothing.
/// assert_eq!(verify(b"", &trust, 0).conclude(trust.require()), Conclusion::Unreadable);
/// ```
pub fn verify(bundle: &[u8], trust: &Trust, now: u64) -> Verdict {
    let mut verifier = Verifier::new(trust, NonZeroUsize::MIN);
    let mut rest = bundle;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        verifier.line(&rest[..end]);
        rest = &rest[end + 1..];
    }
    if !rest.is_empty() {
        verifier.unfinished_line();
    }
    verifier.finish(now)
}

/// Reads a bundle line by line.
///
/// Give every line, without its line feed, to [`Verifier::line`]; then [`Verifier::finish`] gives the verdict. After a line
/// that can't be read, further lines are ignored, and the verdict says so.
#[derive(Debug)]
pub struct Verifier<'t> {
    trust: &'t Trust,
    caches: Vec<KeyCache>,
    due: Due,
    header: Option<Header>,
    lines: Vec<CheckpointLine>,
    checkpoints: Vec<ShownCheckpoint>,
    documents: Vec<PolicyDigest>,
    multiproof: Option<MultiproofVerifier>,
    /// The position line of the record that is due.
    position: Vec<u8>,
    entries: u64,
    /// Entries that were read, and entries that were checked: the next stages of a pipeline.
    pending: Vec<Pending>,
    checked: Vec<Entry>,
    pending_bytes: usize,
    /// The index of the last entry.
    last_index: Option<u64>,
    state: State,
    used: Used,
    included: bool,
    payloads: Vec<Commitment>,
    openings: Vec<Opening>,
    findings: Vec<Finding>,
    effects: Vec<(u64, String)>,
}

/// The kind of line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Header,
    Checkpoint,
    Document,
    Position,
    Record,
    End,
    Payload,
    Nothing,
    /// A line could not be read; nothing after it means anything.
    Stopped,
}

impl<'t> Verifier<'t> {
    /// A verifier under this trust that checks signatures on up to `threads` threads. The verdict does not depend on their
    /// number.
    pub fn new(trust: &'t Trust, threads: NonZeroUsize) -> Self {
        Self {
            trust,
            caches: vec![KeyCache::default(); threads.get().min(MAX_THREADS)],
            due: Due::Header,
            header: None,
            lines: Vec::new(),
            checkpoints: Vec::new(),
            documents: Vec::new(),
            multiproof: None,
            position: Vec::new(),
            entries: 0,
            pending: Vec::new(),
            checked: Vec::new(),
            pending_bytes: 0,
            last_index: None,
            state: State::new(Scope::Shown),
            used: Used::default(),
            included: false,
            payloads: Vec::new(),
            openings: Vec::new(),
            findings: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Takes the next line, without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        if line.len() > limits::LINE_BYTES {
            return self.stop(over_limit("bytes of a line", line.len() as u64, limits::LINE_BYTES as u64));
        }
        let read = match self.due {
            Due::Header => self.header_line(line),
            Due::Checkpoint => read_due(line).and_then(|line| self.checkpoint_line(line)),
            Due::Document => read_due(line).and_then(|line| self.document_line(&line)),
            Due::Position => {
                self.position = line.to_vec();
                Ok(())
            }
            Due::Record => self.record_line(line),
            Due::End => read_due(line).and_then(|line| self.end_line(&line)),
            Due::Payload => read_due(line).and_then(|line| self.payload_line(line)),
            Due::Nothing => Err(lines_are_counted("a line stands after the last one that the header counts")),
            Due::Stopped => return,
        };
        match read {
            Ok(()) if self.due != Due::Stopped => self.due = self.next(),
            Ok(()) => {}
            Err(fault) => self.stop(fault),
        }
    }

    /// Says that the bundle ends within a line.
    pub fn unfinished_line(&mut self) {
        if self.due != Due::Stopped {
            self.stop(Fault::violated(
                Rule::BundleLine,
                "the last line has no line feed: the bundle is cut off",
            ));
        }
    }

    /// Gives the verdict. `now` is the reader's time in milliseconds.
    pub fn finish(mut self, now: u64) -> Verdict {
        self.drain();
        if self.due != Due::Nothing && self.due != Due::Stopped {
            self.stop(lines_are_counted("the bundle ends before the last line that the header counts"));
        }
        if self.due == Due::Nothing {
            self.conclude();
        }
        let answers = self.answers(now);
        Verdict {
            run: self.header.as_ref().map(|header| header.run),
            answers,
            findings: self.findings,
            effects: self.effects,
            checkpoints: self.checkpoints,
            undisclosed: self.used.items().saturating_sub(self.openings.len() as u64),
            openings: self.openings,
            state: self.state,
        }
    }

    /// What is due after the lines that were read.
    fn next(&self) -> Due {
        let Some(header) = &self.header else { return Due::Header };
        if (self.lines.len() as u64) < header.checkpoints.get() {
            return Due::Checkpoint;
        }
        if (self.documents.len() as u64) < header.documents.get() {
            return Due::Document;
        }
        match self.due {
            Due::Position => Due::Record,
            Due::End | Due::Payload if (self.payloads.len() as u64) < header.payloads.get() => Due::Payload,
            Due::End | Due::Payload => Due::Nothing,
            _ if self.entries < header.entries.get() => Due::Position,
            _ => Due::End,
        }
    }

    fn stop(&mut self, fault: Fault) {
        self.drain();
        self.halt(fault);
    }

    /// Ends the reading; what was read before has been folded.
    fn halt(&mut self, fault: Fault) {
        if self.due != Due::Stopped {
            self.findings.push(Finding::of(fault).unreadable());
            self.due = Due::Stopped;
        }
    }

    /// R-BUN-01: the first line is a canonical header of a version this reader knows.
    fn header_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let header: Header =
            read_line(line).map_err(|why| Fault::violated(Rule::BundleHeader, why.to_string()))?;
        counts_lie_within_limits(&header)?;
        self.findings.extend(genesis_is_pinned(header.log, self.trust).err().map(Finding::of));
        self.header = Some(header);
        Ok(())
    }

    fn checkpoint_line(&mut self, line: CheckpointLine) -> Result<(), Fault> {
        match checkpoint::open(&line, self.trust) {
            Ok(shown) => {
                if self.checkpoints.last().is_some_and(|before| before.head.size >= shown.head.size) {
                    return Err(line_is_due("the size of a checkpoint does not ascend"));
                }
                self.used.ends_at(shown.head.size.0 - 1);
                self.checkpoints.push(shown);
            }
            Err(fault) => self.find(fault),
        }
        self.lines.push(line);
        Ok(())
    }

    fn document_line(&mut self, line: &DocumentLine) -> Result<(), Fault> {
        if self.documents.last().is_some_and(|before| *before >= line.policy) {
            return Err(line_is_due("a document does not ascend"));
        }
        let computed = self.state.add_document(line.document.as_str().as_bytes().to_vec());
        if computed != line.policy {
            self.find(content_differs(&line.policy, &computed));
        }
        self.documents.push(line.policy);
        Ok(())
    }

    fn record_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        if self.entries == 0
            && let Some(last) = self.last_checkpoint()
        {
            self.multiproof = MultiproofVerifier::new(last.size).ok();
        }
        self.entries += 1;
        self.pending_bytes += self.position.len() + line.len();
        self.pending.push(Pending { position: std::mem::take(&mut self.position), record: line.to_vec() });
        if self.pending.len() == BATCH || self.pending_bytes > BATCH_BYTES {
            self.flush();
        }
        Ok(())
    }

    fn end_line(&mut self, line: &EndLine) -> Result<(), Fault> {
        self.drain();
        if self.due == Due::Stopped {
            return Ok(());
        }
        let (Some(proof), Some(last)) = (self.multiproof.take(), self.last_checkpoint()) else {
            return Ok(());
        };
        match proof.finish(&hashes(&line.right)) {
            Ok(root) if root == last.root => self.included = true,
            Ok(root) => {
                self.find(leaves_give_no_root(&format!("they give the root {root}, signed is {}", last.root)))
            }
            Err(why) => self.find(leaves_give_no_root(&why.to_string())),
        }
        Ok(())
    }

    fn payload_line(&mut self, line: PayloadLine) -> Result<(), Fault> {
        if self.payloads.last().is_some_and(|before| *before >= line.commitment) {
            return Err(line_is_due("a payload does not ascend"));
        }
        self.payloads.push(line.commitment);
        if let Err(fault) = self.used.payload(&line) {
            self.find(fault);
            return Ok(());
        }
        self.openings.push(line.into_opening());
        Ok(())
    }

    /// The head that the records are proven against: that of the last checkpoint line, if it could be opened.
    fn last_checkpoint(&self) -> Option<TreeHead> {
        let all_open = self.checkpoints.len() == self.lines.len();
        self.checkpoints.last().filter(|_| all_open).map(|last| last.head)
    }

    fn find(&mut self, fault: Fault) {
        self.findings.push(Finding::of(fault));
    }

    /// Checks the entries at hand, each by itself and on all threads, while this thread folds those that were checked
    /// before.
    fn flush(&mut self) {
        let entries = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let before = std::mem::take(&mut self.checked);
        if self.caches.len() == 1 || entries.is_empty() {
            self.fold_all(before);
            let checked = self.caches.first_mut().map_or_else(Vec::new, |cache| check_all(&entries, cache));
            return self.fold_all(checked);
        }
        let mut caches = std::mem::take(&mut self.caches);
        let share = entries.len().div_ceil(caches.len());
        self.checked = std::thread::scope(|scope| {
            let shares = entries.chunks(share).zip(&mut caches);
            let threads: Vec<_> =
                shares.map(|(share, cache)| (share, scope.spawn(|| check_all(share, cache)))).collect();
            self.fold_all(before);
            let joined = threads.into_iter().flat_map(|(share, thread)| {
                // A thread that died checked nothing; its share is checked here, where a fault can't be lost.
                thread.join().unwrap_or_else(|_| check_all(share, &mut KeyCache::default()))
            });
            joined.collect()
        });
        self.caches = caches;
    }

    /// Checks and folds every entry that was read.
    fn drain(&mut self) {
        self.flush();
        self.flush();
    }

    fn fold_all(&mut self, entries: Vec<Entry>) {
        for Entry { position, id, checked } in entries {
            if self.due == Due::Stopped {
                return;
            }
            match position {
                Ok(position) if self.last_index >= Some(position.index.get()) => {
                    self.halt(line_is_due("the index of an entry does not ascend"));
                }
                Ok(position) => {
                    self.last_index = Some(position.index.get());
                    self.prove(&position, id);
                    self.fold(position.index.get(), id, checked);
                }
                Err(why) => self.halt(line_is_due(&why.to_string())),
            }
        }
    }

    /// Lets a leaf, which is the record's id, enter the multiproof.
    fn prove(&mut self, position: &PositionLine, id: RecordId) {
        let Some(proof) = &mut self.multiproof else { return };
        let leaf = Hash::from(*id.as_bytes());
        if let Err(why) = proof.push(LeafIndex(position.index.get()), &hashes(&position.left), leaf) {
            self.multiproof = None;
            self.find(leaves_give_no_root(&why.to_string()));
        }
    }

    fn fold(&mut self, index: u64, id: RecordId, checked: Checked) {
        let record = match checked {
            Checked::Record(record) => record,
            Checked::Malformed(fault) => return self.findings.push(Finding::malformed(&fault).at(index, id)),
            Checked::Refused(record, fault) => {
                self.used.note(&record, index);
                self.state.set_aside(&record, index, fault.shown);
                return self.findings.push(Finding::of(fault).at(index, id));
            }
        };
        self.used.note(&record, index);
        if index == 0 {
            // What the header claims is not what was folded: an impostor may claim the pinned genesis.
            let pinned = genesis_is_pinned(record.id(), self.trust);
            self.findings.extend(pinned.err().map(|fault| Finding::of(fault).at(index, id)));
        }
        let run = self.header.as_ref().map(|header| header.run);
        let folded = record_is_of_the_run(&record, run)
            .and_then(|()| authority_is_pinned(&record, index, self.trust))
            .and_then(|()| self.state.fold(&record, index, &ShownRoots(&self.checkpoints)));
        match folded {
            Ok(Effect::None(why)) => self.effects.push((index, why)),
            Ok(Effect::Took | Effect::Waits) => {}
            Err(fault) => {
                self.state.set_aside(&record, index, fault.shown);
                self.findings.push(Finding::of(fault).at(index, id));
            }
        }
    }

    /// What only the whole bundle shows.
    fn conclude(&mut self) {
        match self.state.genesis() {
            None => self.find(Fault::not_shown(Rule::GenesisNotPinned, "entry 0 does not show a genesis")),
            Some(genesis) if genesis.origin.as_str() != self.trust.origin => {
                let detail = format!(
                    "the genesis names the origin {:?}, the reader {:?}",
                    genesis.origin, self.trust.origin
                );
                self.find(Fault::violated(Rule::CheckpointOrigin, detail));
            }
            Some(_) => {}
        }
        let mut faults = Vec::new();
        if let Some(last) = self.last_checkpoint() {
            for (shown, line) in self.checkpoints.iter().zip(&self.lines) {
                faults.extend(checkpoint::is_consistent(&shown.head, &last, line).err());
                let kind = self.used.end(shown.head.size.0 - 1);
                faults.extend(checkpoint::ends_with_snapshot(shown, kind).err());
            }
        }
        let all_open = self.checkpoints.len() == self.lines.len();
        faults.extend(self.used.leftovers(&self.documents, all_open));
        faults.extend(self.state.keys().into_iter().filter_map(|(_, facts)| keys::disputed(facts)));
        faults.into_iter().for_each(|fault| self.find(fault));
        self.judge_windows();
    }

    /// Whether each execution is shown to lie in its windows.
    fn judge_windows(&mut self) {
        let Some(run) = self.header.as_ref().and_then(|header| self.state.run(&header.run)) else { return };
        let mut findings = Vec::new();
        // Executions ascend, and so do checkpoints: many executions share the first checkpoint that covers them.
        let mut shared: Option<(usize, QuorumTime)> = None;
        for (id, execution) in run.executions() {
            let first = self.checkpoints.partition_point(|shown| shown.head.size.0 <= execution.index);
            let existed_by = match shared {
                Some((at, time)) if at == first => time,
                _ => checkpoint::existed_by(&self.checkpoints[first..], self.trust),
            };
            shared = Some((first, existed_by));
            if let Err(fault) = execution::window_is_shown(execution, existed_by) {
                findings.push(Finding::of(fault).at(execution.index, id));
            }
        }
        self.findings.extend(findings);
    }

    fn answers(&mut self, now: u64) -> [Answer; 7] {
        let last = self.checkpoints.last().filter(|_| self.due == Due::Nothing && self.included);
        let log_time = self.state.log_time().map(|time| time.get());
        let witnessed = last.map(|last| checkpoint::witnesses_suffice(last, self.trust));
        let fresh = last.map(|last| checkpoint::is_fresh(last, log_time, self.trust, now));
        let mut answer_of = |judged: Option<Result<String, Fault>>| match judged {
            Some(Ok(text)) => Answer::Pass(text),
            Some(Err(fault)) => {
                self.findings.push(Finding::of(fault.clone()));
                if fault.shown == Shown::Violated {
                    Answer::Fail
                } else {
                    Answer::NotShown(fault.to_string())
                }
            }
            None => Answer::NotShown("no checkpoint is shown to hold these records".to_owned()),
        };
        let witnessed =
            answer_of(witnessed.map(|time| time.map(|time| format!("by a quorum, as of {} s", time.0))));
        let fresh = answer_of(fresh.map(|age| age.map(|age| format!("{} s old", age / 1_000))));
        let findings = &self.findings;
        Dimension::ALL.map(|dimension| match dimension {
            Dimension::Integrity => answer(findings, dimension, self.integrity()),
            Dimension::Authority => answer(findings, dimension, self.authority()),
            Dimension::Conformity => answer(findings, dimension, self.conformity()),
            Dimension::Inclusion => answer(findings, dimension, self.inclusion()),
            Dimension::Completeness => {
                Answer::NotShown("under fold version 0 nothing shows that no record was left out".to_owned())
            }
            Dimension::Witnessed => witnessed.clone(),
            Dimension::Freshness => fresh.clone(),
        })
    }

    fn integrity(&self) -> Answer {
        match self.entries {
            0 => Answer::NotShown("the bundle shows no record".to_owned()),
            entries => Answer::Pass(format!("{entries} records, every signature holds")),
        }
    }

    fn authority(&self) -> Answer {
        let count =
            self.header.as_ref().and_then(|header| self.state.run(&header.run)).map_or(0, |run| run.count());
        if count == 0 {
            return Answer::NotShown("the run's trigger is not shown".to_owned());
        }
        Answer::Pass(format!("{count} records of the run, every signer entitled"))
    }

    fn conformity(&self) -> Answer {
        let executions = self.header.as_ref().and_then(|header| self.state.run(&header.run));
        match executions.map_or(0, |run| run.executions().len()) {
            0 => Answer::NotShown("nothing was executed".to_owned()),
            count => {
                Answer::Pass(format!("{count} executed exactly as approved, as the runtime recorded it"))
            }
        }
    }

    fn inclusion(&self) -> Answer {
        match self.checkpoints.last() {
            Some(last) if self.included => Answer::Pass(format!(
                "in the tree of size {}, signed by {}",
                last.head.size,
                last.signed_by.join(", ")
            )),
            _ => Answer::NotShown("no checkpoint is shown to hold these records".to_owned()),
        }
    }
}

/// The two lines of an entry, as read.
#[derive(Debug)]
struct Pending {
    position: Vec<u8>,
    record: Vec<u8>,
}

/// What checking one entry by itself gave.
#[derive(Debug)]
struct Entry {
    position: Result<PositionLine, Malformed>,
    id: RecordId,
    checked: Checked,
}

/// What checking one record by itself gave.
#[derive(Debug)]
enum Checked {
    Record(Box<Record>),
    Refused(Box<UnverifiedRecord>, Fault),
    Malformed(Malformed),
}

fn check_all(entries: &[Pending], cache: &mut KeyCache) -> Vec<Entry> {
    entries.iter().map(|entry| check(entry, cache)).collect()
}

fn check(entry: &Pending, cache: &mut KeyCache) -> Entry {
    let position = read_line(&entry.position);
    let record = match UnverifiedRecord::parse(&entry.record) {
        Err(fault) => {
            let id = RecordId::of(&entry.record);
            return Entry { position, id, checked: Checked::Malformed(fault) };
        }
        Ok(record) => record,
    };
    let id = record.id();
    let checked = match check_signature(record, cache) {
        Ok(record) => Checked::Record(Box::new(record)),
        Err((record, fault)) => Checked::Refused(record, fault),
    };
    Entry { position, id, checked }
}

/// R-BUN-02: every line is canonical, complete, and of the kind that is due.
fn line_is_due(why: &str) -> Fault {
    Fault::violated(Rule::BundleLine, why)
}

fn read_due<T: Field>(line: &[u8]) -> Result<T, Fault> {
    read_line(line).map_err(|why| line_is_due(&why.to_string()))
}

/// R-BUN-03: there are exactly as many lines of each kind as the header says, and none after.
fn lines_are_counted(why: &str) -> Fault {
    Fault::violated(Rule::BundleCount, why)
}

/// R-BUN-04: lines and counts lie within the limits.
fn over_limit(what: &str, found: u64, most: u64) -> Fault {
    Fault::violated(Rule::BundleLimit, format!("{what}: {found}; at most {most} are read"))
}

fn counts_lie_within_limits(header: &Header) -> Result<(), Fault> {
    let counts = [
        ("checkpoints", header.checkpoints.get(), limits::CHECKPOINTS),
        ("documents", header.documents.get(), limits::DOCUMENTS),
        ("payloads", header.payloads.get(), limits::PAYLOADS),
    ];
    match counts.into_iter().find(|(_, count, most)| count > most) {
        None => Ok(()),
        Some((what, count, most)) => Err(over_limit(what, count, most)),
    }
}

/// R-BUN-06: label, salt and content give the commitment.
pub(crate) fn content_differs(claimed: &dyn std::fmt::Display, computed: &dyn std::fmt::Display) -> Fault {
    Fault::violated(Rule::PayloadMismatch, format!("the line claims {claimed}, its content gives {computed}"))
}

/// R-TRUST-01: entry 0 is the genesis that the reader pins.
fn genesis_is_pinned(log: RecordId, trust: &Trust) -> Result<(), Fault> {
    if log == trust.genesis {
        return Ok(());
    }
    let detail = format!("the bundle is of the log {log}, the reader pins {}", trust.genesis);
    Err(Fault::violated(Rule::GenesisNotPinned, detail))
}

/// R-INC-01: records and proof hashes give the checkpoint's root.
fn leaves_give_no_root(why: &str) -> Fault {
    Fault::violated(Rule::InclusionMismatch, format!("the records are not those of the signed tree: {why}"))
}

/// R-AUTH-02: an authority key is one of the reader's pinned roots for that index.
fn authority_is_pinned(record: &Record, index: u64, trust: &Trust) -> Result<(), Fault> {
    let author = record.author();
    if author.role != Role::Authority || trust.authority.is_empty() {
        return Ok(());
    }
    let covers = |range: &&crate::trust::AuthorityRange| (range.from..=range.until).contains(&index);
    if trust.authority.iter().filter(covers).any(|range| range.roots.contains(&author.key)) {
        return Ok(());
    }
    let detail = format!("signer.key: {} is no root that the reader pins for entry {index}", author.key);
    Err(Fault::violated(Rule::AuthorityNotPinned, detail))
}

/// The half of R-BUN-07 that concerns records of other runs.
fn record_is_of_the_run(record: &Record, run: Option<RunId>) -> Result<(), Fault> {
    match record.run() {
        Some(other) if Some(other) != run => {
            Err(usage::not_used(&format!("run: {other} is not the bundle's run")))
        }
        _ => Ok(()),
    }
}

fn hashes(list: &ProofHashes) -> Vec<Hash> {
    list.0.iter().map(|hash| Hash::from(hash.0)).collect()
}
