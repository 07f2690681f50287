//! Clients on the official SDKs, gates that they start, and the servers behind those.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::office::{Office, PATIENCE};

/// What the clients are made of.
const PROGRAMS: [(&str, &str); 8] = [
    ("commands.mjs", include_str!("commands.mjs")),
    ("commands.py", include_str!("commands.py")),
    ("loopback.mjs", include_str!("loopback.mjs")),
    ("py1.py", include_str!("py1.py")),
    ("py2.py", include_str!("py2.py")),
    ("small.mjs", include_str!("small.mjs")),
    ("ts1.mjs", include_str!("ts1.mjs")),
    ("ts2.mjs", include_str!("ts2.mjs")),
];

/// An SDK that a client is built on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// TypeScript 1.x, which speaks 2025-11-25.
    Ts1,
    /// TypeScript 2.x, which speaks both revisions, and starts the server once more to ask which.
    Ts2,
    /// Python 1.x, which speaks 2025-11-25, and never says that it gave a call up.
    Py1,
    /// Python 2.x, which speaks both revisions.
    Py2,
}

/// A server of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `@modelcontextprotocol/server-filesystem`, of 2025-11-25.
    Files,
    /// `@modelcontextprotocol/server-everything`, of 2025-11-25.
    Everything,
    /// `mcp-server-git`, of both.
    Git,
    /// `small.mjs`, of 2026-07-28 alone.
    Small,
}

/// A log, a directory with a server's files, and the SDK of those who use it.
pub struct Setting {
    /// The log.
    pub office: Office,
    sdk: Sdk,
    /// What it is in front of.
    pub server: Server,
    packages: PathBuf,
}

/// A client that runs, with its gate and server.
pub struct Client<'s> {
    setting: &'s Setting,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<Value>,
    seen: Vec<Value>,
    calls: u64,
    /// Gate and server, where the client did not start them.
    beside: Vec<Child>,
    /// The revision that it speaks.
    pub protocol: String,
}

/// The packages; `None`, said loudly, where nobody installed them.
fn packages() -> Option<PathBuf> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/mcp");
    let packages = env::var_os("COUNTERFOIL_MCP").map_or(ours, PathBuf::from);
    if packages.join("installed.txt").is_file() {
        return Some(packages);
    }
    let why = format!("{} has no clients and servers: cargo xtask mcp installs them", packages.display());
    assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
    eprintln!("NOT TESTED with other people's MCP clients and servers: {why}");
    None
}

