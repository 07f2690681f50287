//! The index: what can be found by key, in sled, and can be rebuilt from the journal at any time.
//!
//! sled 0.34 loses what it calls flushed when the power fails, and panics on damaged files. So nothing here is the only
//! copy of anything, every call to sled stands behind [`guarded`], which turns a panic into an error, and what comes back
//! is checked: the index of a leaf against the tree, by the caller, and rows against the digest stored with them. Once
//! something is wrong, the index answers nothing until another one was filled in its place.

use std::ops::{Bound, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use counterfoil_tlog::{Hash, TreeHead, TreeSize};
use sha2::{Digest as _, Sha256};

use crate::application::Row;
use crate::error::IndexError;
use crate::limits;
use crate::storage::free_path;

pub(crate) struct Index {
    dir: PathBuf,
    /// `None` after something went wrong.
    trees: RwLock<Option<Arc<Trees>>>,
}

/// How far the index goes: everything up to a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watermark {
    /// [`Application::PROJECTION`](crate::Application::PROJECTION).
    pub projection: u32,
    /// Where the frame of the last batch starts in the journal.
    pub frame: u64,
    /// The tree with that batch.
    pub head: TreeHead,
}

/// What one entry contributes.
#[derive(Debug)]
pub(crate) struct EntryRows {
    pub leaf: Hash,
    pub index: u64,
    pub rows: Vec<Row>,
}

/// From which end of a range rows are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    First,
    Last,
}

/// A row as listed: key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

impl Index {
    /// Opens the index in `dir`, or a new one if that fails.
    pub fn open(dir: PathBuf) -> Result<Self, IndexError> {
        let trees = Trees::open(&dir).ok().map(Arc::new);
        let index = Self { dir, trees: RwLock::new(trees) };
        if index.trees().is_err() {
            index.replace()?;
        }
        Ok(index)
    }

    /// Starts an empty index, which answers at once that it has nothing.
    pub fn replace(&self) -> Result<(), IndexError> {
        self.take(&self.start_anew()?)
    }

    /// Moves the directory to `….damaged`, where a person may look at it, and gives a new index in its place. This one
    /// answers nothing until it [takes](Self::take) the new one: whoever asks a half-filled index would take an entry for
    /// new that is not.
    pub fn start_anew(&self) -> Result<Self, IndexError> {
        self.set(None);
        if self.dir.exists() {
            let aside = free_path(&self.dir.with_extension("damaged"));
            let fail = |io| IndexError::MoveAside { path: self.dir.clone(), io: Arc::new(io) };
            std::fs::rename(&self.dir, aside).map_err(fail)?;
        }
        let trees = Some(Arc::new(Trees::open(&self.dir)?));
        Ok(Self { dir: self.dir.clone(), trees: RwLock::new(trees) })
    }

    /// Answers from now on what `filled` has.
    pub fn take(&self, filled: &Self) -> Result<(), IndexError> {
        self.set(Some(filled.trees()?));
        Ok(())
    }

    /// Stops the index from answering, because what it answered was wrong.
    pub fn condemn(&self) -> IndexError {
        self.set(None);
        IndexError::DamagedRow
    }

    /// Where the entry with this leaf hash is said to be.
    pub fn leaf(&self, leaf: &Hash) -> Result<Option<u64>, IndexError> {
        let found = self.call(|trees| trees.leaves.get(leaf.as_bytes()))?;
        let Some(value) = found else { return Ok(None) };
        match value.as_ref().try_into() {
            Ok(bytes) => Ok(Some(u64::from_be_bytes(bytes))),
            Err(_) => Err(self.condemn()),
        }
    }

    /// The value of a row.
    pub fn row(&self, tree: &str, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let found = self.call(|trees| trees.db.open_tree(tree_name(tree))?.get(key))?;
        found.map(|stored| self.unseal(tree, key, &stored)).transpose()
    }

    /// The first rows in a range of keys, at most `limit`; with `End::Last` the last ones, the last of them first.
    pub fn rows(
        &self,
        tree: &str,
        keys: &impl RangeBounds<Vec<u8>>,
        end: End,
        limit: usize,
    ) -> Result<Vec<Pair>, IndexError> {
        if is_empty(keys) {
            return Ok(Vec::new());
        }
        let range = (keys.start_bound().cloned(), keys.end_bound().cloned());
        let found = self.call(|trees| {
            let rows = trees.db.open_tree(tree_name(tree))?.range(range);
            match end {
                End::First => rows.take(limit).collect::<Result<Vec<_>, _>>(),
                End::Last => rows.rev().take(limit).collect(),
            }
        })?;
        let unsealed = found.into_iter().map(|(key, stored)| {
            let value = self.unseal(tree, &key, &stored)?;
            Ok((key.to_vec(), value))
        });
        unsealed.collect()
    }

