//! The heart: whether an execution may stand, because exactly this action was approved by enough of the right people,
//! under the policy in force, within its window, and its use is free.
//!
//! The fold asks at the execution's index; the gate asks, before it acts, at the index that its execution would get.

use counterfoil_policy::{Approval, Assessment, Denial, Policy, Shortfall};
use counterfoil_receipt::{
    PolicyDigest, Principal, RecordId, Role, RunId,
    action::Mode,
    body::{Audience, Execution, Ruling, Status, Surface},
};
use counterfoil_tlog::policy::QuorumTime;

use crate::{
    delegation,
    fault::Fault,
    record::Record,
    rule::Rule,
    run::{DecisionState, ExecutionState, ProposalState, Run},
    state::State,
};

/// A quorum that holds: which decisions, on which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// The decisions, by id, ascending.
    pub decisions: Vec<RecordId>,
    /// The smallest `uses` among them and of the policy.
    pub uses: u64,
    /// The latest `from` and the earliest `until` among them, in milliseconds; everything where there is none of them.
    pub window: (u64, u64),
    /// The policy under which it holds.
    pub policy: PolicyDigest,
}

/// Every rule of an execution record that stands in a log.
pub(crate) fn check(state: &State, body: &Execution, record: &Record) -> Result<(), Fault> {
    let Some(run) = record.run().and_then(|run| state.run(&run)) else { return Ok(()) };
    state.may_execute(run, body, &record.author().principal, record.time().get())
}

/// What an execution that stands takes from the delegations under which it acts; gives the windows in which it has to lie.
pub(crate) fn take(state: &mut State, run: RunId, body: &Execution) -> Vec<(u64, u64)> {
    let Some(run) = state.run(&run) else { return Vec::new() };
    let windows = state.windows(run, body);
    // What a use takes was taken when it was, whatever tries it again.
    if let Some(proposal) = run.proposal(&body.proposal)
        && body.retries.is_none()
    {
        let chain = proposal.chain.clone();
        let cost = delegation::enough_is_left(state, proposal, false).ok().flatten();
        state.delegations.take(&chain, cost);
    }
    windows
}

