//! What `counterfoil serve` answers is what its OpenAPI document says: schemathesis asks, with data of every form that is
//! described and of others, and checks status, media type, headers and schema of each answer.
//!
//! The Python that has it is the one that `COUNTERFOIL_PYTHON` names, or that of `cargo xtask test`. Where there is none,
//! this says so, and fails in CI. Streams, which it does not read, are read here.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use common::{Desk, Serving, add, ask};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{RecordId, Signer as _, UnverifiedRecord};
use counterfoil_testkit::Effort;
use serde_json::{Map, Value};

const POLICY: &str = r#"language = "counterfoil-policy/1"

[[rules]]
name = "delegates"
effect = "allow"
uses = 1
match.delegation = true

[[rules]]
name = "people"
effect = "require"
match.tool = "db.*"
requirements = [{ count = 1, principals = ["human"], surfaces = ["link", "terminal", "none"] }]
segregation = true
uses = 2
window = "1h"
"#;

/// A log with runs in several states, whose server takes decisions by link.
struct Log {
    desk: Desk,
    url: String,
    _serving: Serving,
}

impl Log {
    fn with_runs() -> Self {
        let desk = Desk::new();
        desk.good(&["init", ".", "--origin", "example.org/log"]);
        let config = desk.read("counterfoil.toml") + "\n[approvals]\nurl = \"http://127.0.0.1:1\"\n";
        desk.write("counterfoil.toml", config);
        let (serving, url) = desk.serve();
        let log = Self { desk, url, _serving: serving };
        log.desk.write("policy.toml", POLICY);
        log.good(&["policy", "set", "policy.toml", "--key", "keys/authority.key"]);
        log.good(&["delegation", "grant", "--to", "agent", "--tool", "*"]);
        let (open, _) = log.propose("db.vacuum");
        log.good(&["observe", &open, "--summary", "as before"]);
        let (rejected, _) = log.propose("db.drop");
        log.good(&["reject", &rejected, "--yes", "--reason", "no"]);
        let (approved, _) = log.propose("db.index");
        log.good(&["approve", &approved, "--yes"]);
        log.propose("shell");
        log
    }

    fn run(&self, words: &[&str]) -> common::Ran {
        self.desk.run(&common::before_dashes(words, &["--server", &self.url]))
    }

    fn good(&self, words: &[&str]) -> String {
        self.run(words).good()
    }

    /// Proposes this in a run of its own; gives run and proposal.
    fn propose(&self, tool: &str) -> (String, String) {
        let json = |words: &[&str]| self.run(&[words, &["--json"]].concat()).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let run = text(&json(&["trigger", "--source", "alerts", "--id", tool])["run"]);
        self.desk.write("action.json", format!(r#"{{"tool": "{tool}", "arguments": {{}}}}"#));
        let words = ["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
        let proposal = text(&json(&words)["id"]);
        (run, proposal)
    }

    /// The token of a link for `human`, as the specification says it is made.
    fn link(&self, proposal: &str) -> String {
        let key = RecordKey::load(&self.desk.path("keys/policy.key")).unwrap();
        let bytes = ask(&self.url, "GET", &format!("/v1/records/{proposal}"), b"").unwrap();
        let record = UnverifiedRecord::parse(&bytes).unwrap();
        let (Some(log), Some(action)) = (record.log(), record.body().action()) else { panic!("no proposal") };
        let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3_000);
        let not_after = u64::try_from(later.as_millis()).unwrap().to_be_bytes();
        let id: RecordId = record.id();
        let head = [&[1][..], id.as_bytes(), action.digest().as_bytes(), &not_after].concat();
        let signed = [b"counterfoil/v1/link\n", &log.as_bytes()[..], &head, b"human"].concat();
        let signature = key.sign(&signed).unwrap();
        BASE64_URL_SAFE_NO_PAD.encode([&head[..], signature.as_bytes(), b"human"].concat())
    }
}

fn python() -> Option<PathBuf> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    let python = env::var_os("COUNTERFOIL_PYTHON").map_or(venv, PathBuf::from);
    let has = Command::new(&python).args(["-c", "import schemathesis"]).output();
    if has.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let why = format!("{} has no schemathesis: cargo xtask test installs it", python.display());
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    eprintln!("NOT TESTED: answers against the OpenAPI document: {why}");
    None
}

/// How often each operation was answered with each status.
type Answered = Map<String, Value>;

/// Lets schemathesis ask a server, some cases an operation; nothing that it checks may be wrong.
fn ask_everything(desk: &Desk, (kind, url): (&str, &str), links: &str, cases: usize) -> Option<Answered> {
    let python = python()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi");
    let counts = desk.path("answered.json");
    let output = Command::new(python)
        .current_dir(desk.path("."))
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(folder.join("schemathesis.toml"))
        .args(["run", &format!("{url}/openapi.json"), "--max-examples", &cases.to_string()])
        .env("COUNTERFOIL_HOOKS", folder.join("hooks.py"))
        .env("COUNTERFOIL_URL", url)
        .env("COUNTERFOIL_KIND", kind)
        .env("COUNTERFOIL_LINKS", links)
        .env("COUNTERFOIL_ANSWERED", &counts)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eprintln!("{said}");
    Some(serde_json::from_slice(&fs::read(counts).unwrap()).unwrap())
}

fn count(answered: &Answered, id: &str, took: impl Fn(u16) -> bool) -> usize {
    let of = answered.get(id).and_then(Value::as_object).into_iter().flatten();
    of.filter(|(status, _)| took(status.parse().unwrap()))
        .map(|(_, count)| usize::try_from(count.as_u64().unwrap()).unwrap())
        .sum()
}

/// That every operation that a kind of server has was answered with what was asked for, but streams and the document itself;
/// that every other is refused with a code that is described.
fn asked_everything(url: &str, kind: &str, answered: &Answered, floor: usize) {
    let total: usize = answered.keys().map(|id| count(answered, id, |_| true)).sum();
    assert!(total >= floor, "{total} requests: {answered:?}");
    let document: Value = serde_json::from_slice(&ask(url, "GET", "/openapi.json", b"").unwrap()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if !operation["x-counterfoil-servers"].as_array().unwrap().contains(&kind.into()) {
                let (status, problem) = answer(url, &method.to_uppercase(), &path.replace(['{', '}'], ""));
                let described = operation["responses"][status.to_string()].to_string();
                let code = problem["code"].as_str().unwrap();
                assert!(
                    described.contains(code) && ["log-raw", "log-mirror", "route-unknown"].contains(&code)
                );
            } else if id != "getOpenApi" && !id.starts_with("watch") {
                assert!(count(answered, id, |status| status < 400) > 0, "{id}: {answered:?}");
            }
        }
    }
}

