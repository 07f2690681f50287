//! Keys, signatures and signers: spelling here, judgement in `counterfoil-verify`.

use std::fmt;

use base64::{Engine, engine::GeneralPurpose, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::Signer as _;

use crate::{
    field::{Field, Node},
    json,
    malformed::{Code, Malformed},
};

words! {
    /// What a signer acts as; inside the signed bytes, and in agreement with the keyring.
    pub enum Role {
        Agent = "agent",
        Human = "human",
        Runtime = "runtime",
        Policy = "policy",
        Authority = "authority",
        Log = "log",
    }
}

/// A signature scheme: what a key's prefix names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// RFC 8032 Ed25519 under the strict rules of R-SIG-01; prefix `ed25519`.
    Ed25519,
}

/// A public key: a scheme and its key material.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey {
    scheme: Scheme,
    material: [u8; 32],
}

/// Signature bytes, not yet checked against anything.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// Something that signs with one key: a key file, a hardware token, a program that is asked.
pub trait Signer {
    /// The public half.
    fn key(&self) -> PublicKey;

    /// Signs a preimage.
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used now.
    fn sign(&self, preimage: &[u8]) -> Result<Signature, SignError>;
}

/// Why a signer gave no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignError(pub String);

/// An Ed25519 private key in memory; wiped when dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl Scheme {
    /// Its prefix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
        }
    }

    /// R-SIG-02: the key's scheme is one of this version's.
    fn supported(prefix: &str) -> Result<Self, Malformed> {
        match prefix {
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(Malformed::new(
                Code::SchemeUnsupported,
                format!("{prefix:?} is not a scheme of this version"),
            )),
        }
    }
}

impl PublicKey {
    /// The Ed25519 key with this encoding.
    pub const fn ed25519(material: [u8; 32]) -> Self {
        Self { scheme: Scheme::Ed25519, material }
    }

    /// The scheme that the prefix names.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The key material, without its prefix: what makes two keys the same key.
    pub const fn material(&self) -> &[u8; 32] {
        &self.material
    }

    /// Parses `ed25519:` and 43 characters of base64url.
    ///
    /// # Errors
    /// `scheme-unsupported` for another prefix, `key-malformed` for another spelling.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed =
            || Malformed::new(Code::KeyMalformed, format!("{text:?} is not scheme:base64url of a key"));
        let (scheme, encoded) = text.split_once(':').ok_or_else(malformed)?;
        match Scheme::supported(scheme)? {
            Scheme::Ed25519 => decode(encoded).map(Self::ed25519).ok_or_else(malformed),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Ed25519 => write!(f, "ed25519:{}", BASE64_URL_SAFE_NO_PAD.encode(self.material)),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Field for PublicKey {
    /// R-REC-08: a key is `scheme:` and strict base64url of the scheme's length.
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        Self::parse(&node.string()?)
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&self.to_string(), out);
    }
}

impl Signature {
    /// Takes 64 bytes as a signature.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl Field for Signature {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        decode(&node.string()?).map(Self).ok_or_else(|| node.wrong("unpadded base64url of 64 bytes"))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&BASE64_URL_SAFE_NO_PAD.encode(self.0), out);
    }
}

impl SigningKey {
    /// The key with this RFC 8032 seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }
}

impl Signer for SigningKey {
    fn key(&self) -> PublicKey {
        PublicKey::ed25519(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, preimage: &[u8]) -> Result<Signature, SignError> {
        Ok(Signature(self.0.sign(preimage).to_bytes()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(for {})", self.key())
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the signer gave no signature: {}", self.0)
    }
}

impl std::error::Error for SignError {}

/// Decodes the one spelling of `N` bytes, 64 at most, in unpadded base64url.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode_as(&BASE64_URL_SAFE_NO_PAD, text)
}

/// Decodes `N` bytes, 64 at most, without a buffer on the heap: records are full of them.
pub(crate) fn decode_as<const N: usize>(spelling: &GeneralPurpose, text: &str) -> Option<[u8; N]> {
    // What the decoder may ask for: whole groups of three bytes, for one character too many.
    let mut buffer = [0; 72];
    let length = spelling.decode_slice(text, &mut buffer).ok()?;
    buffer.get(..length)?.try_into().ok()
}
