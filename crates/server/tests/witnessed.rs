//! A log and its witnesses: what readers are shown with and without a quorum, promises, and bundles that are witnessed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use common::*;
use counterfoil_client::{Client, MemoryCheckpoints};
use counterfoil_keys::NoteKey;
use counterfoil_log::OpenError;
use counterfoil_receipt::{RunId, UnverifiedRecord};
use counterfoil_server::{Config, Fail, Server, StartError, Witnessing};
use counterfoil_testkit::TrustFile;
use counterfoil_tlog::{
    Algorithm, Hash, LeafIndex, Policy, SeedSigner, SignedCheckpoint, Signer as _, UnverifiedNote,
    VerifierKey, inclusion, leaf_hash,
};
use counterfoil_verify::{Conclusion, Dimension, verify};
use counterfoil_witness::{Cosigner, WatchedLog, Witness, serve_on, system_clock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The name of the one witness.
const WITNESS: &str = "w.example";

/// A witness with keys of both kinds, on a socket of its own.
struct Watcher {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

fn cosigners() -> Vec<Cosigner> {
    let ed = SeedSigner::ed25519_cosigner(WITNESS, &[101; 32]).unwrap();
    let ml = SeedSigner::ml_dsa_44_cosigner(WITNESS, &[102; 32]).unwrap();
    vec![Box::new(ed), Box::new(ml)]
}

impl Watcher {
    fn start(dir: &Path, log: &VerifierKey) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), dir, log)
    }

    fn start_at(address: SocketAddr, dir: &Path, log: &VerifierKey) -> Self {
        let logs = vec![WatchedLog { origin: log.name().to_owned(), keys: vec![log.clone()] }];
        let witness = Witness::open(cosigners(), logs, dir, !dir.exists(), system_clock()).unwrap();
        let (ready, bound) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                let served = serve_on(listener, Arc::new(witness), "").unwrap();
                ready.send(served.local_addr()).unwrap();
                served.until(async { stopped.await.unwrap_or(()) }).await.unwrap();
            });
        });
        Self { address: bound.recv_timeout(Duration::from_secs(20)).unwrap(), stop, thread }
    }

    fn stop(self) -> SocketAddr {
        let _ = self.stop.send(());
        self.thread.join().unwrap();
        self.address
    }
}

/// The policy of a log that both keys of the witness at this address must cosign.
fn policy(log: &VerifierKey, address: SocketAddr) -> String {
    let keys: Vec<String> = cosigners().iter().map(|cosigner| cosigner.key().to_string()).collect();
    format!(
        "log {log}\nwitness e {} http://{address}\nwitness m {} http://{address}\ngroup both all e m\nquorum both\n",
        keys[0], keys[1]
    )
}

/// Has a configuration witnessed.
fn witnessed(config: &mut Config, dir: &Path, policy: &str, fail: Fail) {
    std::fs::write(dir.join("policy"), policy).unwrap();
    config.witnesses = Some(Witnessing { policy: dir.join("policy"), fail });
}

/// A raw log that was just created.
struct Raw {
    dir: TempDir,
    config: Config,
    vkey: VerifierKey,
}

impl Raw {
    fn created() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, vkey) = raw_log(dir.path(), None);
        Self { dir, config, vkey }
    }

    /// Watched by a witness of its own.
    fn watched(fail: Fail) -> (Self, Watcher) {
        let mut raw = Self::created();
        let watcher = raw.watch(fail);
        (raw, watcher)
    }

    /// Has it watched from its next start on.
    fn watch(&mut self, fail: Fail) -> Watcher {
        let watcher = Watcher::start(&self.dir.path().join("w"), &self.vkey);
        let policy = policy(&self.vkey, watcher.address);
        witnessed(&mut self.config, self.dir.path(), &policy, fail);
        watcher
    }

    fn policy(&self) -> Policy {
        Policy::parse(&std::fs::read(self.dir.path().join("policy")).unwrap()).unwrap()
    }
}

fn add(running: &Running, entry: &[u8]) -> u64 {
    let answer = request(running.address, "POST", "/add", &[], entry);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().parse().unwrap()
}

