//! The three runs: approved; rejected; changes requested, revised, approved. Every line is a process of its own.

use std::cell::RefCell;

use counterfoil_receipt::body::{Body, Type};
use serde_json::{Value, json};

use super::{
    drafting::{self, Event},
    stage::{Actor, Stage},
    tamper::Pieces,
    telling::Telling,
};
use crate::{
    error::{Failure, HELD, Outcome},
    git::Repository,
    text::printable,
};

/// Who plays.
pub struct Cast {
    /// The agent that proposes.
    pub agent: Actor,
    /// The agent that takes over.
    pub second_agent: Actor,
    /// The person who decides.
    pub human: Actor,
    /// Another person who may.
    pub second_human: Actor,
    /// The runtime.
    pub runtime: Actor,
    /// Somebody who has nothing but the trust file.
    pub auditor: Actor,
}

/// What they are given.
pub struct Task {
    /// The alert.
    pub event: Event,
    /// The repository that it is about.
    pub repository: Repository,
    /// The agent's command.
    pub command: String,
    /// The repository's own check.
    pub check: Option<String>,
    /// The branches that were proposed.
    pub branches: RefCell<Vec<String>>,
}

impl Task {
    /// The branches that are there of those that were proposed.
    pub fn made(&self) -> Outcome<Vec<String>> {
        let proposed = self.branches.borrow().clone();
        let made = |branch: &String| self.repository.has_branch(branch);
        proposed
            .into_iter()
            .filter_map(|branch| made(&branch).map(|made| made.then_some(branch)).transpose())
            .collect()
    }
}

/// The play.
pub struct Play<'p> {
    /// Where.
    pub stage: &'p Stage,
    /// Who.
    pub cast: &'p Cast,
    /// About what.
    pub task: &'p Task,
    /// For whom.
    pub telling: Telling,
}

