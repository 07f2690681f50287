//! The decision: may this action be executed now, on this evidence? Pure.

use std::collections::BTreeMap;

use counterfoil_receipt::{
    Action, Author, Principal, RecordId, Role, RunId, UnverifiedRecord,
    body::{BreakGlass, Execution, Status},
    field::{Millis, Set, Uses},
    limits::DECISIONS,
    text::{Nonce, Text},
};
use counterfoil_verify::{Dimension, ExecutionState, Fault, ProposalState, Rule, Run, State, Verdict};

use crate::{approved::Approved, known::Known, stops};

/// The code of an action that may have happened: the use is held by an execution, and nobody knows what became of it.
pub const OUTCOME_UNKNOWN: &str = "outcome-unknown";

/// How many of those whose approval does not help a ruling names: the text stays one that a person reads.
const REASONS: usize = 6;

/// What a runtime wants to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The run.
    pub run: RunId,
    /// The proposal that should have been approved.
    pub proposal: RecordId,
    /// The action that the runtime is about to take; must be the one proposed, byte for byte.
    pub action: Action,
    /// The runtime: the key that will sign the execution, and whose it is.
    pub runtime: Author,
    /// Something random that makes this attempt unlike any other: two processes with one key then never sign the same
    /// execution, and only one of them gets the use.
    pub nonce: Nonce,
    /// Whether what is behind does once what it is asked for twice under one idempotency key, so that a use whose outcome nobody
    /// knows may be tried again where the policy lets it.
    pub is_idempotent: bool,
    /// Whether it may be the same request as one before it, made again by somebody who heard of no end: then it takes no further use while
    /// nobody knows what became of one.
    pub may_repeat: bool,
    /// Why it can't wait for approval, where somebody says that. It counts only where nothing else lets the action pass, and the policy
    /// allows break-glass.
    pub break_glass: Option<Text>,
    /// Signed rejects, cancels and revocations that the runtime was handed. They stop the action as if they were the next entries of
    /// the log, whether the log has them or not.
    pub stops: Vec<UnverifiedRecord>,
    /// Dimensions that must pass besides *integrity*, *authority* and *inclusion*, and those that the policy demands. *Conformity* passes only once
    /// something was executed, so here it may be not shown; it may never fail.
    pub require: Vec<Dimension>,
}

/// What the gate says.
#[derive(Debug)]
pub enum Ruling {
    /// It may be executed, once: log [`Approved::execution`], then confirm.
    Execute(Approved),
    /// Not yet: a decision is outstanding, or its window has not begun.
    Hold(String),
    /// No.
    Refuse(Refusal),
}

/// Why not, with the stable code of the reason: of the rule that does not hold, or one of the gate's own
/// (`evidence-foreign`, `evidence-incomplete`, `not-a-runtime`, `outcome-unknown`, `policy-differs`, `stop-in-doubt`, and what an effect says
/// of itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: String,
    /// The evidence, for a person.
    pub detail: String,
}

/// Decides on verified evidence. `now` is the runtime's own time.
pub fn decide(request: &Request, evidence: &Verdict, now: Millis) -> Ruling {
    rule(request, &Known::shown(evidence), now)
}

/// Decides on what is known.
pub(crate) fn rule(request: &Request, known: &Known<'_>, now: Millis) -> Ruling {
    match judge(request, known, now) {
        Ok((execution, require)) => {
            let state = &known.state;
            let (log, parents) = (state.log(), state.run(&request.run).map(|run| heads(run, state)));
            match (log, parents) {
                (Some(log), Some(parents)) => {
                    Ruling::Execute(Approved::new(request, log, parents, require, execution, now))
                }
                _ => {
                    Ruling::Refuse(Refusal::new("evidence-incomplete", "the genesis or the run is not shown"))
                }
            }
        }
        Err(No::NotYet(why)) => Ruling::Hold(why),
        Err(No::Refused(refusal)) => Ruling::Refuse(refusal),
    }
}

/// The two ways of saying no.
enum No {
    NotYet(String),
    Refused(Refusal),
}

