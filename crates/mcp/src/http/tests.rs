//! How long things may take over HTTP, at the limits and over them. Where it matters time is an argument, or a clock that stands still
//! until something waits for it.

use std::{
    collections::HashMap,
    convert::Infallible,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use counterfoil_http::Address;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{runtime, time};

use super::{
    Http,
    connections::{Connection, Connections, Key},
    exchanges::{self, Said},
    front::{self, Door},
    serve_with,
    upstream::Target,
};
use crate::{
    calls::{Ticket, Waiter, tests::remember},
    limits,
    message::{FromClient, Id},
    shared::tests::without_a_log,
    writer::Lines as _,
};

/// How long what happens on other threads is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// A server that does as it is told with each request.
pub(super) struct Server {
    pub address: SocketAddr,
    /// How many of its answers are over.
    pub over: Arc<AtomicUsize>,
}

/// A request as such a server gets it.
pub(super) struct Got {
    pub body: Value,
}

impl Server {
    pub(super) fn start(
        answer: impl Fn(&Got, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, over) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (answer, counted) = (Arc::new(answer), Arc::clone(&over));
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (answer, over) = (Arc::clone(&answer), Arc::clone(&counted));
                thread::spawn(move || {
                    let got = Got::read(&stream);
                    let _ = answer(&got, &mut stream);
                    over.fetch_add(1, Ordering::AcqRel);
                });
            }
        });
        Self { address, over }
    }

    /// One that nobody reaches.
    pub(super) fn none() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }
}

impl Got {
    fn read(stream: &TcpStream) -> Self {
        let (mut from, mut head) = (BufReader::new(stream), String::new());
        while !head.ends_with("\r\n\r\n") && from.read_line(&mut head).unwrap_or(0) > 0 {}
        head.make_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        from.read_exact(&mut body).unwrap();
        Self { body: serde_json::from_slice(&body).unwrap_or_default() }
    }
}

