//! The server's side of a connection: each request goes in an HTTP request of its own, once, and what comes back is read as it comes.
//!
//! A request that was sent and has no answer has none for good: it is not sent again, and a stream that broke off is not resumed.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read as _},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use counterfoil_http::Address;
use serde_json::{Map, Value};
use ureq::{Agent, Body, http::Response};

use super::{
    exchanges::Exchanges,
    headers::{self, SESSION, VERSION},
    sse,
};
use crate::{
    limits,
    lines::Line,
    message::{self, FromServer, Id},
    passing::OPEN_ADDRESS,
    pool::spawn,
    proxy::{Answer, Proxy, SESSIONS},
    reply,
    writer::Lines,
};

/// The server that is reached by an address.
pub(super) struct Target {
    /// Where it is.
    pub address: Address,
    /// What the operator shows it; otherwise it is shown what the client shows the gate.
    pub credential: Option<String>,
    /// How long it may take to hear what wants no answer.
    pub stall: Duration,
}

impl Target {
    /// An agent for one request, so that ending it ends nothing else: none of its connections is used twice.
    fn agent(&self) -> Agent {
        self.agent_for(None)
    }

    /// The same, for a request that may take so long.
    fn agent_for(&self, most: Option<Duration>) -> Agent {
        let config = Agent::config_builder()
            .timeout_connect(Some(limits::CONNECT))
            .timeout_global(most)
            .max_response_header_size(limits::HEAD_BYTES)
            .accept_encoding("identity")
            .max_idle_connections(0);
        self.address.agent(config)
    }
}

/// A connection's way to the server.
pub(super) struct Upstream {
    me: Weak<Self>,
    target: Arc<Target>,
    client: Arc<Exchanges>,
    is_session: bool,
    said: Mutex<SaidOf>,
    /// What is under way, to be ended when nobody waits for it.
    under_way: Mutex<HashMap<Way, Agent>>,
    proxy: OnceLock<Weak<Proxy>>,
    note: Arc<dyn Fn(&str) + Send + Sync>,
}

/// What is under way to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Way {
    Request(Id),
    /// A stream on which it speaks by itself, by its number.
    Stream(u64),
}

/// What requests say of the connection.
#[derive(Clone, Debug, Default)]
struct SaidOf {
    /// The session, as the server named it.
    session: Option<String>,
    version: Option<String>,
    authorization: Option<String>,
    /// Whether the server said that the session is over.
    is_over: bool,
}

/// How a request was not answered.
struct Unanswered {
    status: u16,
    authenticate: Option<String>,
    why: Answer,
    /// What the server says of it, if that is a message.
    said: Option<String>,
}

