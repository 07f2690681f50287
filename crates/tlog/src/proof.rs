//! The walk from the root of a tree down to one of its subtrees, which is all that Merkle proofs are.
//!
//! Inclusion proofs (RFC 6962, section 2.1.1), consistency proofs (2.1.2) and proofs that a subtree belongs to a tree
//! (draft-ietf-plants-merkle-tree-certs, section 4.4) are the same list of hashes for different subtrees: a leaf
//! `[i, i + 1)`, a prefix `[0, m)`, or any other. [`Path`] is that list's shape; prover and verifier both follow it.

use crate::hash::{Hash, node_hash};
use crate::tree::{HashReader, LeafIndex, TreeSize};

/// Why a proof shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// There is no such leaf in the tree.
    #[error("leaf {index} is outside a tree of {size} leaves")]
    IndexOutOfRange {
        /// The claimed index.
        index: LeafIndex,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The older tree is larger than the newer one.
    #[error("a tree of {old} leaves can't be the beginning of one of {new}")]
    SizesReversed {
        /// The size of the tree claimed to be older.
        old: TreeSize,
        /// The size of the tree claimed to be newer.
        new: TreeSize,
    },
    /// The older tree is empty. Every tree begins with it, so a proof would show nothing.
    #[error("a consistency proof from the empty tree shows nothing")]
    FromEmptyTree,
    /// The range is empty, misaligned, or outside the tree.
    #[error("[{start}, {end}) is no subtree of a tree of {size} leaves")]
    NotASubtree {
        /// The first leaf.
        start: u64,
        /// One past the last leaf.
        end: u64,
        /// The size of the tree.
        size: TreeSize,
    },
    /// The number of hashes is not the one that sizes and indices determine.
    #[error("the proof has {found} hashes where {expected} belong")]
    WrongLength {
        /// The number that belongs there.
        expected: usize,
        /// The number given.
        found: usize,
    },
    /// The proof leads to another root than the one claimed.
    #[error("the proof leads to root {computed}, the head says {claimed}")]
    RootMismatch {
        /// The root in the head.
        claimed: Hash,
        /// The root that leaf and proof lead to.
        computed: Hash,
    },
    /// The proof leads to another root of the older tree or subtree than the one claimed.
    #[error("the proof leads to root {computed} of the older tree, the head says {claimed}")]
    OldRootMismatch {
        /// The root in the older head.
        claimed: Hash,
        /// The root that the proof leads to.
        computed: Hash,
    },
    /// A leaf of a multiproof does not come after the one before it.
    #[error("leaf {index} follows leaf {previous}: indices must ascend")]
    NotAscending {
        /// The index of the leaf before.
        previous: LeafIndex,
        /// The index given after it.
        index: LeafIndex,
    },
    /// A multiproof proves no leaf at all.
    #[error("a multiproof must prove at least one leaf")]
    NoLeaves,
    /// The tree is over [`limits::TREE_SIZE`](crate::limits::TREE_SIZE).
    #[error("tree size {size} is over the limit of {}", crate::limits::TREE_SIZE)]
    TreeTooLarge {
        /// The claimed size.
        size: TreeSize,
    },
}

impl ProofError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::IndexOutOfRange { .. } => "proof-index-out-of-range",
            Self::SizesReversed { .. } => "proof-sizes-reversed",
            Self::FromEmptyTree => "proof-from-empty-tree",
            Self::NotASubtree { .. } => "proof-not-a-subtree",
            Self::WrongLength { .. } => "proof-wrong-length",
            Self::RootMismatch { .. } => "proof-root-mismatch",
            Self::OldRootMismatch { .. } => "proof-old-root-mismatch",
            Self::NotAscending { .. } => "proof-not-ascending",
            Self::NoLeaves => "proof-no-leaves",
            Self::TreeTooLarge { .. } => "proof-tree-too-large",
        }
    }
}

/// Why a proof could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// There is no such proof.
    #[error(transparent)]
    Impossible(#[from] ProofError),
    /// The reader could not supply a hash.
    #[error("could not read a tree hash")]
    Read(#[source] E),
}

impl<E> ProveError<E> {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Impossible(error) => error.code(),
            Self::Read(_) => "prove-read-failed",
        }
    }
}

