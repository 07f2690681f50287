//! Whose run it is: triggers, handoffs, cancels.

use counterfoil_receipt::{Role, RunId, UnverifiedRecord, body::Ruling};
use counterfoil_testkit::{Actor, Scenario, action, trigger_body};
use serde_json::json;

use super::{
    Case, breaks, holds,
    steps::{approved, cancel, executed, name, proposed, retired, rotated},
};

pub fn cases() -> Vec<Case> {
    [recipients(), owners(), cancels()].into_iter().flatten().collect()
}

fn recipients() -> Vec<Case> {
    vec![
        breaks(
            "R-HAND-01",
            "trigger-for-human",
            &["OwnershipTheft"],
            "A trigger gives the run to a human key.",
            |s| triggered_for(s, &s.cast.ana.clone()),
        ),
        breaks(
            "R-HAND-01",
            "trigger-for-unknown",
            &["OwnershipTheft", "KeyLifecycle"],
            "A trigger gives the run to a key that nobody enrolled.",
            |s| triggered_for(s, &Actor::new("eve", Role::Agent)),
        ),
        breaks(
            "R-HAND-01",
            "trigger-for-retired",
            &["OwnershipTheft", "KeyLifecycle"],
            "A trigger gives the run to a retired key.",
            |s| {
                let body = retired(&s.cast.scout);
                s.ledger.add(&s.cast.root.clone(), None, body);
                triggered_for(s, &s.cast.scout.clone())
            },
        ),
        breaks(
            "R-HAND-01",
            "trigger-for-misnamed",
            &["OwnershipTheft"],
            "A trigger gives the run to an agent's key under another principal.",
            |s| triggered_for(s, &s.cast.scout.claiming_principal(&s.cast.fixer.principal)),
        ),
        breaks("R-HAND-01", "handoff-to-human", &["OwnershipTheft"], "A run is given to a human key.", |s| {
            handoff_to(s, |s, _| s.cast.ana.clone())
        }),
        breaks(
            "R-HAND-01",
            "handoff-to-retired",
            &["OwnershipTheft", "KeyLifecycle"],
            "A run is given to a retired key.",
            |s| {
                handoff_to(s, |s, _| {
                    let body = retired(&s.cast.fixer);
                    s.ledger.add(&s.cast.root.clone(), None, body);
                    s.cast.fixer.clone()
                })
            },
        ),
        breaks(
            "R-HAND-01",
            "handoff-to-misnamed",
            &["OwnershipTheft"],
            "A run is given to an agent's key under another principal.",
            |s| handoff_to(s, |s, _| s.cast.fixer.claiming_principal(&name("eve"))),
        ),
    ]
}

