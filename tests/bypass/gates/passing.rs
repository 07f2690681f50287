//! What passes `counterfoil mcp gate` besides calls: what a client reads, and what a server asks of its client, as the policy in force allows.

use crate::client::Client;
use crate::office::Office;
use serde_json::{Value, json};

const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "open"
effect = "allow"
uses = 1
match.all = [{tool = "box:resources/*"}, {argument = {path = "/uri", glob = "file:///open/*"}}]
[[rules]]
name = "roots"
effect = "allow"
uses = 1
match.any = [{tool = "box:roots/list"}, {tool = "box/read"}]
[[rules]]
name = "ask"
effect = "require"
uses = 1
window = "15m"
segregation = false
requirements = [{count = 1, surfaces = ["none", "terminal"]}]
match.any = [{tool = "box:sampling/createMessage"}, {tool = "box:completion/complete"}]
"#;

/// Everything is allowed.
const ALL: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "all"
effect = "allow"
uses = 1
match.always = true
"#;

impl Client {
    fn ask(&mut self, id: i64, method: &str, params: &Value) -> Value {
        let ask = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.say(&ask.to_string());
        self.answer(id)
    }

    /// Has the server ask its client for something.
    fn has_server_ask(&mut self, id: &str, method: &str, params: &Value) {
        let ask = json!({"id": id, "method": method, "params": params});
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/ask", "params": ask}).to_string());
    }
}

