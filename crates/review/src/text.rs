//! Text of strangers on a terminal or a page: nothing in a record may move the cursor, hide text or turn it round.

pub use counterfoil_receipt::text::is_printable;

/// The text with every character that a terminal obeys, or that makes text look like other text, spelled out as `\u{…}`.
pub fn printable(text: &str) -> String {
    escape(text, |_| false)
}

/// As [`printable`], with line feeds and tabs kept.
pub fn printable_lines(text: &str) -> String {
    escape(text, |character| matches!(character, '\n' | '\t'))
}

fn escape(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if keep(character) || is_printable(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    out
}

/// Characters of an argument or a path that a message repeats.
pub const SHOWN_CHARS: usize = 300;

/// The first `most` characters, with an ellipsis if there are more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// `1 record`, `2 records`.
pub fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// `a record`, `an action`.
pub fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// The first hexadecimal digits of a hash: enough to tell the records of one run apart.
pub fn short(hash: &impl std::fmt::Display) -> String {
    let text = hash.to_string();
    text.strip_prefix("sha256:").unwrap_or(&text).chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), r"a\u{1b}[2Jb\u{d}\u{a}");
        assert_eq!(printable("safe \u{202e}txt.exe"), r"safe \u{202e}txt.exe");
        assert_eq!(printable_lines("a\n\tb\u{9b}"), "a\n\tb\\u{9b}");
        assert_eq!(printable("Zürich – 東京 ✓"), "Zürich – 東京 ✓");
    }

    #[test]
    fn an_article_fits_its_noun() {
        assert_eq!((with_article("action"), with_article("record")), ("an action".into(), "a record".into()));
    }
}
