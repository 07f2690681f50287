//! `counterfoil resume`: the verified state of a run, and which records may follow (`docs/schema/resume.schema.json`).

use std::path::PathBuf;

use clap::Args;
use counterfoil_receipt::{RecordId, RunId, body::Status};
use counterfoil_verify::{
    Answer, Dimension, End, ExecutionState, Ground, ProposalState, ProposalStatus, Run, State,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{Failure, Outcome},
    next::{self, Next},
    output,
    reading::{self, Reading},
    record::run_id,
    remote, review,
    style::Style,
    text::{counted, printable, short},
    time, tree, trust, verdict,
};

/// What must hold before anything is said about a run.
pub const NEEDED: [Dimension; 3] = [Dimension::Integrity, Dimension::Authority, Dimension::Inclusion];

/// Show where a run stands: what was proposed, decided, executed; what is open; who owns it; what may follow.
///
/// Everything is taken from verified records. Exit status: 0 verified, 1 violated, 3 not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil resume sha256:…
  counterfoil resume sha256:… --bundle run.jsonl --json")]
pub struct Resume {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// Read this bundle instead of asking the server
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
}

impl Resume {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let now = time::now();
        let reading = match &self.bundle {
            Some(path) => reading::read(path, &trust::load(&context.trust_path())?, now)?,
            None => {
                let client = remote::connect(context)?;
                let fetched = client.fetch_verified(self.run, time::millis(now)?);
                reading::read_bytes(&fetched?.bundle, client.trust(), now)
            }
        };
        let conclusion = reading.verdict.conclude(&NEEDED);
        let run = reading.run().filter(|run| run.id() == self.run).ok_or_else(|| self.not_shown(&reading))?;
        let standing = Standing { reading: &reading, run, state: reading.verdict.state() };
        if context.json {
            let mut json = standing.to_json();
            json["conclusion"] = conclusion.as_str().into();
            output::print_json(&json)?;
        } else {
            output::print(&standing.to_text(context.style))?;
        }
        Ok(conclusion.exit_code())
    }

    fn not_shown(&self, reading: &Reading) -> Failure {
        let finding = reading.verdict.findings().first();
        let why = finding
            .map_or("its trigger is not in the bundle".to_owned(), |finding| printable(&finding.to_string()));
        let status = reading.verdict.conclude(&NEEDED).exit_code().max(1);
        let message = format!("the state of run {} is not shown: {why}", self.run);
        let hint = finding.map_or("check the run's id", |finding| crate::advice::on(finding.code));
        Failure::new("run-not-shown", message, hint).with_status(if status == 1 { 1 } else { status })
    }
}

/// A run as of the last entry that was shown.
struct Standing<'r> {
    reading: &'r Reading,
    run: &'r Run,
    state: &'r State,
}

