//! A receipt: what was proposed, who decided it, what was executed and how that ended, of one bundle, beside its verdict. It decides
//! nothing, and shows as much as the verdict lets it be believed.

use std::collections::BTreeMap;

use counterfoil_receipt::{Body, RecordId, UnverifiedRecord};
use serde::Serialize;

use crate::{
    fault::{Finding, Shown},
    rule::Dimension,
    run::{DecisionState, ExecutionState, ProposalState, Run},
    state::State,
    verdict::{Answer, Verdict},
};

/// Proposals of a receipt, and decisions and executions of each: the last ones.
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
    pub executions: Vec<Executed>,
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
    pub withdrawn: Option<String>,
}

/// One execution of it.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Executed {
    pub ground: &'static str,
    pub id: String,
    pub index: u64,
    pub log_time: Option<u64>,
    pub outcome: Option<Ended>,
    pub policy: Option<String>,
    pub runtime: String,
    pub time: u64,
    pub r#use: u64,
}

/// How it ended, as far as is known.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "named as in the answer")]
pub struct Ended {
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
        let reading = Reading { state, run, record };
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
}

impl Reading<'_> {
    fn proposal(&self, id: &RecordId, proposal: &ProposalState, only: Option<RecordId>) -> Receipted {
        let last = |count: usize| count.saturating_sub(MOST);
        let decisions = proposal.decisions.iter().skip(last(proposal.decisions.len()));
        let uses = proposal.uses.values().filter(|id| only.is_none_or(|only| only == **id));
        let uses: Vec<&RecordId> = uses.collect();
        let executions = uses.iter().skip(last(uses.len()));
        let action = &proposal.action;
        Receipted {
            action: Acted {
                digest: proposal.digest.to_string(),
                target: action.target.as_ref().map(ToString::to_string),
                tool: action.tool.to_string(),
            },
            agent: proposal.proposer.to_string(),
            decisions: decisions.filter_map(|id| Some(self.decision(id, self.run.decision(id)?))).collect(),
            executions: executions
                .filter_map(|id| Some(self.execution(id, self.run.execution(id)?)))
                .collect(),
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
            withdrawn: decision.cancelled.map(|id| id.to_string()),
        }
    }

    fn execution(&self, id: &RecordId, execution: &ExecutionState) -> Executed {
        let in_force = self.state.policies().rev().find(|(from, _)| *from <= execution.index);
        let ended = execution.settlement.or(execution.outcome);
        Executed {
            ground: execution.ground.as_str(),
            id: id.to_string(),
            index: execution.index,
            log_time: execution.log_time,
            outcome: ended.map(|(id, status, effects)| Ended {
                effects: effects.as_str(),
                id: id.to_string(),
                status: status.as_str(),
                time: (self.record)(&id).map(|record| record.time().get()),
            }),
            policy: in_force.map(|(_, digest)| digest.to_string()),
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
