//! Submitting: from the lines of a request to an answer for each record (`spec/http.md`, "Records").
//!
//! What needs no state is checked here, beside the log's one writer: form, whether the key was ever enrolled, signature.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    num::NonZeroU32,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use counterfoil_keys::RecordKey;
use counterfoil_log::{AddError, Handle, LogCheckpoint, Logged, Outcome};
use counterfoil_receipt::{
    Commitment, Draft, Malformed, Opening, Place, PolicyDigest, Principal, PublicKey, RecordId, Role, Root,
    Signer as _, Statement, UnverifiedRecord,
    body::{Body, KeyChange, Rejection},
    bundle::{DocumentLine, PayloadLine, read_line, write_line},
    field::{Count, Millis},
    limits::RECORD_BYTES,
    text::Label,
};
use counterfoil_tlog::{Hash, LeafIndex};
use counterfoil_verify::{KeyCache, Lookup as _, ProposalStatus, Record, Rule, check_signature};
use tokio::sync::{Mutex, MutexGuard, oneshot, watch};

use crate::{
    limits,
    payloads::{Kept, Payloads, Staged, belongs},
    problem::{Kind, Problem, with_causes},
    quota::{Payer, Quotas},
    records::{Enrolled, Records, Refusal, Submission},
    rows::{Index, Name, document_named, names_kept, payloads_named, sets_named},
    snapshot_key::ends,
};

/// What a submission meets on its way into the log.
pub(crate) struct Submitter {
    /// The id of the log's genesis.
    pub log: RecordId,
    /// The writer.
    pub handle: Handle<Records>,
    /// The index of the log's records.
    pub index: Index,
    /// What is kept beside the log.
    pub payloads: Arc<Payloads>,
    /// The keys that were ever enrolled.
    pub enrolled: Enrolled,
    /// How much each principal may add, if that is bounded.
    pub quotas: Option<Quotas<Payer>>,
    /// How many open proposals each proposer may have, if that is bounded.
    pub open_proposals: Option<NonZeroU32>,
    /// Held from looking how many are open until what is new is an entry.
    pub proposing: [Mutex<()>; PROPOSING],
    /// Signs rejections; the key that signs snapshots too.
    pub signer: Arc<RecordKey>,
    /// The latest checkpoint whose entries the index has.
    pub committed: watch::Receiver<Arc<LogCheckpoint>>,
}

/// The lines of one request.
#[derive(Default)]
pub(crate) struct Batch {
    records: Vec<Vec<u8>>,
    payloads: HashMap<Kept, PayloadLine>,
    documents: HashMap<PolicyDigest, DocumentLine>,
}

/// The answer for one record.
pub(crate) enum Answer {
    /// It is in the log.
    Included(Inclusion),
    /// It was not admitted, for the reason with this code.
    Rejected {
        /// The log's signed rejection.
        rejection: Box<UnverifiedRecord>,
        /// The code in it.
        code: String,
    },
}

/// That a record is in the log.
pub(crate) struct Inclusion {
    /// Its leaf.
    pub leaf: Hash,
    /// Where.
    pub index: LeafIndex,
    /// A checkpoint that covers it.
    pub checkpoint: String,
    /// The inclusion proof in the tree of that checkpoint.
    pub proof: Vec<Hash>,
    /// The number of cosignatures on it, if witnesses were waited for.
    pub cosignatures: Option<usize>,
}

/// Proposers of whom no two are counted at once, where their number is bounded: those who share a place wait for each other.
pub(crate) const PROPOSING: usize = 256;

/// The place of a proposer among so many.
fn place_of(proposer: &Principal, places: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    proposer.hash(&mut hasher);
    usize::try_from(hasher.finish() % places as u64).unwrap_or(0)
}

/// Why a record is not admitted, and by which rule.
struct Refused {
    id: Option<RecordId>,
    statement: Option<Statement>,
    code: &'static str,
    rule: &'static str,
    size: u64,
}

