//! Salted commitments: how a record names content that is not in the log (`spec/records.md` §2).

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    field::{Field, Node},
    hashes::Commitment,
    json,
    key::decode,
    malformed::Malformed,
    text::Label,
};

/// 32 random bytes that keep a commitment from being guessed; deleting them erases the content.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

/// What opens a commitment: salt, label and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The salt, independent of every other.
    pub salt: Salt,
    /// The item's label, or the pointer of a committed argument.
    pub label: Label,
    /// The bytes; for a committed argument, JCS(value).
    pub content: Vec<u8>,
}

impl Opening {
    /// SHA-256(`"counterfoil/v1/commitment\n"` ‖ salt ‖ uint32 length of label ‖ label ‖ content).
    pub fn commitment(&self) -> Commitment {
        let label = self.label.as_str().as_bytes();
        let length = u32::try_from(label.len()).unwrap_or(u32::MAX);
        let digest = Sha256::new()
            .chain_update(b"counterfoil/v1/commitment\n")
            .chain_update(self.salt.0)
            .chain_update(length.to_be_bytes())
            .chain_update(label)
            .chain_update(&self.content);
        Commitment::from_bytes(digest.finalize().into())
    }
}

impl Salt {
    /// Takes 32 bytes from a cryptographic random source.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 43 characters of base64url; `None` for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        decode(text).map(Self)
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Salt {
    /// Salts are secrets: they are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

impl Field for Salt {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        Self::parse(&node.string()?).ok_or_else(|| node.wrong("unpadded base64url of 32 bytes"))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&self.to_string(), out);
    }
}