/// The size that `/checkpoint` shows, and whether it has its quorum.
fn shown(running: &Running, policy: &Policy) -> (u64, bool) {
    let answer = request(running.address, "GET", "/checkpoint", &[], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let opened: SignedCheckpoint = policy.open(UnverifiedNote::parse(&answer.body).unwrap()).unwrap();
    (opened.head().size.0, policy.check_quorum(&opened).is_ok())
}

fn health(running: &Running) -> Value {
    request(running.address, "GET", "/healthz", &[], b"").json()
}

#[track_caller]
fn until<T: std::fmt::Debug>(look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = look();
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every byte of the files below.
fn all_bytes(dir: &Path) -> Vec<u8> {
    let of = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => all_bytes(&entry.path()),
        false => std::fs::read(entry.path()).unwrap(),
    };
    std::fs::read_dir(dir).unwrap().flat_map(|entry| of(entry.unwrap())).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn a_log_that_fails_open_shows_its_checkpoint_at_once_and_cosignatures_as_they_come() {
    let (raw, watcher) = Raw::watched(Fail::Open);
    let policy = raw.policy();
    let running = Running::start(&raw.config);
    for entry in 0..20 {
        add(&running, &[entry]);
        assert_eq!(shown(&running, &policy).0, u64::from(entry) + 1, "whoever has an answer sees it");
    }
    until(|| shown(&running, &policy), |shown| *shown == (20, true));
    // Kept at once where somebody waits for it.
    assert_eq!(request(running.address, "POST", "/add?promise=witnessed", &[], &[19]).text(), "19");
    let health = until(|| health(&running), |health| health["witnesses"]["size"] == 20);
    assert_eq!((&health["status"], &health["witnesses"]["fail"]), (&"ok".into(), &"open".into()));
    let witness = &health["witnesses"]["witnesses"][0];
    assert_eq!(witness["url"], format!("http://{}", watcher.address));
    assert_eq!((&witness["names"], &witness["size"]), (&serde_json::json!(["e", "m"]), &20.into()));
    assert!(witness["time"].as_u64().unwrap().abs_diff(now()) < 60_000, "milliseconds: {witness}");
    assert!(witness.get("alarm").is_none() && witness.get("error").is_none(), "{witness}");
    running.stop().unwrap();

    // What the log signs on holds nothing of the witnesses.
    let (journal, lock) =
        (std::fs::read(raw.config.log_dir.join("journal")).unwrap(), all_bytes(&raw.config.lock_dir));
    assert!(holds(&journal, ORIGIN) && holds(&lock, ORIGIN), "they hold checkpoints");
    assert!(!holds(&journal, WITNESS) && !holds(&lock, WITNESS));
    assert!(holds(&std::fs::read(raw.config.log_dir.join("witnessed")).unwrap(), WITNESS));
    // Without its witness it goes on, from what is kept, and says what is wrong.
    watcher.stop();
    let running = Running::start(&raw.config);
    assert_eq!(shown(&running, &policy), (20, true));
    add(&running, b"alone");
    assert_eq!(shown(&running, &policy), (21, false));
    until(|| self::health(&running), |health| health["witnesses"]["witnesses"][0].get("error").is_some());
    running.stop().unwrap();
}

#[test]
fn a_log_that_fails_closed_shows_only_what_had_its_quorum_also_after_a_restart() {
    let (raw, watcher) = Raw::watched(Fail::Closed);
    let policy = raw.policy();
    let running = Running::start(&raw.config);
    assert_eq!(shown(&running, &policy).0, 0, "the empty tree, which every tree continues");
    add(&running, b"a");
    until(|| shown(&running, &policy), |shown| *shown == (1, true));
    let address = watcher.stop();
    add(&running, b"b");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(shown(&running, &policy), (1, true));
    let started = Instant::now();
    running.stop().unwrap();
    assert!(started.elapsed() < Duration::from_secs(8), "it waits for no witness");
    let running = Running::start(&raw.config);
    assert_eq!(shown(&running, &policy), (1, true));
    assert_eq!(health(&running)["size"], 2);
    let watcher = Watcher::start_at(address, &raw.dir.path().join("w"), &raw.vkey);
    until(|| shown(&running, &policy), |shown| *shown == (2, true));
    running.stop().unwrap();
    watcher.stop();

    // A log of records has no empty tree to show.
    let mut world = World::created();
    let policy = self::policy(&world.vkey, "127.0.0.1:9".parse().unwrap());
    let dir = world.dir.path().to_owned();
    witnessed(&mut world.config, &dir, &policy, Fail::Closed);
    world.start();
    world.get("/checkpoint").is_problem(503, "checkpoint-unwitnessed");
}

#[test]
fn who_was_witnessed_with_another_tree_is_told_so_and_a_log_restored_behind_is_only_read() {
    // Grown before it is watched, so that its witness saw no size but the last.
    let mut first = Raw::created();
    let running = Running::start(&first.config);
    add(&running, b"one history");
    add(&running, b"of two entries");
    running.stop().unwrap();
    let watcher = first.watch(Fail::Open);
    let running = Running::start(&first.config);
    until(|| shown(&running, &first.policy()), |shown| *shown == (2, true));
    running.stop().unwrap();

    // The same key signs another history: nothing on this machine can tell, a witness can, as soon as it is there.
    let mut other = Raw::created();
    let policy = policy(&other.vkey, watcher.address);
    witnessed(&mut other.config, other.dir.path(), &policy, Fail::Open);
    let address = watcher.stop();
    let running = Running::start(&other.config);
    add(&running, b"another history");
    let watcher = Watcher::start_at(address, &first.dir.path().join("w"), &first.vkey);
    let alarm = |health: &Value| health["witnesses"]["witnesses"][0]["alarm"].as_str().map(str::to_owned);
    let health = until(|| health(&running), |health| alarm(health).is_some());
    assert!(alarm(&health).unwrap().starts_with("saw another tree: "), "{health}");
    running.stop().unwrap();

    // Where what was witnessed is still there, the log does not sign on: it is only read.
    let witnessed_before = first.config.log_dir.join("witnessed");
    std::fs::copy(&witnessed_before, other.config.log_dir.join("witnessed")).unwrap();
    let is_overtaken = |config: &Config| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let server = runtime.block_on(Server::bind(config.clone())).unwrap();
        matches!(server.read_only(), Some(OpenError::Overtaken { .. }))
    };
    assert!(is_overtaken(&other.config));
    // And once it has grown to that size, it is plain that it is another tree: it is not served at all.
    std::fs::remove_file(other.config.log_dir.join("witnessed")).unwrap();
    other.config.witnesses = None;
    let running = Running::start(&other.config);
    add(&running, b"that goes on");
    running.stop().unwrap();
    witnessed(&mut other.config, other.dir.path(), &policy, Fail::Open);
    std::fs::copy(&witnessed_before, other.config.log_dir.join("witnessed")).unwrap();
    let refused = |config: &Config| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Server::bind(config.clone())).map(drop).unwrap_err()
    };
    let error = refused(&other.config);
    assert!(matches!(error, StartError::Log { source: OpenError::Diverged { .. }, .. }), "{error}");
    let mut empty = Raw::created();
    witnessed(&mut empty.config, empty.dir.path(), &policy, Fail::Open);
    std::fs::copy(&witnessed_before, empty.config.log_dir.join("witnessed")).unwrap();
    assert!(is_overtaken(&empty.config));
    // Nor read, where readers are shown only what reached the quorum.
    witnessed(&mut empty.config, empty.dir.path(), &policy, Fail::Closed);
    refused(&empty.config);
    watcher.stop();
}

