//! What the log holds: records, admitted by the rules that a reader will apply to them (`spec/log.md`).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use counterfoil_keys::RecordKey;
use counterfoil_log::{Application, BoxError, Place as BatchPlace, Position, RootAt, Row};
use counterfoil_receipt::{
    Body, Draft, MapRoot, Place, PolicyDigest, PublicKey, RecordId, Role, UnverifiedRecord,
    body::{RevocationTarget, Ruling, Snapshot, Type},
    field::{Count, Millis, Whole},
    limits::PARENTS,
};
use counterfoil_tlog::{Hash, LeafIndex, TreeSize};
use counterfoil_verify::{Fault, KeyCache, Record, Roots, Rule, Run, Scope, Shown, State, check_signature};

use crate::{
    payloads::{Kept, Payloads},
    quota::Payer,
    rows::{document_named, rows_of},
    timekeeper::Touched,
};

/// The state folded from every entry, and what writes the leaf that ends a batch.
pub(crate) struct Records {
    state: State,
    signer: Arc<RecordKey>,
    enrolled: Enrolled,
    payloads: Arc<Payloads>,
    cache: KeyCache,
    touched: Touched,
}

/// A record whose signature holds, on its way into the log.
pub(crate) struct Submission {
    /// The record.
    pub record: Record,
    /// The policy document that it names by digest.
    pub document: Option<Vec<u8>>,
    /// A record of the authority that was submitted with it, before it, and that may be what entitles its signer.
    pub after: Option<RecordId>,
}

/// A record that was not admitted: why, and after how many entries.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The rule that it breaks.
    pub fault: Fault,
    /// The size of the tree at that time.
    pub size: u64,
}

/// The keys that were ever enrolled, and who answers for what they sign. Shared, so that whoever has none is turned away before a
/// signature is checked.
#[derive(Clone, Default)]
pub(crate) struct Enrolled(Arc<RwLock<HashMap<PublicKey, Payer>>>);

impl Enrolled {
    /// Whose quota this key uses, if it was ever enrolled, as of the last entry that was folded.
    pub(crate) fn payer(&self, key: &PublicKey) -> Option<Payer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

impl Records {
    /// The state before entry 0.
    pub(crate) fn new(
        signer: Arc<RecordKey>,
        enrolled: Enrolled,
        payloads: Arc<Payloads>,
        touched: Touched,
    ) -> Self {
        let state = State::new(Scope::Complete);
        Self { state, signer, enrolled, payloads, cache: KeyCache::default(), touched }
    }

    /// The state after the last entry.
    pub(crate) const fn state(&self) -> &State {
        &self.state
    }

    /// Gives the state the document that a policy record names by digest; the digest, if it was not there before.
    ///
    /// A record whose document did not come with it, and is not kept, is refused even if the state remembers the document: after
    /// a restart nothing would.
    fn bring_document(&mut self, entry: &Submission) -> Result<Option<PolicyDigest>, Fault> {
        let Some(digest) = document_named(&entry.record) else { return Ok(None) };
        let Some(document) = &entry.document else {
            let detail = format!("body.digest: the document {digest} was not submitted");
            return Err(Fault { rule: Rule::PolicyUnreadable, shown: Shown::Violated, detail });
        };
        if self.state.has_document(&digest) {
            return Ok(None);
        }
        Ok(Some(self.state.add_document(document.clone())))
    }

    /// Notes the keys that there are after a record that may have changed them.
    fn note_keys(&self) {
        let keys = self.state.keys().into_iter().map(|(key, facts)| {
            let is_live = facts.retired.is_none() && facts.revoked.is_none();
            (key, if is_live { Payer::Principal(facts.principal.clone()) } else { Payer::Key(key) })
        });
        let keys = keys.collect();
        *self.enrolled.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Folds a record that was not an entry before, or leaves the state as it is.
    fn fold(&mut self, record: &Record, at: Position, roots: &dyn Roots) -> Result<(), Fault> {
        if let Err(late) = execution_is_in_time(&self.state, record, at.time) {
            // What else it breaks comes first.
            self.state.check(record, at.index.0, roots)?;
            return Err(late);
        }
        self.state.admit(record, at.index.0, roots)?;
        self.note(record);
        Ok(())
    }

    /// Tells others what a record that was folded may have changed.
    fn note(&self, record: &UnverifiedRecord) {
        if changes_keys(record) {
            self.note_keys();
        }
        match record.run() {
            Some(run) => self.touched.run(run),
            None if changes_keys(record) || record.kind() == Type::Policy => self.touched.all(),
            None => {}
        }
    }

    fn snapshot(&self, at: Position) -> Result<UnverifiedRecord, BoxError> {
        let (log, prev) = self.state.log().zip(self.state.snapshot_head()).ok_or("the log has no genesis")?;
        let index = Count::new(at.index.0).ok_or("the log is full")?;
        let fold = Whole::new(0).ok_or("the fold version is no number")?;
        let draft = Draft {
            place: Place::Chain { log, prev },
            time: Millis::new(at.time).ok_or("log time is out of range")?,
            principal: self.signer.principal().clone(),
            role: Role::Log,
            body: Snapshot { fold, index, map: MapRoot::empty() }.into(),
        };
        Ok(draft.sign(&*self.signer)?)
    }
}

impl Application for Records {
    type Entry = Submission;
    type Refusal = Refusal;
    const PROJECTION: u32 = 4;

    /// What can stop an execution goes first (`spec/log.md`, "Order within a batch").
    fn place(&self, entry: &Submission) -> BatchPlace {
        let stops = match entry.record.body() {
            Body::Revocation(_) | Body::Cancel(_) => true,
            Body::Decision(body) => body.verdict != Ruling::Approve,
            _ => false,
        };
        let named = names(&entry.record).into_iter().chain(entry.after);
        BatchPlace { priority: u8::from(!stops), after: named.map(|id| Hash::from(*id.as_bytes())).collect() }
    }

