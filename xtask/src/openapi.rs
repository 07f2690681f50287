//! `cargo xtask openapi`: the OpenAPI document, as a server serves it.

use crate::run::{Step, run};

/// The test that compares the document with the committed one, and writes that if it is told to.
const TEST: &str = "the_committed_document_is_the_one_that_is_served";

/// Writes `spec/openapi.json`.
pub fn write() -> Step {
    let test = ["cargo", "test", "-q", "-p", "counterfoil-server", "--locked", "--test", "openapi", "--"];
    run("env", &[&["COUNTERFOIL_OPENAPI=write"], &test[..], &["--exact", TEST]].concat())
}
