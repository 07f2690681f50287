//! A policy as a file: TOML for people, with test cases, or the JSON of the document.

use std::path::Path;

use counterfoil_policy::{Approval, Approver, Assessment, Denial, Policy, Request, Shortfall, Voice, limits};
use counterfoil_receipt::{
    Action, Malformed, PolicyDigest, Principal, RecordId,
    body::{Risk, Surface},
    json,
    text::{Group, Label, RuleName},
};
use counterfoil_verify::Rule;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::{Failure, Outcome},
    input,
    text::printable,
    time,
};

/// A policy that was read, and the test cases that stood beside it.
pub struct PolicyFile {
    /// The canonical document.
    pub document: Vec<u8>,
    /// What it says.
    pub policy: Policy,
    /// Test cases; they are no part of the document.
    pub tests: Vec<Test>,
}

/// A case, and what the policy should say of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What it is about, for a person.
    pub name: String,
    /// `allowed`, `approved`, or the code of what is not met.
    pub expect: String,
    /// The rules that should apply; not looked at if absent.
    rules: Option<Vec<String>>,
    action: Value,
    #[serde(default = "proposer")]
    proposer: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default = "risk")]
    risk: String,
    #[serde(default)]
    tags: Vec<String>,
    /// The links of the delegation under which it is proposed.
    #[serde(default)]
    delegations: Vec<String>,
    /// Who signed the trigger; the proposer if absent.
    requester: Option<String>,
    runtime: Option<String>,
    #[serde(default)]
    approvals: Vec<Given>,
}

/// An approval of a test case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default = "nobody")]
    principal: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default = "surface")]
    surface: String,
    #[serde(default = "scheme")]
    scheme: String,
    #[serde(default = "one")]
    uses: u64,
    #[serde(default = "window")]
    window: String,
    /// The rule whose time is out, in the place of somebody's decision.
    timeout: Option<String>,
    /// Steps of escalation that stood before.
    #[serde(default)]
    escalated: Vec<Escalated>,
}

/// A step of a rule's escalation, from 1.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Escalated {
    rule: String,
    step: u64,
}

/// The names in an approval.
struct Names {
    principal: Principal,
    groups: Vec<Group>,
    timeout: Option<RuleName>,
    escalated: Vec<(RuleName, u64)>,
}

fn proposer() -> String {
    "agent".to_owned()
}

/// Whom an approval by time-out names: nobody asks who signs it.
fn nobody() -> String {
    "nobody".to_owned()
}

fn risk() -> String {
    Risk::Low.to_string()
}

fn surface() -> String {
    Surface::Terminal.to_string()
}

fn scheme() -> String {
    "ed25519".to_owned()
}

const fn one() -> u64 {
    1
}

/// A millisecond: within the window of every rule.
fn window() -> String {
    String::new()
}

/// What a policy says of a test case.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// `allowed`, `approved`, or a code.
    pub outcome: String,
    /// The rules that apply.
    pub rules: Vec<String>,
    /// Why, for a person.
    pub why: String,
}

impl PolicyFile {
    /// Reads a file, or standard input. What starts with a brace is the document in JSON, anything else is TOML.
    pub fn read(path: &Path) -> Outcome<Self> {
        let text = input::read_text(path, "policy", limits::DOCUMENT_BYTES * 2)?;
        let (document, tests) = if text.trim_start().starts_with('{') {
            (from_json(&text)?, Vec::new())
        } else {
            from_toml(&text)?
        };
        let policy = Policy::parse(&document).map_err(|fault| {
            let message = printable(&format!("no log would take it: {fault}"));
            Failure::new("policy-unreadable", message, "compare it with spec/policy.md")
        })?;
        Ok(Self { document, policy, tests })
    }

    /// The digest of the document.
    pub fn digest(&self) -> PolicyDigest {
        PolicyDigest::of(&self.document)
    }
}

