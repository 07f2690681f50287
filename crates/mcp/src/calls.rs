//! Calls of tools: proposed, held while people decide, run at most once, and answered.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, mpsc},
    time::{Duration, Instant},
};

use counterfoil_gate::{AskError, Asked, Attempt, Done, Ended, GateError, OUTCOME_UNKNOWN, Ran, Refusal};
use counterfoil_receipt::{
    Action, Opening, RecordId, RunId,
    body::{Effects, Status},
};
use counterfoil_verify::Rule;
use serde_json::{Map, Value, json};

use crate::{
    asking::TOOL_UNKNOWN,
    desk::{Call, CallDigest, Inputs, NotAsked, RESPONSES, STATE},
    limits,
    message::{self, Id},
    outcome::{done, payload},
    passing,
    pool::OnPanic,
    proxy::{Answer, FAILED, Open, Proxy, Reply, State, parameters},
    reply::{self, CallReceipt, EXECUTION, Era, IDEMPOTENCY_KEY},
    shared::{Remembered, Shared},
    waiting::{Waiting, read_inputs},
};

#[cfg(test)]
pub(crate) mod tests;

/// The code of a call of which the log did not say whether it holds the proposal.
pub(crate) const NOT_PROPOSED: &str = "not-proposed";

/// A call that was proposed.
pub(crate) struct Pending {
    pub call: Call,
    pub asked: Asked,
    pub waiters: Vec<Waiter>,
    /// Whether somebody attempts it now.
    pub busy: bool,
    /// Whether it changed meanwhile.
    pub changed: bool,
    /// Whether people were asked, so that the same call again means this one.
    pub held: bool,
    /// Why it is held.
    pub why: String,
    /// Whether it ran: what is held can be approved for several uses.
    pub ran: bool,
    /// When somebody waited for it last.
    pub wanted: Instant,
    pub remembered: Remembered,
}

impl Pending {
    /// Nobody knows what became of it.
    fn doubt(&mut self) {
        (self.asked.earlier, self.asked.in_doubt, self.asked.begun) = (true, true, None);
    }

    /// Whether nobody attempts it and nobody waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy && self.waiters.is_empty()
    }
}

/// A request of the client: an id may be used again once it has its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub id: Id,
    pub serial: u64,
    /// How often its client came back to go on waiting.
    pub round: u32,
}

impl Ticket {
    /// Whether it has no answer yet, and was not cancelled.
    fn is_open(&self, open: &HashMap<Id, Open>) -> bool {
        matches!(open.get(&self.id), Some(Open::Call { serial, .. }) if *serial == self.serial)
    }
}

/// A request that waits for a call.
pub(crate) struct Waiter {
    pub ticket: Ticket,
    pub until: Instant,
    pub told: Instant,
    pub steps: u64,
}

impl Proxy {
    /// A call of a tool, from the request to the answer, unless it has to wait.
    pub(crate) fn call(self: &Arc<Self>, ticket: &Ticket, params: &Map<String, Value>) {
        let _answered = OnPanic(|| self.answer(ticket, &failed_within(None)));
        let read = self.read_call(ticket, params).and_then(|(call, round)| {
            Ok((call.digest().map_err(|fault| self.not_asked(&fault))?, call, round))
        });
        match read {
            Ok((digest, call, round)) => self.join(&Ticket { round, ..ticket.clone() }, digest, call),
            Err(reply) => self.answer(ticket, &reply),
        }
    }

    /// The call, and how often its client came back with it.
    fn read_call(&self, ticket: &Ticket, params: &Map<String, Value>) -> Result<(Call, u32), Reply> {
        let known = ["name", "arguments", "_meta", "inputResponses", "requestState"];
        let most = if self.state().era == Some(Era::Request) { known.len() } else { 3 };
        if let Some(name) = params.keys().find(|name| !known[..most].contains(&name.as_str())) {
            return Err(parameters(format!("{name:?} is no parameter that this gate lets through")));
        }
        let Some(Value::String(name)) = params.get("name") else {
            return Err(parameters("name is no text".to_owned()));
        };
        let arguments = match params.get("arguments") {
            None => Map::new(),
            Some(Value::Object(arguments)) => arguments.clone(),
            Some(_) => return Err(parameters("arguments is no object".to_owned())),
        };
        if let Some(name) = [RESPONSES, STATE].into_iter().find(|name| arguments.contains_key(*name)) {
            return Err(parameters(format!("the argument {name:?} is this gate's own")));
        }
        let (inputs, round) = read_inputs(params)?;
        let tool = self.definition(name, limits::DEFINITIONS, self.meta_of(ticket).as_ref());
        if let Err(Reply::Error { code: TOOL_UNKNOWN, why, .. }) = &tool
            && let Ok(desk) = self.desk()
        {
            // It stands by itself; its record is a courtesy.
            let _ = desk.refuse_unknown(name, TOOL_UNKNOWN, why);
        }
        let tool = tool?;
        Ok((Call { name: name.clone(), tool, arguments, inputs }, round))
    }

