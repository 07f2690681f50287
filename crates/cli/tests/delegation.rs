//! `counterfoil delegation`: granted by the authority, passed on, used up and taken back, on a running log.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use common::{Log, copy};

const POLICY: &str = r#"language = "counterfoil-policy/1"

[[costs]]
tool = "payments.*"
amount = "/amount"
currency = "EUR"

[[rules]]
name = "delegates"
effect = "allow"
uses = 1
match.delegation = true
"#;

/// A log on which only delegates may do anything, with a second agent `helper`.
fn log() -> Log {
    let log = Log::new();
    log.desk.write("policy.toml", POLICY);
    log.good(&["policy", "set", "policy.toml"]);
    log.desk.key("agent", "helper", "keys/helper.key");
    let key = log.desk.json(&["keys", "list"]);
    let helper =
        key.as_array().unwrap().iter().find(|key| key["principal"] == "helper").unwrap()["key"].clone();
    log.good(&["keys", "enrol", helper.as_str().unwrap(), "--principal", "helper", "--role", "agent"]);
    log
}

fn grant(log: &Log, more: &[&str]) -> String {
    let logged = log.json(&[&["delegation", "grant"], more].concat());
    logged["id"].as_str().unwrap().to_owned()
}

/// Proposes a refund under a delegation; gives run and proposal.
fn refund(log: &Log, owner: &str, under: &str, amount: &str) -> (String, common::Ran) {
    let key = format!("keys/{owner}.key");
    let started = log.json(&["trigger", "--source", "shop", "--id", "7", "--owner", owner, "--key", &key]);
    let run = started["run"].as_str().unwrap().to_owned();
    log.desk.write(
        "refund.json",
        format!(
            r#"{{"tool": "payments.refund", "target": "shop-1", "arguments": {{"amount": "{amount}"}}}}"#
        ),
    );
    let proposed = log.run(&[
        "propose",
        &run,
        "--action",
        "refund.json",
        "--for",
        "runtime",
        "--risk",
        "low",
        "--delegation",
        under,
        "--key",
        &key,
    ]);
    (run, proposed)
}

