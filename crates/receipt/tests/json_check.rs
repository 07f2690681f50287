//! What the strict reader and the canonical writer refuse, with which code and where.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use counterfoil_receipt::json::{
    JsonError, Limits, MAX_DEPTH, MAX_INTEGER, MAX_MEMBERS, canonicalize_input, check, parse_value,
    to_canonical, write_string,
};
use serde_json::{Value, json};

const LIMITS: Limits = Limits { bytes: 65_535, depth: 16 };

/// Documents that are one step away from canonical: bytes, kind of fault, offset.
const REFUSED: &[(&[u8], &str, usize)] = &[
    (b"", "Syntax", 0),
    (b"{", "Syntax", 1),
    (b"{}}", "Trailing", 2),
    (b"{}\n", "Trailing", 2),
    (b"{}{}", "Trailing", 2),
    (b"[]", "NotObject", 0),
    (b"\"a\"", "NotObject", 0),
    (b"null", "NotObject", 0),
    (b"-1", "NotObject", 0),
    (b"\xEF\xBB\xBF{}", "ByteOrderMark", 0),
    (b"\xFF\xFE{\0}\0", "Utf8", 0),
    // Whitespace, in every gap.
    (b" {}", "Whitespace", 0),
    (b"{ }", "Whitespace", 1),
    (b"{\"a\" :1}", "Whitespace", 4),
    (b"{\"a\":\t1}", "Whitespace", 5),
    (b"{\"a\":1 }", "Whitespace", 6),
    (b"{\"a\":1,\n\"b\":2}", "Whitespace", 7),
    (b"{\"a\":[1, 2]}", "Whitespace", 8),
    (b"{\"a\":[1\r]}", "Whitespace", 7),
    // Punctuation and words.
    (b"{\"a\":1,}", "Syntax", 7),
    (b"{\"a\":[1,]}", "Syntax", 8),
    (b"{\"a\"}", "Syntax", 4),
    (b"{a:1}", "Syntax", 1),
    (b"{\"a\":nul}", "Syntax", 5),
    (b"{\"a\":True}", "Syntax", 5),
    (b"{\"a\":\"b}", "Syntax", 8),
    (b"{\"a\":'b'}", "Syntax", 5),
    (b"{\"a\":\xE2\x82\xAC}", "Syntax", 5),
    (b"{\"a\":\xE2\x82}", "Utf8", 5),
    // Names: order by UTF-16 code unit, and none twice.
    (b"{\"b\":1,\"a\":2}", "KeyOrder", 7),
    (b"{\"a\":1,\"a\":2}", "DuplicateKey", 7),
    (b"{\"a\":{\"ab\":1,\"a\":2}}", "KeyOrder", 13),
    (b"{\"a\":1,\"\":2}", "KeyOrder", 7),
    ("{\"\u{FB33}\":1,\"\u{1F600}\":2}".as_bytes(), "KeyOrder", 9),
    ("{\"\u{E000}\":1,\"\u{10FFFD}\":2}".as_bytes(), "KeyOrder", 9),
    // A backslash (5C) as written, but a line feed (0A) in truth.
    (b"{\"A\":1,\"\\n\":2}", "KeyOrder", 7),
    (b"{\"\\n\":1,\"\\n\":2}", "DuplicateKey", 8),
    // Escapes that have another form.
    (b"{\"a\":\"\\u0061\"}", "Escape", 6),
    (b"{\"a\":\"\\/\"}", "Escape", 6),
    (b"{\"a\":\"\\u000a\"}", "Escape", 6),
    (b"{\"a\":\"\\u000D\"}", "Escape", 6),
    (b"{\"a\":\"\\u0022\"}", "Escape", 6),
    (b"{\"a\":\"\\u001F\"}", "Escape", 6),
    (b"{\"a\":\"\\u007f\"}", "Escape", 6),
    (b"{\"a\":\"\\ud83d\\ude00\"}", "Escape", 6),
    (b"{\"\\u0061\":1}", "Escape", 2),
    (b"{\"a\":\"\\x\"}", "Syntax", 6),
    (b"{\"a\":\"\\u00g0\"}", "Syntax", 6),
    (b"{\"a\":\"\\u+0ff\"}", "Syntax", 6),
    (b"{\"a\":\"\\u00", "Syntax", 6),
    (b"{\"a\":\"\\", "Syntax", 6),
    // Characters that a string can't hold.
    (b"{\"a\":\"\n\"}", "Control", 6),
    (b"{\"a\":\"\0\"}", "Control", 6),
    (b"{\"a\":\"\x1F\"}", "Control", 6),
    (b"{\"a\":\"\\ud800\"}", "Surrogate", 6),
    (b"{\"a\":\"\\udc00\"}", "Surrogate", 6),
    (b"{\"a\":\"\\ude00\\ud83d\"}", "Surrogate", 6),
    (b"{\"a\":\"\\ud83d\\ud83d\\ude00\"}", "Surrogate", 6),
    (b"{\"a\":\"\\ud83dx\"}", "Surrogate", 6),
    (b"{\"a\":\"\\uffff\"}", "Noncharacter", 6),
    (b"{\"a\":\"\\udbff\\udfff\"}", "Noncharacter", 6),
    ("{\"a\":\"\u{FDD0}\"}".as_bytes(), "Noncharacter", 6),
    ("{\"a\":\"\u{FDEF}\"}".as_bytes(), "Noncharacter", 6),
    ("{\"a\":\"\u{FFFE}\"}".as_bytes(), "Noncharacter", 6),
    ("{\"\u{1FFFF}\":1}".as_bytes(), "Noncharacter", 2),
    // UTF-8: stray, cut short, overlong, a surrogate, beyond U+10FFFF.
    (b"{\"a\":\"\x80\"}", "Utf8", 6),
    (b"{\"a\":\"\xC3\"}", "Utf8", 6),
    (b"{\"a\":\"\xE2\x82\"}", "Utf8", 6),
    (b"{\"a\":\"\xC0\xAF\"}", "Utf8", 6),
    (b"{\"a\":\"\xC1\xBF\"}", "Utf8", 6),
    (b"{\"a\":\"\xE0\x9F\xBF\"}", "Utf8", 6),
    (b"{\"a\":\"\xF0\x8F\xBF\xBD\"}", "Utf8", 6),
    (b"{\"a\":\"\xED\xA0\x80\"}", "Utf8", 6),
    (b"{\"a\":\"\xF4\x90\x80\x80\"}", "Utf8", 6),
    (b"{\"a\":\"\xF8\x88\x80\x80\x80\"}", "Utf8", 6),
    // Numbers that ECMAScript prints in another way.
    (b"{\"a\":-0}", "NumberForm", 5),
    (b"{\"a\":-0.0}", "NumberForm", 5),
    (b"{\"a\":1.0}", "NumberForm", 5),
    (b"{\"a\":1.50}", "NumberForm", 5),
    (b"{\"a\":1e0}", "NumberForm", 5),
    (b"{\"a\":0e1}", "NumberForm", 5),
    (b"{\"a\":1E+21}", "NumberForm", 5),
    (b"{\"a\":1e21}", "NumberForm", 5),
    (b"{\"a\":10e+21}", "NumberForm", 5),
    (b"{\"a\":1e-6}", "NumberForm", 5),
    (b"{\"a\":0.0000001}", "NumberForm", 5),
    (b"{\"a\":0.10000000000000001}", "NumberForm", 5),
    (b"{\"a\":4e-324}", "NumberForm", 5),
    // Numbers that can't be held.
    (b"{\"a\":9007199254740992}", "NumberRange", 5),
    (b"{\"a\":-9007199254740992}", "NumberRange", 5),
    (b"{\"a\":9007199254740993.0}", "NumberRange", 5),
    (b"{\"a\":18446744073709551616}", "NumberRange", 5),
    // 2⁶⁴ + 4: a product that wraps to 0.
    (b"{\"a\":18446744073709551620}", "NumberRange", 5),
    (b"{\"a\":1000000000000000000000}", "NumberRange", 5),
    (b"{\"a\":1e+20}", "NumberRange", 5),
    (b"{\"a\":1E400}", "NumberRange", 5),
    (b"{\"a\":-1e+309}", "NumberRange", 5),
    (b"{\"a\":2e-324}", "NumberRange", 5),
    (b"{\"a\":1e-400}", "NumberRange", 5),
    // Not numbers.
    (b"{\"a\":01}", "Syntax", 6),
    (b"{\"a\":-01}", "Syntax", 7),
    (b"{\"a\":+1}", "Syntax", 5),
    (b"{\"a\":-}", "Syntax", 6),
    (b"{\"a\":.5}", "Syntax", 5),
    (b"{\"a\":1.}", "Syntax", 7),
    (b"{\"a\":1e}", "Syntax", 7),
    (b"{\"a\":1e+}", "Syntax", 8),
    (b"{\"a\":NaN}", "Syntax", 5),
    (b"{\"a\":0x1}", "Syntax", 6),
];

