//! Minimal multiproofs: many leaves of one tree, proven with the fewest hashes, in exactly one encoding.
//!
//! Call a subtree *free* if it holds no proven leaf. The proof is the hashes of the maximal free subtrees of the RFC
//! 6962 tree, from left to right. Indices and size determine which subtrees these are, so nothing but hashes is sent.
//! The list falls into one segment before each leaf and one after the last; any of them may be empty.

use crate::hash::Hash;
use crate::limits;
use crate::proof::{ProofError, ProveError, Range};
use crate::tree::{Frontier, HashReader, LeafIndex, TreeSize};

/// Computes the root of a tree from some of its leaves and the proof, in one pass and logarithmic memory.
///
/// ```
/// use counterfoil_tlog::{LeafIndex, MemoryTree, MultiproofVerifier, leaf_hash, multiproof};
///
/// let leaves = [b"a", b"b", b"c", b"d", b"e"].map(|entry| leaf_hash(entry));
/// let tree: MemoryTree = leaves.into_iter().collect();
/// let segments = multiproof::prove(tree.size(), &[LeafIndex(1), LeafIndex(3)], &tree)?;
///
/// let mut verifier = MultiproofVerifier::new(tree.size())?;
/// verifier.push(LeafIndex(1), &segments[0], leaves[1])?;
/// verifier.push(LeafIndex(3), &segments[1], leaves[3])?;
/// assert_eq!(verifier.finish(&segments[2])?, tree.head().root);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MultiproofVerifier {
    size: TreeSize,
    /// The tree of everything to the left of the next leaf, proven or free.
    left: Frontier,
}

impl MultiproofVerifier {
    /// Starts at the left edge of a tree of `size` leaves.
    ///
    /// # Errors
    /// [`ProofError::TreeTooLarge`] over [`limits::TREE_SIZE`].
    pub fn new(size: TreeSize) -> Result<Self, ProofError> {
        if size.0 > limits::TREE_SIZE {
            return Err(ProofError::TreeTooLarge { size });
        }
        Ok(Self { size, left: Frontier::new() })
    }

    /// Takes the next proven leaf. `left` is the segment before it: the hashes of the maximal free subtrees between
    /// the leaf pushed before, or the left edge, and this one.
    ///
    /// # Errors
    /// [`ProofError`] if the index is outside the tree or does not ascend, or if `left` has the wrong number of hashes.
    /// The verifier is then unchanged.
    pub fn push(&mut self, index: LeafIndex, left: &[Hash], leaf: Hash) -> Result<(), ProofError> {
        if index.0 >= self.size.0 {
            return Err(ProofError::IndexOutOfRange { index, size: self.size });
        }
        let gap = Gap { start: self.left.size().0, end: index.0, size: self.size.0 };
        if gap.start > gap.end {
            return Err(ProofError::NotAscending { previous: LeafIndex(gap.start - 1), index });
        }
        gap.check_count(left)?;
        for (subtree, hash) in gap.subtrees().zip(left) {
            self.left.push_subtree(subtree.level(), *hash);
        }
        self.left.push(leaf);
        Ok(())
    }

    /// Takes the segment after the last leaf, and returns the root that everything leads to. It proves the leaves
    /// only if it equals the root in a trusted head of this size.
    ///
    /// # Errors
    /// [`ProofError`] if no leaf was pushed, or if `right` has the wrong number of hashes.
    #[must_use = "the leaves are proven only if this is the root of a trusted head"]
    pub fn finish(mut self, right: &[Hash]) -> Result<Hash, ProofError> {
        if self.left.size().0 == 0 {
            return Err(ProofError::NoLeaves);
        }
        let gap = Gap { start: self.left.size().0, end: self.size.0, size: self.size.0 };
        gap.check_count(right)?;
        for (subtree, hash) in gap.subtrees().zip(right) {
            if !subtree.is_complete() {
                return Ok(self.left.root_with_edge(*hash));
            }
            self.left.push_subtree(subtree.level(), *hash);
        }
        Ok(self.left.root())
    }
}

/// The multiproof of the leaves `indices` in the tree of `size` leaves: one segment before each leaf, and one after
/// the last.
///
/// # Errors
/// [`ProveError`] if there are no indices, if they are outside the tree or do not ascend, or if `reader` fails.
pub fn prove<R: HashReader + ?Sized>(
    size: TreeSize,
    indices: &[LeafIndex],
    reader: &R,
) -> Result<Vec<Vec<Hash>>, ProveError<R::Error>> {
    if size.0 > limits::TREE_SIZE {
        return Err(ProofError::TreeTooLarge { size }.into());
    }
    let mut segments = Vec::with_capacity(indices.len() + 1);
    let mut start = 0;
    for &index in indices {
        if index.0 >= size.0 {
            return Err(ProofError::IndexOutOfRange { index, size }.into());
        }
        if start > index.0 {
            return Err(ProofError::NotAscending { previous: LeafIndex(start - 1), index }.into());
        }
        segments.push(Gap { start, end: index.0, size: size.0 }.read(reader)?);
        start = index.0 + 1;
    }
    if start == 0 {
        return Err(ProofError::NoLeaves.into());
    }
    segments.push(Gap { start, end: size.0, size: size.0 }.read(reader)?);
    Ok(segments)
}

/// The leaves `[start, end)` between two proven ones, or between one and the edge of the tree.
#[derive(Clone, Copy, Debug)]
struct Gap {
    start: u64,
    end: u64,
    size: u64,
}

impl Gap {
    /// The maximal free subtrees, from left to right.
    ///
    /// Each starts where the one before ended and is as large as its alignment and the gap's end allow. Only at the
    /// right edge of the tree may it have fewer leaves than its alignment: there the tree itself ends.
    fn subtrees(self) -> impl Iterator<Item = Range> {
        let mut start = self.start;
        std::iter::from_fn(move || {
            let left = self.end.checked_sub(start).filter(|left| *left > 0)?;
            let alignment = if start == 0 { u64::MAX } else { 1 << start.trailing_zeros() };
            let fits = 1 << left.ilog2();
            let len = if alignment <= left {
                alignment
            } else if self.end == self.size {
                left
            } else {
                fits
            };
            let subtree = Range { start, end: start + len };
            start = subtree.end;
            Some(subtree)
        })
    }

    fn check_count(self, hashes: &[Hash]) -> Result<(), ProofError> {
        let expected = self.subtrees().count();
        if hashes.len() != expected {
            return Err(ProofError::WrongLength { expected, found: hashes.len() });
        }
        Ok(())
    }

    fn read<R: HashReader + ?Sized>(self, reader: &R) -> Result<Vec<Hash>, ProveError<R::Error>> {
        self.subtrees()
            .map(|subtree| subtree.hash(reader))
            .collect::<Result<_, _>>()
            .map_err(ProveError::Read)
    }
}
