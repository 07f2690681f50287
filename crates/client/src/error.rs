//! What can go wrong between a client and a log, with the evidence.

use std::{io, time::Duration};

use counterfoil_receipt::{DraftError, RecordId, RunId};
use counterfoil_tlog::TreeSize;
use thiserror::Error;

use crate::{
    checkpoint::Fork,
    pinned::{Included, Rejected},
};

/// Why a call gave nothing that can be relied on.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection, or no answer to a question. Nothing was submitted.
    #[error("unreachable: {url}: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// Something was asked or submitted, and the answer did not come in time or broke off.
    #[error("no-answer: {url}: {why}")]
    NoAnswer {
        /// What was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server serves another log than the pinned one. Nothing was submitted to it.
    #[error("log-mismatch: {url}: the server's log is {found}, pinned is {pinned}")]
    OtherLog {
        /// What was asked.
        url: String,
        /// The id of its genesis.
        found: RecordId,
        /// The id that the trust names.
        pinned: RecordId,
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
    /// The answer is not what `spec/http.md` says.
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
    /// The last checkpoint seen could not be read or kept; `InvalidData` if what is kept is none of the pinned log.
    #[error("checkpoint-store: {place}: {io}")]
    Store {
        /// Where it is kept.
        place: String,
        /// What happened.
        io: io::Error,
    },
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
            Self::NoAnswer { .. } => "no-answer",
            Self::OtherLog { .. } => "log-mismatch",
            Self::Busy { .. } => "log-busy",
            Self::Refused(problem) => &problem.code,
            Self::Protocol { .. } => "protocol",
            Self::TooLarge { .. } => "answer-too-large",
            Self::Untrusted { .. } => "untrusted",
            Self::Fork(_) => "log-forked",
            Self::Stale { .. } => "stale",
            Self::NotShown { .. } => "not-shown",
            Self::Store { .. } => "checkpoint-store",
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

/// Why a submission has no inclusion that can be relied on.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// The log does not admit the record, and signed that.
    #[error("{0}")]
    Rejected(Box<Rejected>),
    /// Nothing was submitted, or the server said that it took nothing.
    #[error(transparent)]
    NotSubmitted(#[from] ClientError),
    /// It was submitted, and there is no answer that can be relied on.
    #[error(transparent)]
    Failed(ClientError),
    /// The record is in the log, proven under a pinned key; what the log showed could not be kept here.
    #[error("{} is entry {} of the log; but {cause}", included.id, included.index)]
    NotKept {
        /// The record.
        included: Box<Included>,
        /// Why not, a [`ClientError::Store`].
        cause: ClientError,
    },
}

impl SubmitError {
    /// What it means for the records in a request that the request failed.
    pub(crate) fn of_request(error: ClientError) -> Self {
        match &error {
            ClientError::Unreachable { .. } | ClientError::Busy { .. } | ClientError::Misuse(_) => {
                Self::NotSubmitted(error)
            }
            // A request at fault is refused as a whole (`spec/http.md`).
            ClientError::Refused(problem) if problem.status < 500 => Self::NotSubmitted(error),
            _ => Self::Failed(error),
        }
    }

    /// Whether the record may have been logged all the same. Submitting the same bytes again is safe, and tells.
    pub const fn may_be_logged(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::NotSubmitted(_) => false,
            Self::Failed(_) | Self::NotKept { .. } => true,
        }
    }
}
