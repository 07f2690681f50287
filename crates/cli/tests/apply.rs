//! `counterfoil gate apply` by hand: what passes, what does not, and what is on record after each.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{Desk, Serving};
use serde_json::{Value, json};

const PATCH: &str = "--- a/limit\n+++ b/limit\n@@ -1 +1 @@\n-none\n+5\n";

/// A check that takes its time, in a child of its own, and shows that it runs.
const CHECKING: &str = "sh -c 'for beat in $(seq 200); do echo >> ../../checking; sleep 0.05; done'; true";

/// A log with its server, a repository, and a run with one proposal to apply [`PATCH`] in it.
struct Work {
    desk: Desk,
    server: Serving,
    url: String,
    run: String,
}

impl Work {
    fn new(check: &str) -> Self {
        let desk = Desk::new();
        desk.good(&["init"]);
        fs::create_dir(desk.path("shop")).unwrap();
        desk.write("shop/limit", "none\n");
        git(&desk, &["init", "--quiet", "--initial-branch=main"]);
        git(&desk, &["add", "."]);
        git(&desk, &["commit", "--quiet", "-m", "Start"]);
        let (server, url) = desk.serve();
        let trigger = ["trigger", "--server", &url, "--source", "pager", "--id", "1"];
        let run = desk.json(&trigger)["run"].as_str().unwrap().to_owned();
        let work = Self { desk, server, url, run };
        work.propose(check);
        work
    }

    fn propose(&self, check: &str) {
        let head = git(&self.desk, &["rev-parse", "HEAD"]);
        let action = json!({
            "arguments": {"base": head, "branch": "fix/limit", "check": check}, "mode": "apply",
            "precondition": {"head": head}, "target": "shop", "tool": "git.apply",
        });
        self.desk.write("action.json", action.to_string());
        self.desk.write("fix.patch", PATCH);
        self.good(&[
            "propose",
            &self.run,
            "--action",
            "action.json",
            "--commit",
            "/patch=fix.patch",
            "--for",
            "runtime",
            "--risk",
            "high",
        ]);
    }

    fn good(&self, arguments: &[&str]) -> Value {
        self.desk.json(&[arguments, &["--server", &self.url]].concat())
    }

    fn approve(&self) {
        self.good(&["approve", &self.run, "--yes"]);
    }

    /// Asks the gate; the exit status, and the code if it failed.
    fn apply(&self, more: &[&str]) -> (i32, String) {
        self.apply_in("shop", more)
    }

    fn apply_in(&self, repository: &str, more: &[&str]) -> (i32, String) {
        let command = ["gate", "apply", &self.run, "--repo", repository, "--server", &self.url, "--json"];
        let ran = self.desk.run(&[&command[..], more].concat());
        let code =
            ran.stderr.split("error[").nth(1).and_then(|rest| rest.split(']').next()).unwrap_or_default();
        (ran.code, code.to_owned())
    }

    fn executions(&self) -> Vec<Value> {
        self.good(&["resume", &self.run])["executions"].as_array().unwrap().clone()
    }

    /// Starts the gate, and waits until it runs the check [`CHECKING`].
    fn start_checking(&self) -> Child {
        let command = ["gate", "apply", &self.run, "--repo", "shop", "--server", &self.url, "--json"];
        let tmp = self.desk.path("tmp");
        fs::create_dir(&tmp).unwrap();
        let mut gate =
            self.desk.command(&command).env("TMPDIR", &tmp).stdout(Stdio::piped()).spawn().unwrap();
        while !tmp.join("checking").exists() {
            assert!(gate.try_wait().unwrap().is_none(), "it ended before its check began");
            std::thread::sleep(Duration::from_millis(10));
        }
        gate
    }

    fn has_branch(&self) -> bool {
        !git(&self.desk, &["branch", "--list", "fix/limit"]).is_empty()
    }
}

