//! Other people's clients, unmodified, on logs that the real binary serves.
//!
//! `cargo xtask test` builds them and says where they are in `COUNTERFOIL_INTEROP`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;

use std::{
    env,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::{Desk, Log};
use counterfoil_testkit::Effort;
use counterfoil_tlog::{Policy, UnverifiedNote};
use counterfoil_verify::Trust;
use load::Writer;

/// Seconds that one of these programs may take. Tessera's fsck does not end where a tile is damaged.
const PATIENCE: &str = "120";

/// Where the programs are; `None`, said loudly, where nobody built them.
fn programs() -> Option<PathBuf> {
    let found = env::var_os("COUNTERFOIL_INTEROP").map(PathBuf::from).filter(|path| path.is_dir());
    if found.is_none() {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "COUNTERFOIL_INTEROP names no directory of programs"
        );
        eprintln!("NOT TESTED with other people's clients: build them by `cargo xtask interop`");
    }
    found
}

/// Runs one of the programs for a bounded time.
fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "5", PATIENCE]).arg(program).args(arguments);
    command.output().expect("timeout and the program are there")
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Whether Tessera's fsck derives the whole log anew. Its exit status is 0 whatever it finds: only what it says counts.
fn fsck(programs: &Path, desk: &Desk, url: &str, vkey: &str) -> Result<u64, String> {
    desk.write("vkey", vkey);
    let key = desk.path("vkey");
    let arguments = ["--ui=false", "--N=2", "--storage_url", url, "--public_key", key.to_str().unwrap()];
    let said = shown(&run(&programs.join("fsck"), &arguments));
    let size = said.split("Successfully fsck'd log with size ").nth(1).and_then(|rest| {
        rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|size| size.parse().ok())
    });
    size.ok_or(said)
}

/// That torchwood reads every entry, and with formats/proof verifies proofs of many of them.
#[track_caller]
fn read(programs: &Path, url: &str, vkey: &str, entries: u64) {
    let output = run(&programs.join("read"), &[url, vkey]);
    let said = shown(&output);
    assert!(output.status.success() && said.contains(&format!("entries: {entries}\n")), "{said}");
}

#[test]
fn tessera_and_torchwood_read_a_log_of_records() {
    let Some(programs) = programs() else { return };
    let log = Log::init("work", &["--origin", "example.org/log"]);
    let trust = Trust::parse(&log.desk.read("work/trust.toml")).unwrap();
    let vkey = trust.log_keys()[0].to_string();
    // One by one, each followed by a snapshot, and many at once: more than one full tile.
    let (mut writer, trigger) = Writer::start(&log.desk, trust.genesis(), "read by others");
    let client = load::reader(&log.desk, &log.url);
    client.submit(&trigger).unwrap();
    for _ in 0..40 {
        client.submit(&writer.observe(None)).unwrap();
    }
    let records: Vec<u8> = (0..300).flat_map(|_| [writer.observe(None).bytes(), b"\n"].concat()).collect();
    log.desk.write("records", records);
    log.good(&["submit", "records"]);

    let size = fsck(&programs, &log.desk, &log.url, &vkey).unwrap_or_else(|said| panic!("{said}"));
    assert!(size > 380, "{size}");
    read(&programs, &log.url, &vkey, size);
    println!(
        "count other people's programs that read a log of records (fsck, torchwood with formats/proof) 2"
    );
}

#[test]
fn tessera_writes_to_a_raw_log_and_reads_it() {
    let Some(programs) = programs() else { return };
    let desk = Desk::new();
    desk.good(&["init", "raw", "--mode", "raw", "--origin", "example.org/raw"]);
    let (_serving, url) = desk.serve_in("raw");
    let vkey = desk.read("raw/log.vkey").trim().to_owned();
    let integration =
        ["-run_integration_test", "-log_url", &url, "-write_log_url", &url, "-log_public_key", &vkey];
    let output = run(&programs.join("integration.test"), &integration);
    let said = shown(&output);
    assert!(output.status.success() && said.contains("PASS"), "{said}");

    // A tenth of what the hammer writes is there already. It says what went wrong, and ends well.
    desk.write("vkey", &vkey);
    let goal = Effort::from_env().of(3_000, 50_000).to_string();
    let hammer = [
        &["--log_public_key", &vkey, "--log_url", &url, "--leaf_write_goal", &goal, "--max_runtime", "100s"]
            [..],
        &["--show_ui=false", "--dup_chance", "0.1", "--max_read_ops", "500", "--num_readers_random", "8"],
        &["--num_readers_full", "2", "--num_writers", "64", "--max_write_ops", "1000"],
    ];
    let output = run(&programs.join("hammer"), &hammer.concat());
    let said = shown(&output);
    assert!(output.status.success() && !said.contains("x) "), "{said}");

    let size = fsck(&programs, &desk, &url, &vkey).unwrap_or_else(|said| panic!("{said}"));
    read(&programs, &url, &vkey, size);
    println!("count entries that the hammer left and fsck read {size}");
    println!(
        "count other people's programs that write or read a raw log (integration test, hammer, fsck, torchwood) 4"
    );
}

