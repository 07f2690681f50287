//! Reading: everything that the latest checkpoint covers, from any thread, without waiting for the writer.

use std::collections::VecDeque;
use std::ops::{Range, RangeBounds};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use counterfoil_tlog::tile::{TilePath, WIDTH, decode_entries, encode_entries, encode_tile};
use counterfoil_tlog::{
    Hash, HashReader as _, LeafIndex, ProveError, TreeHead, TreeSize, consistency, inclusion, leaf_hash,
    multiproof,
};

use tempfile::TempDir;

use crate::backlog::Backlog;
use crate::config::KnownKeys;
use crate::error::{Fatal, OpenError, ReadError};
use crate::index::{End, Index, Pair};
use crate::journal::{Found, Frame, read_checkpoint, read_frame};
use crate::limits;
use crate::scratch::Scratch;
use crate::storage::Storage;
use crate::tiles::Tiles;
use crate::tree::{Edge, TileId, View};

/// A checkpoint that this log signed, locked and published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCheckpoint {
    /// The signed note.
    pub text: String,
    /// The tree that it signs.
    pub head: TreeHead,
}

/// Reads the log. Cheap to clone; stays usable after the log has stopped.
///
/// Whatever is returned was checked against the tree of a published checkpoint: a damaged file gives an error, not
/// wrong bytes.
#[derive(Clone)]
pub struct Reader {
    pub(crate) shared: Arc<Shared>,
}

/// What the writer and the readers share.
pub(crate) struct Shared {
    pub storage: Arc<dyn Storage>,
    pub journal_path: PathBuf,
    pub tiles: Tiles,
    pub scratch: Scratch,
    pub index: Index,
    /// What is published and not yet in the index.
    pub backlog: Backlog,
    pub known: Arc<KnownKeys>,
    /// The checkpoints of the last batches, without a gap; at most [`limits::RECENT_CHECKPOINTS`].
    pub recent: Mutex<VecDeque<Arc<LogCheckpoint>>>,
    /// Locked only to clone or to replace the pointer.
    pub published: Mutex<Arc<Published>>,
    /// Signalled when `published` or `failure` is set.
    pub grown: Condvar,
    pub failure: OnceLock<Arc<Fatal>>,
    /// Set where the log may only be read.
    pub read_only: Option<ReadOnly>,
    /// Bytes of entries in the queue.
    pub queued: AtomicUsize,
}

/// A log that may only be read.
pub(crate) struct ReadOnly {
    /// Why.
    pub why: Arc<OpenError>,
    /// What is derived from the journal, for as long as the log is open.
    pub derived: TempDir,
}

/// The state that readers see.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub checkpoint: Arc<LogCheckpoint>,
    pub edge: Edge,
    /// The number of batches.
    pub batches: u64,
}

impl Reader {
    /// The latest checkpoint.
    pub fn latest(&self) -> Arc<LogCheckpoint> {
        Arc::clone(&self.shared.published().checkpoint)
    }

