//! How far: the ends of windows, ranges and ages. Every end is inside.

use counterfoil_receipt::{
    PublicKey, RunId, UnverifiedRecord,
    action::Json,
    body::{KeyChange, Policy, Revocation, RevocationTarget, Ruling, Window},
    field::{Millis, Whole},
};
use counterfoil_testkit::{Scenario, WINDOW, action, enrolment, policy_document, witness};
use counterfoil_verify::Dimension;
use serde_json::json;

use super::{
    Case, Shown, approved, before_two_witnesses, breaks, holds, untouched, validity::without_entry,
    without_execution,
};

/// How far a ledger's time moves with each record.
const TICK: u64 = 1_000;
/// The `max_age` of readers who ask for freshness, in milliseconds.
const MAX_AGE: u64 = 600_000;

pub fn cases() -> Vec<Case> {
    [windows(), ages(), authority(), disputes()].into_iter().flatten().collect()
}

fn windows() -> Vec<Case> {
    vec![
        holds(
            "valid-window-log-end",
            "By log time the execution lies in the last millisecond of the window.",
            || by_log_time(|_, until| until),
        ),
        breaks(
            "R-EXEC-08",
            "window-over-by-log-time",
            &["ExpiredApproval"],
            "The runtime says it started in time; the log has it a millisecond after the window.",
            || by_log_time(|_, until| until + 1),
        ),
        holds(
            "valid-window-log-start",
            "By log time the execution lies in the first millisecond of the window.",
            || by_log_time(|from, _| from),
        ),
        breaks(
            "R-EXEC-08",
            "window-not-open-by-log-time",
            &["ExpiredApproval"],
            "The runtime says it started in time; the log has it a millisecond before the window.",
            || by_log_time(|from, _| from - 1),
        ),
        holds(
            "valid-witnessed-at-end",
            "The second of two witnesses cosigned when the window ended.",
            || by_witness_time(0),
        ),
        holds(
            "valid-allowed",
            "The policy allows the action without approval: nothing has a window that witnesses could have come too late for.",
            || {
                let mut s = Scenario::under(allowing());
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
                s.execute(run, proposal, &[]);
                for name in ["a.example", "b.example"] {
                    s.ledger.cosign(&witness(name), (s.ledger.now() + WINDOW) / 1_000);
                }
                before_two_witnesses(Shown::of(&s, run))
            },
        ),
        breaks(
            "R-EXEC-08",
            "witnessed-after-window",
            &["ExpiredApproval", "WitnessQuorum"],
            "The second of two witnesses cosigned a second after the window: that the execution was in time is not shown.",
            || by_witness_time(1),
        ),
    ]
}

fn ages() -> Vec<Case> {
    vec![
        holds("valid-fresh", "The last checkpoint is exactly as old as the reader accepts.", || {
            aged(untouched(), |time| time + MAX_AGE)
        }),
        breaks(
            "R-FRESH-01",
            "checkpoint-stale",
            &["StaleCheckpoint"],
            "The last checkpoint is a millisecond older than the reader accepts.",
            || aged(untouched(), |time| time + MAX_AGE + 1),
        ),
        holds(
            "valid-fresh-ahead",
            "The last checkpoint is as far ahead of the reader's clock as the reader accepts.",
            || aged(untouched(), |time| time - MAX_AGE),
        ),
        breaks(
            "R-FRESH-01",
            "checkpoint-ahead",
            &["StaleCheckpoint"],
            "The last checkpoint is a millisecond further ahead of the reader's clock than the reader accepts.",
            || aged(untouched(), |time| time - MAX_AGE - 1),
        ),
        holds(
            "valid-fresh-by-witnesses",
            "The first of two witnesses cosigned the last checkpoint exactly as long ago as the reader accepts.",
            || aged(witnessed(), |time| time + MAX_AGE),
        ),
        breaks(
            "R-FRESH-01",
            "checkpoint-stale-by-witnesses",
            &["StaleCheckpoint", "WitnessQuorum"],
            "The first of two witnesses cosigned the last checkpoint a millisecond too long ago, the second did so later.",
            || aged(witnessed(), |time| time + MAX_AGE + 1),
        ),
        breaks("R-WIT-01", "witness-quorum", &["WitnessQuorum"], "One of two witnesses cosigned.", || {
            let mut s = Scenario::new();
            let run = s.rejected_run();
            s.ledger.cosign(&witness("a.example"), s.ledger.now() / 1_000);
            let mut shown = before_two_witnesses(without_execution(Shown::of(&s, run)));
            shown.trust.dimensions.push(Dimension::Witnessed);
            shown
        }),
    ]
}