impl Setting {
    /// A log with this policy, and files for the server; `None` where the packages are not installed.
    pub fn new(sdk: Sdk, server: Server, policy: &str) -> Option<Self> {
        let packages = packages()?;
        let setting = Self { office: Office::with(policy), sdk, server, packages };
        fs::create_dir_all(setting.path("sdk")).unwrap();
        for (name, text) in PROGRAMS {
            fs::write(setting.path("sdk").join(name), text).unwrap();
        }
        let modules = fs::canonicalize(setting.packages.join("node_modules")).unwrap();
        std::os::unix::fs::symlink(modules, setting.path("sdk/node_modules")).unwrap();
        fs::create_dir(setting.path("data")).unwrap();
        fs::write(setting.path("data/hello"), "hello").unwrap();
        if server == Server::Git {
            setting.git(&["init", "-q", "-b", "main"]);
            setting.git(&["config", "user.name", "ana"]);
            setting.git(&["config", "user.email", "ana@example.org"]);
            setting.git(&["add", "hello"]);
            setting.git(&["commit", "-q", "-m", "hello"]);
            // What a commit would take.
            fs::write(setting.path("data/hello"), "changed").unwrap();
            setting.git(&["add", "hello"]);
        }
        Some(setting)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.office.log.desk.path(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(self.path("data")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        let output = git.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A tool that the policy allows; its answer says `hello`.
    pub fn allowed(&self) -> (&'static str, Value) {
        match self.server {
            Server::Files => ("read_text_file", json!({"path": self.text("data/hello")})),
            Server::Everything => ("echo", json!({"message": "hello"})),
            Server::Git => ("git_log", json!({"repo_path": self.text("data")})),
            Server::Small => ("look", json!({})),
        }
    }

    /// One that it denies.
    pub fn denied(&self) -> (&'static str, Value) {
        let moved = || json!({"source": self.text("data/hello"), "destination": self.text("data/moved")});
        match self.server {
            Server::Files => ("move_file", moved()),
            Server::Everything => ("get-env", json!({})),
            Server::Git => {
                ("git_create_branch", json!({"repo_path": self.text("data"), "branch_name": "moved"}))
            }
            Server::Small => ("erase", json!({"name": "hello"})),
        }
    }

    /// One that people have to approve, which leaves this name behind.
    pub fn asked(&self, name: &str) -> (&'static str, Value) {
        match self.server {
            Server::Files => {
                ("write_file", json!({"path": self.text(&format!("data/{name}")), "content": name}))
            }
            Server::Everything => ("get-sum", json!({"a": 40, "b": name.len()})),
            Server::Git => ("git_commit", json!({"repo_path": self.text("data"), "message": name})),
            Server::Small => ("write", json!({"name": name, "text": name})),
        }
    }

    /// One whose proposal ends two seconds after it was made.
    pub fn asked_in_haste(&self, name: &str) -> (&'static str, Value) {
        match self.server {
            Server::Files => ("create_directory", json!({"path": self.text(&format!("data/{name}"))})),
            Server::Small => ("make", json!({"name": name})),
            Server::Everything | Server::Git => panic!("{:?} has no such tool", self.server),
        }
    }

    /// One whose approval is good for two seconds.
    pub fn asked_briefly(&self) -> (&'static str, Value) {
        let edits = json!([{"oldText": "hello", "newText": "changed"}]);
        match self.server {
            Server::Files => ("edit_file", json!({"path": self.text("data/hello"), "edits": edits})),
            Server::Small => ("change", json!({"text": "changed"})),
            Server::Everything | Server::Git => panic!("{:?} has no such tool", self.server),
        }
    }

    /// One that is allowed, and takes some seconds.
    pub fn slow(&self, seconds: u32) -> (&'static str, Value) {
        match self.server {
            Server::Everything => {
                ("trigger-long-running-operation", json!({"duration": seconds, "steps": 4 * seconds}))
            }
            Server::Small => ("slow", json!({"name": "slow", "seconds": seconds})),
            Server::Files | Server::Git => panic!("{:?} has no such tool", self.server),
        }
    }

    /// What tools left behind: names of files, or messages of commits. `None` of a server that leaves nothing.
    pub fn left(&self) -> Option<Vec<String>> {
        if self.server == Server::Everything {
            return None;
        }
        let mut left: Vec<String> = if self.server == Server::Git {
            assert_eq!(self.git(&["branch", "--format", "%(refname:short)"]), "main\n");
            self.git(&["log", "--format=%s"]).lines().map(str::to_owned).collect()
        } else {
            let listed = fs::read_dir(self.path("data")).unwrap();
            listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        left.sort();
        Some(left)
    }

    /// That this is all that tools left behind, beside what was there.
    pub fn has_left(&self, names: &[&str]) {
        let Some(left) = self.left() else { return };
        let mut expected = [&["hello"], names].concat();
        expected.sort_unstable();
        assert_eq!(left, expected);
        if self.server != Server::Git {
            assert_eq!(self.content("hello"), "hello");
        }
    }

    /// That the slow tool began once and did not end, where that leaves something.
    pub fn began_once(&self) {
        if self.server == Server::Small {
            assert_eq!(self.content("slow"), "begun ");
        }
    }

    fn content(&self, name: &str) -> String {
        fs::read_to_string(self.path("data").join(name)).unwrap_or_default()
    }

    /// The newest revision that both speak.
    pub fn protocol(&self) -> &'static str {
        let is_new =
            matches!(self.sdk, Sdk::Ts2 | Sdk::Py2) && matches!(self.server, Server::Git | Server::Small);
        if is_new { "2026-07-28" } else { "2025-11-25" }
    }

    /// The newest revision that the SDK speaks.
    pub fn newest(&self) -> &'static str {
        if matches!(self.sdk, Sdk::Ts2 | Sdk::Py2) { "2026-07-28" } else { "2025-11-25" }
    }

    fn server_command(&self) -> Vec<String> {
        let program = |name: &str| self.packages.join(name).to_str().unwrap().to_owned();
        match self.server {
            Server::Files => {
                vec![program("node_modules/.bin/mcp-server-filesystem"), self.text("data")]
            }
            Server::Everything => {
                vec![program("node_modules/.bin/mcp-server-everything"), "stdio".to_owned()]
            }
            Server::Git => {
                vec![program("2/bin/mcp-server-git"), "--repository".to_owned(), self.text("data")]
            }
            Server::Small => vec!["node".to_owned(), self.text("sdk/small.mjs"), self.text("data")],
        }
    }

    /// The name of the server in policies.
    fn name(&self) -> &'static str {
        match self.server {
            Server::Files => "files",
            Server::Everything => "everything",
            Server::Git => "git",
            Server::Small => "small",
        }
    }

    /// Starts a client, which starts a gate with these options, which starts the server.
    pub fn client(&self, options: &[&str]) -> Client<'_> {
        let gate = [&["gate", "--name", self.name()], options, &["--"]].concat();
        let server = [self.noted("servers"), self.server_command()].concat();
        self.start_of([self.counterfoil(&gate), server].concat())
    }

