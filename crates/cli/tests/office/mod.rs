//! A log with a policy about the tools of servers, and what became of calls of them.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::common::{Log, ask};

/// How long anything may take before it counts as hanging, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A log with a policy.
pub struct Office {
    /// The log.
    pub log: Log,
}

impl Office {
    /// A log with this policy.
    pub fn with(policy: &str) -> Self {
        let log = Log::new();
        log.desk.write("policy.toml", policy);
        log.good(&["policy", "set", "policy.toml"]);
        Self { log }
    }

    /// The proposals that have this status.
    pub fn approvals(&self, status: &str) -> Vec<Value> {
        let page = ask(&self.log.url, "GET", &format!("/v1/approvals?status={status}"), b"").unwrap();
        let mut page: Value = serde_json::from_slice(&page).unwrap();
        serde_json::from_value(page["approvals"].take()).unwrap()
    }

    /// Waits until so many proposals have this status; gives the run of the first.
    pub fn run_that_is(&self, status: &str, count: usize) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.approvals(status);
            if found.len() == count {
                return found[0]["run"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < until, "never {count} {status}: {found:?}");
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// The outcome of the execution that a result's receipt names, once it is logged, and that the run's bundle convinces.
    pub fn outcome(&self, result: &Value) -> String {
        let receipt = &result["_meta"]["counterfoil/receipt"];
        let run = receipt["run"].as_str().unwrap_or_else(|| panic!("no receipt: {result}"));
        let until = Instant::now() + PATIENCE;
        loop {
            let resumed = self.log.json(&["resume", run]);
            let executed = &resumed["executions"][0];
            assert_eq!(executed["id"], receipt["execution"], "{resumed:#}");
            if let Some(status) = executed["status"].as_str() {
                self.convinces(run);
                return status.to_owned();
            }
            assert!(Instant::now() < until, "never an outcome: {resumed:#}");
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// That the bundle of a run in which something was executed convinces whoever reads it.
    pub fn convinces(&self, run: &str) {
        self.verified(run, &[]);
    }

    /// That the bundle of a run convinces, and has no execution whose conformity it could show.
    pub fn convinces_without_execution(&self, run: &str) {
        let said = self.verified(run, &["--require", "integrity,authority,inclusion"]);
        assert!(said.contains("nothing was executed"), "{said}");
    }

    /// That the bundles of all runs with a proposal convince, and there is one; how many there are.
    pub fn each_run_convinces(&self) -> usize {
        let page = ask(&self.log.url, "GET", "/v1/approvals", b"").unwrap();
        let page: Value = serde_json::from_slice(&page).unwrap();
        let proposals = page["approvals"].as_array().unwrap();
        assert!(!proposals.is_empty() && page["next"].is_null(), "{page:#}");
        let runs: BTreeSet<&str> = proposals.iter().map(|one| one["run"].as_str().unwrap()).collect();
        for run in &runs {
            self.verified(run, &["--require", "integrity,authority,inclusion"]);
        }
        runs.len()
    }

    fn verified(&self, run: &str, options: &[&str]) -> String {
        let file = format!("{}.jsonl", &run[7..]);
        self.log.good(&["bundle", run, "--out", &file]);
        let verified = self.log.good(&[&["verify", &file], options].concat());
        fs::remove_file(self.log.desk.path(&file)).unwrap();
        verified
    }
}

/// Stands before a log, and keeps its answers back while it is told to; where it is.
pub fn before_the_log(url: &str, keeps_back: &Arc<AtomicBool>) -> String {
    let (log, listener) =
        (url.strip_prefix("http://").unwrap().to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, keeps_back) = (listener.local_addr().unwrap(), Arc::clone(keeps_back));
    thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let (to, keeps_back) = (TcpStream::connect(&log).unwrap(), Arc::clone(&keeps_back));
            let (mut asked, mut asks) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut asked, &mut asks));
            thread::spawn(move || {
                let (mut from, mut to, mut bytes) = (to, from, [0; 4_096]);
                while let Ok(read) = from.read(&mut bytes)
                    && read > 0
                    && !keeps_back.load(Ordering::Acquire)
                    && to.write_all(&bytes[..read]).is_ok()
                {}
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
    });
    format!("http://{address}")
}