fn authority() -> Vec<Case> {
    vec![
        breaks(
            "R-BASIS-01",
            "basis-behind-a-policy-not-shown",
            &["Fork", "PolicyConfusion"],
            "The basis covers the policy that allows the action, which was logged again later. The first of the two is left out: that it is covered is not shown.",
            || {
                let mut s = Scenario::new();
                let left_out = s.ledger.size();
                s.set_policy(allowing());
                s.ledger.close();
                let basis = s.ledger.basis();
                s.set_policy(allowing());
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({"full": false})));
                let mut body = s.execution(run, proposal, &[]);
                body.basis = basis;
                s.ledger.add(&s.cast.gate.clone(), Some(run), body);
                s.ledger.close();
                without_entry(&s, run, left_out)
            },
        ),
        breaks(
            "R-AUTH-02",
            "authority-not-pinned",
            &["AuthorityForgery", "WrongTrust"],
            "A root of the genesis that the reader does not pin changed a keyring.",
            || retired_by_spare(|root, _, _| vec![(0, None, vec![root])]),
        ),
        holds(
            "valid-authority-pinned-until",
            "A root signs the last entry for which the reader pins it.",
            || {
                retired_by_spare(|root, spare, at| {
                    vec![(0, Some(at), vec![root, spare]), (at + 1, None, vec![root])]
                })
            },
        ),
        breaks(
            "R-AUTH-02",
            "authority-pinned-before",
            &["AuthorityForgery", "WrongTrust"],
            "A root signs the first entry after those for which the reader pins it.",
            || {
                retired_by_spare(|root, spare, at| {
                    vec![(0, Some(at - 1), vec![root, spare]), (at, None, vec![root])]
                })
            },
        ),
        holds(
            "valid-authority-pinned-from",
            "A root signs the first entry for which the reader pins it.",
            || {
                retired_by_spare(|root, spare, at| {
                    vec![(0, Some(at - 1), vec![root]), (at, None, vec![spare])]
                })
            },
        ),
        breaks(
            "R-AUTH-02",
            "authority-pinned-later",
            &["AuthorityForgery", "WrongTrust"],
            "A root signs the last entry before those for which the reader pins it.",
            || {
                retired_by_spare(|root, spare, at| {
                    vec![(0, Some(at), vec![root]), (at + 1, None, vec![spare])]
                })
            },
        ),
        holds(
            "valid-authority-overlap",
            "A root signs the one entry for which the reader pins it beside another.",
            || retired_by_spare(|root, spare, at| vec![(0, None, vec![root]), (at, Some(at), vec![spare])]),
        ),
        breaks(
            "R-AUTH-02",
            "authority-between-ranges",
            &["AuthorityForgery", "WrongTrust"],
            "A root signs the one entry between two ranges for which the reader pins it.",
            || {
                retired_by_spare(|root, spare, at| {
                    vec![(0, Some(at - 1), vec![root, spare]), (at + 1, None, vec![root, spare])]
                })
            },
        ),
        breaks(
            "R-POL-01",
            "policy-unreadable",
            &["PolicyConfusion"],
            "A policy that nobody can read is logged between approval and execution. It changes nothing: the execution stands under the one before.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let proposal = s.propose(run, action("db.vacuum", json!({})));
                let decisions = s.approve(run, proposal);
                let mut document = policy_document(2);
                document["language"] = json!("counterfoil-policy/9");
                let body = Policy::Document(Json::from_value(&document).expect("a document"));
                let unreadable = s.ledger.sign(&s.cast.root.clone(), None, body);
                s.ledger.force(unreadable.bytes()).expect_err("no reader knows this language");
                s.execute(run, proposal, &decisions);
                Shown::of(&s, run)
            },
        ),
    ]
}

fn disputes() -> Vec<Case> {
    vec![
        breaks(
            "R-KEY-09",
            "key-distrusted",
            &["KeyLifecycle"],
            "The authority revokes Bo's key later, and disputes what it signed from Bo's approval on.",
            || disputed(|approval| approval),
        ),
        holds(
            "valid-disputed-later",
            "The authority revokes Bo's key later, and disputes what it signed after Bo's approval.",
            || disputed(|approval| approval + 1),
        ),
    ]
}

