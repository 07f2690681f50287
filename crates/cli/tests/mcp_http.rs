//! `counterfoil mcp gate --listen` between clients of these tests and a server that leaves traces, on sockets: what is allowed, refused,
//! held, given up, what is left when somebody goes, and what is not let in.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
#[path = "mcp_http/net.rs"]
mod net;
mod office;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use net::{Asking, Net, call, said};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

#[test]
fn what_the_policy_allows_runs_in_both_revisions_and_what_it_denies_does_not() {
    let net = Net::new();
    let gate = net.gate(&[]);
    for client in [gate.session(), gate.without_session()] {
        let name = if client.is_new { "new" } else { "old" };
        let listed = client.ask(1, "tools/list", json!({}));
        let tools = listed.message()["result"]["tools"].clone();
        let names: Vec<_> = tools.as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect();
        assert!(names.contains(&json!("read")) && !names.contains(&json!("drop")), "{names:?}");
        let answered = client.call(2, "read", &json!({"text": name, "n": 1.0}));
        assert_eq!((answered.status, answered.kind.as_str()), (200, "application/json"));
        let message = answered.message();
        assert_eq!((said(&message["result"]), &message["id"]), ("done", &json!(2)));
        assert_eq!(net.office.outcome(&message["result"]), "succeeded");
        assert!(answered.text.contains("9007199254740993"), "{}", answered.text);
        let refused = client.call(3, "drop", &json!({"text": name}));
        assert!(said(&refused.message()["result"]).contains("policy-denied"), "{}", refused.text);
        let failed = client.call(4, "fail", &json!({}));
        assert_eq!(net.office.outcome(&failed.message()["result"]), "failed");
    }
    assert_eq!((net.trace("read"), net.trace("drop")), ("old\nnew\n".to_owned(), String::new()));
    // The server was given what was judged, and in headers what the body says.
    let heard = net.heard("tools/call");
    assert_eq!(heard[0]["body"]["params"]["arguments"], json!({"n": 1, "text": "old"}));
    let new = heard.iter().find(|one| one["body"]["params"]["arguments"]["text"] == "new").unwrap();
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "read"),
        ("mcp-param-text", "new"),
    ] {
        assert_eq!(new["headers"][name], value, "{new}");
    }
    assert_eq!(new["headers"]["mcp-session-id"], Value::Null);
    assert_eq!(heard[0]["headers"]["mcp-protocol-version"], "2025-11-25");
    // Ids of clients are theirs, and equal ones are two.
    assert_ne!(heard[0]["body"]["id"], new["body"]["id"]);
}

#[test]
fn what_people_approve_runs_once_for_whoever_asks_again_in_another_session() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "1s", "--rounds", "0"]);
    let text = json!({"text": "approved"});
    let held = gate.session().call(1, "append", &text).message();
    assert!(said(&held["result"]).starts_with("Not approved yet"), "{held}");
    let run = net.office.run_that_is("open", 1);
    let again = gate.session().call(1, "append", &text).message();
    assert_eq!(net.office.approvals("open").len(), 1, "{again}");
    gate.without_session().call(1, "append", &text);
    assert_eq!(net.office.approvals("open").len(), 1);
    net.office.log.good(&["approve", &run, "--yes"]);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(net.trace("append"), "", "nothing runs that nobody waits for");
    let last = gate.session();
    let ran = last.call(1, "append", &text).message();
    assert_eq!((said(&ran["result"]), net.office.outcome(&ran["result"]).as_str()), ("done", "succeeded"));
    // What was approved once is used up, for whoever waited for it as well.
    let first = gate.without_session().call(2, "append", &text).message();
    assert!(said(&first["result"]).starts_with("Not approved yet"), "{first}");
    assert_eq!((net.trace("append"), net.office.approvals("open").len()), ("approved\n".to_owned(), 1));
}

#[test]
fn a_client_without_a_session_comes_back_by_itself_to_go_on_waiting() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "1s", "--rounds", "1"]);
    let client = gate.without_session();
    let held = client.call(1, "append", &json!({"text": "patient"})).message()["result"].clone();
    assert_eq!(held["resultType"], "input_required", "{held}");
    net.office.log.good(&["approve", &net.office.run_that_is("open", 1), "--yes"]);
    let params =
        json!({"name": "append", "arguments": {"text": "patient"}, "requestState": held["requestState"]});
    let ran = client.ask(2, "tools/call", params).message();
    assert_eq!((said(&ran["result"]), net.trace("append").as_str()), ("done", "patient\n"), "{ran}");
}

