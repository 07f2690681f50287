//! Runs that begin with their execution, because the policy allows the action: nothing happens that the log does not show, wherever the
//! gate or the log stops.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fake;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::Duration,
};

use counterfoil_gate::{Attempt, Begun, Ended, Gate, GateError, LogError, Ran, Settled};
use counterfoil_receipt::{
    Action, Body, Place, RecordId, RunId, Type, UnverifiedRecord,
    body::{Effects, Status},
};
use counterfoil_testkit::{Scenario, trigger_body};
use fake::{FakeLog, Killed, Lie, succeeded};
use serde_json::{Value, json};

/// A log under a policy that allows what is asked for.
fn allowing(lie: Lie) -> FakeLog {
    let mut scenario = Scenario::new();
    set_rules(
        &mut scenario,
        json!([{"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1}]),
    );
    let log = FakeLog::new(scenario, |_, _, _| {});
    log.world(|world| world.lie = lie);
    log
}

fn set_rules(scenario: &mut Scenario, rules: Value) {
    scenario.set_policy(json!({"language": "counterfoil-policy/1", "rules": rules}));
    scenario.ledger.close();
}

/// A gate that was shown something of this log.
fn gate(log: &FakeLog, dir: &Path) -> Gate<FakeLog> {
    let gate = log.gate(dir);
    gate.settle_open().unwrap();
    let other = log.world(|world| world.other_run);
    let refusal = gate.run(other, RecordId::from_bytes([0; 32]), &action(log), &mut never).unwrap();
    assert!(matches!(refusal, Ended::Refused { .. }), "{refusal:?}");
    gate
}

fn action(log: &FakeLog) -> Action {
    log.world(|world| world.action.clone())
}

fn never(_: &Action, _: &Attempt) -> counterfoil_gate::Done {
    panic!("ran")
}

/// Trigger and proposal of a run that is not in the log.
fn begun(log: &FakeLog) -> (Begun, RunId, RecordId) {
    begun_with(log, |proposal| proposal)
}

/// The same with something else in the place of the proposal.
fn begun_with(
    log: &FakeLog,
    change: impl FnOnce(UnverifiedRecord) -> UnverifiedRecord,
) -> (Begun, RunId, RecordId) {
    log.world(|world| {
        let scenario = &mut world.scenario;
        let scout = scenario.cast.scout.clone();
        let event = format!("begins at {}", scenario.ledger.size());
        let trigger = scenario.ledger.sign(&scout, None, trigger_body(&scout, &event));
        let run = RunId::started_by(trigger.id());
        let body = scenario.proposal(world.action.clone());
        let mut draft = scenario.ledger.draft(&scout, Some(run), body);
        draft.place = Place::Run { log: scenario.ledger.log(), run, parents: vec![trigger.id()] };
        let proposal = change(draft.sign(scout.signer()).unwrap());
        // What the log does wrong it does with this one.
        (world.run, world.proposal) = (run, proposal.id());
        let id = proposal.id();
        (Begun::new(trigger, proposal, Vec::new()), run, id)
    })
}

/// Has a run begin; how it ended, and how often the effect ran.
fn begin(log: &FakeLog, gate: &Gate<FakeLog>) -> (Result<Ended, GateError>, u32) {
    run_begun(log, gate, begun(log))
}

fn run_begun(
    log: &FakeLog,
    gate: &Gate<FakeLog>,
    (begun, run, proposal): (Begun, RunId, RecordId),
) -> (Result<Ended, GateError>, u32) {
    let mut effects = 0;
    let mut effect = |_: &Action, _: &Attempt| {
        effects += 1;
        succeeded()
    };
    let ended = gate.run_soon(run, proposal, &action(log), &mut effect, Some(&begun));
    gate.log_outcomes();
    (ended, effects)
}

/// Size of the basis of the last execution, and where its proposal stands.
fn basis_and_proposal(log: &FakeLog) -> (u64, u64) {
    let last = log.records(Type::Execution).pop().unwrap();
    let Body::Execution(body) = last.body() else { unreachable!() };
    let at = log.world(|world| world.scenario.ledger.state().index_of(&body.proposal).unwrap());
    (body.basis.size.get(), at)
}

#[test]
fn what_the_policy_allows_begins_with_its_execution() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let gate = gate(&log, dir.path());
    for _ in 0..3 {
        let (ended, effects) = begin(&log, &gate);
        assert!(matches!(ended, Ok(Ended::Ran(Ran { outcome: Some(_), .. }))) && effects == 1, "{ended:?}");
        let (basis, proposal) = basis_and_proposal(&log);
        assert!(basis <= proposal, "{basis} {proposal}: it was decided before it was proposed");
    }
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete); 3]);
}

