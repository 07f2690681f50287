//! `gate check` for jobs that hold no key, and the script that puts what it says beside a change.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
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
        deployment.log.good(&[
            "propose",
            &deployment.run,
            "--action",
            "deploy.json",
            "--for",
            "runtime",
            "--risk",
            "high",
        ]);
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

    /// Runs the script in a job of this action; its exit status, and what was said on the pull request.
    fn job(&self, action: &str, server: &str) -> (i32, String) {
        let site = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = format!("http://{}", site.local_addr().unwrap());
        let comment = thread::spawn(move || heard(&site));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/ci/check.sh");
        let binary = Path::new(env!("CARGO_BIN_EXE_counterfoil")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let job = Command::new(script)
            .current_dir(self.log.desk.path("."))
            .env("PATH", path)
            .envs([
                ("COUNTERFOIL_ACTION", action),
                ("COUNTERFOIL_SERVER", server),
                ("COUNTERFOIL_TRUST", "trust.toml"),
            ])
            .envs([
                ("GITHUB_API_URL", api.as_str()),
                ("GITHUB_REPOSITORY", "shop/site"),
                ("GITHUB_TOKEN", "secret"),
            ])
            .envs([("PULL_REQUEST", "7"), ("GITHUB_STEP_SUMMARY", "summary.md")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&job.stderr).into_owned();
        print!("{said}");
        assert!(!said.contains("warning"), "{said}");
        (job.status.code().unwrap(), comment.join().unwrap())
    }
}

/// The comment that is posted to a site.
fn heard(site: &TcpListener) -> String {
    let (stream, _) = site.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "POST /repos/shop/site/issues/7/comments HTTP/1.1");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader
        .get_mut()
        .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["body"].as_str().unwrap().to_owned()
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
    assert!(it.log.desk.read("summary.md").ends_with(&said));
    // What is pushed afterwards is another action.
    it.action("pushed.json", "89abcde");
    let (status, said) = it.job("pushed.json", &it.log.url);
    assert_eq!(status, 1, "{said}");
    // A log that does not answer approves nothing.
    let (status, said) = it.job("deploy.json", "http://127.0.0.1:9");
    assert!(status != 0 && said.contains("not shown"), "{status}: {said}");
}

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
