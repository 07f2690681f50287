//! Calls of a tool through the MCP gate, beside the same calls through a proxy that only passes lines on; and what calls that are held
//! take of memory.
//!
//! The gate and the log are the real binary, in processes of their own, and the log is on a disk. Server and proxy are this program.

use std::{
    io::{BufRead as _, BufReader, Write as _, stdin, stdout},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    log::Connection,
    report::{Bar, Figure, median, seconds},
};

/// Where the binary is.
const BINARY: &str = "COUNTERFOIL_BINARY";
/// Calls that are timed, of each kind.
const ROUNDS: u64 = 300;
/// Calls that are held at once.
const HELD: u64 = 10_000;
/// How long their proposals may take, all together.
const PATIENCE: Duration = Duration::from_secs(600);

const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "free"
effect = "allow"
uses = 1
match.tool = "box/free"
[[rules]]
name = "ask"
effect = "require"
uses = 1
window = "15m"
segregation = false
requirements = [{count = 1}]
match.tool = "box/ask"
"#;

/// All figures of one log.
pub fn through_a_gate() -> Vec<Figure> {
    let Some(binary) = std::env::var_os(BINARY).map(PathBuf::from) else {
        eprintln!("{BINARY} names no binary of counterfoil: calls through the gate are not measured");
        return Vec::new();
    };
    let directory = std::env::temp_dir().join(format!("counterfoil-figures-gate-{}", std::process::id()));
    let office = Office::open(&binary, &directory);
    let figures = vec![office.added(), office.held()];
    drop(office);
    let _ = std::fs::remove_dir_all(&directory);
    figures
}

/// A log with its server.
struct Office {
    binary: PathBuf,
    directory: PathBuf,
    url: String,
    serving: Child,
}

/// A client of something that speaks lines.
struct Client {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    said: u64,
}

impl Office {
    fn open(binary: &Path, directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a temporary directory");
        let run = |arguments: &[&str]| {
            let status =
                Command::new(binary).args(arguments).current_dir(directory).stdout(Stdio::null()).status();
            assert!(status.expect("the binary").success(), "{arguments:?}");
        };
        run(&["init", ".", "--origin", "example.org/log"]);
        let mut serve = Command::new(binary);
        serve.args(["serve", "--listen", "127.0.0.1:0"]).current_dir(directory).stdout(Stdio::piped());
        let mut serving = serve.spawn().expect("a server");
        let mut line = String::new();
        let stdout = serving.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("where it listens");
        let url = line.trim().strip_prefix("listening on ").expect("where it listens").to_owned();
        std::fs::write(directory.join("policy.toml"), POLICY).expect("a policy");
        run(&["policy", "set", "policy.toml", "--server", &url]);
        Self { binary: binary.to_owned(), directory: directory.to_owned(), url, serving }
    }

    fn gate(&self) -> Client {
        let mut gate = Command::new(&self.binary);
        gate.args(["mcp", "gate", "--name", "box", "--hold", "1h", "--server", &self.url, "--"]);
        gate.arg(std::env::current_exe().expect("this program")).args(["work", "mcp-server"]);
        Client::start(gate.current_dir(&self.directory))
    }

    /// What the gate adds to a call that the policy allows.
    fn added(&self) -> Figure {
        let mut proxy = Command::new(std::env::current_exe().expect("this program"));
        let (mut plain, mut gate) = (Client::start(proxy.args(["work", "mcp-proxy"])), self.gate());
        let call = |client: &mut Client, at: u64| {
            let answer = client.call("free", &json!({"at": at}));
            assert!(answer["result"].is_object() && answer["result"]["isError"] != true, "{answer}");
        };
        for at in 0..20 {
            call(&mut plain, at);
            call(&mut gate, at);
        }
        let (mut through, mut past) = (Vec::new(), Vec::new());
        for at in 20..20 + ROUNDS {
            past.push(seconds(|| call(&mut plain, at)));
            through.push(seconds(|| call(&mut gate, at)));
        }
        let (through, past) = (median(through) * 1e3, median(past) * 1e3);
        Figure {
            figure: "an allowed call through the MCP gate, what it adds to one through a plain proxy, ms",
            value: through - past,
            bar: Bar::AtMost(3.0),
            how: format!(
                "p50 of {ROUNDS} in turn: {through:.2} ms / {past:.2} ms; the log durable on this disk, its execution proven before the server hears of it"
            ),
        }
    }

    /// What calls take that wait for people.
    fn held(&self) -> Figure {
        let mut gate = self.gate();
        let before = self.entries();
        let began = Instant::now();
        for at in 0..HELD {
            gate.begin("ask", &json!({"at": at}));
        }
        // A trigger and a proposal each.
        while self.entries() < before + 2 * HELD {
            assert!(began.elapsed() < PATIENCE, "{} entries", self.entries() - before);
            thread::sleep(Duration::from_millis(200));
        }
        let seconds = began.elapsed().as_secs_f64();
        // The last of them are looked at still.
        thread::sleep(Duration::from_secs(5));
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", gate.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Figure {
            figure: "10,000 calls held by one MCP gate at once, its peak memory, MB",
            value: kilobytes.unwrap_or(f64::NAN) * 1_024.0 / 1e6,
            bar: Bar::AtMost(200.0),
            how: format!("VmHWM of the gate; all were proposed within {seconds:.0} s"),
        }
    }

    fn entries(&self) -> u64 {
        let address = self.url.trim_start_matches("http://").parse().expect("an address");
        let told = Connection::open(address).and_then(|mut log| log.get("/v1/log")).expect("the log answers");
        let told: Value = serde_json::from_slice(&told).expect("JSON");
        told["size"].as_u64().expect("a size")
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.serving.kill();
        let _ = self.serving.wait();
    }
}

impl Client {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let stdin = process.stdin.take().expect("its input");
        let stdout = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, stdin, stdout, said: 0 }
    }

    fn begin(&mut self, tool: &str, arguments: &Value) {
        self.said += 1;
        let params = json!({"name": tool, "arguments": arguments});
        let message = json!({"jsonrpc": "2.0", "id": self.said, "method": "tools/call", "params": params});
        writeln!(self.stdin, "{message}").and_then(|()| self.stdin.flush()).expect("somebody reads");
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        self.begin(tool, arguments);
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("somebody answers");
        serde_json::from_str(&line).expect("a message")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server of two tools that do nothing.
pub fn serve() {
    let tools = ["free", "ask"].map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
    for line in stdin().lines().map_while(Result::ok) {
        let message: Value = serde_json::from_str(&line).expect("a message");
        let result = match message["method"].as_str() {
            Some("tools/list") => json!({"tools": tools}),
            _ => json!({"content": [{"type": "text", "text": "done"}]}),
        };
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        writeln!(stdout(), "{answer}").expect("somebody reads");
    }
}

/// A proxy in front of that server that passes lines on, both ways.
pub fn pass() {
    let mut server = Command::new(std::env::current_exe().expect("this program"));
    let server = server.args(["work", "mcp-server"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut server = server.expect("a server");
    let (mut to, from) = (server.stdin.take().expect("its input"), server.stdout.take().expect("its output"));
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            writeln!(stdout(), "{line}").expect("somebody reads");
        }
    });
    for line in stdin().lines().map_while(Result::ok) {
        writeln!(to, "{line}").expect("the server reads");
    }
    drop(to);
    server.wait().expect("the server ends");
}
