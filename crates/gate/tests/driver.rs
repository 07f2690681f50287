//! The driver, against a log that lies and a process that is killed: no effect that the log does not show as allowed, and
//! never more effects than executions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use counterfoil_gate::{Attempt, Doubt, Ended, GateError, Settled};
use counterfoil_receipt::{
    Action, Body, Type,
    body::{Effects, Status},
};
use counterfoil_testkit::Scenario;
use fake::{FakeLog, Killed, Lie, succeeded};

/// One request for the proposal of a log, and how often its effect ran.
fn request(log: &FakeLog, dir: &std::path::Path) -> (Result<Ended, GateError>, u32) {
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let effects = Cell::new(0);
    let gate = log.gate(dir);
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
        effects.set(effects.get() + 1);
        succeeded()
    });
    (ended, effects.get())
}

#[test]
fn what_was_approved_runs_once_and_is_recorded_before_and_after() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (ended, effects) = request(&log, dir.path());
    let Ok(Ended::Ran(ran)) = ended else { panic!("{ended:?}") };
    assert_eq!((effects, log.records(Type::Execution)[0].id()), (1, ran.execution));
    assert_eq!(log.records(Type::Outcome)[0].id(), ran.outcome.unwrap());
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);

    let (ended, effects) = request(&log, dir.path());
    let Ok(Ended::Refused { refusal, record }) = ended else { panic!("{ended:?}") };
    assert_eq!((effects, refusal.code.as_str()), (0, "use-exceeded"));
    assert_eq!(log.records(Type::Refusal)[0].id(), record.unwrap());
}

#[test]
fn the_effect_is_given_the_approved_action_and_the_id_of_its_execution() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut |given: &Action, attempt: &Attempt| {
        assert_eq!(given.to_canonical(), action.to_canonical());
        let execution = log.records(Type::Execution)[0].id();
        assert_eq!(*attempt, Attempt { execution, idempotency_key: execution });
        succeeded()
    });
    assert!(matches!(ended, Ok(Ended::Ran(_))), "{ended:?}");
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);
}

#[test]
fn no_lie_of_the_log_makes_an_effect_run() {
    let lies = [
        (Lie::Drops, "execution-not-shown"),
        (Lie::ShowsTheStateBefore, "execution-not-shown"),
        (Lie::ShowsAnotherRun, "evidence-foreign"),
        (Lie::SecondExecution, "use-consumed"),
        (Lie::RejectBefore, "proposal-ended"),
        (Lie::CancelBefore, "proposal-ended"),
        (Lie::Late, "window-closed"),
    ];
    for (lie, code) in lies {
        let (log, dir) = (FakeLog::lying(lie), tempfile::tempdir().unwrap());
        let (ended, effects) = request(&log, dir.path());
        let Ok(Ended::NotRun { refusal, .. }) = ended else { panic!("{lie:?}: {ended:?}") };
        assert_eq!((effects, refusal.code.as_str()), (0, code), "{lie:?}: {refusal}");
    }
    let (log, dir) = (FakeLog::lying(Lie::DamagedBundle), tempfile::tempdir().unwrap());
    let (ended, effects) = request(&log, dir.path());
    assert!(matches!(ended, Ok(Ended::NotRun { .. })) && effects == 0, "{ended:?}");
}

#[test]
fn without_an_answer_nothing_runs_and_the_execution_is_settled_later() {
    for (lie, executions) in [(Lie::SilentAfter, 1), (Lie::SilentBefore, 0), (Lie::GoneAfter, 1)] {
        let (log, dir) = (FakeLog::lying(lie), tempfile::tempdir().unwrap());
        let (ended, effects) = request(&log, dir.path());
        assert!(matches!(ended, Err(GateError::Unconfirmed { .. })), "{lie:?}: {ended:?}");
        assert_eq!((effects, log.records(Type::Execution).len()), (0, executions), "{lie:?}");

        log.world(|world| world.reachable = true);
        let settled = log.gate(dir.path()).settle_open().unwrap();
        match executions {
            0 => assert!(matches!(settled[..], [Settled::Open(..)]), "{settled:?}"),
            _ => {
                assert!(matches!(settled[..], [Settled::Recorded { .. }]), "{settled:?}");
                assert_eq!(log.outcomes(), [(Status::Failed, Effects::None)]);
                assert_eq!(log.gate(dir.path()).settle_open().unwrap(), []);
            }
        }
    }
}

