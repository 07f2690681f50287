//! What a log is opened with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counterfoil_tlog::{
    Checkpoint, NoteSignature, SignedCheckpoint, Signer, TreeHead, TreeSize, UnverifiedNote, VerifierKey,
    sign_note,
};

use crate::error::{BoxError, OpenError};
use crate::journal::{Found, read_frame};
use crate::limits;
use crate::lock::{FileLock, LockStore};
use crate::reader::LogCheckpoint;
use crate::storage::{FileStorage, Storage};

/// Everything that a [`Log`](crate::Log) needs besides its application. [`Config::embedded`] fills it in for files on this machine.
pub struct Config {
    /// The directory of the log. Journal, tiles, scratch files and index lie in it.
    pub dir: PathBuf,
    /// The file `journal`.
    pub journal: Arc<dyn Storage>,
    /// Where the latest signed checkpoint is kept.
    pub lock: Box<dyn LockStore>,
    /// Signs checkpoints, and knows those that the log has signed.
    pub keys: CheckpointKeys,
    /// Milliseconds since 1970. It may stand still or go back; log time never does.
    pub clock: Box<dyn FnMut() -> u64 + Send>,
    /// Called on the index's thread after each new checkpoint is published and everything in it is indexed. It must return
    /// at once and not panic.
    pub on_commit: Option<CommitHook>,
    /// What others have seen of this log. A journal that is behind one of them, or another tree, is not written.
    pub observed: Vec<Observed>,
    /// Asked before the log is taken up to be written, with the checkpoint that was locked last. Nothing newer may be shown to anybody by then.
    pub ask: Option<Ask>,
}

/// Asks others what they know of a log that has this checkpoint.
pub type Ask = Box<dyn FnMut(&LogCheckpoint) -> Vec<Claim> + Send>;

/// What somebody says of this log without having a checkpoint to show: a witness, whose conflict is a size. A claim keeps a log from
/// being written, and is evidence against nobody.
#[derive(Clone, Debug)]
pub enum Claim {
    /// It has cosigned a tree of this size.
    Size {
        /// Who.
        who: String,
        /// The size.
        size: TreeSize,
    },
    /// It has cosigned another tree of this size.
    OtherTree {
        /// Who.
        who: String,
        /// The size.
        size: TreeSize,
    },
}

impl Config {
    /// A log in `dir` whose lock store is in `lock_dir`. Creates both directories and takes both locks, so that no other
    /// process can write this log as long as the configuration, or the log opened with it, lives.
    ///
    /// # Errors
    /// [`OpenError`] if another process holds a lock, if `lock_dir` lies in `dir`, or if files can't be opened.
    pub fn embedded(
        dir: &Path,
        lock_dir: &Path,
        keys: CheckpointKeys,
        clock: Box<dyn FnMut() -> u64 + Send>,
    ) -> Result<Self, OpenError> {
        let lock = FileLock::open(lock_dir)?;
        let journal = FileStorage::open(dir, "journal")?;
        let inside = |io| OpenError::Files { doing: "resolve directories of", path: dir.to_owned(), io };
        if lock_dir.canonicalize().map_err(inside)?.starts_with(dir.canonicalize().map_err(inside)?) {
            return Err(OpenError::LockInside { dir: dir.to_owned(), lock_dir: lock_dir.to_owned() });
        }
        Ok(Self {
            dir: dir.to_owned(),
            journal: Arc::new(journal),
            lock: Box::new(lock),
            keys,
            clock,
            on_commit: None,
            observed: Vec::new(),
            ask: None,
        })
    }

    /// Whether the log began with the checkpoint of the empty tree; `None` if there is no log, or its first frame is
    /// damaged. Nothing is verified or changed.
    ///
    /// # Errors
    /// [`OpenError::Files`] if the journal can't be read.
    pub fn began_empty(&self) -> Result<Option<bool>, OpenError> {
        let read_failed = |io| OpenError::Files { doing: "read", path: self.dir.join("journal"), io };
        let length = self.journal.len().map_err(read_failed)?;
        let first = read_frame(self.journal.as_ref(), 0, length).map_err(read_failed)?;
        Ok(match first {
            Found::Frame(frame) => Some(frame.size() == 0),
            Found::End | Found::Broken(_) => None,
        })
    }
}

