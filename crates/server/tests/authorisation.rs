//! Who may ask for what: every route of every kind of server, and everybody who may come.
//!
//! A route that a server has and the table has not, or the other way round, fails: nobody adds one without saying who may ask.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use common::*;
use counterfoil_receipt::RunId;
use counterfoil_server::{Access, MirrorConfig, Mode, Route, Scope, ScopedToken, TokenFile};

/// What somebody is answered with whom the server lets in: the status of the route itself.
const IN: u16 = 0;

/// Where tokens are asked for: what each is answered with, by what the route is about.
///
/// | nobody | wrong | read | log | records | approvals | of somebody it concerns | of a stranger | expired | revoked |
const LOG: [u16; 10] = [401, 401, IN, IN, 403, 403, 403, 403, 401, 401];
const RECORDS: [u16; 10] = [401, 401, IN, 403, IN, 403, 403, 403, 401, 401];
const APPROVALS: [u16; 10] = [401, 401, IN, 403, 403, IN, IN, IN, 401, 401];
const A_PROPOSAL: [u16; 10] = [401, 401, IN, 403, 403, IN, IN, 404, 401, 401];
const IDENTITY: [u16; 10] = [401, 401, IN, IN, IN, IN, IN, IN, 401, 401];
const ANYBODY: [u16; 10] = [IN; 10];
/// Of a raw log with a write token; that of the column `wrong` is none of either.
const A_WRITER: [u16; 10] = [401; 10];

/// A route: an example of its path, its own answer, and who gets it.
struct Row {
    route: Route,
    path: String,
    own: u16,
    who: [u16; 10],
}

fn row(method: &'static str, path: &'static str, example: &str, own: u16, who: [u16; 10]) -> Row {
    let path_of = if example.is_empty() { path.to_owned() } else { example.to_owned() };
    Row { route: Route { method, path }, path: path_of, own, who }
}

/// The routes of every log.
fn of_any_log() -> Vec<Row> {
    let leaf = format!("/v1/leaves/sha256:{:064}", 0);
    vec![
        row("GET", "/checkpoint", "", 200, LOG),
        row("GET", "/tile/{*path}", "/tile/entries/000.p/1", 200, LOG),
        row("GET", "/v1/leaves/{leaf}", &leaf, 404, LOG),
        row("GET", "/v1/proofs/inclusion", "/v1/proofs/inclusion?index=0&size=1", 200, LOG),
        row("GET", "/v1/proofs/consistency", "/v1/proofs/consistency?old=0&new=1", 200, LOG),
        row("GET", "/v1/entries/{index}/tlog-proof", "/v1/entries/0/tlog-proof", 200, LOG),
        row("GET", "/healthz", "", 200, ANYBODY),
        row("GET", "/openapi.json", "", 200, ANYBODY),
    ]
}

fn of_records(world: &World, run: RunId) -> Vec<Row> {
    let proposal = world.get(&format!("/v1/runs/{run}")).json()["records"][1]["id"].clone();
    let proposal = proposal.as_str().unwrap();
    let id = |path: &str| path.replace("ID", proposal).replace("RUN", &run.to_string());
    let mut rows = of_any_log();
    rows.extend([
        row("GET", "/.well-known/counterfoil.json", "", 200, LOG),
        row("GET", "/v1/log", "", 200, IDENTITY),
        row("GET", "/v1/records/{id}", &id("/v1/records/ID"), 200, RECORDS),
        row("GET", "/v1/records/{id}/proof", &id("/v1/records/ID/proof"), 200, RECORDS),
        row("GET", "/v1/payloads/{commitment}", "/v1/payloads/x", 404, RECORDS),
        row("GET", "/v1/runs", "", 200, RECORDS),
        row("GET", "/v1/runs/{run}", &id("/v1/runs/RUN"), 200, RECORDS),
        row("GET", "/v1/runs/{run}/events", &id("/v1/runs/RUN/events"), 200, RECORDS),
        row("GET", "/v1/runs/{run}/bundle", &id("/v1/runs/RUN/bundle"), 200, RECORDS),
        row("GET", "/v1/receipts/{id}", &id("/v1/receipts/ID"), 200, RECORDS),
        row("GET", "/v1/principals/{principal}", "/v1/principals/ana", 200, RECORDS),
        row("GET", "/v1/policy", "", 200, RECORDS),
        row("GET", "/v1/delegations", "", 200, RECORDS),
        row("GET", "/v1/delegations/{id}", "/v1/delegations/x", 404, RECORDS),
        row("GET", "/v1/approvals", "", 200, APPROVALS),
        row("GET", "/v1/approvals/events", "", 200, APPROVALS),
        row("GET", "/v1/approvals/{proposal}", &id("/v1/approvals/ID"), 200, A_PROPOSAL),
        row("GET", "/review/{proposal}", &id("/review/ID"), 200, A_PROPOSAL),
        // What is submitted proves by itself who wrote it: here nothing is, as the media type says.
        row("POST", "/v1/records", "", 415, ANYBODY),
        row("POST", "/v1/records/batch", "", 415, ANYBODY),
        row("POST", "/v1/approvals", "", 415, ANYBODY),
        // A link is a token of its own, and these are none.
        row("GET", "/link/{token}", "/link/x", 404, ANYBODY),
        row("POST", "/link/{token}", "/link/x", 415, ANYBODY),
    ]);
    rows
}

