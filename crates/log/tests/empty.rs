//! A log that begins with the checkpoint of the empty tree.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod common;

use std::fs;
use std::time::Duration;

use common::{Disk, Fault, FaultyLock, Notebook, Site, added, check_all};
use counterfoil_log::{Log, OpenError, Outcome, Raw, ReadError};
use counterfoil_tlog::{LeafIndex, TreeHead, TreeSize};

fn add(log: &Log<Raw>, entry: &[u8]) -> u64 {
    match log.handle().add(vec![entry.to_vec()]).unwrap().remove(0) {
        Outcome::Added(logged) | Outcome::Duplicate(logged) => logged.index.0,
        Outcome::Refused(never) => match never {},
    }
}

#[test]
fn readers_see_a_signed_checkpoint_before_the_first_entry() {
    let site = Site::new();
    let log = Log::create_empty(site.config(), Raw).unwrap();
    let reader = log.handle().reader().clone();
    let first = reader.latest();
    assert_eq!(first.head, TreeHead::EMPTY);
    // SHA-256 of nothing.
    let body = "example.com/test-log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n";
    assert!(first.text.starts_with(body), "{}", first.text);
    assert_eq!(reader.wait(TreeSize(0), Duration::ZERO), Some(first.clone()));
    assert_eq!(reader.checkpoint_at(TreeSize(0)).unwrap(), Some(first.clone()));
    assert_eq!(reader.checkpoint_covering(LeafIndex(0)).unwrap(), None);
    for path in ["tile/0/000.p/1", "tile/0/000", "tile/entries/000.p/1", "tile/1/000.p/1"] {
        let tile = reader.tile(&path.parse().unwrap());
        assert!(matches!(tile, Err(ReadError::BeyondTree { .. })), "{path}: {tile:?}");
    }
    assert!(matches!(reader.entry(LeafIndex(0)), Err(ReadError::BeyondTree { .. })));
    assert_eq!(reader.root_at(TreeSize(0)).unwrap(), TreeHead::EMPTY.root);

    assert_eq!((add(&log, b"a"), add(&log, b"b"), add(&log, b"a")), (0, 1, 0));
    assert_eq!(reader.checkpoint_at(TreeSize(0)).unwrap(), Some(first));
    assert_eq!(reader.checkpoint_covering(LeafIndex(0)).unwrap().unwrap().head.size, TreeSize(1));
}

#[test]
fn an_empty_log_opens_again_and_grows() {
    let site = Site::new();
    let first = Log::create_empty(site.config(), Raw).unwrap().handle().reader().latest();
    for _ in 0..2 {
        let log = Log::open(site.config(), Raw).unwrap();
        assert_eq!(log.handle().reader().latest(), first);
    }
    let log = Log::open(site.config(), Raw).unwrap();
    assert_eq!(add(&log, b"a"), 0);
    drop(log);
    let log = Log::open(site.config(), Raw).unwrap();
    assert_eq!((add(&log, b"b"), add(&log, b"a")), (1, 0));
    drop(log);
    // Without the index it is derived again.
    fs::remove_dir_all(site.dir().join("index")).unwrap();
    assert_eq!(add(&Log::open(site.config(), Raw).unwrap(), b"a"), 0);
}

#[test]
fn an_empty_log_is_created_once() {
    let site = Site::new();
    drop(Log::create_empty(site.config(), Raw).unwrap());
    assert!(matches!(Log::create_empty(site.config(), Raw), Err(OpenError::Exists { .. })));
    let with_entry = Log::create(site.config(), Notebook::default(), b"genesis".to_vec());
    assert!(with_entry.is_err());
}

#[test]
fn how_a_log_began_can_be_asked_before_it_is_opened() {
    let (none, empty, not_empty) = (Site::new(), Site::new(), Site::new());
    drop(Log::create_empty(empty.config(), Raw).unwrap());
    drop(not_empty.create());
    assert_eq!(none.config().began_empty().unwrap(), None);
    assert_eq!(empty.config().began_empty().unwrap(), Some(true));
    assert_eq!(not_empty.config().began_empty().unwrap(), Some(false));
    add(&Log::open(empty.config(), Raw).unwrap(), b"a");
    assert_eq!(empty.config().began_empty().unwrap(), Some(true));
    fs::write(empty.journal(), b"CFBATCH1").unwrap();
    assert_eq!(empty.config().began_empty().unwrap(), None);
}

#[test]
fn a_fault_while_the_empty_checkpoint_is_written_leaves_a_log_or_none() {
    for fault in [Fault::Lost, Fault::Short, Fault::Persisted] {
        // The journal's write, its sync, the lock store.
        for step in 0..3 {
            for power_cut in [false, true] {
                let (site, disk, lock) = (Site::new(), Disk::default(), FaultyLock::default());
                if step < 2 {
                    disk.fail(step, fault)
                } else {
                    lock.fail(0, fault)
                }
                assert!(Log::create_empty(site.faulty(&disk, &lock), Raw).is_err());
                let disk = disk.after_crash(power_cut);
                let log = match Log::open(site.faulty(&disk, &lock), Raw) {
                    Err(OpenError::NotCreated { .. }) => {
                        Log::create_empty(site.faulty(&disk, &lock), Raw).unwrap()
                    }
                    opened => opened.unwrap_or_else(|error| panic!("{fault:?} {step}: {error}")),
                };
                // Whichever it was, it is locked now.
                assert_eq!(lock.value().as_deref(), Some(log.handle().reader().latest().text.as_bytes()));
                assert_eq!(add(&log, b"a"), 0);
            }
        }
    }
}

#[test]
fn an_empty_journal_is_refused_where_the_empty_checkpoint_was_locked() {
    let site = Site::new();
    drop(Log::create_empty(site.config(), Raw).unwrap());
    let journal = fs::read(site.journal()).unwrap();
    for length in 0..journal.len() {
        fs::write(site.journal(), &journal[..length]).unwrap();
        let error = Log::open(site.config(), Raw).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Behind { .. }), "{length}: {error}");
        assert!(Log::create_empty(site.config(), Raw).is_err(), "{length}");
    }
    fs::write(site.journal(), &journal).unwrap();
    fs::remove_file(site.lock_file()).unwrap();
    // As after a crash between the two: the checkpoint is taken up, and locked.
    let log = Log::open(site.config(), Raw).unwrap();
    assert!(fs::metadata(site.lock_file()).is_ok());
    add(&log, b"a");
    add(&log, b"b");
    drop(log);
    fs::remove_file(site.lock_file()).unwrap();
    assert!(matches!(Log::open(site.config(), Raw), Err(OpenError::LockBehind { .. })));
}

#[test]
fn only_the_first_frame_may_be_empty() {
    let site = Site::new();
    drop(Log::create_empty(site.config(), Raw).unwrap());
    let first = fs::read(site.journal()).unwrap();
    let log = Log::open(site.config(), Raw).unwrap();
    add(&log, b"a");
    drop(log);
    let whole = fs::read(site.journal()).unwrap();
    let with_second = [&first[..], &first, &whole[first.len()..]].concat();
    fs::write(site.journal(), with_second).unwrap();
    let error = Log::open(site.config(), Raw).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("it has no entries, and is not the first"), "{error}");
}

#[test]
fn a_log_with_seals_may_begin_empty_too() {
    let site = Site::new();
    let log = Log::create_empty(site.config(), Notebook::default()).unwrap();
    assert_eq!(added(&log.handle(), "a").checkpoint.head.size, TreeSize(2));
    let before = check_all(&log.handle());
    drop(log);
    assert_eq!(check_all(&site.open().handle()), before);
}
