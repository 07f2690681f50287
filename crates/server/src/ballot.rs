//! What a link lets somebody decide: the proposal as a page shows it, where it stands, and the decision that a form makes of it
//! (`spec/http.md`, "Decisions by link").

use std::{fmt::Write as _, sync::Arc};

use counterfoil_keys::random_salt;
use counterfoil_policy::Assessment;
use counterfoil_receipt::{
    Draft, Opening, Place, PolicyDigest, Principal, RecordId, Role, Root, RunId, UnverifiedRecord,
    body::{self, Basis, Changes, Decision, Item, Ruling, Surface, Window},
    field::{Count, Millis, Uses},
    text::{Label, Text},
};
use counterfoil_review::{html::BLOCK_CHARS, proposal, text::counted};
use counterfoil_verify::{Approval, End, Lookup as _, ProposalState, Run, State};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::{
    app::{App, blocking},
    links::{Claims, Links},
    problem::{Kind, Problem},
    records::heads_of,
    rows::payloads_named,
    schemas,
    submit::now,
};

/// Milliseconds of a window where nobody says less: 15 min.
pub(crate) const WINDOW: u64 = 900_000;
/// Milliseconds of a minute, in which the form asks for a window.
pub(crate) const MINUTE: u64 = 60_000;

/// A proposal, as a page shows it.
pub(crate) struct Shown {
    pub record: UnverifiedRecord,
    pub run: RunId,
    /// What a decision says was shown.
    pub text: String,
    pub standing: Standing,
}

/// Where a proposal stands, as of one checkpoint.
pub(crate) struct Standing {
    pub approval: Approval,
    /// Whether the policy wants a preview, and the proposal names none that succeeded.
    pub lacks_preview: bool,
    pub ended: Option<(u64, End)>,
    pub decisions: Vec<Decided>,
    pub policy: Option<PolicyDigest>,
    /// The most uses and the longest window that the policy lets an approval grant.
    pub most: (u64, u64),
    /// Of a link: what came by it, and why a decision by it would not count.
    pub link: Option<Linked>,
    pub basis: Option<Basis>,
    pub parents: Vec<RecordId>,
}

pub(crate) struct Decided {
    pub id: RecordId,
    pub index: u64,
    pub approver: Principal,
    pub ruling: Ruling,
    pub surface: Surface,
    pub is_by_timer: bool,
    pub withdrawn: Option<RecordId>,
}

pub(crate) struct Linked {
    pub decided: Option<(RecordId, Ruling)>,
    /// Why nothing can be decided by it.
    pub fault: Option<String>,
    /// Why an approval that came by it counts no more.
    pub counts_no_more: Option<String>,
}

/// What a form says.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    #[schema(value_type = schemas::Verdict)]
    verdict: String,
    /// May be empty, but not with `request_changes`, whose note it is.
    reason: String,
    /// With `approve`; a browser sends what stands in the fields, perhaps nothing, whatever is decided.
    #[serde(default)]
    uses: String,
    #[serde(default)]
    minutes: String,
    /// The digest of the text that was on the page.
    #[schema(value_type = schemas::Hash)]
    shown: String,
    /// The policy under which it was asked.
    policy: String,
}

/// Why a form decides nothing.
pub(crate) enum Refused {
    /// The proposal's text or the policy is not what the page showed.
    Changed,
    /// A field says what it can't.
    Wrong(String),
    Failed(Problem),
}

