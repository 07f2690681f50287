//! Keys that sign: in memory from a seed, or anywhere else behind [`Signer`].

use ml_dsa::MlDsa44;
use ml_dsa::signature::Keypair as _;

use crate::cosignature::PosixSeconds;
use crate::key::{Algorithm, KeyError, VerifierKey};
use crate::note::NoteSignature;

/// Something that holds a private key: this process, an agent, a hardware module.
pub trait Signer {
    /// The public half, with name and algorithm.
    fn key(&self) -> &VerifierKey;

    /// The signature over exactly `message`: 64 bytes for Ed25519, 2,420 for ML-DSA-44 with an empty context.
    ///
    /// # Errors
    /// [`SignError::Failed`] if there is none to be had.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;
}

/// Signs the text of a note with a key of [`Algorithm::Ed25519`]. The signature is verified before it is returned.
///
/// # Errors
/// [`SignError`] if the key is a cosigner's, or the signer fails.
pub fn sign_note(text: &str, signer: &(impl Signer + ?Sized)) -> Result<NoteSignature, SignError> {
    let key = signer.key();
    if key.algorithm().is_cosignature() {
        return Err(SignError::WrongAlgorithm { algorithm: key.algorithm() });
    }
    Ok(NoteSignature::new(key, sign_and_verify(signer, text.as_bytes())?))
}

/// Nothing leaves that does not verify: a fault while signing can betray the key.
pub(crate) fn sign_and_verify(signer: &(impl Signer + ?Sized), message: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature = signer.sign(message)?;
    let checked = signer.key().verify_message(message, &signature);
    checked.map_err(|_| SignError::DoesNotVerify { name: signer.key().name().to_owned() })?;
    Ok(signature)
}

/// A private key in memory, made from its 32-byte seed and erased when dropped.
///
/// ```
/// use counterfoil_tlog::{SeedSigner, Signer, UnverifiedNote, sign_note};
///
/// let signer = SeedSigner::ed25519("example.com/log", &[7; 32])?;
/// let note = UnverifiedNote::new("hello\n", vec![sign_note("hello\n", &signer)?])?;
/// assert_eq!(note.open(&[signer.key()])?.text(), "hello\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SeedSigner {
    key: VerifierKey,
    secret: Secret,
}

enum Secret {
    Ed25519(Box<ed25519_dalek::SigningKey>),
    MlDsa44(Box<ml_dsa::SigningKey<MlDsa44>>),
}

impl SeedSigner {
    /// A key that signs notes (type 0x01). The seed is the private key of RFC 8032.
    ///
    /// # Errors
    /// [`KeyError::BadName`].
    pub fn ed25519(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, Algorithm::Ed25519, seed)
    }

    /// A key that cosigns checkpoints (type 0x04). Two cosigners must not share a seed: the message does not say
    /// which of them signed.
    ///
    /// # Errors
    /// [`KeyError::BadName`].
    pub fn ed25519_cosigner(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, Algorithm::CosignatureEd25519, seed)
    }

    /// A key that cosigns checkpoints (type 0x06). The seed is ξ of FIPS 204; signing is deterministic.
    ///
    /// # Errors
    /// [`KeyError::BadName`].
    pub fn ml_dsa_44_cosigner(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, Algorithm::CosignatureMlDsa44, seed)
    }

    /// The key for any algorithm.
    ///
    /// # Errors
    /// [`KeyError::BadName`].
    pub fn new(name: &str, algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Ed25519 | Algorithm::CosignatureEd25519 => {
                let secret = ed25519_dalek::SigningKey::from_bytes(seed);
                let key = VerifierKey::new(name, algorithm, secret.verifying_key().as_bytes())?;
                Ok(Self { key, secret: Secret::Ed25519(Box::new(secret)) })
            }
            Algorithm::CosignatureMlDsa44 => {
                let secret = ml_dsa::SigningKey::<MlDsa44>::from_seed(&(*seed).into());
                let key = VerifierKey::new(name, algorithm, &secret.verifying_key().encode())?;
                Ok(Self { key, secret: Secret::MlDsa44(Box::new(secret)) })
            }
        }
    }
}

impl Signer for SeedSigner {
    fn key(&self) -> &VerifierKey {
        &self.key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.secret {
            Secret::Ed25519(secret) => {
                Ok(ed25519_dalek::Signer::sign(&**secret, message).to_bytes().to_vec())
            }
            Secret::MlDsa44(secret) => match secret.expanded_key().sign_deterministic(message, b"") {
                Ok(signature) => Ok(signature.encode().to_vec()),
                Err(_) => Err(SignError::Failed("ML-DSA-44 found no signature".into())),
            },
        }
    }
}

impl std::fmt::Debug for SeedSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedSigner").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The key is for the other kind of signature: note or cosignature.
    #[error("a key of {algorithm:?} does not make this kind of signature")]
    WrongAlgorithm {
        /// The key's algorithm.
        algorithm: Algorithm,
    },
    /// The time is over [`limits::TIMESTAMP`](crate::limits::TIMESTAMP).
    #[error("time {time} is over the limit of {}", crate::limits::TIMESTAMP)]
    TimestampOverLimit {
        /// The time given.
        time: PosixSeconds,
    },
    /// What the signer returned is no signature by its key.
    #[error("the signer {name} returned a signature that does not verify")]
    DoesNotVerify {
        /// The name of its key.
        name: String,
    },
    /// The signer failed.
    #[error("the signer failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SignError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::WrongAlgorithm { .. } => "sign-wrong-algorithm",
            Self::TimestampOverLimit { .. } => "sign-timestamp-over-limit",
            Self::DoesNotVerify { .. } => "sign-does-not-verify",
            Self::Failed(_) => "sign-failed",
        }
    }
}