/// Copies everything below.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.unwrap(), to.join("x"));
        let to = to.with_file_name(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The server of this configuration, which is not run.
fn bound(config: &Config) -> Result<Server, StartError> {
    tokio::runtime::Runtime::new().unwrap().block_on(Server::bind(config.clone()))
}

#[test]
fn a_log_restored_with_all_that_is_kept_of_it_is_found_out_by_its_witness() {
    let (raw, watcher) = Raw::watched(Fail::Open);
    let policy = raw.policy();
    let running = Running::start(&raw.config);
    add(&running, b"a");
    until(|| shown(&running, &policy), |shown| *shown == (1, true));
    running.stop().unwrap();
    // A snapshot of the whole machine: journal, lock store and what was kept as witnessed.
    let parts = [&raw.config.log_dir, &raw.config.lock_dir];
    let at = |part: &Path| raw.dir.path().join("snapshot").join(part.file_name().unwrap());
    parts.iter().for_each(|part| copy(part, &at(part)));
    let restore = || {
        for part in parts {
            std::fs::remove_dir_all(part).unwrap();
            copy(&at(part), part);
        }
    };
    let running = Running::start(&raw.config);
    add(&running, b"b");
    until(|| shown(&running, &policy), |shown| *shown == (2, true));
    assert!(health(&running).get("warnings").is_none());
    running.stop().unwrap();

    restore();
    let running = Running::start(&raw.config);
    let reason = health(&running)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains(&format!("http://{}", watcher.address)), "{reason}");
    request(running.address, "POST", "/add", &[], b"c").is_problem(503, "log-read-only");
    running.stop().unwrap();
    let why = bound(&raw.config).unwrap();
    let (theirs, ours) = match why.read_only() {
        Some(OpenError::Overtaken { theirs, ours, .. }) => (theirs.0, ours.0),
        other => panic!("{other:?}"),
    };
    assert_eq!((theirs, ours), (2, 1));
    drop(why);

    // A witness that is not there keeps no log from starting; the operator is told.
    let address = watcher.stop();
    let running = Running::start(&raw.config);
    let warning = health(&running)["warnings"][0].as_str().unwrap().to_owned();
    assert!(warning.starts_with(&format!("the witness http://{address} could not be asked")), "{warning}");
    add(&running, b"another b");
    running.stop().unwrap();
    // Now the log has as many entries as the witness has cosigned, and they are others.
    let watcher = Watcher::start_at(address, &raw.dir.path().join("w"), &raw.vkey);
    match bound(&raw.config).map(drop).unwrap_err() {
        StartError::Log { source: OpenError::Diverged { size, .. }, .. } => assert_eq!(size.0, 2),
        other => panic!("{other}"),
    }
    watcher.stop();
}

