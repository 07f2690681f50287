//! Workflows that pause, go on in another process, are denied, run out of time, break off, or try to get around it all: with the real programs.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops")]

mod office;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use office::{EVENT, Office, Ran};

const BOUNDED: &str = "attempts = 5";

#[test]
fn a_risky_step_waits_for_a_person_and_another_process_goes_on() {
    let office = Office::new();
    let run = office.held();
    assert!(!office.read("production/checkout.conf").contains(BOUNDED));
    office.counterfoil(&["approve", &run, "--yes"]).good();
    let went_on = office.resume("workflow.rn", EVENT).good();
    assert!(went_on.contains("step 3     deploy: succeeded"), "{went_on}");
    assert!(!went_on.contains("step 1") && !went_on.contains("step 2"), "not again: {went_on}");
    assert!(office.read("production/checkout.conf").contains(BOUNDED));
    let rows = [("read_status", 1), ("run_tests", 1), ("deploy", 1)];
    let rows = rows.map(|(tool, number)| (tool.to_owned(), number, "succeeded".to_owned()));
    assert_eq!(office.executions(&run), rows);
    // The receipt in the deployer's log is the execution, and shows who approved it.
    let noted = office.read("production/deploy.log");
    let receipt = noted.split("receipt=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let shown = office.json(&["receipt", receipt]);
    assert_eq!(shown["receipt"]["proposals"][0]["decisions"][0]["approver"], "human", "{shown:#}");
    office.bundle(&run);
    office.counterfoil(&["verify", "bundle.jsonl"]).good();
    // What came to its end does nothing more.
    assert!(office.resume("workflow.rn", EVENT).good().contains("ended      3 steps"));
    assert_eq!(office.executions(&run).len(), 3);
    assert_eq!(office.read("production/deploy.log"), noted);
}

/// A workflow that does this.
fn does(body: &str) -> String {
    format!("pub fn main() {{ {body} }}")
}

/// A call that is risky.
fn deploys(service: &str, config: &str) -> String {
    format!("deploy(#{{service: \"{service}\", config: \"{config}\"}});")
}

#[test]
fn what_people_or_the_policy_do_not_allow_is_not_done() {
    let office = Office::new();
    let before = office.read("production/checkout.conf");
    office.write("deploy.rn", &does(&deploys("checkout", "new")));
    let held = |event: &str| {
        let ran = office.resume("deploy.rn", event);
        ran.stopped(4, "held");
        ran.run()
    };
    // Rejected.
    let run = held("rejected");
    office.counterfoil(&["reject", &run, "--yes", "--reason", "not today"]).good();
    office.resume("deploy.rn", "rejected").stopped(1, "proposal-ended");
    office.resume("deploy.rn", "rejected").stopped(1, "proposal-ended");
    // Approved, and the time is out.
    let run = held("expired");
    office.counterfoil(&["approve", &run, "--yes", "--window", "1s"]).good();
    thread::sleep(Duration::from_millis(1_500));
    office.resume("deploy.rn", "expired").stopped(1, "window-closed");
    // Denied by the policy: nothing comes after.
    office.write("denied.rn", &does(&(deploys("payments", "new") + &deploys("checkout", "new"))));
    let denied = office.resume("denied.rn", "denied");
    denied.stopped(1, "policy-denied");
    let run = denied.run();
    assert_eq!(office.executions(&run), []);
    assert_eq!(office.json(&["resume", &run])["proposals"].as_array().unwrap().len(), 1);
    let refusal = String::from_utf8(office.bundle(&run)).unwrap();
    assert!(refusal.contains("\"code\":\"policy-denied\""), "the refusal is on record");
    // Allowed by another policy: the deployer wants people all the same.
    let policy = office.read("log/policy.toml").replace("effect = \"require\"", "effect = \"allow\"");
    let terms = ["window", "segregation", "requirements"];
    let policy = policy.split("[[test]]").next().unwrap().lines();
    let policy: Vec<&str> = policy.filter(|line| !terms.iter().any(|term| line.starts_with(term))).collect();
    office.write("allowed.toml", &policy.join("\n"));
    office.counterfoil(&["policy", "set", "allowed.toml"]).good();
    let refused = office.resume("deploy.rn", "allowed");
    refused.stopped(1, "step-failed");
    assert!(refused.stderr.contains("error[not-approved]"), "{}", refused.shown());
    assert_eq!(office.read("production/checkout.conf"), before);
    assert!(!office.path("production/deploy.log").exists());
}

#[test]
fn what_was_approved_is_this_workflow_and_this_call() {
    let office = Office::new();
    office.write("deploy.rn", &does(&deploys("checkout", "new")));
    let held = office.resume("deploy.rn", "edited");
    held.stopped(4, "held");
    office.counterfoil(&["approve", &held.run(), "--yes"]).good();
    // The text was edited after people approved it: one character, and the step is the same.
    office.write("deploy.rn", &(does(&deploys("checkout", "new")) + " "));
    office.resume("deploy.rn", "edited").stopped(1, "workflow-changed");
    office.write("deploy.rn", &does(&deploys("checkout", "newer")));
    office.resume("deploy.rn", "edited").stopped(1, "workflow-changed");
    assert_eq!(office.executions(&held.run()), []);

    // Somebody proposes by hand with the agent's key: a step that the workflow does not take, and another one in the place of one that it takes.
    let looks = "read_status(#{service: \"checkout\"});";
    office.write("two.rn", &does(&(looks.to_owned() + &deploys("checkout", "new"))));
    let held = office.resume("two.rn", "diverged");
    held.stopped(4, "held");
    let (proposal, action) = office.last_proposal(&held.run());
    let key = office.path("runtime/keys/agent.key");
    for step in ["1", "3"] {
        office.write("other.json", &action.replace("\"step\":2", &format!("\"step\":{step}")));
        let propose = ["propose", &held.run(), "--action", "other.json", "--for", "runtime", "--risk", "low"];
        office.counterfoil(&[&propose[..], &["--key", key.to_str().unwrap()]].concat()).good();
    }
    office.counterfoil(&["approve", &held.run(), "--proposal", &proposal, "--yes"]).good();
    office.resume("two.rn", "diverged").stopped(1, "replay-differs");
    let done = office.executions(&held.run()).into_iter().map(|(tool, _, _)| tool).collect::<Vec<_>>();
    assert_eq!(done, ["read_status", "deploy"], "each once, and nothing of the others");
}

#[test]
fn a_workflow_that_asks_for_something_else_when_replayed_is_refused() {
    let office = Office::new();
    let random = r#"
        let seeded = std::collections::HashMap::new();
        for n in 0..30 { seeded.insert(n, n); }
        let order = seeded.keys().map(|n| `${n}`).collect::<Vec>();
        deploy(#{service: "checkout", config: `${order.iter().fold("", |all, n| `${all} ${n}`)}`});"#;
    office.write("random.rn", &does(random));
    let held = office.resume("random.rn", "random");
    held.stopped(4, "held");
    office.counterfoil(&["approve", &held.run(), "--yes"]).good();
    let differs = office.resume("random.rn", "random");
    differs.stopped(1, "replay-differs");
    assert!(differs.stderr.contains("/arguments/call/config"), "{}", differs.shown());
    assert_eq!(office.executions(&held.run()), []);
}

#[test]
fn a_workflow_that_calls_for_ever_does_not_fill_the_log() {
    let office = Office::new();
    office.write("endless.rn", &does("loop { read_status(#{service: \"checkout\"}); }"));
    let ran = Ran::of(office.runtime("endless.rn", "endless").args(["--steps", "2"]).output().unwrap());
    ran.stopped(1, "too-many-steps");
    assert_eq!(office.executions(&ran.run()).len(), 2);
    // What names no service is read nowhere.
    office.write("outside.rn", &does("read_status(#{service: \"../log/policy\"})"));
    office.resume("outside.rn", "outside").stopped(1, "step-failed");
}

/// A program that stands in the deployer's place: it keeps what it was given, does this, and kills the runtime.
fn killer(office: &Office, does: &str) -> String {
    let real = env!("CARGO_BIN_EXE_counterfoil-example-workflow");
    office.write(
        "killer.sh",
        &format!(
            "#!/bin/sh\ncat > given.jsonl\nprintf %s \"$4\" > given.execution\nprintf %s \"$6\" > given.action\n\
             real() {{ {real} \"$@\" < given.jsonl; }}\n{does}\nkill -9 $PPID\n"
        ),
    );
    let path = office.path("killer.sh");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_deployment_that_was_begun_is_not_begun_again() {
    let office = Office::new();
    office.write("deploy.rn", &does(&deploys("checkout", "new")));
    for (event, does, lines) in [("before", "", 0), ("after", "real \"$@\"", 1)] {
        let killer = killer(&office, does);
        let held = office.resume("deploy.rn", event);
        held.stopped(4, "held");
        let run = held.run();
        office.counterfoil(&["approve", &run, "--yes"]).good();
        let killed = office.runtime("deploy.rn", event).args(["--deployer", &killer]).output().unwrap();
        assert_eq!(killed.status.code(), None, "it was killed");
        // The execution is in the log, and its outcome is not.
        assert_eq!(office.executions(&run), [("deploy".to_owned(), 1, "none".to_owned())]);
        for _ in 0..2 {
            office.resume("deploy.rn", event).stopped(3, "outcome-unknown");
            assert_eq!(office.executions(&run), [("deploy".to_owned(), 1, "unknown".to_owned())]);
            assert_eq!(office.read("production/deploy.log").lines().count(), lines, "{event}");
        }
        // Whoever looks says how it is, and the workflow comes to its end.
        let (status, effects) = if lines == 0 { ("failed", "none") } else { ("succeeded", "complete") };
        office.counterfoil(&["settle", &run, "--status", status, "--effects", effects]).good();
        let ended = office.resume("deploy.rn", event);
        if lines == 0 {
            ended.stopped(1, "step-failed")
        } else {
            assert_eq!(ended.code, 0, "{}", ended.shown())
        }
        assert_eq!(office.read("production/deploy.log").lines().count(), lines);
    }
}

#[test]
fn the_deployer_acts_on_a_receipt_of_exactly_this_once() {
    let office = Office::new();
    let before = office.read("production/checkout.conf");
    let run = office.held();
    office.counterfoil(&["approve", &run, "--yes"]).good();
    let killer = killer(&office, "");
    office.runtime("workflow.rn", EVENT).args(["--deployer", &killer]).output().unwrap();
    // A receipt that is good, and was not used.
    let (execution, action) = (office.read("given.execution"), office.read("given.action"));
    let bundle = fs::read(office.path("given.jsonl")).unwrap();
    let ask = |execution: &str, action: &str, bundle: &[u8]| {
        office.deployer("production", execution, action, bundle)
    };

    // Another action under it.
    for (what, other) in [
        ("/arguments/call/config", action.replace("attempts = 5", "attempts = 6")),
        ("/arguments/workflow", action.replace("\"workflow\":\"sha256:", "\"workflow\":\"sha256:0")),
        ("/arguments/step", action.replace("\"step\":3", "\"step\":4")),
        ("/arguments/call/service", action.replace("\"checkout\"", "\"payments\"")),
    ] {
        assert_ne!(other, action);
        let refused = ask(&execution, &other, &bundle);
        refused.stopped(1, "action-differs");
        assert!(refused.stderr.contains(what), "{}", refused.shown());
    }
    // What is no deployment.
    ask(&execution, &action.replace("\"deploy\"", "\"run_tests\""), &bundle).stopped(1, "action");
    ask(&execution, &action.replace("\"apply\"", "\"preview\""), &bundle).stopped(1, "action");
    ask(&execution, &action.replace("\"target\":\"checkout\"", "\"target\":\"payments\""), &bundle)
        .stopped(1, "action");
    ask(&execution, "{}", &bundle).stopped(1, "action");
    ask(&execution, &action.replace("\"checkout\"", "\"../checkout\""), &bundle).stopped(1, "action");
    // The receipt of another step, which nobody approved; and one that is in no log.
    let tested = office.json(&["resume", &run])["executions"][1]["id"].as_str().unwrap().to_owned();
    ask(&tested, &action, &bundle).stopped(1, "action-differs");
    ask(&run, &action, &bundle).stopped(1, "execution-not-shown");
    // Forged: no evidence, evidence without its end, one byte of the approval changed, the approval taken out.
    ask(&execution, &action, b"").stopped(1, "bundle-count");
    let text = String::from_utf8(bundle.clone()).unwrap();
    let cut = &bundle[..bundle.len() / 2];
    ask(&execution, &action, cut).stopped(1, "bundle-line");
    let at = text.find("\"surface\":\"none\"").unwrap();
    let mut forged = bundle.clone();
    forged[at + 11..at + 15].copy_from_slice(b"link");
    ask(&execution, &action, &forged).stopped(1, "signature-invalid");
    let decision = text.lines().position(|line| line.contains("\"type\":\"decision\"")).unwrap();
    let without = text.lines().enumerate().filter(|(at, _)| *at != decision && *at + 1 != decision);
    let without: String = without.map(|(_, line)| format!("{line}\n")).collect();
    ask(&execution, &action, without.as_bytes()).stopped(1, "parent-unknown");
    // A deployer that trusts another log, and one that wants fresher evidence.
    let trust = office.read("production/trust.toml");
    let other =
        trust.lines().find_map(|line| line.strip_prefix("genesis = \"")).unwrap().trim_end_matches('"');
    thread::sleep(Duration::from_millis(1_100));
    for (name, code, trust) in [
        ("foreign", "genesis-not-pinned", trust.replace(other, &run)),
        ("hasty", "checkpoint-stale", trust.replace("max_age = \"5m\"", "max_age = \"1s\"")),
        ("careless", "checkpoint-stale", trust.replace("max_age = \"5m\"", "")),
    ] {
        fs::create_dir(office.path(name)).unwrap();
        office.write(&format!("{name}/trust.toml"), &trust);
        let refused = office.deployer(name, &execution, &action, &bundle);
        refused.stopped(1, code);
        assert!(!office.path(&format!("{name}/checkout.conf")).exists());
    }
    assert_eq!(office.read("production/checkout.conf"), before);
    assert!(!office.path("production/deploy.log").exists() && !office.path("production/used").exists());

    // It was good all the time; and it is good once, however many ask at a time.
    let both: Vec<Ran> = thread::scope(|scope| {
        let asked = [(); 4].map(|()| scope.spawn(|| ask(&execution, &action, &bundle)));
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(both.iter().filter(|ran| ran.code == 0).count(), 1);
    both.iter().filter(|ran| ran.code != 0).for_each(|ran| ran.stopped(2, "receipt-used"));
    assert_eq!(office.read("production/deploy.log").lines().count(), 1);
    // Once its outcome is logged, it is good for nobody, also where nobody remembers that it was used.
    office.resume("workflow.rn", EVENT).stopped(3, "outcome-unknown");
    fs::remove_dir_all(office.path("production/used")).unwrap();
    ask(&execution, &action, &office.bundle(&run)).stopped(1, "outcome-settled");
}

#[test]
fn a_receipt_that_somebody_used_first_leaves_it_unknown_what_was_done() {
    let office = Office::new();
    office.write("deploy.rn", &does(&deploys("checkout", "new")));
    let held = office.resume("deploy.rn", "overtaken");
    held.stopped(4, "held");
    let run = held.run();
    office.counterfoil(&["approve", &run, "--yes"]).good();
    // In the deployer's place: it asks before the runtime does, with the runtime's own evidence.
    let before = killer(&office, "real \"$@\"; real \"$@\"; exit $?");
    let overtaken = office.runtime("deploy.rn", "overtaken").args(["--deployer", &before]).output().unwrap();
    Ran::of(overtaken).stopped(3, "outcome-unknown");
    assert_eq!(office.executions(&run), [("deploy".to_owned(), 1, "unknown".to_owned())]);
    assert!(office.read("production/checkout.conf").contains("new"), "it was deployed");
    assert_eq!(office.read("production/deploy.log").lines().count(), 1);
}

#[test]
fn a_safe_step_is_tried_a_bounded_number_of_times_and_each_is_on_record() {
    let office = Office::new();
    let tried = |run: &str| {
        office.executions(run).into_iter().map(|(_, number, status)| (number, status)).collect::<Vec<_>>()
    };
    office.write("test.rn", &does("run_tests(#{service: \"checkout\", config: \"x\"}).report"));
    // It fails twice, and holds then.
    let count = office.path("count");
    let flaky = format!("echo x >> {0}; echo try $(wc -l < {0}); test $(wc -l < {0}) -ge 3", count.display());
    office.write("repository/check.sh", &flaky);
    let ran = office.resume("test.rn", "flaky");
    let run = ran.run();
    assert!(ran.good().contains("ended      1 steps, \"try 3\""));
    let rows =
        [(1, "failed"), (2, "failed"), (3, "succeeded")].map(|(number, status)| (number, status.to_owned()));
    assert_eq!(tried(&run), rows);
    // It never holds; another process tries no more.
    office.write("repository/check.sh", "echo broken; exit 1");
    let ran = office.resume("test.rn", "broken");
    ran.stopped(1, "step-failed");
    office.resume("test.rn", "broken").stopped(1, "step-failed");
    assert_eq!(tried(&ran.run()), [1, 2, 3].map(|number| (number, "failed".to_owned())));
    // A process that is killed in a safe step leaves it unknown; the next one tries the same use again.
    let once = office.path("once");
    office.write(
        "repository/check.sh",
        &format!("test -e {0} && exit 0; touch {0}; kill -9 $PPID", once.display()),
    );
    office.runtime("test.rn", "killed").output().unwrap();
    let ran = office.resume("test.rn", "killed");
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let run = ran.stdout.lines().find_map(|line| line.strip_prefix("resumed")).unwrap().trim().to_owned();
    assert_eq!(tried(&run), [(1, "unknown".to_owned()), (1, "succeeded".to_owned())]);
    // Two processes do not work on one event.
    office.write("repository/check.sh", "sleep 2");
    let mut first = office.runtime("test.rn", "busy");
    let mut first = first.stdout(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !office.path("runtime/runs/busy").exists() {
        let ended = first.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < deadline, "it did not begin: {ended:?}");
        thread::sleep(Duration::from_millis(20));
    }
    office.resume("test.rn", "busy").stopped(2, "busy");
    assert!(first.wait().unwrap().success());
}
