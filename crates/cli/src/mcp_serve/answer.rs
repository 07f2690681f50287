//! What a tool answers: text for a model, the same as data for its program, and faults with a code and what to do next.
//!
//! What records say is other people's text. In nothing that is answered there is a character that a terminal obeys, or that hides or
//! turns text, and no text or list is longer than a limit.

use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde_json::{Value, json};

use super::limits;
use crate::{
    error::Failure,
    text::{printable, printable_lines, shortened},
};

/// What a tool answers.
#[derive(Debug)]
pub struct Answer {
    /// For a model: all that it needs.
    pub text: String,
    /// For a program: an object, as the tool's output schema says.
    pub data: Value,
    /// Whether what was asked for is not so, such as a verdict that shows less than is required.
    pub is_bad: bool,
    /// What may be read besides.
    pub links: Vec<Resource>,
}

impl Answer {
    /// An answer that says what was asked for.
    pub fn new(text: String, data: Value) -> Self {
        Self { text, data, is_bad: false, links: Vec::new() }
    }

    /// The result that the client is sent.
    pub fn into_result(mut self) -> CallToolResult {
        let left_out = tame(&mut self.data);
        if left_out > 0 {
            self.data["left_out"] = json!(left_out);
        }
        let size = self.data.to_string().len();
        if size > limits::RESULT_BYTES {
            let message =
                format!("the result has {size} bytes, more than the {} that are sent", limits::RESULT_BYTES);
            return fault(&Failure::new(
                "result-too-large",
                message,
                "ask about one proposal or execution instead",
            ));
        }
        let text = shortened(&printable_lines(&self.text), limits::ANSWER_CHARS);
        let mut content = vec![ContentBlock::text(text)];
        content.extend(self.links.into_iter().map(ContentBlock::resource_link));
        let mut result =
            if self.is_bad { CallToolResult::error(content) } else { CallToolResult::success(content) };
        result.structured_content = Some(self.data);
        result
    }
}

/// Why a tool gave nothing, so that a model can do something about it.
pub fn fault(failure: &Failure) -> CallToolResult {
    let (code, message) = (printable(failure.code()), printable(failure.message()));
    let next = printable(next(failure));
    let mut text = format!("error[{code}]: {message}");
    if !next.is_empty() {
        text.push_str(&format!("\nnext: {next}"));
    }
    let mut result = CallToolResult::error(vec![ContentBlock::text(shortened(&text, limits::TEXT_CHARS))]);
    let mut data = json!({"error": {"code": code, "message": message, "next": next}});
    tame(&mut data);
    result.structured_content = Some(data);
    result
}

/// What whoever has no command line does about a fault.
fn next(failure: &Failure) -> &str {
    match failure.code() {
        "unreachable" | "no-answer" | "log-busy" => {
            "call the tool again in a moment; what was proposed is not proposed twice. If it stays so, tell the operator of the log"
        }
        "stale" | "checkpoint-stale" => {
            "call the tool again in a moment; do nothing on what was known before"
        }
        "log-forked" | "basis-fork" | "consistency-mismatch" | "untrusted" => {
            "stop: the log contradicts itself. Tell a person, who keeps both checkpoints"
        }
        "record-too-large" => {
            "name the arguments that are large in `commit`: then only commitments to them stand in the log"
        }
        "not-owner" => {
            "the run is another agent's; propose in one of your own, by naming an event instead of the run"
        }
        "proposal-unknown" | "run-unknown" | "record-unknown" | "not-found" => {
            "check the id; `approvals` lists your proposals with their runs"
        }
        "token-required" | "token-expired" | "token-scope" => {
            "the operator gives this server another token, in COUNTERFOIL_TOKEN"
        }
        _ => failure.hint(),
    }
}

/// Spells out what moves a terminal, shortens what is long; says how many elements were left out.
fn tame(value: &mut Value) -> usize {
    match value {
        Value::String(text) => {
            let safe = shortened(&printable(text), limits::TEXT_CHARS);
            let is_same = safe == *text;
            if !is_same {
                *text = safe;
            }
            0
        }
        Value::Array(elements) => {
            let left_out = elements.len().saturating_sub(limits::LIST);
            elements.truncate(limits::LIST);
            left_out + elements.iter_mut().map(tame).sum::<usize>()
        }
        // Names of members are ours.
        Value::Object(members) => members.values_mut().map(tame).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on stops")]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_moves_no_terminal_and_has_an_end() {
        let long = "x".repeat(limits::TEXT_CHARS + 1);
        let many = vec![0; limits::LIST + 3];
        let data = json!({"said": "\u{1b}[2J\u{202e}", "long": long, "many": many});
        let result = Answer::new("a\u{1b}[2J\nb".to_owned(), data).into_result();
        let shown = result.structured_content.as_ref().unwrap();
        assert_eq!(shown["said"], "\\u{1b}[2J\\u{202e}");
        assert_eq!(shown["long"].as_str().unwrap().chars().count(), limits::TEXT_CHARS + 1);
        assert_eq!((shown["many"].as_array().unwrap().len(), &shown["left_out"]), (limits::LIST, &json!(3)));
        assert_eq!(result.content[0].as_text().unwrap().text, "a\\u{1b}[2J\nb");
    }

    #[test]
    fn what_is_larger_than_a_model_reads_is_not_sent() {
        let lists: Vec<_> = (0..100).map(|_| "y".repeat(limits::TEXT_CHARS)).collect();
        let result = Answer::new(String::new(), json!({"lists": lists})).into_result();
        assert_eq!(result.is_error, Some(true));
        assert_eq!(result.structured_content.unwrap()["error"]["code"], "result-too-large");
    }
}
