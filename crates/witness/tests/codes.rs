//! What a witness answers, over a real socket: each code, in the order of the checks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use counterfoil_log::{LockError, LockStore};
use counterfoil_tlog::witness::{AddCheckpoint, Answer};
use counterfoil_tlog::{
    Algorithm, Checkpoint, Hash, PosixSeconds, SeedSigner, Signer as _, TreeSize, UnverifiedNote,
    VerifierKey, cosign, sign_note,
};
use counterfoil_witness::{KeysError, StartError, WatchedLog, Witness, origin_id, system_clock};

fn witness(time: &Arc<AtomicU64>) -> (tempfile::TempDir, Witness) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let witness = Witness::open(cosigners(1), vec![watched(ORIGIN)], &state, true, clock(time)).unwrap();
    (dir, witness)
}

#[test]
fn every_code_in_the_order_of_the_checks() {
    let time = Arc::new(AtomicU64::new(NOW));
    let (_dir, witness) = witness(&time);
    let running = Running::start(witness);
    let url = running.url();
    let (small, large, other) = (tree(0, 3), tree(0, 8), tree(9, 8));
    let sent = |request: &AddCheckpoint| post(&url, request.to_string().as_bytes());
    let good = |old| request(ORIGIN, &large, old);
    let changed = |change: &dyn Fn(&mut AddCheckpoint), old| {
        let mut request = good(old);
        change(&mut request);
        sent(&request)
    };
    let stranger = |request: &mut AddCheckpoint| {
        let signer = SeedSigner::ed25519(ORIGIN, &[66; 32]).unwrap();
        let line = sign_note(request.checkpoint.text(), &signer).unwrap();
        request.checkpoint = UnverifiedNote::new(request.checkpoint.text(), vec![line]).unwrap();
    };
    let foreign = |request: &mut AddCheckpoint| request.checkpoint = note("other.example", &large);
    let wrong = |request: &mut AddCheckpoint| {
        // The log's line, over another checkpoint.
        let lines = note(ORIGIN, &small).signatures().to_vec();
        request.checkpoint = UnverifiedNote::new(request.checkpoint.text(), lines).unwrap();
    };
    let old = |size: u64| move |request: &mut AddCheckpoint| request.old = TreeSize(size);
    let no_proof = |request: &mut AddCheckpoint| request.proof.clear();
    let bad_proof = |request: &mut AddCheckpoint| request.proof[0] = Hash::new([3; 32]);
    let extra = |request: &mut AddCheckpoint| request.proof.push(Hash::new([3; 32]));
    let status = |reply: Reply| reply.status;

    // 400: no request, or one that no spelling of is this.
    assert_eq!(post(&url, b"").status, 400);
    assert_eq!(post(&url, good(0).to_string().replacen("old 0", "old 00", 1).as_bytes()).status, 400);
    // 404 before 403: nobody's signature makes a log known.
    assert_eq!(
        status(changed(
            &|r| {
                foreign(r);
                old(9)(r)
            },
            0
        )),
        404
    );
    // 403 before 400 for the old size.
    assert_eq!(
        status(changed(
            &|r| {
                stranger(r);
                old(9)(r)
            },
            0
        )),
        403
    );
    assert_eq!(
        status(changed(
            &|r| {
                wrong(r);
                old(9)(r)
            },
            0
        )),
        403
    );
    // 400 before 409.
    assert_eq!(status(changed(&old(9), 0)), 400);
    // 409 before 422.
    let conflict = changed(
        &|r| {
            old(3)(r);
            no_proof(r)
        },
        0,
    );
    assert_eq!(
        conflict,
        Reply { status: 409, media_type: "text/x.tlog.size".to_owned(), body: "0\n".to_owned() }
    );
    // 422: a proof from the empty tree is empty.
    assert_eq!(status(changed(&extra, 0)), 422);
    assert!(running.witness.seen()[0].latest.is_none(), "nothing so far was stored");

    let first = sent(&request(ORIGIN, &small, 0));
    assert_eq!((first.status, &*first.media_type), (200, "text/plain; charset=utf-8"));
    let text = note(ORIGIN, &small).text().to_owned();
    let read = Answer::read(first.body.as_bytes(), &text, &keys(&cosigners(1)), PosixSeconds(NOW)).unwrap();
    assert_eq!(read.cosignatures.iter().map(|c| (c.key, c.time.0)).collect::<Vec<_>>(), [(0, NOW), (1, NOW)]);

    assert_eq!(changed(&no_proof, 0).body, "3\n");
    assert_eq!(status(changed(&no_proof, 3)), 422);
    assert_eq!(status(changed(&bad_proof, 3)), 422);
    assert_eq!(status(changed(&extra, 3)), 422);
    assert_eq!(status(sent(&AddCheckpoint { checkpoint: note(ORIGIN, &other), ..good(3) })), 422);
    assert_eq!(status(changed(&|_| (), 3)), 200);
    // The same again: at the same time the same lines, later others.
    let repeated = sent(&good(8));
    assert_eq!(repeated, sent(&good(8)));
    time.fetch_add(1, Ordering::SeqCst);
    assert_ne!(repeated.body, sent(&good(8)).body);
    assert_eq!(status(changed(&extra, 8)), 422);
    // The same size with another root is 409, with the size that the log has, too.
    let same_size =
        sent(&AddCheckpoint { old: TreeSize(8), proof: vec![], checkpoint: note(ORIGIN, &other) });
    assert_eq!((same_size.status, &*same_size.body), (409, "8\n"));
    // A smaller tree that was cosigned before.
    assert_eq!(sent(&request(ORIGIN, &small, 3)).body, "8\n");
    let listed = get(&format!("{url}/"));
    assert!(listed.body.contains(&format!("{ORIGIN}: size 8, cosigned at {}", NOW + 1)), "{}", listed.body);

    // The clock went back: no signature, and the state is as before.
    time.store(NOW, Ordering::SeqCst);
    assert_eq!(status(sent(&good(8))), 500);
    time.store(0, Ordering::SeqCst);
    assert_eq!(status(sent(&good(8))), 500);
    time.store(NOW + 1, Ordering::SeqCst);
    assert_eq!(status(sent(&good(8))), 200);

    // A body that is too long, and what there is not.
    assert_eq!(post(&url, &vec![b'x'; (64 << 10) + 1]).status, 413);
    assert_eq!(post(&format!("{url}/elsewhere"), b"").status, 404);
    assert_eq!(get(&format!("{url}/add-checkpoint")).status, 405);
}

