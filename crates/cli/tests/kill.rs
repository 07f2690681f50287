//! `kill -9` of the real server under load: what was acknowledged is there afterwards, and no tree forks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Desk, Serving};
use counterfoil_client::MemoryCheckpoints;
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_testkit::Effort;
use load::{Writer, all_are_there, pinned, reader};

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
    // The same memory of checkpoints throughout.
    reader(&desk, &url).checkpoint().unwrap();
    for kill in 0..kills {
        // A seeded pause, so that the blow falls at another step of a batch each time.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_micros(60_000 + (seed >> 40) % 90_000);
        acknowledged.extend(load_until_killed(&desk, &url, serving, kill, pause));
        let index = [Index::Kept, Index::Deleted, Index::Garbled][kill % 3];
        spoil(&desk.path("work/log/index"), index);
        (serving, url) = desk.serve_in("work");
        all_are_there(&desk, &url, &acknowledged, &format!("after kill {kill}, index {index:?}"));
    }
    let last = acknowledged.last().expect("something was acknowledged").clone();
    assert!(reader(&desk, &url).submit(&last).is_ok(), "a repeated submission is answered with its entry");
    println!("count kills -9 of the server under load {kills}");
    println!("count records acknowledged before a kill and found after it {}", acknowledged.len());
}

/// Submits from several threads until the server is killed after `pause`; gives what it acknowledged.
fn load_until_killed(
    desk: &Desk,
    url: &str,
    serving: Serving,
    kill: usize,
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

/// Writes into a run of one's own; gives the records that were answered by an inclusion that holds.
fn submit_until(desk: &Desk, url: &str, name: &str, stop: &AtomicBool) -> Vec<UnverifiedRecord> {
    let client = pinned(desk, url, Box::new(MemoryCheckpoints::default()));
    let (mut writer, mut next) = Writer::start(desk, client.trust().genesis(), name);
    let (started, mut done) = (Instant::now(), Vec::new());
    while !stop.load(Ordering::Relaxed) && started.elapsed() < Duration::from_secs(20) {
        if client.submit(&next).is_err() {
            break;
        }
        done.push(next);
        next = writer.observe(None);
    }
    done
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
