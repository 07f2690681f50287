//! What the policy in force says of a server's tools before anything is proposed, and of requests that are no calls.
//!
//! As the log lists it, it is a hint: that hides and refuses, and lets nothing pass. What passes is judged on verified evidence.

use counterfoil_gate::Refusal;
use counterfoil_policy::{Assessment, Evidence, Policy, Request, Rule as PolicyRule};
use counterfoil_receipt::{Action, PolicyDigest, Principal, body::Risk, text::Group};
use counterfoil_verify::Rule;

/// The policy in force, and what it is asked with.
pub(crate) struct Says {
    /// `None` where none is in force, or it can't be read: nothing is authorized then.
    policy: Option<Policy>,
    groups: Vec<Group>,
    /// Why it lets nothing pass, if the gate holds to another one.
    differs: Option<Refusal>,
    digest: Option<PolicyDigest>,
    /// What was shown of what a rule can demand.
    shown: Vec<Evidence>,
}

impl Says {
    pub(crate) const fn new(
        digest: Option<PolicyDigest>,
        policy: Option<Policy>,
        groups: Vec<Group>,
        differs: Option<Refusal>,
    ) -> Self {
        Self { policy, groups, differs, digest, shown: Vec::new() }
    }

    /// The same, on evidence that shows this of what a rule can demand.
    pub(crate) fn on(self, shown: Vec<Evidence>) -> Self {
        Self { shown, ..self }
    }

    /// The digest of the policy in force.
    pub(crate) const fn digest(&self) -> Option<PolicyDigest> {
        self.digest
    }

    /// Why a call would be refused whoever approved it, if it would.
    pub(crate) fn denies(&self, action: &Action, risk: Risk, agent: &Principal) -> Option<Refusal> {
        if self.differs.is_some() {
            return self.differs.clone();
        }
        let Some(policy) = &self.policy else { return Some(denied("no policy is in force".to_owned())) };
        match policy.assess(&Request::new(action, risk, &[], agent, &self.groups)) {
            Assessment::Denied(denial) => Some(denied(format!("{denial}{}", self.definition_of(action)))),
            said if said.wants_preview() => Some(Refusal {
                code: Rule::PreviewMissing.code().to_owned(),
                detail: format!(
                    "{}: the policy wants a preview first, and a call through MCP has none",
                    action.tool
                ),
            }),
            Assessment::Allowed(_) | Assessment::Required(_) => None,
        }
    }

    /// How the action's tool is defined, to be said where the policy asks for definitions.
    pub(crate) fn definition_of(&self, action: &Action) -> String {
        let asks = |policy: &Policy| policy.rules().iter().any(PolicyRule::rests_on_definitions);
        let connector = action.connector.as_ref().filter(|_| self.policy.as_ref().is_some_and(asks));
        connector.map_or_else(String::new, |connector| {
            format!("; {} is defined as {} now", action.tool, connector.schema)
        })
    }

    /// Whether a call of a tool could pass with some arguments.
    pub(crate) fn lists(&self, action: &Action, risk: Risk, agent: &Principal) -> bool {
        let request = Request::new(action, risk, &[], agent, &self.groups).with_any_arguments();
        let could = |policy: &Policy| policy.could_pass(&request) && !policy.always_wants_preview(&request);
        self.differs.is_none() && self.policy.as_ref().is_some_and(could)
    }

    /// Why a request that is no call does not pass, unless the policy allows it. It can't wait for people, and leaves no receipt on which they
    /// could decide: what wants approvals is refused, too.
    pub(crate) fn keeps_back(&self, action: &Action, risk: Risk, agent: &Principal) -> Option<Refusal> {
        if self.differs.is_some() {
            return self.differs.clone();
        }
        let tool = &action.tool;
        let Some(policy) = &self.policy else { return Some(denied("no policy is in force".to_owned())) };
        let said = policy.assess(&Request::new(action, risk, &[], agent, &self.groups));
        match &said {
            Assessment::Allowed(_) if said.wants_preview() => Some(Refusal {
                code: Rule::PreviewMissing.code().to_owned(),
                detail: format!("{tool}: it is no call that could be previewed"),
            }),
            Assessment::Allowed(_) => {
                let missing = said.evidence().into_iter().find(|evidence| !self.shown.contains(evidence))?;
                let detail = format!("{tool}: the policy wants {}, which is not shown", missing.as_str());
                Some(Refusal { code: "evidence-incomplete".to_owned(), detail })
            }
            Assessment::Denied(denial) => Some(denied(format!("{tool}: {denial}"))),
            Assessment::Required(rules) => {
                let rules: Vec<&str> = rules.iter().map(|rule| rule.rule.as_str()).collect();
                let detail = format!(
                    "{tool}: it is no call that could wait for the approvals that {} of the policy wants; have a rule allow it or deny it",
                    rules.join(", ")
                );
                Some(Refusal { code: "mcp-approval".to_owned(), detail })
            }
        }
    }

    /// Whether such a request could pass with some parameters.
    pub(crate) fn offers(&self, action: &Action, risk: Risk, agent: &Principal) -> bool {
        let request = Request::new(action, risk, &[], agent, &self.groups).with_any_arguments();
        self.differs.is_none() && self.policy.as_ref().is_some_and(|policy| policy.could_be_allowed(&request))
    }
}

fn denied(detail: String) -> Refusal {
    Refusal { code: Rule::PolicyDenied.code().to_owned(), detail }
}
