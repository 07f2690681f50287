//! A server that lies about delegations, and about what was taken back.

use counterfoil_receipt::{
    Place, RecordId, RunId, UnverifiedRecord,
    body::{Audience, Cost, Delegation, Revocation, RevocationTarget, Spend},
    field::Whole,
    text::{Amount, Currency},
};
use counterfoil_testkit::{Actor, NoRoots, Scenario, action, delegation, label, trigger_body};
use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, leaf_hash, multiproof};
use counterfoil_verify::{Conclusion, Dimension, KeyCache, Scope, State, check_signature, verify};
use serde_json::json;

use super::{admits, executes, lies, name, proposed, told, untimed};
use crate::violations;

/// A log whose policy lets delegates do everything, and what the authority granted `scout`.
fn delegated() -> (Scenario, RecordId) {
    let allow = json!({"effect": "allow", "match": {"delegation": true}, "name": "delegated", "uses": 9});
    let mut s = Scenario::under(json!({"costs": [{"amount": "/amount", "currency": "EUR", "tool": "*"}],
        "language": "counterfoil-policy/1", "rules": [allow]}));
    let body = granted(&s.cast.scout);
    let id = s.ledger.add(&s.cast.root.clone(), None, body);
    (s, id)
}

fn euro(amount: &str) -> Cost {
    Cost { amount: Amount::new(amount).unwrap(), currency: Currency::new("EUR").unwrap() }
}

/// Payments in `db-1` by `gate`, within bounds of every kind.
fn granted(to: &Actor) -> Delegation {
    let mut body = delegation(to, "payments.*", 3);
    body.audience = Some(Audience::Principal(name("gate")));
    body.not_before = Whole::new(1_000);
    body.not_after = Whole::new(2_000_000_000_000);
    body.scope.0[0].target = Some(label("db-*"));
    body.spend = Some(Spend { per_action: Some(euro("10")), total: Some(euro("50")) });
    body.uses = Whole::new(5);
    body
}

#[test]
fn it_lets_a_delegation_be_passed_on_wider() {
    type Change = fn(&mut Delegation);
    let wider: [(&str, Change); 9] = [
        ("tool", |body| body.scope.0[0].tool = label("*")),
        ("target", |body| body.scope.0[0].target = None),
        ("depth", |body| body.depth = Whole::new(3).unwrap()),
        ("per action", |body| body.spend.as_mut().unwrap().per_action = Some(euro("10.01"))),
        ("total", |body| body.spend.as_mut().unwrap().total = Some(euro("51"))),
        ("uses", |body| body.uses = Whole::new(6)),
        ("until", |body| body.not_after = Whole::new(2_000_000_000_001)),
        ("from", |body| body.not_before = Whole::new(999)),
        ("audience", |body| body.audience = Some(Audience::Principal(name("other")))),
    ];
    for (what, widen) in wider {
        let (mut s, above) = delegated();
        let (scout, fixer) = (s.cast.scout.clone(), s.cast.fixer.clone());
        let mut body = granted(&fixer);
        body.depth = Whole::new(2).unwrap();
        widen(&mut body);
        let mut draft = s.ledger.draft(&scout, None, body);
        draft.place = Place::Chain { log: s.ledger.log(), prev: above };
        let record = draft.sign(scout.signer()).unwrap();
        assert_eq!(admits(&mut s, &record), "delegation-widens", "{what}");
        // The delegate acts as if it stood, within the bounds of both.
        let run = run_of(&mut s, &fixer);
        let (proposal, code) = proposes(&mut s, run, &fixer, record.id(), "payments.refund");
        assert_eq!(code, "delegation-holder", "{what}");
        s.ledger.close();
        let codes = vec!["delegation-widens", "delegation-holder", "reference-unknown"];
        forced_execution(&mut s, run, &fixer, proposal);
        assert_eq!(told(&mut s, run), (Conclusion::Violated, codes), "{what}");
    }
}

#[test]
fn it_lets_a_delegate_act_outside_of_what_it_holds() {
    let (mut s, id) = delegated();
    let scout = s.cast.scout.clone();
    let run = run_of(&mut s, &scout);
    assert_eq!(proposes(&mut s, run, &scout, id, "db.drop").1, "delegation-scope");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["delegation-scope"]));
}

fn run_of(s: &mut Scenario, owner: &Actor) -> RunId {
    let event = s.ledger.size().to_string();
    RunId::started_by(s.ledger.add(&s.cast.gate.clone(), None, trigger_body(owner, &event)))
}

/// A proposal under a delegation that the server admits; its id, and why an honest log would not.
#[track_caller]
fn proposes(
    s: &mut Scenario,
    run: RunId,
    by: &Actor,
    under: RecordId,
    tool: &str,
) -> (UnverifiedRecord, &'static str) {
    let mut body = s.proposal(action(tool, json!({"amount": "1"})));
    body.delegation = Some(under);
    let record = s.ledger.sign(by, Some(run), body);
    let code = admits(s, &record);
    (record, code)
}

