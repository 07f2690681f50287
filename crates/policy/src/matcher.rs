//! Matchers: what a rule is about, answered *yes*, *no* or *unresolved* (`spec/policy.md`, *Matcher*).

use std::{cell::OnceCell, fmt};

use counterfoil_receipt::{
    Principal, RecordId,
    action::Mode,
    body::Risk,
    hashes::SchemaDigest,
    text::{Currency, Group, Label},
};
use serde_json::Value;

use crate::{
    amount::{Decimal, Threshold},
    cost::{CostSource, Spent, cost},
    glob::Glob,
    request::{Found, Path, Request},
};

/// What a matcher answers. The order is that of `all`, which answers the least of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// The action is not such.
    No,
    /// What would tell is not known.
    Unresolved,
    /// It is.
    Yes,
}

/// One matcher, and those inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Matcher {
    Always,
    Tool(Glob),
    Target(Glob),
    Mode(Mode),
    Definition(Vec<SchemaDigest>),
    Argument(Path, Test),
    Cost(Bound, Threshold, Currency),
    RiskAtLeast(Risk),
    Tags(Share, Vec<Label>),
    Principal(Vec<Principal>),
    Group(Vec<Group>),
    Delegated(bool),
    Delegation(Vec<RecordId>),
    All(Vec<Matcher>),
    Any(Vec<Matcher>),
    Not(Box<Matcher>),
}

/// What the value of an argument must pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    OneOf(Vec<Literal>),
    Glob(Glob),
    Amount(Bound, Threshold),
    Present(bool),
}

/// On which side of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Over,
    AtMost,
}

/// How many of a list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Any,
    All,
    None,
}

/// A value that an argument can be compared with, in the order in which lists have them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Literal {
    Null,
    Boolean(bool),
    Integer(i64),
    Text(String),
}

/// One request, with what is worked out once for all rules.
pub(crate) struct Case<'c, 'a> {
    pub request: &'c Request<'a>,
    costs: &'c [CostSource],
    cost: OnceCell<Result<Spent, &'static str>>,
}

impl<'c, 'a> Case<'c, 'a> {
    pub const fn new(request: &'c Request<'a>, costs: &'c [CostSource]) -> Self {
        Self { request, costs, cost: OnceCell::new() }
    }

    /// What the action costs, or why that is not known.
    pub fn cost(&self) -> &Result<Spent, &'static str> {
        self.cost.get_or_init(|| cost(self.costs, self.request))
    }
}

impl Matcher {
    /// The answer for one request.
    pub fn test(&self, case: &Case<'_, '_>) -> Answer {
        let request = case.request;
        match self {
            Self::Always => Answer::Yes,
            Self::Tool(glob) => Answer::of(glob.matches(request.action.tool.as_str())),
            Self::Target(glob) => {
                Answer::of(request.action.target.as_ref().is_some_and(|target| glob.matches(target.as_str())))
            }
            Self::Mode(mode) => Answer::of(request.action.mode == *mode),
            Self::Definition(digests) => {
                let connector = request.action.connector.as_ref();
                Answer::of(connector.is_some_and(|connector| digests.contains(&connector.schema)))
            }
            Self::Argument(path, test) => test.of(request.find(path)),
            Self::Cost(bound, amount, currency) => match case.cost() {
                Ok(spent) if spent.currency == *currency => bound.holds(spent.amount, amount),
                Ok(_) | Err(_) => Answer::Unresolved,
            },
            Self::RiskAtLeast(risk) => Answer::of(request.risk >= *risk),
            Self::Tags(share, tags) => {
                let mut present = tags.iter().map(|tag| request.tags.contains(tag));
                Answer::of(match share {
                    Share::Any => present.any(|present| present),
                    Share::All => present.all(|present| present),
                    Share::None => !present.any(|present| present),
                })
            }
            Self::Principal(principals) => Answer::of(principals.contains(request.proposer)),
            Self::Group(groups) => Answer::of(groups.iter().any(|group| request.groups.contains(group))),
            Self::Delegated(wanted) => Answer::of(*wanted != request.chain.is_empty()),
            Self::Delegation(ids) => Answer::of(ids.iter().any(|id| request.chain.contains(id))),
            Self::All(matchers) => least(matchers.iter().map(|matcher| matcher.test(case))),
            Self::Any(matchers) => least(matchers.iter().map(|matcher| matcher.test(case).not())).not(),
            Self::Not(matcher) => matcher.test(case).not(),
        }
    }

    /// Whether an answer can rest on what the proposer claims: risk or tags.
    pub fn rests_on_claims(&self) -> bool {
        match self {
            Self::RiskAtLeast(_) | Self::Tags(..) => true,
            Self::All(matchers) | Self::Any(matchers) => matchers.iter().any(Self::rests_on_claims),
            Self::Not(matcher) => matcher.rests_on_claims(),
            Self::Always
            | Self::Tool(_)
            | Self::Target(_)
            | Self::Mode(_)
            | Self::Definition(_)
            | Self::Argument(..)
            | Self::Cost(..)
            | Self::Principal(_)
            | Self::Group(_)
            | Self::Delegated(_)
            | Self::Delegation(_) => false,
        }
    }

    /// Whether an answer can rest on how a tool is defined.
    pub fn rests_on_definitions(&self) -> bool {
        match self {
            Self::Definition(_) => true,
            Self::All(matchers) | Self::Any(matchers) => matchers.iter().any(Self::rests_on_definitions),
            Self::Not(matcher) => matcher.rests_on_definitions(),
            Self::Always
            | Self::Tool(_)
            | Self::Target(_)
            | Self::Mode(_)
            | Self::Argument(..)
            | Self::Cost(..)
            | Self::RiskAtLeast(_)
            | Self::Tags(..)
            | Self::Principal(_)
            | Self::Group(_)
            | Self::Delegated(_)
            | Self::Delegation(_) => false,
        }
    }
}

