//! A run: its proposals, decisions, executions and owner, and where each of them is (`spec/runs.md`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_policy::{Approver, Assessment, Evidence, Request, Voice};
use counterfoil_receipt::{
    Action, ActionDigest, Author, PolicyDigest, Principal, RecordId, Role, RunId,
    action::Mode,
    body::{Audience, Effects, Holder, Risk, Ruling, Status, Surface},
    field::Millis,
    text::{Group, Label, RuleName},
};

use crate::{
    delegation,
    fault::Fault,
    record::Record,
    rule::{Dimension, Rule},
    state::State,
};

/// The state of one run.
#[derive(Clone, Debug)]
pub struct Run {
    trigger: RecordId,
    pub(crate) requester: Principal,
    pub(crate) owner: Holder,
    /// The trigger or handoff that names the owner.
    pub(crate) owned_by: RecordId,
    pub(crate) count: u64,
    pub(crate) heads: BTreeSet<RecordId>,
    pub(crate) proposals: BTreeMap<RecordId, ProposalState>,
    pub(crate) decisions: HashMap<RecordId, DecisionState>,
    pub(crate) executions: HashMap<RecordId, ExecutionState>,
    /// Outcomes that say that a preview succeeded: their index, and what was previewed.
    pub(crate) previews: HashMap<RecordId, (u64, ActionDigest)>,
    pub(crate) refusals: u64,
}

/// One proposal, and what became of it.
#[derive(Clone, Debug)]
pub struct ProposalState {
    /// Its log index.
    pub index: u64,
    /// Who proposed it.
    pub proposer: Principal,
    /// The groups of the proposer at that index.
    pub groups: Vec<Group>,
    /// How bad it could get, by the proposer's word.
    pub risk: Risk,
    /// Its tags, by the proposer's word.
    pub tags: Vec<Label>,
    /// The delegations under which it acts, from the one that it names up to that of the authority; none without one.
    pub chain: Vec<RecordId>,
    /// The digest of its action.
    pub digest: ActionDigest,
    /// The action.
    pub action: Action,
    /// Who may execute it.
    pub audience: Audience,
    /// The proposal that it revises.
    pub supersedes: Option<RecordId>,
    /// Of its parents the last that says that a preview of its action succeeded.
    pub previewed: Option<RecordId>,
    /// When its signer says it was signed, in milliseconds.
    pub time: u64,
    /// Log time: that of the first snapshot after it; `None` until one is shown that leaves no gap.
    pub log_time: Option<u64>,
    /// Time-outs and escalations that stand, in log order.
    pub timers: Vec<Fired>,
    /// Whether there is a time-out or escalation of which it is not shown that it stands.
    pub(crate) timer_in_doubt: bool,
    /// Approvals of which it is not shown that they stand.
    pub(crate) approvals_in_doubt: Vec<DecisionState>,
    /// What ended it, and at which index.
    pub ended: Option<(u64, End)>,
    /// Which execution holds which use: of those that retry each other, the last.
    pub uses: BTreeMap<u64, RecordId>,
    /// Every execution of it, in log order.
    pub executions: Vec<RecordId>,
    /// Every decision about it, in log order.
    pub decisions: Vec<RecordId>,
}

/// What ended a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This decision rejects it.
    Rejected(RecordId),
    /// This decision asks for changes.
    ChangesRequested(RecordId),
    /// This record withdraws it.
    Cancelled(RecordId),
    /// This proposal takes its place.
    Superseded(RecordId),
}

impl End {
    /// The record that ends it.
    pub const fn by(self) -> RecordId {
        match self {
            Self::Rejected(by) | Self::ChangesRequested(by) | Self::Cancelled(by) | Self::Superseded(by) => {
                by
            }
        }
    }

    /// What it was, for a person.
    pub const fn how(self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::ChangesRequested(_) => "sent back for changes",
            Self::Cancelled(_) => "cancelled",
            Self::Superseded(_) => "superseded",
        }
    }
}

/// A time-out or an escalation that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The record that says so.
    pub by: RecordId,
    /// Its log index.
    pub index: u64,
    /// The policy whose timer it is.
    pub policy: PolicyDigest,
    /// The rule.
    pub rule: RuleName,
    /// The step of the escalation, from 1; `None` for the time-out.
    pub step: Option<u64>,
    /// How long after the proposal it was due, in milliseconds.
    pub after: u64,
}