/// Status and JSON of an answer.
fn answer(url: &str, method: &str, path: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
}

#[test]
fn a_log_of_records_answers_as_its_document_says() {
    let log = Log::with_runs();
    let links: Vec<_> = ["db.a", "db.b", "db.c"].iter().map(|tool| log.link(&log.propose(tool).1)).collect();
    let cases = Effort::from_env().of(15, 400);
    let Some(answered) = ask_everything(&log.desk, ("records", &log.url), &links.join(" "), cases) else {
        return;
    };
    asked_everything(&log.url, "records", &answered, 1_000);
}

/// A raw log with some entries.
fn raw_log() -> (Desk, Serving, String) {
    let desk = Desk::new();
    desk.good(&["init", ".", "--mode", "raw", "--origin", "example.org/raw"]);
    let (serving, url) = desk.serve();
    for entry in ["one", "two", "three"] {
        add(&url, entry).unwrap();
    }
    (desk, serving, url)
}

#[test]
fn a_raw_log_answers_as_the_document_says() {
    let (desk, _serving, url) = raw_log();
    let cases = Effort::from_env().of(5, 200);
    let Some(answered) = ask_everything(&desk, ("raw", &url), "", cases) else { return };
    asked_everything(&url, "raw", &answered, 120);
}

#[test]
fn a_mirror_answers_as_the_document_says() {
    let (desk, _log, url) = raw_log();
    desk.good(&["log", "export", "copy", "--from", &url, "--log-key", desk.read("log.vkey").trim()]);
    let (_serving, url) = desk.serve_with(&["--from", "copy"]);
    let cases = Effort::from_env().of(5, 100);
    let Some(answered) = ask_everything(&desk, ("mirror", &url), "", cases) else { return };
    asked_everything(&url, "mirror", &answered, 30);
}

/// The head of a stream, and the data of its first event.
fn first_event(url: &str, path: &str, headers: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let data =
        lines.find_map(|line| line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()));
    (head.join("\n"), data.unwrap())
}

#[test]
fn streams_are_as_the_document_says() {
    let log = Log::with_runs();
    let (run, _) = log.propose("db.watched");
    let document: Value =
        serde_json::from_slice(&ask(&log.url, "GET", "/openapi.json", b"").unwrap()).unwrap();
    for (path, of, headers, schema) in [
        (format!("/v1/runs/{run}/events"), "/v1/runs/{run}/events", "", "RunRecord"),
        ("/v1/approvals/events".to_owned(), "/v1/approvals/events", "last-event-id: 0\r\n", "Approval"),
    ] {
        let (head, data) = first_event(&log.url, &path, headers);
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("content-type: text/event-stream"),
            "{head}"
        );
        let answers = &document["paths"][of]["get"]["responses"]["200"];
        assert!(answers["content"]["text/event-stream"].is_object(), "{of}");
        assert!(answers["description"].as_str().unwrap().contains(&format!("`{schema}`")), "{answers}");
        let described = &document["components"]["schemas"][schema];
        let required = described["required"].as_array().unwrap();
        assert!(
            required.len() > 2
                && required
                    .iter()
                    .all(|name| !data[name.as_str().unwrap()].is_null() || schema == "Approval")
        );
        let unsaid =
            data.as_object().unwrap().keys().find(|name| described["properties"].get(name).is_none());
        assert_eq!(unsaid, None, "{data}");
    }
}
