//! An idle log: how long until a record is durable, integrated and proven.

use std::{
    error::Error,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Instant,
};

use counterfoil_keys::{NoteKey, RecordKey};
use counterfoil_receipt::{
    Body, Draft, Place, Principal, RecordId, Role, RunId, Signer, UnverifiedRecord,
    body::{
        Authority, Event, Genesis, GenesisLimits, Holder, KeyChange, Keyring, LogKeys, Observation,
        ObservationKind, Trigger,
    },
    field::{List, Set, Whole},
};
use counterfoil_server::{Access, Config, Mode, RecordFiles, Server, create_log};
use counterfoil_testkit::{label, text};
use counterfoil_tlog::{Algorithm, Signer as _};

use crate::report::{Bar, Figure, median};

/// Adds that are measured.
const ROUNDS: usize = 300;

pub type Fallible<T> = Result<T, Box<dyn Error>>;

/// One record at a time by HTTP to an idle server, against one append and fdatasync of as many bytes beside its journal.
pub fn idle_add() -> Figure {
    let directory = std::env::temp_dir().join(format!("counterfoil-figures-add-{}", std::process::id()));
    let measured = measure(&directory);
    let _ = std::fs::remove_dir_all(&directory);
    let (add, sync) = measured.expect("a log in a temporary directory");
    Figure {
        figure: "an idle log's add by HTTP, durable, with proof, snapshot and lock store / one fdatasync",
        value: add / sync,
        bar: Bar::AtMost(4.0),
        how: format!("p50 of {ROUNDS}, interleaved: {:.0} µs / {:.0} µs", add * 1e6, sync * 1e6),
    }
}

fn measure(directory: &Path) -> Fallible<(f64, f64)> {
    std::fs::create_dir_all(directory)?;
    let (config, log, authority) = found(directory)?;
    let agent = RecordKey::generate(principal("agent"), Role::Agent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = runtime.block_on(Server::bind(config))?;
    let address = server.local_addr();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = runtime.spawn(server.run_until(async { drop(stopped.await) }));
    let mut connection = Connection::open(address)?;
    connection.post(&sign(&authority, Place::Chain { log, prev: log }, enrolment(&agent))?)?;
    let trigger = sign(&agent, Place::Single { log }, trigger(&agent))?;
    connection.post(&trigger)?;
    let (mut adds, mut syncs) = (Vec::new(), Vec::new());
    let mut file = File::create(directory.join("floor"))?;
    let mut parent = trigger.id();
    for round in 0..ROUNDS {
        let place = Place::Run { log, run: RunId::started_by(trigger.id()), parents: vec![parent] };
        let record = sign(&agent, place, note(round))?;
        parent = record.id();
        let start = Instant::now();
        connection.post(&record)?;
        adds.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        file.write_all(&[7; 2_200])?;
        file.sync_data()?;
        syncs.push(start.elapsed().as_secs_f64());
    }
    let _ = stop.send(());
    runtime.block_on(served)??;
    Ok((median(adds), median(syncs)))
}

/// A new log with its genesis.
pub fn found(directory: &Path) -> Fallible<(Config, RecordId, RecordKey)> {
    let authority = RecordKey::generate(principal("authority"), Role::Authority)?;
    let snapshot = RecordKey::generate(principal("log"), Role::Log)?;
    let note = NoteKey::generate("example.org/figures", Algorithm::Ed25519)?;
    snapshot.write(&directory.join("snapshot.key"))?;
    note.write(&directory.join("note.key"))?;
    let genesis = Genesis {
        authority: Authority { roots: List(vec![holder(&authority)]), threshold: whole(1) },
        fold: whole(0),
        limits: GenesisLimits { record_bytes: whole(65_535), run_records: whole(1_000_000) },
        log: LogKeys { note_keys: List(vec![label(&note.key().to_string())]), snapshot: holder(&snapshot) },
        origin: label("example.org/figures"),
    };
    let genesis = sign(&authority, Place::Root, genesis)?;
    std::fs::write(directory.join("genesis.json"), genesis.bytes())?;
    let config = Config {
        published: Vec::new(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        reads: Access::Local,
        log_dir: directory.join("log"),
        lock_dir: directory.join("lock"),
        note_key: directory.join("note.key"),
        mode: Mode::Records(RecordFiles {
            payload_dir: directory.join("payloads"),
            genesis: directory.join("genesis.json"),
            snapshot_key: directory.join("snapshot.key"),
            policy_key: None,
            approvals: None,
            open_proposals: None,
        }),
        witnesses: None,
        quota: None,
        rate: None,
        tokens: None,
    };
    Ok((config.clone(), create_log(&config)?.ok_or("the log is raw")?, authority))
}

/// Signs a record at the present time.
pub fn sign(key: &RecordKey, place: Place, body: impl Into<Body>) -> Fallible<UnverifiedRecord> {
    let time = whole(now()?);
    let draft =
        Draft { place, time, principal: key.principal().clone(), role: key.role(), body: body.into() };
    Ok(draft.sign(key)?)
}

/// Milliseconds since 1970.
pub fn now() -> Fallible<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(now.as_millis())?)
}

