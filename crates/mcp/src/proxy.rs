//! One connection: a client on one side, its server on the other, and each call of a tool held to the policy in between.
//!
//! Messages pass as they come, under the ids that their senders gave them. Five things are the gate's own: `tools/call`, which becomes
//! an action; other requests that read, or that ask the client, which pass as the policy allows (`passing.rs`); lists, which are kept
//! or emptied; what it does not know, which is refused; and capabilities that would let a server act past it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

use counterfoil_receipt::RecordId;
use serde_json::{Map, Value};

use crate::{
    announcing::{self, Announcing},
    asking::Listing,
    calls::{NOT_PROPOSED, Pending, Ticket},
    desk::{CallDigest, Desk, NotAsked},
    limits,
    lines::Line,
    message::{self, FromClient, FromServer, Id},
    passing,
    pool::{OnPanic, Share, Wanted},
    reply::{self, Era},
    shared::Shared,
    tools::{Page, Tool, Tools},
    writer::Lines,
};

/// The code of an answer where the gate itself is at fault.
pub(crate) const FAILED: &str = "mcp-failed";
/// What ids of the gate's own requests begin with.
pub(crate) const OWN: &str = "counterfoil:";
/// The member of `_meta` by which a request of revision 2026-07-28 says which it is.
pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The member that says what the client can do.
pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The extension under which calls go on after their answer.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The revisions that have sessions, of which a server says one when a session begins.
pub(crate) const SESSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// One connection.
pub struct Proxy {
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    client: Arc<dyn Lines>,
    server: Mutex<Option<Arc<dyn Lines>>>,
    pub(crate) shared: Arc<Shared>,
    /// Its share of the threads that work on calls.
    pub(crate) share: Arc<Share>,
}

#[derive(Default)]
pub(crate) struct State {
    pub era: Option<Era>,
    /// Requests of the client that have no answer yet.
    pub open: HashMap<Id, Open>,
    /// Requests of the server that have none.
    pub asked: HashSet<Id>,
    /// Requests of the server of which it is not known yet whether they pass.
    pub to_judge: HashSet<Id>,
    /// Requests of the gate, and calls that run.
    pub awaited: HashMap<Id, mpsc::Sender<Answer>>,
    pub tools: Option<Arc<Tools>>,
    pub listing: Listing,
    pub calls: HashMap<CallDigest, Pending>,
    pub by_proposal: HashMap<RecordId, CallDigest>,
    /// Calls that are being proposed.
    pub asking: HashSet<CallDigest>,
    pub numbered: u64,
    /// How often the server said that its tools changed.
    pub changes: u64,
    pub announcing: Announcing,
    pub ended: bool,
}

pub(crate) enum Open {
    /// Passed on.
    Passed(String),
    /// To be passed on if the policy allows it.
    Judged { method: String, serial: u64, wanted: Option<Wanted> },
    /// A call of a tool; under [`Era::Request`] with the `_meta` that it came with.
    Call { token: Option<Value>, serial: u64, meta: Option<Value>, _wanted: Wanted },
}

/// What the server says of a request.
pub(crate) enum Answer {
    Result(String),
    Error {
        code: i64,
        message: String,
    },
    /// It is gone, or was told to stop.
    Gone(&'static str),
    /// It was asked, and what came is no answer.
    Lost(String),
    /// It was not reached, so it was not asked.
    NotSent(String),
}

/// How a call of the client ends.
#[derive(Debug)]
pub(crate) enum Reply {
    Result(String),
    Error { number: i64, code: &'static str, why: String },
}

impl Proxy {
    /// A connection to a client and a server, of whose calls so many run at a time.
    pub(crate) fn new(
        client: Arc<dyn Lines>,
        server: Arc<dyn Lines>,
        shared: Arc<Shared>,
        running: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            client,
            server: Mutex::new(Some(server)),
            shared,
            share: Share::new(running),
        })
    }

