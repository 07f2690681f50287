//! HTTP client of a counterfoil log (`spec/http.md`). Blocking, one thread a call.
//!
//! Nothing that a server answers is believed. [`Client`] gives what proves itself (a record by its id, a payload by its
//! commitment) and hints that decide nothing (lists, the keyring as the log sees it). [`PinnedClient`] adds a
//! [`Trust`](counterfoil_verify::Trust): nothing is sent to a server of another log, inclusion is checked under the pinned
//! log keys, bundles are verified while they arrive, and every checkpoint must be consistent with the last one that this
//! client saw. [`Session`] signs records on
//! a state that was verified so.

mod answer;
mod approval;
mod checkpoint;
mod client;
mod clock;
mod error;
mod http;
pub mod limits;
mod pinned;
mod seal;
mod seen;
mod session;
mod store;

pub use answer::{
    DelegationView, Delegations, KeyView, Logged, PolicyView, PrincipalView, Promise, RunSummary, RunView,
    Runs,
};
pub use approval::{
    ActionView, ApprovalDecision, ApprovalEvent, ApprovalEvents, ApprovalExecution, ApprovalQuery,
    ApprovalRequirement, ApprovalRule, ApprovalTimer, ApprovalView, Approvals,
};
pub use checkpoint::{Fork, PinnedCheckpoint};
pub use client::Client;
pub use clock::{Clock, SystemClock};
pub use error::{ClientError, Problem, SubmitError};
pub use pinned::{Included, PinnedClient, Rejected, RejectionSigner, Shown, Verified};
pub use seal::{Sealed, SealedSet, seal, seal_set};
pub use session::{Ballot, Session, View, Vote};
pub use store::{CheckpointStore, FileCheckpoints, MemoryCheckpoints};
