//! Recognising a patch, so that a person sees one as a patch.

/// What a line of a unified diff is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line that the patch adds.
    Added,
    /// A line that the patch takes away.
    Removed,
    /// Where a hunk applies.
    Place,
    /// Which file is changed, and how.
    Head,
    /// Anything else.
    Context,
}

/// Whether a text has the headers of a unified diff.
pub fn is_diff(text: &str) -> bool {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let follows = lines.peek().is_some_and(|next| next.starts_with("+++ "));
        if line.starts_with("diff --git ") || (line.starts_with("--- ") && follows) {
            return true;
        }
    }
    false
}

/// What one line of a diff is.
pub fn kind(line: &str) -> Kind {
    const HEADS: [&str; 9] = [
        "diff --git ",
        "index ",
        "--- ",
        "+++ ",
        "new file mode",
        "deleted file mode",
        "similarity index",
        "rename ",
        "Binary files",
    ];
    if HEADS.iter().any(|head| line.starts_with(head)) {
        return Kind::Head;
    }
    match line.as_bytes().first() {
        Some(b'+') => Kind::Added,
        Some(b'-') => Kind::Removed,
        Some(b'@') => Kind::Place,
        _ => Kind::Context,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_known_by_its_headers() {
        assert!(is_diff("diff --git a/x b/x\n"));
        assert!(is_diff("text before\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"));
        assert!(!is_diff("--- a rule\nand text\n"));
        assert_eq!(
            ["+a", "-b", "@@ -1 +1 @@", "--- a/x", " c", ""].map(kind),
            [Kind::Added, Kind::Removed, Kind::Place, Kind::Head, Kind::Context, Kind::Context]
        );
    }
}
