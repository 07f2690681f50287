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

use crate::{
    app::blocking,
    handlers::{asked, json},
    problem::{Kind, Problem},
    view::LogView,
    witnesses::Shown,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inclusion {
    index: u64,
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consistency {
    new: u64,
    old: u64,
}

#[derive(Serialize)]
struct Leaf {
    index: u64,
}

#[derive(Serialize)]
struct InclusionProof {
    index: u64,
    proof: Vec<String>,
    size: u64,
}

#[derive(Serialize)]
struct ConsistencyProof {
    new: u64,
    old: u64,
    proof: Vec<String>,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

/// `GET /v1/leaves/{leaf}`
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

/// `GET /v1/proofs/inclusion?index=N&size=N`
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

/// `GET /v1/proofs/consistency?old=N&new=N`
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

/// `GET /v1/entries/{index}/tlog-proof`
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
