//! Records at the edge of what a value may be, and one step beyond it.

use counterfoil_receipt::Type;

use super::{Case, Samples, faults::case, sign_anew};

pub(super) fn cases(samples: &Samples) -> Vec<Case> {
    [numbers(samples), strings(samples), surrogates(samples), lists_and_terms(samples)]
        .into_iter()
        .flatten()
        .collect()
}

fn numbers(samples: &Samples) -> Vec<Case> {
    let number = |digits: &str| arguments(samples, &format!(r#"{{"n":{digits}}}"#));
    vec![
        holds("integer-largest", "The largest integer.", number("9007199254740991")),
        holds("number-exponent", "A number beyond the integers, with an exponent.", number("1e+21")),
        case(
            "json-integer-range",
            "R-JSON-06",
            &["NumberRange"],
            "The integer 2⁵³.",
            number("9007199254740992"),
        ),
        case(
            "json-integer-range-negative",
            "R-JSON-06",
            &["NumberRange"],
            "The integer −2⁵³.",
            number("-9007199254740992"),
        ),
        case(
            "json-integer-range-wide",
            "R-JSON-06",
            &["NumberRange"],
            "10²⁰, as RFC 8785 spells this double: an integer out of range to whoever reads digits.",
            number("100000000000000000000"),
        ),
    ]
}

fn strings(samples: &Samples) -> Vec<Case> {
    let code = |value: &str| string(samples, Type::Refusal, "code", value);
    let summary = |value: &str| string(samples, Type::Proposal, "summary", value);
    let nonce = |length| string(samples, Type::Execution, "nonce", &"n".repeat(length));
    let invalid = |name, description, bytes| case(name, "R-REC-06", &["InvalidValue"], description, bytes);
    vec![
        holds(
            "label-no-break-space",
            "U+00A0, the first character after the controls, in a label.",
            code("use\u{A0}consumed"),
        ),
        invalid("field-invalid-label-delete", "U+007F in a label.", code("use\u{7F}consumed")),
        invalid(
            "field-invalid-label-c1-first",
            "U+0080, the first C1 control, in a label.",
            code("use\u{80}consumed"),
        ),
        invalid(
            "field-invalid-label-c1-last",
            "U+009F, the last C1 control, in a label.",
            code("use\u{9F}consumed"),
        ),
        invalid("field-invalid-label-tab", "A tab in a label.", code(r"use\tconsumed")),
        holds(
            "text-controls",
            "Line feed and tab, the two controls of a text.",
            summary("Make\\n\\troom\u{A0}."),
        ),
        invalid("field-invalid-text-return", "A carriage return in a text.", summary(r"Make\rroom.")),
        invalid(
            "field-invalid-text-c1",
            "U+0085 in a text: a line feed to some terminals.",
            summary("Make\u{85}room."),
        ),
        holds(
            "arguments-controls",
            "Any character but a noncharacter in the arguments, which are open.",
            arguments(samples, "{\"n\":\"\\u0000\\u001b\u{7F}\u{85}\u{FDCF}\u{FDF0}\u{FFFD}\"}"),
        ),
        holds("nonce-longest", "A nonce of 64 characters; that of valid-execution has 22.", nonce(64)),
        invalid("field-invalid-nonce-short", "A nonce of 21 characters.", nonce(21)),
        invalid("field-invalid-nonce-long", "A nonce of 65 characters.", nonce(65)),
        invalid(
            "field-invalid-nonce-padded",
            "A nonce with padding.",
            string(samples, Type::Execution, "nonce", "nonce-of-scenario-0000=="),
        ),
    ]
}

fn surrogates(samples: &Samples) -> Vec<Case> {
    let summary = |value: &str| string(samples, Type::Proposal, "summary", value);
    let unicode = |name, description, bytes| case(name, "R-JSON-05", &["Unicode"], description, bytes);
    vec![
        unicode("json-surrogate", "An escaped high surrogate without its pair.", summary(r"\ud800")),
        unicode("json-surrogate-low", "An escaped low surrogate without its pair.", summary(r"\udc00")),
        unicode(
            "json-surrogate-swapped",
            "A pair of escaped surrogates, the low one first.",
            summary(r"\ude00\ud83d"),
        ),
        unicode(
            "json-surrogate-name",
            "A name with an escaped surrogate without its pair.",
            arguments(samples, r#"{"\ud800":1}"#),
        ),
        unicode("json-noncharacter-block", "The noncharacter U+FDD0.", summary("\u{FDD0}")),
        unicode("json-noncharacter-last", "The noncharacter U+10FFFF.", summary("\u{10FFFF}")),
        case(
            "json-canonical-surrogates",
            "R-JSON-03",
            &["CanonicalForm"],
            "A character that is written as two escaped surrogates.",
            summary(r"\ud83d\ude00"),
        ),
        case(
            "json-utf8-surrogate",
            "R-JSON-01",
            &["Unicode"],
            "A surrogate in three bytes, which is not UTF-8.",
            {
                let mut bytes = summary("###");
                let at = bytes.windows(3).position(|window| window == b"###").expect("the summary");
                bytes[at..at + 3].copy_from_slice(b"\xED\xA0\x80");
                sign_anew(bytes, &samples.cast.scout)
            },
        ),
    ]
}

fn lists_and_terms(samples: &Samples) -> Vec<Case> {
    let tags = |tags: &str| samples.with(Type::Proposal, r#"["database","production"]"#, tags);
    let terms = |uses, from, until| {
        decision(
            samples,
            &format!(r#""uses":{uses},"verdict":"approve","window":{{"from":{from},"until":{until}}}"#),
        )
    };
    vec![
        holds(
            "list-utf8-order",
            "Tags in the order of their UTF-8 bytes, which is not that of UTF-16.",
            tags("[\"\u{FB33}\",\"\u{1F600}\"]"),
        ),
        case(
            "list-utf16-order",
            "R-REC-10",
            &["UnsortedList"],
            "Tags in the order of UTF-16 code units, as names of members are sorted.",
            tags("[\"\u{1F600}\",\"\u{FB33}\"]"),
        ),
        holds("terms", "An approval for a millisecond and 1,000 uses.", terms(1_000, 1, 2)),
        case(
            "decision-window-empty",
            "R-DEC-01",
            &["DecisionTerms"],
            "A window that ends where it starts.",
            terms(1, 2, 2),
        ),
        case(
            "field-invalid-uses",
            "R-REC-06",
            &["InvalidValue", "DecisionTerms"],
            "An approval for 1,001 uses.",
            terms(1_001, 1, 2),
        ),
    ]
}

fn holds(name: &str, description: &'static str, bytes: Vec<u8>) -> Case {
    Case { name: format!("valid-{name}"), description, flags: &[], bytes, breaks: None }
}

/// A proposal of an action with these arguments.
pub(super) fn arguments(samples: &Samples, arguments: &str) -> Vec<u8> {
    samples.with(Type::Proposal, r#"{"amount":"12.50","full":true,"list":[1,2.5,null,"€"]}"#, arguments)
}

/// A record of this type whose only member of this name has this value, as JSON spells it between quotes.
fn string(samples: &Samples, kind: Type, name: &str, value: &str) -> Vec<u8> {
    let text = samples.text(kind);
    let open = format!(r#""{name}":""#);
    let start = text.find(&open).expect("the member");
    let end = start + open.len() + text[start + open.len()..].find('"').expect("the end of the string");
    samples.with(kind, &text[start..=end], &format!("{open}{value}\""))
}

/// A decision without `changes`, with these members instead of its verdict.
pub(super) fn decision(samples: &Samples, members: &str) -> Vec<u8> {
    let text = samples.text(Type::Decision);
    let start = text.find(r#""changes":"#).expect("changes");
    let end = text.find(r#""policy":"#).expect("a policy");
    let text = format!("{}{}", &text[..start], &text[end..]);
    sign_anew(text.replace(r#""verdict":"request_changes""#, members).into_bytes(), &samples.cast.bo)
}
