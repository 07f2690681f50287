//! The append-only tree of RFC 6962, section 2.1: sizes, heads, and the two ways to hold it.
//!
//! [`Frontier`] keeps the logarithmically many hashes that appending needs; [`MemoryTree`] keeps all of them, and so
//! can prove. Whatever stores the hashes elsewhere implements [`HashReader`] for the provers.

use std::fmt;

use crate::hash::{EMPTY_ROOT, Hash, node_hash};
use crate::limits;

/// The number of leaves of a tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(pub u64);

/// The position of a leaf, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u64);

/// A tree of one size, by its root: what a checkpoint signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: TreeSize,
    /// The root over exactly these leaves.
    pub root: Hash,
}

impl TreeHead {
    /// The head of the tree without leaves.
    pub const EMPTY: Self = Self { size: TreeSize(0), root: EMPTY_ROOT };
}

/// The hashes of a tree that an appender has to remember: the roots of the complete subtrees into which its leaves
/// fall, largest first, one per bit set in the size.
///
/// ```
/// use counterfoil_tlog::{Frontier, leaf_hash, node_hash};
///
/// let [a, b] = [leaf_hash(b"a"), leaf_hash(b"b")];
/// let mut tree = Frontier::new();
/// tree.push(a);
/// tree.push(b);
/// assert_eq!(tree.head().root, node_hash(&a, &b));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub const fn new() -> Self {
        Self { size: 0, hashes: Vec::new() }
    }

    /// The frontier that [`Frontier::size`] and [`Frontier::hashes`] described when it was stored.
    ///
    /// # Errors
    /// [`FrontierError`] if a tree of this size does not have this number of hashes, or is too large.
    pub fn from_parts(size: TreeSize, hashes: Vec<Hash>) -> Result<Self, FrontierError> {
        if size.0 > limits::TREE_SIZE {
            return Err(FrontierError::TooLarge { size });
        }
        let expected = size.0.count_ones() as usize;
        if hashes.len() != expected {
            return Err(FrontierError::WrongCount { size, expected, found: hashes.len() });
        }
        Ok(Self { size: size.0, hashes })
    }

    /// The frontier of the tree of `size` leaves whose hashes `reader` knows.
    ///
    /// # Errors
    /// Whatever `reader` fails with.
    pub fn read<R: HashReader + ?Sized>(size: TreeSize, reader: &R) -> Result<Self, R::Error> {
        let mut frontier = Self::new();
        for level in (0..u64::BITS as u8).rev().filter(|level| size.0 >> level & 1 == 1) {
            frontier.hashes.push(reader.node(level, frontier.size >> level)?);
            frontier.size += 1 << level;
        }
        Ok(frontier)
    }

    /// Appends a leaf and says where it went.
    pub fn push(&mut self, leaf: Hash) -> LeafIndex {
        let index = LeafIndex(self.size);
        self.push_subtree(0, leaf);
        index
    }

    /// The number of leaves.
    pub const fn size(&self) -> TreeSize {
        TreeSize(self.size)
    }

    /// The roots of the complete subtrees, largest first.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The root over all leaves.
    pub fn root(&self) -> Hash {
        match self.hashes.split_last() {
            None => EMPTY_ROOT,
            Some((last, rest)) => fold_left(rest, *last),
        }
    }

    /// The root with its size.
    pub fn head(&self) -> TreeHead {
        TreeHead { size: self.size(), root: self.root() }
    }

    /// Appends the 2^`level` leaves of a complete subtree; the size must be a multiple of 2^`level`.
    pub(crate) fn push_subtree(&mut self, level: u32, mut hash: Hash) {
        debug_assert_eq!(self.size % (1 << level), 0);
        // As in binary addition: each set bit from `level` up is a subtree that this one completes to the next level.
        for _ in 0..(self.size >> level).trailing_ones() {
            if let Some(left) = self.hashes.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.hashes.push(hash);
        self.size += 1 << level;
    }

    /// The root if everything right of the frontier's leaves were one subtree with this hash.
    pub(crate) fn root_with_edge(&self, edge: Hash) -> Hash {
        fold_left(&self.hashes, edge)
    }
}

