//! A run drawn as a tree: what was decided about a proposal hangs below it, and what came of an execution below that.

use std::collections::HashMap;

use counterfoil_receipt::{
    Body, RecordId, UnverifiedRecord,
    body::{Decision, Delegation, Ruling, Type},
};

use crate::{
    reading::{Reading, Row},
    review,
    style::Style,
    text::{counted, printable, short, shortened},
    time,
};

/// One line of the tree.
pub struct Branch<'r> {
    /// The lines that join it to what it hangs below.
    pub stem: String,
    /// The record.
    pub row: &'r Row,
}

/// The records of a run in the order in which a tree shows them.
pub fn branches(rows: &[Row]) -> Vec<Branch<'_>> {
    let by_id: HashMap<RecordId, &Row> = rows.iter().map(|row| (row.record.id(), row)).collect();
    let mut below: HashMap<Option<RecordId>, Vec<&Row>> = HashMap::new();
    for row in rows {
        below.entry(hangs_below(&row.record, &by_id)).or_default().push(row);
    }
    let mut out = Vec::new();
    grow(None, "", &below, &mut out);
    out
}

fn grow<'r>(
    parent: Option<RecordId>,
    stem: &str,
    below: &HashMap<Option<RecordId>, Vec<&'r Row>>,
    out: &mut Vec<Branch<'r>>,
) {
    let children = below.get(&parent).map_or(&[][..], Vec::as_slice);
    for (at, row) in children.iter().enumerate() {
        let last = at + 1 == children.len();
        let (joint, further) = match (parent, last) {
            (None, _) => ("", ""),
            (Some(_), false) => ("├─ ", "│  "),
            (Some(_), true) => ("└─ ", "   "),
        };
        out.push(Branch { stem: format!("{stem}{joint}"), row });
        grow(Some(row.record.id()), &format!("{stem}{further}"), below, out);
    }
}

/// What a record hangs below. Only records of the type that the member wants count, so the tree is four levels deep.
fn hangs_below(record: &UnverifiedRecord, rows: &HashMap<RecordId, &Row>) -> Option<RecordId> {
    let (named, kinds): (Option<RecordId>, &[Type]) = match record.body() {
        Body::Decision(body) => (Some(body.proposal), &[Type::Proposal]),
        Body::Escalation(body) => (Some(body.proposal), &[Type::Proposal]),
        Body::Execution(body) => (Some(body.proposal), &[Type::Proposal]),
        Body::Refusal(body) => (body.proposal, &[Type::Proposal]),
        Body::Cancel(body) => (Some(body.target), &[Type::Proposal, Type::Decision]),
        Body::Outcome(body) => (Some(body.execution), &[Type::Execution]),
        Body::Settlement(body) => (Some(body.execution), &[Type::Execution]),
        _ => (None, &[]),
    };
    let is_shown =
        |id: &RecordId, kinds: &[Type]| rows.get(id).is_some_and(|row| kinds.contains(&row.record.kind()));
    let trigger = || record.run().map(counterfoil_receipt::RunId::trigger).filter(|id| *id != record.id());
    named.filter(|id| is_shown(id, kinds)).or_else(|| trigger().filter(|id| is_shown(id, &[Type::Trigger])))
}

/// The tree for a terminal.
pub fn draw(reading: &Reading, style: Style) -> String {
    let width = reading.rows.last().map_or(1, |row| row.index.to_string().len());
    let mut out = String::new();
    for branch in branches(&reading.rows) {
        let record = &branch.row.record;
        let author = record.author();
        let place = format!("{:>width$}  {}", branch.row.index, time::utc(record.time().get()));
        let who = format!("{} ({})", author.principal, author.role);
        out.push_str(&format!(
            "  {}  {}{}  {}  {}",
            style.dim(&place),
            branch.stem,
            style.bold(record.kind().as_str()),
            who,
            says(record, reading)
        ));
        for note in notes(branch.row, reading) {
            out.push_str(&match note {
                Note::Broken(code) => format!("  {}", style.bad(&format!("✗ {code}"))),
                Note::NotShown(code) => format!("  {}", style.open(&format!("? {code}"))),
                Note::NoEffect(why) => format!("  {}", style.dim(&format!("(no effect: {why})"))),
            });
        }
        out.push('\n');
    }
    if reading.more > 0 {
        out.push_str(&format!(
            "  … and {} that were verified and are not drawn\n",
            counted(reading.more, "more record")
        ));
    }
    out
}

