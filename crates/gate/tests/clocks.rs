//! Gates of one runtime on machines whose clocks are apart, which want the same use at the same moment.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fake;

use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use counterfoil_gate::{Attempt, Done, Ended};
use counterfoil_receipt::{Action, Body, Type, body::Status};
use fake::{FakeLog, succeeded};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// How far clocks are from that of the log; a decision's window is one hour.
const APART: [i64; 7] = [-24 * HOUR, -2 * HOUR, -MINUTE, 0, MINUTE, 2 * HOUR, 24 * HOUR];

#[test]
fn two_machines_whose_clocks_are_apart_have_one_effect_for_one_use() {
    let mut races = 0;
    for (one, other) in APART.iter().flat_map(|one| APART.map(|other| (*one, other))) {
        let log = FakeLog::approved();
        log.world(|world| world.scenario.ledger.wait(5 * MINUTE.unsigned_abs()));
        let (run, proposal, action) = log.world(|world| (world.run, world.proposal, world.action.clone()));
        let runtime = log.world(|world| world.scenario.cast.gate.clone());
        let (effects, start) = (AtomicUsize::new(0), Barrier::new(2));
        let ran: Vec<bool> = thread::scope(|scope| {
            let gates = [one, other].map(|ahead| {
                let (log, action, runtime, effects, start) = (&log, &action, &runtime, &effects, &start);
                scope.spawn(move || {
                    let dir = tempfile::tempdir().unwrap();
                    let gate = log.gate_at(runtime, dir.path(), ahead);
                    gate.settle_open().unwrap();
                    start.wait();
                    let ended = gate.run(run, proposal, action, &mut |_: &Action, _: &Attempt| -> Done {
                        effects.fetch_add(1, Ordering::SeqCst);
                        succeeded()
                    });
                    matches!(ended, Ok(Ended::Ran(_)))
                })
            });
            gates.into_iter().map(|gate| gate.join().unwrap()).collect()
        });
        let effects = effects.into_inner();
        let uses: Vec<u64> = log.records(Type::Execution).iter().map(use_of).collect();
        let succeeded = log.outcomes().iter().filter(|(status, _)| *status == Status::Succeeded).count();
        let case = format!("{one} and {other}: {effects} effects, uses {uses:?}, ran {ran:?}");
        assert_eq!(effects, succeeded, "{case}");
        assert!(effects <= 1 && effects <= uses.len(), "{case}");
        for (ahead, ran) in [one, other].iter().zip(&ran) {
            assert!(!ran || ahead.abs() <= MINUTE, "outside the window: {case}");
        }
        // A machine that is not far off does it.
        assert_eq!(effects == 1, one.abs() <= MINUTE || other.abs() <= MINUTE, "{case}");
        races += 1;
    }
    println!("count races of two machines for one use, with their clocks apart {races}");
}

fn use_of(record: &counterfoil_receipt::UnverifiedRecord) -> u64 {
    match record.body() {
        Body::Execution(body) => body.use_number.get(),
        _ => unreachable!(),
    }
}
