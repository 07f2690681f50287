//! Transparency logs as pure functions: the Merkle tree of RFC 6962 and the C2SP texts around it.
//!
//! Nothing here does I/O, reads a clock or draws randomness. Types say what was checked: an [`UnverifiedNote`] becomes a
//! [`Note`] and a [`SignedCheckpoint`] only when a trusted key's signature verifies.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod checkpoint;
pub mod consistency;
pub mod cosignature;
mod ed25519;
mod hash;
pub mod inclusion;
mod key;
pub mod limits;
pub mod multiproof;
mod note;
pub mod policy;
mod policy_text;
mod proof;
mod signer;
pub mod subtree;
pub mod tile;
mod tlog_proof;
mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Cosignature, SignedCheckpoint};
pub use cosignature::{PosixSeconds, SignatureError, cosign};
pub use ed25519::{Ed25519Key, SignatureCheck};
pub use hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};
pub use key::{Algorithm, KeyError, KeyId, VerifierKey};
pub use multiproof::MultiproofVerifier;
pub use note::{Note, NoteError, NoteSignature, UnverifiedNote, VerifiedSignature, parse_signatures};
pub use policy::{Policy, PolicyError, QuorumTime};
pub use proof::{ProofError, ProveError};
pub use signer::{SeedSigner, SignError, Signer, sign_note};
pub use tlog_proof::{TlogProof, TlogProofError};
pub use tree::{
    Frontier, FrontierError, HashReader, LeafIndex, MemoryTree, MissingNode, TreeHead, TreeSize, root,
};
