//! Wrong servers, full disks, late words: what is said, and that it is true.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::process::Stdio;

use common::{Desk, Log};
use counterfoil_testkit::Scenario;

/// The file that holds the last checkpoint seen.
fn seen(log: &Log) -> std::path::PathBuf {
    std::fs::read_dir(log.desk.path("seen")).unwrap().next().unwrap().unwrap().path()
}

#[test]
fn another_log_is_told_before_anything_else() {
    let (log, other) = (Log::new(), Log::new());
    let run = log.trigger();
    let commands: [&[&str]; 8] = [
        &["resume", &run],
        &["bundle", &run, "--out", "new.jsonl"],
        &["observe", &run, "--summary", "x"],
        &["trigger", "--source", "s", "--id", "1"],
        &["handoff", &run, "--to", "agent-2"],
        &["runs"],
        &["policy", "show"],
        &["keys", "revoke", "ed25519:11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"],
    ];
    for command in commands {
        let ran = log.desk.run(&[command, &["--server", &other.url]].concat());
        ran.failed(2, "log-mismatch");
        assert!(!ran.stderr.contains("may have been logged"), "{}", ran.stderr);
    }
}

#[test]
fn a_checkpoint_that_was_damaged_here_accuses_no_server() {
    let log = Log::new();
    let run = log.trigger();
    std::fs::write(seen(&log), "junk\n").unwrap();
    for command in [&["resume", &run][..], &["trigger", "--source", "s", "--id", "1"]] {
        let ran = log.run(command);
        ran.failed(2, "checkpoint-store");
        assert!(ran.stderr.contains(seen(&log).file_name().unwrap().to_str().unwrap()), "{}", ran.stderr);
        assert!(
            !ran.stderr.contains("rely on this server") && !ran.stderr.contains("logged"),
            "{}",
            ran.stderr
        );
    }
}

/// No file may grow, as on a full disk.
#[cfg(target_os = "linux")]
#[test]
fn the_id_of_a_logged_record_is_said_also_where_the_disk_is_full() {
    let log = Log::new();
    let trigger = ["trigger", "--source", "s", "--id", "1", "--server", &log.url];
    let command = log.desk.command(&trigger);
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    let output = limited.current_dir(log.desk.path(".")).output().unwrap();
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(2), "{stdout}{stderr}");
    let id = stdout.split_whitespace().find(|word| word.starts_with("sha256:")).expect(&stderr);
    assert!(
        stderr.contains("error[checkpoint-store]") && stderr.contains(&format!("{id} is logged")),
        "{stderr}"
    );
    log.good(&["resume", id]);

    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = log.desk.command(&trigger).stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("error[output-failed]") && stderr.contains(" is logged, as entry "), "{stderr}");
}

#[test]
fn runs_are_listed_the_newest_first_with_what_became_of_them() {
    let log = Log::new();
    let (old, new) = (log.trigger(), log.trigger());
    let proposal = log.propose(&old);
    log.good(&["approve", &old, "--yes"]);
    let text = log.good(&["runs"]);
    assert!(text.find(&new).unwrap() < text.find(&old).unwrap(), "{text}");
    assert!(text.contains("alerts: 4711\n  owned by agent, 3 records, last "), "{text}");
    assert!(text.contains("  db.vacuum: approved\n"), "{text}");
    let page = log.json(&["runs", "--limit", "1"]);
    assert_eq!((&page["runs"][0]["run"], &page["runs"].as_array().unwrap().len()), (&new.clone().into(), &1));
    let rest = log.json(&["runs", "--before", &page["next"].to_string()]);
    assert_eq!(rest["runs"][0]["run"], old);
    assert_eq!(rest["runs"][0]["proposals"][0]["id"], proposal);
    assert_eq!(rest["runs"][0]["conclusion"], "shown");
    assert_eq!(rest["next"], serde_json::Value::Null);
}

#[test]
fn what_comes_too_late_or_twice_is_told_so() {
    let log = Log::new();
    let run = log.trigger();
    let proposal = log.propose(&run);
    let once = log.run(&["approve", &run, "--yes"]);
    assert!(once.code == 0 && !once.stderr.contains("already"), "{}", once.stderr);
    let twice = log.run(&["approve", &run, "--yes"]);
    assert!(
        twice.code == 0 && twice.stderr.contains("note: human approved this already"),
        "{}",
        twice.stderr
    );
    log.good(&["reject", &run, "--yes"]);
    let late = log.good(&["cancel", &run, &proposal]);
    assert!(late.contains("it changes nothing: the proposal ended at entry"), "{late}");
    let late = log.json(&["approve", &run, "--proposal", &proposal, "--yes"]);
    assert!(late["without_effect"].as_str().unwrap().starts_with("the proposal ended"), "{late}");
}

