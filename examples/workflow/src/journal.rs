//! The journal of a workflow: the verified records of its run. What a step gave is read here and nowhere else, also right after it ran.

use counterfoil_client::View;
use counterfoil_receipt::{
    Action, Body, RecordId,
    body::{Evidence, Item, Status},
};
use counterfoil_verify::{ProposalState, Run};
use serde_json::Value;

use crate::{
    step::Step,
    stop::{NOT_SHOWN, REFUSED, Stop},
};

/// Where a step is, by the log.
#[derive(Debug)]
pub enum Standing {
    /// It succeeded, with this result.
    Done(Value),
    /// Nothing was begun, or no try so far succeeded.
    Open {
        /// Tries so far.
        tries: usize,
        /// How the last one ended.
        last: String,
        /// The last one, if nobody knows whether it happened.
        unknown: Option<RecordId>,
    },
    /// This execution was begun, and goes on elsewhere.
    Running(RecordId),
}

/// The proposal of a step, if the log has one. The first counts.
///
/// # Errors
/// `replay-differs` if the log has another action at this step than the workflow asks for now: one of the two is not what people saw.
pub fn proposed(run: Option<&Run>, number: u64, action: &Action) -> Result<Option<RecordId>, Stop> {
    let proposals = run.map(Run::proposals).unwrap_or_default();
    let Some((id, proposed)) = proposals.into_iter().find(|(_, one)| number_of(one) == Some(number)) else {
        return if last_step(run) > number { Err(not_replayed(run, number)) } else { Ok(None) };
    };
    match proposed.action.first_difference(action) {
        None => Ok(Some(id)),
        Some(difference) => {
            let show = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
            let (path, then, now) = (difference.path, show(difference.left), show(difference.right));
            let detail = format!("step {number} was proposed as {id}: {path} is {then} there, and {now} now");
            Err(Stop::new(REFUSED, "replay-differs", detail))
        }
    }
}

/// That the workflow came to its end with every step that the log has of it.
///
/// # Errors
/// `replay-differs` if the log has more.
pub fn is_complete(run: Option<&Run>, taken: u64) -> Result<(), Stop> {
    if last_step(run) > taken { Err(not_replayed(run, taken + 1)) } else { Ok(()) }
}

/// What became of a proposal's executions.
///
/// # Errors
/// `result-not-shown` if it succeeded, and its result was erased or is none that a workflow can have.
pub fn standing(view: &View, proposal: &RecordId) -> Result<Standing, Stop> {
    let proposed = view.proposal(proposal)?;
    let run = view.run();
    let tries = proposed.executions.iter().filter_map(|id| Some((id, run?.execution(id)?)));
    let mut standing = Standing::Open { tries: 0, last: "nothing was tried".to_owned(), unknown: None };
    for (number, (id, execution)) in (1..).zip(tries) {
        let open = |unknown| Standing::Open { tries: number, last: detail(view, id), unknown };
        standing = match execution.status() {
            Some(Status::Succeeded) => return result(view, id, proposed).map(Standing::Done),
            Some(Status::Failed) => open(None),
            Some(Status::Unknown) => open(Some(*id)),
            None => Standing::Running(*id),
        };
    }
    Ok(standing)
}

/// The items that the trigger names: of a workflow, its source.
pub fn source(view: &View) -> Option<(Item, &[u8])> {
    let trigger = view.record(&view.run_id().trigger())?;
    let Body::Trigger(trigger) = trigger.body() else { return None };
    let Evidence::Item(item) = trigger.content.as_ref()?.0.first()? else { return None };
    Some((item.clone(), &view.opening(&item.commitment)?.content))
}

/// The result of an execution that succeeded: what its outcome commits to. A person who settled one says that it happened, and gives
/// no result.
fn result(view: &View, id: &RecordId, proposed: &ProposalState) -> Result<Value, Stop> {
    let execution = view.run().and_then(|run| run.execution(id));
    if execution.is_some_and(|execution| execution.settlement.is_some()) {
        return Ok(Value::Null);
    }
    let outcome = execution.and_then(|execution| view.record(&execution.outcome?.0));
    let item = match outcome.as_ref().map(counterfoil_receipt::UnverifiedRecord::body) {
        Some(Body::Outcome(outcome)) => outcome.result.as_ref(),
        _ => None,
    };
    let content = item.and_then(|item| view.opening(&item.commitment));
    content.and_then(|opening| serde_json::from_slice(&opening.content).ok()).ok_or_else(|| {
        let detail =
            format!("{} succeeded as {id}, and its result is not there any more", proposed.action.tool);
        Stop::new(NOT_SHOWN, "result-not-shown", detail)
    })
}

/// What the runtime said of an execution when it ended.
fn detail(view: &View, id: &RecordId) -> String {
    let outcome = view.run().and_then(|run| view.record(&run.execution(id)?.outcome?.0));
    let said = outcome.and_then(|record| match record.body() {
        Body::Outcome(outcome) => outcome.detail.as_ref().map(ToString::to_string),
        _ => None,
    });
    said.unwrap_or_else(|| "it failed".to_owned())
}

fn number_of(proposed: &ProposalState) -> Option<u64> {
    Step::of(&proposed.action).map(|step| step.step)
}

fn last_step(run: Option<&Run>) -> u64 {
    run.map(Run::proposals)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(_, one)| number_of(one))
        .max()
        .unwrap_or(0)
}

fn not_replayed(run: Option<&Run>, number: u64) -> Stop {
    let detail =
        format!("the log has {} steps, and the workflow does not take step {number}", last_step(run));
    Stop::new(REFUSED, "replay-differs", detail)
}
