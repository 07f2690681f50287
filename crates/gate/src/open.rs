//! Executions that were begun and have no logged outcome, on disk: what a restarted gate must know.
//!
//! Each process takes a place of its own below the directory, `0` or the next that is free, so that two gates of one runtime work side
//! by side; what a process left behind is settled by whoever finds its place free.
//!
//! Order of writes: the signed execution, submission, effect, the signed outcome with its payload, submission, and that it is over. All
//! stand in one file, each behind the one before. Each is written before the next step, so that a process may end at any moment; and the
//! execution is on disk before the effect, and the outcome before its submission, so that the machine may, too. Power that fails between
//! submission and effect can leave an execution in the log of which nobody here knows, and which did not run; power that fails right
//! after an effect can leave its outcome unknown.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use counterfoil_receipt::{
    Body, Opening, RecordId, UnverifiedRecord,
    bundle::{PayloadLine, read_line, write_line},
};

use crate::{
    driver::lock,
    notes::{Kind, Notes, damaged},
};

/// Gates of one runtime that work in one directory at a time.
const PLACES: u32 = 64;

/// Whether a gate that works in this directory now, in whatever process, runs this execution, as far as its notes say.
///
/// # Errors
/// If the notes of one can't be read.
pub fn runs_in(dir: &Path, execution: &RecordId) -> io::Result<bool> {
    for number in 0..PLACES {
        let place = dir.join(number.to_string());
        let lock = match File::open(place.join("lock")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        match lock.try_lock_shared() {
            // Nobody works there: what was left is for the next gate to settle.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                if Notes::say_it_runs(&place.join("notes"), execution)? {
                    return Ok(true);
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

/// A place for open executions, held by one process.
#[derive(Debug)]
pub(crate) struct OpenExecutions {
    dir: PathBuf,
    notes: Arc<Mutex<Notes>>,
    /// Who is asked to make notes durable; nobody, where the system gives no thread.
    syncer: OnceLock<Option<Sender<Sender<io::Result<()>>>>>,
    _lock: File,
}

/// That what was noted until now becomes durable.
#[must_use]
pub(crate) struct Syncing(Receiver<io::Result<()>>);

impl Syncing {
    /// Waits until it is.
    pub(crate) fn wait(self) -> io::Result<()> {
        self.0.recv().unwrap_or_else(|_| Err(io::Error::other("the notes could not be made durable")))
    }
}

/// An outcome, ready to be logged.
#[derive(Clone, Debug)]
pub(crate) struct SignedOutcome {
    pub record: UnverifiedRecord,
    pub payloads: Vec<Opening>,
}

impl SignedOutcome {
    /// What it is the outcome of.
    pub(crate) fn execution(&self) -> Option<RecordId> {
        match self.record.body() {
            Body::Outcome(body) => Some(body.execution),
            _ => None,
        }
    }
}

impl OpenExecutions {
    /// Takes the first free place below `dir`, which is made if it is not there.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        for number in 0..PLACES {
            if let Some(place) = Self::take(dir.join(number.to_string()))? {
                return Ok(place);
            }
        }
        let why = format!("{PLACES} gates use {} already", dir.display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, why))
    }

    /// The other places below the same directory that no process holds and something was left in. Each is held until the next is asked
    /// for, and no longer: whoever starts meanwhile needs a place.
    pub(crate) fn abandoned(&self) -> impl Iterator<Item = io::Result<Self>> {
        let dir = self.dir.parent().map(Path::to_path_buf);
        let places =
            dir.into_iter().flat_map(|dir| (0..PLACES).map(move |number| dir.join(number.to_string())));
        places.filter(|place| *place != self.dir && place.is_dir()).filter_map(|place| {
            let has_any = |place: &Self| place.list().map(|open| !open.is_empty());
            match Self::take(place).and_then(|place| Ok((place.as_ref().map(has_any).transpose()?, place))) {
                Ok((Some(true), place)) => place.map(Ok),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            }
        })
    }

    /// Takes a place; `None` if another process holds it.
    fn take(dir: PathBuf) -> io::Result<Option<Self>> {
        fs::create_dir_all(&dir)?;
        let lock = File::create(dir.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {
                let notes = Arc::new(Mutex::new(Notes::open(dir.join("notes"))?));
                Ok(Some(Self { dir, notes, syncer: OnceLock::new(), _lock: lock }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Notes that an execution is about to be submitted; durable after [`Self::sync`]. Fails if it was noted before: nothing is begun twice.
    pub(crate) fn begin(&self, execution: &UnverifiedRecord) -> io::Result<()> {
        let id = execution.id();
        let mut notes = lock(&self.notes);
        if notes.open.contains_key(&id) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{id} was begun before")));
        }
        notes.write(Kind::Begun, id, execution.bytes(), false)
    }

    /// Notes the outcome of an execution; if it is not to be durable at once, it is after [`Self::sync`].
    pub(crate) fn conclude(
        &self,
        execution: RecordId,
        outcome: &SignedOutcome,
        sync: bool,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for opening in &outcome.payloads {
            write_line(&PayloadLine::disclosing(opening.clone(), None), &mut lines);
        }
        lines.extend_from_slice(outcome.record.bytes());
        lock(&self.notes).write(Kind::Ended, execution, &lines, sync)
    }

    /// The outcome that was noted.
    pub(crate) fn outcome(&self, execution: RecordId) -> io::Result<Option<SignedOutcome>> {
        let notes = lock(&self.notes);
        let Some(place) = notes.open.get(&execution).and_then(|open| open.outcome.clone()) else {
            return Ok(None);
        };
        let bytes = notes.read(&place)?;
        let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let record = lines.pop().unwrap_or_default();
        let record = UnverifiedRecord::parse(record).map_err(|fault| damaged(&notes.path, &fault))?;
        let payloads = lines.into_iter().map(|line| read_line(line).map(PayloadLine::into_opening));
        let payloads = payloads.collect::<Result<_, _>>().map_err(|fault| damaged(&notes.path, &fault))?;
        Ok(Some(SignedOutcome { record, payloads }))
    }

    /// Forgets an execution whose outcome is logged. If that is lost, it is found settled by the next process.
    pub(crate) fn clear(&self, execution: RecordId) -> io::Result<()> {
        let mut notes = lock(&self.notes);
        if !notes.open.contains_key(&execution) {
            return Ok(());
        }
        notes.write(Kind::Over, execution, b"", false)?;
        notes.tidy()
    }

    /// Begins to make durable all that was noted, on a thread that is there for that.
    pub(crate) fn sync(&self) -> Syncing {
        let (reply, answer) = channel();
        let syncer = self.syncer.get_or_init(|| {
            let (asks, asked) = channel::<Sender<io::Result<()>>>();
            let notes = Arc::clone(&self.notes);
            let sync = move || {
                for reply in asked {
                    // Nobody may be waiting for it.
                    let _ = reply.send(lock(&notes).sync());
                }
            };
            thread::Builder::new().name("gate notes".into()).spawn(sync).ok().map(|_| asks)
        });
        let unasked = match syncer {
            Some(syncer) => syncer.send(reply).err().map(|unsent| unsent.0),
            None => Some(reply),
        };
        if let Some(reply) = unasked {
            let _ = reply.send(lock(&self.notes).sync());
        }
        Syncing(answer)
    }

    /// Every execution that is open.
    pub(crate) fn list(&self) -> io::Result<Vec<UnverifiedRecord>> {
        let notes = lock(&self.notes);
        let mut open = Vec::new();
        for place in notes.open.values().filter_map(|open| open.execution.as_ref()) {
            let record = UnverifiedRecord::parse(&notes.read(place)?);
            open.push(record.map_err(|fault| damaged(&notes.path, &fault))?);
        }
        open.sort_by_key(|record| (record.time(), record.id()));
        Ok(open)
    }
}