/// An approved and executed run, and the two ends of its window: long after the approvals, and an hour later. The
/// runtime says that it started well inside.
fn executed_within() -> (Scenario, RunId, u64, u64) {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("db.vacuum", json!({})));
    let from = s.ledger.now() + 100 * TICK;
    let decisions = [s.cast.ana.clone(), s.cast.bo.clone()].map(|human| {
        let mut body = s.decision(run, proposal, Ruling::Approve);
        body.window = Some(Window { from: millis(from), until: millis(from + WINDOW) });
        s.ledger.add(&human, Some(run), body)
    });
    s.ledger.close();
    let body = s.execution(run, proposal, &decisions);
    let gate = s.cast.gate.clone();
    let mut draft = s.ledger.draft(&gate, Some(run), body);
    draft.time = millis(from + TICK);
    let execution = draft.sign(gate.signer()).expect("a draft");
    s.ledger.append(execution.bytes()).expect("an execution that is in time, as far as the runtime says");
    (s, run, from, from + WINDOW)
}

/// The execution gets this log time, given both ends of its window.
fn by_log_time(time: fn(u64, u64) -> u64) -> Shown {
    let (mut s, run, from, until) = executed_within();
    close_at(&mut s, time(from, until));
    Shown::of(&s, run)
}

/// The second of two witnesses cosigns so many seconds after the window; log time lies inside.
fn by_witness_time(late: u64) -> Shown {
    let (mut s, run, from, until) = executed_within();
    close_at(&mut s, from + 10 * TICK);
    s.ledger.cosign(&witness("a.example"), s.ledger.now() / 1_000);
    s.ledger.cosign(&witness("b.example"), until / 1_000 + late);
    before_two_witnesses(Shown::of(&s, run))
}

/// A policy that allows everything.
fn allowing() -> serde_json::Value {
    let rule = json!({"effect": "allow", "match": {"always": true}, "name": "everything", "uses": 1});
    json!({"language": "counterfoil-policy/1", "rules": [rule]})
}

/// Closes a batch at this log time.
fn close_at(s: &mut Scenario, time: u64) {
    s.ledger.wait(time - s.ledger.now() - TICK);
    s.ledger.close();
    assert_eq!(s.ledger.state().log_time(), Millis::new(time), "the log time of the last snapshot");
}

/// The same for a reader who asks for freshness, at a time that follows from that of the last checkpoint.
fn aged(mut shown: Shown, now: fn(u64) -> u64) -> Shown {
    shown.trust.max_age = Some(format!("{}s", MAX_AGE / 1_000));
    shown.trust.dimensions.push(Dimension::Freshness);
    shown.now = now(shown.now);
    shown
}

/// The approved run, whose last checkpoint one witness cosigned at once and another two seconds later.
fn witnessed() -> Shown {
    let (mut s, run) = approved();
    let seconds = s.ledger.now() / 1_000;
    s.ledger.cosign(&witness("a.example"), seconds);
    s.ledger.cosign(&witness("b.example"), seconds + 2);
    before_two_witnesses(Shown::of(&s, run))
}

/// The approved run, after which the second root retires Ana's key, to a reader who pins roots for ranges: given both roots
/// and the index of the retirement.
fn retired_by_spare(ranges: fn(PublicKey, PublicKey, u64) -> Vec<Range>) -> Shown {
    let (mut s, run) = approved();
    let mut retirement = enrolment(&s.cast.ana, &[]);
    retirement.change = KeyChange::Retire;
    let at = s.ledger.size();
    s.ledger.add(&s.cast.spare_root.clone(), None, retirement);
    s.ledger.close();
    let mut shown = Shown::of(&s, run);
    shown.trust.authority = ranges(s.cast.root.key(), s.cast.spare_root.key(), at);
    shown
}

/// A range of a trust file: from, until, roots.
type Range = (u64, Option<u64>, Vec<PublicKey>);

/// The approved run, after which Bo's key is revoked and disputed from an index on, given that of Bo's approval.
fn disputed(from: fn(u64) -> u64) -> Shown {
    let (mut s, run) = approved();
    let bo = s.cast.bo.key();
    let by_bo = |bytes: &Vec<u8>| UnverifiedRecord::parse(bytes).expect("a record").author().key == bo;
    let approval = s.ledger.entries().iter().position(by_bo).expect("Bo's approval") as u64;
    let body = Revocation {
        distrust_from: Whole::new(from(approval)),
        reason: None,
        target: RevocationTarget::Key(bo),
    };
    s.ledger.add(&s.cast.root.clone(), None, body);
    s.ledger.close();
    Shown::of(&s, run)
}

fn millis(time: u64) -> Millis {
    Millis::new(time).expect("a time")
}
