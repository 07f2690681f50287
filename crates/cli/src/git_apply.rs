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

use counterfoil_gate::{Attempt, Done, Effect, Refusal, ResultPayload};
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
    process::{Bounds, Ended, Stopped},
    text::{counted, printable},
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
    /// How checks are run.
    pub run_check: &'a dyn Fn(&mut Command, Bounds) -> Result<Ended, Stopped>,
}

impl Patching {
    /// Reads an action, and no action that says anything besides.
    pub fn read(action: &Action) -> Outcome<Self> {
        let wrong = |why: &str| {
            let message = format!("the action is none of {TOOL}: {why}");
            Failure::new(
                "action-unsupported",
                printable(&message),
                "have another one proposed; see `counterfoil gate apply --help`",
            )
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
        let mut precondition =
            action.precondition.as_ref().map(|json| members(&json.to_value())).unwrap_or_default();
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
        let refuse =
            |code: &str, message: String, hint: &str| Err(Failure::new(code, printable(&message), hint));
        if self.target != repository.name() {
            let message = format!(
                "the action is for the repository {}, this one is {}",
                self.target,
                repository.name()
            );
            return refuse("repo-differs", message, "name the right one with --repo");
        }
        if let Some(head) = self.head.as_ref().filter(|head| repository.head().as_ref().ok() != Some(head)) {
            let message = format!("the action was proposed for HEAD {}, which it is no more", head.as_str());
            return refuse(
                "precondition-failed",
                message,
                "check that commit out again, or have a new action proposed",
            );
        }
        if !repository.has(&self.base)? {
            let message = format!("the repository has no commit {}", self.base.as_str());
            return refuse("base-missing", message, "fetch it first");
        }
        if !repository.is_branch_name(&self.branch)? {
            return refuse(
                "branch-name",
                format!("{:?} is no name of a branch", self.branch),
                "have another one proposed",
            );
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
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        self.effect(action, &attempt.execution).unwrap_or_else(|failure| Done::not_started(failure.message()))
    }

    fn check(&mut self, action: &Action) -> Result<(), Refusal> {
        let can_start = Patching::read(action).and_then(|patching| patching.can_start(self.repository));
        can_start.map_err(|failure| Refusal {
            code: failure.code().to_owned(),
            detail: failure.message().to_owned(),
        })
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
            let checked = self.check(&worktree, command)?;
            let passed = checked["exit"] == 0;
            let how = checked["exit"]
                .as_i64()
                .map_or("was killed".to_owned(), |code| format!("failed with exit status {code}"));
            if let Some(checks) = result["checks"].as_array_mut() {
                checks.push(checked);
            }
            if !passed {
                let detail = format!("the check `{command}` {how}, so nothing was committed");
                return Ok(done(Status::Failed, Effects::None, &result, detail));
            }
        }
        let message = self.message(execution);
        let signature = Signature { name: self.author, seconds: time::now() / 1_000, message: &message };
        let commit = worktree.commit(&tree, &signature)?;
        self.repository.create_branch(&patching.branch, &commit)?;
        let checks = result["checks"].as_array().map_or(0, Vec::len);
        let detail = format!(
            "{} is commit {}; {} passed",
            patching.branch,
            commit.as_str(),
            counted(checks as u64, "check")
        );
        result["branch"] = patching.branch.into();
        result["commit"] = commit.as_str().into();
        Ok(done(Status::Succeeded, Effects::Complete, &result, detail))
    }

    fn message(&self, execution: &RecordId) -> String {
        format!(
            "{}\n\nCounterfoil-Run: {}\nCounterfoil-Execution: {execution}\n",
            printable(self.subject),
            self.run
        )
    }

    /// Runs a check where the patch was applied; what it said, and how it ended.
    fn check(&self, worktree: &Worktree<'_>, command: &str) -> Outcome<Value> {
        let mut shell = Command::new("sh");
        git::without_git_environment(&mut shell);
        shell.args(["-c", command]).current_dir(worktree.path());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(is_noncharacter, "\u{fffd}");
        let (code, message, hint) = match (self.run_check)(&mut shell, CHECK) {
            Ok(ended) => {
                return Ok(json!({
                    "command": command, "exit": ended.status.code(), "stderr": text(&ended.stderr),
                    "stdout": text(&ended.stdout),
                }));
            }
            Err(Stopped::TimedOut) => {
                let message = format!("the check `{command}` took longer than {} s", CHECK.time.as_secs());
                ("check-timeout", message, "have a quicker one proposed")
            }
            Err(Stopped::Interrupted) => (
                "check-interrupted",
                format!("a signal ended the check `{command}`"),
                "have it proposed anew",
            ),
            Err(Stopped::NotStarted(error)) => {
                ("check-not-started", format!("sh can't be run: {error}"), "check the PATH")
            }
        };
        Err(Failure::new(code, message, hint))
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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use counterfoil_receipt::{Salt, action::Json};
    use tempfile::TempDir;

    use super::*;

    /// A repository of one file and one commit.
    fn repository(dir: &Path) -> Repository {
        let shop = dir.join("shop");
        fs::create_dir(&shop).unwrap();
        fs::write(shop.join("open"), "no\n").unwrap();
        git::create(&shop, &Signature { name: "somebody", seconds: 1, message: "Start\n" }).unwrap()
    }

    fn opening(patch: &str) -> Opening {
        let content = Value::from(patch).to_string().into_bytes();
        Opening { salt: Salt::from_bytes([7; 32]), label: Label::new(PATCH).unwrap(), content }
    }

    fn action(repository: &Repository, patch: &str, change: impl FnOnce(&mut Value)) -> Action {
        let head = repository.head().unwrap();
        let mut action = json!({
            "arguments": {"base": head.as_str(), "branch": "fix/open", "check": "test -f open"},
            "committed": {"/patch": opening(patch).commitment().to_string()},
            "mode": "apply", "precondition": {"head": head.as_str()}, "target": "shop", "tool": "git.apply",
        });
        change(&mut action);
        Action::parse(Json::from_value(&action).unwrap().as_str().as_bytes()).unwrap()
    }

    fn apply(
        repository: &Repository,
        patch: &str,
        check: Option<&str>,
        change: impl FnOnce(&mut Value),
    ) -> Done {
        let action = action(repository, patch, change);
        let openings = [opening(patch)];
        let run = RunId::started_by(RecordId::of(b"run"));
        let mut effect = GitApply {
            repository,
            openings: &openings,
            run,
            author: "gate",
            subject: "Open\u{1b}[2J",
            check,
            run_check: &|command, bounds| crate::process::run(command, b"", bounds, &|| false),
        };
        let execution = RecordId::of(b"execution");
        effect.run(&action, &Attempt { execution, idempotency_key: execution })
    }

    fn nothing_happened(repository: &Repository, done: &Done, why: &str) {
        assert_eq!((done.status, done.effects), (Status::Failed, Effects::None), "{done:?}");
        assert!(done.detail.as_deref().unwrap_or_default().contains(why), "{why}: {done:?}");
        assert!(!repository.has_branch("fix/open").unwrap());
    }

    fn patch(from: &str, to: &str) -> String {
        format!("--- a/open\n+++ b/open\n@@ -1 +1 @@\n-{from}\n+{to}\n")
    }

    #[test]
    fn exactly_the_patch_becomes_a_commit_whatever_the_check_does() {
        let dir = TempDir::new().unwrap();
        let repository = repository(dir.path());
        // The check writes, adds and stages; a file of the checkout is being edited meanwhile.
        fs::write(repository.path().join("open"), "being edited\n").unwrap();
        let check =
            "grep -q yes open && echo more >> open && echo y > new && git add -A && echo \"$GIT_DIR\u{1}\"";
        let done = apply(&repository, &patch("no", "yes"), None, |action| {
            action["arguments"]["check"] = check.into()
        });
        assert_eq!((done.status, done.effects), (Status::Succeeded, Effects::Complete), "{done:?}");
        let result: Value = serde_json::from_slice(&done.result.as_ref().unwrap().content).unwrap();
        assert_eq!(result["checks"][0]["exit"], 0);
        let commit = Commit::parse(result["commit"].as_str().unwrap()).unwrap();
        let worktree = repository.worktree(&commit).unwrap();
        assert_eq!(fs::read_to_string(worktree.path().join("open")).unwrap(), "yes\n");
        assert!(!worktree.path().join("new").exists());
        assert_eq!(fs::read_to_string(repository.path().join("open")).unwrap(), "being edited\n");
        assert!(done.detail.unwrap().contains("fix/open is commit"));
        // The branch is there now, and is not moved again.
        let again = apply(&repository, &patch("no", "maybe"), None, |_| {});
        assert_eq!((again.status, again.effects), (Status::Failed, Effects::None));
        assert!(again.detail.unwrap().contains("there already"));
    }

    #[test]
    fn a_failed_check_leaves_no_branch() {
        let dir = TempDir::new().unwrap();
        let repository = repository(dir.path());
        let fails = |action: &mut Value| action["arguments"]["check"] = "echo why; exit 3".into();
        let done = apply(&repository, &patch("no", "yes"), None, fails);
        nothing_happened(&repository, &done, "nothing was committed");
        let result: Value = serde_json::from_slice(&done.result.unwrap().content).unwrap();
        assert_eq!(
            (&result["checks"][0]["exit"], &result["checks"][0]["stdout"]),
            (&json!(3), &json!("why\n"))
        );
        // The runtime's own check counts as much as the action's.
        let done = apply(&repository, &patch("no", "yes"), Some("exit 1"), |_| {});
        nothing_happened(&repository, &done, "`exit 1` failed");
    }

    #[test]
    fn what_does_not_fit_the_repository_is_not_applied() {
        let dir = TempDir::new().unwrap();
        let repository = repository(dir.path());
        let other = "1".repeat(40);
        let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/tmp\n\\ No newline at end of file\n";
        let through = format!(
            "{link}diff --git a/l/x b/l/x\nnew file mode 100644\n--- /dev/null\n+++ b/l/x\n@@ -0,0 +1 @@\n+x\n"
        );
        let outside = "--- /dev/null\n+++ b/../outside\n@@ -0,0 +1 @@\n+x\n";
        let inside_git = "--- /dev/null\n+++ b/.git/hooks/pre-commit\n@@ -0,0 +1 @@\n+x\n";
        for (patch, why) in [
            (patch("maybe", "yes").as_str(), "patch"),
            ("", "patch"),
            (outside, "path"),
            (inside_git, "path"),
            (&through, "link"),
        ] {
            nothing_happened(&repository, &apply(&repository, patch, None, |_| {}), why);
        }
        type Change = Box<dyn Fn(&mut Value)>;
        let cases: Vec<(Change, &str)> = vec![
            (Box::new(|action| action["target"] = "shed".into()), "for the repository shed"),
            (
                Box::new({
                    let other = other.clone();
                    move |action| action["precondition"]["head"] = other.as_str().into()
                }),
                "HEAD",
            ),
            (Box::new(move |action| action["arguments"]["base"] = other.as_str().into()), "no commit"),
            (Box::new(|action| action["arguments"]["branch"] = "a..b".into()), "no name of a branch"),
            (Box::new(|action| action["arguments"]["branch"] = "-f".into()), "no name of a branch"),
            (Box::new(|action| action["arguments"]["branch"] = "main".into()), "there already"),
            (
                Box::new(|action| action["committed"]["/patch"] = RecordId::of(b"x").to_string().into()),
                "nothing that is disclosed",
            ),
        ];
        for (change, why) in cases {
            nothing_happened(
                &repository,
                &apply(&repository, &patch("no", "yes"), None, |action| change(action)),
                why,
            );
        }
        assert!(!dir.path().join("outside").exists());
    }

    #[test]
    fn an_action_that_says_anything_else_is_none_of_this_tool() {
        let dir = TempDir::new().unwrap();
        let repository = repository(dir.path());
        let changes: [fn(&mut Value); 9] = [
            |action| action["tool"] = "git.push".into(),
            |action| action["mode"] = "preview".into(),
            |action| action["arguments"]["force"] = true.into(),
            |action| action["arguments"]["check"] = json!(["rm"]),
            |action| action["arguments"]["base"] = "main".into(),
            |action| action["precondition"]["clean"] = true.into(),
            |action| action["precondition"]["head"] = json!(1),
            |action| action["free"] = json!(["/author"]),
            |action| action["committed"]["/other"] = action["committed"]["/patch"].clone(),
        ];
        for change in changes {
            let failure = Patching::read(&action(&repository, "", change)).unwrap_err();
            assert_eq!(failure.code(), "action-unsupported");
        }
        let bare = action(&repository, "", |action| {
            action.as_object_mut().unwrap().remove("precondition");
            action["arguments"].as_object_mut().unwrap().remove("check");
        });
        assert_eq!(Patching::read(&bare).unwrap().check, None);
    }
}
