//! `bundles/`: a bundle, a trust file and a time, and the verdict that they give.

mod claims;
mod delegations;
mod ends;
mod faults;
mod retries;
mod timers;
mod validity;

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_receipt::{
    Principal, Role, RunId,
    action::Json,
    body::{Audience, Policy},
};
use counterfoil_testkit::{Actor, ORIGIN, Scenario, TrustFile, action, policy_document, witness};
use counterfoil_tlog::{SeedSigner, Signer, UnverifiedNote, sign_note};
use counterfoil_verify::{Answer, Assembly, Dimension, Finding, verify};
use serde_json::{Value, json};

use super::{Files, heading, insert};

/// A bundle, and the one rule that does not hold.
pub struct Case {
    name: &'static str,
    description: &'static str,
    flags: &'static [&'static str],
    breaks: Option<&'static str>,
    build: fn() -> Shown,
}

/// What a reader has.
pub struct Shown {
    pub bundle: Vec<u8>,
    pub trust: TrustFile,
    pub now: u64,
}

impl Shown {
    /// The bundle of a run, to a reader who trusts its log.
    pub fn of(scenario: &Scenario, run: RunId) -> Self {
        Self::assembled(scenario, &scenario.ledger.assembly(run))
    }

    /// A bundle made of other parts.
    pub fn assembled(scenario: &Scenario, assembly: &Assembly) -> Self {
        let bundle = assembly.to_bytes().expect("counts within their limits");
        Self { bundle, trust: scenario.ledger.trust(), now: scenario.ledger.now() }
    }
}

pub fn generate(files: &mut Files) {
    let mut trusts: BTreeMap<String, String> = BTreeMap::new();
    for case in [
        valid(),
        faults::cases(),
        claims::cases(),
        ends::cases(),
        validity::cases(),
        delegations::cases(),
        timers::cases(),
        retries::cases(),
    ]
    .into_iter()
    .flatten()
    {
        let shown = (case.build)();
        let text = shown.trust.to_toml();
        let trust = trusts.entry(text.clone()).or_insert_with(|| {
            let name = format!("{}.toml", if case.name == "valid-approved" { "standard" } else { case.name });
            files.insert(format!("bundles/{name}"), text.into_bytes());
            name
        });
        let mut vector = heading(case.name, case.description, case.flags, case.breaks.is_some());
        vector.insert("bundle".to_owned(), json!(format!("{}.jsonl", case.name)));
        vector.insert("trust".to_owned(), json!(trust));
        vector.insert("now".to_owned(), json!(shown.now));
        vector.insert("expect".to_owned(), expect(&case, &shown));
        files.insert(format!("bundles/{}.jsonl", case.name), shown.bundle);
        insert(files, &format!("bundles/{}.json", case.name), &Value::Object(vector));
    }
}

/// What the reference implementation says, which must be what the case is for.
fn expect(case: &Case, shown: &Shown) -> Value {
    let trust = shown.trust.trust();
    let verdict = verify(&shown.bundle, &trust, shown.now);
    let conclusion = verdict.conclude(trust.require());
    // What is not shown is no fault beside what is broken, nor where it was not asked for.
    let rules = |of: &dyn Fn(&Finding) -> bool| -> BTreeSet<&str> {
        verdict.findings().iter().filter(|finding| of(finding)).map(|finding| finding.rule).collect()
    };
    let mut broken = rules(&|finding| finding.shown == counterfoil_verify::Shown::Violated);
    if broken.is_empty() {
        broken = rules(&|finding| trust.require().contains(&finding.dimension));
    }
    assert_eq!(broken, case.breaks.into_iter().collect(), "{}: {:#?}", case.name, verdict.findings());
    assert_eq!(conclusion.exit_code() == 0, case.breaks.is_none(), "{}: {conclusion}", case.name);
    let answers = Dimension::ALL.iter().map(|dimension| {
        let answer = match verdict.answer(*dimension) {
            Answer::Pass(_) => "pass",
            Answer::Fail => "fail",
            Answer::NotShown(_) => "not_shown",
        };
        (dimension.as_str().to_owned(), json!(answer))
    });
    let answers: serde_json::Map<String, Value> = answers.collect();
    let findings = verdict.findings().iter().map(|finding| {
        let mut found = json!({"rule": finding.rule, "code": finding.code});
        if let Some(index) = finding.index {
            found["index"] = json!(index);
        }
        found
    });
    json!({"conclusion": conclusion.as_str(), "answers": answers, "findings": findings.collect::<Vec<_>>()})
}

const fn holds(name: &'static str, description: &'static str, build: fn() -> Shown) -> Case {
    Case { name, description, flags: &[], breaks: None, build }
}

const fn breaks(
    rule: &'static str,
    name: &'static str,
    flags: &'static [&'static str],
    description: &'static str,
    build: fn() -> Shown,
) -> Case {
    Case { name, description, flags, breaks: Some(rule), build }
}

