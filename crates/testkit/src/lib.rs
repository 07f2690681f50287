//! Deterministic logs, runs and bundles for the tests of this workspace.
//!
//! A [`Ledger`] is a log in memory: it signs, admits, seals and proves. A [`Scenario`] is a ledger with a cast of
//! actors who play whole runs. Nothing here draws randomness or reads a clock: keys and salts come from hashes of
//! counters and names, and time is a counter, so two builds of one scenario are equal byte for byte.
//!
//! This is test code: it panics where a test would.

mod actor;
mod asked;
mod effort;
mod examples;
mod ledger;
mod scenario;
mod trust;
mod vectors;

pub use actor::{Actor, Cast, witness};
pub use asked::{Asked, Given};
pub use effort::Effort;
pub use examples::{example_run, examples};
pub use ledger::{Ledger, NoRoots, Refused};
pub use scenario::{
    ORIGIN, Scenario, WINDOW, action, delegation, enrolment, label, pointer, policy_document, text,
    trigger_body,
};
pub use trust::TrustFile;
pub use vectors::{own_vectors, third_party_vectors};
