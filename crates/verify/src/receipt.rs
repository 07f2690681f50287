//! A receipt: what was proposed, who decided it, what was executed and how that ended, of one bundle, beside its verdict. It decides
//! nothing, and shows as much as the verdict lets it be believed.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_receipt::{Body, RecordId, UnverifiedRecord};
use serde::Serialize;

use crate::{
    fault::{Finding, Shown},
    rule::Dimension,
    run::{DecisionState, ExecutionState, ProposalState, Run},
    state::State,
    verdict::{Answer, Verdict},
};

/// Proposals of a receipt, and decisions and executions of each: the last ones, and what those executions name.
const MOST: usize = 100;

/// What a bundle shows of one record's proposal, or of its whole run. In JSON as `GET /v1/receipts/{id}` answers.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// Where the bundle is found that shows all this.
    pub bundle: String,
    dimensions: BTreeMap<&'static str, Answered>,
    findings: Vec<Found>,
    /// Whose log it is in.
    pub issuer: Issuer,
    /// The proposals that it is about, in log order.
    pub proposals: Vec<Receipted>,
    /// How many more there are, before these.
    pub proposals_left_out: usize,
    /// The record that was asked for.
    pub record: String,
    /// Who signed the trigger of the run.
    pub requester: String,
    /// The run.
    pub run: String,
    /// How many entries the last checkpoint of the bundle covers.
    pub size: u64,
}

/// A log.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Issuer {
    pub log: String,
    pub origin: String,
}

/// One proposal, and what became of it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Receipted {
    pub action: Acted,
    pub agent: String,
    pub decisions: Vec<Decided>,
    pub decisions_left_out: usize,
    pub executions: Vec<Executed>,
    pub executions_left_out: usize,
    pub id: String,
    pub index: u64,
    pub log_time: Option<u64>,
    pub status: &'static str,
    pub time: u64,
}

/// What was to be done.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Acted {
    pub digest: String,
    pub target: Option<String>,
    pub tool: String,
}

/// One decision about it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Decided {
    pub approver: String,
    pub id: String,
    pub index: u64,
    pub policy: String,
    pub reason: Option<String>,
    pub rule: Option<String>,
    pub surface: &'static str,
    pub time: Option<u64>,
    pub verdict: &'static str,
    /// Why it changes nothing, if it does not.
    pub without_effect: Option<String>,
    pub withdrawn: Option<String>,
}

/// One execution of it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Executed {
    /// The decisions that it stands on, of which it names the ids.
    pub decisions: Vec<String>,
    pub ground: &'static str,
    pub id: String,
    pub index: u64,
    pub log_time: Option<u64>,
    pub outcome: Option<Ended>,
    pub policy: Option<String>,
    pub retries: Option<String>,
    pub runtime: String,
    pub time: u64,
    pub r#use: u64,
}

/// How it ended, as far as is known.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Ended {
    /// Who says so: the runtime, or the human who settled what it did not know.
    pub by: Option<String>,
    pub effects: &'static str,
    pub id: String,
    pub status: &'static str,
    pub time: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Answered {
    answer: &'static str,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Found {
    code: &'static str,
    detail: String,
    dimension: &'static str,
    index: Option<u64>,
    record: Option<String>,
    rule: &'static str,
    shown: &'static str,
}

impl Receipt {
    /// The receipt of a record of the run that a bundle is about: of an execution, its proposal and that execution; of a proposal, all
    /// about that; of any other, all about the run. `record` gives records of the bundle for what stands in them alone. `None` if the
    /// bundle does not show the record, or not in its run.
    pub fn of(
        verdict: &Verdict,
        id: &RecordId,
        record: &dyn Fn(&RecordId) -> Option<UnverifiedRecord>,
    ) -> Option<Self> {
        let (state, run) = (verdict.state(), verdict.state().run(&verdict.run_id()?)?);
        if state.entries.get(id)?.run != Some(run.id()) {
            return None;
        }
        let reading = Reading { state, run, record, without_effect: verdict.without_effect() };
        let execution = run.execution(id).map(|execution| (*id, execution.proposal));
        let proposals: Vec<_> = match (execution, run.proposal(id)) {
            (Some((_, proposal)), _) => {
                run.proposal(&proposal).map(|state| (proposal, state)).into_iter().collect()
            }
            (None, Some(proposal)) => vec![(*id, proposal)],
            (None, None) => run.proposals(),
        };
        let left_out = proposals.len().saturating_sub(MOST);
        let only = execution.map(|(id, _)| id);
        Some(Self {
            bundle: format!("/v1/runs/{}/bundle", run.id()),
            dimensions: Dimension::ALL
                .into_iter()
                .map(|dimension| (dimension.as_str(), answered(verdict, dimension)))
                .collect(),
            findings: verdict.findings().iter().map(found).collect(),
            issuer: Issuer { log: state.log()?.to_string(), origin: state.genesis()?.origin.to_string() },
            proposals: proposals[left_out..]
                .iter()
                .map(|(id, proposal)| reading.proposal(id, proposal, only))
                .collect(),
            proposals_left_out: left_out,
            record: id.to_string(),
            requester: run.requester().to_string(),
            run: run.id().to_string(),
            size: verdict.checkpoints().last().map_or(0, |last| last.head.size.0),
        })
    }
}

