//! What a human decides: approve, reject, ask for changes; and later settle what stayed unknown.

use std::{
    io::{BufRead, IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use counterfoil_client::{Ballot, View, Vote};
use counterfoil_policy::Assessment;
use counterfoil_receipt::{
    Action, RecordId, Role, RunId, UnverifiedRecord,
    action::{Json, Mode},
    body::{Body, Changes, Effects, Settlement, Status, Surface, Type, Window},
    field::Uses,
    limits,
};
use counterfoil_verify::{ProposalState, ProposalStatus};
use serde_json::Value;

use crate::{
    context::Context,
    error::{Failure, HELD, Outcome, VIOLATED},
    input, output,
    payload::{self, Attachment},
    reading,
    record::{record_id, run_id},
    remote::Actor,
    review, signing,
    text::counted,
    time,
};

/// How far the approver's clock may be ahead of the log's without the window opening too late.
const SKEW: u64 = 30_000;
/// Milliseconds of the window if neither the caller nor the policy says less: 15 min.
const WINDOW: u64 = 900_000;

/// Which proposal, and whether to ask.
#[derive(Args, Debug)]
struct Which {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The proposal [default: the only one that can be decided]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    proposal: Option<RecordId>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// Approve a proposal after showing exactly what it would do.
///
/// The run is fetched and verified first. What is shown is what the decision commits to.
///
/// Exit status: 0 it is logged, 1 the log or the policy does not allow it, 3 the run does not verify, 4 you did not say yes.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil approve sha256:… --window 15m --key keys/human.key")]
pub struct Approve {
    #[command(flatten)]
    which: Which,
    /// How often it may be executed
    #[arg(long, value_name = "N", default_value = "1", value_parser = uses)]
    uses: Uses,
    /// For how long [default: 15m, or less if the policy says so]
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    window: Option<u64>,
}

/// Reject a proposal.
#[derive(Args, Debug)]
pub struct Reject {
    #[command(flatten)]
    which: Which,
    /// Sign, and write the record here instead of logging it: `counterfoil gate stop FILE` has a gate heed it without the log
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// Send a proposal back with a note, or with the action that you would approve.
#[derive(Args, Debug)]
pub struct RequestChanges {
    #[command(flatten)]
    which: Which,
    /// What should change
    #[arg(long, value_name = "TEXT", required_unless_present = "action")]
    note: Option<String>,
    /// The action that you would rather see, as JSON
    #[arg(long, value_name = "FILE")]
    action: Option<PathBuf>,
}

/// Say what became of an execution whose outcome stayed unknown.
///
/// One that a gate of this directory runs now is left to it: `still-running`. Of one that runs elsewhere nobody here knows.
#[derive(Args, Debug)]
pub struct Settle {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The execution [default: the only one that is open]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    execution: Option<RecordId>,
    /// succeeded or failed
    #[arg(long, value_parser = |word: &str| Status::parse(word).filter(|status| *status != Status::Unknown).ok_or("one of succeeded, failed"))]
    status: Status,
    /// none, partial or complete
    #[arg(long, value_parser = |word: &str| Effects::parse(word).filter(|effects| *effects != Effects::Unknown).ok_or("one of none, partial, complete"))]
    effects: Effects,
    /// How you know
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// A file that shows it
    #[arg(long, value_name = "[LABEL=]FILE")]
    evidence: Vec<Attachment>,
}

impl Approve {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let case = Case::open(context, &self.which)?;
        case.view.is_sound()?;
        case.is_disclosed()?;
        let (from, until) = self.window(time::now(), &case)?;
        let window = Window { from: time::millis(from)?, until: time::millis(until)? };
        case.note_earlier_approval(time::now());
        case.note_missing_preview();
        let question = format!("approve, {} until {}", counted(self.uses.get(), "use"), time::utc(until));
        case.decide(context, &self.which, &question, Vote::Approve { window, uses: self.uses })
    }

    /// From when until when the approval holds. It opens a little early, so that an approver whose clock is ahead of the
    /// log's does not hold up the runtime.
    ///
    /// Terms beyond the policy would be logged and count for nothing, so they are not signed.
    fn window(&self, now: u64, case: &Case) -> Outcome<(u64, u64)> {
        let (state, proposal) = (case.view.state(), case.view.proposal(&case.proposal).ok());
        let assessment = proposal.and_then(|proposal| state.assess(proposal));
        if let Some(Assessment::Denied(denial)) = &assessment {
            let hint = "ask for another action, or have the authority change the policy";
            return Err(Failure::new("policy-denied", denial.to_string(), hint).with_status(VIOLATED));
        }
        let uses = assessment.as_ref().map_or(self.uses.get(), Assessment::uses);
        let granted = assessment.as_ref().and_then(Assessment::window);
        let granted = granted.unwrap_or(counterfoil_policy::limits::WINDOW_MILLIS);
        let length = self.window.unwrap_or(WINDOW.min(granted));
        let beyond = |what: String| {
            let hint = "ask for less, or have the authority change the policy";
            Err(Failure::new("terms-exceed-policy", what, hint).with_status(VIOLATED))
        };
        if self.uses.get() > uses {
            return beyond(format!("the policy grants {}, not {}", counted(uses, "use"), self.uses));
        }
        if length > granted {
            return beyond(format!("the policy grants {}, not {}", time::span(granted), time::span(length)));
        }
        let from = now.saturating_sub(SKEW.min(length / 2));
        Ok((from, from.saturating_add(length)))
    }
}

impl Reject {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let case = Case::open(context, &self.which)?;
        let Some(to) = &self.to else { return case.decide(context, &self.which, "reject", Vote::Reject) };
        let ballot = case.ballot(context, &self.which, "reject", Vote::Reject)?;
        let (record, _) = case.actor.session().sign_decision(&case.view, ballot)?;
        std::fs::write(to, record.bytes()).map_err(|error| output::unwritable(to, &error))?;
        output::note("signed, and not logged: hand it to who runs the gate\n");
        Ok(0)
    }
}

impl RequestChanges {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let action = self.action.as_deref().map(read_action).transpose()?;
        let changes = Changes { action, note: payload::text(self.note.as_ref())? };
        let case = Case::open(context, &self.which)?;
        case.decide(context, &self.which, "ask for changes", Vote::RequestChanges(Some(changes)))
    }
}

impl Settle {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let actor = Actor::new(context, Role::Human)?;
        let view = actor.view(self.run)?;
        let execution = match self.execution {
            Some(execution) => execution,
            None => only_open_execution(&view)?,
        };
        is_over(context, &view, &execution)?;
        let (evidence, openings) = payload::seal_all(&self.evidence)?;
        let reason = payload::text(self.reason.as_ref())?;
        let body = Settlement { effects: self.effects, evidence, execution, reason, status: self.status };
        let logged = actor.session().settle(&view, body, &openings);
        actor.report(context, Type::Settlement, self.run, logged)
    }
}

