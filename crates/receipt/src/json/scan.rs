//! The scanner: RFC 8259 grammar and RFC 7493 restrictions in one pass, and on request RFC 8785 canonical form.

use super::error::JsonError;
use super::outline::Member;
use super::text::{decode, escaped_order, hex_unit, is_noncharacter, short_escape, utf16_order};
use super::{Limits, MAX_DEPTH, MAX_INTEGER};
use std::cmp::Ordering;

/// Reads a document from front to back. With `CANONICAL` only the canonical form passes; without it, any form.
pub(super) struct Scanner<'a, const CANONICAL: bool> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
}

/// A string as written: the range between its quotes.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a, const CANONICAL: bool> Scanner<'a, CANONICAL> {
    pub(super) fn new(bytes: &'a [u8], limits: &Limits) -> Result<Self, JsonError> {
        if bytes.len() > limits.bytes {
            return Err(JsonError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
        }
        Ok(Self { bytes, at: 0, depth: 0, max_depth: limits.depth.min(MAX_DEPTH) })
    }

    /// One object and nothing after it; `each` is told of its members.
    pub(super) fn document(
        mut self,
        each: impl FnMut(Member) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        if self.bytes.starts_with(b"\xEF\xBB\xBF") {
            return Err(JsonError::ByteOrderMark);
        }
        self.gap();
        match self.peek() {
            Some(b'{') => self.object(each)?,
            Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                return Err(JsonError::NotObject { at: self.at });
            }
            _ => return Err(self.unexpected()),
        }
        self.gap();
        if self.at == self.bytes.len() { Ok(()) } else { Err(JsonError::Trailing { at: self.at }) }
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|_| Ok(())),
            Some(b'[') => self.array(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    fn object(&mut self, mut each: impl FnMut(Member) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.open()?;
        let mut names = Names::default();
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            names.add::<CANONICAL>(self.bytes, name)?;
            self.gap();
            self.expect(b':')?;
            self.gap();
            let start = self.at;
            self.value()?;
            each(Member { name: name.start..name.end, value: start..self.at })?;
            self.gap();
            if self.closes(b'}') {
                return names.finish(self.bytes);
            }
            self.expect(b',')?;
            self.gap();
        }
    }

    fn array(&mut self) -> Result<(), JsonError> {
        self.open()?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            self.gap();
            if self.closes(b']') {
                return Ok(());
            }
            self.expect(b',')?;
            self.gap();
        }
    }

    fn string(&mut self) -> Result<Text, JsonError> {
        let start = self.at + 1;
        let mut escaped = false;
        self.at = start;
        loop {
            self.at += plain_len(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    let end = self.at;
                    self.at += 1;
                    return Ok(Text { start, end, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0x80..) => self.characters()?,
                Some(_) => return Err(JsonError::Control { at: self.at }),
                None => return Err(JsonError::Syntax { at: self.at }),
            }
        }
    }

    /// The characters from here on that are not ASCII; there is one at least.
    fn characters(&mut self) -> Result<(), JsonError> {
        while let Some(0x80..) = self.peek() {
            let rest = &self.bytes[self.at..];
            self.at += match *rest {
                // Most scripts: here are no overlong forms, surrogates or noncharacters.
                [0xC2..=0xDF, 0x80..=0xBF, ..] => 2,
                [0xE1..=0xEC, 0x80..=0xBF, 0x80..=0xBF, ..] => 3,
                _ => match decode(rest) {
                    None => return Err(JsonError::Utf8 { at: self.at }),
                    Some((c, _)) if is_noncharacter(c) => {
                        return Err(JsonError::Noncharacter { at: self.at });
                    }
                    Some((_, len)) => len,
                },
            }
        }
        Ok(())
    }

    /// One escaped character; canonical are `\"`, `\\`, `\b`, `\t`, `\n`, `\f`, `\r`, and `\u00xx` in lower case
    /// for the other control characters (RFC 8785 §3.2.2.2).
    fn escape(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        match self.bytes.get(at + 1) {
            Some(b'u') => self.unicode_escape(),
            Some(b'/') if CANONICAL => Err(JsonError::Escape { at }),
            Some(&short) if short_escape(short).is_some() => {
                self.at += 2;
                Ok(())
            }
            _ => Err(JsonError::Syntax { at }),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), JsonError> {
        let at = self.at;
        let digits = &self.bytes[at + 2..];
        let high = hex_unit(digits).ok_or(JsonError::Syntax { at })?;
        let low = match digits.get(4..) {
            Some([b'\\', b'u', low @ ..]) if (0xD800..0xDC00).contains(&high) => hex_unit(low),
            _ => None,
        };
        let Some(Ok(c)) = char::decode_utf16([high].into_iter().chain(low)).next() else {
            return Err(JsonError::Surrogate { at });
        };
        if is_noncharacter(c) {
            return Err(JsonError::Noncharacter { at });
        }
        let has_no_shorter_form =
            matches!(c, '\0'..='\x1F') && !matches!(c, '\x08' | '\t' | '\n' | '\x0C' | '\r');
        if CANONICAL && (!has_no_shorter_form || digits[..4].iter().any(u8::is_ascii_uppercase)) {
            return Err(JsonError::Escape { at });
        }
        self.at += if low.is_some() { 12 } else { 6 };
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        let negative = self.take(b'-');
        let digits = self.at;
        let mut integer: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            integer = integer.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        match self.at - digits {
            0 => return Err(self.unexpected()),
            1 => {}
            // JSON has no leading zeros.
            _ if self.bytes[digits] == b'0' => return Err(JsonError::Syntax { at: digits + 1 }),
            _ => {}
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.real(start);
        }
        if integer > MAX_INTEGER {
            return Err(JsonError::NumberRange { at: start });
        }
        if CANONICAL && negative && integer == 0 {
            return Err(JsonError::NumberForm { at: start });
        }
        Ok(())
    }

    /// The rest of a number that has a fraction or an exponent.
    fn real(&mut self, start: usize) -> Result<(), JsonError> {
        if self.take(b'.') {
            self.digits()?;
        }
        let mantissa = start..self.at;
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let written = &self.bytes[start..self.at];
        // Correctly rounded, as the grammar of RFC 8259 is a part of what `f64` reads.
        let number = std::str::from_utf8(written).ok().and_then(|text| text.parse::<f64>().ok());
        let number = number.ok_or(JsonError::Syntax { at: start })?;
        let vanished = number == 0.0 && self.bytes[mantissa].iter().any(|b| matches!(b, b'1'..=b'9'));
        if vanished || !is_exact(number) {
            return Err(JsonError::NumberRange { at: start });
        }
        if CANONICAL && ryu_js::Buffer::new().format_finite(number).as_bytes() != written {
            return Err(JsonError::NumberForm { at: start });
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected()) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(JsonError::Syntax { at: self.at });
        }
        self.at += word.len();
        Ok(())
    }

    /// The bracket or brace that the scanner stands on.
    fn open(&mut self) -> Result<(), JsonError> {
        if self.depth == self.max_depth {
            return Err(JsonError::TooDeep { at: self.at, limit: self.max_depth });
        }
        self.depth += 1;
        self.at += 1;
        self.gap();
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        let closed = self.take(bracket);
        self.depth -= usize::from(closed);
        closed
    }

    /// Whitespace, where it is allowed; canonical form has none, and then it is [unexpected](Self::unexpected).
    fn gap(&mut self) {
        if !CANONICAL {
            while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
                self.at += 1;
            }
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// What is wrong with the byte here, which no rule of the grammar allows.
    #[cold]
    fn unexpected(&self) -> JsonError {
        let at = self.at;
        match self.peek() {
            Some(b' ' | b'\t' | b'\n' | b'\r') if CANONICAL => JsonError::Whitespace { at },
            Some(0x80..) if decode(&self.bytes[at..]).is_none() => JsonError::Utf8 { at },
            _ => JsonError::Syntax { at },
        }
    }
}

/// May this double be written? Not if it is infinite or NaN, nor if its canonical form would be an integer beyond
/// 2⁵³ − 1: from 10²¹ on the form has an exponent and nobody takes it for an exact integer.
pub(super) fn is_exact(number: f64) -> bool {
    number.is_finite() && (number.abs() <= MAX_INTEGER as f64 || number.abs() >= 1e21)
}

/// The names of one object so far.
#[derive(Default)]
struct Names {
    /// Enough for canonical form, which is sorted.
    previous: Option<Text>,
    /// For any other form.
    all: Vec<Text>,
}

impl Names {
    fn add<const CANONICAL: bool>(&mut self, bytes: &[u8], name: Text) -> Result<(), JsonError> {
        if !CANONICAL {
            self.all.push(name);
            return Ok(());
        }
        let at = name.start - 1;
        match self.previous.replace(name).map(|previous| order(bytes, previous, name)) {
            None | Some(Ordering::Less) => Ok(()),
            Some(Ordering::Equal) => Err(JsonError::DuplicateKey { at }),
            Some(Ordering::Greater) => Err(JsonError::KeyOrder { at }),
        }
    }

    fn finish(mut self, bytes: &[u8]) -> Result<(), JsonError> {
        // A stable sort: of two equal names the later one stays behind.
        self.all.sort_by(|a, b| order(bytes, *a, *b));
        let twice = self.all.windows(2).find(|pair| order(bytes, pair[0], pair[1]).is_eq());
        twice.map_or(Ok(()), |pair| Err(JsonError::DuplicateKey { at: pair[1].start - 1 }))
    }
}

fn order(bytes: &[u8], a: Text, b: Text) -> Ordering {
    let (x, y) = (&bytes[a.start..a.end], &bytes[b.start..b.end]);
    if a.escaped || b.escaped { escaped_order(x, y) } else { utf16_order(x, y) }
}

/// How many bytes at the start of `bytes` are ASCII that stands for itself in a string: no control character, quote
/// or backslash. Eight bytes at a time, as most of a record is hashes and signatures.
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks();
    for (i, word) in words.iter().enumerate() {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return 8 * i + special.trailing_zeros() as usize / 8;
        }
    }
    let is_special = |&b: &u8| !matches!(b, 0x20..0x80) || b == b'"' || b == b'\\';
    bytes.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The top bit of each byte of `word` that is not plain. Right up to the lowest such byte; a borrow may flag plain bytes
/// above it.
fn special_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let below = |word: u64, least: u8| word.wrapping_sub(ONES * u64::from(least)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (word | below(word, 0x20) | equal(b'"') | equal(b'\\')) & (ONES << 7)
}
