//! How opening, adding and reading fail.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_tlog::{Hash, LeafIndex, ProofError, TreeSize};

use crate::limits;
use crate::lock::LockError;
use crate::storage::WriteError;

/// An error of the application or of a signer, passed on as it is.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a log does not open. Nothing that it holds was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no log yet.
    #[error("there is no log in {dir}: create it first")]
    NotCreated {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// There is a log already.
    #[error("there is a log in {dir} already: open it instead")]
    Exists {
        /// The directory of the log.
        dir: PathBuf,
    },
    /// Another process writes this log.
    #[error("{path} is locked: another process writes this log; stop it first")]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
    /// The lock store would be backed up and restored along with the log.
    #[error(
        "the lock directory {lock_dir} lies in the log's directory {dir}: whoever restores a backup of the log would \
         restore the lock too; put it elsewhere"
    )]
    LockInside {
        /// The directory of the log.
        dir: PathBuf,
        /// The directory of the lock store.
        lock_dir: PathBuf,
    },
    /// The lock store.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation.
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
    /// The journal is damaged where it was acknowledged.
    #[error(
        "the journal is damaged at byte {offset} ({reason}), after {intact} intact entries, but the lock store knows of \
         {locked}: restore the journal from a copy that has all of them"
    )]
    Damaged {
        /// Where the first frame that can't be read starts.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
        /// Entries before it.
        intact: TreeSize,
        /// Size of the latest checkpoint in the lock store.
        locked: TreeSize,
    },
    /// More follows the last intact frame than one interrupted write can leave.
    #[error(
        "{length} bytes follow the last intact frame at byte {offset}: no interrupted write leaves that many"
    )]
    LongTail {
        /// Where the tail starts.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// A frame holds what the log never writes.
    #[error("the journal's frame at byte {offset} is intact but wrong")]
    BadFrame {
        /// Where it starts.
        offset: u64,
        /// What is wrong.
        #[source]
        source: BoxError,
    },
    /// The lock store is ahead of the journal.
    #[error(
        "the lock store holds a checkpoint of {locked} entries, the journal ends at {journal}: the journal was restored \
         from a backup, or lost its end. Signing on would fork the log; bring back the newest journal"
    )]
    Behind {
        /// Entries in the journal.
        journal: TreeSize,
        /// Size of the checkpoint in the lock store.
        locked: TreeSize,
    },
    /// The lock store is further behind than a crash can leave it.
    #[error(
        "the journal has {journal} entries, the lock store only knows of {locked}, more than one batch less: the lock \
         store was restored or replaced; bring back the newest one"
    )]
    LockBehind {
        /// Entries in the journal.
        journal: TreeSize,
        /// Size of the checkpoint in the lock store, 0 if it is empty.
        locked: TreeSize,
    },
    /// What the lock store holds is no checkpoint of this log.
    #[error("the lock store does not hold a checkpoint that this log has signed with the keys given")]
    ForeignLock {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The two do not belong to one history.
    #[error(
        "the lock store's checkpoint of {size} entries is none of those in the journal: they belong to two logs, or the \
         log was forked; do not run either before you know which was published\nlock store:\n{locked}\njournal, \
         last:\n{journal}"
    )]
    Forked {
        /// Size of the checkpoint in the lock store.
        size: TreeSize,
        /// The checkpoint in the lock store.
        locked: String,
        /// The last checkpoint in the journal.
        journal: String,
    },
    /// Somebody has seen more of this log than the journal has.
    #[error(
        "{who} has a checkpoint of {theirs} entries that this log signed, the journal ends at {ours}: journal and lock store \
         were restored from a backup. Signing on would fork the log"
    )]
    Overtaken {
        /// Who has the checkpoint.
        who: String,
        /// Its size.
        theirs: TreeSize,
        /// Entries in the journal.
        ours: TreeSize,
    },
    /// Somebody has seen another history of this log.
    #[error(
        "{who} has a checkpoint of {size} entries that this log signed, and the journal's first {size} entries give another \
         root: the log was forked; do not run it before you know which history was published\n{who}:\n{theirs}\njournal, \
         last:\n{journal}"
    )]
    Diverged {
        /// Who has the checkpoint.
        who: String,
        /// Its size.
        size: TreeSize,
        /// The checkpoint that they have.
        theirs: String,
        /// The last checkpoint in the journal.
        journal: String,
    },
    /// The application can't have admitted an entry.
    #[error("the application does not accept entry {index}, which is in the log")]
    Replay {
        /// Which entry.
        index: LeafIndex,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The first entry is over the limit.
    #[error("a first entry of {length} bytes is over the limit of {}", limits::ENTRY_BYTES)]
    FirstTooLong {
        /// Its length.
        length: usize,
    },
    /// A thread of the log could not be started.
    #[error("can't start a thread")]
    Thread(#[source] io::Error),
    /// Recovery failed where normal operation would have ended.
    #[error("can't recover")]
    Recovery(#[from] Fatal),
}

/// Why a log could not be created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError<R> {
    /// The application does not admit the first entry.
    #[error("the application refuses the first entry")]
    Refused(R),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why the log stopped. It signs and answers nothing any more, and the process should end: what is on disk is decided by
/// opening it again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The journal could not be written or synced. It is unknown whether the batch is on disk.
    #[error("can't {doing} the journal")]
    Journal {
        /// What failed.
        doing: &'static str,
        /// How.
        #[source]
        io: io::Error,
    },
    /// What stands in the journal is not what this process wrote and read there. Nothing of it was touched.
    #[error(
        "another process writes this log: at byte {offset} of the journal stands what this one did not write; stop one of \
         them, and start the other again"
    )]
    Conflict {
        /// Where it was to be changed.
        offset: u64,
    },
    /// The lock store could not be replaced. It is unknown whether it holds the new checkpoint.
    #[error("can't lock the new checkpoint")]
    Lock(#[from] LockError),
    /// A file that is derived from the journal could not be written. The batch is in the log.
    #[error("can't {doing} {path}")]
    Derived {
        /// What failed.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
    /// A published file has other bytes than the journal gives.
    #[error(
        "{path} was published with other bytes than the journal gives: this is another history, or the disk is damaged. \
         If you know that it is damage, move the file away and start again"
    )]
    Published {
        /// The file.
        path: PathBuf,
    },
    /// What is on disk could not be read back.
    #[error("can't read the log back")]
    Read(#[from] ReadError),
    /// The index could not be rebuilt.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The checkpoint could not be signed.
    #[error("can't sign a checkpoint")]
    Sign(#[source] BoxError),
    /// The application could not seal the batch.
    #[error("the application can't seal the batch")]
    Seal(#[source] BoxError),
    /// A seal is over the limit for entries.
    #[error("a seal of {length} bytes is over the limit of {}", limits::ENTRY_BYTES)]
    SealTooLong {
        /// Its length.
        length: usize,
    },
    /// The application panicked on the writer thread.
    #[error("the writer thread panicked")]
    Panicked,
}

/// Why something could not be read. Everything that is returned was checked against the tree of the latest checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There are not that many entries.
    #[error("{size} is over the {latest} entries of the latest checkpoint")]
    BeyondTree {
        /// The size that would be needed.
        size: TreeSize,
        /// The size there is.
        latest: TreeSize,
    },
    /// No such tile or bundle: a level over 7, or a width that is 0 or over 256.
    #[error("there is no such tile")]
    NoSuchTile,
    /// More than one call reads.
    #[error("{requested} at once is over the limit of {limit}")]
    TooMany {
        /// How many.
        requested: u64,
        /// [`limits::READ_ENTRIES`] or [`limits::READ_ROWS`].
        limit: u64,
    },
    /// There is no such proof.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A file could not be read.
    #[error("can't read {path}")]
    Files {
        /// Which.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
    /// An entry in the journal does not have the hash that is in the tree.
    #[error("entry {index} is damaged: the tree has leaf hash {expected}, the stored bytes have {computed}")]
    DamagedEntry {
        /// Which entry.
        index: LeafIndex,
        /// The hash in the tree.
        expected: Hash,
        /// The hash of what was read.
        computed: Hash,
    },
    /// A stored file is not what the tree says.
    #[error("{path} is damaged: {reason}; start the log again to find out more")]
    DamagedFile {
        /// Which file.
        path: PathBuf,
        /// In what way.
        reason: &'static str,
    },
    /// The index is gone or damaged. The log rebuilds it with the next submission, or at start.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What went wrong inside the index, which can be rebuilt.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// sled returned an error.
    #[error("the index failed")]
    Failed(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// sled panicked, as it does when its files are damaged.
    #[error("the index panicked: its files are damaged")]
    Panicked,
    /// A row is not what was written.
    #[error("a row of the index is damaged")]
    DamagedRow,
    /// It was found damaged before and is not yet rebuilt.
    #[error("the index is being rebuilt")]
    Rebuilding,
    /// Its directory could not be moved aside.
    #[error("can't move the damaged index {path} aside")]
    MoveAside {
        /// The directory.
        path: PathBuf,
        /// How.
        #[source]
        io: Arc<io::Error>,
    },
}

impl OpenError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotCreated { .. } => "open-not-created",
            Self::Exists { .. } => "open-exists",
            Self::InUse { .. } => "open-in-use",
            Self::LockInside { .. } => "open-lock-inside",
            Self::Lock(error) => error.code(),
            Self::Files { .. } => "open-files",
            Self::Damaged { .. } => "open-journal-damaged",
            Self::LongTail { .. } => "open-journal-long-tail",
            Self::BadFrame { .. } => "open-journal-bad-frame",
            Self::Behind { .. } => "open-journal-behind",
            Self::LockBehind { .. } => "open-lock-behind",
            Self::ForeignLock { .. } => "open-lock-foreign",
            Self::Forked { .. } => "open-forked",
            Self::Overtaken { .. } => "open-overtaken",
            Self::Diverged { .. } => "open-diverged",
            Self::Replay { .. } => "open-replay",
            Self::FirstTooLong { .. } => "open-first-too-long",
            Self::Thread(_) => "open-thread",
            Self::Recovery(error) => error.code(),
        }
    }
}

