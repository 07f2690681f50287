//! Says what the policy in force says when a time comes: that a rule's time is out, and who is asked next (`spec/policy.md`, *What
//! is signed in role `policy`*).
//!
//! Nothing of this is kept: which timers there are follows from the log, at start as at any time, and that one is said once is a
//! rule of admission. Whoever is killed between two steps goes on where the log stands.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use counterfoil_keys::RecordKey;
use counterfoil_log::AddError;
use counterfoil_receipt::{
    Draft, Place, RecordId, Root, RunId,
    body::{Basis, Body, Decision, Escalation, Ruling, Surface, Window},
    field::{Count, List, Millis, Whole},
    limits::PARENTS,
};
use counterfoil_verify::{Run, Says, State};
use tokio::sync::Notify;

use crate::{
    app::App,
    limits,
    problem::Problem,
    records::Records,
    submit::{Answer, Batch, now},
};

/// Which runs may have other timers than before, as the fold goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(Arc<(Mutex<Runs>, Notify)>);

#[derive(Debug, Default)]
struct Runs {
    /// All of them: the policy changed.
    all: bool,
    some: HashSet<RunId>,
}

impl Touched {
    /// Notes a run.
    pub(crate) fn run(&self, run: RunId) {
        self.lock().some.insert(run);
        self.0.1.notify_one();
    }

    /// Notes every run.
    pub(crate) fn all(&self) {
        self.lock().all = true;
        self.0.1.notify_one();
    }

    fn take(&self) -> Runs {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Runs> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer that is not due yet, or that could not be said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// When to say it, in milliseconds: when it is due, or later where it was not taken.
    at: u64,
    due: u64,
    run: RunId,
    proposal: RecordId,
}

/// Keeps the time of one log.
pub(crate) struct Timekeeper {
    app: Arc<App>,
    key: RecordKey,
    touched: Touched,
    waiting: BTreeSet<Waiting>,
}

impl Timekeeper {
    /// For a log whose fold tells `touched` of every run.
    pub(crate) fn new(app: Arc<App>, key: RecordKey, touched: Touched) -> Self {
        Self { app, key, touched, waiting: BTreeSet::new() }
    }

    /// Goes on until the server is told to stop, or the log fails.
    pub(crate) async fn run(mut self) {
        let mut closing = self.app.view.closing.clone();
        loop {
            if self.look().await.is_err() || self.say_what_is_due().await.is_err() {
                // A log that is busy is asked again; one that failed ends the server.
                if self.app.view.reader.failure().is_some() {
                    return;
                }
                tokio::time::sleep(limits::TIMER_RETRY).await;
            }
            let next = self.waiting.first().map_or(u64::MAX, |first| first.at.saturating_sub(now()));
            // The clock may be set while this sleeps.
            let sleep = Duration::from_millis(next).min(limits::TIMER_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(sleep) => {}
                () = self.touched.0.1.notified() => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }

    /// Asks about the runs that were touched, a few at a time: the writer waits meanwhile.
    async fn look(&mut self) -> Result<(), Problem> {
        let Runs { all, some } = self.touched.take();
        let runs: Vec<RunId> = if all {
            let found = self.app.inspect(|records, _| records.state().open_runs()).await;
            found.inspect_err(|_| self.touched.all())?
        } else {
            some.into_iter().collect()
        };
        for some in runs.chunks(limits::TIMER_RUNS) {
            let asked = some.to_vec();
            let found = self.app.inspect(move |records, _| waiting(records.state(), &asked)).await;
            let found = found.inspect_err(|_| runs.iter().for_each(|run| self.touched.run(*run)))?;
            let asked: HashSet<&RunId> = some.iter().collect();
            self.waiting.retain(|waiting| !asked.contains(&waiting.run));
            self.waiting.extend(found);
        }
        Ok(())
    }

    async fn say_what_is_due(&mut self) -> Result<(), Problem> {
        while let Some(first) = self.waiting.first().filter(|first| first.at <= now()).cloned() {
            self.let_time_pass(first.due).await?;
            let (asked, key) = (first.clone(), (self.key.principal().clone(), self.key.role()));
            let drafted = self.app.inspect(move |records, checkpoint| {
                let head = checkpoint.head;
                let basis =
                    Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0)? };
                let (place, body) = due(records, basis, &asked)?;
                let time = Millis::new(now())?;
                Some(Draft { place, time, principal: key.0, role: key.1, body })
            });
            let signed = drafted.await?.and_then(|draft| draft.sign(&self.key).ok());
            let Some(record) = signed else {
                // Somebody decided meanwhile; what else there is, the run being touched, is found.
                self.waiting.remove(&first);
                continue;
            };
            let batch = Batch::of_record(record.bytes().to_vec());
            let answers = Arc::clone(&self.app.submitter).submit(batch).await?;
            self.waiting.remove(&first);
            match answers.first() {
                // The run was touched, so what comes next is found.
                Some(Answer::Included(_)) => {}
                // It is tried again: a key that is not enrolled yet may be later.
                Some(Answer::Rejected { .. }) | None => {
                    let at = now().saturating_add(limits::TIMER_RETRY.as_millis() as u64);
                    self.waiting.insert(Waiting { at, ..first });
                }
            }
        }
        Ok(())
    }

