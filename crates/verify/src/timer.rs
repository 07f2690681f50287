//! What a policy key may say: that a time is out, who is asked next, what came by a link (`spec/policy.md` §1, *What is signed in
//! role `policy`*).

use counterfoil_policy::{Assessment, Quorum, Requiring, Then};
use counterfoil_receipt::{
    Body, PolicyDigest, RecordId, RunId, UnverifiedRecord,
    body::{Audience, Decision, Escalation, Ruling},
    field::Millis,
    text::RuleName,
};
use counterfoil_tlog::policy::QuorumTime;

use crate::{
    conduct,
    execution::{self, approvals},
    fault::{Fault, Shown},
    link,
    record::Record,
    rule::Rule,
    run::{DecisionState, Fired, ProposalState, Run},
    state::State,
};

/// By how much less time may pass between what witnesses saw, in milliseconds: they look when they look.
pub(crate) const CLOCK_SKEW: u64 = 300_000;

/// Something that the policy in force says of a proposal when its time comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The rule.
    pub rule: RuleName,
    /// The log time at which it is due, in milliseconds; `None` as long as the proposal has none.
    pub due: Option<u64>,
    /// What is said.
    pub says: Says,
}

/// What a timer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// The time of the rule is out; it approves or rejects.
    TimeOut(Ruling),
    /// These are asked too.
    Escalate {
        /// The step, from 1.
        step: u64,
        /// Who.
        to: Vec<Audience>,
    },
}

impl State {
    /// What the policy in force will still say of a proposal by itself, if nobody decides: nothing of one that is over or that is
    /// approved.
    pub fn timers(&self, run: &Run, id: &RecordId) -> Vec<Timer> {
        let Some((proposal, policy)) = run.proposal(id).zip(self.policies.last()) else { return Vec::new() };
        if proposal.ended.is_some() || !proposal.uses.is_empty() || policy.from > proposal.index {
            return Vec::new();
        }
        let assessment = policy.policy.assess(&proposal.request());
        let Assessment::Required(rules) = &assessment else { return Vec::new() };
        let is_timed =
            |rule: &&Requiring<'_>| !rule.quorum.escalation.is_empty() || rule.quorum.timeout.is_some();
        let unmet = rules.iter().filter(is_timed).filter(|rule| is_unmet(self, run, id, rule));
        let timers = unmet.flat_map(|rule| {
            let due = |after: u64| proposal.counts_from().map(|time| time.saturating_add(after));
            let Quorum { escalation, timeout, .. } = rule.quorum;
            let steps = (1..)
                .zip(escalation)
                .map(move |(step, one)| (one.after, Says::Escalate { step, to: one.to.to_audience() }));
            let timeout = timeout.map(|timeout| (timeout.after, Says::TimeOut(ruling(timeout.then))));
            steps.chain(timeout).map(move |(after, says)| Timer {
                rule: rule.rule.clone(),
                due: due(after),
                says,
            })
        });
        let withdrawn = |id: &RecordId| run.decision(id).is_some_and(|decision| decision.cancelled.is_some());
        let is_held = proposal.decisions.iter().any(withdrawn);
        timers
            .filter(|timer| !proposal.has_fired(policy.digest, &timer.rule, timer.says.step()))
            .filter(|timer| !(is_held && timer.says == Says::TimeOut(Ruling::Approve)))
            .collect()
    }
}

const fn ruling(then: Then) -> Ruling {
    match then {
        Then::Approve => Ruling::Approve,
        Then::Reject => Ruling::Reject,
    }
}

impl Says {
    const fn step(&self) -> Option<u64> {
        match self {
            Self::TimeOut(_) => None,
            Self::Escalate { step, .. } => Some(*step),
        }
    }
}

impl ProposalState {
    fn has_fired(&self, policy: PolicyDigest, rule: &RuleName, step: Option<u64>) -> bool {
        let same = |fired: &Fired| {
            fired.policy == policy && fired.rule == *rule && fired.step.is_none_or(|_| fired.step == step)
        };
        self.timers.iter().any(same)
    }
}

