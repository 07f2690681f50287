//! The runtime: executes a workflow in steps that are records, so that any process can go on where another one stopped.
//!
//! A workflow always runs from its start. A step that the journal has an answer for is answered from there; the first one that it
//! has none for is proposed, and passes the gate if the policy or people allow it. If they have not decided yet, the process ends. Nothing is
//! kept in between but the log, and beside it the one record that started the run.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use counterfoil_client::{Client, FileCheckpoints, PinnedClient, Sealed, Session, SystemClock, View, seal};
use counterfoil_gate::{Config, Ended, Gate, Settled};
use counterfoil_keys::RecordKey;
use counterfoil_receipt::{
    Action, Opening, Place, RecordId, RunId, Signer as _, UnverifiedRecord,
    body::{Audience, Event, Evidence, Holder, Proposal, Trigger},
    bundle::{PayloadLine, read_line, write_line},
    field::List,
    text::{Label, Text},
};
use counterfoil_verify::Trust;
use serde_json::Value;

use crate::{
    capabilities::{Capability, Deploy, ReadStatus, RunTests},
    journal::{self, Standing},
    sandbox, say,
    step::{self, Step},
    stop::{HELD, NOT_SHOWN, REFUSED, Stop, USAGE},
};

/// How long an outcome is submitted again before it is left to the next process.
const OUTCOME_PATIENCE: Duration = Duration::from_secs(10);
/// How long equal refusals are counted into one record.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);
/// How often a step is tried before it has failed for good, where doing it twice is doing it once.
const TRIES: usize = 3;

/// Run a workflow, or go on with it: as far as the policy and people let it.
///
/// Exit status: 0 it came to its end, 1 refused or failed, 3 something is not known, 4 people have to decide. Run the same command
/// again to go on.
#[derive(Args, Clone, Debug)]
pub struct RunWorkflow {
    /// The workflow's source
    workflow: PathBuf,
    /// The event that it is about: one run for each
    #[arg(long)]
    event: String,
    /// The runtime's directory, with keys/agent.key, keys/runtime.key and trust.toml
    #[arg(short = 'C', long, value_name = "DIR")]
    directory: PathBuf,
    /// The log
    #[arg(long, value_name = "URL")]
    server: String,
    /// The service's repository, for its tests
    #[arg(long, value_name = "DIR")]
    repository: PathBuf,
    /// The deployer's directory
    #[arg(long, value_name = "DIR")]
    production: PathBuf,
    /// Steps that a workflow may take: code that calls for ever must not fill a log
    #[arg(long, value_name = "N", default_value = "50")]
    steps: u64,
    /// The deployer's program, if it is not this one
    #[arg(long, value_name = "PROGRAM")]
    deployer: Option<PathBuf>,
}

/// A workflow that is being run.
struct Runtime {
    gate: Gate<PinnedClient>,
    agent: RecordKey,
    runtime: RecordKey,
    capabilities: Vec<Box<dyn Capability>>,
    run: RunId,
    workflow: String,
    /// The run as the log showed it last, verified.
    view: View,
    /// Steps that the workflow has taken since its start, and may take.
    taken: u64,
    most: u64,
}

impl RunWorkflow {
    /// Runs the command.
    ///
    /// # Errors
    /// Why it does not go on.
    pub fn run(&self) -> Result<(), Stop> {
        let source =
            fs::read_to_string(&self.workflow).map_err(|error| Stop::file(&self.workflow, &error))?;
        let _alone = self.lock()?;
        let mut runtime = self.start(&source)?;
        let names: Vec<_> = runtime.capabilities.iter().map(|capability| capability.name()).collect();
        let returned = sandbox::run(&source, &names, &mut |name, call| runtime.step(name, call));
        runtime.gate.flush_refusals();
        let returned = returned?;
        journal::is_complete(runtime.view.run(), runtime.taken)?;
        say(&format!("ended      {} steps, {returned}", runtime.taken));
        Ok(())
    }

    /// What has to be there before a workflow runs: keys, the log, what was left open settled, and the run.
    fn start(&self, source: &str) -> Result<Runtime, Stop> {
        let key = |name: &str| {
            let path = self.directory.join("keys").join(name);
            RecordKey::load(&path).map_err(|error| Stop::file(&path, &error))
        };
        let (agent, runtime) = (key("agent.key")?, key("runtime.key")?);
        let config = Config {
            dir: self.below("gate")?,
            signer: Box::new(key("runtime.key")?),
            runtime: runtime.principal().clone(),
            clock: Box::new(SystemClock),
            outcome_patience: OUTCOME_PATIENCE,
            refusal_pause: REFUSAL_PAUSE,
        };
        let gate = Gate::new(self.log("gate")?, config)?;
        for settled in gate.settle_open()? {
            if let Settled::Recorded { execution, outcome } = settled {
                say(&format!("settled    execution {execution} was left open; its outcome is {outcome}"));
            }
        }
        let (run, is_new) = self.find_run(gate.log(), &agent, source)?;
        say(&format!("{} {run}", if is_new { "run       " } else { "resumed   " }));
        let view = verified(gate.log(), &agent, run)?;
        is_same_workflow(&view, source)?;
        let (capabilities, workflow) = (self.capabilities(run)?, step::digest(source.as_bytes()));
        Ok(Runtime { gate, agent, runtime, capabilities, run, workflow, view, taken: 0, most: self.steps })
    }