#[test]
fn an_execution_that_was_never_logged_is_forgotten_only_after_its_window() {
    let (log, dir) = (FakeLog::lying(Lie::SilentBefore), tempfile::tempdir().unwrap());
    let (ended, _) = request(&log, dir.path());
    let Err(GateError::Unconfirmed { execution, .. }) = ended else { panic!("{ended:?}") };
    log.world(|world| {
        world.scenario.ledger.wait(2 * counterfoil_testkit::WINDOW);
        world.scenario.ledger.close();
    });
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), [Settled::NeverLogged(execution)]);
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), []);
}

#[test]
fn an_execution_that_was_never_logged_is_forgotten_once_another_took_its_use() {
    let (log, dir) = (FakeLog::lying(Lie::SilentBefore), tempfile::tempdir().unwrap());
    let (ended, _) = request(&log, dir.path());
    let Err(GateError::Unconfirmed { execution, .. }) = ended else { panic!("{ended:?}") };
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Open(id, _)] if id == execution), "{settled:?}");
    let (ended, effects) = request(&log, dir.path());
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "{ended:?}");
    assert_eq!(log.gate(dir.path()).settle_open().unwrap(), [Settled::NeverLogged(execution)]);
}

#[test]
fn a_rejected_execution_does_not_run_even_if_the_log_admitted_it() {
    let (log, dir) = (FakeLog::lying(Lie::RejectsAndAdmits), tempfile::tempdir().unwrap());
    let (ended, effects) = request(&log, dir.path());
    let Ok(Ended::Refused { refusal, record }) = ended else { panic!("{ended:?}") };
    assert_eq!((effects, refusal.code.as_str()), (0, "use-consumed"));
    assert_eq!(log.records(Type::Refusal)[0].id(), record.unwrap());
}

#[test]
fn an_effect_that_panics_is_recorded_as_unknown() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| panic!("out of paper"));
    let Ok(Ended::Ran(ran)) = ended else { panic!("{ended:?}") };
    assert_eq!(ran.done.detail.as_deref(), Some("the effect panicked: out of paper"));
    assert_eq!(log.outcomes(), [(Status::Unknown, Effects::Unknown)]);
}

#[test]
fn a_result_is_logged_as_a_commitment() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
        let label = counterfoil_testkit::label;
        let result = counterfoil_gate::ResultPayload {
            label: label("result.txt"),
            media_type: label("text/plain"),
            content: b"secret".to_vec(),
        };
        counterfoil_gate::Done { result: Some(result), ..succeeded() }
    })
    .unwrap();
    let outcome = &log.records(Type::Outcome)[0];
    let Body::Outcome(body) = outcome.body() else { panic!() };
    assert_eq!(body.result.as_ref().unwrap().size.get(), 6);
    assert!(!String::from_utf8_lossy(outcome.bytes()).contains("secret"));
}

#[test]
fn killed_at_any_step_there_are_never_more_effects_than_executions() {
    let steps = {
        let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
        request(&log, dir.path()).0.unwrap();
        log.world(|world| world.steps)
    };
    assert_eq!(steps, 6, "evidence, execution (before and after), evidence, outcome (before and after)");
    for noted in [true, false] {
        for step in 0..steps {
            killed_at(step, noted);
        }
    }
}

