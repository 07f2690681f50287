//! Figures: one JSON line each, measured on this machine, as ratios within one run.
//!
//! `{"figure":"…","value":…,"bar":…,"holds":true,"how":"…"}`. A figure that misses its bar says so; nothing fails.

#![allow(clippy::expect_used, clippy::panic, reason = "a measurement that can't be made has nothing to say")]

mod floor;
mod log;
mod parse;
mod policy;
mod report;
mod verify;

use report::Figure;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("work", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return verify::work(rest);
    }
    let wanted = arguments.first();
    type Measurement = (&'static str, fn() -> Figure);
    let figures: [Measurement; 7] = [
        ("verify-bundle", verify::small_bundle),
        ("verify-run", verify::long_run),
        ("verify-memory", verify::memory),
        ("parse", parse::strict_parse),
        ("add", log::idle_add),
        ("policy-few", policy::few_rules),
        ("policy-many", policy::many_rules),
    ];
    for (name, measure) in figures {
        if wanted.is_none_or(|wanted| wanted == name) {
            println!("{}", measure().to_json());
        }
    }
}
