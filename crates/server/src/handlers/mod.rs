//! One handler for each route, by subject. They translate; what is decided, is decided elsewhere.

pub(crate) mod runs;
pub(crate) mod state;
pub(crate) mod submissions;
pub(crate) mod tiles;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An answer in JSON.
pub(crate) fn json(value: &impl Serialize) -> Response {
    // Maps of strings, numbers and checked JSON always have a JSON form.
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], body).into_response()
}
