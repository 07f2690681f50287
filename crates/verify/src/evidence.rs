//! Evidence against a log: what it signed, and why that can't be (`spec/audit.md`).
//!
//! Each case is judged by itself, from its bytes and the log's keys alone. Whoever brings it is not believed in anything.

use counterfoil_receipt::{
    Body, UnverifiedRecord,
    body::Type,
    bundle::{NoteText, ProofHash, read_line},
    evidence::{Case, Header, Kind, ProvenEntry},
};
use counterfoil_tlog::{
    Hash, LeafIndex, ProofError, SignedCheckpoint, TreeHead, UnverifiedNote, VerifierKey, consistency,
    inclusion, leaf_hash,
};

use crate::{
    fault::{Fault, Finding},
    place,
    record::{KeyCache, check_signature},
    snapshot,
    trust::Trust,
};

/// The log that evidence is held against, as its reader knows it.
#[derive(Clone, Copy, Debug)]
pub enum Accused<'a> {
    /// A counterfoil log.
    Trust(&'a Trust),
    /// Any C2SP log, by the key that signs its checkpoints. No rule says what its entries may be.
    Key(&'a VerifierKey),
}

/// What a case shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conviction {
    /// What kind of case.
    pub kind: Kind,
    /// A stable code: that of the rule, or the kind's name for a fork.
    pub code: &'static str,
    /// The rule in `spec/rules.md` that the log broke, if it is one.
    pub rule: Option<&'static str>,
    /// The entry that shows it; of two the later.
    pub index: Option<u64>,
    /// What the log did, for a person.
    pub detail: String,
}

/// Why a file convicts nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotConvicted {
    /// It is no evidence file.
    #[error("evidence-malformed: line {line}: {why}")]
    Malformed {
        /// Which line, counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A case does not show what it claims.
    #[error("evidence-not-shown: case {case}: {why}")]
    NotShown {
        /// Which case, counted from 1.
        case: usize,
        /// What is missing or does not hold.
        why: String,
    },
}

/// What every case of an evidence file shows.
///
/// # Errors
/// [`NotConvicted`] of the first case that shows nothing: a file holds in full or not at all.
pub fn convictions(file: &[u8], accused: Accused<'_>) -> Result<Vec<Conviction>, NotConvicted> {
    let malformed = |line: usize, why: String| NotConvicted::Malformed { line, why };
    let body =
        file.strip_suffix(b"\n").ok_or_else(|| malformed(1, "the last line has no line feed".to_owned()))?;
    let mut lines = body.split(|byte| *byte == b'\n');
    let header: Header =
        read_line(lines.next().unwrap_or_default()).map_err(|why| malformed(1, why.to_string()))?;
    let mut shown = Vec::new();
    for (line, text) in (2..).zip(lines) {
        if shown.len() as u64 == header.cases.get() {
            return Err(malformed(line, format!("the header counts {} cases", header.cases)));
        }
        let case: Case = read_line(text).map_err(|why| malformed(line, why.to_string()))?;
        shown.push(judge(&case, accused).map_err(|why| NotConvicted::NotShown { case: line - 1, why })?);
    }
    if (shown.len() as u64) < header.cases.get() {
        return Err(malformed(shown.len() + 2, format!("the header counts {} cases", header.cases)));
    }
    Ok(shown)
}

fn judge(case: &Case, accused: Accused<'_>) -> Result<Conviction, String> {
    let heads = case.checkpoints.0.iter().map(|note| open(note, accused)).collect::<Result<Vec<_>, _>>()?;
    match (case.kind, heads.as_slice(), case.entries.0.as_slice()) {
        (Kind::ForkSameSize | Kind::Fork, [old, new], []) => fork(case, old, new),
        (Kind::NoSnapshot | Kind::DuplicateStatement | Kind::LogTime | Kind::Entry, [head], entries)
            if case.consistency.0.is_empty() =>
        {
            if matches!(accused, Accused::Key(_)) {
                return Err(
                    "under a key alone nothing says what entries may be: bring a trust file".to_owned()
                );
            }
            entries.iter().try_for_each(|entry| is_included(entry, head))?;
            match (case.kind, entries) {
                (Kind::NoSnapshot, [entry]) => no_snapshot(entry, head),
                (Kind::Entry, [entry]) => forbidden(entry),
                (Kind::DuplicateStatement, [first, second]) => repeated(first, second),
                (Kind::LogTime, [first, second]) => time_goes_back(first, second),
                _ => Err(format!("{} has another number of entries", case.kind)),
            }
        }
        _ => Err(format!("{} has other checkpoints, entries and hashes", case.kind)),
    }
}

/// The head that the log signed.
fn open(note: &NoteText, accused: Accused<'_>) -> Result<TreeHead, String> {
    let (origin, keys) = match accused {
        Accused::Trust(trust) => (trust.origin(), trust.log_keys()),
        Accused::Key(key) => (key.name(), std::slice::from_ref(key)),
    };
    let none: [VerifierKey; 0] = [];
    let note = UnverifiedNote::parse(note.0.as_bytes()).map_err(|why| why.to_string())?;
    SignedCheckpoint::open(note, origin, keys, &none)
        .map(|signed| signed.head())
        .map_err(|why| why.to_string())
}

fn hashes(proof: &[ProofHash]) -> Vec<Hash> {
    proof.iter().map(|hash| Hash::from(hash.0)).collect()
}