/// The execution that may be logged, and what has to be shown again once it is.
fn judge(request: &Request, known: &Known<'_>, now: Millis) -> Result<(Execution, Vec<Dimension>), No> {
    known.suffices(request.run, &request.require)?;
    let basis = known.basis.clone();
    let basis = basis.ok_or_else(|| refused("evidence-incomplete", "no checkpoint is shown"))?;
    let stopped = stops::heed(&known.state, basis.size.get(), request)?;
    let state = stopped.as_ref().unwrap_or(&known.state);
    let (run, proposal) = proposal(state, request)?;
    runtime_may_sign(state, &request.runtime)?;
    let mut require = state.demanded(proposal);
    known.suffices(request.run, &require)?;
    require.extend(&request.require);
    let again = if request.is_idempotent { to_retry(state, run, proposal, &request.runtime) } else { None };
    let held = again.and_then(|(_, execution)| Uses::new(execution.use_number));
    if request.may_repeat && held.is_none() {
        in_doubt(run, proposal, |status| status.is_none_or(|status| status == Status::Unknown))?;
    }
    let use_number = held.map_or_else(|| next_use(proposal), Ok)?;
    let approvals = Approvals::sort(state, run, request, use_number.get(), now.get());
    let execution = Execution {
        action: request.action.clone(),
        basis,
        break_glass: None,
        decisions: Set::new(approvals.to_name(state, run, &request.proposal).into_iter().take(DECISIONS))
            .ok_or_else(|| refused(Rule::QuorumNotMet.code(), "too many"))?,
        nonce: request.nonce.clone(),
        policy: policy(state)?,
        proposal: request.proposal,
        retries: again.map(|(id, _)| id),
        use_number,
    };
    let runtime = &request.runtime.principal;
    let fault = match state.may_execute(run, &execution, runtime, now.get()) {
        Ok(()) => return log_time_is_inside(state, run, &execution).map(|()| (execution, require)),
        Err(fault) => fault,
    };
    if let Some(reason) = &request.break_glass {
        let alone = Execution {
            break_glass: Some(BreakGlass { reason: reason.clone() }),
            decisions: Set::default(),
            ..execution
        };
        state.may_execute(run, &alone, runtime, now.get())?;
        return log_time_is_inside(state, run, &alone).map(|()| (alone, require));
    }
    if is_outstanding(&fault, state, run, &execution, now.get()) {
        return Err(No::NotYet(approvals.what_is_missing(&fault)));
    }
    if fault.rule == Rule::ProposalEnded
        && let Some((_, end)) = proposal.ended
        && known.state.index_of(&end.by()).is_none()
    {
        let detail = format!(
            "it was {} by {}, which this gate was handed and the log does not have",
            end.how(),
            end.by()
        );
        return Err(refused(fault.rule.code(), detail));
    }
    if fault.rule == Rule::UseExceeded {
        in_doubt(run, proposal, |status| status == Some(Status::Unknown))?;
    }
    Err(fault.into())
}

/// Refuses what may have happened: where an execution that holds a use ended so, as far as is known.
fn in_doubt(run: &Run, proposal: &ProposalState, ended: impl Fn(Option<Status>) -> bool) -> Result<(), No> {
    let mut holders = proposal.uses.values().filter_map(|id| Some((id, run.execution(id)?.status())));
    let Some((id, status)) = holders.find(|(_, status)| ended(*status)) else { return Ok(()) };
    let why = if status.is_none() { "has no outcome" } else { "has an outcome that nobody knows" };
    Err(refused(OUTCOME_UNKNOWN, format!("execution {id} {why}: it may have happened")))
}

/// The execution that may be tried again: the last one of a use, by this runtime, of which nobody knows what became.
fn to_retry<'r>(
    state: &State,
    run: &'r Run,
    proposal: &ProposalState,
    runtime: &Author,
) -> Option<(RecordId, &'r ExecutionState)> {
    let holders = proposal.uses.values().filter_map(|id| Some((*id, run.execution(id)?)));
    let mut own = holders.filter(|(_, execution)| execution.runtime == runtime.principal);
    own.find(|(id, _)| state.retries_left(run, id) > 0)
}

fn proposal<'a>(state: &'a State, request: &Request) -> Result<(&'a Run, &'a ProposalState), No> {
    let run = state.run(&request.run);
    let run =
        run.ok_or_else(|| refused(Rule::RunUnknown.code(), format!("run {} is not shown", request.run)))?;
    let proposal = run.proposal(&request.proposal);
    let unknown =
        || refused(Rule::ReferenceUnknown.code(), format!("{} is no proposal of this run", request.proposal));
    Ok((run, proposal.ok_or_else(unknown)?))
}

/// What the log will ask of the signer, asked before anything is signed.
fn runtime_may_sign(state: &State, runtime: &Author) -> Result<(), No> {
    if runtime.role != Role::Runtime {
        return Err(refused("not-a-runtime", format!("the gate signs as {}, not as runtime", runtime.role)));
    }
    let fault = |rule: Rule, why: &str| Err(refused(rule.code(), format!("{} {why}", runtime.key)));
    let Some(facts) = state.key(&runtime.key) else {
        return fault(Rule::KeyUnknown, "is not shown to be enrolled");
    };
    if facts.role != Role::Runtime {
        return fault(Rule::KeyRole, &format!("is enrolled as {}", facts.role));
    }
    if facts.principal != runtime.principal {
        return fault(Rule::KeyPrincipal, &format!("belongs to {}", facts.principal));
    }
    if let Some(at) = facts.revoked {
        return fault(Rule::KeyRevoked, &format!("was revoked at entry {at}"));
    }
    if let Some(at) = facts.retired {
        return fault(Rule::KeyRetired, &format!("was retired at entry {at}"));
    }
    Ok(())
}

/// The smallest use that no execution holds.
fn next_use(proposal: &ProposalState) -> Result<Uses, No> {
    let free = (1..).find(|number| !proposal.uses.contains_key(number)).and_then(Uses::new);
    free.ok_or_else(|| refused(Rule::UseExceeded.code(), "every use that a proposal can have is consumed"))
}

