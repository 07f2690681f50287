//! Attacks on delegations: authority that nobody gave, that is given on wider than it was held, or spent twice.

use counterfoil_receipt::{
    Place, RecordId, RunId, UnverifiedRecord,
    body::{Cost, Delegation, Revocation, RevocationTarget, Spend},
    field::Whole,
    text::{Amount, Currency},
};
use counterfoil_testkit::{Actor, Scenario, action, delegation, trigger_body};
use serde_json::{Value, json};

use crate::{execution, refused};

/// A log whose policy lets delegates do everything, and knows what it costs.
fn spending() -> Scenario {
    Scenario::under(json!({
        "costs": [{"amount": "/amount", "currency": "EUR", "tool": "*"}],
        "language": "counterfoil-policy/1",
        "rules": [{"effect": "allow", "match": {"delegation": true}, "name": "delegated", "uses": 5}],
    }))
}

fn euro(amount: &str) -> Cost {
    Cost { amount: Amount::new(amount).unwrap(), currency: Currency::new("EUR").unwrap() }
}

/// The authority grants `scout` payments up to so much in all.
fn granted(s: &mut Scenario, total: &str) -> RecordId {
    let mut body = delegation(&s.cast.scout, "payments.*", 3);
    body.spend = Some(Spend { per_action: None, total: Some(euro(total)) });
    s.ledger.add(&s.cast.root.clone(), None, body)
}

/// Somebody passes a delegation on.
fn passed_on(s: &mut Scenario, by: &Actor, above: RecordId, body: Delegation) -> UnverifiedRecord {
    let mut draft = s.ledger.draft(by, None, body);
    draft.place = Place::Chain { log: s.ledger.log(), prev: above };
    draft.sign(by.signer()).unwrap()
}

fn run_of(s: &mut Scenario, owner: &Actor) -> RunId {
    let event = s.ledger.size().to_string();
    RunId::started_by(s.ledger.add(&s.cast.gate.clone(), None, trigger_body(owner, &event)))
}

fn proposal(s: &mut Scenario, run: RunId, by: &Actor, under: RecordId, arguments: Value) -> UnverifiedRecord {
    let mut body = s.proposal(action("payments.refund", arguments));
    body.delegation = Some(under);
    s.ledger.sign(by, Some(run), body)
}

/// A proposal under a delegation, and the execution that would be its first.
fn asked(s: &mut Scenario, by: &Actor, under: RecordId, arguments: Value) -> (RunId, UnverifiedRecord) {
    let run = run_of(s, by);
    let proposed = proposal(s, run, by, under, arguments);
    s.ledger.append(proposed.bytes()).unwrap();
    s.ledger.close();
    (run, execution(s, run, proposed.id(), &[], |_| {}))
}

/// The code with which the log turns a record of no run away.
#[track_caller]
fn turned_away(s: &mut Scenario, record: &UnverifiedRecord) -> &'static str {
    s.ledger.append(record.bytes()).expect_err("the log must refuse this").code
}

#[test]
fn an_agent_grants_itself_everything() {
    let mut s = spending();
    let scout = s.cast.scout.clone();
    let record = s.ledger.sign(&scout, None, delegation(&scout, "*", 16));
    assert_eq!(turned_away(&mut s, &record), "delegation-signer");
    // A log that takes it all the same convinces nobody of what is done under it.
    s.ledger.force(record.bytes()).expect_err("the fold must report this");
    let run = run_of(&mut s, &scout);
    let proposed = proposal(&mut s, run, &scout, record.id(), json!({"amount": "1"}));
    assert_eq!(refused(&mut s, run, &proposed), "delegation-holder");
}

#[test]
fn an_agent_acts_under_what_was_given_to_another() {
    let mut s = spending();
    let id = granted(&mut s, "100");
    let fixer = s.cast.fixer.clone();
    let run = run_of(&mut s, &fixer);
    let proposed = proposal(&mut s, run, &fixer, id, json!({"amount": "1"}));
    assert_eq!(refused(&mut s, run, &proposed), "delegation-holder");
}

#[test]
fn a_delegation_is_passed_on_wider_than_it_is_held_by_a_log_that_lets_it() {
    let mut s = spending();
    let above = granted(&mut s, "100");
    let (scout, fixer) = (s.cast.scout.clone(), s.cast.fixer.clone());
    let wider = passed_on(&mut s, &scout, above, delegation(&fixer, "*", 2));
    assert_eq!(turned_away(&mut s, &wider), "delegation-widens");
    s.ledger.force(wider.bytes()).expect_err("the fold must report this");
    let run = run_of(&mut s, &fixer);
    let proposed = proposal(&mut s, run, &fixer, wider.id(), json!({"amount": "1"}));
    assert_eq!(refused(&mut s, run, &proposed), "delegation-holder");
}

