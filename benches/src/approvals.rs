//! A log with 10,000 approvals pending: how long it takes to list them, to decide one, to tell who may, and to start again.
//!
//! The server is the real one, on a socket and a disk, and its client is in the same process: what is measured holds both.

use std::{
    collections::{BTreeMap, HashMap},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Body, Place, PolicyDigest, RecordId, Role, Root, RunId, UnverifiedRecord,
    action::Json,
    body::{Audience, Basis, Decision, Item, Policy, Proposal, Risk, Ruling, Surface, Window},
    field::Set,
};
use counterfoil_server::{Approvals, ChannelConfig, Config, Mode, Notices, Server};
use counterfoil_testkit::{action, label};
use counterfoil_tlog::{Checkpoint, UnverifiedNote};
use serde_json::{Value, json};

use crate::{
    log::{Connection, Fallible, enrolment, found, now, principal, sign, trigger, whole},
    report::{Bar, Figure, median, percentile},
};

/// Proposals that wait.
const PENDING: usize = 10_000;
/// Requests that are measured, of each kind.
const ROUNDS: usize = 300;
/// How long after a proposal somebody is asked too, and its time is out, in milliseconds: after everything was measured.
const STEP: u64 = 150_000;
const OUT: u64 = 151_000;
/// Milliseconds of an approval.
const WINDOW: u64 = 3_600_000;
/// What everything is held to, in milliseconds; and a start, in seconds.
const BAR: f64 = 50.0;
const START: f64 = 5.0;

/// All figures of one log.
pub fn pending() -> Vec<Figure> {
    let directory =
        std::env::temp_dir().join(format!("counterfoil-figures-approvals-{}", std::process::id()));
    let measured = World::new(&directory).and_then(World::measure);
    let _ = std::fs::remove_dir_all(&directory);
    measured.expect("a log in a temporary directory")
}

/// A log with its server, and who signs for it.
struct World {
    config: Config,
    log: RecordId,
    agent: RecordKey,
    human: RecordKey,
    gate: RecordKey,
    policy: PolicyDigest,
    runtime: tokio::runtime::Runtime,
    told: Receiver<(Instant, String)>,
}

/// A server that runs.
struct Running {
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Result<(), counterfoil_server::ServeError>>,
    address: SocketAddr,
    connection: Connection,
}

