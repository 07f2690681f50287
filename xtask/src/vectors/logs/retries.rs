//! Retries: a use of which the outcome stayed unknown is tried again, where the policy lets it.

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    body::{Audience, BreakGlass, Execution, Ruling, Status},
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, text};
use serde_json::{Value, json};

use super::{
    Case, breaks,
    delegations::{grant, logged, proposal_of},
    holds,
    steps::{executed, executed_at, name, settlement},
};

const BLIND: &[&str] = &["BlindRetry"];

pub fn cases() -> Vec<Case> {
    [standing(), refused(), needing(), delegated()].into_iter().flatten().collect()
}

/// What `gate` executed, and may be tried again.
struct Tried {
    run: RunId,
    proposal: RecordId,
    decisions: Vec<RecordId>,
    /// What holds the first use.
    holder: RecordId,
}

fn standing() -> Vec<Case> {
    vec![
        holds(
            "valid-retry",
            "An execution that stayed unknown is tried again, as the policy lets it.",
            |s| {
                let tried = unknown(s, 1);
                tried.again(s)
            },
        ),
        holds("valid-retry-last", "The last of two retries names the one before it.", |s| {
            let mut tried = unknown(s, 2);
            tried.retry(s);
            tried.again(s)
        }),
        holds(
            "valid-retry-of-the-second-use",
            "The second use stayed unknown, and is tried again; what the first was counts for nothing.",
            |s| {
                let mut tried = unknown(s, 1);
                tried.retry(s);
                let second = executed(s, tried.run, tried.proposal, &tried.decisions, second_use);
                tried.holder = reported(s, &second, Status::Unknown);
                tried.changed(s, second_use)
            },
        ),
        holds(
            "valid-retry-by-the-smaller-of-two",
            "Two rules let a use be tried again, one of them once.",
            |s| unknown_under(s, json!([rule("a", Some(2)), rule("b", Some(1))])).again(s),
        ),
        holds("valid-retry-allowed", "A retry of what the policy allows without approval.", |s| {
            let allow =
                json!({"effect": "allow", "match": {"always": true}, "name": "all", "retries": 1, "uses": 1});
            unknown_under(s, json!([allow])).again(s)
        }),
        holds(
            "valid-retry-under-break-glass",
            "What was approved is tried again under break-glass, where the rule lets it.",
            |s| {
                let mut glass = rule("two", Some(1));
                glass["break_glass"] = json!(true);
                unknown_under(s, json!([glass])).changed(s, under_break_glass)
            },
        ),
        holds(
            "valid-retry-and-a-late-outcome",
            "What was tried again turns out to have succeeded the first time.",
            |s| {
                let mut tried = unknown(s, 1);
                let first = tried.holder;
                tried.retry(s);
                let body = s.outcome(first, Status::Succeeded);
                s.ledger.sign(&s.cast.gate.clone(), Some(tried.run), body)
            },
        ),
        holds("valid-retry-and-a-settlement", "Somebody settles what was tried again.", |s| {
            let mut tried = unknown(s, 1);
            let first = tried.holder;
            tried.retry(s);
            s.ledger.sign(&s.cast.ana.clone(), Some(tried.run), settlement(first))
        }),
    ]
}