impl Play<'_> {
    /// An agent starts a run for the alert and says what it saw.
    pub fn start(&self) -> Outcome<String> {
        let (agent, event) = (&self.cast.agent, &self.task.event);
        let item = format!("alert.json={}", agent.write("alert.json", &event.bytes)?);
        let begin = [
            "trigger",
            "--source",
            &event.source,
            "--id",
            &event.id,
            "--summary",
            &event.summary,
            "--item",
            &item,
        ];
        let run = self.act(agent, &begin)?.text("run")?;
        self.telling.step(&agent.name, "trigger", &format!("{}: run {}", event.id, short(&run)))?;
        let plan = "Propose a patch; have it approved; have it checked.";
        self.act(agent, &["observe", &run, "--kind", "plan", "--summary", plan])?;
        self.telling.step(&agent.name, "observe", plan)?;
        Ok(run)
    }

    /// The agent works, in a worktree of its own.
    pub fn draft(&self, note: Option<&str>) -> Outcome<String> {
        let Task { event, repository, command, .. } = self.task;
        drafting::draft(repository, &repository.head()?, command, event, note, self.stage)
    }

    /// The agent proposes a patch, exactly; gives the proposal.
    pub fn propose(&self, run: &str, patch: &str, supersedes: Option<&str>) -> Outcome<String> {
        let agent = &self.cast.agent;
        let head = self.task.repository.head()?;
        let revision = if supersedes.is_some() { "-2" } else { "" };
        let branch = format!("counterfoil/{}{revision}", short(run));
        let mut arguments = json!({"base": head.as_str(), "branch": branch});
        self.task.branches.borrow_mut().push(branch);
        if let Some(check) = &self.task.check {
            arguments["check"] = check.as_str().into();
        }
        let action = json!({
            "arguments": arguments, "mode": "apply", "precondition": {"head": head.as_str()},
            "target": self.task.repository.name(), "tool": crate::git_apply::TOOL,
        });
        let action = agent.write("action.json", action.to_string().as_bytes())?;
        let commit = format!("{}={}", crate::git_apply::PATCH, agent.write("fix.patch", patch.as_bytes())?);
        let mut command =
            vec!["propose", run, "--action", &action, "--commit", &commit, "--for", &self.cast.runtime.name];
        command.extend(["--risk", "high", "--summary", &self.task.event.summary]);
        command.extend(supersedes.iter().flat_map(|old| ["--supersedes", *old]));
        let proposal = self.act(agent, &command)?.text("id")?;
        let what = format!("git.apply on {}: {}", self.task.repository.name(), drafting::outline(patch));
        self.telling.step(&agent.name, "propose", &what)?;
        Ok(proposal)
    }

    /// A person approves.
    pub fn approve(&self, who: &Actor, run: &str, terms: &[&str]) -> Outcome<()> {
        self.act(who, &[&["approve", run, "--yes"], terms].concat())?;
        Ok(())
    }

    /// The runtime's gate is asked to let the approved action pass.
    pub fn apply(&self, run: &str) -> Outcome<()> {
        let repository = self.task.repository.path().to_string_lossy().into_owned();
        let said = self.stage.run(&self.cast.runtime, &["gate", "apply", run, "--repo", &repository])?;
        let ended = Came(said.json());
        if ended.0["ended"] != "ran" {
            return Err(said.failure());
        }
        let (detail, execution) = (ended.text("detail")?, ended.text("execution")?);
        let logged = match ended.text("outcome") {
            Ok(outcome) => format!("outcome {} logged", short(&outcome)),
            Err(_) => "outcome not logged".to_owned(),
        };
        let came = format!("execution {} logged; {}; {logged}", short(&execution), shortened(&detail));
        self.telling.step(&self.cast.runtime.name, "gate apply", &came)?;
        if said.status == 0 { Ok(()) } else { Err(self.not_applied(run, &detail)) }
    }

    /// Why an approved patch was not applied: its check failed, or something besides.
    fn not_applied(&self, run: &str, detail: &str) -> Failure {
        let result = match self.bundle(run) {
            Ok(bundle) => bundle.payload("result.json").unwrap_or_default(),
            Err(failure) => return failure,
        };
        let result: Value = serde_json::from_slice(&result).unwrap_or_default();
        let failed = result["checks"].as_array().and_then(|checks| checks.last().cloned());
        let Some(check) = failed.filter(|check| check["exit"] != 0) else {
            let message = format!("the approved patch was not applied: {detail}");
            return Failure::new(
                "apply-failed",
                printable(&message),
                "look at the repository, and try again",
            );
        };
        let status = match check["exit"].as_i64() {
            Some(status) => format!("exit status {status}"),
            None => "a signal".to_owned(),
        };
        let message = format!(
            "the check `{}` failed with {status} on the approved patch{}",
            check["command"].as_str().unwrap_or_default(),
            drafting::said(check["stderr"].as_str().unwrap_or_default())
        );
        let hint =
            "nothing was committed, and that is on record; give a command that passes, or leave out --check";
        Failure::new("check-failed", printable(&message), hint)
    }

    /// The gate is asked, and says no.
    pub fn apply_refused(&self, run: &str, why: &str) -> Outcome<()> {
        let repository = self.task.repository.path().to_string_lossy().into_owned();
        let said = self.stage.run(&self.cast.runtime, &["gate", "apply", run, "--repo", &repository])?;
        match said.codes().as_slice() {
            [code] if said.status != 0 => {
                self.telling.refused(&self.cast.runtime.name, "gate apply", code, why)
            }
            _ => Err(broken("the gate let pass what nobody approved")),
        }
    }

    /// The first run: approved, executed, handed over, continued.
    pub fn approved(&self, patch: &str) -> Outcome<String> {
        let run = self.start()?;
        self.propose(&run, patch, None)?;
        self.telling.patch(patch)?;
        self.approve(&self.cast.human, &run, &["--window", "15m"])?;
        self.telling.step(&self.cast.human.name, "approve", "exactly this, once, for 15 minutes")?;
        self.execute_and_hand_over(&run)?;
        Ok(run)
    }

    /// What follows an approval.
    pub fn execute_and_hand_over(&self, run: &str) -> Outcome<()> {
        let Cast { agent, second_agent, .. } = self.cast;
        self.apply(run)?;
        self.act(
            agent,
            &[
                "handoff",
                run,
                "--to",
                &second_agent.name,
                "--summary",
                "The fix is a branch; watch the alert.",
            ],
        )?;
        self.telling.step(&agent.name, "handoff", &format!("to {}", second_agent.name))?;
        let state = self.act(second_agent, &["resume", run])?;
        self.telling.step(&second_agent.name, "resume", &standing(&state.0))?;
        let saw = "Took over from verified records; the branch waits.";
        self.act(second_agent, &["observe", run, "--kind", "note", "--summary", saw])?;
        self.telling.step(&second_agent.name, "observe", saw)
    }

    /// The second run: rejected.
    pub fn rejected(&self, patch: &str) -> Outcome<String> {
        let run = self.start()?;
        self.propose(&run, patch, None)?;
        let reason = "Not during the sale. Page the provider first.";
        self.act(&self.cast.human, &["reject", &run, "--yes", "--reason", reason])?;
        self.telling.step(&self.cast.human.name, "reject", reason)?;
        self.apply_refused(&run, "nothing was run")?;
        Ok(run)
    }

    /// The third run: sent back, revised, approved.
    pub fn changes(&self, patch: &str) -> Outcome<String> {
        let run = self.start()?;
        let first = self.propose(&run, patch, None)?;
        let note = "Gentler: fewer attempts, a second between them.";
        self.act(&self.cast.human, &["request-changes", &run, "--yes", "--note", note])?;
        self.telling.step(&self.cast.human.name, "request-changes", note)?;
        self.apply_refused(&run, "nothing was run")?;
        let revised = self.draft(Some(&self.note(&run)?))?;
        self.propose(&run, &revised, Some(&first))?;
        self.telling.patch(&revised)?;
        self.approve(&self.cast.human, &run, &["--window", "15m"])?;
        self.telling.step(&self.cast.human.name, "approve", "the revised patch, once, for 15 minutes")?;
        self.apply(&run)?;
        Ok(run)
    }

    /// A run that the person at the terminal decides; whether they approved.
    pub fn interactive(&self, patch: &str) -> Outcome<(String, bool)> {
        let run = self.start()?;
        self.propose(&run, patch, None)?;
        let human = &self.cast.human;
        self.telling.say(&format!("\n  You decide as `{}`. This is what you would sign:\n\n", human.name))?;
        let status = self.stage.ask(human, &["approve", &run, "--window", "15m"])?;
        self.telling.say("\n")?;
        match status {
            0 => {
                self.telling.step(&human.name, "approve", "by your own word")?;
                self.execute_and_hand_over(&run)?;
                Ok((run, true))
            }
            status if status == i32::from(HELD) => {
                self.telling.step(&human.name, "approve", "nothing was signed")?;
                self.apply_refused(&run, "nothing was run")?;
                Ok((run, false))
            }
            status => Err(broken(&format!("`counterfoil approve` ended with {status}"))),
        }
    }

    /// Fetches a run as a file, and has it verified by somebody who has nothing but the trust file.
    pub fn verify(&self, run: &str, name: &str, require: Option<&str>) -> Outcome<Vec<u8>> {
        let auditor = &self.cast.auditor;
        self.act(auditor, &["bundle", run, "--out", name])?;
        let mut command = vec!["verify", name];
        command.extend(require.iter().flat_map(|dimensions| ["--require", *dimensions]));
        let verdict = self.act(auditor, &command)?;
        let passes: Vec<&str> = counterfoil_verify::Dimension::ALL
            .iter()
            .map(|dimension| dimension.as_str())
            .filter(|dimension| verdict.0["dimensions"][*dimension]["answer"] == "pass")
            .collect();
        self.telling.step(&auditor.name, "verify", &format!("offline: {}", passes.join(", ")))?;
        auditor.take(name)
    }

    /// A run's bundle, as its agent gets it.
    pub fn bundle(&self, run: &str) -> Outcome<Pieces> {
        let agent = &self.cast.agent;
        self.act(agent, &["bundle", run, "--out", "run.jsonl"])?;
        Pieces::of(&agent.take("run.jsonl")?).ok_or_else(|| broken("the server gave no bundle"))
    }

    /// Runs a command that has to succeed.
    pub fn act(&self, actor: &Actor, arguments: &[&str]) -> Outcome<Came> {
        self.stage.must(actor, arguments).map(Came)
    }

    /// What the approver wants changed, as the agent finds it in the log.
    fn note(&self, run: &str) -> Outcome<String> {
        let note = self.bundle(run)?.first(Type::Decision).and_then(|record| match record.body() {
            Body::Decision(body) => Some(body.changes.as_ref()?.note.as_ref()?.to_string()),
            _ => None,
        });
        note.ok_or_else(|| broken("the decision has no note"))
    }
}