    /// What a request under [`Era::Request`] says of itself.
    fn meta_of(&self, ticket: &Ticket) -> Option<Value> {
        match self.state().open.get(&ticket.id) {
            Some(Open::Call { serial, meta, .. }) if *serial == ticket.serial => meta.clone(),
            _ => None,
        }
    }

    /// Has a request wait for its call: for the one that is held, or else for one that is proposed now.
    fn join(self: &Arc<Self>, ticket: &Ticket, digest: CallDigest, call: Call) {
        let mut state = self.state();
        while state.asking.contains(&digest) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(pending) = state.calls.get_mut(&digest) {
            pending.waiters.push(self.waiter(ticket));
            pending.wanted = Instant::now();
            if pending.busy {
                return;
            }
            pending.busy = true;
            drop(state);
            return self.attempt(digest);
        }
        state.asking.insert(digest);
        drop(state);
        let asking = Asking { proxy: self, digest };
        let asked = self.desk().and_then(|desk| {
            let ask = desk.ask(&call, &ticket.id.to_string())?;
            Ok(match desk.refuses(&ask)? {
                Some(refused) => Err(refused),
                // Before anything is prepared: what an earlier gate left is taken from there.
                None => {
                    let remembered = self.remember(&ask.openings)?;
                    Ok((desk.asking.prepare(&ask)?, remembered))
                }
            })
        });
        // Until it is known as a call, it counts as being proposed: what is the same must find one or the other.
        let mut state = self.state();
        match asked {
            Ok(Err((refusal, run))) => {
                let era = state.era();
                drop(state);
                let receipt = CallReceipt::new(run, None, None, "refused");
                let text = format!("refused: {refusal}. Nothing was run. The refusal is in run {run}.");
                let receipt = CallReceipt { code: Some(refusal.code), ..receipt };
                self.answer(ticket, &Reply::Result(reply::not_run(era, &text, Some(&receipt))));
            }
            Ok(Ok((asked, remembered))) => {
                let waiters = vec![self.waiter(ticket)];
                state.by_proposal.insert(asked.proposal, digest);
                let pending = Pending {
                    call,
                    waiters,
                    busy: true,
                    changed: false,
                    // People may have been asked by an earlier gate.
                    held: asked.earlier,
                    why: String::new(),
                    ran: false,
                    asked,
                    wanted: Instant::now(),
                    remembered,
                };
                state.calls.insert(digest, pending);
                drop(state);
                drop(asking);
                self.attempt(digest);
            }
            Err(fault) => {
                drop(state);
                self.answer(ticket, &self.not_asked(&fault));
            }
        }
    }

    fn join_later(self: &Arc<Self>, ticket: Ticket, digest: CallDigest, call: Call) {
        let proxy = Arc::clone(self);
        self.shared.pool.run(&self.share, move || {
            let _answered = OnPanic(|| proxy.answer(&ticket, &failed_within(None)));
            proxy.join(&ticket, digest, call);
        });
    }

    /// Room for a call with these large arguments, for which idle ones are forgotten.
    fn remember(self: &Arc<Self>, openings: &[Opening]) -> Result<Remembered, NotAsked> {
        forget_idle(&self.shared, &[Arc::clone(self)]);
        self.shared.remember(openings.iter().map(|opening| opening.content.len()).sum()).ok_or_else(|| {
            let why = format!("calls wait that have {} bytes of arguments together", limits::CALLS_BYTES);
            NotAsked { code: "mcp-busy".to_owned(), why }
        })
    }