impl State {
    /// Whether `runtime` may record this execution next, at its own time `time` in milliseconds.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn may_execute(
        &self,
        run: &Run,
        body: &Execution,
        runtime: &Principal,
        time: u64,
    ) -> Result<(), Fault> {
        let Some(proposal) = run.proposals.get(&body.proposal) else {
            return Err(self
                .absent(Rule::ReferenceUnknown, format!("body.proposal: {} is no proposal", body.proposal)));
        };
        action_is_the_one_proposed(proposal, body)?;
        audience_is_the_runtime(self, proposal, runtime)?;
        delegation::runtime_is_every_audience(self, &proposal.chain, runtime)?;
        delegation::no_link_has_ended(self, &proposal.chain, "body.proposal: ")?;
        use_is_free(proposal, body)?;
        proposal_is_open(proposal)?;
        let policy = policy_is_in_force(self, &body.policy)?;
        if let Some(again) = &body.retries {
            let retries = policy.assess(&proposal.request()).retries();
            retry_is_allowed(run, proposal, body, again, runtime, retries)?;
        }
        let granted = if body.break_glass.is_some() {
            let assessment = policy.assess(&proposal.request());
            break_glass_is_allowed(&assessment)?;
            assessment.uses()
        } else {
            self.judge(run, &body.proposal, &body.decisions, Some(runtime), preview_is_there)?.uses
        };
        use_is_granted(granted, body.use_number.get())?;
        let windows = self.windows(run, body);
        windows.into_iter().try_for_each(|window| time_is_inside(time, window, "time"))?;
        delegation::enough_is_left(self, proposal, body.retries.is_some()).map(|_| ())
    }

    /// How often an execution may be tried again, and what tries it again: as often as the policy in force lets its use be, less what
    /// was tried before; never, unless it holds its use and its outcome is known to be unknown. What else an execution needs is not
    /// asked.
    pub fn retries_left(&self, run: &Run, id: &RecordId) -> u64 {
        let Some(execution) = run.execution(id) else { return 0 };
        let Some(proposal) = run.proposal(&execution.proposal) else { return 0 };
        let holds = proposal.uses.get(&execution.use_number) == Some(id);
        let is_unknown = execution.status() == Some(Status::Unknown) && !execution.is_in_doubt;
        let most = self.assess(proposal).map_or(0, |assessment| assessment.retries());
        if holds && is_unknown { (most + 1).saturating_sub(execution.tries) } else { 0 }
    }

    /// The log times, in milliseconds, in each of which this execution has to lie: the windows of the decisions that it names,
    /// and the validities of the delegations under which its proposal acts.
    pub fn windows(&self, run: &Run, body: &Execution) -> Vec<(u64, u64)> {
        let decided = body.decisions.iter().filter_map(|id| run.decision(id)?.window);
        let delegated = run.proposal(&body.proposal).map(|proposal| self.validities(proposal));
        decided.chain(delegated.into_iter().flatten()).collect()
    }

    /// Whether a runtime is meant by an audience, as of the last entry.
    pub(crate) fn is_audience(&self, audience: &Audience, runtime: &Principal) -> bool {
        match audience {
            Audience::Principal(principal) => principal == runtime,
            Audience::Group(group) => self.keys.groups(runtime).contains(group),
        }
    }

    /// Whether these decisions approve the proposal, for execution by `runtime` where one is named.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn quorum(
        &self,
        run: &Run,
        proposal: &RecordId,
        decisions: &[RecordId],
        runtime: Option<&Principal>,
    ) -> Result<Quorum, Fault> {
        self.judge(run, proposal, decisions, runtime, |_, _| Ok(()))
    }

    /// The same, and whether `also` holds, in its place: after whether the action is denied, before the terms of the decisions.
    fn judge(
        &self,
        run: &Run,
        proposal: &RecordId,
        decisions: &[RecordId],
        runtime: Option<&Principal>,
        also: fn(&Assessment<'_>, &ProposalState) -> Result<(), Fault>,
    ) -> Result<Quorum, Fault> {
        let Some(proposed) = run.proposals.get(proposal) else {
            return Err(self.absent(Rule::ReferenceUnknown, format!("{proposal} is no proposal")));
        };
        let named: Vec<&DecisionState> = decisions
            .iter()
            .map(|id| decision_is_an_approval(self, run, proposal, id))
            .collect::<Result<_, _>>()?;
        let Some((in_force, policy)) = self.policy_in_force() else {
            return Err(self.absent(Rule::PolicyNotInForce, "no policy is in force"));
        };
        decisions_name_the_policy(&named, in_force)?;
        approvers_are_not_revoked(self, &named)?;
        let involved = self.involved(run, proposed, runtime);
        let assessment = policy.assess(&proposed.request());
        if !matches!(assessment, Assessment::Denied(_)) {
            also(&assessment, proposed)?;
        }
        let uses = enough_approve(&assessment, &involved, &named)?;
        let from = named.iter().filter_map(|decision| decision.window).map(|(from, _)| from).max();
        let until = named.iter().filter_map(|decision| decision.window).map(|(_, until)| until).min();
        let unbounded = if named.is_empty() { (0, u64::MAX) } else { (u64::MAX, 0) };
        let mut decisions = decisions.to_vec();
        decisions.sort_unstable();
        Ok(Quorum { decisions, uses, window: from.zip(until).unwrap_or(unbounded), policy: in_force })
    }

    /// Who asked for the action, proposed it, is a delegate of it, or executes it.
    pub(crate) fn involved<'a>(
        &'a self,
        run: &'a Run,
        proposed: &'a ProposalState,
        runtime: Option<&'a Principal>,
    ) -> Vec<&'a str> {
        let involved = [Some(&run.requester), Some(&proposed.proposer), runtime].into_iter().flatten();
        involved.chain(self.delegates(&proposed.chain)).map(Principal::as_str).collect()
    }

    /// Those among these decisions that an execution has to name to meet the policy in force, in the same order: few, and the
    /// earlier ones where there is a choice. `None` if all of them are too few. Whether each counts is not asked
    /// ([`State::counts`]).
    pub fn select(&self, run: &Run, proposal: &RecordId, decisions: &[RecordId]) -> Option<Vec<RecordId>> {
        let assessment = self.assess(run.proposals.get(proposal)?)?;
        let known: Vec<(&RecordId, &DecisionState)> =
            decisions.iter().filter_map(|id| Some((id, run.decisions.get(id)?))).collect();
        let states: Vec<&DecisionState> = known.iter().map(|(_, decision)| *decision).collect();
        let selected = assessment.select(&approvals(&states))?;
        Some(selected.into_iter().filter_map(|at| known.get(at)).map(|(id, _)| **id).collect())
    }
}

