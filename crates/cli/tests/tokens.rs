//! Tokens for programs, and receipts, with the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use common::{Desk, Log, ask};
use serde_json::{Value, json};

/// A log whose server takes tokens alone; not started yet.
fn office() -> Desk {
    let desk = Desk::new();
    desk.good(&["init", "--origin", "example.org/log"]);
    let config = desk.read("counterfoil.toml");
    desk.write("counterfoil.toml", config.replacen("[server]\n", "[server]\ntokens = \"tokens.toml\"\n", 1));
    desk
}

fn new(desk: &Desk, arguments: &[&str]) -> String {
    let made = desk.run(&[&["tokens", "new"], arguments].concat());
    assert_eq!((made.code, made.stdout.lines().count()), (0, 1), "the token alone: {}", made.shown());
    let token = made.stdout.trim_end().to_owned();
    assert!(!made.stderr.contains(&token), "it is said once");
    token
}

#[test]
fn a_program_reads_what_its_token_is_for_until_it_is_revoked() {
    let mut desk = office();
    // A server that would take no token has nobody to read it.
    let refused = desk.run(&["serve", "--listen", "127.0.0.1:0"]);
    refused.failed(2, "tokens-unusable");
    let auditor = new(&desk, &["--name", "auditor", "--scope", "records", "--scope", "log"]);
    assert!(auditor.starts_with("cft_") && auditor.len() == 56, "{auditor}");
    assert!(!desk.read("tokens.toml").contains(&auditor[13..]), "only a digest is kept");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(desk.path("tokens.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let (_serving, url) = desk.serve();
    let with = |desk: &mut Desk, token: &str| {
        desk.environment = vec![("COUNTERFOIL_SERVER", url.clone()), ("COUNTERFOIL_TOKEN", token.to_owned())];
    };
    desk.environment = vec![("COUNTERFOIL_SERVER", url.clone())];
    desk.run(&["runs"]).failed(2, "token-required");
    // Made while the server runs.
    let narrow = ["--name", "inbox", "--scope", "approvals", "--principal", "human", "--expires", "1d"];
    let inbox = new(&desk, &narrow);
    with(&mut desk, &auditor);
    let run = desk.json(&["trigger", "--source", "alerts", "--id", "1"])["run"].as_str().unwrap().to_owned();
    desk.write("vacuum.json", r#"{"tool": "db.vacuum", "arguments": {}}"#);
    desk.good(&["propose", &run, "--action", "vacuum.json", "--for", "runtime", "--risk", "low"]);
    assert!(desk.good(&["runs"]).contains("db.vacuum"));
    desk.run(&["approvals", "list"]).failed(2, "token-scope");
    with(&mut desk, &inbox);
    assert!(desk.good(&["approvals", "list"]).contains("db.vacuum"), "the human may decide it");
    desk.run(&["runs"]).failed(2, "token-scope");

    let listed = desk.json(&["tokens", "list"]);
    let shown: Vec<Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["name"], one["scopes"], one["principal"]]))
        .collect();
    assert_eq!(
        shown,
        [json!(["auditor", ["records", "log"], null]), json!(["inbox", ["approvals"], "human"])]
    );
    let table = desk.good(&["tokens", "list"]);
    assert!(table.contains("approvals of human") && table.contains("until it is revoked"), "{table}");
    assert!(!(listed.to_string() + &table).contains(&inbox[13..]), "no list shows a token");
    let id = listed[1]["id"].as_str().unwrap();
    assert_eq!(desk.good(&["tokens", "revoke", id]), format!("revoked {id} inbox\n"));
    desk.run(&["approvals", "list"]).failed(2, "token-required");
    desk.run(&["tokens", "revoke", id]).failed(2, "token-unknown");
    with(&mut desk, &auditor);
    desk.good(&["runs"]);
}

#[cfg(unix)]
#[test]
fn revoked_through_a_link_is_revoked_where_the_server_looks() {
    let desk = office();
    new(&desk, &["--name", "auditor", "--scope", "log"]);
    let id = desk.json(&["tokens", "list"])[0]["id"].as_str().unwrap().to_owned();
    std::os::unix::fs::symlink(desk.path("tokens.toml"), desk.path("link.toml")).unwrap();
    desk.good(&["tokens", "revoke", &id, "--file", "link.toml"]);
    assert!(!desk.read("tokens.toml").contains(&id), "{}", desk.read("tokens.toml"));
    assert!(std::fs::symlink_metadata(desk.path("link.toml")).unwrap().is_symlink());
}

