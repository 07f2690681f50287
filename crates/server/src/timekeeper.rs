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
};
use counterfoil_verify::{Run, Says, State};
use tokio::sync::Notify;

use crate::{
    app::App,
    limits,
    problem::{Kind, Problem},
    records::{Records, heads_of},
    submit::{Answer, Batch, now},
};

/// Which runs may have other timers than before, as the fold goes on. Where nobody keeps the time, none is noted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched(Option<Arc<(Mutex<Runs>, Notify)>>);

#[derive(Debug, Default)]
struct Runs {
    /// All of them: the policy changed.
    all: bool,
    some: HashSet<RunId>,
}

impl Touched {
    /// For a log whose time is kept.
    pub(crate) fn noting() -> Self {
        Self(Some(Arc::default()))
    }

    /// Notes a run.
    pub(crate) fn run(&self, run: RunId) {
        self.note(|runs| {
            runs.some.insert(run);
        });
    }

    /// Notes every run.
    pub(crate) fn all(&self) {
        self.note(|runs| runs.all = true);
    }

    fn note(&self, note: impl FnOnce(&mut Runs)) {
        if let Some(noted) = &self.0 {
            note(&mut noted.0.lock().unwrap_or_else(PoisonError::into_inner));
            noted.1.notify_one();
        }
    }

    fn take(&self) -> Runs {
        let runs = self.0.as_ref().map(|noted| noted.0.lock().unwrap_or_else(PoisonError::into_inner));
        runs.map(|mut runs| std::mem::take(&mut *runs)).unwrap_or_default()
    }

    /// Waits until something is noted.
    async fn noted(&self) {
        match &self.0 {
            Some(noted) => noted.1.notified().await,
            None => std::future::pending().await,
        }
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
    key: Arc<RecordKey>,
    touched: Touched,
    waiting: BTreeSet<Waiting>,
}

impl Timekeeper {
    /// For a log whose fold tells `touched` of every run.
    pub(crate) fn new(app: Arc<App>, key: Arc<RecordKey>, touched: Touched) -> Self {
        Self { app, key, touched, waiting: BTreeSet::new() }
    }

    /// Goes on until the server is told to stop, or the log fails.
    pub(crate) async fn run(mut self) {
        let mut closing = self.app.view.closing.clone();
        loop {
            let failed = self.look().await.is_err() | self.say_what_is_due().await.is_err();
            if failed && self.app.view.reader.failure().is_some() {
                // The server ends.
                return;
            }
            // Of what is due, the rest comes at once; a log that is busy is asked again in a moment. And the clock may be set
            // while this sleeps.
            let next = self.waiting.first().map_or(u64::MAX, |first| first.at.saturating_sub(now()));
            let sleep = if failed { limits::TIMER_SLEEP } else { Duration::from_millis(next) };
            tokio::select! {
                () = tokio::time::sleep(sleep.min(limits::TIMER_SLEEP)) => {}
                () = self.touched.noted(), if !failed => {}
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }

    /// Asks about the runs that were touched, a few at a time: the writer waits meanwhile.
    async fn look(&mut self) -> Result<(), Problem> {
        let Runs { all, some } = self.touched.take();
        let mut runs: Vec<RunId> = if all {
            let live = |records: &Records, _: &_| -> HashSet<RunId> {
                records.state().live_proposals(u64::MAX).map(|proposed| proposed.run).collect()
            };
            let found = self.app.inspect(live).await;
            found.inspect_err(|_| self.touched.all())?.into_iter().collect()
        } else {
            some.into_iter().collect()
        };
        while !runs.is_empty() {
            let asked: Vec<RunId> = runs.iter().take(limits::TIMER_RUNS).copied().collect();
            let among = asked.clone();
            let found = self.app.inspect(move |records, _| waiting(records.state(), &among)).await;
            let found = found.inspect_err(|_| runs.iter().for_each(|run| self.touched.run(*run)))?;
            runs.drain(..asked.len());
            let asked: HashSet<RunId> = asked.into_iter().collect();
            self.waiting.retain(|waiting| !asked.contains(&waiting.run));
            self.waiting.extend(found);
        }
        Ok(())
    }

    /// Says what is due, many timers in one batch, and goes on until nothing is.
    async fn say_what_is_due(&mut self) -> Result<(), Problem> {
        loop {
            let due: Vec<Waiting> = self.due_now().take(limits::TIMER_BATCH).cloned().collect();
            let Some(latest) = due.iter().map(|waiting| waiting.due).max() else { return Ok(()) };
            self.let_time_pass(latest).await?;
            let (asked, key) = (due.clone(), (self.key.principal().clone(), self.key.role()));
            let drafted = self.app.inspect(move |records, checkpoint| {
                let (head, time) = (checkpoint.head, Millis::new(now())?);
                let basis =
                    Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0)? };
                let draft = |asked: &Waiting| {
                    let (place, body) = due_of(records, basis.clone(), asked)?;
                    Some(Draft { place, time, principal: key.0.clone(), role: key.1, body })
                };
                // Where nothing is due: somebody decided meanwhile, or the clock was set back.
                let drafted = |asked: &Waiting| draft(asked).ok_or_else(|| asked.anew(records.state()));
                Some(asked.iter().map(drafted).collect::<Vec<_>>())
            });
            let wrong = || Kind::LogFailed.because("the clock is out of range");
            let drafted = drafted.await?.ok_or_else(wrong)?;
            due.iter().for_each(|waiting| {
                self.waiting.remove(waiting);
            });
            let mut said = Vec::new();
            for (waiting, drafted) in due.into_iter().zip(drafted) {
                match drafted.map(|draft| draft.sign(&*self.key)) {
                    Ok(Ok(record)) => said.push((waiting, record.bytes().to_vec())),
                    Ok(Err(_)) => self.try_later(waiting, limits::TIMER_RETRY),
                    Err(Some(left)) => self.try_later(left, limits::TIMER_SLEEP),
                    Err(None) => {}
                }
            }
            self.say(said).await?;
        }
    }

