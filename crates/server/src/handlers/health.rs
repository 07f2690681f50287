//! Whether the log goes on.

use std::sync::Arc;

use axum::{
    extract::State as Shared,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{handlers::json, view::LogView};

#[derive(Serialize)]
struct Health {
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    status: &'static str,
}

/// `GET /healthz`
pub(crate) async fn health(Shared(view): Shared<Arc<LogView>>) -> Response {
    if view.reader.failure().is_some() {
        view.note_failure();
        return (StatusCode::SERVICE_UNAVAILABLE, json(&Health { size: None, status: "failed" }))
            .into_response();
    }
    json(&Health { size: Some(view.latest().head.size.0), status: "ok" })
}
