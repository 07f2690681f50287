//! The outbox after crashes, damage and a disk that fails.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use counterfoil_notify::*;
use far_side::*;

fn file(dir: &Path) -> PathBuf {
    dir.join("outbox.jsonl")
}

/// Opens with a channel `a` that takes all but what is called `no`.
fn open(dir: &Path, log: &Log) -> Result<Outbox, OutboxError> {
    let channel = scripted(log, |delivery| match delivery.message.id() {
        "no" => Err(Failure::never("no")),
        "later" => Err(Failure::retry("later")),
        _ => Ok(()),
    });
    Outbox::open(dir, vec![(name("a"), channel)], Hand::default().config(Retries::default()))
}

fn counts(outbox: &Outbox) -> (usize, u64, u64) {
    let status = outbox.status();
    let of = &status.channels[&name("a")];
    (of.waiting, of.delivered, of.given_up)
}

/// An outbox's file with every kind of line; at each step, what it counted after it.
fn written(dir: &Path) -> Vec<(u64, (usize, u64, u64))> {
    let outbox = open(dir, &Log::default()).unwrap();
    let mut steps = vec![(outbox.status().file_bytes, counts(&outbox))];
    for id in ["yes", "no", "later"] {
        outbox.enqueue(&[to(&["a"], message(id))]).unwrap();
        steps.push((outbox.status().file_bytes, counts(&outbox)));
        outbox.deliver_next(&name("a")).unwrap();
        steps.push((outbox.status().file_bytes, counts(&outbox)));
    }
    outbox.enqueue(&[to(&["a"], message("last")), to(&["a"], message("very-last"))]).unwrap();
    steps.push((outbox.status().file_bytes, counts(&outbox)));
    steps
}

/// A crash leaves any part of the last line. Before its end it does not count, and the outbox goes on; what was there before
/// is all there.
#[test]
fn a_torn_last_line_is_cut_at_whatever_byte() {
    let dir = tempfile::tempdir().unwrap();
    let steps = written(dir.path());
    let whole = fs::read(file(dir.path())).unwrap();
    assert_eq!(whole.len() as u64, steps.last().unwrap().0);
    for pair in steps.windows(2) {
        let ((start, before), (end, after)) = (pair[0], pair[1]);
        for cut in start..end {
            fs::write(file(dir.path()), &whole[..cut as usize]).unwrap();
            let outbox = open(dir.path(), &Log::default()).unwrap();
            // All of the line but its end is the line.
            let (expected, torn) = if cut == end - 1 { (after, 0) } else { (before, cut - start) };
            assert_eq!((counts(&outbox), outbox.status().cut_bytes), (expected, torn), "{cut}");
            if cut % 16 != 0 {
                continue;
            }
            outbox.enqueue(&[to(&["a"], message("next"))]).unwrap();
            drop(outbox);
            let outbox = open(dir.path(), &Log::default()).unwrap();
            assert_eq!((counts(&outbox).0, outbox.status().cut_bytes), (expected.0 + 1, 0), "{cut}");
        }
    }
}

/// After a power cut a file may be longer than what was written of it.
#[test]
fn a_last_line_of_which_parts_are_zeros_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let steps = written(dir.path());
    let whole = fs::read(file(dir.path())).unwrap();
    let [.., (start, before), (end, _)] = steps[..] else { panic!() };
    let (start, end) = (start as usize, end as usize);
    for (from, to) in [
        (start, end),
        (start, start + 100),
        (start + 100, end),
        (start + 100, start + 200),
        (end - 100, end - 1),
    ] {
        let mut torn = whole.clone();
        torn[from..to].fill(0);
        fs::write(file(dir.path()), &torn).unwrap();
        let outbox = open(dir.path(), &Log::default()).unwrap();
        assert_eq!(
            (counts(&outbox), outbox.status().cut_bytes),
            (before, (end - start) as u64),
            "{from}–{to}"
        );
    }
}

/// Only the last line can have been interrupted.
#[test]
fn a_line_in_the_middle_of_which_parts_are_zeros_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let steps = written(dir.path());
    let mut whole = fs::read(file(dir.path())).unwrap();
    let start = steps[1].0 as usize;
    whole[start..start + 50].fill(0);
    fs::write(file(dir.path()), &whole).unwrap();
    let line = 1 + whole[..start].iter().filter(|byte| **byte == b'\n').count() as u64;
    let opened = open(dir.path(), &Log::default()).map(drop);
    assert!(matches!(opened, Err(OutboxError::Damaged { line: found, .. }) if found == line));
}

