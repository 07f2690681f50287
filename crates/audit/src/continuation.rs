//! Whether one signed tree begins with another.

use counterfoil_tlog::{
    Hash, ProofError, TreeHead, consistency,
    tile::{TilePath, TileReader},
};

use crate::source::{Source, SourceError};

/// What two signed heads of one log are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// The newer tree begins with the older one.
    Holds,
    /// It does not, and these hashes show it: they lead from another root of the older size to the newer root. Empty for one size.
    Fork { proof: Vec<Hash>, computed: Hash },
    /// The older head is of the larger tree.
    Behind,
    /// The tiles that would show it are wrong or lost.
    Unshown(String),
}

/// Compares two signed heads by the tiles of the newer.
///
/// # Errors
/// [`SourceError`] if the source can't be asked.
pub(crate) fn compare(source: &Source, old: TreeHead, new: TreeHead) -> Result<Continuation, SourceError> {
    if old.size > new.size {
        return Ok(Continuation::Behind);
    }
    if old.size == new.size && old.root != new.root {
        return Ok(Continuation::Fork { proof: Vec::new(), computed: new.root });
    }
    if old.size == new.size || old.size.0 == 0 {
        return Ok(Continuation::Holds);
    }
    let reader = TileReader::new(new.size, |path: &TilePath| source.tile(path));
    let proof = match consistency::prove(old.size, new.size, &reader) {
        Ok(proof) => proof,
        Err(counterfoil_tlog::ProveError::Read(counterfoil_tlog::tile::TileReadError::Fetch(error)))
            if !error.is_damage() =>
        {
            return Err(error);
        }
        Err(why) => return Ok(Continuation::Unshown(why.to_string())),
    };
    match consistency::verify(&old, &new, &proof) {
        Ok(()) => Ok(Continuation::Holds),
        Err(ProofError::OldRootMismatch { computed, .. })
            if consistency::verify(&TreeHead { size: old.size, root: computed }, &new, &proof).is_ok() =>
        {
            Ok(Continuation::Fork { proof, computed })
        }
        Err(why) => Ok(Continuation::Unshown(why.to_string())),
    }
}
