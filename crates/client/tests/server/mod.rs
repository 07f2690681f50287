//! A tiny HTTP server on loopback that answers what a test tells it to, and a truthful log behind it.
#![allow(dead_code)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use counterfoil_client::{Client, MemoryCheckpoints, PinnedClient};
use counterfoil_receipt::{RecordId, UnverifiedRecord, bundle::PayloadLine};
use counterfoil_testkit::{Ledger, Scenario};
use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, inclusion, leaf_hash, tile::TilePath};
use serde_json::json;

pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<String>,
    pub body: Vec<u8>,
}

/// What is written to the connection.
pub enum Say {
    /// A whole answer.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, and then nothing for as long as the test runs.
    Stall(Vec<u8>),
}

impl Say {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, Vec::new(), body.into())
    }

    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }
}

/// Serves until the test ends. Gives the address.
pub fn serve(answer: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> String {
    serve_some(usize::MAX, answer)
}

/// Serves this many connections; then nobody listens any more.
pub fn serve_some(connections: usize, answer: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for _ in 1..connections {
            if let Ok((stream, _)) = listener.accept() {
                let answer = Arc::clone(&answer);
                thread::spawn(move || talk(stream, &*answer));
            }
        }
        let last = listener.accept();
        // Before whoever it is has an answer, and asks again.
        drop(listener);
        if let Ok((stream, _)) = last {
            talk(stream, &*answer);
        }
    });
    address
}

fn talk(stream: TcpStream, answer: &(impl Fn(&Asked) -> Say + ?Sized)) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let asked = read(&mut reader)?;
    let mut stream = stream;
    match answer(&asked) {
        Say::Answer(status, headers, body) => {
            let headers: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).ok()
        }
        Say::Raw(bytes) => stream.write_all(&bytes).ok(),
        Say::Stall(bytes) => {
            stream.write_all(&bytes).ok()?;
            thread::sleep(Duration::from_secs(60));
            Some(())
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let first: Vec<&str> = lines.first()?.split(' ').collect();
    let (method, path) = (first.first()?.to_string(), first.get(1)?.to_string());
    let length = lines
        .iter()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers: lines.split_off(1), body })
}

/// A log that answers as `spec/http.md` says.
#[derive(Clone)]
pub struct Honest(pub Arc<Mutex<Scenario>>);

impl Honest {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Scenario::new())))
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Scenario) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }

    pub fn pin(&self, address: &str) -> PinnedClient {
        let trust = self.with(|scenario| scenario.ledger.trust().trust());
        let client = Client::new(address, None).unwrap().with_timeout(Duration::from_secs(5));
        client.with_patience(Duration::ZERO).pin(trust, Box::<MemoryCheckpoints>::default())
    }

    /// A client of a server that says which log it serves, and answers everything else as it is told.
    pub fn pin_to(&self, answer: impl Fn(&Asked) -> Say + Send + Sync + 'static) -> PinnedClient {
        let log = self.clone();
        self.pin(&serve(move |asked| match asked.path.as_str() {
            "/v1/log" => log.answer(asked),
            _ => answer(asked),
        }))
    }

    pub fn serve(&self) -> String {
        let log = self.clone();
        serve(move |asked| log.answer(asked))
    }

    pub fn answer(&self, asked: &Asked) -> Say {
        self.with(|scenario| answer(scenario, asked))
    }
}