    /// A line of the client.
    pub fn from_client(self: &Arc<Self>, line: &Line) {
        let line = match line {
            Line::Whole(line) => line,
            Line::TooLong(_) => {
                let why = format!("a message of more than {} bytes", limits::MESSAGE_BYTES);
                return self.to_client(&reply::error(None, message::INVALID_REQUEST, "mcp-too-large", &why));
            }
        };
        match FromClient::parse(line) {
            Ok((message, text)) => self.hear(message, &text),
            Err(refused) => {
                self.to_client(&reply::error(
                    refused.id.as_ref(),
                    refused.number,
                    refused.code,
                    &refused.why,
                ));
            }
        }
    }

    /// A message of the client, and its canonical text.
    pub(crate) fn hear(self: &Arc<Self>, message: FromClient, text: &str) {
        match message {
            FromClient::Request { id, method, params } => {
                if let Err(Reply::Error { number, code, why }) = self.request(&id, &method, params) {
                    self.to_client(&reply::error(Some(&id), number, code, &why));
                }
            }
            FromClient::Notification { method, params } => self.notification(&method, &params, text),
            FromClient::Response { id } => {
                if self.state().asked.remove(&id) {
                    self.to_server(text);
                } else {
                    (self.shared.note)(&format!("the client answers {id}, which the server did not ask"));
                }
            }
        }
    }

    /// A line of the server; `about` is the request that it came with, where the transport says so.
    pub fn from_server(self: &Arc<Self>, line: &Line, about: Option<&Id>) {
        let Line::Whole(line) = line else {
            return (self.shared.note)(&format!(
                "the server sent a message of more than {} bytes",
                limits::MESSAGE_BYTES
            ));
        };
        let parsed = std::str::from_utf8(line).map_err(|fault| fault.to_string());
        let parsed = parsed.and_then(|text| FromServer::parse(text).map(|message| (message, text)));
        match parsed {
            Ok((FromServer::Result { id, result }, text)) => {
                self.answered(&id, text, |_| Answer::Result(result.get().to_owned()));
            }
            Ok((FromServer::Error { id: Some(id), code, message }, text)) => {
                self.answered(&id, text, |()| Answer::Error { code, message });
            }
            Ok((FromServer::Error { id: None, message, .. }, _)) => {
                (self.shared.note)(&format!("the server says: {message}"));
            }
            Ok((FromServer::Request { id, method, params }, text)) => {
                if let Err((number, code, why)) = self.asked_by_server(&id, &method, params, (text, about)) {
                    self.to_server(&reply::error(Some(&id), number, &code, &why));
                }
            }
            Ok((FromServer::Notification { method, params }, text)) => {
                if method == "notifications/tools/list_changed" {
                    let mut state = self.state();
                    (state.tools, state.changes) = (None, state.changes + 1);
                }
                let params = params.map(|params| params.get());
                if method == "notifications/cancelled" {
                    self.server_gave_up(params);
                }
                let said = if method == announcing::ACKNOWLEDGED { self.acknowledged(params) } else { None };
                if self.is_for_the_client(&method, params) {
                    self.to_client_about(said.as_deref().unwrap_or(text), about);
                }
            }
            Err(why) => (self.shared.note)(&format!("the server sent what is no message: {why}")),
        }
    }

    /// The server is gone: nobody will answer.
    pub fn server_gone(&self) {
        let mut state = self.state();
        state.ended = true;
        state.to_judge.clear();
        let awaited: Vec<_> = state.awaited.drain().collect();
        let passed: Vec<Id> = state
            .open
            .iter()
            .filter(|(_, open)| matches!(open, Open::Passed(_) | Open::Judged { .. }))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &passed {
            state.open.remove(id);
        }
        drop(state);
        for (_, to) in awaited {
            // Who no longer waits does not mind.
            let _ = to.send(Answer::Gone("the server ended"));
        }
        for id in passed {
            self.to_client(&reply::error(
                Some(&id),
                message::INTERNAL,
                "mcp-server-gone",
                "the server ended",
            ));
        }
    }