#[test]
fn a_decision_reaches_the_exchange_that_waits_for_it() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "20s"]);
    for client in [gate.session(), gate.without_session()] {
        let mut waiting = client.begin(1, "append", &json!({"text": "yes"}));
        let run = net.office.run_that_is("open", 1);
        net.office.log.good(&["approve", &run, "--yes"]);
        let ran = waiting.end();
        assert_eq!(said(&ran["result"]), "done", "{ran}");
        let mut waiting = client.begin(2, "append", &json!({"text": "no"}));
        let run = net.office.run_that_is("open", 1);
        net.office.log.good(&["reject", &run, "--yes"]);
        let refused = waiting.end();
        assert!(said(&refused["result"]).contains("proposal-ended"), "{refused}");
    }
    assert_eq!(net.trace("append"), "yes\nyes\n");
}

#[test]
fn equal_calls_at_one_moment_are_one_proposal_and_each_is_answered() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "3s", "--rounds", "0"]);
    let client = gate.without_session();
    for round in 0..4 {
        let text = json!({"text": format!("round {round}")});
        let waiting: Vec<_> = (0..24).map(|_| client.begin(1, "append", &text)).collect();
        for mut one in waiting {
            let answer = one.end();
            let text = answer["result"]["content"][0]["text"].as_str();
            assert!(text.is_some_and(|text| text.starts_with("Not approved yet")), "{answer}");
        }
        assert_eq!(net.office.approvals("open").len(), round + 1);
    }
}

#[test]
fn who_waits_long_is_answered_with_a_stream_and_told_that_it_waits() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "14s", "--rounds", "0"]);
    let client = gate.without_session();
    let params = json!({"name": "append", "arguments": {"text": "x"}, "_meta": {"progressToken": "mine"}});
    let answered = client.ask("one", "tools/call", params);
    assert_eq!(answered.kind, "text/event-stream");
    let told = answered.messages();
    assert_eq!(told[0]["params"]["progressToken"], "mine", "{told:?}");
    assert!(told[0]["params"]["message"].as_str().unwrap().contains("waits for approval"), "{told:?}");
    let last = told.last().unwrap();
    assert!(last["id"] == "one" && said(&last["result"]).starts_with("Not approved yet"), "{last}");
}

#[test]
fn what_its_client_gave_up_by_closing_does_not_run_when_it_is_approved() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "20s"]);
    for (at, client) in [gate.session(), gate.without_session()].into_iter().enumerate() {
        let text = json!({"text": format!("x{at}")});
        let waiting = client.begin(1, "append", &text);
        let run = net.office.run_that_is("open", 1);
        // Before its answer begins, and once it is a stream that says nothing.
        thread::sleep(Duration::from_millis(if at == 1 { 3_000 } else { 0 }));
        drop(waiting);
        thread::sleep(Duration::from_millis(500));
        net.office.log.good(&["approve", &run, "--yes"]);
        thread::sleep(Duration::from_millis(700));
        assert!(!net.trace("append").contains(&format!("x{at}")));
        // It is still approved, for whoever asks again.
        assert_eq!(said(&client.call(1, "append", &text).message()["result"]), "done");
    }
    // In a session it may also be said.
    let client = gate.session();
    let mut waiting = client.begin("one", "append", &json!({"text": "said"}));
    let run = net.office.run_that_is("open", 1);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "one"}});
    assert_eq!(client.post(&told).status, 202);
    net.office.log.good(&["approve", &run, "--yes"]);
    assert!(waiting.is_silent(Duration::from_millis(700)));
    assert!(!net.trace("append").contains("said"));
}

#[test]
fn what_its_client_gave_up_while_it_ran_is_unknown_and_ended() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let client = gate.without_session();
    let waiting = client.begin(1, "slow", &json!({"text": "x"}));
    net.wait_for("slow");
    drop(waiting);
    net.office.run_that_is("unknown", 1);
    net.wait_for("call-closed");
    assert_eq!(net.trace("slow"), "x\n");
}

