//! Operation: tokens, start, stop, restart, and what is said when something is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    error::Error,
    fs,
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use common::*;
use counterfoil_receipt::RunId;
use counterfoil_server::{Config, Mode, RecordFiles, ServeError, Server, StartError, create_log};
use sha2::Digest as _;

/// How a server with this configuration fails to start, with all causes.
fn start_error(config: &Config) -> (StartError, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Err(error) = runtime.block_on(Server::bind(config.clone())) else { panic!("it started") };
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    (error, text)
}

#[test]
fn reading_needs_the_token_where_there_is_one() {
    let mut world = World::created();
    world.config.reads = token("correct-horse-battery\n", world.dir.path());
    world.start();
    let with = |token: &str, path: &str| world.request("GET", path, &[("authorization", token)], b"");
    for path in
        ["/checkpoint", "/v1/log", "/v1/runs", "/tile/0/000.p/2", "/v1/payloads/x", "/v1/runs/x/bundle"]
    {
        let answer = world.get(path);
        answer.is_problem(401, "token-required");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        with("Bearer correct-horse-batterz", path).is_problem(401, "token-required");
        assert_ne!(with("Bearer correct-horse-battery", path).status, 401);
    }
    for wrong in ["Bearer ", "Bearer correct-horse-battery\t1", "correct-horse-battery"] {
        with(wrong, "/v1/log").is_problem(401, "token-required");
    }
    assert_eq!(with("Bearer correct-horse-battery", "/checkpoint").status, 200);
    // Submissions carry their own proof.
    let answers = world.batch(&world.founding());
    assert!(answers.iter().all(|answer| answer["status"] == "included"));
    assert_eq!(world.get("/healthz").status, 200);
    world.get("/nothing").is_problem(404, "route-unknown");
}

#[test]
fn a_page_whose_name_was_bound_to_this_machine_reads_nothing() {
    let world = World::peopled();
    let as_host = |host: &str| world.request("GET", "/v1/runs", &[("host", host)], b"");
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.0.2.1", "[::2]:80"] {
        as_host(host).is_problem(403, "host-unknown");
    }
    for host in ["localhost", "LOCALHOST:7450", "127.0.0.1:1", "[::1]:7450"] {
        assert_eq!(as_host(host).status, 200, "{host}");
    }
    let of_two = [("host", "localhost"), ("host", "evil.example")];
    world.request("GET", "/v1/runs", &of_two, b"").is_problem(403, "host-unknown");
}

#[test]
fn without_a_token_others_are_not_let_in() {
    let mut world = World::created();
    world.config.listen = "0.0.0.0:0".parse().unwrap();
    assert!(start_error(&world.config).1.contains("there is no read token"));
}

#[test]
fn a_restart_keeps_everything() {
    let mut world = World::peopled();
    let run = world.whole_run("one");
    let paths = ["/checkpoint", "/v1/runs", "/v1/principals/ana", "/v1/policy", "/v1/log"].map(str::to_owned);
    let paths: Vec<String> =
        paths.into_iter().chain([format!("/v1/runs/{run}"), format!("/v1/runs/{run}/bundle")]).collect();
    let before: Vec<Vec<u8>> = paths.iter().map(|path| world.get(path).body).collect();
    world.stop().unwrap();
    world.start();
    let after: Vec<Vec<u8>> = paths.iter().map(|path| world.get(path).body).collect();
    assert!(before == after);
    world.whole_run("two");
}

#[test]
fn what_was_used_is_used_after_a_restart() {
    let mut world = World::peopled();
    let (proposal, decisions) = world.approved("one", now());
    let first = world.execution(&proposal, &decisions, now());
    world.add(&first);
    world.stop().unwrap();
    world.start();
    // The same record again is what is logged; another one is refused.
    assert_eq!(world.add(&first), first.id());
    let again = world.post(world.execution(&proposal, &decisions, now() + 1).bytes());
    assert_eq!((again.status, again.header("counterfoil-code")), (422, Some("use-consumed")));
}

