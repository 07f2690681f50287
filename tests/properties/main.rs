//! Properties that hold for all inputs: nothing panics, what is written is read back, and a verdict depends on the evidence alone.

mod approvals;
mod bodies;
mod delegations;
mod naive;
mod proposals;

use std::{num::NonZeroUsize, sync::LazyLock};

use counterfoil_receipt::{
    Action, Draft, Place, RecordId, Role, RunId, SigningKey, UnverifiedRecord,
    body::{Form, Type},
    bundle::{Header, PayloadLine, PositionLine, read_line},
    field::Millis,
    json::{Limits, canonicalize_input},
};
use counterfoil_testkit::{Effort, Scenario};
use counterfoil_verify::{Answer, Conclusion, Dimension, MAX_THREADS, Trust, Verdict, Verifier, verify};
use proptest::prelude::*;

/// A bundle that holds, and who reads it.
static APPROVED: LazyLock<(Vec<u8>, Trust)> = LazyLock::new(|| {
    let mut s = Scenario::new();
    let run = s.approved_run();
    (s.ledger.bundle(run), s.ledger.trust().trust())
});

/// A bundle of so many entries that threads take turns.
static LONG: LazyLock<(Vec<u8>, Trust)> = LazyLock::new(|| {
    let mut s = Scenario::new();
    let run = s.trigger();
    for _ in 0..120 {
        s.observe(run);
    }
    s.ledger.close();
    (s.ledger.bundle(run), s.ledger.trust().trust())
});

fn cases() -> ProptestConfig {
    let cases = Effort::from_env().of(128, 128 * 64);
    ProptestConfig {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(UnverifiedRecord::parse(&bytes).is_err());
        let _ = Action::parse(&bytes);
        let _ = read_line::<Header>(&bytes);
        let _ = read_line::<PositionLine>(&bytes);
        let _ = read_line::<PayloadLine>(&bytes);
        let _ = Trust::parse(&String::from_utf8_lossy(&bytes));
        let verdict = verify(&bytes, &APPROVED.1, 0);
        prop_assert_eq!(verdict.conclude(APPROVED.1.require()), Conclusion::Unreadable);
    }

    #[test]
    fn nothing_panics_on_lines_of_a_bundle_in_any_order(
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..4),
        now in any::<u64>(),
    ) {
        let mut bundle = reordered(&APPROVED.0, &order);
        for (at, bit) in flips.iter().filter(|_| !bundle.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bundle.len());
            bundle[at] ^= 1 << bit;
        }
        let verdict = verify(&bundle, &APPROVED.1, now);
        prop_assert!(bundle == APPROVED.0 || verdict.conclude(APPROVED.1.require()) != Conclusion::Shown);
    }

    #[test]
    fn what_is_written_is_read_back(
        (kind, body) in bodies::any_body(),
        role in prop::sample::select(Role::ALL),
        place in (any::<[u8; 32]>(), any::<[u8; 32]>(), prop::collection::btree_set(any::<[u8; 32]>(), 1..=16)),
        time in 0u64..1 << 53,
        seed in any::<[u8; 32]>(),
    ) {
        let draft = Draft {
            place: form(kind, &place),
            time: Millis::new(time).unwrap(),
            principal: bodies::name("p-1"),
            role,
            body: bodies::said_by(role, body),
        };
        let record = draft.sign(&SigningKey::from_seed(&seed)).unwrap();
        prop_assert_eq!(record.body(), &draft.body);
        prop_assert_eq!(record.place(), &draft.place);
        prop_assert_eq!((record.time(), record.author().role), (draft.time, draft.role));
        prop_assert_eq!(record.kind(), kind);
        prop_assert_eq!(record.preimage(), draft.preimage(record.author()));
        // The oracle: a reader that knows nothing of records, and a writer that sorts for itself.
        let again = canonicalize_input(record.bytes(), &Limits { bytes: 65_535, depth: 32 }).unwrap();
        prop_assert_eq!(again.as_slice(), record.bytes());
        if let Some(action) = record.body().action() {
            prop_assert_eq!(&Action::parse(&action.to_canonical()).unwrap(), action);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases().cases / 8, ..cases() })]

    #[test]
    fn a_verdict_does_not_depend_on_the_number_of_threads(
        threads in 2..=MAX_THREADS,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..6),
    ) {
        let mut bundle = LONG.0.clone();
        for (at, bit) in flips {
            let at = at.index(bundle.len());
            bundle[at] ^= 1 << bit;
        }
        prop_assert_eq!(facts(&on_threads(&bundle, 1)), facts(&on_threads(&bundle, threads)));
    }

    /// Enrolments of different principals are independent, and so are the decisions of two people: whichever the log puts first,
    /// the reader's answers are the same.
    #[test]
    fn answers_do_not_depend_on_the_order_of_independent_entries(order in Just(vec![0usize, 1, 2, 3, 4, 5]).prop_shuffle(), bo_first: bool) {
        prop_assert_eq!(played(&order, bo_first), played(&[0, 1, 2, 3, 4, 5], false));
    }

    /// What is not disclosed changes what can be read, and no answer.
    #[test]
    fn answers_do_not_depend_on_which_payloads_are_disclosed(disclosed in prop::collection::vec(any::<bool>(), 16)) {
        let mut s = Scenario::new();
        let run = s.approved_run();
        let mut assembly = s.ledger.assembly(run);
        let all = assembly.payloads.len();
        prop_assert!(all > 4 && all <= disclosed.len());
        let mut keep = disclosed.iter();
        assembly.payloads.retain(|_| *keep.next().unwrap());
        let trust = s.ledger.trust().trust();
        let verdict = verify(&assembly.to_bytes().unwrap(), &trust, 0);
        prop_assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown);
        prop_assert_eq!(verdict.openings().len(), assembly.payloads.len());
        prop_assert_eq!(verdict.undisclosed(), (all - assembly.payloads.len()) as u64);
    }
}

