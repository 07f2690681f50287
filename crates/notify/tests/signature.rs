//! Signed requests: published examples, and everything that must not be believed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::path::Path;
use std::time::Duration;

use counterfoil_notify::signature::{
    Arrival, NotVerified, Seen, SignedRequest, Verified, verify, verify_slack,
};
use counterfoil_notify::*;
use far_side::*;

const TOLERANCE: Duration = limits::TOLERANCE;

/// The example of `docs/notifications.md`.
struct Example {
    secret: Secret,
    delivery: String,
    timestamp: String,
    signature: String,
    body: Vec<u8>,
    at: UnixMillis,
}

impl Example {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/notifications.md");
        let page = std::fs::read_to_string(path).unwrap();
        let header = |name: &str| {
            let start = format!("{name}: ");
            page.lines().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
        };
        let block = |name: &str| {
            let start = format!("```{name}\n");
            page.split(&start).nth(1).unwrap().split("\n```").next().unwrap().as_bytes().to_vec()
        };
        Self {
            secret: Secret::new(&block("secret")).unwrap(),
            delivery: header("Counterfoil-Delivery"),
            timestamp: header("Counterfoil-Timestamp"),
            at: UnixMillis(1_767_225_600_000),
            signature: header("Counterfoil-Signature"),
            body: block("body"),
        }
    }

    fn request(&self) -> SignedRequest<'_> {
        let Self { delivery, timestamp, signature, body, .. } = self;
        SignedRequest { delivery, timestamp, signature, body }
    }

    fn verify(&self) -> Result<Verified, NotVerified> {
        verify(std::slice::from_ref(&self.secret), &self.request(), self.at, TOLERANCE)
    }
}

#[test]
fn the_documented_example_verifies_and_is_what_is_sent() {
    let example = Example::new();
    example.verify().unwrap();
    let message: serde_json::Value = serde_json::from_slice(&example.body).unwrap();
    let message: Message = serde_json::from_value(message["message"].clone()).unwrap();
    let (send, received) = std::sync::mpsc::channel();
    let address = serve(move |asked| {
        send.send(asked.clone()).unwrap();
        (200, Vec::new(), String::new())
    });
    let mut webhook = Webhook::new(&format!("{address}/hook"), vec![example.secret.clone()]).unwrap();
    webhook.deliver(&delivery(&message, example.at.0)).unwrap();
    let asked = received.recv().unwrap();
    assert_eq!(asked.path, "/hook");
    assert_eq!(asked.header("content-type"), "application/json");
    assert_eq!(asked.header("counterfoil-delivery"), example.delivery);
    assert_eq!(asked.header("counterfoil-timestamp"), example.timestamp);
    assert_eq!(asked.header("counterfoil-signature"), example.signature);
    assert_eq!(String::from_utf8(asked.body).unwrap(), String::from_utf8(example.body.clone()).unwrap());
}

#[test]
fn nothing_signed_can_be_changed() {
    let example = Example::new();
    for at in 0..example.body.len() {
        let mut changed = Example::new();
        changed.body[at] ^= 1;
        assert!(matches!(changed.verify(), Err(NotVerified::Signature)), "byte {at}");
    }
    let mut other = Example::new();
    other.delivery = "0".repeat(32);
    assert!(matches!(other.verify(), Err(NotVerified::Signature)));
    let mut later = Example::new();
    later.timestamp = (later.timestamp.parse::<u64>().unwrap() + 1).to_string();
    assert!(matches!(later.verify(), Err(NotVerified::Signature)));
    let stranger = Secret::new(&[7; 32]).unwrap();
    let verified = verify(&[stranger], &example.request(), example.at, TOLERANCE);
    assert!(matches!(verified, Err(NotVerified::Signature)));
    assert!(matches!(verify(&[], &example.request(), example.at, TOLERANCE), Err(NotVerified::Signature)));
}

