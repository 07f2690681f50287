//! `propose`: an action, in a run of its own or in one that the agent owns; the same again is the same proposal.

use std::sync::PoisonError;

use counterfoil_client::{ApprovalQuery, ApprovalView, View};
use counterfoil_receipt::{
    Action, ActionDigest, Commitment, Opening, RecordId, RunId, Signer as _,
    action::{Json, Mode},
    body::{Body, Cost, Event, Holder, Proposal, Risk, Trigger},
    field::Set,
    limits::NAMES,
    text::{Amount, Currency, Label},
};
use counterfoil_verify::ProposalState;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Agent,
    answer::Answer,
    limits,
    wait::{count, invalid},
};
use crate::{
    error::{Failure, Outcome, VIOLATED},
    payload,
    record::{record_id, run_id},
    signing,
    text::printable,
};

/// What is proposed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Propose {
    tool: String,
    #[serde(default)]
    arguments: Map<String, Value>,
    target: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    precondition: Option<Map<String, Value>>,
    #[serde(default)]
    commit: Vec<String>,
    risk: String,
    summary: Option<String>,
    event: Option<Origin>,
    run: Option<String>,
    supersedes: Option<String>,
    delegation: Option<String>,
    cost: Option<Price>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    again: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Origin {
    source: String,
    id: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    amount: String,
    currency: String,
}

/// An action as it would be recorded, and what was meant by its commitments.
struct Wanted {
    body: Proposal,
    digest: ActionDigest,
    openings: Vec<Opening>,
}

impl Agent {
    /// Proposes, unless that stands already.
    pub fn propose(&self, asked: &Propose) -> Outcome<Answer> {
        let wanted = self.wanted(asked)?;
        let _one_at_a_time = self.proposing.lock().unwrap_or_else(PoisonError::into_inner);
        let (run, proposal, joined) = match (&asked.event, &asked.run) {
            (Some(event), None) => self.propose_for(&asked.event(event)?, wanted, asked.again)?,
            (None, Some(run)) => {
                self.propose_in(run_id(run).map_err(|why| invalid(&why))?, wanted, asked.again)?
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(invalid("name the event that this is for, or a run to go on with, and not both"));
            }
        };
        Ok(self.proposed(run, proposal, joined))
    }

    /// In a run of its own, whose trigger is the event.
    fn propose_for(&self, event: &Event, wanted: Wanted, again: bool) -> Outcome<(RunId, RecordId, bool)> {
        if wanted.body.supersedes.is_some() {
            return Err(invalid("what supersedes another proposal stands in its run: name the run"));
        }
        // Who proposes anew is held up by nothing that is there already.
        if !again && let Some((run, proposal)) = self.find_earlier(event, &wanted)? {
            return Ok((run, proposal, true));
        }
        let owner = Holder { key: self.actor.key.key(), principal: self.actor.key.principal().clone() };
        let trigger = Trigger { content: None, event: event.clone(), owner, summary: None };
        let session = self.actor.session();
        let (run, included) = session.start(trigger, wanted.body, &wanted.openings)?;
        Ok((run, included.id, false))
    }

    /// In a run that this agent owns.
    fn propose_in(&self, run: RunId, wanted: Wanted, again: bool) -> Outcome<(RunId, RecordId, bool)> {
        let view = self.actor.view(run)?;
        view.is_sound()?;
        let Some(facts) = view.run() else {
            return Err(Failure::new("run-not-shown", "the run is not shown", "check the run's id"));
        };
        let (owner, _) = view.state().owner(facts);
        if owner.key != self.actor.key.key() {
            let message = format!("the run belongs to {} with {}", owner.principal, owner.key);
            return Err(Failure::new("not-owner", message, "").with_status(VIOLATED));
        }
        let is_same = |proposal: &ProposalState| {
            proposal.proposer == *self.actor.key.principal()
                && wanted.is(&view, proposal)
                && (wanted.body.supersedes.is_none() || wanted.body.supersedes == proposal.supersedes)
        };
        let earlier = facts.proposals().into_iter().rev().find(|(_, proposal)| is_same(proposal));
        if let (false, Some((proposal, _))) = (again, earlier) {
            return Ok((run, proposal, true));
        }
        let included = self.actor.session().propose(&view, wanted.body, &wanted.openings)?;
        Ok((run, included.id, false))
    }

