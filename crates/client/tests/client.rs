//! The client, against a server that is honest, broken or lying.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use counterfoil_client::{
    Ballot, CheckpointStore, Client, ClientError, Clock, FileCheckpoints, RejectionSigner, Session,
    SubmitError, View, Vote,
};
use counterfoil_receipt::{
    Body, Commitment, RecordId, RunId, UnverifiedRecord,
    body::{Surface, Window},
    field::{Millis, Whole},
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, label, trigger_body};
use counterfoil_verify::{Answer, Conclusion, Dimension};
use serde_json::json;
use server::{Asked, Honest, Say, inclusion_of, problem, rejection, serve};

fn client(answer: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> Client {
    Client::new(&serve(answer), None)
        .unwrap()
        .with_timeout(Duration::from_secs(1))
        .with_patience(Duration::ZERO)
}

fn id() -> RecordId {
    RecordId::of(b"any")
}

/// A trigger that is not logged yet.
fn trigger(scenario: &mut Scenario) -> UnverifiedRecord {
    let (gate, scout) = (scenario.cast.gate.clone(), scenario.cast.scout.clone());
    let event = scenario.ledger.size().to_string();
    scenario.ledger.sign(&gate, None, trigger_body(&scout, &event))
}

#[test]
fn broken_answers_have_names() {
    type Case = (&'static str, fn(&Asked) -> Say, fn(&ClientError) -> bool);
    let cases: [Case; 10] = [
        (
            "oversized",
            |_| Say::ok(vec![b' '; 70_000]),
            |error| matches!(error, ClientError::TooLarge { limit: 65_535, .. }),
        ),
        (
            "truncated",
            |_| Say::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
            |error| matches!(error, ClientError::NoAnswer { .. }),
        ),
        (
            "slow",
            |_| Say::Stall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
            |error| matches!(error, ClientError::NoAnswer { .. }),
        ),
        ("silent", |_| Say::Stall(Vec::new()), |error| matches!(error, ClientError::Unreachable { .. })),
        ("garbage", |_| Say::ok("no record"), |error| matches!(error, ClientError::Protocol { .. })),
        (
            "not HTTP",
            |_| Say::Raw(b"SSH-2.0-x\r\n\r\n".to_vec()),
            |error| matches!(error, ClientError::Protocol { .. }),
        ),
        ("problem", |_| problem(404, "record-unknown"), |error| error.code() == "record-unknown"),
        ("no problem", |_| Say::status(500), |error| matches!(error, ClientError::Protocol { .. })),
        ("a proxy's limit", |_| Say::status(413), |error| error.code() == "body-too-large"),
        (
            "redirect",
            |_| Say::Answer(302, vec![("Location", "/elsewhere".to_owned())], Vec::new()),
            |error| matches!(error, ClientError::Protocol { .. }),
        ),
    ];
    for (what, answer, is) in cases {
        let started = Instant::now();
        let error = client(answer).record(id()).unwrap_err();
        assert!(is(&error), "{what}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(5), "{what}");
    }
    let nobody = Client::new("http://127.0.0.1:1", None).unwrap().record(id()).unwrap_err();
    assert!(matches!(nobody, ClientError::Unreachable { .. }), "{nobody:?}");
}

#[test]
fn what_is_no_address_or_no_token_is_refused() {
    for address in ["", "ftp://x", "http://", "log.example", "http://user@host", "http://x?y"] {
        assert!(matches!(Client::new(address, None), Err(ClientError::Misuse(_))), "{address}");
    }
    assert!(Client::new("http://x", Some("a\r\nb")).is_err());
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let client = serve(|asked| match asked.headers.iter().any(|line| line.ends_with("Bearer s3cret")) {
        true => problem(404, "record-unknown"),
        false => problem(401, "token-required"),
    });
    let with = Client::new(&client, Some("s3cret")).unwrap();
    assert_eq!(with.record(id()).unwrap_err().code(), "record-unknown");
    assert_eq!(Client::new(&client, None).unwrap().record(id()).unwrap_err().code(), "token-required");
    assert!(!format!("{with:?}").contains("s3cret"));
}

#[test]
fn a_record_with_another_id_is_refused() {
    let log = Honest::new();
    let entry = log.with(|scenario| scenario.ledger.entries()[1].clone());
    let known = RecordId::of(&entry);
    let client = client(move |_| Say::ok(entry.clone()));
    assert_eq!(client.record(known).unwrap().id(), known);
    assert!(matches!(client.record(id()), Err(ClientError::Untrusted { .. })));
}

#[test]
fn a_busy_log_is_asked_again_as_long_as_patience_lasts() {
    let (log, asked) = (Honest::new(), Arc::new(AtomicU32::new(0)));
    let record = log.with(trigger);
    let (behind, count) = (log.clone(), Arc::clone(&asked));
    let address = serve(move |asked| match (asked.method.as_str(), count.fetch_add(1, SeqCst)) {
        ("POST", 0 | 1) => Say::Answer(429, vec![("Retry-After", "0".to_owned())], Vec::new()),
        _ => behind.answer(asked),
    });
    let error = log.pin(&address).submit(&record).unwrap_err();
    assert!(
        matches!(&error, SubmitError::NotSubmitted(ClientError::Busy { .. })) && !error.may_be_logged(),
        "{error}"
    );
    asked.store(0, SeqCst);
    let trust = log.with(|scenario| scenario.ledger.trust().trust());
    let patient = Client::new(&address, None)
        .unwrap()
        .pin(trust, Box::<counterfoil_client::MemoryCheckpoints>::default());
    assert_eq!(patient.submit(&record).unwrap().id, record.id());
}

#[test]
fn an_inclusion_is_proven_and_its_checkpoint_kept() {
    let log = Honest::new();
    let client = log.pin(&log.serve());
    let record = log.with(trigger);
    let included = client.submit(&record).unwrap();
    assert_eq!(client.last_seen().unwrap().unwrap(), included.checkpoint);
    // The same record again is the same entry.
    assert_eq!(client.submit(&record).unwrap().index, included.index);
    let later = client.submit(&log.with(trigger)).unwrap();
    assert!(later.checkpoint.head().size > included.checkpoint.head().size);
}

#[test]
fn an_inclusion_that_is_not_proven_is_none() {
    let log = Honest::new();
    let (record, answer) = log.with(|scenario| {
        let record = trigger(scenario);
        scenario.ledger.append(record.bytes()).unwrap();
        scenario.ledger.close();
        let answer = inclusion_of(&scenario.ledger, record.id());
        (record, answer)
    });
    let change = |change: fn(&mut serde_json::Value)| {
        let mut answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        change(&mut answer);
        let bytes = answer.to_string();
        log.pin_to(move |_| Say::ok(bytes.clone())).submit(&record)
    };
    assert!(change(|_| {}).is_ok());
    let lies: [fn(&mut serde_json::Value); 6] = [
        |answer| answer["index"] = json!(answer["index"].as_u64().unwrap() - 1),
        |answer| answer["proof"] = json!([]),
        |answer| answer["proof"][0] = answer["proof"][1].clone(),
        |answer| answer["id"] = json!(RecordId::of(b"other").to_string()),
        |answer| {
            answer["checkpoint"] =
                json!(answer["checkpoint"].as_str().unwrap().replace("\n\n— ", "\nmore\n\n— "))
        },
        |answer| answer["status"] = json!("stored"),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        let error = change(lie).unwrap_err();
        let is = matches!(
            error,
            SubmitError::Failed(ClientError::Untrusted { .. } | ClientError::Protocol { .. })
        );
        assert!(is && error.may_be_logged(), "{at}: {error}");
    }
}

#[test]
fn a_rejection_counts_only_if_it_is_signed_and_about_this_record() {
    let log = Honest::new();
    let (bad, other) = log.with(|scenario| {
        let stranger = Actor::new("stranger", counterfoil_receipt::Role::Runtime);
        let body = trigger_body(&scenario.cast.scout.clone(), "x");
        (scenario.ledger.sign(&stranger, None, body), trigger(scenario))
    });
    let client = log.pin(&log.serve());
    let SubmitError::Rejected(rejected) = client.submit(&bad).unwrap_err() else { panic!() };
    assert_eq!((rejected.code.as_str(), rejected.signer), ("key-unknown", RejectionSigner::Genesis));
    let answers = client.submit_batch(&[other.clone(), bad.clone()], &[], &[]).unwrap();
    let [Ok(_), Err(SubmitError::Rejected(rejected))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(rejected.code, "key-unknown");

    let say = |bytes: Vec<u8>| {
        let behind = log.clone();
        log.pin(&serve(move |asked| match asked.method.as_str() {
            "POST" => Say::Answer(422, vec![("Counterfoil-Code", "x".to_owned())], bytes.clone()),
            _ => behind.answer(asked),
        }))
    };
    let about_another = log.with(|scenario| rejection(scenario, &other, "x"));
    let error = say(about_another.bytes().to_vec()).submit(&bad).unwrap_err();
    assert!(matches!(error, SubmitError::Failed(ClientError::Protocol { .. })), "{error}");

    let good = log.with(|scenario| rejection(scenario, &bad, "x"));
    let forged = String::from_utf8(good.bytes().to_vec()).unwrap().replace("R-X-01", "R-X-02");
    let error = say(forged.into_bytes()).submit(&bad).unwrap_err();
    assert!(matches!(error, SubmitError::Failed(ClientError::Untrusted { .. })), "{error}");

    let unknown = log.with(|scenario| {
        scenario.cast.log = Actor::new("log", counterfoil_receipt::Role::Log).with_key(1);
        rejection(scenario, &bad, "x")
    });
    let SubmitError::Rejected(rejected) = say(unknown.bytes().to_vec()).submit(&bad).unwrap_err() else {
        panic!()
    };
    assert_eq!(rejected.signer, RejectionSigner::Unknown);
}

#[test]
fn a_fork_is_proven_and_kept_apart_from_wrong_tiles() {
    let log = Honest::new();
    let other = Honest::new();
    log.with(|scenario| {
        scenario.trigger();
        scenario.ledger.close();
    });
    // The same log under the same keys, with another history since.
    other.with(|scenario| {
        for _ in 0..5 {
            scenario.ledger.wait(7);
            scenario.trigger();
            scenario.ledger.close();
        }
    });
    let now_serving = Arc::new(std::sync::Mutex::new((log.clone(), false)));
    let serving = Arc::clone(&now_serving);
    let address = serve(move |asked| {
        let (log, wrong_tiles) = &*serving.lock().unwrap();
        if *wrong_tiles && asked.path.starts_with("/tile") {
            return match log.answer(asked) {
                Say::Answer(status, headers, mut tile) => {
                    tile[0] ^= 1;
                    Say::Answer(status, headers, tile)
                }
                other => other,
            };
        }
        log.answer(asked)
    });
    let client = log.pin(&address);
    let seen = client.checkpoint().unwrap();

    now_serving.lock().unwrap().0 = other.clone();
    let error = client.checkpoint().unwrap_err();
    let ClientError::Fork(fork) = &error else { panic!("{error}") };
    assert_eq!(fork.seen, seen);
    assert!(fork.shown.head().size > seen.head().size && fork.computed != seen.head().root);
    assert_eq!(client.last_seen().unwrap().unwrap(), seen, "a fork is not taken over");

    log.with(|scenario| scenario.ledger.close());
    *now_serving.lock().unwrap() = (log.clone(), true);
    let error = client.checkpoint().unwrap_err();
    assert!(matches!(error, ClientError::Untrusted { .. }), "{error}");
    now_serving.lock().unwrap().1 = false;
    client.checkpoint().unwrap();
}

#[test]
fn two_roots_of_one_size_are_a_fork() {
    let (log, other) = (Honest::new(), Honest::new());
    log.with(|scenario| scenario.ledger.close());
    other.with(|scenario| {
        scenario.ledger.wait(1);
        scenario.ledger.close()
    });
    let mut kept = counterfoil_client::MemoryCheckpoints::default();
    let note = log.with(|scenario| scenario.ledger.checkpoint(scenario.ledger.size()).unwrap().to_owned());
    kept.store(&note).unwrap();
    let trust = log.with(|scenario| scenario.ledger.trust().trust());
    let client = Client::new(&other.serve(), None).unwrap().pin(trust, Box::new(kept));
    assert!(matches!(client.checkpoint(), Err(ClientError::Fork(_))));
}

#[test]
fn an_older_state_is_stale() {
    let log = Honest::new();
    let run = log.with(|scenario| {
        let run = scenario.trigger();
        scenario.ledger.close();
        run
    });
    let old = Honest(Arc::new(std::sync::Mutex::new(log.with(|scenario| scenario.clone()))));
    log.with(|scenario| scenario.ledger.close());
    let (behind, older) = (log.clone(), old.clone());
    // Everything is honest but the bundle and the checkpoint, which are those of a moment ago.
    let shows_old = Arc::new(AtomicU32::new(0));
    let flag = Arc::clone(&shows_old);
    let address = serve(move |asked| {
        let old = flag.load(SeqCst) == 1 && !asked.path.starts_with("/tile");
        if old { older.answer(asked) } else { behind.answer(asked) }
    });
    let client = log.pin(&address);
    let seen = client.fetch_verified(run, Millis::new(0).unwrap()).unwrap().checkpoint.unwrap();
    shows_old.store(1, SeqCst);
    assert!(matches!(client.fetch_verified(run, Millis::new(0).unwrap()), Err(ClientError::Stale { .. })));
    // What was signed last may not be what is shown to everybody yet; nothing older than what was seen is given.
    assert_eq!(client.checkpoint().unwrap(), seen);
    // Evidence may be older, as long as it is of the same log.
    let evidence = client.fetch_evidence(run, Millis::new(0).unwrap()).unwrap().checkpoint.unwrap();
    assert!(evidence.head().size < seen.head().size);
}

#[test]
fn a_log_that_was_put_back_to_before_a_run_is_stale_and_does_not_just_have_no_such_run() {
    let log = Honest::new();
    let old = Honest(Arc::new(std::sync::Mutex::new(log.with(|scenario| scenario.clone()))));
    let run = log.with(|scenario| {
        let run = scenario.trigger();
        scenario.ledger.close();
        run
    });
    let (ahead, behind, is_put_back) = (log.clone(), old, Arc::new(AtomicU32::new(0)));
    let flag = Arc::clone(&is_put_back);
    let address = serve(move |asked| match flag.load(SeqCst) {
        0 => ahead.answer(asked),
        _ if asked.path.contains(&run.to_string()) => server::problem(404, "run-unknown"),
        1 if asked.path.starts_with("/tile") => server::problem(404, "tile-unknown"),
        2 => ahead.answer(asked),
        _ => behind.answer(asked),
    });
    let client = log.pin(&address);
    client.fetch_verified(run, Millis::new(0).unwrap()).unwrap();
    is_put_back.store(1, SeqCst);
    let error = client.fetch_verified(run, Millis::new(0).unwrap()).unwrap_err();
    assert!(matches!(error, ClientError::Stale { .. }), "{error}");
    // One that was not says so, too.
    is_put_back.store(2, SeqCst);
    let error = client.fetch_verified(run, Millis::new(0).unwrap()).unwrap_err();
    assert!(matches!(&error, ClientError::Refused(problem) if problem.status == 404), "{error}");
}

#[test]
fn what_is_shown_with_the_answers_is_held_to_what_was_shown_before() {
    let log = Honest::new();
    let other = log.with(|scenario| {
        let other = scenario.trigger();
        scenario.ledger.close();
        other
    });
    let bundle_of = |log: &Honest, run| log.with(|scenario| scenario.ledger.bundle(run));
    let elsewhere = bundle_of(&log, other);
    let first = log.with(trigger);
    let run = RunId::started_by(first.id());
    let clock = LogClock(log.clone());
    // What comes behind the answer, in the place of the bundle.
    let behind = Arc::new(std::sync::Mutex::new(None::<Vec<u8>>));
    let breaks_off = Arc::new(AtomicU32::new(0));
    let (said, breaks, honest) = (Arc::clone(&behind), Arc::clone(&breaks_off), log.clone());
    let client = log.pin_to(move |asked| match (honest.answer(asked), said.lock().unwrap().clone()) {
        (Say::Answer(200, headers, body), behind) if asked.path.contains("?bundle=latest") => {
            let answers = body.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            let body = behind.map_or(body.clone(), |behind| [&body[..answers], &behind].concat());
            if breaks.load(SeqCst) == 0 {
                return Say::Answer(200, headers, body);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() + 1);
            Say::Raw([head.as_bytes(), &body].concat())
        }
        (answer, _) => answer,
    });
    let submit = |record: &UnverifiedRecord, says: Option<&[u8]>| {
        *behind.lock().unwrap() = says.map(<[u8]>::to_vec);
        let shown = client.submit_and_verify(std::slice::from_ref(record), &[], run, &clock).unwrap();
        let [answer] = <[_; 1]>::try_from(shown.answers).unwrap();
        (answer.unwrap(), shown.verified)
    };
    let (included, verified) = submit(&first, None);
    let verified = verified.unwrap().unwrap();
    assert_eq!((included.id, verified.bundle), (first.id(), bundle_of(&log, run)));
    assert_eq!(verified.checkpoint, client.last_seen().unwrap());
    let old = bundle_of(&log, run);

    // The same log a moment ago, another run, nonsense; the record is in the log all the same, and its checkpoint kept.
    log.with(|scenario| scenario.ledger.close());
    let (included, verified) = submit(&first, Some(&old));
    assert!(matches!(verified, Some(Err(ClientError::Stale { .. }))), "{verified:?}");
    assert_eq!(client.last_seen().unwrap().unwrap(), included.checkpoint);
    let (_, verified) = submit(&first, Some(&elsewhere));
    assert!(matches!(verified, Some(Err(ClientError::Protocol { .. }))), "{verified:?}");
    let (_, verified) = submit(&first, Some(b"nonsense\n"));
    let shows = verified.unwrap().unwrap().verdict;
    assert!(!matches!(shows.answer(Dimension::Inclusion), Answer::Pass(_)));
    // What did not come, or not whole, is to be asked for.
    assert!(submit(&first, Some(b"")).1.is_none());
    breaks_off.store(1, SeqCst);
    assert!(submit(&first, None).1.is_none());
}

#[test]
fn a_bundle_is_verified_as_it_arrives_and_kept_as_it_was() {
    let log = Honest::new();
    let run = log.with(|scenario| {
        let run = scenario.approved_run();
        scenario.ledger.close();
        run
    });
    let client = log.pin(&log.serve());
    let verified = client.fetch_verified(run, Millis::new(0).unwrap()).unwrap();
    assert_eq!(verified.verdict.conclude(client.trust().require()), Conclusion::Shown);
    assert_eq!(verified.bundle, log.with(|scenario| scenario.ledger.bundle(run)));
    assert_eq!(client.last_seen().unwrap(), verified.checkpoint);
    let disclosed = verified.verdict.openings().to_vec();
    let view = View::new(run, client.fetch_verified(run, Millis::new(0).unwrap()).unwrap()).unwrap();
    assert!(!disclosed.is_empty());
    for opening in &disclosed {
        assert_eq!(view.opening(&opening.commitment()), Some(opening));
    }
    assert_eq!(view.opening(&Commitment::from_bytes([0; 32])), None);

    // One byte off: the verdict says so, and no checkpoint is taken from it.
    let mut bundle = verified.bundle.clone();
    let middle = bundle.len() / 2;
    bundle[middle] ^= 1;
    let damaged = log.pin_to(move |_| Say::ok(bundle.clone()));
    let verified = damaged.fetch_verified(run, Millis::new(0).unwrap()).unwrap();
    assert_ne!(verified.verdict.conclude(damaged.trust().require()), Conclusion::Shown);

    let endless = log.pin_to(|_| Say::ok(vec![b'a'; 7_000_000]));
    let error = endless.fetch_verified(run, Millis::new(0).unwrap()).unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { .. }), "{error}");

    let cut = log.pin_to(|_| Say::ok("{}"));
    let verified = cut.fetch_verified(run, Millis::new(0).unwrap()).unwrap();
    assert_eq!(verified.verdict.conclude(cut.trust().require()), Conclusion::Unreadable);
}

#[test]
fn checkpoints_survive_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen");
    let mut store = FileCheckpoints::new(&path);
    assert_eq!(store.load().unwrap(), None);
    store.store("a\n").unwrap();
    store.store("b\n").unwrap();
    assert_eq!(FileCheckpoints::new(&path).load().unwrap().as_deref(), Some("b\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    std::fs::write(&path, vec![b'a'; counterfoil_receipt::limits::NOTE_BYTES + 1]).unwrap();
    assert!(store.load().is_err());
}

#[test]
fn a_checkpoint_that_was_being_kept_when_power_failed_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen");
    let mut store = FileCheckpoints::new(&path);
    let notes = ["one\n", "another\n", "the third\n"];
    let mut files = vec![Vec::new()];
    for note in notes {
        store.store(note).unwrap();
        files.push(std::fs::read(&path).unwrap());
    }
    for (at, pair) in files.windows(2).enumerate().skip(1) {
        let (mut before, after) = (pair[0].clone(), &pair[1]);
        before.resize(after.len(), 0);
        for end in (0..after.len()).filter(|byte| before[*byte] != after[*byte]) {
            let mut torn = before.clone();
            torn[..end].copy_from_slice(&after[..end]);
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(store.load().unwrap().as_deref(), Some(notes[at - 1]), "{end}");
        }
        // It goes on from there.
        store.store("next\n").unwrap();
        assert_eq!(store.load().unwrap().as_deref(), Some("next\n"));
    }
}

#[test]
fn a_note_that_somebody_put_where_checkpoints_are_kept_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen");
    std::fs::write(&path, "copied\n").unwrap();
    let mut store = FileCheckpoints::new(&path);
    assert_eq!(store.load().unwrap().as_deref(), Some("copied\n"));
    store.store("kept\n").unwrap();
    assert_eq!(store.load().unwrap().as_deref(), Some("kept\n"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

/// What was kept and does not open is no empty store, and nothing that the server did.
#[test]
fn a_checkpoint_that_was_damaged_here_accuses_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seen");
    std::fs::write(&path, "no note").unwrap();
    let log = Honest::new();
    let record = log.with(trigger);
    let trust = log.with(|scenario| scenario.ledger.trust().trust());
    let client = Client::new("http://127.0.0.1:1", None).unwrap();
    let client = client.pin(trust, Box::new(FileCheckpoints::new(&path)));
    let errors = [
        client.checkpoint().unwrap_err(),
        match client.submit(&record).unwrap_err() {
            SubmitError::NotSubmitted(error) => error,
            other => panic!("{other}"),
        },
    ];
    for error in errors {
        let ClientError::Store { place, io } = error else { panic!("{error}") };
        assert_eq!((place.as_str(), io.kind()), (path.to_str().unwrap(), std::io::ErrorKind::InvalidData));
    }
}

/// Keeps nothing, because the disk is full.
struct FullDisk;

impl CheckpointStore for FullDisk {
    fn place(&self) -> String {
        "here".to_owned()
    }

    fn load(&self) -> std::io::Result<Option<String>> {
        Ok(None)
    }

    fn store(&mut self, _: &str) -> std::io::Result<()> {
        Err(std::io::ErrorKind::StorageFull.into())
    }
}

#[test]
fn a_record_that_is_logged_is_named_also_where_the_disk_is_full() {
    let log = Honest::new();
    let trust = log.with(|scenario| scenario.ledger.trust().trust());
    let client = Client::new(&log.serve(), None).unwrap().pin(trust, Box::new(FullDisk));
    let one = log.with(trigger);
    let error = client.submit(&one).unwrap_err();
    let SubmitError::NotKept { included, cause: ClientError::Store { .. } } = &error else {
        panic!("{error}")
    };
    assert_eq!(included.id, one.id());
    assert!(error.to_string().starts_with(&format!(
        "{} is entry {} of the log; but",
        one.id(),
        included.index
    )));
    let answers = client.submit_batch(&[log.with(trigger), one.clone()], &[], &[]).unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Err(SubmitError::NotKept { .. }))), "{answers:?}");
}

