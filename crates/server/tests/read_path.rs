//! What caches, browsers and clients without our code see of the C2SP read path: headers, compression, who may.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::io::Read as _;

use common::*;
use counterfoil_server::Access;

/// The log of these tests is read by its own machine alone; `reading.rs` has a public one.
const FOREVER: &str = "private, max-age=31536000, immutable";

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The headers that matter to a cache or a browser.
fn headers(answer: &Answer) -> [Option<&str>; 5] {
    ["content-type", "cache-control", "vary", "content-encoding", "access-control-allow-origin"]
        .map(|name| answer.header(name))
}

/// A log of records with more than one full tile.
fn grown() -> World {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = counterfoil_receipt::RunId::started_by(world.add(&trigger));
    let notes: Vec<_> = (0..270).map(|n| world.note(run, trigger.id(), &format!("note {n}"))).collect();
    assert!(world.batch(&notes).iter().all(|answer| answer["status"] == "included"));
    world
}

#[test]
fn tiles_are_cached_for_good_and_the_checkpoint_is_not() {
    let world = grown();
    let octets = Some("application/octet-stream");
    for path in ["/tile/0/000", "/tile/0/000.p/5", "/tile/0/001.p/1", "/tile/1/000.p/1"] {
        let answer = world.request("GET", path, &[("accept-encoding", "gzip")], b"");
        assert_eq!(
            (answer.status, headers(&answer)),
            (200, [octets, Some(FOREVER), None, None, None]),
            "{path}"
        );
    }
    for path in ["/tile/entries/000", "/tile/entries/000.p/5", "/tile/entries/001.p/1"] {
        let expected = [octets, Some(FOREVER), Some("accept-encoding"), None, None];
        assert_eq!(headers(&world.get(path)), expected, "{path}");
    }
    let checkpoint = world.get("/checkpoint");
    assert_eq!(headers(&checkpoint), [Some("text/plain; charset=utf-8"), Some("no-cache"), None, None, None]);
    // Errors are kept by nobody, whoever makes them.
    for path in [
        "/tile/0/002",
        "/tile/0/000.p/256",
        "/tile/0/000.p/0",
        "/tile/0/00",
        "/tile/64/000",
        "/tile/0/%30%30%30",
        "/tile/entries/001",
    ] {
        world.get(path).is_problem(404, "tile-unknown");
    }
    world.get("/tile/%ff").is_problem(404, "route-unknown");
    for path in ["/v1/records/%ff", "/tile/0/000", "/nothing"] {
        let answer = world.request("DELETE", path, &[], b"");
        assert!((400..500).contains(&answer.status));
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(world.get("/v1/records/%ff").header("cache-control"), Some("no-store"));
}

#[test]
fn entry_bundles_are_compressed_for_who_asks() {
    let world = grown();
    for path in ["/tile/entries/000", "/tile/entries/000.p/200", "/tile/entries/001.p/3"] {
        let plain = world.get(path);
        let asked = world.request("GET", path, &[("accept-encoding", "br, gzip;q=0.8")], b"");
        let octets = Some("application/octet-stream");
        assert_eq!(headers(&asked), [octets, Some(FOREVER), Some("accept-encoding"), Some("gzip"), None]);
        assert!(asked.body.len() < plain.body.len());
        assert_eq!(asked.header("content-length"), Some(asked.body.len().to_string().as_str()));
        assert_eq!(gunzip(&asked.body), plain.body);
        for other in ["identity", "br", "gzip;q=0", "*"] {
            let answer = world.request("GET", path, &[("accept-encoding", other)], b"");
            assert_eq!((answer.header("content-encoding"), &answer.body), (None, &plain.body), "{other}");
        }
    }
}

#[test]
fn head_answers_as_get_without_the_body() {
    let world = grown();
    let gzip = [("accept-encoding", "gzip")];
    for path in ["/checkpoint", "/tile/0/000", "/tile/entries/000", "/tile/entries/001.p/3", "/healthz"] {
        let (get, head) = (world.request("GET", path, &gzip, b""), world.request("HEAD", path, &gzip, b""));
        assert_eq!((head.status, headers(&head)), (200, headers(&get)), "{path}");
        assert_eq!(head.header("content-length"), Some(get.body.len().to_string().as_str()), "{path}");
        assert!(head.body.is_empty());
    }
    assert_eq!(world.request("HEAD", "/tile/0/009", &[], b"").status, 404);
}

#[test]
fn a_public_log_is_read_by_anybody_under_any_name() {
    let mut world = World::peopled();
    let run = world.whole_run("one");
    world.stop().unwrap();
    world.config.reads = Access::Public;
    world.start();
    let elsewhere = [("host", "log.example.org"), ("origin", "https://verifier.example")];
    let get = |path: &str| world.request("GET", path, &elsewhere, b"");
    for path in ["/checkpoint", "/tile/0/000.p/2", "/tile/entries/000.p/2", "/tile/0/099"] {
        assert_eq!(get(path).header("access-control-allow-origin"), Some("*"), "{path}");
    }
    get("/tile/0/099").is_problem(404, "tile-unknown");
    let read =
        ["/v1/log", "/v1/runs", &format!("/v1/runs/{run}/bundle"), "/v1/proofs/consistency?old=1&new=2"];
    for path in read {
        let answer = get(path);
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None), "{path}");
    }
    // Records prove who wrote them: submitting is as it was.
    let trigger = world.trigger("two");
    let json = [("content-type", "application/json"), ("host", "log.example.org")];
    assert_eq!(world.request("POST", "/v1/records", &json, trigger.bytes()).status, 200);
}

#[test]
fn only_a_public_log_is_for_pages_of_other_sites() {
    let mut world = World::started();
    assert_eq!(world.get("/checkpoint").header("access-control-allow-origin"), None);
    world.request("GET", "/checkpoint", &[("host", "log.example.org")], b"").is_problem(403, "host-unknown");
    world.stop().unwrap();
    world.config.reads = token("correct-horse-battery\n", world.dir.path());
    world.start();
    let bearer = [("authorization", "Bearer correct-horse-battery"), ("host", "log.example.org")];
    let answer = world.request("GET", "/checkpoint", &bearer, b"");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}
