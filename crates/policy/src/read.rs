//! Reading closed objects: every member known, every value of its type and within its limits, and where it is not, the place.

use std::fmt;

use counterfoil_receipt::json::JsonError;
use serde_json::{Map, Value};
use thiserror::Error;

/// Why a document is not a policy, or a scope not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Not a canonical JSON object, or too large.
    #[error("the policy is not a canonical JSON object: {0}")]
    Json(#[from] JsonError),
    /// Another language, or none.
    #[error(
        "the policy's language is {0:?}; this version reads counterfoil-policy/1 and counterfoil-policy/0"
    )]
    Language(String),
    /// A member that must not stand, or is not what it must be.
    #[error("{member}{} is {found}; it must be {expected}", in_rule(.rule.as_deref()))]
    Member {
        /// Where, from the outside in: `rules.3.match.tool`.
        member: String,
        /// The name of the rule, where it is in one that has a name.
        rule: Option<String>,
        /// What stands there, cut to what a person can read.
        found: String,
        /// What may stand there.
        expected: String,
    },
}

fn in_rule(rule: Option<&str>) -> String {
    rule.map_or_else(String::new, |rule| format!(" (rule {rule})"))
}

impl Unreadable {
    /// The same fault, inside the rule of this name.
    pub(crate) fn in_rule(self, name: &str) -> Self {
        match self {
            Self::Member { member, rule: None, found, expected } => {
                Self::Member { member, rule: Some(name.to_owned()), found, expected }
            }
            other => other,
        }
    }
}

/// One value of the document, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node<'a> {
    pub value: &'a Value,
    at: String,
}

/// An object of which every member is known.
pub(crate) struct Members<'a> {
    members: &'a Map<String, Value>,
    at: String,
}

impl<'a> Node<'a> {
    /// What stands at this path.
    pub const fn at(value: &'a Value, at: String) -> Self {
        Self { value, at }
    }

    /// The whole document.
    pub const fn document(value: &'a Value) -> Self {
        Self { value, at: String::new() }
    }

    /// An object without any member but these.
    pub fn members(&self, known: &[&str]) -> Result<Members<'a>, Unreadable> {
        let Value::Object(members) = self.value else { return Err(self.wrong("an object")) };
        let all = Members { members, at: self.at.clone() };
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            None => Ok(all),
            Some(stranger) => {
                let node = Node { value: &members[stranger], at: all.path(stranger) };
                Err(node.wrong(format!("absent: members here are {}", known.join(", "))))
            }
        }
    }

    /// An object with exactly one member: its name and value.
    pub fn only_member(&self) -> Result<(&'a str, Node<'a>), Unreadable> {
        let Value::Object(members) = self.value else { return Err(self.wrong("an object")) };
        let mut inner = members.iter();
        match (inner.next(), inner.next()) {
            (Some((name, value)), None) => {
                let at = Members { members, at: self.at.clone() }.path(name);
                Ok((name, Node { value, at }))
            }
            _ => Err(self.wrong("an object with exactly one member")),
        }
    }

    /// The members of an object that has this many: their names and values.
    pub fn entries(&self, least: usize, most: usize) -> Result<Vec<(&'a str, Node<'a>)>, Unreadable> {
        let Value::Object(members) = self.value else { return Err(self.wrong("an object")) };
        if !(least..=most).contains(&members.len()) {
            let range = format!("an object of {least} to {most} members");
            return Err(self.fault(format!("{} members large", members.len()), range));
        }
        let all = Members { members, at: self.at.clone() };
        Ok(members.iter().map(|(name, value)| (name.as_str(), Node { value, at: all.path(name) })).collect())
    }

    /// An array with this many elements.
    pub fn elements(&self, least: usize, most: usize) -> Result<Vec<Node<'a>>, Unreadable> {
        let range = || format!("an array of {least} to {most}");
        let Value::Array(elements) = self.value else { return Err(self.wrong(range())) };
        if !(least..=most).contains(&elements.len()) {
            return Err(self.fault(format!("{} elements long", elements.len()), range()));
        }
        let node = |(at, value)| Node { value, at: format!("{}.{at}", self.at) };
        Ok(elements.iter().enumerate().map(node).collect())
    }

    /// An array whose elements ascend without repeats.
    pub fn ascending<T: Ord>(
        &self,
        least: usize,
        most: usize,
        read: impl Fn(&Node<'a>) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        let elements = self.elements(least, most)?;
        let values: Vec<T> = elements.iter().map(read).collect::<Result<_, _>>()?;
        match values.windows(2).position(|pair| pair[0] >= pair[1]) {
            None => Ok(values),
            Some(at) => Err(elements[at + 1].wrong("greater than the element before it")),
        }
    }

    /// A string that `accepts` takes.
    pub fn text<T>(
        &self,
        accepts: impl FnOnce(&'a str) -> Option<T>,
        expected: &str,
    ) -> Result<T, Unreadable> {
        self.value.as_str().and_then(accepts).ok_or_else(|| self.wrong(expected))
    }

    pub fn integer(&self, least: u64, most: u64) -> Result<u64, Unreadable> {
        let value = self.value.as_u64().filter(|value| (least..=most).contains(value));
        value.ok_or_else(|| self.wrong(format!("a whole number from {least} to {most}")))
    }

    pub fn boolean(&self) -> Result<bool, Unreadable> {
        self.value.as_bool().ok_or_else(|| self.wrong("true or false"))
    }

    /// A fault: this is not what is expected.
    pub fn wrong(&self, expected: impl fmt::Display) -> Unreadable {
        let text = self.value.to_string();
        let shown: String = text.chars().take(80).collect();
        let cut = if shown.len() < text.len() { "…" } else { "" };
        self.fault(format!("{shown}{cut}"), expected)
    }

    /// A fault, with what is wrong in words.
    pub fn fault(&self, found: String, expected: impl fmt::Display) -> Unreadable {
        let member = if self.at.is_empty() { "document".to_owned() } else { self.at.clone() };
        Unreadable::Member { member, rule: None, found, expected: expected.to_string() }
    }
}

impl<'a> Members<'a> {
    pub fn optional(&self, name: &str) -> Option<Node<'a>> {
        self.members.get(name).map(|value| Node { value, at: self.path(name) })
    }

    pub fn required(&self, name: &str) -> Result<Node<'a>, Unreadable> {
        self.optional(name).ok_or_else(|| Unreadable::Member {
            member: self.path(name),
            rule: None,
            found: "absent".to_owned(),
            expected: "there".to_owned(),
        })
    }

    fn path(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }
}
