//! The audit: checkpoint, tiles, entries, records, earlier checkpoints; everything derived again from bytes.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf};

use counterfoil_receipt::{Code, Type, evidence::Kind, limits::CASES};
use counterfoil_tlog::{
    Frontier, MemoryTree, TreeHead, TreeSize,
    tile::{TilePath, WIDTH, decode_entries},
};
use counterfoil_verify::{
    CheckedEntry, Conclusion, Dimension, Finding as RuleFinding, KeyCache, Roots, Shown, Trust, WholeLog,
    witness_quorum,
};

use crate::{
    checkpoint::{NotOpened, Opened, Under},
    continuation::{self, Continuation},
    evidence::{self, Lead},
    finding::{Blame, Finding},
    limits,
    resume::{self, ResumeError},
    source::{Source, SourceError},
    walk::{Chunk, Walk},
};

/// What is to be audited, and against what.
#[derive(Clone, Debug)]
pub struct Audit<'a> {
    /// The log.
    pub source: &'a Source,
    /// What the reader knows of it. Under a trust file, entries are judged as records.
    pub under: Under<'a>,
    /// Threads that fetch and check.
    pub jobs: NonZeroUsize,
    /// Earlier checkpoints of the log, as signed notes.
    pub since: Vec<Vec<u8>>,
    /// Policy documents that policy records name by digest.
    pub documents: Vec<Vec<u8>>,
    /// Where it is kept how far the audit came.
    pub resume: Option<PathBuf>,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Report {
    /// The checkpoint that was audited.
    pub checkpoint: Opened,
    /// Whose cosignatures it has.
    pub witnessed: Witnessed,
    /// Whether entries were judged as records.
    pub records: bool,
    /// How many records there are of each type.
    pub types: BTreeMap<&'static str, u64>,
    /// The entry from which on records could not be judged by their place, because of damage.
    pub unjudged_from: Option<u64>,
    /// How many of the first entries an earlier audit had found nothing wrong with.
    pub resumed_from: u64,
    /// Earlier checkpoints, and whether the tree begins with theirs.
    pub since: Vec<Since>,
    /// What is not as it should be; at most [`limits::FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many further findings there are of each blame.
    pub more: BTreeMap<Blame, u64>,
    leads: Vec<Lead>,
}

/// What the witnesses say of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    /// The reader named none, or brought no trust file.
    NotAsked,
    /// A quorum had seen it at this time, in seconds since the Unix epoch.
    At(u64),
    /// No quorum is shown, for this reason.
    NotShown(String),
}

/// An earlier checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// Its note.
    pub note: String,
    /// Its size and root.
    pub head: TreeHead,
    /// Whether the audited tree begins with it.
    pub holds: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The source can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source's checkpoint is not the log's: there is nothing that could be audited.
    #[error("{0}")]
    Checkpoint(NotOpened),
    /// An earlier checkpoint is not the log's.
    #[error("an earlier {0}")]
    Since(NotOpened),
    /// The state file can't be used.
    #[error(transparent)]
    Resume(#[from] ResumeError),
    /// The tree does not begin with the entries that were audited before.
    #[error("the tree of {new} entries does not begin with the {old} that were audited before")]
    Rewritten {
        /// How many were audited.
        old: TreeSize,
        /// How many there are.
        new: TreeSize,
    },
}

impl AuditError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Checkpoint(error) => error.code,
            Self::Since(_) => "since-unreadable",
            Self::Resume(ResumeError::File { .. }) => "resume-unreadable",
            Self::Resume(ResumeError::Foreign { .. }) => "resume-foreign",
            Self::Rewritten { .. } => "resume-rewritten",
        }
    }
}

impl Report {
    /// What follows from the findings; decides the exit status.
    pub fn conclusion(&self) -> Conclusion {
        match [Blame::Log, Blame::Damage, Blame::Trust].into_iter().any(|blame| self.count(blame) > 0) {
            true => Conclusion::Violated,
            false if self.count(Blame::Open) > 0 => Conclusion::NotShown,
            false => Conclusion::Shown,
        }
    }

    /// How many findings there are with this blame.
    pub fn count(&self, blame: Blame) -> u64 {
        let listed = self.findings.iter().filter(|finding| finding.blame == blame).count() as u64;
        listed + self.more.get(&blame).copied().unwrap_or(0)
    }

