//! The OpenAPI document of all servers: made of what stands at the handlers, and of the codes that each route may be refused
//! with, which stand here.
//!
//! A route is added at its handler, in [`Described`] and in [`operation`]; `tests/openapi.rs` says what is missing.

use std::{collections::BTreeMap, sync::LazyLock};

use axum::{
    body::Bytes,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use utoipa::{
    OpenApi,
    openapi::{
        self, Components, Content, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response as Answer, Type,
        extensions::ExtensionsBuilder,
        path::Operation,
        schema::AllOfBuilder,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    door::HEALTH,
    handlers::{
        add, approvals, delegations, health, proofs, receipts, review, runs, state, submissions, tiles,
        well_known,
    },
    problem::{self, Kind},
    schemas,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Counterfoil",
        description = "What a counterfoil server answers; the text is `spec/http.md`. `x-counterfoil-servers` of a route says which \
            servers have it: a log of records, a raw log, a mirror. Times are milliseconds. Readers ignore members that they do not \
            know. `HEAD` answers as `GET` without the body, and a method that a path has not is 405 `method-not-allowed`.",
    ),
    servers((url = "/", description = "This server")),
    tags(
        (name = "records", description = "Submitting records, and reading them"),
        (name = "runs", description = "What belongs together"),
        (name = "approvals", description = "What waits for whom, and what was decided"),
        (name = "decisions by link", description = "Pages for people"),
        (name = "state", description = "The log as it sees itself"),
        (name = "proofs", description = "Of any log"),
        (name = "raw log", description = "A log of any bytes"),
        (name = "read path", description = "What C2SP clients read"),
    ),
    paths(
        submissions::record,
        submissions::batch,
        state::record,
        state::proof,
        state::payload,
        runs::list,
        runs::run,
        runs::events,
        runs::bundle,
        receipts::receipt,
        approvals::list,
        approvals::authorize,
        approvals::events,
        approvals::show,
        state::log,
        state::principal,
        state::policy,
        well_known::document,
        delegations::list,
        delegations::chain,
        review::review,
        review::link,
        review::decide,
        proofs::leaf,
        proofs::inclusion,
        proofs::consistency,
        proofs::tlog_proof,
        add::add,
        tiles::checkpoint,
        tiles::tile,
        health::health,
        show,
    ),
    // What stands in parameters, headers and lines alone is not found by itself.
    components(schemas(
        problem::Body<'_>,
        schemas::Index,
        schemas::LinkToken,
        schemas::Pattern,
        schemas::TileName,
        submissions::Rejected<'_>,
        runs::Entry,
    )),
)]
struct Described;

/// Which servers have a route.
#[derive(Clone, Copy, PartialEq)]
enum Has {
    /// A log of records.
    Records,
    /// A raw log.
    Raw,
    /// A log of either kind.
    Logs,
    /// All, mirrors too.
    All,
}

/// Which servers have a route, and what a request may be refused with there; what its path alone says, [`complete`] adds.
fn operation(id: &str) -> Option<(Has, Vec<Kind>)> {
    use Kind::*;
    const READ: [Kind; 4] = [TokenRequired, TokenExpired, TokenScope, HostUnknown];
    const FILES: [Kind; 2] = [LogBusy, Unreadable];
    const STATE: [Kind; 3] = [LogBusy, LogFailed, Unreadable];
    const SUBMIT: [Kind; 12] = [
        QueryInvalid,
        BodyUnreadable,
        BodyTooLarge,
        MediaType,
        SnapshotKeyInUse,
        LogBusy,
        QuotaExceeded,
        ProposalsOpen,
        LogReadOnly,
        LogFailed,
        StoreFull,
        Unreadable,
    ];
    let (has, refused): (Has, &[&[Kind]]) = match id {
        "submitRecord" | "submitBatch" => (Has::Records, &[&SUBMIT, &[WitnessTimeout]]),
        "getRecord" | "getRecordProof" => (Has::Records, &[&READ, &STATE, &[RecordUnknown]]),
        "getPayload" => (Has::Records, &[&READ, &STATE, &[PayloadUnknown]]),
        "listRuns" => (Has::Records, &[&READ, &STATE, &[QueryInvalid]]),
        "getRun" | "watchRun" | "getBundle" => (Has::Records, &[&READ, &STATE, &[QueryInvalid, RunUnknown]]),
        "listApprovals" | "watchApprovals" => (Has::Records, &[&READ, &STATE, &[QueryInvalid]]),
        "getApproval" => (Has::Records, &[&READ, &STATE, &[QueryInvalid, ProposalUnknown]]),
        "authorize" => (Has::Records, &[&SUBMIT, &[ProposalUnknown]]),
        "getReceipt" => (Has::Records, &[&READ, &STATE, &[RecordUnknown, RunTooLong]]),
        "getLog" | "getPrincipal" | "getPolicy" | "getWellKnown" => (Has::Records, &[&READ, &STATE]),
        "listDelegations" => (Has::Records, &[&READ, &STATE, &[QueryInvalid]]),
        "getDelegation" => (Has::Records, &[&READ, &STATE, &[DelegationUnknown]]),
        "getReviewPage" => (Has::Records, &[&READ, &STATE, &[ProposalUnknown]]),
        // What else is wrong with a link is said by a page.
        "getLinkPage" => (Has::Records, &[]),
        "decideByLink" => (Has::Records, &[&[LogReadOnly]]),
        "getLeaf" => (Has::Logs, &[&READ, &FILES, &[LeafUnknown]]),
        "proveInclusion" | "proveConsistency" => (Has::Logs, &[&READ, &FILES, &[QueryInvalid, TreeUnknown]]),
        "getTlogProof" => (Has::Logs, &[&READ, &FILES, &[EntryUnknown]]),
        "addEntry" => (
            Has::Raw,
            &[
                &[WriteTokenRequired, HostUnknown, QueryInvalid, BodyUnreadable, EntryEmpty, EntryTooLarge],
                &[LogBusy, QuotaExceeded, LogReadOnly, LogFailed, WitnessTimeout, Unreadable],
            ],
        ),
        "getCheckpoint" => (Has::All, &[&READ, &FILES, &[CheckpointUnwitnessed]]),
        "getTile" => (Has::All, &[&READ, &FILES, &[TileUnknown]]),
        "getHealth" => (Has::All, &[&[Unreadable]]),
        "getOpenApi" => (Has::All, &[]),
        _ => return None,
    };
    Some((has, refused.concat()))
}

