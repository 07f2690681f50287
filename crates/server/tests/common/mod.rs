//! A server on a real socket, the testkit's cast, and records that they sign for it.

#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "tests; not every file uses everything")]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use counterfoil_keys::{NoteKey, RecordKey, random_salt};
use counterfoil_receipt::{
    Body, Commitment, Draft, Opening, Place, Principal, RecordId, Role, Root, RunId, Signer,
    UnverifiedRecord,
    action::Json,
    body::{self, Basis, Evidence, Item, Ruling, Status, Window},
    bundle::{PayloadLine, write_line},
    field::{Count, List, Millis, Set, Whole},
};
use counterfoil_server::{
    Access, Config, MirrorConfig, Mode, RecordFiles, Route, ServeError, Server, StartError, create_log,
};
use counterfoil_testkit::{
    Actor, Cast, TrustFile, WINDOW, action, enrolment, label, policy_document, text, trigger_body,
};
use counterfoil_tlog::{Algorithm, SignedCheckpoint, Signer as _, UnverifiedNote, VerifierKey};
use counterfoil_verify::{Dimension, Trust};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

pub const ORIGIN: &str = "test.example/log";

/// A raw log that was just created in this directory.
pub fn raw_log(dir: &Path, quota: Option<NonZeroU32>) -> (Config, VerifierKey) {
    let key = NoteKey::from_seed(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap();
    key.write(&dir.join("note.key")).unwrap();
    let config = Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        quota,
        rate: None,
        tokens: None,
        reads: Access::Local,
        log_dir: dir.join("log"),
        lock_dir: dir.join("lock"),
        note_key: dir.join("note.key"),
        published: Vec::new(),
        mode: Mode::Raw { writes: Access::Local },
        witnesses: None,
    };
    assert_eq!(create_log(&config).unwrap(), None);
    (config, key.key().clone())
}

/// A log with its server, and everybody who writes to it.
pub struct World {
    pub dir: TempDir,
    pub config: Config,
    pub log: RecordId,
    pub log_key: RecordKey,
    pub vkey: VerifierKey,
    pub cast: Cast,
    running: Option<Running>,
}

/// A server that runs.
pub struct Running {
    pub address: SocketAddr,
    pub routes: Arc<[Route]>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// Starts the server of a configuration.
    pub fn start(config: &Config) -> Self {
        let config = config.clone();
        Self::serve(move || Server::bind(config))
    }

    /// Starts that of a mirror.
    pub fn mirror(config: MirrorConfig) -> Self {
        Self::serve(move || Server::mirror(config))
    }

    fn serve<F: Future<Output = Result<Server, StartError>>>(
        server: impl FnOnce() -> F + Send + 'static,
    ) -> Self {
        let (ready, begun) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let server = server().await?;
                ready.send((server.local_addr(), server.routes())).unwrap();
                server.run_until(async { stopped.await.unwrap_or(()) }).await
            })
        });
        let Ok((address, routes)) = begun.recv() else { panic!("{:?}", thread.join()) };
        Self { address, routes, stop, thread }
    }

    /// Tells it to stop, and waits until it has.
    pub fn stop(self) -> Result<(), ServeError> {
        let _ = self.stop.send(());
        self.thread.join().unwrap()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem, if it is one.
    pub fn json_code(&self) -> Option<String> {
        serde_json::from_slice::<Value>(&self.body).ok()?["code"].as_str().map(str::to_owned)
    }

    pub fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that this is a problem as the specification describes it, with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, Some("application/problem+json")),
            "{self:?}"
        );
        let problem = self.json();
        let members: Vec<&String> = problem.as_object().unwrap().keys().collect();
        assert_eq!(members, ["code", "detail", "hint", "status", "title"]);
        assert_eq!(
            (problem["code"].as_str(), problem["status"].as_u64()),
            (Some(code), Some(u64::from(status)))
        );
        assert!(
            ["detail", "hint", "title"].iter().all(|member| !problem[*member].as_str().unwrap().is_empty())
        );
        assert_eq!(self.header("cache-control"), Some("no-store"));
    }
}

