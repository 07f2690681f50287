//! The one way in which a request fails: `application/problem+json` (`spec/http.md`).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_log::{AddError, ReadError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{access::Denied, payloads::PayloadError, quota::Exceeded, rows::LookupError, schemas};

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    retry_after: Option<u64>,
    /// The last entry that was integrated, though not what was promised.
    index: Option<u64>,
}

/// The kinds of error; each has a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BodyUnreadable,
    QueryInvalid,
    TokenRequired,
    TokenExpired,
    TokenScope,
    WriteTokenRequired,
    HostUnknown,
    RecordUnknown,
    RunUnknown,
    PayloadUnknown,
    RunTooLong,
    DelegationUnknown,
    ProposalUnknown,
    TileUnknown,
    LeafUnknown,
    EntryUnknown,
    TreeUnknown,
    LogRaw,
    LogMirror,
    RouteUnknown,
    MethodNotAllowed,
    BodyTooLarge,
    EntryEmpty,
    EntryTooLarge,
    MediaType,
    SnapshotKeyInUse,
    LogBusy,
    QuotaExceeded,
    ProposalsOpen,
    RateExceeded,
    LogReadOnly,
    LogFailed,
    CheckpointUnwitnessed,
    WitnessTimeout,
    StoreFull,
    Unreadable,
}

