//! The log's witnesses: what they have cosigned of it, and which checkpoint readers are shown (`spec/log.md`, "Witnessed").
//!
//! What the log itself signed stays in [`LogCheckpoint`], as journal and lock store have it; cosignatures are only ever part
//! of a [`Shown`].

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use counterfoil_log::{LogCheckpoint, Reader};
use counterfoil_tlog::{
    LeafIndex, NoteError, NoteSignature, Policy, TreeHead, TreeSize, UnverifiedNote, VerifierKey,
    policy::PolicyError,
};
use counterfoil_witness::{Feeder, FeederConfig, FeederError, Health, Kept, KeptError};
use tokio::{sync::watch, time::Instant};

use crate::{
    config::{Fail, Witnessing},
    error::StartError,
    limits,
    problem::{Kind, Problem},
};

/// The witnesses of an open log.
pub(crate) struct Witnesses {
    /// `None` once the server stops.
    feeder: RwLock<Option<Feeder>>,
    log_keys: Vec<VerifierKey>,
    /// What readers are shown while the quorum is missing.
    pub fail: Fail,
}

/// A checkpoint as readers are shown it: with the log's signature lines, and perhaps with those of witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The note.
    pub note: UnverifiedNote,
    /// The tree.
    pub head: TreeHead,
    /// How many of its lines are cosignatures.
    pub cosignatures: usize,
    /// Whether they are enough under the log's policy.
    pub quorum: bool,
}

impl Shown {
    /// A checkpoint as the log signed it.
    pub(crate) fn of_log(checkpoint: &LogCheckpoint) -> Result<Self, NoteError> {
        let note = UnverifiedNote::parse(checkpoint.text.as_bytes())?;
        Ok(Self { note, head: checkpoint.head, cosignatures: 0, quorum: false })
    }

    /// The same with the lines of another note over the same tree behind its own. Earlier cosignatures show since when the
    /// tree existed, later ones how fresh it is.
    pub(crate) fn with_lines_of(self, other: &Self) -> Self {
        let more = other.note.signatures().iter().filter(|line| !self.note.signatures().contains(line));
        let lines: Vec<_> = self.note.signatures().iter().chain(more).cloned().collect();
        let cosignatures = self.cosignatures + lines.len() - self.note.signatures().len();
        match UnverifiedNote::new(self.note.text(), lines) {
            Ok(note) if other.head == self.head => Self { note, cosignatures, ..self },
            // More lines than a note has.
            _ => self,
        }
    }
}

impl Witnesses {
    /// Begins to have a log witnessed, which must have all that was witnessed of it before.
    pub(crate) fn start(
        settings: &Witnessing,
        log_dir: &Path,
        (origin, log_keys): (&str, Vec<VerifierKey>),
        reader: &Reader,
    ) -> Result<Self, StartError> {
        let policy = read_policy(&settings.policy, &log_keys)?;
        let kept = Kept::open(log_dir, origin).map_err(|error| StartError::Witnesses(error.into()))?;
        let latest = UnverifiedNote::parse(reader.latest().text.as_bytes());
        let latest = latest.map_err(|error| StartError::Unreadable(error.to_string()))?;
        let mut config = FeederConfig::new(policy, log_keys.clone(), kept);
        if settings.fail == Fail::Closed {
            config.keep_interval = limits::KEEP_CLOSED;
        }
        let feeder = Feeder::start(config, Arc::new(reader.clone()), &latest);
        let feeder = feeder.map_err(|error| match error {
            FeederError::BadUrl { .. } | FeederError::NoWitness => {
                StartError::WitnessPolicy { path: settings.policy.clone(), reason: error.to_string() }
            }
            error => StartError::Witnesses(error),
        })?;
        Ok(Self { feeder: RwLock::new(Some(feeder)), log_keys, fail: settings.fail })
    }

    /// Leaves a new checkpoint to be cosigned; waits for nobody.
    pub(crate) fn offer(&self, checkpoint: &LogCheckpoint) {
        // The log has opened what it signed.
        if let Ok(note) = UnverifiedNote::parse(checkpoint.text.as_bytes()) {
            self.ask(|feeder| drop(feeder.offer(&note)));
        }
    }

    /// Asks nobody any more. Waits for the requests in flight.
    pub(crate) fn stop(&self) {
        let feeder = self.feeder.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(feeder);
    }

    /// How the witnesses are; `None` once the server stops.
    pub(crate) fn health(&self) -> Option<Health> {
        self.ask(Feeder::health)
    }

