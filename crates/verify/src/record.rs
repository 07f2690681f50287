//! The verified record: a type that only a checked signature makes.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use counterfoil_policy::{Policy, Unreadable};
use counterfoil_receipt::{PolicyDigest, PublicKey, RecordId, UnverifiedRecord};
use counterfoil_tlog::{Ed25519Key, SignatureCheck};

use crate::{
    checkpoint::{Opened, ShownCheckpoint},
    fault::Fault,
    rule::Rule,
    trust::Trust,
};

/// A record whose signature holds and whose role may sign its type.
///
/// Only [`check_signature`] makes one; it can't be deserialized or built from parts.
///
/// ```compile_fail
/// fn forge(unverified: counterfoil_receipt::UnverifiedRecord) -> counterfoil_verify::Record {
///     counterfoil_verify::Record(unverified)
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record(UnverifiedRecord);

impl std::ops::Deref for Record {
    type Target = UnverifiedRecord;

    fn deref(&self) -> &UnverifiedRecord {
        &self.0
    }
}

/// Parsed public keys, so that a key that signs often is decompressed once. Bounded.
#[derive(Clone, Debug, Default)]
pub struct KeyCache {
    keys: HashMap<PublicKey, Option<Ed25519Key>>,
    checked: Option<Remembered>,
}

/// What was checked, for whoever sees the same again and again: the signatures of records, by id, policies that were read, by digest, and
/// checkpoints, by all that they say and the keys under which they were opened. An id is the hash of a record's bytes, with its signature, and
/// a digest that of a document, so what is another has another. Bounded, and shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    signatures: HashSet<RecordId>,
    /// The one read last stands last.
    policies: Vec<(PolicyDigest, Arc<Policy>)>,
    /// So do these.
    checkpoints: VecDeque<Opened>,
}

impl Remembered {
    /// Ids kept at a time: 16,384 × about 40 bytes. Then it begins anew.
    const IDS: usize = 16_384;
    /// Policies kept at a time.
    const POLICIES: usize = 4;
    /// Checkpoints kept at a time: a few hundred bytes each, and up to 16 KiB with the lines of many witnesses.
    const CHECKPOINTS: usize = 16;

    fn has(&self, id: &RecordId) -> bool {
        self.known().signatures.contains(id)
    }

    fn add(&self, id: RecordId) {
        let ids = &mut self.known().signatures;
        if ids.len() >= Self::IDS {
            ids.clear();
        }
        ids.insert(id);
    }

    /// The policy that a document with this digest is, which is read if it is not known.
    ///
    /// # Errors
    /// [`Unreadable`]; that is not kept.
    pub(crate) fn policy(
        &self,
        digest: PolicyDigest,
        read: impl FnOnce() -> Result<Policy, Unreadable>,
    ) -> Result<Arc<Policy>, Unreadable> {
        let known = self.known().policies.iter().find(|(known, _)| *known == digest).cloned();
        if let Some((_, policy)) = known {
            return Ok(policy);
        }
        let policy = Arc::new(read()?);
        let policies = &mut self.known().policies;
        // Another thread may have read it meanwhile.
        if policies.iter().all(|(known, _)| *known != digest) {
            if policies.len() >= Self::POLICIES {
                policies.remove(0);
            }
            policies.push((digest, Arc::clone(&policy)));
        }
        Ok(policy)
    }

    /// What a signed note shows under the reader's keys, if it is a checkpoint as a bundle may have.
    ///
    /// # Errors
    /// [`Fault`]: R-CP-01 to R-CP-03; that is not kept.
    pub fn open_checkpoint(&self, note: &str, trust: &Trust) -> Result<ShownCheckpoint, Fault> {
        if let Some(opened) = self.known().checkpoints.iter().find(|opened| opened.is_of(note, trust)) {
            return Ok(opened.shown.clone());
        }
        let opened = Opened::new(note, trust)?;
        let shown = opened.shown.clone();
        let checkpoints = &mut self.known().checkpoints;
        if checkpoints.len() >= Self::CHECKPOINTS {
            checkpoints.pop_front();
        }
        checkpoints.push_back(opened);
        Ok(shown)
    }

