//! Calls that their server answers with a question (2026-07-28, `input_required`): what is answered is a call of its own.

use crate::client::{Client, said};
use crate::office::Office;
use serde_json::{Value, json};

/// People are asked about everything but what `also` says.
fn policy(also: &str) -> String {
    let ask = "[[rules]]\nname = \"ask\"\neffect = \"require\"\nuses = 1\nwindow = \"15m\"\nsegregation = false\n\
               requirements = [{count = 1, surfaces = [\"none\", \"terminal\"]}]\nmatch.tool = \"box/confirm\"\n";
    format!(
        "language = \"counterfoil-policy/1\"\n{}{also}",
        if also.contains("box/confirm") { "" } else { ask }
    )
}

fn allow(name: &str, tool: &str) -> String {
    format!("[[rules]]\nname = \"{name}\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"{tool}\"\n")
}

impl Client {
    /// A call of a connection whose requests say who asks; `more` are parameters beside name and arguments.
    fn confirm(&mut self, id: i64, text: &str, more: &Value) -> Value {
        let mut params = json!({"name": "confirm", "arguments": {"text": text}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        }});
        for (name, value) in more.as_object().unwrap() {
            params[name] = value.clone();
        }
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
        self.answer(id)
    }
}

fn answered(text: &str) -> Value {
    json!({"inputResponses": {"sure": {"action": "accept", "content": {"yes": true}}}, "requestState": format!("state {text}")})
}

