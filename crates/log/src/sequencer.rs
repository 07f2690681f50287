//! The one writer: makes batches, signs them, and puts them on disk.
//!
//! **The order of writes**, which is the order of recovery too:
//!
//! 1. *Journal.* Entries and signed checkpoint go to the end of the journal in one write, then one fdatasync. From here
//!    on the batch is what this log will sign next, and nothing else: recovery takes it up again.
//! 2. *Lock.* The lock store's checkpoint is replaced by compare-and-swap, durably. From here on the batch is in the log:
//!    a journal without it is refused.
//! 3. *Tiles.* Where the entries are is noted in the scratch files; full tiles and entry bundles are written. They can be
//!    derived from the journal, so they are not synced.
//! 4. *Publish.* Readers see the checkpoint, and every tile that it needs.
//! 5. *Index.* Projections follow; they can be rebuilt.
//! 6. *Answer.* Submitters get index and checkpoint.
//!
//! No signature leaves the process and nothing is acknowledged before 1 and 2. An error in 1 to 4 ends the log: nothing
//! is tried again, least of all a failed fsync, and the next process that opens the log finds out what is on disk. It runs
//! 1 to 5 by the same code, [`Writer::commit`], for a batch that is in the journal and not in the lock store, and 3 to 5,
//! [`Writer::settle`], for all before.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use counterfoil_tlog::tile::{TilePath, WIDTH};
use counterfoil_tlog::{Hash, LeafIndex, TreeSize, leaf_hash};

use crate::application::{Application, Place, Position, RootAt};
use crate::config::{CheckpointKeys, CommitHook};
use crate::error::{Fatal, ReadError};
use crate::handle::{Add, AddError, Inspection, Job, Logged, Outcome};
use crate::index::{EntryRows, Watermark};
use crate::journal::{Frame, FrameBuilder, Journal};
use crate::limits;
use crate::lock::LockStore;
use crate::order::order;
use crate::reader::{LogCheckpoint, Published, Shared};
use crate::tree::{Edge, FullTile, View};

/// The writer's state. It is thrown away after any error, so it never has to be undone.
pub(crate) struct Writer<A> {
    pub app: A,
    pub keys: CheckpointKeys,
    pub lock: Box<dyn LockStore>,
    /// What the lock store holds.
    pub locked: Option<Arc<LogCheckpoint>>,
    pub clock: Box<dyn FnMut() -> u64 + Send>,
    pub on_commit: Option<CommitHook>,
    pub journal: Journal,
    /// The tree with all entries, and those of the batch being made.
    pub edge: Edge,
    /// Log time of the last batch.
    pub time: u64,
    pub shared: Arc<Shared>,
}

/// A batch that is complete.
pub(crate) struct Batch {
    pub frame: Frame,
    pub checkpoint: Arc<LogCheckpoint>,
    /// The tiles that it fills.
    pub full: Vec<FullTile>,
}

impl<A: Application> Writer<A> {
    /// Writes a batch: steps 1 to 5.
    pub fn commit(&mut self, batch: Batch) -> Result<(), Fatal> {
        self.journal.append(&batch.frame).map_err(|(doing, io)| Fatal::Journal { doing, io })?;
        let old = self.locked.as_ref().map(|checkpoint| checkpoint.text.as_bytes());
        self.lock.replace(old, batch.checkpoint.text.as_bytes())?;
        let checkpoint = Arc::clone(&batch.checkpoint);
        self.locked = Some(Arc::clone(&checkpoint));
        self.settle(batch, false)?;
        if let Some(on_commit) = &mut self.on_commit {
            on_commit(&checkpoint);
        }
        Ok(())
    }

