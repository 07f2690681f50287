//! Reading and writing the members of closed objects.
//!
//! The `object!` macro declares a struct as the specification's tables do: one line a member, required or
//! optional, in canonical order. Reading works on text that [`crate::json::check`] has already accepted, so it borrows and
//! never needs to look at spelling again.

use std::{borrow::Cow, ops::Range};

use crate::{
    json, limits,
    malformed::{Code, Malformed},
};

/// Members that an object is expected to have at most: an envelope has nine.
const MEMBERS: usize = 9;

/// One JSON value inside checked canonical text.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    raw: &'a str,
}

/// A value that can stand as a member of a record.
pub trait Field: Sized {
    /// Reads it from checked canonical text.
    fn read(node: Node<'_>) -> Result<Self, Malformed>;
    /// Appends its canonical form.
    fn write(&self, out: &mut Vec<u8>);
}

/// The members of one object that were not yet read.
pub struct Members<'a> {
    /// Name and value.
    rest: Vec<(Node<'a>, Node<'a>)>,
}

impl<'a> Node<'a> {
    /// The value whose checked canonical text this is.
    pub(crate) const fn checked(raw: &'a str) -> Self {
        Self { raw }
    }

    /// The canonical text of the value.
    pub const fn raw(self) -> &'a str {
        self.raw
    }

    /// The members of an object, in order.
    pub fn members(self) -> Result<Members<'a>, Malformed> {
        let mut rest = Vec::with_capacity(MEMBERS);
        let mut text = Cursor { text: self.inside(b'{', "an object")? };
        while let Some(name) = text.next() {
            let value = text.next().ok_or_else(|| self.wrong("an object"))?;
            rest.push((Node { raw: name }, Node { raw: value }));
        }
        Ok(Members { rest })
    }

    /// The elements of an array of at most `most` elements.
    pub fn elements(self, most: usize) -> Result<Vec<Node<'a>>, Malformed> {
        let mut elements = Vec::new();
        for raw in (Cursor { text: self.inside(b'[', "an array")? }) {
            if elements.len() == most {
                return Err(Malformed::new(Code::FieldInvalid, format!("more than {most} elements")));
            }
            elements.push(Node { raw });
        }
        Ok(elements)
    }

    /// The characters of a string.
    pub fn string(self) -> Result<Cow<'a, str>, Malformed> {
        let inner = self.inside(b'"', "a string")?;
        if !inner.contains('\\') {
            return Ok(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.raw).map(Cow::Owned).map_err(|_| self.wrong("a string"))
    }

    /// A whole number from `least` to `most`.
    pub fn integer(self, least: u64, most: u64) -> Result<u64, Malformed> {
        let value = self.raw.parse().ok().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| self.wrong(&format!("a whole number from {least} to {most}")))
    }

    /// R-REC-06: every value is of its type and within its limits.
    ///
    /// A finding that this value is not `expected`, quoting as much of it as a person can read.
    pub fn wrong(self, expected: &str) -> Malformed {
        let shown: String = self.raw.chars().take(80).collect();
        let cut = if shown.len() < self.raw.len() { "…" } else { "" };
        Malformed::new(Code::FieldInvalid, format!("{shown}{cut} is not {expected}"))
    }

    fn inside(self, open: u8, expected: &str) -> Result<&'a str, Malformed> {
        match self.raw.as_bytes().first() {
            Some(&first) if first == open && self.raw.len() >= 2 => Ok(&self.raw[1..self.raw.len() - 1]),
            _ => Err(self.wrong(expected)),
        }
    }
}

impl<'a> Members<'a> {
    /// Those of a document of which the outline is at hand.
    pub(crate) fn outlined(text: &'a str, outline: &json::Outline<'_>) -> Self {
        let node = |range: Range<usize>| Node { raw: &text[range] };
        let outlined = outline.members().iter();
        let rest = outlined
            .map(|member| (node(member.name.start - 1..member.name.end + 1), node(member.value.clone())));
        Self { rest: rest.collect() }
    }

    /// R-REC-05: every required member stands. Takes one.
    pub fn required<T: Field>(&mut self, name: &str) -> Result<T, Malformed> {
        self.optional(name)?.ok_or_else(|| Malformed::new(Code::FieldMissing, "is required").within(name))
    }

    /// Takes a member that may be absent.
    pub fn optional<T: Field>(&mut self, name: &str) -> Result<Option<T>, Malformed> {
        let Some(node) = self.take(name) else { return Ok(None) };
        T::read(node).map(Some).map_err(|fault| fault.within(name))
    }

    /// Takes a member as it stands.
    pub fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let at = self
            .rest
            .iter()
            .position(|(member, _)| member.inside(b'"', "a string").is_ok_and(|plain| plain == name))?;
        Some(self.rest.remove(at).1)
    }

    /// R-REC-04: every member is named by the specification. Refuses those that nobody asked for.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.rest.first() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Malformed::new(Code::FieldUnknown, "is no member of this object").within(&name.string()?))
            }
        }
    }

    /// The members that are left, for objects whose names are open.
    pub(crate) fn into_rest(self) -> Vec<(Node<'a>, Node<'a>)> {
        self.rest
    }
}

/// Splits the inside of a canonical array or object into its values and names, in order.
struct Cursor<'a> {
    text: &'a str,
}

