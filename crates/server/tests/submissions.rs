//! Submitting: what is admitted, what is refused and how, what becomes of payloads.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{collections::BTreeMap, io::Read as _, os::unix::fs::PermissionsExt as _};

use common::*;
use counterfoil_client::{SealedSet, seal_set};
use counterfoil_receipt::{
    Body, PolicyDigest, RecordId, Role, Root, RunId, Signer as _, UnverifiedRecord,
    action::Json,
    body::{self, Ruling},
    bundle::{DocumentLine, PayloadLine, SetProof, read_line, write_line},
    field::{Set, Whole},
};
use counterfoil_testkit::{Actor, WINDOW, action, enrolment, label, policy_document, trigger_body};
use counterfoil_tlog::{Hash, LeafIndex, SignedCheckpoint, UnverifiedNote, VerifierKey, inclusion};
use counterfoil_verify::{Conclusion, Dimension, KeyCache, check_signature, verify};
use serde_json::{Value, json};

/// Checks an inclusion as a client does that trusts nothing but the log's key.
fn check_inclusion(world: &World, record: &UnverifiedRecord, inclusion: &Value) -> u64 {
    let note = UnverifiedNote::parse(inclusion["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    let keys = std::slice::from_ref(&world.vkey);
    let checkpoint = SignedCheckpoint::open(note, ORIGIN, keys, &[] as &[VerifierKey]).unwrap();
    let proof: Vec<Hash> = inclusion["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    let index = inclusion["index"].as_u64().unwrap();
    let leaf = Hash::from(*record.id().as_bytes());
    inclusion::verify(leaf, LeafIndex(index), &proof, &checkpoint.checkpoint().head()).unwrap();
    assert_eq!(
        (inclusion["status"].as_str(), inclusion["id"].as_str()),
        (Some("included"), Some(&*record.id().to_string()))
    );
    index
}

/// Checks that a record is turned away with the log's signed rejection.
#[track_caller]
fn is_rejected(world: &World, bytes: &[u8], code: &str) {
    let size = world.checkpoint().checkpoint().head().size.0;
    let answer = world.post(bytes);
    assert_eq!(answer.status, 422, "{code}: {}", answer.text());
    assert_eq!(answer.header("counterfoil-code"), Some(code));
    let rejection = UnverifiedRecord::parse(&answer.body).unwrap();
    assert_eq!((rejection.author().key, rejection.author().role), (world.log_key.key(), Role::Log));
    let Ok(rejection) = check_signature(rejection, &mut KeyCache::default()) else {
        panic!("not signed by the log")
    };
    assert_eq!(rejection.log(), Some(world.log));
    let Body::Rejection(body) = rejection.body() else { panic!("{}", answer.text()) };
    assert_eq!((body.code.as_str(), body.size.get()), (code, size));
    assert!(body.rule.as_str().starts_with("R-"));
    assert_eq!(body.id, (bytes.len() <= 65_535).then(|| RecordId::of(bytes)));
    assert_eq!(body.statement, UnverifiedRecord::parse(bytes).ok().map(|record| record.statement()));
    assert_eq!(world.checkpoint().checkpoint().head().size.0, size, "a rejection is no entry");
}

#[test]
fn a_record_is_included_and_stays_where_it_is() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let first = world.post(trigger.bytes());
    assert_eq!((first.status, first.header("content-type")), (200, Some("application/json")));
    let index = check_inclusion(&world, &trigger, &first.json());
    world.add(&world.trigger("two"));
    // Again, after the log has grown: the same place, under a newer checkpoint.
    let again = world.post(trigger.bytes());
    assert_eq!(again.status, 200);
    assert_eq!(check_inclusion(&world, &trigger, &again.json()), index);
    let genesis = std::fs::read(&world.files().genesis).unwrap();
    assert_eq!(
        check_inclusion(&world, &UnverifiedRecord::parse(&genesis).unwrap(), &world.post(&genesis).json()),
        0
    );
}

#[test]
fn what_is_malformed_or_not_authentic_gets_a_signed_rejection() {
    let world = World::peopled();
    let cast = &world.cast;
    let trigger = world.trigger("one");
    let text = String::from_utf8(trigger.bytes().to_vec()).unwrap();
    is_rejected(&world, text.replacen(',', ", ", 1).as_bytes(), "json-not-canonical");
    is_rejected(&world, b"not json", "json-syntax");
    is_rejected(&world, b"{}", "field-missing");
    is_rejected(&world, &[b'{'; 65_536], "record-too-large");
    is_rejected(&world, text.replace("\"one\"", "\"two\"").as_bytes(), "signature-invalid");
    let stranger = Actor::new("stranger", Role::Runtime);
    is_rejected(
        &world,
        world.sign(&stranger, world.alone(), trigger_body(&cast.scout, "x")).bytes(),
        "key-unknown",
    );
    let person = world.sign(&cast.ana, world.alone(), trigger_body(&cast.scout, "x"));
    is_rejected(&world, person.bytes(), "role-not-allowed");
    let other_log = counterfoil_receipt::Place::Single { log: trigger.id() };
    is_rejected(
        &world,
        world.sign(&cast.gate, other_log, trigger_body(&cast.scout, "x")).bytes(),
        "log-mismatch",
    );
    let claimed = cast.gate.claiming_role(Role::Agent);
    is_rejected(
        &world,
        world.sign(&claimed, world.alone(), trigger_body(&cast.scout, "x")).bytes(),
        "key-role",
    );
    let claimed = cast.gate.claiming_principal(&cast.scout.principal);
    is_rejected(
        &world,
        world.sign(&claimed, world.alone(), trigger_body(&cast.scout, "x")).bytes(),
        "key-principal",
    );
}

#[test]
fn what_breaks_a_rule_of_its_place_gets_a_signed_rejection() {
    let world = World::peopled();
    let cast = &world.cast;
    let trigger = world.trigger("one");
    let run = RunId::started_by(trigger.id());
    is_rejected(&world, world.note(run, trigger.id(), "too early").bytes(), "run-unknown");
    world.add(&trigger);
    is_rejected(&world, cast.gate.sign_differently(&trigger).bytes(), "statement-repeated");
    is_rejected(&world, world.note(run, RecordId::of(b"?"), "an orphan").bytes(), "parent-unknown");
    let other = world.trigger("two");
    world.add(&other);
    is_rejected(&world, world.note(run, other.id(), "a foreign parent").bytes(), "parent-foreign");
    let enrolled = world.sign(&cast.root, world.after_genesis(), enrolment(&cast.engine, &[]));
    world.add(&enrolled);
    let again = world.sign(&cast.root, world.after_genesis(), enrolment(&cast.engine.with_key(1), &[]));
    is_rejected(&world, again.bytes(), "prev-mismatch");
    let rejection = world.post(b"{}").body;
    is_rejected(&world, &rejection, "not-an-entry");
    let revocation = body::Revocation {
        distrust_from: None,
        reason: None,
        target: body::RevocationTarget::Key(cast.gate.key()),
    };
    world.add(&world.sign(&cast.root, world.alone(), revocation));
    is_rejected(&world, world.trigger("three").bytes(), "key-revoked");
    // What was logged before is still answered with its entry.
    assert_eq!(world.post(trigger.bytes()).status, 200);
}

#[test]
fn executions_are_held_to_what_was_approved_and_when() {
    let world = World::peopled();
    let (proposal, decisions) = world.approved("one", now());
    let execution = world.execution(&proposal, &decisions, now());
    let Body::Execution(body) = execution.body() else { panic!() };
    let place = || execution.place().clone();
    let other = body::Execution { action: action("db.drop", json!({})), ..(**body).clone() };
    is_rejected(&world, world.sign(&world.cast.gate, place(), other).bytes(), "action-differs");
    let alone = body::Execution { decisions: Set::new([decisions[0]]).unwrap(), ..(**body).clone() };
    is_rejected(&world, world.sign(&world.cast.gate, place(), alone).bytes(), "quorum-not-met");
    let mut forked = (**body).clone();
    forked.basis.root = counterfoil_receipt::Root::from_bytes([7; 32]);
    is_rejected(&world, world.sign(&world.cast.gate, place(), forked).bytes(), "basis-fork");
    let late = world.execution(&proposal, &decisions, now() + 2 * WINDOW);
    is_rejected(&world, late.bytes(), "window-closed");
    world.add(&execution);
    is_rejected(&world, world.execution(&proposal, &decisions, now()).bytes(), "use-consumed");
}

#[test]
fn a_runtime_that_dates_its_execution_back_is_held_to_log_time() {
    let world = World::peopled();
    let over = now() - WINDOW - 1_000;
    let (proposal, decisions) = world.approved("over", over);
    is_rejected(&world, world.execution(&proposal, &decisions, over + 10).bytes(), "window-closed");
    let soon = now() + 600_000;
    let (proposal, decisions) = world.approved("soon", soon);
    is_rejected(&world, world.execution(&proposal, &decisions, soon + 10).bytes(), "window-closed");
}

#[test]
fn records_of_a_batch_may_name_each_other_and_each_gets_its_answer() {
    let world = World::started();
    let mut records = world.founding();
    let trigger = world.trigger("one");
    let run = RunId::started_by(trigger.id());
    let note = world.note(run, trigger.id(), "in the same batch");
    let stranger =
        world.sign(&Actor::new("stranger", Role::Agent), world.alone(), trigger_body(&world.cast.scout, "x"));
    records.extend([trigger, stranger, note]);
    let answers = world.batch(&records);
    assert_eq!(answers.len(), records.len());
    let checkpoints: Vec<&Value> =
        answers.iter().map(|answer| &answer["checkpoint"]).filter(|text| !text.is_null()).collect();
    assert_eq!(checkpoints.len(), 8);
    assert!(checkpoints.iter().all(|checkpoint| *checkpoint == checkpoints[0]), "one batch, one checkpoint");
    for (record, answer) in records.iter().zip(&answers) {
        if answer["status"] == "included" {
            check_inclusion(&world, record, answer);
        } else {
            assert_eq!((answer["status"].as_str(), record.id()), (Some("rejected"), records[7].id()));
            let rejection = UnverifiedRecord::parse(answer["rejection"].to_string().as_bytes()).unwrap();
            let Body::Rejection(body) = rejection.body() else { panic!() };
            assert_eq!((body.code.as_str(), body.id), ("key-unknown", Some(record.id())));
        }
    }
}

#[test]
fn answers_to_a_batch_bring_the_bundle_of_its_run_where_that_is_asked_for() {
    let world = World::peopled();
    let submit = |records: &[&UnverifiedRecord], query: &str| {
        let lines: Vec<u8> = records.iter().flat_map(|record| [record.bytes(), b"\n"].concat()).collect();
        let path = format!("/v1/records/batch?bundle={query}");
        world.request("POST", &path, &[("content-type", "application/jsonl")], &lines)
    };
    let bundle = |run: RunId| world.get(&format!("/v1/runs/{run}/bundle?last=latest")).body;
    // What follows so many answers.
    let behind = |answer: &Answer, answers: usize| {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/jsonl")),
            "{}",
            answer.text()
        );
        let lines = answer.body.split_inclusive(|byte| *byte == b'\n').skip(answers);
        lines.collect::<Vec<_>>().concat()
    };
    let trigger = world.trigger("one");
    let run = RunId::started_by(trigger.id());
    let note = world.note(run, trigger.id(), "in the same batch");
    assert_eq!(behind(&submit(&[&trigger], "latest"), 1), bundle(run));
    let answer = submit(&[&trigger, &note], "latest");
    assert_eq!(behind(&answer, 2), bundle(run));
    let verdict = verify(&behind(&answer, 2), &world.trust(), now());
    assert_eq!(verdict.state().run(&run).map(|run| run.count()), Some(2));
    // The answer is there before the bundle is made.
    let path = "/v1/records/batch?bundle=latest";
    let headers = [("content-type", "application/jsonl")];
    let (mut stream, mut raw) = (begin(world.address(), "POST", path, &headers, trigger.bytes()), Vec::new());
    stream.read_to_end(&mut raw).unwrap();
    let lines: Vec<&[u8]> = raw.split(|byte| *byte == b'\n').collect();
    let body = lines.iter().position(|line| line == b"\r").unwrap() + 1;
    let first_chunk = usize::from_str_radix(std::str::from_utf8(lines[body]).unwrap().trim(), 16).unwrap();
    assert_eq!(first_chunk, lines[body + 1].len() + 1, "is the one line that answers");
    // A long one comes in parts.
    let mut last = note.id();
    for round in 0..3 {
        let notes: Vec<_> = (0..200).map(|at| world.note(run, last, &format!("{round} {at}"))).collect();
        let answer = submit(&notes.iter().collect::<Vec<_>>(), "latest");
        last = notes[199].id();
        assert!(behind(&answer, 200) == bundle(run), "{round}");
    }
    // Where the last record is not in the log, or stands in no run, nothing follows.
    let stranger =
        world.sign(&Actor::new("stranger", Role::Agent), world.alone(), trigger_body(&world.cast.scout, "x"));
    let other = world.trigger("other");
    assert!(behind(&submit(&[&other, &stranger], "latest"), 2).is_empty());
    assert!(behind(&submit(&[&world.founding()[0]], "latest"), 1).is_empty());
    // What can't be asked for is refused before anything is taken.
    let third = world.trigger("third");
    submit(&[&third], "witnessed").is_problem(400, "query-invalid");
    assert_eq!(world.get(&format!("/v1/records/{}", third.id())).status, 404);
}

/// Rows of the index follow the answer; whoever reads through them waits for them.
#[test]
fn who_has_the_answer_finds_the_record_by_its_id_and_in_its_run() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    for round in 0..4 {
        let notes: Vec<_> =
            (0..200).map(|at| world.note(run, trigger.id(), &format!("{round} {at}"))).collect();
        let answers = world.batch(&notes);
        let read = world.get(&format!("/v1/runs/{run}"));
        assert_eq!(read.json()["records"].as_array().unwrap().len(), 1 + (round + 1) * 200);
        assert_eq!(
            (answers.len(), world.get(&format!("/v1/records/{}", notes[199].id())).status),
            (200, 200)
        );
    }
}

