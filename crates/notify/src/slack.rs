//! The channel that posts to an incoming webhook of Slack.
//!
//! Text of messages is escaped, so that it mentions nobody and links nowhere; it may still be shown *bold* if it says so.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::channel::{Channel, Delivery, Failure};
use crate::message::Message;
use crate::post::{Target, UrlError};
use crate::secret::Secret;
use crate::signature;

/// Posts each message to one incoming webhook.
pub struct Slack {
    target: Target,
    secret: Option<Secret>,
}

/// Characters of a section's text: Slack takes 3,000.
const SECTION_CHARS: usize = 2_900;

/// Fields of a section.
const SECTION_FIELDS: usize = 10;

impl Slack {
    /// Posts to this URL, which is a secret itself. With a signing secret, requests are signed by Slack's scheme, for what
    /// stands in between: Slack does not look at it.
    ///
    /// # Errors
    /// [`UrlError`].
    pub fn new(url: &str, secret: Option<Secret>) -> Result<Self, UrlError> {
        Ok(Self { target: Target::new(url)?, secret })
    }

    /// How long one delivery may take; [`limits::HTTP_TIME`](crate::limits::HTTP_TIME) if nothing is said.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { target: self.target.with_timeout(timeout), ..self }
    }
}

impl Channel for Slack {
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure> {
        let body = body(delivery.message).to_string();
        let (id, timestamp) = (delivery.id.to_string(), delivery.at.seconds().to_string());
        let signature =
            self.secret.as_ref().map(|secret| signature::sign_slack(secret, &timestamp, body.as_bytes()));
        let mut headers = vec![("Counterfoil-Delivery", id.as_str())];
        if let Some(signature) = &signature {
            headers.extend([
                ("X-Slack-Request-Timestamp", timestamp.as_str()),
                ("X-Slack-Signature", signature),
            ]);
        }
        self.target.post(&headers, &body)
    }
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack").field("host", &self.target.host()).finish_non_exhaustive()
    }
}

/// The blocks, and in `text` what telephones show of them.
fn body(message: &Message) -> Value {
    let title = escape(message.title());
    let mut blocks = vec![section(&format!("*{title}*"))];
    blocks.extend(pieces(&escape(message.text()), SECTION_CHARS).into_iter().map(section));
    for fields in message.fields().chunks(SECTION_FIELDS) {
        let fields: Vec<Value> = fields
            .iter()
            .map(|field| mrkdwn(&format!("*{}*\n{}", escape(&field.name), escape(&field.value))))
            .collect();
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    if let Some(url) = message.url() {
        blocks.push(section(&format!("<{}>", escape(url))));
    }
    json!({"text": format!("{}: {title}", message.kind()), "blocks": blocks})
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": mrkdwn(text)})
}

/// Nothing in it becomes a link or a mention of itself.
fn mrkdwn(text: &str) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

/// Slack's three characters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Cuts text into pieces of at most so many bytes, none of them blank, and none within an escape.
fn pieces(mut text: &str, most: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let mut end = (0..=most.min(text.len())).rfind(|at| text.is_char_boundary(*at)).unwrap_or_default();
        if end < text.len() {
            // An escape has at most five characters.
            if let Some(start) = text[..end].rfind('&').filter(|start| end - start < 5) {
                end = start;
            }
        }
        let (piece, rest) = text.split_at(end);
        if !piece.trim().is_empty() {
            pieces.push(piece);
        }
        text = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_between_characters_and_not_within_an_escape() {
        assert_eq!(pieces("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(pieces("äöü", 5), ["äö", "ü"]);
        assert_eq!(pieces("abc&amp;def", 6), ["abc", "&amp;d", "ef"]);
        assert_eq!(pieces("&amp;&lt;&gt;", 8), ["&amp;", "&lt;&gt;"]);
        assert_eq!(pieces("\n\n \t", 2), [""; 0]);
    }
}
