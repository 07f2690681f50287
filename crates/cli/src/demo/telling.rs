//! How the demo tells what happens: one line for each command, and what came of it.

use crate::{
    error::Outcome,
    output,
    review::GUTTER,
    style::Style,
    text::{printable, shortened},
};

/// Where the text of a step begins, in columns.
const INDENT: usize = 28;
/// Where a patch begins.
const PATCH: usize = 12;
/// Columns of a terminal that nobody made wider.
const WIDTH: usize = 80;

/// Lines for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    style: Style,
    quiet: bool,
}

impl Telling {
    /// For a person in this style; `quiet` where a program reads.
    pub const fn new(style: Style, quiet: bool) -> Self {
        Self { style, quiet }
    }

    /// The style.
    pub const fn style(&self) -> Style {
        self.style
    }

    /// A part of the story.
    pub fn part(&self, title: &str, about: &str) -> Outcome<()> {
        self.say(&format!("\n{}{}\n", self.style.bold(title), self.style.dim(&format!("  {about}"))))
    }

    /// A command of an actor, and what came of it.
    pub fn step(&self, actor: &str, command: &str, came: &str) -> Outcome<()> {
        self.line(actor, command, &wrapped(&printable(came)))
    }

    /// As [`Telling::step`], about something that was refused with a code.
    pub fn refused(&self, actor: &str, command: &str, code: &str, came: &str) -> Outcome<()> {
        let code = self.style.good(&format!("refused: {code}"));
        self.line(actor, command, &format!("{code}  {}", printable(came)))
    }

    fn line(&self, actor: &str, command: &str, came: &str) -> Outcome<()> {
        self.say(&format!("  {actor:<9} {} {came}\n", self.style.bold(&format!("{command:<15}"))))
    }

    /// A patch, coloured.
    pub fn patch(&self, patch: &str) -> Outcome<()> {
        const LINES: usize = 24;
        let is_telling = |line: &&str| !line.starts_with("index ") && !line.starts_with("diff --git ");
        let lines: Vec<&str> = patch.lines().filter(is_telling).collect();
        let mut text: String = lines
            .iter()
            .take(LINES)
            .map(|line| format!("{GUTTER}{}\n", printable(&shortened(line, WIDTH - PATCH - 3))))
            .collect();
        if lines.len() > LINES {
            text.push_str(&format!("{GUTTER}… and {} lines more\n", lines.len() - LINES));
        }
        let indent = " ".repeat(PATCH - 2);
        let text: String = self.style.review(&text).lines().map(|line| format!("{indent}{line}\n")).collect();
        self.say(&text)
    }

    /// Anything else.
    pub fn say(&self, text: &str) -> Outcome<()> {
        if self.quiet { Ok(()) } else { output::print(text) }
    }
}

/// A text broken between words, to stand beside what a step is.
fn wrapped(text: &str) -> String {
    let (mut out, mut column) = (String::new(), INDENT);
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > INDENT && column + 1 + length > WIDTH {
            out.push_str(&format!("\n{}", " ".repeat(INDENT)));
            column = INDENT;
        }
        if column > INDENT {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}
