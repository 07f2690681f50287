//! `counterfoil demo`: three runs against a real server, and every way of cheating that we know, refused.
//!
//! Nothing is decided, executed or refused here. Each actor is this program started anew, with its own key and the trust
//! file; the demo writes files, starts processes and tells what came of them.

mod attacks;
mod drafting;
mod runs;
mod stage;
mod sweep;
mod tamper;
mod telling;

use std::{
    cell::RefCell,
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::Args;
use counterfoil_receipt::Role;
use serde_json::json;

use self::{
    attacks::{Attacks, Attempt},
    drafting::Event,
    runs::{Cast, Play, Task},
    stage::{Actor, Server, Stage},
    telling::Telling,
};
use crate::{
    context::Context,
    error::{Failure, Outcome, VIOLATED},
    git::Repository,
    input::shown,
    output::{self, unwritable},
};

/// What a rejected run can show: nothing was executed, so nothing about conformity.
const REJECTED: &str = "integrity,authority,inclusion";
/// What --out leaves.
const FILES: [&str; 4] =
    ["approved.bundle.jsonl", "rejected.bundle.jsonl", "changes.bundle.jsonl", "trust.toml"];

/// See it all at work in a minute: an alert, a patch, an approval, an execution, a proof; then every way to cheat, refused.
///
/// Starts a real server on a free port and runs every actor as a process of its own. Whatever ends it, what it started is ended
/// and removed, except what --out keeps and, in a repository of yours, the new branches counterfoil/….
///
/// Exit status: 0 everything went as it must, 1 an attack was not refused, 2 wrong usage or an agent or check that failed,
/// 128 and its number after a signal.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil demo
  counterfoil demo --interactive
  counterfoil demo --out evidence
  counterfoil demo --agent \"$PWD/examples/agent.sh\"
  counterfoil demo --repo ~/src/shop --agent 'my-agent --fix' --check 'make test'")]
pub struct Demo {
    /// A git repository of yours, instead of the bundled one; your checkout is not touched
    #[arg(long, value_name = "PATH")]
    repo: Option<PathBuf>,
    /// Decide the first run yourself
    #[arg(long)]
    interactive: bool,
    /// Leave the bundles and the trust file here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run this as the agent: the event on standard input, a new worktree as its directory (so name it by its full path); what
    /// it changes, or the diff that it prints, is its proposal
    #[arg(long, value_name = "COMMAND")]
    agent: Option<String>,
    /// The repository's check [default: `sh check.sh` in the bundled repository]
    #[arg(long, value_name = "COMMAND")]
    check: Option<String>,
    /// Be the process that clears this directory up once the demo is over
    #[arg(long, hide = true, value_name = "DIR")]
    sweep: Option<PathBuf>,
}

/// What is left of the three runs.
struct Kept {
    approved: (String, Vec<u8>),
    rejected: (String, Vec<u8>),
    changes: (String, Vec<u8>),
}

impl Demo {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        if let Some(dir) = &self.sweep {
            return sweep::sweep(dir, self.repo.as_deref());
        }
        self.can_ask(context)?;
        let own = self.repo.as_deref().map(Repository::open).transpose()?;
        own.as_ref().map(Repository::is_clean).transpose()?;
        own.as_ref().map(Repository::head).transpose()?;
        let stage = Stage::new(own.as_ref().map(Repository::path))?;
        let task = self.task(&stage, own)?;
        let made = self.out.as_deref().map(prepare_out).transpose()?.unwrap_or(false);
        let ended = self.play(context, &stage, &task);
        if let Some(left) = stage.strike() {
            output::note(&format!("warning: {} could not be removed\n", shown(&left)));
        }
        if ended.is_err() {
            // Nothing is kept of a demo that did not end: nor is the directory, if it is new and empty.
            let _ = self.out.as_ref().filter(|_| made).map(std::fs::remove_dir);
            if let Ok(Some(left)) = self.branches(&task) {
                output::note(&format!("{left}\n"));
            }
        }
        ended
    }

    /// A person can be asked only where there is one.
    fn can_ask(&self, context: &Context) -> Outcome<()> {
        if self.interactive && context.json {
            let message = "--interactive asks a person, --json answers a program";
            return Err(Failure::new("usage", message, "choose one of them"));
        }
        if self.interactive && !std::io::stdin().is_terminal() {
            let message = "--interactive asks a person, and standard input is no terminal";
            return Err(Failure::new(
                "no-terminal",
                message,
                "run it at a terminal, or leave out --interactive",
            ));
        }
        Ok(())
    }

    fn play(&self, context: &Context, stage: &Stage, task: &Task) -> Outcome {
        let began = Instant::now();
        let telling = Telling::new(context.style, context.json);
        telling.say(&format!("{}\n\n", context.style.bold("counterfoil demo")))?;
        let server = stage.serve("log")?;
        let cast = enter(stage, &server)?;
        introduce(&telling, task, &server)?;
        let play = Play { stage, cast: &cast, task, telling };
        let patch = play.draft(None)?;
        let kept = self.runs(&play, &patch)?;
        let attempts = Attacks { play: &play, patch: &patch, approved: &kept.approved }.all()?;
        let refused = attempts.iter().filter(|attempt| attempt.is_refused()).count();
        self.out.as_deref().map(|out| keep(out, &kept, &cast.auditor)).transpose()?;
        if context.json {
            output::print_json(&json!({
                "format": "counterfoil-demo/1",
                "branches": self.repo.as_ref().map(|_| task.made()).transpose()?,
                "runs": {"approved": kept.approved.0, "rejected": kept.rejected.0, "changes": kept.changes.0},
                "attacks": attempts.iter().map(Attempt::to_json).collect::<Vec<_>>(),
                "refused": refused,
                "milliseconds": u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            }))?;
        }
        self.end(&play, began)?;
        if refused == attempts.len() {
            return Ok(0);
        }
        let through: Vec<String> =
            attempts.iter().filter(|attempt| !attempt.is_refused()).map(Attempt::to_string).collect();
        let message = format!("NOT refused as it must be: {}", through.join("; "));
        Err(Failure::new(
            "attack-not-refused",
            message,
            "don't use this version, and report it: see SECURITY.md",
        )
        .with_status(VIOLATED))
    }

    fn task(&self, stage: &Stage, own: Option<Repository>) -> Outcome<Task> {
        let event = Event::parse(drafting::ALERT.as_bytes())?;
        let command = match &self.agent {
            Some(command) => command.clone(),
            None => drafting::built_in(&stage.directory("agent-program")?)?,
        };
        let bundled = own.is_none().then(|| "sh check.sh".to_owned());
        let repository = match own {
            Some(own) => own,
            None => drafting::bundled(&stage.directory("checkout")?)?,
        };
        let check = self.check.clone().or(bundled);
        Ok(Task { event, repository, command, check, branches: RefCell::default() })
    }

    fn runs(&self, play: &Play<'_>, patch: &str) -> Outcome<Kept> {
        let telling = play.telling;
        let mut own = None;
        if self.interactive {
            telling.part("1  You decide", "the run waits for your signature")?;
            let (run, approved) = play.interactive(patch)?;
            own = approved.then_some(run);
        }
        let approved = match own {
            Some(run) => run,
            None => {
                let about = match self.interactive {
                    false => "exactly the patch that a person saw is applied, once",
                    true => "by somebody else, so that you see the rest",
                };
                telling.part("1  Approved", about)?;
                play.approved(patch)?
            }
        };
        let approved_bundle = play.verify(&approved, FILES[0], None)?;
        telling.part("2  Rejected", "nothing is executed, and that is on record too")?;
        let rejected = play.rejected(patch)?;
        let rejected_bundle = play.verify(&rejected, FILES[1], Some(REJECTED))?;
        telling.part("3  Changes requested", "a revision is a new proposal, and needs a new decision")?;
        let changes = play.changes(patch)?;
        let changes_bundle = play.verify(&changes, FILES[2], None)?;
        Ok(Kept {
            approved: (approved, approved_bundle),
            rejected: (rejected, rejected_bundle),
            changes: (changes, changes_bundle),
        })
    }

    /// The branches that are new in a repository of the user's, and how to remove them.
    fn branches(&self, task: &Task) -> Outcome<Option<String>> {
        let made = task.made()?;
        if self.repo.is_none() || made.is_empty() {
            return Ok(None);
        }
        let place = task.repository.path();
        Ok(Some(format!(
            "New branches in {}: {}. To remove them:\n  git -C {} branch -D {}",
            shown(place),
            made.join(", "),
            quoted(place),
            made.join(" ")
        )))
    }

    fn end(&self, play: &Play<'_>, began: Instant) -> Outcome<()> {
        let telling = play.telling;
        if let Some(branches) = self.branches(play.task)? {
            telling.say(&format!("\n  {branches}\n  Nothing else changed there.\n"))?;
        }
        match &self.out {
            None => {
                telling.say("\n  The evidence is removed now; `counterfoil demo --out DIR` keeps it.\n")?
            }
            Some(out) => {
                telling
                    .part("Verify it yourself", "offline; the trust file is all that you need to believe")?;
                let rejected = format!(" --require {REJECTED}");
                for (name, require) in [(FILES[0], ""), (FILES[1], &rejected), (FILES[2], "")] {
                    let (bundle, trust) = (quoted(&out.join(name)), quoted(&out.join(FILES[3])));
                    telling.say(&format!("  counterfoil verify {bundle} --trust {trust}{require}\n"))?;
                }
            }
        }
        let took = format!("{:.1} s", began.elapsed().as_secs_f32());
        telling.say(&format!("\n  {}\n", telling.style().dim(&took)))
    }
}

