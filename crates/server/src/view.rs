//! What every log shows, whatever it holds: its tree, its latest checkpoint, and whether it goes on.

use std::sync::{Arc, OnceLock};

use counterfoil_log::{Application, CheckpointKeys, Log, LogCheckpoint, Reader};
use tokio::sync::watch;

use crate::{
    access::Access,
    config::{Config, Mode},
    error::StartError,
    server::log_error,
    submit::now,
};

/// What the handlers of either mode read.
pub(crate) struct LogView {
    /// Reads entries, tiles and proofs.
    pub reader: Reader,
    /// The latest checkpoint whose entries the index has.
    pub committed: watch::Receiver<Arc<LogCheckpoint>>,
    /// Turns true when the log has failed.
    pub failed: watch::Sender<bool>,
    /// Who may read.
    pub reads: Access,
}

impl LogView {
    /// The latest checkpoint whose entries the index has.
    pub(crate) fn latest(&self) -> Arc<LogCheckpoint> {
        Arc::clone(&self.committed.borrow())
    }

    /// Tells the server if the log has failed.
    pub(crate) fn note_failure(&self) {
        if self.reader.failure().is_some() {
            self.failed.send_replace(true);
        }
    }
}

/// Opens the log of a configuration, which must be one of its mode.
pub(crate) fn open_log<A: Application>(
    config: &Config,
    keys: CheckpointKeys,
    app: A,
) -> Result<(Log<A>, LogView), StartError> {
    let mut files = open_files(config, keys)?;
    let is_raw = matches!(config.mode, Mode::Raw { .. });
    let began_empty = files.began_empty().map_err(|source| log_error(config, source))?;
    if began_empty.is_some_and(|began_empty| began_empty != is_raw) {
        return Err(StartError::OtherMode { dir: config.log_dir.clone(), is_raw: !is_raw });
    }
    let announce: Arc<OnceLock<watch::Sender<Arc<LogCheckpoint>>>> = Arc::default();
    let announced = Arc::clone(&announce);
    files.on_commit = Some(Box::new(move |checkpoint| {
        if let Some(committed) = announced.get() {
            committed.send_replace(Arc::clone(checkpoint));
        }
    }));
    let log = Log::open(files, app).map_err(|source| log_error(config, source))?;
    let reader = log.handle().reader().clone();
    // Nobody has submitted anything yet: this is the latest.
    let (sender, committed) = watch::channel(reader.latest());
    let _ = announce.set(sender);
    let view = LogView { reader, committed, failed: watch::Sender::new(false), reads: config.reads.clone() };
    Ok((log, view))
}

/// Opens the files of the log and takes their locks.
pub(crate) fn open_files(
    config: &Config,
    keys: CheckpointKeys,
) -> Result<counterfoil_log::Config, StartError> {
    let files = counterfoil_log::Config::embedded(&config.log_dir, &config.lock_dir, keys, Box::new(now));
    files.map_err(|source| log_error(config, source))
}
