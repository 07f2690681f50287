//! Receipts: the bundle of a run, verified here under the trust of whoever runs the log (`spec/http.md`, "Receipts").

use std::num::NonZeroUsize;

use counterfoil_log::LogCheckpoint;
use counterfoil_receipt::{RecordId, RunId, UnverifiedRecord};
use counterfoil_verify::{Lookup as _, Receipt, Verifier};

use crate::{
    app::App,
    bundle::Bundle,
    problem::{Kind, Problem},
    submit::now,
};

/// The receipt of a record of a run. Reads and verifies the whole run, and keeps a chunk of it at a time.
pub(crate) fn receipt_of(
    app: &App,
    id: RecordId,
    run: RunId,
    latest: &LogCheckpoint,
) -> Result<Receipt, Problem> {
    let as_of = (latest, app.view.witnesses.as_deref());
    let mut bundle = Bundle::begin(app.index(), app.payloads(), (app.log, run), as_of, false)?;
    let mut verifier = Verifier::new(&app.trust, NonZeroUsize::MIN);
    let mut line = Vec::new();
    while let Some(chunk) = bundle.chunk() {
        for part in chunk?.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.pop_if(|last| *last == b'\n').is_some() {
                verifier.line(&line);
                line.clear();
            }
        }
    }
    if !line.is_empty() {
        verifier.unfinished_line();
    }
    let verdict = verifier.finish(now());
    let (index, size) = (app.index(), latest.head.size.0);
    let record =
        |id: &RecordId| -> Option<UnverifiedRecord> { index.record(index.index_of(id, size).ok()??).ok() };
    let not_shown = || Kind::Unreadable.because(format!("the bundle of {run} does not show {id}"));
    Receipt::of(&verdict, &id, &record).ok_or_else(not_shown)
}
