//! A log and its witnesses, over real sockets: quorums, witnesses that are down, restart, lie, or know another tree.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::*;
use counterfoil_tlog::{
    Checkpoint, Hash, LeafIndex, MemoryTree, Policy, PosixSeconds, SeedSigner, Signer as _, TreeSize,
    UnverifiedNote, consistency, cosign,
};
use counterfoil_witness::{
    AlarmKind, BoxError, Feeder, FeederConfig, FeederError, Health, Kept, NotWitnessed, Proofs, WatchedLog,
    Witness, system_clock,
};

/// A log in memory.
struct Grown {
    origin: &'static str,
    tree: Mutex<MemoryTree>,
}

impl Grown {
    fn new(origin: &'static str, size: u64) -> Arc<Self> {
        Arc::new(Self { origin, tree: Mutex::new(tree(0, size)) })
    }

    /// Adds a leaf, and gives the new checkpoint.
    fn grow(&self) -> UnverifiedNote {
        let mut tree = self.tree.lock().unwrap();
        let index = tree.size().0;
        tree.push(leaf(0, index));
        note(self.origin, &tree)
    }

    fn note(&self) -> UnverifiedNote {
        note(self.origin, &self.tree.lock().unwrap())
    }
}

impl Proofs for Grown {
    fn root_at(&self, size: TreeSize) -> Result<Hash, BoxError> {
        Ok(self.tree.lock().unwrap().head_at(size).ok_or("beyond the tree")?.root)
    }

    fn consistency_proof(&self, old: TreeSize, new: TreeSize) -> Result<Vec<Hash>, BoxError> {
        Ok(consistency::prove(old, new, &*self.tree.lock().unwrap())?)
    }
}

/// The policy of a log with these witnesses, each with both of its keys at its address, and a quorum of so many of them.
fn policy(origin: &str, witnesses: &[(u8, String)], quorum: usize) -> Policy {
    let mut text = format!("log {}\n", log_signer(origin).key());
    for (number, url) in witnesses {
        let of = keys(&cosigners(*number));
        text.push_str(&format!("witness e{number} {} {url}\nwitness m{number} {} {url}\n", of[0], of[1]));
        text.push_str(&format!("group g{number} all e{number} m{number}\n"));
    }
    let groups: String = witnesses.iter().map(|(number, _)| format!(" g{number}")).collect();
    text.push_str(&format!("group all-of-them {quorum}{groups}\nquorum all-of-them\n"));
    Policy::parse(text.as_bytes()).unwrap()
}

