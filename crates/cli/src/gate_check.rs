//! `counterfoil gate check`: would this be let pass now? For scripts, and for jobs that hold no key.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf};

use clap::Args;
use counterfoil_client::{ApprovalQuery, Client, ClientError};
use counterfoil_gate::{Refusal, Request, Ruling, decide, heeded_in};
use counterfoil_receipt::{Action, Author, Principal, RecordId, Role, RunId, Signer as _, body::Audience};
use counterfoil_verify::{Dimension, ProposalStatus, Run, State, Trust, Verdict};
use serde_json::json;

use crate::{
    approver::read_action,
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome, VIOLATED},
    gate::{self, Where},
    output, reading,
    record::{record_id, run_id},
    remote, signing,
    text::printable,
    time, trust, verify,
};

/// Say whether an action would be let pass now, without logging or running anything.
///
/// The action is a command after `--`, or a file. Everything is verified here, under the trust file, and no key is needed: a job that
/// deploys can ask before it does, and a merge can wait for it.
///
/// What the effect itself presumes is not checked, such as that a file is still as it was: only a gate that is about to run it can
/// ask.
///
/// Exit status: 0 it would, 1 refused, 2 wrongly used or unreadable, 3 not shown or no answer, 4 not decided yet.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil gate check sha256:… -- make deploy
  counterfoil gate check --action deploy.json --for runtime --markdown \"$GITHUB_STEP_SUMMARY\"
  counterfoil gate check --bundle run.jsonl --action deploy.json --for runtime")]
pub struct Check {
    /// The run [default: that of the bundle, or of the newest proposal of this action, one that is approved before all others]
    #[arg(value_parser = run_id)]
    run: Option<RunId>,
    /// The proposal [default: of those of the run that are about this action the last that may be executed, or the last]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    proposal: Option<RecordId>,
    /// The action, as JSON, instead of a command
    #[arg(long, value_name = "FILE", conflicts_with = "argv", required_unless_present = "argv")]
    action: Option<PathBuf>,
    /// Who would execute it [default: whose runtime key is here, or else whom the proposal names]
    #[arg(long = "for", value_name = "NAME", value_parser = |name: &str| Principal::new(name).ok_or("no name"))]
    runtime: Option<Principal>,
    /// Read this bundle instead of asking the server; one from before what this directory has seen is refused
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Hold to this policy: while another one is in force, nothing would pass
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Add what was found to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// As `gate run` would be told: it may be tried again where nobody knows what became of it
    #[arg(long)]
    idempotent: bool,
    #[command(flatten)]
    place: Where,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

/// What was found.
struct Found {
    ruling: Ruling,
    run: RunId,
    proposal: RecordId,
    /// Who approved it; nobody where the policy allows it without people.
    by: Vec<String>,
    /// The last execution, if there was one.
    executed: Option<RecordId>,
    size: u64,
}

/// What is asked, and under what.
struct Question<'q> {
    context: &'q Context,
    trust: &'q Trust,
    action: &'q Action,
    /// What shows the run.
    evidence: &'q Verdict,
    run: RunId,
}

