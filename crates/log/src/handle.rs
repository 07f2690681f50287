//! Submitting entries to the writer thread, and asking the application what it knows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::time::Duration;

use counterfoil_tlog::{Hash, LeafIndex, leaf_hash};

use crate::application::Application;
use crate::error::{Fatal, OpenError};
use crate::limits;
use crate::reader::{LogCheckpoint, Reader};

/// Submits entries to a log. Cheap to clone.
pub struct Handle<A: Application> {
    queue: SyncSender<Job<A>>,
    reader: Reader,
}

/// What became of one submitted entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<R> {
    /// It was added.
    Added(Logged),
    /// These bytes are an entry already.
    Duplicate(Logged),
    /// The application refused it.
    Refused(R),
}

/// An entry that is in the log for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Where it stands.
    pub index: LeafIndex,
    /// Its leaf hash.
    pub leaf: Hash,
    /// A checkpoint that covers it, durable and published.
    pub checkpoint: Arc<LogCheckpoint>,
}

/// Why a submission was not answered.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// The queue is full. Nothing was taken.
    #[error("the log is busy; try again in {retry_after:?}")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// More entries than fit into a batch. Nothing was taken.
    #[error("{entries} entries at once are over the limit of {}", limits::BATCH_ENTRIES)]
    TooMany {
        /// How many.
        entries: usize,
    },
    /// More bytes than fit into a batch. Nothing was taken.
    #[error("entries of {bytes} bytes at once are over the limit of {}", limits::BATCH_BYTES)]
    TooLarge {
        /// How many, with two for the length of each entry.
        bytes: usize,
    },
    /// One entry is too long. Nothing was taken.
    #[error("entry {position} of the submission has {length} bytes; the limit is {}", limits::ENTRY_BYTES)]
    EntryTooLong {
        /// Which of those submitted.
        position: usize,
        /// Its length.
        length: usize,
    },
    /// The log may only be read: going on with it might fork it. Nothing was taken.
    #[error("the log is read-only")]
    ReadOnly(#[source] Arc<OpenError>),
    /// The log stopped. Whether the entries are in it, the next process that opens it will know.
    #[error("the log stopped")]
    Failed(#[source] Arc<Fatal>),
    /// The log was closed before it came to this, or the function it was given panicked.
    #[error("the log is closed")]
    Closed,
}

impl AddError {
    /// A stable name for this kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "add-busy",
            Self::TooMany { .. } => "add-too-many",
            Self::TooLarge { .. } => "add-too-large",
            Self::EntryTooLong { .. } => "add-entry-too-long",
            Self::ReadOnly(_) => "add-read-only",
            Self::Failed(fatal) => fatal.code(),
            Self::Closed => "add-closed",
        }
    }
}

/// What a whole submission is answered with: one outcome for each entry, in their order.
pub(crate) type Answer<R> = Result<Vec<Outcome<R>>, AddError>;

impl<A: Application> Handle<A> {
    pub(crate) fn new(queue: SyncSender<Job<A>>, reader: Reader) -> Self {
        Self { queue, reader }
    }

    /// Submits entries, which will be in one batch, and waits until those that are admitted are durable, and their
    /// checkpoint locked and published.
    ///
    /// # Errors
    /// [`AddError`] if there is no answer. An entry that is refused is an answer.
    pub fn add(&self, entries: Vec<A::Entry>) -> Result<Vec<Outcome<A::Refusal>>, AddError> {
        let (reply, answer) = mpsc::sync_channel(1);
        // Whoever waits for the answer is this thread.
        self.submit(entries, move |answer| drop(reply.send(answer)));
        answer.recv().unwrap_or(Err(AddError::Closed)).map_err(|error| self.explain(error))
    }

