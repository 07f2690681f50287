//! Strict reading of one record.

use std::hint::black_box;

use counterfoil_receipt::{json, limits};
use counterfoil_testkit::example_run;

use crate::report::{Bar, Figure, paired};

/// Strict parse and canonical check of a 1 KB record, against `serde_json` parsing it to a `Value`.
pub fn strict_parse() -> Figure {
    let (scenario, _) = example_run();
    let near = |bytes: &&Vec<u8>| bytes.len().abs_diff(1_024);
    let record = scenario.ledger.entries().iter().min_by_key(near).expect("a record").clone();
    let (ours, serde, ratio) = paired(
        200,
        || (0..1_000).for_each(|_| drop(black_box(json::check(black_box(&record), &limits::RECORD_JSON)))),
        || {
            (0..1_000).for_each(|_| {
                drop(black_box(serde_json::from_slice::<serde_json::Value>(black_box(&record))))
            })
        },
    );
    Figure {
        figure: "strict parse and canonical check of a 1 KB record / serde_json to a Value",
        value: ratio,
        bar: Bar::AtMost(1.5),
        how: format!(
            "{} bytes: {:.2} µs / {:.2} µs, median of 200 pairs of 1,000",
            record.len(),
            ours * 1e3,
            serde * 1e3
        ),
    }
}