fn config(policy: Policy, origin: &str, dir: &std::path::Path) -> FeederConfig {
    let kept = Kept::open(dir, origin).unwrap();
    FeederConfig {
        back_off: (Duration::from_millis(50), Duration::from_millis(400)),
        min_interval: Duration::from_millis(1),
        deadline: Duration::from_secs(2),
        ..FeederConfig::new(policy, watched(origin).keys, kept)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn witness_at(number: u8, dir: &std::path::Path) -> Running {
    Running::start(open(number, &dir.join(format!("w{number}")), &[ORIGIN]).unwrap())
}

/// Waits until it is so.
fn until(feeder: &Feeder, is_so: impl Fn(&Health) -> bool) -> Health {
    let deadline = soon();
    loop {
        let health = feeder.health();
        if is_so(&health) {
            return health;
        }
        assert!(Instant::now() < deadline, "{health:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn two_of_three_witnesses_are_enough_and_what_they_cosigned_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let running = [witness_at(1, dir.path()), witness_at(2, dir.path())];
    let witnesses = [(1, running[0].url()), (2, running[1].url()), (3, nobody())];
    let policy = policy(ORIGIN, &witnesses, 2);
    let log = Grown::new(ORIGIN, 3);
    let feeder = Feeder::start(
        config(policy.clone(), ORIGIN, dir.path()),
        log.clone() as Arc<dyn Proofs>,
        &log.note(),
    )
    .unwrap();
    for size in 4..=40 {
        let offered = Instant::now();
        feeder.offer(&log.grow()).unwrap();
        assert!(offered.elapsed() < Duration::from_secs(1), "offering waits for nobody");
        if size % 4 == 0 {
            let kept = feeder.wait(LeafIndex(size - 1), soon()).unwrap();
            let opened = policy.open(kept.note.clone()).unwrap();
            policy.check_quorum(&opened).unwrap();
            assert!(opened.head().size.0 >= size && opened.unknown() == 0);
        }
    }
    let health = until(&feeder, |health| health.witnesses[2].error.is_some());
    assert!(health.witnesses.iter().filter(|witness| witness.time.is_some()).count() == 2, "{health:?}");
    assert!(matches!(
        feeder.wait(LeafIndex(40), Instant::now() + Duration::from_millis(50)),
        Err(NotWitnessed::Late { index: LeafIndex(40) })
    ));
    drop(feeder);
    // For good: the first that covered each index that somebody waited for.
    let kept = Kept::open(dir.path(), ORIGIN).unwrap();
    assert_eq!(kept.size(), TreeSize(40));
    for index in (3..40).step_by(4) {
        assert_eq!(kept.covering(LeafIndex(index)).unwrap().unwrap().head.size, TreeSize(index + 1));
    }
}

#[test]
fn a_log_that_grows_all_the_time_reaches_its_quorum() {
    let dir = tempfile::tempdir().unwrap();
    let running = [witness_at(1, dir.path()), witness_at(2, dir.path())];
    let policy = policy(ORIGIN, &[(1, running[0].url()), (2, running[1].url())], 2);
    let log = Grown::new(ORIGIN, 1);
    // The one is asked again at once, the other only after a while: they would never meet.
    let mut config = config(policy, ORIGIN, dir.path());
    config.min_interval = Duration::from_millis(30);
    config.keep_interval = Duration::from_millis(100);
    let feeder = Feeder::start(config, log.clone() as Arc<dyn Proofs>, &log.note()).unwrap();
    let (started, mut offered) = (Instant::now(), 0);
    let sizes = feeder.witnessed();
    let mut seen = std::collections::BTreeSet::new();
    while started.elapsed() < Duration::from_secs(2) {
        feeder.offer(&log.grow()).unwrap();
        seen.insert(*sizes.borrow());
        offered += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(seen.len() >= 5, "{seen:?} of {offered}");
    assert!(seen.len() <= 22, "kept once per interval, not each: {}", seen.len());
}

#[test]
fn an_unchanged_tree_is_cosigned_again_with_a_later_time() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicU64::new(NOW));
    let state = dir.path().join("w1");
    let witness = Witness::open(cosigners(1), vec![watched(ORIGIN)], &state, true, clock(&time)).unwrap();
    let running = Running::start(witness);
    let log = Grown::new(ORIGIN, 7);
    let mut config = config(policy(ORIGIN, &[(1, running.url())], 1), ORIGIN, dir.path());
    config.refresh = Duration::from_millis(100);
    config.clock = clock(&time);
    let feeder = Feeder::start(config, log.clone() as Arc<dyn Proofs>, &log.note()).unwrap();
    feeder.wait(LeafIndex(6), soon()).unwrap();
    time.fetch_add(60, Ordering::SeqCst);
    until(&feeder, |health| health.witnesses[0].time == Some(PosixSeconds(NOW + 60)));
    let cosigned = feeder.cosigned().unwrap();
    assert!(
        cosigned.quorum && cosigned.cosignatures.iter().all(|(_, time)| time.0 == NOW + 60),
        "{cosigned:?}"
    );
    // What is kept says when it was first known.
    let kept = feeder.latest_witnessed().unwrap().unwrap();
    assert_ne!(kept.note, cosigned.note);

    // A clock far ahead of ours is not believed.
    let ahead = Arc::new(AtomicU64::new(NOW + 301));
    let state = dir.path().join("w2");
    let witness = Witness::open(cosigners(2), vec![watched(ORIGIN)], &state, true, clock(&ahead)).unwrap();
    let running = Running::start(witness);
    time.store(NOW, Ordering::SeqCst);
    let other = dir.path().join("other");
    let mut config = self::config(policy(ORIGIN, &[(2, running.url())], 1), ORIGIN, &other);
    config.clock = clock(&time);
    let feeder = Feeder::start(config, log.clone() as Arc<dyn Proofs>, &log.note()).unwrap();
    let health = until(&feeder, |health| health.witnesses[0].refused_lines >= 2);
    assert!(health.witnesses[0].error.as_ref().unwrap().contains("later than"), "{health:?}");
    time.store(NOW + 1, Ordering::SeqCst);
    feeder.wait(LeafIndex(6), soon()).unwrap();
}

#[test]
fn restarts_of_either_side_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Grown::new(ORIGIN, 2);
    let running = witness_at(1, dir.path());
    let address = running.address;
    let policy = policy(ORIGIN, &[(1, running.url())], 1);
    let feeder = Feeder::start(
        config(policy.clone(), ORIGIN, dir.path()),
        log.clone() as Arc<dyn Proofs>,
        &log.note(),
    )
    .unwrap();
    feeder.wait(LeafIndex(1), soon()).unwrap();
    drop(running);
    let grown = log.grow();
    feeder.offer(&grown).unwrap();
    let late = feeder.wait(LeafIndex(2), Instant::now() + Duration::from_millis(200));
    assert!(matches!(late, Err(NotWitnessed::Late { .. })));
    let running = Running::start_at(address, open(1, &dir.path().join("w1"), &[ORIGIN]).unwrap());
    feeder.wait(LeafIndex(2), soon()).unwrap();
    drop(feeder);

    // A log that has forgotten what was witnessed asks from 0, is told 3, and goes on from there.
    let forgetful = dir.path().join("forgetful");
    let start = |dir: &std::path::Path, log: &Arc<Grown>| {
        Feeder::start(config(policy.clone(), ORIGIN, dir), log.clone() as Arc<dyn Proofs>, &log.note())
    };
    log.grow();
    let feeder = start(&forgetful, &log).unwrap();
    feeder.wait(LeafIndex(3), soon()).unwrap();
    assert_eq!(feeder.health().witnesses[0].error, None, "409 is no failure");
    drop(feeder);

    // One that was restored to what it was before does not start where this is known, and is told of it where not.
    let restored = Grown::new(ORIGIN, 3);
    assert!(matches!(start(&forgetful, &restored), Err(FeederError::LogBehind { kept: TreeSize(4), .. })));
    let forked = Grown::new(ORIGIN, 0);
    *forked.tree.lock().unwrap() = tree(9, 5);
    assert!(matches!(start(&forgetful, &forked), Err(FeederError::Forked { size: TreeSize(4) })));
    let feeder = start(&dir.path().join("restored"), &restored).unwrap();
    let alarmed = until(&feeder, |health| health.witnesses[0].alarm.is_some());
    let alarm = alarmed.witnesses[0].alarm.clone().unwrap();
    assert_eq!(alarm.kind, AlarmKind::Ahead { theirs: TreeSize(4), ours: TreeSize(3) });
    drop(feeder);
    let feeder = start(&dir.path().join("forked"), &forked).unwrap();
    let alarmed = until(&feeder, |health| health.witnesses[0].alarm.is_some());
    let alarm = alarmed.witnesses[0].alarm.clone().unwrap();
    assert_eq!(alarm.kind, AlarmKind::Different { size: TreeSize(4) });
    assert!(alarm.request.contains(forked.note().text()) && alarm.status == 422, "{alarm:?}");
    assert_eq!(running.witness.seen()[0].latest.unwrap().0, TreeSize(4));
}

/// Answers every request with what `answer` makes of its body, and counts them.
fn liar(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            if length == 0 || reader.read_exact(&mut body).is_err() {
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let (status, text) = answer(std::str::from_utf8(&body).unwrap());
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
            let _ = (&stream).write_all(format!("{head}{text}").as_bytes());
        }
    });
    (url, asked)
}

