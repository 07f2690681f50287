//! A working directory, a server, and separate processes for agent, human and runtime.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use common::{Desk, Log};

#[test]
fn init_makes_private_keys_and_a_log_that_knows_them() {
    let log = Log::new();
    let keys = log.desk.json(&["keys", "list"]);
    let roles: Vec<&str> = keys.as_array().unwrap().iter().map(|key| key["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["agent", "agent", "authority", "human", "note", "log", "policy", "runtime"]);
    #[cfg(unix)]
    for name in ["agent", "authority", "human", "log-note", "log-snapshot", "policy", "runtime"] {
        use std::os::unix::fs::PermissionsExt;
        let path = log.desk.path(&format!("keys/{name}.key"));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let report = log.json(&["doctor"]);
    assert_eq!(report["healthy"], true, "{report:#}");
    let before = log.desk.listing();
    assert_eq!(log.desk.run(&["init"]).code, 2);
    assert_eq!(log.desk.listing(), before);
}

#[test]
fn a_policy_key_that_nobody_enrolled_is_found() {
    let log = Log::new();
    let found = || {
        let ran = log.run(&["--json", "doctor"]);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(ran.code == 0, report["healthy"].as_bool().unwrap(), "{}", ran.shown());
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == "policy key").unwrap().clone()
    };
    assert_eq!(found()["found"], "good", "{}", found());
    log.desk.key("policy", "policy", "other.key");
    log.desk
        .write("counterfoil.toml", log.desk.read("counterfoil.toml").replace("keys/policy.key", "other.key"));
    assert_eq!(found()["code"], "policy-key-unknown", "{}", found());
}

#[test]
fn a_threshold_of_authority_keys_and_of_humans() {
    let log = Log::init("work", &["--threshold", "3", "--approvals", "2"]);
    let report = log.json(&["doctor"]);
    assert_eq!(report["healthy"], true, "{report:#}");
    let run = log.trigger();
    log.propose(&run);
    for (key, status) in [("work/keys/human.key", "open"), ("work/keys/human-2.key", "approved")] {
        log.good(&["approve", &run, "--yes", "--key", key]);
        assert_eq!(log.json(&["resume", &run])["proposals"][0]["status"], status);
    }
}

/// An ssh-agent that is ended when it goes out of scope.
#[cfg(unix)]
struct SshAgent(std::process::Child);

#[cfg(unix)]
impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn an_approver_signs_with_the_key_in_their_ssh_agent() {
    use std::process::Command;
    let mut log = Log::new();
    let (id, socket) = (log.desk.path("id"), log.desk.path("agent.sock"));
    let ran = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
    ran(Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana@laptop", "-f"])
        .arg(&id));
    let agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(std::process::Stdio::null()).spawn();
    let _agent = SshAgent(agent.unwrap());
    let began = std::time::Instant::now();
    while !socket.exists() {
        assert!(began.elapsed().as_secs() < 10, "the agent never came");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let make = ["keys", "new", "--role", "human", "--principal", "ana", "--out", "ana.key", "--ssh-agent"];
    log.desk.run(&[&make[..], &["id"]].concat()).failed(2, "key-unusable");
    let key = log.desk.good(&[&make[..], &["id.pub"]].concat());
    assert!(!log.desk.read("ana.key").contains("secret"), "{}", log.desk.read("ana.key"));
    log.good(&["keys", "enrol", key.trim(), "--principal", "ana", "--role", "human"]);
    let run = log.trigger();
    log.propose(&run);
    let approve = ["approve", &run, "--yes", "--key", "ana.key"];
    log.desk.environment = vec![("SSH_AUTH_SOCK", String::new())];
    log.run(&approve).failed(2, "no-signature");
    log.desk.environment = vec![("SSH_AUTH_SOCK", socket.display().to_string())];
    log.run(&approve).failed(2, "no-signature");
    ran(Command::new("ssh-add").arg("-q").arg(&id).env("SSH_AUTH_SOCK", &socket));
    log.good(&approve);
    let decided = log.json(&["resume", &run])["proposals"][0].clone();
    assert_eq!(
        (&decided["status"], &decided["decisions"][0]["principal"]),
        (&"approved".into(), &"ana".into()),
        "{decided:#}"
    );
}

#[test]
fn approved_once_executed_once() {
    let log = Log::new();
    log.desk.write("alert.json", r#"{"disk": "full"}"#);
    let trigger = log.json(&["trigger", "--source", "alerts", "--id", "4711", "--item", "alert.json"]);
    let run = trigger["run"].as_str().unwrap();
    let action = log.desk.good(&["gate", "action", "--", "echo", "done"]);
    log.desk.write("action.json", action);
    log.good(&["propose", run, "--action", "action.json", "--for", "runtime", "--risk", "high"]);

    log.run(&["gate", "check", run, "--", "echo", "done"]).failed(4, "held");
    let asked = log.run_with(&["approve", run], "n\n");
    asked.failed(4, "not-confirmed");
    assert!(asked.stdout.contains("argument       /argv/1 = \"done\""), "{}", asked.stdout);
    for terms in [["--uses", "2"], ["--window", "2h"]] {
        log.run(&[&["approve", run, "--yes"][..], &terms].concat()).failed(1, "terms-exceed-policy");
    }
    log.run(&["approve", run, "--yes", "--key", "keys/agent.key"]).failed(1, "role-not-allowed");
    log.run_with(&["approve", run], "y\n").good();

    let other = log.run(&["gate", "run", run, "--", "echo", "gone"]);
    assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{}", other.stderr);
    assert!(
        other.stderr.contains("/arguments/argv/1 is \"done\" there and \"gone\" here"),
        "{}",
        other.stderr
    );
    let ran = log.run(&["gate", "run", run, "--", "echo", "done"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "done\n"), "{}", ran.stderr);
    let again = log.run(&["gate", "run", run, "--", "echo", "done"]);
    again.failed(1, "use-exceeded");
    assert_eq!(again.stdout, "");

    log.good(&["bundle", run, "--out", "run.jsonl"]);
    let verified = log.desk.good(&["verify", "run.jsonl"]);
    assert!(verified.ends_with("shown: integrity, authority, conformity, inclusion\n"), "{verified}");
    let shown = verified.contains("checked, 0 not disclosed");
    assert!(shown, "what the approver was shown is in the bundle: {verified}");
}

#[test]
fn by_hand_record_by_record() {
    let log = Log::new();
    let desk = &log.desk;
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
    let submit = ["submit", "batch.records", "--payload", "note.payload"];
    let first = log.json(&submit);
    assert_eq!(first[0]["run"], run);
    assert_eq!(first[1]["type"], "observation");
    let again = log.json(&submit);
    assert_eq!(again[1]["index"], first[1]["index"], "repeating a submission is safe");

    // Somebody else's word, in the first one's name.
    desk.write("forged.record", desk.read("trigger.record").replace("\"hand\"", "\"hanD\""));
    desk.run(&["record", "show", "forged.record"]).failed(1, "signature-invalid");
    log.run(&["submit", "forged.record"]).failed(1, "signature-invalid");
}

#[test]
fn a_draft_is_signed_as_it_would_have_been_made() {
    let desk = Desk::new();
    desk.key("agent", "scout", "scout.key");
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
    desk.run(&["record", "sign", "record", "--key", "scout.key"]).failed(2, "draft-signed");
}

#[test]
fn keys_are_enrolled_and_revoked() {
    let log = Log::new();
    let made = log.desk.json(&["keys", "new", "--role", "agent", "--principal", "scout"]);
    let key = made["key"].as_str().unwrap();
    let trigger = ["trigger", "--source", "s", "--key", "keys/scout.key", "--id"];
    log.run(&[&trigger[..], &["1"]].concat()).failed(1, "key-unknown");
    log.good(&["keys", "enrol", key, "--principal", "scout", "--role", "agent"]);
    log.good(&[&trigger[..], &["1"]].concat());
    log.good(&["keys", "revoke", key, "--reason", "lost"]);
    log.run(&[&trigger[..], &["2"]].concat()).failed(1, "key-revoked");
}

#[cfg(unix)]
#[test]
fn a_command_signs_and_what_it_signs_is_checked() {
    let desk = Desk::new();
    desk.key("agent", "scout", "scout.key");
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
    desk.run(&new).failed(2, "no-signature");
}
