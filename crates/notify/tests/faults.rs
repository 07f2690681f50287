//! Every system call on the outbox's files, failing, or never returning because the process is killed there. By strace, like
//! the server's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod far_side;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use counterfoil_notify::*;
use far_side::*;

/// A channel that writes down in a file what it was told, as somebody else's machine would.
fn channel(told: PathBuf) -> Vec<(ChannelName, Box<dyn Channel>)> {
    let channel = scripted(&Log::default(), move |delivery| {
        let mut told = OpenOptions::new().create(true).append(true).open(&told).unwrap();
        writeln!(told, "{} {}", delivery.id, delivery.message.id()).unwrap();
        if delivery.message.id() == "later" { Err(Failure::retry("later")) } else { Ok(()) }
    });
    vec![(name("a"), channel)]
}

fn open(dir: &Path) -> Result<Outbox, OutboxError> {
    let config = Hand::default().config(Retries::default());
    Outbox::open(&dir.join("outbox"), channel(dir.join("told")), config)
}

fn large(id: &str) -> Addressed {
    let text = "x".repeat(limits::TEXT_BYTES);
    to(&["a"], Message::new(UnverifiedMessage { text, ..unverified(id) }).unwrap())
}

/// As another process: opens, enqueues, delivers, opens again, and enqueues so much that the file is written anew. What is
/// done is said.
fn work(dir: &Path) -> Result<(), OutboxError> {
    let enqueue = |outbox: &Outbox, batch: &[Addressed]| -> Result<(), OutboxError> {
        outbox.enqueue(batch)?;
        batch.iter().for_each(|of| println!("\nenqueued {}", of.message.id()));
        Ok(())
    };
    let deliver = |outbox: &Outbox, id: &str| -> Result<(), OutboxError> {
        assert_eq!(outbox.deliver_next(&name("a"))?, Step::Done);
        println!("\ndelivered {id}");
        Ok(())
    };
    let outbox = open(dir)?;
    enqueue(&outbox, &[to(&["a"], message("one")), to(&["a"], message("two"))])?;
    deliver(&outbox, "one")?;
    drop(outbox);
    let outbox = open(dir)?;
    deliver(&outbox, "two")?;
    enqueue(&outbox, &[to(&["a"], message("later"))])?;
    deliver(&outbox, "later")?;
    let ids: Vec<String> = (0..140).map(|at| format!("large-{at}")).collect();
    enqueue(&outbox, &ids.iter().map(|id| large(id)).collect::<Vec<_>>())?;
    match outbox.status().stopped {
        Some(why) => Err(OutboxError::Stopped { why }),
        None => enqueue(&outbox, &[to(&["a"], message("last"))]),
    }
}

#[test]
fn as_a_child_works() {
    let Some(dir) = std::env::var_os("NOTIFY_TEST_DIR") else { return };
    match work(Path::new(&dir)) {
        Ok(()) => println!("\nno error"),
        Err(error) => println!("\nerror {error}"),
    }
}

/// What the child said, and the trace of it.
struct Ran {
    said: Vec<String>,
    trace: String,
}

/// This program again under strace, in `dir`, perhaps with a fault.
fn run(dir: &Path, fault: Option<String>) -> Ran {
    let (files, trace) = (dir.join("outbox"), dir.join("trace"));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-o"]).arg(&trace);
    strace.args(["-e", "trace=openat,write,fsync,fdatasync,rename"]);
    for path in [dir.to_owned(), files.clone(), files.join("outbox.jsonl"), files.join("outbox.jsonl.new")] {
        strace.arg("-P").arg(path);
    }
    if let Some(fault) = fault {
        strace.arg("-e").arg(format!("inject={fault}"));
    }
    let output = strace
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_child_works", "--nocapture", "--test-threads", "1"])
        .env("NOTIFY_TEST_DIR", dir)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    Ran { said, trace: fs::read_to_string(trace).unwrap() }
}

/// A folder that outlives a killed child. The outbox's folder is there already, so that each run makes the same calls.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("outbox")).unwrap();
    dir
}

/// The calls of a trace, each with what it was called on.
fn calls(trace: &str) -> Vec<(&str, &str)> {
    let calls = trace.lines().filter_map(|line| line.split_once(' ')?.1.trim_start().split_once('('));
    calls.map(|(call, on)| (call, on.split(['>', '"']).next().unwrap_or_default())).collect()
}

