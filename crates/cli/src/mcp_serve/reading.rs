//! What an agent reads: the state of a run to go on from, verdicts, receipts, bundles. All of it is verified here.

use counterfoil_client::Verified;
use counterfoil_receipt::{Action, ActionDigest, RunId};
use counterfoil_verify::{Answer as Shown, Conclusion, Dimension, Receipt};
use rmcp::model::Resource;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Agent,
    answer::Answer,
    limits,
    propose::parse_action,
    standing::{lines, quoted},
    wait::{count, invalid},
};
use crate::{
    error::{Failure, NOT_SHOWN, Outcome},
    reading::{self, Reading},
    record::{record_id, run_id},
    remote, resume,
    style::Style,
    time, trust,
    verdict::Asked,
};

/// How bundles are named as resources, around the run's id.
pub const BUNDLE: (&str, &str) = ("counterfoil://runs/", "/bundle");
const FINDINGS: usize = 100;

/// Which run is gone on with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    run: String,
}

/// What is verified.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    run: Option<String>,
    bundle: Option<String>,
    path: Option<String>,
    action: Option<Value>,
    action_digest: Option<String>,
    require: Option<Vec<String>>,
}

/// What receipts are about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipts {
    of: String,
}

impl Agent {
    /// Where a run stands, in lines that each name the records that they stand on.
    pub fn resume(&self, asked: &Resume) -> Outcome<Answer> {
        let run = run_id(&asked.run).map_err(|why| invalid(&why))?;
        self.state(run, |_, state| {
            let summary = state.summary();
            let (owner, signs) = state.owner();
            let is_own = signs && owner.key == counterfoil_receipt::Signer::key(&self.actor.key);
            let text = summary.to_string();
            let data = json!({
                "run": run.to_string(),
                "owner": {"principal": owner.principal.as_str(), "key": owner.key.to_string()},
                "is_own": is_own,
                "records": count(state),
                "size": state.size().map(|size| size.0),
                "as_of": state.state().log_time().map(|time| time.get()),
                "head": summary.head,
                "lines": summary.lines,
                "proposals": state.proposals().iter().rev().take(FINDINGS).map(|(id, status, proposal)| json!({
                    "id": id.to_string(),
                    "status": status.as_str(),
                    "tool": proposal.action.tool.as_str(),
                    "digest": proposal.digest.to_string(),
                })).collect::<Vec<_>>(),
                "waits_for": state.pending().iter().rev().take(FINDINGS).map(resume::pending_json).collect::<Vec<_>>(),
                "may_follow": state.next().iter().take(FINDINGS).map(resume::next_json).collect::<Vec<_>>(),
                "left": resume::left_json(&state.budget()),
            });
            let mut answer = Answer::new(text, data);
            answer.links.push(bundle_link(run));
            answer
        })
    }

    /// What a bundle shows, and whether an expected action is in it.
    pub fn verify(&self, asked: &Verify) -> Outcome<Answer> {
        let expected = asked.expected()?;
        let now = time::now();
        let (pinned, given) = (self.actor.client.trust(), [&asked.run, &asked.bundle, &asked.path]);
        let reading = match given {
            [Some(run), None, None] => {
                let run = run_id(run).map_err(|why| invalid(&why))?;
                let fetched = self.actor.client.fetch_evidence(run, time::millis(now)?)?;
                reading::read_bytes(&fetched.bundle, pinned, now)
            }
            [None, Some(bundle), None] if bundle.len() > limits::INLINE_BUNDLE_BYTES => {
                let most = limits::INLINE_BUNDLE_BYTES;
                let message =
                    format!("the bundle has {} bytes, at most {most} are taken in a call", bundle.len());
                return Err(Failure::new("file-too-large", message, "name its run, or its path"));
            }
            [None, Some(bundle), None] => reading::read_bytes(bundle.as_bytes(), pinned, now),
            [None, None, Some(path)] => {
                let bundles = self.bundles.as_ref().ok_or_else(|| {
                    let hint = "give the bundle's text, or its run; the operator may name a directory with --bundles";
                    Failure::new("files-off", "this server reads no files", hint)
                })?;
                let bytes = bundles.read(path)?;
                reading::read_bytes(&bytes, pinned, now)
            }
            _ => return Err(invalid("name exactly one of run, bundle and path")),
        };
        let require = match &asked.require {
            None => pinned.require().to_vec(),
            Some(names) => dimensions(names)?,
        };
        let is_older = given[0].is_none() && self.is_older(&reading)?;
        let asked = Asked { reading: &reading, require: &require, now };
        let mut answer = verdict(&asked, expected);
        answer.data["is_older"] = json!(is_older);
        if is_older {
            answer.text.push_str(
                "the bundle is older than the log as this server has seen it: more may have happened since\n",
            );
        }
        Ok(answer)
    }