    /// Logs timers, and tries those again that were not taken: a key that is not enrolled yet may be later.
    async fn say(&mut self, said: Vec<(Waiting, Vec<u8>)>) -> Result<(), Problem> {
        let (said, records): (Vec<Waiting>, Vec<Vec<u8>>) = said.into_iter().unzip();
        if records.is_empty() {
            return Ok(());
        }
        let answers = Arc::clone(&self.app.submitter).submit(Batch::of_records(records)).await;
        // Whether it was logged or not, the run says what there is to do.
        let answers = answers.inspect_err(|_| said.iter().for_each(|one| self.touched.run(one.run)))?;
        for (waiting, answer) in said.into_iter().zip(answers) {
            match answer {
                // The run was touched, so what comes next is found.
                Answer::Included(_) => {}
                Answer::Rejected { .. } => self.try_later(waiting, limits::TIMER_RETRY),
            }
        }
        Ok(())
    }

    /// What is to be said by now, the earliest first, one timer of each proposal.
    fn due_now(&self) -> impl Iterator<Item = &Waiting> {
        let now = now();
        self.waiting.iter().take_while(move |waiting| waiting.at <= now)
    }

    /// Lets a timer wait until it is due, and so much longer from now on at least.
    fn try_later(&mut self, waiting: Waiting, later: Duration) {
        let later = now().saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX));
        self.waiting.insert(Waiting { at: waiting.due.max(later), ..waiting });
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

impl Waiting {
    /// The next timer of a proposal.
    fn next(state: &State, run: &Run, proposal: RecordId) -> Option<Self> {
        let due = state.timers(run, &proposal).iter().filter_map(|timer| timer.due).min()?;
        Some(Self { at: due, due, run: run.id(), proposal })
    }

    /// The same as the state has it now.
    fn anew(&self, state: &State) -> Option<Self> {
        Self::next(state, state.run(&self.run)?, self.proposal)
    }
}

/// The next timer of each proposal of these runs.
fn waiting(state: &State, runs: &[RunId]) -> Vec<Waiting> {
    let runs = runs.iter().filter_map(|run| state.run(run));
    let proposals = runs.flat_map(|run| run.proposals().into_iter().map(move |(id, _)| (run, id)));
    proposals.filter_map(|(run, id)| Waiting::next(state, run, id)).collect()
}

/// What is due of a proposal, as of the last snapshot, and where it belongs.
fn due_of(records: &Records, basis: Basis, asked: &Waiting) -> Option<(Place, Body)> {
    let state = records.state();
    let (run, log_time) = (state.run(&asked.run)?, state.log_time()?.get());
    let proposal = run.proposal(&asked.proposal)?;
    let mut timers = state.timers(run, &asked.proposal);
    timers.sort_by_key(|timer| timer.due);
    let timer = timers.into_iter().find(|timer| timer.due.is_some_and(|due| due <= log_time))?;
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
            // After a long stop it is due since long, and what it grants begins now.
            let from = timer.due?.max(now());
            let until = from.saturating_add(assessment.window()?);
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
                    Some(Window { from: Millis::new(from)?, until: Millis::new(until)? })
                } else {
                    None
                },
            }
            .into()
        }
    };
    Some((Place::Run { log: state.log()?, run: run.id(), parents: heads_of(state, run) }, body))
}
