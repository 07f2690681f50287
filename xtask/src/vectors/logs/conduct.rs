//! What may be done: proposals, decisions, executions, outcomes.

use counterfoil_receipt::{
    Role, UnverifiedRecord,
    action::{Json, Mode},
    body::{Audience, BreakGlass, Ruling, Status, Surface},
    field::{Set, Whole},
};
use counterfoil_testkit::{Actor, Scenario, action, pointer, policy_document, text};
use serde_json::json;

use super::{
    Case, breaks, holds,
    steps::{
        approved, approved_for, cancel, changed, executed, name, proposed, quorum_with, revision, settlement,
    },
};

pub fn cases() -> Vec<Case> {
    [proposals(), executions(), endings(), audiences(), outcomes()].into_iter().flatten().collect()
}

fn proposals() -> Vec<Case> {
    vec![
        breaks(
            "R-PROP-01",
            "supersede-cancelled",
            &["EndedProposal"],
            "A revision of a proposal that was withdrawn.",
            |s| {
                let (run, proposal) = proposed(s);
                s.ledger.add(&s.cast.scout.clone(), Some(run), cancel(proposal));
                revision(s, run, proposal)
            },
        ),
        breaks(
            "R-PROP-01",
            "supersede-superseded",
            &["EndedProposal", "ChainFork"],
            "Two revisions of one proposal.",
            |s| {
                let (run, proposal) = proposed(s);
                let first = revision(s, run, proposal);
                s.ledger.append(first.bytes()).expect("a first revision is fine");
                revision(s, run, proposal)
            },
        ),
        breaks(
            "R-PROP-01",
            "supersede-executed",
            &["EndedProposal"],
            "A revision of a proposal that was executed.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.execute(run, proposal, &decisions);
                revision(s, run, proposal)
            },
        ),
        breaks(
            "R-DEC-02",
            "decision-action",
            &["SwappedAction"],
            "A decision whose action digest is another proposal's.",
            |s| {
                let (run, proposal) = proposed(s);
                let other = s.propose(run, action("db.drop", json!({})));
                let mut body = s.decision(run, proposal, Ruling::Approve);
                body.action = s.decision(run, other, Ruling::Approve).action;
                s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
            },
        ),
    ]
}

