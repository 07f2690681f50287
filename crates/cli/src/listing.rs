//! `counterfoil runs`: the runs of the log, the newest first.

use clap::Args;
use counterfoil_client::RunSummary;
use counterfoil_receipt::Body;
use counterfoil_verify::{Conclusion, NEEDED, Run};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome, VIOLATED},
    output,
    reading::{self, Reading},
    remote,
    style::Style,
    text::{counted, printable},
    time, tree,
};

/// List the runs of the log, the newest first: why each exists, who owns it, what became of its proposals.
///
/// Which runs there are is the server's word. What is said of each was verified, which takes fetching it.
///
/// Exit status: 0 all verified, 1 one is violated, 3 one is not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil runs
  counterfoil runs --limit 5 --json")]
pub struct Runs {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
    /// Those that were started before this log index
    #[arg(long, value_name = "INDEX")]
    before: Option<u64>,
}

/// A run of the list, and what its bundle shows.
struct Listed {
    summary: RunSummary,
    reading: Outcome<Reading>,
}

impl Runs {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let list = client.hints()?.runs(self.before, self.limit)?;
        let now = time::now();
        let mut runs = Vec::new();
        for summary in list.runs {
            let fetched = client.fetch_verified(summary.run, time::millis(now)?).map_err(Failure::from);
            let reading = fetched.map(|fetched| reading::read_bytes(&fetched.bundle, client.trust(), now));
            let listed = Listed { summary, reading };
            if !context.json {
                output::print(&listed.to_text(context.style))?;
            }
            runs.push(listed);
        }
        if context.json {
            let runs: Vec<Value> = runs.iter().map(Listed::to_json).collect();
            output::print_json(&json!({"format": "counterfoil-runs/1", "next": list.next, "runs": runs}))?;
        } else if let Some(next) = list.next {
            output::note(&format!("more: counterfoil runs --before {next}\n"));
        }
        let statuses: Vec<u8> = runs.iter().map(Listed::status).collect();
        Ok(if statuses.contains(&VIOLATED) { VIOLATED } else { statuses.into_iter().max().unwrap_or(0) })
    }
}

impl Listed {
    fn status(&self) -> u8 {
        match &self.reading {
            Ok(reading) => reading.verdict.conclude(&NEEDED).exit_code(),
            Err(failure) if failure.status() == VIOLATED => VIOLATED,
            Err(_) => NOT_SHOWN,
        }
    }

    fn to_text(&self, style: Style) -> String {
        let RunSummary { run, records, .. } = self.summary;
        let head = format!("{} {run}", style.bold("run"));
        let (reading, run) = match (&self.reading, self.shown()) {
            (Err(failure), _) => {
                return format!("{head}\n  {}: {}\n\n", style.open("not shown"), failure.message());
            }
            (Ok(_), None) => {
                return format!(
                    "{head}\n  {}: look at it with `counterfoil verify`\n\n",
                    style.open("not shown")
                );
            }
            (Ok(reading), Some(run)) => (reading, run),
        };
        let why = reading.rows.first().map_or(String::new(), |row| tree::says(&row.record, reading));
        let last = reading.rows.last().map_or(0, |row| row.record.time().get());
        let mark = match reading.verdict.conclude(&NEEDED) {
            Conclusion::Shown => String::new(),
            other => format!("  {}: look at it with `counterfoil resume`", style.bad(other.as_str())),
        };
        let mut out = format!("{head}{mark}\n  {why}\n");
        let records = counted(records, "record");
        out.push_str(&format!("  owned by {}, {records}, last {}\n", run.owner().principal, time::utc(last)));
        for (id, proposal) in run.proposals() {
            let status =
                reading.verdict.state().proposal_status(run, &id).map_or("?", |status| status.as_str());
            let target =
                proposal.action.target.as_ref().map_or(String::new(), |target| format!(" → {target}"));
            let what = printable(&format!("{}{target}", proposal.action.tool));
            out.push_str(&format!("  {what}: {}\n", style.bold(status)));
        }
        out.push('\n');
        out
    }

    fn to_json(&self) -> Value {
        let RunSummary { index, last, records, run, time } = self.summary;
        let mut json =
            json!({"run": run.to_string(), "index": index, "last": last, "records": records, "time": time});
        let (reading, run) = match (&self.reading, self.shown()) {
            (Err(failure), _) => {
                json["conclusion"] = Conclusion::NotShown.as_str().into();
                json["why"] = failure.message().into();
                return json;
            }
            (Ok(reading), None) => {
                json["conclusion"] = reading.verdict.conclude(&NEEDED).as_str().into();
                return json;
            }
            (Ok(reading), Some(run)) => (reading, run),
        };
        json["conclusion"] = reading.verdict.conclude(&NEEDED).as_str().into();
        json["owner"] = run.owner().principal.as_str().into();
        json["last_time"] = reading.rows.last().map(|row| row.record.time().get()).into();
        if let Some(Body::Trigger(body)) = reading.rows.first().map(|row| row.record.body()) {
            json["trigger"] = json!({
                "source": body.event.source.as_str(),
                "id": body.event.id.as_str(),
                "kind": body.event.kind.as_ref().map(|kind| kind.as_str()),
                "summary": body.summary.as_ref().map(|text| text.as_str()),
            });
        }
        let state = reading.verdict.state();
        let proposal =
            |(id, proposal): &(counterfoil_receipt::RecordId, &counterfoil_verify::ProposalState)| {
                json!({
                    "id": id.to_string(),
                    "tool": proposal.action.tool.as_str(),
                    "target": proposal.action.target.as_ref().map(|target| target.as_str()),
                    "status": state.proposal_status(run, id).map(|status| status.as_str()),
                })
            };
        json["proposals"] = run.proposals().iter().map(proposal).collect();
        json
    }

    /// The run, as far as its trigger was shown.
    fn shown(&self) -> Option<&Run> {
        self.reading.as_ref().ok()?.run()
    }
}
