//! The kinds of SHA-256 value, each its own type: spelled alike, never interchangeable (`spec/records.md` §2).

use std::fmt;

use sha2::{Digest, Sha256};

use crate::{
    field::{Field, Node},
    json,
    malformed::{Code, Malformed},
};

macro_rules! hash_types {
    ($($(#[$doc:meta])* $name:ident,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes 32 bytes for this kind of hash.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Parses `sha256:` and 64 lowercase hexadecimal digits; `None` for any other spelling.
            pub fn parse(text: &str) -> Option<Self> {
                decode(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("sha256:")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl Field for $name {
            fn read(node: Node<'_>) -> Result<Self, Malformed> {
                let text = node.string()?;
                Self::parse(&text).ok_or_else(|| {
                    Malformed::new(Code::FieldInvalid, format!("{text:?} is not sha256: and 64 lowercase hex digits"))
                })
            }

            fn write(&self, out: &mut Vec<u8>) {
                json::write_string(&self.to_string(), out);
            }
        }
    )*};
}

hash_types! {
    /// A record's identity: SHA-256(0x00 ‖ record bytes), its RFC 6962 leaf hash.
    RecordId,
    /// A run's identity: the [`RecordId`] of its trigger.
    RunId,
    /// What a record says, whoever's signature bytes it carries: SHA-256 of the signature preimage.
    Statement,
    /// SHA-256(`"counterfoil/v1/action\n"` ‖ JCS(action)).
    ActionDigest,
    /// SHA-256(`"counterfoil/v1/policy\n"` ‖ JCS(document)).
    PolicyDigest,
    /// A salted commitment to content that is not in the log; see [`crate::Opening`].
    Commitment,
    /// The root of the state map, as a snapshot states it.
    MapRoot,
    /// SHA-256(JCS(a tool's published schema)).
    SchemaDigest,
    /// An RFC 6962 tree root: of the log in a basis, of an item set in an item.
    Root,
}

impl RecordId {
    /// The id of the record with these bytes.
    pub fn of(record: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(record).finalize().into())
    }
}

impl RunId {
    /// The run that this trigger starts.
    pub const fn started_by(trigger: RecordId) -> Self {
        Self(trigger.0)
    }

    /// The id of the trigger that started the run.
    pub const fn trigger(self) -> RecordId {
        RecordId(self.0)
    }
}

impl Statement {
    /// The statement with this signature preimage, given in parts.
    pub fn of(preimage: &[&[u8]]) -> Self {
        let digest = preimage.iter().fold(Sha256::new(), |digest, part| digest.chain_update(part));
        Self(digest.finalize().into())
    }
}

impl PolicyDigest {
    /// The digest of a policy document, given its canonical bytes.
    pub fn of(document: &[u8]) -> Self {
        Self(Sha256::new().chain_update(b"counterfoil/v1/policy\n").chain_update(document).finalize().into())
    }
}

impl SchemaDigest {
    /// The digest of a tool's schema, given its canonical bytes.
    pub fn of(schema: &[u8]) -> Self {
        Self(Sha256::digest(schema).into())
    }
}

impl MapRoot {
    /// The root of the empty state map, the only one under fold version 0 (`spec/log.md`).
    pub fn empty() -> Self {
        Self(Sha256::digest(b"counterfoil/v1/map/empty\n").into())
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?.as_bytes();
    let digits: &[u8; 64] = digits.try_into().ok()?;
    let mut bytes = [0; 32];
    let mut all = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (nibble(pair[0]), nibble(pair[1]));
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all < 16).then_some(bytes)
}

/// The value of a lowercase hexadecimal digit; 16 for any other byte, so that 64 of them are judged at once.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => 16,
    }
}