/// Decisions that somebody else than a human signed.
pub(crate) fn decision_is_sound(state: &State, run: &Run, body: &Decision) -> Result<(), Fault> {
    if let Some(approver) = &body.approver {
        return link::approver_is_human(state, approver);
    }
    let Some(rule) = &body.rule else { return Ok(()) };
    let claim = Claim {
        proposal: body.proposal,
        policy: body.policy,
        rule,
        step: None,
        begins: body.window.as_ref().map(|window| window.from.get()),
    };
    claim.check(state, run, |quorum| {
        let timeout = quorum.timeout.ok_or_else(|| "has no time-out".to_owned())?;
        if ruling(timeout.then) == body.verdict {
            return Ok(timeout.after);
        }
        Err(format!("says {} when its time is out, not {}", timeout.then.as_str(), body.verdict))
    })
}

/// Escalations.
pub(crate) fn escalation_is_sound(state: &State, run: &Run, body: &Escalation) -> Result<(), Fault> {
    let step = body.step.get();
    let claim = Claim {
        proposal: body.proposal,
        policy: body.policy,
        rule: &body.rule,
        step: Some(step),
        begins: None,
    };
    claim.check(state, run, |quorum| {
        let at = usize::try_from(step).ok().and_then(|step| step.checked_sub(1));
        let one = at.and_then(|at| quorum.escalation.get(at)).ok_or_else(|| format!("has no step {step}"))?;
        if one.to.to_audience() == body.to.0 {
            return Ok(one.after);
        }
        Err(format!("asks {} in step {step}", one.to))
    })
}

/// What a checked record of the run adds to the timers of which proposal.
pub(crate) fn fired(state: &State, record: &Record, index: u64, run: RunId) -> Option<(RecordId, Fired)> {
    let (proposal, policy, rule, step) = match record.body() {
        Body::Decision(body) => (body.proposal, body.policy, body.rule.as_ref()?, None),
        Body::Escalation(body) => (body.proposal, body.policy, &body.rule, Some(body.step.get())),
        _ => return None,
    };
    let run = state.run(&run)?;
    let known = run.proposal(&proposal)?;
    let assessment = state.assess(known)?;
    let quorum = assessment.requiring(rule)?.quorum;
    let after = match step {
        None => quorum.timeout?.after,
        Some(step) => quorum.escalation.get(usize::try_from(step).ok()?.checked_sub(1)?)?.after,
    };
    Some((proposal, Fired { by: record.id(), index, policy, rule: rule.clone(), step, after }))
}

/// What a timer's record says of itself.
struct Claim<'a> {
    proposal: RecordId,
    policy: PolicyDigest,
    rule: &'a RuleName,
    step: Option<u64>,
    /// When the window of its approval begins, if it approves.
    begins: Option<u64>,
}

impl Claim<'_> {
    /// The rules of timers, in order. `after` says when the policy's rule lets it be said, or why that never is.
    fn check(
        &self,
        state: &State,
        run: &Run,
        after: impl Fn(&Quorum) -> Result<u64, String>,
    ) -> Result<(), Fault> {
        let Some(proposal) = run.proposal(&self.proposal) else { return Ok(()) };
        match state.policies.last() {
            _ if state.policy_in_doubt => {
                let why = "body.policy: whether a later policy came into force is not shown";
                return Err(Fault::not_shown(Rule::TimerUnknown, why));
            }
            Some(policy) if policy.digest != self.policy => {
                let why = format!(
                    "body.policy: names policy {}; the policy in force is {}",
                    self.policy, policy.digest
                );
                return Err(timer_is_the_policys(why));
            }
            Some(policy) if policy.from > proposal.index => {
                let why = format!("body.policy: is in force from entry {}, after the proposal", policy.from);
                // What came between the two may be left out of a bundle.
                return Err(state.absent(Rule::TimerUnknown, why));
            }
            Some(_) => {}
            None => return Err(state.absent(Rule::TimerUnknown, "body.policy: no policy is in force")),
        }
        let assessment = state.assess(proposal);
        let requiring = assessment.as_ref().and_then(|assessment| assessment.requiring(self.rule));
        let Some(requiring) = requiring else {
            return Err(timer_is_the_policys(format!(
                "body.rule: {} asks nobody about this action",
                self.rule
            )));
        };
        let after = after(requiring.quorum)
            .map_err(|why| timer_is_the_policys(format!("body.rule: {} {why}", self.rule)))?;
        timer_is_due(state, proposal, after, self.begins)?;
        timer_is_in_turn(run, proposal, self, requiring.quorum.escalation.len() as u64)?;
        if !is_unmet(state, run, &self.proposal, requiring) {
            return Err(rule_is_met(state, self.rule));
        }
        if requiring.is_met(&approvals(&may_stand(state, run, &self.proposal))).is_ok() {
            let why = format!("body.rule: whether {} is met is not shown", self.rule);
            return Err(Fault::not_shown(Rule::TimerOutOfTurn, why));
        }
        Ok(())
    }
}

