//! Figures: one JSON line each, measured on this machine, as ratios within one run.
//!
//! `{"figure":"…","value":…,"bar":…,"holds":true,"how":"…"}`. A figure that misses its bar says so; nothing fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a measurement that can't be made has nothing to say")]

mod approvals;
mod calls;
mod floor;
mod gate;
mod log;
mod parse;
mod policy;
mod report;
mod verify;

use std::process::Command;

use report::Figure;

type Measurement = (&'static str, fn() -> Figure);

/// What can be measured, by name.
const FIGURES: [Measurement; 10] = [
    ("verify-bundle", verify::small_bundle),
    ("verify-run", verify::long_run),
    ("verify-memory", verify::memory),
    ("parse", parse::strict_parse),
    ("add", log::idle_add),
    ("chain", verify::chain),
    ("policy-few", policy::few_rules),
    ("policy-many", policy::many_rules),
    ("decide-evidence", gate::decide_on_evidence),
    ("decide", gate::decide_on_verdict),
];

/// What depends on where a process has its memory: the median of five processes is shown.
const BY_PROCESS: [&str; 3] = ["verify-bundle", "chain", "decide-evidence"];

/// Several figures of one log that takes minutes to make: measured where it is named.
const PENDING: &str = "approvals";
/// The same, with the real binary.
const CALLS: &str = "calls";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (wanted, is_one) = match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("work", rest)) => return work(rest),
        // In this process, once.
        Some(("once", rest)) => (rest, true),
        // All of them, or those that are named.
        _ => (&*arguments, false),
    };
    if wanted.iter().any(|wanted| wanted == PENDING) {
        approvals::pending().iter().for_each(|figure| println!("{}", figure.to_json()));
    }
    if wanted.iter().any(|wanted| wanted == CALLS) {
        calls::through_a_gate().iter().for_each(|figure| println!("{}", figure.to_json()));
    }
    for (name, measure) in FIGURES {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        if is_one || !BY_PROCESS.contains(&name) {
            println!("{}", measure().to_json());
        } else {
            println!("{}", of_five_processes(name));
        }
    }
}

/// What this program does for a measurement, as a process of its own.
fn work(arguments: &[String]) {
    match arguments.first().map(String::as_str) {
        Some("mcp-server") => calls::serve(),
        Some("mcp-proxy") => calls::pass(),
        _ => verify::work(arguments),
    }
}

/// The line with the median value among those of five processes.
fn of_five_processes(name: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    let mut lines: Vec<(f64, String)> = (0..5)
        .map(|_| {
            let output = Command::new(&program).args(["once", name]).output().expect("a process");
            let line = String::from_utf8(output.stdout).expect("a line").trim().to_owned();
            let value = serde_json::from_str::<serde_json::Value>(&line).expect("a figure");
            (value["value"].as_f64().expect("a number"), line)
        })
        .collect();
    lines.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    lines.swap_remove(2).1
}
