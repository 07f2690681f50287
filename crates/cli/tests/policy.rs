//! `counterfoil policy`: files that people write, what they say, what would change, and a log under one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use common::{Desk, Log};

/// The examples of docs/policy.md.
fn examples() -> Vec<String> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.md")).unwrap();
    page.split("```toml\n").skip(1).map(|rest| rest[..rest.find("```").unwrap()].to_owned()).collect()
}

/// The first of them.
fn example() -> String {
    examples().swap_remove(0)
}

#[test]
fn the_page_on_policies_tells_the_truth_of_timers() {
    let desk = Desk::new();
    desk.write("policy.toml", format!("language = \"counterfoil-policy/1\"\n{}", examples()[1]));
    let checked = desk.json(&["policy", "check", "policy.toml"]);
    assert_eq!(checked["document"]["rules"][0]["escalation"][1]["after"], 3_600_000);
    assert_eq!(checked["document"]["rules"][0]["timeout"]["after"], 14_400_000);
    let tested = desk.json(&["policy", "test", "policy.toml"]);
    assert_eq!((tested["failed"].as_u64(), tested["tests"].as_array().unwrap().len()), (Some(0), 2));
}

#[test]
fn the_page_on_policies_tells_the_truth() {
    let desk = Desk::new();
    desk.write("policy.toml", example());
    let checked = desk.json(&["policy", "check", "policy.toml"]);
    assert_eq!(checked["document"]["rules"][1]["window"], 3_600_000);
    assert_eq!(checked["warnings"].as_array().unwrap().len(), 0);
    assert!(checked["document"].get("test").is_none());
    let tested = desk.json(&["policy", "test", "policy.toml"]);
    assert_eq!(
        (tested["failed"].as_u64(), tested["tests"].as_array().unwrap().len()),
        (Some(0), 4),
        "{tested:#}"
    );

    // What `check` prints is the document, and has the same digest.
    desk.write("policy.json", desk.good(&["policy", "check", "policy.toml"]));
    assert_eq!(desk.json(&["policy", "check", "policy.json"])["digest"], checked["digest"]);
}

#[test]
fn a_test_that_fails_says_what_the_policy_says_instead() {
    let desk = Desk::new();
    desk.write("policy.toml", example().replace("expect = \"quorum-not-met\"", "expect = \"approved\""));
    let ran = desk.run(&["policy", "test", "policy.toml"]);
    assert_eq!(ran.code, 1);
    let said = "FAIL  the CFO alone is not enough: expected approved, is quorum-not-met by payments: 1 of 2 distinct entitled \
                principals approved; payments wants 1 human of cfo\n";
    assert!(ran.stdout.contains(said), "{}", ran.shown());
    desk.write("rules.toml", example().replace("rules = [\"small-refunds\"]", "rules = [\"payments\"]"));
    assert_eq!(desk.run(&["policy", "test", "rules.toml"]).code, 1);
}

