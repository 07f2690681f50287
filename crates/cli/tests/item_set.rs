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

#[test]
fn nothing_made_an_item_set() {
    let desk = Desk::new();
    desk.good(&["init", "work"]);
    let (_serving, url) = desk.serve_in("work");
    let log = Trust::parse(&desk.read("work/trust.toml")).unwrap().genesis();
    let (_, trigger) = Writer::start(&desk, log, "pages");
    let pages = ["one.txt", "two.txt", "three.txt"];
    pages.iter().for_each(|page| desk.write(page, format!("page {page}")));
    let set =
        desk.good(&[&["record", "set"], &pages[..], &["--label", "pages", "--payload", "payloads"]].concat());
    desk.write("body", format!(r#"{{"items":[{set}],"kind":"evidence"}}"#));
    let run = trigger.run().unwrap().to_string();
    let envelope =
        ["--log", &log.to_string(), "--run", &run, "--parents", &run, "--key", "work/keys/agent.key"];
    let making = [&["record", "new", "observation", "--body", "body"], &envelope[..]].concat();
    let observation = desk.good(&making);
    desk.write("records", [trigger.bytes(), b"\n", observation.as_bytes()].concat());
    // Two of the three are shown to the log.
    let lines = desk.read("payloads");
    desk.write("some", lines.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
    desk.good(&["-C", "work", "--server", &url, "submit", "records", "--payload", "some"]);
    desk.good(&["-C", "work", "--server", &url, "bundle", &run, "--out", "pages.bundle"]);
    let verified = desk.run(&["-C", "work", "verify", "pages.bundle"]);
    assert_eq!(verified.code, 3, "{}", verified.shown());
    let counted = "2 payloads disclosed and checked, 1 not disclosed";
    assert!(verified.stdout.contains(counted), "{}", verified.shown());
    let bundle = desk.read("pages.bundle");
    for (page, shown) in pages.iter().zip([true, true, false]) {
        assert_eq!(bundle.contains(&format!(r#""label":"{page}""#)), shown, "{page}");
    }
    // Salts are never lost to a second set.
    let again = desk.run(&["record", "set", "one.txt", "--label", "pages", "--payload", "payloads"]);
    assert_ne!(again.code, 0, "{}", again.shown());
    assert_eq!(desk.read("payloads"), lines);
}