/// The least of some answers. Nothing is less than no, so nothing behind it is asked.
fn least(answers: impl Iterator<Item = Answer>) -> Answer {
    let mut least = Answer::Yes;
    for answer in answers {
        least = least.min(answer);
        if least == Answer::No {
            break;
        }
    }
    least
}

impl Test {
    pub fn of(&self, found: Found<'_>) -> Answer {
        match (self, found) {
            (_, Found::Hidden) => Answer::Unresolved,
            (Self::Present(wanted), found) => Answer::of(*wanted == matches!(found, Found::Value(_))),
            (Self::OneOf(_) | Self::Glob(_) | Self::Amount(..), Found::Nothing) => Answer::Unresolved,
            (Self::OneOf(literals), Found::Value(value)) => {
                Answer::of(literals.iter().any(|literal| literal.is(value)))
            }
            (Self::Glob(glob), Found::Value(value)) => {
                Answer::of(value.as_str().is_some_and(|text| glob.matches(text)))
            }
            (Self::Amount(bound, amount), Found::Value(value)) => {
                Decimal::from_argument(value).map_or(Answer::Unresolved, |found| bound.holds(found, amount))
            }
        }
    }
}

impl Test {
    /// Whether every value that passes `self` passes `other` too, as far as the two can be compared.
    pub fn lies_within(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OneOf(literals), _) => literals.iter().all(|literal| other.takes(literal)),
            (Self::Glob(inner), Self::Glob(outer)) => inner.lies_within(outer),
            (Self::Amount(Bound::Over, inner), Self::Amount(Bound::Over, outer)) => {
                inner.number >= outer.number
            }
            (Self::Amount(Bound::AtMost, inner), Self::Amount(Bound::AtMost, outer)) => {
                inner.number <= outer.number
            }
            (Self::Glob(_) | Self::Amount(..), Self::Present(true)) => true,
            (Self::Present(inner), Self::Present(outer)) => inner == outer,
            (Self::Glob(_) | Self::Amount(..) | Self::Present(_), _) => false,
        }
    }

    fn takes(&self, literal: &Literal) -> bool {
        match self {
            // They ascend.
            Self::OneOf(literals) => literals.binary_search(literal).is_ok(),
            Self::Glob(_) | Self::Amount(..) | Self::Present(_) => {
                self.of(Found::Value(&literal.to_value())) == Answer::Yes
            }
        }
    }
}

impl Bound {
    fn holds(self, found: Decimal, amount: &Threshold) -> Answer {
        let is_over = found > amount.number;
        Answer::of(match self {
            Self::Over => is_over,
            Self::AtMost => !is_over,
        })
    }
}

impl Literal {
    /// The literal that this value is; `None` for arrays, objects and numbers that are no integers.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::Null),
            Value::Bool(boolean) => Some(Self::Boolean(*boolean)),
            Value::Number(number) => number.as_i64().map(Self::Integer),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Boolean(boolean) => (*boolean).into(),
            Self::Integer(integer) => (*integer).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }

    fn is(&self, value: &Value) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Boolean(boolean) => value.as_bool() == Some(*boolean),
            Self::Integer(integer) => value.as_i64() == Some(*integer),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}

impl Answer {
    const fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    /// The answer to the opposite.
    pub(crate) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unresolved => Self::Unresolved,
            Self::Yes => Self::No,
        }
    }

    /// Its name in JSON and in print.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unresolved => "unresolved",
            Self::Yes => "yes",
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Matcher {
    /// In a few words, for a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Tool(glob) => write!(f, "tool {glob}"),
            Self::Target(glob) => write!(f, "target {glob}"),
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::Definition(digests) => write!(f, "definition {}", list(digests)),
            Self::Argument(path, test) => write!(f, "argument {} {test}", path.pointer()),
            Self::Cost(bound, amount, currency) => write!(f, "cost {bound} {amount} {currency}"),
            Self::RiskAtLeast(risk) => write!(f, "risk at least {risk}"),
            Self::Tags(Share::Any, tags) => write!(f, "tags any of {}", list(tags)),
            Self::Tags(Share::All, tags) => write!(f, "tags all of {}", list(tags)),
            Self::Tags(Share::None, tags) => write!(f, "tags none of {}", list(tags)),
            Self::Principal(principals) => write!(f, "principal {}", list(principals)),
            Self::Group(groups) => write!(f, "group {}", list(groups)),
            Self::Delegated(true) => f.write_str("delegated"),
            Self::Delegated(false) => f.write_str("not delegated"),
            Self::Delegation(ids) => write!(f, "delegation {}", list(ids)),
            Self::All(matchers) => write!(f, "all ({})", list(matchers)),
            Self::Any(matchers) => write!(f, "any ({})", list(matchers)),
            Self::Not(matcher) => write!(f, "not ({matcher})"),
        }
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(literals) => write!(f, "one of {}", list(literals)),
            Self::Glob(glob) => write!(f, "like {glob}"),
            Self::Amount(bound, amount) => write!(f, "{bound} {amount}"),
            Self::Present(true) => f.write_str("present"),
            Self::Present(false) => f.write_str("absent"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Over => "over",
            Self::AtMost => "at most",
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Boolean(boolean) => boolean.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// Things in a row, for a person.
pub(crate) fn list(things: &[impl fmt::Display]) -> String {
    things.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