/// The actors, each with the key that `counterfoil init` made for them; the second human is enrolled by the authority.
fn enter(stage: &Stage, server: &Server) -> Outcome<Cast> {
    let take = |name: &str, role: Role| -> Outcome<Actor> {
        let actor = stage.actor(server, name)?;
        let (from, to) =
            (server.dir.join(format!("keys/{name}.key")), actor.dir.join(format!("keys/{role}.key")));
        std::fs::rename(&from, &to).map_err(|error| unwritable(&to, &error))?;
        Ok(actor)
    };
    let authority = take("authority", Role::Authority)?;
    let second_human = stage.actor(server, "human-2")?;
    let made = stage.must(
        &second_human,
        &["keys", "new", "--role", "human", "--principal", "human-2", "--out", "keys/human.key"],
    )?;
    let key = made["key"].as_str().unwrap_or_default().to_owned();
    stage.must(&authority, &["keys", "enrol", &key, "--principal", "human-2", "--role", "human"])?;
    Ok(Cast {
        agent: take("agent", Role::Agent)?,
        second_agent: take("agent-2", Role::Agent)?,
        human: take("human", Role::Human)?,
        second_human,
        runtime: take("runtime", Role::Runtime)?,
        auditor: stage.actor(server, "auditor")?,
    })
}

