//! git, run as a program: deaf to hooks, to its environment and to everybody's configuration but the repository's own, and
//! without network. The checkout of a repository is never touched: work is done in worktrees of its own.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    error::{Failure, Outcome},
    input::shown,
    process::{self, Bounds, Ended, Stopped},
    text::{counted, printable, shortened},
};

/// Settings that hold whatever the repository is configured to.
const SETTINGS: [&str; 9] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=true",
    "commit.gpgSign=false",
    "i18n.commitEncoding=UTF-8",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
];
/// A patch may be as large as a payload; a checkout of a large repository takes a while.
const BOUNDS: Bounds =
    Bounds { output: counterfoil_receipt::limits::PAYLOAD_BYTES + 1, time: Duration::from_secs(300) };

/// The name of a commit: 40 or 64 lowercase hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit(String);

/// A git repository.
#[derive(Clone, Debug)]
pub struct Repository {
    dir: PathBuf,
    /// Where its files are checked out; a bare repository has no such place.
    checkout: Option<PathBuf>,
}

/// A worktree in a directory of its own, which goes away with it.
#[derive(Debug)]
pub struct Worktree<'r> {
    repository: &'r Repository,
    base: Commit,
    tree: PathBuf,
    _dir: TempDir,
}

/// What a new commit says about itself.
#[derive(Debug)]
pub struct Signature<'s> {
    /// The name of its author.
    pub name: &'s str,
    /// Its time, in seconds since the Unix epoch.
    pub seconds: u64,
    /// Its message.
    pub message: &'s str,
}

impl Commit {
    /// Reads a full object name.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ((text.len() == 40 || text.len() == 64) && is_hex).then(|| Self(text.to_owned()))
    }

    /// The full object name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Repository {
    /// Opens the repository that `path` lies in.
    pub fn open(path: &Path) -> Outcome<Self> {
        is_directory(path)?;
        let ended = git(path, &["rev-parse", "--absolute-git-dir"], b"")?;
        if !ended.status.success() {
            return Err(unusable(path, &said(&ended)));
        }
        let dir = PathBuf::from(line(&ended));
        let top = git(path, &["rev-parse", "--show-toplevel"], b"")?;
        let checkout =
            top.status.success().then(|| PathBuf::from(line(&top))).filter(|top| !top.as_os_str().is_empty());
        Ok(Self { dir, checkout })
    }

    /// What the repository is called: the name of its directory.
    pub fn name(&self) -> String {
        let place = self.checkout.as_deref().unwrap_or(&self.dir);
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(".git").filter(|name| !name.is_empty()).unwrap_or(&name).to_owned()
    }

    /// The commit that is checked out.
    pub fn head(&self) -> Outcome<Commit> {
        let head = git(&self.dir, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], b"")?;
        Commit::parse(&line(&head)).ok_or_else(|| {
            let message = format!("the repository {} has no commit", shown(self.path()));
            Failure::new("repo-empty", message, "commit something first")
        })
    }

    /// Refuses a checkout with changes that are not committed: nobody who works on a commit would see them.
    pub fn is_clean(&self) -> Outcome<()> {
        let Some(checkout) = &self.checkout else { return Ok(()) };
        let changed = expect(checkout, &["status", "--porcelain", "--untracked-files=no"], b"")?;
        let changed = String::from_utf8_lossy(&changed).lines().count();
        if changed == 0 {
            return Ok(());
        }
        let message = format!(
            "{} has changes in {} that no commit holds",
            shown(checkout),
            counted(changed as u64, "file")
        );
        Err(Failure::new("repo-dirty", message, "commit or stash first: an agent works on what is committed"))
    }

    /// Whether there is such a commit.
    pub fn has(&self, commit: &Commit) -> Outcome<bool> {
        let name = format!("{}^{{commit}}", commit.0);
        Ok(git(&self.dir, &["cat-file", "-e", &name], b"")?.status.success())
    }

    /// Whether git takes this as the name of a branch.
    pub fn is_branch_name(&self, branch: &str) -> Outcome<bool> {
        Ok(git(&self.dir, &["check-ref-format", &reference(branch)], b"")?.status.success()
            && !branch.starts_with('-'))
    }

    /// Whether there is such a branch.
    pub fn has_branch(&self, branch: &str) -> Outcome<bool> {
        Ok(git(&self.dir, &["rev-parse", "--verify", "--quiet", &reference(branch)], b"")?.status.success())
    }

    /// Creates a branch at a commit; one that exists is left alone, whoever made it and however lately.
    pub fn create_branch(&self, branch: &str, commit: &Commit) -> Outcome<()> {
        let absent = "0".repeat(commit.0.len());
        expect(&self.dir, &["update-ref", &reference(branch), &commit.0, &absent], b"").map(drop)
    }

    /// Checks a commit out into a new directory.
    pub fn worktree(&self, base: &Commit) -> Outcome<Worktree<'_>> {
        let dir = tempfile::Builder::new().prefix("counterfoil-worktree-").tempdir().map_err(|error| {
            let message = format!("no directory for a worktree could be made: {error}");
            Failure::new("worktree-failed", message, "check the disk and TMPDIR")
        })?;
        let tree = dir.path().join(self.name());
        let path = tree.to_string_lossy().into_owned();
        expect(&self.dir, &["worktree", "add", "--quiet", "--detach", &path, &base.0], b"")?;
        Ok(Worktree { repository: self, base: base.clone(), tree, _dir: dir })
    }

    /// Removes the worktrees that lie in `dir`, whoever made them and however far they came.
    pub fn remove_worktrees_below(&self, dir: &Path) -> Outcome<()> {
        let listed = expect(&self.dir, &["worktree", "list", "--porcelain"], b"")?;
        let listed = String::from_utf8_lossy(&listed);
        let trees = listed.lines().filter_map(|line| line.strip_prefix("worktree "));
        // git names a worktree by its real path; one that it was still making is locked, hence twice.
        let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        for tree in trees.filter(|tree| Path::new(tree).starts_with(&dir)) {
            expect(&self.dir, &["worktree", "remove", "--force", "--force", tree], b"")?;
        }
        Ok(())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.checkout.as_deref().unwrap_or(&self.dir)
    }
}