    fn waiter(&self, ticket: &Ticket) -> Waiter {
        let now = Instant::now();
        Waiter { ticket: ticket.clone(), until: now + self.shared.times.hold, told: now, steps: 0 }
    }

    /// Runs a call that this thread has, if it may be run and somebody still waits for it.
    fn attempt(self: &Arc<Self>, digest: CallDigest) {
        let _ended = OnPanic(|| self.broke_off(&digest));
        loop {
            let (asked, call, ticket, held) = {
                let mut state = self.state();
                let State { calls, open, .. } = &mut *state;
                let Some(pending) = calls.get_mut(&digest) else { return };
                pending.waiters.retain(|waiter| waiter.ticket.is_open(open));
                pending.changed = false;
                let Some(waiter) = pending.waiters.last() else {
                    // Nothing runs that nobody waits for.
                    pending.busy = false;
                    self.leave_to_others(pending);
                    return;
                };
                (pending.asked.clone(), pending.call.clone(), waiter.ticket.clone(), pending.held)
            };
            let mut effect = Effect { proxy: self, digest, ticket, call: &call, held, result: None };
            let ended = self.desk().map(|desk| desk.asking.attempt(&asked, &mut effect));
            let (result, ticket) = (effect.result, effect.ticket);
            let again = match ended {
                Ok(Ok(Ended::Held(why))) => self.held(&digest, why),
                Ok(Ok(Ended::Ran(ran))) => self.ran(&digest, &ticket, &ran, result),
                Ok(Ok(Ended::Refused { refusal, .. })) if refusal.code == OUTCOME_UNKNOWN => {
                    let why = format!("refused: {refusal}");
                    self.in_doubt(&digest, &refusal.code, &why)
                }
                Ok(Ok(Ended::Refused { refusal, .. })) => {
                    let is_used_up = refusal.code == Rule::UseExceeded.code();
                    let why = format!("refused: {refusal}");
                    self.refused(&digest, (refusal.code, why), None, is_used_up)
                }
                Ok(Ok(Ended::NotRun { execution, refusal, .. })) => {
                    let why = format!("not run: {refusal}");
                    self.refused(&digest, (refusal.code, why), Some(execution), false)
                }
                Ok(Err(fault)) => self.failed(&digest, fault),
                Err(NotAsked { code, why }) => {
                    let why = format!("{code}: {why}");
                    self.refused(&digest, (code, why), None, false)
                }
            };
            if !again {
                return;
            }
        }
    }

    /// A call may have happened, and nobody knows: it is not done again until somebody says what became of it.
    fn in_doubt(&self, digest: &CallDigest, code: &str, why: &str) -> bool {
        let mut state = self.state();
        let era = state.era();
        let Some(pending) = state.calls.get_mut(digest) else { return false };
        pending.doubt();
        self.leave_to_others(pending);
        pending.busy = false;
        let waiters = std::mem::take(&mut pending.waiters);
        let Asked { run, proposal, .. } = pending.asked;
        drop(state);
        let receipt = CallReceipt::new(run, Some(proposal), None, "refused");
        let receipt = CallReceipt { code: Some(code.to_owned()), ..receipt };
        let text = format!(
            "{why}. Nothing was run now. Look at what the earlier call changed before anything else is done about it. Once a \
             person says what became of it, with `counterfoil settle {run} --status … --effects …`, the same call is another one."
        );
        let reply = Reply::Result(reply::not_run(era, &text, Some(&receipt)));
        for waiter in waiters {
            self.answer(&waiter.ticket, &reply);
        }
        false
    }

    /// A call waits for people. Whether to attempt it at once again, because something changed meanwhile.
    fn held(&self, digest: &CallDigest, why: String) -> bool {
        let mut state = self.state();
        let Some(pending) = state.calls.get_mut(digest) else { return false };
        (pending.held, pending.why) = (true, why);
        // Another connection may go on with it, and use it up.
        (pending.asked.earlier, pending.asked.begun) = (true, None);
        self.leave_to_others(pending);
        if pending.changed {
            return true;
        }
        pending.busy = false;
        false
    }

    /// What was found standing, or is held now, is there for other connections: to be proposed no second time.
    fn leave_to_others(&self, pending: &Pending) {
        if pending.asked.earlier
            && let Some(desk) = self.shared.opened_desk()
        {
            desk.asking.leave(&pending.asked);
        }
    }

