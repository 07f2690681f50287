//! `counterfoil record`: records one by one and by hand.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use counterfoil_client::{Sealed, SealedSet, seal_set};
use counterfoil_receipt::{
    Body, RecordId, RunId, UnverifiedRecord,
    body::{Form, Type},
    bundle::{PayloadLine, write_line},
    limits,
};
use counterfoil_verify::{KeyCache, check_signature};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, Outcome, VIOLATED},
    input, output, payload, signing,
    text::{printable, printable_lines, with_article},
    time, trust,
};

/// Make, sign and look at single records.
#[derive(Args, Debug)]
pub struct Record {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    New(New),
    Sign(Sign),
    Show(Show),
    Item(MakeItem),
    Set(MakeSet),
}

/// Make a record from its body, and sign it.
///
/// The record is one line on standard output; the line feed at its end is no part of it: `counterfoil submit` takes it as it is,
/// and over HTTP it goes to /v1/records/batch as application/jsonl. What its type's envelope needs (spec/records.md §3) is given by --log, --run,
/// --parents and --prev.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil record new trigger --body trigger.json --key keys/agent.key > trigger.record
  counterfoil record new observation --run sha256:… --parents sha256:… --body - --key keys/agent.key < note.json")]
struct New {
    /// The type, such as proposal
    #[arg(value_parser = record_type)]
    r#type: Type,
    /// The body: a JSON object in any spelling, or - for standard input
    #[arg(long, value_name = "FILE")]
    body: PathBuf,
    /// The log, by the id of its genesis [default: the trust file's]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    log: Option<RecordId>,
    /// The run
    #[arg(long, value_name = "ID", value_parser = run_id)]
    run: Option<RunId>,
    /// Earlier records of the run that you have in hand, in any order
    #[arg(long, value_name = "ID,…", value_parser = record_id, value_delimiter = ',')]
    parents: Vec<RecordId>,
    /// The record before this one in its chain
    #[arg(long, value_name = "ID", value_parser = record_id)]
    prev: Option<RecordId>,
    /// The time that the record claims [default: now]
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    time: Option<u64>,
    /// Write the record here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Sign a draft: an envelope without `sig`; `signer`, `time` and `v` are filled in where they are absent.
#[derive(Args, Debug)]
struct Sign {
    /// The draft: a JSON object in any spelling, or - for standard input
    draft: PathBuf,
    /// Write the record here instead of to standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Show a record, and say what was checked about it.
///
/// Exit status: 0 well formed and signed, 1 the signature does not hold, 2 no record.
#[derive(Args, Debug)]
struct Show {
    /// The record, or - for standard input
    record: PathBuf,
}

/// Commit to a file, for a body to name: prints the item, and writes the payload line that opens it.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil record item graph.png --label graph --media-type image/png --payload graph.payload
  counterfoil submit observation.record --payload graph.payload")]
struct MakeItem {
    /// The content, or - for standard input
    file: PathBuf,
    /// What the item is called
    #[arg(long)]
    label: String,
    /// Its media type
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    media_type: String,
    /// Where to write the payload line: content and salt, secret as long as you keep it so
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
}

/// Commit to many files by one root, for a body to name: prints the set, and writes a payload line for each file.
///
/// Each line discloses its file, under its own name, and nothing of the others: whoever submits some of them keeps the rest to themselves.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil record set page-*.png --label pages --payload pages.payload
  counterfoil submit observation.record --payload pages.payload")]
struct MakeSet {
    /// The contents, in the order of the set
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the set is called
    #[arg(long)]
    label: String,
    /// Where to write the payload lines: contents and salts, secret as long as you keep them so
    #[arg(long, value_name = "FILE")]
    payload: PathBuf,
}

impl Record {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::New(command) => command.run(context),
            Command::Sign(command) => command.run(context),
            Command::Show(command) => command.run(context),
            Command::Item(command) => command.run(),
            Command::Set(command) => command.run(),
        }
    }
}