/// R-TIME-01: a time-out or escalation is one that the policy in force, which it names, has for a rule that applies.
fn timer_is_the_policys(why: String) -> Fault {
    Fault::violated(Rule::TimerUnknown, why)
}

/// R-TIME-02: as much log time has passed since the proposal, and since its own time, as the policy says, and no window of an
/// approval begins before.
fn timer_is_due(
    state: &State,
    proposal: &ProposalState,
    after: u64,
    begins: Option<u64>,
) -> Result<(), Fault> {
    let Some(time) = proposal.counts_from() else {
        return Err(state.absent(Rule::TimerEarly, "the log time of the proposal is not shown"));
    };
    let due = time.saturating_add(after);
    if let Some(from) = begins.filter(|from| *from < due) {
        let detail = format!("body.window.from: is {from}; the time-out is due at {due}");
        return Err(Fault::violated(Rule::TimerEarly, detail));
    }
    let now = state.log_time().map_or(0, Millis::get);
    if now >= due {
        return Ok(());
    }
    Err(state.absent(Rule::TimerEarly, format!("is due at log time {due}; it is signed after {now}")))
}

/// The half of R-TIME-02 that witnesses show: as much time passed between what they saw, whatever the log's clock says.
pub(crate) fn witnesses_agree(
    fired: &Fired,
    proposal_by: QuorumTime,
    timer_by: QuorumTime,
) -> Result<(), Fault> {
    let not_shown = |detail: String| Err(Fault::not_shown(Rule::TimerEarly, detail));
    match (proposal_by, timer_by) {
        (QuorumTime::NotRequired, _) | (_, QuorumTime::NotRequired) => Ok(()),
        (QuorumTime::At(before), QuorumTime::At(after)) => {
            let passed = after.0.saturating_sub(before.0).saturating_mul(1_000);
            if passed.saturating_add(CLOCK_SKEW) >= fired.after {
                return Ok(());
            }
            let wanted = fired.after;
            not_shown(format!("is due after {wanted} ms; witnesses saw it {passed} ms after the proposal"))
        }
        (QuorumTime::NotReached, _) | (_, QuorumTime::NotReached) => {
            not_shown("no quorum of witnesses shows when it was logged, and when its proposal was".to_owned())
        }
    }
}

