//! `counterfoil policy`: who must approve.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use counterfoil_client::PinnedClient;
use counterfoil_policy::{Explanation, Request};
use counterfoil_receipt::{
    Place, Principal, RecordId, Role, RunId, action::Json, body, body::Risk, limits, text::Label,
};
use counterfoil_verify::{ProposalState, Run};
use serde_json::{Value, json};

use crate::{
    approver,
    context::Context,
    error::{Failure, NOT_SHOWN, Outcome, VIOLATED},
    input, output,
    policy_file::{self, Answer, PolicyFile},
    reading,
    record::record_id,
    remote::{self, Actor},
    signing,
    text::{counted, printable},
    time, trust,
};

/// Show the policy, change it, or try one out.
#[derive(Args, Debug)]
pub struct Policy {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Show(Show),
    Set(Set),
    Check(Check),
    Test(Test),
    Explain(Explain),
    Diff(Diff),
}

/// Print the policy document in force, as the server says.
///
/// What was in force when something was executed is shown by its bundle: `counterfoil verify`.
#[derive(Args, Debug)]
struct Show {}

/// Log a policy document, signed by the authority.
///
/// A document that fits no record is named there by its digest and kept beside the log; bundles carry it. It is in force from its entry on; what was approved under the policy before has to be approved again. Where the log wants
/// several authority keys, each of the others signs it with `counterfoil keys endorse ID`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil policy show > policy.json
  counterfoil policy set policy.json --key keys/authority.key")]
struct Set {
    /// The document (spec/policy.md): a JSON object in any spelling, or TOML; or - for standard input
    file: PathBuf,
}

/// Check a policy file, and print the document that would be logged.
///
/// Prints the canonical JSON to standard output; its digest, and what to think about, to standard error.
#[derive(Args, Debug)]
struct Check {
    /// The policy: JSON, or TOML (docs/policy.md); or - for standard input
    file: PathBuf,
}

/// Run the test cases of a policy file.
///
/// Exit status 1 if one fails.
#[derive(Args, Debug)]
struct Test {
    /// The policy in TOML, with its [[test]] tables
    file: PathBuf,
}

/// Say what a policy says of an action, rule by rule, and why.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  counterfoil policy explain policy.toml action.json --proposer agent --group night --risk high")]
struct Explain {
    /// The policy: JSON or TOML
    file: PathBuf,
    /// The action: a JSON object as in a proposal; or - for standard input
    action: PathBuf,
    /// Who proposes it
    #[arg(long, value_name = "NAME", value_parser = name, default_value = "agent")]
    proposer: Principal,
    /// A group that the proposer belongs to
    #[arg(long = "group", value_name = "NAME", value_parser = name)]
    groups: Vec<Principal>,
    /// The risk that they claim: low, medium, high or critical
    #[arg(long, default_value = "low", value_parser = |word: &str| Risk::parse(word).ok_or("one of low, medium, high, critical"))]
    risk: Risk,
    /// A tag that they claim
    #[arg(long = "tag", value_name = "LABEL", value_parser = |text: &str| Label::new(text).ok_or(Label::SYNTAX))]
    tags: Vec<Label>,
    /// A link of the delegation under which they propose it
    #[arg(long = "delegation", value_name = "ID", value_parser = record_id)]
    delegations: Vec<RecordId>,
}

/// Say what would change from one policy to another.
///
/// Asks both about the test cases of the new one (or of the old, if the new has none), and about every proposal of the
/// bundles given, or of the last runs of the log.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  counterfoil policy diff old.toml new.toml --run run-1.jsonl --run run-2.jsonl
  counterfoil policy show > old.json && counterfoil policy diff old.json new.toml --past 100")]
struct Diff {
    /// The policy as it is
    old: PathBuf,
    /// The policy as it would be
    new: PathBuf,
    /// A bundle whose proposals to ask about, verified under the trust file
    #[arg(long, value_name = "BUNDLE")]
    run: Vec<PathBuf>,
    /// Ask about every proposal of the last COUNT runs of the server's log, each verified under the trust file
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    past: Option<u64>,
}

impl Policy {
    /// Runs the command.
    pub fn run(&self, context: &Context) -> Outcome {
        match &self.command {
            Command::Show(_) => show(context),
            Command::Set(command) => command.run(context),
            Command::Check(command) => command.run(context),
            Command::Test(command) => command.run(context),
            Command::Explain(command) => command.run(context),
            Command::Diff(command) => command.run(context),
        }
    }
}

fn show(context: &Context) -> Outcome {
    let client = remote::connect(context)?;
    let view = client.hints()?.policy()?;
    let (Some(digest), Some(document)) = (view.digest, view.document) else {
        let message = "no policy is in force, so nothing can be approved";
        let hint = "have the authority log one with `counterfoil policy set FILE`";
        return Err(Failure::new("no-policy", message, hint).with_status(NOT_SHOWN));
    };
    let document = document.to_value();
    if context.json {
        output::print_json(&json!({"digest": digest.to_string(), "document": document}))?;
    } else {
        output::note(&format!("policy {digest}, by the server's word\n"));
        output::print_json(&document)?;
    }
    Ok(0)
}

