//! Runs: listing, waiting, events and bundles.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use counterfoil_log::LogCheckpoint;
use counterfoil_receipt::RunId;
use counterfoil_verify::Lookup as _;
use futures_util::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{App, blocking},
    bundle::{Bundle, BundleError},
    door::{Asker, Place},
    handlers::{asked, json},
    limits,
    problem::{Kind, Problem},
    rows::{Index, RunRecord},
    schemas,
    witnesses::Witnesses,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only runs whose trigger stands below this index.
    #[param(value_type = schemas::Index, required = false)]
    before: Option<u64>,
    /// At most so many.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<usize>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Answers as soon as the run has more records than this.
    #[param(value_type = schemas::Index, required = false)]
    after: Option<u64>,
    /// Answers after so many milliseconds at the latest.
    #[param(value_type = u64, required = false, maximum = 60_000, default = 0)]
    wait: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BundleOf {
    /// The checkpoint that it ends with; `witnessed`, if that covers the run, where it is absent.
    #[param(inline, value_type = Last, required = false)]
    last: Option<Last>,
    /// Leaves payloads out.
    #[param(inline, value_type = Payloads, required = false)]
    payloads: Option<Payloads>,
}

/// The checkpoint that a bundle ends with.
#[derive(Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Last {
    Latest,
    Witnessed,
}

#[derive(Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Payloads {
    None,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RunSummary)]
struct Listed {
    /// The index of its trigger.
    index: u64,
    /// The index of its last record.
    last: u64,
    /// How many records it has.
    records: u64,
    #[schema(value_type = schemas::Hash)]
    run: String,
    /// What its trigger claims, in milliseconds.
    time: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Runs)]
pub(crate) struct List {
    /// The `before` of the next page.
    next: Option<u64>,
    runs: Vec<Listed>,
    size: u64,
}

/// A record of a run, and the data of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = RunRecord)]
pub(crate) struct Entry {
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    #[schema(value_type = schemas::TypeName)]
    r#type: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Run {
    records: Vec<Entry>,
    #[schema(value_type = schemas::Hash)]
    run: String,
    size: u64,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// Runs, the newest first.
#[utoipa::path(
    get, path = "/v1/runs", operation_id = "listRuns", tag = "runs",
    params(Page),
    responses((status = 200, description = "As of `size`", body = List)),
)]
pub(crate) async fn list(Shared(app): Shared<Arc<App>>, query: Asked<Page>) -> Result<Response, Problem> {
    let Page { before, limit } = asked(query)?;
    let limit = limit.unwrap_or(100);
    if limit == 0 || limit > limits::RUNS {
        return Err(Kind::QueryInvalid.because(format!("limit: {limit} is not 1 to {}", limits::RUNS)));
    }
    let before = before.unwrap_or(u64::MAX).min(app.latest().await?.head.size.0);
    let index = app.index();
    // One more says whether there is a next page.
    let mut found = blocking(move || Ok(index.newest_runs(before, limit + 1)?)).await?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().map(|(index, _)| *index).filter(|_| !is_last);
    let counted = app.inspect(move |records, checkpoint| {
        let count = |run: &RunId| records.state().run(run).map_or(0, counterfoil_verify::Run::count);
        let counted: Vec<_> = found.into_iter().map(|(index, run)| (index, run, count(&run))).collect();
        (counted, checkpoint.head.size.0)
    });
    // Everything as of the checkpoint at which the records were counted.
    let (counted, size) = counted.await?;
    app.indexed_to(size).await?;
    let index = app.index();
    let listed = move |(at, run, records)| {
        let time = index.record(at)?.time().get();
        Ok(Listed {
            index: at,
            last: index.last_of(run, size)?.unwrap_or(at),
            records,
            run: run.to_string(),
            time,
        })
    };
    let runs = blocking(move || counted.into_iter().map(listed).collect());
    Ok(json(&List { next, runs: runs.await?, size }))
}

