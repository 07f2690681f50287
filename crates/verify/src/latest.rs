//! The last records of a run, kept whole while a bundle is read: what a state does not keep is what they say in words.

use std::collections::VecDeque;

use counterfoil_receipt::{Body, RecordId};

use crate::{
    limits::{LATEST_BYTES, LATEST_RECORDS},
    record::Record,
};

/// The trigger of a run, and the last of its records that took their place in the fold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest {
    trigger: Option<Record>,
    records: VecDeque<(u64, Record)>,
    bytes: usize,
    /// How many came before those, the trigger apart, and the last of them.
    before: (u64, Option<RecordId>),
}

impl Latest {
    /// Keeps a record that took its place in the fold at `index`, if it belongs to a run.
    pub fn keep(&mut self, index: u64, record: Record) {
        if record.run().is_none() {
            return;
        }
        if matches!(record.body(), Body::Trigger(_)) {
            self.trigger = Some(record);
            return;
        }
        self.bytes += record.bytes().len();
        self.records.push_back((index, record));
        while self.records.len() > LATEST_RECORDS || self.bytes > LATEST_BYTES {
            let Some((_, first)) = self.records.pop_front() else { return };
            self.bytes -= first.bytes().len();
            self.before = (self.before.0 + 1, Some(first.id()));
        }
    }

    pub const fn trigger(&self) -> Option<&Record> {
        self.trigger.as_ref()
    }

    pub const fn before(&self) -> (u64, Option<RecordId>) {
        self.before
    }

    /// With their indices, in log order.
    pub fn records(&self) -> impl Iterator<Item = (u64, &Record)> {
        self.records.iter().map(|(index, record)| (*index, record))
    }
}
