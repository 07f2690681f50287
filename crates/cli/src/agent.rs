//! What an agent does: start a run, observe, propose, hand over.

use std::path::PathBuf;

use clap::Args;
use counterfoil_receipt::{
    Action, Opening, Principal, PublicKey, RecordId, Role, RunId, Signer as _,
    action::{Json, Map, Mode},
    body::{Audience, Cost, Event, Holder, Observation, ObservationKind, Proposal, Risk, Trigger, Type},
    field::Set,
    limits,
    text::{Amount, Currency, Label, Pointer},
};
use serde_json::Value;

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input, output,
    payload::{self, Attachment},
    record::{record_id, run_id},
    remote::{Actor, report},
    signing,
};

/// Start a run: log why it exists.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil trigger --source alertmanager --id 4711 --item alert.json --key keys/agent.key")]
pub struct StartRun {
    /// Where the event came from
    #[arg(long, value_name = "LABEL")]
    source: String,
    /// Its id there
    #[arg(long, value_name = "LABEL")]
    id: String,
    /// What kind of event it is
    #[arg(long, value_name = "LABEL")]
    kind: Option<String>,
    /// In a sentence
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// The event itself, as a salted commitment
    #[arg(long = "item", value_name = "[LABEL=]FILE")]
    items: Vec<Attachment>,
    /// The agent that owns the run [default: the signer]
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    owner: Option<Principal>,
    /// The owner's key [default: the only live agent key of the owner]
    #[arg(long, value_name = "KEY", value_parser = signing::public_key, requires = "owner")]
    owner_key: Option<PublicKey>,
}

/// Log what an agent saw or means to do.
#[derive(Args, Debug)]
pub struct Observe {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// evidence, triage, plan or note
    #[arg(long, default_value = "note", value_parser = |word: &str| ObservationKind::parse(word).ok_or("one of evidence, triage, plan, note"))]
    kind: ObservationKind,
    /// In a sentence
    #[arg(long, value_name = "TEXT", required_unless_present = "items")]
    summary: Option<String>,
    /// A file to name as a salted commitment
    #[arg(long = "item", value_name = "[LABEL=]FILE")]
    items: Vec<Attachment>,
}

/// Propose an exact action.
///
/// The action is a JSON file {"tool":…,"target":…,"arguments":{…},"mode":"apply"} in any spelling. An argument given by
/// --commit is recorded as a salted commitment to the file's text; its content goes into the bundle, not into the log.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil propose sha256:… --action action.json --commit /patch=fix.patch --for runtime --risk high")]
pub struct Propose {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The action, or - for standard input
    #[arg(long, value_name = "FILE")]
    action: PathBuf,
    /// An argument of the action, kept out of the log
    #[arg(long = "commit", value_name = "POINTER=FILE", value_parser = committed)]
    commits: Vec<(Pointer, PathBuf)>,
    /// Who may execute it: a principal, or group:NAME
    #[arg(long = "for", value_name = "WHO", value_parser = audience)]
    audience: Audience,
    /// low, medium, high or critical
    #[arg(long, value_parser = |word: &str| Risk::parse(word).ok_or("one of low, medium, high, critical"))]
    risk: Risk,
    /// What it costs, such as "12.50 EUR"
    #[arg(long, value_name = "AMOUNT CURRENCY", value_parser = cost)]
    cost: Option<Cost>,
    /// The delegation that it acts under
    #[arg(long, value_name = "ID", value_parser = record_id)]
    delegation: Option<RecordId>,
    /// A tag
    #[arg(long = "tag", value_name = "LABEL")]
    tags: Vec<String>,
    /// A label with a name, for whoever reads the proposal; repeat it for each
    #[arg(long, value_name = "NAME=VALUE", value_parser = named)]
    metadata: Vec<(Label, Label)>,
    /// In a sentence
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// A file that supports the proposal
    #[arg(long, value_name = "[LABEL=]FILE")]
    evidence: Vec<Attachment>,
    /// The proposal that this one revises
    #[arg(long, value_name = "ID", value_parser = record_id)]
    supersedes: Option<RecordId>,
}

