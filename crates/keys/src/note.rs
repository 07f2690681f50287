//! Keys that sign checkpoints, as C2SP signed-note names them.

use std::path::Path;

use counterfoil_tlog::{Algorithm, SeedSigner, SignError, Signer, VerifierKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::KeyFileError,
    file::{self, Seed},
    random,
};

/// A key that signs the notes of one origin.
pub struct NoteKey {
    seed: Seed,
    signer: SeedSigner,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteFile {
    origin: String,
    vkey: String,
    secret: String,
}

impl NoteKey {
    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyFileError`], also if origin, public and secret half do not belong together.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let NoteFile { origin, vkey, secret } = file::read(path)?;
        let secret = Zeroizing::new(secret);
        let claimed =
            VerifierKey::parse(&vkey).map_err(|fault| file::wrong(path, format!("vkey: {fault}")))?;
        if claimed.name() != origin {
            return Err(file::wrong(
                path,
                format!("origin is {origin:?}, the vkey's name {:?}", claimed.name()),
            ));
        }
        let key = Self::from_seed(&origin, claimed.algorithm(), &*file::decode_seed(&secret, path)?)?;
        if *key.key() != claimed {
            return Err(file::wrong(
                path,
                format!("vkey: claims {claimed}, the secret is that of {}", key.key()),
            ));
        }
        Ok(key)
    }

    /// A new key.
    ///
    /// # Errors
    /// [`KeyFileError::Name`] if the origin is no key name, [`KeyFileError::Random`].
    pub fn generate(origin: &str, algorithm: Algorithm) -> Result<Self, KeyFileError> {
        Self::from_seed(origin, algorithm, &random()?)
    }

    /// The key with this seed.
    ///
    /// # Errors
    /// [`KeyFileError::Name`] if the origin is no key name.
    pub fn from_seed(origin: &str, algorithm: Algorithm, seed: &[u8; 32]) -> Result<Self, KeyFileError> {
        Ok(Self { signer: SeedSigner::new(origin, algorithm, seed)?, seed: Zeroizing::new(*seed) })
    }

    /// Writes a new key file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if there is one.
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let mut content = NoteFile {
            origin: self.key().name().to_owned(),
            vkey: self.key().to_string(),
            secret: file::encode_seed(&self.seed).to_string(),
        };
        let written = file::write(path, &content);
        drop(Zeroizing::new(std::mem::take(&mut content.secret)));
        written
    }
}

impl Signer for NoteKey {
    fn key(&self) -> &VerifierKey {
        self.signer.key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.signer.sign(message)
    }
}

impl std::fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteKey({})", self.key())
    }
}
