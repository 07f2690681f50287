//! `gate check` for jobs that hold no key, and the script that puts what it says beside a change.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs::Permissions,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use common::Log;
use serde_json::{Value, json};

/// A log with a deployment that is proposed.
struct Deployment {
    log: Log,
    run: String,
}

impl Deployment {
    fn new() -> Self {
        let log = Log::new();
        let run = log.trigger();
        let deployment = Self { log, run };
        deployment.action("deploy.json", "0123456");
        deployment.propose(&deployment.run);
        // A job has no keys.
        std::fs::rename(
            deployment.log.desk.path("keys/runtime.key"),
            deployment.log.desk.path("runtime.key"),
        )
        .unwrap();
        deployment
    }

    fn action(&self, file: &str, commit: &str) {
        let action = json!({"tool": "deploy", "arguments": {"commit": commit, "environment": "production"}});
        self.log.desk.write(file, action.to_string());
    }

    fn approve(&self) {
        self.log.good(&["approve", &self.run, "--yes"]);
    }

    fn propose(&self, run: &str) {
        self.log.good(&["propose", run, "--action", "deploy.json", "--for", "runtime", "--risk", "high"]);
    }

    /// Runs the script in a job of this action on a pull request; its exit status, and what was said there.
    fn job(&self, action: &str, server: &str) -> (i32, String) {
        let of = [("GITHUB_REPOSITORY", "shop/site"), ("GITHUB_TOKEN", TOKEN), ("PULL_REQUEST", "7")];
        let of = [&of[..], &[("GITHUB_STEP_SUMMARY", "summary.md")]].concat();
        let (status, heard) = self.job_of(&of, "GITHUB_API_URL", action, server);
        assert_eq!(heard.request, "POST /repos/shop/site/issues/7/comments HTTP/1.1");
        assert!(heard.headers.contains(&format!("authorization: bearer {TOKEN}")), "{:?}", heard.headers);
        let said = serde_json::from_str::<Value>(&heard.body).unwrap()["body"].as_str().unwrap().to_owned();
        (status, said)
    }

    /// The same in a job with these variables, the site's address in one that is named.
    fn job_of(&self, of: &[(&str, &str)], site: &str, action: &str, server: &str) -> (i32, Heard) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = format!("http://{}", listener.local_addr().unwrap());
        let comment = thread::spawn(move || heard(&listener));
        let job = self
            .shell(&example("check.sh"))
            .envs([("COUNTERFOIL_ACTION", action), ("COUNTERFOIL_SERVER", server)])
            .envs(of.iter().copied())
            .env(site, api)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&job.stderr).into_owned();
        print!("{said}");
        assert!(!said.contains("warning"), "{said}");
        (job.status.code().unwrap(), comment.join().unwrap())
    }

    /// A program of a job, where what `curl` is given is noted before it runs.
    fn shell(&self, program: &Path) -> Command {
        let desk = &self.log.desk;
        if !desk.path("bin").exists() {
            std::fs::create_dir(desk.path("bin")).unwrap();
            std::fs::create_dir(desk.path("tmp")).unwrap();
            let noted = format!("#!/bin/sh\necho \"$@\" >> '{}'\n", desk.path("arguments").display());
            let checked = "for file in \"$TMPDIR\"/*/header; do stat -c %a \"$file\"; done >> modes\n";
            desk.write("bin/curl", format!("{noted}{checked}PATH=${{PATH#*:}} exec curl \"$@\"\n"));
            std::fs::set_permissions(desk.path("bin/curl"), Permissions::from_mode(0o755)).unwrap();
        }
        let binary = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap();
        let (bin, path) = (desk.path("bin"), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command
            .current_dir(desk.path("."))
            .env("PATH", format!("{}:{}:{path}", bin.display(), binary.display()));
        command.env("TMPDIR", desk.path("tmp")).env("COUNTERFOIL_TRUST", "trust.toml");
        command
    }
}