    /// What `/checkpoint` shows: in a log that fails open, the latest, with the cosignatures that there are; in one that
    /// fails closed, the latest on disk with its quorum, so that it is never a smaller one, not even after a crash. May read
    /// a file.
    pub(crate) fn shown(&self, latest: &LogCheckpoint, reader: &Reader) -> Result<Shown, Problem> {
        let newest = self.newest()?;
        match self.fail {
            Fail::Open => {
                let current = self.ask(Feeder::current).flatten().map(|current| Shown {
                    cosignatures: current.cosignatures.len(),
                    quorum: current.quorum,
                    head: current.head,
                    note: current.note,
                });
                let of_latest = [newest, current].into_iter().flatten().find(|it| it.head == latest.head);
                Ok(of_latest.map_or_else(|| Shown::of_log(latest), Ok)?)
            }
            Fail::Closed => {
                match (self.kept()?, newest) {
                    (Some(kept), Some(newest)) if newest.head == kept.head => Ok(newest),
                    (Some(kept), _) => Ok(kept),
                    // The empty tree of a raw log, which every tree continues.
                    (None, _) => match reader.checkpoint_at(TreeSize(0))? {
                        Some(empty) => Ok(Shown::of_log(&empty)?),
                        None => Err(Kind::CheckpointUnwitnessed
                            .because("no checkpoint has its quorum of witnesses yet")),
                    },
                }
            }
        }
    }

    /// The checkpoint of the largest tree that has its quorum, with the freshest cosignatures. May read a file.
    pub(crate) fn newest(&self) -> Result<Option<Shown>, KeptError> {
        let cosigned = self.ask(Feeder::cosigned).flatten().map(|cosigned| Shown {
            note: cosigned.note.clone(),
            head: cosigned.head,
            cosignatures: cosigned.cosignatures.len(),
            quorum: true,
        });
        let kept = self.kept()?;
        Ok(match (cosigned, kept) {
            (Some(cosigned), Some(kept)) if kept.head.size > cosigned.head.size => Some(kept),
            (cosigned, kept) => cosigned.or(kept),
        })
    }

    /// The largest tree that counts as witnessed. Reads a file.
    fn kept(&self) -> Result<Option<Shown>, KeptError> {
        let kept = self.ask(Feeder::latest_witnessed).transpose()?.flatten();
        Ok(kept.map(|kept| self.witnessed(kept.head, kept.note)))
    }

    /// The first witnessed checkpoint that covers an entry. Reads a file.
    pub(crate) fn covering(&self, index: LeafIndex) -> Result<Option<Shown>, KeptError> {
        let kept = self.ask(|feeder| feeder.witnessed_covering(index)).transpose()?.flatten();
        Ok(kept.map(|kept| self.witnessed(kept.head, kept.note)))
    }

    fn witnessed(&self, head: TreeHead, note: UnverifiedNote) -> Shown {
        let is_by_log = |line: &&NoteSignature| self.log_keys.iter().any(|key| line.is_by(key));
        let cosignatures = note.signatures().iter().filter(|line| !is_by_log(line)).count();
        Shown { note, head, cosignatures, quorum: true }
    }

    /// Waits until a witnessed checkpoint covers an entry; `false` if none does by `deadline`, or when the server is told to
    /// stop.
    pub(crate) async fn wait(
        &self,
        index: LeafIndex,
        deadline: Instant,
        mut closing: watch::Receiver<bool>,
    ) -> bool {
        let waited = self.ask(|feeder| (feeder.witnessed(), feeder.want(index)));
        let Some((mut witnessed, _want)) = waited else { return false };
        tokio::select! {
            waited = tokio::time::timeout_at(deadline, witnessed.wait_for(|size| size.0 > index.0)) => {
                matches!(waited, Ok(Ok(_)))
            }
            _ = closing.wait_for(|closing| *closing) => false,
        }
    }

    fn ask<T>(&self, ask: impl FnOnce(&Feeder) -> T) -> Option<T> {
        self.feeder.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
    }
}

/// Reads a policy, which must be one for this log if it names logs.
pub(crate) fn read_policy(path: &Path, log_keys: &[VerifierKey]) -> Result<Policy, StartError> {
    let wrong = |reason: String| StartError::WitnessPolicy { path: path.to_owned(), reason };
    let mut text = Vec::new();
    let file = File::open(path).and_then(|file| file.take(limits::FILE_BYTES).read_to_end(&mut text));
    file.map_err(|io| wrong(io.to_string()))?;
    let policy = Policy::parse(&text).map_err(|error: PolicyError| wrong(error.to_string()))?;
    if !policy.logs().is_empty() && !policy.logs().iter().any(|log| log_keys.contains(&log.key)) {
        return Err(wrong("it names other logs, and not this one".to_owned()));
    }
    Ok(policy)
}

impl From<KeptError> for Problem {
    fn from(error: KeptError) -> Self {
        Kind::Unreadable.because(error.to_string())
    }
}

impl From<NoteError> for Problem {
    fn from(error: NoteError) -> Self {
        Kind::Unreadable.because(error.to_string())
    }
}
