//! Asking and doing in one: an agent's key proposes, the runtime's gate executes once that may be.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use counterfoil_client::{ApprovalQuery, ClientError, Clock, Included, PinnedClient, Session, SubmitError};
use counterfoil_receipt::{
    Action, ActionDigest, Body, Commitment, Opening, Place, Principal, RecordId, Role, RunId, Signer,
    UnverifiedRecord,
    action::Mode,
    body::{Audience, Event, Holder, Proposal, Risk, Status, Trigger},
    bundle::PayloadLine,
    text::{Label, Pointer, Text},
};
use counterfoil_verify::{ProposalStatus, Rule};
use thiserror::Error;

use crate::{
    decide::OUTCOME_UNKNOWN,
    driver::{Ended, Gate, GateError, Way, lock},
    earlier::{Commits, Earlier, Standing, Stands},
    effect::Effect,
    known::Begun,
    log::{Log as _, LogError},
};

/// Pages of the log's list on which proposals that wait are looked for.
const WAITING_PAGES: usize = 10;
/// Pages on which those are looked for that may have happened: beyond them, nothing is done of which that is not known.
const DOUBTS_PAGES: usize = 16_384;

/// An agent's key beside the gate of a runtime.
///
/// ```no_run
/// use std::time::Duration;
/// use counterfoil_gate::{Ask, Desk, Ended, Function};
/// # use counterfoil_gate::AskError;
/// # fn example(desk: Desk, action: counterfoil_receipt::Action, risk: counterfoil_receipt::body::Risk) -> Result<(), AskError> {
/// #[derive(serde::Deserialize)]
/// struct Refund { order: String, cents: u64 }
///
/// // What is given to the function is what was approved, whatever the caller holds.
/// let mut refund = Function::new(|refund: Refund| pay_back(&refund.order, refund.cents));
/// let ask = Ask::new("shop", "order-17/refund", action, risk)?;
/// let (asked, ended) = desk.perform(&ask, &mut refund, Duration::from_secs(600))?;
/// match ended {
///     Ended::Ran(ran) => println!("{}: {:?}", ran.execution, refund.returned()),
///     Ended::Held(why) => println!("{} waits: {why}", asked.proposal),
///     other => println!("not done: {other:?}"),
/// }
/// # Ok(())
/// # }
/// # fn pay_back(_: &str, _: u64) -> Result<(), String> { Ok(()) }
/// ```
pub struct Desk {
    /// What lets actions pass.
    pub gate: Gate<PinnedClient>,
    agent: Box<dyn Signer + Send + Sync>,
    principal: Principal,
    clock: Box<dyn Clock + Send + Sync>,
    earlier: Mutex<Earlier>,
}

/// What is asked for, and why.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What started it: source and id together name one event.
    pub event: Event,
    /// The action.
    pub action: Action,
    /// What opens the action's commitments.
    pub openings: Vec<Opening>,
    /// How bad it could get.
    pub risk: Risk,
    /// For those who decide.
    pub summary: Option<Text>,
    /// Whether doing it changes nothing, so that it may be asked for anew where nobody knows what became of it.
    pub changes_nothing: bool,
}

/// A proposal.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its run.
    pub run: RunId,
    /// Its id.
    pub proposal: RecordId,
    /// Its action.
    pub action: Action,
    /// Whether it stood before it was asked for.
    pub earlier: bool,
    /// Whether it was begun by then, and nobody knew how it ended.
    pub in_doubt: bool,
    /// Whether doing it changes nothing.
    pub changes_nothing: bool,
    /// What is to be logged, if it was only signed so far.
    pub begun: Option<Begun>,
}

/// Why nothing was asked for, or done.
#[derive(Debug, Error)]
pub enum AskError {
    /// It is not proposed, or it is not known whether it is.
    #[error("{code}: {why}")]
    NotAsked {
        /// The stable code.
        code: String,
        /// For a person.
        why: String,
    },
    /// The gate did nothing.
    #[error(transparent)]
    Gate(#[from] GateError),
}

impl Ask {
    /// Something to do because of an event.
    ///
    /// # Errors
    /// [`AskError::NotAsked`] if source or id are no labels.
    pub fn new(source: &str, event: &str, action: Action, risk: Risk) -> Result<Self, AskError> {
        let event = Self::event(source, event)?;
        Ok(Self { event, action, openings: Vec::new(), risk, summary: None, changes_nothing: false })
    }

