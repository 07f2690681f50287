//! Who signs: principals with a role and a key that follows from their name.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use counterfoil_receipt::{Principal, PublicKey, Role, Signer, SigningKey, UnverifiedRecord, body::Holder};
use counterfoil_tlog::SeedSigner;
use ed25519_dalek::{
    VerifyingKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use sha2::{Digest, Sha256, Sha512};

/// Somebody who signs records.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who.
    pub principal: Principal,
    /// As what.
    pub role: Role,
    key: Arc<SigningKey>,
    seed: [u8; 32],
}

impl Actor {
    /// The actor of this name and role, with the first of their keys.
    pub fn new(name: &str, role: Role) -> Self {
        Self::generation(name, role, 0)
    }

    /// The same principal and role with another key.
    pub fn with_key(&self, generation: u64) -> Self {
        Self::generation(self.principal.as_str(), self.role, generation)
    }

    /// The same key, claiming another role.
    pub fn claiming_role(&self, role: Role) -> Self {
        Self { role, ..self.clone() }
    }

    /// The same key, claiming to be another principal.
    pub fn claiming_principal(&self, principal: &Principal) -> Self {
        Self { principal: principal.clone(), ..self.clone() }
    }

    fn generation(name: &str, role: Role, generation: u64) -> Self {
        let seed = seed(&format!("record {role} {name} {generation}"));
        let key = Arc::new(SigningKey::from_seed(&seed));
        Self { principal: Principal::new(name).expect("a name"), role, key, seed }
    }

    /// The public key.
    pub fn key(&self) -> PublicKey {
        self.key.key()
    }

    /// Principal and key, as bodies name them.
    pub fn holder(&self) -> Holder {
        Holder { key: self.key(), principal: self.principal.clone() }
    }

    /// The same statement under another valid signature: whoever holds a key can make many, with another nonce.
    pub fn sign_differently(&self, record: &UnverifiedRecord) -> UnverifiedRecord {
        let mut secret = ExpandedSecretKey::from(&self.seed);
        secret.hash_prefix[0] ^= 1;
        let public = VerifyingKey::from(&secret);
        let signature = raw_sign::<Sha512>(&secret, &record.preimage(), &public);
        let encode = |bytes: &[u8; 64]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let text = std::str::from_utf8(record.bytes()).expect("records are UTF-8");
        let text = text.replace(&encode(record.signature().as_bytes()), &encode(&signature.to_bytes()));
        UnverifiedRecord::parse(text.as_bytes()).expect("only the signature differs")
    }

    /// What signs.
    pub fn signer(&self) -> &dyn Signer {
        &*self.key
    }
}

/// Everybody who appears in a [`Scenario`](crate::Scenario).
#[derive(Clone, Debug)]
pub struct Cast {
    /// The authority's root, which signs the genesis and every change.
    pub root: Actor,
    /// Another root, which the standard genesis names too.
    pub spare_root: Actor,
    /// A person who may approve.
    pub ana: Actor,
    /// Another.
    pub bo: Actor,
    /// An agent, the first owner of every run.
    pub scout: Actor,
    /// The agent that runs are handed to.
    pub fixer: Actor,
    /// The runtime that executes.
    pub gate: Actor,
    /// A policy engine.
    pub engine: Actor,
    /// The log's own key for snapshots and rejections.
    pub log: Actor,
}

impl Cast {
    /// The standard cast.
    pub fn standard() -> Self {
        Self {
            root: Actor::new("root", Role::Authority),
            spare_root: Actor::new("spare-root", Role::Authority),
            ana: Actor::new("ana", Role::Human),
            bo: Actor::new("bo", Role::Human),
            scout: Actor::new("scout", Role::Agent),
            fixer: Actor::new("fixer", Role::Agent),
            gate: Actor::new("gate", Role::Runtime),
            engine: Actor::new("engine", Role::Policy),
            log: Actor::new("log", Role::Log),
        }
    }
}

/// The note key of a log.
pub(crate) fn note_key(origin: &str) -> SeedSigner {
    SeedSigner::ed25519(origin, &seed(&format!("note {origin}"))).expect("an origin is a key name")
}

/// A witness that cosigns checkpoints, by name.
pub fn witness(name: &str) -> SeedSigner {
    SeedSigner::ed25519_cosigner(name, &seed(&format!("witness {name}"))).expect("a key name")
}

/// 32 bytes that follow from a name, and only from it.
pub(crate) fn seed(name: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"counterfoil-testkit\n").chain_update(name).finalize().into()
}
