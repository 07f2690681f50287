//! What a listing of approvals is made of, against the naive reading of the same runs, after each of any steps.

use std::collections::BTreeMap;

use counterfoil_receipt::{
    Principal, RecordId, RunId,
    body::{Body, Cancel, Ruling, Status, Window},
    field::Millis,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action};
use counterfoil_verify::{ProposalStatus, State};
use proptest::prelude::*;
use serde_json::json;

/// What happens, in order. What the rules refuse does not.
#[derive(Clone, Debug)]
enum Step {
    Propose { supersedes: Option<usize> },
    Decide { proposal: usize, by: usize, ruling: Ruling, length: u64 },
    Withdraw { decision: usize },
    Cancel { proposal: usize },
    Execute { proposal: usize },
    Report { execution: usize, status: Status },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..8usize;
    let ruling =
        prop_oneof![8 => Just(Ruling::Approve), 1 => Just(Ruling::Reject), 1 => Just(Ruling::RequestChanges)];
    let status = prop::sample::select(vec![Status::Succeeded, Status::Unknown]);
    prop_oneof![
        3 => prop::option::weighted(0.3, at()).prop_map(|supersedes| Step::Propose { supersedes }),
        8 => (at(), 0..3usize, ruling, 1..10u64).prop_map(|(proposal, by, ruling, tenths)| Step::Decide {
            proposal, by, ruling, length: tenths * WINDOW / 10,
        }),
        1 => at().prop_map(|decision| Step::Withdraw { decision }),
        1 => at().prop_map(|proposal| Step::Cancel { proposal }),
        2 => at().prop_map(|proposal| Step::Execute { proposal }),
        1 => (at(), status).prop_map(|(execution, status)| Step::Report { execution, status }),
        2 => (1..6u64).prop_map(|tenths| Step::Wait(tenths * WINDOW / 10)),
    ]
}

/// A log, and what the steps made in it.
struct Told {
    scenario: Scenario,
    run: RunId,
    people: [Actor; 3],
    proposals: Vec<RecordId>,
    /// Who signed them, and of which proposal.
    decisions: Vec<(RecordId, usize, RecordId)>,
    executions: Vec<(RecordId, RecordId)>,
    /// The index of the last record about each.
    changed: BTreeMap<RecordId, u64>,
}

impl Told {
    fn new() -> Self {
        let mut scenario = Scenario::new();
        let run = scenario.trigger();
        scenario.ledger.close();
        let people = [scenario.cast.ana.clone(), scenario.cast.bo.clone(), scenario.cast.root.clone()];
        let (proposals, decisions, executions) = (Vec::new(), Vec::new(), Vec::new());
        Self { scenario, run, people, proposals, decisions, executions, changed: BTreeMap::new() }
    }

    /// Logs a record, if the rules let it be; what it is about changed with it.
    fn log(&mut self, by: &Actor, body: impl Into<Body>, about: &[RecordId]) -> Option<RecordId> {
        let ledger = &mut self.scenario.ledger;
        let record = ledger.sign(by, Some(self.run), body);
        let index = ledger.size();
        ledger.append(record.bytes()).ok()?;
        for id in about {
            self.changed.insert(*id, index);
        }
        self.scenario.ledger.close();
        Some(record.id())
    }

    fn step(&mut self, step: &Step) {
        let cast = self.scenario.cast.clone();
        let nth = |at: usize| self.proposals.get(at % self.proposals.len().max(1)).copied();
        match step {
            Step::Propose { supersedes } => {
                let old = supersedes.and_then(nth);
                let mut body =
                    self.scenario.proposal(action("db.vacuum", json!({"n": self.proposals.len()})));
                body.supersedes = old;
                if let Some(id) = self.log(&cast.scout, body, old.as_slice()) {
                    self.proposals.push(id);
                    let index = self.scenario.ledger.state().index_of(&id).unwrap();
                    self.changed.insert(id, index);
                }
            }
            Step::Decide { proposal, by, ruling, length } => {
                let Some(id) = nth(*proposal) else { return };
                let mut body = self.scenario.decision(self.run, id, *ruling);
                body.window = body.window.map(|Window { from, .. }| {
                    let until = Millis::new(from.get() + length).unwrap();
                    Window { from, until }
                });
                let person = self.people[*by].clone();
                if let Some(decision) = self.log(&person, body, &[id]) {
                    self.decisions.push((decision, *by, id));
                }
            }
            Step::Withdraw { decision } => {
                let one = self.decisions.get(decision % self.decisions.len().max(1)).copied();
                let Some((target, by, proposal)) = one else { return };
                let person = self.people[by].clone();
                self.log(&person, Cancel { reason: None, target }, &[proposal]);
            }
            Step::Cancel { proposal } => {
                let Some(target) = nth(*proposal) else { return };
                self.log(&cast.scout, Cancel { reason: None, target }, &[target]);
            }
            Step::Execute { proposal } => {
                let Some(id) = nth(*proposal) else { return };
                let approvals = self.scenario.ledger.run(self.run).approvals(&id);
                let named =
                    self.scenario.ledger.state().select(self.scenario.ledger.run(self.run), &id, &approvals);
                let body = self.scenario.execution(self.run, id, &named.unwrap_or_default());
                if let Some(execution) = self.log(&cast.gate, body, &[id]) {
                    self.executions.push((execution, id));
                }
            }
            Step::Report { execution, status } => {
                let one = self.executions.get(execution % self.executions.len().max(1)).copied();
                let Some((execution, proposal)) = one else { return };
                let body = self.scenario.outcome(execution, *status);
                self.log(&cast.gate, body, &[proposal]);
            }
            Step::Wait(millis) => {
                self.scenario.ledger.wait(*millis);
                self.scenario.observe(self.run);
                self.scenario.ledger.close();
            }
        }
    }

