//! What whoever goes on with a run has to know: who owns it, what waits, what may follow, what is left. All of it stands on a verdict.

use std::fmt;

use counterfoil_policy::Decimal;
use counterfoil_receipt::{
    Principal, RecordId, RunId,
    body::{Cost, Holder, Status},
};
use counterfoil_tlog::TreeSize;

use crate::{
    approval::Approval,
    fault::{Finding, Shown},
    next::{self, Next},
    record::Record,
    rule::Dimension,
    run::{ExecutionState, ProposalState, ProposalStatus, Run},
    state::State,
    summary::{self, Summary},
    verdict::{Answer, Conclusion, Verdict},
};

/// What must hold before anything is said about where a run stands.
pub const NEEDED: [Dimension; 3] = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];

/// A run as of the last entry that was shown, for whoever goes on with it: after a crash, on another machine, with another model.
///
/// It is made of a verdict that shows [`NEEDED`], or not at all. It knows what the bundle shows: what others did since, and what other
/// runs took of a delegation, is not in it, so the log may still refuse what it says may follow.
///
/// ```
/// # use counterfoil_verify::{RunState, Trust, verify};
/// # let mut scenario = counterfoil_testkit::Scenario::new();
/// # let run = scenario.trigger();
/// # scenario.propose(run, counterfoil_testkit::action("db.vacuum", serde_json::json!({"full": true})));
/// # let (bundle, trust) = (scenario.ledger.bundle(run), scenario.ledger.trust().to_toml());
/// let trust = Trust::parse(&trust)?;
/// let verdict = verify(&bundle, &trust, 0);
/// let state = RunState::of(&verdict, run, trust.require())?;
/// let waiting = state.pending();
/// assert_eq!(waiting.len(), 1);
/// let told = state.summary().to_string();
/// assert!(told.contains(r#""db.vacuum" on "db-1""#) && told.contains(&waiting[0].0.to_string()));
///
/// // A bundle of which one byte was changed gives no state, and says why.
/// let mut changed = bundle.clone();
/// let at = changed.len() / 2;
/// changed[at] ^= 1;
/// assert!(RunState::of(&verify(&changed, &trust, 0), run, trust.require()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RunState<'v> {
    verdict: &'v Verdict,
    run: &'v Run,
}

/// Why a verdict gives no state of a run to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoState {
    /// The run.
    pub run: RunId,
    /// What the verdict concludes; [`Conclusion::NotShown`] also if it is of another run.
    pub conclusion: Conclusion,
    /// The stable code of what is wrong.
    pub code: &'static str,
    /// The evidence, for a person.
    pub detail: String,
    /// The finding that says so, where one does.
    pub finding: Option<Box<Finding>>,
}

/// What may still be done without asking anybody, as far as the bundle shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of each proposal of which uses are granted or taken, in log order.
    pub uses: Vec<UsesLeft>,
    /// Of each link of a delegation under which the run proposed.
    pub delegations: Vec<LinkLeft>,
}

/// The uses of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsesLeft {
    /// The proposal.
    pub proposal: RecordId,
    /// How many are granted now; 0 where no quorum stands inside its time, something ended the proposal, or that is in doubt.
    pub granted: u64,
    /// How many are taken.
    pub taken: u64,
    /// How many of those granted are free.
    pub left: u64,
    /// The last log time, in milliseconds, at which they may be taken, if something bounds it.
    pub until: Option<u64>,
}

/// What is left of a delegation, as this run alone shows: what other runs took of it is in no bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLeft {
    /// The delegation.
    pub id: RecordId,
    /// Whose it is.
    pub delegate: Holder,
    /// How many executions stand under it.
    pub taken: u64,
    /// How many it grants, if it says.
    pub uses: Option<u64>,
    /// What they cost, in the currency of its total; zero where it has none.
    pub spent: Decimal,
    /// What all of them may cost, if it says.
    pub total: Option<Cost>,
    /// What one may cost, if it says.
    pub per_action: Option<Cost>,
    /// The last log time, in milliseconds, at which it may be used, if it says.
    pub until: Option<u64>,
    /// Why nothing more can be done under it.
    pub ended: Option<String>,
}