#[test]
fn a_witness_that_lies_counts_for_nothing_and_is_not_asked_in_a_loop() {
    let log = Grown::new(ORIGIN, 6);
    let signed = move |body: &str, number: u8, time: u64, other: bool| {
        let note = body.split_once("\n\n").unwrap().1;
        let text = UnverifiedNote::parse(note.as_bytes()).unwrap().text().to_owned();
        let checkpoint = match other {
            true => Checkpoint::new(ORIGIN, tree(5, 6).head()).unwrap(),
            false => Checkpoint::parse(&text).unwrap(),
        };
        let lines =
            cosigners(number).into_iter().map(|key| cosign(&checkpoint, PosixSeconds(time), &*key).unwrap());
        lines.map(|line| line.to_string()).collect::<String>()
    };
    type Lie = Box<dyn Fn(&str) -> (u16, String) + Send>;
    let alarm = |kind: AlarmKind| Some(kind);
    let ahead = AlarmKind::Ahead { theirs: TreeSize(i64::MAX as u64), ours: TreeSize(6) };
    let lies: Vec<(&str, Lie, Option<AlarmKind>)> = vec![
        ("absurd size", Box::new(|_| (409, format!("{}\n", i64::MAX))), alarm(ahead)),
        ("over any size", Box::new(|_| (409, format!("{}\n", u64::MAX))), None),
        ("no size", Box::new(|_| (409, "3".to_owned())), None),
        ("from 0 to 0", Box::new(|_| (409, "0\n".to_owned())), None),
        (
            "its size, always",
            Box::new(|_| (409, "4\n".to_owned())),
            alarm(AlarmKind::Different { size: TreeSize(4) }),
        ),
        (
            "proof refused",
            Box::new(|_| (422, String::new())),
            alarm(AlarmKind::Different { size: TreeSize(0) }),
        ),
        ("nothing", Box::new(|_| (200, String::new())), None),
        ("no lines", Box::new(|_| (200, "thanks\n".to_owned())), None),
        ("another's lines", Box::new(move |body| (200, signed(body, 8, NOW, false))), None),
        ("another tree", Box::new(move |body| (200, signed(body, 1, NOW, true))), None),
        ("no time", Box::new(move |body| (200, signed(body, 1, 0, false))), None),
        ("the future", Box::new(move |body| (200, signed(body, 1, NOW * 9, false))), None),
        ("a long answer", Box::new(|_| (200, "x".repeat(200_000))), None),
        ("unknown log", Box::new(|_| (404, "\u{1b}[31mwho?\n".to_owned())), None),
        ("bad signature", Box::new(|_| (403, "no\n".to_owned())), None),
        ("busy", Box::new(|_| (429, String::new())), None),
        ("broken", Box::new(|_| (500, String::new())), None),
        ("elsewhere", Box::new(|_| (302, String::new())), None),
    ];
    for (name, lie, kind) in lies {
        let dir = tempfile::tempdir().unwrap();
        let (url, asked) = liar(lie);
        let config = config(policy(ORIGIN, &[(1, url)], 1), ORIGIN, dir.path());
        let feeder = Feeder::start(config, log.clone() as Arc<dyn Proofs>, &log.note()).unwrap();
        let health = until(&feeder, |health| health.witnesses[0].error.is_some());
        let witness = &health.witnesses[0];
        assert_eq!(witness.alarm.as_ref().map(|alarm| alarm.kind), kind, "{name}: {witness:?}");
        assert!(!witness.error.as_ref().unwrap().contains('\u{1b}'), "{name}");
        std::thread::sleep(Duration::from_millis(150));
        let times = asked.load(Ordering::SeqCst);
        assert!((1..=5).contains(&times), "{name}: asked {times} times");
        assert_eq!(
            (feeder.health().witnesses[0].time, feeder.latest_witnessed().unwrap()),
            (None, None),
            "{name}"
        );
        assert!(feeder.cosigned().is_none());
    }
}

