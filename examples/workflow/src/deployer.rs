//! The deployer: the one program that can change production. It is the binding of the capability `deploy`.
//!
//! It knows neither runtime nor workflow, and believes neither. It is given evidence, verifies it offline under a trust file of its own, and
//! acts on what was approved, at most once for each use. Whoever calls it without that, or with something else, is refused
//! before anything is touched.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    service,
    step::Step,
    stop::{REFUSED, Stop, USAGE},
};
use clap::Args;
use counterfoil_client::{Clock as _, SystemClock};
use counterfoil_receipt::{Action, RecordId, action::Mode, text::Label};
use counterfoil_verify::{Answer, Dimension, ExecutionState, Ground, Trust, Verdict, verify};

/// Bytes of evidence that it reads: a run of thousands of records.
const BUNDLE: u64 = 64 << 20;
/// What evidence must show, whatever the trust file wants besides.
const SHOWN: [Dimension; 5] = [
    Dimension::Integrity,
    Dimension::Authority,
    Dimension::Conformity,
    Dimension::Inclusion,
    Dimension::Freshness,
];

/// Deploy what people approved, and only that. The bundle that shows it comes on standard input.
///
/// Exit status: 0 it is deployed, 1 refused and nothing was touched, 2 it broke off, or was asked for this before, and nobody knows.
#[derive(Args, Debug)]
pub struct Deployer {
    /// The deployer's directory: trust.toml, what is in production, deploy.log, and the receipts that were used
    directory: PathBuf,
    /// The execution that is the receipt
    #[arg(long, value_name = "ID", value_parser = |text: &str| RecordId::parse(text).ok_or("it is not sha256: and 64 hexadecimal digits"))]
    execution: RecordId,
    /// What is to be done, as canonical JSON
    #[arg(long, value_name = "JSON")]
    action: String,
}

impl Deployer {
    /// Runs the command.
    ///
    /// # Errors
    /// Why nothing was deployed.
    pub fn run(&self) -> Result<(), Stop> {
        let action = Action::parse(self.action.as_bytes()).map_err(|fault| refused("action", &fault))?;
        let step = order(&action)?;
        let (name, config) = service::name(&step.call)
            .zip(service::config(&step.call))
            .ok_or_else(|| refused("action", &"it names no service with its configuration"))?;
        let mut bundle = Vec::new();
        let read = io::stdin().lock().take(BUNDLE).read_to_end(&mut bundle);
        read.map_err(|error| refused("evidence-unreadable", &error))?;
        let now = SystemClock.now().map_err(|error| refused("clock", &error))?.get();
        let verdict = verify(&bundle, &self.trust()?, now);
        let execution = is_shown(&verdict, &self.execution, &action, now)?;
        self.use_up(&execution.first)?;
        // From here on production changes: whatever breaks off is not known to have done nothing.
        let broke = |error: io::Error| Stop::new(USAGE, "broke-off", error);
        replace(&self.directory.join(service::file(name)), config).map_err(broke)?;
        let run = verdict.run_id().map(|run| run.to_string()).unwrap_or_default();
        self.note(&format!(
            "{now} {name} receipt={} run={run} workflow={} step={}\n",
            self.execution, step.workflow, step.step
        ))
        .map_err(broke)
    }

    fn trust(&self) -> Result<Trust, Stop> {
        let path = self.directory.join("trust.toml");
        let text = fs::read_to_string(&path).map_err(|error| refused("trust", &error))?;
        Trust::parse(&text).map_err(|error| refused("trust", &error))
    }

    /// Uses up what was approved: durably, before anything is touched, and once however many ask at a time. `first` is the first
    /// execution of the use, so that whatever tries it again has the same name.
    fn use_up(&self, first: &RecordId) -> Result<(), Stop> {
        let used = self.directory.join("used");
        let path = used.join(first.to_string().trim_start_matches("sha256:"));
        let note = || {
            fs::create_dir_all(&used)?;
            OpenOptions::new().write(true).create_new(true).open(&path)?.sync_all()?;
            File::open(&used)?.sync_all()
        };
        note().map_err(|error| match error.kind() {
            // Now nothing is touched, but whoever asked before may have touched everything: that is no refusal.
            io::ErrorKind::AlreadyExists => {
                let why = format!("the use of {} was deployed before, or begun", self.execution);
                Stop::new(USAGE, "receipt-used", why)
            }
            _ => refused("receipt-not-noted", &error),
        })
    }

    fn note(&self, line: &str) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.directory.join("deploy.log"));
        log.and_then(|mut log| log.write_all(line.as_bytes()).and_then(|()| log.sync_all()))
    }
}