fn policy(state: &State) -> Result<counterfoil_receipt::PolicyDigest, No> {
    let policy = state.policy_in_force().map(|(digest, _)| digest);
    policy.ok_or_else(|| refused(Rule::PolicyNotInForce.code(), "no policy is in force"))
}

/// The approvals of a proposal that count, by what they are worth for one use of it now; in each list, the earliest in the
/// log first.
///
/// Which approvals count is the verifier's to say. One that does not is as good as none: that somebody approved on terms
/// that the policy does not allow takes nothing from those who did it right, and nothing from those who still may.
#[derive(Default)]
struct Approvals {
    /// Would do now.
    good: Vec<RecordId>,
    /// Those, and those whose window has not begun.
    usable: Vec<RecordId>,
    /// Those, and those whose window is over or whose uses are spent.
    standing: Vec<RecordId>,
    /// Why those of others don't help, for a person.
    others: BTreeMap<Principal, String>,
}

impl Approvals {
    fn sort(state: &State, run: &Run, request: &Request, use_number: u64, now: u64) -> Self {
        let mut sorted = Self::default();
        let past = now.max(state.log_time().map_or(0, Millis::get));
        let mut approvals = run.approvals(&request.proposal);
        approvals.sort_by_key(|id| run.decision(id).map(|decision| decision.index));
        for id in approvals {
            let Some(decision) = run.decision(&id) else { continue };
            let principal = &decision.approver;
            let mut why_not = |why: String| sorted.others.insert(principal.clone(), why);
            if let Err(fault) = state.counts(run, &request.proposal, &id, Some(&request.runtime.principal)) {
                why_not(without_path(&fault.detail).to_owned());
                continue;
            }
            sorted.standing.push(id);
            let (from, until) = decision.window.unwrap_or((u64::MAX, 0));
            if decision.uses < use_number {
                why_not(format!("{principal} granted use {} at most", decision.uses));
            } else if until < past {
                why_not(format!("the approval of {principal} ended at {until}"));
            } else {
                sorted.usable.push(id);
                if from <= now {
                    sorted.good.push(id);
                }
            }
        }
        let helps = |principal: &Principal| sorted.usable.iter().any(|id| signer(run, id) == Some(principal));
        sorted.others.retain(|principal, _| !helps(principal));
        sorted
    }

    /// Those that an execution has to name, or else those that tell best why there can't be one.
    fn to_name(&self, state: &State, run: &Run, proposal: &RecordId) -> Vec<RecordId> {
        let quorum = |among: &[RecordId]| state.select(run, proposal, among);
        // A quorum of which nothing is left is over. Anything less can still be joined by others.
        let over = || if self.usable.is_empty() { quorum(&self.standing) } else { None };
        quorum(&self.good).or_else(over).unwrap_or_else(|| self.usable.clone())
    }

    /// What is waited for, and what does not help.
    fn what_is_missing(&self, fault: &Fault) -> String {
        let missing = without_path(&fault.detail);
        let others: String = self.others.values().take(REASONS).map(|why| format!("; {why}")).collect();
        format!("{missing}{others}")
    }
}

fn signer<'a>(run: &'a Run, decision: &RecordId) -> Option<&'a Principal> {
    run.decision(decision).map(|decision| &decision.approver)
}

/// A fault's words without the member that it is about: no record has been made yet.
fn without_path(detail: &str) -> &str {
    detail.strip_prefix("body.decisions: ").unwrap_or(detail)
}

/// Whether more decisions, or time alone, can still make the execution right.
fn is_outstanding(fault: &Fault, state: &State, run: &Run, execution: &Execution, now: u64) -> bool {
    match fault.rule {
        Rule::QuorumNotMet => true,
        Rule::WindowClosed => state.windows(run, execution).iter().all(|(_, until)| now <= *until),
        _ => false,
    }
}

/// The half of R-EXEC-08 that the log's clock decides: it may already be past the window, whatever this clock says.
fn log_time_is_inside(state: &State, run: &Run, execution: &Execution) -> Result<(), No> {
    let windows = state.windows(run, execution);
    if execution.decisions.is_empty() && windows.is_empty() {
        return Ok(());
    }
    let until = windows.iter().map(|(_, until)| *until).min();
    match (state.log_time().map(Millis::get), until) {
        (Some(time), Some(until)) if time <= until => Ok(()),
        (time, until) => {
            let detail = format!("log time {time:?} lies after the approved window, which ends at {until:?}");
            Err(refused(Rule::WindowClosed.code(), detail))
        }
    }
}

/// The heads of the run, or the 16 latest of them.
pub(crate) fn heads(run: &Run, state: &State) -> Vec<RecordId> {
    let mut heads: Vec<RecordId> = run.heads().iter().copied().collect();
    heads.sort_by_key(|head| std::cmp::Reverse(state.index_of(head)));
    heads.truncate(counterfoil_receipt::limits::PARENTS);
    heads.sort_unstable();
    heads
}

fn refused(code: &str, detail: impl Into<String>) -> No {
    No::Refused(Refusal::new(code, detail))
}

impl Refusal {
    pub(crate) fn new(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        Self::Refused(Refusal::new(fault.rule.code(), fault.detail))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}
