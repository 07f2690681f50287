//! The lines of an evidence file: their syntax, reading and writing (`spec/audit.md`).
//!
//! What they show is the business of `counterfoil-verify`.

use crate::{
    bundle::{Content, NoteText, ProofHashes},
    field::{Count, Field, List, Node, Whole},
    json, limits,
    malformed::Malformed,
};

/// The format that a header names.
pub const FORMAT: &str = "counterfoil-evidence/1";

words! {
    /// What a case shows of a log.
    pub enum Kind {
        ForkSameSize = "fork-same-size",
        Fork = "fork",
        NoSnapshot = "no-snapshot",
        DuplicateStatement = "duplicate-statement",
        LogTime = "log-time",
        Entry = "entry",
    }
}

object! {
    /// The first line.
    pub struct Header {
        req "cases" cases: Whole<1, { limits::CASES }>,
        req "format" format: Format,
    }
}

object! {
    /// One case, which needs no other.
    pub struct Case {
        req "checkpoints" checkpoints: List<NoteText, 1, 2>,
        req "consistency" consistency: ProofHashes,
        req "entries" entries: List<ProvenEntry, 0, 2>,
        req "kind" kind: Kind,
    }
}

object! {
    /// An entry, and its inclusion in the tree of the case's only checkpoint.
    pub struct ProvenEntry {
        req "entry" entry: Content,
        req "index" index: Count,
        req "proof" proof: ProofHashes,
    }
}

/// The one format of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format;

impl Field for Format {
    fn read(node: Node<'_>) -> Result<Self, Malformed> {
        if node.string()? == FORMAT { Ok(Self) } else { Err(node.wrong(FORMAT)) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        json::write_string(FORMAT, out);
    }
}
