//! Characters and the order of names: UTF-8, noncharacters, UTF-16 code units.

use std::cmp::Ordering;

/// The first character of `bytes` and its length in bytes, if they start with well-formed UTF-8 (RFC 3629 §4).
#[inline]
pub(super) fn decode(bytes: &[u8]) -> Option<(char, usize)> {
    let tail = |byte: u8| (byte & 0xC0 == 0x80).then_some(u32::from(byte & 0x3F));
    let (code, len, least) = match *bytes {
        [a @ 0..=0x7F, ..] => (u32::from(a), 1, 0),
        [a @ 0xC2..=0xDF, b, ..] => (u32::from(a & 0x1F) << 6 | tail(b)?, 2, 0x80),
        [a @ 0xE0..=0xEF, b, c, ..] => (u32::from(a & 0x0F) << 12 | tail(b)? << 6 | tail(c)?, 3, 0x800),
        [a @ 0xF0..=0xF4, b, c, d, ..] => {
            (u32::from(a & 0x07) << 18 | tail(b)? << 12 | tail(c)? << 6 | tail(d)?, 4, 0x1_0000)
        }
        _ => return None,
    };
    // `from_u32` refuses surrogates and everything after U+10FFFF; `least` refuses overlong forms.
    char::from_u32(code).filter(|_| code >= least).map(|c| (c, len))
}

/// Is it one of the 66 code points that Unicode reserves for ever (RFC 7493 §2.1)?
pub(super) fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    code & 0xFFFE == 0xFFFE || (0xFDD0..=0xFDEF).contains(&code)
}

/// The order of RFC 8785 §3.2.3, by UTF-16 code units, of two texts in UTF-8.
///
/// UTF-8 sorts by code point. UTF-16 differs in one thing: characters from U+10000 on are written with surrogates
/// (D800 to DFFF) and so come before U+E000 to U+FFFF, whose UTF-8 starts with EE or EF.
pub(super) fn utf16_order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: u8| if matches!(byte, 0xEE | 0xEF) { byte + 0x10 } else { byte };
    match a.iter().zip(b).find(|(x, y)| x != y) {
        Some((&x, &y)) => rank(x).cmp(&rank(y)),
        None => a.len().cmp(&b.len()),
    }
}

/// The same order for two well-formed JSON strings as written between their quotes.
pub(super) fn escaped_order(a: &[u8], b: &[u8]) -> Ordering {
    Units::new(a).cmp(Units::new(b))
}

/// Is `written`, a well-formed JSON string as written between its quotes, a way to spell `text`?
pub(super) fn spells(written: &[u8], text: &str) -> bool {
    if written.contains(&b'\\') {
        Units::new(written).eq(text.encode_utf16())
    } else {
        written == text.as_bytes()
    }
}

/// The UTF-16 code unit that four hexadecimal digits stand for.
pub(super) fn hex_unit(digits: &[u8]) -> Option<u16> {
    let digits: &[u8; 4] = digits.first_chunk()?;
    digits.iter().try_fold(0, |unit: u16, &d| Some(unit << 4 | char::from(d).to_digit(16)? as u16))
}

/// The UTF-16 code units of a JSON string that a scanner has accepted, as written between its quotes.
struct Units<'a> {
    rest: &'a [u8],
    low_surrogate: Option<u16>,
}

impl<'a> Units<'a> {
    fn new(rest: &'a [u8]) -> Self {
        Self { rest, low_surrogate: None }
    }
}

impl Iterator for Units<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if let Some(low) = self.low_surrogate.take() {
            return Some(low);
        }
        let (unit, len) = match *self.rest {
            [b'\\', b'u', ref digits @ ..] => (hex_unit(digits)?, 6),
            [b'\\', short, ..] => (u16::from(short_escape(short)?), 2),
            _ => {
                let (c, len) = decode(self.rest)?;
                let mut units = [0; 2];
                if let [_, low] = *c.encode_utf16(&mut units) {
                    self.low_surrogate = Some(low);
                }
                (units[0], len)
            }
        };
        self.rest = &self.rest[len..];
        Some(unit)
    }
}

/// What a backslash and this byte stand for (RFC 8259 §7), `u` aside.
pub(super) fn short_escape(byte: u8) -> Option<u8> {
    Some(match byte {
        b'"' | b'\\' | b'/' => byte,
        b'b' => 0x08,
        b't' => b'\t',
        b'n' => b'\n',
        b'f' => 0x0C,
        b'r' => b'\r',
        _ => return None,
    })
}
