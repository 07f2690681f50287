//! Proposals as approvals: which of them are asked for, and what is said of each (`spec/http.md`, "Approvals").

use counterfoil_policy::Glob;
use counterfoil_receipt::{Body, Principal, RecordId, body::Ruling};
use counterfoil_verify::{
    Approval, Asked, Asking, End, Lookup as _, ProposalState, ProposalStatus, Proposed, Run, Says, State,
    Timer,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    door::Sees,
    limits,
    links::Links,
    rows::{Index, LookupError},
    schemas,
};

/// Which approvals are asked for; what is empty excludes none.
#[derive(Debug)]
pub(crate) struct Filter {
    pub status: Option<ProposalStatus>,
    /// Who proposed it, asked for its run or decided it.
    pub principal: Option<Principal>,
    /// Who may decide it now.
    pub approver: Option<Principal>,
    pub tool: Option<Glob>,
    /// The log time from which on it was proposed.
    pub since: Option<u64>,
    /// What is there for whoever asks.
    pub sees: Sees,
}

/// What one visit to the state found.
#[derive(Debug)]
pub(crate) struct Looked {
    /// The newest first.
    pub found: Vec<Proposed>,
    /// Everything from here on was looked at.
    pub before: u64,
    /// How many proposals were.
    pub count: usize,
    /// Whether there is nothing below.
    pub is_over: bool,
}

impl Filter {
    /// Looks at proposals below `before`, the newest first, until `wanted` were found, `most` were looked at or the visit is long
    /// enough.
    pub(crate) fn look(
        &self,
        state: &State,
        before: u64,
        (wanted, most): (usize, usize),
        now: u64,
    ) -> Looked {
        let is_live = self.approver.is_some() || self.status.is_some_and(ProposalStatus::is_live);
        let (live, all) = if is_live {
            (Some(state.live_proposals(before)), None)
        } else {
            (None, Some(state.proposals(before)))
        };
        let mut looked = Looked { found: Vec::new(), before, count: 0, is_over: false };
        let mut weight = 0;
        for proposed in live.into_iter().flatten().chain(all.into_iter().flatten()) {
            if looked.found.len() == wanted || looked.count == most || weight >= limits::VISIT {
                return looked;
            }
            let Some((run, proposal)) = find(state, &proposed) else { continue };
            // Log time never goes back.
            if !self.is_since(proposal, now) {
                break;
            }
            (looked.before, looked.count) = (proposed.index, looked.count + 1);
            weight += 1 + proposal.decisions.len();
            looked.found.extend(self.takes(state, run, proposal, &proposed.id, now).then_some(proposed));
        }
        looked.is_over = true;
        looked
    }

    /// Whether a proposal is asked for.
    pub(crate) fn takes(
        &self,
        state: &State,
        run: &Run,
        proposal: &ProposalState,
        id: &RecordId,
        now: u64,
    ) -> bool {
        self.tool.as_ref().is_none_or(|glob| glob.matches(proposal.action.tool.as_str()))
            && self.is_since(proposal, now)
            && self.principal.as_ref().is_none_or(|principal| has_part(run, proposal, principal))
            && self.status.is_none_or(|status| state.proposal_status(run, id) == Some(status))
            && self.approver.as_ref().is_none_or(|approver| state.may_decide(run, id, approver))
            && self.sees.lets_see(state, run, proposal, id)
    }

    fn is_since(&self, proposal: &ProposalState, now: u64) -> bool {
        self.since.is_none_or(|since| proposal.log_time.unwrap_or(now) >= since)
    }
}

/// A proposal in the state.
pub(crate) fn find<'s>(state: &'s State, proposed: &Proposed) -> Option<(&'s Run, &'s ProposalState)> {
    let run = state.run(&proposed.run)?;
    Some((run, run.proposal(&proposed.id)?))
}

impl Sees {
    /// Whether a proposal is there for whoever asks: everybody's, or those that one principal made, asked for, decided or may decide
    /// now.
    pub(crate) fn lets_see(&self, state: &State, run: &Run, proposal: &ProposalState, id: &RecordId) -> bool {
        match self {
            Self::Everything => true,
            Self::BusinessOf(principal) => {
                has_part(run, proposal, principal) || state.may_decide(run, id, principal)
            }
        }
    }
}

fn has_part(run: &Run, proposal: &ProposalState, principal: &Principal) -> bool {
    let decided = |id: &RecordId| {
        run.decision(id)
            .is_some_and(|decision| [&decision.approver, &decision.author.principal].contains(&principal))
    };
    proposal.proposer == *principal || run.requester() == principal || proposal.decisions.iter().any(decided)
}

