//! `kill -9` of the real server under load: what was acknowledged is there afterwards, and no tree forks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Desk, Serving};
use counterfoil_client::{CheckpointStore, Client, FileCheckpoints, MemoryCheckpoints, PinnedClient};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Draft, Place, RecordId, RunId, Signer, UnverifiedRecord,
    body::{Event, Holder, Observation, ObservationKind, Trigger},
    field::Whole,
    text::{Label, Text},
};
use counterfoil_testkit::Effort;
use counterfoil_verify::Trust;

/// Submitters at a time.
const WRITERS: usize = 4;

/// What happens to the rebuildable index while the server is down.
#[derive(Clone, Copy, Debug)]
enum Index {
    Kept,
    Deleted,
    Garbled,
}

#[test]
fn what_was_acknowledged_survives_kill_9_whatever_becomes_of_the_index() {
    let kills = Effort::from_env().of(6, 60);
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    let mut acknowledged: Vec<UnverifiedRecord> = Vec::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut serving, mut url) = desk.serve_in("work");
    // The same memory of checkpoints throughout: a tree that does not extend the last one seen is refused.
    let reader = |url: &str| pinned(&desk, url, Box::new(FileCheckpoints::new(desk.path("seen"))));
    reader(&url).checkpoint().unwrap();
    for kill in 0..kills {
        // A seeded pause, so that the blow falls at another step of a batch each time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_micros(60_000 + (seed >> 40) % 90_000);
        acknowledged.extend(load_until_killed(&desk, &url, serving, kill, pause));
        let index = [Index::Kept, Index::Deleted, Index::Garbled][usize::try_from(kill % 3).unwrap()];
        spoil(&desk.path("work/log/index"), index);
        (serving, url) = desk.serve_in("work");
        reader(&url).checkpoint().unwrap_or_else(|why| panic!("after kill {kill}, index {index:?}: {why}"));
        for record in &acknowledged {
            let found = Client::new(&url, None).unwrap().record(record.id());
            assert_eq!(found.unwrap().bytes(), record.bytes(), "after kill {kill}, index {index:?}");
        }
    }
    let last = acknowledged.last().expect("something was acknowledged").clone();
    assert!(reader(&url).submit(&last).is_ok(), "a repeated submission is answered with its entry");
    println!("count kills -9 of the server under load {kills}");
    println!("count records acknowledged before a kill and found after it {}", acknowledged.len());
}

#[test]
fn a_signal_to_the_gate_left_the_approved_command_running_without_an_outcome() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    let (_serving, url) = desk.serve_in("work");
    let own = ["-C", "work", "--server", &url];
    let good = |arguments: &[&str]| desk.good(&[&own[..], arguments].concat());
    let trigger = good(&["trigger", "--source", "ops", "--id", "1", "--json"]);
    let trigger: serde_json::Value = serde_json::from_str(&trigger).unwrap();
    let run = trigger["run"].as_str().unwrap().to_owned();
    let command = ["sh", "-c", "sleep 1; echo done > out.txt"];
    let action = good(&[&["gate", "action", "--"], &command[..]].concat());
    desk.write("action.json", action);
    good(&["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"]);
    good(&["approve", &run, "--yes"]);
    let mut gate = desk.command(&[&own[..], &["gate", "run", &run, "--"], &command[..]].concat());
    let mut gate =
        gate.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let executing = || good(&["resume", &run]).contains("executing");
    while !executing() {
        assert!(began.elapsed() < Duration::from_secs(20), "the execution was never logged");
    }
    // The execution is logged, and its command about to run or running.
    thread::sleep(Duration::from_millis(300));
    for signal in ["-TERM", "-HUP", "-INT"] {
        let sent = std::process::Command::new("kill").args([signal, &gate.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
    assert_eq!(gate.wait().unwrap().code(), Some(0), "it waited for the command");
    assert_eq!(desk.read("out.txt"), "done\n");
    let resumed = good(&["resume", &run]);
    assert!(resumed.contains("succeeded") && !resumed.contains("executing"), "{resumed}");
}

/// Submits from several threads until the server is killed after `pause`; gives what it acknowledged.
fn load_until_killed(
    desk: &Desk,
    url: &str,
    serving: Serving,
    kill: u64,
    pause: Duration,
) -> Vec<UnverifiedRecord> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || submit_until(desk, url, &format!("kill {kill} writer {writer}"), stop))
            })
            .collect();
        thread::sleep(pause);
        drop(serving); // SIGKILL
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

/// A run of one's own, one observation after the other; gives those that were answered by an inclusion that holds.
fn submit_until(desk: &Desk, url: &str, name: &str, stop: &AtomicBool) -> Vec<UnverifiedRecord> {
    let client = pinned(desk, url, Box::new(MemoryCheckpoints::default()));
    let agent = RecordKey::load(&desk.path("work/keys/agent.key")).unwrap();
    let log = client.trust().genesis();
    let owner = Holder { key: agent.key(), principal: agent.principal().clone() };
    let event = Event { id: Label::new(name).unwrap(), kind: None, source: Label::new("load").unwrap() };
    let trigger = sign(&agent, Place::Single { log }, Trigger { content: None, event, owner, summary: None });
    let (run, mut parent, mut next, mut done) =
        (RunId::started_by(trigger.id()), trigger.id(), trigger, Vec::new());
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) && started.elapsed() < Duration::from_secs(20) {
        if client.submit(&next).is_err() {
            break;
        }
        done.push(next);
        let summary = Text::new(format!("{name}: observation {}", done.len()));
        let body = Observation { items: None, kind: ObservationKind::Note, summary };
        next = sign(&agent, Place::Run { log, run, parents: vec![parent] }, body);
        parent = RecordId::of(next.bytes());
    }
    done
}

fn sign(key: &RecordKey, place: Place, body: impl Into<counterfoil_receipt::Body>) -> UnverifiedRecord {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let time = Whole::new(u64::try_from(now).unwrap()).unwrap();
    let draft =
        Draft { place, time, principal: key.principal().clone(), role: key.role(), body: body.into() };
    draft.sign(key).unwrap()
}

/// A client that gives up soon where nobody answers.
fn pinned(desk: &Desk, url: &str, seen: Box<dyn CheckpointStore>) -> PinnedClient {
    let trust = Trust::parse(&desk.read("work/trust.toml")).unwrap();
    let client = Client::new(url, None).unwrap().with_patience(Duration::from_secs(1));
    client.with_timeout(Duration::from_secs(5)).pin(trust, seen)
}

fn spoil(index: &Path, how: Index) {
    match how {
        Index::Kept => {}
        Index::Deleted => fs::remove_dir_all(index).unwrap(),
        Index::Garbled => garble(index),
    }
}

/// Overwrites a part in the middle of every file.
fn garble(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            garble(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 3..bytes.len() * 2 / 3;
        bytes[middle].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&path, bytes).unwrap();
    }
}
