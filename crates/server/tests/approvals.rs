//! Approvals: what waits for whom, what became of it, listed, waited for and watched.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use common::*;
use counterfoil_receipt::{
    Body, Place, RecordId, Role, RunId, UnverifiedRecord,
    body::{self, Ruling, Status},
};
use counterfoil_testkit::{Actor, WINDOW, action, enrolment, label, text, trigger_body};
use serde_json::{Value, json};

/// A run with a proposal of this tool.
fn proposed(world: &World, event: &str, tool: &str) -> UnverifiedRecord {
    let trigger = world.trigger(event);
    let run = RunId::started_by(world.add(&trigger));
    let proposal = propose(world, run, trigger.id(), (tool, "db-1"), None);
    world.add(&proposal);
    proposal
}

fn propose(
    world: &World,
    run: RunId,
    parent: RecordId,
    (tool, target): (&str, &str),
    supersedes: Option<RecordId>,
) -> UnverifiedRecord {
    let Body::Proposal(body) = world.proposal(run, parent).body().clone() else { panic!("a proposal") };
    let mut body = *body;
    body.action = action(tool, json!({}));
    (body.action.target, body.supersedes) = (Some(label(target)), supersedes);
    world.sign(&world.cast.scout, world.in_run(run, parent), body)
}

fn decide(world: &World, by: &Actor, proposal: &UnverifiedRecord, verdict: Ruling) -> RecordId {
    world.add(&world.decision(by, proposal, verdict, now()))
}

/// A decision with this reason.
fn because(world: &World, by: &Actor, proposal: &UnverifiedRecord, verdict: Ruling, why: &str) -> RecordId {
    let decision = world.decision(by, proposal, verdict, now());
    let Body::Decision(body) = decision.body().clone() else { panic!("a decision") };
    let mut body = *body;
    body.reason = Some(text(why));
    world.add(&world.sign(by, world.in_run(proposal.run().unwrap(), proposal.id()), body))
}

fn withdraw(world: &World, by: &Actor, run: RunId, target: RecordId) -> RecordId {
    world.add(&world.sign(by, world.in_run(run, target), body::Cancel { reason: None, target }))
}

fn execute(world: &World, proposal: &UnverifiedRecord, decisions: &[RecordId]) -> RecordId {
    world.add(&world.execution(proposal, decisions, now()))
}

fn report(world: &World, run: RunId, execution: RecordId, status: Status) {
    let effects = body::Effects::Unknown;
    let effects = if status == Status::Unknown { effects } else { body::Effects::Complete };
    let outcome = body::Outcome { attestation: None, detail: None, effects, execution, result: None, status };
    world.add(&world.sign(&world.cast.gate, world.in_run(run, execution), outcome));
}

fn enrol(world: &World, actor: &Actor, groups: &[&str]) {
    let prev = world.get(&format!("/v1/principals/{}", actor.principal)).json()["prev"].clone();
    let prev = RecordId::parse(prev.as_str().unwrap()).unwrap();
    let place = Place::Chain { log: world.log, prev };
    world.add(&world.sign(&world.cast.root, place, enrolment(actor, groups)));
}

