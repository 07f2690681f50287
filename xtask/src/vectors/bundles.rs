//! `bundles/`: a bundle, a trust file and a time, and the verdict that they give.

mod faults;

use std::collections::{BTreeMap, BTreeSet};

use counterfoil_receipt::{RunId, action::Json, body::Policy};
use counterfoil_testkit::{Scenario, TrustFile, policy_document, witness};
use counterfoil_tlog::{Signer, UnverifiedNote};
use counterfoil_verify::{Answer, Assembly, Dimension, verify};
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
    for case in valid().into_iter().chain(faults::cases()) {
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
    // Not to be shown what was not asked for is no fault.
    let unasked = |dimension: Dimension| !trust.require().contains(&dimension);
    let broken: BTreeSet<&str> = verdict
        .findings()
        .iter()
        .filter(|finding| !(unasked(finding.dimension) && matches!(finding.rule, "R-WIT-01" | "R-FRESH-01")))
        .map(|finding| finding.rule)
        .collect();
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
            let mut s = Scenario::founded(|_| {});
            s.enrol_cast();
            let document = Json::from_value(&policy_document(2)).expect("a document");
            let digest = s.ledger.document(document);
            s.ledger.add(&s.cast.root.clone(), None, Policy::Digest(digest));
            s.ledger.close();
            let run = s.approved_run();
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
                let (a, b) = (witness("a.example"), witness("b.example"));
                let run = s.trigger();
                let proposal = s.propose(run, counterfoil_testkit::action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                s.execute(run, proposal, &decisions);
                let seconds = s.ledger.now() / 1_000;
                s.ledger.cosign(&a, seconds);
                s.ledger.cosign(&b, seconds + 2);
                let mut shown = Shown::of(&s, run);
                shown.trust.witnesses = format!(
                    "log {}\nwitness a {}\nwitness b {}\ngroup both all a b\nquorum both\n",
                    shown.trust.log_keys[0],
                    a.key(),
                    b.key()
                );
                shown.trust.dimensions.push(Dimension::Witnessed);
                shown
            },
        ),
        holds("valid-fresh", "The last checkpoint is exactly as old as the reader accepts.", || {
            let mut s = Scenario::new();
            let run = s.approved_run();
            let mut shown = Shown::of(&s, run);
            shown.trust.max_age = Some("10m".to_owned());
            shown.trust.dimensions.push(Dimension::Freshness);
            shown.now += 600_000;
            shown
        }),
    ]
}

/// The same for a reader who does not ask what was executed.
pub fn without_execution(mut shown: Shown) -> Shown {
    shown.trust.dimensions.retain(|dimension| *dimension != Dimension::Conformity);
    shown
}
