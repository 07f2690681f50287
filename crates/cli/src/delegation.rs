//! `counterfoil delegation`: who may propose what, on whose behalf, within which bounds.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use counterfoil_client::DelegationView;
use counterfoil_policy as policy;
use counterfoil_receipt::{
    Malformed, Place, Principal, PublicKey, RecordId, Role,
    body::{Audience, Cost, Delegation as Body, Revocation, RevocationTarget, Spend},
    bundle::read_line,
    json, limits,
};
use serde_json::{Map, Value, json};

use crate::{
    agent::{audience, cost, holder, principal},
    context::Context,
    error::{Failure, Outcome},
    input, output, payload,
    record::record_id,
    remote::{self, Actor},
    review,
    signing::{field_json, malformed, parse_object, public_key},
    style::Style,
    text::{counted, printable},
    time,
};

/// Grant, narrow and end delegations, and see what is used up of them.
#[derive(Args, Debug)]
pub struct Delegation {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Grant(Box<Grant>),
    Revoke(Revoke),
    List(List),
    Show(Show),
}

/// Let the holder of a key propose actions within bounds.
///
/// The authority grants it; with --under, whoever holds a delegation passes on some of it, an agent unless --key and --to-key name
/// others' keys. What is not bounded here is bounded
/// as above. A delegation replaces no approval: `counterfoil policy` says what needs one, and what needs a delegation.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil delegation grant --to refunds-bot --tool payments.refund --total '5000 EUR' --per-action '200 EUR' --depth 1
  counterfoil delegation grant --under sha256:… --to helper --scope scope.json --key keys/refunds-bot.key

scope.json, with bounds on arguments (spec/delegation.md):
  [{\"tool\":\"payments.refund\",\"target\":\"shop-*\",\"arguments\":{\"/reason\":{\"one_of\":[\"damaged\",\"late\"]}}}]")]
struct Grant {
    /// Who may propose under it
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    to: Principal,
    /// The key that they sign with [default: their only live agent key]
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    to_key: Option<PublicKey>,
    /// Which tools, with * for any string; repeat it for each
    #[arg(long = "tool", value_name = "GLOB", required_unless_present = "scope")]
    tools: Vec<String>,
    /// On which targets
    #[arg(long, value_name = "GLOB", conflicts_with = "scope")]
    target: Option<String>,
    /// Which tools, targets and arguments: a JSON array, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "tools")]
    scope: Option<PathBuf>,
    /// The delegation of which this passes on some
    #[arg(long, value_name = "ID", value_parser = record_id)]
    under: Option<RecordId>,
    /// The most that one action may cost, such as "12.50 EUR"
    #[arg(long, value_name = "AMOUNT CURRENCY", value_parser = cost)]
    per_action: Option<Cost>,
    /// The most that all of them may cost together
    #[arg(long, value_name = "AMOUNT CURRENCY", value_parser = cost)]
    total: Option<Cost>,
    /// How many actions at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    uses: Option<u64>,
    /// How often it may be passed on
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=16))]
    depth: u64,
    /// Who may execute: a principal, or group:NAME
    #[arg(long = "for", value_name = "WHO", value_parser = audience)]
    audience: Option<Audience>,
    /// Log time from which it may be used, such as 2026-11-21T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    not_before: Option<u64>,
    /// Log time until which it may
    #[arg(long, value_name = "TIME", value_parser = time::parse_instant)]
    not_after: Option<u64>,
}

/// End a delegation, and everything that was passed on of it: at once.
///
/// The authority may; with --key, whoever passed it on, and its own delegate.
#[derive(Args, Debug)]
struct Revoke {
    /// The delegation
    #[arg(value_parser = record_id)]
    delegation: RecordId,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// List delegations, the newest first, and what is used up of them. It is the server's word.
#[derive(Args, Debug)]
struct List {
    /// Those to this principal
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    delegate: Option<Principal>,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
    /// Those that took effect before this log index
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
}

/// Show a delegation with all above it, up to that of the authority. It is the server's word.
#[derive(Args, Debug)]
struct Show {
    /// The delegation
    #[arg(value_parser = record_id)]
    delegation: RecordId,
}

impl Delegation {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Grant(command) => command.run(context),
            Command::Revoke(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Show(command) => command.run(context),
        }
    }
}

