//! The HTTP interface: routes, who may ask, and what all handlers share (`spec/http.md`).

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State as Shared},
    http::{HeaderMap, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use counterfoil_log::LogCheckpoint;
use counterfoil_receipt::RecordId;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Semaphore, watch};

use crate::{
    handlers::{runs, state, submissions, tiles},
    limits,
    payloads::Payloads,
    problem::{Kind, Problem},
    records::Records,
    rows::Index,
    submit::Submitter,
};

/// What every handler works with.
pub(crate) struct App {
    /// The id of the log's genesis.
    pub log: RecordId,
    /// Submits records, and holds the log's one writer.
    pub submitter: Arc<Submitter>,
    /// The latest checkpoint whose entries the index has.
    pub committed: watch::Receiver<Arc<LogCheckpoint>>,
    /// Turns true when the server is told to stop: whoever waits for something else gives up.
    pub closing: watch::Receiver<bool>,
    /// Turns true when the log has failed.
    pub failed: watch::Sender<bool>,
    /// Who may read.
    pub readers: Readers,
    /// Bounds the batches that are read at a time.
    pub batches: Semaphore,
}

/// Who may read.
pub(crate) enum Readers {
    /// Everybody on this machine: the server listens on a loopback address and has no token.
    Everybody,
    /// Whoever has the token with this SHA-256.
    WithToken([u8; 32]),
}

/// All routes.
pub(crate) fn app(app: Arc<App>) -> Router {
    let reads = Router::new()
        .route("/v1/records/{id}", get(state::record))
        .route("/v1/records/{id}/proof", get(state::proof))
        .route("/v1/payloads/{commitment}", get(state::payload))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{run}", get(runs::run))
        .route("/v1/runs/{run}/events", get(runs::events))
        .route("/v1/runs/{run}/bundle", get(runs::bundle))
        .route("/v1/log", get(state::log))
        .route("/v1/principals/{principal}", get(state::principal))
        .route("/v1/policy", get(state::policy))
        .route("/checkpoint", get(tiles::checkpoint))
        .route("/tile/{*path}", get(tiles::tile));
    Router::new()
        .merge(reads.route_layer(middleware::from_fn_with_state(Arc::clone(&app), may_read)))
        .route("/v1/records", post(submissions::record))
        .route("/v1/records/batch", post(submissions::batch))
        .route("/healthz", get(state::health))
        .fallback(|| async { Kind::RouteUnknown.because("there is nothing at this path") })
        .method_not_allowed_fallback(|method: Method| async move {
            Kind::MethodNotAllowed.because(format!("{method} is not allowed here"))
        })
        .with_state(app)
}

impl App {
    /// The index of the log's records.
    pub(crate) fn index(&self) -> Index {
        self.submitter.index.clone()
    }

    /// What is kept beside the log.
    pub(crate) fn payloads(&self) -> Arc<Payloads> {
        Arc::clone(&self.submitter.payloads)
    }

    /// The latest checkpoint whose entries the index has.
    pub(crate) fn latest(&self) -> Arc<LogCheckpoint> {
        Arc::clone(&self.committed.borrow())
    }

    /// Asks the state that was folded from the entries of a checkpoint.
    pub(crate) async fn inspect<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Records, &Arc<LogCheckpoint>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let asked = self
            .submitter
            .handle
            .inspect(move |records, checkpoint| drop(reply.send(ask(records, checkpoint))));
        let answer = match asked.map_err(Problem::from) {
            Ok(()) => answer.await.map_err(|_| self.submitter.stopped().into()),
            Err(problem) => Err(problem),
        };
        self.note_failure();
        answer
    }

    /// Tells the server if the log has failed.
    pub(crate) fn note_failure(&self) {
        if self.submitter.handle.failure().is_some() {
            self.failed.send_replace(true);
        }
    }
}

impl Readers {
    /// Those who have this token.
    pub(crate) fn with_token(token: &str) -> Self {
        Self::WithToken(Sha256::digest(token).into())
    }

    /// Compares digests in constant time: how long it takes says nothing about the token.
    fn include(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Everybody => true,
            Self::WithToken(digest) => {
                let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
                let token = given.and_then(|value| value.strip_prefix(b"Bearer "));
                token.is_some_and(|token| Sha256::digest(token).as_slice().ct_eq(digest).into())
            }
        }
    }
}

async fn may_read(Shared(app): Shared<Arc<App>>, request: Request, next: Next) -> Response {
    if matches!(app.readers, Readers::Everybody) && !names_this_machine(request.headers()) {
        // A page elsewhere can let its own name resolve to 127.0.0.1, and have a browser read for it.
        return Kind::HostUnknown.because("the Host header does not name this machine").into_response();
    }
    if app.readers.include(request.headers()) {
        return next.run(request).await;
    }
    let detail = if request.headers().contains_key(header::AUTHORIZATION) {
        "the token is not the right one"
    } else {
        "there is no token"
    };
    Kind::TokenRequired.because(detail).into_response()
}

/// Whether the Host header is a loopback address or `localhost`; a request without one comes from no browser.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Runs what reads or writes files where it keeps nobody waiting.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Kind::Unreadable.because("the request failed inside the server")))
}

/// Reads a body of this media type, at most `limit` bytes, in a bounded time.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    media_type: &str,
    limit: usize,
) -> Result<Bytes, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case(media_type) {
        return Err(Kind::MediaType.because(format!("it is {given:?}, not {media_type}")));
    }
    let too_large = || Kind::BodyTooLarge.because(format!("the body has more than {limit} bytes"));
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let read = async {
        let mut bytes = Vec::with_capacity(length.unwrap_or(0));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|error| Kind::BodyUnreadable.because(format!("the body breaks off: {error}")))?;
            if bytes.len() + chunk.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(bytes))
    };
    let too_slow = |limit: Duration| {
        Kind::BodyUnreadable.because(format!("the body took longer than {} s", limit.as_secs()))
    };
    tokio::time::timeout(limits::BODY_TIME, read).await.unwrap_or_else(|_| Err(too_slow(limits::BODY_TIME)))
}
