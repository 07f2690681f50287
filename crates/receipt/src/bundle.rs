//! The lines of a bundle: their syntax, reading and writing (`spec/bundle.md`).
//!
//! What the lines mean together is the business of `counterfoil-verify`.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};

use crate::{
    action::Json,
    commitment::{Opening, Salt},
    field::{Count, Field, List, Node, Whole},
    hashes::{Commitment, PolicyDigest, RecordId, Root, RunId},
    json,
    key::decode_as,
    limits,
    malformed::{Code, Malformed},
    text::Label,
};

/// The format that a header names.
pub const FORMAT: &str = "counterfoil-bundle/1";

/// A hash of a proof, in standard base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofHash(pub [u8; 32]);

/// The hashes of one proof, or of one part of it.
pub type ProofHashes = List<ProofHash, 0, { limits::PROOF_HASHES }>;

object! {
    /// The first line. That its counts lie within their limits is a rule of its own (R-BUN-04).
    pub struct Header {
        req "checkpoints" checkpoints: Whole<1, { limits::MAX_INTEGER }>,
        req "documents" documents: Count,
        req "entries" entries: Whole<1, { limits::MAX_INTEGER }>,
        req "format" format: Format,
        req "log" log: RecordId,
        req "payloads" payloads: Count,
        req "run" run: RunId,
    }
}

object! {
    /// A signed checkpoint, and its consistency with the last one.
    pub struct CheckpointLine {
        req "checkpoint" checkpoint: NoteText,
        req "consistency" consistency: ProofHashes,
    }
}

object! {
    /// A policy document that a policy record names by digest.
    pub struct DocumentLine {
        req "document" document: Json,
        req "policy" policy: PolicyDigest,
    }
}

object! {
    /// Before each record: its leaf index, and the multiproof hashes between the previous leaf and this one.
    pub struct PositionLine {
        req "index" index: Count,
        req "left" left: ProofHashes,
    }
}

object! {
    /// After the last record: the multiproof hashes to its right.
    pub struct EndLine {
        req "right" right: ProofHashes,
    }
}

object! {
    /// What opens one commitment.
    pub struct PayloadLine {
        req "commitment" commitment: Commitment,
        req "content" content: Content,
        req "label" label: Label,
        req "salt" salt: Salt,
        opt "set" set: SetProof,
    }
}

object! {
    /// That a commitment belongs to an item set.
    pub struct SetProof {
        req "index" index: Count,
        req "items" items: Whole<1, { limits::SET_ITEMS }>,
        req "proof" proof: ProofHashes,
        req "root" root: Root,
    }
}

/// The one format of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format;

/// The text of a signed note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteText(pub String);

/// Bytes in unpadded base64url.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

/// Reads one line, without its line feed.
///
/// # Errors
/// [`Malformed`]: the line is not canonical, or not of the kind `T`.
pub fn read_line<T: Field>(line: &[u8]) -> Result<T, Malformed> {
    json::check(line, &limits::LINE_JSON)?;
    let text = std::str::from_utf8(line).map_err(|_| Malformed::new(Code::JsonUtf8, "not UTF-8"))?;
    T::read(Node::checked(text))
}

/// Writes one line, with its line feed.
pub fn write_line<T: Field>(line: &T, out: &mut Vec<u8>) {
    line.write(out);
    out.push(b'\n');
}

impl PayloadLine {
    /// The line that discloses an opening.
    pub fn disclosing(opening: Opening, set: Option<SetProof>) -> Self {
        let commitment = opening.commitment();
        Self { commitment, content: Content(opening.content), label: opening.label, salt: opening.salt, set }
    }

    /// The opening that the line discloses.
    pub fn into_opening(self) -> Opening {
        Opening { salt: self.salt, label: self.label, content: self.content.0 }
    }
}

impl Field for Format {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        if node.string()? == FORMAT { Ok(Self) } else { Err(node.wrong(FORMAT)) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(FORMAT, out);
    }
}

impl Field for NoteText {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let text = node.string()?;
        if text.len() > limits::NOTE_BYTES {
            return Err(Malformed::new(
                Code::FieldInvalid,
                format!("more than {} bytes", limits::NOTE_BYTES),
            ));
        }
        Ok(Self(text.into_owned()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&self.0, out);
    }
}

impl Field for Content {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(&*node.string()?);
        let bytes = bytes.map_err(|_| node.wrong("unpadded base64url"))?;
        if bytes.len() > limits::PAYLOAD_BYTES {
            return Err(Malformed::new(
                Code::FieldInvalid,
                format!("more than {} bytes", limits::PAYLOAD_BYTES),
            ));
        }
        Ok(Self(bytes))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&BASE64_URL_SAFE_NO_PAD.encode(&self.0), out);
    }
}

impl Field for ProofHash {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        decode_as(&BASE64_STANDARD, &node.string()?)
            .map(Self)
            .ok_or_else(|| node.wrong("standard base64 of 32 bytes"))
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(&BASE64_STANDARD.encode(self.0), out);
    }
}
