//! The fold: the state that all earlier entries make, and one step of it (`spec/runs.md`).
//!
//! The fold is total: an entry that breaks a rule is reported and changes nothing. It takes no time but log time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use counterfoil_policy::Policy;
use counterfoil_receipt::{
    Body, PolicyDigest, PublicKey, RecordId, RunId, Statement, UnverifiedRecord,
    body::{Genesis, Policy as PolicyBody, Type},
    field::Millis,
};

use crate::{
    conduct,
    delegation::{self, Delegations},
    execution,
    fault::{Fault, Shown},
    keys::{self, Keys},
    place,
    proposals::Proposals,
    record::{self, Record, Remembered},
    rule::Rule,
    run::Run,
    snapshot, timer,
};

/// Which entries a state was folded from: what decides whether absence is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every entry from 0 on: what is absent does not exist.
    Complete,
    /// Only the entries that a bundle shows: what is absent was not shown.
    Shown,
}

/// Where the fold learns the log's root at an earlier size.
pub trait Roots {
    /// The root of the tree of this size, if it is known.
    fn root_at(&self, size: u64) -> Option<[u8; 32]>;
}

/// What an admitted entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It took effect.
    Took,
    /// It is authentic and logged, and changes nothing, for this reason.
    None(String),
    /// It waits for further authority signatures.
    Waits,
}

/// The state of a log after a number of entries.
#[derive(Clone, Debug)]
pub struct State {
    scope: Scope,
    pub(crate) log: Option<GenesisFacts>,
    statements: HashSet<Statement>,
    pub(crate) entries: HashMap<RecordId, Entry>,
    pub(crate) keys: Keys,
    pub(crate) delegations: Delegations,
    pub(crate) policies: Vec<PolicyInForce>,
    pub(crate) policy_head: Option<RecordId>,
    /// Whether there is a policy record of which it is not shown that it holds: what is in force is then not shown either.
    pub(crate) policy_in_doubt: bool,
    documents: HashMap<PolicyDigest, Vec<u8>>,
    pub(crate) runs: HashMap<RunId, Run>,
    pub(crate) proposals: Proposals,
    /// The index of the last entry about policy or keys.
    pub(crate) ruled: u64,
    pub(crate) last_snapshot: Option<SnapshotFacts>,
    /// Proposals and executions since the last snapshot: the next one gives them their log time.
    pub(crate) awaiting_log_time: Vec<(RunId, RecordId)>,
    /// Records since the last snapshot whose keys have a validity: the next one shows that the last was the one before them.
    judged_by_log_time: Vec<(u64, RecordId)>,
    /// Those of which the next snapshot did not show it.
    untimed: Vec<(u64, RecordId)>,
    /// Policies that were read.
    checked: Remembered,
}

/// What the genesis fixes.
#[derive(Clone, Debug)]
pub(crate) struct GenesisFacts {
    pub id: RecordId,
    pub body: Genesis,
}

/// The last snapshot that was folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotFacts {
    pub id: RecordId,
    pub time: Millis,
}

/// What is kept of every entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub index: u64,
    pub kind: Type,
    pub run: Option<RunId>,
    /// `None`: the entry took its place in the fold.
    pub fault: Option<Shown>,
}

/// A policy from the index on at which it took effect.
#[derive(Clone, Debug)]
pub(crate) struct PolicyInForce {
    /// The index at which it took effect.
    pub from: u64,
    pub digest: PolicyDigest,
    pub policy: Arc<Policy>,
}

impl State {
    /// The state before entry 0.
    pub fn new(scope: Scope) -> Self {
        Self::remembering(scope, Remembered::default())
    }

    /// The same, which reads no policy anew that was read before.
    pub(crate) fn remembering(scope: Scope, checked: Remembered) -> Self {
        Self {
            scope,
            log: None,
            statements: HashSet::new(),
            entries: HashMap::new(),
            keys: Keys::default(),
            delegations: Delegations::default(),
            policies: Vec::new(),
            policy_head: None,
            policy_in_doubt: false,
            documents: HashMap::new(),
            runs: HashMap::new(),
            proposals: Proposals::default(),
            ruled: 0,
            last_snapshot: None,
            awaiting_log_time: Vec::new(),
            judged_by_log_time: Vec::new(),
            untimed: Vec::new(),
            checked,
        }
    }

