//! Calls of tools through `counterfoil mcp gate`, between a client that attacks and a server that leaves traces.

use serde_json::{Value, json};

use crate::{client::said, common, office::Office};

#[test]
fn approve_one_call_and_make_another() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "1s"]);
    client.call(1, "append", &json!({"text": "harmless"}));
    let run = office.run_that_is("open", 1);
    office.log.good(&["approve", &run, "--yes"]);
    // Other arguments, more of them, another spelling of the same name, another tool: each is another action.
    for (id, tool, arguments) in [
        (2, "append", json!({"text": "harmful"})),
        (3, "append", json!({"text": "harmless", "to": "elsewhere"})),
        (4, "append", json!({"TEXT": "harmless"})),
        (5, "drop", json!({"text": "harmless"})),
    ] {
        let result = client.call(id, tool, &arguments);
        assert_eq!(result["isError"], true, "{result}");
    }
    assert_eq!(office.trace("append"), "");
    let result = client.call(6, "append", &json!({"text": "harmless"}));
    assert_eq!(
        (office.outcome(&result).as_str(), office.trace("append").as_str()),
        ("succeeded", "harmless\n")
    );
}

#[test]
fn another_definition_of_a_tool_is_another_action() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "1s"]);
    client.call(1, "append", &json!({"text": "x"}));
    let run = office.run_that_is("open", 1);
    office.log.good(&["approve", &run, "--yes"]);
    office.log.desk.write("box/description", "And more.");
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/change"}"#);
    assert_eq!(client.next()["method"], "notifications/tools/list_changed");
    let held = client.call(2, "append", &json!({"text": "x"}));
    assert!(said(&held).starts_with("Not approved yet"), "{held}");
    assert_eq!((office.trace("append").as_str(), office.approvals("open").len()), ("", 1));
}

#[test]
fn what_its_client_cancelled_does_not_run_when_it_is_approved() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "20s"]);
    client.begin(1, "append", &json!({"text": "x"}));
    let run = office.run_that_is("open", 1);
    client.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    office.log.good(&["approve", &run, "--yes"]);
    client.is_silent(500);
    assert_eq!(office.trace("append"), "");
    // It is still approved, for whoever asks again.
    assert_eq!(said(&client.call(2, "append", &json!({"text": "x"}))), "done");
}

/// A gate whose end nobody saw was followed by one that did the same again.
#[test]
fn a_call_that_may_have_happened_is_not_done_again_until_somebody_says_what_became_of_it() {
    let office = Office::new();
    let text = |text: &str| json!({"text": text});
    // The server ends within the call, and so does the gate.
    let gone = office.client(&[]).call(1, "crash", &text("x"));
    assert_eq!(office.outcome(&gone), "unknown");
    let receipt = |result: &Value| result["_meta"]["counterfoil/receipt"].clone();
    let (run, mut client) = (receipt(&gone)["run"].as_str().unwrap().to_owned(), office.client(&[]));
    for id in 1..=2 {
        let again = client.call(id, "crash", &text("x"));
        assert_eq!((&again["isError"], &receipt(&again)["code"]), (&json!(true), &json!("outcome-unknown")));
        assert!(receipt(&again)["run"] == run && said(&again).contains("counterfoil settle"), "{again}");
    }
    assert_eq!(office.trace("crash"), "x\n");
    // Other arguments are another call, and so is the same once it is known how that ended.
    assert_eq!(said(&client.call(3, "read", &text("x"))), "done");
    office.log.good(&["settle", &run, "--status", "failed", "--effects", "none"]);
    let anew = client.call(4, "crash", &text("x"));
    assert!(receipt(&anew)["run"] != run && office.outcome(&anew) == "unknown", "{anew}");
    assert_eq!(office.trace("crash"), "x\nx\n");
    assert_eq!(office.each_run_convinces(), 3);
}

#[test]
fn a_call_of_a_killed_gate_is_not_done_again_by_the_next_nor_by_one_that_finds_no_notes_of_it() {
    let office = Office::new();
    let mut client = office.client(&[]);
    client.begin(1, "slow", &json!({"text": "x"}));
    office.wait_for("slow");
    client.gate.kill().unwrap();
    client.gate.wait().unwrap();
    let run = office.run_that_is("executing", 1);
    let notes = office.log.desk.path("gate");
    std::fs::rename(&notes, office.log.desk.path("kept")).unwrap();
    for status in ["executing", "unknown"] {
        let again = office.client(&[]).call(2, "slow", &json!({"text": "x"}));
        let receipt = &again["_meta"]["counterfoil/receipt"];
        assert_eq!((&receipt["code"], &receipt["run"]), (&json!("outcome-unknown"), &json!(run)), "{again}");
        assert_eq!(office.run_that_is(status, 1), run);
        // The next finds them.
        let _ = std::fs::remove_dir_all(&notes);
        let _ = std::fs::rename(office.log.desk.path("kept"), &notes);
    }
    assert_eq!(office.trace("slow"), "x\n");
}

