//! The projection of the log: rows under which its records are found, and the lookups of a bundle in them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use counterfoil_log::{ReadError, Reader, Row};
use counterfoil_receipt::{
    Body, Commitment, Malformed, PolicyDigest, RecordId, Root, RunId, UnverifiedRecord,
    body::{Evidence, Policy, Type},
};
use counterfoil_tlog::{Hash, LeafIndex};
use counterfoil_verify::{IndexKey, Lookup, index_keys};

use crate::limits;

/// Entries by [`IndexKey`], ascending by index.
const BY_KEY: &str = "by-key";
/// Runs by the index of their trigger.
const RUNS: &str = "runs";
/// What is kept beside the log, by what names it: the index of the last record that does.
const NAMED: &str = "named";

/// What a record names, and what is therefore kept beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A payload, one by one.
    Payload(Commitment),
    /// A policy document.
    Document(PolicyDigest),
    /// The payloads of an item set.
    Set(Root),
}

/// Why a lookup failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An entry is no record. The log admits none such.
    #[error("entry {index} is no record: {fault}")]
    NoRecord {
        /// Which.
        index: u64,
        /// Why.
        fault: Malformed,
    },
}

/// One record of a run, as listings show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRecord {
    /// Its log index.
    pub index: u64,
    /// Its id.
    pub id: RecordId,
    /// Its type.
    pub kind: Type,
}

/// The rows of a record.
pub(crate) fn rows_of(record: &UnverifiedRecord, index: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for key in index_keys(record) {
        let value = [record.id().as_bytes(), record.kind().as_str().as_bytes()].concat();
        rows.push(Row { tree: BY_KEY, key: place(&key, index), value });
    }
    if let (Type::Trigger, Some(run)) = (record.kind(), record.run()) {
        rows.push(Row { tree: RUNS, key: index.to_be_bytes().to_vec(), value: run.as_bytes().to_vec() });
    }
    for name in BTreeSet::from_iter(names_kept(record)) {
        let key = [&name.to_key()[..], &index.to_be_bytes()].concat();
        rows.push(Row { tree: NAMED, key, value: Vec::new() });
    }
    rows
}

/// Payloads that a record names one by one, each with its label and, for an item, the size that it states.
pub(crate) fn payloads_named(record: &UnverifiedRecord) -> Vec<(Commitment, String, Option<u64>)> {
    let items = record.body().evidence().into_iter().filter_map(|evidence| match evidence {
        Evidence::Item(item) => Some((item.commitment, item.label.to_string(), Some(item.size.get()))),
        Evidence::Set(_) => None,
    });
    let committed = record.body().action().and_then(|action| action.committed.as_ref());
    let arguments = committed.into_iter().flat_map(|map| map.iter());
    items.chain(arguments.map(|(pointer, commitment)| (*commitment, pointer.to_string(), None))).collect()
}

/// Item sets that a record names, each with the number of its items.
pub(crate) fn sets_named(record: &UnverifiedRecord) -> Vec<(Root, u64)> {
    let sets = record.body().evidence().into_iter().filter_map(|evidence| match evidence {
        Evidence::Item(_) => None,
        Evidence::Set(set) => Some((set.root, set.items.get())),
    });
    sets.collect()
}

/// The policy document that a record names by digest.
pub(crate) fn document_named(record: &UnverifiedRecord) -> Option<PolicyDigest> {
    match record.body() {
        Body::Policy(body) => match **body {
            Policy::Digest(digest) => Some(digest),
            Policy::Document(_) => None,
        },
        _ => None,
    }
}

/// Everything beside the log that a record names.
pub(crate) fn names_kept(record: &UnverifiedRecord) -> Vec<Name> {
    let payloads = payloads_named(record).into_iter().map(|(commitment, ..)| Name::Payload(commitment));
    let sets = sets_named(record).into_iter().map(|(root, _)| Name::Set(root));
    payloads.chain(sets).chain(document_named(record).map(Name::Document)).collect()
}

