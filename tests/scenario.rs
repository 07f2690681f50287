//! The scenarios of the testkit, as a reader sees them: the demo runs show what they should.

use std::num::NonZeroUsize;

use counterfoil_testkit::{Scenario, TrustFile};
use counterfoil_tlog::{Algorithm, VerifierKey};
use counterfoil_verify::{Answer, Conclusion, Dimension, Remembered, Verdict, Verifier, verify};

fn shows(scenario: &Scenario, run: counterfoil_receipt::RunId) -> (Verdict, Conclusion) {
    let trust = scenario.ledger.trust().trust();
    let verdict = verify(&scenario.ledger.bundle(run), &trust, scenario.ledger.now());
    let conclusion = verdict.conclude(trust.require());
    (verdict, conclusion)
}

#[test]
fn an_approved_run_is_shown() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let (verdict, conclusion) = shows(&scenario, run);
    assert_eq!(
        verdict.findings().iter().map(ToString::to_string).collect::<Vec<_>>(),
        vec![
            "witness-quorum: the trust file names no witnesses (quorum none)",
            "checkpoint-stale: the trust file sets no max_age",
        ]
    );
    assert_eq!(conclusion, Conclusion::Shown);
    assert_eq!(verdict.undisclosed(), 0);
}

#[test]
fn a_rejected_run_shows_all_but_an_execution() {
    let mut scenario = Scenario::new();
    let run = scenario.rejected_run();
    let (verdict, conclusion) = shows(&scenario, run);
    assert_eq!(conclusion, Conclusion::NotShown, "{:#?}", verdict.findings());
    assert_eq!(verdict.answer(Dimension::Conformity), &Answer::NotShown("nothing was executed".to_owned()));
    assert_eq!(
        verdict.conclude(&[Dimension::Integrity, Dimension::Authority, Dimension::Inclusion]),
        Conclusion::Shown
    );
}

#[test]
fn a_revised_run_is_shown() {
    let mut scenario = Scenario::new();
    let run = scenario.revised_run();
    let (verdict, conclusion) = shows(&scenario, run);
    assert_eq!(conclusion, Conclusion::Shown, "{:#?}", verdict.findings());
}

#[test]
fn runs_of_one_log_are_shown_one_by_one() {
    let mut scenario = Scenario::new();
    let runs =
        [scenario.approved_run(), scenario.rejected_run(), scenario.revised_run(), scenario.approved_run()];
    for run in runs {
        let (verdict, conclusion) = shows(&scenario, run);
        assert!(matches!(conclusion, Conclusion::Shown | Conclusion::NotShown), "{:#?}", verdict.findings());
    }
}

#[test]
fn two_scenarios_are_equal_byte_for_byte() {
    let build = || {
        let mut scenario = Scenario::new();
        let run = scenario.approved_run();
        scenario.ledger.bundle(run)
    };
    assert_eq!(build(), build());
}

#[test]
fn there_is_an_example_of_every_type() {
    let kinds: Vec<_> = counterfoil_testkit::examples().iter().map(|record| record.kind()).collect();
    assert_eq!(kinds, counterfoil_receipt::Type::ALL);
}

#[test]
fn a_checkpoint_that_was_opened_under_other_keys_is_opened_again() {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    let (bundle, now) = (scenario.ledger.bundle(run), scenario.ledger.now());
    let pinned = scenario.ledger.trust();
    let seen = Remembered::default();
    let inclusion = |trust: &TrustFile| {
        let trust = trust.trust();
        let mut verifier = Verifier::remembering(&trust, NonZeroUsize::MIN, seen.clone());
        bundle
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .for_each(|line| verifier.line(line));
        let verdict = verifier.finish(now);
        matches!(verdict.answer(Dimension::Inclusion), Answer::Pass(_))
    };
    assert!(inclusion(&pinned));
    let other_key =
        VerifierKey::new(&pinned.origin, Algorithm::Ed25519, scenario.cast.ana.key().material()).unwrap();
    let other = TrustFile {
        log_keys: vec![other_key.to_string()],
        witnesses: format!("log {other_key}\nquorum none\n"),
        ..pinned.clone()
    };
    assert!(!inclusion(&other), "another key of the log");
    assert!(inclusion(&pinned));
}