    /// An event, by where it came from and its id there.
    ///
    /// # Errors
    /// [`AskError::NotAsked`] if one of them is no label.
    pub fn event(source: &str, id: &str) -> Result<Event, AskError> {
        let label = |text: &str| {
            Label::new(text).ok_or_else(|| AskError::not_asked("event", format!("{text:?} is no label")))
        };
        Ok(Event { id: label(id)?, kind: None, source: label(source)? })
    }
}

impl Asked {
    /// A proposal that was just made.
    fn new(run: RunId, proposal: RecordId, ask: &Ask) -> Self {
        let (action, changes_nothing) = (ask.action.clone(), ask.changes_nothing);
        Self { run, proposal, action, earlier: false, in_doubt: false, changes_nothing, begun: None }
    }
}

impl Desk {
    /// A desk of an agent in front of a gate.
    pub fn new(
        gate: Gate<PinnedClient>,
        agent: Box<dyn Signer + Send + Sync>,
        principal: Principal,
        clock: Box<dyn Clock + Send + Sync>,
    ) -> Self {
        Self { gate, agent, principal, clock, earlier: Mutex::default() }
    }

    /// Whose the agent's key is.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Proposes, previews where the policy wants that and the effect can, waits for people at most `patience`, and has the effect happen.
    /// Each ask has a run of its own.
    ///
    /// # Errors
    /// [`AskError`]; the effect did not happen.
    pub fn perform(
        &self,
        ask: &Ask,
        effect: &mut dyn Effect,
        patience: Duration,
    ) -> Result<(Asked, Ended), AskError> {
        let asked = self.propose(ask)?;
        let began = Instant::now();
        let left = || patience.saturating_sub(began.elapsed());
        let ended = self.wait_and_run(&asked, effect, left())?;
        let is_missing =
            matches!(&ended, Ended::Refused { refusal, .. } if refusal.code == Rule::PreviewMissing.code());
        if !is_missing || !effect.previews() || asked.action.mode != Mode::Apply {
            return Ok((asked, ended));
        }
        let (preview, ended) = self.preview(ask, &asked, effect, left())?;
        let outcome = match &ended {
            Ended::Ran(ran) if ran.done.succeeded() => ran.outcome,
            _ => None,
        };
        let Some(outcome) = outcome else { return Ok((preview, ended)) };
        let revised =
            self.sign_proposal(asked.run, vec![outcome], ask, &asked.action, Some(asked.proposal))?;
        let asked = Asked { proposal: revised.id(), earlier: false, in_doubt: false, begun: None, ..asked };
        self.submit(&[revised], &ask.openings)?;
        let ended = self.wait_and_run(&asked, effect, left())?;
        Ok((asked, ended))
    }

    /// Has a proposal's effect happen if that may be now, as [`Gate::run_soon`] does: [`Gate::log_outcomes`] is to be called soon. Where it was
    /// begun before, and nobody knows how that ended, no further use is taken: it is only tried again, where the policy lets it.
    ///
    /// # Errors
    /// [`AskError`]: nothing ran.
    pub fn attempt(&self, asked: &Asked, effect: &mut dyn Effect) -> Result<Ended, AskError> {
        let way = Way { begun: asked.begun.as_ref(), is_logged_behind: true, ..Self::way(asked) };
        let ended = self.gate.attempt(asked.run, asked.proposal, &asked.action, effect, &way);
        let ended = ended.map(|(ended, _)| ended);
        self.keep_doubt(asked, ended.as_ref().ok());
        ended.map_err(|error| match error {
            GateError::NotProposed(LogError::Rejected { code }) => {
                AskError::not_asked(code, "the log does not admit the proposal")
            }
            GateError::NotProposed(error) => AskError::not_asked("not-proposed", error.to_string()),
            error => error.into(),
        })
    }

    fn way(asked: &Asked) -> Way<'static> {
        Way { may_repeat: asked.in_doubt, ..Way::default() }
    }

