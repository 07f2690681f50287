//! System calls of a server of records, whose checkpoints are witnessed, that fail or that it does not survive: what was
//! acknowledged is there, what was answered as witnessed is witnessed still, and no tree forks.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;
mod traced;

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use common::{Desk, copy};
use counterfoil_client::{Client, FileCheckpoints, PinnedClient, Promise};
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_verify::Trust;
use load::{Writer, pinned};
use traced::{Fault, Point, Program, Started};

/// Cases that are tried at a time.
const WORKERS: usize = 4;

/// A stopped log of records in `work` and its witness in `witness`, which is its whole quorum.
struct World {
    desk: Desk,
    /// The witness's key.
    vkey: String,
    acknowledged: Vec<UnverifiedRecord>,
}

fn serve(desk: &Desk, directory: &str) -> Command {
    let policy = format!("{directory}/witnesses.policy");
    let witnessed = ["--witness-policy", &policy, "--witness-fail", "closed"];
    desk.command(&[&["serve", "-C", directory, "--listen", "127.0.0.1:0"][..], &witnessed].concat())
}

/// What the server of a log of records has beside that of a raw log; and what both can't do without.
fn program() -> Program {
    let files = [KEPT, "payloads", "log/journal", "lock/checkpoint.lock"];
    Program { files: files.map(str::to_owned).to_vec(), command: serve }
}

/// The store of witnessed checkpoints.
const KEPT: &str = "log/witnessed";

impl World {
    fn new() -> Self {
        let desk = Desk::new();
        desk.good(&["init", "work", "--origin", "example.org/log"]);
        let trust = desk.read("work/trust.toml");
        let key = Trust::parse(&trust).unwrap().log_keys()[0].to_string();
        let init = ["witness", "init", "witness", "--name", "w", "--listen", "127.0.0.1:0", "--log", &key];
        let vkey = desk.json(&init)["vkeys"][0].as_str().unwrap().to_owned();
        let mut world = Self { desk, vkey, acknowledged: Vec::new() };
        let mut table: toml::Table = trust.parse().unwrap();
        table["witnesses"]["policy"] = world.policy("http://127.0.0.1:9").into();
        world.desk.write("work/trust.toml", table.to_string());
        let _witness = world.witness("witness", "work");
        let (_serving, url) = traced::listening(serve(&world.desk, "work")).unwrap();
        world.acknowledged = world.write(&url, "work", "before");
        assert_eq!(world.acknowledged.len(), 4);
        world
    }

    fn policy(&self, url: &str) -> String {
        format!("witness w {} {url}\nquorum w\n", self.vkey)
    }

    /// Starts the witness in a directory, for the log in another.
    fn witness(&self, directory: &str, log: &str) -> Started {
        let config = format!("{directory}/witness.toml");
        let started = traced::listening(self.desk.command(&["witness", "run", "--config", &config]));
        let (witness, url) = started.unwrap();
        self.desk.write(&format!("{log}/witnesses.policy"), self.policy(&url));
        witness
    }

    /// A client with a memory of its own for each log.
    fn client(&self, url: &str, name: &str) -> PinnedClient {
        pinned(&self.desk, url, Box::new(FileCheckpoints::new(self.desk.path(&format!("{name}-seen")))))
    }

    /// Records, each of which is to be witnessed, up to the first that is not; gives those that were.
    fn write(&self, url: &str, name: &str, run: &str) -> Vec<UnverifiedRecord> {
        let client = self.client(url, name);
        let (mut writer, mut next) = Writer::start(&self.desk, client.trust().genesis(), run);
        let mut written = Vec::new();
        while written.len() < 4 && is_witnessed(&client, &next) {
            written.push(next);
            next = writer.observe(None);
        }
        written
    }

    /// One case, in copies of log and witness; whether its occurrence was reached.
    fn survives(&self, point: &Point, fault: Fault) -> bool {
        let how = format!("{point}: {fault:?}");
        let name = how.replace(['/', ' ', ':'], "-");
        let (log, witness) = (self.desk.path(&name), format!("{name}-witness"));
        copy(&self.desk.path("work"), &log);
        copy(&self.desk.path("witness"), &self.desk.path(&witness));
        let watching = self.witness(&witness, &name);
        let mut acknowledged = self.acknowledged.clone();
        let fired = traced::inject(&program(), &self.desk, &name, (point, fault), |url| {
            acknowledged.extend(self.write(url, &name, "faulty"));
        });
        drop(watching);
        let (serving, url) = traced::listening(serve(&self.desk, &name)).expect(&how);
        // In a tree that extends the last one that the client has seen; and witnessed, although no witness answers.
        let client = self.client(&url, &name);
        client.checkpoint().expect(&how);
        for record in &acknowledged {
            let found = Client::new(&url, None).unwrap().record(record.id());
            assert_eq!(found.expect(&how).bytes(), record.bytes(), "{how}");
            assert!(is_witnessed(&client, record), "{how}");
        }
        drop(serving);
        let _watching = self.witness(&witness, &name);
        let (_serving, url) = traced::listening(serve(&self.desk, &name)).expect(&how);
        assert_eq!(self.write(&url, &name, "after").len(), 4, "{how}");
        fired
    }
}

/// Submits a record, and waits until it is witnessed.
fn is_witnessed(client: &PinnedClient, record: &UnverifiedRecord) -> bool {
    let answers = client.submit_batch_until(std::slice::from_ref(record), &[], &[], Promise::Witnessed);
    answers.is_ok_and(|answers| answers.iter().all(Result::is_ok))
}

#[test]
fn a_system_call_that_fails_or_kills_loses_nothing_acknowledged_or_witnessed() {
    if !traced::is_possible() {
        return;
    }
    let world = World::new();
    copy(&world.desk.path("work"), &world.desk.path("counted"));
    copy(&world.desk.path("witness"), &world.desk.path("counted-witness"));
    let witness = world.witness("counted-witness", "counted");
    let counted = traced::count(&program(), &world.desk, "counted", |url| {
        assert_eq!(world.write(url, "counted", "counted").len(), 4);
    });
    drop(witness);
    let is_kept = |point: &Point| point.file == KEPT && point.call == "fdatasync";
    assert!(counted.iter().any(is_kept), "{counted:?}");
    // The writes and syncs of that store first.
    let (kept, others): (Vec<Point>, Vec<Point>) = counted.into_iter().partition(|point| point.file == KEPT);
    let is_written = |point: &Point| ["pwrite64", "fdatasync"].contains(&point.call.as_str());
    let mut cases = traced::sample(&kept.into_iter().filter(is_written).collect::<Vec<_>>(), 1);
    cases.extend(traced::sample(&others, 3));
    let (next, fired) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((point, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    fired.fetch_add(usize::from(world.survives(point, *fault)), Ordering::Relaxed);
                }
            });
        }
    });
    let fired = fired.into_inner();
    assert!(2 * fired > cases.len(), "{fired} of {}", cases.len());
    println!(
        "count system calls of a server of records failed or killed in, none lost what was witnessed {fired}"
    );
}
