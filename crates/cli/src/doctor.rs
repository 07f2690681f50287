//! `counterfoil doctor`: is this working directory, and the server, in order?

use std::path::Path;

use clap::Args;
use counterfoil_client::{KeyView, PinnedClient};
use counterfoil_keys::NoteKey;
use counterfoil_receipt::{Body, Role, Signer as _, UnverifiedRecord, limits};
use counterfoil_server::{Mode, Overrides};
use counterfoil_tlog::Signer as _;
use counterfoil_verify::{KeyCache, Trust, check_signature};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, Outcome, VIOLATED},
    input::{self, shown},
    keys, output, remote, serve, signing, time, trust,
};

/// How far log time may be ahead of this machine's clock, in milliseconds, before it is worth a word.
const SKEW: u64 = 5_000;

/// Check keys, trust file, genesis, configuration, server, checkpoint, clock, policy key and disk.
///
/// Exit status: 0 all in order, 1 something is not.
#[derive(Args, Debug)]
pub struct Doctor {}

/// What one check found.
enum Found {
    Good(String),
    Bad(Failure),
    /// It could not be checked, for this reason.
    Skipped(String),
}

impl Doctor {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let mut found = key_files(context);
        found.extend(files(context));
        found.extend(server(context));
        found.push(("disk", of(disk(context))));
        let bad = found.iter().any(|(_, found)| matches!(found, Found::Bad(_)));
        if context.json {
            let list: Vec<_> = found.iter().map(|(name, found)| to_json(name, found)).collect();
            output::print_json(&json!({"format": "counterfoil-doctor/1", "healthy": !bad, "checks": list}))?;
        } else {
            for (name, found) in &found {
                output::print(&to_text(name, found, context))?;
            }
        }
        Ok(if bad { VIOLATED } else { 0 })
    }
}

