//! The agent at work: a command that is given an event and a worktree, and whose difference is the proposal.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use super::stage::Stage;
use crate::{
    error::{Failure, Outcome},
    git::{Commit, Repository},
    process::{self, Bounds, Ended, Stopped},
    text::printable,
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
/// Characters of what a command said that are repeated; the last ones tell most.
const SAID: usize = 400;
/// Exit status of a shell that does not find a command (POSIX, Shell Command Language §2.8.2).
const NOT_FOUND: i32 = 127;
/// What to do about an agent that fails.
const HINT: &str = "run the command by hand in a clone of the repository, with an alert on standard input";
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
    stage: &Stage,
) -> Outcome<String> {
    let worktree = repository.worktree(base)?;
    let mut shell = Command::new("sh");
    crate::git::without_git_environment(&mut shell);
    shell.args(["-c", command]).current_dir(worktree.path()).env_remove(NOTE);
    note.map(|note| shell.env(NOTE, note));
    stage.mark(&mut shell);
    let ended = process::run(&mut shell, &event.bytes, BOUNDS, &|| stage.is_interrupted());
    stage.check()?;
    let ended = ended.map_err(|stopped| {
        let why = match stopped {
            Stopped::NotStarted(error) => format!("was not started, sh can't be run: {error}"),
            Stopped::TimedOut | Stopped::Interrupted => {
                format!("took longer than {} s", BOUNDS.time.as_secs())
            }
        };
        Failure::new("agent-failed", printable(&format!("the agent `{command}` {why}")), HINT)
    })?;
    succeeded(command, &ended)?;
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let patch = if crate::diff::is_diff(&printed) { printed } else { text(worktree.diff()?)? };
    if patch.is_empty() {
        let message = format!("the agent `{command}` succeeded, but changed no file and printed no patch");
        let hint = "it has to edit files in the directory that it is started in, or to print a unified diff";
        return Err(Failure::new("agent-proposed-nothing", printable(&message), hint));
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

fn succeeded(command: &str, ended: &Ended) -> Outcome<()> {
    if ended.status.success() {
        return Ok(());
    }
    let said = said(&String::from_utf8_lossy(&ended.stderr));
    if ended.status.code() == Some(NOT_FOUND) {
        let message = format!("the agent `{command}` was not found{said}");
        let hint = "give its path from the root: it is started in a new worktree of the repository";
        return Err(Failure::new("agent-not-found", printable(&message), hint));
    }
    let status = ended.status.to_string().replace(": ", " ");
    let message = format!("the agent `{command}` failed with {status}{said}");
    Err(Failure::new("agent-failed", printable(&message), HINT))
}

/// The end of what a command wrote to standard error, on one line, to follow how it ended.
pub fn said(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join("; ");
    match text.chars().count().checked_sub(SAID) {
        _ if text.is_empty() => ", and wrote nothing to standard error".to_owned(),
        None | Some(0) => format!(": {text}"),
        Some(more) => format!(": …{}", text.chars().skip(more).collect::<String>()),
    }
}
