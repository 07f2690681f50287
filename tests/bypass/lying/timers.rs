//! A server that invents what a policy says when its time comes.

use counterfoil_receipt::{
    RecordId, Role, RunId,
    body::{Audience, Decision, Escalation, Ruling, Surface, Window},
    field::{List, Whole},
};
use counterfoil_testkit::witness;
use counterfoil_testkit::{Actor, Scenario, WINDOW};
use counterfoil_tlog::Signer as _;
use counterfoil_verify::{Conclusion, verify};
use serde_json::{Value, json};

use super::{executes, lies, name, proposed, require, told, untimed};

/// How long after a proposal steps and time-outs are due, in milliseconds.
const STEP: u64 = 600_000;
const OUT: u64 = 900_000;

/// Two of `sre`; `cy` is asked too, and later the time is out.
fn timed(then: &str) -> Value {
    let mut rule = require(json!([{"count": 2, "groups": ["sre"]}]));
    rule["escalation"] = json!([{"after": STEP, "to": {"principals": ["cy"]}}]);
    rule["timeout"] = json!({"after": OUT, "then": then});
    rule
}

/// Lets log time pass.
fn wait(s: &mut Scenario, millis: u64) {
    s.ledger.wait(millis);
    s.ledger.close();
}

/// What the server says when a time is out.
fn time_out(s: &mut Scenario, run: RunId, proposal: RecordId, verdict: Ruling) -> Decision {
    let mut body = s.decision(run, proposal, verdict);
    (body.rule, body.shown, body.surface) = (Some(name("two")), None, Surface::None);
    body
}

fn escalation(s: &Scenario, proposal: RecordId, step: u64, to: &str) -> Escalation {
    Escalation {
        policy: s.policy(),
        proposal,
        reason: None,
        rule: name("two"),
        step: Whole::new(step).unwrap(),
        to: List(vec![Audience::Principal(name(to))]),
    }
}

#[test]
fn it_says_that_a_time_is_out_of_a_rule_that_has_none() {
    for verdict in [Ruling::Approve, Ruling::Reject] {
        let (mut s, run, proposal) = proposed(&json!([untimed()]));
        wait(&mut s, OUT);
        let (engine, body) = (s.cast.engine.clone(), time_out(&mut s, run, proposal, verdict));
        assert_eq!(lies(&mut s, &engine, Some(run), body).1, "timer-unknown");
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["timer-unknown"]));
    }
}

#[test]
fn it_turns_the_verdict_of_a_time_out_around() {
    for (then, verdict) in [("reject", Ruling::Approve), ("approve", Ruling::Reject)] {
        let (mut s, run, proposal) = proposed(&json!([timed(then)]));
        wait(&mut s, OUT);
        let engine = s.cast.engine.clone();
        let asked = escalation(&s, proposal, 1, "cy");
        s.ledger.add(&engine, Some(run), asked);
        let body = time_out(&mut s, run, proposal, verdict);
        assert_eq!(lies(&mut s, &engine, Some(run), body).1, "timer-unknown");
        assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["timer-unknown"]));
    }
}

/// A bundle may leave snapshots out, so that none said that it was due is not shown, and the action is not shown to be approved.
#[test]
fn it_says_that_a_time_is_out_before_it_is() {
    let mut rule = timed("approve");
    rule.as_object_mut().unwrap().remove("escalation");
    let (mut s, run, proposal) = proposed(&json!([rule]));
    wait(&mut s, OUT - 60_000);
    let (engine, mut body) = (s.cast.engine.clone(), time_out(&mut s, run, proposal, Ruling::Approve));
    let due = s.ledger.run(run).proposal(&proposal).unwrap().counts_from().unwrap() + OUT;
    body.window = Some(Window { from: Whole::new(due).unwrap(), until: Whole::new(due + WINDOW).unwrap() });
    let (early, code) = lies(&mut s, &engine, Some(run), body);
    assert_eq!(code, "timer-early");
    s.ledger.close();
    wait(&mut s, 60_000);
    assert_eq!(executes(&mut s, run, proposal, &[early], |_| {}), "reference-unknown");
    assert_eq!(told(&mut s, run), (Conclusion::NotShown, vec!["timer-early", "reference-unknown"]));
}

#[test]
fn it_grants_a_window_that_begins_before_the_time_is_out() {
    let mut rule = timed("approve");
    rule.as_object_mut().unwrap().remove("escalation");
    let (mut s, run, proposal) = proposed(&json!([rule]));
    let from = s.ledger.now();
    wait(&mut s, OUT);
    let (engine, mut body) = (s.cast.engine.clone(), time_out(&mut s, run, proposal, Ruling::Approve));
    body.window = Some(Window { from: Whole::new(from).unwrap(), until: Whole::new(from + OUT).unwrap() });
    assert_eq!(lies(&mut s, &engine, Some(run), body).1, "timer-early");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["timer-early"]));
}

