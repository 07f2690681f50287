//! The physical floor: signature checks with parsed keys, and nothing else.

use base64::{Engine, prelude::BASE64_STANDARD};
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_tlog::VerifierKey;
use ed25519_dalek::{Signature, VerifyingKey};

/// A signature check that is ready to run.
pub struct Check {
    key: VerifyingKey,
    message: Vec<u8>,
    signature: Signature,
}

impl Check {
    /// The check that a record needs.
    pub fn of(record: &UnverifiedRecord) -> Option<Self> {
        Some(Self {
            key: VerifyingKey::from_bytes(record.author().key.material()).ok()?,
            message: record.preimage(),
            signature: Signature::from_bytes(record.signature().as_bytes()),
        })
    }

    /// The check of a note that one Ed25519 key signed.
    pub fn of_note(note: &str, key: &VerifierKey) -> Option<Self> {
        let (text, line) = note.rsplit_once("\n\n")?;
        let encoded = line.trim_end().rsplit_once(' ')?.1;
        let bytes = BASE64_STANDARD.decode(encoded).ok()?;
        Some(Self {
            key: VerifyingKey::from_bytes(key.public_key().try_into().ok()?).ok()?,
            message: format!("{text}\n").into_bytes(),
            signature: Signature::from_slice(bytes.get(4..)?).ok()?,
        })
    }

    /// Every check that a bundle needs: its records and its checkpoints.
    pub fn all_of(bundle: &[u8], key: &VerifierKey) -> Vec<Self> {
        let lines = bundle.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let check = |line: &[u8]| match UnverifiedRecord::parse(line) {
            Ok(record) => Self::of(&record),
            Err(_) => {
                let line: serde_json::Value = serde_json::from_slice(line).ok()?;
                Self::of_note(line.get("checkpoint")?.as_str()?, key)
            }
        };
        lines.filter_map(check).collect()
    }

    /// Runs it.
    pub fn run(&self) -> bool {
        self.key.verify_strict(&self.message, &self.signature).is_ok()
    }
}
