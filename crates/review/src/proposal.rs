//! What an approver is shown: the exact action, its evidence and its risk, as plain text.
//!
//! This text is what a decision's `shown` commits to, so it is made once and shown as it is; colour is all that a terminal adds.

use std::{collections::HashMap, fmt::Write as _};

use counterfoil_receipt::{
    Action, Commitment, Opening, UnverifiedRecord,
    body::{Audience, Body, Evidence, Item, Items, Proposal},
};
use serde_json::Value;

use crate::{
    text::{counted, printable, printable_lines, shortened},
    time,
};

/// What stands before each line of foreign text, so that none of it can pass for a line of ours.
pub const GUTTER: &str = "  │ ";
/// Characters of one evidence item that are shown; the action itself is always shown in full.
const EVIDENCE_CHARS: usize = 20_000;

/// The contents that a bundle discloses, by commitment.
pub type Openings<'o> = HashMap<Commitment, &'o Opening>;

/// Who is meant by an audience.
pub fn audience(audience: &Audience) -> String {
    match audience {
        Audience::Principal(principal) => principal.to_string(),
        Audience::Group(group) => format!("group {group}"),
    }
}

/// Whether a record is a proposal.
pub fn is_proposal(record: &UnverifiedRecord) -> bool {
    matches!(record.body(), Body::Proposal(_))
}

/// A proposal in full, with the outcome of the preview that it names, if it names one.
pub fn proposal_text(
    record: &UnverifiedRecord,
    previewed: Option<&UnverifiedRecord>,
    openings: &Openings<'_>,
) -> String {
    let Body::Proposal(body) = record.body() else { return String::new() };
    let author = record.author();
    let mut out = String::new();
    field(&mut out, "proposal", &record.id());
    if let Some(run) = record.run() {
        field(&mut out, "run", &run);
    }
    if let Some(log) = record.log() {
        field(&mut out, "log", &log);
    }
    let at = time::utc(record.time().get());
    field(&mut out, "proposed by", &format!("{} ({}), {at}", author.principal, author.role));
    terms(&mut out, body);
    action(&mut out, &body.action, openings);
    if let Some(items) = &body.evidence {
        evidence(&mut out, items, openings);
    }
    if let Some(outcome) = previewed {
        preview(&mut out, outcome, openings);
    }
    out
}

/// The committed arguments of an action whose content is not at hand: what an approver would approve unseen.
pub fn undisclosed(action: &Action, openings: &Openings<'_>) -> Vec<String> {
    let committed = action.committed.iter().flat_map(|map| map.iter());
    committed.filter(|(_, hash)| !openings.contains_key(hash)).map(|(path, _)| path.to_string()).collect()
}

/// The content of a payload as text; bytes that are none are counted. A JSON string is shown as what it says.
pub fn content_text(content: &[u8]) -> String {
    if let Ok(Value::String(text)) = serde_json::from_slice(content) {
        return text;
    }
    match std::str::from_utf8(content) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} that are no text)", counted(content.len() as u64, "byte")),
    }
}

fn terms(out: &mut String, body: &Proposal) {
    field(out, "risk", &format!("{}, by the agent's own word", body.risk.as_str().to_uppercase()));
    field(out, "to be done by", &audience(&body.audience));
    if let Some(cost) = &body.cost {
        field(out, "cost", &format!("{} {}", cost.amount, cost.currency));
    }
    if let Some(delegation) = &body.delegation {
        field(out, "under", &format!("delegation {delegation}"));
    }
    if let Some(tags) = &body.tags {
        field(out, "tags", &tags.iter().map(|tag| printable(tag.as_str())).collect::<Vec<_>>().join(", "));
    }
    for (name, value) in body.metadata.iter().flat_map(|metadata| metadata.iter()) {
        field(out, "metadata", &printable(&format!("{name}: {value}")));
    }
    if let Some(old) = &body.supersedes {
        field(out, "revises", old);
    }
    if let Some(summary) = &body.summary {
        field(out, "summary", &"in the agent's words");
        block(out, summary.as_str());
    }
}

