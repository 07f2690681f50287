//! The demo: everything from nothing in a directory of its own, with a real server and a process for each actor; then every way around it.
//!
//! Nothing is decided here. It writes files, starts processes, tells what came of them, and fails where that is not what it must be.

use crate::{
    say,
    stage::{Said, Stage},
    step,
    stop::{REFUSED, Stop},
};

/// A run that the story is about.
struct Deployed {
    run: String,
    receipt: String,
    action: String,
}

/// Plays it.
///
/// # Errors
/// What was not as it must be, or what ended it.
pub fn run() -> Result<(), Stop> {
    say("A workflow that waits for people\n");
    let stage = Stage::set()?;
    say(&format!("  log       {}, a server of its own with an empty log", stage.url()));
    say("  keys      made for this demo, which signs as everybody, also as the human;");
    say("            in earnest each lies with whom it belongs");
    let deployed = approved(&stage)?;
    denied(&stage)?;
    say("\nAround it  nothing of this goes through");
    let refused = around_the_runtime(&stage, &deployed)? + out_of_the_sandbox(&stage)?;
    say(&format!("\n  {refused} attempts, {refused} refused"));
    Ok(())
}

fn approved(stage: &Stage) -> Result<Deployed, Stop> {
    say("\n1  Approved  what is safe runs, what is risky waits; another process goes on");
    stage.example(&["agent", "alert.json", "--out", "workflow.rn"])?.is(0, "")?;
    let source = stage.read("workflow.rn")?;
    tell("agent", "writes", &format!("workflow.rn, {}", short(&step::digest(source.as_bytes()))));
    source.lines().for_each(gutter);
    let held = stage.workflow("workflow.rn", "checkout-429")?.is(4, "held")?;
    let run = held.value_after("run").to_owned();
    tell("runtime", "run", "what is safe runs; deploy is held, and the process ends with exit status 4");
    quote(&held);
    stage.counterfoil(&["approve", &run, "--yes"])?.is(0, "")?;
    tell("human", "approve", "exactly this step of this workflow, once, for 15 minutes");
    let ended = stage.workflow("workflow.rn", "checkout-429")?.is(0, "")?;
    tell("runtime", "run", "another process: what is in the journal is not done again");
    quote(&ended);
    let noted = stage.read("production/deploy.log")?;
    tell("deployer", "deploy.log", "verified the receipt itself, before it acted:");
    let receipt =
        noted.split(' ').find_map(|word| word.strip_prefix("receipt=")).unwrap_or_default().to_owned();
    noted.split_whitespace().skip(1).for_each(gutter);
    stage.counterfoil(&["bundle", &run, "--out", "run.jsonl"])?.is(0, "")?;
    stage.counterfoil(&["verify", "run.jsonl"])?.is(0, "")?;
    tell("auditor", "verify", "offline: integrity, authority, conformity, inclusion");
    let action = stage.last_action(&run)?;
    Ok(Deployed { run, receipt, action })
}

fn denied(stage: &Stage) -> Result<(), Stop> {
    say("\n2  Denied  nothing is deployed, and that is on record too");
    let before = stage.read("production/checkout.conf")?;
    let held = stage.workflow("again.rn", "rejected")?.is(4, "held")?;
    tell("runtime", "run", "deploy is held");
    let run = held.value_after("run").to_owned();
    stage.counterfoil(&["reject", &run, "--yes", "--reason", "not on a Friday"])?.is(0, "")?;
    tell("human", "reject", "not on a Friday");
    stage.workflow("again.rn", "rejected")?.is(1, "proposal-ended")?;
    tell("runtime", "run", "refused: proposal-ended");
    stage.workflow("payments.rn", "payments")?.is(1, "policy-denied")?;
    tell("runtime", "run", "another workflow, for the service payments; refused: policy-denied");
    unchanged(stage, &before)
}

