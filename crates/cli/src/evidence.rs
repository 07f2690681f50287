//! Evidence against a log, confirmed offline: what it signed, and which rule that breaks (`spec/audit.md`).

use counterfoil_receipt::{evidence::FORMAT, limits};
use counterfoil_verify::{Conviction, NotConvicted, convictions};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome, USAGE, VIOLATED},
    known::Known,
    output,
    text::printable,
};

/// Bytes of an evidence file: 64 cases, each of two of the largest notes, and two of the largest entries in base64url.
pub const BYTES: usize = 64 * 2 * (limits::NOTE_BYTES * 2 + 88_000 + 8_192);

/// Whether a file with this first line says that it is evidence. The line is canonical, so that a header spells its format
/// so; no other member of one, or of a bundle's, can contain it.
pub fn is_header(line: &[u8]) -> bool {
    let format = format!("\"format\":\"{FORMAT}\"");
    line.windows(format.len()).any(|part| part == format.as_bytes())
}

/// Says what an evidence file shows of the log.
pub fn confirm(file: &[u8], known: &Known, context: &Context) -> Outcome {
    let shown = convictions(file, known.accused()).map_err(|why| refused(&why))?;
    if context.json {
        output::print_json(&to_json(&shown))?;
    } else {
        output::print(&to_text(&shown, context))?;
    }
    Ok(VIOLATED)
}

fn refused(why: &NotConvicted) -> Failure {
    let (code, status, hint) = match why {
        NotConvicted::Malformed { .. } => (
            "evidence-malformed",
            USAGE,
            "check that this is a file that `counterfoil log audit --evidence` wrote",
        ),
        NotConvicted::NotShown { .. } => (
            "evidence-not-shown",
            NOT_SHOWN,
            "it convicts nobody; check that it is about the log of the trust file",
        ),
    };
    let text = why.to_string();
    let why = text.strip_prefix(code).and_then(|why| why.strip_prefix(": ")).unwrap_or(&text);
    Failure::new(code, printable(why), hint).with_status(status)
}

fn to_json(shown: &[Conviction]) -> serde_json::Value {
    let case = |case: &Conviction| json!({"code": case.code, "detail": case.detail, "index": case.index, "kind": case.kind.as_str(), "rule": case.rule});
    let cases: Vec<_> = shown.iter().map(case).collect();
    json!({"cases": cases, "conclusion": "violated", "exit_code": VIOLATED})
}

fn to_text(shown: &[Conviction], context: &Context) -> String {
    let style = context.style;
    let line = |case: &Conviction| {
        let entry = case.index.map(|index| format!(" entry {index}")).unwrap_or_default();
        format!("{}{entry}\n    {}\n", style.bad(case.code), printable(&case.detail))
    };
    let lines: String = shown.iter().map(line).collect();
    format!("{lines}\n{}\n", style.bad("THE LOG MISBEHAVED: its signature stands under this"))
}
