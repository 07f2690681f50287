//! Exports: the same bytes, in an order that an interruption can't hurt, and no word over a file that changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod support;

use std::{fs, path::Path};

use counterfoil_audit::{Export, ExportError, Exported, Source, Under};
use counterfoil_tlog::VerifierKey;
use support::{
    JOBS, files, flip, publish, published, raw_checkpoint, raw_entries, raw_log, records_log, write,
};
use tempfile::TempDir;

fn export(from: &Path, to: &Path, vkey: &str) -> Result<Exported, ExportError> {
    let source = Source::directory(from)?;
    let key = VerifierKey::parse(vkey).unwrap();
    Export::open(&source, Under::Key(&key), to, JOBS)?.step(&mut |_| {})
}

fn code(exported: Result<Exported, ExportError>) -> &'static str {
    exported.unwrap_err().code()
}

#[test]
fn an_export_has_every_file_of_the_log_byte_for_byte() {
    for size in [0, 1, 255, 256, 257, 600, 65_537] {
        let (log, vkey) = raw_log(size);
        let to = TempDir::new().unwrap();
        let exported = export(log.path(), to.path(), &vkey).unwrap();
        assert_eq!(exported.head.size.0, size);
        let (there, expected) = (files(to.path()), files(log.path()));
        assert_eq!(exported.written, expected.len() as u64);
        assert!(there == expected, "size {size}");
        // The same again writes nothing.
        assert_eq!(export(log.path(), to.path(), &vkey).unwrap().written, 0);
    }
}

#[test]
fn a_records_log_is_exported_under_its_trust_file() {
    let scenario = records_log(257);
    let (log, to) = (published(&scenario.ledger), TempDir::new().unwrap());
    let (source, trust) = (Source::directory(log.path()).unwrap(), scenario.ledger.trust().trust());
    let mut export = Export::open(&source, Under::Trust(&trust), to.path(), JOBS).unwrap();
    export.step(&mut |_| {}).unwrap();
    assert!(files(to.path()) == files(log.path()));
}

/// The log grows in this directory, and is exported after each step.
fn grown(sizes: &[u64]) -> (TempDir, TempDir, String) {
    let (log, to, entries) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), raw_entries(*sizes.last().unwrap()));
    let vkey = raw_log(1).1;
    for size in sizes {
        let tree = publish(log.path(), &entries[..*size as usize]);
        write(log.path(), "checkpoint", raw_checkpoint(&tree, *size, "").as_bytes());
        export(log.path(), to.path(), &vkey).unwrap();
    }
    (log, to, vkey)
}

#[test]
fn partial_files_of_every_exported_checkpoint_stay() {
    let (log, to, _) = grown(&[0, 3, 255, 256, 300, 600]);
    // The log's directory keeps what each size needed; so does the export.
    assert!(files(to.path()) == files(log.path()));
    assert!(to.path().join("tile/0/000.p/3").exists() && to.path().join("tile/entries/001.p/44").exists());
}

#[test]
fn partial_files_that_a_source_no_longer_has_are_cut_from_full_ones() {
    let (log, vkey) = raw_log(300);
    let entries = raw_entries(600);
    // The checkpoint is still that of 300, the files are those of 600 entries without older partial ones.
    fs::remove_dir_all(log.path().join("tile")).unwrap();
    publish(log.path(), &entries);
    let (to, whole) = (TempDir::new().unwrap(), raw_log(300).0);
    export(log.path(), to.path(), &vkey).unwrap_err();
    // The tile of level 1 is partial in both; nothing larger holds it.
    write(log.path(), "tile/1/000.p/1", &fs::read(whole.path().join("tile/1/000.p/1")).unwrap());
    export(log.path(), to.path(), &vkey).unwrap();
    assert!(files(to.path()) == files(whole.path()));
}

