//! `counterfoil gate check`: would this be let pass now? For scripts, and for jobs that hold no key.

use std::{fmt::Write as _, fs::OpenOptions, io::Write as _, path::PathBuf};

use clap::Args;
use counterfoil_client::ApprovalQuery;
use counterfoil_gate::{Refusal, Request, Ruling, decide, heeded_in};
use counterfoil_receipt::{Action, Author, Principal, RecordId, Role, RunId, Signer as _, body::Audience};
use counterfoil_verify::{Run, State, Trust, Verdict};
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
    time, trust,
};

/// Say whether an action would be let pass now, without logging or running anything.
///
/// The action is a command after `--`, or a file. Everything is verified here, under the trust file, and no key is needed: a job that
/// deploys can ask before it does, and a merge can wait for it.
///
/// Exit status: 0 it would, 1 refused, 3 not shown, 4 not decided yet.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil gate check sha256:… -- make deploy
  counterfoil gate check --action deploy.json --for runtime --markdown \"$GITHUB_STEP_SUMMARY\"
  counterfoil gate check --bundle run.jsonl --action deploy.json --for runtime")]
pub struct Check {
    /// The run [default: that of the bundle, or of the newest proposal of this action]
    #[arg(value_parser = run_id)]
    run: Option<RunId>,
    /// The proposal [default: the last of the run that is about this action]
    #[arg(long, value_name = "ID", value_parser = record_id)]
    proposal: Option<RecordId>,
    /// The action, as JSON, instead of a command
    #[arg(long, value_name = "FILE", conflicts_with = "argv", required_unless_present = "argv")]
    action: Option<PathBuf>,
    /// Who would execute it [default: whose runtime key is here, or else whom the proposal names]
    #[arg(long = "for", value_name = "NAME", value_parser = |name: &str| Principal::new(name).ok_or("no name"))]
    runtime: Option<Principal>,
    /// Read this bundle instead of asking the server
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
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
    /// Who approved it.
    by: Vec<String>,
    size: u64,
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
        let trust = trust::load(&context.trust_path())?;
        let (evidence, run) = self.evidence(context, &trust, &action)?;
        let found = self.decide(context, &trust, &action, &evidence, run)?;
        if let Some(path) = &self.markdown {
            let text = found.markdown(&action, &remote::server_url(context)?);
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| output::unwritable(path, &error))?;
        }
        match found.ruling {
            Ruling::Execute(_) => {
                if let Some(command) = command {
                    command.can_start().map_err(|error| gate::unfit(&error))?;
                }
                let json = json!({"ruling": "execute", "run": run.to_string(), "proposal": found.proposal.to_string(), "approved_by": found.by});
                gate::say(context, &json, "it would be executed: exactly this was approved")?;
                Ok(0)
            }
            Ruling::Hold(why) => Err(gate::held(&why)),
            Ruling::Refuse(refusal) => Err(gate::refused(&refusal.code, &refusal.detail)),
        }
    }

    /// What shows the run that is about the action.
    fn evidence(&self, context: &Context, trust: &Trust, action: &Action) -> Outcome<(Verdict, RunId)> {
        let now = time::now();
        if let Some(path) = &self.bundle {
            let verdict = reading::read(path, trust, now)?.verdict;
            let unread = || {
                let why = verdict.findings().first().map_or("nothing".to_owned(), ToString::to_string);
                let hint = "fetch it again with `counterfoil bundle RUN --out FILE`";
                Failure::new(
                    "bundle-unreadable",
                    format!("the bundle shows no run: {}", printable(&why)),
                    hint,
                )
                .with_status(NOT_SHOWN)
            };
            let run = self.run.or(verdict.run_id()).ok_or_else(unread)?;
            return Ok((verdict, run));
        }
        let client = remote::connect(context)?;
        let run = match self.run {
            Some(run) => run,
            None => {
                let query = ApprovalQuery { tool: Some(action.tool.to_string()), ..ApprovalQuery::default() };
                let listed = client.hints()?.approvals(&query)?.approvals;
                // The list is a hint, as the newest first; what it names is verified.
                let same = listed.into_iter().find(|one| one.action.digest == action.digest());
                same.map(|one| one.run).ok_or_else(|| {
                    let message = "no recent proposal is about exactly this action";
                    Failure::new("action-differs", message, "propose it, or name the run")
                        .with_status(VIOLATED)
                })?
            }
        };
        Ok((client.fetch_verified(run, time::millis(now)?)?.verdict, run))
    }

    fn decide(
        &self,
        context: &Context,
        trust: &Trust,
        action: &Action,
        evidence: &Verdict,
        run: RunId,
    ) -> Outcome<Found> {
        let state = evidence.state();
        let shown = state.run(&run);
        if shown.is_none() {
            let why = evidence
                .findings()
                .first()
                .map_or("no trigger of it is shown".to_owned(), ToString::to_string);
            let message = format!("run {run} is not shown: {}", printable(&why));
            return Err(Failure::new("run-not-shown", message, "check the run's id").with_status(NOT_SHOWN));
        }
        let proposal = gate::proposal_about(state, shown, self.proposal, action)?;
        let stops = heeded_in(&context.file("gate")).map_err(|error| {
            Failure::new(
                "open-executions",
                printable(&error.to_string()),
                "look at what is in its directory `stops`",
            )
        })?;
        let size = evidence.checkpoints().last().map_or(0, |shown| shown.head.size.0);
        let mut found = Found { ruling: Ruling::Hold(String::new()), run, proposal, by: Vec::new(), size };
        let runtime = match self.runtime(context, state, shown, &proposal) {
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
            break_glass: None,
            stops,
            require: trust.require().to_vec(),
        };
        found.ruling = decide(&request, evidence, time::millis(time::now())?);
        if let (Ruling::Execute(approved), Some(run)) = (&found.ruling, shown) {
            let approver = |id: &RecordId| run.decision(id).map(|decision| decision.approver.to_string());
            found.by = approved.decisions().iter().filter_map(approver).collect();
        }
        Ok(found)
    }

    /// Who would execute it, with a live key of theirs.
    fn runtime(
        &self,
        context: &Context,
        state: &State,
        run: Option<&Run>,
        proposal: &RecordId,
    ) -> Result<Author, Refusal> {
        let own = || signing::key(context, Role::Runtime).ok().filter(|key| key.role() == Role::Runtime);
        if self.runtime.is_none()
            && let Some(key) = own()
        {
            return Ok(Author { key: key.key(), principal: key.principal().clone(), role: key.role() });
        }
        let audience = run.and_then(|run| run.proposal(proposal)).map(|proposal| &proposal.audience);
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

impl Found {
    /// For a summary that people read beside the change.
    fn markdown(&self, action: &Action, server: &str) -> String {
        let (word, why) = match &self.ruling {
            Ruling::Execute(_) => ("approved", String::new()),
            Ruling::Hold(why) => ("not decided yet", why.clone()),
            Ruling::Refuse(refusal) => ("refused", refusal.to_string()),
        };
        let mut out = format!("### Counterfoil: {word}\n\n|   |   |\n|---|---|\n");
        let mut row = |name: &str, text: &str| {
            // Writing to a string can't fail.
            let _ = writeln!(out, "| {name} | {text} |");
        };
        row("action", &code(&format!("{} {}", action.tool, action.digest())));
        row(
            "proposal",
            &format!(
                "[{}]({}/review/{})",
                code(&self.proposal.to_string()),
                server.trim_end_matches('/'),
                self.proposal
            ),
        );
        row("run", &code(&self.run.to_string()));
        if !self.by.is_empty() {
            row("approved by", &self.by.iter().map(|name| code(name)).collect::<Vec<_>>().join(", "));
        }
        if !why.is_empty() {
            row("why", &code(&why));
        }
        row("verified", &format!("here, as of {} entries of the log", self.size));
        out.push('\n');
        out
    }
}

/// Text of records, so that Markdown reads nothing into it.
fn code(text: &str) -> String {
    let text: String =
        printable(text).chars().map(|c| if matches!(c, '`' | '|') { '\'' } else { c }).collect();
    format!("`{text}`")
}
