//! Text of strangers: nothing that they wrote ends a line, a header or a command, moves a cursor, hides text or turns it round.

pub use counterfoil_review::text::is_printable;

/// The text as one line of at most `most` bytes: what is not [printable](is_printable) is spelled out as `\u{…}`, and what is
/// too much is cut off, with an ellipsis.
pub fn line(text: &str, most: usize) -> String {
    shown(text, most, |_| false)
}

/// As [`line()`], with line feeds kept, and tabs; CR LF becomes LF.
pub fn lines(text: &str, most: usize) -> String {
    shown(&text.replace("\r\n", "\n"), most, |character| matches!(character, '\n' | '\t'))
}

fn shown(text: &str, most: usize, keep: impl Fn(char) -> bool) -> String {
    const ELLIPSIS: &str = "…";
    // Where it has to be cut so that the ellipsis fits.
    let (mut out, mut cut) = (String::with_capacity(text.len().min(most)), 0);
    for character in text.chars() {
        if out.len() + ELLIPSIS.len() <= most {
            cut = out.len();
        }
        if keep(character) || is_printable(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
        if out.len() > most {
            out.truncate(cut);
            out.push_str(if cut + ELLIPSIS.len() <= most { ELLIPSIS } else { "" });
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_or_a_header_obeys_is_spelled_out() {
        assert_eq!(line("a\r\nBcc: b\0\u{1b}[2J", 99), r"a\u{d}\u{a}Bcc: b\u{0}\u{1b}[2J");
        assert_eq!(line("pay \u{202e}eciN", 99), r"pay \u{202e}eciN");
        assert_eq!(lines("a\r\nb\tc\rd\u{2028}", 99), "a\nb\tc\\u{d}d\\u{2028}");
        assert_eq!(line("Zahlung über 5 €", 99), "Zahlung über 5 €");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(line("abcdef", 6), "abcdef");
        assert_eq!(line("abcdefg", 6), "abc…");
        assert_eq!(line("ääää", 7), "ää…");
        assert_eq!(line("abc\n", 7), "abc…");
        assert_eq!(line("abc", 2), "");
    }

    proptest! {
        #[test]
        fn a_line_is_printable_and_not_too_long(text: String, most in 0_usize..40) {
            let line = line(&text, most);
            prop_assert!(line.len() <= most && line.chars().all(is_printable));
            let lines = lines(&text, most);
            prop_assert!(lines.chars().all(|c| is_printable(c) || c == '\n' || c == '\t'));
        }
    }
}
