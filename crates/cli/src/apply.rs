//! `counterfoil gate apply`: let an approved patch pass into a git repository.

use std::path::PathBuf;

use clap::Args;
use counterfoil_client::View;
use counterfoil_receipt::{Body, RecordId, Role, RunId};
use counterfoil_verify::{ProposalState, ProposalStatus};

use crate::{
    approver,
    context::Context,
    error::{Failure, Outcome},
    gate::{self, Patience},
    git::Repository,
    git_apply::{GitApply, Patching, TOOL},
    interrupt::{Interrupt, Uninterrupted},
    reading,
    record::{record_id, run_id},
    remote::Actor,
    tether, time,
};

/// Apply a patch to a git repository if exactly it was approved: log the execution, check it, apply, log the outcome.
///
/// The action is of the tool `git.apply`: arguments `base` (a full commit name), `branch` and, if you like, `check` (a command);
/// committed argument `/patch`; precondition `head`, if you like. The patch is applied in a worktree of its own, at `base`; the
/// check runs there; then it becomes a commit and a new branch. Your checkout is not touched, and no hook runs. INT, TERM and
/// HUP end a check that runs, and nothing is committed then; a check does not outlive the gate.
///
/// Exit status: 0 it was applied, 1 refused or failed, 2 wrongly used, or something that could not be read or written, 3 no evidence, also
/// where the log does not answer, 4 not decided yet.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil propose sha256:… --action action.json --commit /patch=fix.patch --for runtime --risk high
  counterfoil gate apply sha256:… --repo ~/src/checkout")]
pub struct Apply {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The repository
    #[arg(long, value_name = "PATH")]
    repo: PathBuf,
    /// The proposal [default: the last of the run that nothing has ended]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    proposal: Option<RecordId>,
    /// The action that you are asked to take, as JSON [default: the one that was proposed]
    #[arg(long, value_name = "FILE")]
    action: Option<PathBuf>,
    /// A check of your own, after the action's: a command that fails if the patch must not be committed
    #[arg(long, value_name = "COMMAND")]
    check: Option<String>,
    /// Wait this long for a decision
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    wait: Option<u64>,
    /// Hold to this policy: while another one is in force, refuse
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Apply {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let repository = Repository::open(&self.repo)?;
        let actor = Actor::new(context, Role::Runtime)?;
        let view = actor.evidence(self.run)?;
        let (id, proposal) = self.proposal(&view)?;
        let action = self
            .action
            .as_deref()
            .map(approver::read_action)
            .transpose()?
            .unwrap_or_else(|| proposal.action.clone());
        let openings = view.verdict().openings();
        if action.digest() == proposal.digest && proposal.uses.is_empty() {
            // What can't start is told before a use of the approval is spent on it. What was not proposed is the gate's to refuse.
            let patching = Patching::read(&action)?;
            patching.can_start(&repository)?;
            patching.patch(openings)?;
        }
        let subject = subject(&view, &actor, &id).unwrap_or_else(|| format!("Apply {id}"));
        let author = actor.key.principal().to_string();
        let interrupt = Interrupt::default();
        let effect = GitApply {
            repository: &repository,
            openings,
            run: self.run,
            author: &author,
            subject: &subject,
            check: self.check.as_deref(),
            run_check: &|command, bounds| tether::run_check(command, bounds, &interrupt),
        };
        let mut effect = Uninterrupted { interrupt: interrupt.clone(), effect };
        gate::pass(
            context,
            actor,
            (self.run, id),
            &action,
            &mut effect,
            (Patience::Wait(self.wait.unwrap_or(0)), gate::pin(self.policy.as_deref())?),
        )
    }

    /// The proposal that was named, or the last one of this tool that can still be executed.
    fn proposal<'v>(&self, view: &'v View) -> Outcome<(RecordId, &'v ProposalState)> {
        let proposals = view.run().map(|run| run.proposals()).unwrap_or_default();
        let unknown = |message: String| {
            Failure::new(
                "proposal-unknown",
                message,
                "list the run's proposals with `counterfoil resume RUN`",
            )
        };
        if let Some(id) = self.proposal {
            let named = proposals.into_iter().find(|(proposal, _)| *proposal == id);
            return named.ok_or_else(|| unknown(format!("{id} is no proposal of this run")));
        }
        let live = |(id, proposal): &&(RecordId, &ProposalState)| {
            use ProposalStatus::{Approved, Open};
            let status = view.run().and_then(|run| view.state().proposal_status(run, id));
            proposal.action.tool.as_str() == TOOL && matches!(status, Some(Approved | Open))
        };
        let of_tool = |(_, proposal): &&(RecordId, &ProposalState)| proposal.action.tool.as_str() == TOOL;
        // Where none can be executed, the gate says why of the last.
        let last = proposals.iter().rev().find(live).or_else(|| proposals.iter().rev().find(of_tool));
        last.copied().ok_or_else(|| unknown(format!("the run has no proposal of the tool {TOOL}")))
    }
}

/// What the commit says first: the proposal's own summary.
fn subject(view: &View, actor: &Actor, proposal: &RecordId) -> Option<String> {
    let reading = reading::read_bytes(view.bundle(), actor.client.trust(), time::now());
    match reading.record(proposal)?.body() {
        Body::Proposal(body) => body.summary.as_ref()?.as_str().lines().next().map(str::to_owned),
        _ => None,
    }
}