/// Hand the run over to another agent.
#[derive(Args, Debug)]
pub struct HandOver {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The next owner
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    to: Principal,
    /// Its key [default: its only live agent key]
    #[arg(long, value_name = "KEY", value_parser = signing::public_key)]
    to_key: Option<PublicKey>,
    /// What it should know
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// A file to hand over
    #[arg(long = "item", value_name = "[LABEL=]FILE")]
    items: Vec<Attachment>,
}

impl StartRun {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Agent)?;
        let (content, openings) = payload::seal_all(&self.items)?;
        let body = Trigger {
            content,
            event: Event {
                id: payload::label(&self.id, "--id")?,
                kind: self.kind.as_ref().map(|kind| payload::label(kind, "--kind")).transpose()?,
                source: payload::label(&self.source, "--source")?,
            },
            owner: self.owner(&actor)?,
            summary: payload::text(self.summary.as_ref())?,
        };
        let logged = actor.session().trigger(body, &openings);
        report(context, Type::Trigger, None, logged.map(|(_, included)| included))
    }

    fn owner(&self, actor: &Actor) -> Outcome<Holder> {
        match &self.owner {
            Some(owner) => holder(actor, owner, self.owner_key),
            None => Ok(Holder { key: actor.key.key(), principal: actor.key.principal().clone() }),
        }
    }
}

impl Observe {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Agent)?;
        let (items, openings) = payload::seal_all(&self.items)?;
        let body = Observation { items, kind: self.kind, summary: payload::text(self.summary.as_ref())? };
        let view = actor.view(self.run)?;
        let logged = actor.session().observe(&view, body, &openings);
        report(context, Type::Observation, Some(self.run), logged)
    }
}

impl Propose {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Agent)?;
        let (action, mut openings) = self.action()?;
        let (evidence, more) = payload::seal_all(&self.evidence)?;
        openings.extend(more);
        let body = Proposal {
            action,
            audience: self.audience.clone(),
            cost: self.cost.clone(),
            delegation: self.delegation,
            evidence,
            metadata: self.metadata()?,
            risk: self.risk,
            summary: payload::text(self.summary.as_ref())?,
            supersedes: self.supersedes,
            tags: self.tags()?,
        };
        let view = actor.view(self.run)?;
        self.warn_of_nobody(&actor);
        let logged = actor.session().propose(&view, body, &openings);
        report(context, Type::Proposal, Some(self.run), logged)
    }

    /// The action as recorded, with what opens its commitments.
    fn action(&self) -> Outcome<(Action, Vec<Opening>)> {
        let bytes = input::read(&self.action, "action", limits::RECORD_BYTES * 2)?;
        let mut action = signing::parse_object(&bytes, "the action")?;
        let mut openings = Vec::new();
        if !self.commits.is_empty() {
            let members =
                action.entry("committed").or_insert_with(|| Value::Object(signing::Envelope::new()));
            for (pointer, path) in &self.commits {
                let content =
                    Value::String(input::read_text(path, "argument", limits::PAYLOAD_BYTES)?).to_string();
                let sealed = payload::seal_one(pointer.as_str(), "application/json", content.into_bytes())?;
                if let Value::Object(members) = members {
                    members.insert(pointer.to_string(), sealed.item.commitment.to_string().into());
                }
                openings.push(sealed.opening);
            }
        }
        action.entry("mode").or_insert_with(|| Mode::Apply.as_str().into());
        let json = Json::from_value(&Value::Object(action))
            .map_err(|fault| signing::malformed("the action", &fault))?;
        let action = Action::parse(json.as_str().as_bytes())
            .map_err(|fault| signing::malformed("the action", &fault))?;
        Ok((action, openings))
    }

    /// Says so if the log knows no key that could execute the proposal now. One may be enrolled later.
    fn warn_of_nobody(&self, actor: &Actor) {
        // The log tells nobody who is in a group.
        let Audience::Principal(runtime) = &self.audience else { return };
        let Ok(view) = actor.client.hints().and_then(|hints| hints.principal(runtime)) else { return };
        if !view.keys.iter().any(|key| key.role == Role::Runtime && key.status == "live") {
            output::note(&format!(
                "warning: {runtime} has no live runtime key in the log: nobody can execute this before one is enrolled\n"
            ));
        }
    }

    fn metadata(&self) -> Outcome<Option<Map<Label, Label>>> {
        if self.metadata.is_empty() {
            return Ok(None);
        }
        let message = format!("a name of the metadata is repeated, or there are more than {}", limits::NAMES);
        let fault = || Failure::new("field-invalid", message, "give each name once");
        Map::new(self.metadata.clone()).ok_or_else(fault).map(Some)
    }

    fn tags(&self) -> Outcome<Option<Set<Label, { limits::NAMES }>>> {
        if self.tags.is_empty() {
            return Ok(None);
        }
        let tags = self.tags.iter().map(|tag| payload::label(tag, "--tag")).collect::<Outcome<Vec<_>>>()?;
        let many = || Failure::new("field-invalid", format!("more than {} tags", limits::NAMES), "drop some");
        Set::new(tags).ok_or_else(many).map(Some)
    }
}

