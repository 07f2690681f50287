//! What a web server may answer, and what comes of it: a small one that says what it is told to.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
};

use counterfoil_audit::{Source, SourceError, limits};
use counterfoil_tlog::tile::{TilePath, encode_entries};

/// Serves, for each path, these answers one after the other, the last for ever; gives its address and what was asked.
fn serve(answers: &[(&str, &[Vec<u8>])]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut answers: HashMap<String, Vec<Vec<u8>>> =
        answers.iter().map(|(path, answers)| (format!("/{path}"), answers.to_vec())).collect();
    let (tell, asked) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> =
                lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
            let path = head[0].split(' ').nth(1).unwrap().to_owned();
            let _ = tell.send(head.join("\n"));
            let answer = match answers.get_mut(&path) {
                Some(answers) if answers.len() > 1 => answers.remove(0),
                Some(answers) => answers[0].clone(),
                None => answer("404 Not Found", "", b"no"),
            };
            let _ = stream.write_all(&answer);
        }
    });
    (url, asked)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// One stored block of deflate as a gzip file (RFC 1951, RFC 1952).
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let len = u16::try_from(content.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(content);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(len).to_le_bytes());
    out
}

#[test]
fn a_compressed_bundle_is_read_as_what_it_holds() {
    let bundle = encode_entries(&["one", "two"]).unwrap();
    let compressed = answer("200 OK", "Content-Encoding: gzip\r\n", &gzip(&bundle));
    let (url, _) = serve(&[("prefix/tile/entries/000.p/2", &[compressed])]);
    let source = Source::new(&format!("{url}/prefix/"), None).unwrap();
    assert_eq!(source.tile(&TilePath::entries(0, 2).unwrap()), Ok(bundle));
}

#[test]
fn a_busy_server_is_asked_again_with_the_token_and_a_gone_one_gives_up() {
    let busy = answer("503 Service Unavailable", "Retry-After: 0\r\n", b"");
    let (url, asked) = serve(&[
        ("checkpoint", &[busy.clone(), busy.clone(), answer("200 OK", "", b"note")]),
        ("tile/0/000", &[busy]),
    ]);
    let source = Source::new(&url, Some("secret-of-readers")).unwrap();
    assert_eq!(source.checkpoint(), Ok(b"note".to_vec()));
    let heads: Vec<String> = asked.try_iter().map(|head| head.to_lowercase()).collect();
    assert_eq!(heads.len(), 3);
    assert!(heads.iter().all(|head| head.contains("authorization: bearer secret-of-readers")), "{heads:?}");
    let error = source.tile(&TilePath::tile(0, 0, 256).unwrap()).unwrap_err();
    assert!(matches!(error, SourceError::Refused { status: 503, .. }) && !error.is_damage());
    assert_eq!(asked.try_iter().count(), limits::ATTEMPTS as usize);
    let error = Source::new("http://127.0.0.1:1", None).unwrap().checkpoint().unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }));
}

#[test]
fn bodies_over_their_limit_and_redirects_are_refused() {
    let at = |len: usize| answer("200 OK", "", &vec![b'x'; len]);
    let moved = answer("302 Found", "Location: /checkpoint\r\n", b"");
    let (url, _) = serve(&[
        ("checkpoint", &[at(limits::CHECKPOINT_BYTES), at(limits::CHECKPOINT_BYTES + 1), moved]),
        ("tile/0/000", &[at(limits::TILE_BYTES), at(limits::TILE_BYTES + 1), at(limits::TILE_BYTES - 1)]),
    ]);
    let source = Source::new(&url, None).unwrap();
    assert!(source.checkpoint().is_ok());
    assert!(matches!(source.checkpoint(), Err(SourceError::Malformed { .. })));
    assert!(matches!(source.checkpoint(), Err(SourceError::Refused { status: 302, .. })));
    let tile = TilePath::tile(0, 0, 256).unwrap();
    assert!(source.tile(&tile).is_ok());
    assert!(matches!(source.tile(&tile), Err(SourceError::Malformed { .. })));
    assert!(matches!(source.tile(&tile), Err(SourceError::Malformed { .. })));
    // A partial tile that is gone is the beginning of the full one, which has to be whole for that.
    let partial = source.tile(&TilePath::tile(0, 0, 3).unwrap());
    assert!(matches!(partial, Err(SourceError::Malformed { .. })), "{partial:?}");
}

#[test]
fn what_is_no_address_is_told() {
    for place in ["ftp://example.org", "http://", "http://a@b", "http://example.org/?q", "/no/such/directory"]
    {
        assert!(matches!(Source::new(place, None), Err(SourceError::Misuse(_))), "{place}");
    }
    assert!(matches!(Source::new("http://example.org", Some("a b")), Err(SourceError::Misuse(_))));
}
