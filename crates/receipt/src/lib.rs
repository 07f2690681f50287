//! Counterfoil records: canonical bytes, identities, actions and commitments.
//!
//! This crate parses and writes; it never judges. [`UnverifiedRecord::parse`] accepts exactly the canonical encoding
//! of a well-formed record (`spec/records.md`) and says what its bytes say. Whether the signature holds, and
//! whether the record may stand where it stands, is the business of `counterfoil-verify`.
//!
//! Pure: no I/O, clock, randomness, environment or logging.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

#[macro_use]
pub mod field;

pub mod action;
pub mod body;
pub mod bundle;
mod coherence;
pub mod commitment;
pub mod evidence;
pub mod hashes;
pub mod json;
pub mod key;
pub mod limits;
mod malformed;
mod record;
pub mod text;
pub mod time;

pub use action::Action;
pub use body::{Body, Type};
pub use commitment::{Opening, Salt};
pub use hashes::{ActionDigest, Commitment, MapRoot, PolicyDigest, RecordId, Root, RunId, Statement};
pub use key::{PublicKey, Role, Scheme, SignError, Signature, Signer, SigningKey};
pub use malformed::{Code, Malformed};
pub use record::{Author, Draft, DraftError, Place, UnverifiedRecord};
pub use text::Principal;