impl Upstream {
    pub(super) fn new(
        target: Arc<Target>,
        client: Arc<Exchanges>,
        is_session: bool,
        note: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            target,
            client,
            is_session,
            said: Mutex::default(),
            under_way: Mutex::default(),
            proxy: OnceLock::new(),
            note,
        })
    }

    /// Whom answers are given to.
    pub(super) fn answers_to(&self, proxy: &Arc<Proxy>) {
        // It is said once, when the connection is made.
        let _ = self.proxy.set(Arc::downgrade(proxy));
    }

    /// What the client shows: the newest counts.
    pub(super) fn shows(&self, authorization: Option<&str>) {
        lock(&self.said).authorization = authorization.map(str::to_owned);
    }

    /// Counts something as under way, to be ended where nobody waits for it; `None` if as much is as may be.
    fn begin(&self, way: Way) -> Option<Agent> {
        let agent = self.target.agent();
        let mut under_way = lock(&self.under_way);
        if under_way.len() >= limits::UNDER_WAY {
            return None;
        }
        under_way.insert(way, agent.clone());
        Some(agent)
    }

    /// The server says by which revision a session goes on.
    pub(super) fn agrees_on(&self, version: Option<&str>) {
        lock(&self.said).version = version.map(str::to_owned);
    }

    /// The revision that was agreed on.
    pub(super) fn version(&self) -> Option<String> {
        lock(&self.said).version.clone()
    }

    /// Whether the server said that the session is over.
    pub(super) fn is_over(&self) -> bool {
        lock(&self.said).is_over
    }

    /// Ends what nobody waits for any more. To be called now and then.
    pub(super) fn sweep(&self) {
        let Some(proxy) = self.proxy() else { return };
        let given_up = !self.is_session;
        let under_way: Vec<(Way, Agent)> =
            lock(&self.under_way).iter().map(|(way, agent)| (way.clone(), agent.clone())).collect();
        for (way, agent) in under_way {
            let is_wanted = match &way {
                Way::Request(id) => proxy.is_wanted(id, given_up),
                Way::Stream(number) => self.client.has_stream(*number),
            };
            if !is_wanted {
                agent.shutdown();
            }
        }
    }

    /// Ends the stream of this number, on which the server speaks by itself.
    pub(super) fn close_stream(&self, number: u64) {
        if let Some(agent) = lock(&self.under_way).remove(&Way::Stream(number)) {
            agent.shutdown();
        }
    }

    /// Ends whichever stream there is.
    pub(super) fn close_streams(&self) {
        let streams =
            lock(&self.under_way).extract_if(|way, _| matches!(way, Way::Stream(_))).collect::<Vec<_>>();
        for (_, agent) in streams {
            agent.shutdown();
        }
    }

    /// Opens the stream that the client knows by this number, and passes on what comes until it ends; `opened` is told the status first.
    pub(super) fn listen(&self, number: u64, opened: impl FnOnce(u16)) {
        let Some(agent) = self.begin(Way::Stream(number)) else {
            self.client.close_stream(number);
            return opened(503);
        };
        let mut request = agent.get(self.target.address.base()).header("accept", "text/event-stream");
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        match request.call() {
            Ok(response) if response.status() == 200 && is_of(&response, "text/event-stream") => {
                opened(200);
                let mut from = BufReader::new(response.into_body().into_reader());
                while let Ok(Some(data)) = sse::next(&mut from) {
                    if matches!(
                        FromServer::parse(&data),
                        Ok(FromServer::Result { .. } | FromServer::Error { .. })
                    ) {
                        (self.note)("the server answers on the stream that is no answer");
                        continue;
                    }
                    let Some(proxy) = self.proxy() else { break };
                    proxy.from_server(&Line::Whole(data.into_bytes()), None);
                }
            }
            Ok(response) => {
                let status = response.status().as_u16();
                self.note_status(status);
                opened(if status == 200 { 502 } else { status });
            }
            Err(_) => opened(502),
        }
        lock(&self.under_way).remove(&Way::Stream(number));
        self.client.close_stream(number);
    }

    /// Tells the server that the session is over, if it named one.
    pub(super) fn end_session(&self) {
        if lock(&self.said).session.is_none() {
            return;
        }
        let agent = self.target.agent_for(Some(limits::CONNECT));
        let mut request = agent.delete(self.target.address.base());
        for (name, value) in self.headers() {
            request = request.header(name, value);
        }
        // That it did not hear it is its affair: sessions expire.
        let _ = request.call();
    }

    /// What every request of the connection says.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let said = lock(&self.said).clone();
        let authorization = self.target.credential.clone().or(said.authorization);
        let pairs = [("authorization", authorization), (SESSION, said.session), (VERSION, said.version)];
        pairs.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    fn post(&self, agent: &Agent, line: &str) -> Result<Response<Body>, ureq::Error> {
        let mut request = agent.post(self.target.address.base());
        request = request.header("content-type", "application/json");
        request = request.header("accept", "application/json, text/event-stream");
        let mut said = self.headers();
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let params = message.get("params").and_then(Value::as_object).cloned().unwrap_or_default();
        let version =
            params.get("_meta").and_then(|meta| meta.get("io.modelcontextprotocol/protocolVersion"));
        if let Some(Value::String(version)) = version {
            said.retain(|(name, _)| *name != VERSION);
            said.push((VERSION, version.clone()));
            let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
            for (name, value) in
                headers::of_request(method, &params).into_iter().chain(self.arguments(method, &params))
            {
                request = request.header(name, value);
            }
        }
        for (name, value) in said {
            request = request.header(name, value);
        }
        request.send(line)
    }

    /// The arguments that the tool wants to have in headers, too.
    fn arguments(&self, method: &str, params: &Map<String, Value>) -> Vec<(axum::http::HeaderName, String)> {
        let name = params.get("name").and_then(Value::as_str).filter(|_| method == "tools/call");
        let places = name
            .zip(self.proxy())
            .and_then(|(name, proxy)| Some(proxy.state().tools.as_ref()?.in_headers(name).to_vec()));
        places.map(|places| headers::of_arguments(&places, params)).unwrap_or_default()
    }

    /// Sends a request, and gives its connection what comes back.
    fn ask(&self, agent: &Agent, id: &Id, method: &str, line: &str) {
        let answered = match self.post(agent, line) {
            Ok(response) => self.read(id, method, response),
            Err(fault) => {
                let why = format!("the server was not reached: {fault}");
                let why = if is_before_sending(&fault) { Answer::NotSent(why) } else { Answer::Lost(why) };
                Err(Unanswered { status: 502, authenticate: None, why, said: None })
            }
        };
        lock(&self.under_way).remove(&Way::Request(id.clone()));
        let Err(unanswered) = answered else { return };
        let Unanswered { status, authenticate, why, said } = unanswered;
        let text = match &why {
            Answer::Lost(why) | Answer::NotSent(why) => why.clone(),
            Answer::Gone(why) => (*why).to_owned(),
            Answer::Result(_) | Answer::Error { .. } => String::new(),
        };
        if self.proxy().is_some_and(|proxy| proxy.unanswered(id, why)) {
            self.client.refuse(id, status, authenticate, |given| {
                said.unwrap_or_else(|| reply::error(Some(given), message::INTERNAL, "mcp-upstream", &text))
            });
        }
    }

    fn read(&self, id: &Id, method: &str, response: Response<Body>) -> Result<(), Unanswered> {
        let status = response.status().as_u16();
        if status != 200 {
            return self.refused(id, response);
        }
        if method == "initialize" {
            let session = response.headers().get(SESSION).and_then(|value| value.to_str().ok());
            lock(&self.said).session = session.map(str::to_owned);
        }
        let lost =
            |why: String| Unanswered { status: 502, authenticate: None, why: Answer::Lost(why), said: None };
        if is_of(&response, "application/json") {
            let text = read_whole(response)
                .map_err(|fault| lost(format!("the server's answer broke off: {fault}")))?;
            return match self.is_answer(id, method, &text) {
                true => Ok(()),
                false => Err(lost("the server's answer is none to this request".to_owned())),
            };
        }
        if !is_of(&response, "text/event-stream") {
            return Err(lost("the server's answer is neither JSON nor a stream".to_owned()));
        }
        let mut from = BufReader::new(response.into_body().into_reader());
        loop {
            match sse::next(&mut from) {
                Ok(Some(data)) => {
                    let is_over = !matches!(
                        FromServer::parse(&data),
                        Ok(FromServer::Request { .. } | FromServer::Notification { .. })
                    );
                    if !is_over {
                        let Some(proxy) = self.proxy() else { return Ok(()) };
                        proxy.from_server(&Line::Whole(data.into_bytes()), Some(id));
                    } else if self.is_answer(id, method, &data) {
                        return Ok(());
                    } else {
                        return Err(lost(
                            "the server's stream has what is no answer to this request".to_owned(),
                        ));
                    }
                }
                Ok(None) => return Err(lost("the server's stream ended without an answer".to_owned())),
                Err(fault) => return Err(lost(format!("the server's stream broke off: {fault}"))),
            }
        }
    }

    /// Gives an answer to the connection, if it is one to this request.
    fn is_answer(&self, id: &Id, method: &str, text: &str) -> bool {
        match FromServer::parse(text) {
            Ok(FromServer::Result { id: answered, result }) if answered == *id => {
                if method == "initialize" {
                    let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
                    let version = result.get("protocolVersion").and_then(Value::as_str);
                    // A session by another revision does not begin.
                    self.agrees_on(version.filter(|version| SESSIONS.contains(version)));
                }
            }
            Ok(FromServer::Error { id: Some(answered), .. }) if answered == *id => {}
            _ => return false,
        }
        if let Some(proxy) = self.proxy() {
            proxy.from_server(&Line::Whole(text.as_bytes().to_vec()), Some(id));
        }
        true
    }

    /// The server answers with another status: with an error of the protocol, or without.
    fn refused(&self, id: &Id, response: Response<Body>) -> Result<(), Unanswered> {
        let status = response.status().as_u16();
        self.note_status(status);
        // Whom the server asks to authenticate is the client, unless the operator did.
        let authenticate = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
        let authenticate = authenticate.filter(|_| self.target.credential.is_none()).map(str::to_owned);
        let text = read_whole(response).unwrap_or_default();
        // Only an error answers with such a status: what a result says of itself, the status denies.
        let is_error = matches!(FromServer::parse(&text), Ok(FromServer::Error { id: Some(_), .. }));
        if is_error && (400..500).contains(&status) && self.is_answer(id, "", &text) {
            return Ok(());
        }
        // What has people open an address asks them past the policy.
        let is_error = matches!(FromServer::parse(&text), Ok(FromServer::Error { id: None, code, .. }) if code != OPEN_ADDRESS);
        let is_the_clients =
            matches!(status, 400..500) && !(matches!(status, 401 | 403) && self.target.credential.is_some());
        let why = Answer::Lost(format!("the server answered with status {status}"));
        let status = if is_the_clients { status } else { 502 };
        Err(Unanswered { status, authenticate, why, said: (is_error && is_the_clients).then_some(text) })
    }

    fn note_status(&self, status: u16) {
        let mut said = lock(&self.said);
        said.is_over |= status == 404 && said.session.is_some();
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        lock(&self.under_way).is_empty()
    }

    /// Counts a stream as under way, if it may be.
    #[cfg(test)]
    pub(super) fn begins(&self, number: usize) -> bool {
        self.begin(Way::Stream(number as u64)).is_some()
    }

    #[cfg(test)]
    pub(super) fn ends(&self, number: usize) -> bool {
        lock(&self.under_way).remove(&Way::Stream(number as u64)).is_some()
    }

    fn proxy(&self) -> Option<Arc<Proxy>> {
        self.proxy.get().and_then(Weak::upgrade)
    }
}

