//! Attacks on the gate: something is done that nobody approved, or more often than it was.

use counterfoil_receipt::{
    Role, UnverifiedRecord,
    action::Json,
    body::{Cancel, Revocation, RevocationTarget, Ruling, Status},
    field::Whole,
};
use counterfoil_testkit::{Actor, Scenario, WINDOW, action};
use serde_json::json;

use crate::{approved, execution, refused};

#[test]
fn approve_one_action_execute_another() {
    let (mut s, run, proposal, decisions) = approved();
    let swapped = execution(&mut s, run, proposal, &decisions, |body| {
        body.action.arguments = Json::from_value(&json!({"head": "badc0de"})).unwrap();
    });
    assert_eq!(refused(&mut s, run, &swapped), "action-differs");
}

#[test]
fn approve_the_current_head_rather_than_the_one_reviewed() {
    let (mut s, run, _, decisions) = approved();
    let moved = s.propose(run, action("deploy", json!({"head": "badc0de"})));
    let stale = execution(&mut s, run, moved, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &stale), "decision-not-approval");
}

#[test]
fn a_stale_click_approves_the_next_pending_action() {
    let (mut s, run, first, _) = approved();
    let next = s.propose(run, action("drop", json!({})));
    let mut click = s.decision(run, first, Ruling::Approve);
    click.proposal = next;
    let click = s.ledger.sign(&s.cast.ana.clone(), Some(run), click);
    assert_eq!(refused(&mut s, run, &click), "decision-action");
}

#[test]
fn one_approver_counts_twice_toward_the_quorum() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let ana = s.cast.ana.clone();
    let twice = [(); 2].map(|()| s.decide(run, proposal, &ana, Ruling::Approve));
    s.ledger.close();
    let record = execution(&mut s, run, proposal, &twice, |_| {});
    assert_eq!(refused(&mut s, run, &record), "quorum-not-met");
}

#[test]
fn one_approval_signed_again_counts_as_a_second() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let ana = s.cast.ana.clone();
    let body = s.decision(run, proposal, Ruling::Approve);
    let approval = s.ledger.sign(&ana, Some(run), body);
    s.ledger.append(approval.bytes()).unwrap();
    let again = ana.sign_differently(&approval);
    assert_ne!(again.id(), approval.id());
    assert_eq!(again.statement(), approval.statement());
    assert_eq!(refused(&mut s, run, &again), "statement-repeated");
}

#[test]
fn a_crash_while_executing_runs_the_step_again() {
    let (mut s, run, proposal, decisions) = approved();
    let first = s.execute(run, proposal, &decisions);
    let again = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &again), "use-consumed");
    let retry = execution(&mut s, run, proposal, &decisions, |body| body.retries = Some(first));
    assert_eq!(refused(&mut s, run, &retry), "retry-refused");
    s.report(run, first, Status::Unknown);
    s.ledger.close();
    let retry = execution(&mut s, run, proposal, &decisions, |body| body.retries = Some(first));
    assert_eq!(refused(&mut s, run, &retry), "retry-refused");
}

#[test]
fn an_expired_approval_is_used() {
    let (mut s, run, proposal, decisions) = approved();
    s.ledger.wait(WINDOW);
    let late = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &late), "window-closed");
}

#[test]
fn two_approvers_one_use_two_executions() {
    let (mut s, run, proposal, decisions) = approved();
    s.execute(run, proposal, &decisions);
    let again = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &again), "use-consumed");
    let next = execution(&mut s, run, proposal, &decisions, |body| body.use_number = Whole::new(2).unwrap());
    assert_eq!(refused(&mut s, run, &next), "use-exceeded");
}

#[test]
fn a_denied_action_is_executed_all_the_same() {
    let (mut s, run, proposal, decisions) = approved();
    s.decide(run, proposal, &s.cast.bo.clone(), Ruling::Reject);
    let denied = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &denied), "proposal-ended");
}