impl Set {
    fn run(&self, context: &Context) -> Outcome {
        let file = PolicyFile::read(&self.file)?;
        let document =
            Json::parse_document(&file.document).map_err(|fault| signing::malformed("the policy", &fault))?;
        let (body, documents) = match fits_a_record(&file.document) {
            true => (body::Policy::Document(document), vec![]),
            false => (body::Policy::Digest(file.digest()), vec![document]),
        };
        let actor = Actor::new(context, Role::Authority)?;
        let prev = actor.client.hints()?.policy()?.prev;
        let place = Place::Chain { log: actor.client.trust().genesis(), prev };
        let record = signing::sign(&actor.key, place, body)?;
        remote::report(context, record.kind(), None, actor.client.submit_with(&record, &[], &documents))
    }
}

/// Whether a policy record can hold the document. What else is in one has less than 1,024 bytes.
const fn fits_a_record(document: &[u8]) -> bool {
    document.len() <= limits::RECORD_BYTES - 1_024
}

impl Check {
    fn run(&self, context: &Context) -> Outcome {
        let file = PolicyFile::read(&self.file)?;
        let mut warnings: Vec<String> = file
            .policy
            .rules()
            .iter()
            .filter(|rule| rule.allows_on_claims())
            .map(|rule| {
                let name = rule.name();
                format!("rule {name} allows because of risk or tags, which whoever proposes may claim as they like")
            })
            .collect();
        if !fits_a_record(&file.document) {
            let bytes = file.document.len();
            warnings.push(format!("the document has {bytes} bytes and fits no record: its digest is logged, and each bundle carries it"));
        }
        if context.json {
            let document: Value = serde_json::from_slice(&file.document).unwrap_or_default();
            let digest = file.digest().to_string();
            output::print_json(&json!({"digest": digest, "document": document, "warnings": warnings}))?;
            return Ok(0);
        }
        output::note(&format!(
            "policy {}, {}\n",
            file.digest(),
            counted(file.policy.rules().len() as u64, "rule")
        ));
        warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}\n")));
        output::print_bytes(&[&file.document[..], b"\n"].concat())?;
        Ok(0)
    }
}

impl Test {
    fn run(&self, context: &Context) -> Outcome {
        let file = PolicyFile::read(&self.file)?;
        let mut failed = 0;
        let mut results = Vec::new();
        for test in &file.tests {
            let answer = test.ask(&file.policy)?;
            let passed = test.is_met_by(&answer);
            failed += u64::from(!passed);
            let rules = if answer.rules.is_empty() {
                String::new()
            } else {
                format!(" by {}", answer.rules.join(", "))
            };
            if context.json {
                results.push(json!({"name": test.name, "passed": passed, "expected": test.expect,
                    "answer": answer.outcome, "rules": answer.rules, "why": answer.why}));
            } else if passed {
                output::print(&printable_line(&format!("ok    {}: {}{rules}", test.name, answer.outcome)))?;
            } else {
                let (name, expected, said, why) = (&test.name, &test.expect, &answer.outcome, &answer.why);
                output::print(&printable_line(&format!(
                    "FAIL  {name}: expected {expected}, is {said}{rules}: {why}"
                )))?;
            }
        }
        if context.json {
            output::print_json(&json!({"tests": results, "failed": failed}))?;
        } else {
            output::note(&format!("{}, {failed} failed\n", counted(file.tests.len() as u64, "test")));
        }
        Ok(if failed > 0 { VIOLATED } else { 0 })
    }
}

impl Explain {
    fn run(&self, context: &Context) -> Outcome {
        let file = PolicyFile::read(&self.file)?;
        let action = approver::read_action(&self.action)?;
        let request = Request::new(&action, self.risk, &self.tags, &self.proposer, &self.groups)
            .under(&self.delegations);
        let explanation = file.policy.explain(&request);
        if context.json {
            let explanation = serde_json::to_value(&explanation).unwrap_or_default();
            output::print_json(&explanation)?;
            return Ok(0);
        }
        output::print(&explained(&explanation))?;
        Ok(0)
    }
}