#[test]
fn what_a_crash_left_of_a_submission_is_settled_at_start() {
    let mut world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let ((named, named_line), (lost, lost_line)) = (payload("a.txt", b"named"), payload("b.txt", b"lost"));
    let record = world.observation(run, trigger.id(), vec![named.clone()]);
    world.add(&record);
    world.stop().unwrap();
    // As after a crash between the log's answer and the move, and before the submission.
    let incoming = world.files().payload_dir.join("incoming");
    for (item, line) in [(&named, &named_line), (&lost, &lost_line)] {
        let digits = item.commitment.to_string().replace("sha256:", "");
        fs::write(incoming.join(format!("payload-{digits}.0")), &line[..line.len() - 1]).unwrap();
    }
    fs::write(incoming.join("payload-torn"), b"{").unwrap();
    world.start();
    assert_eq!(world.get(&payload_path(&named.commitment)).body, named_line);
    world.get(&payload_path(&lost.commitment)).is_problem(404, "payload-unknown");
    let kept = fs::read_dir(world.files().payload_dir.join("payload")).unwrap().count();
    assert_eq!((fs::read_dir(incoming).unwrap().count(), kept), (0, 1));
    // A file by itself makes no payload.
    let (item, line) = payload("nobody_names.txt", b"unnamed");
    let file =
        world.files().payload_dir.join("payload").join(item.commitment.to_string().replace("sha256:", ""));
    fs::write(file, &line[..line.len() - 1]).unwrap();
    world.get(&payload_path(&item.commitment)).is_problem(404, "payload-unknown");
}

