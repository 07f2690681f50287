//! What people said afterwards of what was executed under break-glass (`spec/policy.md`, *Break-glass*).

use counterfoil_receipt::{RecordId, body::Ruling};

use crate::{
    run::{Ground, Run},
    state::State,
};

/// Whether somebody looked at an execution under break-glass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reviewed {
    /// Not enough of those who could have approved it.
    Outstanding,
    /// Approvals, signed after it, would have let it be executed.
    Accepted,
    /// Somebody entitled decided against the proposal after it.
    Objected,
}

/// What was said of an execution after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// In a word.
    pub reviewed: Reviewed,
    /// The decisions that this rests on.
    pub decisions: Vec<RecordId>,
}

impl State {
    /// What was said of an execution under break-glass after it, under the policy in force now; `None` for every other.
    ///
    /// No rule asks: the execution stands, whatever people say of it later.
    pub fn review(&self, run: &Run, execution: &RecordId) -> Option<Review> {
        let executed = run.execution(execution).filter(|execution| execution.ground == Ground::BreakGlass)?;
        let proposal = run.proposal(&executed.proposal)?;
        let after = |id: &RecordId| run.decision(id).filter(|decision| decision.index > executed.index);
        let mut decided: Vec<_> =
            proposal.decisions.iter().filter_map(|id| Some((*id, after(id)?))).collect();
        decided.sort_unstable_by_key(|(_, decision)| decision.index);
        let objects = decided.iter().find(|(_, decision)| {
            let entitles =
                |approver| self.assess(proposal).is_some_and(|said| said.entitles_against(approver));
            decision.ruling != Ruling::Approve
                && decision.cancelled.is_none()
                && entitles(&decision.approver())
        });
        if let Some((id, _)) = objects {
            return Some(Review { reviewed: Reviewed::Objected, decisions: vec![*id] });
        }
        let counts =
            |id: &RecordId| self.counts(run, &executed.proposal, id, Some(&executed.runtime)).is_ok();
        let approvals: Vec<RecordId> =
            decided.into_iter().filter(|(id, _)| counts(id)).map(|(id, _)| id).collect();
        let chosen = self.select(run, &executed.proposal, &approvals).unwrap_or_default();
        let reviewed = if chosen.is_empty() { Reviewed::Outstanding } else { Reviewed::Accepted };
        Some(Review { reviewed, decisions: chosen })
    }
}

impl Reviewed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Outstanding, Self::Accepted, Self::Objected];

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outstanding => "outstanding",
            Self::Accepted => "accepted",
            Self::Objected => "objected",
        }
    }

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reviewed| reviewed.as_str() == name)
    }
}