#[test]
fn tessera_reads_a_mirror() {
    let Some(programs) = programs() else { return };
    let desk = Desk::new();
    desk.good(&["init", "raw", "--mode", "raw", "--origin", "example.org/raw"]);
    let vkey = desk.read("raw/log.vkey").trim().to_owned();
    let (_serving, url) = desk.serve_in("raw");
    let export = || desk.good(&["log", "export", "copy", "--from", &url, "--log-key", &vkey]);
    let grow = |entries: std::ops::Range<u32>| {
        for entry in entries {
            assert_eq!(common::add(&url, &format!("entry {entry}")), Some(entry.into()));
        }
        export();
    };
    grow(0..270);
    let (_mirroring, mirror) = desk.serve_with(&["--from", "copy"]);
    assert_eq!(fsck(&programs, &desk, &mirror, &vkey), Ok(270));
    // A width that no checkpoint of the export had comes from the full tile.
    grow(270..530);
    assert_eq!(fsck(&programs, &desk, &mirror, &vkey), Ok(530));
    // What fsck says of a damaged copy shows that it looks.
    let bundle = desk.path("copy/tile/entries/001");
    let mut bytes = std::fs::read(&bundle).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    assert!(fsck(&programs, &desk, &mirror, &vkey).is_err());
}

/// A program that is ended, by its own id, when it goes out of scope.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, said: &Path) -> Self {
        let said = std::fs::File::create(said).unwrap();
        let child = command.stdin(Stdio::null()).stdout(said.try_clone().unwrap()).stderr(said).spawn();
        Self(child.expect("the program is there"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until there is something to see.
#[track_caller]
fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match look() {
            Some(found) => return found,
            None if Instant::now() > deadline => panic!("{what}: not within 30 s"),
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// An address of this machine that nobody has at the moment: not every program says which port it got.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn good(command: &mut Command) -> String {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// torchwood's litewitness, with its key in an agent of its own.
struct Litewitness {
    programs: PathBuf,
    address: String,
    key: String,
    _agent: Running,
}

/// What `witnessctl add-log` and `add-key` write: a log of which nothing is known yet, and its key.
const ADD_LOG: &str = r#"
import base64, hashlib, sqlite3, sys
database, origin, key = sys.argv[1:]
tables = sqlite3.connect(database)
tables.executescript("""
CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL);
CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
CREATE TABLE bastion (origin TEXT NOT NULL, bastion TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin));
""")
empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
tables.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, empty))
tables.execute("INSERT INTO key VALUES (?, ?)", (origin, key))
tables.commit()
"#;

impl Litewitness {
    fn new(programs: &Path, desk: &Desk, origin: &str, log: &str) -> Self {
        let at = |name: &str| desk.path(name);
        good(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at("lw")));
        let listed = good(Command::new("ssh-keygen").arg("-lf").arg(at("lw.pub")));
        let key = listed.split(' ').nth(1).unwrap().to_owned();
        let mut agent = Command::new("ssh-agent");
        let agent = Running::start(agent.arg("-D").arg("-a").arg(at("agent.sock")), &at("agent.said"));
        until("the agent", || at("agent.sock").exists().then_some(()));
        good(Command::new("ssh-add").arg("-q").arg(at("lw")).env("SSH_AUTH_SOCK", at("agent.sock")));
        desk.write("add-log.py", ADD_LOG);
        good(Command::new("python3").arg(at("add-log.py")).arg(at("lw.db")).args([origin, log]));
        Self { programs: programs.to_owned(), address: free(), key, _agent: agent }
    }

    /// Starts it; gives the key that verifies its cosignatures too.
    fn start(&self, desk: &Desk) -> (Running, String) {
        let mut command = Command::new(self.programs.join("litewitness"));
        command.args(["-name", "lite.example/w", "-key", &self.key, "-listen", &self.address]);
        command.arg("-db").arg(desk.path("lw.db")).arg("-ssh-agent").arg(desk.path("agent.sock"));
        let running = Running::start(&mut command, &desk.path("lw.said"));
        let vkey = until("litewitness", || {
            TcpStream::connect(&self.address).ok()?;
            let said = desk.read("lw.said");
            let vkey = said.split("vkey=").nth(1)?.split_whitespace().next()?.trim_matches('"');
            Some(vkey.to_owned())
        });
        (running, vkey)
    }
}

