//! `counterfoil approvals` and `counterfoil pending`: what waits for whom, by the server's word.

use std::{collections::HashMap, thread, time::Duration};

use clap::{Args, Subcommand};
use counterfoil_client::{
    ApprovalQuery, ApprovalView, Approvals as Listed, Client, ClientError, PinnedClient,
};
use counterfoil_policy::Glob;
use counterfoil_receipt::{Principal, RecordId, Role, RunId};
use counterfoil_verify::ProposalStatus;
use serde_json::json;

use crate::{
    agent::principal,
    approvals_text::{Format, Table, pending_text, to_text},
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    output,
    record::record_id,
    remote, signing, time,
};

/// Approvals on one page (`spec/http.md`).
const PAGE: u64 = 100;
/// The first and the longest pause before a server that does not answer is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Approvals of which is remembered what was said last, so that it is not said twice: some megabytes.
const REMEMBERED: usize = 10_000;

/// List, show and watch proposals, and what was decided about them.
///
/// All of it is the server's word, and nothing is verified: whoever decides verifies first, with `counterfoil approve`.
#[derive(Args, Debug)]
pub struct Approvals {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(List),
    Show(Show),
    Watch(Watch),
}

/// List proposals, the newest first. It is the server's word; deciding verifies.
///
/// Exit status: 0 also if there are none, 2 the server did not say.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil approvals list --status open
  counterfoil approvals list --principal ana --since 7d --format csv > week.csv
  counterfoil approvals list --tool 'db.*' --limit 1000 --format jsonl")]
struct List {
    #[command(flatten)]
    which: Which,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = PAGE, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Show one proposal: who decided what, what it waits for, and until when. It is the server's word; deciding verifies.
///
/// Exit status: 0 it is there, 2 it is not, or the server did not say.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil approvals show sha256:…")]
struct Show {
    /// The proposal
    #[arg(value_parser = record_id)]
    proposal: RecordId,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Print proposals as they change, until interrupted. It is the server's word; deciding verifies.
///
/// Begins with the first change after the start. A server that goes away is asked again, and nothing is missed; of several
/// changes of one proposal at once, the last is printed.
///
/// Exit status: that of the interrupting signal, 130 for Ctrl-C in a shell; 2 the server refuses.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil approvals watch
  counterfoil approvals watch --approver ana --format jsonl")]
struct Watch {
    #[command(flatten)]
    which: Which,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// List what an approver may decide now, with the command that decides each.
///
/// It is the server's word, and nothing is verified: the command that decides fetches and verifies the run, and shows exactly
/// what would be done.
///
/// Exit status: 0 also if nothing waits, 2 the server did not say.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil pending
  counterfoil pending --key keys/ana.key
  counterfoil pending --approver ana --json")]
pub struct Pending {
    /// Who [default: whose key --key is, or DIR/keys/human.key]
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    approver: Option<Principal>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = PAGE, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
}

/// Which proposals.
#[derive(Args, Debug)]
struct Which {
    /// Where they are: open, approved, denied, rejected, changes_requested, superseded, expired, cancelled, executing, succeeded,
    /// failed or unknown
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<ProposalStatus>,
    /// Who proposed them, asked for their run or decided them
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    principal: Option<Principal>,
    /// Who may decide them now
    #[arg(long, value_name = "PRINCIPAL", value_parser = principal)]
    approver: Option<Principal>,
    /// What their tool matches, with * for any string
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    tool: Option<String>,
    /// Proposed since then: how long ago, such as 24h, or a time such as 2026-11-21T10:00:00Z
    #[arg(long, value_name = "DURATION|TIME", value_parser = since)]
    since: Option<u64>,
}

impl Approvals {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::List(command) => command.run(context),
            Command::Show(command) => command.run(context),
            Command::Watch(command) => command.run(context),
        }
    }
}

impl List {
    fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let query = self.which.query();
        if self.format == Format::Jsonl || (self.format == Format::Csv && !context.json) {
            // What comes page by page is printed so.
            output::print(&Table::head(self.format))?;
            each(client.hints()?, query, self.limit, |page| {
                page.iter().try_for_each(|view| output::print(&Table::line(self.format, view)))
            })?;
            return Ok(0);
        }
        let mut all = Vec::new();
        let next = each(client.hints()?, query, self.limit, |page| {
            all.extend(page);
            Ok(())
        })?;
        if context.json {
            let json = json!({"format": "counterfoil-approvals/1", "approvals": all, "next": next});
            output::print_json(&json)?;
        } else {
            output::print(&Table::of(&all))?;
            note_more(next, self.limit);
        }
        Ok(0)
    }
}

