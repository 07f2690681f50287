//! Attacks on time: what waits for ever, what is over for nobody, and who is asked too.

use counterfoil_receipt::{
    RecordId, Role, RunId,
    body::{Audience, Cancel, Escalation, Ruling, Surface},
    field::{List, Whole},
    text::RuleName,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action};
use counterfoil_verify::{Effect, ProposalStatus, Says};
use serde_json::json;

use crate::{execution, refused};

/// How long after a proposal the step and the time-out are due, in milliseconds.
const STEP: u64 = 600_000;
const OUT: u64 = 900_000;

/// A proposal that two of `sre` have to approve; `cy` is asked too, and then the time is out.
fn proposed(then: &str) -> (Scenario, RunId, RecordId) {
    let rule = json!({"effect": "require", "match": {"always": true}, "name": "two", "requirements": [{"count": 2, "groups": ["sre"]}],
        "escalation": [{"after": STEP, "to": {"principals": ["cy"]}}], "timeout": {"after": OUT, "then": then},
        "segregation": true, "uses": 1, "window": WINDOW});
    let mut s = Scenario::under(json!({"language": "counterfoil-policy/1", "rules": [rule]}));
    s.enrol(&cy(), &[]);
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    (s, run, proposal)
}

fn cy() -> Actor {
    Actor::new("cy", Role::Human)
}

/// What the policy says by itself of a proposal, said by the policy engine.
fn say(s: &mut Scenario, run: RunId, proposal: RecordId, says: &Says) -> RecordId {
    let (engine, rule) = (s.cast.engine.clone(), RuleName::new("two").unwrap());
    match says {
        Says::Escalate { step, to } => {
            let (policy, step, to) = (s.policy(), Whole::new(*step).unwrap(), List(to.clone()));
            s.ledger.add(&engine, Some(run), Escalation { policy, proposal, reason: None, rule, step, to })
        }
        Says::TimeOut(verdict) => {
            let mut body = s.decision(run, proposal, *verdict);
            (body.rule, body.shown, body.surface) = (Some(rule), None, Surface::None);
            s.ledger.add(&engine, Some(run), body)
        }
    }
}

/// Everything that is due, in its turn; how many that was.
fn say_what_is_due(s: &mut Scenario, run: RunId, proposal: RecordId) -> usize {
    s.ledger.close();
    let mut said = 0;
    loop {
        let now = s.ledger.state().log_time().unwrap().get();
        let timers = s.ledger.state().timers(s.ledger.run(run), &proposal);
        let Some(timer) = timers.into_iter().find(|timer| timer.due.is_some_and(|due| due <= now)) else {
            s.ledger.close();
            return said;
        };
        say(s, run, proposal, &timer.says);
        said += 1;
    }
}

fn status(s: &Scenario, run: RunId, proposal: RecordId) -> ProposalStatus {
    s.ledger.state().proposal_status(s.ledger.run(run), &proposal).unwrap()
}

#[test]
fn what_is_held_never_expires() {
    let (mut s, run, proposal) = proposed("reject");
    s.ledger.wait(OUT);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 2);
    assert_eq!(status(&s, run, proposal), ProposalStatus::Rejected);
    let late = s.approve(run, proposal);
    let record = execution(&mut s, run, proposal, &late, |_| {});
    assert_eq!(refused(&mut s, run, &record), "proposal-ended");
}

#[test]
fn escalation_and_time_out_never_fire_or_fire_again() {
    let (mut s, run, proposal) = proposed("approve");
    let due: Vec<u64> =
        s.ledger.state().timers(s.ledger.run(run), &proposal).iter().filter_map(|timer| timer.due).collect();
    let from = s.ledger.run(run).proposal(&proposal).unwrap().counts_from().unwrap();
    assert_eq!(due, [from + STEP, from + OUT]);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 0);
    s.ledger.wait(STEP);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 1);
    s.ledger.wait(OUT);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 1);
    s.ledger.wait(OUT);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 0);
    assert_eq!(status(&s, run, proposal), ProposalStatus::Approved);
    let mut again = s.decision(run, proposal, Ruling::Approve);
    (again.rule, again.shown, again.surface) = (RuleName::new("two"), None, Surface::None);
    let again = s.ledger.sign(&s.cast.engine.clone(), Some(run), again);
    assert_eq!(refused(&mut s, run, &again), "timer-out-of-turn");
}

#[test]
fn whom_nobody_asked_yet_decides_all_the_same() {
    let (mut s, run, proposal) = proposed("reject");
    let ana = s.cast.ana.clone();
    let early = [cy(), ana].map(|human| s.decide(run, proposal, &human, Ruling::Approve));
    s.ledger.wait(STEP);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 1);
    let record = execution(&mut s, run, proposal, &early, |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
    let rejected = s.decision(run, proposal, Ruling::Reject);
    let rejected = s.ledger.sign(&cy(), Some(run), rejected);
    assert_eq!(s.ledger.append(rejected.bytes()), Ok(Effect::Took), "now they may");
}

#[test]
fn who_is_asked_about_one_proposal_decides_about_the_next() {
    let (mut s, run, first) = proposed("reject");
    s.ledger.wait(STEP);
    assert_eq!(say_what_is_due(&mut s, run, first), 1);
    let next = s.propose(run, action("db.drop", json!({})));
    let ana = s.cast.ana.clone();
    let decisions = [cy(), ana].map(|human| s.decide(run, next, &human, Ruling::Approve));
    s.ledger.close();
    let record = execution(&mut s, run, next, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}

#[test]
fn a_time_out_approves_what_somebody_took_back() {
    let (mut s, run, proposal) = proposed("approve");
    let ana = s.cast.ana.clone();
    let decision = s.decide(run, proposal, &ana, Ruling::Approve);
    s.ledger.add(&ana, Some(run), Cancel { reason: None, target: decision });
    s.ledger.wait(OUT);
    assert_eq!(say_what_is_due(&mut s, run, proposal), 1, "the step, and then no time-out");
    let mut out = s.decision(run, proposal, Ruling::Approve);
    (out.rule, out.shown, out.surface) = (RuleName::new("two"), None, Surface::None);
    let out = s.ledger.sign(&s.cast.engine.clone(), Some(run), out);
    assert_eq!(refused(&mut s, run, &out), "timer-out-of-turn");
}

#[test]
fn an_escalation_asks_whom_the_server_likes() {
    let (mut s, run, proposal) = proposed("reject");
    let mallory = Actor::new("mallory", Role::Human);
    s.enrol(&mallory, &[]);
    s.ledger.wait(STEP);
    s.ledger.close();
    let body = Escalation {
        policy: s.policy(),
        proposal,
        reason: None,
        rule: RuleName::new("two").unwrap(),
        step: Whole::new(1).unwrap(),
        to: List(vec![Audience::Principal(mallory.principal)]),
    };
    let record = s.ledger.sign(&s.cast.engine.clone(), Some(run), body);
    assert_eq!(refused(&mut s, run, &record), "timer-unknown");
}
