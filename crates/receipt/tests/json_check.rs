//! What the strict reader and the canonical writer refuse, with which code and where.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use counterfoil_receipt::json::{
    JsonError, Limits, MAX_DEPTH, MAX_INTEGER, MAX_MEMBERS, canonicalize_input, check, parse_value,
    to_canonical, write_string,
};
use serde_json::{Value, json};

const LIMITS: Limits = Limits { bytes: 65_535, depth: 16 };

/// Documents that are one step away from canonical: bytes, code, offset.
const REFUSED: &[(&[u8], &str, usize)] = &[
    (b"", "json-syntax", 0),
    (b"{", "json-syntax", 1),
    (b"{}}", "json-trailing", 2),
    (b"{}\n", "json-trailing", 2),
    (b"{}{}", "json-trailing", 2),
    (b"[]", "json-not-object", 0),
    (b"\"a\"", "json-not-object", 0),
    (b"null", "json-not-object", 0),
    (b"-1", "json-not-object", 0),
    (b"\xEF\xBB\xBF{}", "json-bom", 0),
    (b"\xFF\xFE{\0}\0", "json-utf8", 0),
    // Whitespace, in every gap.
    (b" {}", "json-whitespace", 0),
    (b"{ }", "json-whitespace", 1),
    (b"{\"a\" :1}", "json-whitespace", 4),
    (b"{\"a\":\t1}", "json-whitespace", 5),
    (b"{\"a\":1 }", "json-whitespace", 6),
    (b"{\"a\":1,\n\"b\":2}", "json-whitespace", 7),
    (b"{\"a\":[1, 2]}", "json-whitespace", 8),
    (b"{\"a\":[1\r]}", "json-whitespace", 7),
    // Punctuation and words.
    (b"{\"a\":1,}", "json-syntax", 7),
    (b"{\"a\":[1,]}", "json-syntax", 8),
    (b"{\"a\"}", "json-syntax", 4),
    (b"{a:1}", "json-syntax", 1),
    (b"{\"a\":nul}", "json-syntax", 5),
    (b"{\"a\":True}", "json-syntax", 5),
    (b"{\"a\":\"b}", "json-syntax", 8),
    (b"{\"a\":'b'}", "json-syntax", 5),
    (b"{\"a\":\xE2\x82\xAC}", "json-syntax", 5),
    (b"{\"a\":\xE2\x82}", "json-utf8", 5),
    // Names: order by UTF-16 code unit, and none twice.
    (b"{\"b\":1,\"a\":2}", "json-key-order", 7),
    (b"{\"a\":1,\"a\":2}", "json-duplicate-key", 7),
    (b"{\"a\":{\"ab\":1,\"a\":2}}", "json-key-order", 13),
    (b"{\"a\":1,\"\":2}", "json-key-order", 7),
    ("{\"\u{FB33}\":1,\"\u{1F600}\":2}".as_bytes(), "json-key-order", 9),
    ("{\"\u{E000}\":1,\"\u{10FFFD}\":2}".as_bytes(), "json-key-order", 9),
    // A backslash (5C) as written, but a line feed (0A) in truth.
    (b"{\"A\":1,\"\\n\":2}", "json-key-order", 7),
    (b"{\"\\n\":1,\"\\n\":2}", "json-duplicate-key", 8),
    // Escapes that have another form.
    (b"{\"a\":\"\\u0061\"}", "json-escape", 6),
    (b"{\"a\":\"\\/\"}", "json-escape", 6),
    (b"{\"a\":\"\\u000a\"}", "json-escape", 6),
    (b"{\"a\":\"\\u000D\"}", "json-escape", 6),
    (b"{\"a\":\"\\u0022\"}", "json-escape", 6),
    (b"{\"a\":\"\\u001F\"}", "json-escape", 6),
    (b"{\"a\":\"\\u007f\"}", "json-escape", 6),
    (b"{\"a\":\"\\ud83d\\ude00\"}", "json-escape", 6),
    (b"{\"\\u0061\":1}", "json-escape", 2),
    (b"{\"a\":\"\\x\"}", "json-syntax", 6),
    (b"{\"a\":\"\\u00g0\"}", "json-syntax", 6),
    (b"{\"a\":\"\\u+0ff\"}", "json-syntax", 6),
    (b"{\"a\":\"\\u00", "json-syntax", 6),
    (b"{\"a\":\"\\", "json-syntax", 6),
    // Characters that a string can't hold.
    (b"{\"a\":\"\n\"}", "json-control", 6),
    (b"{\"a\":\"\0\"}", "json-control", 6),
    (b"{\"a\":\"\x1F\"}", "json-control", 6),
    (b"{\"a\":\"\\ud800\"}", "json-surrogate", 6),
    (b"{\"a\":\"\\udc00\"}", "json-surrogate", 6),
    (b"{\"a\":\"\\ude00\\ud83d\"}", "json-surrogate", 6),
    (b"{\"a\":\"\\ud83d\\ud83d\\ude00\"}", "json-surrogate", 6),
    (b"{\"a\":\"\\ud83dx\"}", "json-surrogate", 6),
    (b"{\"a\":\"\\uffff\"}", "json-noncharacter", 6),
    (b"{\"a\":\"\\udbff\\udfff\"}", "json-noncharacter", 6),
    ("{\"a\":\"\u{FDD0}\"}".as_bytes(), "json-noncharacter", 6),
    ("{\"a\":\"\u{FDEF}\"}".as_bytes(), "json-noncharacter", 6),
    ("{\"a\":\"\u{FFFE}\"}".as_bytes(), "json-noncharacter", 6),
    ("{\"\u{1FFFF}\":1}".as_bytes(), "json-noncharacter", 2),
    // UTF-8: stray, cut short, overlong, a surrogate, beyond U+10FFFF.
    (b"{\"a\":\"\x80\"}", "json-utf8", 6),
    (b"{\"a\":\"\xC3\"}", "json-utf8", 6),
    (b"{\"a\":\"\xE2\x82\"}", "json-utf8", 6),
    (b"{\"a\":\"\xC0\xAF\"}", "json-utf8", 6),
    (b"{\"a\":\"\xC1\xBF\"}", "json-utf8", 6),
    (b"{\"a\":\"\xE0\x9F\xBF\"}", "json-utf8", 6),
    (b"{\"a\":\"\xF0\x8F\xBF\xBD\"}", "json-utf8", 6),
    (b"{\"a\":\"\xED\xA0\x80\"}", "json-utf8", 6),
    (b"{\"a\":\"\xF4\x90\x80\x80\"}", "json-utf8", 6),
    (b"{\"a\":\"\xF8\x88\x80\x80\x80\"}", "json-utf8", 6),
    // Numbers that ECMAScript prints in another way.
    (b"{\"a\":-0}", "json-number-form", 5),
    (b"{\"a\":-0.0}", "json-number-form", 5),
    (b"{\"a\":1.0}", "json-number-form", 5),
    (b"{\"a\":1.50}", "json-number-form", 5),
    (b"{\"a\":1e0}", "json-number-form", 5),
    (b"{\"a\":0e1}", "json-number-form", 5),
    (b"{\"a\":1E+21}", "json-number-form", 5),
    (b"{\"a\":1e21}", "json-number-form", 5),
    (b"{\"a\":10e+21}", "json-number-form", 5),
    (b"{\"a\":1e-6}", "json-number-form", 5),
    (b"{\"a\":0.0000001}", "json-number-form", 5),
    (b"{\"a\":0.10000000000000001}", "json-number-form", 5),
    (b"{\"a\":4e-324}", "json-number-form", 5),
    // Numbers that can't be held.
    (b"{\"a\":9007199254740992}", "json-number-range", 5),
    (b"{\"a\":-9007199254740992}", "json-number-range", 5),
    (b"{\"a\":9007199254740993.0}", "json-number-range", 5),
    (b"{\"a\":18446744073709551616}", "json-number-range", 5),
    // 2⁶⁴ + 4: a product that wraps to 0.
    (b"{\"a\":18446744073709551620}", "json-number-range", 5),
    (b"{\"a\":1000000000000000000000}", "json-number-range", 5),
    (b"{\"a\":1e+20}", "json-number-range", 5),
    (b"{\"a\":1E400}", "json-number-range", 5),
    (b"{\"a\":-1e+309}", "json-number-range", 5),
    (b"{\"a\":2e-324}", "json-number-range", 5),
    (b"{\"a\":1e-400}", "json-number-range", 5),
    // Not numbers.
    (b"{\"a\":01}", "json-syntax", 6),
    (b"{\"a\":-01}", "json-syntax", 7),
    (b"{\"a\":+1}", "json-syntax", 5),
    (b"{\"a\":-}", "json-syntax", 6),
    (b"{\"a\":.5}", "json-syntax", 5),
    (b"{\"a\":1.}", "json-syntax", 7),
    (b"{\"a\":1e}", "json-syntax", 7),
    (b"{\"a\":1e+}", "json-syntax", 8),
    (b"{\"a\":NaN}", "json-syntax", 5),
    (b"{\"a\":0x1}", "json-syntax", 6),
];