/// Finds records through the rows. Rows follow the checkpoint: whoever reads them names a size that
/// [`counterfoil_log::Config::on_commit`] has announced, or waits for it. A lookup by id does not need to.
#[derive(Clone)]
pub(crate) struct Index {
    reader: Reader,
    /// Records that were read last, by index: those of the authority stand in the bundles of all runs.
    read: Arc<Mutex<Read>>,
}

/// Records by index, and how many bytes they have together.
#[derive(Default)]
struct Read(HashMap<u64, UnverifiedRecord>, usize);

impl Read {
    /// Keeps a record; where they would have more than `most` bytes then, instead of all others.
    fn keep(&mut self, index: u64, record: UnverifiedRecord, most: usize) {
        // Another thread may have read it meanwhile.
        if self.0.contains_key(&index) {
            return;
        }
        let bytes = record.bytes().len();
        if self.1 + bytes > most {
            *self = Self::default();
        }
        self.0.insert(index, record);
        self.1 += bytes;
    }
}

impl Index {
    pub(crate) fn new(reader: Reader) -> Self {
        Self { reader, read: Arc::default() }
    }

    pub(crate) const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The index of a record below `size`.
    pub(crate) fn index_of(&self, id: &RecordId, size: u64) -> Result<Option<u64>, LookupError> {
        let index = self.reader.lookup(&Hash::from(*id.as_bytes()))?;
        Ok(index.map(|index| index.0).filter(|index| *index < size))
    }

    /// The index of the last record that names this.
    pub(crate) fn naming(&self, name: Name) -> Result<Option<u64>, LookupError> {
        let key = |index: u64| [&name.to_key()[..], &index.to_be_bytes()].concat();
        let rows = self.reader.last_rows(NAMED, key(0)..key(u64::MAX), 1)?;
        Ok(rows.first().and_then(|(key, _)| index_in(key)))
    }

    /// Runs whose trigger stands below `before`, the newest first.
    pub(crate) fn newest_runs(&self, before: u64, limit: usize) -> Result<Vec<(u64, RunId)>, LookupError> {
        let range = ..before.to_be_bytes().to_vec();
        let rows = self.reader.last_rows(RUNS, range, limit)?;
        let run = |(key, value): (Vec<u8>, Vec<u8>)| {
            Some((u64::from_be_bytes(key.try_into().ok()?), RunId::from_bytes(value.try_into().ok()?)))
        };
        Ok(rows.into_iter().filter_map(run).collect())
    }

    /// The index of the last record of a run below `size`.
    pub(crate) fn last_of(&self, run: RunId, size: u64) -> Result<Option<u64>, LookupError> {
        let key = IndexKey::Run(run);
        let rows = self.reader.last_rows(BY_KEY, place(&key, 0)..place(&key, size), 1)?;
        Ok(rows.first().and_then(|(key, _)| index_in(key)))
    }

    /// The records of a run from index `from` to below `size`: one page of them.
    pub(crate) fn run_page(&self, run: RunId, from: u64, size: u64) -> Result<Vec<RunRecord>, LookupError> {
        let rows = self.page(&IndexKey::Run(run), from, size)?;
        let record = |(index, value): (u64, Vec<u8>)| {
            let (id, kind) = value.split_first_chunk()?;
            let kind = Type::parse(std::str::from_utf8(kind).ok()?)?;
            Some(RunRecord { index, id: RecordId::from_bytes(*id), kind })
        };
        Ok(rows.into_iter().filter_map(record).collect())
    }

    fn page(&self, key: &IndexKey, from: u64, size: u64) -> Result<Vec<(u64, Vec<u8>)>, LookupError> {
        let range = place(key, from)..place(key, size.max(from));
        let rows = self.reader.rows(BY_KEY, range, counterfoil_log::limits::READ_ROWS)?;
        Ok(rows.into_iter().filter_map(|(key, value)| Some((index_in(&key)?, value))).collect())
    }
}

