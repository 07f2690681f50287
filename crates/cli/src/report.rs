//! The verdict as one HTML page: no script, nothing loaded from anywhere, every word of a record escaped.

use counterfoil_receipt::{RecordId, UnverifiedRecord};
use counterfoil_review::html::{STYLE, block, escape, escape_lines};
use counterfoil_verify::{Answer, Conclusion, Dimension, Shown};

use crate::{
    advice,
    reading::{Reading, items},
    review,
    text::{counted, short},
    time,
    tree::{self, Note},
    verdict::Asked,
};

/// Payloads that are printed in full.
const PAYLOADS: usize = 50;

/// What a browser may do with the page: show it, with the style that it carries, and nothing else.
pub const CSP: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The page.
pub fn page(asked: &Asked<'_>, trust_file: &str, bundle_file: &str) -> String {
    let (word, class) = match asked.conclusion() {
        Conclusion::Shown => ("Shown", "pass"),
        Conclusion::Violated => ("Violated", "fail"),
        Conclusion::NotShown => ("Not shown", "open"),
        Conclusion::Unreadable => ("Unreadable", "fail"),
    };
    let run = asked.reading.verdict.run_id().map_or("no run".to_owned(), |run| run.to_string());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{CSP}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{word}: run {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"verdict {class}\">{word}</p>\n<h1>Run <code>{}</code></h1>\n\
         <p>Verified {} by counterfoil {}.</p>\n",
        escape(&short(&run)),
        escape(&run),
        time::utc(asked.now),
        env!("CARGO_PKG_VERSION"),
    );
    out.push_str(&dimensions(asked));
    out.push_str(&findings(asked));
    out.push_str(&records(asked.reading));
    out.push_str(&actions(asked.reading));
    out.push_str(&payloads(asked.reading));
    out.push_str(&signers(asked.reading));
    out.push_str(&format!(
        "<section>\n<h2>Verify it again</h2>\n<p>Don't take this page's word for it. With the bundle and your own trust \
         file:</p>\n<pre>counterfoil verify {} --trust {}</pre>\n</section>\n</main>\n</body>\n</html>\n",
        escape(bundle_file),
        escape(trust_file)
    ));
    out
}

fn dimensions(asked: &Asked<'_>) -> String {
    let mut out = String::from(
        "<section>\n<h2>Verdict</h2>\n<table>\n<thead><tr><th scope=\"col\">Dimension</th><th scope=\"col\">Answer</th>\
         <th scope=\"col\">Why</th></tr></thead>\n<tbody>\n",
    );
    for dimension in Dimension::ALL {
        let (class, word, why) = match asked.reading.verdict.answer(dimension) {
            Answer::Pass(why) => ("pass", "pass", why.clone()),
            Answer::Fail => ("fail", "FAIL", asked.why_it_fails(dimension)),
            Answer::NotShown(why) => ("open", "not shown", why.clone()),
        };
        let required = if asked.require.contains(&dimension) { " <small>required</small>" } else { "" };
        out.push_str(&format!(
            "<tr><th scope=\"row\">{dimension}{required}</th><td class=\"{class}\">{word}</td><td>{}</td></tr>\n",
            escape(&why)
        ));
    }
    out + "</tbody>\n</table>\n</section>\n"
}

fn findings(asked: &Asked<'_>) -> String {
    let findings = asked.reading.verdict.findings();
    if findings.is_empty() {
        return String::new();
    }
    let mut out = String::from("<section>\n<h2>Findings</h2>\n<dl>\n");
    for finding in findings {
        let class = if finding.shown == Shown::Violated { "fail" } else { "open" };
        let entry = match (finding.index, finding.record) {
            (Some(index), Some(record)) => format!(", <a href=\"#{}\">entry {index}</a>", anchor(&record)),
            (Some(index), None) => format!(", entry {index}"),
            (None, _) => String::new(),
        };
        out.push_str(&format!(
            "<dt><code class=\"{class}\">{}</code> {}, {}{entry}</dt>\n<dd><p>{}</p><p><strong>What to do:</strong> {}</p></dd>\n",
            finding.code,
            finding.rule,
            finding.dimension,
            escape_lines(&finding.detail),
            escape(advice::on(finding.code))
        ));
    }
    out + "</dl>\n</section>\n"
}

