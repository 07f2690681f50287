//! Key files: loading, generating and signing with them.
//!
//! A key file is TOML, readable by its owner alone. One kind holds a key that signs records ([`RecordKey`]):
//!
//! ```toml
//! principal = "p-7f3a"
//! role = "human"
//! key = "ed25519:…"
//! secret = "…"              # base64url of the 32-byte seed; or instead
//! # exec = "my-signer --x"  # run by `sh -c`: preimage on stdin, signature on stdout; or
//! # ssh_agent = true         # the agent behind SSH_AUTH_SOCK is asked
//! ```
//!
//! the other a key that signs the log's checkpoints ([`NoteKey`]):
//!
//! ```toml
//! origin = "log.example"
//! vkey = "log.example+…+…"
//! secret = "…"
//! ```
//!
//! Public and secret half must belong together, and an unknown member is an error. Secrets are wiped from memory when
//! dropped and stand in no error message. This crate is also the one place that draws randomness ([`random`]).

mod error;
mod exec;
mod file;
mod note;
mod record;
mod ssh_agent;
mod toml;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use counterfoil_receipt::{PublicKey, Salt, Signature, text::Nonce};

pub use error::KeyFileError;
pub use exec::EXEC_TIMEOUT;
pub use note::NoteKey;
pub use record::RecordKey;
pub use ssh_agent::from_openssh;
pub use toml::{TomlFault, parse_toml};

/// Bytes from the operating system's cryptographic random source.
///
/// # Errors
/// [`KeyFileError::Random`] if it has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], KeyFileError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|fault| KeyFileError::Random(fault.to_string()))?;
    Ok(bytes)
}

/// A nonce for one execution (`spec/records.md` §6).
///
/// # Errors
/// As [`random`].
pub fn random_nonce() -> Result<Nonce, KeyFileError> {
    let text = BASE64_URL_SAFE_NO_PAD.encode(random::<16>()?);
    Nonce::new(text).ok_or_else(|| KeyFileError::Random("16 bytes that are no nonce".to_owned()))
}

/// A salt for one commitment (`spec/records.md` §2).
///
/// # Errors
/// As [`random`].
pub fn random_salt() -> Result<Salt, KeyFileError> {
    random().map(Salt::from_bytes)
}

/// What was signed elsewhere, if it holds. A signature that does not would only be refused later, with less to go by.
fn verified(key: &PublicKey, preimage: &[u8], bytes: [u8; 64]) -> Result<Signature, String> {
    let point =
        ed25519_dalek::VerifyingKey::from_bytes(key.material()).map_err(|_| format!("{key} is no point"))?;
    let holds = point.verify_strict(preimage, &ed25519_dalek::Signature::from_bytes(&bytes));
    holds.map_err(|_| format!("its signature does not verify under {key}"))?;
    Ok(Signature::from_bytes(bytes))
}
