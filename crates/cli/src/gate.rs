//! `counterfoil gate`: run a command if, and only if, exactly it was approved.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Subcommand};
use counterfoil_client::{PinnedClient, SystemClock, View};
use counterfoil_gate::{
    Config, Effect, Ended, Gate as Driver, GateError, Idempotent, PolicyPin, Ran, Refusal, Settled,
    command::{CommandAction, CommandError},
};
use counterfoil_receipt::{Action, RecordId, Role, RunId, action::Mode, body::Status, text::Text};
use counterfoil_verify::{ProposalState, ProposalStatus, Run as RunState, State};
use serde_json::{Value, json};

use crate::{
    apply,
    context::Context,
    error::{Failure, HELD, NOT_SHOWN, Outcome, VIOLATED},
    gate_check, gate_stop, input,
    interrupt::{Interrupt, Uninterrupted},
    output,
    policy_file::PolicyFile,
    record::{record_id, run_id},
    remote::Actor,
    signing,
    tether::{self, Tether, Tethered},
    text::printable,
    time,
};

/// Where programs are looked for if --env says nothing: it decides what is run, so it is part of the action.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How long an outcome is submitted again before it is left for the next start.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(30);
/// How long equal refusals are counted into one record.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// Let approved commands pass, and nothing else.
#[derive(Args, Debug)]
pub struct Gate {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Run(Run),
    Apply(apply::Apply),
    Check(gate_check::Check),
    Stop(gate_stop::Stop),
    Action(MakeAction),
    Settle(SettleOpen),
    /// Hold what a gate runs; for the gate's own use
    #[command(hide = true)]
    Tether,
}

/// Run the command if exactly it was approved: log the execution, check it, run, log the outcome.
///
/// Exit status: 0 it ran and succeeded, 1 refused or failed, 2 wrongly used, or something that could not be read or written, 3 no evidence,
/// also where the log does not answer, 4 not decided yet. The command's output is passed on; its environment is what --env says and nothing
/// else.
///
/// The command runs in a process group of its own, without input and without a terminal. INT, TERM and HUP are passed on to the
/// group, once; the gate waits for the command, and logs what became of it. If the gate itself is killed, the group is killed
/// with it. What leaves the group, such as a daemon, or runs as another user is left alone.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil gate action -- make deploy > action.json
  counterfoil propose sha256:… --action action.json --for runtime --risk high
  counterfoil gate run sha256:… --wait 10m -- make deploy")]
struct Run {
    #[command(flatten)]
    which: Which,
    /// Wait this long for a decision
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    wait: Option<u64>,
    /// What the command talks to does once what it is asked for twice under one COUNTERFOIL_IDEMPOTENCY_KEY: where nobody knows what became
    /// of it, it may be tried again, if the policy lets it
    #[arg(long)]
    idempotent: bool,
    /// Hold to this policy: while another one is in force, refuse
    #[arg(long, value_name = "FILE")]
    policy: Option<std::path::PathBuf>,
    /// Don't wait for people, for this reason, if the policy allows break-glass: it is on record, and people review it afterwards
    #[arg(long, value_name = "REASON", conflicts_with = "wait")]
    break_glass: Option<String>,
}

/// Print the action that running a command is, for `counterfoil propose --action`.
#[derive(Args, Debug)]
struct MakeAction {
    #[command(flatten)]
    what: What,
}

/// Record what an earlier process left open: the outcome it had, or that it is unknown.
#[derive(Args, Debug)]
struct SettleOpen {}

#[derive(Args, Debug)]
struct Which {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The proposal [default: of those of the run whose action is this command the last that may be executed, or the last]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    proposal: Option<RecordId>,
    #[command(flatten)]
    what: What,
}

#[derive(Args, Debug)]
struct What {
    #[command(flatten)]
    place: Where,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

/// Where a command runs, and with what.
#[derive(Args, Debug)]
pub struct Where {
    /// An environment variable of the command: NAME=VALUE, or NAME to take it from here
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Where it runs [default: here]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// The preview of the command, an action of its own: COUNTERFOIL_PREVIEW is 1 for it, and then it has to change nothing
    #[arg(long)]
    preview: bool,
}

impl Gate {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Run(command) => command.run(context),
            Command::Apply(command) => command.run(context),
            Command::Check(command) => command.run(context),
            Command::Stop(command) => command.run(context),
            Command::Action(command) => {
                let action = command.what.command()?.to_action().map_err(|error| unfit(&error))?;
                output::print_json(&signing::field_json(&action))?;
                Ok(0)
            }
            Command::Settle(_) => {
                let (gate, settled) = driver(context, Actor::new(context, Role::Runtime)?)?;
                gate.flush_refusals();
                if context.json {
                    output::print_json(&settled.iter().map(settled_json).collect())?;
                } else if settled.is_empty() {
                    output::print("no execution was open\n")?;
                } else {
                    output::print(&settled.iter().map(settled_line).collect::<String>())?;
                }
                Ok(if settled.iter().any(|one| matches!(one, Settled::Open(..))) { NOT_SHOWN } else { 0 })
            }
            Command::Tether => tether::hold(),
        }
    }
}

