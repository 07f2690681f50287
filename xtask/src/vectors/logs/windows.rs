//! When: the ends of windows and of a key's validity. Every end is inside.

use counterfoil_receipt::{
    UnverifiedRecord,
    body::{Keyring, Ruling},
    field::Whole,
};
use counterfoil_testkit::{Scenario, enrolment};

use super::{
    Case, breaks, holds,
    steps::{approved_for, executed_at, proposed},
};

pub fn cases() -> Vec<Case> {
    vec![
        holds(
            "valid-window-own-end",
            "By its own time the runtime starts in the last millisecond of the window.",
            |s| by_own_time(s, |_, until| until),
        ),
        breaks(
            "R-EXEC-08",
            "window-over",
            &["ExpiredApproval"],
            "By its own time the runtime starts a millisecond after the window; log time lies inside.",
            |s| by_own_time(s, |_, until| until + 1),
        ),
        holds(
            "valid-window-own-start",
            "By its own time the runtime starts in the first millisecond of the window.",
            |s| by_own_time(s, |from, _| from),
        ),
        breaks(
            "R-EXEC-08",
            "window-not-open",
            &["ExpiredApproval"],
            "By its own time the runtime starts a millisecond before the window; log time lies inside.",
            |s| by_own_time(s, |from, _| from - 1),
        ),
        holds(
            "valid-key-last-millisecond",
            "A decision by a key that is valid up to the log time of the snapshot before it.",
            |s| by_key_with(s, |body, log_time| body.not_after = Whole::new(log_time)),
        ),
        breaks(
            "R-KEY-06",
            "key-expired",
            &["KeyLifecycle"],
            "A decision by a key whose validity ended a millisecond before the log time of the snapshot before it.",
            |s| by_key_with(s, |body, log_time| body.not_after = Whole::new(log_time - 1)),
        ),
        holds(
            "valid-key-first-millisecond",
            "A decision by a key that is valid from the log time of the snapshot before it on.",
            |s| by_key_with(s, |body, log_time| body.not_before = Whole::new(log_time)),
        ),
        breaks(
            "R-KEY-06",
            "key-too-early",
            &["KeyLifecycle"],
            "A decision by a key whose validity starts a millisecond after the log time of the snapshot before it, though before the time that the decision claims.",
            |s| by_key_with(s, |body, log_time| body.not_before = Whole::new(log_time + 1)),
        ),
    ]
}

/// An execution that claims a time, given both ends of its window. Log time lies well inside.
fn by_own_time(s: &mut Scenario, time: fn(u64, u64) -> u64) -> UnverifiedRecord {
    // One window for both approvals, so that one end is the end of both.
    let from = s.ledger.now();
    let until = from + 1_000_000;
    let (run, proposal, decisions) = approved_for(s, |body| {
        let window = body.window.as_mut().expect("a window");
        window.from = Whole::new(from).expect("a time");
        window.until = Whole::new(until).expect("a time");
    });
    executed_at(s, run, proposal, &decisions, time(from, until), |_| {})
}

/// A decision by a further key of Ana's, of the validity that is set, given the log time before the decision.
fn by_key_with(s: &mut Scenario, validity: fn(&mut Keyring, u64)) -> UnverifiedRecord {
    let ana = s.cast.ana.with_key(1);
    let (run, proposal) = proposed(s);
    let mut body = enrolment(&ana, &["sre"]);
    validity(&mut body, s.ledger.state().log_time().expect("a snapshot").get());
    s.ledger.add(&s.cast.root.clone(), None, body);
    let body = s.decision(run, proposal, Ruling::Approve);
    s.ledger.sign(&ana, Some(run), body)
}
