//! The outbox: messages that wait on disk until each of their channels took them, or their time is over.
//!
//! Why a file of our own, and no database: what waits is small and fits into memory, so all that is asked of the disk is to
//! append a line and to replace a file, which [`journal`](crate::journal) does in two hundred lines. An operator in trouble
//! can read it with `cat`. Of the embedded databases in Rust, `redb` would do, but its file says nothing without a program
//! of ours, and what makes an outbox right (what waits, when it is due, what counts as told) would still be all of
//! [`queue`](crate::queue) with the same tests; `sled` 0.34 lost what it had synced when the power was cut; SQLite would
//! bring a C compiler.
//!
//! The order of writes: a message counts when its line is synced, and only then `enqueue` returns. A delivery is told first,
//! and then written down as told. A crash in between tells it again, with the same delivery id: at least once, and twice
//! only then.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::backoff::Retries;
use crate::channel::{Channel, Delivery, DeliveryId, Failure};
use crate::clock::{Clock, Random, UnixMillis, system_clock, system_random};
use crate::entry::{Addressed, Entry, LastError, Outcome};
use crate::error::OutboxError;
use crate::journal::{Journal, Opening, Work};
use crate::limits;
use crate::message::ChannelName;
use crate::queue::{Next, Queue, Waiting};
use crate::text;

/// What an outbox is opened with.
pub struct Config {
    /// How often a delivery is tried.
    pub retries: Retries,
    /// The time.
    pub clock: Clock,
    /// The randomness that spreads tries over time.
    pub random: Random,
}

impl Default for Config {
    /// With the times of [`limits`], this machine's clock and its randomness.
    fn default() -> Self {
        Self { retries: Retries::default(), clock: system_clock(), random: system_random() }
    }
}

/// Messages on their way. It delivers when it is told to: [`Couriers`](crate::Couriers) do so all the time.
pub struct Outbox {
    channels: BTreeMap<ChannelName, Mutex<Open>>,
    config: Config,
    state: Mutex<State>,
    /// Something in `state` changed.
    changed: Condvar,
}

/// A channel in use.
struct Open {
    channel: Box<dyn Channel>,
    /// Tries that failed on end.
    failures: u32,
    /// From when until when it is left alone.
    paused: Option<(UnixMillis, UnixMillis)>,
}

struct State {
    queue: Queue,
    journal: Journal,
    /// Bytes of an interrupted write that were cut when it was opened.
    cut: u64,
    stopped: Option<String>,
    /// Grows with everything that couriers should look at.
    changes: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// Deliveries that wait from now on.
    pub new: usize,
    /// Deliveries that came before, under the same id; the message that came first is the one that is told.
    pub known: usize,
}

/// What [`Outbox::deliver_next`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A delivery was tried, or some were given up: there may be more to do.
    Done,
    /// There is nothing to do for this time, or until something is enqueued.
    Wait(Option<Duration>),
}

/// How an outbox is, for its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Each channel that is there, or that something waits or waited for.
    pub channels: BTreeMap<ChannelName, ChannelStatus>,
    /// Deliveries that wait.
    pub waiting: usize,
    /// Deliveries that are over and known, so that none of them is begun again.
    pub remembered: usize,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of an interrupted write that were cut when it was opened.
    pub cut_bytes: u64,
    /// What was done on disk since then.
    pub work: Work,
    /// Why nothing is taken or sent any more.
    pub stopped: Option<String>,
}

/// How one channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStatus {
    /// Whether it is there. What waits for one that is not waits until its time is over.
    pub is_open: bool,
    /// Deliveries that wait.
    pub waiting: usize,
    /// Deliveries that it took, since the outbox is there.
    pub delivered: u64,
    /// Deliveries that were given up, since the outbox is there.
    pub given_up: u64,
    /// What went wrong last.
    pub last_error: Option<LastError>,
}

impl Outbox {
    /// Opens or makes the outbox in `dir`, with these channels.
    ///
    /// # Errors [`OutboxError::InUse`] if somebody else has it, [`OutboxError::Damaged`], [`OutboxError::Io`],
    /// [`OutboxError::TwoChannels`], [`OutboxError::Channels`].
    pub fn open(
        dir: &Path,
        channels: Vec<(ChannelName, Box<dyn Channel>)>,
        config: Config,
    ) -> Result<Self, OutboxError> {
        let count = channels.len();
        if count > limits::CHANNELS {
            return Err(OutboxError::Channels { count });
        }
        let mut open = BTreeMap::new();
        for (name, channel) in channels {
            let channel = Mutex::new(Open { channel, failures: 0, paused: None });
            if open.insert(name.clone(), channel).is_some() {
                return Err(OutboxError::TwoChannels(name));
            }
        }
        let opening = Opening::lock(dir)?;
        let mut queue = Queue::default();
        let cut = opening.read(|entry| queue.apply(entry))?;
        queue.forget((config.clock)());
        let journal = opening.write(queue.entries())?;
        let state = Mutex::new(State { queue, journal, cut, stopped: None, changes: 0 });
        Ok(Self { channels: open, config, state, changed: Condvar::new() })
    }