#[test]
fn an_empty_tree_is_cosigned_and_one_with_a_root_is_not() {
    let (_dir, witness) = witness(&Arc::new(AtomicU64::new(NOW)));
    let text = format!("{ORIGIN}\n0\n{}\n", Hash::new([5; 32]).to_base64());
    let line = sign_note(&text, &log_signer(ORIGIN)).unwrap();
    let checkpoint = UnverifiedNote::new(text, vec![line]).unwrap();
    let rooted = AddCheckpoint { old: TreeSize(0), proof: vec![], checkpoint };
    assert_eq!(witness.add_checkpoint(rooted.to_string().as_bytes()).unwrap_err().status(), 422);
    for (size, old) in [(0, 0), (0, 0), (2, 0)] {
        witness.add_checkpoint(request(ORIGIN, &tree(0, size), old).to_string().as_bytes()).unwrap();
    }
}

#[test]
fn lines_that_nobody_verified_are_not_kept() {
    let time = Arc::new(AtomicU64::new(NOW));
    let (dir, witness) = witness(&time);
    let grown = tree(0, 4);
    let mut request = request(ORIGIN, &grown, 0);
    let grease = SeedSigner::ed25519("grease.example", &[77; 32]).unwrap();
    let other = SeedSigner::ed25519_cosigner("w9.example", &[78; 32]).unwrap();
    let checkpoint = Checkpoint::parse(request.checkpoint.text()).unwrap();
    let mut lines = request.checkpoint.signatures().to_vec();
    lines.push(sign_note("another text\n", &grease).unwrap());
    lines.push(cosign(&checkpoint, PosixSeconds(NOW), &other).unwrap());
    lines.push(lines[0].clone());
    request.checkpoint = UnverifiedNote::new(request.checkpoint.text(), lines).unwrap();
    witness.add_checkpoint(request.to_string().as_bytes()).unwrap();
    let cosigned = witness.cosigned(&origin_id(ORIGIN)).unwrap();
    assert_eq!(cosigned.signatures().len(), 3, "the log's line once, and two of the witness: {cosigned}");
    let known: Vec<_> = keys(&cosigners(1)).into_iter().chain(watched(ORIGIN).keys).collect();
    assert_eq!(cosigned.clone().open(&known).unwrap().verified().len(), 3);

    // It is the same after a restart, and the server shows it.
    drop(witness);
    let running = Running::start(open(1, &dir.path().join("state"), &[ORIGIN]).unwrap());
    let shown = get(&format!("{}/{}/checkpoint", running.url(), origin_id(ORIGIN)));
    assert_eq!((shown.status, shown.body), (200, cosigned.to_string()));
    assert_eq!(get(&format!("{}/{}/checkpoint", running.url(), origin_id("x"))).status, 404);
}

