//! Properties of the strict reader and the canonical writer, against `serde_jcs` and `serde_json`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use counterfoil_receipt::json::{
    JsonError, Limits, canonicalize_input, check, parse_value, to_canonical, write_string,
};
use proptest::prelude::*;
use serde_json::{Map, Value};

const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 127 };

/// Characters from every class that is treated apart: escaped, plain, two to four bytes, both sides of U+E000.
fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        proptest::char::range('\0', '\x1F'),
        prop_oneof![Just('"'), Just('\\'), Just('/'), Just('\x7F')],
        proptest::char::range('a', 'f'),
        proptest::char::range('\u{80}', '\u{FFF}'),
        proptest::char::range('\u{D700}', '\u{E100}'),
        proptest::char::range('\u{FB00}', '\u{FFFD}'),
        proptest::char::range('\u{10000}', '\u{1FFFD}'),
        proptest::char::range('\u{10FF00}', '\u{10FFFD}'),
    ]
    .prop_filter("noncharacters", |c| !('\u{FDD0}'..='\u{FDEF}').contains(c))
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(character(), 0..6).prop_map(String::from_iter)
}

fn number() -> impl Strategy<Value = Value> {
    const MAX: i64 = (1 << 53) - 1;
    let double = any::<u64>().prop_map(f64::from_bits);
    let decimal = (-99_999_i64..99_999, -8..8).prop_map(|(digits, power)| digits as f64 * 10_f64.powi(power));
    prop_oneof![
        (-MAX..=MAX).prop_map(Value::from),
        (-20_i64..20).prop_map(Value::from),
        prop_oneof![double, decimal]
            .prop_filter("not I-JSON", |x| x.is_finite() && (x.abs() < 9e15 || x.abs() >= 1e21))
            .prop_map(Value::from),
    ]
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::vec((text(), value), 0..6)
        .prop_map(|members| Value::Object(Map::from_iter(members)))
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        text().prop_map(Value::from)
    ];
    let value = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from), object(inner)]
    });
    object(value)
}

/// Bytes that often are nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &[&'static [u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\"a\"",
        b"\"b\":",
        b"{\"a\":",
        b"1",
        b"0",
        b"-",
        b".",
        b"e",
        b"E+",
        b"null",
        b"true",
        b" ",
        b"\n",
        b"\\",
        b"\\n",
        b"\\u",
        b"\\u00",
        b"\\ud83d",
        b"\\uDE00",
        b"1f",
        b"\x00",
        b"\xC3\xA9",
        b"\xEF\xBF",
        b"\xBE",
        b"\xF0\x9F\x98\x80",
        b"\xFF",
        b"9007199254740991",
        b"1e400",
        b"0.1",
    ];
    let piece = proptest::sample::select(pieces.to_vec());
    proptest::collection::vec(piece, 0..12)
        .prop_map(|pieces| [b"{\"\":", &pieces.concat()[..], b"}"].concat())
}

/// What `check` accepts is what every writer would have written.
fn assert_fixed_point(bytes: &[u8]) {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(to_canonical(&value).as_deref(), Ok(bytes));
    assert_eq!(serde_jcs::to_vec(&value).unwrap(), bytes);
    assert_eq!(canonicalize_input(bytes, &LIMITS).as_deref(), Ok(bytes));
    assert_eq!(parse_value(bytes, &LIMITS), Ok(value));
}

