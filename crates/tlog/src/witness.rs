//! What a log and a witness say to each other (C2SP tlog-witness, `add-checkpoint`), as texts.
//!
//! The log sends an [`AddCheckpoint`]. The witness answers with signature lines, which [`Answer::read`] verifies, or, if it
//! has cosigned another size than the log thinks, with that size: [`parse_size`].

use std::fmt;

use crate::checkpoint::parse_decimal;
use crate::cosignature::PosixSeconds;
use crate::hash::Hash;
use crate::key::VerifierKey;
use crate::limits;
use crate::note::{NoteError, NoteSignature, UnverifiedNote, parse_signatures};
use crate::tree::TreeSize;

/// Where the request goes, below a witness's submission prefix.
pub const ADD_CHECKPOINT: &str = "add-checkpoint";

/// The media type of the 409 answer, whose body is the size that the witness has cosigned.
pub const SIZE_MEDIA_TYPE: &str = "text/x.tlog.size";

/// Hashes of a request's consistency proof, set by C2SP tlog-witness: no tree that can be signed needs more.
pub const PROOF_HASHES: usize = 63;

/// Bytes of a request: the line of the old size, [`PROOF_HASHES`] lines of 45 bytes, and a note of an origin, two numbers
/// and four of the largest signature lines come to 37 KB; the rest is for extension lines.
pub const REQUEST_BYTES: usize = 65_536;

/// Bytes of an answer: sixteen of the largest signature lines, as many as C2SP signed-note makes every reader accept.
pub const ANSWER_BYTES: usize = 16 * limits::SIGNATURE_LINE_BYTES;

/// The request to cosign a checkpoint, unchecked. `Display` is the body.
///
/// ```
/// use counterfoil_tlog::{Checkpoint, MemoryTree, SeedSigner, TreeSize, leaf_hash, witness::AddCheckpoint};
///
/// let tree: MemoryTree = [leaf_hash(b"a")].into_iter().collect();
/// let signer = SeedSigner::ed25519("example.com/log", &[1; 32])?;
/// let checkpoint = Checkpoint::new("example.com/log", tree.head())?.sign(&signer)?;
/// let request = AddCheckpoint { old: TreeSize(0), proof: Vec::new(), checkpoint };
/// assert_eq!(AddCheckpoint::parse(request.to_string().as_bytes())?, request);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size of the tree that the log thinks the witness cosigned last; 0 for none.
    pub old: TreeSize,
    /// The consistency proof from that tree; empty from size 0.
    pub proof: Vec<Hash>,
    /// The new checkpoint, signed by the log.
    pub checkpoint: UnverifiedNote,
}

impl AddCheckpoint {
    /// Reads the body; each request has exactly one spelling. That the note is a checkpoint is not checked.
    ///
    /// # Errors
    /// [`WitnessTextError`] naming the line that is wrong.
    pub fn parse(body: &[u8]) -> Result<Self, WitnessTextError> {
        if body.len() > REQUEST_BYTES {
            return Err(WitnessTextError::TooLong { len: body.len(), limit: REQUEST_BYTES });
        }
        let text = std::str::from_utf8(body)
            .map_err(|error| WitnessTextError::NotUtf8 { at: error.valid_up_to() })?;
        let (head, note) = text.split_once("\n\n").ok_or(WitnessTextError::NoCheckpoint)?;
        let mut lines = head.split('\n').zip(1..);
        let old = lines.next().and_then(|(line, _)| line.strip_prefix("old ")).and_then(tree_size);
        let old = old.ok_or(WitnessTextError::BadLine { line: 1 })?;
        let mut proof = Vec::new();
        for (line, at) in lines {
            if proof.len() == PROOF_HASHES {
                return Err(WitnessTextError::TooManyHashes);
            }
            proof.push(Hash::from_base64(line).ok_or(WitnessTextError::BadLine { line: at })?);
        }
        Ok(Self { old, proof, checkpoint: UnverifiedNote::parse(note.as_bytes())? })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Reads the body of a 409: a size in decimal and a newline, nothing else.
///
/// # Errors
/// [`WitnessTextError::NotASize`].
pub fn parse_size(body: &[u8]) -> Result<TreeSize, WitnessTextError> {
    let line = std::str::from_utf8(body).ok().and_then(|text| text.strip_suffix('\n'));
    line.and_then(tree_size).ok_or(WitnessTextError::NotASize)
}

/// A decimal size that a tree can have.
fn tree_size(text: &str) -> Option<TreeSize> {
    parse_decimal(text).filter(|size| *size <= limits::TREE_SIZE).map(TreeSize)
}

/// What a witness answered with 200, after every line was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The cosignatures that count, one for each key at most.
    pub cosignatures: Vec<WitnessLine>,
    /// Lines by keys that are none of the witness's. The log must ignore them, and there will be some.
    pub unknown: usize,
    /// Lines that claim to be by the witness and don't count.
    pub refused: Vec<RefusedLine>,
}

/// A cosignature that was checked, with the line that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessLine {
    /// Which of the keys given to [`Answer::read`] made it.
    pub key: usize,
    /// As of when the witness states that this is the largest tree it saw. Never 0.
    pub time: PosixSeconds,
    /// The line.
    pub line: NoteSignature,
}

