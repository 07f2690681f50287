//! `cargo xtask soak`: the test of the same name for longer, on a release build, with its figures.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use crate::run::{Step, root};

/// How long it takes unless said otherwise.
pub const MINUTES: u64 = 20;

/// Soaks the log for so many minutes, at 70 % of its capacity; prints one JSON line for each figure.
pub fn soak(minutes: u64) -> Step {
    let minutes = minutes.to_string();
    measure(&["--release"], &[("COUNTERFOIL_SOAK_MINUTES", &minutes)])
}

/// The form of it that runs with the tests.
pub fn short() -> Step {
    measure(&[], &[])
}

fn measure(profile: &[&str], environment: &[(&str, &str)]) -> Step {
    let test = ["-p", "counterfoil", "--test", "soak", "--", "--nocapture"];
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--locked"]).args(profile).args(test).current_dir(root());
    cargo.env_remove("COUNTERFOIL_SOAK_MINUTES").envs(environment.iter().copied());
    // Standard input stays open as long as this process: when it ends, the test ends what it started.
    let spawned = cargo.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut cargo = spawned.map_err(|why| format!("cargo: {why}"))?;
    let _stdin = cargo.stdin.take();
    for line in cargo.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
        let line = line.map_err(|why| format!("cargo: {why}"))?;
        if line.starts_with('{') {
            println!("{line}");
        }
    }
    match cargo.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the soak: {status}")),
        Err(why) => Err(format!("cargo: {why}")),
    }
}