#[test]
fn progress_goes_to_the_exchange_that_asked_for_it_under_its_own_name() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let (one, other) = (gate.without_session(), gate.without_session());
    let slow = |client: &Asking, text: &str| {
        let params = json!({"name": "slow", "arguments": {"text": text}, "_meta": {"progressToken": text}});
        client.ask(7, "tools/call", params)
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| slow(&one, "a"));
        let second = slow(&other, "b");
        (first.join().unwrap(), second)
    });
    for (answered, own) in [(first, "a"), (second, "b")] {
        let told = answered.messages();
        let (last, progress) = told.split_last().unwrap();
        let is_own = |one: &&Value| one["params"]["progressToken"] == own;
        assert_eq!((progress.len(), progress.iter().filter(is_own).count()), (40, 40), "{told:?}");
        assert!(last["id"] == 7 && net.office.outcome(&last["result"]) == "succeeded", "{last}");
    }
}

#[test]
fn whatever_is_no_answer_leaves_a_call_unknown_and_is_not_repeated() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let tools = [
        "status400",
        "status401",
        "status403",
        "status404",
        "status500",
        "status302",
        "silent",
        "garbage",
        "half",
        "other",
        "large",
    ];
    for (at, tool) in tools.iter().enumerate() {
        // A status of 404 ends its session.
        let client = if at % 2 == 1 { gate.session() } else { gate.without_session() };
        let result = client.call(1, tool, &json!({"text": "x"})).message()["result"].clone();
        assert_eq!(result["isError"], true, "{tool}: {result}");
        assert_eq!(net.office.outcome(&result), "unknown", "{tool}");
        // The same call again, in the same session or another, is not sent.
        for client in [client, gate.without_session()] {
            let client = if *tool == "status404" { gate.session() } else { client };
            let again = client.call(2, tool, &json!({"text": "x"})).message()["result"].clone();
            let receipt = &again["_meta"]["counterfoil/receipt"];
            assert_eq!(receipt["code"], "outcome-unknown", "{tool}: {again}");
            assert_eq!(receipt["run"], result["_meta"]["counterfoil/receipt"]["run"]);
        }
        assert_eq!(net.trace(tool), "x\n", "{tool}");
    }
    assert_eq!(net.heard("tools/call").len(), tools.len());
}

#[test]
fn a_server_that_dies_within_a_call_leaves_it_unknown_and_one_that_is_not_there_was_asked_nothing() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let client = gate.without_session();
    client.call(1, "read", &json!({}));
    let gone = client.call(2, "crash", &json!({"text": "x"}));
    let gone = gone.messages().pop().unwrap();
    assert_eq!(net.office.outcome(&gone["result"]), "unknown");
    assert!(said(&gone["result"]).contains("the server's stream"), "{gone}");
    let away = client.call(3, "read", &json!({})).message();
    assert_eq!(net.office.outcome(&away["result"]), "failed", "nothing was sent");
    assert!(said(&away["result"]).contains("not reached"), "{away}");
    let listed = client.ask(4, "tools/list", json!({}));
    assert_eq!((listed.status, &listed.message()["error"]["data"]["code"]), (502, &json!("mcp-upstream")));
}

#[test]
fn a_gate_that_is_killed_leaves_what_is_held_to_the_next() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "20s"]);
    let client = gate.session();
    let waiting = client.begin(1, "append", &json!({"text": "x"}));
    let run = net.office.run_that_is("open", 1);
    drop((gate, waiting));
    net.office.log.good(&["approve", &run, "--yes"]);
    let gate = net.gate(&["--hold", "1s", "--rounds", "0"]);
    // Sessions are the old gate's.
    let old = Asking { url: gate.url.clone(), ..client };
    assert_eq!(old.ask(2, "tools/list", json!({})).status, 404);
    let ran = gate.session().call(1, "append", &json!({"text": "x"})).message();
    assert_eq!(said(&ran["result"]), "done");
    assert_eq!((net.trace("append"), net.office.approvals("open").len()), ("x\n".to_owned(), 0));
}