    /// Takes messages, all or none; they are on disk when this returns. What came before, by the message's id and the
    /// channel, is not taken again, whatever it says.
    ///
    /// # Errors
    /// [`OutboxError`]. After one of file operations, whether the messages were taken is not known: enqueue them again
    /// when the outbox was opened again.
    pub fn enqueue(&self, messages: &[Addressed]) -> Result<Enqueued, OutboxError> {
        if messages.len() > limits::BATCH {
            return Err(OutboxError::Batch { count: messages.len() });
        }
        let mut state = self.running()?;
        let (mut new, mut batch, mut known) = (Vec::new(), HashSet::new(), 0);
        let (mut waiting, mut bytes) = state.queue.size();
        for addressed in messages {
            self.check(addressed)?;
            let Addressed { channels, message } = addressed;
            let mut unknown = state.queue.unknown(addressed);
            unknown.retain(|channel| batch.insert(DeliveryId::of(channel, message.id())));
            known += channels.len() - unknown.len();
            waiting += unknown.len();
            bytes += unknown.len() * message.to_line().len();
            if !unknown.is_empty() {
                new.push(Addressed { channels: unknown, message: message.clone() });
            }
        }
        if new.is_empty() {
            return Ok(Enqueued { new: 0, known });
        }
        if waiting > limits::WAITING || bytes > limits::WAITING_BYTES {
            return Err(OutboxError::Full { waiting, bytes });
        }
        let at = (self.config.clock)();
        state.write(Entry::Enqueued { at, messages: new }, at)?;
        drop(state);
        self.changed.notify_all();
        Ok(Enqueued { new: batch.len(), known })
    }

    /// Delivers what is next on a channel, or gives up what is too late. One delivery at a time is tried on a channel;
    /// others are not held.
    ///
    /// # Errors
    /// [`OutboxError`] of file operations. That a channel failed is none.
    pub fn deliver_next(&self, name: &ChannelName) -> Result<Step, OutboxError> {
        let mut open =
            self.channels.get(name).map(|open| open.lock().unwrap_or_else(PoisonError::into_inner));
        let now = (self.config.clock)();
        let paused = open.as_ref().and_then(|open| open.left_alone(now));
        let is_open = open.is_some() && paused.is_none();
        let due = {
            let mut state = self.running()?;
            match state.queue.next(name, now, is_open) {
                Next::Due(waiting) => waiting,
                Next::Wait(time) => return Ok(Step::Wait(earlier(time, paused))),
                Next::Expired(deliveries) => {
                    state.write(Entry::Settled { at: now, deliveries }, now)?;
                    return Ok(Step::Done);
                }
            }
        };
        let Some(open) = open.as_mut() else { return Ok(Step::Wait(None)) };
        let result = open.deliver(&due, now);
        let (entry, at) = self.judge(open, &due, result);
        self.running()?.write(entry, at)?;
        Ok(Step::Done)
    }