/// A proposal in front of an approver.
struct Case {
    actor: Actor,
    view: View,
    reading: reading::Reading,
    proposal: RecordId,
}

impl Case {
    /// Fetches and verifies the run, and finds the proposal.
    fn open(context: &Context, which: &Which) -> Outcome<Self> {
        let actor = Actor::new(context, Role::Human)?;
        let view = actor.view(which.run)?;
        let proposal = match which.proposal {
            Some(proposal) => proposal,
            None => only_open_proposal(&view)?,
        };
        let reading = reading::read_bytes(view.bundle(), actor.client.trust(), time::now());
        let case = Self { actor, view, reading, proposal };
        case.record().map(|_| ())?;
        Ok(case)
    }

    fn record(&self) -> Outcome<&UnverifiedRecord> {
        self.reading.record(&self.proposal).filter(|record| review::is_proposal(record)).ok_or_else(|| {
            let message = format!("{} is no proposal of this run", self.proposal);
            Failure::new("proposal-unknown", message, "list them with `counterfoil resume RUN`")
        })
    }

    /// The outcome of the preview that the proposal names.
    fn previewed(&self) -> Option<&UnverifiedRecord> {
        self.reading.record(&self.view.proposal(&self.proposal).ok()?.previewed?)
    }

    /// Says so where the policy wants a preview that is not there.
    fn note_missing_preview(&self) {
        let proposal = self.view.proposal(&self.proposal).ok();
        let is_missing = |proposal: &ProposalState| {
            self.view.state().wants_preview(proposal) && proposal.previewed.is_none()
        };
        if proposal.is_some_and(is_missing) {
            output::note(
                "note: the policy wants a preview of this, and the proposal names none that succeeded: it will not be executed\n",
            );
        }
    }