/// What enrols a key.
pub fn enrolment(key: &RecordKey) -> Keyring {
    Keyring {
        change: KeyChange::Enrol,
        groups: Set::new([]).expect("an empty set"),
        key: key.key(),
        name: None,
        not_after: None,
        not_before: None,
        principal: key.principal().clone(),
        replaces: None,
        role: key.role(),
        threshold: None,
    }
}

/// What starts a run.
pub fn trigger(owner: &RecordKey) -> Trigger {
    let event = Event { id: label("1"), kind: None, source: label("figures") };
    Trigger { content: None, event, owner: holder(owner), summary: None }
}

fn note(round: usize) -> Observation {
    let summary =
        text(&format!("observation {round}: {}", "what the agent saw, in a few words. ".repeat(12)));
    Observation { items: None, kind: ObservationKind::Note, summary: Some(summary) }
}

fn holder(key: &RecordKey) -> Holder {
    Holder { key: key.key(), principal: key.principal().clone() }
}

/// A number within its limits.
pub fn whole<const MIN: u64, const MAX: u64>(value: u64) -> Whole<MIN, MAX> {
    Whole::new(value).expect("within its limits")
}

/// A principal of this name.
pub fn principal(name: &str) -> Principal {
    Principal::new(name).expect("a name")
}

/// One connection that is kept open, so that what is measured is the log.
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// To a server.
    pub fn open(address: SocketAddr) -> Fallible<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Submits a record and waits for its inclusion.
    pub fn post(&mut self, record: &UnverifiedRecord) -> Fallible<()> {
        self.send("POST /v1/records", "application/json", record.bytes()).map(drop)
    }

    /// Submits records and waits for the inclusion of all.
    pub fn post_batch(&mut self, records: &[UnverifiedRecord]) -> Fallible<()> {
        let lines: Vec<u8> = records.iter().flat_map(|record| [record.bytes(), b"\n"].concat()).collect();
        let answer = self.send("POST /v1/records/batch", "application/jsonl", &lines)?;
        match String::from_utf8_lossy(&answer).lines().find(|line| !line.contains("\"status\":\"included\""))
        {
            None => Ok(()),
            Some(refused) => Err(refused.into()),
        }
    }

    /// What stands at a path.
    pub fn get(&mut self, path: &str) -> Fallible<Vec<u8>> {
        self.send(&format!("GET {path}"), "text/plain", b"")
    }

    /// The body of an answer that is 200.
    fn send(&mut self, what: &str, media_type: &str, body: &[u8]) -> Fallible<Vec<u8>> {
        let mut request = format!(
            "{what} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.reader.get_mut().write_all(&request)?;
        let (mut status, mut length) = (String::new(), 0);
        self.reader.read_line(&mut status)?;
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                None => break,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?
                }
                Some(_) => {}
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        if status.contains(" 200 ") {
            Ok(body)
        } else {
            Err(format!("{status}{}", String::from_utf8_lossy(&body)).into())
        }
    }
}