#[test]
fn a_damaged_payload_is_never_served() {
    let world = World::peopled();
    let run = world.whole_run("one");
    let file =
        fs::read_dir(world.files().payload_dir.join("payload")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    let commitment = &text["{\"commitment\":\"".len()..][..71];
    fs::write(&file, text.replace("alert.json", "alarm.json")).unwrap();
    world.get(&format!("/v1/payloads/{commitment}")).is_problem(500, "store-unreadable");
    // The bundle breaks off before it, perhaps before anything was sent; without payloads it can be had.
    let mut cut = Vec::new();
    let _ = begin(world.address(), "GET", &format!("/v1/runs/{run}/bundle"), &[], b"").read_to_end(&mut cut);
    assert!(!String::from_utf8_lossy(&cut).contains("alarm.json"));
    assert_eq!(world.get(&format!("/v1/runs/{run}/bundle?payloads=none")).status, 200);
    fs::remove_file(&file).unwrap();
    assert_eq!(world.get(&format!("/v1/runs/{run}/bundle")).lines()[0]["payloads"], 0);
}

#[test]
fn stopping_finishes_what_is_in_flight_and_ends_who_waits() {
    let mut world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let address = world.address();
    let polling = std::thread::spawn(move || {
        let path = format!("/v1/runs/{run}?after=1&wait=60000");
        request(address, "GET", &path, &[], b"")
    });
    let streaming =
        std::thread::spawn(move || request(address, "GET", &format!("/v1/runs/{run}/events"), &[], b""));
    // A submission of which half is sent.
    let note = world.note(run, trigger.id(), "in flight");
    let (first, second) = note.bytes().split_at(100);
    let length = note.bytes().len().to_string();
    let mut half = std::net::TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /v1/records HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    half.write_all(&[head.as_bytes(), first].concat()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let started = Instant::now();
    let stopping = std::thread::spawn(move || {
        let stopped = world.stop();
        (world, stopped)
    });
    std::thread::sleep(Duration::from_millis(200));
    half.write_all(second).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut half, &mut answer).unwrap();
    assert_eq!(parse(&answer).status, 200);
    assert_eq!(polling.join().unwrap().json()["records"].as_array().unwrap().len(), 1);
    assert!(streaming.join().unwrap().text().contains("event: record"));
    let (mut world, stopped) = stopping.join().unwrap();
    stopped.unwrap();
    assert!(started.elapsed() < Duration::from_secs(8));
    assert!(std::net::TcpStream::connect(address).is_err());
    world.start();
    assert_eq!(world.get(&format!("/v1/records/{}", note.id())).status, 200);
}

#[test]
fn a_log_that_fails_ends_the_server_and_nothing_is_acknowledged() {
    let mut world = World::peopled();
    // The first full tile can't be written.
    let tiles = world.config.log_dir.join("tile");
    let aside = world.config.log_dir.join("tile.aside");
    if tiles.exists() {
        fs::rename(&tiles, &aside).unwrap();
    }
    fs::write(&tiles, b"not a directory").unwrap();
    let triggers: Vec<_> = (0..300).map(|number| world.trigger(&number.to_string())).collect();
    let lines: Vec<u8> = triggers.iter().flat_map(|record| [record.bytes(), b"\n"].concat()).collect();
    let answer = world.post_lines(&lines);
    answer.is_problem(503, "log-failed");
    let Err(ServeError::Log(fatal)) = world.ended() else { panic!("the server ended without an error") };
    assert_eq!(fatal.code(), "fatal-derived");
    fs::remove_file(&tiles).unwrap();
    if aside.exists() {
        fs::rename(&aside, &tiles).unwrap();
    }
    // It was durable before it failed; whoever sends it again learns so.
    world.start();
    assert_eq!(world.post(triggers[299].bytes()).status, 200);
}

/// Signatures are not checked again at start; that nothing else is in the journal than what was admitted, the signed root says.
#[test]
fn an_entry_changed_with_the_digest_of_its_frame_does_not_give_the_signed_root() {
    let mut world = World::peopled();
    let trigger = world.trigger("one");
    world.add(&trigger);
    world.stop().unwrap();
    let path = world.config.log_dir.join("journal");
    let intact = fs::read(&path).unwrap();
    let last = intact.windows(8).rposition(|bytes| bytes == b"CFBATCH1").unwrap();
    let sig =
        last + intact[last..].windows(8).position(|bytes| bytes.starts_with(b"\"sig\":\"")).unwrap() + 7;
    let mut changed = intact.clone();
    changed[sig] = if changed[sig] == b'A' { b'B' } else { b'A' };
    let body = changed.len() - 32;
    let digest = sha2::Sha256::digest(&changed[last..body]);
    changed[body..].copy_from_slice(&digest);
    fs::write(&path, changed).unwrap();
    let (error, text) = start_error(&world.config);
    let StartError::Log { source, .. } = error else { panic!("{text}") };
    assert_eq!(source.code(), "open-journal-bad-frame", "{text}");
    fs::write(&path, intact).unwrap();
    world.start();
    assert_eq!(world.get(&format!("/v1/records/{}", trigger.id())).body, trigger.bytes());
}

#[test]
fn what_keeps_a_server_from_starting_is_said() {
    let mut world = World::started();
    let config = world.config.clone();
    assert!(start_error(&config).1.contains("another process writes this log"));
    let taken = Config { listen: world.address(), ..config.clone() };
    assert!(start_error(&taken).1.contains("another process listens there"));
    let Err(StartError::Log { .. }) = create_log(&config) else { panic!("created twice") };
    world.stop().unwrap();

    let nowhere = |name: &str| world.dir.path().join(name);
    let absent = Config { log_dir: nowhere("no-log"), lock_dir: nowhere("no-lock"), ..config.clone() };
    assert!(start_error(&absent).1.contains("create it first"));
    // The lock store knows of a log that is not there: it was lost, or is elsewhere.
    let lost = Config { log_dir: nowhere("lost"), ..config.clone() };
    assert!(start_error(&lost).1.contains("can't open the log in"));
    let inside = Config { lock_dir: config.log_dir.join("lock"), ..config.clone() };
    assert!(start_error(&inside).1.contains("lies in the log's directory"));
    let files = world.files().clone();
    let with = |files: RecordFiles| Config { mode: Mode::Records(files), ..config.clone() };
    let swapped = Config { note_key: files.snapshot_key.clone(), ..config.clone() };
    assert!(matches!(start_error(&swapped).0, StartError::Key(_)));
    let no_genesis = with(RecordFiles { genesis: config.note_key.clone(), ..files.clone() });
    assert!(matches!(start_error(&no_genesis).0, StartError::NoGenesis { .. }));
    let blocked = with(RecordFiles { payload_dir: files.genesis.clone(), ..files.clone() });
    assert!(start_error(&blocked).1.contains("payload directory"));
    let other = World::created();
    let foreign = with(RecordFiles { genesis: other.files().genesis.clone(), ..files.clone() });
    assert!(matches!(start_error(&foreign).0, StartError::OtherGenesis { .. }));
    let stranger = counterfoil_keys::RecordKey::from_seed(
        counterfoil_receipt::Principal::new("the-log").unwrap(),
        counterfoil_receipt::Role::Log,
        &[3; 32],
    );
    let path = world.dir.path().join("stranger.key");
    stranger.write(&path).unwrap();
    let unnamed = with(RecordFiles { snapshot_key: path, ..files });
    assert!(matches!(start_error(&unnamed).0, StartError::SnapshotKey { .. }));

    let journal = config.log_dir.join("journal");
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&journal, bytes).unwrap();
    assert!(start_error(&config).1.contains("damaged"), "{}", start_error(&config).1);
}
