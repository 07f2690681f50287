//! Approval policy: what an action needs before it may be executed, and whether it has it (`spec/policy.md`).
//!
//! Pure, and without knowledge of records: the caller says who approved, in which groups they were, and on which terms.
//! Whatever the document does not say is not allowed.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

/// The one language that this version reads.
pub const LANGUAGE: &str = "counterfoil-policy/0";

/// A policy document that was read and lies within its limits.
///
/// ```
/// use counterfoil_policy::Policy;
/// let document = br#"{"break_glass":false,"language":"counterfoil-policy/0","rule":{"count":1,"groups":[],
///     "role":"human","segregation":true,"uses":1,"window":3600000}}"#;
/// assert_eq!(Policy::parse(document)?.rule().count, 1);
/// # Ok::<(), counterfoil_policy::Unreadable>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    break_glass: bool,
    language: String,
    rule: Rule,
}

/// What must be met.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How many distinct principals must approve: 1–16.
    pub count: usize,
    /// If not empty, an approver belongs to at least one of them.
    pub groups: Vec<String>,
    /// The role in which approvers sign.
    pub role: ApproverRole,
    /// Whether approvers must differ from requester and runtime.
    pub segregation: bool,
    /// The most uses that a decision may grant: 1–1,000.
    pub uses: u64,
    /// The longest window that a decision may grant, in milliseconds.
    pub window: u64,
}

/// The roles that can approve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApproverRole {
    /// A person's key.
    Human,
}

/// Somebody who signed a decision, as they stood when they signed.
#[derive(Clone, Copy, Debug)]
pub struct Approver<'a> {
    /// Who.
    pub principal: &'a str,
    /// Whether they signed in the role `human`.
    pub human: bool,
    /// The groups they belonged to.
    pub groups: &'a [&'a str],
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

/// The terms on which a quorum approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The smallest `uses` of the quorum.
    pub uses: u64,
}

/// Why a document is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Another language, or none.
    #[error("the policy's language is {0:?}; this version reads {LANGUAGE}")]
    Language(String),
    /// Not the shape that the language has.
    #[error("the policy is not well formed: {0}")]
    Shape(String),
    /// A number or list outside its limits.
    #[error("the policy's {member} is {value}; it must be {bounds}")]
    Bounds {
        /// Which.
        member: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        bounds: &'static str,
    },
}