    /// An evidence file of what the log did, for others who know its keys; `None` if the audit found nothing that can be shown
    /// without the whole log. Reads the entries that it shows again from `source`.
    ///
    /// # Errors
    /// [`SourceError`] if it can't.
    pub fn evidence(&self, source: &Source) -> Result<Option<Vec<u8>>, SourceError> {
        evidence::make(source, &self.checkpoint.note, self.checkpoint.head, &self.leads)
    }

    /// Keeps what a finding about an entry needs to be shown.
    fn lead(&mut self, finding: &Finding, last_snapshot: Option<u64>) {
        let (Blame::Log, Some(index)) = (finding.blame, finding.index) else { return };
        if self.leads.len() as u64 >= CASES {
            return;
        }
        self.leads.extend(match (finding.code, last_snapshot) {
            ("checkpoint-snapshot", _) => Some(Lead::Entry { kind: Kind::NoSnapshot, index }),
            ("statement-repeated", _) => Some(Lead::Repeated { index }),
            ("snapshot-time", Some(before)) => Some(Lead::Time { before, index }),
            (
                "role-not-allowed" | "signature-invalid" | "genesis-misplaced" | "not-an-entry"
                | "snapshot-index",
                _,
            ) => Some(Lead::Entry { kind: Kind::Entry, index }),
            (code, _) if Code::ALL.iter().any(|known| known.code() == code) => {
                Some(Lead::Entry { kind: Kind::Entry, index })
            }
            // A rule of place needs every entry before: the log itself is the evidence.
            _ => None,
        });
    }

    fn find(&mut self, finding: Finding) {
        if self.findings.len() < limits::FINDINGS {
            self.findings.push(finding);
        } else {
            *self.more.entry(finding.blame).or_default() += 1;
        }
    }
}

impl Audit<'_> {
    /// Audits the log as of the checkpoint that it has now. `progress` is told how many entries were judged, and of how many.
    ///
    /// # Errors
    /// [`AuditError`] if there is nothing to report on; what is wrong with the log stands in the report.
    pub fn run(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Report, AuditError> {
        let checkpoint = self.under.open(&self.source.checkpoint()?).map_err(AuditError::Checkpoint)?;
        let since = self.since.iter().map(|note| self.under.open(note)).collect::<Result<Vec<_>, _>>();
        let since = since.map_err(AuditError::Since)?;
        let mut pass = Pass::new(self, checkpoint)?;
        for earlier in since {
            pass.compare(self.source, earlier)?;
        }
        pass.walk(self, progress)?;
        Ok(pass.finish())
    }

    fn is_of_records(&self) -> bool {
        matches!(self.under, Under::Trust(_))
    }

    fn keep(&self, frontier: &Frontier) -> Result<(), ResumeError> {
        match &self.resume {
            Some(path) if frontier.size().0 > 0 => {
                resume::keep(path, self.under.origin(), self.is_of_records(), frontier)
            }
            _ => Ok(()),
        }
    }
}

/// One pass over the entries.
struct Pass<'a> {
    report: Report,
    /// The fold of the records, and the tree that it asks for earlier roots.
    whole: Option<(WholeLog<'a>, MemoryTree)>,
    /// The entries so far; `None` once leaf hashes are lost.
    frontier: Option<Frontier>,
    /// The last snapshot that was folded.
    last_snapshot: Option<u64>,
    /// What was audited before.
    before: Frontier,
    /// The last whole bundle up to which nothing was found.
    clean: Frontier,
}

struct TreeRoots<'t>(&'t MemoryTree);

impl Roots for TreeRoots<'_> {
    fn root_at(&self, size: u64) -> Option<[u8; 32]> {
        self.0.head_at(TreeSize(size)).map(|head| *head.root.as_bytes())
    }
}