impl Run {
    fn run(&self, context: &Context) -> Outcome {
        let command = self.which.what.command()?;
        let action = command.to_action().map_err(|error| unfit(&error))?;
        let actor = Actor::new(context, Role::Runtime)?;
        let view = actor.evidence(self.which.run)?;
        let proposal = proposal_about(view.state(), view.run(), self.which.proposal, &action);
        let proposal = match proposal {
            Ok(proposal) => proposal,
            Err(refusal) => {
                let failure = Failure::from(&refusal);
                let (gate, _) = driver(context, actor)?;
                // It stands by itself; its record is a courtesy.
                let _ = gate.refuse(self.which.run, &action, &refusal);
                return Err(failure);
            }
        };
        if is_unused(&view, &proposal, &action) {
            // What can't start is told before a use of the approval is spent on it. What was not proposed is the gate's to refuse.
            command.can_start().map_err(|error| unfit(&error))?;
        }
        let interrupt = Interrupt::default();
        let effect = Tethered {
            tether: Tether::start()?,
            interrupt: interrupt.clone(),
            pass_on: !context.json,
            previews: self.which.what.place.preview,
        };
        let mut effect = Uninterrupted { interrupt, effect };
        let mut idempotent;
        let effect: &mut dyn Effect = if self.idempotent {
            idempotent = Idempotent(effect);
            &mut idempotent
        } else {
            &mut effect
        };
        let how = (self.patience()?, pin(self.policy.as_deref())?);
        pass(context, actor, (self.which.run, proposal), &action, effect, how)
    }

    fn patience(&self) -> Outcome<Patience> {
        let Some(reason) = &self.break_glass else { return Ok(Patience::Wait(self.wait.unwrap_or(0))) };
        let text = Text::new(reason.as_str()).filter(|text| !text.as_str().trim().is_empty());
        let unfit =
            || Failure::new("field-invalid", "--break-glass is no reason", "say why it can't wait, in words");
        text.map(Patience::BreakGlass).ok_or_else(unfit)
    }
}

/// How long an action may wait for people.
pub enum Patience {
    /// So many milliseconds.
    Wait(u64),
    /// Not at all, for this reason.
    BreakGlass(Text),
}

/// Whether exactly this was proposed and was never executed.
fn is_unused(view: &View, proposal: &RecordId, action: &Action) -> bool {
    let proposed = view.run().and_then(|run| run.proposal(proposal));
    proposed.is_some_and(|proposed| proposed.digest == action.digest() && proposed.uses.is_empty())
}

/// The proposal that was named; else of those of the run that are about this action the last that may be executed, or the last.
pub fn proposal_about(
    state: &State,
    run: Option<&RunState>,
    named: Option<RecordId>,
    action: &Action,
) -> Result<RecordId, Refusal> {
    if let Some(proposal) = named {
        return Ok(proposal);
    }
    let proposals = run.map(RunState::proposals).unwrap_or_default();
    let digest = action.digest();
    let same = || proposals.iter().rev().filter(|(_, proposal)| proposal.digest == digest);
    let is_approved = |(id, _): &&(RecordId, &ProposalState)| {
        run.and_then(|run| state.proposal_status(run, id)) == Some(ProposalStatus::Approved)
    };
    let chosen = same().find(is_approved).or_else(|| same().next());
    chosen.map(|(id, _)| *id).ok_or_else(|| no_such_action(state, run, &proposals, action))
}

/// The refusal of an action that nobody proposed; the proposal that waits to be executed shows in what it differs.
fn no_such_action(
    state: &State,
    run: Option<&RunState>,
    proposals: &[(RecordId, &ProposalState)],
    action: &Action,
) -> Refusal {
    let waits = proposals.iter().rev().find(|(id, _)| {
        let status = run.and_then(|run| state.proposal_status(run, id));
        matches!(status, Some(ProposalStatus::Open | ProposalStatus::Approved))
    });
    let difference = waits.and_then(|(_, proposal)| proposal.action.first_difference(action));
    let show = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
    let differs = difference.map_or(String::new(), |difference| {
        format!(
            ": {} is {} there and {} here",
            difference.path,
            show(difference.left),
            show(difference.right)
        )
    });
    let detail = format!("no proposal of the run is about this{differs}");
    Refusal { code: "action-differs".to_owned(), detail }
}