fn records(reading: &Reading) -> String {
    let mut out = String::from("<section>\n<h2>Records</h2>\n<div class=\"tree\">\n");
    for branch in tree::branches(&reading.rows) {
        let record = &branch.row.record;
        let author = record.author();
        out.push_str(&format!(
            "<p id=\"{}\"><span class=\"place\">{:>6}  {}</span>  <span aria-hidden=\"true\">{}</span><strong>{}</strong>  {} \
             ({})  {}",
            anchor(&record.id()),
            branch.row.index,
            time::utc(record.time().get()),
            branch.stem,
            record.kind(),
            escape(author.principal.as_str()),
            author.role,
            escape(&tree::says(record, reading)),
        ));
        for note in tree::notes(branch.row, reading) {
            out.push_str(&match note {
                Note::Broken(code) => format!("  <span class=\"fail\">✗ {code}</span>"),
                Note::NotShown(code) => format!("  <span class=\"open\">? {code}</span>"),
                Note::NoEffect(why) => {
                    format!("  <span class=\"place\">(no effect: {})</span>", escape(&why))
                }
            });
        }
        out.push_str("</p>\n");
    }
    out.push_str("</div>\n");
    if reading.more > 0 {
        let more = counted(reading.more, "more record");
        out.push_str(&format!("<p>{more} of the run were verified and are not listed.</p>\n"));
    }
    out + "</section>\n"
}

/// The actions that were proposed, in full.
fn actions(reading: &Reading) -> String {
    let openings = reading.openings();
    let proposals: Vec<&UnverifiedRecord> =
        reading.rows.iter().map(|row| &row.record).filter(|record| review::is_proposal(record)).collect();
    if proposals.is_empty() {
        return String::new();
    }
    let mut out = String::from("<section>\n<h2>Proposals</h2>\n");
    for record in proposals {
        let state = reading.run().and_then(|run| run.proposal(&record.id()));
        let previewed = state.and_then(|proposal| reading.record(&proposal.previewed?));
        let text = review::proposal_text(record, previewed, &openings);
        out.push_str(&format!(
            "<h3><a href=\"#{}\">Proposal {}</a></h3>\n{}",
            anchor(&record.id()),
            short(&record.id()),
            block(&text)
        ));
    }
    out + "</section>\n"
}

fn payloads(reading: &Reading) -> String {
    let openings = reading.openings();
    let named = reading.rows.iter().filter(|row| !review::is_proposal(&row.record));
    let shown = named.flat_map(|row| items(&row.record).into_iter().map(move |item| (row, item)));
    let shown = shown.filter_map(|(row, item)| Some((row, openings.get(&item.commitment)?, item)));
    let mut out = String::new();
    for (row, opening, item) in shown.take(PAYLOADS) {
        let text = review::content_text(&opening.content);
        out.push_str(&format!(
            "<details>\n<summary><code>{}</code> ({}, {} bytes) of {} {}</summary>\n{}</details>\n",
            escape(item.label.as_str()),
            escape(item.media_type.as_str()),
            opening.content.len(),
            row.record.kind(),
            row.index,
            block(&text)
        ));
    }
    if out.is_empty() { out } else { format!("<section>\n<h2>Disclosed payloads</h2>\n{out}</section>\n") }
}

fn signers(reading: &Reading) -> String {
    let mut out = String::new();
    for checkpoint in reading.verdict.checkpoints() {
        out.push_str(&format!(
            "<li>Checkpoint of size {}, root <code>{}</code>, signed by <code>{}</code>",
            checkpoint.head.size,
            escape(&checkpoint.head.root.to_string()),
            escape(&checkpoint.signed_by.join(", "))
        ));
        for (name, seconds) in &checkpoint.witnesses {
            let at = time::utc(seconds.saturating_mul(1_000));
            out.push_str(&format!("; witnessed by <code>{}</code> at {at}", escape(name)));
        }
        if checkpoint.unknown > 0 {
            out.push_str(&format!(
                "; {} of unknown signers not counted",
                counted(checkpoint.unknown as u64, "signature")
            ));
        }
        out.push_str("</li>\n");
    }
    if out.is_empty() {
        out
    } else {
        format!("<section>\n<h2>Who signed the log</h2>\n<ul>\n{out}</ul>\n</section>\n")
    }
}

fn anchor(record: &RecordId) -> String {
    record.to_string().replace(':', "-")
}
