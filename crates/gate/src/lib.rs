//! The gate: lets exactly what was approved pass, once, and records it before and after (`spec/rules.md`, R-EXEC).
//!
//! [`decide`] is pure: it asks verified evidence whether an action may be executed now, by the same rules that the log
//! admits executions by. Its answer is a token, [`Approved`], that nothing else makes. Once the execution is logged,
//! [`Approved::confirm`] asks evidence again: is the record in the log, does it hold its use, did nothing end the
//! proposal before it? Only then there is a [`Permit`], and only [`Permit::run`] lets the effect happen.
//!
//! [`Gate`] drives this against a [`Log`]: evidence, execution, evidence, effect, outcome. What it has begun it notes
//! on disk first, so that after a crash it records that the outcome is unknown, and never runs an effect again by itself.
//!
//! [`prove`] is for bindings, on the other side of a gate: what a bundle shows of one execution, as a token, [`Proven`].
//!
//! [`Desk`] puts an agent's key beside it: it asks for an action and has it done, in one call.

mod approved;
mod behind;
pub mod command;
mod decide;
mod desk;
mod driver;
mod earlier;
mod effect;
mod function;
mod known;
mod log;
mod notes;
mod open;
mod pin;
mod proven;
mod refusals;
mod settle;
mod shown;
mod stops;

pub use approved::{Approved, Permit};
pub use decide::{OUTCOME_UNKNOWN, Refusal, Request, Ruling, decide};
pub use desk::{Ask, AskError, Asked, Desk};
pub use driver::{Config, Ended, Gate, GateError, Ran};
pub use effect::{Attempt, Done, Effect, Idempotent, ResultPayload};
pub use function::Function;
pub use known::Begun;
pub use log::{Log, LogError, Submitted};
pub use open::runs_in;
pub use pin::PolicyPin;
pub use proven::{Claim, Proven, prove};
pub use settle::{Doubt, Settled};
pub use shown::NotShown;
pub use stops::{Stopping, heed_in, heeded_in, is_stop, stopping};
