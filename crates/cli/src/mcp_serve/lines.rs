//! The connection to the client: lines as strict as the gate's, between this process's standard streams and the SDK.
//!
//! The SDK would take the last of two members of one name, and a batch for nothing. So a line is read as a record is, and what the
//! SDK sees is its canonical text; what is refused here is answered here.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io::{BufReader, Write as _, stdin, stdout},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use counterfoil_mcp::{
    error,
    lines::{self, Line},
    message::{FromClient, INTERNAL, INVALID_REQUEST, Id, Refused},
};
use rmcp::{
    RoleServer,
    model::JsonRpcMessage,
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::sync::{mpsc, oneshot};

use super::limits;

/// Lines that were read and are not looked at yet.
const READ_AHEAD: usize = 4;

/// The standard streams of this process, as the SDK wants them.
pub struct StandardStreams {
    from: mpsc::Receiver<Line>,
    to: Option<mpsc::Sender<String>>,
    /// What has to be said before the next line is looked at.
    answer: Option<String>,
    open: Arc<Mutex<BTreeSet<Id>>>,
    /// Whether something has begun that is more than a question about this server.
    has_begun: bool,
    written: Option<oneshot::Receiver<()>>,
}

impl StandardStreams {
    /// Begins to read and to write. `gone` is set once the client says nothing more.
    pub fn new(gone: Arc<AtomicBool>) -> Self {
        let (to_us, from) = mpsc::channel(READ_AHEAD);
        thread::spawn(move || {
            let mut input = BufReader::new(stdin());
            while let Ok(Some(line)) = lines::next(&mut input) {
                if to_us.blocking_send(line).is_err() {
                    break;
                }
            }
            gone.store(true, Ordering::Relaxed);
        });
        let (to, mut said) = mpsc::channel::<String>(limits::WAITING_LINES);
        let (done, written) = oneshot::channel();
        thread::spawn(move || {
            let mut output = stdout();
            while let Some(mut line) = said.blocking_recv() {
                line.push('\n');
                if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
                    break;
                }
            }
            let _ = done.send(());
        });
        let (open, written) = (Arc::default(), Some(written));
        Self { from, to: Some(to), answer: None, open, has_begun: false, written }
    }

    /// What the SDK is given of a line, if it is given anything.
    fn read(&mut self, line: Line) -> Option<RxJsonRpcMessage<RoleServer>> {
        let read = match line {
            Line::Whole(line) => self.message(&line),
            Line::TooLong(_) => Err(refused(None, INVALID_REQUEST, "mcp-too-large", "the line is too long")),
        };
        read.unwrap_or_else(|refused| {
            let Refused { id, number, code, why } = refused;
            self.answer = Some(error(id.as_ref(), number, code, &why));
            None
        })
    }

    fn message(&mut self, line: &[u8]) -> Result<Option<RxJsonRpcMessage<RoleServer>>, Refused> {
        let (message, text) = FromClient::parse(line)?;
        let is_question = match &message {
            FromClient::Request { id, method, .. } => {
                self.begin(id)?;
                matches!(method.as_str(), "ping" | "server/discover")
            }
            FromClient::Notification { method, params } => {
                let cancelled = params.get("requestId").filter(|_| method == "notifications/cancelled");
                if let Some(id) = cancelled.and_then(|id| serde_json::from_value(id.clone()).ok()) {
                    // Nothing is said any more of what was cancelled.
                    lock(&self.open).remove(&id);
                }
                true
            }
            FromClient::Response { .. } => true,
        };
        let is_request = matches!(message, FromClient::Request { .. });
        // To the SDK, anything but a request would be the end of a connection that has not begun.
        if !is_request && !self.has_begun {
            return Ok(None);
        }
        self.has_begun |= !is_question;
        let parsed = serde_json::from_str(&text).map_err(|fault| {
            let id = match message {
                FromClient::Request { id, .. } => Some(id),
                FromClient::Notification { .. } | FromClient::Response { .. } => None,
            };
            id.iter().for_each(|id| {
                lock(&self.open).remove(id);
            });
            refused(id, INVALID_REQUEST, "mcp-shape", &fault.to_string())
        });
        parsed.map(Some)
    }

    fn begin(&self, id: &Id) -> Result<(), Refused> {
        let mut open = lock(&self.open);
        if open.len() >= limits::OPEN_REQUESTS {
            return Err(refused(
                Some(id.clone()),
                INTERNAL,
                "mcp-busy",
                "too many requests are open; wait for one",
            ));
        }
        if !open.insert(id.clone()) {
            let why = format!("a request with the id {id} is open already");
            return Err(refused(Some(id.clone()), INVALID_REQUEST, "mcp-id-open", &why));
        }
        Ok(())
    }
}

impl Transport<RoleServer> for StandardStreams {
    type Error = Infallible;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let answered = match &message {
            JsonRpcMessage::Response(answer) => Some(answer.id.clone()),
            JsonRpcMessage::Error(answer) => answer.id.clone(),
            JsonRpcMessage::Request(_) | JsonRpcMessage::Notification(_) => None,
        };
        let id = answered
            .and_then(|id| serde_json::to_value(id).ok())
            .and_then(|id| serde_json::from_value(id).ok());
        if let Some(id) = id {
            lock(&self.open).remove(&id);
        }
        let (line, to) = (serde_json::to_string(&message).unwrap_or_default(), self.to.clone());
        async move {
            // A client that does not read any more is gone, and its input ends: that is seen there.
            if let Some(to) = to {
                let _ = to.send(line).await;
            }
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        // The SDK drops this future whenever something else happens: nothing may be lost at an `await`.
        loop {
            if self.answer.is_some() {
                let place = self.to.as_ref()?.reserve().await.ok()?;
                if let Some(answer) = self.answer.take() {
                    place.send(answer);
                }
            }
            let line = self.from.recv().await?;
            if let Some(message) = self.read(line) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        self.to = None;
        if let Some(written) = self.written.take() {
            let _ = tokio::time::timeout(limits::SHUTDOWN, written).await;
        }
        Ok(())
    }
}

fn refused(id: Option<Id>, number: i64, code: &'static str, why: &str) -> Refused {
    Refused { id, number, code, why: why.to_owned() }
}

/// What is behind a mutex; nothing here is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
