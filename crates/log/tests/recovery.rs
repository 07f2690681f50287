//! Recovery and backup of a log: what was acknowledged comes back, nothing is signed, and a fork is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{fs, ops::Range};

use common::*;
use counterfoil_log::{
    BackupError, BoxError, CheckpointKeys, Config, Log, LogCheckpoint, RecoverError, Recovery, backup, limits,
};
use counterfoil_tlog::{MemoryTree, SeedSigner, Signer as _, TreeSize, leaf_hash};

/// Keys that sign nothing.
fn verifying() -> CheckpointKeys {
    let key = SeedSigner::ed25519(ORIGIN, &[7; 32]).unwrap().key().clone();
    CheckpointKeys::new(ORIGIN, vec![], vec![key])
}

fn files(site: &Site, seen: &[LogCheckpoint]) -> Config {
    let mut config = Config::embedded(&site.dir(), &site.lock_dir(), verifying(), site.clock()).unwrap();
    config.observed = seen.iter().map(|seen| config.keys.observe("a mirror", &seen.text).unwrap()).collect();
    config
}

fn grow(log: &Log<Notebook>, from: usize, count: usize) -> Vec<LogCheckpoint> {
    let handle = log.handle();
    let entry = |n| LogCheckpoint::clone(&added(&handle, &format!("entry {n}")).checkpoint);
    (from..from + count).map(entry).collect()
}

/// Every two of the checkpoints are of one history, which these entries are.
fn one_history(seen: &[LogCheckpoint], entries: &[Vec<u8>]) {
    let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry)).collect();
    for checkpoint in seen {
        assert_eq!(tree.head_at(checkpoint.head.size), Some(checkpoint.head));
    }
}

/// A log of ten batches: its entries, what readers saw, and a copy of its directories at the fifth.
struct Lived {
    site: Site,
    seen: Vec<LogCheckpoint>,
    entries: Vec<Vec<u8>>,
}

impl Lived {
    fn new() -> Self {
        let site = Site::new();
        let log = site.create();
        let mut seen = grow(&log, 0, 4);
        drop(log);
        copy_dir(&site.dir(), &site.root.path().join("old-log"));
        copy_dir(&site.lock_dir(), &site.root.path().join("old-lock"));
        let log = site.open();
        seen.extend(grow(&log, 4, 5));
        let entries = check_all(&log.handle());
        drop(log);
        Self { site, seen, entries }
    }

    fn restore(&self, what: &[&str]) {
        for name in what {
            fs::remove_dir_all(self.site.root.path().join(name)).unwrap();
            copy_dir(&self.site.root.path().join(format!("old-{name}")), &self.site.root.path().join(name));
        }
    }

    fn fetch(&self) -> impl FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, BoxError> {
        let entries = self.entries.clone();
        move |range| Ok(entries[range.start as usize..range.end as usize].to_vec())
    }

    /// The log can be written again, has all entries, and goes on with the same history.
    fn is_whole(&self) {
        let log = self.site.open();
        assert_eq!(check_all(&log.handle()), self.entries);
        let mut seen = self.seen.clone();
        seen.extend(grow(&log, 1_000, 2));
        one_history(&seen, &check_all(&log.handle()));
    }
}

#[test]
fn what_a_restored_journal_lacks_is_fetched_with_the_checkpoints_that_sign_it() {
    for what in [&["log"][..], &["log", "lock"]] {
        let lived = Lived::new();
        lived.restore(what);
        let recovery = Recovery::examine(files(&lived.site, &lived.seen)).unwrap();
        let plan = recovery.plan().unwrap();
        assert_eq!((plan.missing.clone(), plan.cut), (10..20, 0));
        assert_eq!(plan.rests_on_others, what.contains(&"lock"));
        assert_eq!(recovery.apply(&mut lived.fetch(), 0).unwrap(), plan);
        assert!(Recovery::examine(files(&lived.site, &lived.seen)).unwrap().plan().unwrap().is_nothing());
        lived.is_whole();
    }
}

