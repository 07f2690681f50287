//! The storage and sequencing engine of a C2SP [tlog-tiles](https://c2sp.org/tlog-tiles) log, on one machine's files.
//!
//! One thread writes ([`Log`]); any number of [`Handle`]s submit entries to it and any number of [`Reader`]s read. What
//! may enter is decided by an [`Application`], which also writes the leaf that ends each signed checkpoint. The order of
//! durable steps, which is the order of recovery too, stands at the top of `sequencer.rs` and, as data, in [`plan`].
//!
//! A second thread fills the index behind the writer. An entry is found by its leaf hash from the moment at which it is
//! answered; its rows follow, and [`Reader::indexed`] says how far they are. Whoever promises more, as a server does whose
//! answer means that a record is in the list of its run, waits for that ([`Reader::wait_indexed`], [`Config::on_commit`])
//! before it answers; the writer never does, so a log without rows does not pay for it.
//!
//! Files, under the directory of the log:
//!
//! | path | what | if it is lost |
//! |---|---|---|
//! | `journal` | every batch: entries and signed checkpoint | the log is lost |
//! | `tile/` | full tiles and entry bundles, immutable, as C2SP lays them out | derived again at start |
//! | `scratch/` | where each entry and checkpoint stands in the journal | written anew at every start |
//! | `index/` | sled: leaf hash to index, the application's rows | derived again at start |
//! | `journal.cut*`, `index.damaged*` | what was moved out of the way: the tail of an interrupted write, a damaged index | nothing |
//!
//! and, in a directory of its own, best on another disk and never part of a backup, the [`FileLock`]: the latest signed
//! checkpoint. A journal that is behind it was restored from a backup, and is refused: signing on would fork the log.
//!
//! Opening reads the journal twice: once to verify it, and, only if it may be signed on, once to replay it. Memory holds
//! the right edge of the tree, a bounded number of tiles, and whatever the application keeps.

mod application;
mod backlog;
mod backup;
mod config;
mod error;
mod handle;
mod index;
mod journal;
pub mod limits;
mod lock;
mod log;
mod order;
pub mod plan;
mod reader;
mod recovery;
mod scratch;
mod sequencer;
mod start;
mod storage;
mod tiles;
mod tree;

pub use application::{Application, Place, Position, Raw, RootAt, Row};
pub use backup::{Backup, BackupError, backup};
pub use config::{Ask, CheckpointKeys, Claim, CommitHook, Config, Observed};
pub use error::{BoxError, CreateError, Fatal, IndexError, OpenError, ReadError};
pub use handle::{AddError, Handle, Logged, Outcome};
pub use index::Pair;
pub use lock::{FileLock, LockError, LockStore};
pub use log::Log;
pub use reader::{LogCheckpoint, Reader};
pub use recovery::{RecoverError, Recovery, Repair};
pub use storage::{FileStorage, Storage, WriteError};
