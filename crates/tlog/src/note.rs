//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::cosignature::{self, PosixSeconds, SignatureError};
use crate::key::{KeyId, VerifierKey, check_name};
use crate::limits;

/// A note whose text is signed by at least one key that the reader trusts. Only [`UnverifiedNote::open`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    verified: Vec<VerifiedSignature>,
    unknown: Vec<NoteSignature>,
}

impl Note {
    /// The signed text, with its final newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures by known keys, in the order of their lines; at least one. A key that signed at two times stands
    /// here twice.
    pub fn verified(&self) -> &[VerifiedSignature] {
        &self.verified
    }

    /// The signatures by other keys, of which nothing is known.
    pub fn unknown(&self) -> &[NoteSignature] {
        &self.unknown
    }
}

/// A signature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSignature {
    /// Which of the keys given to [`UnverifiedNote::open`] made it.
    pub key: usize,
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: KeyId,
    /// When a cosigner says that it signed; `None` for signatures that say nothing of time.
    pub time: Option<PosixSeconds>,
}

/// A note as somebody presents it.
///
/// ```
/// use counterfoil_tlog::{UnverifiedNote, VerifierKey};
///
/// let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k".parse::<VerifierKey>()?;
/// let note = "This is an example message.\n\n— example.com/foo \
///     Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// let note = UnverifiedNote::parse(note.as_bytes())?.open(&[key])?;
/// assert_eq!(note.text(), "This is an example message.\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnverifiedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl UnverifiedNote {
    /// Reads a note; each note has exactly one spelling.
    ///
    /// # Errors
    /// [`NoteError`] for anything that is no note or over a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > limits::NOTE_BYTES {
            return Err(NoteError::TooLong { len: bytes.len(), limit: limits::NOTE_BYTES });
        }
        let note =
            std::str::from_utf8(bytes).map_err(|error| NoteError::NotUtf8 { at: error.valid_up_to() })?;
        let split = note.rfind("\n\n").ok_or(NoteError::NoSignatures)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        check_text(text)?;
        Ok(Self { text: text.to_owned(), signatures: parse_signatures(signatures)? })
    }

    /// The note with this text and these signatures.
    ///
    /// # Errors
    /// [`NoteError`] if the text is none that a note can have, or if there are no signatures or too many.
    pub fn new(text: impl Into<String>, signatures: Vec<NoteSignature>) -> Result<Self, NoteError> {
        let text = text.into();
        check_text(&text)?;
        match signatures.len() {
            0 => Err(NoteError::NoSignatures),
            count if count > limits::NOTE_SIGNATURES => Err(NoteError::TooManySignatures),
            _ => Ok(Self { text, signatures }),
        }
    }

    /// The text, with its final newline. Nobody is known to have signed it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in the order of their lines, unchecked.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Checks every signature that claims to be by one of `keys`, and ignores all others.
    ///
    /// # Errors
    /// [`NoteError`] if a signature by a known key is wrong, or none is by a known key, or the name and id of a
    /// signature fit two of the keys.
    pub fn open<K: AsRef<VerifierKey>>(self, keys: &[K]) -> Result<Note, NoteError> {
        let mut verified: Vec<VerifiedSignature> = Vec::new();
        let mut unknown: Vec<NoteSignature> = Vec::new();
        for (line, signature) in self.signatures.iter().enumerate() {
            // The same line again says nothing new.
            if self.signatures[..line].contains(signature) {
                continue;
            }
            let mut matching = keys.iter().enumerate().filter(|(_, key)| signature.is_by(key.as_ref()));
            let Some((index, key)) = matching.next() else {
                unknown.push(signature.clone());
                continue;
            };
            let (name, key_id) = (signature.name.clone(), signature.key_id);
            if matching.next().is_some() {
                return Err(NoteError::AmbiguousKey { name, key_id });
            }
            match cosignature::verify(key.as_ref(), &self.text, &signature.bytes) {
                Ok(time) => verified.push(VerifiedSignature { key: index, name, key_id, time }),
                Err(reason) => return Err(NoteError::InvalidSignature { name, key_id, reason }),
            }
        }
        if verified.is_empty() {
            return Err(NoteError::NoKnownSignature { unknown: unknown.len() });
        }
        Ok(Note { text: self.text, verified, unknown })
    }
}

impl fmt::Display for UnverifiedNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

/// One signature line, unchecked. `Display` is the line with its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: KeyId,
    bytes: Vec<u8>,
}