#[test]
fn it_escalates_before_it_is_due_or_to_somebody_else_or_a_step_that_there_is_not() {
    let cases = [
        (STEP - 60_000, 1, "cy", "timer-early", Conclusion::NotShown),
        (STEP, 1, "dot", "timer-unknown", Conclusion::Violated),
        (STEP, 2, "cy", "timer-unknown", Conclusion::Violated),
    ];
    for (passed, step, to, expected, conclusion) in cases {
        let (mut s, run, proposal) = proposed(&json!([timed("reject")]));
        for principal in ["cy", "dot"] {
            s.enrol(&Actor::new(principal, Role::Human), &[]);
        }
        wait(&mut s, passed);
        let (engine, body) = (s.cast.engine.clone(), escalation(&s, proposal, step, to));
        assert_eq!(lies(&mut s, &engine, Some(run), body).1, expected);
        // Whom it asked approves, with one of those who may.
        let asked = Actor::new(to, Role::Human);
        let decisions =
            [s.cast.ana.clone(), asked].map(|human| s.decide(run, proposal, &human, Ruling::Approve));
        s.ledger.close();
        let mut codes = vec![expected];
        codes.push(match conclusion {
            Conclusion::NotShown => {
                // Whether the timer stands is in doubt, and so is whether the proposal is open.
                assert_eq!(executes(&mut s, run, proposal, &decisions, |_| {}), "quorum-not-met");
                "proposal-ended"
            }
            _ => executes(&mut s, run, proposal, &decisions, |_| {}),
        });
        assert_eq!(told(&mut s, run), (conclusion, codes), "{passed} {step} {to}");
    }
}

#[test]
fn it_says_a_timer_twice() {
    let mut other = untimed();
    other["name"] = json!("other");
    let (mut s, run, proposal) = proposed(&json!([timed("approve"), other]));
    wait(&mut s, OUT);
    let engine = s.cast.engine.clone();
    let body = escalation(&s, proposal, 1, "cy");
    s.ledger.add(&engine, Some(run), body.clone());
    assert_eq!(lies(&mut s, &engine, Some(run), body).1, "timer-out-of-turn");
    let body = time_out(&mut s, run, proposal, Ruling::Approve);
    s.ledger.add(&engine, Some(run), body);
    s.ledger.close();
    let body = time_out(&mut s, run, proposal, Ruling::Approve);
    assert_eq!(lies(&mut s, &engine, Some(run), body).1, "timer-out-of-turn");
    let (conclusion, codes) = told(&mut s, run);
    assert_eq!((conclusion, codes), (Conclusion::Violated, vec!["timer-out-of-turn", "timer-out-of-turn"]));
}

#[test]
fn it_has_a_timer_signed_by_another_key() {
    use Conclusion::{NotShown, Violated};
    let claims_another = Actor::new("engine", Role::Policy).claiming_principal(&name("clock"));
    let cases = [
        // Nobody enrolled it: a bundle does not show that nobody did.
        (Actor::new("engine", Role::Policy).with_key(5), "key-unknown", NotShown),
        // A key of another role, which claims this one.
        (Actor::new("ana", Role::Human).claiming_role(Role::Policy), "key-role", Violated),
        // The server's key, for another principal.
        (claims_another, "key-principal", Violated),
    ];
    for (signer, expected, conclusion) in cases {
        let (mut s, run, proposal) = proposed(&json!([timed("approve")]));
        s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
        wait(&mut s, OUT);
        // The server's own key asks somebody too; another says that the time is out.
        let (engine, asked) = (s.cast.engine.clone(), escalation(&s, proposal, 1, "cy"));
        s.ledger.add(&engine, Some(run), asked);
        let body = time_out(&mut s, run, proposal, Ruling::Approve);
        assert_eq!(lies(&mut s, &signer, Some(run), body).1, expected);
        assert_eq!(told(&mut s, run), (conclusion, vec![expected]));
    }
}

/// Snapshots an hour ahead make everything due; whom the reader trusts to watch the clock saw both within a second.
#[test]
fn it_sets_its_clock_forward_so_that_a_time_is_out() {
    let mut rule = timed("approve");
    rule.as_object_mut().unwrap().remove("escalation");
    let (mut s, run, proposal) = proposed(&json!([rule]));
    let (seen, at) = (witness("a.example"), s.ledger.now() / 1_000);
    s.ledger.cosign(&seen, at);
    wait(&mut s, OUT);
    let (engine, body) = (s.cast.engine.clone(), time_out(&mut s, run, proposal, Ruling::Approve));
    let decision = s.ledger.add(&engine, Some(run), body);
    s.ledger.close();
    s.ledger.cosign(&seen, at + 1);
    s.execute(run, proposal, &[decision]);
    s.ledger.cosign(&seen, at + 2);
    let mut trust = s.ledger.trust();
    trust.witnesses = format!("witness a {}\nquorum a\n", seen.key());
    let trust = trust.trust();
    let verdict = verify(&s.ledger.bundle(run), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), Conclusion::NotShown);
    let codes: Vec<_> = verdict.findings().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["timer-early", "checkpoint-stale"]);
}
