//! What the log holds: the seam between sequencing, which is the same for every log, and the meaning of its entries.

use std::convert::Infallible;

use counterfoil_tlog::{Hash, LeafIndex, TreeSize};

use crate::error::BoxError;

/// What the log holds. All calls but [`project`](Self::project) come from the one writer thread, in log order.
///
/// The application is a fold over the entries: [`admit`](Self::admit) and [`seal`](Self::seal) extend it while the log
/// grows, [`replay`](Self::replay) does the same for entries that are already in the log. If the log stops with an error
/// after a call, the application is thrown away, so it never has to undo anything.
pub trait Application: Send + 'static {
    /// A submission: bytes that whatever can be checked without the log's state was checked on already, outside the
    /// writer thread.
    type Entry: AsRef<[u8]> + Send + 'static;

    /// The answer to a submission that is turned away. The log only passes it on.
    type Refusal: Send + 'static;

    /// Changes when [`project`](Self::project) gives other rows than before; the old rows are then thrown away.
    const PROJECTION: u32 = 0;

    /// Where in its batch an entry wants to stand. By default, in the order of submission.
    fn place(&self, _entry: &Self::Entry) -> Place {
        Place::default()
    }

    /// Admits the entry at this position and folds it into the state; or refuses it and leaves the state unchanged.
    ///
    /// The log has checked that its size is within [`limits::ENTRY_BYTES`](crate::limits::ENTRY_BYTES) and that no entry has the same leaf
    /// hash. `roots` knows the tree of all entries before this one.
    ///
    /// # Errors
    /// The refusal, which the submitter gets.
    fn admit(&mut self, entry: &Self::Entry, at: Position, roots: &dyn RootAt) -> Result<(), Self::Refusal>;

    /// Makes the leaf that ends the batch, and with it the signed checkpoint, and folds it into the state. `None` if the
    /// log has no such leaves. Called only if the batch has admitted entries.
    ///
    /// # Errors
    /// If it can't be made. That ends the log: the batch was folded, but can't be signed.
    fn seal(&mut self, at: Position) -> Result<Option<Vec<u8>>, BoxError>;

    /// Folds an entry that is already in the log: one that was admitted, or a seal.
    ///
    /// # Errors
    /// If the bytes can't have been admitted. The log then refuses to open.
    fn replay(&mut self, entry: &[u8], at: Position, roots: &dyn RootAt) -> Result<(), BoxError>;

    /// The rows under which readers find this entry. They depend on nothing but the arguments, because they are made on
    /// another thread, after the entry is published, and again whenever the index is lost.
    fn project(_entry: &[u8], _index: LeafIndex) -> Vec<Row> {
        Vec::new()
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The index of the entry.
    pub index: LeafIndex,
    /// The log time of its batch, in milliseconds since 1970; strictly larger than that of every earlier batch.
    pub time: u64,
}

/// Where in its batch an entry wants to stand: after every entry that it names, then by priority, then as submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Lower stands first.
    pub priority: u8,
    /// Leaf hashes of the entries that this one names. Those that are in the same batch go before it, whatever their
    /// own priority.
    pub after: Vec<Hash>,
}

/// One row of an index that can be rebuilt. No two rows, of one entry or of several, have the same tree and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which index.
    pub tree: &'static str,
    /// The key; rows are listed in the order of their keys' bytes.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The tree of the entries before the one in question, at every size that it has had.
pub trait RootAt {
    /// The root over the first `size` entries, or `None` if there are fewer.
    fn root_at(&self, size: TreeSize) -> Option<Hash>;
}

/// The application of a log whose entries mean nothing to it: it admits every byte string once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Application for Raw {
    type Entry = Vec<u8>;
    type Refusal = Infallible;

    fn admit(&mut self, _: &Vec<u8>, _: Position, _: &dyn RootAt) -> Result<(), Infallible> {
        Ok(())
    }

    fn seal(&mut self, _: Position) -> Result<Option<Vec<u8>>, BoxError> {
        Ok(None)
    }

    fn replay(&mut self, _: &[u8], _: Position, _: &dyn RootAt) -> Result<(), BoxError> {
        Ok(())
    }
}