impl Lookup for Index {
    type Error = LookupError;

    fn indices(&self, key: &IndexKey, size: u64) -> Result<Vec<u64>, LookupError> {
        let mut indices = Vec::new();
        loop {
            let from = indices.last().map_or(0, |last| last + 1);
            let page = self.page(key, from, size)?;
            if page.is_empty() {
                return Ok(indices);
            }
            indices.extend(page.into_iter().map(|(index, _)| index));
        }
    }

    /// Every checkpoint that the log signs ends with a snapshot, and that names the one before it.
    fn snapshots_around(&self, index: u64, size: u64) -> Result<(Option<u64>, Option<u64>), LookupError> {
        let Some(checkpoint) = self.reader.checkpoint_covering(LeafIndex(index))? else {
            return Ok((None, None));
        };
        let Some(after) = checkpoint.head.size.0.checked_sub(1).filter(|after| *after < size) else {
            return Ok((None, None));
        };
        let before = match self.record(after)?.place() {
            counterfoil_receipt::Place::Chain { prev, .. } => self.index_of(prev, index)?,
            _ => None,
        };
        // The first snapshot names the genesis.
        Ok((before.filter(|before| *before > 0), Some(after)))
    }

    fn record(&self, index: u64) -> Result<UnverifiedRecord, LookupError> {
        let read = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(record) = read().0.get(&index) {
            return Ok(record.clone());
        }
        let bytes = self.reader.entry(LeafIndex(index))?;
        let record =
            UnverifiedRecord::parse(&bytes).map_err(|fault| LookupError::NoRecord { index, fault })?;
        read().keep(index, record.clone(), limits::READ_BYTES);
        Ok(record)
    }
}

impl Name {
    fn to_key(self) -> Vec<u8> {
        match self {
            Self::Payload(commitment) => [&b"c"[..], commitment.as_bytes()].concat(),
            Self::Document(digest) => [&b"p"[..], digest.as_bytes()].concat(),
            Self::Set(root) => [&b"s"[..], root.as_bytes()].concat(),
        }
    }
}

/// Where an entry stands under a key. Names hold no zero byte, so that no key is the start of another.
fn place(key: &IndexKey, index: u64) -> Vec<u8> {
    let (tag, what): (u8, &[u8]) = match key {
        IndexKey::Run(run) => (b'r', run.as_bytes()),
        IndexKey::Principal(principal) => (b'n', principal.as_str().as_bytes()),
        IndexKey::Group(group) => (b'g', group.as_str().as_bytes()),
        IndexKey::Key(material) => (b'k', material),
        IndexKey::Candidate(candidate) => (b'c', candidate.as_bytes()),
        IndexKey::Delegation(delegation) => (b'd', delegation.as_bytes()),
        IndexKey::Policy => (b'p', b""),
        IndexKey::Snapshot => (b's', b""),
    };
    [&[tag], what, &[0], &index.to_be_bytes()].concat()
}

/// The index that a key of [`place`] ends with.
fn index_in(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|index| u64::from_be_bytes(*index))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use counterfoil_testkit::Scenario;

    use super::*;

    #[test]
    fn records_that_were_read_are_kept_up_to_the_limit_and_not_over_it() {
        let scenario = Scenario::new();
        let entries = scenario.ledger.entries();
        let records: Vec<_> = entries.iter().map(|bytes| UnverifiedRecord::parse(bytes).unwrap()).collect();
        let most = records[0].bytes().len() + records[1].bytes().len();
        let mut read = Read::default();
        for index in [0, 1, 1] {
            read.keep(index, records[index as usize].clone(), most);
        }
        assert_eq!((read.0.len(), read.1), (2, most), "at the limit");
        read.keep(2, records[2].clone(), most);
        assert_eq!((read.0.len(), read.1), (1, records[2].bytes().len()), "over it");
        assert_eq!(read.0[&2].id(), records[2].id());
    }
}
