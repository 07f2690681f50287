//! The gate over streamable HTTP: clients ask it as they would ask the server, which it reaches by an address.
//!
//! A session of revision 2025-11-25 is a connection. Under 2026-07-28 there are none: there all who show the server the same are one
//! connection (`spec/decisions/021-mcp-over-http.md`).

mod connections;
mod exchanges;
mod front;
mod headers;
mod sse;
#[cfg(test)]
mod tests;
mod upstream;

use std::{
    io,
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use counterfoil_http::{Address, Bounds};
use tokio::{runtime, sync::watch as told};

use crate::{limits, shared::Shared, watch::watch};
use connections::Connections;
use front::Door;
use upstream::Target;

/// How often it is looked who waited long enough.
const TICK: Duration = Duration::from_millis(100);

/// What a gate over HTTP is told.
pub struct Http {
    /// Where clients come.
    pub listener: TcpListener,
    /// By which names clients call it, as in `Host`, beside those of this machine.
    pub hosts: Vec<String>,
    /// What its clients have to show; then it is not shown to the server.
    pub token: Option<String>,
    /// The server.
    pub upstream: Address,
    /// The value of `Authorization` that the server is shown, instead of what clients show.
    pub credential: Option<String>,
    /// Makes names of sessions that nobody guesses; nothing if there is no randomness.
    pub name: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// Where to say what nobody asked for.
    pub note: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Serves clients until `told_to_end` says so. What runs then has an outcome that is recorded, if need be that it is unknown.
///
/// # Errors
/// If nothing can be served.
pub fn serve(http: Http, shared: &Arc<Shared>, told_to_end: &dyn Fn() -> bool) -> io::Result<()> {
    serve_with(http, shared, limits::STALL, told_to_end)
}

/// The same, where somebody may take nothing for as long as `stall`.
fn serve_with(
    http: Http,
    shared: &Arc<Shared>,
    stall: Duration,
    told_to_end: &dyn Fn() -> bool,
) -> io::Result<()> {
    let Http { listener, hosts, token, upstream, credential, name, note } = http;
    let target = Target { address: upstream, credential, stall };
    let connections = Connections::new(Arc::clone(shared), target, note);
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    listener.set_nonblocking(true)?;
    let (closing, closed) = told::channel(false);
    let app = front::app(Door { hosts, token, connections: Arc::clone(&connections), name });
    let bounds = Bounds { connections: 2 * limits::EXCHANGES, head: limits::STALL, stall };
    let served = runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        counterfoil_http::serve(listener, app, bounds, closed).await
    });
    let weak = Arc::downgrade(&connections);
    watch(shared, move || {
        let all = weak.upgrade().map(|connections| connections.all()).unwrap_or_default();
        all.iter().map(|connection| Arc::clone(&connection.proxy)).collect()
    })?;
    while !told_to_end() && !served.is_finished() {
        connections.tick(Instant::now());
        thread::sleep(TICK);
    }
    // Who comes now comes too late.
    closing.send_replace(true);
    end(&connections, shared);
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

/// Lets what runs end for a moment; then nobody knows the end of what is left, and that is recorded.
fn end(connections: &Connections, shared: &Arc<Shared>) {
    let all = [connections.all(), connections.ending()].concat();
    for connection in &all {
        connection.proxy.client_gone();
    }
    let is_busy = || all.iter().any(|connection| connection.proxy.is_busy());
    let wait = |most: Duration| {
        let began = Instant::now();
        while is_busy() && began.elapsed() < most {
            thread::sleep(Duration::from_millis(5));
        }
    };
    wait(limits::TOLD_TO_END);
    for connection in &all {
        connection.proxy.server_gone();
    }
    wait(limits::SHUTDOWN);
    shared.log_outcomes();
}
