//! Other people's clients, unmodified, on logs that the real binary serves.
//!
//! `cargo xtask test` builds them and says where they are in `COUNTERFOIL_INTEROP`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use common::{Desk, Log};
use counterfoil_testkit::Effort;
use counterfoil_verify::Trust;
use load::Writer;

/// Seconds that one of these programs may take. Tessera's fsck does not end where a tile is damaged.
const PATIENCE: &str = "120";

/// Where the programs are; `None`, said loudly, where nobody built them.
fn programs() -> Option<PathBuf> {
    let found = env::var_os("COUNTERFOIL_INTEROP").map(PathBuf::from).filter(|path| path.is_dir());
    if found.is_none() {
        assert!(
            env::var("CI").as_deref() != Ok("true"),
            "COUNTERFOIL_INTEROP names no directory of programs"
        );
        eprintln!("NOT TESTED with other people's clients: build them by `cargo xtask interop`");
    }
    found
}

/// Runs one of the programs for a bounded time.
fn run(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["--kill-after", "5", PATIENCE]).arg(program).args(arguments);
    command.output().expect("timeout and the program are there")
}

fn shown(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{}\n{out}\n{err}", output.status)
}

/// Whether Tessera's fsck derives the whole log anew. Its exit status is 0 whatever it finds: only what it says counts.
fn fsck(programs: &Path, desk: &Desk, url: &str, vkey: &str) -> Result<u64, String> {
    desk.write("vkey", vkey);
    let key = desk.path("vkey");
    let arguments = ["--ui=false", "--N=2", "--storage_url", url, "--public_key", key.to_str().unwrap()];
    let said = shown(&run(&programs.join("fsck"), &arguments));
    let size = said.split("Successfully fsck'd log with size ").nth(1).and_then(|rest| {
        rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|size| size.parse().ok())
    });
    size.ok_or(said)
}

/// That torchwood reads every entry, and with formats/proof verifies proofs of many of them.
#[track_caller]
fn read(programs: &Path, url: &str, vkey: &str, entries: u64) {
    let output = run(&programs.join("read"), &[url, vkey]);
    let said = shown(&output);
    assert!(output.status.success() && said.contains(&format!("entries: {entries}\n")), "{said}");
}

#[test]
fn tessera_and_torchwood_read_a_log_of_records() {
    let Some(programs) = programs() else { return };
    let log = Log::init("work", &["--origin", "example.org/log"]);
    let trust = Trust::parse(&log.desk.read("work/trust.toml")).unwrap();
    let vkey = trust.log_keys()[0].to_string();
    // One by one, each followed by a snapshot, and many at once: more than one full tile.
    let (mut writer, trigger) = Writer::start(&log.desk, trust.genesis(), "read by others");
    let client = load::reader(&log.desk, &log.url);
    client.submit(&trigger).unwrap();
    for _ in 0..40 {
        client.submit(&writer.observe(None)).unwrap();
    }
    let records: Vec<u8> = (0..300).flat_map(|_| [writer.observe(None).bytes(), b"\n"].concat()).collect();
    log.desk.write("records", records);
    log.good(&["submit", "records"]);

    let size = fsck(&programs, &log.desk, &log.url, &vkey).unwrap_or_else(|said| panic!("{said}"));
    assert!(size > 380, "{size}");
    read(&programs, &log.url, &vkey, size);
}

#[test]
fn tessera_writes_to_a_raw_log_and_reads_it() {
    let Some(programs) = programs() else { return };
    let desk = Desk::new();
    desk.good(&["init", "raw", "--mode", "raw", "--origin", "example.org/raw"]);
    let (_serving, url) = desk.serve_in("raw");
    let vkey = desk.read("raw/log.vkey").trim().to_owned();
    let integration =
        ["-run_integration_test", "-log_url", &url, "-write_log_url", &url, "-log_public_key", &vkey];
    let output = run(&programs.join("integration.test"), &integration);
    let said = shown(&output);
    assert!(output.status.success() && said.contains("PASS"), "{said}");

    // A tenth of what the hammer writes is there already. It says what went wrong, and ends well.
    desk.write("vkey", &vkey);
    let goal = Effort::from_env().of(3_000, 50_000).to_string();
    let hammer = [
        &["--log_public_key", &vkey, "--log_url", &url, "--leaf_write_goal", &goal, "--max_runtime", "100s"]
            [..],
        &["--show_ui=false", "--dup_chance", "0.1", "--max_read_ops", "500", "--num_readers_random", "8"],
        &["--num_readers_full", "2", "--num_writers", "64", "--max_write_ops", "1000"],
    ];
    let output = run(&programs.join("hammer"), &hammer.concat());
    let said = shown(&output);
    assert!(output.status.success() && !said.contains("x) "), "{said}");

    let size = fsck(&programs, &desk, &url, &vkey).unwrap_or_else(|said| panic!("{said}"));
    read(&programs, &url, &vkey, size);
    println!("count entries that the hammer left and fsck read {size}");
}
