//! Gates are killed at each step and at random moments, several at a time: effects are counted outside, and held against the log.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

#[path = "mcp/client.rs"]
mod client;
mod common;
mod office;
mod traced;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use client::said;
use common::{Log, ask, before_dashes};
use counterfoil_testkit::Effort;
use office::Office;
use serde_json::{Value, json};

/// Gates that work at a time.
const LANES: usize = 4;
/// How long a gate takes at most that nobody kills; the moments of the kills are spread over what one was seen to take.
const PATIENCE: Duration = Duration::from_secs(30);

const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "commands"
effect = "allow"
uses = 1
match.tool = "command"
"#;

#[test]
fn at_whatever_step_a_gate_is_killed_there_is_one_effect_at_most_for_its_execution_and_each_success_has_one()
{
    if !traced::is_possible() {
        return;
    }
    let log = &allowing_commands();
    let traced = |name: &str, gate: Command, kill: Option<&(String, usize)>| {
        let trace = log.desk.path(&format!("{name}.strace"));
        quiet(&mut traced::first_thread(&gate, &trace, kill)).status().unwrap();
        std::fs::read_to_string(trace).unwrap()
    };
    let mut steps = Vec::new();
    attempt(log, "undisturbed", |gate| steps = traced::steps(&traced("undisturbed", gate, None), "connect"));
    assert!(steps.len() > 100, "{steps:?}");
    let killed = in_lanes(steps.len(), |kill| {
        let (name, mut trace) = (format!("killed-{kill}"), String::new());
        attempt(log, &name, |gate| trace = traced(&name, gate, Some(&steps[kill])));
        usize::from(trace.contains("killed by SIGKILL"))
    });
    // How often a thread waits, and in how many parts an answer comes, is not the same each time.
    assert!(killed * 4 > steps.len() * 3, "{killed} of {steps:?}");
    count(log).holds("gates that were killed at a step");
    println!("count kills -9 of gates at a step of theirs, after which effects and log agree {killed}");
}

#[test]
fn whenever_gates_are_killed_there_is_one_effect_at_most_for_each_execution_and_each_success_has_one() {
    let (kills, log) = (Effort::from_env().of(40, 1_000), &allowing_commands());
    // How long one takes that is let be.
    let began = Instant::now();
    attempt(log, "undisturbed", |_| ());
    let usual = began.elapsed();
    in_lanes(kills, |kill| {
        attempt(log, &format!("killed-{kill}"), |mut gate| {
            let mut gate = quiet(&mut gate).spawn().unwrap();
            thread::sleep(usual.mul_f64(seeded(kill as u64) * 1.5));
            let _ = gate.kill();
            gate.wait().unwrap();
        });
        1
    });
    count(log).holds("those gates");
    println!("count kills -9 of gates, after which effects and log agree {kills}");
}

/// Calls of one client at a time, besides a slow one.
const CALLS: i64 = 6;

