//! What waits, what is due, and what is over. Pure: no file, no clock, no thread.
//!
//! [`Queue::apply`] is the only thing that changes it, when a file is read as well as when its next line was written, so
//! both come to the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::channel::DeliveryId;
use crate::clock::UnixMillis;
use crate::entry::{Addressed, Entry, LastError, Outcome, Settled};
use crate::limits;
use crate::message::{ChannelName, Message};

/// Every delivery that is known.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// By a number that grows in the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    known: HashMap<DeliveryId, Known>,
    lanes: BTreeMap<ChannelName, Lane>,
    /// Those that are over, by the time when they need to be known no more.
    forget: BTreeSet<(UnixMillis, DeliveryId)>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
enum Known {
    Waiting(u64),
    Settled(Settled),
}

/// A delivery that waits.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub message: Arc<Message>,
    pub channel: ChannelName,
    pub id: DeliveryId,
    pub failures: u32,
    bytes: usize,
    enqueued: UnixMillis,
    not_before: UnixMillis,
    /// When that was said. At an earlier time the clock was set back, and `not_before` says nothing.
    since: UnixMillis,
    /// What went wrong last.
    why: Option<String>,
}

/// What waits for one channel.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    due: BTreeSet<(UnixMillis, u64)>,
    expires: BTreeSet<(UnixMillis, u64)>,
    pub delivered: u64,
    pub given_up: u64,
    pub last_error: Option<LastError>,
}

/// What is next on a channel.
#[derive(Debug)]
pub(crate) enum Next {
    /// The time of these is over.
    Expired(Vec<Settled>),
    /// This one is due.
    Due(Waiting),
    /// Nothing, for this time, or until something is enqueued.
    Wait(Option<Duration>),
}

