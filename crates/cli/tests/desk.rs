//! The library's desk against a real server: a function is called once what it is asked for may be, with what was approved.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod office;

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::Log;
use counterfoil_client::{Client, FileCheckpoints, SystemClock};
use counterfoil_gate::{Ask, AskError, Asked, Attempt, Config, Desk, Done, Effect, Ended, Function, Gate};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Action,
    action::{Json, Mode},
    body::{Effects, Risk, Status},
    text::Label,
};
use counterfoil_verify::Trust;
use serde_json::{Value, json};

const POLICY: &str = r#"
language = "counterfoil-policy/1"
[[rules]]
name = "small"
effect = "allow"
uses = 1
match.all = [{tool = "shop/refund"}, {argument = {path = "/cents", at_most = "500"}}]
[[rules]]
name = "look"
effect = "allow"
uses = 1
match.all = [{tool = "shop/close"}, {mode = "preview"}]
[[rules]]
name = "close"
effect = "require"
uses = 1
window = "15m"
segregation = false
preview = true
requirements = [{count = 1, surfaces = ["none"]}]
match.all = [{tool = "shop/close"}, {mode = "apply"}]
"#;

#[derive(serde::Deserialize)]
struct Refund {
    order: String,
    cents: u64,
}

fn desk(log: &Log) -> Desk {
    desk_at(log, &log.url)
}

fn desk_at(log: &Log, url: &str) -> Desk {
    log.desk.write("policy.toml", POLICY);
    log.good(&["policy", "set", "policy.toml"]);
    let key = |role: &str| RecordKey::load(&log.desk.path(&format!("keys/{role}.key"))).unwrap();
    let (agent, runtime) = (key("agent"), key("runtime"));
    let trust = Trust::parse(&log.desk.read("trust.toml")).unwrap();
    let checkpoints = FileCheckpoints::new(log.desk.path("seen.checkpoint"));
    let client = Client::new(url, None).unwrap().pin(trust, Box::new(checkpoints));
    let config = Config {
        dir: log.desk.path("desk"),
        runtime: runtime.principal().clone(),
        signer: Box::new(runtime),
        clock: Box::new(SystemClock),
        outcome_patience: Duration::from_secs(10),
        refusal_pause: Duration::from_secs(60),
    };
    let gate = Gate::new(client, config).unwrap();
    gate.settle_open().unwrap();
    let principal = agent.principal().clone();
    Desk::new(gate, Box::new(agent), principal, Box::new(SystemClock))
}

fn ask(tool: &str, arguments: &Value) -> Ask {
    let action = Action {
        arguments: Json::from_value(arguments).unwrap(),
        committed: None,
        connector: None,
        free: None,
        mode: Mode::Apply,
        precondition: None,
        target: None,
        tool: Label::new(tool).unwrap(),
    };
    Ask::new("shop", &format!("{tool}{arguments}"), action, Risk::Medium).unwrap()
}

#[test]
fn a_plain_function_is_called_with_what_the_policy_allows_and_its_result_is_on_record() {
    let log = Log::new();
    let desk = desk(&log);
    let mut refund = Function::new(|refund: Refund| -> Result<String, String> {
        match refund.order.as_str() {
            "17" => Ok(format!("{} cents", refund.cents)),
            other => Err(format!("no order {other}")),
        }
    });
    let (asked, ended) = desk
        .perform(&ask("shop/refund", &json!({"order": "17", "cents": 500})), &mut refund, Duration::ZERO)
        .unwrap();
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
    assert_eq!(refund.returned(), Some(Ok("500 cents".to_owned())));
    let resumed = log.json(&["resume", &asked.run.to_string()]);
    assert_eq!(resumed["executions"][0]["status"], "succeeded");

    // What is not allowed is not called.
    let (_, ended) = desk
        .perform(&ask("shop/refund", &json!({"order": "17", "cents": 501})), &mut refund, Duration::ZERO)
        .unwrap();
    let Ended::Refused { refusal, .. } = ended else { panic!("{ended:?}") };
    assert_eq!((refusal.code.as_str(), refund.returned()), ("policy-denied", None));

    // What fails is an outcome, and arguments of another kind reach no function.
    for (arguments, effects) in
        [(json!({"order": "18", "cents": 1}), Effects::Unknown), (json!({"cents": 1}), Effects::None)]
    {
        let (_, ended) = desk.perform(&ask("shop/refund", &arguments), &mut refund, Duration::ZERO).unwrap();
        let Ended::Ran(ran) = ended else { panic!("{ended:?}") };
        assert_eq!((ran.done.status, ran.done.effects), (Status::Failed, effects));
    }
}

