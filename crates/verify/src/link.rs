//! Whether a decision that is not signed yet would count; above all one by link, which a server signs on somebody's behalf
//! (`spec/policy.md`, *What is signed in role `policy`*).

use counterfoil_receipt::{
    Author, Principal, RecordId,
    body::{Ruling, Surface},
};

use crate::{
    execution,
    fault::Fault,
    keys,
    rule::Rule,
    run::{DecisionState, Run},
    state::State,
    timer,
};

impl State {
    /// Whether an approval of a proposal that `signer` signs on behalf of `approver`, by link, would count towards its quorum.
    /// Neither whether the proposal is open nor its terms are asked.
    ///
    /// # Errors
    /// The rule that it would break; [`Rule::QuorumNotMet`] if no rule lets the approver decide by link.
    pub fn link_counts(
        &self,
        run: &Run,
        proposal: &RecordId,
        approver: &Principal,
        signer: &Author,
    ) -> Result<(), Fault> {
        keys::signer_may_sign(self, signer, u64::MAX)?;
        approver_is_human(self, approver)?;
        self.approval_would_count(run, proposal, approver, signer, Surface::Link)
    }

    /// Whether an approval of a proposal that `signer` signs would count towards its quorum: as `approver`, who may be somebody
    /// else, from where they saw it on `surface`. Neither whether the proposal is open nor its terms are asked.
    ///
    /// # Errors
    /// The rule that it would break; [`Rule::QuorumNotMet`] if no rule lets the approver decide so.
    pub fn approval_would_count(
        &self,
        run: &Run,
        proposal: &RecordId,
        approver: &Principal,
        signer: &Author,
        surface: Surface,
    ) -> Result<(), Fault> {
        let Some(proposed) = run.proposals.get(proposal) else {
            return Err(self.absent(Rule::ReferenceUnknown, format!("{proposal} is no proposal")));
        };
        let Some((policy, _)) = self.policy_in_force() else {
            return Err(self.absent(Rule::PolicyNotInForce, "no policy is in force"));
        };
        let decision = DecisionState {
            index: u64::MAX,
            proposal: *proposal,
            ruling: Ruling::Approve,
            author: signer.clone(),
            approver: approver.clone(),
            groups: self.keys.groups(approver).to_vec(),
            rule: None,
            escalated: timer::escalated(proposed, policy),
            surface,
            policy,
            uses: 1,
            window: Some((0, 0)),
            cancelled: None,
        };
        execution::would_count(self, run, proposed, &decision)
    }
}

/// R-LINK-01: the approver of a decision by link holds a live key of role human.
pub(crate) fn approver_is_human(state: &State, approver: &Principal) -> Result<(), Fault> {
    if state.keys.is_human(approver) {
        return Ok(());
    }
    Err(state
        .absent(Rule::LinkApprover, format!("body.approver: {approver} holds no live key of role human")))
}
