//! `counterfoil receipt`: what was proposed, decided and executed about one record, and what shows it.

use clap::Args;
use counterfoil_receipt::RecordId;
use counterfoil_verify::{Decided, Receipt as Shown};
use serde_json::json;

use crate::{
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome},
    output, reading,
    record::record_id,
    remote,
    style::Style,
    text::printable,
    time,
    verdict::Asked,
};

/// Show what became of one record: the action, who approved it, how it was executed, and what shows that.
///
/// Fetches the bundle of the record's run and verifies it under your trust file; nothing is said on the server's word. Of an
/// execution it shows its proposal, of a proposal that one, of any other record all of the run.
///
/// Exit status: 0 everything that the trust file requires is shown, 1 something is violated, 2 unreadable, 3 something required is
/// not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil receipt sha256:4c76…
  counterfoil receipt sha256:4c76… --server https://log.example.org --json")]
pub struct Receipt {
    /// A record of a run: an execution, a proposal, or any other
    #[arg(value_name = "ID", value_parser = record_id)]
    id: RecordId,
}

impl Receipt {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let record = client.hints()?.record(self.id)?;
        let run = record.run().ok_or_else(|| {
            let message = format!(
                "{} is {}, which belongs to no run",
                self.id,
                crate::text::with_article(&record.kind().to_string())
            );
            Failure::new("receipt-no-run", message, "look at it with `counterfoil record show`")
        })?;
        let now = time::now();
        let fetched = client.fetch_evidence(run, time::millis(now)?)?;
        let reading = reading::read_bytes(&fetched.bundle, client.trust(), now);
        let asked = Asked { reading: &reading, require: client.trust().require(), now };
        let shown = Shown::of(&reading.verdict, &self.id, &|id| reading.record(id).cloned());
        let Some(shown) = shown else {
            let message = format!("the bundle of {run} does not show {}", self.id);
            let status = asked.conclusion().exit_code().max(1);
            let status = if status == 1 { status } else { NOT_SHOWN };
            return Err(Failure::new(
                "not-shown",
                message,
                "look at it with `counterfoil bundle` and `counterfoil verify`",
            )
            .with_status(status));
        };
        if context.json {
            let verdict = asked.to_json();
            output::print_json(&json!({
                "format": "counterfoil-receipt/1",
                "conclusion": verdict["conclusion"],
                "exit_code": verdict["exit_code"],
                "required": verdict["required"],
                "receipt": shown,
            }))?;
        } else {
            output::print(&(to_text(&shown, context.style) + &asked.to_summary(context.style)))?;
        }
        Ok(asked.conclusion().exit_code())
    }
}

/// What it says; what stands in records of strangers is printed so that it moves no cursor.
fn to_text(receipt: &Shown, style: Style) -> String {
    let mut out = format!("{} {}\n", style.bold("receipt of"), receipt.record);
    let mut line = |name: &str, value: &str| out.push_str(&format!("  {name:<10} {}\n", printable(value)));
    line("log", &format!("{}, {}", receipt.issuer.origin, receipt.issuer.log));
    line("run", &receipt.run);
    line("requester", &receipt.requester);
    for proposal in &receipt.proposals {
        let target = proposal.action.target.as_ref().map_or(String::new(), |target| format!(" → {target}"));
        line("action", &format!("{}{target}, {}", proposal.action.tool, proposal.action.digest));
        line(
            "",
            &format!("proposed by {} at {}: {}", proposal.agent, time::utc(proposal.time), proposal.status),
        );
        for decision in &proposal.decisions {
            let at = decision.time.map_or(String::new(), |at| format!(" at {}", time::utc(at)));
            let reason = decision.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
            let withdrawn = if decision.withdrawn.is_some() { ", withdrawn" } else { "" };
            let vain =
                decision.without_effect.as_ref().map_or(String::new(), |why| format!("; IN VAIN: {why}"));
            // Such as one by time-out, or one that a person made without having looked (`--yes`).
            let surface = if decision.surface == "none" { "on no surface" } else { decision.surface };
            let by = format!(
                "{} by {} ({surface}){at}, entry {}{withdrawn}{reason}{vain}",
                decision.verdict, decision.approver, decision.index
            );
            line("decided", &by);
            line("", &format!("under policy {}", decision.policy));
        }
        left_out(&mut line, proposal.decisions_left_out, "decisions");
        for execution in &proposal.executions {
            let named = |one: &&Decided| execution.decisions.contains(&one.id);
            let approvers: Vec<&str> =
                proposal.decisions.iter().filter(named).map(|one| one.approver.as_str()).collect();
            let on =
                if approvers.is_empty() { String::new() } else { format!(" by {}", approvers.join(", ")) };
            let by = format!(
                "{} by {} at {}, {}{on}",
                execution.id,
                execution.runtime,
                time::utc(execution.time),
                execution.ground
            );
            line("executed", &by);
            if let Some(retries) = &execution.retries {
                line("", &format!("a retry of {retries}"));
            }
            let ended = execution.outcome.as_ref().map_or_else(
                || "no outcome is known".to_owned(),
                |outcome| {
                    let at = outcome.time.map_or(String::new(), |at| format!(" at {}", time::utc(at)));
                    let by = outcome.by.as_ref().map_or(String::new(), |by| format!(", says {by}"));
                    format!("{}{at}, effects {}{by}", outcome.status, outcome.effects)
                },
            );
            line("outcome", &ended);
        }
        left_out(&mut line, proposal.executions_left_out, "executions");
    }
    left_out(&mut line, receipt.proposals_left_out, "proposals");
    out
}

fn left_out(line: &mut impl FnMut(&str, &str), count: usize, what: &str) {
    if count > 0 {
        line("", &format!("{count} more {what} came before these: `counterfoil verify` shows them"));
    }
}
