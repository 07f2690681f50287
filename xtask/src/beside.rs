//! Raw mode beside Tessera's POSIX storage: the same generator on the same machine, in turn.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    interop,
    run::{Step, root, run},
};

/// Pairs of runs; their median is the figure.
const ROUNDS: usize = 5;
/// Adds under way at a time where the rate is measured: as many as Tessera puts in a batch.
const WRITERS: &str = "256";
/// How long each run adds.
const ADDING: &str = "10s";
/// Adds a second where the time to a proof is measured.
const PACE: &str = "100";

/// One log and how to serve it anew.
struct Contender {
    name: &'static str,
    serve: fn(&Path) -> Result<Serving, String>,
}

/// A server on a log that was empty when it started.
struct Serving {
    process: Child,
    url: String,
    key: String,
}

/// What the generator says of a run.
struct Load {
    rate: f64,
    p50: f64,
    p99: f64,
}

const CONTENDERS: [Contender; 2] = [
    Contender { name: "counterfoil serve --mode raw", serve: ours },
    Contender { name: "Tessera POSIX", serve: tesseras },
];

/// Prints the three figures.
pub fn tessera() -> Step {
    interop::build(true)?;
    run("cargo", &["build", "--quiet", "--release", "--locked", "-p", "counterfoil"])?;
    let adding = rounds(&["-writers", WRITERS, "-time", ADDING], false)?;
    let rates: Vec<[f64; 2]> = adding.iter().map(|pair| [pair[0].rate, pair[1].rate]).collect();
    say("durable adds a second, one POST each / Tessera POSIX's", &rates, 5.0, true, "adds/s", WRITERS);
    let proving = rounds(&["-rate", PACE, "-time", ADDING], true)?;
    let p50: Vec<[f64; 2]> = proving.iter().map(|pair| [pair[0].p50, pair[1].p50]).collect();
    say(
        "p50 from add to verified inclusion proof at 100 adds/s / Tessera POSIX's",
        &p50,
        0.05,
        false,
        "ms",
        PACE,
    );
    let p99: Vec<[f64; 2]> = proving.iter().map(|pair| [pair[0].p99, pair[1].p99]).collect();
    say(
        "p99 from add to verified inclusion proof at 100 adds/s / Tessera POSIX's",
        &p99,
        0.1,
        false,
        "ms",
        PACE,
    );
    Ok(())
}

/// Runs of both, in turn.
fn rounds(load: &[&str], proving: bool) -> Result<Vec<[Load; 2]>, String> {
    (0..ROUNDS)
        .map(|_| Ok([once(&CONTENDERS[0], load, proving)?, once(&CONTENDERS[1], load, proving)?]))
        .collect()
}

fn once(contender: &Contender, load: &[&str], proving: bool) -> Result<Load, String> {
    let directory = root().join("target/interop/beside");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).map_err(|why| format!("{}: {why}", directory.display()))?;
    let serving = (contender.serve)(&directory)?;
    let proof = if proving { vec!["-prove", serving.key.as_str()] } else { Vec::new() };
    let output = Command::new(program("load"))
        .args([&["-url", serving.url.as_str()], load, &proof].concat())
        .output()
        .map_err(|why| format!("load: {why}"))?;
    drop(serving);
    let _ = fs::remove_dir_all(&directory);
    let said: Value = serde_json::from_slice(&output.stdout).map_err(|why| {
        format!("load on {}: {why}: {}", contender.name, String::from_utf8_lossy(&output.stderr))
    })?;
    let number = |name: &str| said[name].as_f64().unwrap_or(f64::NAN);
    if number("failed") > 0.0 {
        return Err(format!("{}: {said}", contender.name));
    }
    Ok(Load { rate: number("adds") / number("seconds"), p50: number("p50_ms"), p99: number("p99_ms") })
}

/// Prints the median of the ratios, pair by pair, and the absolute medians beside it.
fn say(figure: &str, pairs: &[[f64; 2]], bar: f64, at_least: bool, unit: &str, load: &str) {
    let value = median(pairs.iter().map(|pair| pair[0] / pair[1]));
    let holds = if at_least { value >= bar } else { value <= bar };
    let [ours, tesseras] = [0, 1].map(|side| median(pairs.iter().map(|pair| pair[side])));
    let how =
        format!("{ours:.1} {unit} / {tesseras:.1} {unit}, median of {ROUNDS} pairs of {ADDING}, load {load}");
    let value = (value * 1_000.0).round() / 1_000.0;
    println!(
        "{}",
        serde_json::json!({"figure": figure, "value": value, "bar": bar, "holds": holds, "how": how})
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ours(directory: &Path) -> Result<Serving, String> {
    let binary = target_directory().join("release/counterfoil");
    let log = directory.join("log");
    let log = log.to_string_lossy();
    let made = Command::new(&binary)
        .args(["init", &log, "--mode", "raw", "--origin", "example.org/raw"])
        .stdout(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("{} init failed", binary.display()));
    }
    let key = fs::read_to_string(directory.join("log/log.vkey")).map_err(|why| format!("log.vkey: {why}"))?;
    let (process, line) =
        start(Command::new(&binary).args(["serve", "-C", &log, "--listen", "127.0.0.1:0"]))?;
    let url = line.strip_prefix("listening on ").ok_or_else(|| format!("serve says {line:?}"))?.to_owned();
    Ok(Serving { process, url, key: key.trim().to_owned() })
}

fn tesseras(directory: &Path) -> Result<Serving, String> {
    let (process, line) = start(Command::new(program("posix")).arg("-dir").arg(directory))?;
    let (url, key) = line.split_once(' ').ok_or_else(|| format!("posix says {line:?}"))?;
    Ok(Serving { process, url: url.to_owned(), key: key.to_owned() })
}

/// Starts a server and gives the first line that it prints.
fn start(command: &mut Command) -> Result<(Child, String), String> {
    let spawned = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut process = spawned.map_err(|why| format!("{command:?}: {why}"))?;
    let mut line = String::new();
    if let Some(out) = process.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|why| format!("its first line: {why}"))?;
    }
    Ok((process, line.trim().to_owned()))
}

fn program(name: &str) -> PathBuf {
    root().join(interop::PROGRAMS).join(name)
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
