//! What the gate answers over HTTP (MCP 2025-11-25 and 2026-07-28, "Streamable HTTP").

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use counterfoil_http::{is_from_here, is_to_here};
use futures_util::stream;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use super::{
    connections::{Connection, Connections, Key, Place},
    exchanges::{Heard, NotOpened, Said},
    headers::{self, SESSION, Unfit, VERSION},
    sse,
};
use crate::{
    limits,
    message::{FromClient, Id},
    pool::spawn,
    proxy::Reply,
    reply,
    tools::Tools,
};

/// Who is let in.
pub(super) struct Door {
    /// The names by which it is reached beside those of this machine, as they stand in `Host`.
    pub hosts: Vec<String>,
    /// What its clients show, if they have to show something.
    pub token: Option<String>,
    pub connections: Arc<Connections>,
    /// Makes names of sessions.
    pub name: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

type Shared = Arc<Door>;

/// All that is answered.
pub(super) fn app(door: Door) -> Router {
    Router::new().route("/mcp", axum::routing::any(enter)).with_state(Arc::new(door))
}

pub(super) async fn enter(State(door): State<Shared>, request: Request) -> Response {
    if let Some(refused) = door.turns_away(request.headers()) {
        return refused;
    }
    let answered = match *request.method() {
        Method::POST => post(&door, request).await,
        Method::GET => listen(&door, request.headers()).await,
        Method::DELETE => end(&door, request.headers()),
        _ => {
            let unfit = Unfit::new(StatusCode::METHOD_NOT_ALLOWED, "mcp-http-method", "POST, GET or DELETE");
            let mut response = refused(&unfit, None);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            return response;
        }
    };
    answered.unwrap_or_else(|unfit| refused(&unfit, None))
}

impl Door {
    /// What is said to who may not ask, asks by a name that the gate does not have, or comes from a page of another site.
    fn turns_away(&self, headers: &HeaderMap) -> Option<Response> {
        let is_ours = |value: &HeaderValue, prefixes: &[&str]| {
            let value = value.to_str().unwrap_or_default();
            let names = |prefix: &&str| value.strip_prefix(prefix).is_some_and(|name| self.is_named(name));
            prefixes.iter().any(names)
        };
        let hosts: Vec<_> = headers.get_all(header::HOST).iter().collect();
        let is_to_us = hosts.len() == 1 && (is_to_here(headers) || is_ours(hosts[0], &[""]));
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let is_from_us =
            is_from_here(headers) || origins.all(|value| is_ours(value, &["http://", "https://"]));
        if !is_to_us || !is_from_us {
            let what = if is_to_us { "Origin" } else { "Host" };
            let why = format!("the {what} header does not name this gate");
            return Some(refused(&Unfit::new(StatusCode::FORBIDDEN, "mcp-host-unknown", why), None));
        }
        let token = self.token.as_ref()?;
        let mut shown = headers.get_all(header::AUTHORIZATION).iter();
        let first = shown.next().and_then(|value| value.to_str().ok());
        let given = first.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        // Digests are compared, so how long it takes says nothing of the token.
        let is_it = |given: &str| Sha256::digest(given) == Sha256::digest(token);
        if shown.next().is_none() && given.is_some_and(is_it) {
            return None;
        }
        let why = "this gate wants its own token: Authorization: Bearer …";
        let mut response = refused(&Unfit::new(StatusCode::UNAUTHORIZED, "mcp-token", why), None);
        let realm = HeaderValue::from_static("Bearer realm=\"counterfoil mcp gate\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
        Some(response)
    }

    fn is_named(&self, host: &str) -> bool {
        self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
    }

    /// What a request shows the server.
    fn shown(&self, headers: &HeaderMap) -> Result<Option<String>, Unfit> {
        if self.token.is_some() || self.connections.has_credential() {
            return Ok(None);
        }
        Ok(headers::one(headers, header::AUTHORIZATION.as_str())?.map(str::to_owned))
    }

    /// The session that a request names.
    fn session(&self, headers: &HeaderMap) -> Result<(Key, Arc<Connection>), Unfit> {
        let name = headers::one(headers, SESSION)?;
        let name = name.ok_or_else(|| {
            let why = format!("there is no {SESSION}: a session begins with initialize");
            Unfit::new(StatusCode::BAD_REQUEST, "mcp-session", why)
        })?;
        let key = Key::Session(name.to_owned());
        let gone = || Unfit::new(StatusCode::NOT_FOUND, "mcp-session", "there is no such session (any more)");
        let connection = self.connections.get(&key).ok_or_else(gone)?;
        if connection.server.is_over() {
            return Err(gone());
        }
        let (said, agreed) = (headers::one(headers, VERSION)?, connection.server.version());
        if let (Some(said), Some(agreed)) = (said, agreed)
            && said != agreed
        {
            let why = format!("{VERSION} is {said}, and {agreed} was agreed on");
            return Err(Unfit::new(StatusCode::BAD_REQUEST, "mcp-version", why));
        }
        connection.server.shows(self.shown(headers)?.as_deref());
        Ok((key, connection))
    }

    fn full() -> Unfit {
        Unfit::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "mcp-full",
            "as many requests or sessions are open as may be",
        )
    }
}

/// A message of a client.
async fn post(door: &Shared, request: Request) -> Result<Response, Unfit> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    if !headers::is_json(&headers) {
        let why = "the body has to be application/json";
        return Err(Unfit::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "mcp-content-type", why));
    }
    if !headers::accepts(&headers, "application/json") || !headers::accepts(&headers, "text/event-stream") {
        let why = "Accept has to name application/json and text/event-stream";
        return Err(Unfit::new(StatusCode::NOT_ACCEPTABLE, "mcp-accept", why));
    }
    let place = door.connections.place().ok_or_else(Door::full)?;
    let body = timeout(limits::BODY, to_bytes(body, limits::MESSAGE_BYTES)).await;
    let body =
        body.map_err(|_| Unfit::new(StatusCode::REQUEST_TIMEOUT, "mcp-timeout", "the body takes too long"))?;
    let body = body.map_err(|_| {
        let why = format!("a message of more than {} bytes, or one that broke off", limits::MESSAGE_BYTES);
        Unfit::new(StatusCode::PAYLOAD_TOO_LARGE, "mcp-too-large", why)
    })?;
    let (message, text) = match FromClient::parse(&body) {
        Ok(read) => read,
        Err(fault) => {
            let unfit = Unfit {
                number: fault.number,
                ..Unfit::new(StatusCode::BAD_REQUEST, fault.code, fault.why.clone())
            };
            return Ok(refused(&unfit, fault.id.as_ref()));
        }
    };
    let given = match &message {
        FromClient::Request { id, .. } => Some(id.clone()),
        FromClient::Notification { .. } | FromClient::Response { .. } => None,
    };
    let answered = tell(door, &headers, message, text, place).await;
    Ok(answered.unwrap_or_else(|unfit| refused(&unfit, given.as_ref())))
}

