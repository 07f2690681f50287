//! Submitting records.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_receipt::{RecordId, UnverifiedRecord};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::SemaphorePermit;

use crate::{
    app::{App, read_body},
    door::Asker,
    handlers::asked,
    limits,
    problem::{Kind, Problem},
    promise::{Asked, Promise, Wanted},
    submit::{Answer, Batch, Inclusion},
};

#[derive(Serialize)]
struct Included<'a> {
    checkpoint: &'a str,
    id: String,
    index: u64,
    proof: Vec<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    witnesses: Option<Cosigned>,
}

/// How far a log that is witnessed had its quorum.
#[derive(Serialize)]
struct Cosigned {
    fail: &'static str,
    have: usize,
    quorum: bool,
}

#[derive(Serialize)]
struct Stored {
    id: String,
    index: u64,
    status: &'static str,
}

#[derive(Serialize)]
struct Rejected<'a> {
    rejection: &'a RawValue,
    status: &'static str,
}

/// `POST /v1/records`
pub(crate) async fn record(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(asked(query)?, &app.view, &asker)?;
    let body = read_body(&headers, body, "application/json", limits::RECORD_BODY_BYTES).await?;
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

/// `POST /v1/records/batch`
pub(crate) async fn batch(
    Shared(app): Shared<Arc<App>>,
    Extension(asker): Extension<Asker>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let wanted = Wanted::of(asked(query)?, &app.view, &asker)?;
    // A closed semaphore would only mean that there is no bound.
    let permit = app.batches.acquire().await;
    let body = read_body(&headers, body, "application/jsonl", limits::BATCH_BODY_BYTES).await?;
    let answers = submit(&app, Batch::of_lines(&body)?, &wanted, permit.ok()).await?;
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
    Ok((status(&wanted), [(header::CONTENT_TYPE, "application/jsonl")], lines).into_response())
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
