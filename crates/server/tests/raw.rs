//! A raw log: adding, limits, who may, restarts, and that the two modes keep apart.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{io::Read as _, net::SocketAddr, thread};

use common::*;
use counterfoil_server::{Access, Config, Mode, Server, StartError, create_log, limits};
use counterfoil_tlog::{
    Hash, LeafIndex, SignedCheckpoint, TlogProof, TreeHead, TreeSize, UnverifiedNote, VerifierKey,
    consistency, inclusion, leaf_hash, tile::decode_entries,
};
use tempfile::TempDir;

/// A raw log with its server.
struct Raw {
    dir: TempDir,
    config: Config,
    vkey: VerifierKey,
    running: Option<Running>,
}

impl Raw {
    fn created() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, vkey) = raw_log(dir.path(), None);
        Self { dir, config, vkey, running: None }
    }

    fn started() -> Self {
        let mut raw = Self::created();
        raw.start();
        raw
    }

    fn start(&mut self) {
        self.running = Some(Running::start(&self.config));
    }

    fn stop(&mut self) {
        self.running.take().unwrap().stop().unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address
    }

    fn get(&self, path: &str) -> Answer {
        request(self.address(), "GET", path, &[], b"")
    }

    fn post(&self, headers: &[(&str, &str)], entry: &[u8]) -> Answer {
        request(self.address(), "POST", "/add", headers, entry)
    }

    #[track_caller]
    fn add(&self, entry: &[u8]) -> u64 {
        let answer = self.post(&[], entry);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let index = answer.text().parse().unwrap();
        assert_eq!(answer.text(), format!("{index}"), "decimal, and no line feed");
        index
    }

    fn head(&self) -> TreeHead {
        let note = UnverifiedNote::parse(&self.get("/checkpoint").body).unwrap();
        let keys = std::slice::from_ref(&self.vkey);
        SignedCheckpoint::open(note, ORIGIN, keys, &[] as &[VerifierKey]).unwrap().checkpoint().head()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && !thread::panicking()
        {
            running.stop().unwrap();
        }
    }
}

