//! A raw log and a log of records under load for a while, with readers, a witness, and restarts of all of them, most by
//! `kill -9`: nothing acknowledged is lost, every checkpoint is of one tree, and neither memory nor descriptors drift.
//!
//! Here it takes about a minute, at a modest rate. `cargo xtask soak` runs it for longer, at 70 % of the capacity that it
//! measures first, and prints the figures: it sets `COUNTERFOIL_SOAK_MINUTES`, and ends what it started by closing standard
//! input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod client;
#[path = "../common/mod.rs"]
mod common;
#[path = "../load/mod.rs"]
mod load;
mod processes;
mod records;
mod seen;
mod traffic;

use std::{
    env, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use client::{Client, Log};
use common::Desk;
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_tlog::{LeafIndex, Policy, TreeHead};
use counterfoil_witness::Kept;
use processes::{End, PATIENCE, Server, Witness};
use rustix::process::Signal;
use seen::{Fault, Seen};
use serde_json::json;
use traffic::Crew;

/// The share of the capacity that is asked for.
const SHARE: f64 = 0.7;
/// How long the capacity is measured.
const CALIBRATION: Duration = Duration::from_secs(15);
/// Descriptors that an idle server may have over those with which it started: connections to witnesses, and files that are
/// opened when they are first used.
const SPARE_DESCRIPTORS: usize = 8;

/// Bytes that the log itself may take for each entry, once the cache of its index is full: the index keeps in memory where
/// each page is, with some of the changes to it.
const GROWTH: i64 = 128;

/// How hard, and for how long.
struct Settings {
    /// From one `kill -9` of the servers to the next.
    period: Duration,
    periods: usize,
    writers: usize,
    readers: usize,
    /// Adds a second of all writers; what the capacity gives if there is none.
    rate: Option<f64>,
}

/// The server of the raw log while nobody asks for anything.
struct Idle {
    size: usize,
    memory: u64,
    descriptors: usize,
}

/// Everything that runs.
struct Soak<'d> {
    settings: Settings,
    desk: &'d Desk,
    log: Log<'d>,
    records: Server<'d>,
    crew: Crew,
    ended: Arc<AtomicBool>,
    started: Instant,
}

/// What came out of it, beside what was seen.
#[derive(Default)]
struct Outcome {
    capacity: Option<f64>,
    rate: f64,
    /// Acknowledged a second while the server ran, without the pauses.
    reached: f64,
    /// Descriptors of the server of the raw log before anybody asked.
    fresh: usize,
    idle: Vec<Idle>,
    kills: usize,
    stops: usize,
    witness: usize,
    longest: Duration,
    checkpoints: Vec<Vec<u8>>,
}

#[test]
fn logs_under_load_that_are_killed_again_and_again_lose_nothing_and_do_not_grow() {
    let settings = Settings::from_env();
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    desk.good(&["init", "bytes", "--mode", "raw", "--origin", "example.org/bytes"]);
    let key = desk.read("bytes/log.vkey");
    let (mut witness, policy) = Witness::start(&desk, key.trim());
    desk.write("witnesses.policy", &policy);
    let server = Server::start(&desk, vec!["-C", "bytes", "--witness-policy", "witnesses.policy"]);
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let soak = Soak {
        settings,
        desk: &desk,
        log: Log { server, policy, seen: Seen::default() },
        records: Server::start(&desk, vec!["-C", "work"]),
        crew: Crew::default(),
        ended: ended(),
        started: Instant::now(),
    };
    let (mut outcome, records) = soak.run(&mut witness);
    let passed = soak.account(&mut outcome, &records);
    soak.say(&outcome, &records, passed);

    for fault in Fault::ALL {
        assert_eq!(soak.log.seen.count(fault), 0, "{fault}");
    }
    assert!(passed, "the audits found something");
    assert!(outcome.descriptors() <= SPARE_DESCRIPTORS, "{} more descriptors", outcome.descriptors());
    assert!(!records.is_empty() && outcome.kills >= 2 && outcome.witness >= 2);
}

impl Settings {
    fn from_env() -> Self {
        let Ok(minutes) = env::var("COUNTERFOIL_SOAK_MINUTES") else {
            let (period, periods) = (Duration::from_secs(10), 4);
            return Self { period, periods, writers: 8, readers: 2, rate: Some(200.0) };
        };
        let minutes: u64 = minutes.parse().expect("COUNTERFOIL_SOAK_MINUTES is a number");
        let periods = (minutes / 2).max(4);
        let period = Duration::from_secs(60 * minutes / periods);
        Self { period, periods: usize::try_from(periods).unwrap(), writers: 128, readers: 4, rate: None }
    }
}