/// Its signature is not checked before it is submitted, because whoever has a run begin has signed it.
#[test]
fn a_proposal_whose_signature_does_not_verify_runs_nothing_even_if_the_log_admits_it() {
    let forged = |proposal: UnverifiedRecord| {
        let mut bytes = proposal.bytes().to_vec();
        let at = proposal.bytes().windows(7).position(|window| window == br#""sig":""#).unwrap() + 20;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        UnverifiedRecord::parse(&bytes).unwrap()
    };
    for lie in [Lie::Honest, Lie::AdmitsAnything] {
        let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
        let gate = gate(&log, dir.path());
        log.world(|world| world.lie = lie);
        let (ended, effects) = run_begun(&log, &gate, begun_with(&log, forged));
        assert_eq!(effects, 0, "{lie:?}: {ended:?}");
        match lie {
            Lie::Honest => assert!(matches!(ended, Err(GateError::NotProposed(_))), "{ended:?}"),
            _ => assert!(matches!(ended, Ok(Ended::NotRun { .. })), "{ended:?}"),
        }
    }
}

#[test]
fn an_outcome_that_the_log_does_not_take_holds_up_no_other() {
    let silent = LogError::Unknown("no answer".to_owned());
    for (error, is_tried_again) in
        [(LogError::Rejected { code: "log-limit".to_owned() }, false), (silent, true)]
    {
        let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
        let gate = gate(&log, dir.path());
        for first in [true, false, false] {
            let (begun, run, proposal) = begun(&log);
            let mut effect = |_: &Action, _: &Attempt| succeeded();
            let ended = gate.run_soon(run, proposal, &action(&log), &mut effect, Some(&begun));
            let Ok(Ended::Ran(ran)) = ended else { panic!("{ended:?}") };
            if first {
                log.world(|world| world.outcomes_of = Some((ran.execution, error.clone())));
            }
        }
        for _ in 0..2 {
            assert_eq!((gate.log_outcomes(), log.outcomes().len()), (!is_tried_again, 2), "{error}");
        }
        log.world(|world| world.outcomes_of = None);
        assert!(gate.log_outcomes(), "{error}");
        let logged = 2 + usize::from(is_tried_again);
        assert_eq!(log.outcomes().len(), logged, "{error}");
        // What was noted stays.
        drop(gate);
        log.gate(dir.path()).settle_open().unwrap();
        assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete); 3], "{error}");
    }
}

#[test]
fn a_gate_that_was_shown_nothing_yet_proposes_first() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let (ended, effects) = begin(&log, &gate);
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "{ended:?}");
    let (basis, proposal) = basis_and_proposal(&log);
    assert!(basis > proposal, "{basis} {proposal}");
}

#[test]
fn what_was_shown_a_while_ago_is_asked_again() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let gate = gate(&log, dir.path());
    thread::sleep(Duration::from_millis(5_100));
    let size = log.world(|world| {
        let rules = json!([{"effect": "allow", "match": {"always": true}, "name": "another", "uses": 2}]);
        set_rules(&mut world.scenario, rules);
        world.scenario.ledger.size()
    });
    let (ended, effects) = begin(&log, &gate);
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "{ended:?}");
    let (basis, proposal) = basis_and_proposal(&log);
    assert!(basis == size && basis <= proposal, "{basis} {proposal}: on the policy that is in force now");
}

