//! Subtrees `[start, end)` of a tree and their proofs (draft-ietf-plants-merkle-tree-certs, section 4).
//!
//! A subtree is a range of leaves whose start is a multiple of the smallest power of two that its length fits in. It
//! has the root that its leaves would have as a tree of their own. An empty range is a subtree too, whose root is
//! [`EMPTY_ROOT`].

use crate::hash::{EMPTY_ROOT, Hash};
use crate::inclusion;
use crate::proof::{Path, ProofError, ProveError, Range};
use crate::tree::{HashReader, LeafIndex, TreeHead, TreeSize};

/// A subtree by its range and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubtreeHead {
    /// The index of the first leaf.
    pub start: u64,
    /// One past the index of the last leaf.
    pub end: u64,
    /// The root over exactly these leaves.
    pub root: Hash,
}

/// Checks that the leaf with hash `leaf` stands at `index`, counted in the whole tree, inside a subtree.
///
/// # Errors
/// [`ProofError`] if it does not, if `proof` shows nothing, or if the range is no subtree.
pub fn verify_inclusion(
    leaf: Hash,
    index: LeafIndex,
    proof: &[Hash],
    subtree: &SubtreeHead,
) -> Result<(), ProofError> {
    let size = own_size(subtree.start, subtree.end)?;
    let outside = ProofError::IndexOutOfRange { index, size: TreeSize(subtree.end) };
    let own_index = index.0.checked_sub(subtree.start).ok_or(outside)?;
    inclusion::verify(leaf, LeafIndex(own_index), proof, &TreeHead { size, root: subtree.root })
}

/// The proof that [`verify_inclusion`] checks.
///
/// # Errors
/// [`ProveError`] if the range is no subtree or does not hold the leaf, or if `reader` fails.
pub fn prove_inclusion<R: HashReader + ?Sized>(
    index: LeafIndex,
    start: u64,
    end: u64,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    let size = own_size(start, end)?;
    let outside = ProofError::IndexOutOfRange { index, size: TreeSize(end) };
    let own_index = index.0.checked_sub(start).ok_or(outside)?;
    inclusion::prove(LeafIndex(own_index), size, &Shifted { start, reader })
}

/// Checks that a subtree belongs to the tree `head`: its leaves are that tree's leaves `[start, end)`.
///
/// The draft lets an empty subtree belong to every tree that is large enough, whatever that tree's root; so there is
/// nothing to learn from it.
///
/// # Errors
/// [`ProofError`] if they are not, if `proof` shows nothing, or if the range is no subtree of the tree.
pub fn verify_consistency(subtree: &SubtreeHead, head: &TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    let (computed, root) = match path(subtree.start, subtree.end, head.size)? {
        Some(path) => path.roots(subtree.root, proof)?,
        None if proof.is_empty() => (EMPTY_ROOT, head.root),
        None => return Err(ProofError::WrongLength { expected: 0, found: proof.len() }),
    };
    if computed != subtree.root {
        return Err(ProofError::OldRootMismatch { claimed: subtree.root, computed });
    }
    if root != head.root {
        return Err(ProofError::RootMismatch { claimed: head.root, computed: root });
    }
    Ok(())
}

/// The proof that [`verify_consistency`] checks.
///
/// # Errors
/// [`ProveError`] if the range is no subtree of the tree, or if `reader` fails.
pub fn prove_consistency<R: HashReader + ?Sized>(
    start: u64,
    end: u64,
    size: TreeSize,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    match path(start, end, size)? {
        Some(path) => path.prove(reader).map_err(ProveError::Read),
        None => Ok(Vec::new()),
    }
}

/// The root over the leaves `[start, end)`.
///
/// # Errors
/// [`ProveError`] if the range is no subtree, or if `reader` fails.
pub fn root<R: HashReader + ?Sized>(start: u64, end: u64, reader: &R) -> Result<Hash, ProveError<R::Error>> {
    match path(start, end, TreeSize(end))? {
        Some(_) => Range { start, end }.hash(reader).map_err(ProveError::Read),
        None => Ok(EMPTY_ROOT),
    }
}

/// The number of leaves of a subtree, if the range is one.
fn own_size(start: u64, end: u64) -> Result<TreeSize, ProofError> {
    path(start, end, TreeSize(end))?;
    Ok(TreeSize(end - start))
}

/// The way to a subtree; none to an empty one, which is no node.
fn path(start: u64, end: u64, size: TreeSize) -> Result<Option<Path>, ProofError> {
    let is_empty = start == end && end <= size.0;
    if is_empty { Ok(None) } else { Path::new(start, end, size).map(Some) }
}

/// The tree of a subtree's leaves alone.
struct Shifted<'r, R: ?Sized> {
    start: u64,
    reader: &'r R,
}

impl<R: HashReader + ?Sized> HashReader for Shifted<'_, R> {
    type Error = R::Error;

    fn node(&self, level: u8, index: u64) -> Result<Hash, R::Error> {
        self.reader.node(level, (self.start >> level) + index)
    }
}