#[test]
fn one_step_from_canonical_is_refused_where_it_departs() {
    for &(document, code, at) in REFUSED {
        let shown = String::from_utf8_lossy(document);
        let error = check(document, &LIMITS).expect_err(&shown);
        assert_eq!((error.code(), error.at()), (code, Some(at)), "{shown}");
        assert_eq!(parse_value(document, &LIMITS), Err(error), "{shown}");
    }
}

#[test]
fn every_kind_of_fault_is_shown_once_at_least() {
    let mut shown: Vec<&str> = REFUSED.iter().map(|&(_, code, _)| code).collect();
    shown.sort_unstable();
    shown.dedup();
    // The other four are limits (tested below) and json-disagreement (a defect).
    assert_eq!(shown.len(), 14, "{shown:?}");
}

#[test]
fn canonical_documents_pass_every_function_unchanged() {
    let documents: &[&str] = &[
        "{}",
        r#"{"":""}"#,
        r#"{"a":[],"b":{},"c":[[],{}],"d":[null,true,false]}"#,
        r#"{"a":0,"b":-1,"c":9007199254740991,"d":-9007199254740991}"#,
        r#"{"a":0.5,"b":-1.5,"c":1e+21,"d":0.000001,"e":1e-7,"f":5e-324,"g":1.7976931348623157e+308}"#,
        r#"{"a":"\"\\\b\t\n\f\r\u0000\u001f","b":"/"}"#,
        "{\"a\":\"\u{7F}\u{80}\u{2028}\u{FEFF}\u{FDCF}\u{FDF0}\u{FFFD}\u{1FFFD}\"}",
        // 0A, 41, D83D, FB33 in UTF-16.
        "{\"\\n\":1,\"A\":2,\"\u{1F600}\":3,\"\u{FB33}\":4}",
        "{\"\\\"\":1,\"a\":2,\"a\\u0000\":3,\"aa\":4}",
    ];
    for document in documents {
        let bytes = document.as_bytes();
        assert_eq!(check(bytes, &LIMITS).map(|outline| outline.bytes()), Ok(bytes), "{document}");
        assert_eq!(canonicalize_input(bytes, &LIMITS).as_deref(), Ok(bytes), "{document}");
        assert_eq!(to_canonical(&parse_value(bytes, &LIMITS).unwrap()).as_deref(), Ok(bytes), "{document}");
    }
}

