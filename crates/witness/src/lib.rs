//! A witness of transparency logs, C2SP [tlog-witness](https://c2sp.org/tlog-witness).
//!
//! A [`Witness`] watches logs: it cosigns a checkpoint if the tree in it begins with the one that it cosigned before. What it
//! cosigned is on disk before there is a signature over it (`origin.rs`). [`serve`] is its HTTP, [`Config`] its file.

mod config;
mod connections;
mod error;
mod http;
pub mod limits;
mod log_list;
mod origin;
mod server;

pub use config::{Config, ConfigError};
pub use error::{KeysError, Refusal, StartError, StateError};
pub use http::{Served, app, serve, serve_on, system_clock};
pub use server::{Clock, Cosigner, Seen, WatchedLog, Witness, origin_id};
