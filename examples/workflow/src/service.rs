//! The services that there are to look at and deploy: what a call may name.

use serde_json::Value;

/// The service that a call names: a word that is a file name everywhere.
pub fn name(call: &Value) -> Option<&str> {
    let name = call.get("service")?.as_str()?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=40).contains(&name.len()).then_some(name).filter(|name| name.chars().all(is_word))
}

/// The configuration that a call carries.
pub fn config(call: &Value) -> Option<&str> {
    call.get("config")?.as_str()
}

/// Where a service's configuration lies in production.
pub fn file(name: &str) -> String {
    format!("{name}.conf")
}
