//! What records say about payloads, and which record a finding is about (`spec/bundle.md`, `spec/verification.md` §5).

use counterfoil_receipt::{
    RecordId, Role, RunId,
    body::{Endorsement, Evidence, Item, Observation, ObservationKind},
    field::{List, Whole},
};
use counterfoil_testkit::{Actor, Scenario, enrolment, label};
use counterfoil_verify::{Finding, Verdict, verify};

/// What a record of the run's owner says that saw these.
fn seen(evidence: Evidence) -> Observation {
    Observation { items: Some(List(vec![evidence])), kind: ObservationKind::Evidence, summary: None }
}

/// The run's owner notes that it saw this.
fn observe(s: &mut Scenario, run: RunId, evidence: Evidence) -> RecordId {
    let scout = s.cast.scout.clone();
    s.ledger.add(&scout, Some(run), seen(evidence))
}

fn verdict(s: &mut Scenario, run: RunId) -> Verdict {
    s.ledger.close();
    verify(&s.ledger.bundle(run), &s.ledger.trust().trust(), 0)
}

/// Code and record of everything that a verdict finds, apart from what nobody asked for.
fn found(verdict: &Verdict) -> Vec<(&'static str, Option<RecordId>)> {
    let unasked = |finding: &&Finding| !["witness-quorum", "checkpoint-stale"].contains(&finding.code);
    verdict.findings().iter().filter(unasked).map(|finding| (finding.code, finding.record)).collect()
}

fn log_item(s: &mut Scenario) -> Item {
    s.ledger.item("log.txt", "text/plain", b"disk full")
}

/// The last of two claims about one payload was taken for the only one.
#[test]
fn each_claim_is_judged_for_the_record_that_makes_it() {
    let false_size = |item: &mut Item| item.size = Whole::new(8).unwrap();
    let false_label = |item: &mut Item| item.label = label("other.txt");
    let claims: [fn(&mut Item); 2] = [false_size, false_label];
    for (change, honest_first) in claims.into_iter().flat_map(|change| [(change, false), (change, true)]) {
        let mut s = Scenario::new();
        let run = s.trigger();
        let honest = log_item(&mut s);
        let mut wrong = honest.clone();
        change(&mut wrong);
        let order = if honest_first { [&honest, &wrong] } else { [&wrong, &honest] };
        let records = order.map(|item| observe(&mut s, run, Evidence::Item(item.clone())));
        let verdict = verdict(&mut s, run);
        let liar = records[usize::from(honest_first)];
        assert_eq!(found(&verdict), [("payload-mismatch", Some(liar))]);
        assert_eq!(verdict.openings().len(), 1, "what a payload is does not depend on what is said about it");
        assert_eq!(verdict.undisclosed(), 0);
    }
}

/// A record that broke a rule spoke for a payload that a sound record names.
#[test]
fn a_record_that_breaks_a_rule_claims_nothing() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let item = log_item(&mut s);
    observe(&mut s, run, Evidence::Item(item.clone()));
    let mut wrong = item;
    wrong.size = Whole::new(8).unwrap();
    let stranger = s.cast.fixer.clone();
    let refused = s.ledger.sign(&stranger, Some(run), seen(Evidence::Item(wrong)));
    s.ledger.force(refused.bytes()).unwrap_err();
    let verdict = verdict(&mut s, run);
    assert_eq!(found(&verdict), [("not-owner", Some(refused.id()))]);
    assert_eq!(verdict.openings().len(), 1);
}

/// Whoever makes a bundle does not judge its records: what one of them names may be disclosed, whatever becomes of it.
#[test]
fn a_payload_that_only_a_broken_record_names_is_named() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let item = log_item(&mut s);
    let stranger = s.cast.fixer.clone();
    let refused = s.ledger.sign(&stranger, Some(run), seen(Evidence::Item(item)));
    s.ledger.force(refused.bytes()).unwrap_err();
    let verdict = verdict(&mut s, run);
    assert_eq!(found(&verdict), [("not-owner", Some(refused.id()))]);
    assert_eq!(verdict.openings().len(), 1);
}