    /// A call ran.
    fn ran(
        self: &Arc<Self>,
        digest: &CallDigest,
        served: &Ticket,
        ran: &Ran,
        result: Option<String>,
    ) -> bool {
        let mut state = self.state();
        let era = state.era();
        let Some(pending) = state.calls.get_mut(digest) else { return false };
        let receipt = CallReceipt::new(
            pending.asked.run,
            Some(pending.asked.proposal),
            Some(ran.execution),
            "executed",
        );
        let (held, call, asked) = (pending.held, pending.call.clone(), pending.asked.clone());
        let waiters: Vec<Ticket> = pending.waiters.drain(..).map(|waiter| waiter.ticket).collect();
        (pending.busy, pending.ran) = (false, true);
        // What may have happened is not over: the same call is this one.
        let in_doubt = ran.done.status == Status::Unknown && !asked.changes_nothing;
        if in_doubt {
            pending.doubt();
        } else if !held {
            state.forget(digest);
        }
        drop(state);
        let result = result.and_then(|result| reply::with_receipt(&result, &receipt)).unwrap_or_else(|| {
            let why = ran.done.detail.clone().unwrap_or_else(|| "the server gave no result".to_owned());
            reply::not_run(
                era,
                &format!("{}, effects {}: {why}", ran.done.status, ran.done.effects),
                Some(&receipt),
            )
        });
        for waiter in waiters {
            if held || waiter == *served {
                // Whoever joined what people approved asked for this one effect.
                self.answer(&waiter, &Reply::Result(result.clone()));
            } else {
                self.join_later(waiter, *digest, call.clone());
            }
        }
        if held && !in_doubt {
            self.forget_if_used_up(digest, &asked);
        }
        false
    }

    /// What people approved and ran is left to nobody once nothing is left of it.
    fn forget_if_used_up(&self, digest: &CallDigest, asked: &Asked) {
        let Some(desk) = self.shared.opened_desk().filter(|desk| desk.is_used_up(asked)) else { return };
        desk.asking.end(asked);
        let mut state = self.state();
        if state
            .calls
            .get(digest)
            .is_some_and(|known| known.asked.proposal == asked.proposal && known.is_idle())
        {
            state.forget(digest);
        }
    }

    /// A call is over without an effect.
    fn refused(
        self: &Arc<Self>,
        digest: &CallDigest,
        (code, why): (String, String),
        execution: Option<RecordId>,
        is_used_up: bool,
    ) -> bool {
        let mut state = self.state();
        let era = state.era();
        if state.calls.get(digest).is_some_and(|pending| pending.asked.in_doubt && !is_used_up) {
            drop(state);
            return self.in_doubt(digest, &code, &why);
        }
        let Some(pending) = state.forget(digest) else { return false };
        drop(state);
        if let Some(desk) = self.shared.opened_desk() {
            desk.asking.end(&pending.asked);
        }
        if is_used_up && (pending.ran || pending.asked.earlier) {
            // The same call is another one now.
            for waiter in pending.waiters {
                self.join_later(waiter.ticket, *digest, pending.call.clone());
            }
            return false;
        }
        let receipt = CallReceipt::new(pending.asked.run, Some(pending.asked.proposal), execution, "refused");
        let receipt = CallReceipt { code: Some(code), ..receipt };
        let text = format!("{why}. Nothing was run. Its run is {}.", pending.asked.run);
        let reply = Reply::Result(reply::not_run(era, &text, Some(&receipt)));
        for waiter in pending.waiters {
            self.answer(&waiter.ticket, &reply);
        }
        false
    }

    /// It could not be proposed, there is no evidence, or nothing can be noted: nothing ran, and what is held stays held. What may be
    /// proposed is gone on with by the same call, which is not proposed a second time.
    fn failed(&self, digest: &CallDigest, fault: AskError) -> bool {
        let mut state = self.state();
        let era = state.era();
        let Some(pending) = state.calls.get_mut(digest) else { return false };
        pending.busy = false;
        let waiters = std::mem::take(&mut pending.waiters);
        let receipt = CallReceipt::new(pending.asked.run, Some(pending.asked.proposal), None, "failed");
        self.leave_to_others(pending);
        if !pending.held && !may_be_proposed(&fault) {
            state.forget(digest);
        }
        drop(state);
        let reply = match fault {
            AskError::NotAsked { .. } => self.not_asked(&fault.into()),
            AskError::Gate(fault) => Reply::Result(reply::not_run(era, &fault.to_string(), Some(&receipt))),
        };
        for waiter in waiters {
            self.answer(&waiter.ticket, &reply);
        }
        false
    }

