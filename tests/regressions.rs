//! Defects that were found, each named after what went wrong.

use counterfoil_receipt::{RecordId, body::KeyChange, field::Whole};
use counterfoil_testkit::{Scenario, enrolment};
use counterfoil_verify::{Answer, Conclusion, Dimension, verify};
use serde_json::json;

/// Only the header's claim was compared with the pinned genesis, not entry 0.
#[test]
fn a_header_that_claims_the_pinned_genesis_hid_another() {
    let pinned = Scenario::new();
    let mut impostor = Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(999).unwrap());
    impostor.enrol_cast();
    impostor.set_policy(counterfoil_testkit::policy_document(2));
    impostor.ledger.close();
    let run = impostor.approved_run();
    let mut assembly = impostor.ledger.assembly(run);
    assembly.log = pinned.ledger.log();
    let trust = pinned.ledger.trust().trust();
    let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
    let codes: Vec<_> = verdict.findings().iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"genesis-not-pinned"), "{codes:?}");
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Violated);
}

/// A bundle left out the keyring records of roots that had signed nothing, though `spec/bundle.md` has them.
#[test]
fn keyring_records_of_a_silent_root_were_left_out() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    let mut retirement = enrolment(&scenario.cast.spare_root, &[]);
    retirement.change = KeyChange::Retire;
    let root = scenario.cast.root.clone();
    let retirement: RecordId = scenario.ledger.add(&root, None, retirement);
    scenario.ledger.close();
    let index = scenario.ledger.state().index_of(&retirement).unwrap();
    let assembly = scenario.ledger.assembly(run);
    assert!(assembly.entries.iter().any(|(at, _)| *at == index));
}

/// Payloads of an item set were taken off the count of single items, so the count of undisclosed ones came out too small.
#[test]
fn a_disclosed_set_hid_an_undisclosed_item() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    scenario.observe(run);
    scenario.ledger.close();
    let mut assembly = scenario.ledger.assembly(run);
    assert_eq!(assembly.payloads.len(), 3, "one item and a set of two");
    assembly.payloads.retain(|line| line.set.is_some());
    let trust = scenario.ledger.trust().trust();
    assert_eq!(verify(&assembly.to_bytes().unwrap(), &trust, 0).undisclosed(), 1);
    assembly.payloads.clear();
    assert_eq!(verify(&assembly.to_bytes().unwrap(), &trust, 0).undisclosed(), 3);
}

/// A count over its limit was called a malformed header (R-BUN-01), not a limit (R-BUN-04).
#[test]
fn a_count_over_its_limit_was_called_malformed() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let bundle = String::from_utf8(scenario.ledger.bundle(run)).unwrap();
    let trust = scenario.ledger.trust().trust();
    for (member, limit) in [("checkpoints", 4_096u64), ("documents", 4_096), ("payloads", 65_536)] {
        for (count, codes) in [(limit, "bundle-"), (limit + 1, "bundle-limit")] {
            let mut header: serde_json::Value = serde_json::from_str(bundle.lines().next().unwrap()).unwrap();
            header[member] = json!(count);
            let rest = bundle.split_once('\n').unwrap().1;
            let verdict = verify(format!("{header}\n{rest}").as_bytes(), &trust, 0);
            let code = verdict.findings()[0].code;
            assert!(code.starts_with(codes), "{member} {count}: {code}");
            assert_eq!(code == "bundle-limit", count > limit, "{member} {count}: {code}");
        }
    }
}

/// Where a checkpoint could not be opened, the snapshot that ends it was called unused: a key that the reader does not pin
/// made *integrity* fail too.
#[test]
fn an_unpinned_log_key_made_a_snapshot_unused() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let mut trust = scenario.ledger.trust();
    let stranger = counterfoil_tlog::SeedSigner::ed25519(&trust.origin, &[7; 32]).unwrap();
    trust.log_keys = vec![counterfoil_tlog::Signer::key(&stranger).to_string()];
    trust.witnesses = "quorum none\n".to_owned();
    let verdict = verify(&scenario.ledger.bundle(run), &trust.trust(), 0);
    assert_eq!(*verdict.answer(Dimension::Inclusion), Answer::Fail);
    assert!(matches!(verdict.answer(Dimension::Integrity), Answer::Pass(_)), "{:#?}", verdict.findings());
}