#[test]
fn what_stops_an_execution_goes_before_it_but_never_before_what_entitles_it() {
    let world = World::peopled();
    let (proposal, decisions) = world.approved("one", now());
    let execution = world.execution(&proposal, &decisions, now());
    let reject = world.decision(&world.cast.bo, &proposal, Ruling::Reject, now());
    let cy = Actor::new("cy", Role::Human);
    let enrolled = world.sign(&world.cast.root, world.after_genesis(), enrolment(&cy, &["sre"]));
    let answers = world.batch(&[execution.clone(), reject]);
    let statuses: Vec<&str> = answers.iter().map(|answer| answer["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["rejected", "included"]);
    assert_eq!(answers[0]["rejection"]["body"]["code"], "proposal-ended");
    // Enrolled in the same batch; without its enrolment, the rejection would come from nobody.
    let (proposal, decisions) = world.approved("two", now());
    let execution = world.execution(&proposal, &decisions, now());
    let reject = world.decision(&cy, &proposal, Ruling::Reject, now());
    let answers = world.batch(&[enrolled, execution, reject]);
    let statuses: Vec<&str> = answers.iter().map(|answer| answer["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["included", "rejected", "included"]);
}

#[test]
fn payloads_are_kept_if_an_admitted_record_names_them() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let (named, named_line) = payload("a.txt", b"named");
    let (unnamed, unnamed_line) = payload("b.txt", b"unnamed");
    let (refused, refused_line) = payload("c.txt", b"named by a record that is refused");
    let good = world.observation(run, trigger.id(), vec![named.clone()]);
    let bad = world.observation(run, RecordId::of(b"?"), vec![refused.clone()]);
    let lines =
        [&named_line[..], &unnamed_line, &refused_line, good.bytes(), b"\n", bad.bytes(), b"\n"].concat();
    let statuses: Vec<Value> =
        world.post_lines(&lines).lines().iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, ["included", "rejected"]);
    let kept = world.get(&payload_path(&named.commitment));
    assert_eq!((kept.status, &kept.body), (200, &named_line));
    world.get(&payload_path(&unnamed.commitment)).is_problem(404, "payload-unknown");
    world.get(&payload_path(&refused.commitment)).is_problem(404, "payload-unknown");
    let files = |place: &str| std::fs::read_dir(world.files().payload_dir.join(place)).unwrap().count();
    assert_eq!((files("payload"), files("incoming")), (1, 0));
    // What a logged record names can be brought later, with any batch.
    let (later, later_line) = payload("d.txt", b"later");
    let naming = world.observation(run, trigger.id(), vec![later.clone()]);
    world.add(&naming);
    world.get(&payload_path(&later.commitment)).is_problem(404, "payload-unknown");
    assert_eq!(world.post_lines(&[&later_line[..], naming.bytes(), b"\n"].concat()).status, 200);
    assert_eq!(world.get(&payload_path(&later.commitment)).body, later_line);
}

#[test]
fn a_payload_that_is_not_what_it_or_its_record_says_is_refused_with_all_of_its_batch() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let size = world.checkpoint().checkpoint().head().size;
    let (item, line) = payload("a.txt", b"content");
    let with = |line: &[u8], item: body::Item| {
        let record = world.observation(run, trigger.id(), vec![item]);
        world.post_lines(&[line, record.bytes(), b"\n"].concat())
    };
    let (_, other) = payload("a.txt", b"another");
    let forged = String::from_utf8(other).unwrap();
    let start = "{\"commitment\":\"".len();
    let forged = forged.replacen(&forged[start..start + 71], &item.commitment.to_string(), 1);
    with(forged.as_bytes(), item.clone()).is_problem(400, "body-unreadable");
    let longer = body::Item { size: Whole::new(8).unwrap(), ..item.clone() };
    with(&line, longer).is_problem(400, "body-unreadable");
    let renamed = body::Item { label: label("b.txt"), ..item.clone() };
    with(&line, renamed).is_problem(400, "body-unreadable");
    // With a space before it, it is no payload line but a record line, and gets an answer of its own.
    let answers = with(&[&b" "[..], &line].concat(), item.clone()).lines();
    assert_eq!(answers.iter().map(|answer| &answer["status"]).collect::<Vec<_>>(), ["rejected", "included"]);
    let record = world.observation(run, trigger.id(), vec![item]);
    world.post_lines(&[record.bytes(), b"\n", &line].concat()).is_problem(400, "body-unreadable");
    let after = world.checkpoint().checkpoint().head().size;
    // That was the one batch of which anything was taken.
    assert_eq!(after.0, size.0 + 2);
}

/// The lines of payloads.
fn payload_lines<'a>(payloads: impl IntoIterator<Item = &'a PayloadLine>) -> Vec<u8> {
    let mut lines = Vec::new();
    payloads.into_iter().for_each(|payload| write_line(payload, &mut lines));
    lines
}

