//! Previews: an action is applied only after a preview of it succeeded, where the policy wants that.

use counterfoil_receipt::{
    Action, Place, RecordId, RunId, UnverifiedRecord,
    action::Mode,
    body::{BreakGlass, Status},
};
use counterfoil_testkit::{Scenario, WINDOW, action, text};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{executed, settlement},
};

const SKIPPED: &[&str] = &["PreviewSkipped"];

pub fn cases() -> Vec<Case> {
    [standing(), refused(), ordered()].into_iter().flatten().collect()
}

fn standing() -> Vec<Case> {
    vec![
        holds("valid-preview", "What was previewed is approved and applied.", |s| {
            let run = started(s, json!([plans(), two("two", true)]));
            previewed(s, run, vacuum(), Status::Succeeded);
            approved(s, run, vacuum())
        }),
        holds("valid-preview-allowed", "What was previewed is applied, and nobody has to approve it.", |s| {
            let allow = json!({"effect": "allow", "match": {"always": true}, "name": "all", "preview": true, "uses": 1});
            let run = started(s, json!([allow]));
            previewed(s, run, vacuum(), Status::Succeeded);
            let proposal = s.propose(run, vacuum());
            executed(s, run, proposal, &[], |_| {})
        }),
        holds(
            "valid-preview-among-parents",
            "Of the parents one is a preview of the action that succeeded; others are of another action, and of one that failed.",
            |s| {
                let run = started(s, json!([plans(), two("two", true)]));
                let preview = previewed(s, run, vacuum(), Status::Succeeded);
                let failed = previewed(s, run, vacuum(), Status::Failed);
                let other = previewed(s, run, action("db.vacuum", json!({"full": true})), Status::Succeeded);
                proposed_after(s, run, &[preview, failed, other])
            },
        ),
        holds("valid-preview-of-nothing", "A preview needs no preview.", |s| {
            let mut rule = two("two", true);
            rule["match"] = json!({"always": true});
            let run = started(s, json!([rule]));
            approved(s, run, preview_of(vacuum()))
        }),
        holds(
            "valid-preview-broken-glass",
            "Nothing was previewed, the policy wants it, and the glass is broken.",
            |s| {
                let mut glass = two("two", true);
                glass["break_glass"] = json!(true);
                let run = started(s, json!([glass]));
                let proposal = s.propose(run, vacuum());
                executed(s, run, proposal, &[], |body| {
                    body.break_glass = Some(BreakGlass { reason: text("The site is down.") });
                })
            },
        ),
        holds("valid-approval-without-preview", "What was not previewed is approved all the same.", |s| {
            let run = started(s, json!([two("two", true)]));
            let proposal = s.propose(run, vacuum());
            let body = s.decision(run, proposal, counterfoil_receipt::body::Ruling::Approve);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
        }),
    ]
}