impl Worktree<'_> {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.tree
    }

    /// Applies a patch to files and index: all of it, exactly, or nothing.
    pub fn apply(&self, patch: &[u8]) -> Outcome<()> {
        expect(&self.tree, &["apply", "--index", "--whitespace=nowarn", "-"], patch).map(drop)
    }

    /// What differs from the base, committed since or not, as a patch; empty if nothing does.
    pub fn diff(&self) -> Outcome<Vec<u8>> {
        const HOW: [&str; 9] = [
            "diff",
            "--cached",
            "--binary",
            "--no-color",
            "--no-ext-diff",
            "--no-textconv",
            "--no-renames",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ];
        expect(&self.tree, &["add", "--all"], b"")?;
        expect(&self.tree, &[&HOW[..], &[&self.base.0, "--"]].concat(), b"")
    }

    /// The tree that the index holds.
    pub fn tree(&self) -> Outcome<Commit> {
        let name = expect(&self.tree, &["write-tree"], b"")?;
        object_name(&name)
    }

    /// Makes a commit of a tree on top of the base. No branch moves.
    pub fn commit(&self, tree: &Commit, signature: &Signature<'_>) -> Outcome<Commit> {
        let (email, date) =
            (format!("{}@counterfoil.invalid", signature.name), format!("@{} +0000", signature.seconds));
        let mut command = program(&self.tree, &["commit-tree", "-p", &self.base.0, "-F", "-", &tree.0]);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), signature.name);
            command.env(format!("GIT_{who}_EMAIL"), &email);
            command.env(format!("GIT_{who}_DATE"), &date);
        }
        let ended = ended(&mut command, signature.message.as_bytes())?;
        object_name(&succeeded("commit-tree", ended)?)
    }
}

impl Drop for Worktree<'_> {
    fn drop(&mut self) {
        let path = self.tree.to_string_lossy().into_owned();
        // Best effort: what git forgets to remove, `git worktree prune` finds.
        let _ = git(&self.repository.dir, &["worktree", "remove", "--force", &path], b"");
    }
}

