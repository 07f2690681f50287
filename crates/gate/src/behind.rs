//! Outcomes that are noted on disk, and logged a little later: whoever waits for an effect need not wait for its record.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use counterfoil_receipt::{Opening, RecordId, UnverifiedRecord};
use counterfoil_verify::Rule;

use crate::{
    driver::{Gate, lock},
    log::{Log, LogError},
    open::SignedOutcome,
};

/// Outcomes that are logged together at the most.
const TOGETHER: usize = 64;
/// Bytes of results that are logged together at the most, but for one that has more.
const TOGETHER_BYTES: usize = 8 << 20;

/// Outcomes that wait at the most; with more, whoever has one logs it first.
const WAITING: usize = 1_024;
/// Bytes of results that wait at the most, but for one that has more.
const WAITING_BYTES: usize = 32 << 20;

/// Outcomes that wait to be logged.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    waiting: Mutex<Vec<SignedOutcome>>,
    more: Condvar,
    /// Held while some are logged, so that whoever finds none waiting knows that none are on their way.
    pub logging: Mutex<()>,
}

impl Behind {
    /// Has one logged later, which is noted on disk; gives it back where too many wait.
    pub fn push(&self, outcome: SignedOutcome) -> Option<SignedOutcome> {
        let mut waiting = lock(&self.waiting);
        if waiting.len() >= WAITING || waiting.iter().map(bytes).sum::<usize>() > WAITING_BYTES {
            return Some(outcome);
        }
        waiting.push(outcome);
        self.more.notify_all();
        None
    }

    /// The first of those that wait.
    fn take(&self) -> Vec<SignedOutcome> {
        let mut waiting = lock(&self.waiting);
        let mut all = 0;
        let fits = |outcome: &&SignedOutcome| {
            all += bytes(outcome);
            all <= TOGETHER_BYTES
        };
        let count = waiting.iter().take(TOGETHER).take_while(fits).count();
        let count = count.max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

/// Bytes of the results that an outcome brings.
fn bytes(outcome: &SignedOutcome) -> usize {
    outcome.payloads.iter().map(|opening| opening.content.len()).sum()
}

impl<L: Log> Gate<L> {
    /// Waits until an outcome is to be logged by [`Gate::log_outcomes`], at most so long, and then `linger` for others to be logged with it.
    /// Whether there is one. Meanwhile each is made durable; one that can't be is logged all the same.
    pub fn wait_for_outcomes(&self, most: Duration, linger: Duration) -> bool {
        let (mut known, mut left, mut since) = (0, most, Instant::now());
        loop {
            let waiting = lock(&self.behind.waiting);
            let none_came = |waiting: &mut Vec<_>| waiting.len() <= known;
            let waited = self.behind.more.wait_timeout_while(waiting, left, none_came);
            let count = waited.unwrap_or_else(PoisonError::into_inner).0.len();
            if count <= known {
                return known > 0;
            }
            if known == 0 {
                since = Instant::now();
            }
            known = count;
            let _ = self.open.sync();
            left = linger.saturating_sub(since.elapsed());
            if left.is_zero() {
                return true;
            }
        }
    }

    /// Tries each outcome that waits once; whether none is left to be tried again. What is not logged stays noted, and is tried again when
    /// this is called again, or by [`Gate::settle_open`] of the next process.
    pub fn log_outcomes(&self) -> bool {
        let _logging = lock(&self.behind.logging);
        let (mut to_try, mut left) = (lock(&self.behind.waiting).len(), Vec::new());
        while to_try > 0 {
            let outcomes = self.behind.take();
            to_try = to_try.saturating_sub(outcomes.len().max(1));
            // One that can't be made durable is logged all the same.
            let _ = self.open.sync().wait();
            let records: Vec<(&UnverifiedRecord, &[Opening])> =
                outcomes.iter().map(|outcome| (&outcome.record, &outcome.payloads[..])).collect();
            let answers = self.log.submit_all(&records);
            for (outcome, answer) in outcomes.into_iter().zip(answers) {
                match answer {
                    Ok(_) => self.forget(&outcome),
                    Err(LogError::Rejected { code }) if code == Rule::OutcomeSettled.code() => {
                        self.forget(&outcome);
                    }
                    // What the log will never take stays noted, for people to look at.
                    Err(LogError::Rejected { .. }) => {}
                    Err(LogError::NotSubmitted(_) | LogError::NoRun(_) | LogError::Unknown(_)) => {
                        left.push(outcome)
                    }
                }
            }
        }
        // Lost, it would be found settled; but a note behind it has to wait for it.
        let _ = self.open.sync();
        let is_done = left.is_empty();
        // Behind those that came meanwhile: what is never taken must not hold up the others.
        lock(&self.behind.waiting).extend(left);
        is_done
    }

    /// Takes the note of an outcome away that is logged. What can't be removed is found settled at the next start.
    pub(crate) fn forget(&self, outcome: &SignedOutcome) {
        let _ = outcome.execution().map(|execution: RecordId| self.open.clear(execution));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use counterfoil_client::seal;
    use counterfoil_receipt::text::Label;
    use counterfoil_testkit::Scenario;

    use super::*;

    #[test]
    fn as_many_wait_as_may_and_the_next_is_given_back() {
        let scenario = Scenario::new();
        let record = UnverifiedRecord::parse(&scenario.ledger.entries()[0]).unwrap();
        let label = || Label::new("result").unwrap();
        let large = seal(label(), label(), vec![b'x'; TOGETHER_BYTES / 2]).unwrap().opening;
        let outcome = |payloads| SignedOutcome { record: record.clone(), payloads };
        let behind = Behind::default();
        assert!((0..WAITING).all(|_| behind.push(outcome(Vec::new())).is_none()), "at the limit");
        assert!(behind.push(outcome(Vec::new())).is_some(), "over it");
        assert_eq!(behind.take().len(), TOGETHER);
        assert!(behind.push(outcome(Vec::new())).is_none(), "there is room again");
        let behind = Behind::default();
        let most = WAITING_BYTES / large.content.len();
        assert!((0..=most).all(|_| behind.push(outcome(vec![large.clone()])).is_none()), "but for one");
        assert!(behind.push(outcome(Vec::new())).is_some(), "over it");
        assert_eq!(behind.take().len(), 2);
    }
}
