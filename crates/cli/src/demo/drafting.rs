//! The agent at work: a command that is given an event and a worktree, and whose difference is the proposal.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use super::stage::Interrupt;
use crate::{
    error::{Failure, Outcome},
    git::{Commit, Repository},
    process::{self, Bounds, Stopped},
    text::{printable, shortened},
};

/// What the built-in agent is, and the event that it is given.
pub const AGENT: &str = include_str!("../../../../examples/agent.sh");
/// An alert: the payment provider answers 429, and checkout retries without limit.
pub const ALERT: &str = include_str!("../../../../examples/alert.json");
/// The repository that the alert is about.
pub const FILES: [(&str, &str); 4] = [
    ("README.md", include_str!("../../../../examples/repo/README.md")),
    ("check.sh", include_str!("../../../../examples/repo/check.sh")),
    ("limits.conf", include_str!("../../../../examples/repo/limits.conf")),
    ("provider.conf", include_str!("../../../../examples/repo/provider.conf")),
];
/// The variable that tells an agent what an approver wants changed.
const NOTE: &str = "COUNTERFOIL_NOTE";
/// An agent that calls a model takes minutes.
const BOUNDS: Bounds = Bounds { output: 4 << 20, time: Duration::from_secs(1_800) };

/// An alert event, as far as a record says it in the clear.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who raised it.
    pub source: String,
    /// Its id there.
    pub id: String,
    /// In a sentence.
    pub summary: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Event {
    /// Reads an event.
    pub fn parse(bytes: &[u8]) -> Outcome<Self> {
        let event: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let member = |name: &str| {
            event[name].as_str().map(str::to_owned).ok_or_else(|| {
                let message = format!("the event has no member `{name}` that is a string");
                Failure::new("event-malformed", message, "compare it with examples/alert.json")
            })
        };
        Ok(Self {
            source: member("source")?,
            id: member("id")?,
            summary: member("summary")?,
            bytes: bytes.to_vec(),
        })
    }
}

/// Lets the agent work in a worktree at `base`, and gives what it proposes: the patch that it printed, or else what it changed.
pub fn draft(
    repository: &Repository,
    base: &Commit,
    command: &str,
    event: &Event,
    note: Option<&str>,
    interrupt: &Interrupt,
) -> Outcome<String> {
    let worktree = repository.worktree(base)?;
    let mut shell = Command::new("sh");
    crate::git::without_git_environment(&mut shell);
    shell.args(["-c", command]).current_dir(worktree.path()).env_remove(NOTE);
    note.map(|note| shell.env(NOTE, note));
    let ended = process::run(&mut shell, &event.bytes, BOUNDS, &|| interrupt.happened());
    interrupt.check()?;
    let ended = ended.map_err(|stopped| match stopped {
        Stopped::NotStarted(error) => failed(&format!("sh can't be run: {error}")),
        Stopped::TimedOut | Stopped::Interrupted => {
            failed(&format!("it took longer than {} s", BOUNDS.time.as_secs()))
        }
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        return Err(failed(&format!("{}: {}", ended.status, shortened(said.trim(), 400))));
    }
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let patch = if crate::diff::is_diff(&printed) { printed } else { text(worktree.diff()?)? };
    if patch.is_empty() {
        let hint = "it has to edit files where it is started, or to print a unified diff";
        return Err(Failure::new(
            "agent-proposed-nothing",
            "the agent changed nothing and printed no patch",
            hint,
        ));
    }
    // What does not apply is told here, where the agent can be mended, and not after somebody approved it.
    repository.worktree(base)?.apply(patch.as_bytes()).map_err(|failure| {
        let message = format!("the agent's patch does not apply: {}", failure.message());
        Failure::new(
            "agent-patch-unusable",
            message,
            "have it print a diff against the files that it was given",
        )
    })?;
    Ok(patch)
}

/// What a patch changes, in a few words: `limits.conf +2 -2`.
pub fn outline(patch: &str) -> String {
    let (mut files, mut added, mut removed) = (Vec::new(), 0, 0);
    for line in patch.lines() {
        match crate::diff::kind(line) {
            crate::diff::Kind::Added => added += 1,
            crate::diff::Kind::Removed => removed += 1,
            _ => {}
        }
        files.extend(line.strip_prefix("+++ b/").or_else(|| line.strip_prefix("--- a/")));
    }
    files.dedup();
    let files = match files.as_slice() {
        [] => "a patch".to_owned(),
        [file] => (*file).to_owned(),
        [first, more @ ..] => format!("{first} and {} more", more.len()),
    };
    printable(&format!("{files} +{added} -{removed}"))
}

/// The built-in agent as a command.
pub fn built_in(dir: &Path) -> Outcome<String> {
    let path = dir.join("agent.sh");
    crate::output::write(&path, AGENT.as_bytes())?;
    Ok(format!("sh '{}'", path.to_string_lossy().replace('\'', r"'\''")))
}

/// The bundled repository, in a new directory.
pub fn bundled(dir: &Path) -> Outcome<Repository> {
    for (name, content) in FILES {
        crate::output::write(&dir.join(name), content.as_bytes())?;
    }
    let signature = crate::git::Signature {
        name: "checkout",
        seconds: crate::time::now() / 1_000,
        message: "How checkout calls the payment provider\n",
    };
    crate::git::create(dir, &signature)
}

/// A patch is recorded as text.
fn text(patch: Vec<u8>) -> Outcome<String> {
    String::from_utf8(patch).map_err(|error| {
        let message = format!("the agent's patch is not UTF-8 at byte {}", error.utf8_error().valid_up_to());
        Failure::new("agent-patch-unusable", message, "mark such files as binary in .gitattributes")
    })
}

fn failed(why: &str) -> Failure {
    Failure::new(
        "agent-failed",
        format!("the agent failed: {}", printable(why)),
        "run its command by hand to see more",
    )
}