fn is_directory(path: &Path) -> Outcome<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(unusable(path, &error.to_string())),
        _ => {
            let message = format!("{} is no directory", shown(path));
            Err(Failure::new("repo-missing", message, "give the path of a git repository"))
        }
    }
}

/// Why git does not take a directory for a repository, from what it said.
fn unusable(path: &Path, said: &str) -> Failure {
    let path = shown(path);
    if said.contains("Permission denied") {
        let message = format!("{path} may not be read by this user");
        return Failure::new("repo-permission", message, "check its owner and mode");
    }
    if said.contains("dubious ownership") {
        let message = format!("{path} belongs to another user, and git works in no such repository");
        return Failure::new("repo-owner", message, "run this as its owner, or use a clone of your own");
    }
    let message = format!("{path} is not in a git repository that can be used: {said}");
    Failure::new("repo-not-git", message, "give the path of a git repository, or make one with `git init`")
}

/// Makes a repository of the files in `dir`, with one commit on the branch `main`.
pub fn create(dir: &Path, signature: &Signature<'_>) -> Outcome<Repository> {
    expect(dir, &["init", "--quiet", "--initial-branch=main", "--template="], b"")?;
    expect(dir, &["add", "--all"], b"")?;
    let tree = object_name(&expect(dir, &["write-tree"], b"")?)?;
    let date = format!("@{} +0000", signature.seconds);
    let mut command = program(dir, &["commit-tree", "-F", "-", &tree.0]);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), signature.name);
        command.env(format!("GIT_{who}_EMAIL"), format!("{}@counterfoil.invalid", signature.name));
        command.env(format!("GIT_{who}_DATE"), &date);
    }
    let commit = succeeded("commit-tree", ended(&mut command, signature.message.as_bytes())?)?;
    expect(dir, &["update-ref", "refs/heads/main", &object_name(&commit)?.0], b"")?;
    Repository::open(dir)
}

/// Takes from a command what would make git look elsewhere than it is told.
pub fn without_git_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
}

fn reference(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

fn program(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    without_git_environment(&mut command);
    command.arg("-C").arg(dir);
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting])).args(arguments);
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_EDITOR", "false"),
        ("LC_ALL", "C"),
    ] {
        command.env(name, OsStr::new(value));
    }
    command
}

fn git(dir: &Path, arguments: &[&str], input: &[u8]) -> Outcome<Ended> {
    ended(&mut program(dir, arguments), input)
}

fn ended(command: &mut Command, input: &[u8]) -> Outcome<Ended> {
    process::run(command, input, BOUNDS, &|| false).map_err(|stopped| match stopped {
        Stopped::NotStarted(error) => Failure::new(
            "git-missing",
            format!("git can't be run: {error}"),
            "install git, or put it on the PATH",
        ),
        Stopped::TimedOut | Stopped::Interrupted => {
            let message = format!("git took longer than {} s", BOUNDS.time.as_secs());
            Failure::new("git-timeout", message, "check the disk, and whether something locks the repository")
        }
    })
}

/// The output of a git command that has to succeed.
fn expect(dir: &Path, arguments: &[&str], input: &[u8]) -> Outcome<Vec<u8>> {
    succeeded(arguments.first().unwrap_or(&""), git(dir, arguments, input)?)
}

fn succeeded(what: &str, ended: Ended) -> Outcome<Vec<u8>> {
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    Err(Failure::new("git-failed", format!("git {what}: {}", said(&ended)), "run it by hand to see more"))
}

fn object_name(output: &[u8]) -> Outcome<Commit> {
    let text = String::from_utf8_lossy(output);
    Commit::parse(text.trim_end()).ok_or_else(|| {
        Failure::new(
            "git-failed",
            format!("git gave {:?} for an object", printable(&text)),
            "check its version",
        )
    })
}

fn line(ended: &Ended) -> String {
    String::from_utf8_lossy(&ended.stdout).trim_end_matches(['\r', '\n']).to_owned()
}

/// What git said went wrong, on one line.
fn said(ended: &Ended) -> String {
    let text = String::from_utf8_lossy(&ended.stderr);
    let lines: Vec<&str> = text.lines().map(|line| line.strip_prefix("fatal: ").unwrap_or(line)).collect();
    shortened(&printable(&lines.join("; ")), 400)
}
