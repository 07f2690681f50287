//! Consistency proofs: the newer tree begins with the leaves of the older one (RFC 6962, section 2.1.2).

use crate::hash::Hash;
use crate::proof::{Path, ProofError, ProveError};
use crate::tree::{HashReader, TreeHead, TreeSize};

/// Checks that the tree `new` begins with all leaves of the tree `old`, in order.
///
/// For two heads of one size `proof` must be empty and the roots equal. From the empty tree there is no proof: every
/// tree begins with it.
///
/// # Errors
/// [`ProofError`] if it does not, or if `proof` shows nothing: the number of hashes must be exactly right.
///
/// ```
/// use counterfoil_tlog::{MemoryTree, TreeSize, consistency, leaf_hash};
///
/// let mut tree: MemoryTree = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry)).into_iter().collect();
/// let old = tree.head();
/// tree.push(leaf_hash(b"d"));
/// let proof = consistency::prove(old.size, tree.size(), &tree)?;
/// consistency::verify(&old, &tree.head(), &proof)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn verify(old: &TreeHead, new: &TreeHead, proof: &[Hash]) -> Result<(), ProofError> {
    let (old_root, new_root) = path(old.size, new.size)?.roots(old.root, proof)?;
    if old_root != old.root {
        return Err(ProofError::OldRootMismatch { claimed: old.root, computed: old_root });
    }
    if new_root != new.root {
        return Err(ProofError::RootMismatch { claimed: new.root, computed: new_root });
    }
    Ok(())
}

/// The consistency proof between the trees of `old` and of `new` leaves.
///
/// # Errors
/// [`ProveError`] if `old` is 0 or larger than `new`, or if `reader` fails.
pub fn prove<R: HashReader + ?Sized>(
    old: TreeSize,
    new: TreeSize,
    reader: &R,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    path(old, new)?.prove(reader).map_err(ProveError::Read)
}

fn path(old: TreeSize, new: TreeSize) -> Result<Path, ProofError> {
    if old > new {
        return Err(ProofError::SizesReversed { old, new });
    }
    if old.0 == 0 {
        return Err(ProofError::FromEmptyTree);
    }
    Path::new(0, old.0, new)
}
