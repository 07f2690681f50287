//! The gate's decision: beside its bare signature checks, and once those were made.

use std::{hint::black_box, num::NonZeroUsize};

use counterfoil_gate::{Request, Ruling, decide};
use counterfoil_receipt::{Author, RecordId, RunId, body::Ruling as Vote, field::Millis, text::Nonce};
use counterfoil_testkit::{Scenario, action};
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Remembered, Trust, Verdict, Verifier, verify};
use serde_json::json;

use crate::{
    floor::Check,
    policy::rule,
    report::{Bar, Figure, median, paired, seconds},
};

/// Rules of the policy.
const RULES: usize = 20;
/// Decisions that are timed.
const ROUNDS: usize = 2_000;

/// An approved action that waits to be executed, and its evidence.
struct Case {
    bundle: Vec<u8>,
    trust: Trust,
    checks: Vec<Check>,
    request: Request,
    now: u64,
}

impl Case {
    fn new() -> Self {
        let mut rules: Vec<_> = (1..RULES).map(rule).collect();
        rules.push(json!({"effect": "require", "match": {"tool": "db.*"}, "name": "databases",
            "requirements": [{"count": 2, "groups": ["sre"]}], "segregation": true, "uses": 1, "window": 3_600_000}));
        let mut scenario = Scenario::under(json!({
            "costs": [{"amount": "/order/amount", "currency_at": "/order/currency", "tool": "payments.*"}],
            "language": "counterfoil-policy/1", "rules": rules,
        }));
        let run = scenario.trigger();
        let action = action("db.vacuum", json!({"full": true}));
        let proposal = scenario.propose(run, action.clone());
        for by in [scenario.cast.ana.clone(), scenario.cast.bo.clone()] {
            scenario.decide(run, proposal, &by, Vote::Approve);
        }
        scenario.ledger.close();
        let gate = &scenario.cast.gate;
        let runtime = Author { key: gate.key(), principal: gate.principal.clone(), role: gate.role };
        let request = request(run, proposal, action, runtime);
        let trust = scenario.ledger.trust();
        let key = VerifierKey::parse(&trust.log_keys[0]).expect("a vkey");
        let bundle = scenario.ledger.bundle(run);
        let checks = Check::all_of(&bundle, &key);
        Self { bundle, trust: trust.trust(), checks, request, now: scenario.ledger.now() }
    }

    fn evidence(&self) -> Verdict {
        verify(black_box(&self.bundle), &self.trust, self.now)
    }

    fn evidence_again(&self, checked: &Remembered) -> Verdict {
        let mut verifier = Verifier::remembering(&self.trust, NonZeroUsize::MIN, checked.clone());
        let lines = black_box(&self.bundle).split(|byte| *byte == b'\n');
        lines.filter(|line| !line.is_empty()).for_each(|line| verifier.line(line));
        verifier.finish(self.now)
    }

    fn passes(&self, evidence: &Verdict) {
        let now = Millis::new(self.now).expect("a time");
        assert!(matches!(decide(black_box(&self.request), evidence, now), Ruling::Execute(_)));
    }
}

fn request(run: RunId, proposal: RecordId, action: counterfoil_receipt::Action, runtime: Author) -> Request {
    Request {
        run,
        proposal,
        action,
        runtime,
        nonce: Nonce::new("nonce-of-a-measurement").expect("a nonce"),
        is_idempotent: false,
        may_repeat: false,
        break_glass: None,
        stops: Vec::new(),
        require: Vec::new(),
    }
}

/// With the evidence as it came, every signature of which is checked.
pub fn decide_on_evidence() -> Figure {
    let case = Case::new();
    let (ours, floor, ratio) = paired(
        1_000,
        || case.passes(&case.evidence()),
        || assert!(case.checks.iter().all(|check| black_box(check).run())),
    );
    Figure {
        figure: "verify evidence and decide on it, policy of 20 rules / its bare signature checks",
        value: ratio,
        bar: Bar::AtMost(1.3),
        how: format!(
            "{} signatures: {:.0} µs / {:.0} µs, median of 1,000 pairs, in five processes the median of theirs",
            case.checks.len(),
            ours * 1e6,
            floor * 1e6
        ),
    }
}

/// With evidence that was verified.
pub fn decide_on_verdict() -> Figure {
    let case = Case::new();
    let evidence = case.evidence();
    let times = (0..ROUNDS).map(|_| seconds(|| case.passes(&evidence)));
    let checked = Remembered::default();
    let anew = (0..ROUNDS).map(|_| seconds(|| case.passes(&case.evidence_again(&checked))));
    Figure {
        figure: "decide on evidence that was verified, policy of 20 rules, µs",
        value: median(times.collect()) * 1e6,
        bar: Bar::AtMost(25.0),
        how: format!(
            "p50 of {ROUNDS}, the verdict in hand; {:.0} µs with its bundle read and followed again, and no signature checked anew",
            median(anew.collect()) * 1e6
        ),
    }
}
