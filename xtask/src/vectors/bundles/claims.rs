//! What records claim of payloads: each claim is judged for the record that makes it.

use counterfoil_receipt::{
    body::{Evidence, Item, ItemSet, Observation, ObservationKind},
    field::{List, Whole},
};
use counterfoil_testkit::{Actor, Scenario, label};

use super::{Case, Shown, breaks, holds, without_execution};

pub fn cases() -> Vec<Case> {
    vec![
        breaks(
            "R-BUN-06",
            "payload-size",
            &["PayloadTampering"],
            "The record states another size than the payload has.",
            || observed(&[|item| item.size = Whole::new(8).expect("a size")]),
        ),
        breaks(
            "R-BUN-06",
            "payload-label",
            &["PayloadTampering"],
            "The record states another label than the payload has.",
            || observed(&[mislabelled]),
        ),
        breaks(
            "R-BUN-06",
            "payload-claims-false-first",
            &["PayloadTampering"],
            "Two records state two labels of one payload. The first is wrong.",
            || observed(&[mislabelled, unchanged]),
        ),
        breaks(
            "R-BUN-06",
            "payload-claims-false-last",
            &["PayloadTampering"],
            "Two records state two labels of one payload. The second is wrong.",
            || observed(&[unchanged, mislabelled]),
        ),
        breaks(
            "R-OWN-01",
            "payload-claim-of-refused",
            &["OwnershipTheft"],
            "A record that breaks a rule states another label than the payload has. It claims nothing: that is no second fault.",
            || {
                let (mut s, item) = with_item();
                let run = s.trigger();
                let first = observation(Evidence::Item(item.clone()));
                s.ledger.add(&s.cast.scout.clone(), Some(run), first);
                let mut other = item;
                mislabelled(&mut other);
                let refused =
                    s.ledger.sign(&s.cast.fixer.clone(), Some(run), observation(Evidence::Item(other)));
                s.ledger.force(refused.bytes()).expect_err("not the owner");
                s.ledger.close();
                without_execution(Shown::of(&s, run))
            },
        ),
        holds(
            "valid-set-of-two-counts",
            "Two records name one root, one with three items. The payloads are of the set of two.",
            || {
                let mut s = Scenario::new();
                let run = s.trigger();
                let set = s.ledger.item_set("logs", &[("a.txt", b"disk"), ("b.txt", b"full")]);
                let longer = ItemSet { items: Whole::new(3).expect("a count"), ..set.clone() };
                for set in [longer, set] {
                    s.ledger.add(&s.cast.scout.clone(), Some(run), observation(Evidence::Set(set)));
                }
                s.ledger.close();
                without_execution(Shown::of(&s, run))
            },
        ),
    ]
}

const fn unchanged(_: &mut Item) {}

fn mislabelled(item: &mut Item) {
    item.label = label("log.old.txt");
}

fn with_item() -> (Scenario, Item) {
    let mut s = Scenario::new();
    let item = s.ledger.item("log.txt", "text/plain", b"disk full");
    (s, item)
}

/// A run with observations of one item, each of which says what it says of it.
fn observed(changes: &[fn(&mut Item)]) -> Shown {
    let (mut s, item) = with_item();
    let run = s.trigger();
    let scout: Actor = s.cast.scout.clone();
    for change in changes {
        let mut item = item.clone();
        change(&mut item);
        s.ledger.add(&scout, Some(run), observation(Evidence::Item(item)));
    }
    s.ledger.close();
    without_execution(Shown::of(&s, run))
}

fn observation(evidence: Evidence) -> Observation {
    Observation { items: Some(List(vec![evidence])), kind: ObservationKind::Evidence, summary: None }
}
