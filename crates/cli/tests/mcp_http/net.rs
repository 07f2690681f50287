//! A log, a server over HTTP, gates in front of it and clients that ask those.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::office::{Office, PATIENCE};

pub const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "harmless"
effect = "allow"
uses = 1
match.any = [
    { tool = "box:roots/list" },
  {tool = "box/read"}, {tool = "box/fail"}, {tool = "box/slow"}, {tool = "box/crash"}, {tool = "box/status*"}, {tool = "box/silent"},
  {tool = "box/garbage"}, {tool = "box/half"}, {tool = "box/large"}, {tool = "box/asks"}, {tool = "box/other"},
]
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

/// A log, and a server of tools that runs in a directory of its own.
pub struct Net {
    pub office: Office,
    server: Child,
    port: u16,
}

/// A gate that runs.
pub struct Gate {
    pub child: Child,
    pub url: String,
}

/// A client: what each of its requests says.
#[derive(Clone)]
pub struct Asking {
    pub url: String,
    pub session: Option<String>,
    pub is_new: bool,
    pub headers: Vec<(&'static str, &'static str)>,
}

/// What a gate answered.
pub struct Answered {
    pub status: u16,
    pub kind: String,
    pub text: String,
    headers: ureq::http::HeaderMap,
}

/// An answer on the way, and what of it was read.
pub struct Waiting {
    from: BufReader<TcpStream>,
}

impl Net {
    pub fn new() -> Self {
        let office = Office::with(POLICY);
        std::fs::create_dir(office.log.desk.path("box")).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/http_server.py");
        let python = std::env::var("COUNTERFOIL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut command = Command::new(python);
        command.arg(program).arg("0").current_dir(office.log.desk.path("box")).stdout(Stdio::piped());
        let mut server = command.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { office, server, port: line.trim().parse().unwrap() }
    }

    fn words(&self, options: &[&str]) -> Vec<String> {
        let mut words = vec!["mcp", "gate", "--name", "box"];
        if !options.contains(&"--server") {
            words.extend(["--server", &self.office.log.url]);
        }
        if !options.contains(&"--listen") {
            words.extend(["--listen", "127.0.0.1:0"]);
        }
        words.extend(options);
        let upstream = format!("http://127.0.0.1:{}/mcp", self.port);
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if !options.contains(&"--upstream") {
            words.extend(["--upstream".to_owned(), upstream]);
        }
        words
    }

    /// Starts a gate with these options.
    pub fn gate(&self, options: &[&str]) -> Gate {
        let words = self.words(options);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut child = self.office.log.desk.command(&words).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("{line}")).trim_end_matches(',').to_owned();
        thread::spawn(move || said.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Gate { child, url }
    }

    /// Why a gate with these options does not start.
    pub fn refused(&self, options: &[&str]) -> String {
        let words = self.words(options);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = self.office.log.desk.command(&words).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.office.log.desk.path("box").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// What a tool left behind.
    pub fn trace(&self, tool: &str) -> String {
        std::fs::read_to_string(self.path(tool)).unwrap_or_default()
    }

    /// Waits until something is there.
    pub fn wait_for(&self, name: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.path(name).exists() {
            assert!(Instant::now() < until, "{name} never comes");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the server heard.
    pub fn heard_all(&self) -> Vec<Value> {
        self.trace("heard").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The requests of a method that it heard.
    pub fn heard(&self, method: &str) -> Vec<Value> {
        self.heard_all().into_iter().filter(|one| one["body"]["method"] == method).collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gate {
    /// A client that speaks 2026-07-28.
    pub fn without_session(&self) -> Asking {
        Asking { url: self.url.clone(), session: None, is_new: true, headers: Vec::new() }
    }

    /// A client with a session of 2025-11-25.
    pub fn session(&self) -> Asking {
        let client = Asking { is_new: false, ..self.without_session() };
        let opened = client.initialize();
        assert_eq!(opened.message()["result"]["protocolVersion"], "2025-11-25", "{}", opened.text);
        let session = opened.header("mcp-session-id").unwrap();
        assert!(!session.contains("upstream"), "the server's name for it is not the client's");
        let client = Asking { session: Some(session), ..client };
        let told = client.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!((told.status, told.text.as_str()), (202, ""));
        client
    }
}

pub fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{result}"))
}

/// A call of a tool.
pub fn call(id: impl Into<Value>, tool: &str, arguments: &Value, meta: Option<&Value>) -> String {
    let mut params = json!({"name": tool, "arguments": arguments});
    if let Some(meta) = meta {
        params["_meta"] = meta.clone();
    }
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params}).to_string()
}

impl Asking {
    /// What a request of 2026-07-28 says of its client.
    pub fn meta(&self) -> Value {
        json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}})
    }

    pub fn initialize(&self) -> Answered {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
        Asking { is_new: false, ..self.clone() }.ask(0, "initialize", params)
    }

    pub fn ask(&self, id: impl Into<Value>, method: &str, mut params: Value) -> Answered {
        if self.is_new {
            let given = params["_meta"].take();
            params["_meta"] = self.meta();
            for (name, value) in given.as_object().into_iter().flatten() {
                params["_meta"][name] = value.clone();
            }
        }
        self.post(&json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}))
    }

    pub fn call(&self, id: impl Into<Value>, tool: &str, arguments: &Value) -> Answered {
        self.ask(id, "tools/call", json!({"name": tool, "arguments": arguments}))
    }

    pub fn post(&self, message: &Value) -> Answered {
        self.send("POST", &message.to_string(), &[])
    }

    pub fn get(&self) -> Answered {
        self.send("GET", "", &[("Accept", "text/event-stream")])
    }

    pub fn delete(&self) -> Answered {
        self.send("DELETE", "", &[])
    }

    /// The headers of a request, some of them others.
    fn all_headers(&self, body: &str, others: &[(&str, &str)]) -> Vec<(String, String)> {
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let mut headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("Accept", "application/json, text/event-stream".to_owned()),
        ];
        if self.is_new {
            headers.push(("MCP-Protocol-Version", "2026-07-28".to_owned()));
            headers.extend(message["method"].as_str().map(|method| ("Mcp-Method", method.to_owned())));
            headers.extend(message["params"]["name"].as_str().map(|name| ("Mcp-Name", name.to_owned())));
            // Each tool of the server demands it.
            let text = message["params"]["arguments"]["text"].as_str().filter(|text| text.is_ascii());
            headers.extend(text.map(|text| ("Mcp-Param-Text", text.to_owned())));
        } else if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id", session.clone()));
            headers.push(("MCP-Protocol-Version", "2025-11-25".to_owned()));
        }
        headers.retain(|(name, _)| !others.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        let own = self.headers.iter().chain(others).map(|(name, value)| (*name, (*value).to_owned()));
        headers.extend(own);
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    pub fn send(&self, method: &str, body: &str, others: &[(&str, &str)]) -> Answered {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        let agent = config.allow_non_standard_methods(true).build().new_agent();
        let mut request = ureq::http::Request::builder().method(method).uri(&self.url);
        for (name, value) in self.all_headers(body, others) {
            request = request.header(name, value);
        }
        let mut answered = if method == "POST" || method == "PUT" {
            agent.run(request.body(body).unwrap()).unwrap()
        } else {
            agent.run(request.body(()).unwrap()).unwrap()
        };
        let kind = answered.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        Answered {
            status: answered.status().as_u16(),
            kind: kind.unwrap_or_default(),
            headers: answered.headers().clone(),
            text: answered.body_mut().with_config().limit(64 << 20).read_to_string().unwrap(),
        }
    }

    /// Begins a call, and does not wait for its answer.
    pub fn begin(&self, id: impl Into<Value>, tool: &str, arguments: &Value) -> Waiting {
        let meta = self.meta();
        let body = call(id, tool, arguments, self.is_new.then_some(&meta));
        self.open("POST", &body, &[])
    }

    /// Subscribes to what the server announces (2026-07-28).
    pub fn subscribe(&self, id: impl Into<Value>, notifications: &Value) -> Waiting {
        let params = json!({"notifications": notifications, "_meta": self.meta()});
        let method = "subscriptions/listen";
        let body = json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params});
        self.open("POST", &body.to_string(), &[])
    }

    /// Opens the stream of what the server says by itself.
    pub fn listen(&self) -> Waiting {
        self.open("GET", "", &[("Accept", "text/event-stream")])
    }

    fn open(&self, method: &str, body: &str, others: &[(&str, &str)]) -> Waiting {
        let host = self.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let mut text =
            format!("{method} /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in self.all_headers(body, others) {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Waiting { from: BufReader::new(stream) }
    }
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<String> {
        Some(self.headers.get(name)?.to_str().unwrap().to_owned())
    }

    /// The messages, in one or in a stream.
    pub fn messages(&self) -> Vec<Value> {
        if self.kind == "text/event-stream" {
            let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
            return data.map(|data| serde_json::from_str(data).unwrap()).collect();
        }
        vec![serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))]
    }

    /// The last of them.
    pub fn message(&self) -> Value {
        self.messages().pop().unwrap()
    }
}

