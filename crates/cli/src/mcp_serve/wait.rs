//! `wait`: until people decide, until something was done, or until a run has another record; at most so many seconds.

use std::{
    thread,
    time::{Duration, Instant},
};

use counterfoil_receipt::{RecordId, RunId};
use counterfoil_verify::{ProposalStatus, RunState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Agent, Call, answer::Answer, limits, standing::is_done};
use crate::{
    error::{Failure, NOT_SHOWN, Outcome},
    record::{record_id, run_id},
};

/// What is waited for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    proposal: Option<String>,
    run: Option<String>,
    until: Option<Until>,
    after: Option<u64>,
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Until {
    Decided,
    Done,
}

/// What was seen of it.
struct Seen {
    records: u64,
    is_there: bool,
    answer: Answer,
}

enum Awaited {
    Proposal(RecordId, Until),
    Records(Option<u64>),
}

impl Agent {
    /// Waits, and says what verified records show then.
    pub fn wait(&self, asked: &Wait, call: &Call) -> Outcome<Answer> {
        let seconds = asked.seconds.unwrap_or(limits::WAIT_SECONDS);
        if seconds > limits::MOST_WAIT_SECONDS {
            let message = format!("seconds is {seconds}, at most {} are waited", limits::MOST_WAIT_SECONDS);
            return Err(Failure::new("field-invalid", message, "wait for less, and wait again"));
        }
        let (run, mut awaited) = self.awaited(asked)?;
        let end = Instant::now() + Duration::from_secs(seconds);
        let (mut records, mut was_seen) = (0, false);
        loop {
            match self.look(run, &awaited) {
                Ok(seen) => {
                    (records, was_seen) = (seen.records, true);
                    if let Awaited::Records(after) = &mut awaited {
                        after.get_or_insert(records);
                    }
                    let is_over = Instant::now() >= end;
                    if seen.is_there || is_over {
                        return Ok(told(seen, is_over));
                    }
                }
                Err(failure) => {
                    // Witnesses may be late, and a log that went may come back.
                    let may_pass = failure.status() == NOT_SHOWN || (was_seen && comes_back(&failure));
                    if !may_pass || Instant::now() >= end {
                        return Err(failure);
                    }
                    thread::sleep(limits::AFTER_FAULT.min(end.saturating_duration_since(Instant::now())));
                }
            }
            self.pause(run, records, end, call)?;
        }
    }

    fn awaited(&self, asked: &Wait) -> Outcome<(RunId, Awaited)> {
        let until = asked.until.unwrap_or(Until::Decided);
        match (&asked.proposal, &asked.run) {
            (Some(proposal), None) if asked.after.is_none() => {
                let proposal = record_id(proposal).map_err(|why| invalid(&why))?;
                Ok((self.run_of(&proposal)?, Awaited::Proposal(proposal, until)))
            }
            (None, Some(run)) if asked.until.is_none() => {
                Ok((run_id(run).map_err(|why| invalid(&why))?, Awaited::Records(asked.after)))
            }
            (Some(_), None) => Err(invalid("`after` is for a run")),
            (None, Some(_)) => Err(invalid("`until` is for a proposal")),
            (Some(_), Some(_)) | (None, None) => Err(invalid("name a proposal, or a run, and not both")),
        }
    }

    /// The run of a record, by the server's word: what is believed is verified in that run's bundle.
    pub fn run_of(&self, id: &RecordId) -> Outcome<RunId> {
        let record = self.actor.client.hints()?.record(*id)?;
        record.run().ok_or_else(|| {
            let message = format!("{id} is a {}, which belongs to no run", record.kind());
            Failure::new("no-run", message, "name a run, a proposal, an execution or another record of a run")
        })
    }

    fn look(&self, run: RunId, awaited: &Awaited) -> Outcome<Seen> {
        self.state(run, |view, state| {
            let records = count(state);
            let (is_there, answer) = match awaited {
                Awaited::Proposal(proposal, until) => {
                    let standing = self.standing(view, state, proposal)?;
                    let is_there = match until {
                        Until::Decided => standing.status != ProposalStatus::Open,
                        Until::Done => is_done(standing.status),
                    };
                    (is_there, Answer::new(standing.text, standing.data))
                }
                Awaited::Records(after) => (
                    after.is_some_and(|after| records > after),
                    Answer::new(run_text(run, state), run_json(state)),
                ),
            };
            Ok::<Seen, Failure>(Seen { records, is_there, answer: with_place(answer, run, records, state) })
        })?
    }

    /// Until something may have changed: the server says that there are more records, or it is time to look anyway.
    fn pause(&self, run: RunId, records: u64, end: Instant, call: &Call) -> Outcome<()> {
        let look = end.min(Instant::now() + limits::LOOK);
        loop {
            if call.is_over() {
                return Err(Failure::new(
                    "cancelled",
                    "nobody waits any more",
                    "call `wait` again to go on waiting",
                ));
            }
            let left = look.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            let slice = left.min(limits::SLICE);
            match self.actor.client.client().wait_run(run, records, slice) {
                Ok(view) if view.records.len() as u64 > records => {
                    // A server that always says so is not asked in a circle.
                    thread::sleep(Duration::from_millis(250).min(left));
                    return Ok(());
                }
                Ok(_) => thread::sleep(Duration::from_millis(50).min(left)),
                Err(_) => thread::sleep(Duration::from_millis(500).min(left)),
            }
        }
    }
}

fn told(mut seen: Seen, is_over: bool) -> Answer {
    let is_over = is_over && !seen.is_there;
    seen.answer.data["timed_out"] = json!(is_over);
    if is_over {
        seen.answer
            .text
            .push_str("the time to wait is over, and nothing else came; `wait` again to go on waiting\n");
    }
    seen.answer
}

fn with_place(mut answer: Answer, run: RunId, records: u64, state: &RunState<'_>) -> Answer {
    answer.data["run"] = json!(run.to_string());
    answer.data["records"] = json!(records);
    answer.data["size"] = json!(state.size().map(|size| size.0));
    answer.data["as_of"] = json!(state.state().log_time().map(|time| time.get()));
    answer
}

/// How many records the run has.
pub fn count(state: &RunState<'_>) -> u64 {
    1 + state.before_latest().0 + state.latest().count() as u64
}

fn run_json(state: &RunState<'_>) -> Value {
    let proposals = state.proposals().into_iter().map(|(id, status, proposal)| {
        json!({"id": id.to_string(), "status": status.as_str(), "tool": proposal.action.tool.as_str()})
    });
    json!({"proposals": proposals.collect::<Vec<_>>()})
}

fn run_text(run: RunId, state: &RunState<'_>) -> String {
    let mut text = format!("run {run} has {} records\n", count(state));
    for (id, status, _) in state.proposals().iter().rev().take(20) {
        text.push_str(&format!("proposal {id} is {}\n", status.as_str()));
    }
    text.push_str("next: `resume` the run for all of it\n");
    text
}

fn comes_back(failure: &Failure) -> bool {
    matches!(failure.code(), "unreachable" | "no-answer" | "log-busy")
}

/// What a call says that can't be.
pub fn invalid(why: &str) -> Failure {
    Failure::new(
        "field-invalid",
        crate::text::printable(why),
        "call the tool again with what its schema says",
    )
}
