//! A small application, logs in temporary directories, and stores that fail on demand.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use counterfoil_log::{
    AddError, Application, BoxError, CheckpointKeys, Config, Handle, LockError, LockStore, Log,
    LogCheckpoint, Logged, OpenError, Outcome, Place, Position, RootAt, Row, Storage, WriteError,
};
use counterfoil_tlog::tile::{TilePath, WIDTH};
use counterfoil_tlog::{Hash, HashReader as _, LeafIndex, MemoryTree, SeedSigner, TreeSize, leaf_hash};
use sha2::{Digest as _, Sha256};

pub const ORIGIN: &str = "example.com/test-log";
/// The log time of batches that were recovered. Their seals keep the times of those that they were made for.
pub const RECOVERED: u64 = 2_000_000;

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
        if entry.starts_with(b"seal ") && at.time >= RECOVERED {
            // Of a batch that was several.
            self.push(entry);
            return Ok(());
        }
        if entry.starts_with(b"seal ") {
            let seal = self.seal(at)?.unwrap();
            return if seal == entry { Ok(()) } else { Err("another seal".into()) };
        }
        Ok(self.fold(entry, at, roots)?)
    }

    fn project(entry: &[u8], index: LeafIndex) -> Vec<Row> {
        let row = |tree, key: &[u8]| Row { tree, key: key.to_vec(), value: index.0.to_be_bytes().to_vec() };
        let first = &entry[..1.min(entry.len())];
        vec![row("text", entry), row("by first byte", &[first, &index.0.to_be_bytes()].concat())]
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
            ask: None,
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

/// Derives the tree anew from the entries alone, and holds to it every tile and bundle, and every checkpoint that was seen:
/// all are of one tree, so no two of them are inconsistent.
pub fn rederive(handle: &Handle<Notebook>, seen: &[Arc<LogCheckpoint>]) -> Vec<Vec<u8>> {
    let entries = check_all(handle);
    let (reader, size) = (handle.reader(), entries.len() as u64);
    let tree: MemoryTree = entries.iter().map(|entry| leaf_hash(entry)).collect();
    for checkpoint in seen {
        assert_eq!(tree.head_at(checkpoint.head.size), Some(checkpoint.head));
        assert_eq!(reader.checkpoint_at(checkpoint.head.size).unwrap().as_ref(), Some(checkpoint));
    }
    let width = u64::from(WIDTH);
    let parts = |count: u64| {
        let starts = (0..count).step_by(width.try_into().unwrap());
        starts.map(move |start| (start / width, start..count.min(start + width)))
    };
    for level in 0..=2 {
        for (tile, nodes) in parts(size >> (8 * level)) {
            let path = TilePath::tile(level, tile, (nodes.end - nodes.start).try_into().unwrap()).unwrap();
            let hashes: Vec<u8> =
                nodes.flat_map(|index| *tree.node(8 * level, index).unwrap().as_bytes()).collect();
            assert_eq!(reader.tile(&path).unwrap(), hashes, "{path}");
        }
    }
    for (bundle, range) in parts(size) {
        let path = TilePath::entries(bundle, (range.end - range.start).try_into().unwrap()).unwrap();
        let held = &entries[range.start as usize..range.end as usize];
        let bytes: Vec<u8> =
            held.iter().flat_map(|entry| [&(entry.len() as u16).to_be_bytes()[..], entry].concat()).collect();
        assert_eq!(reader.tile(&path).unwrap(), bytes, "{path}");
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
            // Files come and go while sled works.
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// A journal whose last batch, a frame that starts at `last`, is written as two frames: the first entry, and the rest.
pub fn in_two_frames(journal: &[u8], last: usize) -> Vec<u8> {
    let frame = &journal[last..];
    let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    let (count, length, checkpoint) = (number(24), number(28), number(32));
    let first = u64::from_be_bytes(frame[8..16].try_into().unwrap());
    let one = 2 + u32::from(u16::from_be_bytes(frame[36..38].try_into().unwrap()));
    let make = |first: u64, numbers: [u32; 3], body: &[u8]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        let bytes = [b"CFBATCH1", &first.to_be_bytes()[..], &frame[16..24], &numbers, body].concat();
        let digest = Sha256::digest(&bytes);
        [bytes, digest.to_vec()].concat()
    };
    let (begun, rest) = frame[36..frame.len() - 32].split_at(one as usize);
    let begun = make(first, [1, one, 0], begun);
    let rest = make(first + 1, [count - 1, length - one, checkpoint], rest);
    [&journal[..last], &begun, &rest].concat()
}

/// What happens of a step that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Lost,
    /// All of it.
    Persisted,
    /// A part of it.
    Short,
}

/// How the process learns of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// By an error.
    Error,
    /// Not at all: it ends in the midst of the step.
    Crash,
}

impl Notice {
    fn give(self) -> io::Error {
        match self {
            Self::Error => io::Error::other("as the test wanted"),
            // As a panic, but without a word.
            Self::Crash => std::panic::resume_unwind(Box::new("as the test wanted")),
        }
    }
}

