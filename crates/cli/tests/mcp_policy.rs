//! A gate that holds to one policy, and what a client hears of another one.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

#[path = "mcp/client.rs"]
mod client;
mod common;
mod office;

use std::time::Duration;

use client::said;
use office::Office;
use serde_json::{Value, json};

fn policy(name: &str, tools: &str) -> String {
    format!(
        "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"{name}\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"{tools}\"\n"
    )
}

fn digest(office: &Office, file: &str) -> String {
    office.log.json(&["policy", "check", file])["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_gate_that_holds_to_a_policy_lets_nothing_pass_under_another() {
    let office = Office::with_box(&policy("before", "box*"));
    office.log.desk.write("held.toml", policy("held", "box*"));
    let mut client = office.client(&["--policy", "held.toml"]);
    let refused = client.call(1, "read", &json!({"text": "one"}));
    for named in [
        "policy-differs",
        &digest(&office, "policy.toml"),
        &digest(&office, "held.toml"),
        "counterfoil policy set held.toml",
    ] {
        assert!(said(&refused).contains(named), "{named}: {refused}");
    }
    client.say(r#"{"jsonrpc":"2.0","id":2,"method":"resources/read","params":{"uri":"file:///open/a"}}"#);
    assert_eq!(client.answer(2)["error"]["data"]["code"], "policy-differs");
    client.say(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    assert_eq!(client.answer(3)["result"]["tools"], json!([]));
    assert_eq!(office.trace("read"), "");
    office.log.good(&["policy", "set", "held.toml"]);
    std::thread::sleep(Duration::from_millis(5_100));
    assert_eq!(said(&client.call(4, "read", &json!({"text": "two"}))), "done");
    // What is cached says that it passes; what is shown when it is to run counts.
    office.log.good(&["policy", "set", "policy.toml"]);
    let refused = client.call(5, "read", &json!({"text": "three"}));
    assert!(said(&refused).contains("policy-differs"), "{refused}");
    assert_eq!(office.trace("read"), "two\n");
}

/// Tools were listed that no call could have passed, and calls of them proposed.
#[test]
fn what_the_policy_wants_previewed_is_not_listed_and_a_call_of_it_says_why_it_is_refused() {
    let rule = |name: &str, rest: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"box/{name}\"\n{rest}"
        )
    };
    let rules = rule("read", "preview = true\n") + &rule("fail", "");
    let office = Office::with_box(&format!("language = \"counterfoil-policy/1\"\n{rules}"));
    let mut client = office.client(&[]);
    client.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let listed = client.answer(1)["result"]["tools"].clone();
    assert_eq!((listed[0]["name"].as_str(), listed[1].is_null()), (Some("fail"), true), "{listed}");
    let refused = client.call(2, "read", &json!({}));
    assert_eq!(refused["_meta"]["counterfoil/receipt"]["code"], "preview-missing");
    assert!(said(&refused).contains("a call through MCP has none"), "{refused}");
    for status in ["open", "approved"] {
        assert!(office.approvals(status).is_empty(), "it was proposed");
    }
}

#[test]
fn a_client_hears_that_another_policy_shows_other_tools() {
    let office = Office::with_box(&policy("before", "box/*"));
    let mut client = office.client(&[]);
    client.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#);
    assert_eq!(client.answer(0)["result"]["capabilities"]["tools"], json!({"listChanged": true}));
    let mut list = |id: i64| -> Value {
        client.say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}).to_string());
        client.answer(id)["result"]["tools"].take()
    };
    assert_eq!(list(1).as_array().unwrap().len(), 8);
    office.log.desk.write("policy.toml", policy("after", "box/read"));
    office.log.good(&["policy", "set", "policy.toml"]);
    let told = client.lines.recv_timeout(Duration::from_secs(40)).unwrap();
    assert_eq!(told["method"], "notifications/tools/list_changed");
    client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).to_string());
    assert_eq!(client.answer(2)["result"]["tools"].as_array().unwrap().len(), 1);
}