impl Fatal {
    /// What a failed change of the journal means.
    pub(crate) fn journal(doing: &'static str, error: WriteError) -> Self {
        match error {
            WriteError::Conflict { offset } => Self::Conflict { offset },
            WriteError::Io(io) => Self::Journal { doing, io },
        }
    }

    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Journal { .. } => "fatal-journal",
            Self::Conflict { .. } => "fatal-journal-conflict",
            Self::Lock(error) => error.code(),
            Self::Derived { .. } => "fatal-derived",
            Self::Published { .. } => "fatal-published-differs",
            Self::Read(_) => "fatal-read",
            Self::Index(_) => "fatal-index",
            Self::Sign(_) => "fatal-sign",
            Self::Seal(_) | Self::SealTooLong { .. } => "fatal-seal",
            Self::Panicked => "fatal-panicked",
        }
    }
}

impl ReadError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BeyondTree { .. } => "read-beyond-tree",
            Self::NoSuchTile => "read-no-such-tile",
            Self::TooMany { .. } => "read-too-many",
            Self::Proof(error) => error.code(),
            Self::Files { .. } => "read-files",
            Self::DamagedEntry { .. } => "read-damaged-entry",
            Self::DamagedFile { .. } => "read-damaged-file",
            Self::Index(_) => "read-index",
        }
    }
}
