//! The tool `git.apply`: one patch, on one commit, in one repository, under a new branch.
//!
//! ```json
//! {"arguments":{"base":"<commit>","branch":"fix/retries","check":"sh check.sh"},"committed":{"/patch":"sha256:…"},
//!  "mode":"apply","precondition":{"head":"<commit>"},"target":"<repository>","tool":"git.apply"}
//! ```
//!
//! `check` may be absent, and so may the precondition. The patch is what opens the commitment, and nothing else is ever
//! applied. The repository's checkout is not touched: the effect is a commit, and a branch that points at it.

use std::{process::Command, time::Duration};

use counterfoil_gate::{Done, Effect, ResultPayload};
use counterfoil_receipt::{
    Action, Commitment, Opening, RecordId, RunId,
    action::Mode,
    body::{Effects, Status},
    text::{Label, Pointer},
};
use serde_json::{Value, json};

use crate::{
    error::{Failure, Outcome},
    git::{self, Commit, Repository, Signature, Worktree},
    process::{self, Bounds, Stopped},
    text::printable,
    time,
};

/// The tool that actions of this kind name.
pub const TOOL: &str = "git.apply";
/// The committed argument that holds the patch.
pub const PATCH: &str = "/patch";
/// What is kept of a check's output, and how long it may take.
const CHECK: Bounds = Bounds { output: 65_536, time: Duration::from_secs(600) };

/// What an action of this tool says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patching {
    target: String,
    base: Commit,
    branch: String,
    check: Option<String>,
    head: Option<Commit>,
    patch: Commitment,
}

/// The effect: applies, checks, commits.
pub struct GitApply<'a> {
    /// Where.
    pub repository: &'a Repository,
    /// What opens the commitments of the run's records.
    pub openings: &'a [Opening],
    /// The run, for the commit's message.
    pub run: RunId,
    /// The author of the commit: the runtime's principal.
    pub author: &'a str,
    /// The first line of the commit's message.
    pub subject: &'a str,
    /// A check of the runtime's own, after the action's.
    pub check: Option<&'a str>,
}

impl Patching {
    /// Reads an action, and no action that says anything besides.
    pub fn read(action: &Action) -> Outcome<Self> {
        let wrong = |why: &str| {
            let message = format!("the action is none of {TOOL}: {why}");
            Failure::new("action-unsupported", printable(&message), "have another one proposed; see `counterfoil gate apply --help`")
        };
        if action.tool.as_str() != TOOL {
            return Err(wrong(&format!("its tool is {}", action.tool)));
        }
        if action.mode != Mode::Apply || action.connector.is_some() || action.free.is_some() {
            return Err(wrong("it has mode `apply`, no connector and no free argument"));
        }
        let committed: Vec<_> = action.committed.iter().flat_map(|map| map.iter()).collect();
        let patch = match committed.as_slice() {
            [(pointer, commitment)] if Some(pointer) == Pointer::new(PATCH).as_ref() => *commitment,
            _ => return Err(wrong("its one committed argument is /patch")),
        };
        let mut arguments = members(&action.arguments.to_value());
        let mut precondition = action.precondition.as_ref().map(|json| members(&json.to_value())).unwrap_or_default();
        let commit = |value: Option<String>| value.as_deref().and_then(Commit::parse);
        let read = Self {
            target: action.target.as_ref().ok_or_else(|| wrong("it has no target"))?.to_string(),
            base: commit(arguments.take("base")).ok_or_else(|| wrong("`base` is no full commit name"))?,
            branch: arguments.take("branch").ok_or_else(|| wrong("`branch` is no name"))?,
            check: arguments.take("check"),
            head: match precondition.take("head") {
                None => None,
                head => Some(commit(head).ok_or_else(|| wrong("`head` is no full commit name"))?),
            },
            patch,
        };
        match arguments.rest().or_else(|| precondition.rest()) {
            Some(name) => Err(wrong(&format!("it says `{name}`, which this version does not know"))),
            None => Ok(read),
        }
    }

    /// Whether the effect could start in this repository now. Asked before anything is logged, and again before the effect.
    pub fn can_start(&self, repository: &Repository) -> Outcome<()> {
        let refuse = |code: &str, message: String, hint: &str| Err(Failure::new(code, printable(&message), hint));
        if self.target != repository.name() {
            let message = format!("the action is for the repository {}, this one is {}", self.target, repository.name());
            return refuse("repo-differs", message, "name the right one with --repo");
        }
        if let Some(head) = self.head.as_ref().filter(|head| repository.head().as_ref().ok() != Some(head)) {
            let message = format!("the action was proposed for HEAD {}, which it is no more", head.as_str());
            return refuse("precondition-failed", message, "check that commit out again, or have a new action proposed");
        }
        if !repository.has(&self.base)? {
            let message = format!("the repository has no commit {}", self.base.as_str());
            return refuse("base-missing", message, "fetch it first");
        }
        if !repository.is_branch_name(&self.branch)? {
            return refuse("branch-name", format!("{:?} is no name of a branch", self.branch), "have another one proposed");
        }
        if repository.has_branch(&self.branch)? {
            let message = format!("the branch {} is there already", self.branch);
            return refuse("branch-exists", message, "rename it, or have another one proposed");
        }
        Ok(())
    }

