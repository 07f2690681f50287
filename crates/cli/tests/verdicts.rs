//! What a person sees of a verdict, and what a program does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

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
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @r#"
    run sha256:7a710445ae17dbf1ccf2232f8bff9fea83b010355a1b0e89fb1e58de968b36a9
    8 records, owned by fixer; 10 further entries for keys, policy and log time

      10  2026-01-01 00:00:11Z  trigger  gate (runtime)  monitor.example: 10
      11  2026-01-01 00:00:12Z  ├─ observation  scout (agent)  evidence: The disk of db-1 is full.
      12  2026-01-01 00:00:13Z  ├─ proposal  scout (agent)  db.vacuum → db-1, risk high, for gate, succeeded
      14  2026-01-01 00:00:15Z  │  ├─ decision  ana (human)  approve, 1 use until 2026-01-01 01:00:14Z
      15  2026-01-01 00:00:16Z  │  ├─ decision  bo (human)  approve, 1 use until 2026-01-01 01:00:15Z
      17  2026-01-01 00:00:18Z  │  └─ execution  gate (runtime)  use 1
      19  2026-01-01 00:00:20Z  │     └─ outcome  gate (runtime)  succeeded, effects complete
      20  2026-01-01 00:00:21Z  └─ handoff  scout (agent)  to fixer: Nothing left to do.

    * integrity     pass       18 records, every signature holds
    * authority     pass       8 records of the run, every signer entitled
    * conformity    pass       1 executed exactly as approved, as the runtime recorded it
    * inclusion     pass       in the tree of size 22, signed by counterfoil.example/log+3aa7b412
      completeness  not shown  under fold version 0 nothing shows that no record was left out
      witnessed     not shown  witness-quorum: the trust file names no witnesses (quorum none)
      freshness     not shown  checkpoint-stale: the trust file sets no max_age
    * required

    checkpoint of size 19, signed by counterfoil.example/log+3aa7b412
    checkpoint of size 22, signed by counterfoil.example/log+3aa7b412
    7 payloads disclosed and checked, 0 not disclosed

    shown: integrity, authority, conformity, inclusion
    [exit 0]
    "#);
}

#[test]
fn a_rejected_run_shows_no_conformity() {
    let (desk, ..) = desk(Scenario::rejected_run);
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @r#"
    run sha256:7a710445ae17dbf1ccf2232f8bff9fea83b010355a1b0e89fb1e58de968b36a9
    6 records, owned by fixer; 7 further entries for keys, policy and log time

      10  2026-01-01 00:00:11Z  trigger  gate (runtime)  monitor.example: 10
      11  2026-01-01 00:00:12Z  ├─ observation  scout (agent)  evidence: The disk of db-1 is full.
      12  2026-01-01 00:00:13Z  ├─ proposal  scout (agent)  db.drop → db-1, risk high, for gate, rejected
      14  2026-01-01 00:00:15Z  │  ├─ decision  ana (human)  reject
      16  2026-01-01 00:00:17Z  │  └─ refusal  gate (runtime)  proposal-ended
      17  2026-01-01 00:00:18Z  └─ handoff  scout (agent)  to fixer: Nothing left to do.

    * integrity     pass       13 records, every signature holds
    * authority     pass       6 records of the run, every signer entitled
    * conformity    not shown  nothing was executed
    * inclusion     pass       in the tree of size 19, signed by counterfoil.example/log+3aa7b412
      completeness  not shown  under fold version 0 nothing shows that no record was left out
      witnessed     not shown  witness-quorum: the trust file names no witnesses (quorum none)
      freshness     not shown  checkpoint-stale: the trust file sets no max_age
    * required

    checkpoint of size 19, signed by counterfoil.example/log+3aa7b412
    4 payloads disclosed and checked, 0 not disclosed

    not shown: conformity
    [exit 3]
    "#);
    let less = desk.run(&["verify", "run.jsonl", "--require", "integrity,authority,inclusion"]);
    assert_eq!(less.code, 0, "{}", less.stdout);
}

