//! The report of an audit: for a terminal, for a program, and as an HTML page that loads nothing.

use counterfoil_audit::{Blame, Finding, Report, Witnessed};
use counterfoil_review::html::{STYLE, escape};
use counterfoil_verify::Conclusion;
use serde_json::{Value, json};

use crate::{
    advice,
    report::CSP,
    style::Style,
    text::{counted, printable},
    time,
};

/// A report, and what it is about.
pub struct Page<'r> {
    /// What was found.
    pub report: &'r Report,
    /// Where the log was read.
    pub log: &'r str,
    /// The options that say what the reader knew.
    pub under: &'r str,
    /// The reader's time in milliseconds.
    pub now: u64,
}

/// Who is at fault, in the order in which a report says it.
const BLAMES: [Blame; 4] = [Blame::Log, Blame::Damage, Blame::Trust, Blame::Open];

impl Page<'_> {
    /// The report for a terminal.
    pub fn to_text(&self, style: Style) -> String {
        let mut out = format!("{} {}\n", style.bold("log"), printable(self.log));
        for (what, holds) in self.lines() {
            let mark = match holds {
                Some(true) => style.good("✓"),
                Some(false) => style.bad("✗"),
                None => style.open("?"),
            };
            out.push_str(&format!("{mark} {}\n", printable(&what)));
        }
        for blame in BLAMES.into_iter().filter(|blame| self.report.count(*blame) > 0) {
            out.push_str(&format!("\n{}\n", style.bold(says(blame))));
            for finding in self.report.findings.iter().filter(|finding| finding.blame == blame) {
                let code =
                    if blame == Blame::Open { style.open(finding.code) } else { style.bad(finding.code) };
                out.push_str(&format!(
                    "{code}{}\n    {}\n",
                    printable(&place(finding)),
                    printable(&finding.detail)
                ));
                out.push_str(&format!("  → {}\n", advice_on(finding)));
            }
            if let Some(more) = self.report.more.get(&blame) {
                out.push_str(&format!("and {more} more\n"));
            }
        }
        let last = match self.report.conclusion() {
            Conclusion::Shown => style.good(self.conclusion()),
            Conclusion::NotShown => style.open(self.conclusion()),
            Conclusion::Violated | Conclusion::Unreadable => style.bad(self.conclusion()),
        };
        out + &format!("\n{last}\n")
    }

    /// The report for a program (`spec/audit.md`).
    pub fn to_json(&self) -> Value {
        let (report, checkpoint) = (self.report, &self.report.checkpoint);
        let counts: serde_json::Map<String, Value> =
            BLAMES.iter().map(|blame| (blame.as_str().to_owned(), report.count(*blame).into())).collect();
        json!({
            "format": "counterfoil-audit/1",
            "conclusion": report.conclusion().as_str(),
            "exit_code": report.conclusion().exit_code(),
            "now": self.now,
            "log": self.log,
            "mode": if report.records { "records" } else { "raw" },
            "checkpoint": {
                "note": checkpoint.note,
                "size": checkpoint.head.size.0,
                "root": checkpoint.head.root.to_string(),
                "signed_by": checkpoint.signed_by,
                "witnesses": checkpoint.witnesses.iter()
                    .map(|(name, time)| json!({"name": name, "time": time})).collect::<Vec<_>>(),
                "not_counted": checkpoint.unknown,
                "extensions": checkpoint.extensions,
            },
            "witnessed": match &report.witnessed {
                Witnessed::NotAsked => json!({"answer": "not_asked"}),
                Witnessed::At(time) => json!({"answer": "pass", "time": time}),
                Witnessed::NotShown(why) => json!({"answer": "not_shown", "detail": why}),
            },
            "types": report.types,
            "resumed_from": report.resumed_from,
            "unjudged_from": report.unjudged_from,
            "since": report.since.iter().map(|since| json!({
                "size": since.head.size.0, "root": since.head.root.to_string(), "holds": since.holds,
            })).collect::<Vec<_>>(),
            "counts": counts,
            "findings": report.findings.iter().map(|finding| json!({
                "code": finding.code,
                "rule": finding.rule,
                "blame": finding.blame.as_str(),
                "file": finding.file,
                "index": finding.index,
                "detail": finding.detail,
                "advice": advice_on(finding),
            })).collect::<Vec<_>>(),
        })
    }

    /// The report as a page of its own: no script, nothing loaded from anywhere, every foreign word escaped.
    pub fn to_html(&self) -> String {
        let (word, class) = match self.report.conclusion() {
            Conclusion::Shown => ("As it should be", "pass"),
            Conclusion::NotShown => ("Not shown", "open"),
            Conclusion::Violated | Conclusion::Unreadable => ("Not as it should be", "fail"),
        };
        let origin = self.report.checkpoint.note.lines().next().unwrap_or_default();
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{CSP}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>{word}: log {origin}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
             <p class=\"verdict {class}\">{word}</p>\n<h1>Log <code>{origin}</code></h1>\n\
             <p>{}</p>\n<p>Audited {} by counterfoil {}, as read from <code>{}</code>.</p>\n\
             <section>\n<h2>What was derived again</h2>\n<table>\n<thead><tr><th scope=\"col\">Answer</th>\
             <th scope=\"col\">Of what</th></tr></thead>\n<tbody>\n",
            escape(self.conclusion()),
            time::utc(self.now),
            env!("CARGO_PKG_VERSION"),
            escape(self.log),
            origin = escape(origin),
        );
        for (what, holds) in self.lines() {
            let (class, word) = match holds {
                Some(true) => ("pass", "holds"),
                Some(false) => ("fail", "FAILS"),
                None => ("open", "not shown"),
            };
            out.push_str(&format!(
                "<tr><th scope=\"row\" class=\"{class}\">{word}</th><td>{}</td></tr>\n",
                escape(&what)
            ));
        }
        out.push_str("</tbody>\n</table>\n</section>\n");
        for blame in BLAMES.into_iter().filter(|blame| self.report.count(*blame) > 0) {
            out.push_str(&format!("<section>\n<h2>{}</h2>\n<dl>\n", escape(says(blame))));
            for finding in self.report.findings.iter().filter(|finding| finding.blame == blame) {
                let class = if blame == Blame::Open { "open" } else { "fail" };
                out.push_str(&format!(
                    "<dt><code class=\"{class}\">{}</code>{}</dt>\n<dd><p>{}</p><p><strong>What to do:</strong> {}</p></dd>\n",
                    escape(finding.code),
                    escape(&place(finding)),
                    escape(&finding.detail),
                    escape(advice_on(finding))
                ));
            }
            out.push_str("</dl>\n");
            if let Some(more) = self.report.more.get(&blame) {
                out.push_str(&format!("<p>And {more} more.</p>\n"));
            }
            out.push_str("</section>\n");
        }
        out + &format!(
            "<section>\n<h2>The checkpoint</h2>\n<pre>{}</pre>\n</section>\n<section>\n<h2>Audit it again</h2>\n\
             <p>Don't take this page's word for it:</p>\n<pre>counterfoil log audit {} {}</pre>\n</section>\n</main>\n</body>\n</html>\n",
            self.report.checkpoint.note.lines().map(|line| escape(line) + "\n").collect::<String>(),
            escape(self.log),
            escape(self.under)
        )
    }

    /// What was looked at, and whether it holds.
    fn lines(&self) -> Vec<(String, Option<bool>)> {
        let (report, checkpoint) = (self.report, &self.report.checkpoint);
        let size = checkpoint.head.size.0;
        let mut lines = vec![(
            format!(
                "checkpoint of size {size}, root {}, signed by {}",
                checkpoint.head.root,
                checkpoint.signed_by.join(", ")
            ),
            Some(true),
        )];
        for (name, seconds) in &checkpoint.witnesses {
            lines.push((
                format!("cosigned by {name} at {}", time::utc(seconds.saturating_mul(1_000))),
                Some(true),
            ));
        }
        match &report.witnessed {
            Witnessed::NotAsked => {}
            Witnessed::At(seconds) => {
                lines.push((
                    format!("a quorum of witnesses by {}", time::utc(seconds.saturating_mul(1_000))),
                    Some(true),
                ));
            }
            Witnessed::NotShown(why) => lines.push((why.clone(), None)),
        }
        let entries = counted(size, "entry").replace("entrys", "entries");
        lines.push((
            format!("tiles of every level and {entries} give the signed root"),
            Some(report.count(Blame::Damage) == 0),
        ));
        if report.records {
            let types: Vec<String> =
                report.types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            let holds = match (report.count(Blame::Log) + report.count(Blame::Trust), report.unjudged_from) {
                (0, None) => Some(true),
                (0, Some(_)) => None,
                _ => Some(false),
            };
            lines.push((
                format!("records, their signatures and every rule of their place: {}", types.join(", ")),
                holds,
            ));
        }
        for since in &report.since {
            lines.push((
                format!("the tree begins with that of size {}, root {}", since.head.size, since.head.root),
                Some(since.holds),
            ));
        }
        if report.resumed_from > 0 {
            lines.push((format!("the first {} entries as audited before", report.resumed_from), Some(true)));
        }
        lines
    }

    fn conclusion(&self) -> &'static str {
        match (
            self.report.count(Blame::Log) > 0,
            self.report.count(Blame::Damage) > 0,
            self.report.conclusion(),
        ) {
            (true, false, _) => "THE LOG MISBEHAVED: it signed what its rules forbid",
            (true, true, _) => "THE LOG MISBEHAVED, and files were damaged besides",
            (false, true, _) => {
                "DAMAGED: files are not what the log signed; that says nothing against the log"
            }
            (false, false, Conclusion::Violated) => "ANOTHER LOG: not the one that the trust file names",
            (false, false, Conclusion::NotShown | Conclusion::Unreadable) => {
                "not shown: something could not be judged"
            }
            (false, false, Conclusion::Shown) => "all is as the log signed it, and as its rules want it",
        }
    }
}

