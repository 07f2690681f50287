//! Submitting records.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_receipt::{RecordId, RunId, UnverifiedRecord, body::Type};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::SemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::{App, read_body},
    door::{Asker, Place},
    handlers::{asked, runs::then_bundle},
    limits,
    problem::{Kind, Problem},
    promise::{Asked, Promise, Wanted},
    schemas,
    submit::{Answer, Batch, Inclusion},
    tokens::Scope,
};

/// That a record is durable and integrated: `checkpoint` covers it, and `proof` is its RFC 6962 inclusion proof in that tree.
#[derive(Serialize, ToSchema)]
#[schema(as = Inclusion)]
pub(crate) struct Included<'a> {
    checkpoint: &'a str,
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    #[schema(value_type = Vec<schemas::ProofHash>)]
    proof: Vec<String>,
    #[schema(value_type = schemas::Promised)]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    witnesses: Option<Cosigned>,
}

/// How far a log that is witnessed had its quorum.
#[derive(Serialize, ToSchema)]
struct Cosigned {
    #[schema(value_type = schemas::FailMode)]
    fail: &'static str,
    have: usize,
    quorum: bool,
}

/// That a record is durable, which is no evidence yet.
#[derive(Serialize, ToSchema)]
pub(crate) struct Stored {
    #[schema(value_type = schemas::Hash)]
    id: String,
    index: u64,
    #[schema(value_type = schemas::OnlyStored)]
    status: &'static str,
}

/// The line of a batch that was not admitted.
#[derive(Serialize, ToSchema)]
pub(crate) struct Rejected<'a> {
    #[schema(value_type = schemas::Record)]
    rejection: &'a RawValue,
    #[schema(value_type = schemas::OnlyRejected)]
    status: &'static str,
}

/// What a query on a batch asks for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AskedOfBatch {
    /// What has to hold when it is answered; `integrated` if absent.
    #[param(inline, value_type = Promise, required = false)]
    promise: Option<Promise>,
    /// How many milliseconds to wait for witnesses.
    #[param(value_type = u64, required = false, maximum = 60_000, default = 20_000)]
    wait: Option<u64>,
    /// Adds the bundle of the last record's run.
    #[param(inline, value_type = Shown, required = false)]
    bundle: Option<Shown>,
}

/// The checkpoint that the bundle behind the answers ends with.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Shown {
    Latest,
}

/// Submits one record.
#[utoipa::path(
    post, path = "/v1/records", operation_id = "submitRecord", tag = "records",
    params(Asked),
    request_body(content = schemas::Record, description = "The bytes of the record, without a line feed"),
    responses(
        (status = 200, description = "It is in the log, perhaps for longer", body = Included),
        (status = 202, description = "With `promise=stored`", body = Stored),
        (status = 422, description = "The log's signed rejection", body = schemas::Record,
            headers(("Counterfoil-Code" = String, description = "The code of the rule that it breaks"))),
    ),
)]
pub(crate) async fn record(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(asked(query)?, &app.view, &asker)?;
    let held = asker.hold(Place::Waiting)?;
    let body = read_body(&headers, body, "application/json", limits::RECORD_BODY_BYTES).await?;
    drop(held);
    if body.ends_with(b"\n") {
        let detail = "the body ends with a line feed, and no record does: send it without \
                      (`curl --data-binary @FILE` keeps what a file ends with, `counterfoil submit` does not)";
        return Err(Kind::BodyUnreadable.because(detail));
    }
    let answers = submit(&app, Batch::of_record(body.to_vec()), &wanted, None).await?;
    match answers.into_iter().next() {
        Some(Answer::Included(inclusion)) => {
            let line = line(&inclusion, &wanted, &app)
                .map_err(|error| Kind::Unreadable.because(error.to_string()))?;
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
            Ok((status(&wanted), headers, line).into_response())
        }
        Some(Answer::Rejected { rejection, code }) => Ok(rejected(&rejection, &code)),
        None => Err(Kind::Unreadable.because("the log gave no answer")),
    }
}

