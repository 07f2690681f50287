//! Attacks on gates that worked on other systems, against the real binary, its log, and servers that leave traces.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

#[path = "../../../crates/cli/tests/mcp/client.rs"]
mod client;
#[path = "../../../crates/cli/tests/common/mod.rs"]
mod common;
#[path = "../../../crates/cli/tests/office/mod.rs"]
mod office;
#[path = "../../../crates/cli/tests/work/mod.rs"]
mod work;

mod calls;
mod commands;
mod definitions;
mod inputs;
mod passing;
