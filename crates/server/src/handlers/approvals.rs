//! Approvals: proposals and what they wait for, listed, shown one by one, and watched.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};
use counterfoil_policy::Glob;
use counterfoil_receipt::{Principal, RecordId, UnverifiedRecord, body::Type};
use counterfoil_verify::{ProposalStatus, Proposed};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{App, blocking, read_body},
    approvals::{Filter, View, find},
    door::{Asker, Place, Sees},
    handlers::{
        asked, json,
        submissions::{rejected, submit},
    },
    limits,
    problem::{Kind, Problem},
    promise::Wanted,
    schemas,
    submit::{Answer, Batch, now},
    tokens::Scope,
    watch::Watch,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only proposals that this human may decide now.
    #[param(value_type = schemas::Name, required = false)]
    approver: Option<String>,
    /// Only proposals that stand below this index.
    #[param(value_type = schemas::Index, required = false)]
    before: Option<u64>,
    /// At most so many.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 100, default = 100)]
    limit: Option<usize>,
    /// Only what this principal proposed, asked for or decided.
    #[param(value_type = schemas::Name, required = false)]
    principal: Option<String>,
    /// Only what was logged at this time, in milliseconds, or later.
    #[param(value_type = schemas::Index, required = false)]
    since: Option<u64>,
    /// Only what is in this state.
    #[param(value_type = schemas::State, required = false)]
    status: Option<String>,
    /// Only actions of tools that this glob matches.
    #[param(value_type = schemas::Pattern, required = false)]
    tool: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only proposals that this human may decide now.
    #[param(value_type = schemas::Name, required = false)]
    approver: Option<String>,
    /// Only what this principal proposed, asked for or decided.
    #[param(value_type = schemas::Name, required = false)]
    principal: Option<String>,
    /// Only what was logged at this time, in milliseconds, or later.
    #[param(value_type = schemas::Index, required = false)]
    since: Option<u64>,
    /// Only what is in this state.
    #[param(value_type = schemas::State, required = false)]
    status: Option<String>,
    /// Only actions of tools that this glob matches.
    #[param(value_type = schemas::Pattern, required = false)]
    tool: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Answers as soon as its status is another one.
    #[param(value_type = schemas::State, required = false)]
    unless: Option<String>,
    /// Answers after so many milliseconds at the latest.
    #[param(value_type = u64, required = false, maximum = 60_000, default = 0)]
    wait: Option<u64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Hold {
    /// Answers after so many milliseconds at the latest.
    #[param(value_type = u64, required = false, maximum = 60_000, default = 0)]
    wait: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Approvals)]
pub(crate) struct List {
    approvals: Vec<View>,
    /// The `before` of the next page, which may be there where this one is not full.
    next: Option<u64>,
    size: u64,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// Proposals and what they wait for, the newest first.
#[utoipa::path(
    get, path = "/v1/approvals", operation_id = "listApprovals", tag = "approvals",
    params(Page),
    responses((status = 200, description = "As of `size`", body = List)),
)]
pub(crate) async fn list(
    Shared(app): Shared<Arc<App>>,
    Extension(sees): Extension<Sees>,
    query: Asked<Page>,
) -> Result<Response, Problem> {
    let Page { approver, before, limit, principal, since, status, tool } = asked(query)?;
    let limit = limit.unwrap_or(limits::APPROVALS);
    if limit == 0 || limit > limits::APPROVALS {
        return Err(Kind::QueryInvalid.because(format!("limit: {limit} is not 1 to {}", limits::APPROVALS)));
    }
    let filter = Arc::new(Which { approver, principal, since, status, tool }.read(sees)?);
    let (found, next) = found(&app, &filter, before.unwrap_or(u64::MAX), limit).await?;
    let shown = app.inspect(move |records, checkpoint| {
        let state = records.state();
        let (mut views, mut next, mut weight, mut last) = (Vec::new(), next, 0, None);
        for proposed in found {
            // What is not asked for any more is left out: everything is as of this checkpoint.
            let is_asked = find(state, &proposed)
                .is_some_and(|(run, proposal)| filter.takes(state, run, proposal, &proposed.id, now()));
            let Some((view, _)) = View::of(state, &proposed).filter(|_| is_asked) else { continue };
            weight += view.weight();
            if last.is_some() && weight > limits::PAGE_DECISIONS {
                next = last;
                break;
            }
            last = Some(proposed.index);
            views.push(view);
        }
        (views, next, checkpoint.head.size.0)
    });
    let (views, next, size) = shown.await?;
    let approvals = completed(&app, views, size).await?;
    Ok(json(&List { approvals, next, size }))
}

