//! `GET /v1/receipts/{id}`.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, State as Shared},
    response::Response,
};
use counterfoil_receipt::RecordId;
use counterfoil_verify::{Lookup as _, Run};

use crate::{
    app::{App, blocking},
    door::{Asker, Place},
    handlers::json,
    limits,
    problem::{Kind, Problem},
    receipt::receipt_of,
    schemas,
};

/// What the log shows of a record of a run, verified as anybody else would.
///
/// Nobody has to believe it: the bundle that it names shows the same.
#[utoipa::path(
    get, path = "/v1/receipts/{id}", operation_id = "getReceipt", tag = "runs",
    params(("id" = schemas::Hash, Path, description = "A record of the run")),
    responses((status = 200, description = "A receipt (`spec/http.md`, \"Receipts\")", body = Object)),
)]
pub(crate) async fn receipt(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    Path(text): Path<String>,
) -> Result<Response, Problem> {
    let unknown = |why: &str| Kind::RecordUnknown.because(format!("{text:?} {why}"));
    let id = RecordId::parse(&text).ok_or_else(|| unknown("is no record id"))?;
    // Whoever waits for others' receipts takes no more places than a peer has.
    let _held = asker.hold(Place::Receipt)?;
    let latest = app.latest().await?;
    let (index, size) = (app.index(), latest.head.size.0);
    let found = blocking(move || {
        let Some(at) = index.index_of(&id, size)? else { return Ok(None) };
        Ok(Some(index.record(at)?.run()))
    });
    let run = found.await?.ok_or_else(|| unknown("is not in the log"))?;
    let run = run.ok_or_else(|| unknown("is a record of no run: there is nothing to receipt"))?;
    let count = app.inspect(move |records, _| records.state().run(&run).map_or(0, Run::count));
    let count = count.await?;
    if count > limits::RECEIPT_RECORDS {
        let most = limits::RECEIPT_RECORDS;
        return Err(
            Kind::RunTooLong.because(format!("{run} has {count} records; a receipt is made of {most}"))
        );
    }
    // A closed semaphore would only mean that there is no bound.
    let permit = Arc::clone(&app.receipts).acquire_owned().await;
    let receipt = blocking(move || {
        // It counts until it is done, whether or not somebody still waits for it.
        let _permit = permit;
        receipt_of(&app, id, run, &latest)
    });
    Ok(json(&receipt.await?))
}