/// Answers with a status and a message.
pub(super) fn reply(to: &mut TcpStream, status: u16, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} so\r\ncontent-type: application/json\r\nconnection: close\r\n");
    write!(to, "{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// Answers with a stream.
pub(super) fn stream_begins(to: &mut TcpStream) -> io::Result<()> {
    write!(to, "HTTP/1.1 200 so\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
}

pub(super) fn connections(server: SocketAddr) -> Arc<Connections> {
    let address = Address::new(&format!("http://{server}/mcp"), None).unwrap();
    let target = Target { address, credential: None, stall: limits::STALL };
    Connections::new(without_a_log(), target, Arc::new(|_| ()))
}

fn door(connections: &Arc<Connections>) -> State<Arc<Door>> {
    let named = AtomicUsize::new(0);
    let name = Box::new(move || Some(named.fetch_add(1, Ordering::AcqRel).to_string()));
    let (hosts, connections) = (Vec::new(), Arc::clone(connections));
    State(Arc::new(Door { hosts, token: None, connections, name }))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A runtime whose clock goes on only where everybody waits for it.
fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_session_may_be_silent_for_as_long_as_it_may_and_no_longer() {
    let connections = connections(Server::none());
    let key = |name: &str| Key::Session(name.to_owned());
    let before = Instant::now();
    let old = connections.open(key("old")).unwrap();
    let after = Instant::now();
    let (listening, anew) =
        (connections.open(key("listens")).unwrap(), connections.open(key("anew")).unwrap());
    connections.open(Key::of(None)).unwrap();
    for one in [&old, &listening, &anew] {
        one.server.agrees_on(Some("2025-11-25"));
    }
    let (number, _heard) = listening.client.stream().unwrap();
    connections.tick(before + limits::IDLE);
    assert_eq!(connections.all().len(), 4, "at the limit");
    // Who asks is there.
    while Instant::now() <= after + MOMENT {}
    connections.get(&key("anew")).unwrap();
    connections.tick(after + limits::IDLE + MOMENT);
    assert!(connections.get(&key("old")).is_none(), "over it");
    assert!(connections.get(&key("anew")).is_some() && connections.get(&key("listens")).is_some());
    listening.client.close_stream(number);
    connections.tick(Instant::now() + limits::IDLE + MOMENT);
    assert!(connections.all().is_empty(), "those without a session, too");
}

#[test]
fn a_session_that_its_server_does_not_begin_is_forgotten_soon_after_its_client_left() {
    let connections = connections(Server::none());
    let before = Instant::now();
    connections.open(Key::Session("a".to_owned())).unwrap();
    let after = Instant::now();
    connections.tick(before + limits::BEGINNING);
    assert_eq!(connections.all().len(), 1, "at the limit");
    connections.tick(after + limits::BEGINNING + MOMENT);
    assert!(connections.all().is_empty(), "over it");
}

#[test]
fn a_body_may_take_as_long_as_it_may_and_no_longer() {
    let connections = connections(Server::none());
    let door = door(&connections);
    let send = async |pieces: u32, late: Duration| {
        let pieces = stream::iter(0..pieces).then(move |piece| async move {
            time::sleep(limits::BODY / pieces + if piece == 0 { late } else { Duration::ZERO }).await;
            Ok::<_, Infallible>("{")
        });
        let request = Request::post("/mcp").header("host", "localhost").header("accept", "*/*");
        let request = request.header("content-type", "application/json");
        let response: Response =
            front::enter(door.clone(), request.body(Body::from_stream(pieces)).unwrap()).await;
        response.status().as_u16()
    };
    runtime().block_on(async {
        assert_eq!(
            (send(1, Duration::ZERO).await, send(10, Duration::ZERO).await),
            (400, 400),
            "at the limit"
        );
        assert_eq!((send(1, MOMENT).await, send(10, MOMENT).await), (408, 408), "over it");
    });
    let places: Vec<_> = (0..limits::EXCHANGES).map_while(|_| connections.place()).collect();
    assert_eq!(places.len(), limits::EXCHANGES, "who was given up takes no place");
}

#[test]
fn a_stream_says_that_it_is_there_as_often_as_it_should() {
    runtime().block_on(async {
        let (to, heard) = exchanges::sink();
        let mut body = front::streamed(None, heard, ()).into_body().into_data_stream();
        let began = time::Instant::now();
        assert_eq!(&body.next().await.unwrap().unwrap()[..], b": \n\n");
        assert_eq!(began.elapsed(), limits::ALIVE);
        drop(to);
        assert!(body.next().await.is_none());
    });
}

#[test]
fn who_does_not_read_a_stream_of_its_session_has_none_any_more() {
    let connections = connections(Server::none());
    let session = connections.open(Key::Session("a".to_owned())).unwrap();
    let (_, mut heard) = session.client.stream().unwrap();
    let told = |size: usize| {
        let frame = json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"x": ""}}).to_string();
        let params = json!({"x": "x".repeat(size - frame.len())});
        session
            .client
            .send(&json!({"jsonrpc": "2.0", "method": "notifications/x", "params": params}).to_string(), None)
    };
    assert!(told(limits::EXCHANGE_BYTES / 2) && told(limits::EXCHANGE_BYTES / 2));
    assert!(session.client.stream().is_none(), "at the limit it is there still");
    told(100);
    assert!(session.client.stream().is_some(), "over it there is room for another");
    runtime().block_on(async {
        let mut read = 0;
        while heard.next().await.is_some() {
            read += 1;
        }
        assert_eq!(read, 2, "what was taken is told, and then it ends");
    });
}

