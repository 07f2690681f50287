//! What may be done: proposals, decisions, executions, outcomes.

use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    action::{Json, Mode},
    body::{
        BreakGlass, Cancel, Decision, Effects, Execution, Revocation, RevocationTarget, Ruling, Settlement,
        Status,
    },
    field::{Set, Whole},
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, pointer, policy_document, text};
use serde_json::json;

use super::{Case, breaks, holds};

pub fn cases() -> Vec<Case> {
    let mut cases = proposals();
    cases.extend(executions());
    cases.extend(quorums());
    cases.extend(outcomes());
    cases
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
                s.ledger.add(&s.cast.scout.clone(), Some(run), Cancel { reason: None, target: proposal });
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
        holds("valid-late-rejection", "A rejection after the execution is logged, and has no effect.", |s| {
            let (run, proposal, decisions) = approved(s);
            s.execute(run, proposal, &decisions);
            let body = s.decision(run, proposal, Ruling::Reject);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), body)
        }),
        holds("valid-break-glass", "The policy allows break-glass, and the runtime says why.", |s| {
            let mut document = policy_document(2);
            document["break_glass"] = json!(true);
            s.set_policy(document);
            let (run, proposal) = proposed(s);
            executed(s, run, proposal, &[], |body| body.break_glass = glass())
        }),
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
                s.ledger.add(&s.cast.scout.clone(), Some(run), Cancel { reason: None, target: proposal });
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
        breaks("R-EXEC-10", "audience-mismatch", &["AudienceConfusion"], "Another runtime executes.", |s| {
            let other = Actor::new("other-gate", Role::Runtime);
            s.enrol(&other, &[]);
            let (run, proposal, decisions) = approved(s);
            let body = s.execution(run, proposal, &decisions);
            s.ledger.sign(&other, Some(run), body)
        }),
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
        breaks(
            "R-EXEC-14",
            "retry-refused",
            &["BreakGlass", "DoubleExecution"],
            "An execution that stayed unknown is tried again.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| body.uses = Whole::new(2));
                let first = s.execute(run, proposal, &decisions);
                s.report(run, first, Status::Unknown);
                s.ledger.close();
                executed(s, run, proposal, &decisions, |body| {
                    body.use_number = Whole::new(2).expect("a use");
                    body.retries = Some(first);
                })
            },
        ),
    ]
}

