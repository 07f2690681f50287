//! A log under a reader's trust: submissions whose inclusion is checked, bundles that are verified as they arrive.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
    num::NonZeroUsize,
};

use counterfoil_receipt::{
    Malformed, Opening, RecordId, RunId, UnverifiedRecord,
    action::Json,
    bundle::{CheckpointLine, DocumentLine, Header, PayloadLine, read_line, write_line},
    field::Millis,
    limits::LINE_BYTES,
};
use counterfoil_verify::{Answer, Dimension, KeyCache, Record, Trust, Verdict, Verifier, check_signature};

use crate::{
    answer::{InclusionAnswer, Promise, json},
    checkpoint::PinnedCheckpoint,
    client::{Client, protocol},
    clock::Clock,
    error::{ClientError, SubmitError},
    http::{Reply, broke_off},
    limits,
    seen::Seen,
    store::CheckpointStore,
};

/// Threads that check signatures while a bundle arrives.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A [`Client`] that holds a log to a [`Trust`], and to every checkpoint that it has shown.
pub struct PinnedClient {
    seen: Seen,
}

/// A record that is in the log: proven under a pinned key, in a tree that continues all that was seen before.
#[derive(Clone, Debug)]
pub struct Included {
    /// The record.
    pub id: RecordId,
    /// Its index.
    pub index: u64,
    /// A checkpoint that covers it.
    pub checkpoint: PinnedCheckpoint,
}

/// What a log answered to a batch, and what it showed with that.
#[derive(Debug)]
pub struct Shown {
    /// In the order of the records, each for itself.
    pub answers: Vec<Result<Included, SubmitError>>,
    /// The run, as of a checkpoint that is no older than those of the answers. `None` if it did not come, or not whole: ask for it.
    pub verified: Option<Result<Verified, ClientError>>,
}

/// The log's signed refusal to admit a record: evidence, worth keeping.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The rejection; its signature holds.
    pub record: Record,
    /// The stable code of the reason.
    pub code: String,
    /// The rule.
    pub rule: String,
    /// Whose key signed it.
    pub signer: RejectionSigner,
}

/// Whose key signed a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionSigner {
    /// The snapshot key that the pinned genesis names.
    Genesis,
    /// Another key that claims the role `log`: a successor, or anyone.
    Unknown,
}

/// A bundle and what it shows.
#[derive(Debug)]
pub struct Verified {
    /// What it shows. Conclude from it; this client draws no conclusion.
    pub verdict: Verdict,
    /// The bundle's bytes.
    pub bundle: Vec<u8>,
    /// Its last checkpoint, which continues all that was seen before; `None` unless *inclusion* passes.
    pub checkpoint: Option<PinnedCheckpoint>,
}

impl PinnedClient {
    pub(crate) fn new(client: Client, trust: Trust, checkpoints: Box<dyn CheckpointStore>) -> Self {
        Self { seen: Seen::new(client, trust, checkpoints) }
    }

    /// The client underneath, for reads that prove themselves.
    pub const fn client(&self) -> &Client {
        &self.seen.client
    }

    /// The same for hints, once the server is known to serve the pinned log.
    ///
    /// # Errors
    /// As [`PinnedClient::genesis`].
    pub fn hints(&self) -> Result<&Client, ClientError> {
        self.genesis().map(|_| self.client())
    }

    /// What the log is held to.
    pub const fn trust(&self) -> &Trust {
        &self.seen.trust
    }

