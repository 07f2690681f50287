//! The HTTP interface: routes, who may ask, and what all handlers share (`spec/http.md`).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State as Shared},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use counterfoil_log::{AddError, LogCheckpoint};
use counterfoil_receipt::RecordId;
use futures_util::StreamExt as _;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use crate::{
    handlers::{
        add, approvals, delegations, health, proofs, review, runs, state, submissions,
        tiles::{self, ReadPath},
    },
    limits,
    links::Links,
    mirror::{self, MirrorView},
    openapi,
    payloads::Payloads,
    problem::{Kind, Problem},
    raw::RawApp,
    records::Records,
    rows::Index,
    submit::Submitter,
    view::LogView,
};

/// What the handlers of a log of records work with.
pub(crate) struct App {
    /// The id of the log's genesis.
    pub log: RecordId,
    /// Submits records, and holds the log's one writer.
    pub submitter: Arc<Submitter>,
    /// What the log shows.
    pub view: Arc<LogView>,
    /// Bounds the batches that are read at a time.
    pub batches: Semaphore,
    /// Makes and reads links by which people decide, if there are any.
    pub links: Option<Arc<Links>>,
}

/// All routes of a log of records.
pub(crate) fn records_app(app: Arc<App>) -> Router {
    let written = middleware::from_fn_with_state(Arc::clone(&app.view), may_be_written);
    let authorize = post(approvals::authorize).layer(written);
    let reads = Router::new()
        .route("/v1/records/{id}", get(state::record))
        .route("/v1/records/{id}/proof", get(state::proof))
        .route("/v1/payloads/{commitment}", get(state::payload))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{run}", get(runs::run))
        .route("/v1/runs/{run}/events", get(runs::events))
        .route("/v1/runs/{run}/bundle", get(runs::bundle))
        .route("/v1/approvals", get(approvals::list).merge(authorize))
        .route("/v1/approvals/events", get(approvals::events))
        .route("/v1/approvals/{proposal}", get(approvals::show))
        .route("/v1/log", get(state::log))
        .route("/v1/principals/{principal}", get(state::principal))
        .route("/v1/policy", get(state::policy))
        .route("/v1/delegations", get(delegations::list))
        .route("/v1/delegations/{id}", get(delegations::chain))
        .route("/review/{proposal}", get(review::review))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app.view), may_read::<LogView>));
    let records = Router::new()
        .route("/v1/records", post(submissions::record))
        .route("/v1/records/batch", post(submissions::batch))
        .route("/link/{token}", get(review::link).post(review::decide))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app.view), may_be_written))
        .merge(reads);
    let app = any_log(&app.view).merge(records.with_state(app));
    refusing(app.fallback(|| async { Kind::RouteUnknown.because("there is nothing at this path") }))
}

/// All routes of a raw log.
pub(crate) fn raw_app(app: Arc<RawApp>) -> Router {
    let written = middleware::from_fn_with_state(Arc::clone(&app.view), may_be_written);
    let app = any_log(&app.view)
        .merge(Router::new().route("/add", post(add::add)).route_layer(written).with_state(app));
    refusing(app.fallback(|uri: Uri| async move {
        let of_records = RECORD_ROUTES.iter().any(|route| {
            uri.path().strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let kind = if of_records { Kind::LogRaw } else { Kind::RouteUnknown };
        kind.because("there is nothing at this path")
    }))
}

/// Where a log of records has what a raw log has not.
const RECORD_ROUTES: [&str; 8] = [
    "/v1/records",
    "/v1/payloads",
    "/v1/runs",
    "/v1/approvals",
    "/v1/log",
    "/v1/principals",
    "/v1/policy",
    "/v1/delegations",
];

/// All routes of a mirror.
pub(crate) fn mirror_app(mirror: Arc<MirrorView>) -> Router {
    let app = tiles::routes(&mirror)
        .route_layer(middleware::from_fn_with_state(Arc::clone(&mirror), may_read::<MirrorView>))
        .route("/healthz", get(mirror::health))
        .route("/openapi.json", get(openapi::show))
        .with_state(mirror);
    refusing(app.fallback(|uri: Uri| async move {
        let of_a_log = uri.path() == "/add" || uri.path().starts_with("/v1/");
        let kind = if of_a_log { Kind::LogMirror } else { Kind::RouteUnknown };
        kind.because("there is nothing at this path")
    }))
}

/// The routes of every log.
fn any_log(view: &Arc<LogView>) -> Router {
    let proofs = Router::new()
        .route("/v1/leaves/{leaf}", get(proofs::leaf))
        .route("/v1/proofs/inclusion", get(proofs::inclusion))
        .route("/v1/proofs/consistency", get(proofs::consistency))
        .route("/v1/entries/{index}/tlog-proof", get(proofs::tlog_proof));
    tiles::routes(view)
        .merge(proofs)
        .route_layer(middleware::from_fn_with_state(Arc::clone(view), may_read::<LogView>))
        .route("/healthz", get(health::health))
        .route("/openapi.json", get(openapi::show))
        .with_state(Arc::clone(view))
}

/// Routes that are complete, with what is said of other methods.
fn refusing(routes: Router) -> Router {
    routes
        .method_not_allowed_fallback(|method: Method| async move {
            Kind::MethodNotAllowed.because(format!("{method} is not allowed here"))
        })
        .layer(middleware::from_fn(path_is_text))
        .layer(middleware::map_response(never_cache_errors))
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

    /// The latest checkpoint, once the index has its entries: who was answered finds the record, by its id and in its run.
    pub(crate) async fn latest(&self) -> Result<Arc<LogCheckpoint>, Problem> {
        self.indexed_to(self.view.published().head.size.0).await
    }

    /// Waits until the rows of the first `size` entries are there, and gives the latest checkpoint of which they are.
    pub(crate) async fn indexed_to(&self, size: u64) -> Result<Arc<LogCheckpoint>, Problem> {
        self.submitter.indexed_to(size).await
    }

    /// Asks the state that was folded from the entries of a checkpoint, whose rows may still be on their way:
    /// [`App::indexed_to`] waits for them.
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
        self.view.note_failure();
        answer
    }
}

async fn may_read<P: ReadPath>(Shared(view): Shared<Arc<P>>, request: Request, next: Next) -> Response {
    match view.reads().to_read(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(denied) => Problem::may_not_read(denied).into_response(),
    }
}

/// Nothing of a submission is kept, least of all its payload, where the log can't take it.
async fn may_be_written(Shared(view): Shared<Arc<LogView>>, request: Request, next: Next) -> Response {
    match view.reader.read_only() {
        Some(why) if request.method() == Method::POST => {
            Problem::from(AddError::ReadOnly(why)).into_response()
        }
        _ => next.run(request).await,
    }
}

/// What is escaped in a path has to be UTF-8: axum would answer by itself, and not with a problem.
async fn path_is_text(request: Request, next: Next) -> Response {
    match percent_decode_str(request.uri().path()).decode_utf8() {
        Ok(_) => next.run(request).await,
        Err(error) => Kind::RouteUnknown.because(format!("the path is no text: {error}")).into_response(),
    }
}

/// What axum answers by itself is no problem document, but no cache keeps it either.
async fn never_cache_errors(mut response: Response) -> Response {
    if !response.status().is_success() {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
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
    read_bytes(headers, body, limit, Kind::BodyTooLarge).await
}

/// Reads a body of at most `limit` bytes in a bounded time.
pub(crate) async fn read_bytes(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    over: Kind,
) -> Result<Bytes, Problem> {
    let too_large = || over.because(format!("the body has more than {limit} bytes"));
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