/// Why a request failed.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body<'a> {
    #[schema(value_type = schemas::Code)]
    code: &'a str,
    /// What exactly is wrong.
    detail: &'a str,
    /// What to do.
    hint: &'a str,
    /// With `witness-timeout`: up to this entry everything admitted of the body is integrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64)]
    index: Option<u64>,
    status: u16,
    title: &'a str,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 36] = [
        Self::BodyUnreadable,
        Self::QueryInvalid,
        Self::TokenRequired,
        Self::TokenExpired,
        Self::TokenScope,
        Self::WriteTokenRequired,
        Self::HostUnknown,
        Self::RecordUnknown,
        Self::RunUnknown,
        Self::PayloadUnknown,
        Self::RunTooLong,
        Self::DelegationUnknown,
        Self::ProposalUnknown,
        Self::TileUnknown,
        Self::LeafUnknown,
        Self::EntryUnknown,
        Self::TreeUnknown,
        Self::LogRaw,
        Self::LogMirror,
        Self::RouteUnknown,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::EntryEmpty,
        Self::EntryTooLarge,
        Self::MediaType,
        Self::SnapshotKeyInUse,
        Self::LogBusy,
        Self::QuotaExceeded,
        Self::ProposalsOpen,
        Self::RateExceeded,
        Self::LogReadOnly,
        Self::LogFailed,
        Self::CheckpointUnwitnessed,
        Self::WitnessTimeout,
        Self::StoreFull,
        Self::Unreadable,
    ];

    /// Its stable code.
    pub(crate) const fn code(self) -> &'static str {
        self.facts().1
    }

    /// Its status, and what it says.
    pub(crate) const fn says(self) -> (StatusCode, &'static str) {
        let (status, _, title, _) = self.facts();
        (status, title)
    }

    /// Status, code, title and what to do.
    const fn facts(self) -> (StatusCode, &'static str, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BodyUnreadable => (
                S::BAD_REQUEST,
                "body-unreadable",
                "The body can't be read",
                "Send what the specification describes; nothing of this body was taken.",
            ),
            Self::QueryInvalid => (
                S::BAD_REQUEST,
                "query-invalid",
                "The query can't be read",
                "Correct the parameter that is named.",
            ),
            Self::HostUnknown => (
                S::FORBIDDEN,
                "host-unknown",
                "Only this machine may do this",
                "Ask for it as 127.0.0.1 or localhost; or have the operator set who may read (server.reads) or add (server.writes).",
            ),
            Self::TokenRequired => (
                S::UNAUTHORIZED,
                "token-required",
                "Reading needs a token",
                "Send `Authorization: Bearer TOKEN` with the server's read token, or one that its operator made for you.",
            ),
            Self::TokenExpired => (
                S::UNAUTHORIZED,
                "token-expired",
                "The token has expired",
                "Have the operator make another: `counterfoil tokens new`.",
            ),
            Self::TokenScope => (
                S::FORBIDDEN,
                "token-scope",
                "The token is for something else",
                "Have the operator make one with the scope that is named: `counterfoil tokens new --scope SCOPE`.",
            ),
            Self::WriteTokenRequired => (
                S::UNAUTHORIZED,
                "write-token-required",
                "Adding needs a token",
                "Send `Authorization: Bearer TOKEN` with the server's write token.",
            ),
            Self::RecordUnknown => (
                S::NOT_FOUND,
                "record-unknown",
                "No such record",
                "Check the id; a record that was only just submitted is there once it was acknowledged.",
            ),
            Self::RunUnknown => (
                S::NOT_FOUND,
                "run-unknown",
                "No such run",
                "A run's id is that of its trigger; GET /v1/runs lists them.",
            ),
            Self::RunTooLong => (
                S::UNPROCESSABLE_ENTITY,
                "run-too-long",
                "The run has too many records for a receipt",
                "Fetch its bundle and verify that: `counterfoil receipt ID`.",
            ),
            Self::PayloadUnknown => (
                S::NOT_FOUND,
                "payload-unknown",
                "No such payload",
                "It was never disclosed to this server, it was erased, or no record names it.",
            ),
            Self::DelegationUnknown => (
                S::NOT_FOUND,
                "delegation-unknown",
                "No such delegation",
                "GET /v1/delegations lists those in effect; one of the authority waits for its threshold.",
            ),
            Self::ProposalUnknown => (
                S::NOT_FOUND,
                "proposal-unknown",
                "No such proposal",
                "GET /v1/approvals lists them; the id is that of the proposal's record.",
            ),
            Self::TileUnknown => (
                S::NOT_FOUND,
                "tile-unknown",
                "No such tile",
                "Derive the paths of tiles from the size in /checkpoint, as c2sp.org/tlog-tiles says.",
            ),
            Self::LeafUnknown => (
                S::NOT_FOUND,
                "leaf-unknown",
                "No such leaf",
                "Send SHA-256 of a zero byte and the entry, as `sha256:` and 64 hexadecimal digits.",
            ),
            Self::EntryUnknown => (
                S::NOT_FOUND,
                "entry-unknown",
                "No such entry",
                "Entries are counted from 0; /checkpoint says how many there are.",
            ),
            Self::TreeUnknown => (
                S::NOT_FOUND,
                "tree-unknown",
                "The log has no tree of this size yet",
                "Ask for the size in /checkpoint, or for one below it.",
            ),
            Self::LogRaw => (
                S::NOT_FOUND,
                "log-raw",
                "This log is raw",
                "It holds bytes, not records: POST /add adds an entry, /checkpoint and /tile/ show what there is.",
            ),
            Self::LogMirror => (
                S::NOT_FOUND,
                "log-mirror",
                "This is a mirror",
                "It shows /checkpoint and /tile/ of a log, and takes nothing; ask the log's own server.",
            ),
            Self::RouteUnknown => {
                (S::NOT_FOUND, "route-unknown", "No such resource", "See spec/http.md for what there is.")
            }
            Self::MethodNotAllowed => {
                (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method", "See the Allow header.")
            }
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
                "Split it into several submissions.",
            ),
            Self::EntryEmpty => (
                S::BAD_REQUEST,
                "entry-empty",
                "The entry is empty",
                "Send the bytes of the entry as the body, and nothing else.",
            ),
            Self::EntryTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "entry-too-large",
                "The entry is too large",
                "An entry has at most 65,535 bytes; of what is larger, add a hash.",
            ),
            Self::MediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The body has the wrong media type",
                "Send `Content-Type: application/json` for a record, `application/jsonl` for a batch.",
            ),
            Self::SnapshotKeyInUse => (
                S::CONFLICT,
                "snapshot-key-in-use",
                "The server signs with the key that this would end",
                "Enrol another key of role log first, and have the operator start the server with it; then send this again.",
            ),
            Self::LogBusy => (
                S::TOO_MANY_REQUESTS,
                "log-busy",
                "The log is busy",
                "Nothing was taken; send it again after Retry-After.",
            ),
            Self::QuotaExceeded => (
                S::TOO_MANY_REQUESTS,
                "quota-exceeded",
                "The quota is used up",
                "Nothing was taken; send it again after Retry-After, or have the operator raise server.quota.",
            ),
            Self::ProposalsOpen => (
                S::TOO_MANY_REQUESTS,
                "proposals-open",
                "Too many open proposals",
                "Nothing was taken; wait until some are decided, or cancel them, and send it again.",
            ),
            Self::RateExceeded => (
                S::TOO_MANY_REQUESTS,
                "rate-exceeded",
                "Too many requests",
                "Ask again after Retry-After; nothing was done. If it was about tokens, check that you send the right one.",
            ),
            Self::LogReadOnly => (
                S::SERVICE_UNAVAILABLE,
                "log-read-only",
                "The log may only be read",
                "Nothing was taken. The operator has to run `counterfoil log recover`, which says what to do and changes nothing; then send the same bytes again.",
            ),
            Self::LogFailed => (
                S::SERVICE_UNAVAILABLE,
                "log-failed",
                "The log stopped",
                "Nothing was acknowledged. The operator has to start the server again; then send the same bytes again.",
            ),
            Self::CheckpointUnwitnessed => (
                S::SERVICE_UNAVAILABLE,
                "checkpoint-unwitnessed",
                "No checkpoint is witnessed yet",
                "Ask again; the operator sees in /healthz which witnesses are missing.",
            ),
            Self::WitnessTimeout => (
                S::GATEWAY_TIMEOUT,
                "witness-timeout",
                "The quorum of witnesses did not come in time",
                "It is logged: send the same again to wait for the witnesses, or without that promise to have its proof.",
            ),
            Self::StoreFull => (
                S::INSUFFICIENT_STORAGE,
                "store-full",
                "The server has no room for this",
                "Nothing was acknowledged. The operator has to make room; then send the same bytes again.",
            ),
            Self::Unreadable => (
                S::INTERNAL_SERVER_ERROR,
                "store-unreadable",
                "The server can't read what it holds",
                "The operator has to look at the server's disk.",
            ),
        }
    }

    /// A problem of this kind.
    pub(crate) fn because(self, detail: impl Into<String>) -> Problem {
        Problem { kind: self, detail: detail.into(), retry_after: None, index: None }
    }
}

