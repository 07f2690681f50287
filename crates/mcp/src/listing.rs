//! What tools a server has, asked without a log: so that a policy can say which definitions it is about.

use std::{
    io::{self, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use counterfoil_receipt::hashes::SchemaDigest;
use serde_json::{Value, json};

use crate::{
    limits,
    lines::{self, Line},
    message::{self, FromServer, Id},
    pool::spawn,
    proxy::{CAPABILITIES, VERSION},
    reply,
    tools::{Page, Tools},
};

/// The revision before each request says who asks; and the one since.
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

/// A server that was started to be asked.
struct Server {
    process: Child,
    to: Option<ChildStdin>,
    lines: mpsc::Receiver<io::Result<Option<Line>>>,
    asked: i64,
    /// What each request says of itself, under the newer revision.
    meta: Option<Value>,
}

/// Starts a server, asks it for its tools, and ends it: name and digest of the definition of each, in the order of the list.
///
/// # Errors
/// Why there is no list, for a person.
pub fn tools_of(command: &mut Command) -> Result<Vec<(String, SchemaDigest)>, String> {
    let mut server = Server::start(command).map_err(|fault| format!("it did not start: {fault}"))?;
    let who = json!({"name": "counterfoil", "version": env!("CARGO_PKG_VERSION")});
    let opening = json!({"protocolVersion": REVISIONS[0], "capabilities": {}, "clientInfo": who});
    if server.ask("initialize", opening)?.is_ok() {
        server.say(None, "notifications/initialized", &json!({}))?;
    } else {
        let client = "io.modelcontextprotocol/clientInfo";
        server.meta = Some(json!({VERSION: REVISIONS[1], CAPABILITIES: {}, client: who}));
    }
    let (mut tools, mut listed, mut cursor) = (Tools::default(), Vec::new(), None);
    let until = Instant::now() + limits::LISTING;
    for _ in 0..limits::PAGES {
        let mut params = json!({});
        if let Some(cursor) = cursor {
            params["cursor"] = Value::String(cursor);
        }
        let page = Page::parse(&server.ask_until("tools/list", params, until)??)?;
        tools.add(&page)?;
        listed.extend(page.tools.into_iter().map(|(name, tool, _)| (name, tool.definition)));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(listed);
        }
    }
    Err(format!("it lists its tools on more than {} pages", limits::PAGES))
}

impl Server {
    fn start(command: &mut Command) -> io::Result<Self> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        let (sender, lines) = mpsc::sync_channel(64);
        let reading = spawn(move || {
            let Some(from) = from else { return };
            let mut from = BufReader::new(from);
            loop {
                let line = lines::next(&mut from);
                let is_last = !matches!(line, Ok(Some(_)));
                if sender.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        let server = Self { process, to, lines, asked: 0, meta: None };
        // Without it the server ends as it always does.
        reading.map(|()| server)
    }

    /// What the server answers; `Ok(Err(_))` if it says that it can't.
    fn ask(&mut self, method: &str, params: Value) -> Result<Result<String, String>, String> {
        self.ask_until(method, params, Instant::now() + limits::LISTING)
    }

    fn ask_until(
        &mut self,
        method: &str,
        mut params: Value,
        until: Instant,
    ) -> Result<Result<String, String>, String> {
        self.asked += 1;
        let own = Id::Number(self.asked);
        if let Some(meta) = &self.meta {
            params["_meta"] = meta.clone();
        }
        self.say(Some(&own), method, &params)?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let late = |_| format!("it did not answer {method} within {} s", limits::LISTING.as_secs());
            let line = match self.lines.recv_timeout(left).map_err(late)? {
                Ok(Some(Line::Whole(line))) => line,
                Ok(Some(Line::TooLong(_))) => {
                    return Err(format!("it sent a message of more than {} bytes", limits::MESSAGE_BYTES));
                }
                Ok(None) => return Err(format!("it ended before it answered {method}")),
                Err(fault) => return Err(fault.to_string()),
            };
            let line = String::from_utf8(line).map_err(|fault| fault.to_string())?;
            match FromServer::parse(&line).map_err(|why| format!("it sent what is no message: {why}"))? {
                FromServer::Result { id, result } if id == own => return Ok(Ok(result.get().to_owned())),
                FromServer::Error { id, code, message } if id.as_ref().is_none_or(|id| *id == own) => {
                    return Ok(Err(format!("it says: {message} ({code})")));
                }
                // Nobody is here whom it could ask for anything.
                FromServer::Request { id, .. } => {
                    let why = "only the tools are asked for";
                    self.write(&reply::error(Some(&id), message::NO_METHOD, "mcp-method", why))?;
                }
                FromServer::Result { .. } | FromServer::Error { .. } | FromServer::Notification { .. } => {}
            }
        }
    }

    fn say(&mut self, id: Option<&Id>, method: &str, params: &Value) -> Result<(), String> {
        let text = reply::message(id, method, params).map_err(|fault| fault.to_string())?;
        self.write(&text)
    }

    fn write(&mut self, line: &str) -> Result<(), String> {
        let to = self.to.as_mut().ok_or("it has no standard input")?;
        let written =
            to.write_all(line.as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
        written.map_err(|fault| format!("it does not read: {fault}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // That its input is closed tells it to end.
        drop(self.to.take());
        let began = Instant::now();
        while began.elapsed() < limits::SHUTDOWN {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