#[test]
fn a_flipped_bit_in_the_directory_is_named_and_nothing_is_written() {
    let (log, to, vkey) = grown(&[3, 300, 600]);
    for (name, bytes) in files(to.path()) {
        if name == "checkpoint" {
            continue;
        }
        flip(&to.path().join(&name));
        let error = export(log.path(), to.path(), &vkey).unwrap_err();
        assert_eq!(error.code(), "export-damaged", "{name}");
        assert!(error.to_string().contains(&name), "{name}: {error}");
        fs::write(to.path().join(&name), bytes).unwrap();
    }
    assert_eq!(export(log.path(), to.path(), &vkey).unwrap().written, 0);
    flip(&to.path().join("checkpoint"));
    assert_eq!(code(export(log.path(), to.path(), &vkey)), "export-foreign");
}

#[test]
fn a_file_that_stands_there_from_before_is_compared_and_not_replaced() {
    let (log, vkey) = raw_log(600);
    let to = TempDir::new().unwrap();
    export(log.path(), to.path(), &vkey).unwrap();
    fs::remove_file(to.path().join("checkpoint")).unwrap();
    let file = to.path().join("tile/entries/001");
    flip(&file);
    let changed = fs::read(&file).unwrap();
    assert_eq!(code(export(log.path(), to.path(), &vkey)), "export-differs");
    assert_eq!(fs::read(&file).unwrap(), changed);
    assert!(!to.path().join("checkpoint").exists());
}

#[test]
fn an_export_that_broke_off_after_any_file_is_completed() {
    let (log, vkey) = raw_log(300);
    let whole = files(log.path());
    for there in 0..whole.len() {
        let to = TempDir::new().unwrap();
        // Every file but the checkpoint may stand there already, and half of the one that was being written.
        for (name, bytes) in whole.iter().filter(|(name, _)| name != "checkpoint").take(there) {
            write(to.path(), name, bytes);
        }
        write(to.path(), ".unfinished", &whole[there].1[..whole[there].1.len() / 2]);
        export(log.path(), to.path(), &vkey).unwrap();
        assert!(files(to.path()) == whole, "after {there} files");
    }
}

#[test]
fn a_damaged_source_is_not_exported() {
    let (log, vkey) = raw_log(600);
    for (name, bytes) in files(log.path()) {
        let to = TempDir::new().unwrap();
        flip(&log.path().join(&name));
        let error = export(log.path(), to.path(), &vkey).unwrap_err();
        if name == "checkpoint" {
            assert!(["checkpoint-signature", "checkpoint-form"].contains(&error.code()), "{error}");
        } else {
            assert_eq!(error.code(), "source-damaged", "{name}: {error}");
            assert!(error.to_string().contains(&name), "{name}: {error}");
        }
        assert!(!to.path().join("checkpoint").exists());
        fs::write(log.path().join(&name), bytes).unwrap();
    }
}

#[test]
fn a_source_that_is_behind_or_was_forked_is_refused() {
    let (_, to, vkey) = grown(&[3, 300]);
    let before = files(to.path());
    let behind = raw_log(256).0;
    assert_eq!(code(export(behind.path(), to.path(), &vkey)), "export-ahead");
    for size in [300, 600] {
        let fork = TempDir::new().unwrap();
        let mut entries = raw_entries(size);
        entries[200] = b"another".to_vec();
        let tree = publish(fork.path(), &entries);
        write(fork.path(), "checkpoint", raw_checkpoint(&tree, size, "").as_bytes());
        assert_eq!(code(export(fork.path(), to.path(), &vkey)), "export-inconsistent", "{size}");
    }
    assert!(files(to.path()) == before);
}

#[test]
fn two_exports_do_not_work_on_one_directory() {
    let (log, vkey) = raw_log(3);
    let (to, key) = (TempDir::new().unwrap(), VerifierKey::parse(&vkey).unwrap());
    let source = Source::directory(log.path()).unwrap();
    let _first = Export::open(&source, Under::Key(&key), to.path(), JOBS).unwrap();
    assert_eq!(code(export(log.path(), to.path(), &vkey)), "export-busy");
}
