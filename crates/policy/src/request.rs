//! The action that a policy is asked about, and who asks: what matchers look at.

use std::cell::OnceCell;

use counterfoil_receipt::{
    Action, Principal, RecordId,
    body::Risk,
    text::{Group, Label, Pointer},
};
use serde_json::Value;

/// An action as recorded, and what is known of its proposal.
#[derive(Debug)]
pub struct Request<'a> {
    /// The action.
    pub action: &'a Action,
    /// How bad it could get, by the proposer's word.
    pub risk: Risk,
    /// The proposal's tags, by the proposer's word.
    pub tags: &'a [Label],
    /// Who proposed it.
    pub proposer: &'a Principal,
    /// The groups of the proposer at the proposal's index.
    pub groups: &'a [Group],
    /// The delegations under which it was proposed, each narrowing the next; none without one ([`Request::under`]).
    pub chain: &'a [RecordId],
    /// The arguments, once a matcher looked inside them.
    arguments: OnceCell<Value>,
    /// Whether nothing is known of the arguments.
    any_arguments: bool,
}

/// What stands at a path of the arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found<'r> {
    /// This value.
    Value(&'r Value),
    /// Nothing.
    Nothing,
    /// At, within or above it the action commits to a value or leaves it open: what stands there is not known.
    Hidden,
}

/// A JSON Pointer, taken apart once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pointer: Pointer,
    tokens: Box<[Box<str>]>,
}

impl<'a> Request<'a> {
    /// What is asked, under no delegation.
    pub const fn new(
        action: &'a Action,
        risk: Risk,
        tags: &'a [Label],
        proposer: &'a Principal,
        groups: &'a [Group],
    ) -> Self {
        Self {
            action,
            risk,
            tags,
            proposer,
            groups,
            chain: &[],
            arguments: OnceCell::new(),
            any_arguments: false,
        }
    }

    /// The same, proposed under these delegations: from the one that the proposal names up to that of the authority.
    pub fn under(self, chain: &'a [RecordId]) -> Self {
        Self { chain, ..self }
    }

    /// The same, of which the arguments are not known: every test of one is unresolved.
    pub fn with_any_arguments(self) -> Self {
        Self { any_arguments: true, ..self }
    }

    /// The arguments; read when first asked for.
    pub fn arguments(&self) -> &Value {
        self.arguments.get_or_init(|| self.action.arguments.to_value())
    }

    /// The paths that the action leaves unbound.
    pub(crate) fn free(&self) -> &'a [Pointer] {
        self.action.free.as_deref().unwrap_or_default()
    }

    pub(crate) fn find(&self, path: &Path) -> Found<'_> {
        if self.any_arguments {
            return Found::Hidden;
        }
        let committed = self.action.committed.as_deref().unwrap_or_default().iter().map(|(path, _)| path);
        if committed.chain(self.free()).any(|hidden| hidden.overlaps(&path.pointer)) {
            return Found::Hidden;
        }
        path.tokens
            .iter()
            .try_fold(self.arguments(), |value, token| step(value, token))
            .map_or(Found::Nothing, Found::Value)
    }
}

/// One reference token of RFC 6901 §4.
fn step<'v>(value: &'v Value, token: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(token),
        Value::Array(elements) => {
            let is_index = token == "0" || token.starts_with(|digit: char| matches!(digit, '1'..='9'));
            elements.get(token.parse::<usize>().ok().filter(|_| is_index)?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

impl Path {
    pub fn new(pointer: Pointer) -> Self {
        let tokens = pointer.tokens().map(String::into_boxed_str).collect();
        Self { pointer, tokens }
    }

    pub const fn pointer(&self) -> &Pointer {
        &self.pointer
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.pointer, f)
    }
}
