//! A server that lies: it admits what the rules forbid, goes on as if it stood, and hands out a bundle of all that.
//!
//! Of each lie: the code with which an honest log turns the record away, and everything that a verifier says of the bundle.

mod delegations;
mod links;
mod timers;

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    body::{Body, Endorsement, Execution, Policy, Ruling},
    field::{Set, Whole},
    text::RuleName,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, policy_document};
use counterfoil_verify::{Conclusion, verify};
use serde_json::{Value, json};

use crate::violations;

/// What the server lets in although an honest log turns it away: the record, and the code.
#[track_caller]
fn admits(s: &mut Scenario, record: &UnverifiedRecord) -> &'static str {
    let mut honest = s.clone();
    let refused = honest.ledger.append(record.bytes()).expect_err("an honest log turns this away");
    s.ledger.force(record.bytes()).expect_err("the fold reports this");
    refused.code
}

/// The same, of a record that is signed first.
#[track_caller]
fn lies(s: &mut Scenario, by: &Actor, run: Option<RunId>, body: impl Into<Body>) -> (RecordId, &'static str) {
    let record = s.ledger.sign(by, run, body);
    (record.id(), admits(s, &record))
}

/// The gate executes what the server says is approved.
#[track_caller]
fn executes(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    decisions: &[RecordId],
    change: impl FnOnce(&mut Execution),
) -> &'static str {
    let mut body = s.execution(run, proposal, decisions);
    change(&mut body);
    let gate = s.cast.gate.clone();
    lies(s, &gate, Some(run), body).1
}

/// What a verifier says of the bundle that the server hands out: the conclusion, and each code in log order.
#[track_caller]
fn told(s: &mut Scenario, run: RunId) -> (Conclusion, Vec<&'static str>) {
    s.ledger.close();
    let (bundle, trust) = (s.ledger.bundle(run), s.ledger.trust().trust());
    let codes = violations(&bundle, &trust);
    (verify(&bundle, &trust, 0).conclude(trust.require()), codes)
}

/// A run with a proposal, under these rules.
fn proposed(rules: &Value) -> (Scenario, RunId, RecordId) {
    let mut s = Scenario::under(json!({"language": "counterfoil-policy/1", "rules": rules}));
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": true})));
    (s, run, proposal)
}

fn require(requirements: Value) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": "two", "requirements": requirements,
        "segregation": true, "uses": 2, "window": WINDOW})
}

/// A rule that only people decide.
fn untimed() -> Value {
    require(json!([{"count": 2, "groups": ["sre"]}]))
}

fn name(text: &str) -> RuleName {
    RuleName::new(text).unwrap()
}

#[test]
fn it_calls_one_approval_a_quorum() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let ana = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &[ana], |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
}

#[test]
fn it_lets_pass_what_nobody_approved() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    assert_eq!(executes(&mut s, run, proposal, &[], |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
}

#[test]
fn it_executes_under_the_policy_before() {
    let mut s = Scenario::under(policy_document(1));
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    let (before, ana) = (s.policy(), s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve));
    s.set_policy(policy_document(2));
    s.ledger.close();
    // The execution names the policy before; or the one in force, and the decision does not.
    let mut other = s.clone();
    let code = executes(&mut s, run, proposal, &[ana], |body| body.policy = before);
    assert_eq!(code, "policy-not-in-force");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["policy-not-in-force"]));
    assert_eq!(executes(&mut other, run, proposal, &[ana], |_| {}), "policy-not-in-force");
    assert_eq!(told(&mut other, run), (Conclusion::Violated, vec!["policy-not-in-force"]));
}