/// The records of a run, at once or when it has grown.
#[utoipa::path(
    get, path = "/v1/runs/{run}", operation_id = "getRun", tag = "runs",
    params(("run" = schemas::Hash, Path, description = "The id of its trigger"), Wait),
    responses((status = 200, description = "As of `size`", body = Run)),
)]
pub(crate) async fn run(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
    Extension(asker): Extension<Asker>,
    query: Asked<Wait>,
) -> Result<Response, Problem> {
    let Wait { after, wait } = asked(query)?;
    let wait = Duration::from_millis(wait.unwrap_or(0));
    if wait > limits::WAIT {
        let most = limits::WAIT.as_millis();
        return Err(Kind::QueryInvalid.because(format!("wait: {} is over {most}", wait.as_millis())));
    }
    let run = parse(&text)?;
    let _held = if wait.is_zero() { None } else { Some(asker.hold(Place::Waiting)?) };
    app.latest().await?;
    let mut feed = Feed::of(&app, run, 0);
    let mut records = feed.page().await?;
    if records.is_empty() {
        return Err(Kind::RunUnknown.because(format!("{run} is not in the log")));
    }
    let deadline = Instant::now() + wait;
    loop {
        let more = feed.page().await?;
        if !more.is_empty() {
            records.extend(more);
            continue;
        }
        // Now it is all that there is.
        let is_enough = after.is_none_or(|after| records.len() as u64 > after);
        if is_enough || !feed.grown_before(deadline).await {
            break;
        }
    }
    let records = records.iter().map(Entry::of).collect();
    Ok(json(&Run { records, run: run.to_string(), size: feed.size }))
}

