//! Commands through `counterfoil gate run`.

use std::process::{Child, Stdio};

use counterfoil_testkit::Effort;
use serde_json::Value;

use crate::{
    common::{Desk, before_dashes, copy},
    work::{Work, end},
};

#[test]
fn approve_one_command_and_run_another() {
    let work = Work::new(&["touch", "approved"]);
    for other in [["touch", "other"], ["rm", "approved"]] {
        let refused = work.log.run(&[&["gate", "run", &work.run, "--"][..], &other].concat());
        refused.failed(1, "action-differs");
    }
    // Each is on record, though no proposal is about it; the same again is counted.
    work.log.run(&["gate", "run", &work.run, "--", "touch", "other"]).failed(1, "action-differs");
    work.log.good(&["gate", "settle"]);
    assert_eq!(work.log.json(&["resume", &work.run])["refusals"], 3);
    let proposal = work.log.json(&["resume", &work.run])["proposals"][0]["id"].as_str().unwrap().to_owned();
    let named = ["gate", "run", &work.run, "--proposal", &proposal, "--", "touch", "other"];
    work.log.run(&named).failed(1, "action-differs");
    assert!(!work.log.desk.path("other").exists() && work.executions().is_empty());
}

#[test]
fn of_gates_that_race_for_one_use_one_runs() {
    let races = Effort::from_env().of(2, 25);
    for _ in 0..races {
        let work = Work::under("", &["sh", "-c", "echo ran >> traces; sleep 0.2"]);
        work.log.good(&["approve", &work.run, "--yes"]);
        let line = work.line(&["gate", "run", &work.run]);
        let gates: Vec<Child> = (0..4)
            .map(|_| {
                let mut gate = work.log.desk.command(&before_dashes(&line, &["--server", &work.log.url]));
                gate.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let ended: Vec<(i32, String)> = gates.into_iter().map(end).collect();
        assert_eq!(ended.iter().filter(|(status, _)| *status == 0).count(), 1, "{ended:?}");
        assert_eq!(work.log.desk.read("traces"), "ran\n");
        assert_eq!(work.executions().len(), 1);
    }
    println!("count races of four gates for one use, of which one ran {races}");
}

#[test]
fn a_gate_in_front_of_a_log_that_forked_runs_nothing() {
    let desk = Desk::new();
    desk.good(&["init", "one", "--origin", "example.org/log"]);
    let on = |words: &[&str], directory: &str, url: &str| {
        before_dashes(words, &["-C", directory, "--server", url])
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let good = |words: &[&str], directory: &str, url: &str| {
        desk.good(&on(words, directory, url).iter().map(String::as_str).collect::<Vec<_>>())
    };
    desk.write("action.json", desk.good(&["gate", "action", "--", "touch", "ran"]));
    let run = {
        let (_serving, url) = desk.serve_in("one");
        let run = good(&["trigger", "--source", "s", "--id", "1", "--json"], "one", &url);
        let run = serde_json::from_str::<Value>(&run).unwrap()["run"].as_str().unwrap().to_owned();
        good(&["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"], "one", &url);
        good(&["approve", &run, "--yes"], "one", &url);
        run
    };
    copy(&desk.path("one"), &desk.path("two"));
    std::fs::remove_dir_all(desk.path("two/seen")).unwrap();
    // The same keys sign two histories, and the gate has seen one of them.
    for (directory, summary) in [("one", "Here."), ("two", "There.")] {
        let (_serving, url) = desk.serve_in(directory);
        good(&["observe", &run, "--summary", summary], directory, &url);
        good(&["bundle", &run, "--out", &format!("{directory}.jsonl")], directory, &url);
    }
    // A bundle of the other one, with a tree as large, tells it without any server.
    let offline = ["gate", "check", "--bundle", "two.jsonl", "--action", "action.json", "--for", "runtime"];
    desk.run(&[&offline[..], &["-C", "one"]].concat()).failed(1, "log-forked");
    let (_serving, url) = desk.serve_in("two");
    let gate = ["gate", "run", run.as_str(), "--", "touch", "ran"];
    for words in [&gate[..], &["gate", "check", &run, "--", "touch", "ran"]] {
        let line = on(words, "one", &url);
        let refused = desk.run(&line.iter().map(String::as_str).collect::<Vec<_>>());
        refused.failed(1, "log-forked");
        assert!(refused.stderr.contains("two trees that are not one"), "{}", refused.stderr);
    }
    let called = desk.mcp_call(&["mcp", "gate", "--name", "box", "-C", "one", "--server", &url]);
    assert!(called.to_string().contains("log-forked"), "{called}");
    assert!(!desk.path("ran").exists() && !desk.path("read").exists());
    // Nobody has seen the other one there.
    good(&gate, "two", &url);
    assert!(desk.path("ran").exists());
}
