//! `counterfoil mcp gate` between a client of these tests and a server that leaves traces: what is allowed, refused, held, cancelled,
//! and what is left when somebody goes.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

#[path = "mcp/client.rs"]
mod client;
mod common;
mod office;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, Write as _},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use client::{POLICY, said};
use counterfoil_receipt::{Opening, Salt, text::Label};
use office::{Office, before_the_log};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json, value::RawValue};

#[test]
fn what_the_policy_allows_runs_and_its_receipt_convinces() {
    let office = Office::new();
    let mut client = office.client(&[]);
    client.say(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"0"}}}"#);
    let opened = client.answer(0);
    assert_eq!(opened["result"]["capabilities"], json!({"tools": {"listChanged": true}}), "no tasks");
    client.say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    let listed = client.answer(1)["result"]["tools"].clone();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["append", "read", "fail", "slow", "crash", "refuse"], "what is denied is not offered");
    let result = client.call(2, "read", &json!({"text": "one", "n": 1.0}));
    assert_eq!((said(&result), &result["isError"]), ("done", &Value::Null));
    assert_eq!(office.outcome(&result), "succeeded");
    assert_eq!(office.trace("read"), "one\n");
    // The server was given what was judged, and which execution it is.
    let heard = office.trace("heard");
    let line = heard.lines().find(|line| line.contains("tools/call")).unwrap();
    assert!(line.contains(r#""arguments":{"n":1,"text":"one"}"#), "{line}");
    assert!(line.contains(result["_meta"]["counterfoil/receipt"]["execution"].as_str().unwrap()), "{line}");
    // A tool that fails has failed, and one that refused its arguments did nothing.
    let failed = client.call(3, "fail", &json!({}));
    assert_eq!((&failed["isError"], office.outcome(&failed).as_str()), (&json!(true), "failed"));
    let refused = client.call(4, "refuse", &json!({}));
    assert!(said(&refused).contains("not so"), "{refused}");
    assert_eq!(office.outcome(&refused), "failed");
    assert_eq!(client.close(), Some(0));
}

#[test]
fn a_gate_before_a_log_that_does_not_answer_started_without_a_word() {
    let office = Office::new();
    let mut command = office.log.desk.command(&[
        "mcp",
        "gate",
        "--name",
        "box",
        "--server",
        "http://127.0.0.1:9",
        "--",
        "sleep",
        "60",
    ]);
    let mut gate =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufReader::new(gate.stderr.take().unwrap()).read_line(&mut said).unwrap();
    gate.kill().unwrap();
    gate.wait().unwrap();
    assert!(said.starts_with("mcp gate: no answer from the log, and every call is refused until there is one: http://127.0.0.1:9"), "{said}");
}

#[test]
fn a_policy_that_changed_a_moment_ago_lets_nothing_pass_that_it_does_not_allow() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "1s"]);
    // The gate knows the policy under which this passes.
    assert_eq!(said(&client.call(1, "read", &json!({"text": "before"}))), "done");
    let stricter = POLICY.replace(r#"{tool = "box/read"}, "#, "").replace("box/append", "box/read");
    office.log.desk.write("policy.toml", stricter);
    office.log.good(&["policy", "set", "policy.toml"]);
    let held = client.call(2, "read", &json!({"text": "after"}));
    assert!(said(&held).starts_with("Not approved yet"), "{held}");
    assert_eq!(office.trace("read"), "before\n");
    office.run_that_is("open", 1);
}

#[test]
fn what_a_client_was_told_is_recorded_also_where_the_gate_was_killed_at_once() {
    let office = Office::new();
    let mut told = Vec::new();
    for id in 1..=3 {
        let mut client = office.client(&[]);
        told.push(client.call(id, "read", &json!({"at": id})));
        client.gate.kill().unwrap();
        client.gate.wait().unwrap();
    }
    // The next gate settles what it finds, once it has something to do.
    let mut client = office.client(&[]);
    told.push(client.call(9, "read", &json!({})));
    for result in &told {
        assert_eq!(office.outcome(result), "succeeded");
    }
}

#[test]
fn what_the_policy_denies_reaches_no_server() {
    let office = Office::new();
    let mut client = office.client(&[]);
    let refused = client.call(1, "drop", &json!({"text": "x"}));
    assert!(
        refused["isError"] == true && said(&refused).starts_with("refused: policy-denied: "),
        "{refused}"
    );
    assert!(!office.trace_path("drop").exists());
    let receipt = &refused["_meta"]["counterfoil/receipt"];
    // What tells a program that this is no failure of the tool.
    assert_eq!((&receipt["status"], &receipt["code"]), (&json!("refused"), &json!("policy-denied")));
    let run = receipt["run"].as_str().unwrap();
    assert!(office.log.good(&["verify", "--help"]).len() > 1 && office.log.run(&["resume", run]).code == 0);
    // A tool that the server does not have is none.
    client.begin(2, "nothing", &json!({}));
    assert_eq!(client.answer(2)["error"]["code"], -32602);
}

