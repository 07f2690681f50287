//! Settling what a process left open when it was stopped: its outcome is logged, or that nobody knows it. Nothing is run.

use std::sync::atomic::Ordering;

use counterfoil_receipt::{
    Action, Body, RecordId, RunId, UnverifiedRecord,
    body::{Effects, Status},
};
use counterfoil_verify::{Answer, Dimension, Rule, Shown, Verdict};

use crate::{
    driver::{Gate, GateError, lock},
    effect::Done,
    log::{Log, LogError},
    open::OpenExecutions,
};

/// How long after an execution was signed none of the requests that brought it is still on its way.
const ON_ITS_WAY_MILLIS: u64 = 10 * 60 * 1_000;

/// What became of an execution that an earlier process, or an earlier call, left open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It has an outcome now: the one that was noted, or `unknown`.
    Recorded {
        /// The execution.
        execution: RecordId,
        /// The outcome.
        outcome: RecordId,
    },
    /// It had one already.
    Known(RecordId),
    /// It was never logged, and can't be any more.
    NeverLogged(RecordId),
    /// It stays open, for this reason.
    Open(RecordId, String),
}

/// What was begun in this directory, and has no known end: it may have happened. What the log does not have did not, whatever becomes of its
/// record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Its run.
    pub run: RunId,
    /// What was executed.
    pub proposal: RecordId,
    /// Its action.
    pub action: Action,
}

impl Doubt {
    fn of(execution: &UnverifiedRecord) -> Option<Self> {
        let Body::Execution(body) = execution.body() else { return None };
        Some(Self { run: execution.run()?, proposal: body.proposal, action: body.action.clone() })
    }
}

impl<L: Log> Gate<L> {
    /// What [`Gate::settle_open`] found begun that may have happened.
    pub fn in_doubt(&self) -> Vec<Doubt> {
        lock(&self.doubts).clone()
    }

    /// Settles what earlier processes left open: logs the outcome that was noted, or else that the outcome is unknown.
    /// Runs nothing.
    ///
    /// # Errors
    /// [`GateError`]; the gate then lets nothing pass.
    pub fn settle_open(&self) -> Result<Vec<Settled>, GateError> {
        self.settled.store(false, Ordering::Release);
        lock(&self.doubts).clear();
        let mut settled = Vec::new();
        // What another runtime began in this directory only it can report.
        let is_own = |execution: &UnverifiedRecord| execution.author().principal == self.runtime.principal;
        for place in self.open.abandoned() {
            let place = place?;
            for execution in place.list()?.into_iter().filter(is_own) {
                settled.push(self.settle(&place, &execution)?);
            }
        }
        // What waits to be logged has its outcome.
        let _logging = lock(&self.behind.logging);
        for execution in self.open.list()?.into_iter().filter(is_own) {
            let runs_now = lock(&self.running).contains(&execution.id());
            if !runs_now {
                settled.push(self.settle(&self.open, &execution)?);
            }
        }
        self.settled.store(true, Ordering::Release);
        self.log_refusals(false);
        Ok(settled)
    }

    /// Nobody knows what became of it.
    fn doubt(&self, execution: &UnverifiedRecord) {
        lock(&self.doubts).extend(Doubt::of(execution));
    }