/// What may comment.
const TOKEN: &str = "secret";

/// A file of the examples.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ci").join(name)
}

/// A comment that was posted to a site.
struct Heard {
    request: String,
    /// In lower case.
    headers: Vec<String>,
    body: String,
}

/// Takes a comment.
fn heard(site: &TcpListener) -> Heard {
    let (stream, _) = site.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let request = lines.remove(0);
    let headers: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    reader
        .get_mut()
        .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    Heard { request, headers, body: String::from_utf8(body).unwrap() }
}

#[test]
fn a_job_goes_on_only_with_what_was_approved_and_says_so_on_the_pull_request() {
    let it = Deployment::new();
    let (status, said) = it.job("deploy.json", &it.log.url);
    assert_eq!((status, said.contains("### Counterfoil: not decided yet")), (4, true), "{said}");
    it.approve();
    let (status, said) = it.job("deploy.json", &it.log.url);
    assert_eq!(status, 0, "{said}");
    assert!(
        said.contains("approved by | `human`") && said.contains(&format!("]({}/review/sha256:", it.log.url)),
        "{said}"
    );
    assert!(it.log.desk.read("summary.md").ends_with(&said) && !said.contains("/v1/receipts/"));
    // What is pushed afterwards is another action.
    it.action("pushed.json", "89abcde");
    let (status, said) = it.job("pushed.json", &it.log.url);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("### Counterfoil: refused") && said.contains("action-differs"), "{said}");
    // A log that does not answer approves nothing.
    let (status, said) = it.job("deploy.json", "http://127.0.0.1:9");
    assert!(status == 3 && said.contains("### Counterfoil: not shown"), "{status}: {said}");
}

#[test]
fn a_token_is_no_argument_of_a_program_and_is_left_in_no_file() {
    let it = Deployment::new();
    let of = [("GITLAB_TOKEN", TOKEN), ("CI_PROJECT_ID", "5"), ("CI_MERGE_REQUEST_IID", "8")];
    let (status, heard) = it.job_of(&of, "CI_API_V4_URL", "deploy.json", &it.log.url);
    assert_eq!((status, heard.request.as_str()), (4, "POST /projects/5/merge_requests/8/notes HTTP/1.1"));
    assert!(heard.headers.contains(&format!("private-token: {TOKEN}")), "{:?}", heard.headers);
    assert!(heard.body.starts_with("body="), "{}", heard.body);
    it.job("deploy.json", &it.log.url);
    let arguments = it.log.desk.read("arguments");
    assert_eq!((arguments.lines().count(), arguments.contains(TOKEN)), (2, false), "{arguments}");
    assert_eq!(it.log.desk.read("modes"), "600\n600\n");
    assert_eq!(std::fs::read_dir(it.log.desk.path("tmp")).unwrap().count(), 0);
}

#[test]
fn the_action_fails_while_nobody_decided_unless_it_is_told_not_to() {
    let it = Deployment::new();
    let action = std::fs::read_to_string(example("action.yml")).unwrap();
    let (_, step) = action.rsplit_once("      run: |\n").unwrap();
    let step = |fail: &str, action: &str| {
        let mut bash = it.shell(Path::new("bash"));
        bash.args(["-e", "-o", "pipefail", "-c", step]).env("GITHUB_ACTION_PATH", example("."));
        bash.envs([("COUNTERFOIL_ACTION", action), ("COUNTERFOIL_SERVER", &it.log.url)]);
        bash.env("FAIL_IF_UNDECIDED", fail).status().unwrap().code().unwrap()
    };
    assert_eq!(step("true", "deploy.json"), 4);
    assert_eq!(step("", "deploy.json"), 4);
    assert_eq!(step("false", "deploy.json"), 0);
    it.action("pushed.json", "89abcde");
    assert_eq!(step("false", "pushed.json"), 1);
    it.approve();
    assert_eq!(step("true", "deploy.json"), 0);
}

