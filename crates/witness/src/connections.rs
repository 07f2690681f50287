//! Connections: how many there are, and how long one may keep its peer's place.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits;

/// Answers requests until `closing` turns true, and then those that are in flight.
///
/// # Errors
/// Nothing could be accepted for [`limits::ACCEPT_TRIES`] seconds on end.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let told = closing.clone();
    // Dropped, it ends every connection that is left.
    let mut open = JoinSet::new();
    let mut failures = 0;
    loop {
        tokio::select! {
            // Without a sender, nobody can say otherwise.
            _ = async { closing.wait_for(|closing| *closing).await.is_ok() } => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < limits::CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    failures = 0;
                    open.spawn(converse(stream, app.clone(), told.clone()));
                }
                Err(error) if failures == limits::ACCEPT_TRIES => return Err(error),
                // Most likely the peer has gone, or there are too many open files, and soon there will be fewer.
                Err(_) => {
                    failures += 1;
                    sleep(Duration::from_secs(1)).await;
                }
            },
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

/// One connection, to its end.
async fn converse(stream: TcpStream, app: Router, mut closing: watch::Receiver<bool>) {
    // Answers are one small packet after another.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits::HEAD_TIME);
    http.max_headers(limits::HEADERS).max_header_size(limits::HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    // How a connection breaks off is the peer's affair; what matters was stored.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => {}
        () = sleep(limits::CONNECTION_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(limits::SHUTDOWN, connection).await;
}