    /// What is written down of a try, and when it was over.
    fn judge(&self, open: &mut Open, due: &Waiting, result: Result<(), Failure>) -> (Entry, UnixMillis) {
        let at = (self.config.clock)();
        let settled = |outcome, why| Entry::Settled { at, deliveries: vec![due.settled(outcome, why)] };
        let (why, after) = match result {
            Ok(()) => {
                (open.failures, open.paused) = (0, None);
                return (settled(Outcome::Delivered, None), at);
            }
            // The far side is there, and answers.
            Err(Failure::Never { why }) => {
                (open.failures, open.paused) = (0, None);
                return (settled(Outcome::Refused, Some(shown(&why))), at);
            }
            Err(Failure::Retry { why, after }) => {
                (shown(&why), after.unwrap_or_default().min(limits::RETRY_AFTER))
            }
        };
        let (retries, random) = (self.config.retries, (self.config.random)());
        let failures = due.failures.saturating_add(1);
        open.failures = open.failures.saturating_add(1);
        open.paused = Some((at, at.after(retries.wait(open.failures, random).max(after))));
        let not_before = at.after(retries.wait(failures, random).max(after));
        let (channel, id) = (due.channel.clone(), due.message.id().to_owned());
        let entry = if failures >= retries.tries {
            settled(Outcome::Exhausted, Some(format!("failed {failures} times, the last: {why}")))
        } else if not_before > due.message.not_after() {
            settled(Outcome::Expired, Some(format!("too late for another try; the last: {why}")))
        } else {
            Entry::Failed { at, channel, failures, id, not_before, why }
        };
        (entry, at)
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let state = self.state();
        let mut channels: BTreeMap<ChannelName, ChannelStatus> =
            self.channels.keys().map(|name| (name.clone(), ChannelStatus::new(true))).collect();
        for (name, lane) in state.queue.lanes() {
            let of = channels.entry(name.clone()).or_insert_with(|| ChannelStatus::new(false));
            of.waiting = lane.waiting();
            (of.delivered, of.given_up) = (lane.delivered, lane.given_up);
            of.last_error = lane.last_error.clone();
        }
        Status {
            channels,
            waiting: state.queue.size().0,
            remembered: state.queue.remembered(),
            file_bytes: state.journal.bytes(),
            cut_bytes: state.cut,
            work: state.journal.work(),
            stopped: state.stopped.clone(),
        }
    }

    fn check(&self, addressed: &Addressed) -> Result<(), OutboxError> {
        if addressed.channels.is_empty() {
            return Err(OutboxError::NoChannel { id: addressed.message.id().to_owned() });
        }
        match addressed.channels.iter().find(|channel| !self.channels.contains_key(*channel)) {
            Some(channel) => Err(OutboxError::NoSuchChannel(channel.clone())),
            None => Ok(()),
        }
    }

    /// The channels that there is something to do for: those that are there, and those that something waits for.
    pub(crate) fn names(&self) -> Vec<ChannelName> {
        let state = self.state();
        let gone =
            state.queue.lanes().map(|(name, _)| name).filter(|name| !self.channels.contains_key(*name));
        self.channels.keys().chain(gone).cloned().collect()
    }

    /// How often something changed that couriers should look at.
    pub(crate) fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Has everybody look who waits in [`Self::wait`].
    pub(crate) fn wake(&self) {
        self.state().changes += 1;
        self.changed.notify_all();
    }

    /// Waits for this time, or until there was one change more than `changes`.
    pub(crate) fn wait(&self, changes: u64, time: Duration) {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, time, |state| state.changes == changes);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn running(&self) -> Result<MutexGuard<'_, State>, OutboxError> {
        let state = self.state();
        match &state.stopped {
            None => Ok(state),
            Some(why) => Err(OutboxError::Stopped { why: why.clone() }),
        }
    }
}

impl Open {
    /// How long it is still left alone; not if the clock was set back since that was said.
    fn left_alone(&self, now: UnixMillis) -> Option<Duration> {
        self.paused.filter(|(since, until)| *since <= now && now < *until).map(|(_, until)| until.since(now))
    }

    fn deliver(&mut self, due: &Waiting, at: UnixMillis) -> Result<(), Failure> {
        let delivery = Delivery { id: due.id, message: &due.message, at, failures: due.failures };
        // A channel that panics must not take its thread with it, and nobody notice.
        catch_unwind(AssertUnwindSafe(|| self.channel.deliver(&delivery)))
            .unwrap_or_else(|_| Err(Failure::retry("the channel panicked")))
    }
}

impl State {
    /// Makes a line durable, and then true.
    fn write(&mut self, entry: Entry, now: UnixMillis) -> Result<(), OutboxError> {
        if let Err(error) = self.journal.append(&entry) {
            self.stopped = Some(error.to_string());
            return Err(error);
        }
        self.changes += 1;
        if let Err(why) = self.queue.apply(entry) {
            // What is in memory is no longer what is on disk.
            self.stopped = Some(why.clone());
            return Err(OutboxError::Stopped { why });
        }
        self.queue.forget(now);
        if self.journal.has_grown()
            && let Err(error) = self.journal.rewrite(self.queue.entries())
        {
            // The line is durable all the same: what comes next is told.
            self.stopped = Some(error.to_string());
        }
        Ok(())
    }
}

impl ChannelStatus {
    const fn new(is_open: bool) -> Self {
        Self { is_open, waiting: 0, delivered: 0, given_up: 0, last_error: None }
    }
}

/// A reason, whatever channel gave it.
fn shown(why: &str) -> String {
    text::line(why, limits::WHY_BYTES)
}

fn earlier(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