    /// The latest checkpoint as soon as it covers `size` entries; `None` if the time runs out or the log stops before.
    pub fn wait(&self, size: TreeSize, timeout: Duration) -> Option<Arc<LogCheckpoint>> {
        let too_small = |published: &mut Arc<Published>| {
            published.checkpoint.head.size < size && self.shared.failure.get().is_none()
        };
        let guard = self.shared.lock_published();
        let waited = self.shared.grown.wait_timeout_while(guard, timeout, too_small);
        let (published, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let checkpoint = &published.checkpoint;
        (checkpoint.head.size >= size).then(|| Arc::clone(checkpoint))
    }

    /// The latest checkpoint whose entries all have their rows. It follows [`latest`](Self::latest) closely; whoever reads
    /// rows reads them as of this one.
    pub fn indexed(&self) -> Arc<LogCheckpoint> {
        self.shared.backlog.indexed().unwrap_or_else(|| self.latest())
    }

    /// The latest checkpoint whose entries all have their rows, as soon as it covers `size` entries; `None` if the time runs
    /// out or the log stops before.
    pub fn wait_indexed(&self, size: TreeSize, timeout: Duration) -> Option<Arc<LogCheckpoint>> {
        self.shared.backlog.wait_indexed(timeout, |checkpoint| checkpoint.head.size >= size)
    }

    /// The bytes of an entry.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there is none, [`ReadError::DamagedEntry`] if it is not what was logged.
    pub fn entry(&self, index: LeafIndex) -> Result<Vec<u8>, ReadError> {
        let published = self.shared.published();
        published.check_size(after(index))?;
        self.shared.entry(index.0, self.shared.view(&published).node(0, index.0)?)
    }

    /// The bytes of consecutive entries, at most [`limits::READ_ENTRIES`].
    ///
    /// # Errors
    /// As [`Reader::entry`], or [`ReadError::TooMany`].
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, ReadError> {
        let requested = range.end.saturating_sub(range.start);
        if requested > limits::READ_ENTRIES {
            return Err(ReadError::TooMany { requested, limit: limits::READ_ENTRIES });
        }
        range.map(|index| self.entry(LeafIndex(index))).collect()
    }

    /// The hash of a leaf.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there is none.
    pub fn leaf(&self, index: LeafIndex) -> Result<Hash, ReadError> {
        let published = self.shared.published();
        published.check_size(after(index))?;
        self.shared.view(&published).node(0, index.0)
    }

    /// The bytes of a tile or an entry bundle, full or as wide as the path says.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if the log does not have it yet.
    pub fn tile(&self, path: &TilePath) -> Result<Vec<u8>, ReadError> {
        let published = self.shared.published();
        let level = path.level().unwrap_or(0);
        let end = path.index() * u64::from(WIDTH) + u64::from(path.width());
        published.check_size(TreeSize(end << (8 * u32::from(level))))?;
        let id = TileId { level, index: path.index() };
        let hashes = self.shared.view(&published).hashes(id, path.width())?;
        match path.level() {
            Some(_) => Ok(encode_tile(&hashes)),
            None if path.is_partial() => self.shared.bundle(path, &hashes),
            None => self.shared.stored_bundle(path, &hashes),
        }
    }

    /// The proof that an entry is in the tree of `size` entries.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there is no such tree yet, [`ReadError::Proof`] if the entry is not in it.
    pub fn inclusion_proof(&self, index: LeafIndex, size: TreeSize) -> Result<Vec<Hash>, ReadError> {
        self.prove(size, |view| inclusion::prove(index, size, view))
    }

    /// The proof that the tree of `new` entries begins with that of `old`.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there is no such tree yet, [`ReadError::Proof`] if there is no such proof.
    pub fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, ReadError> {
        self.prove(new, |view| consistency::prove(old, new, view))
    }

    /// The minimal proof that ascending entries are in the tree of `size` entries, in segments: one before each entry
    /// and one after the last.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there is no such tree yet, [`ReadError::Proof`] if there is no such proof.
    pub fn multiproof(&self, indices: &[LeafIndex], size: TreeSize) -> Result<Vec<Vec<Hash>>, ReadError> {
        self.prove(size, |view| multiproof::prove(size, indices, view))
    }

    /// The root over the first `size` entries.
    ///
    /// # Errors
    /// [`ReadError::BeyondTree`] if there are fewer.
    pub fn root_at(&self, size: TreeSize) -> Result<Hash, ReadError> {
        let published = self.shared.published();
        self.shared.view(&published).root_at(size)
    }

    /// The index of the entry with this leaf hash. Every entry is found from the moment at which it is answered.
    ///
    /// # Errors
    /// [`ReadError::Index`] while the index is being rebuilt.
    pub fn lookup(&self, leaf: &Hash) -> Result<Option<LeafIndex>, ReadError> {
        self.shared.lookup(leaf)
    }

    /// The first checkpoint that the log signed over this entry; `None` if there is none yet.
    ///
    /// # Errors
    /// If the journal can't be read or is damaged there.
    pub fn checkpoint_covering(&self, index: LeafIndex) -> Result<Option<Arc<LogCheckpoint>>, ReadError> {
        self.shared.first_checkpoint(after(index))
    }

    /// The checkpoint of exactly this size, if the log signed one.
    ///
    /// # Errors
    /// If the journal can't be read or is damaged there.
    pub fn checkpoint_at(&self, size: TreeSize) -> Result<Option<Arc<LogCheckpoint>>, ReadError> {
        let found = self.shared.first_checkpoint(size)?;
        Ok(found.filter(|checkpoint| checkpoint.head.size == size))
    }

    /// The value of a row that the application projected. Rows follow the entries: those up to
    /// [`indexed`](Self::indexed) are there.
    ///
    /// # Errors
    /// [`ReadError::Index`] while the index is being rebuilt.
    pub fn row(&self, tree: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.shared.index.row(tree, key)?)
    }

