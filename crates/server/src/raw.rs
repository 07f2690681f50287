//! A raw log: any bytes as entries, each once (`spec/log.md`, "Raw mode").

use std::{convert::Infallible, sync::Arc};

use counterfoil_keys::NoteKey;
use counterfoil_log::{AddError, CheckpointKeys, Handle, Log, Logged, Outcome, Raw};
use counterfoil_tlog::Signer as _;
use tokio::sync::{Semaphore, oneshot};

use crate::{
    access::Access,
    config::Config,
    error::StartError,
    limits,
    problem::{Kind, Problem, with_causes},
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
    pub adds: Semaphore,
    handle: Handle<Raw>,
}

/// Creates a raw log: readers find the signed checkpoint of the empty tree.
pub(crate) fn create(config: &Config) -> Result<(), StartError> {
    let log = Log::create_empty(open_files(config, keys(config)?)?, Raw);
    let closed = log.map_err(|source| log_error(config, source))?.close();
    closed.map_err(|fatal| StartError::Unreadable(with_causes(&*fatal)))
}

/// Opens a raw log.
pub(crate) fn open(config: &Config, writes: Access) -> Result<(Log<Raw>, RawApp), StartError> {
    let (log, view) = open_log(config, keys(config)?, Raw)?;
    let (handle, view) = (log.handle(), Arc::new(view));
    Ok((log, RawApp { view, writes, adds: Semaphore::new(limits::ADDS), handle }))
}

/// The log's one key, whose name is its origin.
fn keys(config: &Config) -> Result<CheckpointKeys, StartError> {
    let key = NoteKey::load(&config.note_key)?;
    let origin = key.key().name().to_owned();
    Ok(CheckpointKeys::new(origin, vec![Box::new(key)], vec![]))
}

impl RawApp {
    /// Adds an entry, or finds it, and waits until a signed checkpoint covers it.
    pub(crate) async fn add(&self, entry: Vec<u8>) -> Result<Logged, Problem> {
        let (reply, answer) = oneshot::channel();
        // If the client goes away, the entry is added all the same.
        self.handle.submit(vec![entry], move |outcomes| drop(reply.send(outcomes)));
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
