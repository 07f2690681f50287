//! Bringing a log back that start refuses, as far as that is safe: nothing is ever signed here.
//!
//! What is missing is taken from a copy and held to a checkpoint that this log signed; that checkpoint, and no new one, goes
//! into journal and lock store. Two histories are never made one.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use counterfoil_tlog::tile::WIDTH;
use counterfoil_tlog::{Hash, MemoryTree, TreeHead, TreeSize, consistency, leaf_hash};

use crate::config::{Config, Observed};
use crate::error::{BoxError, Fatal, OpenError};
use crate::journal::{Found, Frame, FrameBuilder, Journal, read_frame};
use crate::limits;
use crate::plan::{self, Step};
use crate::reader::LogCheckpoint;
use crate::start::{Placed, Survey, cut_tail, survey};
use crate::storage::{FileStorage, Storage as _, WriteError};

/// A log under repair. It holds the log's locks.
pub struct Recovery {
    config: Config,
    survey: Survey,
}

/// What would be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Bytes behind the last whole batch that are cut off; a copy is kept.
    pub cut: u64,
    /// Entries that others have seen and the journal lacks.
    pub missing: Range<u64>,
    /// The checkpoint that the lock store gets, if it holds another.
    pub lock: Option<LogCheckpoint>,
    /// Whether nothing but what others have seen says that this is the newest checkpoint: then all of them must have been
    /// asked.
    pub rests_on_others: bool,
}

impl Repair {
    /// Whether there is nothing to do.
    pub fn is_nothing(&self) -> bool {
        self.cut == 0 && self.missing.is_empty() && self.lock.is_none()
    }
}

/// Why a log can't be brought back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// Journal or lock store can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Two histories were signed.
    #[error(
        "the log was forked: {who} has a checkpoint of {} entries that this log signed, and the journal's first {} entries \
         give the root {root}", theirs.head.size, theirs.head.size
    )]
    Forked {
        /// Who has the other.
        who: String,
        /// What they have.
        theirs: Box<LogCheckpoint>,
        /// The journal's last.
        journal: Box<LogCheckpoint>,
        /// The journal's root at their size.
        root: Hash,
        /// The proof that the journal's last tree begins with a tree of their size and that root.
        proof: Vec<Hash>,
    },
    /// There is no whole batch to go on from.
    #[error("there is no whole batch in the journal: restore a backup first")]
    Empty,
    /// More is damaged than is cut off here.
    #[error("{length} bytes that can't be read follow byte {offset}: restore a backup first")]
    Tail {
        /// Where it starts.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// The copy could not be read.
    #[error("can't read the missing entries")]
    Fetch(#[source] BoxError),
    /// The copy has other entries.
    #[error(
        "the entries that were fetched do not give the root that the log signed for {size} entries: the copy is damaged, or \
         of another history. Nothing was changed"
    )]
    Differs {
        /// The size of the checkpoint.
        size: TreeSize,
    },
    /// A write failed. What is on disk is found by the next recovery.
    #[error(transparent)]
    Write(#[from] Fatal),
}

impl RecoverError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Open(error) => error.code(),
            Self::Forked { .. } => "recover-forked",
            Self::Empty => "recover-empty",
            Self::Tail { .. } => "recover-tail",
            Self::Fetch(_) => "recover-fetch",
            Self::Differs { .. } => "recover-differs",
            Self::Write(error) => error.code(),
        }
    }
}

/// Where the entry bundle ends that a tree of this size goes on with.
fn after_bundle(size: TreeSize) -> u64 {
    let width = u64::from(WIDTH);
    (size.0 / width + 1) * width
}

/// What the lock store is called in messages.
const LOCK: &str = "the lock store";

impl Recovery {
    /// Reads journal and lock store, and places in them what [`Config::observed`] has seen. Nothing is changed. The keys need no
    /// signer.
    ///
    /// # Errors
    /// [`OpenError`] if something can't be read, or is wrong in another way than a restored backup or a lost disk leaves.
    pub fn examine(mut config: Config) -> Result<Self, OpenError> {
        let survey = survey(&mut config)?;
        Ok(Self { config, survey })
    }

    /// Entries in the journal.
    pub fn size(&self) -> TreeSize {
        self.survey.size()
    }

