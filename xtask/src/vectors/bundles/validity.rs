//! Keys with a validity: a bundle shows the log time by which their records are judged.

use counterfoil_receipt::{RunId, body::Ruling, field::Whole};
use counterfoil_testkit::{Actor, Scenario, action, enrolment};
use counterfoil_tlog::{LeafIndex, MemoryTree, TreeSize, leaf_hash, multiproof};
use counterfoil_verify::Dimension;
use serde_json::json;

use super::{Case, Shown, breaks, holds};

/// Longer than any vector runs, in milliseconds.
const YEAR: u64 = 31_622_400_000;

pub fn cases() -> Vec<Case> {
    vec![
        holds(
            "valid-key-validity",
            "An approver's key has a year to go. The snapshots around the approval, which show its log time, are beside no execution.",
            || {
                let (s, run, _) = approved_with_limited_key();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-KEY-06",
            "key-validity-over",
            &["KeyLifecycle"],
            "After the execution somebody approves once more, with a key whose validity was over.",
            || {
                let mut s = Scenario::new();
                let run = s.approved_run();
                let proposal = s.ledger.run(run).proposals()[0].0;
                let late = limited_key(&mut s, 0);
                s.ledger.close();
                let body = s.decision(run, proposal, Ruling::Approve);
                let decision = s.ledger.sign(&late, Some(run), body);
                s.ledger.force(decision.bytes()).expect_err("a key that is over");
                s.ledger.close();
                Shown::of(&s, run)
            },
        ),
        breaks(
            "R-KEY-01",
            "enrolment-not-shown",
            &["KeyLifecycle"],
            "The enrolment of whoever executed is left out.",
            || {
                let mut s = Scenario::new();
                let gate = s.cast.gate.with_key(1);
                let left_out = s.ledger.size();
                s.enrol(&gate, &["prod"]);
                s.ledger.close();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                let body = s.execution(run, proposal, &decisions);
                s.ledger.add(&gate, Some(run), body);
                s.ledger.close();
                let mut shown = without_entry(&s, run, left_out);
                shown.trust.dimensions.retain(|dimension| *dimension != Dimension::Conformity);
                shown
            },
        ),
        breaks(
            "R-KEY-06",
            "key-validity-not-shown",
            &["KeyLifecycle"],
            "The first snapshot after the approval is left out: that none was left out before the approval, when the key was over, is not shown.",
            || {
                let (s, run, after) = approved_with_limited_key();
                without_entry(&s, run, after)
            },
        ),
    ]
}

/// A further key of Ana's, whose validity ends so many milliseconds after the last log time.
fn limited_key(s: &mut Scenario, left: u64) -> Actor {
    let key = s.cast.ana.with_key(1);
    let mut body = enrolment(&key, &["sre"]);
    let now = s.ledger.state().log_time().expect("a snapshot").get();
    body.not_after = Whole::new(now + left);
    s.ledger.add(&s.cast.root.clone(), None, body);
    key
}

/// An executed run that Ana approved with a key that has a validity, two snapshots before the one before the execution; and
/// the index of the first snapshot after that approval.
fn approved_with_limited_key() -> (Scenario, RunId, u64) {
    let mut s = Scenario::new();
    let ana = limited_key(&mut s, YEAR);
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    s.ledger.close();
    let by_ana = s.decide(run, proposal, &ana, Ruling::Approve);
    s.ledger.close();
    let after = s.ledger.size() - 1;
    s.trigger();
    s.ledger.close();
    let by_bo = s.decide(run, proposal, &s.cast.bo.clone(), Ruling::Approve);
    s.ledger.close();
    s.execute(run, proposal, &[by_ana, by_bo]);
    s.ledger.close();
    (s, run, after)
}

/// The bundle of a run without one of its entries.
pub(super) fn without_entry(s: &Scenario, run: RunId, left_out: u64) -> Shown {
    let mut tree = MemoryTree::new();
    for entry in s.ledger.entries() {
        tree.push(leaf_hash(entry));
    }
    let mut assembly = s.ledger.assembly(run);
    let before = assembly.entries.len();
    assembly.entries.retain(|(at, _)| *at != left_out);
    assert_eq!(assembly.entries.len(), before - 1, "the entry was there");
    // The one that it may end goes too.
    let last = assembly.checkpoints.pop().expect("a checkpoint");
    assembly.checkpoints = vec![last];
    let leaves: Vec<LeafIndex> = assembly.entries.iter().map(|(at, _)| LeafIndex(*at)).collect();
    let size = TreeSize(s.ledger.size());
    assembly.segments = multiproof::prove(size, &leaves, &tree).expect("indices of the tree");
    Shown::assembled(s, &assembly)
}
