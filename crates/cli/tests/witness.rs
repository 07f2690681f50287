//! `counterfoil witness`: made, run, stopped, and not started without its state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Stdio},
    time::Duration,
};

use common::Desk;
use rustix::process::{Pid, Signal, kill_process};

const LOG: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

fn run(desk: &Desk) -> (Child, String) {
    let mut command = desk.command(&["witness", "run", "--config", "w/witness.toml"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address =
        line.trim().strip_prefix("listening on http://").expect("it says where it listens").to_owned();
    (child, address)
}

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_witness_is_made_runs_and_stops() {
    let desk = Desk::new();
    let said =
        desk.good(&["witness", "init", "w", "--name", "w.example", "--listen", "127.0.0.1:0", "--log", LOG]);
    let listed: Vec<&str> = said.lines().filter(|line| line.contains("w.example+")).collect();
    assert_eq!(listed.len(), 2, "a policy line for each key: {said}");
    #[cfg(unix)]
    for (name, mode) in [("w/keys/ed25519.key", 0o600), ("w/keys/ml-dsa-44.key", 0o600), ("w/state", 0o700)] {
        use std::os::unix::fs::PermissionsExt as _;
        let found = std::fs::metadata(desk.path(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    desk.run(&["witness", "init", "w", "--name", "w.example"]).failed(2, "init-exists");
    desk.run(&["witness", "init", "v", "--name", "no name"]).failed(2, "key-name");

    let (mut child, address) = run(&desk);
    let list = ask(&address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(list.starts_with("HTTP/1.1 200") && list.contains("example.com/foo: nothing cosigned"), "{list}");
    let refused = ask(
        &address,
        "POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    desk.run(&["witness", "run", "--config", "w/witness.toml"]).failed(2, "witness-state-unusable");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_it_can_not_start_with_is_said() {
    let desk = Desk::new();
    desk.good(&["witness", "init", "w", "--name", "w.example", "--listen", "127.0.0.1:0", "--log", LOG]);
    let good = desk.read("w/witness.toml");
    let start = |options: &[&str]| {
        desk.run(&[&["witness", "run", "--config", "w/witness.toml"][..], options].concat())
    };
    start(&["--new"]).failed(2, "witness-state-exists");
    desk.write("w/witness.toml", format!("{good}\n[[logs]]\nvkeys = [\"{LOG}\"]\n"));
    start(&[]).failed(2, "witness-keys");
    for wrong in ["listen = \"x\"\nstate_dir = \"s\"\nkeys = []\n", "listen = 1", "nonsense = 1", "prefix = "]
    {
        desk.write("w/witness.toml", wrong);
        start(&[]).failed(2, "config-invalid");
    }
    desk.run(&["witness", "run", "--config", "nowhere.toml"]).failed(2, "config-unreadable");
    desk.write("w/witness.toml", &good);
    std::fs::remove_dir_all(desk.path("w/state")).unwrap();
    let refused = start(&[]);
    refused.failed(2, "witness-state-missing");
    assert!(refused.stderr.contains("could cosign a fork"), "{}", refused.stderr);
}