impl Problem {
    /// That a request may not read.
    pub(crate) fn may_not_read(denied: Denied) -> Self {
        Self::denied(denied, Kind::TokenRequired)
    }

    /// That a request may not write.
    pub(crate) fn may_not_write(denied: Denied) -> Self {
        Self::denied(denied, Kind::WriteTokenRequired)
    }

    fn denied(denied: Denied, wants_token: Kind) -> Self {
        let kind = match &denied {
            Denied::OtherHost | Denied::OtherOrigin => Kind::HostUnknown,
            Denied::NoToken | Denied::WrongToken | Denied::Unknown => wants_token,
            Denied::Ended => Kind::TokenExpired,
            Denied::OtherScope { .. } => Kind::TokenScope,
            Denied::Guessing(_) => Kind::RateExceeded,
        };
        let retry_after = match denied {
            Denied::Guessing(exceeded) => Some(seconds(exceeded)),
            _ => None,
        };
        Self { retry_after, ..kind.because(denied.why()) }
    }

    /// That what was submitted is integrated up to this entry, and not witnessed.
    pub(crate) fn witness_timeout(index: u64) -> Self {
        let detail = format!(
            "what was admitted is integrated, up to entry {index}; no quorum of witnesses covers it yet"
        );
        Self { index: Some(index), ..Kind::WitnessTimeout.because(detail) }
    }

    /// That this one has added as much as it may for now.
    pub(crate) fn over_quota(exceeded: Exceeded) -> Self {
        let seconds = seconds(exceeded);
        let detail = format!("the next entry is taken in {seconds} s");
        Self { retry_after: Some(seconds), ..Kind::QuotaExceeded.because(detail) }
    }

    /// That this one has asked as often as it may for now.
    pub(crate) fn over_rate(exceeded: Exceeded) -> Self {
        let seconds = seconds(exceeded);
        let detail = format!("the next request is answered in {seconds} s");
        Self { retry_after: Some(seconds), ..Kind::RateExceeded.because(detail) }
    }

    /// That as many requests of this one wait as may.
    pub(crate) fn too_many_held(most: usize, whose: &str) -> Self {
        let detail = format!("{most} {whose} wait already");
        Self { retry_after: Some(1), ..Kind::RateExceeded.because(detail) }
    }

    /// That too many ask for the same.
    pub(crate) fn busy(detail: String) -> Self {
        Self { kind: Kind::LogBusy, detail, retry_after: Some(1), index: None }
    }
}

impl Problem {
    /// Status, title and what to do, for a page.
    pub(crate) const fn for_people(&self) -> (StatusCode, &'static str, &'static str) {
        let (status, _, title, hint) = self.kind.facts();
        (status, title, hint)
    }

    /// What exactly is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title, hint) = self.kind.facts();
        let body =
            Body { code, detail: &self.detail, hint, index: self.index, status: status.as_u16(), title };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if matches!(self.kind, Kind::TokenRequired | Kind::TokenExpired | Kind::WriteTokenRequired) {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<AddError> for Problem {
    fn from(error: AddError) -> Self {
        let kind = match &error {
            AddError::Busy { .. } => Kind::LogBusy,
            AddError::TooMany { .. } | AddError::TooLarge { .. } | AddError::EntryTooLong { .. } => {
                Kind::BodyTooLarge
            }
            AddError::ReadOnly(_) => Kind::LogReadOnly,
            // An error that this version does not know may mean anything but success.
            AddError::Failed(_) | AddError::Closed | _ => Kind::LogFailed,
        };
        let retry_after = match error {
            AddError::Busy { retry_after } => Some(retry_after.as_secs().max(1)),
            _ => None,
        };
        Self { kind, detail: with_causes(&error), retry_after, index: None }
    }
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        match &error {
            // A submission or a restart rebuilds it; meanwhile it is as if the log were busy.
            LookupError::Read(ReadError::Index(_)) => Self::busy(with_causes(&error)),
            _ => Kind::Unreadable.because(with_causes(&error)),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        LookupError::from(error).into()
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        let kind = if error.is_full() { Kind::StoreFull } else { Kind::Unreadable };
        kind.because(error.to_string())
    }
}

/// Whole seconds until there is something left again.
fn seconds(Exceeded { retry_after }: Exceeded) -> u64 {
    retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_all_that_there_are() {
        let source = include_str!("problem.rs");
        let (_, variants) = source.split_once("pub(crate) enum Kind {").unwrap_or_default();
        let (variants, _) = variants.split_once('}').unwrap_or_default();
        let names: Vec<String> = Kind::ALL.iter().map(|kind| format!("{kind:?},")).collect();
        assert_eq!(variants.split_whitespace().collect::<Vec<_>>(), names);
    }
}