/// Why a line that names a key of the witness does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedLine {
    /// The signature is wrong.
    #[error(transparent)]
    Signature(NoteError),
    /// It states no time, which a witness must (C2SP tlog-witness).
    #[error("the cosignature by {name} states no time")]
    NoTime {
        /// The name of the key.
        name: String,
    },
    /// Its time is later than the reader can believe.
    #[error("the cosignature by {name} is of {time}, later than {latest}")]
    Future {
        /// The name of the key.
        name: String,
        /// The time in it.
        time: PosixSeconds,
        /// The latest that is believed.
        latest: PosixSeconds,
    },
}

impl Answer {
    /// Reads the body of a 200 to a request with this checkpoint `text`, and verifies each line under the witness's `keys`.
    /// Cosignatures of a time after `latest` don't count.
    ///
    /// # Errors
    /// [`WitnessTextError`] if the body is no signature lines. Lines that don't count are no error.
    pub fn read(
        body: &[u8],
        text: &str,
        keys: &[VerifierKey],
        latest: PosixSeconds,
    ) -> Result<Self, WitnessTextError> {
        if body.len() > ANSWER_BYTES {
            return Err(WitnessTextError::TooLong { len: body.len(), limit: ANSWER_BYTES });
        }
        let lines = std::str::from_utf8(body)
            .map_err(|error| WitnessTextError::NotUtf8 { at: error.valid_up_to() })?;
        let mut answer = Self::default();
        for line in parse_signatures(lines)? {
            answer.take(line, text, keys, latest)?;
        }
        Ok(answer)
    }

    fn take(
        &mut self,
        line: NoteSignature,
        text: &str,
        keys: &[VerifierKey],
        latest: PosixSeconds,
    ) -> Result<(), WitnessTextError> {
        let name = line.name().to_owned();
        let refused = match UnverifiedNote::new(text, vec![line.clone()])?.open(keys) {
            Err(NoteError::NoKnownSignature { .. }) => {
                self.unknown += 1;
                return Ok(());
            }
            Err(error) => RefusedLine::Signature(error),
            Ok(note) => match note.verified().first().and_then(|made| Some((made.key, made.time?))) {
                None => RefusedLine::NoTime { name },
                Some((_, time)) if time > latest => RefusedLine::Future { name, time, latest },
                Some((key, time)) => {
                    // Of two by one key the later says more.
                    match self.cosignatures.iter_mut().find(|other| other.key == key) {
                        Some(other) if other.time >= time => {}
                        Some(other) => *other = WitnessLine { key, time, line },
                        None => self.cosignatures.push(WitnessLine { key, time, line }),
                    }
                    return Ok(());
                }
            },
        };
        self.refused.push(refused);
        Ok(())
    }
}

/// Why a body is not what the protocol has there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WitnessTextError {
    /// It is over a limit.
    #[error("{len} bytes are over the limit of {limit}")]
    TooLong {
        /// The length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The offset of the first wrong byte.
        at: usize,
    },
    /// A line is not the one that belongs there: `old` and a size, or a hash.
    #[error("line {line} is not what belongs there")]
    BadLine {
        /// Which line, counted from 1.
        line: usize,
    },
    /// The proof has more than [`PROOF_HASHES`] hashes.
    #[error("a proof of more than {PROOF_HASHES} hashes")]
    TooManyHashes,
    /// There is no empty line, after which the checkpoint follows.
    #[error("no checkpoint after an empty line")]
    NoCheckpoint,
    /// The body of a 409 is not a size and a newline.
    #[error("not a tree size and a newline")]
    NotASize,
    /// The checkpoint is no note, or the lines are no signature lines.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl WitnessTextError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "witness-too-long",
            Self::NotUtf8 { .. } => "witness-not-utf8",
            Self::BadLine { .. } => "witness-bad-line",
            Self::TooManyHashes => "witness-too-many-hashes",
            Self::NoCheckpoint => "witness-no-checkpoint",
            Self::NotASize => "witness-not-a-size",
            Self::Note(error) => error.code(),
        }
    }
}