impl<'v> RunState<'v> {
    /// The state of a run, if the verdict shows it.
    ///
    /// Besides [`NEEDED`] the verdict has to show what the reader requires; but *conformity* passes only once something was executed,
    /// so here it may be not shown where no finding is why. Nothing may be violated, required or not: a chain that is older than the trust file accepts, or of
    /// which two checkpoints contradict each other, gives no state.
    ///
    /// # Errors
    /// [`NoState`] with the first finding that stands against it.
    pub fn of(verdict: &'v Verdict, run: RunId, require: &[Dimension]) -> Result<Self, NoState> {
        let is_found = verdict.findings().iter().any(|finding| finding.dimension == Dimension::Conformity);
        let is_asked = |dimension: &Dimension| *dimension != Dimension::Conformity || is_found;
        let further = require.iter().copied().filter(is_asked);
        let demanded: Vec<Dimension> = NEEDED.into_iter().chain(further).collect();
        let conclusion = verdict.conclude(&demanded);
        let shown = verdict.state().run(&run).filter(|_| verdict.run_id() == Some(run));
        match (conclusion, shown) {
            (Conclusion::Shown, Some(run)) => Ok(Self { verdict, run }),
            (Conclusion::Shown, None) => {
                let detail = "the bundle does not show its trigger".to_owned();
                let (code, conclusion) = ("run-not-shown", Conclusion::NotShown);
                Err(NoState { run, conclusion, code, detail, finding: None })
            }
            (conclusion @ (Conclusion::Violated | Conclusion::Unreadable | Conclusion::NotShown), _) => {
                Err(NoState::new(verdict, run, conclusion, &demanded))
            }
        }
    }

    /// The state that all entries shown make.
    pub const fn state(&self) -> &'v State {
        self.verdict.state()
    }

    /// The run.
    pub const fn run(&self) -> &'v Run {
        self.run
    }

    /// Its owner, with the key that they sign with now, after every rotation; and whether what it signs next is admitted.
    pub fn owner(&self) -> (Holder, bool) {
        self.state().owner(self.run)
    }

    /// Whether what a runtime signs next is admitted, with one of its keys.
    pub fn runtime_signs(&self, runtime: &Principal) -> bool {
        self.state().runtime_signs(runtime)
    }

    /// The size of the tree as of which this is the state.
    pub fn size(&self) -> Option<TreeSize> {
        self.verdict.checkpoints().last().map(|last| last.head.size)
    }

    /// The record that started the run.
    pub const fn trigger(&self) -> Option<&'v Record> {
        self.verdict.latest.trigger()
    }

    /// The last of its other records, with their indices, in log order: as many as [`limits`](crate::limits) say.
    pub fn latest(&self) -> impl Iterator<Item = (u64, &'v Record)> {
        self.verdict.latest.records()
    }

    /// How many records came between the trigger and those, and the last of them.
    pub const fn before_latest(&self) -> (u64, Option<RecordId>) {
        self.verdict.latest.before()
    }

    /// Whether a record that was admitted changed nothing: neither where something is, nor what may still be done.
    pub fn is_without_effect(&self, index: u64) -> bool {
        // The fold gives no effect to what ends a proposal after its first use; it ends the further ones all the same.
        let ends = |proposal: &ProposalState| proposal.ended.is_some_and(|(at, _)| at == index);
        self.verdict.without_effect().iter().any(|(at, _)| *at == index)
            && !self.run.proposals().into_iter().any(|(_, proposal)| ends(proposal))
    }

    /// Its proposals and where each is, in log order.
    pub fn proposals(&self) -> Vec<(RecordId, ProposalStatus, &'v ProposalState)> {
        let status = |id: &RecordId| self.state().proposal_status(self.run, id);
        let proposals = self.run.proposals().into_iter();
        proposals.filter_map(|(id, proposal)| Some((id, status(&id)?, proposal))).collect()
    }

    /// The proposals that wait for somebody to decide, and what each of them waits for, in log order.
    pub fn pending(&self) -> Vec<(RecordId, Approval)> {
        let waits = |status| matches!(status, ProposalStatus::Open | ProposalStatus::Expired);
        let approvals = self
            .run
            .proposals()
            .into_iter()
            .filter_map(|(id, _)| Some((id, self.state().approval(self.run, &id)?)));
        approvals.filter(|(_, approval)| waits(approval.status)).collect()
    }

    /// Executions of which it is not known what became of them, in log order: their runtime reports, or a human settles them.
    pub fn unsettled(&self) -> Vec<(RecordId, &'v ExecutionState)> {
        let executions = self.run.executions().into_iter();
        executions
            .filter(|(_, execution)| matches!(execution.status(), None | Some(Status::Unknown)))
            .collect()
    }

    /// Executions under break-glass that nobody has looked at since who could have approved them, in log order.
    pub fn unreviewed(&self) -> Vec<(RecordId, &'v ExecutionState)> {
        let outstanding = |id: &RecordId| next::awaits_review(self.state(), self.run, id);
        self.run.executions().into_iter().filter(|(id, _)| outstanding(id)).collect()
    }

    /// The records that may follow, and who may sign each.
    pub fn next(&self) -> Vec<Next> {
        next::records(self.state(), self.run)
    }

    /// What may still be done without asking anybody.
    pub fn budget(&self) -> Budget {
        let uses = self.run.proposals().into_iter().map(|(id, proposal)| self.uses(id, proposal));
        let mut links: Vec<RecordId> = Vec::new();
        for (_, proposal) in self.run.proposals() {
            let new = proposal.chain.iter().filter(|id| !links.contains(id)).copied().collect::<Vec<_>>();
            links.extend(new);
        }
        Budget {
            uses: uses.filter(|uses| uses.granted > 0 || uses.taken > 0).collect(),
            delegations: links.into_iter().filter_map(|id| self.link(id)).collect(),
        }
    }

    /// All of it in lines for a language model, each with the records that it stands on.
    pub fn summary(&self) -> Summary {
        summary::of(self)
    }

    fn uses(&self, id: RecordId, proposal: &ProposalState) -> UsesLeft {
        let granted = next::granted(self.state(), self.run, &id, proposal).unwrap_or(0);
        UsesLeft {
            proposal: id,
            granted,
            taken: proposal.uses.len() as u64,
            left: (1..=granted).filter(|number| !proposal.uses.contains_key(number)).count() as u64,
            until: self.state().approved_until(self.run, &id).filter(|_| granted > 0),
        }
    }

    fn link(&self, id: RecordId) -> Option<LinkLeft> {
        let link = self.state().delegation(&id)?;
        let spend = link.body.spend.as_ref();
        Some(LinkLeft {
            id,
            delegate: link.body.delegate.clone(),
            taken: link.used,
            uses: link.body.uses.map(|uses| uses.get()),
            spent: link.spent,
            total: spend.and_then(|spend| spend.total.clone()),
            per_action: spend.and_then(|spend| spend.per_action.clone()),
            until: link.body.not_after.map(|until| until.get()),
            ended: self.state().is_live(&id).err().map(|fault| fault.detail),
        })
    }
}

