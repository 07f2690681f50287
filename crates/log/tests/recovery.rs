//! Recovery and backup of a log: what was acknowledged comes back, nothing is signed, and a fork is refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{fs, ops::Range, sync::Arc};

use common::*;
use counterfoil_log::{
    BackupError, BoxError, CheckpointKeys, Config, Log, LogCheckpoint, OpenError, RecoverError, Recovery,
    Repair, Storage as _, backup,
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

/// Between what the journal has and what others have seen lie `count` entries, and no checkpoint that is known.
struct Gap {
    site: Site,
    disk: Disk,
    lock: FaultyLock,
    entries: Vec<Vec<u8>>,
    seen: LogCheckpoint,
}

impl Gap {
    fn new(count: usize) -> Self {
        let (site, disk, lock) = (Site::new(), Disk::default(), FaultyLock::default());
        let files = || site.faulty(&disk, &lock);
        drop(Log::create(files(), Notebook::default(), b"genesis".to_vec()).unwrap());
        let (old_disk, old_lock) = (disk.after_crash(false), lock.after_crash());
        let log = Log::open(files(), Notebook::default()).unwrap();
        let handle = log.handle();
        for first in (0..count).step_by(1_000) {
            let entry = |n| format!("entry {n}").into_bytes();
            handle.add((first..count.min(first + 1_000)).map(entry).collect()).unwrap();
        }
        let (entries, seen) =
            handle.with_app(|app, seen| (app.entries.clone(), LogCheckpoint::clone(seen))).unwrap();
        drop((handle, log));
        Self { site, disk: old_disk, lock: old_lock, entries, seen }
    }

    /// The same files in another place.
    fn again(&self) -> Self {
        let (disk, lock) = (self.disk.after_crash(false), self.lock.after_crash());
        Self { site: Site::new(), disk, lock, entries: self.entries.clone(), seen: self.seen.clone() }
    }

    fn files(&self) -> Config {
        let mut files = self.site.faulty(&self.disk, &self.lock);
        files.keys = verifying();
        files.observed = vec![files.keys.observe("a mirror", &self.seen.text).unwrap()];
        files
    }

    fn recover(&self) -> Result<Repair, RecoverError> {
        let fetch = &mut |range: Range<u64>| {
            assert!(range.end - range.start <= 256, "one entry bundle at most");
            Ok(self.entries[range.start as usize..range.end as usize].to_vec())
        };
        Recovery::examine(self.files())?.apply(fetch, RECOVERED)
    }

    fn open(&self) -> Result<Log<Notebook>, OpenError> {
        Log::open(self.site.faulty(&self.disk, &self.lock), Notebook::default())
    }

    /// The log has every entry, and goes on.
    fn is_whole(&self) {
        let log = self.open().unwrap();
        let all = || log.handle().with_app(|app, _| app.entries.clone()).unwrap();
        assert_eq!(all(), self.entries);
        grow(&log, 1_000_000, 2);
        let entries = all();
        drop(log);
        // All of it is on disk.
        let log = Log::open(self.site.faulty(&self.disk.after_crash(true), &self.lock), Notebook::default());
        assert_eq!(log.unwrap().handle().with_app(|app, _| app.entries.clone()).unwrap(), entries);
    }
}

/// How many frames stand in a journal, and how many of them are signed.
fn frames(disk: &Disk) -> (usize, usize) {
    let mut bytes = vec![0; disk.len().unwrap() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    let (mut at, mut frames, mut signed) = (0, 0, 0);
    while at < bytes.len() {
        let number = |from| u32::from_be_bytes(bytes[at + from..at + from + 4].try_into().unwrap()) as usize;
        let (entries, checkpoint) = (number(28), number(32));
        frames += 1;
        signed += usize::from(checkpoint > 0);
        at += 36 + entries + checkpoint + 32;
    }
    (frames, signed)
}

#[test]
fn a_gap_of_more_than_a_frame_becomes_one_batch_of_several() {
    // With the seals of its batches, at the limit of a frame and over it.
    for (count, expected) in [(4_092, (2, 2)), (4_093, (3, 2)), (10_000, (4, 2))] {
        let gap = Gap::new(count);
        assert_eq!(gap.entries.len() - 2, count + count.div_ceil(1_000));
        assert_eq!(gap.recover().unwrap().missing, 2..gap.entries.len() as u64);
        assert_eq!(frames(&gap.disk), expected);
        let log = gap.open().unwrap();
        assert_eq!(rederive(&log.handle(), &[Arc::new(gap.seen.clone())]), gap.entries);
        drop(log);
        gap.is_whole();
    }
}

/// Every step of a recovery fails in every way: nobody can go on behind a part of what was published, and it is done again.
#[test]
fn a_fault_at_any_step_of_a_recovery_of_several_frames_loses_nothing() {
    let gap = Gap::new(4_200);
    let all = [Fault::Lost, Fault::Short, Fault::Persisted];
    // Two frames are appended and made durable; before that, the lock store is replaced.
    let journal = (0..3).flat_map(|step| all.map(|fault| (Some(step), fault)));
    let swap = [Fault::Lost, Fault::Persisted].map(|fault| (None, fault));
    let mut cases = 0;
    for (step, fault) in journal.chain(swap) {
        for power_cut in [false, true] {
            let mut left = gap.again();
            match step {
                Some(step) => left.disk.fail(step, fault),
                None => left.lock.fail(0, fault),
            }
            assert!(matches!(left.recover(), Err(RecoverError::Write(_))), "{step:?} {fault:?}");
            (left.disk, left.lock) = (left.disk.after_crash(power_cut), left.lock.after_crash());
            match (left.open(), step, fault) {
                // Nothing was done.
                (Ok(log), None, Fault::Lost) => assert_eq!(log.handle().reader().latest().head.size.0, 2),
                // All was done, and nobody said so.
                (Ok(_), Some(1), Fault::Persisted) if !power_cut => {}
                (Err(error), ..) => assert!(error.code().starts_with("open-journal-"), "{error}"),
                (Ok(_), ..) => panic!("{step:?} {fault:?} {power_cut}"),
            }
            left.recover().unwrap();
            left.is_whole();
            cases += 1;
        }
    }
    println!("count storage faults of the steps of a recovery, none loses what was acknowledged {cases}");
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
