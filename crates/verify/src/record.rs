//! The verified record: a type that only a checked signature makes.

use std::collections::HashMap;

use counterfoil_receipt::{PublicKey, UnverifiedRecord};
use counterfoil_tlog::Ed25519Key;

use crate::{fault::Fault, rule::Rule};

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
pub struct KeyCache(HashMap<PublicKey, Option<Ed25519Key>>);

impl KeyCache {
    /// Keys kept at a time: 1,024 × about 250 bytes.
    const KEYS: usize = 1_024;

    /// The key, ready to verify; `None` if its bytes are no canonical encoding of a point, or of one of small order.
    fn get(&mut self, key: &PublicKey) -> Option<&Ed25519Key> {
        if self.0.len() >= Self::KEYS && !self.0.contains_key(key) {
            self.0.clear();
        }
        self.0.entry(*key).or_insert_with(|| Ed25519Key::parse(key.material())).as_ref()
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
    match role_may_sign(&record).and_then(|()| signature_holds(&record, keys)) {
        Ok(()) => Ok(Record(record)),
        Err(fault) => Err((Box::new(record), fault)),
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
fn signature_holds(record: &UnverifiedRecord, keys: &mut KeyCache) -> Result<(), Fault> {
    let key = record.author().key;
    let fault = |why: &str| Fault::violated(Rule::SignatureInvalid, format!("sig: {why} (key {key})"));
    let parsed =
        keys.get(&key).ok_or_else(|| fault("the key is no canonical encoding of a point of large order"))?;
    if parsed.verify(&record.preimage(), record.signature().as_bytes()) {
        return Ok(());
    }
    Err(fault("the signature does not verify over this record"))
}