impl Show {
    fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let log = client.hints()?;
        let view = match log.approval(self.proposal) {
            Err(ClientError::Refused(problem)) if problem.code == "proposal-unknown" => {
                return Err(self.unknown(log, ClientError::Refused(problem)));
            }
            view => view?,
        };
        match self.format {
            _ if context.json => {
                output::print_json(&json!({"format": "counterfoil-approval/1", "approval": view}))?
            }
            Format::Table => output::print(&to_text(&view, context.style))?,
            Format::Csv | Format::Jsonl => {
                output::print(&(Table::head(self.format) + &Table::line(self.format, &view)))?;
            }
        }
        Ok(0)
    }
}

impl Show {
    /// A run has the id of its trigger, which looks like that of a proposal.
    fn unknown(&self, log: &Client, error: ClientError) -> Failure {
        let failure = Failure::from(error);
        match log.run(RunId::started_by(self.proposal)) {
            Ok(run) => {
                let message = format!("{} is a run, and no proposal", self.proposal);
                let hint = format!("list its proposals with `counterfoil resume {}`", run.run);
                Failure::new(failure.code(), message, hint).with_status(failure.status())
            }
            Err(_) => failure,
        }
    }
}

impl Watch {
    fn run(&self, context: &Context) -> Outcome {
        let client = remote::connect(context)?;
        let format = if context.json { Format::Jsonl } else { self.format };
        // From where the log stands now on nothing is missed.
        let mut after = client.hints()?.size()?.checked_sub(1);
        output::print(&Table::head(format))?;
        let mut said = Said { format, last: HashMap::new() };
        let (query, mut pause) = (self.which.query(), BACKOFF.0);
        loop {
            match said.follow(&client, &query, &mut after) {
                Ok(()) => return Ok(0),
                Err(Stopped::Print(failure)) => return Err(failure),
                Err(Stopped::Server(error, heard)) => {
                    pause = if heard { BACKOFF.0 } else { pause };
                    if !passes(&error) {
                        return Err(error.into());
                    }
                    // An idle stream is renewed without a word.
                    if !heard {
                        let failure = Failure::from(error);
                        output::note(&format!(
                            "{}; asking again in {}\n",
                            failure.message(),
                            time::span(pause.as_millis() as u64)
                        ));
                    }
                }
            }
            thread::sleep(pause);
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

/// Why a stream of changes is not followed any more.
enum Stopped {
    /// Standard output can't be written.
    Print(Failure),
    /// The server; and whether it had answered.
    Server(ClientError, bool),
}

/// What was said of each proposal, in this format.
struct Said {
    format: Format,
    last: HashMap<RecordId, String>,
}

impl Said {
    /// Says what changes until nobody reads it any more.
    fn follow(
        &mut self,
        client: &PinnedClient,
        query: &ApprovalQuery,
        after: &mut Option<u64>,
    ) -> Result<(), Stopped> {
        let unanswered = |error| Stopped::Server(error, false);
        let events = client.hints().and_then(|client| client.approval_events(query, *after));
        for event in events.map_err(unanswered)? {
            let (id, view) = event.map_err(|error| Stopped::Server(error, true))?;
            *after = Some(id);
            let line = Table::line(self.format, &view);
            if self.last.get(&view.proposal) == Some(&line) {
                continue;
            }
            if !output::print_while_read(&line).map_err(Stopped::Print)? {
                return Ok(());
            }
            if self.last.len() >= REMEMBERED {
                self.last.clear();
            }
            self.last.insert(view.proposal, line);
        }
        Ok(())
    }
}

/// Whether it may be otherwise in a moment.
fn passes(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::NoAnswer { .. } | ClientError::Busy { .. } => true,
        ClientError::Refused(problem) => problem.status >= 500,
        _ => false,
    }
}

impl Pending {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        let approver = self.approver(context)?;
        let client = remote::connect(context)?;
        let query = ApprovalQuery { approver: Some(approver.clone()), ..ApprovalQuery::default() };
        let mut all = Vec::new();
        let next = each(client.hints()?, query, self.limit, |page| {
            all.extend(page);
            Ok(())
        })?;
        if context.json {
            output::print_json(&json!({
                "format": "counterfoil-pending/1", "approver": approver.as_str(), "approvals": all, "next": next,
            }))?;
            return Ok(0);
        }
        for view in &all {
            output::print(&pending_text(view, &options(context), context.style))?;
        }
        if all.is_empty() {
            output::note(&format!("nothing waits for {approver}\n"));
        }
        note_more(next, self.limit);
        Ok(0)
    }

    fn approver(&self, context: &Context) -> Outcome<Principal> {
        if let Some(approver) = &self.approver {
            return Ok(approver.clone());
        }
        let key = signing::key(context, Role::Human)?;
        if key.role() == Role::Human {
            return Ok(key.principal().clone());
        }
        let path = signing::key_path(context, Role::Human);
        let message = format!("{} is a key of role {}", shown(&path), key.role());
        Err(Failure::new("role-not-allowed", message, "name a key of role human with --key, or --approver"))
    }
}

/// The options of this command that the next one needs too, as a shell reads them.
fn options(context: &Context) -> String {
    let mut out = String::new();
    let mut add = |name: &str, value: &str| out.push_str(&format!(" {name} {}", quoted(value)));
    if context.dir.as_os_str() != "." {
        add("-C", &context.dir.to_string_lossy());
    }
    if let Some(server) = &context.server {
        add("--server", server);
    }
    if let Some(key) = &context.key {
        add("--key", &key.to_string_lossy());
    }
    out
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Gives `take` each page until there are `limit` approvals; where there are more, the index from which on to look for them.
fn each(
    client: &Client,
    mut query: ApprovalQuery,
    limit: u64,
    mut take: impl FnMut(Vec<ApprovalView>) -> Outcome<()>,
) -> Outcome<Option<u64>> {
    let mut left = limit;
    loop {
        query.limit = Some(left.min(PAGE));
        let Listed { approvals, next, .. } = client.approvals(&query)?;
        left = left.saturating_sub(approvals.len() as u64);
        take(approvals)?;
        // A server that does not go down would be asked for ever.
        let is_further = next.is_none_or(|next| query.before.is_none_or(|before| next < before));
        if !is_further {
            let hint = "check that --server names a counterfoil server";
            return Err(Failure::new("protocol", "the next page of the listing is not below the last", hint));
        }
        query.before = next;
        if next.is_none() || left == 0 {
            return Ok(next);
        }
    }
}

fn note_more(next: Option<u64>, limit: u64) {
    if next.is_some() {
        output::note(&format!("there may be more than {limit}: ask for them with --limit\n"));
    }
}

impl Which {
    fn query(&self) -> ApprovalQuery {
        ApprovalQuery {
            status: self.status,
            principal: self.principal.clone(),
            approver: self.approver.clone(),
            tool: self.tool.clone(),
            since: self.since,
            before: None,
            limit: None,
        }
    }
}

fn status(text: &str) -> Result<ProposalStatus, String> {
    ProposalStatus::parse(text)
        .ok_or_else(|| format!("one of {}", ProposalStatus::ALL.map(ProposalStatus::as_str).join(", ")))
}

fn glob(text: &str) -> Result<String, String> {
    let fault = || format!("{text:?} is not 1–256 bytes with at most 8 stars");
    Glob::new(text).map(|glob| glob.as_str().to_owned()).ok_or_else(fault)
}

fn since(text: &str) -> Result<u64, String> {
    let ago = time::parse_duration(text).map(|ago| time::now().saturating_sub(ago));
    ago.or_else(|_| time::parse_instant(text)).map_err(|_| {
        format!(
            "{text:?} is neither a duration such as 24h, nor a time such as 2026-11-21T10:00:00Z or milliseconds since 1970"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_is() {
        assert_eq!((quoted("keys/ana.key"), quoted("")), ("keys/ana.key".to_owned(), "''".to_owned()));
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn since_is_a_span_or_a_time() {
        assert_eq!(since("2026-11-21T06:07:14Z"), Ok(1_795_241_234_000));
        assert!(since("1h").is_ok_and(|then| time::now() - then < 3_700_000));
        assert!(since("yesterday").is_err() && since("0s").is_err());
    }
}