#[test]
fn each_header_has_one_spelling() {
    let change = |change: fn(&mut Example)| {
        let mut example = Example::new();
        change(&mut example);
        match example.verify() {
            Err(NotVerified::Malformed { header }) => header,
            other => panic!("{other:?}"),
        }
    };
    let delivery = "Counterfoil-Delivery";
    assert_eq!(change(|of| of.delivery.make_ascii_uppercase()), delivery);
    assert_eq!(change(|of| of.delivery.push('0')), delivery);
    assert_eq!(change(|of| of.delivery.clear()), delivery);
    let timestamp = "Counterfoil-Timestamp";
    assert_eq!(change(|of| of.timestamp.insert(0, '0')), timestamp);
    assert_eq!(change(|of| of.timestamp.insert(0, '+')), timestamp);
    assert_eq!(change(|of| of.timestamp.push(' ')), timestamp);
    assert_eq!(change(|of| of.timestamp = "99999999999999999999".to_owned()), timestamp);
    let signature = "Counterfoil-Signature";
    assert_eq!(change(|of| of.signature.make_ascii_uppercase()), signature);
    assert_eq!(change(|of| of.signature = of.signature.replace("v1=", "")), signature);
    assert_eq!(change(|of| of.signature.clear()), signature);
    assert_eq!(change(|of| of.signature = [of.signature.as_str(); 5].join(", ")), signature);
}

#[test]
fn one_of_several_signatures_and_secrets_is_enough() {
    let mut example = Example::new();
    let strange = format!("v1={}", "0".repeat(64));
    example.signature = format!("{strange}, {strange}, {strange}, {}", example.signature);
    example.verify().unwrap();
    let secrets = [Secret::new(&[7; 32]).unwrap(), example.secret.clone()];
    verify(&secrets, &example.request(), example.at, TOLERANCE).unwrap();
    // A sender that rotates signs with both.
    let (send, received) = std::sync::mpsc::channel();
    let address = serve(move |asked| {
        send.send(asked.clone()).unwrap();
        (204, Vec::new(), String::new())
    });
    Webhook::new(&address, secrets.to_vec()).unwrap().deliver(&delivery(&message("m"), 5_000)).unwrap();
    let asked = received.recv().unwrap();
    for secret in secrets {
        let request = SignedRequest {
            delivery: asked.header("counterfoil-delivery"),
            timestamp: asked.header("counterfoil-timestamp"),
            signature: asked.header("counterfoil-signature"),
            body: &asked.body,
        };
        verify(&[secret], &request, UnixMillis(5_000), TOLERANCE).unwrap();
    }
}