#[test]
fn another_policy_since_then_is_heeded_and_the_proposal_stands() {
    for rules in [
        json!([{"effect": "deny", "match": {"always": true}, "name": "none"}]),
        json!([{"effect": "require", "match": {"always": true}, "name": "two", "requirements": [{"count": 2}], "segregation": true, "uses": 1,
            "window": 1_000}]),
    ] {
        let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
        let gate = gate(&log, dir.path());
        log.world(|world| set_rules(&mut world.scenario, rules.clone()));
        let (ended, effects) = begin(&log, &gate);
        let is_denied = rules[0]["effect"] == "deny";
        match ended {
            Ok(Ended::Refused { refusal, .. }) if is_denied => assert_eq!(refusal.code, "policy-denied"),
            Ok(Ended::Held(_)) if !is_denied => {}
            ended => panic!("{ended:?}"),
        }
        let (run, proposal) = log.world(|world| (world.run, world.proposal));
        let is_there = log.world(|world| {
            world.scenario.ledger.state().run(&run).is_some_and(|run| run.proposal(&proposal).is_some())
        });
        assert!(effects == 0 && is_there && log.records(Type::Execution).is_empty());
        assert_eq!(log.gate(dir.path()).settle_open().unwrap(), [], "nothing is open");
    }
}

#[test]
fn a_policy_that_was_replaced_and_came_back_since_then_is_looked_at_anew() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let gate = gate(&log, dir.path());
    let size = log.world(|world| {
        let allow = json!([{"effect": "allow", "match": {"always": true}, "name": "all", "uses": 1}]);
        let before = world.scenario.policy();
        set_rules(
            &mut world.scenario,
            json!([{"effect": "deny", "match": {"always": true}, "name": "none"}]),
        );
        set_rules(&mut world.scenario, allow);
        assert_eq!(world.scenario.policy(), before, "what the gate would name is in force");
        world.scenario.ledger.size()
    });
    let (ended, effects) = begin(&log, &gate);
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "{ended:?}");
    let (basis, proposal) = basis_and_proposal(&log);
    assert!(proposal >= size && basis > proposal, "{basis} {proposal}: decided on what covers the return");
    assert_eq!(log.records(Type::Execution).len(), 1, "the log took no other");
    drop(gate);
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), [], "nothing is open");
}

#[test]
fn no_lie_about_a_run_that_begins_makes_its_effect_run() {
    for (lie, code) in [
        (Lie::Drops, "execution-not-shown"),
        (Lie::SecondExecution, "use-consumed"),
        (Lie::RejectBefore, "proposal-ended"),
        (Lie::CancelBefore, "proposal-ended"),
        (Lie::ShowsAnotherRun, "evidence-foreign"),
    ] {
        let (log, dir) = (allowing(lie), tempfile::tempdir().unwrap());
        let (ended, effects) = begin(&log, &gate(&log, dir.path()));
        let Ok(Ended::NotRun { refusal, .. }) = ended else { panic!("{lie:?}: {ended:?}") };
        assert_eq!((effects, refusal.code.as_str()), (0, code), "{lie:?}: {refusal}");
    }
    for lie in [Lie::RejectsAndAdmits, Lie::SilentAfter, Lie::SilentBefore, Lie::GoneAfter] {
        let (log, dir) = (allowing(lie), tempfile::tempdir().unwrap());
        let (ended, effects) = begin(&log, &gate(&log, dir.path()));
        assert!(!matches!(ended, Ok(Ended::Ran(_))) && effects == 0, "{lie:?}: {ended:?}");
    }
}