fn git(desk: &Desk, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(desk.path("shop")).args([
        "-c",
        "user.name=Somebody",
        "-c",
        "user.email=somebody@example.org",
    ]);
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn what_was_approved_passes_once_and_its_result_is_in_the_bundle() {
    let work = Work::new("grep -q 5 limit");
    assert_eq!(work.apply(&[]), (4, "held".to_owned()));
    assert!(work.executions().is_empty() && !work.has_branch());
    work.approve();
    assert_eq!(work.apply(&["--check", "test -s limit"]).0, 0);
    assert!(work.has_branch());
    assert_eq!(git(&work.desk, &["show", "fix/limit:limit"]), "5");
    assert_eq!(work.desk.read("shop/limit"), "none\n", "the checkout is as it was");
    assert_eq!(work.executions()[0]["status"], "succeeded");
    assert_eq!(work.apply(&[]), (1, "use-exceeded".to_owned()));
    work.desk.good(&["bundle", &work.run, "--out", "run.jsonl", "--server", &work.url]);
    let bundle = work.desk.read("run.jsonl");
    let result = bundle.lines().rev().find(|line| line.contains("\"label\":\"result.json\"")).unwrap();
    let result: Value = serde_json::from_str(result).unwrap();
    let content = base64(result["content"].as_str().unwrap());
    let content: Value = serde_json::from_slice(&content).unwrap();
    assert_eq!(content["commit"], git(&work.desk, &["rev-parse", "fix/limit"]));
    assert_eq!(content["checks"].as_array().unwrap().len(), 2);
    work.desk.good(&["verify", "run.jsonl"]);
}

#[test]
fn what_can_t_start_costs_no_use_and_what_fails_is_on_record() {
    let work = Work::new("echo no; false");
    work.approve();
    git(&work.desk, &["commit", "--quiet", "--allow-empty", "-m", "Meanwhile"]);
    assert_eq!(work.apply(&[]), (2, "precondition-failed".to_owned()));
    git(&work.desk, &["reset", "--quiet", "--hard", "HEAD~"]);
    git(&work.desk, &["branch", "fix/limit"]);
    assert_eq!(work.apply(&[]), (2, "branch-exists".to_owned()));
    git(&work.desk, &["branch", "-D", "fix/limit"]);
    git(&work.desk, &["clone", "--quiet", ".", "../shed"]);
    assert_eq!(work.apply_in("shed", &[]), (2, "repo-differs".to_owned()));
    assert!(work.executions().is_empty(), "nothing was logged");
    assert_eq!(work.apply(&[]).0, 1);
    assert!(!work.has_branch());
    let executions = work.executions();
    assert_eq!((executions.len(), &executions[0]["status"]), (1, &json!("failed")));
    drop(work.server);
    let gone = work.desk.run(&["gate", "apply", &work.run, "--repo", "shop", "--server", &work.url]);
    assert_eq!(gone.code, 3, "{}", gone.stderr);
}

#[test]
fn after_a_crash_the_outcome_is_unknown_and_nothing_runs_on_or_again() {
    let work = Work::new(CHECKING);
    work.approve();
    let mut gate = work.start_checking();
    gate.kill().unwrap();
    gate.wait().unwrap();
    assert_eq!(work.executions()[0]["status"], Value::Null, "the execution was logged before the effect");
    std::thread::sleep(Duration::from_millis(300));
    let beats = work.desk.read("tmp/checking");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(work.desk.read("tmp/checking"), beats, "the check runs on");
    // The next gate settles what the last one left, and lets nothing more pass on this approval.
    assert_eq!(work.apply(&[]), (1, "outcome-unknown".to_owned()));
    assert_eq!(work.executions()[0]["status"], "unknown");
    assert!(!work.has_branch());
}

#[test]
fn a_signal_ends_the_check_and_nothing_is_committed() {
    let work = Work::new(CHECKING);
    work.approve();
    let gate = work.start_checking();
    assert!(Command::new("kill").arg(gate.id().to_string()).status().unwrap().success());
    let said = gate.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(
        (said.status.code(), &json["status"], &json["effects"]),
        (Some(1), &json!("failed"), &json!("none"))
    );
    assert!(json["detail"].as_str().unwrap().starts_with("a signal ended the check"), "{json}");
    assert_eq!(work.executions()[0]["status"], "failed");
    assert!(!work.has_branch());
}

/// Unpadded base64url, decoded.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        bits =
            bits << 6 | u32::try_from(ALPHABET.iter().position(|letter| *letter == byte).unwrap()).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