    /// Whoever attempted it panicked. What became of it the next gate settles, if it began.
    fn broke_off(&self, digest: &CallDigest) {
        let mut state = self.state();
        let Some(pending) = state.calls.get_mut(digest) else { return };
        pending.busy = false;
        let is_over = pending.asked.changes_nothing && !pending.held;
        if !pending.asked.changes_nothing {
            // It may have begun.
            pending.doubt();
        }
        self.leave_to_others(pending);
        let (waiters, run) = (std::mem::take(&mut pending.waiters), pending.asked.run);
        if is_over {
            state.forget(digest);
        }
        for waiter in &waiters {
            state.awaited.remove(&waiter.ticket.id);
        }
        drop(state);
        for waiter in waiters {
            self.answer(&waiter.ticket, &failed_within(Some(run)));
        }
    }

    /// The effect: the server is given exactly the arguments that were judged, and what it answers is what became of them.
    ///
    /// It serves the request of the ticket, or another one that waits for the same if that was cancelled.
    fn run(
        &self,
        digest: CallDigest,
        ticket: &mut Ticket,
        call: &Call,
        action: &Action,
        attempt: &Attempt,
    ) -> (Done, Option<String>) {
        let (to, from) = mpsc::channel();
        let mut meta = {
            let mut guard = self.state();
            let state = &mut *guard;
            if state.ended {
                return (Done::not_started("the server ended"), None);
            }
            let waiters = state.calls.get(&digest).map_or(&[][..], |pending| &pending.waiters);
            let waiting = waiters.iter().map(|waiter| &waiter.ticket);
            let still =
                [&*ticket].into_iter().chain(waiting).find(|ticket| ticket.is_open(&state.open)).cloned();
            *ticket = match still {
                Some(still) => still,
                None => return (Done::not_started("the client no longer waits"), None),
            };
            let id = &ticket.id;
            if state.awaited.contains_key(id) {
                return (Done::not_started("another call runs under the same id"), None);
            }
            let Some(Open::Call { token, meta, .. }) = state.open.get(id) else {
                return (Done::not_started("the client no longer waits"), None);
            };
            let mut meta = meta.clone().unwrap_or_else(|| json!({}));
            if let Some(token) = token {
                meta["progressToken"] = token.clone();
            }
            state.awaited.insert(id.clone(), to);
            meta
        };
        meta[EXECUTION] = attempt.execution.to_string().into();
        meta[IDEMPOTENCY_KEY] = attempt.idempotency_key.to_string().into();
        let mut params = json!({"name": call.name, "arguments": call.approved(action), "_meta": meta});
        if let Some(Inputs { responses, state }) = &call.inputs {
            if let Some(responses) = responses {
                params["inputResponses"] = Value::Object(responses.clone());
            }
            if let Some(state) = state {
                params["requestState"] = state.as_str().into();
            }
        }
        let sent = reply::message(Some(&ticket.id), "tools/call", &params).map_err(|fault| fault.to_string());
        let sent = sent.and_then(|text| {
            if self.to_server(&text) { Ok(()) } else { Err("the server does not read".to_owned()) }
        });
        if let Err(why) = sent {
            self.state().awaited.remove(&ticket.id);
            return (Done::not_started(why), None);
        }
        let may_ask = self.state().era == Some(Era::Request);
        match self.await_answer(ticket, &from) {
            Answer::Result(result) if may_ask && passing::wants_input(&result) => self.asked_back(&result),
            answer => done(answer),
        }
    }

    /// A call that the server answered with a question: what it did until then only the server knows, and it does no more of it. What the client
    /// answers is a call of its own.
    fn asked_back(&self, result: &str) -> (Done, Option<String>) {
        let (detail, passed) = match self.with_judged_inputs(result) {
            Ok(passed) => {
                ("the server wants input; what is answered is another call".to_owned(), Some(passed))
            }
            Err((_, why)) => (format!("the server wants input, and is not given it: {why}"), None),
        };
        let (status, effects) = (Status::Failed, Effects::Unknown);
        (Done { status, effects, result: payload(result), detail: Some(detail) }, passed)
    }

