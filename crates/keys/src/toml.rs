//! TOML that may hold secrets: what is wrong with it is said without quoting it.

use serde::de::DeserializeOwned;

/// Why a text is not the TOML that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TomlFault {
    /// The line, from 1, where one is to blame.
    pub line: Option<usize>,
    /// What is wrong, without any of the text but names of members.
    pub reason: String,
}

/// Reads TOML. The error of the parser itself would quote the line, which may be that of a secret.
///
/// # Errors
/// [`TomlFault`].
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, TomlFault> {
    ::toml::from_str(text).map_err(|fault: ::toml::de::Error| {
        let before = fault.span().and_then(|span| text.get(..span.start));
        TomlFault {
            line: before.map(|before| before.matches('\n').count() + 1),
            reason: fault.message().lines().next().unwrap_or("not TOML").to_owned(),
        }
    })
}
