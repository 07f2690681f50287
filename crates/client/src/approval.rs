//! Approvals as the log lists them (`spec/http.md`, "Approvals"): hints, until something proves them.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
};

use counterfoil_receipt::{
    ActionDigest, PolicyDigest, Principal, RecordId, RunId,
    body::{Risk, Ruling, Status, Surface},
    text::{Group, Label, RuleName},
};
use counterfoil_verify::{ProposalStatus, Reviewed};
use serde::{Deserialize, Serialize};

use crate::{answer::json, client::protocol, error::ClientError, http::broke_off, limits};

/// Which approvals are asked for; what is empty excludes none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalQuery {
    /// In which state they are.
    pub status: Option<ProposalStatus>,
    /// Who proposed them, asked for their run or decided them.
    pub principal: Option<Principal>,
    /// Who may decide them now.
    pub approver: Option<Principal>,
    /// What their tool matches, with `*` for any string.
    pub tool: Option<String>,
    /// The log time, in milliseconds, from which on they were proposed.
    pub since: Option<u64>,
    /// The index below which they stand; not for a stream.
    pub before: Option<u64>,
    /// How many on one page, 1–100; not for a stream.
    pub limit: Option<u64>,
}

/// Approvals, as the log lists them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Approvals {
    /// The newest first.
    pub approvals: Vec<ApprovalView>,
    /// The `before` of the next page, which may be empty; `None` if there is none.
    pub next: Option<u64>,
    /// The size of the log's tree.
    pub size: u64,
}

/// A proposal and what it waits for, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalView {
    /// The action.
    pub action: ActionView,
    /// Decisions about it, in log order: the last of them.
    pub decisions: Vec<ApprovalDecision>,
    /// The record that ended it.
    #[serde(with = "optional")]
    pub ended_by: Option<RecordId>,
    /// Its executions, in log order: the last of them.
    pub executions: Vec<ApprovalExecution>,
    /// The log time after which it no longer waits, or can no longer be used.
    pub expires_at: Option<u64>,
    /// Its index.
    pub index: u64,
    /// Its log time.
    pub log_time: Option<u64>,
    /// The policy in force.
    #[serde(with = "optional")]
    pub policy: Option<PolicyDigest>,
    /// Whether it has to have been previewed, and was.
    pub preview: ApprovalPreview,
    /// Its id.
    #[serde(with = "text")]
    pub proposal: RecordId,
    /// Who proposed it.
    #[serde(with = "text")]
    pub proposer: Principal,
    /// Who asked for its run.
    #[serde(with = "text")]
    pub requester: Principal,
    /// Where people look at it, and decide.
    pub review_url: Option<String>,
    /// How bad it could get, by the proposer's word.
    #[serde(with = "text")]
    pub risk: Risk,
    /// The rules that ask for approvals.
    pub rules: Vec<ApprovalRule>,
    /// Its run.
    #[serde(with = "text")]
    pub run: RunId,
    /// Where it is.
    #[serde(with = "text")]
    pub status: ProposalStatus,
    /// The proposal that it revises.
    #[serde(with = "optional")]
    pub supersedes: Option<RecordId>,
    /// Its tags.
    #[serde(with = "texts")]
    pub tags: Vec<Label>,
    /// When it was made, as it claims.
    pub time: u64,
    /// What the policy will say by itself.
    pub timers: Vec<ApprovalTimer>,
}

/// The preview of a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalPreview {
    /// The parent of the proposal that says that a preview of its action succeeded.
    #[serde(with = "optional")]
    pub outcome: Option<RecordId>,
    /// Whether the policy in force wants one. Without one, no execution stands.
    pub wanted: bool,
}

/// What is proposed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ActionView {
    /// The digest of the action.
    #[serde(with = "text")]
    pub digest: ActionDigest,
    /// What it is done to.
    #[serde(with = "optional")]
    pub target: Option<Label>,
    /// What does it.
    #[serde(with = "text")]
    pub tool: Label,
}

