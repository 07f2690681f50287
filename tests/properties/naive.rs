//! What becomes of proposals, read from `spec/runs.md` §4 and §5 and `spec/policy.md` §1 in the plainest way: all that was said is kept,
//! and every question goes through all of it again.

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_receipt::body::{Ruling, Status};
use counterfoil_testkit::WINDOW;
use serde_json::{Value, json};

/// What a refusal is called.
pub type Code = &'static str;

/// One rule of a policy that asks about everything.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub name: &'static str,
    /// Each wants so many of these.
    pub requirements: &'static [(usize, &'static [&'static str])],
    pub by_link: bool,
    /// After so long, who is asked too.
    pub steps: &'static [(u64, &'static str)],
    pub time_out: Option<(u64, Ruling)>,
    pub segregation: bool,
    pub uses: u64,
    pub window: u64,
    /// How often a use is tried again, at most.
    pub retries: u64,
}

/// The people of [`SRE`] are meant by this name in a requirement.
pub const SRE: &str = "sre";
/// Who belongs to it; `scout` proposes too.
pub const MEMBERS: [&str; 3] = ["ana", "bo", "scout"];
/// Everybody who decides.
pub const PEOPLE: [&str; 4] = ["ana", "bo", "scout", "cy"];
/// Who asked for every action, and who proposed it.
const INVOLVED: [&str; 2] = ["gate", "scout"];

const MINUTE: u64 = 60_000;

/// The policies that come into force.
pub const POLICIES: [&[Rule]; 3] = [
    &[Rule {
        name: "two",
        requirements: &[(2, &[SRE])],
        by_link: true,
        steps: &[(5 * MINUTE, "cy"), (10 * MINUTE, "dot")],
        time_out: Some((15 * MINUTE, Ruling::Approve)),
        segregation: true,
        uses: 2,
        window: WINDOW,
        retries: 1,
    }],
    &[Rule {
        name: "one",
        requirements: &[(1, &[SRE])],
        by_link: false,
        steps: &[],
        time_out: Some((10 * MINUTE, Ruling::Reject)),
        segregation: false,
        uses: 2,
        window: WINDOW / 2,
        retries: 2,
    }],
    &[
        Rule {
            name: "both",
            requirements: &[(1, &[SRE]), (1, &["ana", "cy"])],
            by_link: true,
            steps: &[],
            time_out: None,
            segregation: false,
            uses: 3,
            window: WINDOW,
            retries: 2,
        },
        Rule {
            name: "beside",
            requirements: &[(1, &["bo", "cy", "scout"])],
            by_link: false,
            steps: &[(5 * MINUTE, "ana")],
            time_out: Some((10 * MINUTE, Ruling::Approve)),
            segregation: false,
            uses: 2,
            window: WINDOW,
            retries: 1,
        },
    ],
];

/// A policy as a document.
pub fn document(rules: &[Rule]) -> Value {
    let rules: Vec<Value> = rules.iter().map(|rule| rule.to_json()).collect();
    json!({"language": "counterfoil-policy/1", "rules": rules})
}

impl Rule {
    fn to_json(self) -> Value {
        let surfaces = if self.by_link { json!(["link", "terminal"]) } else { json!(["terminal"]) };
        let requirement = |(count, who): &(usize, &[&str])| match *who {
            [SRE] => json!({"count": count, "groups": [SRE], "surfaces": surfaces}),
            who => json!({"count": count, "principals": who, "surfaces": surfaces}),
        };
        let requirements: Vec<Value> = self.requirements.iter().map(requirement).collect();
        let mut rule = json!({"effect": "require", "match": {"always": true}, "name": self.name, "requirements": requirements,
            "segregation": self.segregation, "uses": self.uses, "window": self.window, "retries": self.retries});
        if !self.steps.is_empty() {
            let step = |(after, who): &(u64, &str)| json!({"after": after, "to": {"principals": [who]}});
            rule["escalation"] = self.steps.iter().map(step).collect();
        }
        if let Some((after, then)) = self.time_out {
            rule["timeout"] = json!({"after": after, "then": then.as_str()});
        }
        rule
    }

    /// Whether a requirement entitles somebody by this decision.
    fn entitles(&self, who: &[&str], decision: &Decision) -> bool {
        let takes = match decision.voice {
            Voice::Own => true,
            Voice::Link => self.by_link,
            Voice::TimeOut(_) => false,
        };
        let is_asked = match who {
            [SRE] => MEMBERS.contains(&decision.approver),
            who => who.contains(&decision.approver),
        };
        let is_asked_too = self.steps.iter().zip(1..).any(|((_, who), step)| {
            *who == decision.approver && decision.escalated.contains(&(self.name, step))
        });
        takes && (is_asked || is_asked_too)
    }

