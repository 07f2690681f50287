//! Restored logs on the real server: read-only until they are recovered, every acknowledged entry back, and no fork.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
};

use common::{Desk, copy};

/// A log in a desk of its own, and every checkpoint that readers saw.
struct World {
    desk: Desk,
    seen: Vec<String>,
    acknowledged: Vec<String>,
}

/// A running server that is killed in the end.
struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Status and body.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let body = if method == "POST" { "{}" } else { "" };
        let kind = "Content-Type: application/json";
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// What it said on standard error, once it is stopped.
    fn said(mut self) -> String {
        let _ = self.child.kill();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

impl World {
    fn new() -> Self {
        let desk = Desk::new();
        desk.good(&["init", "--origin", "example.org/log"]);
        Self { desk, seen: Vec::new(), acknowledged: Vec::new() }
    }

    fn serve(&mut self) -> Running {
        let mut command = self.desk.command(&["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let running = Running { child, url };
        self.see(&running);
        running
    }

    fn see(&mut self, running: &Running) {
        let (status, checkpoint) = running.ask("GET", "/checkpoint");
        assert_eq!(status, 200);
        self.seen.push(checkpoint);
    }

    /// Starts runs, each acknowledged.
    fn add(&mut self, running: &Running, count: usize) {
        for _ in 0..count {
            let id = format!("{}", self.acknowledged.len());
            let said = ["--json", "trigger", "--source", "alerts", "--id", &id, "--server", &running.url];
            let run = self.desk.run(&said).json()["run"].as_str().unwrap().to_owned();
            self.acknowledged.push(run);
            self.see(running);
        }
    }

    fn export(&self, running: &Running, to: &str) {
        self.desk.good(&["log", "export", to, "--server", &running.url]);
    }

    /// Keeps or brings back the log's directory and others.
    fn keep(&self, names: &[&str]) {
        names.iter().for_each(|name| copy(&self.desk.path(name), &self.desk.path(&format!("old-{name}"))));
    }

    fn restore(&self, names: &[&str]) {
        for name in names {
            fs::remove_dir_all(self.desk.path(name)).unwrap();
            copy(&self.desk.path(&format!("old-{name}")), &self.desk.path(name));
        }
    }

    fn publish(&self, places: &str) {
        let config = self.desk.read("counterfoil.toml");
        let config = config.replacen("[log]\n", &format!("[log]\npublished = [{places}]\n"), 1);
        self.desk.write("counterfoil.toml", config);
    }

    /// A log that has lived, with an export of all of it, whose directories were then restored from the middle.
    fn restored(names: &[&str]) -> Self {
        let mut world = Self::new();
        let running = world.serve();
        world.add(&running, 3);
        drop(running);
        world.keep(&["log", "lock"]);
        let running = world.serve();
        world.add(&running, 4);
        world.export(&running, "copy");
        drop(running);
        world.restore(names);
        world
    }

    /// What is served may be read, and nothing else.
    fn only_reads(&mut self, reason: &str) {
        let running = self.serve();
        let (status, health) = running.ask("GET", "/healthz");
        assert!(status == 503 && health.contains("\"status\":\"read-only\""), "{health}");
        let (status, refused) = running.ask("POST", "/v1/records");
        assert!(status == 503 && refused.contains("log-read-only"), "{refused}");
        assert!(refused.contains("counterfoil log recover"), "{refused}");
        let first = &self.acknowledged[0];
        assert_eq!(running.ask("GET", &format!("/v1/runs/{first}")).0, 200);
        // It stops no recovery: nothing is locked.
        let said = self.desk.good(&["log", "recover"]);
        assert!(said.contains("nothing was changed"), "{said}");
        let said = running.said();
        assert!(said.contains("THE LOG IS READ-ONLY") && said.contains(reason), "{said}");
        assert!(said.contains("counterfoil log recover"), "{said}");
    }

    /// The log goes on, has everything that was acknowledged, and every checkpoint ever served is of its history.
    fn is_whole(&mut self) {
        let running = self.serve();
        assert_eq!(running.ask("GET", "/healthz").0, 200, "{}", running.said());
        self.add(&running, 2);
        for run in &self.acknowledged {
            assert_eq!(running.ask("GET", &format!("/v1/runs/{run}")).0, 200, "{run}");
        }
        let mut audit = vec!["--json".to_owned(), "log".to_owned(), "audit".to_owned(), running.url.clone()];
        for (number, checkpoint) in self.seen.iter().enumerate() {
            let name = format!("seen-{number}");
            self.desk.write(&name, checkpoint);
            audit.extend(["--since".to_owned(), name]);
        }
        let audit: Vec<_> = audit.iter().map(String::as_str).collect();
        let report = self.desk.run(&audit).json();
        assert_eq!(report["conclusion"], "shown", "{report}");
        let since = report["since"].as_array().unwrap();
        assert!(
            since.len() == self.seen.len() && since.iter().all(|since| since["holds"] == true),
            "{report}"
        );
    }
}

#[test]
fn an_older_backup_without_its_lock_store_is_read_only_until_it_is_recovered_from_an_export() {
    let mut world = World::restored(&["log"]);
    world.only_reads("open-journal-behind");
    world.desk.run(&["log", "recover", "--apply"]).failed(2, "recover-no-copy");
    let said = world.desk.good(&["log", "recover", "--from", "copy", "--apply"]);
    assert!(said.contains("fetched and appended entries"), "{said}");
    world.is_whole();
}

#[test]
fn an_older_backup_with_its_lock_store_is_found_out_by_a_published_copy() {
    let mut world = World::restored(&["log", "lock"]);
    world.publish("\"copy\", \"http://127.0.0.1:9\"");
    world.only_reads("open-overtaken");
    // Nothing but the copies says what is newest: each has to be asked, or named.
    let recover = ["log", "recover", "--from", "copy", "--apply"];
    world.desk.run(&recover).failed(2, "recover-unasked");
    world.desk.good(&[&recover[..], &["--without", "http://127.0.0.1:9"]].concat());
    world.is_whole();
    // A copy that does not answer is a warning.
    let running = world.serve();
    let (status, health) = running.ask("GET", "/healthz");
    assert!(status == 200 && health.contains("127.0.0.1:9 could not be asked"), "{health}");
    assert!(running.said().contains("warning: http://127.0.0.1:9"));
}

#[test]
fn a_log_whose_lock_store_is_gone_is_read_only_until_somebody_vouches_for_its_journal() {
    let mut world = World::restored(&[]);
    fs::remove_dir_all(world.desk.path("lock")).unwrap();
    world.only_reads("open-lock-behind");
    world.desk.run(&["log", "recover", "--apply"]).failed(2, "recover-unasked");
    let said = world.desk.good(&["log", "recover", "--from", "copy", "--apply"]);
    assert!(said.contains("set the lock store"), "{said}");
    world.is_whole();
}

#[test]
fn a_fork_is_neither_served_nor_recovered_and_convicts_the_log() {
    let mut world = World::restored(&["log", "lock"]);
    // Nobody is asked, not even what clients here have seen, and the log goes on: that is the fork.
    fs::remove_dir_all(world.desk.path("seen")).unwrap();
    let running = world.serve();
    world.desk.good(&["trigger", "--source", "other", "--id", "1", "--server", &running.url]);
    world.desk.good(&["trigger", "--source", "other", "--id", "2", "--server", &running.url]);
    world.export(&running, "fork");
    drop(running);
    world.restore(&["log", "lock"]);
    world.desk.run(&["log", "recover", "--from", "copy", "--apply", "--without", "others"]).good();
    world.publish("\"fork\"");
    let refused = world.desk.run(&["serve", "--listen", "127.0.0.1:0"]);
    refused.failed(2, "log-lock");
    let journal = fs::read(world.desk.path("log/journal")).unwrap();
    world.desk.run(&["log", "recover", "--apply"]).failed(1, "recover-forked");
    assert!(fs::read(world.desk.path("log/journal")).unwrap() == journal);
    let convicted = world.desk.run(&["verify", "fork-evidence.jsonl"]);
    assert!(convicted.code == 1 && convicted.stdout.contains("THE LOG MISBEHAVED"), "{}", convicted.shown());
}

#[test]
fn a_backup_of_a_running_log_is_restored_without_a_fork() {
    let mut world = World::new();
    let running = world.serve();
    world.add(&running, 2);
    world.desk.good(&["log", "backup", "backup"]);
    world.add(&running, 3);
    let said = world.desk.json(&["log", "backup", "backup"]);
    assert!(said["copied"].as_u64().unwrap() < said["journal"].as_u64().unwrap(), "{said}");
    let note = world.desk.read("backup/BACKUP");
    assert!(note.contains(&format!("\nsize {}\n", said["size"])), "{note}");
    drop(running);
    for name in ["log", "lock", "payloads"] {
        fs::remove_dir_all(world.desk.path(name)).unwrap();
    }
    copy(&world.desk.path("backup/log"), &world.desk.path("log"));
    copy(&world.desk.path("backup/payloads"), &world.desk.path("payloads"));
    world.only_reads("open-lock-behind");
    world.desk.good(&["log", "recover", "--apply", "--without", "others"]);
    world.is_whole();
}
