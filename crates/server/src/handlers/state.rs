//! Single records and payloads, and the state as the log sees it.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Shared},
    http::header,
    response::{IntoResponse, Response},
};
use counterfoil_receipt::{
    Body, Commitment, PolicyDigest, Principal, RecordId, body::Policy, bundle::write_line,
};
use counterfoil_tlog::LeafIndex;
use counterfoil_verify::{IndexKey, KeyFacts, Lookup as _};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    app::{App, blocking},
    handlers::{json, proofs},
    payloads::Kept,
    problem::{Kind, Problem},
    rows::{Index, Name},
    schemas,
};

#[derive(Serialize, ToSchema)]
pub(crate) struct Log {
    #[schema(value_type = schemas::Record)]
    genesis: Box<RawValue>,
    size: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PrincipalKey)]
struct Key {
    #[schema(value_type = schemas::Key)]
    key: String,
    #[schema(value_type = schemas::RoleName)]
    role: &'static str,
    #[schema(value_type = schemas::KeyStatus)]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Principal)]
pub(crate) struct Keys {
    #[schema(value_type = Vec<schemas::Name>)]
    groups: Vec<String>,
    keys: Vec<Key>,
    /// What its next keyring record names.
    #[schema(value_type = Option<schemas::Hash>)]
    prev: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Policy)]
pub(crate) struct InForce {
    #[schema(value_type = Option<schemas::Hash>)]
    digest: Option<String>,
    /// `spec/schema/counterfoil-policy-1.schema.json`
    #[schema(value_type = Option<Object>)]
    document: Option<Box<RawValue>>,
    /// What the next policy record names.
    #[schema(value_type = Option<schemas::Hash>)]
    prev: Option<String>,
}

/// A record, as it was signed.
#[utoipa::path(
    get, path = "/v1/records/{id}", operation_id = "getRecord", tag = "records",
    params(("id" = schemas::Hash, Path, description = "The record's id")),
    responses((status = 200, description = "Its bytes", body = schemas::Record,
        headers(("Counterfoil-Index" = schemas::Index, description = "Where it stands in the log")))),
)]
pub(crate) async fn record(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let size = app.latest().await?.head.size.0;
    blocking(move || {
        let index = find(&app.index(), &id, size)?;
        let bytes = app.index().reader().entry(LeafIndex(index))?;
        let headers = [
            (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
            ("counterfoil-index", index.to_string()),
        ];
        Ok((headers, bytes).into_response())
    })
    .await
}

/// That a record is in the log.
#[utoipa::path(
    get, path = "/v1/records/{id}/proof", operation_id = "getRecordProof", tag = "records",
    params(("id" = schemas::Hash, Path, description = "The record's id")),
    responses((status = 200, description = "A c2sp.org/tlog-proof@v1", body = String, content_type = "text/plain")),
)]
pub(crate) async fn proof(
    Shared(app): Shared<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let latest = app.latest().await?;
    blocking(move || {
        let index = LeafIndex(find(&app.index(), &id, latest.head.size.0)?);
        proofs::prove(&app.view, &latest, index)
    })
    .await
}

/// A payload that a record names, if it was disclosed to this server.
///
/// Payloads of item sets come with bundles.
#[utoipa::path(
    get, path = "/v1/payloads/{commitment}", operation_id = "getPayload", tag = "records",
    params(("commitment" = schemas::Hash, Path, description = "What the record names")),
    responses((status = 200, description = "The payload line of a bundle", body = schemas::Payload)),
)]
pub(crate) async fn payload(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    app.latest().await?;
    blocking(move || {
        let unknown = |why: &str| Kind::PayloadUnknown.because(format!("{text:?} {why}"));
        let commitment = Commitment::parse(&text).ok_or_else(|| unknown("is no commitment"))?;
        // What is here and no record names is on its way in, or nobody's business.
        if app.index().naming(Name::Payload(commitment))?.is_none() {
            return Err(unknown("is named by no record"));
        }
        let payload = app.payloads().get_payload(&commitment)?.ok_or_else(|| unknown("was not disclosed"))?;
        let mut line = Vec::new();
        write_line(&payload, &mut line);
        Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], line)
            .into_response())
    })
    .await
}

