//! Attacks that worked on other systems, each with the code by which it is refused here.

mod delegations;
mod evidence;
mod execution;
mod links;
mod lying;
mod policies;
mod records;
mod table;
mod timers;

use counterfoil_receipt::{RecordId, RunId, UnverifiedRecord, body::Execution};
use counterfoil_testkit::{Scenario, action};
use counterfoil_verify::{Conclusion, Trust, verify};
use serde_json::json;

/// A run whose proposal two people have approved.
fn approved() -> (Scenario, RunId, RecordId, Vec<RecordId>) {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("deploy", json!({"head": "c0ffee"})));
    let decisions = s.approve(run, proposal);
    (s, run, proposal, decisions)
}

/// What the gate's record of an execution says, after a change.
fn execution(
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

/// The code with which the log turns a record away. A log that takes it all the same convinces no verifier either.
#[track_caller]
fn refused(s: &mut Scenario, run: RunId, record: &UnverifiedRecord) -> &'static str {
    let refused = s.ledger.append(record.bytes()).expect_err("the log must refuse this");
    let mut lying = s.clone();
    lying.ledger.force(record.bytes()).expect_err("the fold must report this");
    lying.ledger.close();
    let trust = lying.ledger.trust().trust();
    let bundle = lying.ledger.bundle(run);
    let codes = violations(&bundle, &trust);
    if record.run() == Some(run) {
        assert!(codes.contains(&refused.code), "the log says {}, a verifier {codes:?}", refused.code);
    }
    refused.code
}

/// The codes of everything that a bundle violates; it must not convince anybody.
#[track_caller]
fn violations(bundle: &[u8], trust: &Trust) -> Vec<&'static str> {
    let verdict = verify(bundle, trust, 0);
    assert_ne!(verdict.conclude(trust.require()), Conclusion::Shown);
    let unasked = ["witness-quorum", "checkpoint-stale"];
    let codes = verdict.findings().iter().map(|finding| finding.code);
    codes.filter(|code| !unasked.contains(code)).collect()
}
