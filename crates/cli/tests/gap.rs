//! A restored raw log that lacks more than one batch holds: `log recover` brings all of it back from an export or a server,
//! however often it is killed on the way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod traced;

use std::{
    fs,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use common::{Desk, add, ask, copy};

/// What is missing: three frames of one batch.
const ENTRIES: usize = 10_000;

fn fill(url: &str) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= ENTRIES {
                        return;
                    }
                    assert!(add(url, &format!("entry {number}")).is_some());
                }
            });
        }
    });
}

/// A log of one entry that was restored from a backup; `copy` is an export of what it was, and `mirror` all of it.
fn restored() -> (Desk, Vec<u8>) {
    let desk = Desk::new();
    desk.good(&["init", "log", "--mode", "raw", "--origin", "example.org/bytes"]);
    let (serving, url) = desk.serve_in("log");
    assert_eq!(add(&url, "first"), Some(0));
    drop(serving);
    copy(&desk.path("log"), &desk.path("backup"));
    let (serving, url) = desk.serve_in("log");
    fill(&url);
    let key = desk.read("log/log.vkey");
    desk.good(&["log", "export", "copy", "--from", &url, "--log-key", key.trim()]);
    let checkpoint = ask(&url, "GET", "/checkpoint", b"").unwrap();
    drop(serving);
    fs::rename(desk.path("log"), desk.path("mirror")).unwrap();
    fs::rename(desk.path("backup"), desk.path("log")).unwrap();
    let config = desk.read("log/counterfoil.toml");
    let published = format!("[log]\npublished = [{:?}]\n", desk.path("copy").display().to_string());
    desk.write("log/counterfoil.toml", config.replacen("[log]\n", &published, 1));
    (desk, checkpoint)
}

/// Recovers the log from here; it is killed before it writes to this file for that time.
fn killed(desk: &Desk, from: &str, file: &str, number: usize) {
    let recover = desk.command(&["log", "recover", "-C", "log", "--from", from, "--apply"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-P"]);
    strace.arg(desk.path(file)).args(["-e", &format!("inject=pwrite64:signal=SIGKILL:when={number}")]);
    strace.arg(recover.get_program()).args(recover.get_args());
    for (variable, value) in recover.get_envs() {
        match value {
            Some(value) => strace.env(variable, value),
            None => strace.env_remove(variable),
        };
    }
    strace.current_dir(recover.get_current_dir().unwrap());
    let ended = strace.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(!ended.success(), "it was not killed in write {number} of {file}");
}

#[test]
fn a_gap_of_several_frames_is_recovered_however_often_that_is_killed() {
    let (desk, checkpoint) = restored();
    let (mirror, from) = desk.serve_in("mirror");
    let before = fs::metadata(desk.path("log/log/journal")).unwrap().len();
    let journal = |number| ("log/log/journal", number);
    let points = [("log/lock/checkpoint.lock", 1), journal(1), journal(2), journal(3)];
    let mut kills = 0;
    for (file, number) in points.into_iter().filter(|_| traced::is_possible()) {
        killed(&desk, &from, file, number);
        kills += 1;
        // What the kill before this one left was cut off.
        let length = fs::metadata(desk.path("log/log/journal")).unwrap().len();
        assert_eq!(length > before, number > 1, "{file} {number}");
        let (serving, url) = desk.serve_in("log");
        assert_eq!(add(&url, "another"), None, "it may only be read after {file} {number}");
        drop(serving);
    }
    drop(mirror);
    let said = desk.good(&["log", "recover", "-C", "log", "--from", "copy", "--apply"]);
    assert!(said.contains(&format!("fetched and appended entries 1 to {ENTRIES}")), "{said}");
    let (_serving, url) = desk.serve_in("log");
    assert_eq!(add(&url, "first"), Some(0));
    assert!(add(&url, "entry 9999").unwrap() <= ENTRIES as u64);
    assert_eq!(add(&url, "another"), Some(ENTRIES as u64 + 1));
    desk.write("seen", checkpoint);
    let key = desk.read("log/log.vkey");
    desk.good(&["log", "audit", &url, "--log-key", key.trim(), "--since", "seen"]);
    println!("count kills -9 of a recovery of {ENTRIES} entries {kills}");
}
