//! `counterfoil witness`: cosign the checkpoints of other people's logs.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use counterfoil_keys::NoteKey;
use counterfoil_tlog::{Algorithm, Signer as _, VerifierKey};
use counterfoil_witness::{Config, ConfigError, StartError, Witness as Server};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output::{self, unwritable},
    serve, signing,
    text::printable,
};

/// Watch logs: cosign a checkpoint if its tree begins with the one cosigned before.
///
/// Two organisations that watch each other's logs need one of these each, and the other's keys in their witness policy.
#[derive(Args, Debug)]
pub struct Witness {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Init(Init),
    Run(Run),
}

/// Make a witness: new keys, an empty state, a configuration.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil witness init watch --name witness.example.org --log log.example.net+…+…
  counterfoil witness run --config watch/witness.toml")]
struct Init {
    /// The directory to make
    directory: PathBuf,
    /// The name under which it cosigns, best a name in the DNS that is yours
    #[arg(long)]
    name: String,
    /// Where it will listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7470")]
    listen: SocketAddr,
    /// The key of a log to watch; more can be added to the configuration
    #[arg(long = "log", value_name = "VKEY")]
    logs: Vec<VerifierKey>,
}

/// Cosign until the process is told to stop.
#[derive(Args, Debug)]
struct Run {
    /// The configuration [default: DIR/witness.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start without a state directory: only for keys that never cosigned anything
    #[arg(long)]
    new: bool,
    /// Stop when standard input ends: for a program that starts this one and must not leave it behind, even if it is killed
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

/// The kinds of key that a new witness has, and their files.
const KEYS: [(&str, Algorithm); 2] =
    [("ed25519.key", Algorithm::CosignatureEd25519), ("ml-dsa-44.key", Algorithm::CosignatureMlDsa44)];

impl Witness {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Init(command) => command.run(context),
            Command::Run(command) => command.run(context),
        }
    }
}

impl Init {
    fn run(&self, context: &Context) -> Outcome {
        let directory = &self.directory;
        if fs::symlink_metadata(directory).is_ok() {
            let message = format!("{} exists already", shown(directory));
            let hint = "choose another directory: nothing is ever overwritten";
            return Err(Failure::new("init-exists", message, hint));
        }
        let keys = KEYS.map(|(file, algorithm)| (file, NoteKey::generate(&self.name, algorithm)));
        let mut made = Vec::new();
        for (file, key) in keys {
            made.push((file, key.map_err(|error| signing::key_failure(&error))?));
        }
        let done = self.write(&made);
        if done.is_err() {
            // What is left of a failure is ours alone to remove.
            let _ = fs::remove_dir_all(directory);
        }
        done?;
        let vkeys: Vec<String> = made.iter().map(|(_, key)| key.key().to_string()).collect();
        if context.json {
            output::print_json(&json!({"directory": directory.display().to_string(), "vkeys": vkeys}))?;
            return Ok(0);
        }
        let place = shown(directory);
        output::print(&format!(
            "{} {}\n\n  {place}/keys/         its keys; whoever has them can cosign in its name\n  \
             {place}/state/        what it cosigned last; never restore it from a backup\n  \
             {place}/witness.toml  its configuration: the logs that it watches\n\n\
             for the policy of those logs, with the address that they reach it at:\n\n{}\n\
             next: counterfoil witness run --config {place}/witness.toml\n",
            context.style.good("new witness"),
            printable(&self.name),
            policy_lines(&self.name, &vkeys, self.listen),
        ))?;
        Ok(0)
    }

    fn write(&self, keys: &[(&str, NoteKey)]) -> Outcome<()> {
        make_private(&self.directory)?;
        make_private(&self.directory.join("keys"))?;
        for (file, key) in keys {
            let path = self.directory.join("keys").join(file);
            key.write(&path).map_err(|error| signing::key_failure(&error))?;
        }
        // Nobody has cosigned with these keys: the state is empty, and is known to be.
        make_private(&self.directory.join("state"))?;
        let path = self.directory.join("witness.toml");
        output::write(&path, self.config().as_bytes())?;
        Config::load(&path).map(drop).map_err(|error| config_failure(&error))
    }

    fn config(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let keys = KEYS.map(|(file, _)| quoted(&format!("keys/{file}")));
        let mut config = format!(
            "# `counterfoil witness run` reads this. Paths are relative to this file.\n\
             listen = {}\n\
             state_dir = \"state\"  # what was cosigned last: never restore it from a backup, make new keys instead\n\
             keys = [{}]\n\n\
             # Each log that it watches; or logs_file = \"…\", a list in the format logs/v0.\n\
             # [[logs]]\n\
             # vkeys = [\"log.example+…+…\"]\n\
             # origin = \"log.example\"  # if it is not the name of the first key\n",
            quoted(&self.listen.to_string()),
            keys.join(", "),
        );
        for log in &self.logs {
            config.push_str(&format!("\n[[logs]]\nvkeys = [{}]\n", quoted(&log.to_string())));
        }
        config
    }
}

impl Run {
    fn run(&self, context: &Context) -> Outcome {
        if self.until_stdin_ends {
            std::thread::spawn(serve::stop_when_stdin_ends);
        }
        let path = self.config.clone().unwrap_or_else(|| context.file("witness.toml"));
        let config = Config::load(&path).map_err(|error| config_failure(&error))?;
        let (json, prefix) = (context.json, config.prefix.clone());
        let ready = move |address: SocketAddr, witness: &Server| {
            let url = format!("http://{address}{prefix}");
            let vkeys: Vec<String> = witness.keys().map(ToString::to_string).collect();
            let line = if json {
                format!("{}\n", json!({"listening": url, "vkeys": vkeys}))
            } else {
                format!("listening on {url}\n")
            };
            // A server whose starter went away serves all the same.
            let _ = output::print(&line);
        };
        serve::runtime()?
            .block_on(counterfoil_witness::serve(config, self.new, ready))
            .map_err(|error| start_failure(&error))?;
        Ok(0)
    }
}

/// What a log's policy says of this witness.
fn policy_lines(name: &str, vkeys: &[String], listen: SocketAddr) -> String {
    let line = |(at, vkey): (usize, &String)| {
        format!("  witness {}-{} {vkey} http://{listen}\n", printable(name), at + 1)
    };
    vkeys.iter().enumerate().map(line).collect()
}

fn config_failure(error: &ConfigError) -> Failure {
    let (code, hint) = match error {
        ConfigError::File { .. } => {
            ("config-unreadable", "check the path; `counterfoil witness init` makes a configuration")
        }
        _ => ("config-invalid", "compare it with a configuration that `counterfoil witness init` made"),
    };
    Failure::new(code, printable(&error.to_string()), hint)
}

fn start_failure(error: &StartError) -> Failure {
    let (code, hint) = match error {
        StartError::Key(error) => return signing::key_failure(error),
        StartError::NoState { .. } => {
            ("witness-state-missing", "find the state before you give the witness up")
        }
        StartError::NotNew { .. } => ("witness-state-exists", "--new is for the very first start"),
        StartError::State { .. } => {
            ("witness-state-unusable", "delete nothing: without its state a witness could cosign a fork")
        }
        StartError::Keys(_) => ("witness-keys", "correct keys and logs in the configuration"),
        StartError::Listen { .. } => ("listen-failed", "choose another address in the configuration"),
        StartError::File { .. } => ("witness-files", "check the directory, its owner and the disk"),
        _ => ("serve-failed", "start it again"),
    };
    Failure::new(code, printable(&error.to_string()), hint)
}

fn make_private(directory: &Path) -> Outcome<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| unwritable(directory, &error))
}