/// What a verdict has to say about one record.
pub enum Note {
    /// A rule is broken: its code.
    Broken(&'static str),
    /// A rule is not shown to hold: its code.
    NotShown(&'static str),
    /// The record changed nothing, for this reason.
    NoEffect(String),
}

/// What the verdict has to say about a record.
pub fn notes(row: &Row, reading: &Reading) -> Vec<Note> {
    use counterfoil_verify::Shown;
    let findings = reading.findings_at(row.index).map(|finding| match finding.shown {
        Shown::Violated => Note::Broken(finding.code),
        Shown::NotShown => Note::NotShown(finding.code),
    });
    let effect = reading.without_effect(row.index).map(|why| Note::NoEffect(printable(why)));
    findings.chain(effect).collect()
}

fn decided(body: &Decision) -> String {
    match (body.verdict, &body.uses, &body.window) {
        (Ruling::Approve, Some(uses), Some(window)) => {
            format!("approve, {} until {}", counted(uses.get(), "use"), time::utc(window.until.get()))
        }
        (verdict, _, _) => {
            let note = body.changes.as_ref().and_then(|changes| changes.note.as_ref());
            with(verdict.to_string(), body.reason.as_ref().or(note))
        }
    }
}

/// Whose decision it is, where it is not its signer's.
fn in_whose_place(body: &Decision) -> String {
    match (&body.approver, &body.rule) {
        (Some(approver), _) => format!(", BY LINK for {approver}"),
        (None, Some(rule)) => format!(", TIME-OUT of {rule}, nobody decided"),
        (None, None) => String::new(),
    }
}

/// What a record says, on one line.
pub fn says(record: &UnverifiedRecord, reading: &Reading) -> String {
    let line = match record.body() {
        Body::Trigger(body) => {
            with(format!("{}: {}", body.event.source, body.event.id), body.summary.as_ref())
        }
        Body::Observation(body) => with(body.kind.to_string(), body.summary.as_ref()),
        Body::Proposal(body) => {
            let target = body.action.target.as_ref().map_or(String::new(), |target| format!(" → {target}"));
            let status =
                reading.run().and_then(|run| reading.verdict.state().proposal_status(run, &record.id()));
            let status = status.map_or(String::new(), |status| format!(", {}", status.as_str()));
            format!(
                "{}{target}, risk {}, for {}{status}",
                body.action.tool,
                body.risk,
                review::audience(&body.audience)
            )
        }
        Body::Decision(body) => format!("{}{}", decided(body), in_whose_place(body)),
        Body::Escalation(body) => {
            let asked = body.to.0.iter().map(review::audience).collect::<Vec<_>>().join(", ");
            format!("step {} of {}, asks {asked}", body.step, body.rule)
        }
        Body::Cancel(body) => with(format!("of {}", short(&body.target)), body.reason.as_ref()),
        Body::Execution(body) => {
            let again = body.retries.map_or(String::new(), |id| format!(", retry of {}", short(&id)));
            let at = format!("use {}{again}", body.use_number);
            match &body.break_glass {
                None if body.decisions.is_empty() => format!("{at}, allowed by the policy"),
                None => at,
                Some(glass) => format!("{at}, BREAK-GLASS: {}", glass.reason),
            }
        }
        Body::Outcome(body) => {
            with(format!("{}, effects {}", body.status, body.effects), body.detail.as_ref())
        }
        Body::Refusal(body) => with(body.code.to_string(), body.detail.as_ref()),
        Body::Settlement(body) => {
            with(format!("{}, effects {}", body.status, body.effects), body.reason.as_ref())
        }
        Body::Handoff(body) => with(format!("to {}", body.to.principal), body.summary.as_ref()),
        Body::Genesis(body) => body.origin.to_string(),
        Body::Snapshot(body) => format!("at {}", body.index),
        Body::Keyring(body) => format!("{} {} as {}", body.change, body.principal, body.role),
        Body::Policy(_) => "a policy".to_owned(),
        Body::Endorsement(body) => format!("of {}", short(&body.candidate)),
        Body::Delegation(body) => format!("to {}, {}", body.delegate.principal, scope(body)),
        Body::Revocation(body) => with("a key or delegation".to_owned(), body.reason.as_ref()),
        Body::Rejection(body) => format!("{} ({})", body.code, body.rule),
    };
    shortened(&printable(&line), 120)
}

/// The tools that a delegation is about.
pub fn scope(body: &Delegation) -> String {
    body.scope.0.iter().map(|entry| entry.tool.as_str()).collect::<Vec<_>>().join(", ")
}

fn with(head: String, text: Option<&counterfoil_receipt::text::Text>) -> String {
    match text.and_then(|text| text.as_str().lines().next()) {
        Some(line) => format!("{head}: {line}"),
        None => head,
    }
}
