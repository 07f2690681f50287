//! The key that signs snapshots: whether it may, and what would end it. No batch is sealed without one (`spec/log.md`,
//! "The snapshot key").

use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Body, PublicKey, Role, Signer as _,
    body::{KeyChange, RevocationTarget},
};
use counterfoil_verify::State;

/// Why the key may not sign the next snapshot; `None` if it may.
pub(crate) fn unfit(state: &State, signer: &RecordKey) -> Option<String> {
    let key = signer.key();
    let Some(facts) = state.key(&key) else { return Some("it is not enrolled".to_owned()) };
    if (facts.role, signer.role()) != (Role::Log, Role::Log) {
        return Some(format!("it is enrolled as {}, and its file says {}", facts.role, signer.role()));
    }
    if facts.principal != *signer.principal() {
        return Some(format!("it belongs to {}, and its file says {}", facts.principal, signer.principal()));
    }
    if let Some(index) = facts.revoked {
        return Some(format!("it was revoked at entry {index}"));
    }
    // It has no validity that could pass: a key of the log never does (R-REC-06).
    facts.retired.map(|index| format!("it was retired at entry {index}"))
}

/// Whether a record with this body ends `key`, at once or when enough have endorsed it.
pub(crate) fn ends(body: &Body, key: &PublicKey) -> bool {
    let ended = match body {
        Body::Keyring(body) => match body.change {
            KeyChange::Enrol => None,
            KeyChange::Rotate => body.replaces,
            KeyChange::Retire => Some(body.key),
        },
        Body::Revocation(body) => match body.target {
            RevocationTarget::Key(key) => Some(key),
            RevocationTarget::Delegation(_) => None,
        },
        _ => None,
    };
    ended.is_some_and(|ended| ended.material() == key.material())
}