    /// Whether decisions meet it: its time is out, or there is somebody for each place, nobody for two.
    fn is_met(&self, decisions: &[&Decision]) -> bool {
        let places: Vec<&[&str]> =
            self.requirements.iter().flat_map(|(count, who)| vec![*who; *count]).collect();
        decisions.iter().any(|one| one.voice == Voice::TimeOut(self.name))
            || self.are_filled(&places, decisions, &mut Vec::new())
    }

    fn are_filled(&self, places: &[&[&str]], decisions: &[&Decision], taken: &mut Vec<&'static str>) -> bool {
        let Some((place, rest)) = places.split_first() else { return true };
        for decision in decisions {
            if taken.contains(&decision.approver) || !self.entitles(place, decision) {
                continue;
            }
            taken.push(decision.approver);
            if self.are_filled(rest, decisions, taken) {
                return true;
            }
            taken.pop();
        }
        false
    }
}

/// With whose voice something is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Own,
    Link,
    TimeOut(&'static str),
}

/// A decision that was logged.
#[derive(Clone, Debug)]
pub struct Decision {
    pub proposal: usize,
    pub approver: &'static str,
    pub voice: Voice,
    pub ruling: Ruling,
    pub policy: usize,
    pub uses: u64,
    pub window: (u64, u64),
    pub withdrawn: bool,
    /// Steps that stood before it.
    pub escalated: BTreeSet<(&'static str, u64)>,
}

/// Where a proposal that nothing executed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Rejected,
    SentBack,
    Cancelled,
    Superseded,
}

/// A proposal that was logged.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    pub index: u64,
    pub time: u64,
    pub log_time: Option<u64>,
    pub end: Option<End>,
    /// The policy, the rule, and the step or the time-out.
    pub said: Vec<(usize, &'static str, Option<u64>)>,
}

/// An execution that was logged, and what was said of it.
#[derive(Clone, Debug)]
pub struct Execution {
    pub proposal: usize,
    pub number: u64,
    /// What the runtime said, in order.
    pub outcomes: Vec<Status>,
    pub settled: bool,
}

impl Execution {
    fn is_over(&self) -> bool {
        self.settled || self.outcomes.iter().any(|one| *one != Status::Unknown)
    }
}

/// What a policy key says by itself: of a rule, a step or that its time is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Says {
    Step(u64),
    TimeOut(&'static str),
}

/// All that was logged.
#[derive(Clone, Debug, Default)]
pub struct Naive {
    pub log_time: u64,
    /// The policy in force, and the index from which on it is.
    pub policy: (usize, u64),
    pub revoked: BTreeSet<&'static str>,
    pub proposals: Vec<Proposal>,
    pub decisions: Vec<Decision>,
    pub executions: Vec<Execution>,
}

