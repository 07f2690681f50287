//! The rules of run records other than executions, and what each record does to its run (`spec/runs.md` §4 to §6).

use std::collections::BTreeMap;

use counterfoil_policy::Request;
use counterfoil_receipt::{
    Action, ActionDigest, Author, Body, PublicKey, RecordId, Role, RunId, UnverifiedRecord,
    action::Mode,
    body::{Cancel, Decision, Execution, Holder, Outcome, Proposal, Ruling, Settlement, Status},
    text::Group,
};

use crate::{
    delegation, execution,
    fault::Fault,
    keys::Keys,
    place::with_article,
    proposals,
    record::Record,
    rule::Rule,
    run::{DecisionState, End, ExecutionState, Ground, ProposalState, Run},
    state::{Effect, State},
    timer,
};

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
        Body::Decision(body) => {
            decision_is_about_the_action(run, body)?;
            timer::decision_is_sound(state, run, body)
        }
        Body::Escalation(body) => timer::escalation_is_sound(state, run, body),
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

/// R-CAN-01: a cancel is signed by an agent (proposal), the decision's own principal or approver as a human (decision) or the
/// authority.
fn canceller_may(run: &Run, body: &Cancel, author: &Author) -> Result<(), Fault> {
    let names_proposal = run.proposals.contains_key(&body.target);
    let own_decision = run.decisions.get(&body.target).is_some_and(|decision| {
        [&decision.approver, &decision.author.principal].contains(&&author.principal)
    });
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
    let decision = match record.body() {
        Body::Decision(body) => Some(decision(state, record, body, index, id)),
        _ => None,
    };
    let groups = state.keys.groups(&record.author().principal).to_vec();
    let fired = timer::fired(state, record, index, id);
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
    if let Some((proposal, fired)) = fired
        && let Some(proposal) = run.proposals.get_mut(&proposal)
    {
        proposal.timers.push(fired);
    }
    let effect = match record.body() {
        Body::Proposal(body) => {
            state.awaiting_log_time.push((id, record.id()));
            run.propose(record, body, index, groups, chain)
        }
        Body::Decision(_) => match decision {
            Some((decision, without_effect)) => run.decide(record.id(), decision, without_effect),
            None => Effect::None("is no decision".to_owned()),
        },
        Body::Cancel(body) => run.cancel(record.id(), body, index),
        Body::Execution(body) => {
            run.execute(record, body, index, executed);
            state.awaiting_log_time.push((id, record.id()));
            Effect::Took
        }
        Body::Outcome(body) => {
            run.note_preview(record.id(), index, body);
            run.conclude(&body.execution, |execution| {
                execution.outcome = Some((record.id(), body.status, body.effects));
            })
        }
        Body::Settlement(body) => run.conclude(&body.execution, |execution| {
            execution.settlement = Some((record.id(), body.status, body.effects));
        }),
        Body::Handoff(body) => {
            run.owner = body.to.clone();
            run.owned_by = record.id();
            Effect::Took
        }
        Body::Refusal(body) => {
            run.refusals += body.count.get();
            Effect::Took
        }
        _ => Effect::Took,
    };
    for proposal in proposals::touched(run, record) {
        if let Some(facts) = run.proposals.get(&proposal) {
            state.proposals.touch(id, proposal, facts, index);
        }
    }
    effect
}

/// Notes that it is not shown whether an outcome or a settlement stands: whether its execution may be retried is not shown either.
pub(crate) fn leave_in_doubt(state: &mut State, record: &UnverifiedRecord) {
    let Some(run) = record.run().and_then(|run| state.runs.get_mut(&run)) else { return };
    let (execution, may_stand) = match record.body() {
        Body::Outcome(body) => {
            let may =
                outcome_signer_executed(run, body, record.author()).and_then(|()| outcome_is_due(run, body));
            (body.execution, may.is_ok())
        }
        Body::Settlement(body) => (body.execution, execution_is_unsettled(run, body).is_ok()),
        _ => return,
    };
    if let Some(execution) = run.executions.get_mut(&execution) {
        execution.is_in_doubt |= may_stand;
    }
}

