//! The key that signs snapshots: it is never ended under a running server, and gives way to another in good order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::PathBuf;

use common::*;
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Place, Principal, PublicKey, RecordId, Role, Signer as _, UnverifiedRecord,
    body::{self, KeyChange, Keyring, RevocationTarget},
    field::{Count, Whole},
};
use counterfoil_server::{Server, StartError};
use counterfoil_testkit::{Actor, enrolment};
use counterfoil_verify::{Conclusion, verify};

/// Another snapshot key of the log, and its file.
fn next_key(world: &World, seed: u8) -> (RecordKey, PathBuf) {
    let key = RecordKey::from_seed(Principal::new("the-log").unwrap(), Role::Log, &[seed; 32]);
    let path = world.dir.path().join(format!("snapshot-{seed}.key"));
    key.write(&path).unwrap();
    (key, path)
}

/// A change to the keys of the log.
fn change(change: KeyChange, key: PublicKey, replaces: Option<PublicKey>) -> Keyring {
    let any = enrolment(&Actor::new("the-log", Role::Log), &[]);
    Keyring { change, key, replaces, ..any }
}

/// The authority's record about the log's keys, after `prev` (or the first).
fn keyring(world: &World, prev: Option<RecordId>, body: Keyring) -> UnverifiedRecord {
    let place = Place::Chain { log: world.log, prev: prev.unwrap_or(world.log) };
    world.sign(&world.cast.root, place, body)
}

fn revocation(world: &World, key: PublicKey, distrust_from: Option<u64>) -> UnverifiedRecord {
    let body = body::Revocation {
        distrust_from: distrust_from.map(|from| Count::new(from).unwrap()),
        reason: None,
        target: RevocationTarget::Key(key),
    };
    world.sign(&world.cast.root, world.alone(), body)
}

/// Why the server does not start.
fn start_refused(world: &World) -> String {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    match runtime.block_on(Server::bind(world.config.clone())) {
        Err(error @ StartError::SnapshotKey { .. }) => error.to_string(),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it started"),
    }
}

#[test]
fn one_signature_that_ends_the_running_snapshot_key_stopped_the_log_for_good() {
    let mut world = World::peopled();
    let key = world.log_key.key();
    let (next, _) = next_key(&world, 7);
    let ends = [
        revocation(&world, key, None),
        revocation(&world, key, Some(3)),
        keyring(&world, None, change(KeyChange::Retire, key, None)),
        keyring(&world, None, change(KeyChange::Rotate, next.key(), Some(key))),
    ];
    let size = world.checkpoint().checkpoint().head().size;
    for record in &ends {
        let answer = world.post(record.bytes());
        answer.is_problem(409, "snapshot-key-in-use");
        assert!(answer.text().contains(&key.to_string()), "{}", answer.text());
        // In a batch too: nothing of it is taken.
        let lines = [world.trigger("with").bytes(), b"\n", record.bytes(), b"\n"].concat();
        world.post_lines(&lines).is_problem(409, "snapshot-key-in-use");
    }
    assert_eq!(world.checkpoint().checkpoint().head().size, size);
    world.whole_run("goes on");
    world.stop().unwrap();
    world.start();
    world.whole_run("after a restart too");
}

#[test]
fn a_snapshot_key_could_never_be_replaced() {
    let mut world = World::peopled();
    let (old, (next, path)) = (world.log_key.key(), next_key(&world, 7));
    let enrolment = keyring(&world, None, change(KeyChange::Enrol, next.key(), None));
    world.add(&enrolment);
    world.stop().unwrap();
    let first = std::mem::replace(&mut world.files_mut().snapshot_key, path.clone());
    world.start();
    let revocation = revocation(&world, old, None);
    world.add(&revocation);
    let run = world.whole_run("under the new key");
    let bundle = world.get(&format!("/v1/runs/{run}/bundle")).body;
    let trust = world.trust();
    let verdict = verify(&bundle, &trust, now());
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown, "{verdict:?}");
    // The one that is in use now is kept, the one that ended is refused.
    world
        .post(keyring(&world, Some(enrolment.id()), change(KeyChange::Retire, next.key(), None)).bytes())
        .is_problem(409, "snapshot-key-in-use");
    world.stop().unwrap();
    world.files_mut().snapshot_key = first;
    let why = start_refused(&world);
    assert!(why.contains(&old.to_string()) && why.contains("it was revoked at entry"), "{why}");
    world.files_mut().snapshot_key = path;
    world.start();
    world.whole_run("after a restart");
}

#[test]
fn endorsing_what_ends_the_running_snapshot_key_ends_it_no_less() {
    let mut world = World::peopled();
    let (old, (next, path)) = (world.log_key.key(), next_key(&world, 7));
    let enrolment = keyring(&world, None, change(KeyChange::Enrol, next.key(), None));
    world.add(&enrolment);
    // From here on two roots have to agree.
    let spare = Keyring { threshold: Some(Whole::new(2).unwrap()), ..enrolment_of_spare(&world) };
    world.add(&world.sign(&world.cast.root, world.after_genesis(), spare));
    world.stop().unwrap();
    let first = std::mem::replace(&mut world.files_mut().snapshot_key, path);
    world.start();
    let retirement = keyring(&world, Some(enrolment.id()), change(KeyChange::Retire, old, None));
    world.add(&retirement);
    let endorse = |world: &World| {
        world.sign(&world.cast.spare_root, world.alone(), body::Endorsement { candidate: retirement.id() })
    };
    world.stop().unwrap();
    // With the old key again, what waits for its end must go on waiting.
    let second = std::mem::replace(&mut world.files_mut().snapshot_key, first);
    world.start();
    world.post(endorse(&world).bytes()).is_problem(409, "snapshot-key-in-use");
    // What is an entry keeps its answer.
    assert_eq!(world.post(retirement.bytes()).status, 200);
    world.stop().unwrap();
    world.files_mut().snapshot_key = second;
    world.start();
    world.add(&endorse(&world));
    world.whole_run("the old key has ended");
}

/// A change to the authority's keys that adds one.
fn enrolment_of_spare(world: &World) -> Keyring {
    enrolment(&world.cast.spare_root.with_key(1), &[])
}

#[test]
fn a_key_that_was_never_enrolled_signs_no_snapshot() {
    let mut world = World::peopled();
    world.stop().unwrap();
    world.files_mut().snapshot_key = next_key(&world, 9).1;
    assert!(start_refused(&world).contains("it is not enrolled"));
}
