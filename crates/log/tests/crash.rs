//! Crashes at every step, damaged journals, restored backups.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod common;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{
    Disk, Fault, FaultyLock, Notebook, Notice, Site, add, added, check_all, copy_dir, in_two_frames, rederive,
};
use counterfoil_log::plan::{self, Step};
use counterfoil_log::{
    AddError, Fatal, LockError, LockStore, Log, LogCheckpoint, Logged, OpenError, Outcome, Storage as _,
};
use counterfoil_tlog::TreeSize;
use sha2::{Digest as _, Sha256};

/// What is to be found of the batch whose step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is gone: it can be submitted as new.
    Gone,
    /// It was recovered.
    There,
}

/// What the next process finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// All that the process before it wrote.
    Exit,
    /// What was synced; of every derived file one half.
    PowerCut,
    /// What was synced; no derived file at all.
    PowerCutAndNothingDerived,
}

const AFTER: [After; 3] = [After::Exit, After::PowerCut, After::PowerCutAndNothingDerived];

/// How a step can fail.
fn failures(step: Step) -> Vec<(Fault, Notice)> {
    let (error, crash) = (Notice::Error, Notice::Crash);
    let both =
        |faults: &[Fault]| faults.iter().flat_map(|fault| [(*fault, error), (*fault, crash)]).collect();
    match step {
        Step::Append | Step::Rewrite | Step::Sync => both(&[Fault::Lost, Fault::Short, Fault::Persisted]),
        // It is whole or did not happen.
        Step::Swap => both(&[Fault::Lost, Fault::Persisted]),
        Step::Derive => vec![(Fault::Lost, error), (Fault::Short, error), (Fault::Persisted, crash)],
        // They change nothing that lasts.
        Step::Publish | Step::Index | Step::Answer => vec![(Fault::Persisted, crash)],
    }
}

/// Runs every case, several at a time: they wait for the disk most of the time.
fn run_all<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

/// Every step of a plan × every way to fail × what is left of the files.
fn cases(plan: &[Step]) -> Vec<(Step, Fault, Notice, After)> {
    let failed = plan
        .iter()
        .flat_map(|step| failures(*step).into_iter().map(|(fault, notice)| (*step, fault, notice)));
    failed.flat_map(|(step, fault, notice)| AFTER.map(|after| (step, fault, notice, after))).collect()
}

#[test]
fn a_fault_at_any_step_loses_nothing_acknowledged() {
    let cases = cases(plan::COMMIT);
    run_all(&cases, |&(step, fault, notice, after)| {
        let power_cut = after != After::Exit;
        let expected = match (step, fault) {
            (Step::Append, Fault::Lost | Fault::Short) => Then::Gone,
            (Step::Append, Fault::Persisted) if power_cut => Then::Gone,
            (Step::Sync, Fault::Lost | Fault::Short) if power_cut => Then::Gone,
            _ => Then::There,
        };
        let found = fail_in_commit(step, fault, notice, after);
        assert_eq!(found, expected, "{step:?} {fault:?} {notice:?} {after:?}");
    });
    println!("count storage faults of the log's steps, none loses what was acknowledged {}", cases.len());
}

/// The same when a batch is adopted, whether it was on disk or, after a sync that failed, in memory only; and whether it is one
/// frame or two: then the second can't be written again.
#[test]
fn a_fault_during_recovery_loses_nothing() {
    let all = cases(plan::ADOPT).into_iter();
    let ways = [(true, 1), (false, 1), (false, 2)];
    let cases: Vec<_> = all.flat_map(|case| ways.map(|(on_disk, frames)| (on_disk, frames, case))).collect();
    run_all(&cases, |&(on_disk, frames, (step, fault, notice, after))| {
        let is_synced = match (step, fault) {
            (Step::Rewrite, _) | (Step::Sync, Fault::Lost | Fault::Short) => on_disk,
            _ => true,
        };
        let expected = if is_synced || after == After::Exit { Then::There } else { Then::Gone };
        let found = fail_in_adoption((on_disk, frames), step, fault, notice, after);
        assert_eq!(found, expected, "{on_disk} {frames} {step:?} {fault:?} {notice:?} {after:?}");
    });
    println!("count storage faults of recovery's steps, none loses what was acknowledged {}", cases.len());
}

