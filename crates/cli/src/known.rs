//! What the reader of a log knows of it: a trust file, or the key that signs its checkpoints.

use std::path::PathBuf;

use counterfoil_audit::Under;
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Accused, Trust};

use crate::{context::Context, error::Outcome, trust};

/// What the reader knows of the log.
pub enum Known {
    /// A trust file, and where it is.
    Trust(Box<Trust>, PathBuf),
    /// The key that signs its checkpoints.
    Key(Box<VerifierKey>),
}

impl Known {
    /// The key if there is one, or else the trust file.
    pub fn load(context: &Context, key: Option<&VerifierKey>) -> Outcome<Self> {
        match key {
            Some(key) => Ok(Self::Key(Box::new(key.clone()))),
            None => {
                let path = context.trust_path();
                Ok(Self::Trust(Box::new(trust::load(&path)?), path))
            }
        }
    }

    /// What an audit or an export holds the log against.
    pub fn under(&self) -> Under<'_> {
        match self {
            Self::Trust(trust, _) => Under::Trust(trust),
            Self::Key(key) => Under::Key(key),
        }
    }

    /// The options under which somebody else finds the same.
    pub fn name(&self) -> String {
        match self {
            Self::Trust(_, path) => format!("--trust {}", path.display()),
            Self::Key(key) => format!("--log-key {key}"),
        }
    }

    /// What evidence against the log is held against.
    pub fn accused(&self) -> Accused<'_> {
        match self {
            Self::Trust(trust, _) => Accused::Trust(trust),
            Self::Key(key) => Accused::Key(key),
        }
    }
}

/// Reads a log's key on the command line.
pub fn vkey(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text).map_err(|error| error.to_string())
}