    /// Nothing in it is left half done by a panic.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyCache {
    /// Keys kept at a time: 1,024 × about 250 bytes.
    const KEYS: usize = 1_024;

    /// One that takes the signatures for checked that were checked before, and adds those that are.
    pub fn remembering(checked: Remembered) -> Self {
        Self { keys: HashMap::new(), checked: Some(checked) }
    }

    /// The key, ready to verify; `None` if its bytes are no canonical encoding of a point, or of one of small order.
    fn get(&mut self, key: &PublicKey) -> Option<&Ed25519Key> {
        if self.keys.len() >= Self::KEYS && !self.keys.contains_key(key) {
            self.keys.clear();
        }
        self.keys.entry(*key).or_insert_with(|| Ed25519Key::parse(key.material())).as_ref()
    }
}

/// Makes a [`Record`] of a record whose signature holds.
///
/// # Errors
/// R-ROLE-01 or R-SIG-01.
pub fn check_signature(
    record: UnverifiedRecord,
    keys: &mut KeyCache,
) -> Result<Record, (Box<UnverifiedRecord>, Fault)> {
    let begun = Begun::new(record, keys)?;
    let holds = begun.check.is_none_or(|check| check.finish());
    begun.finish(holds, keys)
}

/// A record of which [`check_signature`] is done but for the last step, which many records take together in less time.
pub(crate) struct Begun {
    record: UnverifiedRecord,
    /// What is left to do; nothing where it was done before.
    pub check: Option<SignatureCheck>,
}

impl Begun {
    pub(crate) fn new(
        record: UnverifiedRecord,
        keys: &mut KeyCache,
    ) -> Result<Self, (Box<UnverifiedRecord>, Fault)> {
        let is_known = keys.checked.as_ref().is_some_and(|checked| checked.has(&record.id()));
        let left = |()| if is_known { Ok(None) } else { signature_may_hold(&record, keys).map(Some) };
        match role_may_sign(&record).and_then(left) {
            Ok(check) => Ok(Self { record, check }),
            Err(fault) => Err((Box::new(record), fault)),
        }
    }

    /// Makes a record of it, if that step found that the signature holds.
    pub(crate) fn finish(
        self,
        holds: bool,
        keys: &KeyCache,
    ) -> Result<Record, (Box<UnverifiedRecord>, Fault)> {
        if holds {
            if let Some(checked) = keys.checked.as_ref().filter(|_| self.check.is_some()) {
                checked.add(self.record.id());
            }
            return Ok(Record(self.record));
        }
        let fault = does_not_hold(&self.record, "the signature does not verify over this record");
        Err((Box::new(self.record), fault))
    }
}

/// Takes a record for one whose signature was checked. For [`State::replay`](crate::State::replay) alone, which says when it was.
pub(crate) const fn checked_before(record: UnverifiedRecord) -> Record {
    Record(record)
}

/// R-ROLE-01: the signer's role may sign this type.
fn role_may_sign(record: &UnverifiedRecord) -> Result<(), Fault> {
    let (kind, role) = (record.kind(), record.author().role);
    if kind.roles().contains(&role) {
        return Ok(());
    }
    Err(Fault::violated(Rule::RoleNotAllowed, format!("signer.role: {role} may not sign {kind}")))
}

/// R-SIG-01: the signature verifies, strictly, over the preimage.
fn signature_may_hold(record: &UnverifiedRecord, keys: &mut KeyCache) -> Result<SignatureCheck, Fault> {
    let no_key = "the key is no canonical encoding of a point of large order";
    let key = keys.get(&record.author().key).ok_or_else(|| does_not_hold(record, no_key))?;
    let check = key.begin(&record.preimage_parts(), record.signature().as_bytes());
    check.ok_or_else(|| does_not_hold(record, "R or S is no canonical encoding, or R is of small order"))
}

fn does_not_hold(record: &UnverifiedRecord, why: &str) -> Fault {
    Fault::violated(Rule::SignatureInvalid, format!("sig: {why} (key {})", record.author().key))
}
