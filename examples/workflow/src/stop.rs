//! Why a workflow does not go on: a stable code, a sentence, and the exit status of `counterfoil gate`.

use std::fmt;

use counterfoil_client::{ClientError, SubmitError};
use counterfoil_gate::{GateError, Refusal};
use counterfoil_receipt::text::is_printable;

/// Exit status: it was refused, or it failed.
pub const REFUSED: u8 = 1;
/// Exit status: wrong usage, or something that can't be read or written.
pub const USAGE: u8 = 2;
/// Exit status: what is needed to go on is not shown.
pub const NOT_SHOWN: u8 = 3;
/// Exit status: people have to decide first. Run the same command again later.
pub const HELD: u8 = 4;

/// Why it stops here.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The exit status.
    pub status: u8,
    /// The stable code.
    pub code: String,
    /// For a person.
    pub detail: String,
}

impl Stop {
    /// Stops with a status, a code and a sentence.
    pub fn new(status: u8, code: &str, detail: impl fmt::Display) -> Self {
        Self { status, code: code.to_owned(), detail: detail.to_string() }
    }

    /// Stops because a file can't be used.
    pub fn file(path: &std::path::Path, error: &dyn fmt::Display) -> Self {
        Self::new(USAGE, "file", format!("{}: {error}", path.display()))
    }
}

/// A text for a terminal: some of it was written by others, and what moves the cursor or turns text is shown as what it is.
pub fn shown(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character == '\n' || is_printable(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No line of it begins as one of this program does.
        write!(f, "[{}]: {}", self.code, shown(&self.detail).replace('\n', "\n  "))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::new(REFUSED, &refusal.code, refusal.detail)
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::new(NOT_SHOWN, error.code(), &error)
    }
}

impl From<SubmitError> for Stop {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::Rejected(rejected) => Self::new(REFUSED, &rejected.code, &error),
            SubmitError::NotSubmitted(_) | SubmitError::Failed(_) | SubmitError::NotKept { .. } => {
                Self::new(NOT_SHOWN, "not-logged", &error)
            }
        }
    }
}

impl From<GateError> for Stop {
    fn from(error: GateError) -> Self {
        Self::new(NOT_SHOWN, "gate", &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_nothing_to_a_terminal() {
        let stop = Stop::new(REFUSED, "step-failed", "a\u{1b}[2Jb\r\u{202e}c\nd");
        assert_eq!(stop.to_string(), "[step-failed]: a\\u{1b}[2Jb\\u{d}\\u{202e}c\n  d");
    }
}