#[test]
fn entries_that_nobody_signed_are_not_taken() {
    let lived = Lived::new();
    lived.restore(&["log", "lock"]);
    let before = (fs::read(lived.site.journal()).unwrap(), fs::read(lived.site.lock_file()).unwrap());
    let mut fetch = lived.fetch();
    let mut wrong = |range: Range<u64>| {
        let mut entries = fetch(range)?;
        entries[1].push(b'!');
        Ok(entries)
    };
    let recovery = Recovery::examine(files(&lived.site, &lived.seen)).unwrap();
    assert!(matches!(recovery.apply(&mut wrong, 0), Err(RecoverError::Differs { .. })));
    // Nor too few.
    let recovery = Recovery::examine(files(&lived.site, &lived.seen)).unwrap();
    let none = &mut |_| Ok(vec![]);
    assert!(matches!(recovery.apply(none, 0), Err(RecoverError::Differs { .. })));
    assert_eq!((fs::read(lived.site.journal()).unwrap(), fs::read(lived.site.lock_file()).unwrap()), before);
}

#[test]
fn a_recovery_that_ends_between_lock_store_and_journal_is_done_again() {
    let lived = Lived::new();
    lived.restore(&["log", "lock"]);
    let old = fs::read(lived.site.journal()).unwrap();
    let whole = |lived: &Lived| {
        Recovery::examine(files(&lived.site, &lived.seen)).unwrap().apply(&mut lived.fetch(), 0).unwrap()
    };
    whole(&lived);
    fs::write(lived.site.journal(), old).unwrap();
    assert_eq!(lived.site.try_open().err().unwrap().code(), "open-journal-behind");
    whole(&lived);
    lived.is_whole();
}

#[test]
fn a_lost_lock_store_is_set_to_what_the_journal_ends_with() {
    let lived = Lived::new();
    fs::remove_dir_all(lived.site.lock_dir()).unwrap();
    let recovery = Recovery::examine(files(&lived.site, &lived.seen[..3])).unwrap();
    let plan = recovery.plan().unwrap();
    assert_eq!(plan.lock.as_ref(), lived.seen.last());
    assert!(plan.rests_on_others && plan.missing.is_empty());
    recovery.apply(&mut |_| panic!("nothing is missing"), 0).unwrap();
    lived.is_whole();
}

#[test]
fn a_torn_tail_before_what_is_missing_is_cut_off_and_kept() {
    let lived = Lived::new();
    let mut bytes = fs::read(lived.site.journal()).unwrap();
    let damaged = bytes.len() - 700;
    bytes[damaged] ^= 1;
    fs::write(lived.site.journal(), &bytes).unwrap();
    let recovery = Recovery::examine(files(&lived.site, &lived.seen)).unwrap();
    let plan = recovery.plan().unwrap();
    assert!(plan.cut > 700 && !plan.missing.is_empty() && !plan.rests_on_others, "{plan:?}");
    recovery.apply(&mut lived.fetch(), 0).unwrap();
    let cut = fs::read(lived.site.dir().join("journal.cut")).unwrap();
    assert!(cut.len() as u64 == plan.cut && bytes.ends_with(&cut));
    lived.is_whole();
}

#[test]
fn a_fork_is_refused_with_what_both_sides_signed() {
    let lived = Lived::new();
    lived.restore(&["log", "lock"]);
    let log = lived.site.open();
    let other = grow(&log, 500, 2);
    drop(log);
    let before = fs::read(lived.site.journal()).unwrap();
    let error = Recovery::examine(files(&lived.site, &lived.seen[..5])).unwrap().plan().unwrap_err();
    let RecoverError::Forked { theirs, journal, root, proof, .. } = error else { panic!("{error}") };
    assert_eq!((&*theirs, Some(&*journal)), (&lived.seen[4], other.last()));
    assert_ne!(root, theirs.head.root);
    let ours = counterfoil_tlog::TreeHead { size: theirs.head.size, root };
    counterfoil_tlog::consistency::verify(&ours, &journal.head, &proof).unwrap();
    // A larger one, of which only the entries show that it is another history.
    let recovery = Recovery::examine(files(&lived.site, &lived.seen[8..])).unwrap();
    assert!(matches!(recovery.apply(&mut lived.fetch(), 0), Err(RecoverError::Differs { .. })));
    assert_eq!(fs::read(lived.site.journal()).unwrap(), before);
}

