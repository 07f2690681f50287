//! No bundle can be changed and show the same.
//!
//! Whatever is done to a bundle that holds, it must not give the same success: the conclusion `shown` and the same facts. What the
//! signed-note specification tells readers to ignore is the one exception: signature lines of signers that they do not know.

use std::{collections::BTreeMap, fs, num::NonZeroUsize, path::Path, thread};

use counterfoil_receipt::json::to_canonical;
use counterfoil_testkit::{Effort, own_vectors};
use counterfoil_verify::{Conclusion, Dimension, Remembered, Trust, Verdict, Verifier, verify};
use serde_json::{Value, json};

/// How many mutations of a bundle stand for one that is tried with the usual effort, where there are more than `WHOLE`.
const SHARE: usize = 3;
/// So many are tried in any case.
const WHOLE: usize = 1_000;
/// How many threads try.
const THREADS: usize = 2;
/// What the bundles that a demo left are held to: nothing was executed in the rejected run.
const DEMO: [(&str, &[Dimension]); 3] = [
    ("approved", &[Dimension::Integrity, Dimension::Authority, Dimension::Conformity, Dimension::Inclusion]),
    ("rejected", &[Dimension::Integrity, Dimension::Authority, Dimension::Inclusion]),
    ("changes", &[Dimension::Integrity, Dimension::Authority, Dimension::Conformity, Dimension::Inclusion]),
];
/// When those are read: later than the demo. Their trust file sets no `max_age`.
const DEMO_READ: u64 = 2_000_000_000_000;

#[test]
fn no_changed_json_leaf_shows_the_same() {
    try_all("JSON leaves", |subject| leaves(&subject.lines));
}

#[test]
fn no_removed_or_repeated_record_shows_the_same() {
    try_all("records removed or repeated", |subject| removals_and_repeats(&subject.lines));
}

#[test]
fn no_two_swapped_records_show_the_same() {
    try_all("records swapped", |subject| swaps(&subject.lines));
}

#[test]
fn no_flipped_bit_shows_the_same() {
    try_all("bits flipped", |subject| {
        let bits = if subject.is_demo { Effort::from_env().of(1, 8) } else { 1 };
        let first = |at: usize| seeded(at as u64) as usize;
        (0..subject.bundle.len())
            .flat_map(|at| (0..bits).map(move |more| Mutation::Flip(at, ((first(at) + more) % 8) as u8)))
            .collect()
    });
}

#[test]
fn lines_of_unknown_signers_don_t_count_and_the_verdict_says_who_does() {
    let subject =
        subjects().into_iter().find(|subject| subject.name == "valid-unknown-signer.jsonl").unwrap();
    let at = subject.bundle.windows(8).position(|window| window == b"uqYzYWFh").unwrap();
    let mut other = subject.bundle.clone();
    other[at + 7] = b'i';
    for bundle in [&subject.bundle, &other] {
        let verdict = verify(bundle, &subject.trust, subject.now);
        assert_eq!(verdict.conclude(&subject.require), Conclusion::Shown);
        assert!(
            facts(&verdict) == subject.facts,
            "but for the exception, this would count as the same success"
        );
        for checkpoint in verdict.checkpoints() {
            assert_eq!(checkpoint.unknown, 1);
            assert!(
                matches!(&checkpoint.signed_by[..], [one] if one.starts_with("counterfoil.example/log+"))
            );
            assert!(checkpoint.witnesses.is_empty());
        }
    }
}

/// A bundle that holds, and what it shows.
struct Subject {
    name: String,
    bundle: Vec<u8>,
    lines: Vec<Vec<u8>>,
    trust: Trust,
    require: Vec<Dimension>,
    now: u64,
    facts: Facts,
    seen: Remembered,
    is_demo: bool,
}

impl Subject {
    fn new(name: &str, bundle: Vec<u8>, trust: &[u8], now: u64) -> Self {
        let trust = Trust::parse(std::str::from_utf8(trust).unwrap()).unwrap();
        let demo = DEMO.iter().find(|(demo, _)| *demo == name);
        let require = demo.map_or_else(|| trust.require().to_vec(), |(_, require)| require.to_vec());
        let verdict = verify(&bundle, &trust, now);
        assert_eq!(verdict.conclude(&require), Conclusion::Shown, "{name}");
        let facts = facts(&verdict);
        let lines = bundle.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let (name, seen, is_demo) = (name.to_owned(), Remembered::default(), demo.is_some());
        let subject = Self { name, bundle, lines, trust, require, now, facts, seen, is_demo };
        for _ in 0..2 {
            assert!(self::facts(&subject.verify_again(&subject.bundle)) == subject.facts, "{}", subject.name);
        }
        subject
    }