/// Set when this has to end: by a signal, or because whoever started it has gone.
fn ended() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal_hook::flag::register(signal.as_raw(), Arc::clone(&ended)).unwrap();
    }
    if env::var_os("COUNTERFOIL_SOAK_MINUTES").is_some() {
        let ended = Arc::clone(&ended);
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            ended.store(true, Ordering::Relaxed);
        });
    }
    ended
}

/// Ends what a thread that failed would leave running.
struct Abandoned<'s, 'd>(&'s Soak<'d>);

impl Drop for Abandoned<'_, '_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.crew.abandon();
            self.0.log.server.abandon();
            self.0.records.abandon();
        }
    }
}

impl<'d> Soak<'d> {
    /// Load, readers and restarts, until the time is over and every writer has its last answer.
    fn run(&self, witness: &mut Witness<'d>) -> (Outcome, Vec<UnverifiedRecord>) {
        let mut outcome = Outcome { fresh: self.log.server.descriptors(), ..Outcome::default() };
        let (crew, log) = (&self.crew, &self.log);
        let records = thread::scope(|scope| {
            let _abandoned = Abandoned(self);
            for worker in 0..self.settings.writers + self.settings.readers {
                let (working, seed) = (crew.join(), worker as u64);
                let work = if worker < self.settings.writers { traffic::write } else { traffic::read };
                scope.spawn(move || {
                    let _working = working;
                    work(crew, log, seed);
                });
            }
            let working = crew.join();
            let records = scope.spawn(move || {
                let _working = working;
                records::write(crew, self.desk, &self.records, &log.seen)
            });
            outcome.rate = self.settings.rate.unwrap_or_else(|| {
                let capacity = self.capacity();
                outcome.capacity = Some(capacity);
                SHARE * capacity
            });
            crew.set_rate(outcome.rate, self.settings.writers);
            let mut adding = (0, Duration::ZERO);
            for period in 0..self.settings.periods {
                let (before, started) = (log.seen.len(), Instant::now());
                self.period(period, witness, &mut outcome);
                adding = (adding.0 + log.seen.len() - before, adding.1 + started.elapsed());
                self.restart(period, &mut outcome);
            }
            outcome.reached = adding.0 as f64 / adding.1.as_secs_f64();
            crew.finish();
            records.join().unwrap()
        });
        (outcome, records)
    }

    /// How many adds a second are acknowledged if nobody waits between them, while readers read.
    fn capacity(&self) -> f64 {
        self.note("measuring the capacity");
        let (before, started) = (self.log.seen.len(), Instant::now());
        self.wait(CALIBRATION);
        (self.log.seen.len() - before) as f64 / started.elapsed().as_secs_f64()
    }

    /// Load up to the next kill: the witness is started again, and once everybody pauses.
    fn period(&self, period: usize, witness: &mut Witness<'d>, outcome: &mut Outcome) {
        let quarter = self.settings.period / 4;
        self.wait(quarter);
        let how = if period.is_multiple_of(2) { End::Kill } else { End::Stop };
        witness.restart(how);
        outcome.witness += 1;
        self.note(&format!("the witness was started again after {how:?}"));
        self.wait(2 * quarter);
        outcome.idle.push(self.idle(outcome.fresh));
        // Any checkpoint will do: an audit has to find it in the log.
        let mut head = TreeHead::EMPTY;
        outcome.checkpoints.extend(Client::new(&self.log).follow(&mut head, true));
        self.wait(quarter);
    }

    /// `kill -9` of both servers under load; now and then they are told to stop as well.
    fn restart(&self, period: usize, outcome: &mut Outcome) {
        let ways = if period % 3 == 1 { &[End::Kill, End::Stop][..] } else { &[End::Kill] };
        for how in ways {
            self.is_adding();
            let took = self.log.server.restart(*how).max(self.records.restart(*how));
            outcome.longest = outcome.longest.max(took);
            self.note(&format!("after {how:?} the servers were there again within {took:.1?}"));
            *(if *how == End::Kill { &mut outcome.kills } else { &mut outcome.stops }) += 1;
        }
        self.is_adding();
    }

