//! The decision: every reason for a refusal by its code, what is held, and what is let through.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use counterfoil_gate::{Attempt, Refusal, Request, Ruling, decide};
use counterfoil_receipt::{
    Author, RecordId, Role, RunId,
    body::{Audience, Decision, Effects, Ruling as Vote, Settlement, Status, Window},
    field::{Millis, Whole},
    text::Nonce,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action, enrolment, policy_document};
use counterfoil_verify::{Dimension, Verdict, verify};
use serde_json::json;

/// A run with one proposal, and what to ask the gate about it.
struct Case {
    scenario: Scenario,
    run: RunId,
    proposal: RecordId,
    request: Request,
}

impl Case {
    fn new() -> Self {
        Self::of(Scenario::new())
    }

    fn of(mut scenario: Scenario) -> Self {
        let run = scenario.trigger();
        let action = action("db.vacuum", json!({"full": true}));
        let proposal = scenario.propose(run, action.clone());
        let runtime = author(&scenario.cast.gate);
        let request = Request {
            run,
            proposal,
            action,
            runtime,
            nonce: Nonce::new("nonce-of-a-gate-test-01").unwrap(),
            is_idempotent: false,
            may_repeat: false,
            break_glass: None,
            stops: Vec::new(),
            require: Vec::new(),
        };
        Self { scenario, run, proposal, request }
    }

    fn approved() -> Self {
        let mut case = Self::new();
        case.scenario.approve(case.run, case.proposal);
        case
    }

    /// Lets `by` approve on other terms.
    fn approve_with(&mut self, by: &Actor, change: impl FnOnce(&mut Decision)) {
        let mut body = self.scenario.decision(self.run, self.proposal, Vote::Approve);
        change(&mut body);
        self.scenario.ledger.add(by, Some(self.run), body);
    }

    fn evidence(&mut self) -> Verdict {
        self.scenario.ledger.close();
        let trust = self.scenario.ledger.trust().trust();
        verify(&self.scenario.ledger.bundle(self.run), &trust, self.scenario.ledger.now())
    }

    fn decide(&mut self) -> Ruling {
        let evidence = self.evidence();
        decide(&self.request, &evidence, millis(self.scenario.ledger.now()))
    }

    #[track_caller]
    fn is_refused(&mut self, code: &str) -> Refusal {
        match self.decide() {
            Ruling::Refuse(refusal) if refusal.code == code => refusal,
            other => panic!("not refused as {code}: {other:?}"),
        }
    }

    #[track_caller]
    fn is_held(&mut self, why: &str) {
        match self.decide() {
            Ruling::Hold(held) if held.contains(why) => {}
            other => panic!("not held because of {why}: {other:?}"),
        }
    }

    #[track_caller]
    fn passes(&mut self) -> Vec<RecordId> {
        match self.decide() {
            Ruling::Execute(approved) => approved.decisions().to_vec(),
            other => panic!("does not pass: {other:?}"),
        }
    }
}

fn author(actor: &Actor) -> Author {
    Author { key: actor.key(), principal: actor.principal.clone(), role: actor.role }
}

fn millis(value: u64) -> Millis {
    Millis::new(value).unwrap()
}

#[test]
fn what_a_quorum_approved_passes() {
    assert_eq!(Case::approved().passes().len(), 2);
}

#[test]
fn too_few_approvals_are_waited_for() {
    let mut case = Case::new();
    case.is_held("0 of 2");
    let ana = case.scenario.cast.ana.clone();
    case.scenario.decide(case.run, case.proposal, &ana, Vote::Approve);
    case.is_held("1 of 2");
    // Once more by the same person is still one person.
    case.scenario.decide(case.run, case.proposal, &ana, Vote::Approve);
    case.is_held("1 of 2");
}

