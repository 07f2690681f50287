//! Globs: `*` stands for any string, every other character for itself (`spec/policy.md`, *Matcher*).

use std::fmt;

use memchr::memmem;

use crate::limits::{GLOB_BYTES, GLOB_STARS};

/// A pattern of up to 256 bytes with up to 8 stars. It matches the whole string, byte by byte.
///
/// ```
/// use counterfoil_policy::Glob;
/// let glob = Glob::new("db.*.drop").expect("a glob");
/// assert!(glob.matches("db.main.drop") && !glob.matches("db.main.drop.not"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Takes a pattern; `None` if it is empty, too long or has too many stars.
    pub fn new(pattern: &str) -> Option<Self> {
        let stars = pattern.bytes().filter(|byte| *byte == b'*').count();
        let fits = (1..=GLOB_BYTES).contains(&pattern.len()) && stars <= GLOB_STARS;
        fits.then(|| Self(pattern.into()))
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches.
    pub fn matches(&self, text: &str) -> bool {
        self.matches_bytes(text.as_bytes())
    }

    /// Whether every string that `self` matches is matched by `other` too.
    ///
    /// That is so exactly if `other` matches `self` with each star taken for a character that stands in neither: 0xff stands in
    /// no string, so nothing but a star of `other` takes it, and a star takes whatever stands there instead.
    pub fn lies_within(&self, other: &Self) -> bool {
        let taken: Vec<u8> = self.0.bytes().map(|byte| if byte == b'*' { 0xff } else { byte }).collect();
        other.matches_bytes(&taken)
    }

    /// Takes each part where it stands first, so the work is at most one search of the text for each star.
    fn matches_bytes(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let Some(first) = memchr::memchr(b'*', pattern) else { return pattern == text };
        let last = memchr::memrchr(b'*', pattern).unwrap_or(first);
        let (prefix, suffix) = (&pattern[..first], &pattern[last + 1..]);
        let inner = text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        let Some(mut rest) = inner else { return false };
        for part in pattern[first..last].split(|byte| *byte == b'*').filter(|part| !part.is_empty()) {
            let Some(at) = memmem::find(rest, part) else { return false };
            rest = &rest[at + part.len()..];
        }
        true
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_string_and_the_rest_is_itself() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["", "aa", "b"][..]),
            ("*", &["", "a", "ä*"], &[]),
            ("a*", &["a", "ab"], &["", "ba"]),
            ("*a", &["a", "ba"], &["ab"]),
            ("ab*ba", &["abba", "abxba"], &["aba", "ab", "ba"]),
            ("*a*b*", &["ab", "xaybz"], &["ba", "b"]),
            ("a**b", &["ab", "axb"], &["a"]),
            ("a?[b]\\", &["a?[b]\\"], &["axb\\"]),
            ("a*bc*bc", &["abcbc", "abcxbc"], &["abc"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            yes.iter().for_each(|text| assert!(glob.matches(text), "{pattern} {text}"));
            no.iter().for_each(|text| assert!(!glob.matches(text), "{pattern} {text}"));
        }
    }

    #[test]
    fn a_glob_lies_within_another_if_that_matches_whatever_it_matches() {
        for (inner, outer) in [
            ("a", "a"),
            ("a", "*"),
            ("*", "*"),
            ("a*", "*"),
            ("a*b", "a*"),
            ("ab*cd", "a*c*"),
            ("a**b", "a*b"),
            ("a*b", "a**b"),
        ] {
            assert!(Glob::new(inner).unwrap().lies_within(&Glob::new(outer).unwrap()), "{inner} in {outer}");
        }
        for (inner, outer) in [
            ("*", "a"),
            ("a*", "a"),
            ("a*", "*a"),
            ("a*b", "a*c"),
            ("*a*", "a*"),
            ("a*b", "ab"),
            ("a\0*", "a\0"),
        ] {
            assert!(!Glob::new(inner).unwrap().lies_within(&Glob::new(outer).unwrap()), "{inner} in {outer}");
        }
    }

    #[test]
    fn limits_hold_at_the_limit_and_not_over_it() {
        assert!(Glob::new("").is_none());
        assert!(Glob::new(&"a".repeat(256)).is_some() && Glob::new(&"a".repeat(257)).is_none());
        assert!(Glob::new(&"*".repeat(8)).is_some() && Glob::new(&"*".repeat(9)).is_none());
    }

    #[test]
    fn a_hostile_glob_on_a_long_string_is_searched_once_for_each_star() {
        let glob = Glob::new(&("*".to_owned() + &vec!["a".repeat(30) + "b"; 7].join("*") + "*")).unwrap();
        assert!(!glob.matches(&"a".repeat(60_000)));
    }
}
