//! `counterfoil keys`: key files here, and the log's keyring.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use counterfoil_keys::{NoteKey, RecordKey};
use counterfoil_receipt::{
    Body, Place, Principal, PublicKey, RecordId, Role, Signer as _,
    body::{Endorsement, KeyChange, Keyring, Revocation, RevocationTarget},
    field::{Count, Set},
    limits,
    text::Group,
};
use counterfoil_tlog::{Algorithm, Signer as _};
use serde_json::{Value, json};

use crate::{
    agent::principal,
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output, payload,
    record::record_id,
    remote::Actor,
    signing::{key_failure, public_key},
    text::printable,
    time,
};

/// Make key files, list them, and change the log's keyring.
#[derive(Args, Debug)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    New(New),
    List(List),
    Enrol(Enrol),
    Rotate(Rotate),
    Retire(Retire),
    Revoke(Revoke),
    Endorse(Endorse),
}

/// Make a key file that only you can read; an existing file is never overwritten.
///
/// With --exec the file holds no secret: the command is run by `sh -c` for each signature, gets the bytes to sign on
/// standard input and prints the signature, raw or in base64url, within 30 s. With --ssh-agent the agent behind SSH_AUTH_SOCK
/// signs, with the Ed25519 key of a public key file.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil keys new --role human --principal p-7f3a --out keys/p-7f3a.key
  counterfoil keys new --role human --principal p-7f3a --exec 'kms-sign my-key' --public ed25519:…
  counterfoil keys new --role human --principal p-7f3a --ssh-agent ~/.ssh/id_ed25519.pub")]
struct New {
    /// agent, human, runtime, policy, authority or log
    #[arg(long, value_parser = role, required_unless_present = "note")]
    role: Option<Role>,
    /// Whose key it is
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal, required_unless_present = "note")]
    principal: Option<Principal>,
    /// Make a key that signs checkpoints of the log with this origin instead
    #[arg(long, value_name = "ORIGIN", conflicts_with_all = ["role", "principal", "exec"])]
    note: Option<String>,
    /// Where to write it [default: DIR/keys/PRINCIPAL.key]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign with this command
    #[arg(long, value_name = "COMMAND", requires = "public")]
    exec: Option<String>,
    /// The key that the command signs with
    #[arg(long, value_name = "KEY", value_parser = public_key, requires = "exec")]
    public: Option<PublicKey>,
    /// Sign with the key of this OpenSSH public key file, which an ssh-agent holds
    #[arg(long, value_name = "FILE", conflicts_with_all = ["exec", "note"])]
    ssh_agent: Option<PathBuf>,
}

/// List the key files of a directory, without secrets.
#[derive(Args, Debug)]
struct List {
    /// The directory [default: DIR/keys]
    directory: Option<PathBuf>,
}

/// Enrol a key: from the next entry on it may sign in its role.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil keys enrol ed25519:… --principal p-7f3a --role human --group sre --key keys/authority.key")]
struct Enrol {
    #[command(flatten)]
    what: Named,
    #[command(flatten)]
    validity: Validity,
}

/// Put a new key in the place of an old one; what the old one signed keeps counting.
#[derive(Args, Debug)]
struct Rotate {
    #[command(flatten)]
    what: Named,
    /// The key that is replaced, and retired
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    replaces: PublicKey,
    #[command(flatten)]
    validity: Validity,
}

/// End a key in good order: what it signed keeps counting, its waiting approvals too.
#[derive(Args, Debug)]
struct Retire {
    #[command(flatten)]
    what: Named,
}

