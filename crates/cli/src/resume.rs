//! `counterfoil resume`: the verified state of a run, and which records may follow (`docs/schema/resume.schema.json`).

use std::path::PathBuf;

use clap::Args;
use counterfoil_receipt::{RecordId, RunId, body::Status};
use counterfoil_verify::{
    Answer, Approval, Budget, Dimension, End, ExecutionState, Ground, NEEDED, Next, NoState, ProposalState,
    ProposalStatus, Run, RunState, Shown, State,
};
use serde_json::{Value, json};

use crate::{
    advice,
    context::Context,
    error::{Failure, Outcome},
    output,
    reading::{self, Reading},
    record::run_id,
    remote, review,
    style::Style,
    text::{counted, printable, short},
    time, tree, trust, verdict,
};

/// Show where a run stands: what was proposed, decided, executed; what is open; who owns it; what may follow.
///
/// Everything is taken from verified records. Where the trust file wants more than this shows, where it is older than the trust file or
/// this directory's last checkpoint allows, or where the log contradicts itself, it says which evidence is against it, and nothing may
/// follow.
///
/// Exit status: 0 verified, 1 violated, 2 wrongly used, unreadable, or no server answers, 3 not shown.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil resume sha256:…
  counterfoil resume sha256:… --summary
  counterfoil resume sha256:… --bundle run.jsonl --json")]
pub struct Resume {
    /// The run
    #[arg(value_parser = run_id)]
    run: RunId,
    /// Read this bundle instead of asking the server
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Print lines for a language model, each with the ids of the records that it stands on
    #[arg(long)]
    summary: bool,
}

impl Resume {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let now = time::now();
        let (reading, require) = match &self.bundle {
            Some(path) => {
                let trust = trust::load(&context.trust_path())?;
                let reading = reading::read(path, &trust, now)?;
                if reading.verdict.answer(Dimension::Inclusion).passes() {
                    remote::is_current(context, &trust, &reading.verdict)?;
                }
                (reading, trust.require().to_vec())
            }
            None => {
                let client = remote::connect(context)?;
                let fetched = remote::fetch_demanded(&client, self.run, time::millis(now)?);
                let trust = client.trust();
                (reading::read_bytes(&fetched?.bundle, trust, now), trust.require().to_vec())
            }
        };
        let state = RunState::of(&reading.verdict, self.run, &require);
        let run = reading.run().filter(|run| run.id() == self.run);
        let (run, state) = match (run, state) {
            (Some(run), Ok(state)) => (run, Ok(state)),
            (Some(run), Err(why)) if !self.summary || context.json => (run, Err(why)),
            (_, Err(why)) => return Err(refused(&why)),
            (None, Ok(_)) => {
                return Err(Failure::new("run-not-shown", "the run is not shown", "check the run's id"));
            }
        };
        let standing = Standing { reading: &reading, run, state, require: &require };
        if context.json {
            output::print_json(&standing.to_json())?;
        } else if let (true, Ok(state)) = (self.summary, &standing.state) {
            output::print(&state.summary().to_string())?;
        } else {
            output::print(&standing.to_text(context.style))?;
        }
        Ok(standing.state.map_or_else(|why| why.conclusion.exit_code(), |_| 0))
    }
}

/// What a person is told who can't go on with a run.
fn refused(why: &NoState) -> Failure {
    let message = format!("the state of run {} is not shown: {}", why.run, printable(&why.detail));
    let hint = why.finding.as_ref().map_or("check the run's id", |finding| advice::on(finding.code));
    Failure::new(why.code, message, hint).with_status(why.conclusion.exit_code())
}

/// A run as of the last entry that was shown.
struct Standing<'r> {
    reading: &'r Reading,
    run: &'r Run,
    state: Result<RunState<'r>, NoState>,
    require: &'r [Dimension],
}