impl New {
    fn run(&self, context: &Context) -> Outcome {
        let key = signing::load(&self.key_path(context)?)?;
        let body = input::read(&self.body, "body", limits::RECORD_BYTES * 2)?;
        let body = signing::parse_object(&body, "the body")?;
        let mut envelope = signing::Envelope::new();
        envelope.insert("type".into(), self.r#type.as_str().into());
        envelope.insert("body".into(), Value::Object(body));
        if let Some(log) = self.log_of(context)? {
            envelope.insert("log".into(), log.to_string().into());
        }
        if let Some(run) = self.run {
            envelope.insert("run".into(), run.to_string().into());
        }
        if !self.parents.is_empty() {
            let mut parents = self.parents.clone();
            parents.sort_unstable();
            parents.dedup();
            envelope
                .insert("parents".into(), parents.iter().map(ToString::to_string).collect::<Vec<_>>().into());
        }
        if let Some(prev) = self.prev {
            envelope.insert("prev".into(), prev.to_string().into());
        }
        if let Some(time) = self.time {
            envelope.insert("time".into(), time.into());
        }
        write(&signing::sign_envelope(&key, envelope)?, self.out.as_deref())
    }

    /// The one key that may sign the type, unless one is named.
    fn key_path(&self, context: &Context) -> Outcome<PathBuf> {
        match (&context.key, self.r#type.roles()) {
            (Some(path), _) => Ok(path.clone()),
            (None, [role]) => Ok(signing::key_path(context, *role)),
            (None, _) => {
                let message =
                    format!("keys of several roles may sign {}", with_article(&self.r#type.to_string()));
                Err(Failure::new("key-not-named", message, "name one with --key FILE"))
            }
        }
    }

    fn log_of(&self, context: &Context) -> Outcome<Option<RecordId>> {
        match (self.log, self.r#type.form()) {
            (Some(log), _) => Ok(Some(log)),
            (None, Form::Root) => Ok(None),
            (None, Form::Single | Form::Run | Form::Chain) => {
                Ok(Some(trust::load(&context.trust_path())?.genesis()))
            }
        }
    }
}

impl Sign {
    fn run(&self, context: &Context) -> Outcome {
        let Some(path) = &context.key else {
            return Err(Failure::new("key-not-named", "no key is named", "name one with --key FILE"));
        };
        let key = signing::load(path)?;
        let draft = input::read(&self.draft, "draft", limits::RECORD_BYTES * 2)?;
        let record = signing::sign_envelope(&key, signing::parse_object(&draft, "the draft")?)?;
        write(&record, self.out.as_deref())
    }
}

impl Show {
    fn run(&self, context: &Context) -> Outcome {
        let record = signing::read_record(&self.record)?;
        let checked = check_signature(record.clone(), &mut KeyCache::default());
        let fault = checked.err().map(|(_, fault)| fault);
        if context.json {
            output::print_json(&json!({
                "record": envelope(&record),
                "id": record.id().to_string(),
                "statement": record.statement().to_string(),
                "action_digest": record.body().action().map(|action| action.digest().to_string()),
                "well_formed": true,
                "violation": fault.as_ref().map(|fault| json!({
                    "rule": fault.rule.id(), "code": fault.rule.code(), "detail": fault.detail,
                })),
            }))?;
        } else {
            output::print(&describe(&record, context))?;
        }
        match fault {
            None => Ok(0),
            Some(fault) => {
                let message = printable(&format!("{} ({})", fault.detail, fault.rule.id()));
                let hint = crate::advice::on(fault.rule.code());
                Err(Failure::new(fault.rule.code(), message, hint).with_status(VIOLATED))
            }
        }
    }
}

impl MakeItem {
    fn run(&self) -> Outcome {
        let content = input::read(&self.file, "payload", limits::PAYLOAD_BYTES)?;
        let Sealed { item, opening } = payload::seal_one(&self.label, &self.media_type, content)?;
        let mut bytes = Vec::new();
        write_line(&PayloadLine::disclosing(opening, None), &mut bytes);
        output::write_secret(&self.payload, &bytes)?;
        output::print_json(&signing::field_json(&item))?;
        Ok(0)
    }
}

impl MakeSet {
    fn run(&self) -> Outcome {
        let read = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let label = payload::label(&name, "the file's name")?;
            Ok((label, input::read(path, "payload", limits::PAYLOAD_BYTES)?))
        };
        let contents = self.files.iter().map(read).collect::<Outcome<Vec<_>>>()?;
        let SealedSet { set, payloads } = seal_set(payload::label(&self.label, "the label")?, contents)?;
        let mut bytes = Vec::new();
        payloads.iter().for_each(|line| write_line(line, &mut bytes));
        output::write_secret(&self.payload, &bytes)?;
        output::print_json(&signing::field_json(&set))?;
        Ok(0)
    }
}

fn write(record: &UnverifiedRecord, out: Option<&Path>) -> Outcome {
    output::write(out.unwrap_or(Path::new("-")), &signing::line(record))?;
    Ok(0)
}

/// The record as a person reads it, and what is known about it.
fn describe(record: &UnverifiedRecord, context: &Context) -> String {
    let style = context.style;
    let author = record.author();
    let mut rows = vec![
        ("type", record.kind().to_string()),
        ("id", record.id().to_string()),
        ("statement", record.statement().to_string()),
    ];
    rows.extend(record.log().map(|log| ("log", log.to_string())));
    rows.extend(record.run().map(|run| ("run", run.to_string())));
    rows.extend(record.parents().iter().map(|parent| ("parent", parent.to_string())));
    rows.push(("signer", format!("{} ({}) with {}", author.principal, author.role, author.key)));
    rows.push(("time", format!("{} by the signer's word", time::utc(record.time().get()))));
    rows.extend(record.body().action().map(|action| ("action", action.digest().to_string())));
    let mut out = String::new();
    for (name, value) in rows {
        out.push_str(&format!("{} {value}\n", style.bold(&format!("{name:<10}"))));
    }
    let body = format!("{:#}", envelope(record).get("body").cloned().unwrap_or_default());
    out.push_str(&format!("{}\n{}\n\n", style.bold("body"), printable_lines(&body)));
    let holds = check_signature(record.clone(), &mut KeyCache::default()).is_ok();
    let answer = if holds { style.good("holds") } else { style.bad("does NOT hold") };
    out.push_str(&format!("well formed {}, signature {answer}\n", style.good("yes")));
    let place = match record.body() {
        Body::Rejection(_) => {
            "whether the log's live snapshot key signed it: compare the key with the genesis"
        }
        _ => "whether the key was entitled, and the record's place in a log: verify a bundle",
    };
    out.push_str(&style.dim(&format!("not checked: {place}\n")));
    out
}

fn envelope(record: &UnverifiedRecord) -> Value {
    serde_json::from_slice(record.bytes()).unwrap_or(Value::Null)
}

/// A type of record on the command line.
fn record_type(word: &str) -> Result<Type, String> {
    Type::parse(word).ok_or_else(|| {
        let names: Vec<&str> = Type::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("{word:?} is none of {}", names.join(", "))
    })
}

/// A record id on the command line.
pub fn record_id(text: &str) -> Result<RecordId, String> {
    RecordId::parse(text).ok_or_else(|| format!("{text:?} is not sha256: and 64 lowercase hex digits"))
}

/// A run id on the command line.
pub fn run_id(text: &str) -> Result<RunId, String> {
    record_id(text).map(RunId::started_by)
}