impl Lines for Upstream {
    fn send(&self, line: &str, _: Option<&Id>) -> bool {
        if let Ok(FromServer::Request { id, method, .. }) = FromServer::parse(line) {
            let Some(me) = self.me.upgrade() else { return false };
            let way = Way::Request(id.clone());
            let Some(agent) = self.begin(way.clone()) else { return false };
            let line = line.to_owned();
            let is_asked = spawn(move || me.ask(&agent, &id, &method, &line)).is_ok();
            if !is_asked {
                lock(&self.under_way).remove(&way);
            }
            return is_asked;
        }
        // What wants no answer is sent before the next is, so nobody waits for ever until it was heard.
        let agent = self.target.agent_for(Some(self.target.stall));
        match self.post(&agent, line) {
            Ok(response) if response.status().is_success() => true,
            Ok(response) => {
                self.note_status(response.status().as_u16());
                (self.note)(&format!(
                    "the server answers a notification with status {}",
                    response.status().as_u16()
                ));
                false
            }
            Err(fault) => {
                (self.note)(&format!("the server was not reached: {fault}"));
                false
            }
        }
    }

    fn drain(&self, _: Duration) {}
}

/// Whether the server can have heard nothing.
fn is_before_sending(fault: &ureq::Error) -> bool {
    match fault {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::BadUri(_) => true,
        ureq::Error::Timeout(when) => matches!(when, ureq::Timeout::Connect | ureq::Timeout::Resolve),
        ureq::Error::Io(fault) => fault.kind() == io::ErrorKind::ConnectionRefused,
        _ => false,
    }
}

fn is_of(response: &Response<Body>, wanted: &str) -> bool {
    let value =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

fn read_whole(response: Response<Body>) -> io::Result<String> {
    let mut text = String::new();
    let mut from = response.into_body().into_reader().take(limits::MESSAGE_BYTES as u64 + 1);
    from.read_to_string(&mut text)?;
    if text.len() > limits::MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    Ok(text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