impl Standing<'_> {
    fn facts(&self) -> &State {
        self.reading.verdict.state()
    }

    fn to_text(&self, style: Style) -> String {
        let mut out = format!("{} {}\n", style.bold("run"), self.run.id());
        let (owner, _) = self.facts().owner(self.run);
        out.push_str(&format!("owned by {} with {}\n", owner.principal, owner.key));
        if let (Some(time), Some(last)) = (self.facts().log_time(), self.reading.verdict.checkpoints().last())
        {
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
        match &self.state {
            Ok(state) => {
                for next in state.next() {
                    out.push_str(&format!("  {}\n", next_text(&next, style)));
                }
            }
            Err(why) => {
                let detail = printable(&why.detail);
                out.push_str(&format!("  {}\n", style.bad(&format!("nothing: {}: {detail}", why.code))));
                let advice = why.finding.as_ref().map(|finding| advice::on(finding.code));
                advice.iter().for_each(|advice| out.push_str(&format!("  → {advice}\n")));
            }
        }
        out.push('\n');
        let asked = |dimension: &Dimension| {
            let is_asked = NEEDED.contains(dimension)
                || (self.require.contains(dimension) && *dimension != Dimension::Conformity);
            is_asked || *self.reading.verdict.answer(*dimension) == Answer::Fail
        };
        for dimension in Dimension::ALL.into_iter().filter(asked) {
            let (word, why) = match self.reading.verdict.answer(dimension) {
                Answer::Pass(why) => (style.good("pass     "), why.clone()),
                Answer::Fail => (style.bad("FAIL     "), self.against(dimension)),
                Answer::NotShown(why) => (style.open("not shown"), why.clone()),
            };
            out.push_str(&format!("  {dimension:<13} {word}  {}\n", printable(&why)));
        }
        out
    }

    /// The codes of what is violated in a dimension.
    fn against(&self, dimension: Dimension) -> String {
        let findings = self.reading.verdict.findings().iter();
        let broken = findings.filter(|one| one.dimension == dimension && one.shown == Shown::Violated);
        let mut codes: Vec<&str> = broken.map(|finding| finding.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes.join(", ")
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
        self.facts().proposal_status(self.run, proposal)
    }

    fn to_json(&self) -> Value {
        let (owner, _) = self.facts().owner(self.run);
        let (state, refused) = (self.state.as_ref().ok(), self.state.as_ref().err());
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
            "conclusion": state.map_or_else(|| refused.map_or("not_shown", |why| why.conclusion.as_str()), |_| "shown"),
            "refused": refused.map(|why| json!({
                "code": why.code,
                "detail": why.detail,
                "record": why.finding.as_ref().and_then(|finding| finding.record).map(|id| id.to_string()),
            })),
            "summary": state.map(|state| state.summary()),
            "pending": state.map_or_else(Vec::new, |state| state.pending()).iter().map(pending_json).collect::<Vec<_>>(),
            "left": state.map(|state| left_json(&state.budget())),
            "run": self.run.id().to_string(),
            "log": self.facts().log().map(|log| log.to_string()),
            "log_time": self.facts().log_time().map(|time| time.get()),
            "size": self.reading.verdict.checkpoints().last().map(|last| last.head.size.0),
            "dimensions": dimensions,
            "owner": {"key": owner.key.to_string(), "principal": owner.principal.as_str()},
            "requester": self.run.requester().as_str(),
            "heads": self.run.heads().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "proposals": self.run.proposals().iter().map(|(id, proposal)| self.proposal(id, proposal)).collect::<Vec<_>>(),
            "executions": self.run.executions().iter().map(|(id, execution)| execution_json(id, execution)).collect::<Vec<_>>(),
            "refusals": self.run.refusals(),
            "open": self.run.open().iter().map(ToString::to_string).collect::<Vec<_>>(),
            "may_follow": state.map_or_else(Vec::new, |state| state.next()).iter().map(next_json).collect::<Vec<_>>(),
            "records": self.reading.rows.iter().map(|row| verdict::row_json(row, self.reading)).collect::<Vec<_>>(),
            "records_left_out": self.reading.more,
        })
    }

    /// One link of the delegation under which a proposal acts. What is used up of it, as far as this run shows.
    fn delegation(&self, id: &RecordId) -> Option<Value> {
        let link = self.facts().delegation(id)?;
        Some(json!({
            "id": id.to_string(),
            "delegate": link.body.delegate.principal.as_str(),
            "ended": self.facts().is_live(id).err().map(|fault| fault.detail),
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

/// What waits for somebody to decide, for a program.
pub fn pending_json((id, approval): &(RecordId, Approval)) -> Value {
    let rules = approval.rules.iter().map(|rule| {
        let requirements = rule.requirements.iter().map(|one| {
            let names = |names: &[counterfoil_receipt::Principal]| -> Vec<String> {
                names.iter().map(ToString::to_string).collect()
            };
            json!({
                "count": one.count,
                "approved": names(&one.approved),
                "principals": names(&one.principals),
                "groups": names(&one.groups),
            })
        });
        json!({
            "name": rule.rule.as_str(),
            "met": rule.is_met,
            "requirements": requirements.collect::<Vec<_>>(),
        })
    });
    json!({
        "proposal": id.to_string(),
        "status": approval.status.as_str(),
        "rules": rules.collect::<Vec<_>>(),
        "expires_at": approval.expires_at,
    })
}

/// What may still be done without asking anybody, for a program.
pub fn left_json(budget: &Budget) -> Value {
    let cost = |cost: &counterfoil_receipt::body::Cost| json!({"amount": cost.amount.as_str(), "currency": cost.currency.as_str()});
    let uses = budget.uses.iter().map(|uses| {
        json!({
            "proposal": uses.proposal.to_string(),
            "granted": uses.granted,
            "taken": uses.taken,
            "left": uses.left,
            "until": uses.until,
        })
    });
    let delegations = budget.delegations.iter().map(|link| {
        json!({
            "id": link.id.to_string(),
            "uses": link.uses,
            "uses_left": link.uses_left(),
            "total": link.total.as_ref().map(cost),
            "spend_left": link.spend_left().map(|left| left.to_string()),
            "per_action": link.per_action.as_ref().map(cost),
            "until": link.until,
        })
    });
    json!({"uses": uses.collect::<Vec<_>>(), "delegations": delegations.collect::<Vec<_>>()})
}

fn next_text(next: &Next, style: Style) -> String {
    let about = next.about.map_or(String::new(), |about| format!(" about {}", short(&about)));
    let who = next.by.as_ref().map_or(String::new(), |by| format!(" {}", review::audience(by)));
    let why = style.dim(&printable(&reason(next)));
    format!("{:<12} {}{who}{about}  {why}", next.kind.as_str(), next.role)
}

/// A record that may follow, for a program.
pub fn next_json(next: &Next) -> Value {
    json!({
        "type": next.kind.as_str(),
        "role": next.role.as_str(),
        "principal": next.by.as_ref().map(review::audience),
        "about": next.about.map(|about| about.to_string()),
        "why": reason(next),
    })
}

/// What a record would do, and what the policy wants of it.
fn reason(next: &Next) -> String {
    next.policy.as_ref().map_or_else(|| next.why.clone(), |policy| format!("{}; {policy}", next.why))
}