/// What is to be deployed, if an action says that and nothing else.
fn order(action: &Action) -> Result<Step, Stop> {
    let is_deploy = action.tool.as_str() == "deploy" && action.mode == Mode::Apply;
    let is_plain = action.committed.is_none() && action.free.is_none() && action.precondition.is_none();
    let is_closed = |step: &Step| {
        let named = step.call.as_object().map(|call| call.keys().map(String::as_str).collect::<Vec<_>>());
        // The policy looks at the target, and this at the service.
        let target = action.target.as_ref().map(Label::as_str);
        named == Some(vec!["config", "service"]) && target.is_some() && target == service::name(&step.call)
    };
    let step = Step::of(action).filter(|step| is_deploy && is_plain && is_closed(step));
    step.ok_or_else(|| refused("action", &"this is no step that deploys"))
}

/// That evidence shows this execution of exactly this action: logged, approved by people, within the time that they gave, and
/// without an end so far. Gives it.
fn is_shown<'v>(
    verdict: &'v Verdict,
    id: &RecordId,
    action: &Action,
    now: u64,
) -> Result<&'v ExecutionState, Stop> {
    for dimension in SHOWN {
        if !verdict.answer(dimension).passes() {
            return Err(not_shown(verdict, dimension));
        }
    }
    let absent = |what: &str| refused("execution-not-shown", &format!("{id} {what}"));
    let run = verdict.run_id().and_then(|run| verdict.state().run(&run));
    let run = run.ok_or_else(|| absent("is of a run that is not shown"))?;
    let execution = run.execution(id).ok_or_else(|| absent("is not in this log"))?;
    let proposal = run.proposal(&execution.proposal).ok_or_else(|| absent("executes what is not shown"))?;
    if let Some(difference) = proposal.action.first_difference(action) {
        let show = |value: Option<String>| value.unwrap_or_else(|| "nothing".to_owned());
        let (approved, asked) = (show(difference.left), show(difference.right));
        let why = format!("{} is {approved} in what was approved, and {asked} here", difference.path);
        return Err(refused("action-differs", &why));
    }
    if execution.ground != Ground::Approved {
        let why = format!("nobody approved {id}: it stands on {}", execution.ground.as_str());
        return Err(refused("not-approved", &why));
    }
    if proposal.uses.get(&execution.use_number) != Some(id) {
        return Err(refused("use-consumed", &format!("another execution took the place of {id}")));
    }
    if !execution.windows.iter().all(|(from, until)| (*from..=*until).contains(&now)) {
        return Err(refused(
            "window-closed",
            &format!("{now} lies outside the time that {id} was approved for"),
        ));
    }
    if let Some(status) = execution.status() {
        return Err(refused("receipt-over", &format!("{id} is {status} already")));
    }
    Ok(execution)
}

/// The refusal of evidence that does not show what it must, with the code of the rule where one is broken.
fn not_shown(verdict: &Verdict, dimension: Dimension) -> Stop {
    let finding = verdict.findings().iter().find(|finding| finding.dimension == dimension);
    match (finding, verdict.answer(dimension)) {
        (Some(finding), _) => refused(finding.code, &format!("{dimension}: {finding}")),
        (None, Answer::NotShown(why)) => refused("evidence-incomplete", &format!("{dimension}: {why}")),
        (None, Answer::Fail | Answer::Pass(_)) => refused("evidence-incomplete", &dimension),
    }
}

/// Puts a file in the place of another, whole.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let readable = fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(directory)?;
    file.write_all(content.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

fn refused(code: &str, why: &dyn std::fmt::Display) -> Stop {
    Stop::new(REFUSED, code, why)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// What the deployer says at this time of the one execution of a recorded bundle, and of its action or another one.
    fn said(now: u64, max_age: &str, other: bool) -> String {
        let trust = format!("{}max_age = \"{max_age}\"\n", include_str!("../../bundles/trust.toml"));
        let bundle = include_bytes!("../../bundles/approved.bundle.jsonl");
        let verdict = verify(bundle, &Trust::parse(&trust).unwrap(), now);
        let run = verdict.state().run(&verdict.run_id().unwrap()).unwrap();
        let (id, execution) = run.executions()[0];
        let mut action = run.proposal(&execution.proposal).unwrap().action.clone();
        if other {
            action.mode = Mode::Preview;
        }
        is_shown(&verdict, &id, &action, now).unwrap_err().code
    }

    #[test]
    fn a_receipt_is_for_its_action_in_its_time_and_without_an_outcome() {
        let executed = 1_795_273_701_000;
        assert_eq!(said(executed, "10m", true), "action-differs");
        assert_eq!(said(executed, "10m", false), "receipt-over");
        let late = executed + 20 * 60_000;
        assert_eq!(said(late, "1h", false), "window-closed");
        assert_eq!(said(late, "10m", false), "checkpoint-stale");
    }
}
