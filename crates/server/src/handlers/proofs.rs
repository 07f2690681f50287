//! Where entries stand, and proofs about them, for any log.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State as Shared, rejection::QueryRejection},
    http::header,
    response::{IntoResponse, Response},
};
use counterfoil_log::LogCheckpoint;
use counterfoil_receipt::RecordId;
use counterfoil_tlog::{Hash, LeafIndex, TlogProof, TreeSize};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::blocking,
    handlers::{asked, json},
    problem::{Kind, Problem},
    schemas,
    view::LogView,
    witnesses::Shown,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Inclusion {
    /// The entry, below `size`.
    #[param(value_type = schemas::Index)]
    index: u64,
    /// The entries of the tree.
    #[param(value_type = schemas::Index)]
    size: u64,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Consistency {
    /// The entries of the later tree.
    #[param(value_type = schemas::Index)]
    new: u64,
    /// The entries of the earlier tree.
    #[param(value_type = schemas::Index)]
    old: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Leaf {
    index: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct InclusionProof {
    index: u64,
    #[schema(value_type = Vec<schemas::ProofHash>)]
    proof: Vec<String>,
    size: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ConsistencyProof {
    new: u64,
    old: u64,
    /// Empty where `old` is 0 or `new`.
    #[schema(value_type = Vec<schemas::ProofHash>)]
    proof: Vec<String>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// Where an entry stands, by its leaf hash.
#[utoipa::path(
    get, path = "/v1/leaves/{leaf}", operation_id = "getLeaf", tag = "proofs",
    params(("leaf" = schemas::Hash, Path, description = "The RFC 6962 leaf hash; of a record, its id")),
    responses((status = 200, description = "Its index", body = Leaf)),
)]
pub(crate) async fn leaf(
    Shared(view): Shared<Arc<LogView>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let unknown = |why: &str| Kind::LeafUnknown.because(format!("{text:?} {why}"));
    // The hash of a record's leaf is its id, and is spelled like one.
    let leaf = RecordId::parse(&text).ok_or_else(|| unknown("is no leaf hash"))?;
    let size = view.published().head.size.0;
    let found = blocking(move || Ok(view.reader.lookup(&Hash::from(*leaf.as_bytes()))?)).await?;
    match found.filter(|index| index.0 < size) {
        Some(LeafIndex(index)) => Ok(json(&Leaf { index })),
        None => Err(unknown("is the hash of no leaf")),
    }
}

/// The inclusion proof of an entry in a tree.
#[utoipa::path(
    get, path = "/v1/proofs/inclusion", operation_id = "proveInclusion", tag = "proofs",
    params(Inclusion),
    responses((status = 200, description = "As RFC 6962 says", body = InclusionProof)),
)]
pub(crate) async fn inclusion(
    Shared(view): Shared<Arc<LogView>>,
    query: Asked<Inclusion>,
) -> Result<Response, Problem> {
    let Inclusion { index, size } = asked(query)?;
    if index >= size {
        return Err(Kind::QueryInvalid.because(format!("index: a tree of {size} has no entry {index}")));
    }
    has_tree(&view, size)?;
    let proof = blocking(move || Ok(view.reader.inclusion_proof(LeafIndex(index), TreeSize(size))?)).await?;
    Ok(json(&InclusionProof { index, proof: base64(&proof), size }))
}

/// The consistency proof of two trees.
#[utoipa::path(
    get, path = "/v1/proofs/consistency", operation_id = "proveConsistency", tag = "proofs",
    params(Consistency),
    responses((status = 200, description = "As RFC 6962 says", body = ConsistencyProof)),
)]
pub(crate) async fn consistency(
    Shared(view): Shared<Arc<LogView>>,
    query: Asked<Consistency>,
) -> Result<Response, Problem> {
    let Consistency { new, old } = asked(query)?;
    if old > new {
        return Err(Kind::QueryInvalid.because(format!("old: {old} is more than new, {new}")));
    }
    has_tree(&view, new)?;
    let prove = move || match old {
        // Every tree begins with the empty one: nothing has to be shown.
        0 => Ok(Vec::new()),
        _ => Ok(view.reader.consistency_proof(TreeSize(old), TreeSize(new))?),
    };
    Ok(json(&ConsistencyProof { new, old, proof: base64(&blocking(prove).await?) }))
}

/// That an entry is in the log.
///
/// In the newest tree that has its quorum of witnesses, if that covers the entry, else in the latest.
#[utoipa::path(
    get, path = "/v1/entries/{index}/tlog-proof", operation_id = "getTlogProof", tag = "proofs",
    params(("index" = schemas::EntryNumber, Path, description = "Where the entry stands")),
    responses((status = 200, description = "A c2sp.org/tlog-proof@v1", body = String, content_type = "text/plain")),
)]
pub(crate) async fn tlog_proof(
    Shared(view): Shared<Arc<LogView>>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let unknown = |why: String| Kind::EntryUnknown.because(format!("{text:?} {why}"));
    let index = text.parse::<u64>().ok().filter(|index| index.to_string() == text);
    let index = index.ok_or_else(|| unknown("is no index of an entry".to_owned()))?;
    let latest = view.published();
    if index >= latest.head.size.0 {
        return Err(unknown(format!("is not in the log, which has {} entries", latest.head.size)));
    }
    blocking(move || prove(&view, &latest, LeafIndex(index))).await
}

/// The c2sp.org/tlog-proof@v1 of an entry: in the newest tree with a quorum of witnesses if that covers it, else in the tree
/// of this checkpoint.
pub(crate) fn prove(view: &LogView, latest: &LogCheckpoint, index: LeafIndex) -> Result<Response, Problem> {
    let newest = view.witnesses.as_ref().map(|witnesses| witnesses.newest()).transpose()?.flatten();
    let shown = match newest.filter(|newest| newest.head.size.0 > index.0) {
        Some(newest) => newest,
        None => Shown::of_log(latest)?,
    };
    let inclusion = view.reader.inclusion_proof(index, shown.head.size)?;
    let proof = TlogProof { extra: None, index, inclusion, checkpoint: shown.note }.to_string();
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, proof).into_response())
}

fn has_tree(view: &LogView, size: u64) -> Result<(), Problem> {
    let latest = view.published().head.size;
    if size <= latest.0 {
        return Ok(());
    }
    Err(Kind::TreeUnknown.because(format!("the log has {latest} entries, not {size}")))
}

fn base64(proof: &[Hash]) -> Vec<String> {
    proof.iter().map(Hash::to_base64).collect()
}