    /// What this agent proposed for the same event before. The log's list is a hint; event, proposer and action are verified.
    fn find_earlier(&self, event: &Event, wanted: &Wanted) -> Outcome<Option<(RunId, RecordId)>> {
        let log = self.actor.client.hints()?;
        let (mut before, mut looked) = (None, 0);
        for _ in 0..limits::EARLIER_PAGES {
            let query = ApprovalQuery {
                principal: Some(self.actor.key.principal().clone()),
                tool: Some(wanted.body.action.tool.to_string()),
                before,
                ..ApprovalQuery::default()
            };
            let page = log.approvals(&query)?;
            let could_be = |one: &&ApprovalView| {
                // What is committed to has another digest each time.
                let is_same = one.action.digest == wanted.digest || !wanted.openings.is_empty();
                is_same && one.proposer == *self.actor.key.principal()
            };
            for one in page.approvals.iter().filter(could_be) {
                looked += 1;
                if looked > limits::EARLIER_LOOKED {
                    return Ok(None);
                }
                if self.is_of_event(one.run, event)? && self.is_earlier(one.run, &one.proposal, wanted)? {
                    return Ok(Some((one.run, one.proposal)));
                }
            }
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        Ok(None)
    }

    /// Whether a run was started for an event: its id is that of its trigger, so the record is the one that is meant.
    fn is_of_event(&self, run: RunId, event: &Event) -> Outcome<bool> {
        let Some(trigger) = RecordId::parse(&run.to_string()) else { return Ok(false) };
        Ok(match self.actor.client.hints()?.record(trigger)?.body() {
            Body::Trigger(trigger) => trigger.event.source == event.source && trigger.event.id == event.id,
            _ => false,
        })
    }

    /// Whether a proposal of a run, as its bundle shows it, is this agent's and asks for the same. What is not shown is no answer, either
    /// way: whoever wants to propose nonetheless says `again`.
    fn is_earlier(&self, run: RunId, proposal: &RecordId, wanted: &Wanted) -> Outcome<bool> {
        let view = self.actor.view(run)?;
        view.is_sound()?;
        let found = view.run().and_then(|run| run.proposal(proposal));
        Ok(found
            .is_some_and(|found| found.proposer == *self.actor.key.principal() && wanted.is(&view, found)))
    }

    /// What is said of a proposal that is in the log, whatever else fails: nobody else can tell its id.
    fn proposed(&self, run: RunId, proposal: RecordId, joined: bool) -> Answer {
        let standing = self.state(run, |view, state| {
            self.standing(view, state, &proposal).map(|standing| (standing, count(state)))
        });
        let what = if joined { "this stands already" } else { "proposed" };
        let mut answer = match standing.and_then(|standing| standing) {
            Ok((standing, records)) => {
                let mut answer = Answer::new(format!("{what}: {}", standing.text), standing.data);
                answer.data["records"] = json!(records);
                answer
            }
            Err(failure) => {
                let why = printable(failure.message());
                let text = format!(
                    "{what}: proposal {proposal}\nrun {run}\nwhere it is can't be shown now: {why}\nnext: `wait` for it\n"
                );
                let why = json!({"code": failure.code(), "message": failure.message()});
                let review = self.review_url(&proposal);
                Answer::new(
                    text,
                    json!({"id": proposal.to_string(), "status": "not_shown", "why": why, "review": review}),
                )
            }
        };
        answer.data["run"] = json!(run.to_string());
        answer.data["proposal"] = json!(proposal.to_string());
        answer.data["joined"] = json!(joined);
        answer
    }

    fn wanted(&self, asked: &Propose) -> Outcome<Wanted> {
        let (action, openings) = asked.action()?;
        let id =
            |text: &Option<String>| text.as_deref().map(record_id).transpose().map_err(|why| invalid(&why));
        let digest = action.digest();
        let risk = Risk::parse(&asked.risk);
        let body = Proposal {
            action,
            audience: self.audience.clone(),
            cost: asked.cost.as_ref().map(Price::read).transpose()?,
            delegation: id(&asked.delegation)?,
            evidence: None,
            metadata: None,
            risk: risk.ok_or_else(|| invalid("risk is one of low, medium, high, critical"))?,
            summary: payload::text(asked.summary.as_ref())?,
            supersedes: id(&asked.supersedes)?,
            tags: asked.tags()?,
        };
        Ok(Wanted { body, digest, openings })
    }
}

impl Propose {
    fn event(&self, event: &Origin) -> Outcome<Event> {
        Ok(Event {
            id: payload::label(&event.id, "event.id")?,
            kind: event.kind.as_ref().map(|kind| payload::label(kind, "event.kind")).transpose()?,
            source: payload::label(&event.source, "event.source")?,
        })
    }