    /// Submits one record and checks its inclusion. Repeating a submission is safe.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, record: &UnverifiedRecord) -> Result<Included, SubmitError> {
        self.is_ready()?;
        let reply = self.client().http.post("/v1/records", "application/json", record.bytes());
        let reply = reply.map_err(SubmitError::of_request)?;
        let url = reply.url.clone();
        if reply.status() == 422 && reply.header("Counterfoil-Code").is_some() {
            let bytes = reply.bytes(limits::RECORD_ANSWER_BYTES).map_err(SubmitError::Failed)?;
            return Err(self.seen.rejected(&url, &bytes, record));
        }
        let bytes = reply.ok(limits::INCLUSION_BYTES).map_err(SubmitError::of_request)?;
        let answer: InclusionAnswer<'_> =
            json(&bytes).map_err(|why| SubmitError::Failed(protocol(&url, why)))?;
        self.seen.included(&url, &answer, record, Promise::Integrated)
    }

    /// Submits records with the payloads that they name and policy documents that do not fit a record. Records may name
    /// earlier ones of the same batch. The answers stand in the order of the records, each for itself.
    ///
    /// # Errors
    /// [`SubmitError`] if there is no answer to any of them; `Misuse` for more than a batch holds.
    pub fn submit_batch(
        &self,
        records: &[UnverifiedRecord],
        payloads: &[PayloadLine],
        documents: &[Json],
    ) -> Result<Vec<Result<Included, SubmitError>>, SubmitError> {
        self.submit_batch_until(records, payloads, documents, Promise::Integrated)
    }

    /// The same, answered once a promise holds for all that is admitted. Where the witnesses do not come in time, that is
    /// `Failed` with the problem `witness-timeout`, and what was admitted is in the log.
    ///
    /// # Errors
    /// As [`PinnedClient::submit_batch`].
    pub fn submit_batch_until(
        &self,
        records: &[UnverifiedRecord],
        payloads: &[PayloadLine],
        documents: &[Json],
        promise: Promise,
    ) -> Result<Vec<Result<Included, SubmitError>>, SubmitError> {
        let path = match promise {
            Promise::Integrated => "/v1/records/batch".to_owned(),
            _ => format!("/v1/records/batch?promise={}", promise.as_str()),
        };
        let (url, lines, mut rest) = self.post_batch(&path, (records, payloads, documents))?;
        let more = rest.fill_buf().map_err(|error| SubmitError::Failed(broke_off(&url, &error)))?;
        if !more.is_empty() {
            let why = format!("more than {} answers to so many records", records.len());
            return Err(SubmitError::Failed(protocol(&url, why)));
        }
        Ok(self.seen.answers(&url, &lines, records, promise))
    }

    /// Submits records as [`PinnedClient::submit_batch`] does, and has the log show the run that the last of them stands in with its
    /// answers, as [`PinnedClient::fetch_verified`] does afterwards. The clock only decides *freshness*.
    ///
    /// # Errors
    /// As [`PinnedClient::submit_batch`].
    pub fn submit_and_verify(
        &self,
        records: &[UnverifiedRecord],
        payloads: &[PayloadLine],
        run: RunId,
        clock: &dyn Clock,
    ) -> Result<Shown, SubmitError> {
        let path = "/v1/records/batch?bundle=latest";
        let (url, lines, mut rest) = self.post_batch(path, (records, payloads, &[]))?;
        // While the log makes the bundle, what the answers bring goes to the disk, and what it will show again is checked.
        let answers = self.seen.answers(&url, &lines, records, Promise::Integrated);
        let mut keys = KeyCache::remembering(self.seen.checked.clone());
        for record in records {
            // What does not hold is found where it is shown.
            let _ = check_signature(record.clone(), &mut keys);
        }
        let read = match rest.fill_buf() {
            Ok([]) => None,
            Ok(_) => Some(self.read(&url, &mut rest, || clock.now())),
            Err(error) => Some(Err(broke_off(&url, &error))),
        };
        let last = answers.iter().flatten().map(|included| &included.checkpoint);
        let seen = last.max_by_key(|checkpoint| checkpoint.head().size);
        let verified = match read {
            None | Some(Err(ClientError::NoAnswer { .. })) => None,
            Some(read) => Some(read.and_then(|read| {
                let verified = self.verified(run, &url, read)?;
                verified.checkpoint.as_ref().map_or(Ok(()), |shown| is_not_older(shown, seen))?;
                Ok(verified)
            })),
        };
        Ok(Shown { answers, verified })
    }

    /// Submits the lines of a batch; a line for each of its records. What comes after these is left to be read.
    fn post_batch(
        &self,
        path: &str,
        (records, payloads, documents): (&[UnverifiedRecord], &[PayloadLine], &[Json]),
    ) -> Result<(String, Vec<Vec<u8>>, impl BufRead + use<>), SubmitError> {
        let lines = batch_lines(records, payloads, documents)?;
        self.is_ready()?;
        let reply = self.client().http.post(path, "application/jsonl", &lines);
        let reply: Reply = reply.map_err(SubmitError::of_request)?;
        let url = reply.url.clone();
        let mut body = BufReader::new(reply.ok_reader().map_err(SubmitError::of_request)?);
        let answers = read_answers(&url, &mut body, records.len()).map_err(SubmitError::Failed)?;
        Ok((url, answers, body))
    }

    /// Submits one record with the payloads that it names and policy documents that do not fit it.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit_with(
        &self,
        record: &UnverifiedRecord,
        payloads: &[Opening],
        documents: &[Json],
    ) -> Result<Included, SubmitError> {
        if payloads.is_empty() && documents.is_empty() {
            return self.submit(record);
        }
        let payloads: Vec<_> =
            payloads.iter().map(|opening| PayloadLine::disclosing(opening.clone(), None)).collect();
        let mut answers = self.submit_batch(std::slice::from_ref(record), &payloads, documents)?;
        let none =
            || SubmitError::Failed(protocol(&self.client().http.url("/v1/records/batch"), "no answer"));
        answers.pop().ok_or_else(none)?
    }

    /// The latest checkpoint that the log has shown. A log that waits for witnesses shows there less than it has answered
    /// before; then it still has to have what was seen, and that is given.
    ///
    /// # Errors
    /// [`ClientError`]; `Fork` if what it shows and what was seen are not one log.
    pub fn checkpoint(&self) -> Result<PinnedCheckpoint, ClientError> {
        let seen = self.is_ready()?;
        let note = self.client().unverified_checkpoint()?;
        let url = self.client().http.url("/checkpoint");
        let shown = self.seen.open(&note).map_err(|why| ClientError::Untrusted { url, why })?;
        self.seen.advance(&shown, None)?;
        Ok(seen.filter(|seen| seen.head().size > shown.head().size).unwrap_or(shown))
    }

    /// The last checkpoint that this client relied on.
    ///
    /// # Errors
    /// [`ClientError::Store`]; `InvalidData` if what was kept does not open under the pinned keys.
    pub fn last_seen(&self) -> Result<Option<PinnedCheckpoint>, ClientError> {
        self.seen.last()
    }

    /// The genesis, which is the pinned one. Asked for once.
    ///
    /// # Errors
    /// [`ClientError`]; `OtherLog` if the server names another.
    pub fn genesis(&self) -> Result<&UnverifiedRecord, ClientError> {
        self.seen.genesis()
    }

    /// Fetches the bundle of a run as evidence: its last checkpoint is the newest that a quorum of the log's witnesses
    /// cosigned if that has all of the run. So it may be older than what was seen before, and is no basis to act on.
    ///
    /// # Errors
    /// As [`PinnedClient::fetch_verified`], without `Stale`.
    pub fn fetch_evidence(&self, run: RunId, now: Millis) -> Result<Verified, ClientError> {
        self.is_ready()?;
        let url = self.client().http.url(&format!("/v1/runs/{run}/bundle"));
        let read = self.read(&url, BufReader::new(self.client().bundle(run)?), || Ok(now))?;
        self.verified(run, &url, read)
    }

    /// Fetches the bundle of a run as of the latest checkpoint, and verifies it while it arrives. `now` only decides
    /// *freshness*.
    ///
    /// The verdict may be any; what is refused here is what a verdict can't see: another run, a state older than one
    /// seen before, a fork.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn fetch_verified(&self, run: RunId, now: Millis) -> Result<Verified, ClientError> {
        let seen = self.is_ready()?;
        let url = self.client().http.url(&format!("/v1/runs/{run}/bundle"));
        let bundle = self.client().latest_bundle(run).or_else(|error| {
            // Nobody signed that there is none. A log that was put back to before the run says so, and shows by its checkpoint that it was.
            if matches!(&error, ClientError::Refused(problem) if problem.status == 404) {
                self.checkpoint()?;
            }
            Err(error)
        })?;
        let read = self.read(&url, BufReader::new(bundle), || Ok(now))?;
        let verified = self.verified(run, &url, read)?;
        if let Some(shown) = &verified.checkpoint {
            is_not_older(shown, seen.as_ref())?;
        }
        Ok(verified)
    }

    /// What a bundle shows that was read to its end, if it is of this run and of the log that was seen before.
    fn verified(
        &self,
        run: RunId,
        url: &str,
        (verdict, bundle): (Verdict, Vec<u8>),
    ) -> Result<Verified, ClientError> {
        if verdict.run_id().is_some_and(|shown| shown != run) {
            return Err(protocol(url, "the bundle is of another run"));
        }
        if !matches!(verdict.answer(Dimension::Inclusion), Answer::Pass(_)) {
            return Ok(Verified { verdict, bundle, checkpoint: None });
        }
        let note = last_note(&bundle).map_err(|fault| protocol(url, fault.to_string()))?;
        let untrusted = |why| ClientError::Untrusted { url: url.to_owned(), why };
        let shown = self.seen.open(&note).map_err(untrusted)?;
        self.seen.advance(&shown, None)?;
        if verdict.checkpoints().last().map(|last| last.head) != Some(shown.head()) {
            return Err(protocol(url, "the last checkpoint is not the one that was verified"));
        }
        Ok(Verified { verdict, bundle, checkpoint: Some(shown) })
    }

    /// Reads a bundle line by line into a verifier, and keeps its bytes.
    fn read(
        &self,
        url: &str,
        mut reader: impl BufRead,
        now: impl FnOnce() -> Result<Millis, ClientError>,
    ) -> Result<(Verdict, Vec<u8>), ClientError> {
        let too_large = || ClientError::TooLarge { url: url.to_owned(), limit: limits::BUNDLE_BYTES };
        let mut verifier = Verifier::remembering(self.trust(), THREADS, self.seen.checked.clone());
        let (mut bundle, mut start) = (Vec::new(), 0);
        loop {
            let read = reader.by_ref().take(LINE_BYTES as u64 + 2).read_until(b'\n', &mut bundle);
            let read = read.map_err(|error| broke_off(url, &error))?;
            if bundle.len() > limits::BUNDLE_BYTES || (read > LINE_BYTES + 1 && bundle.last() != Some(&b'\n'))
            {
                return Err(too_large());
            }
            if read == 0 {
                break;
            }
            match bundle[start..].strip_suffix(b"\n") {
                Some(line) => verifier.line(line),
                None => verifier.unfinished_line(),
            }
            start = bundle.len();
        }
        Ok((verifier.finish(now()?.get()), bundle))
    }

    /// That there is something to hold the server's answers against: the last checkpoint seen can be read, and the server
    /// serves the pinned log. Nothing is submitted before that.
    fn is_ready(&self) -> Result<Option<PinnedCheckpoint>, ClientError> {
        let seen = self.last_seen()?;
        self.genesis()?;
        Ok(seen)
    }
}

