//! System calls of the real server that fail or that it does not survive, bits that flip, a second server, an index that is
//! overwritten under load: what was acknowledged is there afterwards, and an audit derives everything anew and finds every
//! checkpoint that was ever seen in one tree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod traced;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use common::{Desk, Serving, add, ask, copy};
use counterfoil_testkit::Effort;
use traced::{Fault, Point, Program, Seeded};

/// Cases that are tried at a time.
const WORKERS: usize = 4;

/// What writers and readers saw of a log.
#[derive(Default)]
struct Seen {
    acknowledged: BTreeMap<u64, String>,
    checkpoints: Vec<Vec<u8>>,
}

impl Seen {
    /// Writes from four threads at a time, until all is written or a writer is not answered.
    fn write(&mut self, url: &str, name: &str, each: usize) {
        let seen = Mutex::new(self);
        thread::scope(|scope| {
            for writer in 0..4 {
                let seen = &seen;
                scope.spawn(move || {
                    for number in 0..each {
                        let entry = format!("{name} {writer} {number}");
                        let Some(index) = add(url, &entry) else { return };
                        let checkpoint = ask(url, "GET", "/checkpoint", b"");
                        let mut seen = seen.lock().unwrap();
                        assert_eq!(
                            seen.acknowledged.insert(index, entry),
                            None,
                            "{index} was answered twice"
                        );
                        seen.note(checkpoint);
                    }
                });
            }
        });
    }

    fn note(&mut self, checkpoint: Option<Vec<u8>>) {
        let new = checkpoint.filter(|checkpoint| !self.checkpoints.contains(checkpoint));
        self.checkpoints.extend(new);
    }

