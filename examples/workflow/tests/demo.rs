//! The demo, as a newcomer starts it.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on stops")]

mod office;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use office::{counterfoil, program};

/// What is left in the directory for temporary files.
fn left(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn the_demo_shows_it_all_and_leaves_nothing() {
    counterfoil();
    let dir = tempfile::tempdir().unwrap();
    let output = program(dir.path()).env("TMPDIR", dir.path()).output().unwrap();
    let (said, failed) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{said}{failed}");
    for line in
        ["step 3     deploy: succeeded", "receipt=sha256:", "proposal-ended", "12 attempts, 12 refused"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(left(dir.path()), 0);
}

#[test]
fn ctrl_c_ends_the_demo_and_what_it_started() {
    counterfoil();
    let dir = tempfile::tempdir().unwrap();
    let mut command = program(dir.path());
    let mut demo = command.env("TMPDIR", dir.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut url = None;
    for line in lines.map_while(Result::ok) {
        url = url.or_else(|| line.split(' ').find(|word| word.starts_with("http://")).map(str::to_owned));
        if line.contains("Approved") {
            let id = demo.id().to_string();
            assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        }
    }
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(left(dir.path()), 0);
    let url = url.unwrap();
    let address = url.trim_start_matches("http://").trim_end_matches(',');
    assert!(std::net::TcpStream::connect(address).is_err(), "the server is gone");
}