#[test]
fn a_run_that_the_log_never_had_is_forgotten_after_a_while_and_not_before() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let first = gate(&log, dir.path());
    log.world(|world| world.reachable = false);
    let (ended, effects) = begin(&log, &first);
    let Err(GateError::Unconfirmed { execution, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!(effects, 0);
    drop(first);
    log.world(|world| world.reachable = true);
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Open(id, _)] if id == execution), "{settled:?}");
    let (ended, effects) = begin(&log, &gate(&log, dir.path()));
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "others run: {ended:?}");
    log.world(|world| world.scenario.ledger.wait(600_001));
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), [Settled::NeverLogged(execution)]);
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), []);
}

#[test]
fn what_came_of_an_execution_is_kept_for_as_long_as_the_log_hides_its_run() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let first = gate(&log, dir.path());
    let (begun, run, proposal) = begun(&log);
    let mut effect = |_: &Action, _: &Attempt| succeeded();
    let ended = first.run_soon(run, proposal, &action(&log), &mut effect, Some(&begun));
    assert!(matches!(ended, Ok(Ended::Ran(_))), "{ended:?}");
    drop(first);
    log.world(|world| {
        world.hides_runs = true;
        world.scenario.ledger.wait(600_001);
    });
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Open(..)]), "{settled:?}");
    log.world(|world| world.hides_runs = false);
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Recorded { .. }]), "{settled:?}");
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);
}

#[test]
fn what_may_have_run_when_the_gate_was_killed_is_not_forgotten_while_the_log_hides_its_run() {
    let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
    let first = gate(&log, dir.path());
    let (begun, run, proposal) = begun(&log);
    let (notes, within) = (dir.path().join("0/notes"), dir.path().join("within"));
    let mut effect = |_: &Action, _: &Attempt| {
        std::fs::copy(&notes, &within).unwrap();
        succeeded()
    };
    let ended = first.run_soon(run, proposal, &action(&log), &mut effect, Some(&begun));
    assert!(matches!(ended, Ok(Ended::Ran(_))), "{ended:?}");
    drop(first);
    // As if it was killed within the effect.
    std::fs::rename(within, notes).unwrap();
    log.world(|world| {
        world.hides_runs = true;
        world.scenario.ledger.wait(600_001);
    });
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Open(..)]), "{settled:?}");
    log.world(|world| world.hides_runs = false);
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Recorded { .. }]), "{settled:?}");
    assert_eq!(log.outcomes(), [(Status::Unknown, Effects::Unknown)]);
}

#[test]
fn killed_at_any_step_of_a_run_that_begins_effects_and_log_agree() {
    for step in 0..20 {
        let (log, dir) = (allowing(Lie::Honest), tempfile::tempdir().unwrap());
        let first = gate(&log, dir.path());
        log.world(|world| world.crash_in = Some(step));
        let effects = AssertUnwindSafe(std::cell::Cell::new(0));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let (begun, run, proposal) = begun(&log);
            let mut effect = |_: &Action, _: &Attempt| {
                effects.set(effects.get() + 1);
                succeeded()
            };
            let ended = first.run_soon(run, proposal, &action(&log), &mut effect, Some(&begun));
            first.log_outcomes();
            ended
        }));
        drop(first);
        let is_killed = match ended {
            Ok(ended) => {
                assert!(matches!(ended, Ok(Ended::Ran(_))), "{step}: {ended:?}");
                false
            }
            Err(killed) => killed.is::<Killed>(),
        };
        log.world(|world| world.crash_in = None);
        log.gate(dir.path()).settle_open().unwrap();
        let (executions, outcomes) = (log.records(Type::Execution).len(), log.outcomes());
        assert_eq!(executions, outcomes.len(), "{step}: each has an outcome");
        assert!(effects.get() <= executions, "{step}");
        let succeeded = outcomes.iter().filter(|(status, _)| *status == Status::Succeeded).count();
        assert!(succeeded <= effects.get(), "{step}");
        if !is_killed {
            assert!(step > 8, "{step}: all steps were tried");
            return;
        }
    }
    panic!("more steps than were tried");
}