fn explained(explanation: &Explanation) -> String {
    let mut lines = vec![match (&explanation.denial, explanation.uses) {
        (Some(denial), _) => format!("denied: {denial}"),
        (None, uses) => format!("{}, {} at most", explanation.answer, counted(uses, "use")),
    }];
    if let Some(window) = explanation.window {
        lines.push(format!("approved for {} at most", time::span(window)));
    }
    if explanation.break_glass {
        lines.push("break-glass is allowed".to_owned());
    }
    if explanation.retries > 0 {
        let times = if explanation.retries == 1 {
            "once".to_owned()
        } else {
            format!("{} times at most", explanation.retries)
        };
        lines.push(format!("what stays unknown may be tried again {times}"));
    }
    if explanation.preview {
        lines.push(
            "executed only after a preview of it succeeded, which the proposal names as a parent".to_owned(),
        );
    }
    if !explanation.evidence.is_empty() {
        lines.push(format!("executed only where {} is shown", explanation.evidence.join(" and ")));
    }
    for reason in &explanation.rules {
        let applies = if reason.applies { "applies" } else { "does not apply" };
        lines.push(format!("{} {}: {}, {applies}", reason.effect, reason.rule, reason.matches));
        lines.extend(reason.because.iter().map(|because| format!("  {because}")));
        lines.extend(reason.wants.iter().map(|wants| format!("  wants {wants}")));
    }
    lines.iter().map(|line| printable_line(line)).collect()
}

fn printable_line(text: &str) -> String {
    printable(text) + "\n"
}

impl Diff {
    fn run(&self, context: &Context) -> Outcome {
        let (old, new) = (PolicyFile::read(&self.old)?, PolicyFile::read(&self.new)?);
        let mut changes = Vec::new();
        let tests = if new.tests.is_empty() { &old.tests } else { &new.tests };
        for test in tests {
            let (before, after) = (test.ask(&old.policy)?, test.ask(&new.policy)?);
            let said = |answer: &Answer| said(&answer.outcome, &answer.rules);
            changes.push(Change {
                what: format!("test {}", test.name),
                before: said(&before),
                after: said(&after),
            });
        }
        if !self.run.is_empty() {
            let trust = trust::load(&context.trust_path())?;
            for path in &self.run {
                let reading = reading::read(path, &trust, time::now())?;
                changes.extend(proposed(reading.run(), &old, &new, || input::shown(path))?);
            }
        }
        if let Some(most) = self.past {
            let client = remote::connect(context)?;
            for run in last_runs(&client, most)? {
                let fetched = client.fetch_verified(run, time::millis(time::now())?)?;
                let shown = fetched.verdict.state().run(&run);
                changes.extend(proposed(shown, &old, &new, || format!("the bundle of {run}"))?);
            }
        }
        let asked = changes.len() as u64;
        changes.retain(|change| change.before != change.after);
        if context.json {
            let list: Vec<Value> = changes
                .iter()
                .map(|change| json!({"what": change.what, "old": change.before, "new": change.after}))
                .collect();
            output::print_json(&json!({"asked": asked, "changes": list}))?;
            return Ok(0);
        }
        for Change { what, before, after } in &changes {
            output::print(&printable_line(&format!("{what}: {before} -> {after}")))?;
        }
        output::note(&format!("{} of {asked} would change\n", changes.len()));
        Ok(0)
    }
}

/// What the policies say of each proposal of a run, which `source` has to show.
fn proposed(
    run: Option<&Run>,
    old: &PolicyFile,
    new: &PolicyFile,
    source: impl FnOnce() -> String,
) -> Outcome<Vec<Change>> {
    let run = run.ok_or_else(|| {
        let message = format!("{} shows no run", source());
        Failure::new("run-not-shown", message, "see what is wrong with `counterfoil verify`")
    })?;
    let change = |(id, proposal): (RecordId, &ProposalState)| {
        let said = |policy: &counterfoil_policy::Policy| {
            let assessment = policy.assess(&proposal.request());
            said(assessment.as_str(), &policy_file::applying(&assessment))
        };
        let what = format!("proposal {id} {}", proposal.action.tool);
        Change { what, before: said(&old.policy), after: said(&new.policy) }
    };
    Ok(run.proposals().into_iter().map(change).collect())
}

/// The last runs of the log, the newest first; which there are is the server's word.
fn last_runs(client: &PinnedClient, most: u64) -> Outcome<Vec<RunId>> {
    let (mut runs, mut before) = (Vec::new(), None);
    loop {
        let left = most - runs.len() as u64;
        let page = client.hints()?.runs(before, left.min(RUNS_OF_A_PAGE))?;
        runs.extend(page.runs.iter().take(left as usize).map(|run| run.run));
        before = page.next;
        if before.is_none() || runs.len() as u64 >= most {
            return Ok(runs);
        }
    }
}

/// Runs that a server lists at once (`spec/http.md`).
const RUNS_OF_A_PAGE: u64 = 1_000;

/// What two policies say of one case.
struct Change {
    what: String,
    before: String,
    after: String,
}

fn said(outcome: &str, rules: &[String]) -> String {
    if rules.is_empty() { outcome.to_owned() } else { format!("{outcome} by {}", rules.join(", ")) }
}

fn name(text: &str) -> Result<Principal, String> {
    Principal::new(text).ok_or_else(|| format!("{text:?} is not {}", Principal::SYNTAX))
}