/// What was acknowledged is never dropped silently: every flipped bit of every byte is an error that names the line, and
/// changes nothing.
#[test]
fn a_damaged_line_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let whole = fs::read(file(dir.path())).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(file(dir.path()), &damaged).unwrap();
        let line = 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        match open(dir.path(), &Log::default()) {
            Err(OutboxError::Damaged { path, line: found, why: _ }) => {
                assert_eq!((path, found), (file(dir.path()), line), "byte {at}");
            }
            Err(other) => panic!("byte {at}: {other}"),
            Ok(_) => panic!("byte {at}: opened"),
        }
        assert_eq!(fs::read(file(dir.path())).unwrap(), damaged);
    }
}

#[test]
fn a_line_that_is_missing_repeated_or_moved_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    let whole = fs::read_to_string(file(dir.path())).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let damaged = |lines: &[&str]| {
        fs::write(file(dir.path()), lines.join("\n") + "\n").unwrap();
        match open(dir.path(), &Log::default()) {
            Err(OutboxError::Damaged { line, .. }) => line,
            other => panic!("{:?}", other.map(drop)),
        }
    };
    for at in 0..lines.len() - 1 {
        let missing: Vec<&str> = [&lines[..at], &lines[at + 1..]].concat();
        assert_eq!(damaged(&missing), at as u64 + 1);
        let repeated: Vec<&str> = [&lines[..=at], &lines[at..]].concat();
        assert_eq!(damaged(&repeated), at as u64 + 2);
        let mut moved = lines.clone();
        moved.swap(at, at + 1);
        assert_eq!(damaged(&moved), at as u64 + 1);
    }
    assert_eq!(damaged(&[]), 1);
    // As it was, it is right.
    fs::write(file(dir.path()), &whole).unwrap();
    open(dir.path(), &Log::default()).unwrap();
}

#[test]
fn the_message_about_damage_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), &Log::default()).unwrap());
    fs::write(file(dir.path()), "{}\n").unwrap();
    let error = open(dir.path(), &Log::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("outbox.jsonl, line 1: its sum is wrong"), "{error}");
    assert!(error.contains("Bring the file back from a backup"), "{error}");
}

#[test]
fn what_a_crash_left_of_a_new_file_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let steps = written(dir.path());
    let new = dir.path().join("outbox.jsonl.new");
    assert!(!new.exists());
    fs::write(&new, "{\"entry\":\"outbox\"".repeat(1000)).unwrap();
    assert_eq!(counts(&open(dir.path(), &Log::default()).unwrap()), steps.last().unwrap().1);
    assert!(!new.exists());
}

#[test]
fn only_its_owner_reads_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    written(dir.path());
    assert_eq!(fs::metadata(file(dir.path())).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_can_not_be_written_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("outbox.jsonl.new")).unwrap();
    let error = open(dir.path(), &Log::default()).map(drop).unwrap_err();
    assert!(
        matches!(&error, OutboxError::Io { doing: "create", path, .. } if path.ends_with("outbox.jsonl.new")),
        "{error}"
    );
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        open(&file, &Log::default()),
        Err(OutboxError::Io { doing: "create the directory", .. })
    ));
}