    /// Derives everything else from a batch that is in journal and lock store: steps 3 to 5. `known` says that the index
    /// may have it already.
    pub fn settle(&mut self, batch: Batch, known: bool) -> Result<(), Fatal> {
        let Batch { frame, checkpoint, full } = batch;
        let offset = self.journal.end() - frame.len();
        let batches = self.shared.published().batches;
        self.shared.scratch.record(batches, offset, &frame)?;
        for tile in full {
            self.publish_tile(tile)?;
        }

        self.time = frame.time();
        let published =
            Published { checkpoint: Arc::clone(&checkpoint), edge: self.edge.clone(), batches: batches + 1 };
        self.shared.publish(published);

        let entries = (frame.first()..).zip(frame.entries());
        let rows: Vec<_> = entries.map(|(index, (_, entry))| self.rows(index, entry)).collect();
        let watermark = Watermark { projection: A::PROJECTION, frame: offset, head: checkpoint.head };
        // A failure is remembered by the index, which is rebuilt when it is needed next.
        let _ =
            self.shared.index.record(&rows, known).and_then(|()| self.shared.index.set_watermark(&watermark));
        Ok(())
    }

    /// Writes a tile, and before it the bundle of its entries, read back from the journal.
    fn publish_tile(&self, tile: FullTile) -> Result<(), Fatal> {
        let hashes = tile.nodes.hashes();
        if tile.id.level == 0 {
            let path = TilePath::entries(tile.id.index, WIDTH).map_err(|_| ReadError::NoSuchTile)?;
            self.shared.tiles.publish(&path, &self.shared.bundle(&path, hashes)?)?;
        }
        self.shared.tiles.publish(&tile.id.path()?, &counterfoil_tlog::tile::encode_tile(hashes))?;
        self.shared.tiles.cache(tile.id, tile.nodes);
        Ok(())
    }

    fn rows(&self, index: u64, entry: &[u8]) -> EntryRows {
        EntryRows { leaf: leaf_hash(entry), index, rows: self.app.project(entry, LeafIndex(index)) }
    }

    /// Fills the index from the beginning, after something was wrong with it.
    pub fn rebuild_index(&self) -> Result<(), Fatal> {
        self.shared.index.replace()?;
        let published = self.shared.published();
        let view = self.shared.view(&published);
        for index in 0..published.edge.size().0 {
            let leaf = counterfoil_tlog::HashReader::node(&view, 0, index)?;
            let entry = self.shared.entry(index, leaf)?;
            self.shared.index.record(&[self.rows(index, &entry)], false)?;
        }
        if let Some(number) = published.batches.checked_sub(1) {
            let frame = self.shared.scratch.batch(number)?.offset;
            let head = published.checkpoint.head;
            self.shared.index.set_watermark(&Watermark { projection: A::PROJECTION, frame, head })?;
        }
        Ok(())
    }
}

/// Making batches.
impl<A: Application> Writer<A> {
    /// Works on the queue until it is told to stop, or can't go on.
    pub fn run(mut self, queue: &Receiver<Job<A>>) {
        let mut held = None;
        while let Some(first) = held.take().or_else(|| queue.recv().ok()) {
            let mut round = Round::default();
            held = round.collect(first, queue);
            let queued: usize = round.adds.iter().map(|add| add.bytes).sum();
            self.shared.queued.fetch_sub(queued, Ordering::Relaxed);
            // Dropped before the submissions, so that they learn of a panic.
            let watch = PanicWatch(&self.shared.clone());
            let answers = if round.adds.is_empty() { Ok(Vec::new()) } else { self.batch(&round.adds) };
            drop(watch);
            match answers {
                Ok(answers) => round.answer(answers),
                Err(fatal) => {
                    let failure = self.shared.fail(fatal);
                    round.fail(&failure);
                    return drain(held, queue, &failure);
                }
            }
            let checkpoint = &self.shared.published().checkpoint;
            for inspection in round.inspections {
                // The panic of somebody's question is not the log's.
                let _ = catch_unwind(AssertUnwindSafe(|| inspection(&self.app, checkpoint)));
            }
            if round.stop {
                return;
            }
        }
    }

