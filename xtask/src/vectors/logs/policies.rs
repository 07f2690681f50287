//! What policies of named rules say of actions, and of approvals for them.

use counterfoil_receipt::{
    Action, RecordId, Role, RunId, UnverifiedRecord,
    action::Map,
    body::{Basis, BreakGlass, Ruling, Status, Surface},
    field::{Set, Whole},
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, pointer, text};
use serde_json::{Value, json};

use super::{
    Case, breaks, holds,
    steps::{basis_now, executed},
};

pub fn cases() -> Vec<Case> {
    [denials(), allowances(), bases(), requirements(), terms()].into_iter().flatten().collect()
}

fn denials() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-15",
            "policy-denies",
            &["PolicyRules"],
            "One rule wants approvals, which there are, and another denies the action.",
            |s| {
                let frozen = json!({"effect": "deny", "match": {"target": "db-*"}, "name": "frozen"});
                approved_under(s, json!([two_of_sre(), frozen]), vacuum())
            },
        ),
        breaks(
            "R-EXEC-15",
            "policy-denies-unresolved",
            &["PolicyRules"],
            "A rule denies the action for what a committed argument holds, which nobody can tell.",
            |s| {
                let deny = json!({"effect": "deny", "match": {"argument": {"one_of": ["root"], "path": "/user/name"}}, "name": "root"});
                let mut action = vacuum();
                let user = s.ledger.commit("/user", br#"{"name":"ana"}"#);
                action.committed = Map::new([(pointer("/user"), user)]);
                approved_under(s, json!([two_of_sre(), deny]), action)
            },
        ),
        breaks(
            "R-EXEC-15",
            "policy-about-another-tool",
            &["PolicyRules"],
            "No rule of the policy is about the action, and two people approved it.",
            |s| {
                let mut rule = two_of_sre();
                rule["match"] = json!({"tool": "db.drop"});
                approved_under(s, json!([rule]), vacuum())
            },
        ),
        breaks(
            "R-EXEC-15",
            "policy-denies-break-glass",
            &["PolicyRules", "BreakGlass"],
            "A denied action under break-glass, which another rule allows.",
            |s| {
                let mut rule = two_of_sre();
                rule["break_glass"] = json!(true);
                let deny = json!({"effect": "deny", "match": {"mode": "apply"}, "name": "frozen"});
                let (run, proposal) = proposed_under(s, json!([rule, deny]), vacuum());
                under_break_glass(s, run, proposal)
            },
        ),
        breaks(
            "R-EXEC-16",
            "free-path-unlisted",
            &["PolicyRules", "ArgumentSmuggling"],
            "An argument is left unbound that the policy does not let be free, though it approves of one beside it.",
            |s| {
                let free =
                    json!([{"paths": ["/attempt"], "tool": "db.*"}, {"paths": ["/table"], "tool": "fs.*"}]);
                with_free(s, free, "/table")
            },
        ),
        holds("free-path-listed", "An argument is left unbound that the policy lets be free.", |s| {
            with_free(s, json!([{"paths": ["/attempt"], "tool": "db.*"}]), "/attempt")
        }),
    ]
}

/// What an execution must have seen that stands on the policy alone: the log with that policy.
fn bases() -> Vec<Case> {
    const UNSEEN: &[&str] = &["Fork", "PolicyConfusion"];
    vec![
        holds("allowed-on-the-policy", "The policy is the last entry that the basis covers.", |s| {
            before(s, json!([allow()]));
            let basis = basis_now(s);
            allowed_on(s, basis)
        }),
        breaks(
            "R-BASIS-01",
            "allowed-before-the-policy",
            UNSEEN,
            "The basis is one entry too small to cover the policy that allows the action.",
            |s| {
                let basis = before(s, json!([allow()]));
                allowed_on(s, basis)
            },
        ),
        holds(
            "allowed-before-the-policy-again",
            "The policy in force is logged again behind the basis, which changes nothing.",
            |s| {
                before(s, json!([allow()]));
                let basis = before(s, json!([allow()]));
                allowed_on(s, basis)
            },
        ),
        breaks(
            "R-BASIS-01",
            "allowed-before-the-policy-came-back",
            UNSEEN,
            "The basis covers the policy that allows the action, but neither the one that replaced it nor its return.",
            |s| {
                before(s, json!([allow()]));
                let basis = before(s, json!([two_of_sre()]));
                before(s, json!([allow()]));
                allowed_on(s, basis)
            },
        ),
        breaks(
            "R-EXEC-09",
            "allowed-by-a-policy-that-is-over",
            &["PolicyConfusion"],
            "The basis covers the policy that allowed the action, and not the one in force, which allows it too.",
            |s| {
                before(s, json!([allow()]));
                let policy = s.policy();
                let basis = before(s, json!([allow(), glass("glass", false)]));
                let run = s.trigger();
                let proposal = s.propose(run, vacuum());
                executed(s, run, proposal, &[], |body| (body.basis, body.policy) = (basis, policy))
            },
        ),
    ]
}

