//! What a submitter waits for (`spec/log.md`, "Promises").

use std::{sync::Arc, time::Duration};

use counterfoil_tlog::{Hash, LeafIndex};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::blocking,
    config::Fail,
    door::{Asker, Held, Place},
    limits,
    problem::{Kind, Problem},
    submit::Inclusion,
    view::LogView,
    witnesses::{Shown, Witnesses},
};

/// What holds of an entry when it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Promise {
    /// Journal and lock store have it.
    Stored,
    /// A signed checkpoint covers it.
    #[default]
    Integrated,
    /// `/checkpoint` covers it.
    Published,
    /// A checkpoint that covers it is kept with its quorum of witnesses.
    Witnessed,
}

/// What a query asks for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// What has to hold when it is answered; `integrated` if absent.
    #[param(inline, value_type = Promise, required = false)]
    pub promise: Option<Promise>,
    /// How many milliseconds to wait for witnesses.
    #[param(value_type = u64, required = false, maximum = 60_000, default = 20_000)]
    pub wait: Option<u64>,
}

/// A promise that this log can keep, and how long to wait for it.
pub(crate) struct Wanted {
    /// The promise.
    pub promise: Promise,
    /// The witnesses whose quorum it takes.
    witnesses: Option<Arc<Witnesses>>,
    wait: Duration,
    /// A place among those who wait, where it takes witnesses.
    _held: Option<Held>,
}

impl Wanted {
    /// That what is admitted is integrated, which nobody waits for witnesses for.
    pub(crate) const fn integrated() -> Self {
        Self { promise: Promise::Integrated, witnesses: None, wait: Duration::ZERO, _held: None }
    }

    /// What was asked for, before anything is taken.
    pub(crate) fn of(Asked { promise, wait }: Asked, view: &LogView, asker: &Asker) -> Result<Self, Problem> {
        let promise = promise.unwrap_or_default();
        let wait = wait.map_or(limits::WITNESS_WAIT, Duration::from_millis);
        if wait > limits::WAIT {
            let most = limits::WAIT.as_millis();
            return Err(Kind::QueryInvalid.because(format!("wait: {} is over {most}", wait.as_millis())));
        }
        let is_closed = |witnesses: &&Arc<Witnesses>| witnesses.fail == Fail::Closed;
        let witnesses = match promise {
            Promise::Stored | Promise::Integrated => None,
            Promise::Published => view.witnesses.as_ref().filter(is_closed),
            Promise::Witnessed => Some(view.witnesses.as_ref().ok_or_else(|| {
                Kind::QueryInvalid
                    .because("promise: this log has no witnesses; nothing of this body was taken")
            })?),
        };
        let held = witnesses.map(|_| asker.hold(Place::Waiting)).transpose()?;
        Ok(Self { promise, witnesses: witnesses.cloned(), wait, _held: held })
    }

    /// Waits until the promise holds for what is integrated up to this entry.
    pub(crate) async fn hold(&self, index: LeafIndex, view: &LogView) -> Result<(), Problem> {
        let Some(witnesses) = &self.witnesses else { return Ok(()) };
        let deadline = Instant::now() + self.wait;
        match witnesses.wait(index, deadline, view.closing.clone()).await {
            true => Ok(()),
            false => Err(Problem::witness_timeout(index.0)),
        }
    }

    /// The same, with the checkpoints and proofs that show it, for each of these.
    pub(crate) async fn prove(
        &self,
        included: Vec<Inclusion>,
        view: &LogView,
    ) -> Result<Vec<Inclusion>, Problem> {
        let (Some(witnesses), Some(last)) = (&self.witnesses, included.iter().map(|it| it.index).max())
        else {
            return Ok(included);
        };
        self.hold(last, view).await?;
        let (witnesses, reader) = (Arc::clone(witnesses), view.reader.clone());
        let witnessed = move |inclusion: Inclusion| {
            let index = inclusion.index;
            let covering = witnesses.covering(index)?.ok_or_else(|| Problem::witness_timeout(index.0))?;
            let proof: Vec<Hash> = reader.inclusion_proof(index, covering.head.size)?;
            let Shown { note, cosignatures, .. } = covering;
            Ok(Inclusion {
                checkpoint: note.to_string(),
                proof,
                cosignatures: Some(cosignatures),
                ..inclusion
            })
        };
        blocking(move || included.into_iter().map(witnessed).collect()).await
    }
}