/// A batch that is ready for the log.
struct Prepared {
    submissions: Vec<Submission>,
    /// For each record line: that it waits for the log's answer, or why it does not.
    slots: Vec<Result<(), Refused>>,
    staged: Vec<Staged>,
    /// What earlier entries name.
    named_before: HashSet<Name>,
}

impl Batch {
    /// The one record of a request.
    pub(crate) fn of_record(record: Vec<u8>) -> Self {
        Self::of_records(vec![record])
    }

    /// Records without payloads or documents.
    pub(crate) fn of_records(records: Vec<Vec<u8>>) -> Self {
        Self { records, ..Self::default() }
    }

    /// One record with a payload that it names.
    pub(crate) fn disclosing(record: Vec<u8>, opening: Opening) -> Self {
        let line = PayloadLine::disclosing(opening, None);
        Self { payloads: HashMap::from([(Kept::Payload(line.commitment), line)]), ..Self::of_record(record) }
    }

    /// The bytes of its last record.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.records.last().map(Vec::as_slice)
    }

    /// Reads the lines of a batch. Whether a record line is a record is not asked here: each gets its own answer.
    pub(crate) fn of_lines(body: &[u8]) -> Result<Self, Problem> {
        let lines: Vec<&[u8]> =
            body.strip_suffix(b"\n").unwrap_or(body).split(|byte| *byte == b'\n').collect();
        if lines.len() > limits::BATCH_LINES {
            let detail = format!("{} lines; a batch has at most {}", lines.len(), limits::BATCH_LINES);
            return Err(Kind::BodyTooLarge.because(detail));
        }
        let mut batch = Self::default();
        for (line, number) in lines.into_iter().zip(1..) {
            batch.line(line).map_err(|why| Kind::BodyUnreadable.because(format!("line {number}: {why}")))?;
        }
        Ok(batch)
    }

    /// Whether checking it takes a fraction of a millisecond, and no file is written for it.
    fn is_small(&self) -> bool {
        self.records.len() <= limits::SMALL_BATCH && self.payloads.is_empty() && self.documents.is_empty()
    }

    fn line(&mut self, line: &[u8]) -> Result<(), String> {
        let read = |fault: Malformed| fault.to_string();
        // Canonical lines show their kind in the first member.
        let is_payload = line.starts_with(br#"{"commitment":"#);
        let is_document = line.starts_with(br#"{"document":"#);
        if (is_payload || is_document) && !self.records.is_empty() {
            return Err("payloads and documents stand before the records".to_owned());
        }
        if is_payload {
            let payload: PayloadLine = read_line(line).map_err(read)?;
            let computed = payload.clone().into_opening().commitment();
            if computed != payload.commitment {
                return Err(format!("claims to open {}, opens {computed}", payload.commitment));
            }
            let kept = match &payload.set {
                None => Kept::Payload(computed),
                Some(set) => {
                    belongs(&computed, set).map_err(|why| format!("set: {computed}: {why}"))?;
                    Kept::Member(set.root, computed)
                }
            };
            self.payloads.insert(kept, payload);
        } else if is_document {
            let document: DocumentLine = read_line(line).map_err(read)?;
            let computed = PolicyDigest::of(document.document.as_str().as_bytes());
            if computed != document.policy {
                return Err(format!("claims to be {}, is {computed}", document.policy));
            }
            self.documents.insert(computed, document);
        } else if line.is_empty() {
            return Err("is empty".to_owned());
        } else {
            self.records.push(line.to_vec());
        }
        Ok(())
    }
}

/// Does work of a batch: where the batch is small, here, because to hand it to another thread and back takes longer.
async fn work<T: Send + 'static>(
    small: bool,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if small { work() } else { crate::app::blocking(work).await }
}

