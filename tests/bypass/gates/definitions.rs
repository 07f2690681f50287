//! Policies that name how tools are defined: `counterfoil mcp tools` prints it, and what is defined otherwise is another tool to the rule.

use std::path::Path;

use crate::client::{Client, said};
use crate::office::Office;
use serde_json::{Value, json};

/// The policy before: everything is denied.
const NONE: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "none"
effect = "deny"
match.always = true
"#;

/// What `mcp tools` says of the server of these tests.
fn tools(office: &Office, options: &[&str]) -> String {
    let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/server.py");
    let python = std::env::var("COUNTERFOIL_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = format!("cd box && exec {python} {}", server.display());
    office.log.good(&[&["mcp", "tools", "--name", "box"], options, &["--", "sh", "-c", &script]].concat())
}

/// The same, for programs.
fn listed(office: &Office) -> Vec<Value> {
    let mut listed: Value = serde_json::from_str(&tools(office, &["--json"])).unwrap();
    serde_json::from_value(listed["tools"].take()).unwrap()
}

/// Puts a policy in force that allows tools as they are defined now, and where `else_ask`, asks people about all others.
fn allow_as_defined(office: &Office, else_ask: bool) {
    let allow = format!(
        "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"known\"\neffect = \"allow\"\nuses = 1\n{}",
        tools(office, &[])
    );
    // A rule that wants approvals counts beside one that allows, so it is about what is not known.
    let known: Vec<Value> = listed(office).into_iter().map(|tool| tool["definition"].clone()).collect();
    let ask = format!(
        "[[rules]]\nname = \"unknown\"\neffect = \"require\"\nuses = 1\nwindow = \"15m\"\nsegregation = false\n\
         requirements = [{{count = 1, surfaces = [\"none\", \"terminal\"]}}]\nmatch.not = {{definition = {}}}\n",
        json!(known)
    );
    office.log.desk.write("policy.toml", allow + if else_ask { &ask } else { "" });
    office.log.good(&["policy", "set", "policy.toml"]);
}

/// Has the server define its tools otherwise, and say so.
fn redefine(office: &Office, client: &mut Client) {
    office.log.desk.write("box/description", "And sends a copy elsewhere.");
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/change"}"#);
    assert_eq!(client.next()["method"], "notifications/tools/list_changed");
}

fn digest_of(office: &Office, tool: &str) -> String {
    let found = listed(office).into_iter().find(|one| one["tool"] == tool).unwrap();
    found["definition"].as_str().unwrap().to_owned()
}

#[test]
fn the_tools_of_a_server_are_printed_as_a_policy_names_them() {
    let office = Office::with_box(NONE);
    let printed = tools(&office, &[]);
    assert!(printed.starts_with("# The tools of box as they are defined now, 8 of them"), "{printed}");
    assert!(
        printed.contains(&format!("    \"{}\", # append\n", digest_of(&office, "box/append"))),
        "{printed}"
    );
    allow_as_defined(&office, false);
    // No call was made, and the server has ended.
    let heard = office.trace("heard");
    assert!(heard.contains("tools/list") && !heard.contains("tools/call"), "{heard}");
    // More than one matcher takes.
    office.log.desk.write("box/many", "");
    assert!(tools(&office, &[]).contains("  { any = [\n"));
    allow_as_defined(&office, false);
    let mut client = office.client(&[]);
    assert_eq!(said(&client.call(1, "tool-129", &json!({"text": "x"}))), "done");
    let failed = office.log.run(&["mcp", "tools", "--name", "box", "--", "true"]);
    assert!(failed.code != 0 && failed.stderr.contains("no-tools"), "{}", failed.stderr);
}

#[test]
fn a_tool_that_changes_its_definition_after_it_was_allowed() {
    let office = Office::with_box(NONE);
    allow_as_defined(&office, false);
    let mut client = office.client(&[]);
    let ran = client.call(1, "read", &json!({"text": "one"}));
    assert_eq!((said(&ran), office.outcome(&ran).as_str()), ("done", "succeeded"));
    redefine(&office, &mut client);
    let refused = client.call(2, "read", &json!({"text": "two"}));
    let digest = digest_of(&office, "box/read");
    assert!(said(&refused).contains("policy-denied") && said(&refused).contains(&digest), "{refused}");
    assert_eq!(office.trace("read"), "one\n");
    // Nor is it offered any more.
    client.say(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#);
    assert_eq!(client.answer(3)["result"]["tools"], json!([]));
    // As it was before it is allowed as before.
    std::fs::remove_file(office.log.desk.path("box/description")).unwrap();
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/change"}"#);
    client.next();
    assert_eq!(said(&client.call(4, "read", &json!({"text": "three"}))), "done");
}

#[test]
fn what_is_defined_otherwise_falls_to_the_rule_that_asks_people() {
    let office = Office::with_box(NONE);
    allow_as_defined(&office, true);
    let mut client = office.client(&["--hold", "1s"]);
    assert_eq!(said(&client.call(1, "read", &json!({"text": "one"}))), "done");
    redefine(&office, &mut client);
    let held = client.call(2, "read", &json!({"text": "two"}));
    let digest = digest_of(&office, "box/read");
    assert!(said(&held).starts_with("Not approved yet") && said(&held).contains(&digest), "{held}");
    let run = office.run_that_is("open", 1);
    office.log.good(&["approve", &run, "--yes"]);
    assert_eq!(said(&client.call(3, "read", &json!({"text": "two"}))), "done");
    assert_eq!(office.trace("read"), "one\ntwo\n");
}
