//! What the gate asks a server in its own name: for its tools, whose definitions calls are judged by.

use std::{
    sync::{Arc, PoisonError, mpsc},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::{
    limits,
    message::{self, Id},
    proxy::{Answer, OWN, Proxy, Reply, without_tasks},
    reply,
    tools::{Page, Tool, Tools},
};

/// The code of a call of a tool that the server has not.
pub(crate) const TOOL_UNKNOWN: &str = "tool-unknown";

/// What the server was asked for its tools.
#[derive(Default)]
pub(crate) struct Listing {
    /// Whether somebody asks it now.
    under_way: bool,
    /// When it was asked last, and what it said.
    last: Option<(Instant, Result<Arc<Tools>, String>)>,
}

/// Somebody asks the server for its tools, until this goes out of scope.
struct UnderWay<'p>(&'p Proxy);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.state().listing.under_way = false;
        self.0.changed.notify_all();
    }
}

impl Proxy {
    /// A tool; the server is asked for its tools where they are not known, or were for longer than `age`, as the request with this `meta`
    /// would ask.
    pub(crate) fn definition(&self, tool: &str, age: Duration, meta: Option<&Value>) -> Result<Tool, Reply> {
        let found = self.tools(age, meta)?.get(tool);
        found.ok_or_else(|| Reply::Error {
            number: message::INVALID_PARAMS,
            code: TOOL_UNKNOWN,
            why: format!("the server has no tool {tool:?}"),
        })
    }

    /// All of them, asked for as a request with these parameters would be.
    pub(crate) fn tools_for(&self, mut params: Map<String, Value>) -> Result<Arc<Tools>, Reply> {
        without_tasks(&mut params);
        self.without_what_is_denied(&mut params);
        let mut meta = params.remove("_meta");
        if let Some(Value::Object(meta)) = &mut meta {
            meta.remove("progressToken");
        }
        self.tools(limits::DEFINITIONS, meta.as_ref())
    }

    /// All of them where they are known, without asking anybody.
    pub(crate) fn known_tools(&self) -> Option<Arc<Tools>> {
        self.state().tools.clone().filter(|tools| tools.age() < limits::DEFINITIONS)
    }

