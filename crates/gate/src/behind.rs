//! Outcomes that are noted on disk, and logged a little later: whoever waits for an effect need not wait for its record.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use counterfoil_receipt::{Opening, RecordId, UnverifiedRecord};

use crate::{
    driver::{Gate, lock},
    log::{Log, LogError},
    open::SignedOutcome,
};

/// Outcomes that are logged together at the most.
const TOGETHER: usize = 64;
/// Bytes of results that are logged together at the most, but for one that has more.
const TOGETHER_BYTES: usize = 8 << 20;

/// Outcomes that wait to be logged.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    waiting: Mutex<Vec<SignedOutcome>>,
    more: Condvar,
    /// Held while some are logged, so that whoever finds none waiting knows that none are on their way.
    logging: Mutex<()>,
}

impl Behind {
    /// Has one logged later. It is noted on disk.
    pub fn push(&self, outcome: SignedOutcome) {
        lock(&self.waiting).push(outcome);
        self.more.notify_all();
    }

    /// The first of those that wait.
    fn take(&self) -> Vec<SignedOutcome> {
        let mut waiting = lock(&self.waiting);
        let mut bytes = 0;
        let fits = |outcome: &&SignedOutcome| {
            bytes += outcome.payloads.iter().map(|opening| opening.content.len()).sum::<usize>();
            bytes <= TOGETHER_BYTES
        };
        let count = waiting.iter().take(TOGETHER).take_while(fits).count();
        let count = count.max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

impl<L: Log> Gate<L> {
    /// Waits until an outcome is to be logged by [`Gate::log_outcomes`], at most so long; whether there is one.
    pub fn wait_for_outcomes(&self, most: Duration) -> bool {
        let waiting = lock(&self.behind.waiting);
        let waited = self.behind.more.wait_timeout_while(waiting, most, |waiting| waiting.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    /// Logs the outcomes that wait; whether all are logged. What is not stays noted, and is tried again when this is called again, or by
    /// [`Gate::settle_open`] of the next process.
    pub fn log_outcomes(&self) -> bool {
        let _logging = lock(&self.behind.logging);
        loop {
            let outcomes = self.behind.take();
            if outcomes.is_empty() {
                return true;
            }
            let records: Vec<(&UnverifiedRecord, &[Opening])> =
                outcomes.iter().map(|outcome| (&outcome.record, &outcome.payloads[..])).collect();
            let answers = self.log.submit_all(&records);
            let mut left = Vec::new();
            for (outcome, answer) in outcomes.into_iter().zip(answers) {
                match answer {
                    Ok(_) => self.forget(&outcome),
                    // What the log will never take stays noted, for people to look at.
                    Err(LogError::Rejected { .. }) => {}
                    Err(LogError::NotSubmitted(_) | LogError::Unknown(_)) => left.push(outcome),
                }
            }
            if !left.is_empty() {
                lock(&self.behind.waiting).splice(..0, left);
                return false;
            }
        }
    }

    /// Takes the note of an outcome away that is logged. What can't be removed is found settled at the next start.
    pub(crate) fn forget(&self, outcome: &SignedOutcome) {
        let _ = outcome.execution().map(|execution: RecordId| self.open.clear(execution));
    }
}
