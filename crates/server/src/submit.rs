//! Submitting: from the lines of a request to an answer for each record (`spec/http.md`, "Records").
//!
//! What needs no state is checked here, beside the log's one writer: form, whether the key was ever enrolled, signature.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use counterfoil_keys::RecordKey;
use counterfoil_log::{Handle, Logged, Outcome};
use counterfoil_receipt::{
    Commitment, Draft, Malformed, Place, PolicyDigest, PublicKey, RecordId, Role, Statement,
    UnverifiedRecord,
    body::{Body, KeyChange, Rejection},
    bundle::{DocumentLine, PayloadLine, read_line, write_line},
    field::{Count, Millis},
    limits::RECORD_BYTES,
    text::Label,
};
use counterfoil_tlog::Hash;
use counterfoil_verify::{KeyCache, Lookup as _, Record, Rule, check_signature};
use tokio::sync::oneshot;

use crate::{
    limits,
    payloads::{Payloads, Staged},
    problem::{Kind, Problem, with_causes},
    records::{Enrolled, Records, Refusal, Submission},
    rows::{Index, Name, document_named, names_kept, payloads_named},
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
    /// Signs rejections; the key that signs snapshots too.
    pub signer: Arc<RecordKey>,
}

/// The lines of one request.
#[derive(Default)]
pub(crate) struct Batch {
    records: Vec<Vec<u8>>,
    payloads: HashMap<Commitment, PayloadLine>,
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
    /// Where, and a checkpoint that covers it.
    pub logged: Logged,
    /// The inclusion proof in the tree of that checkpoint.
    pub proof: Vec<Hash>,
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
        Self { records: vec![record], ..Self::default() }
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
            if payload.set.is_some() {
                return Err("set: a submitted payload has no such member".to_owned());
            }
            let computed = payload.clone().into_opening().commitment();
            if computed != payload.commitment {
                return Err(format!("claims to open {}, opens {computed}", payload.commitment));
            }
            self.payloads.insert(computed, payload);
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

impl Submitter {
    /// Submits a batch and answers for each of its records. Runs to its end, even if nobody waits for it any more.
    pub(crate) async fn submit(self: Arc<Self>, batch: Batch) -> Result<Vec<Answer>, Problem> {
        let submitter = Arc::clone(&self);
        let prepared = crate::app::blocking(move || submitter.prepare(batch)).await?;
        let Prepared { submissions, slots, staged, named_before } = prepared;
        let named: Vec<Vec<Name>> =
            submissions.iter().map(|submission| names_kept(&submission.record)).collect();
        let ids: Vec<_> = submissions
            .iter()
            .map(|submission| (submission.record.id(), submission.record.statement()))
            .collect();
        let (reply, answer) = oneshot::channel();
        // Whoever waits for the answer is this task.
        self.handle.submit(submissions, move |outcomes| drop(reply.send(outcomes)));
        let outcomes = answer.await.unwrap_or(Err(counterfoil_log::AddError::Closed))?;
        crate::app::blocking(move || {
            let mut kept = named_before;
            let logged = |outcome: &Outcome<Refusal>| !matches!(outcome, Outcome::Refused(_));
            let admitted = outcomes.iter().zip(named).filter(|(outcome, _)| logged(outcome));
            kept.extend(admitted.flat_map(|(_, names)| names));
            self.payloads
                .keep(staged.into_iter().filter(|staged| kept.contains(&staged.name())).collect())?;
            self.answers(slots, outcomes, &ids)
        })
        .await
    }