fn refused() -> Vec<Case> {
    let after = |name, description, before: fn(&mut Scenario, RunId)| {
        breaks("R-EXEC-17", name, SKIPPED, description, move |s| {
            let run = started(s, json!([plans(), two("two", true)]));
            before(s, run);
            approved(s, run, vacuum())
        })
    };
    vec![
        after("preview-missing", "Nothing was previewed.", |_, _| {}),
        breaks(
            "R-EXEC-17",
            "preview-wanted-by-one-of-two-rules",
            &["PreviewSkipped", "PolicyRules"],
            "One of two rules that apply wants a preview.",
            |s| {
                let run = started(s, json!([two("a", false), two("b", true)]));
                approved(s, run, vacuum())
            },
        ),
        breaks(
            "R-EXEC-17",
            "preview-missing-where-allowed",
            SKIPPED,
            "The policy allows what was previewed, without approval, and nothing was.",
            |s| {
                let allow = json!({"effect": "allow", "match": {"always": true}, "name": "all", "preview": true, "uses": 1});
                let run = started(s, json!([allow]));
                let proposal = s.propose(run, vacuum());
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        after("preview-of-other-arguments", "Another action of that tool was previewed.", |s, run| {
            previewed(s, run, action("db.vacuum", json!({"full": true})), Status::Succeeded);
        }),
        after("preview-of-another-target", "The same was previewed of another target.", |s, run| {
            let mut other = vacuum();
            other.target = Some(counterfoil_testkit::label("db-2"));
            previewed(s, run, other, Status::Succeeded);
        }),
        after("preview-failed", "The preview failed.", |s, run| {
            previewed(s, run, vacuum(), Status::Failed);
        }),
        after("preview-unknown", "What the preview did is not known.", |s, run| {
            previewed(s, run, vacuum(), Status::Unknown);
        }),
        after(
            "preview-settled",
            "Somebody settled a preview: no runtime says that it succeeded.",
            |s, run| {
                let outcome = previewed(s, run, vacuum(), Status::Unknown);
                let preview = s.ledger.run(run).executions()[0].0;
                let mut body = settlement(preview);
                body.status = Status::Succeeded;
                s.ledger.add(&s.cast.ana.clone(), Some(run), body);
                assert_ne!(outcome, preview);
            },
        ),
        after("preview-not-executed", "A preview was proposed, and never executed.", |s, run| {
            s.propose(run, preview_of(vacuum()));
        }),
        breaks(
            "R-EXEC-17",
            "preview-in-apply-mode",
            SKIPPED,
            "What is to be applied was applied before: that was no preview.",
            |s| {
                s.set_policy(json!({"language": "counterfoil-policy/1", "rules": [
                    {"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1}]}));
                s.ledger.close();
                let run = s.trigger();
                let proposal = s.propose(run, vacuum());
                let execution = s.execute(run, proposal, &[]);
                s.report(run, execution, Status::Succeeded);
                set_policy(s, json!([two("two", true)]));
                approved(s, run, vacuum())
            },
        ),
        breaks(
            "R-EXEC-17",
            "preview-not-a-parent",
            SKIPPED,
            "A preview succeeded, and the proposal does not name it: its parent is what came before.",
            |s| {
                let run = started(s, json!([plans(), two("two", true)]));
                previewed(s, run, vacuum(), Status::Succeeded);
                proposed_after(s, run, &[run.trigger()])
            },
        ),
        breaks(
            "R-EXEC-17",
            "preview-of-a-grandparent",
            SKIPPED,
            "A preview succeeded, somebody observed that, and the proposal names the observation alone.",
            |s| {
                let run = started(s, json!([plans(), two("two", true)]));
                previewed(s, run, vacuum(), Status::Succeeded);
                s.observe(run);
                approved(s, run, vacuum())
            },
        ),
    ]
}

/// In which order it is judged.
fn ordered() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-15",
            "preview-missing-and-denied",
            &["PolicyRules"],
            "Nothing was previewed, and a rule denies the action: that goes before.",
            |s| {
                let deny = json!({"effect": "deny", "match": {"mode": "apply"}, "name": "frozen"});
                let run = started(s, json!([two("two", true), deny]));
                approved(s, run, vacuum())
            },
        ),
        breaks(
            "R-EXEC-17",
            "preview-missing-and-decisions",
            SKIPPED,
            "Nothing was previewed, and nobody approved: the preview goes before.",
            |s| {
                let run = started(s, json!([two("two", true)]));
                let proposal = s.propose(run, vacuum());
                executed(s, run, proposal, &[], |_| {})
            },
        ),
    ]
}

fn vacuum() -> Action {
    action("db.vacuum", json!({"full": false}))
}

fn preview_of(mut action: Action) -> Action {
    action.mode = Mode::Preview;
    action
}

/// Previews are allowed.
fn plans() -> Value {
    json!({"effect": "allow", "match": {"mode": "preview"}, "name": "plans", "uses": 1})
}

/// Two approve what is applied, after a preview or not.
fn two(name: &str, preview: bool) -> Value {
    let mut rule = json!({"effect": "require", "match": {"mode": "apply"}, "name": name,
        "requirements": [{"count": 2, "groups": ["sre"]}], "segregation": true, "uses": 1, "window": WINDOW});
    rule["preview"] = json!(preview);
    rule
}

fn set_policy(s: &mut Scenario, rules: Value) {
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    s.ledger.close();
}

fn started(s: &mut Scenario, rules: Value) -> RunId {
    set_policy(s, rules);
    s.trigger()
}

/// `gate` previews an action, and reports; gives the outcome.
fn previewed(s: &mut Scenario, run: RunId, action: Action, status: Status) -> RecordId {
    let proposal = s.propose(run, preview_of(action));
    let execution = s.execute(run, proposal, &[]);
    let outcome = s.report(run, execution, status);
    s.ledger.close();
    outcome
}

/// Proposed, approved by two, and executed.
fn approved(s: &mut Scenario, run: RunId, action: Action) -> UnverifiedRecord {
    let proposal = s.propose(run, action);
    let decisions = s.approve(run, proposal);
    executed(s, run, proposal, &decisions, |_| {})
}

/// Proposed with these parents, approved by two, and executed.
fn proposed_after(s: &mut Scenario, run: RunId, parents: &[RecordId]) -> UnverifiedRecord {
    let body = s.proposal(vacuum());
    let scout = s.cast.scout.clone();
    let mut draft = s.ledger.draft(&scout, Some(run), body);
    let mut parents = parents.to_vec();
    parents.sort_unstable();
    draft.place = Place::Run { log: s.ledger.log(), run, parents };
    let record = draft.sign(scout.signer()).expect("a draft");
    let proposal = super::delegations::logged(s, &record);
    let decisions = s.approve(run, proposal);
    executed(s, run, proposal, &decisions, |_| {})
}