/// A decision, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalDecision {
    /// Who decided.
    #[serde(with = "text")]
    pub approver: Principal,
    /// Its id.
    #[serde(with = "text")]
    pub id: RecordId,
    /// Its index.
    pub index: u64,
    /// Why, as the approver wrote it.
    pub reason: Option<String>,
    /// The rule whose time is out, if that is what decided.
    #[serde(with = "optional")]
    pub rule: Option<RuleName>,
    /// Where the approver was shown what they decided on.
    #[serde(with = "text")]
    pub surface: Surface,
    /// When, as it claims.
    pub time: u64,
    /// What it says.
    #[serde(with = "text")]
    pub verdict: Ruling,
    /// The record that withdrew it.
    #[serde(with = "optional")]
    pub withdrawn: Option<RecordId>,
}

/// An execution, as the log sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalExecution {
    /// The decisions that it stands on.
    #[serde(with = "texts")]
    pub decisions: Vec<RecordId>,
    /// Its id.
    #[serde(with = "text")]
    pub id: RecordId,
    /// Its index.
    pub index: u64,
    /// What was said afterwards of an execution under break-glass; `None` for every other.
    #[serde(with = "optional")]
    pub review: Option<Reviewed>,
    /// The execution that it tries again.
    #[serde(with = "optional")]
    pub retries: Option<RecordId>,
    /// Who executes.
    #[serde(with = "text")]
    pub runtime: Principal,
    /// How it ended, as far as is known.
    #[serde(with = "optional")]
    pub status: Option<Status>,
}

/// A rule that asks for approvals.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalRule {
    /// Whether it is met.
    pub met: bool,
    /// Its name.
    #[serde(with = "text")]
    pub name: RuleName,
    /// What it asks for.
    pub requirements: Vec<ApprovalRequirement>,
}

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalRequirement {
    /// Whose approval counts for it.
    #[serde(with = "texts")]
    pub approved: Vec<Principal>,
    /// How many it wants.
    pub count: u64,
    /// Who may, by group.
    #[serde(with = "texts")]
    pub groups: Vec<Group>,
    /// Who may, by name; where there is neither, everybody who signs as a human.
    #[serde(with = "texts")]
    pub principals: Vec<Principal>,
}

/// What the policy will say by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ApprovalTimer {
    /// The log time at which it is due.
    pub due: Option<u64>,
    /// The rule.
    #[serde(with = "text")]
    pub rule: RuleName,
    /// `approve`, `reject` or `escalate`.
    pub says: String,
}

/// A change of an approval, and the index after which whoever missed the rest goes on.
pub type ApprovalEvent = (u64, ApprovalView);

/// Changes of approvals as they come. It ends with an error: a stream that ends is one that broke off.
pub struct ApprovalEvents<R> {
    url: String,
    lines: BufReader<R>,
}

impl ApprovalQuery {
    /// The path with this query.
    pub(crate) fn path(&self, path: &str) -> String {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let name = |name: &Option<Principal>| name.as_ref().map(ToString::to_string);
        let members = [
            ("status", self.status.map(|status| status.as_str().to_owned())),
            ("principal", name(&self.principal)),
            ("approver", name(&self.approver)),
            ("tool", self.tool.as_deref().map(escaped)),
            ("since", number(self.since)),
            ("before", number(self.before)),
            ("limit", number(self.limit)),
        ];
        let mut out = path.to_owned();
        for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            out.push(if out.contains('?') { '&' } else { '?' });
            out.push_str(&format!("{name}={value}"));
        }
        out
    }
}

/// Text as it may stand in a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'*') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

impl<R: Read> ApprovalEvents<R> {
    pub(crate) fn new(url: String, body: R) -> Self {
        Self { url, lines: BufReader::new(body) }
    }

    /// The next line without its end, of bounded length.
    fn line(&mut self) -> Result<String, ClientError> {
        let mut line = Vec::new();
        let limit = limits::EVENT_BYTES;
        let read = self.lines.by_ref().take(limit as u64 + 1).read_until(b'\n', &mut line);
        read.map_err(|error| broke_off(&self.url, &error))?;
        if line.len() > limit {
            return Err(ClientError::TooLarge { url: self.url.clone(), limit });
        }
        if line.pop() != Some(b'\n') {
            return Err(broke_off(&self.url, &std::io::ErrorKind::UnexpectedEof.into()));
        }
        String::from_utf8(line).map_err(|_| protocol(&self.url, "an event is not UTF-8"))
    }

