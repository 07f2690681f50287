//! What the log says of itself in one place: its identity, its keys, its policies (`spec/http.md`, "State, as the log sees it").

use std::sync::Arc;

use axum::{extract::State as Shared, response::Response};
use counterfoil_tlog::LeafIndex;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::{App, blocking},
    handlers::{json, state::raw},
    limits,
    problem::Problem,
    schemas,
};

#[derive(Serialize, ToSchema)]
pub(crate) struct WellKnown {
    #[schema(value_type = schemas::Record)]
    genesis: Box<RawValue>,
    keys: Vec<Key>,
    log: Log,
    policies: Vec<InForce>,
    size: u64,
    urls: Urls,
}

/// A key that may sign now. Those that have ended are in the log: nothing bounds how many there are.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveKey)]
struct Key {
    #[schema(value_type = schemas::Key)]
    key: String,
    #[schema(value_type = schemas::Name)]
    principal: String,
    #[schema(value_type = schemas::RoleName)]
    role: &'static str,
    #[schema(value_type = schemas::KeyStatus)]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = LogIdentity)]
struct Log {
    keys: Vec<String>,
    origin: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PolicyOf)]
struct InForce {
    #[schema(value_type = schemas::Hash)]
    digest: String,
    index: u64,
}

#[derive(Serialize, ToSchema)]
struct Urls {
    approvals: &'static str,
    bundle: &'static str,
    checkpoint: &'static str,
    policy: &'static str,
    receipt: &'static str,
    records: &'static str,
    tiles: &'static str,
}

/// The log's genesis, live keys and policies, in one place.
///
/// By the server's word: what is trusted stands in a reader's trust file.
#[utoipa::path(
    get, path = "/.well-known/counterfoil.json", operation_id = "getWellKnown", tag = "state",
    responses((status = 200, description = "As of `size`", body = WellKnown)),
)]
pub(crate) async fn document(Shared(app): Shared<Arc<App>>) -> Result<Response, Problem> {
    let asked = app.inspect(|records, checkpoint| {
        let state = records.state();
        let live = state
            .keys()
            .into_iter()
            .filter(|(_, facts)| facts.retired.is_none() && facts.revoked.is_none())
            .map(|(key, facts)| Key {
                key: key.to_string(),
                principal: facts.principal.to_string(),
                role: facts.role.as_str(),
                status: "live",
            });
        let policies = state.policies();
        let left_out = policies.len().saturating_sub(limits::POLICIES);
        let policies =
            policies.skip(left_out).map(|(index, digest)| InForce { digest: digest.to_string(), index });
        (live.collect(), policies.collect(), checkpoint.head.size.0)
    });
    let (keys, policies, size) = asked.await?;
    let log = Log {
        keys: app.trust.log_keys().iter().map(ToString::to_string).collect(),
        origin: app.trust.origin().to_owned(),
    };
    blocking(move || {
        let genesis = raw(app.index().reader().entry(LeafIndex(0))?)?;
        Ok(json(&WellKnown { genesis, keys, log, policies, size, urls: URLS }))
    })
    .await
}

const URLS: Urls = Urls {
    approvals: "/v1/approvals",
    bundle: "/v1/runs/{run}/bundle",
    checkpoint: "/checkpoint",
    policy: "/v1/policy",
    receipt: "/v1/receipts/{id}",
    records: "/v1/records/{id}",
    tiles: "/tile/",
};
