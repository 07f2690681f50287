//! The verdict: one answer per dimension, and what the caller concludes from them (`spec/verification.md`).

use std::fmt;

use counterfoil_receipt::{Opening, RunId};

use crate::{
    checkpoint::ShownCheckpoint,
    fault::{Finding, Shown},
    latest::Latest,
    rule::Dimension,
    state::State,
};

/// What a verdict says about one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The evidence shows it, in these words.
    Pass(String),
    /// The evidence shows the contrary.
    Fail,
    /// The evidence does not show it, for this reason.
    NotShown(String),
}

/// What the caller's requirements make of a verdict; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Everything that was required is shown: 0.
    Shown,
    /// Something is violated, required or not: 1.
    Violated,
    /// The input could not be read: 2.
    Unreadable,
    /// Something that was required is not shown: 3.
    NotShown,
}

/// What a bundle shows under a trust, at a time.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub(crate) run: Option<RunId>,
    pub(crate) answers: [Answer; 7],
    pub(crate) findings: Vec<Finding>,
    pub(crate) effects: Vec<(u64, String)>,
    pub(crate) checkpoints: Vec<ShownCheckpoint>,
    pub(crate) openings: Vec<Opening>,
    pub(crate) undisclosed: u64,
    pub(crate) latest: Latest,
    pub(crate) state: State,
}

impl Answer {
    /// Whether the dimension passes.
    pub const fn passes(&self) -> bool {
        matches!(self, Self::Pass(_))
    }
}

impl Verdict {
    /// The answer for one dimension.
    pub fn answer(&self, dimension: Dimension) -> &Answer {
        &self.answers[dimension as usize]
    }

    /// What the requirements make of the answers. A violation anywhere counts, and nothing required shows nothing.
    pub fn conclude(&self, require: &[Dimension]) -> Conclusion {
        if self.findings.iter().any(|finding| finding.unreadable) {
            return Conclusion::Unreadable;
        }
        if self.answers.contains(&Answer::Fail) {
            return Conclusion::Violated;
        }
        if require.is_empty() || !require.iter().all(|dimension| self.answer(*dimension).passes()) {
            return Conclusion::NotShown;
        }
        Conclusion::Shown
    }

    /// Every rule that does not hold or is not shown, in the order in which it was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Entries that were admitted and changed nothing, with the reason.
    pub fn without_effect(&self) -> &[(u64, String)] {
        &self.effects
    }

    /// The checkpoints, by ascending size, with the signers that counted.
    pub fn checkpoints(&self) -> &[ShownCheckpoint] {
        &self.checkpoints
    }

    /// The payloads that the bundle discloses, each checked against its commitment.
    pub fn openings(&self) -> &[Opening] {
        &self.openings
    }

    /// How many payloads the records name and the bundle does not disclose.
    pub const fn undisclosed(&self) -> u64 {
        self.undisclosed
    }

    /// The run that the bundle is about; `None` if not even its header could be read.
    pub const fn run_id(&self) -> Option<RunId> {
        self.run
    }

    /// The state that the shown entries make. Trust it only as far as the answers go.
    pub const fn state(&self) -> &State {
        &self.state
    }
}

impl Conclusion {
    /// The exit code of a command that concludes this.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Shown => 0,
            Self::Violated => 1,
            Self::Unreadable => 2,
            Self::NotShown => 3,
        }
    }

    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Violated => "violated",
            Self::Unreadable => "unreadable",
            Self::NotShown => "not_shown",
        }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer that findings leave for a dimension: fail before not shown before `otherwise`.
pub(crate) fn answer(findings: &[Finding], dimension: Dimension, otherwise: Answer) -> Answer {
    let mut own = findings.iter().filter(|finding| finding.dimension == dimension);
    if own.clone().any(|finding| finding.shown == Shown::Violated) {
        return Answer::Fail;
    }
    match own.find(|finding| finding.shown == Shown::NotShown) {
        Some(finding) => Answer::NotShown(finding.to_string()),
        None => otherwise,
    }
}
