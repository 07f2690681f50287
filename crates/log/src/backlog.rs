//! Fills the index behind the writer, on a thread of its own.
//!
//! The writer hands over each batch that it has published and goes on. Until a batch is indexed, its leaf hashes are found
//! here, so that no entry is ever admitted twice and every answered one is found at once; only its rows follow later. What
//! waits is bounded: when the index can't follow, the writer waits, and then its submitters.
//!
//! Nothing leaves the backlog before it is in the index. If that can't be written, the whole index is filled anew from the
//! journal; if that can't be done either, the log stops.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use counterfoil_tlog::{Hash, HashReader as _, LeafIndex};

use crate::application::{Application, Row};
use crate::config::CommitHook;
use crate::error::{Fatal, IndexError, ReadError};
use crate::index::{EntryRows, Sum, Watermark};
use crate::journal::Frame;
use crate::limits;
use crate::reader::{LogCheckpoint, Shared};
use crate::sequencer::Batch;

/// Batches that are published and not yet indexed.
#[derive(Default)]
pub(crate) struct Backlog {
    state: Mutex<State>,
    /// Signalled at every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Batch>>,
    /// Entries in the queue, and their bytes.
    entries: usize,
    bytes: usize,
    /// The leaf hashes of all entries in the queue.
    recent: HashMap<Hash, u64>,
    /// The last checkpoint whose entries are all in the index.
    indexed: Option<Arc<LogCheckpoint>>,
    /// What the entries handed over contribute, as long as the index is to be compared with it.
    sum: Option<Sum>,
    /// The writer waits until it was.
    must_compare: bool,
    /// The writer waits for a new index.
    must_rebuild: bool,
    /// Nothing more will be handed over.
    closing: bool,
    /// The thread has ended.
    ended: bool,
}

impl Backlog {
    /// Hands over a published batch. Waits while too much waits already.
    ///
    /// Of a batch of several frames the entries of the last are found from here on, those before only when they are indexed:
    /// it is read from the journal, and whoever opens a log waits for that.
    pub fn push(&self, batch: &Arc<Batch>) -> Result<(), Fatal> {
        let (entries, bytes) = (batch.leaves.len(), batch.frame.len() as usize);
        let is_full = |state: &State| {
            let over = state.entries + entries > limits::BACKLOG_ENTRIES
                || state.bytes + bytes > limits::BACKLOG_BYTES;
            over && !state.queue.is_empty()
        };
        let mut state = self.wait(is_full)?;
        state.recent.extend(batch.leaves.iter().copied().zip(batch.frame.first()..));
        state.queue.push_back(Arc::clone(batch));
        state.entries += entries;
        state.bytes += bytes;
        self.changed.notify_all();
        Ok(())
    }

    /// Where an entry stands that is published and not yet indexed.
    pub fn find(&self, leaf: &Hash) -> Option<LeafIndex> {
        self.lock().recent.get(leaf).copied().map(LeafIndex)
    }

    /// The last checkpoint whose entries are all in the index.
    pub fn indexed(&self) -> Option<Arc<LogCheckpoint>> {
        self.lock().indexed.clone()
    }

