//! The verdict as a person reads it, and as a program does (`docs/schema/verdict.schema.json`).

use counterfoil_verify::{Answer, Conclusion, Dimension, Finding, Shown};
use serde_json::{Value, json};

use crate::{
    advice,
    reading::Reading,
    style::Style,
    text::{counted, printable, printable_lines},
    time, tree,
};

/// A verdict, and what was asked of it.
pub struct Asked<'r> {
    /// What was read.
    pub reading: &'r Reading,
    /// The dimensions that must pass.
    pub require: &'r [Dimension],
    /// The reader's time in milliseconds.
    pub now: u64,
}

impl Asked<'_> {
    /// What the requirements make of it.
    pub fn conclusion(&self) -> Conclusion {
        self.reading.verdict.conclude(self.require)
    }

    /// The verdict for a terminal.
    pub fn to_text(&self, style: Style) -> String {
        let mut out = self.head(style);
        out.push_str(&tree::draw(self.reading, style));
        out.push_str(&self.dimensions(style));
        out.push_str(&self.findings(style));
        out.push_str(&self.checkpoints(style));
        out.push_str(&self.payloads());
        out.push_str(&format!("\n{}\n", self.last_line(style)));
        out
    }

    /// The verdict without the records of the run.
    pub fn to_summary(&self, style: Style) -> String {
        let (dimensions, findings) = (self.dimensions(style), self.findings(style));
        format!("{dimensions}{findings}{}\n{}\n", self.checkpoints(style), self.last_line(style))
    }

    fn head(&self, style: Style) -> String {
        let Some(run) = self.reading.verdict.run_id() else { return String::new() };
        let records = counted(self.reading.rows.len() as u64 + self.reading.more, "record");
        let owner =
            self.reading.run().map_or(String::new(), |run| format!(", owned by {}", run.owner().principal));
        let others = counted(self.reading.others, "further entry").replace("entrys", "entries");
        format!("{} {run}\n{records}{owner}; {others} for keys, policy and log time\n\n", style.bold("run"))
    }

    fn dimensions(&self, style: Style) -> String {
        let mut out = String::from("\n");
        for dimension in Dimension::ALL {
            let required = if self.require.contains(&dimension) { "*" } else { " " };
            let (word, why) = match self.reading.verdict.answer(dimension) {
                Answer::Pass(why) => (style.good("pass     "), why.clone()),
                Answer::Fail => (style.bad("FAIL     "), self.why_it_fails(dimension)),
                Answer::NotShown(why) => (style.open("not shown"), why.clone()),
            };
            out.push_str(&format!("{required} {dimension:<13} {word}  {}\n", printable(&why)));
        }
        out.push_str(&style.dim("* required\n"));
        out
    }

    /// The first finding that fails a dimension.
    pub fn why_it_fails(&self, dimension: Dimension) -> String {
        let fails = |finding: &&Finding| finding.dimension == dimension && finding.shown == Shown::Violated;
        self.reading.verdict.findings().iter().find(fails).map_or(String::new(), ToString::to_string)
    }

    fn findings(&self, style: Style) -> String {
        let mut out = String::new();
        // What is not shown and was not asked for stands in the table above.
        let matters = |finding: &&Finding| {
            finding.shown == Shown::Violated || self.require.contains(&finding.dimension)
        };
        for finding in self.reading.verdict.findings().iter().filter(matters) {
            let mark = match finding.shown {
                Shown::Violated => style.bad(&format!("✗ {}", finding.code)),
                Shown::NotShown => style.open(&format!("? {}", finding.code)),
            };
            let entry = finding.index.map_or(String::new(), |index| format!(", entry {index}"));
            let record = finding.record.map_or(String::new(), |record| format!(" {record}"));
            out.push_str(&format!("\n{mark} ({}, {}{entry}){record}\n", finding.rule, finding.dimension));
            for line in printable_lines(&finding.detail).lines() {
                out.push_str(&format!("    {line}\n"));
            }
            out.push_str(&format!("  → {}\n", advice::on(finding.code)));
        }
        out
    }

    fn checkpoints(&self, style: Style) -> String {
        let mut out = String::from("\n");
        for checkpoint in self.reading.verdict.checkpoints() {
            let size = checkpoint.head.size;
            out.push_str(&format!(
                "checkpoint of size {size}, signed by {}",
                printable(&checkpoint.signed_by.join(", "))
            ));
            let witnesses = checkpoint.witnesses.iter();
            for (name, seconds) in witnesses {
                let at = time::utc(seconds.saturating_mul(1_000));
                out.push_str(&format!(", witnessed by {} at {at}", printable(name)));
            }
            if checkpoint.unknown > 0 {
                let unknown = format!(
                    "; {} not counted: the trust file does not name its signer",
                    counted(checkpoint.unknown as u64, "signature")
                );
                out.push_str(&style.dim(&unknown));
            }
            out.push('\n');
        }
        if out.len() == 1 { String::new() } else { out }
    }

    fn payloads(&self) -> String {
        let (shown, hidden) =
            (self.reading.verdict.openings().len() as u64, self.reading.verdict.undisclosed());
        if shown + hidden == 0 {
            return String::new();
        }
        format!("{} disclosed and checked, {hidden} not disclosed\n", counted(shown, "payload"))
    }

    fn last_line(&self, style: Style) -> String {
        let names = |dimensions: &mut dyn Iterator<Item = &Dimension>| {
            dimensions.map(|dimension| dimension.as_str()).collect::<Vec<_>>().join(", ")
        };
        let passes =
            |dimension: &&Dimension| matches!(self.reading.verdict.answer(**dimension), Answer::Pass(_));
        match self.conclusion() {
            Conclusion::Shown => format!("{}: {}", style.good("shown"), names(&mut self.require.iter())),
            Conclusion::Violated => {
                let fails =
                    |dimension: &&Dimension| *self.reading.verdict.answer(**dimension) == Answer::Fail;
                format!("{}: {}", style.bad("VIOLATED"), names(&mut Dimension::ALL.iter().filter(fails)))
            }
            Conclusion::NotShown => {
                let missing = names(&mut self.require.iter().filter(|dimension| !passes(dimension)));
                format!("{}: {missing}", style.open("not shown"))
            }
            Conclusion::Unreadable => format!("{}: this is no whole bundle", style.bad("UNREADABLE")),
        }
    }

    /// The verdict for a program.
    pub fn to_json(&self) -> Value {
        let verdict = &self.reading.verdict;
        let conclusion = self.conclusion();
        let dimensions: serde_json::Map<String, Value> = Dimension::ALL
            .map(|dimension| (dimension.to_string(), self.answer(dimension)))
            .into_iter()
            .collect();
        json!({
            "format": "counterfoil-verdict/1",
            "conclusion": conclusion.as_str(),
            "exit_code": conclusion.exit_code(),
            "required": self.require.iter().map(|dimension| dimension.as_str()).collect::<Vec<_>>(),
            "now": self.now,
            "run": verdict.run_id().map(|run| run.to_string()),
            "dimensions": dimensions,
            "findings": verdict.findings().iter().map(finding_json).collect::<Vec<_>>(),
            "without_effect": verdict.without_effect().iter()
                .map(|(index, reason)| json!({"index": index, "reason": reason})).collect::<Vec<_>>(),
            "checkpoints": verdict.checkpoints().iter().map(|checkpoint| json!({
                "size": checkpoint.head.size.0,
                "root": checkpoint.head.root.to_string(),
                "signed_by": checkpoint.signed_by,
                "witnesses": checkpoint.witnesses.iter()
                    .map(|(name, seconds)| json!({"name": name, "time": seconds})).collect::<Vec<_>>(),
                "not_counted": checkpoint.unknown,
            })).collect::<Vec<_>>(),
            "payloads": {"disclosed": verdict.openings().len(), "undisclosed": verdict.undisclosed()},
            "records": self.reading.rows.iter().map(|row| row_json(row, self.reading)).collect::<Vec<_>>(),
            "records_left_out": self.reading.more,
        })
    }

    fn answer(&self, dimension: Dimension) -> Value {
        match self.reading.verdict.answer(dimension) {
            Answer::Pass(detail) => json!({"answer": "pass", "detail": detail}),
            Answer::Fail => json!({"answer": "fail", "detail": self.why_it_fails(dimension)}),
            Answer::NotShown(detail) => json!({"answer": "not_shown", "detail": detail}),
        }
    }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "rule": finding.rule,
        "code": finding.code,
        "dimension": finding.dimension.as_str(),
        "shown": match finding.shown { Shown::Violated => "violated", Shown::NotShown => "not_shown" },
        "index": finding.index,
        "record": finding.record.map(|record| record.to_string()),
        "detail": finding.detail,
        "advice": advice::on(finding.code),
    })
}

/// One record of the run, for a program.
pub fn row_json(row: &crate::reading::Row, reading: &Reading) -> Value {
    let (record, author) = (&row.record, row.record.author());
    json!({
        "index": row.index,
        "id": record.id().to_string(),
        "type": record.kind().as_str(),
        "signer": {"key": author.key.to_string(), "principal": author.principal.as_str(), "role": author.role.as_str()},
        "time": record.time().get(),
        "parents": record.parents().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "says": tree::says(record, reading),
    })
}
