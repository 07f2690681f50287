//! Time-outs and escalation: said by the server when they are due, once, whoever stopped it meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{thread, time::Duration};

use common::*;
use counterfoil_receipt::{RecordId, RunId, body::Ruling};
use counterfoil_verify::{Answer, Dimension, verify};
use serde_json::{Value, json};

/// Milliseconds after a proposal.
const STEP: u64 = 400;
const OUT: u64 = 1_500;

/// A log whose server has a policy key, under a policy with a step and a time-out.
fn timed(then: &str) -> World {
    let (mut world, key) = World::with_policy_key();
    world.start_under(&key, &json!([rule(then)]));
    world
}

fn rule(then: &str) -> Value {
    json!({"effect": "require", "match": {"always": true}, "name": "two", "requirements": [{"count": 2, "groups": ["sre"]}],
        "escalation": [{"after": STEP, "to": {"groups": ["leads"]}}], "timeout": {"after": OUT, "then": then},
        "segregation": true, "uses": 1, "window": 3_600_000})
}

/// The records of a run as soon as there are more than `count`, but for the first two; as many as there are after a while.
fn later(world: &World, run: RunId, count: usize) -> Vec<(String, RecordId)> {
    let path = format!("/v1/runs/{run}?after={count}&wait=20000");
    let records = world.get(&path).json()["records"].as_array().unwrap().clone();
    let text = |record: &Value, name: &str| record[name].as_str().unwrap().to_owned();
    let row = |record: &Value| (text(record, "type"), RecordId::parse(&text(record, "id")).unwrap());
    records.iter().skip(2).map(row).collect()
}

fn types(records: &[(String, RecordId)]) -> Vec<&str> {
    records.iter().map(|(kind, _)| kind.as_str()).collect()
}

#[test]
fn somebody_is_asked_too_and_then_the_time_is_out_once() {
    let mut world = timed("approve");
    let (run, proposal) = world.proposed("one");
    assert_eq!(types(&later(&world, run, 2)), ["escalation"]);
    let records = later(&world, run, 3);
    assert_eq!(types(&records), ["escalation", "decision"]);
    world.stop().unwrap();
    world.start();
    thread::sleep(Duration::from_millis(2 * OUT));
    assert_eq!(types(&later(&world, run, 0)).len(), 2, "both are said once");

    world.add(&world.execution(&proposal, &[records[1].1], now()));
    let bundle = world.get(&format!("/v1/runs/{run}/bundle"));
    let verdict = verify(&bundle.body, &world.trust(), now());
    assert_eq!(verdict.conclude(world.trust().require()).exit_code(), 0, "{:#?}", verdict.findings());
    let Answer::Pass(said) = verdict.answer(Dimension::Conformity) else { panic!("{verdict:?}") };
    assert!(said.contains("a time-out in the place of approvals"), "{said}");
}

#[test]
fn what_became_due_while_nobody_served_is_said_at_start() {
    let mut world = timed("reject");
    let (run, proposal) = world.proposed("one");
    world.stop().unwrap();
    thread::sleep(Duration::from_millis(OUT));
    world.start();
    later(&world, run, 3);
    assert_eq!(types(&later(&world, run, 0)), ["escalation", "decision"]);
    let late = world.decision(&world.cast.ana, &proposal, Ruling::Approve, now());
    world.add(&late);
    let execution = world.execution(&proposal, &[late.id()], now());
    let rejected = world.post(execution.bytes()).json();
    assert_eq!(rejected["body"]["code"], "proposal-ended", "{rejected}");
}

#[test]
fn a_time_out_that_was_said_late_granted_a_window_that_was_over() {
    const WINDOW: u64 = 800;
    let mut world = timed("approve");
    let mut short = rule("approve");
    short["window"] = json!(WINDOW);
    short.as_object_mut().unwrap().remove("escalation");
    world.set_policy(&json!([short]));
    world.stop().unwrap();
    let key = world.files_mut().policy_key.take();
    world.start();
    let (run, proposal) = world.proposed("one");
    thread::sleep(Duration::from_millis(OUT));
    // Log time is past what is due, and stays there.
    world.add(&world.trigger("two"));
    world.stop().unwrap();
    thread::sleep(Duration::from_millis(2 * WINDOW));
    world.files_mut().policy_key = key;
    world.start();
    let records = later(&world, run, 2);
    world.add(&world.execution(&proposal, &[records[0].1], now()));
}

#[test]
fn timers_of_many_proposals_are_said_when_they_are_due() {
    let world = timed("reject");
    let runs: Vec<RunId> = (0..20).map(|at| world.proposed(&format!("{at}")).0).collect();
    for run in &runs {
        later(&world, *run, 3);
        assert_eq!(types(&later(&world, *run, 0)), ["escalation", "decision"]);
    }
}

#[test]
fn whoever_decides_in_time_is_not_overruled() {
    let world = timed("reject");
    let (run, proposal) = world.proposed("one");
    let approvals = [&world.cast.ana, &world.cast.bo]
        .map(|by| world.add(&world.decision(by, &proposal, Ruling::Approve, now())));
    // Another proposal, of which the time runs out afterwards.
    let (other, _) = world.proposed("two");
    later(&world, other, 3);
    assert_eq!(types(&later(&world, run, 0)), ["decision", "decision"]);
    world.add(&world.execution(&proposal, &approvals, now()));
}

#[test]
fn a_policy_that_came_later_times_nothing() {
    let world = timed("approve");
    let (run, _) = world.proposed("one");
    world.set_policy(&json!([rule("reject")]));
    let (other, _) = world.proposed("two");
    later(&world, other, 3);
    assert_eq!(types(&later(&world, other, 0)), ["escalation", "decision"]);
    assert!(later(&world, run, 0).is_empty());
}

#[test]
fn a_server_without_a_key_says_nothing_and_another_key_is_refused() {
    let mut world = timed("approve");
    world.stop().unwrap();
    let key = world.files_mut().policy_key.take();
    world.start();
    let (run, _) = world.proposed("one");
    thread::sleep(Duration::from_millis(2 * OUT));
    assert!(later(&world, run, 0).is_empty());
    world.stop().unwrap();
    assert!(key.is_some());
    world.files_mut().policy_key = Some(world.files().snapshot_key.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = runtime.block_on(counterfoil_server::Server::bind(world.config.clone())).err().unwrap();
    assert!(error.to_string().contains("role policy"), "{error}");
}
