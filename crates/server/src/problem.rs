//! The one way in which a request fails: `application/problem+json` (`spec/http.md`).

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_log::{AddError, ReadError};
use serde::Serialize;

use crate::{payloads::PayloadError, rows::LookupError};

/// An error as the client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    retry_after: Option<u64>,
}

/// The kinds of error; each has a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BodyUnreadable,
    QueryInvalid,
    TokenRequired,
    HostUnknown,
    RecordUnknown,
    RunUnknown,
    PayloadUnknown,
    TileUnknown,
    RouteUnknown,
    MethodNotAllowed,
    BodyTooLarge,
    MediaType,
    SnapshotKeyInUse,
    LogBusy,
    LogFailed,
    StoreFull,
    Unreadable,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    detail: &'a str,
    hint: &'a str,
    status: u16,
    title: &'a str,
}

impl Kind {
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
                "Without a token, only this machine may read",
                "Ask for it as 127.0.0.1 or localhost, or give the server a read token.",
            ),
            Self::TokenRequired => (
                S::UNAUTHORIZED,
                "token-required",
                "Reading needs a token",
                "Send `Authorization: Bearer TOKEN` with the server's read token.",
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
            Self::PayloadUnknown => (
                S::NOT_FOUND,
                "payload-unknown",
                "No such payload",
                "It was never disclosed to this server, it was erased, or no record names it.",
            ),
            Self::TileUnknown => (
                S::NOT_FOUND,
                "tile-unknown",
                "No such tile",
                "Derive the paths of tiles from the size in /checkpoint, as c2sp.org/tlog-tiles says.",
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
            Self::LogFailed => (
                S::SERVICE_UNAVAILABLE,
                "log-failed",
                "The log stopped",
                "Nothing was acknowledged. The operator has to start the server again; then send the same bytes again.",
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
        Problem { kind: self, detail: detail.into(), retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title, hint) = self.kind.facts();
        let body = Body { code, detail: &self.detail, hint, status: status.as_u16(), title };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.kind == Kind::TokenRequired {
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
            // An error that this version does not know may mean anything but success.
            AddError::Failed(_) | AddError::Closed | _ => Kind::LogFailed,
        };
        let retry_after = match error {
            AddError::Busy { retry_after } => Some(retry_after.as_secs().max(1)),
            _ => None,
        };
        Self { kind, detail: with_causes(&error), retry_after }
    }
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        match &error {
            // A submission or a restart rebuilds it; meanwhile it is as if the log were busy.
            LookupError::Read(ReadError::Index(_)) => {
                Self { kind: Kind::LogBusy, detail: with_causes(&error), retry_after: Some(1) }
            }
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

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}