/// A client that opened its stream again was left without one when the end of the first was noticed.
#[test]
fn the_end_of_a_stream_ends_none_that_was_opened_after_it() {
    let (hold, held) = mpsc::channel::<()>();
    let (held, asked) = (std::sync::Mutex::new(held), AtomicUsize::new(0));
    let server = Server::start(move |_, to| {
        let is_first = asked.fetch_add(1, Ordering::AcqRel) == 0;
        stream_begins(to)?;
        if is_first { Ok(()) } else { held.lock().unwrap().recv().map_err(io::Error::other) }
    });
    let connections = connections(server.address);
    let session = connections.open(Key::Session("a".to_owned())).unwrap();
    let (first, _) = session.client.stream().unwrap();
    session.client.close_stream(first);
    let (second, _heard) = session.client.stream().unwrap();
    // The first is told only now that it ended; so is one that its client left before it began.
    let (opened, began) = mpsc::channel();
    session.server.listen(first, |status| opened.send(status).unwrap());
    assert!(began.recv().unwrap() == 200 && session.client.has_stream(second));
    let (to, server) = (opened.clone(), Arc::clone(&session.server));
    let listening = thread::spawn(move || server.listen(second, |status| to.send(status).unwrap()));
    assert_eq!(began.recv().unwrap(), 200);
    session.server.close_stream(first);
    session.server.sweep();
    assert!(session.client.has_stream(second) && !listening.is_finished());
    let (to, server) = (opened, Arc::clone(&session.server));
    let late = thread::spawn(move || {
        server.listen(first, |status| {
            let _ = to.send(status);
        })
    });
    until("a stream that nobody has is ended", || {
        session.server.sweep();
        late.is_finished()
    });
    assert!(session.client.has_stream(second) && !listening.is_finished());
    drop(hold);
    listening.join().unwrap();
    assert!(!session.client.has_stream(second));
}

/// A gate in front of a server, until it is dropped.
struct Gate {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Gate {
    fn start(server: SocketAddr, stall: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, ends) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&ends);
        let named = AtomicUsize::new(0);
        let http = Http {
            listener,
            hosts: Vec::new(),
            token: None,
            upstream: Address::new(&format!("http://{server}/mcp"), None).unwrap(),
            credential: None,
            name: Box::new(move || Some(named.fetch_add(1, Ordering::AcqRel).to_string())),
            note: Arc::new(|_| ()),
        };
        let thread = thread::spawn(move || {
            serve_with(http, &without_a_log(), stall, &|| told.load(Ordering::Acquire)).unwrap();
        });
        Self { address, ends, thread: Some(thread) }
    }

    /// Sends a message, of a client that has this session or none, and reads nothing.
    fn post(&self, session: Option<&str>, message: &Value) -> TcpStream {
        self.post_with(session, message, &[])
    }

    fn post_with(&self, session: Option<&str>, message: &Value, others: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let (body, mut head) =
            (message.to_string(), String::from("POST /mcp HTTP/1.1\r\nhost: localhost\r\n"));
        let version = if session.is_some() { "2025-11-25" } else { "2026-07-28" };
        let mut headers = HashMap::from([
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", version),
        ]);
        headers.extend(message["method"].as_str().map(|method| ("mcp-method", method)));
        headers.extend(session.filter(|name| !name.is_empty()).map(|name| ("mcp-session-id", name)));
        for (name, value) in headers.into_iter().chain(others.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn listen(id: i64) -> Value {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"notifications": {"promptsListChanged": id == 1}, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params})
}

#[test]
fn who_takes_nothing_of_a_stream_is_given_up_and_its_request_ended_and_who_reads_is_not() {
    let server = Server::start(|got, to| {
        stream_begins(to)?;
        let is_much = got.body["params"]["notifications"]["promptsListChanged"] == true;
        let params = json!({"data": "x".repeat(if is_much { 65_536 } else { 64 })});
        let event = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params});
        loop {
            write!(to, "data: {event}\n\n")?;
            thread::sleep(Duration::from_millis(5));
        }
    });
    let gate = Gate::start(server.address, Duration::from_millis(500));
    let _deaf = gate.post(None, &listen(1));
    let mut listening = gate.post(None, &listen(2));
    let (mut buffer, mut longer) = (vec![0; 4_096], None);
    let began = Instant::now();
    // It goes on for a while after the other was given up.
    while longer.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(1)) {
        assert!(listening.read(&mut buffer).unwrap() > 0, "who reads goes on");
        assert!(began.elapsed() < PATIENCE, "who does not read is never given up");
        if server.over.load(Ordering::Acquire) > 0 {
            longer.get_or_insert_with(Instant::now);
        }
    }
    assert_eq!(server.over.load(Ordering::Acquire), 1);
}