/// A proposal and where it stands; `None` if the log has none of this id.
pub(crate) async fn shown(
    app: &Arc<App>,
    id: RecordId,
    link: Option<(&Claims, &Links)>,
) -> Result<Option<Shown>, Problem> {
    let size = app.latest().await?.head.size.0;
    let (index, payloads) = (app.index(), app.payloads());
    let previewed = app.inspect(move |records, _| {
        let (state, proposed) = (records.state(), records.state().find_proposal(&id)?);
        state.run(&proposed.run)?.proposal(&id)?.previewed
    });
    let previewed = previewed.await?;
    let found = blocking(move || {
        let Some(at) = index.index_of(&id, size)? else { return Ok(None) };
        let record = index.record(at)?;
        let Some(run) = record.run().filter(|_| proposal::is_proposal(&record)) else { return Ok(None) };
        let previewed = match previewed {
            Some(outcome) => index.index_of(&outcome, size)?.map(|at| index.record(at)).transpose()?,
            None => None,
        };
        let mut openings = Vec::new();
        for (commitment, ..) in
            [Some(&record), previewed.as_ref()].into_iter().flatten().flat_map(payloads_named)
        {
            openings.extend(payloads.get_payload(&commitment)?.map(|line| line.into_opening()));
        }
        let by_commitment = openings.iter().map(|opening| (opening.commitment(), opening)).collect();
        let text = proposal::proposal_text(&record, previewed.as_ref(), &by_commitment);
        let hidden = record
            .body()
            .action()
            .map_or_else(Vec::new, |action| proposal::undisclosed(action, &by_commitment));
        let why_not = if !hidden.is_empty() {
            Some(format!("what it would do is not disclosed: {}", hidden.join(", ")))
        } else if text.chars().count() > BLOCK_CHARS {
            Some("it is too long to be shown on a page in full".to_owned())
        } else {
            None
        };
        Ok(Some((record, run, text, why_not)))
    });
    let Some((record, run, text, why_not)) = found.await? else { return Ok(None) };
    let link = link.map(|(claims, links)| (claims.clone(), links.signer()));
    let standing = app.inspect(move |records, checkpoint| {
        let state = records.state();
        let (run, head) = (state.run(&run)?, checkpoint.head);
        let root = Root::from_bytes(*head.root.as_bytes());
        let basis = Count::new(head.size.0).map(|size| Basis { root, size });
        let link = link.map(|(claims, signer)| {
            let decided = decided_by_link(run, &claims);
            let approval = decided.filter(|(_, ruling)| *ruling == Ruling::Approve);
            Linked {
                decided,
                fault: why_not.or_else(|| {
                    let counts = state.link_counts(run, &id, &claims.approver, &signer);
                    counts.err().map(|fault| format!("it would not count: {fault}"))
                }),
                counts_no_more: approval
                    .and_then(|(decision, _)| state.counts(run, &id, &decision, None).err())
                    .map(|fault| fault.to_string()),
            }
        });
        Standing::of(state, run, id, link, basis)
    });
    Ok(standing.await?.map(|standing| Shown { record, run, text, standing }))
}

/// What came by the approver's links to a proposal.
fn decided_by_link(run: &Run, claims: &Claims) -> Option<(RecordId, Ruling)> {
    let decisions = run.proposal(&claims.proposal)?.decisions.iter();
    let mut by_link = decisions.filter_map(|id| Some((*id, run.decision(id)?))).filter(|(_, decision)| {
        decision.surface == Surface::Link
            && decision.approver == claims.approver
            && decision.author.role == Role::Policy
    });
    by_link.next().map(|(id, decision)| (id, decision.ruling))
}

impl Standing {
    fn of(
        state: &State,
        run: &Run,
        id: RecordId,
        link: Option<Linked>,
        basis: Option<Basis>,
    ) -> Option<Self> {
        let proposal: &ProposalState = run.proposal(&id)?;
        let assessment = state.assess(proposal);
        let decisions = proposal.decisions.iter().filter_map(|id| {
            let decision = run.decision(id)?;
            Some(Decided {
                id: *id,
                index: decision.index,
                approver: decision.approver.clone(),
                ruling: decision.ruling,
                surface: decision.surface,
                is_by_timer: decision.rule.is_some(),
                withdrawn: decision.cancelled,
            })
        });
        Some(Self {
            approval: state.approval(run, &id)?,
            lacks_preview: state.wants_preview(proposal) && proposal.previewed.is_none(),
            ended: proposal.ended,
            decisions: decisions.collect(),
            policy: state.policy_in_force().map(|(digest, _)| digest),
            most: (
                assessment.as_ref().map_or(1, Assessment::uses),
                assessment.as_ref().and_then(Assessment::window).unwrap_or(WINDOW),
            ),
            link,
            basis,
            parents: heads_of(state, run),
        })
    }

    /// The longest window that a form offers, in whole minutes.
    pub(crate) const fn minutes(&self) -> u64 {
        let minutes = self.most.1 / MINUTE;
        if minutes == 0 { 1 } else { minutes }
    }
}

