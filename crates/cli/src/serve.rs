//! `counterfoil serve`: the log's server.

use std::path::{Path, PathBuf};

use clap::Args;
use counterfoil_server::{Config, ConfigError, Overrides, ServeError, StartError};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    output, signing,
    text::printable,
};

/// Serve the log until the process is told to stop.
///
/// Settings come from the file, then from COUNTERFOIL_… variables, then from these flags; the later wins.
#[derive(Args, Debug)]
pub struct Serve {
    /// The configuration [default: DIR/counterfoil.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// A file with the token that reading then needs; required where the address is not loopback
    #[arg(long, value_name = "FILE")]
    read_token_file: Option<String>,
    /// The directory of the log
    #[arg(long, value_name = "DIR")]
    log_dir: Option<String>,
    /// The directory of the lock store, outside the log's
    #[arg(long, value_name = "DIR")]
    lock_dir: Option<String>,
    /// The directory of payloads
    #[arg(long, value_name = "DIR")]
    payload_dir: Option<String>,
    /// The genesis record
    #[arg(long, value_name = "FILE")]
    genesis: Option<String>,
    /// The key file that signs checkpoints
    #[arg(long, value_name = "FILE")]
    note_key: Option<String>,
    /// The key file that signs snapshots
    #[arg(long, value_name = "FILE")]
    snapshot_key: Option<String>,
}

impl Serve {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let default = context.file("counterfoil.toml");
        let file = self.config.clone().or_else(|| default.exists().then_some(default));
        let config = load(file.as_deref(), self.overrides())?;
        let json = context.json;
        let ready = move |address: std::net::SocketAddr| {
            let url = format!("http://{address}");
            let line = if json {
                format!("{}\n", json!({"listening": url}))
            } else {
                format!("listening on {url}\n")
            };
            // A server whose starter went away serves all the same.
            let _ = output::print(&line);
        };
        runtime()?
            .block_on(counterfoil_server::serve(config, ready))
            .map_err(|error| serve_failure(&error))?;
        Ok(0)
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            read_token_file: self.read_token_file.clone(),
            log_dir: self.log_dir.clone(),
            lock_dir: self.lock_dir.clone(),
            payload_dir: self.payload_dir.clone(),
            genesis: self.genesis.clone(),
            note_key: self.note_key.clone(),
            snapshot_key: self.snapshot_key.clone(),
        }
    }
}

/// Loads a server's configuration from a file, the environment and flags.
pub fn load(file: Option<&Path>, flags: Overrides) -> Outcome<Config> {
    Config::load(file, |name| std::env::var(name).ok(), flags).map_err(|error| {
        let code = match &error {
            ConfigError::File { .. } => "config-unreadable",
            ConfigError::Malformed { .. } => "config-malformed",
            ConfigError::Missing { .. } => "config-missing",
            _ => "config-invalid",
        };
        let hint = "`counterfoil init` makes a working directory with a configuration";
        Failure::new(code, printable(&error.to_string()), hint)
    })
}

/// What runs a server.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::new(
            "no-threads",
            format!("the system gives no threads: {error}"),
            "check the limits of this user",
        )
    })
}

/// Why a server stopped.
fn serve_failure(error: &ServeError) -> Failure {
    let (code, hint) = match error {
        ServeError::Start(error) => return start_failure(error),
        ServeError::Log(_) => {
            ("log-failed", "check the disk, then start it again: it finds out what was written")
        }
        ServeError::Accept(_) | ServeError::Signals(_) => ("serve-failed", "start it again"),
        _ => ("serve-failed", "start it again"),
    };
    Failure::new(code, printable(&with_causes(error)), hint)
}

/// Why a server did not start, or a log was not created.
pub fn start_failure(error: &StartError) -> Failure {
    let (code, hint) = match error {
        StartError::Key(error) => return signing::key_failure(error),
        StartError::OtherKey { .. } => ("key-other", "name the key file that the genesis names"),
        StartError::GenesisFile { .. } | StartError::NoGenesis { .. } | StartError::GenesisRefused { .. } => {
            ("genesis-unusable", "`counterfoil init` makes one")
        }
        StartError::OtherGenesis { .. } => ("genesis-other", "check which of the two logs you meant"),
        StartError::Log { .. } => {
            ("log-unusable", "only one server uses a log at a time; check its directories")
        }
        StartError::Payloads(_) => ("payloads-unusable", "check the directory, its owner and the disk"),
        StartError::Unreadable(_) => ("log-unreadable", "check the disk"),
        StartError::Listen { .. } => ("listen-failed", "choose another address with --listen"),
        StartError::NoToken(_) => ("token-required", "set a read token, or listen on 127.0.0.1"),
        _ => ("start-failed", "check the configuration"),
    };
    Failure::new(code, printable(&with_causes(error)), hint)
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