impl Check {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let command = match &self.action {
            Some(_) => None,
            None => Some(self.place.command(&self.argv)?),
        };
        let action = match (&self.action, &command) {
            (Some(path), _) => read_action(path)?,
            (None, Some(command)) => command.to_action().map_err(|error| gate::unfit(&error))?,
            (None, None) => {
                return Err(Failure::new("usage", "no action", "add --help to see what the command takes"));
            }
        };
        let found = self.find(context, &action);
        if let Some(path) = &self.markdown {
            let text = match &found {
                Ok(found) => found.markdown(&action, &remote::server_url(context)?),
                Err(failure) => nothing_found(&action, failure),
            };
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| output::unwritable(path, &error))?;
        }
        let found = found?;
        match found.ruling {
            Ruling::Execute(_) => {
                if let Some(command) = command {
                    command.can_start().map_err(|error| gate::unfit(&error))?;
                }
                let (run, proposal) = (found.run.to_string(), found.proposal.to_string());
                let why = if found.by.is_empty() {
                    "the policy allows exactly this without anybody"
                } else {
                    "exactly this was approved"
                };
                let json =
                    json!({"ruling": "execute", "run": run, "proposal": proposal, "approved_by": found.by});
                gate::say(context, &json, &format!("it would be executed: {why}"))?;
                Ok(0)
            }
            Ruling::Hold(why) => Err(gate::held(&why)),
            Ruling::Refuse(refusal) => Err(gate::refused(&refusal.code, &refusal.detail)),
        }
    }

    /// What is shown of the action, and whether that suffices.
    fn find(&self, context: &Context, action: &Action) -> Outcome<Found> {
        let trust = trust::load(&context.trust_path())?;
        let (evidence, run) = self.evidence(context, &trust, action)?;
        let mut found =
            self.decide(&Question { context, trust: &trust, action, evidence: &evidence, run })?;
        let in_force = evidence.state().policy_in_force().map(|(digest, _)| digest);
        let pin = gate::pin(self.policy.as_deref())?;
        if let Some(refusal) = pin.and_then(|pin| pin.differs_from(in_force))
            && !matches!(found.ruling, Ruling::Refuse(_))
        {
            found.ruling = Ruling::Refuse(refusal);
        }
        Ok(found)
    }

    /// What shows the run that is about the action.
    fn evidence(&self, context: &Context, trust: &Trust, action: &Action) -> Outcome<(Verdict, RunId)> {
        let now = time::now();
        if let Some(path) = &self.bundle {
            let verdict = reading::read(path, trust, now)?.verdict;
            let Some(shown) = verdict.run_id() else { return Err(verify::no_bundle(path, &verdict)) };
            // What is not shown to be of the log is refused for that, and proves nothing of it.
            if verdict.answer(Dimension::Inclusion).passes() {
                remote::is_current(context, trust, &verdict)?;
            }
            return Ok((verdict, self.run.unwrap_or(shown)));
        }
        let client = remote::connect(context)?;
        let run = match self.run {
            Some(run) => run,
            None => {
                let listed =
                    client.hints().and_then(|log| listed_run(log, action)).map_err(remote::no_answer)?;
                listed.ok_or_else(|| {
                    let message = "no recent proposal is about exactly this action";
                    Failure::new("action-differs", message, "propose it, or name the run")
                        .with_status(VIOLATED)
                })?
            }
        };
        let fetched = remote::fetch_demanded(&client, run, time::millis(now)?).map_err(remote::no_answer)?;
        Ok((fetched.verdict, run))
    }

    /// What becomes of the proposal that `gate run` would choose.
    fn decide(&self, question: &Question<'_>) -> Outcome<Found> {
        let (evidence, run) = (question.evidence, question.run);
        let state = evidence.state();
        let Some(shown) = state.run(&run) else {
            let why = evidence
                .findings()
                .first()
                .map_or("no trigger of it is shown".to_owned(), ToString::to_string);
            let message = format!("run {run} is not shown: {}", printable(&why));
            return Err(Failure::new("run-not-shown", message, "check the run's id").with_status(NOT_SHOWN));
        };
        let proposal = gate::proposal_about(state, Some(shown), self.proposal, question.action);
        let proposal = proposal.map_err(|refusal| Failure::from(&refusal))?;
        self.rule(question, shown, proposal)
    }

    /// Whether one proposal would pass.
    fn rule(&self, question: &Question<'_>, shown: &Run, proposal: RecordId) -> Outcome<Found> {
        let Question { context, trust, action, evidence, run } = *question;
        let stops = heeded_in(&context.file("gate")).map_err(|error| {
            Failure::new(
                "open-executions",
                printable(&error.to_string()),
                "look at what is in its directory `stops`",
            )
        })?;
        let size = evidence.checkpoints().last().map_or(0, |shown| shown.head.size.0);
        let executed = shown.proposal(&proposal).and_then(|proposal| proposal.executions.last().copied());
        let ruling = Ruling::Hold(String::new());
        let mut found = Found { ruling, run, proposal, by: Vec::new(), executed, size };
        let runtime = match self.runtime(context, evidence.state(), shown, &proposal) {
            Ok(runtime) => runtime,
            Err(refusal) => return Ok(Found { ruling: Ruling::Refuse(refusal), ..found }),
        };
        let request = Request {
            run,
            proposal,
            action: action.clone(),
            runtime,
            nonce: counterfoil_keys::random_nonce().map_err(|why| signing::key_failure(&why))?,
            is_idempotent: self.idempotent,
            may_repeat: false,
            break_glass: None,
            stops,
            require: trust.require().to_vec(),
        };
        found.ruling = decide(&request, evidence, time::millis(time::now())?);
        if let Ruling::Execute(approved) = &found.ruling {
            let approver = |id: &RecordId| shown.decision(id).map(|decision| decision.approver.to_string());
            found.by = approved.decisions().iter().filter_map(approver).collect();
        }
        Ok(found)
    }

    /// Who would execute it, with a live key of theirs.
    fn runtime(
        &self,
        context: &Context,
        state: &State,
        run: &Run,
        proposal: &RecordId,
    ) -> Result<Author, Refusal> {
        let own = || signing::key(context, Role::Runtime).ok().filter(|key| key.role() == Role::Runtime);
        if self.runtime.is_none()
            && let Some(key) = own()
        {
            return Ok(Author { key: key.key(), principal: key.principal().clone(), role: key.role() });
        }
        let audience = run.proposal(proposal).map(|proposal| &proposal.audience);
        let named = match audience {
            Some(Audience::Principal(principal)) => Some(principal),
            Some(Audience::Group(_)) | None => None,
        };
        let refusal = |code: &str, detail: String| Refusal { code: code.to_owned(), detail };
        let principal = self.runtime.as_ref().or(named).ok_or_else(|| {
            refusal(
                "not-a-runtime",
                "the proposal is for a group: say with --for who would execute it".to_owned(),
            )
        })?;
        let is_live = |facts: &counterfoil_verify::KeyFacts| {
            facts.role == Role::Runtime
                && facts.principal == *principal
                && facts.revoked.is_none()
                && facts.retired.is_none()
        };
        let keys = state.keys();
        let live = keys.iter().find(|(_, facts)| is_live(facts)).map(|(key, _)| *key);
        let key = live
            .ok_or_else(|| refusal("key-unknown", format!("no live runtime key of {principal} is shown")))?;
        Ok(Author { key, principal: principal.clone(), role: Role::Runtime })
    }
}

