//! Where a record stands: log, run, chain, basis, snapshot.

use counterfoil_receipt::{
    MapRoot, Place, RecordId, Root, RunId,
    body::{Observation, ObservationKind, Rejection, Ruling, Status},
    field::Whole,
};
use counterfoil_testkit::{Scenario, action, enrolment, label, policy_document, text, trigger_body};
use serde_json::json;

use super::{Case, breaks, holds};

pub fn cases() -> Vec<Case> {
    vec![
        holds(
            "valid-runs",
            "Three runs: approved, rejected, and revised after changes were asked for.",
            |s| {
                s.approved_run();
                s.rejected_run();
                s.revised_run();
                s.ledger.sign(&s.cast.scout.clone(), None, trigger_body(&s.cast.scout, "last"))
            },
        ),
        breaks("R-LOG-01", "log-mismatch", &["LogReplay"], "A trigger of another log is replayed.", |_| {
            let mut other =
                Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(8).expect("a limit"));
            other.ledger.sign(&other.cast.gate.clone(), None, trigger_body(&other.cast.scout, "1"))
        }),
        breaks(
            "R-LOG-02",
            "genesis-misplaced",
            &["LogReplay"],
            "A second genesis, in the middle of the log.",
            |_| {
                let other =
                    Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(8).expect("a limit"));
                counterfoil_receipt::UnverifiedRecord::parse(&other.ledger.entries()[0]).expect("a genesis")
            },
        ),
        breaks(
            "R-LOG-03",
            "statement-repeated",
            &["SignatureMalleability"],
            "An entry is logged again.",
            |s| {
                let trigger = s.trigger().trigger();
                entry(s, trigger)
            },
        ),
        breaks(
            "R-LOG-03",
            "statement-resigned",
            &["SignatureMalleability", "QuorumInflation"],
            "An approval, signed twice: two valid signatures, one statement.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let ana = s.cast.ana.clone();
                let approval = s.decide(run, proposal, &ana, Ruling::Approve);
                ana.sign_differently(&entry(s, approval))
            },
        ),
        breaks(
            "R-LOG-04",
            "log-limit-bytes",
            &["OversizedRecord"],
            "A record larger than this log takes.",
            |s| {
                *s = small(|limits| limits.record_bytes = Whole::new(1_024).expect("a limit"));
                let run = s.trigger();
                s.ledger.sign(&s.cast.scout.clone(), Some(run), note(&"a".repeat(600)))
            },
        ),
        breaks(
            "R-LOG-04",
            "log-limit-run",
            &["OversizedRecord"],
            "A ninth record of a run, in a log that takes eight.",
            |s| {
                *s = small(|limits| limits.run_records = Whole::new(8).expect("a limit"));
                let run = s.trigger();
                let scout = s.cast.scout.clone();
                for _ in 0..7 {
                    s.ledger.add(&scout, Some(run), note("Still looking."));
                }
                s.ledger.sign(&scout, Some(run), note("Still looking."))
            },
        ),
        breaks("R-LOG-05", "rejection-logged", &["EnvelopeForm"], "A rejection among the entries.", |s| {
            let body = Rejection {
                code: label("key-unknown"),
                id: None,
                rule: label("R-KEY-01"),
                size: Whole::new(s.ledger.size()).expect("a size"),
                statement: None,
            };
            s.ledger.sign(&s.cast.log.clone(), None, body)
        }),
        breaks("R-CHAIN-01", "parent-unknown", &["DanglingReference"], "A parent that is no entry.", |s| {
            let run = s.trigger();
            observe_after(s, run, &[run.trigger(), RecordId::from_bytes([0xFF; 32])])
        }),
        breaks("R-CHAIN-02", "parent-foreign", &["DanglingReference"], "A parent of another run.", |s| {
            let (run, other) = (s.trigger(), s.trigger());
            let mut parents = [run.trigger(), other.trigger()];
            parents.sort_unstable();
            observe_after(s, run, &parents)
        }),
        breaks(
            "R-CHAIN-02",
            "parent-of-no-run",
            &["DanglingReference"],
            "A parent that belongs to no run.",
            |s| {
                let run = s.trigger();
                let mut parents = [run.trigger(), s.ledger.log()];
                parents.sort_unstable();
                observe_after(s, run, &parents)
            },
        ),
        breaks(
            "R-CHAIN-03",
            "run-unknown",
            &["DanglingReference"],
            "A run whose id is that of an observation.",
            |s| {
                let run = s.trigger();
                let observation = s.observe(run);
                observe_after(s, RunId::started_by(observation), &[observation])
            },
        ),
        breaks(
            "R-CHAIN-04",
            "reference-unknown",
            &["DanglingReference"],
            "A decision on a proposal that is no entry.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let mut body = s.decision(run, proposal, Ruling::Reject);
                body.proposal = RecordId::from_bytes([0xFF; 32]);
                s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-CHAIN-04",
            "reference-of-another-type",
            &["DanglingReference"],
            "An outcome of a proposal.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let body = s.outcome(proposal, Status::Succeeded);
                s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-CHAIN-04",
            "reference-of-another-run",
            &["DanglingReference", "SwappedAction"],
            "A decision of one run on the proposal of another.",
            |s| {
                let (run, other) = (s.trigger(), s.trigger());
                let proposal = s.propose(other, action("db.vacuum", json!({})));
                let body = s.decision(other, proposal, Ruling::Approve);
                s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-CHAIN-05",
            "prev-keyring",
            &["ChainFork"],
            "A second keyring record after the genesis, for one principal.",
            |s| {
                let root = s.cast.root.clone();
                let mut draft = s.ledger.draft(&root, None, enrolment(&s.cast.ana.with_key(1), &["sre"]));
                draft.place = Place::Chain { log: s.ledger.log(), prev: s.ledger.log() };
                draft.sign(root.signer()).expect("a draft")
            },
        ),
        breaks(
            "R-CHAIN-05",
            "prev-policy",
            &["ChainFork", "PolicyConfusion"],
            "A second policy record after the genesis.",
            |s| {
                let root = s.cast.root.clone();
                let document =
                    counterfoil_receipt::action::Json::from_value(&policy_document(1)).expect("a document");
                let mut draft =
                    s.ledger.draft(&root, None, counterfoil_receipt::body::Policy::Document(document));
                draft.place = Place::Chain { log: s.ledger.log(), prev: s.ledger.log() };
                draft.sign(root.signer()).expect("a draft")
            },
        ),
        breaks(
            "R-CHAIN-05",
            "prev-snapshot",
            &["ChainFork", "SnapshotForgery"],
            "A snapshot that skips the one before it.",
            |s| {
                let (log, body) = (s.cast.log.clone(), s.ledger.snapshot());
                let mut draft = s.ledger.draft(&log, None, body);
                draft.place = Place::Chain { log: s.ledger.log(), prev: s.ledger.log() };
                draft.sign(log.signer()).expect("a draft")
            },
        ),
        breaks("R-BASIS-01", "basis-ahead", &["Fork"], "A basis one entry larger than the log was.", |s| {
            decision_on(s, |s, body| body.basis.size = Whole::new(s.ledger.size() + 1).expect("a size"))
        }),
        breaks(
            "R-BASIS-01",
            "basis-behind",
            &["Fork"],
            "A basis that does not hold the proposal decided on.",
            |s| {
                let before = s.ledger.basis();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let mut body = s.decision(run, proposal, Ruling::Approve);
                body.basis = before;
                s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-BASIS-02",
            "basis-fork",
            &["Fork"],
            "A basis whose root is not the log's at that size.",
            |s| decision_on(s, |_, body| body.basis.root = Root::from_bytes([0xFF; 32])),
        ),
        breaks(
            "R-SNAP-01",
            "snapshot-index",
            &["SnapshotForgery"],
            "A snapshot made for another index.",
            |s| {
                let mut body = s.ledger.snapshot();
                body.index = Whole::new(s.ledger.size() + 1).expect("an index");
                s.ledger.sign(&s.cast.log.clone(), None, body)
            },
        ),
        breaks(
            "R-SNAP-02",
            "snapshot-time",
            &["SnapshotForgery", "ExpiredApproval"],
            "Log time stands still.",
            |s| {
                let (log, body) = (s.cast.log.clone(), s.ledger.snapshot());
                let mut draft = s.ledger.draft(&log, None, body);
                draft.time = s.ledger.state().log_time().expect("log time");
                draft.sign(log.signer()).expect("a draft")
            },
        ),
        breaks(
            "R-SNAP-03",
            "snapshot-map",
            &["SnapshotForgery"],
            "A map root that the fold does not give.",
            |s| {
                let mut body = s.ledger.snapshot();
                body.map = MapRoot::from_bytes([0xFF; 32]);
                s.ledger.sign(&s.cast.log.clone(), None, body)
            },
        ),
    ]
}

