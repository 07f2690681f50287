//! The verdict as one HTML page: no script, nothing loaded from anywhere, every word of a record escaped.

use counterfoil_receipt::{RecordId, UnverifiedRecord};
use counterfoil_verify::{Answer, Conclusion, Dimension, Shown};

use crate::{
    advice, diff,
    reading::{Reading, items},
    review,
    text::{counted, printable, printable_lines, short},
    time,
    tree::{self, Note},
    verdict::Asked,
};

/// Payloads that are printed in full, and characters of each.
const PAYLOADS: usize = 50;
const PAYLOAD_CHARS: usize = 200_000;

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
        let text = review::proposal_text(record, &openings);
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

/// A text in full, the lines of a diff marked.
fn block(text: &str) -> String {
    let cut = crate::text::shortened(text, PAYLOAD_CHARS);
    let strip = |line: &'_ str| line.strip_prefix(review::GUTTER).map_or(line.len(), str::len);
    let bare = |line: &str| line[line.len() - strip(line)..].to_owned();
    let is_diff = diff::is_diff(&cut.split_inclusive('\n').map(bare).collect::<String>());
    let mut out = String::from("<pre>");
    for line in printable_lines(&cut).split_inclusive('\n') {
        let class = match diff::kind(&bare(line)) {
            diff::Kind::Added if is_diff => "added",
            diff::Kind::Removed if is_diff => "removed",
            diff::Kind::Place if is_diff => "place",
            _ => "",
        };
        match class {
            "" => out.push_str(&escape_lines(line)),
            // The line feed stands outside: inside, a browser would put what follows beside this line, out of sight.
            class => {
                let (line, feed) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
                out.push_str(&format!("<span class=\"{class}\">{}</span>{feed}", escape_lines(line)));
            }
        }
    }
    out + "</pre>\n"
}

fn anchor(record: &RecordId) -> String {
    record.to_string().replace(':', "-")
}

/// Text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    escape_html(&printable(text))
}

/// As [`escape`], with line feeds and tabs kept.
fn escape_lines(text: &str) -> String {
    escape_html(&printable_lines(text))
}

fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// How a page looks, on a screen, in the dark and on paper.
pub const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1b1f;--paper:#fff;--soft:#6b6b76;--rule:#dcdce2;--box:#f5f5f7;--pass:#116329;
--fail:#b3001b;--open:#7a5200;--add:#e6f6ea;--del:#fde8ea}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8ec;--paper:#16161a;--soft:#9a9aa6;--rule:#34343c;--box:#1f1f25;
--pass:#5fd38a;--fail:#ff7a85;--open:#e8b64a;--add:#12331f;--del:#3d171b}}
body{background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif;margin:0}
main{max-width:72rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.25rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin-top:2.5rem}h3{font-size:1rem}
code,pre,.tree{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.875rem}
pre,.tree{background:var(--box);border:1px solid var(--rule);border-radius:.4rem;padding:.75rem;overflow-x:auto}
.tree p{margin:0;white-space:pre}.tree p:target{outline:2px solid var(--open)}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.4rem .75rem .4rem 0;
border-bottom:1px solid var(--rule);overflow-wrap:anywhere}th[scope=row]{white-space:nowrap;font-weight:600}
td:nth-child(2){white-space:nowrap;font-weight:600}small,.place{color:var(--soft);font-weight:400}
dd{margin:0 0 1rem 1.5rem;overflow-wrap:anywhere}dd p{margin:.25rem 0}.verdict{font-size:2rem;font-weight:700;margin:0}
.pass{color:var(--pass)}.fail{color:var(--fail)}.open{color:var(--open)}
.added{background:var(--add)}.removed{background:var(--del)}.added,.removed{display:inline-block;min-width:100%}
li{overflow-wrap:anywhere}a{color:inherit}summary{cursor:pointer}
@media print{body{background:#fff;color:#000}main{max-width:none;padding:0}pre,.tree{white-space:pre-wrap;border:0}
.tree p{white-space:pre-wrap}details{display:block}h2,h3{break-after:avoid}tr,dd{break-inside:avoid}}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_record_can_not_become_markup() {
        assert_eq!(
            escape("<img src=x onerror='a'>&\"\u{202e}"),
            "&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;\\u{202e}"
        );
        assert!(!block("</pre><script>").contains("<script>"));
    }

    #[test]
    fn lines_of_a_diff_do_not_stand_beside_each_other_in_a_browser() {
        let page = block("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-one\n-two\n+three\n");
        assert!(
            page.contains("<span class=\"removed\">-one</span>\n<span class=\"removed\">-two</span>\n"),
            "{page}"
        );
        assert!(!page.contains("\n</span>"), "{page}");
    }
}
