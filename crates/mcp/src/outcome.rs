//! What a server's answer says of an effect.

use counterfoil_gate::{Done, ResultPayload};
use counterfoil_receipt::{
    body::{Effects, Status},
    text::Label,
};

use crate::{message, proxy::Answer, reply};

/// A result as evidence of what became of a call.
pub(crate) fn payload(result: &str) -> Option<ResultPayload> {
    let (label, media_type) = Label::new("result.json").zip(Label::new("application/json"))?;
    Some(ResultPayload { label, media_type, content: result.as_bytes().to_vec() })
}

/// What a server's answer says of an effect; also the result, as it was sent.
pub(crate) fn done(answer: Answer) -> (Done, Option<String>) {
    match answer {
        Answer::Result(result) => {
            let Some(members) = reply::members(&result) else {
                return (Done::unknown("the server's result is no object, or names something twice"), None);
            };
            let is = |name: &str, value: &str| members.get(name).is_some_and(|member| member.get() == value);
            if members.contains_key("resultType") && !is("resultType", "\"complete\"") {
                let kind = members.get("resultType").map_or("", |kind| kind.get());
                return (Done::unknown(format!("the server's result is of type {kind}")), None);
            }
            let (status, effects) = if is("isError", "true") {
                (Status::Failed, Effects::Unknown)
            } else {
                (Status::Succeeded, Effects::Complete)
            };
            (Done { status, effects, result: payload(&result), detail: None }, Some(result))
        }
        Answer::Error { code, message } if [message::INVALID_PARAMS, message::NO_METHOD].contains(&code) => {
            (Done::not_started(format!("the server refused the call: {message} ({code})")), None)
        }
        Answer::Error { code, message } => {
            let said = format!("the server says: {message} ({code})");
            let known = Done { status: Status::Failed, ..Done::unknown(said.as_str()) };
            // That it failed, it says by an error as by a result; not where somebody else speaks.
            (if message::UNHEARD.contains(&code) { Done::unknown(said) } else { known }, None)
        }
        Answer::Gone(why) => (Done::unknown(why), None),
        Answer::Lost(why) => (Done::unknown(why), None),
        Answer::NotSent(why) => (Done::not_started(why), None),
    }
}
