//! The C2SP read path: checkpoint, tiles and entry bundles.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Shared},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use counterfoil_log::ReadError;
use counterfoil_tlog::tile::TilePath;

use crate::{
    app::{App, blocking},
    problem::{Kind, Problem},
};

/// `GET /checkpoint`
pub(crate) async fn checkpoint(Shared(app): Shared<Arc<App>>) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (headers, app.latest().text.clone()).into_response()
}

/// `GET /tile/…`
pub(crate) async fn tile(
    Shared(app): Shared<Arc<App>>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let path: TilePath = format!("tile/{path}")
        .parse()
        .map_err(|_| Kind::TileUnknown.because(format!("tile/{path} is no path of a tile")))?;
    let bytes = blocking(move || match app.index().reader().tile(&path) {
        Err(ReadError::BeyondTree { .. } | ReadError::NoSuchTile) => {
            Err(Kind::TileUnknown.because(format!("the log has no {path} yet")))
        }
        read => Ok(read?),
    })
    .await?;
    let mut response = ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response();
    if !path.is_partial() {
        let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
        response.headers_mut().insert(header::CACHE_CONTROL, forever);
    }
    Ok(response)
}