    /// Finds all of it in the log that is served at `url`, and has an audit derive it anew. `name` is of the log's directory.
    fn find_in(&mut self, desk: &Desk, name: &str, url: &str, how: &str) {
        let checkpoint = ask(url, "GET", "/checkpoint", b"").expect(how);
        let size: u64 = String::from_utf8_lossy(&checkpoint).lines().nth(1).unwrap().parse().unwrap();
        self.note(Some(checkpoint));
        for (index, entry) in &self.acknowledged {
            assert!(*index < size, "entry {index} of {size}: {how}");
            assert_eq!(add(url, entry), Some(*index), "{how}");
        }
        let key = desk.read(&format!("{name}/log.vkey"));
        let mut audit =
            vec!["log".into(), "audit".into(), url.to_owned(), "--log-key".into(), key.trim().into()];
        for (at, checkpoint) in self.checkpoints.iter().enumerate() {
            let file = format!("{name}/{at}.checkpoint");
            desk.write(&file, checkpoint);
            audit.extend(["--since".to_owned(), file]);
        }
        let audited = desk.run(&audit.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(audited.code, 0, "{how}: {}", audited.shown());
    }
}

/// A stopped raw log named `log`, of as many entries, in a directory of its own.
fn stopped(entries: usize) -> (Desk, Seen) {
    let desk = Desk::new();
    desk.good(&["init", "log", "--mode", "raw", "--origin", "example.org/bytes"]);
    let (serving, url) = desk.serve_in("log");
    let mut seen = Seen::default();
    seen.write(&url, "before", entries / 4);
    assert_eq!(seen.acknowledged.len(), entries);
    drop(serving);
    (desk, seen)
}

/// Files below a directory, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Starts the server, writes over the end of a tile, and stops it; a system call fails meanwhile, or the server dies in it.
#[test]
fn a_system_call_that_fails_or_kills_loses_nothing_acknowledged() {
    if !traced::is_possible() {
        return;
    }
    let (desk, before) = stopped(240);
    copy(&desk.path("log"), &desk.path("counted"));
    let server = Program::server();
    let counted = traced::count(&server, &desk, "counted", |url| Seen::default().write(url, "new", 10));
    let cases = traced::sample(&counted, 1);
    let (next, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((point, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if survives(&desk, &before, point, *fault) {
                        fired.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let fired = fired.into_inner();
    // The occurrences of another run may be fewer by some.
    assert!(2 * fired > cases.len(), "{fired} of {}", cases.len());
    println!("count system calls of the server failed or killed in, none lost what was acknowledged {fired}");
}

/// One case, in a copy of the log; whether its occurrence was reached.
fn survives(desk: &Desk, before: &Seen, point: &Point, fault: Fault) -> bool {
    let name = format!("{}-{fault:?}", point.to_string().replace(['/', ' '], "-"));
    let how = format!("{point}: {fault:?}");
    copy(&desk.path("log"), &desk.path(&name));
    let mut seen =
        Seen { acknowledged: before.acknowledged.clone(), checkpoints: before.checkpoints.clone() };
    let fired =
        traced::inject(&Program::server(), desk, &name, (point, fault), |url| seen.write(url, "new", 10));
    let (serving, url) = desk.serve_in(&name);
    seen.find_in(desk, &name, &url, &how);
    drop(serving);
    fs::remove_dir_all(desk.path(&name)).unwrap();
    fired
}

/// In every file of a stopped log: the server says what is wrong and signs nothing, or it derives the file anew.
#[test]
fn a_flipped_bit_in_any_file_is_named_or_derived_anew_and_never_signed_over() {
    let flips = Effort::from_env().of(1, 16);
    let (desk, mut seen) = stopped(260);
    let mut seeded = Seeded(7);
    let (mut named, mut mended) = (0, 0);
    let all = [files(&desk.path("log/log")), files(&desk.path("log/lock"))].concat();
    let ends = |end: &str| all.iter().any(|path| path.ends_with(end));
    assert!(
        ["journal", "checkpoint.lock", "tile/0/000", "tile/entries/000", "index/db"].into_iter().all(ends)
    );
    for path in all.iter().flat_map(|path| vec![path; flips]) {
        let file = path.strip_prefix(desk.path("log")).unwrap();
        let mut bytes = fs::read(path).unwrap();
        // sled's file is longer than what is in it.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if used == 0 {
            continue;
        }
        let at = seeded.below(used);
        bytes[at] ^= 1 << seeded.below(8);
        copy(&desk.path("log"), &desk.path("flipped"));
        let flipped = desk.path("flipped").join(file);
        fs::write(&flipped, &bytes).unwrap();
        let how = format!("{} at {at}", file.display());
        let kept =
            || ["log/journal", "lock/checkpoint.lock"].map(|file| fs::read(desk.path("flipped").join(file)));
        let journal_and_lock = kept().map(Result::unwrap);
        match traced::start(&desk, "flipped") {
            // Only what was locked for certain is served; nothing is written.
            Ok((serving, url)) if file.ends_with("journal") => {
                assert_eq!(ask(&url, "GET", "/healthz", b""), None, "{how}");
                assert_eq!(add(&url, "new"), None, "{how}");
                drop(serving);
                assert_eq!(kept().map(Result::unwrap), journal_and_lock, "{how}");
                named += 1;
            }
            Ok((serving, url)) => {
                // A bit that is missing may be a write that was interrupted: the tile was written again.
                let is_mended = || fs::read(&flipped).unwrap() == fs::read(path).unwrap();
                assert!(!file.starts_with("log/tile") || is_mended(), "{how}");
                seen.find_in(&desk, "flipped", &url, &how);
                drop(serving);
                mended += 1;
            }
            Err(why) => {
                let file = file.file_name().unwrap().to_str().unwrap();
                assert!(why.contains("error[") && why.contains(file), "{how}: {why}");
                assert_eq!(kept().map(Result::unwrap), journal_and_lock, "{how}: {why}");
                named += 1;
            }
        }
        fs::remove_dir_all(desk.path("flipped")).unwrap();
    }
    println!("count flipped bits in files of a log, named at start {named}");
    println!("count flipped bits in files of a log, derived anew {mended}");
}

#[test]
fn of_two_servers_on_one_log_the_second_is_refused_and_the_first_goes_on() {
    let (desk, mut seen) = stopped(8);
    let (first, url) = desk.serve_in("log");
    let why = traced::start(&desk, "log").err().expect("two servers");
    assert!(why.contains("error[") && why.contains("another process"), "{why}");
    seen.write(&url, "first", 4);
    assert_eq!(seen.acknowledged.len(), 24);
    seen.find_in(&desk, "log", &url, "after the second");
    drop(first);
}

/// Two servers on two copies of one log, which no file can know: the witness of both refuses the second tree, and with the two
/// checkpoints an audit convicts the log.
#[test]
fn of_two_copies_of_one_log_a_witness_refuses_the_second_and_an_audit_convicts() {
    let (desk, _) = stopped(4);
    copy(&desk.path("log"), &desk.path("other"));
    let key = desk.read("log/log.vkey");
    desk.good(&[
        "witness",
        "init",
        "w",
        "--name",
        "w.example",
        "--listen",
        "127.0.0.1:0",
        "--log",
        key.trim(),
    ]);
    let (_witness, witness) =
        traced::listening(desk.command(&["witness", "run", "--config", "w/witness.toml"])).unwrap();
    let ((_first, one), (_second, two)) = (desk.serve_in("log"), desk.serve_in("other"));
    assert_eq!((add(&one, "one"), add(&two, "two")), (Some(4), Some(4)));
    let checkpoint = |url| ask(url, "GET", "/checkpoint", b"").unwrap();
    let cosign = |old: u64, url| {
        let request = [format!("old {old}\n\n").into_bytes(), checkpoint(url)].concat();
        ask(&witness, "POST", "/add-checkpoint", &request)
    };
    assert!(cosign(0, &one).is_some());
    assert_eq!(cosign(5, &two), None);
    assert!(cosign(5, &one).is_some(), "it goes on with the first");
    desk.write("one.checkpoint", checkpoint(&one));
    let audit = [
        "log",
        "audit",
        &two,
        "--log-key",
        key.trim(),
        "--since",
        "one.checkpoint",
        "--evidence",
        "evidence",
    ];
    let audited = desk.run(&audit);
    assert_eq!(audited.code, 1, "{}", audited.shown());
    let convicted = desk.run(&["verify", "evidence", "--log-key", key.trim()]);
    assert_eq!(convicted.code, 1, "{}", convicted.shown());
}

/// The files of the index are overwritten, emptied and deleted again and again while entries come in.
#[test]
fn an_index_that_is_garbled_under_load_loses_nothing_acknowledged() {
    let (desk, mut seen) = stopped(8);
    let (serving, url): (Serving, String) = desk.serve_in("log");
    let done = AtomicBool::new(false);
    let garbled = thread::scope(|scope| {
        let garbler = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                for path in files(&desk.path("log/log/index")) {
                    let bytes = fs::read(&path).unwrap_or_default();
                    // Files come and go while sled works.
                    let _ = match times % 3 {
                        0 => fs::write(&path, vec![0xff; bytes.len()]),
                        1 => fs::write(&path, b""),
                        _ => fs::remove_file(&path),
                    };
                }
                times += 1;
                thread::sleep(Duration::from_millis(30));
            }
            times
        });
        seen.write(&url, "garbled", 60);
        done.store(true, Ordering::Relaxed);
        garbler.join().unwrap()
    });
    assert!(garbled > 3 && seen.acknowledged.len() > 8, "{garbled} {}", seen.acknowledged.len());
    drop(serving);
    let (_serving, url) = desk.serve_in("log");
    seen.find_in(&desk, "log", &url, "garbled");
    println!("count times that the index was garbled under a running server {garbled}");
}