    /// The client is gone: what runs is let end, and nothing begins any more.
    pub fn client_gone(&self) {
        let mut state = self.state();
        state.ended = true;
        state.open.clear();
        state.to_judge.clear();
        for pending in state.calls.values_mut() {
            pending.waiters.clear();
        }
    }

    /// Nobody waits for the answer to a request any more: a call that waits does not run, and one that runs is let end.
    pub(crate) fn leave(&self, id: &Id) {
        let mut state = self.state();
        state.open.remove(id);
        for pending in state.calls.values_mut() {
            pending.waiters.retain(|waiter| waiter.ticket.id != *id);
        }
    }

    /// The server will not answer a request. Whether it was one that is passed on, whose client the caller has to tell.
    pub(crate) fn unanswered(&self, id: &Id, why: Answer) -> bool {
        let mut state = self.state();
        if let Some(to) = state.awaited.remove(id) {
            // Who no longer waits does not mind.
            let _ = to.send(why);
            return false;
        }
        matches!(state.open.get(id), Some(Open::Passed(_))) && state.open.remove(id).is_some()
    }

    /// Whether somebody waits for the server's answer to a request; of a call that was left, until it is `given_up`.
    pub(crate) fn is_wanted(&self, id: &Id, given_up: bool) -> bool {
        let state = self.state();
        state.open.contains_key(id)
            || state.awaited.contains_key(id)
                && (!given_up || matches!(id, Id::Text(own) if own.starts_with(OWN)))
    }

