//! People are told what waits for them: each once, with a link of their own, whoever stopped the server meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use common::*;
use counterfoil_notify::{Secret, UnixMillis, signature};
use counterfoil_receipt::{Principal, body::Ruling};
use counterfoil_server::{Approvals, ChannelConfig, Notices};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A receiver of webhooks: gives the path and the message of each request whose signature holds.
fn receiver() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_owned());
            }
            let header = |name: &str| {
                let found = lines.iter().find_map(|line| {
                    let (key, value) = line.split_once(": ")?;
                    key.eq_ignore_ascii_case(name).then(|| value.to_owned())
                });
                found.unwrap_or_default()
            };
            let mut body = vec![0; header("content-length").parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let request = signature::SignedRequest {
                timestamp: &header("counterfoil-timestamp"),
                delivery: &header("counterfoil-delivery"),
                signature: &header("counterfoil-signature"),
                body: &body,
            };
            let secret = Secret::new(SECRET.as_bytes()).unwrap();
            signature::verify(&[secret], &request, UnixMillis(now()), Duration::from_secs(300)).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            let path = lines[0].split(' ').nth(1).unwrap().to_owned();
            let message: Value = serde_json::from_slice(&body).unwrap();
            if sender.send((path, message["message"].clone())).is_err() {
                return;
            }
        }
    });
    (url, received)
}

/// A log whose server tells ana and bo, and a channel for all, of what waits.
fn telling() -> (World, Receiver<(String, Value)>) {
    let (hook, received) = receiver();
    let (mut world, key) = World::with_policy_key();
    let dir = world.dir.path().to_owned();
    std::fs::write(dir.join("hook.secret"), SECRET).unwrap();
    let channel = |name: &str| {
        let config = ChannelConfig::Webhook {
            url: format!("{hook}/{name}"),
            secret_files: vec![dir.join("hook.secret")],
        };
        (name.parse().unwrap(), config)
    };
    let person = |name: &str| (Principal::new(name).unwrap(), vec![name.parse().unwrap()]);
    let notices = Notices {
        outbox_dir: dir.join("outbox"),
        tell: vec!["all".parse().unwrap()],
        people: BTreeMap::from([person("ana"), person("bo"), person("scout")]),
        channels: BTreeMap::from(["all", "ana", "bo", "scout"].map(channel)),
    };
    world.files_mut().approvals = Some(Approvals {
        url: "https://approve.example/at".to_owned(),
        link_time: Duration::from_secs(3_600),
        notices: Some(Box::new(notices)),
    });
    let rule = json!({"effect": "require", "match": {"always": true}, "name": "two", "requirements":
            [{"count": 1, "principals": ["ana"], "surfaces": ["link", "terminal"]}, {"count": 1, "principals": ["bo"]}],
        "segregation": true, "uses": 2, "window": 3_600_000});
    world.start_under(&key, &json!([rule]));
    (world, received)
}

/// So many messages, by path and kind.
fn next(received: &Receiver<(String, Value)>, count: usize) -> BTreeMap<(String, String), Value> {
    let one = |_| {
        let (path, message) = received.recv_timeout(Duration::from_secs(20)).unwrap();
        ((path, message["kind"].as_str().unwrap().to_owned()), message)
    };
    (0..count).map(one).collect()
}

#[track_caller]
fn nothing_more(received: &Receiver<(String, Value)>) {
    if let Ok(message) = received.recv_timeout(Duration::from_millis(700)) {
        panic!("{message:?}");
    }
}

#[test]
fn who_may_decide_is_told_once_and_the_link_decides() {
    let (mut world, received) = telling();
    let (_, proposal) = world.proposed("one");
    let told = next(&received, 3);
    let url =
        |path: &str| told[&(path.to_owned(), "requested".to_owned())]["url"].as_str().unwrap().to_owned();
    let review = format!("https://approve.example/at/review/{}", proposal.id());
    // Bo's requirement names no link; the channel of all can't decide.
    assert_eq!((url("/bo"), url("/all")), (review.clone(), review));
    let link = url("/ana");
    assert!(link.starts_with("https://approve.example/at/link/"), "{link}");

    world.stop().unwrap();
    world.start();
    nothing_more(&received);

    let path = link.strip_prefix("https://approve.example/at").unwrap();
    let page = world.get(path).text().to_owned();
    let value = |name: &str| {
        let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split_once('"').unwrap().0.replace(':', "%3A")
    };
    let form = format!(
        "shown={}&policy={}&verdict=approve&reason=&uses=1&minutes=5",
        value("shown"),
        value("policy")
    );
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(world.request("POST", path, &headers, form.as_bytes()).status, 303);
    // It is open still, and everybody was told.
    nothing_more(&received);
    let by_bo = world.decision(&world.cast.bo, &proposal, Ruling::Approve, now());
    world.add(&by_bo);
    let told = next(&received, 1);
    assert!(told.contains_key(&("/all".to_owned(), "decided".to_owned())), "{told:?}");
    let title = told.values().next().unwrap()["title"].as_str().unwrap();
    assert!(title.starts_with("approved: db.vacuum"), "{title}");
}

#[test]
fn what_changed_while_nobody_told_is_told_at_start() {
    let (mut world, received) = telling();
    let (_, proposal) = world.proposed("one");
    next(&received, 3);
    world.stop().unwrap();
    let approvals = world.files_mut().approvals.take();
    world.start();
    world.add(&world.decision(&world.cast.bo, &proposal, Ruling::Reject, now()));
    let (_, other) = world.proposed("two");
    world.stop().unwrap();
    world.files_mut().approvals = approvals;
    world.start();
    let told = next(&received, 4);
    let kinds: Vec<(&str, &str)> = told.keys().map(|(path, kind)| (path.as_str(), kind.as_str())).collect();
    assert_eq!(
        kinds,
        [("/all", "decided"), ("/all", "requested"), ("/ana", "requested"), ("/bo", "requested")]
    );
    let id = other.id().to_string();
    let about = &told[&("/all".to_owned(), "requested".to_owned())]["id"];
    assert!(about.as_str().unwrap().starts_with(id.trim_start_matches("sha256:")), "{about}");
    nothing_more(&received);
}

#[test]
fn a_channel_that_can_not_be_made_stops_the_start() {
    let (mut world, _received) = telling();
    world.stop().unwrap();
    std::fs::write(world.dir.path().join("hook.secret"), "short").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = runtime.block_on(counterfoil_server::Server::bind(world.config.clone())).err().unwrap();
    assert!(error.to_string().contains("hook.secret: a secret has 32–64 bytes"), "{error}");
}