    fn state(&self) -> &State {
        self.scenario.ledger.state()
    }

    fn check(&self) {
        let (state, run) = (self.state(), self.scenario.ledger.run(self.run));
        let listed: Vec<RecordId> = state.proposals(u64::MAX).map(|proposed| proposed.id).collect();
        assert_eq!(listed, self.proposals.iter().rev().copied().collect::<Vec<_>>());
        let is_live = |id: &RecordId| {
            let proposal = run.proposal(id).unwrap();
            proposal.ended.is_none() && proposal.uses.is_empty()
        };
        let live: Vec<RecordId> = state.live_proposals(u64::MAX).map(|proposed| proposed.id).collect();
        assert_eq!(live, listed.iter().filter(|id| is_live(id)).copied().collect::<Vec<_>>());
        for id in &self.proposals {
            let index = run.proposal(id).unwrap().index;
            let below: Vec<_> = state.live_proposals(index).map(|proposed| proposed.index).collect();
            assert!(below.iter().all(|one| *one < index) && below.is_sorted_by(|a, b| a > b));
            assert_eq!(state.find_proposal(id).unwrap().changed, self.changed[id]);
            self.check_one(id);
        }
        let mut changed: Vec<(u64, RecordId)> = self.changed.iter().map(|(id, at)| (*at, *id)).collect();
        changed.sort_by_key(|(at, id)| (*at, run.proposal(id).unwrap().index));
        for after in 0..=state
            .find_proposal(changed.last().map_or(&self.run.trigger(), |(_, id)| id))
            .map_or(0, |one| one.changed)
        {
            let told: Vec<_> =
                state.changed_proposals((after, u64::MAX)).map(|one| (one.changed, one.id)).collect();
            let rest: Vec<_> = changed.iter().filter(|(at, _)| *at > after).copied().collect();
            assert_eq!(told, rest);
        }
    }

    fn check_one(&self, id: &RecordId) {
        let (state, run) = (self.state(), self.scenario.ledger.run(self.run));
        let approval = state.approval(run, id).unwrap();
        assert_eq!(Some(approval.status), state.proposal_status(run, id));
        assert_eq!(approval.status.is_live(), state.live_proposals(u64::MAX).any(|one| one.id == *id));
        let now = state.log_time().unwrap().get();
        let standing = |from: u64| -> Vec<RecordId> {
            let counts = |approval: &RecordId| {
                state.counts(run, id, approval, None).is_ok()
                    && run.decision(approval).unwrap().window.unwrap().1 >= from
            };
            run.approvals(id).into_iter().filter(counts).collect()
        };
        let until = standing(0).into_iter().map(|id| run.decision(&id).unwrap().window.unwrap().1);
        let stands = |until: &u64| state.quorum(run, id, &standing(*until), None).is_ok();
        let last = until.filter(stands).max();
        assert_eq!(state.approved_until(run, id), last);
        let is_approved = approval.status == ProposalStatus::Approved;
        assert_eq!(approval.expires_at, last.filter(|_| is_approved));
        let asked = &approval.rules[0].requirements[0];
        let mut approved: Vec<&Principal> =
            standing(0).iter().map(|id| &run.decision(id).unwrap().approver).collect();
        approved.sort_unstable();
        approved.dedup();
        let mut shown: Vec<&Principal> = asked.approved.iter().collect();
        shown.sort_unstable();
        assert_eq!(
            (asked.count, shown, approval.rules[0].is_met),
            (2, approved.clone(), approved.len() == 2)
        );
        for (at, person) in self.people.iter().enumerate() {
            let has_approved =
                standing(now).iter().any(|id| run.decision(id).unwrap().approver == person.principal);
            let may = at < 2 && approval.status == ProposalStatus::Open && !has_approved;
            assert_eq!(state.may_decide(run, id, &person.principal), may, "{}", person.principal);
        }
    }
}

proptest! {
    #![proptest_config(super::cases())]

    #[test]
    fn approvals_are_what_the_runs_say(steps in prop::collection::vec(step(), 1..30)) {
        let mut told = Told::new();
        for step in &steps {
            told.step(step);
            told.check();
        }
    }
}
