//! What a gate does besides running what was approved once: it heeds what no log has, tries again what nobody knows the end of, and
//! breaks the glass where the policy lets it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::path::Path;

use counterfoil_gate::{Attempt, Done, Effect, Ended, GateError, Idempotent, Refusal, is_stop};
use counterfoil_receipt::{
    Action, Body, RecordId, Role, RunId, Type, UnverifiedRecord,
    body::{Cancel, Revocation, RevocationTarget, Ruling, Status},
};
use counterfoil_testkit::{Actor, Scenario, text};
use fake::{FakeLog, Lie, Witness, succeeded};
use serde_json::{Value, json};

/// One request for the proposal of a log.
fn request(log: &FakeLog, dir: &Path, effect: &mut dyn Effect) -> Ended {
    let (run, proposal, action) = ask(log);
    let gate = log.gate(dir);
    gate.settle_open().unwrap();
    gate.run(run, proposal, &action, effect).unwrap()
}

fn ask(log: &FakeLog) -> (RunId, RecordId, Action) {
    log.world(|world| (world.run, world.proposal, world.action.clone()))
}

fn never(_: &Action, _: &Attempt) -> Done {
    panic!("it ran")
}

#[track_caller]
fn refused(ended: Ended, code: &str) -> Refusal {
    match ended {
        Ended::Refused { refusal, .. } | Ended::NotRun { refusal, .. } if refusal.code == code => refusal,
        other => panic!("not refused as {code}: {other:?}"),
    }
}

/// A record that somebody signed and no log has.
fn unlogged(
    log: &FakeLog,
    make: impl FnOnce(&mut Scenario, RunId, RecordId) -> UnverifiedRecord,
) -> UnverifiedRecord {
    log.world(|world| make(&mut world.scenario, world.run, world.proposal))
}

type Make = Box<dyn FnOnce(&mut Scenario, RunId, RecordId) -> UnverifiedRecord>;

fn rejection(by: fn(&Scenario) -> Actor) -> Make {
    Box::new(move |scenario, run, proposal| {
        let by = by(scenario);
        let body = scenario.decision(run, proposal, Ruling::Reject);
        scenario.ledger.sign(&by, Some(run), body)
    })
}

fn cancel(by: fn(&Scenario) -> Actor) -> Make {
    Box::new(move |scenario, run, target| {
        let by = by(scenario);
        scenario.ledger.sign(&by, Some(run), Cancel { reason: None, target })
    })
}

fn revocation(scenario: &mut Scenario, _: RunId, _: RecordId) -> UnverifiedRecord {
    let (root, key) = (scenario.cast.root.clone(), scenario.cast.ana.key());
    let body = Revocation { distrust_from: None, reason: None, target: RevocationTarget::Key(key) };
    scenario.ledger.sign(&root, None, body)
}

#[test]
fn a_signed_reject_cancel_or_revocation_stops_a_gate_that_holds_it_and_no_log_has() {
    let stops: [(Make, &str); 3] = [
        (rejection(|it| it.cast.bo.clone()), "proposal-ended"),
        (cancel(|it| it.cast.scout.clone()), "proposal-ended"),
        (Box::new(revocation), "held"),
    ];
    for (make, code) in stops {
        let log = FakeLog::approved();
        let stop = unlogged(&log, make);
        let dir = tempfile::tempdir().unwrap();
        log.gate(dir.path()).heed(&stop).unwrap();
        // By another process, too.
        match (request(&log, dir.path(), &mut never), code) {
            // With one approver gone there is no quorum, until somebody else approves.
            (Ended::Held(why), "held") => assert!(why.contains("1 of 2"), "{why}"),
            // It was said to stand in the log, at an entry that there is not.
            (ended, code) => {
                let why = refused(ended, code).detail;
                assert!(
                    why.contains(&stop.id().to_string()) && why.contains("the log does not have"),
                    "{why}"
                );
                assert!(!why.contains("entry"), "{why}");
            }
        }
        assert_eq!(log.records(Type::Execution), []);
    }
}

