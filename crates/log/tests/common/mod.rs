//! A small application, logs in temporary directories, and stores that fail on demand.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use counterfoil_log::{
    AddError, Application, BoxError, CheckpointKeys, Config, Handle, LockError, LockStore, Log, Logged,
    OpenError, Outcome, Place, Position, RootAt, Row, Storage, WriteError,
};
use counterfoil_tlog::{Hash, LeafIndex, MemoryTree, SeedSigner, TreeSize, leaf_hash};

pub const ORIGIN: &str = "example.com/test-log";

/// Entries are text. `no…` is refused, `urgent…` goes first, `x after y` names the entry `y`. It remembers everything.
#[derive(Clone, Debug, Default)]
pub struct Notebook {
    pub entries: Vec<Vec<u8>>,
    pub times: Vec<u64>,
    tree: MemoryTree,
}

impl Notebook {
    fn fold(&mut self, entry: &[u8], at: Position, roots: &dyn RootAt) -> Result<(), String> {
        assert_eq!(at.index.0, self.entries.len() as u64);
        for size in [at.index.0, at.index.0 / 2, 1.min(at.index.0)] {
            let expected = self.tree.head_at(TreeSize(size)).unwrap().root;
            assert_eq!(roots.root_at(TreeSize(size)), Some(expected));
        }
        assert_eq!(roots.root_at(TreeSize(at.index.0 + 1)), None);
        if entry.starts_with(b"no") {
            return Err(format!("no at {}", at.index));
        }
        self.push(entry);
        Ok(())
    }

    fn push(&mut self, entry: &[u8]) {
        self.entries.push(entry.to_vec());
        self.tree.push(leaf_hash(entry));
    }
}

impl Application for Notebook {
    type Entry = Vec<u8>;
    type Refusal = String;

    fn place(&self, entry: &Vec<u8>) -> Place {
        let text = String::from_utf8_lossy(entry);
        let after = text.split_once(" after ").map(|(_, name)| leaf_hash(name.as_bytes()));
        let priority = if entry.starts_with(b"urgent") { 0 } else { 1 };
        Place { priority, after: after.into_iter().collect() }
    }

    fn admit(&mut self, entry: &Vec<u8>, at: Position, roots: &dyn RootAt) -> Result<(), String> {
        if entry == b"panic" {
            panic!("as the test wanted");
        }
        self.fold(entry, at, roots)
    }

    fn seal(&mut self, at: Position) -> Result<Option<Vec<u8>>, BoxError> {
        assert_eq!(at.index.0, self.entries.len() as u64);
        let seal = format!("seal {} at {}", at.index, at.time).into_bytes();
        assert!(self.times.last().is_none_or(|last| *last < at.time));
        self.times.push(at.time);
        self.push(&seal);
        Ok(Some(seal))
    }

    fn replay(&mut self, entry: &[u8], at: Position, roots: &dyn RootAt) -> Result<(), BoxError> {
        if entry.starts_with(b"seal ") {
            let seal = self.seal(at)?.unwrap();
            return if seal == entry { Ok(()) } else { Err("another seal".into()) };
        }
        Ok(self.fold(entry, at, roots)?)
    }

    fn project(entry: &[u8], index: LeafIndex) -> Vec<Row> {
        let row = |tree, key: &[u8]| Row { tree, key: key.to_vec(), value: index.0.to_be_bytes().to_vec() };
        vec![row("text", entry), row("last by first byte", &entry[..1.min(entry.len())])]
    }
}

/// Two directories, and a clock that the test sets.
pub struct Site {
    pub root: tempfile::TempDir,
    pub clock: Arc<AtomicU64>,
}

impl Site {
    pub fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), clock: Arc::new(AtomicU64::new(1_000)) }
    }

    pub fn dir(&self) -> PathBuf {
        self.root.path().join("log")
    }

    pub fn lock_dir(&self) -> PathBuf {
        self.root.path().join("lock")
    }

    pub fn journal(&self) -> PathBuf {
        self.dir().join("journal")
    }

    pub fn lock_file(&self) -> PathBuf {
        self.lock_dir().join("checkpoint.lock")
    }

    pub fn config(&self) -> Config {
        Config::embedded(&self.dir(), &self.lock_dir(), keys(), self.clock()).unwrap()
    }

    pub fn clock(&self) -> Box<dyn FnMut() -> u64 + Send> {
        let clock = Arc::clone(&self.clock);
        Box::new(move || clock.load(Ordering::Relaxed))
    }

    pub fn create(&self) -> Log<Notebook> {
        Log::create(self.config(), Notebook::default(), b"genesis".to_vec()).unwrap()
    }

    pub fn open(&self) -> Log<Notebook> {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Log<Notebook>, OpenError> {
        Log::open(self.config(), Notebook::default())
    }

    /// The same with other storage and lock store.
    pub fn faulty(&self, disk: &Disk, lock: &FaultyLock) -> Config {
        Config {
            dir: self.dir(),
            journal: Arc::new(disk.clone()),
            lock: Box::new(lock.clone()),
            keys: keys(),
            clock: self.clock(),
            on_commit: None,
            observed: Vec::new(),
        }
    }
}

pub fn keys() -> CheckpointKeys {
    CheckpointKeys::new(ORIGIN, vec![Box::new(SeedSigner::ed25519(ORIGIN, &[7; 32]).unwrap())], vec![])
}

