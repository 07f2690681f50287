//! The channel that writes to the operator's terminal, or to any other writer.

use std::fmt::Write as _;
use std::io::Write;

use crate::channel::{Channel, Delivery, Failure};
use crate::message::Message;
use crate::text;

/// Writes each message as one line.
#[derive(Debug)]
pub struct Terminal<W>(W);

impl<W: Write + Send> Terminal<W> {
    /// Writes to this.
    pub const fn new(writer: W) -> Self {
        Self(writer)
    }
}

impl<W: Write + Send> Channel for Terminal<W> {
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure> {
        // One write, so that lines of several writers don't mix.
        let line = line(delivery.message) + "\n";
        let written = self.0.write_all(line.as_bytes()).and_then(|()| self.0.flush());
        written.map_err(|error| Failure::retry(&format!("can't write: {error}")))
    }
}

/// `[requested] title: text; name: value; name: value; https://…`, with what is not printable spelled out.
fn line(message: &Message) -> String {
    let mut line = format!("[{}] {}", message.kind(), message.title());
    if !message.text().is_empty() {
        let _ = write!(line, ": {}", message.text());
    }
    for field in message.fields() {
        let _ = write!(line, "; {}: {}", field.name, field.value);
    }
    if let Some(url) = message.url() {
        let _ = write!(line, "; {url}");
    }
    text::line(&line, usize::MAX)
}