    /// The first rows in a range of keys, in the order of their bytes, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError::Index`] while the index is being rebuilt, [`ReadError::TooMany`] over [`limits::READ_ROWS`].
    pub fn rows(
        &self,
        tree: &'static str,
        keys: impl RangeBounds<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        check_rows(limit)?;
        Ok(self.shared.index.rows(tree, &keys, End::First, limit)?)
    }

    /// The last rows in a range of keys, the last of them first, at most `limit`.
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    pub fn last_rows(
        &self,
        tree: &'static str,
        keys: impl RangeBounds<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        check_rows(limit)?;
        Ok(self.shared.index.rows(tree, &keys, End::Last, limit)?)
    }

    /// Why the log may only be read, if so. What is served then is what was locked for certain.
    pub fn read_only(&self) -> Option<Arc<OpenError>> {
        self.shared.read_only.as_ref().map(|read_only| Arc::clone(&read_only.why))
    }

    /// Why the log stopped, if it did. What it published before can still be read.
    pub fn failure(&self) -> Option<Arc<Fatal>> {
        self.shared.failure.get().cloned()
    }

    fn prove<T>(
        &self,
        size: TreeSize,
        prove: impl FnOnce(&View<'_>) -> Result<T, ProveError<ReadError>>,
    ) -> Result<T, ReadError> {
        let published = self.shared.published();
        published.check_size(size)?;
        prove(&self.shared.view(&published)).map_err(|error| match error {
            ProveError::Impossible(error) => error.into(),
            ProveError::Read(error) => error,
        })
    }
}

impl Published {
    fn check_size(&self, size: TreeSize) -> Result<(), ReadError> {
        let latest = self.edge.size();
        if size > latest { Err(ReadError::BeyondTree { size, latest }) } else { Ok(()) }
    }
}

impl Shared {
    /// What was published last.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.lock_published())
    }

    /// Shows readers a new state.
    pub fn publish(&self, published: Published) {
        let mut recent = self.lock_recent();
        if recent.len() >= limits::RECENT_CHECKPOINTS {
            recent.pop_front();
        }
        recent.push_back(Arc::clone(&published.checkpoint));
        drop(recent);
        *self.lock_published() = Arc::new(published);
        self.grown.notify_all();
    }

    /// Notes why the log stopped; the first reason stays.
    pub fn fail(&self, fatal: Fatal) -> Arc<Fatal> {
        let failure = Arc::clone(self.failure.get_or_init(|| Arc::new(fatal)));
        // A waiter that has just looked must not miss the signal.
        drop(self.lock_published());
        self.grown.notify_all();
        failure
    }

    fn lock_recent(&self) -> MutexGuard<'_, VecDeque<Arc<LogCheckpoint>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_published(&self) -> MutexGuard<'_, Arc<Published>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tree that was published.
    pub fn view<'a>(&'a self, published: &'a Published) -> View<'a> {
        View { edge: &published.edge, full: &[], tiles: &self.tiles }
    }

    /// An entry, which must have this leaf hash.
    pub fn entry(&self, index: u64, expected: Hash) -> Result<Vec<u8>, ReadError> {
        let place = self.scratch.entry(index)?;
        let mut bytes = vec![0; place.length];
        self.storage.read_at(place.offset, &mut bytes).map_err(|io| self.journal_error(io))?;
        let computed = leaf_hash(&bytes);
        if computed != expected {
            return Err(ReadError::DamagedEntry { index: LeafIndex(index), expected, computed });
        }
        Ok(bytes)
    }

