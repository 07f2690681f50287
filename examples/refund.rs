//! An `async` function of an application behind a gate: small refunds are paid at once, larger ones wait for a person, and the largest are
//! refused. `cargo build && cargo run --example refund` plays it against a log of its own, in a temporary directory.

use std::{
    error::Error,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use counterfoil_client::{Client, FileCheckpoints, SystemClock};
use counterfoil_gate::{Ask, AskError, Asked, Config, Desk, Ended, Function, Gate};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Action,
    action::{Json, Mode},
    body::Risk,
    text::Label,
};
use counterfoil_verify::Trust;
use serde::{Deserialize, Serialize};
use serde_json::json;

type Failed = Box<dyn Error + Send + Sync>;

const POLICY: &str = r#"
language = "counterfoil-policy/1"

[[rules]]
name = "small"
effect = "allow"
uses = 1
match.all = [{ tool = "shop/refund" }, { argument = { path = "/cents", at_most = "500" } }]

[[rules]]
name = "larger"
effect = "require"
uses = 1
window = "15m"
segregation = false
requirements = [{ count = 1, surfaces = ["none", "terminal"] }]
match.all = [{ tool = "shop/refund" }, { argument = { path = "/cents", over = "500" } }]

[[rules]]
name = "too-much"
effect = "deny"
match.all = [{ tool = "shop/refund" }, { argument = { path = "/cents", over = "10000" } }]
"#;

/// What the application's function takes: the arguments of the action, as they were approved.
#[derive(Deserialize)]
struct Refund {
    order: String,
    cents: u64,
}

#[derive(Debug, Serialize)]
struct Paid {
    reference: String,
}

/// The application's own function. It knows nothing of gates.
async fn refund(refund: Refund) -> Result<Paid, String> {
    tokio::time::sleep(Duration::from_millis(10)).await;
    Ok(Paid { reference: format!("{} of {} cents", refund.order, refund.cents) })
}

/// Asks for a refund, or goes on with one that was asked for, and pays it if it may be paid.
///
/// A gate waits for disks and the network, so it has a thread of its own; the function runs where all others of the application do.
async fn pay(
    desk: &Arc<Desk>,
    ask: Ask,
    asked: Option<Asked>,
) -> Result<(Asked, Ended, Option<Paid>), Failed> {
    let (desk, application) = (Arc::clone(desk), tokio::runtime::Handle::current());
    let paid = tokio::task::spawn_blocking(move || -> Result<_, AskError> {
        let mut effect = Function::new(|arguments: Refund| application.block_on(refund(arguments)));
        let (asked, ended) = match asked {
            None => desk.perform(&ask, &mut effect, Duration::ZERO)?,
            Some(asked) => {
                let ended = desk.attempt(&asked, &mut effect)?;
                desk.gate.log_outcomes();
                (asked, ended)
            }
        };
        Ok((asked, ended, effect.returned().and_then(Result::ok)))
    });
    Ok(paid.await??)
}

/// What is asked for: the order names the event, so that the same refund is not asked for twice by accident.
fn ask(order: &str, cents: u64) -> Result<Ask, Failed> {
    let action = Action {
        arguments: Json::from_value(&json!({"order": order, "cents": cents}))?,
        committed: None,
        connector: None,
        free: None,
        mode: Mode::Apply,
        precondition: None,
        target: None,
        tool: Label::new("shop/refund").ok_or("no label")?,
    };
    Ok(Ask::new("shop", &format!("{order}/refund"), action, Risk::Medium)?)
}