    /// Whether a call runs.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        !state.asking.is_empty() || state.calls.values().any(|pending| pending.busy)
    }

    /// Closes the server's input, which tells it to end.
    pub fn close_server(&self) {
        *lock(&self.server) = None;
    }

    /// Waits until the client was told everything, at most so long.
    pub fn drain(&self, most: Duration) {
        self.client.drain(most);
    }

    /// A request of the client.
    fn request(self: &Arc<Self>, id: &Id, method: &str, mut params: Map<String, Value>) -> Result<(), Reply> {
        without_tasks(&mut params);
        self.without_what_is_denied(&mut params);
        let mut state = self.state();
        if state.ended {
            let why = "this connection has ended".to_owned();
            return Err(Reply::Error { number: message::INTERNAL, code: "mcp-ended", why });
        }
        let meta = state.is_of_the_era(method, &params)?;
        // A call that was cancelled may still run under its id.
        if state.open.contains_key(id) || state.awaited.contains_key(id) {
            return Err(invalid(
                "mcp-id-reused",
                format!("{id} is the id of a request that has no answer yet"),
            ));
        }
        if state.open.len() >= limits::OPEN_REQUESTS {
            return Err(invalid("mcp-open-requests", format!("{} requests are open", limits::OPEN_REQUESTS)));
        }
        if matches!(id, Id::Text(text) if text.starts_with(OWN)) {
            return Err(invalid("mcp-id-reserved", format!("ids that begin with {OWN} are this gate's own")));
        }
        if method == "tools/call" {
            let token = params.get("_meta").and_then(|meta| meta.get("progressToken")).cloned();
            state.numbered += 1;
            let ticket = Ticket { id: id.clone(), serial: state.numbered, round: 0 };
            let (proxy, serial) = (Arc::clone(self), ticket.serial);
            let wanted =
                self.shared.pool.offer(Some(&self.share), params, move |params| proxy.call(&ticket, &params));
            let wanted = wanted.ok_or_else(busy)?;
            state.open.insert(id.clone(), Open::Call { token, serial, meta, _wanted: wanted });
            return Ok(());
        }
        if passing::is_judged(method, &params) {
            drop(state);
            return self.pass_if_allowed(id, method, params);
        }
        if !passing::PASSED.contains(&method) {
            let why = format!("{method:?} is no method that this gate lets through");
            return Err(Reply::Error { number: message::NO_METHOD, code: "mcp-method", why });
        }
        state.note_subscription(id, method, &params);
        let text = reply::message(Some(id), method, &Value::Object(params))
            .map_err(|fault| invalid("mcp-json", fault.to_string()))?;
        state.open.insert(id.clone(), Open::Passed(method.to_owned()));
        drop(state);
        if self.to_server(&text) {
            return Ok(());
        }
        self.state().open.remove(id);
        let why = "the server does not read".to_owned();
        Err(Reply::Error { number: message::INTERNAL, code: "mcp-server-busy", why })
    }

    fn notification(&self, method: &str, params: &Map<String, Value>, text: &str) {
        if !method.starts_with("notifications/") {
            return (self.shared.note)(&format!(
                "the client sent the notification {method:?}, which is none"
            ));
        }
        if method != "notifications/cancelled" {
            self.to_server(text);
            return;
        }
        let id = params.get("requestId").and_then(|id| serde_json::from_value::<Id>(id.clone()).ok());
        let Some(id) = id else { return };
        let mut state = self.state();
        match state.open.remove(&id) {
            Some(Open::Passed(_)) => {
                drop(state);
                self.to_server(text);
            }
            // The server was not told of it.
            Some(Open::Judged { .. }) => {}
            Some(Open::Call { .. }) => {
                for pending in state.calls.values_mut() {
                    pending.waiters.retain(|waiter| waiter.ticket.id != id);
                }
                if state.awaited.contains_key(&id) {
                    drop(state);
                    self.to_server(text);
                }
            }
            None => {}
        }
    }

    /// The server answered a request: of the gate, or of the client, to whom it is passed on.
    fn answered(self: &Arc<Self>, id: &Id, text: &str, answer: impl FnOnce(()) -> Answer) {
        let mut state = self.state();
        if let Some(to) = state.awaited.remove(id) {
            drop(state);
            // Who no longer waits does not mind.
            let _ = to.send(answer(()));
            return;
        }
        match state.open.remove(id) {
            Some(Open::Passed(method)) => {
                let era = state.era();
                drop(state);
                let result = match answer(()) {
                    Answer::Result(result) => result,
                    Answer::Error { code: passing::OPEN_ADDRESS, message } => {
                        let why = format!("{message}; what asks people passes as elicitation/create alone");
                        return self.to_client(&reply::error(
                            Some(id),
                            message::INTERNAL,
                            "mcp-result",
                            &why,
                        ));
                    }
                    Answer::Error { .. } | Answer::Gone(_) | Answer::Lost(_) | Answer::NotSent(_) => {
                        return self.to_client(text);
                    }
                };
                let (id, given, text) = (id.clone(), id.clone(), text.to_owned());
                let needs_the_log = passing::needs_the_log(&method, &result);
                let proxy = Arc::clone(self);
                let pass = move || {
                    let fail = |code: &str, why: &str| {
                        proxy.to_client(&reply::error(Some(&id), message::INTERNAL, code, why))
                    };
                    let _answered = OnPanic(|| fail(FAILED, "this gate failed to read the server's answer"));
                    match proxy.passed(&method, &result, era) {
                        Ok(Some(edited)) => proxy.to_client(&reply::result(&id, &edited)),
                        Ok(None) => proxy.to_client(&text),
                        Err((code, why)) => fail(&code, &why),
                    }
                };
                if !needs_the_log {
                    pass();
                } else if !self.shared.lists.try_run(pass) {
                    let why = "as many lists wait to be shown as may";
                    self.to_client(&reply::error(Some(&given), message::INTERNAL, "mcp-busy", why));
                }
            }
            Some(not_given @ (Open::Call { .. } | Open::Judged { .. })) => {
                state.open.insert(id.clone(), not_given);
                drop(state);
                (self.shared.note)(&format!("the server answers the request {id}, which it was not given"));
            }
            None => {
                drop(state);
                (self.shared.note)(&format!("the server answers {id}, which nobody asked"));
            }
        }
    }

    /// What of a result is said otherwise to the client; `None` if it is passed on as it is.
    fn passed(&self, method: &str, result: &str, era: Era) -> Result<Option<String>, (String, String)> {
        let malformed = |why: String| ("mcp-result".to_owned(), why);
        match method {
            "tools/list" => {
                let mut page = Page::parse(result).map_err(malformed)?;
                // Where the log can't be asked, calls say so.
                let desk = self.desk().inspect_err(|fault| {
                    (self.shared.note)(&format!(
                        "tools are listed as the server does: {}: {}",
                        fault.code, fault.why
                    ));
                });
                self.lists_tools_now(desk.as_deref().ok());
                let is_offered = |name: &str, tool: &Tool| match &desk {
                    Ok(desk) => desk.lists(name, tool),
                    Err(_) => true,
                };
                let listed = page
                    .tools
                    .iter()
                    .filter(|(name, tool, definition)| !wants_a_task(definition) && is_offered(name, tool));
                let listed: Value = listed.map(|(.., definition)| definition.clone()).collect();
                page.result.insert("tools".to_owned(), listed);
                if era == Era::Request {
                    // Another policy may show other tools.
                    page.result.insert("ttlMs".to_owned(), 0.into());
                    page.result.insert("cacheScope".to_owned(), "private".into());
                }
                Ok(Some(Value::Object(page.result).to_string()))
            }
            "initialize" | "server/discover" => {
                let mut result: Value =
                    serde_json::from_str(result).map_err(|fault| malformed(fault.to_string()))?;
                let version = result.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
                if method == "initialize" && !SESSIONS.contains(&version) {
                    let why = format!(
                        "the server says revision {version:?}; this gate speaks {SESSIONS:?} in sessions"
                    );
                    return Err(("mcp-version".to_owned(), why));
                }
                if let Some(Value::Object(capabilities)) = result.get_mut("capabilities") {
                    capabilities.remove("tasks");
                    announcing::promise(method, capabilities);
                    if let Some(Value::Object(extensions)) = capabilities.get_mut("extensions") {
                        extensions.remove(TASKS);
                    }
                }
                Ok(Some(result.to_string()))
            }
            _ => self.passed_as_allowed(method, result, era),
        }
    }

    /// Whether a notification of the server goes on to the client: progress only of what is open.
    fn is_for_the_client(&self, method: &str, params: Option<&str>) -> bool {
        if method != "notifications/progress" {
            return method.starts_with("notifications/");
        }
        let params: Option<Value> = params.and_then(|params| serde_json::from_str(params).ok());
        let token = params.as_ref().and_then(|params| params.get("progressToken"));
        let state = self.state();
        let is_of = |open: &Open| match open {
            Open::Passed(_) => true,
            Open::Judged { .. } => false,
            Open::Call { token: own, .. } => own.as_ref() == token,
        };
        token.is_some() && state.open.values().any(is_of)
    }

    /// The desk, if a call has needed one, without waiting for whoever opens it.
    pub(crate) fn desk_at_hand(&self) -> Option<Arc<Desk>> {
        self.shared.opened_desk()
    }

    /// The desk, opened if it is not.
    pub(crate) fn desk(&self) -> Result<Arc<Desk>, NotAsked> {
        self.shared.desk()
    }

    pub(crate) fn not_asked(&self, fault: &NotAsked) -> Reply {
        let era = self.state().era();
        Reply::Result(reply::not_run(era, &said_of(fault), None))
    }

    /// Answers a request of the client, once; nobody who cancelled it.
    pub(crate) fn answer(&self, ticket: &Ticket, reply: &Reply) {
        let id = &ticket.id;
        let mut state = self.state();
        if !matches!(state.open.get(id), Some(Open::Call { serial, .. }) if *serial == ticket.serial) {
            return;
        }
        state.open.remove(id);
        drop(state);
        self.to_client(&match reply {
            Reply::Result(result) => reply::result(id, result),
            Reply::Error { number, code, why } => reply::error(Some(id), *number, code, why),
        });
    }

    pub(crate) fn to_client(&self, line: &str) {
        self.to_client_about(line, None);
    }

    /// Whether the client will be told.
    pub(crate) fn to_client_about(&self, line: &str, about: Option<&Id>) -> bool {
        let is_told = self.client.send(line, about);
        if !is_told {
            (self.shared.note)("the client does not read what it is told");
        }
        is_told
    }

    /// Whether the server will be told.
    pub(crate) fn to_server(&self, line: &str) -> bool {
        let server = lock(&self.server).clone();
        server.is_some_and(|server| server.send(line, None))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    pub(crate) fn era(&self) -> Era {
        self.era.unwrap_or(Era::Session)
    }

    /// Whether a request is of the revision that the connection speaks; the first that is more than a question who is there says which. Under
    /// [`Era::Request`] with what it says of itself.
    fn is_of_the_era(&mut self, method: &str, params: &Map<String, Value>) -> Result<Option<Value>, Reply> {
        let meta = params.get("_meta");
        let says = meta.is_some_and(|meta| meta.get(VERSION).is_some());
        if method != "server/discover" {
            self.era.get_or_insert(if says { Era::Request } else { Era::Session });
        }
        if self.era == Some(Era::Request) || method == "server/discover" && says {
            let is_complete =
                meta.is_some_and(|meta| meta.get(VERSION).is_some() && meta.get(CAPABILITIES).is_some());
            if !is_complete {
                return Err(parameters(format!("_meta names no {VERSION} or no {CAPABILITIES}")));
            }
            let mut meta = meta.cloned().unwrap_or_default();
            if let Value::Object(meta) = &mut meta {
                meta.remove("progressToken");
            }
            return Ok(Some(meta));
        }
        Ok(None)
    }

    /// Forgets a call; the log knows it still.
    pub(crate) fn forget(&mut self, digest: &CallDigest) -> Option<Pending> {
        let pending = self.calls.remove(digest)?;
        self.by_proposal.remove(&pending.asked.proposal);
        Some(pending)
    }
}