#[test]
fn a_token_that_can_not_be_is_not_made() {
    let desk = office();
    new(&desk, &["--name", "first", "--scope", "log"]);
    let before = desk.read("tokens.toml");
    let cases: [&[&str]; 5] = [
        &["--name", "a\u{1b}[2J", "--scope", "log"],
        &["--name", "a\nb", "--scope", "log"],
        &["--name", "", "--scope", "log"],
        &["--name", "a", "--scope", "log", "--scope", "log"],
        &["--name", "a", "--scope", "records", "--principal", "human"],
    ];
    for arguments in cases {
        let refused = desk.run(&[&["tokens", "new"], arguments].concat());
        refused.failed(2, "token-invalid");
        assert!(refused.stdout.is_empty() && !refused.stderr.contains('\u{1b}'), "{}", refused.shown());
    }
    for arguments in [
        &["--name", "a"][..],
        &["--name", "a", "--scope", "all"],
        &["--name", "a", "--scope", "log", "--expires", "0d"],
    ] {
        desk.run(&[&["tokens", "new"], arguments].concat()).failed(2, "usage");
    }
    assert_eq!(desk.read("tokens.toml"), before);
    // What somebody broke by hand is not written over.
    desk.write("tokens.toml", before.replace("name", "nam"));
    desk.run(&["tokens", "new", "--name", "a", "--scope", "log"]).failed(2, "tokens-unusable");
    desk.run(&["tokens", "list"]).failed(2, "tokens-unusable");
    let plain = Desk::new();
    plain.good(&["init", "--origin", "example.org/log"]);
    plain.run(&["tokens", "new", "--name", "a", "--scope", "log"]).failed(2, "tokens-missing");
}

#[test]
fn tokens_that_are_made_at_once_are_all_kept() {
    let desk = office();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (desk, name) = (&desk, format!("bot {number}"));
            scope.spawn(move || new(desk, &["--name", &name, "--scope", "log"]));
        }
    });
    assert_eq!(desk.json(&["tokens", "list"]).as_array().unwrap().len(), 8);
}

#[test]
fn a_receipt_is_made_from_the_bundle_under_the_readers_trust() {
    let log = Log::new();
    let run = log.trigger();
    let action = log.desk.good(&["gate", "action", "--", "true"]);
    log.desk.write("action.json", action);
    log.good(&["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"]);
    log.good(&["approve", &run, "--yes", "--reason", "go\u{202e} ahead"]);
    log.good(&["gate", "run", &run, "--", "true"]);
    let records: Value =
        serde_json::from_slice(&ask(&log.url, "GET", &format!("/v1/runs/{run}"), b"").unwrap()).unwrap();
    let of = |kind: &str| {
        let found = records["records"].as_array().unwrap().iter().find(|record| record["type"] == kind);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let execution = of("execution");
    let text = log.good(&["receipt", &execution]);
    for part in [
        &format!("receipt of {execution}\n"),
        "approve by human (on no surface) at ",
        ": go\\u{202e} ahead",
        "succeeded at ",
        "* conformity    pass",
        "shown: integrity, authority, conformity, inclusion\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // The same as the server says, which is not asked for it.
    let path = format!("/v1/receipts/{execution}");
    let said: Value = serde_json::from_slice(&ask(&log.url, "GET", &path, b"").unwrap()).unwrap();
    let json = log.json(&["receipt", &execution]);
    assert_eq!((&json["conclusion"], &json["exit_code"]), (&json!("shown"), &json!(0)));
    assert_eq!(json["receipt"], said);
    // A record that has no run has none; and another trust is not content with it.
    let genesis = ask(&log.url, "GET", "/v1/log", b"").unwrap();
    assert!(!genesis.is_empty());
    let trust = log.desk.read("trust.toml");
    let id = trust
        .lines()
        .find_map(|line| line.strip_prefix("genesis = \""))
        .unwrap()
        .trim_end_matches('"')
        .to_owned();
    log.run(&["receipt", &id]).failed(2, "receipt-no-run");
    log.desk.write("trust.toml", trust.replace("\"inclusion\"]", "\"inclusion\", \"witnessed\"]"));
    let open = log.run(&["receipt", &execution]);
    assert_eq!((open.code, open.stdout.contains("not shown: witnessed")), (3, true), "{}", open.shown());
}