/// Which kind of fault: the variant's name.
fn kind(error: &JsonError) -> String {
    let shown = format!("{error:?}");
    shown.split(' ').next().unwrap().to_owned()
}

#[test]
fn one_step_from_canonical_is_refused_where_it_departs() {
    for &(document, expected, at) in REFUSED {
        let shown = String::from_utf8_lossy(document);
        let error = check(document, &LIMITS).expect_err(&shown);
        assert_eq!((kind(&error), error.at()), (expected.to_owned(), Some(at)), "{shown}");
        assert_eq!(parse_value(document, &LIMITS), Err(error), "{shown}");
    }
}

#[test]
fn every_kind_of_fault_is_shown_once_at_least() {
    let mut shown: Vec<&str> = REFUSED.iter().map(|&(_, kind, _)| kind).collect();
    shown.sort_unstable();
    shown.dedup();
    // The other four are limits (tested below) and Disagreement (a defect).
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
                0..0x20 => Some(("Control", 6 + place)),
                // The string ends early, or the next character is no escape.
                b'"' => Some(("Syntax", 7 + place)),
                // Before the last quote the backslash is an escape, and the string never ends.
                b'\\' if place == 19 => Some(("Syntax", 28)),
                b'\\' => Some(("Syntax", 6 + place)),
                0x80.. => Some(("Utf8", 6 + place)),
                _ => None,
            };
            let fault = check(&document, &LIMITS).err().map(|error| (kind(&error), error.at().unwrap()));
            assert_eq!(
                fault,
                expected.map(|(kind, at): (&str, usize)| (kind.to_owned(), at)),
                "{byte:#x} at {place}"
            );
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
    assert_eq!(kind(&check(&nested(100_000), &unlimited).unwrap_err()), "TooDeep");

    let five = Limits { bytes: 5, depth: 1 };
    assert_eq!(check(br#"{"":1}"#, &five).err(), Some(JsonError::TooLarge { bytes: 6, limit: 5 }));
    assert!(check(br#"{"":1}"#, &Limits { bytes: 6, ..five }).is_ok());

    let members = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("\"{i:02}\":{i}")).collect();
        format!("{{{}}}", names.join(",")).into_bytes()
    };
    assert_eq!(check(&members(MAX_MEMBERS), &LIMITS).unwrap().members().len(), MAX_MEMBERS);
    let error = check(&members(MAX_MEMBERS + 1), &LIMITS).unwrap_err();
    assert_eq!(kind(&error), "TooManyMembers");
    assert_eq!(members(MAX_MEMBERS + 1)[error.at().unwrap()], b'"');
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
        (r#"{"a":1,"b":2,"a":3}"#, "DuplicateKey", 13),
        (r#"{"a":1,"b":2,"\u0061":3}"#, "DuplicateKey", 13),
        (r#"{"\u0061":1,"b":{"a":1},"a":3}"#, "DuplicateKey", 24),
        ("{\"\u{1F600}\":1,\"\\uD83D\\uDE00\":2}", "DuplicateKey", 10),
        (r#"[{"b":1}]"#, "NotObject", 0),
        (r#"{"b":"\uD800"}"#, "Surrogate", 6),
        (r#"{"b":"\uFDD0"}"#, "Noncharacter", 6),
        (r#"{"b":1e400}"#, "NumberRange", 5),
        (r#"{"b":1e-400}"#, "NumberRange", 5),
        (r#"{"b":9007199254740992}"#, "NumberRange", 5),
        (r#"{"b":1e20}"#, "NumberRange", 5),
        ("{} x", "Trailing", 3),
        ("\u{FEFF}{}", "ByteOrderMark", 0),
        ("\u{A0}{}", "Syntax", 0),
    ];
    for &(input, expected, at) in refused {
        let error = canonicalize_input(input.as_bytes(), &LIMITS).expect_err(input);
        assert_eq!((kind(&error), error.at()), (expected.to_owned(), Some(at)), "{input}");
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
        (json!({ "a": MAX_INTEGER + 1 }), "NumberRange"),
        (json!({ "a": i64::MIN }), "NumberRange"),
        (json!({ "a": -(MAX_INTEGER as i64) - 1 }), "NumberRange"),
        (json!({ "a": u64::MAX }), "NumberRange"),
        (json!({ "a": 9007199254740992.0 }), "NumberRange"),
        (json!({ "a": -999_999_999_999_999_900_000.0 }), "NumberRange"),
        (json!({ "a": "\u{FFFF}" }), "Noncharacter"),
        (json!({ "\u{10FFFE}": "" }), "Noncharacter"),
        (json!([deep]), "TooDeep"),
    ];
    for (value, expected) in refused {
        assert_eq!(kind(&to_canonical(&value).unwrap_err()), expected, "{value}");
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
