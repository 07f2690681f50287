//! `counterfoil init`: a working directory with keys, a log, a trust file and a server's configuration.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use counterfoil_client::{Client, MemoryCheckpoints, PinnedClient};
use counterfoil_keys::{NoteKey, RecordKey};
use counterfoil_receipt::{
    Body, Place, Principal, RecordId, Role, Signer as _, UnverifiedRecord,
    action::Json,
    body::{Authority, Endorsement, Genesis, GenesisLimits, Holder, KeyChange, Keyring, LogKeys, Policy},
    field::{List, Set, Whole},
    limits,
};
use counterfoil_server::{Overrides, Server, create_log};
use counterfoil_tlog::{Algorithm, Signer as _};
use counterfoil_verify::Trust;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output::{self, unwritable},
    payload, serve, signing,
    text::printable,
    time,
};

/// What a working directory holds; none of it may be there before.
const PARTS: [&str; 8] =
    ["keys", "log", "lock", "payloads", "genesis.json", "policy.json", "trust.toml", "counterfoil.toml"];

/// The same of a raw log.
const RAW_PARTS: [&str; 5] = ["keys", "log", "lock", "log.vkey", "counterfoil.toml"];

/// Make a working directory: keys, a new log in which they are enrolled, a trust file, a server's configuration.
///
/// With `--mode raw`: one key, an empty log of any bytes, the key's public half in log.vkey, a server's configuration.
///
/// All keys lie in one directory, which is right for trying it out. In earnest, move each to whom it belongs: the authority's
/// to a safe, each human's to the person, and only log-snapshot.key, log-note.key and policy.key stay with the server.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil init
  counterfoil init work --origin example.org/approvals --approvals 2
  counterfoil init bytes --mode raw --origin example.org/bytes")]
pub struct Init {
    /// The directory [default: the working directory]
    directory: Option<PathBuf>,
    /// The log's origin: a URL without schema that nobody else uses [default: counterfoil.local/ and a random number]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
    /// What the log will hold
    #[arg(long, value_enum, default_value_t = LogMode::Records)]
    mode: LogMode,
    /// How many authority keys there are, all of which must sign to enrol keys or change the policy
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=limits::ROOTS as u64))]
    threshold: u64,
    /// How many humans must approve; as many human keys are made
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    approvals: u64,
    /// How often an approval may let a proposal be executed, at most
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=limits::USES))]
    uses: u64,
    /// How long an approval may hold, at most
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = time::parse_duration)]
    window: u64,
    /// Where the server will listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7450")]
    listen: String,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogMode {
    /// Records: approvals, executions and what they rest on
    Records,
    /// Any bytes
    Raw,
}

/// The keys of a new log.
struct Cast {
    authority: Vec<RecordKey>,
    /// Those that are enrolled: agents, humans, runtime, policy.
    others: Vec<RecordKey>,
    snapshot: RecordKey,
    note: NoteKey,
}

