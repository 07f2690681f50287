//! Evidence of what a log did: made by an audit, confirmed offline by its bytes, and worth nothing once changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

mod support;

use counterfoil_audit::{Audit, Source, Under};
use counterfoil_receipt::field::Millis;
use counterfoil_testkit::Ledger;
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Accused, NotConvicted, convictions};
use support::{JOBS, forged_log, publish, published, raw_checkpoint, raw_entries, raw_log, records_log};

/// The evidence that an audit of this log leaves, and the codes of what it shows.
fn convicted(ledger: &Ledger) -> (Vec<u8>, Vec<(&'static str, Option<u64>)>) {
    let (directory, trust) = (published(ledger), ledger.trust().trust());
    let source = Source::directory(directory.path()).unwrap();
    let audit = Audit {
        source: &source,
        under: Under::Trust(&trust),
        jobs: JOBS,
        since: Vec::new(),
        documents: Vec::new(),
        resume: None,
    };
    let file = audit.run(&mut |_, _| {}).unwrap().evidence(&source).unwrap().unwrap();
    let shown = convictions(&file, Accused::Trust(&trust)).unwrap();
    (file, shown.into_iter().map(|conviction| (conviction.code, conviction.index)).collect())
}

#[test]
fn what_a_log_admitted_against_its_rules_is_confirmed_from_the_file_alone() {
    let good = records_log(300);

    let mut scenario = good.clone();
    let entry = scenario.ledger.entries()[40].clone();
    scenario.ledger.force(&entry).unwrap_err();
    scenario.ledger.close();
    assert_eq!(convicted(&scenario.ledger).1, [("statement-repeated", Some(300))]);

    let mut scenario = good.clone();
    scenario.trigger();
    scenario.ledger.sign_checkpoint();
    assert_eq!(convicted(&scenario.ledger).1, [("checkpoint-snapshot", Some(300))]);

    let mut scenario = good.clone();
    let (log, snapshot) = (scenario.cast.log.clone(), scenario.ledger.snapshot());
    let mut draft = scenario.ledger.draft(&log, None, snapshot);
    draft.time = Millis::new(draft.time.get() - 3_600_000).unwrap();
    let record = draft.sign(log.signer()).unwrap();
    scenario.ledger.force(record.bytes()).unwrap_err();
    scenario.ledger.sign_checkpoint();
    assert_eq!(convicted(&scenario.ledger).1, [("snapshot-time", Some(300))]);

    let mut scenario = good.clone();
    scenario.ledger.force(b"{\n}").unwrap_err();
    scenario.ledger.close();
    assert_eq!(convicted(&scenario.ledger).1.len(), 1);
}

#[test]
fn nothing_in_a_file_can_be_changed_and_still_convict() {
    let scenario = forged_log(60);
    let (file, shown) = convicted(&scenario.ledger);
    assert_eq!(shown, [("signature-invalid", Some(60))]);
    let trust = scenario.ledger.trust().trust();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1;
        let found = convictions(&changed, Accused::Trust(&trust));
        assert!(
            found.is_err(),
            "byte {at}: {:?}",
            String::from_utf8_lossy(&changed[at.saturating_sub(20)..=at])
        );
    }
    assert!(matches!(
        convictions(&file[..file.len() - 1], Accused::Trust(&trust)),
        Err(NotConvicted::Malformed { .. })
    ));
    let twice = [&file[..], file.split_inclusive(|byte| *byte == b'\n').nth(1).unwrap()].concat();
    assert!(matches!(convictions(&twice, Accused::Trust(&trust)), Err(NotConvicted::Malformed { .. })));
    println!("count changed bytes of evidence, none of which convicts {}", file.len());
}

#[test]
fn an_honest_log_is_not_convicted_by_its_own_entries() {
    let scenario = records_log(60);
    let trust = scenario.ledger.trust().trust();
    let mut forged = scenario.clone();
    let entry = forged.ledger.entries()[40].clone();
    forged.ledger.force(&entry).unwrap_err();
    forged.ledger.close();
    let (file, _) = convicted(&forged.ledger);
    let text = String::from_utf8(file).unwrap();
    for kind in ["log-time", "entry", "no-snapshot", "fork", "fork-same-size"] {
        let other = text.replace("\"kind\":\"duplicate-statement\"", &format!("\"kind\":\"{kind}\""));
        let found = convictions(other.as_bytes(), Accused::Trust(&trust));
        assert!(matches!(found, Err(NotConvicted::NotShown { case: 1, .. })), "{kind}: {found:?}");
    }
    // Under the note key alone no rule says what entries may be.
    let key = VerifierKey::parse(&Ledger::vkey(trust.origin())).unwrap();
    assert!(matches!(convictions(text.as_bytes(), Accused::Key(&key)), Err(NotConvicted::NotShown { .. })));
}

#[test]
fn a_fork_is_confirmed_from_two_notes_and_a_proof() {
    let (log, vkey) = raw_log(600);
    let (source, key) = (Source::directory(log.path()).unwrap(), VerifierKey::parse(&vkey).unwrap());
    let mut entries = raw_entries(600);
    entries[200] = b"another".to_vec();
    let other = publish(tempfile::tempdir().unwrap().path(), &entries);
    let honest = publish(tempfile::tempdir().unwrap().path(), &raw_entries(600));
    let audit = |since: Vec<String>| {
        let audit = Audit {
            source: &source,
            under: Under::Key(&key),
            jobs: JOBS,
            since: since.into_iter().map(String::into_bytes).collect(),
            documents: Vec::new(),
            resume: None,
        };
        audit.run(&mut |_, _| {}).unwrap().evidence(&source).unwrap()
    };
    assert_eq!(audit(vec![raw_checkpoint(&honest, 300, "")]), None);
    let file = audit(vec![raw_checkpoint(&other, 300, ""), raw_checkpoint(&other, 600, "")]).unwrap();
    let codes: Vec<_> =
        convictions(&file, Accused::Key(&key)).unwrap().iter().map(|shown| shown.code).collect();
    assert_eq!(codes, ["fork", "fork-same-size"]);
    // The same notes in place of the other tree's show no fork.
    let text = String::from_utf8(file).unwrap();
    let note = |tree, size| serde_json::to_string(&raw_checkpoint(tree, size, "")).unwrap();
    let mended = text.replace(&note(&other, 300), &note(&honest, 300));
    assert_ne!(mended, text);
    assert!(matches!(
        convictions(mended.as_bytes(), Accused::Key(&key)),
        Err(NotConvicted::NotShown { case: 1, .. })
    ));
}
