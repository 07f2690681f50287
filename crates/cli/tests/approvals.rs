//! `counterfoil approvals` and `pending`: what waits for whom, in every format, from honest servers and others.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use common::{Log, ask};
use serde_json::{Value, json};

/// Proposes this tool on this target in a run of its own; gives run and proposal.
fn propose(log: &Log, tool: &str, target: &str) -> (String, String) {
    let run = log.trigger();
    log.desk.write("action.json", json!({"tool": tool, "target": target, "arguments": {}}).to_string());
    let words = ["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
    let id = log.json(&words)["id"].as_str().unwrap().to_owned();
    (run, id)
}

#[test]
fn approvals_are_listed_in_every_format_and_nothing_in_them_is_obeyed() {
    let log = Log::new();
    let (run, plain) = propose(&log, "db.vacuum", "db-1");
    let (_, hostile) = propose(&log, "=cmd()", "@a,\"b\u{202e}");
    let why = "+no,\n\"\u{202e}\"";
    log.good(&["reject", &run, "--yes", "--reason", why]);

    let table = log.good(&["approvals", "list"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(
        rows[0].starts_with("time ")
            && rows[1].contains(" open ")
            && rows[1].ends_with(&*log_run(&log, &hostile))
    );
    assert!(rows[1].contains(r#"@a,"b\u{202e}"#) && rows[2].contains(r"human reject (+no,\u{a}"), "{table}");
    assert!(rows[2].contains(&plain) && !table.contains('\u{202e}'));

    let csv = log.good(&["approvals", "list", "--format", "csv"]);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines[0], "time,status,tool,target,proposer,approvers,policy,proposal,run");
    assert!(lines[1].contains(r#",open,'=cmd(),"'@a,""b\u{202e}",agent,,"#), "{csv}");
    assert!(lines[2].contains(",rejected,db.vacuum,db-1,agent,\"human reject (+no,\n\"\""), "{csv}");
    assert_eq!((lines.len(), lines[3]), (4, ""));

    let rows = log.good(&["approvals", "list", "--format", "jsonl"]);
    let rows: Vec<Value> = rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let served = ask(&log.url, "GET", "/v1/approvals", b"").unwrap();
    assert_eq!(rows, *serde_json::from_slice::<Value>(&served).unwrap()["approvals"].as_array().unwrap());
    assert_eq!(rows[1]["decisions"][0]["reason"], why);
    let listed = log.json(&["approvals", "list", "--limit", "1"]);
    assert_eq!(
        (&listed["format"], listed["approvals"].as_array().unwrap().len()),
        (&json!("counterfoil-approvals/1"), 1)
    );
    assert!(listed["next"].is_u64());

    for (flags, ids) in [
        (&["--status", "open"][..], vec![&hostile]),
        (&["--status", "rejected"], vec![&plain]),
        (&["--principal", "human"], vec![&plain]),
        (&["--approver", "human"], vec![&hostile]),
        (&["--tool", "db.*"], vec![&plain]),
        (&["--since", "1h"], vec![&hostile, &plain]),
        (&["--since", "2100-01-01T00:00:00Z"], vec![]),
    ] {
        let listed = log.json(&[&["approvals", "list"], flags].concat());
        let listed: Vec<&str> = listed["approvals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["proposal"].as_str().unwrap())
            .collect();
        assert_eq!(listed, ids, "{flags:?}");
    }

    let shown = log.good(&["approvals", "show", &plain]);
    assert!(shown.contains("status     rejected\n") && shown.contains(r"human reject (+no,\u{a}"), "{shown}");
    assert!(!shown.contains('\u{202e}'));
    assert_eq!(log.json(&["approvals", "show", &plain])["approval"], rows[1]);
}

/// The run of a proposal.
fn log_run(log: &Log, proposal: &str) -> String {
    log.json(&["approvals", "show", proposal])["approval"]["run"].as_str().unwrap().to_owned()
}

#[test]
fn what_waits_for_somebody_comes_with_the_command_that_decides_it() {
    let log = Log::new();
    let (_, first) = propose(&log, "db.vacuum", "db-1");
    let (_, second) = propose(&log, "db.drop", "db-2");
    let pending = log.good(&["pending"]);
    assert!(pending.contains("db.vacuum → db-1") && pending.contains("0 of 1 approvals"), "{pending}");
    let command = |verb: &str, id: &str| {
        let found =
            pending.lines().find(|line| line.contains(&format!("counterfoil {verb}")) && line.contains(id));
        found.expect("a command").trim().to_owned()
    };
    let run = |command: &str| {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        log.desk.run_with(&[&words[..], &["--yes"]].concat(), "").good();
    };
    run(&command("approve", &first));
    run(&command("reject", &second));
    let statuses = log.json(&["approvals", "list"]);
    let statuses: Vec<&Value> =
        statuses["approvals"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, ["rejected", "approved"]);
    let ran = log.run(&["pending"]);
    assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, "", "nothing waits for human\n"));
    let (_, third) = propose(&log, "db.vacuum", "db-3");
    let json = log.json(&["pending", "--approver", "human"]);
    assert_eq!((&json["approver"], &json["approvals"][0]["proposal"]), (&json!("human"), &json!(third)));
    assert_eq!(log.json(&["pending", "--approver", "agent"])["approvals"], json!([]));
    // The options that lead there are part of the command.
    let named = log.good(&["pending", "--key", "keys/human.key"]);
    assert!(named.contains(&format!("--server {} --key keys/human.key\n", log.url)), "{named}");
}

#[test]
fn an_approval_that_the_policy_does_not_take_was_signed_without_a_word() {
    let log = Log::new();
    let asks = |who: &str| {
        let rules = format!(
            "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"one\"\neffect = \"require\"\nmatch.always = true\n\
             requirements = [{{ count = 1, principals = [\"{who}\"] }}]\nsegregation = true\nuses = 1\nwindow = \"1h\"\n"
        );
        log.desk.write("policy.toml", rules);
        log.good(&["policy", "set", "policy.toml", "--key", "keys/authority.key"]);
    };
    let (run, _) = propose(&log, "db.vacuum", "db-1");
    // The policy of `init` takes what nobody looked at on a terminal.
    let taken = log.run(&["approve", &run, "--yes"]);
    assert!(taken.code == 0 && !taken.stderr.contains("will not count"), "{}", taken.stderr);
    asks("human");
    let (run, _) = propose(&log, "db.vacuum", "db-2");
    let vain = log.run(&["approve", &run, "--yes"]);
    assert!(
        vain.stderr.contains("this approval will not count: human decided at the surface none, and the policy takes independent_page, operator_page, terminal: answer on a terminal, without --yes\n"),
        "{}",
        vain.stderr
    );
    // Whoever is asked says no from anywhere; it stopped nothing without a terminal.
    log.good(&["reject", &run, "--yes"]);
    let status = || log.json(&["approvals", "list", "--limit", "1"])["approvals"][0]["status"].clone();
    assert_eq!(status(), "rejected");
    // Whoever is not asked stops nothing, and has to know.
    asks("somebody");
    let (run, _) = propose(&log, "db.vacuum", "db-3");
    let in_vain = log.run(&["reject", &run, "--yes"]);
    in_vain.failed(1, "stops-nothing");
    assert!(
        in_vain.stdout.contains("it changes nothing: human is not entitled to decide"),
        "{}",
        in_vain.shown()
    );
    assert_eq!(status(), "open");
    let vain = log.run(&["approve", &run, "--yes"]);
    assert!(vain.stderr.contains("will not count: human is not entitled to decide\n"), "{}", vain.stderr);
}

#[test]
fn wrong_input_is_named() {
    let log = Log::new();
    let unknown = "sha256:0000000000000000000000000000000000000000000000000000000000000001";
    let (run, _) = propose(&log, "db.vacuum", "db-1");
    for (words, code, says) in [
        (&["approvals", "list", "--status", "pending"][..], "usage", "one of open, approved, denied"),
        (&["approvals", "list", "--since", "yesterday"], "usage", "neither a duration such as 24h"),
        (&["approvals", "list", "--tool", "*********"], "usage", "at most 8 stars"),
        (&["approvals", "list", "--limit", "0"], "usage", "--limit"),
        (&["approvals", "list", "--format", "xml"], "usage", "table, csv, jsonl"),
        (&["approvals", "show", unknown], "proposal-unknown", "counterfoil approvals list"),
        (
            &["approvals", "show", &run],
            "proposal-unknown",
            &format!("is a run, and no proposal\nhint: list its proposals with `counterfoil resume {run}`"),
        ),
        (&["handoff", &run, "--to", "agent"], "owner-already", "agent owns the run already"),
        (&["pending", "--approver", "A B"], "usage", "A B"),
        (&["pending", "--key", "keys/agent.key"], "role-not-allowed", "--approver"),
        (&["pending", "--key", "none.key"], "key-file-missing", "none.key"),
    ] {
        let ran = log.run(words);
        ran.failed(2, code);
        assert!(ran.stderr.contains(says) && ran.stdout.is_empty(), "{words:?}: {}", ran.shown());
    }
    for words in [&["approvals", "list", "--help"][..], &["pending", "--help"]] {
        let help = log.good(words);
        assert!(help.contains("server's word") && help.contains("Exit status"), "{help}");
    }
}

/// A command that goes on, and the lines that it prints.
struct Watching(Child, mpsc::Receiver<String>);

impl Watching {
    fn start(log: &Log, url: &str, more: &[&str]) -> Self {
        let words = [&["approvals", "watch", "--server", url][..], more].concat();
        let mut command = log.desk.command(&words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self(child, lines)
    }

    fn line(&self) -> String {
        self.1.recv_timeout(Duration::from_secs(15)).expect("a line")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn changes_are_printed_until_interrupted() {
    let log = Log::new();
    let mut watching = Watching::start(&log, &log.url, &[]);
    assert!(watching.line().starts_with("time "));
    let (run, proposal) = propose(&log, "db.vacuum", "db-1");
    let line = watching.line();
    assert!(line.contains(" open ") && line.contains(&proposal), "{line}");
    log.good(&["approve", &run, "--yes"]);
    let line = watching.line();
    assert!(line.contains(" approved ") && line.contains("human approve"), "{line}");
    let pid = rustix::process::Pid::from_child(&watching.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = watching.0.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2));
}

/// A server that says of `/v1/log` what the log says, and of everything else what `answer` makes of the request; serves until
/// the test ends.
fn pretend(log: &Log, answer: impl Fn(&str) -> (&'static str, String) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let genesis = String::from_utf8(ask(&log.url, "GET", "/v1/log", b"").unwrap()).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let head = head(&stream);
            let (kind, body) = if head.starts_with("GET /v1/log ") {
                ("application/json", genesis.clone())
            } else {
                answer(&head)
            };
            let begin = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n\r\n");
            let _ = (&stream).write_all((begin + &body).as_bytes());
        }
    });
    url
}

fn head(stream: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && (&*stream).read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// An approval as a server would say it, with another index and reason.
fn sample(log: &Log) -> impl Fn(u64, &str) -> Value + Send + use<> {
    let (run, id) = propose(log, "db.vacuum", "db-1");
    log.good(&["reject", &run, "--yes", "--reason", "why"]);
    let view = log.json(&["approvals", "show", &id])["approval"].clone();
    move |index, reason| {
        let mut view = view.clone();
        view["index"] = index.into();
        view["decisions"][0]["reason"] = reason.into();
        // Members that a later server adds are none of this reader's business.
        view["review_url"] = "https://example.org".into();
        view
    }
}

#[test]
fn pages_are_followed_up_to_the_limit_and_no_server_keeps_a_reader_for_ever() {
    let log = Log::new();
    let view = sample(&log);
    let url = pretend(&log, move |head| {
        let number = |name: &str| {
            let rest = head.split_once(&format!("{name}="))?.1;
            rest.split(['&', ' ']).next()?.parse::<u64>().ok()
        };
        let (before, limit) = (number("before").unwrap_or(251), number("limit").unwrap());
        assert!(limit <= 100);
        // An empty page goes on too.
        let from = if before == 151 { 150 } else { before.saturating_sub(limit) };
        let count = if before == 151 { 0..0 } else { from..before };
        let approvals: Vec<Value> = count.rev().map(|index| view(index, "why")).collect();
        (
            "application/json",
            json!({"approvals": approvals, "next": (from > 0).then_some(from), "size": 300}).to_string(),
        )
    });
    let count = |limit: &str| {
        let words = ["approvals", "list", "--format", "csv", "--limit", limit, "--server", &url];
        log.desk.good(&words).split("\r\n").count() - 2
    };
    assert_eq!((count("7"), count("100"), count("120"), count("1000")), (7, 100, 120, 250));
    let stuck =
        pretend(&log, |_| ("application/json", json!({"approvals": [], "next": 5, "size": 9}).to_string()));
    log.desk.run(&["approvals", "list", "--server", &stuck]).failed(2, "protocol");
}

#[test]
fn what_a_server_makes_up_reaches_no_terminal() {
    let log = Log::new();
    let view = sample(&log);
    let hostile = view(1, "\u{1b}]0;pwned\u{7}\u{9b}2J");
    let listed = json!({"approvals": [hostile], "next": null, "size": 9}).to_string();
    let url = pretend(&log, move |_| ("application/json", listed.clone()));
    for format in ["table", "csv"] {
        let shown = log.desk.good(&["approvals", "list", "--format", format, "--server", &url]);
        assert!(shown.contains(r"\u{1b}]0;pwned\u{7}\u{9b}2J"), "{shown}");
        assert!(shown.chars().all(|c| matches!(c, '\r' | '\n') || !c.is_control()));
    }
    let mut other = view(1, "why");
    other["status"] = "\u{1b}[2J".into();
    let listed = json!({"approvals": [other], "next": null, "size": 9}).to_string();
    let url = pretend(&log, move |_| ("application/json", listed.clone()));
    let ran = log.desk.run(&["approvals", "list", "--server", &url]);
    ran.failed(2, "protocol");
    assert!(!ran.stderr.contains('\u{1b}'));
}

#[test]
fn a_stream_that_breaks_off_goes_on_after_its_last_event() {
    let log = Log::new();
    let view = sample(&log);
    let (send, heads) = mpsc::channel();
    let url = pretend(&log, move |head| {
        send.send(head.to_lowercase()).unwrap();
        let event =
            |id: u64, reason: &str| format!("event: approval\nid: {id}\ndata: {}\n\n", view(1, reason));
        let said = if head.to_lowercase().contains("last-event-id: 41\r") {
            event(41, "first") + ": alive\n\n" + &event(42, "second")
        } else {
            event(41, "first")
        };
        ("text/event-stream", said)
    });
    let watching = Watching::start(&log, &url, &["--format", "jsonl", "--status", "rejected"]);
    let reason =
        || serde_json::from_str::<Value>(&watching.line()).unwrap()["decisions"][0]["reason"].clone();
    assert_eq!((reason(), reason()), (json!("first"), json!("second")), "what was said is not said again");
    let asked: Vec<String> = heads.try_iter().collect();
    assert!(asked[0].starts_with("get /v1/approvals/events?status=rejected http/1.1\r\n"), "{asked:?}");
    // It begins where the log stands.
    let size: Value = serde_json::from_slice(&ask(&log.url, "GET", "/v1/log", b"").unwrap()).unwrap();
    let last = size["size"].as_u64().unwrap() - 1;
    assert!(asked[0].contains(&format!("last-event-id: {last}\r\n")), "{asked:?}");
}
