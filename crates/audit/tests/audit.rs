//! Audits: good logs at every edge of a tile, each damaged file by name, each lie of a log by its code.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod support;

use std::{collections::BTreeSet, fs, path::Path};

use counterfoil_audit::{Audit, AuditError, Blame, Report, Source, Under};
use counterfoil_receipt::{RecordId, Type, action::Json, body::Policy};
use counterfoil_testkit::{Ledger, Scenario, policy_document, witness};
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Conclusion, Dimension, Trust};
use support::{
    JOBS, RAW_ORIGIN, files, flip, forged_log, publish, published, raw_checkpoint, raw_entries, raw_log,
    records_log, write,
};

/// Audits what is in a directory as a records log.
fn of_records(directory: &Path, trust: &Trust) -> Result<Report, AuditError> {
    let source = Source::directory(directory).unwrap();
    plain(&source, Under::Trust(trust)).run(&mut |_, _| {})
}

fn plain<'a>(source: &'a Source, under: Under<'a>) -> Audit<'a> {
    Audit { source, under, jobs: JOBS, since: Vec::new(), documents: Vec::new(), resume: None }
}

fn of_raw(directory: &Path, since: &[String]) -> Result<Report, AuditError> {
    let (source, key) = (Source::directory(directory).unwrap(), VerifierKey::parse(&raw_log(1).1).unwrap());
    let since = since.iter().map(|note| note.clone().into_bytes()).collect();
    Audit { since, ..plain(&source, Under::Key(&key)) }.run(&mut |_, _| {})
}

fn of_ledger(ledger: &Ledger) -> Report {
    let directory = published(ledger);
    of_records(directory.path(), &ledger.trust().trust()).unwrap()
}

/// What was found, by code and blame.
fn found(report: &Report) -> Vec<(&'static str, Blame)> {
    report.findings.iter().map(|finding| (finding.code, finding.blame)).collect()
}

#[test]
fn a_good_records_log_is_shown() {
    for size in [255, 256, 257, 600] {
        let report = of_ledger(&records_log(size).ledger);
        assert_eq!((report.conclusion(), found(&report)), (Conclusion::Shown, Vec::new()), "size {size}");
        assert_eq!(report.checkpoint.head.size.0, size);
        assert_eq!(report.types.values().sum::<u64>(), size);
    }
}

#[test]
fn a_good_run_with_decisions_and_executions_is_shown() {
    let mut scenario = Scenario::new();
    scenario.approved_run();
    scenario.ledger.close();
    let report = of_ledger(&scenario.ledger);
    assert_eq!((report.conclusion(), found(&report)), (Conclusion::Shown, Vec::new()));
    assert!(report.types[Type::Execution.as_str()] > 0);
}

#[test]
fn a_good_raw_log_is_shown_whatever_its_entries_are() {
    for size in [0, 1, 255, 256, 257, 600, 65_537] {
        let report = of_raw(raw_log(size).0.path(), &[]).unwrap();
        assert_eq!((report.conclusion(), found(&report)), (Conclusion::Shown, Vec::new()), "size {size}");
        assert!(!report.records);
    }
}

#[test]
fn extension_lines_are_tolerated_in_a_foreign_log_and_refused_in_a_records_log() {
    let (log, entries) = (tempfile::tempdir().unwrap(), raw_entries(5));
    let tree = publish(log.path(), &entries);
    write(log.path(), "checkpoint", raw_checkpoint(&tree, 5, "Timestamp: 1\n").as_bytes());
    let report = of_raw(log.path(), &[]).unwrap();
    assert_eq!((report.conclusion(), report.checkpoint.extensions), (Conclusion::Shown, 1));

    let scenario = records_log(60);
    let log = published(&scenario.ledger);
    let note = scenario.ledger.checkpoint(60).unwrap();
    let text = note.split_once("\n\n").unwrap().0;
    write(log.path(), "checkpoint", scenario.ledger.sign_note(&format!("{text}\nmore\n")).as_bytes());
    let error = of_records(log.path(), &scenario.ledger.trust().trust()).unwrap_err();
    assert_eq!(error.code(), "checkpoint-form");
}