    fn capabilities(&self, run: RunId) -> Result<Vec<Box<dyn Capability>>, Stop> {
        let own = std::env::current_exe().map_err(|error| Stop::new(USAGE, "program", error))?;
        Ok(vec![
            Box::new(ReadStatus { production: self.production.clone() }),
            Box::new(RunTests { repository: self.repository.clone() }),
            Box::new(Deploy {
                deployer: self.deployer.clone().unwrap_or(own),
                production: self.production.clone(),
                log: self.log("deploy")?,
                run,
            }),
        ])
    }

    /// The log under the runtime's trust file, held to every checkpoint that was seen before.
    fn log(&self, user: &str) -> Result<PinnedClient, Stop> {
        let path = self.directory.join("trust.toml");
        let text = fs::read_to_string(&path).map_err(|error| Stop::file(&path, &error))?;
        let trust = Trust::parse(&text).map_err(|error| Stop::file(&path, &error))?;
        let seen = FileCheckpoints::new(self.below("seen")?.join(user));
        Ok(Client::new(&self.server, None)?.pin(trust, Box::new(seen)))
    }

    /// The run of the event. Its trigger is on disk before it is in the log, so that a crash between the two starts no second run; it is
    /// submitted each time, which changes nothing where it is logged.
    fn find_run(&self, log: &PinnedClient, agent: &RecordKey, source: &str) -> Result<(RunId, bool), Stop> {
        let path = self.below("runs")?.join(&self.event);
        let is_new = !path.exists();
        if is_new {
            let (trigger, opening) = self.trigger(log, agent, source)?;
            let mut lines = Vec::new();
            write_line(&PayloadLine::disclosing(opening, None), &mut lines);
            lines.extend_from_slice(trigger.bytes());
            write_whole(&path, &lines)?;
        }
        let damaged = || Stop::file(&path, &"this is no trigger that this program wrote");
        let lines = fs::read(&path).map_err(|error| Stop::file(&path, &error))?;
        let end = lines.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
        let opening = read_line::<PayloadLine>(&lines[..end]).map_err(|_| damaged())?.into_opening();
        let trigger = UnverifiedRecord::parse(&lines[end + 1..]).map_err(|_| damaged())?;
        log.submit_with(&trigger, &[opening], &[])?;
        Ok((RunId::started_by(trigger.id()), is_new))
    }

    /// Signed, and not yet submitted: the trigger, which commits to the workflow's source.
    fn trigger(
        &self,
        log: &PinnedClient,
        agent: &RecordKey,
        source: &str,
    ) -> Result<(UnverifiedRecord, Opening), Stop> {
        let (name, media_type) = (label("workflow.rn")?, label("text/plain")?);
        let Sealed { item, opening } = seal(name, media_type, source.as_bytes().to_vec())?;
        let trigger = Trigger {
            content: Some(List(vec![Evidence::Item(item)])),
            event: Event { id: label(&self.event)?, kind: None, source: label("workflow")? },
            owner: Holder { key: agent.key(), principal: agent.principal().clone() },
            summary: None,
        };
        let record = session(log, agent).sign(Place::Single { log: log.trust().genesis() }, trigger)?;
        Ok((record, opening))
    }

    /// One process works on an event at a time.
    fn lock(&self) -> Result<File, Stop> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if self.event.is_empty() || !self.event.chars().all(is_plain) {
            return Err(Stop::new(USAGE, "event", "an event is named by letters, digits and hyphens"));
        }
        let path = self.below("locks")?.join(&self.event);
        let lock = File::create(&path).map_err(|error| Stop::file(&path, &error))?;
        lock.try_lock().map_err(|_| Stop::new(USAGE, "busy", "another process works on this event"))?;
        Ok(lock)
    }

    fn below(&self, name: &str) -> Result<PathBuf, Stop> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(|error| Stop::file(&path, &error))?;
        Ok(path)
    }
}

