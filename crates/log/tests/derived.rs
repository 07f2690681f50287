//! What is derived from the journal comes back when it is lost, and is not believed when it is damaged.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Site, add, added, check_all};
use counterfoil_log::{Fatal, Log, OpenError, Outcome, Raw, ReadError};
use counterfoil_tlog::LeafIndex;
use counterfoil_tlog::tile::TilePath;

fn grown(site: &Site) -> Vec<Vec<u8>> {
    let log = site.create();
    for batch in 0..3 {
        let entries = (0..100).map(|i| format!("{batch} {i}").into_bytes()).collect();
        log.handle().add(entries).unwrap();
    }
    check_all(&log.handle())
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.append(&mut files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn aside(site: &Site) -> usize {
    let names =
        fs::read_dir(site.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("index.damaged")).count()
}

#[test]
fn everything_but_the_journal_can_be_deleted() {
    let site = Site::new();
    let entries = grown(&site);
    let tiles = site.dir().join("tile");
    let before: Vec<_> = files(&tiles).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert_eq!(before.len(), 2);
    for name in ["tile", "index", "scratch"] {
        fs::remove_dir_all(site.dir().join(name)).unwrap();
    }
    assert_eq!(check_all(&site.open().handle()), entries);
    let after: Vec<_> = files(&tiles).into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    assert_eq!(after, before);
}

#[test]
fn torn_tiles_are_written_again_and_foreign_ones_are_not() {
    let site = Site::new();
    grown(&site);
    for path in files(&site.dir().join("tile")) {
        let right = fs::read(&path).unwrap();
        let mut zeros = right.clone();
        zeros[right.len() / 2..].fill(0);
        for torn in [&right[..0], &right[..right.len() / 2], &zeros] {
            fs::write(&path, torn).unwrap();
            drop(site.open());
            assert_eq!(fs::read(&path).unwrap(), right);
        }
        let mut foreign = right.clone();
        foreign[100] = !foreign[100] | 1;
        fs::write(&path, &foreign).unwrap();
        let error = site.try_open().err().unwrap();
        assert!(matches!(error, OpenError::Recovery(Fatal::Published { .. })), "{error}");
        assert_eq!(fs::read(&path).unwrap(), foreign);
        fs::write(&path, right).unwrap();
    }
    drop(site.open());
}

#[test]
fn files_damaged_while_the_log_runs_give_errors_and_no_wrong_bytes() {
    let site = Site::new();
    grown(&site);
    let log = site.open();
    let handle = log.handle();
    let reader = handle.reader();
    let bundle = site.dir().join("tile/entries/000");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[3] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let path = TilePath::entries(0, 256).unwrap();
    assert!(matches!(reader.tile(&path), Err(ReadError::DamagedFile { .. })));
    assert!(reader.tile(&TilePath::entries(0, 255).unwrap()).is_ok(), "made from the journal");

    // Entry 5, in the journal.
    let entry = reader.entry(LeafIndex(5)).unwrap();
    let mut journal = fs::read(site.journal()).unwrap();
    let at = journal.windows(entry.len()).position(|window| window == entry).unwrap();
    journal[at] ^= 4;
    fs::write(site.journal(), journal).unwrap();
    assert!(matches!(reader.entry(LeafIndex(5)), Err(ReadError::DamagedEntry { index: LeafIndex(5), .. })));
    assert!(reader.entry(LeafIndex(6)).is_ok());
}

#[test]
fn a_tile_on_disk_is_checked_before_it_is_used() {
    let site = Site::new();
    let log = Log::create(site.config(), Raw, b"first".to_vec()).unwrap();
    let path = site.dir().join("tile/0/000");
    let handle = log.handle();
    let reader = handle.reader();
    let grow = |from: u32| {
        for batch in from..from + 16 {
            let entries = (0..4096_u32).map(|i| (batch * 4096 + i).to_be_bytes().to_vec()).collect();
            handle.add(entries).unwrap();
        }
    };
    // 256 more tiles push the first one out of memory.
    grow(0);
    grow(16);
    assert!(reader.leaf(LeafIndex(3)).is_ok(), "read from disk");
    grow(32);
    let mut tile = fs::read(&path).unwrap();
    tile[40] ^= 1;
    fs::write(&path, tile).unwrap();
    assert!(matches!(reader.leaf(LeafIndex(3)), Err(ReadError::DamagedFile { .. })));
    assert!(reader.leaf(LeafIndex(300)).is_ok());
}

/// Each byte of each file of sled's, in strides: whatever sled makes of it, the log opens, finds everything, and answers
/// repeated entries as such.
#[test]
fn a_damaged_index_is_rebuilt() {
    let site = Site::new();
    let entries = grown(&site);
    let index = site.dir().join("index");
    let pristine = site.root.path().join("pristine");
    common::copy_dir(&index, &pristine);
    let names: Vec<_> =
        files(&index).iter().map(|path| path.strip_prefix(&index).unwrap().to_owned()).collect();
    assert!(!names.is_empty());
    let (mut tried, mut replaced) = (0, 0);
    for name in &names {
        let bytes = fs::read(pristine.join(name)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut damages: Vec<Vec<u8>> = vec![vec![], vec![0xff; bytes.len()], vec![0; bytes.len()]];
        damages.push(bytes[..used / 2].to_vec());
        for step in 0..12 {
            let mut flipped = bytes.clone();
            if used > 0 {
                flipped[step * used / 12] ^= 0x10;
            }
            damages.push(flipped);
        }
        for damage in damages {
            tried += 1;
            fs::remove_dir_all(&index).unwrap();
            common::copy_dir(&pristine, &index);
            fs::write(index.join(name), damage).unwrap();
            let log = site.open();
            assert_eq!(check_all(&log.handle()), entries);
            assert!(matches!(add(&log.handle(), "0 0").unwrap(), Outcome::Duplicate(_)));
            drop(log);
            replaced += aside(&site);
            for path in fs::read_dir(site.dir()).unwrap().map(|entry| entry.unwrap().path()) {
                if path.file_name().unwrap().to_str().unwrap().starts_with("index.damaged") {
                    fs::remove_dir_all(path).unwrap();
                }
            }
        }
    }
    assert!(replaced > 0, "no damage was ever noticed");
    println!("count damages of files of the index, all found or harmless {tried}");
}

/// Opens the index while the log is closed. sled lets go of its lock a moment after it was closed.
fn index_of(site: &Site) -> sled::Db {
    let open = || sled::open(site.dir().join("index")).ok();
    let mut attempts =
        std::iter::repeat_with(open).inspect(|_| std::thread::sleep(Duration::from_millis(10))).take(500);
    attempts.find_map(|db| db).unwrap()
}

/// Rows that sled returns without complaint, but that are wrong, missing, or of no entry.
#[test]
fn wrong_rows_are_not_believed() {
    let site = Site::new();
    let entries = grown(&site);
    let leaf = counterfoil_tlog::leaf_hash(&entries[5]);
    let check = |change: &dyn Fn(&sled::Db)| {
        let db = index_of(&site);
        change(&db);
        db.flush().unwrap();
        drop(db);
        let log = site.open();
        assert_eq!(check_all(&log.handle()), entries);
    };
    check(&|db| drop(db.open_tree("leaf").unwrap().remove(leaf.as_bytes()).unwrap()));
    check(&|db| drop(db.open_tree("leaf").unwrap().insert(leaf.as_bytes(), &7_u64.to_be_bytes()).unwrap()));
    check(&|db| drop(db.open_tree("row/text").unwrap().insert(&entries[5], &b"x"[..]).unwrap()));
    check(&|db| db.open_tree("row/text").unwrap().clear().unwrap());
    let new = counterfoil_tlog::leaf_hash(b"new");
    check(&|db| drop(db.open_tree("leaf").unwrap().insert(new.as_bytes(), &3_u64.to_be_bytes()).unwrap()));
    check(&|db| drop(db.open_tree("row/more").unwrap().insert(b"key", b"value").unwrap()));
    check(&|db| drop(db.remove("watermark").unwrap()));
    check(&|db| drop(db.insert("watermark", &[0; 52][..]).unwrap()));
    assert_eq!(aside(&site), 8, "an index that is not exactly this journal's is replaced");
    drop(site.open());
    assert_eq!(aside(&site), 8, "another is kept");
}

/// The files of the index are overwritten, emptied and deleted again and again while entries come in: each is admitted once,
/// every repetition is answered with the first, and in the end all rows are there.
#[test]
fn an_index_that_is_garbled_under_load_admits_nothing_twice() {
    let site = Site::new();
    let log = site.create();
    let handle = log.handle();
    let index = site.dir().join("index");
    let batch = |round: u64| (0..64).map(|i| format!("{round} {i}").into_bytes()).collect::<Vec<_>>();
    let mut expected = 2;
    for round in 0..48 {
        let outcomes = handle.add(batch(round)).unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Added(_))), "{round}");
        expected += 65;
        for path in files(&index) {
            let bytes = fs::read(&path).unwrap_or_default();
            // Files come and go while sled works.
            let _ = match round % 4 {
                0 => fs::write(&path, vec![0xff; bytes.len()]),
                1 => fs::write(&path, b""),
                2 => fs::remove_file(&path),
                _ => Ok(()),
            };
        }
        if round % 8 == 7 {
            let again = handle.add(batch(round / 2)).unwrap();
            assert!(again.iter().all(|outcome| matches!(outcome, Outcome::Duplicate(_))), "{round}");
        }
    }
    assert_eq!(handle.reader().latest().head.size.0, expected);
    let entries = check_all(&handle);
    drop((handle, log));
    assert_eq!(check_all(&site.open().handle()), entries);
}

#[test]
fn an_index_of_another_log_is_replaced() {
    let (site, other) = (Site::new(), Site::new());
    grown(&site);
    let log = other.create();
    added(&log.handle(), "x");
    drop(log);
    fs::remove_dir_all(other.dir().join("index")).unwrap();
    common::copy_dir(&site.dir().join("index"), &other.dir().join("index"));
    let log = other.open();
    let handle = log.handle();
    assert_eq!(handle.reader().row("text", b"0 0").unwrap(), None);
    assert!(matches!(add(&handle, "0 0").unwrap(), Outcome::Added(_)));
    check_all(&handle);
}