/// Kills the gate at one step. Without the noted outcome the notes are as if it was killed within the effect.
fn killed_at(step: u32, noted: bool) {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    log.world(|world| world.crash_in = Some(step));
    let effects = Cell::new(0_usize);
    let run_once = || {
        let gate = log.gate(dir.path());
        let settled = gate.settle_open().unwrap();
        let doubts = gate.in_doubt();
        let ended = gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
            effects.set(effects.get() + 1);
            succeeded()
        });
        (settled, doubts, ended)
    };
    let killed = catch_unwind(AssertUnwindSafe(run_once)).expect_err("is killed");
    assert!(killed.is::<Killed>());
    if !noted {
        let notes = dir.path().join("0/notes");
        let said = std::fs::read_to_string(&notes).unwrap();
        let ended = said.find("\nended ").map_or(said.len(), |at| at + 1);
        std::fs::write(notes, &said[..ended]).unwrap();
    }
    let ran_before = effects.get();
    log.world(|world| world.scenario.ledger.wait(1));

    let (settled, doubts, ended) = run_once();
    let executions = log.records(Type::Execution).len();
    assert!(
        effects.get() <= 1 && effects.get() <= executions,
        "step {step}: {} effects, {ended:?}",
        effects.get()
    );
    assert_eq!(log.outcomes().len(), executions, "step {step}: every execution has an outcome: {settled:?}");
    let status = match (ran_before, noted, step) {
        // Killed before the execution reached the log: it is free to run now.
        (0, _, 0 | 1) => Status::Succeeded,
        // Killed after it was logged: nobody knows, and nothing runs again.
        (0, ..) => Status::Unknown,
        // The effect ran, and what it said was noted or logged.
        (_, true, _) | (_, _, 5) => Status::Succeeded,
        (_, false, _) => Status::Unknown,
    };
    assert_eq!(log.outcomes()[0].0, status, "step {step}, noted {noted}: {settled:?}");
    // What never reached the log did not happen, whatever becomes of its note.
    let doubt = Doubt { run, proposal, action: action.clone() };
    let expected = if status == Status::Unknown { vec![doubt] } else { Vec::new() };
    assert_eq!(doubts, expected, "step {step}, noted {noted}: {settled:?}");
}

#[test]
fn two_attempts_at_the_same_millisecond_are_two_executions() {
    let (log, dir) = (FakeLog::lying(Lie::SilentBefore), tempfile::tempdir().unwrap());
    request(&log, dir.path()).0.unwrap_err();
    // Same key, same heads, same millisecond: without a nonce both would sign the same bytes, and each would take the log's one answer
    // for its own. The first attempt never reached the log, so its use is free.
    let (ended, effects) = request(&log, dir.path());
    assert!(matches!(ended, Ok(Ended::Ran(_))) && effects == 1, "{ended:?}");
    let (ended, effects) = request(&log, tempfile::tempdir().unwrap().path());
    assert!(matches!(ended, Ok(Ended::Refused { .. })) && effects == 0, "{ended:?}");
}

#[test]
fn nothing_runs_before_what_is_open_was_settled() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let mut effect = |_: &Action, _: &Attempt| panic!("ran");
    let gate = log.gate(dir.path());
    assert!(matches!(gate.run(run, proposal, &action, &mut effect), Err(GateError::NotSettled)));
}

#[test]
fn gates_share_a_directory_and_none_settles_what_another_still_runs() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
        // Beside it, and in the same process.
        assert_eq!(log.gate(dir.path()).settle_open().unwrap(), []);
        assert_eq!(gate.settle_open().unwrap(), []);
        succeeded()
    });
    assert!(matches!(ended, Ok(Ended::Ran(_))), "{ended:?}");
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);
}

#[test]
fn what_one_gate_left_open_another_settles_once_it_is_gone() {
    let (log, dir) = (FakeLog::lying(Lie::GoneAfter), tempfile::tempdir().unwrap());
    let gone = log.gate(dir.path());
    let other = log.gate(dir.path());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    gone.settle_open().unwrap();
    gone.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| panic!("ran")).unwrap_err();
    log.world(|world| world.reachable = true);
    assert_eq!(other.settle_open().unwrap(), []);
    drop(gone);
    assert!(matches!(other.settle_open().unwrap()[..], [Settled::Recorded { .. }]));
}

#[test]
fn gates_that_start_while_another_settles_find_a_place() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    // Many worked here at a time, and are gone.
    let many: Vec<_> = (0..64).map(|_| log.gate(dir.path())).collect();
    drop(many);
    let gate = log.gate(dir.path());
    let notes = dir.path().join("40/notes");
    std::fs::remove_file(&notes).unwrap();
    std::fs::create_dir(&notes).unwrap();
    gate.settle_open().unwrap_err();
    std::fs::remove_dir(&notes).unwrap();
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    gate.settle_open().unwrap();
    gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
        let (beside, path) = (log.clone(), dir.path().to_owned());
        let others: Vec<_> = (0..63).map(|_| beside.gate(&path)).collect();
        assert_eq!(others.len(), 63);
        succeeded()
    })
    .unwrap();
}