/// End a key that may be in other hands: at once, by one signature of the authority or of a key of its principal.
///
/// With --distrust-from, only the authority may. An authority key is ended by the authority's threshold: `keys endorse`.
#[derive(Args, Debug)]
struct Revoke {
    /// The key
    #[arg(value_name = "KEY", value_parser = public_key)]
    target: PublicKey,
    /// The first log index at which it may have been in other hands
    #[arg(long, value_name = "INDEX")]
    distrust_from: Option<u64>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Sign a record that another authority key made, toward the threshold: keyring, policy, the revocation of an authority key.
#[derive(Args, Debug)]
struct Endorse {
    /// The record
    #[arg(value_parser = record_id)]
    candidate: RecordId,
}

#[derive(Args, Debug)]
struct Named {
    /// The key
    #[arg(value_name = "KEY", value_parser = public_key)]
    target: PublicKey,
    /// Whose key it is
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    principal: Principal,
    /// Its role
    #[arg(long, value_parser = role)]
    role: Role,
    /// A group of the principal from here on; repeat it for each [default: those that it has]
    #[arg(long = "group", value_name = "GROUP", value_parser = principal)]
    groups: Vec<Group>,
}

#[derive(Args, Debug, Default)]
struct Validity {
    /// Log time from which the key may sign, such as 2026-11-21T00:00:00Z. Keys of the authority and the log have none
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    not_before: Option<u64>,
    /// Log time until which it may
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    not_after: Option<u64>,
}

impl Keys {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::New(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Enrol(command) => {
                command.what.submit(context, KeyChange::Enrol, None, &command.validity)
            }
            Command::Rotate(command) => {
                command.what.submit(context, KeyChange::Rotate, Some(command.replaces), &command.validity)
            }
            Command::Retire(command) => {
                command.what.submit(context, KeyChange::Retire, None, &Validity::default())
            }
            Command::Revoke(command) => command.run(context),
            Command::Endorse(command) => submit_single(context, Endorsement { candidate: command.candidate }),
        }
    }
}

impl New {
    fn run(&self, context: &Context) -> Outcome {
        let made = match (&self.note, self.role, &self.principal) {
            (Some(origin), _, _) => {
                let path = self.out.clone().unwrap_or_else(|| context.file("keys").join("log-note.key"));
                let key =
                    NoteKey::generate(origin, Algorithm::Ed25519).map_err(|error| key_failure(&error))?;
                key.write(&path).map_err(|error| key_failure(&error))?;
                json!({"file": shown(&path), "origin": origin, "vkey": key.key().to_string()})
            }
            (None, Some(role), Some(principal)) => self.record_key(context, role, principal)?,
            (None, _, _) => {
                return Err(Failure::new("usage", "--role and --principal are missing", "add --help"));
            }
        };
        if context.json {
            output::print_json(&made)?;
        } else {
            let key = made["key"].as_str().or(made["vkey"].as_str()).unwrap_or_default();
            output::print(&format!("{key}\n"))?;
        }
        Ok(0)
    }

    fn record_key(&self, context: &Context, role: Role, principal: &Principal) -> Outcome<Value> {
        let path = self.out.clone().unwrap_or_else(|| context.file("keys").join(format!("{principal}.key")));
        let principal = principal.clone();
        let key = match (&self.exec, self.public, &self.ssh_agent) {
            (Some(command), Some(public), _) => {
                RecordKey::behind_command(principal, role, public, command.clone())
            }
            (_, _, Some(public)) => RecordKey::in_ssh_agent(principal, role, openssh_key(public)?),
            _ => RecordKey::generate(principal, role).map_err(|error| key_failure(&error))?,
        };
        key.write(&path).map_err(|error| key_failure(&error))?;
        Ok(json!({
            "file": shown(&path), "principal": key.principal().as_str(), "role": role.as_str(), "key": key.key().to_string(),
        }))
    }
}

/// The key of an OpenSSH public key file.
fn openssh_key(path: &Path) -> Outcome<PublicKey> {
    let text = crate::input::read_text(path, "public key", 16_384)?;
    counterfoil_keys::from_openssh(text.trim()).ok_or_else(|| {
        let message = format!("{} is no OpenSSH public key of the type ssh-ed25519", shown(path));
        Failure::new("key-unusable", message, "make one with `ssh-keygen -t ed25519`, and name its .pub file")
    })
}

