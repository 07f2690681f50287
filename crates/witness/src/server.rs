//! The witness: which logs it watches, with which keys it cosigns, and what it says to a request.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use counterfoil_log::{FileLock, LockStore};
use counterfoil_tlog::witness::AddCheckpoint;
use counterfoil_tlog::{
    Checkpoint, CheckpointError, NoteSignature, PosixSeconds, Signer, TreeSize, UnverifiedNote, VerifierKey,
};
use sha2::{Digest as _, Sha256};

use crate::error::{KeysError, Refusal, StartError, StateError};
use crate::limits;
use crate::origin::Origin;

/// A key that cosigns.
pub type Cosigner = Box<dyn Signer + Send + Sync>;

/// Tells the time.
pub type Clock = Box<dyn Fn() -> PosixSeconds + Send + Sync>;

/// A log that a witness watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedLog {
    /// The first line of its checkpoints.
    pub origin: String,
    /// The keys that sign them; at least one.
    pub keys: Vec<VerifierKey>,
}

/// A witness, without the HTTP around it.
pub struct Witness {
    cosigners: Vec<Cosigner>,
    origins: BTreeMap<String, Watched>,
    clock: Clock,
}

struct Watched {
    keys: Vec<VerifierKey>,
    state: Mutex<Origin>,
}

/// What a witness shows of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The log's origin.
    pub origin: String,
    /// The name of its directory: hexadecimal SHA-256 of the origin.
    pub id: String,
    /// Size and time of the last cosignature; `None` if there is none, or if the state can't be told.
    pub latest: Option<(TreeSize, PosixSeconds)>,
}

impl Witness {
    /// A witness whose state is in `dir`, one directory per origin. `new` says that there is no state yet, which must be
    /// so exactly then.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn open(
        cosigners: Vec<Cosigner>,
        logs: Vec<WatchedLog>,
        dir: &Path,
        new: bool,
        clock: Clock,
    ) -> Result<Self, StartError> {
        check_keys(&cosigners, &logs)?;
        match (dir.is_dir(), new) {
            (true, false) => {}
            (true, true) => return Err(StartError::NotNew { path: dir.to_owned() }),
            (false, false) => return Err(StartError::NoState { path: dir.to_owned() }),
            (false, true) => make_dir(dir)?,
        }
        let store = |origin: &str| {
            let lock = FileLock::open(&dir.join(origin_id(origin)))?;
            Ok(Box::new(lock) as Box<dyn LockStore>)
        };
        Self::with_stores(cosigners, logs, store, clock).map_err(|error| match error {
            StartError::State { origin, why, .. } => {
                let path = dir.join(origin_id(&origin));
                StartError::State { origin, path, why }
            }
            error => error,
        })
    }

    /// A witness whose state of each origin is in the store that `store` gives.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn with_stores(
        cosigners: Vec<Cosigner>,
        logs: Vec<WatchedLog>,
        mut store: impl FnMut(&str) -> Result<Box<dyn LockStore>, StateError>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        check_keys(&cosigners, &logs)?;
        let mut origins = BTreeMap::new();
        for WatchedLog { origin, keys } in logs {
            let state = store(&origin).and_then(|store| Origin::open(store, &keys, &cosigners));
            let state = state.map_err(|why| {
                let (origin, path) = (origin.clone(), origin_id(&origin).into());
                StartError::State { origin, path, why }
            })?;
            origins.insert(origin, Watched { keys, state: Mutex::new(state) });
        }
        Ok(Self { cosigners, origins, clock })
    }

    /// Answers `add-checkpoint` with this body: the signature lines of the 200.
    ///
    /// # Errors
    /// [`Refusal`], which knows the status.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<String, Refusal> {
        let request = AddCheckpoint::parse(body)?;
        let origin = request.checkpoint.text().lines().next().unwrap_or_default();
        let unknown = || Refusal::UnknownLog { origin: origin.to_owned() };
        let watched = self.origins.get(origin).ok_or_else(unknown)?;
        let note = signed_by_log(&request.checkpoint, &watched.keys)?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| match error {
            CheckpointError::EmptyTreeWithRoot { .. } => Refusal::EmptyTree(error),
            error => Refusal::NotACheckpoint(error),
        })?;
        let (old, size) = (request.old, checkpoint.head().size);
        if old > size {
            return Err(Refusal::OldOverSize { old, size });
        }
        let mut state = lock(&watched.state);
        let lines = state.add(&request, &checkpoint, note, &self.clock, &self.cosigners)?;
        Ok(lines.iter().map(ToString::to_string).collect())
    }

    /// The keys that it cosigns with.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.cosigners.iter().map(|cosigner| cosigner.key())
    }

    /// What it knows of each log, in the order of their origins.
    pub fn seen(&self) -> Vec<Seen> {
        let seen = |(origin, watched): (&String, &Watched)| {
            let latest = lock(&watched.state).latest().map(|latest| (latest.head.size, latest.time));
            Seen { origin: origin.clone(), id: origin_id(origin), latest }
        };
        self.origins.iter().map(seen).collect()
    }

    /// The checkpoint that it cosigned last of the log with this [`Seen::id`].
    pub fn cosigned(&self, id: &str) -> Option<UnverifiedNote> {
        let (_, watched) = self.origins.iter().find(|(origin, _)| origin_id(origin) == id)?;
        lock(&watched.state).latest()?.cosigned()
    }
}