fn fold_left(lefts: &[Hash], right: Hash) -> Hash {
    lefts.iter().rev().fold(right, |right, left| node_hash(left, &right))
}

/// Why stored parts are no [`Frontier`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontierError {
    /// The size is over [`limits::TREE_SIZE`].
    #[error("tree size {size} is over the limit of {}", limits::TREE_SIZE)]
    TooLarge {
        /// The claimed size.
        size: TreeSize,
    },
    /// The number of hashes does not fit the size.
    #[error("a tree of {size} leaves has a frontier of {expected} hashes, not {found}")]
    WrongCount {
        /// The claimed size.
        size: TreeSize,
        /// The number of bits set in it.
        expected: usize,
        /// The number of hashes given.
        found: usize,
    },
}

impl FrontierError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "frontier-too-large",
            Self::WrongCount { .. } => "frontier-wrong-count",
        }
    }
}

/// Where provers get the hashes of complete subtrees from: memory, tiles, a database.
pub trait HashReader {
    /// How reading fails.
    type Error;

    /// The root over the leaves `index`·2^`level` .. (`index` + 1)·2^`level`.
    ///
    /// Provers ask only for subtrees that lie wholly inside the tree. Hashes need not be authentic: a proof made
    /// from wrong ones does not verify.
    ///
    /// # Errors
    /// If the hash can't be had.
    fn node(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// The root of the tree of `size` leaves whose hashes `reader` knows.
///
/// # Errors
/// Whatever `reader` fails with.
pub fn root<R: HashReader + ?Sized>(size: TreeSize, reader: &R) -> Result<Hash, R::Error> {
    Ok(Frontier::read(size, reader)?.root())
}

/// A tree with all its hashes in memory: 64 bytes per leaf.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    /// `levels[l]` are the roots of the complete subtrees of 2^l leaves, left to right.
    levels: Vec<Vec<Hash>>,
}

impl MemoryTree {
    /// The tree without leaves.
    pub const fn new() -> Self {
        Self { levels: Vec::new() }
    }

    /// Appends a leaf and says where it went.
    pub fn push(&mut self, leaf: Hash) -> LeafIndex {
        let index = LeafIndex(self.size().0);
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let nodes = &mut self.levels[level];
            nodes.push(hash);
            match nodes.as_slice() {
                [.., left, right] if nodes.len().is_multiple_of(2) => hash = node_hash(left, right),
                _ => break,
            }
        }
        index
    }

    /// The number of leaves.
    pub fn size(&self) -> TreeSize {
        TreeSize(self.levels.first().map_or(0, Vec::len) as u64)
    }

    /// The head of the whole tree.
    pub fn head(&self) -> TreeHead {
        self.frontier(self.size().0).head()
    }

    /// The head at an earlier size, or `None` if the tree is smaller.
    pub fn head_at(&self, size: TreeSize) -> Option<TreeHead> {
        (size <= self.size()).then(|| self.frontier(size.0).head())
    }

    fn frontier(&self, size: u64) -> Frontier {
        let mut frontier = Frontier::new();
        for level in (0..self.levels.len()).rev().filter(|level| size >> level & 1 == 1) {
            frontier.hashes.push(self.levels[level][(frontier.size >> level) as usize]);
            frontier.size += 1 << level;
        }
        frontier
    }
}

impl HashReader for MemoryTree {
    type Error = MissingNode;

    fn node(&self, level: u8, index: u64) -> Result<Hash, MissingNode> {
        let nodes = self.levels.get(usize::from(level));
        let hash = usize::try_from(index).ok().and_then(|index| nodes?.get(index));
        hash.copied().ok_or(MissingNode { level, index })
    }
}

impl Extend<Hash> for MemoryTree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

impl FromIterator<Hash> for MemoryTree {
    fn from_iter<I: IntoIterator<Item = Hash>>(leaves: I) -> Self {
        let mut tree = Self::new();
        tree.extend(leaves);
        tree
    }
}

/// A subtree that a [`MemoryTree`] doesn't have, or not completely.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no complete subtree {index} at level {level}")]
pub struct MissingNode {
    /// The height of the subtree.
    pub level: u8,
    /// Its place among the subtrees of this height.
    pub index: u64,
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