/// A checkpoint of this log that somebody else has: a witness, a mirror, a reader.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Who, as messages name them.
    pub(crate) who: String,
    pub(crate) checkpoint: LogCheckpoint,
}

impl Observed {
    /// Who has it.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// The tree that it signs.
    pub fn head(&self) -> TreeHead {
        self.checkpoint.head
    }
}

/// Called with each checkpoint.
pub type CommitHook = Box<dyn FnMut(&Arc<LogCheckpoint>) + Send>;

/// The keys of the log's checkpoints: those that sign now, and those that signed earlier ones.
pub struct CheckpointKeys {
    signers: Vec<Box<dyn Signer + Send>>,
    pub(crate) known: Arc<KnownKeys>,
}

impl CheckpointKeys {
    /// Every one of `signers` signs each checkpoint; there must be one at least, except to recover or to back up a log. `retired` are keys under which
    /// the log has signed before.
    pub fn new(
        origin: impl Into<String>,
        signers: Vec<Box<dyn Signer + Send>>,
        retired: Vec<VerifierKey>,
    ) -> Self {
        let keys = signers.iter().map(|signer| signer.key().clone()).chain(retired).collect();
        Self { signers, known: Arc::new(KnownKeys { origin: origin.into(), keys }) }
    }

    /// The origin of the log.
    pub fn origin(&self) -> &str {
        &self.known.origin
    }

    /// The keys that have signed its checkpoints.
    pub fn verifiers(&self) -> &[VerifierKey] {
        &self.known.keys
    }

    /// Takes note of a checkpoint that `who` has. It must be signed by this log; signature lines of others are dropped.
    ///
    /// # Errors
    /// If it is no checkpoint of this log.
    pub fn observe(&self, who: impl Into<String>, note: &str) -> Result<Observed, BoxError> {
        Ok(Observed { who: who.into(), checkpoint: self.known.open_own(note)? })
    }

    /// Signs the checkpoint of a tree, and opens it again as a reader would.
    pub(crate) fn sign(&self, head: TreeHead) -> Result<LogCheckpoint, BoxError> {
        let text = Checkpoint::new(self.known.origin.as_str(), head)?.to_string();
        let signatures =
            self.signers.iter().map(|signer| sign_note(&text, signer.as_ref())).collect::<Result<_, _>>()?;
        let note = UnverifiedNote::new(text, signatures)?;
        let checkpoint = self.known.open(&note.to_string())?;
        match checkpoint.text.len() {
            0..=limits::CHECKPOINT_BYTES => Ok(checkpoint),
            length => Err(format!("a checkpoint of {length} bytes is over the limit").into()),
        }
    }
}

/// The public half of [`CheckpointKeys`].
#[derive(Debug)]
pub(crate) struct KnownKeys {
    origin: String,
    keys: Vec<VerifierKey>,
}

impl KnownKeys {
    /// Opens a checkpoint that this log has signed, without the signature lines of others.
    pub fn open_own(&self, text: &str) -> Result<LogCheckpoint, BoxError> {
        let note = UnverifiedNote::parse(text.as_bytes())?;
        let is_own = |line: &&NoteSignature| self.keys.iter().any(|key| line.is_by(key));
        let own = note.signatures().iter().filter(is_own).cloned().collect();
        self.open(&UnverifiedNote::new(note.text().to_owned(), own)?.to_string())
    }

    /// Reads what a checkpoint says, of which it does not matter who signed it: what it says is compared with the tree.
    pub fn read(&self, text: &str) -> Result<LogCheckpoint, BoxError> {
        let checkpoint = Checkpoint::parse(UnverifiedNote::parse(text.as_bytes())?.text())?;
        if checkpoint.origin() != self.origin || !checkpoint.extensions().is_empty() {
            return Err("it is no checkpoint of this log".into());
        }
        Ok(LogCheckpoint { text: text.to_owned(), head: checkpoint.head() })
    }

    /// Opens a checkpoint that this log has signed.
    pub fn open(&self, text: &str) -> Result<LogCheckpoint, BoxError> {
        let note = UnverifiedNote::parse(text.as_bytes())?;
        let signed = SignedCheckpoint::open(note, &self.origin, &self.keys, &[] as &[VerifierKey])?;
        if !signed.checkpoint().extensions().is_empty() {
            return Err("the log signs no extension lines".into());
        }
        Ok(LogCheckpoint { text: text.to_owned(), head: signed.checkpoint().head() })
    }
}