    /// Checks what needs no state, and makes durable what the records name.
    fn prepare(&self, mut batch: Batch) -> Result<Prepared, Problem> {
        let mut submissions: Vec<Submission> = Vec::new();
        let mut slots = Vec::new();
        let mut brought = HashSet::new();
        let mut authority = None;
        for bytes in std::mem::take(&mut batch.records) {
            let checked = self.check(&bytes, &brought);
            slots.push(match checked {
                Err(refused) => Err(refused),
                Ok(record) => {
                    if let Body::Keyring(body) = record.body()
                        && body.change != KeyChange::Retire
                    {
                        brought.insert(body.key);
                    }
                    let document = self.document_for(&record, &batch)?;
                    let is_authoritys = record.author().role == Role::Authority;
                    let after = if is_authoritys { authority.replace(record.id()) } else { authority };
                    submissions.push(Submission { record, document, after });
                    Ok(())
                }
            });
        }
        let (staged, named_before) = self.stage(batch, &submissions)?;
        Ok(Prepared { submissions, slots, staged, named_before })
    }

    /// Form; then whether the key is one that this log or this batch has enrolled; then the signature, which costs most.
    fn check(&self, bytes: &[u8], brought: &HashSet<PublicKey>) -> Result<Record, Refused> {
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
        if !self.enrolled.contains(&key) && !brought.contains(&key) {
            return Err(refused(Rule::KeyUnknown));
        }
        thread_local!(static CACHE: RefCell<KeyCache> = RefCell::default());
        let checked =
            CACHE.with_borrow_mut(|cache| check_signature(record, cache).map_err(|(_, fault)| fault.rule));
        checked.map_err(refused)
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
        let mut bring = |name: Name, line: Vec<u8>| -> Result<(), Problem> {
            let is_named_before = self.index.naming(name)?.is_some();
            if is_named_before {
                named_before.insert(name);
            }
            if (is_named_before || named_now.contains(&name)) && !self.payloads.has(name)? {
                lines.push((name, line));
            }
            Ok(())
        };
        let stated = submissions.iter().flat_map(|submission| payloads_named(&submission.record));
        let stated = stated.fold(HashMap::<_, Vec<_>>::new(), |mut stated, (commitment, label, size)| {
            stated.entry(commitment).or_default().push((label, size));
            stated
        });
        for (commitment, payload) in batch.payloads {
            let now = stated.get(&commitment).into_iter().flatten().cloned();
            let before = self.stated_before(&commitment)?;
            payload_fits(&payload, &now.chain(before).collect::<Vec<_>>())
                .map_err(|why| Kind::BodyUnreadable.because(why))?;
            bring(Name::Payload(commitment), to_line(&payload))?;
        }
        for (digest, document) in batch.documents {
            bring(Name::Document(digest), to_line(&document))?;
        }
        Ok((self.payloads.stage(&lines)?, named_before))
    }

    /// What the last entry that names a payload says of it.
    fn stated_before(&self, payload: &Commitment) -> Result<Vec<(String, Option<u64>)>, Problem> {
        let Some(index) = self.index.naming(Name::Payload(*payload))? else { return Ok(Vec::new()) };
        let named = payloads_named(&self.index.record(index)?).into_iter();
        Ok(named
            .filter(|(commitment, ..)| commitment == payload)
            .map(|(_, label, size)| (label, size))
            .collect())
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
                    let proof =
                        self.index.reader().inclusion_proof(logged.index, logged.checkpoint.head.size)?;
                    Ok(Answer::Included(Inclusion { logged, proof }))
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

/// Whether the records say of a payload what it is: a reader refuses it otherwise.
pub(crate) fn payload_fits(payload: &PayloadLine, stated: &[(String, Option<u64>)]) -> Result<(), String> {
    let (label, size) = (payload.label.as_str(), payload.content.0.len() as u64);
    let differs = |(stated, length): &&(String, Option<u64>)| {
        stated != label || length.is_some_and(|length| length != size)
    };
    let Some((stated, length)) = stated.iter().find(differs) else { return Ok(()) };
    let length = length.map_or_else(String::new, |length| format!(" of {length} bytes"));
    Err(format!(
        "payload {}: it is {label:?} of {size} bytes, a record names it as {stated:?}{length}",
        payload.commitment
    ))
}

/// A line without its line feed.
fn to_line<T: counterfoil_receipt::field::Field>(line: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_line(line, &mut bytes);
    bytes.pop();
    bytes
}