#[test]
fn a_restart_keeps_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (small, large) = (tree(0, 5), tree(0, 6));
    open(1, &state, &[ORIGIN])
        .unwrap()
        .add_checkpoint(request(ORIGIN, &small, 0).to_string().as_bytes())
        .unwrap();
    let again = open(1, &state, &[ORIGIN, "log.example/two"]).unwrap();
    assert_eq!(again.seen()[0].latest.unwrap().0, TreeSize(5));
    assert_eq!(
        again.add_checkpoint(request(ORIGIN, &large, 0).to_string().as_bytes()).unwrap_err().status(),
        409
    );
    again.add_checkpoint(request(ORIGIN, &large, 5).to_string().as_bytes()).unwrap();
    // A second process can't have the same state.
    assert!(matches!(open(1, &state, &[ORIGIN]), Err(StartError::State { .. })));
}

#[test]
fn a_witness_without_its_state_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let start = |new| Witness::open(cosigners(1), vec![watched(ORIGIN)], &state, new, system_clock());
    assert!(matches!(start(false), Err(StartError::NoState { .. })));
    start(true).unwrap();
    assert!(matches!(start(true), Err(StartError::NotNew { .. })));
    start(false).unwrap();
    // Another key of the log alone does not carry the state on.
    let witness = start(false).unwrap();
    witness.add_checkpoint(request(ORIGIN, &tree(0, 1), 0).to_string().as_bytes()).unwrap();
    drop(witness);
    let key = SeedSigner::ed25519(ORIGIN, &[2; 32]).unwrap().key().clone();
    let log = |keys| vec![WatchedLog { origin: ORIGIN.to_owned(), keys }];
    let other = Witness::open(cosigners(1), log(vec![key.clone()]), &state, false, system_clock());
    assert!(matches!(other, Err(StartError::State { .. })));
    let both = log(vec![key, watched(ORIGIN).keys.remove(0)]);
    Witness::open(cosigners(1), both, &state, false, system_clock()).unwrap();
}