#[test]
fn one_word_changed() {
    let (desk, ..) = desk(Scenario::approved_run);
    desk.write("run.jsonl", desk.read("run.jsonl").replace("Make room.", "Make doom."));
    assert_snapshot!(desk.run(&["verify", "run.jsonl", "--at", "0"]).shown(), @r#"
    run sha256:7a710445ae17dbf1ccf2232f8bff9fea83b010355a1b0e89fb1e58de968b36a9
    8 records, owned by scout; 10 further entries for keys, policy and log time

      10  2026-01-01 00:00:11Z  trigger  gate (runtime)  monitor.example: 10
      11  2026-01-01 00:00:12Z  ├─ observation  scout (agent)  evidence: The disk of db-1 is full.
      12  2026-01-01 00:00:13Z  ├─ proposal  scout (agent)  db.vacuum → db-1, risk high, for gate  ✗ signature-invalid
      14  2026-01-01 00:00:15Z  ├─ decision  ana (human)  approve, 1 use until 2026-01-01 01:00:14Z  ✗ parent-unknown
      15  2026-01-01 00:00:16Z  ├─ decision  bo (human)  approve, 1 use until 2026-01-01 01:00:15Z  ✗ parent-unknown
      17  2026-01-01 00:00:18Z  ├─ execution  gate (runtime)  use 1  ✗ parent-unknown
      19  2026-01-01 00:00:20Z  │  └─ outcome  gate (runtime)  succeeded, effects complete  ✗ parent-unknown
      20  2026-01-01 00:00:21Z  └─ handoff  scout (agent)  to fixer: Nothing left to do.  ✗ parent-unknown

    * integrity     FAIL       signature-invalid: entry 12: sig: the signature does not verify over this record (key ed25519:YGLPsqGvbA_rkgCcFCBEp4UZ2kLXMXqLrwBHh5z_pwA)
    * authority     pass       2 records of the run, every signer entitled
    * conformity    not shown  nothing was executed
    * inclusion     FAIL       inclusion-mismatch: the records are not those of the signed tree: they give the root 76d1992b48d611a747de7d6f0d763520786144bbcb53eed8409baf9f5f850944, signed is 9d5deb61159fa04ab1c320cdbc22e18dbfe5d67c982d43db56d135ec33250aef
      completeness  not shown  under fold version 0 nothing shows that no record was left out
      witnessed     not shown  no checkpoint is shown to hold these records
      freshness     not shown  no checkpoint is shown to hold these records
    * required

    ✗ signature-invalid (R-SIG-01, integrity, entry 12) sha256:ecc52ab94ed3b16cf3af356f47e26807e3b48590209234b66b3d3e385e2cd8e9
        sig: the signature does not verify over this record (key ed25519:YGLPsqGvbA_rkgCcFCBEp4UZ2kLXMXqLrwBHh5z_pwA)
      → the record was changed after it was signed, or another key signed it: don't act on it

    ✗ parent-unknown (R-CHAIN-01, integrity, entry 14) sha256:e436bd0c366b996e403bb6c9593e718193174a0a486aded6a0c08251c627a1e2
        parents: sha256:e8413f2c84a1d31c3d046f715f6f75137f0cd424fc75fc3b1296fdcde0cc1422 is no earlier entry that holds
      → a record names another that is missing or not of this run: get the whole bundle from the log

    ✗ parent-unknown (R-CHAIN-01, integrity, entry 15) sha256:1cc240c3f11d8ded7bf2590e5fb77883ef2d8db7bf3f45770b80afaf514c2a68
        parents: sha256:e436bd0c366b996e403bb6c9593e718193174a0a486aded6a0c08251c627a1e2 is no earlier entry that holds
      → a record names another that is missing or not of this run: get the whole bundle from the log

    ✗ parent-unknown (R-CHAIN-01, integrity, entry 17) sha256:038576e9351eda7e607cb6834b1c773f143cfa0c8b1bb76147707530ac12adc8
        parents: sha256:1cc240c3f11d8ded7bf2590e5fb77883ef2d8db7bf3f45770b80afaf514c2a68 is no earlier entry that holds
      → a record names another that is missing or not of this run: get the whole bundle from the log

    ✗ parent-unknown (R-CHAIN-01, integrity, entry 19) sha256:f12e649faba7e78952bb6e5eb6298f035c0d69023fa7c39adbc35ce9e520f5a9
        parents: sha256:038576e9351eda7e607cb6834b1c773f143cfa0c8b1bb76147707530ac12adc8 is no earlier entry that holds
      → a record names another that is missing or not of this run: get the whole bundle from the log

    ✗ parent-unknown (R-CHAIN-01, integrity, entry 20) sha256:59ec2ea0ff1c22a63164bf67aed6f58a675e4b15763cbb54a42345d9ec55d7f4
        parents: sha256:f12e649faba7e78952bb6e5eb6298f035c0d69023fa7c39adbc35ce9e520f5a9 is no earlier entry that holds
      → a record names another that is missing or not of this run: get the whole bundle from the log

    ✗ inclusion-mismatch (R-INC-01, inclusion)
        the records are not those of the signed tree: they give the root 76d1992b48d611a747de7d6f0d763520786144bbcb53eed8409baf9f5f850944, signed is 9d5deb61159fa04ab1c320cdbc22e18dbfe5d67c982d43db56d135ec33250aef
      → the records are not those that the log signed: one was added, changed or removed; fetch the bundle again

    checkpoint of size 19, signed by counterfoil.example/log+3aa7b412
    checkpoint of size 22, signed by counterfoil.example/log+3aa7b412
    7 payloads disclosed and checked, 0 not disclosed

    VIOLATED: integrity, inclusion
    [exit 1]
    "#);
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
    assert_snapshot!(desk.run(&["resume", &run.to_string(), "--bundle", "run.jsonl"]).shown(), @r#"
    run sha256:7a710445ae17dbf1ccf2232f8bff9fea83b010355a1b0e89fb1e58de968b36a9
    owned by scout with ed25519:YGLPsqGvbA_rkgCcFCBEp4UZ2kLXMXqLrwBHh5z_pwA
    as of log time 2026-01-01 00:00:17Z, tree size 17

      10  2026-01-01 00:00:11Z  trigger  gate (runtime)  monitor.example: 10
      11  2026-01-01 00:00:12Z  ├─ observation  scout (agent)  evidence: The disk of db-1 is full.
      12  2026-01-01 00:00:13Z  └─ proposal  scout (agent)  db.vacuum → db-1, risk high, for gate, approved
      14  2026-01-01 00:00:15Z     ├─ decision  ana (human)  approve, 1 use until 2026-01-01 01:00:14Z
      15  2026-01-01 00:00:16Z     └─ decision  bo (human)  approve, 1 use until 2026-01-01 01:00:15Z

    proposal e0b72eb2  db.vacuum → db-1  approved  0 uses

    open e0b72eb2

    may follow
      execution    runtime gate about e0b72eb2  use 1, exactly the approved action
      decision     human about e0b72eb2  rejects it, and so ends it; the policy wants 2 humans of sre, neither requester nor runtime
      proposal     agent scout about e0b72eb2  revises it, with `supersedes`
      cancel       agent scout about e0b72eb2  withdraws it, or what is left of it
      observation  agent scout  evidence, triage, plan or note
      proposal     agent scout  asks for a new action
      handoff      agent scout  gives the run to another agent

      integrity     pass       12 records, every signature holds
      authority     pass       5 records of the run, every signer entitled
      inclusion     pass       in the tree of size 17, signed by counterfoil.example/log+3aa7b412
    [exit 0]
    "#);
}

#[test]
fn json_is_as_its_schema_says() {
    let schema = |name: &str| -> Value {
        let path = format!("{}/../../docs/schema/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let (verdict, resume) = (schema("verdict"), schema("resume"));
    let delegated_run = |scenario: &mut Scenario| {
        let body = counterfoil_testkit::delegation(&scenario.cast.scout, "db.*", 0);
        scenario.delegation = Some(scenario.ledger.add(&scenario.cast.root.clone(), None, body));
        scenario.approved_run()
    };
    for play in [Scenario::approved_run, Scenario::rejected_run, Scenario::revised_run, delegated_run] {
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
    assert!(
        page.contains("default-src 'none'") && !page.contains("<script") && !page.contains("<img"),
        "{page}"
    );
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
            required.iter().for_each(|name| {
                assert!(members.contains_key(name.as_str().unwrap()), "{at}: {name} is absent")
            });
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
        other => {
            assert!(schema.get("enum").is_some() || schema.get("const").is_some(), "{at}: type {other:?}")
        }
    }
}
