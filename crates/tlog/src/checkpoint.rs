//! Checkpoints (C2SP tlog-checkpoint): a tree head as a signed note.

use std::fmt;

use crate::cosignature::PosixSeconds;
use crate::hash::{EMPTY_ROOT, Hash};
use crate::key::VerifierKey;
use crate::limits;
use crate::note::{Note, NoteError, UnverifiedNote};
use crate::signer::{SignError, Signer, sign_note};
use crate::tree::{TreeHead, TreeSize};

/// The text of a checkpoint: which log, and the head of its tree. `Display` is the note text.
///
/// A value of this type claims, and proves nothing; [`SignedCheckpoint`] is one that the log signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    head: TreeHead,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// The checkpoint of a log's tree, without extension lines.
    ///
    /// # Errors
    /// [`CheckpointError`] if the origin can't be one, or the tree is too large, or empty with a root that is not
    /// [`EMPTY_ROOT`].
    pub fn new(origin: impl Into<String>, head: TreeHead) -> Result<Self, CheckpointError> {
        let checkpoint = Self { origin: origin.into(), head, extensions: Vec::new() };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Reads the text of a note; each checkpoint has exactly one spelling.
    ///
    /// # Errors
    /// [`CheckpointError`] naming the line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::NoFinalNewline)?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(CheckpointError::TooFewLines);
        };
        let size = parse_decimal(size).ok_or_else(|| CheckpointError::BadSize { line: size.to_owned() })?;
        let root =
            Hash::from_base64(root).ok_or_else(|| CheckpointError::BadRoot { line: root.to_owned() })?;
        let extensions = lines.map(str::to_owned).collect();
        let head = TreeHead { size: TreeSize(size), root };
        let checkpoint = Self { origin: origin.to_owned(), head, extensions };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Which log: the first line.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The claimed head of its tree.
    pub const fn head(&self) -> TreeHead {
        self.head
    }

    /// The lines after the head, which only the application can read. ML-DSA-44 signatures don't cover them, and
    /// C2SP recommends against them; a reader of a log that has none must refuse any.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Signs the checkpoint as the log, with a key of [`Algorithm::Ed25519`](crate::Algorithm::Ed25519).
    ///
    /// # Errors
    /// [`SignError`] if the key is a cosigner's, or the signer fails.
    pub fn sign(&self, signer: &(impl Signer + ?Sized)) -> Result<UnverifiedNote, SignError> {
        let text = self.to_string();
        let signature = sign_note(&text, signer)?;
        UnverifiedNote::new(text, vec![signature]).map_err(|error| SignError::Failed(error.into()))
    }

    fn check(&self) -> Result<(), CheckpointError> {
        let is_line = |line: &str| !line.is_empty() && !line.contains(|c: char| c < ' ');
        if !is_line(&self.origin) || self.origin.len() > limits::NAME_BYTES {
            return Err(CheckpointError::BadOrigin { line: self.origin.clone() });
        }
        if self.head.size.0 > limits::TREE_SIZE {
            return Err(CheckpointError::BadSize { line: self.head.size.to_string() });
        }
        if self.head.size.0 == 0 && self.head.root != EMPTY_ROOT {
            return Err(CheckpointError::EmptyTreeWithRoot { claimed: self.head.root });
        }
        match self.extensions.iter().position(|line| !is_line(line)) {
            Some(at) => Err(CheckpointError::BadExtension { line: at + 4 }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.head.size, self.head.root.to_base64())?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A checkpoint that a trusted key of its log signed, with the cosignatures that were recognised. Only
/// [`SignedCheckpoint::open`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    log_keys: Vec<usize>,
    cosignatures: Vec<Cosignature>,
    unknown: usize,
}

/// A cosignature that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Which of the cosigners given to [`SignedCheckpoint::open`] made it.
    pub cosigner: usize,
    /// As of when the cosigner states that this is the largest tree it saw; `None` if it states nothing of the kind.
    pub time: Option<PosixSeconds>,
}