#[test]
fn a_missing_policy_allows() {
    let mut s = Scenario::founded(|_| {});
    s.enrol_cast();
    s.ledger.close();
    let policy = counterfoil_receipt::PolicyDigest::from_bytes([0; 32]);
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let digest = s.ledger.state().run(&run).unwrap().proposal(&proposal).unwrap().digest;
    let glass = counterfoil_receipt::body::BreakGlass { reason: counterfoil_testkit::text("None was set.") };
    let body = counterfoil_receipt::body::Execution {
        action: action("deploy", json!({})),
        basis: s.ledger.basis(),
        break_glass: Some(glass),
        decisions: counterfoil_receipt::field::Set::new([]).unwrap(),
        nonce: counterfoil_receipt::text::Nonce::new("nonce-of-a-bypass-test").unwrap(),
        policy,
        proposal,
        retries: None,
        use_number: Whole::new(1).unwrap(),
    };
    assert_eq!(body.action.digest(), digest);
    let record = s.ledger.sign(&s.cast.gate.clone(), Some(run), body);
    assert_eq!(s.ledger.append(record.bytes()).unwrap_err().code, "policy-not-in-force");
}

#[test]
fn an_agent_signs_the_approval_with_its_own_key() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let body = s.decision(run, proposal, Ruling::Approve);
    let as_human = s.ledger.sign(&s.cast.scout.claiming_role(Role::Human), Some(run), body.clone());
    assert_eq!(refused(&mut s, run, &as_human), "key-role");
    let as_agent = s.ledger.sign(&s.cast.scout.clone(), Some(run), body);
    assert_eq!(refused(&mut s, run, &as_agent), "role-not-allowed");
}

#[test]
fn any_post_is_a_human() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let body = s.decision(run, proposal, Ruling::Approve);
    let stranger = Actor::new("stranger", Role::Human);
    let record = s.ledger.sign(&stranger.claiming_principal(&s.cast.ana.principal), Some(run), body);
    assert_eq!(s.ledger.append(record.bytes()).unwrap_err().code, "key-unknown");
}

#[test]
fn a_revoked_key_still_approves() {
    let mut s = Scenario::new();
    let (ana, root) = (s.cast.ana.clone(), s.cast.root.clone());
    let target = RevocationTarget::Key(ana.key());
    s.ledger.add(&root, None, Revocation { distrust_from: None, reason: None, target });
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({})));
    let body = s.decision(run, proposal, Ruling::Approve);
    let record = s.ledger.sign(&ana, Some(run), body);
    assert_eq!(refused(&mut s, run, &record), "key-revoked");
}

#[test]
fn a_revocation_kills_all_evidence_from_before_it() {
    let mut s = Scenario::new();
    let run = s.approved_run();
    let (ana, root) = (s.cast.ana.clone(), s.cast.root.clone());
    let target = RevocationTarget::Key(ana.key());
    s.ledger.add(&root, None, Revocation { distrust_from: None, reason: None, target });
    s.ledger.close();
    let trust = s.ledger.trust().trust();
    let verdict = counterfoil_verify::verify(&s.ledger.bundle(run), &trust, 0);
    assert_eq!(
        verdict.conclude(trust.require()),
        counterfoil_verify::Conclusion::Shown,
        "what was signed before stays valid"
    );
}

#[test]
fn an_approval_is_replayed_into_a_second_log() {
    let (mut s, run, proposal, _) = approved();
    let body = s.decision(run, proposal, Ruling::Approve);
    let approval = s.ledger.sign(&s.cast.ana.clone(), Some(run), body);
    let mut second = Scenario::founded(|genesis| genesis.limits.run_records = Whole::new(99).unwrap());
    second.enrol_cast();
    assert_eq!(second.ledger.append(approval.bytes()).unwrap_err().code, "log-mismatch");
}