impl NoteSignature {
    /// The line with these bytes after the key id; for cosignatures they begin with the time.
    pub(crate) fn new(key: &VerifierKey, bytes: Vec<u8>) -> Self {
        Self { name: key.name().to_owned(), key_id: key.id(), bytes }
    }

    /// The name of the key that is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the key that is said to have signed.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Whether name and id are those of `key`.
    pub fn is_by(&self, key: &VerifierKey) -> bool {
        self.key_id == key.id() && self.name == key.name()
    }

    /// Reads `— <name> <base64>`, without the newline.
    fn parse(line: &str) -> Option<Self> {
        if line.len() >= limits::SIGNATURE_LINE_BYTES {
            return None;
        }
        let (name, base64) = line.strip_prefix("— ")?.split_once(' ')?;
        check_name(name).ok()?;
        let bytes = STANDARD.decode(base64).ok()?;
        let (id, signature) = bytes.split_first_chunk()?;
        let key_id = KeyId(u32::from_be_bytes(*id));
        (!signature.is_empty()).then(|| Self { name: name.to_owned(), key_id, bytes: signature.to_vec() })
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id.0.to_be_bytes(), &*self.bytes].concat();
        writeln!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// Reads signature lines, each ended by a newline: the end of a note, or the answer of a witness.
///
/// # Errors
/// [`NoteError`] if there are none or too many, or if one is malformed.
pub fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::NoSignatures)?;
    let mut signatures = Vec::new();
    for (at, line) in lines.split('\n').enumerate() {
        if at == limits::NOTE_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        signatures.push(NoteSignature::parse(line).ok_or(NoteError::BadSignatureLine { line: at + 1 })?);
    }
    Ok(signatures)
}

/// The text ends with a newline and has no other ASCII control characters.
fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > limits::NOTE_TEXT_BYTES {
        return Err(NoteError::TooLong { len: text.len(), limit: limits::NOTE_TEXT_BYTES });
    }
    if !text.ends_with('\n') {
        return Err(NoteError::NoFinalNewline);
    }
    match text.find(|c: char| c < ' ' && c != '\n') {
        Some(at) => Err(NoteError::ControlCharacter { at }),
        None => Ok(()),
    }
}

/// Why a text is no note, or not one to trust.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The note or its text is over a limit.
    #[error("{len} bytes are over the limit of {limit}")]
    TooLong {
        /// The length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The note is not UTF-8.
    #[error("not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The offset of the first wrong byte.
        at: usize,
    },
    /// The text holds a control character other than newline.
    #[error("control character at byte {at}")]
    ControlCharacter {
        /// Its offset.
        at: usize,
    },
    /// The text does not end with a newline.
    #[error("the text does not end with a newline")]
    NoFinalNewline,
    /// There is no empty line followed by complete signature lines.
    #[error("no signature lines after an empty line")]
    NoSignatures,
    /// There are more signature lines than [`limits::NOTE_SIGNATURES`].
    #[error("more than {} signature lines", limits::NOTE_SIGNATURES)]
    TooManySignatures,
    /// A signature line is not `— <name> <base64>`.
    #[error("signature line {line} is malformed")]
    BadSignatureLine {
        /// Which one, counted from 1.
        line: usize,
    },
    /// Two of the reader's keys have the name and id of a signature.
    #[error("two of the given keys are {name} {key_id}")]
    AmbiguousKey {
        /// The name.
        name: String,
        /// The id.
        key_id: KeyId,
    },
    /// A signature claims to be by a known key and is not.
    #[error("the signature by {name} {key_id} is wrong")]
    InvalidSignature {
        /// The name of the key.
        name: String,
        /// The id of the key.
        key_id: KeyId,
        /// What is wrong with it.
        #[source]
        reason: SignatureError,
    },
    /// No signature is by a known key.
    #[error("none of the {unknown} signatures is by a known key")]
    NoKnownSignature {
        /// The number of signatures by unknown keys.
        unknown: usize,
    },
}

impl NoteError {
    /// A stable name for this kind of error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "note-too-long",
            Self::NotUtf8 { .. } => "note-not-utf8",
            Self::ControlCharacter { .. } => "note-control-character",
            Self::NoFinalNewline => "note-no-final-newline",
            Self::NoSignatures => "note-no-signatures",
            Self::TooManySignatures => "note-too-many-signatures",
            Self::BadSignatureLine { .. } => "note-bad-signature-line",
            Self::AmbiguousKey { .. } => "note-ambiguous-key",
            Self::InvalidSignature { .. } => "note-invalid-signature",
            Self::NoKnownSignature { .. } => "note-no-known-signature",
        }
    }
}