#[test]
fn one_flipped_bit_in_any_file_is_found_and_the_file_is_named() {
    let scenario = records_log(600);
    let (log, trust) = (published(&scenario.ledger), scenario.ledger.trust().trust());
    let mut classes = BTreeSet::new();
    for (name, bytes) in files(log.path()) {
        flip(&log.path().join(&name));
        if name == "checkpoint" {
            let error = of_records(log.path(), &trust).unwrap_err();
            assert!(["checkpoint-signature", "checkpoint-form"].contains(&error.code()), "{error}");
        } else {
            let report = of_records(log.path(), &trust).unwrap();
            let damage: Vec<_> =
                report.findings.iter().filter(|found| found.blame == Blame::Damage).collect();
            let [damage] = damage[..] else { panic!("{name}: {:?}", report.findings) };
            assert_eq!(damage.file.as_ref(), Some(&name), "{damage}");
            // Nobody signed these bytes: the log is not accused of them.
            assert_eq!(report.count(Blame::Log), 0, "{name}: {:?}", report.findings);
            assert_eq!(report.conclusion(), Conclusion::Violated);
            classes.insert(damage.code);
        }
        fs::write(log.path().join(&name), bytes).unwrap();
    }
    assert!(classes.contains("bundle-differs") && classes.contains("tile-differs"), "{classes:?}");
    println!("count files of a log, each with a flipped bit {}", files(log.path()).len());
}

#[test]
fn a_file_that_is_missing_or_cut_is_named() {
    let (log, _) = raw_log(600);
    for (name, bytes) in files(log.path()).into_iter().filter(|(name, _)| name != "checkpoint") {
        let kind = if name.starts_with("tile/entries") { "bundle" } else { "tile" };
        for (content, code) in [(None, "missing"), (Some(&bytes[..bytes.len() - 1]), "malformed")] {
            match content {
                None => fs::remove_file(log.path().join(&name)).unwrap(),
                Some(content) => fs::write(log.path().join(&name), content).unwrap(),
            }
            let report = of_raw(log.path(), &[]).unwrap();
            let named: Vec<_> = report.findings.iter().map(|f| (f.code.to_owned(), f.file.clone())).collect();
            assert_eq!(named, [(format!("{kind}-{code}"), Some(name.clone()))]);
        }
        fs::write(log.path().join(&name), bytes).unwrap();
    }
    fs::remove_dir_all(log.path().join("tile")).unwrap();
    let report = of_raw(log.path(), &[]).unwrap();
    assert_eq!(report.conclusion(), Conclusion::Violated);
    assert!(found(&report).contains(&("root-unexplained", Blame::Damage)), "{:?}", report.findings);
    fs::remove_file(log.path().join("checkpoint")).unwrap();
    assert_eq!(of_raw(log.path(), &[]).unwrap_err().code(), "source-missing");
}

#[test]
fn a_log_that_admits_a_statement_twice_is_convicted() {
    let mut scenario = records_log(300);
    let entry = scenario.ledger.entries()[40].clone();
    scenario.ledger.force(&entry).unwrap_err();
    scenario.ledger.close();
    let report = of_ledger(&scenario.ledger);
    assert_eq!(found(&report), [("statement-repeated", Blame::Log)]);
    assert_eq!((report.findings[0].index, report.conclusion()), (Some(300), Conclusion::Violated));
}

#[test]
fn a_log_that_signs_a_tree_without_a_snapshot_at_its_end_is_convicted() {
    let mut scenario = records_log(300);
    scenario.trigger();
    scenario.ledger.sign_checkpoint();
    let report = of_ledger(&scenario.ledger);
    assert_eq!(found(&report), [("checkpoint-snapshot", Blame::Log)]);
    assert_eq!(report.findings[0].index, Some(300));
}

#[test]
fn a_log_that_admits_a_signature_that_does_not_hold_is_convicted() {
    let scenario = forged_log(300);
    let report = of_ledger(&scenario.ledger);
    assert_eq!(found(&report), [("signature-invalid", Blame::Log)]);
    assert_eq!(report.findings[0].index, Some(300));
}

