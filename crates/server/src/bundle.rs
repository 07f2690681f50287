//! Making the bundle of a run, chunk by chunk: what is in memory are its indices and proofs, not its records
//! (`spec/bundle.md`).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use counterfoil_log::{LogCheckpoint, ReadError};
use counterfoil_receipt::{
    Commitment, PolicyDigest, RecordId, Root, RunId, UnverifiedRecord,
    body::Type,
    bundle::{
        CheckpointLine, DocumentLine, EndLine, Format, Header, NoteText, PayloadLine, PositionLine,
        ProofHash, ProofHashes, write_line,
    },
    field::{Count, List, Whole},
    limits as receipt_limits,
};
use counterfoil_tlog::{Hash, LeafIndex, NoteError, TreeSize};
use counterfoil_verify::{IndexKey, Lookup, select, timed_by_rule};
use counterfoil_witness::KeptError;

use crate::{
    limits,
    payloads::{Kept, PayloadError, Payloads},
    rows::{Index, LookupError, document_named},
    submit::Stated,
    witnesses::{Shown, Witnesses},
};

/// A bundle on its way out.
pub(crate) struct Bundle {
    index: Index,
    payloads: Arc<Payloads>,
    /// Header, checkpoints and documents, already written.
    head: Vec<u8>,
    /// Indices of the entries not yet written, with the proof hashes to the left of each; ascending.
    entries: std::vec::IntoIter<(u64, Vec<Hash>)>,
    /// The proof hashes to the right of the last.
    right: Option<Vec<Hash>>,
    disclosed: std::collections::btree_map::IntoIter<Commitment, Option<Root>>,
}

/// Why there is no bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleError {
    /// The run has no records.
    #[error("no run {0} is in the log")]
    NoRun(RunId),
    /// The log could not be read.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A payload or document could not be read.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A witnessed checkpoint could not be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A checkpoint of the log is no note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A policy document is gone.
    #[error("{0} is missing")]
    NoDocument(Kept),
    /// A bundle can't have that many.
    #[error("the bundle would have more {0} than a bundle may have")]
    TooMany(&'static str),
    /// A payload was there when the bundle was begun.
    #[error("{0} is gone")]
    Gone(Kept),
}

impl From<ReadError> for BundleError {
    fn from(error: ReadError) -> Self {
        LookupError::from(error).into()
    }
}

/// What the chosen records say, beside their bytes.
#[derive(Default)]
struct Facts {
    documents: BTreeSet<PolicyDigest>,
    stated: Stated,
}

impl Bundle {
    /// Chooses what the bundle of `run` holds, as of a checkpoint that the index has. With witnesses, it ends with the newest
    /// tree that has their quorum if that has all of the run.
    pub(crate) fn begin(
        index: Index,
        payloads: Arc<Payloads>,
        (log, run): (RecordId, RunId),
        (latest, witnesses): (&LogCheckpoint, Option<&Witnesses>),
        with_payloads: bool,
    ) -> Result<Self, BundleError> {
        let end = index.last_of(run, latest.head.size.0)?.ok_or(BundleError::NoRun(run))?;
        let newest = witnesses.map(Witnesses::newest).transpose()?.flatten();
        let covers = |newest: &Shown| newest.head.size.0 > end && newest.head.size <= latest.head.size;
        let last = newest.filter(covers).map_or_else(|| Shown::of_log(latest), Ok)?;
        let size = last.head.size;
        let by_size = checkpoints(&index, run, last, witnesses)?;
        let ends = by_size.keys().filter_map(|size| size.0.checked_sub(1)).collect();
        let reading = Reading { index: &index, ends, facts: RefCell::default() };
        let chosen = select(run, size.0, &reading)?;
        let facts = reading.facts.into_inner();
        let checkpoints = checkpoint_lines(&index, &by_size, size)?;
        let documents = facts
            .documents
            .iter()
            .map(|digest| document(&payloads, digest))
            .collect::<Result<Vec<_>, _>>()?;
        let disclosed = if with_payloads { disclosed(&facts.stated, &payloads)? } else { BTreeMap::new() };
        let leaves: Vec<LeafIndex> = chosen.iter().map(|index| LeafIndex(*index)).collect();
        let mut segments = index.reader().multiproof(&leaves, size)?;
        let right = segments.pop();
        let header = Header {
            checkpoints: Whole::new(checkpoints.len() as u64).ok_or(BundleError::TooMany("checkpoints"))?,
            documents: Whole::new(documents.len() as u64).ok_or(BundleError::TooMany("documents"))?,
            entries: Whole::new(chosen.len() as u64).ok_or(BundleError::TooMany("entries"))?,
            format: Format,
            log,
            payloads: Whole::new(disclosed.len() as u64).ok_or(BundleError::TooMany("payloads"))?,
            run,
        };
        let mut head = Vec::new();
        write_line(&header, &mut head);
        checkpoints.iter().for_each(|line| write_line(line, &mut head));
        documents.iter().for_each(|line| write_line(line, &mut head));
        let entries = chosen.into_iter().zip(segments).collect::<Vec<_>>().into_iter();
        Ok(Self { index, payloads, head, entries, right, disclosed: disclosed.into_iter() })
    }