#[test]
fn a_request_ages_on_both_sides_of_the_clock() {
    let example = Example::new();
    let seconds = example.at.seconds();
    for (now, is_good) in
        [(seconds - 301, false), (seconds - 300, true), (seconds + 300, true), (seconds + 301, false)]
    {
        let secret = std::slice::from_ref(&example.secret);
        let verified = verify(secret, &example.request(), UnixMillis(now * 1000), TOLERANCE);
        match verified {
            Ok(_) => assert!(is_good, "{now}"),
            Err(NotVerified::Stale { timestamp, by: 301, tolerance: 300 }) => {
                assert!(!is_good && timestamp == seconds, "{now}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_body_has_a_limit() {
    let mut example = Example::new();
    example.body = vec![b' '; limits::SIGNED_BYTES];
    assert!(matches!(example.verify(), Err(NotVerified::Signature)));
    example.body.push(b' ');
    let bytes = limits::SIGNED_BYTES + 1;
    assert_eq!(example.verify().unwrap_err(), NotVerified::TooLarge { bytes });
}

#[test]
fn a_replay_is_told_from_the_first() {
    let example = Example::new();
    let mut seen = Seen::new(10, Duration::ZERO);
    let note = |seen: &mut Seen, at: u64| seen.note(&example.verify().unwrap(), UnixMillis(at)).unwrap();
    let at = example.at.0;
    assert_eq!(note(&mut seen, at), Arrival::First);
    assert_eq!(note(&mut seen, at), Arrival::Again);
    // As long as it verifies it is known.
    assert_eq!(note(&mut seen, at + 300_000), Arrival::Again);
    assert_eq!(note(&mut seen, at + 301_000), Arrival::First);
    let mut seen = Seen::new(10, Duration::from_secs(3600));
    assert_eq!(note(&mut seen, at), Arrival::First);
    assert_eq!(note(&mut seen, at + 3_600_000), Arrival::Again);
}

/// A sender that did not hear the answer tries again: with another timestamp, and so another signature.
#[test]
fn another_try_of_a_delivery_is_no_other_delivery() {
    let (send, received) = std::sync::mpsc::channel();
    let address = serve(move |asked| {
        send.send(asked.clone()).unwrap();
        (200, Vec::new(), String::new())
    });
    let (secret, mut seen) = (Secret::new(&[7; 32]).unwrap(), Seen::new(10, Duration::from_secs(3600)));
    let mut webhook = Webhook::new(&address, vec![secret.clone()]).unwrap();
    let mut arrives = |id: &str, at: u64| {
        webhook.deliver(&delivery(&message(id), at)).unwrap();
        let asked = received.recv().unwrap();
        let request = SignedRequest {
            delivery: asked.header("counterfoil-delivery"),
            timestamp: asked.header("counterfoil-timestamp"),
            signature: asked.header("counterfoil-signature"),
            body: &asked.body,
        };
        let verified = verify(std::slice::from_ref(&secret), &request, UnixMillis(at), TOLERANCE).unwrap();
        seen.note(&verified, UnixMillis(at)).unwrap()
    };
    assert_eq!(arrives("m", 1_000), Arrival::First);
    assert_eq!(arrives("n", 1_000), Arrival::First);
    assert_eq!(arrives("m", 900_000), Arrival::Again);
}

#[test]
fn what_is_remembered_is_bounded_and_nothing_is_forgotten_for_it() {
    let mut seen = Seen::new(2, Duration::ZERO);
    let arrives = |seen: &mut Seen, body: &str, at: u64| {
        let secret = Secret::new(&[7; 32]).unwrap();
        let timestamp = (at / 1000).to_string();
        let signature = slack_signature(&timestamp, body);
        let verified =
            verify_slack(&secret, &timestamp, &signature, body.as_bytes(), UnixMillis(at), TOLERANCE);
        seen.note(&verified.unwrap(), UnixMillis(at))
    };
    assert_eq!(arrives(&mut seen, "a", 1_000), Ok(Arrival::First));
    assert_eq!(arrives(&mut seen, "b", 1_000), Ok(Arrival::First));
    assert!(arrives(&mut seen, "c", 1_000).is_err());
    assert_eq!(arrives(&mut seen, "a", 1_000), Ok(Arrival::Again));
    assert_eq!(arrives(&mut seen, "c", 302_000), Ok(Arrival::First));
}

/// What the Slack channel signs a body with under the secret of 32 sevens.
fn slack_signature(timestamp: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&[7; 32]).unwrap();
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v0={hex}")
}

/// The example of "Verifying requests from Slack".
#[test]
fn slacks_example_verifies() {
    let secret = Secret::new(b"8f742231b10e8888abcd99yyyzzz85a5").unwrap();
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let (timestamp, signature) =
        ("1531420618", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
    let check = |timestamp: &str, signature: &str, body: &str, now: u64| {
        verify_slack(&secret, timestamp, signature, body.as_bytes(), UnixMillis(now * 1000), TOLERANCE)
    };
    check(timestamp, signature, body, 1_531_420_618).unwrap();
    check(timestamp, signature, body, 1_531_420_618 + 300).unwrap();
    assert!(matches!(check(timestamp, signature, body, 1_531_420_618 + 301), Err(NotVerified::Stale { .. })));
    let other = body.replace("roadrunner", "coyote");
    assert!(matches!(check(timestamp, signature, &other, 1_531_420_618), Err(NotVerified::Signature)));
    assert!(matches!(check("1531420619", signature, body, 1_531_420_618), Err(NotVerified::Signature)));
    for bad in ["", "v0=", "v1=00", &signature[3..], &signature.to_uppercase(), &format!("{signature}0")] {
        let malformed = check(timestamp, bad, body, 1_531_420_618);
        assert!(matches!(malformed, Err(NotVerified::Malformed { header: "X-Slack-Signature" })), "{bad}");
    }
}