#[test]
fn a_gap_of_more_than_a_batch_is_refused() {
    let site = Site::new();
    drop(site.create());
    let seen = |count: usize| {
        let tree: MemoryTree = (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let signer = SeedSigner::ed25519(ORIGIN, &[7; 32]).unwrap();
        let note = counterfoil_tlog::Checkpoint::new(ORIGIN, tree.head()).unwrap().sign(&signer).unwrap();
        LogCheckpoint { text: note.to_string(), head: tree.head() }
    };
    let apply = |count| {
        let recovery = Recovery::examine(files(&site, &[seen(count)])).unwrap();
        recovery.apply(&mut |range| Ok(vec![vec![0]; (range.end - range.start) as usize]), 0).unwrap_err()
    };
    let most = 2 + limits::BATCH_ENTRIES + 1;
    assert!(matches!(apply(most), RecoverError::Differs { .. }), "at the limit it is fetched");
    assert!(matches!(apply(most + 1), RecoverError::Gap { .. }));
}

#[test]
fn a_backup_of_a_running_log_is_continued_and_comes_back() {
    let site = Site::new();
    let log = site.create();
    let into = site.root.path().join("backup");
    let take = || backup(&site.dir(), &site.lock_dir(), &verifying(), &into, 7);
    let first = grow(&log, 0, 3).pop().unwrap();
    let made = take().unwrap();
    assert_eq!((&made.checkpoint, made.copied), (&first, made.bytes));
    assert_eq!(take().unwrap().copied, 0);
    let seen = grow(&log, 3, 3);
    // What an interrupted one left behind what counts is not taken for a part of it.
    let mut bytes = fs::read(into.join("log/journal")).unwrap();
    bytes.extend_from_slice(b"torn");
    fs::write(into.join("log/journal"), bytes).unwrap();
    let again = take().unwrap();
    assert_eq!((Some(&again.checkpoint), again.copied), (seen.last(), again.bytes - made.bytes));
    assert!(fs::read(into.join("log/journal")).unwrap() == fs::read(site.journal()).unwrap());
    let note = fs::read_to_string(into.join("BACKUP")).unwrap();
    let (size, root) = (again.checkpoint.head.size, again.checkpoint.head.root);
    let expected = format!("size {size}\nroot {root}\njournal {}\ntime 7\n", again.bytes);
    assert!(note.starts_with("counterfoil-backup/1\norigin ") && note.ends_with(&expected), "{note}");
    let entries = check_all(&log.handle());
    drop(log);
    // In place, without the lock store.
    fs::remove_dir_all(site.dir()).unwrap();
    fs::remove_dir_all(site.lock_dir()).unwrap();
    copy_dir(&into.join("log"), &site.dir());
    assert_eq!(site.try_open().err().unwrap().code(), "open-lock-behind");
    Recovery::examine(files(&site, &seen)).unwrap().apply(&mut |_| panic!(), 0).unwrap();
    assert_eq!(check_all(&site.open().handle()), entries);
}

#[test]
fn a_backup_of_another_log_or_of_more_than_there_is_stays_as_it_is() {
    let lived = Lived::new();
    let into = lived.site.root.path().join("backup");
    let site = &lived.site;
    let take = || backup(&site.dir(), &site.lock_dir(), &verifying(), &into, 7);
    take().unwrap();
    let before = fs::read(into.join("log/journal")).unwrap();
    lived.restore(&["log", "lock"]);
    assert!(matches!(take(), Err(BackupError::Ahead { .. })));
    let log = site.open();
    grow(&log, 500, 30);
    drop(log);
    assert!(matches!(take(), Err(BackupError::Differs { .. })));
    assert!(fs::read(into.join("log/journal")).unwrap() == before);
    fs::remove_dir_all(site.lock_dir()).unwrap();
    assert!(matches!(take(), Err(BackupError::NotLocked)));
    assert_eq!(lived.seen.last().unwrap().head.size, TreeSize(20));
}