#[test]
fn a_server_that_does_not_hear_what_wants_no_answer_holds_up_nobody_for_ever() {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::start(move |got, to| match got.body["method"].as_str() {
        Some("initialize") => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
            reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
        }
        Some("notifications/slow") => {
            // Until the test is over.
            let _ = held.lock().unwrap().recv();
            Ok(())
        }
        _ => reply(to, 202, ""),
    });
    // On a busy machine a server that does answer may take long, too.
    let gate = Gate::start(server.address, Duration::from_secs(3));
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let opened =
        gate.post(Some(""), &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}));
    let line = BufReader::new(opened).lines().next().unwrap().unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    for method in ["notifications/slow", "notifications/fast"] {
        let told = gate.post(Some("0"), &json!({"jsonrpc": "2.0", "method": method}));
        let line = BufReader::new(told).lines().next().unwrap().unwrap();
        assert!(line.starts_with("HTTP/1.1 202"), "{method}: {line}");
    }
    drop(hold);
    until("the server hears all", || server.over.load(Ordering::Acquire) == 3);
}

#[test]
fn a_session_begins_by_a_revision_that_is_spoken_and_no_other() {
    let server = Server::start(|got, to| {
        // It says whatever it is asked for.
        let version = &got.body["params"]["protocolVersion"];
        let result = json!({"protocolVersion": version, "capabilities": {}, "serverInfo": {}});
        reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
    });
    let gate = Gate::start(server.address, limits::STALL);
    for (version, is_spoken) in [
        (json!("2025-11-25"), true),
        (json!("2025-06-18"), true),
        (json!("2026-07-28"), false),
        (json!("2099-01-01"), false),
        (Value::Null, false),
    ] {
        let params = json!({"protocolVersion": version, "capabilities": {}});
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let mut opened = BufReader::new(gate.post(Some(""), &message));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(opened.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        opened.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert_eq!(head.contains("mcp-session-id"), is_spoken, "{version}: {head}");
        assert_eq!(body.contains("mcp-version"), !is_spoken, "{version}: {body}");
    }
}

/// The body of an answer in a session that was opened, up to its end.
fn body_of(stream: TcpStream) -> String {
    let mut text = String::new();
    BufReader::new(stream).read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}

/// What was open when its session ended had no answer, and its place for as long as its client was there.
#[test]
fn what_is_open_when_its_session_ends_is_answered_and_gives_its_place_back() {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let server = Server::start(move |got, to| match got.body["method"].as_str() {
        Some("initialize") => {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
            reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
        }
        // Until the test is over.
        _ => held.lock().unwrap().recv().map_err(io::Error::other),
    });
    let connections = connections(server.address);
    let door = door(&connections);
    let post = async |session: Option<&str>, id: i64, method: &str, body: &Value| {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": body}).to_string();
        let mut request = Request::post("/mcp").header("host", "localhost").header("accept", "*/*");
        request = request.header("content-type", "application/json");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        front::enter(door.clone(), request.body(Body::from(body)).unwrap()).await
    };
    let text = async |response: Response| {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
        assert_eq!(post(None, 1, "initialize", &params).await.status(), 200);
        let key = Key::Session("0".to_owned());
        let session = connections.get(&key).unwrap();
        // One has waited long enough to be answered with a stream, one has not.
        let streamed = post(Some("0"), 2, "prompts/list", &json!({})).await;
        assert_eq!(streamed.headers()["content-type"], "text/event-stream");
        let none = json!({});
        let ((), soon) = tokio::join!(
            async {
                time::sleep(Duration::from_millis(300)).await;
                assert!(connections.close(&key));
            },
            post(Some("0"), 3, "prompts/list", &none)
        );
        assert_eq!(soon.status(), 404);
        for (answer, id) in [(text(soon).await, "3"), (text(streamed).await, "2")] {
            assert!(answer.contains("mcp-ended") && answer.contains(&format!("\"id\":{id}")), "{answer}");
        }
        // Who had found the session before it ended asks it.
        let (own, mut params) = (connections.id(), serde_json::Map::new());
        let mut heard = session.client.open(own.clone(), &Id::Number(4), &mut params).unwrap();
        let late = FromClient::Request { id: own, method: "prompts/list".to_owned(), params };
        session.proxy.hear(late, "");
        let said = heard.next().await;
        assert!(matches!(&said, Some(Said::Answer(text)) if text.contains("mcp-ended")), "{said:?}");
    });
    let places: Vec<_> = (0..limits::EXCHANGES).map_while(|_| connections.place()).collect();
    assert_eq!(places.len(), limits::EXCHANGES);
    drop(hold);
}

