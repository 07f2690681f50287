//! What can go wrong between a client and a log, with the evidence.

use std::{io, time::Duration};

use counterfoil_receipt::{DraftError, RunId};
use counterfoil_tlog::TreeSize;
use thiserror::Error;

use crate::{checkpoint::Fork, pinned::Rejected};

/// Why a call gave nothing that can be relied on.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection, no answer in time, or the answer broke off. A submission may have been logged.
    #[error("unreachable: {url}: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// The log was busy for as long as this client waits. Nothing was logged.
    #[error("log-busy: {url}: still busy after {} s; try again later", waited.as_secs())]
    Busy {
        /// What was asked.
        url: String,
        /// How long it was asked again.
        waited: Duration,
    },
    /// The server answered with a problem document.
    #[error("{0}")]
    Refused(Problem),
    /// The answer is not what `spec/http.md` says. A submission may have been logged.
    #[error("protocol: {url}: {why}")]
    Protocol {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The answer is larger than this client reads.
    #[error("answer-too-large: {url}: more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer does not hold under the pinned keys: a signature, an inclusion or consistency proof, an id.
    #[error("untrusted: {url}: {why}")]
    Untrusted {
        /// What was asked.
        url: String,
        /// What does not hold.
        why: String,
    },
    /// The log signed two trees of which neither continues the other. Keep this: it convicts the log.
    #[error("{0}")]
    Fork(Box<Fork>),
    /// The log showed an older state than it had shown before.
    #[error(
        "stale: the log shows its tree of size {shown}, and has shown {seen}; ask again, or ask another copy"
    )]
    Stale {
        /// The size shown now.
        shown: TreeSize,
        /// The size seen before.
        seen: TreeSize,
    },
    /// The bundle does not show enough to sign anything on it.
    #[error("not-shown: run {run}: {why}")]
    NotShown {
        /// The run.
        run: RunId,
        /// The dimension, and why.
        why: String,
    },
    /// The last checkpoint seen could not be read or kept.
    #[error("checkpoint-store: {0}")]
    Store(#[from] io::Error),
    /// A draft did not become a record.
    #[error("draft: {0}")]
    Draft(#[from] DraftError),
    /// The caller asked for what can't be.
    #[error("misuse: {0}")]
    Misuse(String),
    /// The system gave no randomness.
    #[error("random: the system gave no randomness: {0}")]
    Random(String),
    /// The clock can't be read.
    #[error("clock: the time is before 1970 or beyond 2^53 milliseconds")]
    Clock,
}

impl ClientError {
    /// A stable name for this kind of error; for a problem document, its code.
    pub fn code(&self) -> &str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Busy { .. } => "log-busy",
            Self::Refused(problem) => &problem.code,
            Self::Protocol { .. } => "protocol",
            Self::TooLarge { .. } => "answer-too-large",
            Self::Untrusted { .. } => "untrusted",
            Self::Fork(_) => "log-forked",
            Self::Stale { .. } => "stale",
            Self::NotShown { .. } => "not-shown",
            Self::Store(_) => "checkpoint-store",
            Self::Draft(_) => "draft",
            Self::Misuse(_) => "misuse",
            Self::Random(_) => "random",
            Self::Clock => "clock",
        }
    }
}

/// A problem document (`spec/http.md`).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{code}: {detail} (HTTP {status}){}", hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct Problem {
    /// The stable code.
    pub code: String,
    /// What happened.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// The HTTP status.
    pub status: u16,
}

/// Why a submission has no inclusion.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The log does not admit the record, and signed that.
    #[error("{0}")]
    Rejected(Box<Rejected>),
    /// There is no answer that can be relied on.
    #[error(transparent)]
    Failed(#[from] ClientError),
}

impl SubmitError {
    /// Whether the record may have been logged all the same. Submitting the same bytes again is safe, and tells.
    pub const fn may_be_logged(&self) -> bool {
        match self {
            Self::Rejected(_) => false,
            Self::Failed(error) => match error {
                ClientError::Busy { .. }
                | ClientError::NotShown { .. }
                | ClientError::Draft(_)
                | ClientError::Misuse(_)
                | ClientError::Random(_)
                | ClientError::Clock => false,
                ClientError::Unreachable { .. }
                | ClientError::Refused(_)
                | ClientError::Protocol { .. }
                | ClientError::TooLarge { .. }
                | ClientError::Untrusted { .. }
                | ClientError::Fork(_)
                | ClientError::Stale { .. }
                | ClientError::Store(_) => true,
            },
        }
    }
}
