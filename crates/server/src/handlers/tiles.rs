//! The C2SP read path: checkpoint, tiles and entry bundles (c2sp.org/tlog-tiles).

use std::{future::Future, io::Write as _, sync::Arc};

use axum::{
    extract::{Request, State as Shared},
    http::{HeaderMap, HeaderValue, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use counterfoil_log::ReadError;
use counterfoil_tlog::tile::TilePath;
use flate2::{Compression, write::GzEncoder};

use crate::{
    app::blocking,
    door::Door,
    limits,
    problem::{Kind, Problem},
    routes::Routes,
    schemas,
    tokens::Scope,
    view::LogView,
};

/// What serves the C2SP read path: a log, or a mirror of one.
pub(crate) trait ReadPath: Send + Sync + 'static {
    /// Who may read.
    fn door(&self) -> &Arc<Door>;
    /// The text of the checkpoint that is shown.
    fn checkpoint(&self) -> impl Future<Output = Result<String, Problem>> + Send;
    /// The bytes of a tile or bundle, if the checkpoint covers it. Reads files.
    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Problem>;
}

impl ReadPath for LogView {
    fn door(&self) -> &Arc<Door> {
        &self.door
    }

    async fn checkpoint(&self) -> Result<String, Problem> {
        Ok(self.shown().await?.note.to_string())
    }

    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Problem> {
        match self.reader.tile(path) {
            Err(ReadError::BeyondTree { .. } | ReadError::NoSuchTile) => Ok(None),
            read => Ok(Some(read?)),
        }
    }
}

/// The routes of the read path.
pub(crate) fn routes<P: ReadPath>() -> Routes<Arc<P>> {
    Routes::new().read("/checkpoint", &[Scope::Log], checkpoint::<P>).read(
        "/tile/{*path}",
        &[Scope::Log],
        tile::<P>,
    )
}

/// The log's signed checkpoint.
#[utoipa::path(
    get, path = "/checkpoint", operation_id = "getCheckpoint", tag = "read path",
    responses((status = 200, description = "A c2sp.org/tlog-checkpoint", body = String, content_type = "text/plain")),
)]
pub(crate) async fn checkpoint<P: ReadPath>(Shared(view): Shared<Arc<P>>) -> Result<Response, Problem> {
    let note = view.checkpoint().await?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, note).into_response())
}

/// A tile or entry bundle, full or partial.
///
/// What is there never changes, so partial tiles are cached for as long as full ones. Entry bundles are compressed for who
/// asks.
#[utoipa::path(
    get, path = "/tile/{path}", operation_id = "getTile", tag = "read path",
    params(("path" = schemas::TileName, Path, description = "As c2sp.org/tlog-tiles spells it")),
    responses((status = 200, description = "Hashes, or entries with their lengths", body = schemas::Bytes,
        content_type = "application/octet-stream")),
)]
pub(crate) async fn tile<P: ReadPath>(
    Shared(view): Shared<Arc<P>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    // The path as it was sent: a tile has one spelling.
    let text = uri.path().strip_prefix('/').unwrap_or_default();
    let path: TilePath =
        text.parse().map_err(|_| Kind::TileUnknown.because(format!("{text} is no path of a tile")))?;
    let is_bundle = path.level().is_none();
    let gzip = is_bundle && accepts_gzip(&headers);
    // A shared cache gives what is public to whoever asks, with a token or without (RFC 9111, section 3.5).
    let kept = match view.door().is_public() {
        true => "public, max-age=31536000, immutable",
        false => "private, max-age=31536000, immutable",
    };
    let (bytes, is_compressed) = blocking(move || {
        let Some(bytes) = view.tile(&path)? else {
            return Err(Kind::TileUnknown.because(format!("the log has no {path} yet")));
        };
        Ok(if gzip && bytes.len() > limits::GZIP_BYTES { (compress(&bytes)?, true) } else { (bytes, false) })
    })
    .await?;
    let mut response = bytes.into_response();
    let mut insert = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    insert(header::CONTENT_TYPE, "application/octet-stream");
    insert(header::CACHE_CONTROL, kept);
    if is_bundle {
        // Said without compression too, or a cache would give what it has to whoever asks.
        insert(header::VARY, "accept-encoding");
    }
    if is_compressed {
        insert(header::CONTENT_ENCODING, "gzip");
    }
    Ok(response)
}

/// Lets pages of any site read the C2SP paths of a log that everybody may read, and what they answer where they fail.
pub(crate) async fn for_any_site(Shared(door): Shared<Arc<Door>>, request: Request, next: Next) -> Response {
    let is_read = door.is_public() && {
        let path = request.uri().path();
        path == "/checkpoint" || path.starts_with("/tile/")
    };
    let mut response = next.run(request).await;
    if is_read {
        let any = HeaderValue::from_static("*");
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
    }
    response
}

fn compress(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let compressed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    compressed.map_err(|error| Kind::Unreadable.because(format!("compression failed: {error}")))
}

/// Whether the client names gzip among the encodings that it takes, with a weight that is not 0 (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut codings = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.split_once('=').filter(|(q, _)| q.trim().eq_ignore_ascii_case("q"));
        let is_taken = weight
            .and_then(|(_, weight)| weight.trim().parse::<f32>().ok())
            .is_some_and(|weight| weight > 0.0);
        is_taken && ["gzip", "x-gzip"].iter().any(|gzip| name.trim().eq_ignore_ascii_case(gzip))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_named_with_a_weight() {
        let accepts = |value: &str| {
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().unwrap())]))
        };
        for value in ["gzip", "deflate, gzip", "GZIP;q=0.5", "x-gzip", "br;q=1.0, gzip; q = 0.001"] {
            assert!(accepts(value), "{value}");
        }
        for value in
            ["", "*", "identity", "gzip;q=0", "gzip;q=0.000", "gzip;q=", "gzip;level=9", "gzipped", "br"]
        {
            assert!(!accepts(value), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
