//! Reading a bundle line by line, in memory that does not grow with it beyond ids (`spec/bundle.md`).

use std::{collections::HashMap, num::NonZeroUsize};

use counterfoil_receipt::{
    Body, Commitment, Opening, PolicyDigest, RecordId, Role, RunId,
    bundle::{
        CheckpointLine, DocumentLine, EndLine, Header, PayloadLine, PositionLine, ProofHashes, read_line,
    },
    field::Field,
    limits,
};
use counterfoil_tlog::{Hash, LeafIndex, MultiproofVerifier, QuorumTime, TreeHead};

use crate::{
    check::{Checked, Checker, Entry, Lines},
    checkpoint::{self, ShownCheckpoint, ShownRoots},
    execution,
    fault::{Fault, Finding, Shown},
    keys,
    latest::Latest,
    record::{Record, Remembered},
    review::Reviewed,
    rule::{Dimension, Rule},
    run::{ExecutionState, Ground, Run},
    state::{Effect, Scope, State},
    timer,
    trust::Trust,
    usage::{self, Used},
    verdict::{Answer, Verdict, answer},
};

/// The most threads that a [`Verifier`] uses, whatever it is told.
pub const MAX_THREADS: usize = 64;

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
    while let Some(end) = memchr::memchr(b'\n', rest) {
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
    checker: Checker,
    /// What needs not be checked again.
    checked: Remembered,
    due: Due,
    header: Option<Header>,
    lines: Vec<CheckpointLine>,
    checkpoints: Vec<ShownCheckpoint>,
    documents: Vec<PolicyDigest>,
    multiproof: Option<MultiproofVerifier>,
    /// The position line of the record that is due.
    position: Vec<u8>,
    entries: u64,
    /// The index of the last entry.
    last_index: Option<u64>,
    state: State,
    used: Used,
    included: bool,
    payloads: Vec<Commitment>,
    openings: Vec<Opening>,
    findings: Vec<Finding>,
    effects: Vec<(u64, String)>,
    latest: Latest,
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
        Self::remembering(trust, threads, Remembered::default())
    }

    /// One that checks no signature anew, and reads no policy anew, which it or another with the same cache did before. The verdict does not
    /// depend on that.
    pub fn remembering(trust: &'t Trust, threads: NonZeroUsize, checked: Remembered) -> Self {
        Self {
            trust,
            checker: Checker::new(threads.get().min(MAX_THREADS), checked.clone()),
            checked: checked.clone(),
            due: Due::Header,
            header: None,
            lines: Vec::new(),
            checkpoints: Vec::new(),
            documents: Vec::new(),
            multiproof: None,
            position: Vec::new(),
            entries: 0,
            last_index: None,
            state: State::remembering(Scope::Shown, checked.clone()),
            used: Used::default(),
            included: false,
            payloads: Vec::new(),
            openings: Vec::new(),
            findings: Vec::new(),
            effects: Vec::new(),
            latest: Latest::default(),
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
            latest: self.latest,
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
        // What a header claims is worth a page of memory.
        self.state.expect(usize::try_from(header.entries.get()).unwrap_or(usize::MAX).min(64));
        self.header = Some(header);
        Ok(())
    }

    fn checkpoint_line(&mut self, line: CheckpointLine) -> Result<(), Fault> {
        match self.checked.open_checkpoint(&line.checkpoint.0, self.trust) {
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
        let lines = Lines { position: std::mem::take(&mut self.position), record: line.to_vec() };
        let checked = self.checker.push(lines);
        self.fold_all(checked);
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
        let commitment = line.commitment;
        self.payloads.push(commitment);
        match self.used.open(line) {
            Ok(opening) => {
                self.findings.extend(self.used.false_claims(&commitment, &opening));
                self.openings.push(opening);
            }
            Err(fault) => self.find(fault),
        }
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

    fn find_at(&mut self, index: u64, record: Option<RecordId>, fault: Fault) {
        self.findings.push(Finding::of(fault).at(index, record));
    }

    /// Checks and folds every entry that was read.
    fn drain(&mut self) {
        let checked = self.checker.drain();
        self.fold_all(checked);
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
        let (index, leaf) = (position.index.get(), Hash::from(*id.as_bytes()));
        if let Err(why) = proof.push(LeafIndex(index), &hashes(&position.left), leaf) {
            self.multiproof = None;
            self.find_at(index, Some(id), leaves_give_no_root(&why.to_string()));
        }
    }

    fn fold(&mut self, index: u64, id: RecordId, checked: Checked) {
        match checked {
            Checked::Malformed(fault) => {
                self.findings.push(Finding::malformed(&fault).at(index, Some(id)));
            }
            Checked::Refused(record, fault) => {
                self.used.note(&record, index, false);
                self.state.set_aside(&record, index, fault.shown);
                self.find_at(index, Some(id), fault);
            }
            Checked::Record(record) => {
                let folded = self.fold_record(&record, index);
                self.used.note(&record, index, folded.is_ok());
                match folded {
                    Ok(effect) => {
                        if let Effect::None(why) = effect {
                            self.effects.push((index, why));
                        }
                        self.latest.keep(index, *record);
                    }
                    Err(fault) => {
                        self.state.set_aside(&record, index, fault.shown);
                        self.find_at(index, Some(id), fault);
                    }
                }
            }
        }
    }

    fn fold_record(&mut self, record: &Record, index: u64) -> Result<Effect, Fault> {
        if index == 0
            && let Err(fault) = genesis_is_pinned(record.id(), self.trust)
        {
            // What the header claims is not what was folded: an impostor may claim the pinned genesis.
            self.find_at(index, Some(record.id()), fault);
        }
        record_is_of_the_run(record, self.header.as_ref().map(|header| header.run))?;
        endorsed_is_in_the_bundle(record, &self.state)?;
        authority_is_pinned(record, index, self.trust)?;
        self.state.fold(record, index, &ShownRoots(&self.checkpoints))
    }

    /// What only the whole bundle shows.
    fn conclude(&mut self) {
        match self.state.genesis() {
            None => {
                let fault = Fault::not_shown(Rule::GenesisNotPinned, "does not show a genesis");
                self.find_at(0, None, fault);
            }
            Some(genesis) if genesis.origin.as_str() != self.trust.origin => {
                let (named, pinned) = (&genesis.origin, &self.trust.origin);
                let detail = format!("the genesis names the origin {named:?}, the reader {pinned:?}");
                self.find_at(0, self.state.log(), Fault::violated(Rule::CheckpointOrigin, detail));
            }
            Some(_) => {}
        }
        self.judge_checkpoints();
        let all_open = self.checkpoints.len() == self.lines.len();
        self.findings.extend(self.used.leftovers(&self.documents, all_open));
        let disputed = self.state.keys().into_iter().filter_map(|(_, facts)| keys::disputed(facts));
        self.findings.extend(disputed.map(Finding::of));
        let untimed = self.state.untimed();
        self.findings
            .extend(untimed.map(|(at, id)| Finding::of(keys::validity_is_not_shown()).at(at, Some(id))));
        self.judge_times();
    }

    /// Whether each checkpoint agrees with the last, and ends as a log's checkpoints do.
    fn judge_checkpoints(&mut self) {
        let Some(last) = self.last_checkpoint() else { return };
        for (shown, line) in self.checkpoints.iter().zip(&self.lines) {
            let consistent = checkpoint::is_consistent(&shown.head, &last, line);
            self.findings.extend(consistent.err().map(Finding::of));
            let at = shown.head.size.0 - 1;
            let end = self.used.end(at);
            let ends = checkpoint::ends_with_snapshot(shown, end.map(|(_, kind)| kind));
            let record = end.map(|(id, _)| id);
            self.findings.extend(ends.err().map(|fault| Finding::of(fault).at(at, record)));
        }
    }

    /// Whether each execution is shown to lie in its windows, and no timer was early by the witnesses' time.
    fn judge_times(&mut self) {
        let Some(run) = self.header.as_ref().and_then(|header| self.state.run(&header.run)) else { return };
        let mut findings = Vec::new();
        // Many records share the first checkpoint that covers them.
        let mut known: HashMap<usize, QuorumTime> = HashMap::new();
        let mut existed_by = |index: u64| {
            let first = self.checkpoints.partition_point(|shown| shown.head.size.0 <= index);
            *known
                .entry(first)
                .or_insert_with(|| checkpoint::existed_by(&self.checkpoints[first..], self.trust))
        };
        for (id, execution) in run.executions() {
            if let Err(fault) = execution::window_is_shown(execution, existed_by(execution.index)) {
                findings.push(Finding::of(fault).at(execution.index, Some(id)));
            }
        }
        for (_, proposal) in run.proposals() {
            for fired in &proposal.timers {
                let (proposed, fired_by) = (existed_by(proposal.index), existed_by(fired.index));
                let judged = timer::witnesses_agree(fired, proposed, fired_by);
                findings.extend(judged.err().map(|fault| Finding::of(fault).at(fired.index, Some(fired.by))));
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

    /// What people said afterwards of what was executed under break-glass.
    fn reviews(&self) -> String {
        let Some(run) = self.header.as_ref().and_then(|header| self.state.run(&header.run)) else {
            return String::new();
        };
        let executions = run.executions();
        let reviews: Vec<Reviewed> = executions
            .iter()
            .filter_map(|(id, _)| self.state.review(run, id))
            .map(|review| review.reviewed)
            .collect();
        let said = |(reviewed, words): &(Reviewed, &str)| {
            let count = reviews.iter().filter(|one| *one == reviewed).count();
            (count > 0).then(|| format!("; {count} under break-glass {words}"))
        };
        let words = [
            (Reviewed::Outstanding, "not reviewed yet"),
            (Reviewed::Accepted, "reviewed, and accepted"),
            (Reviewed::Objected, "reviewed, and objected to"),
        ];
        words.iter().filter_map(said).collect()
    }

    fn conformity(&self) -> Answer {
        let executions = self.header.as_ref().and_then(|header| self.state.run(&header.run));
        let executions = executions.map_or_else(Vec::new, Run::executions);
        let said: Vec<String> = [
            (Ground::Approved, "executed exactly as approved"),
            (Ground::TimedOut, "executed exactly as proposed, a time-out in the place of approvals"),
            (Ground::Allowed, "executed as the policy allows, approved by nobody"),
            (Ground::BreakGlass, "executed under break-glass, approved by nobody"),
        ]
        .into_iter()
        .flat_map(|(ground, how)| [(ground, how, false), (ground, how, true)])
        .filter_map(|(ground, how, is_retry)| {
            let such = |one: &&(RecordId, &ExecutionState)| {
                one.1.ground == ground && one.1.retries.is_some() == is_retry
            };
            let count = executions.iter().filter(such).count();
            let again = if is_retry { "tried again, " } else { "" };
            (count > 0).then(|| format!("{count} {again}{how}"))
        })
        .collect();
        if said.is_empty() {
            return Answer::NotShown("nothing was executed".to_owned());
        }
        Answer::Pass(format!("{}, as the runtime recorded it{}", said.join("; "), self.reviews()))
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
pub(crate) fn genesis_is_pinned(log: RecordId, trust: &Trust) -> Result<(), Fault> {
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
pub(crate) fn authority_is_pinned(record: &Record, index: u64, trust: &Trust) -> Result<(), Fault> {
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

/// The half of R-BUN-07 that concerns endorsements: each is of a record that stands before it in the bundle.
fn endorsed_is_in_the_bundle(record: &Record, state: &State) -> Result<(), Fault> {
    match record.body() {
        Body::Endorsement(body) if state.index_of(&body.candidate).is_none() => Err(usage::not_used(
            &format!("body.candidate: {} is no earlier entry of the bundle", body.candidate),
        )),
        _ => Ok(()),
    }
}

fn hashes(list: &ProofHashes) -> Vec<Hash> {
    list.0.iter().map(|hash| Hash::from(hash.0)).collect()
}
