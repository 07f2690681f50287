//! `counterfoil serve`: the log's server.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use clap::Args;
use counterfoil_log::{LockError, OpenError};
use counterfoil_server::{Config, ConfigError, MirrorConfig, Overrides, ServeError, StartError};
use counterfoil_witness::FeederError;
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    output, signing,
    text::printable,
};

/// Serve the log, or a mirror of one, until the process is told to stop.
///
/// Settings come from the file, then from COUNTERFOIL_… variables, then from these flags; the later wins.
///
/// With --from, what `counterfoil log export` wrote into a directory is served as C2SP tlog-tiles, and followed while it grows.
/// No configuration, key or lock is needed for that. A mirror checks no signature: clients verify what they read, and
/// `counterfoil log audit` all of it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil serve
  counterfoil serve --from /srv/log --listen 0.0.0.0:80 --reads public")]
pub struct Serve {
    /// Serve a mirror of this directory, which `counterfoil log export` makes, instead of a log
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "writes", "write_token_file", "quota", "mode", "log_dir", "lock_dir", "payload_dir", "genesis", "note_key", "snapshot_key", "policy_key", "approvals_url", "link_time", "open_proposals", "witness_policy", "witness_fail"])]
    from: Option<PathBuf>,
    /// The configuration [default: DIR/counterfoil.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Who may read: public, token or local [default: token if there is one, else local]
    #[arg(long, value_name = "WHO")]
    reads: Option<String>,
    /// A file with the token that reading then needs; required where the address is not loopback, unless reads are public
    #[arg(long, value_name = "FILE")]
    read_token_file: Option<String>,
    /// Who may add to a raw log: public, token or local [default: token if there is one, local if reads are]
    #[arg(long, value_name = "WHO")]
    writes: Option<String>,
    /// A file with the token that adding to a raw log then needs
    #[arg(long, value_name = "FILE")]
    write_token_file: Option<String>,
    /// Entries that each principal may add in a minute, or each peer of a raw log [default: as many as the log takes]
    #[arg(long, value_name = "N")]
    quota: Option<String>,
    /// Requests that each peer, or each token of --tokens, may make in a minute [default: any number]
    #[arg(long, value_name = "N")]
    rate: Option<String>,
    /// A file of tokens for programs, each for a part of what there is to read; `counterfoil tokens` makes them
    #[arg(long, value_name = "FILE")]
    tokens: Option<String>,
    /// What the log holds: records, or raw for any bytes [default: records]
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
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
    /// The key file that signs time-outs, escalations and decisions by link, where a policy has them
    #[arg(long, value_name = "FILE")]
    policy_key: Option<String>,
    /// Where people reach this server to look at proposals and to decide by link; needs --policy-key
    #[arg(long, value_name = "URL")]
    approvals_url: Option<String>,
    /// How long somebody may decide by a link [default: 24h]
    #[arg(long, value_name = "DURATION")]
    link_time: Option<String>,
    /// Open proposals that each proposer may have [default: any number]
    #[arg(long, value_name = "N")]
    open_proposals: Option<String>,
    /// A C2SP tlog-policy: which witnesses cosign the log's checkpoints, and how many are enough
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<String>,
    /// What /checkpoint shows while they are too few: open, the latest; closed, the latest that had enough [default: open]
    #[arg(long, value_name = "HOW")]
    witness_fail: Option<String>,
    /// Stop when standard input ends: for a program that starts this one and must not leave it behind, even if it is killed
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

impl Serve {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        if self.until_stdin_ends {
            std::thread::spawn(stop_when_stdin_ends);
        }
        let json = context.json;
        let ready = move |server: &counterfoil_server::Server| say(server, json);
        let served = if let Some(directory) = self.from.clone() {
            let config = MirrorConfig::load(directory, |name| std::env::var(name).ok(), self.overrides())
                .map_err(|error| config_failure(&error))?;
            runtime()?.block_on(counterfoil_server::serve_mirror(config, ready))
        } else {
            let default = context.file("counterfoil.toml");
            let file = self.config.clone().or_else(|| default.exists().then_some(default));
            let config = load(file.as_deref(), self.overrides())?;
            runtime()?.block_on(counterfoil_server::serve(config, ready))
        };
        served.map_err(|error| serve_failure(&error))?;
        Ok(0)
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            reads: self.reads.clone(),
            read_token_file: self.read_token_file.clone(),
            writes: self.writes.clone(),
            write_token_file: self.write_token_file.clone(),
            quota: self.quota.clone(),
            rate: self.rate.clone(),
            tokens: self.tokens.clone(),
            mode: self.mode.clone(),
            log_dir: self.log_dir.clone(),
            lock_dir: self.lock_dir.clone(),
            payload_dir: self.payload_dir.clone(),
            genesis: self.genesis.clone(),
            note_key: self.note_key.clone(),
            snapshot_key: self.snapshot_key.clone(),
            policy_key: self.policy_key.clone(),
            approvals_url: self.approvals_url.clone(),
            link_time: self.link_time.clone(),
            open_proposals: self.open_proposals.clone(),
            witness_policy: self.witness_policy.clone(),
            witness_fail: self.witness_fail.clone(),
        }
    }
}