/// The record with this id, as it was logged.
fn entry(s: &Scenario, id: RecordId) -> counterfoil_receipt::UnverifiedRecord {
    let at = s.ledger.state().index_of(&id).expect("an entry");
    counterfoil_receipt::UnverifiedRecord::parse(&s.ledger.entries()[at as usize]).expect("a record")
}

fn small(change: impl FnOnce(&mut counterfoil_receipt::body::GenesisLimits)) -> Scenario {
    let mut scenario = Scenario::founded(|genesis| change(&mut genesis.limits));
    scenario.enrol_cast();
    scenario.ledger.close();
    scenario
}

fn note(summary: &str) -> Observation {
    Observation { items: None, kind: ObservationKind::Note, summary: Some(text(summary)) }
}

fn observe_after(
    s: &mut Scenario,
    run: RunId,
    parents: &[RecordId],
) -> counterfoil_receipt::UnverifiedRecord {
    let scout = s.cast.scout.clone();
    let mut draft = s.ledger.draft(&scout, Some(run), note("Look."));
    draft.place = Place::Run { log: s.ledger.log(), run, parents: parents.to_vec() };
    draft.sign(scout.signer()).expect("a draft")
}

fn decision_on(
    s: &mut Scenario,
    change: impl FnOnce(&Scenario, &mut counterfoil_receipt::body::Decision),
) -> counterfoil_receipt::UnverifiedRecord {
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    let mut body = s.decision(run, proposal, Ruling::Approve);
    change(s, &mut body);
    s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
}
