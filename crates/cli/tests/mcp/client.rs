//! A client of `counterfoil mcp gate`, and the server behind it, which leaves traces.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use serde_json::{Value, json};

use crate::office::Office;

/// A client of a gate.
pub struct Client {
    pub gate: Child,
    pub stdin: Option<ChildStdin>,
    pub lines: mpsc::Receiver<Value>,
    /// All lines so far, as they came.
    pub heard: Arc<Mutex<Vec<String>>>,
}

/// What is harmless is allowed, people are asked about what appends, and nothing else passes.
pub const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "harmless"
effect = "allow"
uses = 1
match.any = [{tool = "box/read"}, {tool = "box/fail"}, {tool = "box/slow"}, {tool = "box/crash"}, {tool = "box/refuse"}, {tool = "box/peek"}, {tool = "box/later"}, {tool = "box:resources/*"}]
[[rules]]
name = "ask"
effect = "require"
uses = 1
window = "15m"
segregation = false
requirements = [{count = 1, surfaces = ["none", "terminal"]}]
match.tool = "box/append"
[[rules]]
name = "never"
effect = "deny"
match.tool = "box/drop"
"#;

impl Office {
    /// A log whose policy is about the tools of the server that leaves traces, and a directory for them.
    pub fn new() -> Self {
        Self::with_box(POLICY)
    }

    /// The same with this policy.
    pub fn with_box(policy: &str) -> Self {
        let office = Self::with(policy);
        std::fs::create_dir(office.log.desk.path("box")).unwrap();
        office
    }

    /// Starts a gate in front of a server, with these options.
    pub fn client(&self, options: &[&str]) -> Client {
        self.client_of(&self.log.url, options)
    }

    /// The same, with the log at this address.
    pub fn client_of(&self, url: &str, options: &[&str]) -> Client {
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/server.py");
        let python = std::env::var("COUNTERFOIL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = format!("cd box && exec {python} {}", server.display());
        let line =
            [&["mcp", "gate", "--name", "box", "--server", url], options, &["--", "sh", "-c", &script]];
        let mut gate = self.log.desk.command(&line.concat());
        gate.env("COUNTERFOIL_TOKEN", "not-for-servers");
        let mut gate = gate.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (gate.stdin.take(), gate.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let all = Arc::clone(&heard);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let message = serde_json::from_str(&line).expect("each line is a message");
                all.lock().unwrap().push(line);
                let _ = to.send(message);
            }
        });
        Client { gate, stdin, lines, heard }
    }

    /// What a tool left behind.
    pub fn trace(&self, tool: &str) -> String {
        std::fs::read_to_string(self.trace_path(tool)).unwrap_or_default()
    }

    /// Waits until a tool left something behind.
    pub fn wait_for(&self, tool: &str) {
        for _ in 0..2_000 {
            if self.trace_path(tool).exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("nobody called {tool}");
    }

    pub fn trace_path(&self, tool: &str) -> PathBuf {
        self.log.desk.path("box").join(tool)
    }
}

impl Client {
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).unwrap();
    }

    pub fn begin(&mut self, id: i64, tool: &str, arguments: &Value) {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}});
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
    }

    /// The next message that is not about progress.
    pub fn next(&self) -> Value {
        loop {
            let message = self.lines.recv_timeout(Duration::from_secs(20)).expect("the gate answers");
            if message["method"] != "notifications/progress" {
                return message;
            }
        }
    }

    /// The answer to a request.
    pub fn answer(&self, id: i64) -> Value {
        let message = self.next();
        assert_eq!(message["id"], id, "{message}");
        message
    }

    pub fn call(&mut self, id: i64, tool: &str, arguments: &Value) -> Value {
        self.begin(id, tool, arguments);
        let answer = self.answer(id);
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    pub fn is_silent(&self, millis: u64) {
        let said = self.lines.recv_timeout(Duration::from_millis(millis));
        assert!(said.as_ref().map_or(true, |said| said["method"] == "notifications/progress"), "{said:?}");
    }

    /// Closes the input, and waits for the end.
    pub fn close(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.gate.wait().unwrap().code()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.gate.kill();
        let _ = self.gate.wait();
    }
}

/// What the result of a tool says.
pub fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}