    /// The same as soon as `is_enough`; `None` if the time runs out or the thread ends before.
    pub fn wait_indexed(
        &self,
        timeout: Duration,
        is_enough: impl Fn(&LogCheckpoint) -> bool,
    ) -> Option<Arc<LogCheckpoint>> {
        let enough = |state: &State| state.indexed.as_deref().is_some_and(&is_enough);
        let too_small = |state: &mut State| !state.ended && !enough(state);
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, too_small);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if enough(&state) { state.indexed.clone() } else { None }
    }

    /// Waits until everything is indexed.
    pub fn drain(&self) -> Result<(), Fatal> {
        self.wait(|state| !state.queue.is_empty()).map(drop)
    }

    /// Adds up from here on what entries contribute, for [`compare`](Self::compare).
    pub fn add_up(&self) {
        self.lock().sum = Some(Sum::default());
    }

    /// Waits until everything is indexed, and until the index has exactly what was handed over since
    /// [`add_up`](Self::add_up): if not, it was filled anew.
    pub fn compare(&self) -> Result<(), Fatal> {
        self.drain()?;
        self.lock().must_compare = true;
        self.changed.notify_all();
        self.wait(|state| state.must_compare).map(drop)
    }

    /// Has the index filled anew, and waits for that.
    pub fn rebuild(&self) -> Result<(), Fatal> {
        self.lock().must_rebuild = true;
        self.changed.notify_all();
        self.wait(|state| state.must_rebuild).map(drop)
    }

    /// Waits as long as this holds, or until the thread has ended, which is an error: it had reason to.
    fn wait(&self, holds: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, Fatal> {
        let waited = self.changed.wait_while(self.lock(), |state| !state.ended && holds(state));
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.ended { Err(Fatal::Index(IndexError::Rebuilding)) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that fills the index. Dropping it has the backlog indexed first.
pub(crate) struct Indexer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Indexer {
    /// Starts the thread.
    pub fn start<A: Application>(
        shared: &Arc<Shared>,
        on_commit: Option<CommitHook>,
    ) -> std::io::Result<Self> {
        let filler =
            Filler { shared: Arc::clone(shared), projection: A::PROJECTION, project: A::project, on_commit };
        let thread = std::thread::Builder::new().name("log index".into()).spawn(move || filler.run())?;
        Ok(Self { shared: Arc::clone(shared), thread: Some(thread) })
    }

    /// What the thread works on.
    pub fn backlog(&self) -> &Backlog {
        &self.shared.backlog
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.backlog().lock().closing = true;
        self.backlog().changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // What it panicked over was noted as the log's failure.
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Filler {
    shared: Arc<Shared>,
    projection: u32,
    project: fn(&[u8], LeafIndex) -> Vec<Row>,
    on_commit: Option<CommitHook>,
}

impl Filler {
    fn run(mut self) {
        let result = catch_unwind(AssertUnwindSafe(|| self.work())).unwrap_or(Err(Fatal::Panicked));
        // The reason first: whoever waits finds that the thread has ended, and then why.
        if let Err(fatal) = result {
            self.shared.fail(fatal);
        }
        self.shared.backlog.lock().ended = true;
        self.shared.backlog.changed.notify_all();
    }

    fn work(&mut self) -> Result<(), Fatal> {
        let shared = Arc::clone(&self.shared);
        let backlog = &shared.backlog;
        loop {
            let idle = |state: &mut State| {
                state.queue.is_empty() && !state.must_rebuild && !state.must_compare && !state.closing
            };
            let waited = backlog.changed.wait_while(backlog.lock(), idle);
            let state = waited.unwrap_or_else(PoisonError::into_inner);
            let (must_rebuild, must_compare) = (state.must_rebuild, state.must_compare);
            let next = state.queue.front().cloned();
            drop(state);
            if must_compare {
                let sum = backlog.lock().sum.take();
                if sum.is_some() && self.shared.index.sum().ok() != sum {
                    self.rebuild()?;
                }
                backlog.lock().must_compare = false;
            } else if must_rebuild {
                self.rebuild()?;
                backlog.lock().must_rebuild = false;
            } else if let Some(batch) = next {
                if self.fill(&batch).is_err() {
                    // The batch is published, so this has its rows too.
                    self.rebuild()?;
                }
                self.finish(&batch);
            } else {
                return Ok(());
            }
            backlog.changed.notify_all();
        }
    }

    /// Writes the rows of a batch, frame by frame; or only adds them up, where the index goes as far.
    fn fill(&self, batch: &Batch) -> Result<(), ReadError> {
        let mut at = batch.start;
        while at < batch.offset {
            let frame = self.shared.frame(at, batch.offset)?;
            self.record(&frame, &frame.leaves(), batch.known)?;
            at += frame.len();
        }
        self.record(&batch.frame, &batch.leaves, batch.known)?;
        if batch.known {
            return Ok(());
        }
        let (projection, head) = (self.projection, batch.checkpoint.head);
        Ok(self.shared.index.set_watermark(&Watermark { projection, frame: batch.offset, head })?)
    }

    fn record(&self, frame: &Frame, leaves: &[Hash], known: bool) -> Result<(), IndexError> {
        let entries = (frame.first()..).zip(frame.entries()).zip(leaves);
        let rows: Vec<_> =
            entries.map(|((index, (_, entry)), leaf)| self.rows(index, *leaf, entry)).collect();
        if let Some(sum) = &mut self.shared.backlog.lock().sum {
            rows.iter().for_each(|entry| sum.add_entry(entry));
        }
        if known { Ok(()) } else { self.shared.index.record(&rows) }
    }

    /// Takes a batch that is in the index out of the backlog, and announces it.
    fn finish(&mut self, batch: &Batch) {
        let mut state = self.shared.backlog.lock();
        state.queue.pop_front();
        state.entries -= batch.leaves.len();
        state.bytes -= batch.frame.len() as usize;
        for leaf in &batch.leaves {
            state.recent.remove(leaf);
        }
        state.indexed = Some(Arc::clone(&batch.checkpoint));
        drop(state);
        self.shared.backlog.changed.notify_all();
        if let Some(on_commit) = self.on_commit.as_mut().filter(|_| batch.is_new) {
            on_commit(&batch.checkpoint);
        }
    }

    fn rows(&self, index: u64, leaf: Hash, entry: &[u8]) -> EntryRows {
        EntryRows { leaf, index, rows: (self.project)(entry, LeafIndex(index)) }
    }

    /// Fills the index from the beginning, after something was wrong with it.
    fn rebuild(&self) -> Result<(), Fatal> {
        let index = self.shared.index.start_anew()?;
        let published = self.shared.published();
        let view = self.shared.view(&published);
        for at in 0..published.edge.size().0 {
            let leaf = view.node(0, at)?;
            let entry = self.shared.entry(at, leaf)?;
            index.record(&[self.rows(at, leaf, &entry)])?;
        }
        if let Some(number) = published.batches.checked_sub(1) {
            let frame = self.shared.scratch.batch(number)?.offset;
            let (projection, head) = (self.projection, published.checkpoint.head);
            index.set_watermark(&Watermark { projection, frame, head })?;
        }
        Ok(self.shared.index.take(&index)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::Raw;
    use crate::config::{CheckpointKeys, Config};
    use crate::handle::Outcome;
    use crate::log::Log;

    fn log(dir: &std::path::Path) -> Log<Raw> {
        let signer = counterfoil_tlog::SeedSigner::ed25519("example.com/log", &[7; 32]).unwrap();
        let keys = CheckpointKeys::new("example.com/log", vec![Box::new(signer)], vec![]);
        let config = Config::embedded(&dir.join("log"), &dir.join("lock"), keys, Box::new(|| 0)).unwrap();
        Log::create(config, Raw, b"first".to_vec()).unwrap()
    }

    /// The index fails while entries come in, between any two of them: it is filled anew, by the thread or because the
    /// writer asks, and no entry is admitted twice.
    #[test]
    fn an_index_that_fails_is_filled_anew_and_nothing_is_admitted_twice() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let handle = log.handle();
        let shared = &handle.reader().shared;
        for i in 0..64_u32 {
            // An index that fails while it is filled anew stops the log.
            shared.backlog.drain().unwrap();
            assert!(matches!(handle.add(vec![i.to_be_bytes().to_vec()]).unwrap()[0], Outcome::Added(_)));
            shared.index.condemn();
            let again = handle.add(vec![(i / 2).to_be_bytes().to_vec()]).unwrap();
            assert!(matches!(again[0], Outcome::Duplicate(_)), "{i}");
        }
        shared.backlog.drain().unwrap();
        let state = shared.backlog.lock();
        assert_eq!((state.entries, state.bytes, state.recent.len(), state.ended), (0, 0, 0, false));
        assert_eq!(state.indexed.as_ref().unwrap().head.size.0, 65);
    }

    /// A row that only a question can reveal, since it is for no entry.
    #[test]
    fn a_wrong_row_found_while_the_log_runs_has_the_index_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let handle = log.handle();
        let shared = &handle.reader().shared;
        shared.backlog.drain().unwrap();
        let leaf = counterfoil_tlog::leaf_hash(b"new");
        shared.index.record(&[EntryRows { leaf, index: 0, rows: Vec::new() }]).unwrap();
        assert!(matches!(handle.reader().lookup(&leaf), Err(ReadError::Index(_))));
        assert!(matches!(handle.reader().row("text", b"0 0"), Err(ReadError::Index(_))));
        assert_eq!(handle.reader().entry(LeafIndex(0)).unwrap(), b"first", "needs no index");
        let added = handle.add(vec![b"new".to_vec()]).unwrap();
        assert!(matches!(&added[0], Outcome::Added(logged) if logged.index.0 == 1));
        assert_eq!(handle.reader().lookup(&leaf).unwrap(), Some(LeafIndex(1)));
    }

    /// What can't be filled anew stops the log, and with it everything that waits for the index.
    #[test]
    fn an_index_that_stays_broken_stops_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(dir.path());
        let handle = log.handle();
        let shared = &handle.reader().shared;
        shared.backlog.drain().unwrap();
        // A file where the directory of the new index would be.
        shared.index.condemn();
        std::fs::remove_dir_all(dir.path().join("log/scratch")).unwrap();
        std::fs::rename(dir.path().join("log"), dir.path().join("gone")).unwrap();
        std::fs::write(dir.path().join("log"), b"in the way").unwrap();
        let error = handle.add(vec![b"a".to_vec()]).unwrap_err();
        assert_eq!(error.code(), "fatal-index");
        assert!(handle.failure().is_some());
        assert!(shared.backlog.wait_indexed(Duration::from_secs(60), |it| it.head.size.0 > 1).is_none());
    }
}