async fn tell(
    door: &Shared,
    headers: &HeaderMap,
    message: FromClient,
    text: String,
    place: Place,
) -> Result<Response, Unfit> {
    if headers::is_per_request(headers, &message)? {
        if !matches!(message, FromClient::Request { .. }) {
            // Who gives a request up closes its connection; ids are nobody's alone here.
            return Ok(StatusCode::ACCEPTED.into_response());
        }
        if matches!(&message, FromClient::Request { method, .. } if method == "initialize") {
            return Err(Unfit::new(StatusCode::BAD_REQUEST, "mcp-session", "this revision has no sessions"));
        }
        let shown = door.shown(headers)?;
        let key = Key::of(shown.as_deref());
        let connection = door.connections.open(key).ok_or_else(Door::full)?;
        connection.server.shows(shown.as_deref());
        return ask(door, headers, connection, message, None, place).await;
    }
    if let FromClient::Request { method, .. } = &message
        && method == "initialize"
    {
        if headers.contains_key(SESSION) {
            return Err(Unfit::new(StatusCode::BAD_REQUEST, "mcp-session", "a session begins once"));
        }
        let name = (door.name)().ok_or_else(Door::full)?;
        let key = Key::Session(name);
        let shown = door.shown(headers)?;
        let connection = door.connections.open(key.clone()).ok_or_else(Door::full)?;
        connection.server.shows(shown.as_deref());
        return ask(door, headers, connection, message, Some(key), place).await;
    }
    let (_, connection) = door.session(headers)?;
    let mut given_up = None;
    let message = match message {
        FromClient::Request { .. } => {
            return ask(door, headers, connection, message, None, place).await;
        }
        FromClient::Notification { method, params } if method == "notifications/cancelled" => {
            let given = params.get("requestId").and_then(|id| serde_json::from_value::<Id>(id.clone()).ok());
            let Some(own) = given.and_then(|given| connection.client.own_id(&given)) else {
                return Ok(StatusCode::ACCEPTED.into_response());
            };
            let mut params = params;
            params.insert("requestId".to_owned(), json!(own));
            given_up = Some(own);
            FromClient::Notification { method, params }
        }
        other => other,
    };
    let text = match &message {
        FromClient::Notification { method, params } => {
            reply::message(None, method, &Value::Object(params.clone()))
                .map_err(|fault| Unfit::new(StatusCode::BAD_REQUEST, "mcp-json", fault.to_string()))?
        }
        FromClient::Request { .. } | FromClient::Response { .. } => text,
    };
    // It is passed on before the client goes on: what follows may depend on it.
    let passed = spawn_blocking(move || {
        connection.proxy.hear(message, &text);
        // Who gave a request up gets no answer to it.
        if let Some(own) = given_up {
            connection.client.close(&own);
        }
        drop(place);
    });
    let _ = passed.await;
    Ok(StatusCode::ACCEPTED.into_response())
}

