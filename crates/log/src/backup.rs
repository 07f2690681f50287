//! An online backup: the journal up to the last batch that is locked, copied beside a running writer and verified.
//!
//! The journal only grows, so that a backup is continued by copying what is new. The lock store is never part of it: it is
//! what keeps a restored backup from signing a second history.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::config::CheckpointKeys;
use crate::error::{BoxError, OpenError};
use crate::lock::FileLock;
use crate::reader::LogCheckpoint;
use crate::start::survey_journal;
use crate::storage::{FileStorage, sync_dir};

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The checkpoint of its last batch.
    pub checkpoint: LogCheckpoint,
    /// Bytes of its journal.
    pub bytes: u64,
    /// Bytes that were new.
    pub copied: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The log, or the copy, is not what opening it would accept.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nothing is locked.
    #[error(
        "the lock store holds no checkpoint of this journal: what is acknowledged can't be told; recover the log first"
    )]
    NotLocked,
    /// The backup is not of this journal.
    #[error(
        "the backup's journal differs from the log's at byte {offset}: it is of another log or history; choose another directory"
    )]
    Differs {
        /// The first byte that differs, to within a mebibyte.
        offset: u64,
    },
    /// The backup has more.
    #[error(
        "the backup has {backup} bytes of journal, the log only {log}: the log was restored or lost its end; recover it from this backup"
    )]
    Ahead {
        /// Bytes in the backup.
        backup: u64,
        /// Bytes in the log, up to the last locked batch.
        log: u64,
    },
    /// A file operation failed.
    #[error("can't {doing} {path}")]
    Files {
        /// What failed.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
}

impl BackupError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open(error) => error.code(),
            Self::NotLocked => "backup-not-locked",
            Self::Differs { .. } => "backup-differs",
            Self::Ahead { .. } => "backup-ahead",
            Self::Files { .. } => "backup-files",
        }
    }
}

/// Copies the journal of the log in `dir` to `into/log/journal`, or what is new of it if there is a backup already, and
/// verifies the copy as opening a log does. Then writes `into/BACKUP`, with `time` in milliseconds since 1970. All is synced.
/// It takes no lock: the log may be running.
///
/// # Errors
/// [`BackupError`]. A backup that was there before is still one.
pub fn backup(
    dir: &Path,
    lock_dir: &Path,
    keys: &CheckpointKeys,
    into: &Path,
    time: u64,
) -> Result<Backup, BackupError> {
    // First, so that the journal has the batch.
    let locked = FileLock::peek(lock_dir).map_err(OpenError::from)?.ok_or(BackupError::NotLocked)?;
    let foreign = |source: BoxError| OpenError::ForeignLock { source };
    let locked = String::from_utf8(locked).map_err(|error| foreign(error.into()))?;
    let locked = keys.known.open(&locked).map_err(foreign)?;
    let (log, note) = (into.join("log"), into.join("BACKUP"));
    fs::create_dir_all(&log).map_err(files("create", &log))?;
    let counted = read_note(&note)?;
    let copied = copy(&dir.join("journal"), &log.join("journal"), counted)?;
    let storage = FileStorage::open(&log, "journal")?;
    let survey = survey_journal(&log, &storage, &keys.known, Some(locked.clone()), &BTreeSet::new())?;
    let bytes = survey.locked_end.ok_or(BackupError::NotLocked)?;
    if bytes < counted {
        return Err(BackupError::Ahead { backup: counted, log: bytes });
    }
    storage.shorten(bytes).map_err(files("sync", &log.join("journal")))?;
    drop(storage);
    sync_dir(&log).map_err(files("sync", &log))?;
    write_note(&note, keys.origin(), &locked, bytes, time)?;
    Ok(Backup { checkpoint: locked, bytes, copied: copied.min(bytes - counted) })
}

/// Continues `to` behind its first `counted` bytes, which must be those of `from`. Gives how many bytes were written.
fn copy(from: &Path, to: &Path, counted: u64) -> Result<u64, BackupError> {
    let mut source = File::open(from).map_err(files("open", from))?;
    let target = File::options().read(true).write(true).create(true).truncate(false).open(to);
    let mut target = target.map_err(files("open", to))?;
    // What a backup that was interrupted left behind them may have been replaced in the log since.
    let length = target.metadata().map_err(files("read", to))?.len();
    if length < counted {
        return Err(BackupError::Differs { offset: length });
    }
    target.set_len(counted).map_err(files("cut", to))?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < counted {
        let chunk = (counted - at).min(1 << 20);
        let take = |file: &mut File, into: &mut Vec<u8>| {
            into.clear();
            file.take(chunk).read_to_end(into)
        };
        take(&mut source, &mut theirs).map_err(files("read", from))?;
        take(&mut target, &mut ours).map_err(files("read", to))?;
        if (theirs.len() as u64) < chunk && ours.starts_with(&theirs) {
            return Err(BackupError::Ahead { backup: counted, log: at + theirs.len() as u64 });
        }
        if ours != theirs {
            return Err(BackupError::Differs { offset: at });
        }
        at += chunk;
    }
    target.seek(SeekFrom::Start(counted)).map_err(files("write", to))?;
    let copied = io::copy(&mut source, &mut target).map_err(files("write", to))?;
    target.sync_all().map_err(files("sync", to))?;
    Ok(copied)
}

/// Bytes of journal that a backup counts on; 0 if there is none.
fn read_note(path: &Path) -> Result<u64, BackupError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        read => read.map_err(files("read", path))?,
    };
    let bytes = text.lines().find_map(|line| line.strip_prefix("journal ")?.parse().ok());
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no line says how long its journal is");
    bytes.filter(|_| text.starts_with(FORMAT)).ok_or_else(malformed).map_err(files("read", path))
}

const FORMAT: &str = "counterfoil-backup/1\n";

fn write_note(
    path: &Path,
    origin: &str,
    locked: &LogCheckpoint,
    bytes: u64,
    time: u64,
) -> Result<(), BackupError> {
    let (size, root) = (locked.head.size, locked.head.root);
    let text = format!("{FORMAT}origin {origin}\nsize {size}\nroot {root}\njournal {bytes}\ntime {time}\n");
    replace(path, text.as_bytes())
}

/// Replaces a file as a whole, durably.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let new = path.with_extension("new");
    let mut file = File::create(&new).map_err(files("create", &new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(files("write", &new))?;
    fs::rename(&new, path).map_err(files("rename", &new))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    sync_dir(parent).map_err(files("sync", parent))
}

fn files(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |io| BackupError::Files { doing, path: path.to_owned(), io }
}
