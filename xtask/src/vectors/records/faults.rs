//! Records that break one rule.

use counterfoil_receipt::Type;

use super::{
    Case, Samples,
    bounds::{arguments, decision},
    nested, parents, sign_anew, sized, with_parents,
};

pub(super) fn cases(samples: &Samples) -> Vec<Case> {
    [json_faults(samples), shape_faults(samples), field_faults(samples)].into_iter().flatten().collect()
}

fn json_faults(samples: &Samples) -> Vec<Case> {
    let plan = |from: &str, to: &str| samples.with(Type::Observation, from, to);
    let arguments = |to: &str| arguments(samples, to);
    let scout = &samples.cast.scout;
    let good = samples.text(Type::Observation).into_bytes();
    let mut not_utf8 = samples.text(Type::Observation).into_bytes();
    let at = not_utf8.windows(7).position(|window| window == b"Vacuum ").expect("the summary");
    not_utf8[at] = 0xFF;
    let kind = r#""kind":"plan","#;
    vec![
        case(
            "json-utf8-bom",
            "R-JSON-01",
            &["Unicode"],
            "A byte order mark comes first.",
            [b"\xEF\xBB\xBF", &*good].concat(),
        ),
        case(
            "json-utf8-invalid",
            "R-JSON-01",
            &["Unicode"],
            "A string holds the byte FF.",
            sign_anew(not_utf8, scout),
        ),
        case(
            "json-syntax-quotes",
            "R-JSON-02",
            &["CanonicalForm"],
            "A string in single quotes.",
            plan(r#""plan""#, "'plan'"),
        ),
        case(
            "json-syntax-array",
            "R-JSON-02",
            &["CanonicalForm"],
            "A batch: the record stands in an array.",
            [b"[", &*good, b"]"].concat(),
        ),
        case(
            "json-syntax-cut",
            "R-JSON-02",
            &["TailTruncated"],
            "The last byte is missing.",
            good[..good.len() - 1].to_vec(),
        ),
        case("json-syntax-empty", "R-JSON-02", &["TailTruncated"], "No bytes at all.", Vec::new()),
        case(
            "json-syntax-control",
            "R-JSON-02",
            &["CanonicalForm"],
            "A line feed stands unescaped in a string.",
            plan("it.\\n", "it.\n"),
        ),
        case(
            "json-canonical-space",
            "R-JSON-03",
            &["CanonicalForm"],
            "A space after a colon.",
            plan(r#""kind":"#, r#""kind": "#),
        ),
        case("json-canonical-order", "R-JSON-03", &["CanonicalForm"], "Two members in the wrong order.", {
            let text = samples.text(Type::Observation).replace(kind, "");
            sign_anew(text.replace(r#"{"items""#, r#"{"kind":"plan","items""#).into_bytes(), scout)
        }),
        case(
            "json-canonical-escape",
            "R-JSON-03",
            &["CanonicalForm"],
            "A letter is written as an escape.",
            plan("Vacuum", "\\u0056acuum"),
        ),
        case(
            "json-canonical-solidus",
            "R-JSON-03",
            &["CanonicalForm"],
            "A solidus is escaped.",
            plan("it.\\n", "it.\\/\\n"),
        ),
        case(
            "json-canonical-upper-hex",
            "R-JSON-03",
            &["CanonicalForm"],
            "An escape in upper case.",
            plan("it.\\n", "it.\\u001F"),
        ),
        case(
            "json-canonical-number",
            "R-JSON-03",
            &["CanonicalForm"],
            "A number with a needless fraction.",
            arguments(r#"{"n":1.0}"#),
        ),
        case(
            "json-canonical-exponent",
            "R-JSON-03",
            &["CanonicalForm"],
            "A number with a needless exponent.",
            arguments(r#"{"n":1e3}"#),
        ),
        case(
            "json-canonical-minus-zero",
            "R-JSON-03",
            &["CanonicalForm"],
            "Minus zero.",
            arguments(r#"{"n":-0}"#),
        ),
        case(
            "json-canonical-integer-keys",
            "R-JSON-03",
            &["IntegerLikeKeys"],
            "Names that look like integers, in numeric order.",
            arguments(r#"{"2":1,"10":1}"#),
        ),
        case(
            "json-canonical-code-points",
            "R-JSON-03",
            &["CanonicalForm"],
            "Names in the order of code points, not of UTF-16.",
            arguments("{\"\u{FB33}\":1,\"\u{1F600}\":1}"),
        ),
        case(
            "json-duplicate",
            "R-JSON-04",
            &["DuplicateKey"],
            "A member stands twice.",
            plan(kind, r#""kind":"plan","kind":"plan","#),
        ),
        case(
            "json-duplicate-nested",
            "R-JSON-04",
            &["DuplicateKey"],
            "An argument stands twice, with two values.",
            arguments(r#"{"full":false,"full":true}"#),
        ),
        case(
            "json-noncharacter",
            "R-JSON-05",
            &["Unicode"],
            "The noncharacter U+FFFE.",
            plan("Vacuum", "Vacuum\u{FFFE}"),
        ),
        case(
            "json-double-range",
            "R-JSON-06",
            &["NumberRange"],
            "A number beyond the doubles.",
            arguments(r#"{"n":1e+400}"#),
        ),
        case(
            "json-double-vanishes",
            "R-JSON-06",
            &["NumberRange"],
            "A number that every double rounds to zero.",
            arguments(r#"{"n":1e-400}"#),
        ),
        case("json-depth", "R-JSON-07", &["NestingBomb"], "Nesting of 33.", arguments(&nested(30))),
        case(
            "json-trailing-line-feed",
            "R-JSON-08",
            &["TrailingBytes"],
            "A line feed after the object.",
            [&*good, b"\n"].concat(),
        ),
        case(
            "json-trailing-object",
            "R-JSON-08",
            &["TrailingBytes"],
            "A second object after the first.",
            [&*good, b"{}"].concat(),
        ),
    ]
}

fn shape_faults(samples: &Samples) -> Vec<Case> {
    let log = format!(r#""log":"{}","#, samples.records[1].log().expect("a log"));
    let with = |kind, from: &str, to: &str| samples.with(kind, from, to);
    let mut unnamed = samples.text(Type::Observation);
    let time = unnamed.find(r#""time":"#).expect("a time");
    let comma = time + unnamed[time..].find(',').expect("more members");
    unnamed.replace_range(time..=comma, "");
    let long = format!(r#""summary":"{}""#, "a".repeat(4_097));
    vec![
        case("record-too-large", "R-REC-01", &["OversizedRecord"], "65,536 bytes.", sized(samples, 65_536)),
        case(
            "version-unknown",
            "R-REC-02",
            &["UnknownVersion"],
            "The version of a later format.",
            with(Type::Trigger, "counterfoil/1", "counterfoil/2"),
        ),
        case(
            "type-unknown",
            "R-REC-03",
            &["UnknownVersion"],
            "A type that no table has.",
            with(Type::Trigger, r#""type":"trigger""#, r#""type":"approval""#),
        ),
        case(
            "field-unknown-envelope",
            "R-REC-04",
            &["UnknownMember"],
            "The envelope has a member more.",
            with(Type::Trigger, r#""time":"#, r#""subject":"x","time":"#),
        ),
        case(
            "field-unknown-body",
            "R-REC-04",
            &["UnknownMember"],
            "The body has a member more: a condition that nobody applies.",
            with(Type::Decision, r#""policy":"#, r#""only_if":"night","policy":"#),
        ),
        case(
            "field-unknown-item",
            "R-REC-04",
            &["UnknownMember"],
            "An item has a member more.",
            with(
                Type::Outcome,
                r#""media_type":"application/json","#,
                r#""media_type":"application/json","name":"x","#,
            ),
        ),
        case(
            "field-missing-envelope",
            "R-REC-05",
            &["MissingMember"],
            "The envelope has no `time`.",
            sign_anew(unnamed.into_bytes(), &samples.cast.scout),
        ),
        case(
            "field-missing-body",
            "R-REC-05",
            &["MissingMember"],
            "A proposal without `audience`.",
            with(Type::Proposal, r#""audience":{"group":"prod"},"#, ""),
        ),
        case(
            "field-missing-both",
            "R-REC-05",
            &["MissingMember"],
            "An observation with neither items nor summary.",
            {
                let text = samples.text(Type::Observation);
                let (start, end) =
                    (text.find(r#""items":["#).expect("items"), text.find(r#""kind""#).expect("kind"));
                let text = format!("{}{}", &text[..start], &text[end..]);
                let text = text.replace(",\"summary\":\"Vacuum \u{1F600} it.\\nThen look again.\"", "");
                sign_anew(text.into_bytes(), &samples.cast.scout)
            },
        ),
        case(
            "field-invalid-type",
            "R-REC-06",
            &["InvalidValue"],
            "A number where a string belongs.",
            with(Type::Refusal, r#""code":"use-consumed""#, r#""code":17"#),
        ),
        case(
            "field-invalid-text",
            "R-REC-06",
            &["InvalidValue"],
            "A text of 4,097 bytes.",
            with(Type::Proposal, r#""summary":"Make room.""#, &long),
        ),
        case(
            "field-invalid-amount",
            "R-REC-06",
            &["InvalidValue"],
            "An amount as a number.",
            with(Type::Proposal, r#""amount":"12.50","currency""#, r#""amount":12.5,"currency""#),
        ),
        case(
            "field-invalid-amount-sign",
            "R-REC-06",
            &["InvalidValue"],
            "A negative amount.",
            with(Type::Proposal, r#""amount":"12.50","currency""#, r#""amount":"-12.50","currency""#),
        ),
        case(
            "field-invalid-currency",
            "R-REC-06",
            &["InvalidValue"],
            "A currency in lower case.",
            with(Type::Proposal, r#""EUR""#, r#""eur""#),
        ),
        case(
            "field-invalid-principal",
            "R-REC-06",
            &["InvalidValue"],
            "A principal in upper case.",
            with(Type::Escalation, r#"{"principal":"ana"}"#, r#"{"principal":"Ana"}"#),
        ),
        case(
            "field-invalid-label",
            "R-REC-06",
            &["InvalidValue"],
            "A line feed in a label.",
            with(Type::Refusal, r#""use-consumed""#, r#""use-consumed\n""#),
        ),
        case(
            "field-invalid-use",
            "R-REC-06",
            &["InvalidValue"],
            "Use 0.",
            with(Type::Execution, r#""use":1"#, r#""use":0"#),
        ),
        case(
            "field-invalid-break-glass",
            "R-REC-06",
            &["BreakGlass"],
            "An execution that breaks the glass and names decisions, which nobody would judge.",
            {
                let reason = r#""break_glass":{"reason":"The site is down."},"decisions":["#;
                with(Type::Execution, r#""decisions":["#, reason)
            },
        ),
        case(
            "field-invalid-settlement",
            "R-REC-06",
            &["InvalidValue"],
            "A settlement that settles nothing.",
            with(Type::Settlement, r#""status":"failed""#, r#""status":"unknown""#),
        ),
        case(
            "field-invalid-threshold",
            "R-REC-06",
            &["AuthorityForgery"],
            "A threshold that the roots can't meet.",
            with(Type::Genesis, r#""threshold":1"#, r#""threshold":3"#),
        ),
        case("field-invalid-hash", "R-REC-06", &["InvalidValue"], "A hash in upper case.", {
            let id = samples.records[0].id().to_string();
            with(
                Type::Endorsement,
                &format!(r#""candidate":"{id}""#),
                &format!(r#""candidate":"sha256:{}""#, id[7..].to_uppercase()),
            )
        }),
        case(
            "field-invalid-signature-bits",
            "R-REC-06",
            &["Base64Spelling", "SignatureMalleability"],
            "The unused bits of the signature's last character are not zero.",
            {
                let text = samples.text(Type::Trigger);
                let sig = text.find(r#""sig":""#).expect("a signature") + 7;
                let last = &text[sig + 85..sig + 86];
                let other = char::from(last.as_bytes()[0] + 1);
                format!("{}{other}{}", &text[..sig + 85], &text[sig + 86..]).into_bytes()
            },
        ),
        case(
            "field-invalid-signature-padding",
            "R-REC-06",
            &["Base64Spelling"],
            "The signature is padded.",
            samples.text(Type::Trigger).replace(r#"","signer""#, r#"==","signer""#).into_bytes(),
        ),
        case(
            "envelope-trigger-with-run",
            "R-REC-07",
            &["EnvelopeForm"],
            "A trigger that names parents and a run.",
            {
                let id = samples.records[0].id();
                let text = samples
                    .text(Type::Trigger)
                    .replace(r#","sig""#, &format!(r#","parents":["{id}"],"run":"{id}","sig""#));
                sign_anew(text.into_bytes(), &samples.cast.scout)
            },
        ),
        case(
            "envelope-no-log",
            "R-REC-07",
            &["EnvelopeForm", "LogReplay"],
            "A trigger that names no log.",
            with(Type::Trigger, &log, ""),
        ),
        case("envelope-genesis-with-log", "R-REC-07", &["EnvelopeForm"], "A genesis that names a log.", {
            let text = samples.text(Type::Genesis).replace(r#","sig""#, &format!(r#",{}"sig""#, log));
            sign_anew(text.into_bytes(), &samples.cast.root)
        }),
        case(
            "envelope-decision-with-prev",
            "R-REC-07",
            &["EnvelopeForm"],
            "A decision that also names a `prev`.",
            {
                let id = samples.records[0].id();
                with(Type::Decision, r#","run":"#, &format!(r#","prev":"{id}","run":"#))
            },
        ),
    ]
}

fn field_faults(samples: &Samples) -> Vec<Case> {
    let with = |kind, from: &str, to: &str| samples.with(kind, from, to);
    let mut backwards = parents(2);
    backwards.reverse();
    let twice = [&parents(1)[..], &parents(1)[..]].concat();
    let committed = r#""committed":{"/token":""#;
    let commitment = |text: &str| {
        let start = text.find(committed).expect("a committed path") + committed.len();
        text[start..start + 71].to_owned()
    };
    let token = commitment(&samples.text(Type::Proposal));
    let token_member = format!(r#""committed":{{"/token":"{token}"}}"#);
    let free = r#""free":["/attempt","/trace"]"#;
    vec![
        case("parents-none", "R-REC-09", &["DanglingReference"], "No parents.", with_parents(samples, &[])),
        case(
            "parents-too-many",
            "R-REC-09",
            &["InvalidValue"],
            "17 parents.",
            with_parents(samples, &parents(17)),
        ),
        case(
            "parents-descend",
            "R-REC-09",
            &["UnsortedList"],
            "Two parents in the wrong order.",
            with_parents(samples, &backwards),
        ),
        case(
            "parents-repeat",
            "R-REC-09",
            &["UnsortedList"],
            "One parent twice.",
            with_parents(samples, &twice),
        ),
        case(
            "list-tags-descend",
            "R-REC-10",
            &["UnsortedList"],
            "Tags in the wrong order.",
            with(Type::Proposal, r#"["database","production"]"#, r#"["production","database"]"#),
        ),
        case(
            "list-groups-repeat",
            "R-REC-10",
            &["UnsortedList"],
            "One group twice.",
            with(Type::Keyring, r#"["dba","sre"]"#, r#"["sre","sre"]"#),
        ),
        case(
            "list-decisions-repeat",
            "R-REC-10",
            &["UnsortedList", "QuorumInflation"],
            "One decision named twice.",
            {
                let text = samples.text(Type::Execution);
                let start = text.find(r#""decisions":["#).expect("decisions") + 13;
                let (first, second) = (&text[start..start + 73], &text[start + 74..start + 147]);
                with(Type::Execution, &format!("{first},{second}"), &format!("{first},{first}"))
            },
        ),
        case(
            "list-free-descend",
            "R-REC-10",
            &["UnsortedList"],
            "Free paths in the wrong order.",
            with(Type::Proposal, free, r#""free":["/trace","/attempt"]"#),
        ),
        case(
            "committed-stands-in-arguments",
            "R-ACT-01",
            &["ArgumentSmuggling"],
            "A committed path that also stands in the arguments.",
            with(Type::Proposal, r#"{"/token":"#, r#"{"/full":"#),
        ),
        case(
            "committed-through-a-value",
            "R-ACT-01",
            &["ArgumentSmuggling"],
            "A committed path leads through an argument that is no object.",
            with(Type::Proposal, r#"{"/token":"#, r#"{"/full/x":"#),
        ),
        case(
            "committed-nested",
            "R-ACT-01",
            &["ArgumentSmuggling"],
            "A committed path lies within another.",
            with(
                Type::Proposal,
                &token_member,
                &format!(r#""committed":{{"/token":"{token}","/token/part":"{token}"}}"#),
            ),
        ),
        case(
            "free-stands-in-arguments",
            "R-ACT-02",
            &["ArgumentSmuggling"],
            "A free path that also stands in the arguments: bound or not?",
            with(Type::Proposal, free, r#""free":["/attempt","/full"]"#),
        ),
        case(
            "free-in-array",
            "R-ACT-02",
            &["ArgumentSmuggling"],
            "A free path into a list of arguments.",
            with(Type::Proposal, free, r#""free":["/list/0","/trace"]"#),
        ),
        case(
            "free-nested",
            "R-ACT-02",
            &["ArgumentSmuggling"],
            "A free path lies within another.",
            with(Type::Proposal, free, r#""free":["/trace","/trace/id"]"#),
        ),
        case(
            "free-committed",
            "R-ACT-02",
            &["ArgumentSmuggling"],
            "A free path is also committed.",
            with(Type::Proposal, free, r#""free":["/token","/trace"]"#),
        ),
        case(
            "decision-approve-without-window",
            "R-DEC-01",
            &["DecisionTerms", "ExpiredApproval"],
            "An approval without a window.",
            decision(samples, r#""uses":1,"verdict":"approve""#),
        ),
        case(
            "decision-approve-without-uses",
            "R-DEC-01",
            &["DecisionTerms"],
            "An approval without uses.",
            decision(samples, r#""verdict":"approve","window":{"from":1,"until":2}"#),
        ),
        case(
            "decision-reject-with-terms",
            "R-DEC-01",
            &["DecisionTerms"],
            "A rejection with window and uses.",
            decision(samples, r#""uses":1,"verdict":"reject","window":{"from":1,"until":2}"#),
        ),
        case(
            "decision-window-inverted",
            "R-DEC-01",
            &["DecisionTerms"],
            "A window that ends before it starts.",
            decision(samples, r#""uses":1,"verdict":"approve","window":{"from":2,"until":1}"#),
        ),
        case(
            "field-invalid-authority-validity",
            "R-REC-06",
            &["InvalidValue", "KeyLifecycle"],
            "A key of the authority has a validity, so the authority could run out.",
            with(Type::Keyring, r#""role":"human""#, r#""role":"authority""#),
        ),
        case(
            "field-invalid-log-validity",
            "R-REC-06",
            &["InvalidValue", "KeyLifecycle"],
            "The key that gives log time has a validity, by that time.",
            with(Type::Keyring, r#""role":"human""#, r#""role":"log""#),
        ),
        case(
            "decision-reject-with-changes",
            "R-DEC-01",
            &["DecisionTerms"],
            "A rejection that asks for changes.",
            with(Type::Decision, r#""verdict":"request_changes""#, r#""verdict":"reject""#),
        ),
    ]
}

pub(super) fn case(
    name: &str,
    breaks: &'static str,
    flags: &'static [&'static str],
    description: &'static str,
    bytes: Vec<u8>,
) -> Case {
    Case { name: name.to_owned(), description, flags, bytes, breaks: Some(breaks) }
}
