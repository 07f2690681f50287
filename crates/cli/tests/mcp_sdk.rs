//! Clients on the official SDKs and published servers, with `counterfoil mcp gate` in between: what is allowed, denied, approved,
//! rejected, left to expire, cancelled, and what is left when somebody goes or is killed. What the servers left on disk shows
//! that nothing happened that nobody approved, and each run ends in a bundle that convinces.
//!
//! `cargo xtask test` installs them and says where they are in `COUNTERFOIL_MCP`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

#[path = "mcp_sdk/clients.rs"]
mod clients;
mod common;
mod office;

use std::{
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use clients::{
    Sdk::{Py1, Py2, Ts1, Ts2},
    Server::{Everything, Files, Git, Small},
    *,
};
use serde_json::{Value, json};

const POLICY: &str = r#"
language = "counterfoil-policy/1"

[[rules]]
name = "harmless"
effect = "allow"
uses = 1
match.any = [
  { tool = "files/read_text_file" }, { tool = "everything/echo" }, { tool = "everything/trigger-long-running-operation" },
  { tool = "git/git_log" }, { tool = "small/look" }, { tool = "small/slow" },
  { tool = "small/confirm" }, { tool = "small:elicitation/create" },
]

[[rules]]
name = "ask"
effect = "require"
uses = 1
window = "15m"
segregation = false
requirements = [{ count = 1, surfaces = ["none", "terminal"] }]
match.any = [
  { tool = "files/write_file" }, { tool = "everything/get-sum" }, { tool = "git/git_commit" }, { tool = "small/write" },
]

[[rules]]
name = "ask-in-haste"
effect = "require"
uses = 1
window = "1s"
timeout = { after = "2s", then = "reject" }
segregation = false
requirements = [{ count = 1, surfaces = ["none", "terminal"] }]
match.any = [{ tool = "files/create_directory" }, { tool = "small/make" }]

[[rules]]
name = "ask-briefly"
effect = "require"
uses = 1
window = "2s"
segregation = false
requirements = [{ count = 1, surfaces = ["none", "terminal"] }]
match.any = [{ tool = "files/edit_file" }, { tool = "small/change" }]

[[rules]]
name = "never"
effect = "deny"
match.any = [
  { tool = "files/move_file" }, { tool = "everything/get-env" }, { tool = "git/git_create_branch" }, { tool = "small/erase" },
]
"#;

/// A case for each of these clients and servers, all at once. Each ends in bundles of all its runs that convince.
fn each(pairs: &[(Sdk, Server)], case: fn(&Setting)) {
    // What is counted is what happened, also where one of them fails.
    let counts = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
    let (begun, published, bundles) = (&counts.0, &counts.1, &counts.2);
    let ended: Vec<thread::Result<bool>> = thread::scope(|scope| {
        let cases = pairs.iter().map(|(sdk, server)| {
            scope.spawn(move || {
                let Some(setting) = Setting::new(*sdk, *server, POLICY) else { return false };
                begun.fetch_add(1, Relaxed);
                published.fetch_add(usize::from(*server != Small), Relaxed);
                case(&setting);
                setting.nothing_goes_on();
                let verified = setting.office.each_run_convinces();
                bundles.fetch_add(verified, Relaxed);
                verified > 0
            })
        });
        let cases: Vec<_> = cases.collect();
        cases.into_iter().map(|case| case.join()).collect()
    });
    let convinced = ended.iter().filter(|case| matches!(case, Ok(true))).count();
    let [begun, published, bundles] = [begun, published, bundles].map(|count| count.load(Relaxed));
    println!("count cases of clients on the official SDKs {begun}");
    println!("count cases of those in front of published servers {published}");
    println!("count cases of those of which each run ends in a bundle that verify accepts {convinced}");
    println!("count bundles that these cases ended in {bundles}");
    if let Some(fault) = ended.into_iter().find_map(Result::err) {
        resume_unwind(fault);
    }
    assert_eq!(convinced, begun, "each case ends in bundles");
}

fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap()
}

