//! Rules: what one says of the actions that it is about, and whom a requirement entitles (`spec/policy.md`, *Rule*).

use std::fmt;

use counterfoil_receipt::{Principal, body::Surface, text::Group};

use crate::matcher::{Matcher, list};

/// The schemes of `spec/records.md` §2, in order. Those that a key can't have yet entitle nobody yet.
pub(crate) const SCHEMES: [&str; 5] = ["ed25519", "mldsa44", "p256", "sshsig-ed25519", "webauthn-p256"];

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) name: String,
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
    /// Who.
    pub principal: &'a Principal,
    /// Whether they signed in the role `human`.
    pub human: bool,
    /// The groups they belonged to.
    pub groups: &'a [Group],
    /// Where they were shown what they decided on.
    pub surface: Surface,
    /// The scheme of their key.
    pub scheme: &'a str,
}

impl Rule {
    /// Its name, unique in the document.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it says.
    pub const fn effect(&self) -> &Effect {
        &self.effect
    }

    /// Whether it allows because of what a proposer claims: risk or tags.
    pub fn allows_on_claims(&self) -> bool {
        matches!(self.effect, Effect::Allow { .. }) && self.matcher.rests_on_claims()
    }
}

impl Requirement {
    /// Whether it entitles this principal by this decision.
    pub fn entitles(&self, approver: &Approver<'_>) -> bool {
        let belongs = match &self.approvers {
            Approvers::Anybody => true,
            Approvers::Among { principals, groups } => {
                principals.contains(approver.principal)
                    || groups.iter().any(|group| approver.groups.contains(group))
            }
        };
        let scheme = self.schemes.as_ref().is_none_or(|schemes| schemes.contains(&approver.scheme));
        approver.human && belongs && scheme && self.surfaces.contains(&approver.surface)
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
        if let Approvers::Among { principals, groups } = &self.approvers {
            let names: Vec<&str> = principals.iter().chain(groups).map(Principal::as_str).collect();
            write!(f, " of {}", names.join(" or "))?;
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
