//! Receipts: the bundle of a run, verified here under the trust of whoever runs the log (`spec/http.md`, "Receipts").

use std::{cell::RefCell, num::NonZeroUsize};

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
    let (index, size, failed) = (app.index(), latest.head.size.0, RefCell::new(None));
    let record = |id: &RecordId| -> Option<UnverifiedRecord> {
        let at = index.index_of(id, size);
        let read = at.and_then(|at| at.map(|at| index.record(at)).transpose());
        read.unwrap_or_else(|error| {
            failed.replace(Some(error));
            None
        })
    };
    let receipt = Receipt::of(&verdict, &id, &record);
    // What could not be read is not shown as if it had not been said.
    if let Some(error) = failed.into_inner() {
        return Err(error.into());
    }
    let not_shown = || Kind::Unreadable.because(format!("the bundle of {run} does not show {id}"));
    receipt.ok_or_else(not_shown)
}
