//! Writers and readers: each a thread with connections of its own, that can be told to pause, and to finish.

use std::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use counterfoil_tlog::TreeHead;

use crate::{
    client::{Client, Log},
    seen::lock,
};

/// One add of so many is of an entry that was acknowledged before.
const REPEATED: u64 = 10;
/// Between two things that a reader does.
const READING: Duration = Duration::from_millis(20);

/// Those who work, as far as they have to know of each other.
#[derive(Default)]
pub struct Crew {
    gate: Mutex<Gate>,
    changed: Condvar,
    /// Nanoseconds between two adds of one writer; 0 for none.
    interval: AtomicU64,
    /// The number of the next new entry.
    next: AtomicU64,
}

#[derive(Default)]
struct Gate {
    paused: bool,
    over: bool,
    abandoned: bool,
    working: usize,
}

/// A worker, to its end.
pub struct Working<'c>(&'c Crew);

/// What a worker is told before each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Go on.
    GoOn,
    /// End what was begun, and begin nothing.
    Finish,
    /// End now.
    Leave,
}

impl Crew {
    /// One more works, until what this gives is dropped.
    pub fn join(&self) -> Working<'_> {
        lock(&self.gate).working += 1;
        Working(self)
    }

    /// Whether to go on. While all pause this waits, after `hang_up`.
    pub fn word(&self, hang_up: impl FnOnce()) -> Word {
        let mut gate = lock(&self.gate);
        if gate.paused && !gate.abandoned {
            hang_up();
            gate.working -= 1;
            self.changed.notify_all();
            gate = self.changed.wait_while(gate, |gate| gate.paused && !gate.abandoned).unwrap();
            gate.working += 1;
        }
        match *gate {
            Gate { abandoned: true, .. } => Word::Leave,
            Gate { over: true, .. } => Word::Finish,
            _ => Word::GoOn,
        }
    }

    /// Has all of them pause, calls `look` when they do, and has them go on.
    pub fn pause<T>(&self, look: impl FnOnce() -> T) -> T {
        let mut gate = lock(&self.gate);
        gate.paused = true;
        while gate.working > 0 {
            gate = self.changed.wait(gate).unwrap();
        }
        drop(gate);
        let seen = look();
        lock(&self.gate).paused = false;
        self.changed.notify_all();
        seen
    }

    /// They finish.
    pub fn finish(&self) {
        lock(&self.gate).over = true;
    }

    /// They leave at once.
    pub fn abandon(&self) {
        lock(&self.gate).abandoned = true;
        self.changed.notify_all();
    }

    /// All writers together add so many a second.
    pub fn set_rate(&self, rate: f64, writers: usize) {
        let interval = Duration::from_secs_f64(writers as f64 / rate);
        self.interval.store(u64::try_from(interval.as_nanos()).unwrap(), Ordering::Relaxed);
    }

    /// The number of an entry that nobody added.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        lock(&self.0.gate).working -= 1;
        self.0.changed.notify_all();
    }
}

/// Adds entries, each until it is acknowledged, and now and then one that was.
pub fn write(crew: &Crew, log: &Log<'_>, seed: u64) {
    let (mut client, mut random, mut due) = (Client::new(log), Random(seed), Instant::now());
    let mut begun = None;
    loop {
        match crew.word(|| client.hang_up()) {
            Word::Leave => return,
            Word::Finish if begun.is_none() => return,
            Word::GoOn | Word::Finish => {}
        }
        if begun.is_none() {
            wait(&mut due, Duration::from_nanos(crew.interval.load(Ordering::Relaxed)));
        }
        let earlier =
            log.seen.any(random.next()).filter(|_| begun.is_none() && random.next() % REPEATED == 0);
        match earlier {
            Some(earlier) => client.add_again(earlier),
            None => {
                let number = begun.unwrap_or_else(|| crew.number());
                begun = Some(number).filter(|number| client.add(*number).is_none());
            }
        }
    }
}

/// Follows `/checkpoint`; and proves in turn by the server's proofs and by tiles that what was acknowledged is there.
pub fn read(crew: &Crew, log: &Log<'_>, seed: u64) {
    let (mut client, mut random, mut due) = (Client::new(log), Random(seed), Instant::now());
    let (mut last, mut witnessed) = (TreeHead::EMPTY, TreeHead::EMPTY);
    for round in 0_u64.. {
        if crew.word(|| client.hang_up()) != Word::GoOn {
            return;
        }
        wait(&mut due, READING);
        match (round % 3, log.seen.any(random.next())) {
            (1, Some(earlier)) => drop(client.prove(earlier, &mut witnessed)),
            (2, Some(earlier)) => drop(client.read(earlier, &last)),
            _ => drop(client.follow(&mut last, round % 2 == 0)),
        }
    }
}

/// Waits until the next thing is due. What is late by a second is not made up for.
fn wait(due: &mut Instant, interval: Duration) {
    let now = Instant::now();
    *due = (*due + interval).max(now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
    thread::sleep(due.saturating_duration_since(now));
}

/// Numbers that are the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
