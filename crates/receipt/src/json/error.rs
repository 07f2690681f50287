//! Why a document was refused.

use super::{MAX_INTEGER, MAX_MEMBERS};
use thiserror::Error;

/// Why JSON was refused; [`Malformed`](crate::Malformed) has the rule and its stable code. `at` is an offset in bytes: into the document when reading, and when writing the number
/// of bytes written before the fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The document has more bytes than the limit; none were read.
    #[error("the document has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`Limits::bytes`](super::Limits::bytes).
        limit: usize,
    },
    /// Nested deeper than the limit.
    #[error("byte {at}: nested deeper than {limit} levels")]
    TooDeep {
        /// Where the level over the limit opens.
        at: usize,
        /// The limit that applied.
        limit: usize,
    },
    /// More than [`MAX_MEMBERS`] members at the top level.
    #[error("byte {at}: more than {MAX_MEMBERS} members at the top level")]
    TooManyMembers {
        /// Where the name over the limit starts.
        at: usize,
    },
    /// The bytes are not UTF-8 (RFC 3629).
    #[error("byte {at}: not UTF-8")]
    Utf8 {
        /// Where the sequence starts.
        at: usize,
    },
    /// A byte order mark before the document (RFC 8259 §8.1).
    #[error("byte 0: a byte order mark; remove it")]
    ByteOrderMark,
    /// Not JSON (RFC 8259).
    #[error("byte {at}: not JSON")]
    Syntax {
        /// The first byte that can't be continued.
        at: usize,
    },
    /// The document is not an object.
    #[error("byte {at}: the document must be an object")]
    NotObject {
        /// Where the document starts.
        at: usize,
    },
    /// Bytes after the end of the document.
    #[error("byte {at}: bytes after the end of the document")]
    Trailing {
        /// The first of them.
        at: usize,
    },
    /// Whitespace between tokens: not canonical (RFC 8785 §3.2.1).
    #[error("byte {at}: whitespace between tokens is not canonical")]
    Whitespace {
        /// The first of it.
        at: usize,
    },
    /// A name that sorts before its predecessor: not canonical (RFC 8785 §3.2.3, UTF-16 code units).
    #[error("byte {at}: this name must come before the one it follows")]
    KeyOrder {
        /// Where the name starts.
        at: usize,
    },
    /// A name that its object already has (RFC 7493 §2.3).
    #[error("byte {at}: this object already has a member of this name")]
    DuplicateKey {
        /// Where the second of the two names starts.
        at: usize,
    },
    /// An escape that is not the canonical way to write its character (RFC 8785 §3.2.2.2).
    #[error("byte {at}: this character is not written with this escape in canonical form")]
    Escape {
        /// The backslash.
        at: usize,
    },
    /// A control character that is not escaped (RFC 8259 §7).
    #[error("byte {at}: a control character must be escaped")]
    Control {
        /// The control character.
        at: usize,
    },
    /// An escaped surrogate that is not half of a pair (RFC 7493 §2.1).
    #[error("byte {at}: a surrogate that is not half of a pair")]
    Surrogate {
        /// The backslash.
        at: usize,
    },
    /// A code point that Unicode will never assign, such as U+FFFE (RFC 7493 §2.1).
    #[error("byte {at}: a Unicode noncharacter")]
    Noncharacter {
        /// The character, or the backslash of its escape.
        at: usize,
    },
    /// A number that is not spelled the way ECMAScript prints it: not canonical (RFC 8785 §3.2.2.3).
    #[error("byte {at}: this number is not in canonical form")]
    NumberForm {
        /// Where the number starts.
        at: usize,
    },
    /// An integer beyond ±(2⁵³ − 1), or a number that no double comes near.
    #[error("byte {at}: number out of range: integers end at ±{MAX_INTEGER}; write larger ones as strings")]
    NumberRange {
        /// Where the number starts.
        at: usize,
    },
    /// The decoder refused what the scanner had accepted. A defect of one of them.
    #[error("line {line}, column {column}: accepted by the scanner but refused by the decoder")]
    Disagreement {
        /// As the decoder counts them, from 1.
        line: usize,
        /// As the decoder counts them, from 1.
        column: usize,
    },
}

impl JsonError {
    /// The offset of the fault in bytes, where there is one.
    #[must_use]
    pub const fn at(&self) -> Option<usize> {
        match *self {
            Self::TooDeep { at, .. }
            | Self::TooManyMembers { at }
            | Self::Utf8 { at }
            | Self::Syntax { at }
            | Self::NotObject { at }
            | Self::Trailing { at }
            | Self::Whitespace { at }
            | Self::KeyOrder { at }
            | Self::DuplicateKey { at }
            | Self::Escape { at }
            | Self::Control { at }
            | Self::Surrogate { at }
            | Self::Noncharacter { at }
            | Self::NumberForm { at }
            | Self::NumberRange { at } => Some(at),
            Self::ByteOrderMark => Some(0),
            Self::TooLarge { .. } | Self::Disagreement { .. } => None,
        }
    }
}
