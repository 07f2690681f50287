//! Which records may follow in a run, and who may sign each: the state machine of `spec/runs.md` read forwards.

use counterfoil_policy::Assessment;
use counterfoil_receipt::{
    Principal, RecordId, Role,
    body::{Audience, Status, Type},
    field::Millis,
};

use crate::{
    delegation,
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
        out.extend(about_proposal(state, run, &id, proposal, status));
        let revisable = proposal.uses.is_empty()
            && !matches!(status, ProposalStatus::Superseded | ProposalStatus::Cancelled);
        if revisable {
            out.push(as_owner(Type::Proposal, Some(id), "revises it, with `supersedes`"));
        }
        if proposal.ended.is_none() && proposal.uses.is_empty() {
            out.push(as_owner(Type::Cancel, Some(id), "withdraws it"));
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
        match execution.status() {
            None => out.extend([outcome("says how it ended"), settle("says what became of it")]),
            Some(Status::Unknown) => {
                out.extend([outcome("says how it ended after all"), settle("says what became of it")]);
            }
            Some(_) => {}
        }
    }
    out.push(as_owner(Type::Observation, None, "evidence, triage, plan or note"));
    out.push(as_owner(Type::Proposal, None, "asks for a new action"));
    out.push(as_owner(Type::Handoff, None, "gives the run to another agent"));
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
    }
    if let Some(number) = free_use(state, run, id, proposal) {
        out.push(Next {
            kind: Type::Execution,
            role: Role::Runtime,
            by: Some(proposal.audience.clone()),
            about: Some(*id),
            why: format!("use {number}, exactly the approved action"),
            policy: None,
        });
        out.push(decision("rejects it, and so ends it"));
    }
    let uses = granted(state, run, id, proposal).unwrap_or(0);
    for (number, holder) in proposal.uses.iter().filter(|(number, _)| **number <= uses) {
        let left = state.retries_left(run, holder);
        if left > 0 && delegation::enough_is_left(state, proposal, true).is_ok() {
            let runtime = |holder: &RecordId| -> Option<&Principal> { Some(&run.execution(holder)?.runtime) };
            out.push(Next {
                kind: Type::Execution,
                role: Role::Runtime,
                by: runtime(holder).cloned().map(Audience::Principal),
                about: Some(*id),
                why: format!("tries use {number} again, with `retries` {holder}; {left} left"),
                policy: None,
            });
        }
    }
    out
}

/// The next use that a quorum grants and log time still allows, and for which enough is left, as far as is shown.
fn free_use(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    let uses = granted(state, run, id, proposal)?;
    delegation::enough_is_left(state, proposal, false).ok()?;
    (1..=uses).find(|number| !proposal.uses.contains_key(number))
}

/// How many uses a quorum grants while log time allows it, taken or not.
pub(crate) fn granted(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    proposal.chain.first().map_or(Ok(()), |delegation| state.is_live(delegation)).ok()?;
    if state.wants_preview(proposal) && proposal.previewed.is_none() {
        return None;
    }
    let quorum = state.quorum(run, id, &run.approvals(id), None).ok()?;
    let now = state.log_time().map(Millis::get)?;
    let is_over = state.validities(proposal).into_iter().any(|(_, until)| now > until);
    (proposal.ended.is_none() && !is_over && now <= quorum.window.1).then_some(quorum.uses)
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