/// A call that was given up while its headers were compared with its body ran all the same, and who broke off left that comparison behind.
#[test]
fn a_call_that_is_given_up_while_its_headers_are_read_is_not_begun() {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let (asked, all) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (counted, kept) = (Arc::clone(&asked), Arc::clone(&all));
    let server = Server::start(move |got, to| {
        kept.lock().unwrap().push(got.body["method"].clone());
        match got.body["method"].as_str() {
            Some("initialize") => {
                let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
                reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
            }
            Some("tools/list") => {
                counted.fetch_add(1, Ordering::AcqRel);
                let _ = held.lock().unwrap().recv();
                let result = json!({"tools": [{"name": "read", "inputSchema": {"type": "object"}}]});
                reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
            }
            _ => reply(to, 202, ""),
        }
    });
    let gate = Gate::start(server.address, limits::STALL);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let begins = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    let line = BufReader::new(gate.post(Some(""), &begins)).lines().next().unwrap().unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "read"}});
    let called = gate.post_with(Some("0"), &call, &[("mcp-param-x", "y"), ("connection", "close")]);
    until("the server is asked for its tools", || asked.load(Ordering::Acquire) == 1);
    let given_up = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    let told = BufReader::new(gate.post(Some("0"), &given_up)).lines().next().unwrap().unwrap();
    assert!(told.starts_with("HTTP/1.1 202"), "{told}");
    let body = body_of(called);
    assert!(!body.contains("result") && !body.contains("error"), "{body}");
    drop(hold);
    // What comes after it is heard after it would have been.
    let after = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "none"}});
    let answer = body_of(gate.post_with(Some("0"), &after, &[("connection", "close")]));
    assert!(answer.contains("no tool"), "{answer}");
    assert!(all.lock().unwrap().iter().all(|method| method != "tools/call"));
}

/// A session counted as begun by a revision that the gate refuses to speak.
#[test]
fn a_session_by_a_revision_that_is_not_spoken_has_not_begun() {
    for (version, is_spoken) in [("2025-11-25", true), ("2099-01-01", false)] {
        let server = Server::start(move |got, to| {
            let result = json!({"protocolVersion": version, "capabilities": {}, "serverInfo": {}});
            reply(to, 200, &json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string())
        });
        let connections = connections(server.address);
        let session = connections.open(Key::Session("a".to_owned())).unwrap();
        let line = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
        assert!(session.server.send(&line, None));
        until("it answers", || server.over.load(Ordering::Acquire) == 1);
        until("that is read", || session.server.is_quiet());
        assert_eq!(session.server.version().is_some(), is_spoken, "{version}");
    }
}