/// This program again, as the test `name` alone, which finds `dir` in its environment. With a `limit`, no file grows over so
/// many KiB.
fn again(test: &str, dir: &Path, url: &str, limit: Option<u32>) -> Child {
    let limit = limit.map(|limit| format!("trap '' XFSZ; ulimit -f {limit};")).unwrap_or_default();
    Command::new("bash")
        .arg("-c")
        .arg(format!("{limit} exec \"$0\" --exact {test} --nocapture --test-threads 1"))
        .arg(std::env::current_exe().unwrap())
        .env("NOTIFY_TEST_DIR", dir)
        .env("NOTIFY_TEST_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// The directory, if this is a process that [`again`] started.
fn in_child() -> Option<(PathBuf, String)> {
    Some((std::env::var_os("NOTIFY_TEST_DIR")?.into(), std::env::var("NOTIFY_TEST_URL").ok()?))
}

/// As another process: delivers what is in the directory, and enqueues more, until it is killed.
#[test]
fn as_a_child_delivers() {
    let Some((dir, url)) = in_child() else { return };
    let secret = Secret::new(&[7; 32]).unwrap();
    let channels: Vec<(ChannelName, Box<dyn Channel>)> = ["a", "b"]
        .map(|of| {
            let webhook = Webhook::new(&format!("{url}/{of}"), vec![secret.clone()]).unwrap();
            (name(of), Box::new(webhook) as Box<dyn Channel>)
        })
        .into();
    let outbox = Arc::new(Outbox::open(&dir, channels, quick()).unwrap());
    let _couriers = Couriers::start(Arc::clone(&outbox)).unwrap();
    for at in 0..100_000 {
        let id = format!("{}-{at}", std::process::id());
        outbox.enqueue(&[to(&["a", "b"], message(&id))]).unwrap();
        println!("\nenqueued {id}");
    }
}

/// Kill -9 at any moment: everything that was acknowledged is told, each time with the same delivery id, and more than once
/// only where a kill came between telling it and writing that down.
#[test]
fn nothing_is_lost_by_kills_and_little_is_told_twice() {
    const KILLS: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let (came, requests) = (Log::default(), Arc::new(AtomicUsize::new(0)));
    let (log, count) = (Arc::clone(&came), Arc::clone(&requests));
    let url = serve(move |asked| {
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let id = body["message"]["id"].as_str().unwrap();
        let expected = DeliveryId::of(&name(&asked.path[1..]), id).to_string();
        assert_eq!(asked.header("counterfoil-delivery"), expected);
        // Some are tried again.
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(7) {
            return (503, Vec::new(), String::new());
        }
        log.lock().unwrap().push((expected, id.to_owned()));
        (200, Vec::new(), String::new())
    });
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let mut child = again("as_a_child_delivers", dir.path(), &url, None);
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = output.lines().map_while(Result::ok);
        for line in lines.by_ref() {
            if let Some(id) = line.strip_prefix("enqueued ") {
                acknowledged.insert(id.to_owned());
                if acknowledged.len() % 40 == 39 {
                    break;
                }
            }
        }
        std::thread::sleep(Duration::from_micros((round as u64 * 7919) % 5_000));
        child.kill().unwrap();
        // What it said before it was killed.
        acknowledged.extend(lines.filter_map(|line| Some(line.strip_prefix("enqueued ")?.to_owned())));
        child.wait().unwrap();
    }
    assert!(acknowledged.len() >= KILLS);
    let secret = Secret::new(&[7; 32]).unwrap();
    let webhook = |of: &str| -> (ChannelName, Box<dyn Channel>) {
        (name(of), Box::new(Webhook::new(&format!("{url}/{of}"), vec![secret.clone()]).unwrap()))
    };
    let outbox = Outbox::open(dir.path(), vec![webhook("a"), webhook("b")], quick()).unwrap();
    let outbox = Arc::new(outbox);
    let couriers = Couriers::start(Arc::clone(&outbox)).unwrap();
    eventually("all is told", || outbox.status().waiting == 0);
    drop(couriers);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (delivery, _) in came.lock().unwrap().iter() {
        *times.entry(delivery.clone()).or_default() += 1;
    }
    for id in &acknowledged {
        for channel in ["a", "b"] {
            assert!(times.contains_key(&DeliveryId::of(&name(channel), id).to_string()), "{id} on {channel}");
        }
    }
    let again: usize = times.values().map(|times| times - 1).sum();
    // One in flight for each channel and kill.
    assert!(again <= 2 * KILLS, "{again} of {} told again", times.len());
    let status = outbox.status();
    let delivered: u64 = status.channels.values().map(|of| of.delivered).sum();
    assert_eq!(delivered as usize, times.len(), "told twice counts once");
}

/// As another process, whose files can't grow over 64 KiB: the disk is full.
#[test]
fn as_a_child_fills_the_disk() {
    let Some((dir, _)) = in_child() else { return };
    let log = Log::default();
    let outbox = open(&dir, &log).unwrap();
    let text = "x".repeat(8_000);
    let failed = (0..100).find_map(|at| {
        let text = text.clone();
        let large = Message::new(UnverifiedMessage { text, ..unverified(&format!("m{at}")) }).unwrap();
        outbox.enqueue(&[to(&["a"], large)]).err().map(|error| (at, error))
    });
    let (taken, error) = failed.unwrap();
    assert!(matches!(error, OutboxError::Io { doing: "write", .. }), "{error}");
    // Nothing is sent that could not be written down, and everybody is told why.
    let stopped = outbox.status().stopped.unwrap();
    assert!(stopped.contains("can't write") && stopped.contains("outbox.jsonl"), "{stopped}");
    assert!(matches!(outbox.deliver_next(&name("a")), Err(OutboxError::Stopped { why }) if why == stopped));
    assert!(matches!(outbox.enqueue(&[to(&["a"], message("m"))]), Err(OutboxError::Stopped { .. })));
    assert!(log.lock().unwrap().is_empty());
    println!("\ntaken {taken}");
}

#[test]
fn a_full_disk_stops_the_outbox_and_what_was_taken_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = again("as_a_child_fills_the_disk", dir.path(), "", Some(64));
    let output = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(child.wait().unwrap().success(), "{output}");
    let taken = output.lines().find_map(|line| line.strip_prefix("taken ")).unwrap();
    let outbox = open(dir.path(), &Log::default()).unwrap();
    assert_eq!(counts(&outbox).0, taken.parse::<usize>().unwrap());
    assert!(outbox.status().cut_bytes > 0);
}
