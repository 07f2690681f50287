//! What a log does when nothing goes wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::Duration;

use common::{Notebook, Site, add, added, check_all};
use counterfoil_log::{AddError, CreateError, Log, OpenError, Outcome, Raw, ReadError, limits};
use counterfoil_tlog::tile::{TilePath, encode_entries, encode_tile, entry_bundles, tiles};
use counterfoil_tlog::{
    HashReader, LeafIndex, MemoryTree, MultiproofVerifier, TreeHead, TreeSize, consistency, inclusion,
    leaf_hash,
};

#[test]
fn a_log_starts_grows_and_opens_again() {
    let site = Site::new();
    let log = site.create();
    let first = log.handle().reader().latest();
    assert_eq!(first.head.size, TreeSize(2));
    assert!(first.text.starts_with("example.com/test-log\n2\n"));

    let a = added(&log.handle(), "a");
    assert_eq!((a.index, a.checkpoint.head.size), (LeafIndex(2), TreeSize(4)));
    let before = check_all(&log.handle());
    log.close().unwrap();

    let log = site.open();
    assert_eq!(check_all(&log.handle()), before);
    assert_eq!(log.handle().reader().latest(), a.checkpoint);
    assert_eq!(added(&log.handle(), "b").index, LeafIndex(4));
    assert_eq!(log.handle().reader().checkpoint_at(TreeSize(2)).unwrap(), Some(first));
    assert_eq!(log.handle().reader().checkpoint_at(TreeSize(3)).unwrap(), None);
    assert_eq!(log.handle().reader().checkpoint_covering(LeafIndex(6)).unwrap(), None);
}

#[test]
fn a_log_is_created_once() {
    let site = Site::new();
    assert!(matches!(site.try_open(), Err(OpenError::NotCreated { .. })));
    let refused = Log::create(site.config(), Notebook::default(), b"no".to_vec());
    assert!(matches!(refused, Err(CreateError::Refused(_))));
    assert!(matches!(site.try_open(), Err(OpenError::NotCreated { .. })));
    drop(site.create());
    let again = Log::create(site.config(), Notebook::default(), b"genesis".to_vec());
    assert!(matches!(again, Err(CreateError::Open(OpenError::Exists { .. }))));
}

#[test]
fn a_log_has_one_writer() {
    let site = Site::new();
    let _log = site.create();
    let second =
        counterfoil_log::Config::embedded(&site.dir(), &site.lock_dir(), common::keys(), site.clock());
    assert_eq!(second.err().unwrap().code(), "lock-held");
    let other = site.root.path().join("other lock");
    let second = counterfoil_log::Config::embedded(&site.dir(), &other, common::keys(), site.clock());
    assert_eq!(second.err().unwrap().code(), "open-in-use");
}

#[test]
fn the_lock_store_lies_outside() {
    let site = Site::new();
    let inside = site.dir().join("lock");
    let config = counterfoil_log::Config::embedded(&site.dir(), &inside, common::keys(), site.clock());
    assert!(matches!(config, Err(OpenError::LockInside { .. })));
}

#[test]
fn a_repeated_entry_is_answered_with_the_first() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    let first = added(&handle, "a");
    let outcomes =
        handle.add(["a", "b", "b", "no", "genesis"].map(|e| e.as_bytes().to_vec()).to_vec()).unwrap();
    let [
        Outcome::Duplicate(a),
        Outcome::Added(b),
        Outcome::Duplicate(b2),
        Outcome::Refused(no),
        Outcome::Duplicate(g),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!((a.index, a.leaf), (first.index, first.leaf));
    assert_eq!((b, b.index), (b2, LeafIndex(4)));
    assert_eq!(no, "no at 5");
    assert_eq!(g.index, LeafIndex(0));

    // Nothing new: nothing is signed, and the latest checkpoint is the answer.
    let Outcome::Duplicate(again) = add(&handle, "b").unwrap() else { panic!() };
    assert_eq!(again.checkpoint, b.checkpoint);
    assert!(matches!(add(&handle, "no").unwrap(), Outcome::Refused(_)));
    assert_eq!(handle.reader().latest(), b.checkpoint);
    drop((handle, log));

    let log = site.open();
    let Outcome::Duplicate(again) = add(&log.handle(), "a").unwrap() else { panic!() };
    assert_eq!(again.index, first.index);
}

#[test]
fn urgent_entries_go_first_but_not_before_what_they_name() {
    let site = Site::new();
    let log = site.create();
    let batch = ["slow", "base", "urgent", "urgent after base"].map(|entry| entry.as_bytes().to_vec());
    let outcomes = log.handle().add(batch.to_vec()).unwrap();
    let indices: Vec<_> = outcomes
        .iter()
        .map(
            |outcome| {
                if let Outcome::Added(logged) = outcome { logged.index.0 } else { panic!("{outcome:?}") }
            },
        )
        .collect();
    assert_eq!(indices, [5, 3, 2, 4]);
}

