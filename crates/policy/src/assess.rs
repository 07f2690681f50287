//! What a policy says of an action, and whether approvals are what it asks for (`spec/policy.md`).

use std::collections::BTreeSet;

use counterfoil_receipt::{
    Principal,
    text::{Group, Pointer, RuleName},
};
use thiserror::Error;

use crate::{
    document::{FreePaths, Policy},
    matcher::{Answer, Case},
    matching::Matching,
    request::Request,
    rule::{Approver, Approvers, Conduct, Effect, Evidence, Quorum, Requirement, Rule, Voice},
};

/// What a policy says of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assessment<'p> {
    /// It may be executed without approval, as these rules say.
    Allowed(Vec<Allowing<'p>>),
    /// Each of these rules has to be met.
    Required(Vec<Requiring<'p>>),
    /// It may not be executed.
    Denied(Denial),
}

/// A rule that allows the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowing<'p> {
    /// Its name.
    pub rule: &'p RuleName,
    /// The most uses of the proposal.
    pub uses: u64,
    /// How it is executed.
    pub conduct: &'p Conduct,
}

/// A rule that asks for approvals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requiring<'p> {
    /// Its name.
    pub rule: &'p RuleName,
    /// What it asks for.
    pub quorum: &'p Quorum,
}

/// Why an action may not be executed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// It leaves a path unbound that must be bound (R-EXEC-16).
    #[error("the policy does not let {0} be free")]
    FreePath(Pointer),
    /// These rules deny it (R-EXEC-15).
    #[error("denied by {}", .0.join(", "))]
    Rules(Vec<String>),
    /// No rule is about it (R-EXEC-15).
    #[error("no rule of the policy is about it")]
    NoRule,
}

/// One approval and its terms.
#[derive(Clone, Copy, Debug)]
pub struct Approval<'a> {
    /// Who gave it.
    pub approver: Approver<'a>,
    /// How often the proposal may be executed.
    pub uses: u64,
    /// How long the approval lasts, in milliseconds.
    pub window: u64,
}

/// The terms on which an action may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How often: the least that a rule or an approval grants.
    pub uses: u64,
}

/// Why approvals do not suffice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Shortfall {
    /// No approval would.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Too few distinct entitled principals.
    #[error("{have} of {needed} distinct entitled principals approved{}", what_is_missing(.rule, .missing))]
    Quorum {
        /// The rule that is not met.
        rule: String,
        /// How many it wants.
        needed: usize,
        /// How many of those there are, each counted for one requirement.
        have: usize,
        /// What is not met, where the rule has several requirements.
        missing: Vec<String>,
    },
    /// Somebody approved who must stay out of it.
    #[error("{0} approved, and also requested the action or executes it")]
    Segregation(String),
    /// A decision grants more than the policy lets it.
    #[error("the approval of {principal} grants {what} {granted}; the policy allows {allowed}")]
    Terms {
        /// Who granted it.
        principal: String,
        /// `uses` or `window`.
        what: &'static str,
        /// What was granted.
        granted: u64,
        /// What the policy allows.
        allowed: u64,
    },
}

fn what_is_missing(rule: &str, missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!("; {rule} wants {}", missing.join(" and ")) }
}

impl Policy {
    /// What the policy says of an action.
    pub fn assess<'p>(&'p self, request: &Request<'_>) -> Assessment<'p> {
        if let Some(path) = self.first_unlisted(request) {
            return Assessment::Denied(Denial::FreePath(path.clone()));
        }
        let case = Case::new(request, &self.costs);
        let (mut allowing, mut requiring, mut denying) = (Vec::new(), Vec::new(), Vec::new());
        for Rule { name, matcher, effect } in &self.rules {
            match (effect, matcher.test(&case)) {
                (Effect::Allow { uses, conduct }, Answer::Yes) => {
                    allowing.push(Allowing { rule: name, uses: *uses, conduct });
                }
                (Effect::Deny, Answer::Yes | Answer::Unresolved) => denying.push(name.to_string()),
                (Effect::Require(quorum), Answer::Yes | Answer::Unresolved) => {
                    requiring.push(Requiring { rule: name, quorum });
                }
                (Effect::Allow { .. }, Answer::No | Answer::Unresolved)
                | (Effect::Deny | Effect::Require(_), Answer::No) => {}
            }
        }
        match (denying.is_empty(), requiring.is_empty(), allowing.is_empty()) {
            (false, _, _) => Assessment::Denied(Denial::Rules(denying)),
            (true, false, _) => Assessment::Required(requiring),
            (true, true, false) => Assessment::Allowed(allowing),
            (true, true, true) => Assessment::Denied(Denial::NoRule),
        }
    }