#[test]
fn every_byte_is_judged_alike_at_every_place_in_a_string() {
    for byte in 0..=u8::MAX {
        for place in 0..20 {
            let mut document = b"{\"a\":\"xxxxxxxxxxxxxxxxxxxx\"}".to_vec();
            document[6 + place] = byte;
            let expected = match byte {
                0..0x20 => Some(("json-control", 6 + place)),
                // The string ends early, or the next character is no escape.
                b'"' => Some(("json-syntax", 7 + place)),
                // Before the last quote the backslash is an escape, and the string never ends.
                b'\\' if place == 19 => Some(("json-syntax", 28)),
                b'\\' => Some(("json-syntax", 6 + place)),
                0x80.. => Some(("json-utf8", 6 + place)),
                _ => None,
            };
            let fault = check(&document, &LIMITS).err().map(|error| (error.code(), error.at().unwrap()));
            assert_eq!(fault, expected, "{byte:#x} at {place}");
        }
    }
}

#[test]
fn of_all_hexadecimal_escapes_27_are_canonical() {
    let accepts = |unit: &u16| check(format!(r#"{{"a":"\u{unit:04x}"}}"#).as_bytes(), &LIMITS).is_ok();
    let canonical: Vec<u16> = (0..=u16::MAX).filter(accepts).collect();
    let expected: Vec<u16> =
        (0..0x20).filter(|unit| ![0x08, 0x09, 0x0A, 0x0C, 0x0D].contains(unit)).collect();
    assert_eq!(canonical, expected);
    assert_eq!(canonical.len(), 27);
}

#[test]
fn depth_counts_levels_and_not_brackets() {
    let siblings = format!("{{\"a\":[{}{{}}]}}", "[],{},".repeat(50));
    assert!(check(siblings.as_bytes(), &Limits { depth: 3, ..LIMITS }).is_ok());
    assert_eq!(check(siblings.as_bytes(), &Limits { depth: 2, ..LIMITS }).unwrap_err().at(), Some(6));
}

#[test]
fn limits_hold_at_and_over() {
    let nested =
        |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1)).into_bytes();
    for limit in [1, 2, 16, MAX_DEPTH] {
        let limits = Limits { bytes: 1000, depth: limit };
        let (at, over) = (if limit == 1 { b"{}".to_vec() } else { nested(limit) }, nested(limit + 1));
        assert!(parse_value(&at, &limits).is_ok(), "{limit}");
        assert!(canonicalize_input(&at, &limits).is_ok(), "{limit}");
        let error = JsonError::TooDeep { at: limit + 4, limit };
        assert_eq!(check(&over, &limits).err(), Some(error.clone()));
        assert_eq!(canonicalize_input(&over, &limits), Err(error));
    }
    let unlimited = Limits { bytes: usize::MAX, depth: usize::MAX };
    assert!(parse_value(&nested(MAX_DEPTH), &unlimited).is_ok());
    assert_eq!(check(&nested(100_000), &unlimited).unwrap_err().code(), "json-depth");

    let five = Limits { bytes: 5, depth: 1 };
    assert_eq!(check(br#"{"":1}"#, &five).err(), Some(JsonError::TooLarge { bytes: 6, limit: 5 }));
    assert!(check(br#"{"":1}"#, &Limits { bytes: 6, ..five }).is_ok());

    let members = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("\"{i:02}\":{i}")).collect();
        format!("{{{}}}", names.join(",")).into_bytes()
    };
    assert_eq!(check(&members(MAX_MEMBERS), &LIMITS).unwrap().members().len(), MAX_MEMBERS);
    let error = check(&members(MAX_MEMBERS + 1), &LIMITS).unwrap_err();
    assert_eq!((error.code(), members(MAX_MEMBERS + 1)[error.at().unwrap()]), ("json-members", b'"'));
    assert!(parse_value(&members(MAX_MEMBERS + 1), &LIMITS).is_ok());
}

#[test]
fn a_member_can_be_read_and_left_out_at_every_place() {
    let document = r#"{"\n":"\\","a":{"a":[1,2]},"sig":"x","z\"":-5}"#;
    let outline = check(document.as_bytes(), &LIMITS).unwrap();
    let names = ["\n", "a", "sig", "z\""];
    let values = [r#""\\""#, r#"{"a":[1,2]}"#, r#""x""#, "-5"];
    for (i, name) in names.iter().enumerate() {
        assert_eq!(outline.value(name), Some(values[i].as_bytes()));
        let rest = outline.without(name).unwrap().concat();
        assert_eq!(check(&rest, &LIMITS).unwrap().members().len(), 3);
        let mut expected: Value = serde_json::from_str(document).unwrap();
        expected.as_object_mut().unwrap().remove(*name);
        assert_eq!(rest, to_canonical(&expected).unwrap());
    }
    // As written is not as meant.
    assert_eq!(outline.member("\\n"), None);
    assert_eq!(outline.without("z"), None);
    assert_eq!(outline.member("si"), None);
    assert_eq!(check(br#"{"sig":1}"#, &LIMITS).unwrap().without("sig").unwrap().concat(), b"{}");
}

#[test]
fn input_may_be_spelled_in_any_way() {
    let spellings: &[(&str, &str)] = &[
        (" {\n\t\"b\" : 1.0 , \"a\" : [ ] }\r\n", r#"{"a":[],"b":1}"#),
        (r#"{"\u0061":"\u000A\/\u20AC\uD83D\uDE00"}"#, "{\"a\":\"\\n/\u{20AC}\u{1F600}\"}"),
        (
            r#"{"n":[-0,-0.0,1e0,1E21,0.10000000000000001,9007199254740991.0]}"#,
            r#"{"n":[0,0,1,1e+21,0.1,9007199254740991]}"#,
        ),
        (r#"{"\uFB33":1,"\uD83D\uDE00":2,"\n":3}"#, "{\"\\n\":3,\"\u{1F600}\":2,\"\u{FB33}\":1}"),
    ];
    for (input, canonical) in spellings {
        assert_eq!(
            canonicalize_input(input.as_bytes(), &LIMITS).as_deref(),
            Ok(canonical.as_bytes()),
            "{input}"
        );
    }
}

#[test]
fn input_may_not_be_ambiguous() {
    let refused: &[(&str, &str, usize)] = &[
        (r#"{"a":1,"b":2,"a":3}"#, "json-duplicate-key", 13),
        (r#"{"a":1,"b":2,"\u0061":3}"#, "json-duplicate-key", 13),
        (r#"{"\u0061":1,"b":{"a":1},"a":3}"#, "json-duplicate-key", 24),
        ("{\"\u{1F600}\":1,\"\\uD83D\\uDE00\":2}", "json-duplicate-key", 10),
        (r#"[{"b":1}]"#, "json-not-object", 0),
        (r#"{"b":"\uD800"}"#, "json-surrogate", 6),
        (r#"{"b":"\uFDD0"}"#, "json-noncharacter", 6),
        (r#"{"b":1e400}"#, "json-number-range", 5),
        (r#"{"b":1e-400}"#, "json-number-range", 5),
        (r#"{"b":9007199254740992}"#, "json-number-range", 5),
        (r#"{"b":1e20}"#, "json-number-range", 5),
        ("{} x", "json-trailing", 3),
        ("\u{FEFF}{}", "json-bom", 0),
        ("\u{A0}{}", "json-syntax", 0),
    ];
    for &(input, code, at) in refused {
        let error = canonicalize_input(input.as_bytes(), &LIMITS).expect_err(input);
        assert_eq!((error.code(), error.at()), (code, Some(at)), "{input}");
    }
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let mut deep = json!({});
    for _ in 1..MAX_DEPTH {
        deep = json!([deep]);
    }
    assert!(to_canonical(&deep).is_ok());
    let refused: [(Value, &str); 9] = [
        (json!({ "a": MAX_INTEGER + 1 }), "json-number-range"),
        (json!({ "a": i64::MIN }), "json-number-range"),
        (json!({ "a": -(MAX_INTEGER as i64) - 1 }), "json-number-range"),
        (json!({ "a": u64::MAX }), "json-number-range"),
        (json!({ "a": 9007199254740992.0 }), "json-number-range"),
        (json!({ "a": -999_999_999_999_999_900_000.0 }), "json-number-range"),
        (json!({ "a": "\u{FFFF}" }), "json-noncharacter"),
        (json!({ "\u{10FFFE}": "" }), "json-noncharacter"),
        (json!([deep]), "json-depth"),
    ];
    for (value, code) in refused {
        assert_eq!(to_canonical(&value).unwrap_err().code(), code, "{value}");
    }
    assert_eq!(
        to_canonical(&json!([MAX_INTEGER, -(MAX_INTEGER as i64), -0.0, 1e21])).unwrap(),
        b"[9007199254740991,-9007199254740991,0,1e+21]"
    );
}

#[test]
fn a_written_string_has_the_short_escapes_and_no_others() {
    let mut out = b"x".to_vec();
    write_string("\"\\/\u{8}\t\n\u{C}\r\0\u{1F}\u{7F}é😀", &mut out);
    assert_eq!(out, "x\"\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7F}é😀\"".as_bytes());
}