#[test]
fn a_gate_that_is_told_to_end_records_what_runs_as_unknown() {
    let net = Net::new();
    let mut gate = net.gate(&[]);
    let client = gate.session();
    let _waiting = client.begin(1, "slow", &json!({"text": "x"}));
    net.wait_for("slow");
    kill_process(Pid::from_child(&gate.child), Signal::TERM).unwrap();
    let began = Instant::now();
    assert_eq!(gate.child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((net.office.approvals("unknown").len(), net.office.approvals("executing").len()), (1, 0));
}

/// What ran in a session that its client ended was of no connection that was open when the gate ended.
#[test]
fn a_gate_that_is_told_to_end_records_what_runs_in_a_session_that_ended_before() {
    let net = Net::new();
    let mut gate = net.gate(&[]);
    let client = gate.session();
    let mut waiting = client.begin(1, "slow", &json!({"text": "x"}));
    net.wait_for("slow");
    assert_eq!(client.delete().status, 204);
    assert_eq!(waiting.end()["error"]["data"]["code"], "mcp-ended", "its client need not wait for it");
    kill_process(Pid::from_child(&gate.child), Signal::TERM).unwrap();
    assert_eq!(gate.child.wait().unwrap().code(), Some(0));
    assert_eq!((net.office.approvals("unknown").len(), net.office.approvals("executing").len()), (1, 0));
}

#[test]
fn a_session_has_a_stream_of_what_its_server_says_by_itself_and_an_end() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let client = gate.session();
    let mut stream = client.listen();
    assert_eq!(stream.next().unwrap()["params"]["data"], "by itself");
    assert_eq!(client.get().status, 409, "one stream a session");
    // A request of the server comes with the call that it belongs to, and the answer goes back.
    let mut waiting = client.begin(1, "asks", &json!({}));
    let asked = waiting.next().unwrap();
    assert_eq!((&asked["method"], &asked["id"]), (&json!("roots/list"), &json!("s1")));
    assert_eq!(client.post(&json!({"jsonrpc": "2.0", "id": "s1", "result": {"roots": []}})).status, 202);
    assert_eq!(net.heard_all().iter().filter(|one| one["body"]["id"] == "s1").count(), 1);
    assert_eq!(said(&waiting.end()["result"]), "done");
    assert_eq!(client.delete().status, 204);
    net.wait_for("stream-closed");
    assert_eq!(client.ask(2, "tools/list", json!({})).status, 404);
    let until = Instant::now() + office::PATIENCE;
    while !net.heard_all().iter().any(|one| one["http"] == "DELETE") {
        assert!(Instant::now() < until, "the server is told");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Of all sessions of a gate the first that looked was told, and nobody under 2026-07-28.
#[test]
fn each_client_hears_that_another_policy_shows_other_tools() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let (one, other, new) = (gate.session(), gate.session(), gate.without_session());
    let mut streams = [one.listen(), other.listen()];
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap()["params"]["data"], "by itself");
    }
    let wanted = [json!({"toolsListChanged": true}), json!({"toolsListChanged": true}), json!({})];
    let mut subscriptions = wanted.each_ref().map(|wanted| new.subscribe("mine", wanted));
    for (subscription, wanted) in subscriptions.iter_mut().zip(&wanted) {
        let acknowledged = subscription.next().unwrap();
        let params =
            json!({"_meta": {"io.modelcontextprotocol/subscriptionId": "mine"}, "notifications": wanted});
        assert_eq!(acknowledged["params"], params, "{acknowledged}");
    }
    for client in [&one, &other, &new] {
        client.ask(1, "tools/list", json!({}));
    }
    let policy = net::POLICY.replace("{tool = \"box/read\"}, ", "");
    net.office.log.desk.write("policy.toml", policy);
    net.office.log.good(&["policy", "set", "policy.toml"]);
    let [first, second, silent] = &mut subscriptions;
    for stream in streams.iter_mut().chain([first, second]) {
        assert_eq!(stream.next().unwrap()["method"], "notifications/tools/list_changed");
    }
    assert!(silent.is_silent(Duration::from_millis(300)), "who did not ask is not told");
    let again = new.subscribe("next", &json!({"toolsListChanged": true}));
    drop((again, subscriptions));
    net.wait_for("subscription-closed");
}

#[test]
fn a_session_that_the_server_forgot_is_over() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let client = gate.session();
    net.write("forgotten", "");
    assert_eq!(client.ask(1, "tools/list", json!({})).status, 404);
    std::fs::remove_file(net.path("forgotten")).unwrap();
    assert_eq!(client.ask(2, "tools/list", json!({})).status, 404, "it begins anew, under another name");
    assert_eq!(said(&gate.session().call(1, "read", &json!({})).message()["result"]), "done");
}

