//! Why a key file is of no use. No message shows a secret.

use std::{io, path::PathBuf};

/// Why a key file can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// A file operation.
    #[error("can't {doing} the key file {path}")]
    File {
        /// What failed.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
    /// There is a file already.
    #[error("{path} exists already, and a key file is never overwritten: move it away or name another")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner have access.
    #[error("the key file {path} is open to others (mode {mode:03o}): run `chmod 600 {path}`", mode = mode & 0o777)]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The file is no key file of this kind.
    #[error("the key file {path}{at} is wrong: {reason}", at = line.map(|line| format!(", line {line},")).unwrap_or_default())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong; never a secret.
        reason: String,
    },
    /// The name of a note key.
    #[error(transparent)]
    Name(#[from] counterfoil_tlog::KeyError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Random(String),
}
