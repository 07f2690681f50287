//! Reading a bundle: the verdict, and beside it the records of the run for whoever wants to look at them.

use std::{collections::HashMap, num::NonZeroUsize, path::Path};

use counterfoil_receipt::{
    Commitment, Opening, RecordId, RunId, UnverifiedRecord,
    body::Evidence,
    bundle::{Header, PositionLine, read_line},
};
use counterfoil_verify::{Finding, Run, Trust, Verdict, Verifier};

use crate::{error::Outcome, input::Lines};

/// Records that are kept to be shown; a longer run is verified in full and shown in part. At most 64 KiB each.
pub const ROWS: usize = 1_000;

/// A bundle that was read.
pub struct Reading {
    /// What it shows.
    pub verdict: Verdict,
    /// The records of its run, by log index: the first [`ROWS`].
    pub rows: Vec<Row>,
    /// How many records of the run are beyond those.
    pub more: u64,
    /// How many entries the bundle has besides: genesis, keyring, policy, snapshots.
    pub others: u64,
}

/// One record of the run. Believe it as far as the verdict goes.
pub struct Row {
    /// Its log index, as the bundle says it.
    pub index: u64,
    /// The record.
    pub record: UnverifiedRecord,
}

/// Reads and verifies the bundle at `path`. `now` is the reader's time in milliseconds.
pub fn read(path: &Path, trust: &Trust, now: u64) -> Outcome<Reading> {
    read_lines(Lines::open(path, "bundle")?, trust, now)
}

/// Reads and verifies a bundle, line by line.
pub fn read_lines(mut lines: Lines, trust: &Trust, now: u64) -> Outcome<Reading> {
    let mut reader = Reader::new(trust);
    while let Some(line) = lines.next()? {
        reader.line(line.bytes, line.ended);
    }
    Ok(reader.finish(now))
}

/// Reads and verifies a bundle that is in memory.
pub fn read_bytes(bundle: &[u8], trust: &Trust, now: u64) -> Reading {
    let mut reader = Reader::new(trust);
    for line in bundle.split_inclusive(|byte| *byte == b'\n') {
        let stripped = line.strip_suffix(b"\n");
        reader.line(stripped.unwrap_or(line), stripped.is_some());
    }
    reader.finish(now)
}

struct Reader<'t> {
    verifier: Verifier<'t>,
    run: Option<RunId>,
    /// Lines between the header and the first entry.
    before: u64,
    /// Lines of entries that are still to come, two for each.
    entries: u64,
    position: Option<u64>,
    rows: Vec<Row>,
    more: u64,
    others: u64,
}

impl<'t> Reader<'t> {
    fn new(trust: &'t Trust) -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let verifier = Verifier::new(trust, threads);
        Self {
            verifier,
            run: None,
            before: 0,
            entries: 0,
            position: None,
            rows: Vec::new(),
            more: 0,
            others: 0,
        }
    }

    fn line(&mut self, line: &[u8], ended: bool) {
        if !ended {
            return self.verifier.unfinished_line();
        }
        self.note(line);
        self.verifier.line(line);
    }

    /// Keeps the line if it is a record of the run. What can't be read is the verifier's to report.
    fn note(&mut self, line: &[u8]) {
        if self.run.is_none() {
            let Ok(header) = read_line::<Header>(line) else { return };
            self.run = Some(header.run);
            self.before = header.checkpoints.get() + header.documents.get();
            self.entries = header.entries.get().saturating_mul(2);
        } else if self.before > 0 {
            self.before -= 1;
        } else if self.entries > 0 {
            self.entries -= 1;
            match self.position.take() {
                None => self.position = read_line::<PositionLine>(line).ok().map(|line| line.index.get()),
                Some(index) => self.note_record(index, line),
            }
        }
    }

    fn note_record(&mut self, index: u64, line: &[u8]) {
        match UnverifiedRecord::parse(line) {
            Ok(record) if record.run().is_some() && self.rows.len() < ROWS => {
                self.rows.push(Row { index, record })
            }
            Ok(record) if record.run().is_some() => self.more += 1,
            Ok(_) | Err(_) => self.others += 1,
        }
    }

    fn finish(self, now: u64) -> Reading {
        Reading { verdict: self.verifier.finish(now), rows: self.rows, more: self.more, others: self.others }
    }
}

impl Reading {
    /// The run, as far as its trigger was shown.
    pub fn run(&self) -> Option<&Run> {
        self.verdict.run_id().and_then(|run| self.verdict.state().run(&run))
    }

    /// A record of the run.
    pub fn record(&self, id: &RecordId) -> Option<&UnverifiedRecord> {
        self.rows.iter().map(|row| &row.record).find(|record| record.id() == *id)
    }

    /// The findings about the entry at `index`.
    pub fn findings_at(&self, index: u64) -> impl Iterator<Item = &Finding> {
        self.verdict.findings().iter().filter(move |finding| finding.index == Some(index))
    }

    /// Why the entry at `index` changed nothing, if it did not.
    pub fn without_effect(&self, index: u64) -> Option<&str> {
        self.verdict.without_effect().iter().find(|(at, _)| *at == index).map(|(_, why)| why.as_str())
    }

    /// The disclosed payloads, by commitment.
    pub fn openings(&self) -> HashMap<Commitment, &Opening> {
        self.verdict.openings().iter().map(|opening| (opening.commitment(), opening)).collect()
    }
}

/// The single items among the payloads that a record names, with label and media type.
pub fn items(record: &UnverifiedRecord) -> Vec<counterfoil_receipt::body::Item> {
    let item = |evidence| match evidence {
        Evidence::Item(item) => Some(item),
        Evidence::Set(_) => None,
    };
    record.body().evidence().into_iter().filter_map(item).collect()
}