impl World {
    /// A log that was just created.
    pub fn created() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cast = Cast::standard();
        let note_key = NoteKey::from_seed(ORIGIN, Algorithm::Ed25519, &[1; 32]).unwrap();
        let log_key = RecordKey::from_seed(Principal::new("the-log").unwrap(), Role::Log, &[2; 32]);
        let vkey = note_key.key().clone();
        let genesis = genesis(&cast, &vkey, &log_key);
        let at = |name: &str| dir.path().join(name);
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            quota: None,
            rate: None,
            tokens: None,
            reads: Access::Local,
            log_dir: at("log"),
            lock_dir: at("lock"),
            note_key: at("note.key"),
            published: Vec::new(),
            mode: Mode::Records(RecordFiles {
                payload_dir: at("payloads"),
                genesis: at("genesis.json"),
                snapshot_key: at("snapshot.key"),
                policy_key: None,
                approvals: None,
                open_proposals: None,
            }),
            witnesses: None,
        };
        std::fs::write(at("genesis.json"), genesis.bytes()).unwrap();
        note_key.write(&config.note_key).unwrap();
        log_key.write(&at("snapshot.key")).unwrap();
        assert_eq!(create_log(&config).unwrap(), Some(genesis.id()));
        Self { log: genesis.id(), dir, config, log_key, vkey, cast, running: None }
    }

    /// The same with its server running.
    pub fn started() -> Self {
        let mut world = Self::created();
        world.start();
        world
    }

    /// The same with everybody enrolled, and a policy that wants two people.
    pub fn peopled() -> Self {
        let world = Self::started();
        let records = world.founding();
        let answers = world.batch(&records);
        assert!(answers.iter().all(|answer| answer["status"] == "included"), "{answers:?}");
        world
    }

    /// A log whose server has a policy key, not started yet.
    pub fn with_policy_key() -> (Self, RecordKey) {
        let mut world = Self::created();
        let path = world.dir.path().join("policy.key");
        let key = RecordKey::from_seed(Principal::new("clock").unwrap(), Role::Policy, &[3; 32]);
        key.write(&path).unwrap();
        world.files_mut().policy_key = Some(path);
        (world, key)
    }

    /// Starts it, enrols everybody and the policy key, and puts rules into force.
    pub fn start_under(&mut self, key: &RecordKey, rules: &Value) {
        self.start();
        self.batch(&self.founding());
        let mut body = enrolment(&self.cast.engine, &[]);
        (body.key, body.principal) = (key.key(), key.principal().clone());
        self.add(&self.sign(&self.cast.root, self.after_genesis(), body));
        self.set_policy(rules);
    }

    /// Puts a policy of these rules into force.
    pub fn set_policy(&self, rules: &Value) {
        let prev = self.get("/v1/policy").json()["prev"].as_str().unwrap().to_owned();
        let place = Place::Chain { log: self.log, prev: RecordId::parse(&prev).unwrap() };
        let document = json!({"language": "counterfoil-policy/1", "rules": rules});
        let document = Json::from_value(&document).unwrap();
        self.add(&self.sign(&self.cast.root, place, body::Policy::Document(document)));
    }

    /// A run with a proposal, logged.
    pub fn proposed(&self, event: &str) -> (RunId, UnverifiedRecord) {
        let trigger = self.trigger(event);
        let run = RunId::started_by(self.add(&trigger));
        let proposal = self.proposal(run, trigger.id());
        self.add(&proposal);
        (run, proposal)
    }

    /// The records that enrol the cast and set the policy.
    pub fn founding(&self) -> Vec<UnverifiedRecord> {
        let Cast { root, ana, bo, scout, fixer, gate, .. } = &self.cast;
        let people: [(&Actor, &[&str]); 5] =
            [(ana, &["sre"]), (bo, &["sre"]), (scout, &[]), (fixer, &[]), (gate, &["prod"])];
        let mut records: Vec<_> = people
            .iter()
            .map(|(actor, groups)| self.sign(root, self.after_genesis(), enrolment(actor, groups)))
            .collect();
        let document = Json::from_value(&policy_document(2)).unwrap();
        records.push(self.sign(root, self.after_genesis(), body::Policy::Document(document)));
        records
    }

    pub fn start(&mut self) {
        assert!(self.running.is_none());
        self.running = Some(Running::start(&self.config));
    }

    /// Tells the server to stop, and waits until it has.
    pub fn stop(&mut self) -> Result<(), ServeError> {
        self.running.take().unwrap().stop()
    }

    /// The files of the log's records.
    pub fn files(&self) -> &RecordFiles {
        let Mode::Records(files) = &self.config.mode else { panic!("raw") };
        files
    }

    pub fn files_mut(&mut self) -> &mut RecordFiles {
        let Mode::Records(files) = &mut self.config.mode else { panic!("raw") };
        files
    }

    /// Waits for the server to end by itself.
    pub fn ended(&mut self) -> Result<(), ServeError> {
        self.running.take().unwrap().thread.join().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().unwrap().address
    }

    pub fn routes(&self) -> Arc<[Route]> {
        Arc::clone(&self.running.as_ref().unwrap().routes)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        request(self.address(), method, path, headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Submits the bytes of one record.
    pub fn post(&self, record: &[u8]) -> Answer {
        self.request("POST", "/v1/records", &[("content-type", "application/json")], record)
    }

    pub fn post_lines(&self, lines: &[u8]) -> Answer {
        self.request("POST", "/v1/records/batch", &[("content-type", "application/jsonl")], lines)
    }

    /// Submits one record, which must be admitted.
    #[track_caller]
    pub fn add(&self, record: &UnverifiedRecord) -> RecordId {
        let answer = self.post(record.bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        record.id()
    }

    #[track_caller]
    pub fn batch(&self, records: &[UnverifiedRecord]) -> Vec<Value> {
        let lines: Vec<u8> = records.iter().flat_map(|record| [record.bytes(), b"\n"].concat()).collect();
        let answer = self.post_lines(&lines);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/jsonl")),
            "{}",
            answer.text()
        );
        answer.lines()
    }

    /// Signs a record at the present time.
    pub fn sign(&self, by: &Actor, place: Place, body: impl Into<Body>) -> UnverifiedRecord {
        self.sign_at(by, place, body, now())
    }

    pub fn sign_at(&self, by: &Actor, place: Place, body: impl Into<Body>, time: u64) -> UnverifiedRecord {
        sign(by.signer(), &by.principal, by.role, place, body.into(), time)
    }

    pub fn after_genesis(&self) -> Place {
        Place::Chain { log: self.log, prev: self.log }
    }

    pub fn alone(&self) -> Place {
        Place::Single { log: self.log }
    }

    pub fn in_run(&self, run: RunId, parent: RecordId) -> Place {
        Place::Run { log: self.log, run, parents: vec![parent] }
    }

    /// The latest checkpoint, opened as a reader does.
    pub fn checkpoint(&self) -> SignedCheckpoint {
        let note = UnverifiedNote::parse(&self.get("/checkpoint").body).unwrap();
        SignedCheckpoint::open(note, ORIGIN, std::slice::from_ref(&self.vkey), &[] as &[VerifierKey]).unwrap()
    }

    pub fn basis(&self) -> Basis {
        let head = self.checkpoint().checkpoint().head();
        Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0).unwrap() }
    }

    /// A trigger of a new run, not yet submitted.
    pub fn trigger(&self, event: &str) -> UnverifiedRecord {
        self.sign(&self.cast.gate, self.alone(), trigger_body(&self.cast.scout, event))
    }

    pub fn note(&self, run: RunId, parent: RecordId, summary: &str) -> UnverifiedRecord {
        let body = body::Observation {
            items: None,
            kind: body::ObservationKind::Note,
            summary: Some(text(summary)),
        };
        self.sign(&self.cast.scout, self.in_run(run, parent), body)
    }

    pub fn observation(&self, run: RunId, parent: RecordId, items: Vec<Item>) -> UnverifiedRecord {
        self.naming(run, parent, items.into_iter().map(Evidence::Item).collect())
    }

    /// An observation that names this evidence.
    pub fn naming(&self, run: RunId, parent: RecordId, evidence: Vec<Evidence>) -> UnverifiedRecord {
        let items = Some(List(evidence));
        let body = body::Observation { items, kind: body::ObservationKind::Evidence, summary: None };
        self.sign(&self.cast.scout, self.in_run(run, parent), body)
    }

    pub fn proposal(&self, run: RunId, parent: RecordId) -> UnverifiedRecord {
        let body = body::Proposal {
            action: action("db.vacuum", json!({"full": true})),
            audience: body::Audience::Principal(self.cast.gate.principal.clone()),
            cost: None,
            delegation: None,
            evidence: None,
            metadata: None,
            risk: body::Risk::High,
            summary: None,
            supersedes: None,
            tags: None,
        };
        self.sign(&self.cast.scout, self.in_run(run, parent), body)
    }

    pub fn decision(
        &self,
        by: &Actor,
        proposal: &UnverifiedRecord,
        verdict: Ruling,
        from: u64,
    ) -> UnverifiedRecord {
        let Body::Proposal(proposed) = proposal.body() else { panic!("no proposal") };
        let approves = verdict == Ruling::Approve;
        let window = Window { from: millis(from), until: millis(from + WINDOW) };
        let body = body::Decision {
            action: proposed.action.digest(),
            approver: None,
            basis: self.basis(),
            changes: None,
            policy: self.policy(),
            proposal: proposal.id(),
            reason: None,
            rule: None,
            shown: Some(payload("shown.txt", b"tool db.vacuum").0),
            surface: body::Surface::Terminal,
            uses: approves.then(|| Whole::new(1).unwrap()),
            verdict,
            window: approves.then_some(window),
        };
        self.sign(by, self.in_run(proposal.run().unwrap(), proposal.id()), body)
    }

    pub fn policy(&self) -> counterfoil_receipt::PolicyDigest {
        let digest = self.get("/v1/policy").json()["digest"].as_str().unwrap().to_owned();
        counterfoil_receipt::PolicyDigest::parse(&digest).unwrap()
    }

    pub fn execution(
        &self,
        proposal: &UnverifiedRecord,
        decisions: &[RecordId],
        time: u64,
    ) -> UnverifiedRecord {
        let Body::Proposal(proposed) = proposal.body() else { panic!("no proposal") };
        let body = body::Execution {
            action: proposed.action.clone(),
            basis: self.basis(),
            break_glass: None,
            decisions: Set::new(decisions.iter().copied()).unwrap(),
            nonce: counterfoil_receipt::text::Nonce::new("nonce-of-a-server-test").unwrap(),
            policy: self.policy(),
            proposal: proposal.id(),
            retries: None,
            use_number: Whole::new(1).unwrap(),
        };
        let run = proposal.run().unwrap();
        let mut parents = decisions.to_vec();
        parents.sort_unstable();
        self.sign_at(&self.cast.gate, Place::Run { log: self.log, run, parents }, body, time)
    }

    /// A run with a proposal that two people have approved, in windows from `from`.
    pub fn approved(&self, event: &str, from: u64) -> (UnverifiedRecord, Vec<RecordId>) {
        let trigger = self.trigger(event);
        let run = RunId::started_by(self.add(&trigger));
        let proposal = self.proposal(run, trigger.id());
        self.add(&proposal);
        let approvals =
            [&self.cast.ana, &self.cast.bo].map(|by| self.decision(by, &proposal, Ruling::Approve, from));
        (proposal, approvals.iter().map(|approval| self.add(approval)).collect())
    }

    /// A run from its trigger to the outcome of its execution, with a payload.
    pub fn whole_run(&self, event: &str) -> RunId {
        let trigger = self.trigger(event);
        let run = RunId::started_by(trigger.id());
        let (item, line) = payload("alert.json", br#"{"disk":"full"}"#);
        let observation = self.observation(run, trigger.id(), vec![item]);
        let proposal = self.proposal(run, observation.id());
        let lines =
            [&line[..], trigger.bytes(), b"\n", observation.bytes(), b"\n", proposal.bytes(), b"\n"].concat();
        assert_eq!(self.post_lines(&lines).status, 200);
        let approvals =
            [&self.cast.ana, &self.cast.bo].map(|by| self.decision(by, &proposal, Ruling::Approve, now()));
        for approval in &approvals {
            self.add(approval);
        }
        let execution = self.execution(&proposal, &approvals.map(|approval| approval.id()), now());
        self.add(&execution);
        let outcome = body::Outcome {
            attestation: None,
            detail: None,
            effects: body::Effects::Complete,
            execution: execution.id(),
            result: None,
            status: Status::Succeeded,
        };
        self.add(&self.sign(&self.cast.gate, self.in_run(run, execution.id()), outcome));
        run
    }

    /// What a reader trusts who knows this log.
    pub fn trust(&self) -> Trust {
        let file = TrustFile {
            genesis: self.log,
            origin: ORIGIN.to_owned(),
            log_keys: vec![self.vkey.to_string()],
            authority: vec![(0, None, vec![self.cast.root.key(), self.cast.spare_root.key()])],
            witnesses: format!("log {}\nquorum none\n", self.vkey),
            dimensions: vec![
                Dimension::Integrity,
                Dimension::Authority,
                Dimension::Conformity,
                Dimension::Inclusion,
            ],
            max_age: None,
        };
        file.trust()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.running.is_some() && !std::thread::panicking() {
            self.stop().unwrap();
        }
    }
}

