//! Measures a log in a temporary directory: adds per second with 1,000 outstanding, and the time of one alone.
#![allow(clippy::unwrap_used, missing_docs, reason = "a measure")]
use std::sync::mpsc;
use std::time::{Duration, Instant};

use counterfoil_log::{CheckpointKeys, Config, Log, Raw};
use counterfoil_tlog::SeedSigner;

fn main() {
    let dir = tempfile::tempdir_in(std::env::args().nth(1).unwrap_or("/tmp".into())).unwrap();
    let signer = SeedSigner::ed25519("example.com/log", &[7; 32]).unwrap();
    let keys = CheckpointKeys::new("example.com/log", vec![Box::new(signer)], vec![]);
    let config =
        Config::embedded(&dir.path().join("log"), &dir.path().join("lock"), keys, Box::new(|| 0)).unwrap();
    let log = Log::create(config, Raw, b"first".to_vec()).unwrap();
    let handle = log.handle();
    let mut number = 0_u64;
    let mut entry = || {
        number += 1;
        let mut entry = vec![0x5a; 1_000];
        entry[..8].copy_from_slice(&number.to_be_bytes());
        entry
    };
    let mut alone: Vec<Duration> = (0..1_000)
        .map(|_| {
            let start = Instant::now();
            handle.add(vec![entry()]).unwrap();
            start.elapsed()
        })
        .collect();
    alone.sort();
    let (sender, answers) = mpsc::channel();
    let start = Instant::now();
    let (mut sent, mut done) = (0, 0_u64);
    while start.elapsed() < Duration::from_secs(8) {
        while sent - done < 1_000 {
            let sender = sender.clone();
            handle.submit(vec![entry()], move |answer| sender.send(answer.is_ok()).unwrap_or_default());
            sent += 1;
        }
        assert!(answers.recv().unwrap());
        done += 1;
    }
    let waiting = handle.reader().latest().head.size.0 - handle.reader().indexed().head.size.0;
    let rate = done as f64 / start.elapsed().as_secs_f64();
    let (p50, p99) = (alone[500], alone[990]);
    println!(
        "{rate:.0} adds/s at 1,000 outstanding, {waiting} not indexed at the end; one alone p50 {p50:?} p99 {p99:?}"
    );
}