/// A range of leaves `[start, end)` that one node of the tree covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether the node's leaves are a power of two, so that nothing that is appended later changes its hash.
    pub const fn is_complete(self) -> bool {
        self.len().is_power_of_two()
    }

    /// The height of a complete node.
    pub const fn level(self) -> u32 {
        self.len().ilog2()
    }

    /// The two children: the left one takes the largest power of two that leaves the right one something.
    const fn split(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { start: self.start, end: middle }, Self { start: middle, end: self.end })
    }

    /// The root over these leaves.
    pub fn hash<R: HashReader + ?Sized>(self, reader: &R) -> Result<Hash, R::Error> {
        if self.is_complete() {
            return reader.node(self.level() as u8, self.start >> self.level());
        }
        let (left, right) = self.split();
        Ok(node_hash(&left.hash(reader)?, &right.hash(reader)?))
    }
}

/// One step up from the subtree: the sibling to hash with, and its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    sibling: Range,
    side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// The sibling is left of the subtree.
    Left,
    /// The sibling is right of the subtree.
    Right,
    /// The sibling is the left part of the subtree itself, which does not end where a node of the larger tree does.
    Within,
}

/// The way from a subtree up to the root of the tree around it.
#[derive(Debug)]
pub(crate) struct Path {
    /// Where the way begins: the subtree itself, or its rightmost part that is also a node of the larger tree.
    bottom: Range,
    /// Whether `bottom` is only a part, so that its hash is not known and comes first in the proof.
    seeded: bool,
    /// From the root down.
    steps: Vec<Step>,
}

impl Path {
    /// The way to `[start, end)`, which must be a subtree of `[0, size)`: SUBTREE_SUBPROOF of the draft, which for
    /// `start` = 0 is SUBPROOF of RFC 6962, and for one leaf is PATH.
    pub fn new(start: u64, end: u64, size: TreeSize) -> Result<Self, ProofError> {
        if size.0 > crate::limits::TREE_SIZE {
            return Err(ProofError::TreeTooLarge { size });
        }
        let is_subtree =
            start < end && end <= size.0 && start.is_multiple_of((end - start).next_power_of_two());
        if !is_subtree {
            return Err(ProofError::NotASubtree { start, end, size });
        }
        let mut target = Range { start, end };
        let mut node = Range { start: 0, end: size.0 };
        let mut path = Self { bottom: target, seeded: false, steps: Vec::new() };
        while node != target {
            let (left, right) = node.split();
            let (sibling, side) = if target.end <= left.end {
                node = left;
                (right, Side::Right)
            } else if target.start >= left.end {
                node = right;
                (left, Side::Left)
            } else {
                node = right;
                target.start = right.start;
                path.seeded = true;
                (left, Side::Within)
            };
            path.steps.push(Step { sibling, side });
        }
        path.bottom = target;
        Ok(path)
    }

    /// The hashes that the shape asks for.
    pub fn prove<R: HashReader + ?Sized>(&self, reader: &R) -> Result<Vec<Hash>, R::Error> {
        let seed = self.seeded.then_some(self.bottom);
        let siblings = self.steps.iter().rev().map(|step| step.sibling);
        seed.into_iter().chain(siblings).map(|range| range.hash(reader)).collect()
    }

    /// The root over all leaves before the subtree that `proof` leads to; `None` if there are none.
    pub fn root_before(&self, proof: &[Hash]) -> Result<Option<Hash>, ProofError> {
        self.has_length(proof)?;
        let siblings = self.steps.iter().rev().zip(&proof[usize::from(self.seeded)..]);
        let left = siblings.filter(|(step, _)| step.side == Side::Left).map(|(_, sibling)| *sibling);
        Ok(left.reduce(|root, sibling| node_hash(&sibling, &root)))
    }

    /// The roots of the subtree and of the tree that `proof` leads to, given the subtree's hash as claimed.
    pub fn roots(&self, subtree: Hash, proof: &[Hash]) -> Result<(Hash, Hash), ProofError> {
        self.has_length(proof)?;
        let (bottom, siblings) = match proof.split_first() {
            Some((seed, siblings)) if self.seeded => (*seed, siblings),
            _ => (subtree, proof),
        };
        let (mut small, mut large) = (bottom, bottom);
        for (step, sibling) in self.steps.iter().rev().zip(siblings) {
            match step.side {
                Side::Left => large = node_hash(sibling, &large),
                Side::Right => large = node_hash(&large, sibling),
                Side::Within => {
                    small = node_hash(sibling, &small);
                    large = node_hash(sibling, &large);
                }
            }
        }
        Ok((small, large))
    }

    fn has_length(&self, proof: &[Hash]) -> Result<(), ProofError> {
        let expected = self.steps.len() + usize::from(self.seeded);
        if proof.len() == expected {
            return Ok(());
        }
        Err(ProofError::WrongLength { expected, found: proof.len() })
    }
}
