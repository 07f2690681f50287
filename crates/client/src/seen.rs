//! What was seen of a log, and what it is held to: no answer is taken that does not continue the last checkpoint seen.

use std::{
    io,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use counterfoil_receipt::{Body, PublicKey, RecordId, UnverifiedRecord};
use counterfoil_tlog::{Hash, LeafIndex, TreeHead, TreeSize, inclusion, leaf_hash};
use counterfoil_verify::{KeyCache, Remembered, Trust, check_signature};

use crate::{
    answer::{InclusionAnswer, Promise, json},
    checkpoint::{PinnedCheckpoint, is_continued},
    client::{Client, protocol},
    error::{ClientError, SubmitError},
    pinned::{Included, Rejected, RejectionSigner},
    store::CheckpointStore,
};

/// A log, the reader's trust in it, and the last checkpoint seen.
pub(crate) struct Seen {
    pub client: Client,
    pub trust: Trust,
    checkpoints: Mutex<Box<dyn CheckpointStore>>,
    /// Checkpoints and records that were checked: the same ones are answered and stand in the bundles of many runs.
    pub checked: Remembered,
    /// The one that was held against all that was seen before, and kept if it is the larger, last.
    advanced: Mutex<Option<PinnedCheckpoint>>,
    genesis: OnceLock<UnverifiedRecord>,
}

impl Seen {
    pub fn new(client: Client, trust: Trust, checkpoints: Box<dyn CheckpointStore>) -> Self {
        Self {
            client,
            trust,
            checkpoints: Mutex::new(checkpoints),
            checked: Remembered::default(),
            advanced: Mutex::default(),
            genesis: OnceLock::new(),
        }
    }

    /// The genesis, which is the pinned one. Asked for once.
    pub fn genesis(&self) -> Result<&UnverifiedRecord, ClientError> {
        if let Some(genesis) = self.genesis.get() {
            return Ok(genesis);
        }
        let genesis = self.client.genesis()?;
        let (found, pinned) = (genesis.id(), self.trust.genesis());
        if found != pinned {
            return Err(ClientError::OtherLog { url: self.client.http.url("/v1/log"), found, pinned });
        }
        Ok(self.genesis.get_or_init(|| genesis))
    }

    /// The last checkpoint that was relied on.
    pub fn last(&self) -> Result<Option<PinnedCheckpoint>, ClientError> {
        self.load(&self.lock())
    }

    /// Opens a note under the pinned keys.
    pub fn open(&self, note: &str) -> Result<PinnedCheckpoint, String> {
        PinnedCheckpoint::open(note, &self.trust, &self.checked)
    }

    /// Demands that a checkpoint and the last one seen are of one log, and keeps the larger. `before` is a tree that its own is shown to
    /// continue.
    pub fn advance(&self, shown: &PinnedCheckpoint, before: Option<TreeHead>) -> Result<(), ClientError> {
        let mut store = self.lock();
        let mut advanced = self.advanced.lock().unwrap_or_else(PoisonError::into_inner);
        // The answers to the records of a batch all bring the same one, and so does the bundle after them.
        if advanced.as_ref().is_some_and(|advanced| advanced.note() == shown.note()) {
            return Ok(());
        }
        if let Some(seen) = self.load(&store)? {
            if before != Some(seen.head()) {
                let continued = is_continued(&seen, shown, |path| self.client.tile(path));
                continued.map_err(|fault| stale_without_tiles(fault, &seen, shown))?;
            }
            if seen.head().size >= shown.head().size {
                return Ok(());
            }
        }
        store.store(shown.note()).map_err(|io| store_error(&store, io))?;
        *advanced = Some(shown.clone());
        Ok(())
    }

    /// The record, if the answer proves its inclusion, in a tree that continues what was seen before; which is kept.
    pub fn included(
        &self,
        url: &str,
        answer: &InclusionAnswer<'_>,
        record: &UnverifiedRecord,
        promise: Promise,
    ) -> Result<Included, SubmitError> {
        let (included, before) = self.proven(url, answer, record, promise).map_err(SubmitError::Failed)?;
        match self.advance(&included.checkpoint, before) {
            Ok(()) => Ok(included),
            Err(cause @ ClientError::Store { .. }) => {
                Err(SubmitError::NotKept { included: Box::new(included), cause })
            }
            Err(error) => Err(SubmitError::Failed(error)),
        }
    }

    fn load(
        &self,
        store: &MutexGuard<'_, Box<dyn CheckpointStore>>,
    ) -> Result<Option<PinnedCheckpoint>, ClientError> {
        let fault = |io| store_error(store, io);
        let Some(note) = store.load().map_err(fault)? else { return Ok(None) };
        let wrong = |why| fault(io::Error::new(io::ErrorKind::InvalidData, why));
        self.open(&note).map(Some).map_err(wrong)
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn CheckpointStore>> {
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the lines answer to the records, each for itself; a tree that they show is kept.
    pub fn answers(
        &self,
        url: &str,
        lines: &[Vec<u8>],
        records: &[UnverifiedRecord],
        promise: Promise,
    ) -> Vec<Result<Included, SubmitError>> {
        let lines = lines.iter().zip(records);
        lines.map(|(line, record)| self.answer(url, line, record, promise)).collect()
    }

    fn answer(
        &self,
        url: &str,
        line: &[u8],
        record: &UnverifiedRecord,
        promise: Promise,
    ) -> Result<Included, SubmitError> {
        let answer: InclusionAnswer<'_> =
            json(line).map_err(|why| SubmitError::Failed(protocol(url, why)))?;
        match answer.rejection {
            Some(rejection) if answer.status == "rejected" => {
                Err(self.rejected(url, rejection.get().as_bytes(), record))
            }
            _ => self.included(url, &answer, record, promise),
        }
    }

    /// Checks that an answer proves the inclusion of `record` under a pinned key. Also the tree of all entries before the record, which that
    /// shows too.
    fn proven(
        &self,
        url: &str,
        answer: &InclusionAnswer<'_>,
        record: &UnverifiedRecord,
        promise: Promise,
    ) -> Result<(Included, Option<TreeHead>), ClientError> {
        let untrusted = |why: String| ClientError::Untrusted { url: url.to_owned(), why };
        let Some(index) = answer.index.filter(|_| answer.status == promise.status()) else {
            return Err(protocol(url, format!("the answer is no inclusion that is {}", promise.as_str())));
        };
        if RecordId::parse(&answer.id) != Some(record.id()) {
            return Err(protocol(
                url,
                format!("the answer is about {:?}, not about {}", answer.id, record.id()),
            ));
        }
        let proof: Option<Vec<Hash>> = answer.proof.iter().map(|hash| Hash::from_base64(hash)).collect();
        let proof = proof.ok_or_else(|| protocol(url, "the proof holds what is no hash"))?;
        let shown = self.open(&answer.checkpoint).map_err(untrusted)?;
        inclusion::verify(leaf_hash(record.bytes()), LeafIndex(index), &proof, &shown.head())
            .map_err(|why| untrusted(format!("inclusion-mismatch: {why}")))?;
        if promise == Promise::Witnessed {
            shown.is_witnessed(&self.trust).map_err(untrusted)?;
        }
        let before = inclusion::root_before(LeafIndex(index), &proof, shown.head().size);
        let before = before.ok().flatten().map(|root| TreeHead { size: TreeSize(index), root });
        Ok((Included { id: record.id(), index, checkpoint: shown }, before))
    }

    /// What a rejection says about `submitted`, if it is one.
    pub fn rejected(&self, url: &str, bytes: &[u8], submitted: &UnverifiedRecord) -> SubmitError {
        match self.signed_rejection(url, bytes, submitted) {
            Ok(rejected) => SubmitError::Rejected(Box::new(rejected)),
            Err(error) => SubmitError::Failed(error),
        }
    }

    /// Checks that a rejection is signed, of this log, and about `submitted`.
    fn signed_rejection(
        &self,
        url: &str,
        bytes: &[u8],
        submitted: &UnverifiedRecord,
    ) -> Result<Rejected, ClientError> {
        let untrusted = |why: String| ClientError::Untrusted { url: url.to_owned(), why };
        let record = UnverifiedRecord::parse(bytes).map_err(|fault| protocol(url, fault.to_string()))?;
        let record = check_signature(record, &mut KeyCache::default())
            .map_err(|(_, fault)| untrusted(fault.to_string()))?;
        let Body::Rejection(body) = record.body() else {
            return Err(protocol(url, format!("a {} is no rejection", record.kind())));
        };
        if record.log() != Some(self.trust.genesis()) {
            return Err(untrusted("the rejection is of another log".to_owned()));
        }
        if body.id != Some(submitted.id()) && body.statement != Some(submitted.statement()) {
            return Err(protocol(url, "the rejection is about another record"));
        }
        let (code, rule) = (body.code.to_string(), body.rule.to_string());
        let signer = match self.snapshot_key()? == record.author().key {
            true => RejectionSigner::Genesis,
            false => RejectionSigner::Unknown,
        };
        Ok(Rejected { record, code, rule, signer })
    }

    /// The key that the pinned genesis names for snapshots and rejections.
    fn snapshot_key(&self) -> Result<PublicKey, ClientError> {
        match self.genesis()?.body() {
            Body::Genesis(body) => Ok(body.log.snapshot.key),
            _ => Err(protocol("/v1/log", "the pinned genesis is none")),
        }
    }
}

fn store_error(store: &MutexGuard<'_, Box<dyn CheckpointStore>>, io: io::Error) -> ClientError {
    ClientError::Store { place: store.place(), io }
}

/// A log that was put back to an earlier state has no tiles of what it showed before: then it is stale, whatever else it is.
fn stale_without_tiles(fault: ClientError, seen: &PinnedCheckpoint, shown: &PinnedCheckpoint) -> ClientError {
    match fault {
        ClientError::Refused(problem) if problem.status == 404 && shown.head().size < seen.head().size => {
            ClientError::Stale { shown: shown.head().size, seen: seen.head().size }
        }
        fault => fault,
    }
}