#[test]
fn a_proposal_for_nobody_is_warned_of_and_its_metadata_is_kept() {
    let log = Log::new();
    let run = log.trigger();
    log.desk.write("action.json", r#"{"tool": "t", "arguments": {}}"#);
    let propose = |more: &[&str]| {
        log.run(&[&["propose", &run, "--action", "action.json", "--risk", "low"][..], more].concat())
    };
    let nobody = propose(&["--for", "runtme"]);
    assert!(
        nobody.code == 0 && nobody.stderr.contains("warning: runtme has no live runtime key"),
        "{}",
        nobody.stderr
    );
    let known = propose(&["--for", "runtime", "--metadata", "ticket=OPS-17", "--metadata", "team=db"]);
    assert_eq!((known.code, known.stderr.as_str()), (0, ""));
    log.good(&["bundle", &run, "--out", "run.jsonl"]);
    let bundle = log.desk.read("run.jsonl");
    assert!(bundle.contains(r#""metadata":{"team":"db","ticket":"OPS-17"}"#), "{bundle}");
    propose(&["--for", "runtime", "--metadata", "a=1", "--metadata", "a=2"]).failed(2, "field-invalid");
    propose(&["--for", "runtime", "--metadata", "a"]).failed(2, "usage");
}

#[test]
fn the_policy_is_shown_and_changed() {
    let log = Log::new();
    let before = log.json(&["policy", "show"]);
    assert_eq!(before["document"]["rule"]["count"], 1);
    let mut document = before["document"].clone();
    document["rule"]["count"] = 2.into();
    log.desk.write("new.json", format!("{document:#}"));
    let logged = log.json(&["policy", "set", "new.json"]);
    assert_eq!(logged["type"], "policy");
    assert_eq!(log.json(&["policy", "show"])["document"], document);
    let run = log.trigger();
    log.propose(&run);
    log.good(&["approve", &run, "--yes"]);
    assert_eq!(log.json(&["resume", &run])["proposals"][0]["status"], "open");
    document["rule"]["count"] = 17.into();
    log.desk.write("new.json", document.to_string());
    log.run(&["policy", "set", "new.json"]).failed(2, "policy-unreadable");
    log.run(&["policy", "set", "new.json", "--key", "keys/human.key"]).failed(2, "policy-unreadable");
}

#[test]
fn a_server_that_can_not_start_says_what_to_do() {
    let log = Log::new();
    let address = log.url.strip_prefix("http://").unwrap();
    let says = |arguments: &[&str], code: &str, hint: &str| {
        let ran = log.desk.run(&[&["serve", "--listen", "127.0.0.1:0"][..], arguments].concat());
        ran.failed(2, code);
        assert!(ran.stderr.contains(&format!("hint: {hint}")), "{}", ran.stderr);
    };
    let taken = log.desk.run(&["serve", "--listen", address]);
    taken.failed(2, "listen-failed");
    assert!(taken.stderr.contains("stop what listens there"), "{}", taken.stderr);
    says(&[], "log-in-use", "one server uses a log at a time");
    says(&["--log-dir", "empty", "--lock-dir", "lock-2"], "log-missing", "check log.dir");
    log.desk.write("wrong.toml", "[server]\nlisten = 7\n");
    says(&["--config", "wrong.toml"], "config-malformed", "compare it with");

    // Of a log that nobody serves, one byte of the journal is changed.
    let idle = Desk::new();
    idle.good(&["init"]);
    let journal = idle.path("log/journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let damaged = idle.run(&["serve", "--listen", "127.0.0.1:0"]);
    damaged.failed(2, "log-damaged");
    assert!(damaged.stderr.contains("hint: delete nothing"), "{}", damaged.stderr);
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_and_an_open_one_is_read() {
    let desk = Desk::new();
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    desk.write("trust.toml", scenario.ledger.trust().to_toml());
    let bundle = String::from_utf8(scenario.ledger.bundle(run)).unwrap();
    let made = std::process::Command::new("mkfifo").arg(desk.path("pipe")).status().unwrap();
    assert!(made.success());
    desk.run(&["verify", "pipe"]).failed(2, "file-is-pipe");
    for name in ["-", "/dev/stdin"] {
        desk.run_with(&["verify", name], &bundle).good();
    }
}

#[test]
fn a_huge_argument_is_not_repeated_in_full() {
    let desk = Desk::new();
    let huge = "x".repeat(100_000);
    let commands: [&[&str]; 4] =
        [&["verify", "b", "--at", &huge], &[&huge], &["verify", &huge, "--trust", &huge], &["resume", &huge]];
    for command in commands {
        let ran = desk.command(command).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ran.status.code(), Some(2));
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains("xxx") && said.len() < 2_000, "{said}");
    }
}