#[test]
fn what_a_client_shows_goes_to_the_server_and_what_else_it_sends_does_not() {
    let net = Net::new();
    net.write("unauthorized", "");
    let gate = net.gate(&[]);
    let mut client = gate.without_session();
    let asked = client.ask(1, "tools/list", json!({}));
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").unwrap().contains("https://a.example/meta"));
    client.headers.extend([("Authorization", "Bearer one"), ("Cookie", "a=b"), ("X-Forwarded-For", "::1")]);
    assert_eq!(client.ask(1, "tools/list", json!({})).status, 200);
    let heard = net.heard("tools/list").pop().unwrap();
    let names: Vec<&String> = heard["headers"].as_object().unwrap().keys().collect();
    assert_eq!(heard["headers"]["authorization"], "Bearer one");
    let known = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "mcp-method",
        "mcp-protocol-version",
        "user-agent",
    ];
    assert_eq!(names, known);
}

#[test]
fn a_gate_with_tokens_lends_the_servers_to_nobody_else_and_passes_on_none() {
    let net = Net::new();
    net.write("../gate-token", "of-the-gate\n");
    net.write("../server-token", "of-the-server\n");
    let tokens = ["--token-file", "gate-token", "--upstream-token-file", "server-token"];
    let refused = net.refused(&["--upstream-token-file", "server-token"]);
    assert!(refused.contains("would be lent the server's token"), "{refused}");
    let gate = net.gate(&tokens);
    let mut client = gate.without_session();
    for wrong in [None, Some("Bearer of-the-server"), Some("Basic of-the-gate"), Some("Bearer of-the-gate1")]
    {
        client.headers = wrong.map(|value| ("Authorization", value)).into_iter().collect();
        let asked = client.ask(1, "tools/list", json!({}));
        assert_eq!((asked.status, &asked.message()["error"]["data"]["code"]), (401, &json!("mcp-token")));
    }
    assert!(net.heard_all().is_empty());
    client.headers = vec![("Authorization", "Bearer of-the-gate")];
    assert_eq!(said(&client.call(1, "read", &json!({})).message()["result"]), "done");
    for heard in net.heard_all() {
        assert_eq!(heard["headers"]["authorization"], "Bearer of-the-server");
    }
}

#[test]
fn a_gate_serves_this_machine_unless_it_is_told_otherwise() {
    let net = Net::new();
    let refused = net.refused(&["--listen", "0.0.0.0:0"]);
    assert!(refused.contains("to be reached by other machines"), "{refused}");
    let refused = net.refused(&["--listen", "0.0.0.0:0", "--allow-remote", "gate.example"]);
    assert!(refused.contains("to be reached by other machines"), "without a token: {refused}");
    let refused = net.refused(&["--upstream", "http://files.example/mcp"]);
    assert!(refused.contains("without TLS"), "{refused}");
    let refused = net.refused(&["--allow-remote", "gate.example"]);
    assert!(
        refused.contains("to be reached by other machines"),
        "behind something that lets them in: {refused}"
    );
    net.write("../gate-token", "of-the-gate\n");
    let gate = net.gate(&["--allow-remote", "gate.example", "--token-file", "gate-token"]);
    let mut client = gate.without_session();
    client.headers = vec![("Authorization", "Bearer of-the-gate")];
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": client.meta()}});
    let with = |name: &'static str, value: &'static str| {
        let mut other = client.clone();
        other.headers.push((name, value));
        other.post(&list).status
    };
    for (name, value, status) in [
        ("Host", "evil.example", 403),
        ("Host", "127.0.0.1.evil.example", 403),
        ("Host", "localhost:1", 200),
        ("Host", "gate.example", 200),
        ("Origin", "http://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://localhost:3000", 200),
        ("Origin", "https://gate.example", 200),
    ] {
        assert_eq!(with(name, value), status, "{name}: {value}");
    }
}

/// It said that COMMAND is missing, which it does not take there.
#[test]
fn a_gate_that_listens_says_that_it_wants_the_address_of_a_server_and_no_command() {
    let desk = common::Desk::new();
    for (words, wanted, is_about_the_command) in [
        (&["--listen", "127.0.0.1:0"][..], "--upstream <URL>", false),
        (&["--listen", "127.0.0.1:0", "--", "server"], "cannot be used with", true),
        (&[], "<COMMAND>", true),
    ] {
        let words = [&["mcp", "gate", "--name", "box"][..], words].concat();
        let output = desk.command(&words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(wanted), "{said}");
        let (missing, _) = said.split_once("Usage:").unwrap_or((&said, ""));
        assert_eq!(missing.contains("COMMAND"), is_about_the_command, "{said}");
    }
}