pub fn sign(
    signer: &dyn Signer,
    principal: &Principal,
    role: Role,
    place: Place,
    body: Body,
    time: u64,
) -> UnverifiedRecord {
    Draft { place, time: millis(time), principal: principal.clone(), role, body }.sign(signer).unwrap()
}

/// A new payload: the item that names it, and its line.
pub fn payload(name: &str, content: &[u8]) -> (Item, Vec<u8>) {
    let opening = Opening { salt: random_salt().unwrap(), label: label(name), content: content.to_vec() };
    let size = Count::new(content.len() as u64).unwrap();
    let item =
        Item { commitment: opening.commitment(), label: label(name), media_type: label("text/plain"), size };
    let mut line = Vec::new();
    write_line(&PayloadLine::disclosing(opening, None), &mut line);
    (item, line)
}

pub fn payload_path(commitment: &Commitment) -> String {
    format!("/v1/payloads/{commitment}")
}

/// Whoever has this token.
pub fn token(text: &str, dir: &Path) -> Access {
    let file = dir.join("token");
    std::fs::write(&file, text).unwrap();
    let flags = counterfoil_server::Overrides {
        read_token_file: Some(file.to_str().unwrap().to_owned()),
        log_dir: Some("a".into()),
        lock_dir: Some("a".into()),
        payload_dir: Some("a".into()),
        genesis: Some("a".into()),
        note_key: Some("a".into()),
        snapshot_key: Some("a".into()),
        ..Default::default()
    };
    Config::load(None, |_| None, flags).unwrap().reads
}

