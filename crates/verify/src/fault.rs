//! What is wrong, with the evidence: the rule, the record, the claimed and the computed value.

use std::fmt;

use counterfoil_receipt::{Malformed, RecordId};

use crate::rule::{Dimension, Rule};

/// Whether a rule is broken, or the evidence for it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The evidence shows that the rule does not hold.
    Violated,
    /// What would show that the rule holds is not there.
    NotShown,
}

/// A rule that does not hold, or is not shown to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// Broken, or not shown.
    pub shown: Shown,
    /// The field, the claimed and the computed value, for a person.
    pub detail: String,
}

impl Fault {
    /// The rule is broken.
    pub(crate) fn violated(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, shown: Shown::Violated, detail: detail.into() }
    }

    /// The evidence for the rule is not there.
    pub(crate) fn not_shown(rule: Rule, detail: impl Into<String>) -> Self {
        Self { rule, shown: Shown::NotShown, detail: detail.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Fault {}

/// One line of a verdict's reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule's id in `spec/rules.md`.
    pub rule: &'static str,
    /// Its stable code.
    pub code: &'static str,
    /// What it fails.
    pub dimension: Dimension,
    /// Broken, or not shown.
    pub shown: Shown,
    /// Whether the input as a whole could not be read any further.
    pub unreadable: bool,
    /// The log index of the entry that it is about (`spec/verification.md` §5); `None` if it is about no single one.
    pub index: Option<u64>,
    /// The id of that entry, where the bundle has it.
    pub record: Option<RecordId>,
    /// The evidence, for a person.
    pub detail: String,
}

impl Finding {
    /// A finding about the bundle as a whole.
    pub(crate) fn of(fault: Fault) -> Self {
        Self {
            rule: fault.rule.id(),
            code: fault.rule.code(),
            dimension: fault.rule.dimension(),
            shown: fault.shown,
            unreadable: false,
            index: None,
            record: None,
            detail: fault.detail,
        }
    }

    /// An entry that is no well-formed record.
    pub(crate) fn malformed(fault: &Malformed) -> Self {
        let place = if fault.at.is_empty() { String::new() } else { format!("{}: ", fault.at) };
        Self {
            rule: fault.code.id(),
            code: fault.code.code(),
            dimension: Dimension::Integrity,
            shown: Shown::Violated,
            unreadable: false,
            index: None,
            record: None,
            detail: format!("{place}{}", fault.detail),
        }
    }

    /// The same finding, about this entry; `record` is its id, where the bundle has it.
    pub(crate) fn at(mut self, index: u64, record: Option<RecordId>) -> Self {
        self.index = Some(index);
        self.record = record;
        self
    }

    /// The same finding, after which nothing more could be read.
    pub(crate) fn unreadable(mut self) -> Self {
        self.unreadable = true;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if let Some(index) = self.index {
            write!(f, "entry {index}: ")?;
        }
        f.write_str(&self.detail)
    }
}