    fn settle(&self, place: &OpenExecutions, execution: &UnverifiedRecord) -> Result<Settled, GateError> {
        let id = execution.id();
        let Some(run) = execution.run() else { return Ok(Settled::Open(id, "names no run".to_owned())) };
        let evidence = match self.log.evidence(run, self.now()?) {
            // What the policy allows is proposed with its execution: neither was logged.
            Err(LogError::NoRun(_)) if self.is_lost(place, execution)? => {
                place.clear(id)?;
                return Ok(Settled::NeverLogged(id));
            }
            Err(LogError::NoRun(why)) => return Ok(Settled::Open(id, why)),
            evidence => evidence.map_err(GateError::NoEvidence)?,
        };
        if !matches!(evidence.answer(Dimension::Inclusion), Answer::Pass(_)) {
            self.doubt(execution);
            return Ok(Settled::Open(id, "the run is not shown to be in the log".to_owned()));
        }
        let logged = evidence.state().run(&run).and_then(|run| run.execution(&id));
        match logged.map(|execution| execution.status()) {
            None if window_is_over(execution, run, &evidence)
                || use_is_gone(execution, run, &evidence)
                || self.is_lost(place, execution)? =>
            {
                place.clear(id)?;
                Ok(Settled::NeverLogged(id))
            }
            None => Ok(Settled::Open(id, "it is not logged, and could still be".to_owned())),
            Some(Some(status)) => {
                if status == Status::Unknown {
                    self.doubt(execution);
                }
                place.clear(id)?;
                Ok(Settled::Known(id))
            }
            Some(None) => self.settle_logged(place, execution),
        }
    }

    /// Whether an execution that is not in the log was sent so long ago that it never will be. Only if it is noted that it did not run: what
    /// may have run was in the log, whatever is shown now.
    fn is_lost(&self, place: &OpenExecutions, execution: &UnverifiedRecord) -> Result<bool, GateError> {
        let noted = place.outcome(execution.id())?;
        let did_not_run = noted.is_some_and(|noted| {
            matches!(noted.record.body(), Body::Outcome(body)
                if body.status == Status::Failed && body.effects == Effects::None)
        });
        let sent = execution.time().get();
        Ok(did_not_run && self.now()?.get().saturating_sub(sent) > ON_ITS_WAY_MILLIS)
    }

    /// Logs the outcome that was noted, or that nobody knows.
    fn settle_logged(
        &self,
        place: &OpenExecutions,
        execution: &UnverifiedRecord,
    ) -> Result<Settled, GateError> {
        let id = execution.id();
        let noted =
            place.outcome(id)?.filter(|noted| noted.record.author().principal == self.runtime.principal);
        let outcome = match noted {
            Some(outcome) => outcome,
            None => {
                let done = Done::unknown(
                    "the runtime was interrupted between the execution's record and its outcome",
                );
                let outcome = self.sign_outcome(execution, &done)?;
                place.conclude(id, &outcome, true)?;
                outcome
            }
        };
        if matches!(outcome.record.body(), Body::Outcome(body) if body.status == Status::Unknown) {
            self.doubt(execution);
        }
        match self.submit_outcome(&outcome) {
            Ok(()) => {
                place.clear(id)?;
                Ok(Settled::Recorded { execution: id, outcome: outcome.record.id() })
            }
            Err(LogError::Rejected { code }) if code == Rule::OutcomeSettled.code() => {
                place.clear(id)?;
                Ok(Settled::Known(id))
            }
            Err(error) => {
                self.doubt(execution);
                Ok(Settled::Open(id, error.to_string()))
            }
        }
    }
}

/// Whether an execution that is not in the log can no longer be admitted, because log time is past its window.
fn window_is_over(execution: &UnverifiedRecord, run: RunId, evidence: &Verdict) -> bool {
    let Body::Execution(body) = execution.body() else { return false };
    let state = evidence.state();
    let windows = state.run(&run).map_or_else(Vec::new, |run| state.windows(run, body));
    let until = windows.iter().map(|(_, until)| *until).min();
    until.zip(state.log_time()).is_some_and(|(until, log_time)| log_time.get() > until)
}

/// Whether an execution that is not in the log can no longer be admitted, because another took its use, or the proposal ended: neither
/// is ever undone.
fn use_is_gone(execution: &UnverifiedRecord, run: RunId, evidence: &Verdict) -> bool {
    let (Body::Execution(body), state) = (execution.body(), evidence.state()) else { return false };
    let Some(run) = state.run(&run) else { return false };
    let would = state.may_execute(run, body, &execution.author().principal, execution.time().get());
    would.is_err_and(|fault| {
        fault.shown == Shown::Violated && [Rule::UseConsumed, Rule::ProposalEnded].contains(&fault.rule)
    })
}