pub fn add(handle: &Handle<Notebook>, entry: &str) -> Result<Outcome<String>, AddError> {
    Ok(handle.add(vec![entry.as_bytes().to_vec()])?.remove(0))
}

pub fn added(handle: &Handle<Notebook>, entry: &str) -> Logged {
    match add(handle, entry).unwrap() {
        Outcome::Added(logged) => logged,
        other => panic!("{other:?}"),
    }
}

/// Checks everything that can be read against the entries, by another implementation of the tree.
pub fn check_all(handle: &Handle<Notebook>) -> Vec<Vec<u8>> {
    let reader = handle.reader();
    let (entries, checkpoint) =
        handle.with_app(|app, checkpoint| (app.entries.clone(), checkpoint.clone())).unwrap();
    let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry)).collect();
    assert_eq!(tree.head(), checkpoint.head);
    assert_eq!(reader.latest(), checkpoint);
    let indexed = reader.wait_indexed(checkpoint.head.size, Duration::from_secs(60)).unwrap();
    assert_eq!(indexed, checkpoint);
    for (index, entry) in (0..).zip(&entries) {
        assert_eq!(&reader.entry(LeafIndex(index)).unwrap(), entry);
        let leaf: Hash = leaf_hash(entry);
        assert_eq!(reader.lookup(&leaf).unwrap(), Some(LeafIndex(index)));
        assert_eq!(reader.row("text", entry).unwrap(), Some(index.to_be_bytes().to_vec()));
        let covering = reader.checkpoint_covering(LeafIndex(index)).unwrap().unwrap();
        assert!(covering.head.size.0 > index);
        assert_eq!(tree.head_at(covering.head.size), Some(covering.head));
    }
    entries
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and an error is returned.
    Lost,
    /// It happens, and an error is returned all the same.
    Persisted,
    /// A part of it happens, and an error is returned.
    Short,
}

/// Fails at one of the steps to come, counted from 0.
#[derive(Clone, Copy, Debug, Default)]
struct Plan(Option<(u64, Fault)>);

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        match &mut self.0 {
            Some((0, fault)) => {
                let fault = *fault;
                self.0 = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }
}

/// A disk that knows what was synced.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    cached: Vec<u8>,
    durable: Vec<u8>,
    plan: Plan,
}

impl Disk {
    pub fn fail(&self, step: u64, fault: Fault) {
        self.0.lock().unwrap().plan = Plan(Some((step, fault)));
    }

    /// The disk after the process ended, or after the power failed too.
    pub fn after_crash(&self, power_cut: bool) -> Self {
        let state = self.0.lock().unwrap();
        let image = if power_cut { state.durable.clone() } else { state.cached.clone() };
        let state = DiskState { cached: image.clone(), durable: image, plan: Plan::default() };
        Self(Arc::new(Mutex::new(state)))
    }
}

fn fault() -> io::Error {
    io::Error::other("as the test wanted")
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().cached.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let bytes = state.cached.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut state = self.0.lock().unwrap();
        if state.cached.len() as u64 != offset {
            return Err(WriteError::Conflict { offset });
        }
        state.write(offset, bytes)
    }

    fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut state = self.0.lock().unwrap();
        if state.cached[offset as usize..] != *bytes {
            return Err(WriteError::Conflict { offset });
        }
        state.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fails = state.plan.next();
        let (old, new) = (state.durable.len(), state.cached.len());
        let length = match fails {
            Some(Fault::Lost) => old,
            Some(Fault::Short) => old + (new - old) / 2,
            Some(Fault::Persisted) | None => new,
        };
        state.durable = state.cached[..length].to_vec();
        if fails.is_some() { Err(fault()) } else { Ok(()) }
    }

    fn cut(&self, offset: u64, tail: &[u8]) -> Result<(), WriteError> {
        let mut state = self.0.lock().unwrap();
        if state.cached[offset as usize..] != *tail {
            return Err(WriteError::Conflict { offset });
        }
        state.cached.truncate(offset as usize);
        state.durable = state.cached.clone();
        Ok(())
    }
}

impl DiskState {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let fails = self.plan.next();
        let length = match fails {
            Some(Fault::Lost) => 0,
            Some(Fault::Short) => bytes.len() / 2,
            Some(Fault::Persisted) | None => bytes.len(),
        };
        let end = offset as usize + length;
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[offset as usize..end].copy_from_slice(&bytes[..length]);
        if fails.is_some() { Err(fault().into()) } else { Ok(()) }
    }
}

/// A lock store in memory.
#[derive(Clone, Default)]
pub struct FaultyLock(Arc<Mutex<(Option<Vec<u8>>, Plan)>>);

impl FaultyLock {
    pub fn fail(&self, step: u64, fault: Fault) {
        self.0.lock().unwrap().1 = Plan(Some((step, fault)));
    }

    pub fn after_crash(&self) -> Self {
        Self(Arc::new(Mutex::new((self.value(), Plan::default()))))
    }

    pub fn value(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap().0.clone()
    }
}

impl LockStore for FaultyLock {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        Ok(self.value())
    }

    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError> {
        let mut state = self.0.lock().unwrap();
        if state.0.as_deref() != old {
            return Err(LockError::Conflict { found: state.0.clone() });
        }
        let fails = state.1.next();
        if fails != Some(Fault::Lost) {
            state.0 = Some(new.to_vec());
        }
        if fails.is_some() {
            return Err(LockError::Io { doing: "write", path: "memory".into(), io: fault() });
        }
        Ok(())
    }
}
