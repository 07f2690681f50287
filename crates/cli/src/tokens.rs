//! `counterfoil tokens`: tokens for programs that read a part of what a server has, in the file that its configuration names.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use counterfoil_receipt::Principal;
use counterfoil_server::{Overrides, Scope, ScopedToken, TokenFile, TokenFileError};
use serde_json::{Value, json};

use crate::{
    agent::principal,
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output::{self, unwritable},
    serve::{self, TOKENS_HINT},
    signing,
    text::printable,
    time,
};

/// Make, list and revoke tokens for programs that read a part of what a server has.
///
/// They are kept in the file that `server.tokens` of the configuration names, as digests; a server that runs looks there whenever
/// somebody sends one, so that nothing has to be restarted.
#[derive(Args, Debug)]
pub struct Tokens {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    New(New),
    List(List),
    Revoke(Revoke),
}

/// Make a token and print it, this once.
///
/// Scopes: log (checkpoint, tiles, proofs: every entry of the log as it is), records (records, payloads, runs, bundles, receipts,
/// the state), approvals (proposals and what they wait for).
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil tokens new --name 'deploy bot' --scope approvals --principal deploy --expires 90d
  counterfoil tokens new --name auditor --scope log --scope records")]
struct New {
    /// What it is for, as the list shows it
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it may read; repeat it for each
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
    scopes: Vec<Scope>,
    /// Show it only approvals that this principal proposed, asked for, decided or may decide; with the scope approvals alone
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    principal: Option<Principal>,
    /// How long it works, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    expires: Option<u64>,
    #[command(flatten)]
    place: Place,
}

/// List the tokens of a server; what they are themselves is nowhere.
#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    place: Place,
}

/// Revoke a token: from the next request on nobody reads with it.
#[derive(Args, Debug)]
struct Revoke {
    /// Its id, as the list shows it; it is the part of the token between the two first underscores
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
struct Place {
    /// The server's configuration [default: DIR/counterfoil.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file of tokens itself, for a server without a configuration, such as a mirror
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
}

impl Tokens {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::New(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Revoke(command) => command.run(context),
        }
    }
}

impl New {
    fn run(&self, context: &Context) -> Outcome {
        let path = self.place.path(context)?;
        let created = time::now();
        let times = (created, self.expires.map(|time| created.saturating_add(time)));
        let principal = self.principal.as_ref().map(ToString::to_string);
        let issued = ScopedToken::issue(self.name.clone(), self.scopes.clone(), principal, times);
        let (kept, token) = issued.map_err(|error| signing::key_failure(&error))?;
        let id = kept.id.clone();
        change(&path, true, |file| file.add(kept).map_err(|error| refused(&error)))?;
        let printed = if context.json {
            output::print_json(&json!({"id": id, "token": token}))
        } else {
            output::print(&format!("{token}\n"))
        };
        let unseen = format!("the token {id} was made, and nobody has seen it: revoke it; for ");
        printed.map_err(|failure| failure.after(&unseen))?;
        output::note(&format!(
            "This is the token {id}, shown this once. Whoever sends it as `Authorization: Bearer TOKEN`, or has it in\n\
             COUNTERFOIL_TOKEN, reads what it is for. End it with `counterfoil tokens revoke {id}`.\n"
        ));
        Ok(0)
    }
}

impl List {
    fn run(&self, context: &Context) -> Outcome {
        let path = self.place.path(context)?;
        let file = TokenFile::read(&path).map_err(|error| unusable(&path, &error))?;
        if context.json {
            output::print_json(&Value::Array(file.tokens().iter().map(to_json).collect()))?;
            return Ok(0);
        }
        for token in file.tokens() {
            let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
            let of = token.principal.as_ref().map_or(String::new(), |of| format!(" of {of}"));
            let until = match token.expires {
                None => "until it is revoked".to_owned(),
                Some(_) if token.has_ended(time::now()) => "expired".to_owned(),
                Some(at) => format!("until {}", time::utc(at)),
            };
            let what = format!("{}{of}", scopes.join(", "));
            output::print(&format!("{}  {what:<24} {until:<26} {}\n", token.id, printable(&token.name)))?;
        }
        Ok(0)
    }
}

