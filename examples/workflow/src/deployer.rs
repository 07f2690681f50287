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
use counterfoil_gate::{Claim, Proven, prove};
use counterfoil_receipt::{Action, Principal, RecordId, action::Mode, field::Millis, text::Label};
use counterfoil_verify::Trust;

/// Bytes of evidence that it reads: a run of thousands of records.
const BUNDLE: u64 = 64 << 20;
/// The one runtime for which it deploys. Whoever calls it has no say in that.
const RUNTIME: &str = "runtime";

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
        let now = SystemClock.now().map_err(|error| refused("clock", &error))?;
        let proven = self.prove(&bundle, &self.trust()?, &action, now)?;
        self.use_up(&proven.attempt().idempotency_key)?;
        // From here on production changes: whatever breaks off is not known to have done nothing.
        let broke = |error: io::Error| Stop::new(USAGE, "broke-off", error);
        let run = proven.run_id();
        proven.run(|_, _| replace(&self.directory.join(service::file(name)), config)).map_err(broke)?;
        self.note(&format!(
            "{now} {name} receipt={} run={run} workflow={} step={}\n",
            self.execution, step.workflow, step.step
        ))
        .map_err(broke)
    }

    /// That the evidence shows this execution of exactly this action: logged, approved by people, within the time that they gave, and
    /// without an end so far.
    fn prove(&self, bundle: &[u8], trust: &Trust, action: &Action, now: Millis) -> Result<Proven, Stop> {
        let runtime = Principal::new(RUNTIME).ok_or_else(|| refused("runtime", &"it has no name"))?;
        let claim = Claim { execution: self.execution, action, runtime: &runtime };
        prove(bundle, trust, &claim, now).map_err(|no| refused(&no.code, &no.detail))
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
