//! The witness over HTTP (C2SP tlog-witness): routes, limits, start and end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use counterfoil_http::stop_signal;
use counterfoil_keys::NoteKey;
use counterfoil_tlog::PosixSeconds;
use counterfoil_tlog::witness::{ADD_CHECKPOINT, REQUEST_BYTES, SIZE_MEDIA_TYPE};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::Config;
use crate::error::{Refusal, StartError};
use crate::limits;
use crate::server::{Clock, Cosigner, Witness};

/// Serves until SIGINT or SIGTERM. `ready` is called with the address, and the witness, once it listens. `new` says that the
/// witness has no state yet.
///
/// # Errors
/// [`StartError`].
pub async fn serve(
    config: Config,
    new: bool,
    ready: impl FnOnce(SocketAddr, &Witness),
) -> Result<(), StartError> {
    let signal = stop_signal().map_err(StartError::Serve)?;
    let listen = |io| StartError::Listen { address: config.listen, io };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let cosigners = config.keys.iter().map(|path| Ok(Box::new(NoteKey::load(path)?) as Cosigner));
    let cosigners = cosigners.collect::<Result<Vec<_>, StartError>>()?;
    let witness = Witness::open(cosigners, config.logs, &config.state_dir, new, system_clock())?;
    let served = serve_on(listener, Arc::new(witness), &config.prefix)?;
    ready(served.local_addr(), &served.witness);
    served.until(signal).await
}

/// The time of this machine.
pub fn system_clock() -> Clock {
    Box::new(|| {
        // Before 1970 there is no time, and 0 cosigns nothing.
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        PosixSeconds(since.map_or(0, |since| since.as_secs()))
    })
}

/// A witness that listens.
pub struct Served {
    listener: TcpListener,
    address: SocketAddr,
    app: Router,
    witness: Arc<Witness>,
}

/// A witness on a listener that is bound.
///
/// # Errors
/// [`StartError::Serve`] if the listener has no address.
pub fn serve_on(listener: TcpListener, witness: Arc<Witness>, prefix: &str) -> Result<Served, StartError> {
    let address = listener.local_addr().map_err(StartError::Serve)?;
    let app = app(Arc::clone(&witness), prefix);
    Ok(Served { listener, address, app, witness })
}

impl Served {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready, and finishes what is in flight.
    ///
    /// # Errors
    /// [`StartError::Serve`] if no connection could be accepted for a minute.
    pub async fn until(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), StartError> {
        let closing = watch::Sender::new(false);
        let serving =
            counterfoil_http::serve(self.listener, self.app, limits::CONNECTIONS, closing.subscribe());
        let serving = async { serving.await.map_err(StartError::Serve) };
        let stop = async {
            shutdown.await;
            closing.send_replace(true);
            // Never ready: the connections end by themselves, in bounded time.
            std::future::pending::<()>().await;
        };
        tokio::select! { served = serving => served, () = stop => Ok(()) }
    }
}

/// The routes of a witness below `prefix`, which is empty or begins with a slash.
pub fn app(witness: Arc<Witness>, prefix: &str) -> Router {
    Router::new()
        .route(&format!("{prefix}/{ADD_CHECKPOINT}"), post(add_checkpoint))
        .route(&format!("{prefix}/"), get(list))
        .route(&format!("{prefix}/{{id}}/checkpoint"), get(cosigned))
        .with_state(witness)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    let body = match tokio::time::timeout(limits::BODY_TIME, to_bytes(body, REQUEST_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("over {REQUEST_BYTES} bytes, or broken off\n"),
            );
        }
        Err(_) => return text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n".to_owned()),
    };
    // It waits for the disk. Once begun it ends, whether the client waits for it or not.
    let answer = tokio::task::spawn_blocking(move || answer(&witness, &body)).await;
    answer.unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n".to_owned()))
}

fn answer(witness: &Witness, body: &Bytes) -> Response {
    match witness.add_checkpoint(body) {
        Ok(lines) => text(StatusCode::OK, lines),
        Err(Refusal::Conflict { size }) => {
            let media_type = [(header::CONTENT_TYPE, HeaderValue::from_static(SIZE_MEDIA_TYPE))];
            (StatusCode::CONFLICT, media_type, format!("{size}\n")).into_response()
        }
        Err(refusal) => {
            let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            text(status, format!("{refusal}\n"))
        }
    }
}

/// For people: the keys, and what was cosigned last of each log.
async fn list(State(witness): State<Arc<Witness>>) -> Response {
    let list = tokio::task::spawn_blocking(move || {
        let mut list = "A witness of transparency logs (c2sp.org/tlog-witness)\n\nkeys:\n".to_owned();
        list.extend(witness.keys().map(|key| format!("  {key}\n")));
        list.push_str("\nlogs:\n");
        for seen in witness.seen() {
            let state = seen.latest.map_or("nothing cosigned".to_owned(), |(size, time)| {
                format!("size {size}, cosigned at {time}, {}/checkpoint", seen.id)
            });
            list.push_str(&format!("  {}: {state}\n", seen.origin));
        }
        list
    });
    match list.await {
        Ok(list) => text(StatusCode::OK, list),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n".to_owned()),
    }
}

async fn cosigned(State(witness): State<Arc<Witness>>, Path(id): Path<String>) -> Response {
    match tokio::task::spawn_blocking(move || witness.cosigned(&id)).await {
        Ok(Some(note)) => text(StatusCode::OK, note.to_string()),
        Ok(None) => text(StatusCode::NOT_FOUND, "nothing cosigned of such a log\n".to_owned()),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "the witness failed\n".to_owned()),
    }
}

fn text(status: StatusCode, text: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, text).into_response()
}
