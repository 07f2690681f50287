//! Why a policy says what it says: every rule, its answer, and the matchers that gave it.

use counterfoil_receipt::action::Mode;
use serde::Serialize;

use crate::{
    assess::Assessment,
    document::Policy,
    matcher::{Case, Matcher},
    request::{Found, Request},
    rule::{Effect, Evidence, Rule},
};

/// What a policy says of an action, rule by rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allowed`, `required` or `denied`.
    pub answer: &'static str,
    /// Why it is denied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denial: Option<String>,
    /// The most uses that the proposal can have.
    pub uses: u64,
    /// The longest window that a decision may grant, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Whether an execution may stand on `break_glass`.
    pub break_glass: bool,
    /// How often a use may be tried again of which the outcome is unknown.
    #[serde(skip_serializing_if = "is_none")]
    pub retries: u64,
    /// Whether a preview has to have succeeded that the proposal names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// What a runtime must have shown to it before it executes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<&'static str>,
    /// Every rule, in the order of the document.
    pub rules: Vec<Reason>,
}

/// What one rule says of the action, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Its name.
    pub rule: String,
    /// `allow`, `deny` or `require`.
    pub effect: &'static str,
    /// `yes`, `no` or `unresolved`.
    pub matches: &'static str,
    /// Whether it has a part in the answer.
    pub applies: bool,
    /// The matchers that decided, each with what it found.
    pub because: Vec<String>,
    /// Who must approve, where the rule applies and says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wants: Option<String>,
}

impl Policy {
    /// What the policy says of an action, and why.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let assessment = self.assess(request);
        let case = Case::new(request, &self.costs);
        let denial = match &assessment {
            Assessment::Denied(denial) => Some(denial.to_string()),
            Assessment::Allowed(_) | Assessment::Required(_) => None,
        };
        Explanation {
            answer: assessment.as_str(),
            denial,
            uses: assessment.uses(),
            window: assessment.window(),
            break_glass: assessment.allows_break_glass(),
            retries: assessment.retries(),
            preview: assessment.wants_preview() && request.action.mode == Mode::Apply,
            evidence: assessment.evidence().into_iter().map(Evidence::as_str).collect(),
            rules: self.rules.iter().map(|rule| reason(rule, &assessment, &case)).collect(),
        }
    }
}

/// Whether there are no retries to speak of.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
const fn is_none(retries: &u64) -> bool {
    *retries == 0
}

fn reason(rule: &Rule, assessment: &Assessment<'_>, case: &Case<'_, '_>) -> Reason {
    let applies = match assessment {
        Assessment::Allowed(rules) => rules.iter().any(|one| *one.rule == rule.name),
        Assessment::Required(rules) => rules.iter().any(|one| *one.rule == rule.name),
        Assessment::Denied(crate::assess::Denial::Rules(rules)) => {
            rules.iter().any(|name| *name == rule.name.as_str())
        }
        Assessment::Denied(_) => false,
    };
    let mut because = Vec::new();
    rule.matcher.because(case, &mut because);
    Reason {
        rule: rule.name.to_string(),
        effect: rule.effect.as_str(),
        matches: rule.matcher.test(case).as_str(),
        applies,
        because,
        wants: match &rule.effect {
            Effect::Require(quorum) if applies => Some(quorum.to_string()),
            Effect::Require(_) | Effect::Allow { .. } | Effect::Deny => None,
        },
    }
}

impl Matcher {
    /// Adds the innermost matchers that make this one answer as it does.
    fn because(&self, case: &Case<'_, '_>, reasons: &mut Vec<String>) {
        let answer = self.test(case);
        match self {
            Self::All(matchers) | Self::Any(matchers) => {
                let same = matchers.iter().filter(|matcher| matcher.test(case) == answer);
                same.for_each(|matcher| matcher.because(case, reasons));
            }
            Self::Not(matcher) => matcher.because(case, reasons),
            leaf => {
                let found = leaf.found(case).map_or_else(String::new, |found| format!(" ({found})"));
                reasons.push(format!("{leaf}: {answer}{found}"));
            }
        }
    }

    /// What it looked at, for a person.
    fn found(&self, case: &Case<'_, '_>) -> Option<String> {
        let request = case.request;
        match self {
            Self::Tool(_) => Some(request.action.tool.to_string()),
            Self::Definition(_) => {
                request.action.connector.as_ref().map(|connector| connector.schema.to_string())
            }
            Self::Target(_) => request.action.target.as_ref().map(ToString::to_string),
            Self::Argument(path, _) => Some(match request.find(path) {
                Found::Value(value) => shortened(&value.to_string()),
                Found::Nothing => "there is none".to_owned(),
                Found::Hidden => "committed or free".to_owned(),
            }),
            Self::Cost(..) => match case.cost() {
                Ok(spent) => Some(format!("{} {}", spent.amount, spent.currency)),
                Err(why) => Some((*why).to_owned()),
            },
            Self::RiskAtLeast(_) => Some(format!("claimed {}", request.risk)),
            Self::Tags(..) => Some(format!("claimed {}", crate::matcher::list(request.tags))),
            Self::Principal(_) | Self::Group(_) => Some(request.proposer.to_string()),
            Self::Delegated(_) | Self::Delegation(_) => request.chain.first().map(ToString::to_string),
            Self::Mode(_) | Self::Always | Self::All(_) | Self::Any(_) | Self::Not(_) => None,
        }
    }
}

/// As much of a value as a person reads.
fn shortened(text: &str) -> String {
    let cut = if text.chars().nth(80).is_some() { "…" } else { "" };
    text.chars().take(80).chain(cut.chars()).collect()
}
