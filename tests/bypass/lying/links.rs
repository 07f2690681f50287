//! A server that decides by link in the names of people who did not.

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    body::{Decision, Ruling, Surface},
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action};
use counterfoil_verify::{Conclusion, verify};
use serde_json::{Value, json};

use super::{executes, lies, name, proposed, require, told, untimed};
use crate::refused;

/// One of `sre`, by link too.
fn by_links() -> Value {
    require(json!([{"count": 1, "groups": ["sre"], "surfaces": ["link", "terminal"]}]))
}

/// What the server signs for somebody who is said to have followed a link.
fn linked(s: &mut Scenario, run: RunId, proposal: RecordId, approver: &str, verdict: Ruling) -> Decision {
    let mut body = s.decision(run, proposal, verdict);
    (body.approver, body.surface) = (Some(name(approver)), Surface::Link);
    body
}

#[test]
fn it_counts_one_person_with_a_key_and_by_link() {
    let mut rule = by_links();
    rule["requirements"][0]["count"] = json!(2);
    let (mut s, run, proposal) = proposed(&json!([rule]));
    let own = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
    let link = linked(&mut s, run, proposal, "ana", Ruling::Approve);
    let link = s.ledger.add(&s.cast.engine.clone(), Some(run), link);
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &[own, link], |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
}

#[test]
fn it_decides_by_link_where_no_rule_takes_links() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let decisions = ["ana", "bo"].map(|approver| {
        let body = linked(&mut s, run, proposal, approver, Ruling::Approve);
        s.ledger.add(&s.cast.engine.clone(), Some(run), body)
    });
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &decisions, |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
}

#[test]
fn it_decides_by_link_for_somebody_who_is_no_approver() {
    // A human whom no rule asks; the proposer; one whom nobody enrolled, and an agent.
    for (approver, expected) in [("guest", "quorum-not-met"), ("scout", "segregation")] {
        let (mut s, run, proposal) = proposed(&json!([by_links()]));
        let human = Actor::new(approver, Role::Human).with_key(7);
        s.enrol(&human, if approver == "guest" { &[] } else { &["sre"] });
        let body = linked(&mut s, run, proposal, approver, Ruling::Approve);
        let decision = s.ledger.add(&s.cast.engine.clone(), Some(run), body);
        s.ledger.close();
        assert_eq!(executes(&mut s, run, proposal, &[decision], |_| {}), expected);
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec![expected]), "{approver}");
    }
    for approver in ["ghost", "fixer"] {
        let (mut s, run, proposal) = proposed(&json!([by_links()]));
        let (engine, body) =
            (s.cast.engine.clone(), linked(&mut s, run, proposal, approver, Ruling::Approve));
        let (decision, code) = lies(&mut s, &engine, Some(run), body);
        assert_eq!(code, "link-approver");
        s.ledger.close();
        executes(&mut s, run, proposal, &[decision], |_| {});
        // That somebody holds no key is never shown by a bundle.
        let codes = vec!["link-approver", "reference-unknown"];
        assert_eq!(told(&mut s, run), (Conclusion::NotShown, codes), "{approver}");
    }
}

#[test]
fn it_rejects_by_link_for_somebody_who_is_no_approver() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let body = linked(&mut s, run, proposal, "ana", Ruling::Reject);
    s.ledger.add(&s.cast.engine.clone(), Some(run), body);
    let decisions = s.approve(run, proposal);
    s.execute(run, proposal, &decisions);
    let trust = s.ledger.trust().trust();
    let verdict = verify(&s.ledger.bundle(run), &trust, 0);
    assert_eq!(
        verdict.conclude(trust.require()),
        Conclusion::Shown,
        "it ends nothing: {:#?}",
        verdict.findings()
    );
}

#[test]
fn it_decides_by_link_on_another_action_than_the_page_showed() {
    let (mut s, run, proposal) = proposed(&json!([by_links()]));
    let next = s.propose(run, action("db.drop", json!({})));
    let mut body = linked(&mut s, run, proposal, "ana", Ruling::Approve);
    body.proposal = next;
    let engine = s.cast.engine.clone();
    let (decision, code) = lies(&mut s, &engine, Some(run), body);
    assert_eq!(code, "decision-action");
    s.ledger.close();
    executes(&mut s, run, next, &[decision], |_| {});
    let codes = vec!["decision-action", "reference-unknown"];
    assert_eq!(told(&mut s, run), (Conclusion::Violated, codes));
}

#[test]
fn it_grants_by_link_more_than_the_rule_lets() {
    let changes: [fn(&mut Decision); 2] = [
        |body| {
            let window = body.window.as_mut().unwrap();
            window.until = Whole::new(window.from.get() + WINDOW + 1).unwrap();
        },
        |body| body.uses = Whole::new(3),
    ];
    for change in changes {
        let (mut s, run, proposal) = proposed(&json!([by_links()]));
        let mut body = linked(&mut s, run, proposal, "ana", Ruling::Approve);
        change(&mut body);
        let decision = s.ledger.add(&s.cast.engine.clone(), Some(run), body);
        s.ledger.close();
        assert_eq!(executes(&mut s, run, proposal, &[decision], |_| {}), "terms-exceed-policy");
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["terms-exceed-policy"]));
    }
}

/// A policy key never speaks with the voice of a human, and a human's key never by link or by time-out.
#[test]
fn it_signs_as_a_human_or_lets_a_human_sign_as_the_server() {
    let (mut s, run, proposal) = proposed(&json!([by_links()]));
    let engine = s.cast.engine.clone();
    let own = s.decision(run, proposal, Ruling::Approve);
    let as_human = s.ledger.sign(&engine.claiming_role(Role::Human), Some(run), own);
    assert_eq!(refused(&mut s, run, &as_human), "key-role");
    // No record of the other form can even be made; one that is changed to it is none.
    let body = linked(&mut s, run, proposal, "bo", Ruling::Approve);
    let record = s.ledger.sign(&engine, Some(run), body);
    let text = std::str::from_utf8(record.bytes()).unwrap();
    let changed = text.replace(r#""role":"policy""#, r#""role":"human""#);
    assert_ne!(changed, text);
    assert_eq!(UnverifiedRecord::parse(changed.as_bytes()).unwrap_err().code.code(), "decision-voice");
}
