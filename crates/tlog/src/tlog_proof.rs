//! A leaf's inclusion and the signed checkpoint in one text (C2SP tlog-proof).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{SignedCheckpoint, parse_decimal};
use crate::hash::Hash;
use crate::inclusion;
use crate::limits;
use crate::note::{NoteError, UnverifiedNote};
use crate::policy::{Policy, PolicyError};
use crate::proof::ProofError;
use crate::tree::LeafIndex;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A `c2sp.org/tlog-proof@v1`, unchecked. `Display` is the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What the application put there; nobody signed it. Never empty.
    pub extra: Option<Vec<u8>>,
    /// The index of the leaf.
    pub index: LeafIndex,
    /// The inclusion proof, from the leaf's sibling up.
    pub inclusion: Vec<Hash>,
    /// The checkpoint.
    pub checkpoint: UnverifiedNote,
}

impl TlogProof {
    /// Reads the text; each proof has exactly one spelling.
    ///
    /// # Errors
    /// [`TlogProofError`] naming the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, TlogProofError> {
        let (head, note) = text.split_once("\n\n").ok_or(TlogProofError::NoCheckpoint)?;
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next().is_none_or(|(line, _)| line != HEADER) {
            return Err(TlogProofError::BadLine { line: 1 });
        }
        let extra = match lines.next_if(|(line, _)| line.starts_with("extra ")) {
            Some((line, at)) => {
                Some(parse_extra(&line["extra ".len()..]).ok_or(TlogProofError::BadLine { line: at })?)
            }
            None => None,
        };
        let (line, at) = lines.next().ok_or(TlogProofError::NoIndex)?;
        let index = line
            .strip_prefix("index ")
            .and_then(parse_decimal)
            .ok_or(TlogProofError::BadLine { line: at })?;
        let mut inclusion = Vec::new();
        for (line, at) in lines {
            if inclusion.len() == limits::PROOF_HASHES {
                return Err(TlogProofError::TooManyHashes);
            }
            inclusion.push(Hash::from_base64(line).ok_or(TlogProofError::BadLine { line: at })?);
        }
        let checkpoint = UnverifiedNote::parse(note.as_bytes())?;
        Ok(Self { extra, index: LeafIndex(index), inclusion, checkpoint })
    }

    /// Checks that the leaf with hash `leaf` is in a log of `policy`, under a checkpoint that the log signed and that
    /// the policy's quorum cosigned.
    ///
    /// # Errors
    /// [`TlogProofError`] if any of that is not shown.
    pub fn verify(self, leaf: Hash, policy: &Policy) -> Result<SignedCheckpoint, TlogProofError> {
        let checkpoint = policy.open(self.checkpoint)?;
        policy.check_quorum(&checkpoint)?;
        inclusion::verify(leaf, self.index, &self.inclusion, &checkpoint.head())?;
        Ok(checkpoint)
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.inclusion.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

fn parse_extra(base64: &str) -> Option<Vec<u8>> {
    let longest = limits::PROOF_EXTRA_BYTES.div_ceil(3) * 4;
    let extra = if base64.len() <= longest { STANDARD.decode(base64).ok()? } else { return None };
    (!extra.is_empty()).then_some(extra)
}

/// Why a text is no tlog-proof, or shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlogProofError {
    /// A line is not what belongs there.
    #[error("line {line} is malformed")]
    BadLine {
        /// Which line, counted from 1.
        line: usize,
    },
    /// There is no index line.
    #[error("the index line is missing")]
    NoIndex,
    /// There is no empty line with a checkpoint after it.
    #[error("no checkpoint after an empty line")]
    NoCheckpoint,
    /// There are more hashes than [`limits::PROOF_HASHES`].
    #[error("more than {} hashes", limits::PROOF_HASHES)]
    TooManyHashes,
    /// The checkpoint is no note.
    #[error("the checkpoint is no signed note")]
    Note(#[from] NoteError),
    /// The checkpoint is not what the policy asks for.
    #[error("the checkpoint does not satisfy the policy")]
    Policy(#[from] PolicyError),
    /// The leaf is not in the tree.
    #[error("the inclusion proof is wrong")]
    Inclusion(#[from] ProofError),
}

impl TlogProofError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadLine { .. } => "tlog-proof-bad-line",
            Self::NoIndex => "tlog-proof-no-index",
            Self::NoCheckpoint => "tlog-proof-no-checkpoint",
            Self::TooManyHashes => "tlog-proof-too-many-hashes",
            Self::Note(error) => error.code(),
            Self::Policy(error) => error.code(),
            Self::Inclusion(error) => error.code(),
        }
    }
}
