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
const GATE: [&[&str]; 4] = [
    &["-p", "counterfoil", "--test", "gate_kills", "--test", "bypass", "--test", "delegation"],
    &["-p", "counterfoil-tests", "--test", "bypass"],
    &["-p", "counterfoil-gate", "--test", "clocks"],
    &["-p", "counterfoil", "--test", "mcp_sdk"],
];
const KILLS: &str = "kills -9 of gates, after which effects and log agree";
const KILLS_AT_STEPS: &str = "kills -9 of gates at a step of theirs, after which effects and log agree";
const KILLS_OF_CALLS: &str = "kills -9 of gates of MCP calls, after which effects and log agree";
const BEYOND: &str = "effects of killed gates that no execution in the log accounts for";
const TWICE: &str = "uses of killed gates that had more than one effect";
const HOLLOW: &str = "executions of killed gates that succeeded without an effect";
const RACES: &str = "races of four gates for one use, of which one ran";
const DELEGATION_RACES: &str = "gates that raced for one delegation and spent no more than it grants";
const CLOCKS: &str = "races of two machines for one use, with their clocks apart";
const FAILURES: &str = "failures of other systems, each attacked by name";
const ATTACKS: &str = "attacks that these names are of, in this corpus and beside what they attack";
const SDK_CASES: &str = "cases of clients on the official SDKs";
const PUBLISHED: &str = "cases of those in front of published servers";
const CONVINCING: &str = "cases of those of which each run ends in a bundle that verify accepts";
/// What the tests of each of these have to print, so that what was not counted is said.
const OF_GATE: [&[&str]; 4] = [
    &[KILLS, KILLS_AT_STEPS, KILLS_OF_CALLS, BEYOND, TWICE, HOLLOW, RACES, DELEGATION_RACES],
    &[FAILURES, ATTACKS],
    &[CLOCKS],
    &[SDK_CASES, PUBLISHED, CONVINCING, "bundles that these cases ended in"],
];
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

/// What is claimed of the gate, and of calls through it. What can't be measured says so; nothing fails.
pub fn gate() -> Step {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let binary = format!("COUNTERFOIL_BINARY={}", root().join(target).join("release/counterfoil").display());
    let benches = ["run", "--quiet", "--release", "--locked", "-p", "counterfoil-benches", "--"];
    let measured = run("cargo", &["build", "--quiet", "--release", "--locked", "-p", "counterfoil"])
        .and_then(|()| {
            run(
                "env",
                &[&[binary.as_str(), "cargo"], &benches[..], &["decide", "decide-evidence", "calls"]]
                    .concat(),
            )
        });
    if let Err(why) = measured {
        let how = format!("cargo {} decide decide-evidence calls", benches.join(" "));
        println!("{}", missing("decisions and calls through the gate, all or some", &why, &how));
    }
    for (which, names) in GATE.iter().zip(OF_GATE) {
        report(which, Some("full"), names).unwrap_or_else(|why| {
            let how = format!("cargo test {}", which.join(" "));
            names.iter().for_each(|name| println!("{}", missing(name, &why, &how)));
        });
    }
    Ok(())
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
    report(which, effort, &[])
}

/// The same; counts of these names that no test reported are said to be missing.
fn report(which: &[&str], effort: Option<&str>, names: &[&str]) -> Step {
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
    let printed = String::from_utf8_lossy(&printed);
    for (name, value) in counts(&printed) {
        let bar = bar(name).unwrap_or(value);
        let holds = holds && if is_at_most(name) { value <= bar } else { value >= bar };
        println!("{{\"figure\":{name:?},\"value\":{value},\"bar\":{bar},\"holds\":{holds},\"how\":{how:?}}}");
    }
    for name in without(&printed, names) {
        println!("{}", missing(name, why_not(&printed, holds), &how));
    }
    Ok(())
}

/// Whether the bar of a count is the most that there may be.
fn is_at_most(name: &str) -> bool {
    [BEYOND, TWICE, HOLLOW].contains(&name)
}

