//! Channels over HTTP, against a real server on loopback.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::io::Write as _;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use counterfoil_notify::signature::verify_slack;
use counterfoil_notify::*;
use far_side::*;
use serde_json::{Value, json};

fn secret() -> Secret {
    Secret::new(&[7; 32]).unwrap()
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(url, vec![secret()]).unwrap()
}

/// Serves 200, and gives what was asked.
fn listening() -> (String, Receiver<Asked>) {
    let (send, received) = channel();
    let address = serve(move |asked| {
        send.send(asked.clone()).unwrap();
        (200, Vec::new(), "ok".to_owned())
    });
    (address, received)
}

#[test]
fn a_status_says_whether_to_try_again() {
    let never = [400, 405, 406, 409, 410, 411, 413, 414, 415, 422, 431];
    for status in [
        200, 201, 202, 204, 301, 302, 307, 400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 425, 429, 500,
        502, 503,
    ] {
        let address = serve(move |_| (status, Vec::new(), String::new()));
        let delivered = webhook(&address).deliver(&delivery(&message("m"), 1));
        match delivered {
            Ok(()) => assert!(status < 300, "{status}"),
            Err(Failure::Never { why }) => {
                assert!(
                    never.contains(&status) && why == format!("127.0.0.1: HTTP {status}"),
                    "{status}: {why}"
                );
            }
            Err(Failure::Retry { why, after: None }) => {
                assert!(status >= 300 && !never.contains(&status), "{status}");
                assert_eq!(why, format!("127.0.0.1: HTTP {status}"));
            }
            Err(Failure::Retry { .. }) => panic!("nobody said when"),
        }
    }
}

#[test]
fn what_the_far_side_says_is_kept_short_and_printable() {
    let says = format!("no\r\n\u{1b}[31m{}", "x".repeat(1 << 20));
    let address = serve(move |_| (503, vec![("Retry-After", "7".to_owned())], says.clone()));
    let failure = webhook(&address).deliver(&delivery(&message("m"), 1)).unwrap_err();
    let Failure::Retry { why, after } = failure else { panic!("{failure}") };
    assert_eq!(after, Some(Duration::from_secs(7)));
    assert!(why.starts_with(r"127.0.0.1: HTTP 503 no\u{d}\u{a}\u{1b}[31mxxx"), "{why}");
    assert_eq!(why.len(), limits::WHY_BYTES);
}

/// Who answers without an end gets rid of what the buffers between us hold, and no more.
#[test]
fn an_endless_answer_is_not_read() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let far_side = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        let mut written = 0_usize;
        while written < 1 << 30 && stream.write_all(chunk.as_bytes()).is_ok() {
            written += chunk.len();
        }
        written
    });
    let failure = webhook(&url).deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(&failure, Failure::Retry { why, .. } if why.contains("HTTP 500 xxx")), "{failure}");
    let written = far_side.join().unwrap();
    assert!(written < 64 << 20, "{written} bytes were taken");
}

#[test]
fn a_redirect_is_not_followed() {
    let (elsewhere, received) = listening();
    let address = serve(move |_| (307, vec![("Location", elsewhere.clone())], String::new()));
    let failure = webhook(&address).deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert_eq!(failure.to_string(), "127.0.0.1: HTTP 307");
    assert!(received.try_recv().is_err());
}

#[test]
fn nobody_and_who_does_not_answer_are_tried_again() {
    let refused = webhook(&nobody()).deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(&refused, Failure::Retry { .. }), "{refused}");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let mut webhook = webhook(&url).with_timeout(Duration::from_millis(100));
    let late = webhook.deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(&late, Failure::Retry { why, .. } if why.contains("timeout")), "{late}");
}

#[test]
fn tls_is_verified() {
    // Something that answers, and speaks no TLS.
    let (address, received) = listening();
    let url = address.replace("http://", "https://");
    let failure = webhook(&url).deliver(&delivery(&message("m"), 1)).unwrap_err();
    assert!(matches!(failure, Failure::Retry { .. }));
    assert!(received.try_recv().is_err());
}

#[test]
fn a_url_may_have_a_query_and_is_shown_to_nobody() {
    let (address, received) = listening();
    let mut webhook = webhook(&format!("{address}/a/b?token=hush&x=%20"));
    webhook.deliver(&delivery(&message("m"), 1)).unwrap();
    assert_eq!(received.recv().unwrap().path, "/a/b?token=hush&x=%20");
    assert!(!format!("{webhook:?}").contains("hush"));
    let dead = Slack::new(&format!("{}/hush", nobody()), None).unwrap().deliver(&delivery(&message("m"), 1));
    assert!(!dead.unwrap_err().to_string().contains("hush"));
    for bad in [
        "",
        "a",
        "ftp://a/hush",
        "http://",
        "http://u:hush@a",
        "http://a/hush#b",
        "http://a/\r\nX: hush",
        "http://a/?\r\nhush",
        "http://a/?ä",
    ] {
        let error = Webhook::new(bad, vec![secret()]).unwrap_err();
        assert!(matches!(error, WebhookError::Url(_)) && !error.to_string().contains("hush"), "{bad:?}");
        assert!(Slack::new(bad, None).is_err(), "{bad:?}");
    }
}