fn fail_in_commit(step: Step, fault: Fault, notice: Notice, after: After) -> Then {
    let (mut case, log) = Case::new();
    case.inject(step, fault, notice);
    let handle = log.handle();
    if matches!(
        (step, fault),
        (Step::Derive, Fault::Persisted) | (Step::Publish | Step::Index | Step::Answer, _)
    ) {
        case.acknowledge(added(&handle, "c"));
        case.image();
    } else {
        let failed = add(&handle, "c").unwrap_err();
        assert!(matches!(failed, AddError::Failed(_)), "{failed}");
        // Nothing of it was published, and the log does nothing any more, not even answer a duplicate.
        assert_eq!(Some(&handle.reader().latest()), case.seen.last());
        assert!(add(&handle, "a").is_err() && handle.with_app(|_, _| ()).is_err());
        assert!(handle.failure().is_some());
    }
    drop((handle, log));
    case.end(after);
    case.recover()
}

fn fail_in_adoption(
    (on_disk, frames): (bool, u64),
    step: Step,
    fault: Fault,
    notice: Notice,
    after: After,
) -> Then {
    let (mut case, log) = Case::new();
    let last = case.disk.len().unwrap();
    let before = if on_disk { Step::Swap } else { Step::Sync };
    case.inject(before, Fault::Lost, Notice::Error);
    add(&log.handle(), "c").unwrap_err();
    drop(log);
    case.end(After::Exit);
    if frames == 2 {
        case.disk = case.disk.in_two_frames(last);
    }
    match step {
        Step::Rewrite => case.disk.plan(frames - 1, fault, notice),
        Step::Sync => case.disk.plan(frames, fault, notice),
        _ => case.inject(step, fault, notice),
    }
    // The process ends where the step unwinds.
    match catch_unwind(AssertUnwindSafe(|| case.open())) {
        Ok(Ok(log)) => {
            assert!(fault == Fault::Persisted && notice == Notice::Crash, "{step:?} was not taken");
            case.seen.push(log.handle().reader().latest());
            case.image();
        }
        Ok(Err(error)) => assert!(matches!(error, OpenError::Recovery(_)), "{error}"),
        Err(_) => assert_eq!(notice, Notice::Crash),
    }
    case.end(after);
    case.recover()
}

/// A log whose next entry fills a tile and a bundle.
struct Case {
    site: Site,
    disk: Disk,
    lock: FaultyLock,
    acknowledged: Vec<Logged>,
    /// Every checkpoint that anybody could see.
    seen: Vec<Arc<LogCheckpoint>>,
}

impl Case {
    fn new() -> (Self, Log<Notebook>) {
        let (site, disk, lock) = (Site::new(), Disk::default(), FaultyLock::default());
        let log = Log::create(site.faulty(&disk, &lock), Notebook::default(), b"genesis".to_vec()).unwrap();
        let handle = log.handle();
        let seen = vec![handle.reader().latest()];
        let mut case = Self { site, disk, lock, acknowledged: Vec::new(), seen };
        let outcomes = handle.add((0..250).map(|i| format!("{i}").into_bytes()).collect()).unwrap();
        for outcome in outcomes {
            let Outcome::Added(logged) = outcome else { panic!("{outcome:?}") };
            case.acknowledge(logged);
        }
        case.acknowledge(added(&handle, "a"));
        assert_eq!(handle.reader().latest().head.size, TreeSize(255));
        (case, log)
    }

    fn acknowledge(&mut self, logged: Logged) {
        self.seen.push(Arc::clone(&logged.checkpoint));
        self.acknowledged.push(logged);
    }

    fn open(&self) -> Result<Log<Notebook>, OpenError> {
        Log::open(self.site.faulty(&self.disk, &self.lock), Notebook::default())
    }

    /// Lets the next occurrence of a step fail.
    fn inject(&self, step: Step, fault: Fault, notice: Notice) {
        match step {
            Step::Append | Step::Rewrite => self.disk.plan(0, fault, notice),
            Step::Sync => self.disk.plan(1, fault, notice),
            Step::Swap => self.lock.plan(0, fault, notice),
            // The bundle is written first, then the tile.
            Step::Derive => match fault {
                Fault::Lost => fs::create_dir_all(self.site.dir().join(BUNDLE)).unwrap(),
                Fault::Short => fs::create_dir_all(self.site.dir().join(TILE)).unwrap(),
                Fault::Persisted => {}
            },
            Step::Publish | Step::Index | Step::Answer => {}
        }
    }

    /// From here on the files as they are now, while the log still runs.
    fn image(&mut self) {
        let now = Site::new();
        copy_dir(&self.site.dir(), &now.dir());
        (self.disk, self.lock) = (self.disk.after_crash(false), self.lock.after_crash());
        self.site = now;
    }

