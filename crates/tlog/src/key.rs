//! Verifier keys: who may sign a note, under which name, with which algorithm (C2SP signed-note, "Verifier keys").

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ml_dsa::MlDsa44;
use sha2::{Digest as _, Sha256};

use crate::cosignature::SignatureError;
use crate::ed25519::Ed25519Key;
use crate::limits;

/// A public key with the name under which it signs notes, and the algorithm for which it may be used.
///
/// Its text form, the *vkey*, is `<name>+<key id>+<base64(type byte ‖ public key)>`.
///
/// ```
/// use counterfoil_tlog::{Algorithm, VerifierKey};
///
/// let vkey = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
/// let key = VerifierKey::parse(vkey)?;
/// assert_eq!((key.name(), key.algorithm()), ("example.com/foo", Algorithm::Ed25519));
/// assert_eq!(key.to_string(), vkey);
/// # Ok::<(), counterfoil_tlog::KeyError>(())
/// ```
#[derive(Clone)]
pub struct VerifierKey {
    name: Arc<str>,
    id: KeyId,
    algorithm: Algorithm,
    bytes: Arc<[u8]>,
    public: PublicKey,
}

impl VerifierKey {
    /// The key with these public bytes under this name.
    ///
    /// # Errors
    /// [`KeyError`] if the name is none, or the bytes are no public key of the algorithm.
    pub fn new(name: &str, algorithm: Algorithm, public_key: &[u8]) -> Result<Self, KeyError> {
        check_name(name)?;
        let public = PublicKey::decode(algorithm, public_key)?;
        let id = KeyId::compute(name, algorithm, public_key);
        Ok(Self { name: name.into(), id, algorithm, bytes: public_key.into(), public })
    }

    /// Reads a vkey; there is exactly one spelling of each key.
    ///
    /// # Errors
    /// [`KeyError`], also if the key id is not the one that name and key lead to.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::NotAVkey);
        };
        let decoded = STANDARD.decode(key).map_err(|_| KeyError::NotAVkey)?;
        let (&type_byte, public_key) = decoded.split_first().ok_or(KeyError::NotAVkey)?;
        let algorithm =
            Algorithm::from_type_byte(type_byte).ok_or(KeyError::UnknownAlgorithm { type_byte })?;
        let key = Self::new(name, algorithm, public_key)?;
        if key.id.to_string() != id {
            return Err(KeyError::KeyIdMismatch { claimed: id.to_owned(), computed: key.id });
        }
        Ok(key)
    }

    /// The name in signature lines. For logs it is the origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The identifier in signature lines.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key may be used for.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes of the public key: 32 for Ed25519, 1,312 for ML-DSA-44.
    pub fn public_key(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether both wrap the same public key, whatever the names (C2SP tlog-policy: such keys are *duplicate*).
    pub fn is_same_public_key(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    /// Checks that `signature` is this key's over exactly `message`. What a note or cosignature adds to the text is
    /// the matter of [`UnverifiedNote::open`](crate::UnverifiedNote::open).
    ///
    /// Ed25519 is checked strictly: canonical S, and no point of small order.
    ///
    /// # Errors
    /// [`SignatureError::DoesNotVerify`].
    pub fn verify_message(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let verifies = match &self.public {
            PublicKey::Ed25519(key) => {
                signature.try_into().is_ok_and(|signature| key.verify(message, signature))
            }
            PublicKey::MlDsa44(key) => ml_dsa::Signature::<MlDsa44>::try_from(signature)
                .is_ok_and(|signature| key.verify_with_context(message, b"", &signature)),
        };
        if verifies { Ok(()) } else { Err(SignatureError::DoesNotVerify) }
    }
}

impl PartialEq for VerifierKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.algorithm, &self.bytes) == (&other.name, other.algorithm, &other.bytes)
    }
}

impl Eq for VerifierKey {}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[self.algorithm.type_byte()], &*self.bytes].concat());
        write!(f, "{}+{}+{key}", self.name, self.id)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl AsRef<Self> for VerifierKey {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, KeyError> {
        Self::parse(vkey)
    }
}

/// What a key signs, by the signature type byte of C2SP signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// 0x01: Ed25519 over the note text.
    Ed25519,
    /// 0x04: Ed25519 over a checkpoint and a time, `cosignature/v1` of C2SP tlog-cosignature.
    CosignatureEd25519,
    /// 0x06: ML-DSA-44 over a tree head and a time, `subtree/v1` of C2SP tlog-cosignature.
    CosignatureMlDsa44,
}