    /// Makes one batch of submissions and commits it. If nothing is admitted, nothing is signed.
    pub fn batch(&mut self, adds: &[Add<A>]) -> Result<Vec<Vec<Outcome<A::Refusal>>>, Fatal> {
        let entries: Vec<&A::Entry> = adds.iter().flat_map(|add| &add.entries).collect();
        let named: Vec<(Hash, Place)> =
            entries.iter().map(|entry| (leaf_hash((*entry).as_ref()), self.app.place(entry))).collect();
        let mut draft = self.draft();
        let mut verdicts: Vec<Option<Verdict<A::Refusal>>> = entries.iter().map(|_| None).collect();
        for at in order(&named) {
            verdicts[at] = Some(self.admit(&mut draft, entries[at], named[at].0)?);
        }
        if draft.frame.count() > 0 {
            self.seal_and_commit(draft)?;
        }
        let checkpoint = &self.shared.published().checkpoint;
        let leaves = named.iter().map(|(leaf, _)| *leaf);
        let mut outcomes = verdicts
            .into_iter()
            .zip(leaves)
            .filter_map(|(verdict, leaf)| Some(verdict?.outcome(leaf, checkpoint)));
        Ok(adds.iter().map(|add| outcomes.by_ref().take(add.entries.len()).collect()).collect())
    }

    /// Begins the log with the signed checkpoint of the empty tree, which no entry seals.
    pub fn begin_empty(&mut self) -> Result<(), Fatal> {
        let draft = self.draft();
        self.sign_and_commit(draft)
    }

    fn draft(&mut self) -> Draft {
        let time = (self.clock)().min(limits::CLOCK).max(self.time.saturating_add(1));
        Draft::new(self.edge.size().0, time)
    }

    fn admit(
        &mut self,
        draft: &mut Draft,
        entry: &A::Entry,
        leaf: Hash,
    ) -> Result<Verdict<A::Refusal>, Fatal> {
        if let Some(index) = draft.indices.get(&leaf) {
            return Ok(Verdict::Duplicate(*index));
        }
        if let Some(index) = self.find(&leaf)? {
            return Ok(Verdict::Duplicate(index));
        }
        let index = LeafIndex(self.edge.size().0);
        let roots = Roots::new(&self.edge, &draft.full, &self.shared);
        let admitted = self.app.admit(entry, Position { index, time: draft.time }, &roots);
        roots.finish()?;
        if let Err(refusal) = admitted {
            return Ok(Verdict::Refused(refusal));
        }
        draft.push(&mut self.edge, entry.as_ref());
        draft.indices.insert(leaf, index);
        Ok(Verdict::Added(index))
    }

    fn seal_and_commit(&mut self, mut draft: Draft) -> Result<(), Fatal> {
        let at = Position { index: LeafIndex(self.edge.size().0), time: draft.time };
        if let Some(seal) = self.app.seal(at).map_err(Fatal::Seal)? {
            if seal.len() > limits::ENTRY_BYTES {
                return Err(Fatal::SealTooLong { length: seal.len() });
            }
            draft.push(&mut self.edge, &seal);
        }
        self.sign_and_commit(draft)
    }

    fn sign_and_commit(&mut self, draft: Draft) -> Result<(), Fatal> {
        let no_root = || Fatal::Sign("the tree has no root".into());
        let head = self.edge.head().ok_or_else(no_root)?;
        let checkpoint = Arc::new(self.keys.sign(head).map_err(Fatal::Sign)?);
        self.commit(Batch { frame: draft.frame.finish(&checkpoint.text), checkpoint, full: draft.full })
    }

    /// Where the entry with this leaf hash stands. A damaged index is rebuilt first.
    fn find(&self, leaf: &Hash) -> Result<Option<LeafIndex>, Fatal> {
        match self.shared.lookup(leaf) {
            Err(ReadError::Index(_)) => {
                self.rebuild_index()?;
                Ok(self.shared.lookup(leaf)?)
            }
            found => Ok(found?),
        }
    }
}

/// A batch being made.
struct Draft {
    time: u64,
    frame: FrameBuilder,
    full: Vec<FullTile>,
    /// Of the entries admitted so far.
    indices: HashMap<Hash, LeafIndex>,
}

