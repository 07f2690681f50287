//! The client's side of a connection: requests that came in HTTP requests of their own, each under an id that no other has, and the
//! stream on which a server speaks by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Map, Value, value::RawValue};
use tokio::sync::mpsc;

use crate::{
    announcing::SUBSCRIPTION,
    limits,
    message::{self, FromServer, Id},
    reply::{self, members},
    writer::Lines,
};

/// What an HTTP exchange is told.
#[derive(Debug)]
pub(super) enum Said {
    /// A message on the way.
    Message(String),
    /// The answer.
    Answer(String),
    /// There is none, for this reason, with what else the upstream said of it.
    Refused { status: u16, authenticate: Option<String>, body: String },
}

/// Where an exchange is told.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    to: mpsc::UnboundedSender<Said>,
    waiting: Arc<AtomicUsize>,
}

/// Where it hears.
#[derive(Debug)]
pub(super) struct Heard {
    from: mpsc::UnboundedReceiver<Said>,
    waiting: Arc<AtomicUsize>,
}

/// A pair of them.
pub(super) fn sink() -> (Sink, Heard) {
    let (to, from) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sink { to, waiting: Arc::clone(&waiting) }, Heard { from, waiting })
}

impl Sink {
    /// `false` if too much waits already, or nobody is there to read it. The last word is always taken: there is one.
    fn send(&self, said: Said) -> bool {
        let is_last = !matches!(said, Said::Message(_));
        let size = said.size();
        let before = self.waiting.fetch_add(size, Ordering::AcqRel);
        let fits = is_last || before == 0 || before.saturating_add(size) <= limits::EXCHANGE_BYTES;
        fits && self.to.send(said).is_ok()
    }
}

impl Heard {
    /// What is said next.
    pub(super) async fn next(&mut self) -> Option<Said> {
        let said = self.from.recv().await?;
        self.waiting.fetch_sub(said.size(), Ordering::AcqRel);
        Some(said)
    }
}

impl Said {
    const fn size(&self) -> usize {
        match self {
            Self::Message(text) | Self::Answer(text) | Self::Refused { body: text, .. } => text.len(),
        }
    }
}

/// Why a request is not taken in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotOpened {
    /// The client has one open under the id that it gave.
    IdInUse,
    /// As many are open as its connection may have.
    Full,
}

/// The requests of a connection's client that are open.
pub(super) struct Exchanges {
    table: Mutex<Table>,
    /// Whether ids are those of one client, which may not use one twice.
    is_session: bool,
    note: Arc<dyn Fn(&str) + Send + Sync>,
}

#[derive(Default)]
struct Table {
    open: HashMap<Id, Exchange>,
    /// The ids that a session's client gave to what is open.
    given: HashMap<Id, Id>,
    /// Where the server speaks by itself, and which of the connection's streams that is.
    stream: Option<(u64, Sink)>,
    streams: u64,
}

struct Exchange {
    /// The id that the client gave.
    id: Id,
    /// What the client wants progress to be known by.
    token: Option<Value>,
    to: Sink,
}

impl Exchanges {
    pub(super) fn new(is_session: bool, note: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { table: Mutex::default(), is_session, note }
    }

