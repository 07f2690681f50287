//! `cargo xtask figures foundation|log`: measures what is claimed, and counts what is tested.

use std::process::Command;

use crate::{
    beside, interop,
    run::{Step, root, run},
};

/// Tests that print counts, as `count NAME N` on lines of their own.
const FOUNDATION: [&[&str]; 3] = [
    &["-p", "counterfoil-tests"],
    &["-p", "counterfoil-log", "--test", "crash"],
    &["-p", "counterfoil", "--test", "kill", "--test", "demo"],
];
const LOG: [&[&str]; 3] = [
    &["-p", "counterfoil-tests", "--test", "model"],
    &["-p", "counterfoil-log", "--test", "crash"],
    &["-p", "counterfoil", "--test", "kill", "--test", "faults", "--test", "interop"],
];

/// Prints one JSON line for each figure. A figure that misses its bar says so; nothing fails.
pub fn foundation() -> Step {
    run("cargo", &["run", "--quiet", "--release", "--locked", "-p", "counterfoil-benches"])?;
    FOUNDATION.iter().try_for_each(|which| count(which))
}

/// What is claimed of the log.
pub fn log() -> Step {
    beside::tessera()?;
    LOG.iter().try_for_each(|which| count(which))
}

/// Runs tests and prints the counts that they report.
fn count(which: &[&str]) -> Step {
    let arguments = [&["test", "--quiet", "--locked"], which, &["--", "--nocapture"]].concat();
    let output = Command::new("cargo")
        .args(&arguments)
        .env("COUNTERFOIL_INTEROP", root().join(interop::PROGRAMS))
        .current_dir(root())
        .output()
        .map_err(|why| why.to_string())?;
    let how = format!("cargo {}", arguments.join(" "));
    let holds = output.status.success();
    let printed = [output.stdout, output.stderr].concat();
    for line in String::from_utf8_lossy(&printed).lines() {
        // The dots are the progress of the tests.
        let counted = line.trim_start_matches('.').strip_prefix("count ");
        let Some((name, number)) = counted.and_then(|rest| rest.rsplit_once(' ')) else { continue };
        let Ok(value) = number.parse::<u64>() else { continue };
        println!(
            "{{\"figure\":{name:?},\"value\":{value},\"bar\":{value},\"holds\":{holds},\"how\":{how:?}}}"
        );
    }
    Ok(())
}
