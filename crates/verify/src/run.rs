//! A run: its proposals, decisions, executions and owner, and the rules of every type but the execution (`spec/runs.md`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use counterfoil_policy::{Approver, Assessment, Request};
use counterfoil_receipt::{
    Action, ActionDigest, Author, Body, PolicyDigest, Principal, PublicKey, RecordId, Role, RunId,
    body::{
        Audience, Cancel, Decision, Effects, Execution, Holder, Outcome, Proposal, Risk, Ruling, Settlement,
        Status, Surface,
    },
    field::Millis,
    text::{Group, Label},
};

use crate::{
    delegation, execution,
    fault::Fault,
    keys::Keys,
    place::with_article,
    record::Record,
    rule::Rule,
    state::{Effect, State},
};

/// The state of one run.
#[derive(Clone, Debug)]
pub struct Run {
    trigger: RecordId,
    pub(crate) requester: Principal,
    owner: Holder,
    count: u64,
    heads: BTreeSet<RecordId>,
    pub(crate) proposals: BTreeMap<RecordId, ProposalState>,
    pub(crate) decisions: HashMap<RecordId, DecisionState>,
    executions: HashMap<RecordId, ExecutionState>,
    refusals: u64,
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
    /// What ended it, and at which index.
    pub ended: Option<(u64, End)>,
    /// Which execution holds which use.
    pub uses: BTreeMap<u64, RecordId>,
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

/// One decision, with its signer as they stood when they signed.
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
    /// The groups of the signer at that index.
    pub groups: Vec<Group>,
    /// Where the signer was shown what they decided on.
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
    /// Who executes.
    pub runtime: Principal,
    /// When the runtime says it started, in milliseconds.
    pub time: u64,
    /// The windows of the decisions that it names and the validities of its delegations, in milliseconds.
    pub windows: Vec<(u64, u64)>,
    /// Log time: that of the first snapshot after it; `None` until one is shown that leaves no gap.
    pub log_time: Option<u64>,
    /// Whether it stands on break-glass, without decisions.
    pub break_glass: bool,
    /// Whether it names decisions. If not, and without break-glass, the policy allows it, and nobody approved it.
    pub decided: bool,
    /// The last outcome recorded for it.
    pub outcome: Option<(RecordId, Status, Effects)>,
    /// The settlement of an outcome that stayed unknown.
    pub settlement: Option<(RecordId, Status, Effects)>,
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

    fn is_conclusive(&self) -> bool {
        self.status().is_some_and(|status| status != Status::Unknown)
    }
}