#[test]
fn a_delegation_hangs_from_nothing() {
    let mut s = spending();
    let (scout, fixer) = (s.cast.scout.clone(), s.cast.fixer.clone());
    let nothing = RecordId::of(b"nothing");
    let record = passed_on(&mut s, &scout, nothing, delegation(&fixer, "payments.*", 1));
    assert_eq!(turned_away(&mut s, &record), "prev-mismatch");
}

#[test]
fn a_limit_of_nothing_is_taken_for_no_limit() {
    let mut s = spending();
    let id = granted(&mut s, "0");
    let scout = s.cast.scout.clone();
    let (run, execution) = asked(&mut s, &scout, id, json!({"amount": "0.01"}));
    assert_eq!(refused(&mut s, run, &execution), "delegation-spent");
}

#[test]
fn a_cost_that_is_left_out_is_taken_for_none() {
    let mut s = spending();
    let id = granted(&mut s, "100");
    let scout = s.cast.scout.clone();
    let (run, execution) = asked(&mut s, &scout, id, json!({"sum": "1000"}));
    assert_eq!(refused(&mut s, run, &execution), "delegation-spent");
}

#[test]
fn the_caller_declares_a_smaller_cost_than_it_spends() {
    let mut s = spending();
    let id = granted(&mut s, "100");
    let scout = s.cast.scout.clone();
    let run = run_of(&mut s, &scout);
    let mut body = s.proposal(action("payments.refund", json!({"amount": "1000"})));
    body.cost = Some(euro("1"));
    body.delegation = Some(id);
    let proposed = s.ledger.add(&scout, Some(run), body);
    s.ledger.close();
    let execution = execution(&mut s, run, proposed, &[], |_| {});
    assert_eq!(refused(&mut s, run, &execution), "delegation-spent");
}

#[test]
fn two_siblings_each_spend_all_that_their_parent_has() {
    let mut s = spending();
    let above = granted(&mut s, "100");
    let (scout, fixer) = (s.cast.scout.clone(), s.cast.fixer.clone());
    let siblings = [0, 1].map(|depth| {
        let record = passed_on(&mut s, &scout, above, delegation(&fixer, "payments.*", depth));
        s.ledger.append(record.bytes()).unwrap();
        record.id()
    });
    let (_, first) = asked(&mut s, &fixer, siblings[0], json!({"amount": "100"}));
    s.ledger.append(first.bytes()).unwrap();
    s.ledger.close();
    let (_, second) = asked(&mut s, &fixer, siblings[1], json!({"amount": "100"}));
    assert_eq!(turned_away(&mut s, &second), "delegation-spent");
}

#[test]
fn one_proposal_is_executed_until_more_is_spent_than_was_granted() {
    let mut s = spending();
    let id = granted(&mut s, "100");
    let scout = s.cast.scout.clone();
    let (run, first) = asked(&mut s, &scout, id, json!({"amount": "60"}));
    s.ledger.append(first.bytes()).unwrap();
    s.ledger.close();
    let proposed = s.ledger.run(run).proposals()[0].0;
    let second = execution(&mut s, run, proposed, &[], |body| body.use_number = Whole::new(2).unwrap());
    assert_eq!(refused(&mut s, run, &second), "delegation-spent");
}

#[test]
fn a_delegation_outlives_the_one_that_it_descends_from() {
    let mut s = spending();
    let above = granted(&mut s, "100");
    let (scout, fixer) = (s.cast.scout.clone(), s.cast.fixer.clone());
    let below = passed_on(&mut s, &scout, above, delegation(&fixer, "payments.*", 1));
    s.ledger.append(below.bytes()).unwrap();
    let (run, execution) = asked(&mut s, &fixer, below.id(), json!({"amount": "1"}));
    let target = RevocationTarget::Delegation(above);
    s.ledger.add(&s.cast.root.clone(), None, Revocation { distrust_from: None, reason: None, target });
    assert_eq!(refused(&mut s, run, &execution), "delegation-ended");
}

#[test]
fn a_revocation_is_left_out_of_what_a_verifier_is_shown() {
    let mut s = spending();
    let id = granted(&mut s, "100");
    let scout = s.cast.scout.clone();
    let (run, execution) = asked(&mut s, &scout, id, json!({"amount": "1"}));
    let target = RevocationTarget::Delegation(id);
    s.ledger.add(&s.cast.root.clone(), None, Revocation { distrust_from: None, reason: None, target });
    s.ledger.force(execution.bytes()).expect_err("the fold must report this");
    s.ledger.close();
    // The bundle is made by the rules, so the revocation is in it: whoever takes it out has no proof of the rest.
    let bundle = s.ledger.bundle(run);
    let text = String::from_utf8(bundle).unwrap();
    let at = text.find("\"target\":{\"delegation\"").expect("the revocation is in the bundle");
    let line = text[..at].matches('\n').count();
    let without: String = text
        .lines()
        .enumerate()
        .filter(|(number, _)| *number != line && *number != line - 1)
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    assert!(!crate::violations(without.as_bytes(), &s.ledger.trust().trust()).is_empty());
}