/// With a receipt in hand, past runtime and gate.
fn around_the_runtime(stage: &Stage, deployed: &Deployed) -> Result<usize, Stop> {
    let Deployed { run, receipt, action } = deployed;
    let before = (stage.read("production/checkout.conf")?, stage.read("production/deploy.log")?);
    let bundle = stage.read("log/run.jsonl")?;
    let forged = bundle.replacen("\"surface\":\"none\"", "\"surface\":\"link\"", 1);
    let other = action.replace("attempts = 5", "attempts = 6");
    let workflow = action.replace("\"workflow\":\"sha256:", "\"workflow\":\"sha256:0");
    let attempts = [
        ("no evidence at all", "", action, receipt, "bundle-count", "there is no bundle"),
        (
            "an approval with one word changed",
            &*forged,
            action,
            receipt,
            "signature-invalid",
            "its author did not sign that",
        ),
        ("another configuration", &*bundle, &other, receipt, "action-differs", "it is not what was approved"),
        (
            "another workflow",
            &*bundle,
            &workflow,
            receipt,
            "action-differs",
            "its digest is not the approved one",
        ),
        ("a receipt that is none", &*bundle, action, run, "execution-not-shown", "no execution has this id"),
        (
            "the receipt, used again",
            &*bundle,
            action,
            receipt,
            "outcome-settled",
            "it has an outcome in the log",
        ),
    ];
    for (what, bundle, action, execution, code, why) in attempts {
        let arguments = ["deployer", "production", "--execution", execution, "--action", action];
        stage.example_given(&arguments, bundle)?.is(1, code)?;
        refuses(what, "deployer", code, why);
    }
    unchanged(stage, &before.0)?;
    if stage.read("production/deploy.log")? != before.1 {
        return Err(Stop::new(REFUSED, "demo", "the deployer's log changed"));
    }
    let held = stage.workflow("again.rn", "edited")?.is(4, "held")?;
    stage.counterfoil(&["approve", held.value_after("run"), "--yes"])?.is(0, "")?;
    stage.write("edited.rn", &stage.read("again.rn")?.replace("5", "50"))?;
    stage.workflow("edited.rn", "edited")?.is(1, "workflow-changed")?;
    refuses(
        "the workflow edited once it was approved",
        "runtime",
        "workflow-changed",
        "the run was started with another",
    );
    unchanged(stage, &before.0)?;
    Ok(attempts.len() + 1)
}

/// Workflows that want out.
fn out_of_the_sandbox(stage: &Stage) -> Result<usize, Stop> {
    let attempts = [
        ("a workflow that calls what is not bound", "drop_database(#{})", "it is no capability"),
        ("… that opens a file", "std::fs::read_to_string(\"/etc/passwd\")", "the language has no files"),
        ("… that imports", "use std::process::Command; Command::new(\"id\")", "nor processes"),
        ("… that never ends", "loop {}", "its instructions are counted"),
        ("… that takes all memory", "let t = \"x\"; loop { t = t + t; }", "and its bytes"),
    ];
    for (number, (what, source, why)) in attempts.iter().enumerate() {
        stage.write("attempt.rn", &format!("pub fn main() {{ {source} }}"))?;
        stage.workflow("attempt.rn", &format!("attempt-{number}"))?.is(1, "workflow-failed")?;
        refuses(what, "runtime", "workflow-failed", why);
    }
    Ok(attempts.len())
}

fn unchanged(stage: &Stage, before: &str) -> Result<(), Stop> {
    match stage.read("production/checkout.conf")? == before {
        true => Ok(()),
        false => Err(Stop::new(REFUSED, "demo", "production changed")),
    }
}

fn tell(who: &str, what: &str, came: &str) {
    say(&format!("  {who:<9} {what:<11} {came}"));
}

fn refuses(what: &str, who: &str, code: &str, why: &str) {
    say(&format!("  {what}\n    {who:<9} {code:<20} {why}"));
}

/// What a program said, with the first eight digits of each id.
fn quote(said: &Said) {
    let brief =
        |word: &str| if word.starts_with("sha256:") { short(word).to_owned() } else { word.to_owned() };
    said.lines().for_each(|line| gutter(&line.split(' ').map(brief).collect::<Vec<_>>().join(" ")));
}

fn gutter(line: &str) {
    say(&format!("            │ {line}"));
}

/// The first eight digits of an id.
fn short(id: &str) -> &str {
    let digits = id.trim_start_matches("sha256:");
    digits.get(..8).unwrap_or(digits)
}
