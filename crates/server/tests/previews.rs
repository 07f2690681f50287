//! Previews: whoever decides is shown what one found, and is told where one is missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::*;
use counterfoil_receipt::{
    Body, RecordId, RunId, UnverifiedRecord,
    action::Mode,
    body::{Effects, Execution, Outcome, Ruling, Status},
    field::{Set, Whole},
    text::Nonce,
};
use counterfoil_testkit::{WINDOW, text};
use serde_json::{Value, json};

/// Previews are allowed, and what is applied wants two people and a preview.
fn world() -> World {
    let world = World::peopled();
    world.set_policy(&json!([
        {"effect": "allow", "match": {"mode": "preview"}, "name": "plans", "uses": 1},
        {"effect": "require", "match": {"mode": "apply"}, "name": "two", "preview": true, "requirements": [{"count": 2, "groups": ["sre"]}],
            "segregation": true, "uses": 1, "window": WINDOW}]));
    world
}

fn propose(world: &World, run: RunId, parent: RecordId, mode: Mode) -> UnverifiedRecord {
    let Body::Proposal(body) = world.proposal(run, parent).body().clone() else { panic!("a proposal") };
    let mut body = *body;
    body.action.mode = mode;
    let record = world.sign(&world.cast.scout, world.in_run(run, parent), body);
    world.add(&record);
    record
}

/// A preview is executed, and found this; gives the outcome.
fn previewed(world: &World, run: RunId, parent: RecordId, found: &[u8]) -> RecordId {
    let proposal = propose(world, run, parent, Mode::Preview);
    let execution = Execution {
        action: proposal.body().action().unwrap().clone(),
        basis: world.basis(),
        break_glass: None,
        decisions: Set::new([]).unwrap(),
        nonce: Nonce::new("nonce-of-a-preview-test").unwrap(),
        policy: world.policy(),
        proposal: proposal.id(),
        retries: None,
        use_number: Whole::new(1).unwrap(),
    };
    let execution = world.add(&world.sign(&world.cast.gate, world.in_run(run, proposal.id()), execution));
    let (item, line) = payload("plan.txt", found);
    let outcome = Outcome {
        attestation: None,
        detail: Some(text("dry run <b>only</b>")),
        effects: Effects::None,
        execution,
        result: Some(item),
        status: Status::Succeeded,
    };
    let outcome = world.sign(&world.cast.gate, world.in_run(run, execution), outcome);
    let lines = [&line[..], outcome.bytes(), b"\n"].concat();
    let answer = world.post_lines(&lines);
    assert_eq!(answer.status, 200, "{}", answer.text());
    outcome.id()
}

fn said(world: &World, proposal: &UnverifiedRecord) -> Value {
    let answer = world.get(&format!("/v1/approvals/{}", proposal.id())).json();
    json!({"preview": answer["preview"], "status": answer["status"]})
}

#[test]
fn whoever_decides_is_shown_what_a_preview_found() {
    let world = world();
    let trigger = world.trigger("event");
    let run = RunId::started_by(world.add(&trigger));
    let outcome =
        previewed(&world, run, trigger.id(), "would free 12 GB\u{1b}[2J\nand <i>drop</i> nothing".as_bytes());
    let proposal = propose(&world, run, outcome, Mode::Apply);
    let preview = json!({"outcome": outcome.to_string(), "wanted": true});
    assert_eq!(said(&world, &proposal), json!({"preview": preview, "status": "open"}));

    let page = world.get(&format!("/review/{}", proposal.id()));
    let page = page.text();
    for shown in [
        "previewed      succeeded, effects none",
        "reported by    gate (runtime)",
        "dry run &lt;b&gt;only&lt;/b&gt;",
        "result         plan.txt",
        "would free 12 GB",
        "and &lt;i&gt;drop&lt;/i&gt; nothing",
        &outcome.to_string(),
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains('\u{1b}') && !page.contains("which this proposal does not name"), "{page}");

    let by = [&world.cast.ana, &world.cast.bo];
    let decisions = by.map(|by| world.add(&world.decision(by, &proposal, Ruling::Approve, now())));
    world.add(&world.execution(&proposal, &decisions, now()));
}

#[test]
fn what_was_not_previewed_says_so_and_is_never_executed() {
    let world = world();
    let trigger = world.trigger("event");
    let run = RunId::started_by(world.add(&trigger));
    let proposal = propose(&world, run, trigger.id(), Mode::Apply);
    let by = [&world.cast.ana, &world.cast.bo];
    let decisions = by.map(|by| world.add(&world.decision(by, &proposal, Ruling::Approve, now())));
    let preview = json!({"outcome": null, "wanted": true});
    assert_eq!(said(&world, &proposal), json!({"preview": preview, "status": "approved"}));
    let page = world.get(&format!("/review/{}", proposal.id()));
    assert!(page.text().contains("which this proposal does not name: it will not be executed"), "{page:?}");
    let answer = world.post(world.execution(&proposal, &decisions, now()).bytes());
    assert_eq!(answer.header("counterfoil-code"), Some("preview-missing"), "{answer:?}");

    let preview = propose(&world, run, trigger.id(), Mode::Preview);
    assert_eq!(said(&world, &preview)["preview"], json!({"outcome": null, "wanted": false}));
}
