//! Who approved: decisions that an execution names, and what they are a quorum of.

use counterfoil_receipt::{Role, RunId, UnverifiedRecord, body::Ruling, field::Whole};
use counterfoil_testkit::{Actor, Scenario, action, policy_document, trigger_body};
use serde_json::json;

use super::{
    Case, breaks, holds,
    steps::{approved, approved_for, cancel, executed, proposed, quorum_with, revocation},
};

pub fn cases() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-05",
            "approval-of-another",
            &["SwappedAction"],
            "The approvals are about another proposal of the run.",
            |s| {
                let (run, _, decisions) = approved(s);
                let other = s.propose(run, action("db.vacuum", json!({"full": false})));
                executed(s, run, other, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-05",
            "approval-withdrawn",
            &["CancelAbuse"],
            "One of the approvals was withdrawn.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.add(&s.cast.ana.clone(), Some(run), cancel(decisions[0]));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-05",
            "rejection-by-nobody",
            &["QuorumInflation"],
            "One of the decisions is a rejection, by somebody whose word ends nothing.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                let (run, proposal, mut decisions) = approved(s);
                decisions.push(s.decide(run, proposal, &eve, Ruling::Reject));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-one",
            &["QuorumInflation"],
            "One approval where the policy wants two.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                executed(s, run, proposal, &decisions[..1], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-one-person",
            &["QuorumInflation"],
            "Two approvals by one person.",
            |s| {
                let (run, proposal) = proposed(s);
                let ana = s.cast.ana.clone();
                let decisions = [(); 2].map(|()| s.decide(run, proposal, &ana, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-two-keys",
            &["QuorumInflation", "KeyReuse"],
            "Two approvals by two keys of one person.",
            |s| {
                let second = s.cast.ana.with_key(1);
                s.enrol(&second, &["sre"]);
                let (run, proposal) = proposed(s);
                let decisions =
                    [s.cast.ana.clone(), second].map(|key| s.decide(run, proposal, &key, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-outsiders",
            &["QuorumInflation"],
            "The second approver belongs to another group.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                approved_with(s, &eve)
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-joined-later",
            &["QuorumInflation", "KeyLifecycle"],
            "The second approver joined the group after they approved.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                let (run, proposal) = proposed(s);
                let decisions = [s.cast.ana.clone(), eve.clone()]
                    .map(|human| s.decide(run, proposal, &human, Ruling::Approve));
                s.enrol(&eve.with_key(1), &["guests", "sre"]);
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-09",
            "policy-of-another-decision",
            &["PolicyConfusion"],
            "The approvals name a policy that was in force before.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.set_policy(policy_document(1));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-11",
            "approval-revoked",
            &["KeyLifecycle"],
            "An approver's key was revoked after they approved.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let body = revocation(s.cast.bo.key());
                s.ledger.add(&s.cast.bo.clone(), None, body);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "terms-window",
            &["DecisionTerms", "PolicyConfusion"],
            "The approvals last longer than the policy lets them.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| {
                    let window = body.window.as_mut().expect("a window");
                    window.until = Whole::new(window.until.get() + 1).expect("a time");
                });
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "terms-uses",
            &["DecisionTerms", "DoubleExecution"],
            "The approvals grant more uses than the policy lets them.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| body.uses = Whole::new(3));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "terms-of-one-who-stays-out",
            &["DecisionTerms", "SelfApproval"],
            "The principal who proposed approves on terms that are too wide: terms are judged first.",
            |s| {
                let scout = Actor::new("scout", Role::Human).with_key(7);
                s.enrol(&scout, &["sre"]);
                let (run, proposal, mut decisions) = approved(s);
                let mut body = s.decision(run, proposal, Ruling::Approve);
                body.uses = Whole::new(3);
                decisions.push(s.ledger.add(&scout, Some(run), body));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-05",
            "approval-withdrawn-by-authority",
            &["CancelAbuse"],
            "The authority withdrew one of the approvals.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.add(&s.cast.root.clone(), Some(run), cancel(decisions[0]));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-requester",
            &["SelfApproval"],
            "Whoever signed the trigger approves, with a human key of its principal; another proposed.",
            |s| {
                let run = triggered_by(s, &s.cast.fixer.clone());
                approved_by_human_of(s, run, &s.cast.fixer.clone())
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-proposer",
            &["SelfApproval"],
            "The proposer approves, with a human key of its principal; another signed the trigger.",
            |s| {
                let run = triggered_by(s, &s.cast.fixer.clone());
                approved_by_human_of(s, run, &s.cast.scout.clone())
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-runtime",
            &["SelfApproval"],
            "The runtime approves, with a human key of its principal; another signed the trigger.",
            |s| {
                let run = triggered_by(s, &s.cast.fixer.clone());
                approved_by_human_of(s, run, &s.cast.gate.clone())
            },
        ),
        holds(
            "valid-without-segregation",
            "The proposer approves, with a human key of its principal, and the policy lets it.",
            |s| {
                let mut document = policy_document(2);
                document["rule"]["segregation"] = json!(false);
                s.set_policy(document);
                let run = s.trigger();
                approved_by_human_of(s, run, &s.cast.scout.clone())
            },
        ),
    ]
}

/// A run of `scout`, whose trigger somebody else signed.
fn triggered_by(s: &mut Scenario, by: &Actor) -> RunId {
    let body = trigger_body(&s.cast.scout, "1");
    RunId::started_by(s.ledger.add(by, None, body))
}

/// `scout` proposes, `ana` and a human key of this machine's principal approve, and `gate` executes.
fn approved_by_human_of(s: &mut Scenario, run: RunId, machine: &Actor) -> UnverifiedRecord {
    let human = Actor::new(machine.principal.as_str(), Role::Human);
    s.enrol(&human, &["sre"]);
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    quorum_with(s, run, proposal, &human)
}

/// `ana` and another approve a proposal, and `gate` executes.
fn approved_with(s: &mut Scenario, second: &Actor) -> UnverifiedRecord {
    let (run, proposal) = proposed(s);
    quorum_with(s, run, proposal, second)
}