fn genesis(cast: &Cast, vkey: &VerifierKey, log: &RecordKey) -> UnverifiedRecord {
    let body = body::Genesis {
        authority: body::Authority {
            roots: List(vec![cast.root.holder(), cast.spare_root.holder()]),
            threshold: Whole::new(1).unwrap(),
        },
        fold: Whole::new(0).unwrap(),
        limits: body::GenesisLimits {
            record_bytes: Whole::new(65_535).unwrap(),
            run_records: Whole::new(5_000).unwrap(),
        },
        log: body::LogKeys {
            note_keys: List(vec![label(&vkey.to_string())]),
            snapshot: body::Holder { key: Signer::key(log), principal: log.principal().clone() },
        },
        origin: label(ORIGIN),
    };
    sign(cast.root.signer(), &cast.root.principal, Role::Authority, Place::Root, body.into(), now())
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn millis(value: u64) -> Millis {
    Millis::new(value).unwrap()
}

/// One HTTP/1.1 request on a connection of its own.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = begin(address, method, path, headers, body);
    let mut bytes = Vec::new();
    // A server that answers before it has read everything may reset the connection after its answer.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

/// Sends a request and does not wait for the answer.
pub fn begin(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if method == "GET" { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let own_host = if headers.contains("host: ") { "" } else { "host: localhost\r\n" };
    let head = format!("{method} {path} HTTP/1.1\r\n{own_host}connection: close\r\n{length}{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let _ = stream.write_all(body);
    stream
}

pub fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {bytes:?}"));
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap();
    let headers = lines.map(header).collect();
    let mut answer = Answer { status, headers, body: bytes[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body);
    }
    answer
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        rest = chunk.get(length + 2..).unwrap_or(b"");
    }
    body
}