/// The newest proposals below `before` that are asked for, and from where on to look for more.
async fn found(
    app: &App,
    filter: &Arc<Filter>,
    mut before: u64,
    limit: usize,
) -> Result<(Vec<Proposed>, Option<u64>), Problem> {
    let (mut found, mut left) = (Vec::new(), limits::APPROVALS_LOOKED);
    loop {
        // One more says whether there is a next page.
        let (filter, bounds) = (Arc::clone(filter), (limit + 1 - found.len(), left));
        let looked = app.inspect(move |records, _| filter.look(records.state(), before, bounds, now()));
        let looked = looked.await?;
        found.extend(looked.found);
        (before, left) = (looked.before, left.saturating_sub(looked.count));
        if found.len() > limit {
            found.truncate(limit);
            let next = found.last().map(|last: &Proposed| last.index);
            return Ok((found, next));
        }
        if looked.is_over || left == 0 {
            return Ok((found, Some(before).filter(|_| !looked.is_over)));
        }
    }
}

/// A proposal and what it waits for, at once or when its status is another one.
#[utoipa::path(
    get, path = "/v1/approvals/{proposal}", operation_id = "getApproval", tag = "approvals",
    params(("proposal" = schemas::Hash, Path, description = "The id of its record"), Wait),
    responses((status = 200, description = "With the `size` of which it is", body = View)),
)]
pub(crate) async fn show(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
    Extension(asker): Extension<Asker>,
    Extension(sees): Extension<Sees>,
    query: Asked<Wait>,
) -> Result<Response, Problem> {
    let Wait { unless, wait } = asked(query)?;
    let wait = bounded(wait)?;
    let _held = if wait.is_zero() { None } else { Some(asker.hold(Place::Waiting)?) };
    let unless = unless.as_deref().map(parse_status).transpose()?;
    let unknown = || Kind::ProposalUnknown.because(format!("{text:?} is no proposal in the log"));
    let id = RecordId::parse(&text).ok_or_else(unknown)?;
    shown_unless(&app, id, Shows::To(sees), (unless, wait)).await
}

/// Logs a proposal, and says at once what the policy says of it, or holds until somebody decided.
///
/// The lines are those of a batch, of which the last is the proposal.
#[utoipa::path(
    post, path = "/v1/approvals", operation_id = "authorize", tag = "approvals",
    params(Hold),
    request_body(content = String, content_type = "application/jsonl", description = "At most 1,024 lines and 32 MiB"),
    responses(
        (status = 200, description = "With the `size` of which it is", body = View),
        (status = 422, description = "The first signed rejection", body = schemas::Record,
            headers(("Counterfoil-Code" = String, description = "The code of the rule that it breaks"))),
    ),
)]
pub(crate) async fn authorize(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    query: Asked<Hold>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wait = bounded(asked(query)?.wait)?;
    let _held = asker.hold(Place::Waiting)?;
    let turn = asker.turn().await;
    // A closed semaphore would only mean that there is no bound.
    let permit = app.batches.acquire().await;
    let lines = read_body(&headers, body, "application/jsonl", limits::BATCH_BODY_BYTES).await?;
    let batch = Batch::of_lines(&lines)?;
    let last = batch.last().map(UnverifiedRecord::parse);
    let Some(Ok(proposal)) = last.filter(|last| last.as_ref().is_ok_and(|one| one.kind() == Type::Proposal))
    else {
        return Err(
            Kind::BodyUnreadable.because("the last line is no proposal; nothing of this body was taken")
        );
    };
    for answer in submit(&app, batch, &Wanted::integrated(), permit.ok()).await? {
        if let Answer::Rejected { rejection, code } = answer {
            return Ok(rejected(&rejection, &code));
        }
    }
    drop(turn);
    // Who submits a proposal has what it says. What became of it since is for those who may read.
    let shows = match asker.may_read(&[Scope::Approvals], &headers) {
        Ok(sees) => Shows::To(sees),
        Err(_) => Shows::Status,
    };
    shown_unless(&app, proposal.id(), shows, (Some(ProposalStatus::Open), wait)).await
}

fn bounded(wait: Option<u64>) -> Result<Duration, Problem> {
    let wait = Duration::from_millis(wait.unwrap_or(0));
    if wait > limits::WAIT {
        let most = limits::WAIT.as_millis();
        return Err(Kind::QueryInvalid.because(format!("wait: {} is over {most}", wait.as_millis())));
    }
    Ok(wait)
}

/// What is shown of a proposal.
#[derive(Clone)]
enum Shows {
    /// All, to those whom it concerns.
    To(Sees),
    /// Where it is, and not who decided what, and why.
    Status,
}

