//! Records and runs between here and the log: submit, cancel, bundle.

use std::path::{Path, PathBuf};

use clap::Args;
use counterfoil_client::{Included, Promise, SubmitError};
use counterfoil_receipt::{
    RecordId, Role, RunId, UnverifiedRecord,
    action::Json,
    body::Type,
    bundle::{DocumentLine, PayloadLine, read_line},
};
use counterfoil_verify::Conclusion;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, Outcome, VIOLATED},
    input::{self, Lines},
    output, payload,
    record::{record_id, run_id},
    remote::{self, Actor, report},
    signing,
    text::{counted, printable},
    time,
};

/// Lines of a batch (`spec/http.md`).
const BATCH_LINES: usize = 1_024;

/// Submit records that were signed before, and check that they are in the log.
///
/// One record a line; lines of payloads and policy documents may stand among them. Repeating a submission is safe.
///
/// Exit status: 0 all are in the log, 1 it does not admit one.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil submit decision.record --payload shown.payload
  cat *.record | counterfoil submit -")]
pub struct Submit {
    /// The records, or - for standard input
    file: PathBuf,
    /// Payload lines that the records name, as `counterfoil record item` makes them
    #[arg(long, value_name = "FILE")]
    payload: Vec<PathBuf>,
    /// What the log answers for: integrated into its signed tree; published, so that everybody is shown it; or witnessed by
    /// a quorum of witnesses, which the trust file's have to be as well
    #[arg(long, value_name = "PROMISE", default_value = "integrated", value_parser = promise)]
    promise: Promise,
}

/// Withdraw a proposal, or a decision of your own.
#[derive(Args, Debug)]
pub struct Cancel {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// The proposal or decision
    #[arg(value_parser = record_id)]
    target: RecordId,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Fetch a run as one file that can be verified offline.
///
/// The bundle is verified on the way; it is written whatever it shows, because what is wrong with it is evidence.
///
/// Exit status: 0 nothing in it is violated, 1 something is.
#[derive(Args, Debug)]
pub struct Bundle {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// Where to write it, or - for standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What is submitted together.
#[derive(Default)]
struct Batch {
    records: Vec<UnverifiedRecord>,
    payloads: Vec<PayloadLine>,
    documents: Vec<Json>,
}

impl Submit {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let mut batch = Batch::default();
        batch.read(&self.file)?;
        for path in &self.payload {
            batch.read(path)?;
        }
        if batch.records.is_empty() {
            let message = format!("{} holds no record", input::shown(&self.file));
            return Err(Failure::new("record-missing", message, "make one with `counterfoil record new`"));
        }
        let client = remote::connect(context)?;
        let answers =
            client.submit_batch_until(&batch.records, &batch.payloads, &batch.documents, self.promise)?;
        let mut status = 0;
        let mut answered = Vec::new();
        for (record, answer) in batch.records.iter().zip(answers) {
            let kind = record.kind();
            if !context.json
                && let Ok(included) = answer
            {
                report(context, kind, record.run(), Ok(included))?;
                continue;
            }
            answered.push(answer_json(record, &answer));
            if let Err(error) = answer {
                let failure = Failure::from(error);
                output::note(&format!("{kind} {}: {failure}\n", record.id()));
                status = if status == 0 { failure.status() } else { status };
            }
        }
        if context.json {
            output::print_json(&Value::Array(answered))?;
        }
        Ok(status)
    }
}

fn promise(text: &str) -> Result<Promise, String> {
    [Promise::Integrated, Promise::Published, Promise::Witnessed]
        .into_iter()
        .find(|promise| promise.as_str() == text)
        .ok_or_else(|| "it is not integrated, published or witnessed".to_owned())
}

/// What became of one record, for a program.
fn answer_json(record: &UnverifiedRecord, answer: &Result<Included, SubmitError>) -> Value {
    let kind = record.kind();
    let (name, why) = match answer {
        Ok(included) => return remote::included_json(kind, record.run(), included),
        Err(SubmitError::NotKept { included, .. }) => {
            return remote::included_json(kind, record.run(), included);
        }
        Err(SubmitError::Rejected(rejected)) => {
            ("rejection", serde_json::from_slice(rejected.record.bytes()).unwrap_or_default())
        }
        Err(error @ (SubmitError::NotSubmitted(_) | SubmitError::Failed(_))) => {
            ("error", Value::String(error.to_string()))
        }
    };
    json!({"type": kind.as_str(), "id": record.id().to_string(), name: why})
}

impl Batch {
    fn read(&mut self, path: &Path) -> Outcome<()> {
        let what = input::shown(path);
        let mut lines = Lines::open(path, "file of records")?;
        let mut number = 0_usize;
        while let Some(line) = lines.next()? {
            number += 1;
            if number > BATCH_LINES {
                let message = format!("{what} has more than {BATCH_LINES} lines");
                return Err(Failure::new("batch-too-long", message, "submit it in several parts"));
            }
            self.line(line.bytes)
                .map_err(|fault| signing::malformed(&format!("line {number} of {what}"), &fault))?;
        }
        Ok(())
    }

    /// A payload, a document or a record: told apart by the member that only one of them has.
    fn line(&mut self, line: &[u8]) -> Result<(), counterfoil_receipt::Malformed> {
        if line.starts_with(b"{\"commitment\":") {
            self.payloads.push(read_line(line)?);
        } else if line.starts_with(b"{\"document\":") {
            self.documents.push(read_line::<DocumentLine>(line)?.document);
        } else {
            self.records.push(UnverifiedRecord::parse(line)?);
        }
        Ok(())
    }
}

impl Cancel {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        // Whoever withdraws a decision is a human, whoever withdraws a proposal an agent.
        let view =
            Actor::new(context, Role::Agent).or_else(|_| Actor::new(context, Role::Human))?.view(self.run)?;
        let role = match view.run().and_then(|run| run.decision(&self.target)) {
            Some(_) => Role::Human,
            None => Role::Agent,
        };
        let actor = Actor::new(context, role)?;
        let reason = payload::text(self.reason.as_ref())?;
        let logged = actor.session().cancel(&view, self.target, reason);
        actor.report(context, Type::Cancel, self.run, logged)
    }
}

impl Bundle {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let fetched = client.fetch_evidence(self.run, time::millis(time::now())?)?;
        output::write(&self.out, &fetched.bundle)?;
        let bytes = counted(fetched.bundle.len() as u64, "byte");
        let conclusion = fetched.verdict.conclude(client.trust().require());
        if self.out.as_os_str() != "-" {
            let path = input::shown(&self.out);
            output::note(&format!("{path}: {bytes}, {conclusion}\n"));
        }
        match conclusion {
            Conclusion::Shown | Conclusion::NotShown => Ok(0),
            Conclusion::Violated | Conclusion::Unreadable => {
                let finding = fetched
                    .verdict
                    .findings()
                    .first()
                    .map_or(String::new(), |finding| printable(&finding.to_string()));
                let message = format!("what the server gave does not hold: {finding}");
                Err(Failure::new("bundle-violated", message, "look at it with `counterfoil verify`")
                    .with_status(VIOLATED))
            }
        }
    }
}