fn executions() -> Vec<Case> {
    vec![
        holds("valid-second-use", "An approval for two uses is executed twice.", |s| {
            let (run, proposal, decisions) = approved_for(s, |body| body.uses = Whole::new(2));
            s.execute(run, proposal, &decisions);
            executed(s, run, proposal, &decisions, |body| body.use_number = Whole::new(2).expect("a use"))
        }),
        holds(
            "valid-nonce-repeated",
            "Two uses under one nonce: it keeps statements apart, and the use does that here.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| body.uses = Whole::new(2));
                let first = s.execution(run, proposal, &decisions);
                s.ledger.add(&s.cast.gate.clone(), Some(run), first.clone());
                executed(s, run, proposal, &decisions, |body| {
                    body.nonce = first.nonce;
                    body.use_number = Whole::new(2).expect("a use");
                })
            },
        ),
        holds(
            "valid-break-glass",
            "The policy allows break-glass, and the runtime says why; it takes the last use of the policy's two.",
            |s| broken_glass(s, 2),
        ),
        breaks(
            "R-EXEC-03",
            "break-glass-use-exceeded",
            &["BreakGlass", "DoubleExecution"],
            "The policy allows break-glass for two uses, and the runtime takes a third.",
            |s| broken_glass(s, 3),
        ),
        breaks(
            "R-EXEC-03",
            "use-exceeded-by-one-approval",
            &["DoubleExecution"],
            "A second use, which one of the two approvals grants and the other does not.",
            |s| {
                let (run, proposal) = proposed(s);
                let decisions = [(s.cast.ana.clone(), 2), (s.cast.bo.clone(), 1)].map(|(human, uses)| {
                    let mut body = s.decision(run, proposal, Ruling::Approve);
                    body.uses = Whole::new(uses);
                    s.ledger.add(&human, Some(run), body)
                });
                s.ledger.close();
                executed(s, run, proposal, &decisions, |body| body.use_number = Whole::new(2).expect("a use"))
            },
        ),
        breaks(
            "R-EXEC-01",
            "action-arguments",
            &["SwappedAction"],
            "Other arguments than were approved.",
            |s| {
                changed(s, |body| {
                    body.action.arguments = Json::from_value(&json!({"full": true})).expect("arguments")
                })
            },
        ),
        breaks(
            "R-EXEC-01",
            "action-mode",
            &["SwappedAction"],
            "A preview was approved, the effect is real.",
            |s| {
                let run = s.trigger();
                let mut preview = action("db.vacuum", json!({"full": false}));
                preview.mode = Mode::Preview;
                let proposal = s.propose(run, preview);
                let decisions = s.approve(run, proposal);
                executed(s, run, proposal, &decisions, |body| body.action.mode = Mode::Apply)
            },
        ),
        breaks("R-EXEC-01", "action-target", &["SwappedAction"], "Another target than was approved.", |s| {
            changed(s, |body| body.action.target = Some(counterfoil_testkit::label("db-2")))
        }),
        breaks("R-EXEC-01", "action-spelling", &["SwappedAction"], "A number became a string.", |s| {
            let run = s.trigger();
            let proposal = s.propose(run, action("pay", json!({"amount": 1})));
            let decisions = s.approve(run, proposal);
            executed(s, run, proposal, &decisions, |body| {
                body.action.arguments = Json::from_value(&json!({"amount": "1"})).expect("arguments");
            })
        }),
        breaks(
            "R-EXEC-01",
            "action-free-path",
            &["SwappedAction", "ArgumentSmuggling"],
            "A path was left free that the approvers held bound.",
            |s| changed(s, |body| body.action.free = Set::new([pointer("/force")])),
        ),
        breaks("R-EXEC-02", "use-consumed", &["DoubleExecution"], "One use is executed twice.", |s| {
            let (run, proposal, decisions) = approved(s);
            s.execute(run, proposal, &decisions);
            executed(s, run, proposal, &decisions, |_| {})
        }),
        breaks(
            "R-EXEC-02",
            "use-consumed-by-other-approvers",
            &["DoubleExecution"],
            "The same use again, on the approvals of two others.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let others = ["cy", "di"].map(|name| Actor::new(name, Role::Human));
                for actor in &others {
                    s.enrol(actor, &["sre"]);
                }
                let again = others.map(|actor| s.decide(run, proposal, &actor, Ruling::Approve));
                s.ledger.close();
                s.execute(run, proposal, &decisions);
                executed(s, run, proposal, &again, |_| {})
            },
        ),
        breaks(
            "R-EXEC-03",
            "use-exceeded",
            &["DoubleExecution"],
            "A second use of what was approved once.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.execute(run, proposal, &decisions);
                executed(s, run, proposal, &decisions, |body| body.use_number = Whole::new(2).expect("a use"))
            },
        ),
        breaks(
            "R-EXEC-09",
            "policy-not-in-force",
            &["PolicyConfusion"],
            "The policy changed after the approvals.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let body = s.execution(run, proposal, &decisions);
                s.set_policy(policy_document(1));
                s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-EXEC-13",
            "break-glass-refused",
            &["BreakGlass"],
            "Break-glass, where the policy does not know it.",
            |s| {
                let (run, proposal) = proposed(s);
                executed(s, run, proposal, &[], |body| body.break_glass = glass())
            },
        ),
    ]
}