/// Why approvals do not suffice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Shortfall {
    /// Too few distinct entitled principals.
    #[error("{have} of {needed} distinct entitled principals approved")]
    Quorum {
        /// How many the policy wants.
        needed: usize,
        /// How many there are.
        have: usize,
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

impl Policy {
    /// Reads a policy document.
    ///
    /// # Errors
    /// [`Unreadable`]; whoever gets it has no policy, and nothing is authorized.
    pub fn parse(document: &[u8]) -> Result<Self, Unreadable> {
        /// The one member that every language has.
        #[derive(Deserialize)]
        struct Language {
            language: String,
        }
        let shape = |error: serde_json::Error| Unreadable::Shape(error.to_string());
        let Language { language } = serde_json::from_slice(document).map_err(shape)?;
        if language != LANGUAGE {
            return Err(Unreadable::Language(language));
        }
        let policy: Self = serde_json::from_slice(document).map_err(shape)?;
        policy.rule.is_within_bounds()?;
        Ok(policy)
    }

    /// Whether an execution may stand on `break_glass` without decisions.
    pub const fn allows_break_glass(&self) -> bool {
        self.break_glass
    }

    /// What must be met.
    pub const fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Whether this approver's word counts at all, for or against.
    pub fn entitles(&self, approver: &Approver<'_>) -> bool {
        let belongs = |group: &String| approver.groups.contains(&group.as_str());
        approver.human && (self.rule.groups.is_empty() || self.rule.groups.iter().any(belongs))
    }

    /// Whether these approvals suffice for an action that `involved` requested or execute.
    ///
    /// # Errors
    /// [`Shortfall`], the first in the order segregation, terms, quorum.
    pub fn evaluate(&self, involved: &[&str], approvals: &[Approval<'_>]) -> Result<Terms, Shortfall> {
        for approval in approvals {
            let principal = approval.approver.principal;
            if self.rule.segregation && involved.contains(&principal) {
                return Err(Shortfall::Segregation(principal.to_owned()));
            }
            self.rule.allows_terms(approval)?;
        }
        let entitled = approvals.iter().filter(|approval| self.entitles(&approval.approver));
        let principals: BTreeSet<&str> =
            entitled.clone().map(|approval| approval.approver.principal).collect();
        let quorum = Shortfall::Quorum { needed: self.rule.count, have: principals.len() };
        // Whoever is named limits what is granted, also where their approval is not needed.
        match approvals.iter().map(|approval| approval.uses).min() {
            Some(uses) if principals.len() >= self.rule.count => Ok(Terms { uses }),
            _ => Err(quorum),
        }
    }
}

impl Rule {
    fn is_within_bounds(&self) -> Result<(), Unreadable> {
        let fault = |member, value: String, bounds| Err(Unreadable::Bounds { member, value, bounds });
        if !(1..=16).contains(&self.count) {
            return fault("rule.count", self.count.to_string(), "1 to 16");
        }
        if !(1..=1_000).contains(&self.uses) {
            return fault("rule.uses", self.uses.to_string(), "1 to 1,000");
        }
        if !(1..=31_622_400_000).contains(&self.window) {
            return fault("rule.window", self.window.to_string(), "1 to 31,622,400,000 milliseconds");
        }
        if self.groups.len() > 32 || self.groups.windows(2).any(|pair| pair[0] >= pair[1]) {
            return fault(
                "rule.groups",
                format!("{:?}", self.groups),
                "up to 32 groups, ascending, no repeats",
            );
        }
        match self.groups.iter().find(|group| !is_group(group)) {
            None => Ok(()),
            Some(group) => fault("rule.groups", format!("{group:?}"), "a group: 1–64 of a–z 0–9 . _ -"),
        }
    }

    fn allows_terms(&self, approval: &Approval<'_>) -> Result<(), Shortfall> {
        let fault = |what, granted, allowed| {
            let principal = approval.approver.principal.to_owned();
            Err(Shortfall::Terms { principal, what, granted, allowed })
        };
        if approval.uses > self.uses {
            return fault("uses", approval.uses, self.uses);
        }
        if approval.window > self.window {
            return fault("window (ms)", approval.window, self.window);
        }
        Ok(())
    }
}

/// Whether this is how records spell a group: whatever is spelled otherwise could never be met.
fn is_group(group: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let first = group.bytes().next().is_some_and(plain);
    first && group.len() <= 64 && group.bytes().all(|byte| plain(byte) || b"._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"break_glass":false,"language":"counterfoil-policy/0","rule":{"count":2,"groups":["sre"],"role":"human","segregation":true,"uses":3,"window":1000}}"#;

    fn approval<'a>(principal: &'a str, groups: &'a [&'a str]) -> Approval<'a> {
        Approval { approver: Approver { principal, human: true, groups }, uses: 2, window: 1000 }
    }

    #[test]
    fn one_principal_twice_is_one_principal() {
        let policy = Policy::parse(DOCUMENT.as_bytes()).unwrap();
        let twice = [approval("ana", &["sre"]), approval("ana", &["sre"])];
        assert_eq!(policy.evaluate(&[], &twice), Err(Shortfall::Quorum { needed: 2, have: 1 }));
        let two = [approval("ana", &["sre"]), approval("bo", &["dev", "sre"])];
        assert_eq!(policy.evaluate(&[], &two), Ok(Terms { uses: 2 }));
    }

    #[test]
    fn outsiders_keys_of_other_roles_and_empty_lists_never_count() {
        let policy = Policy::parse(DOCUMENT.as_bytes()).unwrap();
        let mut machine = approval("bo", &["sre"]);
        machine.approver.human = false;
        let two = [approval("ana", &["dev"]), machine];
        assert_eq!(policy.evaluate(&[], &two), Err(Shortfall::Quorum { needed: 2, have: 0 }));
        assert_eq!(policy.evaluate(&[], &[]), Err(Shortfall::Quorum { needed: 2, have: 0 }));
    }

    #[test]
    fn the_requester_may_not_approve() {
        let policy = Policy::parse(DOCUMENT.as_bytes()).unwrap();
        let two = [approval("ana", &["sre"]), approval("bo", &["sre"])];
        assert_eq!(policy.evaluate(&["bo"], &two), Err(Shortfall::Segregation("bo".to_owned())));
    }

    #[test]
    fn terms_hold_at_the_limit_and_not_over_it() {
        let policy = Policy::parse(DOCUMENT.as_bytes()).unwrap();
        let mut wide = [approval("ana", &["sre"]), approval("bo", &["sre"])];
        wide[1].uses = 3;
        assert!(policy.evaluate(&[], &wide).is_ok());
        wide[1].uses = 4;
        assert!(matches!(policy.evaluate(&[], &wide), Err(Shortfall::Terms { what: "uses", .. })));
        wide[1].uses = 3;
        wide[1].window = 1001;
        assert!(matches!(policy.evaluate(&[], &wide), Err(Shortfall::Terms { granted: 1001, .. })));
    }

    #[test]
    fn a_document_with_anything_unknown_or_missing_is_no_policy() {
        for (from, to) in [
            ("\"count\":2", "\"count\":0"),
            ("\"count\":2", "\"count\":17"),
            ("\"count\":2,", ""),
            ("\"uses\":3", "\"uses\":0"),
            ("\"window\":1000", "\"window\":0"),
            ("\"human\"", "\"agent\""),
            ("counterfoil-policy/0", "counterfoil-policy/9"),
            ("\"break_glass\":false", "\"break_glass\":false,\"extra\":1"),
            ("[\"sre\"]", "[\"sre\",\"sre\"]"),
            ("[\"sre\"]", "[\"\"]"),
            ("[\"sre\"]", "[\"Not A Group\"]"),
            ("[\"sre\"]", "[\"-sre\"]"),
        ] {
            assert!(DOCUMENT.contains(from));
            assert!(Policy::parse(DOCUMENT.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