#[test]
fn a_window_that_has_not_begun_is_waited_for_and_one_that_is_over_is_not() {
    let mut case = Case::new();
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    let from = case.scenario.ledger.now() + WINDOW;
    let later = |body: &mut Decision| {
        body.window = Some(Window { from: millis(from), until: millis(from + WINDOW) });
    };
    case.approve_with(&ana, later);
    case.approve_with(&bo, later);
    case.is_held("window");
    case.scenario.ledger.wait(WINDOW);
    case.passes();
    case.scenario.ledger.wait(WINDOW);
    case.is_refused("window-closed");
}

#[test]
fn a_clock_that_is_behind_the_logs_opens_no_window() {
    let mut case = Case::approved();
    let inside = case.scenario.ledger.now();
    case.scenario.ledger.wait(2 * WINDOW);
    let evidence = case.evidence();
    match decide(&case.request, &evidence, millis(inside)) {
        Ruling::Refuse(refusal) => assert_eq!(refusal.code, "window-closed"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_action_is_refused_and_the_first_difference_told() {
    let mut case = Case::approved();
    case.request.action = action("db.vacuum", json!({"full": false}));
    let refusal = case.is_refused("action-differs");
    assert!(refusal.detail.contains("/arguments/full: approved true, executed false"), "{refusal}");
}

#[test]
fn another_runtime_is_refused() {
    let mut case = Case::approved();
    let twin = Actor::new("twin", Role::Runtime);
    let root = case.scenario.cast.root.clone();
    case.scenario.ledger.add(&root, None, enrolment(&twin, &["prod"]));
    case.request.runtime = author(&twin);
    // Its enrolment is no part of this run's evidence.
    case.is_refused("key-unknown");

    let mut case = Case::new();
    let mut body = case.scenario.proposal(case.request.action.clone());
    body.audience = Audience::Principal(case.scenario.cast.scout.principal.clone());
    let scout = case.scenario.cast.scout.clone();
    case.proposal = case.scenario.ledger.add(&scout, Some(case.run), body);
    case.request.proposal = case.proposal;
    case.scenario.ledger.close();
    case.scenario.approve(case.run, case.proposal);
    case.is_refused("audience-mismatch");
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    let mut case = Case::approved();
    case.request.runtime.role = Role::Agent;
    case.is_refused("not-a-runtime");

    let mut case = Case::approved();
    case.request.runtime.key = case.scenario.cast.scout.key();
    case.is_refused("key-role");

    let mut case = Case::approved();
    case.request.runtime.principal = case.scenario.cast.scout.principal.clone();
    case.is_refused("key-principal");

    let mut case = Case::approved();
    let (root, gate) = (case.scenario.cast.root.clone(), case.scenario.cast.gate.clone());
    let mut retirement = enrolment(&gate, &["prod"]);
    retirement.change = counterfoil_receipt::body::KeyChange::Retire;
    case.scenario.ledger.add(&root, None, retirement);
    case.is_refused("key-retired");

    let mut case = Case::approved();
    case.scenario.ledger.add(&root, None, revocation(&gate));
    case.is_refused("key-revoked");
}

fn revocation(actor: &Actor) -> counterfoil_receipt::body::Revocation {
    let target = counterfoil_receipt::body::RevocationTarget::Key(actor.key());
    counterfoil_receipt::body::Revocation { distrust_from: None, reason: None, target }
}

#[test]
fn a_consumed_use_is_refused() {
    let mut case = Case::approved();
    let decisions = case.passes();
    case.scenario.execute(case.run, case.proposal, &decisions);
    case.is_refused("use-exceeded");
}

#[test]
fn a_second_use_passes_where_all_of_the_quorum_granted_two() {
    let mut case = Case::new();
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    let twice = |body: &mut Decision| body.uses = Whole::new(2);
    case.approve_with(&ana, twice);
    case.approve_with(&bo, twice);
    let decisions = case.passes();
    case.scenario.execute(case.run, case.proposal, &decisions);
    case.passes();
}

#[test]
fn an_ended_proposal_is_refused() {
    for end in [Vote::Reject, Vote::RequestChanges] {
        let mut case = Case::approved();
        let ana = case.scenario.cast.ana.clone();
        case.scenario.decide(case.run, case.proposal, &ana, end);
        case.is_refused("proposal-ended");
    }
    let mut case = Case::approved();
    let scout = case.scenario.cast.scout.clone();
    let cancel = counterfoil_receipt::body::Cancel { reason: None, target: case.proposal };
    case.scenario.ledger.add(&scout, Some(case.run), cancel);
    case.is_refused("proposal-ended");

    let mut case = Case::approved();
    let mut body = case.scenario.proposal(case.request.action.clone());
    body.supersedes = Some(case.proposal);
    case.scenario.ledger.add(&scout, Some(case.run), body);
    case.is_refused("proposal-ended");
}

#[test]
fn an_approval_that_was_withdrawn_counts_no_more() {
    let mut case = Case::approved();
    let (ana, decisions) = (case.scenario.cast.ana.clone(), case.passes());
    let of_ana = decisions.into_iter().find(|id| {
        case.scenario.ledger.state().run(&case.run).unwrap().decision(id).unwrap().author.principal
            == ana.principal
    });
    let cancel = counterfoil_receipt::body::Cancel { reason: None, target: of_ana.unwrap() };
    case.scenario.ledger.add(&ana, Some(case.run), cancel);
    case.is_held("1 of 2");
}

#[test]
fn an_approval_under_an_earlier_policy_counts_no_more_and_without_any_policy_nothing_passes() {
    let mut case = Case::approved();
    case.scenario.set_policy(policy_document(1));
    case.is_held("0 of 1");
    case.is_held("names policy sha256:");
    let ana = case.scenario.cast.ana.clone();
    case.approve_with(&ana, |_| {});
    assert_eq!(case.passes().len(), 1);

    let mut scenario = Scenario::founded(|_| {});
    scenario.enrol_cast();
    Case::of(scenario).is_refused("policy-not-in-force");
}

#[test]
fn the_requester_can_not_be_the_approver_and_others_still_can() {
    // ana starts the run that she approves: her key as an agent's is another key of the same principal.
    let mut scenario = Scenario::new();
    let ana = scenario.cast.ana.clone();
    let agent = Actor::new("ana", Role::Agent);
    scenario.enrol(&agent, &["sre"]);
    let trigger = counterfoil_testkit::trigger_body(&scenario.cast.scout.clone(), "by-ana");
    let run = RunId::started_by(scenario.ledger.add(&agent, None, trigger));
    let action = action("db.vacuum", json!({"full": true}));
    let proposal = scenario.propose(run, action.clone());
    let request = Request {
        run,
        proposal,
        action,
        runtime: author(&scenario.cast.gate),
        nonce: Nonce::new("nonce-of-a-gate-test-02").unwrap(),
        is_idempotent: false,
        may_repeat: false,
        break_glass: None,
        stops: Vec::new(),
        require: Vec::new(),
    };
    let mut case = Case { scenario, run, proposal, request };
    assert_eq!(ana.principal, agent.principal);
    case.scenario.approve(run, proposal);
    case.is_held("1 of 2 distinct entitled principals approved; ana approved, and also requested");
    let cy = Actor::new("cy", Role::Human);
    case.scenario.enrol(&cy, &["sre"]);
    case.approve_with(&cy, |_| {});
    case.passes();
}

#[test]
fn an_approval_by_a_key_that_was_revoked_since_counts_no_more() {
    let mut case = Case::approved();
    let (root, bo) = (case.scenario.cast.root.clone(), case.scenario.cast.bo.clone());
    case.scenario.ledger.add(&root, None, revocation(&bo));
    case.is_held("1 of 2");
    case.is_held("was revoked at entry");
    let cy = Actor::new("cy", Role::Human);
    case.scenario.enrol(&cy, &["sre"]);
    case.approve_with(&cy, |_| {});
    case.passes();
}

#[test]
fn an_approval_on_terms_that_the_policy_does_not_allow_counts_for_nothing() {
    let mut case = Case::new();
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    case.approve_with(&ana, |body| body.uses = Whole::new(3));
    case.is_held("0 of 2");
    case.approve_with(&bo, |_| {});
    case.is_held("1 of 2 distinct entitled principals approved; the approval of ana grants uses 3");
    // Done right once more, the first try does no harm.
    case.approve_with(&ana, |_| {});
    case.passes();
}

#[test]
fn who_did_it_right_at_last_is_not_told_what_was_wrong_before() {
    let mut case = Case::new();
    let ana = case.scenario.cast.ana.clone();
    case.approve_with(&ana, |body| body.uses = Whole::new(3));
    case.approve_with(&ana, |_| {});
    case.approve_with(&ana, |body| body.uses = Whole::new(3));
    match case.decide() {
        Ruling::Hold(held) => assert_eq!(held, "1 of 2 distinct entitled principals approved"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_approval_whose_window_ended_can_be_followed_by_another() {
    let mut case = Case::new();
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    case.approve_with(&ana, |_| {});
    case.scenario.ledger.wait(WINDOW + 1);
    case.is_held("0 of 2 distinct entitled principals approved; the approval of ana ended at");
    case.approve_with(&bo, |_| {});
    case.is_held("1 of 2");
    case.approve_with(&ana, |_| {});
    let (decisions, state) = (case.passes(), case.scenario.ledger.state());
    let run = state.run(&case.run).unwrap();
    let now = case.scenario.ledger.now();
    assert!(decisions.iter().all(|id| run.decision(id).unwrap().window.unwrap().1 >= now));
}

#[test]
fn a_quorum_whose_windows_are_all_over_is_not_waited_for() {
    let mut case = Case::approved();
    case.scenario.ledger.wait(WINDOW + 1);
    case.is_refused("window-closed");
}

#[test]
fn a_rejection_stops_what_bad_approvals_would_leave_open() {
    let mut case = Case::new();
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    case.approve_with(&ana, |body| body.uses = Whole::new(3));
    case.is_held("0 of 2");
    case.scenario.decide(case.run, case.proposal, &bo, Vote::Reject);
    case.is_refused("proposal-ended");
}

#[test]
fn what_the_gate_lets_pass_on_is_what_the_verifier_counts() {
    let mut case = Case::approved();
    let (ana, eve) = (case.scenario.cast.ana.clone(), Actor::new("eve", Role::Human));
    case.scenario.enrol(&eve, &["sales"]);
    case.approve_with(&ana, |body| body.uses = Whole::new(3));
    case.approve_with(&eve, |_| {});
    let (decisions, state) = (case.passes(), case.scenario.ledger.state());
    let run = state.run(&case.run).unwrap();
    let runtime = Some(&case.request.runtime.principal);
    let counting: Vec<RecordId> = run
        .approvals(&case.proposal)
        .into_iter()
        .filter(|id| state.counts(run, &case.proposal, id, runtime).is_ok())
        .collect();
    assert_eq!(run.approvals(&case.proposal).len(), 4);
    assert_eq!(decisions, counting);
}

#[test]
fn an_outsiders_approval_neither_helps_nor_harms() {
    let mut case = Case::new();
    let eve = Actor::new("eve", Role::Human);
    case.scenario.enrol(&eve, &["sales"]);
    let ana = case.scenario.cast.ana.clone();
    case.approve_with(&eve, |_| {});
    case.approve_with(&ana, |_| {});
    case.is_held("1 of 2");
    let bo = case.scenario.cast.bo.clone();
    case.approve_with(&bo, |_| {});
    let decisions = case.passes();
    let run = case.scenario.ledger.state().run(&case.run).unwrap();
    assert!(decisions.iter().all(|id| run.decision(id).unwrap().author.principal != eve.principal));
}

#[test]
fn an_unknown_proposal_is_refused() {
    let mut case = Case::approved();
    case.request.proposal = case.run.trigger();
    case.is_refused("reference-unknown");
}

#[test]
fn evidence_of_another_run_is_refused() {
    let mut case = Case::approved();
    case.request.run = RunId::started_by(case.proposal);
    case.is_refused("evidence-foreign");
}

#[test]
fn evidence_that_fails_or_shows_too_little_is_refused() {
    let mut case = Case::approved();
    case.request.require = vec![Dimension::Witnessed];
    case.is_refused("evidence-incomplete");
    case.request.require = vec![Dimension::Conformity];
    case.passes();

    let mut case = Case::approved();
    case.scenario.ledger.close();
    let trust = case.scenario.ledger.trust();
    let stranger = counterfoil_testkit::TrustFile {
        log_keys: vec![counterfoil_testkit::Ledger::vkey("other.example")],
        origin: "other.example".to_owned(),
        witnesses: "quorum none\n".to_owned(),
        ..trust.clone()
    };
    let now = case.scenario.ledger.now();
    let bundle = case.scenario.ledger.bundle(case.run);
    let refusals = [
        (verify(&bundle, &stranger.trust(), now), "checkpoint-origin"),
        (verify(&bundle[..bundle.len() - 1], &trust.trust(), now), "bundle-line"),
        (verify(b"", &trust.trust(), now), "evidence-foreign"),
    ];
    for (evidence, code) in refusals {
        match decide(&case.request, &evidence, millis(now)) {
            Ruling::Refuse(refusal) => assert_eq!(refusal.code, code, "{refusal}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn stale_evidence_is_refused() {
    let mut case = Case::approved();
    case.scenario.ledger.close();
    let mut trust = case.scenario.ledger.trust();
    trust.max_age = Some("10m".to_owned());
    let now = case.scenario.ledger.now();
    let bundle = case.scenario.ledger.bundle(case.run);
    let fresh = verify(&bundle, &trust.trust(), now + 600_000);
    assert!(matches!(decide(&case.request, &fresh, millis(now)), Ruling::Execute(_)));
    let stale = verify(&bundle, &trust.trust(), now + 700_000);
    match decide(&case.request, &stale, millis(now)) {
        Ruling::Refuse(refusal) => assert_eq!(refusal.code, "checkpoint-stale"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_execution_is_what_the_log_admits() {
    let mut case = Case::approved();
    let Ruling::Execute(approved) = case.decide() else { panic!() };
    let gate = case.scenario.cast.gate.clone();
    let record = approved.execution().sign(gate.signer()).unwrap();
    case.scenario.ledger.append(record.bytes()).unwrap();
    case.scenario.ledger.wait(1_000);
    let now = millis(case.scenario.ledger.now());
    let evidence = case.evidence();
    let permit = approved.confirm(record.id(), &evidence, now).unwrap();
    let attempt = Attempt { execution: record.id(), idempotency_key: record.id() };
    assert_eq!(
        permit.run(|action, attempt| (action.clone(), *attempt)),
        (case.request.action.clone(), attempt)
    );
}

#[test]
fn an_effect_that_would_start_after_the_window_is_not_permitted() {
    let mut case = Case::approved();
    let Ruling::Execute(approved) = case.decide() else { panic!() };
    let record = approved.execution().sign(case.scenario.cast.gate.signer()).unwrap();
    case.scenario.ledger.append(record.bytes()).unwrap();
    let late = millis(case.scenario.ledger.now() + 2 * WINDOW);
    let evidence = case.evidence();
    assert_eq!(approved.confirm(record.id(), &evidence, late).unwrap_err().code, "window-closed");
}

/// A case under a policy of these rules.
fn under(rules: serde_json::Value) -> Case {
    Case::of(Scenario::under(json!({"language": "counterfoil-policy/1", "rules": rules})))
}

fn require(name: &str, requirements: serde_json::Value) -> serde_json::Value {
    json!({"effect": "require", "match": {"tool": "db.*"}, "name": name, "requirements": requirements,
        "segregation": true, "uses": 2, "window": WINDOW})
}

/// A case under rules that allow it, and of which each demands this evidence.
fn demanding(evidence: &[&[&str]]) -> Case {
    let rule = |(at, evidence): (usize, &&[&str])| json!({"effect": "allow", "evidence": evidence, "match": {"tool": "db.*"}, "name": format!("r{at}"), "uses": 1});
    under(evidence.iter().enumerate().map(rule).collect())
}

impl Case {
    /// The same evidence, to a reader who accepts a checkpoint of this age.
    fn evidence_within(&mut self, max_age: Option<&str>) -> Verdict {
        self.scenario.ledger.close();
        let mut trust = self.scenario.ledger.trust();
        trust.max_age = max_age.map(str::to_owned);
        verify(&self.scenario.ledger.bundle(self.run), &trust.trust(), self.scenario.ledger.now())
    }

    fn decide_within(&mut self, max_age: Option<&str>) -> Ruling {
        let evidence = self.evidence_within(max_age);
        decide(&self.request, &evidence, millis(self.scenario.ledger.now()))
    }
}

#[test]
fn what_a_rule_demands_to_be_shown_is_required_besides_what_the_trust_file_does() {
    let mut case = demanding(&[&["freshness"]]);
    let refusal = case.is_refused("evidence-incomplete");
    assert!(refusal.detail.starts_with("freshness is not shown"), "{refusal}");
    assert!(matches!(case.decide_within(Some("10m")), Ruling::Execute(_)));

    let mut case = demanding(&[&["freshness"], &["witnessed"]]);
    match case.decide_within(Some("10m")) {
        Ruling::Refuse(Refusal { code, detail }) => {
            assert_eq!((code.as_str(), &detail[..9]), ("evidence-incomplete", "witnessed"));
        }
        other => panic!("one rule demands what another does not: {other:?}"),
    }

    let mut case = demanding(&[&["completeness"]]);
    let refusal = case.is_refused("evidence-incomplete");
    assert!(refusal.detail.starts_with("completeness is not shown"), "{refusal}");

    let mut case = under(json!([
        {"effect": "allow", "match": {"tool": "db.*"}, "name": "here", "uses": 1},
        {"effect": "allow", "evidence": ["witnessed"], "match": {"tool": "fs.*"}, "name": "elsewhere", "uses": 1}]));
    case.passes();
}

#[test]
fn what_a_rule_demands_is_demanded_again_of_the_evidence_that_confirms() {
    let confirmed = |max_age| {
        let mut case = demanding(&[&["freshness"]]);
        let Ruling::Execute(approved) = case.decide_within(Some("10m")) else { panic!() };
        let record = approved.execution().sign(case.scenario.cast.gate.signer()).unwrap();
        case.scenario.ledger.append(record.bytes()).unwrap();
        let evidence = case.evidence_within(max_age);
        approved.confirm(record.id(), &evidence, millis(case.scenario.ledger.now())).map(|_| ())
    };
    assert_eq!(confirmed(Some("10m")), Ok(()));
    assert_eq!(confirmed(None).unwrap_err().code, "evidence-incomplete");
}

#[test]
fn what_was_given_up_or_is_tried_again_is_not_begun() {
    let begun = |is_retried: bool| {
        let allow = json!({"effect": "allow", "match": {"tool": "db.*"}, "name": "databases", "retries": 1, "uses": 1});
        let mut case = under(json!([allow]));
        let Ruling::Execute(approved) = case.decide() else { panic!() };
        let record = approved.execution().sign(case.scenario.cast.gate.signer()).unwrap();
        case.scenario.ledger.append(record.bytes()).unwrap();
        case.scenario.ledger.close();
        case.scenario.report(case.run, record.id(), Status::Unknown);
        if is_retried {
            let mut retry = case.scenario.execution(case.run, case.proposal, &[]);
            retry.retries = Some(record.id());
            case.scenario.ledger.add(&case.scenario.cast.gate.clone(), Some(case.run), retry);
        }
        let evidence = case.evidence();
        approved.confirm(record.id(), &evidence, millis(case.scenario.ledger.now())).unwrap_err().code
    };
    assert_eq!(begun(false), "outcome-settled");
    assert_eq!(begun(true), "use-consumed");
}

#[test]
fn what_was_not_previewed_is_refused_and_not_waited_for() {
    let mut rule = require("two", json!([{"count": 2, "groups": ["sre"]}]));
    rule["preview"] = json!(true);
    let mut case = under(json!([rule]));
    case.is_refused("preview-missing");
    case.scenario.approve(case.run, case.proposal);
    case.is_refused("preview-missing");
}

#[test]
fn what_the_policy_allows_passes_without_decisions_as_often_as_it_says() {
    let mut case =
        under(json!([{"effect": "allow", "match": {"tool": "db.*"}, "name": "databases", "uses": 1}]));
    assert_eq!(case.passes(), []);
    case.scenario.execute(case.run, case.proposal, &[]);
    case.is_refused("use-exceeded");
}

/// A further use was taken by what was asked for again because nobody had heard of an end.
#[test]
fn what_may_repeat_another_request_takes_no_further_use_while_nobody_knows_how_that_ended() {
    let mut case =
        under(json!([{"effect": "allow", "match": {"tool": "db.*"}, "name": "databases", "uses": 3}]));
    let execution = case.scenario.execute(case.run, case.proposal, &[]);
    for is_idempotent in [false, true] {
        (case.request.may_repeat, case.request.is_idempotent) = (true, is_idempotent);
        assert!(case.is_refused("outcome-unknown").detail.contains("has no outcome"));
    }
    case.request.may_repeat = false;
    assert_eq!(case.passes(), [], "a further use is granted");
    case.scenario.report(case.run, execution, Status::Unknown);
    assert_eq!(case.passes(), []);
    case.request.may_repeat = true;
    assert!(case.is_refused("outcome-unknown").detail.contains(&execution.to_string()));
    let (ana, settlement) = (
        case.scenario.cast.ana.clone(),
        Settlement {
            effects: Effects::None,
            evidence: None,
            execution,
            reason: None,
            status: Status::Failed,
        },
    );
    case.scenario.ledger.add(&ana, Some(case.run), settlement);
    assert_eq!(case.passes(), [], "it is known now");
}

#[test]
fn what_the_policy_denies_is_refused_by_name_however_many_approve() {
    let deny = json!({"effect": "deny", "match": {"argument": {"one_of": [true], "path": "/full"}}, "name": "not-in-full"});
    let mut case = under(json!([require("two", json!([{"count": 2}])), deny]));
    assert_eq!(case.is_refused("policy-denied").detail, "body.action: denied by not-in-full");
    case.scenario.approve(case.run, case.proposal);
    case.is_refused("policy-denied");
    let mut unknown =
        under(json!([{"effect": "allow", "match": {"tool": "fs.*"}, "name": "files", "uses": 1}]));
    assert!(unknown.is_refused("policy-denied").detail.contains("no rule of the policy is about it"));
}

#[test]
fn each_requirement_of_each_rule_is_waited_for_and_only_who_is_needed_is_named() {
    let first = Scenario::new().cast.ana.principal.to_string();
    let mut case = under(json!([
        require("lead", json!([{"count": 1, "groups": ["sre"]}, {"count": 1, "principals": [first]}])),
        require("finance", json!([{"count": 1, "groups": ["finance"]}])),
    ]));
    let eve = Actor::new("eve", Role::Human);
    case.scenario.enrol(&eve, &["finance", "sre"]);
    let (ana, bo) = (case.scenario.cast.ana.clone(), case.scenario.cast.bo.clone());
    case.is_held("lead wants 1 human of sre");
    case.approve_with(&bo, |_| {});
    case.approve_with(&ana, |_| {});
    case.is_held("0 of 1");
    case.approve_with(&eve, |body| body.surface = counterfoil_receipt::body::Surface::Link);
    case.is_held(
        "eve decided at the surface link, and the policy takes independent_page, operator_page, terminal",
    );
    case.approve_with(&eve, |_| {});
    case.scenario.ledger.close();
    assert_eq!(case.passes().len(), 3);
}
