//! Rules: what one says of the actions that it is about, and whom a requirement entitles (`spec/policy.md`, *Rule*).

use std::fmt;

use counterfoil_receipt::{
    Principal,
    body::{Audience, Surface},
    text::{Group, RuleName},
};

use crate::matcher::{Matcher, list};

/// The schemes of `spec/records.md` §2, in order. Those that a key can't have yet entitle nobody yet.
pub(crate) const SCHEMES: [&str; 5] = ["ed25519", "mldsa44", "p256", "sshsig-ed25519", "webauthn-p256"];

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) name: RuleName,
    pub(crate) matcher: Matcher,
    pub(crate) effect: Effect,
}

/// What a rule says of an action that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It may be executed without approval.
    Allow {
        /// The most uses of a proposal: 1–1,000.
        uses: u64,
        /// How it is executed.
        conduct: Conduct,
    },
    /// It may not be executed.
    Deny,
    /// It may be executed with these approvals.
    Require(Quorum),
}

/// Who must approve, and on which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// All of these are met, by distinct principals.
    pub requirements: Vec<Requirement>,
    /// The longest window that a decision may grant, in milliseconds.
    pub window: u64,
    /// Whether approvers must differ from requester, proposer and runtime.
    pub segregation: bool,
    /// Whether an execution may stand on `break_glass` without decisions.
    pub break_glass: bool,
    /// The most uses that a decision may grant: 1–1,000.
    pub uses: u64,
    /// Who is asked too, and when; the steps ascend by time.
    pub escalation: Vec<Step>,
    /// What becomes of a proposal for which the rule is not met in time.
    pub timeout: Option<Timeout>,
    /// How it is executed.
    pub conduct: Conduct,
}

/// How an action is executed under a rule, whoever approved it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conduct {
    /// How many more executions one use may have, each after one of which the outcome is unknown: 0–16.
    pub retries: u64,
    /// What a runtime must have shown to it first; ascending.
    pub evidence: Vec<Evidence>,
    /// Whether what is applied has to have been previewed, with success.
    pub preview: bool,
}

/// A dimension of the verdict that a runtime executes on, which a rule can demand (`spec/verification.md` §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Nothing is left out.
    Completeness,
    /// The log's state is recent.
    Freshness,
    /// Enough others have seen it.
    Witnessed,
}

/// One step of an escalation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds of log time after the proposal.
    pub after: u64,
    /// Who is asked then.
    pub to: Approvers,
}

/// When a rule's time is out, and what then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// Milliseconds of log time after the proposal.
    pub after: u64,
    /// What is said then.
    pub then: Then,
}

/// What a time-out says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The rule is met.
    Approve,
    /// The proposal is over.
    Reject,
}

/// A number of distinct principals, and what entitles each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// How many: 1–16.
    pub count: usize,
    /// Who they are.
    pub approvers: Approvers,
    /// The schemes that their keys may have; `None`: any.
    pub schemes: Option<Vec<&'static str>>,
    /// Where they may have decided.
    pub surfaces: Vec<Surface>,
    /// Whether somebody else may have signed it on their behalf, by a link that they followed.
    pub by_link: bool,
}

/// Who may approve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Approvers {
    /// Everybody who signs as a human.
    Anybody,
    /// These principals, and everybody in these groups.
    Among {
        /// By name.
        principals: Vec<Principal>,
        /// By group.
        groups: Vec<Group>,
    },
}

/// Somebody who signed a decision, as they stood when they signed.
#[derive(Clone, Copy, Debug)]
pub struct Approver<'a> {
    /// Who, or on whose behalf.
    pub principal: &'a Principal,
    /// By what right.
    pub voice: Voice<'a>,
    /// Who signed it.
    pub signer: &'a Principal,
    /// The groups they belonged to.
    pub groups: &'a [Group],
    /// Where they were shown what they decided on.
    pub surface: Surface,
    /// The scheme of the key that signed it.
    pub scheme: &'a str,
    /// Steps of escalation that stood before, by rule and counted from 1.
    pub escalated: &'a [(RuleName, u64)],
}

/// By what right a decision is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice<'a> {
    /// By the approver, in role `human`.
    Own,
    /// On the approver's behalf, in role `policy`.
    Link,
    /// By nobody: the time of this rule is out.
    Timeout(&'a RuleName),
    /// By none that a policy knows.
    None,
}

impl Rule {
    /// Its name, unique in the document.
    pub const fn name(&self) -> &RuleName {
        &self.name
    }

    /// What it says.
    pub const fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Whether what it says depends on how a tool is defined.
    pub fn rests_on_definitions(&self) -> bool {
        self.matcher.rests_on_definitions()
    }

