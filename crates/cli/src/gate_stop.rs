//! `counterfoil gate stop`: a gate is handed what somebody signed against an action, logged or not.

use std::path::{Path, PathBuf};

use clap::Args;
use counterfoil_client::PinnedClient;
use counterfoil_gate::{Stopping, heed_in, is_stop, stopping};
use counterfoil_receipt::{RunId, UnverifiedRecord, limits};
use counterfoil_verify::{KeyCache, check_signature};
use serde_json::json;

use crate::{
    approver::stops_nothing,
    context::Context,
    error::{Failure, Outcome},
    input, output, remote,
    text::printable,
    time,
};

/// Heed signed rejects, cancels and revocations from now on, whether the log has them or not.
///
/// Every gate that uses this working directory stops as if they were the next entries of the log. Each file is a record, as
/// `counterfoil record` prints it, or as whoever signed it handed it over. Each is kept before it is judged, and stays: what stops nothing
/// now may under another policy. None is in the log before somebody submits it.
///
/// Exit status: 0 they are heeded, and stop what they are about as far as the log answers, 1 one of them stops nothing, 2 one is no such
/// record, or can't be kept: then none is.
#[derive(Args, Debug)]
pub struct Stop {
    /// Records as they were signed
    #[arg(required = true, value_name = "FILE")]
    records: Vec<PathBuf>,
}

impl Stop {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let dir = context.file("gate");
        let kept = self.records.iter().map(|path| read(path)).collect::<Outcome<Vec<_>>>()?;
        for record in &kept {
            heed_in(&dir, record).map_err(|error| output::unwritable(&dir, &error))?;
        }
        let ids: Vec<String> = kept.iter().map(|record| record.id().to_string()).collect();
        if context.json {
            output::print_json(&json!({"heeded": ids}))?;
        } else {
            let heeded: String = ids.iter().map(|id| format!("heeded: {id}\n")).collect();
            let dir = input::shown(&dir);
            let meant = format!(
                "Every gate that uses the directory {dir} stops what they may end, as if the log had them. Nothing was logged\n"
            );
            output::print(&format!("{heeded}{meant}"))?;
        }
        judge(context, &kept)
    }
}

fn read(path: &Path) -> Outcome<UnverifiedRecord> {
    let bytes = input::read(path, "record", limits::RECORD_BYTES + 1)?;
    let unfit = |why: String| {
        let message = format!("{}: {why}", printable(&path.display().to_string()));
        Failure::new("not-a-stop", message, "give a signed reject, cancel, revocation or endorsement of one")
    };
    let record = UnverifiedRecord::parse(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
    let record = record.map_err(|fault| unfit(fault.to_string()))?;
    if !is_stop(&record) {
        return Err(unfit(format!("it is a {} that stops nothing", record.kind())));
    }
    check_signature(record.clone(), &mut KeyCache::default())
        .map_err(|(_, fault)| unfit(fault.to_string()))?;
    Ok(record)
}

/// Nobody who hands a gate a no takes it for stopped where it is not. A log that does not answer takes nothing from what is kept.
fn judge(context: &Context, kept: &[UnverifiedRecord]) -> Outcome {
    let of_runs: Vec<(&UnverifiedRecord, RunId)> =
        kept.iter().filter_map(|record| Some((record, record.run()?))).collect();
    if of_runs.is_empty() {
        return Ok(0);
    }
    let client = remote::connect(context);
    let mut vain = Vec::new();
    for (record, run) in of_runs {
        let done = match &client {
            Ok(client) => what_it_does(client, record, run),
            Err(failure) => Err(Failure::new(failure.code(), failure.message(), failure.hint())),
        };
        match done {
            Ok(Stopping::Stops | Stopping::OfNoRun) => {}
            Ok(Stopping::InDoubt(why)) => output::note(&format!(
                "note: {} stops what it is about until it is shown whether it may: {}\n",
                record.id(),
                printable(&why)
            )),
            Ok(Stopping::Nothing(why)) => {
                vain.push(format!("{} stops nothing: {}", record.id(), printable(&why)))
            }
            Err(failure) => {
                let id = record.id();
                output::note(&format!(
                    "note: not shown whether {id} stops anything: {}\n",
                    failure.message()
                ));
            }
        }
    }
    if vain.is_empty() { Ok(0) } else { Err(stops_nothing(vain.join("; "))) }
}

fn what_it_does(client: &PinnedClient, record: &UnverifiedRecord, run: RunId) -> Outcome<Stopping> {
    let shown = remote::fetch_demanded(client, run, time::millis(time::now())?)?.verdict;
    let next = shown.checkpoints().last().map_or(0, |shown| shown.head.size.0);
    Ok(stopping(shown.state(), next, record))
}
