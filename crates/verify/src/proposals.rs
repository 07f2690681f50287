//! The proposals of a log: by index, which of them are live, and which changed when.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
};

use counterfoil_receipt::{Body, Principal, RecordId, RunId};

use crate::{
    record::Record,
    run::{ProposalState, ProposalStatus, Run},
    state::State,
};

/// Where a proposal is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its log index.
    pub index: u64,
    /// Its run.
    pub run: RunId,
    /// Its id.
    pub id: RecordId,
    /// The index of the last record that made it, decided it, executed it or otherwise was about it.
    pub changed: u64,
}

/// All proposals that took their place in the fold. Each step costs O(log n).
#[derive(Clone, Debug, Default)]
pub(crate) struct Proposals {
    by_index: BTreeMap<u64, Proposed>,
    live: BTreeSet<u64>,
    /// Those of each proposer.
    live_of: HashMap<Principal, BTreeSet<u64>>,
    /// By the index of their last change, then by their own.
    changed: BTreeSet<(u64, u64)>,
}

impl Proposals {
    /// Notes that a record of the run at index `at` is about a proposal.
    pub(crate) fn touch(&mut self, run: RunId, id: RecordId, facts: &ProposalState, at: u64) {
        let (index, changed) = (facts.index, at);
        let proposed = Proposed { index, run, id, changed };
        if let Some(before) = self.by_index.insert(index, proposed) {
            self.changed.remove(&(before.changed, index));
        }
        self.changed.insert((changed, index));
        if facts.ended.is_none() && facts.uses.is_empty() {
            self.live.insert(index);
            self.live_of.entry(facts.proposer.clone()).or_default().insert(index);
        } else if self.live.remove(&index)
            && let Some(theirs) = self.live_of.get_mut(&facts.proposer)
        {
            theirs.remove(&index);
            if theirs.is_empty() {
                self.live_of.remove(&facts.proposer);
            }
        }
    }
}

impl State {
    /// Proposals below the index `before`, the newest first.
    pub fn proposals(&self, before: u64) -> impl Iterator<Item = Proposed> {
        self.proposals.by_index.range(..before).rev().map(|(_, proposed)| *proposed)
    }

    /// Those among them that nothing ended or executed.
    pub fn live_proposals(&self, before: u64) -> impl Iterator<Item = Proposed> {
        let known = |index: &u64| self.proposals.by_index.get(index).copied();
        self.proposals.live.range(..before).rev().filter_map(known)
    }

    /// How many open proposals somebody has, counted up to `most`, among the newest `look` of theirs that nothing ended or
    /// executed.
    pub fn open_proposals_of(&self, proposer: &Principal, most: usize, look: usize) -> usize {
        let theirs = self.proposals.live_of.get(proposer).into_iter().flatten().rev().take(look);
        let is_open = |index: &&u64| {
            let proposed = self.proposals.by_index.get(index);
            proposed.is_some_and(|proposed| {
                let status = self.run(&proposed.run).and_then(|run| self.proposal_status(run, &proposed.id));
                status == Some(ProposalStatus::Open)
            })
        };
        theirs.filter(is_open).take(most).count()
    }

    /// Proposals that a record was about after this one: by the index of their last change, then by their own. `after` is such a
    /// pair, or an index and [`u64::MAX`].
    pub fn changed_proposals(&self, after: (u64, u64)) -> impl Iterator<Item = Proposed> {
        let changed = self.proposals.changed.range((Bound::Excluded(after), Bound::Unbounded));
        changed.filter_map(|(_, index)| self.proposals.by_index.get(index).copied())
    }

    /// The proposal with this id.
    pub fn find_proposal(&self, id: &RecordId) -> Option<Proposed> {
        let index = self.entries.get(id)?.index;
        self.proposals.by_index.get(&index).filter(|proposed| proposed.id == *id).copied()
    }

    /// The index of the last entry that may have changed what proposals of any run need: a policy, a key, a revocation.
    pub const fn ruled(&self) -> u64 {
        self.ruled
    }
}

/// The proposals that a record of the run, which was applied, is about.
pub(crate) fn touched(run: &Run, record: &Record) -> Vec<RecordId> {
    let executed = |id: &RecordId| run.execution(id).map(|execution| execution.proposal);
    match record.body() {
        Body::Proposal(body) => body.supersedes.into_iter().chain([record.id()]).collect(),
        Body::Decision(body) => vec![body.proposal],
        Body::Escalation(body) => vec![body.proposal],
        Body::Cancel(body) => {
            vec![run.decision(&body.target).map_or(body.target, |decision| decision.proposal)]
        }
        Body::Execution(body) => vec![body.proposal],
        Body::Outcome(body) => executed(&body.execution).into_iter().collect(),
        Body::Settlement(body) => executed(&body.execution).into_iter().collect(),
        Body::Genesis(_)
        | Body::Snapshot(_)
        | Body::Keyring(_)
        | Body::Policy(_)
        | Body::Endorsement(_)
        | Body::Delegation(_)
        | Body::Revocation(_)
        | Body::Trigger(_)
        | Body::Observation(_)
        | Body::Refusal(_)
        | Body::Handoff(_)
        | Body::Rejection(_) => Vec::new(),
    }
}
