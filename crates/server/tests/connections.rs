//! As many connections as the limit allows, on real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use common::*;
use counterfoil_http::limits::{HEAD_BYTES, HEADERS};
use counterfoil_server::limits::CONNECTIONS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Both ends of every connection are in this process.
const FILES: u64 = 2 * CONNECTIONS.connections as u64 + 256;

/// Asks once, and leaves the connection open.
fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
}

/// The first line of the answer, if one comes in this time.
fn status(stream: &mut TcpStream, patience: Duration) -> Option<String> {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    Some(String::from_utf8(answer.to_vec()).unwrap())
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).unwrap()
}

#[test]
fn one_connection_over_the_limit_takes_the_place_of_the_oldest_that_is_idle() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit { current: limit.maximum.map_or(Some(FILES), |most| Some(most.min(FILES))), ..limit },
    )
    .unwrap();
    let world = World::started();
    // Shorter than the time after which an idle connection ends by itself.
    let (address, patience) = (world.address(), CONNECTIONS.head / 2);
    let mut open: Vec<TcpStream> = (0..CONNECTIONS.connections).map(|_| connect(address)).collect();
    for stream in &mut open {
        ask(stream, "/healthz");
        assert_eq!(status(stream, patience).as_deref(), Some("HTTP/1.1 200"));
    }
    let mut over = connect(address);
    ask(&mut over, "/healthz");
    assert_eq!(status(&mut over, patience).as_deref(), Some("HTTP/1.1 200"));
    open[0].read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let world = World::started();
    let with = |headers: &str| {
        let mut stream = connect(world.address());
        let head = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        status(&mut stream, Duration::from_secs(10)).unwrap()
    };
    let headers = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    assert_eq!(with(&headers(HEADERS - 1)), "HTTP/1.1 200");
    assert_eq!(with(&headers(HEADERS)), "HTTP/1.1 431");
    let own = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: \r\n\r\n".len();
    let filled = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes - own));
    assert_eq!(with(&filled(HEAD_BYTES)), "HTTP/1.1 200");
    assert_eq!(with(&filled(HEAD_BYTES + 1)), "HTTP/1.1 431");
}
