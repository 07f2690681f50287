//! A client of `counterfoil mcp serve`, as a process on its streams.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::office::{Office, PATIENCE};

/// Revisions of the protocol: one that is opened, and one in which each request says who asks.
pub const OPENED: &str = "2025-11-25";
pub const STATELESS: &str = "2026-07-28";

/// A client of a server of tools.
pub struct Client {
    pub server: Child,
    pub stdin: Option<ChildStdin>,
    pub lines: mpsc::Receiver<Value>,
    revision: &'static str,
    calls: i64,
}

impl Office {
    /// Starts the server of tools with these options, and opens the connection.
    pub fn client(&self, revision: &'static str, options: &[&str]) -> Client {
        let mut client = self.silent(revision, options);
        if revision == STATELESS {
            let found = client.ask("server/discover", json!({}));
            let supported = found["result"]["supportedVersions"].as_array().unwrap();
            assert!(supported.contains(&json!(STATELESS)), "{found}");
        } else {
            let who = json!({"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
            let opened = client.ask("initialize", who);
            assert_eq!(opened["result"]["protocolVersion"], revision, "{opened}");
            client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string());
        }
        client
    }

    /// The same, without a word.
    pub fn silent(&self, revision: &'static str, options: &[&str]) -> Client {
        self.silent_at(&self.log.url, revision, options)
    }

    /// The same, with the log at this address.
    pub fn silent_at(&self, url: &str, revision: &'static str, options: &[&str]) -> Client {
        let line = [&["mcp", "serve", "--server", url], options].concat();
        let mut server = self.log.desk.command(&line);
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (server.stdin.take(), server.stdout.take().unwrap());
        let (to, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = to.send(serde_json::from_str(&line).expect("each line is a message"));
            }
        });
        Client { server, stdin, lines, revision, calls: 0 }
    }
}

impl Client {
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\n")).unwrap();
    }

    /// Sends a request; gives its id.
    pub fn begin(&mut self, method: &str, mut params: Value) -> i64 {
        self.calls += 1;
        if self.revision == STATELESS {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(STATELESS);
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "t", "version": "1"});
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let request = json!({"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params});
        self.say(&request.to_string());
        self.calls
    }

    pub fn begin_call(&mut self, tool: &str, arguments: Value) -> i64 {
        self.begin("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    pub fn next(&self) -> Value {
        self.lines.recv_timeout(PATIENCE).expect("the server answers")
    }

    pub fn answer(&self, id: i64) -> Value {
        let answer = self.next();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params);
        self.answer(id)
    }

    /// Calls a tool; gives its result.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.ask("tools/call", json!({"name": tool, "arguments": arguments}));
        assert!(answer["result"]["structuredContent"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// Calls a tool that has to give something; gives its structured content.
    pub fn good(&mut self, tool: &str, arguments: Value) -> Value {
        let result = self.call(tool, arguments);
        assert_ne!(result["isError"], true, "{result:#}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that has to refuse; gives the code.
    pub fn bad(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        let code = result["structuredContent"]["error"]["code"].as_str();
        let code = code.unwrap_or_else(|| panic!("{tool} was not refused: {result:#}")).to_owned();
        assert_eq!(result["isError"], true, "{result}");
        assert!(said(&result).contains(&format!("error[{code}]")), "{result}");
        code
    }

    /// The same for several calls while another one is open, whose answer comes later.
    pub fn bad_later(&mut self, calls: &[(&str, Value)]) -> Vec<String> {
        calls.iter().map(|(tool, arguments)| self.bad(tool, arguments.clone())).collect()
    }

    /// Closes the input, and waits for the end.
    pub fn close(mut self) -> Option<i32> {
        drop(self.stdin.take());
        self.server.wait().unwrap().code()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What a model reads of a result.
pub fn said(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap().to_owned()
}