    /// What may have happened is not asked for anew; nor what was in doubt before, unless this shows what became of it.
    fn keep_doubt(&self, asked: &Asked, ended: Option<&Ended>) {
        let in_doubt = match ended {
            Some(Ended::Ran(ran)) => ran.done.status == Status::Unknown,
            Some(Ended::Refused { refusal, .. }) if refusal.code == OUTCOME_UNKNOWN => true,
            Some(Ended::Refused { refusal, .. }) if refusal.code == Rule::UseExceeded.code() => false,
            Some(Ended::Refused { .. } | Ended::NotRun { .. } | Ended::Held(_)) | None => asked.in_doubt,
        };
        if in_doubt && !asked.changes_nothing {
            self.leave(&Asked { in_doubt, ..asked.clone() });
        }
    }

    fn wait_and_run(
        &self,
        asked: &Asked,
        effect: &mut dyn Effect,
        patience: Duration,
    ) -> Result<Ended, GateError> {
        let what = (asked.run, asked.proposal, &asked.action);
        let ended = self.gate.wait_and_attempt(what, effect, &Self::way(asked), patience);
        self.keep_doubt(asked, ended.as_ref().ok());
        ended
    }

    /// Previews what is asked for, under a proposal of its own in the same run; how that ended.
    fn preview(
        &self,
        ask: &Ask,
        asked: &Asked,
        effect: &mut dyn Effect,
        patience: Duration,
    ) -> Result<(Asked, Ended), AskError> {
        let action = Action { mode: Mode::Preview, ..asked.action.clone() };
        let proposal = self.sign_proposal(asked.run, self.heads(asked.run)?, ask, &action, None)?;
        let (run, proposal_id) = (asked.run, proposal.id());
        let preview = Asked { action, ..Asked::new(run, proposal_id, ask) };
        self.submit(&[proposal], &ask.openings)?;
        let ended = self.wait_and_run(&preview, effect, patience)?;
        Ok((preview, ended))
    }

    /// Starts a run for what has no proposal, such as what is refused before it is asked for.
    ///
    /// # Errors
    /// [`AskError::NotAsked`].
    pub fn start(&self, event: Event) -> Result<RunId, AskError> {
        let trigger = self.sign_trigger(event)?;
        let run = RunId::started_by(trigger.id());
        self.submit(&[trigger], &[]).map(|_| run)
    }