    /// Takes a request in: `id` is its own from now on, also for progress.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub(super) fn open(
        &self,
        id: Id,
        given: &Id,
        params: &mut Map<String, Value>,
    ) -> Result<Heard, NotOpened> {
        let mut table = self.table();
        if table.open.len() + usize::from(table.stream.is_some()) >= limits::EXCHANGES_SHARE {
            return Err(NotOpened::Full);
        }
        if self.is_session {
            if table.given.contains_key(given) {
                return Err(NotOpened::IdInUse);
            }
            table.given.insert(given.clone(), id.clone());
        }
        let meta = params.get_mut("_meta").and_then(Value::as_object_mut);
        let token = meta.and_then(|meta| meta.get_mut("progressToken"));
        let own = serde_json::to_value(&id).unwrap_or_default();
        let token = token.map(|token| std::mem::replace(token, own));
        let (to, heard) = sink();
        table.open.insert(id, Exchange { id: given.clone(), token, to });
        Ok(heard)
    }

    /// Whether its client has a session.
    pub(super) const fn is_session(&self) -> bool {
        self.is_session
    }

    /// Whether a request has no answer yet, and was not given up.
    pub(super) fn is_open(&self, id: &Id) -> bool {
        self.table().open.contains_key(id)
    }

    /// Answers all that is open: their connection has ended.
    pub(super) fn end(&self) {
        let open = {
            let mut table = self.table();
            table.given.clear();
            table.stream = None;
            std::mem::take(&mut table.open)
        };
        // A session that ended is not found any more; who has none may ask again.
        let status = if self.is_session { 404 } else { 503 };
        for exchange in open.into_values() {
            let why = "this connection ended before there was an answer; what was begun may still end";
            let body = reply::error(Some(&exchange.id), message::INTERNAL, "mcp-ended", why);
            exchange.to.send(Said::Refused { status, authenticate: None, body });
        }
    }

    /// The id under which a request of the client goes on.
    pub(super) fn own_id(&self, given: &Id) -> Option<Id> {
        self.table().given.get(given).cloned()
    }

    /// Forgets a request.
    pub(super) fn close(&self, id: &Id) {
        self.table().close(id);
    }

    /// Forgets a request to which no answer came.
    pub(super) fn refuse(
        &self,
        id: &Id,
        status: u16,
        authenticate: Option<String>,
        body: impl FnOnce(&Id) -> String,
    ) {
        if let Some(exchange) = self.table().close(id) {
            let body = body(&exchange.id);
            exchange.to.send(Said::Refused { status, authenticate, body });
        }
    }

    /// Opens the stream on which the server speaks by itself, under a number that none had before; `None` if one is open.
    pub(super) fn stream(&self) -> Option<(u64, Heard)> {
        let mut table = self.table();
        if table.stream.is_some() {
            return None;
        }
        let (to, heard) = sink();
        table.streams += 1;
        let number = table.streams;
        table.stream = Some((number, to));
        Some((number, heard))
    }

    /// Closes the stream of this number, and none that was opened since.
    pub(super) fn close_stream(&self, number: u64) {
        self.table().stream.take_if(|(open, _)| *open == number);
    }

    /// Whether the stream of this number is open.
    pub(super) fn has_stream(&self, number: u64) -> bool {
        self.table().stream.as_ref().is_some_and(|(open, _)| *open == number)
    }

    /// Whether anything is open.
    pub(super) fn is_busy(&self) -> bool {
        let table = self.table();
        !table.open.is_empty() || table.stream.is_some()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes on what is no answer: with the request that it came with, or else on the server's own stream.
    fn pass(&self, line: &str, about: Option<&Id>) -> bool {
        let Some(mut said) = members(line) else { return false };
        let mut table = self.table();
        let about = progress_of(&said).or_else(|| about.cloned());
        if let Some((id, exchange)) = about.as_ref().and_then(|id| Some((id, table.open.get(id)?))) {
            exchange.restore(id, &mut said);
            let is_read = text(&said).is_some_and(|text| exchange.to.send(Said::Message(text)));
            if !is_read && let Some(id) = about {
                // Who does not read is told nothing more.
                table.close(&id);
            }
            return is_read;
        }
        let Some((_, stream)) = &table.stream else { return false };
        let is_read = stream.send(Said::Message(line.to_owned()));
        if !is_read {
            table.stream = None;
        }
        is_read
    }
}

impl Lines for Exchanges {
    fn send(&self, line: &str, about: Option<&Id>) -> bool {
        let id = match FromServer::parse(line) {
            Ok(FromServer::Result { id, .. } | FromServer::Error { id: Some(id), .. }) => id,
            Ok(FromServer::Request { method, .. }) => {
                let is_passed = self.pass(line, about);
                if !is_passed {
                    (self.note)(&format!("the server asks {method:?} of a client that does not listen"));
                }
                return is_passed;
            }
            Ok(FromServer::Notification { .. }) => {
                // What nobody listens for is lost, as the protocol has it.
                self.pass(line, about);
                return true;
            }
            Ok(FromServer::Error { id: None, .. }) | Err(_) => return false,
        };
        let Some(exchange) = self.table().close(&id) else { return true };
        let Some(mut said) = members(line) else { return false };
        exchange.restore(&id, &mut said);
        text(&said).is_some_and(|text| exchange.to.send(Said::Answer(text)))
    }

    fn drain(&self, _: Duration) {}
}

impl Table {
    fn close(&mut self, id: &Id) -> Option<Exchange> {
        let exchange = self.open.remove(id)?;
        self.given.retain(|_, own| own != id);
        Some(exchange)
    }
}

type Members = std::collections::BTreeMap<String, Box<RawValue>>;

impl Exchange {
    /// Puts back what the client called things.
    fn restore(&self, id: &Id, said: &mut Members) {
        if said.contains_key("result") || said.contains_key("error") {
            put(said, "id", &self.id);
        }
        for part in ["params", "result"] {
            let Some(mut inner) = said.get(part).and_then(|part| members(part.get())) else { continue };
            let mut changed = false;
            if part == "params" && is_id(&inner, "progressToken", id) {
                if let Some(token) = &self.token {
                    put(&mut inner, "progressToken", token);
                }
                changed = true;
            }
            if let Some(mut meta) = inner.get("_meta").and_then(|meta| members(meta.get()))
                && is_id(&meta, SUBSCRIPTION, id)
            {
                put(&mut meta, SUBSCRIPTION, &self.id);
                put(&mut inner, "_meta", &meta);
                changed = true;
            }
            if part == "params" && is_id(&inner, "requestId", id) {
                put(&mut inner, "requestId", &self.id);
                changed = true;
            }
            if changed {
                put(said, part, &inner);
            }
        }
    }
}