impl World {
    /// A log with its people and its policy.
    fn new(directory: &Path) -> Fallible<Self> {
        std::fs::create_dir_all(directory)?;
        let (mut config, log, authority) = found(directory)?;
        let key = |name: &str, role| RecordKey::generate(principal(name), role);
        let (agent, gate) = (key("agent", Role::Agent)?, key("gate", Role::Runtime)?);
        let (human, clock) = (key("ana", Role::Human)?, key("clock", Role::Policy)?);
        clock.write(&directory.join("policy.key"))?;
        let told = notify(&mut config, directory)?;
        let document = Json::from_value(&policy())?;
        let digest = PolicyDigest::of(document.as_str().as_bytes());
        let after = || Place::Chain { log, prev: log };
        let mut records = Vec::new();
        for key in [&agent, &gate, &human, &clock] {
            let mut body = enrolment(key);
            let groups = (key.role() == Role::Human).then(|| principal("approvers"));
            body.groups = Set::new(groups).ok_or("one group")?;
            records.push(sign(&authority, after(), body)?);
        }
        records.push(sign(&authority, after(), Policy::Document(document))?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let world = Self { config, log, agent, human, gate, policy: digest, runtime, told };
        let mut running = world.start()?.0;
        running.connection.post_batch(&records)?;
        world.stop(running)?;
        Ok(world)
    }

    /// Starts the server; how long it took until it answered, in seconds.
    fn start(&self) -> Fallible<(Running, f64)> {
        let begun = Instant::now();
        let server = self.runtime.block_on(Server::bind(self.config.clone()))?;
        let address = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = self.runtime.spawn(server.run_until(async { drop(stopped.await) }));
        let mut connection = Connection::open(address)?;
        connection.get("/v1/approvals?status=open&limit=1")?;
        Ok((Running { stop, served, address, connection }, begun.elapsed().as_secs_f64()))
    }

    fn stop(&self, running: Running) -> Fallible<()> {
        let _ = running.stop.send(());
        Ok(self.runtime.block_on(running.served)??)
    }

    fn measure(self) -> Fallible<Vec<Figure>> {
        let mut running = self.start()?.0;
        let begun = Instant::now();
        let proposals = self.propose(&mut running.connection, PENDING)?;
        let logged = begun.elapsed().as_secs_f64();
        self.drain(PENDING)?;
        // One that is idle so long is closed.
        running.connection = Connection::open(running.address)?;
        let told = begun.elapsed().as_secs_f64();
        let mut figures = self.list(&mut running.connection)?;
        let mut open: Vec<RunId> = proposals[ROUNDS..].iter().filter_map(UnverifiedRecord::run).collect();
        figures.push(self.notify(&mut running.connection, &mut open)?);
        let last = Instant::now();
        figures.push(self.decide(&mut running.connection, &proposals[..ROUNDS])?);
        let early = wrong(&mut running.connection, &open, &["trigger", "proposal"])?;
        assert_eq!(early, 0, "timers were due before all was measured");
        self.stop(running)?;
        std::thread::sleep(Duration::from_millis(OUT).saturating_sub(last.elapsed()));
        figures.extend(self.restart(&open)?);
        for figure in &mut figures {
            figure.how += &format!("; {PENDING} logged in {logged:.1} s, all told in {told:.1} s");
        }
        Ok(figures)
    }

    /// Runs with a proposal each, logged.
    fn propose(&self, connection: &mut Connection, count: usize) -> Fallible<Vec<UnverifiedRecord>> {
        let mut proposals = Vec::with_capacity(count);
        while proposals.len() < count {
            let mut records = Vec::new();
            for _ in 0..(count - proposals.len()).min(500) {
                let (trigger, proposal) = self.proposal()?;
                records.push(trigger);
                records.push(proposal.clone());
                proposals.push(proposal);
            }
            connection.post_batch(&records)?;
        }
        Ok(proposals)
    }

    /// A trigger of a run, and its proposal.
    fn proposal(&self) -> Fallible<(UnverifiedRecord, UnverifiedRecord)> {
        static EVENTS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let number = EVENTS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut body = trigger(&self.agent);
        body.event.id = label(&number.to_string());
        let trigger = sign(&self.gate, Place::Single { log: self.log }, body)?;
        let body = Proposal {
            action: action("held.refund", json!({"amount": "120.00", "order": number.to_string()})),
            audience: Audience::Principal(principal("gate")),
            cost: None,
            delegation: None,
            evidence: None,
            metadata: None,
            risk: Risk::High,
            summary: None,
            supersedes: None,
            tags: None,
        };
        let run = RunId::started_by(trigger.id());
        let proposal =
            sign(&self.agent, Place::Run { log: self.log, run, parents: vec![trigger.id()] }, body)?;
        Ok((trigger, proposal))
    }

    /// Waits until so many messages have come.
    fn drain(&self, count: usize) -> Fallible<()> {
        for _ in 0..count {
            self.told.recv_timeout(Duration::from_secs(60))?;
        }
        Ok(())
    }

    fn list(&self, connection: &mut Connection) -> Fallible<Vec<Figure>> {
        let queries = [
            (
                "a page of what waits for somebody, of 10,000 approvals pending, p99, ms",
                "?status=open&approver=ana",
            ),
            ("a page of all, of 10,000 approvals pending, p99, ms", ""),
            ("a filter that takes none of the 4,096 that a request looks at, p99, ms", "?tool=none"),
        ];
        let mut times = [(); 3].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            for ((_, query), times) in queries.iter().zip(&mut times) {
                let begun = Instant::now();
                let page: Value = serde_json::from_slice(&connection.get(&format!("/v1/approvals{query}"))?)?;
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                let listed = page["approvals"].as_array().map_or(0, Vec::len);
                assert_eq!(listed, if query.contains("tool") { 0 } else { 100 }, "{query}");
            }
        }
        let figure = |((name, query), times): ((&'static str, &str), Vec<f64>)| {
            timed(name, times, &format!("GET /v1/approvals{query}, answered and read"))
        };
        Ok(queries.into_iter().zip(times).map(figure).collect())
    }

    /// From when a proposal is known to be logged until a message about it is at a webhook.
    fn notify(&self, connection: &mut Connection, open: &mut Vec<RunId>) -> Fallible<Figure> {
        let (mut times, mut adds) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (trigger, proposal) = self.proposal()?;
            connection.post(&trigger)?;
            let begun = Instant::now();
            connection.post(&proposal)?;
            let logged = Instant::now();
            let (came, id) = self.told.recv_timeout(Duration::from_secs(20))?;
            let hex = proposal.id().to_string();
            assert!(id.starts_with(hex.trim_start_matches("sha256:")), "{id}");
            open.extend(proposal.run());
            times.push(came.saturating_duration_since(logged).as_secs_f64() * 1e3);
            adds.push(came.saturating_duration_since(begun).as_secs_f64() * 1e3);
        }
        let name = "a proposal is logged until a webhook has it, 10,000 approvals pending, p99, ms";
        let mut figure = timed(name, times, "from the answer to the submission");
        figure.how += &format!(
            "; from the submission p50 {:.1}, p99 {:.1}",
            median(adds.clone()),
            percentile(adds, 99)
        );
        Ok(figure)
    }