    /// What the server answers, however long it takes, unless the client cancels the call or the server goes.
    fn await_answer(&self, ticket: &Ticket, from: &mpsc::Receiver<Answer>) -> Answer {
        let mut cancelled: Option<Instant> = None;
        loop {
            match from.recv_timeout(Duration::from_millis(500)) {
                Ok(answer) => return answer,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Answer::Gone("the server ended"),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            let mut state = self.state();
            if ticket.is_open(&state.open) {
                continue;
            }
            if cancelled.get_or_insert_with(Instant::now).elapsed() > limits::AFTER_CANCEL {
                state.awaited.remove(&ticket.id);
                return Answer::Gone("the client cancelled it, and the server said no more");
            }
        }
    }

    /// Tells those who waited long enough to ask again, and those who want to know that they wait. To be called now and then.
    pub fn tick(self: &Arc<Self>) {
        self.look_at_policy();
        let now = Instant::now();
        let mut state = self.state();
        let era = state.era();
        let (mut over, mut told) = (Vec::new(), Vec::new());
        for pending in state.calls.values_mut().filter(|pending| pending.held && !pending.busy) {
            let receipt = CallReceipt::new(pending.asked.run, Some(pending.asked.proposal), None, "held");
            for waiter in &mut pending.waiters {
                if waiter.until <= now {
                    let again = (era == Era::Request && waiter.ticket.round < self.shared.times.rounds)
                        .then(|| Waiting::next(waiter.ticket.round, pending.call.inputs.as_ref()));
                    over.push((
                        waiter.ticket.clone(),
                        (pending.why.clone(), again),
                        pending.asked.clone(),
                        receipt.clone(),
                    ));
                } else if waiter.told + self.shared.times.progress <= now {
                    (waiter.told, waiter.steps) = (now, waiter.steps + 1);
                    told.push((waiter.ticket.clone(), waiter.steps, pending.asked.proposal));
                }
            }
            if pending.waiters.iter().any(|waiter| waiter.until <= now) {
                pending.wanted = now;
            }
            pending.waiters.retain(|waiter| waiter.until > now);
        }
        let tokens =
            told.into_iter().filter_map(|(ticket, steps, proposal)| match state.open.get(&ticket.id) {
                Some(Open::Call { token: Some(token), .. }) => Some((token.clone(), steps, proposal)),
                _ => None,
            });
        let tokens: Vec<_> = tokens.collect();
        drop(state);
        // What is held was proposed at a desk.
        let Some(desk) = self.shared.opened_desk() else { return };
        for (token, steps, proposal) in tokens {
            let said = format!("waits for approval: {}", desk.review_url(&proposal));
            let params = json!({"progressToken": token, "progress": steps, "message": said});
            if let Ok(text) = reply::message(None, "notifications/progress", &params) {
                self.to_client(&text);
            }
        }
        for (ticket, (why, again), asked, receipt) in over {
            let proposal = asked.proposal;
            let review = desk.review_url(&proposal);
            if let Some(state) = again.and_then(|again| again.to_text()) {
                let receipt = CallReceipt { review: Some(review), ..receipt };
                self.answer(&ticket, &Reply::Result(reply::come_back(&state, &receipt)));
                continue;
            }
            let definition = desk.definition_of(&asked.action);
            let text = format!(
                "Not approved yet: {why}{definition}. It waits as proposal {proposal} of run {}; nothing was run. Whoever may approve it finds it at \
                 {review} . Call the tool again with the same arguments to go on waiting, or to have it run once it is approved.",
                receipt.run
            );
            let receipt = CallReceipt { review: Some(review), ..receipt };
            self.answer(&ticket, &Reply::Result(reply::not_run(era, &text, Some(&receipt))));
        }
    }

    /// Whether somebody waits for what people decide.
    pub fn awaits_decisions(&self) -> bool {
        self.state().calls.values().any(|pending| pending.held && !pending.waiters.is_empty())
    }

    /// Something about a proposal changed: whoever waits for it is served.
    pub fn changed(self: &Arc<Self>, proposal: Option<&RecordId>) {
        let mut state = self.state();
        let digests: Vec<CallDigest> = match proposal {
            Some(proposal) => state.by_proposal.get(proposal).copied().into_iter().collect(),
            None => state.calls.keys().copied().collect(),
        };
        for digest in digests {
            let Some(pending) = state.calls.get_mut(&digest) else { continue };
            pending.changed = true;
            if !pending.busy && !pending.waiters.is_empty() {
                pending.busy = true;
                let proxy = Arc::clone(self);
                self.shared.pool.run(&self.share, move || proxy.attempt(digest));
            }
        }
    }
}

/// Forgets calls that nobody waits for until there is room again: those without large arguments first, which are found again in the log, and
/// of each kind those that were waited for longest ago.
pub(crate) fn forget_idle(shared: &Shared, connections: &[Arc<Proxy>]) {
    if !shared.remembers_enough() {
        return;
    }
    let mut idle = Vec::new();
    for connection in connections {
        let state = connection.state();
        let calls = state.calls.iter().filter(|(_, pending)| pending.is_idle());
        let calls = calls.map(|(digest, pending)| {
            (pending.remembered.bytes() > 0, pending.wanted, *digest, Arc::clone(connection))
        });
        idle.extend(calls);
    }
    idle.sort_unstable_by_key(|(is_large, wanted, ..)| (*is_large, *wanted));
    for (is_large, _, digest, connection) in idle {
        if !shared.remembers_enough() {
            return;
        }
        let mut state = connection.state();
        // Where bytes are short, forgetting what has none is of no use.
        let helps = is_large || shared.remembers_enough_calls();
        if helps && state.calls.get(&digest).is_some_and(Pending::is_idle) {
            state.forget(&digest);
        }
    }
}

/// Whether the log may hold the proposal of what failed so, and it can be gone on with.
fn may_be_proposed(fault: &AskError) -> bool {
    match fault {
        // Otherwise the log signed that it does not admit it.
        AskError::NotAsked { code, .. } => code == NOT_PROPOSED,
        // What may be logged is its execution, too, and that holds its use.
        AskError::Gate(GateError::Unconfirmed { .. }) => false,
        AskError::Gate(
            GateError::NotSettled
            | GateError::NotProposed(_)
            | GateError::NoEvidence(_)
            | GateError::Open(_)
            | GateError::Sign(_)
            | GateError::Clock(_)
            | GateError::Random(_),
        ) => true,
    }
}

/// What is said of a call in which this gate panicked.
fn failed_within(run: Option<RunId>) -> Reply {
    let run = run.map_or_else(String::new, |run| format!("; its run is {run}"));
    let why = format!("this gate failed within the call, and does not say whether it ran{run}");
    Reply::Error { number: message::INTERNAL, code: FAILED, why }
}

/// A call that is being proposed, until this goes out of scope.
struct Asking<'p> {
    proxy: &'p Proxy,
    digest: CallDigest,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.proxy.state().asking.remove(&self.digest);
        self.proxy.changed.notify_all();
    }
}