    /// Whether an action like this one could be allowed, or approved, if what is unresolved about it were otherwise than it counts:
    /// whether it makes sense to offer it. `false` says that it is denied.
    pub fn could_pass(&self, request: &Request<'_>) -> bool {
        self.could(request, false)
    }

    /// The same of actions that need no approval.
    pub fn could_be_allowed(&self, request: &Request<'_>) -> bool {
        self.could(request, true)
    }

    /// Whether an action like this one is executed only after a preview of it, whatever is unresolved about it.
    pub fn always_wants_preview(&self, request: &Request<'_>) -> bool {
        let case = Case::new(request, &self.costs);
        let mut every = true;
        for Rule { matcher, effect, .. } in &self.rules {
            match (effect, matcher.test(&case)) {
                (Effect::Require(quorum), Answer::Yes) if quorum.conduct.preview => return true,
                (Effect::Allow { conduct, .. }, Answer::Yes | Answer::Unresolved) => every &= conduct.preview,
                (Effect::Require(quorum), Answer::Yes | Answer::Unresolved) => {
                    every &= quorum.conduct.preview
                }
                (Effect::Deny, _) | (Effect::Allow { .. } | Effect::Require(_), Answer::No) => {}
            }
        }
        every && self.could_pass(request)
    }

    fn could(&self, request: &Request<'_>, without_approval: bool) -> bool {
        let case = Case::new(request, &self.costs);
        let mut passes = false;
        for Rule { matcher, effect, .. } in &self.rules {
            match (effect, matcher.test(&case)) {
                (Effect::Deny, Answer::Yes) => return false,
                (Effect::Require(_), Answer::Yes) if without_approval => return false,
                (Effect::Allow { .. }, Answer::Yes | Answer::Unresolved) => passes = true,
                (Effect::Require(_), Answer::Yes | Answer::Unresolved) => passes |= !without_approval,
                (Effect::Deny, Answer::No | Answer::Unresolved)
                | (Effect::Allow { .. } | Effect::Require(_), Answer::No) => {}
            }
        }
        passes && self.first_unlisted(request).is_none()
    }

    /// The first path that the action leaves unbound, and may not.
    fn first_unlisted<'a>(&self, request: &Request<'a>) -> Option<&'a Pointer> {
        let FreePaths::Listed(listed) = &self.free else { return None };
        let tool = request.action.tool.as_str();
        let may =
            |path: &Pointer| listed.iter().any(|(glob, paths)| paths.contains(path) && glob.matches(tool));
        request.free().iter().find(|path| !may(path))
    }
}

