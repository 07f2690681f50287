//! Which records may follow in a run, and who may sign each: the state machine of `spec/runs.md` read forwards.

use counterfoil_policy::Assessment;
use counterfoil_receipt::{
    RecordId, Role,
    body::{Audience, Status, Type},
    field::Millis,
};

use crate::{
    delegation,
    review::Reviewed,
    run::{ProposalState, ProposalStatus, Run},
    state::State,
};

/// A record that the log would admit next, and that would have an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its type.
    pub kind: Type,
    /// The role that signs it.
    pub role: Role,
    /// The principal or group, where only one may.
    pub by: Option<Audience>,
    /// The record that it is about.
    pub about: Option<RecordId>,
    /// What it would do.
    pub why: String,
    /// What the policy in force wants of those who sign it, in its words.
    pub policy: Option<String>,
}

/// The records that may follow.
pub(crate) fn records(state: &State, run: &Run) -> Vec<Next> {
    let owner = Some(Audience::Principal(run.owner().principal.clone()));
    let owner_signs = state.owner(run).1;
    let as_owner = |kind, about, why: &str| Next {
        kind,
        role: Role::Agent,
        by: owner.clone(),
        about,
        why: why.into(),
        policy: None,
    };
    let mut out = Vec::new();
    for (id, proposal) in run.proposals() {
        let Some(status) = state.proposal_status(run, &id) else { continue };
        let follows = about_proposal(state, run, &id, proposal, status);
        let is_left = follows.iter().any(|next| next.kind == Type::Execution);
        out.extend(follows);
        let revisable = proposal.uses.is_empty()
            && !matches!(status, ProposalStatus::Superseded | ProposalStatus::Cancelled);
        if revisable && owner_signs {
            out.push(as_owner(Type::Proposal, Some(id), "revises it, with `supersedes`"));
        }
        if proposal.ended.is_none() && (proposal.uses.is_empty() || is_left) && owner_signs {
            out.push(as_owner(Type::Cancel, Some(id), "withdraws it, or what is left of it"));
        }
    }
    for (id, execution) in run.executions() {
        let runtime = Some(Audience::Principal(execution.runtime.clone()));
        let settle = |why: &str| Next {
            kind: Type::Settlement,
            role: Role::Human,
            by: None,
            about: Some(id),
            why: why.into(),
            policy: None,
        };
        let outcome = |why: &str| Next {
            kind: Type::Outcome,
            role: Role::Runtime,
            by: runtime.clone(),
            about: Some(id),
            why: why.into(),
            policy: None,
        };
        let how = match execution.status() {
            None => "says how it ended",
            Some(Status::Unknown) => "says how it ended after all",
            Some(Status::Succeeded | Status::Failed) => continue,
        };
        out.extend(state.runtime_signs(&execution.runtime).then(|| outcome(how)));
        out.push(settle("says what became of it"));
    }
    if owner_signs {
        out.push(as_owner(Type::Observation, None, "evidence, triage, plan or note"));
        out.push(as_owner(Type::Proposal, None, "asks for a new action"));
        out.push(as_owner(Type::Handoff, None, "gives the run to another agent"));
    }
    out
}