/// transparency-dev's omniwitness with an Ed25519 and an ML-DSA-44 key; its address and both keys.
fn omniwitness(programs: &Path, desk: &Desk, origin: &str, log: &str) -> (Running, String, Vec<String>) {
    let keys = good(Command::new(programs.join("keys")).arg(desk.path(".")).arg("omni.example/w"));
    let logs = format!(
        "Logs:\n  - Origin: {origin}\n    URL: http://127.0.0.1:9/\n    PublicKey: {log}\n    Feeder: none\n"
    );
    desk.write("logs.yaml", logs);
    let (address, metrics) = (free(), free());
    let mut command = Command::new(programs.join("omniwitness"));
    command.args(["--listen", &address, "--metrics_listen", &metrics, "--db_file"]).arg(desk.path("ow.db"));
    for key in ["ed25519.key", "mldsa.key"] {
        command.arg("--private_key_path").arg(desk.path(key));
    }
    command.arg("--additional_logs").arg(desk.path("logs.yaml"));
    let running = Running::start(&mut command, &desk.path("ow.said"));
    until("omniwitness", || TcpStream::connect(&address).ok());
    (running, address, keys.lines().map(str::to_owned).collect())
}

/// Asks the log; gives the status and the body.
fn ask(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(70))).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn litewitness_and_omniwitness_cosign_and_torchwood_verifies_the_quorum() {
    let Some(programs) = programs() else { return };
    let desk = Desk::new();
    let origin = "example.org/witnessed";
    desk.good(&["init", "raw", "--mode", "raw", "--origin", origin]);
    let log = desk.read("raw/log.vkey").trim().to_owned();
    let lite = Litewitness::new(&programs, &desk, origin, &log);
    let (lite_running, lite_key) = lite.start(&desk);
    let (_omni, omni, omni_keys) = omniwitness(&programs, &desk, origin, &log);
    let [ed, ml] = &omni_keys[..] else { panic!("{omni_keys:?}") };
    // One request to the omniwitness brings the lines of both of its keys.
    let only_lite = format!("log {log}\nwitness lite {lite_key} http://{}\n", lite.address);
    let all = format!(
        "{only_lite}witness ed {ed} http://{omni}\nwitness ml {ml} http://{omni}\n\
         group omni all ed ml\ngroup both all lite omni\nquorum both\n"
    );
    desk.write("raw/witnesses.policy", &all);
    let config = desk.read("raw/counterfoil.toml");
    desk.write("raw/counterfoil.toml", format!("{config}\n[witnesses]\npolicy = \"witnesses.policy\"\n"));
    let policy = Policy::parse(all.as_bytes()).unwrap();
    let (_serving, url) = desk.serve_in("raw");
    let witnessed =
        |entry: &str, wait: &str| ask(&url, "POST", &format!("/add?promise=witnessed&wait={wait}"), entry);
    let why = || format!("{}\n{}", ask(&url, "GET", "/healthz", "").1, desk.read("ow.said"));
    for entry in 0..5 {
        let answer = witnessed(&format!("entry {entry}"), "30000");
        assert_eq!(answer, (200, entry.to_string()), "{}", why());
        let (_, note) = ask(&url, "GET", "/checkpoint", "");
        let opened = policy.open(UnverifiedNote::parse(note.as_bytes()).unwrap()).unwrap();
        policy.check_quorum(&opened).unwrap();
        assert_eq!((opened.head().size.0, opened.cosignatures().len(), opened.unknown()), (entry + 1, 3, 0));
    }

    // While one of them is away, the log goes on; afterwards it is asked again, from where it stands.
    drop(lite_running);
    assert_eq!(ask(&url, "POST", "/add", "alone"), (200, "5".to_owned()));
    let (status, late) = witnessed("late", "1500");
    assert!(status == 504 && late.contains("witness-timeout") && late.contains("\"index\":6"), "{late}");
    let (_lite_running, same_key) = lite.start(&desk);
    assert_eq!(same_key, lite_key);
    assert_eq!(witnessed("late", "60000"), (200, "6".to_owned()), "{}", why());

    // torchwood's policies know no ML-DSA keys.
    desk.write("lite.policy", format!("{only_lite}quorum lite\n"));
    let lite_policy = desk.path("lite.policy");
    let output = run(&programs.join("read"), &["-policy", lite_policy.to_str().unwrap(), &url, &log]);
    let said = shown(&output);
    assert!(output.status.success() && said.contains("entries: 7\n"), "{said}");
    assert_eq!(fsck(&programs, &desk, &url, &log), Ok(7));
    println!("count other people's witnesses that cosign checkpoints (litewitness, omniwitness) 2");
}