/// As above, through MCP: calls are under way when the gate is killed, and the next settles what it left.
#[test]
fn whenever_a_gate_of_mcp_calls_is_killed_effects_and_log_agree_and_what_is_unknown_can_be_settled() {
    let kills = Effort::from_env().of(8, 150);
    let policy = POLICY.replace("match.tool = \"command\"", "match.tool = \"box/*\"");
    let office = Office::with_box(&policy);
    let call_all = |client: &mut client::Client, round: &str| {
        client.begin(0, "slow", &json!({"text": format!("{round}/slow")}));
        for id in 1..=CALLS {
            client.begin(id, "read", &json!({"text": format!("{round}/{id}")}));
        }
    };
    let mut client = office.client(&[]);
    let began = Instant::now();
    call_all(&mut client, "undisturbed");
    for _ in 0..=CALLS {
        assert_eq!(said(&client.next()["result"]), "done");
    }
    let usual = began.elapsed();
    client.close();
    for kill in 0..kills {
        let mut client = office.client(&[]);
        call_all(&mut client, &format!("killed-{kill}"));
        thread::sleep(usual.mul_f64(seeded(kill as u64) * 1.5));
        client.gate.kill().unwrap();
        client.gate.wait().unwrap();
    }
    // One that was killed before its record was in the log stays open for a while. Nothing of it may have happened: one that is logged and
    // open, or happened and is not logged, is found below.
    let settled = office.log.run(&["gate", "settle"]);
    let open = settled.stdout.lines().filter(|line| line.contains("stays open")).count();
    assert_eq!(settled.code, if open == 0 { 0 } else { 3 }, "{}", settled.shown());

    // What the server was told names the execution of each text; what it left names the text.
    let heard = office.trace("heard");
    let told = heard.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = told.filter(|line| line["method"] == "tools/call").map(|line| {
        let params = &line["params"];
        let execution = params["_meta"]["counterfoil/execution"].as_str().unwrap().to_owned();
        (params["arguments"]["text"].as_str().unwrap().to_owned(), execution)
    });
    let mut of_text = BTreeMap::new();
    for (text, execution) in told {
        assert_eq!(of_text.insert(text, execution), None, "a call was made twice");
    }
    let effects = [office.trace("read"), office.trace("slow")].concat();
    let effects: Vec<&str> = effects.lines().map(|text| of_text[text].as_str()).collect();
    let (mut tally, mut logged, mut unknown) = (Tally::default(), BTreeSet::new(), None);
    for approval in all_approvals(&office.log) {
        let (run, list) = (approval["run"].as_str().unwrap(), approval["executions"].as_array().unwrap());
        assert!(list.len() <= 1, "{approval:#}");
        let is_of_list = |id: &&&str| list.iter().any(|execution| execution["id"] == **id);
        let happened: Vec<&str> = effects.iter().filter(is_of_list).copied().collect();
        tally.add(run, list, &happened);
        logged.extend(happened);
        if list.iter().any(|execution| execution["status"] == "unknown") {
            unknown = Some(run.to_owned());
        }
    }
    let orphans: Vec<&str> = effects.into_iter().filter(|id| !logged.contains(id)).collect();
    tally.add("no run", &[], &orphans);
    tally.holds("those MCP calls");
    println!("count executions of those MCP calls that were killed before they were logged {open}");
    println!("count kills -9 of gates of MCP calls, after which effects and log agree {kills}");
    let run = unknown.expect("slow calls were under way");
    office.log.good(&["settle", &run, "--status", "failed", "--effects", "none"]);
    assert_eq!(office.log.json(&["resume", &run])["executions"][0]["status"], "failed");
    office.convinces(&run);
}

/// All proposals of a log.
fn all_approvals(log: &Log) -> Vec<Value> {
    let (mut all, mut before) = (Vec::new(), String::new());
    loop {
        let page = ask(&log.url, "GET", &format!("/v1/approvals?limit=100{before}"), b"").unwrap();
        let mut page: Value = serde_json::from_slice(&page).unwrap();
        all.append(page["approvals"].as_array_mut().unwrap());
        let Some(next) = page["next"].as_u64() else { return all };
        before = format!("&before={next}");
    }
}

/// A log whose policy allows all commands, and a place for what they leave.
fn allowing_commands() -> Log {
    let log = Log::new();
    log.desk.write("policy.toml", POLICY);
    log.good(&["policy", "set", "policy.toml"]);
    std::fs::create_dir(log.desk.path("effects")).unwrap();
    log
}

/// Does it so many times, several at a time, and adds up what that gives.
fn in_lanes(times: usize, work: impl Fn(usize) -> usize + Sync) -> usize {
    let work = &work;
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| scope.spawn(move || (lane..times).step_by(LANES).map(work).sum::<usize>()))
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).sum()
    })
}

fn quiet(command: &mut Command) -> &mut Command {
    command.stdout(Stdio::null()).stderr(Stdio::null())
}

