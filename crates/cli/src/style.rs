//! Colour, where a person reads and wants it.

use std::io::IsTerminal;

use clap::ValueEnum;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Even into a pipe.
    Always,
    /// Never.
    Never,
}

/// How text is dressed for standard output.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    on: bool,
}

impl Style {
    /// No dress at all.
    pub const PLAIN: Self = Self { on: false };

    /// The style for standard output.
    pub fn of(color: Color) -> Self {
        let unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let on = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && unset("NO_COLOR") && !dumb,
        };
        Self { on }
    }

    /// Heads and names.
    pub fn bold(self, text: &str) -> String {
        self.dress("1", text)
    }

    /// What is there for completeness.
    pub fn dim(self, text: &str) -> String {
        self.dress("2", text)
    }

    /// What holds, or was added.
    pub fn good(self, text: &str) -> String {
        self.dress("32", text)
    }

    /// What is violated, or was taken away.
    pub fn bad(self, text: &str) -> String {
        self.dress("1;31", text)
    }

    /// What is not shown.
    pub fn open(self, text: &str) -> String {
        self.dress("33", text)
    }

    /// A place in a file.
    pub fn place(self, text: &str) -> String {
        self.dress("36", text)
    }

    fn dress(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A reviewed text with the diffs in it coloured: nothing but colour is added.
    pub fn review(self, text: &str) -> String {
        use crate::{diff, review::GUTTER};
        let foreign: String =
            text.lines().filter_map(|line| line.strip_prefix(GUTTER)).flat_map(|line| [line, "\n"]).collect();
        if !self.on || !diff::is_diff(&foreign) {
            return text.to_owned();
        }
        let dress = |line: &str| match line.strip_prefix(GUTTER).map(|line| (line, diff::kind(line))) {
            Some((line, diff::Kind::Added)) => format!("{GUTTER}{}\n", self.good(line)),
            Some((line, diff::Kind::Removed)) => format!("{GUTTER}{}\n", self.dress("31", line)),
            Some((line, diff::Kind::Place)) => format!("{GUTTER}{}\n", self.place(line)),
            Some((line, diff::Kind::Head)) => format!("{GUTTER}{}\n", self.bold(line)),
            Some((_, diff::Kind::Context)) | None => format!("{line}\n"),
        };
        text.lines().map(dress).collect()
    }
}
