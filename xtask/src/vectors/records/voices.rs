//! Who speaks in a decision: its signer, or the server for somebody else, or because a time is out.

use counterfoil_receipt::body::Type;

use super::{Case, Samples, faults::case, sign_anew};

pub fn cases(samples: &Samples) -> Vec<Case> {
    let holds = |name: &str, description, bytes| Case {
        name: format!("valid-{name}"),
        description,
        flags: &[],
        bytes,
        breaks: None,
    };
    let breaks = |name: &str, flag: &'static [&'static str], description, bytes| {
        case(name, "R-DEC-03", flag, description, bytes)
    };
    let link = (r#""surface":"terminal""#, r#""surface":"link""#);
    let none = (r#""surface":"terminal""#, r#""surface":"none""#);
    let approver = (r#""basis":"#, r#""approver":"ana","basis":"#);
    let rule = (r#""shown":"#, r#""rule":"two","shown":"#);
    let rejects = (r#""verdict":"request_changes""#, r#""verdict":"reject""#);
    let timed_out =
        |changes: &[(&str, &str)]| without(without(decision(samples, changes), "shown"), "changes");
    let engine = |text: String| as_engine(samples, &text);
    let human = |text: String| sign_anew(text.into_bytes(), &samples.cast.bo);
    vec![
        holds(
            "decision-by-link",
            "A decision on somebody's behalf.",
            engine(decision(samples, &[approver, link])),
        ),
        holds("decision-by-timeout", "The time of a rule is out.", engine(timed_out(&[rule, none, rejects]))),
        breaks(
            "decision-voice-human-for-another",
            &["LinkForgery"],
            "A human decides on somebody else's behalf.",
            human(decision(samples, &[approver, link])),
        ),
        breaks(
            "decision-voice-human-timeout",
            &["InventedTimer"],
            "A human says that the time of a rule is out.",
            human(timed_out(&[rule, none, rejects])),
        ),
        breaks(
            "decision-voice-human-unshown",
            &["EnvelopeForm"],
            "A human decides on nothing that was shown.",
            human(without(decision(samples, &[]), "shown")),
        ),
        breaks(
            "decision-voice-policy-alone",
            &["InventedTimer"],
            "A decision in role policy on nobody's behalf and without a rule.",
            engine(decision(samples, &[link])),
        ),
        breaks(
            "decision-voice-both",
            &["InventedTimer", "LinkForgery"],
            "A decision in role policy on somebody's behalf that is a time-out too.",
            engine(timed_out(&[approver, rule, none, rejects])),
        ),
        breaks(
            "decision-voice-link-elsewhere",
            &["LinkForgery"],
            "A decision on somebody's behalf that claims to be from a terminal.",
            engine(decision(samples, &[approver])),
        ),
        breaks(
            "decision-voice-link-unshown",
            &["LinkForgery"],
            "A decision on somebody's behalf who was shown nothing.",
            engine(without(decision(samples, &[approver, link]), "shown")),
        ),
        breaks(
            "decision-voice-timeout-elsewhere",
            &["InventedTimer"],
            "A time-out that claims to be from a terminal.",
            engine(timed_out(&[rule, rejects])),
        ),
        breaks(
            "decision-voice-timeout-with-changes",
            &["InventedTimer"],
            "A time-out that asks for changes.",
            engine(timed_out(&[rule, none])),
        ),
        breaks(
            "decision-voice-timeout-shown",
            &["InventedTimer"],
            "A time-out that was shown to somebody.",
            engine(without(decision(samples, &[rule, none, rejects]), "changes")),
        ),
    ]
}

/// The example of a decision after these replacements.
fn decision(samples: &Samples, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(samples.text(Type::Decision), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        text.replace(from, to)
    })
}

/// Takes a member out of the body; it is an object.
fn without(text: String, member: &str) -> String {
    let start = text.find(&format!(r#""{member}":{{"#)).expect("the member");
    let mut depth = 0;
    let length = text[start..].find(|one| {
        depth += i32::from(one == '{') - i32::from(one == '}');
        one == '}' && depth == 0
    });
    // With the comma after it.
    let end = start + length.expect("its end") + 2;
    format!("{}{}", &text[..start], &text[end..])
}

/// The same, signed in role `policy`.
fn as_engine(samples: &Samples, text: &str) -> Vec<u8> {
    let engine = &samples.cast.engine;
    let start = text.find(r#""signer":{"#).expect("a signer");
    let end = start + text[start..].find('}').expect("its end");
    let signer =
        format!(r#""signer":{{"key":"{}","principal":"{}","role":"policy""#, engine.key(), engine.principal);
    sign_anew(format!("{}{signer}{}", &text[..start], &text[end..]).into_bytes(), engine)
}