/// Fails at one of the steps to come, counted from 0.
#[derive(Clone, Copy, Debug, Default)]
struct Plan(Option<(u64, Fault, Notice)>);

impl Plan {
    fn next(&mut self) -> (Option<Fault>, Result<(), Notice>) {
        match &mut self.0 {
            Some((0, fault, notice)) => {
                let next = (Some(*fault), Err(*notice));
                self.0 = None;
                next
            }
            Some((left, ..)) => {
                *left -= 1;
                (None, Ok(()))
            }
            None => (None, Ok(())),
        }
    }
}

/// A disk that knows what is on it, what is in memory only, and what a sync would still write: as on Linux, what a sync
/// failed to write counts as written from then on.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<DiskState>>);

#[derive(Clone, Default)]
struct DiskState {
    cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Range<usize>>,
    plan: Plan,
}

impl Disk {
    pub fn fail(&self, step: u64, fault: Fault) {
        self.plan(step, fault, Notice::Error);
    }

    pub fn plan(&self, step: u64, fault: Fault, notice: Notice) {
        self.state().plan = Plan(Some((step, fault, notice)));
    }

    /// The disk after the process ended, or after the power failed too.
    pub fn after_crash(&self, power_cut: bool) -> Self {
        let mut state = self.state().clone();
        state.plan = Plan::default();
        if power_cut {
            state.cached = state.durable.clone();
            state.unsynced.clear();
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// The same with the last batch, which starts at `last`, in two frames.
    pub fn in_two_frames(&self, last: u64) -> Self {
        let mut state = self.state().clone();
        let is_durable = state.durable == state.cached;
        state.cached = in_two_frames(&state.cached, last as usize);
        if is_durable {
            state.durable = state.cached.clone();
        }
        Self(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().cached.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let bytes = state.cached.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn append(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut state = self.state();
        if state.cached.len() as u64 != offset {
            return Err(WriteError::Conflict { offset });
        }
        Ok(state.write(offset as usize, bytes)?)
    }

    fn rewrite(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let mut state = self.state();
        if !state.cached[offset as usize..].starts_with(bytes) {
            return Err(WriteError::Conflict { offset });
        }
        Ok(state.write(offset as usize, bytes)?)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        let (fails, notice) = state.plan.next();
        state.sync(fails);
        notice.map_err(Notice::give)
    }

    fn cut(&self, offset: u64, tail: &[u8]) -> Result<(), WriteError> {
        let mut state = self.state();
        let offset_in_memory = offset as usize;
        if state.cached[offset_in_memory..] != *tail {
            return Err(WriteError::Conflict { offset });
        }
        state.sync(None);
        state.cached.truncate(offset_in_memory);
        state.durable.truncate(offset_in_memory);
        Ok(())
    }
}

impl DiskState {
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let (fails, notice) = self.plan.next();
        let range = part(offset..offset + bytes.len(), fails);
        put(&mut self.cached, range.start, &bytes[..range.len()]);
        self.unsynced.push(range);
        notice.map_err(Notice::give)
    }

    fn sync(&mut self, fails: Option<Fault>) {
        for range in std::mem::take(&mut self.unsynced) {
            let range = part(range, fails);
            put(&mut self.durable, range.start, &self.cached[range]);
        }
    }
}

/// What is written of this range.
fn part(range: Range<usize>, fails: Option<Fault>) -> Range<usize> {
    let length = match fails {
        Some(Fault::Lost) => 0,
        Some(Fault::Short) => range.len() / 2,
        Some(Fault::Persisted) | None => range.len(),
    };
    range.start..range.start + length
}

fn put(file: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if !bytes.is_empty() {
        let length = file.len().max(at + bytes.len());
        file.resize(length, 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// A lock store in memory. Its swap is whole or did not happen.
#[derive(Clone, Default)]
pub struct FaultyLock(Arc<Mutex<(Option<Vec<u8>>, Plan)>>);

impl FaultyLock {
    pub fn fail(&self, step: u64, fault: Fault) {
        self.plan(step, fault, Notice::Error);
    }

    pub fn plan(&self, step: u64, fault: Fault, notice: Notice) {
        self.state().1 = Plan(Some((step, fault, notice)));
    }

    pub fn after_crash(&self) -> Self {
        Self(Arc::new(Mutex::new((self.value(), Plan::default()))))
    }

    pub fn value(&self) -> Option<Vec<u8>> {
        self.state().0.clone()
    }

    fn state(&self) -> MutexGuard<'_, (Option<Vec<u8>>, Plan)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LockStore for FaultyLock {
    fn load(&mut self) -> Result<Option<Vec<u8>>, LockError> {
        Ok(self.value())
    }

    fn replace(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), LockError> {
        let mut state = self.state();
        if state.0.as_deref() != old {
            return Err(LockError::Conflict { found: state.0.clone() });
        }
        let (fails, notice) = state.1.next();
        if fails != Some(Fault::Lost) {
            state.0 = Some(new.to_vec());
        }
        notice.map_err(|notice| LockError::Io { doing: "write", path: "memory".into(), io: notice.give() })
    }
}