impl<'a> Pass<'a> {
    fn new(audit: &Audit<'a>, checkpoint: Opened) -> Result<Self, AuditError> {
        let load = |path: &PathBuf| resume::load(path, audit.under.origin(), audit.is_of_records());
        let before = audit.resume.as_ref().map(load).transpose()?.flatten().unwrap_or_default();
        let size = checkpoint.head.size;
        if before.size() > size {
            return Err(AuditError::Rewritten { old: before.size(), new: size });
        }
        let mut report = Report {
            witnessed: Witnessed::NotAsked,
            records: audit.is_of_records(),
            types: BTreeMap::new(),
            unjudged_from: None,
            resumed_from: before.size().0,
            since: Vec::new(),
            findings: Vec::new(),
            more: BTreeMap::new(),
            leads: Vec::new(),
            checkpoint,
        };
        let whole = match audit.under {
            Under::Key(_) => None,
            Under::Trust(trust) => {
                witnesses(&mut report, trust);
                let mut whole = WholeLog::new(trust);
                for document in &audit.documents {
                    whole.add_document(document.clone());
                }
                Some((whole, MemoryTree::new()))
            }
        };
        // The fold needs every entry again; without one, the hashes stand for them.
        let frontier = if whole.is_some() { Frontier::new() } else { before.clone() };
        Ok(Self {
            report,
            whole,
            frontier: Some(frontier),
            last_snapshot: None,
            clean: before.clone(),
            before,
        })
    }

    /// Holds the tree to an earlier checkpoint.
    fn compare(&mut self, source: &Source, earlier: Opened) -> Result<(), AuditError> {
        let (old, new) = (earlier.head, self.report.checkpoint.head);
        let found = continuation::compare(source, old, new)?;
        let finding =
            |code, blame, detail| Finding { code, rule: None, blame, file: None, index: None, detail };
        self.report.since.push(Since {
            note: earlier.note.clone(),
            head: old,
            holds: found == Continuation::Holds,
        });
        match found {
            Continuation::Holds => {}
            Continuation::Fork { proof, computed } => {
                let kind = if old.size == new.size { Kind::ForkSameSize } else { Kind::Fork };
                let code = kind.as_str();
                self.report.leads.push(Lead::Fork { kind, earlier: earlier.note, proof });
                let detail = format!(
                    "the log signed two trees: at size {} one has the root {}, the other {computed}",
                    old.size, old.root
                );
                self.report.find(finding(code, Blame::Log, detail));
            }
            Continuation::Behind => {
                let detail =
                    format!("the source has {} entries, an earlier checkpoint {}", new.size, old.size);
                self.report.find(finding("checkpoint-behind", Blame::Open, detail));
            }
            Continuation::Unshown(why) => {
                let detail =
                    format!("nothing shows that the tree begins with that of size {}: {why}", old.size);
                self.report.find(finding("consistency-unshown", Blame::Open, detail));
            }
        }
        Ok(())
    }

    fn walk(&mut self, audit: &Audit<'a>, progress: &mut dyn FnMut(u64, u64)) -> Result<(), AuditError> {
        let head = self.report.checkpoint.head;
        let done = self.before.size().0 / u64::from(WIDTH);
        let (records, before) = (self.whole.is_some(), self.before.size().0);
        let walk = Walk {
            source: audit.source,
            head,
            from: if records { 0 } else { done },
            tiles_from: done,
            jobs: audit.jobs,
        };
        let check = |keys: &mut KeyCache, path: &TilePath, bundle: &[u8]| {
            if records { check_entries(path, bundle, before, keys) } else { Vec::new() }
        };
        let damage = walk.run(KeyCache::default, check, |chunk: Chunk<Vec<CheckedEntry>>| {
            let end = chunk.path.index() * u64::from(WIDTH) + u64::from(chunk.path.width());
            let is_whole = !chunk.path.is_partial();
            self.take(chunk)?;
            if self.report.findings.is_empty() && is_whole && end > before {
                self.clean = self.frontier.clone().unwrap_or_default();
                if (end / u64::from(WIDTH)).is_multiple_of(limits::KEPT_EVERY) {
                    audit.keep(&self.clean)?;
                }
            }
            progress(end, head.size.0);
            Ok::<(), AuditError>(())
        })?;
        damage.into_iter().for_each(|fault| self.report.find(fault));
        if self
            .frontier
            .as_ref()
            .is_some_and(|frontier| frontier.size() == head.size && frontier.head() != head)
        {
            return Err(AuditError::Rewritten { old: self.before.size(), new: head.size });
        }
        Ok(audit.keep(&self.clean)?)
    }

