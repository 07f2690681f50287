//! Signing records on a state that was verified, and submitting them.

use counterfoil_receipt::{
    Action, Body, Commitment, Draft, Opening, Place, PolicyDigest, Principal, RecordId, Role, RunId, Signer,
    UnverifiedRecord,
    body::{
        Basis, Cancel, Changes, Decision, Handoff, Holder, Items, Observation, Proposal, Ruling, Settlement,
        Surface, Trigger, Window,
    },
    bundle::PayloadLine,
    field::{Set, Uses},
    limits::PARENTS,
    text::{Label, Text},
};
use counterfoil_verify::{Answer, Dimension, ProposalState, Run, RunState, State, Verdict};

use crate::{
    clock::Clock,
    error::{ClientError, SubmitError},
    pinned::{Included, PinnedClient, Verified},
    seal::{Sealed, seal},
};

/// Somebody who signs records for a log.
pub struct Session<'a> {
    /// The log.
    pub client: &'a PinnedClient,
    /// The key.
    pub signer: &'a dyn Signer,
    /// Whose key it is.
    pub principal: Principal,
    /// As what they sign.
    pub role: Role,
    /// Their clock.
    pub clock: &'a dyn Clock,
}

/// A run as of a checkpoint: what a signer had in hand.
///
/// Its records are proven to be in the pinned log. Whether all of them hold is another question, see
/// [`View::is_sound`]: a run with a flaw can still be rejected and cancelled.
#[derive(Debug)]
pub struct View {
    verified: Verified,
    run: RunId,
    basis: Basis,
}

/// What a human decides.
#[derive(Clone, Debug)]
pub struct Ballot {
    /// About which proposal.
    pub proposal: RecordId,
    /// What they say.
    pub vote: Vote,
    /// The bytes that they were shown; only a salted commitment to them is logged.
    pub shown: Vec<u8>,
    /// What those bytes are, such as `text/plain`.
    pub shown_media_type: Label,
    /// Where they saw them.
    pub surface: Surface,
    /// Why.
    pub reason: Option<Text>,
}

/// A ruling with what belongs to it.
#[derive(Clone, Debug)]
pub enum Vote {
    /// The proposal may be executed.
    Approve {
        /// Between which times.
        window: Window,
        /// How often.
        uses: Uses,
    },
    /// It may not.
    Reject,
    /// Another one might.
    RequestChanges(Option<Changes>),
}