/// An item set with as many pages.
fn pages(count: u8) -> SealedSet {
    let page = |number| (label(&format!("page {number}")), format!("content of page {number}").into_bytes());
    seal_set(label("pages"), (0..count).map(page).collect()).unwrap()
}

#[test]
fn an_item_set_is_submitted_with_its_payloads_and_a_bundle_discloses_those() {
    let mut world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let SealedSet { set, payloads } = pages(7);
    let other = pages(3);
    let record = world.naming(run, trigger.id(), vec![body::Evidence::Set(set.clone())]);
    // Of another set, which no record names, nothing is kept.
    let lines =
        [&payload_lines(&payloads[..4])[..], &payload_lines(&other.payloads), record.bytes()].concat();
    assert_eq!(world.post_lines(&lines).lines()[0]["status"], "included");
    let trust = world.trust();
    let disclosed = |world: &World| -> Vec<PayloadLine> {
        let bundle = world.get(&format!("/v1/runs/{run}/bundle"));
        let verdict = verify(&bundle.body, &trust, now());
        let require = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
        assert_eq!(verdict.conclude(&require), Conclusion::Shown, "{verdict:?}");
        let lines = bundle.text().lines().filter(|line| line.starts_with("{\"commitment\":"));
        let lines: Vec<PayloadLine> = lines.map(|line| read_line(line.as_bytes()).unwrap()).collect();
        let shown = verdict.openings().len();
        assert_eq!((shown, shown as u64 + verdict.undisclosed()), (lines.len(), 7));
        lines
    };
    let sorted = |payloads: &[PayloadLine]| {
        let mut payloads = payloads.to_vec();
        payloads.sort_by_key(|payload| payload.commitment);
        payloads
    };
    assert_eq!(disclosed(&world), sorted(&payloads[..4]));
    // The set is in the log: another of it can be brought with any batch, and without a record.
    assert_eq!(world.post_lines(&payload_lines([&payloads[6]])).status, 200);
    let with_later = sorted(&[&payloads[..4], &payloads[6..]].concat());
    assert_eq!(disclosed(&world), with_later);
    // As after a crash between the log's answer and the move, and before the submission.
    world.stop().unwrap();
    let incoming = world.files().payload_dir.join("incoming");
    let digits = |hash: String| hash.replace("sha256:", "");
    for (set, payload) in [(&set, &payloads[5]), (&other.set, &other.payloads[0])] {
        let file =
            format!("set-{}-{}.0", digits(set.root.to_string()), digits(payload.commitment.to_string()));
        std::fs::write(incoming.join(file), payload_lines([payload]).trim_ascii_end()).unwrap();
    }
    world.start();
    let recovered = sorted(&[&payloads[..4], &payloads[5..]].concat());
    assert_eq!(disclosed(&world), recovered);
    let sets = std::fs::read_dir(world.files().payload_dir.join("set")).unwrap().count();
    assert_eq!((std::fs::read_dir(incoming).unwrap().count(), sets), (0, 1));
    // Erased, they are not shown, and nothing else changes.
    std::fs::remove_dir_all(world.files().payload_dir.join("set").join(digits(set.root.to_string())))
        .unwrap();
    assert_eq!(disclosed(&world), []);
}

