//! `logs/`: every entry of a log, folded from 0 on.

mod authority;
mod conduct;
mod delegations;
pub(super) mod links;
mod ownership;
mod place;
mod policies;
mod previews;
mod quorums;
mod retries;
mod spending;
mod steps;
mod thresholds;
pub(super) mod timers;
mod windows;

use base64::prelude::{BASE64_STANDARD, Engine};
use counterfoil_receipt::UnverifiedRecord;
use counterfoil_testkit::{Refused, Scenario};
use serde_json::{Value, json};

use super::{Files, heading, insert};

/// A log, and which rule its last entry but the closing snapshot breaks.
pub struct Case {
    name: &'static str,
    description: &'static str,
    flags: &'static [&'static str],
    breaks: Option<&'static str>,
    build: Build,
}

/// Plays what happens before, and gives the entry that is forced into the log.
type Build = Box<dyn Fn(&mut Scenario) -> UnverifiedRecord>;

/// A log whose entry breaks `rule`.
fn breaks(
    rule: &'static str,
    name: &'static str,
    flags: &'static [&'static str],
    description: &'static str,
    build: impl Fn(&mut Scenario) -> UnverifiedRecord + 'static,
) -> Case {
    Case { name, description, flags, breaks: Some(rule), build: Box::new(build) }
}

/// A log in which everything holds.
fn holds(
    name: &'static str,
    description: &'static str,
    build: impl Fn(&mut Scenario) -> UnverifiedRecord + 'static,
) -> Case {
    Case { name, description, flags: &[], breaks: None, build: Box::new(build) }
}

pub fn generate(files: &mut Files) {
    let cases = [
        place::cases,
        authority::cases,
        thresholds::cases,
        ownership::cases,
        conduct::cases,
        quorums::cases,
        windows::cases,
        policies::cases,
        retries::cases,
        previews::cases,
        delegations::cases,
        spending::cases,
        timers::cases,
        links::cases,
    ];
    for case in cases.into_iter().flat_map(|cases| cases()) {
        let mut scenario = Scenario::new();
        let last = (case.build)(&mut scenario);
        let at = scenario.ledger.size();
        let forced = scenario.ledger.force(last.bytes());
        scenario.ledger.close();
        let expect = match forced {
            Ok(_) => {
                assert_eq!(case.breaks, None, "{} holds", case.name);
                json!([])
            }
            Err(Refused { rule, code, detail }) => {
                assert_eq!(case.breaks, Some(rule), "{}: {detail}", case.name);
                json!([{"index": at, "rule": rule, "code": code}])
            }
        };
        let entries = scenario.ledger.entries().iter().map(|entry| BASE64_STANDARD.encode(entry));
        let mut vector = heading(case.name, case.description, case.flags, case.breaks.is_some());
        vector.insert("entries".to_owned(), entries.map(Value::String).collect());
        vector.insert("expect".to_owned(), expect);
        insert(files, &format!("logs/{}.json", case.name), &Value::Object(vector));
    }
}
