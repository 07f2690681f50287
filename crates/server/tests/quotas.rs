//! Quotas: who floods waits, whoever else is served; and nobody uses up what another has.
//!
//! A batch is taken whole: of a quota of one a minute, thirty entries are paid for in half an hour, which no test waits for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    num::NonZeroU32,
};

use common::*;
use counterfoil_receipt::{Body, Place, RecordId, RunId, UnverifiedRecord, body};
use counterfoil_testkit::{Actor, enrolment};
use serde_json::json;

const ONE: Option<NonZeroU32> = NonZeroU32::new(1);

/// A log in which scout has a second key, and had a third, and a run of scout's; from now on there are quotas.
fn bounded() -> (World, RunId, RecordId) {
    let mut world = World::peopled();
    let (root, scout) = (world.cast.root.clone(), world.cast.scout.clone());
    for generation in [1, 2] {
        let path = format!("/v1/principals/{}", scout.principal);
        let prev = RecordId::parse(world.get(&path).json()["prev"].as_str().unwrap()).unwrap();
        let place = Place::Chain { log: world.log, prev };
        world.add(&world.sign(&root, place, enrolment(&scout.with_key(generation), &[])));
    }
    let target = body::RevocationTarget::Key(scout.with_key(2).key());
    let revocation = body::Revocation { distrust_from: None, reason: None, target };
    world.add(&world.sign(&root, world.alone(), revocation));
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    world.stop().unwrap();
    world.config.quota = ONE;
    world.start();
    (world, run, trigger.id())
}

fn notes(world: &World, by: &Actor, run: RunId, parent: RecordId, count: usize) -> Vec<UnverifiedRecord> {
    let note = |n: usize| body::Observation {
        items: None,
        kind: body::ObservationKind::Note,
        summary: Some(counterfoil_testkit::text(&format!("note {n}"))),
    };
    (0..count).map(|n| world.sign(by, world.in_run(run, parent), note(n))).collect()
}

fn all_are(answers: &[serde_json::Value], count: usize, status: &str) {
    assert_eq!(answers.len(), count);
    assert!(answers.iter().all(|answer| answer["status"] == status), "{answers:?}");
}

/// That nothing was taken, and when to come again.
#[track_caller]
fn is_over(answer: &Answer) {
    answer.is_problem(429, "quota-exceeded");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30 * 60).contains(&seconds), "{seconds}");
}

#[test]
fn who_floods_waits_and_the_others_are_served() {
    let (world, run, trigger) = bounded();
    let scout = world.cast.scout.clone();
    let flood = notes(&world, &scout, run, trigger, 30);
    all_are(&world.batch(&flood), 30, "included");
    let size = world.checkpoint().checkpoint().head().size;

    let more = notes(&world, &scout, run, flood[0].id(), 2);
    is_over(&world.post(more[0].bytes()));
    // All keys together; and of a batch with others in it nothing is taken or charged.
    is_over(&world.post(notes(&world, &scout.with_key(1), run, trigger, 1)[0].bytes()));
    let other = world.trigger("two");
    let mixed = [other.bytes(), b"\n", more[1].bytes(), b"\n"].concat();
    is_over(&world.post_lines(&mixed));
    assert_eq!(world.checkpoint().checkpoint().head().size, size);
    world.add(&other);

    // What is logged is answered again as often as one likes, and among new ones of somebody else.
    all_are(&world.batch(&flood), 30, "included");
    let fixer = notes(&world, &world.cast.fixer, run, trigger, 1);
    let answers = world.batch(&[&flood[..1], &fixer[..]].concat());
    assert_eq!(answers[0]["status"], "included");
    assert_eq!(answers.len(), 2);
}

#[test]
fn nobody_uses_up_what_another_has() {
    let (world, run, trigger) = bounded();
    let scout = world.cast.scout.clone();
    // Not by another's name over an own key, which the one who signed pays for; not with a key that nobody enrolled, or that was
    // revoked; not with a signature that does not hold.
    let claiming = world.cast.fixer.claiming_principal(&scout.principal);
    all_are(&world.batch(&notes(&world, &claiming, run, trigger, 30)), 30, "rejected");
    is_over(&world.post(notes(&world, &world.cast.fixer, run, trigger, 1)[0].bytes()));
    all_are(&world.batch(&notes(&world, &scout.with_key(9), run, trigger, 30)), 30, "rejected");
    all_are(&world.batch(&notes(&world, &scout.with_key(2), run, trigger, 30)), 30, "rejected");
    is_over(&world.post(notes(&world, &scout.with_key(2), run, trigger, 1)[0].bytes()));
    let forged: Vec<u8> = notes(&world, &scout, run, trigger, 30)
        .iter()
        .flat_map(|note| {
            String::from_utf8(note.bytes().to_vec()).unwrap().replace("note", "mote").into_bytes()
        })
        .collect();
    let forged = String::from_utf8(forged).unwrap().replace("}{", "}\n{");
    all_are(&world.post_lines(forged.as_bytes()).lines(), 30, "rejected");
    world.add(&notes(&world, &scout, run, trigger, 1)[0]);
}