impl Algorithm {
    /// The byte before the public key in vkeys and key ids.
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::CosignatureEd25519 => 0x04,
            Self::CosignatureMlDsa44 => 0x06,
        }
    }

    /// The algorithm with this byte, if it is one of these.
    pub const fn from_type_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::CosignatureEd25519),
            0x06 => Some(Self::CosignatureMlDsa44),
            _ => None,
        }
    }

    /// Whether signatures carry a time and are over checkpoints only.
    pub const fn is_cosignature(self) -> bool {
        match self {
            Self::Ed25519 => false,
            Self::CosignatureEd25519 | Self::CosignatureMlDsa44 => true,
        }
    }
}

/// The first four bytes of SHA-256(name ‖ 0x0A ‖ type byte ‖ public key): with the name, which key signed.
///
/// Whoever wants can make a key with the same id; then its signatures don't verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    fn compute(name: &str, algorithm: Algorithm, public_key: &[u8]) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', algorithm.type_byte()])
            .chain_update(public_key)
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Why something is no key, or no name of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not of the form `<name>+<key id>+<base64>`.
    #[error("not a verifier key: expected <name>+<key id>+<base64>")]
    NotAVkey,
    /// The name is empty, too long, or holds a space, a plus or a control character.
    #[error(
        "{name:?} is no key name: 1 to {} bytes without spaces, plus signs and control characters",
        limits::NAME_BYTES
    )]
    BadName {
        /// The name given.
        name: String,
    },
    /// The signature type is none that this crate verifies.
    #[error("signature type {type_byte:#04x} is not supported")]
    UnknownAlgorithm {
        /// The type byte.
        type_byte: u8,
    },
    /// The key has the wrong length for its algorithm.
    #[error("a public key of {algorithm:?} has {expected} bytes, not {found}")]
    WrongLength {
        /// The algorithm.
        algorithm: Algorithm,
        /// The length of its keys.
        expected: usize,
        /// The length given.
        found: usize,
    },
    /// The bytes are no point of the curve, or one of small order, for which anybody can sign.
    #[error("the public key is not a valid Ed25519 key")]
    InvalidPublicKey,
    /// The key id is not the one that name and key lead to.
    #[error("the key id is {computed}, the verifier key says {claimed}")]
    KeyIdMismatch {
        /// The id in the text.
        claimed: String,
        /// The id of name and key.
        computed: KeyId,
    },
}

impl KeyError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAVkey => "key-not-a-vkey",
            Self::BadName { .. } => "key-bad-name",
            Self::UnknownAlgorithm { .. } => "key-unknown-algorithm",
            Self::WrongLength { .. } => "key-wrong-length",
            Self::InvalidPublicKey => "key-invalid-public-key",
            Self::KeyIdMismatch { .. } => "key-id-mismatch",
        }
    }
}

/// Key names are not empty and have no Unicode spaces and no plus (C2SP signed-note).
pub(crate) fn check_name(name: &str) -> Result<(), KeyError> {
    let bad = |c: char| c.is_whitespace() || c == '+' || c < ' ';
    if name.is_empty() || name.len() > limits::NAME_BYTES || name.contains(bad) {
        return Err(KeyError::BadName { name: name.to_owned() });
    }
    Ok(())
}

#[derive(Clone)]
enum PublicKey {
    Ed25519(Ed25519Key),
    MlDsa44(Arc<ml_dsa::VerifyingKey<MlDsa44>>),
}

impl PublicKey {
    fn decode(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let wrong_length = |expected| KeyError::WrongLength { algorithm, expected, found: bytes.len() };
        match algorithm {
            Algorithm::Ed25519 | Algorithm::CosignatureEd25519 => {
                let bytes = bytes.try_into().map_err(|_| wrong_length(ed25519_dalek::PUBLIC_KEY_LENGTH))?;
                Ed25519Key::parse(bytes).map(Self::Ed25519).ok_or(KeyError::InvalidPublicKey)
            }
            Algorithm::CosignatureMlDsa44 => {
                let encoded = ml_dsa::EncodedVerifyingKey::<MlDsa44>::try_from(bytes);
                let key = ml_dsa::VerifyingKey::decode(&encoded.map_err(|_| wrong_length(1312))?);
                Ok(Self::MlDsa44(Arc::new(key)))
            }
        }
    }
}
