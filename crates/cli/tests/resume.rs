//! Going on with a run somewhere else: with the trust file alone, and never on evidence that is against it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::fs;

use common::{Desk, Log, copy};
use counterfoil_testkit::Scenario;
use insta::assert_snapshot;
use serde_json::Value;

/// Another machine, which has the trust file and nothing else.
fn elsewhere(log: &Log) -> Desk {
    let desk = Desk::new();
    desk.write("trust.toml", log.desk.read("trust.toml"));
    desk
}

#[test]
fn after_a_crash_another_machine_goes_on_with_the_trust_file_alone() {
    let log = Log::new();
    let run = log.trigger();
    log.good(&["observe", &run, "--kind", "plan", "--summary", "Vacuum, then watch."]);
    let proposal = log.propose(&run);
    log.good(&["approve", &run, "--yes"]);
    let desk = elsewhere(&log);
    let resume = ["resume", &run, "--server", &log.url];
    let told = desk.good(&[&resume[..], &["--summary"]].concat());
    for line in [
        r#""db.vacuum", arguments "{}", mode apply, risk low, proposed by "agent" for "runtime": approved"#
            .to_owned(),
        r#""agent" (agent) recorded (plan): "Vacuum, then watch.""#.to_owned(),
        r#"execution, signed as runtime by "runtime" about "db.vacuum""#.to_owned(),
        format!("[{proposal}"),
    ] {
        assert!(told.contains(&line), "{line}: {told}");
    }
    let state = desk.json(&resume);
    assert_eq!((&state["conclusion"], &state["refused"]), (&"shown".into(), &Value::Null), "{state:#}");
    assert_eq!(state["left"]["uses"][0]["left"], 1, "{state:#}");
    assert_eq!(state["pending"].as_array().map(Vec::len), Some(0), "{state:#}");
    // What it says may follow, follows, there too.
    copy(&log.desk.path("keys"), &desk.path("keys"));
    let observe = ["observe", &run, "--summary", "Took over.", "--server", &log.url];
    desk.good(&observe);
    assert!(desk.good(&[&resume[..], &["--summary"]].concat()).contains(r#""Took over.""#));
}

#[test]
fn after_a_handoff_the_previous_owner_signs_nothing_more() {
    let log = Log::new();
    let run = log.trigger();
    log.propose(&run);
    log.good(&["handoff", &run, "--to", "agent-2"]);
    let told = log.good(&["resume", &run, "--summary"]);
    let owner = told.lines().find(|line| line.contains("owns it")).unwrap();
    assert!(owner.starts_with(r#"- "agent-2" owns it, with key ed25519:"#), "{owner}");
    log.run(&["observe", &run, "--summary", "I am still here."]).failed(1, "not-owner");
    log.good(&["observe", &run, "--summary", "Mine now.", "--key", "keys/agent-2.key"]);
}

/// A log that admitted what the rules forbid.
#[test]
fn a_record_of_the_previous_owner_is_named_and_nothing_may_follow() {
    let mut scenario = Scenario::new();
    let run = scenario.trigger();
    scenario.observe(run);
    scenario.hand_over(run);
    let scout = scenario.cast.scout.clone();
    let body = counterfoil_receipt::body::Observation {
        items: None,
        kind: counterfoil_receipt::body::ObservationKind::Note,
        summary: Some(counterfoil_testkit::text("I am still here.")),
    };
    let late = scenario.ledger.sign(&scout, Some(run), body);
    assert!(scenario.ledger.force(late.bytes()).is_err());
    scenario.ledger.close();
    let desk = Desk::new();
    desk.write("trust.toml", scenario.ledger.trust().to_toml());
    desk.write("run.jsonl", scenario.ledger.bundle(run));
    let run = run.to_string();
    let resume = ["resume", &run, "--bundle", "run.jsonl"];
    assert_snapshot!(desk.run(&resume).shown(), @r"
    run sha256:7a710445ae17dbf1ccf2232f8bff9fea83b010355a1b0e89fb1e58de968b36a9
    owned by fixer with ed25519:nVnm7B958gdyMOHruSJIV573oQqk1OXw0MHvdQgjtjo
    as of log time 2026-01-01 00:00:16Z, tree size 16

      10  2026-01-01 00:00:11Z  trigger  gate (runtime)  monitor.example: 10
      11  2026-01-01 00:00:12Z  ├─ observation  scout (agent)  evidence: The disk of db-1 is full.
      12  2026-01-01 00:00:13Z  ├─ handoff  scout (agent)  to fixer: Nothing left to do.
      14  2026-01-01 00:00:15Z  └─ observation  scout (agent)  note: I am still here.  ✗ not-owner

    open nothing

    may follow
      nothing: not-owner: entry 14: signer: scout with ed25519:YGLPsqGvbA_rkgCcFCBEp4UZ2kLXMXqLrwBHh5z_pwA; the run belongs to fixer with ed25519:nVnm7B958gdyMOHruSJIV573oQqk1OXw0MHvdQgjtjo
      → somebody acted on a run that they do not own: a handoff by the owner would allow it

      integrity     pass       10 records, every signature holds
      authority     FAIL       not-owner
      inclusion     pass       in the tree of size 16, signed by counterfoil.example/log+3aa7b412
    [exit 1]
    ");
    let summary = desk.run(&[&resume[..], &["--summary"]].concat());
    summary.failed(1, "not-owner");
    assert_eq!(summary.stdout, "");
    let json = desk.run(&[&resume[..], &["--json", "--summary"]].concat());
    assert_eq!(json.code, 1, "{}", json.stdout);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["conclusion"], &json["summary"]), (&"violated".into(), &Value::Null), "{json:#}");
    assert_eq!(json["refused"]["code"], "not-owner", "{json:#}");
    assert_eq!(json["refused"]["record"], late.id().to_string(), "{json:#}");
    assert_eq!(json["may_follow"].as_array().map(Vec::len), Some(0), "{json:#}");
}

#[test]
fn a_log_older_than_the_trust_file_accepts_is_refused() {
    let log = Log::new();
    let run = log.trigger();
    let trust = log.desk.read("trust.toml");
    assert!(!trust.contains("max_age"), "{trust}");
    log.desk.write("trust.toml", trust.replace("[require]\n", "[require]\nmax_age = \"1s\"\n"));
    std::thread::sleep(std::time::Duration::from_millis(2_200));
    let stale = log.run(&["resume", &run, "--summary"]);
    stale.failed(1, "checkpoint-stale");
    assert!(stale.stderr.contains("at most 1 s are accepted") && stale.stdout.is_empty(), "{}", stale.stderr);
    let text = log.run(&["resume", &run]);
    assert_eq!(text.code, 1, "{}", text.stdout);
    assert!(text.stdout.contains("  nothing: checkpoint-stale: the last checkpoint is "), "{}", text.stdout);
    assert!(text.stdout.contains("freshness     FAIL"), "{}", text.stdout);
    // A log that goes on is fresh again.
    log.desk.write("trust.toml", trust.replace("[require]\n", "[require]\nmax_age = \"10m\"\n"));
    log.good(&["resume", &run, "--summary"]);
}

#[test]
fn a_bundle_older_than_what_was_seen_is_refused() {
    let log = Log::new();
    let run = log.trigger();
    log.good(&["bundle", &run, "--out", "old.jsonl"]);
    let resume = ["resume", &run, "--summary", "--bundle", "old.jsonl"];
    log.desk.good(&resume);
    log.propose(&run);
    log.desk.run(&resume).failed(3, "stale");
    // Who has seen nothing else can't know.
    let desk = elsewhere(&log);
    desk.write("old.jsonl", log.desk.read("old.jsonl"));
    desk.good(&resume);
    log.good(&["bundle", &run, "--out", "new.jsonl"]);
    log.desk.good(&["resume", &run, "--summary", "--bundle", "new.jsonl"]);
}

#[test]
fn a_log_that_forked_is_refused_with_both_roots() {
    let desk = Desk::new();
    desk.good(&["init", "one", "--origin", "example.org/log"]);
    let run = {
        let (_serving, url) = desk.serve_in("one");
        let logged = desk.json(&["trigger", "--source", "s", "--id", "1", "-C", "one", "--server", &url]);
        logged["run"].as_str().unwrap().to_owned()
    };
    copy(&desk.path("one"), &desk.path("two"));
    fs::remove_dir_all(desk.path("two/seen")).unwrap();
    // The same keys sign two histories.
    let on = |directory: &str, summary: &str| {
        let (_serving, url) = desk.serve_in(directory);
        desk.good(&["observe", &run, "--summary", summary, "-C", directory, "--server", &url]);
        let bundle = format!("{directory}.jsonl");
        desk.good(&["bundle", &run, "--out", &bundle, "-C", directory, "--server", &url]);
    };
    on("one", "Here.");
    on("two", "There.");
    let bundle = desk.path("two.jsonl").display().to_string();
    let offline = desk.run(&["resume", &run, "--summary", "-C", "one", "--bundle", &bundle]);
    offline.failed(1, "log-forked");
    assert!(offline.stderr.contains("two trees of size ") && offline.stdout.is_empty(), "{}", offline.stderr);
    let (_serving, url) = desk.serve_in("two");
    let online = desk.run(&["resume", &run, "--summary", "-C", "one", "--server", &url]);
    online.failed(1, "log-forked");
    assert!(online.stderr.contains("Keep both notes") && online.stdout.is_empty(), "{}", online.stderr);
}

#[test]
fn a_log_that_was_put_back_is_stale_and_not_one_that_lacks_a_tile() {
    let mut log = Log::new();
    let desk = elsewhere(&log);
    let (run, url) = (log.trigger(), log.url.clone());
    log.stop();
    for name in ["log", "lock"] {
        copy(&log.desk.path(name), &log.desk.path(&format!("old-{name}")));
    }
    log.start_again();
    log.propose(&run);
    let resume = ["resume", &run, "--server", &url];
    desk.good(&resume);
    log.stop();
    for name in ["log", "lock"] {
        fs::remove_dir_all(log.desk.path(name)).unwrap();
        copy(&log.desk.path(&format!("old-{name}")), &log.desk.path(name));
    }
    log.start_again();
    desk.run(&resume).failed(3, "stale");
}
