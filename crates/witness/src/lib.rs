//! Both sides of C2SP [tlog-witness](https://c2sp.org/tlog-witness).
//!
//! A [`Witness`] watches logs: it cosigns a checkpoint if the tree in it begins with the one that it cosigned before. What it
//! cosigned is on disk before there is a signature over it (`origin.rs`). [`serve`] is its HTTP, [`Config`] its file.
//!
//! A [`Feeder`] is the log's side: it has each new checkpoint cosigned by the witnesses of a policy, and keeps those that
//! reached the quorum, for good, in a [`Kept`] store beside the log's journal. What it collects never enters the log itself.

mod config;
mod error;
mod exchange;
mod feeder;
mod http;
mod kept;
mod last;
pub mod limits;
mod log_list;
mod origin;
mod round;
mod server;

pub use config::{Config, ConfigError};
pub use error::{KeysError, Refusal, StartError, StateError};
pub use exchange::{Alarm, AlarmKind, BoxError, Proofs, PushError};
pub use feeder::{Feeder, FeederConfig, FeederError, Health, NotWitnessed, Want, WitnessHealth};
pub use http::{Served, app, serve, serve_on, system_clock};
pub use kept::{Kept, KeptCheckpoint, KeptError};
pub use last::{Said, ask_last};
pub use round::Cosigned;
pub use server::{Clock, Cosigner, Seen, WatchedLog, Witness, origin_id};
