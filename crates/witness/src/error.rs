//! Why a checkpoint is not cosigned, and why a witness does not start.

use std::path::PathBuf;

use counterfoil_log::LockError;
use counterfoil_tlog::witness::WitnessTextError;
use counterfoil_tlog::{CheckpointError, NoteError, PosixSeconds, ProofError, TreeSize};

use crate::limits;

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The body is no request.
    #[error("the request is malformed: {0}")]
    Malformed(#[from] WitnessTextError),
    /// The note is no checkpoint.
    #[error("the note is no checkpoint: {0}")]
    NotACheckpoint(CheckpointError),
    /// The checkpoint is longer than what the witness keeps.
    #[error("the checkpoint takes {len} bytes of state, the limit is {}", limits::STATE_BYTES)]
    TooLong {
        /// What it would take.
        len: usize,
    },
    /// The old size is over the new one.
    #[error("the old size {old} is over the checkpoint's, {size}")]
    OldOverSize {
        /// The old size.
        old: TreeSize,
        /// The size of the checkpoint.
        size: TreeSize,
    },
    /// The witness does not watch this log.
    #[error("unknown log {origin:?}")]
    UnknownLog {
        /// The origin in the checkpoint.
        origin: String,
    },
    /// The checkpoint is not signed by its log.
    #[error("invalid signature: {0}")]
    NotSigned(NoteError),
    /// The tree of the old size is not the one that the witness cosigned last.
    #[error("the witness cosigned size {size} last")]
    Conflict {
        /// The size that it cosigned; 0 for none.
        size: TreeSize,
    },
    /// The tree does not begin with the one that the witness cosigned last, or this is not shown.
    #[error("invalid consistency proof: {0}")]
    Proof(#[from] ProofError),
    /// An empty tree with a root that it can't have.
    #[error("invalid consistency proof: {0}")]
    EmptyTree(CheckpointError),
    /// The clock shows no time, or an earlier one than that of the last cosignature.
    #[error("the witness's clock shows {now}, which is before its last cosignature")]
    ClockBehind {
        /// What it shows.
        now: PosixSeconds,
    },
    /// The state could not be stored.
    #[error("the witness can't store its state: {0}")]
    Store(LockError),
    /// The state could not be stored earlier, and what is stored is not known.
    #[error("the witness could not store its state, and has to be started again")]
    Poisoned,
    /// A key did not sign.
    #[error("the witness can't sign: {0}")]
    Sign(String),
}

impl Refusal {
    /// The status of the answer, as C2SP tlog-witness has it.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_)
            | Self::NotACheckpoint(_)
            | Self::TooLong { .. }
            | Self::OldOverSize { .. } => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::Proof(_) | Self::EmptyTree(_) => 422,
            Self::ClockBehind { .. } | Self::Store(_) | Self::Poisoned | Self::Sign(_) => 500,
        }
    }
}

/// Why the state of an origin can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The store does not answer.
    #[error("{0}")]
    Store(#[source] LockError),
    /// What it holds is not what a witness writes.
    #[error("what is stored is damaged: {0}")]
    Wrong(String),
    /// What it holds is signed by none of the log's keys.
    #[error(
        "the checkpoint cosigned last is signed by none of the keys configured for this log ({0}): list the earlier key too"
    )]
    OtherKeys(String),
    /// A key did not sign.
    #[error("can't sign: {0}")]
    Sign(String),
}

/// Why a witness does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no state directory, and the witness was not said to be new.
    #[error(
        "there is no state directory {path}: a witness that forgot what it cosigned could cosign a fork. If it never \
         cosigned anything, start it with --new; if its state is lost, make a new key"
    )]
    NoState {
        /// The directory.
        path: PathBuf,
    },
    /// The witness was said to be new, and there is a state directory.
    #[error("{path} is there already: start the witness without --new")]
    NotNew {
        /// The directory.
        path: PathBuf,
    },
    /// The state of an origin can't be used.
    #[error("the state of {origin:?} in {path} can't be used: {why}")]
    State {
        /// The origin.
        origin: String,
        /// Its directory.
        path: PathBuf,
        /// Why.
        why: StateError,
    },
    /// A key file can't be used.
    #[error(transparent)]
    Key(#[from] counterfoil_keys::KeyFileError),
    /// Keys and logs don't go together.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A file operation failed.
    #[error("can't {doing} {path}: {io}")]
    File {
        /// What failed.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// How.
        io: std::io::Error,
    },
    /// The address can't be listened at.
    #[error("can't listen at {address}: {io}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        io: std::io::Error,
    },
    /// The system takes no handlers for signals, or accepting connections failed for a minute.
    #[error("can't serve: {0}")]
    Serve(std::io::Error),
}

/// Why keys and logs don't make a witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is no key.
    #[error("a witness needs a key")]
    NoKey,
    /// A key signs notes instead of cosigning checkpoints.
    #[error(
        "the key {name} signs notes; a witness needs one that cosigns, as `counterfoil witness init` makes them"
    )]
    NotACosigner {
        /// Its name.
        name: String,
    },
    /// Two keys are the same.
    #[error("two keys of the witness are the same public key: {name}")]
    SameKey {
        /// The name of the second.
        name: String,
    },
    /// The witness's key is that of a log.
    #[error("the key {name} is also a key of the log {origin:?}: a log can't watch itself")]
    KeyOfLog {
        /// The key's name.
        name: String,
        /// The log's origin.
        origin: String,
    },
    /// Two logs have the same origin.
    #[error("the log {origin:?} is listed twice")]
    SameOrigin {
        /// The origin.
        origin: String,
    },
    /// A log has no key.
    #[error("the log {origin:?} has no key")]
    LogWithoutKey {
        /// The origin.
        origin: String,
    },
    /// There are more than [`limits::LOGS`].
    #[error("{count} logs are over the limit of {}", limits::LOGS)]
    TooManyLogs {
        /// How many.
        count: usize,
    },
}