/// What the server was told in answer to a request of its own.
fn told(office: &Office, id: &str) -> Value {
    for _ in 0..400 {
        let heard = office.trace("heard");
        let mut lines = heard.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(told) = lines.find(|line| line["id"] == id && line["method"].is_null()) {
            return told;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{id} was not answered");
}

fn code(answer: &Value) -> &str {
    answer["error"]["data"]["code"].as_str().unwrap_or_else(|| panic!("no refusal: {answer}"))
}

#[test]
fn what_is_read_besides_calls_is_what_the_policy_allows() {
    let office = Office::with_box(POLICY);
    let mut client = office.client(&[]);
    let read = client.ask(1, "resources/read", &json!({"uri": "file:///open/a"}));
    assert_eq!(read["result"]["contents"][0]["text"], "kept", "{read}");
    client.ask(2, "resources/subscribe", &json!({"uri": "file:///open/b"}));
    for (id, method, params, refusal) in [
        (3, "resources/read", json!({"uri": "file:///shut/a"}), "policy-denied"),
        (4, "resources/subscribe", json!({"uri": "file:///shut/a"}), "policy-denied"),
        (5, "resources/read", json!({}), "policy-denied"),
        (6, "prompts/get", json!({"name": "greet"}), "policy-denied"),
        (7, "completion/complete", json!({"argument": {"name": "n", "value": "v"}}), "mcp-approval"),
        (
            8,
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": ["file:///open/a", "file:///shut/a"]}}),
            "policy-denied",
        ),
        (
            9,
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": "file:///shut/a"}}),
            "mcp-params",
        ),
    ] {
        let refused = client.ask(id, method, &params);
        assert_eq!(code(&refused), refusal, "{refused}");
    }
    let heard = office.trace("heard");
    assert!(!heard.contains("shut") && !heard.contains("greet") && !heard.contains("completion"), "{heard}");
    // What a person can do about it.
    let refused = client.ask(10, "completion/complete", &json!({}));
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(why.contains("ask of the policy wants; have a rule allow it or deny it"), "{why}");
    // A list of what can't be had is empty.
    let listed = client.ask(11, "resources/list", &json!({}));
    assert_eq!(listed["result"]["resources"].as_array().unwrap().len(), 1, "{listed}");
    let listed = client.ask(12, "prompts/list", &json!({}));
    assert_eq!(listed["result"], json!({"prompts": []}));
    assert_eq!(client.close(), Some(0));
}

#[test]
fn what_is_refused_besides_calls_is_on_record_once_with_its_number() {
    let office = Office::with_box(POLICY);
    let mut client = office.client(&[]);
    for id in 1..=20 {
        assert_eq!(
            code(&client.ask(id, "resources/read", &json!({"uri": "file:///shut/a"}))),
            "policy-denied"
        );
    }
    client.close();
    assert_eq!(office.log.good(&["gate", "settle"]), "no execution was open\n");
    let runs = office.log.json(&["runs"]);
    let runs: Vec<&str> =
        runs["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(runs.len(), 1, "one connection");
    let resumed = office.log.json(&["resume", runs[0]]);
    assert_eq!(resumed["refusals"], 20, "{resumed:#}");
}

#[test]
fn a_server_asks_its_client_for_what_the_policy_allows() {
    let office = Office::with_box(POLICY);
    let mut client = office.client(&[]);
    let capabilities = json!({"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}});
    let opened = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {"name": "t", "version": "0"}});
    client.ask(0, "initialize", &opened);
    let heard: Value = serde_json::from_str(office.trace("heard").lines().next().unwrap()).unwrap();
    assert_eq!(heard["params"]["capabilities"], json!({"roots": {"listChanged": true}}), "{heard}");
    client.has_server_ask("a", "roots/list", &json!({}));
    let asked = client.next();
    assert_eq!((&asked["id"], &asked["method"]), (&json!("a"), &json!("roots/list")));
    client.say(r#"{"jsonrpc":"2.0","id":"a","result":{"roots":[]}}"#);
    assert_eq!(told(&office, "a")["result"], json!({"roots": []}));
    client.has_server_ask("b", "sampling/createMessage", &json!({"messages": [], "maxTokens": 9}));
    assert_eq!(code(&told(&office, "b")), "mcp-approval");
    client.has_server_ask("c", "elicitation/create", &json!({"message": "Your password?"}));
    assert_eq!(code(&told(&office, "c")), "policy-denied");
    client.is_silent(200);
}

#[test]
fn a_server_asks_for_a_secret_through_what_the_client_reads() {
    let office = Office::with_box(POLICY);
    let mut client = office.client(&[]);
    let read = json!({"uri": "file:///open/a"});
    let password = json!({"method": "elicitation/create", "params": {"message": "Your password?"}});
    for (inputs, refusal) in [
        (json!({"p": password}), "policy-denied"),
        (json!({"r": {"method": "roots/list"}, "p": password}), "policy-denied"),
        (json!({"t": {"method": "tools/call", "params": {"name": "drop"}}}), "mcp-result"),
    ] {
        office.log.desk.write("box/inputs", inputs.to_string());
        let refused = client.ask(1, "resources/read", &read);
        assert_eq!(code(&refused), refusal, "{refused}");
    }
    office.log.desk.write("box/inputs", r#"{"r": {"method": "roots/list"}}"#);
    let asked = client.ask(2, "resources/read", &read);
    assert_eq!(asked["result"]["inputRequests"]["r"]["method"], "roots/list", "{asked}");
    // And by an error of the revision before, which has people open an address.
    std::fs::remove_file(office.log.desk.path("box/inputs")).unwrap();
    office.log.desk.write("box/address", "");
    let refused = client.ask(3, "resources/read", &read);
    assert!(code(&refused) == "mcp-result" && !refused.to_string().contains("http://x"), "{refused}");
}

#[test]
fn what_two_readers_could_read_otherwise_is_asked_of_no_client() {
    let office = Office::with_box(ALL);
    let mut client = office.client(&[]);
    client.has_server_ask("a", "elicitation/create", &json!({"message": "x", "n": 1.0}));
    let asked = client.next();
    assert_eq!(asked["params"], json!({"message": "x", "n": 1}), "as it was judged");
    for (id, params) in [("b", r#"{"message":"a","message":"b"}"#), ("c", r#"{"n":9007199254740993}"#)] {
        let raw =
            format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"elicitation/create","params":{params}}}"#);
        let ask = json!({"jsonrpc": "2.0", "method": "notifications/ask", "params": {"raw": raw}});
        client.say(&ask.to_string());
        assert_eq!(code(&told(&office, id)), "mcp-json");
    }
    client.is_silent(100);
}

#[test]
fn without_a_log_nothing_is_read_and_nobody_asked() {
    let office = Office::with_box(ALL);
    let mut client = office.client_of("http://127.0.0.1:9", &[]);
    let refused = client.ask(1, "resources/read", &json!({"uri": "file:///open/a"}));
    assert!(refused["error"]["code"] == -32600, "{refused}");
    client.has_server_ask("a", "roots/list", &json!({}));
    assert!(told(&office, "a")["error"].is_object());
    client.is_silent(100);
    assert!(!office.trace("heard").contains("resources/read"));
}

#[test]
fn what_a_rule_demands_of_executions_it_demands_of_what_passes_without_one() {
    let allow = "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"all\"\neffect = \"allow\"\nuses = 1\nmatch.always = true\n";
    for (demand, refusal) in [
        ("evidence = [\"witnessed\"]", "evidence-incomplete"),
        ("evidence = [\"completeness\"]", "evidence-incomplete"),
        ("preview = true", "preview-missing"),
    ] {
        let office = Office::with_box(&format!("{allow}{demand}\n"));
        let mut client = office.client(&[]);
        let refused = client.ask(1, "resources/read", &json!({"uri": "file:///open/a"}));
        assert_eq!(code(&refused), refusal, "{demand}: {refused}");
        assert!(!office.trace("heard").contains("resources/read"));
    }
}

#[test]
fn a_policy_that_is_put_in_force_counts_within_seconds() {
    let office = Office::with_box(ALL);
    let mut client = office.client(&[]);
    let read = json!({"uri": "file:///shut/a"});
    assert!(client.ask(1, "resources/read", &read)["result"].is_object());
    office.log.desk.write("policy.toml", POLICY);
    office.log.good(&["policy", "set", "policy.toml"]);
    std::thread::sleep(std::time::Duration::from_millis(5_100));
    assert_eq!(code(&client.ask(2, "resources/read", &read)), "policy-denied");
    assert_eq!(office.trace("heard").matches("resources/read").count(), 1);
}

#[test]
fn what_its_client_cancelled_before_it_was_judged_reaches_no_server() {
    let office = Office::with_box(ALL);
    let mut client = office.client(&[]);
    // The first request of a connection waits for the log.
    client.say(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///open/a"}}"#);
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    assert!(client.ask(2, "resources/read", &json!({"uri": "file:///open/b"}))["result"].is_object());
    let heard = office.trace("heard");
    assert!(!heard.contains("open/a") && !heard.contains("cancelled"), "{heard}");
}
