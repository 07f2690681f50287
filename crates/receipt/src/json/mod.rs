//! Strict JSON: I-JSON (RFC 7493) in the canonical form of RFC 8785 (JCS).
//!
//! What is signed or hashed is the bytes that were received, so there is exactly one way to write a document and
//! [`check`] refuses every other. [`to_canonical`] writes that form; [`canonicalize_input`] makes it from a file a
//! person wrote. All of them refuse what I-JSON refuses: duplicate names, lone surrogates, noncharacters, and
//! integers that a double can't hold exactly.

mod error;
mod outline;
mod scan;
mod text;
mod write;

pub use error::JsonError;
pub use outline::{MAX_MEMBERS, Member, Outline};
pub use write::{to_canonical, write_string};

use scan::Scanner;
use serde_json::Value;

/// The deepest nesting that any function of this module accepts, whatever [`Limits::depth`] says.
///
/// The scanner and the writer recurse once per level, and `serde_json` stops after 127 levels: a higher limit would
/// let [`check`] accept what [`parse_value`] can't read.
pub const MAX_DEPTH: usize = 127;

/// The largest integer that may be written: 2⁵³ − 1, the last one that every double-based reader holds exactly
/// (RFC 7493 §2.2).
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// What a document may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes in the document.
    pub bytes: usize,
    /// Most levels of nesting; the top-level object is the first. Capped at [`MAX_DEPTH`].
    pub depth: usize,
}

/// Accepts `bytes` only if they are one JSON object in RFC 8785 canonical form, and says where its members lie.
///
/// One pass over the bytes; nothing is decoded or copied. No byte may follow the object, not even a newline.
///
/// ```
/// use counterfoil_receipt::json::{JsonError, Limits, check};
///
/// let limits = Limits { bytes: 1024, depth: 8 };
/// let outline = check(br#"{"a":1,"sig":"x"}"#, &limits)?;
/// assert_eq!(outline.member("a"), Some(5..6));
/// assert_eq!(check(br#"{"a": 1}"#, &limits).unwrap_err(), JsonError::Whitespace { at: 5 });
/// # Ok::<(), counterfoil_receipt::json::JsonError>(())
/// ```
///
/// # Errors
/// The first fault in reading order, with its offset: see [`JsonError`]. Also [`JsonError::TooManyMembers`] for
/// more than [`MAX_MEMBERS`] members at the top level.
pub fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Outline<'a>, JsonError> {
    let mut outline = Outline::new(bytes);
    Scanner::<true>::new(bytes, limits)?.document(|member| outline.push(member))?;
    Ok(outline)
}

/// Reads a canonical document into a [`Value`].
///
/// Accepts what [`check`] accepts, without its limit on the number of top-level members.
///
/// # Errors
/// As [`check`].
pub fn parse_value(bytes: &[u8], limits: &Limits) -> Result<Value, JsonError> {
    Scanner::<true>::new(bytes, limits)?.document(|_| Ok(()))?;
    decode(bytes)
}

/// The canonical bytes of a JSON object that a person wrote.
///
/// Any whitespace, order of names, escapes and spelling of numbers will do. Everything else that [`check`] refuses
/// is refused here too: duplicate names (compared after unescaping), lone surrogates, noncharacters, numbers out of
/// range, invalid UTF-8, a byte order mark, too deep or too large. A number is rounded to the nearest double, and
/// refused if that turns a number other than zero into zero.
///
/// # Errors
/// The first fault in reading order; a duplicate name is noticed at the end of its object.
pub fn canonicalize_input(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, JsonError> {
    Scanner::<false>::new(bytes, limits)?.document(|_| Ok(()))?;
    to_canonical(&decode(bytes)?)
}

/// Decodes bytes that a [`Scanner`] has accepted: `serde_json` alone would let duplicate names through.
fn decode(accepted: &[u8]) -> Result<Value, JsonError> {
    serde_json::from_slice(accepted)
        .map_err(|e| JsonError::Disagreement { line: e.line(), column: e.column() })
}
