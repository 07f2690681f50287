//! Makes evidence of what an audit found against a log: the signed notes, the entries, and the proofs between them.

use counterfoil_receipt::{
    UnverifiedRecord,
    bundle::{Content, NoteText, ProofHash, write_line},
    evidence::{Case, Format, Header, Kind, ProvenEntry},
    field::{List, Whole},
    limits::CASES,
};
use counterfoil_tlog::{
    Hash, LeafIndex, TreeHead, inclusion,
    tile::{TilePath, TileReader, WIDTH, decode_entries, entry_bundles},
};

use crate::source::{Source, SourceError};

/// What a finding needs to be shown to others, as the audit came by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lead {
    /// The earlier note, and the proof from another root of its size; empty for one size.
    Fork { kind: Kind, earlier: String, proof: Vec<Hash> },
    /// An entry that is forbidden by itself, or that ends the tree and should not.
    Entry { kind: Kind, index: u64 },
    /// The statement of this entry stands before.
    Repeated { index: u64 },
    /// Two snapshots.
    Time { before: u64, index: u64 },
}

/// Evidence that [`counterfoil_verify::convictions`] confirms, of the first [`CASES`] leads; `None` if there is nothing to show.
///
/// # Errors
/// [`SourceError`] if the source can't be read any more.
pub(crate) fn make(
    source: &Source,
    note: &str,
    head: TreeHead,
    leads: &[Lead],
) -> Result<Option<Vec<u8>>, SourceError> {
    let mut lines = Vec::new();
    let mut cases = 0;
    for lead in leads.iter().take(CASES as usize) {
        if let Some(case) = case(source, note, head, lead)? {
            write_line(&case, &mut lines);
            cases += 1;
        }
    }
    let Some(cases) = Whole::new(cases) else { return Ok(None) };
    let mut file = Vec::new();
    write_line(&Header { cases, format: Format }, &mut file);
    file.append(&mut lines);
    Ok(Some(file))
}

/// A case, unless the files that it needs changed since.
fn case(source: &Source, note: &str, head: TreeHead, lead: &Lead) -> Result<Option<Case>, SourceError> {
    let notes = |notes: &[&str]| List(notes.iter().map(|note| NoteText((*note).to_owned())).collect());
    let (kind, indices) = match lead {
        Lead::Fork { kind, earlier, proof } => {
            let consistency = List(proof.iter().map(|hash| ProofHash(*hash.as_bytes())).collect());
            let checkpoints = notes(&[earlier, note]);
            return Ok(Some(Case { checkpoints, consistency, entries: List(Vec::new()), kind: *kind }));
        }
        Lead::Entry { kind, index } => (*kind, vec![*index]),
        Lead::Time { before, index } => (Kind::LogTime, vec![*before, *index]),
        Lead::Repeated { index } => match first_with_statement_of(source, head, *index)? {
            Some(first) => (Kind::DuplicateStatement, vec![first, *index]),
            None => return Ok(None),
        },
    };
    let mut entries = Vec::new();
    for index in indices {
        match proven(source, head, index)? {
            Some(entry) => entries.push(entry),
            None => return Ok(None),
        }
    }
    Ok(Some(Case {
        checkpoints: notes(&[note]),
        consistency: List(Vec::new()),
        entries: List(entries),
        kind,
    }))
}

fn proven(source: &Source, head: TreeHead, index: u64) -> Result<Option<ProvenEntry>, SourceError> {
    let reader = TileReader::new(head.size, |path: &TilePath| source.tile(path));
    let Some(path) = entry_bundles(head.size).nth((index / u64::from(WIDTH)) as usize) else {
        return Ok(None);
    };
    let bundle = source.tile(&path)?;
    let entry = decode_entries(&path, &bundle)
        .ok()
        .and_then(|entries| entries.get((index % u64::from(WIDTH)) as usize).map(|entry| entry.to_vec()));
    let proof = inclusion::prove(LeafIndex(index), head.size, &reader).ok();
    let (Some(entry), Some(proof), Some(index)) = (entry, proof, Whole::new(index)) else { return Ok(None) };
    let proof = List(proof.iter().map(|hash| ProofHash(*hash.as_bytes())).collect());
    Ok(Some(ProvenEntry { entry: Content(entry), index, proof }))
}

/// The first entry with the statement of a later one. The log is read again: nobody keeps where every statement stands.
fn first_with_statement_of(source: &Source, head: TreeHead, index: u64) -> Result<Option<u64>, SourceError> {
    let statement = |bytes: &[u8]| UnverifiedRecord::parse(bytes).ok().map(|record| record.statement());
    let Some(repeated) = proven(source, head, index)?.and_then(|entry| statement(&entry.entry.0)) else {
        return Ok(None);
    };
    for path in entry_bundles(head.size) {
        let (bundle, start) = (source.tile(&path)?, path.index() * u64::from(WIDTH));
        let entries = decode_entries(&path, &bundle).unwrap_or_default();
        let first = (start..index).zip(entries).find(|(_, bytes)| statement(bytes) == Some(repeated));
        if start >= index || first.is_some() {
            return Ok(first.map(|(at, _)| at));
        }
    }
    Ok(None)
}
