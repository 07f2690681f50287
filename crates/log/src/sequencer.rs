//! The one writer: makes batches, signs them, and puts them on disk.
//!
//! **The order of writes**, which is the order of recovery too, and which [`plan`] holds as the data that
//! [`Writer::perform`] runs:
//!
//! 1. *Journal.* Entries and signed checkpoint go to the end of the journal in one write, where nothing may stand, then one
//!    fdatasync. From here on the batch is what this log will sign next, and nothing else: recovery takes it up again.
//! 2. *Lock.* The lock store's checkpoint is replaced by compare-and-swap, durably. From here on the batch is in the log:
//!    a journal without it is refused.
//! 3. *Tiles.* Where the entries are is noted in the scratch files; full tiles and entry bundles are written. They can be
//!    derived from the journal, so they are not synced.
//! 4. *Publish.* Readers see the checkpoint, and every tile that it needs.
//! 5. *Index.* The batch is handed to the index, which finds its leaf hashes at once; rows follow on a thread of their own
//!    (`backlog.rs`), and can be rebuilt.
//! 6. *Answer.* Submitters get index and checkpoint.
//!
//! No signature leaves the process and nothing is acknowledged before 1 and 2. An error in 1 to 4, or an index that can't be
//! filled anew, ends the log: nothing is tried again, least of all a failed fsync, and the next process that opens the log
//! finds out what is on disk. It runs 1 to 5 by the same code for a batch that is in the journal and not in the lock store ([`plan::ADOPT`]: the write of
//! what stands there already), and 3 to 5 for all before ([`plan::REPLAY`]).

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use counterfoil_tlog::tile::{TilePath, WIDTH};
use counterfoil_tlog::{Hash, LeafIndex, TreeSize, leaf_hash};

use crate::application::{Application, Place, Position, RootAt};
use crate::backlog::Indexer;
use crate::config::CheckpointKeys;
use crate::error::{Fatal, ReadError};
use crate::handle::{AddError, Hashed, Inspection, Job, Logged, Outcome, Reply};
use crate::journal::{Frame, FrameBuilder, Journal};
use crate::limits;
use crate::lock::LockStore;
use crate::order::order;
use crate::plan::{self, Step};
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
    pub journal: Journal,
    /// The tree with all entries, and those of the batch being made.
    pub edge: Edge,
    /// The entry bundle at the edge, as far as it goes.
    pub bundle: Vec<u8>,
    /// Log time of the last batch.
    pub time: u64,
    /// Fills the index; when the writer ends, it ends too.
    pub indexer: Indexer,
    pub shared: Arc<Shared>,
}

/// A batch that is complete.
pub(crate) struct Batch {
    /// Where its first frame starts in the journal.
    pub start: u64,
    /// Where the frame starts that ends it.
    pub offset: u64,
    /// The frame that ends it. Those before it, which only recovery writes, are left in the journal.
    pub frame: Frame,
    /// The leaf hashes of that frame's entries.
    pub leaves: Vec<Hash>,
    pub checkpoint: Arc<LogCheckpoint>,
    /// The tiles that they fill, if it is being made.
    pub full: Vec<FullTile>,
    /// Whether the index goes as far: its rows are then added up, not written.
    pub known: bool,
    /// Whether it was not in the log before, so that it is announced.
    pub is_new: bool,
}

impl<A: Application> Writer<A> {
    /// Takes the steps of a plan with a batch that was made, in their order, up to the first that fails.
    fn perform(&mut self, plan: &[Step], batch: Batch, answer: impl FnOnce()) -> Result<(), Fatal> {
        let (batch, mut answer) = (Arc::new(batch), Some(answer));
        for step in plan {
            match step {
                Step::Derive => self.derive(&batch.frame, &batch.full)?,
                Step::Answer => answer.take().map_or((), |answer| answer()),
                step => self.step(*step, &batch)?,
            }
        }
        Ok(())
    }

    /// Takes a step that is the same for a batch that was made and for one that was read. What these two derive differently,
    /// and whom they answer, is not its business.
    pub fn step(&mut self, step: Step, batch: &Arc<Batch>) -> Result<(), Fatal> {
        let write_failed = |error| Fatal::journal("write", error);
        match step {
            Step::Append => self.journal.append(&batch.frame).map_err(write_failed),
            Step::Rewrite => self.journal.rewrite(batch.offset + batch.frame.len()).map_err(write_failed),
            Step::Sync => self.journal.sync().map_err(|io| Fatal::Journal { doing: "sync", io }),
            Step::Swap => self.swap(&batch.checkpoint),
            Step::Publish => {
                self.publish(batch);
                Ok(())
            }
            Step::Index => self.indexer.backlog().push(batch),
            Step::Derive | Step::Answer => Ok(()),
        }
    }

