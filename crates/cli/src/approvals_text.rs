//! Approvals as rows, and as text: nothing in them moves a cursor or is computed by a spreadsheet.

use clap::ValueEnum;
use counterfoil_client::{ApprovalDecision, ApprovalView};
use counterfoil_verify::Reviewed;

use crate::{
    style::Style,
    text::{printable, printable_lines, shortened},
    time,
};

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: aligned, long texts shortened
    #[default]
    Table,
    /// For spreadsheets (RFC 4180): what could be read as a formula has a ' before it
    Csv,
    /// For programs: one JSON object a line, with everything that the server says
    Jsonl,
}

/// The columns, and how many characters of each a table shows before it shortens; 0: all.
const COLUMNS: [(&str, usize); 9] = [
    ("time", 0),
    ("status", 0),
    ("tool", 32),
    ("target", 32),
    ("proposer", 0),
    ("approvers", 60),
    ("policy", 0),
    ("proposal", 0),
    ("run", 0),
];
/// How wide the columns are where later rows are not known yet: the ids need no more than they have.
const WIDTHS: [usize; COLUMNS.len()] = [20, 17, 20, 16, 12, 24, 8, 71, 71];
/// Hexadecimal digits of a policy's digest that tell it from others.
const DIGEST: usize = 8;

/// Rows of approvals.
pub struct Table;

impl Table {
    /// All rows under a head, aligned; nothing where there are none.
    pub fn of(views: &[ApprovalView]) -> String {
        if views.is_empty() {
            return String::new();
        }
        let rows: Vec<_> = [names()].into_iter().chain(views.iter().map(short_cells)).collect();
        let width =
            |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths = std::array::from_fn(|at| width(at).unwrap_or(0));
        rows.iter().map(|row| aligned(row, &widths)).collect()
    }

    /// What stands before rows that come one by one.
    pub fn head(format: Format) -> String {
        match format {
            Format::Table => aligned(&names(), &WIDTHS),
            Format::Csv => csv(&names()),
            Format::Jsonl => String::new(),
        }
    }

    /// One row.
    pub fn line(format: Format, view: &ApprovalView) -> String {
        match format {
            Format::Table => aligned(&short_cells(view), &WIDTHS),
            Format::Csv => csv(&cells(view)),
            Format::Jsonl => {
                let json = serde_json::to_string(view).unwrap_or_default();
                json + "\n"
            }
        }
    }
}

type Row = [String; COLUMNS.len()];

fn names() -> Row {
    COLUMNS.map(|(name, _)| name.to_owned())
}

fn cells(view: &ApprovalView) -> Row {
    let decisions: Vec<String> = view.decisions.iter().map(decision).collect();
    let policy = view.policy.map(|digest| digest.to_string());
    let policy = policy.as_deref().map(|digest| digest.strip_prefix("sha256:").unwrap_or(digest));
    [
        time::utc(view.log_time.unwrap_or(view.time)),
        view.status.as_str().to_owned(),
        view.action.tool.to_string(),
        view.action.target.as_ref().map(ToString::to_string).unwrap_or_default(),
        view.proposer.to_string(),
        decisions.join("; "),
        policy.map(|digest| digest.chars().take(DIGEST).collect()).unwrap_or_default(),
        view.proposal.to_string(),
        view.run.to_string(),
    ]
}

/// `ana approve`, `bo reject (too wide)`, `clock reject by time-out of two`.
fn decision(decision: &ApprovalDecision) -> String {
    let mut out = format!("{} {}", decision.approver, decision.verdict.as_str());
    if let Some(rule) = &decision.rule {
        out.push_str(&format!(" by time-out of {rule}"));
    }
    if decision.withdrawn.is_some() {
        out.push_str(", withdrawn");
    }
    if let Some(reason) = &decision.reason {
        out.push_str(&format!(" ({reason})"));
    }
    out
}

/// Cells as a terminal shows them, shortened.
fn short_cells(view: &ApprovalView) -> Row {
    let mut row = cells(view);
    for (cell, (_, most)) in row.iter_mut().zip(COLUMNS) {
        *cell = printable(cell);
        if most > 0 {
            *cell = shortened(cell, most);
        }
    }
    row
}

fn aligned(row: &Row, widths: &[usize; COLUMNS.len()]) -> String {
    let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    cells.join("  ").trim_end().to_owned() + "\n"
}

/// A line of RFC 4180.
fn csv(row: &Row) -> String {
    let cells: Vec<String> = row.iter().map(|cell| csv_cell(cell)).collect();
    cells.join(",") + "\r\n"
}