fn is_possible() -> bool {
    let mut trace = Command::new("strace");
    trace.args(["-f", "-qq", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    let possible = trace.status().is_ok_and(|status| status.success());
    if !possible {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "strace is missing or may not trace");
        eprintln!("NOT TESTED: system calls that fail; strace is missing or may not trace here.");
    }
    possible
}

/// What there is after the child: all that it said was enqueued, and nothing again that it said was delivered.
fn check(dir: &Path, ran: &Ran, fault: &str) {
    let of =
        |word: &str| -> Vec<&str> { ran.said.iter().filter_map(|line| line.strip_prefix(word)).collect() };
    let (enqueued, delivered) = (of("enqueued "), of("delivered "));
    let outbox = open(dir).unwrap_or_else(|error| panic!("{fault}: {error}"));
    while outbox.deliver_next(&name("a")).unwrap() == Step::Done {}
    let waiting = outbox.status().waiting;
    assert!(waiting <= 142, "{fault}: {waiting}");
    drop(outbox);
    // What waits because it failed is tried when its time has come.
    let clock = Hand::default();
    clock.set(1 << 40);
    let outbox =
        Outbox::open(&dir.join("outbox"), channel(dir.join("told")), clock.config(Retries::default()));
    let outbox = outbox.unwrap();
    for _ in 0..200 {
        outbox.deliver_next(&name("a")).unwrap();
        clock.set(clock.now() + 10_000_000);
    }
    let told = fs::read_to_string(dir.join("told")).unwrap_or_default();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for (delivery, id) in told.lines().filter_map(|line| line.split_once(' ')) {
        assert_eq!(delivery, DeliveryId::of(&name("a"), id).to_string());
        *times.entry(id).or_default() += 1;
    }
    for id in enqueued {
        assert!(times.contains_key(id), "{fault}: {id} is lost");
    }
    for id in delivered.into_iter().filter(|id| *id != "later") {
        assert_eq!(times[id], 1, "{fault}: {id} was told again");
    }
    let again = times.iter().filter(|(id, times)| **id != "later" && **times > 1).count();
    assert!(again <= 1, "{fault}: {times:?}");
}

#[test]
fn nothing_is_said_before_it_is_on_disk() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let ran = run(dir.path(), None);
    assert!(ran.said.contains(&"no error".to_owned()), "{:?}", ran.said);
    check(dir.path(), &ran, "no fault");
    let (mut appends, mut renames) = (0, 0);
    let calls = calls(&ran.trace);
    for (at, (call, on)) in calls.iter().enumerate() {
        let next = calls.get(at + 1);
        match *call {
            // Of the old file: the write is synced before anything else happens.
            "write" if on.ends_with("outbox.jsonl") => {
                appends += 1;
                assert!(matches!(next, Some(("fdatasync", of)) if of == on), "{next:?}");
            }
            "rename" => {
                renames += 1;
                assert!(matches!(calls[at - 1], ("fsync", of) if of.ends_with("outbox.jsonl.new")));
                let dir_is_synced =
                    calls[at..].iter().take(5).any(|(call, on)| *call == "fsync" && on.ends_with("/outbox"));
                assert!(dir_is_synced, "{:?}", &calls[at..]);
            }
            _ => {}
        }
    }
    // Two batches, three deliveries, a large batch that has the file written anew, and the last.
    assert_eq!((appends, renames), (7, 3));
}

#[test]
fn every_call_may_fail_or_be_the_last_one() {
    if !is_possible() {
        return;
    }
    let dir = folder();
    let ran = run(dir.path(), None);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (call, _) in calls(&ran.trace) {
        *counts.entry(call).or_default() += 1;
    }
    assert_eq!(
        counts.keys().copied().collect::<Vec<_>>(),
        ["fdatasync", "fsync", "openat", "rename", "write"]
    );
    for (call, count) in counts {
        for number in 1..=count {
            for fault in ["signal=SIGKILL", "error=ENOSPC"] {
                let (dir, fault) = (folder(), format!("{call}:{fault}:when={number}"));
                let ran = run(dir.path(), Some(fault.clone()));
                let error = ran.said.iter().any(|line| {
                    line.starts_with("error can't") || line.starts_with("error the outbox stopped")
                });
                let is_failure = fault.contains("ENOSPC");
                assert_eq!(error, is_failure, "{fault}: {:?}", ran.said);
                assert!(!ran.said.contains(&"no error".to_owned()), "{fault}");
                check(dir.path(), &ran, &fault);
            }
        }
    }
}
