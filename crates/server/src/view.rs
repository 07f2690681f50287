//! What every log shows, whatever it holds: its tree, its latest checkpoint, and whether it goes on.

use std::sync::{Arc, OnceLock, mpsc};

use counterfoil_log::{Application, CheckpointKeys, Log, LogCheckpoint, Reader};
use tokio::sync::watch;

use crate::{
    app::blocking,
    config::{Config, Fail, Mode},
    door::Door,
    error::StartError,
    observed::{ask_witnesses, observe},
    problem::{Problem, with_causes},
    server::{Close, log_error},
    submit::now,
    witnesses::{Shown, Witnesses},
};

/// What the handlers of either mode read.
pub(crate) struct LogView {
    /// Reads entries, tiles and proofs.
    pub reader: Reader,
    /// The latest checkpoint whose entries the index has.
    pub committed: watch::Receiver<Arc<LogCheckpoint>>,
    /// Turns true when the log has failed.
    pub failed: watch::Sender<bool>,
    /// Turns true when the server is told to stop: whoever waits for something else gives up.
    pub closing: watch::Receiver<bool>,
    /// Who may read, and how often.
    pub door: Arc<Door>,
    /// Who witnesses the log, if somebody does.
    pub witnesses: Option<Arc<Witnesses>>,
    /// Who could not be asked at start what they have seen of the log.
    pub warnings: Vec<String>,
}

impl LogView {
    /// The latest checkpoint. The index may still be on its way to it; entries, tiles and proofs are there.
    pub(crate) fn published(&self) -> Arc<LogCheckpoint> {
        self.reader.latest()
    }

    /// The checkpoint that `/checkpoint` shows.
    pub(crate) async fn shown(&self) -> Result<Shown, Problem> {
        let latest = self.published();
        let Some(witnesses) = self.witnesses.clone() else { return Ok(Shown::of_log(&latest)?) };
        let reader = self.reader.clone();
        blocking(move || witnesses.shown(&latest, &reader)).await
    }

    /// Closes the log, and asks its witnesses no more.
    pub(crate) fn close<A: Application>(&self, log: Log<A>) -> Close {
        let witnesses = self.witnesses.clone();
        Box::new(move || {
            let closed = log.close();
            if let Some(witnesses) = witnesses {
                witnesses.stop();
            }
            closed
        })
    }

    /// Tells the server if the log has failed.
    pub(crate) fn note_failure(&self) {
        if self.reader.failure().is_some() {
            self.failed.send_replace(true);
        }
    }
}

/// Who hears of a new checkpoint: those who wait for the index, and the witnesses.
type Listeners = (watch::Sender<Arc<LogCheckpoint>>, Option<Arc<Witnesses>>);

/// Opens the log of a configuration, which must be one of its mode.
pub(crate) fn open_log<A: Application>(
    config: &Config,
    keys: CheckpointKeys,
    app: A,
    closing: watch::Receiver<bool>,
) -> Result<(Log<A>, LogView), StartError> {
    let door = Door::new(config.reads.clone(), config.tokens.clone(), config.rate)?;
    let (origin, verifiers) = (keys.origin().to_owned(), keys.verifiers().to_vec());
    let (observed, unasked) = observe(config, &keys);
    let (sender, silent) = mpsc::channel();
    let ask = ask_witnesses(config, verifiers.clone(), sender);
    let mut files = open_files(config, keys)?;
    (files.observed, files.ask) = (observed, ask);
    let is_raw = matches!(config.mode, Mode::Raw { .. });
    let began_empty = files.began_empty().map_err(|source| log_error(config, source))?;
    if began_empty.is_some_and(|began_empty| began_empty != is_raw) {
        return Err(StartError::OtherMode { dir: config.log_dir.clone(), is_raw: !is_raw });
    }
    let announce: Arc<OnceLock<Listeners>> = Arc::default();
    let announced = Arc::clone(&announce);
    files.on_commit = Some(Box::new(move |checkpoint| {
        let Some((committed, witnesses)) = announced.get() else { return };
        committed.send_replace(Arc::clone(checkpoint));
        if let Some(witnesses) = witnesses {
            witnesses.offer(checkpoint);
        }
    }));
    let log = Log::open_or_read(files, app).map_err(|source| log_error(config, source))?;
    let warnings = unasked.into_iter().chain(silent.try_iter()).map(|unasked| unasked.to_string()).collect();
    let reader = log.handle().reader().clone();
    // Nobody has submitted anything yet: this is the latest.
    let (sender, committed) = watch::channel(reader.latest());
    let witnesses = match (&config.witnesses, reader.read_only()) {
        // Nothing is signed that somebody could witness, and nothing is written: not where the quorum's checkpoints are
        // kept either, without which it can't be told what may be shown.
        (Some(settings), Some(why)) if settings.fail == Fail::Closed => {
            return Err(StartError::Unreadable(with_causes(&*why)));
        }
        (Some(settings), None) => {
            let witnesses = Witnesses::start(settings, &config.log_dir, (&origin, verifiers), &reader)?;
            Some(Arc::new(witnesses))
        }
        _ => None,
    };
    let _ = announce.set((sender, witnesses.clone()));
    let failed = watch::Sender::new(false);
    Ok((log, LogView { reader, committed, failed, closing, door, witnesses, warnings }))
}

/// Opens the files of the log and takes their locks.
pub(crate) fn open_files(
    config: &Config,
    keys: CheckpointKeys,
) -> Result<counterfoil_log::Config, StartError> {
    let files = counterfoil_log::Config::embedded(&config.log_dir, &config.lock_dir, keys, Box::new(now));
    files.map_err(|source| log_error(config, source))
}
