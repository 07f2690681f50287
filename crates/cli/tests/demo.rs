//! The demo as a person runs it: the real binary, real servers, real repositories.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_counterfoil");
/// What a run without an execution can show.
const REJECTED: &str = "integrity,authority,inclusion";
/// Marks what a test starts, and what that starts.
const MARK: &str = "DEMO_TEST_DIRECTORY";
/// Attacks of the demo; a new one changes this number.
const ATTACKS: usize = 13;

/// The program in `dir`, whose temporary files lie in `dir/tmp`.
fn counterfoil(dir: &Path, arguments: &[&str]) -> Command {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    let mut command = Command::new(PROGRAM);
    command.current_dir(dir).env("TMPDIR", &tmp).env(MARK, dir).args(arguments);
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    counterfoil(dir, arguments).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Nothing that was started is left: neither files nor processes, by the directory that they were given.
fn is_swept(dir: &Path) {
    assert_eq!(files(dir), Vec::<PathBuf>::new());
    is_swept_soon(dir);
}

/// As [`is_swept`], after a while that has a limit.
fn is_swept_soon(dir: &Path) {
    let began = Instant::now();
    while !processes(dir).is_empty() || !files(dir).is_empty() {
        let left = (processes(dir), files(dir));
        assert!(began.elapsed() < Duration::from_secs(10), "left: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The temporary files that are left.
fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir.join("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The command lines of processes that a test in `dir` started, and of theirs, where the system tells.
fn processes(dir: &Path) -> Vec<String> {
    let variable = format!("{MARK}={}", dir.display());
    let is_ours = |process: &PathBuf| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|other| other == variable.as_bytes())
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(is_ours)
        .map(|process| fs::read_to_string(process.join("cmdline")).unwrap_or_default())
        .collect()
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(dir).args(["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", err(&output));
    out(&output).trim_end().to_owned()
}

/// A repository of somebody's own, with a hook that would leave a trace, and a branch checked out that is not the default.
fn repository(dir: &Path) -> PathBuf {
    let shop = dir.join("shop");
    fs::create_dir(&shop).unwrap();
    git(&shop, &["init", "--quiet", "--initial-branch=work"]);
    fs::write(shop.join("README.md"), "# A shop\n").unwrap();
    git(&shop, &["add", "."]);
    git(&shop, &["commit", "--quiet", "-m", "Start"]);
    fs::write(shop.join("notes.txt"), "not tracked\n").unwrap();
    for hook in ["post-checkout", "pre-commit", "post-commit", "reference-transaction", "pre-applypatch"] {
        let path = shop.join(".git/hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\ntouch '{}'\n", dir.join("hook-ran").display())).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    shop
}

#[test]
fn the_demo_runs_refuses_every_attack_and_leaves_evidence() {
    let dir = TempDir::new().unwrap();
    let began = Instant::now();
    let output = run(dir.path(), &["demo", "--out", "evidence"]);
    let (text, took) = (out(&output), began.elapsed());
    assert_eq!(output.status.code(), Some(0), "{text}{}", err(&output));
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(text.contains(&format!("{ATTACKS} attacks, {ATTACKS} refused")), "{text}");
    println!("count attacks of the demo, all refused {ATTACKS}");
    assert!(!text.contains("NOT REFUSED"), "{text}");
    assert_eq!(text.matches("\n  agent     propose").count(), 4, "{text}");
    assert_eq!(text.matches("\n  runtime   gate apply").count(), 4, "{text}");
    assert_eq!(text.matches("refused: proposal-ended").count(), 2, "{text}");
    let (story, _) = text.split_once("Verify it yourself").unwrap();
    for line in story.lines() {
        assert!(line.chars().count() <= 80, "wider than a terminal: {line}");
    }
    is_swept(dir.path());

    // Each of the commands that it prints is run as it stands.
    let commands: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("counterfoil verify ")).collect();
    assert_eq!(commands.len(), 3, "{text}");
    for command in commands {
        let verified = run(dir.path(), &[&["verify"][..], &command.split(' ').collect::<Vec<_>>()].concat());
        assert_eq!(verified.status.code(), Some(0), "{command}: {}", out(&verified));
    }
    // A run in which nothing was executed shows nothing about conformity.
    let rejected =
        run(dir.path(), &["verify", "evidence/rejected.bundle.jsonl", "--trust", "evidence/trust.toml"]);
    assert_eq!(rejected.status.code(), Some(3), "{}", out(&rejected));

    // Evidence is never overwritten.
    let again = run(dir.path(), &["demo", "--out", "evidence"]);
    assert_eq!(
        (again.status.code(), err(&again).contains("error[output-exists]")),
        (Some(2), true),
        "{}",
        err(&again)
    );
}

#[test]
fn a_program_gets_json() {
    let dir = TempDir::new().unwrap();
    let output = run(dir.path(), &["demo", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["refused"].as_u64(), output.status.code()), (Some(ATTACKS as u64), Some(0)));
    let attacks = answer["attacks"].as_array().unwrap();
    let codes: Vec<&str> = attacks.iter().map(|attack| attack["code"].as_str().unwrap()).collect();
    for code in [
        "action-differs",
        "key-role",
        "window-closed",
        "use-consumed",
        "inclusion-mismatch",
        "log-mismatch",
        "signature-invalid",
    ] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
    for by in ["gate", "log", "verifier"] {
        assert!(attacks.iter().any(|attack| attack["by"] == by), "nothing was refused by the {by}");
    }
}

#[test]
fn a_repository_of_ones_own_gets_new_branches_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    let before = (git(&shop, &["rev-parse", "HEAD"]), git(&shop, &["status", "--porcelain=v2", "--branch"]));
    let output = run(dir.path(), &["demo", "--repo", "shop", "--check", "test -f INCIDENTS.md"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    assert_eq!(
        before,
        (git(&shop, &["rev-parse", "HEAD"]), git(&shop, &["status", "--porcelain=v2", "--branch"]))
    );
    let branches = git(&shop, &["for-each-ref", "--format=%(refname)"]);
    let branches: Vec<&str> = branches.lines().collect();
    assert_eq!(branches.len(), 3, "{branches:?}");
    assert_eq!(git(&shop, &["worktree", "list"]).lines().count(), 1);
    assert_eq!(git(&shop, &["stash", "list"]), "");
    for branch in &branches[..2] {
        assert!(branch.starts_with("refs/heads/counterfoil/"), "{branch}");
        assert_eq!(git(&shop, &["rev-list", "--count", &format!("work..{branch}")]), "1");
        assert_eq!(git(&shop, &["diff", "--name-only", "work", branch]), "INCIDENTS.md");
        let author = git(
            &shop,
            &["log", "-1", "--format=%an|%ae|%(trailers:key=Counterfoil-Execution,valueonly)", branch],
        );
        assert!(author.starts_with("runtime|runtime@counterfoil.invalid|sha256:"), "{author}");
    }
    assert!(!dir.path().join("hook-ran").exists(), "a hook ran");
    is_swept(dir.path());
}

#[test]
fn a_bare_repository_will_do() {
    let dir = TempDir::new().unwrap();
    repository(dir.path());
    git(dir.path(), &["clone", "--quiet", "--bare", "shop", "bare.git"]);
    let output = run(dir.path(), &["demo", "--repo", "bare.git", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let branches = git(
        &dir.path().join("bare.git"),
        &["branch", "--list", "--format=%(refname:short)", "counterfoil/*"],
    );
    let mut made: Vec<&str> =
        answer["branches"].as_array().unwrap().iter().map(|branch| branch.as_str().unwrap()).collect();
    made.sort_unstable();
    assert_eq!((made.len(), made), (2, branches.lines().collect()));
    is_swept(dir.path());
}

#[test]
fn any_command_can_be_the_agent() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    // One that edits, commits and talks; and one that prints a diff.
    let edits = "cat > /dev/null; echo shelf >> README.md; mkdir new; echo y > new/x; git add .; git -c user.name=a -c user.email=b commit -qm x; echo done";
    let prints = "grep -q 429 && printf '%s\\n' '--- a/README.md' '+++ b/README.md' '@@ -1 +1,2 @@' ' # A shop' '+open'";
    for (agent, files) in [(edits, "README.md\nnew/x"), (prints, "README.md")] {
        let output = run(dir.path(), &["demo", "--repo", "shop", "--agent", agent]);
        assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
        let newest = git(
            &shop,
            &["for-each-ref", "--sort=-committerdate", "--format=%(refname)", "refs/heads/counterfoil"],
        );
        let changed: Vec<String> =
            newest.lines().map(|branch| git(&shop, &["diff", "--name-only", "work", branch])).collect();
        assert!(changed.iter().any(|changed| changed == files), "{changed:?}");
    }
    is_swept(dir.path());
}

#[test]
fn a_command_that_fails_is_named_with_its_status_and_what_it_said() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    let agent = [
        ("true", "agent-proposed-nothing", "the agent `true` succeeded, but changed no file"),
        ("false", "agent-failed", "the agent `false` failed with exit status 1, and wrote nothing"),
        ("echo no >&2; echo never >&2; exit 7", "agent-failed", "failed with exit status 7: no; never"),
        ("kill -9 $$", "agent-failed", "failed with signal 9 (SIGKILL), and wrote nothing"),
        ("./no-such-agent", "agent-not-found", "the agent `./no-such-agent` was not found: "),
        (
            "printf '%s\\n' '--- a/nowhere' '+++ b/nowhere' '@@ -1 +1 @@' '-a' '+b'",
            "agent-patch-unusable",
            "does not apply",
        ),
        (
            "printf '%s\\n' '--- /dev/null' '+++ b/../outside' '@@ -0,0 +1 @@' '+b'",
            "agent-patch-unusable",
            "does not apply",
        ),
    ];
    let check = [
        (
            "false",
            "check-failed",
            "the check `false` failed with exit status 1 on the approved patch, and wrote",
        ),
        (
            "echo loud; echo why >&2; exit 3",
            "check-failed",
            "failed with exit status 3 on the approved patch: why",
        ),
        ("kill -9 $$", "check-failed", "failed with a signal on the approved patch"),
    ];
    let cases = agent.map(|case| ("--agent", case)).into_iter().chain(check.map(|case| ("--check", case)));
    for (option, (command, code, message)) in cases {
        let output = run(dir.path(), &["demo", "--repo", "shop", "--out", "evidence", option, command]);
        let text = err(&output);
        assert!(text.starts_with(&format!("error[{code}]: ")) && text.contains(message), "{command}: {text}");
        assert!(text.contains("\nhint: ") && !text.contains(": \n"), "{text}");
        assert_eq!(output.status.code(), Some(2), "{command}: {text}");
        assert!(!dir.path().join("evidence").exists(), "an empty directory is left");
        is_swept(dir.path());
    }
    assert_eq!(git(&shop, &["branch", "--list", "counterfoil/*"]), "");
}

#[test]
fn the_person_at_the_terminal_decides() {
    let dir = TempDir::new().unwrap();
    let answer = |answer: &[u8]| {
        let (mut person, terminal) = terminal();
        person.write_all(answer).unwrap();
        counterfoil(dir.path(), &["demo", "--interactive"]).stdin(terminal).output().unwrap()
    };
    let yes = answer(b"y\n");
    assert_eq!(yes.status.code(), Some(0), "{}{}", out(&yes), err(&yes));
    assert!(out(&yes).contains("+attempts = 5"), "the diff is shown before the question: {}", out(&yes));
    assert!(
        out(&yes).contains("by your own word") && err(&yes).contains("sign this? [y/N]"),
        "{}",
        out(&yes)
    );
    for (said, what) in [(&b"\x04"[..], "end of input"), (b"n\n", "no")] {
        let no = answer(said);
        assert_eq!(no.status.code(), Some(0), "{what}: {}", err(&no));
        assert!(out(&no).contains("nothing was signed"), "{what}: {}", out(&no));
        assert!(out(&no).contains("refused: held"), "{what}: {}", out(&no));
        assert!(out(&no).contains("by somebody else"), "{what}: {}", out(&no));
    }
    is_swept(dir.path());
}

/// A terminal: the side of the person, and the side of the program.
fn terminal() -> (fs::File, fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    (person.into(), fs::File::options().read(true).write(true).open(name).unwrap())
}

/// A demo that was started and has said `after`, some time ago.
fn started(dir: &Path, arguments: &[&str], after: &str, millis: u64) -> Child {
    let mut command = counterfoil(dir, arguments);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = told.any(|line| line.unwrap().contains(after));
    assert!(reached, "{arguments:?} never says {after}");
    std::thread::spawn(move || told.count());
    std::thread::sleep(Duration::from_millis(millis));
    child
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_signal_ends_the_demo_with_its_status_and_nothing_is_left() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    // While agent or check work, with a child each; while the log is set up; in the middle of the runs.
    let agent = &["demo", "--repo", "shop", "--agent", "sleep 60 & sleep 60"][..];
    let check = &["demo", "--repo", "shop", "--check", "sleep 60 & sleep 60"][..];
    for (arguments, after, millis, signal, status) in [
        (agent, "actors", 300, "-INT", 130),
        (agent, "actors", 300, "-HUP", 129),
        (check, "approve", 500, "-INT", 130),
        (check, "approve", 500, "-TERM", 143),
        (&["demo"], "demo", 0, "-TERM", 143),
        (&["demo"], "propose", 100, "-HUP", 129),
        (&["demo"], "Attacks", 300, "-INT", 130),
    ] {
        let child = started(dir.path(), arguments, after, millis);
        send(signal, &child);
        let began = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "{arguments:?} at {after}");
        assert_eq!(output.status.code(), Some(status), "{arguments:?} at {after}: {}", err(&output));
        assert!(err(&output).starts_with("error[interrupted]: SIG"), "{}", err(&output));
        is_swept(dir.path());
        assert_eq!(git(&shop, &["worktree", "list"]).lines().count(), 1, "{arguments:?} at {after}");
        assert_eq!(git(&shop, &["branch", "--list", "counterfoil/*"]), "");
    }
}

#[test]
fn an_interrupted_demo_says_which_branches_are_left_and_how_to_remove_them() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    let child = started(dir.path(), &["demo", "--repo", "shop"], "Rejected", 0);
    send("-INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    let branches = git(&shop, &["branch", "--list", "--format=%(refname:short)", "counterfoil/*"]);
    assert_eq!(branches.lines().count(), 1, "{branches}");
    let remove = err(&output).lines().find(|line| line.contains("git -C")).unwrap().to_owned();
    assert!(remove.ends_with(&branches), "{remove}");
    let removed = Command::new("sh").args(["-c", &remove]).current_dir(dir.path()).output().unwrap();
    assert!(removed.status.success(), "{}", err(&removed));
    assert_eq!(git(&shop, &["branch", "--list", "counterfoil/*"]), "");
    assert_eq!(git(&shop, &["status", "--porcelain"]), "?? notes.txt");
    is_swept(dir.path());
}

#[test]
#[cfg(target_os = "linux")]
fn a_demo_that_is_killed_leaves_no_process_and_no_file() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    let agent = &["demo", "--repo", "shop", "--agent", "sleep 60 & sleep 60"][..];
    let check = &["demo", "--repo", "shop", "--check", "sleep 60 & sleep 60"][..];
    for (arguments, after, millis) in [
        (agent, "actors", 300),
        (check, "approve", 500),
        (&["demo"], "propose", 0),
        (&["demo"], "Attacks", 100),
    ] {
        let mut child = started(dir.path(), arguments, after, millis);
        assert!(processes(dir.path()).iter().any(|process| process.contains("serve")), "no server");
        child.kill().unwrap();
        child.wait().unwrap();
        is_swept_soon(dir.path());
        assert_eq!(git(&shop, &["worktree", "list"]).lines().count(), 1, "{arguments:?} at {after}");
    }
}

#[test]
fn a_server_that_is_told_so_stops_when_standard_input_ends() {
    let dir = TempDir::new().unwrap();
    assert!(run(dir.path(), &["init", "--origin", "example.org/log"]).status.success());
    let serve = ["serve", "--until-stdin-ends", "--listen", "127.0.0.1:0"];
    let mut server =
        counterfoil(dir.path(), &serve).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("listening on"));
    assert_eq!(server.try_wait().unwrap(), None);
    drop(server.stdin.take());
    let began = Instant::now();
    while server.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(10), "it serves on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn the_sweeper_removes_no_directory_but_a_demo_s() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("precious")).unwrap();
    let output = run(dir.path(), &["demo", "--sweep", "precious"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(dir.path().join("precious").exists());
}

#[test]
fn what_can_t_be_used_is_said_in_one_sentence() {
    let dir = TempDir::new().unwrap();
    let shop = repository(dir.path());
    fs::create_dir(dir.path().join("plain")).unwrap();
    fs::create_dir(dir.path().join("empty")).unwrap();
    git(&dir.path().join("empty"), &["init", "--quiet"]);
    fs::write(dir.path().join("file"), "").unwrap();
    let fails = |arguments: &[&str], code: &str| {
        let output = run(dir.path(), arguments);
        let text = err(&output);
        assert!(text.starts_with(&format!("error[{code}]: ")), "{arguments:?}: {text}");
        assert!(text.contains("\nhint: ") && text.lines().count() <= 3, "{text}");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        is_swept(dir.path());
    };
    fails(&["demo", "--repo", "plain"], "repo-not-git");
    fails(&["demo", "--repo", "nowhere"], "repo-missing");
    fails(&["demo", "--repo", "file"], "repo-missing");
    fails(&["demo", "--repo", "empty"], "repo-empty");
    fails(&["demo", "--out", "file"], "output-exists");
    fs::create_dir(dir.path().join("kept")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("kept/trust.toml")).unwrap();
    fails(&["demo", "--out", "kept"], "output-exists");
    assert_eq!(fs::read_dir(dir.path().join("kept")).unwrap().count(), 1, "something was written");
    fails(&["demo", "--json", "--interactive"], "usage");
    fails(&["demo", "--interactive"], "no-terminal");
    fs::write(shop.join("README.md"), "# Another shop\n").unwrap();
    fails(&["demo", "--repo", "shop"], "repo-dirty");
    // Root may read everything, and only root may give files away.
    let closed = repository(&dir.path().join("kept"));
    if std::os::unix::fs::chown(closed.join(".git"), Some(12_345), None).is_ok() {
        std::os::unix::fs::chown(&closed, Some(12_345), None).unwrap();
        fails(&["demo", "--repo", "kept/shop"], "repo-owner");
    } else {
        fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
        fails(&["demo", "--repo", "kept/shop"], "repo-permission");
    }
    let missing =
        counterfoil(dir.path(), &["demo"]).env("PATH", "/nonexistent").stdin(Stdio::null()).output().unwrap();
    assert!(err(&missing).starts_with("error[git-missing]: "), "{}", err(&missing));
    assert_eq!(missing.status.code(), Some(2));
    is_swept(dir.path());
}

/// The committed bundles, and what `verify` prints of each. Made anew, from a demo, if COUNTERFOIL_UPDATE_EXAMPLES is set.
#[test]
fn the_sample_bundles_show_what_is_printed_beside_them() {
    let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/bundles");
    let update = std::env::var_os("COUNTERFOIL_UPDATE_EXAMPLES").is_some();
    if update {
        let dir = TempDir::new().unwrap();
        assert_eq!(run(dir.path(), &["demo", "--out", "evidence"]).status.code(), Some(0));
        fs::create_dir_all(&bundles).unwrap();
        for file in fs::read_dir(dir.path().join("evidence")).unwrap().flatten() {
            fs::copy(file.path(), bundles.join(file.file_name())).unwrap();
        }
    }
    let dir = TempDir::new().unwrap();
    for (name, require, status) in
        [("approved", None, 0), ("changes", None, 0), ("rejected", Some(REJECTED), 0), ("rejected", None, 3)]
    {
        let (bundle, trust) = (bundles.join(format!("{name}.bundle.jsonl")), bundles.join("trust.toml"));
        let mut arguments = vec!["verify", bundle.to_str().unwrap(), "--trust", trust.to_str().unwrap()];
        arguments.extend(["--at", "2026-11-22T00:00:00Z"]);
        arguments.extend(require.iter().flat_map(|dimensions| ["--require", *dimensions]));
        let output = run(dir.path(), &arguments);
        assert_eq!(output.status.code(), Some(status), "{name}: {}", out(&output));
        let page = bundles.join(format!("{name}.{status}.txt"));
        if update {
            fs::write(&page, &output.stdout).unwrap();
        }
        assert_eq!(fs::read_to_string(&page).unwrap(), out(&output), "{name}");
    }
}