impl Run {
    fn started_by(record: &Record, owner: Holder) -> Self {
        Self {
            trigger: record.id(),
            requester: record.author().principal.clone(),
            owner,
            count: 0,
            heads: BTreeSet::new(),
            proposals: BTreeMap::new(),
            decisions: HashMap::new(),
            executions: HashMap::new(),
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

    pub(crate) fn set_log_time(&mut self, execution: &RecordId, time: Millis) {
        if let Some(execution) = self.executions.get_mut(execution) {
            execution.log_time = Some(time.get());
        }
    }

    fn enter(&mut self, record: &Record) {
        self.count += 1;
        record.parents().iter().for_each(|parent| {
            self.heads.remove(parent);
        });
        self.heads.insert(record.id());
    }
}

impl State {
    /// Where a proposal is, as of the last entry.
    pub fn proposal_status(&self, run: &Run, id: &RecordId) -> Option<ProposalStatus> {
        let proposal = run.proposals.get(id)?;
        if let Some(last) = proposal.uses.values().last() {
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
        let entitles = |(decision, assessment): (&DecisionState, Assessment<'_>)| {
            assessment.entitles(&decision.approver())
        };
        if decision.zip(assessment).is_some_and(entitles) {
            return Ok(());
        }
        let signer = decision.map_or("its signer", |decision| decision.author.principal.as_str());
        Err(Fault::violated(
            Rule::QuorumNotMet,
            format!("body.decisions: {signer} is not entitled to approve"),
        ))
    }
}

/// The rules of run records other than executions.
pub(crate) fn check(state: &State, record: &Record) -> Result<(), Fault> {
    if let Body::Trigger(body) = record.body() {
        return recipient_is_a_live_agent(state, &body.owner, "owner");
    }
    let Some(run) = record.run().and_then(|run| state.runs.get(&run)) else { return Ok(()) };
    let author = record.author();
    match record.body() {
        Body::Observation(_) => owner_signs(&state.keys, run, author),
        Body::Proposal(body) => {
            owner_signs(&state.keys, run, author)?;
            superseded_is_open(run, body)?;
            // No chain yet: what a scope asks about is the action.
            let tags = body.tags.as_deref().unwrap_or_default();
            let request = Request::new(&body.action, body.risk, tags, &author.principal, &[]);
            delegation::proposal_is_delegated(state, body, author, &request)
        }
        Body::Decision(body) => decision_is_about_the_action(run, body),
        Body::Cancel(body) => {
            canceller_may(run, body, author)?;
            if author.role == Role::Agent { owner_signs(&state.keys, run, author) } else { Ok(()) }
        }
        Body::Outcome(body) => {
            outcome_signer_executed(run, body, author)?;
            outcome_is_due(run, body)
        }
        Body::Settlement(body) => execution_is_unsettled(run, body),
        Body::Handoff(body) => {
            owner_signs(&state.keys, run, author)?;
            recipient_is_a_live_agent(state, &body.to, "to")
        }
        _ => Ok(()),
    }
}

/// R-OWN-01: observation, proposal, handoff and an agent's cancel are signed by the run's owner.
fn owner_signs(keys: &Keys, run: &Run, author: &Author) -> Result<(), Fault> {
    let owner: PublicKey = keys.current(run.owner.key);
    if author.principal == run.owner.principal && author.key == owner {
        return Ok(());
    }
    let detail = format!(
        "signer: {} with {}; the run belongs to {} with {owner}",
        author.principal, author.key, run.owner.principal
    );
    Err(Fault::violated(Rule::NotOwner, detail))
}

/// R-PROP-01: a superseded proposal was not superseded, cancelled or executed before.
fn superseded_is_open(run: &Run, body: &Proposal) -> Result<(), Fault> {
    let Some(id) = &body.supersedes else { return Ok(()) };
    let Some(old) = run.proposals.get(id) else { return Ok(()) };
    let why = match (old.ended, old.uses.values().next()) {
        (_, Some(execution)) => format!("was executed by {execution}"),
        (Some((at, End::Superseded(by))), None) => format!("was superseded by {by} at entry {at}"),
        (Some((at, End::Cancelled(by))), None) => format!("was cancelled by {by} at entry {at}"),
        (Some((_, End::Rejected(_) | End::ChangesRequested(_))) | None, None) => return Ok(()),
    };
    Err(Fault::violated(Rule::SupersedeTarget, format!("body.supersedes: {id} {why}")))
}

/// R-DEC-02: a decision's action digest is that of the proposal's action.
fn decision_is_about_the_action(run: &Run, body: &Decision) -> Result<(), Fault> {
    match run.proposals.get(&body.proposal) {
        Some(proposal) if proposal.digest != body.action => Err(Fault::violated(
            Rule::DecisionAction,
            format!("body.action: claims {}, the proposal's action is {}", body.action, proposal.digest),
        )),
        _ => Ok(()),
    }
}

/// R-CAN-01: a cancel is signed by an agent (proposal), the decision's own principal (decision) or the authority.
fn canceller_may(run: &Run, body: &Cancel, author: &Author) -> Result<(), Fault> {
    let names_proposal = run.proposals.contains_key(&body.target);
    let own_decision =
        run.decisions.get(&body.target).is_some_and(|decision| decision.author.principal == author.principal);
    let may = match author.role {
        Role::Authority => true,
        Role::Agent => names_proposal,
        Role::Human => own_decision,
        Role::Runtime | Role::Policy | Role::Log => false,
    };
    if may {
        return Ok(());
    }
    let detail = format!("signer: {} as {} may not cancel {}", author.principal, author.role, body.target);
    Err(Fault::violated(Rule::CancelSigner, detail))
}

/// R-OUT-01: an outcome is signed by the principal that recorded the execution.
fn outcome_signer_executed(run: &Run, body: &Outcome, author: &Author) -> Result<(), Fault> {
    match run.executions.get(&body.execution) {
        Some(execution) if execution.runtime != author.principal => Err(Fault::violated(
            Rule::OutcomeSigner,
            format!(
                "signer.principal: claims {}, the execution is {}'s",
                author.principal, execution.runtime
            ),
        )),
        _ => Ok(()),
    }
}

/// R-OUT-02: the execution has no conclusive outcome or settlement yet.
fn outcome_is_due(run: &Run, body: &Outcome) -> Result<(), Fault> {
    let Some(execution) = run.executions.get(&body.execution) else { return Ok(()) };
    let repeats = execution.outcome.is_some() && body.status == Status::Unknown;
    match execution.settlement.or(execution.outcome) {
        Some((by, status, _)) if execution.is_conclusive() || repeats => Err(Fault::violated(
            Rule::OutcomeSettled,
            format!("body.execution: {} is {status} already, by {by}", body.execution),
        )),
        _ => Ok(()),
    }
}

/// R-SET-01: a settlement names an execution that is still unknown.
fn execution_is_unsettled(run: &Run, body: &Settlement) -> Result<(), Fault> {
    let Some(execution) = run.executions.get(&body.execution) else { return Ok(()) };
    match execution.settlement.or(execution.outcome) {
        Some((by, status, _)) if execution.is_conclusive() => Err(Fault::violated(
            Rule::SettlementOpen,
            format!("body.execution: {} is {status} already, by {by}", body.execution),
        )),
        _ => Ok(()),
    }
}

/// R-HAND-01: a run is given to a live agent key of the named principal.
fn recipient_is_a_live_agent(state: &State, to: &Holder, field: &str) -> Result<(), Fault> {
    let Holder { key, principal } = to;
    let Some(facts) = state.keys.get(key) else {
        return Err(state.absent(Rule::HandoffRecipient, format!("body.{field}.key: {key} is not enrolled")));
    };
    let ended = facts.retired.or(facts.revoked);
    if facts.role == Role::Agent && facts.principal == *principal && ended.is_none() {
        return Ok(());
    }
    let detail =
        format!("body.{field}: {key} is {} key of {}", with_article(facts.role.as_str()), facts.principal);
    let ended = ended.map_or_else(String::new, |at| format!(", ended at entry {at}"));
    Err(Fault::violated(Rule::HandoffRecipient, detail + &ended))
}

/// Applies a run record that was checked.
pub(crate) fn apply(state: &mut State, record: &Record, index: u64) -> Effect {
    let Some(id) = record.run() else { return Effect::None("belongs to no run".to_owned()) };
    if let Body::Trigger(body) = record.body() {
        state.runs.insert(id, Run::started_by(record, body.owner.clone()));
    }
    let entitled = match record.body() {
        Body::Decision(body) => entitled(state, record.author(), body, id),
        _ => false,
    };
    let groups = state.keys.groups(&record.author().principal).to_vec();
    let chain = match record.body() {
        Body::Proposal(body) => body.delegation.map_or_else(Vec::new, |id| state.chain(&id)),
        _ => Vec::new(),
    };
    let executed = match record.body() {
        Body::Execution(body) => execution::take(state, id, body),
        _ => Vec::new(),
    };
    let Some(run) = state.runs.get_mut(&id) else { return Effect::None("belongs to no run".to_owned()) };
    run.enter(record);
    match record.body() {
        Body::Proposal(body) => run.propose(record, body, index, groups, chain),
        Body::Decision(body) => run.decide(record, body, index, groups, entitled),
        Body::Cancel(body) => run.cancel(record.id(), body, index),
        Body::Execution(body) => {
            run.execute(record, body, index, executed);
            state.awaiting_log_time.push((id, record.id()));
            Effect::Took
        }
        Body::Outcome(body) => run.conclude(&body.execution, |execution| {
            execution.outcome = Some((record.id(), body.status, body.effects));
        }),
        Body::Settlement(body) => run.conclude(&body.execution, |execution| {
            execution.settlement = Some((record.id(), body.status, body.effects));
        }),
        Body::Handoff(body) => {
            run.owner = body.to.clone();
            Effect::Took
        }
        Body::Refusal(body) => {
            run.refusals += body.count.get();
            Effect::Took
        }
        Body::Escalation(_) => Effect::None("no rule of this policy language escalates".to_owned()),
        _ => Effect::Took,
    }
}

/// Whether the signer of a decision is one whose word counts under the policy in force.
///
/// Without a policy in force, any human's word counts: nothing can be approved then, but it can be rejected.
fn entitled(state: &State, author: &Author, body: &Decision, run: RunId) -> bool {
    let proposal = state.runs.get(&run).and_then(|run| run.proposals.get(&body.proposal));
    let groups = state.keys.groups(&author.principal);
    let human = author.role == Role::Human;
    let assessment = proposal.and_then(|proposal| state.assess(proposal));
    assessment.map_or(human, |assessment| assessment.entitles(&approver(author, groups, body.surface)))
}

/// A signer of decisions, as the policy asks about them.
fn approver<'a>(author: &'a Author, groups: &'a [Group], surface: Surface) -> Approver<'a> {
    let human = author.role == Role::Human;
    Approver { principal: &author.principal, human, groups, surface, scheme: author.key.scheme().as_str() }
}

impl State {
    /// What the policy in force says of a proposal's action; `None` where none is in force.
    pub fn assess(&self, proposal: &ProposalState) -> Option<Assessment<'_>> {
        self.policy_in_force().map(|(_, policy)| policy.assess(&proposal.request()))
    }
}

impl DecisionState {
    /// Its signer, as the policy asks about them.
    pub(crate) fn approver(&self) -> Approver<'_> {
        approver(&self.author, &self.groups, self.surface)
    }
}

impl Run {
    fn propose(
        &mut self,
        record: &Record,
        body: &Proposal,
        index: u64,
        groups: Vec<Group>,
        chain: Vec<RecordId>,
    ) -> Effect {
        if let Some(old) = body.supersedes.and_then(|id| self.proposals.get_mut(&id)) {
            old.ended = Some((index, End::Superseded(record.id())));
        }
        let proposal = ProposalState {
            index,
            proposer: record.author().principal.clone(),
            groups,
            risk: body.risk,
            tags: body.tags.as_deref().unwrap_or_default().to_vec(),
            chain,
            digest: body.action.digest(),
            action: body.action.clone(),
            audience: body.audience.clone(),
            supersedes: body.supersedes,
            ended: None,
            uses: BTreeMap::new(),
            decisions: Vec::new(),
        };
        self.proposals.insert(record.id(), proposal);
        Effect::Took
    }