impl Shown {
    /// The digest of what the page shows.
    pub(crate) fn digest(&self) -> String {
        Sha256::digest(self.text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    }

    pub(crate) fn policy(&self) -> String {
        self.standing.policy.map_or_else(String::new, |policy| policy.to_string())
    }

    /// What a form decides, signed; with what opens the commitment to what was shown.
    pub(crate) fn decided(
        &self,
        links: &Links,
        claims: &Claims,
        form: &Form,
    ) -> Result<(UnverifiedRecord, Opening), Refused> {
        let wrong = |why: String| Refused::Wrong(why);
        let failed = |why: String| Refused::Failed(Kind::Unreadable.because(why));
        let verdict = Ruling::parse(&form.verdict)
            .ok_or_else(|| wrong("Approve, reject, or ask for changes. Nothing was decided.".to_owned()))?;
        if let Some(fault) = self.standing.link.as_ref().and_then(|link| link.fault.as_ref()) {
            return Err(wrong(format!("This can't be decided by link: {fault}. Nothing was decided.")));
        }
        if form.shown != self.digest() || form.policy != self.policy() {
            return Err(Refused::Changed);
        }
        // Browsers end lines as the mail of old did.
        let reason = form.reason.replace("\r\n", "\n");
        let reason = reason.trim();
        let text = Text::new(reason).filter(|_| !reason.is_empty());
        if text.is_none() && !reason.is_empty() {
            return Err(wrong(
                "The reason is too long, or has characters that no record has. Nothing was decided."
                    .to_owned(),
            ));
        }
        if verdict == Ruling::RequestChanges && text.is_none() {
            return Err(wrong("Say what should change. Nothing was decided.".to_owned()));
        }
        let (window, uses) = self.terms(verdict, form)?;
        let label = |text: &str| Label::new(text).ok_or_else(|| failed(format!("{text:?} is no label")));
        let content = self.text.clone().into_bytes();
        let salt = random_salt().map_err(|error| failed(error.to_string()))?;
        let size =
            Count::new(content.len() as u64).ok_or_else(|| failed("the text is too long".to_owned()))?;
        let opening = Opening { salt, label: label("shown")?, content };
        let shown = Item {
            commitment: opening.commitment(),
            label: label("shown")?,
            media_type: label("text/plain; charset=utf-8")?,
            size,
        };
        let missing = || failed("the log has no policy or checkpoint".to_owned());
        let asks_for_changes = verdict == Ruling::RequestChanges;
        let body = Decision {
            action: claims.action,
            approver: Some(claims.approver.clone()),
            basis: self.standing.basis.clone().ok_or_else(missing)?,
            changes: asks_for_changes.then(|| Changes { action: None, note: text.clone() }),
            policy: self.standing.policy.ok_or_else(missing)?,
            proposal: claims.proposal,
            reason: text.filter(|_| !asks_for_changes),
            rule: None,
            shown: Some(shown),
            surface: Surface::Link,
            uses,
            verdict,
            window,
        };
        let place = match self.record.place() {
            Place::Run { log, run, .. } => {
                Place::Run { log: *log, run: *run, parents: self.standing.parents.clone() }
            }
            _ => return Err(missing()),
        };
        let signer = links.signer();
        let time = Millis::new(now()).ok_or_else(|| failed("the clock is wrong".to_owned()))?;
        let draft = Draft {
            place,
            time,
            principal: signer.principal,
            role: signer.role,
            body: body::Body::from(body),
        };
        let record = draft.sign(links.key()).map_err(|error| failed(error.to_string()))?;
        Ok((record, opening))
    }

    /// The terms of an approval: what the form says, within what the policy allows.
    fn terms(&self, verdict: Ruling, form: &Form) -> Result<(Option<Window>, Option<Uses>), Refused> {
        if verdict != Ruling::Approve {
            return Ok((None, None));
        }
        let (most_uses, most_window) = self.standing.most;
        let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
        let (uses, minutes) = (number(&form.uses), number(&form.minutes));
        let beyond = |what: String| {
            Refused::Wrong(format!("The policy lets an approval grant {what}. Nothing was decided."))
        };
        if !(1..=most_uses).contains(&uses) {
            return Err(beyond(format!("1 to {}", counted(most_uses, "use"))));
        }
        let most = self.standing.minutes();
        if !(1..=most).contains(&minutes) {
            return Err(beyond(format!("1 to {}", counted(most, "minute"))));
        }
        let from = now();
        let until = from.saturating_add((minutes * MINUTE).min(most_window));
        let window = Millis::new(from).zip(Millis::new(until)).map(|(from, until)| Window { from, until });
        let terms = window.zip(Uses::new(uses));
        let (window, uses) = terms.ok_or_else(|| beyond("other terms".to_owned()))?;
        Ok((Some(window), Some(uses)))
    }
}
