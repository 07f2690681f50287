//! What changes of the approvals that somebody watches, in the order of the log.
//!
//! What a record of a run changed is found by the index of the record, so a stream goes on wherever another one ended. What
//! changes without such a record is looked for: with a policy or a key every live proposal may change, and an approved one is
//! over when its time is.

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    sync::Arc,
};

use axum::response::sse::Event;
use counterfoil_log::LogCheckpoint;
use counterfoil_verify::{Lookup as _, ProposalStatus, Proposed, State};
use tokio::sync::watch;

use crate::{
    app::{App, blocking},
    approvals::{Filter, View, find},
    handlers::approvals::completed,
    limits,
    problem::Problem,
    submit::now,
};

/// One stream of changes.
pub(crate) struct Watch {
    app: Arc<App>,
    committed: watch::Receiver<Arc<LogCheckpoint>>,
    closing: watch::Receiver<bool>,
    look: Option<Look>,
    due: VecDeque<(u64, View)>,
}

/// How far a stream has looked. Its size is bounded.
struct Look {
    filter: Filter,
    /// Changes up to this one were said.
    at: (u64, u64),
    /// Everything up to this entry was: where a stream goes on that takes the place of this one.
    said: u64,
    /// The last policy or key that was taken into account.
    ruled: u64,
    /// A walk through the live proposals: those below this index are still to come, and which of them are said.
    walk: Option<(u64, Say)>,
    /// When approved proposals are over, by log time, with their indices.
    ends: BTreeSet<(u64, u64)>,
    /// The first end that found no place there.
    untracked: Option<u64>,
}

/// Which live proposals a walk says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Say {
    Nothing,
    /// Those that log time alone made expire, at this one or later.
    Expired(u64),
    All,
}

/// What one visit to the state gave.
struct Seen {
    look: Look,
    due: Vec<(u64, View)>,
    size: u64,
    is_all: bool,
}

impl Watch {
    /// Watches from now on, or from the entry after the one at this index.
    pub(crate) async fn begin(app: Arc<App>, filter: Filter, after: Option<u64>) -> Result<Self, Problem> {
        let (committed, closing) = (app.view.committed.clone(), app.view.closing.clone());
        // Log time then, or earlier.
        let since = match after {
            None => 0,
            Some(after) => {
                let (size, index) = (app.latest().await?.head.size.0, app.index());
                blocking(move || {
                    let (before, _) = index.snapshots_around(after.min(size.saturating_sub(1)), size)?;
                    before.map_or(Ok(0), |before| Ok(index.record(before)?.time().get()))
                })
                .await?
            }
        };
        let begun = app.inspect(move |records, checkpoint| {
            let (state, last) = (records.state(), checkpoint.head.size.0.saturating_sub(1));
            let say = match after {
                None => Say::Nothing,
                Some(after) if state.ruled() > after => Say::All,
                Some(_) => Say::Expired(since),
            };
            let said = after.unwrap_or(last);
            let (at, ruled, walk) = ((said, u64::MAX), state.ruled(), Some((u64::MAX, say)));
            Look { filter, at, said, ruled, walk, ends: BTreeSet::new(), untracked: None }
        });
        let look = Some(begun.await?);
        Ok(Self { app, committed, closing, look, due: VecDeque::new() })
    }

    /// The next change; nothing once the server stops.
    pub(crate) async fn next(&mut self) -> Option<Result<Event, Infallible>> {
        while self.due.is_empty() {
            self.committed.mark_unchanged();
            let look = self.look.take()?;
            // The client comes back with the id of the last event that it got.
            let Seen { look, due, size, is_all } = self
                .app
                .inspect(move |records, checkpoint| look.visit(records.state(), checkpoint))
                .await
                .ok()?;
            self.look = Some(look);
            let (ids, views): (Vec<u64>, Vec<View>) = due.into_iter().unzip();
            let views = completed(&self.app, views, size).await.ok()?;
            self.due.extend(ids.into_iter().zip(views));
            if is_all && self.due.is_empty() && !self.grown().await {
                return None;
            }
        }
        let (id, view) = self.due.pop_front()?;
        let event = Event::default().event("approval").id(id.to_string());
        Some(Ok(event.data(serde_json::to_string(&view).ok()?)))
    }