/// The note with the lines by the log's keys, all of which were verified, and no others: what nobody verified is not kept.
fn signed_by_log(note: &UnverifiedNote, keys: &[VerifierKey]) -> Result<UnverifiedNote, Refusal> {
    note.clone().open(keys).map_err(Refusal::NotSigned)?;
    let mut lines: Vec<NoteSignature> = Vec::new();
    for line in note.signatures().iter().filter(|line| keys.iter().any(|key| line.is_by(key))) {
        if !lines.contains(line) {
            lines.push(line.clone());
        }
    }
    UnverifiedNote::new(note.text(), lines).map_err(Refusal::NotSigned)
}

/// Keys and logs that go together (C2SP tlog-cosignature: keys of cosigners must be distinct).
fn check_keys(cosigners: &[Cosigner], logs: &[WatchedLog]) -> Result<(), KeysError> {
    if cosigners.is_empty() {
        return Err(KeysError::NoKey);
    }
    if logs.len() > limits::LOGS {
        return Err(KeysError::TooManyLogs { count: logs.len() });
    }
    for (at, cosigner) in cosigners.iter().enumerate() {
        let (key, name) = (cosigner.key(), cosigner.key().name().to_owned());
        if !key.algorithm().is_cosignature() {
            return Err(KeysError::NotACosigner { name });
        }
        if cosigners[..at].iter().any(|other| other.key().is_same_public_key(key)) {
            return Err(KeysError::SameKey { name });
        }
        if let Some(log) = logs.iter().find(|log| log.keys.iter().any(|of| of.is_same_public_key(key))) {
            return Err(KeysError::KeyOfLog { name, origin: log.origin.clone() });
        }
    }
    for (at, log) in logs.iter().enumerate() {
        let origin = log.origin.clone();
        if log.keys.is_empty() {
            return Err(KeysError::LogWithoutKey { origin });
        }
        if logs[..at].iter().any(|other| other.origin == origin) {
            return Err(KeysError::SameOrigin { origin });
        }
    }
    Ok(())
}

/// The name of an origin's directory, and its part of the URL: hexadecimal SHA-256 of the origin.
pub fn origin_id(origin: &str) -> String {
    Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A thread that panicked may have stored what it did not note.
fn lock(state: &Mutex<Origin>) -> MutexGuard<'_, Origin> {
    state.lock().unwrap_or_else(|poisoned| {
        let mut state = PoisonError::into_inner(poisoned);
        *state = Origin::Poisoned;
        state
    })
}

/// Makes the directory and its name durable.
fn make_dir(dir: &Path) -> Result<(), StartError> {
    let fail = |doing| move |io| StartError::File { doing, path: dir.to_owned(), io };
    fs::create_dir_all(dir).map_err(fail("create"))?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    fs::File::open(parent.unwrap_or(Path::new("."))).and_then(|dir| dir.sync_all()).map_err(fail("sync"))
}