/// A call as something that changes the world.
struct Effect<'c> {
    proxy: &'c Arc<Proxy>,
    digest: CallDigest,
    /// Whose request it serves.
    ticket: Ticket,
    call: &'c Call,
    /// Whether people were asked.
    held: bool,
    /// What the server answered.
    result: Option<String>,
}

impl counterfoil_gate::Effect for Effect<'_> {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        let (done, result) = self.proxy.run(self.digest, &mut self.ticket, self.call, action, attempt);
        self.result = result;
        done
    }

    /// Whether the tool is still defined as it was when the call was proposed; where people were asked the server is asked anew.
    fn check(&mut self, _: &Action) -> Result<(), Refusal> {
        let refusal = |detail: String| Refusal { code: "tool-changed".to_owned(), detail };
        let age = if self.held { Duration::ZERO } else { limits::DEFINITIONS };
        let meta = self.proxy.meta_of(&self.ticket);
        match self.proxy.definition(&self.call.name, age, meta.as_ref()) {
            Ok(tool) if tool == self.call.tool => Ok(()),
            Ok(_) => Err(refusal(format!("{} is defined otherwise than when it was called", self.call.name))),
            Err(Reply::Error { why, .. } | Reply::Result(why)) => Err(refusal(why)),
        }
    }

    fn is_idempotent(&self) -> bool {
        self.call.tool.idempotent
    }
}