    /// Says so if the same person's approval stands already: principals are counted, not approvals.
    fn note_earlier_approval(&self, now: u64) {
        let Some(run) = self.view.run() else { return };
        let who = self.actor.key.principal();
        let approvals = run.approvals(&self.proposal);
        let own = approvals.iter().filter_map(|id| run.decision(id)).filter(|own| own.approver == *who);
        let until = own.filter_map(|decision| decision.window).map(|(_, until)| until).max();
        if let Some(until) = until.filter(|until| *until >= now) {
            let until = time::utc(until);
            output::note(&format!(
                "note: {who} approved this already, until {until}; approving again adds no approver\n"
            ));
        }
    }

    /// Nobody approves what they can't see.
    fn is_disclosed(&self) -> Outcome<()> {
        let Body::Proposal(body) = self.record()?.body() else { return Ok(()) };
        let hidden = review::undisclosed(&body.action, &self.reading.openings());
        if hidden.is_empty() {
            return Ok(());
        }
        let message = format!("the bundle does not disclose {}", hidden.join(", "));
        Err(Failure::new(
            "action-not-disclosed",
            message,
            "have the proposer submit the payload, or reject the proposal",
        ))
    }

    /// Shows the case, asks, signs, submits.
    fn decide(self, context: &Context, which: &Which, question: &str, vote: Vote) -> Outcome {
        let is_to_stop = !matches!(vote, Vote::Approve { .. });
        let ballot = self.ballot(context, which, question, vote)?;
        let logged = self.actor.session().decide(&self.view, ballot);
        let status = self.actor.report(context, Type::Decision, which.run, logged)?;
        if is_to_stop {
            self.has_stopped(which.run)?;
        }
        Ok(status)
    }

    /// Nobody who said no takes it for stopped where it is not.
    fn has_stopped(&self, run: RunId) -> Outcome<()> {
        let view = self.actor.view(run)?;
        let status = view.run().and_then(|run| view.state().proposal_status(run, &self.proposal));
        use ProposalStatus::{Approved, Denied, Expired, Open};
        // What is denied or expired now may be approved again.
        if !matches!(status, Some(Open | Approved | Denied | Expired)) {
            return Ok(());
        }
        let message = format!("the decision is logged, and proposal {} stands as it did", self.proposal);
        Err(stops_nothing(message))
    }

    /// Shows the case, and asks.
    fn ballot(&self, context: &Context, which: &Which, question: &str, vote: Vote) -> Outcome<Ballot> {
        let reason = payload::text(which.reason.as_ref())?;
        let mut shown = review::proposal_text(self.record()?, self.previewed(), &self.reading.openings());
        let (policy, size) = (self.view.state().policy_in_force(), self.view.basis().size);
        let policy = policy.map_or("none".to_owned(), |(digest, _)| digest.to_string());
        let who = format!("{} ({})", self.actor.key.principal(), self.actor.key.role());
        shown.push_str(&format!("\n{:<14} {policy}\n{:<14} size {size}\n", "policy", "checkpoint"));
        shown.push_str(&format!("{:<14} {question}, as {who}\n", "decision"));
        let surface = ask(context, &shown, which.yes)?;
        if matches!(vote, Vote::Approve { .. }) {
            self.note_in_vain(surface);
        }
        Ok(Ballot {
            proposal: self.proposal,
            vote,
            shown: shown.into_bytes(),
            shown_media_type: payload::label("text/plain; charset=utf-8", "the media type")?,
            surface,
            reason,
        })
    }
}

impl Case {
    /// Says so where the policy does not take an approval of this key, or from where it is given.
    fn note_in_vain(&self, surface: Surface) {
        let (state, signer) = (self.view.state(), self.actor.key.author());
        let Some(run) = self.view.run() else { return };
        let counts =
            |surface| state.approval_would_count(run, &self.proposal, &signer.principal, &signer, surface);
        if let Err(fault) = counts(surface) {
            let hint = if surface == Surface::None && counts(Surface::Terminal).is_ok() {
                ": answer on a terminal, without --yes"
            } else {
                ""
            };
            let why = fault.detail.trim_start_matches("body.decisions: ");
            output::note(&format!("note: this approval will not count: {why}{hint}\n"));
        }
    }
}

