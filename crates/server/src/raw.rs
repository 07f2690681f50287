//! A raw log: any bytes as entries, each once (`spec/log.md`, "Raw mode").

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Instant};

use counterfoil_keys::NoteKey;
use counterfoil_log::{AddError, CheckpointKeys, Handle, Log, Logged, Outcome, Raw};
use counterfoil_tlog::{Signer as _, leaf_hash};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::{
    access::Access,
    app::blocking,
    config::Config,
    error::StartError,
    limits,
    problem::{Kind, Problem, with_causes},
    quota::{Peer, Quotas},
    server::log_error,
    view::{LogView, open_files, open_log},
};

/// What the handlers of a raw log work with.
pub(crate) struct RawApp {
    /// What it shows.
    pub view: Arc<LogView>,
    /// Who may add.
    pub writes: Access,
    /// Bounds the entries that are read and wait at a time.
    pub places: Arc<Semaphore>,
    /// How much each peer may add, if that is bounded.
    pub quotas: Option<Quotas<Peer>>,
    handle: Handle<Raw>,
}

/// Creates a raw log: readers find the signed checkpoint of the empty tree.
pub(crate) fn create(config: &Config) -> Result<(), StartError> {
    let log = Log::create_empty(open_files(config, keys(config)?)?, Raw);
    let closed = log.map_err(|source| log_error(config, source))?.close();
    closed.map_err(|fatal| StartError::Unreadable(with_causes(&*fatal)))
}

/// Opens a raw log.
pub(crate) fn open(
    config: &Config,
    writes: Access,
    closing: watch::Receiver<bool>,
) -> Result<(Log<Raw>, RawApp), StartError> {
    let (log, view) = open_log(config, keys(config)?, Raw, closing)?;
    let (handle, view) = (log.handle(), Arc::new(view));
    let (places, quotas) = (Arc::new(Semaphore::new(limits::ADDS)), config.quota.map(Quotas::new));
    Ok((log, RawApp { view, writes, places, quotas, handle }))
}

/// The log's one key, whose name is its origin.
fn keys(config: &Config) -> Result<CheckpointKeys, StartError> {
    let key = NoteKey::load(&config.note_key)?;
    let origin = key.key().name().to_owned();
    Ok(CheckpointKeys::new(origin, vec![Box::new(key)], vec![]))
}

impl RawApp {
    /// Whether a peer has something left; told before its body is read.
    pub(crate) fn may_add(&self, peer: &Peer) -> Result<(), Problem> {
        let checked = self.quotas.as_ref().map_or(Ok(()), |quotas| quotas.check(peer, Instant::now()));
        checked.map_err(Problem::over_quota)
    }

    /// Charges a peer for an entry, unless there is one of these bytes.
    pub(crate) async fn charge(&self, peer: Peer, entry: &[u8]) -> Result<(), Problem> {
        let Some(quotas) = &self.quotas else { return Ok(()) };
        let (reader, leaf) = (self.view.reader.clone(), leaf_hash(entry));
        if blocking(move || Ok(reader.lookup(&leaf)?)).await?.is_some() {
            return Ok(());
        }
        quotas.charge(&HashMap::from([(peer, 1)]), Instant::now()).map_err(Problem::over_quota)
    }

    /// Adds an entry, or finds it, and waits until a signed checkpoint covers it. Its place is taken until then.
    pub(crate) async fn add(&self, entry: Vec<u8>, place: OwnedSemaphorePermit) -> Result<Logged, Problem> {
        let (reply, answer) = oneshot::channel();
        // If the client goes away, the entry is added all the same.
        self.handle.submit(vec![entry], move |outcomes| {
            drop(place);
            drop(reply.send(outcomes));
        });
        let outcomes = answer.await.unwrap_or(Err(AddError::Closed));
        self.view.note_failure();
        match outcomes?.into_iter().next() {
            Some(Outcome::Added(logged) | Outcome::Duplicate(logged)) => Ok(logged),
            Some(Outcome::Refused(never)) => refused(never),
            None => Err(Kind::Unreadable.because("the log gave no answer")),
        }
    }
}

/// A raw log refuses nothing.
const fn refused<T>(never: Infallible) -> T {
    match never {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        io::{Read as _, Write as _},
        net::{SocketAddr, TcpStream},
        time::Duration,
    };

    use counterfoil_tlog::Algorithm;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{app::raw_app, config::Mode};

    const HEAD: &[u8] =
        b"POST /add HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 1\r\n\r\n";

    fn begin(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(HEAD).unwrap();
        stream
    }

    fn answer(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_finds_no_place_is_told_so_before_the_body_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let key = NoteKey::from_seed("test.example/raw", Algorithm::Ed25519, &[1; 32]).unwrap();
        key.write(&at("note.key")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config {
            listen: address,
            quota: None,
            rate: None,
            tokens: None,
            reads: Access::Local,
            log_dir: at("log"),
            lock_dir: at("lock"),
            note_key: at("note.key"),
            published: Vec::new(),
            mode: Mode::Raw { writes: Access::Local },
            witnesses: None,
        };
        create(&config).unwrap();
        let (_closing, closed) = watch::channel(false);
        let (_log, mut app) = open(&config, Access::Local, closed.clone()).unwrap();
        app.places = Arc::new(Semaphore::new(1));
        tokio::spawn(counterfoil_http::serve(
            listener,
            raw_app(Arc::new(app)).0,
            limits::CONNECTIONS,
            closed,
        ));
        tokio::task::spawn_blocking(move || {
            let mut first = begin(address);
            // Once it has its place, whoever comes without a body is answered, and not waited for.
            std::thread::sleep(Duration::from_millis(300));
            let refused = answer(begin(address));
            assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
            assert!(refused.contains("\r\nretry-after: 1\r\n") && refused.contains("log-busy"), "{refused}");
            first.write_all(b"a").unwrap();
            assert!(answer(first).ends_with("\r\n\r\n0"));
            // The place is free again.
            let mut next = begin(address);
            next.write_all(b"b").unwrap();
            assert!(answer(next).ends_with("\r\n\r\n1"));
        })
        .await
        .unwrap();
    }
}
