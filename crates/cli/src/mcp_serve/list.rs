//! `approvals` and `cancel`: an agent's own proposals.

use counterfoil_client::{ApprovalQuery, ApprovalView};
use counterfoil_verify::ProposalStatus;
use serde::Deserialize;
use serde_json::json;

use super::{
    Agent,
    answer::Answer,
    limits,
    standing::{is_done, quoted},
    wait::invalid,
};
use crate::{
    error::{Failure, Outcome, VIOLATED},
    payload,
    record::record_id,
};

/// Which proposals are listed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    status: Option<String>,
    tool: Option<String>,
    before: Option<u64>,
}

/// What is withdrawn.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    proposal: String,
    reason: Option<String>,
}

impl Agent {
    /// The agent's own proposals, the newest first, as the log lists them: nothing of it is verified, and it says so.
    pub fn approvals(&self, asked: &Approvals) -> Outcome<Answer> {
        let status = asked.status.as_deref().map(|name| {
            ProposalStatus::parse(name)
                .ok_or_else(|| invalid(&format!("{name:?} is no status of a proposal")))
        });
        let query = ApprovalQuery {
            status: status.transpose()?,
            principal: Some(self.actor.key.principal().clone()),
            tool: asked.tool.clone(),
            before: asked.before,
            limit: Some(limits::APPROVALS),
            ..ApprovalQuery::default()
        };
        let page = self.actor.client.hints()?.approvals(&query)?;
        let is_own = |one: &&ApprovalView| one.proposer == *self.actor.key.principal();
        let own: Vec<_> = page.approvals.iter().filter(is_own).collect();
        let mut text =
            format!("{} of your proposals, by the server's word; `wait` and `resume` verify\n", own.len());
        for one in &own {
            let (status, tool) = (one.status.as_str(), quoted(one.action.tool.as_str()));
            text.push_str(&format!("{status} {tool} proposal {} in run {}\n", one.proposal, one.run));
        }
        if let Some(next) = page.next {
            text.push_str(&format!("there may be more: call again with before={next}\n"));
        }
        let listed = own.iter().map(|one| {
            json!({
                "proposal": one.proposal.to_string(),
                "run": one.run.to_string(),
                "status": one.status.as_str(),
                "tool": one.action.tool.as_str(),
                "target": one.action.target.as_ref().map(|target| target.as_str()),
                "digest": one.action.digest.to_string(),
                "risk": one.risk.as_str(),
                "time": one.time,
                "expires_at": one.expires_at,
                "review": self.review_url(&one.proposal),
            })
        });
        let data = json!({"is_verified": false, "proposals": listed.collect::<Vec<_>>(), "next": page.next});
        Ok(Answer::new(text, data))
    }

    /// Withdraws a proposal of this agent.
    pub fn cancel(&self, asked: &Cancel) -> Outcome<Answer> {
        let proposal = record_id(&asked.proposal).map_err(|why| invalid(&why))?;
        let reason = payload::text(asked.reason.as_ref())?;
        let run = self.run_of(&proposal)?;
        let view = self.actor.view(run)?;
        let found = view.proposal(&proposal)?;
        if found.proposer != *self.actor.key.principal() {
            let message = format!("the proposal is by {}", found.proposer);
            return Err(Failure::new("not-own", message, "people reject what another agent proposed")
                .with_status(VIOLATED));
        }
        let status = view.run().and_then(|run| view.state().proposal_status(run, &proposal));
        let was_over = status.is_some_and(|status| is_done(status) && status != ProposalStatus::Expired);
        if !was_over {
            self.actor.session().cancel(&view, proposal, reason)?;
        }
        let standing = self.state(run, |view, state| self.standing(view, state, &proposal))??;
        let what = if was_over { "nothing to withdraw" } else { "withdrawn" };
        let mut answer = Answer::new(format!("{what}: {}", standing.text), standing.data);
        answer.data["was_over"] = json!(was_over);
        Ok(answer)
    }
}