impl Session<'_> {
    /// Fetches and verifies a run.
    ///
    /// # Errors
    /// [`ClientError`]; `NotShown` unless the run is proven to be in the log.
    pub fn view(&self, run: RunId) -> Result<View, ClientError> {
        let verified = self.client.fetch_verified(run, self.clock.now()?)?;
        View::new(run, verified)
    }

    /// Starts a run; its id is the trigger's.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn trigger(&self, body: Trigger, payloads: &[Opening]) -> Result<(RunId, Included), SubmitError> {
        let record = self.sign(Place::Single { log: self.client.trust().genesis() }, body)?;
        let included = self.submit(&record, payloads)?;
        Ok((RunId::started_by(record.id()), included))
    }

    /// Starts a run with its first proposal, both in one batch; gives the run, and where the proposal is.
    ///
    /// # Errors
    /// [`SubmitError`]. After `Rejected` of the proposal, the run is there without it.
    pub fn start(
        &self,
        trigger: Trigger,
        proposal: Proposal,
        payloads: &[Opening],
    ) -> Result<(RunId, Included), SubmitError> {
        let log = self.client.trust().genesis();
        let trigger = self.sign(Place::Single { log }, trigger)?;
        let run = RunId::started_by(trigger.id());
        let proposal = self.sign(Place::Run { log, run, parents: vec![trigger.id()] }, proposal)?;
        let payloads: Vec<PayloadLine> =
            payloads.iter().map(|opening| PayloadLine::disclosing(opening.clone(), None)).collect();
        let mut last = None;
        for answer in self.client.submit_batch(&[trigger, proposal], &payloads, &[])? {
            last = Some(answer?);
        }
        let none = || ClientError::Misuse("a batch without records".to_owned());
        Ok((run, last.ok_or_else(none)?))
    }

    /// Says what the agent saw or means to do.
    ///
    /// # Errors
    /// [`SubmitError`]; `NotShown` on a view that is not sound.
    pub fn observe(
        &self,
        view: &View,
        body: Observation,
        payloads: &[Opening],
    ) -> Result<Included, SubmitError> {
        view.is_sound()?;
        self.append(view, body, payloads)
    }

    /// Asks for an action.
    ///
    /// # Errors
    /// [`SubmitError`]; `NotShown` on a view that is not sound.
    pub fn propose(
        &self,
        view: &View,
        body: Proposal,
        payloads: &[Opening],
    ) -> Result<Included, SubmitError> {
        view.is_sound()?;
        self.append(view, body, payloads)
    }

    /// Decides on a proposal, bound to its action, the policy in force and what was shown. Only a sound view can be
    /// approved on.
    ///
    /// # Errors
    /// [`SubmitError`]; `Misuse` if the view has no such proposal or no policy in force.
    pub fn decide(&self, view: &View, ballot: Ballot) -> Result<Included, SubmitError> {
        let (record, shown) = self.sign_decision(view, ballot)?;
        self.submit(&record, &[shown])
    }

    /// The decision that [`Session::decide`] submits, and what opens what was shown. A reject is heeded by a gate that it is handed to.
    ///
    /// # Errors
    /// [`ClientError`]; `NotShown` for an approval on a view that is not sound.
    pub fn sign_decision(
        &self,
        view: &View,
        ballot: Ballot,
    ) -> Result<(UnverifiedRecord, Opening), ClientError> {
        let action = view.proposal(&ballot.proposal)?.digest;
        let policy = view.policy()?;
        let Sealed { item: shown, opening } = seal(shown_label()?, ballot.shown_media_type, ballot.shown)?;
        let (verdict, window, uses, changes) = match ballot.vote {
            Vote::Approve { window, uses } => {
                view.is_sound()?;
                (Ruling::Approve, Some(window), Some(uses), None)
            }
            Vote::Reject => (Ruling::Reject, None, None, None),
            Vote::RequestChanges(changes) => (Ruling::RequestChanges, None, None, changes),
        };
        let body = Decision {
            action,
            approver: None,
            basis: view.basis.clone(),
            changes,
            policy,
            proposal: ballot.proposal,
            reason: ballot.reason,
            rule: None,
            shown: Some(shown),
            surface: ballot.surface,
            uses,
            verdict,
            window,
        };
        Ok((self.sign_in(view, body)?, opening))
    }

    /// Withdraws a proposal or one's own decision.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn cancel(
        &self,
        view: &View,
        target: RecordId,
        reason: Option<Text>,
    ) -> Result<Included, SubmitError> {
        self.append(view, Cancel { reason, target }, &[])
    }

    /// Says what became of an execution whose outcome stayed unknown.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn settle(
        &self,
        view: &View,
        body: Settlement,
        payloads: &[Opening],
    ) -> Result<Included, SubmitError> {
        self.append(view, body, payloads)
    }

    /// Gives the run to another agent, with everything that is open in it.
    ///
    /// # Errors
    /// [`SubmitError`]; `Misuse` if more is open than a handoff can list.
    pub fn handoff(
        &self,
        view: &View,
        to: Holder,
        items: Option<Items>,
        summary: Option<Text>,
        payloads: &[Opening],
    ) -> Result<Included, SubmitError> {
        view.is_sound()?;
        let open = Set::new(view.run().map(Run::open).unwrap_or_default());
        let open =
            open.ok_or_else(|| ClientError::Misuse("more is open than a handoff can list".to_owned()))?;
        self.append(view, Handoff { basis: view.basis.clone(), items, open, summary, to }, payloads)
    }

    /// Signs a run record on a view, without submitting it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn sign_in(&self, view: &View, body: impl Into<Body>) -> Result<UnverifiedRecord, ClientError> {
        self.sign(view.place(self.client.trust().genesis()), body)
    }

    /// Signs a record of any form, without submitting it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn sign(&self, place: Place, body: impl Into<Body>) -> Result<UnverifiedRecord, ClientError> {
        let draft = Draft {
            place,
            time: self.clock.now()?,
            principal: self.principal.clone(),
            role: self.role,
            body: body.into(),
        };
        Ok(draft.sign(self.signer)?)
    }

    /// Submits one record with the payloads that it names.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub fn submit(&self, record: &UnverifiedRecord, payloads: &[Opening]) -> Result<Included, SubmitError> {
        self.client.submit_with(record, payloads, &[])
    }

    fn append(
        &self,
        view: &View,
        body: impl Into<Body>,
        payloads: &[Opening],
    ) -> Result<Included, SubmitError> {
        self.submit(&self.sign_in(view, body)?, payloads)
    }
}

impl View {
    /// Takes a bundle that was verified as the state to sign on.
    ///
    /// # Errors
    /// [`ClientError::NotShown`] unless *inclusion* passes and the run is there.
    pub fn new(run: RunId, verified: Verified) -> Result<Self, ClientError> {
        let not_shown = |why: String| ClientError::NotShown { run, why };
        let basis = verified.checkpoint.as_ref().and_then(|checkpoint| checkpoint.basis());
        let Some(basis) = basis else {
            return Err(not_shown(format!("inclusion: {}", reason(&verified.verdict, Dimension::Inclusion))));
        };
        if verified.verdict.state().run(&run).is_none() {
            return Err(not_shown("its trigger is not shown".to_owned()));
        }
        Ok(Self { verified, run, basis })
    }

