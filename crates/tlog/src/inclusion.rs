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