/// What is said of a proposal.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Approval)]
pub(crate) struct View {
    action: ActionView,
    /// The last ones, and those that the last execution names, in log order.
    #[schema(max_items = 116)]
    decisions: Vec<DecisionView>,
    /// The record that rejected, sent back, cancelled or superseded it.
    #[schema(value_type = Option<schemas::Hash>)]
    ended_by: Option<String>,
    /// The last ones, in log order.
    #[schema(max_items = 100)]
    executions: Vec<ExecutionView>,
    expires_at: Option<u64>,
    index: u64,
    log_time: Option<u64>,
    /// The digest of the policy in force.
    #[schema(value_type = Option<schemas::Hash>)]
    policy: Option<String>,
    preview: PreviewView,
    #[schema(value_type = schemas::Hash)]
    proposal: String,
    #[schema(value_type = schemas::Name)]
    proposer: String,
    #[schema(value_type = schemas::Name)]
    requester: String,
    review_url: Option<String>,
    #[schema(value_type = schemas::RiskName)]
    risk: &'static str,
    rules: Vec<RuleView>,
    #[schema(value_type = schemas::Hash)]
    run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    #[schema(value_type = schemas::State)]
    status: &'static str,
    #[schema(value_type = Option<schemas::Hash>)]
    supersedes: Option<String>,
    tags: Vec<String>,
    time: u64,
    timers: Vec<TimerView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Action)]
struct ActionView {
    #[schema(value_type = schemas::Hash)]
    digest: String,
    target: Option<String>,
    tool: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
struct DecisionView {
    #[schema(value_type = schemas::Name)]
    approver: String,
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    reason: Option<String>,
    /// The one whose time is out.
    rule: Option<String>,
    #[schema(value_type = schemas::SurfaceName)]
    surface: &'static str,
    time: u64,
    #[schema(value_type = schemas::Verdict)]
    verdict: &'static str,
    /// The record that withdrew it.
    #[schema(value_type = Option<schemas::Hash>)]
    withdrawn: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preview)]
struct PreviewView {
    /// The parent of the proposal that says that a preview of its action succeeded.
    #[schema(value_type = Option<schemas::Hash>)]
    outcome: Option<String>,
    /// Whether the policy in force wants one: without one, no execution stands.
    wanted: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Execution)]
struct ExecutionView {
    /// The decisions that it stands on.
    #[schema(value_type = Vec<schemas::Hash>, max_items = 16)]
    decisions: Vec<String>,
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    /// What was said afterwards of an execution under break-glass; null for every other.
    #[schema(value_type = Option<schemas::ReviewName>)]
    review: Option<&'static str>,
    /// The execution that it tries again.
    #[schema(value_type = Option<schemas::Hash>)]
    retries: Option<String>,
    #[schema(value_type = schemas::Name)]
    runtime: String,
    #[schema(value_type = Option<schemas::Ended>)]
    status: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
struct RuleView {
    met: bool,
    name: String,
    requirements: Vec<RequirementView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Requirement)]
struct RequirementView {
    #[schema(value_type = Vec<schemas::Name>)]
    approved: Vec<String>,
    count: usize,
    #[schema(value_type = Vec<schemas::Name>)]
    groups: Vec<String>,
    #[schema(value_type = Vec<schemas::Name>)]
    principals: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timer)]
struct TimerView {
    due: Option<u64>,
    rule: String,
    #[schema(value_type = schemas::TimerSays)]
    says: &'static str,
}