#[test]
fn a_payload_that_does_not_belong_to_its_set_is_refused_with_all_of_its_batch() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let SealedSet { set, payloads } = pages(5);
    let size = world.checkpoint().checkpoint().head().size;
    let refused = |payload: PayloadLine, set: body::ItemSet| {
        let record = world.naming(run, trigger.id(), vec![body::Evidence::Set(set)]);
        let answer = world.post_lines(&[&payload_lines([&payload])[..], record.bytes()].concat());
        answer.is_problem(400, "body-unreadable");
    };
    let with = |change: &dyn Fn(&mut SetProof)| {
        let mut payload = payloads[1].clone();
        change(payload.set.as_mut().unwrap());
        payload
    };
    refused(with(&|proof| proof.index = payloads[2].set.as_ref().unwrap().index), set.clone());
    refused(with(&|proof| proof.proof.0.truncate(1)), set.clone());
    refused(with(&|proof| proof.root = Root::from_bytes([7; 32])), set.clone());
    refused(with(&|proof| proof.proof.0.push(proof.proof.0[0])), set.clone());
    refused(PayloadLine { commitment: payloads[2].commitment, ..payloads[1].clone() }, set.clone());
    // The record says something else of the set than the proof.
    refused(payloads[4].clone(), body::ItemSet { items: Whole::new(4).unwrap(), ..set });
    assert_eq!(world.checkpoint().checkpoint().head().size, size);
}