#[test]
fn what_two_readers_could_read_otherwise_reaches_no_server() {
    let net = Net::new();
    let gate = net.gate(&[]);
    let client = gate.without_session();
    let meta = client.meta();
    let good = call(1, "read", &json!({}), Some(&meta));
    type Case<'c> = (&'c str, Vec<(&'c str, &'c str)>, u16, &'c str);
    let cases: [Case; 8] = [
        ("[]", vec![], 400, "mcp-batch"),
        ("{", vec![], 400, "mcp-not-json"),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, vec![], 400, "mcp-json"),
        (&good, vec![("Content-Type", "text/plain")], 415, "mcp-content-type"),
        (&good, vec![("Accept", "application/json")], 406, "mcp-accept"),
        (&good, vec![("Mcp-Name", "append")], 400, "mcp-header-mismatch"),
        (&good, vec![("Mcp-Method", "tools/list")], 400, "mcp-header-mismatch"),
        (&good, vec![("MCP-Protocol-Version", "2025-11-25")], 400, "mcp-header-mismatch"),
    ];
    for (body, headers, status, code) in cases {
        let answered = client.send("POST", body, &headers);
        let message = answered.message();
        assert_eq!((answered.status, &message["error"]["data"]["code"]), (status, &json!(code)), "{body}");
    }
    assert_eq!(client.send("PUT", &good, &[]).status, 405);
    let session = Asking { is_new: false, ..client.clone() };
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(session.send("POST", list, &[]).message()["error"]["data"]["code"], "mcp-session");
    assert_eq!(session.send("POST", list, &[("Mcp-Session-Id", "none")]).status, 404);
    assert_eq!(session.send("GET", "", &[("Accept", "text/event-stream")]).status, 400);
    let resumed = session.send("GET", "", &[("Accept", "text/event-stream"), ("Last-Event-ID", "1")]);
    assert_eq!(resumed.message()["error"]["data"]["code"], "mcp-resume");
    assert!(net.heard_all().is_empty(), "{:?}", net.heard_all());
    // What headers say of arguments is known once the tools are.
    let say = call(1, "read", &json!({"text": "Ω"}), Some(&meta));
    let param = |value| ("Mcp-Param-Text", value);
    for (headers, status) in
        [(vec![], 400), (vec![param("other")], 400), (vec![param("=?base64?zqk=?=")], 200)]
    {
        let answered = client.send("POST", &say, &headers);
        assert_eq!(answered.status, status, "{}", answered.text);
        assert_eq!(net.heard("tools/call").len(), usize::from(status == 200));
        let code = if status == 200 { Value::Null } else { json!("mcp-header-mismatch") };
        assert_eq!(answered.message()["error"]["data"]["code"], code);
    }
    let old = gate.session();
    let answered = old.send("POST", &call(1, "read", &json!({}), None), &[("Mcp-Param-Text", "x")]);
    assert_eq!((answered.status, net.heard("tools/call").len()), (400, 1), "also within a session");
    let answered = old.send("POST", &call(1, "read", &json!({"text": "x"}), None), &[]);
    assert_eq!((answered.status, net.heard("tools/call").len()), (200, 2), "where it may be missing");
    // A message is as large as one may be, and no larger.
    let of = |size: usize| {
        let empty = call(1, "drop", &json!({"other": ""}), Some(&meta)).len();
        call(1, "drop", &json!({"other": "x".repeat(size - empty)}), Some(&meta))
    };
    let most = counterfoil_mcp::limits::MESSAGE_BYTES;
    assert_eq!(client.send("POST", &of(most + 1), &[("Mcp-Name", "drop")]).status, 413);
    assert_ne!(client.send("POST", &of(most), &[("Mcp-Name", "drop")]).status, 413);
}

