//! Approval policy: what an action needs before it may be executed, and whether it has it (`spec/policy.md`); and the scope of a
//! delegation (`spec/delegation.md`), in the same terms.
//!
//! Pure. [`Policy::parse`] reads a document, [`Policy::assess`] says what it says of an action, and [`Assessment::evaluate`]
//! whether approvals are what it asks for. Who approved, in which groups they were and on which terms, the caller says.
//! Whatever the document does not say is not allowed.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod amount;
mod assess;
mod cost;
mod document;
mod explain;
mod glob;
pub mod limits;
mod matcher;
mod matching;
mod read;
mod request;
mod rule;
mod scope;

pub use amount::Decimal;
pub use assess::{Allowing, Approval, Assessment, Denial, Requiring, Shortfall, Terms};
pub use cost::Spent;
pub use document::{LANGUAGE, LANGUAGE_0, Policy};
pub use explain::{Explanation, Reason};
pub use glob::Glob;
pub use matcher::Answer;
pub use read::Unreadable;
pub use request::Request;
pub use rule::{
    Approver, Approvers, Conduct, Effect, Evidence, Quorum, Requirement, Rule, Step, Then, Timeout, Voice,
};
pub use scope::{Beyond, Scope};
