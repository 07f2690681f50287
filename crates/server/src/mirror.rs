//! A mirror: the C2SP read path of a directory to which somebody exports a log, and nothing else (`spec/http.md`, "Mirrors").

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State as Shared,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use counterfoil_audit::{Mirror, MirrorError, Shown, SourceError};
use counterfoil_tlog::tile::TilePath;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::blocking,
    config::MirrorConfig,
    door::Door,
    error::StartError,
    handlers::{json, tiles::ReadPath},
    problem::{Kind, Problem},
    schemas,
};

/// What the handlers of a mirror read.
pub(crate) struct MirrorView {
    mirror: Arc<Mirror>,
    door: Arc<Door>,
}

impl MirrorView {
    /// Reads the directory of a configuration.
    pub(crate) fn open(config: MirrorConfig) -> Result<Self, StartError> {
        let MirrorConfig { directory: dir, reads, rate, tokens, .. } = config;
        let door = Door::new(reads, tokens, rate)?;
        match Mirror::open(&dir) {
            Ok(mirror) => Ok(Self { mirror: Arc::new(mirror), door }),
            Err(source) => Err(StartError::Mirror { dir, source }),
        }
    }

    /// Looks at the directory: what is shown from now on, and why that is not what stands there, if it is not.
    async fn look(&self) -> Result<(Arc<Shown>, Option<MirrorError>), Problem> {
        let mirror = Arc::clone(&self.mirror);
        blocking(move || {
            Ok(match mirror.look() {
                Ok(shown) => (shown, None),
                Err(why) => (mirror.last(), Some(why)),
            })
        })
        .await
    }
}

impl ReadPath for MirrorView {
    fn door(&self) -> &Arc<Door> {
        &self.door
    }

    async fn checkpoint(&self) -> Result<String, Problem> {
        Ok(self.look().await?.0.note.clone())
    }

    fn tile(&self, path: &TilePath) -> Result<Option<Vec<u8>>, Problem> {
        Ok(self.mirror.tile(path)?)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = MirrorHealth)]
pub(crate) struct Health {
    mirror: MirrorHealth,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    size: u64,
    #[schema(value_type = schemas::Condition)]
    status: &'static str,
    /// That no token of the token file is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<[String; 1]>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MirrorAge)]
struct MirrorHealth {
    /// Milliseconds since the file was written.
    age: u64,
}

/// `GET /healthz`
pub(crate) async fn health(Shared(view): Shared<Arc<MirrorView>>) -> Result<Response, Problem> {
    let (shown, why) = view.look().await?;
    // A clock that was put back makes it young.
    let age = shown.written.elapsed().unwrap_or(Duration::ZERO).as_millis();
    let (status, name) = match why {
        None => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    let health = Health {
        mirror: MirrorHealth { age: u64::try_from(age).unwrap_or(u64::MAX) },
        reason: why.map(|why| why.to_string()),
        size: shown.head.size.0,
        status: name,
        warnings: view.door.warning().map(|warning| [warning]),
    };
    Ok((status, json(&health)).into_response())
}

impl From<SourceError> for Problem {
    fn from(error: SourceError) -> Self {
        Kind::Unreadable.because(error.to_string())
    }
}
