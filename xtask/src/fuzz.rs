//! `cargo xtask fuzz [SECONDS]`: every fuzz target, for a share of the time, as many beside each other as there are cores.
//!
//! The targets are ordinary binaries with libFuzzer in them; coverage comes from flags that stable rustc has, so no other
//! toolchain is needed.

use std::{env, fs, sync::Mutex, thread};

use crate::run::{Step, root, run};

/// What makes rustc count coverage.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// Runs every target for its share of these seconds, which one core would take.
pub fn fuzz(seconds: usize) -> Step {
    let host = host()?;
    let flags = format!("RUSTFLAGS={FLAGS}");
    let manifest = root().join("fuzz/Cargo.toml");
    let manifest = manifest.to_string_lossy();
    run(
        "env",
        &[&flags, "cargo", "build", "--release", "--locked", "--target", &host, "--manifest-path", &manifest],
    )?;
    let targets = targets()?;
    let share = (seconds / targets.len().max(1)).max(1);
    let out = env::var("CARGO_TARGET_DIR")
        .unwrap_or_else(|_| root().join("fuzz/target").to_string_lossy().into_owned());
    let one = |target: &str| {
        let corpus = root().join("fuzz/corpus").join(target);
        let seeds = root().join("fuzz/seeds").join(target);
        fs::create_dir_all(&corpus).map_err(|error| error.to_string())?;
        let mut arguments = vec![
            format!("-max_total_time={share}"),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=2048".to_owned(),
            "-print_final_stats=0".to_owned(),
            "-verbosity=0".to_owned(),
            format!("-artifact_prefix={}/", root().join("fuzz").to_string_lossy()),
            corpus.to_string_lossy().into_owned(),
        ];
        if seeds.is_dir() {
            arguments.push(seeds.to_string_lossy().into_owned());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        run(&format!("{out}/{host}/release/{target}"), &arguments)
    };
    let left = Mutex::new(targets.iter());
    let next = || left.lock().ok().and_then(|mut left| left.next());
    let work = || std::iter::from_fn(next).try_for_each(|target| one(target));
    thread::scope(|threads| {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let at_once: Vec<_> = (0..cores).map(|_| threads.spawn(work)).collect();
        let ended =
            at_once.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())));
        ended.collect::<Step>()
    })?;
    println!("fuzzed {} targets for {share} s each: no crash", targets.len());
    Ok(())
}

/// The targets are the files of `fuzz_targets`.
fn targets() -> Result<Vec<String>, String> {
    let files = fs::read_dir(root().join("fuzz/fuzz_targets")).map_err(|error| error.to_string())?;
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    if names.is_empty() { Err("there are no fuzz targets".to_owned()) } else { Ok(names) }
}

fn host() -> Result<String, String> {
    let output =
        std::process::Command::new("rustc").arg("-vV").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}
