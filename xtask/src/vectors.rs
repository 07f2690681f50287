//! `test-vectors/`: data that any implementation can be run against, all of it made here.

mod bundles;
mod flags;
mod logs;
mod policies;
mod records;

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

/// Generated files by their path under `test-vectors/`.
type Files = BTreeMap<String, Vec<u8>>;

/// The folders that hold nothing but generated files.
const FOLDERS: [&str; 4] = ["records", "logs", "bundles", "policy"];

/// Writes every file, and removes what no case makes any more.
pub fn write(root: &Path) -> Vec<String> {
    let root = root.join("test-vectors");
    let files = generate();
    for (path, _) in existing(&root) {
        if !files.contains_key(&path) {
            fs::remove_file(root.join(path)).expect("a listed file can be removed");
        }
    }
    for (path, content) in &files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        fs::write(path, content).expect("a file can be written");
    }
    println!("{} files", files.len());
    Vec::new()
}

/// What differs between the files and what would be written.
pub fn check(root: &Path) -> Vec<String> {
    let wanted = generate();
    let found = existing(&root.join("test-vectors"));
    let changed = wanted.iter().filter(|(path, content)| found.get(*path) != Some(content));
    let changed = changed.map(|(path, _)| format!("test-vectors/{path}: differs; run `cargo xtask vectors`"));
    let stray = found.keys().filter(|path| !wanted.contains_key(*path));
    changed.chain(stray.map(|path| format!("test-vectors/{path}: no case makes this file"))).collect()
}

fn existing(root: &Path) -> Files {
    let mut files = Files::new();
    for folder in FOLDERS {
        let Ok(listing) = fs::read_dir(root.join(folder)) else { continue };
        for entry in listing {
            let name = entry.expect("a listing").file_name().into_string().expect("an ASCII name");
            let content = fs::read(root.join(folder).join(&name)).expect("a listed file");
            files.insert(format!("{folder}/{name}"), content);
        }
    }
    if let Ok(content) = fs::read(root.join("flags.json")) {
        files.insert("flags.json".to_owned(), content);
    }
    files
}

fn generate() -> Files {
    let mut files = Files::new();
    records::generate(&mut files);
    logs::generate(&mut files);
    bundles::generate(&mut files);
    policies::generate(&mut files);
    let flags = flags::FLAGS
        .iter()
        .map(|(name, bug, effect)| ((*name).to_owned(), json!({"bug": bug, "effect": effect})));
    insert(&mut files, "flags.json", &Value::Object(flags.collect()));
    for (name, _, _) in flags::FLAGS {
        let quoted = format!("{name:?}");
        let is_used = files.iter().any(|(path, content)| {
            path.contains('/') && content.windows(quoted.len()).any(|window| window == quoted.as_bytes())
        });
        assert!(is_used, "no vector carries the flag {name}");
    }
    files
}

fn insert(files: &mut Files, path: &str, content: &Value) {
    let mut text = serde_json::to_vec_pretty(content).expect("JSON can be written");
    text.push(b'\n');
    assert!(files.insert(path.to_owned(), text).is_none(), "{path} is made twice");
}

/// What every vector starts with.
fn heading(name: &str, description: &str, flags: &[&str], fails: bool) -> serde_json::Map<String, Value> {
    assert!(!fails || !flags.is_empty(), "{name} fails and carries no flag");
    for flag in flags {
        assert!(flags::FLAGS.iter().any(|(known, _, _)| known == flag), "{name}: no flag {flag}");
    }
    let members = json!({"name": name, "description": description, "flags": flags});
    members.as_object().cloned().expect("an object")
}