#[test]
fn keys_that_can_not_watch_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let start = |cosigners, logs| match Witness::open(cosigners, logs, dir.path(), false, system_clock()) {
        Err(StartError::Keys(error)) => error,
        _ => panic!("it starts"),
    };
    let seed = |name: &str, algorithm, seed| -> counterfoil_witness::Cosigner {
        Box::new(SeedSigner::new(name, algorithm, &[seed; 32]).unwrap())
    };
    let log = || vec![watched(ORIGIN)];
    let same = seed("w", Algorithm::CosignatureEd25519, 1);
    assert!(matches!(start(vec![same], log()), KeysError::KeyOfLog { .. }));
    assert!(matches!(start(vec![], log()), KeysError::NoKey));
    assert!(matches!(start(vec![seed("w", Algorithm::Ed25519, 7)], log()), KeysError::NotACosigner { .. }));
    let twice =
        vec![seed("w", Algorithm::CosignatureEd25519, 7), seed("v", Algorithm::CosignatureEd25519, 7)];
    assert!(matches!(start(twice, log()), KeysError::SameKey { .. }));
    assert!(matches!(start(cosigners(1), [log(), log()].concat()), KeysError::SameOrigin { .. }));
    let keyless = vec![WatchedLog { origin: ORIGIN.to_owned(), keys: vec![] }];
    assert!(matches!(start(cosigners(1), keyless), KeysError::LogWithoutKey { .. }));
}

/// Fails its writes from the second on, after they are stored or before.
struct Failing {
    value: Option<Vec<u8>>,
    writes: usize,
}

impl LockStore for Failing {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        Ok(self.value.clone())
    }

    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError> {
        assert_eq!(self.value.as_deref(), old, "compared before it is swapped");
        self.writes += 1;
        if self.writes == 2 {
            return Err(LockError::Unknown);
        }
        self.value = Some(new.to_vec());
        Ok(())
    }
}

#[test]
fn a_failed_write_ends_that_origin_and_no_other() {
    let stores = |_: &str| Ok(Box::new(Failing { value: None, writes: 0 }) as Box<dyn LockStore>);
    let logs = vec![watched(ORIGIN), watched("log.example/two")];
    let witness = Witness::with_stores(cosigners(1), logs, stores, system_clock()).unwrap();
    let add = |origin: &str, size, old| {
        let added = witness.add_checkpoint(request(origin, &tree(0, size), old).to_string().as_bytes());
        added.map_or_else(|refusal| refusal.status(), |_| 200)
    };
    assert_eq!(add(ORIGIN, 1, 0), 200);
    assert_eq!(add(ORIGIN, 2, 1), 500);
    // Nobody knows what is stored: not even what was cosigned before is cosigned again.
    assert_eq!([add(ORIGIN, 2, 1), add(ORIGIN, 1, 1), add(ORIGIN, 2, 2)], [500; 3]);
    assert_eq!(witness.cosigned(&origin_id(ORIGIN)), None);
    assert_eq!(add("log.example/two", 1, 0), 200);
}

#[test]
fn third_party_requests_in_their_order() {
    let Some(folder) = counterfoil_testkit::third_party_vectors("witness-torchwood") else { return };
    let vectors: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("add-checkpoint.json")).unwrap()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let hex = text(&vectors["log_public_key_hex"]);
    let public: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let origin = text(&vectors["origin"]);
    let key = VerifierKey::new(&origin, Algorithm::Ed25519, &public).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let logs = vec![WatchedLog { origin, keys: vec![key] }];
    let witness = Witness::open(cosigners(1), logs, &dir.path().join("s"), true, system_clock()).unwrap();
    let running = Running::start(witness);
    let steps = vectors["steps"].as_array().unwrap();
    let answers: Vec<(u16, String)> = steps
        .iter()
        .map(|step| {
            let reply = post(&running.url(), text(&step["request"]).as_bytes());
            (reply.status, reply.body)
        })
        .collect();
    // The second is spelled with unused bits set: 400, not 403. The third is of an unknown log: 404 by now, not 403.
    let expected = [200, 400, 404, 422, 422, 200, 409, 200, 409];
    assert_eq!(answers.iter().map(|(status, _)| *status).collect::<Vec<_>>(), expected);
    assert_eq!(steps.len(), 9);
    for ((status, body), step) in answers.iter().zip(steps) {
        match status {
            200 => assert!(body.contains("— w1.example"), "{body}"),
            409 => assert_eq!(*body, text(&step["body"])),
            _ => assert_eq!(*status == 422, step["status"] == 422),
        }
    }
}
