//! `authorize` in one call: the policy decides at once, or the request is held until somebody does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::*;
use counterfoil_receipt::{Body, RunId, UnverifiedRecord, body::Ruling};
use counterfoil_testkit::action;
use serde_json::{Value, json};

/// A log whose policy allows some tools, denies some, and asks one person about the rest.
fn ruled() -> World {
    let world = World::peopled();
    world.set_policy(&json!([
        {"effect": "allow", "match": {"tool": "read.*"}, "name": "reads", "uses": 1},
        {"effect": "deny", "match": {"tool": "drop.*"}, "name": "drops"},
        {"effect": "require", "match": {"tool": "write.*"}, "name": "writes", "requirements": [{"count": 1, "groups": ["sre"]}],
         "segregation": true, "uses": 1, "window": 3_600_000}]));
    world
}

/// What starts a run, and proposes a call of this tool in it.
fn asked(world: &World, event: &str, tool: &str) -> (UnverifiedRecord, UnverifiedRecord) {
    let trigger = world.trigger(event);
    let run = RunId::started_by(trigger.id());
    let Body::Proposal(body) = world.proposal(run, trigger.id()).body().clone() else { panic!("a proposal") };
    let mut body = *body;
    body.action = action(tool, json!({}));
    let proposal = world.sign(&world.cast.scout, world.in_run(run, trigger.id()), body);
    (trigger, proposal)
}

fn authorize(world: &World, records: &[&UnverifiedRecord], wait: u64) -> Answer {
    let lines: Vec<&[u8]> = records.iter().map(|record| record.bytes()).collect();
    let path = format!("/v1/approvals?wait={wait}");
    world.request("POST", &path, &[("content-type", "application/jsonl")], &lines.join(&b'\n'))
}

#[test]
fn the_policy_decides_at_once_where_it_can() {
    let world = ruled();
    for (tool, status) in [("read.table", "approved"), ("drop.table", "denied"), ("other", "denied")] {
        let (trigger, proposal) = asked(&world, tool, tool);
        let begun = Instant::now();
        let answer = authorize(&world, &[&trigger, &proposal], 30_000);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let said = answer.json();
        assert_eq!(
            (said["status"].as_str(), said["proposal"].as_str()),
            (Some(status), Some(&*proposal.id().to_string()))
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{tool} was held");
        // Asked again, it is the same proposal.
        assert_eq!(authorize(&world, &[&trigger, &proposal], 0).json()["proposal"], said["proposal"]);
    }
}

#[test]
fn what_somebody_has_to_decide_is_held_until_they_do() {
    let world = ruled();
    let (trigger, proposal) = asked(&world, "one", "write.table");
    let begun = Instant::now();
    assert_eq!(authorize(&world, &[&trigger, &proposal], 400).json()["status"], "open");
    assert!(begun.elapsed() >= Duration::from_millis(400), "it waits as long as it is asked to");
    let said: Value = thread::scope(|scope| {
        let held = scope.spawn(|| authorize(&world, &[&trigger, &proposal], 30_000).json());
        thread::sleep(Duration::from_millis(200));
        world.add(&world.decision(&world.cast.ana, &proposal, Ruling::Approve, now()));
        held.join().unwrap()
    });
    assert_eq!(
        (said["status"].as_str(), said["decisions"][0]["approver"].as_str()),
        (Some("approved"), Some("ana"))
    );
    assert!(said["expires_at"].is_u64(), "{said}");
    assert_eq!(said["review_url"], Value::Null, "nobody said where people reach this server");
}

#[test]
fn what_is_no_proposal_or_not_admitted_is_told_so() {
    let world = ruled();
    let (trigger, proposal) = asked(&world, "one", "write.table");
    authorize(&world, &[&trigger], 0).is_problem(400, "body-unreadable");
    authorize(&world, &[&proposal, &trigger], 0).is_problem(400, "body-unreadable");
    assert_eq!(world.get(&format!("/v1/records/{}", trigger.id())).status, 404, "nothing of it was taken");
    authorize(&world, &[&trigger, &proposal], 60_001).is_problem(400, "query-invalid");
    // Its run is not there.
    let answer = authorize(&world, &[&proposal], 0);
    assert_eq!((answer.status, answer.header("counterfoil-code")), (422, Some("run-unknown")));
}