/// Refuses a call of which headers say other arguments than its body, or without a session not all that its tool demands. It takes the tool's definition to say which headers are about which,
/// for which it waits among the calls of its connection; what is heard meanwhile ends that.
async fn check_arguments(
    headers: &HeaderMap,
    connection: &Arc<Connection>,
    (method, params): (&str, &Map<String, Value>),
    heard: &mut Heard,
) -> Result<Checked, Unfit> {
    // In sessions they may be missing.
    let are_demanded = !connection.client.is_session();
    if method != "tools/call" || !are_demanded && !headers::repeats_arguments(headers) {
        return Ok(Checked::Fits);
    }
    let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
    let check = |tools: &Tools| {
        let are_demanded = are_demanded && tools.demands_headers(name);
        headers::check_arguments(headers, tools.in_headers(name), params, are_demanded)
    };
    if let Some(tools) = connection.proxy.known_tools() {
        return check(&tools).map(|()| Checked::Fits);
    }
    let (proxy, (to, listed)) = (Arc::clone(&connection.proxy), oneshot::channel());
    let tools = proxy.shared.pool.offer(Some(&connection.proxy.share), params.clone(), {
        let proxy = Arc::clone(&proxy);
        move |asked| {
            // Who no longer waits does not mind.
            let _ = to.send(proxy.tools_for(asked));
        }
    });
    let _wanted = tools.ok_or_else(Door::full)?;
    let listed = tokio::select! {
        biased;
        said = heard.next() => return Ok(Checked::Over(said)),
        listed = listed => listed,
    };
    let unknown = |why: String| Unfit::new(StatusCode::BAD_GATEWAY, "mcp-tools", why);
    let tools = listed.map_err(|fault| unknown(fault.to_string()))?.map_err(|fault| match fault {
        Reply::Error { why, .. } | Reply::Result(why) => unknown(why),
    })?;
    check(&tools).map(|()| Checked::Fits)
}

/// What becomes of a request whose headers are compared with its body.
enum Checked {
    /// They say the same.
    Fits,
    /// It was given up meanwhile, or answered.
    Over(Option<Said>),
}

/// A request that is open, until its answer is on its way or nobody waits any more.
struct Asked {
    connection: Arc<Connection>,
    id: Id,
    _place: Place,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.connection.client.close(&self.id);
        self.connection.proxy.leave(&self.id);
    }
}