    /// The size of the checkpoint in the lock store, if there is one.
    pub fn locked(&self) -> Option<TreeSize> {
        self.survey.locked.as_ref().map(|locked| locked.head.size)
    }

    /// What would be done.
    ///
    /// # Errors
    /// [`RecoverError`] if nothing can be done safely.
    pub fn plan(&self) -> Result<Repair, RecoverError> {
        let survey = &self.survey;
        let Some(last) = &survey.last else { return Err(RecoverError::Empty) };
        for (who, theirs) in self.seen() {
            if survey.place(theirs.head) == Placed::Elsewhere {
                return Err(self.forked(who, theirs, last)?);
            }
        }
        // Of whole frames whose batch has no end any number may be cut: an interrupted recovery leaves them.
        let (offset, length) = (survey.intact, survey.length - survey.intact);
        if length > limits::RECOVERED_TAIL_BYTES {
            return Err(RecoverError::Tail { offset, length });
        }
        let cut = survey.length - survey.end;
        let newest = self.ahead().pop().unwrap_or_else(|| last.clone());
        let missing = last.head.size.0..newest.head.size.0;
        // Where only the last batch is not locked, start takes it up.
        let is_for_start = missing.is_empty() && cut == 0 && survey.unlocked == Some(1);
        let is_locked = survey.locked.as_ref() == Some(&newest);
        let lock = (!is_locked && !is_for_start).then_some(newest);
        let rests_on_others = lock.is_some();
        Ok(Repair { cut, missing, lock, rests_on_others })
    }

    /// Does what [`plan`](Self::plan) says, in the order of [`plan::RECOVER`]. `fetch` gives entries, [`WIDTH`] of them at most;
    /// the batches that are made of them get a log time of `time` at least, in milliseconds since 1970.
    ///
    /// All of them are fetched, into a file without a name, and checked before anything is changed. If this is interrupted
    /// then, the lock store is ahead and start refuses: it can be done again. Memory is needed for one frame.
    ///
    /// # Errors
    /// [`RecoverError`]. Except for [`RecoverError::Write`], nothing was changed.
    pub fn apply(
        mut self,
        fetch: &mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, BoxError>,
        time: u64,
    ) -> Result<Repair, RecoverError> {
        let repair = self.plan()?;
        let fetched = self.fetch(fetch, time)?;
        cut_tail(&self.config.dir, self.config.journal.as_ref(), &self.survey)?;
        for step in plan::RECOVER {
            match step {
                Step::Swap => self.swap(repair.lock.as_ref())?,
                Step::Append => self.append(&fetched)?,
                Step::Sync => self.sync()?,
                // Start's.
                Step::Rewrite | Step::Derive | Step::Publish | Step::Index | Step::Answer => {}
            }
        }
        Ok(repair)
    }

