//! What the policy in force says of a server's tools before anything is proposed, as the log lists it.
//!
//! That is a hint: it hides and refuses, and lets nothing pass. What passes is judged on verified evidence, as everything is.

use counterfoil_policy::{Assessment, Policy, Request};
use counterfoil_receipt::{Action, Principal, body::Risk, text::Group};

/// The policy in force, and what it is asked with.
pub(crate) struct Says {
    /// `None` where none is in force, or it can't be read: nothing is authorized then.
    policy: Option<Policy>,
    groups: Vec<Group>,
}

impl Says {
    pub(crate) fn new(document: Option<&[u8]>, groups: Vec<Group>) -> Self {
        let policy = document.and_then(|document| Policy::parse(document).ok());
        Self { policy, groups }
    }

    /// Why a call would be refused whoever approved it, if it would.
    pub(crate) fn denies(&self, action: &Action, risk: Risk, agent: &Principal) -> Option<String> {
        let Some(policy) = &self.policy else { return Some("no policy is in force".to_owned()) };
        match policy.assess(&Request::new(action, risk, &[], agent, &self.groups)) {
            Assessment::Denied(denial) => Some(denial.to_string()),
            Assessment::Allowed(_) | Assessment::Required(_) => None,
        }
    }

    /// Whether a call of a tool could pass with some arguments.
    pub(crate) fn lists(&self, action: &Action, risk: Risk, agent: &Principal) -> bool {
        let request = Request::new(action, risk, &[], agent, &self.groups).with_any_arguments();
        self.policy.as_ref().is_some_and(|policy| policy.could_pass(&request))
    }
}