impl Naive {
    pub fn rules(&self) -> &'static [Rule] {
        POLICIES[self.policy.0]
    }

    /// The executions of a proposal.
    fn executed(&self, at: usize) -> impl Iterator<Item = &Execution> {
        self.executions.iter().filter(move |one| one.proposal == at)
    }

    fn is_executed(&self, at: usize) -> bool {
        self.executed(at).next().is_some()
    }

    /// The execution that holds each use of a proposal.
    pub fn holders(&self, at: usize) -> BTreeMap<u64, usize> {
        let all = self.executions.iter().enumerate();
        all.filter(|(_, one)| one.proposal == at).map(|(which, one)| (one.number, which)).collect()
    }

    /// How often an execution, and what retries it, may still be tried again.
    pub fn retries_left(&self, which: usize) -> u64 {
        let one = &self.executions[which];
        let holds = self.holders(one.proposal).get(&one.number) == Some(&which);
        let is_unknown = !one.settled && one.outcomes == [Status::Unknown];
        let tried = self.executed(one.proposal).filter(|other| other.number == one.number).count() as u64;
        let most = self.rules().iter().map(|rule| rule.retries).min().unwrap_or(0);
        if holds && is_unknown { (most + 1).saturating_sub(tried) } else { 0 }
    }

    /// Whether an outcome is an entry.
    pub fn report(&self, which: usize, status: Status) -> Result<(), Code> {
        let one = &self.executions[which];
        let repeats = status == Status::Unknown && !one.outcomes.is_empty();
        if one.is_over() || repeats { Err("outcome-settled") } else { Ok(()) }
    }

    /// Whether a settlement is an entry.
    pub fn settle(&self, which: usize) -> Result<(), Code> {
        if self.executions[which].is_over() { Err("settlement-open") } else { Ok(()) }
    }

    fn signs(&self, key: &'static str) -> Result<(), Code> {
        if self.revoked.contains(key) { Err("key-revoked") } else { Ok(()) }
    }

    /// The steps of a proposal that stand under the policy in force.
    pub fn escalated(&self, proposal: usize) -> BTreeSet<(&'static str, u64)> {
        let said = self.proposals[proposal].said.iter();
        let here = said.filter(|(policy, ..)| *policy == self.policy.0);
        here.filter_map(|(_, rule, step)| Some((*rule, (*step)?))).collect()
    }

    pub fn propose(&self, supersedes: Option<usize>) -> Result<(), Code> {
        let is_over = |old: usize| {
            self.is_executed(old) || matches!(self.proposals[old].end, Some(End::Cancelled | End::Superseded))
        };
        if supersedes.is_some_and(is_over) { Err("supersede-target") } else { Ok(()) }
    }

    /// Whether a decision of a person is an entry.
    pub fn decide(&self, decision: &Decision) -> Result<(), Code> {
        if decision.voice == Voice::Own {
            return self.signs(decision.approver);
        }
        self.signs("engine")?;
        if self.revoked.contains(decision.approver) { Err("link-approver") } else { Ok(()) }
    }

    /// Whether a decision is of somebody who may decide.
    pub fn is_entitled(&self, decision: &Decision) -> bool {
        let by = |rule: &Rule| rule.requirements.iter().any(|(_, who)| rule.entitles(who, decision));
        matches!(decision.voice, Voice::TimeOut(_)) || self.rules().iter().any(by)
    }

    /// The first rule that a decision named by an execution breaks, whoever else decided; and by which.
    fn faults(&self, named: &[&Decision], proposal: usize, runtime: Option<&str>) -> Result<(), Code> {
        let any = |is: &dyn Fn(&Decision) -> bool| named.iter().any(|one| is(one));
        if any(&|one| one.proposal != proposal || one.ruling != Ruling::Approve || one.withdrawn) {
            return Err("decision-not-approval");
        }
        if any(&|one| one.policy != self.policy.0) {
            return Err("policy-not-in-force");
        }
        let signer = |one: &Decision| if one.voice == Voice::Own { one.approver } else { "engine" };
        let has_left = |one: &Decision| one.voice == Voice::Link && self.revoked.contains(one.approver);
        if any(&|one| self.revoked.contains(signer(one)) || has_left(one)) {
            return Err("approval-revoked");
        }
        let length = |one: &Decision| one.window.1 - one.window.0;
        if self.rules().iter().any(|rule| any(&|one| one.uses > rule.uses || length(one) > rule.window)) {
            return Err("terms-exceed-policy");
        }
        let is_involved = |who: &str| INVOLVED.contains(&who) || runtime == Some(who);
        let segregates = self.rules().iter().any(|rule| rule.segregation);
        let by_involved = |one: &Decision| {
            !matches!(one.voice, Voice::TimeOut(_)) && (is_involved(one.approver) || is_involved(signer(one)))
        };
        if segregates && any(&by_involved) { Err("segregation") } else { Ok(()) }
    }

    /// The approvals of a proposal that could count.
    fn standing(&self, proposal: usize) -> Vec<&Decision> {
        self.decisions.iter().filter(|one| self.faults(&[one], proposal, None).is_ok()).collect()
    }

    pub fn is_met(&self, rule: &Rule, proposal: usize) -> bool {
        rule.is_met(&self.standing(proposal))
    }

    /// Whether it might be met, to whom a bundle does not show that those who approved by link hold no key any more.
    pub fn may_be_met(&self, rule: &Rule, proposal: usize) -> bool {
        let has_left = |one: &&Decision| {
            one.voice == Voice::Link
                && self.revoked.contains(one.approver)
                && !self.revoked.contains("engine")
                && (one.proposal, one.ruling, one.withdrawn) == (proposal, Ruling::Approve, false)
                && one.policy == self.policy.0
        };
        let mut decisions = self.standing(proposal);
        decisions.extend(self.decisions.iter().filter(has_left));
        rule.is_met(&decisions)
    }

    /// Whether what a policy key says by itself is an entry.
    pub fn say(&self, at: usize, rule: &Rule, says: Says, from: Option<u64>) -> Result<(), Code> {
        self.signs("engine")?;
        let proposal = &self.proposals[at];
        let unknown = Err("timer-unknown");
        if self.policy.1 > proposal.index {
            return unknown;
        }
        let after = match says {
            Says::Step(step) => match rule.steps.get(step as usize - 1) {
                Some((after, _)) => *after,
                None => return unknown,
            },
            Says::TimeOut(verdict) => match rule.time_out {
                Some((after, then)) if then.as_str() == verdict => after,
                _ => return unknown,
            },
        };
        let Some(due) = proposal.log_time.map(|time| time.max(proposal.time) + after) else {
            return Err("timer-early");
        };
        if self.log_time < due || from.is_some_and(|from| from < due) {
            return Err("timer-early");
        }
        let was_said = |step| proposal.said.contains(&(self.policy.0, rule.name, step));
        let step = match says {
            Says::Step(step) => Some(step),
            Says::TimeOut(_) => None,
        };
        let before = step.map_or(rule.steps.len() as u64, |step| step - 1);
        let withdrawn = |one: &Decision| one.proposal == at && one.withdrawn;
        let is_in_turn = proposal.end.is_none()
            && self.executed(at).count() == 0
            && !was_said(None)
            && !was_said(step)
            && (1..=before).all(|step| was_said(Some(step)))
            && !(from.is_some() && self.decisions.iter().any(withdrawn))
            && !self.is_met(rule, at);
        if is_in_turn { Ok(()) } else { Err("timer-out-of-turn") }
    }

    /// What the policy will still say of a proposal by itself: the rule, what, and when.
    pub fn timers(&self, at: usize) -> BTreeSet<(&'static str, Says, Option<u64>)> {
        let proposal = &self.proposals[at];
        let mut timers = BTreeSet::new();
        if proposal.end.is_some() || self.is_executed(at) || self.policy.1 > proposal.index {
            return timers;
        }
        let is_withdrawn = self.decisions.iter().any(|one| one.proposal == at && one.withdrawn);
        for rule in self.rules().iter().filter(|rule| !self.is_met(rule, at)) {
            let was_said = |step| proposal.said.contains(&(self.policy.0, rule.name, step));
            let due = |after: u64| proposal.log_time.map(|time| time.max(proposal.time) + after);
            for ((after, _), step) in rule.steps.iter().zip(1..) {
                if !was_said(None) && !was_said(Some(step)) {
                    timers.insert((rule.name, Says::Step(step), due(*after)));
                }
            }
            if let Some((after, then)) = rule.time_out
                && !was_said(None)
                && !(is_withdrawn && then == Ruling::Approve)
            {
                timers.insert((rule.name, Says::TimeOut(then.as_str()), due(after)));
            }
        }
        timers
    }

    /// Whether an execution is an entry that was decided on the log of so many entries.
    pub fn execute(
        &self,
        (at, basis): (usize, u64),
        number: u64,
        retries: Option<usize>,
        named: &[&Decision],
        time: u64,
    ) -> Result<(), Code> {
        if named.is_empty() && retries.is_none() && basis <= self.policy.1 {
            return Err("basis-range");
        }
        let proposal = &self.proposals[at];
        let holder = self.holders(at).get(&number).copied();
        if holder.is_some() && holder != retries {
            return Err("use-consumed");
        }
        if proposal.end.is_some() {
            return Err("proposal-ended");
        }
        if let Some(which) = retries {
            let before = self.executed(at).filter(|one| one.number == number).count() as u64;
            let most = self.rules().iter().map(|rule| rule.retries).min();
            let one = &self.executions[which];
            let is_unknown = !one.settled && one.outcomes == [Status::Unknown];
            if holder != Some(which) || !is_unknown || most.is_none_or(|most| before > most) {
                return Err("retry-refused");
            }
        }
        self.faults(named, at, Some("gate"))?;
        if !self.rules().iter().all(|rule| rule.is_met(named)) {
            return Err("quorum-not-met");
        }
        let granted = named.iter().map(|one| one.uses).chain(self.rules().iter().map(|rule| rule.uses)).min();
        if granted.is_none_or(|granted| number > granted) {
            return Err("use-exceeded");
        }
        if named.iter().any(|one| !(one.window.0..=one.window.1).contains(&time)) {
            return Err("window-closed");
        }
        Ok(())
    }

    /// The status of a proposal. Whoever settles something says that it failed.
    pub fn status(&self, at: usize) -> &'static str {
        let proposal = &self.proposals[at];
        if let Some(last) = self.executed(at).last() {
            return match last.outcomes.last() {
                _ if last.settled => "failed",
                None => "executing",
                Some(status) => status.as_str(),
            };
        }
        match proposal.end {
            Some(End::Rejected) => return "rejected",
            Some(End::SentBack) => return "changes_requested",
            Some(End::Cancelled) => return "cancelled",
            Some(End::Superseded) => return "superseded",
            None => {}
        }
        let all = self.standing(at);
        let live: Vec<&Decision> = all.iter().filter(|one| self.log_time <= one.window.1).copied().collect();
        let are_met = |decisions: &[&Decision]| self.rules().iter().all(|rule| rule.is_met(decisions));
        match (are_met(&live), are_met(&all)) {
            (true, _) => "approved",
            (false, true) => "expired",
            (false, false) => "open",
        }
    }
}