impl<'a> Iterator for Cursor<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.text.is_empty() {
            return None;
        }
        let end = value_end(self.text.as_bytes());
        let value = &self.text[..end];
        self.text = self.text.get(end + 1..).unwrap_or("");
        Some(value)
    }
}

/// Where the first value of checked text ends: at the `,` or `:` outside any string, array or object.
fn value_end(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at += string_end(&text[at + 1..]),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// How far the closing quote of a string lies behind its opening one, given what follows that.
fn string_end(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// Declares closed objects: struct, reader and writer from one table in canonical order.
macro_rules! object {
    ($(#[$meta:meta])* pub struct $name:ident { $($kind:ident $json:literal $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $(#[doc = concat!("`", $json, "`")] pub $field: object!(@type $kind $ty),)* }

        impl crate::field::Field for $name {
            fn read(node: crate::field::Node<'_>) -> Result<Self, crate::malformed::Malformed> {
                let mut members = node.members()?;
                $(let $field = object!(@read $kind members $json);)*
                members.finish()?;
                Ok(Self { $($field,)* })
            }

            fn write(&self, out: &mut Vec<u8>) {
                let mut object = crate::field::Object::open(out);
                $(object!(@write $kind object $json self.$field);)*
                object.close();
            }
        }
    };
    (@type req $ty:ty) => { $ty };
    (@type opt $ty:ty) => { Option<$ty> };
    (@read req $members:ident $json:literal) => { $members.required($json)? };
    (@read opt $members:ident $json:literal) => { $members.optional($json)? };
    (@write req $object:ident $json:literal $self:ident.$field:ident) => { $object.member($json, &$self.$field) };
    (@write opt $object:ident $json:literal $self:ident.$field:ident) => {
        if let Some(value) = &$self.$field { $object.member($json, value) }
    };
}

/// Writes an object member by member; callers name the members in canonical order.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    pub(crate) fn member<T: Field>(&mut self, name: &str, value: &T) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        json::write_string(name, self.out);
        self.out.push(b':');
        value.write(self.out);
    }

    pub(crate) fn close(self) {
        self.out.push(b'}');
    }
}

/// Writes an array.
pub(crate) fn write_array<T: Field>(elements: &[T], out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, element) in elements.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        element.write(out);
    }
    out.push(b']');
}

/// An array of `MIN` to `MAX` elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MIN: usize, const MAX: usize>(pub Vec<T>);

impl<T: Field, const MIN: usize, const MAX: usize> Field for List<T, MIN, MAX> {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let nodes = node.elements(MAX)?;
        if nodes.len() < MIN {
            return Err(Malformed::new(Code::FieldInvalid, format!("fewer than {MIN} elements")));
        }
        let read = |(at, node): (usize, Node<'_>)| {
            T::read(node).map_err(|fault: Malformed| fault.within(&at.to_string()))
        };
        nodes.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_array(&self.0, out);
    }
}

/// An array of up to `MAX` elements that ascend without repeats (R-REC-10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Set<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord, const MAX: usize> Set<T, MAX> {
    /// Puts elements in order and drops repeats; `None` where more than `MAX` are left.
    pub fn new(elements: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut elements: Vec<T> = elements.into_iter().collect();
        elements.sort_unstable();
        elements.dedup();
        (elements.len() <= MAX).then_some(Self(elements))
    }
}

impl<T, const MAX: usize> std::ops::Deref for Set<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Field + Ord, const MAX: usize> Field for Set<T, MAX> {
    /// R-REC-10
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let elements = List::<T, 0, MAX>::read(node)?.0;
        match elements.windows(2).position(|pair| pair[0] >= pair[1]) {
            None => Ok(Self(elements)),
            Some(at) => Err(Malformed::new(Code::ListOrder, format!("element {} does not ascend", at + 1))),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        write_array(&self.0, out);
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number, if it lies within the bounds.
    pub const fn new(value: u64) -> Option<Self> {
        if value >= MIN && value <= MAX { Some(Self(value)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Field for Whole<MIN, MAX> {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        node.integer(MIN, MAX).map(Self)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.to_string().as_bytes());
    }
}

impl<const MIN: u64, const MAX: u64> std::fmt::Display for Whole<MIN, MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A size, an index: 0 to 2⁵³−1.
pub type Count = Whole<0, { limits::MAX_INTEGER }>;
/// Milliseconds since the Unix epoch.
pub type Millis = Whole<0, { limits::MAX_INTEGER }>;
/// How often a proposal may be executed, and which of those times an execution is.
pub type Uses = Whole<1, { limits::USES }>;

/// Declares enums that are spelled as fixed strings.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* #[doc = concat!("`", $word, "`")] $variant,)* }

        impl $name {
            /// Every value, in the order of the specification.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Its spelling in a record.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The value with this spelling.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::field::Field for $name {
            fn read(node: crate::field::Node<'_>) -> Result<Self, crate::malformed::Malformed> {
                Self::parse(&node.string()?).ok_or_else(|| node.wrong(concat!("one of" $(, " ", $word)*)))
            }

            fn write(&self, out: &mut Vec<u8>) {
                crate::json::write_string(self.as_str(), out);
            }
        }
    };
}
