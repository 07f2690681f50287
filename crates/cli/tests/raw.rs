//! A raw log by its commands; and `kill -9` of its server while entries are added.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{collections::BTreeMap, thread, time::Duration};

use common::{Desk, add, ask};
use counterfoil_testkit::Effort;
use counterfoil_tlog::{SignedCheckpoint, UnverifiedNote, VerifierKey};

/// The size of the tree in the checkpoint, which `log.vkey` signed.
fn size(desk: &Desk, url: &str) -> u64 {
    let key = VerifierKey::parse(desk.read("bytes/log.vkey").trim_end()).unwrap();
    let note = UnverifiedNote::parse(&ask(url, "GET", "/checkpoint", b"").unwrap()).unwrap();
    let keys = std::slice::from_ref(&key);
    let signed = SignedCheckpoint::open(note, "example.org/bytes", keys, &[] as &[VerifierKey]).unwrap();
    signed.checkpoint().head().size.0
}

#[test]
fn a_raw_log_is_made_and_served_by_two_commands() {
    let desk = Desk::new();
    let made = desk.good(&["init", "bytes", "--mode", "raw", "--origin", "example.org/bytes"]);
    assert!(made.starts_with("new raw log example.org/bytes+"), "{made}");
    let mut parts: Vec<String> =
        desk.listing().into_iter().filter(|path| path.matches('/').count() == 1).collect();
    parts.sort();
    assert_eq!(parts, ["bytes/counterfoil.toml", "bytes/keys", "bytes/lock", "bytes/log", "bytes/log.vkey"]);
    let (serving, url) = desk.serve_in("bytes");
    assert_eq!(size(&desk, &url), 0);
    assert_eq!([add(&url, "a"), add(&url, "b"), add(&url, "a")], [Some(0), Some(1), Some(0)]);
    assert_eq!(size(&desk, &url), 2);
    drop(serving);
    // Nothing is overwritten.
    let again = desk.run(&["init", "bytes", "--mode", "raw"]);
    assert!(again.code == 2 && again.stderr.contains("init-exists"), "{}", again.stderr);
}

#[test]
fn what_belongs_to_the_other_mode_is_refused_by_a_code() {
    let desk = Desk::new();
    desk.good(&["init", "bytes", "--mode", "raw"]);
    let refused = desk.run(&["init", "other", "--mode", "raw", "--approvals", "2"]);
    assert!(refused.stderr.contains("error[init-raw]"), "{}", refused.stderr);
    assert!(!desk.path("other").exists());
    let refused = desk.run(&["serve", "-C", "bytes", "--genesis", "genesis.json"]);
    assert!(refused.stderr.contains("error[config-invalid]"), "{}", refused.stderr);
    // A log of records, under the configuration of a raw one, and with its own key.
    desk.good(&["init", "work"]);
    let raw =
        ["[log]\nmode = \"raw\"\ndir = \"log\"\nlock_dir = \"lock\"\nnote_key = \"keys/log-note.key\"\n"];
    desk.write("work/raw.toml", raw.concat());
    let refused = desk.run(&["serve", "--config", "work/raw.toml", "--listen", "127.0.0.1:0"]);
    assert!(refused.stderr.contains("error[log-other-mode]"), "{}", refused.stderr);
    let refused = desk.run(&["serve", "-C", "bytes", "--reads", "public"]);
    assert!(refused.stderr.contains("who may add entries"), "{}", refused.stderr);
}

#[test]
fn acknowledged_entries_survive_kill_9_at_their_indices() {
    let kills = Effort::from_env().of(4, 40);
    let desk = Desk::new();
    desk.good(&["init", "bytes", "--mode", "raw", "--origin", "example.org/bytes"]);
    let mut acknowledged: BTreeMap<u64, String> = BTreeMap::new();
    let (mut serving, mut url) = desk.serve_in("bytes");
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_micros(60_000 + (seed >> 40) % 90_000);
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let url = url.clone();
                thread::spawn(move || {
                    let entries = (0..).map(|number| format!("{kill} {writer} {number}"));
                    entries.map_while(|entry| Some((add(&url, &entry)?, entry))).collect::<Vec<_>>()
                })
            })
            .collect();
        thread::sleep(pause);
        drop(serving); // SIGKILL
        for (index, entry) in writers.into_iter().flat_map(|writer| writer.join().unwrap()) {
            assert_eq!(acknowledged.insert(index, entry), None, "index {index} was answered twice");
        }
        (serving, url) = desk.serve_in("bytes");
        assert!(size(&desk, &url) >= acknowledged.keys().last().map_or(0, |last| last + 1));
        for (index, entry) in acknowledged.iter().rev().take(50) {
            assert_eq!(add(&url, entry), Some(*index), "after kill {kill}");
        }
    }
    assert!(!acknowledged.is_empty());
    for (index, entry) in &acknowledged {
        assert_eq!(add(&url, entry), Some(*index));
    }
    println!("count kills -9 of a raw log under load {kills}");
    println!("count entries acknowledged before a kill and found after it {}", acknowledged.len());
}
