//! Proposals, decisions, timers, executions, revocations, policies and clocks in any order, against [`naive`](crate::naive): what is
//! admitted and with which code it is not, what becomes of each proposal, and that whoever folds the log again or is handed a bundle
//! finds the same.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_receipt::{
    RecordId, RunId, UnverifiedRecord,
    body::{
        Body, Cancel, Changes, Effects, Escalation, Revocation, RevocationTarget, Ruling, Settlement, Status,
        Surface, Window,
    },
    field::{List, Set, Whole},
    text::{Principal, RuleName},
};
use counterfoil_testkit::{Actor, NoRoots, Scenario, WINDOW, action, text};
use counterfoil_verify::{
    Answer, Conclusion, Dimension, Finding, KeyCache, Scope, Shown, State, Verdict, check_signature, verify,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use crate::naive::{Code, Decision, End, MEMBERS, Naive, PEOPLE, POLICIES, SRE, Says, Voice, document};

/// What happens, in order. What names something that is not there yet does not.
#[derive(Clone, Debug)]
enum Step {
    Propose {
        supersedes: Option<usize>,
        ahead: u64,
    },
    Decide {
        proposal: usize,
        by: usize,
        by_link: bool,
        ruling: Ruling,
        length: u64,
        uses: u64,
    },
    Withdraw {
        decision: usize,
        by_authority: bool,
    },
    Cancel {
        proposal: usize,
    },
    /// Somebody with the policy key says something of the policy, in its time or not; the window begins so much too early.
    Say {
        proposal: usize,
        rule: usize,
        step: Option<u64>,
        ruling: Ruling,
        early: u64,
    },
    /// Everything that is due is said.
    SayAll,
    /// Of the decisions about the proposal, those with a bit set are named.
    Execute {
        proposal: usize,
        number: u64,
        named: u16,
        counting: bool,
        retries: Option<usize>,
    },
    /// Three approve, and what they approved is executed.
    Carry {
        proposal: usize,
        number: u64,
    },
    /// The gate says how an execution ended.
    Report {
        execution: usize,
        status: Status,
    },
    /// One of the last executions is said to be unknown, and tried again.
    Retry {
        last: usize,
    },
    /// Somebody says that it failed.
    Settle {
        execution: usize,
    },
    Revoke {
        who: usize,
    },
    SetPolicy {
        policy: usize,
    },
    Close,
    Wait(u64),
    Restart,
}

const MINUTE: u64 = 60_000;

fn step() -> impl Strategy<Value = Step> {
    let at = || 0..4usize;
    let ruling = || prop_oneof![10 => Just(Ruling::Approve), 1 => Just(Ruling::Reject), 1 => Just(Ruling::RequestChanges)];
    let ahead = prop_oneof![3 => Just(0), 1 => 0..20 * MINUTE];
    let length = prop_oneof![6 => 1..=WINDOW / 2, 2 => Just(WINDOW), 1 => Just(WINDOW + 1)];
    let uses = prop_oneof![6 => 1..=2u64, 1 => 3..=4u64];
    let verdict = prop::sample::select(vec![Ruling::Approve, Ruling::Reject]);
    let status =
        prop_oneof![5 => Just(Status::Unknown), 1 => Just(Status::Succeeded), 1 => Just(Status::Failed)];
    prop_oneof![
        3 => (prop::option::weighted(0.3, at()), ahead)
            .prop_map(|(supersedes, ahead)| Step::Propose { supersedes, ahead }),
        12 => (at(), 0..PEOPLE.len(), prop::bool::weighted(0.3), ruling(), length, uses).prop_map(
            |(proposal, by, by_link, ruling, length, uses)| Step::Decide { proposal, by, by_link, ruling, length, uses }
        ),
        1 => (0..12usize, any::<bool>())
            .prop_map(|(decision, by_authority)| Step::Withdraw { decision, by_authority }),
        1 => at().prop_map(|proposal| Step::Cancel { proposal }),
        5 => (at(), 0..2usize, prop::option::of(1..=3u64), verdict, prop_oneof![5 => Just(0), 1 => Just(1u64)])
            .prop_map(|(proposal, rule, step, ruling, early)| Step::Say { proposal, rule, step, ruling, early }),
        3 => Just(Step::SayAll),
        6 => (at(), 1..=3u64, any::<u16>(), prop::bool::weighted(0.7), prop::option::weighted(0.5, 0..8usize))
            .prop_map(|(proposal, number, named, counting, retries)| Step::Execute { proposal, number, named, counting, retries }),
        3 => (at(), 1..=2u64).prop_map(|(proposal, number)| Step::Carry { proposal, number }),
        4 => (0..8usize, status).prop_map(|(execution, status)| Step::Report { execution, status }),
        4 => (0..2usize).prop_map(|last| Step::Retry { last }),
        1 => (0..8usize).prop_map(|execution| Step::Settle { execution }),
        1 => (0..=PEOPLE.len()).prop_map(|who| Step::Revoke { who }),
        1 => (0..POLICIES.len()).prop_map(|policy| Step::SetPolicy { policy }),
        4 => Just(Step::Close),
        4 => prop_oneof![3 => 1..12 * MINUTE, 1 => 1..2 * WINDOW].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

/// An execution that was admitted: where, in which windows, and when by the log.
struct Executed {
    index: u64,
    windows: Vec<(u64, u64)>,
    log_time: Option<u64>,
}

/// A log, what the steps made in it, and the same as the naive reading has it.
struct Told {
    s: Scenario,
    run: RunId,
    people: BTreeMap<&'static str, Actor>,
    naive: Naive,
    proposals: Vec<RecordId>,
    decisions: Vec<RecordId>,
    executions: Vec<RecordId>,
    executed: Vec<Executed>,
    /// The first timer of which a bundle does not show that its turn had come.
    doubtful: Option<u64>,
    /// What was turned away last, and why.
    refused: Option<(UnverifiedRecord, Code)>,
}

impl Told {
    fn new(policy: usize) -> Self {
        let mut s = Scenario::founded(|_| {});
        // The groups of the last enrolment are those of the principal.
        for actor in [s.cast.scout.clone(), s.cast.gate.clone(), s.cast.engine.clone()] {
            s.enrol(&actor, &[]);
        }
        let people = PEOPLE.map(|name| {
            let human = Actor::new(name, counterfoil_receipt::Role::Human);
            (name, if name == "scout" { human.with_key(7) } else { human })
        });
        for (name, actor) in &people {
            let groups: &[&str] = if MEMBERS.contains(name) { &[SRE] } else { &[] };
            s.enrol(actor, groups);
        }
        let from = s.ledger.size();
        s.set_policy(document(POLICIES[policy]));
        let run = s.trigger();
        s.ledger.close();
        let log_time = s.ledger.state().log_time().unwrap().get();
        let naive = Naive { log_time, policy: (policy, from), ..Naive::default() };
        let (proposals, decisions, executions, executed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let people = people.into_iter().collect();
        Self {
            s,
            run,
            people,
            naive,
            proposals,
            decisions,
            executions,
            executed,
            doubtful: None,
            refused: None,
        }
    }

    /// Logs a record exactly if the naive reading takes it; whether it did.
    fn log(
        &mut self,
        by: &Actor,
        body: impl Into<Body>,
        ahead: u64,
        taken: Result<(), Code>,
    ) -> Option<RecordId> {
        let body = body.into();
        let mut draft = self.s.ledger.draft(by, Some(self.run), body);
        draft.time = Whole::new(draft.time.get() + ahead).unwrap();
        let record = draft.sign(by.signer()).unwrap();
        let admitted = self.s.ledger.append(record.bytes()).map(drop).map_err(|refused| refused.code);
        assert_eq!(admitted, taken, "{:#?}", record.body());
        if let Err(code) = taken {
            self.refused = Some((record, code));
            return None;
        }
        Some(record.id())
    }

    /// The time that the next record claims.
    fn next_time(&self) -> u64 {
        self.s.ledger.now() + 1_000
    }

    fn step(&mut self, step: &Step) {
        let proposal =
            |at: usize| Some(at % self.proposals.len().max(1)).filter(|_| !self.proposals.is_empty());
        let cast = self.s.cast.clone();
        match *step {
            Step::Propose { supersedes, ahead } => {
                let old = supersedes.and_then(proposal);
                let mut body = self.s.proposal(action("db.vacuum", json!({"n": self.proposals.len()})));
                body.supersedes = old.map(|old| self.proposals[old]);
                let (index, time) = (self.s.ledger.size(), self.next_time() + ahead);
                if let Some(id) = self.log(&cast.scout, body, ahead, self.naive.propose(old)) {
                    if let Some(old) = old {
                        self.naive.proposals[old].end = Some(End::Superseded);
                    }
                    self.proposals.push(id);
                    self.naive.proposals.push(crate::naive::Proposal { index, time, ..Default::default() });
                }
            }
            Step::Decide { proposal: at, by, by_link, ruling, length, uses } => {
                let Some(at) = proposal(at) else { return };
                self.decide(at, PEOPLE[by], by_link, ruling, length, uses);
            }
            Step::Withdraw { decision, by_authority } => {
                if self.decisions.is_empty() {
                    return;
                }
                let at = decision % self.decisions.len();
                let one = &self.naive.decisions[at];
                let own = self.people.get(one.approver).filter(|_| !by_authority).cloned();
                let is_revoked = own.is_some() && self.naive.revoked.contains(one.approver);
                let taken = if is_revoked { Err("key-revoked") } else { Ok(()) };
                let body = Cancel { reason: None, target: self.decisions[at] };
                if self.log(&own.unwrap_or(cast.root), body, 0, taken).is_some() {
                    self.naive.decisions[at].withdrawn = true;
                }
            }
            Step::Cancel { proposal: at } => {
                let Some(at) = proposal(at) else { return };
                let body = Cancel { reason: None, target: self.proposals[at] };
                if self.log(&cast.scout, body, 0, Ok(())).is_some() {
                    self.naive.proposals[at].end.get_or_insert(End::Cancelled);
                }
            }
            Step::Say { proposal: at, rule, step, ruling, early } => {
                let Some(at) = proposal(at) else { return };
                let rules = self.naive.rules();
                let rule = rules[rule % rules.len()].name;
                self.say(at, rule, step.map_or(Says::TimeOut(ruling.as_str()), Says::Step), early);
            }
            Step::SayAll => {
                let due = |naive: &Naive, at| {
                    let timers = naive.timers(at).into_iter();
                    let mut due: Vec<_> =
                        timers.filter(|(.., due)| due.is_some_and(|due| due <= naive.log_time)).collect();
                    due.sort_by_key(|(rule, _, due)| (*due, *rule));
                    due.into_iter().next()
                };
                for at in 0..self.proposals.len() {
                    while let Some((rule, says, _)) = due(&self.naive, at) {
                        let before = self.naive.timers(at).len();
                        self.say(at, rule, says, 0);
                        if self.naive.timers(at).len() == before {
                            break;
                        }
                    }
                }
            }
            Step::Execute { proposal: at, number, named, counting, retries } => {
                let Some(at) = proposal(at) else { return };
                let retries = retries.and_then(|which| self.which(which));
                // Mostly what it retries, so that some retries stand.
                let held = retries.filter(|_| counting).map(|which| &self.naive.executions[which]);
                let (at, number) = held.map_or((at, number), |held| (held.proposal, held.number));
                self.execute(at, number, retries, named, counting);
            }
            Step::Carry { proposal: at, number } => {
                let Some(at) = proposal(at) else { return };
                for who in ["ana", "bo", "cy"] {
                    self.decide(at, who, false, Ruling::Approve, WINDOW / 2, 2);
                }
                self.execute(at, number, None, 0, true);
            }
            Step::Report { execution, status } => {
                let Some(which) = self.which(execution) else { return };
                self.report(which, status);
            }
            Step::Retry { last } => {
                let Some(which) = self.executions.len().checked_sub(last + 1) else { return };
                self.report(which, Status::Unknown);
                let held = &self.naive.executions[which];
                self.execute(held.proposal, held.number, Some(which), 0, true);
            }
            Step::Settle { execution } => {
                let Some(which) = self.which(execution) else { return };
                let (effects, status) = (Effects::None, Status::Failed);
                let execution = self.executions[which];
                let body = Settlement { effects, evidence: None, execution, reason: None, status };
                let is_revoked = self.naive.revoked.contains("ana");
                let taken = if is_revoked { Err("key-revoked") } else { self.naive.settle(which) };
                let ana = self.people["ana"].clone();
                if self.log(&ana, body, 0, taken).is_some() {
                    self.naive.executions[which].settled = true;
                }
            }
            Step::Revoke { who } => {
                let name = PEOPLE.get(who).copied().unwrap_or("engine");
                if self.naive.revoked.insert(name) {
                    let key = self.people.get(name).unwrap_or(&cast.engine).key();
                    let target = RevocationTarget::Key(key);
                    self.s.ledger.add(
                        &cast.root,
                        None,
                        Revocation { distrust_from: None, reason: None, target },
                    );
                }
            }
            Step::SetPolicy { policy } => {
                let index = self.s.ledger.size();
                self.s.set_policy(document(POLICIES[policy]));
                // The document in force again changes nothing.
                if policy != self.naive.policy.0 {
                    self.naive.policy = (policy, index);
                }
            }
            Step::Close => self.close(),
            Step::Wait(millis) => {
                self.s.ledger.wait(millis);
                self.close();
            }
            Step::Restart => self.restart(),
        }
    }

    fn report(&mut self, which: usize, status: Status) {
        let body = self.s.outcome(self.executions[which], status);
        let gate = self.s.cast.gate.clone();
        if self.log(&gate, body, 0, self.naive.report(which, status)).is_some() {
            self.naive.executions[which].outcomes.push(status);
        }
    }

    /// One of the executions, if there are any.
    fn which(&self, at: usize) -> Option<usize> {
        Some(at % self.executions.len().max(1)).filter(|_| !self.executions.is_empty())
    }

    fn decide(
        &mut self,
        at: usize,
        who: &'static str,
        by_link: bool,
        ruling: Ruling,
        length: u64,
        uses: u64,
    ) {
        self.cover(&[self.proposals[at]]);
        let mut body = self.s.decision(self.run, self.proposals[at], ruling);
        let approves = ruling == Ruling::Approve;
        let from = self.next_time();
        let window = (from, from + length);
        let number = |number| Whole::new(number).unwrap();
        body.window = approves.then(|| Window { from: number(window.0), until: number(window.1) });
        body.uses = approves.then(|| Whole::new(uses).unwrap());
        body.changes = (ruling == Ruling::RequestChanges)
            .then(|| Changes { action: None, note: Some(text("Not all of it.")) });
        let (mut signer, mut voice) = (self.people[who].clone(), Voice::Own);
        if by_link {
            (signer, voice) = (self.s.cast.engine.clone(), Voice::Link);
            (body.approver, body.surface) = (Principal::new(who), Surface::Link);
        }
        let escalated = self.naive.escalated(at);
        let policy = self.naive.policy.0;
        let decision = Decision {
            proposal: at,
            approver: who,
            voice,
            ruling,
            policy,
            uses,
            window,
            withdrawn: false,
            escalated,
        };
        let taken = self.naive.decide(&decision);
        if let Some(id) = self.log(&signer, body, 0, taken) {
            self.note(id, decision);
        }
    }

    /// A decision is an entry: what it ends.
    fn note(&mut self, id: RecordId, decision: Decision) {
        let end = match decision.ruling {
            Ruling::Approve => None,
            Ruling::Reject => Some(End::Rejected),
            Ruling::RequestChanges => Some(End::SentBack),
        };
        let is_entitled = self.naive.is_entitled(&decision);
        let proposal = &mut self.naive.proposals[decision.proposal];
        proposal.end = proposal.end.or(end.filter(|_| is_entitled));
        self.naive.decisions.push(decision);
        self.decisions.push(id);
    }

    fn say(&mut self, at: usize, name: &'static str, says: Says, early: u64) {
        let rule = *self.naive.rules().iter().find(|rule| rule.name == name).unwrap();
        let (engine, proposal) = (self.s.cast.engine.clone(), self.proposals[at]);
        let rule_name = RuleName::new(name).unwrap();
        let policy = self.naive.policy.0;
        let may_be_met = self.naive.may_be_met(&rule, at);
        let said_before = self.naive.proposals[at].said.len();
        match says {
            Says::Step(step) => {
                let who = rule.steps.get(step as usize - 1).map_or("cy", |(_, who)| who);
                let body = Escalation {
                    policy: self.s.policy(),
                    proposal,
                    reason: None,
                    rule: rule_name,
                    step: Whole::new(step).unwrap(),
                    to: List(vec![counterfoil_receipt::body::Audience::Principal(
                        Principal::new(who).unwrap(),
                    )]),
                };
                let taken = self.naive.say(at, &rule, says, None);
                if self.log(&engine, body, 0, taken).is_some() {
                    self.naive.proposals[at].said.push((policy, name, Some(step)));
                }
            }
            Says::TimeOut(verdict) => {
                let ruling = Ruling::parse(verdict).unwrap();
                self.cover(&[proposal]);
                let mut body = self.s.decision(self.run, proposal, ruling);
                (body.rule, body.shown, body.surface) = (Some(rule_name), None, Surface::None);
                let proposed = &self.naive.proposals[at];
                let after = rule.time_out.map_or(0, |(after, _)| after);
                let due = proposed.log_time.map_or(0, |time| time.max(proposed.time) + after);
                let from = if early > 0 { due.saturating_sub(early) } else { due.max(self.next_time()) };
                let window = (from, from + self.naive.rules().iter().map(|rule| rule.window).min().unwrap());
                let approves = ruling == Ruling::Approve;
                let number = |number| Whole::new(number).unwrap();
                body.window = approves.then(|| Window { from: number(window.0), until: number(window.1) });
                let taken = self.naive.say(at, &rule, says, approves.then_some(from));
                if let Some(id) = self.log(&engine, body, 0, taken) {
                    self.naive.proposals[at].said.push((policy, name, None));
                    let (voice, escalated) = (Voice::TimeOut(name), BTreeSet::new());
                    let decision = Decision {
                        proposal: at,
                        approver: "engine",
                        voice,
                        ruling,
                        policy,
                        uses: 1,
                        window,
                        withdrawn: false,
                        escalated,
                    };
                    self.note(id, decision);
                }
            }
        }
        if may_be_met && self.naive.proposals[at].said.len() > said_before {
            self.doubtful = self.doubtful.or(Some(self.s.ledger.size() - 1));
        }
    }

    /// The gate executes, naming some of the decisions, or those that the fold would choose of all that count.
    fn execute(&mut self, at: usize, number: u64, retries: Option<usize>, named: u16, counting: bool) {
        let id = self.proposals[at];
        let about: Vec<usize> =
            (0..self.decisions.len()).filter(|one| self.naive.decisions[*one].proposal == at).collect();
        let (state, run) = (self.s.ledger.state(), self.s.ledger.run(self.run));
        let chosen: Vec<usize> = if counting {
            let standing: Vec<RecordId> = about
                .iter()
                .map(|one| self.decisions[*one])
                .filter(|one| state.counts(run, &id, one, None).is_ok())
                .collect();
            let selected = state.select(run, &id, &standing).unwrap_or_default();
            (0..self.decisions.len()).filter(|one| selected.contains(&self.decisions[*one])).collect()
        } else {
            let is_named = |(bit, _): &(usize, &usize)| named & (1 << (bit % 16)) != 0;
            about.iter().enumerate().filter(is_named).map(|(_, one)| *one).take(16).collect()
        };
        let ids: Vec<RecordId> = chosen.iter().map(|one| self.decisions[*one]).collect();
        let retried: Vec<RecordId> = retries.map(|which| self.executions[which]).into_iter().collect();
        self.cover(&[&ids[..], &[id], &retried].concat());
        let mut body = self.s.execution(self.run, id, &[]);
        body.decisions = Set::new(ids).unwrap();
        body.use_number = Whole::new(number).unwrap();
        body.retries = retried.first().copied();
        let decisions: Vec<&Decision> = chosen.iter().map(|one| &self.naive.decisions[*one]).collect();
        let taken =
            self.naive.execute((at, body.basis.size.get()), number, retries, &decisions, self.next_time());
        let windows: Vec<(u64, u64)> = decisions.iter().map(|one| one.window).collect();
        let (gate, index) = (self.s.cast.gate.clone(), self.s.ledger.size());
        if let Some(id) = self.log(&gate, body, 0, taken) {
            self.executions.push(id);
            self.naive.executions.push(crate::naive::Execution {
                proposal: at,
                number,
                outcomes: Vec::new(),
                settled: false,
            });
            self.executed.push(Executed { index, windows, log_time: None });
        }
    }

    /// Closes the batch where the last checkpoint does not cover what a decision or an execution names.
    fn cover(&mut self, named: &[RecordId]) {
        let size = self.s.ledger.basis().size.get();
        if named.iter().any(|id| self.s.ledger.state().index_of(id).unwrap() >= size) {
            self.close();
        }
    }

    fn close(&mut self) {
        self.s.ledger.close();
        let time = self.s.ledger.state().log_time().unwrap().get();
        self.naive.log_time = time;
        self.naive.proposals.iter_mut().for_each(|one| one.log_time = one.log_time.or(Some(time)));
        self.executed.iter_mut().for_each(|one| one.log_time = one.log_time.or(Some(time)));
    }

    fn run_of<'a>(&self, state: &'a State) -> &'a counterfoil_verify::Run {
        state.run(&self.run).unwrap()
    }

    /// A state says of each proposal what the naive reading says.
    fn check(&self, state: &State) {
        self.check_executions(state);
        let run = self.run_of(state);
        for (at, id) in self.proposals.iter().enumerate() {
            let approval = state.approval(run, id).unwrap();
            assert_eq!(approval.status.as_str(), self.naive.status(at), "proposal {at}");
            let met: Vec<(&str, bool)> =
                approval.rules.iter().map(|rule| (rule.rule.as_str(), rule.is_met)).collect();
            let expected: Vec<(&str, bool)> =
                self.naive.rules().iter().map(|rule| (rule.name, self.naive.is_met(rule, at))).collect();
            assert_eq!(BTreeSet::from_iter(met), BTreeSet::from_iter(expected), "proposal {at}");
            let holders = self.naive.holders(at).into_iter();
            let holders: BTreeMap<u64, RecordId> =
                holders.map(|(number, which)| (number, self.executions[which])).collect();
            assert_eq!(run.proposal(id).unwrap().uses, holders, "proposal {at}");
            if state.scope() == Scope::Shown {
                // A bundle has the log times of few proposals.
                continue;
            }
            let timers: BTreeSet<(String, String, Option<u64>)> = approval
                .timers
                .iter()
                .map(|timer| (timer.rule.to_string(), said(&timer.says), timer.due))
                .collect();
            let expected = self.naive.timers(at).into_iter().map(|(rule, says, due)| {
                let says = match says {
                    Says::Step(step) => format!("step {step}"),
                    Says::TimeOut(verdict) => verdict.to_owned(),
                };
                (rule.to_owned(), says, due)
            });
            assert_eq!(timers, expected.collect(), "proposal {at}");
        }
    }

    /// Of each execution, how often it may be tried again.
    fn check_executions(&self, state: &State) {
        let run = self.run_of(state);
        for (which, id) in self.executions.iter().enumerate() {
            assert_eq!(state.retries_left(run, id), self.naive.retries_left(which), "execution {which}");
        }
    }

    /// The fold of all entries from the first on is where the log is.
    fn restart(&self) {
        let (mut state, mut keys) = (State::new(Scope::Complete), KeyCache::default());
        for (index, entry) in (0..).zip(self.s.ledger.entries()) {
            let record = check_signature(UnverifiedRecord::parse(entry).unwrap(), &mut keys).unwrap();
            state.fold(&record, index, &NoRoots).unwrap();
        }
        self.check(&state);
    }

    /// What a bundle shows is what was admitted, and what was turned away convinces nobody who is handed it all the same.
    fn verify(&mut self) {
        self.close();
        let trust = self.s.ledger.trust().trust();
        let verdict = verify(&self.s.ledger.bundle(self.run), &trust, 0);
        if let Some(index) = self.doubtful {
            return self.verify_doubtful(&verdict, index);
        }
        self.check(verdict.state());
        let unasked = ["witness-quorum", "checkpoint-stale"];
        let found = verdict.findings().iter().filter(|finding| !unasked.contains(&finding.code));
        let found: Vec<(Option<u64>, &str)> = found.map(|finding| (finding.index, finding.code)).collect();
        let is_late = |one: &&Executed| {
            let time = one.log_time.unwrap();
            one.windows.iter().any(|(from, until)| !(*from..=*until).contains(&time))
        };
        let late: Vec<(Option<u64>, &str)> =
            self.executed.iter().filter(is_late).map(|one| (Some(one.index), "window-closed")).collect();
        assert_eq!(found, late);
        let is_shown = !self.executed.is_empty() && late.is_empty();
        assert_eq!(verdict.conclude(trust.require()) == Conclusion::Shown, is_shown);
        assert_eq!(matches!(verdict.answer(Dimension::Conformity), Answer::Fail), !late.is_empty());
        if let Some((record, _)) = self.refused.take() {
            let mut lying = self.s.clone();
            // Meanwhile it may have become true.
            if lying.ledger.force(record.bytes()).is_err() {
                lying.ledger.close();
                let verdict = verify(&lying.ledger.bundle(self.run), &trust, 0);
                assert_ne!(verdict.conclude(trust.require()), Conclusion::Shown, "{record:?}");
            }
        }
    }

    /// A bundle that does not show that the turn of this timer had come convinces nobody, and accuses nobody of it.
    fn verify_doubtful(&self, verdict: &Verdict, timer: u64) {
        let asked = |finding: &&Finding| {
            !["witness-quorum", "checkpoint-stale", "window-closed"].contains(&finding.code)
        };
        let doubts: Vec<&Finding> = verdict.findings().iter().filter(asked).collect();
        let first = doubts.first().map(|finding| (finding.index, finding.code));
        assert_eq!(first, Some((Some(timer), "timer-out-of-turn")));
        assert!(doubts.iter().all(|finding| finding.shown == Shown::NotShown), "{doubts:#?}");
        assert_ne!(verdict.conclude(self.s.ledger.trust().trust().require()), Conclusion::Shown);
    }
}

fn said(says: &counterfoil_verify::Says) -> String {
    match says {
        counterfoil_verify::Says::TimeOut(ruling) => ruling.as_str().to_owned(),
        counterfoil_verify::Says::Escalate { step, .. } => format!("step {step}"),
    }
}

#[test]
fn admission_and_bundles_are_what_the_rules_say() {
    let steps = (0..POLICIES.len(), prop::collection::vec(step(), 1..60));
    let tried = super::cases().cases;
    let told = TestRunner::new(super::cases()).run(&steps, |(policy, steps)| {
        let mut told = Told::new(policy);
        for step in &steps {
            told.step(step);
            told.check(told.s.ledger.state());
        }
        told.restart();
        told.verify();
        Ok(())
    });
    told.unwrap_or_else(|failure| panic!("{failure}"));
    println!("count orders of what happens to proposals, each as the naive reading has it {tried}");
}
