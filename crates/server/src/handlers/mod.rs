//! One handler for each route, by subject. They translate; what is decided, is decided elsewhere.

pub(crate) mod add;
pub(crate) mod approvals;
pub(crate) mod delegations;
pub(crate) mod health;
pub(crate) mod proofs;
pub(crate) mod receipts;
pub(crate) mod review;
pub(crate) mod runs;
pub(crate) mod state;
pub(crate) mod submissions;
pub(crate) mod tiles;
pub(crate) mod well_known;

use axum::{
    extract::{Query, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::problem::{Kind, Problem};

/// An answer in JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    // Maps of strings, numbers and checked JSON always have a JSON form.
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], body).into_response()
}

/// What a query asks for.
pub(crate) fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    query.map(|Query(asked)| asked).map_err(|error| Kind::QueryInvalid.because(error.body_text()))
}