/// A proposal as soon as its status is another one, or the time is over.
async fn shown_unless(
    app: &Arc<App>,
    id: RecordId,
    shows: Shows,
    (mut unless, wait): (Option<ProposalStatus>, Duration),
) -> Result<Response, Problem> {
    let unknown = || Kind::ProposalUnknown.because(format!("{id} is no proposal in the log"));
    let deadline = Instant::now() + wait;
    let (mut committed, mut closing) = (app.view.committed.clone(), app.view.closing.clone());
    // A status may change without a record of the run: by log time, or with the policy.
    loop {
        committed.mark_unchanged();
        let shown = shows.clone();
        let asked = app.inspect(move |records, checkpoint| {
            let state = records.state();
            let proposed = state.find_proposal(&id)?;
            let (run, proposal) = find(state, &proposed)?;
            if let Shows::To(sees) = &shown
                && !sees.lets_see(state, run, proposal, &id)
            {
                return None;
            }
            let is_other = unless.is_none() || state.proposal_status(run, &id) != unless;
            Some((is_other.then(|| View::of(state, &proposed)).flatten(), checkpoint.head.size.0))
        });
        let (view, size) = asked.await?.ok_or_else(unknown)?;
        if let Some((mut view, _)) = view {
            view.size = Some(size);
            if matches!(shows, Shows::Status) {
                view.hide_people();
            }
            let views = completed(app, vec![view], size).await?;
            return views.first().map(json).ok_or_else(unknown);
        }
        let goes_on = tokio::select! {
            grown = committed.changed() => grown.is_ok(),
            _ = closing.wait_for(|closing| *closing) => false,
            () = tokio::time::sleep_until(deadline) => false,
        };
        if !goes_on {
            unless = None;
        }
    }
}

/// What changes of proposals.
#[utoipa::path(
    get, path = "/v1/approvals/events", operation_id = "watchApprovals", tag = "approvals",
    params(
        Which,
        ("Last-Event-ID" = Option<schemas::Index>, Header, description = "Begins with what changed after this entry"),
    ),
    responses((status = 200, description = "For each, `event: approval`, an index as `id`, and an `Approval` as `data`",
        body = String, content_type = "text/event-stream")),
)]
pub(crate) async fn events(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    Extension(sees): Extension<Sees>,
    headers: HeaderMap,
    query: Asked<Which>,
) -> Result<Response, Problem> {
    let filter = asked(query)?.read(sees)?;
    let held = asker.hold(Place::Waiting)?;
    let after = headers.get("last-event-id").map(|last| {
        let last = last.to_str().ok().and_then(|last| last.parse::<u64>().ok());
        last.ok_or_else(|| Kind::QueryInvalid.because("Last-Event-ID: is not an index of the log"))
    });
    let watch = Watch::begin(app, filter, after.transpose()?).await?;
    let events = stream::unfold((watch, asker, held), |(mut watch, asker, held)| async move {
        let event = watch.next().await?;
        asker.is_still_let_in().then_some((event, (watch, asker, held)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(limits::KEEP_ALIVE)).into_response())
}

/// Views with what stands in their records alone, all of them below `size`.
pub(crate) async fn completed(app: &App, mut views: Vec<View>, size: u64) -> Result<Vec<View>, Problem> {
    app.indexed_to(size).await?;
    let index = app.index();
    if let Some(links) = &app.links {
        views.iter_mut().for_each(|view| view.link_to(links));
    }
    blocking(move || {
        for view in &mut views {
            view.complete(&index)?;
        }
        Ok(views)
    })
    .await
}

impl Which {
    fn read(self, sees: Sees) -> Result<Filter, Problem> {
        let principal = |name: &str, text: Option<String>| {
            let wrong = |text: &str| {
                Kind::QueryInvalid.because(format!("{name}: {text:?} is not {}", Principal::SYNTAX))
            };
            text.map(|text| Principal::new(text.as_str()).ok_or_else(|| wrong(&text))).transpose()
        };
        let glob = |text: String| {
            let wrong = || Kind::QueryInvalid.because(format!("tool: {text:?} is no glob of spec/policy.md"));
            Glob::new(&text).ok_or_else(wrong)
        };
        Ok(Filter {
            status: self.status.as_deref().map(parse_status).transpose()?,
            principal: principal("principal", self.principal)?,
            approver: principal("approver", self.approver)?,
            tool: self.tool.map(glob).transpose()?,
            since: self.since,
            sees,
        })
    }
}

fn parse_status(text: &str) -> Result<ProposalStatus, Problem> {
    ProposalStatus::parse(text).ok_or_else(|| {
        let words = ProposalStatus::ALL.map(ProposalStatus::as_str).join(", ");
        Kind::QueryInvalid.because(format!("{text:?} is no status: one of {words}"))
    })
}