impl LinkLeft {
    /// How many more executions it lets stand at most, if it bounds them.
    pub fn uses_left(&self) -> Option<u64> {
        let left = |uses: u64| if self.ended.is_some() { 0 } else { uses.saturating_sub(self.taken) };
        self.uses.map(left)
    }

    /// What they may cost at most, if it bounds that.
    pub fn spend_left(&self) -> Option<Decimal> {
        let total = Decimal::of(&self.total.as_ref()?.amount);
        Some(total.less(self.spent).filter(|_| self.ended.is_none()).unwrap_or_default())
    }
}

impl NoState {
    fn new(verdict: &Verdict, run: RunId, conclusion: Conclusion, demanded: &[Dimension]) -> Self {
        let bears = |finding: &&Finding| match conclusion {
            Conclusion::Unreadable => finding.unreadable,
            Conclusion::Violated => finding.shown == Shown::Violated,
            Conclusion::NotShown => demanded.contains(&finding.dimension),
            Conclusion::Shown => false,
        };
        let finding = verdict.findings().iter().find(bears).cloned().map(Box::new);
        let (code, detail) = match &finding {
            Some(finding) => {
                let place = finding.index.map_or(String::new(), |index| format!("entry {index}: "));
                (finding.code, format!("{place}{}", finding.detail))
            }
            None => {
                let missing = demanded.iter().find_map(|dimension| match verdict.answer(*dimension) {
                    Answer::NotShown(why) => Some(format!("{dimension}: {why}")),
                    Answer::Pass(_) | Answer::Fail => None,
                });
                ("run-not-shown", missing.unwrap_or_else(|| "the bundle does not show it".to_owned()))
            }
        };
        Self { run, conclusion, code, detail, finding }
    }
}

impl fmt::Display for NoState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no state of run {} to go on from: {}", self.code, self.run, self.detail)
    }
}

impl std::error::Error for NoState {}