#[test]
fn a_stop_of_somebody_who_may_not_say_it_stops_nothing() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    let stranger = |it: &Scenario| it.cast.ana.clone();
    for stop in [
        unlogged(&log, cancel(stranger)),
        unlogged(&log, rejection(|it| it.cast.gate.claiming_role(Role::Human))),
    ] {
        assert!(is_stop(&stop));
        log.gate(dir.path()).heed(&stop).unwrap();
    }
    let ended = request(&log, dir.path(), &mut |_: &Action, _: &Attempt| succeeded());
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
}

#[test]
fn an_approval_that_no_log_has_lets_nothing_pass() {
    let log = FakeLog::new(Scenario::new(), |_, _, _| {});
    let dir = tempfile::tempdir().unwrap();
    for by in [|it: &Scenario| it.cast.ana.clone(), |it: &Scenario| it.cast.bo.clone()] {
        let approval = unlogged(&log, |scenario, run, proposal| {
            let by = by(scenario);
            let body = scenario.decision(run, proposal, Ruling::Approve);
            scenario.ledger.sign(&by, Some(run), body)
        });
        assert!(!is_stop(&approval));
        log.gate(dir.path()).heed(&approval).unwrap();
    }
    assert!(matches!(request(&log, dir.path(), &mut never), Ended::Held(_)));
}

#[test]
fn what_may_be_a_stop_stops_until_it_is_shown_whether_it_is() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    // Nothing of the run shows whose key this is.
    let stop = unlogged(&log, rejection(|_| Actor::new("cy", Role::Human)));
    log.gate(dir.path()).heed(&stop).unwrap();
    refused(request(&log, dir.path(), &mut never), "stop-in-doubt");
}

#[test]
fn a_revocation_that_disputes_who_proposed_it_stops_it_though_no_rule_of_an_execution_asks() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    let stop = unlogged(&log, |scenario, _, _| {
        let (root, key) = (scenario.cast.root.clone(), scenario.cast.scout.key());
        let from = counterfoil_receipt::field::Whole::new(1);
        let body = Revocation { distrust_from: from, reason: None, target: RevocationTarget::Key(key) };
        scenario.ledger.sign(&root, None, body)
    });
    log.gate(dir.path()).heed(&stop).unwrap();
    refused(request(&log, dir.path(), &mut never), "key-distrusted");
}

#[test]
fn a_reject_counts_though_its_signer_was_revoked_since_by_a_clock_that_is_slow() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    let revocation = unlogged(&log, |scenario, _, _| {
        let (root, key) = (scenario.cast.root.clone(), scenario.cast.bo.key());
        let body = Revocation { distrust_from: None, reason: None, target: RevocationTarget::Key(key) };
        scenario.ledger.sign(&root, None, body)
    });
    log.world(|world| world.scenario.ledger.wait(10));
    let reject = unlogged(&log, rejection(|it| it.cast.bo.clone()));
    for stop in [&revocation, &reject] {
        log.gate(dir.path()).heed(stop).unwrap();
    }
    refused(request(&log, dir.path(), &mut never), "proposal-ended");
}

#[test]
fn an_action_that_was_allowed_as_a_preview_was_done() {
    let mut action = counterfoil_testkit::action("db.vacuum", json!({"full": true}));
    action.mode = counterfoil_receipt::action::Mode::Preview;
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    let run = log.world(|world| world.run);
    let proposal = log.world(|world| {
        let proposal = world.scenario.propose(run, action.clone());
        world.scenario.approve(run, proposal);
        proposal
    });
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    refused(gate.run(run, proposal, &action, &mut never).unwrap(), "preview-unsupported");
}

