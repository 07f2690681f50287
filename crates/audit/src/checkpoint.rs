//! The checkpoint of a log, under what its reader knows of the log.

use counterfoil_tlog::{CheckpointError, SignedCheckpoint, TreeHead, UnverifiedNote, VerifierKey};
use counterfoil_verify::{Fault, ShownCheckpoint, Trust, open_checkpoint};

/// What a reader knows of a log.
#[derive(Clone, Copy, Debug)]
pub enum Under<'a> {
    /// A counterfoil log: its keys, its genesis, and whose cosignatures count.
    Trust(&'a Trust),
    /// Any C2SP log, by the key that signs its checkpoints. The name of the key is the origin.
    Key(&'a VerifierKey),
}

/// A checkpoint whose signature holds.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The note, as served.
    pub note: String,
    /// Size and root.
    pub head: TreeHead,
    /// Names of the log keys that signed.
    pub signed_by: Vec<String>,
    /// Names of the witnesses whose cosignatures hold, with their time in seconds since the Unix epoch.
    pub witnesses: Vec<(String, u64)>,
    /// How many signature lines are of signers that the reader does not know.
    pub unknown: usize,
    /// Lines after the root, which only the log's application can read.
    pub extensions: usize,
    pub(crate) shown: Option<ShownCheckpoint>,
}

/// Why a checkpoint is not the log's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct NotOpened {
    /// A stable code.
    pub code: &'static str,
    /// The rule in `spec/rules.md` that it breaks, if it is of a counterfoil log.
    pub rule: Option<&'static str>,
    /// What is wrong.
    pub detail: String,
}

impl Under<'_> {
    /// The origin of the log's checkpoints.
    pub fn origin(&self) -> &str {
        match self {
            Self::Trust(trust) => trust.origin(),
            Self::Key(key) => key.name(),
        }
    }

    /// Opens a checkpoint of the log.
    ///
    /// # Errors
    /// [`NotOpened`] if it is of another log, not signed by it, or no checkpoint.
    pub fn open(&self, note: &[u8]) -> Result<Opened, NotOpened> {
        let text = std::str::from_utf8(note).map_err(|_| NotOpened {
            code: "checkpoint-form",
            rule: None,
            detail: "the checkpoint is no UTF-8 text".to_owned(),
        })?;
        match self {
            Self::Trust(trust) => {
                let shown = open_checkpoint(text, trust).map_err(NotOpened::from)?;
                Ok(Opened {
                    note: text.to_owned(),
                    head: shown.head,
                    signed_by: shown.signed_by.clone(),
                    witnesses: shown.witnesses.clone(),
                    unknown: shown.unknown,
                    extensions: 0,
                    shown: Some(shown),
                })
            }
            Self::Key(key) => {
                let signed = by_key(text, key).map_err(NotOpened::from)?;
                Ok(Opened {
                    note: text.to_owned(),
                    head: signed.head(),
                    signed_by: vec![format!("{}+{}", key.name(), key.id())],
                    witnesses: Vec::new(),
                    unknown: signed.unknown(),
                    extensions: signed.checkpoint().extensions().len(),
                    shown: None,
                })
            }
        }
    }
}

fn by_key(text: &str, key: &VerifierKey) -> Result<SignedCheckpoint, CheckpointError> {
    let none: [&VerifierKey; 0] = [];
    SignedCheckpoint::open(UnverifiedNote::parse(text.as_bytes())?, key.name(), &[key], &none)
}

impl From<Fault> for NotOpened {
    fn from(fault: Fault) -> Self {
        Self { code: fault.rule.code(), rule: Some(fault.rule.id()), detail: fault.detail }
    }
}

impl From<CheckpointError> for NotOpened {
    fn from(error: CheckpointError) -> Self {
        let code = match error {
            CheckpointError::WrongOrigin { .. } => "checkpoint-origin",
            CheckpointError::NotSignedByLog { .. } | CheckpointError::Note(_) => "checkpoint-signature",
            _ => "checkpoint-form",
        };
        Self { code, rule: None, detail: format!("checkpoint: {error}") }
    }
}