/// The agent's key beside the gate of the runtime, in the working directory of a log.
fn desk(dir: &Path, url: &str) -> Result<Desk, Failed> {
    let key = |role: &str| RecordKey::load(&dir.join(format!("keys/{role}.key")));
    let (agent, runtime) = (key("agent")?, key("runtime")?);
    let trust = Trust::parse(&std::fs::read_to_string(dir.join("trust.toml"))?)?;
    let seen = FileCheckpoints::new(dir.join("seen.checkpoint"));
    let config = Config {
        dir: dir.join("gate"),
        runtime: runtime.principal().clone(),
        signer: Box::new(runtime),
        clock: Box::new(SystemClock),
        outcome_patience: Duration::from_secs(10),
        refusal_pause: Duration::from_secs(60),
    };
    std::fs::create_dir_all(&config.dir)?;
    let gate = Gate::new(Client::new(url, None)?.pin(trust, Box::new(seen)), config)?;
    // What an earlier process left open has its outcome first, and what it began is not done again.
    gate.settle_open()?;
    let principal = agent.principal().clone();
    let desk = Desk::new(gate, Box::new(agent), principal, Box::new(SystemClock));
    desk.find_earlier("shop/*")?;
    Ok(desk)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failed> {
    let log = Log::start()?;
    let desk = Arc::new(desk(log.dir.path(), &log.url)?);

    let (asked, ended, paid) = pay(&desk, ask("order-17", 450)?, None).await?;
    say("450 cents", &ended, paid.as_ref());
    let small = asked.run.to_string();

    let (asked, ended, paid) = pay(&desk, ask("order-18", 4_500)?, None).await?;
    say("4500 cents", &ended, paid.as_ref());
    // Somebody looks at it, here or elsewhere, and says yes.
    log.run(&["approve", &asked.run.to_string(), "--yes"])?;
    for time in ["  approved", "  and again"] {
        let (_, ended, paid) = pay(&desk, ask("order-18", 4_500)?, Some(asked.clone())).await?;
        say(time, &ended, paid.as_ref());
    }

    let (_, ended, paid) = pay(&desk, ask("order-19", 45_000)?, None).await?;
    say("45000 cents", &ended, paid.as_ref());

    // Whoever doubts it reads what the log has, and believes nobody.
    for run in [small, asked.run.to_string()] {
        log.run(&["bundle", &run, "--out", "run.jsonl"])?;
        println!("{run}: {}", log.run(&["verify", "run.jsonl"])?.lines().last().unwrap_or_default());
        std::fs::remove_file(log.dir.path().join("run.jsonl"))?;
    }
    Ok(())
}

fn say(what: &str, ended: &Ended, paid: Option<&Paid>) {
    let how = match ended {
        Ended::Ran(ran) => format!("{}, execution {}", ran.done.status, ran.execution),
        Ended::Held(why) => format!("waits: {why}"),
        Ended::Refused { refusal, .. } | Ended::NotRun { refusal, .. } => {
            format!("refused: {}", refusal.code)
        }
    };
    let paid = paid.map_or_else(|| "nothing".to_owned(), |paid| paid.reference.clone());
    println!("{what:<12} {how}\n{:<12} paid: {paid}", "");
}

/// A log in a temporary directory with its server, which ends with this process; the keys of everybody lie there.
struct Log {
    dir: tempfile::TempDir,
    url: String,
    server: Child,
}

impl Log {
    fn start() -> Result<Self, Failed> {
        let dir = tempfile::tempdir()?;
        program(dir.path(), &["init", "."])?;
        let mut command = Command::new(counterfoil()?);
        command.current_dir(dir.path()).args(["serve", "--listen", "127.0.0.1:0", "--until-stdin-ends"]);
        let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(server.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("listening on ").ok_or("the log did not start")?.to_owned();
        let log = Self { dir, url, server };
        std::fs::write(log.dir.path().join("policy.toml"), POLICY)?;
        log.run(&["policy", "set", "policy.toml"])?;
        Ok(log)
    }

    fn run(&self, words: &[&str]) -> Result<String, Failed> {
        let server: &[&str] = if words.first() == Some(&"verify") { &[] } else { &["--server", &self.url] };
        program(self.dir.path(), &[words, server].concat())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Runs `counterfoil` there.
fn program(dir: &Path, words: &[&str]) -> Result<String, Failed> {
    let output = Command::new(counterfoil()?).current_dir(dir).args(words).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The program that was built beside this one.
fn counterfoil() -> Result<PathBuf, Failed> {
    let built = std::env::current_exe()?;
    let built = built.ancestors().nth(2).ok_or("no directory")?.join("counterfoil");
    if built.exists() { Ok(built) } else { Err("there is no counterfoil beside this: cargo build".into()) }
}