impl View {
    /// What the state says of it; what stands in its records alone, [`View::complete`] adds.
    pub(crate) fn of(state: &State, proposed: &Proposed) -> Option<(Self, Approval)> {
        let (run, proposal) = find(state, proposed)?;
        let approval = state.approval(run, &proposed.id)?;
        let last = |count: usize| count.saturating_sub(limits::APPROVAL_DECISIONS);
        let from = last(proposal.decisions.len());
        // However many decide later: what the last execution stands on is shown.
        let executed = proposal.executions.last().and_then(|id| run.execution(id));
        let is_named = |id: &RecordId| executed.is_some_and(|execution| execution.decisions.contains(id));
        let decisions = proposal.decisions.iter().enumerate();
        let decisions = decisions.filter(|(at, id)| *at >= from || is_named(id)).map(|(_, id)| id);
        let executions = proposal.executions.iter().skip(last(proposal.executions.len()));
        let action = &proposal.action;
        let view = Self {
            action: ActionView {
                digest: proposal.digest.to_string(),
                target: action.target.as_ref().map(ToString::to_string),
                tool: action.tool.to_string(),
            },
            decisions: decisions.filter_map(|id| DecisionView::of(run, id)).collect(),
            ended_by: proposal.ended.map(|(_, end)| by(end).to_string()),
            executions: executions.filter_map(|id| ExecutionView::of(state, run, id)).collect(),
            expires_at: approval.expires_at,
            index: proposed.index,
            log_time: proposal.log_time,
            policy: state.policy_in_force().map(|(digest, _)| digest.to_string()),
            preview: PreviewView {
                outcome: proposal.previewed.map(|id| id.to_string()),
                wanted: approval.wants_preview,
            },
            proposal: proposed.id.to_string(),
            proposer: proposal.proposer.to_string(),
            requester: run.requester().to_string(),
            review_url: None,
            risk: proposal.risk.as_str(),
            rules: approval.rules.iter().map(RuleView::of).collect(),
            run: proposed.run.to_string(),
            size: None,
            status: approval.status.as_str(),
            supersedes: proposal.supersedes.map(|id| id.to_string()),
            tags: proposal.tags.iter().map(ToString::to_string).collect(),
            time: 0,
            timers: approval.timers.iter().map(TimerView::of).collect(),
        };
        Some((view, approval))
    }

    /// Says where people look at it.
    pub(crate) fn link_to(&mut self, links: &Links) {
        self.review_url = Some(links.review_url(&self.proposal));
    }

    /// Takes away who decided what, and who executed it.
    pub(crate) fn hide_people(&mut self) {
        self.decisions.clear();
        self.executions.clear();
        for requirement in self.rules.iter_mut().flat_map(|rule| &mut rule.requirements) {
            requirement.approved.clear();
        }
    }

    /// How many decisions and executions it shows.
    pub(crate) const fn weight(&self) -> usize {
        self.decisions.len() + self.executions.len()
    }

    /// Reads its records: times, and reasons.
    pub(crate) fn complete(&mut self, index: &Index) -> Result<(), LookupError> {
        self.time = index.record(self.index)?.time().get();
        for decision in &mut self.decisions {
            let record = index.record(decision.index)?;
            decision.time = record.time().get();
            if let Body::Decision(body) = record.body() {
                decision.reason = body.reason.as_ref().map(ToString::to_string);
            }
        }
        Ok(())
    }
}

impl DecisionView {
    fn of(run: &Run, id: &RecordId) -> Option<Self> {
        let decision = run.decision(id)?;
        Some(Self {
            approver: decision.approver.to_string(),
            id: id.to_string(),
            index: decision.index,
            reason: None,
            rule: decision.rule.as_ref().map(ToString::to_string),
            surface: decision.surface.as_str(),
            time: 0,
            verdict: decision.ruling.as_str(),
            withdrawn: decision.cancelled.map(|id| id.to_string()),
        })
    }
}

impl ExecutionView {
    fn of(state: &State, run: &Run, id: &RecordId) -> Option<Self> {
        let execution = run.execution(id)?;
        Some(Self {
            decisions: execution.decisions.iter().map(ToString::to_string).collect(),
            id: id.to_string(),
            index: execution.index,
            review: state.review(run, id).map(|review| review.reviewed.as_str()),
            retries: execution.retries.map(|id| id.to_string()),
            runtime: execution.runtime.to_string(),
            status: execution.status().map(|status| status.as_str()),
        })
    }
}

impl RuleView {
    fn of(rule: &Asking) -> Self {
        let names = |names: &[Principal]| names.iter().map(ToString::to_string).collect();
        let requirement = |Asked { count, principals, groups, approved }: &Asked| RequirementView {
            approved: names(approved),
            count: *count,
            groups: names(groups),
            principals: names(principals),
        };
        Self {
            met: rule.is_met,
            name: rule.rule.to_string(),
            requirements: rule.requirements.iter().map(requirement).collect(),
        }
    }
}

impl TimerView {
    fn of(timer: &Timer) -> Self {
        let says = match timer.says {
            Says::TimeOut(Ruling::Approve) => "approve",
            // Nothing else is said by time-out.
            Says::TimeOut(Ruling::Reject | Ruling::RequestChanges) => "reject",
            Says::Escalate { .. } => "escalate",
        };
        Self { due: timer.due, rule: timer.rule.to_string(), says }
    }
}

const fn by(end: End) -> RecordId {
    match end {
        End::Rejected(by) | End::ChangesRequested(by) | End::Cancelled(by) | End::Superseded(by) => by,
    }
}
