//! `counterfoil serve --from`: a mirror answers as the log does, follows the export, and shows nothing that is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::Range,
    os::unix::fs::symlink,
    time::Duration,
};

use common::{Desk, Serving, add};
use serde_json::Value;

/// What a request was answered with.
#[derive(PartialEq, Eq)]
struct Answer {
    status: u16,
    /// Without the date.
    head: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    fn is_problem(&self, status: u16, code: &str) {
        let shown = String::from_utf8_lossy(&self.body);
        assert_eq!((self.status, &self.json()["code"]), (status, &Value::from(code)), "{shown}");
        for header in ["content-type: application/problem+json", "cache-control: no-store"] {
            assert!(self.head.iter().any(|line| line == header), "{:?}", self.head);
        }
    }
}

fn request(url: &str, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut head: Vec<_> = head.lines().skip(1).map(str::to_owned).collect();
    head.retain(|line| !line.starts_with("date: "));
    head.sort();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

fn get(url: &str, path: &str) -> Answer {
    request(url, "GET", path, "")
}

/// A raw log that is served, and exported to `copy`.
struct Exported {
    desk: Desk,
    url: String,
    vkey: String,
    _serving: Serving,
}

impl Exported {
    fn new(entries: u64) -> Self {
        let desk = Desk::new();
        desk.good(&["init", "raw", "--mode", "raw", "--origin", "example.org/raw"]);
        let (serving, url) = desk.serve_in("raw");
        let vkey = desk.read("raw/log.vkey").trim().to_owned();
        let exported = Self { desk, url, vkey, _serving: serving };
        exported.grow(0..entries);
        exported.export("copy");
        exported
    }

    fn grow(&self, entries: Range<u64>) {
        for entry in entries {
            assert_eq!(add(&self.url, &format!("entry {entry}")), Some(entry));
        }
    }

    fn export(&self, to: &str) {
        self.desk.good(&["log", "export", to, "--from", &self.url, "--log-key", &self.vkey]);
    }

    fn mirror(&self) -> (Serving, String) {
        self.desk.serve_with(&["--from", "copy"])
    }
}

#[test]
fn a_mirror_answers_as_the_log_does() {
    let log = Exported::new(30);
    // The export has partial files of 30 and 300 entries, and the full ones.
    log.grow(30..300);
    log.export("copy");
    let (_mirroring, mirror) = log.mirror();
    let mut paths: Vec<String> = ["/checkpoint", "/tile/1/000.p/1", "/tile/entries/000", "/tile/0/000"]
        .into_iter()
        .map(str::to_owned)
        .collect();
    for width in [1, 2, 29, 30, 31, 43, 44, 45, 255, 256] {
        for place in ["0/000", "0/001", "entries/000", "entries/001", "1/000"] {
            paths.push(format!("/tile/{place}.p/{width}"));
        }
    }
    for wrong in ["0/002", "2/000.p/1", "63/000.p/1", "entries/002.p/1", "0/00", "0/0000", "0/%30%30%30", "x"]
    {
        paths.push(format!("/tile/{wrong}"));
    }
    let (mut found, mut missing) = (0, 0);
    for path in &paths {
        for method in ["GET", "HEAD", "DELETE"] {
            for headers in ["", "accept-encoding: gzip\r\n"] {
                let [own, mirrored] = [&log.url, &mirror].map(|url| request(url, method, path, headers));
                let seen = (mirrored.status, &mirrored.head);
                assert_eq!(seen, (own.status, &own.head), "{method} {path} {headers}");
                assert!(mirrored.body == own.body, "{method} {path} {headers}");
                match own.status {
                    200 => found += 1,
                    404 => missing += 1,
                    _ => assert_eq!((method, own.status), ("DELETE", 405)),
                }
            }
        }
    }
    // Widths of 256 are spelled without; of the rest each row of tiles has what the tree of 300 has.
    assert_eq!((found, missing), (4 * (4 + 2 * 9 + 2 * 7 + 1), 4 * (paths.len() - 37)));
    // Our own readers take it for the log.
    let audit = ["log", "audit", &mirror, "--log-key", &log.vkey];
    assert!(log.desk.good(&audit).contains("300 entries"));
}

#[test]
fn a_mirror_takes_nothing_and_says_so() {
    let log = Exported::new(3);
    let (_mirroring, mirror) = log.mirror();
    for (method, path) in [
        ("POST", "/add"),
        ("GET", "/add"),
        ("POST", "/v1/records"),
        ("GET", "/v1/proofs/consistency?old=1&new=2"),
        ("GET", "/v1/log"),
    ] {
        request(&mirror, method, path, "content-length: 0\r\n").is_problem(404, "log-mirror");
    }
    for path in ["/", "/index.html", "/.unfinished", "/log.vkey"] {
        get(&mirror, path).is_problem(404, "route-unknown");
    }
    for path in ["/checkpoint", "/tile/0/000.p/3", "/healthz"] {
        request(&mirror, "POST", path, "content-length: 0\r\n").is_problem(405, "method-not-allowed");
    }
    let health = get(&mirror, "/healthz");
    let (status, json) = (health.status, health.json());
    assert_eq!((status, &json["status"], &json["size"]), (200, &"ok".into(), &3.into()));
    assert!(json["mirror"]["age"].is_u64(), "{json}");
    // A size that was written long ago is old.
    let note = fs::File::options().write(true).open(log.desk.path("copy/checkpoint")).unwrap();
    note.set_modified(std::time::SystemTime::now() - Duration::from_secs(86_400)).unwrap();
    let (_mirroring, mirror) = log.mirror();
    assert!(get(&mirror, "/healthz").json()["mirror"]["age"].as_u64().unwrap() >= 86_400_000);
}

#[test]
fn a_mirror_follows_the_export_and_shows_no_checkpoint_before_its_tiles() {
    let log = Exported::new(0);
    let (_mirroring, mirror) = log.mirror();
    let shown = || String::from_utf8(get(&mirror, "/checkpoint").body).unwrap();
    let reason = || {
        let health = get(&mirror, "/healthz");
        (health.status, health.json()["reason"].as_str().unwrap_or_default().to_owned())
    };
    let size = || shown().lines().nth(1).unwrap().to_owned();
    assert_eq!((size(), reason()), ("0".to_owned(), (200, String::new())));
    log.grow(0..5);
    log.export("copy");
    assert_eq!((size(), reason()), ("5".to_owned(), (200, String::new())));
    let old = shown();

    // A copy in any order: the checkpoint first, then all but the last bundle, then that.
    log.grow(5..260);
    log.export("newer");
    log.desk.write("copy/checkpoint", log.desk.read("newer/checkpoint"));
    let held_back = |why: &str| {
        assert_eq!(shown(), old);
        get(&mirror, "/tile/0/000.p/6").is_problem(404, "tile-unknown");
        assert_eq!(get(&mirror, "/tile/0/000.p/4").status, 200);
        let (status, said) = reason();
        assert!(status == 503 && said.contains(why), "{said}");
    };
    held_back("tile/1/000.p/1 is missing");
    for tile in ["0/000", "1/000.p/1", "0/001.p/4", "entries/000"] {
        let to = log.desk.path(&format!("copy/tile/{tile}"));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(log.desk.path(&format!("newer/tile/{tile}")), to).unwrap();
    }
    held_back("tile/entries/001.p/4 is missing");
    fs::create_dir(log.desk.path("copy/tile/entries/001.p")).unwrap();
    let last = "tile/entries/001.p/4";
    fs::copy(log.desk.path(&format!("newer/{last}")), log.desk.path(&format!("copy/{last}"))).unwrap();
    assert_eq!((size(), reason()), ("260".to_owned(), (200, String::new())));

    // It never goes back, nor over to another tree.
    log.desk.write("copy/checkpoint", &old);
    assert_eq!(size(), "260");
    assert!(reason().1.contains("checkpoint is of 5 entries, and one of 260 was shown"), "{:?}", reason());
    let other = Exported::new(0);
    for entry in 0..261 {
        assert_eq!(add(&other.url, &format!("other {entry}")), Some(entry));
    }
    other.export("copy");
    for name in ["checkpoint", "tile/0/001.p/5", "tile/entries/001.p/5", "tile/1/000.p/1", "tile/0/000"] {
        fs::copy(other.desk.path(&format!("copy/{name}")), log.desk.path(&format!("copy/{name}"))).unwrap();
    }
    assert_eq!(size(), "260");
    assert!(reason().1.contains("at size 260; the one that was shown has"), "{:?}", reason());
    fs::remove_file(log.desk.path("copy/checkpoint")).unwrap();
    assert_eq!((size(), reason().1), ("260".to_owned(), "checkpoint is missing".to_owned()));
}

#[test]
fn of_a_damaged_directory_what_is_whole_is_served() {
    let log = Exported::new(600);
    let (_mirroring, mirror) = log.mirror();
    let copy = |name: &str| log.desk.path(&format!("copy/tile/{name}"));
    let good = get(&mirror, "/tile/entries/000.p/7");
    let unreadable = |path: &str, why: &str| {
        let answer = get(&mirror, path);
        answer.is_problem(500, "store-unreadable");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why) && !detail.contains("/tmp"), "{detail}");
    };
    let cut = |name: &str, by: u64| {
        let file = fs::File::options().write(true).open(copy(name)).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    };
    cut("0/000", 1);
    unreadable("/tile/0/000", "has 8191 bytes, not 8192");
    unreadable("/tile/0/000.p/9", "has 8191 bytes, not 8192");
    cut("entries/001", 1);
    unreadable("/tile/entries/001", "does not hold 256 entries");
    unreadable("/tile/entries/001.p/1", "does not hold 256 entries");
    fs::remove_file(copy("0/001")).unwrap();
    unreadable("/tile/0/001", "tile/0/001 is missing");
    fs::create_dir(copy("0/001")).unwrap();
    unreadable("/tile/0/001", "is no file");
    fs::remove_dir(copy("0/001")).unwrap();
    // A file that is elsewhere is not of the directory, whatever it holds.
    log.desk.write("elsewhere", vec![0; 8192]);
    symlink(log.desk.path("elsewhere"), copy("0/001")).unwrap();
    unreadable("/tile/0/001", "is a link out of the directory");
    for path in ["/tile/../elsewhere", "/tile/0/../../../elsewhere", "/tile/0/..%2f..%2f..%2felsewhere"] {
        get(&mirror, path).is_problem(404, "tile-unknown");
    }
    assert!(get(&mirror, "/tile/entries/000.p/7") == good);
    assert_eq!(get(&mirror, "/checkpoint").status, 200);
}