impl Submitter {
    /// Submits a batch and answers for each of its records. Runs to its end, even if nobody waits for it any more.
    pub(crate) async fn submit(self: Arc<Self>, batch: Batch) -> Result<Vec<Answer>, Problem> {
        let submitter = Arc::clone(&self);
        let small = batch.is_small();
        if !small {
            // What earlier entries name is in the rows.
            self.indexed_to(self.index.reader().latest().head.size.0).await?;
        }
        let prepared = work(small, move || submitter.prepare(batch)).await?;
        let Prepared { submissions, slots, staged, named_before } = prepared;
        let _room = self.proposers_have_room(&submissions).await?;
        let named: Vec<Vec<Name>> =
            submissions.iter().map(|submission| names_kept(&submission.record)).collect();
        let ids: Vec<_> = submissions
            .iter()
            .map(|submission| (submission.record.id(), submission.record.statement()))
            .collect();
        let (reply, answer) = oneshot::channel();
        // Whoever waits for the answer is this task.
        self.handle.submit(submissions, move |outcomes| drop(reply.send(outcomes)));
        let outcomes = answer.await.unwrap_or_else(|_| Err(self.stopped()))?;
        let submitter = Arc::clone(&self);
        work(small, move || {
            let mut kept = named_before;
            let logged = |outcome: &Outcome<Refusal>| !matches!(outcome, Outcome::Refused(_));
            let admitted = outcomes.iter().zip(named).filter(|(outcome, _)| logged(outcome));
            kept.extend(admitted.flat_map(|(_, names)| names));
            submitter
                .payloads
                .keep(staged.into_iter().filter(|staged| kept.contains(&staged.kept().name())).collect())?;
            submitter.answers(slots, outcomes, &ids)
        })
        .await
    }