    /// The next part of the bundle; `None` at its end. After an error the bundle can't be finished.
    pub(crate) fn chunk(&mut self) -> Option<Result<Vec<u8>, BundleError>> {
        let mut out = std::mem::take(&mut self.head);
        while out.len() < limits::CHUNK_BYTES {
            match self.lines(&mut out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Some(Err(error)),
            }
        }
        (!out.is_empty()).then_some(Ok(out))
    }

    /// Whether nothing comes any more.
    pub(crate) fn is_over(&self) -> bool {
        let Self { head, entries, right, disclosed, .. } = self;
        head.is_empty() && entries.len() == 0 && right.is_none() && disclosed.len() == 0
    }

    /// Writes what comes next; `false` if nothing does.
    fn lines(&mut self, out: &mut Vec<u8>) -> Result<bool, BundleError> {
        if let Some((at, left)) = self.entries.next() {
            let index = Count::new(at).ok_or(BundleError::TooMany("entries"))?;
            write_line(&PositionLine { index, left: hashes(&left) }, out);
            out.extend(self.index.reader().entry(LeafIndex(at))?);
            out.push(b'\n');
        } else if let Some(right) = self.right.take() {
            write_line(&EndLine { right: hashes(&right) }, out);
        } else if let Some((commitment, set)) = self.disclosed.next() {
            let line = match &set {
                None => self.payloads.get_payload(&commitment)?,
                Some(root) => self.payloads.get_member(root, &commitment)?,
            };
            let kept = set.map_or(Kept::Payload(commitment), |root| Kept::Member(root, commitment));
            write_line(&line.ok_or(BundleError::Gone(kept))?, out);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Reads what [`select`] chooses, and notes what it says: each chosen record is read once to choose it, and once to write it.
struct Reading<'a> {
    index: &'a Index,
    /// The snapshots that end the bundle's checkpoints: chosen with the records of the run, and like these with all that a
    /// reader needs for them.
    ends: BTreeSet<u64>,
    facts: RefCell<Facts>,
}

impl Lookup for Reading<'_> {
    type Error = LookupError;

    fn indices(&self, key: &IndexKey, size: u64) -> Result<Vec<u64>, LookupError> {
        let mut indices = self.index.indices(key, size)?;
        if let IndexKey::Run(_) = key {
            indices.extend(&self.ends);
            indices.sort_unstable();
        }
        Ok(indices)
    }

    fn snapshots_around(&self, index: u64, size: u64) -> Result<(Option<u64>, Option<u64>), LookupError> {
        self.index.snapshots_around(index, size)
    }

    fn record(&self, index: u64) -> Result<UnverifiedRecord, LookupError> {
        let record = self.index.record(index)?;
        let mut facts = self.facts.borrow_mut();
        facts.documents.extend(document_named(&record));
        facts.stated.note(&record);
        Ok(record)
    }
}

/// Payloads that are here and are what every record says of them, each with its set: what a record of one run says need not
/// be what was true when another's brought the payload. At most as many as a reader takes; one that is left out counts as
/// not disclosed.
fn disclosed(
    stated: &Stated,
    payloads: &Payloads,
) -> Result<BTreeMap<Commitment, Option<Root>>, PayloadError> {
    let mut disclosed = BTreeMap::new();
    let fits = |line: Option<PayloadLine>| line.is_some_and(|line| stated.fit(&line).is_ok());
    for root in stated.sets.keys() {
        for member in payloads.members(root)? {
            if fits(payloads.get_member(root, &member)?) {
                disclosed.insert(member, Some(*root));
            }
        }
    }
    for commitment in stated.payloads.keys() {
        if fits(payloads.get_payload(commitment)?) {
            disclosed.insert(*commitment, None);
        }
    }
    while disclosed.len() as u64 > receipt_limits::PAYLOADS {
        disclosed.pop_last();
    }
    Ok(disclosed)
}

/// The last checkpoint; the first over each execution, each timer and each proposal that one names, which shows best when it
/// existed, and that the first with a quorum of witnesses where there is one; and those on which the run's records rest, as far
/// as the log signed them: by these a reader sees whether a basis is of this log (R-BASIS-02).
fn checkpoints(
    index: &Index,
    run: RunId,
    last: Shown,
    witnesses: Option<&Witnesses>,
) -> Result<BTreeMap<TreeSize, Shown>, BundleError> {
    let (reader, size) = (index.reader(), last.head.size);
    let (mut executions, mut timed, mut bases) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut proposals = HashMap::new();
    for at in index.indices(&IndexKey::Run(run), size.0)? {
        let record = index.record(at)?;
        executions.extend((record.kind() == Type::Execution).then_some(LeafIndex(at)));
        if record.kind() == Type::Proposal {
            proposals.insert(record.id(), at);
        }
        if let Some(proposal) = timed_by_rule(&record) {
            timed.extend(proposals.get(&proposal).into_iter().chain([&at]).copied());
        }
        bases.extend(record.body().basis().map(|basis| TreeSize(basis.size.get())));
    }
    let mut by_size = BTreeMap::from([(size, last)]);
    // A reader refuses more. The latest are kept, and those of executions before those of bases: what is lost is evidence of
    // time for the earliest executions, and of forks on the earliest bases.
    let has_room = |by_size: &BTreeMap<_, _>| (by_size.len() as u64) < receipt_limits::CHECKPOINTS;
    // What the time of a proposal and of a timer is comes after the executions.
    let timed = timed.into_iter().map(LeafIndex);
    for execution in executions.into_iter().rev().chain(timed.rev()) {
        if has_room(&by_size) {
            let witnessed = witnesses.map(|witnesses| witnesses.covering(execution)).transpose()?.flatten();
            let first = match witnessed.filter(|first| first.head.size <= size) {
                Some(first) => first,
                None => match reader.checkpoint_covering(execution)? {
                    Some(first) => Shown::of_log(&first)?,
                    None => continue,
                },
            };
            let both = match by_size.get(&first.head.size) {
                Some(there) => first.with_lines_of(there),
                None => first,
            };
            by_size.insert(both.head.size, both);
        }
    }
    for basis in bases.into_iter().rev().filter(|basis| *basis < size) {
        if has_room(&by_size)
            && !by_size.contains_key(&basis)
            && let Some(checkpoint) = reader.checkpoint_at(basis)?
        {
            by_size.insert(basis, Shown::of_log(&checkpoint)?);
        }
    }
    Ok(by_size)
}

fn checkpoint_lines(
    index: &Index,
    by_size: &BTreeMap<TreeSize, Shown>,
    last: TreeSize,
) -> Result<Vec<CheckpointLine>, BundleError> {
    let line = |(size, checkpoint): (&TreeSize, &Shown)| {
        let proof = if *size == last { Vec::new() } else { index.reader().consistency_proof(*size, last)? };
        Ok(CheckpointLine { checkpoint: NoteText(checkpoint.note.to_string()), consistency: hashes(&proof) })
    };
    by_size.iter().map(line).collect()
}

fn document(payloads: &Payloads, digest: &PolicyDigest) -> Result<DocumentLine, BundleError> {
    let missing = || BundleError::NoDocument(Kept::Document(*digest));
    payloads.get_document_line(digest)?.ok_or_else(missing)
}

fn hashes(hashes: &[Hash]) -> ProofHashes {
    List(hashes.iter().map(|hash| ProofHash(*hash.as_bytes())).collect())
}