/// Closes a shop, and can say first what that would do.
#[derive(Default)]
struct Close(RefCell<Vec<Mode>>);

impl Effect for Close {
    fn run(&mut self, action: &Action, _: &Attempt) -> Done {
        self.0.borrow_mut().push(action.mode);
        Done {
            status: Status::Succeeded,
            effects: Effects::Complete,
            result: None,
            detail: Some("3 orders are open".to_owned()),
        }
    }

    fn previews(&self) -> bool {
        true
    }
}

#[test]
fn the_example_pays_what_is_allowed_or_approved_once_and_nothing_else() {
    let built = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/refund");
    if !built.exists() {
        assert!(std::env::var_os("CI").is_none(), "cargo build --examples");
        println!("NOT TESTED the example of an async function: cargo build --examples");
        return;
    }
    let ran = std::process::Command::new(built).output().unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let paid: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("paid: ")).collect();
    assert_eq!(paid, ["order-17 of 450 cents", "nothing", "order-18 of 4500 cents", "nothing", "nothing"]);
    for (what, how) in [
        ("4500 cents", "waits: 0 of 1"),
        ("  and again", "refused: use-exceeded"),
        ("45000 cents", "refused: policy-denied"),
    ] {
        assert!(said.contains(&format!("{what:<12} {how}")), "{said}");
    }
    let shown =
        said.lines().filter(|line| line.ends_with(": shown: integrity, authority, conformity, inclusion"));
    assert_eq!(shown.count(), 2, "{said}");
}

#[test]
fn what_the_policy_wants_previewed_is_previewed_first_under_its_own_execution_and_approvers_see_that() {
    let log = Log::new();
    let desk = desk(&log);
    let (asked, ended) =
        desk.perform(&ask("shop/close", &json!({})), &mut Close::default(), Duration::ZERO).unwrap();
    assert!(matches!(ended, Ended::Held(_)), "{ended:?}");
    let run = asked.run.to_string();
    let resumed = log.json(&["resume", &run]);
    assert_eq!(resumed["executions"].as_array().unwrap().len(), 1, "{resumed:#}");
    let shown = log.run(&["approve", &run, "--proposal", &asked.proposal.to_string(), "--yes"]);
    assert!(shown.code == 0 && shown.shown().contains("3 orders are open"), "{}", shown.shown());

    let mut close = Close::default();
    let ended = desk.attempt(&asked, &mut close).unwrap();
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
    assert_eq!(close.0.into_inner(), [Mode::Apply]);
    log.good(&["bundle", &run, "--out", "run.jsonl"]);
    log.good(&["verify", "run.jsonl"]);
}