    fn swap(&mut self, checkpoint: &Arc<LogCheckpoint>) -> Result<(), Fatal> {
        let old = self.locked.as_ref().map(|checkpoint| checkpoint.text.as_bytes());
        self.lock.replace(old, checkpoint.text.as_bytes())?;
        self.locked = Some(Arc::clone(checkpoint));
        Ok(())
    }

    /// Derives files from the frame at the journal's end, which is there, and from the tiles that it fills.
    pub fn derive(&mut self, frame: &Frame, full: &[FullTile]) -> Result<(), Fatal> {
        let offset = self.journal.end();
        self.journal.skip(frame);
        self.time = frame.time();
        self.shared.scratch.record(self.shared.published().batches, offset, frame)?;
        for (index, (_, entry)) in (frame.first()..).zip(frame.entries()) {
            // As tlog-tiles has it: each entry after its length.
            self.bundle.extend_from_slice(&(entry.len() as u16).to_be_bytes());
            self.bundle.extend_from_slice(entry);
            if (index + 1).is_multiple_of(WIDTH.into()) {
                let path = TilePath::entries(index / u64::from(WIDTH), WIDTH);
                self.shared.tiles.publish(&path.map_err(|_| ReadError::NoSuchTile)?, &self.bundle)?;
                self.bundle.clear();
            }
        }
        full.iter().try_for_each(|tile| self.write_tile(tile))
    }

    fn publish(&self, batch: &Batch) {
        let batches = self.shared.published().batches + 1;
        let checkpoint = Arc::clone(&batch.checkpoint);
        self.shared.publish(Published { checkpoint, edge: self.edge.clone(), batches });
    }

