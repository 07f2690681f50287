//! What a person sees of a verdict, and what a program does.

mod common;

use common::Desk;
use counterfoil_receipt::RunId;
use counterfoil_testkit::Scenario;
use insta::assert_snapshot;
use serde_json::Value;

fn desk(play: impl FnOnce(&mut Scenario) -> RunId) -> (Desk, Scenario, RunId) {
    let desk = Desk::new();
    let mut scenario = Scenario::new();
    let run = play(&mut scenario);
    desk.write("trust.toml", scenario.ledger.trust().to_toml());
    desk.write("run.jsonl", scenario.ledger.bundle(run));
    (desk, scenario, run)
}

#[test]
fn an_approved_run() {
    let (desk, ..) = desk(Scenario::approved_run);
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @"");
}

#[test]
fn a_rejected_run_shows_no_conformity() {
    let (desk, ..) = desk(Scenario::rejected_run);
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @"");
    let less = desk.run(&["verify", "run.jsonl", "--require", "integrity,authority,inclusion"]);
    assert_eq!(less.code, 0, "{}", less.stdout);
}

#[test]
fn one_word_changed() {
    let (desk, ..) = desk(Scenario::approved_run);
    desk.write("run.jsonl", desk.read("run.jsonl").replace("Make room.", "Make doom."));
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @"");
}

#[test]
fn another_log() {
    let (desk, ..) = desk(Scenario::approved_run);
    let trust = desk.read("trust.toml");
    let at = trust.find("sha256:").unwrap();
    let other = format!("{}{}{}", &trust[..at + 7], "0".repeat(64), &trust[at + 71..]);
    desk.write("trust.toml", other);
    let ran = desk.run(&["verify", "run.jsonl", "--at", "0"]);
    assert_eq!(ran.code, 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("✗ genesis-not-pinned (R-TRUST-01, inclusion)"), "{}", ran.stdout);
}

#[test]
fn where_a_run_stands() {
    let (desk, _, run) = desk(|scenario| {
        let run = scenario.trigger();
        scenario.observe(run);
        let action = counterfoil_testkit::action("db.vacuum", serde_json::json!({"full": true}));
        let proposal = scenario.propose(run, action);
        scenario.approve(run, proposal);
        run
    });
    assert_snapshot!(desk.run(&["resume", &run.to_string(), "--bundle", "run.jsonl"]).shown(), @"");
}

#[test]
fn json_is_as_its_schema_says() {
    let schema = |name: &str| -> Value {
        let path = format!("{}/../../docs/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (verdict, resume) = (schema("verdict"), schema("resume"));
    for play in [Scenario::approved_run, Scenario::rejected_run, Scenario::revised_run] {
        let (desk, _, run) = desk(play);
        let forged = desk.read("run.jsonl").replace("\"high\"", "\"low\"");
        assert_ne!(forged, desk.read("run.jsonl"));
        desk.write("forged.jsonl", forged);
        desk.write("cut.jsonl", &desk.read("run.jsonl")[..2_000]);
        desk.write("no.jsonl", "no\n");
        for name in ["run.jsonl", "forged.jsonl", "cut.jsonl", "no.jsonl"] {
            let ran = desk.run(&["verify", name, "--json"]);
            let json: Value = serde_json::from_str(&ran.stdout).unwrap();
            assert_eq!(json["exit_code"], ran.code, "{name}");
            fits(&json, &verdict, &verdict, "verdict");
        }
        let ran = desk.run(&["resume", &run.to_string(), "--bundle", "run.jsonl", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        fits(&serde_json::from_str(&ran.stdout).unwrap(), &resume, &resume, "resume");
    }
}

#[test]
fn a_report_carries_no_script_and_escapes_what_records_say() {
    let (desk, ..) = desk(|scenario| {
        let run = scenario.trigger();
        let action = counterfoil_testkit::action(
            "<script>alert(1)</script>",
            serde_json::json!({"patch": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+</pre><img src=x onerror=alert(2)>\n"}),
        );
        scenario.propose(run, action);
        run
    });
    let ran = desk.run(&["verify", "run.jsonl", "--report", "report.html"]);
    assert_eq!(ran.code, 3, "{}", ran.stdout);
    let page = desk.read("report.html");
    assert!(page.contains("default-src 'none'") && !page.contains("<script") && !page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)") && page.contains("<span class=\"added\">"), "{page}");
    assert!(page.contains("counterfoil verify run.jsonl --trust trust.toml"));
}

/// The part of JSON Schema that the two schemas use.
fn fits(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        return fits(value, &root["$defs"][name.rsplit('/').next().unwrap()], root, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let other = if value.is_null() { 1 } else { 0 };
        return fits(value, &any[other], root, at);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value}");
    }
    if let Some(word) = schema.get("const") {
        assert_eq!(value, word, "{at}");
    }
    match schema["type"].as_str() {
        Some("object") => {
            let members = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
            let Some(properties) = schema["properties"].as_object() else { return };
            let required = schema["required"].as_array().unwrap();
            required.iter().for_each(|name| assert!(members.contains_key(name.as_str().unwrap()), "{at}: {name} is absent"));
            for (name, member) in members {
                let schema = properties.get(name).unwrap_or_else(|| panic!("{at}: {name} is unknown"));
                fits(member, schema, root, &format!("{at}.{name}"));
            }
        }
        Some("array") => {
            let elements = value.as_array().unwrap_or_else(|| panic!("{at}: {value} is no array"));
            elements.iter().for_each(|element| fits(element, &schema["items"], root, at));
        }
        Some("string") => assert!(value.is_string(), "{at}: {value}"),
        Some("integer") => assert!(value.is_u64(), "{at}: {value}"),
        Some("boolean") => assert!(value.is_boolean(), "{at}: {value}"),
        Some("null") => assert!(value.is_null(), "{at}: {value}"),
        other => assert!(schema.get("enum").is_some() || schema.get("const").is_some(), "{at}: type {other:?}"),
    }
}
