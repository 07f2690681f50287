//! The driver: evidence, execution, evidence, effect, outcome, in this order and no other.

use std::{
    collections::BTreeSet,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use counterfoil_client::{ClientError, Clock, seal};
use counterfoil_receipt::{
    Action, Author, Body, Draft, DraftError, Place, PolicyDigest, Principal, RecordId, Role, RunId, Signer,
    UnverifiedRecord,
    body::{self, Outcome, Status},
    field::{Millis, Whole},
    text::{Label, Text},
};
use counterfoil_verify::{Answer, Dimension, Rule, Verdict};
use thiserror::Error;

use crate::{
    approved::Approved,
    behind::Behind,
    decide::{Refusal, Request, Ruling, decide, heads, rule},
    effect::{self, Done, Effect},
    known::{Begun, Known, shown_basis},
    log::{Log, LogError, Submitted},
    open::{OpenExecutions, SignedOutcome},
    pin::PolicyPin,
    refusals::{Due, Kind, Refusals},
    settle::Doubt,
    stops::Stops,
};

/// For how long what the log showed is taken for what it is still like, where it is asked again before anything happens.
const STILL: Duration = Duration::from_secs(5);

/// How long witnesses are waited for where a quorum of them is demanded, before the execution is logged and after it.
const WITNESSES: Duration = Duration::from_secs(20);
/// How often it is asked whether they have cosigned.
const WITNESS_PAUSE: Duration = Duration::from_millis(250);

/// How a gate is set up.
pub struct Config {
    /// Where it notes what it has begun; gates of the same runtime may share it.
    pub dir: PathBuf,
    /// The runtime's key.
    pub signer: Box<dyn Signer + Send + Sync>,
    /// Whose key it is.
    pub runtime: Principal,
    /// The clock.
    pub clock: Box<dyn Clock>,
    /// How long an outcome is submitted again before it is left to [`Gate::settle_open`].
    pub outcome_patience: Duration,
    /// How long equal refusals are counted into one record.
    pub refusal_pause: Duration,
}

/// The gate of one runtime, in front of one log.
pub struct Gate<L> {
    pub(crate) log: L,
    pub(crate) open: OpenExecutions,
    pub(crate) behind: Behind,
    pub(crate) settled: AtomicBool,
    /// What was found begun, and has no known end.
    pub(crate) doubts: Mutex<Vec<Doubt>>,
    pub(crate) runtime: Author,
    /// Executions that this process has begun and not ended.
    pub(crate) running: Mutex<BTreeSet<RecordId>>,
    stops: Stops,
    signer: Box<dyn Signer + Send + Sync>,
    clock: Box<dyn Clock>,
    outcome_patience: Duration,
    refusals: Refusals,
    pin: Option<PolicyPin>,
    /// What the log showed last, and when.
    shown: Mutex<Option<(Instant, Arc<Verdict>)>>,
}

/// How a request ended.
#[derive(Debug)]
pub enum Ended {
    /// The effect ran.
    Ran(Ran),
    /// The execution was logged, and then was not to be run. No effect happened.
    NotRun {
        /// The execution.
        execution: RecordId,
        /// Why not.
        refusal: Refusal,
        /// The record that says so; `None` if it could not be logged yet.
        outcome: Option<RecordId>,
    },
    /// Not yet; nothing was logged.
    Held(String),
    /// No.
    Refused {
        /// Why.
        refusal: Refusal,
        /// The record that says so; `None` if an equal one stands, or it could not be logged.
        record: Option<RecordId>,
    },
}

/// An effect that ran.
#[derive(Debug)]
pub struct Ran {
    /// The execution.
    pub execution: RecordId,
    /// What became of it.
    pub done: Done,
    /// The outcome's record; `None` if it could neither be logged nor noted: [`Gate::settle_open`] will.
    pub outcome: Option<RecordId>,
}

/// Why the gate did nothing, or can't say what it did.
#[derive(Debug, Error)]
pub enum GateError {
    /// [`Gate::settle_open`] was not called, or failed.
    #[error("not-settled: executions of an earlier process may be open; settle them first")]
    NotSettled,
    /// The proposal is not logged, or it is not known whether it is. Nothing ran.
    #[error("not-proposed: {0}; nothing was run")]
    NotProposed(LogError),
    /// No evidence. No execution was logged, and nothing ran.
    #[error("no-evidence: {0}; nothing was run")]
    NoEvidence(LogError),
    /// The execution may have been logged; its effect did not run, and will not.
    #[error("unconfirmed: execution {execution} may be logged, and was not run: {why}")]
    Unconfirmed {
        /// The execution.
        execution: RecordId,
        /// What went wrong.
        why: String,
    },
    /// What is open can't be noted or read. Nothing ran.
    #[error("open-executions: {0}")]
    Open(#[from] io::Error),
    /// A record could not be signed. Nothing ran.
    #[error("sign: {0}")]
    Sign(#[from] DraftError),
    /// The clock can't be read. Nothing ran.
    #[error("{0}")]
    Clock(ClientError),
    /// The system has no randomness to give. Nothing ran.
    #[error("random: {0}")]
    Random(String),
}

impl<L: Log> Gate<L> {
    /// Sets up a gate. Call [`Gate::settle_open`] before anything else.
    ///
    /// # Errors
    /// [`GateError::Open`] if the directory can't be used, or too many processes use it.
    pub fn new(log: L, config: Config) -> Result<Self, GateError> {
        let runtime = Author { key: config.signer.key(), principal: config.runtime, role: Role::Runtime };
        Ok(Self {
            log,
            open: OpenExecutions::open(&config.dir)?,
            behind: Behind::default(),
            stops: Stops::of(&config.dir)?,
            signer: config.signer,
            runtime,
            clock: config.clock,
            outcome_patience: config.outcome_patience,
            refusals: Refusals::new(config.dir.join("refusals"), config.refusal_pause)?,
            settled: AtomicBool::new(false),
            doubts: Mutex::default(),
            running: Mutex::default(),
            pin: None,
            shown: Mutex::default(),
        })
    }

    /// The same gate, which refuses everything while another policy than this one is in force.
    #[must_use]
    pub fn holding_to(self, pin: Option<PolicyPin>) -> Self {
        Self { pin, ..self }
    }

    /// Why nothing passes while this policy is in force, if the gate holds to another.
    pub fn policy_differs(&self, in_force: Option<PolicyDigest>) -> Option<Refusal> {
        self.pin.as_ref()?.differs_from(in_force)
    }

    /// The log.
    pub const fn log(&self) -> &L {
        &self.log
    }

    /// Who executes.
    pub const fn runtime(&self) -> &Principal {
        &self.runtime.principal
    }

    /// Keeps a signed reject, cancel or revocation, with what it needs to be one, and heeds it from now on, whether the log has it or not; so
    /// do all gates that share the directory.
    ///
    /// # Errors
    /// [`GateError::Open`] if it can't be kept.
    pub fn heed(&self, record: &UnverifiedRecord) -> Result<(), GateError> {
        Ok(self.stops.keep(record)?)
    }

    /// Runs `effect` if exactly `action` was approved for this runtime, once, and records it before and after.
    ///
    /// # Errors
    /// [`GateError`]; the effect did not run.
    pub fn run(
        &self,
        run: RunId,
        proposal: RecordId,
        action: &Action,
        effect: &mut dyn Effect,
    ) -> Result<Ended, GateError> {
        self.attempt(run, proposal, action, effect, &Way::default()).map(|(ended, _)| ended)
    }

    /// As [`Gate::run`], for whoever has the result of the effect wait for as little as may be: a run that is to begin is decided on what the
    /// log showed a moment ago, and begins with its execution if that lets it pass; nothing happens before it is shown anew; and an outcome
    /// that is known is logged by [`Gate::log_outcomes`], which is to be called soon.
    ///
    /// # Errors
    /// [`GateError`]; the effect did not run.
    pub fn run_soon(
        &self,
        run: RunId,
        proposal: RecordId,
        action: &Action,
        effect: &mut dyn Effect,
        begun: Option<&Begun>,
    ) -> Result<Ended, GateError> {
        let way = Way { begun, is_logged_behind: true, ..Way::default() };
        self.attempt(run, proposal, action, effect, &way).map(|(ended, _)| ended)
    }

    /// As [`Gate::run`], without waiting for people where the policy lets that be for a reason: the execution says so, and what was done is
    /// theirs to review ([`counterfoil_verify::State::review`]).
    ///
    /// # Errors
    /// [`GateError`]; the effect did not run.
    pub fn break_glass(
        &self,
        run: RunId,
        proposal: RecordId,
        action: &Action,
        effect: &mut dyn Effect,
        reason: Text,
    ) -> Result<Ended, GateError> {
        let way = Way { break_glass: Some(reason), ..Way::default() };
        self.attempt(run, proposal, action, effect, &way).map(|(ended, _)| ended)
    }

    /// As [`Gate::run`], and while a decision is outstanding waits for it, `patience` at the most.
    ///
    /// # Errors
    /// [`GateError`]; the effect did not run.
    pub fn run_when_approved(
        &self,
        run: RunId,
        proposal: RecordId,
        action: &Action,
        effect: &mut dyn Effect,
        patience: Duration,
    ) -> Result<Ended, GateError> {
        self.wait_and_attempt((run, proposal, action), effect, &Way::default(), patience)
    }

    /// One request, again whenever something was decided, for as long as there is patience.
    pub(crate) fn wait_and_attempt(
        &self,
        (run, proposal, action): (RunId, RecordId, &Action),
        effect: &mut dyn Effect,
        way: &Way<'_>,
        patience: Duration,
    ) -> Result<Ended, GateError> {
        let started = Instant::now();
        loop {
            let (ended, records) = self.attempt(run, proposal, action, effect, way)?;
            let left = patience.saturating_sub(started.elapsed());
            if left.is_zero() || !matches!(ended, Ended::Held(_)) {
                return Ok(ended);
            }
            self.log.wait(run, records, left).map_err(GateError::NoEvidence)?;
        }
    }

    /// One request on one state of the log; also says how many records the run had then.
    pub(crate) fn attempt(
        &self,
        run: RunId,
        proposal: RecordId,
        action: &Action,
        effect: &mut dyn Effect,
        way: &Way<'_>,
    ) -> Result<(Ended, u64), GateError> {
        if !self.settled.load(Ordering::Acquire) {
            return Err(GateError::NotSettled);
        }
        let require = self.log.require().to_vec();
        let nonce = counterfoil_keys::random_nonce().map_err(|why| GateError::Random(why.to_string()))?;
        let request = Request {
            run,
            proposal,
            action: action.clone(),
            runtime: self.runtime.clone(),
            nonce,
            is_idempotent: effect.is_idempotent(),
            may_repeat: way.may_repeat,
            break_glass: way.break_glass.clone(),
            stops: self.stops.read()?,
            require,
        };
        if let Some(begun) = way.begun
            && let Some(ended) = self.begin(&request, begun, way, effect)?
        {
            return Ok((ended, 0));
        }
        let mut evidence = self.evidence(run)?;
        if demands_witnesses(&request, &evidence) && !is_witnessed(&evidence) {
            evidence = self.witnessed(run, &evidence)?;
        }
        let records = evidence.state().run(&run).map_or(0, |run| run.count());
        let refused = |refusal: Refusal| {
            let record = self.record_refusal(&request, &evidence, &refusal);
            Ended::Refused { refusal, record }
        };
        let in_force = evidence.state().policy_in_force().map(|(digest, _)| digest);
        if let Some(refusal) = self.policy_differs(in_force) {
            return Ok((refused(refusal), records));
        }
        // An execution names the policy that was in force here, and the log admits it under no other.
        let approved = match decide(&request, &evidence, self.now()?) {
            Ruling::Hold(why) => return Ok((Ended::Held(why), records)),
            Ruling::Refuse(refusal) => return Ok((refused(refusal), records)),
            Ruling::Execute(approved) => approved,
        };
        if let Err(refusal) = effect::check(effect, action) {
            return Ok((refused(refusal), records));
        }
        let ended = self.execute(&request, &Known::shown(&evidence), approved, way, effect)?;
        Ok((ended.unwrap_or_else(refused), records))
    }

    /// Has a run begin: with its execution, if what the log showed a moment ago lets the action pass. If not, or if the log does not admit the
    /// execution, the proposal is in the log and `None` says that it has to be looked at there.
    fn begin(
        &self,
        request: &Request,
        begun: &Begun,
        way: &Way<'_>,
        effect: &mut dyn Effect,
    ) -> Result<Option<Ended>, GateError> {
        let shown = self.shown_lately()?;
        let known = shown.as_ref().and_then(|shown| Known::with(shown, begun));
        if let Some(known) = known
            // What was signed against it is judged on all that is known now.
            && request.stops.is_empty()
            && self.policy_differs(known.state.policy_in_force().map(|(digest, _)| digest)).is_none()
            && let Ruling::Execute(approved) = rule(request, &known, self.now()?)
            && effect::check(effect, &request.action).is_ok()
        {
            return Ok(self.execute(request, &known, approved, way, effect)?.ok());
        }
        match first_fault(self.log.submit_all(&begun.lines())) {
            None => Ok(None),
            Some((_, error)) => Err(GateError::NotProposed(error)),
        }
    }

    /// What the log showed a moment ago, or of the same run now; nothing if it was never asked.
    fn shown_lately(&self) -> Result<Option<Arc<Verdict>>, GateError> {
        let Some((when, shown)) = lock(&self.shown).clone() else { return Ok(None) };
        let Some(run) = shown.run_id().filter(|_| when.elapsed() >= STILL) else { return Ok(Some(shown)) };
        self.evidence(run).map(Some)
    }

    /// Records that an action was refused before anybody proposed it, in a run that is there. `None` if an equal refusal stands.
    ///
    /// # Errors
    /// [`GateError::NoEvidence`] if nothing is known of the run.
    pub fn refuse(
        &self,
        run: RunId,
        action: &Action,
        refusal: &Refusal,
    ) -> Result<Option<RecordId>, GateError> {
        let kind = Kind { run, proposal: None, action: action.digest(), code: refusal.code.clone() };
        let now = self.now()?.get();
        let Some(count) = self.refusals.count(&kind, now) else { return Ok(None) };
        let detail = &refusal.detail;
        let record = self.evidence(run).map(|evidence| {
            self.submit_refusal(&evidence, &kind, Some(action.clone()), Some(detail.clone()), count)
        });
        if !matches!(record, Ok(Ok(_) | Err(LogError::Rejected { .. }))) {
            self.refusals.put_back(&kind, (count, detail), now);
        }
        record.map(Result::ok)
    }

    /// Logs the refusals that were counted and have no record yet.
    pub fn flush_refusals(&self) {
        self.log_refusals(true);
    }

    /// Logs refusals that were counted: all, or those that waited long enough.
    pub(crate) fn log_refusals(&self, all: bool) {
        let Ok(now) = self.now() else { return };
        for Due { kind, count, detail } in self.refusals.due(now.get(), all) {
            let detail = detail.unwrap_or_else(|| format!("{count} more refusals like the one before"));
            let Ok(evidence) = self.evidence(kind.run) else { continue };
            match self.submit_refusal(&evidence, &kind, None, Some(detail), count) {
                // What the log will never take waits for nothing.
                Ok(_) | Err(LogError::Rejected { .. }) => self.refusals.logged(&kind, count),
                Err(LogError::NotSubmitted(_) | LogError::NoRun(_) | LogError::Unknown(_)) => {}
            }
        }
    }

    /// The write-ahead: nothing runs before the log is shown to hold the execution. What the log does not admit is refused.
    fn execute(
        &self,
        request: &Request,
        known: &Known<'_>,
        approved: Approved,
        way: &Way<'_>,
        effect: &mut dyn Effect,
    ) -> Result<Result<Ended, Refusal>, GateError> {
        let execution = approved.execution().sign(&*self.signer)?;
        let id = execution.id();
        let _running = Running::begin(&self.running, id);
        let mut lines = way.begun.map_or_else(Vec::new, Begun::lines);
        let before = lines.len();
        lines.push((&execution, &[]));
        self.open.begin(&execution)?;
        // The note is on disk before anything happens; while the log writes, so does the gate.
        let noting = self.open.sync();
        let Submitted { answers, shown } = self.log.submit_and_show(&lines, request.run, &*self.clock);
        let noted = noting.wait();
        let is_logged = answers.last().is_some_and(Result::is_ok);
        match first_fault(answers) {
            None => {}
            // What it stands on is not there, says the same log.
            Some((_, error)) if is_logged => return Err(self.unconfirmed(&execution, &error)),
            Some((_, error @ (LogError::Unknown(_) | LogError::NoRun(_)))) => {
                return Err(self.unconfirmed(&execution, &error));
            }
            Some((at, LogError::Rejected { code })) if at == before => {
                self.open.clear(id)?;
                return Ok(Err(Refusal::new(code, "the log does not admit the execution")));
            }
            Some((at, error)) => {
                self.open.clear(id)?;
                let is_proposed = at == before;
                return Err(if is_proposed {
                    GateError::NoEvidence(error)
                } else {
                    GateError::NotProposed(error)
                });
            }
        }
        noted.map_err(|error| self.unconfirmed(&execution, &error))?;
        let after = match shown {
            Some(shown) => self.remember(shown),
            None => self.evidence(request.run),
        };
        let after = match after {
            Ok(after) if approved.demands(Dimension::Witnessed) && !is_witnessed(&after) => {
                self.witnessed(request.run, &after)
            }
            after => after,
        };
        let after = after.map_err(|error| self.unconfirmed(&execution, &error))?;
        let now = self.now().map_err(|error| self.unconfirmed(&execution, &error))?;
        let stops = self.stops.read().map_err(|error| self.unconfirmed(&execution, &error))?;
        let stopped = stopped_since(request, stops, known, now);
        Ok(Ok(match stopped.map_or_else(|| approved.confirm(id, &after, now), Err) {
            Ok(permit) => {
                let done = permit.run(|action, attempt| effect::run(effect, action, attempt));
                let outcome = self.record_outcome(&execution, &done, way.is_logged_behind);
                Ended::Ran(Ran { execution: id, done, outcome })
            }
            Err(refusal) => {
                let done = Done::not_started(format!("not run: {refusal}"));
                let outcome = self.record_outcome(&execution, &done, way.is_logged_behind);
                Ended::NotRun { execution: id, refusal, outcome }
            }
        }))
    }

    /// Signs, notes and logs an outcome. What happens here can't undo the effect, so nothing here stops at an error that
    /// a later step may survive.
    fn record_outcome(
        &self,
        execution: &UnverifiedRecord,
        done: &Done,
        is_logged_behind: bool,
    ) -> Option<RecordId> {
        let outcome = self.sign_outcome(execution, done).ok()?;
        let id = outcome.record.id();
        // Without a note and without a logged outcome the execution stays open, and is settled as unknown.
        let noted = self.open.conclude(execution.id(), &outcome, !is_logged_behind);
        // What nobody knows may be tried again, once the log has that.
        let outcome = if is_logged_behind && noted.is_ok() && done.status != Status::Unknown {
            match self.behind.push(outcome) {
                None => return Some(id),
                Some(outcome) => outcome,
            }
        } else {
            outcome
        };
        // One that can't be made durable is logged all the same.
        let _ = self.open.sync().wait();
        self.submit_outcome(&outcome).ok()?;
        self.forget(&outcome);
        Some(id)
    }

    pub(crate) fn sign_outcome(
        &self,
        execution: &UnverifiedRecord,
        done: &Done,
    ) -> Result<SignedOutcome, GateError> {
        let sealed = done.result.clone().map(|result| seal(result.label, result.media_type, result.content));
        let (sealed, lost) = match sealed.transpose() {
            Ok(sealed) => (sealed, None),
            Err(error) => (None, Some(format!("the result is not kept: {error}"))),
        };
        let details = [done.detail.clone(), lost].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let body = Outcome {
            attestation: None,
            detail: text(&details),
            effects: done.effects,
            execution: execution.id(),
            result: sealed.as_ref().map(|sealed| sealed.item.clone()),
            status: done.status,
        };
        // An outcome's time decides nothing: a clock that fails now must not lose it.
        let time = self.clock.now().unwrap_or(execution.time());
        let record = self.sign_after(execution, time, body)?;
        Ok(SignedOutcome { record, payloads: sealed.into_iter().map(|sealed| sealed.opening).collect() })
    }

    /// Submits an outcome until the log has it, or patience ends.
    pub(crate) fn submit_outcome(&self, outcome: &SignedOutcome) -> Result<(), LogError> {
        let (started, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            match self.log.submit(&outcome.record, &outcome.payloads) {
                Ok(_) => return Ok(()),
                Err(error @ LogError::Rejected { .. }) => return Err(error),
                Err(error) if started.elapsed() + pause > self.outcome_patience => return Err(error),
                Err(_) => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// What is known of an execution that may be logged and will not run: that it did not. Noted for
    /// [`Gate::settle_open`]; without the note it will be settled as unknown.
    fn unconfirmed(&self, execution: &UnverifiedRecord, why: &dyn std::fmt::Display) -> GateError {
        if let Ok(outcome) = self.sign_outcome(execution, &Done::not_started(format!("not run: {why}"))) {
            let _ = self.open.conclude(execution.id(), &outcome, true);
        }
        GateError::Unconfirmed { execution: execution.id(), why: why.to_string() }
    }

    /// Logs a refusal, unless an equal one was logged just now. A refusal stands by itself; its record is a courtesy.
    fn record_refusal(&self, request: &Request, evidence: &Verdict, refusal: &Refusal) -> Option<RecordId> {
        let kind = Kind {
            run: request.run,
            proposal: Some(request.proposal),
            action: request.action.digest(),
            code: refusal.code.clone(),
        };
        let now = self.now().ok()?.get();
        let count = self.refusals.count(&kind, now)?;
        let (action, detail) = (Some(request.action.clone()), Some(refusal.detail.clone()));
        let record = self.submit_refusal(evidence, &kind, action, detail, count);
        // What the log takes from this runtime never, another one is not to say in its name.
        if !matches!(record, Ok(_) | Err(LogError::Rejected { .. })) {
            self.refusals.put_back(&kind, (count, &refusal.detail), now);
        }
        record.ok()
    }

    fn submit_refusal(
        &self,
        evidence: &Verdict,
        kind: &Kind,
        action: Option<Action>,
        detail: Option<String>,
        count: u64,
    ) -> Result<RecordId, LogError> {
        let unknown = |why: &str| LogError::Unknown(why.to_owned());
        let state = evidence.state();
        let is_shown = matches!(evidence.answer(Dimension::Inclusion), Answer::Pass(_));
        let run = state.run(&kind.run).filter(|_| is_shown).ok_or_else(|| unknown("the run is not shown"))?;
        let unfit = || LogError::Rejected { code: "refusal-unfit".to_owned() };
        let mut body = body::Refusal {
            action,
            basis: shown_basis(evidence),
            code: Label::new(kind.code.as_str()).ok_or_else(unfit)?,
            count: Whole::new(count).ok_or_else(unfit)?,
            decisions: None,
            detail: detail.and_then(|detail| text(&detail)),
            proposal: kind.proposal.filter(|proposal| run.proposal(proposal).is_some()),
            use_number: None,
        };
        let log = state.log().ok_or_else(|| unknown("the genesis is not shown"))?;
        let place = Place::Run { log, run: kind.run, parents: heads(run, state) };
        let time = self.clock.now().map_err(|fault| unknown(&fault.to_string()))?;
        let signed = self.sign(place.clone(), time, body.clone()).or_else(|_| {
            // An action that leaves no room for the rest is left out.
            body.action = None;
            self.sign(place, time, body)
        });
        let record = signed.map_err(|_| unfit())?;
        self.log.submit(&record, &[]).map(|_| record.id())
    }

    /// Signs a run record whose parent is `before`.
    fn sign_after(
        &self,
        before: &UnverifiedRecord,
        time: Millis,
        body: impl Into<Body>,
    ) -> Result<UnverifiedRecord, GateError> {
        let Place::Run { log, run, .. } = before.place() else {
            let why = format!("{} stands in no run", before.id());
            return Err(GateError::Open(io::Error::new(io::ErrorKind::InvalidData, why)));
        };
        Ok(self.sign(Place::Run { log: *log, run: *run, parents: vec![before.id()] }, time, body)?)
    }

    fn sign(
        &self,
        place: Place,
        time: Millis,
        body: impl Into<Body>,
    ) -> Result<UnverifiedRecord, DraftError> {
        let Author { principal, role, .. } = self.runtime.clone();
        Draft { place, time, principal, role, body: body.into() }.sign(&*self.signer)
    }

    /// Evidence that a quorum of witnesses has cosigned and that shows no older tree than this, once there is some; if they take too long,
    /// this. An answer that can't be had meanwhile is asked for again: what this waits for may have its execution logged already.
    fn witnessed(&self, run: RunId, shown: &Arc<Verdict>) -> Result<Arc<Verdict>, GateError> {
        let size = |evidence: &Verdict| evidence.checkpoints().last().map(|last| last.head.size);
        let started = Instant::now();
        while started.elapsed() < WITNESSES {
            if let Ok(evidence) = self.log.witnessed(run, self.now()?)
                && is_witnessed(&evidence)
                && size(&evidence) >= size(shown)
            {
                return Ok(Arc::new(evidence));
            }
            thread::sleep(WITNESS_PAUSE);
        }
        Ok(Arc::clone(shown))
    }

    fn evidence(&self, run: RunId) -> Result<Arc<Verdict>, GateError> {
        self.remember(self.log.evidence(run, self.now()?))
    }

    /// Remembers what the log shows now.
    fn remember(&self, evidence: Result<Verdict, LogError>) -> Result<Arc<Verdict>, GateError> {
        let evidence = Arc::new(evidence.map_err(GateError::NoEvidence)?);
        *lock(&self.shown) = Some((Instant::now(), Arc::clone(&evidence)));
        Ok(evidence)
    }

    pub(crate) fn now(&self) -> Result<Millis, GateError> {
        self.clock.now().map_err(GateError::Clock)
    }
}

/// How an effect is to happen.
#[derive(Default)]
pub(crate) struct Way<'w> {
    /// Why it can't wait for people.
    pub break_glass: Option<Text>,
    /// The run, if it was just begun.
    pub begun: Option<&'w Begun>,
    /// Whether the outcome may be logged later.
    pub is_logged_behind: bool,
    /// Whether it may be asked for a second time by somebody who heard of no end.
    pub may_repeat: bool,
}

/// An execution that this process works on, until this goes out of scope.
struct Running<'g> {
    all: &'g Mutex<BTreeSet<RecordId>>,
    id: RecordId,
}

impl<'g> Running<'g> {
    fn begin(all: &'g Mutex<BTreeSet<RecordId>>, id: RecordId) -> Self {
        lock(all).insert(id);
        Self { all, id }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(self.all).remove(&self.id);
    }
}

/// Whether the runtime's trust or the policy in force wants a quorum of witnesses behind this.
fn demands_witnesses(request: &Request, evidence: &Verdict) -> bool {
    let state = evidence.state();
    let proposal = state.run(&request.run).and_then(|run| run.proposal(&request.proposal));
    let by_policy = proposal.map(|proposal| state.demanded(proposal)).unwrap_or_default();
    request.require.iter().chain(&by_policy).any(|dimension| *dimension == Dimension::Witnessed)
}

fn is_witnessed(evidence: &Verdict) -> bool {
    matches!(evidence.answer(Dimension::Witnessed), Answer::Pass(_))
}

/// The first record that is not logged, and why; before all others one of which it is not known, then one that was not even submitted.
fn first_fault(answers: Vec<Result<u64, LogError>>) -> Option<(usize, LogError)> {
    let doubt = |error: &LogError| match error {
        LogError::Unknown(_) | LogError::NoRun(_) => 0,
        LogError::NotSubmitted(_) => 1,
        LogError::Rejected { .. } => 2,
    };
    let faults = answers.into_iter().enumerate().filter_map(|(at, answer)| Some((at, answer.err()?)));
    faults.min_by_key(|(at, error)| (doubt(error), *at))
}

/// What is behind a mutex; nothing here is left half done by a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a record that was handed to the gate since it decided says against that decision.
fn stopped_since(
    request: &Request,
    stops: Vec<UnverifiedRecord>,
    known: &Known<'_>,
    now: Millis,
) -> Option<Refusal> {
    let is_known = |stop: &UnverifiedRecord| request.stops.iter().any(|known| known.id() == stop.id());
    if stops.iter().all(is_known) {
        return None;
    }
    if known.is_ahead() {
        return Some(Refusal::new("stop-in-doubt", "a record against it was handed to this gate just now"));
    }
    match rule(&Request { stops, ..request.clone() }, known, now) {
        Ruling::Execute(_) => None,
        Ruling::Hold(why) => Some(Refusal::new(Rule::QuorumNotMet.code(), why)),
        Ruling::Refuse(refusal) => Some(refusal),
    }
}

/// A text for a record: as much as fits, `None` for nothing.
fn text(said: &str) -> Option<Text> {
    let most = counterfoil_receipt::limits::TEXT_BYTES;
    let end = (0..=said.len().min(most)).rev().find(|end| said.is_char_boundary(*end))?;
    Text::new(&said[..end])
}
