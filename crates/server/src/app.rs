//! The HTTP interface: routes, who may ask, and what all handlers share (`spec/http.md`).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State as Shared},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use counterfoil_log::{AddError, LogCheckpoint};
use counterfoil_receipt::RecordId;
use counterfoil_verify::Trust;
use futures_util::StreamExt as _;
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use crate::{
    door::{Door, HEALTH, enter},
    handlers::{
        add, approvals, delegations, health, proofs, receipts, review, runs, state, submissions,
        tiles::{self, ReadPath as _},
        well_known,
    },
    limits,
    links::Links,
    mirror::{self, MirrorView},
    openapi::{self, DESCRIPTION},
    payloads::Payloads,
    problem::{Kind, Problem},
    raw::RawApp,
    records::Records,
    routes::{Route, Routes},
    rows::Index,
    submit::Submitter,
    tokens::Scope,
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
    /// Bounds the receipts that are made at a time.
    pub receipts: Arc<Semaphore>,
    /// What this server itself trusts of its log.
    pub trust: Trust,
    /// Makes and reads links by which people decide, if there are any.
    pub links: Option<Arc<Links>>,
}

/// What a server answers, and the list of it.
pub(crate) type Served = (Router, Arc<[Route]>);

/// All routes of a log of records.
pub(crate) fn records_app(app: Arc<App>) -> Served {
    const RECORDS: &[Scope] = &[Scope::Records];
    const APPROVALS: &[Scope] = &[Scope::Approvals];
    let written = middleware::from_fn_with_state(Arc::clone(&app.view), may_be_written);
    let writes = Routes::new()
        .write("/v1/records", submissions::record)
        .write("/v1/records/batch", submissions::batch)
        .write("/v1/approvals", approvals::authorize)
        .write("/link/{token}", review::decide)
        .within(|router| router.route_layer(written));
    let reads = Routes::new()
        .read("/v1/records/{id}", RECORDS, state::record)
        .read("/v1/records/{id}/proof", RECORDS, state::proof)
        .read("/v1/payloads/{commitment}", RECORDS, state::payload)
        .read("/v1/runs", RECORDS, runs::list)
        .read("/v1/runs/{run}", RECORDS, runs::run)
        .read("/v1/runs/{run}/events", RECORDS, runs::events)
        .read("/v1/runs/{run}/bundle", RECORDS, runs::bundle)
        .read("/v1/receipts/{id}", RECORDS, receipts::receipt)
        .read("/v1/principals/{principal}", RECORDS, state::principal)
        .read("/v1/policy", RECORDS, state::policy)
        .read("/v1/delegations", RECORDS, delegations::list)
        .read("/v1/delegations/{id}", RECORDS, delegations::chain)
        .read("/v1/approvals", APPROVALS, approvals::list)
        .read("/v1/approvals/events", APPROVALS, approvals::events)
        .read("/v1/approvals/{proposal}", APPROVALS, approvals::show)
        .read("/review/{proposal}", APPROVALS, review::review)
        // Which log it is, whoever reads anything of it has to know.
        .read("/v1/log", &Scope::ALL, state::log)
        .read("/.well-known/counterfoil.json", &[Scope::Log], well_known::document)
        .read_by_anybody("/link/{token}", review::link);
    let view = Arc::clone(&app.view);
    let all = any_log(&view).merge(writes.merge(reads).with_state(app));
    serving(all, &view.door, |_| Kind::RouteUnknown)
}

/// All routes of a raw log.
pub(crate) fn raw_app(app: Arc<RawApp>) -> Served {
    let written = middleware::from_fn_with_state(Arc::clone(&app.view), may_be_written);
    let add = Routes::new().write("/add", add::add).within(|router| router.route_layer(written));
    let view = Arc::clone(&app.view);
    serving(any_log(&view).merge(add.with_state(app)), &view.door, |path| {
        let is_below = |route: &str| {
            path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if RECORD_ROUTES.into_iter().any(is_below) { Kind::LogRaw } else { Kind::RouteUnknown }
    })
}

/// Where a log of records has what a raw log has not.
const RECORD_ROUTES: [&str; 10] = [
    "/v1/records",
    "/v1/payloads",
    "/v1/runs",
    "/v1/receipts",
    "/v1/approvals",
    "/v1/log",
    "/v1/principals",
    "/v1/policy",
    "/v1/delegations",
    "/.well-known/counterfoil.json",
];

/// All routes of a mirror.
pub(crate) fn mirror_app(mirror: Arc<MirrorView>) -> Served {
    let door = Arc::clone(mirror.door());
    let all = tiles::routes()
        .read_by_anybody(HEALTH, mirror::health)
        .read_by_anybody(DESCRIPTION, openapi::show)
        .with_state(mirror);
    serving(all, &door, |path| {
        let of_a_log = path == "/add" || path.starts_with("/v1/") || path.starts_with("/.well-known/");
        if of_a_log { Kind::LogMirror } else { Kind::RouteUnknown }
    })
}

/// The routes of every log.
fn any_log(view: &Arc<LogView>) -> Routes<()> {
    const LOG: &[Scope] = &[Scope::Log];
    tiles::routes()
        .read("/v1/leaves/{leaf}", LOG, proofs::leaf)
        .read("/v1/proofs/inclusion", LOG, proofs::inclusion)
        .read("/v1/proofs/consistency", LOG, proofs::consistency)
        .read("/v1/entries/{index}/tlog-proof", LOG, proofs::tlog_proof)
        .read_by_anybody(HEALTH, health::health)
        .read_by_anybody(DESCRIPTION, openapi::show)
        .with_state(Arc::clone(view))
}

/// Routes that are complete, with the door before them, and what is said of other paths and methods.
fn serving(routes: Routes<()>, door: &Arc<Door>, unknown: fn(&str) -> Kind) -> Served {
    let (router, listed) = routes.into_parts();
    let router = router
        .fallback(move |uri: Uri| async move { unknown(uri.path()).because("there is nothing at this path") })
        .method_not_allowed_fallback(|method: Method| async move {
            Kind::MethodNotAllowed.because(format!("{method} is not allowed here"))
        })
        .layer(middleware::from_fn(path_is_text))
        .layer(middleware::from_fn_with_state(Arc::clone(door), enter))
        .layer(middleware::from_fn_with_state(Arc::clone(door), tiles::for_any_site))
        .layer(middleware::map_response(never_cache_errors));
    (router, listed)
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
