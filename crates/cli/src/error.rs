//! What a command failed with: one message with a stable code, what to do about it, and the exit status.

use std::fmt;

/// Exit status of a command whose input says that something is violated.
pub const VIOLATED: u8 = 1;
/// Exit status of a command that was used wrongly or could not read or write something.
pub const USAGE: u8 = 2;
/// Exit status of a command that could not show what was required of it.
pub const NOT_SHOWN: u8 = 3;
/// Exit status of a command that waited for a decision and got none.
pub const HELD: u8 = 4;

/// What every command gives: the exit status, or why there is none.
pub type Outcome<T = u8> = Result<T, Failure>;

/// Why a command stopped.
#[derive(Debug)]
pub struct Failure {
    code: String,
    message: String,
    hint: String,
    status: u8,
}

impl Failure {
    /// A failure with exit status 2: wrong usage, or something that could not be read or written.
    pub fn new(code: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), hint: hint.into(), status: USAGE }
    }

    /// The same failure with another exit status.
    pub fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// The same failure, with what had succeeded before it.
    pub fn after(mut self, said: &str) -> Self {
        self.message.insert_str(0, said);
        self
    }

    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// What happened, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it; may be empty.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The exit status of the process.
    pub const fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\nhint: {}", self.hint) }
    }
}
