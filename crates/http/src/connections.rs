//! Connections: how many there are, and how long one may keep its peer's place (`spec/limits.md`).

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::ConnectInfo,
    http::{HeaderValue, header},
};
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
    time::{Sleep, sleep},
};

use crate::limits;

/// What connections may take of a server.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time. One more waits until another ends, and until then the oldest are asked to end after the answer
    /// that they are at.
    pub connections: usize,
    /// How long the next request's head may take, from the end of the last answer.
    pub head: Duration,
    /// How long a peer may take nothing of what is written to it.
    pub stall: Duration,
}

/// Answers requests until `closing` turns true, and then those that are in flight. Handlers find who asks in
/// [`ConnectInfo`].
///
/// # Errors
/// Nothing could be accepted for [`limits::ACCEPT_TRIES`] seconds on end.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    bounds: Bounds,
    mut closing: watch::Receiver<bool>,
) -> io::Result<()> {
    let told = closing.clone();
    let mut open = Open { bounds, app, told, conversations: JoinSet::new(), oldest: VecDeque::new() };
    // Who came when there was no place.
    let mut waiting = None;
    let mut failures = 0;
    loop {
        tokio::select! {
            // Without a sender, nobody can say otherwise.
            _ = async { closing.wait_for(|closing| *closing).await.is_ok() } => break,
            Some(_) = open.conversations.join_next() => {
                if let Some((stream, peer)) = waiting.take() {
                    open.begin(stream, peer);
                }
            }
            () = sleep(limits::YIELD_TIME), if waiting.is_some() => open.make_room(),
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, peer)) => {
                    failures = 0;
                    if open.conversations.len() < bounds.connections {
                        open.begin(stream, peer);
                    } else {
                        open.make_room();
                        waiting = Some((stream, peer));
                    }
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
    drop((listener, waiting));
    while open.conversations.join_next().await.is_some() {}
    Ok(())
}

/// The connections that are open.
struct Open {
    bounds: Bounds,
    app: Router,
    told: watch::Receiver<bool>,
    /// Dropped, it ends every connection that is left.
    conversations: JoinSet<()>,
    /// Asks them to end, in the order in which they began. Those that have ended listen no more.
    oldest: VecDeque<oneshot::Sender<()>>,
}

impl Open {
    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (ask, asked) = oneshot::channel();
        if self.oldest.len() >= 2 * self.bounds.connections {
            self.oldest.retain(|ask| !ask.is_closed());
        }
        self.oldest.push_back(ask);
        let (app, told) = (self.app.clone(), self.told.clone());
        self.conversations.spawn(converse((stream, peer), app, self.bounds, asked, told));
    }

    /// Asks the oldest connections that were not asked yet to end.
    fn make_room(&mut self) {
        let mut share = self.bounds.connections.div_ceil(limits::YIELDING);
        while share > 0
            && let Some(ask) = self.oldest.pop_front()
        {
            share -= usize::from(ask.send(()).is_ok());
        }
    }
}

/// One connection, to its end.
async fn converse(
    (stream, peer): (TcpStream, SocketAddr),
    app: Router,
    bounds: Bounds,
    asked: oneshot::Receiver<()>,
    mut closing: watch::Receiver<bool>,
) {
    // Answers are one small packet after another.
    let _ = stream.set_nodelay(true);
    let stream = Taken { stream, stalled: None, patience: bounds.stall };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(bounds.head);
    http.max_headers(limits::HEADERS).max_header_size(limits::HEAD_BYTES);
    let app = TowerToHyperService::new(app);
    let leaving = AtomicBool::new(false);
    let app = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (answer, leaving) = (app.call(request), &leaving);
        async move {
            let mut answer = answer.await?;
            if leaving.load(Ordering::Relaxed) {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http.serve_connection(TokioIo::new(stream), app);
    let mut connection = pin!(connection);
    let mut told = pin!(async move { drop(closing.wait_for(|closing| *closing).await) });
    // How a connection breaks off is the peer's affair; what matters was answered.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told.as_mut() => {}
        _ = asked => {
            // Its next request may be under way: closed now, the peer could not tell whether it was taken.
            leaving.store(true, Ordering::Relaxed);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = told.as_mut() => {}
                () = sleep(limits::YIELD_IDLE) => {}
            }
        }
    }
    connection.as_mut().graceful_shutdown();
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
            Self::start_with(HEAD)
        }

        fn start_with(head: Duration) -> Self {
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
                    serve(listener, app, Bounds { connections: 2, head, stall: STALL }, told).await
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

    const ENDLESS: &[u8] = b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n";

    #[test]
    fn one_connection_too_many_waits_for_its_turn() {
        let served = Served::start();
        // Both are in the middle of an answer.
        let mut busy = [served.connect(), served.connect()];
        let mut taken = [0; 4_096];
        for stream in &mut busy {
            stream.write_all(ENDLESS).unwrap();
            stream.read_exact(&mut taken).unwrap();
        }
        let mut third = served.connect();
        third.set_read_timeout(Some(STALL / 2)).unwrap();
        assert!(!is_answered(&mut third), "there is room for two");
        let [first, second] = busy;
        drop(first);
        third.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = [0; 12];
        third.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        drop(second);
        served.stop();
    }

    /// Clients that kept their connections, and asked nothing, held every place until they went.
    #[test]
    fn who_is_idle_gives_way_to_who_comes() {
        let served = Served::start_with(Duration::from_secs(600));
        let mut idle = [served.connect(), served.connect()];
        assert!(idle.iter_mut().all(is_answered));
        let mut later = [served.connect(), served.connect(), served.connect()];
        assert!(later.iter_mut().all(is_answered), "in the order in which they came");
        assert!(idle.iter_mut().all(|stream| !is_answered(stream)), "they were the oldest");
        served.stop();
    }

    /// Tessera's integration test: a connection was closed between its opening and its request, and nobody could tell whether
    /// the request was taken.
    #[test]
    fn who_gives_way_while_it_asks_is_answered() {
        let served = Served::start_with(Duration::from_secs(600));
        let mut silent = [served.connect(), served.connect()];
        let mut third = served.connect();
        third.set_read_timeout(Some(limits::YIELD_IDLE / 8)).unwrap();
        assert!(!is_answered(&mut third), "there is room for two");
        let mut answer = String::new();
        silent[0].write_all(REQUEST).unwrap();
        silent[0].read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        served.stop();
    }

    #[test]
    fn who_takes_nothing_of_the_answer_is_given_up() {
        let served = Served::start();
        let mut deaf = served.connect();
        deaf.write_all(ENDLESS).unwrap();
        std::thread::sleep(4 * STALL);
        // What was on its way arrives; then it breaks off, though there is no end to the answer.
        assert!(closed_after(&mut deaf) < 4 * HEAD);
        let mut listening = served.connect();
        listening.write_all(ENDLESS).unwrap();
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
