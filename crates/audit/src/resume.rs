//! How far an audit came in which nothing was found: a file that the next one may go on from.
//!
//! It holds the hashes that stand for the entries that were audited. Whoever resumes derives them again or goes on from them to the
//! signed root, so a state file of another log, or an edited one, ends the audit; it can't make it skip what it would have found,
//! except for a reader who lets somebody else write the file.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use counterfoil_tlog::{Frontier, Hash, TreeSize, tile::WIDTH};
use serde::{Deserialize, Serialize};

use crate::limits;

const FORMAT: &str = "counterfoil-audit-state/1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    format: String,
    frontier: Vec<String>,
    origin: String,
    records: bool,
    size: u64,
}

/// Why an audit can't go on from a state file, or can't keep one.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The file can't be read or written.
    #[error("{path}: {io}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        io: io::Error,
    },
    /// The file is no state of such an audit.
    #[error("{path} is no state of an audit of this log: {why}", path = path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Reads the frontier of the entries that were audited; `None` if there is no file yet.
pub(crate) fn load(path: &Path, origin: &str, records: bool) -> Result<Option<Frontier>, ResumeError> {
    let failed = |io| ResumeError::File { path: path.to_owned(), io };
    let foreign = |why: String| ResumeError::Foreign { path: path.to_owned(), why };
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened
            .map_err(failed)?
            .take(limits::STATE_BYTES as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?,
    };
    if bytes.len() > limits::STATE_BYTES {
        return Err(foreign(format!("has more than {} bytes", limits::STATE_BYTES)));
    }
    let state: State = serde_json::from_slice(&bytes).map_err(|why| foreign(why.to_string()))?;
    if state.format != FORMAT || state.origin != origin || state.records != records {
        return Err(foreign(format!("it is of {:?}, as {}", state.origin, state.format)));
    }
    let hashes: Option<Vec<Hash>> = state.frontier.iter().map(|hash| Hash::from_base64(hash)).collect();
    let hashes = hashes.ok_or_else(|| foreign("a hash is none".to_owned()))?;
    if !state.size.is_multiple_of(u64::from(WIDTH)) {
        return Err(foreign(format!("{} entries are no whole bundles", state.size)));
    }
    Frontier::from_parts(TreeSize(state.size), hashes).map(Some).map_err(|why| foreign(why.to_string()))
}

/// Keeps a frontier, in place of the one before.
pub(crate) fn keep(path: &Path, origin: &str, records: bool, frontier: &Frontier) -> Result<(), ResumeError> {
    let state = State {
        format: FORMAT.to_owned(),
        frontier: frontier.hashes().iter().map(Hash::to_base64).collect(),
        origin: origin.to_owned(),
        records,
        size: frontier.size().0,
    };
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".unfinished");
    let unfinished = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|io| ResumeError::File { path: path.to_owned(), io })
}