/// One decision, with its approver as they stood when it was signed.
#[derive(Clone, Debug)]
pub struct DecisionState {
    /// Its log index.
    pub index: u64,
    /// The proposal that it is about.
    pub proposal: RecordId,
    /// What it says.
    pub ruling: Ruling,
    /// Who signed it.
    pub author: Author,
    /// Whose decision it is: the signer's, or theirs on whose behalf it was signed.
    pub approver: Principal,
    /// The groups of the approver at that index.
    pub groups: Vec<Group>,
    /// The rule whose time is out, if that is what decided.
    pub rule: Option<RuleName>,
    /// The steps of escalation under its policy that stood before it.
    pub escalated: Vec<(RuleName, u64)>,
    /// Where the approver was shown what they decided on.
    pub surface: Surface,
    /// The policy that it names.
    pub policy: PolicyDigest,
    /// The uses that it grants; 0 unless it approves.
    pub uses: u64,
    /// The window that it grants, in milliseconds; empty unless it approves.
    pub window: Option<(u64, u64)>,
    /// The record that withdrew it.
    pub cancelled: Option<RecordId>,
}

/// One execution, and what became of it.
#[derive(Clone, Debug)]
pub struct ExecutionState {
    /// Its log index.
    pub index: u64,
    /// The proposal that it executes.
    pub proposal: RecordId,
    /// Which use of it.
    pub use_number: u64,
    /// The execution that it retries.
    pub retries: Option<RecordId>,
    /// The first execution of its use, itself unless it is a retry: what a target knows the use by.
    pub first: RecordId,
    /// How many executions its use had with it.
    pub tries: u64,
    /// Who executes.
    pub runtime: Principal,
    /// When the runtime says it started, in milliseconds.
    pub time: u64,
    /// The windows of the decisions that it names and the validities of its delegations, in milliseconds.
    pub windows: Vec<(u64, u64)>,
    /// Log time: that of the first snapshot after it; `None` until one is shown that leaves no gap.
    pub log_time: Option<u64>,
    /// What it stands on.
    pub ground: Ground,
    /// The decisions that it names.
    pub decisions: Vec<RecordId>,
    /// The last outcome recorded for it.
    pub outcome: Option<(RecordId, Status, Effects)>,
    /// The settlement of an outcome that stayed unknown.
    pub settlement: Option<(RecordId, Status, Effects)>,
    /// Whether there is an outcome or settlement of which it is not shown that it stands.
    pub(crate) is_in_doubt: bool,
}

/// What an execution stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Decisions of people.
    Approved,
    /// Decisions, of which at least one is that a time is out.
    TimedOut,
    /// The policy, which wants no decision.
    Allowed,
    /// Break-glass, without decisions.
    BreakGlass,
}

impl Ground {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::TimedOut => "timed_out",
            Self::Allowed => "allowed",
            Self::BreakGlass => "break_glass",
        }
    }
}

/// Where a proposal is (`spec/runs.md` §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProposalStatus {
    /// No quorum yet.
    Open,
    /// A quorum approved, or the policy wants none, and it may be executed.
    Approved,
    /// The policy in force denies it, or a delegation under which it acts has ended.
    Denied,
    /// Somebody entitled rejected it.
    Rejected,
    /// Somebody entitled asked for changes.
    ChangesRequested,
    /// Another proposal took its place.
    Superseded,
    /// A quorum approved, and none is left without approvals whose window is over.
    Expired,
    /// It was withdrawn.
    Cancelled,
    /// An execution started and has no outcome.
    Executing,
    /// The last execution succeeded.
    Succeeded,
    /// The last execution failed.
    Failed,
    /// What became of the last execution is not known.
    Unknown,
}

impl ProposalStatus {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::Approved,
        Self::Denied,
        Self::Rejected,
        Self::ChangesRequested,
        Self::Superseded,
        Self::Expired,
        Self::Cancelled,
        Self::Executing,
        Self::Succeeded,
        Self::Failed,
        Self::Unknown,
    ];

    /// The status of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing ended or executed a proposal that is there.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Approved | Self::Denied | Self::Expired)
    }

    /// Its name in JSON and in print.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::ChangesRequested => "changes_requested",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Executing => "executing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl ExecutionState {
    /// How it ended, as far as is known: the settlement where there is one, else the last outcome.
    pub fn status(&self) -> Option<Status> {
        self.settlement.or(self.outcome).map(|(_, status, _)| status)
    }

    pub(crate) fn is_conclusive(&self) -> bool {
        self.status().is_some_and(|status| status != Status::Unknown)
    }
}

impl Run {
    pub(crate) fn started_by(record: &Record, owner: Holder) -> Self {
        Self {
            trigger: record.id(),
            requester: record.author().principal.clone(),
            owner,
            owned_by: record.id(),
            count: 0,
            heads: BTreeSet::new(),
            proposals: BTreeMap::new(),
            decisions: HashMap::new(),
            executions: HashMap::new(),
            previews: HashMap::new(),
            refusals: 0,
        }
    }