    /// Waits until the log has grown; `false` if the server stops.
    async fn grown(&mut self) -> bool {
        tokio::select! {
            grown = self.committed.changed() => grown.is_ok(),
            _ = self.closing.wait_for(|closing| *closing) => false,
        }
    }
}

impl Look {
    /// Looks on for as long as a visit may last.
    fn visit(mut self, state: &State, checkpoint: &LogCheckpoint) -> Seen {
        let size = checkpoint.head.size.0;
        let (mut due, mut weight) = (Vec::new(), 0);
        let is_all = loop {
            if weight >= limits::VISIT {
                break false;
            }
            if let Some((before, say)) = self.walk {
                let Some(proposed) = state.live_proposals(before).next() else {
                    self.walk = None;
                    continue;
                };
                self.walk = Some((proposed.index, say));
                // What changed after that is said in its turn.
                let say = if proposed.changed > self.at.0 { Say::Nothing } else { say };
                weight += self.say(state, &proposed, (self.said, say), &mut due);
                continue;
            }
            let mut changed = state.changed_proposals(self.at);
            if let Some(proposed) = changed.next() {
                // A record that changes two of them was said when both were.
                let is_last = changed.next().is_none_or(|next| next.changed > proposed.changed);
                self.said = if is_last { proposed.changed } else { proposed.changed.saturating_sub(1) };
                self.at = (proposed.changed, proposed.index);
                weight += self.say(state, &proposed, (self.said, Say::All), &mut due);
                continue;
            }
            drop(changed);
            self.said = self.said.max(size.saturating_sub(1));
            if !self.walks_again(state) && !self.say_what_is_over(state, &mut due, &mut weight) {
                break true;
            }
        };
        Seen { look: self, due, size, is_all }
    }

    /// Whether the live proposals have to be gone through again.
    fn walks_again(&mut self, state: &State) -> bool {
        let now = state.log_time().map_or(0, |time| time.get());
        let say = if state.ruled() > self.ruled {
            Say::All
        } else if let Some(end) = self.untracked.filter(|end| *end < now) {
            Say::Expired(end)
        } else {
            return false;
        };
        (self.ruled, self.untracked, self.walk) = (state.ruled(), None, Some((u64::MAX, say)));
        self.ends.clear();
        true
    }

    /// Says the next approved proposal whose time is over, if there is one.
    fn say_what_is_over(&mut self, state: &State, due: &mut Vec<(u64, View)>, weight: &mut usize) -> bool {
        let now = state.log_time().map_or(0, |time| time.get());
        let Some((end, index)) = self.ends.first().copied().filter(|(end, _)| *end < now) else {
            return false;
        };
        self.ends.remove(&(end, index));
        if let Some(proposed) = state.live_proposals(index.saturating_add(1)).next()
            && proposed.index == index
        {
            *weight += self.say(state, &proposed, (self.said, Say::All), due);
        }
        true
    }

    /// Notes when a proposal is over, and says it if it is asked for; gives what that weighs.
    fn say(
        &mut self,
        state: &State,
        proposed: &Proposed,
        (id, say): (u64, Say),
        due: &mut Vec<(u64, View)>,
    ) -> usize {
        let Some((run, proposal)) = find(state, proposed) else { return 1 };
        let weight = 1 + proposal.decisions.len();
        let status = state.proposal_status(run, &proposed.id);
        let is_said = match say {
            Say::Nothing => false,
            Say::Expired(since) => {
                let is_over = status == Some(ProposalStatus::Expired);
                is_over && state.approved_until(run, &proposed.id).is_some_and(|end| end >= since)
            }
            Say::All => true,
        };
        let is_said = is_said && self.filter.takes(state, run, proposal, &proposed.id, now());
        let is_approved = status == Some(ProposalStatus::Approved);
        if !is_said && !is_approved {
            return weight;
        }
        let Some((view, approval)) = View::of(state, proposed) else { return weight };
        let time = state.log_time().map_or(0, |time| time.get());
        if let Some(end) = approval.expires_at.filter(|end| is_approved && *end >= time) {
            self.note_end(end, proposed.index);
        }
        due.extend(is_said.then_some((id, view)));
        weight
    }

    fn note_end(&mut self, end: u64, index: u64) {
        self.ends.insert((end, index));
        if self.ends.len() > limits::WATCHED_ENDS
            && let Some((end, _)) = self.ends.pop_last()
        {
            self.untracked = Some(self.untracked.map_or(end, |first| first.min(end)));
        }
    }
}