impl Queue {
    /// Takes in what a line says.
    ///
    /// # Errors
    /// What contradicts the lines before.
    pub fn apply(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Outbox { .. } => Ok(()),
            Entry::Enqueued { at, messages } => {
                messages.into_iter().try_for_each(|addressed| self.enqueued(at, addressed))
            }
            Entry::Failed { at, channel, failures, id, not_before, why } => {
                self.failed(LastError { at, id, why }, channel, failures, not_before)
            }
            Entry::Settled { at, deliveries } => {
                deliveries.into_iter().try_for_each(|settled| self.settled(at, settled))
            }
            Entry::Channel { channel, delivered, given_up, last_error } => {
                let lane = self.lanes.entry(channel).or_default();
                (lane.delivered, lane.given_up, lane.last_error) = (delivered, given_up, last_error);
                Ok(())
            }
        }
    }

    fn enqueued(&mut self, at: UnixMillis, addressed: Addressed) -> Result<(), String> {
        let message = Arc::new(addressed.message);
        let bytes = message.to_line().len();
        for channel in addressed.channels {
            let id = DeliveryId::of(&channel, message.id());
            // One that is over may have been forgotten since, and come again.
            match self.known.insert(id, Known::Waiting(self.next)) {
                Some(Known::Waiting(_)) => {
                    return Err(format!("the message {} waits for {channel} already", message.id()));
                }
                Some(Known::Settled(settled)) => drop(self.forget.remove(&(forget_at(&settled), id))),
                None => {}
            }
            let lane = self.lanes.entry(channel.clone()).or_default();
            lane.due.insert((at, self.next));
            lane.expires.insert((message.not_after(), self.next));
            let message = Arc::clone(&message);
            let waiting = Waiting {
                message,
                channel,
                id,
                failures: 0,
                bytes,
                enqueued: at,
                not_before: at,
                since: at,
                why: None,
            };
            self.waiting.insert(self.next, waiting);
            self.next += 1;
            self.bytes += bytes;
        }
        Ok(())
    }

    fn failed(
        &mut self,
        error: LastError,
        channel: ChannelName,
        failures: u32,
        not_before: UnixMillis,
    ) -> Result<(), String> {
        let (place, waiting) = self.find(&channel, &error.id)?;
        let before = std::mem::replace(&mut waiting.not_before, not_before);
        (waiting.failures, waiting.since, waiting.why) = (failures, error.at, Some(error.why.clone()));
        let lane = self.lanes.entry(channel).or_default();
        lane.due.remove(&(before, place));
        lane.due.insert((not_before, place));
        lane.last_error = Some(error);
        Ok(())
    }

    fn settled(&mut self, at: UnixMillis, settled: Settled) -> Result<(), String> {
        let id = DeliveryId::of(&settled.channel, &settled.id);
        let lane = self.lanes.entry(settled.channel.clone()).or_default();
        match self.known.get(&id) {
            Some(Known::Settled(_)) => {
                return Err(format!("the message {} was over for {} already", settled.id, settled.channel));
            }
            Some(Known::Waiting(place)) => {
                if let Some(waiting) = self.waiting.remove(place) {
                    lane.due.remove(&(waiting.not_before, *place));
                    lane.expires.remove(&(waiting.message.not_after(), *place));
                    self.bytes -= waiting.bytes;
                }
            }
            // In a file that was written anew.
            None => {}
        }
        match settled.outcome {
            Outcome::Delivered => lane.delivered += 1,
            Outcome::Expired | Outcome::Exhausted | Outcome::Refused => lane.given_up += 1,
        }
        if let Some(why) = settled.why.clone() {
            lane.last_error = Some(LastError { at, id: settled.id.clone(), why });
        }
        self.forget.insert((forget_at(&settled), id));
        self.known.insert(id, Known::Settled(settled));
        while self.forget.len() > limits::REMEMBERED {
            self.forget_first();
        }
        Ok(())
    }

    /// Forgets what need not be known any more at this time.
    pub fn forget(&mut self, now: UnixMillis) {
        while self.forget.first().is_some_and(|(at, _)| *at < now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, id)) = self.forget.pop_first() {
            self.known.remove(&id);
        }
    }

    fn find(&mut self, channel: &ChannelName, id: &str) -> Result<(u64, &mut Waiting), String> {
        let known = self.known.get(&DeliveryId::of(channel, id));
        let place = match known {
            Some(Known::Waiting(place)) => Some(*place),
            Some(Known::Settled(_)) | None => None,
        };
        let waiting = place.and_then(|place| Some((place, self.waiting.get_mut(&place)?)));
        waiting.ok_or_else(|| format!("no message {id} waits for {channel}"))
    }

    /// What is next on a channel at this time; `is_open` says whether anything is delivered on it now.
    pub fn next(&self, channel: &ChannelName, now: UnixMillis, is_open: bool) -> Next {
        let Some(lane) = self.lanes.get(channel) else { return Next::Wait(None) };
        let over = lane.expires.iter().take_while(|(not_after, _)| *not_after < now);
        let over: Vec<Settled> = over
            .take(limits::EXPIRE_AT_ONCE)
            .filter_map(|(_, place)| {
                let waiting = self.waiting.get(place)?;
                Some(waiting.settled(Outcome::Expired, Some(waiting.expired())))
            })
            .collect();
        if !over.is_empty() {
            return Next::Expired(over);
        }
        let expires =
            lane.expires.first().map(|(not_after, _)| not_after.since(now) + Duration::from_millis(1));
        let due = lane.due.first().filter(|_| is_open).and_then(|(_, place)| self.waiting.get(place));
        match due {
            Some(waiting) if waiting.not_before <= now || now < waiting.since => Next::Due(waiting.clone()),
            Some(waiting) => {
                let due = waiting.not_before.since(now);
                Next::Wait(Some(expires.map_or(due, |expires| expires.min(due))))
            }
            None => Next::Wait(expires),
        }
    }

    /// Those of the channels on which this message is not known.
    pub fn unknown(&self, addressed: &Addressed) -> Vec<ChannelName> {
        let mut channels: Vec<ChannelName> = Vec::new();
        for channel in &addressed.channels {
            let id = DeliveryId::of(channel, addressed.message.id());
            if !self.known.contains_key(&id) && !channels.contains(channel) {
                channels.push(channel.clone());
            }
        }
        channels
    }

    /// How many wait, and the bytes of their messages.
    pub fn size(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// How many that are over are known.
    pub fn remembered(&self) -> usize {
        self.forget.len()
    }

    /// Each channel, with the number of those that wait for it.
    pub fn lanes(&self) -> impl Iterator<Item = (&ChannelName, &Lane)> {
        self.lanes.iter()
    }

    /// Lines that say all of this.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        self.enqueued_entries()
            .chain(self.failed_entries())
            .chain(self.settled_entries())
            .chain(self.channel_entries())
    }

    /// A line for each message: its deliveries have numbers that follow each other.
    fn enqueued_entries(&self) -> impl Iterator<Item = Entry> {
        let mut waiting = self.waiting.values().peekable();
        std::iter::from_fn(move || {
            let first = waiting.next()?;
            let mut channels = vec![first.channel.clone()];
            while let Some(next) = waiting.next_if(|next| Arc::ptr_eq(&next.message, &first.message)) {
                channels.push(next.channel.clone());
            }
            let message = Message::clone(&first.message);
            Some(Entry::Enqueued { at: first.enqueued, messages: vec![Addressed { channels, message }] })
        })
    }

    fn failed_entries(&self) -> impl Iterator<Item = Entry> {
        self.waiting.values().filter_map(|waiting| {
            Some(Entry::Failed {
                at: waiting.since,
                channel: waiting.channel.clone(),
                failures: waiting.failures,
                id: waiting.message.id().to_owned(),
                not_before: waiting.not_before,
                why: waiting.why.clone()?,
            })
        })
    }

    fn settled_entries(&self) -> impl Iterator<Item = Entry> {
        self.forget.iter().filter_map(|(at, id)| match self.known.get(id) {
            Some(Known::Settled(settled)) => {
                Some(Entry::Settled { at: *at, deliveries: vec![settled.clone()] })
            }
            Some(Known::Waiting(_)) | None => None,
        })
    }

    /// At the end, because it stands for all before.
    fn channel_entries(&self) -> impl Iterator<Item = Entry> {
        self.lanes.iter().map(|(channel, lane)| Entry::Channel {
            channel: channel.clone(),
            delivered: lane.delivered,
            given_up: lane.given_up,
            last_error: lane.last_error.clone(),
        })
    }
}

impl Lane {
    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }
}

impl Waiting {
    /// This delivery, over.
    pub fn settled(&self, outcome: Outcome, why: Option<String>) -> Settled {
        let (id, not_after) = (self.message.id().to_owned(), self.message.not_after());
        Settled { channel: self.channel.clone(), id, not_after, outcome, why }
    }

    /// Why it is given up when its time is over.
    fn expired(&self) -> String {
        match &self.why {
            None => "not told in time".to_owned(),
            Some(why) => format!("not told in time; failed tries: {}, the last: {why}", self.failures),
        }
    }
}

/// When a delivery that is over need not be known any more: were it enqueued again, its time would be over.
fn forget_at(settled: &Settled) -> UnixMillis {
    settled.not_after.after(limits::REMEMBER)
}