impl Init {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let directory = self.directory.clone().unwrap_or_else(|| context.dir.clone());
        let parts = if self.mode == LogMode::Raw { &RAW_PARTS[..] } else { &PARTS };
        refuse_if_used(&directory, parts)?;
        let made = !directory.exists();
        fs::create_dir_all(&directory).map_err(|error| unwritable(&directory, &error))?;
        let draft = directory.join(format!(".counterfoil-init.{}", std::process::id()));
        let built = match self.mode {
            LogMode::Records => self.build(&draft).map(Made::Records),
            LogMode::Raw => self.build_raw(&draft).map(Made::Raw),
        };
        let done = built.and_then(|made| publish(&draft, &directory, parts).map(|()| made));
        // What is left of a failure is ours alone to remove.
        let _ = fs::remove_dir_all(&draft);
        if done.is_err() && made {
            let _ = fs::remove_dir(&directory);
        }
        match done? {
            Made::Records(log) => self.report(context, &directory, log),
            Made::Raw(vkey) => report_raw(context, &directory, &vkey),
        }
    }

    /// Makes a raw log. Gives its key.
    fn build_raw(&self, draft: &Path) -> Outcome<String> {
        if (self.threshold, self.approvals, self.uses, self.window) != (1, 1, 1, 3_600_000) {
            return Err(Failure::new(
                "init-raw",
                "--threshold, --approvals, --uses and --window are about records, and a raw log has none",
                "leave them out, or --mode raw",
            ));
        }
        make_private(draft)?;
        for part in ["keys", "log"] {
            make_private(&draft.join(part))?;
        }
        let note = NoteKey::generate(&self.origin()?, Algorithm::Ed25519)
            .map_err(|error| signing::key_failure(&error))?;
        note.write(&draft.join("keys/log-note.key")).map_err(|error| signing::key_failure(&error))?;
        let vkey = note.key().to_string();
        output::write(&draft.join("log.vkey"), format!("{vkey}\n").as_bytes())?;
        output::write(&draft.join("counterfoil.toml"), raw_config_file(&self.listen).as_bytes())?;
        create_log(&load(draft)?).map_err(|error| serve::start_failure(&error))?;
        Ok(vkey)
    }

    fn origin(&self) -> Outcome<String> {
        self.origin.clone().map_or_else(random_origin, Ok)
    }

    /// Makes everything in a directory of its own. Gives the log's identity.
    fn build(&self, draft: &Path) -> Outcome<RecordId> {
        make_private(draft)?;
        for part in ["keys", "log", "payloads"] {
            make_private(&draft.join(part))?;
        }
        let origin = self.origin()?;
        let cast = self.cast(&origin)?;
        cast.write(&draft.join("keys"))?;
        let genesis = signing::sign(&cast.authority[0], Place::Root, self.genesis(&cast, &origin)?)?;
        let policy = self.policy();
        let trust = trust_file(genesis.id(), &origin, &cast.note.key().to_string());
        let config = config_file(&self.listen);
        // The genesis is a record: its bytes, and no line feed.
        output::write(&draft.join("genesis.json"), genesis.bytes())?;
        output::write(&draft.join("policy.json"), format!("{policy:#}\n").as_bytes())?;
        output::write(&draft.join("trust.toml"), trust.as_bytes())?;
        output::write(&draft.join("counterfoil.toml"), config.as_bytes())?;
        let setup = cast.setup(genesis.id(), &policy)?;
        start_log(draft, &trust, &setup)?;
        Ok(genesis.id())
    }

    fn cast(&self, origin: &str) -> Outcome<Cast> {
        let make =
            |role: Role, names: Vec<String>| names.into_iter().map(move |name| record_key(&name, role));
        let others = make(Role::Agent, numbered("agent", 2))
            .chain(make(Role::Human, numbered("human", self.approvals)))
            .chain(make(Role::Runtime, numbered("runtime", 1)))
            .chain(make(Role::Policy, numbered("policy", 1)));
        Ok(Cast {
            authority: make(Role::Authority, numbered("authority", self.threshold))
                .collect::<Outcome<_>>()?,
            others: others.collect::<Outcome<_>>()?,
            snapshot: record_key("log-snapshot", Role::Log)?,
            note: NoteKey::generate(origin, Algorithm::Ed25519)
                .map_err(|error| signing::key_failure(&error))?,
        })
    }

    fn genesis(&self, cast: &Cast, origin: &str) -> Outcome<Genesis> {
        let roots = cast.authority.iter().map(holder).collect();
        let note_key = payload::label(&cast.note.key().to_string(), "the note key")?;
        let limits = (Whole::new(limits::RECORD_BYTES as u64), Whole::new(limits::RUN_RECORDS));
        let (Some(threshold), Some(fold), (Some(record_bytes), Some(run_records))) =
            (Whole::new(self.threshold), Whole::new(0), limits)
        else {
            return Err(Failure::new("field-invalid", "the threshold is out of range", "choose 1 to 16"));
        };
        Ok(Genesis {
            authority: Authority { roots: List(roots), threshold },
            fold,
            limits: GenesisLimits { record_bytes, run_records },
            log: LogKeys { note_keys: List(vec![note_key]), snapshot: holder(&cast.snapshot) },
            origin: payload::label(origin, "the origin")?,
        })
    }

    fn policy(&self) -> Value {
        json!({"break_glass": false, "language": "counterfoil-policy/0", "rule": {"count": self.approvals, "groups": [],
            "role": "human", "segregation": true, "uses": self.uses, "window": self.window}})
    }

    fn report(&self, context: &Context, directory: &Path, log: RecordId) -> Outcome {
        if context.json {
            output::print_json(
                &json!({"directory": directory.display().to_string(), "log": log.to_string()}),
            )?;
            return Ok(0);
        }
        let style = context.style;
        let place = shown(directory);
        output::print(&format!(
            "{} {log}\n\n  {place}/keys/             one key per role; move each to whom it belongs\n  \
             {place}/trust.toml        what a reader needs to verify bundles of this log\n  \
             {place}/counterfoil.toml  the server's configuration\n  \
             {place}/policy.json       who must approve\n\nnext: counterfoil serve -C {place}\n",
            style.good("new log"),
        ))?;
        Ok(0)
    }
}

