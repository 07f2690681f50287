//! A plain function as an effect.

use std::fmt::Display;

use counterfoil_receipt::{
    Action,
    body::{Effects, Status},
    text::Label,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::effect::{Attempt, Done, Effect, ResultPayload};

/// A function that is called with the arguments of the approved action, read as `A`; what it returns is the outcome's result, as JSON.
///
/// It knows of no precondition and no tool's definition, so an action that names one does not run ([`Effect::check`]).
///
/// An `async` function stays what it is: the gate has a thread that may block, and the function is awaited where it was called from. The whole
/// of it, from a log to what was paid, is `examples/refund.rs`, which runs and is tested:
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
/// use counterfoil_gate::{Ask, AskError, Desk, Ended, Function};
///
/// #[derive(serde::Deserialize)]
/// struct Refund { order: String, cents: u64 }
///
/// async fn refund(refund: Refund) -> Result<String, String> {
///     Ok(format!("{} gets {} back", refund.order, refund.cents))
/// }
///
/// /// Calls `refund` with the arguments of the ask's action, if the policy or people let it: once, logged before and after.
/// async fn governed(
///     desk: Arc<Desk>,
///     ask: Ask,
/// ) -> Result<Result<(Ended, Option<Result<String, String>>), AskError>, tokio::task::JoinError> {
///     let application = tokio::runtime::Handle::current();
///     let performed = tokio::task::spawn_blocking(move || {
///         let mut effect = Function::new(|arguments: Refund| application.block_on(refund(arguments)));
///         let (_, ended) = desk.perform(&ask, &mut effect, Duration::from_secs(600))?;
///         Ok((ended, effect.returned()))
///     });
///     performed.await
/// }
/// ```
#[derive(Debug)]
pub struct Function<F, A, R, E> {
    function: F,
    returned: Option<Result<R, E>>,
    arguments: std::marker::PhantomData<fn(A)>,
}

impl<F, A, R, E> Function<F, A, R, E>
where
    F: FnMut(A) -> Result<R, E>,
    A: DeserializeOwned,
    R: Serialize,
    E: Display,
{
    /// An effect that calls `function`.
    pub const fn new(function: F) -> Self {
        Self { function, returned: None, arguments: std::marker::PhantomData }
    }

    /// What the function returned the last time, taken out; `None` if it was not called since.
    pub const fn returned(&mut self) -> Option<Result<R, E>> {
        self.returned.take()
    }
}

impl<F, A, R, E> Effect for Function<F, A, R, E>
where
    F: FnMut(A) -> Result<R, E>,
    A: DeserializeOwned,
    R: Serialize,
    E: Display,
{
    fn run(&mut self, action: &Action, _: &Attempt) -> Done {
        self.returned = None;
        let arguments = match serde_json::from_value(action.arguments.to_value()) {
            Ok(arguments) => arguments,
            Err(fault) => {
                return Done::not_started(format!("the arguments are not what the function takes: {fault}"));
            }
        };
        let returned = (self.function)(arguments);
        let done = match &returned {
            Ok(value) => Done {
                status: Status::Succeeded,
                effects: Effects::Complete,
                result: result(value),
                detail: None,
            },
            // It may have done something before it failed.
            Err(fault) => Done {
                status: Status::Failed,
                effects: Effects::Unknown,
                result: None,
                detail: Some(fault.to_string()),
            },
        };
        self.returned = Some(returned);
        done
    }
}

/// What is returned, as JSON; nothing where it can't be that.
fn result(value: &impl Serialize) -> Option<ResultPayload> {
    let content = serde_json::to_vec(value).ok()?;
    let (label, media_type) = Label::new("result.json").zip(Label::new("application/json"))?;
    Some(ResultPayload { label, media_type, content })
}