/// A request from an address of this machine.
fn add_from(local: &str, to: SocketAddr, entry: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    let head = "POST /add HTTP/1.1\r\nhost: localhost\r\nconnection: close";
    (&stream).write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n", entry.len()).as_bytes()).unwrap();
    (&stream).write_all(entry.as_bytes()).unwrap();
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_peer_of_a_raw_log_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (config, _) = raw_log(dir.path(), ONE);
    let running = Running::start(&config);
    let address = running.address;
    let ends = |answer: String, with: &str| assert!(answer.ends_with(with), "{answer}");
    let is_over = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("quota-exceeded"), "{answer}");
        assert!(answer.contains("\r\nretry-after: "), "{answer}");
    };
    ends(add_from("127.0.0.2", address, "a"), "\r\n\r\n0");
    is_over(add_from("127.0.0.2", address, "b"));
    // Its body is not read any more, so nobody knows that this is no new entry.
    is_over(add_from("127.0.0.2", address, "a"));
    // Of somebody else it is none, and costs nothing.
    ends(add_from("127.0.0.3", address, "a"), "\r\n\r\n0");
    ends(add_from("127.0.0.3", address, "b"), "\r\n\r\n1");
    is_over(add_from("127.0.0.3", address, "c"));
    running.stop().unwrap();
}

#[test]
fn who_has_as_many_open_proposals_as_one_may_waits_for_decisions() {
    let mut world = World::peopled();
    world.stop().unwrap();
    world.files_mut().open_proposals = NonZeroU32::new(2);
    world.start();
    let (first, proposal) = world.proposed("one");
    let (second, other) = world.proposed("two");
    let scout = world.cast.scout.clone();
    let trigger = world.trigger("three");
    let run = RunId::started_by(world.add(&trigger));
    let third = world.proposal(run, trigger.id());
    let size = world.get("/healthz").json()["size"].clone();
    world.post(third.bytes()).is_problem(429, "proposals-open");
    assert_eq!(world.get("/healthz").json()["size"], size, "nothing was taken");

    // A revision is no more than there was, and what is an entry has its answer.
    let Body::Proposal(body) = proposal.body() else { panic!("it is a proposal") };
    let body = body::Proposal { supersedes: Some(proposal.id()), ..*body.clone() };
    let revised = world.sign(&scout, world.in_run(first, proposal.id()), body);
    world.add(&revised);
    assert_eq!(world.post(revised.bytes()).status, 200);
    world.post(third.bytes()).is_problem(429, "proposals-open");

    let cancel = body::Cancel { reason: None, target: other.id() };
    world.add(&world.sign(&scout, world.in_run(second, other.id()), cancel));
    world.add(&third);
}

#[test]
fn no_revision_of_what_nobody_is_asked_about_makes_room() {
    let mut world = World::peopled();
    world.stop().unwrap();
    world.files_mut().open_proposals = NonZeroU32::new(1);
    world.start();
    world.set_policy(&json!([{"effect": "deny", "match": {"always": true}, "name": "never"}]));
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    // What is denied is not open, and costs no room.
    let denied: Vec<UnverifiedRecord> = (0..3)
        .map(|_| {
            let proposal = world.proposal(run, trigger.id());
            world.add(&proposal);
            proposal
        })
        .collect();
    world.set_policy(&json!([
        {"effect": "deny", "match": {"argument": {"path": "/n", "present": false}}, "name": "never"},
        {"effect": "require", "match": {"always": true}, "name": "ask",
         "requirements": [{"count": 1}], "segregation": true, "uses": 1, "window": 1_800_000},
    ]));
    let revise = |old: &UnverifiedRecord, n: u64| {
        let Body::Proposal(body) = old.body() else { panic!("it is a proposal") };
        let action = counterfoil_testkit::action("db.vacuum", json!({"n": n}));
        let body = body::Proposal { action, supersedes: Some(old.id()), ..*body.clone() };
        world.sign(&world.cast.scout, world.in_run(run, old.id()), body)
    };
    let first = revise(&denied[0], 1);
    world.add(&first);
    world.post(revise(&denied[1], 2).bytes()).is_problem(429, "proposals-open");
    // What is open makes room for its own revision.
    world.add(&revise(&first, 3));
    world.post(revise(&denied[2], 4).bytes()).is_problem(429, "proposals-open");
}

#[test]
fn proposals_of_the_same_moment_are_no_more_than_one_may_have() {
    let mut world = World::peopled();
    world.stop().unwrap();
    world.files_mut().open_proposals = NonZeroU32::new(2);
    world.start();
    let proposals: Vec<UnverifiedRecord> = (0..24)
        .map(|n| {
            let trigger = world.trigger(&format!("run {n}"));
            let run = RunId::started_by(world.add(&trigger));
            world.proposal(run, trigger.id())
        })
        .collect();
    let taken = std::thread::scope(|scope| {
        let post = |proposal: &UnverifiedRecord| world.post(proposal.bytes()).status;
        let posts: Vec<_> = proposals.iter().map(|proposal| scope.spawn(move || post(proposal))).collect();
        posts.into_iter().map(|post| post.join().unwrap()).filter(|status| *status == 200).count()
    });
    let open = world.get("/v1/approvals?status=open").json()["approvals"].as_array().unwrap().len();
    assert_eq!((taken, open), (2, 2));
}
