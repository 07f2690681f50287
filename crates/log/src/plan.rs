//! The order of durable steps, as data: what the writer does with a batch, and what start does with what a crash has left.
//!
//! The writer runs these very constants, and opening asks this very function. So does the model in `tests/model`, which
//! tries every order of two processes, with a crash at every step, and finds no fork and no lost acknowledgement; with the
//! order changed it finds one. Nothing here does anything: no files, no clock.

/// One step of a batch. A step that fails ends the process's work on the log; none is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The batch goes to the end of the journal, frame by frame, each in one write, and only if nothing stands there
    /// ([`Storage::append`](crate::Storage::append)); one that goes on with the batch only behind the one before it. Only the
    /// last frame is signed.
    Append,
    /// A batch that stands at the end of the journal is written again, every frame of it, unchanged: after a sync that failed,
    /// what is read may be in memory only, and a second sync may find nothing to do.
    Rewrite,
    /// What was written to the journal becomes durable. From here on the batch is what this log will sign next, and
    /// nothing else: start takes it up.
    Sync,
    /// The lock store's checkpoint is replaced by compare-and-swap, durably. From here on the batch is in the log: a
    /// journal without it is refused.
    Swap,
    /// What can be derived from the journal is written: scratch files, full tiles, entry bundles. It is not synced.
    Derive,
    /// Readers see the checkpoint, and every tile that it needs.
    Publish,
    /// The batch is handed to the index, which finds its leaf hashes from here on; its rows follow.
    Index,
    /// Submitters get index and checkpoint.
    Answer,
}

use Step::{Answer, Append, Derive, Index, Publish, Rewrite, Swap, Sync};

/// What is done with a new batch.
pub const COMMIT: &[Step] = &[Append, Sync, Swap, Derive, Publish, Index, Answer];

/// What start does with a batch that is in the journal and not in the lock store. Nobody waits for an answer any more.
pub const ADOPT: &[Step] = &[Rewrite, Sync, Swap, Derive, Publish, Index];

/// What start does with every batch before: it is in journal and lock store.
pub const REPLAY: &[Step] = &[Derive, Publish, Index];

/// What recovery does with batches that a published copy has and the journal lacks. The lock store goes first: until all of them
/// are in the journal, it is ahead, and start refuses. Nobody goes on behind a part of what was published.
pub const RECOVER: &[Step] = &[Swap, Append, Sync];

/// How journal and lock store relate when a log is opened. All that was read of the journal is consistent and signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    /// The number of batches after the one whose checkpoint is in the lock store: all of them if the lock store was never
    /// written, `None` if no batch has that checkpoint.
    pub unlocked: Option<u64>,
    /// Whether the lock store's tree is larger than the journal's.
    pub is_behind: bool,
    /// What follows the last whole batch.
    pub tail: Tail,
}

/// What follows the last whole batch of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tail {
    /// Nothing.
    Nothing,
    /// No batch: frames whose batch does not end, or bytes that are no frame and no more than one interrupted write leaves, or
    /// both.
    Torn,
    /// More bytes than that.
    Long,
}

/// What start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// The last batch is the locked one: go on behind it.
    Clean,
    /// Cut off the tail first, all of it: it was never signed or never locked, so nothing in it was acknowledged. Only what was
    /// judged may be cut ([`Storage::cut`](crate::Storage::cut)).
    Cut,
    /// The last batch is [adopted](ADOPT) as it was signed: somebody may have seen that signature, and another one over
    /// another batch would be a fork.
    Adopt,
    /// Nothing is written: no crash leaves this.
    Refuse(Why),
}

/// Why a log is not opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// More that is no frame follows the last one than one interrupted write leaves.
    LongTail,
    /// What can't be read follows a batch that is not the locked one: an acknowledged batch may be in it.
    Damaged,
    /// The lock store's tree is larger than the journal's, which was restored from a backup or lost its end.
    Behind,
    /// The lock store's checkpoint is none of the journal's: two histories.
    Forked,
    /// The journal is ahead by more than one batch: the lock store was restored or replaced.
    LockBehind,
}

/// What start does with what it found.
#[must_use]
pub const fn start(found: Relation) -> Start {
    match (found.unlocked, found.tail) {
        (Some(0), Tail::Nothing) => Start::Clean,
        (Some(0), Tail::Torn) => Start::Cut,
        (Some(0), Tail::Long) => Start::Refuse(Why::LongTail),
        (_, Tail::Torn | Tail::Long) => Start::Refuse(Why::Damaged),
        // A crash between Sync and Swap.
        (Some(1), Tail::Nothing) => Start::Adopt,
        (Some(_), Tail::Nothing) => Start::Refuse(Why::LockBehind),
        (None, Tail::Nothing) if found.is_behind => Start::Refuse(Why::Behind),
        (None, Tail::Nothing) => Start::Refuse(Why::Forked),
    }
}