#[test]
fn a_signed_checkpoint_of_nothing_is_there_before_the_first_entry() {
    let raw = Raw::started();
    assert_eq!(raw.head(), TreeHead::EMPTY);
    raw.get("/tile/0/000.p/1").is_problem(404, "tile-unknown");
    raw.get("/tile/entries/000.p/1").is_problem(404, "tile-unknown");
    assert_eq!(raw.get("/healthz").text(), r#"{"size":0,"status":"ok"}"#);
    assert_eq!(raw.get("/v1/proofs/consistency?old=0&new=0").json()["proof"], serde_json::json!([]));
}

#[test]
fn an_entry_is_answered_with_its_index_once_a_checkpoint_covers_it() {
    let raw = Raw::started();
    // Whatever the bytes are, and whatever they are called.
    let entries: [&[u8]; 4] = [b"a", b"\0\xff\n", b"{\"no\":record}", &[7; limits::ENTRY_BYTES]];
    for (index, entry) in (0..).zip(entries) {
        let answer = raw.post(&[("content-type", "application/x-anything")], entry);
        assert_eq!((answer.status, answer.text()), (200, index.to_string().as_str()));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(raw.head().size.0 > index);
    }
    let bundle = raw.get("/tile/entries/000.p/4");
    let path = "tile/entries/000.p/4".parse().unwrap();
    assert_eq!(decode_entries(&path, &bundle.body).unwrap(), entries);
    let leaves: Vec<u8> = entries.iter().flat_map(|entry| *leaf_hash(entry).as_bytes()).collect();
    assert_eq!(raw.get("/tile/0/000.p/4").body, leaves);
}

#[test]
fn a_repeated_entry_is_answered_with_its_first_index_also_after_a_restart() {
    let mut raw = Raw::started();
    let indices: Vec<u64> = [b"a", b"b", b"a", b"b", b"c"].map(|entry| raw.add(entry)).to_vec();
    assert_eq!(indices, [0, 1, 0, 1, 2]);
    let before = raw.get("/checkpoint").body;
    raw.stop();
    raw.start();
    assert_eq!(raw.get("/checkpoint").body, before);
    assert_eq!([b"c", b"b", b"a", b"d"].map(|entry| raw.add(entry)), [2, 1, 0, 3]);
    // Even if everything that can be derived is gone.
    raw.stop();
    std::fs::remove_dir_all(raw.config.log_dir.join("index")).unwrap();
    raw.start();
    assert_eq!([b"a", b"d", b"e"].map(|entry| raw.add(entry)), [0, 3, 4]);
}

#[test]
fn an_entry_has_1_to_65535_bytes() {
    let raw = Raw::started();
    assert_eq!(raw.add(&[1]), 0);
    assert_eq!(raw.add(&[2; 65_535]), 1);
    raw.post(&[], b"").is_problem(400, "entry-empty");
    raw.post(&[], &[3; 65_536]).is_problem(413, "entry-too-large");
    // Also where the length is not said before.
    let over = [b"10000\r\n".to_vec(), vec![3; 65_536], b"\r\n0\r\n\r\n".to_vec()].concat();
    let mut stream = std::net::TcpStream::connect(raw.address()).unwrap();
    let head =
        b"POST /add HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let _ = std::io::Write::write_all(&mut stream, &[&head[..], &over].concat());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes).is_problem(413, "entry-too-large");
    assert_eq!(raw.head().size, TreeSize(2));
}

#[test]
fn what_belongs_to_records_is_not_there() {
    let raw = Raw::started();
    for path in [
        "/v1/records/x",
        "/v1/records/x/proof",
        "/v1/payloads/x",
        "/v1/runs",
        "/v1/runs/x/events",
        "/v1/log",
        "/v1/principals/ana",
        "/v1/policy",
        "/v1/delegations",
        "/v1/delegations/x",
    ] {
        raw.get(path).is_problem(404, "log-raw");
    }
    let json = [("content-type", "application/json")];
    request(raw.address(), "POST", "/v1/records", &json, b"{}").is_problem(404, "log-raw");
    request(raw.address(), "POST", "/v1/records/batch", &json, b"{}").is_problem(404, "log-raw");
    raw.get("/v1/recordsandmore").is_problem(404, "route-unknown");
    raw.get("/").is_problem(404, "route-unknown");
    raw.get("/add").is_problem(405, "method-not-allowed");
    // And the other way round.
    let world = World::started();
    world.request("POST", "/add", &[], b"bytes").is_problem(404, "route-unknown");
}

#[test]
fn adding_needs_the_write_token_and_not_that_of_readers() {
    let mut raw = Raw::created();
    raw.config.reads = token("a-token-of-readers\n", raw.dir.path());
    raw.config.mode = Mode::Raw { writes: token("a-token-of-writers\n", raw.dir.path()) };
    raw.start();
    let bearer = |token: &str| format!("Bearer {token}");
    let answer = raw.post(&[], b"a");
    answer.is_problem(401, "write-token-required");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    raw.post(&[("authorization", &bearer("a-token-of-readers"))], b"a")
        .is_problem(401, "write-token-required");
    let right = bearer("a-token-of-writers");
    // By whatever name, once the token is right.
    assert_eq!(raw.post(&[("authorization", &right), ("host", "log.example")], b"a").text(), "0");
    request(raw.address(), "GET", "/checkpoint", &[("authorization", &right)], b"")
        .is_problem(401, "token-required");
    raw.get("/v1/leaves/x").is_problem(401, "token-required");
}

#[test]
fn where_only_this_machine_may_add_no_page_makes_a_browser_do_it() {
    let raw = Raw::started();
    raw.post(&[("host", "evil.example")], b"a").is_problem(403, "host-unknown");
    for origin in ["http://evil.example", "https://127.0.0.1.evil.example", "null"] {
        raw.post(&[("origin", origin)], b"a").is_problem(403, "host-unknown");
    }
    assert_eq!(raw.head(), TreeHead::EMPTY);
    assert_eq!(raw.post(&[("origin", "http://localhost:7450")], b"a").text(), "0");
}

#[test]
fn everybody_may_add_where_the_operator_says_so() {
    let mut raw = Raw::created();
    raw.config.reads = Access::Public;
    raw.config.mode = Mode::Raw { writes: Access::Public };
    raw.start();
    let elsewhere = [("host", "log.example"), ("origin", "https://log.example")];
    assert_eq!(raw.post(&elsewhere, b"a").text(), "0");
}

#[test]
fn a_server_that_others_can_reach_lets_nobody_write_as_local() {
    let mut raw = Raw::created();
    raw.config.listen = "0.0.0.0:0".parse().unwrap();
    raw.config.reads = Access::Public;
    assert!(matches!(start_error(&raw.config), StartError::NoToken(_)));
}

#[test]
fn the_two_modes_do_not_open_each_others_logs() {
    let raw = Raw::created();
    let world = World::created();
    // Everything else fits: the same key, and so the same origin.
    let as_raw = Config { mode: raw.config.mode.clone(), ..world.config.clone() };
    let journal = std::fs::read(world.config.log_dir.join("journal")).unwrap();
    let error = start_error(&as_raw);
    assert!(matches!(error, StartError::OtherMode { is_raw: false, .. }), "{error}");
    assert_eq!(std::fs::read(world.config.log_dir.join("journal")).unwrap(), journal);
    let as_records = Config { mode: world.config.mode.clone(), ..raw.config.clone() };
    for entries in 0..2 {
        let error = start_error(&as_records);
        assert!(matches!(error, StartError::OtherMode { is_raw: true, .. }), "{entries}: {error}");
        let mut again = Raw {
            dir: tempfile::tempdir().unwrap(),
            config: raw.config.clone(),
            vkey: raw.vkey.clone(),
            running: None,
        };
        again.start();
        again.add(b"a");
    }
    assert!(matches!(create_log(&as_records), Err(StartError::Log { .. })), "no log is created over another");
    assert!(matches!(create_log(&as_raw), Err(StartError::Log { .. })));
}

fn start_error(config: &Config) -> StartError {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let Err(error) = runtime.block_on(Server::bind(config.clone())) else { panic!("it started") };
    error
}

#[test]
fn entries_are_found_by_their_leaf_and_proven_in_every_tree() {
    let raw = Raw::started();
    let entries: Vec<Vec<u8>> = (0..5_u8).map(|byte| vec![byte; 3]).collect();
    let heads: Vec<TreeHead> = entries
        .iter()
        .map(|entry| {
            raw.add(entry);
            raw.head()
        })
        .collect();
    let proof = |answer: &Answer| -> Vec<Hash> {
        let lines = answer.json()["proof"].as_array().unwrap().clone();
        lines.iter().map(|line| Hash::from_base64(line.as_str().unwrap()).unwrap()).collect()
    };
    for (index, entry) in (0..).zip(&entries) {
        let leaf = leaf_hash(entry);
        let digits: String = leaf.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let found = raw.get(&format!("/v1/leaves/sha256:{digits}"));
        assert_eq!((found.status, found.text()), (200, format!("{{\"index\":{index}}}").as_str()));
        for head in &heads[index as usize..] {
            let answer = raw.get(&format!("/v1/proofs/inclusion?index={index}&size={}", head.size));
            assert_eq!(
                (answer.json()["index"].as_u64(), answer.json()["size"].as_u64()),
                (Some(index), Some(head.size.0))
            );
            inclusion::verify(leaf, LeafIndex(index), &proof(&answer), head).unwrap();
        }
        let answer = raw.get(&format!("/v1/entries/{index}/tlog-proof"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let tlog_proof = TlogProof::parse(answer.text()).unwrap();
        assert_eq!((tlog_proof.index, tlog_proof.to_string()), (LeafIndex(index), answer.text().to_owned()));
        inclusion::verify(leaf, LeafIndex(index), &tlog_proof.inclusion, &heads[4]).unwrap();
    }
    for (old, old_head) in heads.iter().enumerate() {
        for head in &heads[old..] {
            let answer = raw.get(&format!("/v1/proofs/consistency?old={}&new={}", old_head.size, head.size));
            consistency::verify(old_head, head, &proof(&answer)).unwrap();
        }
    }
    assert_eq!(raw.get("/v1/proofs/consistency?old=0&new=5").text(), r#"{"new":5,"old":0,"proof":[]}"#);
}

#[test]
fn what_is_out_of_range_is_not_proven() {
    let raw = Raw::started();
    raw.add(b"a");
    raw.add(b"b");
    for query in ["index=0&size=3", "index=2&size=3"] {
        raw.get(&format!("/v1/proofs/inclusion?{query}")).is_problem(404, "tree-unknown");
    }
    for query in [
        "index=0&size=0",
        "index=2&size=2",
        "index=1&size=1",
        "index=1",
        "size=1",
        "index=-1&size=2",
        "index=0&size=1&x=1",
        "",
    ] {
        raw.get(&format!("/v1/proofs/inclusion?{query}")).is_problem(400, "query-invalid");
    }
    raw.get("/v1/proofs/consistency?old=1&new=3").is_problem(404, "tree-unknown");
    raw.get("/v1/proofs/consistency?old=0&new=3").is_problem(404, "tree-unknown");
    for query in ["old=2&new=1", "old=1", "new=1", "old=x&new=1"] {
        raw.get(&format!("/v1/proofs/consistency?{query}")).is_problem(400, "query-invalid");
    }
    for index in ["2", "18446744073709551615", "18446744073709551616", "00", "+1", "-1", "x"] {
        raw.get(&format!("/v1/entries/{index}/tlog-proof")).is_problem(404, "entry-unknown");
    }
    for leaf in ["x", "sha256:00", &format!("sha256:{}", "0".repeat(64))] {
        raw.get(&format!("/v1/leaves/{leaf}")).is_problem(404, "leaf-unknown");
    }
}