/// A new log.
enum Made {
    /// With this genesis.
    Records(RecordId),
    /// With this key.
    Raw(String),
}

fn report_raw(context: &Context, directory: &Path, vkey: &str) -> Outcome {
    if context.json {
        output::print_json(&json!({"directory": directory.display().to_string(), "vkey": vkey}))?;
        return Ok(0);
    }
    let style = context.style;
    let place = shown(directory);
    output::print(&format!(
        "{} {vkey}\n\n  {place}/keys/log-note.key  signs checkpoints\n  {place}/log.vkey           what a \
         reader needs to verify them\n  {place}/counterfoil.toml   the server's configuration\n\nnext: counterfoil \
         serve -C {place}\n",
        style.good("new raw log"),
    ))?;
    Ok(0)
}

impl Cast {
    fn write(&self, keys: &Path) -> Outcome<()> {
        let all = self.authority.iter().chain(&self.others).chain([&self.snapshot]);
        for key in all {
            let path = keys.join(format!("{}.key", key.principal()));
            key.write(&path).map_err(|error| signing::key_failure(&error))?;
        }
        self.note.write(&keys.join("log-note.key")).map_err(|error| signing::key_failure(&error))
    }

    /// The records that enrol every key and set the policy, with the endorsements that the threshold asks for.
    fn setup(&self, log: RecordId, policy: &Value) -> Outcome<Vec<UnverifiedRecord>> {
        let document = Json::from_value(policy).map_err(|fault| signing::malformed("the policy", &fault))?;
        let enrolments =
            self.others.iter().map(|key| enrolment(key).map(Body::from)).collect::<Option<Vec<_>>>();
        let mut bodies =
            enrolments.ok_or_else(|| Failure::new("field-invalid", "a principal has too many groups", ""))?;
        bodies.push(Policy::Document(document).into());
        let mut records = Vec::new();
        for body in bodies {
            // Each is the first of its chain.
            let candidate = signing::sign(&self.authority[0], Place::Chain { log, prev: log }, body)?;
            let endorse =
                |key| signing::sign(key, Place::Single { log }, Endorsement { candidate: candidate.id() });
            let endorsements = self.authority[1..].iter().map(endorse).collect::<Outcome<Vec<_>>>()?;
            records.push(candidate);
            records.extend(endorsements);
        }
        Ok(records)
    }
}

/// Creates the log and submits the setup through a server on a free port, as any client would.
fn start_log(draft: &Path, trust: &str, setup: &[UnverifiedRecord]) -> Outcome<()> {
    let config = load(draft)?;
    create_log(&config).map_err(|error| serve::start_failure(&error))?;
    let runtime = serve::runtime()?;
    let server = runtime.block_on(Server::bind(config)).map_err(|error| serve::start_failure(&error))?;
    let url = format!("http://{}", server.local_addr());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = runtime.spawn(server.run_until(async {
        let _ = stopped.await;
    }));
    let submitted = submit(&url, trust, setup);
    let _ = stop.send(());
    let served = runtime.block_on(serving);
    // What stopped the server is also why it did not answer.
    match served {
        Ok(Ok(())) => submitted,
        Ok(Err(error)) => Err(serve::serve_failure(&error)),
        Err(error) => Err(Failure::new("log-failed", error.to_string(), "try again")),
    }
}

/// The configuration that was just written, on a free port.
fn load(draft: &Path) -> Outcome<counterfoil_server::Config> {
    let flags = Overrides { listen: Some("127.0.0.1:0".to_owned()), ..Overrides::default() };
    counterfoil_server::Config::load(Some(&draft.join("counterfoil.toml")), |_| None, flags)
        .map_err(|error| Failure::new("config-invalid", printable(&error.to_string()), "check --listen"))
}

fn submit(url: &str, trust: &str, setup: &[UnverifiedRecord]) -> Outcome<()> {
    let trust = Trust::parse(trust)
        .map_err(|error| Failure::new("trust-invalid", error.to_string(), "choose another --origin"))?;
    let client: PinnedClient = Client::new(url, None)?.pin(trust, Box::new(MemoryCheckpoints::default()));
    for answer in client.submit_batch(setup, &[], &[])? {
        answer?;
    }
    Ok(())
}

