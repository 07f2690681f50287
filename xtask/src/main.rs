//! Chores of this workspace: `cargo xtask vectors`, `cargo xtask tidy`, `cargo xtask test`.

mod tidy;
mod vectors;

use std::{
    path::Path,
    process::{Command, ExitCode},
};

const USAGE: &str = "usage: cargo xtask <command>

  vectors           write test-vectors/ anew
  vectors --check   compare test-vectors/ with what would be written
  tidy              hold specification, predicates, codes, vectors and habits together
  test              everything that has to be green before a commit";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let faults = match arguments.as_slice() {
        ["vectors"] => vectors::write(&root),
        ["vectors", "--check"] => vectors::check(&root),
        ["tidy"] => tidy::check(&root),
        ["test"] => test(&root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Stops at the first command that fails: what comes after it would only repeat the news.
fn test(root: &Path) -> Vec<String> {
    let faults = [tidy::check(root), vectors::check(root)].concat();
    if !faults.is_empty() {
        return faults;
    }
    let commands: [&[&str]; 4] = [
        &["fmt", "--all", "--check"],
        &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        &["test", "--workspace"],
        &["check", "--target", "wasm32-unknown-unknown", "-p", "counterfoil-verify"],
    ];
    let failed = commands.iter().find(|command| {
        let status = Command::new(env!("CARGO")).args(**command).current_dir(root).status();
        !status.is_ok_and(|status| status.success())
    });
    failed.map(|command| format!("cargo {} failed", command.join(" "))).into_iter().collect()
}
