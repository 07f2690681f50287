//! Attacks on the policy: what it denies is done, or what it wants is left out.

use counterfoil_receipt::{
    Action, RecordId, Role, RunId, UnverifiedRecord,
    action::{Json, Map},
    body::{Cost, Risk, Ruling, Surface},
    field::Set,
    text::{Amount, Currency, Label},
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, label, pointer};
use counterfoil_verify::{Conclusion, verify};
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
        action.arguments = Json::from_value(&json!({})).unwrap();
        let amount = s.ledger.commit("/amount", br#""20.00""#);
        action.committed = Map::new([(pointer("/amount"), amount)]);
    });
    assert_eq!(refused_alone(&mut s, run, proposal), "policy-denied");
}

#[test]
fn money_that_flows_the_other_way_passes_for_a_small_amount() {
    let (mut s, run, proposal) = proposed(json!([small_refunds()]), |_, action| {
        action.arguments = Json::from_value(&json!({"amount": -1_000_000})).unwrap();
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

/// Payments over 100 EUR need two; nobody says anything of other money.
fn large_in_euro() -> Value {
    let over = json!({"cost": {"over": {"amount": "100", "currency": "EUR"}}});
    json!({"effect": "require", "match": over, "name": "large", "requirements": [{"count": 2}],
        "segregation": true, "uses": 1, "window": WINDOW})
}

fn any_payment() -> Value {
    json!({"effect": "allow", "match": {"tool": "payments.*"}, "name": "payments", "uses": 1})
}

#[test]
fn an_amount_in_another_currency_evades_the_rule() {
    let document = json!({"costs": [{"amount": "/amount", "currency_at": "/currency", "tool": "*"}],
        "language": "counterfoil-policy/1", "rules": [large_in_euro(), any_payment()]});
    for (arguments, is_asked) in [
        (json!({"amount": "1000000", "currency": "USD"}), true),
        (json!({"amount": "1000000", "currency": "eur"}), true),
        (json!({"amount": "1000000"}), true),
        (json!({"amount": "1e6", "currency": "EUR"}), true),
        (json!({"amount": "100.00", "currency": "EUR"}), false),
    ] {
        let mut s = Scenario::under(document.clone());
        let run = s.trigger();
        let proposal = s.propose(run, action("payments.refund", arguments.clone()));
        let alone = execution(&mut s, run, proposal, &[], |_| {});
        if is_asked {
            assert_eq!(refused(&mut s, run, &alone), "quorum-not-met", "{arguments}");
        } else {
            s.ledger.append(alone.bytes()).unwrap();
        }
    }
}

#[test]
fn a_newline_in_a_name_evades_the_rule() {
    // No name has one.
    assert!(Label::new("payments.refund\n").is_none());
    let mut s = Scenario::new();
    let run = s.trigger();
    let body = s.proposal(action("payments.refund", json!({})));
    let record = s.ledger.sign(&s.cast.scout.clone(), Some(run), body);
    let text = std::str::from_utf8(record.bytes()).unwrap();
    let changed = text.replace(r#""payments.refund""#, r#""payments.refund\n""#);
    assert_ne!(changed, text);
    let fault = UnverifiedRecord::parse(changed.as_bytes()).unwrap_err();
    assert_eq!(fault.code.code(), "field-invalid");
    // An argument may, and a star stands for it too.
    let frozen = json!({"effect": "deny", "match": {"argument": {"glob": "*frozen*", "path": "/account"}}, "name": "frozen"});
    for account in ["frozen", "a\nfrozen", "frozen\n", "\u{2028}frozen\r\n"] {
        let (mut s, run, proposal) = proposed(json!([frozen, any_payment()]), |_, action| {
            action.arguments = Json::from_value(&json!({"account": account})).unwrap();
        });
        assert_eq!(refused_alone(&mut s, run, proposal), "policy-denied", "{account:?}");
    }
}

#[test]
fn no_match_means_allowed() {
    let (mut s, run, proposal) = proposed(json!([small_refunds()]), |_, action| {
        action.tool = label("payments.transfer");
    });
    assert_eq!(refused_alone(&mut s, run, proposal), "policy-denied");
}

/// What is not named is denied, so nothing depends on words that a name may hold.
#[test]
fn a_delete_by_another_word_is_no_delete() {
    let rules = json!([
        {"effect": "allow", "match": {"tool": "db.read"}, "name": "reads", "uses": 1},
        {"effect": "require", "match": {"tool": "db.delete*"}, "name": "deletes", "requirements": [{"count": 2}],
            "segregation": true, "uses": 1, "window": WINDOW},
    ]);
    for (tool, code) in [
        ("db.delete-all", "quorum-not-met"),
        ("db.remove", "policy-denied"),
        ("db.DELETE", "policy-denied"),
        ("db.read; delete", "policy-denied"),
        ("xdb.delete", "policy-denied"),
    ] {
        let (mut s, run, proposal) = proposed(rules.clone(), |_, action| action.tool = label(tool));
        assert_eq!(refused_alone(&mut s, run, proposal), code, "{tool}");
    }
}

#[test]
fn the_approvers_of_one_rule_satisfy_another() {
    let mut second = require(json!([{"count": 1, "groups": ["finance"]}]));
    second["name"] = json!("money");
    let (mut s, run, proposal) =
        proposed(json!([require(json!([{"count": 1, "groups": ["sre"]}])), second]), |_, _| {});
    let decisions = s.approve(run, proposal);
    let record = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}

/// A group is who belongs to it when they decide: nobody yet, then somebody.
#[test]
fn a_group_resolves_to_nobody_and_nothing_can_be_approved() {
    let (mut s, run, proposal) =
        proposed(json!([require(json!([{"count": 1, "groups": ["finance"]}]))]), |_, _| {});
    let eve = Actor::new("eve", Role::Human);
    let enrolled = s.enrol(&eve, &[]);
    assert!(s.ledger.state().index_of(&enrolled).is_some());
    let before = s.decide(run, proposal, &eve, Ruling::Approve);
    s.enrol(&eve.with_key(1), &["finance"]);
    s.ledger.close();
    let record = execution(&mut s, run, proposal, &[before], |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
    let after = s.decide(run, proposal, &eve, Ruling::Approve);
    s.ledger.close();
    s.execute(run, proposal, &[after]);
    let trust = s.ledger.trust().trust();
    let verdict = verify(&s.ledger.bundle(run), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown);
}

#[test]
fn the_proposer_says_that_its_action_is_cheap_and_harmless() {
    let rules = json!([large_in_euro(), any_payment()]);
    let (mut s, run, _) = proposed(rules, |_, _| {});
    let mut body = s.proposal(action("payments.refund", json!({"amount": "1000"})));
    body.cost = Some(Cost { amount: Amount::new("1").unwrap(), currency: Currency::new("EUR").unwrap() });
    body.risk = Risk::Low;
    let claimed = s.ledger.add(&s.cast.scout.clone(), Some(run), body);
    s.ledger.close();
    assert_eq!(refused_alone(&mut s, run, claimed), "quorum-not-met");
}
