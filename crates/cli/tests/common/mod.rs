//! Running the real binary in a directory of its own.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops")]

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A directory in which commands are run.
pub struct Desk {
    dir: tempfile::TempDir,
    /// What every command finds in its environment.
    pub environment: Vec<(&'static str, String)>,
}

/// How a command ended.
pub struct Ran {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A server that is stopped when it goes out of scope.
pub struct Serving(Child);

/// A new log in a directory of its own, with its server running.
pub struct Log {
    /// Where commands run.
    pub desk: Desk,
    /// The server's address.
    pub url: String,
    directory: &'static str,
    serving: Serving,
}

impl Desk {
    /// An empty directory.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// A file of the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Reads a file.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Every path below, without those that a running server changes.
    pub fn listing(&self) -> Vec<String> {
        fn walk(dir: &Path, root: &Path, out: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                out.push(path.strip_prefix(root).unwrap().display().to_string());
                if path.is_dir() {
                    walk(&path, root, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut out);
        out.sort();
        out
    }

    /// The command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_counterfoil"));
        let inherited =
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COUNTERFOIL_"));
        inherited.for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.args(arguments).current_dir(self.dir.path()).env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs the command with nothing on standard input.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs the command with this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ran {
            code: output.status.code().expect("the command was not killed"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn good(&self, arguments: &[&str]) -> String {
        self.run(arguments).good()
    }

    /// Calls the tool `read` once through a gate that this line starts, in front of the tests' server, which runs here; what is answered.
    pub fn mcp_call(&self, gate: &[&str]) -> serde_json::Value {
        let server = format!("{}/tests/mcp/server.py", env!("CARGO_MANIFEST_DIR"));
        let python = std::env::var("COUNTERFOIL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut gate = self.command(&[gate, &["--", &python, &server]].concat());
        let mut gate = gate.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let params = serde_json::json!({"name": "read", "arguments": {}});
        let call = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let mut stdin = gate.stdin.take().unwrap();
        writeln!(stdin, "{call}").unwrap();
        let mut line = String::new();
        BufReader::new(gate.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        drop(stdin);
        gate.wait().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Makes a key file.
    pub fn key(&self, role: &str, principal: &str, file: &str) {
        self.good(&["keys", "new", "--role", role, "--principal", principal, "--out", file]);
    }

    /// Runs a command that has to succeed, and gives the JSON that it printed.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        self.run(&before_dashes(arguments, &["--json"])).json()
    }

    /// Starts the server of this directory on a free port; gives its address.
    pub fn serve(&self) -> (Serving, String) {
        self.serve_in(".")
    }

    /// Starts the server of a directory below.
    pub fn serve_in(&self, directory: &str) -> (Serving, String) {
        self.serve_with(&["-C", directory])
    }

    /// Starts a server with these options on a free port.
    pub fn serve_with(&self, options: &[&str]) -> (Serving, String) {
        self.serve_at("127.0.0.1:0", options)
    }

    /// Starts a server with these options at this address.
    pub fn serve_at(&self, address: &str, options: &[&str]) -> (Serving, String) {
        let mut command = self.command(&[&["serve", "--listen", address], options].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("listening on ").expect("the server says where it listens").to_owned();
        (Serving(child), url)
    }
}

impl Log {
    /// A log in the directory itself.
    pub fn new() -> Self {
        Self::init(".", &["--origin", "example.org/log"])
    }

    /// A log in a directory below, made with these options.
    pub fn init(directory: &'static str, options: &[&str]) -> Self {
        let desk = Desk::new();
        desk.good(&[&["init", directory][..], options].concat());
        let (serving, url) = desk.serve_in(directory);
        Self { desk, url, directory, serving }
    }

    /// Kills the server.
    pub fn stop(&mut self) {
        let _ = self.serving.0.kill();
        let _ = self.serving.0.wait();
    }

    /// Starts it again, at the address that it had.
    pub fn start_again(&mut self) {
        let address = self.url.strip_prefix("http://").unwrap();
        (self.serving, self.url) = self.desk.serve_at(address, &["-C", self.directory]);
    }

    /// Runs a command on this log.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    /// Runs a command on this log with this on standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Ran {
        self.desk.run_with(&before_dashes(arguments, &["-C", self.directory, "--server", &self.url]), input)
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn good(&self, arguments: &[&str]) -> String {
        self.run(arguments).good()
    }

    /// Runs a command that has to succeed, and gives the JSON that it printed.
    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        self.run(&before_dashes(arguments, &["--json"])).json()
    }

    /// Starts a run.
    pub fn trigger(&self) -> String {
        let logged = self.json(&["trigger", "--source", "alerts", "--id", "4711"]);
        logged["run"].as_str().unwrap().to_owned()
    }

    /// Proposes a harmless action; gives the proposal's id.
    pub fn propose(&self, run: &str) -> String {
        self.desk.write("vacuum.json", r#"{"tool": "db.vacuum", "arguments": {}}"#);
        let propose = ["propose", run, "--action", "vacuum.json", "--for", "runtime", "--risk", "low"];
        self.json(&propose)["id"].as_str().unwrap().to_owned()
    }
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => assert!(fs::copy(path, to.join(name)).is_ok()),
        }
    }
}

/// A command with further options; they stand before `--`.
pub fn before_dashes<'w>(arguments: &[&'w str], options: &[&'w str]) -> Vec<&'w str> {
    let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
    [&arguments[..at], options, &arguments[at..]].concat()
}

impl Ran {
    /// What it printed; it succeeded.
    pub fn good(self) -> String {
        assert_eq!(self.code, 0, "{}", self.shown());
        self.stdout
    }

    /// The JSON that it printed; it succeeded.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.good()).unwrap()
    }

    /// That it failed with this status and code.
    pub fn failed(&self, status: i32, code: &str) {
        let is = self.code == status && self.stderr.contains(&format!("error[{code}]"));
        assert!(is, "{status} {code}: {}", self.shown());
    }

    /// Everything, as a person sees it.
    pub fn shown(&self) -> String {
        format!("{}{}[exit {}]\n", self.stdout, self.stderr, self.code)
    }
}

/// A request to this URL; what it is answered with status 200, or nothing.
pub fn ask(url: &str, method: &str, path: &str, body: &[u8]) -> Option<Vec<u8>> {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    answer.starts_with(b"HTTP/1.1 200 ").then(|| answer[end + 4..].to_vec())
}

/// Adds an entry to a raw log; gives its index if it was acknowledged.
pub fn add(url: &str, entry: &str) -> Option<u64> {
    String::from_utf8(ask(url, "POST", "/add", entry.as_bytes())?).ok()?.parse().ok()
}

impl Serving {
    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