impl SignedCheckpoint {
    /// Opens a note as a checkpoint of the log `origin`, signed by at least one of `log_keys`. Signatures by
    /// `cosigners` are checked as well; all others are ignored.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is another log's, is not signed by the log, or carries a wrong signature by a known
    /// key.
    pub fn open<L: AsRef<VerifierKey>, C: AsRef<VerifierKey>>(
        note: UnverifiedNote,
        origin: &str,
        log_keys: &[L],
        cosigners: &[C],
    ) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != origin {
            return Err(CheckpointError::WrongOrigin {
                expected: origin.to_owned(),
                found: checkpoint.origin,
            });
        }
        let keys = log_keys.iter().map(AsRef::as_ref).chain(cosigners.iter().map(AsRef::as_ref));
        let note: Note = note.open(&keys.collect::<Vec<&VerifierKey>>())?;

        let (mut signed_by, mut cosignatures) = (Vec::new(), Vec::new());
        for signature in note.verified() {
            match signature.key.checked_sub(log_keys.len()) {
                Some(cosigner) => cosignatures.push(Cosignature { cosigner, time: signature.time }),
                None => signed_by.push(signature.key),
            }
        }
        if signed_by.is_empty() {
            return Err(CheckpointError::NotSignedByLog { origin: checkpoint.origin });
        }
        Ok(Self { checkpoint, log_keys: signed_by, cosignatures, unknown: note.unknown().len() })
    }

    /// What the log signed.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The head that the log signed.
    pub const fn head(&self) -> TreeHead {
        self.checkpoint.head
    }

    /// Which of the log's keys signed; at least one.
    pub fn log_keys(&self) -> &[usize] {
        &self.log_keys
    }

    /// The cosignatures, in the order of their lines. A cosigner may stand here more than once.
    pub fn cosignatures(&self) -> &[Cosignature] {
        &self.cosignatures
    }

    /// The number of signatures by keys that the reader doesn't know.
    pub const fn unknown(&self) -> usize {
        self.unknown
    }
}

/// A decimal number without sign, leading zeros or anything else.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Why a text is no checkpoint, or not one of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text does not end with a newline.
    #[error("the text does not end with a newline")]
    NoFinalNewline,
    /// There are fewer than three lines.
    #[error("a checkpoint has at least three lines: origin, size, root")]
    TooFewLines,
    /// The origin is empty, too long, or holds control characters.
    #[error("{line:?} is no origin")]
    BadOrigin {
        /// The first line.
        line: String,
    },
    /// The size is no canonical decimal number, or over [`limits::TREE_SIZE`].
    #[error("{line:?} is no tree size")]
    BadSize {
        /// The second line.
        line: String,
    },
    /// The root is not the base64 of 32 bytes.
    #[error("{line:?} is no root hash")]
    BadRoot {
        /// The third line.
        line: String,
    },
    /// An extension line is empty.
    #[error("line {line} is no extension line")]
    BadExtension {
        /// Which line, counted from 1.
        line: usize,
    },
    /// The empty tree has only one root.
    #[error("the empty tree can't have the root {claimed}")]
    EmptyTreeWithRoot {
        /// The root in the text.
        claimed: Hash,
    },
    /// The checkpoint is of another log.
    #[error("the checkpoint is of {found:?}, not of {expected:?}")]
    WrongOrigin {
        /// The log that was asked for.
        expected: String,
        /// The log in the text.
        found: String,
    },
    /// No key of the log signed it, though a cosigner did.
    #[error("no known key of {origin:?} signed the checkpoint")]
    NotSignedByLog {
        /// The log in the text.
        origin: String,
    },
    /// It is no note, or not signed as it should be.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl CheckpointError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoFinalNewline => "checkpoint-no-final-newline",
            Self::TooFewLines => "checkpoint-too-few-lines",
            Self::BadOrigin { .. } => "checkpoint-bad-origin",
            Self::BadSize { .. } => "checkpoint-bad-size",
            Self::BadRoot { .. } => "checkpoint-bad-root",
            Self::BadExtension { .. } => "checkpoint-bad-extension",
            Self::EmptyTreeWithRoot { .. } => "checkpoint-empty-tree-with-root",
            Self::WrongOrigin { .. } => "checkpoint-wrong-origin",
            Self::NotSignedByLog { .. } => "checkpoint-not-signed-by-log",
            Self::Note(error) => error.code(),
        }
    }
}