fn allowances() -> Vec<Case> {
    vec![
        holds("allowed", "The policy allows the action, and nobody approved it.", |s| {
            let (run, proposal) = proposed_under(s, json!([allow()]), vacuum());
            executed(s, run, proposal, &[], |_| {})
        }),
        holds("allowed-on-an-earlier-basis", "What the policy allows was not seen in the log before.", |s| {
            let (basis, run, proposal) = proposed_after_basis(s, json!([allow()]));
            executed(s, run, proposal, &[], |body| body.basis = basis)
        }),
        breaks(
            "R-BASIS-01",
            "approved-on-an-earlier-basis",
            &["Fork"],
            "The basis holds neither the proposal nor what approves it.",
            |s| {
                let (basis, run, proposal) = proposed_after_basis(s, json!([two_of_sre()]));
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |body| body.basis = basis)
            },
        ),
        breaks(
            "R-BASIS-01",
            "break-glass-on-an-earlier-basis",
            &["Fork", "BreakGlass"],
            "The glass is broken for what was not seen in the log.",
            |s| {
                let mut rule = two_of_sre();
                rule["break_glass"] = json!(true);
                let (basis, run, proposal) = proposed_after_basis(s, json!([rule]));
                executed(s, run, proposal, &[], |body| {
                    body.basis = basis;
                    body.break_glass = Some(BreakGlass { reason: text("The site is down.") });
                })
            },
        ),
        breaks(
            "R-BASIS-01",
            "retry-on-an-earlier-basis",
            &["Fork", "BlindRetry"],
            "What is tried again was not seen in the log.",
            |s| {
                let mut rule = allow();
                rule["retries"] = json!(1);
                let (basis, run, proposal) = proposed_after_basis(s, json!([rule]));
                let tried = s.execute(run, proposal, &[]);
                s.report(run, tried, Status::Unknown);
                s.ledger.close();
                executed(s, run, proposal, &[], |body| {
                    body.basis = basis;
                    body.retries = Some(tried);
                })
            },
        ),
        breaks(
            "R-EXEC-03",
            "allowed-too-often",
            &["DoubleExecution"],
            "The policy allows the action, but no such use of it.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([allow()]), vacuum());
                executed(s, run, proposal, &[], |body| body.use_number = Whole::new(3).expect("a use"))
            },
        ),
        breaks(
            "R-EXEC-04",
            "allowed-and-rejected",
            &["EndedProposal"],
            "The policy allows the action, and somebody rejected it.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([allow()]), vacuum());
                s.decide(run, proposal, &s.cast.bo.clone(), Ruling::Reject);
                s.ledger.close();
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-13",
            "allowed-under-break-glass",
            &["BreakGlass"],
            "The policy allows the action, so that there is no glass to break.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([allow()]), vacuum());
                under_break_glass(s, run, proposal)
            },
        ),
        breaks(
            "R-EXEC-06",
            "execution-without-decisions",
            &["QuorumInflation"],
            "No decision where the policy wants two, in the language before named rules.",
            |s| {
                let run = s.trigger();
                let proposal = s.propose(run, vacuum());
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "allowed-and-required",
            &["PolicyRules", "QuorumInflation"],
            "One rule allows the action, another wants approvals for it: it goes before.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([allow(), two_of_sre()]), vacuum());
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "required-unresolved",
            &["PolicyRules", "QuorumInflation"],
            "Small actions are allowed and large ones need approvals; how large this one is stands in no argument.",
            |s| {
                let mut large = two_of_sre();
                large["match"] = json!({"argument": {"over": "10", "path": "/rows"}});
                let (run, proposal) = proposed_under(s, json!([allow(), large]), vacuum());
                executed(s, run, proposal, &[], |_| {})
            },
        ),
    ]
}