fn list(world: &World, query: &str) -> Value {
    let answer = world.get(&format!("/v1/approvals?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The ids that a listing gives.
fn ids(world: &World, query: &str) -> Vec<String> {
    let listed = list(world, query);
    let id = |approval: &Value| approval["proposal"].as_str().unwrap().to_owned();
    listed["approvals"].as_array().unwrap().iter().map(id).collect()
}

fn show(world: &World, proposal: &UnverifiedRecord) -> Value {
    let answer = world.get(&format!("/v1/approvals/{}", proposal.id()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn status(world: &World, proposal: &UnverifiedRecord) -> String {
    show(world, proposal)["status"].as_str().unwrap().to_owned()
}

/// The ids of these, the last first.
fn newest_first(proposals: &[&UnverifiedRecord]) -> Vec<String> {
    proposals.iter().rev().map(|proposal| proposal.id().to_string()).collect()
}

#[test]
fn an_approval_says_what_it_waits_for_and_what_was_decided() {
    let world = World::peopled();
    let proposal = proposed(&world, "one", "db.vacuum");
    let first = because(&world, &world.cast.ana, &proposal, Ruling::Approve, "=cmd()\n\t\"\u{202e}");
    let answer = world.get("/v1/approvals?status=open");
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let listed = &answer.json()["approvals"][0];
    assert!(members(listed).is_sorted() && members(&listed["decisions"][0]).is_sorted());
    let Body::Proposal(body) = proposal.body() else { panic!("a proposal") };
    let decision = world.get(&format!("/v1/records/{first}")).json();
    let genesis = world.get("/v1/log").json()["size"].as_u64().unwrap();
    assert!(listed["log_time"].as_u64().unwrap() >= listed["time"].as_u64().unwrap());
    assert_eq!(
        *listed,
        json!({
            "action": {"digest": body.action.digest().to_string(), "target": "db-1", "tool": "db.vacuum"},
            "decisions": [{"approver": "ana", "id": first.to_string(), "index": listed["decisions"][0]["index"],
                "reason": "=cmd()\n\t\"\u{202e}", "rule": null, "surface": "terminal", "time": decision["time"],
                "verdict": "approve", "withdrawn": null}],
            "ended_by": null, "executions": [], "expires_at": null, "index": listed["index"],
            "log_time": listed["log_time"], "policy": world.policy().to_string(),
            "proposal": proposal.id().to_string(), "proposer": "scout", "requester": "gate", "review_url": null, "risk": "high",
            "rules": [{"met": false, "name": listed["rules"][0]["name"], "requirements":
                [{"approved": ["ana"], "count": 2, "groups": ["sre"], "principals": []}]}],
            "run": proposal.run().unwrap().to_string(), "status": "open", "supersedes": null, "tags": [],
            "preview": {"outcome": null, "wanted": false}, "time": proposal.time().get(), "timers": [],
        })
    );
    let mut alone = show(&world, &proposal);
    assert_eq!(alone.as_object_mut().unwrap().remove("size"), Some(json!(genesis)));
    assert_eq!(alone, *listed);

    let second = world.decision(&world.cast.bo, &proposal, Ruling::Approve, now());
    world.add(&second);
    let approved = show(&world, &proposal);
    let Body::Decision(decided) = second.body() else { panic!("a decision") };
    let until = decided.window.as_ref().unwrap().until.get();
    assert_eq!(approved["status"], "approved");
    assert!(approved["expires_at"].as_u64().unwrap().abs_diff(until) < 5_000, "{approved}");
    assert_eq!(approved["rules"][0]["met"], true);
    let run = proposal.run().unwrap();
    let withdrawn = withdraw(&world, &world.cast.ana, run, first);
    let open = show(&world, &proposal);
    assert_eq!((&open["status"], &open["expires_at"]), (&json!("open"), &Value::Null));
    assert_eq!(open["decisions"][0]["withdrawn"], withdrawn.to_string());
    assert_eq!(open["rules"][0]["requirements"][0]["approved"], json!(["bo"]));
}

#[test]
fn each_status_is_told_and_can_be_asked_for() {
    let world = World::peopled();
    let Cast { ana, bo, scout } = Cast::of(&world);
    let open = proposed(&world, "open", "t.open");
    let both =
        |proposal: &UnverifiedRecord| [ana, bo].map(|by| decide(&world, by, proposal, Ruling::Approve));
    let approved = proposed(&world, "approved", "t.approved");
    both(&approved);
    let rejected = proposed(&world, "rejected", "t.rejected");
    let no = decide(&world, bo, &rejected, Ruling::Reject);
    let sent_back = proposed(&world, "back", "t.back");
    decide(&world, ana, &sent_back, Ruling::RequestChanges);
    let old = proposed(&world, "old", "t.old");
    let new = propose(&world, old.run().unwrap(), old.id(), ("t.new", "db-1"), Some(old.id()));
    world.add(&new);
    let expired = proposed(&world, "expired", "t.expired");
    for by in [ana, bo] {
        world.add(&world.decision(by, &expired, Ruling::Approve, now() - WINDOW - 1_000));
    }
    let cancelled = proposed(&world, "cancelled", "t.cancelled");
    withdraw(&world, scout, cancelled.run().unwrap(), cancelled.id());
    let done: Vec<_> = [None, Some(Status::Succeeded), Some(Status::Failed), Some(Status::Unknown)]
        .into_iter()
        .map(|status| {
            let name = status.map_or("executing", Status::as_str);
            let proposal = proposed(&world, name, &format!("t.{name}"));
            let execution = execute(&world, &proposal, &both(&proposal));
            if let Some(status) = status {
                report(&world, proposal.run().unwrap(), execution, status);
            }
            (name, proposal, execution)
        })
        .collect();
    let all = [&open, &approved, &rejected, &sent_back, &old, &new, &expired, &cancelled];
    let all: Vec<_> = all.into_iter().chain(done.iter().map(|(_, proposal, _)| proposal)).collect();
    assert_eq!(ids(&world, ""), newest_first(&all));
    for (word, these) in [
        ("open", vec![&open, &new]),
        ("approved", vec![&approved]),
        ("rejected", vec![&rejected]),
        ("changes_requested", vec![&sent_back]),
        ("superseded", vec![&old]),
        ("expired", vec![&expired]),
        ("cancelled", vec![&cancelled]),
        ("denied", vec![]),
    ] {
        assert_eq!(ids(&world, &format!("status={word}")), newest_first(&these), "{word}");
    }
    for (word, proposal, execution) in &done {
        assert_eq!(ids(&world, &format!("status={word}")), newest_first(&[proposal]), "{word}");
        let executions = show(&world, proposal)["executions"].clone();
        let status = if *word == "executing" { Value::Null } else { json!(word) };
        let (index, named) = (executions[0]["index"].clone(), executions[0]["decisions"].clone());
        let id = execution.to_string();
        assert_eq!(named.as_array().unwrap().len(), 2, "ana's and bo's");
        let expected = json!([{"decisions": named, "id": id, "index": index, "retries": null, "review": null, "runtime": "gate", "status": status}]);
        assert_eq!(executions, expected);
    }
    assert_eq!(show(&world, &rejected)["ended_by"], no.to_string());
    assert_eq!(show(&world, &old)["ended_by"], new.id().to_string());
    assert_eq!(show(&world, &new)["supersedes"], old.id().to_string());
    // With the policy, all that are live are another matter.
    world.set_policy(&json!([{"effect": "deny", "match": {"always": true}, "name": "never"}]));
    let live = [&open, &approved, &new, &expired];
    assert_eq!(ids(&world, "status=denied"), newest_first(&live));
    assert!(ids(&world, "status=open").is_empty());
}

struct Cast<'w> {
    ana: &'w Actor,
    bo: &'w Actor,
    scout: &'w Actor,
}

impl<'w> Cast<'w> {
    fn of(world: &'w World) -> Self {
        Self { ana: &world.cast.ana, bo: &world.cast.bo, scout: &world.cast.scout }
    }
}

#[test]
fn principal_tool_and_time_filter() {
    let world = World::peopled();
    let Cast { ana, scout, .. } = Cast::of(&world);
    let first = proposed(&world, "one", "db.vacuum");
    decide(&world, ana, &first, Ruling::Approve);
    let trigger = world.sign(&world.cast.fixer, world.alone(), trigger_body(scout, "by fixer"));
    let run = RunId::started_by(world.add(&trigger));
    thread::sleep(Duration::from_millis(20));
    let second = propose(&world, run, trigger.id(), ("db.drop", "a"), None);
    world.add(&second);
    let third = proposed(&world, "three", "mail.send");
    for (query, these) in [
        ("principal=scout", vec![&first, &second, &third]),
        ("principal=ana", vec![&first]),
        ("principal=fixer", vec![&second]),
        ("principal=nobody", vec![]),
        ("tool=db.*", vec![&first, &second]),
        ("tool=*.vacuum", vec![&first]),
        ("tool=db", vec![]),
        ("tool=db.*&principal=fixer&status=open", vec![&second]),
    ] {
        assert_eq!(ids(&world, query), newest_first(&these), "{query}");
    }
    let since = show(&world, &second)["log_time"].as_u64().unwrap();
    assert_eq!(ids(&world, &format!("since={since}")), newest_first(&[&second, &third]));
    assert_eq!(ids(&world, &format!("since={}", since + 60_000)), newest_first(&[]));
    for query in [
        "status=pending",
        "status=open,denied",
        "principal=%20",
        "approver=A%20B",
        "tool=",
        "tool=*********",
        "since=x",
        "limit=0",
        "limit=101",
        "before=-1",
        "color=red",
    ] {
        world.get(&format!("/v1/approvals?{query}")).is_problem(400, "query-invalid");
    }
}

#[test]
fn an_approver_sees_what_they_may_decide_now() {
    let world = World::peopled();
    let Cast { bo, scout, .. } = Cast::of(&world);
    let plain = proposed(&world, "plain", "t.plain");
    // Whoever asked for it must stay out, if they are the human beside the agent of their name.
    let fixer = Actor::new("fixer", Role::Human);
    enrol(&world, &fixer, &["sre"]);
    let trigger = world.sign(&world.cast.fixer, world.alone(), trigger_body(scout, "by fixer"));
    let run = RunId::started_by(world.add(&trigger));
    let asked = propose(&world, run, trigger.id(), ("t.asked", "a"), None);
    world.add(&asked);
    let may = |who: &str| ids(&world, &format!("approver={who}"));
    assert_eq!(may("bo"), newest_first(&[&plain, &asked]));
    assert_eq!(may("ana"), newest_first(&[&plain, &asked]));
    assert_eq!(may("fixer"), newest_first(&[&plain]));
    // Neither role nor group.
    assert!(may("scout").is_empty() && may("gate").is_empty() && may("root").is_empty());
    let decision = decide(&world, bo, &plain, Ruling::Approve);
    assert_eq!(may("bo"), newest_first(&[&asked]));
    withdraw(&world, bo, plain.run().unwrap(), decision);
    assert_eq!(may("bo"), newest_first(&[&plain, &asked]));
    // Approved under a policy that is none any more, it is to be decided again.
    decide(&world, bo, &plain, Ruling::Approve);
    let rule = json!({"effect": "require", "match": {"tool": "t.plain"}, "name": "plain", "requirements":
        [{"count": 1, "principals": ["bo"]}], "segregation": false, "uses": 1, "window": WINDOW});
    world.set_policy(&json!([rule]));
    assert_eq!((may("bo"), may("ana")), (newest_first(&[&plain]), vec![]));
    assert_eq!(status(&world, &asked), "denied", "no rule is about it");
    decide(&world, bo, &plain, Ruling::Reject);
    assert!(may("bo").is_empty());
}

#[test]
fn pages_follow_one_another() {
    let world = World::peopled();
    let proposals: Vec<_> = (0..5).map(|n| proposed(&world, &format!("e-{n}"), "t")).collect();
    let (mut seen, mut before, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(&world, &format!("limit=2{before}"));
        let id = |approval: &Value| approval["proposal"].as_str().unwrap().to_owned();
        seen.extend(page["approvals"].as_array().unwrap().iter().map(id));
        pages += 1;
        let Some(next) = page["next"].as_u64() else { break };
        before = format!("&before={next}");
    }
    assert_eq!((seen, pages), (newest_first(&proposals.iter().collect::<Vec<_>>()), 3));
    let index = show(&world, &proposals[1])["index"].as_u64().unwrap();
    assert_eq!(ids(&world, &format!("before={index}")), newest_first(&[&proposals[0]]));
    assert_eq!(list(&world, "limit=5")["next"], Value::Null);
}

/// Adds so many proposals to one run.
fn many(world: &World, count: usize) -> Vec<UnverifiedRecord> {
    let mut all = Vec::new();
    while all.len() < count {
        let trigger = world.trigger(&format!("many-{}", all.len()));
        let run = RunId::started_by(trigger.id());
        let one = |n: usize| propose(world, run, trigger.id(), ("t", &format!("db-{n}")), None);
        let proposals: Vec<_> = (0..(count - all.len()).min(1_000)).map(one).collect();
        let mut batch = vec![trigger.clone()];
        batch.extend(proposals.iter().cloned());
        assert!(world.batch(&batch).iter().all(|answer| answer["status"] == "included"));
        all.extend(proposals);
    }
    all
}

#[test]
fn a_request_looks_at_a_bounded_number_and_says_where_to_go_on() {
    let world = World::peopled();
    let first = proposed(&world, "first", "t.first");
    decide(&world, &world.cast.ana, &first, Ruling::Reject);
    many(&world, 4_096);
    let page = list(&world, "status=rejected");
    assert_eq!(page["approvals"], json!([]));
    let next = page["next"].as_u64().unwrap();
    assert_eq!(ids(&world, &format!("status=rejected&before={next}")), newest_first(&[&first]));
    // Among the live ones it is not even looked at.
    assert_eq!(list(&world, "tool=t.first")["next"], next);
    assert_eq!(list(&world, "tool=t.first&status=open")["next"], Value::Null);
}

#[test]
fn a_proposal_is_waited_for() {
    let world = World::peopled();
    let proposal = proposed(&world, "one", "t");
    let path =
        |unless: &str, wait: u64| format!("/v1/approvals/{}?unless={unless}&wait={wait}", proposal.id());
    let asked = |unless: &str, wait: u64| {
        let begun = Instant::now();
        let status = world.get(&path(unless, wait)).json()["status"].as_str().unwrap().to_owned();
        (status, begun.elapsed())
    };
    let (status, took) = asked("rejected", 20_000);
    assert!(status == "open" && took < Duration::from_secs(5), "{status} {took:?}");
    let (status, took) = asked("open", 300);
    assert!(status == "open" && took >= Duration::from_millis(300), "{status} {took:?}");
    let woken = |by: &dyn Fn()| {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| (asked("open", 20_000).0, Instant::now()));
            thread::sleep(Duration::from_millis(150));
            proposed(&world, "another", "t");
            thread::sleep(Duration::from_millis(150));
            assert!(!waiting.is_finished());
            by();
            let done = Instant::now();
            let (status, woken) = waiting.join().unwrap();
            assert!(woken.duration_since(done) < Duration::from_secs(3));
            status
        })
    };
    decide(&world, &world.cast.ana, &proposal, Ruling::Approve);
    let decided = woken(&|| {
        decide(&world, &world.cast.bo, &proposal, Ruling::Approve);
    });
    assert_eq!(decided, "approved");
    let run = proposal.run().unwrap();
    let approval = show(&world, &proposal)["decisions"][0]["id"].as_str().unwrap().to_owned();
    withdraw(&world, &world.cast.ana, run, RecordId::parse(&approval).unwrap());
    // Nothing of the run says so.
    let denied = woken(&|| {
        world.set_policy(&json!([{"effect": "deny", "match": {"always": true}, "name": "never"}]));
    });
    assert_eq!(denied, "denied");
    world.get(&path("open", 60_001)).is_problem(400, "query-invalid");
    world.get(&path("", 1)).is_problem(400, "query-invalid");
    for unknown in [proposal.run().unwrap().to_string(), "sha256:0".to_owned()] {
        world.get(&format!("/v1/approvals/{unknown}")).is_problem(404, "proposal-unknown");
    }
}

#[test]
fn approvals_whose_time_is_over_are_waited_for_and_told() {
    let world = World::peopled();
    let proposal = proposed(&world, "one", "t");
    let from = now() + 2_500 - WINDOW;
    let path = format!("/v1/approvals/{}?unless=approved&wait=20000", proposal.id());
    let events = Events::of(&world, "", None);
    for by in [&world.cast.ana, &world.cast.bo] {
        world.add(&world.decision(by, &proposal, Ruling::Approve, from));
        events.next();
    }
    assert_eq!(status(&world, &proposal), "approved");
    let last = world.checkpoint().checkpoint().head().size.0 - 1;
    thread::scope(|scope| {
        let waiting = scope.spawn(|| world.get(&path).json()["status"].clone());
        thread::sleep(Duration::from_millis(2_700));
        // Log time is that of the last snapshot.
        world.add(&world.trigger("later"));
        assert_eq!(waiting.join().unwrap(), "expired");
    });
    for events in [events, Events::of(&world, "", Some(last))] {
        assert_eq!(events.outline().1, "expired");
        assert!(events.is_silent());
    }
    // Whoever heard of it is not told again.
    let answer = world.batch(&[world.trigger("later still"), world.trigger("and later")]);
    let last = answer[1]["index"].as_u64().unwrap();
    assert!(Events::of(&world, "", Some(last)).is_silent());
}

/// A log whose server says when a time is out, under a rule with a step and a time-out.
fn timed() -> World {
    let (mut world, key) = World::with_policy_key();
    let rules = json!([{"effect": "require", "match": {"always": true}, "name": "two", "requirements":
            [{"count": 2, "groups": ["sre"]}], "escalation": [{"after": 1_000, "to": {"groups": ["leads"]}}],
            "timeout": {"after": 2_500, "then": "reject"}, "segregation": true, "uses": 1, "window": WINDOW}]);
    world.start_under(&key, &rules);
    let lead = Actor::new("lead", Role::Human);
    world.add(&world.sign(&world.cast.root, world.after_genesis(), enrolment(&lead, &["leads"])));
    world
}

#[test]
fn an_escalation_asks_more_people_and_a_time_out_ends_the_wait() {
    let world = timed();
    let proposal = proposed(&world, "one", "t");
    let before = show(&world, &proposal);
    let time = before["log_time"].as_u64().unwrap();
    assert_eq!(
        before["timers"],
        json!([{"due": time + 1_000, "rule": "two", "says": "escalate"}, {"due": time + 2_500, "rule": "two", "says": "reject"}])
    );
    assert_eq!(before["expires_at"], time + 2_500);
    let asked = |view: &Value| view["rules"][0]["requirements"][0]["groups"].clone();
    assert_eq!(asked(&before), json!(["sre"]));
    assert!(ids(&world, "approver=lead").is_empty());
    let path = format!("/v1/approvals/{}", proposal.id());
    let run = proposal.run().unwrap();
    world.get(&format!("/v1/runs/{run}?after=2&wait=20000"));
    let escalated = world.get(&path).json();
    assert_eq!(asked(&escalated), json!(["leads", "sre"]));
    assert_eq!(escalated["timers"].as_array().unwrap().len(), 1);
    assert_eq!(ids(&world, "approver=lead"), newest_first(&[&proposal]));
    let over = world.get(&format!("{path}?unless=open&wait=20000")).json();
    assert_eq!((&over["status"], &over["decisions"][0]["rule"]), (&json!("rejected"), &json!("two")));
    assert_eq!((&over["timers"], &over["expires_at"]), (&json!([]), &Value::Null));
    assert!(ids(&world, "approver=lead").is_empty());
    assert_eq!(ids(&world, "principal=clock"), newest_first(&[&proposal]));
}

/// A stream of events, read in the background.
struct Events(mpsc::Receiver<(u64, Value)>);

impl Events {
    /// Connects, and waits until the server watches.
    fn of(world: &World, query: &str, after: Option<u64>) -> Self {
        let after = after.map(|after| after.to_string());
        let headers: Vec<_> = after.iter().map(|after| ("last-event-id", after.as_str())).collect();
        let stream = begin(world.address(), "GET", &format!("/v1/approvals/events{query}"), &headers, b"");
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        assert!(lines.next().unwrap().contains(" 200 "));
        assert!(
            lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line.contains("text/event-stream"))
        );
        let (send, events) = mpsc::channel();
        thread::spawn(move || {
            let (mut id, mut named) = (None, false);
            for line in lines {
                if let Some(text) = line.strip_prefix("id: ") {
                    id = text.parse().ok();
                } else if line == "event: approval" {
                    named = true;
                } else if let Some(data) = line.strip_prefix("data: ") {
                    assert!(std::mem::take(&mut named));
                    let event = (id.take().unwrap(), serde_json::from_str(data).unwrap());
                    if send.send(event).is_err() {
                        return;
                    }
                }
            }
        });
        Self(events)
    }

    fn next(&self) -> (u64, Value) {
        self.0.recv_timeout(Duration::from_secs(10)).expect("an event")
    }

    /// The tool, status and number of decisions that the next event says, and its id.
    fn outline(&self) -> (String, String, usize, u64) {
        let (id, data) = self.next();
        let text = |data: &Value, name: &str| data[name].as_str().unwrap().to_owned();
        let decisions = data["decisions"].as_array().unwrap().len();
        (text(&data["action"], "tool"), text(&data, "status"), decisions, id)
    }

    fn is_silent(&self) -> bool {
        self.0.recv_timeout(Duration::from_millis(300)).is_err()
    }
}

#[test]
fn changes_are_told_as_they_come_and_after_the_last_event() {
    let world = World::peopled();
    let old = proposed(&world, "before", "t.old");
    let (all, others) = (Events::of(&world, "", None), Events::of(&world, "?tool=t.no*", None));
    assert!(all.is_silent(), "what was before is not told");
    #[track_caller]
    fn told(events: &Events, tool: &str, status: &str, decisions: usize) -> u64 {
        let (its_tool, its_status, count, id) = events.outline();
        assert_eq!((&*its_tool, &*its_status, count), (tool, status, decisions));
        id
    }
    decide(&world, &world.cast.ana, &old, Ruling::Approve);
    let first = told(&all, "t.old", "open", 1);
    // Both change with one record.
    let new = propose(&world, old.run().unwrap(), old.id(), ("t.new", "a"), Some(old.id()));
    world.add(&new);
    let half = told(&all, "t.old", "superseded", 1);
    let both = told(&all, "t.new", "open", 0);
    assert_eq!(both, show(&world, &new)["index"].as_u64().unwrap());
    assert!(first <= half && half < both);
    let no = proposed(&world, "no", "t.no");
    told(&all, "t.no", "open", 0);
    world.add(&world.note(no.run().unwrap(), no.id(), "changes nothing"));
    assert!(all.is_silent());
    decide(&world, &world.cast.bo, &no, Ruling::Reject);
    let last = told(&all, "t.no", "rejected", 1);
    told(&others, "t.no", "open", 0);
    told(&others, "t.no", "rejected", 1);
    assert!(others.is_silent());
    // Whoever saw but the first of two that one record changed is told both again; nothing is told twice otherwise.
    for (after, count) in [(0, 3), (half, 3), (both, 1), (last, 0)] {
        let rest = [("t.old", "superseded", 1), ("t.new", "open", 0), ("t.no", "rejected", 1)];
        let resumed = Events::of(&world, "", Some(after));
        for (tool, status, decisions) in &rest[3 - count..] {
            told(&resumed, tool, status, *decisions);
        }
        assert!(resumed.is_silent(), "{after}");
    }
    let answer = world.request("GET", "/v1/approvals/events", &[("last-event-id", "x")], b"");
    answer.is_problem(400, "query-invalid");
    world.get("/v1/approvals/events?limit=3").is_problem(400, "query-invalid");
}

#[test]
fn a_policy_changes_what_is_live_and_that_is_told() {
    let world = World::peopled();
    let open = proposed(&world, "open", "t.open");
    let over = proposed(&world, "over", "t.over");
    decide(&world, &world.cast.ana, &over, Ruling::Reject);
    let last = world.checkpoint().checkpoint().head().size.0 - 1;
    let watching = Events::of(&world, "", None);
    world.set_policy(&json!([{"effect": "deny", "match": {"always": true}, "name": "never"}]));
    for events in [watching, Events::of(&world, "", Some(last))] {
        let (_, data) = events.next();
        assert_eq!(
            (data["proposal"].as_str(), &data["status"]),
            (Some(&*open.id().to_string()), &json!("denied"))
        );
        assert!(events.is_silent());
    }
}

#[test]
fn whoever_may_not_read_sees_no_approvals() {
    let mut world = World::created();
    world.config.reads = token("sixteen-characters-and-more", world.dir.path());
    world.start();
    for path in ["/v1/approvals", "/v1/approvals/x", "/v1/approvals/events", "/review/x"] {
        world.get(path).is_problem(401, "token-required");
    }
    let headers = [("authorization", "Bearer sixteen-characters-and-more")];
    let answer = world.request("GET", "/v1/approvals", &headers, b"");
    assert_eq!(answer.json()["approvals"], json!([]));
}
