//! The `counterfoil` binary.

mod advice;
mod agent;
mod apply;
mod approvals;
mod approvals_text;
mod approver;
mod audit_report;
mod backup;
mod cli;
mod completions;
mod context;
mod delegation;
mod demo;
mod doctor;
mod error;
mod evidence;
mod gate;
mod gate_check;
mod gate_stop;
mod git;
mod git_apply;
mod init;
mod input;
mod interrupt;
mod keys;
mod known;
mod listing;
mod log;
mod mcp;
mod mcp_http;
mod mcp_install;
mod mcp_serve;
mod output;
mod payload;
mod policy;
mod policy_file;
mod process;
mod reading;
mod receipt;
mod record;
mod recover;
mod remote;
mod report;
mod resume;
mod runs;
mod serve;
mod signing;
mod style;
mod tether;
mod time;
mod tokens;
mod tree;
mod trust;
mod verdict;
mod verify;
mod witness;

use counterfoil_review::{diff, proposal as review, text};

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os())
}
