//! The counterfoil server: a log of records, its runs and their bundles, or a log of any bytes, over HTTP (`spec/http.md`).
//!
//! ```no_run
//! use counterfoil_server::{Config, Overrides, create_log, serve, serve_mirror};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let environment = |name: &str| std::env::var(name).ok();
//! let config = Config::load(Some("counterfoil.toml".as_ref()), environment, Overrides::default())?;
//! create_log(&config)?; // once
//! serve(config, |server| println!("listening on {}", server.local_addr())).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A record passes through these files: `app.rs` (routes), `submit.rs` (form and signature, payloads), the log's one
//! writer with `records.rs` (the rules of its place), and is found again through `rows.rs`.

mod access;
mod app;
mod approvals;
mod ballot;
mod bundle;
mod config;
mod config_file;
mod door;
mod error;
mod handlers;
pub mod limits;
mod links;
mod mirror;
mod notices;
mod notifier;
mod observed;
mod openapi;
mod page;
mod payloads;
mod problem;
mod promise;
mod quota;
mod raw;
mod receipt;
mod records;
mod routes;
mod rows;
mod schemas;
mod server;
mod snapshot_key;
mod submit;
mod timekeeper;
mod tokens;
mod view;
mod watch;
mod witnesses;

pub use access::{Access, Token};
pub use config::{
    Approvals, Config, ConfigError, Fail, MirrorConfig, Mode, Overrides, RecordFiles, Source, Witnessing,
};
pub use error::{ServeError, StartError};
pub use notices::{ChannelConfig, Notices, Protection};
pub use observed::{Unasked, observe};
pub use routes::Route;
pub use server::{Server, checkpoint_keys, create_log, serve, serve_mirror};
pub use tokens::{Scope, ScopedToken, TokenFile, TokenFileError};