/// It was looked how many are under way before one more was counted, so that several at one moment were over the limit.
#[test]
fn as_many_requests_are_under_way_to_a_server_as_may_be_whoever_sends_them_at_one_moment() {
    let connections = connections(Server::none());
    let session = connections.open(Key::Session("a".to_owned())).unwrap();
    let begun: usize = thread::scope(|scope| {
        let begin = |first: usize| {
            let server = &session.server;
            scope.spawn(move || (0..300).filter(|number| server.begins(first + number)).count())
        };
        let threads: Vec<_> = [0, 1_000, 2_000, 3_000].into_iter().map(begin).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(begun, limits::UNDER_WAY);
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    assert!(!session.server.send(&line, None), "over it");
    assert!(session.server.ends(1_000) || session.server.ends(0));
    assert!(session.server.send(&line, None), "there is room again");
}

#[test]
fn only_a_connection_in_which_nothing_is_open_makes_room_for_another() {
    let connections = connections(Server::none());
    let key = |number: usize| Key::Session(number.to_string());
    let open: Vec<_> =
        (0..limits::CONNECTIONS).map(|number| connections.open(key(number)).unwrap()).collect();
    let streams: Vec<_> = open.iter().map(|one| one.client.stream().unwrap()).collect();
    assert!(connections.open(key(1_000)).is_none(), "all listen");
    open[7].client.close_stream(streams[7].0);
    assert!(connections.open(key(1_000)).is_some() && connections.get(&key(7)).is_none());
    assert_eq!(connections.all().len(), limits::CONNECTIONS);
    assert_eq!(connections.ending().len(), 1);
    connections.tick(Instant::now());
    assert!(connections.ending().is_empty());
}

/// Each session that ended took a thread, and as many requests went to the server at a time.
#[test]
fn a_server_is_told_of_all_sessions_that_ended_a_few_at_a_time() {
    const SESSIONS: usize = 24;
    let (now, most, told) =
        (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, heard) = (Arc::clone(&most), Arc::clone(&told));
    let server = Server::start(move |got, to| {
        if got.body["method"] == "initialize" {
            let result = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {}});
            let body = json!({"jsonrpc": "2.0", "id": got.body["id"], "result": result}).to_string();
            let head = "HTTP/1.1 200 so\r\ncontent-type: application/json\r\nmcp-session-id: s\r\nconnection: close\r\n";
            return write!(to, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
        counted.fetch_max(now.fetch_add(1, Ordering::AcqRel) + 1, Ordering::AcqRel);
        thread::sleep(Duration::from_millis(30));
        now.fetch_sub(1, Ordering::AcqRel);
        heard.fetch_add(1, Ordering::AcqRel);
        reply(to, 200, "")
    });
    let connections = connections(server.address);
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
    for number in 0..SESSIONS {
        let key = Key::Session(number.to_string());
        let session = connections.open(key).unwrap();
        assert!(session.server.send(&line, None));
        until("it begins", || session.server.version().is_some());
    }
    for number in 0..SESSIONS {
        assert!(connections.close(&Key::Session(number.to_string())));
    }
    connections.tick(Instant::now());
    until("the server is told", || told.load(Ordering::Acquire) == SESSIONS);
    assert!(most.load(Ordering::Acquire) <= limits::ENDINGS, "{most:?} at a time");
}

/// Each connection could remember as many calls as all together may.
#[test]
fn connections_remember_as_many_calls_together_as_they_may_and_forget_what_nobody_waits_for() {
    let connections = connections(Server::none());
    let open = |name: &str| connections.open(Key::Session(name.to_owned())).unwrap();
    let (one, other) = (open("one"), open("other"));
    let count = |connection: &Connection| connection.proxy.state().calls.len();
    let now = Instant::now();
    let ticket = Ticket { id: Id::Number(1), serial: 1, round: 0 };
    let waiter = Waiter { ticket, until: now + PATIENCE, told: now + PATIENCE, steps: 0 };
    remember(&other.proxy, 0, 0, vec![waiter]);
    remember(&other.proxy, 1, 0, Vec::new());
    for number in 2..limits::CALLS - 1 {
        remember(&one.proxy, number, 0, Vec::new());
    }
    connections.tick(now);
    assert_eq!((count(&one), count(&other)), (limits::CALLS - 3, 2), "below the limit");
    remember(&one.proxy, limits::CALLS, 0, Vec::new());
    connections.tick(now);
    assert_eq!(
        (count(&one), count(&other)),
        (limits::CALLS - 2, 1),
        "at it, what was waited for longest ago"
    );
    assert!(!connections.shared.remembers_enough());
}