    fn write_tile(&self, tile: &FullTile) -> Result<(), Fatal> {
        let bytes = counterfoil_tlog::tile::encode_tile(tile.nodes.hashes());
        self.shared.tiles.publish(&tile.id.path()?, &bytes)?;
        self.shared.tiles.cache(tile.id, Arc::clone(&tile.nodes));
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
            self.shared.queued.fetch_sub(round.queued, Ordering::Relaxed);
            // Dropped before the submissions, so that they learn of a panic.
            let watch = PanicWatch(&self.shared.clone());
            let Round { adds, replies, .. } = &mut round;
            let answer = |answers: Vec<_>| {
                replies.drain(..).zip(answers).for_each(|(reply, answer)| reply.send(Ok(answer)));
            };
            let made = if adds.is_empty() { Ok(()) } else { self.batch(adds, answer) };
            drop(watch);
            if let Err(fatal) = made {
                let failure = self.shared.fail(fatal);
                replies.drain(..).for_each(|reply| reply.send(Err(AddError::Failed(Arc::clone(&failure)))));
                return drain(held, queue, &failure);
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

    /// Makes one batch of submissions, commits it, and gives the outcomes of each submission to `answer`. If nothing is
    /// admitted, nothing is signed, unless a submission without entries asks for the seal alone.
    pub fn batch(
        &mut self,
        adds: &[Vec<Hashed<A>>],
        answer: impl FnOnce(Vec<Vec<Outcome<A::Refusal>>>),
    ) -> Result<(), Fatal> {
        let entries: Vec<&Hashed<A>> = adds.iter().flatten().collect();
        let named: Vec<(Hash, Place)> =
            entries.iter().map(|(leaf, entry)| (*leaf, self.app.place(entry))).collect();
        let mut draft = self.draft();
        let mut verdicts: Vec<Option<Verdict<A::Refusal>>> = entries.iter().map(|_| None).collect();
        for at in order(&named) {
            verdicts[at] = Some(self.admit(&mut draft, entries[at])?);
        }
        let answer = |checkpoint: &Arc<LogCheckpoint>| {
            let leaves = named.iter().map(|(leaf, _)| *leaf);
            let verdicts = verdicts.into_iter().zip(leaves);
            let mut outcomes =
                verdicts.filter_map(|(verdict, leaf)| Some(verdict?.outcome(leaf, checkpoint)));
            answer(adds.iter().map(|add| outcomes.by_ref().take(add.len()).collect()).collect());
        };
        if draft.frame.count() > 0 || adds.iter().any(Vec::is_empty) {
            self.seal(&mut draft)?;
        }
        if draft.frame.count() == 0 {
            answer(&self.shared.published().checkpoint);
            return Ok(());
        }
        let batch = self.sign(draft)?;
        let checkpoint = Arc::clone(&batch.checkpoint);
        self.perform(plan::COMMIT, batch, || answer(&checkpoint))
    }

    /// Begins the log with the signed checkpoint of the empty tree, which no entry seals.
    pub fn begin_empty(&mut self) -> Result<(), Fatal> {
        let draft = self.draft();
        let batch = self.sign(draft)?;
        self.perform(plan::COMMIT, batch, || ())
    }

    fn draft(&mut self) -> Draft {
        let time = (self.clock)().min(limits::CLOCK).max(self.time.saturating_add(1));
        Draft::new(self.edge.size().0, time)
    }

    fn admit(&mut self, draft: &mut Draft, (leaf, entry): &Hashed<A>) -> Result<Verdict<A::Refusal>, Fatal> {
        if let Some(index) = draft.indices.get(leaf) {
            return Ok(Verdict::Duplicate(*index));
        }
        if let Some(index) = self.find(leaf)? {
            return Ok(Verdict::Duplicate(index));
        }
        let index = LeafIndex(self.edge.size().0);
        let roots = Roots::new(&self.edge, &draft.full, &self.shared);
        let admitted = self.app.admit(entry, Position { index, time: draft.time }, &roots);
        roots.finish()?;
        if let Err(refusal) = admitted {
            return Ok(Verdict::Refused(refusal));
        }
        draft.push(&mut self.edge, *leaf, entry.as_ref());
        draft.indices.insert(*leaf, index);
        Ok(Verdict::Added(index))
    }

    /// Ends a batch with the application's seal.
    fn seal(&mut self, draft: &mut Draft) -> Result<(), Fatal> {
        let at = Position { index: LeafIndex(self.edge.size().0), time: draft.time };
        if let Some(seal) = self.app.seal(at).map_err(Fatal::Seal)? {
            if seal.len() > limits::ENTRY_BYTES {
                return Err(Fatal::SealTooLong { length: seal.len() });
            }
            draft.push(&mut self.edge, leaf_hash(&seal), &seal);
        }
        Ok(())
    }

    fn sign(&mut self, draft: Draft) -> Result<Batch, Fatal> {
        let no_root = || Fatal::Sign("the tree has no root".into());
        let head = self.edge.head().ok_or_else(no_root)?;
        let checkpoint = Arc::new(self.keys.sign(head).map_err(Fatal::Sign)?);
        let Draft { frame, leaves, full, .. } = draft;
        let frame = frame.finish(&checkpoint.text);
        let (start, offset) = (self.journal.end(), self.journal.end());
        Ok(Batch { start, offset, frame, leaves, checkpoint, full, known: false, is_new: true })
    }

    /// Where the entry with this leaf hash stands. A damaged index is rebuilt first.
    fn find(&self, leaf: &Hash) -> Result<Option<LeafIndex>, Fatal> {
        match self.shared.lookup(leaf) {
            Err(ReadError::Index(_)) => {
                self.indexer.backlog().rebuild()?;
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
    leaves: Vec<Hash>,
    full: Vec<FullTile>,
    /// Of the entries admitted so far.
    indices: HashMap<Hash, LeafIndex>,
}

impl Draft {
    fn new(first: u64, time: u64) -> Self {
        let frame = FrameBuilder::new(first, time);
        Self { time, frame, leaves: Vec::new(), full: Vec::new(), indices: HashMap::new() }
    }

    fn push(&mut self, edge: &mut Edge, leaf: Hash, entry: &[u8]) {
        edge.push(leaf, &mut self.full);
        self.leaves.push(leaf);
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
    adds: Vec<Vec<Hashed<A>>>,
    /// One for each of `adds`.
    replies: Vec<Reply<A::Refusal>>,
    /// Bytes of entries that it takes from the queue.
    queued: usize,
    inspections: Vec<Inspection<A>>,
    stop: bool,
}

impl<A: Application> Default for Round<A> {
    fn default() -> Self {
        Self { adds: Vec::new(), replies: Vec::new(), queued: 0, inspections: Vec::new(), stop: false }
    }
}

impl<A: Application> Round<A> {
    /// Takes jobs until none waits or the next does not fit, which is returned.
    fn collect(&mut self, first: Job<A>, queue: &Receiver<Job<A>>) -> Option<Job<A>> {
        let mut entries = 0;
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
                    if entries > limits::BATCH_ENTRIES || self.queued + add.bytes > limits::BATCH_BYTES {
                        return Some(Job::Add(add));
                    }
                    self.queued += add.bytes;
                    self.adds.push(add.entries);
                    self.replies.push(add.reply);
                }
            }
            next = queue.try_recv().ok();
        }
        None
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