    /// What the bundle shows.
    pub const fn verdict(&self) -> &Verdict {
        &self.verified.verdict
    }

    /// The bundle's bytes.
    pub fn bundle(&self) -> &[u8] {
        &self.verified.bundle
    }

    /// The state as of the checkpoint.
    pub const fn state(&self) -> &State {
        self.verified.verdict.state()
    }

    /// The run; always there.
    pub fn run(&self) -> Option<&Run> {
        self.state().run(&self.run)
    }

    /// The run's id.
    pub const fn run_id(&self) -> RunId {
        self.run
    }

    /// The checkpoint that was verified, as records name it.
    pub const fn basis(&self) -> &Basis {
        &self.basis
    }

    /// Whether all records hold, and their signers were entitled.
    ///
    /// # Errors
    /// [`ClientError::NotShown`] with the dimension that does not pass.
    pub fn is_sound(&self) -> Result<(), ClientError> {
        let verdict = self.verdict();
        let needed = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];
        let failing = Dimension::ALL.into_iter().find(|dimension| match verdict.answer(*dimension) {
            Answer::Pass(_) => false,
            Answer::Fail => true,
            Answer::NotShown(_) => needed.contains(dimension),
        });
        match failing {
            None => Ok(()),
            Some(dimension) => {
                let why = format!("{dimension}: {}", reason(verdict, dimension));
                Err(ClientError::NotShown { run: self.run, why })
            }
        }
    }

    /// What somebody has to know who goes on with the run: see [`RunState`].
    ///
    /// # Errors
    /// [`ClientError::NotShown`] with the code and the text of what stands against it.
    pub fn run_state(&self, require: &[Dimension]) -> Result<RunState<'_>, ClientError> {
        RunState::of(self.verdict(), self.run, require).map_err(|no_state| ClientError::NotShown {
            run: self.run,
            why: format!("{}: {}", no_state.code, no_state.detail),
        })
    }

    /// A proposal of the run.
    ///
    /// # Errors
    /// [`ClientError::Misuse`] if there is none with this id.
    pub fn proposal(&self, id: &RecordId) -> Result<&ProposalState, ClientError> {
        let proposal = self.run().and_then(|run| run.proposal(id));
        proposal.ok_or_else(|| ClientError::Misuse(format!("{id} is no proposal of run {}", self.run)))
    }

    /// The action that a proposal asks for.
    ///
    /// # Errors
    /// [`ClientError::Misuse`] if there is no such proposal.
    pub fn action(&self, id: &RecordId) -> Result<&Action, ClientError> {
        self.proposal(id).map(|proposal| &proposal.action)
    }

    /// A record that the bundle shows at its place in the log, for what the state does not keep of it. Believe it as far as the
    /// verdict goes.
    pub fn record(&self, id: &RecordId) -> Option<UnverifiedRecord> {
        self.state().index_of(id)?;
        let line = self.bundle().split(|byte| *byte == b'\n').find(|line| RecordId::of(line) == *id)?;
        UnverifiedRecord::parse(line).ok()
    }

    /// What opens a commitment that a record names, if the bundle discloses it.
    pub fn opening(&self, commitment: &Commitment) -> Option<&Opening> {
        self.verdict().openings().iter().find(|opening| opening.commitment() == *commitment)
    }

    /// The heads of the run, or the 16 latest of them.
    pub fn parents(&self) -> Vec<RecordId> {
        let heads = self.run().map(|run| run.heads().iter().copied().collect()).unwrap_or_default();
        latest(heads, self.state())
    }

    /// Where a record signed on this view stands.
    pub fn place(&self, log: RecordId) -> Place {
        Place::Run { log, run: self.run, parents: self.parents() }
    }

    fn policy(&self) -> Result<PolicyDigest, ClientError> {
        let policy = self.state().policy_in_force().map(|(digest, _)| digest);
        policy
            .ok_or_else(|| ClientError::Misuse("no policy is in force, so nothing can be decided".to_owned()))
    }
}

/// At most 16 of these records, the latest by index, in the order of their ids.
fn latest(mut heads: Vec<RecordId>, state: &State) -> Vec<RecordId> {
    heads.sort_by_key(|head| std::cmp::Reverse(state.index_of(head)));
    heads.truncate(PARENTS);
    heads.sort_unstable();
    heads
}

fn reason(verdict: &Verdict, dimension: Dimension) -> String {
    let finding = verdict.findings().iter().find(|finding| finding.dimension == dimension);
    match (finding, verdict.answer(dimension)) {
        (Some(finding), _) => finding.to_string(),
        (None, Answer::NotShown(why)) => why.clone(),
        (None, Answer::Pass(_) | Answer::Fail) => "not shown".to_owned(),
    }
}

fn shown_label() -> Result<Label, ClientError> {
    Label::new("shown").ok_or_else(|| ClientError::Misuse("shown".to_owned()))
}