/// Proposes to leave a trace, hands over the gate that is to do it, and has another gate try after that.
fn attempt(log: &Log, name: &str, first: impl FnOnce(Command)) {
    let script = format!("sleep 0.02; echo $COUNTERFOIL_EXECUTION >> effects/{name}; sleep 0.02");
    let command = ["sh", "-c", script.as_str()];
    let line = |words: &[&'static str]| [words, &["--"]].concat();
    let action = format!("{name}.json");
    log.desk.write(&action, log.good(&[&line(&["gate", "action"])[..], &command].concat()));
    let run = log.json(&["trigger", "--source", "kills", "--id", name])["run"].as_str().unwrap().to_owned();
    log.good(&["propose", &run, "--action", &action, "--for", "runtime", "--risk", "low"]);
    note(log, &format!("{name} {run}\n"));
    let gate = [&["gate", "run", run.as_str(), "--"][..], &command].concat();
    first(log.desk.command(&before_dashes(&gate, &["--server", &log.url])));
    let began = Instant::now();
    // Settles what the other left, and then runs it, or is refused.
    let second = log.run(&gate);
    assert!(began.elapsed() < PATIENCE && matches!(second.code, 0 | 1), "{name}: {}", second.shown());
}

fn note(log: &Log, line: &str) {
    use std::io::Write as _;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log.desk.path("runs"));
    file.unwrap().write_all(line.as_bytes()).unwrap();
}

/// Counts what gates did, once all of it is settled.
fn count(log: &Log) -> Tally {
    let settled = log.run(&["gate", "settle"]);
    assert_eq!(settled.code, 0, "{}", settled.shown());
    let mut tally = Tally::default();
    for run in std::fs::read_to_string(log.desk.path("runs")).unwrap().lines() {
        let (name, run) = run.split_once(' ').unwrap();
        let executions = log.json(&["resume", run])["executions"].clone();
        let effects = std::fs::read_to_string(log.desk.path("effects").join(name)).unwrap_or_default();
        let effects: Vec<&str> = effects.lines().collect();
        tally.add(name, executions.as_array().unwrap(), &effects);
    }
    tally
}

/// What is in the log, against the traces outside.
#[derive(Default)]
struct Tally {
    /// Executions by how they ended.
    ended: BTreeMap<String, u64>,
    /// Effects that no execution in the log accounts for.
    beyond: usize,
    /// Uses that had more than one effect.
    twice: usize,
    /// Executions that say that they succeeded, and had no effect.
    hollow: usize,
}

impl Tally {
    /// Adds one run, in which one use was approved.
    fn add(&mut self, name: &str, executions: &[Value], effects: &[&str]) {
        let beyond: Vec<_> =
            effects.iter().filter(|effect| !executions.iter().any(|one| one["id"] == ***effect)).collect();
        for effect in &beyond {
            eprintln!("{name}: {effect} happened and is not in the log");
        }
        let of_one_use = effects.len() - beyond.len();
        if of_one_use > 1 {
            eprintln!("{name}: one use was approved, and it happened {of_one_use} times");
        }
        self.beyond += beyond.len();
        self.twice += usize::from(of_one_use > 1);
        for execution in executions {
            let happened = effects.iter().any(|effect| execution["id"] == **effect);
            let status = execution["status"].as_str().unwrap_or("open").to_owned();
            match status.as_str() {
                "succeeded" => self.hollow += usize::from(!happened),
                // It was confirmed that it did not run.
                "failed" => assert!(!happened, "{name}: {execution}"),
                "unknown" => {}
                other => panic!("{name}: {other}: {execution}"),
            }
            *self.ended.entry(status).or_default() += 1;
        }
    }

    /// Says what was counted, and that nothing happened beyond the log or twice.
    fn holds(&self, of: &str) {
        for (status, count) in &self.ended {
            println!("count executions of {of} that ended as {status} {count}");
        }
        println!("count effects of killed gates that no execution in the log accounts for {}", self.beyond);
        println!("count uses of killed gates that had more than one effect {}", self.twice);
        println!("count executions of killed gates that succeeded without an effect {}", self.hollow);
        assert_eq!((self.beyond, self.twice, self.hollow), (0, 0, 0));
        assert!(self.ended.get("succeeded").is_some_and(|count| *count > 0), "{:?}", self.ended);
    }
}

/// A number from 0 to 1, of a seed: SplitMix64.
fn seeded(seed: u64) -> f64 {
    let mut z = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ z >> 31) as f64 / u64::MAX as f64
}