/// The document with every character of every string escaped in capitals and the members in reverse.
fn write_oddly(value: &Value, out: &mut String) {
    let escaped = |text: &str| text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
    match value {
        Value::String(text) => *out += &format!(" \"{}\"\t", escaped(text)),
        Value::Array(items) => {
            *out += "[ ";
            for (i, item) in items.iter().enumerate() {
                *out += if i > 0 { "\r," } else { "" };
                write_oddly(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            *out += "\n{";
            for (i, (name, value)) in members.iter().rev().enumerate() {
                *out += if i > 0 { ", " } else { " " };
                *out += &format!("\"{}\" :", escaped(name));
                write_oddly(value, out);
            }
            *out += " }";
        }
        other => *out += &format!("{other}\n"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_writer_agrees_with_serde_jcs(value in document()) {
        prop_assert_eq!(to_canonical(&value).unwrap(), serde_jcs::to_vec(&value).unwrap());
    }

    #[test]
    fn what_is_written_is_accepted_and_read_back(value in document()) {
        let bytes = to_canonical(&value).unwrap();
        let outline = check(&bytes, &LIMITS).unwrap();
        prop_assert_eq!(outline.members().len(), value.as_object().unwrap().len());
        for (name, value) in value.as_object().unwrap() {
            prop_assert_eq!(outline.value(name).unwrap(), to_canonical(value).unwrap());
        }
        assert_fixed_point(&bytes);
    }

    #[test]
    fn a_document_without_a_member_is_canonical(value in document(), pick: prop::sample::Index) {
        let members = value.as_object().unwrap();
        prop_assume!(!members.is_empty());
        let name = members.keys().nth(pick.index(members.len())).unwrap();
        let bytes = to_canonical(&value).unwrap();
        let rest = check(&bytes, &LIMITS).unwrap().without(name).unwrap().concat();
        let mut expected = value.clone();
        expected.as_object_mut().unwrap().remove(name);
        prop_assert_eq!(rest, to_canonical(&expected).unwrap());
    }

    #[test]
    fn a_changed_byte_is_refused_or_makes_another_canonical_document(
        value in document(), place: prop::sample::Index, byte in prop_oneof![any::<u8>(), b' '..=b'~']
    ) {
        let mut bytes = to_canonical(&value).unwrap();
        let i = place.index(bytes.len());
        bytes[i] = byte;
        if check(&bytes, &LIMITS).is_ok() {
            assert_fixed_point(&bytes);
        }
    }

    #[test]
    fn every_spelling_has_the_same_canonical_form(value in document()) {
        let canonical = to_canonical(&value).unwrap();
        let mut odd = String::new();
        write_oddly(&value, &mut odd);
        prop_assert_eq!(canonicalize_input(odd.as_bytes(), &LIMITS), Ok(canonical.clone()));
        prop_assert_eq!(canonicalize_input(&serde_json::to_vec_pretty(&value).unwrap(), &LIMITS), Ok(canonical));
    }

    #[test]
    fn a_name_given_twice_is_found(value in document(), pick: prop::sample::Index, escaped: bool) {
        let members = value.as_object().unwrap();
        prop_assume!(!members.is_empty());
        let name = members.keys().nth(pick.index(members.len())).unwrap();
        let mut input = to_canonical(&value).unwrap();
        input.pop();
        input.push(b',');
        if escaped {
            input.push(b'"');
            input.extend(name.encode_utf16().flat_map(|unit| format!("\\u{unit:04x}").into_bytes()));
            input.push(b'"');
        } else {
            write_string(name, &mut input);
        }
        let at = to_canonical(&value).unwrap().len();
        input.extend_from_slice(b":1}");
        prop_assert_eq!(canonicalize_input(&input, &LIMITS), Err(JsonError::DuplicateKey { at }));
        prop_assert!(check(&input, &LIMITS).is_err());
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = check(&bytes, &LIMITS);
        let _ = canonicalize_input(&bytes, &LIMITS);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn serde_json_agrees_on_what_is_json(bytes in nearly_json()) {
        let oracle = serde_json::from_slice::<Value>(&bytes);
        match canonicalize_input(&bytes, &LIMITS) {
            Ok(canonical) => assert_fixed_point(&canonical),
            Err(
                JsonError::Syntax { .. }
                | JsonError::Utf8 { .. }
                | JsonError::Control { .. }
                | JsonError::Trailing { .. }
                | JsonError::Surrogate { .. },
            ) => prop_assert!(oracle.is_err()),
            // I-JSON is narrower than JSON.
            Err(
                JsonError::DuplicateKey { .. }
                | JsonError::Noncharacter { .. }
                | JsonError::NumberRange { .. },
            ) => {}
            Err(error) => prop_assert!(false, "{error:?}"),
        }
        if check(&bytes, &LIMITS).is_ok() {
            assert_fixed_point(&bytes);
        }
    }
}