fn fork(case: &Case, old: &TreeHead, new: &TreeHead) -> Result<Conviction, String> {
    let (code, computed) = match case.kind {
        Kind::ForkSameSize if old.size == new.size && case.consistency.0.is_empty() => {
            ("fork-same-size", new.root)
        }
        Kind::Fork if old.size < new.size => {
            let proof = hashes(&case.consistency.0);
            let computed = match consistency::verify(old, new, &proof) {
                Err(ProofError::OldRootMismatch { computed, .. }) => computed,
                Ok(()) => return Err("the larger tree begins with the smaller one".to_owned()),
                Err(why) => return Err(why.to_string()),
            };
            let other = TreeHead { size: old.size, root: computed };
            consistency::verify(&other, new, &proof).map_err(|why| why.to_string())?;
            ("fork", computed)
        }
        _ => return Err("the sizes of the checkpoints are not those of the kind".to_owned()),
    };
    if computed == old.root {
        return Err("both checkpoints are of one tree".to_owned());
    }
    let detail = format!(
        "the log signed two trees: at size {} one has the root {}, the other {computed}",
        old.size, old.root
    );
    Ok(Conviction { kind: case.kind, code, rule: None, index: None, detail })
}

fn is_included(entry: &ProvenEntry, head: &TreeHead) -> Result<(), String> {
    let (leaf, index) = (leaf_hash(&entry.entry.0), LeafIndex(entry.index.get()));
    inclusion::verify(leaf, index, &hashes(&entry.proof.0), head)
        .map_err(|why| format!("entry {} is not shown to be in the signed tree: {why}", entry.index))
}

fn no_snapshot(entry: &ProvenEntry, head: &TreeHead) -> Result<Conviction, String> {
    if entry.index.get().checked_add(1) != Some(head.size.0) {
        return Err(format!("entry {} is not the last of {}", entry.index, head.size));
    }
    let what = match UnverifiedRecord::parse(&entry.entry.0) {
        Ok(record) if record.kind() == Type::Snapshot => {
            return Err("the last entry is a snapshot".to_owned());
        }
        Ok(record) => place::with_article(record.kind().as_str()),
        Err(_) => "no record".to_owned(),
    };
    let detail = format!("the end of the signed tree of size {} is {what}", head.size);
    Ok(by_rule(Kind::NoSnapshot, crate::Rule::CheckpointSnapshot, entry, detail))
}

/// An entry that no state of a log could admit at its index.
fn forbidden(entry: &ProvenEntry) -> Result<Conviction, String> {
    let index = entry.index.get();
    let finding = match UnverifiedRecord::parse(&entry.entry.0) {
        Err(fault) => Finding::malformed(&fault),
        Ok(record) => Finding::of(first_fault(record, index).ok_or("the entry breaks no rule by itself")?),
    };
    Ok(Conviction {
        kind: Kind::Entry,
        code: finding.code,
        rule: Some(finding.rule),
        index: Some(index),
        detail: finding.detail,
    })
}

fn first_fault(record: UnverifiedRecord, index: u64) -> Option<Fault> {
    let record = match check_signature(record, &mut KeyCache::default()) {
        Ok(record) => record,
        Err((_, fault)) => return Some(fault),
    };
    let own = || match record.body() {
        Body::Snapshot(body) => snapshot::index_is_own(body, index),
        _ => Ok(()),
    };
    place::genesis_is_first(&record, index)
        .and_then(|()| place::is_an_entry(&record))
        .and_then(|()| own())
        .err()
}

fn repeated(first: &ProvenEntry, second: &ProvenEntry) -> Result<Conviction, String> {
    let (one, other) = in_order(first, second)?;
    if one.statement() != other.statement() {
        return Err("the statements differ".to_owned());
    }
    let detail =
        format!("statement {} is entry {}, and entry {} again", one.statement(), first.index, second.index);
    Ok(by_rule(Kind::DuplicateStatement, crate::Rule::StatementRepeated, second, detail))
}

fn time_goes_back(first: &ProvenEntry, second: &ProvenEntry) -> Result<Conviction, String> {
    let (one, other) = in_order(first, second)?;
    if one.kind() != Type::Snapshot || other.kind() != Type::Snapshot {
        return Err("both entries have to be snapshots".to_owned());
    }
    if one.time() < other.time() {
        return Err("log time increases".to_owned());
    }
    let detail = format!(
        "log time is {} at entry {} and {} at entry {}",
        one.time(),
        first.index,
        other.time(),
        second.index
    );
    Ok(by_rule(Kind::LogTime, crate::Rule::SnapshotTime, second, detail))
}

/// Two entries as records, the earlier first.
fn in_order(
    first: &ProvenEntry,
    second: &ProvenEntry,
) -> Result<(UnverifiedRecord, UnverifiedRecord), String> {
    if first.index >= second.index {
        return Err("the entries do not ascend".to_owned());
    }
    let parse = |entry: &ProvenEntry| {
        UnverifiedRecord::parse(&entry.entry.0).map_err(|why| format!("entry {}: {why}", entry.index))
    };
    Ok((parse(first)?, parse(second)?))
}

fn by_rule(kind: Kind, rule: crate::Rule, entry: &ProvenEntry, detail: String) -> Conviction {
    Conviction { kind, code: rule.code(), rule: Some(rule.id()), index: Some(entry.index.get()), detail }
}
