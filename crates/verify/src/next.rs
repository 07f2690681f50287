//! Which records may follow in a run, and who may sign each: the state machine of `spec/runs.md` read forwards.

use counterfoil_policy::Assessment;
use counterfoil_receipt::{RecordId, Role, body::Type};
use counterfoil_verify::{ProposalState, ProposalStatus, Run, State};

use crate::review;

/// A record that the log would admit next, and that would have an effect.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// Its type.
    pub kind: Type,
    /// The role that signs it.
    pub role: Role,
    /// The principal or group, where only one may.
    pub principal: Option<String>,
    /// The record that it is about.
    pub about: Option<RecordId>,
    /// What it would do.
    pub why: String,
}

/// The records that may follow.
pub fn records(state: &State, run: &Run) -> Vec<Next> {
    let owner = Some(run.owner().principal.to_string());
    let as_owner = |kind, about, why: &str| Next {
        kind,
        role: Role::Agent,
        principal: owner.clone(),
        about,
        why: why.into(),
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
        let runtime = Some(execution.runtime.to_string());
        let settle = |why: &str| Next {
            kind: Type::Settlement,
            role: Role::Human,
            principal: None,
            about: Some(id),
            why: why.into(),
        };
        let outcome = |why: &str| Next {
            kind: Type::Outcome,
            role: Role::Runtime,
            principal: runtime.clone(),
            about: Some(id),
            why: why.into(),
        };
        match execution.status() {
            None => out.extend([outcome("says how it ended"), settle("says what became of it")]),
            Some(counterfoil_receipt::body::Status::Unknown) => {
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
    let decision = |why: String| Next {
        kind: Type::Decision,
        role: Role::Human,
        principal: None,
        about: Some(*id),
        why,
    };
    let stands = proposal.ended.is_none();
    let mut out = Vec::new();
    if stands && matches!(status, ProposalStatus::Open | ProposalStatus::Expired) {
        out.push(decision(format!("approves, rejects or sends it back{}", entitled(state, proposal))));
    }
    if let Some(number) = free_use(state, run, id, proposal) {
        out.push(Next {
            kind: Type::Execution,
            role: Role::Runtime,
            principal: Some(review::audience(&proposal.audience)),
            about: Some(*id),
            why: format!("use {number}, exactly the approved action"),
        });
        out.push(decision(format!("rejects it, and so ends it{}", entitled(state, proposal))));
    }
    let uses = granted(state, run, id, proposal).unwrap_or(0);
    for (number, holder) in proposal.uses.iter().filter(|(number, _)| **number <= uses) {
        let left = state.retries_left(run, holder);
        if left > 0 {
            out.push(Next {
                kind: Type::Execution,
                role: Role::Runtime,
                principal: run.execution(holder).map(|execution| execution.runtime.to_string()),
                about: Some(*id),
                why: format!("tries use {number} again, with `retries` {holder}; {left} left"),
            });
        }
    }
    out
}

/// The next use that a quorum grants and log time still allows.
fn free_use(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    let uses = granted(state, run, id, proposal)?;
    (1..=uses).find(|number| !proposal.uses.contains_key(number))
}

/// How many uses a quorum grants while log time allows it.
fn granted(state: &State, run: &Run, id: &RecordId, proposal: &ProposalState) -> Option<u64> {
    proposal.chain.first().map_or(Ok(()), |delegation| state.is_live(delegation)).ok()?;
    if state.wants_preview(proposal) && proposal.previewed.is_none() {
        return None;
    }
    let quorum = state.quorum(run, id, &run.approvals(id), None).ok()?;
    let now = state.log_time()?.get();
    (proposal.ended.is_none() && now <= quorum.window.1).then_some(quorum.uses)
}

fn entitled(state: &State, proposal: &ProposalState) -> String {
    match state.assess(proposal) {
        None => "; no policy is in force".to_owned(),
        Some(Assessment::Required(rules)) => {
            let wants: Vec<String> = rules.iter().map(|rule| rule.quorum.to_string()).collect();
            format!("; the policy wants {}", wants.join("; and "))
        }
        Some(Assessment::Allowed(_)) => "; the policy wants no approval".to_owned(),
        Some(Assessment::Denied(denial)) => format!("; {denial}"),
    }
}
