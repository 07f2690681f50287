//! The tokens: approved, but not yet logged; logged and confirmed, but not yet run.

use counterfoil_receipt::{
    Action, Author, Body, Draft, Place, RecordId, RunId, body::Execution, field::Millis,
};
use counterfoil_verify::{Dimension, Rule, Verdict};

use crate::{
    decide::{Refusal, Request},
    effect::Attempt,
    known::Known,
};

/// An execution that may be logged. Only [`crate::decide`] makes one.
///
/// It can't be copied:
///
/// ```compile_fail
/// fn twice(approved: counterfoil_gate::Approved) -> (counterfoil_gate::Approved, counterfoil_gate::Approved) {
///     (approved.clone(), approved)
/// }
/// ```
///
/// nor built from parts:
///
/// ```compile_fail
/// fn forge(approved: counterfoil_gate::Approved, run: counterfoil_receipt::RunId) -> counterfoil_gate::Approved {
///     counterfoil_gate::Approved { run, ..approved }
/// }
/// ```
///
/// nor read from anywhere:
///
/// ```compile_fail
/// fn read(text: &str) -> counterfoil_gate::Approved {
///     serde_json::from_str(text).unwrap()
/// }
/// ```
#[derive(Debug)]
#[must_use = "an approved execution has to be logged and confirmed"]
pub struct Approved {
    log: RecordId,
    run: RunId,
    parents: Vec<RecordId>,
    runtime: Author,
    require: Vec<Dimension>,
    execution: Box<Execution>,
    now: Millis,
}

/// An effect that may happen now, once. Only [`Approved::confirm`] makes one, and [`Permit::run`] consumes it.
///
/// ```compile_fail
/// fn twice(permit: counterfoil_gate::Permit) {
///     permit.run(|_, _| ());
///     permit.run(|_, _| ());
/// }
/// ```
///
/// ```compile_fail
/// fn forge(permit: counterfoil_gate::Permit, action: counterfoil_receipt::Action) -> counterfoil_gate::Permit {
///     counterfoil_gate::Permit { action, ..permit }
/// }
/// ```
#[derive(Debug)]
#[must_use = "an execution was logged: run its effect, or record that it did not run"]
pub struct Permit {
    attempt: Attempt,
    action: Action,
}

impl Approved {
    pub(crate) fn new(
        request: &Request,
        log: RecordId,
        parents: Vec<RecordId>,
        require: Vec<Dimension>,
        execution: Execution,
        now: Millis,
    ) -> Self {
        let runtime = request.runtime.clone();
        Self { log, run: request.run, parents, runtime, require, execution: Box::new(execution), now }
    }

    /// The execution record, to be signed with the runtime's key and logged before anything happens.
    pub fn execution(&self) -> Draft {
        Draft {
            place: Place::Run { log: self.log, run: self.run, parents: self.parents.clone() },
            time: self.now,
            principal: self.runtime.principal.clone(),
            role: self.runtime.role,
            body: Body::Execution(self.execution.clone()),
        }
    }

    /// Whether what confirms it has to show this.
    pub(crate) fn demands(&self, dimension: Dimension) -> bool {
        self.require.contains(&dimension)
    }

    /// The decisions that the execution stands on.
    pub fn decisions(&self) -> &[RecordId] {
        &self.execution.decisions
    }

    /// Asks evidence from after the execution was logged whether `id`, the record that was signed of
    /// [`Approved::execution`], holds its use. `now` is the runtime's own time.
    ///
    /// # Errors
    /// [`Refusal`]: the effect must not happen.
    pub fn confirm(self, id: RecordId, evidence: &Verdict, now: Millis) -> Result<Permit, Refusal> {
        Known::shown(evidence).suffices(self.run, &self.require)?;
        let absent = |what: &str| Refusal::new("execution-not-shown", format!("{id} {what}"));
        let run = evidence.state().run(&self.run).ok_or_else(|| absent("is of a run that is not shown"))?;
        let logged = run.execution(&id).ok_or_else(|| absent("is not shown to be in the log"))?;
        let Execution { proposal: proposal_id, use_number, action, retries, .. } = *self.execution;
        if (logged.proposal, logged.use_number, logged.retries, &logged.runtime, logged.time)
            != (proposal_id, use_number.get(), retries, &self.runtime.principal, self.now.get())
        {
            return Err(absent("is another execution than the one that was approved"));
        }
        let proposal =
            run.proposal(&proposal_id).ok_or_else(|| absent("executes a proposal that is not shown"))?;
        match proposal.uses.get(&use_number.get()) {
            Some(holder) if *holder == id => {}
            holder => {
                let detail = format!("use {use_number} of {proposal_id} is held by {holder:?}, not by {id}");
                return Err(Refusal::new(Rule::UseConsumed.code(), detail));
            }
        }
        // Another process with this key may have given it up already, and may have it tried again.
        if let Some((by, status, _)) = logged.settlement.or(logged.outcome) {
            let detail = format!("{id} is {status} already, by {by}");
            return Err(Refusal::new(Rule::OutcomeSettled.code(), detail));
        }
        if let Some((at, end)) = proposal.ended.filter(|(at, _)| *at < logged.index) {
            let detail =
                format!("{proposal_id} ended at entry {at}, before {id} at entry {}: {end:?}", logged.index);
            return Err(Refusal::new(Rule::ProposalEnded.code(), detail));
        }
        let is_inside =
            |time: u64| logged.windows.iter().all(|(from, until)| (*from..=*until).contains(&time));
        // What the policy allows without decisions has no window, unless a delegation gives it one.
        let has_window = |id: &RecordId| run.decision(id).is_some_and(|decision| decision.window.is_some());
        let is_complete = self.execution.decisions.iter().all(has_window);
        if !is_complete || !is_inside(now.get()) || !logged.log_time.is_some_and(is_inside) {
            let detail =
                format!("time {now} or log time {:?} lies outside the approved window", logged.log_time);
            return Err(Refusal::new(Rule::WindowClosed.code(), detail));
        }
        let attempt = Attempt { execution: id, idempotency_key: logged.first };
        Ok(Permit { attempt, action })
    }
}

impl Permit {
    /// Lets the effect happen. It is given the approved action, and what it is to be known by.
    pub fn run<T>(self, effect: impl FnOnce(&Action, &Attempt) -> T) -> T {
        effect(&self.action, &self.attempt)
    }
}