    /// From when a decision is sent until it is answered as included.
    fn decide(&self, connection: &mut Connection, proposals: &[UnverifiedRecord]) -> Fallible<Figure> {
        let note = UnverifiedNote::parse(&connection.get("/checkpoint")?)?;
        let head = Checkpoint::parse(note.text())?.head();
        let basis = Basis { root: Root::from_bytes(*head.root.as_bytes()), size: whole(head.size.0) };
        let mut times = Vec::new();
        for proposal in proposals {
            let record = self.decision(proposal, &basis)?;
            let begun = Instant::now();
            connection.post(&record)?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let name = "a decision is sent until it is durable and included, 10,000 approvals pending, p99, ms";
        Ok(timed(name, times, "with one durable write of the journal, of the lock store, and a snapshot"))
    }

    fn decision(&self, proposal: &UnverifiedRecord, basis: &Basis) -> Fallible<UnverifiedRecord> {
        let (Some(action), Some(run)) = (proposal.body().action(), proposal.run()) else {
            return Err("no proposal".into());
        };
        let from = now()?;
        let shown = Item {
            commitment: counterfoil_receipt::Commitment::from_bytes([7; 32]),
            label: label("shown"),
            media_type: label("text/plain"),
            size: whole(7),
        };
        let body = Decision {
            action: action.digest(),
            approver: None,
            basis: basis.clone(),
            changes: None,
            policy: self.policy,
            proposal: proposal.id(),
            reason: None,
            rule: None,
            shown: Some(shown),
            surface: Surface::Terminal,
            uses: Some(whole(1)),
            verdict: Ruling::Approve,
            window: Some(Window { from: whole(from), until: whole(from + WINDOW) }),
        };
        sign(&self.human, Place::Run { log: self.log, run, parents: vec![proposal.id()] }, Body::from(body))
    }

    /// Everything is due when the server starts: each timer is said, once.
    fn restart(&self, open: &[RunId]) -> Fallible<Vec<Figure>> {
        let begun = Instant::now();
        let (mut running, seconds) = self.start()?;
        loop {
            let page = running.connection.get("/v1/approvals?status=open&limit=1")?;
            let page: Value = serde_json::from_slice(&page)?;
            if page["approvals"].as_array().is_some_and(Vec::is_empty) && page["next"].is_null() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "timers are not said: {page}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = begun.elapsed().as_secs_f64();
        let size_after = size(&mut running.connection)?;
        let wrong = wrong(&mut running.connection, open, &["trigger", "proposal", "escalation", "decision"])?;
        self.stop(running)?;
        // Once: another start says nothing.
        let (mut running, again) = self.start()?;
        std::thread::sleep(Duration::from_secs(3));
        let repeated = size(&mut running.connection)? - size_after;
        self.stop(running)?;
        let entries = format!("{size_after} entries in the end; another start {again:.2} s");
        let figure = |figure, value, how| Figure { figure, value, bar: Bar::AtMost(START), how };
        let timers = Figure {
            figure: "of 10,000 approvals pending at a start, those whose escalation and time-out were not each said once",
            value: f64::from(u32::try_from(wrong)?) + f64::from(u32::try_from(repeated)?),
            bar: Bar::AtMost(0.0),
            how: format!(
                "{} runs, {} timers due while nobody served; {repeated} entries more after another start",
                open.len(),
                2 * open.len()
            ),
        };
        Ok(vec![
            figure(
                "a start with 10,000 approvals pending, all timers due, until it lists them, s",
                seconds,
                entries.clone(),
            ),
            figure(
                "a start with 10,000 approvals pending, until all of their 20,000 timers are said, s",
                said,
                entries,
            ),
            timers,
        ])
    }
}

/// How many of these runs have other records than these.
fn wrong(connection: &mut Connection, runs: &[RunId], expected: &[&str]) -> Fallible<usize> {
    let mut wrong = 0;
    for run in runs {
        let listed: Value = serde_json::from_slice(&connection.get(&format!("/v1/runs/{run}"))?)?;
        let types: Vec<&str> = listed["records"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["type"].as_str())
            .collect();
        wrong += usize::from(types != expected);
    }
    Ok(wrong)
}

fn size(connection: &mut Connection) -> Fallible<u64> {
    let log: Value = serde_json::from_slice(&connection.get("/v1/log")?)?;
    Ok(log["size"].as_u64().ok_or("no size")?)
}

fn timed(figure: &'static str, times: Vec<f64>, what: &str) -> Figure {
    let how = format!("{what}; p50 of {}: {:.2}", times.len(), median(times.clone()));
    Figure { figure, value: percentile(times, 99), bar: Bar::AtMost(BAR), how }
}

/// One of the approvers, by key or by link; somebody else is asked too, and then the time is out.
fn policy() -> Value {
    json!({"language": "counterfoil-policy/1", "rules": [{"effect": "require", "match": {"tool": "held.*"}, "name": "held",
        "requirements": [{"count": 1, "groups": ["approvers"], "surfaces": ["link", "terminal"]}],
        "escalation": [{"after": STEP, "to": {"principals": ["boss"]}}], "timeout": {"after": OUT, "then": "reject"},
        "segregation": true, "uses": 1, "window": WINDOW}]})
}

/// Gives the server a policy key and somebody to tell, at a webhook: when each message came, and its id.
fn notify(config: &mut Config, directory: &Path) -> Fallible<Receiver<(Instant, String)>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/ana", listener.local_addr()?);
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(message) = receive(BufReader::new(stream)) else { continue };
            if sender.send((Instant::now(), message)).is_err() {
                return;
            }
        }
    });
    let secret = directory.join("hook.secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef")?;
    let Mode::Records(files) = &mut config.mode else { return Err("the log is raw".into()) };
    files.policy_key = Some(directory.join("policy.key"));
    let notices = Notices {
        outbox_dir: directory.join("outbox"),
        tell: Vec::new(),
        people: BTreeMap::from([(principal("ana"), vec!["hook".parse()?])]),
        channels: BTreeMap::from([(
            "hook".parse()?,
            ChannelConfig::Webhook { url, secret_files: vec![secret] },
        )]),
    };
    files.approvals = Some(Approvals {
        url: "http://127.0.0.1:1".to_owned(),
        link_time: Duration::from_secs(3_600),
        notices: Some(Box::new(notices)),
    });
    Ok(received)
}

/// Takes one message: its id.
fn receive(mut stream: BufReader<std::net::TcpStream>) -> Fallible<String> {
    let mut headers = HashMap::new();
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        line.clear();
    }
    let mut body = vec![0; headers.get("content-length").ok_or("no length")?.parse()?];
    stream.read_exact(&mut body)?;
    stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")?;
    let message: Value = serde_json::from_slice(&body)?;
    Ok(message["message"]["id"].as_str().ok_or("no id")?.to_owned())
}