#[test]
fn a_gate_of_another_runtime_leaves_what_it_can_not_report() {
    let (log, dir) = (FakeLog::lying(Lie::GoneAfter), tempfile::tempdir().unwrap());
    let (run, proposal, action) = ask(&log);
    let own = log.gate(dir.path());
    own.settle_open().unwrap();
    own.run(run, proposal, &action, &mut never).unwrap_err();
    drop(own);
    log.world(|world| world.reachable = true);
    let other = Actor::new("other-gate", Role::Runtime);
    log.world(|world| world.scenario.enrol(&other, &["prod"]));
    assert_eq!(log.gate_of(&other, dir.path()).settle_open().unwrap(), []);
    assert!(matches!(
        log.gate(dir.path()).settle_open().unwrap()[..],
        [counterfoil_gate::Settled::Recorded { .. }]
    ));
}

#[test]
fn what_stops_another_proposal_leaves_this_one_alone() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    for make in [rejection as fn(fn(&Scenario) -> Actor) -> Make, cancel] {
        let stop = unlogged(&log, |scenario, _, _| {
            let run = scenario.trigger();
            let other =
                scenario.propose(run, counterfoil_testkit::action("db.vacuum", json!({"full": true})));
            make(|_| Actor::new("cy", Role::Human))(scenario, run, other)
        });
        log.gate(dir.path()).heed(&stop).unwrap();
    }
    let ended = request(&log, dir.path(), &mut |_: &Action, _: &Attempt| succeeded());
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
}

#[test]
fn a_file_of_stops_that_can_not_be_read_lets_nothing_pass() {
    let log = FakeLog::approved();
    let dir = tempfile::tempdir().unwrap();
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    std::fs::write(dir.path().join("stops/from-ana.json"), "{").unwrap();
    let (run, proposal, action) = ask(&log);
    assert!(matches!(gate.run(run, proposal, &action, &mut never), Err(GateError::Open(_))));
}

#[test]
fn a_stop_that_arrives_while_the_execution_is_logged_is_heeded() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let stop = unlogged(&log, rejection(|it| it.cast.ana.clone()));
    // The log hands it over in place of its answer.
    let path = dir.path().join("stops/late.json");
    log.world(|world| world.on_submit = Some(Box::new(move || std::fs::write(&path, stop.bytes()).unwrap())));
    let ended = request(&log, dir.path(), &mut never);
    assert!(matches!(&ended, Ended::NotRun { .. }), "{ended:?}");
    refused(ended, "proposal-ended");
}

/// A policy of one approver with these members besides.
fn policy(more: Value) -> Value {
    let mut rule = json!({"effect": "require", "match": {"tool": "*"}, "name": "all", "requirements": [{"count": 1, "groups": ["sre"]}],
        "segregation": true, "uses": 1, "window": counterfoil_testkit::WINDOW});
    for (name, value) in more.as_object().unwrap() {
        rule[name] = value.clone();
    }
    json!({"language": "counterfoil-policy/1", "rules": [rule]})
}

fn with_policy(more: Value) -> FakeLog {
    FakeLog::new(Scenario::under(policy(more)), |scenario, run, proposal| {
        let ana = scenario.cast.ana.clone();
        scenario.decide(run, proposal, &ana, Ruling::Approve);
        scenario.ledger.close();
    })
}

/// One request that failed while witnesses were waited for spent the use.
#[test]
fn witnesses_are_waited_for_before_and_after_the_execution_also_where_the_log_does_not_answer_meanwhile() {
    use Witness::{Cosigns, Late, Silent};
    let (log, dir) = (with_policy(json!({"evidence": ["witnessed"]})), tempfile::tempdir().unwrap());
    log.world(|world| world.witness = Some([Silent, Late, Cosigns, Late, Silent, Cosigns].into()));
    let mut effects = 0;
    let ended = request(&log, dir.path(), &mut |_: &Action, _: &Attempt| {
        effects += 1;
        succeeded()
    });
    assert!(matches!(ended, Ended::Ran(_)) && effects == 1, "{ended:?}");
    assert_eq!(log.world(|world| world.witness.take()), Some([].into()), "no less was waited for");
}