fn from_json(text: &str) -> Outcome<Vec<u8>> {
    let limits =
        json::Limits { bytes: limits::DOCUMENT_BYTES * 2, depth: counterfoil_receipt::limits::DEPTH };
    json::canonicalize_input(text.as_bytes(), &limits).map_err(|error| {
        let fault = Malformed::from(error);
        let message =
            printable(&format!("the policy is no usable JSON ({}): {}", fault.code.id(), fault.detail));
        Failure::new(fault.code.code(), message, "write one JSON object without duplicate names")
    })
}

fn from_toml(text: &str) -> Outcome<(Vec<u8>, Vec<Test>)> {
    let wrong =
        |message: String| Failure::new("policy-file", printable(&message), "compare it with docs/policy.md");
    let table: toml::Table =
        text.parse().map_err(|error| wrong(format!("the policy is no TOML: {error}")))?;
    let mut document = serde_json::to_value(table).map_err(|error| wrong(error.to_string()))?;
    let tests =
        document.as_object_mut().and_then(|members| members.remove("test")).unwrap_or_else(|| json!([]));
    let tests: Vec<Test> =
        serde_json::from_value(tests).map_err(|error| wrong(format!("a [[test]] can't be read: {error}")))?;
    for rule in document.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten() {
        let steps = rule.get("escalation").and_then(Value::as_array).map_or(0, Vec::len);
        let steps = (0..steps).map(|at| format!("/escalation/{at}/after"));
        for path in ["/window".to_owned(), "/timeout/after".to_owned()].into_iter().chain(steps) {
            let Some(length) = rule.pointer_mut(&path) else { continue };
            if let Value::String(text) = length {
                let millis = time::parse_duration(text).map_err(|error| wrong(format!("{path}: {error}")))?;
                *length = millis.into();
            }
        }
    }
    sort_lists(&mut document);
    let canonical = json::to_canonical(&document).map_err(|error| wrong(error.to_string()))?;
    Ok((canonical, tests))
}

