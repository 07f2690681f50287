//! The table in `README.md` beside this file: every test that it names is there.

use std::{collections::BTreeSet, fs, path::Path};

/// The rows: a failure, and the tests that attack it, each as `file::test`.
fn rows(table: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.contains("::"));
    rows.map(|line| {
        let (failure, tests) = line[2..].split_once(" | ").unwrap();
        let named = tests.split('`').skip(1).step_by(2);
        (failure, named.map(|test| test.rsplit_once("::").unwrap()).collect())
    })
    .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

#[test]
fn each_failure_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bypass");
    let root = folder.join("../..");
    let table = read(&folder.join("README.md"));
    let (rows, mut known) = (rows(&table), BTreeSet::new());
    for (failure, tests) in &rows {
        assert!(known.insert(failure), "{failure} stands twice");
        assert!(!tests.is_empty(), "{failure}");
        for (file, test) in tests {
            let elsewhere = ["crates/", "examples/"].iter().any(|place| file.starts_with(place));
            let path = if elsewhere { root.join(file) } else { folder.join(file) };
            let source = read(&path);
            assert!(source.contains(&format!("#[test]\nfn {test}() {{")), "{failure}: no {file}::{test}");
        }
    }
    let named: BTreeSet<_> = rows.iter().flat_map(|(_, tests)| tests).collect();
    println!(
        "count attacks that these names are of, in this corpus and beside what they attack {}",
        named.len()
    );
    println!("count failures of other systems, each attacked by name {}", rows.len());
    // Of the tests before gates not each is a refusal.
    let attacks = tests(&folder) - tests(&folder.join("gates"));
    let lies = tests(&folder.join("lying")) + count(&folder.join("lying.rs"));
    assert!(lies > 0 && attacks > lies);
    println!("count attacks of the bypass corpus, each refused {attacks}");
    println!("count lies of a log about approvals, none of which convinces a verifier {lies}");
}

/// How many tests are in the files below a folder.
fn tests(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { tests(&path) } else { count(&path) }).sum()
}

fn count(file: &Path) -> usize {
    read(file).lines().filter(|line| *line == "#[test]").count()
}
