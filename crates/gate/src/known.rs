//! What a gate knows of the log when it decides: what a verdict shows, and what was logged since.

use std::borrow::Cow;

use counterfoil_receipt::{Opening, Root, RunId, UnverifiedRecord, body::Basis, field::Count};
use counterfoil_verify::{Answer, Dimension, Roots, Shown, State, Verdict};

use crate::decide::Refusal;

/// Trigger and proposal of a run that no log has yet.
#[derive(Clone, Debug)]
pub struct Begun {
    run: RunId,
    records: [UnverifiedRecord; 2],
    /// What opens what the proposal commits to.
    openings: Vec<Opening>,
}

/// The state that a gate decides on, and what speaks for it.
pub(crate) struct Known<'e> {
    verdict: &'e Verdict,
    run: Option<RunId>,
    pub state: Cow<'e, State>,
    /// The checkpoint that the gate acts on.
    pub basis: Option<Basis>,
}

/// A record that is in no log, or whose tree nobody has, is held against no root.
pub(crate) struct NoRoots;

impl Roots for NoRoots {
    fn root_at(&self, _size: u64) -> Option<[u8; 32]> {
        None
    }
}

impl Begun {
    /// A run that begins with these, which the caller has signed, and what opens the proposal's commitments.
    pub fn new(trigger: UnverifiedRecord, proposal: UnverifiedRecord, openings: Vec<Opening>) -> Self {
        Self { run: RunId::started_by(trigger.id()), records: [trigger, proposal], openings }
    }

    /// The records, and what opens what the second commits to.
    pub(crate) fn into_parts(self) -> ([UnverifiedRecord; 2], Vec<Opening>) {
        (self.records, self.openings)
    }

    /// What is to be submitted.
    pub(crate) fn lines(&self) -> Vec<(&UnverifiedRecord, &[Opening])> {
        let [trigger, proposal] = &self.records;
        vec![(trigger, &[]), (proposal, &self.openings)]
    }

    /// The state with these as the next entries; `None` if one of them breaks a rule there. That their signatures hold is seen when the
    /// log shows them.
    fn after(&self, verdict: &Verdict) -> Option<State> {
        let next = shown_basis(verdict)?.size.get()..;
        let mut state = verdict.state().clone();
        for (record, index) in self.records.iter().zip(next) {
            state.replay(record.clone(), index, &NoRoots).ok()?;
        }
        Some(state)
    }
}

impl<'e> Known<'e> {
    /// What a verdict shows.
    pub fn shown(verdict: &'e Verdict) -> Self {
        let state = Cow::Borrowed(verdict.state());
        Self { verdict, run: verdict.run_id(), state, basis: shown_basis(verdict) }
    }

    /// What a verdict on another run of the same log shows, and a run that begins. What else was logged since is not known: who
    /// acts on this has to ask again before it does anything.
    pub fn with(verdict: &'e Verdict, begun: &Begun) -> Option<Self> {
        let state = Cow::Owned(begun.after(verdict)?);
        Some(Self { verdict, run: Some(begun.run), state, basis: shown_basis(verdict) })
    }

    /// Whether this is ahead of what the verdict shows.
    pub fn is_ahead(&self) -> bool {
        matches!(self.state, Cow::Owned(_))
    }

    /// Whether this is about this run, and shows what a gate demands; nothing in it may be violated.
    pub fn suffices(&self, run: RunId, require: &[Dimension]) -> Result<(), Refusal> {
        // How fresh, complete or witnessed another run was shown says nothing of this one.
        let of_the_log =
            [Dimension::Integrity, Dimension::Authority, Dimension::Conformity, Dimension::Inclusion];
        if self.is_ahead() && !require.iter().all(|dimension| of_the_log.contains(dimension)) {
            return Err(Refusal::new("evidence-incomplete", "the run itself has to be shown"));
        }
        if self.run != Some(run) {
            return Err(Refusal::new("evidence-foreign", format!("the evidence is not about run {run}")));
        }
        let always = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
        for dimension in Dimension::ALL {
            let needed = dimension != Dimension::Conformity
                && (always.contains(&dimension) || require.contains(&dimension));
            match self.verdict.answer(dimension) {
                Answer::Pass(_) => {}
                Answer::NotShown(_) if !needed => {}
                Answer::NotShown(why) => {
                    let why = format!("{dimension} is not shown: {why}");
                    return Err(Refusal::new("evidence-incomplete", why));
                }
                Answer::Fail => {
                    let violated = |finding: &&counterfoil_verify::Finding| {
                        finding.dimension == dimension && finding.shown == Shown::Violated
                    };
                    let finding = self.verdict.findings().iter().find(violated);
                    let (code, detail) = finding.map_or(("evidence-incomplete", String::new()), |finding| {
                        (finding.code, finding.to_string())
                    });
                    return Err(Refusal::new(code, format!("{dimension} fails: {detail}")));
                }
            }
        }
        Ok(())
    }
}

/// The last checkpoint that was verified.
pub(crate) fn shown_basis(verdict: &Verdict) -> Option<Basis> {
    let head = verdict.checkpoints().last()?.head;
    Some(Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0)? })
}