#[test]
fn there_are_as_many_sessions_as_there_may_be_and_the_one_that_is_idle_longest_makes_room() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "10m"]);
    let waits = gate.session();
    let mut waiting = waits.begin(1, "append", &json!({"text": "x"}));
    let run = net.office.run_that_is("open", 1);
    let most = counterfoil_mcp::limits::CONNECTIONS;
    let sessions: Vec<Asking> = (1..most).map(|_| gate.session()).collect();
    assert_eq!(sessions[0].ask(1, "tools/list", json!({})).status, 200, "at the limit");
    let next = gate.session();
    assert_eq!(sessions[1].ask(1, "tools/list", json!({})).status, 404, "over it");
    for client in [&sessions[0], &sessions[2], &next] {
        assert_eq!(client.ask(2, "tools/list", json!({})).status, 200);
    }
    net.office.log.good(&["approve", &run, "--yes"]);
    assert_eq!(said(&waiting.end()["result"]), "done", "one in which somebody waits is not idle");
}

/// One client could have all the exchanges of a gate, and its places were taken for as long as it liked.
#[test]
fn there_are_as_many_exchanges_as_there_may_be_a_share_for_each_client_and_who_closes_one_makes_room() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "10m"]);
    let one = gate.without_session();
    let [other, third] = [("Authorization", "Bearer a"), ("Authorization", "Bearer b")]
        .map(|shown| Asking { headers: vec![shown], ..gate.without_session() });
    let text = json!({"text": "all for one"});
    let (until, lists) = (Instant::now() + office::PATIENCE, || json!({}));
    let fill = |client: &Asking| {
        let most = counterfoil_mcp::limits::EXCHANGES_SHARE;
        let mut waiting: Vec<_> = (0..most).map(|_| client.begin(1, "append", &text)).collect();
        while client.ask(1, "tools/list", lists()).status != 503 {
            assert!(Instant::now() < until && waiting.len() < most + 8, "there is always room");
            thread::sleep(Duration::from_millis(50));
            // The place of the request before may have been taken when the last of them came.
            waiting.push(client.begin(1, "append", &text));
        }
        waiting
    };
    let mut waiting = fill(&one);
    net.office.run_that_is("open", 1);
    assert_eq!(other.ask(1, "tools/list", lists()).status, 200, "that is one client's share");
    let _waiting = fill(&other);
    assert_eq!(third.ask(1, "tools/list", lists()).status, 503, "two have all");
    waiting.remove(0);
    while third.ask(1, "tools/list", lists()).status != 200 {
        assert!(Instant::now() < until, "there is never room again");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What had been approved once and ran was left to other connections, which attempted it again and had that refused on record.
#[test]
fn what_people_approved_once_is_left_to_nobody_after_it_ran() {
    let net = Net::new();
    let gate = net.gate(&["--hold", "1s", "--rounds", "0"]);
    let (text, entries) = (json!({"text": "once"}), || {
        let answer = common::ask(&net.office.log.url, "GET", "/v1/log", b"").unwrap();
        serde_json::from_slice::<Value>(&answer).unwrap()["size"].as_u64().unwrap()
    });
    let client = gate.session();
    client.call(1, "append", &text);
    let run = net.office.run_that_is("open", 1);
    net.office.log.good(&["approve", &run, "--yes"]);
    let ran = client.call(2, "append", &text).message();
    assert_eq!((said(&ran["result"]), net.office.outcome(&ran["result"]).as_str()), ("done", "succeeded"));
    for client in [gate.session(), client] {
        let before = entries();
        let held = client.call(3, "append", &text).message();
        assert!(said(&held["result"]).starts_with("Not approved yet"), "{held}");
        assert_eq!((net.office.approvals("open").len(), net.trace("append").as_str()), (1, "once\n"));
        assert!(entries() - before <= 3, "no refusal is on record");
    }
    assert_eq!(net.office.log.json(&["resume", &run])["refusals"], 0);
}

/// A connection that had found a proposal standing, and could not go on with it, had taken it from all others: they proposed it anew.
#[test]
fn what_is_held_is_found_again_after_a_log_gave_one_connection_no_answer() {
    let (net, keeps_back) = (Net::new(), Arc::new(AtomicBool::new(false)));
    let url = office::before_the_log(&net.office.log.url, &keeps_back);
    let gate = net.gate(&["--server", &url, "--hold", "1s", "--rounds", "0"]);
    let text = json!({"text": "x"});
    for keeps in [false, true, false] {
        keeps_back.store(keeps, Ordering::Release);
        let answer = gate.session().call(1, "append", &text).message();
        assert_eq!(said(&answer["result"]).starts_with("Not approved yet"), !keeps, "{answer}");
        keeps_back.store(false, Ordering::Release);
        assert_eq!(net.office.approvals("open").len(), 1);
    }
}