type Checks = Vec<(&'static str, Found)>;

fn of(outcome: Outcome<String>) -> Found {
    outcome.map_or_else(Found::Bad, Found::Good)
}

fn key_files(context: &Context) -> Checks {
    let directory = context.file("keys");
    if !directory.exists() {
        return vec![("keys", Found::Skipped(format!("there is no directory {}", shown(&directory))))];
    }
    let files = match keys::key_files(&directory) {
        Ok(files) => files,
        Err(failure) => return vec![("keys", Found::Bad(failure))],
    };
    let good = files.len();
    let bad: Vec<Failure> = files.iter().filter_map(|path| keys::describe(path).err()).collect();
    if bad.is_empty() {
        return vec![("keys", Found::Good(format!("{good} key files, each readable by you alone")))];
    }
    bad.into_iter().map(|failure| ("keys", Found::Bad(failure))).collect()
}

/// Trust file, genesis and configuration, and whether they are about one log.
fn files(context: &Context) -> Checks {
    let mut checks = Vec::new();
    let trust = trust::load(&context.trust_path());
    let trust = match trust {
        Ok(trust) => {
            checks.push(("trust", Found::Good(format!("pins log {}", trust.genesis()))));
            trust
        }
        Err(failure) => return vec![("trust", Found::Bad(failure))],
    };
    let genesis = context.file("genesis.json");
    if genesis.exists() {
        checks.push(("genesis", of(genesis_agrees(&genesis, &trust))));
    }
    let config = context.file("counterfoil.toml");
    if config.exists() {
        checks.push(("config", of(config_agrees(&config, &trust))));
    }
    checks
}

fn genesis_agrees(path: &Path, trust: &Trust) -> Outcome<String> {
    let record = read_genesis(path)?;
    let id = record.id();
    let Body::Genesis(body) = record.body() else {
        let message = format!("{} is {}", shown(path), crate::text::with_article(&record.kind().to_string()));
        return Err(Failure::new("genesis-unusable", message, "`counterfoil init` makes one"));
    };
    let differs = |what: &str, here: String, there: String| {
        let message = format!("{what}: the trust file says {here}, {} says {there}", shown(path));
        Failure::new("trust-disagrees", message, "find out which of the two is of the log that you meant")
    };
    if id != trust.genesis() {
        return Err(differs("genesis", trust.genesis().to_string(), id.to_string()));
    }
    if body.origin.as_str() != trust.origin() {
        return Err(differs("origin", trust.origin().to_owned(), body.origin.to_string()));
    }
    let named: Vec<&str> = body.log.note_keys.0.iter().map(|key| key.as_str()).collect();
    if let Some(other) =
        trust.log_keys().iter().map(ToString::to_string).find(|key| !named.contains(&key.as_str()))
    {
        return Err(differs("log key", other, named.join(", ")));
    }
    check_signature(record, &mut KeyCache::default()).map_err(|(_, fault)| {
        Failure::new(
            fault.rule.code(),
            crate::text::printable(&fault.detail),
            crate::advice::on(fault.rule.code()),
        )
    })?;
    Ok("signed, and the one that the trust file pins".to_owned())
}

fn config_agrees(path: &Path, trust: &Trust) -> Outcome<String> {
    let config = serve::load(Some(path), Overrides::default())?;
    let Mode::Records(files) = &config.mode else {
        return Err(Failure::new(
            "config-disagrees",
            "the configuration is that of a raw log, the trust file that of a log of records",
            "find out which of the two you meant",
        ));
    };
    let id = read_genesis(&files.genesis)?.id();
    if id != trust.genesis() {
        let message = format!("{} serves log {id}, the trust file pins {}", shown(path), trust.genesis());
        return Err(Failure::new("config-disagrees", message, "find out which of the two you meant"));
    }
    let note = NoteKey::load(&config.note_key).map_err(|error| signing::key_failure(&error))?;
    if !trust.log_keys().contains(note.key()) {
        let message = format!("the trust file does not name the note key {}", note.key());
        return Err(Failure::new(
            "config-disagrees",
            message,
            "readers will not believe this log's checkpoints",
        ));
    }
    Ok(format!("serves that log on {}", config.listen))
}

/// The server, its checkpoint, and log time.
fn server(context: &Context) -> Checks {
    let client = match remote::connect(context) {
        Ok(client) => client,
        Err(failure) => return vec![("server", Found::Skipped(failure.message().to_owned()))],
    };
    if let Err(error) = client.genesis() {
        return vec![("server", Found::Bad(error.into()))];
    }
    let checkpoint = client.checkpoint().map_err(Failure::from).map(|checkpoint| {
        format!("size {}, signed by a pinned key, continues what was seen before", checkpoint.head().size)
    });
    vec![
        ("server", Found::Good("serves the log that the trust file pins".to_owned())),
        ("checkpoint", of(checkpoint)),
        ("clock", clock(&client)),
        ("policy key", policy_key(context, &client)),
    ]
}

/// Whether what the configured server says by itself (time-outs, escalation, decisions by link) will count.
fn policy_key(context: &Context, client: &PinnedClient) -> Found {
    let path = context.file("counterfoil.toml");
    let config = if path.exists() { serve::load(Some(&path), Overrides::default()).ok() } else { None };
    let files = config.and_then(|config| match config.mode {
        Mode::Records(files) => Some(files),
        Mode::Raw { .. } => None,
    });
    let Some(files) = files else {
        return Found::Skipped("there is no configuration of its server here".to_owned());
    };
    let Some(path) = files.policy_key else {
        return Found::Skipped(
            "log.policy_key is not set: time-outs and escalation are said by nobody".to_owned(),
        );
    };
    let judged = signing::load(&path).and_then(|key| {
        let listed = client.hints()?.principal(key.principal())?.keys;
        let counts = |one: &KeyView| one.key == key.key() && one.role == Role::Policy && one.status == "live";
        if key.role() == Role::Policy && listed.iter().any(counts) {
            return Ok(format!("{} speaks for the policy", key.principal()));
        }
        let message = format!(
            "{} is no live key of role policy in this log: what the server signs with it does not count",
            shown(&path)
        );
        Err(Failure::new(
            "policy-key-unknown",
            message,
            "enrol it with `counterfoil keys enrol`, or name another as log.policy_key",
        ))
    });
    of(judged)
}

/// Log time only ever shows that a clock is behind: an idle log's stands still.
fn clock(client: &PinnedClient) -> Found {
    let run = match client.hints().and_then(|hints| hints.runs(None, 1)) {
        Ok(runs) => runs.runs.first().map(|run| run.run),
        Err(error) => return Found::Bad(error.into()),
    };
    let Some(run) = run else {
        return Found::Skipped("the log has no run yet that shows its time".to_owned());
    };
    let now = time::now();
    let fetched = time::millis(now).and_then(|now| Ok(client.fetch_verified(run, now)?));
    match fetched.map(|fetched| fetched.verdict.state().log_time().map(|time| time.get())) {
        Err(failure) => Found::Bad(failure),
        Ok(None) => Found::Skipped("the log shows no snapshot".to_owned()),
        Ok(Some(log)) if log > now.saturating_add(SKEW) => {
            let message = format!("log time is {} ahead of this machine", time::span(log - now));
            Found::Bad(Failure::new(
                "clock-skew",
                message,
                "set the clock of this machine, or tell the log's operator",
            ))
        }
        Ok(Some(log)) => Found::Good(format!("log time {} is not ahead of this machine", time::utc(log))),
    }
}

/// Whether a megabyte can be written and reaches the disk.
fn disk(context: &Context) -> Outcome<String> {
    let path = context.file(&format!(".counterfoil-doctor.{}", std::process::id()));
    let written = output::write(&path, &vec![0; 1 << 20]);
    let _ = std::fs::remove_file(&path);
    written.map(|()| "a megabyte can be written".to_owned())
}

fn read_genesis(path: &Path) -> Outcome<UnverifiedRecord> {
    let bytes = input::read(path, "genesis", limits::RECORD_BYTES)?;
    UnverifiedRecord::parse(&bytes).map_err(|fault| signing::malformed(&shown(path), &fault))
}

fn to_text(name: &str, found: &Found, context: &Context) -> String {
    let style = context.style;
    match found {
        Found::Good(text) => format!("{} {name:<12} {text}\n", style.good("✓")),
        Found::Skipped(text) => format!("{} {name:<12} not checked: {text}\n", style.open("?")),
        Found::Bad(failure) => {
            let text = failure.to_string().replace('\n', "\n               ");
            format!("{} {name:<12} {text}\n", style.bad("✗"))
        }
    }
}

fn to_json(name: &str, found: &Found) -> serde_json::Value {
    match found {
        Found::Good(text) => json!({"check": name, "found": "good", "detail": text}),
        Found::Skipped(text) => json!({"check": name, "found": "not_checked", "detail": text}),
        Found::Bad(failure) => {
            json!({"check": name, "found": "bad", "code": failure.code(), "detail": failure.message()})
        }
    }
}
