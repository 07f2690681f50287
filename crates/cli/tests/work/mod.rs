//! A command that a gate is to run.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{self, Log, before_dashes};

/// A log, and a run in which one command is approved.
pub struct Work {
    pub log: Log,
    pub run: String,
    pub command: Vec<String>,
}

impl Work {
    pub fn new(command: &[&str]) -> Self {
        let work = Self::proposed(Log::new(), command);
        work.log.good(&["approve", &work.run, "--yes"]);
        work
    }

    /// The same, under a policy whose one rule has these members besides, and approved by nobody.
    pub fn under(rule: &str, command: &[&str]) -> Self {
        let log = Log::new();
        let policy = format!(
            "language = \"counterfoil-policy/1\"\n[[rules]]\nname = \"all\"\neffect = \"require\"\nuses = 1\nwindow = \"15m\"\n\
             segregation = false\nrequirements = [{{ count = 1, surfaces = [\"none\"] }}]\nmatch.tool = \"*\"\n{rule}\n"
        );
        log.desk.write("policy.toml", policy);
        log.good(&["policy", "set", "policy.toml"]);
        Self::proposed(log, command)
    }

    pub fn proposed(log: Log, command: &[&str]) -> Self {
        let run = log.trigger();
        let work = Self { log, run, command: command.iter().map(|word| (*word).to_owned()).collect() };
        let action = work.log.good(&work.line(&["gate", "action"]));
        work.log.desk.write("action.json", action);
        work.log.good(&[
            "propose",
            &work.run,
            "--action",
            "action.json",
            "--for",
            "runtime",
            "--risk",
            "low",
        ]);
        work
    }

    /// A command line that ends in the approved command.
    pub fn line<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [words, &["--"], &self.command.iter().map(String::as_str).collect::<Vec<_>>()].concat()
    }

    pub fn run(&self, options: &[&str]) -> common::Ran {
        self.log.run(&before_dashes(&self.line(&["gate", "run", &self.run]), options))
    }

    /// Starts the gate, in a process group of its own as from a terminal, and waits until its command has made `file`.
    pub fn start(&self, file: &str) -> Child {
        let line = self.line(&["gate", "run", &self.run]);
        let mut gate = self.log.desk.command(&before_dashes(&line, &["--server", &self.log.url]));
        let gate = gate.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        self.await_file(file);
        gate
    }

    pub fn await_file(&self, file: &str) {
        let began = Instant::now();
        while !self.log.desk.path(file).exists() {
            assert!(began.elapsed() < Duration::from_secs(20), "{file} never came");
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn executions(&self) -> Vec<Value> {
        self.log.json(&["resume", &self.run])["executions"].as_array().unwrap().clone()
    }
}

/// Sends a signal to a process, or to the group that it leads.
pub fn signal(signal: &str, to: &str) {
    assert!(Command::new("kill").args([signal, "--", to]).status().unwrap().success());
}

/// What a gate came to: its exit status, and what it said.
pub fn end(gate: Child) -> (i32, String) {
    let output = gate.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}