impl HandOver {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Agent)?;
        let to = holder(&actor, &self.to, self.to_key)?;
        let (items, openings) = payload::seal_all(&self.items)?;
        let summary = payload::text(self.summary.as_ref())?;
        let view = actor.view(self.run)?;
        let owner = view.run().map(|run| view.state().owner(run).0);
        if owner.is_some_and(|owner| owner == to) {
            let message = format!("{} owns the run already, with this key", to.principal);
            return Err(Failure::new(
                "owner-already",
                message,
                "name another agent, or another key with --to-key",
            ));
        }
        let logged = actor.session().handoff(&view, to, items, summary, &openings);
        report(context, Type::Handoff, Some(self.run), logged)
    }
}

/// An agent by name: its key is what the log says it is; whoever is named wrongly can't act, so a hint suffices.
pub fn holder(actor: &Actor, principal: &Principal, key: Option<PublicKey>) -> Outcome<Holder> {
    if let Some(key) = key {
        return Ok(Holder { key, principal: principal.clone() });
    }
    let view = actor.client.hints()?.principal(principal)?;
    let live: Vec<_> =
        view.keys.iter().filter(|key| key.role == Role::Agent && key.status == "live").collect();
    match live.as_slice() {
        [key] => Ok(Holder { key: key.key, principal: principal.clone() }),
        keys => {
            let message = format!("{principal} has {} live agent keys", keys.len());
            Err(Failure::new("key-not-named", message, "name its key: --to-key or --owner-key"))
        }
    }
}

/// A principal on the command line.
pub fn principal(text: &str) -> Result<Principal, String> {
    Principal::new(text).ok_or_else(|| format!("{text:?} is not {}", Principal::SYNTAX))
}

/// A principal, or `group:NAME`, on the command line.
pub fn audience(text: &str) -> Result<Audience, String> {
    match text.strip_prefix("group:") {
        Some(group) => principal(group).map(Audience::Group),
        None => principal(text).map(Audience::Principal),
    }
}

pub fn cost(text: &str) -> Result<Cost, String> {
    let read = |(amount, currency): (&str, &str)| {
        Some(Cost { amount: Amount::new(amount)?, currency: Currency::new(currency)? })
    };
    text.split_once(' ')
        .and_then(read)
        .ok_or_else(|| format!("{text:?} is no amount and currency such as \"12.50 EUR\""))
}

fn named(text: &str) -> Result<(Label, Label), String> {
    let read = |(name, value): (&str, &str)| Some((Label::new(name)?, Label::new(value)?));
    text.split_once('=')
        .and_then(read)
        .ok_or_else(|| format!("{text:?} is not NAME=VALUE, each of {}", Label::SYNTAX))
}

fn committed(text: &str) -> Result<(Pointer, PathBuf), String> {
    let read = |(pointer, path): (&str, &str)| Some((Pointer::new(pointer)?, PathBuf::from(path)));
    text.split_once('=')
        .and_then(read)
        .ok_or_else(|| format!("{text:?} is not POINTER=FILE, such as /patch=fix.patch"))
}