impl Has {
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Records => &["records"],
            Self::Raw => &["raw"],
            Self::Logs => &["records", "raw"],
            Self::All => &["records", "raw", "mirror"],
        }
    }

    /// What the servers say that do not have this path.
    fn elsewhere(self, path: &str) -> Vec<Kind> {
        let is_below = path.starts_with("/v1/") || path.starts_with("/.well-known/");
        let raw = if is_below { Kind::LogRaw } else { Kind::RouteUnknown };
        let mirror = if is_below || path == "/add" { Kind::LogMirror } else { Kind::RouteUnknown };
        match self {
            Self::Records => vec![raw, mirror],
            Self::Raw => vec![Kind::RouteUnknown, mirror],
            Self::Logs => vec![mirror],
            Self::All => Vec::new(),
        }
    }
}

/// Where the document is.
pub(crate) const DESCRIPTION: &str = "/openapi.json";

/// This document.
///
/// It is the same for everybody and of every server.
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "state",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub(crate) async fn show() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| text().into());
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, TEXT.clone()).into_response()
}

fn text() -> String {
    // Maps, lists and text always have a JSON form.
    document().to_pretty_json().unwrap_or_default() + "\n"
}

fn document() -> openapi::OpenApi {
    let mut document = Described::openapi();
    let mut components = document.components.take().unwrap_or_default();
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            complete(path, operation, &mut components);
        }
    }
    for name in ["read", "write"] {
        let scheme = Http::builder().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some(format!("The server's {name} token, where it has one")));
        components.add_security_scheme(name, SecurityScheme::Http(scheme.build()));
    }
    document.components = Some(components);
    document
}

/// Adds to what stands at a handler who has the route, who may ask, and what a request is refused with.
fn complete(path: &str, described: &mut Operation, components: &mut Components) {
    let id = described.operation_id.as_deref().unwrap_or_default();
    // Without an entry nothing is said of servers and codes, which a test finds.
    let Some((has, mut kinds)) = operation(id) else { return };
    described.extensions =
        Some(ExtensionsBuilder::new().add("x-counterfoil-servers", json!(has.names())).build());
    let token = |kind, name| kinds.contains(&kind).then(|| SecurityRequirement::new(name, [""; 0]));
    let token = token(Kind::TokenRequired, "read").or(token(Kind::WriteTokenRequired, "write"));
    // Whether there is a token is the operator's to say.
    described.security = token.map(|token| vec![SecurityRequirement::default(), token]);
    kinds.extend(has.elsewhere(path));
    if path != HEALTH {
        kinds.push(Kind::RateExceeded);
    }
    if path.contains('{') {
        kinds.push(Kind::RouteUnknown);
    }
    let mut refused: BTreeMap<StatusCode, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        let same = refused.entry(kind.says().0).or_default();
        if !same.contains(&kind) {
            same.push(kind);
        }
    }
    for (status, kinds) in refused {
        match described.responses.responses.get_mut(status.as_str()) {
            Some(RefOr::T(answer)) => refuse(answer, status, &kinds),
            _ => {
                let name = kinds.iter().map(|kind| kind.code()).collect::<Vec<_>>().join(".");
                let reference = Ref::from_response_name(&name);
                let mut answer = Answer::default();
                refuse(&mut answer, status, &kinds);
                components.responses.insert(name, answer.into());
                described.responses.responses.insert(status.as_str().to_owned(), RefOr::Ref(reference));
            }
        }
    }
}

/// Adds the problems of a status to an answer.
fn refuse(answer: &mut Answer, status: StatusCode, kinds: &[Kind]) {
    let titles = kinds.iter().map(|kind| format!("`{}`: {}", kind.code(), kind.says().1));
    let described = Some(answer.description.clone()).filter(|described| !described.is_empty());
    answer.description = described.into_iter().chain(titles).collect::<Vec<_>>().join(". ");
    let codes = kinds.iter().map(|kind| kind.code());
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes));
    let number = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([status.as_u16()]));
    let these = ObjectBuilder::new().property("code", code).property("status", number);
    let problem = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(these);
    answer.content.insert("application/problem+json".to_owned(), RefOr::T(Content::new(Some(problem))));
    let mut header = |name: &str, kind, description: &str| {
        let text = HeaderBuilder::new().schema(Some(ObjectBuilder::new().schema_type(kind)));
        let text = text.description(Some(description)).build();
        answer.headers.insert(name.to_owned(), RefOr::T(text));
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS => header("Retry-After", Type::Integer, "Seconds"),
        StatusCode::UNAUTHORIZED => header("WWW-Authenticate", Type::String, "`Bearer`"),
        _ => {}
    }
}
