//! Where the third-party vectors are, and how they are read.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_tlog::{Hash, MemoryTree, leaf_hash};
use serde_json::Value;

/// The folder of one vector set under `COUNTERFOIL_VECTORS`; `None`, loudly, where there are no vectors. With
/// `CI=true` their absence is a failure.
pub fn vectors(set: &str) -> Option<PathBuf> {
    let found = std::env::var_os("COUNTERFOIL_VECTORS").map(|root| Path::new(&root).join(set));
    match found {
        Some(folder) if folder.is_dir() => Some(folder),
        found => {
            let message =
                format!("vectors {set} NOT TESTED: COUNTERFOIL_VECTORS does not lead to them ({found:?})");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
            eprintln!("{message}");
            None
        }
    }
}

pub fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn read_text(path: impl AsRef<Path>) -> String {
    String::from_utf8(read(path)).unwrap()
}

pub fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

/// All JSON files below a folder, each with its path.
pub fn json_files(folder: &Path) -> Vec<(PathBuf, Value)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(json_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let value = json(&path);
            files.push((path, value));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

pub fn base64(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

pub fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The tree of `size` one-byte leaves 0, 1, 2, …, modulo 256.
pub fn numbered_tree(size: u64) -> MemoryTree {
    (0..size).map(|i| leaf_hash(&[i as u8])).collect()
}

pub fn hash_from_hex(text: &str) -> Hash {
    Hash::new(unhex(text).try_into().unwrap())
}
