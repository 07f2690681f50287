//! Messages: one canonical form, limits, and nothing in them that ends a line.
#![allow(clippy::unwrap_used, reason = "tests")]

mod far_side;

use counterfoil_notify::*;
use far_side::*;
use proptest::prelude::*;

/// A way to put a text into a message.
type Part = (&'static str, fn(&mut UnverifiedMessage, String));

const PARTS: [Part; 6] = [
    ("id", |message, text| message.id = text),
    ("title", |message, text| message.title = text),
    ("text", |message, text| message.text = text),
    ("name", |message, text| message.fields[0].name = text),
    ("value", |message, text| message.fields[0].value = text),
    ("url", |message, text| message.url = Some(format!("https://a/{text}"))),
];

#[test]
fn what_ends_a_line_or_moves_a_cursor_is_in_no_message() {
    for (part, put) in PARTS {
        for bad in [
            "\r",
            "\n",
            "\0",
            "\r\nBcc: x@y.example",
            "\u{1b}[2J",
            "\u{85}",
            "\u{2028}",
            "\u{202e}",
            "\u{7f}",
        ] {
            let mut unverified = unverified("m");
            put(&mut unverified, format!("a{bad}b"));
            let made = Message::new(unverified.clone());
            // A text has lines, and nothing else of this kind.
            assert_eq!(made.is_ok(), part == "text" && bad == "\n", "{part} {bad:?}");
            let line = serde_json::to_string(&unverified).unwrap();
            assert_eq!(serde_json::from_str::<Message>(&line).is_ok(), made.is_ok(), "read from JSON");
        }
        let mut unverified = unverified("m");
        put(&mut unverified, "ab".to_owned());
        assert!(Message::new(unverified).is_ok(), "{part}");
    }
}

#[test]
fn a_channel_has_a_name_that_can_stand_anywhere() {
    for good in ["ops", "0", "a-b_c9", &"a".repeat(64)] {
        assert_eq!(name(good).as_str(), good);
    }
    for bad in ["", "-a", "_a", "A", "a b", "a\n", "a/b", "a.b", "ä", &"a".repeat(65)] {
        assert!(bad.parse::<ChannelName>().is_err(), "{bad:?}");
        assert!(serde_json::from_value::<ChannelName>(bad.into()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_link_is_one_wherever_it_is_put() {
    let with = |url: &str| Message::new(UnverifiedMessage { url: Some(url.to_owned()), ..unverified("m") });
    let long = |bytes: usize| format!("https://{}", "a".repeat(bytes - 8));
    for good in ["http://a", "https://a.example:1/b?c=d&e=%20#f", "https://[::1]/", &long(512)] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "a",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "https://",
        "https:///a",
        "https://a b",
        "https://a|b",
        "https://a>b",
        "https://a\"b",
        "https://ä",
        &long(513),
    ] {
        assert_eq!(with(bad), Err(MessageError::Url(bad.to_owned())));
    }
}

#[test]
fn limits_hold_at_and_over() {
    let lengths: [(&str, usize); 4] = [
        ("title", limits::TITLE_BYTES),
        ("text", limits::TEXT_BYTES),
        ("name", limits::FIELD_NAME_BYTES),
        ("value", limits::FIELD_VALUE_BYTES),
    ];
    for (part, most) in lengths {
        let put = PARTS.iter().find(|(name, _)| *name == part).unwrap().1;
        for (bytes, is_good) in [(most, true), (most + 1, false)] {
            let mut unverified = unverified("m");
            put(&mut unverified, "x".repeat(bytes));
            assert_eq!(Message::new(unverified).is_ok(), is_good, "{part} of {bytes}");
        }
    }
    let id = |chars| Message::new(unverified(&"a".repeat(chars)));
    assert!(id(limits::ID_CHARS).is_ok() && id(limits::ID_CHARS + 1).is_err() && id(0).is_err());
    let title = Message::new(UnverifiedMessage { title: String::new(), ..unverified("m") });
    assert!(matches!(title, Err(MessageError::Length { part: "title", bytes: 0, .. })));
    let fields = |count| {
        let field = Field { name: "n".to_owned(), value: String::new() };
        Message::new(UnverifiedMessage { fields: vec![field; count], ..unverified("m") })
    };
    assert!(fields(limits::FIELDS).is_ok());
    assert_eq!(fields(limits::FIELDS + 1), Err(MessageError::Fields { count: limits::FIELDS + 1 }));
    let late = |millis| Message::new(UnverifiedMessage { not_after: UnixMillis(millis), ..unverified("m") });
    assert!(late((1 << 53) - 1).is_ok() && late(1 << 53).is_err());
}

/// What is allowed part by part may be too much together, where much of it needs an escape.
#[test]
fn the_whole_has_a_limit_too() {
    let of = |quotes: usize| {
        let field = Field { name: "x".repeat(64), value: "x".repeat(320) };
        let text = format!("{}{}", "\"".repeat(quotes), "x".repeat(limits::TEXT_BYTES - quotes));
        Message::new(UnverifiedMessage { fields: vec![field; 20], text, ..unverified("m") })
    };
    let spare = limits::MESSAGE_BYTES - of(0).unwrap().to_line().len();
    assert_eq!(of(spare).unwrap().to_line().len(), limits::MESSAGE_BYTES);
    let over = limits::MESSAGE_BYTES + 1;
    assert!(matches!(of(spare + 1), Err(MessageError::Length { bytes, .. }) if bytes == over));
}

#[test]
fn unknown_members_are_refused() {
    let mut value = serde_json::to_value(message("m")).unwrap();
    value["priority"] = 1.into();
    assert!(serde_json::from_value::<Message>(value).is_err());
}

proptest! {
    /// Against another implementation of RFC 8785.
    #[test]
    fn a_message_is_one_canonical_line(title in "[ -~äöü€😀]{1,30}", text in "[ -~\n\tß]{0,60}", value in "[ -~é]{0,20}", not_after in 0_u64..1 << 53) {
        let field = Field { name: "n".to_owned(), value };
        let unverified = UnverifiedMessage {
            title, text, fields: vec![field], not_after: UnixMillis(not_after), ..unverified("m")
        };
        let message = Message::new(unverified).unwrap();
        let line = message.to_line();
        prop_assert_eq!(&line, &serde_jcs::to_string(&message).unwrap());
        prop_assert!(!line.contains('\n'));
        prop_assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message);
    }

    /// Whatever strangers wrote: cleaned, it is told.
    #[test]
    fn what_was_cleaned_is_a_message(title: String, text: String) {
        let title = format!("x{}", text::line(&title, limits::TITLE_BYTES - 1));
        let text = text::lines(&text, 2_000);
        let made = Message::new(UnverifiedMessage { title, text, ..unverified("m") });
        prop_assert!(made.is_ok());
    }
}