fn lost(_: &Action, _: &Attempt) -> Done {
    Done::unknown("the line went dead")
}

#[test]
fn an_idempotent_effect_is_tried_again_under_the_same_key_as_often_as_the_policy_lets_it() {
    let (log, dir) = (with_policy(json!({"retries": 2})), tempfile::tempdir().unwrap());
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let mut effect = Idempotent(|_: &Action, attempt: &Attempt| {
            attempts.push(*attempt);
            Done::unknown("the line went dead")
        });
        assert!(matches!(request(&log, dir.path(), &mut effect), Ended::Ran(_)));
    }
    refused(request(&log, dir.path(), &mut Idempotent(never)), "outcome-unknown");
    let executions: Vec<RecordId> = log.records(Type::Execution).iter().map(UnverifiedRecord::id).collect();
    let known: Vec<Attempt> =
        executions.iter().map(|id| Attempt { execution: *id, idempotency_key: executions[0] }).collect();
    assert_eq!(attempts, known);
    let retries: Vec<_> = log
        .records(Type::Execution)
        .iter()
        .map(|record| match record.body() {
            Body::Execution(body) => (body.use_number.get(), body.retries),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(retries, [(1, None), (1, Some(executions[0])), (1, Some(executions[1]))]);
}

#[test]
fn what_is_not_idempotent_or_may_not_be_retried_or_is_known_is_not_tried_again() {
    let dir = || tempfile::tempdir().unwrap();
    let (log, dir_of_plain) = (with_policy(json!({"retries": 2})), dir());
    request(&log, dir_of_plain.path(), &mut lost);
    refused(request(&log, dir_of_plain.path(), &mut never), "outcome-unknown");

    let (log, dir_without) = (with_policy(json!({})), dir());
    request(&log, dir_without.path(), &mut Idempotent(lost));
    refused(request(&log, dir_without.path(), &mut Idempotent(never)), "outcome-unknown");

    for status in [Status::Succeeded, Status::Failed] {
        let (log, dir) = (with_policy(json!({"retries": 2})), dir());
        request(&log, dir.path(), &mut Idempotent(|_: &Action, _: &Attempt| Done { status, ..succeeded() }));
        refused(request(&log, dir.path(), &mut Idempotent(never)), "use-exceeded");
    }
}

#[test]
fn another_runtime_does_not_try_again_what_this_one_began() {
    let mut scenario = Scenario::under(policy(json!({"retries": 2})));
    let other = Actor::new("other-gate", Role::Runtime);
    scenario.enrol(&other, &["prod"]);
    let log = FakeLog::new(scenario, |scenario, run, proposal| {
        let ana = scenario.cast.ana.clone();
        scenario.decide(run, proposal, &ana, Ruling::Approve);
        scenario.ledger.close();
    });
    let dir = tempfile::tempdir().unwrap();
    request(&log, dir.path(), &mut Idempotent(lost));
    let (run, proposal, action) = ask(&log);
    let others = tempfile::tempdir().unwrap();
    let gate = log.gate_of(&other, others.path());
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut Idempotent(never)).unwrap();
    assert!(matches!(ended, Ended::Refused { .. }), "{ended:?}");
}

#[test]
fn a_killed_gate_tries_an_idempotent_effect_again_only_after_it_recorded_that_nobody_knows() {
    let (log, dir) = (with_policy(json!({"retries": 1})), tempfile::tempdir().unwrap());
    log.world(|world| world.lie = Lie::GoneAfter);
    let (run, proposal, action) = ask(&log);
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    gate.run(run, proposal, &action, &mut Idempotent(never)).unwrap_err();
    drop(gate);
    // As if it was killed before it noted anything.
    let notes = dir.path().join("0/notes");
    let said = std::fs::read_to_string(&notes).unwrap();
    std::fs::write(notes, &said[..said.find("\nended ").unwrap() + 1]).unwrap();
    log.world(|world| world.reachable = true);
    let mut effects = 0;
    let ended = request(
        &log,
        dir.path(),
        &mut Idempotent(|_: &Action, attempt: &Attempt| {
            effects += 1;
            assert_ne!(attempt.execution, attempt.idempotency_key);
            succeeded()
        }),
    );
    assert!(matches!(ended, Ended::Ran(_)) && effects == 1, "{ended:?}");
    let statuses: Vec<Status> = log.outcomes().iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [Status::Unknown, Status::Succeeded]);
}