#[test]
fn an_explanation_names_each_rule_and_why() {
    let desk = Desk::new();
    desk.write("policy.toml", example());
    desk.write(
        "action.json",
        r#"{"tool": "payments.refund", "mode": "apply", "arguments": {"amount": "80.00"}}"#,
    );
    let said = "required, 1 use at most
approved for 1 h at most
allow small-refunds: no, does not apply
  cost at most 50 EUR: no (80 EUR)
require payments: yes, applies
  tool payments.*: yes (payments.refund)
  cost at most 50 EUR: no (80 EUR)
  wants 1 human of finance and 1 human of cfo, neither requester nor runtime
";
    assert_eq!(desk.good(&["policy", "explain", "policy.toml", "action.json"]), said);
    desk.write("action.json", r#"{"tool": "payments.refund", "mode": "apply", "arguments": {}}"#);
    let said = desk.json(&["policy", "explain", "policy.toml", "action.json"]);
    assert_eq!((&said["answer"], &said["rules"][0]["matches"]), (&"required".into(), &"unresolved".into()));
    assert_eq!(said["rules"][0]["because"][0], "cost at most 50 EUR: unresolved (there is no amount)");
}

#[test]
fn what_rests_on_claims_is_warned_of_and_what_is_no_policy_is_refused_with_its_place() {
    let desk = Desk::new();
    let rule =
        r#"{"effect": "allow", "match": {"risk": {"at_least": "low"}}, "name": "trusting", "uses": 1}"#;
    desk.write("policy.json", format!(r#"{{"language": "counterfoil-policy/1", "rules": [{rule}]}}"#));
    let ran = desk.run(&["policy", "check", "policy.json"]);
    assert!(
        ran.code == 0 && ran.stderr.contains("warning: rule trusting allows because of risk or tags"),
        "{}",
        ran.shown()
    );
    desk.write("policy.json", desk.read("policy.json").replace("\"low\"", "\"tiny\""));
    let ran = desk.run(&["policy", "check", "policy.json"]);
    ran.failed(2, "policy-unreadable");
    assert!(
        ran.stderr.contains("rules.0.match.risk.at_least (rule trusting) is \"tiny\""),
        "{}",
        ran.shown()
    );
    desk.write("policy.toml", "language = \"counterfoil-policy/1\"\n[[test]]\nname = 1\n");
    desk.run(&["policy", "test", "policy.toml"]).failed(2, "policy-file");
}

#[test]
fn a_log_under_named_rules_allows_refuses_and_holds() {
    let log = Log::new();
    let policy = |rules: &str| format!("language = \"counterfoil-policy/1\"\n{rules}");
    let allow = "[[rules]]\nname = \"commands\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"*\"\n";
    let deny = "[[rules]]\nname = \"no-vacuum\"\neffect = \"deny\"\nmatch.tool = \"db.*\"\n";
    log.desk.write("policy.toml", policy(&format!("{allow}{deny}")));
    log.good(&["policy", "set", "policy.toml", "--key", "keys/authority.key"]);

    let run = log.trigger();
    log.desk.write("action.json", log.desk.good(&["gate", "action", "--", "echo", "done"]));
    log.good(&["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"]);
    let ran = log.run(&["gate", "run", &run, "--", "echo", "done"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "done\n"), "{}", ran.stderr);
    log.run(&["gate", "run", &run, "--", "echo", "done"]).failed(1, "use-exceeded");
    log.good(&["bundle", &run, "--out", "allowed.jsonl"]);
    let verified = log.desk.good(&["verify", "allowed.jsonl"]);
    assert!(verified.contains("1 executed as the policy allows, approved by nobody"), "{verified}");

    let denied = log.trigger();
    log.propose(&denied);
    assert_eq!(log.json(&["resume", &denied])["proposals"][0]["status"], "denied");
    log.run(&["approve", &denied, "--yes"]).failed(1, "policy-denied");
    log.good(&["bundle", &denied, "--out", "denied.jsonl"]);

    log.desk.write("later.toml", policy(allow));
    let changed = log.desk.json(&[
        "policy",
        "diff",
        "policy.toml",
        "later.toml",
        "--run",
        "denied.jsonl",
        "--run",
        "allowed.jsonl",
    ]);
    assert_eq!(
        (changed["asked"].as_u64(), changed["changes"].as_array().unwrap().len()),
        (Some(2), 1),
        "{changed:#}"
    );
    assert_eq!(changed["changes"][0]["old"], "denied by no-vacuum");
    assert_eq!(changed["changes"][0]["new"], "allowed by commands");
}

#[test]
fn a_policy_that_fits_no_record_is_logged_by_its_digest_and_bundles_carry_it() {
    let log = Log::new();
    let rule = |n: u32| {
        format!("[[rules]]\nname = \"rule-{n}\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"tool-{n}.*\"\n")
    };
    let last = "[[rules]]\nname = \"commands\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"command\"\n";
    let rules: String = (0..900).map(rule).collect();
    log.desk.write("policy.toml", format!("language = \"counterfoil-policy/1\"\n{rules}{last}"));
    let checked = log.desk.json(&["policy", "check", "policy.toml"]);
    assert!(checked["warnings"][0].as_str().unwrap().contains("fits no record"), "{}", checked["warnings"]);
    let none = log.json(&["policy", "diff", "policy.toml", "policy.toml", "--past", "10"]);
    assert_eq!(none["asked"], 0, "the log has no run yet");
    log.good(&["policy", "set", "policy.toml", "--key", "keys/authority.key"]);
    assert_eq!(log.json(&["policy", "show"])["digest"], checked["digest"]);

    let run = log.trigger();
    log.desk.write("action.json", log.desk.good(&["gate", "action", "--", "echo", "done"]));
    log.good(&["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"]);
    assert_eq!(log.good(&["gate", "run", &run, "--", "echo", "done"]), "done\n");
    log.good(&["bundle", &run, "--out", "run.jsonl"]);
    let verified = log.desk.good(&["verify", "run.jsonl"]);
    assert!(verified.contains("1 executed as the policy allows"), "{verified}");

    let none = last.replace("command\"", "other\"");
    log.desk.write("none.toml", format!("language = \"counterfoil-policy/1\"\n{none}"));
    let changed = log.json(&["policy", "diff", "policy.toml", "none.toml", "--past", "10"]);
    assert_eq!((&changed["asked"], changed["changes"].as_array().unwrap().len()), (&1.into(), 1));
    assert_eq!(changed["changes"][0]["old"], "allowed by commands");
}