fn about_proposal(
    state: &State,
    run: &Run,
    id: &RecordId,
    proposal: &ProposalState,
    status: ProposalStatus,
) -> Vec<Next> {
    let decision = |why: &str| Next {
        kind: Type::Decision,
        role: Role::Human,
        by: None,
        about: Some(*id),
        why: why.into(),
        policy: Some(entitled(state, proposal)),
    };
    let stands = proposal.ended.is_none();
    let mut out = Vec::new();
    if stands && matches!(status, ProposalStatus::Open | ProposalStatus::Expired) {
        out.push(decision("approves, rejects or sends it back"));
    } else if proposal.executions.iter().any(|execution| awaits_review(state, run, execution)) {
        out.push(decision("says what they think of what was begun under break-glass"));
    }
    let some_runtime_signs = match &proposal.audience {
        Audience::Principal(runtime) => state.runtime_signs(runtime),
        Audience::Group(_) => state.runtimes().any(|one| state.is_audience(&proposal.audience, one)),
    };
    if let Some(number) = free_use(state, run, id, proposal) {
        out.extend(some_runtime_signs.then(|| Next {
            kind: Type::Execution,
            role: Role::Runtime,
            by: Some(proposal.audience.clone()),
            about: Some(*id),
            why: format!("use {number}, exactly the approved action"),
            policy: None,
        }));
        out.push(decision("rejects it, and so ends it"));
    }
    let uses = granted(state, run, id, proposal).unwrap_or(0);
    for (number, holder) in proposal.uses.iter().filter(|(number, _)| **number <= uses) {
        let left = state.retries_left(run, holder);
        let Some(runtime) = run.execution(holder).map(|execution| &execution.runtime) else { continue };
        let may = state.runtime_signs(runtime) && delegation::enough_is_left(state, proposal, true).is_ok();
        if left > 0 && may {
            out.push(Next {
                kind: Type::Execution,
                role: Role::Runtime,
                by: Some(Audience::Principal(runtime.clone())),
                about: Some(*id),
                why: format!("tries use {number} again, with `retries` {holder}; {left} left"),
                policy: None,
            });
        }
    }
    out
}

/// Whether an execution under break-glass waits for somebody to say what they think of it.
pub(crate) fn awaits_review(state: &State, run: &Run, execution: &RecordId) -> bool {
    state.review(run, execution).is_some_and(|review| review.reviewed == Reviewed::Outstanding)
}

/// The next use that a quorum grants and log time still allows, and for which enough is left, as far as is shown.
fn free_use(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    let uses = granted(state, run, id, proposal)?;
    delegation::enough_is_left(state, proposal, false).ok()?;
    (1..=uses).find(|number| !proposal.uses.contains_key(number))
}

/// How many uses a quorum of approvals inside their windows grants, taken or not. None where it is not shown that nothing stands against
/// it.
pub(crate) fn granted(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    proposal.chain.first().map_or(Ok(()), |delegation| state.is_live(delegation)).ok()?;
    if state.wants_preview(proposal) && proposal.previewed.is_none() {
        return None;
    }
    if proposal.ended.is_some() || proposal.timer_in_doubt {
        return None;
    }
    let now = state.log_time().map(Millis::get)?;
    let is_open = |(from, until): (u64, u64)| (from..=until).contains(&now);
    if !state.validities(proposal).into_iter().all(is_open) {
        return None;
    }
    let runtime = match &proposal.audience {
        Audience::Principal(runtime) => Some(runtime),
        Audience::Group(_) => None,
    };
    let mut good = run.approvals(id);
    good.retain(|approval| {
        run.decision(approval).and_then(|decision| decision.window).is_some_and(is_open)
            && state.counts(run, id, approval, runtime).is_ok()
    });
    let uses = |id: &RecordId| run.decision(id).map_or(0, |decision| decision.uses);
    let granting = |least: u64| good.iter().filter(|id| uses(id) >= least).copied().collect::<Vec<_>>();
    // Whoever is named limits the uses, so those who grant the most are tried first; none, where the policy wants none.
    let mut levels: Vec<u64> = good.iter().map(uses).chain([u64::MAX]).collect();
    levels.sort_unstable_by_key(|uses| std::cmp::Reverse(*uses));
    let at = levels.partition_point(|least| state.select(run, id, &granting(*least)).is_none());
    let chosen = state.select(run, id, &granting(*levels.get(at)?))?;
    state.quorum(run, id, &chosen, runtime).ok().map(|quorum| quorum.uses)
}

/// What the policy in force wants of those who decide.
fn entitled(state: &State, proposal: &ProposalState) -> String {
    match state.assess(proposal) {
        None => "no policy is in force".to_owned(),
        Some(Assessment::Required(rules)) => {
            let wants: Vec<String> = rules.iter().map(|rule| rule.quorum.to_string()).collect();
            format!("the policy wants {}", wants.join("; and "))
        }
        Some(Assessment::Allowed(_)) => "the policy wants no approval".to_owned(),
        Some(Assessment::Denied(denial)) => denial.to_string(),
    }
}
