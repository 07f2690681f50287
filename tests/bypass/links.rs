//! Attacks on decisions by link, by whoever gets hold of one; what a lying server signs is in `lying/links.rs`, what a page and a
//! form let through in `crates/server/tests/links.rs`.

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    body::{KeyChange, Ruling, Surface},
    text::Principal,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, enrolment};
use serde_json::json;

use crate::{execution, refused};

/// A proposal that `count` of `sre` have to approve, with a key or by link.
fn proposed(count: u64) -> (Scenario, RunId, RecordId) {
    let rule = json!({"effect": "require", "match": {"always": true}, "name": "links",
        "requirements": [{"count": count, "groups": ["sre"], "surfaces": ["link", "terminal"]}],
        "segregation": true, "uses": 2, "window": WINDOW});
    let mut s = Scenario::under(json!({"language": "counterfoil-policy/1", "rules": [rule]}));
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    (s, run, proposal)
}

/// What the server signs for whoever followed a link.
fn linked(s: &mut Scenario, run: RunId, proposal: RecordId, approver: &str) -> UnverifiedRecord {
    let mut body = s.decision(run, proposal, Ruling::Approve);
    (body.approver, body.surface) = (Principal::new(approver), Surface::Link);
    s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
}

fn approve(s: &mut Scenario, run: RunId, proposal: RecordId, approver: &str) -> RecordId {
    let record = linked(s, run, proposal, approver);
    s.ledger.append(record.bytes()).unwrap();
    s.ledger.close();
    record.id()
}

#[test]
fn who_asked_for_it_or_proposed_it_approves_by_link() {
    for involved in ["gate", "scout"] {
        let (mut s, run, proposal) = proposed(1);
        s.enrol(&Actor::new(involved, Role::Human).with_key(7), &["sre"]);
        let decision = approve(&mut s, run, proposal, involved);
        let record = execution(&mut s, run, proposal, &[decision], |_| {});
        assert_eq!(refused(&mut s, run, &record), "segregation", "{involved}");
    }
}

#[test]
fn one_link_that_is_used_twice_is_two_approvals() {
    let (mut s, run, proposal) = proposed(2);
    let twice = [(); 2].map(|()| approve(&mut s, run, proposal, "ana"));
    let record = execution(&mut s, run, proposal, &twice, |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}

#[test]
fn a_link_to_one_proposal_approves_another() {
    let (mut s, run, proposal) = proposed(1);
    let next = s.propose(run, action("db.drop", json!({})));
    let decision = approve(&mut s, run, proposal, "ana");
    let record = execution(&mut s, run, next, &[decision], |_| {});
    assert_eq!(refused(&mut s, run, &record), "decision-not-approval");
}

#[test]
fn the_link_of_somebody_who_left_still_approves() {
    let (mut s, run, proposal) = proposed(1);
    let before = approve(&mut s, run, proposal, "ana");
    let mut left = enrolment(&s.cast.ana, &["sre"]);
    left.change = KeyChange::Retire;
    s.ledger.add(&s.cast.root.clone(), None, left);
    s.ledger.close();
    let after = linked(&mut s, run, proposal, "ana");
    assert_eq!(s.ledger.append(after.bytes()).unwrap_err().code, "link-approver");
    let record = execution(&mut s, run, proposal, &[before], |_| {});
    assert_eq!(s.ledger.append(record.bytes()).unwrap_err().code, "approval-revoked");
}