/// A cell that a spreadsheet takes for text.
fn csv_cell(text: &str) -> String {
    let text = printable_lines(text);
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// One proposal for a person.
pub fn to_text(view: &ApprovalView, style: Style) -> String {
    let mut out = format!("{} {}\n", style.bold("proposal"), view.proposal);
    let mut line = |name: &str, text: &str| out.push_str(&format!("  {name:<10} {}\n", printable(text)));
    line("status", view.status.as_str());
    line("action", &action(view));
    line("proposed", &format!("by {}, risk {}, {}", view.proposer, view.risk.as_str(), proposed_at(view)));
    line("requester", view.requester.as_str());
    line("run", &view.run.to_string());
    for (name, id) in [("revises", view.supersedes), ("ended by", view.ended_by)] {
        if let Some(id) = id {
            line(name, &id.to_string());
        }
    }
    if let Some(policy) = view.policy {
        line("policy", &policy.to_string());
    }
    rules(view).iter().for_each(|rule| line("asks", rule));
    match (view.preview.outcome, view.preview.wanted) {
        (Some(outcome), _) => line("previewed", &outcome.to_string()),
        (None, true) => line("previewed", "never, and the policy wants it: no execution stands"),
        (None, false) => {}
    }
    for one in &view.decisions {
        line("decided", &format!("{}, {}", decision(one), time::utc(one.time)));
    }
    for execution in &view.executions {
        let status = execution.status.map_or("has no outcome", |status| status.as_str());
        line("executed", &format!("by {}: {status}, {}", execution.runtime, execution.id));
        if let Some(retries) = execution.retries {
            line("", &format!("a retry of {retries}"));
        }
        match execution.review {
            Some(Reviewed::Outstanding) => {
                line("", "under break-glass, not reviewed yet: approve it, or reject it, to say so");
            }
            Some(reviewed) => line("", &format!("under break-glass, reviewed: {}", reviewed.as_str())),
            None => {}
        }
    }
    for timer in &view.timers {
        let due = timer.due.map_or("later".to_owned(), time::utc);
        line("timer", &format!("{} {due}, by rule {}", timer.says, timer.rule));
    }
    if let Some(expires) = view.expires_at {
        line("until", &time::utc(expires));
    }
    out
}

/// One proposal for somebody who may decide it, with the commands that do.
pub fn pending_text(view: &ApprovalView, options: &str, style: Style) -> String {
    let mut out = format!("{}\n", style.bold(&printable(&action(view))));
    let mut line = |text: &str| out.push_str(&format!("  {}\n", printable(text)));
    line(&format!("proposed by {}, risk {}, {}", view.proposer, view.risk.as_str(), proposed_at(view)));
    rules(view).iter().for_each(|rule| line(rule));
    if let Some(expires) = view.expires_at {
        line(&format!("its time is out at {}", time::utc(expires)));
    }
    for verb in ["approve", "reject"] {
        line(&format!("counterfoil {verb} {} --proposal {}{options}", view.run, view.proposal));
    }
    out.push('\n');
    out
}

fn action(view: &ApprovalView) -> String {
    let target = view.action.target.as_ref().map_or(String::new(), |target| format!(" → {target}"));
    format!("{}{target}", view.action.tool)
}

fn proposed_at(view: &ApprovalView) -> String {
    time::utc(view.log_time.unwrap_or(view.time))
}

/// What each rule asks for, and what of it is there.
fn rules(view: &ApprovalView) -> Vec<String> {
    let requirement = |one: &counterfoil_client::ApprovalRequirement| {
        let names: Vec<&str> = one.principals.iter().chain(&one.groups).map(|name| name.as_str()).collect();
        let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(" or ")) };
        let by: Vec<&str> = one.approved.iter().map(|name| name.as_str()).collect();
        let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
        format!("{} of {} approvals{of}{by}", one.approved.len(), one.count)
    };
    let rule = |rule: &counterfoil_client::ApprovalRule| {
        let requirements: Vec<String> = rule.requirements.iter().map(requirement).collect();
        let met = if rule.met { ", met" } else { "" };
        format!("rule {}{met}: {}", rule.name, requirements.join("; "))
    };
    view.rules.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_computes_nothing() {
        for (text, cell) in [
            ("plain", "plain"),
            ("=cmd()", "'=cmd()"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("a=b", "a=b"),
            ("a,b", "\"a,b\""),
            ("=\"a\",\n", "\"'=\"\"a\"\",\n\""),
            ("\u{1b}[2J", r"\u{1b}[2J"),
        ] {
            assert_eq!(csv_cell(text), cell);
        }
    }
}