    /// Brings log time to what is due, where nobody else does.
    async fn let_time_pass(&self, due: u64) -> Result<(), Problem> {
        let log_time = self.app.inspect(|records, _| records.state().log_time()).await?;
        if log_time.is_some_and(|time| time.get() >= due) {
            return Ok(());
        }
        let handle = self.app.submitter.handle.clone();
        let sealed = tokio::task::spawn_blocking(move || handle.seal()).await;
        sealed.unwrap_or(Err(AddError::Closed)).map_err(Problem::from)
    }
}

/// The next timer of each proposal of these runs.
fn waiting(state: &State, runs: &[RunId]) -> Vec<Waiting> {
    let runs = runs.iter().filter_map(|run| state.run(run));
    let proposals = runs.flat_map(|run| run.proposals().into_iter().map(move |(id, _)| (run, id)));
    let next = |(run, proposal): (&Run, RecordId)| {
        let due = state.timers(run, &proposal).iter().filter_map(|timer| timer.due).min()?;
        Some(Waiting { at: due, due, run: run.id(), proposal })
    };
    proposals.filter_map(next).collect()
}

/// What is due of a proposal, as of the last snapshot, and where it belongs.
fn due(records: &Records, basis: Basis, asked: &Waiting) -> Option<(Place, Body)> {
    let state = records.state();
    let (run, now) = (state.run(&asked.run)?, state.log_time()?.get());
    let proposal = run.proposal(&asked.proposal)?;
    let mut timers = state.timers(run, &asked.proposal);
    timers.sort_by_key(|timer| timer.due);
    let timer = timers.into_iter().find(|timer| timer.due.is_some_and(|due| due <= now))?;
    let (policy, _) = state.policy_in_force()?;
    let assessment = state.assess(proposal)?;
    let body: Body = match timer.says {
        Says::Escalate { step, to } => Escalation {
            policy,
            proposal: asked.proposal,
            reason: None,
            rule: timer.rule,
            step: Whole::new(step)?,
            to: List(to),
        }
        .into(),
        Says::TimeOut(verdict) => {
            let approves = verdict == Ruling::Approve;
            let until = now.saturating_add(assessment.window()?);
            Decision {
                action: proposal.digest,
                approver: None,
                basis,
                changes: None,
                policy,
                proposal: asked.proposal,
                reason: None,
                rule: Some(timer.rule),
                shown: None,
                surface: Surface::None,
                uses: approves.then(|| Whole::new(assessment.uses())).flatten(),
                verdict,
                window: if approves {
                    Some(Window { from: Millis::new(now)?, until: Millis::new(until)? })
                } else {
                    None
                },
            }
            .into()
        }
    };
    let mut parents: Vec<RecordId> = run.heads().iter().copied().collect();
    parents.sort_by_key(|head| std::cmp::Reverse(state.index_of(head)));
    parents.truncate(PARENTS);
    parents.sort_unstable();
    Some((Place::Run { log: state.log()?, run: run.id(), parents }, body))
}
