//! A working directory, a server, and separate processes for agent, human and runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use common::Desk;

/// A new log with its server running.
fn log() -> (Desk, common::Serving, String) {
    let desk = Desk::new();
    desk.good(&["init", "--origin", "example.org/log"]);
    let (serving, url) = desk.serve();
    (desk, serving, url)
}

#[test]
fn init_makes_private_keys_and_a_log_that_knows_them() {
    let (desk, _serving, url) = log();
    let keys = desk.json(&["keys", "list"]);
    let roles: Vec<&str> = keys.as_array().unwrap().iter().map(|key| key["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["agent", "agent", "authority", "human", "note", "log", "policy", "runtime"]);
    #[cfg(unix)]
    for name in ["agent", "authority", "human", "log-note", "log-snapshot", "policy", "runtime"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(desk.path(&format!("keys/{name}.key"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let report = desk.json(&["doctor", "--server", &url]);
    assert_eq!(report["healthy"], true, "{report:#}");
    let before = desk.listing();
    assert_eq!(desk.run(&["init"]).code, 2);
    assert_eq!(desk.listing(), before);
}

#[test]
fn a_threshold_of_authority_keys_and_of_humans() {
    let desk = Desk::new();
    desk.good(&["init", "work", "--threshold", "3", "--approvals", "2"]);
    let (_serving, url) = desk.serve_in("work");
    let report = desk.json(&["doctor", "-C", "work", "--server", &url]);
    assert_eq!(report["healthy"], true, "{report:#}");
    let trigger = desk.json(&["trigger", "-C", "work", "--server", &url, "--source", "s", "--id", "1"]);
    let run = trigger["run"].as_str().unwrap();
    desk.write("action.json", r#"{"tool": "db.vacuum", "arguments": {}}"#);
    let common = ["-C", "work", "--server", &url];
    let propose = ["propose", run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
    desk.good(&[&propose[..], &common].concat());
    for (key, status) in [("work/keys/human.key", "open"), ("work/keys/human-2.key", "approved")] {
        desk.good(&[&["approve", run, "--yes", "--key", key][..], &common].concat());
        let state = desk.json(&[&["resume", run][..], &common].concat());
        assert_eq!(state["proposals"][0]["status"], status);
    }
}

#[test]
fn approved_once_executed_once() {
    let (desk, _serving, url) = log();
    let on = |arguments: &[&str]| {
        let at = arguments.iter().position(|word| *word == "--").unwrap_or(arguments.len());
        desk.run(&[&arguments[..at], &["--server", &url], &arguments[at..]].concat())
    };
    desk.write("alert.json", r#"{"disk": "full"}"#);
    let trigger = on(&["trigger", "--source", "alerts", "--id", "4711", "--item", "alert.json", "--json"]);
    let trigger: serde_json::Value = serde_json::from_str(&trigger.stdout).unwrap();
    let run = trigger["run"].as_str().unwrap();
    let action = desk.good(&["gate", "action", "--", "echo", "done"]);
    desk.write("action.json", action);
    assert_eq!(
        on(&["propose", run, "--action", "action.json", "--for", "runtime", "--risk", "high"]).code,
        0
    );

    let held = on(&["gate", "check", run, "--", "echo", "done"]);
    assert_eq!((held.code, held.stderr.contains("error[held]")), (4, true), "{}", held.stderr);
    let asked = desk.run_with(&["approve", run, "--server", &url], "n\n");
    assert_eq!((asked.code, asked.stderr.contains("not-confirmed")), (4, true), "{}", asked.stderr);
    assert!(asked.stdout.contains("argument       /argv/1 = \"done\""), "{}", asked.stdout);
    for terms in [["--uses", "2"], ["--window", "2h"]] {
        let beyond = on(&[&["approve", run, "--yes"][..], &terms].concat());
        assert_eq!(
            (beyond.code, beyond.stderr.contains("error[terms-exceed-policy]")),
            (1, true),
            "{}",
            beyond.stderr
        );
    }
    let own = on(&["approve", run, "--yes", "--key", "keys/agent.key"]);
    assert_eq!((own.code, own.stderr.contains("error[role-not-allowed]")), (1, true), "{}", own.stderr);
    assert_eq!(desk.run_with(&["approve", run, "--server", &url], "y\n").code, 0);

    let other = on(&["gate", "run", run, "--", "echo", "gone"]);
    assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{}", other.stderr);
    assert!(
        other.stderr.contains("/arguments/argv/1 is \"done\" there and \"gone\" here"),
        "{}",
        other.stderr
    );
    let ran = on(&["gate", "run", run, "--", "echo", "done"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "done\n"), "{}", ran.stderr);
    let again = on(&["gate", "run", run, "--", "echo", "done"]);
    assert_eq!((again.code, again.stdout.as_str()), (1, ""), "{}", again.stderr);
    assert!(again.stderr.contains("error[use-exceeded]"), "{}", again.stderr);

    assert_eq!(on(&["bundle", run, "--out", "run.jsonl"]).code, 0);
    let verified = desk.run(&["verify", "run.jsonl"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    assert!(
        verified.stdout.ends_with("shown: integrity, authority, conformity, inclusion\n"),
        "{}",
        verified.stdout
    );
    let shown = verified.stdout.contains("checked, 0 not disclosed");
    assert!(shown, "what the approver was shown is in the bundle: {}", verified.stdout);
}

#[test]
fn by_hand_record_by_record() {
    let (desk, _serving, url) = log();
    let key = desk.json(&["keys", "list"])[1]["key"].as_str().unwrap().to_owned();
    desk.write("trigger.json", format!(r#"{{"event": {{"source": "hand", "id": "1"}}, "owner": {{"principal": "agent", "key": "{key}"}}}}"#));
    desk.good(&[
        "record",
        "new",
        "trigger",
        "--body",
        "trigger.json",
        "--key",
        "keys/agent.key",
        "--out",
        "trigger.record",
    ]);
    let shown = desk.json(&["record", "show", "trigger.record"]);
    let run = shown["id"].as_str().unwrap();
    desk.write("note.txt", "what I saw\n");
    let item = desk.good(&["record", "item", "note.txt", "--label", "note", "--payload", "note.payload"]);
    desk.write("body.json", format!(r#"{{"kind": "note", "items": [{item}]}}"#));
    let made =
        desk.good(&["record", "new", "observation", "--run", run, "--parents", run, "--body", "body.json"]);
    desk.write("batch.records", format!("{}{made}", desk.read("trigger.record")));
    let submit = ["submit", "batch.records", "--payload", "note.payload", "--server", &url];
    let first = desk.json(&submit);
    assert_eq!(first[0]["run"], run);
    assert_eq!(first[1]["type"], "observation");
    let again = desk.json(&submit);
    assert_eq!(again[1]["index"], first[1]["index"], "repeating a submission is safe");

    // Somebody else's word, in the first one's name.
    desk.write("forged.record", desk.read("trigger.record").replace("\"hand\"", "\"hanD\""));
    let forged = desk.run(&["record", "show", "forged.record"]);
    assert_eq!(
        (forged.code, forged.stderr.contains("error[signature-invalid]")),
        (1, true),
        "{}",
        forged.stderr
    );
    let refused = desk.run(&["submit", "forged.record", "--server", &url]);
    assert_eq!(
        (refused.code, refused.stderr.contains("error[signature-invalid]")),
        (1, true),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_draft_is_signed_as_it_would_have_been_made() {
    let desk = Desk::new();
    desk.good(&["keys", "new", "--role", "agent", "--principal", "scout", "--out", "scout.key"]);
    let id = format!("sha256:{}", "1".repeat(64));
    desk.write("body.json", r#"{ "summary": "x", "kind": "note" }"#);
    let made = desk.good(&[
        "record",
        "new",
        "observation",
        "--log",
        &id,
        "--run",
        &id,
        "--parents",
        &id,
        "--time",
        "1000",
        "--body",
        "body.json",
        "--key",
        "scout.key",
    ]);
    let mut draft: serde_json::Value = serde_json::from_str(&made).unwrap();
    draft.as_object_mut().unwrap().remove("sig");
    draft.as_object_mut().unwrap().remove("signer");
    desk.write("draft.json", format!("{draft:#}"));
    assert_eq!(desk.good(&["record", "sign", "draft.json", "--key", "scout.key"]), made);
    desk.write("record", &made);
    assert_eq!(desk.run(&["record", "show", "record"]).code, 0);
    let twice = desk.run(&["record", "sign", "record", "--key", "scout.key"]);
    assert!(twice.stderr.contains("error[draft-signed]"), "{}", twice.stderr);
}

#[test]
fn keys_are_enrolled_and_revoked() {
    let (desk, _serving, url) = log();
    let made = desk.json(&["keys", "new", "--role", "agent", "--principal", "scout"]);
    let key = made["key"].as_str().unwrap();
    let trigger = ["trigger", "--source", "s", "--id", "1", "--key", "keys/scout.key", "--server", &url];
    let before = desk.run(&trigger);
    assert!(before.stderr.contains("error[key-unknown]"), "{}", before.stderr);
    desk.good(&["keys", "enrol", key, "--principal", "scout", "--role", "agent", "--server", &url]);
    desk.good(&trigger);
    desk.good(&["keys", "revoke", key, "--reason", "lost", "--server", &url]);
    let after =
        desk.run(&["trigger", "--source", "s", "--id", "2", "--key", "keys/scout.key", "--server", &url]);
    assert!(after.stderr.contains("error[key-revoked]"), "{}", after.stderr);
}

#[cfg(unix)]
#[test]
fn a_command_signs_and_what_it_signs_is_checked() {
    let desk = Desk::new();
    desk.good(&["keys", "new", "--role", "agent", "--principal", "scout", "--out", "scout.key"]);
    let key = desk.json(&["keys", "list", "."])[0]["key"].as_str().unwrap().to_owned();
    let exec = [
        "keys",
        "new",
        "--role",
        "agent",
        "--principal",
        "scout",
        "--exec",
        "head -c 64 /dev/zero",
        "--public",
        &key,
        "--out",
        "exec.key",
    ];
    desk.good(&exec);
    assert!(!desk.read("exec.key").contains("secret"));
    let id = format!("sha256:{}", "1".repeat(64));
    desk.write("body.json", r#"{"summary":"x","kind":"note"}"#);
    let new = [
        "record",
        "new",
        "observation",
        "--log",
        &id,
        "--run",
        &id,
        "--parents",
        &id,
        "--body",
        "body.json",
        "--key",
        "exec.key",
    ];
    let ran = desk.run(&new);
    assert_eq!((ran.code, ran.stderr.contains("error[no-signature]")), (2, true), "{}", ran.stderr);
}
