//! Verification against the bare signature checks that it needs.

use std::{
    fs::File,
    hint::black_box,
    io::{BufRead, BufReader},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use counterfoil_receipt::{Place, RecordId, RunId, body::Observation, body::ObservationKind, field::Whole};
use counterfoil_testkit::{Actor, Scenario, delegation, policy_document, text};
use counterfoil_tlog::VerifierKey;
use counterfoil_verify::{Conclusion, Trust, Verdict, Verifier, verify};

use crate::{
    floor::Check,
    report::{Bar, Figure, median, paired},
};

/// Leaves of the tree in which the small bundle lies.
const LEAVES: u64 = 1 << 20;
/// Records of the long run.
const RECORDS: usize = 10_000;

/// A 7-record run in a tree of 2²⁰ leaves, against its bare `verify_strict` calls with parsed keys.
pub fn small_bundle() -> Figure {
    bundle("verify a bundle / its bare signature checks", 1.25, |_| None)
}

/// The same run, proposed under the last of five delegations.
pub fn chain() -> Figure {
    bundle("verify a bundle with a chain of 5 delegations / its bare signature checks", 1.3, |scenario| {
        let scout = scenario.cast.scout.clone();
        let mut above = scenario.ledger.add(&scenario.cast.root.clone(), None, delegation(&scout, "db.*", 4));
        for depth in (0..4).rev() {
            let mut draft = scenario.ledger.draft(&scout, None, delegation(&scout, "db.*", depth));
            draft.place = Place::Chain { log: scenario.ledger.log(), prev: above };
            let record = draft.sign(scout.signer()).expect("a draft");
            scenario.ledger.append(record.bytes()).expect("it narrows the one above");
            above = record.id();
        }
        Some(above)
    })
}

fn bundle(figure: &'static str, bar: f64, grant: fn(&mut Scenario) -> Option<RecordId>) -> Figure {
    let mut scenario = Scenario::new();
    scenario.ledger.pad(LEAVES - 128);
    scenario.ledger.close();
    scenario.delegation = grant(&mut scenario);
    let run = scenario.approved_run();
    while scenario.ledger.size() < LEAVES - 1 {
        scenario.ledger.pad(1);
    }
    scenario.ledger.close();
    let trust = scenario.ledger.trust();
    let key = VerifierKey::parse(&trust.log_keys[0]).expect("a vkey");
    let trust = trust.trust();
    let bundle = scenario.ledger.bundle(run);
    assert_eq!(verify(&bundle, &trust, 0).conclude(trust.require()), Conclusion::Shown);
    let checks = Check::all_of(&bundle, &key);
    let (ours, floor, ratio) = paired(
        1_000,
        || {
            assert!(
                verify(black_box(&bundle), &trust, 0)
                    .answer(counterfoil_verify::Dimension::Inclusion)
                    .passes()
            )
        },
        || assert!(checks.iter().all(|check| black_box(check).run())),
    );
    Figure {
        figure,
        value: ratio,
        bar: Bar::AtMost(bar),
        how: format!(
            "{} records of the run, {} signatures, tree of {LEAVES} leaves, one thread: {:.0} µs / {:.0} µs, median of 1,000 pairs, in five processes the median of theirs",
            scenario.ledger.run(run).count(),
            checks.len(),
            ours * 1e6,
            floor * 1e6
        ),
    }
}

/// A run of 10,000 records on two threads, against two processes that do nothing but `verify_strict`.
pub fn long_run() -> Figure {
    let (directory, trust) = long_run_files("rate", RECORDS);
    let bundle = directory.join("bundle.jsonl");
    let mut rates = Vec::new();
    let mut shown = (0.0, 0.0);
    for _ in 0..7 {
        let workers: Vec<_> = (0..2).map(|half| worker(&["floor", &half.to_string()], &directory)).collect();
        let floor = workers.into_iter().map(seconds_of).fold(0.0, f64::max);
        let ours = seconds_of(worker(&["verify", "2"], &directory));
        rates.push(floor / ours);
        shown = (ours, floor);
    }
    assert!(trust.require().len() > 1 && bundle.exists());
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
    Figure {
        figure: "rate of verifying a 10,000-record run / rate of two processes that only verify_strict",
        value: median(rates),
        bar: Bar::AtLeast(0.9),
        how: format!(
            "two threads {:.0} ms, two processes {:.0} ms, median of 7 pairs",
            shown.0 * 1e3,
            shown.1 * 1e3
        ),
    }
}

/// How memory grows with the run.
pub fn memory() -> Figure {
    let peak = |records: usize| {
        let (directory, _) = long_run_files("memory", records);
        let output = worker(&["peak"], &directory).wait_with_output().expect("the worker ends");
        std::fs::remove_dir_all(&directory).expect("the directory is ours");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("the worker prints kilobytes")
    };
    let (small, large) = (peak(RECORDS / 5), peak(RECORDS));
    let grown = (large - small) * 1024.0 / (RECORDS - RECORDS / 5) as f64;
    Figure {
        figure: "bytes of memory for each further record of a run",
        value: grown,
        bar: Bar::AtMost(256.0),
        how: format!(
            "peak of {} kB at {} records, {} kB at {RECORDS}: ids, statements, heads",
            small,
            RECORDS / 5,
            large
        ),
    }
}

/// What a worker process does.
pub fn work(arguments: &[String]) {
    let directory = PathBuf::from(&arguments[1]);
    let trust = trust_of(&directory);
    match arguments[0].as_str() {
        "floor" => {
            let bundle = std::fs::read(directory.join("bundle.jsonl")).expect("the bundle");
            let checks = Check::all_of(&bundle, &trust.log_keys()[0]);
            let half = usize::from(arguments[2] == "1");
            let own = &checks[half * checks.len() / 2..(half + 1) * checks.len() / 2];
            println!("{}", crate::report::seconds(|| assert!(own.iter().all(Check::run))));
        }
        "verify" => {
            println!("{}", crate::report::seconds(|| assert_shown(&stream(&directory, &trust, 2), &trust)))
        }
        _ => {
            assert_shown(&stream(&directory, &trust, 2), &trust);
            let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
            println!("{}", peak.trim().trim_end_matches(" kB"));
        }
    }
}

fn assert_shown(verdict: &Verdict, trust: &Trust) {
    assert_eq!(verdict.conclude(trust.require()), Conclusion::Shown, "{:?}", verdict.findings());
}

fn stream(directory: &Path, trust: &Trust, threads: usize) -> Verdict {
    let file = File::open(directory.join("bundle.jsonl")).expect("the bundle");
    let mut verifier = Verifier::new(trust, NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN));
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).expect("readable") > 0 {
        verifier.line(line.strip_suffix(b"\n").unwrap_or(&line));
        line.clear();
    }
    verifier.finish(0)
}