fn endings() -> Vec<Case> {
    vec![
        holds("valid-late-rejection", "A rejection after the execution is logged, and has no effect.", |s| {
            let (run, proposal, decisions) = approved(s);
            s.execute(run, proposal, &decisions);
            let body = s.decision(run, proposal, Ruling::Reject);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
        }),
        breaks(
            "R-EXEC-04",
            "proposal-rejected",
            &["EndedProposal"],
            "Two people approved, then one rejected.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.decide(run, proposal, &s.cast.bo.clone(), Ruling::Reject);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-cancelled",
            &["EndedProposal"],
            "The agent withdrew the proposal.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.add(&s.cast.scout.clone(), Some(run), cancel(proposal));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-superseded",
            &["EndedProposal"],
            "Another proposal took its place.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let next = revision(s, run, proposal);
                s.ledger.append(next.bytes()).expect("a revision");
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-sent-back",
            &["EndedProposal"],
            "Two people approved, then one asked for changes.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.decide(run, proposal, &s.cast.bo.clone(), Ruling::RequestChanges);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-cancelled-by-authority",
            &["EndedProposal"],
            "The authority withdrew the proposal.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.add(&s.cast.root.clone(), Some(run), cancel(proposal));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-rejected-and-withdrawn",
            &["EndedProposal", "CancelAbuse"],
            "Somebody rejected and withdrew that later: what ended stays ended.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let bo = s.cast.bo.clone();
                let rejection = s.decide(run, proposal, &bo, Ruling::Reject);
                s.ledger.add(&bo, Some(run), cancel(rejection));
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        holds(
            "valid-rejection-by-outsider",
            "Two people approved. A third, whom the policy does not name, rejected, which ends nothing.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                let (run, proposal, decisions) = approved(s);
                s.decide(run, proposal, &eve, Ruling::Reject);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-04",
            "proposal-rejected-without-policy",
            &["EndedProposal", "PolicyConfusion"],
            "Before any policy was in force, somebody rejected whom the later policy does not name.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                executed_after_early_rejection(s, &eve)
            },
        ),
        holds(
            "valid-rejection-by-link-without-policy",
            "Before any policy was in force, somebody rejected by link, which ends nothing: no rule names that surface.",
            |s| {
                let engine = s.cast.engine.clone();
                executed_after_early_rejection(s, &engine)
            },
        ),
        holds("valid-supersede-rejected", "A revision of a proposal that was rejected.", |s| {
            let (run, proposal) = proposed(s);
            s.decide(run, proposal, &s.cast.ana.clone(), Ruling::Reject);
            revision(s, run, proposal)
        }),
    ]
}

fn audiences() -> Vec<Case> {
    vec![
        breaks("R-EXEC-10", "audience-mismatch", &["AudienceConfusion"], "Another runtime executes.", |s| {
            let other = Actor::new("other-gate", Role::Runtime);
            s.enrol(&other, &[]);
            let (run, proposal, decisions) = approved(s);
            let body = s.execution(run, proposal, &decisions);
            s.ledger.sign(&other, Some(run), body)
        }),
        holds(
            "valid-audience-group",
            "The proposal is for a group of runtimes, and one of the group executes.",
            |s| executed_by_group(s, "prod", None),
        ),
        breaks(
            "R-EXEC-10",
            "audience-of-another-group",
            &["AudienceConfusion"],
            "The proposal is for a group to which the runtime does not belong.",
            |s| executed_by_group(s, "staging", None),
        ),
        breaks(
            "R-EXEC-10",
            "audience-group-of-that-principal",
            &["AudienceConfusion"],
            "The proposal is for a group that has the name of the runtime's principal.",
            |s| executed_by_group(s, "gate", None),
        ),
        holds(
            "valid-audience-joined-later",
            "The runtime joined the group after the approvals, and before it executes.",
            |s| executed_by_group(s, "staging", Some(&["staging"])),
        ),
        breaks(
            "R-EXEC-10",
            "audience-left",
            &["AudienceConfusion"],
            "The runtime left the group after the approvals, and before it executes.",
            |s| executed_by_group(s, "prod", Some(&[])),
        ),
    ]
}

