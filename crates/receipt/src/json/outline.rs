//! Where the top-level members of a checked document lie, so that one can be read or left out without a copy.

use super::error::JsonError;
use super::text;
use std::ops::Range;

/// The most members that an outlined object may have at the top level. A record has about a dozen; the rest is room
/// for later versions.
pub const MAX_MEMBERS: usize = 32;

/// One top-level member, as ranges of bytes of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name as written: between its quotes, escapes and all.
    pub name: Range<usize>,
    /// The value, with quotes, brackets or braces.
    pub value: Range<usize>,
}

/// A document in canonical form and the places of its top-level members. Made by [`check`](super::check) only.
#[derive(Debug, Clone)]
pub struct Outline<'a> {
    bytes: &'a [u8],
    members: Vec<Member>,
}

impl<'a> Outline<'a> {
    /// The document: canonical bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The top-level members in the order of the document.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Where the value of the top-level member `name` lies. `name` is plain text, not escaped.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<Range<usize>> {
        self.position(name).map(|i| self.members[i].value.clone())
    }

    /// The bytes of the value of the top-level member `name`: canonical JSON in themselves.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a [u8]> {
        self.member(name).map(|range| &self.bytes[range])
    }

    /// The canonical bytes of the same object without the member `name`, in two parts to be read one after the
    /// other; `None` if there is no such member.
    ///
    /// ```
    /// use counterfoil_receipt::json::{Limits, check};
    ///
    /// let outline = check(br#"{"a":1,"sig":"x","z":2}"#, &Limits { bytes: 64, depth: 1 })?;
    /// assert_eq!(outline.without("sig").unwrap().concat(), br#"{"a":1,"z":2}"#);
    /// # Ok::<(), counterfoil_receipt::json::JsonError>(())
    /// ```
    #[must_use]
    pub fn without(&self, name: &str) -> Option<[&'a [u8]; 2]> {
        let i = self.position(name)?;
        // Take one comma along: the one before the member, or for the first member the one after it.
        let (from, to) = match (i.checked_sub(1), self.members.get(i + 1)) {
            (Some(before), _) => (self.members[before].value.end, self.members[i].value.end),
            (None, Some(next)) => (1, next.name.start - 1),
            (None, None) => (1, self.members[i].value.end),
        };
        Some([&self.bytes[..from], &self.bytes[to..]])
    }

    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, members: Vec::with_capacity(MAX_MEMBERS / 2) }
    }

    pub(super) fn push(&mut self, member: Member) -> Result<(), JsonError> {
        if self.members.len() == MAX_MEMBERS {
            return Err(JsonError::TooManyMembers { at: member.name.start - 1 });
        }
        self.members.push(member);
        Ok(())
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|m| text::spells(&self.bytes[m.name.clone()], name))
    }
}