#[test]
fn what_people_approve_runs_once_for_whoever_asks_again() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "1s"]);
    let text = json!({"text": "approved"});
    let held = client.call(1, "append", &text);
    assert!(held["isError"] == true && said(&held).starts_with("Not approved yet"), "{held}");
    let run = office.run_that_is("open", 1);
    // Whoever has to approve it is shown it where the result says.
    let review = held["_meta"]["counterfoil/receipt"]["review"].as_str().unwrap();
    assert!(said(&held).contains(review), "{held}");
    let mut page = ureq::get(review).header("Accept", "text/html").call().unwrap();
    assert!(page.body_mut().read_to_string().unwrap().contains("append"));
    // The same again joins the same proposal; other arguments are another.
    client.call(2, "append", &text);
    assert_eq!(office.approvals("open").len(), 1);
    office.log.good(&["approve", &run, "--yes"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(office.trace("append"), "", "nothing runs that nobody waits for");
    let ran = client.call(3, "append", &text);
    assert_eq!((said(&ran), office.outcome(&ran).as_str()), ("done", "succeeded"));
    assert_eq!(office.trace("append"), "approved\n");
    // What was approved once is used up: the same call is a new one.
    let again = client.call(4, "append", &text);
    assert!(said(&again).starts_with("Not approved yet"), "{again}");
    assert_eq!((office.approvals("open").len(), office.trace("append")), (1, "approved\n".to_owned()));
}

#[test]
fn a_decision_reaches_the_call_that_waits_for_it() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "20s"]);
    client.begin(1, "append", &json!({"text": "yes"}));
    let run = office.run_that_is("open", 1);
    office.log.good(&["approve", &run, "--yes"]);
    assert_eq!(said(&client.answer(1)["result"]), "done");
    client.begin(2, "append", &json!({"text": "no"}));
    let run = office.run_that_is("open", 1);
    office.log.good(&["reject", &run, "--yes"]);
    let refused = client.answer(2);
    assert!(said(&refused["result"]).contains("proposal-ended"), "{refused}");
    assert_eq!(office.trace("append"), "yes\n");
}

#[test]
fn a_gate_that_is_killed_leaves_the_proposal_to_the_next() {
    let office = Office::new();
    let mut client = office.client(&["--hold", "1s"]);
    client.call(1, "append", &json!({"text": "x"}));
    drop(client);
    let run = office.run_that_is("open", 1);
    office.log.good(&["approve", &run, "--yes"]);
    let mut client = office.client(&["--hold", "1s"]);
    assert_eq!(said(&client.call(1, "append", &json!({"text": "x"}))), "done");
    assert_eq!((office.trace("append"), office.approvals("open").len()), ("x\n".to_owned(), 0));
}

#[test]
fn where_the_log_no_longer_shows_what_may_have_happened_nothing_that_could_be_that_is_done() {
    let office = Office::new();
    let large = |text: &str| json!({"text": text, "content": "y".repeat(20_000)});
    for tool in ["append", "crash"] {
        office.client(&["--hold", "1s"]).call(1, tool, &large("x"));
    }
    let unknown = office.run_that_is("unknown", 1);
    for kept in std::fs::read_dir(office.log.desk.path("payloads/payload")).unwrap() {
        std::fs::remove_file(kept.unwrap().path()).unwrap();
    }
    let mut client = office.client(&["--hold", "1s"]);
    let refused = client.call(1, "crash", &large("x"));
    assert!(refused["isError"] == true && said(&refused).contains("outcomes-unknown"), "{refused}");
    // What waits is proposed anew, and what differs in what the log shows is another call.
    client.call(2, "append", &large("x"));
    office.run_that_is("open", 2);
    client.call(3, "crash", &large("other"));
    assert_eq!(office.trace("crash"), "x\nother\n");
    office.log.good(&["settle", &unknown, "--status", "failed", "--effects", "none"]);
    drop(client);
    assert_eq!(office.outcome(&office.client(&[]).call(1, "crash", &large("x"))), "unknown");
}