    fn swap(&mut self, checkpoint: Option<&LogCheckpoint>) -> Result<(), Fatal> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        let old = self.survey.locked.as_ref().map(|locked| locked.text.as_bytes());
        Ok(self.config.lock.replace(old, checkpoint.text.as_bytes())?)
    }

    fn append(&self, fetched: &FileStorage) -> Result<(), Fatal> {
        let read_failed = |io| Fatal::Journal { doing: "read what was fetched for", io };
        let length = fetched.len().map_err(read_failed)?;
        let mut journal = Journal::new(Arc::clone(&self.config.journal), self.survey.end);
        let mut at = 0;
        loop {
            let frame = match read_frame(fetched, at, length).map_err(read_failed)? {
                Found::Frame(frame) => frame,
                Found::End => return Ok(()),
                Found::Broken(reason) => return Err(read_failed(io::Error::other(reason))),
            };
            journal.append(&frame).map_err(|error| Fatal::journal("write", error))?;
            journal.skip(&frame);
            at += frame.len();
        }
    }

    /// What was appended becomes durable. If it does not, it can be read all the same, and start would go on behind it: it is
    /// cut off, so that the lock store stays ahead.
    fn sync(&mut self) -> Result<(), RecoverError> {
        let Err(io) = self.config.journal.sync() else { return Ok(()) };
        if let Ok(length) = self.config.journal.len() {
            self.survey.length = length;
            // The first failure counts.
            let _ = cut_tail(&self.config.dir, self.config.journal.as_ref(), &self.survey);
        }
        Err(Fatal::Journal { doing: "sync", io }.into())
    }

    /// Every checkpoint that somebody has, the lock store included.
    fn seen(&self) -> impl Iterator<Item = (&str, &LogCheckpoint)> {
        let observed =
            self.config.observed.iter().map(|Observed { who, checkpoint }| (who.as_str(), checkpoint));
        observed.chain(self.survey.locked.iter().map(|locked| (LOCK, locked)))
    }

    /// Those ahead of the journal, smallest first; the lock store's goes before others of the same tree.
    fn ahead(&self) -> Vec<LogCheckpoint> {
        let ahead = |checkpoint: &&LogCheckpoint| self.survey.place(checkpoint.head) == Placed::Ahead;
        let locked = self.survey.locked.iter();
        let observed = self.config.observed.iter().map(|observed| &observed.checkpoint);
        let mut ahead: Vec<_> = locked.chain(observed).filter(ahead).cloned().collect();
        // Stable: among equals the lock store's stays first.
        ahead.sort_by_key(|checkpoint| checkpoint.head.size);
        ahead.dedup_by(|later, earlier| later.head == earlier.head);
        ahead
    }

    /// The batches that are missing: each ends with a checkpoint that somebody has.
    fn fetch(
        &self,
        fetch: &mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, BoxError>,
        time: u64,
    ) -> Result<FileStorage, RecoverError> {
        let dir = &self.config.dir;
        let unwritten = |io| OpenError::Files { doing: "write what is fetched into", path: dir.clone(), io };
        let fetched = FileStorage::temporary(dir).map_err(unwritten)?;
        let mut end = 0;
        let mut put = |frame: Frame| {
            let written = fetched.append(end, frame.bytes()).map_err(|error| match error {
                WriteError::Io(io) => unwritten(io),
                conflict => unwritten(io::Error::other(conflict)),
            });
            end += frame.len();
            written
        };
        let mut edge = self.survey.edge.clone();
        for (time, checkpoint) in (time.max(self.survey.time + 1)..).zip(self.ahead()) {
            let TreeHead { size, .. } = checkpoint.head;
            let mut frame = FrameBuilder::new(edge.size().0, time);
            while edge.size() < size {
                let wanted = edge.size().0..after_bundle(edge.size()).min(size.0);
                let entries = fetch(wanted.clone()).map_err(RecoverError::Fetch)?;
                let is_right = |entry: &Vec<u8>| entry.len() <= limits::ENTRY_BYTES;
                if entries.len() as u64 != wanted.end - wanted.start || !entries.iter().all(is_right) {
                    return Err(RecoverError::Differs { size });
                }
                for entry in &entries {
                    if !frame.has_room(entry.len()) {
                        let next = FrameBuilder::new(edge.size().0, time);
                        put(std::mem::replace(&mut frame, next).finish_continued())?;
                    }
                    frame.push(entry);
                    edge.push(leaf_hash(entry), &mut Vec::new());
                }
            }
            if edge.head() != Some(checkpoint.head) {
                return Err(RecoverError::Differs { size });
            }
            put(frame.finish(&checkpoint.text))?;
        }
        Ok(fetched)
    }

    /// What both sides signed.
    fn forked(
        &self,
        who: &str,
        theirs: &LogCheckpoint,
        journal: &LogCheckpoint,
    ) -> Result<RecoverError, RecoverError> {
        let (mut tree, mut at, storage) = (MemoryTree::new(), 0, self.config.journal.as_ref());
        let path: PathBuf = self.config.dir.join("journal");
        let read_failed = |io| OpenError::Files { doing: "read", path: path.clone(), io };
        while let Found::Frame(frame) = read_frame(storage, at, self.survey.end).map_err(read_failed)? {
            tree.extend(frame.entries().map(|(_, entry)| leaf_hash(entry)));
            at += frame.len();
        }
        let (old, new) = (theirs.head.size, journal.head.size);
        let changed = |_| OpenError::BadFrame { offset: 0, source: "it changed while it was read".into() };
        let proof = consistency::prove(old, new, &tree).map_err(changed)?;
        let root = self.survey.roots.get(&old.0).copied().unwrap_or(journal.head.root);
        let (theirs, journal) = (Box::new(theirs.clone()), Box::new(journal.clone()));
        Ok(RecoverError::Forked { who: who.to_owned(), theirs, journal, root, proof })
    }
}