/// Submits records, and the payloads and policy documents that they name.
///
/// Each line is a record; before them, payload lines and document lines of `spec/bundle.md`.
#[utoipa::path(
    post, path = "/v1/records/batch", operation_id = "submitBatch", tag = "records",
    params(AskedOfBatch),
    request_body(content = String, content_type = "application/jsonl", description = "At most 1,024 lines and 32 MiB"),
    responses(
        (status = 200, description = "For each record line, in order, an `Inclusion` or a `Rejected`; then the lines of the bundle",
            content_type = "application/jsonl", body = String),
        (status = 202, description = "With `promise=stored`: a `Stored` in the place of an `Inclusion`",
            content_type = "application/jsonl", body = String),
    ),
)]
pub(crate) async fn batch(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    query: Result<Query<AskedOfBatch>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let AskedOfBatch { promise, wait, bundle } = asked(query)?;
    let wanted = Wanted::of(Asked { promise, wait }, &app.view, &asker)?;
    if bundle.is_some() {
        asker.may_read(&[Scope::Records], &headers).map_err(Problem::may_not_read)?;
    }
    let held = asker.hold(Place::Waiting)?;
    let _turn = asker.turn().await;
    // A closed semaphore would only mean that there is no bound.
    let permit = app.batches.acquire().await;
    let body = read_body(&headers, body, "application/jsonl", limits::BATCH_BODY_BYTES).await?;
    drop(held);
    let batch = Batch::of_lines(&body)?;
    let run = bundle.and_then(|_| run_of(batch.last()?));
    let answers = submit(&app, batch, &wanted, permit.ok()).await?;
    let mut lines = Vec::new();
    for answer in &answers {
        let line = match answer {
            Answer::Included(inclusion) => line(inclusion, &wanted, &app),
            Answer::Rejected { rejection, .. } => serde_json::from_slice(rejection.bytes())
                .and_then(|rejection| serde_json::to_vec(&Rejected { rejection, status: "rejected" })),
        };
        lines.extend(line.map_err(|error| Kind::Unreadable.because(error.to_string()))?);
        lines.push(b'\n');
    }
    // What was logged is answered, whatever becomes of the bundle.
    let body = match run.filter(|_| matches!(answers.last(), Some(Answer::Included(_)))) {
        Some(run) => then_bundle(lines, &app, run),
        None => lines.into(),
    };
    Ok((status(&wanted), [(header::CONTENT_TYPE, "application/jsonl")], body).into_response())
}

/// The run that a record stands in, or starts.
fn run_of(record: &[u8]) -> Option<RunId> {
    let record = UnverifiedRecord::parse(record).ok()?;
    record.run().or_else(|| (record.kind() == Type::Trigger).then(|| RunId::started_by(record.id())))
}

/// The log's signed rejection.
pub(crate) fn rejected(rejection: &UnverifiedRecord, code: &str) -> Response {
    let headers = [(header::CONTENT_TYPE.as_str(), "application/json"), ("counterfoil-code", code)];
    (StatusCode::UNPROCESSABLE_ENTITY, headers, rejection.bytes().to_vec()).into_response()
}

/// Submits on a task of its own, which goes on if the client goes away: what was staged has to be settled. Then waits until
/// what was promised holds; others need not wait for that.
pub(crate) async fn submit(
    app: &Arc<App>,
    batch: Batch,
    wanted: &Wanted,
    permit: Option<SemaphorePermit<'_>>,
) -> Result<Vec<Answer>, Problem> {
    let submitted = tokio::spawn(Arc::clone(&app.submitter).submit(batch)).await;
    drop(permit);
    app.view.note_failure();
    let failed = |_| Kind::LogFailed.because("the submission failed inside the server");
    let (mut included, mut answers) = (Vec::new(), Vec::new());
    for answer in submitted.map_err(failed)?? {
        match answer {
            Answer::Included(inclusion) => {
                included.push(inclusion);
                answers.push(None);
            }
            rejected @ Answer::Rejected { .. } => answers.push(Some(rejected)),
        }
    }
    let mut included = wanted.prove(included, &app.view).await?.into_iter();
    let joined = answers.into_iter().map(|answer| answer.or_else(|| included.next().map(Answer::Included)));
    Ok(joined.flatten().collect())
}

/// What is stored is not evidence yet.
fn status(wanted: &Wanted) -> StatusCode {
    if wanted.promise == Promise::Stored { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// The answer for a record that is in the log.
fn line(inclusion: &Inclusion, wanted: &Wanted, app: &App) -> serde_json::Result<Vec<u8>> {
    let Inclusion { leaf, index, checkpoint, proof, cosignatures } = inclusion;
    let (id, index) = (RecordId::from_bytes(*leaf.as_bytes()).to_string(), index.0);
    let status = match wanted.promise {
        Promise::Stored => return serde_json::to_vec(&Stored { id, index, status: "stored" }),
        Promise::Integrated => "included",
        Promise::Published => "published",
        Promise::Witnessed => "witnessed",
    };
    let witnesses = app.view.witnesses.as_ref().map(|witnesses| Cosigned {
        fail: witnesses.fail.as_str(),
        have: cosignatures.unwrap_or(0),
        quorum: cosignatures.is_some(),
    });
    let proof = proof.iter().map(|hash| hash.to_base64()).collect();
    serde_json::to_vec(&Included { checkpoint, id, index, proof, status, witnesses })
}
