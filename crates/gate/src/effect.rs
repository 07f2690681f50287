//! What the gate lets happen, and what it learns about it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use counterfoil_receipt::{
    Action, RecordId,
    body::{Effects, Status},
    text::Label,
};

/// Something that changes the world.
pub trait Effect {
    /// Does it: exactly `action`. `execution` names this one execution; pass it on as an idempotency key, so that what is
    /// behind can tell a repetition, and enforce `action.precondition` there.
    fn run(&mut self, action: &Action, execution: &RecordId) -> Done;
}

/// What became of an effect, as far as the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// How it ended.
    pub status: Status,
    /// What it did to the world. A failure may have done something.
    pub effects: Effects,
    /// What it gave back; logged as a salted commitment.
    pub result: Option<ResultPayload>,
    /// For a person; logged as it stands.
    pub detail: Option<String>,
}

/// What an effect gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultPayload {
    /// Such as `result.json`.
    pub label: Label,
    /// Such as `application/json`.
    pub media_type: Label,
    /// At most 4 MiB.
    pub content: Vec<u8>,
}

impl<F: FnMut(&Action, &RecordId) -> Done> Effect for F {
    fn run(&mut self, action: &Action, execution: &RecordId) -> Done {
        self(action, execution)
    }
}

impl Done {
    /// Nobody knows.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self { status: Status::Unknown, effects: Effects::Unknown, result: None, detail: Some(detail.into()) }
    }

    /// It failed before it could do anything.
    pub fn not_started(detail: impl Into<String>) -> Self {
        Self { status: Status::Failed, effects: Effects::None, result: None, detail: Some(detail.into()) }
    }
}

/// Runs an effect; one that panics has an unknown outcome.
pub(crate) fn run(effect: &mut dyn Effect, action: &Action, execution: &RecordId) -> Done {
    catch_unwind(AssertUnwindSafe(|| effect.run(action, execution))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Done::unknown(format!("the effect panicked: {said}"))
    })
}
