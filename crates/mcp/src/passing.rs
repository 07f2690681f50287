//! Requests that are no calls: what the client reads, and what the server asks of the client, passes as the policy in force allows.
//!
//! None of them changes anything that a receipt could show, so none is an action with a run of its own: the policy is asked about it under
//! the name `SERVER:METHOD`, and what it does not allow is refused, on record. Until that is known nothing of it reaches anybody.

use std::sync::Arc;

use counterfoil_receipt::json as canonical;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    desk::NotAsked,
    limits,
    message::{self, Id},
    pool::OnPanic,
    proxy::{CAPABILITIES, FAILED, Open, Proxy, Reply, busy, parameters},
    reply::{self, Era},
    waiting::OURS,
};

/// What a client may ask its server for whatever the policy says: that concerns the connection alone. Lists are emptied where
/// nothing of them could be had.
pub(crate) const PASSED: [&str; 10] = [
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
];

/// What a client may ask its server for where the policy allows it.
const OF_CLIENT: [&str; 4] = ["completion/complete", "prompts/get", "resources/read", "resources/subscribe"];

/// What a server may ask its client for where the policy allows it, with the capability by which the client says that it answers.
const OF_SERVER: [(&str, &str); 3] =
    [("elicitation/create", "elicitation"), ("roots/list", "roots"), ("sampling/createMessage", "sampling")];

/// Lists, the member that has what is listed, and what that is for.
const LISTS: [(&str, &str, &[&str]); 3] = [
    ("prompts/list", "prompts", &["prompts/get"]),
    ("resources/list", "resources", &["resources/read", "resources/subscribe"]),
    ("resources/templates/list", "resourceTemplates", &["resources/read", "resources/subscribe"]),
];

/// The number of an error by which a server has people open an address. It would ask them past the policy.
pub(crate) const OPEN_ADDRESS: i64 = -32_042;

