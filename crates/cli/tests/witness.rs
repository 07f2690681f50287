//! `counterfoil witness`: made, run, stopped, and not started without its state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod office;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::Desk;
use counterfoil_verify::Trust;
use office::before_the_log;
use rustix::process::{Pid, Signal, kill_process};

const LOG: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

fn run(desk: &Desk) -> (Child, String) {
    run_in(desk, "w")
}

fn run_in(desk: &Desk, directory: &str) -> (Child, String) {
    let config = format!("{directory}/witness.toml");
    let mut command = desk.command(&["witness", "run", "--config", &config]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("listening on http://").expect("it says where it listens").to_owned();
    (child, address)
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_witness_is_made_runs_and_stops() {
    let desk = Desk::new();
    let said =
        desk.good(&["witness", "init", "w", "--name", "w.example", "--listen", "127.0.0.1:0", "--log", LOG]);
    let listed: Vec<&str> = said.lines().filter(|line| line.contains("w.example+")).collect();
    assert_eq!(listed.len(), 2, "a policy line for each key: {said}");
    #[cfg(unix)]
    for (name, mode) in [("w/keys/ed25519.key", 0o600), ("w/keys/ml-dsa-44.key", 0o600), ("w/state", 0o700)] {
        use std::os::unix::fs::PermissionsExt as _;
        let found = std::fs::metadata(desk.path(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    desk.run(&["witness", "init", "w", "--name", "w.example"]).failed(2, "init-exists");
    desk.run(&["witness", "init", "v", "--name", "no name"]).failed(2, "key-name");

    let (mut child, address) = run(&desk);
    let list = ask(&address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(list.starts_with("HTTP/1.1 200") && list.contains("example.com/foo: nothing cosigned"), "{list}");
    let refused = ask(
        &address,
        "POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    desk.run(&["witness", "run", "--config", "w/witness.toml"]).failed(2, "witness-state-unusable");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // Whoever started it has gone.
    let mut tethered = desk.command(&["witness", "run", "--config", "w/witness.toml", "--until-stdin-ends"]);
    let mut child = tethered.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_it_can_not_start_with_is_said() {
    let desk = Desk::new();
    desk.good(&["witness", "init", "w", "--name", "w.example", "--listen", "127.0.0.1:0", "--log", LOG]);
    let good = desk.read("w/witness.toml");
    let start = |options: &[&str]| {
        desk.run(&[&["witness", "run", "--config", "w/witness.toml"][..], options].concat())
    };
    start(&["--new"]).failed(2, "witness-state-exists");
    desk.write("w/witness.toml", format!("{good}\n[[logs]]\nvkeys = [\"{LOG}\"]\n"));
    start(&[]).failed(2, "witness-keys");
    for wrong in ["listen = \"x\"\nstate_dir = \"s\"\nkeys = []\n", "listen = 1", "nonsense = 1", "prefix = "]
    {
        desk.write("w/witness.toml", wrong);
        start(&[]).failed(2, "config-invalid");
    }
    desk.run(&["witness", "run", "--config", "nowhere.toml"]).failed(2, "config-unreadable");
    desk.write("w/witness.toml", &good);
    std::fs::remove_dir_all(desk.path("w/state")).unwrap();
    let refused = start(&[]);
    refused.failed(2, "witness-state-missing");
    assert!(refused.stderr.contains("could cosign a fork"), "{}", refused.stderr);
}

/// A log that is served with two witnesses, both of which have to cosign, and its address; the trust file in `work` names them. What they say
/// is kept back while that is so.
fn witnessed(keeps_back: &Arc<AtomicBool>) -> (Desk, String, Ended, Vec<Ended>) {
    let desk = Desk::new();
    desk.good(&["init", "work", "--origin", "example.org/log"]);
    let trust = desk.read("work/trust.toml");
    let vkey = Trust::parse(&trust).unwrap().log_keys()[0].to_string();
    let (mut policy, mut groups) = (format!("log {vkey}\n"), String::new());
    let mut witnesses = Vec::new();
    for name in ["one", "two"] {
        let directory = format!("witness-{name}");
        let init = ["witness", "init", &directory, "--name", name, "--listen", "127.0.0.1:0", "--log", &vkey];
        let made = desk.json(&init);
        let (child, address) = run_in(&desk, &directory);
        witnesses.push(Ended(child));
        let address = before_the_log(&format!("http://{address}"), keeps_back);
        for (kind, vkey) in ["ed", "ml"].iter().zip(made["vkeys"].as_array().unwrap()) {
            policy += &format!("witness {name}-{kind} {} {address}\n", vkey.as_str().unwrap());
        }
        policy += &format!("group {name} any {name}-ed {name}-ml\n");
        groups += &format!(" {name}");
    }
    policy += &format!("group both all{groups}\nquorum both\n");
    desk.write("work/witnesses.policy", &policy);
    let mut table: toml::Table = trust.parse().unwrap();
    table["witnesses"]["policy"] = policy.into();
    table["require"].as_table_mut().unwrap().insert("max_age".to_owned(), "5m".into());
    desk.write("work/trust.toml", table.to_string());

    let serve =
        ["serve", "-C", "work", "--listen", "127.0.0.1:0", "--witness-policy", "work/witnesses.policy"];
    let mut serving = Ended(desk.command(&serve).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(serving.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (desk, url, serving, witnesses)
}

/// A command about the log at this address.
fn on_log<'a>(words: &[&'a str], url: &'a str) -> Vec<&'a str> {
    [words, &["-C", "work", "--server", url]].concat()
}

#[test]
fn what_witnesses_have_to_have_seen_runs_once_they_have_and_not_without_them() {
    let keeps_back = Arc::default();
    let (desk, url, _serving, witnesses) = witnessed(&keeps_back);
    desk.write(
        "policy.toml",
        "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"all\"\neffect = \"allow\"\nuses = 1\nmatch.tool = \"*\"\n\
         evidence = [\"witnessed\"]\n",
    );
    desk.good(&on_log(&["policy", "set", "policy.toml"], &url));
    let proposed = |file: &str| {
        let run = desk.json(&on_log(&["trigger", "--source", "alerts", "--id", file], &url))["run"].clone();
        let run = run.as_str().unwrap().to_owned();
        desk.write("action.json", desk.good(&["gate", "action", "--", "touch", file]));
        let propose = ["propose", &run, "--action", "action.json", "--for", "runtime", "--risk", "low"];
        desk.good(&on_log(&propose, &url));
        run
    };
    let run = proposed("seen");
    desk.good(&[&on_log(&["gate", "run", &run], &url)[..], &["--", "touch", "seen"]].concat());
    assert!(desk.path("seen").exists());
    // What witnesses are slow about waits for them.
    keeps_back.store(true, Ordering::Release);
    let run = proposed("late");
    let late = [&on_log(&["gate", "run", &run], &url)[..], &["--", "touch", "late"]].concat();
    let mut gate = desk.command(&late).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(2));
    assert!(gate.try_wait().unwrap().is_none() && !desk.path("late").exists());
    keeps_back.store(false, Ordering::Release);
    assert!(gate.wait().unwrap().success() && desk.path("late").exists());
    // So does a call through MCP.
    let mcp = || desk.mcp_call(&on_log(&["mcp", "gate", "--name", "box"], &url))["result"].take();
    let called = mcp();
    assert_eq!(called["_meta"]["counterfoil/receipt"]["status"], "executed", "{called}");
    // What would pass is said to pass once they have cosigned what it stands on.
    let run = proposed("checked");
    let check = [&on_log(&["gate", "check", &run], &url)[..], &["--", "touch", "checked"]].concat();
    let until = Instant::now() + Duration::from_secs(60);
    while desk.run(&check).code != 0 {
        assert!(Instant::now() < until, "{}", desk.run(&check).stderr);
    }
    // So does whoever goes on with the run, under a trust file that demands it.
    let demanding = desk.read("work/trust.toml").replace("\"inclusion\"", "\"inclusion\", \"witnessed\"");
    assert!(demanding.contains("witnessed"), "{demanding}");
    desk.write("work/trust.toml", demanding);
    desk.good(&on_log(&["resume", &run], &url));
    drop(witnesses);
    let run = proposed("unseen");
    let unseen = [&on_log(&["gate", "run", &run], &url)[..], &["--", "touch", "unseen"]].concat();
    let (refused, called) = thread::scope(|scope| {
        let called = scope.spawn(mcp);
        (desk.run(&unseen), called.join().unwrap())
    });
    assert_eq!(desk.run(&on_log(&["resume", &run], &url)).code, 3);
    assert_eq!(called["_meta"]["counterfoil/receipt"]["code"], "evidence-incomplete", "{called}");
    assert_eq!(desk.read("read").lines().count(), 1);
    refused.failed(1, "evidence-incomplete");
    assert!(refused.stderr.contains("witnessed is not shown") && !desk.path("unseen").exists());
}

#[test]
fn a_run_is_verified_as_witnessed_by_two_witnesses() {
    let (desk, url, _serving, witnesses) = witnessed(&Arc::default());
    let on_log = |words: &[&str]| desk.json(&[words, &["-C", "work", "--server", &url]].concat());
    let run = on_log(&["trigger", "--source", "alerts", "--id", "1"])["run"].as_str().unwrap().to_owned();
    desk.write("note.txt", "seen");
    on_log(&["observe", &run, "--summary", "seen by two witnesses"]);
    // Waits until the quorum has cosigned what came before too.
    let key = desk.path("work/keys/agent.key");
    let event =
        r#"{"event": {"source": "alerts", "id": "2"}, "owner": {"principal": "agent", "key": "KEY"}}"#;
    let agent = counterfoil_keys::RecordKey::load(&key).unwrap();
    let agent_key = counterfoil_receipt::Signer::key(&agent).to_string();
    desk.write("trigger.json", event.replace("KEY", &agent_key));
    new_trigger(&desk, "next.record");
    let submitted = on_log(&["submit", "next.record", "--promise", "witnessed"]);
    assert_eq!(submitted[0]["type"], "trigger", "{submitted:#}");
    desk.run(&["submit", "next.record", "--promise", "sealed", "-C", "work"]).failed(2, "usage");

    desk.good(&["bundle", &run, "--out", "run.jsonl", "-C", "work", "--server", &url]);
    let verify = ["verify", "run.jsonl", "-C", "work", "--require", "witnessed,inclusion,freshness"];
    let said = desk.good(&verify);
    assert!(said.contains("witnessed"), "{said}");

    // Without its witnesses it is said that the record is in the log, and that nobody else has seen it.
    drop(witnesses);
    desk.write("trigger.json", event.replace("KEY", &agent_key).replace("\"2\"", "\"3\""));
    new_trigger(&desk, "late.record");
    let late = desk.run(&["submit", "late.record", "--promise", "witnessed", "-C", "work", "--server", &url]);
    late.failed(2, "witness-timeout");
    assert!(late.stderr.contains("is integrated, up to entry"), "{}", late.stderr);
}

/// Signs the trigger in `trigger.json`, and logs nothing.
fn new_trigger(desk: &Desk, out: &str) {
    let key = ["--key", "work/keys/agent.key"];
    let new = ["record", "new", "trigger", "-C", "work", "--body", "trigger.json", "--out", out];
    desk.good(&[new.as_slice(), &key].concat());
}

/// A process that is ended, by its own id, when it goes out of scope.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