    /// Whether it allows because of what a proposer claims: risk or tags.
    pub fn allows_on_claims(&self) -> bool {
        matches!(self.effect, Effect::Allow { .. }) && self.matcher.rests_on_claims()
    }
}

impl Quorum {
    /// Whether one of its requirements, as a requirement of the rule of this name, entitles this principal to approve by this decision.
    pub(crate) fn entitles(
        &self,
        rule: &RuleName,
        requirement: &Requirement,
        approver: &Approver<'_>,
    ) -> bool {
        requirement.accepts(approver) && self.asks(rule, requirement, approver)
    }

    /// Whether a requirement asks this principal: itself, or by an escalation that stands.
    pub(crate) fn asks(&self, rule: &RuleName, requirement: &Requirement, approver: &Approver<'_>) -> bool {
        let asked = |escalated: &(RuleName, u64)| {
            self.step(rule, escalated).is_some_and(|step| step.to.include(approver))
        };
        requirement.approvers.include(approver) || approver.escalated.iter().any(asked)
    }

    /// The step, counted from 1, of the rule of this name, if that is the one that is meant.
    pub(crate) fn step(&self, rule: &RuleName, (of, step): &(RuleName, u64)) -> Option<&Step> {
        let at = usize::try_from(*step).ok()?.checked_sub(1)?;
        self.escalation.get(at).filter(|_| of == rule)
    }

    /// Whether this decision meets the rule of this name alone, because its time is out.
    pub(crate) fn is_timed_out(&self, rule: &RuleName, approver: &Approver<'_>) -> bool {
        let approves = self.timeout.is_some_and(|timeout| timeout.then == Then::Approve);
        approves && approver.voice == Voice::Timeout(rule)
    }
}

impl Requirement {
    /// Whether it was signed as the requirement wants it, whoever it was.
    fn accepts(&self, approver: &Approver<'_>) -> bool {
        let voice = match approver.voice {
            Voice::Own => true,
            Voice::Link => self.by_link,
            Voice::Timeout(_) | Voice::None => false,
        };
        let scheme = self.schemes.as_ref().is_none_or(|schemes| schemes.contains(&approver.scheme));
        voice && scheme && self.surfaces.contains(&approver.surface)
    }
}

impl Approvers {
    fn include(&self, approver: &Approver<'_>) -> bool {
        self.name(approver.principal, approver.groups)
    }

    /// Whether somebody in these groups is among them.
    pub(crate) fn name(&self, principal: &Principal, groups: &[Group]) -> bool {
        match self {
            Self::Anybody => true,
            Self::Among { principals, groups: named } => {
                principals.contains(principal) || named.iter().any(|group| groups.contains(group))
            }
        }
    }

    /// As an escalation names them: principals, then groups.
    pub fn to_audience(&self) -> Vec<Audience> {
        match self {
            Self::Anybody => Vec::new(),
            Self::Among { principals, groups } => {
                let principals = principals.iter().cloned().map(Audience::Principal);
                principals.chain(groups.iter().cloned().map(Audience::Group)).collect()
            }
        }
    }
}

impl fmt::Display for Approvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anybody => f.write_str("anybody"),
            Self::Among { principals, groups } => {
                let names: Vec<&str> = principals.iter().chain(groups).map(Principal::as_str).collect();
                f.write_str(&names.join(" or "))
            }
        }
    }
}

impl Evidence {
    /// All of them, ascending.
    pub const ALL: [Self; 3] = [Self::Completeness, Self::Freshness, Self::Witnessed];

    /// The one of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|evidence| evidence.as_str() == name)
    }

    /// Its name in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completeness => "completeness",
            Self::Freshness => "freshness",
            Self::Witnessed => "witnessed",
        }
    }
}

impl Then {
    /// Its name in a document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Reject => "reject",
        }
    }
}

impl Effect {
    /// Its name in a document.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allow { .. } => "allow",
            Self::Deny => "deny",
            Self::Require(_) => "require",
        }
    }
}

impl fmt::Display for Quorum {
    /// As a person says it: `2 humans of sre, neither requester nor runtime`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements: Vec<String> = self.requirements.iter().map(ToString::to_string).collect();
        f.write_str(&requirements.join(" and "))?;
        f.write_str(if self.segregation { ", neither requester nor runtime" } else { "" })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, if self.count == 1 { "human" } else { "humans" })?;
        if self.approvers != Approvers::Anybody {
            write!(f, " of {}", self.approvers)?;
        }
        if let Some(schemes) = &self.schemes {
            write!(f, " with a key of {}", schemes.join(" or "))?;
        }
        // Not said where it is as everywhere.
        let usual = [Surface::Terminal, Surface::IndependentPage, Surface::OperatorPage];
        if usual.iter().any(|surface| !self.surfaces.contains(surface)) {
            write!(f, " at {}", list(&self.surfaces))?;
        }
        Ok(())
    }
}