impl Standing<'_> {
    fn to_text(&self, style: Style) -> String {
        let mut out = format!("{} {}\n", style.bold("run"), self.run.id());
        let owner = self.run.owner();
        out.push_str(&format!("owned by {} with {}\n", owner.principal, owner.key));
        if let (Some(time), Some(last)) = (self.state.log_time(), self.reading.verdict.checkpoints().last()) {
            out.push_str(&format!(
                "as of log time {}, tree size {}\n",
                time::utc(time.get()),
                last.head.size
            ));
        }
        out.push('\n');
        out.push_str(&tree::draw(self.reading, style));
        out.push_str(&self.proposals_text(style));
        let open = self.run.open();
        let list: Vec<String> = open.iter().map(short).collect();
        let open = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
        out.push_str(&format!("\n{} {open}\n\n{}\n", style.bold("open"), style.bold("may follow")));
        for next in next::records(self.state, self.run) {
            out.push_str(&format!("  {}\n", next_text(&next, style)));
        }
        out.push('\n');
        for dimension in NEEDED {
            let (word, why) = match self.reading.verdict.answer(dimension) {
                Answer::Pass(why) => (style.good("pass     "), why.clone()),
                Answer::Fail => (style.bad("FAIL     "), String::new()),
                Answer::NotShown(why) => (style.open("not shown"), why.clone()),
            };
            out.push_str(&format!("  {dimension:<13} {word}  {}\n", printable(&why)));
        }
        out
    }

    fn proposals_text(&self, style: Style) -> String {
        let mut out = String::new();
        for (id, proposal) in self.run.proposals() {
            let status = self.status(&id).map_or("?", ProposalStatus::as_str);
            let target =
                proposal.action.target.as_ref().map_or(String::new(), |target| format!(" → {target}"));
            let what = printable(&format!("{}{target}", proposal.action.tool));
            let uses = counted(proposal.uses.len() as u64, "use");
            out.push_str(&format!(
                "\n{} {}  {what}  {}  {uses}\n",
                style.bold("proposal"),
                short(&id),
                style.bold(status)
            ));
            if let Some((index, end)) = &proposal.ended {
                let (word, by) = end_of(end);
                out.push_str(&format!("  ended at entry {index}: {word} by {}\n", short(&by)));
            }
        }
        out
    }

    fn status(&self, proposal: &RecordId) -> Option<ProposalStatus> {
        self.state.proposal_status(self.run, proposal)
    }

    fn to_json(&self) -> Value {
        let owner = self.run.owner();
        let dimensions: serde_json::Map<String, Value> = Dimension::ALL
            .map(|dimension| {
                let (answer, detail) = match self.reading.verdict.answer(dimension) {
                    Answer::Pass(detail) => ("pass", detail.clone()),
                    Answer::Fail => ("fail", String::new()),
                    Answer::NotShown(detail) => ("not_shown", detail.clone()),
                };
                (dimension.to_string(), json!({"answer": answer, "detail": detail}))
            })
            .into_iter()
            .collect();
        json!({
            "format": "counterfoil-resume/1",
            "run": self.run.id().to_string(),
            "log": self.state.log().map(|log| log.to_string()),
            "log_time": self.state.log_time().map(|time| time.get()),
            "size": self.reading.verdict.checkpoints().last().map(|last| last.head.size.0),
            "dimensions": dimensions,
            "owner": {"key": owner.key.to_string(), "principal": owner.principal.as_str()},
            "requester": self.run.requester().as_str(),
            "heads": self.run.heads().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "proposals": self.run.proposals().iter().map(|(id, proposal)| self.proposal(id, proposal)).collect::<Vec<_>>(),
            "executions": self.run.executions().iter().map(|(id, execution)| execution_json(id, execution)).collect::<Vec<_>>(),
            "refusals": self.run.refusals(),
            "open": self.run.open().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "may_follow": next::records(self.state, self.run).iter().map(next_json).collect::<Vec<_>>(),
            "records": self.reading.rows.iter().map(|row| verdict::row_json(row, self.reading)).collect::<Vec<_>>(),
            "records_left_out": self.reading.more,
        })
    }

    /// One link of the delegation under which a proposal acts. What is used up of it, as far as this run shows.
    fn delegation(&self, id: &RecordId) -> Option<Value> {
        let link = self.state.delegation(id)?;
        Some(json!({
            "id": id.to_string(),
            "delegate": link.body.delegate.principal.as_str(),
            "ended": self.state.is_live(id).err().map(|fault| fault.detail),
            "spent_in_this_run": link.spent.to_string(),
            "uses_in_this_run": link.used,
        }))
    }

    fn proposal(&self, id: &RecordId, proposal: &ProposalState) -> Value {
        let decisions = proposal.decisions.iter().filter_map(|id| {
            let decision = self.run.decision(id)?;
            Some(json!({
                "id": id.to_string(),
                "index": decision.index,
                "verdict": decision.ruling.as_str(),
                "principal": decision.rule.is_none().then_some(decision.approver.as_str()),
                "signer": decision.author.principal.as_str(),
                "surface": decision.surface.as_str(),
                "rule": decision.rule.as_ref().map(|rule| rule.as_str()),
                "uses": (decision.uses > 0).then_some(decision.uses),
                "window": decision.window.map(|(from, until)| json!({"from": from, "until": until})),
                "cancelled": decision.cancelled.map(|by| by.to_string()),
            }))
        });
        json!({
            "id": id.to_string(),
            "index": proposal.index,
            "status": self.status(id).map(ProposalStatus::as_str),
            "proposer": proposal.proposer.as_str(),
            "action": serde_json::from_slice::<Value>(&proposal.action.to_canonical()).unwrap_or_default(),
            "action_digest": proposal.digest.to_string(),
            "audience": review::audience(&proposal.audience),
            "delegations": proposal.chain.iter().filter_map(|id| self.delegation(id)).collect::<Vec<_>>(),
            "previewed": proposal.previewed.map(|outcome| outcome.to_string()),
            "supersedes": proposal.supersedes.map(|old| old.to_string()),
            "ended": proposal.ended.as_ref().map(|(index, end)| {
                let (word, by) = end_of(end);
                json!({"index": index, "how": word, "by": by.to_string()})
            }),
            "uses": proposal.uses.iter()
                .map(|(number, execution)| json!({"use": number, "execution": execution.to_string()})).collect::<Vec<_>>(),
            "decisions": decisions.collect::<Vec<_>>(),
        })
    }
}

const fn end_of(end: &End) -> (&'static str, RecordId) {
    match end {
        End::Rejected(by) => ("rejected", *by),
        End::ChangesRequested(by) => ("changes_requested", *by),
        End::Cancelled(by) => ("cancelled", *by),
        End::Superseded(by) => ("superseded", *by),
    }
}

fn execution_json(id: &RecordId, execution: &ExecutionState) -> Value {
    json!({
        "id": id.to_string(),
        "index": execution.index,
        "proposal": execution.proposal.to_string(),
        "use": execution.use_number,
        "retries": execution.retries.map(|id| id.to_string()),
        "first": execution.first.to_string(),
        "runtime": execution.runtime.as_str(),
        "break_glass": execution.ground == Ground::BreakGlass,
        "ground": execution.ground.as_str(),
        "status": execution.status().map(Status::as_str),
        "log_time": execution.log_time,
    })
}

fn next_text(next: &Next, style: Style) -> String {
    let about = next.about.map_or(String::new(), |about| format!(" about {}", short(&about)));
    let who = next.principal.as_ref().map_or(String::new(), |principal| format!(" {principal}"));
    format!("{:<12} {}{who}{about}  {}", next.kind.as_str(), next.role, style.dim(&printable(&next.why)))
}

fn next_json(next: &Next) -> Value {
    json!({
        "type": next.kind.as_str(),
        "role": next.role.as_str(),
        "principal": next.principal,
        "about": next.about.map(|about| about.to_string()),
        "why": next.why,
    })
}