/// A request: answered with JSON if the answer is all there is to say soon, and with a stream otherwise.
async fn ask(
    door: &Shared,
    headers: &HeaderMap,
    connection: Arc<Connection>,
    message: FromClient,
    opens: Option<Key>,
    place: Place,
) -> Result<Response, Unfit> {
    let FromClient::Request { id: given, method, mut params } = message else {
        return Err(Unfit::new(StatusCode::BAD_REQUEST, "mcp-shape", "no request"));
    };
    let id = door.connections.id();
    let opened = connection.client.open(id.clone(), &given, &mut params);
    let mut heard = opened.map_err(|why| match why {
        NotOpened::Full => Door::full(),
        NotOpened::IdInUse => {
            let why = format!("{given} is the id of a request that has no answer yet");
            Unfit::new(StatusCode::BAD_REQUEST, "mcp-id-reused", why)
        }
    })?;
    let asked = Asked { connection: Arc::clone(&connection), id: id.clone(), _place: place };
    let first = match check_arguments(headers, &connection, (&method, &params), &mut heard).await? {
        Checked::Over(said) => Ok(said),
        Checked::Fits => {
            let proxy = Arc::clone(&connection.proxy);
            // Asking waits for nobody.
            proxy.hear(FromClient::Request { id: id.clone(), method, params }, "");
            if !connection.client.is_open(&id) {
                // It has its answer already, or was given up before the proxy knew of it.
                proxy.leave(&id);
            }
            timeout(limits::FIRST, heard.next()).await
        }
    };
    let mut opened = opens.as_ref().and_then(|key| match key {
        Key::Session(name) => Some(name.clone()),
        Key::Shown(_) => None,
    });
    let mut response = match first {
        Ok(Some(Said::Answer(text))) => {
            // A session that did not begin is none.
            if let Some(key) = opens.filter(|_| !has_result(&text)) {
                door.connections.close(&key);
                opened = None;
            }
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Ok(Some(Said::Refused { status, authenticate, body })) => {
            if let Some(key) = opens {
                door.connections.close(&key);
            }
            return Ok(passed_on(status, authenticate, body));
        }
        Ok(Some(said @ Said::Message(_))) => streamed(Some(said), heard, asked),
        // A stream of nothing, where it was given up or its session was ended.
        Err(_) | Ok(None) => streamed(None, heard, asked),
    };
    if let Some(name) = opened.and_then(|name| HeaderValue::from_str(&name).ok()) {
        response.headers_mut().insert(SESSION, name);
    }
    Ok(response)
}

fn has_result(answer: &str) -> bool {
    reply::members(answer).is_some_and(|members| members.contains_key("result"))
}

/// The server's own word, by itself or about a request.
async fn listen(door: &Shared, headers: &HeaderMap) -> Result<Response, Unfit> {
    if !headers::accepts(headers, "text/event-stream") {
        let why = "Accept has to name text/event-stream";
        return Err(Unfit::new(StatusCode::NOT_ACCEPTABLE, "mcp-accept", why));
    }
    if headers.contains_key("last-event-id") {
        let why = "streams of this gate are not resumed: they give no ids";
        return Err(Unfit::new(StatusCode::BAD_REQUEST, "mcp-resume", why));
    }
    let (_, connection) = door.session(headers)?;
    let place = door.connections.place().ok_or_else(Door::full)?;
    let Some((number, heard)) = connection.client.stream() else {
        return Err(Unfit::new(StatusCode::CONFLICT, "mcp-stream", "the session has a stream already"));
    };
    let listening = Listening { connection: Arc::clone(&connection), number, _place: place };
    let (to, opened) = oneshot::channel();
    let asked = spawn(move || {
        connection.server.listen(number, |status| {
            // Who no longer listens does not mind.
            let _ = to.send(status);
        });
    });
    asked.map_err(|_| Door::full())?;
    match opened.await {
        Ok(200) => Ok(streamed(None, heard, listening)),
        Ok(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Err(Unfit::new(status, "mcp-upstream", "the server opens no stream"))
        }
        Err(_) => Err(Unfit::new(StatusCode::BAD_GATEWAY, "mcp-upstream", "the server opens no stream")),
    }
}

/// A client that listens, until it is gone.
struct Listening {
    connection: Arc<Connection>,
    number: u64,
    _place: Place,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.connection.client.close_stream(self.number);
        self.connection.server.close_stream(self.number);
    }
}

/// The end of a session.
fn end(door: &Shared, headers: &HeaderMap) -> Result<Response, Unfit> {
    let (key, _) = door.session(headers)?;
    door.connections.close(&key);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A stream of what is heard, up to the answer; `held` is dropped with it.
pub(super) fn streamed<H: Send + 'static>(first: Option<Said>, heard: Heard, held: H) -> Response {
    let state = Some((first, heard, held));
    let events = stream::unfold(state, async |state| {
        let (first, mut heard, held) = state?;
        let said = match first {
            Some(said) => Some(said),
            None => match timeout_at(Instant::now() + limits::ALIVE, heard.next()).await {
                Ok(said) => Some(said?),
                Err(_) => None,
            },
        };
        let (text, is_over) = match said {
            None => (": \n\n".to_owned(), false),
            Some(Said::Message(text)) => (sse::event(&text), false),
            Some(Said::Answer(text) | Said::Refused { body: text, .. }) => (sse::event(&text), true),
        };
        let next = if is_over { None } else { Some((None, heard, held)) };
        Some((Ok::<_, Infallible>(text), next))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache, no-transform")];
    (headers, Body::from_stream(events)).into_response()
}

/// What the server answered instead of a message.
fn passed_on(status: u16, authenticate: Option<String>, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(value) = authenticate.and_then(|value| HeaderValue::from_str(&value).ok()) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

fn refused(unfit: &Unfit, id: Option<&Id>) -> Response {
    let body = reply::error(id, unfit.number, unfit.code, &unfit.why);
    let mut response = passed_on(unfit.status.as_u16(), None, body);
    if unfit.status == StatusCode::SERVICE_UNAVAILABLE {
        let seconds = Duration::from_secs(1).as_secs();
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