impl Grant {
    fn run(&self, context: &Context) -> Outcome {
        let role = if self.under.is_some() { Role::Agent } else { Role::Authority };
        let mut body = self.scope()?;
        let actor = Actor::new(context, role)?;
        let log = actor.client.trust().genesis();
        let spend = (self.per_action.is_some() || self.total.is_some())
            .then(|| Spend { per_action: self.per_action.clone(), total: self.total.clone() });
        let members = [
            ("audience", self.audience.as_ref().map(field_json)),
            ("delegate", Some(field_json(&holder(&actor, &self.to, self.to_key)?))),
            ("depth", Some(self.depth.into())),
            ("not_after", self.not_after.map(Value::from)),
            ("not_before", self.not_before.map(Value::from)),
            ("spend", spend.as_ref().map(field_json)),
            ("uses", self.uses.map(Value::from)),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        body.extend(given);
        let body = read_body(&Value::Object(body)).map_err(|fault| malformed("the delegation", &fault))?;
        policy::Scope::read(&body.scope.0).map_err(|why| {
            Failure::new("delegation-unreadable", printable(&why.to_string()), "see spec/delegation.md §1")
        })?;
        actor.submit(context, Place::Chain { log, prev: self.under.unwrap_or(log) }, body)
    }

    /// The member `scope`: of the tools that are named, or of the file.
    fn scope(&self) -> Outcome<Map<String, Value>> {
        let scope = match &self.scope {
            Some(path) => input::read(path, "scope", limits::RECORD_BYTES)?,
            None => {
                let entry = |tool: &String| match &self.target {
                    Some(target) => json!({"target": target, "tool": tool}),
                    None => json!({"tool": tool}),
                };
                self.tools.iter().map(entry).collect::<Value>().to_string().into_bytes()
            }
        };
        parse_object(&[br#"{"scope":"#, &*scope, b"}"].concat(), "the scope")
    }
}

fn read_body(body: &Value) -> Result<Body, Malformed> {
    read_line(&json::to_canonical(body).map_err(Malformed::from)?)
}

impl Revoke {
    fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Authority)?;
        let body = Revocation {
            distrust_from: None,
            reason: payload::text(self.reason.as_ref())?,
            target: RevocationTarget::Delegation(self.delegation),
        };
        actor.submit(context, Place::Single { log: actor.client.trust().genesis() }, body)
    }
}

impl List {
    fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let list = client.hints()?.delegations(self.delegate.as_ref(), self.before, self.limit)?;
        if context.json {
            let listed: Vec<Value> = list.delegations.iter().map(to_json).collect();
            output::print_json(
                &json!({"format": "counterfoil-delegations/1", "delegations": listed, "next": list.next}),
            )?;
            return Ok(0);
        }
        for delegation in &list.delegations {
            output::print(&to_text(delegation, context.style))?;
        }
        if let Some(next) = list.next {
            output::note(&format!("more: counterfoil delegation list --before {next}\n"));
        }
        Ok(0)
    }
}

impl Show {
    fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let chain = client.hints()?.delegation(self.delegation)?;
        if context.json {
            let chain: Vec<Value> = chain.iter().map(to_json).collect();
            output::print_json(&json!({"format": "counterfoil-delegation/1", "chain": chain}))?;
            return Ok(0);
        }
        for delegation in &chain {
            output::print(&to_text(delegation, context.style))?;
        }
        Ok(0)
    }
}

fn to_json(view: &DelegationView) -> Value {
    json!({
        "id": view.id.to_string(),
        "index": view.index,
        "narrows": view.narrows.map(|id| id.to_string()),
        "issuer": view.issuer.as_ref().map(|issuer| issuer.as_str()),
        "body": field_json(&view.body),
        "ended": view.ended,
        "spent": view.spent,
        "used": view.used,
    })
}

fn to_text(view: &DelegationView, style: Style) -> String {
    let body = &view.body;
    let by = view.issuer.as_ref().map_or("the authority", |issuer| issuer.as_str());
    let mut out = format!("{} {}\n", style.bold("delegation"), view.id);
    let mut line = |name: &str, text: String| out.push_str(&format!("  {name:<10} {}\n", printable(&text)));
    line("to", format!("{} with {}, from {by}", body.delegate.principal, body.delegate.key));
    if let Some(narrows) = view.narrows {
        line("within", narrows.to_string());
    }
    for entry in &body.scope.0 {
        let target = entry.target.as_ref().map_or(String::new(), |target| format!(" on {target}"));
        let arguments =
            entry.arguments.as_ref().map_or(String::new(), |tests| format!(" where {}", tests.as_str()));
        line("tool", format!("{}{target}{arguments}", entry.tool));
    }
    let money = |cost: &Cost| format!("{} {}", cost.amount, cost.currency);
    let spend = body.spend.as_ref();
    if let Some(most) = spend.and_then(|spend| spend.per_action.as_ref()) {
        line("an action", format!("costs {} at most", money(most)));
    }
    if let Some(most) = spend.and_then(|spend| spend.total.as_ref()) {
        line("in all", format!("{} of {} are spent", view.spent, money(most)));
    }
    match body.uses {
        Some(uses) => line("uses", format!("{} of {uses}", view.used)),
        None => line("uses", view.used.to_string()),
    }
    if let Some(who) = &body.audience {
        line("done by", review::audience(who));
    }
    for (name, time) in [("from", body.not_before), ("until", body.not_after)] {
        if let Some(time) = time {
            line(name, time::utc(time.get()));
        }
    }
    line(
        "passed on",
        if body.depth.get() == 0 {
            "never".to_owned()
        } else {
            format!("{} at most", counted(body.depth.get(), "time"))
        },
    );
    if let Some(why) = &view.ended {
        line("ended", style.bad(why));
    }
    out.push('\n');
    out
}