impl Assessment<'_> {
    /// Whether this signer's word counts for the action.
    pub fn entitles(&self, approver: &Approver<'_>) -> bool {
        match self {
            Self::Allowed(_) | Self::Denied(_) => approver.voice == Voice::Own,
            Self::Required(rules) => rules.iter().any(|rule| {
                let mut requirements = rule.quorum.requirements.iter();
                requirements.any(|requirement| rule.entitles(requirement, approver))
                    || rule.quorum.is_timed_out(rule.rule, approver)
            }),
        }
    }

    /// Whether this signer's word counts against the action: of whom a rule asks it does whichever of their keys signed it, and wherever they
    /// saw what it is about. Whoever would rather not have something done needs no page for that.
    pub fn entitles_against(&self, approver: &Approver<'_>) -> bool {
        self.entitles(approver) || (approver.voice == Voice::Own && self.asking(approver).next().is_some())
    }

    /// Why this signer's word does not count for the action.
    pub fn why_not(&self, approver: &Approver<'_>) -> String {
        let who = approver.principal;
        if approver.voice != Voice::Own || self.asking(approver).next().is_none() {
            return format!("{who} is not entitled to decide");
        }
        let wanted: BTreeSet<&str> = self
            .asking(approver)
            .filter(|requirement| !requirement.surfaces.contains(&approver.surface))
            .flat_map(|requirement| requirement.surfaces.iter().map(|surface| surface.as_str()))
            .collect();
        if wanted.is_empty() {
            return format!(
                "{who} decided with a key of the scheme {}, which the policy does not take",
                approver.scheme
            );
        }
        let wanted: Vec<&str> = wanted.into_iter().collect();
        let at = approver.surface.as_str();
        format!("{who} decided at the surface {at}, and the policy takes {}", wanted.join(", "))
    }

    /// The requirements that ask this signer.
    fn asking<'q>(&'q self, approver: &Approver<'q>) -> impl Iterator<Item = &'q Requirement> {
        let rules = match self {
            Self::Required(rules) => rules.as_slice(),
            Self::Allowed(_) | Self::Denied(_) => &[],
        };
        rules.iter().flat_map(move |rule| {
            let requirements = rule.quorum.requirements.iter();
            requirements.filter(move |requirement| rule.quorum.asks(rule.rule, requirement, approver))
        })
    }

    /// The rule of this name, if it applies and asks for approvals.
    pub fn requiring(&self, rule: &RuleName) -> Option<&Requiring<'_>> {
        match self {
            Self::Required(rules) => rules.iter().find(|one| one.rule == rule),
            Self::Allowed(_) | Self::Denied(_) => None,
        }
    }

    /// Whether an action that `involved` requested or execute may be executed on these approvals.
    ///
    /// # Errors
    /// [`Shortfall`]: a denial; else segregation and terms, rule by rule; else what is not met.
    pub fn evaluate(&self, involved: &[&str], approvals: &[Approval<'_>]) -> Result<Terms, Shortfall> {
        // Whoever is named limits what is granted, also where their approval is not needed.
        let granted = approvals.iter().map(|approval| approval.uses);
        let uses = granted.chain([self.uses()]).min().unwrap_or(0);
        match self {
            Self::Denied(denial) => return Err(denial.clone().into()),
            Self::Allowed(_) => {}
            Self::Required(rules) => {
                // In the order of the specification: of all rules the terms, then who stays out, then who is missing.
                rules.iter().try_for_each(|rule| rule.quorum.bounds(approvals))?;
                rules.iter().try_for_each(|rule| rule.quorum.lets_stand(involved, approvals))?;
                rules.iter().try_for_each(|rule| rule.is_met(approvals))?;
            }
        }
        Ok(Terms { uses })
    }

    /// Which of these approvals to name so that every rule is met, by their places, ascending: the earlier ones where there is
    /// a choice, and few, though not always the fewest. `None` if they do not suffice. Terms and segregation are not looked at.
    pub fn select(&self, approvals: &[Approval<'_>]) -> Option<Vec<usize>> {
        match self {
            Self::Denied(_) => None,
            Self::Allowed(_) => Some(Vec::new()),
            Self::Required(rules) => {
                let mut chosen = Vec::new();
                for rule in rules {
                    let matching = Matching::of(rule, approvals, &chosen);
                    if !matching.is_full()
                        && let Some(at) = rule.time_out(approvals)
                    {
                        chosen.extend((!chosen.contains(&at)).then_some(at));
                    } else {
                        matching.choose(approvals, &mut chosen)?;
                    }
                }
                chosen.sort_unstable();
                Some(chosen)
            }
        }
    }

    /// The most uses that the proposal can have: the least that a rule lets it. 0 for an action that is denied.
    pub fn uses(&self) -> u64 {
        match self {
            Self::Denied(_) => 0,
            Self::Allowed(rules) => rules.iter().map(|rule| rule.uses).min().unwrap_or(0),
            Self::Required(rules) => rules.iter().map(|rule| rule.quorum.uses).min().unwrap_or(0),
        }
    }

    /// How often a use may be tried again of which the outcome stays unknown: the least that a rule lets it.
    pub fn retries(&self) -> u64 {
        self.conducts().iter().map(|conduct| conduct.retries).min().unwrap_or(0)
    }

    /// What a runtime must have shown to it before it executes: all that a rule demands, ascending.
    pub fn evidence(&self) -> Vec<Evidence> {
        let demanded =
            |evidence: &Evidence| self.conducts().iter().any(|conduct| conduct.evidence.contains(evidence));
        Evidence::ALL.into_iter().filter(demanded).collect()
    }

    /// Whether a rule that applies wants an action that is applied to have been previewed.
    pub fn wants_preview(&self) -> bool {
        self.conducts().iter().any(|conduct| conduct.preview)
    }

    /// What each rule that applies says of executions.
    fn conducts(&self) -> Vec<&Conduct> {
        match self {
            Self::Denied(_) => Vec::new(),
            Self::Allowed(rules) => rules.iter().map(|rule| rule.conduct).collect(),
            Self::Required(rules) => rules.iter().map(|rule| &rule.quorum.conduct).collect(),
        }
    }

    /// The longest window that a decision may grant, in milliseconds; `None` where no rule bounds it.
    pub fn window(&self) -> Option<u64> {
        match self {
            Self::Allowed(_) | Self::Denied(_) => None,
            Self::Required(rules) => rules.iter().map(|rule| rule.quorum.window).min(),
        }
    }

    /// Whether an execution may stand on `break_glass` without decisions: where approvals are required, and every rule that
    /// requires them says so.
    pub fn allows_break_glass(&self) -> bool {
        match self {
            Self::Allowed(_) | Self::Denied(_) => false,
            Self::Required(rules) => !rules.is_empty() && rules.iter().all(|rule| rule.quorum.break_glass),
        }
    }

    /// Whether a rule that applies wants approvers who have no other part in the action.
    pub fn segregates(&self) -> bool {
        match self {
            Self::Allowed(_) | Self::Denied(_) => false,
            Self::Required(rules) => rules.iter().any(|rule| rule.quorum.segregation),
        }
    }

    /// Its name in JSON and in print.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Required(_) => "required",
            Self::Denied(_) => "denied",
        }
    }
}