fn refused() -> Vec<Case> {
    let after = |name, description, flags, change: fn(&mut Scenario, &Tried)| {
        breaks("R-EXEC-14", name, flags, description, move |s| {
            let tried = unknown(s, 1);
            change(s, &tried);
            tried.again(s)
        })
    };
    vec![
        breaks(
            "R-EXEC-14",
            "retry-refused",
            &["BlindRetry", "DoubleExecution"],
            "An execution that stayed unknown is tried again, and the policy says nothing of retries.",
            |s| unknown_under(s, json!([rule("two", None)])).again(s),
        ),
        breaks(
            "R-EXEC-14",
            "retry-by-one-of-two-rules",
            &["BlindRetry", "PolicyRules"],
            "One rule lets a use be tried again, and another that applies says nothing of it.",
            |s| unknown_under(s, json!([rule("a", Some(2)), rule("b", None)])).again(s),
        ),
        breaks(
            "R-EXEC-14",
            "retry-once-too-often",
            BLIND,
            "A second retry, where the policy lets one.",
            |s| {
                let mut tried = unknown(s, 1);
                tried.retry(s);
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-14",
            "retry-counted-anew",
            &["BlindRetry", "PolicyConfusion"],
            "One retry under each of two policies that let one: they count from the first execution on.",
            |s| {
                let mut tried = unknown(s, 1);
                tried.retry(s);
                let mut other = rule("two", Some(1));
                other["uses"] = json!(3);
                tried.approved_anew(s, json!([other]));
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-14",
            "retry-of-what-is-denied",
            &["BlindRetry", "PolicyRules"],
            "A later policy denies the action, and so lets nothing be tried again.",
            |s| {
                let mut tried = unknown(s, 1);
                let deny = json!({"effect": "deny", "match": {"always": true}, "name": "frozen"});
                tried.approved_anew(s, json!([rule("two", Some(1)), deny]));
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-14",
            "retry-without-an-outcome",
            BLIND,
            "Nothing is known yet of what is tried again.",
            |s| {
                let (run, proposal, decisions) = approved_under(s, json!([rule("two", Some(1))]));
                let holder = s.execute(run, proposal, &decisions);
                Tried { run, proposal, decisions, holder }.again(s)
            },
        ),
        breaks("R-EXEC-14", "retry-of-a-success", BLIND, "What succeeded is tried again.", |s| {
            let (run, proposal, decisions) = approved_under(s, json!([rule("two", Some(1))]));
            let holder = s.execute(run, proposal, &decisions);
            s.report(run, holder, Status::Succeeded);
            Tried { run, proposal, decisions, holder }.again(s)
        }),
        after(
            "retry-of-a-failure",
            "What turned out to have failed is tried again: it is not unknown any more.",
            BLIND,
            |s, tried| {
                s.report(tried.run, tried.holder, Status::Failed);
            },
        ),
        after("retry-of-what-was-settled", "Somebody settled what is tried again.", BLIND, |s, tried| {
            s.ledger.add(&s.cast.ana.clone(), Some(tried.run), settlement(tried.holder));
        }),
        breaks(
            "R-EXEC-14",
            "retry-of-another-use",
            &["BlindRetry", "DoubleExecution"],
            "A retry of the first use that takes the second, which is free.",
            |s| unknown(s, 1).changed(s, second_use),
        ),
        breaks(
            "R-EXEC-14",
            "retry-of-another-proposal",
            &["BlindRetry", "DoubleExecution"],
            "A retry of what another proposal of the run was executed for.",
            |s| {
                let mut tried = unknown(s, 1);
                tried.proposal = s.propose(tried.run, action("db.vacuum", json!({"full": true})));
                tried.decisions = s.approve(tried.run, tried.proposal);
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-02",
            "retry-of-another-holder",
            &["BlindRetry", "DoubleExecution"],
            "Both uses stayed unknown. A retry names what holds the first, and claims the second.",
            |s| {
                let tried = unknown(s, 1);
                let second = executed(s, tried.run, tried.proposal, &tried.decisions, second_use);
                reported(s, &second, Status::Unknown);
                tried.changed(s, second_use)
            },
        ),
        breaks(
            "R-EXEC-02",
            "retry-of-what-was-retried",
            &["BlindRetry", "DoubleExecution"],
            "Two retries of one execution: the first of them holds the use.",
            |s| {
                let tried = unknown(s, 2);
                let first = tried.again(s);
                reported(s, &first, Status::Unknown);
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-14",
            "retry-by-another-runtime",
            &["BlindRetry", "AudienceConfusion"],
            "One runtime of the audience executed, and another tries it again.",
            |s| {
                let twin = Actor::new("twin", Role::Runtime);
                s.enrol(&twin, &["prod"]);
                set_policy(s, json!([rule("two", Some(1))]));
                let run = s.trigger();
                let mut body = s.proposal(action("db.vacuum", json!({"full": false})));
                body.audience = Audience::Group(name("prod"));
                let proposal = s.ledger.add(&s.cast.scout.clone(), Some(run), body);
                s.ledger.close();
                let decisions = s.approve(run, proposal);
                let holder = s.execute(run, proposal, &decisions);
                s.report(run, holder, Status::Unknown);
                s.ledger.close();
                let mut body = s.execution(run, proposal, &decisions);
                body.retries = Some(holder);
                s.ledger.sign(&twin, Some(run), body)
            },
        ),
    ]
}

/// What every execution needs, a retry needs too.
fn needing() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-04",
            "retry-after-a-rejection",
            &["EndedProposal"],
            "Somebody rejects what stayed unknown, and it is tried again.",
            |s| {
                let tried = unknown(s, 1);
                s.decide(tried.run, tried.proposal, &s.cast.bo.clone(), Ruling::Reject);
                s.ledger.close();
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-06",
            "retry-without-decisions",
            &["QuorumInflation"],
            "A retry that names no decisions: its use was approved, and it is not.",
            |s| {
                let mut tried = unknown(s, 1);
                tried.decisions.clear();
                tried.again(s)
            },
        ),
        breaks(
            "R-EXEC-08",
            "retry-after-the-window",
            &["ExpiredApproval"],
            "What was executed in time is tried again when the approvals are over.",
            |s| {
                let tried = unknown(s, 1);
                let record = tried.again(s);
                let time = record.time().get() + WINDOW;
                tried.at(s, time)
            },
        ),
        breaks(
            "R-EXEC-09",
            "retry-under-a-later-policy",
            &["PolicyConfusion"],
            "The policy changed meanwhile, and the retry rests on the approvals from before.",
            |s| {
                let tried = unknown(s, 1);
                set_policy(s, json!([rule("other", Some(1))]));
                tried.again(s)
            },
        ),
    ]
}

fn delegated() -> Vec<Case> {
    vec![
        holds(
            "delegation-retry-takes-nothing",
            "A delegation is used up by one execution, which stayed unknown and is tried again.",
            |s| {
                let tried = spent_all(s);
                tried.again(s)
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-retry-gives-nothing-back",
            &["Overspending"],
            "A delegation is used up. A retry takes nothing, and another action would.",
            |s| {
                let mut tried = spent_all(s);
                tried.retry(s);
                let id = s.ledger.run(tried.run).proposal(&tried.proposal).expect("a proposal").chain[0];
                let other = proposal_of(s, tried.run, id, json!({"amount": "1"}));
                let other = logged(s, &other);
                executed(s, tried.run, other, &[], |_| {})
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-retry-over-its-action",
            &["Overspending", "BlindRetry"],
            "A later policy finds the cost elsewhere, where it is more than a delegation lets one action cost: a retry is an action.",
            |s| {
                let tried = spent_all(s);
                spending(s, "/gross");
                tried.again(s)
            },
        ),
    ]
}

impl Tried {
    /// The retry of what holds the use.
    fn again(&self, s: &mut Scenario) -> UnverifiedRecord {
        self.changed(s, |_| {})
    }

    fn changed(&self, s: &mut Scenario, change: impl FnOnce(&mut Execution)) -> UnverifiedRecord {
        executed(s, self.run, self.proposal, &self.decisions, |body| {
            body.retries = Some(self.holder);
            change(body);
        })
    }

    /// The same, by a clock that says so.
    fn at(&self, s: &mut Scenario, time: u64) -> UnverifiedRecord {
        executed_at(s, self.run, self.proposal, &self.decisions, time, |body| {
            body.retries = Some(self.holder)
        })
    }

    /// It is tried again, and is unknown again.
    fn retry(&mut self, s: &mut Scenario) {
        let record = self.again(s);
        self.holder = reported(s, &record, Status::Unknown);
    }

    /// Other rules come into force, and the proposal is approved under them.
    fn approved_anew(&mut self, s: &mut Scenario, rules: Value) {
        set_policy(s, rules);
        self.decisions = approve_twice(s, self.run, self.proposal);
    }
}

/// Two of the group, for two uses, who let one be tried again so often.
fn rule(name: &str, retries: Option<u64>) -> Value {
    let mut rule = json!({"effect": "require", "match": {"always": true}, "name": name,
        "requirements": [{"count": 2, "groups": ["sre"]}], "segregation": true, "uses": 2, "window": WINDOW});
    if let Some(retries) = retries {
        rule["retries"] = json!(retries);
    }
    rule
}

fn set_policy(s: &mut Scenario, rules: Value) {
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    s.ledger.close();
}

fn approved_under(s: &mut Scenario, rules: Value) -> (RunId, RecordId, Vec<RecordId>) {
    set_policy(s, rules);
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    let decisions = approve_twice(s, run, proposal);
    (run, proposal, decisions)
}

/// `ana` and `bo` approve two uses.
fn approve_twice(s: &mut Scenario, run: RunId, proposal: RecordId) -> Vec<RecordId> {
    let decisions = [s.cast.ana.clone(), s.cast.bo.clone()].map(|human| {
        let mut body = s.decision(run, proposal, Ruling::Approve);
        body.uses = Whole::new(2);
        s.ledger.add(&human, Some(run), body)
    });
    s.ledger.close();
    decisions.to_vec()
}

/// The first use was executed under these rules, and stayed unknown.
fn unknown_under(s: &mut Scenario, rules: Value) -> Tried {
    let is_allowed = rules[0]["effect"] == "allow";
    let (run, proposal, mut decisions) = approved_under(s, rules);
    if is_allowed {
        decisions.clear();
    }
    let holder = s.execute(run, proposal, &decisions);
    s.report(run, holder, Status::Unknown);
    s.ledger.close();
    Tried { run, proposal, decisions, holder }
}

fn unknown(s: &mut Scenario, retries: u64) -> Tried {
    unknown_under(s, json!([rule("two", Some(retries))]))
}

/// An execution is logged, and reported.
fn reported(s: &mut Scenario, execution: &UnverifiedRecord, status: Status) -> RecordId {
    let id = logged(s, execution);
    s.report(execution.run().expect("a run"), id, status);
    s.ledger.close();
    id
}

fn second_use(body: &mut Execution) {
    body.use_number = Whole::new(2).expect("a use");
}

fn under_break_glass(body: &mut Execution) {
    body.decisions = counterfoil_receipt::field::Set::new([]).expect("none");
    body.break_glass = Some(BreakGlass { reason: text("The site is down.") });
}

/// A policy that finds costs at a pointer, allows everything, and lets it be tried again once.
fn spending(s: &mut Scenario, amount: &str) {
    let costs = json!([{"amount": amount, "currency": "EUR", "tool": "db.*"}]);
    let allow = json!({"effect": "allow", "match": {"always": true}, "name": "all", "retries": 1, "uses": 1});
    s.set_policy(json!({"costs": costs, "language": "counterfoil-policy/1", "rules": [allow]}));
    s.ledger.close();
}

/// What stayed unknown took the one use of a delegation, and all that it may spend.
fn spent_all(s: &mut Scenario) -> Tried {
    use counterfoil_receipt::body::Spend;

    use super::delegations::euro;
    let id = grant(s, |body| {
        body.spend = Some(Spend { per_action: Some(euro("10")), total: Some(euro("10")) });
        body.uses = Whole::new(1);
    });
    spending(s, "/amount");
    let run = s.trigger();
    let proposal = proposal_of(s, run, id, json!({"amount": "10", "gross": "12"}));
    let proposal = logged(s, &proposal);
    let holder = s.execute(run, proposal, &[]);
    s.report(run, holder, Status::Unknown);
    s.ledger.close();
    Tried { run, proposal, decisions: Vec::new(), holder }
}
