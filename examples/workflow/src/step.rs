//! What a step is, for everybody who judges it: an action that names the workflow, the step, the capability and its arguments.

use counterfoil_receipt::{
    Action,
    action::{Json, Mode},
    text::Label,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::stop::{REFUSED, Stop};

/// The arguments of a step's action. Nothing else may stand there.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What the workflow hands to the capability.
    pub call: Value,
    /// Which call of the workflow it is, from 1.
    pub step: u64,
    /// SHA-256 of the workflow's source: another text is another workflow, and what was approved for one says nothing of it.
    pub workflow: String,
}

impl Step {
    /// The action of this step.
    ///
    /// # Errors
    /// [`Stop`] for arguments that no record can hold.
    pub fn to_action(&self, capability: &str) -> Result<Action, Stop> {
        let refused = |why: &dyn std::fmt::Display| {
            Stop::new(REFUSED, "arguments", format!("step {} ({capability}): {why}", self.step))
        };
        let arguments = serde_json::to_value(self).map_err(|error| refused(&error))?;
        let service = self.call.get("service").and_then(Value::as_str);
        Ok(Action {
            arguments: Json::from_value(&arguments).map_err(|fault| refused(&fault))?,
            committed: None,
            connector: None,
            free: None,
            mode: Mode::Apply,
            precondition: None,
            target: service.and_then(Label::new),
            tool: Label::new(capability).ok_or_else(|| refused(&"its name is no label"))?,
        })
    }

    /// The step that an action is; `None` for an action that is none.
    pub fn of(action: &Action) -> Option<Self> {
        serde_json::from_str(action.arguments.as_str()).ok()
    }
}

/// What `sha256sum` says of a workflow's source.
pub fn digest(source: &[u8]) -> String {
    Sha256::digest(source).iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
