//! What each algorithm signs, and when: note signatures and cosignatures (C2SP tlog-cosignature).
//!
//! A cosignature is a statement by somebody other than the log: as of a time, this is the largest tree that I have
//! seen of this log, and it is consistent with all that I saw before.

use std::fmt;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::key::{Algorithm, VerifierKey};
use crate::limits;
use crate::note::NoteSignature;
use crate::signer::{SignError, Signer};

/// A time in seconds since 1970-01-01T00:00:00Z, as POSIX counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PosixSeconds(pub u64);

impl fmt::Display for PosixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Cosigns a checkpoint at `time` with a key of a cosignature algorithm. The signature is verified before it is
/// returned.
///
/// Time 0 is no time: it says that nothing is stated about this being the largest tree.
///
/// # Errors
/// [`SignError`] if the key is for plain notes, the time is over its limit, or the signer fails.
pub fn cosign(
    checkpoint: &Checkpoint,
    time: PosixSeconds,
    signer: &(impl Signer + ?Sized),
) -> Result<NoteSignature, SignError> {
    let key = signer.key();
    if !key.algorithm().is_cosignature() {
        return Err(SignError::WrongAlgorithm { algorithm: key.algorithm() });
    }
    if time.0 > limits::TIMESTAMP {
        return Err(SignError::TimestampOverLimit { time });
    }
    let message = message(key, &checkpoint.to_string(), checkpoint, time);
    let mut bytes = time.0.to_be_bytes().to_vec();
    bytes.extend(crate::signer::sign_and_verify(signer, &message)?);
    Ok(NoteSignature::new(key, bytes))
}

/// Checks the bytes of a signature line, after the key id, against a note's text, and tells the time in it.
///
/// # Errors
/// [`SignatureError`] if they are no signature of `key` over `text`.
pub fn verify(key: &VerifierKey, text: &str, bytes: &[u8]) -> Result<Option<PosixSeconds>, SignatureError> {
    if !key.algorithm().is_cosignature() {
        key.verify_message(text.as_bytes(), bytes)?;
        return Ok(None);
    }
    let (time, signature) = bytes.split_first_chunk().ok_or(SignatureError::NoTimestamp)?;
    let time = PosixSeconds(u64::from_be_bytes(*time));
    if time.0 > limits::TIMESTAMP {
        return Err(SignatureError::TimestampOverLimit { time });
    }
    let checkpoint = Checkpoint::parse(text).map_err(|error| SignatureError::NotACheckpoint(error.into()))?;
    key.verify_message(&message(key, text, &checkpoint, time), signature)?;
    Ok((time.0 > 0).then_some(time))
}

/// The bytes that a cosigner signs. `text` is the checkpoint's.
fn message(key: &VerifierKey, text: &str, checkpoint: &Checkpoint, time: PosixSeconds) -> Vec<u8> {
    match key.algorithm() {
        Algorithm::CosignatureMlDsa44 => {
            let head = checkpoint.head();
            subtree_message(key.name(), time, checkpoint.origin(), 0, head.size.0, &head.root)
        }
        Algorithm::CosignatureEd25519 | Algorithm::Ed25519 => {
            format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
        }
    }
}

/// The `cosigned_message` of ML-DSA-44 cosignatures. Names and origins fit the one-byte length by
/// [`limits::NAME_BYTES`].
fn subtree_message(
    cosigner: &str,
    time: PosixSeconds,
    origin: &str,
    start: u64,
    end: u64,
    root: &Hash,
) -> Vec<u8> {
    let mut message = b"subtree/v1\n\0".to_vec();
    message.push(cosigner.len() as u8);
    message.extend(cosigner.as_bytes());
    message.extend(time.0.to_be_bytes());
    message.push(origin.len() as u8);
    message.extend(origin.as_bytes());
    message.extend(start.to_be_bytes());
    message.extend(end.to_be_bytes());
    message.extend(root.as_bytes());
    message
}

/// What is wrong with a signature by a known key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A cosignature is too short for its time.
    #[error("a cosignature begins with eight bytes of time")]
    NoTimestamp,
    /// The time is over [`limits::TIMESTAMP`].
    #[error("time {time} is over the limit of {}", limits::TIMESTAMP)]
    TimestampOverLimit {
        /// The claimed time.
        time: PosixSeconds,
    },
    /// A cosignature stands under something else than a checkpoint.
    #[error("the cosigned text is no checkpoint")]
    NotACheckpoint(#[source] Box<CheckpointError>),
    /// The signature is not the key's over this message.
    #[error("the signature does not verify")]
    DoesNotVerify,
}

impl SignatureError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoTimestamp => "signature-no-timestamp",
            Self::TimestampOverLimit { .. } => "signature-timestamp-over-limit",
            Self::NotACheckpoint(_) => "signature-not-a-checkpoint",
            Self::DoesNotVerify => "signature-does-not-verify",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TreeHead, TreeSize, leaf_hash};

    #[test]
    fn the_subtree_message_is_laid_out_as_specified() {
        let message = subtree_message("w", PosixSeconds(0x0102), "log", 0, 0x0304, &leaf_hash(b"x"));
        let mut expected = b"subtree/v1\n\0\x01w\0\0\0\0\0\0\x01\x02\x03log".to_vec();
        expected.extend(b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\x04");
        expected.extend(leaf_hash(b"x").as_bytes());
        assert_eq!(message, expected);
    }

    #[test]
    fn the_ed25519_message_is_laid_out_as_specified() {
        let head = TreeHead { size: TreeSize(1), root: leaf_hash(b"x") };
        let checkpoint = Checkpoint::new("log", head).unwrap();
        let key = VerifierKey::parse(
            "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
        );
        let key = VerifierKey::new("w", Algorithm::CosignatureEd25519, key.unwrap().public_key()).unwrap();
        let text = checkpoint.to_string();
        let message = message(&key, &text, &checkpoint, PosixSeconds(7));
        assert_eq!(String::from_utf8(message).unwrap(), format!("cosignature/v1\ntime 7\n{text}"));
    }
}