/// The workflow of the README ended with 127: nothing installed a program.
#[test]
fn a_job_without_counterfoil_builds_it_from_the_source_of_the_action_and_else_could_not_ask() {
    let it = Deployment::new();
    let desk = &it.log.desk;
    let action = std::fs::read_to_string(example("action.yml")).unwrap();
    let (step, _) = action.split_once("    - name: Ask\n").unwrap();
    let (_, step) = step.split_once("      run: |\n").unwrap();
    std::fs::create_dir(desk.path("tools")).unwrap();
    let built = desk.path("built").display().to_string();
    desk.write("tools/cargo", format!("#!/bin/sh\necho \"$PWD: $@\" > '{built}'\nmkdir -p \"$7/bin\"\n"));
    std::fs::set_permissions(desk.path("tools/cargo"), Permissions::from_mode(0o755)).unwrap();
    // The PATH of a job that has the usual tools, and this besides.
    let job = |more: &str, source: &str| {
        let _ = std::fs::remove_file(desk.path("path"));
        let mut bash = Command::new("bash");
        bash.current_dir(desk.path(".")).args(["-e", "-o", "pipefail", "-c", step]);
        bash.env("PATH", format!("{more}:/usr/bin:/bin")).env("GITHUB_ACTION_PATH", example("."));
        bash.env("GITHUB_PATH", "path").envs([("COUNTERFOIL_SOURCE", source), ("COUNTERFOIL_ROOT", "root")]);
        let ended = bash.output().unwrap();
        let added = std::fs::read_to_string(desk.path("path")).unwrap_or_default();
        (ended.status.code().unwrap(), added, String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let has = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap().display().to_string();
    assert_eq!(job(&has, ""), (0, format!("{has}\n"), String::new()));
    assert!(!desk.path("built").exists());
    let tools = desk.path("tools").display().to_string();
    let root = desk.path(".").canonicalize().unwrap().join("root").display().to_string();
    assert_eq!(job(&tools, ""), (0, format!("{root}/bin\n"), String::new()));
    // Where the source is, and not where the change is: a rust-toolchain.toml there would name another cargo.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
    let wanted = format!("{}: install --quiet --locked --path crates/cli --root {root}\n", source.display());
    assert_eq!(desk.read("built"), wanted);
    let (status, added, said) = job(&tools, "nowhere");
    assert!(status == 2 && added.is_empty() && said.contains("counterfoil-missing"), "{said}");
    // Nothing passes without it, and whoever looks at the change reads why.
    let mut check = Command::new(example("check.sh"));
    check.env("PATH", "/usr/bin:/bin").env("GITHUB_STEP_SUMMARY", desk.path("none.md"));
    let check = check.output().unwrap();
    assert_eq!(check.status.code(), Some(2));
    assert!(desk.read("none.md").starts_with("### Counterfoil: not asked"));
    assert!(String::from_utf8_lossy(&check.stderr).contains("counterfoil-missing"));
}

/// Reads YAML as the sites do, and prints it as JSON.
const READ_YAML: &str = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";

/// A file of the examples, read by a reader of YAML; without one, that is said loudly.
fn yaml(name: &str) -> Option<Value> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv/bin/python");
    let python = std::env::var_os("COUNTERFOIL_PYTHON").map_or(venv, PathBuf::from);
    let has = Command::new(&python).args(["-c", "import yaml"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        let why = format!("{} has no yaml: cargo xtask test installs it", python.display());
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}");
        eprintln!("NOT TESTED: {name} as YAML: {why}");
        return None;
    }
    let output = Command::new(&python).args(["-c", READ_YAML]).arg(example(name)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_action_is_yaml_and_hands_each_input_on_to_a_step_that_reads_it() {
    let Some(action) = yaml("action.yml") else { return };
    assert_eq!(action["runs"]["using"], "composite");
    let mut handed: Vec<String> = Vec::new();
    for step in action["runs"]["steps"].as_array().unwrap() {
        let script = step["run"].as_str().unwrap();
        // What is handed on is no part of a script.
        assert!(step["shell"] == "bash" && !script.contains("${{"), "{script}");
        let values = step["env"].as_object().unwrap().values().filter_map(Value::as_str);
        let input = |value: &str| Some(value.strip_prefix("${{ inputs.")?.strip_suffix(" }}")?.to_owned());
        handed.extend(values.filter_map(input));
    }
    handed.sort();
    let mut inputs: Vec<String> = action["inputs"].as_object().unwrap().keys().cloned().collect();
    inputs.sort();
    assert_eq!(handed, inputs);
}

#[test]
fn a_job_of_gitlab_takes_counterfoil_from_one_commit_and_from_no_branch() {
    let Some(jobs) = yaml("gitlab-ci.yml") else { return };
    for job in ["approved", "deploy"] {
        let lines = jobs[job]["script"].as_array().unwrap();
        assert!(lines.iter().all(Value::is_string), "{job}: {lines:?}");
        assert!(jobs[job]["extends"] == ".counterfoil" && jobs[job].get("before_script").is_none(), "{job}");
    }
    let lines = jobs[".counterfoil"]["before_script"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let desk = common::Desk::new();
    for name in ["repository/examples/ci", "job"] {
        std::fs::create_dir_all(desk.path(name)).unwrap();
    }
    std::fs::copy(example("install.sh"), desk.path("repository/examples/ci/install.sh")).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null"]);
        let output = git.args(arguments).current_dir(desk.path("repository")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let has = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap().display().to_string();
    let job = |revision: &str| {
        let mut bash = Command::new("bash");
        bash.args(["-e", "-o", "pipefail", "-c", &format!("{}\ncommand -v counterfoil\n", lines.join("\n"))]);
        bash.current_dir(desk.path("job")).env("TMPDIR", desk.path("job"));
        bash.env("PATH", format!("{has}:/usr/bin:/bin")).env("COUNTERFOIL_REVISION", revision);
        let output = bash.env("COUNTERFOIL_REPOSITORY", desk.path("repository")).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(job(&commit), (true, format!("{has}/counterfoil\n")));
    assert!(!job("main").0, "a branch is no commit that somebody chose");
    assert!(!job("").0, "nor is what a variable that is not set fetches");
}

#[test]
fn a_server_that_gives_no_answer_shows_nothing() {
    let it = Deployment::new();
    let check = |server: &str| {
        it.log.desk.run(&["gate", "check", &it.run, "--action", "deploy.json", "--server", server])
    };
    check("http://127.0.0.1:9").failed(3, "unreachable");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    thread::spawn(move || silent.incoming().for_each(drop));
    assert_eq!(check(&url).code, 3);
    let broken = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", broken.local_addr().unwrap());
    thread::spawn(move || {
        for stream in broken.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let answer =
                b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
        }
    });
    assert_eq!(check(&url).code, 3);
}

#[test]
fn a_check_leaves_nothing_where_no_gate_was() {
    let it = Deployment::new();
    it.approve();
    let check = || it.log.run(&["gate", "check", &it.run, "--action", "deploy.json"]);
    assert_eq!((check().code, it.log.desk.path("gate").exists()), (0, false));
    // What can't be read may be what stops.
    std::fs::create_dir(it.log.desk.path("gate")).unwrap();
    assert_eq!(check().code, 0);
    std::os::unix::fs::symlink("nowhere", it.log.desk.path("gate/stops")).unwrap();
    check().failed(2, "open-executions");
    assert!(!it.log.desk.path("gate/nowhere").exists());
}

#[test]
fn an_approved_proposal_of_an_action_counts_though_a_newer_one_is_open() {
    let it = Deployment::new();
    it.approve();
    let check = |more: &[&str]| it.log.run(&[&["gate", "check", "--action", "deploy.json"], more].concat());
    assert_eq!(check(&[]).code, 0);
    it.propose(&it.run);
    assert_eq!(check(&[]).code, 0);
    assert_eq!(check(&[&it.run]).code, 0);
    let other = it.log.trigger();
    it.propose(&other);
    assert_eq!(check(&[]).code, 0);
    assert_eq!(check(&[&other]).code, 4);
}

#[test]
fn what_the_policy_allows_without_people_is_called_allowed() {
    let it = Deployment::new();
    it.log.desk.write("allow.toml", ALLOW);
    it.log.good(&["policy", "set", "allow.toml"]);
    let run = it.log.trigger();
    it.propose(&run);
    let ran = it.log.run(&["gate", "check", &run, "--action", "deploy.json", "--markdown", "said.md"]);
    assert_eq!((ran.code, ran.stderr.contains("approved")), (0, false), "{}", ran.stderr);
    assert!(ran.stderr.contains("the policy allows exactly this without anybody"), "{}", ran.stderr);
    let said = it.log.desk.read("said.md");
    assert!(said.contains("### Counterfoil: allowed") && !said.contains("approved"), "{said}");
    let json = it.log.json(&["gate", "check", &run, "--action", "deploy.json"]);
    assert_eq!((&json["ruling"], &json["approved_by"]), (&json!("execute"), &json!([])));
}

#[test]
fn an_approval_that_is_over_does_not_pass_a_check_online_or_from_its_bundle() {
    let it = Deployment::new();
    it.log.desk.write("brief.toml", BRIEF);
    it.log.good(&["policy", "set", "brief.toml"]);
    let run = it.log.trigger();
    it.propose(&run);
    it.log.good(&["approve", &run, "--yes"]);
    let check =
        |more: &[&str]| it.log.run(&[&["gate", "check", &run, "--action", "deploy.json"], more].concat());
    assert_eq!(check(&[]).code, 0);
    it.log.good(&["bundle", &run, "--out", "run.jsonl"]);
    thread::sleep(Duration::from_millis(2_100));
    check(&[]).failed(1, "window-closed");
    check(&["--bundle", "run.jsonl"]).failed(1, "window-closed");
    // That it was approved is shown still; that it may be done is another question.
    let verified = it.log.good(&["verify", "run.jsonl", "--require", "integrity,authority,inclusion"]);
    assert!(verified.contains("nothing was executed"), "{verified}");
    assert_eq!(it.log.run(&["verify", "run.jsonl"]).code, 3);
}

/// `gate check --bundle` said yes to a bundle from before a rejection that its directory had seen.
#[test]
fn a_bundle_from_before_what_was_seen_does_not_pass_a_check() {
    let it = Deployment::new();
    it.approve();
    it.log.good(&["bundle", &it.run, "--out", "old.jsonl"]);
    let check = || it.log.run(&["gate", "check", "--bundle", "old.jsonl", "--action", "deploy.json"]);
    assert_eq!(check().code, 0);
    it.log.good(&["reject", &it.run, "--yes"]);
    check().failed(3, "stale");
    // Who has seen nothing else can't know, but for the age that its trust file accepts.
    std::fs::remove_dir_all(it.log.desk.path("seen")).unwrap();
    assert_eq!(check().code, 0);
}

const BRIEF: &str = r#"
language = "counterfoil-policy/1"

[[rules]]
name = "in-haste"
effect = "require"
uses = 1
window = "2s"
segregation = false
requirements = [{ count = 1, surfaces = ["none"] }]
match.tool = "deploy"
"#;

#[test]
fn the_receipt_of_another_log_or_of_another_run_approves_nothing_here() {
    let (it, other) = (Deployment::new(), Deployment::new());
    other.approve();
    other.log.good(&["bundle", &other.run, "--out", "run.jsonl"]);
    std::fs::copy(other.log.desk.path("run.jsonl"), it.log.desk.path("foreign.jsonl")).unwrap();
    let check = |words: &[&str]| {
        it.log.run(&[&["gate", "check", "--for", "runtime", "--action", "deploy.json"], words].concat())
    };
    // It is good where it belongs, and shows nothing here: not as it is, and not as one of the run that waits here.
    let there = ["gate", "check", "--bundle", "run.jsonl", "--for", "runtime", "--action", "deploy.json"];
    assert_eq!(other.log.run(&there).code, 0);
    let foreign = check(&["--bundle", "foreign.jsonl"]);
    foreign.failed(1, "genesis-not-pinned");
    check(&[&it.run, "--bundle", "foreign.jsonl"]).failed(3, "run-not-shown");
    let verified = it.log.run(&["verify", "foreign.jsonl"]);
    assert!(verified.code == 1 && verified.stdout.contains("✗ genesis-not-pinned"), "{}", verified.shown());
    it.log
        .desk
        .run(&["gate", "check", &it.run, "--action", "deploy.json", "--server", &other.log.url])
        .failed(2, "log-mismatch");
    // Nor does what was approved in one run of this log approve the same in another, or anything else in its own.
    let second = it.log.trigger();
    it.propose(&second);
    it.approve();
    it.log.good(&["bundle", &it.run, "--out", "approved.jsonl"]);
    assert_eq!(check(&["--bundle", "approved.jsonl"]).code, 0);
    check(&[&second, "--bundle", "approved.jsonl"]).failed(3, "run-not-shown");
    assert_eq!(check(&[&second]).code, 4);
    it.action("deploy.json", "89abcde");
    check(&["--bundle", "approved.jsonl"]).failed(1, "action-differs");
}

#[test]
fn a_receipt_tells_what_was_done_from_what_was_not_and_from_another_log_s() {
    let (it, other) = (Deployment::new(), Deployment::new());
    let proposal = |it: &Deployment| {
        it.log.json(&["resume", &it.run])["proposals"][0]["id"].as_str().unwrap().to_owned()
    };
    let (own, foreign) = (proposal(&it), proposal(&other));
    // What nobody executed shows no conformity, approved or rejected; and what was rejected is no success.
    for decide in ["approve", "reject"] {
        it.log.good(&[decide, &it.run, "--yes"]);
        let shown = it.log.run(&["receipt", &own, "--json"]);
        assert_eq!(shown.code, 3, "{}", shown.shown());
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        assert_eq!(
            (&shown["conclusion"], &shown["exit_code"]),
            (&json!("not_shown"), &json!(3)),
            "{shown:#}"
        );
    }
    it.log.run(&["receipt", &foreign]).failed(2, "record-unknown");
    it.log.desk.run(&["receipt", &foreign, "--server", &other.log.url]).failed(2, "log-mismatch");
}

const ALLOW: &str = r#"
language = "counterfoil-policy/1"

[[rules]]
name = "deployments"
effect = "allow"
uses = 1
match.any = [{ tool = "deploy" }]
"#;

#[test]
fn a_rejected_or_forged_approval_does_not_pass_a_check() {
    let it = Deployment::new();
    it.approve();
    let check =
        |more: &[&str]| it.log.run(&[&["gate", "check", &it.run, "--action", "deploy.json"], more].concat());
    assert_eq!(check(&[]).code, 0);
    check(&["--for", "agent"]).failed(1, "key-unknown");
    it.log.good(&["bundle", &it.run, "--out", "run.jsonl"]);
    assert_eq!(check(&["--bundle", "run.jsonl"]).code, 0);
    let bundle = it.log.desk.read("run.jsonl");
    it.log.desk.write("forged.jsonl", bundle.replace("\"verdict\":\"approve\"", "\"verdict\":\"apprave\""));
    assert_ne!(check(&["--bundle", "forged.jsonl"]).code, 0);
    it.log.desk.write("cut.jsonl", &bundle[..bundle.len() / 2]);
    assert_ne!(check(&["--bundle", "cut.jsonl"]).code, 0);
    it.log.good(&["reject", &it.run, "--yes"]);
    check(&[]).failed(1, "proposal-ended");
}
