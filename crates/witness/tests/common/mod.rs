//! Witnesses on real sockets, and logs to be cosigned.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use counterfoil_tlog::witness::AddCheckpoint;
use counterfoil_tlog::{
    Checkpoint, Hash, MemoryTree, PosixSeconds, SeedSigner, Signer as _, TreeSize, UnverifiedNote,
    VerifierKey, consistency, leaf_hash,
};
use counterfoil_witness::{Clock, Cosigner, StartError, WatchedLog, Witness, serve_on, system_clock};
use tokio::sync::oneshot;

pub const ORIGIN: &str = "log.example/one";
pub const NOW: u64 = 1_800_000_000;

pub fn log_signer(origin: &str) -> SeedSigner {
    SeedSigner::ed25519(origin, &[1; 32]).unwrap()
}

pub fn watched(origin: &str) -> WatchedLog {
    WatchedLog { origin: origin.to_owned(), keys: vec![log_signer(origin).key().clone()] }
}

/// The keys of the witness with this number: Ed25519 and ML-DSA-44.
pub fn cosigners(number: u8) -> Vec<Cosigner> {
    let name = format!("w{number}.example");
    let ed = SeedSigner::ed25519_cosigner(&name, &[100 + number; 32]).unwrap();
    let ml = SeedSigner::ml_dsa_44_cosigner(&name, &[200 + number; 32]).unwrap();
    vec![Box::new(ed), Box::new(ml)]
}

pub fn keys(cosigners: &[Cosigner]) -> Vec<VerifierKey> {
    cosigners.iter().map(|cosigner| cosigner.key().clone()).collect()
}

/// The tree whose leaves are the numbers up to `size`, salted so that other salts make other trees.
pub fn tree(salt: u8, size: u64) -> MemoryTree {
    (0..size).map(|index| leaf(salt, index)).collect()
}

pub fn leaf(salt: u8, index: u64) -> Hash {
    leaf_hash(&[&[salt][..], &index.to_be_bytes()].concat())
}

pub fn note(origin: &str, tree: &MemoryTree) -> UnverifiedNote {
    Checkpoint::new(origin, tree.head()).unwrap().sign(&log_signer(origin)).unwrap()
}

pub fn proof(tree: &MemoryTree, old: u64) -> Vec<Hash> {
    match old {
        0 => Vec::new(),
        old => consistency::prove(TreeSize(old), tree.size(), tree).unwrap(),
    }
}

pub fn request(origin: &str, tree: &MemoryTree, old: u64) -> AddCheckpoint {
    AddCheckpoint { old: TreeSize(old), proof: proof(tree, old), checkpoint: note(origin, tree) }
}

/// A clock that a test sets.
pub fn clock(time: &Arc<AtomicU64>) -> Clock {
    let time = Arc::clone(time);
    Box::new(move || PosixSeconds(time.load(Ordering::SeqCst)))
}

/// A witness that serves, until it is dropped.
pub struct Running {
    pub address: SocketAddr,
    pub witness: Arc<Witness>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(witness: Witness) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), witness)
    }

    pub fn start_at(address: SocketAddr, witness: Witness) -> Self {
        let witness = Arc::new(witness);
        let (ready, bound) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let of = Arc::clone(&witness);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                let served = serve_on(listener, of, "").unwrap();
                ready.send(served.local_addr()).unwrap();
                let stopped = async {
                    let _ = stopped.await;
                };
                served.until(stopped).await.unwrap();
            });
        });
        let address = bound.recv_timeout(Duration::from_secs(20)).unwrap();
        Self { address, witness, stop: Some(stop), thread: Some(thread) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn open(number: u8, dir: &Path, logs: &[&str]) -> Result<Witness, StartError> {
    let logs = logs.iter().map(|origin| watched(origin)).collect();
    Witness::open(cosigners(number), logs, dir, !dir.exists(), system_clock())
}

/// Status, media type and body of an answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub media_type: String,
    pub body: String,
}

pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(Duration::from_secs(20))).build().new_agent()
}

fn reply(response: ureq::http::Response<ureq::Body>) -> Reply {
    let media_type =
        response.headers().get("content-type").map_or("", |value| value.to_str().unwrap()).to_owned();
    let status = response.status().as_u16();
    Reply { status, media_type, body: response.into_body().read_to_string().unwrap() }
}

pub fn post(url: &str, body: &[u8]) -> Reply {
    reply(agent().post(format!("{url}/add-checkpoint")).send(body).unwrap())
}

pub fn get(url: &str) -> Reply {
    reply(agent().get(url).call().unwrap())
}