#[test]
fn a_policy_that_can_not_be_used_is_refused_by_name() {
    let mut raw = Raw::created();
    let others = NoteKey::from_seed("other.example", Algorithm::Ed25519, &[9; 32]).unwrap();
    let refused = |config: &Config| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Server::bind(config.clone())).map(drop).unwrap_err().to_string()
    };
    let address = "127.0.0.1:9".parse().unwrap();
    for (text, why) in [
        ("nonsense".to_owned(), "policy"),
        (policy(others.key(), address), "names other logs"),
        (format!("log {}\nquorum none\n", raw.vkey), "no witness with a URL"),
    ] {
        witnessed(&mut raw.config, raw.dir.path(), &text, Fail::Open);
        let message = refused(&raw.config);
        assert!(message.contains("can't use the witness policy") && message.contains(why), "{message}");
    }
    raw.config.witnesses = Some(Witnessing { policy: raw.dir.path().join("nowhere"), fail: Fail::Open });
    assert!(refused(&raw.config).contains("nowhere"));
}

/// A log of records, watched by a witness of its own, with everybody enrolled.
fn watched_world(fail: Fail) -> (World, Watcher) {
    let mut world = World::created();
    let dir = world.dir.path().to_owned();
    let watcher = Watcher::start(&dir.join("w"), &world.vkey);
    let policy = policy(&world.vkey, watcher.address);
    witnessed(&mut world.config, &dir, &policy, fail);
    world.start();
    let founded = world.batch(&world.founding());
    assert!(founded.iter().all(|answer| answer["status"] == "included"), "{founded:?}");
    (world, watcher)
}

fn policy_of(world: &World) -> Policy {
    Policy::parse(&std::fs::read(world.dir.path().join("policy")).unwrap()).unwrap()
}

fn post(world: &World, query: &str, record: &UnverifiedRecord) -> Answer {
    let json = [("content-type", "application/json")];
    world.request("POST", &format!("/v1/records{query}"), &json, record.bytes())
}