impl Waiting {
    /// The next message, whatever is around it.
    pub fn next(&mut self) -> Option<Value> {
        let (mut line, until) = (String::new(), Instant::now() + PATIENCE);
        loop {
            line.clear();
            if self.from.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A stream that only says that it is there goes on for ever.
            assert!(Instant::now() < until, "no message comes");
            let text = line.trim().trim_start_matches("data: ");
            if text.starts_with('{') {
                return Some(serde_json::from_str(text).unwrap());
            }
            // A body of known length has no end of line.
            if let Some(length) = text.to_ascii_lowercase().strip_prefix("content-length: ") {
                let mut rest = vec![0; length.parse().unwrap()];
                let mut blank = String::new();
                while blank != "\r\n" {
                    blank.clear();
                    self.from.read_line(&mut blank).unwrap();
                }
                self.from.read_exact(&mut rest).unwrap();
                return Some(serde_json::from_slice(&rest).unwrap());
            }
        }
    }

    /// The message that answers.
    pub fn end(&mut self) -> Value {
        loop {
            let message = self.next().expect("an answer");
            if message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Whether no message comes for so long.
    pub fn is_silent(&mut self, long: Duration) -> bool {
        self.from.get_mut().set_read_timeout(Some(long)).unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            match self.from.read_line(&mut line) {
                // A body of known length has no end of line.
                _ if line.contains('{') => return false,
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    }
}