/// A method and its parameters, as the policy is asked about them.
type Wanted = Vec<(&'static str, Map<String, Value>)>;

/// Whether the policy is asked before the server is given this request.
pub(crate) fn is_judged(method: &str, params: &Map<String, Value>) -> bool {
    match method {
        "initialize" => params.get("capabilities").is_some_and(declares_any),
        "subscriptions/listen" => subscriptions(params).is_some(),
        _ => OF_CLIENT.contains(&method),
    }
}

/// Whether it takes the log to say what of a result is passed on.
pub(crate) fn needs_the_log(method: &str, result: &str) -> bool {
    method == "tools/list" || LISTS.iter().any(|(list, ..)| *list == method) || !is_complete(result)
}

/// What the policy is asked about a request of the client.
fn wanted(method: &str, params: &Map<String, Value>) -> Result<Wanted, Reply> {
    if method == "subscriptions/listen" {
        let no_list = || parameters("resourceSubscriptions is no list of texts".to_owned());
        let uris = subscriptions(params).and_then(Value::as_array).ok_or_else(no_list)?;
        let subscribe = |uri: &Value| {
            let params = Map::from_iter([("uri".to_owned(), uri.clone())]);
            uri.as_str().map(|_| ("resources/subscribe", params)).ok_or_else(no_list)
        };
        return uris.iter().map(subscribe).collect();
    }
    let known = OF_CLIENT.into_iter().find(|known| *known == method);
    Ok(known.map(|known| (known, params.clone())).into_iter().collect())
}

/// The resources that a client wants to hear of.
fn subscriptions(params: &Map<String, Value>) -> Option<&Value> {
    params.get("notifications")?.get("resourceSubscriptions")
}

impl Proxy {
    /// A request of the client that is passed on if the policy allows it; at once where that is known.
    pub(crate) fn pass_if_allowed(
        self: &Arc<Self>,
        id: &Id,
        method: &str,
        params: Map<String, Value>,
    ) -> Result<(), Reply> {
        let wanted = wanted(method, &params)?;
        let serial = {
            let mut state = self.state();
            state.numbered += 1;
            let serial = state.numbered;
            state.note_subscription(id, method, &params);
            let judged = Open::Judged { method: method.to_owned(), serial, wanted: None };
            state.open.insert(id.clone(), judged);
            serial
        };
        let is_known = method != "initialize"
            && self.desk_at_hand().is_some_and(|desk| {
                wanted.iter().all(|(method, params)| desk.is_known_to_pass(method, params))
            });
        if is_known {
            self.pass_on(id, serial, params);
            return Ok(());
        }
        let (proxy, given, method) = (Arc::clone(self), id.clone(), method.to_owned());
        let offered = self.shared.judged.offer(None, (wanted, params), move |(wanted, mut params)| {
            let why = "this gate failed to judge the request";
            let _answered = OnPanic(|| proxy.keep_back(&given, serial, message::INTERNAL, FAILED, why));
            if method == "initialize" {
                proxy.without_denied_capabilities(&mut params);
            }
            match proxy.judge(&wanted) {
                Ok(()) => proxy.pass_on(&given, serial, params),
                Err(fault) => {
                    proxy.keep_back(&given, serial, message::INVALID_REQUEST, &fault.code, &refused(&fault));
                }
            }
        });
        let mut state = self.state();
        match (offered, state.open.get_mut(id)) {
            (None, _) => {
                state.open.remove(id);
                return Err(busy());
            }
            (offered, Some(Open::Judged { serial: own, wanted, .. })) if *own == serial => *wanted = offered,
            // It is judged already, or was given up.
            (Some(_), _) => {}
        }
        Ok(())
    }

    fn judge(&self, wanted: &[(&'static str, Map<String, Value>)]) -> Result<(), NotAsked> {
        if wanted.is_empty() {
            return Ok(());
        }
        let desk = self.desk()?;
        wanted.iter().try_for_each(|(method, params)| desk.passes(method, params))
    }

    /// Gives the server a request that passes, unless it was cancelled meanwhile.
    fn pass_on(&self, id: &Id, serial: u64, params: Map<String, Value>) {
        let mut state = self.state();
        let Some(Open::Judged { method, serial: own, .. }) = state.open.get(id) else { return };
        if *own != serial {
            return;
        }
        let method = method.clone();
        let text = reply::message(Some(id), &method, &Value::Object(params));
        state.open.insert(id.clone(), Open::Passed(method));
        // Who cancels it now is heard by the server after this.
        let is_sent = text.is_ok_and(|text| self.to_server(&text));
        if !is_sent {
            state.open.remove(id);
            drop(state);
            let why = "the server does not read";
            self.to_client(&reply::error(Some(id), message::INTERNAL, "mcp-server-busy", why));
        }
    }

    /// Answers a request that does not pass, unless it was cancelled meanwhile.
    fn keep_back(&self, id: &Id, serial: u64, number: i64, code: &str, why: &str) {
        let mut state = self.state();
        if !matches!(state.open.get(id), Some(Open::Judged { serial: own, .. }) if *own == serial) {
            return;
        }
        state.open.remove(id);
        drop(state);
        self.to_client(&reply::error(Some(id), number, code, why));
    }

    /// A request of the server; what it is told if the client is not asked.
    pub(crate) fn asked_by_server(
        self: &Arc<Self>,
        id: &Id,
        method: &str,
        params: Option<&RawValue>,
        (text, about): (&str, Option<&Id>),
    ) -> Result<(), (i64, String, String)> {
        let known = OF_SERVER.into_iter().map(|(known, _)| known).find(|known| *known == method);
        {
            let mut state = self.state();
            let fits = state.era != Some(Era::Request)
                && !state.ended
                && state.asked.len() + state.to_judge.len() < limits::OPEN_REQUESTS
                && !state.asked.contains(id)
                && !state.to_judge.contains(id);
            if fits && method == "ping" {
                state.asked.insert(id.clone());
                drop(state);
                self.tell_client(id, text, about);
                return Ok(());
            }
            if !fits || known.is_none() {
                let why = "not through this gate".to_owned();
                return Err((message::NO_METHOD, "mcp-method".to_owned(), why));
            }
            state.to_judge.insert(id.clone());
        }
        let Some(known) = known else { return Ok(()) };
        // It is judged by what it says, so it is read as strictly as what a client sends, and passed on as it was read.
        let params = read_strictly(params.map_or("{}", RawValue::get)).map_err(|why| {
            self.state().to_judge.remove(id);
            (message::INVALID_PARAMS, "mcp-json".to_owned(), why)
        })?;
        if self.desk_at_hand().is_some_and(|desk| desk.is_known_to_pass(known, &params)) {
            self.ask_client(id, known, params, about);
            return Ok(());
        }
        let (proxy, given, about) = (Arc::clone(self), id.clone(), about.cloned());
        let is_taken = self.shared.judged.try_run(move || {
            let why = "this gate failed to judge the request";
            let _answered = OnPanic(|| proxy.keep_from_client(&given, message::INTERNAL, FAILED, why));
            match proxy.desk().and_then(|desk| desk.passes(known, &params)) {
                Ok(()) => proxy.ask_client(&given, known, params, about.as_ref()),
                Err(fault) => {
                    let why = refused(&fault);
                    proxy.keep_from_client(&given, message::INVALID_REQUEST, &fault.code, &why);
                }
            }
        });
        if !is_taken && self.state().to_judge.remove(id) {
            let why = "as many requests wait for their turn as may".to_owned();
            return Err((message::INTERNAL, "mcp-busy".to_owned(), why));
        }
        Ok(())
    }

    /// Answers a request of the server of which the client does not hear, unless it gave it up meanwhile.
    fn keep_from_client(&self, id: &Id, number: i64, code: &str, why: &str) {
        if self.state().to_judge.remove(id) {
            self.to_server(&reply::error(Some(id), number, code, why));
        }
    }

    fn ask_client(&self, id: &Id, method: &str, params: Map<String, Value>, about: Option<&Id>) {
        let Ok(text) = reply::message(Some(id), method, &Value::Object(params)) else { return };
        let mut state = self.state();
        if state.to_judge.remove(id) {
            state.asked.insert(id.clone());
            drop(state);
            self.tell_client(id, &text, about);
        }
    }

    /// Passes a request of the server on, which is to hear of it where no client will.
    fn tell_client(&self, id: &Id, text: &str, about: Option<&Id>) {
        if !self.to_client_about(text, about) && self.state().asked.remove(id) {
            let why = "the client does not listen";
            self.to_server(&reply::error(Some(id), message::NO_METHOD, "mcp-method", why));
        }
    }

    /// The server no longer wants what it asked for.
    pub(crate) fn server_gave_up(&self, params: Option<&str>) {
        let params: Option<Value> = params.and_then(|params| serde_json::from_str(params).ok());
        let id =
            params.and_then(|params| serde_json::from_value::<Id>(params.get("requestId")?.clone()).ok());
        if let Some(id) = id {
            let mut state = self.state();
            state.to_judge.remove(&id);
            state.asked.remove(&id);
        }
    }

    /// What of a result is said otherwise to the client, by what the policy allows; `None` if it is passed on as it is.
    pub(crate) fn passed_as_allowed(
        &self,
        method: &str,
        result: &str,
        era: Era,
    ) -> Result<Option<String>, (String, String)> {
        if !is_complete(result) {
            return self.with_judged_inputs(result).map(Some);
        }
        let Some((_, member, uses)) = LISTS.iter().find(|(list, ..)| *list == method) else {
            return Ok(None);
        };
        let is_offered = self.desk().map_or_else(
            |fault| {
                (self.shared.note)(&format!(
                    "{method} is answered as the server does: {}: {}",
                    fault.code, fault.why
                ));
                true
            },
            |desk| desk.offers(uses),
        );
        if is_offered {
            return Ok(None);
        }
        let result: Result<Map<String, Value>, _> = serde_json::from_str(result);
        let mut result = result.map_err(|fault| ("mcp-result".to_owned(), fault.to_string()))?;
        result.remove("nextCursor");
        result.insert((*member).to_owned(), Value::Array(Vec::new()));
        if era == Era::Request {
            // Another policy may show more.
            result.insert("ttlMs".to_owned(), 0.into());
            result.insert("cacheScope".to_owned(), "private".into());
        }
        Ok(Some(Value::Object(result).to_string()))
    }

    /// A result that wants something of the client before it is complete (2026-07-28): what it wants is judged as if the server asked for it,
    /// and passed on as it was read.
    pub(crate) fn with_judged_inputs(&self, result: &str) -> Result<String, (String, String)> {
        let malformed = |why: String| ("mcp-result".to_owned(), format!("the server's result: {why}"));
        let result = read_strictly(result).map_err(malformed)?;
        let kind = result.get("resultType").unwrap_or(&Value::Null);
        if kind != "input_required" {
            return Err(malformed(format!("it is of type {kind}")));
        }
        let state = result.get("requestState").and_then(Value::as_str);
        if state.is_some_and(|state| state.starts_with(OURS)) {
            return Err(malformed(format!("its state begins with {OURS:?}, as only this gate's do")));
        }
        let none = Map::new();
        let inputs = match result.get("inputRequests") {
            None => &none,
            Some(Value::Object(inputs)) => inputs,
            Some(_) => return Err(malformed("inputRequests is no object".to_owned())),
        };
        let mut wanted = Wanted::new();
        for input in inputs.values() {
            let method = input.get("method").and_then(Value::as_str).unwrap_or_default();
            let known = OF_SERVER.into_iter().map(|(known, _)| known).find(|known| *known == method);
            let known = known.ok_or_else(|| malformed(format!("it asks the client for {method:?}")))?;
            let params = match input.get("params") {
                None => Map::new(),
                Some(Value::Object(params)) => params.clone(),
                Some(_) => return Err(malformed("params is no object".to_owned())),
            };
            wanted.push((known, params));
        }
        self.judge(&wanted).map_err(|fault| {
            let why = refused(&fault);
            (fault.code, why)
        })?;
        Ok(Value::Object(result).to_string())
    }

    /// Takes from what a client says that it can do what the policy denies its server to ask, as far as the log says that.
    fn without_denied_capabilities(&self, params: &mut Map<String, Value>) {
        let Some(Value::Object(capabilities)) = params.get_mut("capabilities") else { return };
        let Ok(desk) = self.desk() else { return };
        for (method, capability) in OF_SERVER {
            if capabilities.contains_key(capability) && !desk.offers(&[method]) {
                capabilities.remove(capability);
            }
        }
    }

    /// The same for a request that says itself what its client can do, as far as it is known already.
    pub(crate) fn without_what_is_denied(&self, params: &mut Map<String, Value>) {
        let capabilities = params.get_mut("_meta").and_then(|meta| meta.get_mut(CAPABILITIES));
        let Some(Value::Object(capabilities)) = capabilities else { return };
        let Some(desk) = self.desk_at_hand() else { return };
        for (method, capability) in OF_SERVER {
            if capabilities.contains_key(capability) && desk.is_known_not_to_offer(method) {
                capabilities.remove(capability);
            }
        }
    }
}

/// Whether a client says that it answers something that a server asks.
fn declares_any(capabilities: &Value) -> bool {
    OF_SERVER.iter().any(|(_, capability)| capabilities.get(capability).is_some())
}

/// Whether a result is one that wants nothing more, as all are of the revisions before 2026-07-28.
fn is_complete(result: &str) -> bool {
    reply::members(result)
        .is_some_and(|members| members.get("resultType").is_none_or(|kind| kind.get() == "\"complete\""))
}

/// Whether a result wants input before it is complete.
pub(crate) fn wants_input(result: &str) -> bool {
    let kind = reply::members(result).and_then(|mut members| members.remove("resultType"));
    kind.is_some_and(|kind| kind.get() == "\"input_required\"")
}

fn read_strictly(object: &str) -> Result<Map<String, Value>, String> {
    let canonical = canonical::canonicalize_input(object.as_bytes(), &limits::MESSAGE_JSON)
        .map_err(|fault| fault.to_string())?;
    serde_json::from_slice(&canonical).map_err(|fault| fault.to_string())
}

fn refused(fault: &NotAsked) -> String {
    format!("refused: {}: {}", fault.code, fault.why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::{lines::Line, pool::Share, shared, writer::Lines};

    /// Who takes everything.
    #[derive(Default)]
    struct Taker(Mutex<Vec<String>>);

    impl Lines for Taker {
        fn send(&self, line: &str, _: Option<&Id>) -> bool {
            self.0.lock().unwrap().push(line.to_owned());
            true
        }

        fn drain(&self, _: Duration) {}
    }

    /// What a server had asked and gave up counted as asked for ever.
    #[test]
    fn what_a_server_no_longer_asks_is_forgotten() {
        let taker = Arc::<Taker>::default();
        let proxy = Proxy::new(taker.clone(), taker, shared::tests::without_a_log(), limits::RUNNING);
        let say = |line: &str| proxy.from_server(&Line::Whole(line.as_bytes().to_vec()), None);
        say(r#"{"jsonrpc":"2.0","id":"s1","method":"ping"}"#);
        assert_eq!(proxy.state().asked.len(), 1);
        say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"s1"}}"#);
        assert!(proxy.state().asked.is_empty());
    }

    /// A call that waited for a thread was begun though its client had left, and kept its arguments until then.
    #[test]
    fn a_call_that_was_given_up_before_its_turn_is_not_begun() {
        let (shared, server) = (shared::tests::without_a_log(), Arc::<Taker>::default());
        let proxy = Proxy::new(Arc::<Taker>::default(), server.clone(), Arc::clone(&shared), limits::RUNNING);
        let mut ends: Vec<_> = (0..limits::RUNNING)
            .map(|_| {
                let ((begins, began), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
                shared.pool.run(&Share::new(1), move || {
                    begins.send(()).unwrap();
                    let _ = ends.recv();
                });
                began.recv().unwrap();
                end
            })
            .collect();
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read"}}"#;
        let say = |line: &str| proxy.from_client(&Line::Whole(line.as_bytes().to_vec()));
        say(call);
        proxy.leave(&Id::Number(1));
        say(&call.replace("\"id\":1", "\"id\":2"));
        say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
        // One thread does what waits, in its order.
        let (to, done) = mpsc::channel();
        shared.pool.run(&Share::new(1), move || to.send(()).unwrap());
        ends.pop();
        done.recv().unwrap();
        assert_eq!(*server.0.lock().unwrap(), Vec::<String>::new());
    }
}
