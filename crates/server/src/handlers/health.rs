//! Whether the log goes on.

use std::sync::Arc;

use axum::{
    extract::State as Shared,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use crate::{handlers::json, mirror, problem::with_causes, schemas, view::LogView, witnesses::Witnesses};

#[derive(Serialize, ToSchema)]
pub(crate) struct Health<'a> {
    /// Why the log may only be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[schema(value_type = schemas::Condition)]
    status: &'static str,
    /// Who could not be asked at start what they have seen of the log; that no token of the token file is taken.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    witnesses: Option<WitnessesHealth>,
}

#[derive(Serialize, ToSchema)]
struct WitnessesHealth {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[schema(value_type = schemas::FailMode)]
    fail: &'static str,
    size: u64,
    witnesses: Vec<WitnessHealth>,
}

/// What only some have is left out.
#[derive(Serialize, ToSchema)]
struct WitnessHealth {
    #[serde(skip_serializing_if = "Option::is_none")]
    alarm: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    names: Vec<String>,
    refused_lines: u64,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    unknown_lines: u64,
    url: String,
}

/// Whether the log goes on, and its size.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getHealth", tag = "state",
    responses(
        (status = 200, description = "It does", body = AnyHealth),
        (status = 503, description = "It failed, or may only be read", body = AnyHealth),
    ),
)]
pub(crate) async fn health(Shared(view): Shared<Arc<LogView>>) -> Response {
    if view.reader.failure().is_some() {
        view.note_failure();
        let health = Health { reason: None, size: None, status: "failed", warnings: &[], witnesses: None };
        return (StatusCode::SERVICE_UNAVAILABLE, json(&health)).into_response();
    }
    let warnings: Vec<String> = view.warnings.iter().cloned().chain(view.door.warning()).collect();
    let (size, warnings) = (Some(view.published().head.size.0), &warnings[..]);
    let witnesses = view.witnesses.as_deref().and_then(WitnessesHealth::of);
    match view.reader.read_only() {
        None => json(&Health { reason: None, size, status: "ok", warnings, witnesses }),
        Some(why) => {
            let health =
                Health { reason: Some(with_causes(&*why)), size, status: "read-only", warnings, witnesses };
            (StatusCode::SERVICE_UNAVAILABLE, json(&health)).into_response()
        }
    }
}

/// What a log says, or a mirror of one.
pub(crate) enum AnyHealth {}

impl ToSchema for AnyHealth {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.extend([
            (Health::name().into(), Health::schema()),
            (mirror::Health::name().into(), mirror::Health::schema()),
        ]);
        Health::schemas(schemas);
        mirror::Health::schemas(schemas);
    }
}

impl PartialSchema for AnyHealth {
    fn schema() -> RefOr<Schema> {
        let of = |name: &str| Ref::from_schema_name(name);
        AnyOfBuilder::new().item(of(&Health::name())).item(of(&mirror::Health::name())).into()
    }
}

impl WitnessesHealth {
    fn of(witnesses: &Witnesses) -> Option<Self> {
        let health = witnesses.health()?;
        let one = |of: counterfoil_witness::WitnessHealth| WitnessHealth {
            alarm: of.alarm.map(|alarm| format!("saw another tree: {alarm}")),
            error: of.error,
            names: of.names,
            refused_lines: of.refused_lines,
            size: of.size.0,
            time: of.time.map(|time| time.0.saturating_mul(1_000)),
            unknown_lines: of.unknown_lines,
            url: of.url,
        };
        Some(Self {
            error: health.kept_error,
            fail: witnesses.fail.as_str(),
            size: health.witnessed.0,
            witnesses: health.witnesses.into_iter().map(one).collect(),
        })
    }
}
