//! Making a bundle: which entries it needs, and its lines (`spec/bundle.md`).

use std::collections::{BTreeSet, HashMap, HashSet};

use counterfoil_receipt::{
    Body, Place, Principal, RecordId, RunId, UnverifiedRecord,
    body::{Audience, RevocationTarget, Type},
    bundle::{
        CheckpointLine, DocumentLine, EndLine, Format, Header, PayloadLine, PositionLine, ProofHash,
        ProofHashes, write_line,
    },
    field::{Count, List, Whole},
    limits,
    text::Group,
};
use counterfoil_tlog::Hash;

/// What entries are found by: a projection that a log keeps, and rebuilds from its entries at will.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IndexKey {
    /// The records of a run, its trigger included.
    Run(RunId),
    /// The keyring records of a principal.
    Principal(Principal),
    /// The keyring records that put a principal into a group.
    Group(Group),
    /// The revocations of a key, by its material.
    Key([u8; 32]),
    /// The endorsements of a record.
    Candidate(RecordId),
    /// A delegation and its revocations.
    Delegation(RecordId),
    /// Every policy record.
    Policy,
    /// Every snapshot.
    Snapshot,
}

/// Entries by [`IndexKey`], and their bytes.
pub trait Lookup {
    /// Why a lookup failed.
    type Error;

    /// The indices of the entries under `key` below `size`, ascending.
    ///
    /// # Errors
    /// As the store has them.
    fn indices(&self, key: &IndexKey, size: u64) -> Result<Vec<u64>, Self::Error>;

    /// The last snapshot below `index`, and the first at or above it.
    ///
    /// # Errors
    /// As the store has them.
    fn snapshots_around(&self, index: u64, size: u64) -> Result<(Option<u64>, Option<u64>), Self::Error>;

    /// The record at `index`.
    ///
    /// # Errors
    /// As the store has them.
    fn record(&self, index: u64) -> Result<UnverifiedRecord, Self::Error>;
}

/// The keys under which a log finds this record again.
pub fn index_keys(record: &UnverifiedRecord) -> Vec<IndexKey> {
    if let Some(run) = record.run() {
        return vec![IndexKey::Run(run)];
    }
    match record.body() {
        Body::Keyring(body) => {
            let groups = body.groups.iter().cloned().map(IndexKey::Group);
            groups.chain([IndexKey::Principal(body.principal.clone())]).collect()
        }
        Body::Revocation(body) => match &body.target {
            RevocationTarget::Key(key) => vec![IndexKey::Key(*key.material())],
            RevocationTarget::Delegation(id) => vec![IndexKey::Delegation(*id)],
        },
        Body::Delegation(_) => vec![IndexKey::Delegation(record.id())],
        Body::Endorsement(body) => vec![IndexKey::Candidate(body.candidate)],
        Body::Policy(_) => vec![IndexKey::Policy],
        Body::Snapshot(_) => vec![IndexKey::Snapshot],
        _ => Vec::new(),
    }
}

/// The indices of the entries that a bundle of `run` has in the tree of `size`: ascending, nothing missing, nothing more.
///
/// # Errors
/// As the lookup has them.
pub fn select<L: Lookup>(run: RunId, size: u64, lookup: &L) -> Result<Vec<u64>, L::Error> {
    let mut chosen = BTreeSet::from([0]);
    chosen.extend(lookup.indices(&IndexKey::Run(run), size)?);
    chosen.extend(lookup.indices(&IndexKey::Policy, size)?);
    chosen.extend(size.checked_sub(1));
    let mut todo: Vec<u64> = chosen.iter().copied().collect();
    let mut principals = BTreeSet::new();
    let mut timed = Timed::default();
    while let Some(index) = todo.pop() {
        let record = lookup.record(index)?;
        let mut found = Vec::new();
        for index in timed.note(&record, index) {
            let (before, after) = lookup.snapshots_around(index, size)?;
            found.extend(before.into_iter().chain(after));
        }
        if matches!(record.kind(), Type::Policy | Type::Keyring | Type::Delegation | Type::Revocation) {
            found.extend(lookup.indices(&IndexKey::Candidate(record.id()), size)?);
        }
        for principal in principals_of(&record) {
            if principals.insert(principal.clone()) {
                found.extend(lookup.indices(&IndexKey::Principal(principal), size)?);
            }
        }
        if let Body::Proposal(body) = record.body()
            && let Audience::Group(group) = &body.audience
        {
            found.extend(lookup.indices(&IndexKey::Group(group.clone()), size)?);
        }
        if let Some(delegation) = delegation_named(&record) {
            found.extend(lookup.indices(&IndexKey::Delegation(delegation), size)?);
        }
        for key in keys_of(&record) {
            found.extend(lookup.indices(&IndexKey::Key(key), size)?);
        }
        todo.extend(found.into_iter().filter(|index| chosen.insert(*index)));
    }
    Ok(chosen.into_iter().collect())
}

/// The delegation that a proposal acts under, or that a delegation narrows.
pub(crate) fn delegation_named(record: &UnverifiedRecord) -> Option<RecordId> {
    match (record.body(), record.place()) {
        (Body::Proposal(body), _) => body.delegation,
        (Body::Delegation(_), Place::Chain { prev, .. }) => Some(*prev),
        _ => None,
    }
}

/// Which records are judged by log time: executions, time-outs and escalations, the proposals that these name, and what a key signs
/// that was enrolled before with a validity.
#[derive(Default)]
struct Timed {
    /// Where each proposal stands, and which ones a timer names.
    proposals: HashMap<RecordId, u64>,
    awaited: HashSet<RecordId>,
    /// Where a keyring record first gives this key a validity.
    limited: HashMap<[u8; 32], u64>,
    /// What each key signed.
    signed: HashMap<[u8; 32], Vec<u64>>,
}

