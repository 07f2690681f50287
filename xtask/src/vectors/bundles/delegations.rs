//! Runs under delegations: a bundle has their chains, with what ended them, and no others.

use counterfoil_receipt::{
    Place, RecordId, RunId,
    body::{Audience, Revocation, RevocationTarget, Ruling},
    field::{Millis, Whole},
};
use counterfoil_testkit::{Scenario, action, delegation};
use serde_json::json;

use super::{Case, Shown, breaks, holds};

/// Longer than any vector runs, in milliseconds.
const YEAR: u64 = 31_622_400_000;

pub fn cases() -> Vec<Case> {
    vec![
        holds(
            "valid-delegated",
            "Proposed under the second of two delegations, which has an end, a runtime and a number of uses. Others of the log are not in the bundle.",
            || {
                let mut s = Scenario::new();
                let (above, _) = delegated(&mut s);
                let other = s.ledger.add(&s.cast.root.clone(), None, delegation(&s.cast.fixer, "fs.*", 0));
                revoke(&mut s, other);
                let run = s.approved_run();
                revoke(&mut s, above);
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-BUN-07",
            "record-delegation-unused",
            &["SmuggledRecord"],
            "A delegation under which nothing of the run was proposed.",
            || {
                let mut s = Scenario::new();
                let other = s.ledger.add(&s.cast.root.clone(), None, delegation(&s.cast.scout, "db.*", 0));
                let run = s.approved_run();
                let at = s.ledger.state().index_of(&other).expect("an entry");
                Shown::assembled(&s, &s.ledger.assembly_with(run, &[at]))
            },
        ),
        breaks(
            "R-DEL-06",
            "delegation-ended-before",
            &["EndedDelegation"],
            "The log took a second execution after the delegation above the proposal's was revoked.",
            || {
                let mut s = Scenario::new();
                let (above, _) = delegated(&mut s);
                let run = executed_run(&mut s);
                revoke(&mut s, above);
                again(&mut s, run)
            },
        ),
        breaks(
            "R-DEL-07",
            "delegation-used-up-in-a-bundle",
            &["Overspending"],
            "The log took a second execution under a delegation of one use.",
            || {
                let mut s = Scenario::new();
                delegated(&mut s);
                let run = executed_run(&mut s);
                again(&mut s, run)
            },
        ),
        breaks(
            "R-EXEC-08",
            "delegation-over-in-a-bundle",
            &["ExpiredApproval"],
            "The delegation was over before the snapshot after the execution.",
            || {
                let mut s = Scenario::new();
                let now = s.ledger.now();
                let mut body = delegation(&s.cast.scout, "db.*", 0);
                body.not_after = Millis::new(now + 60_000);
                s.delegation = Some(s.ledger.add(&s.cast.root.clone(), None, body));
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
                let decisions = s.approve(run, proposal);
                let execution = s.execution(run, proposal, &decisions);
                s.ledger.add(&s.cast.gate.clone(), Some(run), execution);
                s.ledger.wait(60_000);
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
    ]
}

/// The authority's delegation, and one use of it that `scout` passed on to itself, under which it proposes from here on.
fn delegated(s: &mut Scenario) -> (RecordId, RecordId) {
    let scout = s.cast.scout.clone();
    let above = s.ledger.add(&s.cast.root.clone(), None, delegation(&scout, "db.*", 1));
    let mut body = delegation(&scout, "db.vacuum", 0);
    body.audience = Some(Audience::Principal(s.cast.gate.principal.clone()));
    body.not_after = Millis::new(s.ledger.now() + YEAR);
    body.uses = Whole::new(1);
    let mut draft = s.ledger.draft(&scout, None, body);
    draft.place = Place::Chain { log: s.ledger.log(), prev: above };
    let below = draft.sign(scout.signer()).expect("a draft");
    s.ledger.append(below.bytes()).expect("it narrows the one above");
    s.delegation = Some(below.id());
    (above, below.id())
}

fn revoke(s: &mut Scenario, id: RecordId) {
    let target = RevocationTarget::Delegation(id);
    s.ledger.add(&s.cast.root.clone(), None, Revocation { distrust_from: None, reason: None, target });
}

/// A run that was approved for two uses, of which one was executed.
fn executed_run(s: &mut Scenario) -> RunId {
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
    let decisions = [s.cast.ana.clone(), s.cast.bo.clone()].map(|human| {
        let mut body = s.decision(run, proposal, Ruling::Approve);
        body.uses = Whole::new(2);
        s.ledger.add(&human, Some(run), body)
    });
    s.ledger.close();
    s.execute(run, proposal, &decisions);
    run
}

/// A second use of what was approved for two, which the log should not have taken.
fn again(s: &mut Scenario, run: RunId) -> Shown {
    let (proposal, state) = s.ledger.run(run).proposals()[0];
    let decisions = state.decisions.clone();
    let mut body = s.execution(run, proposal, &decisions);
    body.use_number = Whole::new(2).expect("a number");
    let execution = s.ledger.sign(&s.cast.gate.clone(), Some(run), body);
    s.ledger.force(execution.bytes()).expect_err("the fold must report this");
    s.ledger.close();
    Shown::of(s, run)
}