fn answer(scenario: &mut Scenario, asked: &Asked) -> Say {
    let ledger = &mut scenario.ledger;
    let path = asked.path.split('?').next().unwrap();
    if let Some(tile) = path.strip_prefix('/').and_then(|path| path.parse::<TilePath>().ok()) {
        return Say::ok(tile_bytes(ledger, &tile));
    }
    match (asked.method.as_str(), path) {
        ("POST", "/v1/records") => match submit(scenario, &asked.body) {
            Ok(inclusion) => Say::ok(inclusion),
            Err(rejected) => {
                Say::Answer(422, vec![("Counterfoil-Code", rejected.0)], rejected.1.bytes().to_vec())
            }
        },
        ("POST", "/v1/records/batch") => {
            let lines: Vec<Vec<u8>> = asked.body.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let is_record = |line: &&Vec<u8>| {
                !line.is_empty() && counterfoil_receipt::bundle::read_line::<PayloadLine>(line).is_err()
            };
            let answers = lines.iter().filter(is_record).map(|record| match submit(scenario, record) {
                Ok(inclusion) => inclusion + "\n",
                Err(rejected) => {
                    let rejection = String::from_utf8(rejected.1.bytes().to_vec()).unwrap();
                    format!("{{\"rejection\":{rejection},\"status\":\"rejected\"}}\n")
                }
            });
            let answers: String = answers.collect();
            let last = lines.iter().rfind(is_record).map(|line| UnverifiedRecord::parse(line).unwrap());
            let run = last
                .filter(|_| asked.path.ends_with("?bundle=latest"))
                .map(|last| last.run().unwrap_or(counterfoil_receipt::RunId::started_by(last.id())));
            let bundle = run.map_or_else(Vec::new, |run| scenario.ledger.bundle(run));
            Say::ok([answers.into_bytes(), bundle].concat())
        }
        ("GET", "/v1/log") => {
            let genesis = String::from_utf8(ledger.entries()[0].clone()).unwrap();
            Say::ok(format!("{{\"genesis\":{genesis},\"size\":{}}}", ledger.size()))
        }
        ("GET", "/checkpoint") => Say::ok(ledger.checkpoint(ledger.size()).unwrap()),
        ("GET", path) if path.ends_with("/bundle") => {
            let run = path.trim_start_matches("/v1/runs/").trim_end_matches("/bundle");
            Say::ok(ledger.bundle(counterfoil_receipt::RunId::parse(run).unwrap()))
        }
        ("GET", path) if path.starts_with("/v1/records/") => {
            let id = RecordId::parse(path.trim_start_matches("/v1/records/")).unwrap();
            match ledger.entries().iter().find(|entry| RecordId::of(entry) == id) {
                Some(entry) => Say::ok(entry.clone()),
                None => problem(404, "record-unknown"),
            }
        }
        _ => problem(404, "route-unknown"),
    }
}

pub fn problem(status: u16, code: &str) -> Say {
    let document =
        json!({"code": code, "detail": "no", "hint": "look elsewhere", "status": status, "title": "x"});
    Say::Answer(status, Vec::new(), document.to_string().into_bytes())
}

fn submit(scenario: &mut Scenario, bytes: &[u8]) -> Result<String, Box<(String, UnverifiedRecord)>> {
    let ledger = &mut scenario.ledger;
    let record = UnverifiedRecord::parse(bytes).unwrap();
    if ledger.state().index_of(&record.id()).is_none() {
        if let Err(refused) = ledger.append(bytes) {
            return Err(Box::new((refused.code.to_owned(), rejection(scenario, &record, refused.code))));
        }
        ledger.close();
    }
    Ok(inclusion_of(ledger, record.id()))
}

pub fn rejection(scenario: &mut Scenario, record: &UnverifiedRecord, code: &str) -> UnverifiedRecord {
    let log = scenario.cast.log.clone();
    let body = counterfoil_receipt::body::Rejection {
        code: counterfoil_testkit::label(code),
        id: Some(record.id()),
        rule: counterfoil_testkit::label("R-X-01"),
        size: counterfoil_receipt::field::Count::new(scenario.ledger.size()).unwrap(),
        statement: Some(record.statement()),
    };
    scenario.ledger.sign(&log, None, body)
}

pub fn inclusion_of(ledger: &Ledger, id: RecordId) -> String {
    let tree = tree(ledger);
    let index = ledger.state().index_of(&id).unwrap();
    let proof = inclusion::prove(LeafIndex(index), TreeSize(ledger.size()), &tree).unwrap();
    let proof: Vec<String> = proof.iter().map(counterfoil_tlog::Hash::to_base64).collect();
    let checkpoint = ledger.checkpoint(ledger.size()).unwrap();
    json!({"checkpoint": checkpoint, "id": id.to_string(), "index": index, "proof": proof, "status": "included"}).to_string()
}

pub fn tree(ledger: &Ledger) -> MemoryTree {
    ledger.entries().iter().map(|entry| leaf_hash(entry)).collect()
}

fn tile_bytes(ledger: &Ledger, path: &TilePath) -> Vec<u8> {
    assert_eq!((path.level(), path.index()), (Some(0), 0), "test logs have one tile");
    let leaves =
        ledger.entries().iter().take(path.width().into()).flat_map(|entry| *leaf_hash(entry).as_bytes());
    leaves.collect()
}
