//! What a gate is shown of a run: for what passes without an execution of its own.

use counterfoil_receipt::RunId;
use counterfoil_verify::Verdict;
use thiserror::Error;

use crate::{
    decide::Refusal,
    driver::{Gate, GateError},
    known::Known,
    log::Log,
};

/// Why what is shown is nothing to decide on.
#[derive(Debug, Error)]
pub enum NotShown {
    /// There is no evidence.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// It does not show what a gate demands.
    #[error("{0}")]
    Refused(Refusal),
}

impl<L: Log> Gate<L> {
    /// Verified evidence of a run as it is now, on which this gate would decide about an execution in that run.
    ///
    /// # Errors
    /// [`NotShown`]; whoever gets it lets nothing pass.
    pub fn shown(&self, run: RunId) -> Result<Verdict, NotShown> {
        let evidence = self.log().evidence(run, self.now()?).map_err(GateError::NoEvidence)?;
        Known::shown(&evidence).suffices(run, self.log().require()).map_err(NotShown::Refused)?;
        Ok(evidence)
    }
}
