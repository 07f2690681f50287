//! `counterfoil policy`: who must approve.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use counterfoil_receipt::{Place, Role, action::Json, body, limits};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome},
    input, output,
    remote::{self, Actor},
    signing,
    text::printable,
};

/// Show the policy, or change it.
#[derive(Args, Debug)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Set(Set),
}

/// Print the policy document in force, as the server says.
///
/// What was in force when something was executed is shown by its bundle: `counterfoil verify`.
#[derive(Args, Debug)]
struct Show {}

/// Log a policy document, signed by the authority.
///
/// It is in force from its entry on; what was approved under the policy before has to be approved again. Where the log wants
/// several authority keys, each of the others signs it with `counterfoil keys endorse ID`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil policy show > policy.json
  counterfoil policy set policy.json --key keys/authority.key")]
struct Set {
    /// The document (spec/policy.md): a JSON object in any spelling, or - for standard input
    file: PathBuf,
}

impl Policy {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Show(_) => show(context),
            Command::Set(command) => command.run(context),
        }
    }
}

fn show(context: &Context) -> Outcome {
    let client = remote::connect(context)?;
    let view = client.hints()?.policy()?;
    let (Some(digest), Some(document)) = (view.digest, view.document) else {
        let message = "no policy is in force, so nothing can be approved";
        let hint = "have the authority log one with `counterfoil policy set FILE`";
        return Err(Failure::new("no-policy", message, hint).with_status(NOT_SHOWN));
    };
    let document = document.to_value();
    if context.json {
        output::print_json(&json!({"digest": digest.to_string(), "document": document}))?;
    } else {
        output::note(&format!("policy {digest}, by the server's word\n"));
        output::print_json(&document)?;
    }
    Ok(0)
}

impl Set {
    fn run(&self, context: &Context) -> Outcome {
        let document = input::read(&self.file, "policy", limits::RECORD_BYTES)?;
        let document = Value::Object(signing::parse_object(&document, "the policy")?);
        let document =
            Json::from_value(&document).map_err(|fault| signing::malformed("the policy", &fault))?;
        counterfoil_policy::Policy::parse(document.as_str().as_bytes()).map_err(|fault| {
            let message = printable(&format!("no log would take it: {fault}"));
            Failure::new("policy-unreadable", message, "compare it with spec/policy.md")
        })?;
        let actor = Actor::new(context, Role::Authority)?;
        let prev = actor.client.hints()?.policy()?.prev;
        let place = Place::Chain { log: actor.client.trust().genesis(), prev };
        actor.submit(context, place, body::Policy::Document(document))
    }
}
