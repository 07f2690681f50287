//! The log, as the gate needs it.

use std::{
    thread,
    time::{Duration, Instant},
};

use counterfoil_client::{ClientError, Clock, Included, PinnedClient, RejectionSigner, SubmitError};
use counterfoil_receipt::{Opening, RunId, UnverifiedRecord, bundle::PayloadLine, field::Millis};
use counterfoil_verify::{Dimension, Rule, Verdict};
use thiserror::Error;

/// How often a run is asked for while it is waited on, at the most.
const PAUSE: Duration = Duration::from_millis(250);

/// Where executions and outcomes are logged, and where evidence comes from.
///
/// The gate believes neither: it confirms what it is told on verified evidence.
pub trait Log {
    /// The state of a run, fetched and verified now.
    ///
    /// # Errors
    /// [`LogError`]; the gate lets nothing pass then.
    fn evidence(&self, run: RunId, now: Millis) -> Result<Verdict, LogError>;

    /// The same as of the newest checkpoint that a quorum of the log's witnesses cosigned, if that has all of the run.
    ///
    /// # Errors
    /// [`LogError`].
    fn witnessed(&self, run: RunId, now: Millis) -> Result<Verdict, LogError> {
        self.evidence(run, now)
    }

    /// Logs a record with the payloads that it names, and gives its index. The same record may be submitted again.
    ///
    /// # Errors
    /// [`LogError`].
    fn submit(&self, record: &UnverifiedRecord, payloads: &[Opening]) -> Result<u64, LogError>;

    /// Logs several records with their payloads, as [`Log::submit`] does: the answers stand in their order.
    fn submit_all(&self, records: &[(&UnverifiedRecord, &[Opening])]) -> Vec<Result<u64, LogError>> {
        records.iter().map(|(record, payloads)| self.submit(record, payloads)).collect()
    }

    /// Logs several records as [`Log::submit_all`] does, and shows the run that the last of them stands in with the answers. The clock only decides *freshness*.
    fn submit_and_show(
        &self,
        records: &[(&UnverifiedRecord, &[Opening])],
        _run: RunId,
        _clock: &dyn Clock,
    ) -> Submitted {
        Submitted { answers: self.submit_all(records), shown: None }
    }

    /// Waits until the run has more than `records` records, or `timeout` is over.
    ///
    /// # Errors
    /// [`LogError`].
    fn wait(&self, run: RunId, records: u64, timeout: Duration) -> Result<(), LogError>;

    /// What the runtime's trust file demands.
    fn require(&self) -> &[Dimension];
}

/// What became of several records.
#[derive(Debug)]
pub struct Submitted {
    /// As of [`Log::submit_all`].
    pub answers: Vec<Result<u64, LogError>>,
    /// As of [`Log::evidence`]; `None` if the run has to be asked for.
    pub shown: Option<Result<Verdict, LogError>>,
}

/// Why the log gave nothing to rely on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The log signed that it does not admit the record.
    #[error("rejected: {code}")]
    Rejected {
        /// The stable code of the reason.
        code: String,
    },
    /// Nothing reached the log.
    #[error("not submitted: {0}")]
    NotSubmitted(String),
    /// The log says that it has no such run.
    #[error("{0}")]
    NoRun(String),
    /// No answer that holds. A submission may have been logged.
    #[error("{0}")]
    Unknown(String),
}

impl Log for PinnedClient {
    fn evidence(&self, run: RunId, now: Millis) -> Result<Verdict, LogError> {
        self.fetch_verified(run, now).map(|verified| verified.verdict).map_err(not_shown)
    }

    fn witnessed(&self, run: RunId, now: Millis) -> Result<Verdict, LogError> {
        self.fetch_evidence(run, now).map(|verified| verified.verdict).map_err(not_shown)
    }

    fn submit(&self, record: &UnverifiedRecord, payloads: &[Opening]) -> Result<u64, LogError> {
        self.submit_with(record, payloads, &[]).map(|included| included.index).map_err(not_logged)
    }

    fn submit_all(&self, records: &[(&UnverifiedRecord, &[Opening])]) -> Vec<Result<u64, LogError>> {
        let (alone, lines) = batch(records);
        answers(self, records, self.submit_batch(&alone, &lines, &[]))
    }

    fn submit_and_show(
        &self,
        records: &[(&UnverifiedRecord, &[Opening])],
        run: RunId,
        clock: &dyn Clock,
    ) -> Submitted {
        let (alone, lines) = batch(records);
        let (submitted, shown) = match self.submit_and_verify(&alone, &lines, run, clock) {
            Ok(shown) => (Ok(shown.answers), shown.verified),
            Err(error) => (Err(error), None),
        };
        let shown = shown.map(|shown| shown.map(|verified| verified.verdict).map_err(not_shown));
        Submitted { answers: answers(self, records, submitted), shown }
    }

    fn wait(&self, run: RunId, records: u64, timeout: Duration) -> Result<(), LogError> {
        let started = Instant::now();
        self.client().wait_run(run, records, timeout).map_err(unknown)?;
        // The hint may be wrong, and must not make the gate spin.
        thread::sleep(PAUSE.saturating_sub(started.elapsed()).min(timeout));
        Ok(())
    }

    fn require(&self) -> &[Dimension] {
        self.trust().require()
    }
}

/// Records, and the lines of the payloads that they name.
fn batch(records: &[(&UnverifiedRecord, &[Opening])]) -> (Vec<UnverifiedRecord>, Vec<PayloadLine>) {
    let lines = records.iter().flat_map(|(_, payloads)| payloads.iter());
    let lines = lines.map(|opening| PayloadLine::disclosing(opening.clone(), None)).collect();
    (records.iter().map(|(record, _)| (*record).clone()).collect(), lines)
}

/// What became of each record of a batch; where the batch was not taken, of each alone.
fn answers(
    log: &PinnedClient,
    records: &[(&UnverifiedRecord, &[Opening])],
    submitted: Result<Vec<Result<Included, SubmitError>>, SubmitError>,
) -> Vec<Result<u64, LogError>> {
    match submitted {
        Ok(answers) => {
            let answers = answers.into_iter();
            answers.map(|answer| answer.map(|included| included.index).map_err(not_logged)).collect()
        }
        // One of them may be what no batch is taken with.
        Err(SubmitError::NotSubmitted(ClientError::Misuse(_) | ClientError::Refused(_))) => {
            records.iter().map(|(record, payloads)| Log::submit(log, record, payloads)).collect()
        }
        Err(error) => {
            let error = not_logged(error);
            records.iter().map(|_| Err(error.clone())).collect()
        }
    }
}

fn not_shown(error: ClientError) -> LogError {
    match error {
        ClientError::Refused(problem) if problem.status == 404 && problem.code == Rule::RunUnknown.code() => {
            LogError::NoRun(problem.to_string())
        }
        error => unknown(error),
    }
}

fn not_logged(error: SubmitError) -> LogError {
    match error {
        SubmitError::Rejected(rejected) if rejected.signer == RejectionSigner::Genesis => {
            LogError::Rejected { code: rejected.code }
        }
        // Whoever signed this, it was not the log that is pinned: it says nothing about what was logged.
        SubmitError::Rejected(rejected) => LogError::Unknown(format!("{rejected}, by an unknown key")),
        error if !error.may_be_logged() => LogError::NotSubmitted(error.to_string()),
        error => LogError::Unknown(error.to_string()),
    }
}

fn unknown(error: ClientError) -> LogError {
    LogError::Unknown(error.to_string())
}