fn of_raw() -> Vec<Row> {
    let mut rows = of_any_log();
    rows.push(row("POST", "/add", "", 400, A_WRITER));
    rows
}

fn of_mirror() -> Vec<Row> {
    of_any_log()
        .into_iter()
        .filter(|row| ["/checkpoint", "/tile/{*path}", "/healthz", "/openapi.json"].contains(&row.route.path))
        .collect()
}

const READ: &str = "0123456789abcdef-read";
const WRITE: &str = "0123456789abcdef-write";

/// A file of tokens, and those who come with one, in the order of the table.
struct Everybody {
    tokens: [Option<String>; 10],
}

impl Everybody {
    fn in_file(path: &Path) -> Self {
        let mut file = TokenFile::default();
        let mut issue = |scope: Scope, principal: Option<&str>, expires: Option<u64>| {
            let principal = principal.map(str::to_owned);
            let issued = ScopedToken::issue("test".into(), vec![scope], principal, (0, expires)).unwrap();
            let (id, token) = (issued.0.id.clone(), issued.1);
            file.add(issued.0).unwrap();
            (id, Some(token))
        };
        let all = Scope::ALL.map(|scope| issue(scope, None, None).1);
        let [log, records, approvals] = all;
        let ana = issue(Scope::Approvals, Some("ana"), None).1;
        let stranger = issue(Scope::Approvals, Some("stranger"), None).1;
        let expired = issue(Scope::Log, None, Some(1)).1;
        let (revoked, of_revoked) = issue(Scope::Log, None, None);
        file.remove(&revoked).unwrap();
        write_private(path, &file.to_text().unwrap());
        let (wrong, read) = (Some("not-the-right-token".to_owned()), Some(READ.to_owned()));
        Self { tokens: [None, wrong, read, log, records, approvals, ana, stranger, expired, of_revoked] }
    }
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The status of an answer, of which no more is read: a stream of events has no end. Each row comes from an address of its own,
/// because who brings too many wrong tokens is asked for none any more.
fn status(from: u8, to: SocketAddr, route: &Row, token: Option<&str>, headers: &[(&str, &str)]) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("127.0.0.{from}:0").parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!("{} {} HTTP/1.1\r\ncontent-length: 0\r\n", route.route.method, route.path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    (&stream).write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap_or_else(|| panic!("{line:?}")).parse().unwrap()
}

fn has_all(rows: &[Row], routes: &[Route]) {
    let table: BTreeSet<Route> = rows.iter().map(|row| row.route).collect();
    assert_eq!(table, routes.iter().copied().collect(), "the table and the server have other routes");
    assert_eq!((table.len(), routes.len()), (rows.len(), rows.len()), "a route stands twice");
}

fn answers(rows: &[Row], to: SocketAddr, everybody: &Everybody) {
    for (row, from) in rows.iter().zip(2..) {
        let own = |status: u16| if status == row.own { IN } else { status };
        let found =
            everybody.tokens.each_ref().map(|token| own(status(from, to, row, token.as_deref(), &[])));
        assert_eq!(found, row.who, "{} {}", row.route.method, row.path);
        // By whatever name the server is reached, and whoever's page makes a browser ask.
        let elsewhere = [("host", "elsewhere.example"), ("origin", "https://elsewhere.example")];
        let read = status(from, to, row, Some(READ), &elsewhere);
        assert_eq!(own(read), row.who[2], "{} {} from elsewhere", row.route.method, row.path);
    }
}

/// Where everybody may read, nobody is asked for a token; where only this machine may, it is asked for its name.
fn answers_without_tokens(rows: &[Row], to: SocketAddr, is_local: bool) {
    for (row, from) in rows.iter().zip(2..) {
        let ask = |token, headers: &[(&str, &str)]| status(from, to, row, token, headers);
        let is_read = row.route.method == "GET" && row.who != ANYBODY;
        let by_writer = row.who == A_WRITER;
        let what = format!("{} {}", row.route.method, row.path);
        assert_eq!((ask(None, &[]), ask(Some("wrong-token"), &[])), (row.own, row.own), "{what}");
        let elsewhere = if is_local && (is_read || by_writer) { 403 } else { row.own };
        assert_eq!(ask(None, &[("host", "elsewhere.example")]), elsewhere, "{what}: Host");
        let page = if is_local && by_writer { 403 } else { row.own };
        assert_eq!(ask(None, &[("origin", "https://elsewhere.example")]), page, "{what}: Origin");
    }
}

#[test]
fn of_a_log_of_records() {
    let mut world = World::peopled();
    let (run, _) = world.proposed("one");
    let rows = of_records(&world, run);
    has_all(&rows, &world.routes());
    answers_without_tokens(&rows, world.address(), true);
    world.stop().unwrap();

    world.config.reads = Access::Public;
    world.start();
    answers_without_tokens(&rows, world.address(), false);
    world.stop().unwrap();

    let everybody = Everybody::in_file(&world.dir.path().join("tokens.toml"));
    world.config.reads = token(READ, world.dir.path());
    world.config.tokens = Some(world.dir.path().join("tokens.toml"));
    world.start();
    has_all(&rows, &world.routes());
    answers(&rows, world.address(), &everybody);
    world.stop().unwrap();

    // The same without a read token.
    world.config.reads = Access::Listed;
    world.start();
    let checkpoint = &rows[0];
    let found = everybody
        .tokens
        .each_ref()
        .map(|token| status(99, world.address(), checkpoint, token.as_deref(), &[]));
    assert_eq!(found, [401, 401, 401, 200, 403, 403, 403, 403, 401, 401]);
}

#[test]
fn of_a_raw_log_and_its_mirror() {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, _) = raw_log(dir.path(), None);
    let rows = of_raw();
    let running = Running::start(&config);
    let entry = request(running.address, "POST", "/add", &[], b"entry");
    assert_eq!(entry.status, 200, "{entry:?}");
    has_all(&rows, &running.routes);
    answers_without_tokens(&rows, running.address, true);
    let export = dir.path().join("export");
    for path in ["checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"] {
        let file = export.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, request(running.address, "GET", &format!("/{path}"), &[], b"").body).unwrap();
    }
    running.stop().unwrap();

    (config.reads, config.mode) = (Access::Public, Mode::Raw { writes: Access::Public });
    let running = Running::start(&config);
    answers_without_tokens(&rows, running.address, false);
    running.stop().unwrap();

    let everybody = Everybody::in_file(&dir.path().join("tokens.toml"));
    config.reads = token(READ, dir.path());
    config.tokens = Some(dir.path().join("tokens.toml"));
    config.mode = Mode::Raw { writes: token(WRITE, dir.path()) };
    let running = Running::start(&config);
    answers(&rows, running.address, &everybody);
    assert_eq!(status(99, running.address, rows.last().unwrap(), Some(WRITE), &[]), 400);
    assert_eq!(status(99, running.address, &rows[0], Some(WRITE), &[]), 401);
    running.stop().unwrap();

    let rows = of_mirror();
    let listen = "127.0.0.1:0".parse().unwrap();
    let mirror = |reads: &Access, tokens: Option<&Path>| {
        let (directory, reads) = (export.clone(), reads.clone());
        let tokens = tokens.map(Path::to_owned);
        Running::mirror(MirrorConfig { directory, listen, reads, rate: None, tokens })
    };
    for (reads, is_local) in [(Access::Local, true), (Access::Public, false)] {
        let running = mirror(&reads, None);
        has_all(&rows, &running.routes);
        answers_without_tokens(&rows, running.address, is_local);
        running.stop().unwrap();
    }
    let running = mirror(&config.reads, config.tokens.as_deref());
    answers(&rows, running.address, &everybody);
    running.stop().unwrap();
}
