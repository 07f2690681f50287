//! Decisions by link: what the server signs on somebody's behalf.

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    body::{Cancel, KeyChange, Ruling, Surface},
    field::Whole,
    text::RuleName,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, enrolment};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{executed, revocation},
    timers::{one_of_sre, proposed_under},
};

const LINKS: &[&str] = &["LinkForgery"];

pub fn cases() -> Vec<Case> {
    [links(), approvers()].into_iter().flatten().collect()
}

fn links() -> Vec<Case> {
    vec![
        holds("link-approves", "An approval by link, where the rule names that surface.", |s| {
            let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
            let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
            s.ledger.close();
            executed(s, run, proposal, &[decision], |_| {})
        }),
        breaks(
            "R-EXEC-04",
            "link-rejects",
            LINKS,
            "A rejection by link, where the rule names that surface.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                by_link(s, run, proposal, "bo", Ruling::Reject);
                let decision = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        holds("link-rejects-in-vain", "A rejection by link, where no rule names that surface.", |s| {
            let (run, proposal) = proposed_under(s, &json!([one_of_sre("one")]));
            by_link(s, run, proposal, "bo", Ruling::Reject);
            let decision = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
            s.ledger.close();
            executed(s, run, proposal, &[decision], |_| {})
        }),
        holds(
            "link-rejects-what-is-allowed",
            "A rejection by link of an action that the policy allows.",
            |s| {
                let allow = json!({"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1});
                let (run, proposal) = proposed_under(s, &json!([allow]));
                by_link(s, run, proposal, "bo", Ruling::Reject);
                s.ledger.close();
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "link-not-named",
            LINKS,
            "An approval by link, where no rule names that surface.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([one_of_sre("one")]));
                let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "link-in-the-language-before",
            LINKS,
            "An approval by link under the language that knows none.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": true})));
                let decisions = [
                    s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve),
                    by_link(s, run, proposal, "bo", Ruling::Approve),
                ];
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "link-of-one-who-approved",
            &["LinkForgery", "QuorumInflation"],
            "One person approves with their key and by link: that is one.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(2)]));
                let decisions = [
                    s.decide(run, proposal, &s.cast.bo.clone(), Ruling::Approve),
                    by_link(s, run, proposal, "bo", Ruling::Approve),
                ];
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds("link-withdrawn", "Whoever approved by link withdraws that with their key.", |s| {
            let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
            let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
            s.ledger.sign(&s.cast.bo.clone(), Some(run), Cancel { reason: None, target: decision })
        }),
        holds(
            "link-withdrawn-by-its-signer",
            "Whoever signed an approval by link withdraws that, as a human.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
                let mut operator = Actor::new("operator", Role::Human);
                operator.principal = s.cast.engine.principal.clone();
                s.enrol(&operator, &[]);
                s.ledger.sign(&operator, Some(run), Cancel { reason: None, target: decision })
            },
        ),
        breaks(
            "R-CAN-01",
            "link-withdrawn-by-another",
            &["CancelAbuse"],
            "Somebody else withdraws an approval by link.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
                s.ledger.sign(&s.cast.ana.clone(), Some(run), Cancel { reason: None, target: decision })
            },
        ),
    ]
}

fn approvers() -> Vec<Case> {
    vec![
        breaks(
            "R-LINK-01",
            "link-of-nobody",
            LINKS,
            "A decision by link on behalf of somebody who is not enrolled.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                linked(s, run, proposal, "ghost", Ruling::Approve)
            },
        ),
        breaks("R-LINK-01", "link-of-an-agent", LINKS, "A decision by link on behalf of an agent.", |s| {
            let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
            linked(s, run, proposal, "fixer", Ruling::Approve)
        }),
        breaks(
            "R-LINK-01",
            "link-of-one-who-left",
            LINKS,
            "A decision by link on behalf of somebody whose key was retired.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let (root, bo) = (s.cast.root.clone(), s.cast.bo.clone());
                let mut body = enrolment(&bo, &["sre"]);
                body.change = KeyChange::Retire;
                s.ledger.add(&root, None, body);
                linked(s, run, proposal, "bo", Ruling::Approve)
            },
        ),
        breaks(
            "R-EXEC-11",
            "link-of-one-revoked-since",
            &["LinkForgery", "KeyLifecycle"],
            "The only key of whoever approved by link was revoked since.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
                let (root, bo) = (s.cast.root.clone(), s.cast.bo.clone());
                s.ledger.add(&root, None, revocation(bo.key()));
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        holds(
            "link-of-one-with-another-key",
            "A key of whoever approved by link was revoked since; they hold another.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "bo", Ruling::Approve);
                let (root, bo) = (s.cast.root.clone(), s.cast.bo.clone());
                s.enrol(&bo.with_key(1), &["sre"]);
                s.ledger.add(&root, None, revocation(bo.key()));
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        holds(
            "link-of-one-whose-key-is-over",
            "The validity of the approver's only key is over; it was neither retired nor revoked.",
            |s| {
                let dot = Actor::new("dot", Role::Human);
                let mut body = enrolment(&dot, &["sre"]);
                body.not_after = Whole::new(s.ledger.now());
                s.ledger.add(&s.cast.root.clone(), None, body);
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "dot", Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-07",
            "link-signed-by-the-proposer",
            &["LinkForgery", "SelfApproval"],
            "The principal who proposed holds a policy key too, and signs for somebody else by link.",
            |s| {
                let scout = Actor::new("scout", Role::Policy).with_key(8);
                s.enrol(&scout, &[]);
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let mut body = s.decision(run, proposal, Ruling::Approve);
                (body.approver, body.surface) = (RuleName::new("bo"), Surface::Link);
                let decision = s.ledger.add(&scout, Some(run), body);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-07",
            "link-of-the-proposer",
            &["LinkForgery", "SelfApproval"],
            "The approver by link is the principal who proposed.",
            |s| {
                let scout = Actor::new("scout", Role::Human).with_key(7);
                s.enrol(&scout, &["sre"]);
                let (run, proposal) = proposed_under(s, &json!([by_links(1)]));
                let decision = by_link(s, run, proposal, "scout", Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
    ]
}

pub(crate) fn by_links(count: u64) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": "links",
        "requirements": [{"count": count, "groups": ["sre"], "surfaces": ["link", "terminal"]}],
        "segregation": true, "uses": 2, "window": WINDOW})
}

fn linked(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    approver: &str,
    verdict: Ruling,
) -> UnverifiedRecord {
    let mut body = s.decision(run, proposal, verdict);
    (body.approver, body.surface) = (RuleName::new(approver), Surface::Link);
    s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
}

pub(crate) fn by_link(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    approver: &str,
    verdict: Ruling,
) -> RecordId {
    let record = linked(s, run, proposal, approver, verdict);
    s.ledger.append(record.bytes()).expect("a decision by link");
    record.id()
}