/// Where a server listens, and what its operator should know.
fn say(server: &counterfoil_server::Server, json: bool) {
    let url = format!("http://{}", server.local_addr());
    for warning in server.warnings() {
        output::note(&format!("warning: {}\n", printable(warning)));
    }
    if let Some(why) = server.read_only() {
        let (code, next) = (why.code(), "counterfoil log recover");
        let why = printable(&with_causes(why));
        output::note(&format!(
            "THE LOG IS READ-ONLY[{code}]: {why}\nWhat was locked for certain is served, and nothing can be submitted.\nhint: \
             run `{next}`, which says what to do and changes nothing by itself\n"
        ));
    }
    let line =
        if json { format!("{}\n", json!({"listening": url})) } else { format!("listening on {url}\n") };
    // A server whose starter went away serves all the same.
    let _ = output::print(&line);
}

/// Tells this process to stop, as its operator would, when standard input ends.
pub fn stop_when_stdin_ends() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    // A process can always signal itself.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
}

/// Loads a server's configuration from a file, the environment and flags.
pub fn load(file: Option<&Path>, flags: Overrides) -> Outcome<Config> {
    Config::load(file, |name| std::env::var(name).ok(), flags).map_err(|error| config_failure(&error))
}

fn config_failure(error: &ConfigError) -> Failure {
    let (code, hint) = match error {
        ConfigError::File { io, .. } if io.kind() == ErrorKind::NotFound => {
            ("config-unreadable", "check the path; `counterfoil init` makes a configuration")
        }
        ConfigError::File { .. } => ("config-unreadable", "check the path, its owner and its mode"),
        ConfigError::Malformed { .. } => {
            ("config-malformed", "compare it with a configuration that `counterfoil init` made")
        }
        ConfigError::Missing { .. } => {
            ("config-missing", "`counterfoil init` makes a working directory with a configuration")
        }
        _ => ("config-invalid", "correct the value that is named"),
    };
    Failure::new(code, printable(&error.to_string()), hint)
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
pub fn serve_failure(error: &ServeError) -> Failure {
    let (code, hint) = match error {
        ServeError::Start(error) => return start_failure(error),
        ServeError::Log(_) => {
            ("log-failed", "check the disk, then start it again: it finds out what was written")
        }
        ServeError::Accept(_) => {
            ("serve-failed", "check this user's limit of open files, then start it again")
        }
        _ => ("serve-failed", "start it again"),
    };
    Failure::new(code, printable(&with_causes(error)), disk_hint(error).unwrap_or(hint))
}

/// Why a server did not start, or a log was not created.
pub fn start_failure(error: &StartError) -> Failure {
    let (code, hint) = match error {
        StartError::Key(error) => return signing::key_failure(error),
        StartError::Listen { io, .. } => {
            return Failure::new("listen-failed", printable(&with_causes(error)), listen_hint(io));
        }
        StartError::OtherKey { .. } => ("key-other", "name the key file that the genesis names"),
        StartError::SnapshotKey { .. } => (
            "snapshot-key-ended",
            "start it with a key of role log that the authority enrolled while the one before was live",
        ),
        StartError::GenesisFile { .. } | StartError::NoGenesis { .. } | StartError::GenesisRefused { .. } => {
            ("genesis-unusable", "`counterfoil init` makes one")
        }
        StartError::OtherGenesis { .. } => ("genesis-other", "check which of the two logs you meant"),
        StartError::OtherMode { .. } => {
            ("log-other-mode", "check which of the two logs you meant; a log never changes its mode")
        }
        StartError::Log { source, .. } => log_hint(source),
        StartError::Mirror { .. } => (
            "mirror-unusable",
            "it mirrors what `counterfoil log export DIR` wrote: run that first, or `counterfoil log audit DIR`",
        ),
        StartError::Payloads(_) => ("payloads-unusable", "check the directory, its owner and the disk"),
        StartError::Tokens { .. } => ("tokens-unusable", TOKENS_HINT),
        StartError::WitnessPolicy { .. } => {
            ("witness-policy", "correct the file that witnesses.policy names; it is a C2SP tlog-policy")
        }
        StartError::Witnesses(FeederError::LogBehind { .. } | FeederError::Forked { .. }) => (
            "log-witnessed-ahead",
            "delete nothing; bring back the newest whole journal: witnesses hold this log to what they cosigned",
        ),
        StartError::Witnesses(_) => {
            ("witnesses-unusable", "check the log's directory and the witness policy")
        }
        StartError::Unreadable(_) => ("log-unreadable", "check the disk"),
        StartError::NoToken(_) => ("token-required", "set a read token, or listen on 127.0.0.1"),
        _ => ("start-failed", "check the configuration"),
    };
    Failure::new(code, printable(&with_causes(error)), disk_hint(error).unwrap_or(hint))
}

/// What to do about a token file that can't be used.
pub const TOKENS_HINT: &str =
    "correct what is named; a new token, and the file if there is none, `counterfoil tokens new` makes";

fn log_hint(error: &OpenError) -> (&'static str, &'static str) {
    match error {
        OpenError::NotCreated { .. } => ("log-missing", "check log.dir; `counterfoil init` makes a new log"),
        OpenError::Exists { .. } => ("log-exists", "choose another directory for a new log"),
        OpenError::InUse { .. } | OpenError::Lock(LockError::Held { .. }) => (
            "log-in-use",
            "one server uses a log at a time: stop the other, or check log.dir and log.lock_dir",
        ),
        OpenError::LockInside { .. } => ("config-invalid", "put log.lock_dir elsewhere"),
        OpenError::Overtaken { .. }
        | OpenError::Damaged { .. }
        | OpenError::LongTail { .. }
        | OpenError::Behind { .. } => (
            "log-damaged",
            "delete nothing; `counterfoil log recover` says what is missing and whether it can be brought back",
        ),
        OpenError::BadFrame { .. } => (
            "log-damaged",
            "delete nothing; bring back the newest whole journal, and leave the lock store as it is",
        ),
        OpenError::ForeignLock { .. } | OpenError::Lock(LockError::Conflict { .. }) => {
            ("log-lock", "delete nothing; first find out which checkpoint was published last")
        }
        OpenError::Lock(LockError::Damaged { .. }) => (
            "log-lock",
            "move that file aside, and run `counterfoil log recover`: it sets a lock store that is lost",
        ),
        OpenError::LockBehind { .. } | OpenError::Forked { .. } | OpenError::Diverged { .. } => (
            "log-lock",
            "delete nothing; `counterfoil log recover` says which checkpoints do not fit together",
        ),
        _ => ("log-unusable", "check the log's directories, their owner and the disk"),
    }
}

fn listen_hint(io: &std::io::Error) -> &'static str {
    match io.kind() {
        ErrorKind::AddrInUse => "stop what listens there, or choose another port with --listen",
        ErrorKind::PermissionDenied => "choose a port of 1024 or above with --listen",
        ErrorKind::AddrNotAvailable => "this machine has no such address: choose another with --listen",
        _ => "choose another address with --listen",
    }
}

/// What to do if the cause of all is the disk or who may use it.
fn disk_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    // Not every cause keeps the error of the system; all of them repeat what it says. A file that reaches this user's limit
    // of file sizes fails as on a full disk.
    let said = with_causes(error);
    if said.contains("No space left on device") || said.contains("File too large") {
        return Some("free some space on that disk, then start again: what was acknowledged is there");
    }
    let io = causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>())?;
    match io.kind() {
        ErrorKind::PermissionDenied => Some("run it as the user who owns that file"),
        ErrorKind::ReadOnlyFilesystem => {
            Some("that disk may only be read: choose another, or mount it for writing")
        }
        _ => None,
    }
}

/// An error and its causes in one line.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The error, and what caused it.
fn causes<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}