#[test]
fn answers_out_of_order_go_to_whom_they_are_for_and_each_outcome_commits_to_what_its_client_got() {
    let office = Office::new();
    std::fs::write(office.trace_path("waiting"), "").unwrap();
    let mut client = office.client(&[]);
    client.begin(1, "later", &json!({"text": "first"}));
    office.wait_for("later");
    client.begin(2, "read", &json!({"text": "second"}));
    let answers = [client.next(), client.next()];
    let heard = client.heard.lock().unwrap().clone();
    for (id, text) in [(1, "first"), (2, "second")] {
        let result = &answers.iter().find(|answer| answer["id"] == id).unwrap()["result"];
        assert_eq!(result["structuredContent"]["of"], text, "{result}");
        assert_eq!(office.outcome(result), "succeeded");
        let receipt = &result["_meta"]["counterfoil/receipt"];
        let bundle = office.log.good(&["bundle", receipt["run"].as_str().unwrap(), "--out", "-"]);
        let lines: Vec<Value> = bundle.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let outcome = lines.iter().find(|line| line["body"]["execution"] == receipt["execution"]).unwrap();
        let item = &outcome["body"]["result"];
        let opened =
            lines.iter().find(|line| line["commitment"] == item["commitment"] && line["content"].is_string());
        let opened = opened.expect("the result's content");
        let content = BASE64_URL_SAFE_NO_PAD.decode(opened["content"].as_str().unwrap()).unwrap();
        // What the client got is what the outcome commits to, each member by the same bytes, and the receipt.
        let start = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#);
        let got = heard.iter().find_map(|line| line.strip_prefix(&start)?.strip_suffix('}')).unwrap();
        let mut got: BTreeMap<String, Box<RawValue>> = serde_json::from_str(got).unwrap();
        got.remove("_meta").unwrap();
        let committed: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&content).unwrap();
        let bytes = |members: &BTreeMap<String, Box<RawValue>>| serde_json::to_string(members).unwrap();
        assert_eq!(bytes(&committed), bytes(&got));
        assert!(got["structuredContent"].get().contains("9007199254740993"), "to the byte");
        assert_eq!((&item["label"], &item["size"]), (&json!("result.json"), &json!(content.len())));
        let label = Label::new("result.json").unwrap();
        let salt = Salt::parse(opened["salt"].as_str().unwrap()).unwrap();
        let commitment = Opening { salt, label, content }.commitment();
        assert_eq!(item["commitment"], commitment.to_string());
    }
}

#[test]
fn a_server_that_dies_within_a_call_leaves_it_unknown() {
    let office = Office::new();
    let mut client = office.client(&[]);
    let gone = client.call(1, "crash", &json!({"text": "x"}));
    assert!(gone["isError"] == true && said(&gone).contains("the server ended"), "{gone}");
    assert_eq!(office.outcome(&gone), "unknown");
    assert_eq!(office.trace("crash"), "x\n");
    assert_eq!(client.gate.wait().unwrap().code(), Some(3), "as the server ended");
}

/// Every error of a server was taken for an end that nobody knows, so that the same call was in doubt.
#[test]
fn a_server_that_answers_with_an_error_has_failed_and_one_in_whose_place_it_is_said_has_not() {
    let office = Office::new();
    let mut client = office.client(&[]);
    for (id, code, known) in
        [(1, -32_603, "failed"), (2, 7, "failed"), (3, -32_001, "unknown"), (4, -32_000, "unknown")]
    {
        let failed = client.call(id, "fail", &json!({"code": code}));
        assert!(failed["isError"] == true && said(&failed).contains("broken"), "{failed}");
        assert_eq!(office.outcome(&failed), known, "{code}");
        let again = client.call(10 + id, "fail", &json!({"code": code}));
        let in_doubt = again["_meta"]["counterfoil/receipt"]["code"] == "outcome-unknown";
        assert_eq!(in_doubt, known == "unknown", "{again}");
    }
}

#[test]
fn what_changes_nothing_is_called_anew_though_nobody_knows_what_became_of_it() {
    let office = Office::new();
    std::fs::write(office.trace_path("peeking"), "").unwrap();
    for count in 1..=2 {
        let gone = office.client(&[]).call(1, "peek", &json!({"text": "x"}));
        assert_eq!(office.outcome(&gone), "unknown");
        assert_eq!(office.trace("peek"), "x\n".repeat(count));
    }
    office.run_that_is("unknown", 2);
}

#[test]
fn a_client_that_goes_lets_a_call_end_and_be_recorded() {
    let office = Office::new();
    let mut client = office.client(&[]);
    client.begin(1, "read", &json!({"text": "x"}));
    office.wait_for("read");
    client.close();
    assert_eq!(office.run_that_is("succeeded", 1).len(), 71);
}

#[test]
fn a_gate_that_is_told_to_end_records_what_runs_as_unknown() {
    let office = Office::new();
    let mut client = office.client(&[]);
    client.begin(1, "slow", &json!({"text": "x"}));
    office.wait_for("slow");
    kill_process(Pid::from_child(&client.gate), Signal::TERM).unwrap();
    assert!(client.gate.wait().unwrap().code().is_some(), "it ends by itself");
    assert_eq!((office.approvals("unknown").len(), office.approvals("executing").len()), (1, 0));
}

