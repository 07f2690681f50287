//! Text of strangers in a page: no script, nothing loaded from anywhere, every word escaped.

use crate::{
    diff, proposal,
    text::{printable, printable_lines, shortened},
};

/// Characters of a text that are printed; what is longer is cut.
pub const BLOCK_CHARS: usize = 200_000;

/// A text in full, the lines of a diff marked.
pub fn block(text: &str) -> String {
    let cut = shortened(text, BLOCK_CHARS);
    let strip = |line: &'_ str| line.strip_prefix(proposal::GUTTER).map_or(line.len(), str::len);
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

/// Text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    escape_html(&printable(text))
}

/// As [`escape`], with line feeds and tabs kept.
pub fn escape_lines(text: &str) -> String {
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
