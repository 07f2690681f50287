//! Waiting for a run to grow: long polls and event streams.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    io::{BufRead as _, BufReader},
    net::TcpStream,
    time::{Duration, Instant},
};

use common::*;
use counterfoil_receipt::RunId;

#[test]
fn a_long_poll_answers_when_the_run_has_grown() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let poll = |after: u64, wait: u64| world.get(&format!("/v1/runs/{run}?after={after}&wait={wait}"));
    let count = |answer: &Answer| answer.json()["records"].as_array().unwrap().len();
    // Has more already, or need not wait.
    let started = Instant::now();
    assert_eq!((count(&poll(0, 10_000)), count(&poll(1, 0))), (1, 1));
    assert!(started.elapsed() < Duration::from_secs(5));
    // Has no more in time.
    let started = Instant::now();
    assert_eq!(count(&poll(1, 300)), 1);
    assert!(started.elapsed() >= Duration::from_millis(300));
    // Grows, after another run has.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (poll(1, 20_000), Instant::now()));
        std::thread::sleep(Duration::from_millis(100));
        world.add(&world.trigger("another"));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        world.add(&world.note(run, trigger.id(), "woken by this"));
        let grown = Instant::now();
        let (answer, answered) = waiting.join().unwrap();
        assert_eq!(count(&answer), 2);
        assert!(answered.duration_since(grown) < Duration::from_secs(2));
    });
}

/// Reads events until there are as many as asked for: id and data.
fn events(stream: TcpStream, count: usize) -> Vec<(u64, String)> {
    let mut events = Vec::new();
    let mut id = None;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.parse().ok();
        } else if let Some(data) = line.strip_prefix("data: ") {
            events.push((id.take().unwrap_or(u64::MAX), data.to_owned()));
            if events.len() == count {
                break;
            }
        }
    }
    events
}

#[test]
fn events_come_in_order_and_resume_after_the_last() {
    let world = World::peopled();
    let trigger = world.trigger("one");
    let run = RunId::started_by(world.add(&trigger));
    let path = format!("/v1/runs/{run}/events");
    let (first, seen) = std::thread::scope(|scope| {
        let stream = begin(world.address(), "GET", &path, &[], b"");
        let reading = scope.spawn(|| events(stream, 3));
        let first = world.note(run, trigger.id(), "first");
        world.add(&first);
        world.add(&world.trigger("another"));
        world.add(&world.note(run, first.id(), "second"));
        (first, reading.join().unwrap())
    });
    assert!(seen.is_sorted());
    let data: serde_json::Value = serde_json::from_str(&seen[1].1).unwrap();
    assert_eq!(
        data,
        serde_json::json!({"id": first.id().to_string(), "index": seen[1].0, "type": "observation"})
    );
    let last = seen[0].0.to_string();
    let resumed = events(begin(world.address(), "GET", &path, &[("last-event-id", &last)], b""), 2);
    assert_eq!(resumed, seen[1..]);
    let answer = world.request("GET", &path, &[("last-event-id", "x")], b"");
    answer.is_problem(400, "query-invalid");
}