    /// Has everybody pause and hang up, and looks at the server of the raw log.
    fn idle(&self, fresh: usize) -> Idle {
        let idle = self.crew.pause(|| {
            let (server, started) = (&self.log.server, Instant::now());
            // It notices by and by that nobody is connected any more.
            while server.descriptors() > fresh + SPARE_DESCRIPTORS && started.elapsed() < PATIENCE / 2 {
                self.wait(Duration::from_millis(20));
            }
            Idle { size: self.log.seen.len(), memory: server.memory(), descriptors: server.descriptors() }
        });
        self.note(&format!(
            "idle with {} entries: {} MiB, {} descriptors",
            idle.size,
            idle.memory >> 20,
            idle.descriptors
        ));
        idle
    }

    /// Waits until entries are acknowledged.
    fn is_adding(&self) {
        let (before, started) = (self.log.seen.len(), Instant::now());
        while self.log.seen.len() == before {
            assert!(started.elapsed() < PATIENCE, "nothing is acknowledged any more");
            self.wait(Duration::from_millis(10));
        }
    }

    fn wait(&self, time: Duration) {
        let started = Instant::now();
        while let Some(left) = time.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
            assert!(!self.ended.load(Ordering::Relaxed), "it was told to end");
            thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    fn note(&self, what: &str) {
        eprintln!(
            "{:>5.0} s {:>9} acknowledged  {what}",
            self.started.elapsed().as_secs_f64(),
            self.log.seen.len()
        );
    }
}

impl Soak<'_> {
    /// Finds everything that was seen in the logs as they are in the end; whether audits of both pass.
    fn account(&self, outcome: &mut Outcome, records: &[UnverifiedRecord]) -> bool {
        let (client, seen, started) = (Client::new(&self.log), &self.log.seen, Instant::now());
        let (number, mut witnessed) = (self.crew.number(), TreeHead::EMPTY);
        let last = self.until("the last entry is witnessed", || {
            let index = client.add_witnessed(number)?;
            client.prove((index, number), &mut witnessed)?.then_some(index)
        });
        outcome.idle.push(self.idle(outcome.fresh));
        self.log.server.end(End::Stop);
        self.kept();
        self.log.server.start_again();
        let mut head = TreeHead::EMPTY;
        self.until("a checkpoint", || client.follow(&mut head, true));
        if head.size.0 <= last {
            seen.fault(Fault::Inconsistent, format!("/checkpoint has size {} after entry {last}", head.size));
        }
        self.note(&format!("reading all {} entries", head.size));
        seen.compare(client.all(head.size));

        load::all_are_there(self.desk, &self.records.url(), records, "in the end");
        let passed = self.audit(outcome);
        drop(client);
        self.log.server.end(End::Stop);
        self.records.end(End::Stop);
        self.note(&format!("compared and audited within {:.0?}", started.elapsed()));
        passed
    }

    fn audit(&self, outcome: &Outcome) -> bool {
        let mut audit =
            vec!["log".to_owned(), "audit".to_owned(), self.log.server.url(), "--log-key".to_owned()];
        audit.push(self.desk.read("bytes/log.vkey").trim().to_owned());
        for (at, checkpoint) in outcome.checkpoints.iter().enumerate() {
            let file = format!("{at}.checkpoint");
            self.desk.write(&file, checkpoint);
            audit.extend(["--since".to_owned(), file]);
        }
        let raw = self.desk.run(&audit.iter().map(String::as_str).collect::<Vec<_>>());
        let records = self.desk.run(&["log", "audit", &self.records.url(), "-C", "work"]);
        let passed = [&raw, &records].map(|audit| audit.code == 0);
        for audit in [raw, records].iter().filter(|audit| audit.code != 0) {
            eprintln!("{}", audit.shown());
        }
        passed == [true, true]
    }

    /// Takes down every checkpoint that the server kept as witnessed.
    fn kept(&self) {
        let kept = Kept::open_to_read(&self.desk.path("bytes/log"), "example.org/bytes").unwrap();
        let kept = kept.expect("checkpoints were witnessed");
        let mut next = LeafIndex(0);
        while let Some(checkpoint) = kept.covering(next).unwrap() {
            next = LeafIndex(checkpoint.head.size.0);
            let signed = self.log.policy.open(checkpoint.note).unwrap();
            self.log.policy.check_quorum(&signed).unwrap();
            self.log.seen.head(&signed.checkpoint().head());
        }
    }