/// Waits until a call waits for people; gives its run.
fn held(setting: &Setting) -> String {
    let run = setting.office.run_that_is("open", 1);
    // The gate has looked whether it may run by now, so what ran too early is seen.
    thread::sleep(Duration::from_millis(500));
    run
}

/// That a call ran well.
fn ran(setting: &Setting, result: &Value) {
    assert_ne!(result["isError"], true, "{result}");
    assert_eq!(setting.office.outcome(result), "succeeded");
}

/// That a call was not run, for this reason.
fn was_not_run(result: &Value, why: &str) {
    assert!(result["isError"] == true && said(result).contains(why), "{why}: {result}");
    assert!(said(result).to_lowercase().contains("nothing was run"), "{result}");
}

#[test]
fn what_is_allowed_or_approved_runs_and_what_is_denied_does_not() {
    let fit = [(Ts1, Files), (Ts2, Files), (Ts2, Small), (Py1, Everything), (Py2, Git)];
    each(&fit, |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        assert_eq!(client.protocol, setting.protocol());
        let tools = client.tools();
        let is_listed = |tool: &str| tools.iter().any(|listed| listed == tool);
        assert!(is_listed(setting.allowed().0) && is_listed(setting.asked("").0), "{tools:?}");
        assert!(!is_listed(setting.denied().0), "{tools:?}");
        let result = client.call(setting.allowed());
        assert!(said(&result).contains("hello"), "{result}");
        ran(setting, &result);
        let refused = client.call(setting.denied());
        was_not_run(&refused, "policy-denied");
        let run = refused["_meta"]["counterfoil/receipt"]["run"].as_str().unwrap();
        office.convinces_without_execution(run);
        let call = client.begin(setting.asked("approved"));
        let run = held(setting);
        setting.has_left(&[]);
        office.log.good(&["approve", &run, "--yes"]);
        ran(setting, &client.end(call).unwrap());
        setting.has_left(&["approved"]);
        client.exit();
    });
}

#[test]
fn what_a_tool_asks_within_a_call_is_answered_by_a_call_of_its_own() {
    each(&[(Ts2, Small)], |setting| {
        let mut client = setting.client(&[]);
        let result = client.call(("confirm", json!({"name": "confirmed"})));
        assert_eq!(said(&result), "confirmed");
        ran(setting, &result);
        setting.has_left(&["confirmed"]);
        // The first call is on record, too.
        let first = setting.office.run_that_is("failed", 1);
        assert_ne!(result["_meta"]["counterfoil/receipt"]["run"], *first);
        setting.office.convinces(&first);
        client.exit();
    });
}

#[test]
fn over_http_the_same_is_run_held_denied_and_given_up() {
    let fit = [(Ts1, Everything), (Py1, Everything), (Ts2, Everything), (Ts2, Small), (Py2, Small)];
    each(&fit, |setting| {
        let office = &setting.office;
        let mut client = setting.client_over_http(&["--hold", "50s"]);
        assert_eq!(client.protocol, setting.protocol());
        let tools = client.tools();
        assert!(tools.iter().any(|listed| listed == setting.allowed().0), "{tools:?}");
        assert!(!tools.iter().any(|listed| listed == setting.denied().0), "{tools:?}");
        let result = client.call(setting.allowed());
        assert!(said(&result).contains("hello"), "{result}");
        ran(setting, &result);
        was_not_run(&client.call(setting.denied()), "policy-denied");
        let call = client.begin(setting.asked("approved"));
        let run = held(setting);
        setting.has_left(&[]);
        office.log.good(&["approve", &run, "--yes"]);
        ran(setting, &client.end(call).unwrap());
        setting.has_left(&["approved"]);
        let call = client.begin(setting.asked("rejected"));
        let run = held(setting);
        office.log.good(&["reject", &run, "--yes", "--reason", "not today"]);
        was_not_run(&client.end(call).unwrap(), "proposal-ended");
        let call = client.begin(setting.slow(90));
        client.wait_for_progress(call);
        client.cancel(call);
        client.end(call).unwrap_err();
        if client.says_what_it_gives_up() {
            let run = office.run_that_is("unknown", 1);
            office.convinces(&run);
            setting.began_once();
        }
        client.exit();
    });
}

