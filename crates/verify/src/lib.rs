//! Verification: was the action executed the action approved, and can anyone show it?
//!
//! [`verify`] reads a bundle under a [`Trust`] that the caller brings and gives a [`Verdict`] with one answer per
//! dimension. It is a pure function of bundle, trust and time: no I/O, clock, randomness, environment or logging.
//!
//! The same predicates serve admission to a log, which folds every entry into a [`State`], and the gate, which asks
//! that state whether an execution may start. Every rule of `spec/rules.md` has one predicate; its doc comment starts with the
//! rule's id.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod approval;
mod assemble;
mod bundle;
mod check;
mod checkpoint;
mod conduct;
mod delegation;
mod evidence;
mod execution;
mod fault;
mod keys;
mod latest;
pub mod limits;
mod link;
mod next;
mod place;
mod proposals;
mod receipt;
mod record;
mod review;
mod rule;
mod run;
mod run_state;
mod snapshot;
mod state;
mod summary;
mod timer;
mod trust;
mod usage;
mod verdict;
mod whole;

pub use approval::{Approval, Asked, Asking};
pub use assemble::{Assembly, IndexKey, Lookup, index_keys, select, timed_by_rule};
pub use bundle::{MAX_THREADS, Verifier, verify};
pub use checkpoint::ShownCheckpoint;
pub use delegation::DelegationState;
pub use evidence::{Accused, Conviction, NotConvicted, convictions};
pub use execution::Quorum;
pub use fault::{Fault, Finding, Shown};
pub use keys::KeyFacts;
pub use next::Next;
pub use proposals::Proposed;
pub use receipt::{Decided, Receipt, Receipted};
pub use record::{KeyCache, Record, Remembered, check_signature};
pub use review::{Review, Reviewed};
pub use rule::{Dimension, Rule};
pub use run::{DecisionState, End, ExecutionState, Fired, Ground, ProposalState, ProposalStatus, Run};
pub use run_state::{Budget, LinkLeft, NEEDED, NoState, RunState, UsesLeft};
pub use state::{Effect, Roots, Scope, State};
pub use summary::{Line, Section, Summary};
pub use timer::{Says, Timer};
pub use trust::{Trust, TrustError};
pub use verdict::{Answer, Conclusion, Verdict};
pub use whole::{CheckedEntry, WholeLog, open_checkpoint, witness_quorum};