/// A run of `records` records, with its trust file, in a fresh directory.
fn long_run_files(name: &str, records: usize) -> (PathBuf, Trust) {
    let directory = std::env::temp_dir().join(format!("counterfoil-figures-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let mut scenario = Scenario::founded(|genesis| {
        genesis.limits.run_records = Whole::new(RECORDS as u64).expect("within the limit")
    });
    scenario.enrol_cast();
    scenario.set_policy(policy_document(2));
    scenario.ledger.close();
    let run = scenario.approved_run();
    observe(&mut scenario, run, records);
    scenario.ledger.close();
    std::fs::write(directory.join("bundle.jsonl"), scenario.ledger.bundle(run)).expect("writable");
    std::fs::write(directory.join("trust.toml"), scenario.ledger.trust().to_toml()).expect("writable");
    let trust = trust_of(&directory);
    (directory, trust)
}

/// Lets the run's owner note things, one after the other, until the run has enough records.
fn observe(scenario: &mut Scenario, run: RunId, records: usize) {
    let owner = owner(scenario, run);
    for count in scenario.ledger.run(run).count()..records as u64 {
        let summary = Some(text(&format!(
            "observation {count}: {}",
            "what the agent saw, in a few words. ".repeat(12)
        )));
        let body = Observation { items: None, kind: ObservationKind::Note, summary };
        let record = scenario.ledger.sign(&owner, Some(run), body);
        scenario.ledger.force(record.bytes()).expect("a sound observation");
    }
}

/// The actor of the cast who owns the run.
fn owner(scenario: &Scenario, run: RunId) -> Actor {
    let key = scenario.ledger.run(run).owner().key;
    let cast = [&scenario.cast.scout, &scenario.cast.fixer];
    cast.into_iter().find(|actor| actor.key() == key).expect("an agent of the cast").clone()
}

fn trust_of(directory: &Path) -> Trust {
    Trust::parse(&std::fs::read_to_string(directory.join("trust.toml")).expect("the trust file"))
        .expect("sound")
}

fn worker(arguments: &[&str], directory: &Path) -> std::process::Child {
    let program = std::env::current_exe().expect("this program");
    let (what, rest) = arguments.split_first().expect("what to do");
    let mut command = Command::new(program);
    command.arg("work").arg(what).arg(directory).args(rest).stdout(Stdio::piped());
    command.spawn().expect("a worker starts")
}

fn seconds_of(worker: std::process::Child) -> f64 {
    let output = worker.wait_with_output().expect("the worker ends");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("the worker prints seconds")
}
