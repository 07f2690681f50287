//! `counterfoil log` on a real server: the same bytes as it serves, audits of both, and what survives a kill.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use common::Log;

/// The body of a GET, as the server sends it.
fn get(url: &str, path: &str) -> Vec<u8> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{path}");
    answer[head..].to_vec()
}

fn files(root: &Path, below: &Path, out: &mut Vec<String>) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, out);
        } else {
            out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    out.sort();
}

/// A log with more than one bundle.
fn large() -> Log {
    let log = Log::new();
    let run = log.trigger();
    for _ in 0..140 {
        log.good(&["observe", &run, "--summary", "as before"]);
    }
    log
}

#[test]
fn an_export_of_a_server_is_what_it_serves_and_both_pass_an_audit() {
    let log = large();
    let said = log.json(&["log", "export", "copy"]);
    assert!(said["size"].as_u64().unwrap() > 256, "{said}");
    let (copy, mut names) = (log.desk.path("copy"), Vec::new());
    files(&copy, &copy, &mut names);
    assert_eq!(names.len() as u64, said["written"].as_u64().unwrap());
    for name in &names {
        assert!(fs::read(copy.join(name)).unwrap() == get(&log.url, name), "{name}");
    }
    for place in [&log.url[..], "copy"] {
        let report = log.json(&["log", "audit", place, "--since", "copy/checkpoint", "--jobs", "3"]);
        assert_eq!(report["conclusion"], "shown", "{report}");
        assert_eq!(report["types"]["observation"], 140);
        assert_eq!(report["since"][0]["holds"], true);
    }
    // The same under the note key alone, as of a log that is not ours.
    let trust = log.desk.read("trust.toml");
    let key = trust.split("log_keys = [\"").nth(1).unwrap().split('"').next().unwrap();
    let text = log.good(&["log", "audit", "copy", "--log-key", key, "--html", "audit.html"]);
    assert!(text.contains("all is as the log signed it"), "{text}");
    let page = log.desk.read("audit.html");
    assert!(page.contains("As it should be") && !page.contains("<script"), "{page}");
}

#[test]
fn a_flipped_bit_of_an_export_is_found_named_and_not_exported_over() {
    let log = Log::new();
    log.trigger();
    log.good(&["log", "export", "copy"]);
    let entries = log.desk.path("copy/tile/entries/000.p");
    let name = fs::read_dir(&entries).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&name).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&name, &bytes).unwrap();
    let ran = log.run(&["log", "audit", "copy"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(ran.stdout.contains("bundle-differs tile/entries/000.p/"), "{}", ran.stdout);
    assert!(ran.stdout.contains("that says nothing against the log"), "{}", ran.stdout);
    log.run(&["log", "export", "copy"]).failed(1, "export-damaged");
    assert!(fs::read(&name).unwrap() == bytes);
}

#[test]
fn an_export_that_is_killed_at_any_moment_is_completed_by_the_next() {
    let log = large();
    log.good(&["log", "export", "whole"]);
    let whole = log.desk.path("whole");
    for delay in 0..12 {
        let target = format!("copy-{delay}");
        let arguments = ["log", "export", &target, "--server", &log.url, "--jobs", "1"];
        let mut child =
            log.desk.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay * 8));
        let _ = child.kill();
        child.wait().unwrap();
        let copy = log.desk.path(&target);
        if copy.join("checkpoint").exists() {
            // Whatever its checkpoint covers is there.
            log.good(&["log", "audit", &target]);
        }
        log.good(&["log", "export", &target]);
        let (mut names, mut expected) = (Vec::new(), Vec::new());
        files(&copy, &copy, &mut names);
        files(&whole, &whole, &mut expected);
        assert_eq!(names, expected);
        assert!(
            names
                .iter()
                .all(|name| fs::read(copy.join(name)).unwrap() == fs::read(whole.join(name)).unwrap())
        );
    }
}