fn valid() -> Vec<Case> {
    vec![
        holds("valid-approved", "Proposed, approved by two, executed, succeeded, handed on.", || {
            let mut s = Scenario::new();
            let run = s.approved_run();
            Shown::of(&s, run)
        }),
        holds(
            "valid-rejected",
            "Proposed, rejected, refused by the runtime. Nothing was executed, and the reader does not ask for it.",
            || {
                let mut s = Scenario::new();
                let run = s.rejected_run();
                without_execution(Shown::of(&s, run))
            },
        ),
        holds("valid-revised", "Sent back for changes, revised, approved, executed, succeeded.", || {
            let mut s = Scenario::new();
            let run = s.revised_run();
            Shown::of(&s, run)
        }),
        holds("valid-among-others", "One of several runs of a log.", || {
            let mut s = Scenario::new();
            s.rejected_run();
            let run = s.approved_run();
            s.revised_run();
            Shown::of(&s, run)
        }),
        holds("valid-undisclosed", "No payload is disclosed.", || {
            let mut s = Scenario::new();
            let run = s.approved_run();
            let mut assembly = s.ledger.assembly(run);
            assembly.payloads.clear();
            Shown::assembled(&s, &assembly)
        }),
        holds("valid-policy-by-digest", "The policy stands in a document line.", || {
            let (s, run) = approved_under_digest();
            Shown::of(&s, run)
        }),
        holds(
            "valid-unknown-signer",
            "The checkpoints carry a signature line of somebody whom the reader does not know.",
            || {
                let mut s = Scenario::new();
                let run = s.approved_run();
                let mut assembly = s.ledger.assembly(run);
                for (note, _) in &mut assembly.checkpoints {
                    *note += "— stranger.example uqYzYWFhYWFh\n";
                    UnverifiedNote::parse(note.as_bytes()).expect("still a note");
                }
                Shown::assembled(&s, &assembly)
            },
        ),
        holds(
            "valid-witnessed",
            "Two of two witnesses cosigned within the window, and the reader asks for it.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                s.execute(run, proposal, &decisions);
                let seconds = s.ledger.now() / 1_000;
                s.ledger.cosign(&witness("a.example"), seconds);
                s.ledger.cosign(&witness("b.example"), seconds + 2);
                let mut shown = before_two_witnesses(Shown::of(&s, run));
                shown.trust.dimensions.push(Dimension::Witnessed);
                shown
            },
        ),
        holds("valid-cosigned-twice", "A witness cosigned the last checkpoint twice, at two times.", || {
            let mut s = Scenario::new();
            let run = s.approved_run();
            let seconds = s.ledger.now() / 1_000;
            s.ledger.cosign(&witness("a.example"), seconds);
            s.ledger.cosign(&witness("a.example"), seconds + 1);
            s.ledger.cosign(&witness("b.example"), seconds + 2);
            let mut shown = before_two_witnesses(Shown::of(&s, run));
            shown.trust.dimensions.push(Dimension::Witnessed);
            shown
        }),
        holds(
            "valid-audience-group",
            "The proposal is for a group of runtimes. The bundle shows everybody who was ever in the group.",
            || {
                let mut s = Scenario::new();
                let other = Actor::new("other-gate", Role::Runtime);
                s.enrol(&other, &["prod"]);
                s.enrol(&other.with_key(1), &[]);
                s.enrol(&Actor::new("idle-gate", Role::Runtime), &["prod", "staging"]);
                s.enrol(&Actor::new("stranger-gate", Role::Runtime), &["staging"]);
                let run = s.trigger();
                let mut body = s.proposal(action("db.vacuum", json!({})));
                body.audience = Audience::Group(Principal::new("prod").expect("a name"));
                let proposal = s.ledger.add(&s.cast.scout.clone(), Some(run), body);
                s.ledger.close();
                let decisions = s.approve(run, proposal);
                s.execute(run, proposal, &decisions);
                Shown::of(&s, run)
            },
        ),
        holds(
            "valid-one-of-two-log-keys",
            "The reader pins two keys of the log, and one of them signed.",
            || {
                let mut shown = untouched();
                shown.trust.log_keys.push(second_key().key().to_string());
                shown
            },
        ),
    ]
}

/// The same for a reader who does not ask what was executed.
pub fn without_execution(mut shown: Shown) -> Shown {
    shown.trust.dimensions.retain(|dimension| *dimension != Dimension::Conformity);
    shown
}

/// The same for a reader whose policy wants both of two witnesses.
fn before_two_witnesses(mut shown: Shown) -> Shown {
    shown.trust.witnesses = format!(
        "log {}\nwitness a {}\nwitness b {}\ngroup both all a b\nquorum both\n",
        shown.trust.log_keys[0],
        witness("a.example").key(),
        witness("b.example").key()
    );
    shown
}

fn approved() -> (Scenario, RunId) {
    let mut scenario = Scenario::new();
    let run = scenario.approved_run();
    (scenario, run)
}

/// The same under a policy record that names its document by digest.
fn approved_under_digest() -> (Scenario, RunId) {
    let mut s = Scenario::founded(|_| {});
    s.enrol_cast();
    let digest = s.ledger.document(Json::from_value(&policy_document(2)).expect("a document"));
    s.ledger.add(&s.cast.root.clone(), None, Policy::Digest(digest));
    s.ledger.close();
    let run = s.approved_run();
    (s, run)
}

fn untouched() -> Shown {
    let (scenario, run) = approved();
    Shown::of(&scenario, run)
}

/// A second note key under the log's name, with which nothing is signed.
fn second_key() -> SeedSigner {
    SeedSigner::ed25519(ORIGIN, &[7; 32]).expect("a key name")
}

/// The line that a signer adds to a note.
fn signature_line(text: &str, by: &SeedSigner) -> String {
    let line = sign_note(text, by).expect("a signer in memory signs");
    let note = UnverifiedNote::new(text, vec![line]).expect("a note").to_string();
    note.split_once("\n\n").expect("a note").1.to_owned()
}