/// Reads one line for each of so many records.
fn read_answers(url: &str, reader: &mut impl BufRead, records: usize) -> Result<Vec<Vec<u8>>, ClientError> {
    let (mut answers, mut left) = (Vec::new(), limits::BATCH_ANSWER_BYTES);
    for at in 0..records {
        let mut line = Vec::new();
        let read = reader.take(left as u64 + 1).read_until(b'\n', &mut line);
        read.map_err(|error| broke_off(url, &error))?;
        left = left.checked_sub(line.len()).ok_or_else(|| ClientError::TooLarge {
            url: url.to_owned(),
            limit: limits::BATCH_ANSWER_BYTES,
        })?;
        if line.pop() != Some(b'\n') {
            return Err(protocol(url, format!("{at} answers to {records} records")));
        }
        answers.push(line);
    }
    Ok(answers)
}

/// The signed note of a bundle's last checkpoint line.
fn last_note(bundle: &[u8]) -> Result<String, Malformed> {
    let mut lines = bundle.split(|byte| *byte == b'\n');
    let header: Header = read_line(lines.next().unwrap_or_default())?;
    let last = usize::try_from(header.checkpoints.get()).unwrap_or(usize::MAX);
    let line: CheckpointLine = read_line(lines.nth(last.saturating_sub(1)).unwrap_or_default())?;
    Ok(line.checkpoint.0)
}