    /// What was proposed, decided and executed about a record, and what shows it.
    pub fn receipts(&self, asked: &Receipts) -> Outcome<Answer> {
        let id = record_id(&asked.of).map_err(|why| invalid(&why))?;
        let run = self.run_of(&id)?;
        let now = time::now();
        let fetched = self.actor.client.fetch_evidence(run, time::millis(now)?)?;
        let reading = reading::read_bytes(&fetched.bundle, self.actor.client.trust(), now);
        let asked = Asked { reading: &reading, require: self.actor.client.trust().require(), now };
        let shown = Receipt::of(&reading.verdict, &id, &|id| reading.record(id).cloned());
        let shown = shown.ok_or_else(|| {
            let message = format!("the bundle of {run} does not show {id}");
            Failure::new("not-shown", message, "check the id").with_status(NOT_SHOWN)
        })?;
        let conclusion = asked.conclusion();
        let mut text =
            format!("receipt of {id} in run {run}, which {} asked for\n", quoted(&shown.requester));
        for proposal in &shown.proposals {
            let (tool, digest) = (quoted(&proposal.action.tool), &proposal.action.digest);
            let on = proposal
                .action
                .target
                .as_ref()
                .map_or(String::new(), |target| format!(" on {}", quoted(target)));
            let (by, status) = (quoted(&proposal.agent), proposal.status);
            text.push_str(&format!("proposal {} by {by} is {status}: {tool}{on}, {digest}\n", proposal.id));
            text.push_str(&lines(proposal));
        }
        text.push_str(&asked.to_summary(Style::PLAIN));
        let data = json!({
            "conclusion": conclusion.as_str(),
            "required": asked.require.iter().map(|dimension| dimension.as_str()).collect::<Vec<_>>(),
            "receipt": shown,
            "bundle": bundle_uri(run),
        });
        let mut answer = Answer::new(text, data);
        answer.is_bad = conclusion != Conclusion::Shown;
        answer.links.push(bundle_link(run));
        Ok(answer)
    }

    /// The bytes of a run's bundle, as the log gives them: evidence for whoever verifies it.
    pub fn bundle(&self, run: RunId) -> Outcome<String> {
        let now = time::millis(time::now())?;
        let Verified { bundle, .. } = self.actor.client.fetch_evidence(run, now)?;
        if bundle.len() > limits::BUNDLE_BYTES {
            let message =
                format!("the bundle has {} bytes, more than {}", bundle.len(), limits::BUNDLE_BYTES);
            return Err(Failure::new("file-too-large", message, "fetch it with `counterfoil bundle`"));
        }
        String::from_utf8(bundle).map_err(|_| {
            Failure::new("bundle-malformed", "the bundle is no text", "don't rely on this server")
        })
    }

    /// Whether a bundle that came some other way than from the log is older than what this directory has seen of it. It may be; but it
    /// may not be of another tree.
    fn is_older(&self, reading: &Reading) -> Outcome<bool> {
        if !matches!(reading.verdict.answer(Dimension::Inclusion), Shown::Pass(_)) {
            return Ok(false);
        }
        match remote::is_current(&self.context, self.actor.client.trust(), &reading.verdict) {
            Ok(()) => Ok(false),
            Err(failure) if failure.code() == "stale" => Ok(true),
            Err(failure) => Err(failure),
        }
    }
}