#[test]
fn a_log_that_admits_what_is_no_record_is_convicted() {
    let mut scenario = records_log(60);
    scenario.ledger.force(b"{}").unwrap_err();
    scenario.ledger.close();
    let report = of_ledger(&scenario.ledger);
    assert_eq!(report.findings.len(), 1);
    assert_eq!((report.findings[0].blame, report.findings[0].index), (Blame::Log, Some(60)));
}

#[test]
fn a_log_whose_time_goes_back_is_convicted() {
    let mut scenario = records_log(300);
    let (log, snapshot) = (scenario.cast.log.clone(), scenario.ledger.snapshot());
    let mut draft = scenario.ledger.draft(&log, None, snapshot);
    draft.time = counterfoil_receipt::field::Millis::new(draft.time.get() - 3_600_000).unwrap();
    let record = draft.sign(log.signer()).unwrap();
    scenario.ledger.force(record.bytes()).unwrap_err();
    scenario.ledger.sign_checkpoint();
    let report = of_ledger(&scenario.ledger);
    assert_eq!(found(&report), [("snapshot-time", Blame::Log)]);
}

#[test]
fn what_a_missing_policy_document_would_tell_is_not_shown() {
    let mut scenario = Scenario::new();
    let document = Json::from_value(&policy_document(1)).unwrap();
    let (bytes, root) = (document.as_str().as_bytes().to_vec(), scenario.cast.root.clone());
    let digest = scenario.ledger.document(document);
    scenario.ledger.add(&root, None, Policy::Digest(digest));
    scenario.approved_run();
    scenario.ledger.close();
    let (log, trust) = (published(&scenario.ledger), scenario.ledger.trust().trust());
    let source = Source::directory(log.path()).unwrap();
    let audit = plain(&source, Under::Trust(&trust));
    let report = audit.run(&mut |_, _| {}).unwrap();
    assert_eq!(report.conclusion(), Conclusion::NotShown, "{:?}", report.findings);
    assert_eq!(found(&report)[0], ("policy-unreadable", Blame::Open));
    let report = Audit { documents: vec![bytes], ..audit }.run(&mut |_, _| {}).unwrap();
    assert_eq!((report.conclusion(), found(&report)), (Conclusion::Shown, Vec::new()));
}

#[test]
fn another_genesis_than_the_pinned_one_is_a_matter_of_trust() {
    let scenario = records_log(60);
    let mut file = scenario.ledger.trust();
    file.genesis = RecordId::of(b"another");
    let log = published(&scenario.ledger);
    let report = of_records(log.path(), &file.trust()).unwrap();
    assert_eq!(found(&report), [("genesis-not-pinned", Blame::Trust)]);
    assert_eq!(report.conclusion(), Conclusion::Violated);
}

#[test]
fn a_required_quorum_of_witnesses_is_asked_for() {
    let mut scenario = records_log(60);
    let cosigner = witness("w");
    let mut file = scenario.ledger.trust().requiring(&[Dimension::Inclusion, Dimension::Witnessed]);
    let key = counterfoil_tlog::Signer::key(&cosigner).to_string();
    file.witnesses = format!("log {}\nwitness w {key}\nquorum w\n", file.log_keys[0]);
    let log = published(&scenario.ledger);
    let report = of_records(log.path(), &file.trust()).unwrap();
    assert_eq!(
        (found(&report), report.conclusion()),
        (vec![("witness-quorum", Blame::Open)], Conclusion::NotShown)
    );
    scenario.ledger.cosign(&cosigner, 1_800_000_000);
    let log = published(&scenario.ledger);
    let report = of_records(log.path(), &file.trust()).unwrap();
    assert_eq!(report.witnessed, counterfoil_audit::Witnessed::At(1_800_000_000));
    assert_eq!(report.conclusion(), Conclusion::Shown);
}

