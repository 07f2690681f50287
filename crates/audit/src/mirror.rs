//! A directory to which a log is exported, read while it grows: what a mirror serves.
//!
//! There is no key here, so no signature is checked, and no entry is hashed. What is checked is what keeps a mirror from making
//! things worse: a checkpoint is shown once the tiles at its right edge give its root, and its tree begins with the one shown
//! before; and a file has the form that its path says. Whoever reads verifies the rest, and an audit all of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use counterfoil_tlog::{
    Checkpoint, CheckpointError, Frontier, Hash, TreeHead, TreeSize, UnverifiedNote,
    tile::{TilePath, TileReader, WIDTH},
};

use crate::{
    CHECKPOINT,
    continuation::{self, Continuation},
    source::{Source, SourceError, truncated},
    tree::current_width,
};

/// A directory that holds a log's checkpoint, tiles and entry bundles.
#[derive(Debug)]
pub struct Mirror {
    place: Place,
    /// The checkpoint that was taken up last.
    shown: Mutex<Arc<Shown>>,
}

/// Where the files are.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    source: Source,
}

/// A checkpoint whose tiles are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The note, as it stands in the directory.
    pub note: String,
    /// The tree that it claims, and that the tiles at its right edge give.
    pub head: TreeHead,
    /// When its file was written.
    pub written: SystemTime,
}

/// Why a directory's checkpoint is not shown.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// A file can't be read, or has not the form that its path says.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The file is no checkpoint.
    #[error("the file checkpoint is none: {0}")]
    NoCheckpoint(CheckpointError),
    /// The tiles do not give the root.
    #[error("checkpoint is of {} entries with the root {}, which the tiles do not give: {why}", head.size, head.root)]
    Uncovered {
        /// What the checkpoint says.
        head: TreeHead,
        /// What the tiles give.
        why: String,
    },
    /// The checkpoint is of a smaller tree than the one that is shown.
    #[error("checkpoint is of {found} entries, and one of {shown} was shown")]
    Behind {
        /// The size in the file.
        found: TreeSize,
        /// The size that is shown.
        shown: TreeSize,
    },
    /// The tree does not begin with the one that is shown.
    #[error(
        "checkpoint is of a tree that has the root {computed} at size {}; the one that was shown has {}",
        shown.size, shown.root
    )]
    Inconsistent {
        /// The head that is shown.
        shown: TreeHead,
        /// The root at that size.
        computed: Hash,
    },
}

impl Mirror {
    /// Reads a directory, which has to hold a checkpoint and what that covers.
    ///
    /// # Errors
    /// [`MirrorError`].
    pub fn open(directory: &Path) -> Result<Self, MirrorError> {
        let place = Place { source: Source::contained(directory)?, directory: directory.to_owned() };
        let shown = place.covered(&place.source.checkpoint()?)?;
        Ok(Self { place, shown: Mutex::new(Arc::new(shown)) })
    }

    /// Looks at the directory, and takes up its checkpoint if that is another. Reads files.
    ///
    /// # Errors
    /// [`MirrorError`]: [`last`](Self::last) is then as it was.
    pub fn look(&self) -> Result<Arc<Shown>, MirrorError> {
        // Held for the whole look: of two that look at a time, none brings an older checkpoint back.
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let note = self.place.source.checkpoint()?;
        if note != shown.note.as_bytes() {
            let (old, new) = (shown.head, self.place.covered(&note)?);
            match continuation::compare(&self.place.source, old, new.head)? {
                Continuation::Holds => *shown = Arc::new(new),
                Continuation::Behind => {
                    return Err(MirrorError::Behind { found: new.head.size, shown: old.size });
                }
                Continuation::Fork { computed, .. } => {
                    return Err(MirrorError::Inconsistent { shown: old, computed });
                }
                Continuation::Unshown(why) => return Err(MirrorError::Uncovered { head: new.head, why }),
            }
        }
        Ok(Arc::clone(&shown))
    }

    /// The checkpoint that was taken up last.
    pub fn last(&self) -> Arc<Shown> {
        Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes of a tile or bundle of any width that the shown checkpoint covers; `None` if it does not cover it. Their form is
    /// checked, their hashes are not.
    ///
    /// # Errors
    /// [`SourceError`] if the file is missing, damaged or can't be read.
    pub fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, SourceError> {
        let shown = self.look().unwrap_or_else(|_| self.last());
        let widest = current_width(path, shown.head.size).filter(|widest| widest.width() >= path.width());
        let Some(widest) = widest else { return Ok(None) };
        self.place.cut(path, &widest).map(Some)
    }
}

impl Place {
    /// A checkpoint, if the tiles at the right edge give its root and the last bundle is there.
    fn covered(&self, note: &[u8]) -> Result<Shown, MirrorError> {
        let parsed = UnverifiedNote::parse(note).map_err(CheckpointError::from);
        let (note, checkpoint) = parsed
            .and_then(|note| Ok((note.to_string(), Checkpoint::parse(note.text())?)))
            .map_err(MirrorError::NoCheckpoint)?;
        // Taken after the note: if the file is another by now, the next look finds another note too.
        let written = fs::metadata(self.directory.join(CHECKPOINT)).and_then(|found| found.modified());
        let written = written
            .map_err(|io| SourceError::Unreachable { path: CHECKPOINT.to_owned(), why: io.to_string() })?;
        let head = checkpoint.head();
        let uncovered = |why: String| MirrorError::Uncovered { head, why };
        let tiles = TileReader::new(head.size, |path: &TilePath| self.source.tile(path));
        let root = Frontier::read(head.size, &tiles).map_err(|error| uncovered(deepest(&error)))?.root();
        if root != head.root {
            return Err(uncovered(format!("they give {root}")));
        }
        let last = head.size.0.checked_sub(1).map(|last| TilePath::entries(last / u64::from(WIDTH), 1));
        if let Some(last) = last.and_then(Result::ok).and_then(|last| current_width(&last, head.size)) {
            self.cut(&last, &last)?;
        }
        Ok(Shown { note, head, written })
    }

    /// The first hashes or entries of a file, as many as `path` says.
    fn cut(&self, path: &TilePath, of: &TilePath) -> Result<Vec<u8>, SourceError> {
        truncated(path, of, &self.source.tile(of)?)
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}
