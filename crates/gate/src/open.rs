//! Executions that were begun and have no logged outcome, on disk: what a restarted gate must know.
//!
//! Each process takes a place of its own below the directory, `0` or the next that is free, so that two gates of one runtime work side
//! by side; what a process left behind is settled by whoever finds its place free.
//!
//! Order of writes, each durable before the next: `ID.execution` (the signed record), submission, effect, `ID.outcome`
//! (the signed outcome and its payload), submission, removal of both. A file appears whole or not at all.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use counterfoil_receipt::{
    Opening, RecordId, UnverifiedRecord,
    bundle::{PayloadLine, read_line, write_line},
};

/// Gates of one runtime that work in one directory at a time.
const PLACES: u32 = 64;

/// A place for open executions, held by one process.
#[derive(Debug)]
pub(crate) struct OpenExecutions {
    dir: PathBuf,
    _lock: File,
}

/// An outcome, ready to be logged.
#[derive(Clone, Debug)]
pub(crate) struct SignedOutcome {
    pub record: UnverifiedRecord,
    pub payloads: Vec<Opening>,
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
            Ok(()) => Ok(Some(Self { dir, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Notes that an execution is about to be submitted. Fails if it was noted before: nothing is begun twice.
    pub(crate) fn begin(&self, execution: &UnverifiedRecord) -> io::Result<()> {
        let path = self.path(execution.id(), "execution");
        if path.try_exists()? {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} was begun before", execution.id()),
            ));
        }
        self.write(&path, execution.bytes())
    }

    /// Notes the outcome of an execution.
    pub(crate) fn conclude(&self, execution: RecordId, outcome: &SignedOutcome) -> io::Result<()> {
        let mut lines = Vec::new();
        for opening in &outcome.payloads {
            write_line(&PayloadLine::disclosing(opening.clone(), None), &mut lines);
        }
        lines.extend_from_slice(outcome.record.bytes());
        lines.push(b'\n');
        self.write(&self.path(execution, "outcome"), &lines)
    }

    /// The outcome that was noted.
    pub(crate) fn outcome(&self, execution: RecordId) -> io::Result<Option<SignedOutcome>> {
        let path = self.path(execution, "outcome");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut lines: Vec<&[u8]> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let record = lines.pop().unwrap_or_default();
        let record = UnverifiedRecord::parse(record).map_err(|fault| damaged(&path, &fault))?;
        let payloads = lines.into_iter().map(|line| read_line(line).map(PayloadLine::into_opening));
        let payloads = payloads.collect::<Result<_, _>>().map_err(|fault| damaged(&path, &fault))?;
        Ok(Some(SignedOutcome { record, payloads }))
    }

    /// Forgets an execution whose outcome is logged.
    pub(crate) fn clear(&self, execution: RecordId) -> io::Result<()> {
        for kind in ["outcome", "execution"] {
            match fs::remove_file(self.path(execution, kind)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Every execution that is open.
    pub(crate) fn list(&self) -> io::Result<Vec<UnverifiedRecord>> {
        let mut open = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "execution") {
                let record =
                    UnverifiedRecord::parse(&fs::read(&path)?).map_err(|fault| damaged(&path, &fault))?;
                open.push(record);
            }
        }
        open.sort_by_key(|record| (record.time(), record.id()));
        Ok(open)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.dir.join("new");
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.dir)?.sync_all()
    }

    fn path(&self, execution: RecordId, kind: &str) -> PathBuf {
        let id = execution.to_string();
        self.dir.join(format!("{}.{kind}", id.trim_start_matches("sha256:")))
    }
}

fn damaged(path: &Path, fault: &dyn std::error::Error) -> io::Error {
    let why = format!("{} is damaged; look at the run before you remove it: {fault}", path.display());
    io::Error::new(io::ErrorKind::InvalidData, why)
}
