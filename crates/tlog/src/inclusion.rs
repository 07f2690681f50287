//! Inclusion proofs: this leaf stands at this index of that tree (RFC 6962, section 2.1.1).

use crate::hash::Hash;
use crate::proof::{Path, ProofError, ProveError};
use crate::tree::{HashReader, LeafIndex, TreeHead, TreeSize};

/// Checks that the leaf with hash `leaf` stands at `index` of the tree `head`.
///
/// # Errors
/// [`ProofError`] if it does not, or if `proof` shows nothing: the number of hashes must be exactly right.
///
/// ```
/// use counterfoil_tlog::{LeafIndex, MemoryTree, inclusion, leaf_hash};
///
/// let tree: MemoryTree = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry)).into_iter().collect();
/// let head = tree.head();
/// let proof = inclusion::prove(LeafIndex(2), head.size, &tree)?;
/// inclusion::verify(leaf_hash(b"c"), LeafIndex(2), &proof, &head)?;
/// assert!(inclusion::verify(leaf_hash(b"x"), LeafIndex(2), &proof, &head).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(leaf: Hash, index: LeafIndex, proof: &[Hash], head: &TreeHead) -> Result<(), ProofError> {
    let computed = root(leaf, index, proof, head.size)?;
    if computed != head.root {
        return Err(ProofError::RootMismatch { claimed: head.root, computed });
    }
    Ok(())
}

/// The root that leaf and proof lead to, for a caller that compares it itself.
///
/// # Errors
/// [`ProofError`] if `index` or the number of hashes does not fit the size.
pub fn root(leaf: Hash, index: LeafIndex, proof: &[Hash], size: TreeSize) -> Result<Hash, ProofError> {
    let (_, root) = path(index, size)?.roots(leaf, proof)?;
    Ok(root)
}

/// The root of the tree of the leaves before `index`, which is part of what a proof shows that [`verify`] accepts; `None` for index 0. A tree
/// of `index` leaves that has it is the beginning of the larger one: no proof of consistency is needed.
///
/// # Errors
/// [`ProofError`] if `index` or the number of hashes does not fit the size.
///
/// ```
/// use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, inclusion, leaf_hash};
///
/// let leaves = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry));
/// let (old, new): (MemoryTree, MemoryTree) = (leaves[..2].iter().copied().collect(), leaves.into_iter().collect());
/// let proof = inclusion::prove(LeafIndex(2), TreeSize(3), &new)?;
/// inclusion::verify(leaf_hash(b"c"), LeafIndex(2), &proof, &new.head())?;
/// assert_eq!(inclusion::root_before(LeafIndex(2), &proof, TreeSize(3))?, Some(old.head().root));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn root_before(index: LeafIndex, proof: &[Hash], size: TreeSize) -> Result<Option<Hash>, ProofError> {
    path(index, size)?.root_before(proof)
}

/// The inclusion proof of leaf `index` in the tree of `size` leaves, from the leaf's sibling up.
///
/// # Errors
/// [`ProveError`] if there is no such leaf, or if `reader` fails.
pub fn prove<R: HashReader + ?Sized>(
    index: LeafIndex,
    size: TreeSize,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    path(index, size)?.prove(reader).map_err(ProveError::Read)
}

fn path(index: LeafIndex, size: TreeSize) -> Result<Path, ProofError> {
    if index.0 >= size.0 {
        return Err(ProofError::IndexOutOfRange { index, size });
    }
    Path::new(index.0, index.0 + 1, size)
}