/// Lists of plain values are sets, and a document has them in order; people write them as they like.
fn sort_lists(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(sort_lists),
        Value::Array(elements) if elements.iter().any(|one| one.is_object() || one.is_array()) => {
            elements.iter_mut().for_each(sort_lists);
        }
        Value::Array(elements) => {
            elements
                .sort_by_cached_key(|one| (one.is_string(), one.as_i64(), one.as_str().map(str::to_owned)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Test {
    /// Whether this is the answer that the case expects.
    pub fn is_met_by(&self, answer: &Answer) -> bool {
        let sorted = |rules: &[String]| {
            let mut rules = rules.to_vec();
            rules.sort_unstable();
            rules
        };
        answer.outcome == self.expect
            && self.rules.as_ref().is_none_or(|rules| sorted(rules) == sorted(&answer.rules))
    }

    /// What a policy says of it.
    pub fn ask(&self, policy: &Policy) -> Outcome<Answer> {
        self.try_ask(policy).map_err(|why| {
            let message = printable(&format!("test {:?}: {why}", self.name));
            Failure::new("policy-file", message, "compare it with docs/policy.md")
        })
    }

    fn try_ask(&self, policy: &Policy) -> Result<Answer, String> {
        let action = self.action()?;
        let (proposer, groups) = (name(&self.proposer)?, names(&self.groups)?);
        let delegations = self
            .delegations
            .iter()
            .map(|id| parsed(RecordId::parse(id), id))
            .collect::<Result<Vec<_>, _>>()?;
        let tags = self
            .tags
            .iter()
            .map(|tag| parsed(Label::new(tag.as_str()), tag))
            .collect::<Result<Vec<_>, _>>()?;
        let request =
            Request::new(&action, parsed(Risk::parse(&self.risk), &self.risk)?, &tags, &proposer, &groups)
                .under(&delegations);
        let approvers = self.approvals.iter().map(Given::names).collect::<Result<Vec<_>, _>>()?;
        let approvals = self
            .approvals
            .iter()
            .zip(&approvers)
            .map(|(one, who)| one.approval(who))
            .collect::<Result<Vec<_>, _>>()?;
        let requester = self.requester.as_ref().unwrap_or(&self.proposer);
        let involved: Vec<&str> = [Some(requester), Some(&self.proposer), self.runtime.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        Ok(answer(&policy.assess(&request), &involved, &approvals))
    }

    /// The action; `mode` and `arguments` may be left out.
    fn action(&self) -> Result<Action, String> {
        let mut value = self.action.clone();
        let members = value.as_object_mut().ok_or("the action is no table")?;
        members.entry("mode").or_insert_with(|| json!("apply"));
        members.entry("arguments").or_insert_with(|| json!({}));
        let canonical = json::to_canonical(&value).map_err(|error| error.to_string())?;
        Action::parse(&canonical).map_err(|fault| format!("the action is not well formed: {fault}"))
    }
}

impl Given {
    fn names(&self) -> Result<Names, String> {
        let step = |one: &Escalated| Ok((name(&one.rule)?, one.step));
        Ok(Names {
            principal: name(&self.principal)?,
            groups: names(&self.groups)?,
            timeout: self.timeout.as_deref().map(name).transpose()?,
            escalated: self.escalated.iter().map(step).collect::<Result<_, String>>()?,
        })
    }

    fn approval<'a>(&'a self, names: &'a Names) -> Result<Approval<'a>, String> {
        let surface = parsed(Surface::parse(&self.surface), &self.surface)?;
        let window = if self.window.is_empty() { 1 } else { time::parse_duration(&self.window)? };
        let voice = match (&names.timeout, surface) {
            (Some(rule), _) => Voice::Timeout(rule),
            (None, Surface::Link) => Voice::Link,
            (None, _) => Voice::Own,
        };
        let (principal, groups, escalated) = (&names.principal, &names.groups, &names.escalated);
        let approver = Approver {
            principal,
            signer: principal,
            voice,
            groups,
            surface,
            scheme: &self.scheme,
            escalated,
        };
        Ok(Approval { approver, uses: self.uses, window })
    }
}

fn answer(assessment: &Assessment<'_>, involved: &[&str], approvals: &[Approval<'_>]) -> Answer {
    let (outcome, why) = match assessment.evaluate(involved, approvals) {
        Ok(_) if matches!(assessment, Assessment::Allowed(_)) => {
            ("allowed", "no approval is wanted".to_owned())
        }
        Ok(_) => ("approved", "the approvals suffice".to_owned()),
        Err(shortfall) => (code(&shortfall), shortfall.to_string()),
    };
    Answer { outcome: outcome.to_owned(), rules: applying(assessment), why }
}

/// The rules that an assessment rests on.
pub fn applying(assessment: &Assessment<'_>) -> Vec<String> {
    match assessment {
        Assessment::Allowed(rules) => rules.iter().map(|one| one.rule.to_string()).collect(),
        Assessment::Required(rules) => rules.iter().map(|one| one.rule.to_string()).collect(),
        Assessment::Denied(Denial::Rules(rules)) => rules.clone(),
        Assessment::Denied(Denial::FreePath(_) | Denial::NoRule) => Vec::new(),
    }
}

const fn code(shortfall: &Shortfall) -> &'static str {
    match shortfall {
        Shortfall::Denied(Denial::FreePath(_)) => Rule::FreePathRefused.code(),
        Shortfall::Denied(Denial::Rules(_) | Denial::NoRule) => Rule::PolicyDenied.code(),
        Shortfall::Quorum { .. } => Rule::QuorumNotMet.code(),
        Shortfall::Segregation(_) => Rule::Segregation.code(),
        Shortfall::Terms { .. } => Rule::TermsExceedPolicy.code(),
    }
}

fn name(text: &str) -> Result<Principal, String> {
    parsed(Principal::new(text), text)
}

fn names(texts: &[String]) -> Result<Vec<Group>, String> {
    texts.iter().map(|text| name(text)).collect()
}

fn parsed<T>(value: Option<T>, text: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("{text:?} can't stand there"))
}
