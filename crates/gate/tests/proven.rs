//! The token of a binding: what a bundle has to show of an execution, and each reason why it does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use counterfoil_gate::{Claim, Proven, Refusal, prove};
use counterfoil_receipt::{
    Action, Principal, RecordId, RunId,
    body::{BreakGlass, Execution, Ruling, Status},
    field::{Millis, Whole},
};
use counterfoil_testkit::{Scenario, WINDOW, action, policy_document, text};
use counterfoil_verify::{Dimension, Trust};
use serde_json::json;

/// A run with one approved proposal, and its execution.
struct Case {
    scenario: Scenario,
    run: RunId,
    proposal: RecordId,
    execution: RecordId,
    action: Action,
    runtime: Principal,
    max_age: Option<&'static str>,
    require: Vec<Dimension>,
}

impl Case {
    fn new() -> Self {
        Self::of(Scenario::new(), |scenario, run, proposal| {
            let decisions = scenario.approve(run, proposal);
            scenario.execution(run, proposal, &decisions)
        })
    }

    fn of(
        mut scenario: Scenario,
        execution: impl FnOnce(&mut Scenario, RunId, RecordId) -> Execution,
    ) -> Self {
        let run = scenario.trigger();
        let action = action("db.vacuum", json!({"full": true}));
        let proposal = scenario.propose(run, action.clone());
        scenario.ledger.close();
        let body = execution(&mut scenario, run, proposal);
        let gate = scenario.cast.gate.clone();
        let execution = scenario.ledger.add(&gate, Some(run), body);
        scenario.ledger.close();
        let runtime = gate.principal.clone();
        let require = vec![Dimension::Integrity];
        Self { scenario, run, proposal, execution, action, runtime, max_age: Some("10m"), require }
    }

    fn trust(&self) -> Trust {
        let mut file = self.scenario.ledger.trust().requiring(&self.require);
        file.max_age = self.max_age.map(str::to_owned);
        file.trust()
    }

    fn at(&self, now: u64) -> Result<Proven, Refusal> {
        let claim = Claim { execution: self.execution, action: &self.action, runtime: &self.runtime };
        let bundle = self.scenario.ledger.bundle(self.run);
        prove(&bundle, &self.trust(), &claim, Millis::new(now).unwrap())
    }

    #[track_caller]
    fn is_refused(&self, code: &str) {
        self.is_refused_at(self.scenario.ledger.now(), code);
    }

    #[track_caller]
    fn is_refused_at(&self, now: u64, code: &str) {
        let refusal = self.at(now).expect_err("it is proven");
        assert_eq!(refusal.code, code, "{refusal}");
    }
}

#[test]
fn what_people_approved_runs_as_it_was_approved() {
    let case = Case::new();
    let proven = case.at(case.scenario.ledger.now()).unwrap();
    assert_eq!(proven.run_id(), case.run);
    let (action, execution) = proven.run(|action, attempt| (action.clone(), attempt.execution));
    assert_eq!((action, execution), (case.action, case.execution));
}

#[test]
fn another_action_runtime_or_execution_is_refused() {
    let mut case = Case::new();
    case.action = action("db.vacuum", json!({"full": false}));
    case.is_refused("action-differs");
    let mut case = Case::new();
    case.runtime = Principal::new("other-runtime").unwrap();
    case.is_refused("runtime-differs");
    let mut case = Case::new();
    case.execution = case.proposal;
    case.is_refused("execution-not-shown");
}

#[test]
fn what_has_an_outcome_is_over_whatever_it_is() {
    for status in [Status::Succeeded, Status::Failed, Status::Unknown] {
        let mut case = Case::new();
        case.scenario.report(case.run, case.execution, status);
        case.scenario.ledger.close();
        case.is_refused("outcome-settled");
    }
}

#[test]
fn somebody_who_stops_it_once_it_was_logged_is_heeded() {
    let mut case = Case::new();
    let ana = case.scenario.cast.ana.clone();
    case.scenario.decide(case.run, case.proposal, &ana, Ruling::Reject);
    case.scenario.ledger.close();
    case.is_refused("proposal-ended");
}

#[test]
fn what_nobody_approved_is_refused_though_the_policy_lets_it_pass() {
    let mut policy = policy_document(2);
    policy["break_glass"] = json!(true);
    let case = Case::of(Scenario::under(policy), |scenario, run, proposal| Execution {
        break_glass: Some(BreakGlass { reason: text("The disk is full.") }),
        ..scenario.execution(run, proposal, &[])
    });
    case.is_refused("not-approved");
}

#[test]
fn what_is_too_old_or_says_no_age_is_refused() {
    let mut case = Case::new();
    let now = case.scenario.ledger.now();
    case.is_refused_at(now + 11 * 60_000, "checkpoint-stale");
    case.max_age = None;
    case.is_refused("checkpoint-stale");
    case.max_age = Some("1000d");
    case.is_refused_at(now + 2 * WINDOW, "window-closed");
}

#[test]
fn what_the_trust_wants_besides_is_wanted_here() {
    let mut case = Case::new();
    case.require = vec![Dimension::Completeness];
    case.is_refused("evidence-incomplete");
    case.require = vec![Dimension::Witnessed];
    case.is_refused("witness-quorum");
}

#[test]
fn an_execution_that_no_checkpoint_covers_or_a_cut_bundle_is_refused() {
    let case = Case::new();
    let bundle = case.scenario.ledger.bundle(case.run);
    let claim = Claim { execution: case.execution, action: &case.action, runtime: &case.runtime };
    let now = Millis::new(case.scenario.ledger.now()).unwrap();
    let lines: Vec<&[u8]> = bundle.split_inclusive(|byte| *byte == b'\n').collect();
    for left_out in 0..lines.len() {
        let mut cut = lines.clone();
        cut.remove(left_out);
        assert!(prove(&cut.concat(), &case.trust(), &claim, now).is_err(), "without line {left_out}");
    }
}

#[test]
fn the_receipt_of_another_log_or_of_another_run_proves_nothing() {
    let approved = |scenario: &mut Scenario, run, proposal| {
        let decisions = scenario.approve(run, proposal);
        scenario.execution(run, proposal, &decisions)
    };
    let case = Case::new();
    // Another log with keys, people and policy of the same names, and the same approved there.
    let mut elsewhere = Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(999).unwrap());
    elsewhere.enrol_cast();
    elsewhere.set_policy(policy_document(2));
    elsewhere.ledger.close();
    let other = Case::of(elsewhere, approved);
    let code = |bundle: &[u8], of: &Case, trust: &Case| {
        let claim = Claim { execution: of.execution, action: &of.action, runtime: &of.runtime };
        let now = Millis::new(of.scenario.ledger.now()).unwrap();
        prove(bundle, &trust.trust(), &claim, now)
            .map_or_else(|refusal| refusal.code, |_| "proven".to_owned())
    };
    let foreign = other.scenario.ledger.bundle(other.run);
    assert_eq!(code(&foreign, &other, &other), "proven");
    assert_eq!(code(&foreign, &other, &case), "genesis-not-pinned");
    // The same was approved in another run of this log: what shows the one shows nothing of the other.
    let second = Case::of(case.scenario.clone(), approved);
    assert_ne!(second.run, case.run);
    assert_eq!(code(&second.scenario.ledger.bundle(second.run), &second, &second), "proven");
    assert_eq!(code(&second.scenario.ledger.bundle(second.run), &case, &second), "execution-not-shown");
    assert_eq!(code(&second.scenario.ledger.bundle(case.run), &second, &second), "execution-not-shown");
}