    /// As somebody verifies who saw the bundle before: no signature in it is checked again.
    fn verify_again(&self, bundle: &[u8]) -> Verdict {
        let mut verifier = Verifier::remembering(&self.trust, NonZeroUsize::MIN, self.seen.clone());
        for line in bundle.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => verifier.line(line),
                None => verifier.unfinished_line(),
            }
        }
        verifier.finish(self.now)
    }

    /// Whether a mutant gives the same success, though it differs in more than lines that nobody reads.
    fn is_fooled_by(&self, mutant: &[u8]) -> bool {
        let verdict = self.verify_again(mutant);
        mutant != self.bundle
            && verdict.conclude(&self.require) == Conclusion::Shown
            && facts(&verdict) == self.facts
            && without_unknown_signers(mutant) != without_unknown_signers(&self.bundle)
    }
}

/// Everything that a verdict says.
#[derive(PartialEq)]
struct Facts(String);

fn facts(verdict: &Verdict) -> Facts {
    let answers = Dimension::ALL.map(|dimension| verdict.answer(dimension).clone());
    Facts(format!(
        "{:?} {answers:?} {:?} {:?} {:?} {:?} {}",
        verdict.run_id(),
        verdict.findings(),
        verdict.without_effect(),
        verdict.checkpoints(),
        verdict.openings().iter().map(|opening| (opening.commitment(), &opening.content)).collect::<Vec<_>>(),
        verdict.undisclosed(),
    ))
}