/// That an answer proves its record in the tree of its checkpoint; gives whether that has the quorum.
#[track_caller]
fn proven(answer: &Value, record: &UnverifiedRecord, policy: &Policy) -> bool {
    let note = UnverifiedNote::parse(answer["checkpoint"].as_str().unwrap().as_bytes()).unwrap();
    let opened = policy.open(note).unwrap();
    let proof: Vec<Hash> = answer["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| Hash::from_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    let index = LeafIndex(answer["index"].as_u64().unwrap());
    inclusion::verify(leaf_hash(record.bytes()), index, &proof, &opened.head()).unwrap();
    policy.check_quorum(&opened).is_ok()
}

#[test]
fn each_promise_is_answered_when_it_holds() {
    let (world, watcher) = watched_world(Fail::Open);
    let policy = policy_of(&world);
    let of = |event: &str| world.trigger(event);
    let record = of("integrated");
    let answer = post(&world, "", &record);
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"included".into()));
    assert_eq!(answer.json()["witnesses"], serde_json::json!({"fail": "open", "have": 0, "quorum": false}));
    assert!(!proven(&answer.json(), &record, &policy));
    assert_eq!(post(&world, "?promise=integrated", &record).json()["status"], "included");

    let record = of("published");
    let answer = post(&world, "?promise=published", &record);
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"published".into()));
    assert!(world.checkpoint().checkpoint().head().size.0 > answer.json()["index"].as_u64().unwrap());

    let record = of("witnessed");
    let answer = post(&world, "?promise=witnessed", &record);
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"witnessed".into()), "{}", answer.text());
    assert!(proven(&answer.json(), &record, &policy), "in the tree of the cosigned checkpoint");
    assert_eq!(answer.json()["witnesses"], serde_json::json!({"fail": "open", "have": 2, "quorum": true}));

    let record = of("stored");
    let answer = post(&world, "?promise=stored", &record);
    assert_eq!(answer.status, 202);
    let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        (members, &answer.json()["status"]),
        (["id", "index", "status"].map(str::to_owned).to_vec(), &"stored".into())
    );

    // A batch: what is rejected is said all the same, and each other record has its own proof.
    let records = [of("one"), of("two")];
    let lines = [records[0].bytes(), b"\nnonsense\n", records[1].bytes(), b"\n"].concat();
    let jsonl = [("content-type", "application/jsonl")];
    let answers = world.request("POST", "/v1/records/batch?promise=witnessed", &jsonl, &lines).lines();
    assert_eq!(
        answers.iter().map(|answer| answer["status"].as_str().unwrap()).collect::<Vec<_>>(),
        ["witnessed", "rejected", "witnessed"]
    );
    assert!(proven(&answers[0], &records[0], &policy) && proven(&answers[2], &records[1], &policy));

    for query in ["?promise=kept", "?promise=witnessed&wait=60001", "?promises=stored"] {
        post(&world, query, &of("no")).is_problem(400, "query-invalid");
    }
    watcher.stop();
    let record = of("late");
    let answer = post(&world, "?promise=witnessed&wait=300", &record);
    let problem = answer.json();
    assert_eq!((answer.status, &problem["code"]), (504, &"witness-timeout".into()));
    let again = post(&world, "", &record).json();
    assert_eq!(
        (&again["status"], &again["index"]),
        (&"included".into(), &problem["index"]),
        "it is integrated"
    );
}

#[test]
fn where_nobody_witnesses_nothing_is_taken_that_is_to_be_witnessed() {
    let world = World::peopled();
    let before = world.checkpoint().head();
    post(&world, "?promise=witnessed", &world.trigger("one")).is_problem(400, "query-invalid");
    assert_eq!(world.checkpoint().head(), before);
    let answer = post(&world, "?promise=published", &world.trigger("one")).json();
    assert_eq!((&answer["status"], answer.get("witnesses")), (&"published".into(), None));
}