/// R-TIME-03: the proposal is open and the rule not met; what comes before was said, and this was not; none approves where
/// somebody withdrew a decision.
fn timer_is_in_turn(run: &Run, proposal: &ProposalState, claim: &Claim<'_>, steps: u64) -> Result<(), Fault> {
    let over = |why: String| Err(Fault::violated(Rule::TimerOutOfTurn, format!("body.proposal: {why}")));
    if proposal.timer_in_doubt {
        let why = "body.proposal: whether what comes before was said is not shown";
        return Err(Fault::not_shown(Rule::TimerOutOfTurn, why));
    }
    if let Some((at, _)) = proposal.ended {
        return over(format!("ended at entry {at}"));
    }
    if let Some(by) = proposal.uses.values().next() {
        return over(format!("was executed by {by}"));
    }
    if proposal.has_fired(claim.policy, claim.rule, claim.step) {
        return over(format!("{} said so before, or its time is out", claim.rule));
    }
    let before = claim.step.map_or(steps, |step| step - 1);
    if let Some(missing) =
        (1..=before).find(|step| !proposal.has_fired(claim.policy, claim.rule, Some(*step)))
    {
        return over(format!("step {missing} of {} was not escalated", claim.rule));
    }
    let withdrawn = |id: &&RecordId| run.decision(id).is_some_and(|decision| decision.cancelled.is_some());
    match proposal.decisions.iter().find(withdrawn) {
        Some(decision) if claim.begins.is_some() => over(format!("the decision {decision} was withdrawn")),
        _ => Ok(()),
    }
}

/// The part of R-TIME-03 that revocations bear on.
fn rule_is_met(state: &State, rule: &RuleName) -> Fault {
    state.absent(Rule::TimerOutOfTurn, format!("body.rule: {rule} is met"))
}

/// The steps of escalation that stand under this policy.
pub(crate) fn escalated(proposal: &ProposalState, policy: PolicyDigest) -> Vec<(RuleName, u64)> {
    let stands = proposal.timers.iter().filter(|fired| fired.policy == policy);
    stands.filter_map(|fired| Some((fired.rule.clone(), fired.step?))).collect()
}

/// Notes that a time-out, an escalation or an approval of a proposal may stand.
pub(crate) fn leave_in_doubt(state: &mut State, record: &UnverifiedRecord, index: u64) {
    let Some(id) = record.run() else { return };
    let (proposal, approval) = match record.body() {
        Body::Decision(body) if body.rule.is_some() => (body.proposal, None),
        Body::Decision(body) if body.verdict == Ruling::Approve => {
            (body.proposal, Some(conduct::decision(state, record, body, index, id).0))
        }
        Body::Escalation(body) => (body.proposal, None),
        _ => return,
    };
    let run = state.runs.get_mut(&id);
    let Some(proposal) = run.and_then(|run| run.proposals.get_mut(&proposal)) else { return };
    match approval {
        None => proposal.timer_in_doubt = true,
        Some(approval) => proposal.approvals_in_doubt.push(approval),
    }
}

/// Whether the approvals that stand do not meet the rule.
fn is_unmet(state: &State, run: &Run, id: &RecordId, rule: &Requiring<'_>) -> bool {
    let standing = standing(state, run, id);
    let standing: Vec<&DecisionState> = standing.iter().filter_map(|id| run.decision(id)).collect();
    rule.is_met(&approvals(&standing)).is_err()
}

/// The approvals of a proposal of which it is not shown that they don't count.
fn may_stand<'r>(state: &State, run: &'r Run, id: &RecordId) -> Vec<&'r DecisionState> {
    let may = |counts: Result<(), Fault>| counts.err().is_none_or(|fault| fault.shown == Shown::NotShown);
    let known = run.approvals(id);
    let known = known.iter().filter(|approval| may(state.counts(run, id, approval, None)));
    let in_force = state.policy_in_force().map(|(digest, _)| digest);
    let in_doubt = run.proposal(id).into_iter().flat_map(|proposal| {
        let counts = |one: &&DecisionState| {
            Some(one.policy) == in_force && may(execution::would_count(state, run, proposal, one))
        };
        proposal.approvals_in_doubt.iter().filter(counts)
    });
    known.filter_map(|id| run.decision(id)).chain(in_doubt).collect()
}

/// The approvals of a proposal that count under the policy in force, in the order of their ids; their windows may be over.
pub(crate) fn standing(state: &State, run: &Run, id: &RecordId) -> Vec<RecordId> {
    let mut standing = run.approvals(id);
    standing.retain(|approval| state.counts(run, id, approval, None).is_ok());
    standing
}