    fn admit(&mut self, entry: &Submission, at: Position, roots: &dyn RootAt) -> Result<(), Refusal> {
        let brought = self.bring_document(entry);
        let folded = brought.clone().and_then(|_| self.fold(&entry.record, at, &LogRoots(roots)));
        if let (Err(_), Ok(Some(digest))) = (&folded, brought) {
            self.state.remove_document(&digest);
        }
        folded.map_err(|fault| Refusal { fault, size: at.index.0 })
    }

    fn seal(&mut self, at: Position) -> Result<Option<Vec<u8>>, BoxError> {
        let snapshot = self.snapshot(at)?;
        let bytes = snapshot.bytes().to_vec();
        let snapshot = check_signature(snapshot, &mut self.cache).map_err(|(_, fault)| fault)?;
        self.state.admit(&snapshot, at.index.0, &NoRoots)?;
        Ok(Some(bytes))
    }

    /// Form and the rules of the place are checked again. Signatures are not: before this log signed the checkpoint whose root
    /// these bytes give, it admitted them. Nor is the log time of an execution, which a reader judges by the snapshot.
    fn replay(&mut self, entry: &[u8], at: Position, roots: &dyn RootAt) -> Result<(), BoxError> {
        let record = UnverifiedRecord::parse(entry)?;
        if let Some(digest) = document_named(&record) {
            let document = self.payloads.get_document(&digest)?;
            let missing = || format!("{} is missing: bring it back from a backup", Kept::Document(digest));
            self.state.add_document(document.ok_or_else(missing)?);
        }
        let changes_keys = changes_keys(&record);
        self.state.replay(record, at.index.0, &LogRoots(roots))?;
        if changes_keys {
            self.note_keys();
        }
        self.touched.all();
        Ok(())
    }

    fn project(entry: &[u8], index: LeafIndex) -> Vec<Row> {
        UnverifiedRecord::parse(entry).map_or_else(|_| Vec::new(), |record| rows_of(&record, index.0))
    }
}

/// What a record that is added to a run names as its parents: its heads, the latest of them.
pub(crate) fn heads_of(state: &State, run: &Run) -> Vec<RecordId> {
    let mut heads: Vec<RecordId> = run.heads().iter().copied().collect();
    heads.sort_by_key(|head| std::cmp::Reverse(state.index_of(head)));
    heads.truncate(PARENTS);
    heads.sort_unstable();
    heads
}

/// Whether a record may enrol or end a key, or complete what does.
fn changes_keys(record: &UnverifiedRecord) -> bool {
    matches!(record.body(), Body::Genesis(_) | Body::Keyring(_) | Body::Endorsement(_) | Body::Revocation(_))
}

/// R-EXEC-08, for the log time that the execution is about to get: its batch's, which its snapshot will state.
fn execution_is_in_time(state: &State, record: &Record, time: u64) -> Result<(), Fault> {
    let Body::Execution(body) = record.body() else { return Ok(()) };
    let Some(run) = record.run().and_then(|run| state.run(&run)) else { return Ok(()) };
    for (from, until) in state.windows(run, body) {
        if !(from..=until).contains(&time) {
            let detail = format!("log time: {time} lies outside the approved window, {from} to {until}");
            return Err(Fault { rule: Rule::WindowClosed, shown: Shown::Violated, detail });
        }
    }
    Ok(())
}

/// Every record that a record names: none of them may stand after it.
fn names(record: &UnverifiedRecord) -> Vec<RecordId> {
    let mut ids = record.parents().to_vec();
    match record.place() {
        Place::Run { run, .. } => ids.push(run.trigger()),
        Place::Chain { prev, .. } => ids.push(*prev),
        Place::Root | Place::Single { .. } => {}
    }
    match record.body() {
        Body::Endorsement(body) => ids.push(body.candidate),
        Body::Revocation(body) => match body.target {
            RevocationTarget::Delegation(id) => ids.push(id),
            RevocationTarget::Key(_) => {}
        },
        Body::Proposal(body) => ids.extend(body.supersedes.iter().chain(&body.delegation)),
        Body::Decision(body) => ids.push(body.proposal),
        Body::Escalation(body) => ids.push(body.proposal),
        Body::Cancel(body) => ids.push(body.target),
        Body::Execution(body) => {
            ids.push(body.proposal);
            ids.extend(body.decisions.iter().chain(&body.retries));
        }
        Body::Outcome(body) => ids.push(body.execution),
        Body::Refusal(body) => {
            ids.extend(body.proposal);
            ids.extend(body.decisions.iter().flat_map(|ids| ids.iter()));
        }
        Body::Settlement(body) => ids.push(body.execution),
        Body::Handoff(body) => ids.extend(body.open.iter()),
        Body::Genesis(_)
        | Body::Snapshot(_)
        | Body::Keyring(_)
        | Body::Policy(_)
        | Body::Delegation(_)
        | Body::Trigger(_)
        | Body::Observation(_)
        | Body::Rejection(_) => {}
    }
    ids
}

impl AsRef<[u8]> for Submission {
    fn as_ref(&self) -> &[u8] {
        self.record.bytes()
    }
}

/// The log's tree, as the fold asks for it.
struct LogRoots<'a>(&'a dyn RootAt);

impl Roots for LogRoots<'_> {
    fn root_at(&self, size: u64) -> Option<[u8; 32]> {
        self.0.root_at(TreeSize(size)).map(|root| *root.as_bytes())
    }
}

/// For records that have no basis.
struct NoRoots;

impl Roots for NoRoots {
    fn root_at(&self, _: u64) -> Option<[u8; 32]> {
        None
    }
}
