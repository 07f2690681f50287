//! Time-outs, escalation and decisions by link: a bundle has the snapshots that time them, and the keyring of whoever is named.

use counterfoil_receipt::{
    RecordId, Role, RunId,
    body::{KeyChange, Ruling},
};
use counterfoil_testkit::{Actor, Scenario, enrolment, policy_document, witness};
use serde_json::json;

use super::{
    super::logs::links::{by_link, by_links},
    super::logs::timers::{
        document, escalate, escalation, proposed_under, rule, stepped, time_out, windowed,
    },
    Case, Shown, before_two_witnesses, breaks, holds,
    validity::without_entry,
    without_execution,
};

/// When the step of [`stepped`] is due, and when its time is out, in milliseconds after the proposal.
const STEP: u64 = 600_000;
const OUT: u64 = 900_000;

const TIMERS: &[&str] = &["InventedTimer"];

pub fn cases() -> Vec<Case> {
    vec![
        holds(
            "valid-timeout",
            "Nobody decided, somebody else was asked too, the time was out, and the action was executed.",
            || {
                let mut s = Scenario::new();
                let (run, proposal) = proposed_under(&mut s, &json!([stepped("approve")]));
                s.ledger.wait(STEP);
                s.trigger();
                s.ledger.close();
                escalate(&mut s, run, proposal);
                s.ledger.wait(OUT - STEP);
                s.trigger();
                s.ledger.close();
                let decision = time_out(&mut s, run, proposal, "two", Ruling::Approve);
                s.ledger.close();
                s.trigger();
                s.ledger.close();
                s.execute(run, proposal, &[decision]);
                Shown::of(&s, run)
            },
        ),
        holds("valid-link", "Approved by link, where the rule names that surface.", || {
            let mut s = Scenario::new();
            let (run, proposal) = proposed_under(&mut s, &json!([by_links(1)]));
            let decision = by_link(&mut s, run, proposal, "bo", Ruling::Approve);
            s.ledger.close();
            s.execute(run, proposal, &[decision]);
            Shown::of(&s, run)
        }),
        breaks(
            "R-EXEC-11",
            "link-approver-key-not-shown",
            &["LinkForgery"],
            "Whoever approved by link got another key before the execution; that enrolment is left out.",
            || {
                let mut s = Scenario::new();
                let (run, proposal) = proposed_under(&mut s, &json!([by_links(1)]));
                let decision = by_link(&mut s, run, proposal, "bo", Ruling::Approve);
                let (root, bo) = (s.cast.root.clone(), s.cast.bo.clone());
                let mut retired = enrolment(&bo, &["sre"]);
                retired.change = KeyChange::Retire;
                s.ledger.add(&root, None, retired);
                let mut next = Actor::new("bo-next", Role::Human);
                next.principal = bo.principal;
                let left_out = s.ledger.size();
                s.enrol(&next, &["sre"]);
                s.ledger.close();
                s.execute(run, proposal, &[decision]);
                without_entry(&s, run, left_out)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-between-policies-not-shown",
            TIMERS,
            "The policy came back after the proposal. The one that was in force between is left out: since when this one is in force is not shown.",
            || {
                let mut s = Scenario::new();
                let (run, proposal) = proposed_under(&mut s, &json!([rule("approve")]));
                let left_out = s.ledger.size();
                s.set_policy(policy_document(2));
                s.set_policy(document(&json!([rule("approve")])));
                s.ledger.wait(OUT);
                s.ledger.close();
                let early = windowed(&mut s, run, proposal, 0);
                s.ledger.force(early.bytes()).expect_err("a policy younger than the proposal");
                s.ledger.close();
                without_execution(without_entry(&s, run, left_out))
            },
        ),
        breaks(
            "R-TIME-02",
            "timeout-window-before-due-in-a-bundle",
            TIMERS,
            "The log took an approval by time-out of which the window begins before the time was out.",
            || {
                let mut s = Scenario::new();
                let (run, proposal) = proposed_under(&mut s, &json!([rule("approve")]));
                s.ledger.wait(OUT);
                s.ledger.close();
                let early = windowed(&mut s, run, proposal, 1);
                s.ledger.force(early.bytes()).expect_err("an early window");
                s.ledger.close();
                without_execution(Shown::of(&s, run))
            },
        ),
        breaks(
            "R-TIME-02",
            "timer-early-in-a-bundle",
            TIMERS,
            "The log took an escalation a minute before it was due. That no snapshot was left out is not shown.",
            || {
                let mut s = Scenario::new();
                let (run, proposal) = proposed_under(&mut s, &json!([stepped("approve")]));
                s.ledger.wait(STEP - 60_000);
                s.ledger.close();
                let escalation = escalation(&mut s, run, proposal, 1, &["cy"]);
                s.ledger.force(escalation.bytes()).expect_err("an early one");
                s.ledger.close();
                without_execution(Shown::of(&s, run))
            },
        ),
        breaks(
            "R-TIME-02",
            "timer-log-time-not-shown",
            TIMERS,
            "The first snapshot after the proposal is left out: how long ago that was is not shown.",
            || {
                let (s, run, after) = escalated();
                without_execution(without_entry(&s, run, after))
            },
        ),
        breaks(
            "R-TIME-02",
            "timer-ahead-of-witnesses",
            TIMERS,
            "Witnesses saw the escalation 301 seconds sooner after the proposal than the step is: the log's clock was not theirs.",
            || seen_early(301),
        ),
        breaks(
            "R-TIME-02",
            "timer-unwitnessed",
            TIMERS,
            "Witnesses saw the proposal and not the escalation.",
            || {
                let (s, run, _) = escalated();
                without_execution(before_two_witnesses(Shown::of(&s, run)))
            },
        ),
        holds(
            "valid-timer-ahead-of-witnesses",
            "Witnesses saw the escalation 300 seconds sooner after the proposal than the step is: they look when they look.",
            || seen_early(300),
        ),
    ]
}

/// A run in which somebody else was asked too; and the index of the first snapshot after its proposal.
fn escalated() -> (Scenario, RunId, u64) {
    let mut s = Scenario::new();
    let (run, proposal) = proposed_under(&mut s, &json!([stepped("approve")]));
    let after = s.ledger.size() - 1;
    for name in ["a.example", "b.example"] {
        s.ledger.cosign(&witness(name), s.ledger.now() / 1_000);
    }
    s.trigger();
    s.ledger.close();
    s.ledger.wait(STEP);
    s.ledger.close();
    escalate(&mut s, run, proposal);
    s.ledger.close();
    (s, run, after)
}

fn executed(s: &mut Scenario, run: RunId, proposal: RecordId) {
    let decisions = s.approve(run, proposal);
    s.execute(run, proposal, &decisions);
}

/// Two witnesses see the proposal, and the escalation so many seconds sooner after it than the step is.
fn seen_early(seconds: u64) -> Shown {
    let mut s = Scenario::new();
    let (run, proposal) = proposed_under(&mut s, &json!([stepped("approve")]));
    let from = s.ledger.now() / 1_000;
    let cosign = |s: &mut Scenario, at| {
        ["a.example", "b.example"].iter().for_each(|name| s.ledger.cosign(&witness(name), at));
    };
    cosign(&mut s, from);
    s.ledger.wait(STEP);
    s.trigger();
    s.ledger.close();
    escalate(&mut s, run, proposal);
    executed(&mut s, run, proposal);
    cosign(&mut s, from + STEP / 1_000 - seconds);
    before_two_witnesses(Shown::of(&s, run))
}