fn quorums() -> Vec<Case> {
    vec![
        breaks(
            "R-EXEC-05",
            "approval-of-another",
            &["SwappedAction"],
            "The approvals are about another proposal of the run.",
            |s| {
                let (run, _, decisions) = approved(s);
                let other = s.propose(run, action("db.vacuum", json!({"full": false})));
                executed(s, run, other, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-05",
            "approval-withdrawn",
            &["CancelAbuse"],
            "One of the approvals was withdrawn.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.add(&s.cast.ana.clone(), Some(run), Cancel { reason: None, target: decisions[0] });
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-05",
            "rejection-by-nobody",
            &["QuorumInflation"],
            "One of the decisions is a rejection, by somebody whose word ends nothing.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                let (run, proposal, mut decisions) = approved(s);
                decisions.push(s.decide(run, proposal, &eve, Ruling::Reject));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-one",
            &["QuorumInflation"],
            "One approval where the policy wants two.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                executed(s, run, proposal, &decisions[..1], |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-one-person",
            &["QuorumInflation"],
            "Two approvals by one person.",
            |s| {
                let (run, proposal) = proposed(s);
                let ana = s.cast.ana.clone();
                let decisions = [(); 2].map(|()| s.decide(run, proposal, &ana, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-two-keys",
            &["QuorumInflation", "KeyReuse"],
            "Two approvals by two keys of one person.",
            |s| {
                let second = s.cast.ana.with_key(1);
                s.enrol(&second, &["sre"]);
                let (run, proposal) = proposed(s);
                let decisions =
                    [s.cast.ana.clone(), second].map(|key| s.decide(run, proposal, &key, Ruling::Approve));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-outsiders",
            &["QuorumInflation"],
            "The second approver belongs to another group.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                quorum_with(s, &eve)
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-of-machines",
            &["QuorumInflation", "RoleConfusion"],
            "The second approver is a policy engine.",
            |s| {
                let engine = s.cast.engine.clone();
                quorum_with(s, &engine)
            },
        ),
        breaks(
            "R-EXEC-06",
            "quorum-joined-later",
            &["QuorumInflation", "KeyLifecycle"],
            "The second approver joined the group after they approved.",
            |s| {
                let eve = Actor::new("eve", Role::Human);
                s.enrol(&eve, &["guests"]);
                let (run, proposal) = proposed(s);
                let decisions = [s.cast.ana.clone(), eve.clone()]
                    .map(|human| s.decide(run, proposal, &human, Ruling::Approve));
                s.enrol(&eve.with_key(1), &["guests", "sre"]);
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-proposer",
            &["SelfApproval"],
            "The proposer approves, with a human key of its principal.",
            |s| {
                let human = Actor::new("scout", Role::Human);
                s.enrol(&human, &["sre"]);
                quorum_with(s, &human)
            },
        ),
        breaks(
            "R-EXEC-07",
            "segregation-runtime",
            &["SelfApproval"],
            "The runtime approves, with a human key of its principal.",
            |s| {
                let human = Actor::new("gate", Role::Human);
                s.enrol(&human, &["prod", "sre"]);
                quorum_with(s, &human)
            },
        ),
        breaks(
            "R-EXEC-08",
            "window-over",
            &["ExpiredApproval"],
            "The runtime starts after the window.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.ledger.wait(WINDOW);
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-08",
            "window-not-open",
            &["ExpiredApproval"],
            "The runtime starts before the window.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| {
                    let window = body.window.as_mut().expect("a window");
                    window.from = Whole::new(window.until.get() - 1).expect("a time");
                });
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-09",
            "policy-of-another-decision",
            &["PolicyConfusion"],
            "The approvals name a policy that was in force before.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                s.set_policy(policy_document(1));
                s.ledger.close();
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-11",
            "approval-revoked",
            &["KeyLifecycle"],
            "An approver's key was revoked after they approved.",
            |s| {
                let (run, proposal, decisions) = approved(s);
                let target = RevocationTarget::Key(s.cast.bo.key());
                s.ledger.add(
                    &s.cast.bo.clone(),
                    None,
                    Revocation { distrust_from: None, reason: None, target },
                );
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "terms-window",
            &["DecisionTerms", "PolicyConfusion"],
            "The approvals last longer than the policy lets them.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| {
                    let window = body.window.as_mut().expect("a window");
                    window.until = Whole::new(window.until.get() + 1).expect("a time");
                });
                executed(s, run, proposal, &decisions, |_| {})
            },
        ),
        breaks(
            "R-EXEC-12",
            "terms-uses",
            &["DecisionTerms", "DoubleExecution"],
            "The approvals grant more uses than the policy lets them.",
            |s| {
                let (run, proposal, decisions) = approved_for(s, |body| body.uses = Whole::new(3));
                executed(s, run, proposal, &decisions, |_| {})
            },
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
        breaks("R-SET-01", "settlement-of-a-known", &["Outcome"], "A person settles what succeeded.", |s| {
            let (run, proposal, decisions) = approved(s);
            let execution = s.execute(run, proposal, &decisions);
            s.report(run, execution, Status::Succeeded);
            s.ledger.sign(&s.cast.ana.clone(), Some(run), settlement(execution))
        }),
    ]
}

fn proposed(s: &mut Scenario) -> (RunId, RecordId) {
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    (run, proposal)
}

fn approved(s: &mut Scenario) -> (RunId, RecordId, Vec<RecordId>) {
    let (run, proposal) = proposed(s);
    let decisions = s.approve(run, proposal);
    (run, proposal, decisions)
}

/// Ana and Bo approve on these terms.
fn approved_for(s: &mut Scenario, terms: impl Fn(&mut Decision)) -> (RunId, RecordId, Vec<RecordId>) {
    let (run, proposal) = proposed(s);
    let decisions = [s.cast.ana.clone(), s.cast.bo.clone()].map(|human| {
        let mut body = s.decision(run, proposal, Ruling::Approve);
        terms(&mut body);
        s.ledger.add(&human, Some(run), body)
    });
    s.ledger.close();
    (run, proposal, decisions.to_vec())
}

fn quorum_with(s: &mut Scenario, second: &Actor) -> UnverifiedRecord {
    let (run, proposal) = proposed(s);
    let decisions =
        [s.cast.ana.clone(), second.clone()].map(|actor| s.decide(run, proposal, &actor, Ruling::Approve));
    s.ledger.close();
    executed(s, run, proposal, &decisions, |_| {})
}

fn executed(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    decisions: &[RecordId],
    change: impl FnOnce(&mut Execution),
) -> UnverifiedRecord {
    let mut body = s.execution(run, proposal, decisions);
    change(&mut body);
    s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
}

fn changed(s: &mut Scenario, change: impl FnOnce(&mut Execution)) -> UnverifiedRecord {
    let (run, proposal, decisions) = approved(s);
    executed(s, run, proposal, &decisions, change)
}

fn revision(s: &mut Scenario, run: RunId, of: RecordId) -> UnverifiedRecord {
    let mut body = s.proposal(action("db.vacuum", json!({"full": false, "tables": ["orders"]})));
    body.supersedes = Some(of);
    s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
}

fn settlement(execution: RecordId) -> Settlement {
    Settlement { effects: Effects::None, evidence: None, execution, reason: None, status: Status::Failed }
}

fn glass() -> Option<BreakGlass> {
    Some(BreakGlass { reason: text("The site is down.") })
}