#[test]
fn a_conclusive_outcome_is_rewritten() {
    use counterfoil_receipt::body::Status;
    let (mut s, run, proposal, decisions) = approved();
    let executed = s.execute(run, proposal, &decisions);
    s.report(run, executed, Status::Failed);
    let body = s.outcome(executed, Status::Succeeded);
    let record = s.ledger.sign(&s.cast.gate.clone(), Some(run), body);
    assert_eq!(refused(&mut s, run, &record), "outcome-settled");
}

#[test]
fn an_approval_that_was_withdrawn_is_used() {
    let (mut s, run, proposal, decisions) = approved();
    let cancel = Cancel { reason: None, target: decisions[0] };
    s.ledger.add(&s.cast.ana.clone(), Some(run), cancel);
    let record = execution(&mut s, run, proposal, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &record), "decision-not-approval");
}

/// There may be as many revisions as it takes; what was approved before is approved no more.
#[test]
fn only_one_revision_and_the_approvals_of_what_it_revises() {
    let (mut s, run, first, decisions) = approved();
    let (mut last, scout) = (first, s.cast.scout.clone());
    for round in 0..3 {
        let mut body = s.proposal(action("deploy", json!({"head": format!("c0ffee{round}")})));
        body.supersedes = Some(last);
        last = s.ledger.add(&scout, Some(run), body);
    }
    s.ledger.close();
    let stale = execution(&mut s, run, first, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &stale), "proposal-ended");
    let moved = execution(&mut s, run, last, &decisions, |_| {});
    assert_eq!(refused(&mut s, run, &moved), "decision-not-approval");
    let decisions = s.approve(run, last);
    s.execute(run, last, &decisions);
    let trust = s.ledger.trust().trust();
    let verdict = counterfoil_verify::verify(&s.ledger.bundle(run), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), counterfoil_verify::Conclusion::Shown);
}

#[test]
fn a_revocation_is_believed_by_the_key_inside_it() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let (ana, bo) = (s.cast.ana.clone(), s.cast.bo.clone());
    let revocation = |target: &Actor| Revocation {
        distrust_from: None,
        reason: None,
        target: RevocationTarget::Key(target.key()),
    };
    // A stranger who calls itself ana; another approver; an agent.
    let stranger = Actor::new("stranger", Role::Human);
    let forged = s.ledger.sign(&stranger.claiming_principal(&ana.principal), None, revocation(&ana));
    assert_eq!(s.ledger.append(forged.bytes()).unwrap_err().code, "key-unknown");
    for other in [bo, s.cast.scout.clone()] {
        let record = s.ledger.sign(&other, None, revocation(&ana));
        assert_eq!(s.ledger.append(record.bytes()).unwrap_err().code, "revocation-signer");
    }
    // And ana approves still.
    let proposal = s.propose(run, action("deploy", json!({})));
    s.decide(run, proposal, &ana, Ruling::Approve);
}

/// A log rebuilt from its entries knows what was used; so does whoever reads them.
#[test]
fn what_was_used_is_forgotten_with_the_process() {
    let (mut s, run, proposal, decisions) = approved();
    s.execute(run, proposal, &decisions);
    let mut state = counterfoil_verify::State::new(counterfoil_verify::Scope::Complete);
    let mut keys = counterfoil_verify::KeyCache::default();
    let roots = counterfoil_testkit::NoRoots;
    for (index, entry) in (0..).zip(s.ledger.entries()) {
        let record = UnverifiedRecord::parse(entry).unwrap();
        let record = counterfoil_verify::check_signature(record, &mut keys).unwrap();
        state.fold(&record, index, &roots).unwrap();
    }
    let again = execution(&mut s, run, proposal, &decisions, |_| {});
    let again = counterfoil_verify::check_signature(again, &mut keys).unwrap();
    let refused = state.fold(&again, s.ledger.size(), &roots).unwrap_err();
    assert_eq!(refused.rule.code(), "use-consumed");
}