#[test]
fn an_effect_that_can_not_preview_does_not_run_where_the_policy_wants_one() {
    let log = Log::new();
    let desk = desk(&log);
    let mut called = Function::new(|_: Value| -> Result<(), String> { panic!("called") });
    let (_, ended) = desk.perform(&ask("shop/close", &json!({})), &mut called, Duration::ZERO).unwrap();
    let Ended::Refused { refusal, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(refusal.code, "preview-missing");
}

#[test]
fn without_a_log_nothing_is_called() {
    let log = Log::new();
    // Nobody listens there.
    let desk = desk_at(&log, "http://127.0.0.1:9");
    let mut called = Function::new(|_: Value| -> Result<(), String> { panic!("called") });
    let ended = desk.perform(&ask("shop/refund", &json!({"cents": 1})), &mut called, Duration::ZERO);
    assert!(matches!(ended, Err(AskError::NotAsked { .. })), "{ended:?}");
}

#[test]
fn the_caller_changes_the_arguments_after_the_approval() {
    let log = Log::new();
    let desk = desk(&log);
    let asked = desk.propose(&ask("shop/refund", &json!({"order": "17", "cents": 1}))).unwrap();
    let swapped =
        Asked { action: ask("shop/refund", &json!({"order": "17", "cents": 400})).action, ..asked.clone() };
    let mut called = Function::new(|_: Value| -> Result<(), String> { panic!("called") });
    let ended = desk.attempt(&swapped, &mut called).unwrap();
    let Ended::Refused { refusal, .. } = ended else { panic!("{ended:?}") };
    assert_eq!(refusal.code, "action-differs");
    // And what is given to the function is what was approved.
    let mut heard = Function::new(|refund: Refund| -> Result<u64, String> { Ok(refund.cents) });
    desk.attempt(&asked, &mut heard).unwrap();
    assert_eq!(heard.returned(), Some(Ok(1)));
}

#[test]
fn what_may_have_happened_is_not_done_again_also_after_the_log_gave_no_answer_or_another_process_asks() {
    let log = Log::new();
    let keeps_back = Arc::new(AtomicBool::new(false));
    let url = office::before_the_log(&log.url, &keeps_back);
    let (desk, mut times) = (desk_at(&log, &url), 0);
    let mut lost = |_: &Action, _: &Attempt| {
        times += 1;
        Done::unknown("the line went dead")
    };
    let refund = ask("shop/refund", &json!({"order": "17", "cents": 1}));
    let (asked, ended) = desk.perform(&refund, &mut lost, Duration::ZERO).unwrap();
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
    keeps_back.store(true, Ordering::Release);
    desk.perform(&refund, &mut lost, Duration::ZERO).unwrap_err();
    keeps_back.store(false, Ordering::Release);
    let in_doubt = |ended: Ended| {
        let Ended::Refused { refusal, .. } = ended else { panic!("{ended:?}") };
        assert_eq!(refusal.code, "outcome-unknown");
    };
    in_doubt(desk.perform(&refund, &mut lost, Duration::ZERO).unwrap().1);
    drop(desk);
    let next = self::desk(&log);
    next.find_earlier("shop/*").unwrap();
    in_doubt(next.perform(&refund, &mut lost, Duration::ZERO).unwrap().1);
    // A policy that lets nothing pass for a while ends no doubt.
    log.desk.write("none.toml", "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"none\"\neffect = \"deny\"\nmatch.always = true\n");
    log.good(&["policy", "set", "none.toml"]);
    next.perform(&refund, &mut lost, Duration::ZERO).unwrap();
    log.good(&["policy", "set", "policy.toml"]);
    in_doubt(next.perform(&refund, &mut lost, Duration::ZERO).unwrap().1);
    log.good(&["settle", &asked.run.to_string(), "--status", "failed", "--effects", "none"]);
    // Known now: the use is spent, and the same is another proposal after that.
    let (_, ended) = next.perform(&refund, &mut lost, Duration::ZERO).unwrap();
    assert!(matches!(&ended, Ended::Refused { refusal, .. } if refusal.code == "use-exceeded"), "{ended:?}");
    let (again, ended) = next.perform(&refund, &mut lost, Duration::ZERO).unwrap();
    assert!(matches!(ended, Ended::Ran(_)) && again.run != asked.run, "{ended:?}");
    assert_eq!(times, 2);
}

#[test]
fn what_is_asked_for_in_a_run_stands_there_and_may_revise_what_is_there() {
    let log = Log::new();
    let desk = desk(&log);
    let mut done = 0;
    let mut refund = Function::new(|refund: Refund| -> Result<u64, String> {
        done += refund.cents;
        Ok(refund.cents)
    });
    let first = desk.propose(&ask("shop/refund", &json!({"order": "17", "cents": 900}))).unwrap();
    let smaller = ask("shop/refund", &json!({"order": "17", "cents": 400}));
    let second = desk.propose_in(first.run, &smaller, Some(first.proposal)).unwrap();
    assert_eq!(second.run, first.run);
    let ended = desk.attempt(&second, &mut refund).unwrap();
    assert!(matches!(ended, Ended::Ran(_)), "{ended:?}");
    let ended = desk.attempt(&first, &mut refund).unwrap();
    assert!(matches!(ended, Ended::Refused { .. }), "{ended:?}");
    assert_eq!(done, 400);
    let resumed = log.json(&["resume", &first.run.to_string()]);
    assert_eq!(resumed["proposals"][1]["supersedes"], first.proposal.to_string());
    // A run of another agent takes nothing of this one.
    let run = log.trigger();
    log.desk.key("agent", "other", "other.key");
    let key = log.desk.json(&["keys", "list", "."])[0]["key"].as_str().unwrap().to_owned();
    log.good(&["keys", "enrol", &key, "--principal", "other", "--role", "agent"]);
    log.good(&["handoff", &run, "--to", "other"]);
    let run = counterfoil_receipt::RunId::started_by(counterfoil_receipt::RecordId::parse(&run).unwrap());
    let refused = desk.propose_in(run, &smaller, None);
    assert!(matches!(&refused, Err(AskError::NotAsked { code, .. }) if code == "not-owner"), "{refused:?}");
}