    /// An entry bundle made from the journal; its entries must have these leaf hashes.
    pub fn bundle(&self, path: &TilePath, leaves: &[Hash]) -> Result<Vec<u8>, ReadError> {
        let first = path.index() * u64::from(WIDTH);
        let entries = (first..).zip(leaves).map(|(index, leaf)| self.entry(index, *leaf));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        encode_entries(&entries).map_err(|_| ReadError::NoSuchTile)
    }

    /// A full entry bundle as published; its entries must have these leaf hashes.
    fn stored_bundle(&self, path: &TilePath, leaves: &[Hash]) -> Result<Vec<u8>, ReadError> {
        let bytes = self.tiles.read_bundle(path)?;
        let is_intact = decode_entries(path, &bytes)
            .is_ok_and(|entries| entries.iter().map(|entry| leaf_hash(entry)).eq(leaves.iter().copied()));
        if !is_intact {
            let path = self.tiles.locate(path);
            return Err(ReadError::DamagedFile { path, reason: "its entries are not those in the tree" });
        }
        Ok(bytes)
    }

    /// The index of the entry with this leaf hash, if it is published. A wrong answer of the index ends the index.
    pub fn lookup(&self, leaf: &Hash) -> Result<Option<LeafIndex>, ReadError> {
        // First, because an entry leaves the backlog only when the index has it.
        if let Some(index) = self.backlog.find(leaf) {
            return Ok(Some(index));
        }
        let Some(index) = self.index.leaf(leaf)? else { return Ok(None) };
        // Only now, so that the tree is at least as new as the row.
        let published = self.published();
        let is_right = published.check_size(after(LeafIndex(index))).is_ok()
            && self.view(&published).node(0, index)? == *leaf;
        if is_right { Ok(Some(LeafIndex(index))) } else { Err(self.index.condemn().into()) }
    }

    /// The first checkpoint whose tree has at least `size` entries.
    fn first_checkpoint(&self, size: TreeSize) -> Result<Option<Arc<LogCheckpoint>>, ReadError> {
        let published = self.published();
        if size > published.checkpoint.head.size {
            return Ok(None);
        }
        let recent = self.lock_recent();
        // Of all that reach so far the first is one of these, unless the earliest of them goes further.
        if recent.front().is_some_and(|earliest| earliest.head.size <= size) {
            return Ok(recent.iter().find(|checkpoint| checkpoint.head.size >= size).cloned());
        }
        drop(recent);
        let (mut low, mut high) = (0, published.batches);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.scratch.batch(middle)?.size >= size.0 { high = middle } else { low = middle + 1 }
        }
        let place = self.scratch.batch(low)?;
        let text =
            read_checkpoint(self.storage.as_ref(), place.offset).map_err(|io| self.journal_error(io))?;
        let checkpoint = text.and_then(|text| self.known.open(&text).ok());
        let root = self.view(&published).root_at(TreeSize(place.size))?;
        match checkpoint {
            Some(found) if found.head == (TreeHead { size: TreeSize(place.size), root }) => {
                Ok(Some(found.into()))
            }
            _ => Err(ReadError::DamagedFile {
                path: self.journal_path.clone(),
                reason: "a checkpoint in it is not that of the tree",
            }),
        }
    }

    /// The frame at `offset` of the journal, of which the first `length` bytes count.
    pub fn frame(&self, offset: u64, length: u64) -> Result<Frame, ReadError> {
        match read_frame(self.storage.as_ref(), offset, length).map_err(|io| self.journal_error(io))? {
            Found::Frame(frame) => Ok(frame),
            Found::Broken(reason) => Err(ReadError::DamagedFile { path: self.journal_path.clone(), reason }),
            Found::End => {
                Err(ReadError::DamagedFile { path: self.journal_path.clone(), reason: "it became shorter" })
            }
        }
    }

    fn journal_error(&self, io: std::io::Error) -> ReadError {
        ReadError::Files { path: self.journal_path.clone(), io }
    }
}

fn check_rows(limit: usize) -> Result<(), ReadError> {
    if limit > limits::READ_ROWS {
        let (requested, limit) = (limit as u64, limits::READ_ROWS as u64);
        return Err(ReadError::TooMany { requested, limit });
    }
    Ok(())
}

/// The smallest tree that has this leaf.
fn after(index: LeafIndex) -> TreeSize {
    TreeSize(index.0.saturating_add(1))
}