/// The name of a run's bundle as a resource.
pub fn bundle_uri(run: RunId) -> String {
    format!("{}{run}{}", BUNDLE.0, BUNDLE.1)
}

fn bundle_link(run: RunId) -> Resource {
    Resource::new(bundle_uri(run), "bundle").with_mime_type("application/jsonl").with_description(
        "the run's records with all that proves them; `verify` and `counterfoil verify` check it",
    )
}

fn dimensions(names: &[String]) -> Outcome<Vec<Dimension>> {
    let mut require = names.iter().map(|name| trust::dimension(name)).collect::<Result<Vec<_>, _>>();
    if let Ok(require) = &mut require {
        require.sort_unstable();
        require.dedup();
    }
    let require = require.map_err(|why| invalid(&why))?;
    if require.is_empty() { Err(invalid("`require` names no dimension")) } else { Ok(require) }
}

impl Verify {
    /// The digest of the action that has to be there.
    fn expected(&self) -> Outcome<Option<ActionDigest>> {
        match (&self.action, &self.action_digest) {
            (None, None) => Ok(None),
            (Some(action), None) => {
                let mut action = action.clone();
                if let Some(members) = action.as_object_mut() {
                    members.entry("mode").or_insert_with(|| "apply".into());
                    members.entry("arguments").or_insert_with(|| json!({}));
                }
                parse_action(&action).map(|action: Action| Some(action.digest()))
            }
            (None, Some(digest)) => {
                let parsed = ActionDigest::parse(digest);
                parsed
                    .map(Some)
                    .ok_or_else(|| invalid("action_digest is sha256: and 64 lowercase hex digits"))
            }
            (Some(_), Some(_)) => Err(invalid("name the action or its digest, and not both")),
        }
    }
}

/// A verdict; an expected action that is not there is not shown.
fn verdict(asked: &Asked<'_>, expected: Option<ActionDigest>) -> Answer {
    let (reading, mut conclusion) = (asked.reading, asked.conclusion());
    let mut text = asked.to_summary(Style::PLAIN);
    let mut data = asked.to_json();
    if let Some(members) = data.as_object_mut() {
        for name in ["records", "records_left_out", "format", "exit_code"] {
            members.remove(name);
        }
        for name in ["findings", "without_effect", "checkpoints"] {
            if let Some(Value::Array(list)) = members.get_mut(name) {
                list.truncate(FINDINGS);
            }
        }
    }
    if let Some(digest) = expected {
        let run = reading.run();
        let found: Vec<_> = run
            .map(|run| run.proposals())
            .unwrap_or_default()
            .into_iter()
            .filter(|(_, proposal)| proposal.digest == digest)
            .map(|(id, _)| {
                let status = run.and_then(|run| reading.verdict.state().proposal_status(run, &id));
                (id.to_string(), status.map_or("not_shown", |status| status.as_str()))
            })
            .collect();
        for (id, status) in &found {
            text.push_str(&format!("the expected action is proposal {id}, {status}\n"));
        }
        if found.is_empty() {
            text.push_str("NOT SHOWN: no proposal of this run is the expected action\n");
            if conclusion == Conclusion::Shown {
                conclusion = Conclusion::NotShown;
            }
        }
        let proposals: Vec<_> =
            found.iter().map(|(id, status)| json!({"id": id, "status": status})).collect();
        data["action"] =
            json!({"digest": digest.to_string(), "is_shown": !found.is_empty(), "proposals": proposals});
    }
    data["conclusion"] = json!(conclusion.as_str());
    let mut answer = Answer::new(format!("{}\n{text}", headline(conclusion)), data);
    answer.is_bad = conclusion != Conclusion::Shown;
    answer
}

const fn headline(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Shown => "everything that is required is shown",
        Conclusion::Violated => "VIOLATED: the evidence is against it; do not rely on it",
        Conclusion::NotShown => {
            "NOT SHOWN: something that is required is missing; that is no proof of anything"
        }
        Conclusion::Unreadable => "UNREADABLE: this is no whole bundle",
    }
}