/// Refuses a directory that holds any of what would be made.
fn refuse_if_used(directory: &Path, parts: &[&str]) -> Outcome<()> {
    if directory.exists() && !directory.is_dir() {
        let message = format!("{} is no directory", shown(directory));
        return Err(Failure::new("init-no-directory", message, "name another"));
    }
    match parts.iter().find(|part| fs::symlink_metadata(directory.join(part)).is_ok()) {
        None => Ok(()),
        Some(part) => {
            let message = format!("{} exists already", shown(&directory.join(part)));
            Err(Failure::new(
                "init-exists",
                message,
                "choose an empty directory: nothing is ever overwritten",
            ))
        }
    }
}

/// Moves everything into place; what can't be moved takes back what was.
fn publish(draft: &Path, directory: &Path, parts: &[&str]) -> Outcome<()> {
    for (at, part) in parts.iter().enumerate() {
        let to = directory.join(part);
        if let Err(error) = fs::rename(draft.join(part), &to) {
            for moved in &parts[..at] {
                let _ = fs::rename(directory.join(moved), draft.join(moved));
            }
            return Err(unwritable(&to, &error));
        }
    }
    Ok(())
}

fn enrolment(key: &RecordKey) -> Option<Keyring> {
    Some(Keyring {
        change: KeyChange::Enrol,
        groups: Set::new([])?,
        key: key.key(),
        name: None,
        not_after: None,
        not_before: None,
        principal: key.principal().clone(),
        replaces: None,
        role: key.role(),
        threshold: None,
    })
}

fn record_key(name: &str, role: Role) -> Outcome<RecordKey> {
    let principal = Principal::new(name)
        .ok_or_else(|| Failure::new("field-invalid", format!("{name} names nobody"), ""))?;
    RecordKey::generate(principal, role).map_err(|error| signing::key_failure(&error))
}

fn holder(key: &RecordKey) -> Holder {
    Holder { key: key.key(), principal: key.principal().clone() }
}

/// `agent`, `agent-2`, …
fn numbered(name: &str, count: u64) -> Vec<String> {
    (1..=count).map(|number| if number == 1 { name.to_owned() } else { format!("{name}-{number}") }).collect()
}

fn random_origin() -> Outcome<String> {
    let bytes: [u8; 8] = counterfoil_keys::random().map_err(|error| signing::key_failure(&error))?;
    Ok(bytes.iter().fold("counterfoil.local/".to_owned(), |name, byte| format!("{name}{byte:02x}")))
}

fn make_private(directory: &Path) -> Outcome<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(|error| unwritable(directory, &error))
}

fn trust_file(genesis: RecordId, origin: &str, vkey: &str) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "# What a reader of this log trusts. Hand it over another way than the bundles.\n\
         version = 1\n\
         genesis = {}\n\
         origin = {}\n\
         log_keys = [{}]\n\n\
         # Nobody but the log itself says when something happened. With witnesses, put their policy here.\n\
         [witnesses]\n\
         policy = \"quorum none\\n\"\n\n\
         [require]\n\
         dimensions = [\"integrity\", \"authority\", \"conformity\", \"inclusion\"]\n",
        quoted(&genesis.to_string()),
        quoted(origin),
        quoted(vkey)
    )
}

fn config_file(listen: &str) -> String {
    let listen = toml::Value::String(listen.to_owned());
    format!(
        "# `counterfoil serve` reads this. Paths are relative to this file.\n\
         [server]\n\
         listen = {listen}\n\n\
         [log]\n\
         dir = \"log\"\n\
         lock_dir = \"lock\"          # best on another disk, and never in a backup of `dir`\n\
         payload_dir = \"payloads\"\n\
         genesis = \"genesis.json\"\n\
         note_key = \"keys/log-note.key\"\n\
         snapshot_key = \"keys/log-snapshot.key\"\n\
         policy_key = \"keys/policy.key\"          # says what a policy says when a time comes; signs decisions by link\n\n\
         # People who have to decide are told, and may decide by a link: see docs/notifications.md.\n\
         # [approvals]\n\
         # url = \"https://approve.example.org\"     # where they reach this server\n"
    )
}

fn raw_config_file(listen: &str) -> String {
    let listen = toml::Value::String(listen.to_owned());
    format!(
        "# `counterfoil serve` reads this. Paths are relative to this file.\n\
         [server]\n\
         listen = {listen}\n\n\
         [log]\n\
         mode = \"raw\"\n\
         dir = \"log\"\n\
         lock_dir = \"lock\"          # best on another disk, and never in a backup of `dir`\n\
         note_key = \"keys/log-note.key\"\n"
    )
}