impl Runtime {
    /// One call of a capability: answered by the journal once it has an answer.
    fn step(&mut self, capability: &str, call: Value) -> Result<Value, Stop> {
        self.taken += 1;
        if self.taken > self.most {
            return Err(Stop::new(REFUSED, "too-many-steps", format!("a workflow may take {}", self.most)));
        }
        let step = Step { call, step: self.taken, workflow: self.workflow.clone() };
        let action = step.to_action(capability)?;
        let proposal = match journal::proposed(self.view.run(), step.step, &action)? {
            Some(proposal) => proposal,
            None => self.propose(capability, &action)?,
        };
        let tries = if self.capability(capability)?.is_idempotent() { TRIES } else { 1 };
        loop {
            match journal::standing(&self.view, &proposal)? {
                Standing::Done(result) => return Ok(result),
                Standing::Running(execution) => {
                    let detail = format!("execution {execution} has no outcome yet");
                    return Err(Stop::new(NOT_SHOWN, "outcome-missing", detail));
                }
                Standing::Open { unknown: Some(execution), .. } if tries == 1 => {
                    let detail = format!(
                        "nobody knows what became of {execution}, and it is not done again; look, and say it with `counterfoil settle`"
                    );
                    return Err(Stop::new(NOT_SHOWN, "outcome-unknown", detail));
                }
                Standing::Open { tries: made, last, .. } if made >= tries => {
                    let detail = format!("step {} ({capability}) was tried {made} times: {last}", step.step);
                    return Err(Stop::new(REFUSED, "step-failed", detail));
                }
                Standing::Open { .. } => self.attempt(proposal, capability, &action)?,
            }
        }
    }

    /// Has the gate run a step if that may be now. What became of it is in the log afterwards.
    fn attempt(&mut self, proposal: RecordId, capability: &str, action: &Action) -> Result<(), Stop> {
        let at = self.position(capability)?;
        let number = self.taken;
        match self.gate.run(self.run, proposal, action, &mut *self.capabilities[at])? {
            Ended::Ran(ran) => {
                say(&format!(
                    "step {number}     {capability}: {}, receipt {}",
                    ran.done.status, ran.execution
                ));
                let lost =
                    || Stop::new(NOT_SHOWN, "outcome-not-logged", "run it again to have the outcome logged");
                ran.outcome.ok_or_else(lost)?;
                self.look()
            }
            Ended::Held(why) => {
                Err(Stop::new(HELD, "held", format!("step {number} ({capability}), run {}: {why}", self.run)))
            }
            Ended::Refused { refusal, .. } | Ended::NotRun { refusal, .. } => Err(refusal.into()),
        }
    }

    /// Proposes a step. Whoever has to decide about a risky one is shown the workflow besides.
    fn propose(&mut self, capability: &str, action: &Action) -> Result<RecordId, Stop> {
        let source = journal::source(&self.view).map(|(item, _)| List(vec![Evidence::Item(item)]));
        let proposal = Proposal {
            action: action.clone(),
            audience: Audience::Principal(self.runtime.principal().clone()),
            cost: None,
            delegation: None,
            evidence: source,
            metadata: None,
            risk: self.capability(capability)?.risk(),
            summary: Text::new(format!("Step {} of a workflow", self.taken)),
            supersedes: None,
            tags: None,
        };
        let proposed = session(self.gate.log(), &self.agent).propose(&self.view, proposal, &[])?;
        self.look()?;
        Ok(proposed.id)
    }

    /// Looks what the log shows now.
    fn look(&mut self) -> Result<(), Stop> {
        self.view = verified(self.gate.log(), &self.agent, self.run)?;
        Ok(())
    }

    fn capability(&self, name: &str) -> Result<&dyn Capability, Stop> {
        self.position(name).map(|at| &*self.capabilities[at])
    }

    fn position(&self, name: &str) -> Result<usize, Stop> {
        let found = self.capabilities.iter().position(|capability| capability.name() == name);
        found.ok_or_else(|| Stop::new(REFUSED, "capability-unknown", name))
    }
}

/// A run as the log shows it now, if all that it shows holds.
fn verified(log: &PinnedClient, agent: &RecordKey, run: RunId) -> Result<View, Stop> {
    let view = session(log, agent).view(run)?;
    view.is_sound()?;
    Ok(view)
}

/// That the workflow is the one that the run was started with.
fn is_same_workflow(view: &View, source: &str) -> Result<(), Stop> {
    let Some((_, content)) = journal::source(view) else {
        return Err(Stop::new(
            NOT_SHOWN,
            "workflow-not-shown",
            "the run does not show its workflow any more",
        ));
    };
    if content != source.as_bytes() {
        let (then, now) = (step::digest(content), step::digest(source.as_bytes()));
        return Err(Stop::new(
            REFUSED,
            "workflow-changed",
            format!("the run was started with {then}, this is {now}"),
        ));
    }
    Ok(())
}

/// Somebody who signs, on what the log shows.
fn session<'a>(log: &'a PinnedClient, key: &'a RecordKey) -> Session<'a> {
    Session {
        client: log,
        signer: key,
        principal: key.principal().clone(),
        role: key.role(),
        clock: &SystemClock,
    }
}

fn label(text: &str) -> Result<Label, Stop> {
    Label::new(text).ok_or_else(|| Stop::new(USAGE, "label", format!("{text:?} is not {}", Label::SYNTAX)))
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &std::path::Path, bytes: &[u8]) -> Result<(), Stop> {
    let write = || {
        let directory = path.parent().unwrap_or(path);
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| Stop::file(path, &error))
}