    /// Ends the batch under way with the application's seal, or makes one of nothing else, and waits until it is durable and
    /// published: so that log time goes on while nobody submits anything. An application that seals nothing has no such batch.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn seal(&self) -> Result<(), AddError> {
        self.check(&[])?;
        let (reply, answer) = mpsc::sync_channel(1);
        let reply = Reply(Some(Box::new(move |answer| drop(reply.send(answer)))));
        self.send(Job::Add(Add { entries: Vec::new(), bytes: 0, reply })).map_err(|(_, error)| error)?;
        let answer = answer.recv().unwrap_or(Err(AddError::Closed));
        answer.map(|_| ()).map_err(|error| self.explain(error))
    }

    /// Submits entries without waiting. `reply` is called exactly once: with the answer, on the writer thread, where it
    /// must not block; or here and now, if nothing was taken.
    pub fn submit(&self, entries: Vec<A::Entry>, reply: impl FnOnce(Answer<A::Refusal>) + Send + 'static) {
        let reply = Reply(Some(Box::new(reply)));
        let bytes = match self.check(&entries) {
            Ok(0) => return reply.send(Ok(Vec::new())),
            Ok(bytes) => bytes,
            Err(error) => return reply.send(Err(error)),
        };
        let queued = &self.reader.shared.queued;
        let reserve = |queued: usize| Some(queued + bytes).filter(|queued| *queued <= limits::QUEUE_BYTES);
        if queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_err() {
            return reply.send(Err(BUSY));
        }
        // Hashed once, and not by the writer.
        let entries = entries.into_iter().map(|entry| (leaf_hash(entry.as_ref()), entry)).collect();
        if let Err((Job::Add(Add { reply, .. }), error)) = self.send(Job::Add(Add { entries, bytes, reply }))
        {
            queued.fetch_sub(bytes, Ordering::Relaxed);
            reply.send(Err(error));
        }
    }

    /// Asks the application, between two batches, so that its state is that of the checkpoint. `f` runs on the writer
    /// thread and keeps it from writing: it should only copy what it needs.
    ///
    /// # Errors
    /// [`AddError::Busy`], [`AddError::Failed`] or [`AddError::Closed`].
    pub fn with_app<R: Send + 'static>(
        &self,
        f: impl FnOnce(&A, &Arc<LogCheckpoint>) -> R + Send + 'static,
    ) -> Result<R, AddError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.inspect(move |app, checkpoint| drop(reply.send(f(app, checkpoint))))?;
        answer.recv().map_err(|_| self.explain(AddError::Closed))
    }

    /// As [`Handle::with_app`], without waiting. `f` is dropped without a call if the log stops first.
    ///
    /// # Errors
    /// [`AddError::Busy`], [`AddError::Failed`] or [`AddError::Closed`].
    pub fn inspect(&self, f: impl FnOnce(&A, &Arc<LogCheckpoint>) + Send + 'static) -> Result<(), AddError> {
        self.failure().map_or(Ok(()), |failure| Err(AddError::Failed(failure)))?;
        self.send(Job::Inspect(Box::new(f))).map_err(|(_, error)| error)
    }

    /// Reads the log.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Why the log stopped, if it did. The process should then end.
    pub fn failure(&self) -> Option<Arc<Fatal>> {
        self.reader.failure()
    }

    /// The bytes that the entries take in a batch.
    fn check(&self, entries: &[A::Entry]) -> Result<usize, AddError> {
        if let Some(failure) = self.failure() {
            return Err(AddError::Failed(failure));
        }
        if let Some(why) = self.reader.read_only() {
            return Err(AddError::ReadOnly(why));
        }
        if entries.len() > limits::BATCH_ENTRIES {
            return Err(AddError::TooMany { entries: entries.len() });
        }
        let mut bytes = 0;
        for (position, entry) in entries.iter().enumerate() {
            let length = entry.as_ref().len();
            if length > limits::ENTRY_BYTES {
                return Err(AddError::EntryTooLong { position, length });
            }
            bytes += 2 + length;
        }
        if bytes > limits::BATCH_BYTES { Err(AddError::TooLarge { bytes }) } else { Ok(bytes) }
    }

    fn send(&self, job: Job<A>) -> Result<(), (Job<A>, AddError)> {
        self.queue.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) => (job, BUSY),
            TrySendError::Disconnected(job) => (job, self.explain(AddError::Closed)),
        })
    }

    /// A log that is closed because it failed says so.
    fn explain(&self, error: AddError) -> AddError {
        match (error, self.failure()) {
            (AddError::Closed, Some(failure)) => AddError::Failed(failure),
            (error, _) => error,
        }
    }
}

impl<A: Application> Clone for Handle<A> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), reader: self.reader.clone() }
    }
}

const BUSY: AddError = AddError::Busy { retry_after: limits::RETRY_AFTER };

/// What the writer thread is asked to do.
pub(crate) enum Job<A: Application> {
    Add(Add<A>),
    Inspect(Inspection<A>),
    /// Everything before it is done, nothing after it.
    Stop,
}

pub(crate) type Inspection<A> = Box<dyn FnOnce(&A, &Arc<LogCheckpoint>) + Send>;

/// An entry with its leaf hash.
pub(crate) type Hashed<A> = (Hash, <A as Application>::Entry);

/// A submission.
pub(crate) struct Add<A: Application> {
    /// None: the batch is to be sealed, whatever else is in it.
    pub entries: Vec<Hashed<A>>,
    /// What they take in a batch, and took in the queue.
    pub bytes: usize,
    pub reply: Reply<A::Refusal>,
}

/// The way back to the submitter, which is always taken.
pub(crate) struct Reply<R>(Option<Box<dyn FnOnce(Answer<R>) + Send>>);

impl<R> Reply<R> {
    pub fn send(mut self, answer: Answer<R>) {
        self.call(answer);
    }

    fn call(&mut self, answer: Answer<R>) {
        if let Some(reply) = self.0.take() {
            // A submitter that panics over its answer has it; the log goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| reply(answer)));
        }
    }
}

impl<R> Drop for Reply<R> {
    fn drop(&mut self) {
        self.call(Err(AddError::Closed));
    }
}