    fn decide(
        &mut self,
        record: &Record,
        body: &Decision,
        index: u64,
        groups: Vec<Group>,
        entitled: bool,
    ) -> Effect {
        let decision = DecisionState {
            index,
            proposal: body.proposal,
            ruling: body.verdict,
            author: record.author().clone(),
            groups,
            surface: body.surface,
            policy: body.policy,
            uses: body.uses.map_or(0, |uses| uses.get()),
            window: body.window.as_ref().map(|window| (window.from.get(), window.until.get())),
            cancelled: None,
        };
        self.decisions.insert(record.id(), decision);
        let Some(proposal) = self.proposals.get_mut(&body.proposal) else {
            return Effect::None("names no proposal".to_owned());
        };
        proposal.decisions.push(record.id());
        if !entitled {
            return Effect::None(format!("{} is not entitled to decide", record.author().principal));
        }
        let end = match body.verdict {
            Ruling::Approve => None,
            Ruling::Reject => Some(End::Rejected(record.id())),
            Ruling::RequestChanges => Some(End::ChangesRequested(record.id())),
        };
        proposal.end(index, end)
    }

    fn cancel(&mut self, by: RecordId, body: &Cancel, index: u64) -> Effect {
        if let Some(decision) = self.decisions.get_mut(&body.target) {
            if let Some(before) = decision.cancelled {
                return Effect::None(format!("the decision was withdrawn before, by {before}"));
            }
            decision.cancelled = Some(by);
            return Effect::Took;
        }
        match self.proposals.get_mut(&body.target) {
            Some(proposal) => proposal.end(index, Some(End::Cancelled(by))),
            None => Effect::None("names neither proposal nor decision".to_owned()),
        }
    }

