//! Where a proposal is, as verified records say it.

use counterfoil_client::View;
use counterfoil_receipt::RecordId;
use counterfoil_verify::{Asking, ProposalStatus, Receipt, Receipted, RunState};
use serde_json::{Value, json};

use super::Agent;
use crate::{
    error::{Failure, Outcome},
    remote, resume, time,
};

/// Names of who may approve that are said; data has all of them.
const NAMED: usize = 8;

/// Where a proposal is.
pub struct Standing {
    /// Its status.
    pub status: ProposalStatus,
    /// In lines for a model.
    pub text: String,
    /// For a program.
    pub data: Value,
}

impl Agent {
    /// Where a proposal is in a state of its run.
    pub fn standing(&self, view: &View, state: &RunState<'_>, id: &RecordId) -> Outcome<Standing> {
        let run = view.run_id();
        let proposals = state.proposals();
        let found = proposals.iter().find(|(proposal, _, _)| proposal == id);
        let receipt = Receipt::of(view.verdict(), id, &|id| view.record(id));
        let shown = found.zip(receipt.and_then(|mut receipt| receipt.proposals.pop()));
        let Some(((_, status, proposal), receipted)) = shown else {
            let message = format!("the bundle of run {run} shows no proposal {id}");
            return Err(Failure::new(
                "no-proposal",
                message,
                "check the id; `resume` the run to see its proposals",
            ));
        };
        let uses = state.budget().uses.into_iter().find(|uses| uses.proposal == *id);
        let pending = state.pending().into_iter().find(|(pending, _)| pending == id);
        let mut data = json!(receipted);
        data["uses"] = uses.map_or(Value::Null, |uses| {
            json!({"granted": uses.granted, "taken": uses.taken, "left": uses.left, "until": uses.until})
        });
        data["waits_for"] = pending.as_ref().map_or(Value::Null, resume::pending_json);
        data["risk"] = json!(proposal.risk.as_str());
        data["run"] = json!(run.to_string());
        data["review"] = json!(self.review_url(id));
        let mut text = format!("proposal {id} is {status}", status = status.as_str());
        if let Some(uses) = uses.filter(|_| *status == ProposalStatus::Approved) {
            let until = uses.until.map_or(String::new(), |until| format!(" until {}", time::utc(until)));
            text.push_str(&format!(": {} of {} uses are left{until}", uses.left, uses.granted));
        }
        text.push_str(&format!("\nrun {run}\n"));
        text.push_str(&lines(&receipted));
        if *status == ProposalStatus::Open {
            let rules = pending.iter().flat_map(|(_, approval)| &approval.rules);
            rules.filter(|rule| !rule.is_met).for_each(|rule| text.push_str(&wanted(rule)));
            text.push_str(&format!("people decide at {}\n", self.review_url(id)));
        }
        text.push_str(&format!("next: {}\n", next(*status)));
        Ok(Standing { status: *status, text, data })
    }

    /// Where people look at a proposal.
    pub fn review_url(&self, proposal: &RecordId) -> String {
        let server = remote::server_url(&self.context).unwrap_or_default();
        format!("{}/review/{proposal}", server.trim_end_matches('/'))
    }
}

/// What a rule waits for.
fn wanted(rule: &Asking) -> String {
    let requirements = rule.requirements.iter().map(|one| {
        let groups = one.groups.iter().map(|group| format!("the group {}", quoted(group.as_str())));
        let names = one.principals.iter().map(|name| quoted(name.as_str())).chain(groups);
        let names: Vec<_> = names.take(NAMED).collect();
        let by = if names.is_empty() { "anybody who may approve".to_owned() } else { names.join(" or ") };
        format!("{} of {} approvals by {by}", one.approved.len(), one.count)
    });
    let requirements: Vec<_> = requirements.collect();
    format!("rule {} has {}\n", quoted(rule.rule.as_str()), requirements.join(", and "))
}

/// Who decided about a proposal, and what became of its executions: what others wrote stands in quotes.
pub fn lines(receipted: &Receipted) -> String {
    let mut text = String::new();
    for decision in &receipted.decisions {
        let withdrawn = if decision.withdrawn.is_some() { ", withdrawn" } else { "" };
        let reason =
            decision.reason.as_ref().map_or(String::new(), |reason| format!(", who says {}", quoted(reason)));
        let (verdict, by, id) = (decision.verdict, quoted(&decision.approver), &decision.id);
        text.push_str(&format!("{verdict} by {by}{withdrawn}{reason} [{id}]\n"));
    }
    for execution in &receipted.executions {
        let outcome = execution.outcome.as_ref().map_or_else(
            || "no outcome is known".to_owned(),
            |outcome| format!("{}, effects {} [{}]", outcome.status, outcome.effects, outcome.id),
        );
        text.push_str(&format!("executed by {}: {outcome} [{}]\n", quoted(&execution.runtime), execution.id));
    }
    text
}

/// What somebody else wrote, as data.
pub fn quoted(text: &str) -> String {
    Value::from(crate::text::printable(text)).to_string()
}

/// Whether nothing changes any more by what people or a runtime do.
pub const fn is_done(status: ProposalStatus) -> bool {
    match status {
        ProposalStatus::Open | ProposalStatus::Approved | ProposalStatus::Executing => false,
        ProposalStatus::Denied
        | ProposalStatus::Rejected
        | ProposalStatus::ChangesRequested
        | ProposalStatus::Superseded
        | ProposalStatus::Expired
        | ProposalStatus::Cancelled
        | ProposalStatus::Succeeded
        | ProposalStatus::Failed
        | ProposalStatus::Unknown => true,
    }
}

/// What an agent does next.
const fn next(status: ProposalStatus) -> &'static str {
    match status {
        ProposalStatus::Open => "nothing may be done yet; `wait` until people decide",
        ProposalStatus::Approved => {
            "its runtime may execute exactly this action; `wait` with until=done for the outcome"
        }
        ProposalStatus::Executing => {
            "it runs; `wait` with until=done for the outcome, and do not do it again"
        }
        ProposalStatus::Succeeded => "it is done; do not do it again",
        ProposalStatus::Failed => {
            "it was tried and failed; propose another action, or this one anew with again=true"
        }
        ProposalStatus::Unknown => {
            "it may have happened: do not do it again; people or its runtime find out what became of it"
        }
        ProposalStatus::Denied => "the policy does not let it pass, whoever approves; propose something else",
        ProposalStatus::Rejected => "do not do it; propose another action that supersedes it, if one helps",
        ProposalStatus::ChangesRequested => "propose a changed action in this run that supersedes it",
        ProposalStatus::Superseded => "another proposal took its place; `resume` the run to see which",
        ProposalStatus::Expired => {
            "the time for it is over; propose it anew with again=true if it is still wanted"
        }
        ProposalStatus::Cancelled => {
            "it was withdrawn; propose it anew with again=true if it is still wanted"
        }
    }
}
