//! Equal refusals are one record with a count: an agent in a loop must not fill an append-only log.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use counterfoil_receipt::{ActionDigest, RecordId, RunId};

/// Refusals counted at a time; more kinds at once are logged one by one.
const KINDS: usize = 1_024;
/// The largest count of one record (`spec/records.md` §6).
const COUNT: u64 = 1_000_000;

/// What makes two refusals equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub run: RunId,
    pub proposal: RecordId,
    pub action: ActionDigest,
    pub code: String,
}

/// Counts refusals between records.
#[derive(Debug)]
pub(crate) struct Refusals {
    every: Duration,
    counted: HashMap<Kind, (Instant, u64)>,
}

impl Refusals {
    /// Logs an equal refusal again after `every` at the earliest.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, counted: HashMap::new() }
    }

    /// Counts one. `Some` if a record is due, with how many refusals it stands for.
    pub(crate) fn count(&mut self, kind: &Kind) -> Option<u64> {
        let every = self.every;
        if let Some((since, waiting)) = self.counted.get_mut(kind) {
            *waiting += 1;
            if since.elapsed() < every && *waiting < COUNT {
                return None;
            }
            *since = Instant::now();
            return Some(std::mem::take(waiting));
        }
        if self.counted.len() >= KINDS {
            self.counted.retain(|_, (since, waiting)| *waiting > 0 || since.elapsed() < every);
        }
        if self.counted.len() < KINDS {
            self.counted.insert(kind.clone(), (Instant::now(), 0));
        }
        Some(1)
    }

    /// Puts back what could not be logged.
    pub(crate) fn put_back(&mut self, kind: &Kind, count: u64) {
        if let Some((_, waiting)) = self.counted.get_mut(kind) {
            *waiting += count;
        }
    }

    /// Everything that was counted and has no record, taken out.
    pub(crate) fn drain(&mut self) -> Vec<(Kind, u64)> {
        let waiting = self.counted.drain().filter(|(_, (_, waiting))| *waiting > 0);
        waiting.map(|(kind, (_, waiting))| (kind, waiting)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str) -> Kind {
        let run = RunId::started_by(RecordId::of(b"trigger"));
        let action = ActionDigest::from_bytes([7; 32]);
        Kind { run, proposal: RecordId::of(b"proposal"), action, code: code.to_owned() }
    }

    #[test]
    fn equal_refusals_wait_for_each_other_and_none_is_lost() {
        let mut refusals = Refusals::new(Duration::from_secs(3_600));
        assert_eq!(refusals.count(&kind("a")), Some(1));
        assert_eq!(refusals.count(&kind("a")), None);
        assert_eq!(refusals.count(&kind("b")), Some(1));
        assert_eq!(refusals.count(&kind("a")), None);
        assert_eq!(refusals.drain(), vec![(kind("a"), 2)]);
        assert_eq!(refusals.drain(), Vec::new());
    }

    #[test]
    fn after_its_time_one_record_stands_for_all() {
        let mut refusals = Refusals::new(Duration::ZERO);
        assert_eq!(refusals.count(&kind("a")), Some(1));
        refusals.put_back(&kind("a"), 1);
        assert_eq!(refusals.count(&kind("a")), Some(2));
    }

    #[test]
    fn more_kinds_than_are_counted_are_logged_one_by_one() {
        let mut refusals = Refusals::new(Duration::from_secs(3_600));
        for at in 0..=KINDS {
            assert_eq!(refusals.count(&kind(&at.to_string())), Some(1));
        }
        assert_eq!(refusals.count(&kind(&KINDS.to_string())), Some(1));
        assert_eq!(refusals.count(&kind("0")), None);
    }
}