#[test]
fn what_a_client_answers_goes_on_as_a_call_of_its_own() {
    let office = Office::with_box(&policy(
        &(allow("confirm", "box/confirm") + &allow("asked", "box:elicitation/create")),
    ));
    let mut client = office.client(&[]);
    let first = client.confirm(1, "x", &json!({}))["result"].clone();
    assert_eq!(first["resultType"], "input_required", "{first}");
    assert_eq!(first["inputRequests"]["sure"]["params"]["message"], "Sure?");
    assert_eq!(first["requestState"], "state x");
    assert_eq!(office.outcome(&first), "failed", "what it did is not known, and it does no more");
    assert_eq!((office.trace("begun"), office.trace("confirm")), ("x\n".to_owned(), String::new()));
    let second = client.confirm(2, "x", &answered("x"))["result"].clone();
    assert_eq!((said(&second), office.outcome(&second).as_str()), ("done", "succeeded"));
    assert_eq!(office.trace("confirm"), "x\n");
    let runs =
        [&first, &second].map(|result| result["_meta"]["counterfoil/receipt"]["run"].as_str().unwrap());
    assert_ne!(runs[0], runs[1]);
    // The action binds what was answered, and the server was given exactly that.
    office.log.good(&["bundle", runs[1], "--out", "second.jsonl"]);
    let bundle = std::fs::read_to_string(office.log.desk.path("second.jsonl")).unwrap();
    for bound in ["counterfoil/inputResponses", "counterfoil/requestState"] {
        assert!(bundle.matches(bound).count() >= 2, "{bound} in proposal and execution: {bundle}");
    }
    assert!(office.trace("heard").contains(r#""requestState":"state x""#));
}

#[test]
fn approve_a_call_and_answer_its_question_otherwise() {
    let office = Office::with_box(&policy(&allow("asked", "box:elicitation/create")));
    let mut client = office.client(&["--hold", "1s", "--rounds", "0"]);
    let approve = || {
        let run = office.run_that_is("open", 1);
        office.log.good(&["approve", &run, "--yes"]);
    };
    assert!(said(&client.confirm(1, "x", &json!({}))["result"]).starts_with("Not approved yet"));
    approve();
    assert_eq!(client.confirm(2, "x", &json!({}))["result"]["resultType"], "input_required");
    // The approval was of the call without an answer: with one, people are asked about that.
    let held = client.confirm(3, "x", &answered("x"));
    assert!(said(&held["result"]).starts_with("Not approved yet"), "{held}");
    approve();
    let mut other = answered("x");
    other["inputResponses"]["sure"]["content"]["yes"] = json!("and all others");
    for (id, answer) in [(4, other), (5, answered("y")), (6, json!({"requestState": "state x"}))] {
        let held = client.confirm(id, "x", &answer);
        assert!(said(&held["result"]).starts_with("Not approved yet"), "{held}");
    }
    assert_eq!(office.trace("confirm"), "");
    assert_eq!(said(&client.confirm(7, "x", &answered("x"))["result"]), "done");
    assert_eq!((office.trace("begun"), office.trace("confirm")), ("x\n".to_owned(), "x\n".to_owned()));
}

#[test]
fn a_held_call_spans_requests_that_its_client_makes_by_itself_and_then_its_model_is_told() {
    let office = Office::with_box(&policy(&allow("asked", "box:elicitation/create")));
    let mut client = office.client(&["--hold", "1s", "--rounds", "2"]);
    let mut waiting = json!({});
    for id in 1..=2 {
        let held = client.confirm(id, "x", &waiting)["result"].clone();
        let receipt = &held["_meta"]["counterfoil/receipt"];
        assert_eq!((&held["resultType"], &receipt["status"]), (&json!("input_required"), &json!("held")));
        assert!(held.get("inputRequests").is_none() && receipt["review"].is_string(), "{held}");
        waiting = json!({"requestState": held["requestState"]});
    }
    let told = client.confirm(3, "x", &waiting);
    assert!(said(&told["result"]).starts_with("Not approved yet"), "{told}");
    // All of that is one proposal, also for whoever comes back to another gate.
    let run = office.run_that_is("open", 1);
    drop(client);
    office.log.good(&["approve", &run, "--yes"]);
    let mut client = office.client(&["--hold", "1s", "--rounds", "2"]);
    let first = client.confirm(4, "x", &waiting)["result"].clone();
    assert_eq!((&first["requestState"], office.trace("begun").as_str()), (&json!("state x"), "x\n"));
    // What goes on with an answer goes on with it after having waited.
    let held = client.confirm(5, "x", &answered("x"))["result"].clone();
    let waiting = json!({"requestState": held["requestState"]});
    assert_eq!(held["_meta"]["counterfoil/receipt"]["status"], "held");
    let with_more = json!({"requestState": held["requestState"], "inputResponses": {"sure": {}}});
    let damaged = json!({"requestState": "counterfoil/held:{}"});
    for (id, wrong) in [(6, with_more), (7, damaged)] {
        let refused = client.confirm(id, "x", &wrong);
        assert_eq!(refused["error"]["data"]["code"], "mcp-params", "{refused}");
    }
    office.log.good(&["approve", &office.run_that_is("open", 1), "--yes"]);
    assert_eq!(said(&client.confirm(8, "x", &waiting)["result"]), "done");
    let heard = office.trace("heard");
    assert!(heard.lines().last().unwrap().contains(r#""requestState":"state x""#), "{heard}");
    assert_eq!(office.trace("confirm"), "x\n");
}

#[test]
fn a_question_that_the_policy_denies_is_put_to_nobody() {
    let office = Office::with_box(&policy(&allow("confirm", "box/confirm")));
    let mut client = office.client(&[]);
    let refused = client.confirm(1, "x", &json!({}))["result"].clone();
    assert_eq!((&refused["isError"], &refused["resultType"]), (&json!(true), &json!("complete")));
    assert!(said(&refused).contains("policy-denied: box:elicitation/create"), "{refused}");
    assert!(!refused.to_string().contains("Sure?"), "{refused}");
    // Once that is known, the server is not told that it could ask.
    client.confirm(2, "y", &json!({}));
    let heard = office.trace("heard");
    let said: Vec<bool> = heard
        .lines()
        .filter(|line| line.contains("tools/call"))
        .map(|line| line.contains(r#""io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}"#))
        .collect();
    assert_eq!(said, [true, false], "{heard}");
    assert_eq!(office.outcome(&refused), "failed");
}

#[test]
fn an_argument_passes_for_what_was_answered() {
    let office = Office::with_box(&policy(
        &(allow("confirm", "box/confirm") + &allow("asked", "box:elicitation/create")),
    ));
    let mut client = office.client(&[]);
    for (id, more) in [
        (1, json!({"arguments": {"counterfoil/inputResponses": {}}})),
        (2, json!({"arguments": {"counterfoil/requestState": "sha256:"}})),
        (3, json!({"inputResponses": []})),
        (4, json!({"requestState": 1})),
    ] {
        let refused = client.confirm(id, "x", &more);
        assert_eq!(refused["error"]["data"]["code"], "mcp-params", "{refused}");
    }
    assert!(!office.trace("heard").contains("tools/call"));
}
