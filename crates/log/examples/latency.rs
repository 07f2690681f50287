//! How long an add takes on an idle log, next to one fdatasync of an append to the same file system.
//!
//! `cargo run --release -p counterfoil-log --example latency [directory]`

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use counterfoil_log::{CheckpointKeys, Config, Log, Raw};
use counterfoil_tlog::SeedSigner;

const ROUNDS: u32 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args().nth(1) {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    let mut file = File::create(dir.path().join("file"))?;
    let sync = median(|_| {
        file.write_all(&[7; 1_300])?;
        Ok(file.sync_data()?)
    })?;

    let signer = SeedSigner::ed25519("example.com/log", &[7; 32])?;
    let keys = CheckpointKeys::new("example.com/log", vec![Box::new(signer)], vec![]);
    let config = Config::embedded(&dir.path().join("log"), &dir.path().join("lock"), keys, Box::new(|| 0))?;
    let log = Log::create(config, Raw, b"first".to_vec())?;
    let handle = log.handle();
    let add = median(|round| {
        let mut entry = vec![7; 1_024];
        entry[..4].copy_from_slice(&round.to_be_bytes());
        handle.add(vec![entry])?;
        Ok(())
    })?;
    println!(
        "append + fdatasync: {sync:?}; add: {add:?}; ratio {:.2}",
        add.as_secs_f64() / sync.as_secs_f64()
    );
    Ok(())
}

fn median(mut f: impl FnMut(u32) -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let start = Instant::now();
        f(round)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}