/// The log's genesis and size.
#[utoipa::path(
    get, path = "/v1/log", operation_id = "getLog", tag = "state",
    responses((status = 200, description = "As of the latest checkpoint", body = Log)),
)]
pub(crate) async fn log(Shared(app): Shared<Arc<App>>) -> Result<Response, Problem> {
    let size = app.latest().await?.head.size.0;
    blocking(move || {
        let genesis = raw(app.index().reader().entry(LeafIndex(0))?)?;
        Ok(json(&Log { genesis, size }))
    })
    .await
}

/// The keys and groups of a principal.
///
/// Of one that the log never heard of, `prev` only.
#[utoipa::path(
    get, path = "/v1/principals/{principal}", operation_id = "getPrincipal", tag = "state",
    params(("principal" = schemas::Name, Path, description = "Its name")),
    responses((status = 200, description = "As of the latest checkpoint", body = Keys)),
)]
pub(crate) async fn principal(
    Shared(app): Shared<Arc<App>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let unknown =
        || Kind::RouteUnknown.because(format!("{text:?} is no principal: not {}", Principal::SYNTAX));
    let principal = Principal::new(text.as_str()).ok_or_else(unknown)?;
    let keys = app.inspect(move |records, _| {
        let state = records.state();
        let its = |(key, facts): (counterfoil_receipt::PublicKey, &KeyFacts)| {
            let key = Key { key: key.to_string(), role: facts.role.as_str(), status: status(facts) };
            (facts.principal == principal).then_some(key)
        };
        Keys {
            groups: state.groups(&principal).iter().map(ToString::to_string).collect(),
            keys: state.keys().into_iter().filter_map(its).collect(),
            prev: state.keyring_head(&principal).map(|id| id.to_string()),
        }
    });
    Ok(json(&keys.await?))
}

/// The policy in force.
#[utoipa::path(
    get, path = "/v1/policy", operation_id = "getPolicy", tag = "state",
    responses((status = 200, description = "As of the latest checkpoint", body = InForce)),
)]
pub(crate) async fn policy(Shared(app): Shared<Arc<App>>) -> Result<Response, Problem> {
    let asked = app.inspect(|records, checkpoint| {
        let state = records.state();
        (state.policy_in_force().map(|(digest, _)| digest), state.policy_head(), checkpoint.head.size.0)
    });
    let (digest, prev, size) = asked.await?;
    app.indexed_to(size).await?;
    blocking(move || {
        let document = match digest {
            Some(digest) => Some(raw(document(&app, &digest, size)?)?),
            None => None,
        };
        let (digest, prev) = (digest.map(|digest| digest.to_string()), prev.map(|prev| prev.to_string()));
        Ok(json(&InForce { digest, document, prev }))
    })
    .await
}

/// The index of the record with this id.
fn find(index: &Index, text: &str, size: u64) -> Result<u64, Problem> {
    let unknown = |why: &str| Kind::RecordUnknown.because(format!("{text:?} {why}"));
    let id = RecordId::parse(text).ok_or_else(|| unknown("is no record id"))?;
    index.index_of(&id, size)?.ok_or_else(|| unknown("is not in the log"))
}

/// The canonical bytes of a policy document: kept beside the log, or in the record that put it in force.
fn document(app: &App, digest: &PolicyDigest, size: u64) -> Result<Vec<u8>, Problem> {
    if let Some(document) = app.payloads().get_document(digest)? {
        return Ok(document);
    }
    let index = app.index();
    for at in index.indices(&IndexKey::Policy, size)?.into_iter().rev() {
        if let Body::Policy(body) = index.record(at)?.body()
            && let Policy::Document(document) = &**body
            && PolicyDigest::of(document.as_str().as_bytes()) == *digest
        {
            return Ok(document.as_str().as_bytes().to_vec());
        }
    }
    Err(Kind::Unreadable.because(format!("{} is missing", Kept::Document(*digest))))
}

const fn status(facts: &KeyFacts) -> &'static str {
    match (facts.revoked, facts.retired) {
        (Some(_), _) => "revoked",
        (None, Some(_)) => "retired",
        (None, None) => "live",
    }
}

/// Bytes that were checked to be canonical JSON.
pub(crate) fn raw(bytes: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(bytes).map_err(|error| Kind::Unreadable.because(error.to_string()))?;
    RawValue::from_string(text).map_err(|error| Kind::Unreadable.because(error.to_string()))
}
