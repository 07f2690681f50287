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

/// One value, and what it is in. Where it stands there is only looked for if it has to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    pub value: &'a Value,
    root: &'a Value,
    /// Where the root stands.
    at: &'a str,
}

/// An object of which every member is known.
pub(crate) struct Members<'a> {
    members: &'a Map<String, Value>,
    object: Node<'a>,
}

impl<'a> Node<'a> {
    /// What stands at this path.
    pub const fn at(value: &'a Value, at: &'a str) -> Self {
        Self { value, root: value, at }
    }

    /// The whole document.
    pub const fn document(value: &'a Value) -> Self {
        Self::at(value, "")
    }

    /// A value within this one.
    const fn inner(&self, value: &'a Value) -> Self {
        Self { value, ..*self }
    }

    /// Where this stands, from the outside in.
    fn path(&self) -> String {
        let mut path = self.at.to_owned();
        let mut value = self.root;
        while !std::ptr::eq(value, self.value) {
            let Some((step, inner)) = step_to(value, self.value) else { break };
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(&step);
            value = inner;
        }
        path
    }

    /// An object without any member but these.
    pub fn members(&self, known: &[&str]) -> Result<Members<'a>, Unreadable> {
        let Value::Object(members) = self.value else { return Err(self.wrong("an object")) };
        match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(Members { members, object: *self }),
            Some((_, stranger)) => {
                let expected = format!("absent: members here are {}", known.join(", "));
                Err(self.inner(stranger).wrong(expected))
            }
        }
    }

    /// An object with exactly one member: its name and value.
    pub fn only_member(&self) -> Result<(&'a str, Node<'a>), Unreadable> {
        let Value::Object(members) = self.value else { return Err(self.wrong("an object")) };
        let mut inner = members.iter();
        match (inner.next(), inner.next()) {
            (Some((name, value)), None) => Ok((name, self.inner(value))),
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
        Ok(members.iter().map(|(name, value)| (name.as_str(), self.inner(value))).collect())
    }

    /// An array with this many elements.
    pub fn elements(&self, least: usize, most: usize) -> Result<Vec<Node<'a>>, Unreadable> {
        let range = || format!("an array of {least} to {most}");
        let Value::Array(elements) = self.value else { return Err(self.wrong(range())) };
        if !(least..=most).contains(&elements.len()) {
            return Err(self.fault(format!("{} elements long", elements.len()), range()));
        }
        Ok(elements.iter().map(|value| self.inner(value)).collect())
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
        let path = self.path();
        let member = if path.is_empty() { "document".to_owned() } else { path };
        Unreadable::Member { member, rule: None, found, expected: expected.to_string() }
    }
}

impl<'a> Members<'a> {
    pub fn optional(&self, name: &str) -> Option<Node<'a>> {
        self.members.get(name).map(|value| self.object.inner(value))
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
        let object = self.object.path();
        if object.is_empty() { name.to_owned() } else { format!("{object}.{name}") }
    }
}

/// The member or element of a value that is another or has it in it, by its name or number.
fn step_to<'v>(value: &'v Value, wanted: &Value) -> Option<(String, &'v Value)> {
    let has = |inner: &Value| std::ptr::eq(inner, wanted) || step_to(inner, wanted).is_some();
    match value {
        Value::Object(members) => {
            let (name, inner) = members.iter().find(|(_, inner)| has(inner))?;
            Some((name.clone(), inner))
        }
        Value::Array(elements) => {
            let (at, inner) = elements.iter().enumerate().find(|(_, inner)| has(inner))?;
            Some((at.to_string(), inner))
        }
        _ => None,
    }
}
