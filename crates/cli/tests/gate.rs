//! `counterfoil gate run` and `settle` by hand: signals, a gate that is killed, commands that fail, commands that can't start.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod common;
mod work;

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Log, before_dashes};
use serde_json::Value;
use work::{Work, end, signal};

#[test]
fn each_signal_to_the_gate_reaches_the_command_once_and_what_became_of_it_is_logged() {
    let script = "for s in HUP INT TERM; do trap \"echo $s >> got\" $s; done; touch ready
        for beat in $(seq 600); do [ \"$(wc -l < got)\" = 3 ] && break; sleep 0.05; done; sleep 0.3; exit 7";
    let work = Work::new(&["sh", "-c", script]);
    work.log.desk.write("got", "");
    let gate = work.start("ready");
    let group = format!("-{}", gate.id());
    // The group is what a terminal's Ctrl-C goes to.
    for name in ["INT", "TERM", "HUP"] {
        signal(&format!("-{name}"), &group);
        let began = Instant::now();
        while !work.log.desk.read("got").contains(name) {
            assert!(began.elapsed() < Duration::from_secs(20), "{name} never came");
            thread::sleep(Duration::from_millis(10));
        }
    }
    let (status, said) = end(gate);
    assert_eq!((status, work.log.desk.read("got").as_str()), (1, "INT\nTERM\nHUP\n"), "{said}");
    let told = "failed, effects unknown: exit status 7; the gate passed SIGINT, SIGTERM, SIGHUP on";
    assert!(said.contains(told), "{said}");
    assert_eq!(work.executions()[0]["status"], "failed");
}

#[test]
fn a_signal_that_ends_the_command_and_what_it_started_is_its_outcome() {
    let work = Work::new(&["sh", "-c", "touch ready; sleep 300; true"]);
    let gate = work.start("ready");
    let began = Instant::now();
    signal("-TERM", &gate.id().to_string());
    let (status, said) = end(gate);
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(status, 1);
    assert!(said.contains("failed, effects unknown: ended by signal: 15 (SIGTERM)"), "{said}");
    assert_eq!(work.executions()[0]["status"], "failed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_the_gate_was_started_to_ignore_is_not_passed_on() {
    let work = Work::new(&[
        "sh",
        "-c",
        "touch ready; for beat in $(seq 600); do [ -e go ] && break; sleep 0.05; done",
    ]);
    let line = work.line(&["gate", "run", &work.run]);
    let line = before_dashes(&line, &["--server", &work.log.url]);
    // As `nohup` does.
    let mut gate = Command::new("sh");
    gate.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_counterfoil")]).args(line);
    let gate = gate.current_dir(work.log.desk.path(".")).stderr(Stdio::piped()).spawn().unwrap();
    work.await_file("ready");
    signal("-HUP", &gate.id().to_string());
    thread::sleep(Duration::from_millis(200));
    work.log.desk.write("go", "");
    let (status, said) = end(gate);
    assert_eq!(status, 0, "{said}");
}

#[test]
fn what_the_gate_runs_does_not_outlive_a_gate_that_is_killed() {
    // A child of the command's, and one in the background that holds no output.
    let script = "(for beat in $(seq 1000); do sleep 0.02; echo >> behind; done) > /dev/null 2>&1 &
        sh -c 'for beat in $(seq 1000); do sleep 0.02; echo >> beneath; done'; true";
    let work = Work::new(&["sh", "-c", script]);
    let mut gate = work.start("beneath");
    work.await_file("behind");
    signal("-KILL", &gate.id().to_string());
    gate.wait().unwrap();
    thread::sleep(Duration::from_millis(500));
    let beats = || (work.log.desk.read("beneath"), work.log.desk.read("behind"));
    let before = beats();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(beats(), before, "it still runs");

    assert_eq!(work.executions()[0]["status"], Value::Null);
    let settled = work.log.good(&["gate", "settle"]);
    assert!(settled.starts_with("execution sha256:"), "{settled}");
    assert!(settled.contains(" was left open; its outcome is logged now, as sha256:"), "{settled}");
    assert_eq!(work.executions()[0]["status"], "unknown");
    assert_eq!(work.log.good(&["gate", "settle"]), "no execution was open\n");
    assert_eq!(work.log.json(&["gate", "settle"]), Value::Array(Vec::new()));
}

#[test]
fn what_a_command_leaves_behind_when_it_ends_by_itself_lives_on() {
    let work = Work::new(&["sh", "-c", "(sleep 0.5; touch late) > /dev/null 2>&1 &"]);
    work.run(&[]).good();
    work.await_file("late");
}

#[test]
fn a_command_that_fails_says_how() {
    let work = Work::new(&["sh", "-c", "exit 3"]);
    let ran = work.run(&["--json"]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((ran.code, &json["status"], &json["detail"]), (1, &"failed".into(), &"exit status 3".into()));
}

#[test]
fn a_command_that_can_t_start_costs_no_use_of_its_approval() {
    let work = Work::new(&["./deploy"]);
    work.run(&[]).failed(2, "program-missing");
    work.log.desk.write("deploy", "#!/bin/sh\necho deployed\n");
    work.run(&[]).failed(2, "program-not-executable");
    assert!(work.executions().is_empty(), "nothing was logged");
    assert!(Command::new("chmod").arg("+x").arg(work.log.desk.path("deploy")).status().unwrap().success());
    assert_eq!(work.run(&[]).good(), "deployed\n");
}

#[test]
fn the_tether_is_for_the_gate_alone() {
    let log = Log::new();
    log.run(&["gate", "tether"]).failed(2, "usage");
    assert!(!log.good(&["gate", "--help"]).contains("tether"));
}

#[test]
fn a_reject_that_the_log_never_saw_stops_the_gate_that_was_handed_it() {
    let work = Work::new(&["touch", "ran"]);
    let rejected = work.log.run(&["reject", &work.run, "--yes", "--to", "reject.json"]);
    assert!(rejected.shown().contains("signed, and not logged"), "{}", rejected.shown());
    work.log.desk.run(&["gate", "stop", "action.json"]).failed(2, "not-a-stop");
    // The log is elsewhere, and does not answer: it is heeded all the same.
    let heeded = work.log.desk.run(&["gate", "stop", "reject.json"]);
    assert!(heeded.code == 0 && heeded.stderr.contains("not shown whether sha256:"), "{}", heeded.shown());
    let heeded = work.log.run(&["gate", "stop", "reject.json"]);
    assert!(heeded.code == 0 && heeded.stderr.is_empty(), "{}", heeded.shown());
    work.run(&[]).failed(1, "proposal-ended");
    assert!(!work.log.desk.path("ran").exists());
    assert_eq!(work.executions(), Vec::<Value>::new());
}

#[test]
fn what_shows_nothing_had_other_statuses_for_each_command() {
    let work = Work::new(&["touch", "ran"]);
    let nowhere = ["--server", "http://127.0.0.1:9"];
    for words in [["gate", "run"], ["gate", "check"]] {
        let line = work.line(&[words[0], words[1], &work.run]);
        work.log.desk.run(&before_dashes(&line, &nowhere)).failed(3, "unreachable");
    }
    assert!(work.log.desk.run(&["gate", "apply", "--help"]).good().contains("3 no evidence, also"));
    // A file that is no bundle is wrong input, whoever reads it.
    work.log.desk.write("none.jsonl", "{}\n");
    work.log.desk.write("empty.jsonl", "");
    for file in ["none.jsonl", "empty.jsonl"] {
        let verified = work.log.run(&["verify", file]);
        let checks = [
            vec!["gate", "check", "--bundle", file, "--action", "action.json"],
            vec!["gate", "check", &work.run, "--bundle", file, "--action", "action.json"],
            vec!["resume", &work.run, "--bundle", file],
        ];
        for words in checks {
            let ran = work.log.run(&words);
            assert_eq!((verified.code, ran.code), (2, 2), "{words:?} {}", ran.shown());
        }
    }
}

#[test]
fn what_a_gate_runs_now_was_settled_under_its_hands() {
    let work = Work::new(&["sh", "-c", "touch ready; sleep 60"]);
    let mut gate = work.start("ready");
    let settle = ["settle", &work.run, "--status", "failed", "--effects", "none"];
    work.log.run(&settle).failed(1, "still-running");
    gate.kill().unwrap();
    gate.wait().unwrap();
    let settled = work.log.run(&settle);
    assert!(settled.code == 0 && settled.stderr.contains("logged no outcome yet"), "{}", settled.shown());
    assert_eq!(work.executions()[0]["status"], "failed");
}

#[test]
fn a_stop_that_stops_nothing_was_heeded_without_a_word() {
    let work = Work::under("", &["touch", "ran"]);
    work.log.good(&["reject", &work.run, "--yes", "--to", "reject.json"]);
    // Nothing of who signed it is in the run yet.
    let in_doubt = work.log.run(&["gate", "stop", "reject.json"]);
    assert!(in_doubt.code == 0 && in_doubt.stderr.contains("until it is shown"), "{}", in_doubt.shown());
    work.run(&[]).failed(1, "stop-in-doubt");
    work.log.good(&["approve", &work.run, "--yes"]);
    let other = work.log.desk.read("policy.toml").replace("count = 1", "count = 1, principals = [\"ana\"]");
    work.log.desk.write("other.toml", other);
    work.log.good(&["policy", "set", "other.toml"]);
    let vain = work.log.run(&["gate", "stop", "reject.json"]);
    vain.failed(1, "stops-nothing");
    assert!(vain.stdout.starts_with("heeded: sha256:"), "{}", vain.shown());
    assert!(vain.stderr.contains("human is not entitled to decide"), "{}", vain.shown());
    // What is kept is judged anew each time.
    work.run(&[]).failed(4, "held");
    work.log.good(&["policy", "set", "policy.toml"]);
    work.run(&[]).failed(1, "proposal-ended");
    work.log.good(&["gate", "stop", "reject.json"]);
}

#[test]
fn the_glass_is_broken_for_a_reason_and_people_review_it_afterwards() {
    let work = Work::under("break_glass = true", &["touch", "ran"]);
    work.run(&[]).failed(4, "held");
    work.run(&["--break-glass", " "]).failed(2, "field-invalid");
    work.run(&["--break-glass", "The disk is full."]).good();
    assert!(work.log.desk.path("ran").exists());
    let proposal = work.executions()[0]["proposal"].as_str().unwrap().to_owned();
    let review =
        || work.log.json(&["approvals", "show", &proposal])["approval"]["executions"][0]["review"].clone();
    assert_eq!(review(), "outstanding");
    work.log.good(&["bundle", &work.run, "--out", "run.jsonl"]);
    let said = work.log.run(&["verify", "run.jsonl"]).shown();
    assert!(said.contains("1 under break-glass not reviewed yet"), "{said}");
    work.log.good(&["approve", &work.run, "--proposal", &proposal, "--yes"]);
    assert_eq!(review(), "accepted");
    work.log.good(&["reject", &work.run, "--proposal", &proposal, "--yes"]);
    assert_eq!(review(), "objected");

    Work::under("", &["touch", "ran"]).run(&["--break-glass", "Now."]).failed(1, "break-glass-refused");
}

#[test]
fn a_command_that_is_idempotent_is_tried_again_after_the_gate_was_killed_under_the_same_key() {
    let script = "echo $COUNTERFOIL_IDEMPOTENCY_KEY >> heard; [ -e ready ] || { touch ready; sleep 60; }";
    let work = Work::under("retries = 1", &["sh", "-c", script]);
    work.log.good(&["approve", &work.run, "--yes"]);
    let mut gate = work.start("ready");
    gate.kill().unwrap();
    gate.wait().unwrap();
    // Without the word of whoever runs it, it is not tried again.
    work.run(&[]).failed(1, "outcome-unknown");
    work.run(&["--idempotent"]).good();
    let keys = work.log.desk.read("heard");
    let keys: Vec<&str> = keys.lines().collect();
    let executions = work.executions();
    assert_eq!(keys, [executions[0]["id"].as_str().unwrap(); 2]);
    assert_eq!(executions[1]["retries"], executions[0]["id"]);
    work.run(&["--idempotent"]).failed(1, "use-exceeded");
}

/// `gate run` ended in `preview-missing` whatever was previewed.
#[test]
fn a_command_is_previewed_first_and_applied_after_that_where_the_policy_wants_it() {
    let log = Log::new();
    let rule = |name: &str, mode: &str, rest: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\nuses = 1\n{rest}\nmatch.all = [{{tool = \"command\"}}, {{mode = \"{mode}\"}}]\n"
        )
    };
    let terms = "effect = \"require\"\nwindow = \"15m\"\nsegregation = false\npreview = true\nrequirements = [{count = 1, surfaces = [\"none\"]}]";
    let rules = rule("look", "preview", "effect = \"allow\"") + &rule("do", "apply", terms);
    log.desk.write("policy.toml", format!("language = \"counterfoil-policy/1\"\n{rules}"));
    log.good(&["policy", "set", "policy.toml"]);
    let script = "if [ \"$COUNTERFOIL_PREVIEW\" = 1 ]; then echo would drop 3 tables; else touch dropped; fi";
    let work = Work::proposed(log, &["sh", "-c", script]);
    let propose = |options: &[&str]| {
        let action = work.log.good(&before_dashes(&work.line(&["gate", "action"]), options));
        work.log.desk.write("action.json", action);
        let propose = ["propose", &work.run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
        work.log.json(&propose)["id"].as_str().unwrap().to_owned()
    };
    let missing = work.run(&[]);
    missing.failed(1, "preview-missing");
    assert!(missing.stderr.contains("preview executed first"), "{}", missing.stderr);
    propose(&["--preview"]);
    assert!(work.run(&["--preview"]).good().contains("would drop 3 tables"));
    let proposal = propose(&[]);
    let shown = work.log.run(&["approve", &work.run, "--proposal", &proposal, "--yes"]);
    assert!(shown.code == 0 && shown.shown().contains("would drop 3 tables"), "{}", shown.shown());
    assert!(!work.log.desk.path("dropped").exists());
    work.run(&[]).good();
    assert!(work.log.desk.path("dropped").exists());
    work.log.good(&["bundle", &work.run, "--out", "run.jsonl"]);
    work.log.good(&["verify", "run.jsonl"]);
}

#[test]
fn of_the_proposals_of_a_command_the_gate_takes_the_last_that_is_approved() {
    let work = Work::new(&["touch", "done"]);
    work.log.good(&["propose", &work.run, "--action", "action.json", "--for", "runtime", "--risk", "low"]);
    let check = work.log.run(&["gate", "check", &work.run, "--action", "action.json"]);
    assert_eq!((check.code, work.run(&[]).code), (0, 0), "{}: what is checked is what runs", check.stderr);
    assert!(work.log.desk.path("done").exists());
    // Whoever asks again is led to what was executed.
    let first = work.executions()[0]["proposal"].as_str().unwrap().to_owned();
    let check = [
        "gate",
        "check",
        &work.run,
        "--proposal",
        &first,
        "--action",
        "action.json",
        "--markdown",
        "said.md",
    ];
    work.log.run(&check).failed(1, "use-exceeded");
    let (said, executed) = (work.log.desk.read("said.md"), work.executions()[0]["id"].clone());
    assert!(
        said.contains(&format!("({}/v1/receipts/{})", work.log.url, executed.as_str().unwrap())),
        "{said}"
    );
}

#[test]
fn a_gate_that_holds_to_a_policy_runs_nothing_under_another() {
    let work = Work::new(&["touch", "done"]);
    let rule = "[[rules]]\nname = \"all\"\neffect = \"allow\"\nuses = 1\nmatch.always = true\n";
    work.log.desk.write("held.toml", format!("language = \"counterfoil-policy/1\"\n{rule}"));
    let in_force: Value =
        serde_json::from_slice(&common::ask(&work.log.url, "GET", "/v1/policy", b"").unwrap()).unwrap();
    let in_force = in_force["digest"].as_str().unwrap();
    let held = work.log.json(&["policy", "check", "held.toml"])["digest"].as_str().unwrap().to_owned();
    for command in ["run", "check"] {
        let line = work.line(&["gate", command, &work.run, "--policy", "held.toml"]);
        let refused = work.log.run(&line);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        for named in ["policy-differs", in_force, &held, "counterfoil policy set held.toml"] {
            assert!(refused.stderr.contains(named), "{named}: {}", refused.stderr);
        }
    }
    assert!(!work.log.desk.path("done").exists());
    // The approval was given under the other policy, and is used up by nothing here.
    assert_eq!(work.run(&[]).code, 0);
    assert!(work.log.desk.path("done").exists());
}
