//! What the server says when a time comes: time-outs, escalation.

use counterfoil_receipt::{
    PolicyDigest, RecordId, Role, RunId, UnverifiedRecord,
    body::{Audience, Cancel, Decision, Escalation, Ruling, Surface, Window},
    field::{List, Whole},
    text::RuleName,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, text};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{executed, revocation},
};

/// How long after a proposal steps and time-outs are due.
const STEP: u64 = 600_000;
const OUT: u64 = 900_000;

const TIMERS: &[&str] = &["InventedTimer"];

pub fn cases() -> Vec<Case> {
    [time_outs(), unknown(), early(), over(), escalations()].into_iter().flatten().collect()
}

fn time_outs() -> Vec<Case> {
    vec![
        holds(
            "timeout-approves",
            "The time of a rule is out that approves then, and the action is executed.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let decision = time_out(s, run, proposal, "two", Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "timeout-rejects",
            TIMERS,
            "The time of a rule is out that rejects then; two people approve afterwards.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                time_out(s, run, proposal, "two", Ruling::Reject);
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds("timeout-beside-people", "One rule's time is out, another's is met by people.", |s| {
            let (run, proposal) = overdue(s, &json!([rule("approve"), one_of_sre("one")]));
            let ana = s.cast.ana.clone();
            let decisions = [
                s.decide(run, proposal, &ana, Ruling::Approve),
                time_out(s, run, proposal, "two", Ruling::Approve),
            ];
            s.ledger.close();
            executed(s, run, proposal, &decisions, |_| {})
        }),
        breaks(
            "R-EXEC-06",
            "timeout-of-another-rule",
            &["InventedTimer", "QuorumInflation"],
            "One rule's time is out; the other rule that applies is met by nobody.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve"), one_of_sre("one")]));
                let decision = time_out(s, run, proposal, "two", Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "timeout-on-wide-terms",
            TIMERS,
            "The time of a rule is out, and the server grants a longer window than the rule lets anybody.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let mut body = by_time_out(s, run, proposal, "two", Ruling::Approve);
                if let Some(window) = &mut body.window {
                    window.until = Whole::new(window.from.get() + WINDOW + 1).expect("a time");
                }
                let decision = s.ledger.add(&s.cast.engine.clone(), Some(run), body);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "timeout-on-terms-of-another-rule",
            TIMERS,
            "The time of a rule is out, on terms that are too wide for another rule, which people met.",
            |s| {
                let mut other = one_of_sre("one");
                other["uses"] = json!(1);
                let (run, proposal) = overdue(s, &json!([rule("approve"), other]));
                let by_ana = s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
                let mut body = by_time_out(s, run, proposal, "two", Ruling::Approve);
                body.uses = Whole::new(2);
                let decision = s.ledger.add(&s.cast.engine.clone(), Some(run), body);
                s.ledger.close();
                executed(s, run, proposal, &[by_ana, decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-11",
            "timeout-by-revoked-key",
            TIMERS,
            "The time of a rule was out, and the key that said so was revoked since.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let decision = time_out(s, run, proposal, "two", Ruling::Approve);
                let (root, engine) = (s.cast.root.clone(), s.cast.engine.clone());
                s.ledger.add(&root, None, revocation(engine.key()));
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "timeout-of-a-human",
            &["InventedTimer", "QuorumInflation"],
            "The time of a rule is out, and one of the two people whom it wants approves: nobody said that it is out.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let ana = s.cast.ana.clone();
                let decision = s.decide(run, proposal, &ana, Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
    ]
}

fn unknown() -> Vec<Case> {
    vec![
        breaks(
            "R-TIME-01",
            "timeout-with-another-verdict",
            TIMERS,
            "A rule rejects when its time is out, and the server approves.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-without-one",
            TIMERS,
            "A rule has no time-out, and the server approves for it.",
            |s| {
                let (run, proposal) = overdue(s, &json!([one_of_sre("one")]));
                says(s, run, proposal, "one", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-of-a-rule-about-something-else",
            TIMERS,
            "A rule has a time-out, and is about another tool.",
            |s| {
                let mut other = rule("approve");
                other["match"] = json!({"tool": "fs.*"});
                other["name"] = json!("files");
                let (run, proposal) = overdue(s, &json!([other, one_of_sre("one")]));
                says(s, run, proposal, "files", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-of-a-policy-before",
            &["InventedTimer", "PolicyConfusion"],
            "A time-out of a policy that is no longer in force.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let body = by_time_out(s, run, proposal, "two", Ruling::Approve);
                s.set_policy(document(&json!([rule("approve"), one_of_sre("one")])));
                s.ledger.close();
                s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-of-a-proposal-before-the-policy",
            &["InventedTimer", "PolicyConfusion"],
            "The policy took effect after the proposal: what was proposed before waits for people.",
            |s| {
                let (run, proposal) = overdue(s, &json!([one_of_sre("one")]));
                s.set_policy(document(&json!([rule("approve")])));
                s.ledger.close();
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-01",
            "timeout-in-the-language-before",
            TIMERS,
            "The policy in force is of the language that has no timers.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": true})));
                s.ledger.wait(OUT);
                s.ledger.close();
                says(s, run, proposal, "rule", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-01",
            "escalation-without-such-step",
            TIMERS,
            "An escalation of a step that the rule does not have.",
            |s| {
                let (run, proposal) = overdue(s, &json!([stepped("approve")]));
                escalation(s, run, proposal, 2, &["cy"])
            },
        ),
        breaks(
            "R-TIME-01",
            "escalation-to-others",
            TIMERS,
            "An escalation asks somebody else than the step does.",
            |s| {
                let (run, proposal) = overdue(s, &json!([stepped("approve")]));
                escalation(s, run, proposal, 1, &["dot"])
            },
        ),
    ]
}

fn early() -> Vec<Case> {
    vec![
        holds(
            "timeout-under-a-policy-set-again",
            "The policy in force is logged again after the proposal; the time of its rule is out when it was to be.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([rule("approve")]));
                s.set_policy(document(&json!([rule("approve")])));
                s.ledger.wait(OUT);
                s.ledger.close();
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        holds(
            "timeout-on-time",
            "The last snapshot gives exactly the log time at which the time is out.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([rule("approve")]));
                close_at(s, run, proposal, OUT);
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-02",
            "timeout-early",
            TIMERS,
            "The last snapshot lies a millisecond before the time is out.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([rule("approve")]));
                close_at(s, run, proposal, OUT - 1);
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        holds(
            "timeout-window-from-when-due",
            "The window of an approval begins at the millisecond at which the time is out.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                windowed(s, run, proposal, 0)
            },
        ),
        breaks(
            "R-TIME-02",
            "timeout-window-before-due",
            TIMERS,
            "The time is out, and the window of the approval begins a millisecond before it was.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                windowed(s, run, proposal, 1)
            },
        ),
        breaks(
            "R-TIME-02",
            "timeout-of-a-log-that-lagged",
            TIMERS,
            "The log dated the snapshot after the proposal an hour back; by the proposal's own time its time is not out.",
            |s| lagging(s, false),
        ),
        holds(
            "timeout-by-the-time-of-the-proposal",
            "The proposal claims a time an hour after the snapshot that follows it; from there on, its time is out.",
            |s| lagging(s, true),
        ),
        breaks(
            "R-TIME-02",
            "timeout-by-claimed-time",
            TIMERS,
            "The server claims a time after the time is out; no snapshot says so yet.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([rule("approve")]));
                s.ledger.wait(OUT);
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-02",
            "escalation-in-the-batch-of-the-proposal",
            TIMERS,
            "No snapshot stands between the proposal and an escalation.",
            |s| {
                s.set_policy(document(&json!([stepped("approve")])));
                s.ledger.close();
                let run = s.trigger();
                let (scout, body) = (s.cast.scout.clone(), s.proposal(action("db.vacuum", json!({}))));
                let proposal = s.ledger.add(&scout, Some(run), body);
                s.ledger.wait(OUT);
                escalation(s, run, proposal, 1, &["cy"])
            },
        ),
        breaks("R-TIME-02", "escalation-early", TIMERS, "An escalation a millisecond too early.", |s| {
            let (run, proposal) = proposed_under(s, &json!([stepped("approve")]));
            close_at(s, run, proposal, STEP - 1);
            escalation(s, run, proposal, 1, &["cy"])
        }),
    ]
}

fn over() -> Vec<Case> {
    vec![
        breaks("R-TIME-03", "timeout-twice", TIMERS, "The time of a rule is out twice.", |s| {
            let (run, proposal) = overdue(s, &json!([rule("approve"), one_of_sre("one")]));
            time_out(s, run, proposal, "two", Ruling::Approve);
            s.ledger.close();
            says(s, run, proposal, "two", Ruling::Approve)
        }),
        breaks(
            "R-TIME-03",
            "timeout-after-the-end",
            TIMERS,
            "The time of a rule is out after somebody rejected.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Reject);
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
        breaks(
            "R-TIME-03",
            "timeout-of-what-is-approved",
            TIMERS,
            "Two people approved in time, and the server rejects as if nobody had.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                s.approve(run, proposal);
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
        breaks(
            "R-TIME-03",
            "timeout-of-what-is-executed",
            TIMERS,
            "The time of a rule is out after the execution.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                let decisions = s.approve(run, proposal);
                s.execute(run, proposal, &decisions);
                s.ledger.add(&s.cast.bo.clone(), Some(run), Cancel { reason: None, target: decisions[1] });
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
        holds(
            "timeout-of-what-was-withdrawn",
            "Two people approved in time, and one of them withdrew.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                let decisions = s.approve(run, proposal);
                s.ledger.add(&s.cast.bo.clone(), Some(run), Cancel { reason: None, target: decisions[1] });
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
        breaks("R-TIME-03", "escalation-twice", TIMERS, "A step is escalated twice.", |s| {
            let (run, proposal) = overdue(s, &json!([stepped("approve")]));
            escalate(s, run, proposal);
            escalation(s, run, proposal, 1, &["cy"])
        }),
        breaks(
            "R-TIME-03",
            "timeout-before-its-steps",
            TIMERS,
            "The time of a rule is out, and nobody was asked whom its step names.",
            |s| {
                let (run, proposal) = overdue(s, &json!([stepped("approve")]));
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        holds("timeout-after-its-steps", "The time of a rule is out after its step.", |s| {
            let (run, proposal) = overdue(s, &json!([stepped("approve")]));
            escalate(s, run, proposal);
            says(s, run, proposal, "two", Ruling::Approve)
        }),
        breaks(
            "R-TIME-03",
            "escalation-out-of-order",
            TIMERS,
            "The second step is escalated and the first was not.",
            |s| {
                let mut rule = stepped("approve");
                rule["escalation"] = json!([{"after": 1, "to": {"principals": ["dot"]}}, {"after": STEP, "to": {"principals": ["cy"]}}]);
                let (run, proposal) = overdue(s, &json!([rule]));
                escalation(s, run, proposal, 2, &["cy"])
            },
        ),
        breaks(
            "R-TIME-03",
            "timeout-approves-what-was-withdrawn",
            TIMERS,
            "Two people approved in time, one of them withdrew, and the server approves in their place.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("approve")]));
                let decisions = s.approve(run, proposal);
                s.ledger.add(&s.cast.bo.clone(), Some(run), Cancel { reason: None, target: decisions[1] });
                says(s, run, proposal, "two", Ruling::Approve)
            },
        ),
        breaks(
            "R-TIME-03",
            "timeout-of-what-was-approved-for-a-moment",
            TIMERS,
            "Two people approved in time, and the windows that they granted are over: the rule is met all the same.",
            |s| {
                let (run, proposal) = proposed_under(s, &json!([rule("reject")]));
                for human in [s.cast.ana.clone(), s.cast.bo.clone()] {
                    let mut body = s.decision(run, proposal, Ruling::Approve);
                    if let Some(window) = &mut body.window {
                        window.until = Whole::new(window.from.get() + 1).expect("a time");
                    }
                    s.ledger.add(&human, Some(run), body);
                }
                s.ledger.wait(OUT);
                s.ledger.close();
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
        holds(
            "timeout-beside-the-proposer",
            "One of two who approved in time is the principal who proposed, whose approval counts for nothing.",
            |s| {
                let scout = Actor::new("scout", Role::Human).with_key(7);
                s.enrol(&scout, &["sre"]);
                beside(s, &scout, |_| {})
            },
        ),
        holds(
            "timeout-beside-wide-terms",
            "One of two who approved in time granted a longer window than the rule lets them.",
            |s| {
                let bo = s.cast.bo.clone();
                beside(s, &bo, |body| {
                    if let Some(window) = &mut body.window {
                        window.until = Whole::new(window.from.get() + WINDOW + 1).expect("a time");
                    }
                })
            },
        ),
        holds(
            "timeout-beside-another-policy",
            "One of two who approved in time names another policy.",
            |s| {
                let bo = s.cast.bo.clone();
                beside(s, &bo, |body| body.policy = PolicyDigest::of(b"another"))
            },
        ),
        holds(
            "timeout-beside-a-revoked-key",
            "The key of one of two who approved in time was revoked since.",
            |s| {
                let (run, proposal) = overdue(s, &json!([rule("reject")]));
                s.approve(run, proposal);
                let (root, bo) = (s.cast.root.clone(), s.cast.bo.clone());
                s.ledger.add(&root, None, revocation(bo.key()));
                says(s, run, proposal, "two", Ruling::Reject)
            },
        ),
    ]
}

fn escalations() -> Vec<Case> {
    vec![
        holds("escalation-asks", "Somebody approves whom an escalation asked.", |s| escalated(s, true, true)),
        breaks(
            "R-EXEC-04",
            "escalation-rejects",
            &["EndedProposal"],
            "Somebody rejects whom an escalation asked; two people approve.",
            |s| {
                let (run, proposal) = overdue(s, &json!([stepped("approve")]));
                escalate(s, run, proposal);
                s.decide(run, proposal, &cy(), Ruling::Reject);
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds("escalation-rejects-unasked", "Somebody rejects whom no escalation asked yet.", |s| {
            let (run, proposal) = overdue(s, &json!([stepped("approve")]));
            s.decide(run, proposal, &cy(), Ruling::Reject);
            let decisions = s.approve(run, proposal);
            executed(s, run, proposal, &decisions, |_| {})
        }),
        breaks(
            "R-EXEC-06",
            "escalation-not-recorded",
            &["InventedTimer", "QuorumInflation"],
            "Somebody approves whom a step would ask, and no escalation says so.",
            |s| escalated(s, false, false),
        ),
        breaks(
            "R-EXEC-06",
            "escalation-after-the-decision",
            &["InventedTimer", "QuorumInflation"],
            "Somebody approves whom an escalation asks afterwards.",
            |s| escalated(s, true, false),
        ),
        breaks(
            "R-EXEC-06",
            "escalation-under-another-policy",
            &["InventedTimer", "PolicyConfusion"],
            "Somebody was asked under a policy, and approves under the next, which names them in the same step.",
            |s| {
                let (run, proposal) = overdue(s, &json!([stepped("approve")]));
                escalate(s, run, proposal);
                s.set_policy(document(&json!([stepped("reject")])));
                s.ledger.close();
                let decisions =
                    [cy(), s.cast.ana.clone()].map(|one| s.decide(run, proposal, &one, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
    ]
}

/// Two of `sre`; later the time is out.
pub(crate) fn rule(then: &str) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": "two", "requirements": [{"count": 2, "groups": ["sre"]}],
        "timeout": {"after": OUT, "then": then}, "segregation": true, "uses": 2, "window": WINDOW})
}

/// The same, and `cy` is asked too before that.
pub(crate) fn stepped(then: &str) -> Value {
    let mut rule = rule(then);
    rule["escalation"] = json!([{"after": STEP, "to": {"principals": ["cy"]}}]);
    rule
}

pub(crate) fn one_of_sre(name: &str) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": name, "requirements": [{"count": 1, "groups": ["sre"]}],
        "segregation": true, "uses": 2, "window": WINDOW})
}

pub(crate) fn document(rules: &Value) -> Value {
    json!({"language": "counterfoil-policy/1", "rules": rules})
}

/// Whom the step asks.
fn cy() -> Actor {
    Actor::new("cy", Role::Human)
}

pub(crate) fn proposed_under(s: &mut Scenario, rules: &Value) -> (RunId, RecordId) {
    s.enrol(&cy(), &[]);
    s.set_policy(document(rules));
    s.ledger.close();
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": true})));
    (run, proposal)
}

/// A proposal for which every timer is due, as a snapshot says.
fn overdue(s: &mut Scenario, rules: &Value) -> (RunId, RecordId) {
    let (run, proposal) = proposed_under(s, rules);
    s.ledger.wait(OUT);
    s.ledger.close();
    (run, proposal)
}

/// `ana` and another approve in time, the other's approval changed, and the server rejects.
fn beside(s: &mut Scenario, other: &Actor, change: impl FnOnce(&mut Decision)) -> UnverifiedRecord {
    let (run, proposal) = overdue(s, &json!([rule("reject")]));
    s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Approve);
    let mut body = s.decision(run, proposal, Ruling::Approve);
    change(&mut body);
    s.ledger.add(other, Some(run), body);
    says(s, run, proposal, "two", Ruling::Reject)
}

/// Ends the batch so long after the proposal, in log time.
fn close_at(s: &mut Scenario, run: RunId, proposal: RecordId, after: u64) {
    let logged =
        s.ledger.run(run).proposal(&proposal).and_then(|proposal| proposal.log_time).expect("a log time");
    s.ledger.wait((logged + after).saturating_sub(s.ledger.now()));
    let snapshot = s.ledger.snapshot();
    let log = s.cast.log.clone();
    let mut draft = s.ledger.draft(&log, None, snapshot);
    draft.time = Whole::new(logged + after).expect("a time");
    let snapshot = draft.sign(log.signer()).expect("a draft");
    s.ledger.append(snapshot.bytes()).expect("a snapshot");
    s.ledger.sign_checkpoint();
}

/// A time-out of a proposal that claims a time an hour after the log's, when the time is out by that, or by log time alone.
fn lagging(s: &mut Scenario, by_claim: bool) -> UnverifiedRecord {
    s.set_policy(document(&json!([rule("approve")])));
    s.ledger.close();
    let run = s.trigger();
    let (scout, body) = (s.cast.scout.clone(), s.proposal(action("db.vacuum", json!({}))));
    let mut draft = s.ledger.draft(&scout, Some(run), body);
    draft.time = Whole::new(s.ledger.now() + 3_600_000).expect("a time");
    let record = draft.sign(scout.signer()).expect("a draft");
    s.ledger.append(record.bytes()).expect("a proposal");
    s.ledger.close();
    let logged = s.ledger.run(run).proposal(&record.id()).and_then(|one| one.log_time).expect("a log time");
    let ahead = record.time().get() - logged;
    close_at(s, run, record.id(), if by_claim { ahead + OUT } else { OUT });
    says(s, run, record.id(), "two", Ruling::Approve)
}

/// An approval by time-out of which the window begins so many milliseconds before it is due.
pub fn windowed(s: &mut Scenario, run: RunId, proposal: RecordId, before: u64) -> UnverifiedRecord {
    let state = s.ledger.state();
    let proposed = state.run(&run).and_then(|run| run.proposal(&proposal)).and_then(|one| one.log_time);
    let from = proposed.expect("its log time") + OUT - before;
    let mut body = by_time_out(s, run, proposal, "two", Ruling::Approve);
    let time = |at| Whole::new(at).expect("a time");
    body.window = Some(Window { from: time(from), until: time(from + WINDOW) });
    s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
}

fn by_time_out(s: &mut Scenario, run: RunId, proposal: RecordId, rule: &str, verdict: Ruling) -> Decision {
    let mut body = s.decision(run, proposal, verdict);
    (body.rule, body.shown, body.surface) = (RuleName::new(rule), None, Surface::None);
    body
}

fn says(s: &mut Scenario, run: RunId, proposal: RecordId, rule: &str, verdict: Ruling) -> UnverifiedRecord {
    let body = by_time_out(s, run, proposal, rule, verdict);
    s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
}

pub(crate) fn time_out(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    rule: &str,
    verdict: Ruling,
) -> RecordId {
    let record = says(s, run, proposal, rule, verdict);
    s.ledger.append(record.bytes()).expect("a time-out");
    record.id()
}

pub(crate) fn escalation(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    step: u64,
    to: &[&str],
) -> UnverifiedRecord {
    let to = to.iter().filter_map(|name| RuleName::new(*name)).map(Audience::Principal).collect();
    let body = Escalation {
        policy: s.policy(),
        proposal,
        reason: Some(text("Nobody answered.")),
        rule: RuleName::new("two").expect("a name"),
        step: Whole::new(step).expect("a step"),
        to: List(to),
    };
    s.ledger.sign(&s.cast.engine.clone(), Some(run), body)
}

/// `cy` is asked too.
pub(crate) fn escalate(s: &mut Scenario, run: RunId, proposal: RecordId) {
    let asked = escalation(s, run, proposal, 1, &["cy"]);
    s.ledger.append(asked.bytes()).expect("an escalation");
}

/// `ana` and `cy` approve; `cy` is asked before, afterwards, or never.
fn escalated(s: &mut Scenario, recorded: bool, before: bool) -> UnverifiedRecord {
    let (run, proposal) = overdue(s, &json!([stepped("approve")]));
    if recorded && before {
        escalate(s, run, proposal);
    }
    let decisions = [s.cast.ana.clone(), cy()].map(|one| s.decide(run, proposal, &one, Ruling::Approve));
    if recorded && !before {
        escalate(s, run, proposal);
    }
    s.ledger.close();
    executed(s, run, proposal, &decisions, |_| {})
}
