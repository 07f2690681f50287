//! Secrets that requests are signed with, and the HMAC itself.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::limits;

/// A secret that a sender and its receiver share: 32–64 bytes. It is wiped from memory when dropped, and not shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Too short to be safe, or longer than HMAC-SHA256 has use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret has {min}–{max} bytes, this one has {bytes}", min = limits::SECRET_BYTES.0, max = limits::SECRET_BYTES.1)]
pub struct SecretError {
    bytes: usize,
}

impl Secret {
    /// The secret of these bytes, as they are: nothing is decoded.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn new(bytes: &[u8]) -> Result<Self, SecretError> {
        let (min, max) = limits::SECRET_BYTES;
        if (min..=max).contains(&bytes.len()) {
            Ok(Self(Zeroizing::new(bytes.to_vec())))
        } else {
            Err(SecretError { bytes: bytes.len() })
        }
    }

    /// HMAC-SHA256 of the parts, one behind the other.
    pub(crate) fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.mac(parts).finalize().into_bytes().into()
    }

    /// Whether `tag` is that of the parts, in a time that does not depend on where it differs.
    pub(crate) fn verifies(&self, parts: &[&[u8]], tag: &[u8; 32]) -> bool {
        self.mac(parts).verify_slice(tag).is_ok()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut block = Zeroizing::new([0; 64]);
        // A key of HMAC is filled up with zeros to a block, RFC 2104, and none of ours is longer.
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        parts.iter().for_each(|part| mac.update(part));
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Lower-case hex.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads 64 lower-case hex digits: no other spelling.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(digit(*a)? << 4 | digit(*b)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, with its short key; and a key of a block.
    #[test]
    fn the_hmac_is_that_of_the_rfc() {
        let short = Secret(Zeroizing::new(b"Jefe".to_vec()));
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(to_hex(&short.tag(&[b"what do ya want ", b"for nothing?"])), expected);
        let tag = from_hex(expected).unwrap();
        assert!(short.verifies(&[b"what do ya want for nothing?"], &tag));
        assert!(!short.verifies(&[b"what do ya want for nothing!"], &tag));
    }

    #[test]
    fn a_secret_has_its_length_and_is_not_shown() {
        for (bytes, is_good) in [(0, false), (31, false), (32, true), (64, true), (65, false)] {
            assert_eq!(Secret::new(&vec![7; bytes]).is_ok(), is_good, "{bytes}");
        }
        assert_eq!(format!("{:?}", Secret::new(&[b'x'; 32]).unwrap()), "Secret(..)");
    }

    #[test]
    fn hex_has_one_spelling() {
        let good = "0f".repeat(32);
        assert_eq!(from_hex(&good), Some([15; 32]));
        for bad in ["0F".repeat(32), good[1..].to_owned(), good[2..].to_owned(), good + "00", "+f".repeat(32)]
        {
            assert_eq!(from_hex(&bad), None, "{bad}");
        }
    }
}