#[test]
fn what_another_run_says_of_a_payload_does_not_spoil_its_own_bundle() {
    let world = World::peopled();
    let SealedSet { set, payloads } = pages(3);
    let (item, line) = payload("a.txt", b"content");
    let all = payload_lines(&payloads);
    let evidence =
        |item: body::Item, set: body::ItemSet| vec![body::Evidence::Item(item), body::Evidence::Set(set)];
    let (first, second) = (world.trigger("one"), world.trigger("two"));
    let runs = [&first, &second].map(|trigger| RunId::started_by(world.add(trigger)));
    let honest = world.naming(runs[0], first.id(), evidence(item.clone(), set.clone()));
    assert_eq!(world.post_lines(&[&all[..], &line, honest.bytes()].concat()).status, 200);
    let renamed = body::Item { label: label("b.txt"), ..item };
    let shrunk = body::ItemSet { items: Whole::new(2).unwrap(), ..set };
    world.add(&world.naming(runs[1], second.id(), evidence(renamed, shrunk)));
    for (run, disclosed) in runs.into_iter().zip([4, 0]) {
        let bundle = world.get(&format!("/v1/runs/{run}/bundle"));
        assert_eq!(bundle.lines()[0]["payloads"], disclosed);
        let require = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
        assert_eq!(verify(&bundle.body, &world.trust(), now()).conclude(&require), Conclusion::Shown);
    }
}

