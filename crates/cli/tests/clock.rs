//! The clock is set forward and back and the server killed, between any two steps: what a policy says when a time comes is said
//! once, when it is due, and every run verifies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    collections::BTreeMap,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use common::{Desk, Serving};
use counterfoil_testkit::Effort;
use serde_json::Value;

const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "one"
effect = "require"
match.always = true
requirements = [{ count = 1, principals = ["human"], surfaces = ["none", "terminal"] }]
segregation = true
uses = 1
window = "1h"
escalation = [{ after = "10m", to = { principals = ["boss"] } }, { after = "30m", to = { groups = ["leads"] } }]
timeout = { after = "1h", then = "reject" }
"#;

/// Minutes.
const JUMPS: [i64; 8] = [1, 9, 11, 25, 61, 200, -3, -90];

/// A clock that all commands and the server go by, ahead of this machine's by some minutes.
struct Clock {
    desk: Desk,
    minutes: i64,
    furthest: i64,
}

impl Clock {
    fn set(&mut self, minutes: i64) {
        (self.minutes, self.furthest) = (minutes, self.furthest.max(minutes));
        // A reader never finds it half written.
        self.desk.write("clock.new", format!("{:+}m\n", minutes));
        std::fs::rename(self.desk.path("clock.new"), self.desk.path("clock")).unwrap();
    }
}

/// Where the library is that sets the clock of a program; `None`, said loudly, where it is not installed and need not be.
fn faketime() -> Option<String> {
    let asked = Command::new("faketime").args(["-f", "+0s", "printenv", "LD_PRELOAD"]).output();
    match asked {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
        }
        _ if std::env::var_os("CI").is_some_and(|ci| ci == "true") => panic!("faketime is not installed"),
        _ => {
            eprintln!("NOT TESTED: faketime is not installed (apt-get install faketime)");
            None
        }
    }
}

#[test]
fn timers_are_said_once_whatever_becomes_of_the_clock_and_the_server() {
    let Some(library) = faketime() else { return };
    let steps = Effort::from_env().of(40, 600);
    let mut desk = Desk::new();
    desk.environment = vec![
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", desk.path("clock").display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let mut clock = Clock { desk, minutes: 0, furthest: 0 };
    clock.set(0);
    let desk = &clock.desk;
    desk.good(&["init", "work", "--origin", "example.org/clock"]);
    desk.write("work/policy.toml", POLICY);
    desk.write("work/vacuum.json", r#"{"tool": "db.vacuum", "arguments": {}}"#);
    let (mut serving, mut url) = desk.serve_in("work");
    desk.good(&[
        "-C",
        "work",
        "--server",
        &url,
        "policy",
        "set",
        "work/policy.toml",
        "--key",
        "work/keys/authority.key",
    ]);

    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    let (mut runs, mut kills) = (Vec::new(), 0);
    for step in 0..steps {
        match draw(10) {
            0..=3 => runs.push(propose(&clock.desk, &url, step)),
            4 if !runs.is_empty() => {
                let run: &String = &runs[draw(runs.len() as u64) as usize];
                // It may be over, or decided: whoever is refused is told so.
                clock.desk.run(&["-C", "work", "--server", &url, "approve", run, "--yes"]);
            }
            5..=7 => {
                let minutes = clock.minutes + JUMPS[draw(JUMPS.len() as u64) as usize];
                clock.set(minutes.max(0));
            }
            _ => {
                thread::sleep(Duration::from_micros(draw(40_000)));
                drop(serving); // SIGKILL
                (serving, url) = clock.desk.serve_in("work");
                kills += 1;
            }
        }
    }
    // Far behind everything that is due.
    let furthest = clock.furthest;
    clock.set(furthest + 200);
    nothing_stays_open(&clock.desk, &url);
    let said = check_all(&clock.desk, &url, &runs);
    println!("count steps of clocks and kills {steps}");
    println!("count kills -9 between timers {kills}");
    println!("count timers said once {said}");
    drop::<Serving>(serving);
}

#[cfg(target_os = "linux")]
#[test]
fn who_keeps_the_time_of_an_idle_log_used_up_a_core() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    assert!(desk.read("work/counterfoil.toml").contains("policy_key = "), "it keeps the time");
    let (serving, _) = desk.serve_in("work");
    // User and system time, in hundredths of a second.
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", serving.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = fields.split(' ').collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    thread::sleep(Duration::from_millis(500));
    let before = used();
    thread::sleep(Duration::from_secs(2));
    let after = used();
    assert!(after - before < 50, "{} hundredths of a second of two", after - before);
}

fn propose(desk: &Desk, url: &str, step: usize) -> String {
    let on = ["-C", "work", "--server", url];
    let id = step.to_string();
    let trigger = desk.json(&[&on[..], &["trigger", "--source", "clock", "--id", &id]].concat());
    let run = trigger["run"].as_str().unwrap().to_owned();
    let propose = ["propose", &run, "--action", "work/vacuum.json", "--for", "runtime", "--risk", "low"];
    desk.good(&[&on[..], &propose].concat());
    run
}

fn nothing_stays_open(desk: &Desk, url: &str) {
    let begun = Instant::now();
    loop {
        let open = desk.good(&[
            "-C",
            "work",
            "--server",
            url,
            "approvals",
            "list",
            "--status",
            "open",
            "--format",
            "jsonl",
        ]);
        if open.trim().is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "still open: {open}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Every run verifies; of each proposal each timer was said once, in turn, and none that people decided. Gives how many were.
fn check_all(desk: &Desk, url: &str, runs: &[String]) -> usize {
    let mut said = 0;
    for run in runs {
        let _ = std::fs::remove_file(desk.path("run.jsonl"));
        desk.good(&["-C", "work", "--server", url, "bundle", run, "--out", "run.jsonl"]);
        let verified = desk.run(&[
            "verify",
            "run.jsonl",
            "--trust",
            "work/trust.toml",
            "--require",
            "integrity,authority,inclusion",
        ]);
        assert_eq!(verified.code, 0, "{run}: {}{}", verified.stdout, verified.stderr);
        let mut steps: BTreeMap<String, usize> = BTreeMap::new();
        let mut is_approved = false;
        for line in desk.read("run.jsonl").lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            let body = &record["body"];
            if record["run"].as_str() != Some(run) {
                continue;
            }
            let timer = match record["type"].as_str().unwrap_or_default() {
                "escalation" => format!("step {}", body["step"]),
                "decision" if body["rule"].is_string() => "time-out".to_owned(),
                "decision" => {
                    is_approved |= body["verdict"] == "approve";
                    continue;
                }
                _ => continue,
            };
            assert!(!is_approved, "{run}: {timer} after people decided");
            *steps.entry(timer).or_default() += 1;
        }
        assert!(steps.values().all(|count| *count == 1), "{run}: {steps:?}");
        if !is_approved {
            let all: Vec<&str> = steps.keys().map(String::as_str).collect();
            assert_eq!(all, ["step 1", "step 2", "time-out"], "{run}");
        }
        said += steps.len();
    }
    said
}
