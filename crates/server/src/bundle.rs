//! Making the bundle of a run, chunk by chunk: what is in memory are its indices and proofs, not its records
//! (`spec/bundle.md`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use counterfoil_log::{LogCheckpoint, ReadError};
use counterfoil_receipt::{
    Commitment, PolicyDigest, RecordId, RunId, UnverifiedRecord,
    action::Json,
    body::Type,
    bundle::{
        CheckpointLine, DocumentLine, EndLine, Format, Header, NoteText, PositionLine, ProofHash,
        ProofHashes, write_line,
    },
    field::{Count, List, Whole},
    limits as receipt_limits,
};
use counterfoil_tlog::{Hash, LeafIndex};
use counterfoil_verify::{Lookup as _, select};

use crate::{
    limits,
    payloads::{PayloadError, Payloads},
    rows::{Index, LookupError, Name, document_named, payloads_named},
    submit::payload_fits,
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
    disclosed: std::vec::IntoIter<Commitment>,
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
    /// A policy document is gone.
    #[error("{0} is missing")]
    NoDocument(Name),
    /// A bundle can't have that many.
    #[error("the bundle would have more {0} than a bundle may have")]
    TooMany(&'static str),
    /// A payload was there when the bundle was begun.
    #[error("{0} is gone")]
    Gone(Name),
}

impl From<ReadError> for BundleError {
    fn from(error: ReadError) -> Self {
        LookupError::from(error).into()
    }
}

/// What the chosen records say, beside their bytes.
#[derive(Default)]
struct Facts {
    executions: Vec<u64>,
    documents: BTreeSet<PolicyDigest>,
    payloads: BTreeMap<Commitment, Vec<(String, Option<u64>)>>,
}

impl Bundle {
    /// Chooses what the bundle of `run` holds, as of a checkpoint that the index has.
    pub(crate) fn begin(
        index: Index,
        payloads: Arc<Payloads>,
        (log, run): (RecordId, RunId),
        latest: &Arc<LogCheckpoint>,
        with_payloads: bool,
    ) -> Result<Self, BundleError> {
        let size = latest.head.size;
        if index.run_page(run, 0, size.0)?.is_empty() {
            return Err(BundleError::NoRun(run));
        }
        let chosen = select(run, size.0, &index)?;
        let mut facts = Facts::default();
        for at in &chosen {
            facts.note(*at, &index.record(*at)?);
        }
        let checkpoints = checkpoints(&index, &facts.executions, latest)?;
        let documents = facts
            .documents
            .iter()
            .map(|digest| document(&payloads, digest))
            .collect::<Result<Vec<_>, _>>()?;
        let mut disclosed = if with_payloads { facts.disclosed(&payloads)? } else { Vec::new() };
        // A reader refuses more; a payload that is left out is counted as not disclosed.
        disclosed.truncate(receipt_limits::PAYLOADS as usize);
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

    /// Writes what comes next; `false` if nothing does.
    fn lines(&mut self, out: &mut Vec<u8>) -> Result<bool, BundleError> {
        if let Some((at, left)) = self.entries.next() {
            let index = Count::new(at).ok_or(BundleError::TooMany("entries"))?;
            write_line(&PositionLine { index, left: hashes(&left) }, out);
            out.extend(self.index.reader().entry(LeafIndex(at))?);
            out.push(b'\n');
        } else if let Some(right) = self.right.take() {
            write_line(&EndLine { right: hashes(&right) }, out);
        } else if let Some(commitment) = self.disclosed.next() {
            let gone = BundleError::Gone(Name::Payload(commitment));
            write_line(&self.payloads.get_payload(&commitment)?.ok_or(gone)?, out);
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

impl Facts {
    fn note(&mut self, index: u64, record: &UnverifiedRecord) {
        if record.kind() == Type::Execution {
            self.executions.push(index);
        }
        self.documents.extend(document_named(record));
        for (commitment, label, size) in payloads_named(record) {
            self.payloads.entry(commitment).or_default().push((label, size));
        }
    }

    /// Payloads that are here and that every record names alike: of others a reader could not say what they are.
    fn disclosed(self, payloads: &Payloads) -> Result<Vec<Commitment>, BundleError> {
        let mut disclosed = Vec::new();
        for (commitment, stated) in self.payloads {
            let is_one = stated.iter().all(|one| Some(one) == stated.first());
            if payloads.has(Name::Payload(commitment))?
                && (is_one
                    || payloads
                        .get_payload(&commitment)?
                        .is_some_and(|line| payload_fits(&line, &stated).is_ok()))
            {
                disclosed.push(commitment);
            }
        }
        Ok(disclosed)
    }
}

/// The first checkpoint over each execution, which shows best when it existed, and the latest.
fn checkpoints(
    index: &Index,
    executions: &[u64],
    latest: &Arc<LogCheckpoint>,
) -> Result<Vec<CheckpointLine>, BundleError> {
    let reader = index.reader();
    let mut by_size = BTreeMap::from([(latest.head.size, Arc::clone(latest))]);
    // A reader refuses more. The latest are kept: evidence of time is lost for the earliest executions only.
    let most = receipt_limits::CHECKPOINTS as usize - 1;
    for execution in &executions[executions.len().saturating_sub(most)..] {
        let first = reader.checkpoint_covering(LeafIndex(*execution))?;
        by_size.extend(first.map(|checkpoint| (checkpoint.head.size, checkpoint)));
    }
    let line = |(size, checkpoint): (_, Arc<LogCheckpoint>)| {
        let is_last = size == latest.head.size;
        let proof = if is_last { Vec::new() } else { reader.consistency_proof(size, latest.head.size)? };
        Ok(CheckpointLine { checkpoint: NoteText(checkpoint.text.clone()), consistency: hashes(&proof) })
    };
    by_size.into_iter().map(line).collect()
}

fn document(payloads: &Payloads, digest: &PolicyDigest) -> Result<DocumentLine, BundleError> {
    let missing = || BundleError::NoDocument(Name::Document(*digest));
    let bytes = payloads.get_document(digest)?.ok_or_else(missing)?;
    Ok(DocumentLine { document: Json::parse(&bytes).map_err(|_| missing())?, policy: *digest })
}

fn hashes(hashes: &[Hash]) -> ProofHashes {
    List(hashes.iter().map(|hash| ProofHash(*hash.as_bytes())).collect())
}
