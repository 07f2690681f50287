//! Bringing a log back that start refuses, as far as that is safe: nothing is ever signed here.
//!
//! What is missing is taken from a copy and held to a checkpoint that this log signed; that checkpoint, and no new one, goes
//! into journal and lock store. Two histories are never made one.

use std::ops::Range;
use std::path::PathBuf;

use counterfoil_tlog::{Hash, MemoryTree, TreeSize, consistency, leaf_hash};

use crate::config::{Config, Observed};
use crate::error::{BoxError, Fatal, OpenError};
use crate::journal::{Found, Frame, FrameBuilder, MAX_ENTRIES_BYTES, read_frame};
use crate::limits;
use crate::reader::LogCheckpoint;
use crate::start::{Placed, Survey, cut_tail, survey};

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
    #[error("{length} bytes follow the last whole batch at byte {offset}: restore a backup first")]
    Tail {
        /// Where it starts.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// Too much is missing for one batch, and no signed checkpoint in between is known.
    #[error(
        "entries {} to {} are missing, more than one batch holds, and no signed checkpoint in between is known: restore a \
         newer backup first", missing.start, missing.end
    )]
    Gap {
        /// Which.
        missing: Range<u64>,
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
            Self::Gap { .. } => "recover-gap",
            Self::Fetch(_) => "recover-fetch",
            Self::Differs { .. } => "recover-differs",
            Self::Write(error) => error.code(),
        }
    }
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
        let (offset, cut) = (survey.end, survey.length - survey.end);
        if cut > limits::RECOVERED_TAIL_BYTES {
            return Err(RecoverError::Tail { offset, length: cut });
        }
        let newest = self.ahead().pop().unwrap_or_else(|| last.clone());
        let missing = last.head.size.0..newest.head.size.0;
        // Where only the last batch is not locked, start takes it up.
        let is_for_start = missing.is_empty() && cut == 0 && survey.unlocked == Some(1);
        let is_locked = survey.locked.as_ref() == Some(&newest);
        let lock = (!is_locked && !is_for_start).then_some(newest);
        let rests_on_others = lock.is_some();
        Ok(Repair { cut, missing, lock, rests_on_others })
    }

    /// Does what [`plan`](Self::plan) says. `fetch` gives entries; the batches that are made of them get a log time of `time`
    /// at least, in milliseconds since 1970.
    ///
    /// The lock store is replaced before the journal grows: if this is interrupted, start refuses, and it can be done again.
    ///
    /// # Errors
    /// [`RecoverError`]. Except for [`RecoverError::Write`], nothing was changed.
    pub fn apply(
        mut self,
        fetch: &mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, BoxError>,
        time: u64,
    ) -> Result<Repair, RecoverError> {
        let repair = self.plan()?;
        let frames = self.frames(fetch, time)?;
        cut_tail(&self.config.dir, self.config.journal.as_ref(), &self.survey)?;
        if let Some(checkpoint) = &repair.lock {
            let old = self.survey.locked.as_ref().map(|locked| locked.text.as_bytes());
            self.config.lock.replace(old, checkpoint.text.as_bytes()).map_err(Fatal::from)?;
        }
        let mut end = self.survey.end;
        for frame in &frames {
            let written = self.config.journal.append(end, frame.bytes());
            written.map_err(|error| Fatal::journal("write", error))?;
            end += frame.len();
        }
        self.config.journal.sync().map_err(|io| Fatal::Journal { doing: "sync", io })?;
        Ok(repair)
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
    fn frames(
        &self,
        fetch: &mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, BoxError>,
        time: u64,
    ) -> Result<Vec<Frame>, RecoverError> {
        let (mut edge, mut frames) = (self.survey.edge.clone(), Vec::new());
        for (time, checkpoint) in (time.max(self.survey.time + 1)..).zip(self.ahead()) {
            let missing = edge.size().0..checkpoint.head.size.0;
            let too_much = || RecoverError::Gap { missing: missing.clone() };
            if missing.end.saturating_sub(missing.start) > limits::BATCH_ENTRIES as u64 + 1 {
                return Err(too_much());
            }
            let entries = fetch(missing.clone()).map_err(RecoverError::Fetch)?;
            let bytes: usize = entries.iter().map(|entry| 2 + entry.len()).sum();
            if bytes > MAX_ENTRIES_BYTES {
                return Err(too_much());
            }
            let mut frame = FrameBuilder::new(missing.start, time);
            for entry in &entries {
                if entry.len() > limits::ENTRY_BYTES {
                    return Err(RecoverError::Differs { size: checkpoint.head.size });
                }
                frame.push(entry);
                edge.push(leaf_hash(entry), &mut Vec::new());
            }
            if edge.head() != Some(checkpoint.head) {
                return Err(RecoverError::Differs { size: checkpoint.head.size });
            }
            frames.push(frame.finish(&checkpoint.text));
        }
        Ok(frames)
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