/// Proposes to run `echo done` under a delegation; gives the run.
fn echo(log: &Log, under: &str) -> String {
    let run = log.trigger();
    log.desk.write("action.json", log.desk.good(&["gate", "action", "--", "echo", "done"]));
    let propose = ["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
    log.good(&[&propose[..], &["--delegation", under]].concat());
    run
}

#[test]
fn what_is_granted_is_passed_on_used_up_and_taken_back() {
    let log = log();
    let above = grant(&log, &["--to", "agent", "--tool", "payments.*", "--total", "100 EUR", "--depth", "1"]);
    log.desk.write(
        "scope.json",
        r#"[{"tool": "payments.refund", "target": "shop-*", "arguments": {"/amount": {"at_most": "60"}}}]"#,
    );
    let below = grant(
        &log,
        &[
            "--under",
            &above,
            "--to",
            "helper",
            "--scope",
            "scope.json",
            "--uses",
            "2",
            "--key",
            "keys/agent.key",
        ],
    );

    // Wider than it is held, and by whoever does not hold it.
    let wider = [
        "delegation",
        "grant",
        "--under",
        &above,
        "--to",
        "helper",
        "--tool",
        "*",
        "--key",
        "keys/agent.key",
    ];
    log.run(&wider).failed(1, "delegation-widens");
    let stranger = [
        "delegation",
        "grant",
        "--under",
        &above,
        "--to",
        "helper",
        "--tool",
        "payments.refund",
        "--key",
        "keys/helper.key",
    ];
    log.run(&stranger).failed(1, "delegation-signer");
    log.run(&["delegation", "grant", "--to", "agent", "--tool", "*", "--key", "keys/agent.key"])
        .failed(1, "delegation-signer");

    let (_, too_much) = refund(&log, "helper", &below, "60.01");
    too_much.failed(1, "delegation-scope");
    let (_, borrowed) = refund(&log, "agent", &below, "5");
    borrowed.failed(1, "delegation-holder");
    let (run, proposed) = refund(&log, "helper", &below, "60");
    proposed.good();
    let resumed = log.json(&["resume", &run]);
    let chain = resumed["proposals"][0]["delegations"].as_array().unwrap().clone();
    assert_eq!((chain[0]["id"].as_str(), chain[1]["id"].as_str()), (Some(&*below), Some(&*above)));
    assert_eq!(resumed["proposals"][0]["status"], "approved");

    let listed = log.json(&["delegation", "list"]);
    assert_eq!(listed["delegations"].as_array().unwrap().len(), 2, "{listed:#}");
    assert_eq!(
        log.json(&["delegation", "list", "--delegate", "helper"])["delegations"][0]["issuer"],
        "agent"
    );
    let shown = log.good(&["delegation", "show", &below]);
    assert!(
        shown.contains("where {\"/amount\":{\"at_most\":\"60\"}}")
            && shown.contains("0 of 100 EUR are spent"),
        "{shown}"
    );

    log.good(&["delegation", "revoke", &below, "--key", "keys/agent.key", "--reason", "enough"]);
    let (_, over) = refund(&log, "helper", &below, "1");
    over.failed(1, "delegation-ended");
    assert!(log.good(&["delegation", "show", &below]).contains("was revoked at entry"));
    log.good(&["bundle", &run, "--out", "run.jsonl"]);
    log.desk.run(&["verify", "run.jsonl", "--require", "integrity,authority,inclusion"]).good();
}

#[test]
fn a_command_runs_under_a_delegation_once_and_not_after_it_ended() {
    let log = log();
    let id =
        grant(&log, &["--to", "agent", "--tool", "*", "--uses", "1", "--not-after", "2100-01-01T00:00:00Z"]);
    let (first, second) = (echo(&log, &id), echo(&log, &id));
    let ran = log.run(&["gate", "run", &first, "--", "echo", "done"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "done\n"), "{}", ran.stderr);
    log.run(&["gate", "run", &second, "--", "echo", "done"]).failed(1, "delegation-spent");
    assert_eq!(log.json(&["delegation", "show", &id])["chain"][0]["used"], 1);

    let other = grant(&log, &["--to", "agent", "--tool", "*"]);
    let third = echo(&log, &other);
    log.good(&["delegation", "revoke", &other]);
    log.run(&["gate", "run", &third, "--", "echo", "done"]).failed(1, "delegation-ended");
    log.good(&["bundle", &first, "--out", "run.jsonl"]);
    let verified = log.desk.good(&["verify", "run.jsonl"]);
    assert!(verified.contains("1 executed as the policy allows"), "{verified}");
}

#[test]
fn two_gates_at_once_never_spend_more_than_a_delegation_grants() {
    let log = log();
    let id = grant(&log, &["--to", "agent", "--tool", "*", "--uses", "3"]);
    let runs: Vec<String> = (0..8).map(|_| echo(&log, &id)).collect();
    // Each gate has a directory of its own, as on a machine of its own.
    let gates: Vec<String> = (0..runs.len()).map(|number| format!("gate-{number}")).collect();
    for gate in &gates {
        copy(&log.desk.path("keys"), &log.desk.path(&format!("{gate}/keys")));
        std::fs::copy(log.desk.path("trust.toml"), log.desk.path(&format!("{gate}/trust.toml"))).unwrap();
    }
    let ran: Vec<common::Ran> = std::thread::scope(|scope| {
        let (log, runs) = (&log, runs.iter().zip(&gates));
        let execute = |(run, gate): (&String, &String)| {
            let (run, gate) = (run.clone(), gate.clone());
            scope.spawn(move || {
                log.desk.run(&["gate", "run", &run, "-C", &gate, "--server", &log.url, "--", "echo", "done"])
            })
        };
        let started: Vec<_> = runs.map(execute).collect();
        started.into_iter().map(|ran| ran.join().unwrap()).collect()
    });
    let done = ran.iter().filter(|ran| ran.stdout == "done\n").count();
    assert_eq!(done, 3, "{:?}", ran.iter().map(common::Ran::shown).collect::<Vec<_>>());
    assert!(ran.iter().filter(|ran| ran.code != 0).all(|ran| ran.stderr.contains("delegation-spent")));
    println!("count gates that raced for one delegation and spent no more than it grants {}", gates.len());
}

#[test]
fn what_is_no_delegation_is_refused_with_its_place() {
    let log = log();
    log.desk.write("scope.json", r#"[{"tool": "payments.*", "arguments": {"/amount": {"less": "5"}}}]"#);
    let ran = log.run(&["delegation", "grant", "--to", "agent", "--scope", "scope.json"]);
    ran.failed(2, "delegation-unreadable");
    assert!(ran.stderr.contains("scope.0.arguments./amount"), "{}", ran.stderr);
    log.desk.write("scope.json", r#"{"tool": "payments.*"}"#);
    log.run(&["delegation", "grant", "--to", "agent", "--scope", "scope.json"]).failed(2, "field-invalid");
    log.run(&["delegation", "grant", "--to", "nobody", "--tool", "*"]).failed(2, "key-not-named");
    log.run(&["delegation", "grant", "--to", "agent", "--tool", "*********"])
        .failed(2, "delegation-unreadable");
    let nothing = format!("sha256:{}", "0".repeat(64));
    log.run(&["delegation", "show", &nothing]).failed(2, "delegation-unknown");
}

#[test]
fn the_page_on_delegations_tells_the_truth() {
    let log = Log::new();
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/delegation.md")).unwrap();
    let start = page.find("```sh\n").unwrap() + 6;
    let script = &page[start..start + page[start..].find("```\n").unwrap()];
    log.desk.write("page.sh", format!("set -e\n{script}"));
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let ran = std::process::Command::new("sh")
        .arg("page.sh")
        .current_dir(log.desk.path("."))
        .envs([("PATH", &path), ("COUNTERFOIL_SERVER", &log.url)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("0 of 300 EUR are spent") && said.contains("0 of 5000 EUR are spent"), "{said}");
}