impl Draft {
    fn new(first: u64, time: u64) -> Self {
        Self { time, frame: FrameBuilder::new(first, time), full: Vec::new(), indices: HashMap::new() }
    }

    fn push(&mut self, edge: &mut Edge, entry: &[u8]) {
        edge.push(entry, &mut self.full);
        self.frame.push(entry);
    }
}

enum Verdict<R> {
    Added(LeafIndex),
    Duplicate(LeafIndex),
    Refused(R),
}

impl<R> Verdict<R> {
    fn outcome(self, leaf: Hash, checkpoint: &Arc<LogCheckpoint>) -> Outcome<R> {
        let logged = |index| Logged { index, leaf, checkpoint: Arc::clone(checkpoint) };
        match self {
            Self::Added(index) => Outcome::Added(logged(index)),
            Self::Duplicate(index) => Outcome::Duplicate(logged(index)),
            Self::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

/// The tree of all entries so far, for the application. That it can't be read is the log's failure, not a refusal.
pub(crate) struct Roots<'a> {
    view: View<'a>,
    failed: RefCell<Option<ReadError>>,
}

impl<'a> Roots<'a> {
    pub fn new(edge: &'a Edge, full: &'a [FullTile], shared: &'a Shared) -> Self {
        Self { view: View { edge, full, tiles: &shared.tiles }, failed: RefCell::default() }
    }

    pub fn finish(self) -> Result<(), ReadError> {
        self.failed.into_inner().map_or(Ok(()), Err)
    }
}

impl RootAt for Roots<'_> {
    fn root_at(&self, size: TreeSize) -> Option<Hash> {
        match self.view.root_at(size) {
            Ok(root) => Some(root),
            Err(ReadError::BeyondTree { .. }) => None,
            Err(error) => {
                self.failed.replace(Some(error));
                None
            }
        }
    }
}

/// What is done in one go: everything that waited, up to the limits of a batch.
struct Round<A: Application> {
    adds: Vec<Add<A>>,
    inspections: Vec<Inspection<A>>,
    stop: bool,
}

impl<A: Application> Default for Round<A> {
    fn default() -> Self {
        Self { adds: Vec::new(), inspections: Vec::new(), stop: false }
    }
}

impl<A: Application> Round<A> {
    /// Takes jobs until none waits or the next does not fit, which is returned.
    fn collect(&mut self, first: Job<A>, queue: &Receiver<Job<A>>) -> Option<Job<A>> {
        let (mut entries, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Stop => {
                    self.stop = true;
                    return None;
                }
                Job::Inspect(inspection) => self.inspections.push(inspection),
                Job::Add(add) => {
                    entries += add.entries.len();
                    bytes += add.bytes;
                    if entries > limits::BATCH_ENTRIES || bytes > limits::BATCH_BYTES {
                        return Some(Job::Add(add));
                    }
                    self.adds.push(add);
                }
            }
            next = queue.try_recv().ok();
        }
        None
    }

    fn answer(&mut self, answers: Vec<Vec<Outcome<A::Refusal>>>) {
        for (add, answer) in self.adds.drain(..).zip(answers) {
            add.reply.send(Ok(answer));
        }
    }

    fn fail(self, failure: &Arc<Fatal>) {
        for add in self.adds {
            add.reply.send(Err(AddError::Failed(Arc::clone(failure))));
        }
    }
}

/// Answers what still waits.
fn drain<A: Application>(held: Option<Job<A>>, queue: &Receiver<Job<A>>, failure: &Arc<Fatal>) {
    for job in held.into_iter().chain(queue.try_iter()) {
        if let Job::Add(add) = job {
            add.reply.send(Err(AddError::Failed(Arc::clone(failure))));
        }
    }
}

/// Marks the log as stopped if the thread unwinds.
struct PanicWatch<'a>(&'a Arc<Shared>);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Fatal::Panicked);
        }
    }
}
