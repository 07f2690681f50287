//! Submitting records.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use counterfoil_receipt::RecordId;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    app::{App, read_body},
    handlers::json,
    limits,
    problem::{Kind, Problem},
    submit::{Answer, Batch, Inclusion},
};

#[derive(Serialize)]
struct Included<'a> {
    checkpoint: &'a str,
    id: String,
    index: u64,
    proof: Vec<String>,
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
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = read_body(&headers, body, "application/json", limits::RECORD_BODY_BYTES).await?;
    if body.ends_with(b"\n") {
        let detail = "the body ends with a line feed, and no record does: send it without \
                      (`curl --data-binary @FILE` keeps what a file ends with, `counterfoil submit` does not)";
        return Err(Kind::BodyUnreadable.because(detail));
    }
    let answers = submit(&app, Batch::of_record(body.to_vec())).await?;
    match answers.into_iter().next() {
        Some(Answer::Included(inclusion)) => Ok(json(&Included::from(&inclusion))),
        Some(Answer::Rejected { rejection, code }) => {
            let headers = [(header::CONTENT_TYPE.as_str(), "application/json"), ("counterfoil-code", &code)];
            Ok((StatusCode::UNPROCESSABLE_ENTITY, headers, rejection.bytes().to_vec()).into_response())
        }
        None => Err(Kind::Unreadable.because("the log gave no answer")),
    }
}

/// `POST /v1/records/batch`
pub(crate) async fn batch(
    Shared(app): Shared<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // A closed semaphore would only mean that there is no bound.
    let _permit = app.batches.acquire().await;
    let body = read_body(&headers, body, "application/jsonl", limits::BATCH_BODY_BYTES).await?;
    let answers = submit(&app, Batch::of_lines(&body)?).await?;
    let mut lines = Vec::new();
    for answer in &answers {
        let line = match answer {
            Answer::Included(inclusion) => serde_json::to_vec(&Included::from(inclusion)),
            Answer::Rejected { rejection, .. } => serde_json::from_slice(rejection.bytes())
                .and_then(|rejection| serde_json::to_vec(&Rejected { rejection, status: "rejected" })),
        };
        lines.extend(line.map_err(|error| Kind::Unreadable.because(error.to_string()))?);
        lines.push(b'\n');
    }
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], lines).into_response())
}

/// Submits on a task of its own, which goes on if the client goes away: what was staged has to be settled.
async fn submit(app: &Arc<App>, batch: Batch) -> Result<Vec<Answer>, Problem> {
    let submitted = tokio::spawn(Arc::clone(&app.submitter).submit(batch)).await;
    app.view.note_failure();
    submitted.unwrap_or_else(|_| Err(Kind::LogFailed.because("the submission failed inside the server")))
}

impl<'a> From<&'a Inclusion> for Included<'a> {
    fn from(Inclusion { logged, proof }: &'a Inclusion) -> Self {
        Self {
            checkpoint: &logged.checkpoint.text,
            id: RecordId::from_bytes(*logged.leaf.as_bytes()).to_string(),
            index: logged.index.0,
            proof: proof.iter().map(|hash| hash.to_base64()).collect(),
            status: "included",
        }
    }
}