#[test]
fn unknown_lines_are_dropped_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (url, _) = liar(|body| {
        let note = UnverifiedNote::parse(body.split_once("\n\n").unwrap().1.as_bytes()).unwrap();
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        let grease = SeedSigner::ed25519_cosigner("grease.example", &[9; 32]).unwrap();
        let mut lines = vec![cosign(&checkpoint, PosixSeconds(5), &grease).unwrap()];
        // Its own key under the name of another.
        lines.push(
            cosign(&checkpoint, PosixSeconds(5), &SeedSigner::ed25519_cosigner("w2", &[101; 32]).unwrap())
                .unwrap(),
        );
        lines.extend(
            cosigners(1).iter().map(|key| cosign(&checkpoint, PosixSeconds(NOW - 9), &**key).unwrap()),
        );
        (200, lines.iter().map(ToString::to_string).collect())
    });
    let log = Grown::new(ORIGIN, 6);
    let policy = policy(ORIGIN, &[(1, url)], 1);
    let mut config = config(policy.clone(), ORIGIN, dir.path());
    config.clock = clock(&Arc::new(AtomicU64::new(NOW)));
    // Collected cosignatures, and whatever else a checkpoint carries, is not sent to witnesses.
    let mut lines = log.note().signatures().to_vec();
    let checkpoint = Checkpoint::parse(log.note().text()).unwrap();
    lines.extend(cosigners(7).iter().map(|key| cosign(&checkpoint, PosixSeconds(1), &**key).unwrap()));
    let decorated = UnverifiedNote::new(log.note().text(), lines).unwrap();
    let feeder = Feeder::start(config, log.clone() as Arc<dyn Proofs>, &decorated).unwrap();
    let kept = feeder.wait(LeafIndex(5), soon()).unwrap();
    assert_eq!(kept.note.signatures().len(), 3, "the log's line and two cosignatures: {}", kept.note);
    policy.check_quorum(&policy.open(kept.note).unwrap()).unwrap();
    assert_eq!(feeder.health().witnesses[0].unknown_lines, 2);
}