#[test]
fn a_record_that_never_left_was_not_logged() {
    let log = Honest::new();
    let record = log.with(trigger);
    let behind = log.clone();
    let is_gone = server::serve_some(1, move |asked| behind.answer(asked));
    let client = log.pin(&is_gone);
    client.genesis().unwrap();
    let tls = log.serve().replace("http:", "https:");
    let never_left =
        [client, log.pin("http://127.0.0.1:1"), log.pin("http://no-such-host.invalid"), log.pin(&tls)];
    for client in never_left {
        let error = client.submit(&record).unwrap_err();
        let is = matches!(error, SubmitError::NotSubmitted(ClientError::Unreachable { .. }));
        assert!(is && !error.may_be_logged(), "{error:?}");
    }
    // A server that does not answer has the record.
    for say in [|_: &Asked| Say::Raw(Vec::new()), |_: &Asked| Say::Stall(Vec::new())] {
        let error = log.pin_to(say).submit(&record).unwrap_err();
        let is = matches!(error, SubmitError::Failed(ClientError::NoAnswer { .. }));
        assert!(is && error.may_be_logged(), "{error:?}");
    }
    for (status, logged) in [(400, false), (413, false), (500, true), (503, true)] {
        let error = log.pin_to(move |_| problem(status, "x")).submit(&record).unwrap_err();
        assert_eq!(error.may_be_logged(), logged, "{status}: {error}");
    }
}