    /// The action as recorded, with what opens its commitments.
    fn action(&self) -> Outcome<(Action, Vec<Opening>)> {
        let (mut arguments, mut committed, mut openings) = (self.arguments.clone(), Map::new(), Vec::new());
        for name in &self.commit {
            let missing =
                || invalid(&format!("`commit` names {name:?}, which is no argument, or named twice"));
            let value = arguments.remove(name).ok_or_else(missing)?;
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            let content = counterfoil_receipt::json::to_canonical(&value)
                .map_err(|fault| invalid(&format!("the argument {name:?}: {fault}")))?;
            let sealed = payload::seal_one(&pointer, "application/json", content)?;
            committed.insert(pointer, sealed.item.commitment.to_string().into());
            openings.push(sealed.opening);
        }
        let mode = self.mode.as_deref().unwrap_or(Mode::Apply.as_str());
        let mut action = json!({"arguments": arguments, "mode": mode, "tool": self.tool});
        if !committed.is_empty() {
            action["committed"] = committed.into();
        }
        if let Some(target) = &self.target {
            action["target"] = json!(target);
        }
        if let Some(precondition) = &self.precondition {
            action["precondition"] = json!(precondition);
        }
        parse_action(&action).map(|action| (action, openings))
    }

    fn tags(&self) -> Outcome<Option<Set<Label, NAMES>>> {
        if self.tags.is_empty() {
            return Ok(None);
        }
        let tags = self.tags.iter().map(|tag| payload::label(tag, "a tag")).collect::<Outcome<Vec<_>>>()?;
        Set::new(tags).ok_or_else(|| invalid(&format!("more than {NAMES} tags"))).map(Some)
    }
}

impl Price {
    fn read(&self) -> Outcome<Cost> {
        let read = || {
            Some(Cost {
                amount: Amount::new(self.amount.as_str())?,
                currency: Currency::new(self.currency.as_str())?,
            })
        };
        read().ok_or_else(|| invalid("cost is such as {\"amount\": \"12.50\", \"currency\": \"EUR\"}"))
    }
}

impl Wanted {
    /// Whether a proposal asks for the same, of the same runtime and at the same risk: what is committed to is the same where it is
    /// disclosed and equal.
    fn is(&self, view: &View, proposal: &ProposalState) -> bool {
        // Who decides sees them, and policies go by them.
        if (&proposal.audience, proposal.risk) != (&self.body.audience, self.body.risk) {
            return false;
        }
        if proposal.digest == self.digest {
            return true;
        }
        let content = |commitment: &Commitment, openings: &[Opening]| {
            let found = openings.iter().find(|opening| opening.commitment() == *commitment);
            found.map(|opening| (opening.label.clone(), opening.content.clone()))
        };
        let (ours, theirs) = (&self.body.action, &proposal.action);
        let (Some(our_map), Some(their_map)) = (&ours.committed, &theirs.committed) else { return false };
        let (mine, yours): (Vec<_>, Vec<_>) = (our_map.iter().collect(), their_map.iter().collect());
        let is_same_content = mine.len() == yours.len()
            && mine.iter().zip(&yours).all(|((path, mine), (other, yours))| {
                let (mine, yours) =
                    (content(mine, &self.openings), content(yours, view.verdict().openings()));
                path == other && mine.is_some() && mine == yours
            });
        is_same_content
            && Action { committed: None, ..ours.clone() } == Action { committed: None, ..theirs.clone() }
    }
}

/// An action in any spelling that the reader of the line let pass.
pub fn parse_action(action: &Value) -> Outcome<Action> {
    let json = Json::from_value(action).map_err(|fault| signing::malformed("the action", &fault))?;
    Action::parse(json.as_str().as_bytes()).map_err(|fault| signing::malformed("the action", &fault))
}