    /// The patch, opened from its commitment.
    pub fn patch(&self, openings: &[Opening]) -> Outcome<Vec<u8>> {
        let opening = openings.iter().find(|opening| opening.commitment() == self.patch);
        let text = opening.and_then(|opening| serde_json::from_slice::<String>(&opening.content).ok());
        text.map(String::into_bytes).ok_or_else(|| {
            let message = format!("nothing that is disclosed opens the patch {} as a text", self.patch);
            Failure::new("action-not-disclosed", message, "have the proposer submit the payload")
        })
    }
}

impl Effect for GitApply<'_> {
    fn run(&mut self, action: &Action, execution: &RecordId) -> Done {
        self.effect(action, execution).unwrap_or_else(|failure| Done::not_started(failure.message()))
    }
}

impl GitApply<'_> {
    /// Every failure here is one before the branch is there: nothing happened to the repository.
    fn effect(&self, action: &Action, execution: &RecordId) -> Outcome<Done> {
        let patching = Patching::read(action)?;
        patching.can_start(self.repository)?;
        let worktree = self.repository.worktree(&patching.base)?;
        worktree.apply(&patching.patch(self.openings)?)?;
        // What is committed is named before any check runs: a check can't slip anything in.
        let tree = worktree.tree()?;
        let mut result = json!({"base": patching.base.as_str(), "checks": []});
        for command in patching.check.as_deref().into_iter().chain(self.check) {
            let checked = check(&worktree, command)?;
            let passed = checked["exit"] == 0;
            if let Some(checks) = result["checks"].as_array_mut() {
                checks.push(checked);
            }
            if !passed {
                let detail = format!("the check `{command}` failed, so nothing was committed");
                return Ok(done(Status::Failed, Effects::None, &result, detail));
            }
        }
        let message = self.message(execution);
        let signature = Signature { name: self.author, seconds: time::now() / 1_000, message: &message };
        let commit = worktree.commit(&tree, &signature)?;
        self.repository.create_branch(&patching.branch, &commit)?;
        let detail = format!("{} {}", patching.branch, commit.as_str());
        result["branch"] = patching.branch.into();
        result["commit"] = commit.as_str().into();
        Ok(done(Status::Succeeded, Effects::Complete, &result, detail))
    }

    fn message(&self, execution: &RecordId) -> String {
        format!("{}\n\nCounterfoil-Run: {}\nCounterfoil-Execution: {execution}\n", printable(self.subject), self.run)
    }
}

/// Runs a check where the patch was applied; what it said, and how it ended.
fn check(worktree: &Worktree<'_>, command: &str) -> Outcome<Value> {
    let mut shell = Command::new("sh");
    git::without_git_environment(&mut shell);
    shell.args(["-c", command]).current_dir(worktree.path());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(is_noncharacter, "\u{fffd}");
    match process::run(&mut shell, b"", CHECK, &|| false) {
        Ok(ended) => Ok(json!({
            "command": command, "exit": ended.status.code(), "stderr": text(&ended.stderr), "stdout": text(&ended.stdout),
        })),
        Err(Stopped::TimedOut | Stopped::Interrupted) => {
            let message = format!("the check `{command}` took longer than {} s", CHECK.time.as_secs());
            Err(Failure::new("check-timeout", message, "have a quicker one proposed"))
        }
        Err(Stopped::NotStarted(error)) => {
            Err(Failure::new("check-not-started", format!("sh can't be run: {error}"), "check the PATH"))
        }
    }
}

fn done(status: Status, effects: Effects, result: &Value, detail: String) -> Done {
    let payload = |content| {
        let (label, media_type) = (Label::new("result.json")?, Label::new("application/json")?);
        Some(ResultPayload { label, media_type, content })
    };
    let result = counterfoil_receipt::json::to_canonical(result).ok().and_then(payload);
    Done { status, effects, result, detail: Some(detail) }
}

/// What I-JSON refuses in strings (RFC 7493 §2.1).
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe
}

/// String members of an object, to be taken one by one.
#[derive(Default)]
struct Members(serde_json::Map<String, Value>);

fn members(object: &Value) -> Members {
    Members(object.as_object().cloned().unwrap_or_default())
}

impl Members {
    /// A string member; one of another type stays, and is then one too many.
    fn take(&mut self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.as_str()?.to_owned();
        self.0.remove(name);
        Some(text)
    }

    fn rest(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}