#[test]
fn what_the_server_keeps_is_for_its_user_alone() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let (item, line) = payload("a.txt", b"secret");
    let SealedSet { set, payloads } = pages(2);
    let record = world.naming(run, trigger.id(), vec![body::Evidence::Item(item), body::Evidence::Set(set)]);
    assert_eq!(
        world.post_lines(&[&line[..], &payload_lines(&payloads), record.bytes()].concat()).status,
        200
    );
    let (mut todo, mut modes) = (vec![world.files().payload_dir.clone()], BTreeMap::<_, usize>::new());
    while let Some(path) = todo.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        *modes.entry((metadata.is_dir(), metadata.permissions().mode() & 0o777)).or_default() += 1;
        if metadata.is_dir() {
            todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    // The directory, four places and one set; three payloads.
    assert_eq!(modes, BTreeMap::from([((true, 0o700), 6), ((false, 0o600), 3)]));
}

#[test]
fn a_record_with_a_line_feed_is_told_so() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let answer = world.post(&[trigger.bytes(), b"\n"].concat());
    answer.is_problem(400, "body-unreadable");
    assert!(answer.json()["detail"].as_str().unwrap().contains("ends with a line feed"));
    // Anything else after it is the log's to reject.
    is_rejected(&world, &[trigger.bytes(), b" "].concat(), "json-trailing");
}