#[test]
fn a_webhook_has_one_to_four_secrets() {
    for count in 0..=5 {
        let made = Webhook::new("http://a", vec![secret(); count]);
        assert_eq!(made.is_ok(), (1..=4).contains(&count), "{count}");
    }
}

#[test]
fn every_try_has_the_same_body_and_another_timestamp() {
    let (address, received) = listening();
    let (mut webhook, message) = (webhook(&address), message("m"));
    webhook.deliver(&delivery(&message, 1_000)).unwrap();
    webhook.deliver(&Delivery { failures: 3, ..delivery(&message, 61_000) }).unwrap();
    let (first, second) = (received.recv().unwrap(), received.recv().unwrap());
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("counterfoil-delivery"), second.header("counterfoil-delivery"));
    assert_eq!((first.header("counterfoil-timestamp"), second.header("counterfoil-timestamp")), ("1", "61"));
    assert_ne!(first.header("counterfoil-signature"), second.header("counterfoil-signature"));
}

fn slack_says(message: &Message) -> Value {
    let (address, received) = listening();
    Slack::new(&address, None).unwrap().deliver(&delivery(message, 1)).unwrap();
    let asked = received.recv().unwrap();
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("x-slack-signature"), "");
    serde_json::from_slice(&asked.body).unwrap()
}

#[test]
fn slack_gets_text_and_blocks() {
    let section =
        |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}});
    assert_eq!(
        slack_says(&message("m")),
        json!({
            "text": "requested: Deploy to production?",
            "blocks": [
                section("*Deploy to production?*"),
                section("One line.\nAnother."),
                {"type": "section", "fields": [{"type": "mrkdwn", "text": "*tool*\ndeploy", "verbatim": true}]},
                section("<https://approvals.example/p/7>"),
            ]
        })
    );
}

#[test]
fn nothing_in_a_message_is_a_mention_or_a_link_in_slack() {
    let bad = "<!channel> <@U1> <https://evil.example|ok> & &lt;";
    let field = Field { name: bad.to_owned(), value: bad.to_owned() };
    let message = Message::new(UnverifiedMessage {
        title: bad.to_owned(),
        text: bad.to_owned(),
        fields: vec![field],
        url: Some("https://a/?b=c&d".to_owned()),
        ..unverified("m")
    });
    let said = slack_says(&message.unwrap()).to_string();
    let escaped = "&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|ok&gt; &amp; &amp;lt;";
    assert_eq!(said.matches(escaped).count(), 5, "{said}");
    assert_eq!(said.matches('<').count(), 1, "{said}");
    assert!(said.contains("<https://a/?b=c&amp;d>"));
}

/// Slack refuses a message that has one block too many, or one character.
#[test]
fn the_largest_message_is_within_slacks_limits() {
    let field =
        Field { name: "&".repeat(limits::FIELD_NAME_BYTES), value: "&".repeat(limits::FIELD_VALUE_BYTES) };
    let message = Message::new(UnverifiedMessage {
        title: "&".repeat(limits::TITLE_BYTES),
        text: "&".repeat(limits::TEXT_BYTES),
        fields: vec![field; limits::FIELDS],
        url: Some(format!("https://{}", "&".repeat(limits::URL_BYTES - 8))),
        ..unverified("m")
    });
    let said = slack_says(&message.unwrap());
    let blocks = said["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50, "{} blocks", blocks.len());
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    for block in blocks {
        assert!(length(&block["text"]["text"]) <= 3_000);
        let fields = block["fields"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(fields.len() <= 10 && fields.iter().all(|field| length(&field["text"]) <= 2_000));
    }
    let all: String = blocks.iter().filter_map(|block| block["text"]["text"].as_str()).collect();
    assert_eq!(
        all.matches("&amp;").count(),
        limits::TITLE_BYTES + limits::TEXT_BYTES + limits::URL_BYTES - 8
    );
    assert_eq!(all.matches('&').count(), all.matches("&amp;").count(), "no escape was cut");
}

#[test]
fn a_message_without_text_has_no_empty_block() {
    let empty = UnverifiedMessage { text: String::new(), fields: Vec::new(), url: None, ..unverified("m") };
    assert_eq!(slack_says(&Message::new(empty).unwrap())["blocks"].as_array().unwrap().len(), 1);
}

#[test]
fn slack_is_signed_by_its_own_scheme_where_asked() {
    let (address, received) = listening();
    Slack::new(&address, Some(secret())).unwrap().deliver(&delivery(&message("m"), 9_000)).unwrap();
    let asked = received.recv().unwrap();
    let (timestamp, signature) =
        (asked.header("x-slack-request-timestamp"), asked.header("x-slack-signature"));
    assert_eq!(timestamp, "9");
    verify_slack(&secret(), timestamp, signature, &asked.body, UnixMillis(9_000), Duration::ZERO).unwrap();
}