/// How much is to be counted at full effort, where that is claimed; elsewhere the count is what there is.
fn bar(name: &str) -> Option<u64> {
    Some(match name {
        KILLS => 1_000,
        KILLS_AT_STEPS => 100,
        KILLS_OF_CALLS => 150,
        BEYOND | TWICE | HOLLOW => 0,
        RACES => 25,
        DELEGATION_RACES => 8,
        // Seven clocks each.
        CLOCKS => 49,
        FAILURES => 76,
        ATTACKS => 129,
        // Every case is one of several clients and servers; each has to end in bundles that convince.
        SDK_CASES | CONVINCING => 38,
        PUBLISHED => 23,
        _ => return None,
    })
}

/// What tests counted, under each name what all of them counted together, in the order in which the names came.
fn counts(printed: &str) -> Vec<(&str, u64)> {
    let mut found: Vec<(&str, u64)> = Vec::new();
    for line in printed.lines() {
        // The dots are the progress of the tests.
        let counted = line.trim_start_matches('.').strip_prefix("count ");
        let Some((name, number)) = counted.and_then(|rest| rest.rsplit_once(' ')) else { continue };
        let Ok(value) = number.parse::<u64>() else { continue };
        match found.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(value),
            None => found.push((name, value)),
        }
    }
    found
}

/// Those of these names that nothing was counted under; of what there may be none of, that nobody looked.
fn without<'n>(printed: &str, names: &[&'n str]) -> Vec<&'n str> {
    let counted = counts(printed);
    names
        .iter()
        .copied()
        .filter(|name| {
            !counted.iter().any(|(known, value)| known == name && (*value > 0 || is_at_most(name)))
        })
        .collect()
}

/// Why tests counted nothing: what they say was not tested, or how they ended.
fn why_not(printed: &str, holds: bool) -> &str {
    let skipped = printed.lines().map(|line| line.trim_start_matches('.'));
    let skipped = skipped.into_iter().find(|line| line.starts_with("NOT TESTED"));
    skipped.unwrap_or(if holds { "no test counted it" } else { "the tests failed" })
}

/// The line of a figure that could not be measured.
fn missing(name: &str, why: &str, how: &str) -> serde_json::Value {
    serde_json::json!({"figure": name, "value": null, "bar": null, "holds": false, "why": why, "how": how})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_name_are_added_and_nothing_else_is_a_count() {
        let printed = "\nrunning 2 tests\ncount a b 2\n..count c 7\n.count a b 40\ncounted d 1\ncount e many\ncount 5\n";
        assert_eq!(counts(printed), [("a b", 42), ("c", 7)]);
    }

    #[test]
    fn what_was_not_counted_is_said_with_why_and_has_no_value() {
        let skipped = ".NOT TESTED with other people's clients: none are there\ncount a 0\ncount b 3\n";
        assert_eq!(without(skipped, &["a", "b", "c"]), ["a", "c"]);
        assert_eq!(without("count a 1\n", &[BEYOND, TWICE]), [BEYOND, TWICE]);
        assert!(without(&format!("count {BEYOND} 0\n"), &[BEYOND]).is_empty(), "none is a count, too");
        assert_eq!(why_not(skipped, true), "NOT TESTED with other people's clients: none are there");
        assert_eq!((why_not("", true), why_not("", false)), ("no test counted it", "the tests failed"));
        let line = missing("a \"b\"", "none", "cargo");
        assert_eq!((&line["holds"], &line["value"]), (&false.into(), &serde_json::Value::Null));
        assert_eq!((&line["figure"], &line["why"]), (&"a \"b\"".into(), &"none".into()));
    }

    #[test]
    fn each_run_of_tests_of_the_gate_has_names_that_its_sources_print() {
        let sources = [
            &[
                "crates/cli/tests/gate_kills.rs",
                "tests/bypass/gates/commands.rs",
                "crates/cli/tests/delegation.rs",
            ][..],
            &["tests/bypass/table.rs"],
            &["crates/gate/tests/clocks.rs"],
            &["crates/cli/tests/mcp_sdk.rs"],
        ];
        for (names, files) in OF_GATE.iter().zip(sources) {
            let text: String = files
                .iter()
                .map(|file| std::fs::read_to_string(root().join(file)).unwrap_or_default())
                .collect();
            for name in *names {
                assert!(text.contains(&format!("count {name} ")), "{name}");
            }
        }
    }
}