    /// The run's id.
    pub const fn id(&self) -> RunId {
        RunId::started_by(self.trigger)
    }

    /// Who may act for the run as its agent.
    pub const fn owner(&self) -> &Holder {
        &self.owner
    }

    /// The record that made them its owner: the trigger, or the last handoff.
    pub const fn owned_by(&self) -> RecordId {
        self.owned_by
    }

    /// Who signed the trigger.
    pub const fn requester(&self) -> &Principal {
        &self.requester
    }

    /// How many of its records took their place in the fold, the trigger included.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Records that no later record of the run names as a parent.
    pub const fn heads(&self) -> &BTreeSet<RecordId> {
        &self.heads
    }

    /// How many refusals the gate recorded.
    pub const fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Its proposals, in log order.
    pub fn proposals(&self) -> Vec<(RecordId, &ProposalState)> {
        let mut proposals: Vec<_> = self.proposals.iter().map(|(id, proposal)| (*id, proposal)).collect();
        proposals.sort_unstable_by_key(|(_, proposal)| proposal.index);
        proposals
    }

    /// One of its proposals.
    pub fn proposal(&self, id: &RecordId) -> Option<&ProposalState> {
        self.proposals.get(id)
    }

    /// One of its decisions.
    pub fn decision(&self, id: &RecordId) -> Option<&DecisionState> {
        self.decisions.get(id)
    }

    /// One of its executions.
    pub fn execution(&self, id: &RecordId) -> Option<&ExecutionState> {
        self.executions.get(id)
    }

    /// Its executions, in log order.
    pub fn executions(&self) -> Vec<(RecordId, &ExecutionState)> {
        let mut executions: Vec<_> = self.executions.iter().map(|(id, execution)| (*id, execution)).collect();
        executions.sort_unstable_by_key(|(_, execution)| execution.index);
        executions
    }

    /// Approvals of a proposal that were not withdrawn, in the order of their ids.
    pub fn approvals(&self, proposal: &RecordId) -> Vec<RecordId> {
        let decisions = self.proposals.get(proposal).map_or(&[][..], |proposal| &proposal.decisions);
        let approves = |id: &&RecordId| {
            self.decisions
                .get(*id)
                .is_some_and(|decision| decision.ruling == Ruling::Approve && decision.cancelled.is_none())
        };
        let mut approvals: Vec<RecordId> = decisions.iter().filter(approves).copied().collect();
        approvals.sort_unstable();
        approvals
    }

    /// Ids of proposals and executions that are not settled, ascending: what a handoff lists.
    pub fn open(&self) -> Vec<RecordId> {
        let proposals = self.proposals.iter();
        let open = proposals.filter(|(_, proposal)| proposal.ended.is_none() && proposal.uses.is_empty());
        let executions = self.executions.iter().filter(|(_, execution)| !execution.is_conclusive());
        let mut ids: Vec<_> = open.map(|(id, _)| *id).chain(executions.map(|(id, _)| *id)).collect();
        ids.sort_unstable();
        ids
    }

    /// Gives a proposal or an execution its log time.
    pub(crate) fn set_log_time(&mut self, id: &RecordId, time: Millis) {
        if let Some(execution) = self.executions.get_mut(id) {
            execution.log_time = Some(time.get());
        }
        if let Some(proposal) = self.proposals.get_mut(id) {
            proposal.log_time = Some(time.get());
        }
    }
}

impl State {
    /// Where a proposal is, as of the last entry.
    pub fn proposal_status(&self, run: &Run, id: &RecordId) -> Option<ProposalStatus> {
        let proposal = run.proposals.get(id)?;
        if let Some(last) = proposal.executions.last() {
            let status = run.executions.get(last).and_then(ExecutionState::status);
            return Some(match status {
                None => ProposalStatus::Executing,
                Some(Status::Succeeded) => ProposalStatus::Succeeded,
                Some(Status::Failed) => ProposalStatus::Failed,
                Some(Status::Unknown) => ProposalStatus::Unknown,
            });
        }
        match proposal.ended {
            Some((_, End::Rejected(_))) => return Some(ProposalStatus::Rejected),
            Some((_, End::ChangesRequested(_))) => return Some(ProposalStatus::ChangesRequested),
            Some((_, End::Cancelled(_))) => return Some(ProposalStatus::Cancelled),
            Some((_, End::Superseded(_))) => return Some(ProposalStatus::Superseded),
            None => {}
        }
        let is_over = delegation::no_link_has_ended(self, &proposal.chain, "").is_err();
        if is_over || matches!(self.assess(proposal), Some(Assessment::Denied(_))) {
            return Some(ProposalStatus::Denied);
        }
        let mut approvals = run.approvals(id);
        // One approval that does not count must not hide a quorum that stands without it.
        approvals.retain(|approval| self.counts(run, id, approval, None).is_ok());
        let approved = |approvals: &[RecordId]| self.quorum(run, id, approvals, None).is_ok();
        let now = self.log_time().map_or(0, Millis::get);
        let window = |id| run.decisions.get(id).and_then(|decision| decision.window);
        let is_over = |id| window(id).is_some_and(|(_, until)| now > until);
        let live: Vec<RecordId> = approvals.iter().filter(|id| !is_over(id)).copied().collect();
        Some(if approved(&live) {
            ProposalStatus::Approved
        } else if approved(&approvals) {
            ProposalStatus::Expired
        } else {
            ProposalStatus::Open
        })
    }
}