impl Revoke {
    fn run(&self, context: &Context) -> Outcome {
        let path = self.place.path(context)?;
        let unknown = || {
            let message = format!("{} has no token {:?}", shown(&path), self.id);
            Failure::new(
                "token-unknown",
                printable(&message),
                "`counterfoil tokens list` shows which there are",
            )
        };
        let token = change(&path, false, |file| file.remove(&self.id).ok_or_else(unknown))?;
        if context.json {
            output::print_json(&json!({"revoked": token.id}))?;
        } else {
            output::print(&format!("revoked {} {}\n", token.id, printable(&token.name)))?;
        }
        Ok(0)
    }
}

impl Place {
    /// The file of tokens.
    fn path(&self, context: &Context) -> Outcome<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let path = self.config.clone().unwrap_or_else(|| context.file("counterfoil.toml"));
        let config = serve::load(Some(&path), Overrides::default())?;
        config.tokens.ok_or_else(|| {
            let message = format!("{} names no file of tokens", shown(&path));
            Failure::new(
                "tokens-missing",
                message,
                "write tokens = \"tokens.toml\" below [server]; then only tokens read",
            )
        })
    }
}

/// Changes the file of tokens, one command at a time. It is replaced as a whole, or stays as it is.
fn change<T>(path: &Path, may_make: bool, with: impl FnOnce(&mut TokenFile) -> Outcome<T>) -> Outcome<T> {
    // What a link leads to is changed, and not the link: the server may know the file by its own name.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |error: io::Error| unwritable(path, &error);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(parent).map_err(failed)?;
    // Until it is dropped.
    directory.lock().map_err(failed)?;
    let mut file = match TokenFile::read(path) {
        Err(TokenFileError::Io(error)) if may_make && error.kind() == ErrorKind::NotFound => {
            TokenFile::default()
        }
        read => read.map_err(|error| unusable(path, &error))?,
    };
    let done = with(&mut file)?;
    let text = file.to_text().map_err(|error| refused(&error))?;
    replace(path, &format!("# `counterfoil tokens` writes this, and drops what else stands here.\n{text}"))
        .and_then(|()| directory.sync_all())
        .map_err(failed)?;
    Ok(done)
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&partial)?;
    // It stays readable for whom it was readable: the server, where somebody else makes a token.
    #[cfg(unix)]
    let kept = match fs::metadata(path) {
        Ok(old) => {
            use std::os::unix::fs::MetadataExt as _;
            std::os::unix::fs::fchown(&file, Some(old.uid()), Some(old.gid()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    #[cfg(not(unix))]
    let kept: io::Result<()> = Ok(());
    let written = kept.and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
    let placed = written.and_then(|()| fs::rename(&partial, path));
    if placed.is_err() {
        let _ = fs::remove_file(&partial);
    }
    placed
}

fn to_json(token: &ScopedToken) -> Value {
    json!({
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "principal": token.principal,
        "created": token.created,
        "expires": token.expires,
        "expired": token.has_ended(time::now()),
    })
}

fn unusable(path: &Path, error: &TokenFileError) -> Failure {
    let message = format!("the token file {} can't be used: {}", shown(path), printable(&error.to_string()));
    Failure::new("tokens-unusable", message, TOKENS_HINT)
}

/// A token that the file does not take.
fn refused(error: &TokenFileError) -> Failure {
    let message = match error {
        TokenFileError::Token { reason, .. } => printable(reason),
        other => printable(&other.to_string()),
    };
    Failure::new("token-invalid", message, "correct what is named; nothing was written")
}

fn scope(name: &str) -> Result<Scope, String> {
    let names = Scope::ALL.map(Scope::as_str).join(", ");
    Scope::parse(name).ok_or_else(|| format!("{name:?} is none of {names}"))
}
