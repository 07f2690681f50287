//! Connections: how many there are, and how long one may keep its peer's place (`spec/limits.md`).

use std::{
    future::Future as _,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Sleep, sleep},
};

use crate::limits;

/// What a connection may take of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at a time; who comes then waits until one ends.
    pub connections: usize,
    /// How long the next request's head may take, from the end of the last answer.
    pub head: Duration,
    /// How long a peer may take nothing of what is written to it.
    pub stall: Duration,
}

impl Bounds {
    /// Those of [`limits`].
    pub(crate) const STANDARD: Self =
        Self { connections: limits::CONNECTIONS, head: limits::HEAD_TIME, stall: limits::STALL_TIME };
}

/// Answers requests until `closing` turns true, and then those that are in flight.
///
/// # Errors
/// Nothing could be accepted for [`limits::ACCEPT_TRIES`] seconds on end.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    bounds: Bounds,
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
            accepted = listener.accept(), if open.len() < bounds.connections => match accepted {
                Ok((stream, _)) => {
                    failures = 0;
                    open.spawn(converse(stream, app.clone(), bounds, told.clone()));
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) if failures == limits::ACCEPT_TRIES => return Err(error),
                // Most likely there are too many open files, and soon there will be fewer.
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
async fn converse(stream: TcpStream, app: Router, bounds: Bounds, mut closing: watch::Receiver<bool>) {
    let stream = Taken { stream, stalled: None, patience: bounds.stall };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    http.max_headers(limits::HEADERS).max_header_size(limits::HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    let mut connection = pin!(connection);
    // How a connection breaks off is the peer's affair; what matters was answered.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = closing.wait_for(|closing| *closing) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Whether it is the connection that failed, and not the listener.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionRefused | K::ConnectionReset | K::Interrupted)
}

/// A stream that fails once its peer has taken nothing of what is written for too long.
struct Taken<S> {
    stream: S,
    /// Since the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<S: AsyncWrite + Unpin> Taken<S> {
    fn watched<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watched(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watched(cx, |stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched(cx, |stream, cx| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        time::Instant,
    };

    use axum::{body::Body, response::IntoResponse as _, routing::get};

    use super::*;

    const HEAD: Duration = Duration::from_millis(1_500);
    const STALL: Duration = Duration::from_millis(1_000);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A server of this test's, that has room for two.
    struct Served {
        address: SocketAddr,
        closing: watch::Sender<bool>,
        ended: std::thread::JoinHandle<io::Result<()>>,
    }

    impl Served {
        fn start() -> Self {
            let endless = || async {
                let zeros = futures_util::stream::repeat_with(|| Ok::<_, io::Error>(vec![0_u8; 65_536]));
                Body::from_stream(zeros).into_response()
            };
            let app = Router::new().route("/", get(|| async { "here" })).route("/endless", get(endless));
            let (closing, told) = watch::channel(false);
            let (ready, address) = std::sync::mpsc::channel();
            let ended = std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                    ready.send(listener.local_addr().unwrap()).unwrap();
                    serve(listener, app, Bounds { connections: 2, head: HEAD, stall: STALL }, told).await
                })
            });
            Self { address: address.recv().unwrap(), closing, ended }
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        }

        fn stop(self) {
            self.closing.send_replace(true);
            self.ended.join().unwrap().unwrap();
        }
    }

    /// Asks once, and leaves the connection open.
    fn is_answered(stream: &mut TcpStream) -> bool {
        let mut answer = [0; 512];
        stream.write_all(REQUEST).unwrap();
        stream.read(&mut answer).is_ok_and(|length| answer[..length].starts_with(b"HTTP/1.1 200"))
    }

    /// How long it takes until the server closes the connection; at most as long as a test waits for it.
    fn closed_after(stream: &mut TcpStream) -> Duration {
        let (started, mut taken) = (Instant::now(), [0; 4_096]);
        // A reset ends it as well.
        while stream.read(&mut taken).is_ok_and(|length| length > 0) && started.elapsed() < 8 * HEAD {}
        started.elapsed()
    }

    #[test]
    fn a_head_that_comes_byte_by_byte_ends_its_connection() {
        let served = Served::start();
        let mut slow = served.connect();
        let started = Instant::now();
        let sent = REQUEST.iter().cycle().take_while(|byte| {
            std::thread::sleep(Duration::from_millis(50));
            slow.write_all(&[if **byte == b'\n' { b'x' } else { **byte }]).is_ok()
                && started.elapsed() < Duration::from_secs(10)
        });
        assert!(sent.count() >= 5);
        assert!(started.elapsed() >= HEAD && started.elapsed() < 4 * HEAD, "{:?}", started.elapsed());
        served.stop();
    }

    #[test]
    fn a_connection_that_asks_nothing_ends_and_one_that_asks_in_time_does_not() {
        let served = Served::start();
        let (mut idle, mut busy) = (served.connect(), served.connect());
        let idling = std::thread::spawn(move || closed_after(&mut idle));
        for _ in 0..8 {
            assert!(is_answered(&mut busy));
            std::thread::sleep(HEAD / 5);
        }
        let elapsed = idling.join().unwrap();
        assert!(elapsed >= HEAD / 2 && elapsed < 4 * HEAD, "{elapsed:?}");
        let elapsed = closed_after(&mut busy);
        assert!(elapsed < 4 * HEAD, "idle after its last answer: {elapsed:?}");
        served.stop();
    }

    #[test]
    fn one_connection_too_many_waits_for_its_turn() {
        let served = Served::start();
        let (mut first, mut second) = (served.connect(), served.connect());
        assert!(is_answered(&mut first) && is_answered(&mut second));
        let mut third = served.connect();
        third.set_read_timeout(Some(HEAD / 4)).unwrap();
        assert!(!is_answered(&mut third), "there is room for two");
        drop(first);
        third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = [0; 12];
        third.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        drop(second);
        served.stop();
    }

    #[test]
    fn who_takes_nothing_of_the_answer_is_given_up() {
        let served = Served::start();
        let mut deaf = served.connect();
        deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        std::thread::sleep(4 * STALL);
        // What was on its way arrives; then it breaks off, though there is no end to the answer.
        assert!(closed_after(&mut deaf) < 4 * HEAD);
        let mut listening = served.connect();
        listening.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let (started, mut taken) = (Instant::now(), [0; 4_096]);
        while started.elapsed() < 2 * STALL {
            listening.read_exact(&mut taken).unwrap();
        }
        drop(listening);
        served.stop();
    }

    #[test]
    fn stopping_ends_who_is_idle_at_once() {
        let served = Served::start();
        let mut idle = served.connect();
        assert!(is_answered(&mut idle));
        let started = Instant::now();
        served.stop();
        assert!(started.elapsed() < HEAD / 2);
    }
}
