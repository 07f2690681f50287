//! The one policy that a gate holds to: while another is in force, it lets nothing pass.

use counterfoil_receipt::PolicyDigest;

use crate::decide::Refusal;

/// The code of what is refused because another policy is in force.
const CODE: &str = "policy-differs";

/// A policy, by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPin {
    /// The digest of its document.
    pub digest: PolicyDigest,
    /// What puts it in force, for a person: a command.
    pub remedy: String,
}

impl PolicyPin {
    /// Why nothing passes while this is in force, if nothing does.
    pub fn differs_from(&self, in_force: Option<PolicyDigest>) -> Option<Refusal> {
        if in_force == Some(self.digest) {
            return None;
        }
        let found = in_force.map_or_else(
            || "no policy is in force".to_owned(),
            |digest| format!("the policy in force is {digest}"),
        );
        let detail = format!(
            "{found}, and this gate holds to {}; what puts that in force: {}",
            self.digest, self.remedy
        );
        Some(Refusal::new(CODE, detail))
    }
}