impl What {
    fn command(&self) -> Outcome<CommandAction> {
        self.place.command(&self.argv)
    }
}

impl Where {
    /// A command there.
    pub fn command(&self, argv: &[String]) -> Outcome<CommandAction> {
        let mut env = BTreeMap::from([("PATH".to_owned(), PATH.to_owned())]);
        for variable in &self.env {
            let (name, value) = match variable.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (variable.clone(), std::env::var(variable).map_err(|_| no_variable(variable))?),
            };
            env.insert(name, value);
        }
        let cwd = match &self.cwd {
            Some(cwd) => cwd.clone(),
            None => std::env::current_dir()
                .ok()
                .and_then(|dir| dir.into_os_string().into_string().ok())
                .ok_or_else(|| {
                    Failure::new(
                        "no-directory",
                        "the current directory has no name that a record can hold",
                        "give one with --cwd",
                    )
                })?,
        };
        let mode = if self.preview { Mode::Preview } else { Mode::Apply };
        Ok(CommandAction { argv: argv.to_vec(), cwd, env, mode })
    }
}

/// Why a command is none, or none that could start. Nothing was logged.
pub fn unfit(error: &CommandError) -> Failure {
    let (code, hint) = match error {
        CommandError::Shape(_) | CommandError::Malformed(_) => {
            ("not-a-command", "add --help to see what the command takes")
        }
        CommandError::NoDirectory(_) => {
            ("directory-missing", "nothing was logged; make it, then run this again")
        }
        CommandError::NoProgram { .. } => (
            "program-missing",
            "nothing was logged; install it, or have a command with another PATH proposed",
        ),
        CommandError::NotExecutable(_) => {
            ("program-not-executable", "nothing was logged; make it executable, then run this again")
        }
    };
    let text = error.to_string();
    let why = text.strip_prefix(code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&text);
    Failure::new(code, printable(why), hint)
}

fn no_variable(name: &str) -> Failure {
    let message = format!("the variable {} is not set, or is no text", printable(name));
    Failure::new("no-variable", message, "write NAME=VALUE")
}

/// Settles what an earlier process left open, lets the action of a run's proposal pass if exactly it was approved, waiting
/// this many milliseconds for that, and says how it ended.
pub fn pass(
    context: &Context,
    actor: Actor,
    (run, proposal): (RunId, RecordId),
    action: &Action,
    effect: &mut dyn Effect,
    (patience, pin): (Patience, Option<PolicyPin>),
) -> Outcome {
    let (gate, settled) = driver(context, actor)?;
    let gate = gate.holding_to(pin);
    for settled in &settled {
        output::note(&format!("settled first: {}", settled_line(settled)));
    }
    let ended = match patience {
        Patience::Wait(wait) => {
            gate.run_when_approved(run, proposal, action, effect, Duration::from_millis(wait))
        }
        Patience::BreakGlass(reason) => gate.break_glass(run, proposal, action, effect, reason),
    };
    report(context, ended.map_err(|error| gate_failure(&error))?)
}

/// The policy of a file, for a gate that holds to it.
pub fn pin(file: Option<&std::path::Path>) -> Outcome<Option<PolicyPin>> {
    let Some(path) = file else { return Ok(None) };
    let remedy = format!("counterfoil policy set {}", input::shown(path));
    Ok(Some(PolicyPin { digest: PolicyFile::read(path)?.digest(), remedy }))
}

/// The gate, and what it settled of what an earlier process left open.
pub fn driver(context: &Context, actor: Actor) -> Outcome<(Driver<PinnedClient>, Vec<Settled>)> {
    let dir = context.file("gate");
    std::fs::create_dir_all(&dir).map_err(|error| output::unwritable(&dir, &error))?;
    let runtime = actor.key.principal().clone();
    let config = Config {
        dir,
        runtime,
        signer: Box::new(actor.key),
        clock: Box::new(SystemClock),
        outcome_patience: OUTCOME_PATIENCE,
        refusal_pause: REFUSAL_PAUSE,
    };
    let gate = Driver::new(actor.client, config).map_err(|error| gate_failure(&error))?;
    let settled = gate.settle_open().map_err(|error| gate_failure(&error))?;
    Ok((gate, settled))
}