#[test]
fn what_is_published_in_a_log_that_fails_closed_is_witnessed() {
    let (raw, watcher) = Raw::watched(Fail::Closed);
    let policy = raw.policy();
    let running = Running::start(&raw.config);
    let add =
        |query: &str, entry: &[u8]| request(running.address, "POST", &format!("/add{query}"), &[], entry);
    for entry in 0..3_u8 {
        let answer = add("?promise=published", &[entry]);
        assert_eq!((answer.status, answer.text()), (200, entry.to_string().as_str()));
        assert_eq!(shown(&running, &policy), (u64::from(entry) + 1, true));
    }
    assert_eq!((add("?promise=stored", b"s").status, add("?promise=witnessed", b"w").text()), (202, "4"));
    watcher.stop();
    let late = add("?promise=published&wait=200", b"late");
    assert_eq!(
        (late.status, &late.json()["code"], &late.json()["index"]),
        (504, &"witness-timeout".into(), &5.into())
    );
    assert_eq!(add("", b"late").text(), "5");
    // Who waits is sent away when the server stops.
    let waiting = begin(running.address, "POST", "/add?promise=witnessed&wait=60000", &[], b"later");
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    running.stop().unwrap();
    assert!(started.elapsed() < Duration::from_secs(8));
    drop(waiting);
}

#[test]
fn a_client_takes_an_answer_that_is_ahead_of_the_checkpoint() {
    let (world, watcher) = watched_world(Fail::Closed);
    watcher.stop();
    let client = Client::new(&format!("http://{}", world.address()), None).unwrap();
    let client = client.pin(world.trust(), Box::new(MemoryCheckpoints::default()));
    let trigger = world.trigger("one");
    let included = client.submit(&trigger).unwrap();
    let note = UnverifiedNote::parse(&world.get("/checkpoint").body);
    if let Ok(note) = note {
        let shown = policy_of(&world).open(note).unwrap();
        assert!(shown.head().size < included.checkpoint.head().size, "it is held back");
        assert_eq!(client.checkpoint().unwrap(), included.checkpoint);
    }
    // What a run says is as of the latest, as before.
    let run = RunId::started_by(trigger.id());
    let shown = client.fetch_verified(run, millis(now())).unwrap().checkpoint.unwrap();
    assert!(shown.head().size >= included.checkpoint.head().size);
}

#[test]
fn a_bundle_is_witnessed_in_time_and_fresh_under_the_witnesses_policy() {
    let (mut world, watcher) = watched_world(Fail::Open);
    let run = world.whole_run("one");
    let last = post(&world, "?promise=witnessed", &world.trigger("after it")).json();
    assert_eq!(last["status"], "witnessed", "{last}");
    let file = TrustFile {
        genesis: world.log,
        origin: ORIGIN.to_owned(),
        log_keys: vec![world.vkey.to_string()],
        authority: vec![],
        witnesses: std::fs::read_to_string(world.dir.path().join("policy")).unwrap(),
        dimensions: vec![Dimension::Witnessed],
        max_age: Some("2m".to_owned()),
    };
    let require = [
        Dimension::Integrity,
        Dimension::Authority,
        Dimension::Conformity,
        Dimension::Inclusion,
        Dimension::Witnessed,
        Dimension::Freshness,
    ];
    let bundle = |world: &World, query: &str| world.get(&format!("/v1/runs/{run}/bundle{query}"));
    let concluded = |bundle: &Answer, now: u64| {
        let verdict = verify(&bundle.body, &file.trust(), now);
        (verdict.conclude(&require), format!("{verdict:?}"))
    };
    let (conclusion, verdict) = concluded(&bundle(&world, ""), now());
    assert_eq!(conclusion, Conclusion::Shown, "{verdict}");
    let (conclusion, verdict) = concluded(&bundle(&world, "?last=witnessed"), now());
    assert_eq!(conclusion, Conclusion::Shown, "{verdict}");
    let (conclusion, _) = concluded(&bundle(&world, ""), now() + 300_000);
    assert_eq!(conclusion, Conclusion::Violated, "stale");

    // Kept for good, and as of the latest only where that is asked for.
    watcher.stop();
    world.add(&world.trigger("nobody witnesses this"));
    world.stop().unwrap();
    world.start();
    let (conclusion, verdict) = concluded(&bundle(&world, ""), now());
    assert_eq!(conclusion, Conclusion::Shown, "{verdict}");
    let (conclusion, _) = concluded(&bundle(&world, "?last=latest"), now());
    assert_eq!(conclusion, Conclusion::NotShown);
}