    fn event(&mut self) -> Result<ApprovalEvent, ClientError> {
        let (mut id, mut view) = (None, None);
        loop {
            let line = self.line()?;
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.parse().map_err(|_| protocol(&self.url, "the id of an event is no index"))?);
            } else if let Some(data) = line.strip_prefix("data: ") {
                view = Some(json(data.as_bytes()).map_err(|why| protocol(&self.url, why))?);
            } else if line.is_empty()
                && let Some((id, view)) = id.zip(view.take())
            {
                return Ok((id, view));
            }
        }
    }
}

impl<R: Read> Iterator for ApprovalEvents<R> {
    type Item = Result<ApprovalEvent, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.event())
    }
}

/// What stands in JSON as a string of its own form.
trait Word: Sized {
    const WHAT: &'static str;
    fn read(text: &str) -> Option<Self>;
    fn spell(&self) -> String;
}

macro_rules! words {
    ($($name:ty, $what:literal, $read:expr, $spell:expr;)*) => {$(
        impl Word for $name {
            const WHAT: &'static str = $what;
            fn read(text: &str) -> Option<Self> {
                $read(text)
            }
            fn spell(&self) -> String {
                $spell(self)
            }
        }
    )*};
}

words! {
    RecordId, "record id", Self::parse, ToString::to_string;
    RunId, "run id", Self::parse, ToString::to_string;
    ActionDigest, "action digest", Self::parse, ToString::to_string;
    PolicyDigest, "policy digest", Self::parse, ToString::to_string;
    Principal, "name", |text: &str| Self::new(text), ToString::to_string;
    Label, "label", |text: &str| Self::new(text), ToString::to_string;
    Risk, "risk", Self::parse, |word: &Self| word.as_str().to_owned();
    Reviewed, "review", Self::parse, |word: &Self| word.as_str().to_owned();
    Ruling, "verdict", Self::parse, |word: &Self| word.as_str().to_owned();
    Status, "outcome", Self::parse, |word: &Self| word.as_str().to_owned();
    Surface, "surface", Self::parse, |word: &Self| word.as_str().to_owned();
    ProposalStatus, "status of a proposal", Self::parse, |word: &Self| word.as_str().to_owned();
}

fn read_word<T: Word, E: serde::de::Error>(text: &str) -> Result<T, E> {
    T::read(text).ok_or_else(|| E::custom(format!("{text:?} is no {}", T::WHAT)))
}

mod text {
    use super::*;

    pub(super) fn serialize<T: Word, S: serde::Serializer>(word: &T, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&word.spell())
    }

    pub(super) fn deserialize<'de, T: Word, D: serde::Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        read_word(&String::deserialize(from)?)
    }
}

mod optional {
    use super::*;

    pub(super) fn serialize<T: Word, S: serde::Serializer>(
        word: &Option<T>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        word.as_ref().map(Word::spell).serialize(to)
    }

    pub(super) fn deserialize<'de, T: Word, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        Option::<String>::deserialize(from)?.as_deref().map(read_word).transpose()
    }
}

mod texts {
    use super::*;

    pub(super) fn serialize<T: Word, S: serde::Serializer>(words: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(words.iter().map(Word::spell))
    }

    pub(super) fn deserialize<'de, T: Word, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<T>, D::Error> {
        Vec::<String>::deserialize(from)?.iter().map(|text| read_word(text)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_query_names_what_is_asked_for_and_nothing_else() {
        assert_eq!(ApprovalQuery::default().path("/a"), "/a");
        let query =
            ApprovalQuery { tool: Some("a&b=*é".to_owned()), limit: Some(5), ..ApprovalQuery::default() };
        assert_eq!(query.path("/a"), "/a?tool=a%26b%3D*%C3%A9&limit=5");
    }

    #[test]
    fn events_are_read_line_by_line_and_never_without_end() {
        let of = |text: &str| {
            let mut events = ApprovalEvents::new("u".to_owned(), std::io::Cursor::new(text.to_owned()));
            events.next().unwrap().unwrap_err().to_string()
        };
        for (text, why) in [
            ("", "broke off"),
            (": alive\n\n", "broke off"),
            ("id: x\n", "no index"),
            ("id: 1\ndata: {}\n\n", "not what was asked for"),
        ] {
            assert!(of(text).contains(why), "{text:?}: {}", of(text));
        }
        assert!(of(&"x".repeat(limits::EVENT_BYTES + 1)).contains("more than"));
    }
}