    /// All of them. One asks the server, and who comes meanwhile waits for what it says.
    fn tools(&self, age: Duration, meta: Option<&Value>) -> Result<Arc<Tools>, Reply> {
        let unknown = |why: &str| Reply::Error {
            number: message::INTERNAL,
            code: "mcp-tools",
            why: format!("the server's tools are not known: {why}"),
        };
        let (came, mut has_waited) = (Instant::now(), false);
        let mut state = self.state();
        let changes = loop {
            if let Some(known) = state.tools.as_ref().filter(|tools| tools.age() < age) {
                return Ok(Arc::clone(known));
            }
            match &state.listing.last {
                Some((asked, Ok(listed))) if *asked >= came => return Ok(Arc::clone(listed)),
                // Who waited for a server that does not say does not wait as long again.
                Some((_, Err(why))) if has_waited && !state.listing.under_way => return Err(unknown(why)),
                _ => {}
            }
            if !state.listing.under_way {
                break state.changes;
            }
            has_waited = true;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.listing.under_way = true;
        drop(state);
        let under_way = UnderWay(self);
        let asked = Instant::now();
        let listed = self.list_tools(meta, limits::LISTING).map(Arc::new);
        let mut state = self.state();
        state.listing.last = Some((asked, listed.clone()));
        // What changed while it was listed is asked for again.
        if let Ok(listed) = &listed
            && state.changes == changes
        {
            state.tools = Some(Arc::clone(listed));
        }
        drop(state);
        drop(under_way);
        listed.map_err(|why| unknown(&why))
    }

    /// Asks for all pages, which may take so long together.
    fn list_tools(&self, meta: Option<&Value>, most: Duration) -> Result<Tools, String> {
        let (until, mut tools, mut cursor) = (Instant::now() + most, Tools::default(), None);
        for _ in 0..limits::PAGES {
            let mut params = json!({});
            if let Some(cursor) = cursor {
                params["cursor"] = Value::String(cursor);
            }
            let late = || format!("not listed within {most:?}");
            let left = until.checked_duration_since(Instant::now()).ok_or_else(late)?;
            let page = self.ask("tools/list", params, meta, left);
            let page = page.map_err(|why| why.unwrap_or_else(late))?;
            let page = Page::parse(&page)?;
            tools.add(&page)?;
            cursor = page.next;
            if cursor.is_none() {
                return Ok(tools);
            }
        }
        Err(format!("more than {} pages", limits::PAGES))
    }

    /// Asks the server for something in the gate's own name; nothing of why there is no answer where that is that it takes too long.
    fn ask(
        &self,
        method: &str,
        mut params: Value,
        meta: Option<&Value>,
        most: Duration,
    ) -> Result<String, Option<String>> {
        let (to, from) = mpsc::channel();
        let id = {
            let mut state = self.state();
            if state.ended {
                return Err(Some("the server ended".to_owned()));
            }
            state.numbered += 1;
            let id = Id::Text(format!("{OWN}{}", state.numbered));
            if let Some(meta) = meta {
                params["_meta"] = meta.clone();
            }
            state.awaited.insert(id.clone(), to);
            id
        };
        let text = reply::message(Some(&id), method, &params).map_err(|fault| fault.to_string());
        let sent = text.and_then(|text| {
            if self.to_server(&text) { Ok(()) } else { Err("the server does not read".to_owned()) }
        });
        if let Err(why) = sent {
            self.state().awaited.remove(&id);
            return Err(Some(why));
        }
        match from.recv_timeout(most) {
            Ok(Answer::Result(result)) => Ok(result),
            Ok(Answer::Error { code, message }) => Err(Some(format!("{message} ({code})"))),
            Ok(Answer::Gone(why)) => Err(Some(why.to_owned())),
            Ok(Answer::Lost(why) | Answer::NotSent(why)) => Err(Some(why)),
            Err(_) => {
                self.state().awaited.remove(&id);
                Err(None)
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        sync::{Mutex, OnceLock, Weak},
        thread,
    };

    use super::*;
    use crate::{lines::Line, pool::Share, shared, writer::Lines};

    /// What a server answers to a request, if it does.
    type Answers = Box<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

    /// A server, or a client, that keeps what it was told, and answers.
    pub(crate) struct Told {
        lines: Mutex<Vec<Value>>,
        answers: Answers,
        proxy: OnceLock<Weak<Proxy>>,
    }

    impl Told {
        pub(crate) fn new(answers: impl Fn(&Value) -> Option<Value> + Send + Sync + 'static) -> Arc<Self> {
            Arc::new(Self { lines: Mutex::default(), answers: Box::new(answers), proxy: OnceLock::new() })
        }

        /// What it was told that has this method, or all.
        pub(crate) fn told(&self, method: Option<&str>) -> Vec<Value> {
            let lines = self.lines.lock().unwrap().clone();
            lines.into_iter().filter(|line| method.is_none_or(|method| line["method"] == method)).collect()
        }
    }

    impl Lines for Told {
        fn send(&self, line: &str, _: Option<&Id>) -> bool {
            let told: Value = serde_json::from_str(line).unwrap();
            self.lines.lock().unwrap().push(told.clone());
            if let Some((result, proxy)) = (self.answers)(&told).zip(self.proxy.get().and_then(Weak::upgrade))
            {
                let answer = json!({"jsonrpc": "2.0", "id": told["id"], "result": result});
                proxy.from_server(&Line::Whole(answer.to_string().into_bytes()), None);
            }
            true
        }

        fn drain(&self, _: Duration) {}
    }

    /// A connection between a client that keeps what it is told and a server.
    pub(crate) fn between(shared: Arc<shared::Shared>, server: &Arc<Told>) -> (Arc<Proxy>, Arc<Told>) {
        let client = Told::new(|_| None);
        let proxy = Proxy::new(client.clone(), server.clone(), shared, limits::RUNNING);
        server.proxy.set(Arc::downgrade(&proxy)).unwrap();
        (proxy, client)
    }

    pub(crate) fn one_tool() -> Value {
        json!({"tools": [{"name": "read", "inputSchema": {"type": "object"}}]})
    }

    /// Has many ask for the tools; what each is told, once `release` let the server answer the first that asks it.
    fn all_ask(proxy: &Arc<Proxy>, age: Duration, release: impl FnOnce()) -> Vec<Result<usize, String>> {
        let asking: Vec<_> = (0..16)
            .map(|_| {
                let proxy = Arc::clone(proxy);
                thread::spawn(move || match proxy.tools(age, None) {
                    Ok(tools) => Ok(usize::from(tools.get("read").is_some())),
                    Err(Reply::Error { why, .. } | Reply::Result(why)) => Err(why),
                })
            })
            .collect();
        // Who is late asks for itself, which a wrong count would show; nobody is after this.
        thread::sleep(Duration::from_millis(300));
        release();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    }

    /// Each of many equal first calls listed all tools, and a small server was asked for as many lists at a time.
    #[test]
    fn a_server_is_asked_for_its_tools_once_by_all_who_want_them() {
        for (result, is_listed) in [(one_tool(), true), (json!({"tools": "none"}), false)] {
            let (go, gone) = mpsc::channel::<()>();
            let gone = Mutex::new(gone);
            let server = Told::new(move |_| {
                let _ = gone.lock().unwrap().recv();
                Some(result.clone())
            });
            let (proxy, _) = between(shared::tests::without_a_log(), &server);
            for known in all_ask(&proxy, limits::DEFINITIONS, || drop(go)) {
                assert_eq!(known == Ok(1), is_listed, "{known:?}");
            }
            assert_eq!(server.told(Some("tools/list")).len(), 1);
        }
    }

    /// What has to be asked anew is asked after whoever wants it came, and once for all who came before that.
    #[test]
    fn who_wants_the_tools_anew_is_given_no_list_that_was_asked_for_before() {
        let (go, gone) = mpsc::channel::<()>();
        let gone = Mutex::new(gone);
        let server = Told::new(move |_| {
            let _ = gone.lock().unwrap().recv();
            Some(one_tool())
        });
        let (proxy, _) = between(shared::tests::without_a_log(), &server);
        let known = all_ask(&proxy, Duration::ZERO, || drop(go));
        assert_eq!(known, vec![Ok(1); 16]);
        assert_eq!(server.told(Some("tools/list")).len(), 2, "one was under way when the others came");
        proxy.tools(Duration::ZERO, None).unwrap();
        assert_eq!(server.told(Some("tools/list")).len(), 3);
    }

    /// Each page had as long as all together may take.
    #[test]
    fn all_pages_together_take_as_long_as_a_list_may_and_no_longer() {
        let server = Told::new(|_| {
            thread::sleep(Duration::from_millis(100));
            Some(json!({"tools": [], "nextCursor": "more"}))
        });
        let (proxy, _) = between(shared::tests::without_a_log(), &server);
        let why = proxy.list_tools(None, Duration::from_millis(250)).unwrap_err();
        assert_eq!(why, "not listed within 250ms");
        assert!(server.told(None).len() <= 4);
        // The last has what those before it left.
        let server = Told::new(|told| {
            let is_first = told["params"]["cursor"].is_null();
            thread::sleep(Duration::from_secs(if is_first { 2 } else { 0 }));
            is_first.then(|| json!({"tools": [], "nextCursor": "never"}))
        });
        let (proxy, _) = between(shared::tests::without_a_log(), &server);
        let began = Instant::now();
        proxy.list_tools(None, Duration::from_secs(3)).unwrap_err();
        assert!(began.elapsed() < Duration::from_millis(4_500), "{:?}", began.elapsed());
    }

    /// The tools were asked for with what the last request said of itself, whoever it was of.
    #[test]
    fn the_definition_of_a_tool_is_asked_for_with_what_its_own_call_says_of_itself() {
        let (shared, server) = (shared::tests::without_a_log(), Told::new(|_| Some(one_tool())));
        let (proxy, _) = between(Arc::clone(&shared), &server);
        let ends: Vec<_> = (0..limits::RUNNING)
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
        let request = |id: i64, method: &str, who: &str| {
            let version = "io.modelcontextprotocol/protocolVersion";
            let capabilities = "io.modelcontextprotocol/clientCapabilities";
            let meta = json!({version: "2026-07-28", capabilities: {}, "who": who, "progressToken": 1});
            let params = json!({"name": "read", "_meta": meta});
            let line = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string();
            proxy.from_client(&Line::Whole(line.into_bytes()));
        };
        request(1, "tools/call", "one");
        request(2, "ping", "other");
        drop(ends);
        let began = Instant::now();
        while server.told(Some("tools/list")).is_empty() && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(5));
        }
        let asked = server.told(Some("tools/list")).remove(0);
        assert_eq!(asked["params"]["_meta"]["who"], "one");
        assert!(asked["params"]["_meta"].get("progressToken").is_none());
    }
}