/// A tool that only runs as a task, which goes on after its call has ended.
fn wants_a_task(tool: &Value) -> bool {
    tool.pointer("/execution/taskSupport").is_some_and(|support| support == "required")
}

/// Takes away what would let a server answer a call with a task.
pub(crate) fn without_tasks(params: &mut Map<String, Value>) {
    let extensions = params
        .get_mut("_meta")
        .and_then(|meta| meta.get_mut(CAPABILITIES))
        .and_then(|capabilities| capabilities.get_mut("extensions"));
    if let Some(Value::Object(extensions)) = extensions {
        extensions.remove(TASKS);
    }
}

/// Why nothing was proposed, for the model: a code that says so by itself says it once.
fn said_of(fault: &NotAsked) -> String {
    let what = if fault.code == NOT_PROPOSED { "" } else { "not proposed: " };
    format!("{what}{}: {}. Nothing was run.", fault.code, fault.why)
}

/// As many requests wait for their turn as may.
pub(crate) fn busy() -> Reply {
    let why = format!("{} requests wait for their turn", limits::QUEUED);
    Reply::Error { number: message::INTERNAL, code: "mcp-busy", why }
}

pub(crate) const fn invalid(code: &'static str, why: String) -> Reply {
    Reply::Error { number: message::INVALID_REQUEST, code, why }
}

pub(crate) const fn parameters(why: String) -> Reply {
    Reply::Error { number: message::INVALID_PARAMS, code: "mcp-params", why }
}

/// What is behind a mutex; nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_proposed_was_said_twice() {
        let said =
            |code: &str| said_of(&NotAsked { code: code.to_owned(), why: "the log is away".to_owned() });
        assert_eq!(said(NOT_PROPOSED), "not-proposed: the log is away. Nothing was run.");
        assert_eq!(said("key-unknown"), "not proposed: key-unknown: the log is away. Nothing was run.");
    }
}