#[test]
fn concurrent_submitters_all_get_their_entries() {
    const THREADS: u64 = 8;
    const EACH: u64 = 40;
    let site = Site::new();
    let log = site.create();
    let barrier = Arc::new(Barrier::new(THREADS as usize));
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (handle, barrier) = (log.handle(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                for i in 0..EACH {
                    let entry = format!("{thread}/{i}");
                    let logged = added(&handle, &entry);
                    assert!(logged.checkpoint.head.size.0 > logged.index.0);
                    assert_eq!(handle.reader().entry(logged.index).unwrap(), entry.as_bytes());
                    assert_eq!(handle.reader().lookup(&logged.leaf).unwrap(), Some(logged.index));
                    let size = logged.checkpoint.head.size;
                    let proof = handle.reader().inclusion_proof(logged.index, size).unwrap();
                    inclusion::verify(logged.leaf, logged.index, &proof, &logged.checkpoint.head).unwrap();
                    // Somebody else submits it too.
                    let shared = add(&handle, &format!("shared {i}")).unwrap();
                    assert!(matches!(shared, Outcome::Added(_) | Outcome::Duplicate(_)));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let entries = check_all(&log.handle());
    let submitted = entries.iter().filter(|entry| !entry.starts_with(b"seal ")).count() as u64;
    assert_eq!(submitted, 1 + THREADS * EACH + EACH);
}

#[test]
fn tiles_bundles_and_proofs_are_those_of_the_tree() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    for batch in 0..6 {
        let entries = (0..130).map(|i| format!("{batch} {i}").into_bytes()).collect();
        handle.add(entries).unwrap();
    }
    let check = |handle: &counterfoil_log::Handle<Notebook>| {
        let entries = check_all(handle);
        let reader = handle.reader();
        let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let size = tree.size();
        assert_eq!(size, TreeSize(2 + 6 * 131));
        let hash =
            |path: &TilePath, i: u64| tree.node(8 * path.level().unwrap(), path.index() * 256 + i).unwrap();
        for path in tiles(size) {
            for width in 1..=path.width() {
                let path = TilePath::tile(path.level().unwrap(), path.index(), width).unwrap();
                let hashes: Vec<_> = (0..width.into()).map(|i| hash(&path, i)).collect();
                assert_eq!(reader.tile(&path).unwrap(), encode_tile(&hashes), "{path}");
            }
            if !path.is_partial() {
                let stored = std::fs::read(site.dir().join(path.to_string())).unwrap();
                assert_eq!(stored, reader.tile(&path).unwrap());
            }
        }
        for path in entry_bundles(size) {
            let first = path.index() as usize * 256;
            for width in [1, path.width() / 2, path.width()] {
                let path = TilePath::entries(path.index(), width).unwrap();
                let bundle = encode_entries(&entries[first..first + usize::from(width)]).unwrap();
                assert_eq!(reader.tile(&path).unwrap(), bundle);
            }
        }
        let beyond = TilePath::tile(0, 3, 21).unwrap();
        assert!(matches!(reader.tile(&beyond), Err(ReadError::BeyondTree { .. })));
        assert!(matches!(reader.tile(&TilePath::tile(1, 0, 4).unwrap()), Err(ReadError::BeyondTree { .. })));
        assert!(matches!(reader.tile(&TilePath::entries(4, 1).unwrap()), Err(ReadError::BeyondTree { .. })));
        assert!(matches!(reader.entry(LeafIndex(size.0)), Err(ReadError::BeyondTree { .. })));

        for (old, new) in [(1, 2), (2, 788), (255, 256), (256, 512), (511, 787), (788, 788)] {
            let [old, new] = [old, new].map(|size| tree.head_at(TreeSize(size)).unwrap());
            assert_eq!(reader.root_at(old.size).unwrap(), old.root);
            let proof = reader.consistency_proof(old.size, new.size).unwrap();
            consistency::verify(&old, &new, &proof).unwrap();
        }
        for size in [1, 2, 255, 256, 257, 700, 788] {
            let head: TreeHead = tree.head_at(TreeSize(size)).unwrap();
            for index in [0, 1, 254, 255, 256, 600, 787].into_iter().filter(|index| *index < size) {
                let proof = reader.inclusion_proof(LeafIndex(index), head.size).unwrap();
                let leaf = reader.leaf(LeafIndex(index)).unwrap();
                inclusion::verify(leaf, LeafIndex(index), &proof, &head).unwrap();
            }
            assert!(matches!(reader.inclusion_proof(LeafIndex(size), head.size), Err(ReadError::Proof(_))));
        }
        let indices = [0, 3, 255, 256, 700].map(LeafIndex);
        let segments = reader.multiproof(&indices, size).unwrap();
        let mut verifier = MultiproofVerifier::new(size).unwrap();
        for (index, segment) in indices.iter().zip(&segments) {
            verifier.push(*index, segment, leaf_hash(&entries[index.0 as usize])).unwrap();
        }
        assert_eq!(verifier.finish(&segments[5]).unwrap(), tree.head().root);
    };
    check(&handle);
    drop((handle, log));
    check(&site.open().handle());
}

#[test]
fn log_time_increases_although_the_clock_goes_back() {
    let site = Site::new();
    let log = site.create();
    for (now, entry) in [(5_000, "a"), (4_000, "b"), (0, "c"), (5_003, "d"), (9_000, "e")] {
        site.clock.store(now, Ordering::Relaxed);
        added(&log.handle(), entry);
    }
    let times = log.handle().with_app(|app, _| app.times.clone()).unwrap();
    assert_eq!(times, [1_000, 5_000, 5_001, 5_002, 5_003, 9_000]);
    drop(log);
    site.clock.store(3, Ordering::Relaxed);
    let log = site.open();
    added(&log.handle(), "f");
    assert_eq!(log.handle().with_app(|app, _| app.times.last().copied()).unwrap(), Some(9_001));
}

#[test]
fn growth_can_be_waited_for_and_is_announced() {
    let site = Site::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut config = site.config();
    let hook = Arc::clone(&seen);
    config.on_commit = Some(Box::new(move |checkpoint| hook.lock().unwrap().push(checkpoint.head.size.0)));
    let log = Log::create(config, Notebook::default(), b"genesis".to_vec()).unwrap();
    let reader = log.handle().reader().clone();
    assert!(reader.wait(TreeSize(3), Duration::from_millis(10)).is_none());
    let waiter = std::thread::spawn(move || reader.wait(TreeSize(4), Duration::from_secs(30)));
    let logged = added(&log.handle(), "a");
    assert_eq!(waiter.join().unwrap(), Some(logged.checkpoint));
    // Announced once it is indexed, which it is when the log is closed.
    log.close().unwrap();
    assert_eq!(*seen.lock().unwrap(), [2, 4]);
}

#[test]
fn rows_are_listed_in_order() {
    let site = Site::new();
    let log = site.create();
    for entry in ["b1", "a1", "b2", "c1", "b3"] {
        added(&log.handle(), entry);
    }
    let handle = log.handle();
    let reader = handle.reader();
    let indexed = reader.wait_indexed(TreeSize(12), Duration::from_secs(60)).unwrap();
    assert_eq!((&indexed, &reader.indexed()), (&reader.latest(), &reader.latest()));
    let keys = |from: &str, to: &str, limit| {
        let rows = reader.rows("text", from.as_bytes().to_vec()..to.as_bytes().to_vec(), limit).unwrap();
        rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys("a", "c", 9), ["a1", "b1", "b2", "b3"]);
    assert_eq!(keys("b", "z", 2), ["b1", "b2"]);
    assert!(keys("z", "a", 2).is_empty());
    assert_eq!(reader.rows("text", .., 100).unwrap().len(), 12);
    let of_b = reader.last_rows("by first byte", b"b".to_vec()..b"c".to_vec(), 1).unwrap();
    assert_eq!(of_b[0].1, 10_u64.to_be_bytes());
    assert_eq!(reader.row("text", b"d").unwrap(), None);
    assert!(matches!(reader.rows("text", .., limits::READ_ROWS + 1), Err(ReadError::TooMany { .. })));
    // From the end of the range the same, backwards.
    let mut all = reader.rows("text", .., 100).unwrap();
    all.reverse();
    assert_eq!(reader.last_rows("text", .., 100).unwrap(), all);
    assert_eq!(reader.last_rows("text", ..all[0].0.clone(), 2).unwrap(), all[1..3]);
    assert!(matches!(reader.last_rows("text", .., limits::READ_ROWS + 1), Err(ReadError::TooMany { .. })));
}

#[test]
fn limits_hold_at_and_over() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    let long = vec![b'x'; limits::ENTRY_BYTES];
    assert!(matches!(handle.add(vec![long.clone()]).unwrap()[..], [Outcome::Added(_)]));
    assert_eq!(handle.reader().entry(LeafIndex(2)).unwrap(), long);
    let longer = vec![b"short".to_vec(), vec![b'x'; limits::ENTRY_BYTES + 1]];
    let error = handle.add(longer).unwrap_err();
    assert!(matches!(error, AddError::EntryTooLong { position: 1, length: 65_536 }), "{error}");

    let full: Vec<_> = (0..128).map(|i| vec![i; limits::ENTRY_BYTES - 1]).collect();
    assert_eq!(full.iter().map(|entry| entry.len() + 2).sum::<usize>(), limits::BATCH_BYTES);
    let mut over = full.clone();
    over[0].push(0);
    assert!(matches!(handle.add(over), Err(AddError::TooLarge { .. })));
    assert_eq!(handle.add(full).unwrap().len(), 128);
    assert!(handle.add(vec![]).unwrap().is_empty());

    let range = |n| 0..n;
    assert!(matches!(
        handle.reader().entries(range(limits::READ_ENTRIES + 1)),
        Err(ReadError::TooMany { .. })
    ));
    assert_eq!(handle.reader().entries(2..4).unwrap().len(), 2);
    drop((handle, log));
    check_all(&site.open().handle());
}

#[test]
fn a_batch_holds_so_many_entries() {
    let root = Site::new();
    let log = Log::create(root.config(), Raw, b"first".to_vec()).unwrap();
    let entries = |n: usize| (0..n as u32).map(|i| i.to_be_bytes().to_vec()).collect::<Vec<_>>();
    let over = log.handle().add(entries(limits::BATCH_ENTRIES + 1));
    assert!(matches!(over, Err(AddError::TooMany { .. })));
    let outcomes = log.handle().add(entries(limits::BATCH_ENTRIES)).unwrap();
    let Some(Outcome::Added(last)) = outcomes.last() else { panic!() };
    assert_eq!(last.checkpoint.head.size.0, 1 + limits::BATCH_ENTRIES as u64);
    drop(log);
    let log = Log::open(root.config(), Raw).unwrap();
    assert_eq!(log.handle().reader().latest(), last.checkpoint);
}

#[test]
fn a_full_queue_says_so() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    let (release, wait) = mpsc::channel::<()>();
    let (started, start) = mpsc::channel();
    handle
        .inspect(move |_, _| {
            started.send(()).unwrap();
            wait.recv().unwrap();
        })
        .unwrap();
    start.recv().unwrap();
    let (reply, answers) = mpsc::channel();
    let submit = |entry: Vec<u8>| {
        let reply = reply.clone();
        handle.submit(vec![entry], move |answer| reply.send(answer).unwrap());
    };
    // By bytes.
    let mut sent = 0;
    for i in 0..limits::QUEUE_BYTES / (limits::ENTRY_BYTES + 2) + 1 {
        let mut entry = vec![0; limits::ENTRY_BYTES];
        entry[..8].copy_from_slice(&i.to_be_bytes());
        submit(entry);
        sent += 1;
    }
    assert!(matches!(answers.recv().unwrap(), Err(AddError::Busy { .. })));
    assert!(answers.try_recv().is_err(), "only one was over the limit");
    // By number.
    let mut busy = 0;
    for i in 0..limits::QUEUE_JOBS {
        submit(i.to_be_bytes().to_vec());
        if let Ok(answer) = answers.try_recv() {
            assert!(matches!(answer, Err(AddError::Busy { .. })));
            busy += 1;
        } else {
            sent += 1;
        }
    }
    assert!(busy > 0);
    release.send(()).unwrap();
    drop(log);
    let answered: Vec<_> = answers.try_iter().collect();
    assert_eq!(answered.len(), sent - 1);
    assert!(answered.iter().all(Result::is_ok), "what was taken is answered before the log closes");
    assert!(matches!(add(&handle, "late"), Err(AddError::Closed)));
}

#[test]
fn a_panic_of_the_application_stops_the_log() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    assert_eq!(add(&handle, "panic").unwrap_err().code(), "fatal-panicked");
    assert_eq!(add(&handle, "a").unwrap_err().code(), "fatal-panicked");
    assert_eq!(handle.with_app(|_, _| ()).unwrap_err().code(), "fatal-panicked");
    assert!(handle.reader().entry(LeafIndex(0)).is_ok());
    assert_eq!(log.close().unwrap_err().code(), "fatal-panicked");
    drop(handle);
    added(&site.open().handle(), "a");
}

#[test]
fn a_panic_of_a_question_does_not() {
    let site = Site::new();
    let log = site.create();
    let answer: Result<(), _> = log.handle().with_app(|_, _| panic!("as the test wanted"));
    assert!(matches!(answer, Err(AddError::Closed)));
    added(&log.handle(), "a");
}