#[test]
fn two_organisations_watch_each_other() {
    const ORIGINS: [&str; 2] = ["log.example/a", "log.example/b"];
    let dir = tempfile::tempdir().unwrap();
    // The same seed for both in these tests: each log's key has its own name.
    let watch = |number: u8, origin: &str| {
        let logs = vec![WatchedLog { origin: origin.to_owned(), keys: watched(origin).keys }];
        let state = dir.path().join(format!("w{number}"));
        Running::start(Witness::open(cosigners(number), logs, &state, true, system_clock()).unwrap())
    };
    let running = [watch(1, ORIGINS[1]), watch(2, ORIGINS[0])];
    let logs = ORIGINS.map(|origin| Grown::new(origin, 1));
    let feeders: Vec<Feeder> = (0..2)
        .map(|at| {
            let other = &running[1 - at];
            let policy = policy(ORIGINS[at], &[(2 - at as u8, other.url())], 1);
            let own = dir.path().join(ORIGINS[at].replace('/', "-"));
            let config = config(policy, ORIGINS[at], &own);
            Feeder::start(config, logs[at].clone() as Arc<dyn Proofs>, &logs[at].note()).unwrap()
        })
        .collect();
    for size in 2..=12 {
        for (log, feeder) in logs.iter().zip(&feeders) {
            feeder.offer(&log.grow()).unwrap();
        }
        for feeder in &feeders {
            feeder.wait(LeafIndex(size - 1), soon()).unwrap();
        }
    }
    for (running, origin) in running.iter().zip([ORIGINS[1], ORIGINS[0]]) {
        let seen = running.witness.seen();
        assert_eq!((&*seen[0].origin, seen[0].latest.unwrap().0), (origin, TreeSize(12)));
    }
}
