//! What a client of 2026-07-28 is given to go on waiting with: a state that it sends back with the same call, without asking its model.
//!
//! It says only what the client could say itself: how often it came, and with what its call goes on. Whoever changes it makes another call, or
//! waits longer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use counterfoil_receipt::json;

use crate::{
    desk::Inputs,
    limits,
    proxy::{Reply, parameters},
};

/// What states of this gate begin with; no server's may.
pub(crate) const OURS: &str = "counterfoil/held:";

/// The state of a call that waits for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Waiting {
    /// How often the client came back already.
    pub round: u32,
    /// What it answered to what the server asked, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Map<String, Value>>,
    /// The server's state.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

impl Waiting {
    /// The next round of a call.
    pub(crate) fn next(round: u32, inputs: Option<&Inputs>) -> Self {
        let inputs = inputs.cloned();
        let (responses, state) = inputs.map_or((None, None), |inputs| (inputs.responses, inputs.state));
        Self { round: round + 1, responses, state }
    }

    /// What the call goes on with.
    pub(crate) fn into_inputs(self) -> Option<Inputs> {
        let Self { responses, state, .. } = self;
        (responses.is_some() || state.is_some()).then_some(Inputs { responses, state })
    }

    /// As a client is given it.
    pub(crate) fn to_text(&self) -> Option<String> {
        serde_json::to_string(self).ok().map(|text| format!("{OURS}{text}"))
    }

    /// Reads what a client sends back; `None` for what is no state of this gate, and why where it is damaged.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, String>> {
        let text = text.strip_prefix(OURS)?;
        let canonical = json::canonicalize_input(text.as_bytes(), &limits::MESSAGE_JSON);
        let read = canonical.map_err(|fault| fault.to_string());
        Some(read.and_then(|text| serde_json::from_slice(&text).map_err(|fault| fault.to_string())))
    }
}

/// What the client answers to an earlier result, if this call goes on with one; and how often it came back only to wait.
pub(crate) fn read_inputs(params: &Map<String, Value>) -> Result<(Option<Inputs>, u32), Reply> {
    let responses = match params.get("inputResponses") {
        None => None,
        Some(Value::Object(responses)) => Some(responses.clone()),
        Some(_) => return Err(parameters("inputResponses is no object".to_owned())),
    };
    let state = match params.get("requestState") {
        None => None,
        Some(Value::String(state)) => Some(state.clone()),
        Some(_) => return Err(parameters("requestState is no text".to_owned())),
    };
    match state.as_deref().and_then(Waiting::parse) {
        Some(Err(why)) => Err(parameters(format!("requestState: {why}"))),
        // Nothing was asked of it.
        Some(Ok(_)) if responses.as_ref().is_some_and(|responses| !responses.is_empty()) => {
            Err(parameters("inputResponses to a result that asked for nothing".to_owned()))
        }
        Some(Ok(waiting)) => {
            let round = waiting.round.min(limits::ROUNDS);
            Ok((waiting.into_inputs(), round))
        }
        None => {
            let is_some = responses.is_some() || state.is_some();
            Ok((is_some.then_some(Inputs { responses, state }), 0))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_call_goes_on_with_comes_back_as_it_went() {
        let responses = json!({"sure": {"action": "accept"}}).as_object().cloned();
        for inputs in [
            None,
            Some(Inputs { responses: responses.clone(), state: None }),
            Some(Inputs { responses, state: Some("state \"x\"".to_owned()) }),
        ] {
            let text = Waiting::next(4, inputs.as_ref()).to_text().unwrap();
            let back = Waiting::parse(&text).unwrap().unwrap();
            assert_eq!((back.round, back.into_inputs()), (5, inputs));
        }
    }

    #[test]
    fn what_is_damaged_is_no_state_and_what_a_server_says_is_none_of_ours() {
        assert_eq!(Waiting::parse("state x"), None);
        for damaged in [
            "",
            "{}",
            "{\"round\":-1}",
            "{\"round\":1,\"round\":2}",
            "{\"round\":1,\"more\":1}",
            "{\"round\":1}}",
        ] {
            assert!(Waiting::parse(&format!("{OURS}{damaged}")).unwrap().is_err(), "{damaged}");
        }
    }
}