impl State {
    /// Whether an approval counts toward a quorum, whoever else approves: for execution by `runtime`, where one is named.
    /// Neither the time nor how often the proposal was executed is looked at.
    ///
    /// # Errors
    /// The rule that it would break; [`Rule::QuorumNotMet`] if its signer is not entitled to approve.
    pub fn counts(
        &self,
        run: &Run,
        proposal: &RecordId,
        approval: &RecordId,
        runtime: Option<&Principal>,
    ) -> Result<(), Fault> {
        match self.quorum(run, proposal, &[*approval], runtime) {
            Err(fault) if fault.rule != Rule::QuorumNotMet => return Err(fault),
            // Alone it may be too few, and still be one of enough.
            Ok(_) | Err(_) => {}
        }
        let decision = run.decision(approval);
        let assessment = run.proposal(proposal).and_then(|proposal| self.assess(proposal));
        let why = match decision.zip(assessment) {
            Some((decision, assessment)) if assessment.entitles(&decision.approver()) => return Ok(()),
            Some((decision, assessment)) => assessment.why_not(&decision.approver()),
            None => "its signer is not entitled to approve".to_owned(),
        };
        Err(Fault::violated(Rule::QuorumNotMet, format!("body.decisions: {why}")))
    }
}

impl State {
    /// What the policy in force says of a proposal's action; `None` where none is in force.
    pub fn assess(&self, proposal: &ProposalState) -> Option<Assessment<'_>> {
        self.policy_in_force().map(|(_, policy)| policy.assess(&proposal.request()))
    }
}

impl State {
    /// Whether the policy in force wants a preview of what is proposed.
    pub fn wants_preview(&self, proposal: &ProposalState) -> bool {
        let wants = self.assess(proposal).is_some_and(|assessment| assessment.wants_preview());
        wants && proposal.action.mode == Mode::Apply
    }

    /// What has to be shown to a runtime before it executes a proposal, as the policy in force demands it of whoever runs a gate,
    /// besides what its own trust file does. No rule asks: what a runtime saw is in no log.
    pub fn demanded(&self, proposal: &ProposalState) -> Vec<Dimension> {
        let demanded = self.assess(proposal).map(|assessment| assessment.evidence()).unwrap_or_default();
        let dimension = |evidence| match evidence {
            Evidence::Completeness => Dimension::Completeness,
            Evidence::Freshness => Dimension::Freshness,
            Evidence::Witnessed => Dimension::Witnessed,
        };
        demanded.into_iter().map(dimension).collect()
    }
}

impl DecisionState {
    /// Its approver, as the policy asks about them.
    pub(crate) fn approver(&self) -> Approver<'_> {
        let voice = match (self.author.role, &self.rule) {
            (Role::Human, _) => Voice::Own,
            (Role::Policy, Some(rule)) => Voice::Timeout(rule),
            (Role::Policy, None) if self.surface == Surface::Link => Voice::Link,
            (Role::Policy | Role::Agent | Role::Runtime | Role::Authority | Role::Log, _) => Voice::None,
        };
        Approver {
            principal: &self.approver,
            signer: &self.author.principal,
            voice,
            groups: &self.groups,
            surface: self.surface,
            scheme: self.author.key.scheme().as_str(),
            escalated: &self.escalated,
        }
    }
}

impl ProposalState {
    /// From when on its time-outs and escalations count, in milliseconds: its log time, or its own time where that is later, so
    /// that a log whose clock lags makes none due early. `None` until its log time is shown.
    pub fn counts_from(&self) -> Option<u64> {
        self.log_time.map(|time| time.max(self.time))
    }

    /// What a policy is asked about it.
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.action, self.risk, &self.tags, &self.proposer, &self.groups).under(&self.chain)
    }
}
