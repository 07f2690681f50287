//! The outbox against a plain model of it: lists that are searched from end to end, in memory.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use counterfoil_notify::*;
use far_side::*;
use proptest::prelude::*;

const RETRIES: Retries = Retries { tries: 3, first: Duration::from_secs(1), most: Duration::from_secs(3) };
const CHANNELS: [&str; 2] = ["a", "b"];

/// What is done, by a test or by the world.
#[derive(Clone, Debug)]
enum Act {
    /// These messages, by number, to these channels, with so many seconds to live.
    Enqueue(Vec<(u8, u8)>, u64),
    /// The next on a channel, whose far side answers so.
    Deliver(usize, Answer),
    /// So many milliseconds go by.
    Pass(u64),
    /// The process ends, and another opens the outbox.
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Take,
    Later,
    LaterAfter(u64),
    Never,
}

fn act() -> impl Strategy<Value = Act> {
    let answer = prop_oneof![
        3 => Just(Answer::Take),
        3 => Just(Answer::Later),
        1 => (0..5_u64).prop_map(Answer::LaterAfter),
        1 => Just(Answer::Never),
    ];
    prop_oneof![
        3 => (prop::collection::vec((0..6_u8, 1..4_u8), 1..4), 0..8_u64).prop_map(|(of, live)| Act::Enqueue(of, live)),
        6 => (0..2_usize, answer).prop_map(|(channel, answer)| Act::Deliver(channel, answer)),
        3 => (0..2_500_u64).prop_map(Act::Pass),
        1 => Just(Act::Reopen),
    ]
}

/// A delivery as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    channel: usize,
    not_after: u64,
    not_before: u64,
    failures: u32,
    over: Option<Outcome>,
}

#[derive(Default)]
struct Model {
    now: u64,
    /// In the order in which they came.
    known: Vec<Known>,
    /// Of each channel: failures on end, and until when it is left alone.
    channels: [(u32, u64); 2],
    told: Vec<(String, String)>,
}

fn wait(failures: u32) -> u64 {
    [1_000, 2_000, 3_000][(failures as usize).min(3) - 1]
}

impl Model {
    fn enqueue(&mut self, of: &[(u8, u8)], not_after: u64) -> Enqueued {
        let mut enqueued = Enqueued::default();
        for (message, channels) in of {
            for channel in 0..2 {
                if channels & (1 << channel) == 0 {
                    continue;
                }
                let id = format!("m{message}");
                if self.known.iter().any(|known| known.id == id && known.channel == channel) {
                    enqueued.known += 1;
                    continue;
                }
                enqueued.new += 1;
                let (not_before, failures, over) = (self.now, 0, None);
                self.known.push(Known { id, channel, not_after, not_before, failures, over });
            }
        }
        enqueued
    }

    fn deliver(&mut self, channel: usize, answer: Answer) -> Step {
        let now = self.now;
        let mut over: Vec<&mut Known> =
            self.known.iter_mut().filter(|of| of.waits(channel) && of.not_after < now).collect();
        if !over.is_empty() {
            over.iter_mut().for_each(|known| known.over = Some(Outcome::Expired));
            return Step::Done;
        }
        let paused = self.channels[channel].1;
        let expires = self.known.iter().filter(|of| of.waits(channel)).map(|of| of.not_after + 1).min();
        if paused > now {
            let until = expires.map_or(paused, |expires| expires.min(paused));
            return Step::Wait(Some(Duration::from_millis(until - now)));
        }
        let due = self.known.iter_mut().filter(|of| of.waits(channel)).min_by_key(|of| of.not_before);
        let Some(due) = due else { return Step::Wait(None) };
        if due.not_before > now {
            let until = due.not_before.min(expires.unwrap());
            return Step::Wait(Some(Duration::from_millis(until - now)));
        }
        self.told.push((DeliveryId::of(&name(CHANNELS[channel]), &due.id).to_string(), due.id.clone()));
        match answer {
            Answer::Take => due.over = Some(Outcome::Delivered),
            Answer::Never => due.over = Some(Outcome::Refused),
            Answer::Later | Answer::LaterAfter(_) => {}
        }
        if due.over.is_some() {
            self.channels[channel] = (0, 0);
            return Step::Done;
        }
        let after = if let Answer::LaterAfter(seconds) = answer { seconds * 1000 } else { 0 };
        let failures = self.channels[channel].0 + 1;
        self.channels[channel] = (failures, now + wait(failures).max(after));
        due.failures += 1;
        let next = now + wait(due.failures).max(after);
        if due.failures == RETRIES.tries {
            due.over = Some(Outcome::Exhausted);
        } else if next > due.not_after {
            due.over = Some(Outcome::Expired);
        } else {
            due.not_before = next;
        }
        Step::Done
    }