/// The run of the newest proposal of this action, of one that is approved before all others. The list is a hint: what it names
/// is verified.
fn listed_run(log: &Client, action: &Action) -> Result<Option<RunId>, ClientError> {
    for status in [Some(ProposalStatus::Approved), None] {
        let query = ApprovalQuery { status, tool: Some(action.tool.to_string()), ..ApprovalQuery::default() };
        let listed = log.approvals(&query)?.approvals;
        let same = listed.into_iter().find(|one| one.action.digest == action.digest());
        if let Some(same) = same {
            return Ok(Some(same.run));
        }
    }
    Ok(None)
}

/// The same summary where no proposal was found to rule on.
fn nothing_found(action: &Action, failure: &Failure) -> String {
    let word = if failure.status() == VIOLATED { "refused" } else { "not shown" };
    summary(
        word,
        &[("action", named(action)), ("why", code(&format!("{}: {}", failure.code(), failure.message())))],
    )
}

/// A heading, and a table of what was found.
fn summary(word: &str, rows: &[(&str, String)]) -> String {
    let rows: String = rows.iter().map(|(name, text)| format!("| {name} | {text} |\n")).collect();
    format!("### Counterfoil: {word}\n\n|   |   |\n|---|---|\n{rows}\n")
}

fn named(action: &Action) -> String {
    code(&format!("{} {}", action.tool, action.digest()))
}

impl Found {
    /// For a summary that people read beside the change.
    fn markdown(&self, action: &Action, server: &str) -> String {
        let (word, why) = match &self.ruling {
            Ruling::Execute(_) if self.by.is_empty() => {
                ("allowed", Some("the policy allows it without anybody".to_owned()))
            }
            Ruling::Execute(_) => ("approved", None),
            Ruling::Hold(why) => ("not decided yet", Some(code(why))),
            Ruling::Refuse(refusal) => ("refused", Some(code(&refusal.to_string()))),
        };
        let (proposal, server) = (self.proposal, server.trim_end_matches('/'));
        let link = format!("[{}]({server}/review/{proposal})", code(&proposal.to_string()));
        let mut rows =
            vec![("action", named(action)), ("proposal", link), ("run", code(&self.run.to_string()))];
        if let Some(executed) = &self.executed {
            let link = format!("[{}]({server}/v1/receipts/{executed})", code(&executed.to_string()));
            rows.push(("receipt of what was executed", link));
        }
        if !self.by.is_empty() {
            rows.push(("approved by", self.by.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")));
        }
        rows.extend(why.map(|why| ("why", why)));
        rows.push(("verified", format!("here, as of {} entries of the log", self.size)));
        summary(word, &rows)
    }
}

/// Text of records, so that Markdown reads nothing into it.
fn code(text: &str) -> String {
    let text: String =
        printable(text).chars().map(|c| if matches!(c, '`' | '|') { '\'' } else { c }).collect();
    format!("`{text}`")
}
