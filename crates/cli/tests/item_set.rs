//! An item set from its making to the verdict over its run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on stops")]

mod common;
mod load;

use common::Desk;
use counterfoil_client::{SealedSet, seal_set};
use counterfoil_receipt::{body::Evidence, bundle::write_line, field::List, text::Label};
use counterfoil_verify::Trust;
use load::Writer;

#[test]
fn counterfoil_submit_dropped_the_set_that_a_payload_belongs_to() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    let (_serving, url) = desk.serve_in("work");
    let log = Trust::parse(&desk.read("work/trust.toml")).unwrap().genesis();
    let (mut writer, trigger) = Writer::start(&desk, log, "pages");
    let label = |text: &str| Label::new(text).unwrap();
    let contents = (1..=9).map(|page| (label(&format!("page {page}")), format!("page {page}").into_bytes()));
    let SealedSet { set, payloads } = seal_set(label("pages"), contents.collect()).unwrap();
    let observation = writer.observe(Some(List(vec![Evidence::Set(set)])));
    desk.write("records", [trigger.bytes(), b"\n", observation.bytes(), b"\n"].concat());
    let mut lines = Vec::new();
    payloads[..4].iter().for_each(|payload| write_line(payload, &mut lines));
    desk.write("payloads", lines);
    let run = trigger.run().unwrap().to_string();
    desk.good(&["-C", "work", "--server", &url, "submit", "records", "--payload", "payloads"]);
    desk.good(&["-C", "work", "--server", &url, "bundle", &run, "--out", "pages.bundle"]);
    // Nothing was executed, which the trust file asks for: that is not shown, and nothing is violated.
    let verified = desk.run(&["-C", "work", "verify", "pages.bundle"]);
    assert_eq!(verified.code, 3, "{}", verified.shown());
    assert!(
        verified.stdout.contains("4 payloads disclosed and checked, 5 not disclosed"),
        "{}",
        verified.shown()
    );
    let bundle = desk.read("pages.bundle");
    assert_eq!(bundle.matches("\"set\":{").count(), 4, "{bundle}");
}