    /// Judges the entries of one bundle, which come in order.
    fn take(&mut self, chunk: Chunk<Vec<CheckedEntry>>) -> Result<(), AuditError> {
        let start = chunk.path.index() * u64::from(WIDTH);
        chunk.damage.into_iter().for_each(|fault| self.report.find(fault));
        if chunk.made.is_none() && self.whole.is_some() && self.report.unjudged_from.is_none() {
            self.report.unjudged_from = Some(start);
            let detail =
                "whether records from here on may stand where they stand depends on entries that are damaged";
            self.report.find(Finding {
                code: "place-unjudged",
                rule: None,
                blame: Blame::Open,
                file: None,
                index: Some(start),
                detail: detail.to_owned(),
            });
        }
        let mut leaves = chunk.leaves;
        for (at, entry) in (start..).zip(chunk.made.into_iter().flatten()) {
            self.judge(at, entry);
            if let (Some((_, tree)), Some(leaf)) =
                (&mut self.whole, leaves.as_ref().and_then(|leaves| leaves.get((at - start) as usize)))
            {
                tree.push(*leaf);
            }
        }
        match (&mut self.frontier, leaves.take()) {
            (Some(frontier), Some(leaves)) => leaves.into_iter().for_each(|leaf| {
                frontier.push(leaf);
            }),
            _ => self.frontier = None,
        }
        match &self.frontier {
            Some(frontier) if frontier.size() == self.before.size() && *frontier != self.before => {
                Err(AuditError::Rewritten { old: self.before.size(), new: self.report.checkpoint.head.size })
            }
            _ => Ok(()),
        }
    }

    fn judge(&mut self, index: u64, entry: CheckedEntry) {
        let Some((whole, tree)) = &mut self.whole else { return };
        if let Some(kind) = entry.kind() {
            *self.report.types.entry(kind.as_str()).or_default() += 1;
        }
        let is_snapshot = entry.kind() == Some(Type::Snapshot);
        let findings = match self.report.unjudged_from {
            None => whole.fold(index, entry, &TreeRoots(tree)),
            Some(_) => entry.finding(index).into_iter().collect(),
        };
        if is_snapshot && findings.is_empty() {
            self.last_snapshot = Some(index);
        }
        for finding in findings.into_iter().map(of_rule) {
            self.report.lead(&finding, self.last_snapshot);
            self.report.find(finding);
        }
    }

    fn finish(mut self) -> Report {
        if let (Some((whole, _)), Some(shown), None) =
            (&self.whole, &self.report.checkpoint.shown, self.report.unjudged_from)
            && self.frontier.as_ref().is_some_and(|frontier| frontier.size() == shown.head.size)
        {
            for finding in whole.finish(shown).into_iter().map(of_rule) {
                self.report.lead(&finding, None);
                self.report.find(finding);
            }
        }
        self.report
    }
}

/// Checks each entry of a bundle by itself, unless an earlier audit did.
fn check_entries(path: &TilePath, bundle: &[u8], before: u64, keys: &mut KeyCache) -> Vec<CheckedEntry> {
    let start = path.index() * u64::from(WIDTH);
    // The walk gives bundles whose entries it has counted and hashed.
    let entries = decode_entries(path, bundle).unwrap_or_default();
    let checked = (start..).zip(entries).map(|(index, bytes)| match index < before {
        true => CheckedEntry::checked_before(bytes),
        false => CheckedEntry::check(bytes, keys),
    });
    checked.collect()
}

/// What the reader's witnesses say; that they say too little matters to a reader who requires it.
fn witnesses(report: &mut Report, trust: &Trust) {
    let Some(shown) = &report.checkpoint.shown else { return };
    report.witnessed = match witness_quorum(shown, trust) {
        Ok(time) => Witnessed::At(time.0),
        Err(fault) => {
            if trust.require().contains(&Dimension::Witnessed) {
                report.find(Finding {
                    code: fault.rule.code(),
                    rule: Some(fault.rule.id()),
                    blame: Blame::Open,
                    file: Some("checkpoint".to_owned()),
                    index: None,
                    detail: fault.detail.clone(),
                });
            }
            Witnessed::NotShown(fault.detail)
        }
    };
}

/// A rule that an entry of the signed tree breaks: the log admitted it, unless it is about what the reader trusts.
fn of_rule(finding: RuleFinding) -> Finding {
    let blame = match (finding.shown, finding.code) {
        (Shown::NotShown, _) => Blame::Open,
        (Shown::Violated, "genesis-not-pinned" | "authority-not-pinned" | "checkpoint-origin") => {
            Blame::Trust
        }
        (Shown::Violated, _) => Blame::Log,
    };
    Finding {
        code: finding.code,
        rule: Some(finding.rule),
        blame,
        file: None,
        index: finding.index,
        detail: finding.detail,
    }
}
