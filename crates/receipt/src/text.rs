//! Strings with a syntax: principals, labels, texts, amounts, currencies, JSON Pointers (`spec/records.md` §2).

use std::fmt;

use crate::{
    field::{Field, Node},
    json, limits,
    malformed::Malformed,
};

macro_rules! strings {
    ($($(#[$doc:meta])* $name:ident, $accepts:path, $syntax:literal;)*) => {$(
        $(#[$doc])*
        #[doc = ""]
        #[doc = concat!("Syntax: ", $syntax, ".")]
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// What the syntax is, in words for a person.
            pub const SYNTAX: &'static str = $syntax;

            /// Takes a string of this syntax; `None` for any other.
            pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
                let text = text.into();
                $accepts(&text).then_some(Self(text))
            }

            /// The characters.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Field for $name {
            fn read(node: Node<'_>) -> Result<Self, Malformed> {
                Self::new(node.string()?).ok_or_else(|| node.wrong($syntax))
            }

            fn write(&self, out: &mut Vec<u8>) {
                json::write_string(&self.0, out);
            }
        }
    )*};
}

strings! {
    /// An opaque name for whoever holds keys: a person, an agent, a runtime. Groups are spelled alike.
    Principal, is_name, "1–64 characters of a–z 0–9 . _ -, the first a letter or digit";
    /// One line that a program or a person wrote.
    Label, is_label, "1–256 bytes without control characters";
    /// Free text.
    Text, is_text, "1–4,096 bytes without control characters other than line feed and tab";
    /// A decimal number that no floating point touches.
    Amount, is_amount, "a decimal such as 0, 12 or 12.50, with at most 18 digits on either side of the point";
    /// A currency or other unit.
    Currency, is_currency, "3–12 characters of A–Z 0–9";
    /// Something random that makes a record unlike any other.
    Nonce, is_nonce, "22–64 characters of A–Z a–z 0–9 - _";
    /// An RFC 6901 JSON Pointer to something inside an object.
    Pointer, is_pointer, "a JSON Pointer such as /a/b, 1–256 bytes";
}

/// A group of principals; spelled like a principal.
pub type Group = Principal;

/// A rule of a policy document, spelled as a principal.
pub type RuleName = Principal;

impl Pointer {
    /// Whether one of the two points at, into or through what the other points at.
    pub fn overlaps(&self, other: &Pointer) -> bool {
        let (short, long) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        long.0.strip_prefix(&*short.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The unescaped reference tokens, from the outside in.
    pub fn tokens(&self) -> impl Iterator<Item = String> + '_ {
        self.0.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~"))
    }
}

/// Whether a character shows as itself. Controls (C0, DEL, C1) and separators of lines and paragraphs don't, nor does what
/// has no width, is blank without being a space, or changes direction.
pub const fn is_printable(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e01ef}'
    )
}

fn is_name(text: &str) -> bool {
    let inner = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    let first = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= limits::NAME_CHARS && text.as_bytes().first().is_some_and(first) && text.bytes().all(inner)
}

fn is_label(text: &str) -> bool {
    (1..=limits::LABEL_BYTES).contains(&text.len()) && (is_plain(text) || !text.chars().any(char::is_control))
}

fn is_text(text: &str) -> bool {
    let unreadable = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    (1..=limits::TEXT_BYTES).contains(&text.len()) && (is_plain(text) || !text.chars().any(unreadable))
}

/// Whether a text is printable ASCII: the common case, decided without decoding.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_amount(text: &str) -> bool {
    let digits =
        |part: &str| (1..=18).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let whole = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    match text.split_once('.') {
        None => whole(text),
        Some((before, after)) => whole(before) && digits(after),
    }
}

fn is_currency(text: &str) -> bool {
    (3..=12).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn is_nonce(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (22..=64).contains(&text.len()) && text.bytes().all(letter)
}

fn is_pointer(text: &str) -> bool {
    let escapes_are_whole = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && is_label(text) && escapes_are_whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_syntax_accepts_its_edge_and_refuses_what_lies_over_it() {
        type Case = (fn(&str) -> bool, &'static [&'static str], &'static [&'static str]);
        let cases: [Case; 6] = [
            (is_text, &["a\n\tb"], &["", "\u{1b}[2J", "a\r"]),
            (is_name, &["a", "p-7f3a", "0.x_y"], &["", "-a", "A", "a b", "ä"]),
            (
                is_amount,
                &["0", "0.5", "12.50", "999999999999999999"],
                &["", "01", ".5", "1.", "1e3", "-1", "1000000000000000000"],
            ),
            (is_currency, &["EUR", "USDC", "TOKEN1234567"], &["EU", "eur", "TOKEN12345678"]),
            (is_pointer, &["/", "/a", "/a~0b/c~1"], &["", "a", "/a~", "/a~2", "/a\u{1b}"]),
            (is_label, &["a", "ä b"], &["", "a\n", "\u{7f}", "\u{9b}31m"]),
        ];
        for (accepts, good, bad) in cases {
            good.iter().for_each(|text| assert!(accepts(text), "{text:?}"));
            bad.iter().for_each(|text| assert!(!accepts(text), "{text:?}"));
        }
        assert!(is_name(&"a".repeat(64)) && !is_name(&"a".repeat(65)));
        assert!(is_label(&"a".repeat(256)) && !is_label(&"a".repeat(257)));
        assert!(is_text(&"a".repeat(4096)) && !is_text(&"a".repeat(4097)));
    }

    #[test]
    fn pointers_overlap_along_whole_tokens_only() {
        let pointer = |text: &str| Pointer::new(text).unwrap();
        assert!(pointer("/a").overlaps(&pointer("/a/b")));
        assert!(pointer("/a/b").overlaps(&pointer("/a")));
        assert!(!pointer("/a").overlaps(&pointer("/ab")));
        assert!(!pointer("/a/b").overlaps(&pointer("/a/c")));
    }
}