/// Whether an approval that is not signed yet would count towards the quorum of a proposal.
pub(crate) fn would_count(
    state: &State,
    run: &Run,
    proposed: &ProposalState,
    decision: &DecisionState,
) -> Result<(), Fault> {
    let Some(assessment) = state.assess(proposed) else { return Ok(()) };
    let involved = state.involved(run, proposed, None);
    match enough_approve(&assessment, &involved, &[decision]) {
        // Alone it may be too few, and still be one of enough.
        Err(fault) if fault.rule != Rule::QuorumNotMet => Err(fault),
        Ok(_) | Err(_) if assessment.entitles(&decision.approver()) => Ok(()),
        Ok(_) | Err(_) => {
            let why = format!("body.decisions: {}", assessment.why_not(&decision.approver()));
            Err(Fault::violated(Rule::QuorumNotMet, why))
        }
    }
}

/// R-EXEC-01: the action executed is the action proposed, byte for byte.
fn action_is_the_one_proposed(proposal: &ProposalState, body: &Execution) -> Result<(), Fault> {
    let Some(difference) = proposal.action.first_difference(&body.action) else { return Ok(()) };
    let show = |value: Option<String>| match value {
        None => "nothing".to_owned(),
        Some(value) if value.chars().count() > 120 => {
            format!("{}…", value.chars().take(120).collect::<String>())
        }
        Some(value) => value,
    };
    let detail = format!(
        "action{}: approved {}, executed {}",
        difference.path,
        show(difference.left),
        show(difference.right)
    );
    Err(Fault::violated(Rule::ActionDiffers, detail))
}

/// R-EXEC-02: no earlier execution holds this use of the proposal, but the one that this one retries.
fn use_is_free(proposal: &ProposalState, body: &Execution) -> Result<(), Fault> {
    match proposal.uses.get(&body.use_number.get()) {
        Some(holder) if body.retries == Some(*holder) => Ok(()),
        Some(holder) => Err(Fault::violated(
            Rule::UseConsumed,
            format!("body.use: use {} of {} is held by execution {holder}", body.use_number, body.proposal),
        )),
        None => Ok(()),
    }
}

/// R-EXEC-03: the use is at most the smallest `uses` of its quorum and of the policy.
fn use_is_granted(granted: u64, use_number: u64) -> Result<(), Fault> {
    if use_number <= granted {
        return Ok(());
    }
    let detail = format!("body.use: claims use {use_number}, granted are {granted}");
    Err(Fault::violated(Rule::UseExceeded, detail))
}

/// R-EXEC-04: nothing ended the proposal at a lower index.
fn proposal_is_open(proposal: &ProposalState) -> Result<(), Fault> {
    match proposal.ended {
        Some((at, end)) => {
            let (how, by) = (end.how(), end.by());
            Err(Fault::violated(
                Rule::ProposalEnded,
                format!("body.proposal: was {how} at entry {at} by {by}"),
            ))
        }
        None if proposal.timer_in_doubt => Err(Fault::not_shown(
            Rule::ProposalEnded,
            "body.proposal: whether a time-out or escalation about it stands is not shown",
        )),
        None => Ok(()),
    }
}

/// R-EXEC-05: each decision named is an approval of this proposal, not cancelled.
fn decision_is_an_approval<'a>(
    state: &State,
    run: &'a Run,
    proposal: &RecordId,
    id: &RecordId,
) -> Result<&'a DecisionState, Fault> {
    let Some(decision) = run.decisions.get(id) else {
        return Err(state
            .absent(Rule::DecisionNotApproval, format!("body.decisions: {id} is no decision of this run")));
    };
    let why = if decision.proposal != *proposal {
        format!("is about {}", decision.proposal)
    } else if decision.ruling != Ruling::Approve {
        format!("says {}", decision.ruling)
    } else if let Some(by) = decision.cancelled {
        format!("was withdrawn by {by}")
    } else {
        return Ok(decision);
    };
    Err(Fault::violated(Rule::DecisionNotApproval, format!("body.decisions: {id} {why}")))
}

/// R-EXEC-06, R-EXEC-07, R-EXEC-12, R-EXEC-15 and R-EXEC-16, as the policy evaluates them together.
fn enough_approve(
    assessment: &Assessment<'_>,
    involved: &[&str],
    named: &[&DecisionState],
) -> Result<u64, Fault> {
    let terms = assessment.evaluate(involved, &approvals(named));
    terms.map(|terms| terms.uses).map_err(|shortfall| match &shortfall {
        Shortfall::Denied(denial) => denied(denial),
        Shortfall::Quorum { .. } => quorum_is_short(&shortfall),
        Shortfall::Segregation(_) => approver_is_involved(&shortfall),
        Shortfall::Terms { .. } => terms_are_too_wide(&shortfall),
    })
}