fn introduce(telling: &Telling, task: &Task, server: &Server) -> Outcome<()> {
    telling.say(&format!("  alert     {}\n", crate::text::printable(&task.event.summary)))?;
    telling.say(&format!("  log       {}, a server of its own with an empty log\n", server.url))?;
    telling.say("  actors    separate processes, each with a key of its own and the trust file\n")
}

/// A directory to write to that no evidence lies in yet, for it is never overwritten; whether it is new.
fn prepare_out(out: &Path) -> Outcome<bool> {
    let is_new = !out.exists();
    std::fs::create_dir_all(out).map_err(|error| unwritable(out, &error))?;
    if let Some(name) = FILES.iter().find(|name| out.join(name).symlink_metadata().is_ok()) {
        let message = format!("{} is there already", shown(&out.join(name)));
        return Err(Failure::new(
            "output-exists",
            message,
            "it is never overwritten: choose another directory",
        ));
    }
    // What can't be written is told now, and not after the play.
    tempfile::tempfile_in(out).map_err(|error| unwritable(out, &error))?;
    Ok(is_new)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = shown(path);
    let is_plain = path.chars().all(|character| character.is_alphanumeric() || "/._-+".contains(character));
    if is_plain { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

fn keep(out: &Path, kept: &Kept, auditor: &Actor) -> Outcome<()> {
    let bundles = [&kept.approved.1, &kept.rejected.1, &kept.changes.1];
    for (name, bundle) in FILES.iter().zip(bundles) {
        output::write(&out.join(name), bundle)?;
    }
    output::write(&out.join(FILES[3]), &auditor.read(FILES[3])?)
}