#[test]
fn what_people_reject_or_do_not_approve_in_time_does_not_run() {
    each(&[(Ts1, Files), (Py2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        let call = client.begin(setting.asked("rejected"));
        let run = held(setting);
        office.log.good(&["reject", &run, "--yes", "--reason", "not today"]);
        was_not_run(&client.end(call).unwrap(), "proposal-ended");
        office.convinces_without_execution(&run);
        // Nobody decides.
        was_not_run(&client.call(setting.asked_in_haste("late")), "proposal-ended");
        assert_eq!(office.approvals("rejected").len(), 2);
        client.exit();
        // Somebody approves once nobody waits any more, and nobody asks again for too long.
        let mut client = setting.client(&["--hold", "1s"]);
        was_not_run(&client.call(setting.asked_briefly()), "Not approved yet");
        let run = held(setting);
        office.log.good(&["approve", &run, "--yes"]);
        thread::sleep(Duration::from_millis(2500));
        let late = client.call(setting.asked_briefly());
        was_not_run(&late, "window-closed");
        assert_eq!(office.run_that_is("expired", 1), run);
        office.convinces_without_execution(&run);
        // The same call is another one now.
        client.begin(setting.asked_briefly());
        assert_ne!(held(setting), run);
        client.exit();
        setting.has_left(&[]);
    });
}

#[test]
fn what_its_client_gave_up_does_not_run_once_it_is_approved() {
    each(&[(Ts1, Files), (Ts2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        let call = client.begin(setting.asked("given-up"));
        let run = held(setting);
        client.cancel(call);
        client.end(call).unwrap_err();
        office.log.good(&["approve", &run, "--yes"]);
        office.run_that_is("approved", 1);
        thread::sleep(Duration::from_millis(500));
        setting.has_left(&[]);
        office.convinces_without_execution(&run);
        // It is approved for whoever asks again.
        let result = client.call(setting.asked("given-up"));
        assert_eq!(result["_meta"]["counterfoil/receipt"]["run"], *run);
        ran(setting, &result);
        setting.has_left(&["given-up"]);
        client.exit();
    });
}

#[test]
fn what_python_1_gave_up_without_a_word_runs_and_is_on_record() {
    each(&[(Py1, Files)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        let call = client.begin(setting.asked("given-up"));
        let run = held(setting);
        client.cancel(call);
        client.end(call).unwrap_err();
        office.log.good(&["approve", &run, "--yes"]);
        assert_eq!(office.run_that_is("succeeded", 1), run);
        office.convinces(&run);
        setting.has_left(&["given-up"]);
        client.exit();
    });
}

#[test]
fn what_its_client_gave_up_while_it_ran_is_unknown() {
    each(&[(Ts1, Everything), (Py2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&[]);
        let call = client.begin(setting.slow(90));
        client.wait_for_progress(call);
        client.cancel(call);
        client.end(call).unwrap_err();
        let run = office.run_that_is("unknown", 1);
        office.convinces(&run);
        setting.began_once();
        client.exit();
    });
}

#[test]
fn nothing_runs_for_a_client_that_is_gone() {
    each(&[(Py1, Files), (Ts2, Git)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        client.begin(setting.asked("left"));
        let run = held(setting);
        client.kill();
        setting.nothing_goes_on();
        office.log.good(&["approve", &run, "--yes"]);
        office.run_that_is("approved", 1);
        setting.has_left(&[]);
        office.convinces_without_execution(&run);
        let mut client = setting.client(&["--hold", "50s"]);
        client.call(setting.allowed());
        setting.has_left(&[]);
        let result = client.call(setting.asked("left"));
        assert_eq!(result["_meta"]["counterfoil/receipt"]["run"], *run);
        setting.has_left(&["left"]);
        office.convinces(&run);
        client.exit();
    });
}

#[test]
fn what_runs_when_its_client_goes_is_recorded_as_unknown() {
    each(&[(Py1, Everything), (Ts2, Small)], |setting| {
        let mut client = setting.client(&[]);
        let call = client.begin(setting.slow(20));
        client.wait_for_progress(call);
        client.kill();
        setting.nothing_goes_on();
        let run = setting.office.run_that_is("unknown", 1);
        setting.office.convinces(&run);
        setting.began_once();
    });
}

#[test]
fn what_runs_when_its_client_exits_is_recorded_as_unknown() {
    // The first of these servers does not heed that its input ended: the client sends a signal, too.
    each(&[(Ts1, Everything), (Py1, Everything), (Ts2, Small)], |setting| {
        let mut client = setting.client(&[]);
        let call = client.begin(setting.slow(90));
        client.wait_for_progress(call);
        client.exit();
        assert_eq!(setting.office.approvals("executing").len(), 0);
        setting.office.convinces(&setting.office.run_that_is("unknown", 1));
        setting.began_once();
    });
}

/// People take longer than one request may.
#[test]
fn what_is_held_longer_than_a_request_may_last_runs_once_it_is_approved_without_its_client_calling_anew() {
    each(&[(Ts2, Small), (Py2, Small)], |setting| {
        let mut client = setting.client(&["--hold", "2s", "--rounds", "9"]);
        let call = client.begin(setting.asked("patient"));
        let run = held(setting);
        thread::sleep(Duration::from_secs(5));
        setting.office.log.good(&["approve", &run, "--yes"]);
        let result = client.end(call).unwrap();
        ran(setting, &result);
        assert_eq!(result["_meta"]["counterfoil/receipt"]["run"], *run);
        setting.has_left(&["patient"]);
        client.exit();
    });
}

/// That the same call again is not made, because it was begun, unless its server says that it changes nothing.
fn is_in_doubt(setting: &Setting, client: &mut Client) {
    if setting.server != Small {
        return;
    }
    let result = client.call(setting.slow(20));
    assert_eq!(result["isError"], true, "{result}");
    assert_eq!(result["_meta"]["counterfoil/receipt"]["code"], "outcome-unknown", "{result}");
}

#[test]
fn what_a_server_was_at_when_it_crashed_is_unknown_and_not_repeated() {
    each(&[(Ts1, Everything), (Py2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&[]);
        let call = client.begin(setting.slow(20));
        client.wait_for_progress(call);
        setting.kill("servers");
        let gone = client.end(call).unwrap();
        assert!(gone["isError"] == true && said(&gone).contains("the server ended"), "{gone}");
        assert_eq!(office.outcome(&gone), "unknown");
        client.exit();
        let mut client = setting.client(&[]);
        assert!(said(&client.call(setting.allowed())).contains("hello"));
        is_in_doubt(setting, &mut client);
        client.exit();
        assert_eq!(office.approvals("unknown").len(), 1);
        setting.began_once();
    });
}

#[test]
fn a_killed_gate_leaves_what_is_held_to_the_next() {
    each(&[(Py1, Git), (Ts2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&["--hold", "50s"]);
        let call = client.begin(setting.asked("later"));
        let run = held(setting);
        setting.kill("gates");
        client.end(call).unwrap_err();
        client.exit();
        office.log.good(&["approve", &run, "--yes"]);
        setting.has_left(&[]);
        let mut client = setting.client(&["--hold", "50s"]);
        let result = client.call(setting.asked("later"));
        assert_eq!(result["_meta"]["counterfoil/receipt"]["run"], *run);
        ran(setting, &result);
        setting.has_left(&["later"]);
        client.exit();
    });
}

#[test]
fn what_a_killed_gate_was_at_is_unknown_and_not_repeated() {
    each(&[(Ts1, Everything), (Py2, Small)], |setting| {
        let office = &setting.office;
        let mut client = setting.client(&[]);
        let call = client.begin(setting.slow(20));
        client.wait_for_progress(call);
        setting.kill("gates");
        client.end(call).unwrap_err();
        client.exit();
        let run = office.run_that_is("executing", 1);
        let mut client = setting.client(&[]);
        assert!(said(&client.call(setting.allowed())).contains("hello"));
        assert_eq!(office.run_that_is("unknown", 1), run);
        is_in_doubt(setting, &mut client);
        office.convinces(&run);
        setting.began_once();
        client.exit();
    });
}

#[test]
fn gates_of_two_clients_work_side_by_side() {
    each(&[(Ts2, Small)], |setting| {
        let (mut one, mut other) = (setting.client(&[]), setting.client(&["--hold", "50s"]));
        let slow = one.begin(setting.slow(90));
        one.wait_for_progress(slow);
        let running = setting.office.run_that_is("executing", 1);
        // What starts now takes nothing of what runs for something that was left behind.
        let call = other.begin(setting.asked("other"));
        let run = held(setting);
        setting.office.log.good(&["approve", &run, "--yes"]);
        ran(setting, &other.end(call).unwrap());
        assert_eq!(setting.office.run_that_is("executing", 1), running);
        assert_eq!(setting.office.approvals("unknown").len(), 0);
        one.cancel(slow);
        one.end(slow).unwrap_err();
        assert_eq!(setting.office.run_that_is("unknown", 1), running);
        setting.began_once();
        setting.has_left(&["other", "slow"]);
        one.exit_alone();
        other.exit();
    });
}

#[test]
fn an_agent_on_each_sdk_proposes_waits_is_approved_goes_on_and_verifies() {
    each(&[(Ts1, Files), (Ts2, Files), (Py1, Files), (Py2, Files)], |setting| {
        let office = &setting.office;
        let mut client = setting.agent();
        assert_eq!(client.protocol, setting.newest());
        let names = client.tools();
        assert_eq!(names, ["propose", "wait", "resume", "verify", "receipts", "approvals", "cancel"]);
        let data = |result: &Value| {
            assert_ne!(result["isError"], true, "{result}");
            result["structuredContent"].clone()
        };
        let event = json!({"source": "alerts", "id": "1"});
        let action =
            json!({"tool": "files/write_file", "arguments": {"path": "x"}, "risk": "low", "event": event});
        let proposed = data(&client.call(("propose", action.clone())));
        let (run, proposal) = (proposed["run"].as_str().unwrap(), &proposed["proposal"]);
        let wait = client.begin(("wait", json!({"proposal": proposal, "seconds": 50})));
        client.wait_for_progress(wait);
        office.log.good(&["approve", run, "--yes"]);
        assert_eq!(data(&client.end(wait).unwrap())["status"], "approved");
        assert_eq!(data(&client.call(("propose", action)))["joined"], true);
        let resumed = client.call(("resume", json!({"run": run})));
        assert!(said(&resumed).contains(proposal.as_str().unwrap()), "{resumed}");
        assert_eq!(data(&resumed)["proposals"][0]["status"], "approved");
        let require = ["integrity", "authority", "inclusion"];
        let verified = data(&client.call(("verify", json!({"run": run, "require": require}))));
        assert_eq!(verified["conclusion"], "shown");
        // What is refused is a result that these clients pass on, too.
        let refused = client.call(("cancel", json!({"proposal": run})));
        assert!(refused["isError"] == true && said(&refused).starts_with("error["), "{refused}");
        client.exit();
    });
}