    /// Whether nobody who proposes something new has as many open proposals as one may. A revision takes the place of what it
    /// supersedes, if that is open, and what is an entry already has its answer. Until the answer is dropped, nobody else of theirs is
    /// told so.
    async fn proposers_have_room(
        &self,
        submissions: &[Submission],
    ) -> Result<Vec<MutexGuard<'_, ()>>, Problem> {
        let Some(most) = self.open_proposals else { return Ok(Vec::new()) };
        let mut new: BTreeMap<Principal, Vec<(RecordId, Option<RecordId>)>> = BTreeMap::new();
        for Submission { record, .. } in submissions {
            if let Body::Proposal(body) = record.body() {
                new.entry(record.author().principal.clone())
                    .or_default()
                    .push((record.id(), body.supersedes));
            }
        }
        if new.is_empty() {
            return Ok(Vec::new());
        }
        // In one order, so that nobody waits for each other.
        let places: BTreeSet<usize> = new.keys().map(|proposer| place_of(proposer, PROPOSING)).collect();
        let mut room = Vec::new();
        for place in places {
            room.push(self.proposing[place].lock().await);
        }
        let (reply, answer) = oneshot::channel();
        self.handle.inspect(move |records, _| {
            let state = records.state();
            let crowded = new.into_iter().find(|(proposer, ids)| {
                // A revision takes the place of one that is open, and of no other.
                let is_open = |id: &RecordId| {
                    let proposed = state.find_proposal(id);
                    proposed.and_then(|at| state.proposal_status(state.run(&at.run)?, id))
                        == Some(ProposalStatus::Open)
                };
                let comes = |(id, old): &&(RecordId, Option<RecordId>)| {
                    state.index_of(id).is_none() && !old.as_ref().is_some_and(is_open)
                };
                let coming = ids.iter().filter(comes).count();
                let open = state.open_proposals_of(proposer, most.get() as usize, limits::APPROVALS_LOOKED);
                coming > 0 && open + coming > most.get() as usize
            });
            drop(reply.send(crowded.map(|(proposer, _)| proposer)));
        })?;
        match answer.await.map_err(|_| self.stopped())? {
            None => Ok(room),
            Some(proposer) => Err(Kind::ProposalsOpen
                .because(format!("{proposer} may have {most} open proposals, and has no room for these"))),
        }
    }

    /// Waits until the rows of the first `size` entries are there, and gives the latest checkpoint of which they are.
    pub(crate) async fn indexed_to(&self, size: u64) -> Result<Arc<LogCheckpoint>, Problem> {
        let mut committed = self.committed.clone();
        let waited = committed.wait_for(|checkpoint| checkpoint.head.size.0 >= size).await;
        // If not, nobody announces anything any more.
        waited.map(|latest| Arc::clone(&latest)).map_err(|_| self.stopped().into())
    }

    /// Why the log answers nothing any more.
    pub(crate) fn stopped(&self) -> AddError {
        self.handle.failure().map_or(AddError::Closed, AddError::Failed)
    }

    /// Checks what needs no state, and makes durable what the records name.
    fn prepare(&self, mut batch: Batch) -> Result<Prepared, Problem> {
        let mut submissions: Vec<Submission> = Vec::new();
        let mut slots = Vec::new();
        let (mut brought, mut bill) = (HashMap::new(), HashMap::new());
        let mut authority = None;
        for bytes in std::mem::take(&mut batch.records) {
            let checked = self.check(&bytes, &brought);
            slots.push(match checked {
                Err(refused) => Err(refused),
                Ok((record, payer)) => {
                    self.note_cost(&record, &payer, &mut bill)?;
                    self.snapshot_key_stays(&record)?;
                    if let Body::Keyring(body) = record.body()
                        && body.change != KeyChange::Retire
                    {
                        brought.insert(body.key, payer);
                    }
                    let document = self.document_for(&record, &batch)?;
                    let is_authoritys = record.author().role == Role::Authority;
                    let after = if is_authoritys { authority.replace(record.id()) } else { authority };
                    submissions.push(Submission { record, document, after });
                    Ok(())
                }
            });
        }
        if let Some(quotas) = &self.quotas {
            quotas.charge(&bill, Instant::now()).map_err(Problem::over_quota)?;
        }
        let (staged, named_before) = self.stage(batch, &submissions)?;
        Ok(Prepared { submissions, slots, staged, named_before })
    }

    /// Form; then whether the key is one that this log or this batch has enrolled; then the signature, which costs most. Gives
    /// who pays for it too: of a key that the batch brings, who brings it.
    fn check(&self, bytes: &[u8], brought: &HashMap<PublicKey, Payer>) -> Result<(Record, Payer), Refused> {
        let size = self.index.reader().latest().head.size.0;
        let record = UnverifiedRecord::parse(bytes).map_err(|fault| Refused {
            id: (bytes.len() <= RECORD_BYTES).then(|| RecordId::of(bytes)),
            statement: None,
            code: fault.code.code(),
            rule: fault.code.id(),
            size,
        })?;
        let (id, statement, key) = (record.id(), record.statement(), record.author().key);
        let refused = |rule: Rule| Refused::by(rule, size, id, statement);
        // Most likely it was meant for another log, whose keys are unknown here too.
        if record.log().is_some_and(|log| log != self.log) {
            return Err(refused(Rule::LogMismatch));
        }
        let Some(payer) = self.enrolled.payer(&key).or_else(|| brought.get(&key).cloned()) else {
            return Err(refused(Rule::KeyUnknown));
        };
        thread_local!(static CACHE: RefCell<KeyCache> = RefCell::default());
        let checked =
            CACHE.with_borrow_mut(|cache| check_signature(record, cache).map_err(|(_, fault)| fault.rule));
        checked.map(|record| (record, payer)).map_err(refused)
    }

    /// Puts a record on the bill, unless it is an entry already. Whoever has nothing left is told so before another signature is
    /// checked.
    fn note_cost(
        &self,
        record: &Record,
        payer: &Payer,
        bill: &mut HashMap<Payer, u32>,
    ) -> Result<(), Problem> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        let size = self.index.reader().latest().head.size.0;
        // Where the index failed, what is an entry already costs too.
        if !matches!(self.index.index_of(&record.id(), size), Ok(Some(_))) {
            quotas.check(payer, Instant::now()).map_err(Problem::over_quota)?;
            *bill.entry(payer.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// The key that this server signs snapshots with is not ended under it: the batch could not be sealed. This is a fact
    /// about the server, so no rule is broken and no rejection signed.
    fn snapshot_key_stays(&self, record: &Record) -> Result<(), Problem> {
        let (key, size) = (self.signer.key(), self.index.reader().latest().head.size.0);
        let ends = match record.body() {
            Body::Endorsement(body) => match self.index.index_of(&body.candidate, size)? {
                Some(candidate) => ends(self.index.record(candidate)?.body(), &key),
                None => false,
            },
            body => ends(body, &key),
        };
        // What is an entry already has its answer.
        if !ends || self.index.index_of(&record.id(), size)?.is_some() {
            return Ok(());
        }
        let detail =
            format!("{} {} would end {key}; nothing of this body was taken", record.kind(), record.id());
        Err(Kind::SnapshotKeyInUse.because(detail))
    }

    /// The document that a policy record names by digest: brought by the batch, or kept from before.
    fn document_for(&self, record: &Record, batch: &Batch) -> Result<Option<Vec<u8>>, Problem> {
        let Some(digest) = document_named(record) else { return Ok(None) };
        match batch.documents.get(&digest) {
            Some(line) => Ok(Some(line.document.as_str().as_bytes().to_vec())),
            // Only what is kept: a file that another request brings may be gone once that request is answered.
            None => Ok(self.payloads.kept_document(&digest)?),
        }
    }

    /// Makes durable what the batch brings and a record of the batch or of the log names.
    fn stage(
        &self,
        batch: Batch,
        submissions: &[Submission],
    ) -> Result<(Vec<Staged>, HashSet<Name>), Problem> {
        let mut lines = Vec::new();
        let mut named_before = HashSet::new();
        let named_now: HashSet<Name> =
            submissions.iter().flat_map(|submission| names_kept(&submission.record)).collect();
        let mut bring = |kept: Kept, line: Vec<u8>| -> Result<(), Problem> {
            let is_named_before = self.index.naming(kept.name())?.is_some();
            if is_named_before {
                named_before.insert(kept.name());
            }
            if (is_named_before || named_now.contains(&kept.name())) && !self.payloads.has(kept)? {
                lines.push((kept, line));
            }
            Ok(())
        };
        let mut stated = Stated::default();
        submissions.iter().for_each(|submission| stated.note(&submission.record));
        for (kept, payload) in batch.payloads {
            if let Some(index) = self.index.naming(kept.name())? {
                // The last entry that names it says of it what the others do, or no bundle can show it.
                stated.note(&self.index.record(index)?);
            }
            stated.fit(&payload).map_err(|why| Kind::BodyUnreadable.because(why))?;
            bring(kept, to_line(&payload))?;
        }
        for (digest, document) in batch.documents {
            bring(Kept::Document(digest), to_line(&document))?;
        }
        Ok((self.payloads.stage(&lines)?, named_before))
    }

    /// Joins what was refused here with what the log said.
    fn answers(
        &self,
        slots: Vec<Result<(), Refused>>,
        outcomes: Vec<Outcome<Refusal>>,
        ids: &[(RecordId, Statement)],
    ) -> Result<Vec<Answer>, Problem> {
        let mut outcomes = outcomes.into_iter().zip(ids);
        let answer = |slot: Result<(), Refused>| match slot {
            Err(refused) => self.reject(refused),
            Ok(()) => match outcomes.next() {
                Some((Outcome::Added(logged) | Outcome::Duplicate(logged), _)) => {
                    let Logged { index, leaf, checkpoint } = logged;
                    let proof = self.index.reader().inclusion_proof(index, checkpoint.head.size)?;
                    let checkpoint = checkpoint.text.clone();
                    Ok(Answer::Included(Inclusion { leaf, index, checkpoint, proof, cosignatures: None }))
                }
                Some((Outcome::Refused(refusal), (id, statement))) => {
                    self.reject(Refused::by(refusal.fault.rule, refusal.size, *id, *statement))
                }
                None => Err(Kind::Unreadable.because("the log gave fewer answers than it got records")),
            },
        };
        slots.into_iter().map(answer).collect()
    }

    fn reject(&self, refused: Refused) -> Result<Answer, Problem> {
        let failed = |why: String| Kind::LogFailed.because(format!("the rejection can't be signed: {why}"));
        let label = |text: &str| Label::new(text).ok_or_else(|| failed(format!("{text:?} is no label")));
        let code = refused.code.to_owned();
        let body = Rejection {
            code: label(refused.code)?,
            id: refused.id,
            rule: label(refused.rule)?,
            size: Count::new(refused.size).ok_or_else(|| failed("the log is full".to_owned()))?,
            statement: refused.statement,
        };
        let draft = Draft {
            place: Place::Single { log: self.log },
            time: Millis::new(now()).ok_or_else(|| failed("the clock is wrong".to_owned()))?,
            principal: self.signer.principal().clone(),
            role: Role::Log,
            body: body.into(),
        };
        let rejection = draft.sign(&*self.signer).map_err(|error| failed(with_causes(&error)))?;
        Ok(Answer::Rejected { rejection: Box::new(rejection), code })
    }
}

impl Refused {
    fn by(rule: Rule, size: u64, id: RecordId, statement: Statement) -> Self {
        Self { id: Some(id), statement: Some(statement), code: rule.code(), rule: rule.id(), size }
    }
}

/// Milliseconds since 1970. The one clock of the server.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What records say of the payloads that they name.
#[derive(Debug, Default)]
pub(crate) struct Stated {
    /// Of each its labels and, for an item, the sizes.
    pub payloads: BTreeMap<Commitment, BTreeSet<(String, Option<u64>)>>,
    /// Of each item set how many items it has.
    pub sets: BTreeMap<Root, BTreeSet<u64>>,
}

impl Stated {
    /// Notes what a record says.
    pub(crate) fn note(&mut self, record: &UnverifiedRecord) {
        for (commitment, label, size) in payloads_named(record) {
            self.payloads.entry(commitment).or_default().insert((label, size));
        }
        for (root, items) in sets_named(record) {
            self.sets.entry(root).or_default().insert(items);
        }
    }

    /// Whether every record that names this payload says of it what it is: a reader refuses it otherwise.
    pub(crate) fn fit(&self, payload: &PayloadLine) -> Result<(), String> {
        let found = &payload.commitment;
        if let Some(set) = &payload.set {
            let (root, items) = (set.root, set.items.get());
            let other =
                self.sets.get(&root).and_then(|stated| stated.iter().find(|stated| **stated != items));
            return other.map_or(Ok(()), |stated| {
                Err(format!("payload {found}: its set {root} has {items} items, a record says {stated}"))
            });
        }
        let (label, size) = (payload.label.as_str(), payload.content.0.len() as u64);
        let differs = |(stated, length): &&(String, Option<u64>)| {
            stated != label || length.is_some_and(|length| length != size)
        };
        let other = self.payloads.get(found).and_then(|stated| stated.iter().find(differs));
        let Some((stated, length)) = other else { return Ok(()) };
        let length = length.map_or_else(String::new, |length| format!(" of {length} bytes"));
        Err(format!(
            "payload {found}: it is {label:?} of {size} bytes, a record names it as {stated:?}{length}"
        ))
    }
}

/// A line without its line feed.
fn to_line<T: counterfoil_receipt::field::Field>(line: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_line(line, &mut bytes);
    bytes.pop();
    bytes
}