fn put(members: &mut Members, name: &str, value: &impl serde::Serialize) {
    if let Ok(value) = serde_json::value::to_raw_value(value) {
        members.insert(name.to_owned(), value);
    }
}

fn is_id(members: &Members, name: &str, id: &Id) -> bool {
    members.get(name).and_then(|value| serde_json::from_str::<Id>(value.get()).ok()).as_ref() == Some(id)
}

/// The request that progress is about.
fn progress_of(said: &Members) -> Option<Id> {
    let is_progress = said.get("method").is_some_and(|method| method.get() == "\"notifications/progress\"");
    let params = said.get("params").filter(|_| is_progress)?;
    serde_json::from_str(members(params.get())?.get("progressToken")?.get()).ok()
}

fn text(said: &Members) -> Option<String> {
    serde_json::to_string(said).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn exchanges(is_session: bool) -> Exchanges {
        Exchanges::new(is_session, Arc::new(|_| ()))
    }

    fn opened(exchanges: &Exchanges, own: i64, given: &str, token: &str) -> Option<Heard> {
        let mut params = json!({"_meta": {"progressToken": token}}).as_object().unwrap().clone();
        let heard = exchanges.open(Id::Number(own), &Id::Text(given.to_owned()), &mut params).ok();
        assert!(heard.is_none() || params["_meta"]["progressToken"] == own);
        heard
    }

    fn next(heard: &mut Heard) -> Option<Value> {
        let said = heard.from.try_recv().ok()?;
        let (Said::Message(text) | Said::Answer(text) | Said::Refused { body: text, .. }) = said;
        Some(serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn each_request_hears_what_is_about_it_in_its_clients_words_and_nothing_else() {
        let exchanges = exchanges(false);
        let mut one = opened(&exchanges, 1, "same", "a").unwrap();
        let mut two = opened(&exchanges, 2, "same", "b").unwrap();
        let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":2,"progress":1}}"#;
        assert!(exchanges.send(progress, None));
        assert_eq!(next(&mut two).unwrap()["params"], json!({"progressToken": "b", "progress": 1}));
        let of = r#"{"jsonrpc":"2.0","method":"notifications/x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#;
        assert!(exchanges.send(of, Some(&Id::Number(1))));
        assert_eq!(next(&mut one).unwrap()["params"]["_meta"][SUBSCRIPTION], "same");
        assert!(exchanges.send(r#"{"jsonrpc":"2.0","id":1,"result":{"big":9007199254740993}}"#, None));
        let Ok(Said::Answer(text)) = one.from.try_recv() else { unreachable!() };
        assert!(text.contains(r#""id":"same""#) && text.contains("9007199254740993"), "{text}");
        // Once it has its answer it hears nothing more, and neither does another in its place.
        assert!(!exchanges.send(r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#, Some(&Id::Number(1))));
        assert!(next(&mut one).is_none() && next(&mut two).is_none());
    }

    #[test]
    fn a_client_uses_no_id_twice_in_its_session() {
        let session = exchanges(true);
        let _one = opened(&session, 1, "same", "a").unwrap();
        assert!(opened(&session, 2, "same", "a").is_none());
        session.close(&Id::Number(1));
        assert!(opened(&session, 3, "same", "a").is_some());
    }

    /// One client's requests took every place of the gate.
    #[test]
    fn a_connection_has_its_share_of_open_requests_and_no_more() {
        for is_session in [true, false] {
            let exchanges = exchanges(is_session);
            let open = |number: usize| {
                let own = Id::Number(i64::try_from(number).unwrap());
                exchanges.open(own.clone(), &own, &mut Map::new())
            };
            let (stream, _stream) = exchanges.stream().unwrap();
            let most = limits::EXCHANGES_SHARE;
            let _open: Vec<_> = (1..most).map(|number| open(number).unwrap()).collect();
            assert_eq!(open(most).unwrap_err(), NotOpened::Full, "its stream counts");
            exchanges.close_stream(stream);
            let _last = open(most).unwrap();
            assert_eq!(open(most + 1).unwrap_err(), NotOpened::Full, "over it");
            exchanges.close(&Id::Number(1));
            assert!(open(most + 1).is_ok());
        }
    }

    #[test]
    fn who_does_not_read_takes_as_much_memory_as_may_wait_and_no_more() {
        let (sink, mut heard) = sink();
        let half = || Said::Message("x".repeat(limits::EXCHANGE_BYTES / 2));
        assert!(sink.send(half()) && sink.send(half()), "at the limit");
        assert!(!sink.send(Said::Message("x".to_owned())), "over it");
        assert!(
            sink.send(Said::Answer("x".repeat(limits::EXCHANGE_BYTES))),
            "an answer is not lost behind them"
        );
        heard.from.try_recv().unwrap();
        let (sink, _heard) = super::sink();
        assert!(sink.send(Said::Answer("x".repeat(limits::EXCHANGE_BYTES + 1))), "one that waits alone");
        assert!(!sink.send(Said::Message("x".to_owned())));
    }
}