fn action(out: &mut String, action: &Action, openings: &Openings<'_>) {
    out.push('\n');
    field(out, "action", &printable(&format!("{} ({})", action.tool, action.mode)));
    if let Some(target) = &action.target {
        field(out, "target", &printable(target.as_str()));
    }
    if let Some(connector) = &action.connector {
        field(out, "connector", &printable(&format!("{}, schema {}", connector.name, connector.schema)));
    }
    value(out, "argument", "", &action.arguments.to_value());
    if let Some(precondition) = &action.precondition {
        value(out, "only if", "", &precondition.to_value());
    }
    for (path, commitment) in action.committed.iter().flat_map(|map| map.iter()) {
        match openings.get(commitment) {
            Some(opening) => {
                field(out, "argument", &printable(&format!("{path} =")));
                block(out, &content_text(&opening.content));
            }
            None => field(out, "argument", &printable(&format!("{path} = NOT DISCLOSED, {commitment}"))),
        }
    }
    for path in action.free.iter().flat_map(|paths| paths.iter()) {
        field(out, "argument", &printable(&format!("{path} is FREE: the runtime may choose it")));
    }
    field(out, "digest", &action.digest());
}

/// A JSON value, one line for each of its leaves; text of several lines stands in a block of its own.
fn value(out: &mut String, name: &str, path: &str, json: &Value) {
    match json {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                value(out, name, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), member);
            }
        }
        Value::Array(elements) if !elements.is_empty() => {
            for (at, element) in elements.iter().enumerate() {
                value(out, name, &format!("{path}/{at}"), element);
            }
        }
        Value::String(text) if text.contains('\n') => {
            field(out, name, &printable(&format!("{path} =")));
            block(out, text);
        }
        leaf => field(out, name, &printable(&format!("{path} = {leaf}"))),
    }
}

fn evidence(out: &mut String, items: &Items, openings: &Openings<'_>) {
    out.push('\n');
    for item in &items.0 {
        match item {
            Evidence::Set(set) => {
                field(
                    out,
                    "evidence",
                    &printable(&format!("{}: a set of {} items, {}", set.label, set.items, set.root)),
                );
            }
            Evidence::Item(item) => payload(out, "evidence", item, openings),
        }
    }
}

/// What a runtime says that a preview did, and found.
fn preview(out: &mut String, record: &UnverifiedRecord, openings: &Openings<'_>) {
    let Body::Outcome(body) = record.body() else { return };
    let author = record.author();
    let at = time::utc(record.time().get());
    out.push('\n');
    field(out, "previewed", &format!("{}, effects {}, {at}", body.status, body.effects));
    field(out, "reported by", &format!("{} ({}), {}", author.principal, author.role, record.id()));
    if let Some(detail) = &body.detail {
        field(out, "detail", &"in the runtime's words");
        block(out, detail.as_str());
    }
    if let Some(item) = &body.result {
        payload(out, "result", item, openings);
    }
}

fn payload(out: &mut String, name: &str, item: &Item, openings: &Openings<'_>) {
    let size = counted(item.size.get(), "byte");
    let head = format!("{} ({}, {size})", item.label, item.media_type);
    match openings.get(&item.commitment) {
        None => field(out, name, &printable(&format!("{head}: not disclosed"))),
        Some(opening) => {
            field(out, name, &printable(&head));
            block(out, &shortened(&content_text(&opening.content), EVIDENCE_CHARS));
        }
    }
}

fn field(out: &mut String, name: &str, value: &dyn std::fmt::Display) {
    let _ = writeln!(out, "{name:<14} {value}");
}

fn block(out: &mut String, text: &str) {
    for line in printable_lines(text).lines() {
        let _ = writeln!(out, "{GUTTER}{line}");
    }
}