    /// The end of a process.
    fn end(&mut self, after: After) {
        (self.disk, self.lock) = (self.disk.after_crash(after != After::Exit), self.lock.after_crash());
        for name in [BUNDLE, TILE] {
            // Only if a directory stands in its place.
            let _ = fs::remove_dir(self.site.dir().join(name));
        }
        match after {
            After::Exit => {}
            After::PowerCut => tear(&self.site.dir()),
            After::PowerCutAndNothingDerived => fs::remove_dir_all(self.site.dir()).unwrap(),
        }
    }

    /// Opens the log, finds everything in it, goes on, and finds everything once more after a power cut.
    fn recover(mut self) -> Then {
        let log = self.open().unwrap();
        let handle = log.handle();
        let last = handle.reader().latest();
        assert_eq!(self.lock.value().unwrap(), last.text.as_bytes());
        for logged in &self.acknowledged {
            assert_eq!(handle.reader().leaf(logged.index).unwrap(), logged.leaf);
        }
        rederive(&handle, &self.seen);
        let then = match add(&handle, "c").unwrap() {
            Outcome::Added(logged) => {
                assert_eq!(Some(&last), self.seen.last());
                self.acknowledge(logged);
                Then::Gone
            }
            Outcome::Duplicate(_) => Then::There,
            Outcome::Refused(refusal) => panic!("{refusal}"),
        };
        self.acknowledge(added(&handle, "d"));
        let entries = rederive(&handle, &self.seen);
        assert_eq!((entries.len(), &entries[255]), (259, &b"c".to_vec()));
        drop((handle, log));
        self.end(After::PowerCut);
        assert_eq!(rederive(&self.open().unwrap().handle(), &self.seen), entries);
        then
    }
}

const TILE: &str = "tile/0/000";
const BUNDLE: &str = "tile/entries/000";