    /// Looks for what this agent proposed before, of the tools that `tool` matches: what still waits, and what was begun and has no known
    /// end. What the log lists is a hint: what runs is verified as everything is.
    ///
    /// # Errors
    /// [`AskError::NotAsked`] if the log gives no answer.
    pub fn find_earlier(&self, tool: &str) -> Result<(), AskError> {
        let log = self.gate.log().hints().map_err(|fault| failed(&fault))?;
        let mut found = Earlier::default();
        for doubt in self.gate.in_doubt() {
            found.keep(doubt.action.digest(), Standing::of(&doubt.action, doubt.run, doubt.proposal, true));
        }
        for (status, in_doubt) in [
            (ProposalStatus::Unknown, true),
            (ProposalStatus::Executing, true),
            (ProposalStatus::Open, false),
            (ProposalStatus::Approved, false),
        ] {
            let mut before = None;
            for _ in 0..if in_doubt { DOUBTS_PAGES } else { WAITING_PAGES } {
                let query = ApprovalQuery {
                    status: Some(status),
                    principal: Some(self.principal.clone()),
                    tool: Some(tool.to_owned()),
                    before,
                    ..ApprovalQuery::default()
                };
                let page = log.approvals(&query).map_err(|fault| failed(&fault))?;
                for one in page.approvals.into_iter().filter(|one| one.proposer == self.principal) {
                    let (tool, commits) = (one.action.tool, Commits::NotKnown);
                    let standing = Standing { run: one.run, proposal: one.proposal, in_doubt, tool, commits };
                    found.keep(one.action.digest, standing);
                }
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            if in_doubt && before.is_some() {
                found.doubt_more();
            }
        }
        *lock(&self.earlier) = found;
        Ok(())
    }

    /// Proposes in a run of its own, unless the same stands: it waits, or it was begun, and nobody knows how that ended. That is then what
    /// is gone on with, and it is done again only as the policy lets it be tried again. What changes nothing is proposed anew.
    ///
    /// # Errors
    /// [`AskError::NotAsked`]; `outcomes-unknown` if too much was begun and has no known end to say of this that it was not.
    pub fn propose(&self, ask: &Ask) -> Result<Asked, AskError> {
        let mut asked = self.prepare(ask)?;
        if let Some(begun) = asked.begun.take() {
            let (records, openings) = begun.into_parts();
            self.submit(&records, &openings)?;
        }
        Ok(asked)
    }

    /// As [`Desk::propose`], without submitting what is proposed: [`Desk::attempt`] does.
    ///
    /// # Errors
    /// [`AskError::NotAsked`].
    pub fn prepare(&self, ask: &Ask) -> Result<Asked, AskError> {
        let action = self.as_it_stands(ask)?.unwrap_or_else(|| ask.action.clone());
        match lock(&self.earlier).take(&action.digest(), ask.changes_nothing) {
            Stands::This(Standing { run, proposal, in_doubt, .. }) => {
                return Ok(Asked { action, earlier: true, in_doubt, ..Asked::new(run, proposal, ask) });
            }
            Stands::NotKnown => {
                let why = "too many actions were begun of which nobody knows the end; settle them: `counterfoil approvals list --status unknown`";
                return Err(AskError::not_asked("outcomes-unknown", why));
            }
            Stands::Nothing => {}
        }
        let trigger = self.sign_trigger(ask.event.clone())?;
        let run = RunId::started_by(trigger.id());
        let proposal = self.sign_proposal(run, vec![trigger.id()], ask, &ask.action, None)?;
        let id = proposal.id();
        let begun = Some(Begun::new(trigger, proposal, ask.openings.clone()));
        Ok(Asked { begun, ..Asked::new(run, id, ask) })
    }

    /// The action under which something stands that commits to the same content: its salts are others each time, so the log is asked for
    /// what it shows of them.
    fn as_it_stands(&self, ask: &Ask) -> Result<Option<Action>, AskError> {
        if ask.openings.is_empty() {
            return Ok(None);
        }
        let standing = lock(&self.earlier).committed(&ask.action.tool);
        for (digest, one) in standing.into_iter().filter(|(_, one)| !(one.in_doubt && ask.changes_nothing)) {
            let Commits::To(committed) = self.commits_of(&digest, &one)? else { continue };
            let action = Action { committed: Some(committed.clone()), ..ask.action.clone() };
            if action.digest() != digest || committed.len() != ask.openings.len() {
                continue;
            }
            if self.opens_to(&committed, ask, one.in_doubt)? {
                return Ok(Some(action));
            }
        }
        Ok(None)
    }

    /// What the action of a proposal commits to, as its record shows.
    fn commits_of(&self, action: &ActionDigest, one: &Standing) -> Result<Commits, AskError> {
        if one.commits != Commits::NotKnown {
            return Ok(one.commits.clone());
        }
        let record = self.gate.log().hints().and_then(|log| log.record(one.proposal));
        let record = record.map_err(|fault| failed(&fault))?;
        let commits = match record.body() {
            Body::Proposal(body) if body.action.digest() == *action => Commits::of(&body.action),
            _ => {
                let why = format!("the log lists {} with another action than its own", one.proposal);
                return Err(AskError::not_asked("protocol", why));
            }
        };
        lock(&self.earlier).learn(action, &one.proposal, commits.clone());
        Ok(commits)
    }

    /// Whether commitments open to what is asked for. Where the log no longer shows what is in doubt, nothing can be said not to be that.
    fn opens_to(
        &self,
        committed: &[(Pointer, Commitment)],
        ask: &Ask,
        in_doubt: bool,
    ) -> Result<bool, AskError> {
        let log = self.gate.log().hints().map_err(|fault| failed(&fault))?;
        for (path, commitment) in committed {
            let Some(own) = ask.openings.iter().find(|own| own.label.as_str() == path.as_str()) else {
                return Ok(false);
            };
            match log.payload(*commitment) {
                Ok(theirs) if theirs.content == own.content => {}
                Ok(_) => return Ok(false),
                Err(ClientError::Refused(problem)) if problem.code == "payload-unknown" && !in_doubt => {
                    return Ok(false);
                }
                Err(ClientError::Refused(problem)) if problem.code == "payload-unknown" => {
                    let why = format!(
                        "a call of {} that differs in {path} at most was begun, nobody knows how it ended, and the log does not show {commitment}; settle it: `counterfoil approvals list --status unknown` finds it",
                        ask.action.tool
                    );
                    return Err(AskError::not_asked("outcomes-unknown", why));
                }
                Err(fault) => return Err(failed(&fault)),
            }
        }
        Ok(true)
    }

    /// Proposes in a run that the agent owns, after all that is in it; the log refuses what is another's. Nothing earlier is looked for.
    ///
    /// # Errors
    /// [`AskError::NotAsked`].
    pub fn propose_in(&self, run: RunId, ask: &Ask, supersedes: Option<RecordId>) -> Result<Asked, AskError> {
        let proposal = self.sign_proposal(run, self.heads(run)?, ask, &ask.action, supersedes)?;
        let id = proposal.id();
        self.submit(&[proposal], &ask.openings)?;
        Ok(Asked::new(run, id, ask))
    }

    /// Leaves a proposal to whoever proposes the same action next, as if [`Desk::find_earlier`] had found it.
    pub fn leave(&self, asked: &Asked) {
        let Asked { action, run, proposal, in_doubt, .. } = asked;
        lock(&self.earlier).keep(action.digest(), Standing::of(action, *run, *proposal, *in_doubt));
    }

    /// Leaves a proposal to nobody any more: it has ended.
    pub fn end(&self, asked: &Asked) {
        lock(&self.earlier).end(&asked.action.digest(), &asked.proposal);
    }

    fn sign_trigger(&self, event: Event) -> Result<UnverifiedRecord, AskError> {
        let trigger = Trigger {
            content: None,
            event,
            owner: Holder { key: self.agent.key(), principal: self.principal.clone() },
            summary: None,
        };
        let place = Place::Single { log: self.gate.log().trust().genesis() };
        self.session().sign(place, trigger).map_err(|fault| failed(&fault))
    }

    fn sign_proposal(
        &self,
        run: RunId,
        parents: Vec<RecordId>,
        ask: &Ask,
        action: &Action,
        supersedes: Option<RecordId>,
    ) -> Result<UnverifiedRecord, AskError> {
        let proposal = Proposal {
            action: action.clone(),
            audience: Audience::Principal(self.gate.runtime().clone()),
            cost: None,
            delegation: None,
            evidence: None,
            metadata: None,
            risk: ask.risk,
            summary: ask.summary.clone(),
            supersedes,
            tags: None,
        };
        let place = Place::Run { log: self.gate.log().trust().genesis(), run, parents };
        self.session().sign(place, proposal).map_err(|fault| failed(&fault))
    }

    fn submit(&self, records: &[UnverifiedRecord], openings: &[Opening]) -> Result<Vec<Included>, AskError> {
        let payloads: Vec<PayloadLine> =
            openings.iter().map(|opening| PayloadLine::disclosing(opening.clone(), None)).collect();
        let answers = self.gate.log().submit_batch(records, &payloads, &[]);
        answers
            .map_err(|fault| not_submitted(&fault))?
            .into_iter()
            .map(|answer| answer.map_err(|fault| not_submitted(&fault)))
            .collect()
    }

    fn heads(&self, run: RunId) -> Result<Vec<RecordId>, AskError> {
        let now = self.clock.now().map_err(|fault| failed(&fault))?;
        let evidence = self.gate.log().evidence(run, now);
        let evidence = evidence.map_err(|fault| AskError::not_asked("no-evidence", fault.to_string()))?;
        let state = evidence.state();
        let run =
            state.run(&run).ok_or_else(|| AskError::not_asked("run-not-shown", "its run is not shown"))?;
        Ok(crate::decide::heads(run, state))
    }

    fn session(&self) -> Session<'_> {
        Session {
            client: self.gate.log(),
            signer: &*self.agent,
            principal: self.principal.clone(),
            role: Role::Agent,
            clock: &*self.clock,
        }
    }
}

fn failed(fault: &ClientError) -> AskError {
    AskError::not_asked(fault.code(), fault.to_string())
}

fn not_submitted(fault: &SubmitError) -> AskError {
    let code = match fault {
        SubmitError::Rejected(rejected) => rejected.code.as_str(),
        SubmitError::NotSubmitted(cause)
        | SubmitError::Failed(cause)
        | SubmitError::NotKept { cause, .. } => cause.code(),
    };
    AskError::not_asked(code, fault.to_string())
}

impl AskError {
    fn not_asked(code: impl Into<String>, why: impl Into<String>) -> Self {
        Self::NotAsked { code: code.into(), why: why.into() }
    }
}
