//! Logs as directories of files, made by no code of the crate under test.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use counterfoil_testkit::{Ledger, Scenario, trigger_body};
use counterfoil_tlog::{
    Checkpoint, Hash, HashReader, MemoryTree, SeedSigner, Signer as _, TreeSize, leaf_hash,
    tile::{encode_entries, encode_tile, entry_bundles, tiles},
};
use tempfile::TempDir;

pub const RAW_ORIGIN: &str = "example.org/raw";

/// Two threads.
pub const JOBS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Writes the files of the tree over these entries, without a checkpoint.
pub fn publish<E: AsRef<[u8]>>(directory: &Path, entries: &[E]) -> MemoryTree {
    let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry.as_ref())).collect();
    let size = tree.size();
    for path in entry_bundles(size) {
        let start = path.index() as usize * 256;
        let bytes = encode_entries(&entries[start..start + usize::from(path.width())]).unwrap();
        write(directory, &path.to_string(), &bytes);
    }
    for path in tiles(size) {
        let start = path.index() * 256;
        let level = path.level().unwrap();
        let row: Vec<Hash> =
            (start..start + u64::from(path.width())).map(|at| tree.node(level * 8, at).unwrap()).collect();
        write(directory, &path.to_string(), &encode_tile(&row));
    }
    tree
}

pub fn write(directory: &Path, path: &str, bytes: &[u8]) {
    let file = directory.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, bytes).unwrap();
}

/// A directory with what this log serves under its last checkpoint.
pub fn published(ledger: &Ledger) -> TempDir {
    let directory = TempDir::new().unwrap();
    publish(directory.path(), ledger.entries());
    write(directory.path(), "checkpoint", ledger.checkpoint(ledger.size()).unwrap().as_bytes());
    directory
}

/// A records log with exactly this many entries, the last a snapshot.
pub fn records_log(size: u64) -> Scenario {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    while scenario.ledger.size() < size - 1 {
        if scenario.ledger.size() % 40 == 39 {
            scenario.ledger.close();
        } else {
            scenario.observe(run);
        }
    }
    scenario.ledger.close();
    assert_eq!(scenario.ledger.size(), size);
    scenario
}

pub fn raw_signer() -> SeedSigner {
    SeedSigner::ed25519(RAW_ORIGIN, &[7; 32]).unwrap()
}

/// The signed checkpoint of a raw log, with these extension lines.
pub fn raw_checkpoint(tree: &MemoryTree, size: u64, extensions: &str) -> String {
    let head = tree.head_at(TreeSize(size)).unwrap();
    let text = format!("{}{extensions}", Checkpoint::new(RAW_ORIGIN, head).unwrap());
    Checkpoint::parse(&text).unwrap().sign(&raw_signer()).unwrap().to_string()
}

/// A raw log of this size: entries that are no records, some of them empty.
pub fn raw_log(size: u64) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let tree = publish(directory.path(), &raw_entries(size));
    write(directory.path(), "checkpoint", raw_checkpoint(&tree, size, "").as_bytes());
    (directory, raw_signer().key().to_string())
}

pub fn raw_entries(size: u64) -> Vec<Vec<u8>> {
    (0..size).map(|at| at.to_string().repeat(at as usize % 3).into_bytes()).collect()
}

/// Every file below a directory, by its path relative to it.
pub fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, below: &Path, out: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(below).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, out);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                out.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let mut out = Vec::new();
    walk(directory, directory, &mut out);
    out.sort();
    out
}

/// Flips one bit in the middle of a file.
pub fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// A records log that admits, at this index, a record whose signature does not hold.
pub fn forged_log(size: u64) -> Scenario {
    let mut scenario = records_log(size);
    let (gate, scout) = (scenario.cast.gate.clone(), scenario.cast.scout.clone());
    let record = scenario.ledger.sign(&gate, None, trigger_body(&scout, "forged"));
    let mut bytes = record.bytes().to_vec();
    let sig = b"\"sig\":\"";
    let at = bytes.windows(sig.len()).position(|window| window == sig).unwrap() + sig.len() + 10;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    scenario.ledger.force(&bytes).unwrap_err();
    scenario.ledger.close();
    scenario
}
