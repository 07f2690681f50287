//! A restored log: what may be read of it, and that nothing is signed before it is whole again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::fs;

use common::*;
use counterfoil_log::{AddError, Log, LogCheckpoint, OpenError};
use counterfoil_tlog::{Checkpoint, LeafIndex, MemoryTree, SeedSigner, TreeHead, TreeSize, leaf_hash};

/// Adds `count` entries, a batch each, and gives the checkpoints that readers saw.
fn grow(log: &Log<Notebook>, from: usize, count: usize) -> Vec<LogCheckpoint> {
    let handle = log.handle();
    let entry = |n| LogCheckpoint::clone(&added(&handle, &format!("entry {n}")).checkpoint);
    (from..from + count).map(entry).collect()
}

/// Opens the log as a server does.
fn open_or_read(site: &Site) -> Result<Log<Notebook>, OpenError> {
    Log::open_or_read(site.config(), Notebook::default())
}

/// A log of ten batches whose directory, and lock store if `lock` says so, was restored from a backup at the fifth.
fn restored(lock: bool) -> (Site, Vec<LogCheckpoint>) {
    let site = Site::new();
    let log = site.create();
    let mut seen = grow(&log, 0, 4);
    drop(log);
    let (kept, kept_lock) = (site.root.path().join("kept"), site.root.path().join("kept-lock"));
    copy_dir(&site.dir(), &kept);
    copy_dir(&site.lock_dir(), &kept_lock);
    let log = site.open();
    seen.extend(grow(&log, 4, 5));
    drop(log);
    fs::remove_dir_all(site.dir()).unwrap();
    copy_dir(&kept, &site.dir());
    if lock {
        fs::remove_dir_all(site.lock_dir()).unwrap();
        copy_dir(&kept_lock, &site.lock_dir());
    }
    (site, seen)
}

/// Every file below with its bytes.
fn files(dir: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

/// Checks that a log that is read only shows nothing but what was seen before, and changes nothing.
fn only_shows(site: &Site, seen: &[LogCheckpoint], size: u64, code: &str) {
    let before = files(&site.dir());
    let log = open_or_read(site).unwrap();
    let handle = log.handle();
    let reader = handle.reader();
    let why = reader.read_only().unwrap();
    assert_eq!(why.code(), code, "{why}");
    let latest = reader.latest();
    assert_eq!(latest.head.size, TreeSize(size));
    assert!(seen.contains(&latest), "only what was published is shown");
    check_all(&handle);
    assert!(matches!(add(&handle, "another"), Err(AddError::ReadOnly(_))));
    // It holds no lock: somebody else may open, and recover, the log.
    let config = site.config();
    drop(log);
    drop((handle, config));
    assert!(files(&site.dir()) == before, "nothing is written");
}

#[test]
fn a_restored_journal_can_be_read_and_not_written() {
    let (site, seen) = restored(false);
    assert!(matches!(site.try_open(), Err(OpenError::Behind { .. })));
    // The last batch of the backup may never have been locked; the one before it was.
    only_shows(&site, &seen, 8, "open-journal-behind");
}

#[test]
fn without_its_lock_store_a_log_can_be_read_and_not_written() {
    let (site, seen) = restored(true);
    fs::remove_dir_all(site.lock_dir()).unwrap();
    only_shows(&site, &seen, 8, "open-lock-behind");
}

#[test]
fn a_damaged_journal_can_be_read_before_the_damage() {
    let site = Site::new();
    let log = site.create();
    let seen = grow(&log, 0, 8);
    drop(log);
    let mut bytes = fs::read(site.journal()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(site.journal(), bytes).unwrap();
    let intact = match site.try_open() {
        Err(OpenError::Damaged { intact, .. }) => intact.0,
        other => panic!("{:?}", other.err()),
    };
    only_shows(&site, &seen, intact - 2, "open-journal-damaged");
}

#[test]
fn nothing_of_a_forked_log_is_shown() {
    let (site, seen) = restored(true);
    let log = site.open();
    let fork = grow(&log, 100, 5);
    drop(log);
    let mut config = site.config();
    config.observed = vec![config.keys.observe("a mirror", &seen[6].text).unwrap()];
    let error = Log::open_or_read(config, Notebook::default()).err().unwrap();
    let OpenError::Diverged { size, theirs, journal, .. } = error else { panic!("{error}") };
    assert_eq!((size, &theirs, &journal), (seen[6].head.size, &seen[6].text, &fork.last().unwrap().text));
}

#[test]
fn what_somebody_else_has_seen_stops_a_log_that_was_restored_with_its_lock_store() {
    let (site, seen) = restored(true);
    let observe = |checkpoint: &LogCheckpoint| {
        let mut config = site.config();
        config.observed = vec![config.keys.observe("https://mirror.example", &checkpoint.text).unwrap()];
        config
    };
    let newest = seen.last().unwrap();
    let error = Log::open(observe(newest), Notebook::default()).err().unwrap();
    assert!(
        matches!(error, OpenError::Overtaken { ours: TreeSize(10), theirs: TreeSize(20), .. }),
        "{error}"
    );
    let log = Log::open_or_read(observe(newest), Notebook::default()).unwrap();
    assert_eq!(log.handle().reader().read_only().unwrap().code(), "open-overtaken");
    assert_eq!(log.handle().reader().latest().head.size, TreeSize(10), "it was locked");
    assert!(matches!(add(&log.handle(), "another"), Err(AddError::ReadOnly(_))));
    drop(log);
    // What it has itself stops nothing.
    for checkpoint in &seen[..4] {
        let log = Log::open_or_read(observe(checkpoint), Notebook::default()).unwrap();
        assert!(log.handle().reader().read_only().is_none());
    }
}

#[test]
fn only_a_checkpoint_of_this_log_is_taken_for_one() {
    let site = Site::new();
    let log = site.create();
    let seen = grow(&log, 0, 1);
    let keys = keys();
    assert!(keys.observe("a mirror", "no checkpoint").is_err());
    let tree: MemoryTree = (0..20_u8).map(|n| leaf_hash(&[n])).collect();
    let head: TreeHead = tree.head();
    let other = SeedSigner::ed25519(ORIGIN, &[8; 32]).unwrap();
    let forged = Checkpoint::new(ORIGIN, head).unwrap().sign(&other).unwrap().to_string();
    assert!(keys.observe("a mirror", &forged).is_err());
    // Lines of others are dropped: journal and lock store never see them.
    let both = format!("{}— {}\n", seen[0].text, forged.split("— ").nth(1).unwrap().trim_end());
    assert_eq!(keys.observe("a mirror", &both).unwrap().head(), seen[0].head);
    assert_eq!(log.handle().reader().entry(LeafIndex(0)).unwrap(), b"genesis");
}