const fn says(blame: Blame) -> &'static str {
    match blame {
        Blame::Log => "The log misbehaved: its signature stands under this",
        Blame::Damage => "Damage: bytes that nobody signed",
        Blame::Trust => "Not what the trust file names",
        Blame::Open => "Not shown",
    }
}

fn place(finding: &Finding) -> String {
    let rule = finding.rule.map(|rule| format!(" ({rule})")).unwrap_or_default();
    let file = finding.file.as_ref().map(|file| format!(" {file}")).unwrap_or_default();
    let entry = finding.index.map(|index| format!(" entry {index}")).unwrap_or_default();
    format!("{rule}{file}{entry}")
}

fn advice_on(finding: &Finding) -> &'static str {
    match finding.code {
        "fork" | "fork-same-size" => "keep both checkpoints: together they convict the log",
        "checkpoint-behind" => "the source is old or was restored from a backup: ask another copy of the log",
        "consistency-unshown" | "place-unjudged" => "have the damage mended, and audit again",
        "root-unexplained" => {
            "audit another copy of the log; if none gives this root, the log signed what it can't show"
        }
        _ if finding.blame == Blame::Damage => {
            "take the file from another copy of the log; find out what changed it"
        }
        "policy-unreadable" if finding.blame == Blame::Open => {
            "get the document from the log's operator, and name it with --document"
        }
        "statement-repeated"
        | "log-limit"
        | "not-an-entry"
        | "genesis-misplaced"
        | "snapshot-time"
        | "snapshot-index"
        | "snapshot-map"
        | "checkpoint-snapshot" => "keep a copy of the log as it is: it convicts the log",
        "genesis-not-pinned" => "this is another log than the one of the trust file",
        code => advice::on(code),
    }
}