#[test]
fn what_a_server_started_does_not_outlive_the_gate() {
    let office = Office::new();
    // One that heeds nothing, below a shell that waits for it.
    let script = "sh -c 'for beat in $(seq 1000); do sleep 0.02; echo >> beats; done'; true";
    let words = ["mcp", "gate", "--name", "box", "--server", &office.log.url, "--", "sh", "-c", script];
    let beats = || std::fs::read(office.log.desk.path("beats")).unwrap_or_default().len();
    for is_killed in [true, false] {
        let before = beats();
        let mut gate =
            office.log.desk.command(&words).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        while beats() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(gate.stdin.take());
        if is_killed {
            gate.kill().unwrap();
        }
        gate.wait().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let then = beats();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(beats(), then, "it goes on, killed: {is_killed}");
    }
}

#[test]
fn a_connection_of_requests_that_say_who_asks_is_governed_alike() {
    let office = Office::new();
    let mut client = office.client(&[]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
    });
    let ask = |id: i64, method: &str, params: Value| {
        let mut params = params;
        params["_meta"] = meta.clone();
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    };
    client.say(&ask(1, "tools/list", json!({})));
    let listed = client.answer(1)["result"].clone();
    assert_eq!(
        (&listed["ttlMs"], &listed["cacheScope"]),
        (&json!(0), &json!("private")),
        "another policy shows other tools"
    );
    client.say(&ask(2, "tools/call", json!({"name": "read", "arguments": {"text": "x"}})));
    let ran = client.answer(2)["result"].clone();
    assert_eq!((said(&ran), &ran["resultType"]), ("done", &json!("complete")));
    assert_eq!(office.outcome(&ran), "succeeded");
    client.say(&ask(3, "tools/call", json!({"name": "drop", "arguments": {}})));
    assert_eq!(client.answer(3)["result"]["resultType"], "complete");
    // No request is of another revision than the connection, and no call becomes a task.
    client.begin(4, "read", &json!({}));
    assert_eq!(client.answer(4)["error"]["code"], -32602);
    assert!(!office.trace("heard").contains("io.modelcontextprotocol/tasks"));
}

/// A call that came again after the log's answer had been lost was proposed a second time.
#[test]
fn what_a_log_took_without_an_answer_is_proposed_once() {
    let (office, keeps_back) = (Office::new(), Arc::new(AtomicBool::new(false)));
    let url = before_the_log(&office.log.url, &keeps_back);
    let mut client = office.client_of(&url, &["--hold", "1s"]);
    let ran = client.call(1, "read", &json!({"text": "x"}));
    assert_eq!(ran["isError"], Value::Null, "{ran}");
    keeps_back.store(true, Ordering::Release);
    let failed = client.call(2, "append", &json!({"text": "x"}));
    assert!(said(&failed).contains("not-proposed"), "{failed}");
    office.run_that_is("open", 1);
    keeps_back.store(false, Ordering::Release);
    let held = client.call(3, "append", &json!({"text": "x"}));
    assert!(said(&held).starts_with("Not approved yet"), "{held}");
    assert_eq!(office.approvals("open").len(), 1);
}

#[test]
fn the_server_of_tools_was_given_the_token_for_the_log() {
    let office = Office::new();
    let mut client = office.client(&[]);
    // The gate has variables of its own, and the server none of them.
    client.call(1, "read", &json!({}));
    assert_eq!(office.trace("environment"), "");
}

#[test]
fn a_client_took_the_answer_to_a_request_of_the_gate() {
    let office = Office::new();
    let mut client = office.client(&[]);
    for id in ["counterfoil:1", "counterfoil:"] {
        let params = json!({"name": "read", "arguments": {}});
        client
            .say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
        let refused = client.next();
        assert_eq!(
            (&refused["id"], &refused["error"]["data"]["code"]),
            (&json!(id), &json!("mcp-id-reserved"))
        );
    }
    assert_eq!(office.trace("read"), "");
}

#[test]
fn a_server_that_reads_nothing_holds_up_neither_its_gate_nor_its_end() {
    let office = Office::new();
    let line = ["mcp", "gate", "--name", "box", "--server", &office.log.url, "--", "sleep", "1000"];
    let mut gate = office.log.desk.command(&line);
    let mut gate = gate.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = gate.stdin.take().unwrap();
    // More than a pipe holds, twice.
    for id in 0..2 {
        let params = json!({"uri": "x".repeat(200_000)});
        let ask = json!({"jsonrpc": "2.0", "id": id, "method": "resources/read", "params": params});
        writeln!(stdin, "{ask}").unwrap();
    }
    drop(stdin);
    let began = std::time::Instant::now();
    gate.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