#[test]
fn another_log_is_told_before_anything_is_sent_to_it() {
    let (log, other) = (Honest::new(), Honest::new());
    let (run, record) = log.with(|scenario| (scenario.trigger(), trigger(scenario)));
    other.with(|scenario| {
        *scenario = Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(100).unwrap());
    });
    let behind = other.clone();
    let client = log.pin(&serve(move |asked| match asked.path.as_str() {
        "/v1/log" => behind.answer(asked),
        path => panic!("{path} is asked of another log"),
    }));
    let errors = [
        client.checkpoint().unwrap_err(),
        client.fetch_verified(run, Millis::new(0).unwrap()).unwrap_err(),
        match client.submit(&record).unwrap_err() {
            SubmitError::NotSubmitted(error) => error,
            error => panic!("{error}"),
        },
    ];
    for error in errors {
        assert!(matches!(error, ClientError::OtherLog { .. }) && error.code() == "log-mismatch", "{error}");
    }
}

struct LogClock(Honest);

impl Clock for LogClock {
    fn now(&self) -> Result<Millis, ClientError> {
        Ok(Millis::new(self.0.with(|scenario| scenario.ledger.now())).unwrap())
    }
}

#[test]
fn a_run_is_started_proposed_and_decided() {
    let log = Honest::new();
    let client = log.pin(&log.serve());
    let clock = LogClock(log.clone());
    let cast = log.with(|scenario| scenario.cast.clone());
    let session = |actor: &Actor| Session {
        client: &client,
        signer: Box::leak(Box::new(actor.clone())).signer(),
        principal: actor.principal.clone(),
        role: actor.role,
        clock: &clock,
    };
    let (run, _) = session(&cast.gate).trigger(trigger_body(&cast.scout, "one"), &[]).unwrap();
    let agent = session(&cast.scout);
    let proposal = log.with(|scenario| scenario.proposal(action("db.vacuum", json!({"full": true}))));
    let proposal = agent.propose(&agent.view(run).unwrap(), proposal, &[]).unwrap().id;
    let from = log.with(|scenario| scenario.ledger.now());
    for human in [&cast.ana, &cast.bo] {
        let human = session(human);
        let window = Window { from: Millis::new(from).unwrap(), until: Millis::new(from + WINDOW).unwrap() };
        let ballot = Ballot {
            proposal,
            vote: Vote::Approve { window, uses: Whole::new(1).unwrap() },
            shown: b"vacuum db-1".to_vec(),
            shown_media_type: label("text/plain"),
            surface: Surface::Terminal,
            reason: None,
        };
        human.decide(&human.view(run).unwrap(), ballot).unwrap();
    }
    let view = agent.view(run).unwrap();
    assert_eq!(view.run().unwrap().approvals(&proposal).len(), 2);
    assert_eq!(view.parents().len(), 1, "each signer had the one head in hand");
    for approval in view.run().unwrap().approvals(&proposal) {
        let record = view.record(&approval).unwrap();
        assert!(record.id() == approval && matches!(record.body(), Body::Decision(_)));
    }
    assert_eq!(view.record(&id()), None);
    assert_eq!(view.run_state(client.trust().require()).unwrap().budget().uses[0].left, 1);
    let unwitnessed = view.run_state(&[Dimension::Witnessed]).unwrap_err();
    assert!(unwitnessed.to_string().contains("witness-quorum: "), "{unwitnessed}");
    assert_eq!(unwitnessed.code(), "not-shown");
    agent.handoff(&view, cast.fixer.holder(), None, None, &[]).unwrap();
    assert_eq!(agent.view(run).unwrap().run().unwrap().owner(), &cast.fixer.holder());
}