#[test]
fn a_policy_named_by_digest_brings_its_document() {
    let mut world = World::peopled();
    let document = Json::from_value(&policy_document(1)).unwrap();
    let digest = PolicyDigest::of(document.as_str().as_bytes());
    let prev = RecordId::parse(world.get("/v1/policy").json()["prev"].as_str().unwrap()).unwrap();
    let place = counterfoil_receipt::Place::Chain { log: world.log, prev };
    let policy = world.sign(&world.cast.root, place, body::Policy::Digest(digest));
    is_rejected(&world, policy.bytes(), "policy-unreadable");
    let mut lines = Vec::new();
    write_line(&DocumentLine { document: document.clone(), policy: digest }, &mut lines);
    lines.extend(policy.bytes());
    assert_eq!(world.post_lines(&lines).lines()[0]["status"], "included");
    let in_force = world.get("/v1/policy").json();
    assert_eq!(in_force["digest"], digest.to_string());
    assert_eq!(in_force["document"], policy_document(1));
    assert_eq!(in_force["prev"], policy.id().to_string());
    world.stop().unwrap();
    world.start();
    assert_eq!(world.get("/v1/policy").json(), in_force);
}

#[test]
fn a_policy_that_fits_no_record_is_in_the_bundles_of_its_runs() {
    let world = World::peopled();
    let rule = |at: u64| {
        let requirements = json!([{"count": 2, "groups": ["sre"]}]);
        json!({"effect": "require", "match": {"always": true}, "name": format!("rule-{at:04}"), "requirements": requirements,
            "segregation": true, "uses": 1, "window": 3_600_000})
    };
    let rules: Vec<_> = (0..1_000).map(rule).collect();
    let document =
        counterfoil_receipt::json::to_canonical(&json!({"language": "counterfoil-policy/1", "rules": rules}))
            .unwrap();
    assert!(document.len() > counterfoil_receipt::limits::RECORD_BYTES);
    let digest = PolicyDigest::of(&document);
    let prev = RecordId::parse(world.get("/v1/policy").json()["prev"].as_str().unwrap()).unwrap();
    let place = counterfoil_receipt::Place::Chain { log: world.log, prev };
    let policy = world.sign(&world.cast.root, place, body::Policy::Digest(digest));
    let line = format!(r#"{{"document":{},"policy":"{digest}"}}"#, String::from_utf8(document).unwrap());
    assert_eq!(
        world.post_lines(&[line.as_bytes(), b"\n", policy.bytes()].concat()).lines()[0]["status"],
        "included"
    );
    assert_eq!(world.get("/v1/policy").json()["document"]["rules"].as_array().unwrap().len(), 1_000);
    let run = RunId::started_by(world.add(&world.trigger("one")));
    let bundle = world.get(&format!("/v1/runs/{run}/bundle"));
    assert!(bundle.text().lines().any(|found| found == line));
    let require = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
    assert_eq!(verify(&bundle.body, &world.trust(), now()).conclude(&require), Conclusion::Shown);
}

#[test]
fn bodies_that_cannot_be_taken_say_why() {
    let world = World::peopled();
    let json = [("content-type", "application/json")];
    let lines = [("content-type", "application/jsonl")];
    let trigger = world.trigger("one");
    world.request("POST", "/v1/records", &[], trigger.bytes()).is_problem(415, "media-type");
    world.request("POST", "/v1/records", &lines, trigger.bytes()).is_problem(415, "media-type");
    world.request("POST", "/v1/records/batch", &json, trigger.bytes()).is_problem(415, "media-type");
    world.post(&vec![b' '; 131_071]).is_problem(413, "body-too-large");
    assert_eq!(world.post(&vec![b' '; 131_070]).status, 422);
    world.post_lines(b"").is_problem(400, "body-unreadable");
    world
        .post_lines(&[trigger.bytes(), b"\n\n", trigger.bytes()].concat())
        .is_problem(400, "body-unreadable");
    let many = |count: usize| b"{}\n".repeat(count);
    world.post_lines(&many(1_025)).is_problem(413, "body-too-large");
    assert_eq!(world.post_lines(&many(1_024)).lines().len(), 1_024);
    let charset = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(world.request("POST", "/v1/records", &charset, trigger.bytes()).status, 200);
}