    /// Writes what entries contribute.
    pub fn record(&self, entries: &[EntryRows]) -> Result<(), IndexError> {
        self.call(|trees| {
            for entry in entries {
                trees.leaves.insert(entry.leaf.as_bytes(), &entry.index.to_be_bytes())?;
                for row in &entry.rows {
                    let tree = trees.db.open_tree(tree_name(row.tree))?;
                    tree.insert(&row.key, seal(row.tree, &row.key, &row.value))?;
                }
            }
            Ok(())
        })
    }

    /// Adds up everything that is there, in one pass: to look up each row of a large index would take most of a start.
    pub fn sum(&self) -> Result<Sum, IndexError> {
        self.call(|trees| {
            let mut sum = Sum::default();
            for pair in &trees.leaves {
                let (leaf, index) = pair?;
                sum.add(&digest(LEAVES, &leaf, &index));
            }
            for name in trees.db.tree_names() {
                let Some(tree) = name.strip_prefix(ROWS.as_bytes()) else { continue };
                for pair in &trees.db.open_tree(&name)? {
                    let (key, stored) = pair?;
                    let (value, seal) = unsealed(&stored);
                    let digest = digest(&String::from_utf8_lossy(tree), &key, value);
                    // A row whose seal is not its own adds up to nothing that entries contribute.
                    sum.add(&if digest[..SEAL_BYTES] == *seal { digest } else { [0; 32] });
                }
            }
            Ok(sum)
        })
    }

    /// How far the index goes; `None` if it is empty or does not say.
    pub fn watermark(&self) -> Result<Option<Watermark>, IndexError> {
        let found = self.call(|trees| trees.db.get(WATERMARK))?;
        Ok(found.and_then(|bytes| Watermark::decode(&bytes)))
    }

    /// Notes how far the index goes, after the rows were written.
    pub fn set_watermark(&self, watermark: &Watermark) -> Result<(), IndexError> {
        self.call(|trees| trees.db.insert(WATERMARK, watermark.encode())).map(drop)
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> Result<bool, IndexError> {
        self.call(|trees| Ok(trees.leaves.is_empty() && trees.db.is_empty()))
    }

    fn unseal(&self, tree: &str, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, IndexError> {
        let (value, _) = unsealed(stored);
        if seal(tree, key, value) != stored {
            return Err(self.condemn());
        }
        Ok(value.to_vec())
    }

    /// Calls sled; after an error or a panic the index answers nothing any more.
    fn call<T>(&self, f: impl FnOnce(&Trees) -> sled::Result<T>) -> Result<T, IndexError> {
        let trees = self.trees()?;
        let result = guarded(|| f(&trees)).inspect_err(|_| self.set(None));
        release(Some(trees));
        result
    }

    fn trees(&self) -> Result<Arc<Trees>, IndexError> {
        let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner);
        trees.clone().ok_or(IndexError::Rebuilding)
    }

    fn set(&self, trees: Option<Arc<Trees>>) {
        let mut current = self.trees.write().unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut *current, trees);
        drop(current);
        release(previous);
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.set(None);
    }
}

const WATERMARK: &[u8] = b"watermark";
const SEAL_BYTES: usize = 8;

const LEAVES: &str = "leaf";
const ROWS: &str = "row/";

/// What rows add up to, in any order: how many they are, and a sum over a digest of each. Damage does not keep it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    rows: u64,
    digests: u128,
}

impl Sum {
    /// Adds what an entry contributes.
    pub fn add_entry(&mut self, entry: &EntryRows) {
        self.add(&digest(LEAVES, entry.leaf.as_bytes(), &entry.index.to_be_bytes()));
        entry.rows.iter().for_each(|row| self.add(&digest(row.tree, &row.key, &row.value)));
    }

    fn add(&mut self, digest: &[u8; 32]) {
        let first = digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half));
        self.rows += 1;
        self.digests = self.digests.wrapping_add(first);
    }
}

/// The stored form of a row's value: the value and eight bytes of a digest over the row.
fn seal(tree: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    [value, &digest(tree, key, value)[..SEAL_BYTES]].concat()
}

/// The value and the seal of a stored row.
fn unsealed(stored: &[u8]) -> (&[u8], &[u8]) {
    stored.split_at_checked(stored.len().saturating_sub(SEAL_BYTES)).unwrap_or((stored, &[]))
}

fn digest(tree: &str, key: &[u8], value: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [tree.as_bytes(), key, value] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

fn tree_name(tree: &str) -> String {
    format!("{ROWS}{tree}")
}

/// Whether a range holds no key; sled panics on some of these.
fn is_empty(keys: &impl RangeBounds<Vec<u8>>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (keys.start_bound(), keys.end_bound()) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Included(start), Included(end)) => start > end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start >= end,
    }
}

