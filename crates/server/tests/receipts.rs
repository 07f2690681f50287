//! Receipts by id, and the document in which a log says what it is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use counterfoil_receipt::{
    Body, RecordId, Role,
    body::{self, Ruling},
};
use counterfoil_testkit::{Actor, enrolment};
use serde_json::{Value, json};

/// The ids of a run's records, by type; of decisions the first.
fn ids(world: &World, run: &str) -> impl Fn(&str) -> String {
    let records = world.get(&format!("/v1/runs/{run}")).json()["records"].clone();
    move |kind| {
        let all = records.as_array().unwrap();
        let found = all.iter().find(|record| record["type"] == kind).unwrap();
        found["id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_receipt_says_who_approved_what_was_done_and_what_shows_it() {
    let world = World::peopled();
    let run = world.whole_run("one").to_string();
    let id = ids(&world, &run);
    let receipt = world.get(&format!("/v1/receipts/{}", id("execution")));
    assert_eq!((receipt.status, receipt.header("content-type")), (200, Some("application/json")));
    let receipt = receipt.json();
    assert_eq!(receipt["issuer"], json!({"log": world.log.to_string(), "origin": ORIGIN}));
    assert_eq!(receipt["bundle"], format!("/v1/runs/{run}/bundle"));
    assert_eq!((&receipt["run"], &receipt["requester"]), (&json!(run), &json!("gate")));
    let [proposal] = &receipt["proposals"].as_array().unwrap()[..] else { panic!("{receipt}") };
    assert_eq!((&proposal["agent"], &proposal["id"]), (&json!("scout"), &json!(id("proposal"))));
    assert_eq!(
        (&proposal["action"]["tool"], &proposal["status"]),
        (&json!("db.vacuum"), &json!("succeeded"))
    );
    let policy = world.policy().to_string();
    let decided: Vec<Value> = proposal["decisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            json!([one["approver"], one["verdict"], one["surface"], one["policy"], one["time"].is_u64()])
        })
        .collect();
    let approved = |by: &str| json!([by, "approve", "terminal", policy, true]);
    assert_eq!(decided, [approved("ana"), approved("bo")]);
    let [execution] = &proposal["executions"].as_array().unwrap()[..] else { panic!("{proposal}") };
    assert_eq!((&execution["id"], &execution["policy"]), (&json!(id("execution")), &json!(policy)));
    assert_eq!(
        (&execution["outcome"]["status"], &execution["ground"]),
        (&json!("succeeded"), &json!("approved"))
    );
    for dimension in ["integrity", "authority", "conformity", "inclusion"] {
        assert_eq!(receipt["dimensions"][dimension]["answer"], "pass", "{receipt}");
    }
    assert_eq!(receipt["dimensions"]["completeness"]["answer"], "not_shown");

    // Of any record of the run; and what is asked for by is said.
    for kind in ["proposal", "trigger", "observation", "decision", "outcome"] {
        let other = world.get(&format!("/v1/receipts/{}", id(kind))).json();
        assert_eq!((&other["record"], &other["proposals"]), (&json!(id(kind)), &receipt["proposals"]));
    }
    let policy_record = world.get("/v1/policy").json()["prev"].as_str().unwrap().to_owned();
    for path in ["x".to_owned(), RecordId::of(b"?").to_string(), world.log.to_string(), policy_record] {
        world.get(&format!("/v1/receipts/{path}")).is_problem(404, "record-unknown");
    }
}

#[test]
fn a_receipt_of_what_was_only_proposed_shows_no_more() {
    let world = World::peopled();
    let (run, proposal) = world.proposed("one");
    let receipt = world.get(&format!("/v1/receipts/{}", proposal.id())).json();
    assert_eq!(receipt["proposals"][0]["status"], "open");
    assert_eq!(receipt["proposals"][0]["executions"], json!([]));
    assert_eq!(receipt["dimensions"]["conformity"]["answer"], "not_shown");
    // A second proposal of the run is in the receipt of the run, and not in that of the first.
    let second = world.proposal(run, proposal.id());
    world.add(&second);
    let count = |id: &RecordId| {
        world.get(&format!("/v1/receipts/{id}")).json()["proposals"].as_array().unwrap().len()
    };
    assert_eq!((count(&proposal.id()), count(&second.id()), count(&run.trigger())), (1, 1, 2));
}

#[test]
fn approvals_that_count_for_nothing_neither_pass_for_others_nor_push_them_out() {
    let world = World::peopled();
    let boss = Actor::new("boss", Role::Human);
    world.add(&world.sign(&world.cast.root, world.after_genesis(), enrolment(&boss, &[])));
    let (proposal, approvals) = world.approved("one", now());
    let run = proposal.run().unwrap();
    // Of somebody whom nobody asked: logged, and without effect.
    let by_boss = world.decision(&boss, &proposal, Ruling::Approve, now());
    world.add(&by_boss);
    let execution = world.execution(&proposal, &approvals, now());
    world.add(&execution);
    // Many more afterwards, dated back.
    let Body::Decision(body) = by_boss.body() else { panic!("no decision") };
    let again: Vec<_> = (1..=120)
        .map(|n| world.sign_at(&boss, world.in_run(run, execution.id()), (**body).clone(), now() - n * 1_000))
        .collect();
    assert!(world.batch(&again).iter().all(|answer| answer["status"] == "included"));

    let mut named: Vec<String> = approvals.iter().map(ToString::to_string).collect();
    named.sort_unstable();
    let named: Vec<Value> = named.into_iter().map(Value::from).collect();
    let receipt = world.get(&format!("/v1/receipts/{}", execution.id())).json()["proposals"][0].clone();
    assert_eq!(receipt["executions"][0]["decisions"], json!(named));
    let shown = receipt["decisions"].as_array().unwrap().clone();
    let left_out = receipt["decisions_left_out"].as_u64().unwrap();
    assert_eq!((shown.len(), left_out), (102, 21), "two of the quorum, and the last hundred");
    for decision in &shown {
        let counts = named.contains(&decision["id"]);
        assert_eq!(decision["without_effect"].is_null(), counts, "{decision}");
        assert_eq!(decision["approver"] != "boss", counts, "{decision}");
    }
    let approval = world.get(&format!("/v1/approvals/{}", proposal.id())).json();
    assert_eq!(approval["executions"][0]["decisions"], json!(named));
    let shown = approval["decisions"].as_array().unwrap();
    assert!(named.iter().all(|id| shown.iter().any(|one| one["id"] == *id)), "{approval}");

    // Who says how it ended is said, too.
    let settled = body::Settlement {
        effects: body::Effects::Complete,
        execution: execution.id(),
        reason: None,
        status: body::Status::Succeeded,
        evidence: None,
    };
    world.add(&world.sign(&boss, world.in_run(run, execution.id()), settled));
    let receipt = world.get(&format!("/v1/receipts/{}", execution.id())).json();
    assert_eq!(receipt["proposals"][0]["executions"][0]["outcome"]["by"], "boss");
}

#[test]
fn a_log_says_what_it_is_where_everybody_looks() {
    let world = World::peopled();
    let before = world.policy().to_string();
    world.set_policy(&json!([{"effect": "deny", "match": {"always": true}, "name": "never"}]));
    let known = world.get("/.well-known/counterfoil.json").json();
    let genesis: Value = serde_json::from_slice(&std::fs::read(&world.files().genesis).unwrap()).unwrap();
    assert_eq!(known["genesis"], genesis);
    assert_eq!(known["log"], json!({"keys": [world.vkey.to_string()], "origin": ORIGIN}));
    assert_eq!(known["size"], world.checkpoint().checkpoint().head().size.0);
    let ana = json!({"key": world.cast.ana.key().to_string(), "principal": "ana", "role": "human", "status": "live"});
    assert!(known["keys"].as_array().unwrap().contains(&ana), "{known}");
    let policies = known["policies"].as_array().unwrap();
    let digests: Vec<&Value> = policies.iter().map(|policy| &policy["digest"]).collect();
    assert_eq!(digests, [&json!(before), &json!(world.policy().to_string())]);
    assert!(policies[0]["index"].as_u64() < policies[1]["index"].as_u64());
    // Where it says that things are, they are.
    for (name, path) in known["urls"].as_object().unwrap() {
        let path = path.as_str().unwrap().replace("{run}", "x").replace("{id}", "x");
        let path = path.replace("/tile/", "/tile/entries/000.p/1");
        assert_ne!(world.get(&path).json_code().as_deref(), Some("route-unknown"), "{name}");
    }
}