fn is_not_older(shown: &PinnedCheckpoint, seen: Option<&PinnedCheckpoint>) -> Result<(), ClientError> {
    match seen {
        Some(seen) if shown.head().size < seen.head().size => {
            Err(ClientError::Stale { shown: shown.head().size, seen: seen.head().size })
        }
        _ => Ok(()),
    }
}

fn batch_lines(
    records: &[UnverifiedRecord],
    payloads: &[PayloadLine],
    documents: &[Json],
) -> Result<Vec<u8>, ClientError> {
    let mut out = Vec::new();
    payloads.iter().for_each(|payload| write_line(payload, &mut out));
    for document in documents {
        let policy = counterfoil_receipt::PolicyDigest::of(document.as_str().as_bytes());
        write_line(&DocumentLine { document: document.clone(), policy }, &mut out);
    }
    for record in records {
        out.extend_from_slice(record.bytes());
        out.push(b'\n');
    }
    let lines = records.len() + payloads.len() + documents.len();
    if records.is_empty() || lines > limits::BATCH_LINES || out.len() > limits::BATCH_BYTES {
        let why = format!(
            "a batch of {lines} lines and {} bytes; it has 1 to {} and at most {}",
            out.len(),
            limits::BATCH_LINES,
            limits::BATCH_BYTES
        );
        return Err(ClientError::Misuse(why));
    }
    Ok(out)
}

impl fmt::Debug for PinnedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedClient").field("origin", &self.trust().origin()).finish_non_exhaustive()
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rejected: {} ({})", self.code, self.rule)
    }
}