#[test]
fn the_glass_is_broken_only_where_the_policy_lets_it_and_says_why() {
    let unapproved = |more| FakeLog::new(Scenario::under(policy(more)), |_, _, _| {});
    let break_glass = |log: &FakeLog, effect: &mut dyn Effect| {
        let dir = tempfile::tempdir().unwrap();
        let (run, proposal, action) = ask(log);
        let gate = log.gate(dir.path());
        gate.settle_open().unwrap();
        gate.break_glass(run, proposal, &action, effect, text("The disk is full.")).unwrap()
    };
    let log = unapproved(json!({"break_glass": true}));
    assert!(matches!(break_glass(&log, &mut |_: &Action, _: &Attempt| succeeded()), Ended::Ran(_)));
    let Body::Execution(body) = log.records(Type::Execution)[0].body().clone() else { panic!() };
    assert_eq!((body.break_glass.unwrap().reason.as_str(), body.decisions.len()), ("The disk is full.", 0));
    refused(break_glass(&log, &mut never), "use-exceeded");

    refused(break_glass(&unapproved(json!({})), &mut never), "break-glass-refused");
    // A reject stands all the same.
    let log = unapproved(json!({"break_glass": true}));
    log.world(|world| {
        let ana = world.scenario.cast.ana.clone();
        world.scenario.decide(world.run, world.proposal, &ana, Ruling::Reject);
    });
    refused(break_glass(&log, &mut never), "proposal-ended");
}

#[test]
fn what_was_approved_needs_no_broken_glass() {
    let (log, dir) = (with_policy(json!({"break_glass": true})), tempfile::tempdir().unwrap());
    let (run, proposal, action) = ask(&log);
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let mut effect = |_: &Action, _: &Attempt| succeeded();
    gate.break_glass(run, proposal, &action, &mut effect, text("In a hurry.")).unwrap();
    let Body::Execution(body) = log.records(Type::Execution)[0].body().clone() else { panic!() };
    assert!(body.break_glass.is_none() && body.decisions.len() == 1);
}

/// An effect that builds on something.
struct Presuming(Result<(), Refusal>);

impl Effect for Presuming {
    fn run(&mut self, _: &Action, _: &Attempt) -> Done {
        assert!(self.0.is_ok(), "it ran");
        succeeded()
    }

    fn check(&mut self, _: &Action) -> Result<(), Refusal> {
        self.0.clone()
    }
}

#[test]
fn what_no_longer_holds_is_refused_before_anything_is_logged() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let refusal = Refusal { code: "precondition-failed".to_owned(), detail: "head moved".to_owned() };
    refused(request(&log, dir.path(), &mut Presuming(Err(refusal))), "precondition-failed");
    assert_eq!(log.records(Type::Execution), []);
    assert!(matches!(request(&log, dir.path(), &mut Presuming(Ok(()))), Ended::Ran(_)));
}

#[test]
fn an_effect_that_can_not_check_a_precondition_does_not_run() {
    let mut action = counterfoil_testkit::action("db.vacuum", json!({"full": true}));
    assert_eq!(never.check(&action), Ok(()));
    action.precondition = Some(counterfoil_receipt::action::Json::from_value(&json!({"rows": 3})).unwrap());
    assert_eq!(never.check(&action).unwrap_err().code, "precondition-unchecked");
}
