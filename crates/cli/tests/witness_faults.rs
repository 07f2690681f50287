//! System calls of a real witness that fail or that it does not survive: whatever it answered and whatever is on disk, it never
//! cosigns two trees of which neither begins with the other, and it goes on when it is started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod traced;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use common::{Desk, add, ask, copy};
use counterfoil_tlog::{Checkpoint, MemoryTree, leaf_hash};
use counterfoil_witness::origin_id;
use traced::{Fault, Point, Program};

const ORIGIN: &str = "example.org/bytes";

/// Cases that are tried at a time.
const WORKERS: usize = 4;

/// Two histories of one log: a tree of one entry, and two of two entries that begin with it. As requests to cosign them.
struct Fork {
    desk: Desk,
    key: String,
    first: Vec<u8>,
    one: Vec<u8>,
    two: Vec<u8>,
}

impl Fork {
    fn new() -> Self {
        let desk = Desk::new();
        desk.good(&["init", "log", "--mode", "raw", "--origin", ORIGIN]);
        let key = desk.read("log/log.vkey").trim().to_owned();
        let request = |directory: &str, entry: &str, old: u64, proof: &str| {
            let (_serving, url) = desk.serve_in(directory);
            assert_eq!(add(&url, entry), Some(old));
            let checkpoint = ask(&url, "GET", "/checkpoint", b"").unwrap();
            [format!("old {old}\n{proof}\n").as_bytes(), &checkpoint].concat()
        };
        let first = request("log", "first", 0, "");
        copy(&desk.path("log"), &desk.path("other"));
        let second = |directory, entry| request(directory, entry, 1, &format!("{}\n", base64_leaf(entry)));
        let (one, two) = (second("log", "one"), second("other", "two"));
        Self { desk, key, first, one, two }
    }

    fn witness(&self, name: &str) {
        let init =
            ["witness", "init", name, "--name", "w.example", "--listen", "127.0.0.1:0", "--log", &self.key];
        self.desk.good(&init);
    }
}

/// The leaf hash of an entry, as notes and proofs spell it: the root of a tree of nothing else.
fn base64_leaf(entry: &str) -> String {
    let tree: MemoryTree = [leaf_hash(entry.as_bytes())].into_iter().collect();
    let checkpoint = Checkpoint::new(ORIGIN, tree.head()).unwrap().to_string();
    checkpoint.lines().nth(2).unwrap().to_owned()
}

/// Asks a witness to cosign a tree; whether it did.
fn cosigns(url: &str, request: &[u8]) -> bool {
    ask(url, "POST", "/add-checkpoint", request).is_some()
}

/// The same for a tree of two entries that it may have stored, or not yet the one before it.
fn cosigns_again(url: &str, fork: &Fork, request: &[u8]) -> bool {
    let proof = request.windows(2).position(|bytes| bytes == b"\n\n").unwrap();
    let same = [b"old 2\n", &request[proof + 1..]].concat();
    cosigns(url, &fork.first);
    cosigns(url, request) || cosigns(url, &same)
}

fn run(desk: &Desk, directory: &str) -> std::process::Command {
    desk.command(&["witness", "run", "--config", &format!("{directory}/witness.toml")])
}

fn program() -> Program {
    let id = origin_id(ORIGIN);
    let files = [format!("state/{id}/checkpoint.lock"), format!("state/{id}"), "state".to_owned()];
    Program { files: files.to_vec(), command: run }
}

/// It cosigns one history, and something fails meanwhile; then it is asked for the other. strace counts calls per thread, and the
/// first write is that of opening: so the one that matters is the second.
#[test]
fn a_system_call_that_fails_or_kills_makes_no_witness_cosign_a_fork() {
    if !traced::is_possible() {
        return;
    }
    let fork = Fork::new();
    fork.witness("counted");
    let counted = traced::count(&program(), &fork.desk, "counted", |url| {
        assert!(cosigns(url, &fork.first) && cosigns(url, &fork.one));
    });
    assert!(counted.iter().any(|point| point.call == "pwrite64" && point.number == 2), "{counted:?}");
    let cases = traced::every(&counted);
    let (next, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((point, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fired.fetch_add(usize::from(stays_honest(&fork, point, *fault)), Ordering::Relaxed);
                }
            });
        }
    });
    let fired = fired.into_inner();
    assert!(2 * fired > cases.len(), "{fired} of {}", cases.len());
    println!("count system calls of a witness failed or killed in, none made it cosign a fork {fired}");
}

/// One case, with a witness of its own; whether its occurrence was reached.
fn stays_honest(fork: &Fork, point: &Point, fault: Fault) -> bool {
    let how = format!("{point}: {fault:?}");
    let name = how.replace(['/', ' ', ':'], "-");
    fork.witness(&name);
    let mut cosigned_one = false;
    let fired = traced::inject(&program(), &fork.desk, &name, (point, fault), |url| {
        cosigned_one = cosigns(url, &fork.first) && cosigns(url, &fork.one);
    });
    let (witness, url) = traced::listening(run(&fork.desk, &name)).expect(&how);
    let again = |url: &str, request| cosigns_again(url, fork, request);
    let cosigned_two = again(&url, &fork.two);
    assert!(!(cosigned_one && cosigned_two), "it cosigned a fork: {how}");
    // What it has stored is what it goes on with.
    assert_eq!(again(&url, &fork.one), !cosigned_two, "{how}");
    drop(witness);
    let (_witness, url) = traced::listening(run(&fork.desk, &name)).expect(&how);
    assert_eq!((again(&url, &fork.two), again(&url, &fork.one)), (cosigned_two, !cosigned_two), "{how}");
    fired
}