#[test]
fn a_gate_that_could_not_settle_again_lets_nothing_pass() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    std::fs::create_dir_all(dir.path().join("1/notes")).unwrap();
    gate.settle_open().unwrap_err();
    let mut effect = |_: &Action, _: &Attempt| panic!("ran");
    assert!(matches!(gate.run(run, proposal, &action, &mut effect), Err(GateError::NotSettled)));
}

#[test]
fn an_unreachable_log_lets_nothing_pass() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    log.world(|world| world.reachable = false);
    let (ended, effects) = request(&log, dir.path());
    assert!(matches!(ended, Err(GateError::NoEvidence(_))) && effects == 0, "{ended:?}");
}

#[test]
fn an_outcome_that_the_log_did_not_take_is_logged_at_the_next_start() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let ended = gate.run(run, proposal, &action, &mut |_: &Action, _: &Attempt| {
        log.world(|world| world.reachable = false);
        succeeded()
    });
    let Ok(Ended::Ran(ran)) = ended else { panic!("{ended:?}") };
    assert_eq!((ran.outcome, log.outcomes().len()), (None, 0));
    drop(gate);

    log.world(|world| world.reachable = true);
    let settled = log.gate(dir.path()).settle_open().unwrap();
    assert!(matches!(settled[..], [Settled::Recorded { execution, .. }] if execution == ran.execution));
    assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);
}

#[test]
fn an_outstanding_decision_is_waited_for() {
    let log = FakeLog::new(Scenario::new(), |_, _, _| {});
    let dir = tempfile::tempdir().unwrap();
    let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let mut effect = |_: &Action, _: &Attempt| succeeded();
    let held = gate.run(run, proposal, &action, &mut effect).unwrap();
    assert!(matches!(&held, Ended::Held(why) if why.contains("0 of 2")), "{held:?}");
    let ended = gate.run_when_approved(run, proposal, &action, &mut effect, Duration::from_secs(60)).unwrap();
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
}

#[test]
fn equal_refusals_are_one_record_with_a_count() {
    let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
    let (run, proposal) = log.world(|world| (world.run, world.proposal));
    let other = counterfoil_testkit::action("db.drop", serde_json::json!({"table": "orders"}));
    let gate = log.gate(dir.path());
    gate.settle_open().unwrap();
    let mut records = Vec::new();
    for _ in 0..5 {
        let ended = gate.run(run, proposal, &other, &mut |_: &Action, _: &Attempt| panic!("ran")).unwrap();
        let Ended::Refused { refusal, record } = ended else { panic!("{ended:?}") };
        assert_eq!(refusal.code, "action-differs");
        records.extend(record);
    }
    gate.flush_refusals();
    let counts: Vec<u64> = log
        .records(Type::Refusal)
        .iter()
        .map(|record| match record.body() {
            Body::Refusal(body) => body.count.get(),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!((records.len(), counts), (1, vec![1, 4]));
}

#[test]
fn an_outcome_that_is_logged_behind_survives_a_log_that_is_gone_and_a_gate_that_is_killed() {
    for is_killed in [false, true] {
        let (log, dir) = (FakeLog::approved(), tempfile::tempdir().unwrap());
        let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
        let gate = log.gate(dir.path());
        gate.settle_open().unwrap();
        let mut effect = |_: &Action, _: &Attempt| succeeded();
        let ended = gate.run_soon(run, proposal, &action, &mut effect, None).unwrap();
        assert!(matches!(&ended, Ended::Ran(ran) if ran.outcome.is_some()), "{ended:?}");
        assert_eq!(log.outcomes(), [], "it is noted");
        log.world(|world| world.reachable = false);
        assert!(
            gate.wait_for_outcomes(Duration::ZERO, Duration::ZERO) && !gate.log_outcomes(),
            "it is tried"
        );
        log.world(|world| world.reachable = true);
        if is_killed {
            drop(gate);
            let settled = log.gate(dir.path()).settle_open().unwrap();
            assert!(matches!(settled[..], [Settled::Recorded { .. }]), "{settled:?}");
        } else {
            // Whoever settles meanwhile knows that it has an outcome.
            assert!(gate.log_outcomes() && !gate.wait_for_outcomes(Duration::ZERO, Duration::ZERO));
            assert_eq!(gate.settle_open().unwrap(), []);
        }
        assert_eq!(log.outcomes(), [(Status::Succeeded, Effects::Complete)]);
    }
}