fn outcomes() -> Vec<Case> {
    vec![
        holds("valid-settlement", "An execution that stayed unknown is settled by a person.", |s| {
            let (run, proposal, decisions) = approved(s);
            let execution = s.execute(run, proposal, &decisions);
            s.report(run, execution, Status::Unknown);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), settlement(execution))
        }),
        breaks("R-OUT-01", "outcome-signer", &["Outcome"], "Another runtime reports the outcome.", |s| {
            let other = Actor::new("other-gate", Role::Runtime);
            s.enrol(&other, &[]);
            let (run, proposal, decisions) = approved(s);
            let execution = s.execute(run, proposal, &decisions);
            let body = s.outcome(execution, Status::Succeeded);
            s.ledger.sign(&other, Some(run), body)
        }),
        breaks("R-OUT-02", "outcome-changed", &["Outcome"], "A failure becomes a success.", |s| {
            let (run, proposal, decisions) = approved(s);
            let execution = s.execute(run, proposal, &decisions);
            s.report(run, execution, Status::Failed);
            let body = s.outcome(execution, Status::Succeeded);
            s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
        }),
        breaks(
            "R-OUT-02",
            "outcome-after-settlement",
            &["Outcome"],
            "The runtime contradicts a settlement.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let execution = s.execute(run, proposal, &decisions);
                s.report(run, execution, Status::Unknown);
                s.ledger.add(&s.cast.ana.clone(), Some(run), settlement(execution));
                let body = s.outcome(execution, Status::Succeeded);
                s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
            },
        ),
        breaks(
            "R-OUT-02",
            "outcome-unknown-twice",
            &["Outcome"],
            "A second outcome that says that nothing is known.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let execution = s.execute(run, proposal, &decisions);
                s.report(run, execution, Status::Unknown);
                let body = s.outcome(execution, Status::Unknown);
                s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
            },
        ),
        breaks("R-SET-01", "settlement-of-a-known", &["Outcome"], "A person settles what succeeded.", |s| {
            let (run, proposal, decisions) = approved(s);
            let execution = s.execute(run, proposal, &decisions);
            s.report(run, execution, Status::Succeeded);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), settlement(execution))
        }),
    ]
}

fn glass() -> Option<BreakGlass> {
    Some(BreakGlass { reason: text("The site is down.") })
}

/// The policy allows break-glass, and `gate` takes this use.
fn broken_glass(s: &mut Scenario, use_number: u64) -> UnverifiedRecord {
    let mut document = policy_document(2);
    document["break_glass"] = json!(true);
    s.set_policy(document);
    let (run, proposal) = proposed(s);
    executed(s, run, proposal, &[], |body| {
        body.break_glass = glass();
        body.use_number = Whole::new(use_number).expect("a use");
    })
}

/// Somebody rejects before there is a policy; then there is one, two others approve, and `gate` executes.
fn executed_after_early_rejection(s: &mut Scenario, by: &Actor) -> UnverifiedRecord {
    *s = Scenario::founded(|_| {});
    s.enrol_cast();
    if s.ledger.state().key(&by.key()).is_none() {
        s.enrol(by, &["guests"]);
    }
    let (run, proposal) = proposed(s);
    // A decision names a policy. This one names what will be in force.
    let mut later = s.clone();
    later.set_policy(policy_document(2));
    let mut rejection = later.decision(run, proposal, Ruling::Reject);
    if by.role == Role::Policy {
        (rejection.approver, rejection.surface) = (Some(s.cast.bo.principal.clone()), Surface::Link);
    }
    s.ledger.add(by, Some(run), rejection);
    s.set_policy(policy_document(2));
    s.ledger.close();
    quorum_with(s, run, proposal, &s.cast.bo.clone())
}

/// A proposal for a group is approved, the groups of `gate` may change, and `gate` executes.
fn executed_by_group(s: &mut Scenario, group: &str, later: Option<&[&str]>) -> UnverifiedRecord {
    let run = s.trigger();
    let mut body = s.proposal(action("db.vacuum", json!({"full": false})));
    body.audience = Audience::Group(name(group));
    let proposal = s.ledger.add(&s.cast.scout.clone(), Some(run), body);
    s.ledger.close();
    let decisions = s.approve(run, proposal);
    if let Some(groups) = later {
        s.enrol(&s.cast.gate.with_key(1), groups);
    }
    executed(s, run, proposal, &decisions, |_| {})
}
