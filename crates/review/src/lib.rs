//! What an approver is shown: the exact action, its evidence and its risk, as plain text ([`proposal`]), and how text of strangers
//! stands on a terminal ([`mod@text`]) or in a page without script ([`html`]).
//!
//! The text of a proposal is what a decision's `shown` commits to. It is made once, here, and every surface shows it as it is;
//! a terminal and a page add colour alone.

pub mod diff;
pub mod html;
pub mod proposal;
pub mod text;

pub use counterfoil_receipt::time;