/// What a receipt is told from.
struct Reading<'r> {
    state: &'r State,
    run: &'r Run,
    record: &'r dyn Fn(&RecordId) -> Option<UnverifiedRecord>,
    without_effect: &'r [(u64, String)],
}

impl Reading<'_> {
    fn proposal(&self, id: &RecordId, proposal: &ProposalState, only: Option<RecordId>) -> Receipted {
        let asked = proposal.executions.iter().filter(|id| only.is_none_or(|only| only == **id));
        let asked: Vec<&RecordId> = asked.collect();
        let executions_left_out = asked.len().saturating_sub(MOST);
        let executions: Vec<(&RecordId, &ExecutionState)> = asked[executions_left_out..]
            .iter()
            .filter_map(|id| Some((*id, self.run.execution(id)?)))
            .collect();
        // However many decide later: what an execution stands on is shown.
        let named: BTreeSet<&RecordId> =
            executions.iter().flat_map(|(_, execution)| &execution.decisions).collect();
        let last = proposal.decisions.len().saturating_sub(MOST);
        let decisions: Vec<&RecordId> = proposal
            .decisions
            .iter()
            .enumerate()
            .filter(|(at, id)| *at >= last || named.contains(id))
            .map(|(_, id)| id)
            .collect();
        let action = &proposal.action;
        Receipted {
            action: Acted {
                digest: proposal.digest.to_string(),
                target: action.target.as_ref().map(ToString::to_string),
                tool: action.tool.to_string(),
            },
            agent: proposal.proposer.to_string(),
            decisions_left_out: proposal.decisions.len() - decisions.len(),
            decisions: decisions
                .into_iter()
                .filter_map(|id| Some(self.decision(id, self.run.decision(id)?)))
                .collect(),
            executions: executions.into_iter().map(|(id, execution)| self.execution(id, execution)).collect(),
            executions_left_out,
            id: id.to_string(),
            index: proposal.index,
            log_time: proposal.log_time,
            status: self.state.proposal_status(self.run, id).map_or("unknown", |status| status.as_str()),
            time: proposal.time,
        }
    }

    fn decision(&self, id: &RecordId, decision: &DecisionState) -> Decided {
        let record = (self.record)(id);
        let reason = record.as_ref().and_then(|record| match record.body() {
            Body::Decision(body) => body.reason.as_ref().map(ToString::to_string),
            _ => None,
        });
        Decided {
            approver: decision.approver.to_string(),
            id: id.to_string(),
            index: decision.index,
            policy: decision.policy.to_string(),
            reason,
            rule: decision.rule.as_ref().map(ToString::to_string),
            surface: decision.surface.as_str(),
            time: record.map(|record| record.time().get()),
            verdict: decision.ruling.as_str(),
            without_effect: self
                .without_effect
                .iter()
                .find(|(at, _)| *at == decision.index)
                .map(|(_, why)| why.clone()),
            withdrawn: decision.cancelled.map(|id| id.to_string()),
        }
    }

    fn execution(&self, id: &RecordId, execution: &ExecutionState) -> Executed {
        let in_force = self.state.policies().rev().find(|(from, _)| *from <= execution.index);
        let ended = execution.settlement.or(execution.outcome);
        Executed {
            decisions: execution.decisions.iter().map(ToString::to_string).collect(),
            ground: execution.ground.as_str(),
            id: id.to_string(),
            index: execution.index,
            log_time: execution.log_time,
            outcome: ended.map(|(id, status, effects)| {
                let record = (self.record)(&id);
                Ended {
                    by: record.as_ref().map(|record| record.author().principal.to_string()),
                    effects: effects.as_str(),
                    id: id.to_string(),
                    status: status.as_str(),
                    time: record.map(|record| record.time().get()),
                }
            }),
            policy: in_force.map(|(_, digest)| digest.to_string()),
            retries: execution.retries.map(|id| id.to_string()),
            runtime: execution.runtime.to_string(),
            time: execution.time,
            r#use: execution.use_number,
        }
    }
}

fn answered(verdict: &Verdict, dimension: Dimension) -> Answered {
    let (answer, detail) = match verdict.answer(dimension) {
        Answer::Pass(detail) => ("pass", detail.clone()),
        Answer::Fail => {
            let fails =
                |finding: &&Finding| finding.dimension == dimension && finding.shown == Shown::Violated;
            ("fail", verdict.findings().iter().find(fails).map_or(String::new(), ToString::to_string))
        }
        Answer::NotShown(detail) => ("not_shown", detail.clone()),
    };
    Answered { answer, detail }
}

fn found(finding: &Finding) -> Found {
    Found {
        code: finding.code,
        detail: finding.detail.clone(),
        dimension: finding.dimension.as_str(),
        index: finding.index,
        record: finding.record.map(|record| record.to_string()),
        rule: finding.rule,
        shown: match finding.shown {
            Shown::Violated => "violated",
            Shown::NotShown => "not_shown",
        },
    }
}