impl List {
    fn run(&self, context: &Context) -> Outcome {
        let directory = self.directory.clone().unwrap_or_else(|| context.file("keys"));
        let mut listed = Vec::new();
        let mut faults = 0_usize;
        for path in key_files(&directory)? {
            match describe(&path) {
                Ok(found) => listed.push(found),
                Err(failure) => {
                    faults += 1;
                    output::note(&format!("{failure}\n"));
                }
            }
        }
        if context.json {
            output::print_json(&Value::Array(listed))?;
        } else {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            for found in &listed {
                let (name, who) = (text(&found["file"]), text(&found["principal"]));
                output::print(&format!(
                    "{name:<32} {:<10} {who:<16} {}\n",
                    text(&found["role"]),
                    text(&found["key"])
                ))?;
            }
        }
        Ok(if faults == 0 { 0 } else { crate::error::USAGE })
    }
}

/// The `.key` files of a directory, by name.
pub fn key_files(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let missing = |error: std::io::Error| {
        let message = format!("the directory {} could not be read: {error}", shown(directory));
        Failure::new("keys-unreadable", message, "name another, or make one with `counterfoil init`")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(missing)? {
        let path = entry.map_err(missing)?.path();
        if path.extension().is_some_and(|extension| extension == "key") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// What a key file says of itself, without its secret. No command is run.
pub fn describe(path: &Path) -> Outcome<Value> {
    match RecordKey::load(path) {
        Ok(key) => Ok(
            json!({"file": shown(path), "role": key.role().as_str(), "principal": key.principal().as_str(),
            "key": key.key().to_string()}),
        ),
        // The log's note key has another shape.
        Err(error) => match NoteKey::load(path) {
            Ok(key) => {
                Ok(json!({"file": shown(path), "role": "note", "principal": printable(key.key().name()),
                "key": key.key().to_string()}))
            }
            Err(_) => Err(key_failure(&error)),
        },
    }
}

impl Named {
    /// Signs and submits one change to the principal's keys.
    fn submit(
        &self,
        context: &Context,
        change: KeyChange,
        replaces: Option<PublicKey>,
        validity: &Validity,
    ) -> Outcome {
        let actor = Actor::new(context, Role::Authority)?;
        let view = actor.client.hints()?.principal(&self.principal)?;
        let groups = if self.groups.is_empty() { view.groups } else { self.groups.clone() };
        let groups = Set::new(groups).ok_or_else(|| {
            Failure::new("field-invalid", format!("more than {} groups", limits::NAMES), "drop some")
        })?;
        let body = Keyring {
            change,
            groups,
            key: self.target,
            name: None,
            not_after: validity.not_after.map(time::millis).transpose()?,
            not_before: validity.not_before.map(time::millis).transpose()?,
            principal: self.principal.clone(),
            replaces,
            role: self.role,
            threshold: None,
        };
        let place = Place::Chain { log: actor.client.trust().genesis(), prev: view.prev };
        actor.submit(context, place, body)
    }
}

impl Revoke {
    fn run(&self, context: &Context) -> Outcome {
        let index = |index| {
            Count::new(index).ok_or_else(|| {
                Failure::new("field-invalid", "--distrust-from is no log index", "name the index of an entry")
            })
        };
        let body = Revocation {
            distrust_from: self.distrust_from.map(index).transpose()?,
            reason: payload::text(self.reason.as_ref())?,
            target: RevocationTarget::Key(self.target),
        };
        submit_single(context, body)
    }
}

fn submit_single(context: &Context, body: impl Into<Body>) -> Outcome {
    let actor = Actor::new(context, Role::Authority)?;
    let place = Place::Single { log: actor.client.trust().genesis() };
    actor.submit(context, place, body)
}

fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| {
        let names: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        format!("{word:?} is none of {}", names.join(", "))
    })
}
