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
use counterfoil_keys::NoteKey;
use counterfoil_server::{Access, Config, Fail, Mode, Server, StartError, Witnessing, create_log};
use counterfoil_tlog::{
    Algorithm, Policy, SeedSigner, SignedCheckpoint, Signer as _, UnverifiedNote, VerifierKey,
};
use counterfoil_witness::{Cosigner, FeederError, WatchedLog, Witness, serve_on, system_clock};
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
        let at = |name: &str| dir.path().join(name);
        let key = NoteKey::from_seed(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap();
        key.write(&at("note.key")).unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            reads: Access::Local,
            log_dir: at("log"),
            lock_dir: at("lock"),
            note_key: at("note.key"),
            mode: Mode::Raw { writes: Access::Local },
            witnesses: None,
        };
        assert_eq!(create_log(&config).unwrap(), None);
        Self { vkey: key.key().clone(), dir, config }
    }

    /// Watched by a witness of its own.
    fn watched(fail: Fail) -> (Self, Watcher) {
        let mut raw = Self::created();
        let watcher = Watcher::start(&raw.dir.path().join("w"), &raw.vkey);
        let policy = policy(&raw.vkey, watcher.address);
        witnessed(&mut raw.config, raw.dir.path(), &policy, fail);
        (raw, watcher)
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
fn who_was_witnessed_with_another_tree_is_told_so_and_a_log_restored_behind_does_not_start() {
    let (first, watcher) = Raw::watched(Fail::Open);
    let running = Running::start(&first.config);
    add(&running, b"one history");
    add(&running, b"of two entries");
    until(|| shown(&running, &first.policy()), |shown| *shown == (2, true));
    running.stop().unwrap();

    // The same key signs another history: nothing on this machine can tell, a witness can.
    let mut other = Raw::created();
    let policy = policy(&other.vkey, watcher.address);
    witnessed(&mut other.config, other.dir.path(), &policy, Fail::Open);
    let running = Running::start(&other.config);
    add(&running, b"another history");
    let alarm = |health: &Value| health["witnesses"]["witnesses"][0]["alarm"].as_str().map(str::to_owned);
    let health = until(|| health(&running), |health| alarm(health).is_some());
    assert!(alarm(&health).unwrap().starts_with("saw another tree: "), "{health}");
    running.stop().unwrap();

    // Where what was witnessed is still there, the log does not sign on.
    let kept = std::fs::read(first.config.log_dir.join("witnessed")).unwrap();
    std::fs::write(other.config.log_dir.join("witnessed"), kept).unwrap();
    let refused = |config: &Config| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(Server::bind(config.clone())).map(drop).unwrap_err()
    };
    assert!(matches!(refused(&other.config), StartError::Witnesses(FeederError::Forked { .. })));
    let mut empty = Raw::created();
    witnessed(&mut empty.config, empty.dir.path(), &policy, Fail::Open);
    std::fs::copy(first.config.log_dir.join("witnessed"), empty.config.log_dir.join("witnessed")).unwrap();
    assert!(matches!(refused(&empty.config), StartError::Witnesses(FeederError::LogBehind { .. })));
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
