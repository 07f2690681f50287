//! What tests need on the other side of a channel: an HTTP server on loopback, channels that do what they are told, and messages.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; each uses a part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use counterfoil_notify::*;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    /// The value of a header; its name in lower case.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Answers every request with the status, headers and body that `answer` gives, until the test ends. Gives the address.
pub fn serve(
    answer: impl Fn(&Asked) -> (u16, Vec<(&'static str, String)>, String) + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || talk(stream, &*answer));
        }
    });
    address
}

/// An address that nobody listens at.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn talk(
    mut stream: TcpStream,
    answer: &(impl Fn(&Asked) -> (u16, Vec<(&'static str, String)>, String) + ?Sized),
) -> Option<()> {
    let asked = read(&mut BufReader::new(stream.try_clone().ok()?))?;
    let (status, headers, body) = answer(&asked);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).ok()
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        assert!(headers.insert(name.to_ascii_lowercase(), value.to_owned()).is_none(), "{name} twice");
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, headers, body })
}

/// What came in on a channel of a test: delivery ids and message ids.
pub type Log = Arc<Mutex<Vec<(String, String)>>>;

/// A channel that notes each try, and answers what it is told.
pub struct Scripted<F>(pub Log, pub F);

impl<F: FnMut(&Delivery<'_>) -> Result<(), Failure> + Send> Channel for Scripted<F> {
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure> {
        self.0.lock().unwrap().push((delivery.id.to_string(), delivery.message.id().to_owned()));
        (self.1)(delivery)
    }
}

pub fn scripted(
    log: &Log,
    answer: impl FnMut(&Delivery<'_>) -> Result<(), Failure> + Send + 'static,
) -> Box<dyn Channel> {
    Box::new(Scripted(Arc::clone(log), answer))
}

/// A clock that stands still until it is set.
#[derive(Clone, Default)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }

    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// With this clock, and no chance: every wait is the longest it can be.
    pub fn config(&self, retries: Retries) -> Config {
        let hand = self.clone();
        Config { retries, clock: Box::new(move || UnixMillis(hand.now())), random: Box::new(|| u64::MAX) }
    }
}

/// Quick ones, for tests with real threads.
pub fn quick() -> Config {
    let (first, most) = (Duration::from_millis(2), Duration::from_millis(20));
    Config { retries: Retries { first, most, ..Retries::default() }, ..Config::default() }
}

pub fn name(name: &str) -> ChannelName {
    name.parse().unwrap()
}

/// A message that is right in every part.
pub fn unverified(id: &str) -> UnverifiedMessage {
    UnverifiedMessage {
        fields: vec![Field { name: "tool".to_owned(), value: "deploy".to_owned() }],
        id: id.to_owned(),
        kind: Kind::Requested,
        not_after: UnixMillis::LATEST,
        text: "One line.\nAnother.".to_owned(),
        title: "Deploy to production?".to_owned(),
        url: Some("https://approvals.example/p/7".to_owned()),
    }
}

pub fn message(id: &str) -> Message {
    Message::new(unverified(id)).unwrap()
}

pub fn until(id: &str, not_after: u64) -> Message {
    Message::new(UnverifiedMessage { not_after: UnixMillis(not_after), ..unverified(id) }).unwrap()
}

pub fn to(channels: &[&str], message: Message) -> Addressed {
    Addressed { channels: channels.iter().map(|channel| name(channel)).collect(), message }
}

/// A delivery of a message as the outbox would make it on the channel `ops`.
pub fn delivery(message: &Message, at: u64) -> Delivery<'_> {
    Delivery { id: DeliveryId::of(&name("ops"), message.id()), message, at: UnixMillis(at), failures: 0 }
}

/// Waits until it holds; a minute, at most.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    within(Duration::from_secs(60), what, holds);
}

/// Waits until it holds; so long, at most.
pub fn within(time: Duration, what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < time, "not within {time:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