/// Leaves one half of each file, and zeros for the other.
fn tear(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tear(&path);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_fault_while_creating_leaves_a_log_or_none() {
    let mut tried = 0;
    for fault in [Fault::Lost, Fault::Short, Fault::Persisted] {
        for step in 0..2 {
            for power_cut in [false, true] {
                tried += 1;
                let (site, disk, lock) = (Site::new(), Disk::default(), FaultyLock::default());
                disk.fail(step, fault);
                let config = site.faulty(&disk, &lock);
                assert!(Log::create(config, Notebook::default(), b"genesis".to_vec()).is_err());
                let disk = disk.after_crash(power_cut);
                let log = match Log::open(site.faulty(&disk, &lock), Notebook::default()) {
                    Ok(log) => log,
                    Err(OpenError::NotCreated { .. }) => {
                        let config = site.faulty(&disk, &lock);
                        Log::create(config, Notebook::default(), b"genesis".to_vec()).unwrap()
                    }
                    Err(error) => panic!("{error}"),
                };
                assert_eq!(check_all(&log.handle()).len(), 2);
            }
        }
    }
    println!("count storage faults while a log is created, each leaves a log or none {tried}");
}

/// A log of three batches, with the lock file as it was before the last.
struct Images {
    site: Site,
    journal: Vec<u8>,
    /// Where the last frame starts.
    last_frame: usize,
    locked: Vec<u8>,
    not_locked: Vec<u8>,
}

impl Images {
    fn new() -> Self {
        let site = Site::new();
        let log = site.create();
        added(&log.handle(), "a");
        let not_locked = fs::read(site.lock_file()).unwrap();
        let last_frame = fs::metadata(site.journal()).unwrap().len() as usize;
        added(&log.handle(), "b");
        drop(log);
        let journal = fs::read(site.journal()).unwrap();
        let locked = fs::read(site.lock_file()).unwrap();
        fs::remove_dir_all(site.dir()).unwrap();
        fs::create_dir(site.dir()).unwrap();
        Self { site, journal, last_frame, locked, not_locked }
    }

    /// The same, and the same with the last batch in two frames.
    fn both() -> [Self; 2] {
        let two = Self::new();
        let journal = in_two_frames(&two.journal, two.last_frame);
        [Self::new(), Self { journal, ..two }]
    }

    fn open(&self, journal: &[u8], lock: &[u8]) -> Result<Log<Notebook>, OpenError> {
        fs::write(self.site.journal(), journal).unwrap();
        fs::write(self.site.lock_file(), lock).unwrap();
        self.site.try_open()
    }
}

#[test]
fn a_journal_cut_anywhere_in_a_locked_frame_is_refused() {
    for images in Images::both() {
        for length in 0..images.journal.len() {
            let error = images.open(&images.journal[..length], &images.locked).err().unwrap();
            assert!(
                matches!(error, OpenError::Damaged { .. } | OpenError::Behind { .. }),
                "{length}: {error}"
            );
            assert_eq!(fs::read(images.site.journal()).unwrap(), images.journal[..length], "{length}");
        }
    }
}

#[test]
fn a_last_frame_that_was_not_locked_is_cut_or_completed() {
    for images in Images::both() {
        let lengths = images.last_frame..=images.journal.len();
        assert!(lengths.clone().count() > 200);
        for length in lengths {
            let log = images.open(&images.journal[..length], &images.not_locked).unwrap();
            let whole = length == images.journal.len();
            let size = log.handle().reader().latest().head.size.0;
            assert_eq!(size, if whole { 6 } else { 4 }, "{length}");
            if length % 16 == 0 || whole {
                let outcome = add(&log.handle(), "b").unwrap();
                assert_eq!(matches!(outcome, Outcome::Duplicate(_)), whole);
                check_all(&log.handle());
            }
            drop(log);
            let cut = images.site.dir().join("journal.cut");
            if whole || length == images.last_frame {
                assert!(!cut.exists());
            } else {
                assert_eq!(fs::read(&cut).unwrap(), images.journal[images.last_frame..length]);
                fs::remove_file(cut).unwrap();
            }
            // The index would be ahead of the journal of the next round.
            fs::remove_dir_all(images.site.dir().join("index")).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let mut flipped = 0;
    for images in Images::both() {
        flipped += images.journal.len();
        for at in 0..images.journal.len() {
            let mut journal = images.journal.clone();
            journal[at] ^= 1 << (at % 8);
            let error = images.open(&journal, &images.locked).err().unwrap();
            assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {error}");
            assert_eq!(fs::read(images.site.journal()).unwrap(), journal);
            // With the last batch not locked, a flip in what was locked is still refused.
            if at < images.last_frame {
                let error = images.open(&journal, &images.not_locked).err().unwrap();
                assert!(matches!(error, OpenError::Damaged { .. }), "{at}: {error}");
            }
        }
    }
    println!("count flipped bits of the journal, all found {flipped}");
}

/// A journal whose digests are right but whose entries are not those that were signed.
#[test]
fn a_journal_that_was_edited_is_refused() {
    let images = Images::new();
    let mut journal = images.journal.clone();
    let end = journal.len() - 32;
    journal[images.last_frame + 36 + 2] = b'x';
    let digest = Sha256::digest(&journal[images.last_frame..end]);
    journal[end..].copy_from_slice(&digest);
    let error = images.open(&journal, &images.locked).err().unwrap();
    assert!(matches!(error, OpenError::BadFrame { .. }), "{error}");
    assert!(!images.site.dir().join("scratch").exists(), "refused before anything is derived from it");
}

#[test]
fn a_batch_of_two_log_times_is_refused() {
    let [_, images] = Images::both();
    let mut journal = images.journal.clone();
    let second = journal.windows(8).rposition(|bytes| bytes == b"CFBATCH1").unwrap();
    assert!(second > images.last_frame);
    journal[second + 23] += 1;
    let end = journal.len() - 32;
    let digest = Sha256::digest(&journal[second..end]);
    journal[end..].copy_from_slice(&digest);
    for lock in [&images.locked, &images.not_locked] {
        let error = images.open(&journal, lock).err().unwrap();
        assert!(matches!(error, OpenError::BadFrame { .. }), "{error}");
    }
}

/// What an interrupted recovery leaves: frames of a batch without an end, longer than any tail that is no frame.
#[test]
fn a_batch_without_an_end_is_cut_as_one_however_long_it_is() {
    let images = Images::new();
    let time = u64::from_be_bytes(images.journal[images.last_frame + 16..][..8].try_into().unwrap());
    let entry = vec![b'x'; 65_535];
    let (mut journal, mut first) = (images.journal[..images.last_frame].to_vec(), 4_u64);
    while journal.len() - images.last_frame < 20 << 20 {
        let mut frame = [b"CFBATCH1", &first.to_be_bytes()[..], &time.to_be_bytes()].concat();
        frame.extend([100_u32, 100 * 65_537, 0].iter().flat_map(|number| number.to_be_bytes()));
        (0..100).for_each(|_| frame.extend([&[0xff; 2], &entry[..]].concat()));
        let digest = Sha256::digest(&frame);
        journal.extend(frame.iter().chain(&digest));
        first += 100;
    }
    // And the next was being written.
    journal.extend_from_slice(&images.journal[..100]);
    let error = images.open(&journal, &images.locked).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let log = images.open(&journal, &images.not_locked).unwrap();
    assert_eq!(check_all(&log.handle()).len(), 4);
    drop(log);
    assert_eq!(fs::metadata(images.site.journal()).unwrap().len(), images.last_frame as u64);
    assert!(fs::read(images.site.dir().join("journal.cut")).unwrap() == journal[images.last_frame..]);
}

#[test]
fn what_follows_the_last_frame_is_no_longer_than_a_frame() {
    let images = Images::new();
    let mut journal = images.journal.clone();
    journal.resize(journal.len() + (9 << 20), 0);
    let error = images.open(&journal, &images.locked).err().unwrap();
    assert!(matches!(error, OpenError::LongTail { .. }), "{error}");
}

#[test]
fn a_restored_backup_is_refused() {
    let site = Site::new();
    let log = site.create();
    added(&log.handle(), "a");
    let backup = site.root.path().join("backup");
    copy_dir(&site.dir(), &backup);
    added(&log.handle(), "b");
    drop(log);
    fs::remove_dir_all(site.dir()).unwrap();
    copy_dir(&backup, &site.dir());
    let error = site.try_open().err().unwrap();
    assert!(matches!(error, OpenError::Behind { journal: TreeSize(4), locked: TreeSize(6) }), "{error}");
    assert!(error.to_string().contains("restored from a backup"));
}

#[test]
fn a_restored_lock_store_is_refused() {
    let site = Site::new();
    let log = site.create();
    let backup = fs::read(site.lock_file()).unwrap();
    added(&log.handle(), "a");
    added(&log.handle(), "b");
    drop(log);
    fs::write(site.lock_file(), backup).unwrap();
    assert!(matches!(site.try_open(), Err(OpenError::LockBehind { .. })));
    fs::remove_file(site.lock_file()).unwrap();
    assert!(matches!(site.try_open(), Err(OpenError::LockBehind { locked: TreeSize(0), .. })));
}

#[test]
fn a_forked_log_is_refused() {
    let site = Site::new();
    drop(site.create());
    let backup = site.root.path().join("backup");
    copy_dir(site.root.path().join("log").as_path(), &backup);
    let lock = fs::read(site.lock_file()).unwrap();
    added(&site.open().handle(), "a");
    let ahead = fs::read(site.lock_file()).unwrap();
    // The other history, from the same start.
    fs::remove_dir_all(site.dir()).unwrap();
    copy_dir(&backup, &site.dir());
    fs::write(site.lock_file(), lock).unwrap();
    added(&site.open().handle(), "b");
    fs::write(site.lock_file(), ahead).unwrap();
    let error = site.try_open().err().unwrap();
    assert!(matches!(error, OpenError::Forked { size: TreeSize(4), .. }), "{error}");
}

#[test]
fn somebody_else_who_replaces_the_lock_stops_the_log() {
    let (site, disk, lock) = (Site::new(), Disk::default(), FaultyLock::default());
    let log = Log::create(site.faulty(&disk, &lock), Notebook::default(), b"genesis".to_vec()).unwrap();
    let value = lock.value();
    lock.clone().replace(value.as_deref(), b"another checkpoint").unwrap();
    assert_eq!(add(&log.handle(), "a").unwrap_err().code(), "lock-conflict");
    assert_eq!(add(&log.handle(), "a").unwrap_err().code(), "lock-conflict");
}

/// Two logs over one journal and one lock store, without any lock on files that would keep the second out.
#[test]
fn of_two_writers_on_one_store_one_loses_and_nothing_acknowledged_is_lost() {
    let orders = ["ab", "ba", "aab", "abab", "aabbab"];
    for turns in orders {
        let (site, other, disk, lock) = (Site::new(), Site::new(), Disk::default(), FaultyLock::default());
        drop(Log::create(site.faulty(&disk, &lock), Notebook::default(), b"genesis".to_vec()).unwrap());
        let logs =
            [&site, &other].map(|site| Log::open(site.faulty(&disk, &lock), Notebook::default()).unwrap());
        let (mut acknowledged, mut lost) = (Vec::new(), Vec::new());
        for (at, turn) in turns.bytes().enumerate() {
            let handle = logs[usize::from(turn - b'a')].handle();
            match add(&handle, &format!("{turn} {at}")) {
                Ok(Outcome::Added(logged)) => acknowledged.push(logged),
                Err(error) => lost.push((turn, error.code())),
                other => panic!("{other:?}"),
            }
        }
        let first = turns.as_bytes()[0];
        assert_eq!(acknowledged.len(), turns.bytes().filter(|turn| *turn == first).count(), "{turns}");
        assert!(!lost.is_empty());
        assert!(
            lost.iter().all(|(turn, code)| *turn != first && *code == "fatal-journal-conflict"),
            "{lost:?}"
        );
        drop(logs);
        let log = Log::open(site.faulty(&disk, &lock), Notebook::default()).unwrap();
        check_all(&log.handle());
        for logged in &acknowledged {
            assert_eq!(log.handle().reader().leaf(logged.index).unwrap(), logged.leaf);
            let size = logged.checkpoint.head.size;
            assert_eq!(log.handle().reader().checkpoint_at(size).unwrap().as_ref(), Some(&logged.checkpoint));
        }
    }
    println!("count orders of two writers on one store, of whom one loses cleanly {}", orders.len());
}

/// A lock store before whose next replacement something else happens.
struct Meanwhile {
    lock: FaultyLock,
    act: Option<Box<dyn FnOnce() + Send>>,
}

impl LockStore for Meanwhile {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        self.lock.load()
    }

    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError> {
        if let Some(act) = self.act.take() {
            act();
        }
        self.lock.replace(old, new)
    }
}

/// Between the two durable steps of a batch, another process opens the log: it takes the batch up as it was signed, and the
/// one that made it has lost and publishes nothing.
#[test]
fn a_batch_in_the_making_is_adopted_and_its_maker_loses() {
    let (site, other, disk, lock) = (Site::new(), Site::new(), Disk::default(), FaultyLock::default());
    drop(Log::create(site.faulty(&disk, &lock), Notebook::default(), b"genesis".to_vec()).unwrap());
    let mut config = site.faulty(&disk, &lock);
    let theirs = other.faulty(&disk, &lock);
    let act = move || {
        let log = Log::open(theirs, Notebook::default()).unwrap();
        assert!(matches!(add(&log.handle(), "a").unwrap(), Outcome::Duplicate(_)));
        added(&log.handle(), "b");
    };
    config.lock = Box::new(Meanwhile { lock: lock.clone(), act: Some(Box::new(act)) });
    let log = Log::open(config, Notebook::default()).unwrap();
    let before = log.handle().reader().latest();
    assert_eq!(add(&log.handle(), "a").unwrap_err().code(), "lock-conflict");
    assert_eq!(log.handle().reader().latest(), before);
    drop(log);
    let log = Log::open(other.faulty(&disk, &lock), Notebook::default()).unwrap();
    assert_eq!(check_all(&log.handle()).len(), 6);
}

#[test]
fn what_somebody_else_writes_into_the_journal_file_stops_the_log() {
    let site = Site::new();
    let log = site.create();
    let mut journal = fs::OpenOptions::new().append(true).open(site.journal()).unwrap();
    std::io::Write::write_all(&mut journal, b"theirs").unwrap();
    let before = fs::read(site.journal()).unwrap();
    let error = add(&log.handle(), "a").unwrap_err();
    assert!(
        matches!(&error, AddError::Failed(fatal) if matches!(**fatal, Fatal::Conflict { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains("stopped")
            && log.handle().failure().unwrap().to_string().contains("another process")
    );
    assert_eq!(fs::read(site.journal()).unwrap(), before);
}

#[test]
fn checkpoints_of_other_keys_are_refused() {
    use counterfoil_log::CheckpointKeys;
    use counterfoil_tlog::{SeedSigner, Signer as _};
    let site = Site::new();
    drop(site.create());
    let signer = |seed| SeedSigner::ed25519(common::ORIGIN, &[seed; 32]).unwrap();
    let keys = |retired| CheckpointKeys::new(common::ORIGIN, vec![Box::new(signer(8))], retired);
    let mut config = site.config();
    config.keys = keys(vec![]);
    assert!(matches!(Log::open(config, Notebook::default()), Err(OpenError::ForeignLock { .. })));
    let mut config = site.config();
    config.keys = keys(vec![signer(7).key().clone()]);
    let log = Log::open(config, Notebook::default()).unwrap();
    added(&log.handle(), "a");
    check_all(&log.handle());
}