/// An execution of a proposal that does not stand.
#[track_caller]
fn forced_execution(s: &mut Scenario, run: RunId, owner: &Actor, proposal: UnverifiedRecord) {
    // What it says is taken from a proposal that does stand.
    let mut honest = s.clone();
    let stands = honest.proposal(proposal.body().action().unwrap().clone());
    let stands = honest.ledger.add(owner, Some(run), stands);
    let mut body = honest.execution(run, stands, &[]);
    (body.proposal, body.basis) = (proposal.id(), s.ledger.basis());
    let gate = s.cast.gate.clone();
    lies(s, &gate, Some(run), body);
}

/// The bundle of a run without one entry, with a proof that fits: whoever has the whole log can make it.
fn without(s: &Scenario, run: RunId, index: u64) -> Vec<u8> {
    let tree: MemoryTree = s.ledger.entries().iter().map(|entry| leaf_hash(entry)).collect();
    let mut assembly = s.ledger.assembly(run);
    let before = assembly.entries.len();
    assembly.entries.retain(|(at, _)| *at != index);
    assert_eq!(assembly.entries.len(), before - 1, "the bundle had it");
    let leaves: Vec<LeafIndex> = assembly.entries.iter().map(|(at, _)| LeafIndex(*at)).collect();
    assembly.segments = multiproof::prove(TreeSize(s.ledger.size()), &leaves, &tree).unwrap();
    assembly.to_bytes().unwrap()
}

/// A revocation of no run hangs from nothing that a bundle has. That none was left out is *completeness*, which no bundle of this
/// version shows: a reader who asks for it is not told that all is well, one who does not is told as much as the bundle shows, and
/// whoever reads the whole log finds the lie.
#[test]
fn it_leaves_a_revocation_out_of_its_bundle() {
    let (mut s, id) = delegated();
    let scout = s.cast.scout.clone();
    let run = run_of(&mut s, &scout);
    let mut body = s.proposal(action("payments.refund", json!({"amount": "1"})));
    body.delegation = Some(id);
    let proposal = s.ledger.add(&scout, Some(run), body);
    s.ledger.close();
    let target = RevocationTarget::Delegation(id);
    let revoked = s.ledger.size();
    s.ledger.add(&s.cast.root.clone(), None, Revocation { distrust_from: None, reason: None, target });
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &[], |_| {}), "delegation-ended");
    // With it.
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["delegation-ended"]));
    // Cut out: what is left has no proof.
    let mut cut = s.ledger.assembly(run);
    let at = cut.entries.iter().position(|(at, _)| *at == revoked).unwrap();
    cut.entries.remove(at);
    cut.segments.remove(at);
    let trust = s.ledger.trust();
    assert!(violations(&cut.to_bytes().unwrap(), &trust.trust()).contains(&"inclusion-mismatch"));
    // Left out, with a proof that fits.
    let bundle = without(&s, run, revoked);
    let complete = [&trust.dimensions[..], &[Dimension::Completeness]].concat();
    let asks = trust.clone().requiring(&complete).trust();
    let verdict = verify(&bundle, &asks, 0);
    assert_eq!(verdict.conclude(asks.require()), Conclusion::NotShown);
    assert!(!verdict.answer(Dimension::Completeness).passes());
    assert_eq!(verdict.conclude(trust.trust().require()), Conclusion::Shown, "the limit of a bundle");
    // The log that says so is signed: whoever reads all of it has what convicts it.
    let mut state = State::new(Scope::Complete);
    let faults = s.ledger.entries().iter().zip(0..).filter_map(|(entry, index)| {
        let record = UnverifiedRecord::parse(entry).unwrap();
        let record = check_signature(record, &mut KeyCache::default()).unwrap();
        state.fold(&record, index, &NoRoots).err().map(|fault| fault.rule.code())
    });
    assert_eq!(faults.collect::<Vec<_>>(), ["delegation-ended"]);
}

#[test]
fn it_leaves_the_revocation_of_an_approver_s_key_out_of_its_bundle() {
    let (mut s, run, proposal) = proposed(&json!([untimed()]));
    let decisions = s.approve(run, proposal);
    let target = RevocationTarget::Key(s.cast.ana.key());
    let revoked = s.ledger.size();
    s.ledger.add(&s.cast.root.clone(), None, Revocation { distrust_from: None, reason: None, target });
    s.ledger.close();
    assert_eq!(executes(&mut s, run, proposal, &decisions, |_| {}), "approval-revoked");
    assert_eq!(told(&mut s, run), (Conclusion::Violated, vec!["approval-revoked"]));
    let trust = s.ledger.trust().requiring(&Dimension::ALL).trust();
    let verdict = verify(&without(&s, run, revoked), &trust, 0);
    assert_eq!(verdict.conclude(trust.require()), Conclusion::NotShown);
    assert!(!verdict.answer(Dimension::Completeness).passes());
}