#[test]
fn what_can_not_be_mirrored_is_told_at_start() {
    let log = Exported::new(3);
    let desk = &log.desk;
    let refused = |options: &[&str], code: &str, why: &str| {
        let ran = desk.run(&[&["serve", "--listen", "127.0.0.1:0"], options].concat());
        ran.failed(2, code);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
    };
    refused(&["--from", "nowhere"], "mirror-unusable", "nowhere is no directory");
    refused(&["--from", "raw"], "mirror-unusable", "checkpoint is missing");
    refused(&["--from", "copy", "--genesis", "genesis.json"], "usage", "cannot be used with");
    let anywhere = ["serve", "--from", "copy", "--listen", "0.0.0.0:0"];
    desk.run(&anywhere).failed(2, "config-invalid");
    let note = desk.read("copy/checkpoint");
    desk.write("copy/checkpoint", &note[..20]);
    refused(&["--from", "copy"], "mirror-unusable", "the file checkpoint is none");
    desk.write("copy/checkpoint", note.replacen("\n3\n", "\n2\n", 1));
    refused(&["--from", "copy"], "mirror-unusable", "the tiles do not give: tile/0/000.p/2 is missing");
    let root = format!("{}=", "A".repeat(43));
    desk.write("copy/checkpoint", note.replacen(note.lines().nth(2).unwrap(), &root, 1));
    refused(&["--from", "copy"], "mirror-unusable", "the tiles do not give: they give ");
    desk.write("copy/checkpoint", &note);
    fs::remove_file(desk.path("copy/tile/entries/000.p/3")).unwrap();
    refused(&["--from", "copy"], "mirror-unusable", "tile/entries/000.p/3 is missing");
}

#[test]
fn who_may_read_a_mirror_is_set_as_for_a_log() {
    let log = Exported::new(3);
    let elsewhere = "host: log.example.org\r\n";
    let ask = |url: &str, headers: &str| {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "GET /checkpoint HTTP/1.1\r\nconnection: close\r\n{headers}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (_local, url) = log.mirror();
    assert!(ask(&url, elsewhere).contains("host-unknown"));
    assert!(!ask(&url, "host: localhost\r\n").contains("access-control-allow-origin"));
    let (_public, url) = log.desk.serve_with(&["--from", "copy", "--reads", "public"]);
    let answer = ask(&url, elsewhere);
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("access-control-allow-origin: *"),
        "{answer}"
    );
    log.desk.write("token", "correct-horse-battery\n");
    let (_token, url) = log.desk.serve_with(&["--from", "copy", "--read-token-file", "token"]);
    assert!(ask(&url, elsewhere).contains("token-required"));
    let bearer = format!("{elsewhere}authorization: Bearer correct-horse-battery\r\n");
    assert!(ask(&url, &bearer).starts_with("HTTP/1.1 200"));
}
