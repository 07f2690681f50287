//! What a person can read when something is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use std::io;

use counterfoil_notify::*;
use far_side::*;
use insta::assert_snapshot;

#[test]
fn an_outbox_says_what_is_wrong_and_what_to_do() {
    let path = || "/var/lib/notify/outbox.jsonl".into();
    assert_snapshot!(OutboxError::InUse { path: path() }, @"/var/lib/notify/outbox.jsonl is locked: another process delivers from this outbox; stop it first");
    assert_snapshot!(OutboxError::Damaged { path: path(), line: 7, why: "its sum is wrong, or that of the line before".to_owned() }, @"/var/lib/notify/outbox.jsonl, line 7: its sum is wrong, or that of the line before; nothing is sent or taken. Bring the file back from a backup, or keep it and begin without it: what waits in it is not told then");
    assert_snapshot!(OutboxError::Io { doing: "sync", path: path(), io: io::ErrorKind::StorageFull.into() }, @"can't sync /var/lib/notify/outbox.jsonl: no storage space");
    assert_snapshot!(OutboxError::Stopped { why: "can't sync /a: no storage space".to_owned() }, @"the outbox stopped: can't sync /a: no storage space; open it again when that is mended");
    assert_snapshot!(OutboxError::Full { waiting: 16_385, bytes: 9_000_000 }, @"16385 deliveries of 9000000 bytes would wait: 16384 of 67108864 bytes are allowed");
    assert_snapshot!(OutboxError::Batch { count: 257 }, @"257 messages at once: 256 are allowed");
    assert_snapshot!(OutboxError::NoSuchChannel(name("ops")), @"there is no channel ops");
    assert_snapshot!(OutboxError::NoChannel { id: "m".to_owned() }, @"the message m is for no channel");
    assert_snapshot!(OutboxError::TwoChannels(name("ops")), @"there are two channels ops");
    assert_snapshot!(OutboxError::Channels { count: 257 }, @"257 channels: 256 are allowed");
}

#[test]
fn a_message_says_which_part_is_wrong() {
    let of = |change: fn(&mut UnverifiedMessage)| {
        let mut unverified = unverified("m");
        change(&mut unverified);
        Message::new(unverified).unwrap_err()
    };
    assert_snapshot!(of(|m| m.id = "a b".to_owned()), @r#""a b" is no id of a message: 1–128 of A–Z a–z 0–9 - . _ ~"#);
    assert_snapshot!(of(|m| m.title = "x".repeat(161)), @"the message's title has 161 bytes: 1–160 are allowed");
    assert_snapshot!(of(|m| m.title = "a\nb".to_owned()), @r"the message's title holds '\n', which is not printable: clean it with text::line or text::lines");
    assert_snapshot!(of(|m| m.fields = vec![m.fields[0].clone(); 21]), @"the message has 21 fields: 20 are allowed");
    assert_snapshot!(of(|m| m.url = Some("ftp://a".to_owned())), @r#""ftp://a" is no http or https URL of printable ASCII without spaces, quotes, < > | \ ^ ` { }"#);
    assert_snapshot!(of(|m| m.not_after = UnixMillis(1 << 53)), @"not_after is 9007199254740992 ms, which is after the year 287396");
}

#[test]
fn a_channel_that_can_not_be_says_why() {
    assert_snapshot!("A b".parse::<ChannelName>().unwrap_err(), @r#""A b" is no name of a channel: 1–64 of a–z 0–9 - _, the first a letter or digit"#);
    assert_snapshot!(Secret::new(b"short").unwrap_err(), @"a secret has 32–64 bytes, this one has 5");
    assert_snapshot!(Webhook::new("http://a", Vec::new()).unwrap_err(), @"a webhook has 1–4 secrets, this one has 0");
    assert_snapshot!(Slack::new("https://hooks.slack.com/ hush", None).unwrap_err(), @"the URL of the channel is no http or https URL without user, fragment or spaces");
    let config = |host: &str, security, to: &str| EmailConfig {
        host: host.to_owned(),
        port: None,
        security,
        login: None,
        roots: Some(Vec::new()),
        from: "a@b.example".to_owned(),
        to: to.to_owned(),
    };
    let email = |host, security, to| Email::new(config(host, security, to)).unwrap_err();
    assert_snapshot!(email("mail.example", Security::UnencryptedOnLoopback, "c@d.example"), @"mail.example is another machine: e-mail is sent unencrypted to 127.0.0.0/8, ::1 and localhost only");
    assert_snapshot!(email("mail.example", Security::Tls, "c"), @r#""c" is no e-mail address, such as a@b.example or Name <a@b.example>"#);
    assert_snapshot!(email("mail.example", Security::Tls, "c\n@d.example"), @r#""c\n@d.example" is no e-mail address, such as a@b.example or Name <a@b.example>"#);
    assert_snapshot!(email("mail.example", Security::Tls, "c@d.example"), @"the roots for mail.example hold no certificate in PEM");
}