#[test]
fn earlier_checkpoints_are_held_against_the_log() {
    let (log, _) = raw_log(600);
    let tree = publish(log.path(), &raw_entries(600));
    let earlier: Vec<String> = [0, 1, 256, 300, 600].map(|size| raw_checkpoint(&tree, size, "")).into();
    let report = of_raw(log.path(), &earlier).unwrap();
    assert_eq!((report.conclusion(), report.since.len()), (Conclusion::Shown, 5));

    let mut entries = raw_entries(700);
    entries[200] = b"another".to_vec();
    let other = publish(tempfile::tempdir().unwrap().path(), &entries);
    for (size, code, blame, conclusion) in [
        (300, "fork", Blame::Log, Conclusion::Violated),
        (600, "fork-same-size", Blame::Log, Conclusion::Violated),
        (700, "checkpoint-behind", Blame::Open, Conclusion::NotShown),
    ] {
        let report = of_raw(log.path(), &[raw_checkpoint(&other, size, "")]).unwrap();
        assert_eq!((found(&report), report.conclusion()), (vec![(code, blame)], conclusion));
    }
    let foreign = raw_checkpoint(&tree, 300, "").replace(RAW_ORIGIN, "example.org/other");
    assert_eq!(of_raw(log.path(), &[foreign]).unwrap_err().code(), "since-unreadable");
}

#[test]
fn an_audit_goes_on_where_the_last_one_ended() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    let mut scenario = records_log(300);
    let trust = scenario.ledger.trust().trust();
    let audit = |ledger: &Ledger, change: &dyn Fn(&Path)| {
        let log = published(ledger);
        change(log.path());
        let source = Source::directory(log.path()).unwrap();
        Audit { resume: Some(state.clone()), ..plain(&source, Under::Trust(&trust)) }.run(&mut |_, _| {})
    };
    assert_eq!(audit(&scenario.ledger, &|_| {}).unwrap().resumed_from, 0);
    let run = scenario.trigger();
    (0..300).for_each(|_| {
        scenario.observe(run);
    });
    scenario.ledger.close();
    // The tile of the first bundle is not compared again; the entries are, because the fold needs them.
    let report = audit(&scenario.ledger, &|log| flip(&log.join("tile/0/000"))).unwrap();
    assert_eq!((report.resumed_from, report.conclusion()), (256, Conclusion::Shown));
    let report = audit(&scenario.ledger, &|log| flip(&log.join("tile/entries/000"))).unwrap();
    assert_eq!((report.resumed_from, report.conclusion()), (512, Conclusion::Violated));
    // Where something was found, the state stays where it was.
    let report = audit(&scenario.ledger, &|_| {}).unwrap();
    assert_eq!((report.resumed_from, report.conclusion()), (512, Conclusion::Shown));

    // Another log of the same keys does not begin with what was audited.
    assert_eq!(audit(&records_log(600).ledger, &|_| {}).unwrap_err().code(), "resume-rewritten");
    fs::write(&state, "{}").unwrap();
    assert_eq!(audit(&scenario.ledger, &|_| {}).unwrap_err().code(), "resume-foreign");
}

#[test]
fn a_raw_log_that_was_rewritten_since_the_last_audit_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state.json");
    let key = VerifierKey::parse(&raw_log(1).1).unwrap();
    let audit = |log: &Path| {
        let source = Source::directory(log).unwrap();
        Audit { resume: Some(state.clone()), ..plain(&source, Under::Key(&key)) }.run(&mut |_, _| {})
    };
    let (log, _) = raw_log(300);
    audit(log.path()).unwrap();
    assert_eq!(audit(log.path()).unwrap().resumed_from, 256);
    let mut entries = raw_entries(600);
    let tree = publish(log.path(), &entries);
    write(log.path(), "checkpoint", raw_checkpoint(&tree, 600, "").as_bytes());
    assert_eq!(audit(log.path()).unwrap().conclusion(), Conclusion::Shown);
    entries[100] = b"another".to_vec();
    let tree = publish(log.path(), &entries);
    write(log.path(), "checkpoint", raw_checkpoint(&tree, 600, "").as_bytes());
    assert_eq!(audit(log.path()).unwrap_err().code(), "resume-rewritten");
}
