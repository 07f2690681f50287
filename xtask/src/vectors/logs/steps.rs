//! What a log is led through before the entry that its vector is about.

use counterfoil_receipt::{
    Principal, PublicKey, RecordId, Role, Root, RunId, UnverifiedRecord,
    body::{
        Basis, Cancel, Decision, Effects, Endorsement, Execution, Genesis, KeyChange, Keyring, Revocation,
        RevocationTarget, Ruling, Settlement, Status,
    },
    field::{Count, Millis, Whole},
};
use counterfoil_testkit::{Actor, Scenario, action, enrolment};
use counterfoil_tlog::{MemoryTree, leaf_hash};
use serde_json::json;

/// The log as it is now, whether or not a checkpoint was signed of it.
pub(super) fn basis_now(s: &Scenario) -> Basis {
    let mut tree = MemoryTree::new();
    for entry in s.ledger.entries() {
        tree.push(leaf_hash(entry));
    }
    let head = tree.head();
    Basis { root: Root::from_bytes(*head.root.as_bytes()), size: Count::new(head.size.0).expect("a size") }
}

pub(super) fn proposed(s: &mut Scenario) -> (RunId, RecordId) {
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    (run, proposal)
}

/// `ana` and `bo` approved.
pub(super) fn approved(s: &mut Scenario) -> (RunId, RecordId, Vec<RecordId>) {
    let (run, proposal) = proposed(s);
    let decisions = s.approve(run, proposal);
    (run, proposal, decisions)
}

/// `ana` and `bo` approved on these terms.
pub(super) fn approved_for(
    s: &mut Scenario,
    terms: impl Fn(&mut Decision),
) -> (RunId, RecordId, Vec<RecordId>) {
    let (run, proposal) = proposed(s);
    let decisions = [s.cast.ana.clone(), s.cast.bo.clone()].map(|human| {
        let mut body = s.decision(run, proposal, Ruling::Approve);
        terms(&mut body);
        s.ledger.add(&human, Some(run), body)
    });
    s.ledger.close();
    (run, proposal, decisions.to_vec())
}

/// `gate` executes, with this change.
pub(super) fn executed(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    decisions: &[RecordId],
    change: impl FnOnce(&mut Execution),
) -> UnverifiedRecord {
    let mut body = s.execution(run, proposal, decisions);
    change(&mut body);
    s.ledger.sign(&s.cast.gate.clone(), Some(run), body)
}

/// `gate` executes what was approved, with this change.
pub(super) fn changed(s: &mut Scenario, change: impl FnOnce(&mut Execution)) -> UnverifiedRecord {
    let (run, proposal, decisions) = approved(s);
    executed(s, run, proposal, &decisions, change)
}

/// `gate` executes, with this change, and says that it did so at this time.
pub(super) fn executed_at(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    decisions: &[RecordId],
    time: u64,
    change: impl FnOnce(&mut Execution),
) -> UnverifiedRecord {
    let mut body = s.execution(run, proposal, decisions);
    change(&mut body);
    let gate = s.cast.gate.clone();
    let mut draft = s.ledger.draft(&gate, Some(run), body);
    draft.time = Millis::new(time).expect("a time");
    draft.sign(gate.signer()).expect("a draft")
}

/// `ana` and another approve, and `gate` executes.
pub(super) fn quorum_with(
    s: &mut Scenario,
    run: RunId,
    proposal: RecordId,
    second: &Actor,
) -> UnverifiedRecord {
    let decisions =
        [s.cast.ana.clone(), second.clone()].map(|actor| s.decide(run, proposal, &actor, Ruling::Approve));
    s.ledger.close();
    executed(s, run, proposal, &decisions, |_| {})
}

/// Somebody approves.
pub(super) fn decision_by(s: &mut Scenario, by: &Actor) -> UnverifiedRecord {
    let (run, proposal) = proposed(s);
    let body = s.decision(run, proposal, Ruling::Approve);
    s.ledger.sign(by, Some(run), body)
}

/// `scout` revises a proposal.
pub(super) fn revision(s: &mut Scenario, run: RunId, of: RecordId) -> UnverifiedRecord {
    let mut body = s.proposal(action("db.vacuum", json!({"full": false, "tables": ["orders"]})));
    body.supersedes = Some(of);
    s.ledger.sign(&s.cast.scout.clone(), Some(run), body)
}

pub(super) const fn cancel(target: RecordId) -> Cancel {
    Cancel { reason: None, target }
}

pub(super) const fn settlement(execution: RecordId) -> Settlement {
    Settlement { effects: Effects::None, evidence: None, execution, reason: None, status: Status::Failed }
}

/// The rotation of an actor's key to the next.
pub(super) fn rotated(actor: &Actor) -> Keyring {
    let groups: &[&str] = if actor.role == Role::Human { &["sre"] } else { &[] };
    let mut body = enrolment(&actor.with_key(1), groups);
    body.change = KeyChange::Rotate;
    body.replaces = Some(actor.key());
    body
}

pub(super) fn retired(actor: &Actor) -> Keyring {
    let mut body = enrolment(actor, &[]);
    body.change = KeyChange::Retire;
    body
}

pub(super) const fn revocation(key: PublicKey) -> Revocation {
    Revocation { distrust_from: None, reason: None, target: RevocationTarget::Key(key) }
}

/// A log whose two roots have to agree.
pub(super) fn two_roots() -> Scenario {
    Scenario::founded(|genesis| genesis.authority.threshold = Whole::new(2).expect("a threshold"))
}

/// A log of three roots, of whom so many have to agree; and the third.
pub(super) fn three_roots(threshold: u64) -> (Scenario, Actor) {
    let third = Actor::new("third-root", Role::Authority);
    let change = |genesis: &mut Genesis| {
        genesis.authority.roots.0.push(third.holder());
        genesis.authority.threshold = Whole::new(threshold).expect("a threshold");
    };
    (Scenario::founded(change), third)
}

/// A second root agrees, and completes a threshold of two.
pub(super) fn endorse(s: &mut Scenario, candidate: RecordId) {
    s.ledger.add(&s.cast.spare_root.clone(), None, Endorsement { candidate });
}

pub(super) fn name(text: &str) -> Principal {
    Principal::new(text).expect("a name")
}