    fn count(&self, channel: usize, of: impl Fn(Option<Outcome>) -> bool) -> usize {
        self.known.iter().filter(|known| known.channel == channel && of(known.over)).count()
    }
}

impl Known {
    fn waits(&self, channel: usize) -> bool {
        self.channel == channel && self.over.is_none()
    }
}

/// The real one, whose channels answer what they are told.
struct Real {
    clock: Hand,
    log: Log,
    answer: Arc<Mutex<Answer>>,
}

impl Real {
    fn open(&self, dir: &Path) -> Outbox {
        let channels = CHANNELS.map(|of| {
            let answer = Arc::clone(&self.answer);
            let channel = scripted(&self.log, move |_| match *answer.lock().unwrap() {
                Answer::Take => Ok(()),
                Answer::Never => Err(Failure::never("never")),
                Answer::Later => Err(Failure::retry("later")),
                Answer::LaterAfter(seconds) => {
                    Err(Failure::Retry { why: "later".to_owned(), after: Some(Duration::from_secs(seconds)) })
                }
            });
            (name(of), channel)
        });
        Outbox::open(dir, channels.into(), self.clock.config(RETRIES)).unwrap()
    }
}

fn addressed(of: &[(u8, u8)], not_after: u64) -> Vec<Addressed> {
    of.iter()
        .map(|(message, channels)| {
            let to_channels: Vec<&str> = (0..2)
                .filter(|channel| channels & (1 << channel) != 0)
                .map(|channel| CHANNELS[channel])
                .collect();
            to(&to_channels, until(&format!("m{message}"), not_after))
        })
        .collect()
}

fn agree(outbox: &Outbox, model: &Model, real: &Real) -> Result<(), TestCaseError> {
    prop_assert_eq!(&*real.log.lock().unwrap(), &model.told);
    let status = outbox.status();
    for (at, channel) in CHANNELS.iter().enumerate() {
        let of = &status.channels[&name(channel)];
        let delivered = model.count(at, |over| over == Some(Outcome::Delivered)) as u64;
        let given_up = model.count(at, |over| over.is_some_and(|over| over != Outcome::Delivered)) as u64;
        prop_assert_eq!(
            (of.waiting, of.delivered, of.given_up),
            (model.count(at, |over| over.is_none()), delivered, given_up)
        );
    }
    prop_assert_eq!(status.waiting, model.known.iter().filter(|of| of.over.is_none()).count());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_outbox_does_what_the_model_does(acts in prop::collection::vec(act(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let real = Real { clock: Hand::default(), log: Log::default(), answer: Arc::new(Mutex::new(Answer::Take)) };
        let mut model = Model::default();
        let mut outbox = real.open(dir.path());
        for act in acts {
            match act {
                Act::Enqueue(of, live) => {
                    let not_after = model.now + live * 1000;
                    let enqueued = outbox.enqueue(&addressed(&of, not_after)).unwrap();
                    prop_assert_eq!(enqueued, model.enqueue(&of, not_after));
                }
                Act::Deliver(channel, answer) => {
                    *real.answer.lock().unwrap() = answer;
                    let step = outbox.deliver_next(&name(CHANNELS[channel])).unwrap();
                    prop_assert_eq!(step, model.deliver(channel, answer));
                }
                Act::Pass(millis) => {
                    model.now += millis;
                    real.clock.set(model.now);
                }
                Act::Reopen => {
                    drop(outbox);
                    outbox = real.open(dir.path());
                    // A pause is not written down: the far side may have been mended meanwhile.
                    model.channels = Default::default();
                }
            }
            agree(&outbox, &model, &real)?;
        }
    }
}