#[test]
fn an_export_follows_the_log_until_it_is_ended() {
    let log = Log::new();
    let arguments = ["log", "export", "copy", "--server", &log.url, "--follow", "--every", "1"];
    let mut child = log.desk.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    log.trigger();
    let served = String::from_utf8(get(&log.url, "checkpoint")).unwrap();
    let there = || fs::read_to_string(log.desk.path("copy/checkpoint")).is_ok_and(|note| note == served);
    while !there() {
        assert!(began.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    log.good(&["log", "audit", "copy"]);
}

#[test]
fn what_can_not_be_read_is_told_apart() {
    let log = Log::new();
    log.run(&["log", "audit", "nowhere"]).failed(2, "source-misuse");
    log.run(&["log", "audit", "keys"]).failed(2, "source-missing");
    log.run(&["log", "audit", "http://127.0.0.1:1/x?y"]).failed(2, "source-misuse");
    log.run(&["log", "audit", &log.url, "--since", "trust.toml"]).failed(2, "since-unreadable");
    log.desk.write("state", "{}");
    log.run(&["log", "audit", &log.url, "--resume", "state"]).failed(2, "resume-foreign");
    let other = Log::new();
    log.run(&["log", "audit", &other.url]).failed(1, "checkpoint-signature");
    log.run(&["log", "export", "copy", "--from", &other.url]).failed(1, "checkpoint-signature");
}

#[test]
fn evidence_against_a_log_is_written_and_confirmed_offline() {
    use counterfoil_testkit::Scenario;
    use counterfoil_tlog::{
        HashReader as _, MemoryTree, leaf_hash,
        tile::{encode_entries, encode_tile},
    };
    // A log of few entries, which ends with no snapshot: one bundle and one tile.
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    scenario.ledger.sign_checkpoint();
    let (desk, size) = (common::Desk::new(), scenario.ledger.size());
    let tree: MemoryTree = scenario.ledger.entries().iter().map(|entry| leaf_hash(entry)).collect();
    let row: Vec<_> = (0..size).map(|at| tree.node(0, at).unwrap()).collect();
    for directory in ["log/tile/0/000.p", "log/tile/entries/000.p"] {
        fs::create_dir_all(desk.path(directory)).unwrap();
    }
    desk.write("log/checkpoint", scenario.ledger.checkpoint(size).unwrap());
    desk.write(&format!("log/tile/0/000.p/{size}"), encode_tile(&row));
    desk.write(&format!("log/tile/entries/000.p/{size}"), encode_entries(scenario.ledger.entries()).unwrap());
    desk.write("trust.toml", scenario.ledger.trust().to_toml());
    let ran = desk.run(&["log", "audit", "log", "--evidence", "evidence.jsonl", "--html", "audit.html"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(
        ran.stdout.contains("THE LOG MISBEHAVED") && ran.stdout.contains("checkpoint-snapshot"),
        "{}",
        ran.stdout
    );
    assert!(desk.read("audit.html").contains("checkpoint-snapshot"));
    fs::remove_dir_all(desk.path("log")).unwrap();
    let ran = desk.run(&["verify", "evidence.jsonl"]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(ran.stdout.contains("checkpoint-snapshot entry"), "{}", ran.stdout);
    desk.write("other.jsonl", desk.read("evidence.jsonl").replace("no-snapshot", "entry"));
    desk.run(&["verify", "other.jsonl"]).failed(3, "evidence-not-shown");
    desk.write("cut.jsonl", desk.read("evidence.jsonl").lines().next().unwrap());
    desk.run(&["verify", "cut.jsonl"]).failed(2, "evidence-malformed");
    let json = desk.run(&["verify", "evidence.jsonl", "--json"]);
    let said: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &said["cases"][0]["code"]), (1, &"checkpoint-snapshot".into()));
    let (file, key) = ("evidence.jsonl", scenario.ledger.trust().log_keys[0].clone());
    desk.run(&["verify", file, "--log-key", &key]).failed(3, "evidence-not-shown");
    // What a bundle is judged by says nothing about evidence, and the other way round.
    desk.run(&["verify", file, "--report", "page.html"]).failed(2, "usage");
    desk.run(&["verify", file, "--log-key", &key, "--require", "integrity"]).failed(2, "usage");
    desk.write("bundle.jsonl", scenario.ledger.bundle(run));
    desk.run(&["verify", "bundle.jsonl", "--log-key", &key]).failed(2, "evidence-malformed");
}
