//! Adding to a raw log.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::read_bytes,
    door::Asker,
    handlers::asked,
    limits,
    problem::{Kind, Problem},
    promise::{Asked, Promise, Wanted},
    raw::RawApp,
    schemas,
};

/// Adds an entry to a raw log.
///
/// Bytes that are an entry already are answered with its index. Who may not, who is over its quota, and who comes while too many
/// wait, is told so before the body is read.
#[utoipa::path(
    post, path = "/add", operation_id = "addEntry", tag = "raw log",
    params(Asked),
    request_body(content = schemas::Bytes, content_type = "application/octet-stream",
        description = "The entry: 1 to 65,535 bytes of any media type"),
    responses(
        (status = 200, description = "Its index, without a line feed; `/checkpoint` covers it", body = schemas::EntryNumber,
            content_type = "text/plain"),
        (status = 202, description = "With `promise=stored`", body = schemas::EntryNumber, content_type = "text/plain"),
    ),
)]
pub(crate) async fn add(
    Shared(app): Shared<Arc<RawApp>>,
    query: Result<Query<Asked>, QueryRejection>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    asker.may_write(&app.writes, &headers).map_err(Problem::may_not_write)?;
    let wanted = Wanted::of(asked(query)?, &app.view, &asker)?;
    let peer = asker.peer();
    app.may_add(&peer)?;
    let place = Arc::clone(&app.places).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy("as many entries as may wait are waiting".to_owned()))?;
    let entry = read_bytes(&headers, body, limits::ENTRY_BYTES, Kind::EntryTooLarge).await?;
    if entry.is_empty() {
        return Err(Kind::EntryEmpty.because("the body is empty"));
    }
    app.charge(peer, &entry).await?;
    let index = app.add(entry.to_vec(), place).await?.index;
    wanted.hold(index, &app.view).await?;
    let status = if wanted.promise == Promise::Stored { StatusCode::ACCEPTED } else { StatusCode::OK };
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    // No line feed: clients read the whole body as a number.
    Ok((status, headers, index.to_string()).into_response())
}
