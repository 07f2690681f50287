//! Delegations: what is granted, what is used up of it, what ended.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    response::Response,
};
use counterfoil_receipt::{Principal, RecordId, field::Field as _};
use counterfoil_verify::{DelegationState, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    handlers::{asked, json},
    limits,
    problem::{Kind, Problem},
    schemas,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// Only what took effect below this index.
    #[param(value_type = schemas::Index, required = false)]
    before: Option<u64>,
    /// Only those to this principal.
    #[param(value_type = schemas::Name, required = false)]
    delegate: Option<String>,
    /// At most so many.
    #[param(value_type = usize, required = false, minimum = 1, maximum = 100, default = 100)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
struct Delegation {
    /// The `body` of `spec/schema/delegation.schema.json`.
    #[schema(value_type = Object)]
    body: Box<RawValue>,
    /// Why nothing more can be done under it.
    ended: Option<String>,
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    /// Null for one of the authority.
    #[schema(value_type = Option<schemas::Name>)]
    issuer: Option<String>,
    /// Null for one of the authority.
    #[schema(value_type = Option<schemas::Hash>)]
    narrows: Option<String>,
    #[schema(value_type = schemas::Amount)]
    spent: String,
    used: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Delegations)]
pub(crate) struct List {
    delegations: Vec<Delegation>,
    /// The `before` of the next page.
    next: Option<u64>,
    size: u64,
}

/// A delegation, and each that it narrows.
#[derive(Serialize, ToSchema)]
#[schema(as = DelegationChain)]
pub(crate) struct Chain {
    chain: Vec<Delegation>,
    size: u64,
}

/// The delegations in effect, the newest first.
#[utoipa::path(
    get, path = "/v1/delegations", operation_id = "listDelegations", tag = "state",
    params(Page),
    responses((status = 200, description = "As of `size`", body = List)),
)]
pub(crate) async fn list(
    Shared(app): Shared<Arc<App>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Page { before, delegate, limit } = asked(query)?;
    let limit = limit.unwrap_or(100);
    if limit == 0 || limit > limits::DELEGATIONS {
        return Err(Kind::QueryInvalid.because(format!("limit: {limit} is not 1 to {}", limits::DELEGATIONS)));
    }
    let delegate = delegate.map(|text| {
        let wrong = || Kind::QueryInvalid.because(format!("delegate: {text:?} is not {}", Principal::SYNTAX));
        Principal::new(text.as_str()).ok_or_else(wrong)
    });
    let (before, delegate) = (before.unwrap_or(u64::MAX), delegate.transpose()?);
    let listed = app.inspect(move |records, checkpoint| {
        let state = records.state();
        let is_asked = |(_, link): &(RecordId, &DelegationState)| {
            delegate.as_ref().is_none_or(|principal| link.body.delegate.principal == *principal)
        };
        // One more says whether there is a next page.
        let mut found: Vec<_> = state.delegations(before).filter(is_asked).take(limit + 1).collect();
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let next = found.last().map(|(_, link)| link.index).filter(|_| !is_last);
        let delegations = found.into_iter().map(|(id, link)| describe(state, id, link)).collect();
        List { delegations, next, size: checkpoint.head.size.0 }
    });
    Ok(json(&listed.await?))
}

/// A delegation, and each above it.
#[utoipa::path(
    get, path = "/v1/delegations/{id}", operation_id = "getDelegation", tag = "state",
    params(("id" = schemas::Hash, Path, description = "The id of its record")),
    responses((status = 200, description = "As of `size`", body = Chain)),
)]
pub(crate) async fn chain(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let unknown = || Kind::DelegationUnknown.because(format!("{text:?} is no delegation in effect"));
    let id = RecordId::parse(&text).ok_or_else(unknown)?;
    let shown = app.inspect(move |records, checkpoint| {
        let state = records.state();
        let links = state.chain(&id).into_iter().filter_map(|id| Some((id, state.delegation(&id)?)));
        let chain: Vec<_> = links.map(|(id, link)| describe(state, id, link)).collect();
        Chain { chain, size: checkpoint.head.size.0 }
    });
    let shown = shown.await?;
    if shown.chain.is_empty() { Err(unknown()) } else { Ok(json(&shown)) }
}

fn describe(state: &State, id: RecordId, link: &DelegationState) -> Delegation {
    let mut body = Vec::new();
    link.body.write(&mut body);
    // What was read as canonical JSON is written as such.
    let body = String::from_utf8(body).ok().and_then(|body| RawValue::from_string(body).ok());
    Delegation {
        body: body.unwrap_or_default(),
        ended: state.is_live(&id).err().map(|fault| fault.detail),
        id: id.to_string(),
        index: link.index,
        issuer: link.issuer.as_ref().map(|issuer| issuer.principal.to_string()),
        narrows: link.narrows.map(|narrows| narrows.to_string()),
        spent: link.spent.to_string(),
        used: link.used,
    }
}