fn owners() -> Vec<Case> {
    vec![
        holds("valid-handed-on", "An agent proposes in a run that it was given.", |s| {
            let run = handed_on(s);
            proposal_by(s, run, &s.cast.fixer.clone())
        }),
        holds(
            "valid-executed-after-handoff",
            "What the first owner proposed is executed after it gave the run away.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.hand_over(run);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds("valid-owner-rotated", "The owner's key was rotated, and the next one proposes.", |s| {
            let run = s.trigger();
            let rotation = rotated(&s.cast.scout);
            s.ledger.add(&s.cast.root.clone(), None, rotation);
            proposal_by(s, run, &s.cast.scout.with_key(1))
        }),
        breaks(
            "R-OWN-01",
            "owner-with-another-key",
            &["OwnershipTheft"],
            "The owner proposes with a second key, which the trigger does not name and no rotation put in its place.",
            |s| {
                let run = s.trigger();
                let second = s.cast.scout.with_key(1);
                s.enrol(&second, &[]);
                proposal_by(s, run, &second)
            },
        ),
        breaks(
            "R-OWN-01",
            "not-owner",
            &["OwnershipTheft"],
            "An agent proposes in a run that it does not own.",
            |s| {
                let run = s.trigger();
                proposal_by(s, run, &s.cast.fixer.clone())
            },
        ),
        breaks(
            "R-OWN-01",
            "former-owner",
            &["OwnershipTheft"],
            "An agent proposes in a run that it has handed on.",
            |s| {
                let run = handed_on(s);
                proposal_by(s, run, &s.cast.scout.clone())
            },
        ),
        breaks(
            "R-OWN-01",
            "former-owner-observes",
            &["OwnershipTheft"],
            "An agent records an observation in a run that it has handed on.",
            |s| {
                let run = handed_on(s);
                let body = counterfoil_receipt::body::Observation {
                    items: None,
                    kind: counterfoil_receipt::body::ObservationKind::Note,
                    summary: Some(counterfoil_testkit::text("Still here.")),
                };
                s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-OWN-01",
            "former-owner-hands-on",
            &["OwnershipTheft"],
            "An agent gives away a run that it has handed on, to itself.",
            |s| {
                let run = handed_on(s);
                let mut body = s.handoff(run);
                body.to = s.cast.scout.holder();
                s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-OWN-01",
            "former-owner-cancels",
            &["OwnershipTheft", "CancelAbuse"],
            "An agent withdraws its own proposal in a run that it has handed on.",
            |s| {
                let (run, proposal) = proposed(s);
                s.hand_over(run);
                s.ledger.sign(&s.cast.scout.clone(), Some(run), cancel(proposal))
            },
        ),
    ]
}

fn cancels() -> Vec<Case> {
    vec![
        holds(
            "valid-cancel-by-next-owner",
            "The agent that was given the run withdraws what its first owner proposed.",
            |s| {
                let (run, proposal) = proposed(s);
                s.hand_over(run);
                s.ledger.sign(&s.cast.fixer.clone(), Some(run), cancel(proposal))
            },
        ),
        holds("valid-cancel-by-authority", "The authority withdraws a proposal.", |s| {
            let (run, proposal) = proposed(s);
            s.ledger.sign(&s.cast.root.clone(), Some(run), cancel(proposal))
        }),
        breaks(
            "R-CAN-01",
            "cancel-of-a-proposal-by-human",
            &["CancelAbuse"],
            "A person withdraws a proposal, instead of rejecting it.",
            |s| {
                let (run, proposal) = proposed(s);
                s.ledger.sign(&s.cast.ana.clone(), Some(run), cancel(proposal))
            },
        ),
        breaks("R-CAN-01", "cancel-signer", &["CancelAbuse"], "Bo withdraws Ana's approval.", |s| {
            let (run, proposal) = proposed(s);
            let target = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
            s.ledger.sign(&s.cast.bo.clone(), Some(run), cancel(target))
        }),
        breaks(
            "R-CAN-01",
            "cancel-of-a-rejection",
            &["CancelAbuse", "EndedProposal"],
            "The agent withdraws a person's rejection.",
            |s| {
                let (run, proposal) = proposed(s);
                let target = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Reject);
                s.ledger.sign(&s.cast.scout.clone(), Some(run), cancel(target))
            },
        ),
    ]
}

fn triggered_for(s: &mut Scenario, owner: &Actor) -> UnverifiedRecord {
    s.ledger.sign(&s.cast.gate.clone(), None, trigger_body(owner, "1"))
}

/// A run that `scout` gave to `fixer`.
fn handed_on(s: &mut Scenario) -> RunId {
    let run = s.trigger();
    s.ledger.close();
    s.hand_over(run);
    run
}

fn proposal_by(s: &mut Scenario, run: RunId, by: &Actor) -> UnverifiedRecord {
    let body = s.proposal(action("db.drop", json!({})));
    s.ledger.sign(by, Some(run), body)
}

fn handoff_to(s: &mut Scenario, to: impl FnOnce(&mut Scenario, RunId) -> Actor) -> UnverifiedRecord {
    let run = s.trigger();
    s.ledger.close();
    let to = to(s, run);
    let mut body = s.handoff(run);
    body.to = to.holder();
    s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
}