    /// Prints the figures, one JSON line each.
    fn say(&self, outcome: &Outcome, records: &[UnverifiedRecord], passed: bool) {
        let seen = &self.log.seen;
        let how = format!(
            "{:.0} s, {} writers, {} readers, one writer of records, kill -9 every {} s",
            self.started.elapsed().as_secs_f64(),
            self.settings.writers,
            self.settings.readers,
            self.settings.period.as_secs()
        );
        let count = |figure: &str, value: usize| say(figure, value, value, &how);
        let never = |figure: &str, value: usize| say(figure, value, 0, &how);
        let counted = |count: &AtomicUsize| count.load(Ordering::Relaxed);

        count("soak: entries acknowledged", seen.len());
        count("soak: records acknowledged in a log of records beside", records.len());
        for fault in Fault::ALL {
            never(&format!("soak: {fault}"), seen.count(fault));
        }
        never("soak: audits of both logs that found something", usize::from(!passed));
        count("soak: entries added again and answered by their first index", counted(&seen.repeated));
        count("soak: checkpoints proven to follow the one before", counted(&seen.followed));
        count(
            "soak: trees under the witness, proven consistent with the one before",
            counted(&seen.witnessed),
        );
        count("soak: tree heads of different sizes, compared with the entries", seen.heads());
        count("soak: inclusion proofs verified", counted(&seen.proven));
        count("soak: kill -9 of the servers under load", outcome.kills);
        count("soak: stops of the servers under load", outcome.stops);
        count("soak: restarts of the witness", outcome.witness);
        count("soak: requests that were told to come back", counted(&seen.busy));
        never("soak: requests without an answer that met no restart", counted(&seen.unanswered));
        let longest = outcome.longest.as_millis();
        say("soak: milliseconds of the longest restart of a server", longest, PATIENCE.as_millis(), &how);
        let fresh = format!("{} when it started; {how}", outcome.fresh);
        let more = "soak: descriptors of the idle server, more than when it started";
        say(more, outcome.descriptors(), SPARE_DESCRIPTORS, &fresh);
        // In a minute at a low rate there are too few entries to tell.
        if let Some(capacity) = outcome.capacity {
            let grew = "soak: bytes by which the idle server grew for each entry";
            say(grew, outcome.growth(), GROWTH, &outcome.memory());
            count("soak: adds a second that the server is capable of", capacity as usize);
            count("soak: adds a second that were asked for", outcome.rate as usize);
        }
        count("soak: adds a second that were acknowledged between restarts", outcome.reached as usize);
    }

    #[track_caller]
    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            match look() {
                Some(found) => return found,
                None => assert!(started.elapsed() < PATIENCE, "not in time: {what}"),
            }
            self.wait(Duration::from_millis(20));
        }
    }
}

/// Prints a figure that has to be no more than its bar.
fn say<N: TryInto<i64, Error: std::fmt::Debug>>(figure: &str, value: N, bar: N, how: &str) {
    let [value, bar] = [value, bar].map(|number| number.try_into().unwrap());
    let holds = value <= bar;
    println!("{}", json!({"figure": figure, "value": value, "bar": bar, "holds": holds, "how": how}));
}

impl Outcome {
    /// The most descriptors that an idle server had over those at first.
    fn descriptors(&self) -> usize {
        self.idle.iter().map(|idle| idle.descriptors.saturating_sub(self.fresh)).max().unwrap_or(0)
    }

    /// By how many bytes the server of the last period was larger than that of one in the middle when both were equally old
    /// and nobody asked for anything, for each entry that came between. Up to the middle the caches fill.
    fn growth(&self) -> i64 {
        match &self.idle[(self.idle.len() - 1) / 2..] {
            [first, .., last, _in_the_end] => {
                let [before, after] = [first, last].map(|idle| idle.memory.cast_signed());
                (after - before) / (last.size - first.size).max(1) as i64
            }
            _ => 0,
        }
    }

    fn memory(&self) -> String {
        let points = self.idle.iter().map(|idle| format!("{} MiB with {}", idle.memory >> 20, idle.size));
        format!("of the idle server, VmRSS: {}", points.collect::<Vec<_>>().join(", "))
    }
}