pub(crate) fn approvals<'a>(named: &[&'a DecisionState]) -> Vec<Approval<'a>> {
    let length = |(from, until): (u64, u64)| until.saturating_sub(from);
    let approval = |decision: &&'a DecisionState| Approval {
        approver: decision.approver(),
        uses: decision.uses,
        window: decision.window.map_or(u64::MAX, length),
    };
    named.iter().map(approval).collect()
}

/// What a denial breaks.
fn denied(denial: &Denial) -> Fault {
    match denial {
        Denial::FreePath(_) => free_path_is_refused(denial),
        Denial::Rules(_) | Denial::NoRule => policy_denies(denial),
    }
}

/// R-EXEC-15: the policy in force does not deny the action.
fn policy_denies(denial: &Denial) -> Fault {
    Fault::violated(Rule::PolicyDenied, format!("body.action: {denial}"))
}

/// R-EXEC-16: each free path of the action is one that the policy in force lets be free.
fn free_path_is_refused(denial: &Denial) -> Fault {
    Fault::violated(Rule::FreePathRefused, format!("body.action.free: {denial}"))
}

/// R-EXEC-17: the proposal names a preview of the same action that succeeded, where the policy in force wants one.
fn preview_is_there(assessment: &Assessment<'_>, proposal: &ProposalState) -> Result<(), Fault> {
    if !assessment.wants_preview() || proposal.action.mode == Mode::Preview || proposal.previewed.is_some() {
        return Ok(());
    }
    let why =
        "body.proposal: no parent of it says that a preview of this action succeeded, which the policy wants";
    Err(Fault::violated(Rule::PreviewMissing, why))
}

/// R-EXEC-06: enough distinct entitled principals approved.
fn quorum_is_short(shortfall: &Shortfall) -> Fault {
    Fault::violated(Rule::QuorumNotMet, format!("body.decisions: {shortfall}"))
}

/// R-EXEC-07: no approver, nor who signs for one by link, is the requester, the proposer, a delegate of the chain or the executing
/// runtime's principal, where the policy wants that.
fn approver_is_involved(shortfall: &Shortfall) -> Fault {
    Fault::violated(Rule::Segregation, format!("body.decisions: {shortfall}"))
}

/// R-EXEC-12: window and uses of a decision lie within the policy's.
fn terms_are_too_wide(shortfall: &Shortfall) -> Fault {
    Fault::violated(Rule::TermsExceedPolicy, format!("body.decisions: {shortfall}"))
}

/// R-EXEC-08: the runtime's own time and the log time of the execution lie inside the window of every decision that it
/// names, and inside the validity of every link.
pub(crate) fn time_is_inside(time: u64, (from, until): (u64, u64), what: &str) -> Result<(), Fault> {
    if (from..=until).contains(&time) {
        return Ok(());
    }
    let detail = format!("{what}: {time} lies outside the approved window, {from} to {until}");
    Err(Fault::violated(Rule::WindowClosed, detail))
}

/// Whether an execution is shown to lie in its windows, given when a quorum of witnesses had seen it.
///
/// Where the reader names no witnesses, the log's own clock is the evidence.
pub(crate) fn window_is_shown(execution: &ExecutionState, existed_by: QuorumTime) -> Result<(), Fault> {
    if execution.windows.is_empty() {
        return Ok(());
    }
    let Some(log_time) = execution.log_time else {
        return Err(Fault::not_shown(
            Rule::WindowClosed,
            "the snapshot that follows the execution is not shown",
        ));
    };
    execution.windows.iter().try_for_each(|window| time_is_inside(log_time, *window, "log time"))?;
    let until = execution.windows.iter().map(|(_, until)| *until).min().unwrap_or(0);
    // A delegation that only begins asks nothing of witnesses.
    if until == u64::MAX {
        return Ok(());
    }
    match existed_by {
        QuorumTime::NotRequired => Ok(()),
        QuorumTime::At(time) if time.0.saturating_mul(1_000) <= until => Ok(()),
        QuorumTime::At(time) => {
            let detail = format!(
                "witnesses show the execution by {} s only, after its window ended at {until} ms",
                time.0
            );
            Err(Fault::not_shown(Rule::WindowClosed, detail))
        }
        QuorumTime::NotReached => Err(Fault::not_shown(
            Rule::WindowClosed,
            "no quorum of witnesses shows when the execution was logged",
        )),
    }
}