fn requirements() -> Vec<Case> {
    vec![
        holds(
            "requirements-met",
            "Whoever is named first could be counted for either; both requirements are met.",
            |s| approved_under(s, json!([either_and_first(s)]), vacuum()),
        ),
        breaks(
            "R-EXEC-06",
            "requirements-by-one-person",
            &["QuorumInflation"],
            "Two requirements, and one person who is entitled by both.",
            |s| {
                let rules = json!([either_and_first(s)]);
                let (run, proposal) = proposed_under(s, rules, vacuum());
                let ana = s.cast.ana.clone();
                let decision = s.decide(run, proposal, &ana, Ruling::Approve);
                s.ledger.close();
                executed(s, run, proposal, &[decision], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "second-rule-not-met",
            &["PolicyRules", "QuorumInflation"],
            "Two rules apply, and one of them is met.",
            |s| {
                let other = require("others", json!([{"count": 1, "groups": ["finance"]}]));
                approved_under(s, json!([two_of_sre(), other]), vacuum())
            },
        ),
        breaks(
            "R-EXEC-06",
            "surface-refused",
            &["QuorumInflation"],
            "One of the approvals was given by a link, which the rule does not name.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([two_of_sre()]), vacuum());
                let ana = s.cast.ana.clone();
                let mut decisions = vec![s.decide(run, proposal, &ana, Ruling::Approve)];
                decisions.push(decided_by_link(s, run, proposal, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "rejected-elsewhere",
            &["EndedProposal"],
            "Somebody whom the rule asks rejected on a surface that it does not name: who says no needs none.",
            |s| {
                let (run, proposal) = proposed_under(s, json!([two_of_sre()]), vacuum());
                decided_by_link(s, run, proposal, Ruling::Reject);
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds(
            "rejected-elsewhere-by-a-stranger",
            "Somebody whom no rule asks rejected it: on no surface that ends anything.",
            |s| {
                let stranger = Actor::new("dee", Role::Human);
                s.enrol(&stranger, &["finance"]);
                let (run, proposal) = proposed_under(s, json!([two_of_sre()]), vacuum());
                let mut body = s.decision(run, proposal, Ruling::Reject);
                body.surface = Surface::None;
                s.ledger.add(&stranger, Some(run), body);
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "rejected-with-another-key",
            &["EndedProposal"],
            "Somebody whom a rule asks asked for changes with a key of a scheme that it does not take.",
            |s| {
                let hardware =
                    require("hardware", json!([{"count": 1, "groups": ["sre"], "schemes": ["mldsa44"]}]));
                let (run, proposal) = proposed_under(s, json!([hardware]), vacuum());
                s.decide(run, proposal, &s.cast.bo.clone(), Ruling::RequestChanges);
                executed(s, run, proposal, &[], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "scheme-refused",
            &["QuorumInflation"],
            "The rule wants keys of a scheme that the approvers' keys are not of.",
            |s| {
                let wanted =
                    json!([{"count": 1, "groups": ["sre"], "schemes": ["mldsa44", "webauthn-p256"]}]);
                approved_under(s, json!([require("hardware", wanted)]), vacuum())
            },
        ),
        breaks(
            "R-EXEC-06",
            "proposer-left-the-group",
            &["PolicyRules", "KeyLifecycle"],
            "Whoever proposed belonged to the group for which approvals are wanted, and left it later.",
            |s| {
                let scout = s.cast.scout.with_key(1);
                s.enrol(&scout, &["contractors"]);
                let mut rule = two_of_sre();
                rule["match"] = json!({"group": ["contractors"]});
                let (run, proposal) = proposed_under(s, json!([allow(), rule]), vacuum());
                s.enrol(&s.cast.scout.with_key(2), &[]);
                s.ledger.close();
                executed(s, run, proposal, &[], |_| {})
            },
        ),
    ]
}

fn terms() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-12",
            "terms-of-the-second-rule",
            &["DecisionTerms", "PolicyRules"],
            "The approvals last as long as one rule lets them, and longer than the other does.",
            |s| {
                let mut short = require("short", json!([{"count": 1}]));
                short["window"] = json!(WINDOW - 1);
                approved_under(s, json!([two_of_sre(), short]), vacuum())
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-of-the-second-rule",
            &["SelfApproval", "PolicyRules"],
            "The proposer approves what one rule wants, where another keeps whoever proposed out.",
            |s| {
                let human = Actor::new(s.cast.scout.principal.as_str(), Role::Human);
                s.enrol(&human, &[]);
                let own = human.principal.as_str();
                let mut own = require("own", json!([{"count": 1, "principals": [own]}]));
                own["segregation"] = json!(false);
                let (run, proposal) = proposed_under(s, json!([own, two_of_sre()]), vacuum());
                let mut decisions = s.approve(run, proposal);
                decisions.push(s.decide(run, proposal, &human, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds("break-glass-of-every-rule", "Every rule that applies lets the glass be broken.", |s| {
            let (run, proposal) = proposed_under(s, json!([glass("a", true), glass("b", true)]), vacuum());
            under_break_glass(s, run, proposal)
        }),
        breaks(
            "R-EXEC-13",
            "break-glass-of-one-rule",
            &["BreakGlass", "PolicyRules"],
            "One rule lets the glass be broken, and another that applies does not.",
            |s| {
                let (run, proposal) =
                    proposed_under(s, json!([glass("a", true), glass("b", false)]), vacuum());
                under_break_glass(s, run, proposal)
            },
        ),
    ]
}

fn vacuum() -> Action {
    action("db.vacuum", json!({"full": false}))
}

fn allow() -> Value {
    json!({"effect": "allow", "match": {"tool": "db.*"}, "name": "databases", "uses": 2})
}

fn require(name: &str, requirements: Value) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": name, "requirements": requirements,
        "segregation": true, "uses": 2, "window": WINDOW})
}

fn two_of_sre() -> Value {
    require("two", json!([{"count": 2, "groups": ["sre"]}]))
}

fn glass(name: &str, break_glass: bool) -> Value {
    let mut rule = require(name, json!([{"count": 1}]));
    rule["break_glass"] = json!(break_glass);
    rule
}

/// Anybody of the group, and one whom it names: the same person may be counted for either, but once.
fn either_and_first(s: &Scenario) -> Value {
    let first = s.cast.ana.principal.as_str();
    require("lead", json!([{"count": 1, "groups": ["sre"]}, {"count": 1, "principals": [first]}]))
}

fn proposed_under(s: &mut Scenario, rules: Value, action: Action) -> (RunId, RecordId) {
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    s.ledger.close();
    let run = s.trigger();
    let proposal = s.propose(run, action);
    (run, proposal)
}

/// The same after a checkpoint that does not cover it.
fn proposed_after_basis(s: &mut Scenario, rules: Value) -> (Basis, RunId, RecordId) {
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    s.ledger.close();
    let basis = s.ledger.basis();
    let run = s.trigger();
    let proposal = s.propose(run, vacuum());
    (basis, run, proposal)
}

/// `gate` executes what the policy in force allows, and names the log as it was at this size.
pub(super) fn allowed_on(s: &mut Scenario, basis: Basis) -> UnverifiedRecord {
    let run = s.trigger();
    let proposal = s.propose(run, vacuum());
    executed(s, run, proposal, &[], |body| body.basis = basis)
}

/// The log as it is before this policy takes effect.
fn before(s: &mut Scenario, rules: Value) -> Basis {
    let basis = basis_now(s);
    s.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    basis
}

/// `ana` and `bo` approve, and `gate` executes.
fn approved_under(s: &mut Scenario, rules: Value, action: Action) -> UnverifiedRecord {
    let (run, proposal) = proposed_under(s, rules, action);
    let decisions = s.approve(run, proposal);
    executed(s, run, proposal, &decisions, |_| {})
}

fn with_free(s: &mut Scenario, free: Value, path: &str) -> UnverifiedRecord {
    s.set_policy(json!({"free": free, "language": "counterfoil-policy/1", "rules": [two_of_sre()]}));
    s.ledger.close();
    let run = s.trigger();
    let mut action = vacuum();
    action.free = Set::new([pointer(path)]);
    let proposal = s.propose(run, action);
    let decisions = s.approve(run, proposal);
    executed(s, run, proposal, &decisions, |_| {})
}

/// `bo` decides by a link.
fn decided_by_link(s: &mut Scenario, run: RunId, proposal: RecordId, ruling: Ruling) -> RecordId {
    let mut body = s.decision(run, proposal, ruling);
    body.surface = Surface::Link;
    s.ledger.add(&s.cast.bo.clone(), Some(run), body)
}

fn under_break_glass(s: &mut Scenario, run: RunId, proposal: RecordId) -> UnverifiedRecord {
    executed(s, run, proposal, &[], |body| {
        body.break_glass = Some(BreakGlass { reason: text("The site is down.") });
    })
}
