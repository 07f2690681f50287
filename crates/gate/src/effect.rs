//! What the gate lets happen, and what it learns about it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use counterfoil_receipt::{
    Action, RecordId,
    action::Mode,
    body::{Effects, Status},
    text::Label,
};

use crate::decide::Refusal;

/// What an effect is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The record of this one execution.
    pub execution: RecordId,
    /// The first execution of the same use: `execution` itself, unless this tries again what nobody knows the outcome of. To be passed on,
    /// so that what is behind does once what it is asked for twice.
    pub idempotency_key: RecordId,
}

/// Something that changes the world.
pub trait Effect {
    /// Does it: exactly `action`. What the action presumes is enforced there, and `attempt` passed on to what is behind.
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done;

    /// Whether what the action presumes still holds: its precondition, the definition of its tool. Asked before anything is logged.
    /// An effect that knows of neither says so of actions that name one.
    ///
    /// # Errors
    /// Why not, under `precondition-failed`, `tool-changed`, or a code of its own.
    fn check(&mut self, action: &Action) -> Result<(), Refusal> {
        let names = action.precondition.as_ref().map(|_| "a precondition");
        let names = names.or_else(|| action.connector.as_ref().map(|_| "a tool by its definition"));
        let unchecked = |what: &str| {
            Refusal::new(
                "precondition-unchecked",
                format!("the action names {what}, which this effect can't check"),
            )
        };
        names.map_or(Ok(()), |what| Err(unchecked(what)))
    }

    /// Whether what is behind does once what it is asked for twice under one idempotency key. An effect of which this is not known
    /// is never tried again.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Whether it changes nothing where the action's mode is `preview`, and says what it would do.
    fn previews(&self) -> bool {
        false
    }
}

/// Something that was declared idempotent: an effect that may be tried again where nobody knows what became of it, if the policy lets it.
#[derive(Clone, Copy, Debug)]
pub struct Idempotent<E>(pub E);

impl<E: Effect> Effect for Idempotent<E> {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        self.0.run(action, attempt)
    }

    fn check(&mut self, action: &Action) -> Result<(), Refusal> {
        self.0.check(action)
    }

    fn is_idempotent(&self) -> bool {
        true
    }

    fn previews(&self) -> bool {
        self.0.previews()
    }
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

impl<F: FnMut(&Action, &Attempt) -> Done> Effect for F {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        self(action, attempt)
    }
}

impl Done {
    /// Nobody knows.
    pub fn unknown(detail: impl Into<String>) -> Self {
        Self { status: Status::Unknown, effects: Effects::Unknown, result: None, detail: Some(detail.into()) }
    }

    /// Whether it did what it was to do.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Succeeded
    }

    /// It failed before it could do anything.
    pub fn not_started(detail: impl Into<String>) -> Self {
        Self { status: Status::Failed, effects: Effects::None, result: None, detail: Some(detail.into()) }
    }
}

/// Asks an effect whether what an action presumes holds; one that panics does not say so.
pub(crate) fn check(effect: &mut dyn Effect, action: &Action) -> Result<(), Refusal> {
    if action.mode == Mode::Preview && !effect.previews() {
        let why = "the action is a preview, and this effect would do it";
        return Err(Refusal::new("preview-unsupported", why));
    }
    catch_unwind(AssertUnwindSafe(|| effect.check(action))).unwrap_or_else(|_| {
        Err(Refusal::new("precondition-unchecked", "the effect panicked when it was asked"))
    })
}

/// Runs an effect; one that panics has an unknown outcome.
pub(crate) fn run(effect: &mut dyn Effect, action: &Action, attempt: &Attempt) -> Done {
    catch_unwind(AssertUnwindSafe(|| effect.run(action, attempt))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(|said| (*said).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Done::unknown(format!("the effect panicked: {said}"))
    })
}