/// What is too large for a record is committed to with new salts each time, so nothing earlier was found by it.
#[test]
fn large_arguments_join_what_waits_and_what_may_have_happened_before_their_gate_was_killed() {
    let office = Office::new();
    let large = |first: &str| json!({"text": "x", "content": format!("{first}{}", "y".repeat(20_000))});
    let mut client = office.client(&["--hold", "1s"]);
    client.call(1, "append", &large("a"));
    let gone = client.call(2, "crash", &large("a"));
    assert_eq!(office.outcome(&gone), "unknown");
    drop(client);
    let (waits, unknown) = (office.run_that_is("open", 1), office.run_that_is("unknown", 1));
    office.log.good(&["approve", &waits, "--yes"]);
    let mut client = office.client(&["--hold", "1s"]);
    // Other content is another call.
    let other = client.call(1, "append", &large("b"));
    assert!(other["_meta"]["counterfoil/receipt"]["run"] != json!(waits), "{other}");
    let approved = client.call(2, "append", &large("a"));
    assert_eq!((said(&approved), office.trace("append").as_str()), ("done", "x\n"));
    assert_eq!(approved["_meta"]["counterfoil/receipt"]["run"], json!(waits), "{approved}");
    let heard = office.trace("heard");
    let heard = heard.lines().rfind(|line| line.contains("\"append\"")).unwrap();
    let heard: Value = serde_json::from_str(heard).unwrap();
    assert_eq!(heard["params"]["arguments"], large("a"), "what was approved");
    let again = client.call(3, "crash", &large("a"));
    let receipt = &again["_meta"]["counterfoil/receipt"];
    assert_eq!((&receipt["code"], &receipt["run"]), (&json!("outcome-unknown"), &json!(unknown)), "{again}");
    assert_eq!(office.trace("crash"), "x\n");
    office.log.good(&["settle", &unknown, "--status", "failed", "--effects", "none"]);
    let anew = client.call(4, "crash", &large("a"));
    assert!(office.outcome(&anew) == "unknown" && office.trace("crash") == "x\nx\n", "{anew}");
}

#[test]
fn denied_calls_in_a_loop_are_one_refusal_on_record_however_often_the_gate_is_started() {
    let office = Office::new();
    let entries = || -> u64 {
        let answer = common::ask(&office.log.url, "GET", "/v1/log", b"").unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["size"].as_u64().unwrap()
    };
    let before = entries();
    let mut runs = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let mut client = office.client(&[]);
        for id in 1..=20 {
            let refused = client.call(id, "drop", &json!({}));
            assert!(said(&refused).contains("policy-denied"), "{refused}");
            runs.insert(refused["_meta"]["counterfoil/receipt"]["run"].as_str().unwrap().to_owned());
            // A tool that the server has not was refused on no record.
            client.begin(100 + id, "invented", &json!({"at": id}));
            assert_eq!(client.answer(100 + id)["error"]["data"]["code"], "tool-unknown");
        }
        client.close();
    }
    // For each connection a trigger and the first refusal of each kind, and perhaps a snapshot after each.
    assert!(entries() - before <= 12, "{} entries", entries() - before);
    assert_eq!(runs.len(), 2);
    assert_eq!(office.log.good(&["gate", "settle"]), "no execution was open\n");
    let counted: u64 =
        runs.iter().map(|run| office.log.json(&["resume", run])["refusals"].as_u64().unwrap()).sum();
    assert_eq!(counted, 80, "all are on record in the end");
}

#[test]
fn a_log_that_can_not_be_reached_lets_nothing_pass() {
    let office = Office::new();
    let mut client = office.client_of("http://127.0.0.1:9", &[]);
    let refused = client.call(1, "read", &json!({"text": "x"}));
    assert!(refused["isError"] == true && said(&refused).contains("Nothing was run"), "{refused}");
    assert!(!office.trace_path("read").exists());
}

#[test]
fn a_line_that_two_readers_could_read_otherwise_is_passed_to_nobody() {
    let office = Office::new();
    let mut client = office.client(&[]);
    let call = |id: i64, rest: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"read",{rest}}}}}"#)
    };
    let lines = [
        (format!("[{}]", call(1, r#""arguments":{}"#)), -32600, "mcp-batch"),
        (call(2, r#""arguments":{"text":"a","text":"b"}"#), -32600, "mcp-json"),
        (call(3, r#""arguments":{"text":"a"},"name":"drop""#), -32600, "mcp-json"),
        (call(4, r#""arguments":{"n":9007199254740993}"#), -32600, "mcp-json"),
        (call(5, r#""arguments":{"text":"\ud800"}"#), -32600, "mcp-json"),
        (call(6, r#""arguments":[]"#), -32602, "mcp-params"),
        (call(7, r#""task":{}"#), -32602, "mcp-params"),
        (call(8, r#""Arguments":{}"#), -32602, "mcp-params"),
        (
            call(9, "\"arguments\":{}").replace("\"method\"", "\"Method\":\"x\",\"method\""),
            -32600,
            "mcp-shape",
        ),
        (call(10, "\"arguments\":{}").replace("tools/call", "Tools/Call"), -32601, "mcp-method"),
        (call(11, "\"arguments\":{}").replace("tools/call", "tasks/list"), -32601, "mcp-method"),
        (r#"{"jsonrpc":"1.0","id":12,"method":"ping"}"#.to_owned(), -32600, "mcp-shape"),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#.to_owned(), -32600, "mcp-shape"),
        ("not json".to_owned(), -32700, "mcp-not-json"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(7 << 20)), -32600, "mcp-too-large"),
    ];
    for (line, number, code) in lines {
        client.say(&line);
        let answer = client.next();
        assert_eq!(
            (&answer["error"]["code"], &answer["error"]["data"]["code"]),
            (&json!(number), &json!(code)),
            "{answer}"
        );
    }
    assert!(!office.trace("heard").contains("tools/call"));
    // A method is the same however it is spelled, and an id is taken until it is answered.
    client.say(&call(20, r#""arguments":{"text":"x"}"#).replace("tools/call", "tools\\/call"));
    assert_eq!(said(&client.answer(20)["result"]), "done");
    client.begin(21, "slow", &json!({}));
    client.begin(21, "read", &json!({}));
    assert_eq!(client.answer(21)["error"]["data"]["code"], "mcp-id-reused");
    assert_eq!(said(&client.answer(21)["result"]), "done");
}
