//! Attacks on the policy: what it denies is done, or what it wants is left out.

use counterfoil_receipt::{
    Action, RecordId, Role, RunId,
    action::Map,
    body::{Ruling, Surface},
    field::Set,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, pointer};
use serde_json::{Value, json};

use crate::{execution, refused};

/// A proposal under these rules.
fn proposed(rules: Value, change: impl FnOnce(&mut Scenario, &mut Action)) -> (Scenario, RunId, RecordId) {
    let mut s = Scenario::under(json!({"costs": [{"amount": "/amount", "currency": "EUR", "tool": "*"}],
        "language": "counterfoil-policy/1", "rules": rules}));
    let run = s.trigger();
    let mut action = action("payments.refund", json!({"amount": "20.00"}));
    change(&mut s, &mut action);
    let proposal = s.propose(run, action);
    (s, run, proposal)
}

/// Refunds of up to 50 EUR need nobody.
fn small_refunds() -> Value {
    let small = json!({"cost": {"at_most": {"amount": "50", "currency": "EUR"}}});
    json!({"effect": "allow", "match": {"all": [{"tool": "payments.refund"}, small]}, "name": "small-refunds", "uses": 1})
}

fn require(requirements: Value) -> Value {
    json!({"effect": "require", "match": {"tool": "payments.*"}, "name": "payments", "requirements": requirements,
        "segregation": true, "uses": 1, "window": WINDOW})
}

/// The code with which an execution without decisions is turned away.
#[track_caller]
fn refused_alone(s: &mut Scenario, run: RunId, proposal: RecordId) -> &'static str {
    let alone = execution(s, run, proposal, &[], |_| {});
    refused(s, run, &alone)
}

#[test]
fn an_amount_that_nobody_can_see_passes_for_a_small_one() {
    let (mut s, run, proposal) = proposed(json!([small_refunds()]), |s, action| {
        action.arguments = counterfoil_receipt::action::Json::from_value(&json!({})).unwrap();
        let amount = s.ledger.commit("/amount", br#""20.00""#);
        action.committed = Map::new([(pointer("/amount"), amount)]);
    });
    assert_eq!(refused_alone(&mut s, run, proposal), "policy-denied");
}

#[test]
fn money_that_flows_the_other_way_passes_for_a_small_amount() {
    let (mut s, run, proposal) = proposed(json!([small_refunds()]), |_, action| {
        action.arguments =
            counterfoil_receipt::action::Json::from_value(&json!({"amount": -1_000_000})).unwrap();
    });
    assert_eq!(refused_alone(&mut s, run, proposal), "policy-denied");
}

#[test]
fn an_argument_is_left_free_and_filled_in_after_the_approval() {
    let (mut s, run, proposal) = proposed(json!([require(json!([{"count": 2}]))]), |_, action| {
        action.free = Set::new([pointer("/account")]);
    });
    let decisions = s.approve(run, proposal);
    let record = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &record), "free-path-refused");
}

#[test]
fn a_rule_that_allows_stands_in_for_one_that_wants_approvals() {
    let (mut s, run, proposal) =
        proposed(json!([small_refunds(), require(json!([{"count": 1}]))]), |_, _| {});
    assert_eq!(refused_alone(&mut s, run, proposal), "quorum-not-met");
}

#[test]
fn one_person_counts_for_two_requirements() {
    let two = json!([{"count": 1, "groups": ["finance"]}, {"count": 1, "groups": ["sre"]}]);
    let (mut s, run, proposal) = proposed(json!([require(two)]), |_, _| {});
    let eve = Actor::new("eve", Role::Human);
    s.enrol(&eve, &["finance", "sre"]);
    let decision = s.decide(run, proposal, &eve, Ruling::Approve);
    s.ledger.close();
    let record = execution(&mut s, run, proposal, &[decision], |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}

#[test]
fn a_click_on_a_link_passes_for_a_look_at_the_page() {
    let (mut s, run, proposal) =
        proposed(json!([require(json!([{"count": 1, "surfaces": ["independent_page"]}]))]), |_, _| {});
    let mut click = s.decision(run, proposal, Ruling::Approve);
    click.surface = Surface::Link;
    let decision = s.ledger.add(&s.cast.ana.clone(), Some(run), click);
    s.ledger.close();
    let record = execution(&mut s, run, proposal, &[decision], |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}
