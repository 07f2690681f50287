//! What a proposal waits for, as of the last entry: a projection of the state for whoever lists, shows or watches approvals. It
//! decides nothing.

use counterfoil_policy::{Assessment, Requiring};
use counterfoil_receipt::{
    Principal, RecordId, Role,
    body::Audience,
    field::Millis,
    text::{Group, RuleName},
};

use crate::{
    execution::approvals,
    run::{DecisionState, ProposalState, ProposalStatus, Run},
    state::State,
    timer::{self, Says, Timer, standing},
};

/// What a proposal waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Where it is.
    pub status: ProposalStatus,
    /// The rules of the policy in force that ask for approvals of it.
    pub rules: Vec<Asking>,
    /// What the policy will say of it by itself, if nobody decides.
    pub timers: Vec<Timer>,
    /// The log time, in milliseconds, after which it no longer waits or can no longer be used, if nobody does anything: when the
    /// first time-out of an open one is due, when the last quorum of an approved one is over. `None` if never, or of any other.
    pub expires_at: Option<u64>,
    /// Whether the policy in force wants a preview of it. Without one, no execution of it stands, whoever approves it.
    pub wants_preview: bool,
}

/// A rule that asks for approvals of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Its name.
    pub rule: RuleName,
    /// Whether approvals, or a time-out in their place, meet it. Whether their windows are over is not looked at.
    pub is_met: bool,
    /// Its requirements.
    pub requirements: Vec<Asked>,
}

/// A requirement of a rule, and how far it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many it wants.
    pub count: usize,
    /// Who may, by name. Where there is neither name nor group, everybody who signs as a human.
    pub principals: Vec<Principal>,
    /// Who may, by group.
    pub groups: Vec<Group>,
    /// Whose approval counts for it.
    pub approved: Vec<Principal>,
}

impl State {
    /// What a proposal waits for; `None` if the run has none of this id.
    pub fn approval(&self, run: &Run, id: &RecordId) -> Option<Approval> {
        let proposal = run.proposal(id)?;
        let status = self.proposal_status(run, id)?;
        let timers = self.timers(run, id);
        let due = |timer: &Timer| match timer.says {
            Says::TimeOut(_) => timer.due,
            Says::Escalate { .. } => None,
        };
        let expires_at = match status {
            ProposalStatus::Open => timers.iter().filter_map(due).min(),
            ProposalStatus::Approved => self.approved_until(run, id),
            _ => None,
        };
        let wants_preview = self.wants_preview(proposal);
        Some(Approval { status, rules: self.asking(run, id, proposal), timers, expires_at, wants_preview })
    }

    /// Whether a human may decide a proposal now, so that it changes something: it is open, a rule asks them, they are not
    /// involved where a rule wants that, and no approval of theirs stands.
    pub fn may_decide(&self, run: &Run, id: &RecordId, principal: &Principal) -> bool {
        let Some(proposal) = run.proposal(id) else { return false };
        let Some(assessment @ Assessment::Required(_)) = self.assess(proposal) else { return false };
        if !self.keys.is_human(principal)
            || (assessment.segregates() && self.is_involved(run, proposal, principal))
            || !self.is_asked(&assessment, proposal, principal)
        {
            return false;
        }
        let now = self.log_time().map_or(0, Millis::get);
        let stands = |id: &&RecordId| {
            let is_live = |decision: &DecisionState| {
                decision.approver == *principal && decision.window.is_none_or(|(_, until)| now <= until)
            };
            run.decision(id).is_some_and(is_live)
        };
        self.proposal_status(run, id) == Some(ProposalStatus::Open)
            && !standing(self, run, id).iter().any(|id| stands(&id))
    }

    /// Whether a requirement asks this human, and one of their keys is of a scheme that it takes.
    fn is_asked(&self, assessment: &Assessment<'_>, proposal: &ProposalState, principal: &Principal) -> bool {
        let Assessment::Required(rules) = assessment else { return false };
        let escalated = self.escalated(proposal);
        let groups = self.keys.groups(principal);
        let has_key = |schemes: &[&str]| {
            self.keys.all().iter().any(|(key, facts)| {
                facts.principal == *principal
                    && facts.role == Role::Human
                    && facts.retired.or(facts.revoked).is_none()
                    && schemes.contains(&key.scheme().as_str())
            })
        };
        let asks = |rule: &Requiring<'_>| {
            rule.quorum.requirements.iter().any(|one| {
                rule.asks(one, &escalated, principal, groups)
                    && (one.by_link || one.schemes.as_deref().is_none_or(has_key))
            })
        };
        rules.iter().any(asks)
    }

    /// Whether somebody asked for the action, proposed it, is a delegate of it or may execute it.
    fn is_involved(&self, run: &Run, proposal: &ProposalState, principal: &Principal) -> bool {
        let runtime = match &proposal.audience {
            Audience::Principal(runtime) => Some(runtime),
            Audience::Group(_) => None,
        };
        self.involved(run, proposal, runtime).contains(&principal.as_str())
    }

    /// The steps of escalation that stand under the policy in force.
    fn escalated(&self, proposal: &ProposalState) -> Vec<(RuleName, u64)> {
        let in_force = self.policy_in_force();
        in_force.map_or_else(Vec::new, |(policy, _)| timer::escalated(proposal, policy))
    }

    fn asking(&self, run: &Run, id: &RecordId, proposal: &ProposalState) -> Vec<Asking> {
        let Some(Assessment::Required(rules)) = self.assess(proposal) else { return Vec::new() };
        let ids = standing(self, run, id);
        let decisions: Vec<&DecisionState> = ids.iter().filter_map(|id| run.decision(id)).collect();
        let (approvals, escalated) = (approvals(&decisions), self.escalated(proposal));
        let asking = |rule: &Requiring<'_>| {
            let requirements = rule.quorum.requirements.iter().zip(rule.shares(&approvals));
            let asked = |(one, approved): (&counterfoil_policy::Requirement, Vec<Principal>)| {
                let (principals, groups) = rule.asked(one, &escalated);
                Asked { count: one.count, principals, groups, approved }
            };
            Asking {
                rule: rule.rule.clone(),
                is_met: rule.is_met(&approvals).is_ok(),
                requirements: requirements.map(asked).collect(),
            }
        };
        rules.iter().map(asking).collect()
    }

    /// The last log time, in milliseconds, at which a quorum of a proposal's approvals stands and its delegations hold; `None` if
    /// nothing bounds it, or there is no quorum.
    pub fn approved_until(&self, run: &Run, id: &RecordId) -> Option<u64> {
        let proposal = run.proposal(id)?;
        let window = |id: &RecordId| run.decision(id).and_then(|decision| decision.window);
        let until = |id: &RecordId| window(id).map_or(u64::MAX, |(_, until)| until);
        let mut lasting = standing(self, run, id);
        lasting.sort_by_key(|id| std::cmp::Reverse(until(id)));
        self.quorum(run, id, &lasting, None).ok()?;
        // The fewest of the longest that are a quorum: with more of them, it stays one.
        let (mut at_least, mut enough) = (0, lasting.len());
        while at_least < enough {
            let half = at_least.midpoint(enough);
            if self.quorum(run, id, &lasting[..half], None).is_ok() {
                enough = half;
            } else {
                at_least = half + 1;
            }
        }
        let decided = lasting[..enough].last().map(until);
        let delegated = self.validities(proposal).into_iter().map(|(_, until)| until);
        decided.into_iter().chain(delegated).min().filter(|until| *until < u64::MAX)
    }
}