/// Says how a request ended.
fn report(context: &Context, ended: Ended) -> Outcome {
    match ended {
        Ended::Ran(ran) => {
            say(context, &ran_json(&ran), &ran_text(&ran))?;
            Ok(if ran.done.status == Status::Succeeded { 0 } else { VIOLATED })
        }
        Ended::NotRun { execution, refusal, .. } => {
            let why = format!("execution {execution} was logged and nothing was run: {}", refusal.detail);
            Err(refused(&refusal.code, &why))
        }
        Ended::Held(why) => Err(held(&why)),
        Ended::Refused { refusal, .. } => Err(refused(&refusal.code, &refusal.detail)),
    }
}

fn ran_json(ran: &Ran) -> Value {
    json!({
        "ended": "ran", "execution": ran.execution.to_string(), "outcome": ran.outcome.map(|id| id.to_string()),
        "status": ran.done.status.to_string(), "effects": ran.done.effects.to_string(), "detail": ran.done.detail,
    })
}

fn ran_text(ran: &Ran) -> String {
    let outcome = ran.outcome.map_or_else(
        || "NOT LOGGED: `counterfoil gate settle` tries again".to_owned(),
        |outcome| outcome.to_string(),
    );
    let (status, effects) = (ran.done.status, ran.done.effects);
    let why = ran.done.detail.as_ref().map_or(String::new(), |why| format!(": {why}"));
    format!("execution {}\noutcome   {outcome}\n{status}, effects {effects}{why}", ran.execution)
}

/// What became of an execution that was left open, for a person.
fn settled_line(settled: &Settled) -> String {
    match settled {
        Settled::Recorded { execution, outcome } => {
            format!("execution {execution} was left open; its outcome is logged now, as {outcome}\n")
        }
        Settled::Known(execution) => format!("execution {execution} has its outcome in the log already\n"),
        Settled::NeverLogged(execution) => {
            format!("execution {execution} was never logged and never will be\n")
        }
        Settled::Open(execution, why) => format!("execution {execution} stays open: {}\n", printable(why)),
    }
}

/// The same for a program.
fn settled_json(settled: &Settled) -> Value {
    match settled {
        Settled::Recorded { execution, outcome } => {
            json!({"settled": "recorded", "execution": execution.to_string(), "outcome": outcome.to_string()})
        }
        Settled::Known(execution) => json!({"settled": "known", "execution": execution.to_string()}),
        Settled::NeverLogged(execution) => {
            json!({"settled": "never_logged", "execution": execution.to_string()})
        }
        Settled::Open(execution, why) => {
            json!({"settled": "open", "execution": execution.to_string(), "why": why})
        }
    }
}

/// Says how it ended: on standard error, because standard output is the command's.
pub fn say(context: &Context, json: &Value, text: &str) -> Outcome<()> {
    if context.json {
        return output::print_json(json);
    }
    output::note(&format!("{}\n", crate::text::printable_lines(text)));
    Ok(())
}

pub fn held(why: &str) -> Failure {
    let message = format!("not decided yet: {}", printable(why));
    Failure::new("held", message, "have it approved with `counterfoil approve RUN`, or wait with --wait 10m")
        .with_status(HELD)
}

pub fn refused(code: &str, detail: &str) -> Failure {
    Failure::new(code, format!("refused: {}", printable(detail)), crate::advice::when_refused(code))
        .with_status(VIOLATED)
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        refused(&refusal.code, &refusal.detail)
    }
}

/// What a gate's error means for a person.
fn gate_failure(error: &GateError) -> Failure {
    let text = error.to_string();
    let (code, status, hint) = match error {
        GateError::NotProposed(_) => {
            ("not-proposed", NOT_SHOWN, "check that the server answers, with `counterfoil doctor`")
        }
        GateError::NotSettled => ("not-settled", NOT_SHOWN, "run `counterfoil gate settle`"),
        GateError::NoEvidence(_) => (
            "no-evidence",
            NOT_SHOWN,
            "nothing was run; check that the server answers, with `counterfoil doctor`",
        ),
        GateError::Unconfirmed { .. } => {
            ("unconfirmed", NOT_SHOWN, "nothing was run; `counterfoil gate settle` records that")
        }
        GateError::Open(_) => (
            "open-executions",
            2,
            "check the directory `gate` of the working directory, its owner and the disk",
        ),
        GateError::Sign(_) => ("no-signature", 2, "check the runtime's key file"),
        GateError::Clock(_) => ("clock", 2, "set the clock of this machine"),
        GateError::Random(_) => ("random", 2, "the system has no randomness to give; try again"),
    };
    let why = text.strip_prefix(code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&text);
    Failure::new(code, printable(why), hint).with_status(status)
}