/// A decision as the fold keeps it, and whether the approver's word counts under the policy in force.
///
/// Without a policy in force, any human's word counts: nothing can be approved then, but it can be rejected.
pub(crate) fn decision(
    state: &State,
    record: &UnverifiedRecord,
    body: &Decision,
    index: u64,
    run: RunId,
) -> (DecisionState, Option<String>) {
    let approver = body.approver.as_ref().unwrap_or(&record.author().principal);
    let proposal = state.runs.get(&run).and_then(|run| run.proposals.get(&body.proposal));
    let in_force = state.policy_in_force().map(|(digest, _)| digest);
    // An approval counts under the policy that it names only.
    let counts = in_force.filter(|policy| body.verdict != Ruling::Approve || *policy == body.policy);
    let escalated = proposal.zip(counts).map(|(proposal, policy)| timer::escalated(proposal, policy));
    let decision = DecisionState {
        index,
        proposal: body.proposal,
        ruling: body.verdict,
        author: record.author().clone(),
        groups: state.keys.groups(approver).to_vec(),
        approver: approver.clone(),
        rule: body.rule.clone(),
        escalated: escalated.unwrap_or_default(),
        surface: body.surface,
        policy: body.policy,
        uses: body.uses.map_or(0, |uses| uses.get()),
        window: body.window.as_ref().map(|window| (window.from.get(), window.until.get())),
        cancelled: None,
    };
    let assessment = proposal.and_then(|proposal| state.assess(proposal));
    let human = record.author().role == Role::Human;
    let approver = decision.approver();
    let without_effect = match assessment {
        // That a time is out was checked.
        _ if body.rule.is_some() => None,
        None => (!human).then(|| format!("{} is not entitled to decide", decision.approver)),
        Some(assessment) => {
            let entitled = match body.verdict {
                Ruling::Approve => assessment.entitles(&approver),
                Ruling::Reject | Ruling::RequestChanges => assessment.entitles_against(&approver),
            };
            (!entitled).then(|| assessment.why_not(&approver))
        }
    };
    (decision, without_effect)
}

impl Run {
    fn enter(&mut self, record: &Record) {
        self.count += 1;
        record.parents().iter().for_each(|parent| {
            self.heads.remove(parent);
        });
        self.heads.insert(record.id());
    }

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
        let previewed = self.previewed(record.parents(), &body.action);
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
            previewed,
            time: record.time().get(),
            log_time: None,
            timers: Vec::new(),
            timer_in_doubt: false,
            approvals_in_doubt: Vec::new(),
            ended: None,
            uses: BTreeMap::new(),
            executions: Vec::new(),
            decisions: Vec::new(),
        };
        self.proposals.insert(record.id(), proposal);
        Effect::Took
    }

    /// The last of these parents that says that a preview of an action succeeded: of the same in all but its mode.
    fn previewed(&self, parents: &[RecordId], action: &Action) -> Option<RecordId> {
        let said = parents.iter().filter_map(|parent| Some((parent, self.previews.get(parent)?)));
        let said: Vec<(&RecordId, &(u64, ActionDigest))> = said.collect();
        if said.is_empty() || action.mode != Mode::Apply {
            return None;
        }
        let preview = Action { mode: Mode::Preview, ..action.clone() }.digest();
        let same = said.into_iter().filter(|(_, (_, digest))| *digest == preview);
        same.max_by_key(|(_, (index, _))| *index).map(|(parent, _)| *parent)
    }

    /// Keeps an outcome that says that a preview succeeded.
    fn note_preview(&mut self, id: RecordId, index: u64, body: &Outcome) {
        let execution = self.executions.get(&body.execution);
        let proposal = execution.and_then(|execution| self.proposals.get(&execution.proposal));
        let previewed = proposal.filter(|proposal| proposal.action.mode == Mode::Preview);
        if let Some(proposal) = previewed.filter(|_| body.status == Status::Succeeded) {
            self.previews.insert(id, (index, proposal.digest));
        }
    }

    fn decide(&mut self, id: RecordId, decision: DecisionState, without_effect: Option<String>) -> Effect {
        let Some(proposal) = self.proposals.get_mut(&decision.proposal) else {
            return Effect::None("names no proposal".to_owned());
        };
        proposal.decisions.push(id);
        let end = match decision.ruling {
            Ruling::Approve => None,
            Ruling::Reject => Some(End::Rejected(id)),
            Ruling::RequestChanges => Some(End::ChangesRequested(id)),
        };
        let effect = without_effect.map_or_else(|| proposal.end(decision.index, end), Effect::None);
        self.decisions.insert(id, decision);
        effect
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
        let before = body.retries.and_then(|id| self.executions.get(&id));
        let execution = ExecutionState {
            index,
            proposal: body.proposal,
            use_number: body.use_number.get(),
            retries: body.retries,
            first: before.map_or(record.id(), |before| before.first),
            tries: before.map_or(1, |before| before.tries + 1),
            runtime: record.author().principal.clone(),
            time: record.time().get(),
            windows,
            log_time: None,
            ground: self.ground(body),
            decisions: body.decisions.to_vec(),
            outcome: None,
            settlement: None,
            is_in_doubt: false,
        };
        if let Some(proposal) = self.proposals.get_mut(&body.proposal) {
            proposal.uses.insert(body.use_number.get(), record.id());
            proposal.executions.push(record.id());
        }
        self.executions.insert(record.id(), execution);
    }

    fn ground(&self, body: &Execution) -> Ground {
        let is_time_out = |id: &RecordId| self.decisions.get(id).is_some_and(|one| one.rule.is_some());
        if body.break_glass.is_some() {
            Ground::BreakGlass
        } else if body.decisions.is_empty() {
            Ground::Allowed
        } else if body.decisions.iter().any(is_time_out) {
            Ground::TimedOut
        } else {
            Ground::Approved
        }
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