/// The answers and the run's end, if the cast is enrolled in this order.
fn played(order: &[usize], bo_first: bool) -> ([Answer; 7], Vec<String>) {
    use counterfoil_receipt::body::Ruling;
    let mut s = Scenario::founded(|_| {});
    let cast = s.cast.clone();
    let all = [&cast.ana, &cast.bo, &cast.scout, &cast.fixer, &cast.gate, &cast.engine];
    for at in order {
        let groups: &[&str] = if all[*at].role == Role::Human { &["sre"] } else { &[] };
        s.enrol(all[*at], groups);
    }
    s.set_policy(counterfoil_testkit::policy_document(2));
    s.ledger.close();
    let run = s.trigger();
    let proposal = s.propose(run, counterfoil_testkit::action("deploy", serde_json::json!({})));
    let humans = if bo_first { [&cast.bo, &cast.ana] } else { [&cast.ana, &cast.bo] };
    let decisions = humans.map(|human| s.decide(run, proposal, human, Ruling::Approve));
    s.ledger.close();
    s.execute(run, proposal, &decisions);
    let verdict = verify(&s.ledger.bundle(run), &s.ledger.trust().trust(), 0);
    let state = verdict.state();
    let run = state.run(&run).unwrap();
    let status = state.proposal_status(run, &proposal).unwrap().as_str().to_owned();
    (Dimension::ALL.map(|dimension| verdict.answer(dimension).clone()), vec![status])
}

fn on_threads(bundle: &[u8], threads: usize) -> Verdict {
    let mut verifier = Verifier::new(&LONG.1, NonZeroUsize::new(threads).unwrap());
    let mut lines: Vec<&[u8]> = bundle.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().is_some_and(|rest| !rest.is_empty());
    lines.into_iter().for_each(|line| verifier.line(line));
    if unfinished {
        verifier.unfinished_line();
    }
    verifier.finish(0)
}

/// Everything that a verdict says.
fn facts(verdict: &Verdict) -> String {
    let answers = Dimension::ALL.map(|dimension| verdict.answer(dimension).clone());
    format!(
        "{:?} {answers:?} {:#?} {:?} {:?} {}",
        verdict.run_id(),
        verdict.findings(),
        verdict.without_effect(),
        verdict.checkpoints(),
        verdict.undisclosed()
    )
}

/// These lines of a bundle; its own if none are named.
fn reordered(bundle: &[u8], order: &[prop::sample::Index]) -> Vec<u8> {
    let lines: Vec<&[u8]> = bundle.split_inclusive(|byte| *byte == b'\n').collect();
    if order.is_empty() {
        return bundle.to_vec();
    }
    // Half of the lines stay where they are, so that reading gets past the header.
    let mut mixed = lines.clone();
    for (at, index) in order.iter().enumerate().filter(|(at, _)| at % 2 == 1) {
        let (from, to) = (index.index(lines.len()), at % lines.len());
        mixed[to] = lines[from];
    }
    mixed.concat()
}

fn form(
    kind: Type,
    (log, other, parents): &([u8; 32], [u8; 32], std::collections::BTreeSet<[u8; 32]>),
) -> Place {
    let log = RecordId::from_bytes(*log);
    match kind.form() {
        Form::Root => Place::Root,
        Form::Single => Place::Single { log },
        Form::Run => Place::Run {
            log,
            run: RunId::from_bytes(*other),
            parents: parents.iter().copied().map(RecordId::from_bytes).collect(),
        },
        Form::Chain => Place::Chain { log, prev: RecordId::from_bytes(*other) },
    }
}