/// Shows the text, asks, and says where the person saw it: on a terminal only if they answered on one.
fn ask(context: &Context, shown: &str, yes: bool) -> Outcome<Surface> {
    let dressed = context.style.review(shown);
    if context.json {
        output::note(&dressed)
    } else {
        output::print(&dressed)?
    }
    if yes {
        return Ok(Surface::None);
    }
    output::note("\nsign this? [y/N] ");
    let mut answer = String::new();
    let stdin = std::io::stdin();
    let read = stdin.lock().take(16).read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        let seen = stdin.is_terminal() && std::io::stdout().is_terminal();
        return Ok(if seen { Surface::Terminal } else { Surface::None });
    }
    Err(Failure::new("not-confirmed", "nothing was signed", "answer y, or add --yes").with_status(HELD))
}

/// That no gate of this directory runs it now, and a word of it where no runtime has said how it ended: what one says later would be refused.
fn is_over(context: &Context, view: &View, execution: &RecordId) -> Outcome<()> {
    let said = view.run().and_then(|run| run.execution(execution)).map(|executed| executed.status());
    if said != Some(None) {
        return Ok(());
    }
    let dir = context.file("gate");
    let runs = counterfoil_gate::runs_in(&dir, execution).unwrap_or_else(|error| {
        let failure = input::unreadable(&dir, "notes of the gates in", &error);
        output::note(&format!("note: not shown whether a gate runs it now: {}\n", failure.message()));
        false
    });
    if runs {
        let message = format!("execution {execution} runs now: a gate of {} has it", input::shown(&dir));
        let hint = "wait for it, or end that gate: what becomes of it is logged then";
        return Err(Failure::new("still-running", message, hint).with_status(VIOLATED));
    }
    output::note(
        "note: its runtime has logged no outcome yet. If it still runs, elsewhere, what it says later is refused\n",
    );
    Ok(())
}

/// What somebody signed to stop something, and does not.
pub fn stops_nothing(message: String) -> Failure {
    let hint = "have it stopped by somebody whom the policy asks, or withdrawn by the owner of its run";
    Failure::new("stops-nothing", message, hint).with_status(VIOLATED)
}

fn only_open_proposal(view: &View) -> Outcome<RecordId> {
    let run = view.run().map(|run| run.proposals()).unwrap_or_default();
    let open = |id: &RecordId| {
        use ProposalStatus::{Approved, Denied, Expired, Open};
        let status = view.run().and_then(|run| view.state().proposal_status(run, id));
        matches!(status, Some(Open | Approved | Denied | Expired))
    };
    only(run.iter().map(|(id, _)| *id).filter(open).collect(), "proposal", "--proposal")
}

fn only_open_execution(view: &View) -> Outcome<RecordId> {
    let executions = view.run().map(|run| run.executions()).unwrap_or_default();
    let open =
        executions.iter().filter(|(_, execution)| matches!(execution.status(), None | Some(Status::Unknown)));
    only(open.map(|(id, _)| *id).collect(), "execution", "--execution")
}

fn only(ids: Vec<RecordId>, what: &str, option: &str) -> Outcome<RecordId> {
    match ids.as_slice() {
        [id] => Ok(*id),
        [] => {
            let message = format!("the run has no open {what}");
            Err(Failure::new(format!("no-open-{what}"), message, "look at it with `counterfoil resume RUN`"))
        }
        ids => {
            let list: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let message = format!("the run has {} open {what}s: {}", ids.len(), list.join(", "));
            Err(Failure::new(format!("several-open-{what}s"), message, format!("choose one with {option}")))
        }
    }
}

/// Reads an action that a person wrote, in any spelling of JSON; its mode is `apply` where it says none, as in a proposal.
pub fn read_action(path: &Path) -> Outcome<Action> {
    let mut object =
        signing::parse_object(&input::read(path, "action", limits::RECORD_BYTES * 2)?, "the action")?;
    object.entry("mode").or_insert_with(|| Mode::Apply.as_str().into());
    let json =
        Json::from_value(&Value::Object(object)).map_err(|fault| signing::malformed("the action", &fault))?;
    Action::parse(json.as_str().as_bytes()).map_err(|fault| signing::malformed("the action", &fault))
}

fn uses(text: &str) -> Result<Uses, String> {
    text.parse()
        .ok()
        .and_then(Uses::new)
        .ok_or_else(|| format!("{text:?} is not a number from 1 to {}", limits::USES))
}
