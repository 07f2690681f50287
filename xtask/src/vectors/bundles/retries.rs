//! Retries: a bundle has every outcome of its run, and may leave out who signed one.

use counterfoil_receipt::{
    Place, RecordId, RunId,
    body::{Execution, Status},
};
use counterfoil_testkit::{Scenario, action};
use counterfoil_verify::Dimension;
use serde_json::json;

use super::{Case, Shown, breaks, holds, validity::without_entry};

pub fn cases() -> Vec<Case> {
    vec![
        holds("valid-retried", "What stayed unknown was tried again, and succeeded.", || {
            let mut s = Scenario::new();
            let (run, proposal, first) = executed(&mut s);
            s.report(run, first, Status::Unknown);
            s.ledger.close();
            let second = retry(&mut s, run, proposal, first);
            s.report(run, second, Status::Succeeded);
            s.ledger.close();
            Shown::of(&s, run)
        }),
        breaks(
            "R-EXEC-14",
            "retry-in-a-bundle",
            &["BlindRetry"],
            "A log took a retry of what had succeeded.",
            || {
                let mut s = Scenario::new();
                let (run, proposal, first) = executed(&mut s);
                s.report(run, first, Status::Succeeded);
                s.ledger.close();
                let body = retrying(&s, run, proposal, first);
                let record = s.ledger.sign(&s.cast.gate.clone(), Some(run), body);
                s.ledger.force(record.bytes()).expect_err("a retry of a success");
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-EXEC-14",
            "retry-after-an-outcome-in-doubt",
            &["BlindRetry"],
            "The runtime reported with another key, of which the enrolment is left out: that the outcome was unknown is not shown. The reader does not ask who was entitled.",
            || {
                let mut s = Scenario::new();
                let (run, proposal, first) = executed(&mut s);
                let other = s.cast.gate.with_key(1);
                let left_out = s.ledger.size();
                s.enrol(&other, &["prod"]);
                s.ledger.close();
                let body = s.outcome(first, Status::Unknown);
                let outcome = s.ledger.sign(&other, Some(run), body);
                s.ledger.append(outcome.bytes()).expect("an outcome");
                s.ledger.close();
                let mut draft = {
                    let body = retrying(&s, run, proposal, first);
                    s.ledger.draft(&s.cast.gate.clone(), Some(run), body)
                };
                // It had the execution in hand, and not the outcome, which would be in doubt with it.
                draft.place = Place::Run { log: s.ledger.log(), run, parents: vec![first] };
                let record = draft.sign(s.cast.gate.signer()).expect("a draft");
                s.ledger.append(record.bytes()).expect("a retry");
                s.ledger.close();
                let mut shown = without_entry(&s, run, left_out);
                shown.trust.dimensions.retain(|dimension| *dimension != Dimension::Authority);
                shown
            },
        ),
    ]
}

/// `gate` executes what the policy allows, and lets be tried again once.
fn executed(s: &mut Scenario) -> (RunId, RecordId, RecordId) {
    let allow = json!({"effect": "allow", "match": {"always": true}, "name": "all", "retries": 1, "uses": 1});
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": [allow]}));
    s.ledger.close();
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    let first = s.execute(run, proposal, &[]);
    (run, proposal, first)
}

fn retrying(s: &Scenario, run: RunId, proposal: RecordId, first: RecordId) -> Execution {
    let mut body = s.execution(run, proposal, &[]);
    body.retries = Some(first);
    body
}

fn retry(s: &mut Scenario, run: RunId, proposal: RecordId, first: RecordId) -> RecordId {
    let body = retrying(s, run, proposal, first);
    let id = s.ledger.add(&s.cast.gate.clone(), Some(run), body);
    s.ledger.close();
    id
}