impl Requiring<'_> {
    /// Whether one of the rule's requirements entitles this principal by this decision.
    pub(crate) fn entitles(&self, requirement: &Requirement, approver: &Approver<'_>) -> bool {
        self.quorum.entitles(self.rule, requirement, approver)
    }

    /// Whom a requirement asks where these steps of escalation stand, by name and by group, ascending; where there is neither,
    /// everybody who signs as a human.
    pub fn asked(
        &self,
        requirement: &Requirement,
        escalated: &[(RuleName, u64)],
    ) -> (Vec<Principal>, Vec<Group>) {
        let (mut by_name, mut by_group) = (Vec::new(), Vec::new());
        for approvers in self.asks_each(requirement, escalated) {
            match approvers {
                Approvers::Anybody => return (Vec::new(), Vec::new()),
                Approvers::Among { principals, groups } => {
                    by_name.extend(principals.iter().cloned());
                    by_group.extend(groups.iter().cloned());
                }
            }
        }
        for names in [&mut by_name, &mut by_group] {
            names.sort_unstable();
            names.dedup();
        }
        (by_name, by_group)
    }

    /// Whether a requirement asks somebody in these groups where these steps of escalation stand.
    pub fn asks(
        &self,
        requirement: &Requirement,
        escalated: &[(RuleName, u64)],
        principal: &Principal,
        groups: &[Group],
    ) -> bool {
        self.asks_each(requirement, escalated).any(|approvers| approvers.name(principal, groups))
    }

    fn asks_each<'a>(
        &'a self,
        requirement: &'a Requirement,
        escalated: &'a [(RuleName, u64)],
    ) -> impl Iterator<Item = &'a Approvers> {
        let steps = escalated.iter().filter_map(|step| self.quorum.step(self.rule, step));
        [&requirement.approvers].into_iter().chain(steps.map(|step| &step.to))
    }

    /// For each requirement of the rule those whose approval counts for it, each for one.
    pub fn shares(&self, approvals: &[Approval<'_>]) -> Vec<Vec<Principal>> {
        Matching::of(self, approvals, &[]).shares()
    }

    /// The first of these approvals by which the rule's time is out.
    fn time_out(&self, approvals: &[Approval<'_>]) -> Option<usize> {
        approvals.iter().position(|approval| self.quorum.is_timed_out(self.rule, &approval.approver))
    }

    /// Whether these approvals meet the rule. Terms and segregation are not looked at.
    ///
    /// # Errors
    /// [`Shortfall::Quorum`].
    pub fn is_met(&self, approvals: &[Approval<'_>]) -> Result<(), Shortfall> {
        let requirements = &self.quorum.requirements;
        let matching = Matching::of(self, approvals, &[]);
        if matching.is_full() || self.time_out(approvals).is_some() {
            return Ok(());
        }
        let needed = requirements.iter().map(|requirement| requirement.count).sum();
        let have = matching.size();
        let unmet = requirements.iter().enumerate().filter(|(at, _)| matching.is_unmet(*at));
        let missing = if requirements.len() == 1 {
            Vec::new()
        } else {
            unmet.map(|(_, one)| one.to_string()).collect()
        };
        Err(Shortfall::Quorum { rule: self.rule.to_string(), needed, have, missing })
    }
}

impl Quorum {
    /// Whether nobody approved on terms that are too wide.
    fn bounds(&self, approvals: &[Approval<'_>]) -> Result<(), Shortfall> {
        for approval in approvals {
            for (what, granted, allowed) in
                [("uses", approval.uses, self.uses), ("window (ms)", approval.window, self.window)]
            {
                if granted > allowed {
                    let principal = approval.approver.principal.to_string();
                    return Err(Shortfall::Terms { principal, what, granted, allowed });
                }
            }
        }
        Ok(())
    }

    /// Whether nobody approved who must stay out.
    fn lets_stand(&self, involved: &[&str], approvals: &[Approval<'_>]) -> Result<(), Shortfall> {
        for approval in approvals {
            let Approver { principal, signer, voice, .. } = &approval.approver;
            let (principal, signer) = (principal.as_str(), signer.as_str());
            // That a time is out is nobody's word.
            let decides = !matches!(voice, Voice::Timeout(_));
            let party = [principal, signer].into_iter().find(|one| involved.contains(one));
            if let Some(party) = party.filter(|_| self.segregation && decides) {
                return Err(Shortfall::Segregation(party.to_owned()));
            }
        }
        Ok(())
    }
}