/// The records of a run as they come.
#[utoipa::path(
    get, path = "/v1/runs/{run}/events", operation_id = "watchRun", tag = "runs",
    params(
        ("run" = schemas::Hash, Path, description = "The id of its trigger"),
        ("Last-Event-ID" = Option<schemas::Index>, Header, description = "Goes on after this entry"),
    ),
    responses((status = 200, description = "For each, `event: record`, its index as `id`, and a `RunRecord` as `data`",
        body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn events(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = parse(&text)?;
    let held = asker.hold(Place::Waiting)?;
    let from = match headers.get("last-event-id") {
        None => 0,
        Some(last) => {
            let last = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
            let fault = || Kind::QueryInvalid.because("Last-Event-ID: is not the index of a record");
            last.ok_or_else(fault)?.saturating_add(1)
        }
    };
    app.latest().await?;
    if Feed::of(&app, run, 0).page().await?.is_empty() {
        return Err(Kind::RunUnknown.because(format!("{run} is not in the log")));
    }
    let feed = (Feed::of(&app, run, from), VecDeque::new(), (asker, held));
    let events = stream::unfold(feed, |(mut feed, mut due, who)| async move {
        while due.is_empty() {
            // The client comes back with the id of the last event that it got.
            due.extend(feed.page().await.ok()?);
            if due.is_empty() && !feed.grown().await {
                return None;
            }
        }
        let record: RunRecord = due.pop_front()?;
        let event = Event::default().event("record").id(record.index.to_string());
        let event = event.data(serde_json::to_string(&Entry::of(&record)).ok()?);
        who.0.is_still_let_in().then_some((Ok::<_, Infallible>(event), (feed, due, who)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(limits::KEEP_ALIVE)).into_response())
}

/// The file that shows a run.
#[utoipa::path(
    get, path = "/v1/runs/{run}/bundle", operation_id = "getBundle", tag = "runs",
    params(("run" = schemas::Hash, Path, description = "The id of its trigger"), BundleOf),
    responses((status = 200, description = "Lines of `spec/bundle.md`; one that breaks off is none", body = String,
        content_type = "application/jsonl")),
)]
pub(crate) async fn bundle(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
    query: Asked<BundleOf>,
) -> Result<Response, Problem> {
    let BundleOf { last, payloads } = asked(query)?;
    let with_payloads = payloads != Some(Payloads::None);
    let witnesses = app.view.witnesses.clone().filter(|_| last != Some(Last::Latest));
    let run = parse(&text)?;
    let headers = [(header::CONTENT_TYPE, "application/jsonl"), (header::CACHE_CONTROL, "no-cache")];
    let (begin, latest) = (Begun::begin(&app, run, with_payloads), app.latest().await?);
    let begun = blocking(move || begin(&latest, witnesses.as_deref())).await?;
    Ok((headers, begun.into_body()).into_response())
}

/// A bundle of which the first part was made: it has the run.
struct Begun {
    first: Vec<u8>,
    rest: Bundle,
}

impl Begun {
    /// Begins it as of a checkpoint that the index has.
    fn begin(
        app: &App,
        run: RunId,
        with_payloads: bool,
    ) -> impl FnOnce(&LogCheckpoint, Option<&Witnesses>) -> Result<Self, Problem> + Send + use<> {
        let (log, index, payloads) = (app.log, app.index(), app.payloads());
        move |latest, witnesses| {
            let mut rest = Bundle::begin(index, payloads, (log, run), (latest, witnesses), with_payloads)?;
            let first = rest.chunk().transpose()?.unwrap_or_default();
            Ok(Self { first, rest })
        }
    }

    fn into_body(self) -> Body {
        if self.rest.is_over() { self.first.into() } else { Body::from_stream(self.into_chunks()) }
    }

    fn into_chunks(self) -> impl Stream<Item = Result<Vec<u8>, String>> {
        let others = stream::unfold(Some(self.rest), |bundle| async {
            let mut bundle = bundle?;
            let made = tokio::task::spawn_blocking(move || (bundle.chunk(), bundle)).await;
            match made {
                Ok((None, _)) => None,
                Ok((Some(Ok(chunk)), bundle)) => Some((Ok(chunk), Some(bundle))),
                // The connection breaks off: what arrived is no bundle, and shows it by the counts of its header.
                Ok((Some(Err(error)), _)) => Some((Err(error.to_string()), None)),
                Err(_) => Some((Err("making the bundle failed inside the server".to_owned()), None)),
            }
        });
        stream::once(async { Ok(self.first) }).chain(others)
    }
}

/// These lines, which arrive at once, and then those of the bundle of a run that was logged just now, with the latest checkpoint as its last
/// and with payloads. Nothing if its rows do not come soon, or it can't be made: it can be asked for.
pub(crate) fn then_bundle(lines: Vec<u8>, app: &App, run: RunId) -> Body {
    let (reader, size) = (app.view.reader.clone(), app.view.published().head.size);
    let begin = Begun::begin(app, run, true);
    // Whoever waits for rows that are on their way on the thread that reads them has them earlier.
    let begun = tokio::task::spawn_blocking(move || {
        let latest = reader.wait_indexed(size, limits::ROWS)?;
        begin(&latest, None).ok()
    });
    let begun = stream::once(begun).flat_map(|begun| stream::iter(begun.ok().flatten()));
    Body::from_stream(stream::once(async { Ok(lines) }).chain(begun.flat_map(Begun::into_chunks)))
}

/// The records of a run as they come.
struct Feed {
    index: Index,
    run: RunId,
    /// The records below this index were given.
    next: u64,
    /// The size of the log that was looked at last.
    size: u64,
    committed: watch::Receiver<Arc<LogCheckpoint>>,
    closing: watch::Receiver<bool>,
}

impl Feed {
    fn of(app: &App, run: RunId, next: u64) -> Self {
        let (committed, closing) = (app.view.committed.clone(), app.view.closing.clone());
        Self { index: app.index(), run, next, size: 0, committed, closing }
    }

    /// Records that are there and were not given yet.
    async fn page(&mut self) -> Result<Vec<RunRecord>, Problem> {
        let size = self.committed.borrow_and_update().head.size.0;
        let (index, run, next) = (self.index.clone(), self.run, self.next);
        let page = blocking(move || Ok(index.run_page(run, next, size)?)).await?;
        self.size = size;
        self.next = page.last().map_or(self.next.max(size), |last| last.index + 1);
        Ok(page)
    }

    /// Waits until the log has grown; `false` if the server stops.
    async fn grown(&mut self) -> bool {
        if *self.closing.borrow() {
            return false;
        }
        tokio::select! {
            grown = self.committed.changed() => grown.is_ok(),
            _ = self.closing.changed() => false,
        }
    }

    /// The same, or `false` when the time is over.
    async fn grown_before(&mut self, deadline: Instant) -> bool {
        tokio::time::timeout_at(deadline, self.grown()).await.unwrap_or(false)
    }
}

impl Entry {
    fn of(record: &RunRecord) -> Self {
        Self { id: record.id.to_string(), index: record.index, r#type: record.kind.as_str() }
    }
}

impl From<BundleError> for Problem {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::NoRun(run) => Kind::RunUnknown.because(format!("{run} is not in the log")),
            BundleError::Lookup(error) => error.into(),
            BundleError::Payload(error) => error.into(),
            BundleError::Kept(error) => error.into(),
            BundleError::Note(error) => error.into(),
            error @ (BundleError::NoDocument(_) | BundleError::TooMany(_) | BundleError::Gone(_)) => {
                Kind::Unreadable.because(error.to_string())
            }
        }
    }
}

fn parse(text: &str) -> Result<RunId, Problem> {
    RunId::parse(text).ok_or_else(|| Kind::RunUnknown.because(format!("{text:?} is no run id")))
}