impl Timed {
    /// Takes a record in, in any order: the indices of records that are now known to be judged by log time.
    fn note(&mut self, record: &UnverifiedRecord, index: u64) -> Vec<u64> {
        let signer = *record.author().key.material();
        self.signed.entry(signer).or_default().push(index);
        let is_limited = self.limited.get(&signer).is_some_and(|from| *from < index);
        let mut timed = Vec::new();
        let awaited = timed_by_rule(record);
        let is_timed = is_limited || awaited.is_some() || record.kind() == Type::Execution;
        timed.extend(is_timed.then_some(index));
        if record.kind() == Type::Proposal {
            self.proposals.insert(record.id(), index);
            timed.extend(self.awaited.contains(&record.id()).then_some(index));
        }
        if let Some(proposal) = awaited.filter(|proposal| self.awaited.insert(*proposal)) {
            timed.extend(self.proposals.get(&proposal));
        }
        if let Some(key) = limited_key(record) {
            let from = self.limited.entry(key).or_insert(index);
            *from = index.min(*from);
            timed.extend(self.signed.get(&key).into_iter().flatten().filter(|signed| **signed > index));
        }
        timed
    }
}

/// The proposal that a time-out or an escalation names: both are placed in time.
pub fn timed_by_rule(record: &UnverifiedRecord) -> Option<RecordId> {
    match record.body() {
        Body::Decision(body) => body.rule.as_ref().map(|_| body.proposal),
        Body::Escalation(body) => Some(body.proposal),
        _ => None,
    }
}

/// The key that a keyring record enrols with a validity.
pub(crate) fn limited_key(record: &UnverifiedRecord) -> Option<[u8; 32]> {
    match record.body() {
        Body::Keyring(body) if body.not_before.is_some() || body.not_after.is_some() => {
            Some(*body.key.material())
        }
        _ => None,
    }
}

/// Whose keyring records a reader needs for this record: its signer's, and those of whom it names.
fn principals_of(record: &UnverifiedRecord) -> Vec<Principal> {
    let mut principals = vec![record.author().principal.clone()];
    match record.body() {
        Body::Genesis(body) => {
            let named = body.authority.roots.0.iter().chain([&body.log.snapshot]);
            principals.extend(named.map(|holder| holder.principal.clone()));
        }
        Body::Trigger(body) => principals.push(body.owner.principal.clone()),
        Body::Handoff(body) => principals.push(body.to.principal.clone()),
        Body::Decision(body) => principals.extend(body.approver.clone()),
        Body::Keyring(body) => principals.push(body.principal.clone()),
        Body::Proposal(body) => {
            if let Audience::Principal(principal) = &body.audience {
                principals.push(principal.clone());
            }
        }
        _ => {}
    }
    principals
}

/// Keys whose revocations a reader needs: those that a chosen record enrols.
fn keys_of(record: &UnverifiedRecord) -> Vec<[u8; 32]> {
    match record.body() {
        Body::Keyring(body) => vec![*body.key.material()],
        Body::Genesis(body) => {
            let roots = body.authority.roots.0.iter().chain([&body.log.snapshot]);
            roots.map(|root| *root.key.material()).collect()
        }
        _ => Vec::new(),
    }
}

/// Everything that a bundle is made of.
#[derive(Clone, Debug)]
pub struct Assembly {
    /// The id of the log's genesis.
    pub log: RecordId,
    /// The run.
    pub run: RunId,
    /// Signed notes by ascending size, each with its consistency proof to the last.
    pub checkpoints: Vec<(String, Vec<Hash>)>,
    /// Policy documents that chosen records name by digest, ascending by digest.
    pub documents: Vec<DocumentLine>,
    /// The chosen entries, ascending, as logged.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// The multiproof of the chosen indices: one segment before each entry, one after the last.
    pub segments: Vec<Vec<Hash>>,
    /// Payloads, ascending by commitment.
    pub payloads: Vec<PayloadLine>,
}

impl Assembly {
    /// Writes the bundle; `None` if a count lies over its limit.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let counts = [
            (self.checkpoints.len(), limits::CHECKPOINTS),
            (self.documents.len(), limits::DOCUMENTS),
            (self.payloads.len(), limits::PAYLOADS),
        ];
        if counts.iter().any(|(count, most)| *count as u64 > *most) {
            return None;
        }
        let mut out = Vec::new();
        let header = Header {
            checkpoints: Whole::new(self.checkpoints.len() as u64)?,
            documents: Whole::new(self.documents.len() as u64)?,
            entries: Whole::new(self.entries.len() as u64)?,
            format: Format,
            log: self.log,
            payloads: Whole::new(self.payloads.len() as u64)?,
            run: self.run,
        };
        write_line(&header, &mut out);
        for (note, consistency) in &self.checkpoints {
            let line = CheckpointLine {
                checkpoint: counterfoil_receipt::bundle::NoteText(note.clone()),
                consistency: proof_hashes(consistency),
            };
            write_line(&line, &mut out);
        }
        self.documents.iter().for_each(|line| write_line(line, &mut out));
        let (right, segments) = self.segments.split_last()?;
        for ((index, record), left) in self.entries.iter().zip(segments) {
            write_line(&PositionLine { index: Count::new(*index)?, left: proof_hashes(left) }, &mut out);
            out.extend_from_slice(record);
            out.push(b'\n');
        }
        write_line(&EndLine { right: proof_hashes(right) }, &mut out);
        self.payloads.iter().for_each(|line| write_line(line, &mut out));
        Some(out)
    }
}

fn proof_hashes(hashes: &[Hash]) -> ProofHashes {
    List(hashes.iter().map(|hash| ProofHash(*hash.as_bytes())).collect())
}