/// Every vector that holds, and the bundles that a demo left.
fn subjects() -> Vec<Subject> {
    let files: BTreeMap<String, Vec<u8>> = own_vectors("bundles", "").into_iter().collect();
    let vectors = own_vectors("bundles", ".json").into_iter();
    let vectors = vectors.map(|(_, text)| serde_json::from_slice::<Value>(&text).unwrap());
    let valid = vectors.filter(|vector| vector["expect"]["conclusion"] == "shown");
    let mut subjects: Vec<Subject> = valid
        .map(|vector| {
            let file = |member: &str| files[vector[member].as_str().unwrap()].clone();
            let name = vector["bundle"].as_str().unwrap();
            Subject::new(name, file("bundle"), &file("trust"), vector["now"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(subjects.len(), 29, "vectors that hold");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bundles");
    let file = |name: &str| fs::read(folder.join(name)).unwrap();
    subjects.extend(DEMO.map(|(name, _)| {
        Subject::new(name, file(&format!("{name}.bundle.jsonl")), &file("trust.toml"), DEMO_READ)
    }));
    subjects
}

/// The bundle without signature lines by names that appear in no trust file of the vectors.
fn without_unknown_signers(bundle: &[u8]) -> Option<Vec<Value>> {
    const KNOWN: [&str; 4] =
        ["— counterfoil.example/log ", "— demo.counterfoil.example/log ", "— a.example ", "— b.example "];
    let strip = |line: &[u8]| {
        let mut line: Value = serde_json::from_slice(line).ok()?;
        if let Some(Value::String(note)) = line.get_mut("checkpoint") {
            let (text, lines) = note.split_once("\n\n")?;
            let known = lines.lines().filter(|line| KNOWN.iter().any(|known| line.starts_with(known)));
            *note = format!("{text}\n\n{}", known.collect::<Vec<_>>().join("\n"));
        }
        Some(line)
    };
    bundle.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(strip).collect()
}

/// One way to change a bundle.
#[derive(Clone, Debug)]
enum Mutation {
    /// This bit of this byte is flipped.
    Flip(usize, u8),
    /// This line is another.
    Line(usize, Vec<u8>),
    /// These lines, in this order.
    Order(Vec<usize>),
    /// The same, with this header.
    Counted(Vec<u8>, Vec<usize>),
}

impl Mutation {
    fn apply(&self, subject: &Subject) -> Vec<u8> {
        let lines =
            |order: &[usize]| order.iter().flat_map(|at| subject.lines[*at].clone()).collect::<Vec<u8>>();
        match self {
            Self::Flip(at, bit) => {
                let mut bundle = subject.bundle.clone();
                bundle[*at] ^= 1 << bit;
                bundle
            }
            Self::Line(at, line) => {
                let mut lines = subject.lines.clone();
                lines[*at] = line.clone();
                lines.concat()
            }
            Self::Order(order) => lines(order),
            Self::Counted(header, order) => [header.clone(), lines(&order[1..])].concat(),
        }
    }
}

/// Tries all of these mutants of every bundle, and prints how many that were.
fn try_all(what: &str, mutations: impl Fn(&Subject) -> Vec<Mutation>) {
    let (mut tried, mut fooled) = (0, Vec::new());
    for subject in subjects() {
        let mut all = mutations(&subject);
        assert!(!all.is_empty(), "{what}: {} has nothing to change", subject.name);
        sample(&mut all);
        tried += all.len();
        let fools = |share: &[Mutation]| {
            let fools = share.iter().filter(|mutation| subject.is_fooled_by(&mutation.apply(&subject)));
            fools.map(|mutation| format!("{}: {mutation:?}", subject.name)).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let shares = all.chunks(all.len().div_ceil(THREADS));
            let threads: Vec<_> = shares.map(|share| scope.spawn(|| fools(share))).collect();
            threads.into_iter().for_each(|thread| fooled.extend(thread.join().unwrap()));
        });
    }
    println!("count mutants tried, {what} {tried}");
    println!("count mutants that give the same success, {what} {}", fooled.len());
    assert!(fooled.is_empty(), "{what}: {fooled:#?}");
}

/// SplitMix64.
/// Of many mutations, those that are tried with the usual effort: one of `SHARE`, whatever their kind.
fn sample(all: &mut Vec<Mutation>) {
    let kept = Effort::from_env().of(all.len().div_ceil(SHARE), all.len()).max(WHOLE.min(all.len()));
    let share = all.len().div_ceil(kept) as u64;
    let mut at = 0;
    all.retain(|_| {
        at += 1;
        seeded(at).is_multiple_of(share)
    });
}

fn seeded(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// Each value of each line, replaced by values of its own kind and of others, or left out.
fn leaves(lines: &[Vec<u8>]) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let value: Value = serde_json::from_slice(line).unwrap();
        for changed in variants(&value) {
            let Ok(mut changed) = to_canonical(&changed) else { continue };
            changed.push(b'\n');
            if changed != *line {
                mutations.push(Mutation::Line(at, changed));
            }
        }
    }
    mutations
}

/// The value with one change somewhere inside.
fn variants(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(members) => {
            let mut changed = Vec::new();
            for (name, inner) in members {
                let mut without = members.clone();
                without.remove(name);
                changed.push(Value::Object(without));
                for inner in variants(inner) {
                    let mut members = members.clone();
                    members[name] = inner;
                    changed.push(Value::Object(members));
                }
            }
            changed
        }
        Value::Array(elements) => {
            let mut longer = elements.clone();
            longer.push(Value::Null);
            let mut changed = vec![Value::Array(longer)];
            for (at, inner) in elements.iter().enumerate() {
                let mut without = elements.clone();
                without.remove(at);
                changed.push(Value::Array(without));
                for inner in variants(inner) {
                    let mut elements = elements.clone();
                    elements[at] = inner;
                    changed.push(Value::Array(elements));
                }
            }
            changed
        }
        Value::String(text) => {
            let mut longer = text.clone();
            longer.push('0');
            let swapped: String = text.chars().rev().collect();
            let mut last = text.clone();
            last.pop();
            vec![json!(longer), json!(swapped), json!(last), json!(""), json!(0), Value::Null]
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            vec![json!(number + 1.0), json!(number - 1.0), json!(0), json!(number.to_string()), Value::Null]
        }
        Value::Bool(truth) => vec![json!(!truth), json!(u8::from(*truth)), Value::Null],
        Value::Null => vec![json!(0), json!(""), json!(false)],
    }
}

/// Where the position line of each entry stands; its record follows.
fn positions(lines: &[Vec<u8>]) -> Vec<usize> {
    lines.iter().enumerate().filter(|(_, line)| line.starts_with(b"{\"index\":")).map(|(at, _)| at).collect()
}

fn header_with(lines: &[Vec<u8>], more: i64) -> Vec<u8> {
    let mut header: Value = serde_json::from_slice(&lines[0]).unwrap();
    header["entries"] = json!(header["entries"].as_i64().unwrap() + more);
    let mut header = to_canonical(&header).unwrap();
    header.push(b'\n');
    header
}

fn removals_and_repeats(lines: &[Vec<u8>]) -> Vec<Mutation> {
    let all: Vec<usize> = (0..lines.len()).collect();
    let mut mutations = Vec::new();
    for at in positions(lines) {
        let without =
            |gone: &[usize]| all.iter().copied().filter(|line| !gone.contains(line)).collect::<Vec<_>>();
        let repeated = [&all[..at + 2], &[at, at + 1], &all[at + 2..]].concat();
        mutations.extend([
            Mutation::Order(without(&[at + 1])),
            Mutation::Order(without(&[at, at + 1])),
            Mutation::Counted(header_with(lines, -1), without(&[at, at + 1])),
            Mutation::Order([&all[..at + 2], &[at + 1], &all[at + 2..]].concat()),
            Mutation::Order(repeated.clone()),
            Mutation::Counted(header_with(lines, 1), repeated),
        ]);
    }
    mutations
}

/// Each pair of records changes places, with and without their position lines.
fn swaps(lines: &[Vec<u8>]) -> Vec<Mutation> {
    let positions = positions(lines);
    let all: Vec<usize> = (0..lines.len()).collect();
    let mut mutations = Vec::new();
    for (n, first) in positions.iter().enumerate() {
        for second in &positions[n + 1..] {
            let mut order = all.clone();
            order.swap(first + 1, second + 1);
            mutations.push(Mutation::Order(order.clone()));
            order.swap(*first, *second);
            mutations.push(Mutation::Order(order));
        }
    }
    mutations
}