/// Who reads a bundle is not shown that no endorsement was left out of it; that the policy is in force is not shown either.
#[test]
fn it_puts_a_policy_into_force_that_one_of_two_roots_signed() {
    let mut s = Scenario::founded(|genesis| genesis.authority.threshold = Whole::new(2).unwrap());
    let (root, spare) = (s.cast.root.clone(), s.cast.spare_root.clone());
    for (actor, groups) in
        [(s.cast.ana.clone(), &["sre"][..]), (s.cast.scout.clone(), &[]), (s.cast.gate.clone(), &[])]
    {
        let candidate = s.enrol(&actor, groups);
        s.ledger.add(&spare, None, Endorsement { candidate });
    }
    let document = counterfoil_receipt::action::Json::from_value(&policy_document(1)).unwrap();
    let digest = s.ledger.document(document);
    s.ledger.add(&root, None, Policy::Digest(digest));
    s.ledger.close();
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    let claimed = |mut s: Scenario| {
        // What the scenario makes names a policy in force, so that one is made where there is one.
        let policy = s.set_policy(policy_document(1));
        s.ledger.add(&spare, None, Endorsement { candidate: policy });
        s.ledger.close();
        let decision = s.decision(run, proposal, Ruling::Approve);
        (decision, s.execution(run, proposal, &[]))
    };
    let (mut decision, mut execution) = claimed(s.clone());
    decision.basis = s.ledger.basis();
    let ana = s.ledger.add(&s.cast.ana.clone(), Some(run), decision);
    s.ledger.close();
    execution.basis = s.ledger.basis();
    execution.decisions = Set::new([ana]).unwrap();
    let gate = s.cast.gate.clone();
    assert_eq!(lies(&mut s, &gate, Some(run), execution).1, "policy-not-in-force");
    assert_eq!(told(&mut s, run), (Conclusion::NotShown, vec!["policy-not-in-force"]));
}

#[test]
fn it_lets_the_proposer_the_requester_and_the_runtime_approve() {
    for involved in ["scout", "gate"] {
        let (mut s, run, proposal) = proposed(&json!([untimed()]));
        let second = Actor::new(involved, Role::Human).with_key(7);
        s.enrol(&second, &["sre"]);
        let decisions =
            [s.cast.ana.clone(), second].map(|human| s.decide(run, proposal, &human, Ruling::Approve));
        s.ledger.close();
        assert_eq!(executes(&mut s, run, proposal, &decisions, |_| {}), "segregation", "{involved}");
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["segregation"]), "{involved}");
    }
}

#[test]
fn it_takes_an_approval_after_its_window() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let decisions = s.approve(run, proposal);
    s.ledger.wait(WINDOW);
    assert_eq!(executes(&mut s, run, proposal, &decisions, |_| {}), "window-closed");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["window-closed"]));
}

/// The runtime lies with it, and says that it began in time; the log's own snapshot tells.
#[test]
fn it_lets_a_runtime_date_its_execution_back_into_the_window() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let decisions = s.approve(run, proposal);
    let (gate, body) = (s.cast.gate.clone(), s.execution(run, proposal, &decisions));
    let record = s.ledger.sign(&gate, Some(run), body);
    s.ledger.wait(WINDOW);
    s.ledger.append(record.bytes()).expect("the fold learns the log time with the next snapshot");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["window-closed"]));
}

#[test]
fn it_counts_one_person_twice() {
    let ana = |s: &Scenario| s.cast.ana.clone();
    // Two records.
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let twice = [(); 2].map(|()| s.decide(run, proposal, &ana(&s), Ruling::Approve));
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &twice, |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
    // Two keys of one principal.
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let other = ana(&s).with_key(1);
    s.enrol(&other, &["sre"]);
    let keys = [ana(&s), other].map(|key| s.decide(run, proposal, &key, Ruling::Approve));
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &keys, |_| {}), "quorum-not-met");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
    // Two requirements of one rule, by one or by two records.
    let two = json!([{"count": 1, "groups": ["sre"]}, {"count": 1, "principals": ["ana"]}]);
    for records in [1, 2] {
        let (mut s, run, proposal) = proposed(&json!([require(two.clone())]));
        let said: Vec<RecordId> =
            (0..records).map(|_| s.decide(run, proposal, &ana(&s), Ruling::Approve)).collect();
        s.ledger.close();
        assert_eq!(executes(&mut s, run, proposal, &said, |_| {}), "quorum-not-met");
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["quorum-not-met"]));
    }
}