    /// Starts a client of the server of tools of our own.
    pub fn agent(&self) -> Client<'_> {
        fs::write(self.path("servers"), "").unwrap();
        self.start_of(self.counterfoil(&["serve"]))
    }

    /// `counterfoil mcp` on this log, saying which process it is.
    fn counterfoil(&self, arguments: &[&str]) -> Vec<String> {
        let at = self.text(".");
        let at = ["--server", &self.office.log.url, "-C", &at];
        let command = [&[env!("CARGO_BIN_EXE_counterfoil"), "mcp"], &arguments[..1], &at, &arguments[1..]];
        let command = command.concat().into_iter().map(str::to_owned).collect();
        [self.noted("gates"), command].concat()
    }

    /// What says in a file which process it is, before it becomes the command that follows.
    fn noted(&self, file: &str) -> Vec<String> {
        let script = format!("echo $$ >> '{}'; exec \"$@\"", self.text(file));
        vec!["sh".to_owned(), "-c".to_owned(), script, "sh".to_owned()]
    }

    /// Starts a client of what this command starts.
    fn start_of(&self, server: Vec<String>) -> Client<'_> {
        let mut command = self.program();
        command.args(server);
        self.start(command, Vec::new())
    }

    /// The program of a client.
    fn program(&self) -> Command {
        let (program, script) = match self.sdk {
            Sdk::Ts1 => (PathBuf::from("node"), "sdk/ts1.mjs"),
            Sdk::Ts2 => (PathBuf::from("node"), "sdk/ts2.mjs"),
            Sdk::Py1 => (self.packages.join("1/bin/python"), "sdk/py1.py"),
            Sdk::Py2 => (self.packages.join("2/bin/python"), "sdk/py2.py"),
        };
        let mut command = Command::new(program);
        command.arg(script).current_dir(self.path("."));
        command
    }

    /// Starts the server over HTTP, a gate with these options in front of it, and a client that asks the gate.
    pub fn client_over_http(&self, options: &[&str]) -> Client<'_> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("node");
        match self.server {
            Server::Everything => {
                let program =
                    self.packages.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
                command.args(["--import", "./sdk/loopback.mjs"]).arg(program).arg("streamableHttp");
            }
            Server::Small => {
                command.arg("sdk/small.mjs").arg(self.path("data")).arg(port.to_string());
            }
            Server::Files | Server::Git => panic!("{:?} does not speak HTTP", self.server),
        }
        let said = || fs::OpenOptions::new().create(true).append(true).open(self.path("said")).unwrap();
        command.env("PORT", port.to_string()).current_dir(self.path(".")).stdin(Stdio::null());
        let server = command.stdout(said()).stderr(said()).spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        let upstream = format!("http://127.0.0.1:{port}/mcp");
        let words =
            ["mcp", "gate", "--name", self.name(), "--listen", "127.0.0.1:0", "--upstream", &upstream];
        let log = ["--server", &self.office.log.url];
        let mut command = self.office.log.desk.command(&[&words[..], &log, options].concat());
        let mut gate = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut noted = BufReader::new(gate.stderr.take().unwrap());
        let mut line = String::new();
        noted.read_line(&mut line).unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http:"))
            .unwrap_or_else(|| panic!("{line}"));
        let mut command = self.program();
        command.arg(url.trim_end_matches(','));
        let mut log = said();
        thread::spawn(move || {
            noted.lines().map_while(Result::ok).for_each(|line| drop(writeln!(log, "{line}")))
        });
        for (file, child) in [("gates", &gate), ("servers", &server)] {
            fs::write(self.path(file), format!("{}\n", child.id())).unwrap();
        }
        self.start(command, vec![gate, server])
    }

    fn start(&self, mut command: Command, beside: Vec<Child>) -> Client<'_> {
        let said = fs::OpenOptions::new().create(true).append(true).open(self.path("said")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = to.send(serde_json::from_str(&line).expect("each line is JSON"));
            }
        });
        let mut client = Client {
            setting: self,
            child,
            stdin,
            lines,
            seen: Vec::new(),
            calls: 0,
            beside,
            protocol: String::new(),
        };
        let opened = client.hear(|line| line.get("protocol").is_some());
        opened["protocol"].as_str().unwrap().clone_into(&mut client.protocol);
        client
    }

    /// Kills the gate that was started last, or the server.
    pub fn kill(&self, what: &str) {
        let id = *self.processes(what).last().unwrap();
        kill_process(id, Signal::KILL).unwrap();
    }

    fn processes(&self, what: &str) -> Vec<Pid> {
        let noted = fs::read_to_string(self.path(what)).unwrap();
        noted.lines().map(|line| Pid::from_raw(line.parse().unwrap()).unwrap()).collect()
    }

    /// That neither gates nor servers go on running, soon after their client went.
    pub fn nothing_goes_on(&self) {
        let until = Instant::now() + PATIENCE;
        for what in ["gates", "servers"] {
            for id in self.processes(what) {
                while goes_on(id) {
                    assert!(Instant::now() < until, "one of the {what} goes on: {id:?}");
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
}

/// Whether a process goes on: not one that ended, and that nobody asked about.
fn goes_on(id: Pid) -> bool {
    let command = fs::read(format!("/proc/{}/cmdline", id.as_raw_nonzero()));
    test_kill_process(id).is_ok() && command.map_or(true, |command| !command.is_empty())
}

impl Drop for Setting {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{:?} and {:?}: {}", self.sdk, self.server, self.office.log.desk.read("said"));
        }
    }
}

impl Client<'_> {
    fn tell(&mut self, line: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// The first line that is so, of those that were not asked for before.
    fn hear(&mut self, is: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.seen.iter().position(&is) {
            return self.seen.remove(at);
        }
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if is(&line) => return line,
                Ok(line) => self.seen.push(line),
                Err(why) => panic!("the client says nothing more ({why}), only {:?}", self.seen),
            }
        }
    }

    /// Begins a call; gives its number.
    pub fn begin(&mut self, (tool, arguments): (&str, Value)) -> u64 {
        self.calls += 1;
        let id = self.calls;
        self.tell(&json!({"do": "call", "id": id, "tool": tool, "arguments": arguments}));
        id
    }

    /// What became of a call, as its SDK sees it.
    pub fn end(&mut self, id: u64) -> Result<Value, String> {
        let ended =
            self.hear(|line| line["id"] == id && (line.get("result").or(line.get("error")).is_some()));
        match ended.get("error") {
            Some(error) => Err(error.as_str().unwrap().to_owned()),
            None => Ok(ended["result"].clone()),
        }
    }

    /// Waits until the server says that it is at it.
    pub fn wait_for_progress(&mut self, id: u64) {
        self.hear(|line| line["id"] == id && line.get("progress").is_some());
    }

    /// Calls a tool and waits for the result.
    pub fn call(&mut self, call: (&str, Value)) -> Value {
        let id = self.begin(call);
        self.end(id).unwrap()
    }

    /// Whether anybody hears that it gives a call up: of Python 1.x nobody does over HTTP, where its request goes on.
    pub fn says_what_it_gives_up(&self) -> bool {
        self.setting.sdk != Sdk::Py1
    }

    /// Gives a call up.
    pub fn cancel(&mut self, id: u64) {
        self.tell(&json!({"do": "cancel", "id": id}));
    }

    /// The names of the tools that it sees.
    pub fn tools(&mut self) -> Vec<String> {
        self.tell(&json!({"do": "list", "id": "tools"}));
        let listed = self.hear(|line| line["id"] == "tools");
        let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Has it close the connection and end, and everything that was started.
    pub fn exit(self) {
        let setting = self.setting;
        self.exit_alone();
        setting.nothing_goes_on();
    }

    /// The same, where others go on.
    pub fn exit_alone(mut self) {
        self.tell(&json!({"do": "exit"}));
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the client does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        for child in [&mut self.child].into_iter().chain(&mut self.beside) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