/// What a command printed.
pub struct Came(pub Value);

impl Came {
    /// A member that is a string.
    pub fn text(&self, name: &str) -> Outcome<String> {
        let text = self.0[name].as_str().map(str::to_owned);
        text.ok_or_else(|| broken(&format!("a command printed no `{name}`: {}", self.0)))
    }
}

/// Where a run stands, on one line.
fn standing(state: &Value) -> String {
    let count = state["records"].as_array().map_or(0, Vec::len);
    let status = state["proposals"][0]["status"].as_str().unwrap_or("?");
    let owner = state["owner"]["principal"].as_str().unwrap_or("?");
    let open = state["open"].as_array().map_or(0, Vec::len);
    format!("{count} records verified: the proposal {status}, {open} left open, the run is {owner}'s")
}

/// The first digits of an id or commit.
pub fn short(id: &str) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    id.get(..8).unwrap_or(id)
}

/// A text with the names of commits in it shortened.
fn shortened(text: &str) -> String {
    let is_hex = |word: &&str| crate::git::Commit::parse(word).is_some();
    let names = text.split(|character: char| !character.is_ascii_alphanumeric()).filter(is_hex);
    names.fold(text.to_owned(), |text, name| text.replace(name, short(name)))
}

/// The demo itself is at fault.
pub fn broken(why: &str) -> Failure {
    Failure::new("demo-broken", printable(why), "this should not happen: please report it").with_status(1)
}
