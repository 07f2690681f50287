//! `cargo xtask figures foundation|log [--long]|authority|gate`: measures what is claimed, and counts what is tested.

use std::process::Command;

use crate::{
    beside, interop,
    run::{Step, root, run},
    soak,
};

/// Tests that print counts, as `count NAME N` on lines of their own.
const FOUNDATION: [&[&str]; 3] = [
    &["-p", "counterfoil-tests"],
    &["-p", "counterfoil-log", "--test", "crash"],
    &["-p", "counterfoil", "--test", "kill", "--test", "demo"],
];
const AUTHORITY: [&[&str]; 2] = [
    &["-p", "counterfoil-tests", "--test", "bypass", "--test", "vectors", "--test", "properties"],
    &["-p", "counterfoil-policy"],
];
const GATE: [&[&str]; 2] =
    [&["-p", "counterfoil", "--test", "gate_kills"], &["-p", "counterfoil-tests", "--test", "bypass"]];
const LOG: [&[&str]; 4] = [
    &["-p", "counterfoil-tests", "--test", "model"],
    &["-p", "counterfoil-log", "--test", "crash", "--test", "derived"],
    &["-p", "counterfoil-audit", "--test", "audit", "--test", "evidence"],
    &[
        "-p",
        "counterfoil",
        "--test",
        "faults",
        "--test",
        "kill",
        "--test",
        "raw",
        "--test",
        "disk_full",
        "--test",
        "interop",
    ],
];

/// Prints one JSON line for each figure. A figure that misses its bar says so; nothing fails.
pub fn foundation() -> Step {
    run("cargo", &["run", "--quiet", "--release", "--locked", "-p", "counterfoil-benches"])?;
    FOUNDATION.iter().try_for_each(|which| count(which, None))
}

/// What is claimed of policies, delegations and approvals.
pub fn authority() -> Step {
    let benches = [
        "run",
        "--quiet",
        "--release",
        "--locked",
        "-p",
        "counterfoil-benches",
        "--",
        "chain",
        "policy-few",
        "policy-many",
        "approvals",
    ];
    run("cargo", &benches)?;
    AUTHORITY.iter().try_for_each(|which| count(which, None))
}

/// What is claimed of the gate, and of calls through it.
pub fn gate() -> Step {
    run("cargo", &["build", "--quiet", "--release", "--locked", "-p", "counterfoil"])?;
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let binary = format!("COUNTERFOIL_BINARY={}", root().join(target).join("release/counterfoil").display());
    let benches = ["run", "--quiet", "--release", "--locked", "-p", "counterfoil-benches", "--"];
    run(
        "env",
        &[&[binary.as_str(), "cargo"], &benches[..], &["decide", "decide-evidence", "calls"]].concat(),
    )?;
    GATE.iter().try_for_each(|which| count(which, Some("full")))
}

/// What is claimed of the log. If it may take long, with all faults that there are, and the soak at its length.
pub fn log(long: bool) -> Step {
    beside::tessera()?;
    let effort = long.then_some("full");
    LOG.iter().try_for_each(|which| count(which, effort))?;
    let soaked = if long { soak::soak(soak::MINUTES) } else { soak::short() };
    // Its figures say what did not hold.
    soaked.unwrap_or_else(|why| eprintln!("{why}"));
    Ok(())
}

/// Runs tests, at this effort or the usual one, and prints the counts that they report.
fn count(which: &[&str], effort: Option<&str>) -> Step {
    let arguments = [&["test", "--quiet", "--locked"], which, &["--", "--nocapture"]].concat();
    let output = Command::new("cargo")
        .args(&arguments)
        .env("COUNTERFOIL_INTEROP", root().join(interop::PROGRAMS))
        .envs(effort.map(|effort| ("COUNTERFOIL_EFFORT", effort)))
        .current_dir(root())
        .output()
        .map_err(|why| why.to_string())?;
    let effort = effort.map(|effort| format!("COUNTERFOIL_EFFORT={effort} ")).unwrap_or_default();
    let how = format!("{effort}cargo {}", arguments.join(" "));
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
