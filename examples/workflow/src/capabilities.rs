//! What a workflow can reach: two safe capabilities that only look, and one that changes production.
//!
//! Each is an [`Effect`]: the gate runs it once its execution is in the log, and logs what it gives.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use counterfoil_client::{Clock as _, PinnedClient, SystemClock};
use counterfoil_gate::{Attempt, Done, Effect, ResultPayload};
use counterfoil_receipt::{
    Action, RecordId, RunId,
    body::{Effects, Risk, Status},
    json,
    text::Label,
};
use serde_json::{Value, json};

use crate::{service, step::Step};

/// Bytes of what a program said that are kept.
const SAID: usize = 2_000;

/// Something that a workflow may call, by name.
pub trait Capability: Effect {
    /// The name, in workflows and policies.
    fn name(&self) -> &'static str;

    /// How bad it could get.
    fn risk(&self) -> Risk;
}

/// Tells what is in production.
pub struct ReadStatus {
    /// The directory of production.
    pub production: PathBuf,
}

/// Runs the service's own check on a configuration, in a copy.
pub struct RunTests {
    /// The service's repository, with `check.sh`.
    pub repository: PathBuf,
}

/// Asks the deployer, which has production and believes nobody: it is shown the log's evidence of the execution.
pub struct Deploy {
    /// The deployer's program.
    pub deployer: PathBuf,
    /// Its directory.
    pub production: PathBuf,
    /// Where the evidence comes from.
    pub log: PinnedClient,
    /// The run of the workflow.
    pub run: RunId,
}

impl Capability for ReadStatus {
    fn name(&self) -> &'static str {
        "read_status"
    }

    fn risk(&self) -> Risk {
        Risk::Low
    }
}

impl Effect for ReadStatus {
    fn run(&mut self, action: &Action, _: &Attempt) -> Done {
        let call = Step::of(action).map(|step| step.call).unwrap_or_default();
        let Some(service) = service::name(&call) else { return failed("no service of this name") };
        match fs::read_to_string(self.production.join(service::file(service))) {
            Ok(config) => succeeded(&json!({"config": config, "service": service}), Effects::None),
            Err(error) => failed(&format!("{service} is not in production: {error}")),
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

impl Capability for RunTests {
    fn name(&self) -> &'static str {
        "run_tests"
    }

    fn risk(&self) -> Risk {
        Risk::Low
    }
}

impl Effect for RunTests {
    fn run(&mut self, action: &Action, _: &Attempt) -> Done {
        let call = Step::of(action).map(|step| step.call).unwrap_or_default();
        let Some(config) = service::config(&call) else { return failed("config is no text") };
        match self.test(config) {
            Ok(output) if output.status.success() => {
                succeeded(&json!({"passed": true, "report": said(&output)}), Effects::None)
            }
            Ok(output) => failed(&said(&output)),
            Err(error) => failed(&format!("the check did not start: {error}")),
        }
    }

    fn is_idempotent(&self) -> bool {
        true
    }
}

impl RunTests {
    fn test(&self, config: &str) -> std::io::Result<Output> {
        let copy = tempfile::tempdir()?;
        for entry in fs::read_dir(&self.repository)? {
            let path = entry?.path();
            if let (true, Some(name)) = (path.is_file(), path.file_name()) {
                fs::copy(&path, copy.path().join(name))?;
            }
        }
        fs::write(copy.path().join("limits.conf"), config)?;
        Command::new("sh").arg("check.sh").current_dir(copy.path()).stdin(Stdio::null()).output()
    }
}

impl Capability for Deploy {
    fn name(&self) -> &'static str {
        "deploy"
    }

    fn risk(&self) -> Risk {
        Risk::High
    }
}

impl Effect for Deploy {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        let evidence = SystemClock.now().and_then(|now| self.log.fetch_verified(self.run, now));
        let bundle = match evidence {
            Ok(evidence) => evidence.bundle,
            Err(error) => return Done::not_started(format!("no evidence for the deployer: {error}")),
        };
        match self.ask(action, &attempt.execution, &bundle) {
            Ok(output) if output.status.success() => {
                succeeded(&json!({"receipt": attempt.execution.to_string()}), Effects::Complete)
            }
            // It refuses before it touches anything, and says so; whatever else it does is not known.
            Ok(output) if output.status.code() == Some(1) => failed(&said(&output)),
            Ok(output) => {
                Done::unknown(format!("the deployer ended with {}: {}", output.status, said(&output)))
            }
            Err(error) => Done::unknown(format!("the deployer did not answer: {error}")),
        }
    }
}

impl Deploy {
    fn ask(&self, action: &Action, execution: &RecordId, bundle: &[u8]) -> std::io::Result<Output> {
        let action = String::from_utf8_lossy(&action.to_canonical()).into_owned();
        let mut deployer = Command::new(&self.deployer)
            .arg("deployer")
            .arg(&self.production)
            .args(["--execution", &execution.to_string(), "--action", &action])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // One that says no may have read less than all of it.
        let _ = deployer.stdin.take().map(|mut stdin| stdin.write_all(bundle));
        deployer.wait_with_output()
    }
}

fn succeeded(value: &Value, effects: Effects) -> Done {
    let payload = Label::new("result.json").zip(Label::new("application/json"));
    let result = payload
        .zip(json::to_canonical(value).ok())
        .map(|((label, media_type), content)| ResultPayload { label, media_type, content });
    Done { status: Status::Succeeded, effects, result, detail: None }
}

/// It failed, and did nothing.
fn failed(why: &str) -> Done {
    Done { status: Status::Failed, effects: Effects::None, result: None, detail: Some(why.to_owned()) }
}

/// What a program said, as a record can hold it.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    let printable = |c: &char| !c.is_control() || ['\n', '\t'].contains(c);
    text.trim().chars().filter(printable).take(SAID).collect()
}