    fn execute(&mut self, record: &Record, body: &Execution, index: u64, windows: Vec<(u64, u64)>) {
        let execution = ExecutionState {
            index,
            proposal: body.proposal,
            use_number: body.use_number.get(),
            runtime: record.author().principal.clone(),
            time: record.time().get(),
            windows,
            log_time: None,
            break_glass: body.break_glass.is_some(),
            decided: !body.decisions.is_empty(),
            outcome: None,
            settlement: None,
        };
        if let Some(proposal) = self.proposals.get_mut(&body.proposal) {
            proposal.uses.insert(body.use_number.get(), record.id());
        }
        self.executions.insert(record.id(), execution);
    }

    fn conclude(&mut self, id: &RecordId, change: impl FnOnce(&mut ExecutionState)) -> Effect {
        match self.executions.get_mut(id) {
            Some(execution) => {
                change(execution);
                Effect::Took
            }
            None => Effect::None("names no execution".to_owned()),
        }
    }
}

impl ProposalState {
    /// What a policy is asked about it.
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.action, self.risk, &self.tags, &self.proposer, &self.groups).under(&self.chain)
    }

    /// Ends the proposal, unless something ended it at a lower index.
    fn end(&mut self, index: u64, end: Option<End>) -> Effect {
        match (self.ended, end) {
            (Some((at, _)), _) => Effect::None(format!("the proposal ended at entry {at}")),
            (None, Some(end)) => {
                self.ended = Some((index, end));
                if self.uses.is_empty() {
                    Effect::Took
                } else {
                    Effect::None("an execution stands at a lower index".to_owned())
                }
            }
            (None, None) => Effect::Took,
        }
    }
}