    /// Makes room for so many entries.
    pub(crate) fn expect(&mut self, entries: usize) {
        self.entries.reserve(entries);
        self.statements.reserve(entries);
    }

    /// Folds one entry: checks every positional rule at `index`, then applies the record.
    ///
    /// # Errors
    /// The first rule that does not hold; the entry then changes nothing but its own standing.
    pub fn fold(&mut self, record: &Record, index: u64, roots: &dyn Roots) -> Result<Effect, Fault> {
        self.admit(record, index, roots).inspect_err(|fault| self.set_aside(record, index, fault.shown))
    }

    /// Folds one entry as [`State::fold`] does, if every rule holds. Otherwise it is no entry, and the state is as before.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn admit(&mut self, record: &Record, index: u64, roots: &dyn Roots) -> Result<Effect, Fault> {
        self.check(record, index, roots)?;
        let entry = Entry { index, kind: record.kind(), run: record.run(), fault: None };
        // A repeated record keeps the standing of its first entry.
        self.entries.entry(record.id()).or_insert(entry);
        self.statements.insert(record.statement());
        Ok(self.apply(record, index))
    }

    /// Folds an entry without checking its signature. Every positional rule is checked.
    ///
    /// For a log that replays its own journal, after the bytes gave the root of a checkpoint that it signed itself: it checked
    /// the signature before it signed, and other bytes give another root. And for whoever signed the record and looks at what the
    /// state would be, where nothing rests on that before a log has shown it. Whoever reads a log of somebody else needs
    /// [`check_signature`](crate::check_signature), because there the log's word stands for no signer.
    ///
    /// # Errors
    /// As [`State::fold`].
    pub fn replay(
        &mut self,
        record: UnverifiedRecord,
        index: u64,
        roots: &dyn Roots,
    ) -> Result<Effect, Fault> {
        self.fold(&record::checked_before(record), index, roots)
    }

    /// Notes an entry that is no part of the fold, so that what names it can be judged.
    pub(crate) fn set_aside(&mut self, record: &UnverifiedRecord, index: u64, shown: Shown) {
        let entry = Entry { index, kind: record.kind(), run: record.run(), fault: Some(shown) };
        self.entries.entry(record.id()).or_insert(entry);
        if shown == Shown::NotShown {
            timer::leave_in_doubt(self, record, index);
            conduct::leave_in_doubt(self, record);
            // An endorsement may be what lets a policy in doubt take effect.
            let is_policy = |id| self.entries.get(id).is_some_and(|entry| entry.kind == Type::Policy);
            self.policy_in_doubt |= match record.body() {
                Body::Policy(_) => true,
                Body::Endorsement(body) => is_policy(&body.candidate),
                _ => false,
            };
        }
    }

    /// Whether an entry could be folded at `index`, without folding it.
    ///
    /// # Errors
    /// The first rule that does not hold, in the order: place, signer, chain, body.
    pub fn check(&self, record: &Record, index: u64, roots: &dyn Roots) -> Result<(), Fault> {
        place::log_is_this(self, record)?;
        place::genesis_is_first(record, index)?;
        place::is_an_entry(record)?;
        self.statement_is_new(record)?;
        if let Body::Genesis(body) = record.body() {
            return keys::genesis_signer_is_root(body, record);
        }
        keys::signer_may_sign(self, record.author(), index)?;
        place::log_limits_hold(self, record)?;
        place::run_is_known(self, record)?;
        place::parents_are_earlier(self, record)?;
        place::parents_are_of_the_run(self, record)?;
        place::references_are_earlier(self, record)?;
        place::prev_is_head(self, record)?;
        place::basis_is_in_range(self, record, index)?;
        place::basis_is_no_fork(record, roots)?;
        match record.body() {
            Body::Snapshot(body) => snapshot::check(self, body, record.time(), index),
            Body::Keyring(body) => keys::change_is_sound(self, body),
            Body::Policy(body) => self.read_policy(body).map(|_| ()),
            Body::Endorsement(body) => keys::candidate_waits(self, body, record),
            Body::Revocation(body) => keys::revocation_is_sound(self, body, record.author()),
            Body::Delegation(body) => delegation::check(self, body, record),
            Body::Execution(body) => execution::check(self, body, record),
            _ => conduct::check(self, record),
        }
    }

    /// Gives the fold a policy document that a policy record names by digest.
    pub fn add_document(&mut self, document: Vec<u8>) -> PolicyDigest {
        let digest = PolicyDigest::of(&document);
        self.documents.insert(digest, document);
        digest
    }

    /// Takes a policy document back that [`State::add_document`] gave, because no record that was folded names it.
    pub fn remove_document(&mut self, digest: &PolicyDigest) {
        self.documents.remove(digest);
    }

    /// Whether this policy document is at hand.
    pub fn has_document(&self, digest: &PolicyDigest) -> bool {
        self.documents.contains_key(digest)
    }

    /// What a key signed in a range that a revocation disputes, if there is such (R-KEY-09): then it is not shown who signed that.
    pub fn disputed(&self) -> Option<Fault> {
        self.keys().into_iter().find_map(|(_, facts)| keys::disputed(facts))
    }

    /// What kind of record an entry is.
    pub fn kind_of(&self, record: &RecordId) -> Option<Type> {
        self.entries.get(record).map(|entry| entry.kind)
    }

    /// The run with this id, if its trigger was folded.
    pub fn run(&self, run: &RunId) -> Option<&Run> {
        self.runs.get(run)
    }

    /// Whether a record took its place in the fold.
    pub(crate) fn holds(&self, record: &RecordId) -> bool {
        self.entries.get(record).is_some_and(|entry| entry.fault.is_none())
    }

    /// The log index of an entry.
    pub fn index_of(&self, record: &RecordId) -> Option<u64> {
        self.entries.get(record).map(|entry| entry.index)
    }

    /// The id of the genesis, once it was folded.
    pub fn log(&self) -> Option<RecordId> {
        self.log.as_ref().map(|log| log.id)
    }

    /// What the genesis says.
    pub fn genesis(&self) -> Option<&Genesis> {
        self.log.as_ref().map(|log| &log.body)
    }

    /// The keyring as of the last entry.
    pub fn key(&self, key: &PublicKey) -> Option<&keys::KeyFacts> {
        self.keys.get(key)
    }

    /// Every key that was ever enrolled, in the order of their material.
    pub fn keys(&self) -> Vec<(PublicKey, &keys::KeyFacts)> {
        self.keys.all()
    }

    /// The groups that a principal belongs to after the last entry.
    pub fn groups(&self, principal: &counterfoil_receipt::Principal) -> &[counterfoil_receipt::text::Group] {
        self.keys.groups(principal)
    }

    /// The last keyring record of a principal, or the genesis: what the next one names as `prev`.
    pub fn keyring_head(&self, principal: &counterfoil_receipt::Principal) -> Option<RecordId> {
        self.keys.head(principal).or_else(|| self.log())
    }

    /// The last policy record, or the genesis.
    pub fn policy_head(&self) -> Option<RecordId> {
        self.policy_head.or_else(|| self.log())
    }

    /// The last snapshot, or the genesis.
    pub fn snapshot_head(&self) -> Option<RecordId> {
        self.last_snapshot.map(|snapshot| snapshot.id).or_else(|| self.log())
    }

    /// The digest of the policy in force after the last entry, and the policy.
    pub fn policy_in_force(&self) -> Option<(PolicyDigest, &Policy)> {
        self.policies.last().map(|policy| (policy.digest, &*policy.policy))
    }

    /// Every policy that came into force, the latest last, with the index of the entry from which on it was.
    pub fn policies(&self) -> impl DoubleEndedIterator<Item = (u64, PolicyDigest)> + ExactSizeIterator {
        self.policies.iter().map(|policy| (policy.from, policy.digest))
    }

    /// Log time: that of the last snapshot.
    pub fn log_time(&self) -> Option<Millis> {
        self.last_snapshot.map(|snapshot| snapshot.time)
    }

    /// What R-KEY-06 means for a bundle: records whose keys have a validity, and of which no snapshot after them shows that
    /// the last one shown before them was the last before them.
    pub(crate) fn untimed(&self) -> impl Iterator<Item = (u64, RecordId)> {
        self.untimed.iter().chain(&self.judged_by_log_time).copied()
    }

    /// Whether absence is known.
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// A fault about something that is absent: a violation if every entry was folded, otherwise not shown.
    pub(crate) fn absent(&self, rule: Rule, detail: impl Into<String>) -> Fault {
        match self.scope {
            Scope::Complete => Fault::violated(rule, detail),
            Scope::Shown => Fault::not_shown(rule, detail),
        }
    }

    /// R-LOG-03: no earlier entry has the same statement.
    fn statement_is_new(&self, record: &Record) -> Result<(), Fault> {
        if !self.statements.contains(&record.statement()) {
            return Ok(());
        }
        let detail = format!("statement {} was logged before", record.statement());
        Err(Fault::violated(Rule::StatementRepeated, detail))
    }

    /// R-POL-01: the policy document is in a language of this version, matches its digest, and is well formed.
    pub(crate) fn read_policy(&self, body: &PolicyBody) -> Result<(PolicyDigest, Arc<Policy>), Fault> {
        let (digest, read) = match body {
            PolicyBody::Document(document) => {
                let digest = PolicyDigest::of(document.as_str().as_bytes());
                (digest, self.checked.policy(digest, || Policy::of(document)))
            }
            PolicyBody::Digest(digest) => {
                let document = self.documents.get(digest).ok_or_else(|| {
                    Fault::not_shown(
                        Rule::PolicyUnreadable,
                        format!("body.digest: no document {digest} is at hand"),
                    )
                })?;
                (*digest, self.checked.policy(*digest, || Policy::parse(document)))
            }
        };
        let policy = read.map_err(|why| Fault::violated(Rule::PolicyUnreadable, format!("body: {why}")))?;
        Ok((digest, policy))
    }

    fn apply(&mut self, record: &Record, index: u64) -> Effect {
        if self.keys.get(&record.author().key).is_some_and(keys::KeyFacts::has_validity) {
            self.judged_by_log_time.push((index, record.id()));
        }
        self.keys.note_signature(&record.author().key, index);
        if matches!(record.kind(), Type::Policy | Type::Keyring | Type::Endorsement | Type::Revocation) {
            self.ruled = index;
        }
        match record.body() {
            Body::Genesis(body) => {
                self.keys.start(body);
                self.log = Some(GenesisFacts { id: record.id(), body: (**body).clone() });
                Effect::Took
            }
            Body::Snapshot(_) => {
                let snapshot = SnapshotFacts { id: record.id(), time: record.time() };
                let follows = place::prev_follows_last_snapshot(self, record);
                self.last_snapshot = Some(snapshot);
                let judged = std::mem::take(&mut self.judged_by_log_time);
                self.untimed.extend(judged.into_iter().filter(|_| !follows));
                for (run, id) in std::mem::take(&mut self.awaiting_log_time) {
                    if let Some(run) = self.runs.get_mut(&run).filter(|_| follows) {
                        run.set_log_time(&id, record.time());
                    }
                }
                Effect::Took
            }
            Body::Policy(_) => {
                self.policy_head = Some(record.id());
                keys::propose(self, record, index)
            }
            Body::Keyring(_) | Body::Endorsement(_) | Body::Revocation(_) => keys::apply(self, record, index),
            Body::Delegation(body) => delegation::apply(self, record, body, index),
            Body::Rejection(_) => Effect::None("a rejection is no entry".to_owned()),
            Body::Trigger(_)
            | Body::Observation(_)
            | Body::Proposal(_)
            | Body::Decision(_)
            | Body::Escalation(_)
            | Body::Cancel(_)
            | Body::Execution(_)
            | Body::Outcome(_)
            | Body::Refusal(_)
            | Body::Settlement(_)
            | Body::Handoff(_) => conduct::apply(self, record, index),
        }
    }
}