impl Watermark {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.projection.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.frame.to_be_bytes());
        bytes.extend_from_slice(&self.head.size.0.to_be_bytes());
        bytes.extend_from_slice(self.head.root.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (projection, rest) = bytes.split_first_chunk()?;
        let (frame, rest) = rest.split_first_chunk()?;
        let (size, root) = rest.split_first_chunk()?;
        let root = Hash::new(root.try_into().ok()?);
        let head = TreeHead { size: TreeSize(u64::from_be_bytes(*size)), root };
        Some(Self { projection: u32::from_be_bytes(*projection), frame: u64::from_be_bytes(*frame), head })
    }
}

/// Closes the database if this is its last user, which can panic like any other call.
fn release(trees: Option<Arc<Trees>>) {
    // What fails here concerns files that are rebuilt when they turn out damaged.
    let _ = guarded(|| {
        drop(trees);
        Ok(())
    });
}

/// An open database.
struct Trees {
    db: sled::Db,
    leaves: sled::Tree,
}

impl Trees {
    fn open(dir: &Path) -> Result<Self, IndexError> {
        // A database that was just closed holds its lock until its last thread has ended.
        let mut attempts = 50;
        loop {
            let config = sled::Config::new().path(dir).cache_capacity(limits::INDEX_CACHE_BYTES);
            let opened = guarded(|| {
                let db = config.open()?;
                let leaves = db.open_tree(LEAVES)?;
                Ok(Self { db, leaves })
            });
            attempts -= 1;
            match opened {
                Err(IndexError::Failed(error)) if attempts > 0 && error.to_string().contains("lock") => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                opened => return opened,
            }
        }
    }
}

/// Calls sled. Damaged files make it panic; none of its state is used afterwards, so unwinding past it is sound.
fn guarded<T>(f: impl FnOnce() -> sled::Result<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(IndexError::Failed(Arc::new(error))),
        Err(_) => Err(IndexError::Panicked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().join("index")).unwrap();
        let rows = vec![Row { tree: "t", key: b"key".to_vec(), value: b"value".to_vec() }];
        index.record(&[EntryRows { leaf: Hash::new([1; 32]), index: 7, rows }]).unwrap();
        assert_eq!(index.row("t", b"key").unwrap(), Some(b"value".to_vec()));
        assert_eq!(index.leaf(&Hash::new([1; 32])).unwrap(), Some(7));
        (dir, index)
    }

    fn is_rebuilding(index: &Index) -> bool {
        matches!(index.leaf(&Hash::new([1; 32])), Err(IndexError::Rebuilding))
    }

    #[test]
    fn a_panic_of_sled_is_an_error_and_ends_the_index() {
        let (_dir, index) = index();
        let result: Result<(), _> = index.call(|_| panic!("as damaged files make it"));
        assert!(matches!(result, Err(IndexError::Panicked)));
        assert!(is_rebuilding(&index));
        index.replace().unwrap();
        assert!(index.is_empty().unwrap());
    }

    #[test]
    fn an_index_that_is_being_filled_anew_said_that_entries_are_unknown() {
        let (_dir, index) = index();
        let fresh = index.start_anew().unwrap();
        assert!(is_rebuilding(&index));
        fresh.record(&[EntryRows { leaf: Hash::new([1; 32]), index: 7, rows: Vec::new() }]).unwrap();
        assert!(is_rebuilding(&index));
        index.take(&fresh).unwrap();
        drop(fresh);
        assert_eq!(index.leaf(&Hash::new([1; 32])).unwrap(), Some(7));
    }

    #[test]
    fn an_error_of_sled_ends_the_index() {
        let (_dir, index) = index();
        let result: Result<(), _> = index.call(|_| Err(sled::Error::Unsupported("this".into())));
        assert!(matches!(result, Err(IndexError::Failed(_))));
        assert!(is_rebuilding(&index));
    }

    #[test]
    fn a_changed_row_is_noticed() {
        for stored in [&b"xalue"[..], b"", b"short", &seal("t", b"other key", b"value")] {
            let (_dir, index) = index();
            let put = |trees: &Trees| trees.db.open_tree(tree_name("t"))?.insert(b"key", stored);
            index.call(put).unwrap();
            assert!(matches!(index.row("t", b"key"), Err(IndexError::DamagedRow)), "{stored:?}");
            assert!(is_rebuilding(&index));
        }
        let (_dir, index) = index();
        index.call(|trees| trees.leaves.insert([1; 32], b"seven")).unwrap();
        assert!(matches!(index.leaf(&Hash::new([1; 32])), Err(IndexError::DamagedRow)));
    }
}