/// A later record that gave a set another number of items made every payload of the set one of no set.
#[test]
fn two_numbers_for_one_set_are_two_sets() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let set = s.ledger.item_set("traces", &[("trace-1", b"first"), ("trace-2", b"second")]);
    observe(&mut s, run, Evidence::Set(set.clone()));
    let mut wrong = set;
    wrong.items = Whole::new(3).unwrap();
    observe(&mut s, run, Evidence::Set(wrong));
    let verdict = verdict(&mut s, run);
    assert_eq!(found(&verdict), []);
    assert_eq!(verdict.openings().len(), 2);
}

/// An endorsement of a record that the bundle does not hold was called one whose target is not shown.
#[test]
fn an_endorsement_of_what_the_bundle_does_not_hold_is_unused() {
    let mut s = Scenario::founded(|genesis| genesis.authority.threshold = Whole::new(2).unwrap());
    let (root, spare) = (s.cast.root.clone(), s.cast.spare_root.clone());
    let cast = [s.cast.scout.clone(), s.cast.gate.clone()];
    let mut enrol = |actor: &Actor| {
        let candidate = s.ledger.add(&root, None, enrolment(actor, &[]));
        (candidate, s.ledger.add(&spare, None, Endorsement { candidate }))
    };
    for actor in &cast {
        enrol(actor);
    }
    let (candidate, endorsement) = enrol(&Actor::new("eve", Role::Human));
    let run = s.trigger();
    s.ledger.close();
    let index = |id: RecordId| s.ledger.state().index_of(&id).unwrap();
    let trust = s.ledger.trust().trust();
    let found_with = |further: &[u64]| {
        found(&verify(&s.ledger.assembly_with(run, further).to_bytes().unwrap(), &trust, 0))
    };
    assert_eq!(found_with(&[]), []);
    assert_eq!(found_with(&[index(endorsement)]), [("record-unused", Some(endorsement))]);
    assert_eq!(
        found_with(&[index(candidate), index(endorsement)]),
        [("record-unused", Some(candidate))],
        "it endorses a record of the bundle, which nothing needs"
    );
}

/// Findings about one entry did not say which.
#[test]
fn a_finding_about_an_entry_names_it() {
    let mut s = Scenario::new();
    let stranger = s.enrol(&Actor::new("eve", Role::Human), &["guests"]);
    let run = s.approved_run();
    let trust = s.ledger.trust();
    let at = s.ledger.state().index_of(&stranger).unwrap();
    let indexed = |assembly: &counterfoil_verify::Assembly, trust: &counterfoil_testkit::TrustFile| {
        let verdict = verify(&assembly.to_bytes().unwrap(), &trust.trust(), 0);
        verdict.findings().iter().map(|finding| (finding.code, finding.index)).collect::<Vec<_>>()
    };
    let unused = indexed(&s.ledger.assembly_with(run, &[1, at]), &trust);
    assert!(unused.contains(&("record-unused", Some(at))), "{unused:?}");
    assert!(unused.contains(&("record-unused", Some(1))), "a snapshot beside no execution: {unused:?}");

    let mut short = s.ledger.assembly(run);
    let with_hashes = short.segments.iter().position(|segment| !segment.is_empty()).unwrap();
    short.segments[with_hashes].pop();
    let broken = indexed(&short, &trust);
    assert!(broken.contains(&("inclusion-mismatch", Some(short.entries[with_hashes].0))), "{broken:?}");

    let mut bare = s.clone();
    bare.enrol(&Actor::new("mallory", Role::Human), &[]);
    let end = bare.ledger.sign_checkpoint().size.0 - 1;
    let ends = indexed(&bare.ledger.assembly(run), &trust);
    assert!(ends.contains(&("checkpoint-snapshot", Some(end))), "{ends:?}");

    let mut elsewhere = s.clone();
    let mut other = trust.clone();
    other.origin = "example.org/other".to_owned();
    let key = counterfoil_tlog::SeedSigner::ed25519(&other.origin, &[7; 32]).unwrap();
    other.log_keys = vec![counterfoil_tlog::Signer::key(&key).to_string()];
    other.witnesses = "quorum none\n".to_owned();
    elsewhere.ledger.close();
    let origin = indexed(&elsewhere.ledger.assembly(run), &other);
    assert!(origin.contains(&("checkpoint-origin", Some(0))), "{origin:?}");
}