/// R-EXEC-09: the policy in force is the one that execution and decisions name.
fn policy_is_in_force<'a>(state: &'a State, named: &PolicyDigest) -> Result<&'a Policy, Fault> {
    if state.policy_in_doubt {
        let why = "body.policy: whether a later policy came into force is not shown";
        return Err(Fault::not_shown(Rule::PolicyNotInForce, why));
    }
    match state.policy_in_force() {
        Some((digest, policy)) if digest == *named => Ok(policy),
        Some((digest, _)) => Err(Fault::violated(
            Rule::PolicyNotInForce,
            format!("body.policy: names policy {named}; the policy in force is {digest}"),
        )),
        None => Err(state.absent(
            Rule::PolicyNotInForce,
            format!("body.policy: names policy {named}, and no policy is in force"),
        )),
    }
}

/// The half of R-EXEC-09 that concerns decisions.
fn decisions_name_the_policy(named: &[&DecisionState], in_force: PolicyDigest) -> Result<(), Fault> {
    match named.iter().find(|decision| decision.policy != in_force) {
        None => Ok(()),
        Some(decision) => Err(Fault::violated(
            Rule::PolicyNotInForce,
            format!(
                "body.decisions: entry {} names policy {}; the policy in force is {in_force}",
                decision.index, decision.policy
            ),
        )),
    }
}

/// R-EXEC-10: the runtime is the audience of the proposal and of every link.
fn audience_is_the_runtime(
    state: &State,
    proposal: &ProposalState,
    runtime: &Principal,
) -> Result<(), Fault> {
    if state.is_audience(&proposal.audience, runtime) {
        return Ok(());
    }
    let (Audience::Principal(meant) | Audience::Group(meant)) = &proposal.audience;
    let detail = format!("signer.principal: {runtime} is not the proposal's audience, {meant}");
    Err(Fault::violated(Rule::AudienceMismatch, detail))
}

/// R-EXEC-11: no key that signed an approval was revoked since, and whoever approved by link still holds one.
fn approvers_are_not_revoked(state: &State, named: &[&DecisionState]) -> Result<(), Fault> {
    for decision in named {
        let key = decision.author.key;
        if let Some(at) = state.keys.get(&key).and_then(|facts| facts.revoked) {
            let detail =
                format!("body.decisions: {key} of {} was revoked at entry {at}", decision.author.principal);
            return Err(Fault::violated(Rule::ApprovalRevoked, detail));
        }
    }
    let has_left = |decision: &&&DecisionState| {
        decision.surface == Surface::Link
            && decision.author.role == Role::Policy
            && !state.keys.is_human(&decision.approver)
    };
    match named.iter().find(has_left) {
        None => Ok(()),
        Some(decision) => {
            let detail = format!("body.decisions: {} holds no key of role human any more", decision.approver);
            Err(state.absent(Rule::ApprovalRevoked, detail))
        }
    }
}

/// R-EXEC-13: break-glass stands only where the policy allows it.
fn break_glass_is_allowed(assessment: &Assessment<'_>) -> Result<(), Fault> {
    if let Assessment::Denied(denial) = assessment {
        return Err(denied(denial));
    }
    if assessment.allows_break_glass() {
        return Ok(());
    }
    Err(Fault::violated(Rule::BreakGlassRefused, "body.break_glass: the policy in force does not allow it"))
}

/// R-EXEC-14: a retry names the execution that holds its use, of the same runtime, with the outcome `unknown` so far, and the policy
/// in force lets that use be tried again.
fn retry_is_allowed(
    run: &Run,
    proposal: &ProposalState,
    body: &Execution,
    again: &RecordId,
    runtime: &Principal,
    most: u64,
) -> Result<(), Fault> {
    let refused =
        |why: String| Err(Fault::violated(Rule::RetryRefused, format!("body.retries: {again} {why}")));
    let number = body.use_number.get();
    let held = run.executions.get(again).filter(|_| proposal.uses.get(&number) == Some(again));
    let Some(held) = held else {
        return refused(format!("does not hold use {number} of {}", body.proposal));
    };
    if held.runtime != *runtime {
        return refused(format!("is an execution of {}, not of {runtime}", held.runtime));
    }
    if held.is_conclusive() {
        return refused(format!("is {} already", held.status().map_or("over", Status::as_str)));
    }
    if held.tries > most {
        let tried = held.tries - 1;
        return refused(format!("was tried again {tried} times before; the policy in force allows {most}"));
    }
    // Not in an order that a doubt may hide: what is broken whatever is in doubt, is broken.
    if held.is_in_doubt {
        let why = format!("body.retries: whether an outcome or settlement of {again} stands is not shown");
        return Err(Fault::not_shown(Rule::RetryRefused, why));
    }
    if held.status().is_none() {
        return refused("has no outcome".to_owned());
    }
    Ok(())
}
