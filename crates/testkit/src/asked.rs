//! What is asked of a policy, and what it says, in the JSON of the vectors in `policy/`.

use std::collections::BTreeMap;

use counterfoil_policy::{Approval, Approver, Policy, Request, Shortfall, Voice};
use counterfoil_receipt::{
    Action, Principal,
    body::{Risk, Surface},
    json,
    text::{Group, Label, RuleName},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// An action, who proposed it, and who approved it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The action.
    pub action: Value,
    /// The claimed risk.
    pub risk: String,
    /// The claimed tags.
    pub tags: Vec<String>,
    /// Who proposed it.
    pub proposer: String,
    /// Their groups at the proposal's index.
    pub groups: Vec<String>,
}

/// One approval.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Whose it is.
    pub principal: String,
    /// As what.
    pub role: String,
    /// Their groups at the decision's index.
    pub groups: Vec<String>,
    /// Where they were shown what they decided on.
    pub surface: String,
    /// The scheme of their key.
    pub scheme: String,
    /// The uses that it grants.
    pub uses: u64,
    /// How long it lasts, in milliseconds.
    pub window: u64,
    /// Who signed it, if somebody else.
    #[serde(default)]
    pub signer: Option<String>,
    /// The rule whose time is out, if that is what decided.
    #[serde(default)]
    pub rule: Option<String>,
    /// Steps of escalation that stood before, each by its rule and counted from 1.
    #[serde(default)]
    pub escalated: Vec<(String, u64)>,
}

/// The names in an approval.
struct Names {
    principal: Principal,
    signer: Option<Principal>,
    groups: Vec<Group>,
    rule: Option<RuleName>,
    escalated: Vec<(RuleName, u64)>,
}

impl Asked {
    /// What a policy document says: `answer`, which rules match and apply, and the `uses` that are granted or the `rule` of
    /// `spec/rules.md` that an execution would break.
    pub fn judge(&self, document: &Value, involved: &[String], given: &[Given]) -> Value {
        let Ok(policy) = Policy::parse(&json::to_canonical(document).expect("JSON")) else {
            return json!({"readable": false});
        };
        let action = Action::parse(&json::to_canonical(&self.action).expect("JSON")).expect("an action");
        let tags: Vec<Label> = self.tags.iter().map(|tag| Label::new(tag.as_str()).expect("a tag")).collect();
        let (proposer, groups) = (name(&self.proposer), names(&self.groups));
        let risk = Risk::parse(&self.risk).expect("a risk");
        let request = Request::new(&action, risk, &tags, &proposer, &groups);
        let assessment = policy.assess(&request);
        let explained = policy.explain(&request);
        let matches: BTreeMap<_, _> =
            explained.rules.iter().map(|one| (one.rule.as_str(), one.matches)).collect();
        let applies: Vec<&str> =
            explained.rules.iter().filter(|one| one.applies).map(|one| one.rule.as_str()).collect();
        let mut said =
            json!({"readable": true, "answer": explained.answer, "matches": matches, "applies": applies});
        if explained.preview {
            said["preview"] = json!(true);
        }
        if assessment.retries() > 0 {
            said["retries"] = json!(assessment.retries());
        }
        if !explained.evidence.is_empty() {
            said["evidence"] = json!(explained.evidence);
        }
        let approvers: Vec<Names> = given.iter().map(Given::names).collect();
        let approvals: Vec<Approval<'_>> =
            given.iter().zip(&approvers).map(|(one, who)| approval(one, who)).collect();
        let involved: Vec<&str> = involved.iter().map(String::as_str).collect();
        match assessment.evaluate(&involved, &approvals) {
            Ok(terms) => said["uses"] = json!(terms.uses),
            Err(shortfall) => said["rule"] = json!(rule(&shortfall)),
        }
        said
    }
}

impl Given {
    fn names(&self) -> Names {
        Names {
            principal: name(&self.principal),
            signer: self.signer.as_deref().map(name),
            groups: names(&self.groups),
            rule: self.rule.as_deref().map(name),
            escalated: self.escalated.iter().map(|(rule, step)| (name(rule), *step)).collect(),
        }
    }
}

fn approval<'a>(given: &'a Given, names: &'a Names) -> Approval<'a> {
    let surface = Surface::parse(&given.surface).expect("a surface");
    let voice = match (given.role.as_str(), &names.rule) {
        ("human", _) => Voice::Own,
        ("policy", Some(rule)) => Voice::Timeout(rule),
        ("policy", None) if surface == Surface::Link => Voice::Link,
        _ => Voice::None,
    };
    let approver = Approver {
        principal: &names.principal,
        signer: names.signer.as_ref().unwrap_or(&names.principal),
        voice,
        groups: &names.groups,
        surface,
        scheme: &given.scheme,
        escalated: &names.escalated,
    };
    Approval { approver, uses: given.uses, window: given.window }
}

const fn rule(shortfall: &Shortfall) -> &'static str {
    use counterfoil_policy::Denial;
    match shortfall {
        Shortfall::Denied(Denial::FreePath(_)) => "R-EXEC-16",
        Shortfall::Denied(Denial::Rules(_) | Denial::NoRule) => "R-EXEC-15",
        Shortfall::Quorum { .. } => "R-EXEC-06",
        Shortfall::Segregation(_) => "R-EXEC-07",
        Shortfall::Terms { .. } => "R-EXEC-12",
    }
}

fn names(texts: &[String]) -> Vec<Group> {
    texts.iter().map(|text| name(text)).collect()
}

fn name(text: &str) -> Principal {
    Principal::new(text).expect("a name")
}
