//! Third-party vectors: RFC 8785, the ECMAScript number file, JSONTestSuite. `COUNTERFOIL_VECTORS` names their folder.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at the first surprise")]

use counterfoil_receipt::{
    Malformed,
    json::{JsonError, Limits, canonicalize_input, check, parse_value, to_canonical},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

const LIMITS: Limits = Limits { bytes: 1 << 20, depth: 127 };

/// The folder of one source, or `None` if there are no vectors here; in CI there must be.
fn vectors(source: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERFOIL_VECTORS").map(|root| PathBuf::from(root).join(source));
    let found = folder.filter(|folder| folder.is_dir());
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "COUNTERFOIL_VECTORS has no {source}");
        eprintln!("NOT TESTED: COUNTERFOIL_VECTORS has no {source}");
    }
    found
}

/// Puts a document into an object: our documents are objects, those of the suites mostly are not.
fn wrapped(document: &[u8]) -> Vec<u8> {
    [b"{\"x\":", document, b"}"].concat()
}

/// Input must become exactly `output`, and that must be canonical.
fn assert_canonical_form(input: &[u8], output: &[u8]) {
    let (input, output) = (wrapped(input), wrapped(output));
    assert_eq!(
        canonicalize_input(&input, &LIMITS).as_ref(),
        Ok(&output),
        "{}",
        String::from_utf8_lossy(&input)
    );
    assert!(check(&output, &LIMITS).is_ok());
    assert_eq!(to_canonical(&parse_value(&output, &LIMITS).unwrap()).as_ref(), Ok(&output));
    if input != output {
        assert!(check(&input, &LIMITS).is_err());
    }
}

#[test]
fn jcs_reference_documents() {
    let Some(folder) = vectors("jcs-cyberphone") else { return };
    let mut count = 0;
    for entry in fs::read_dir(folder.join("input")).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |kind: &str| fs::read(folder.join(kind).join(&name)).unwrap();
        assert_canonical_form(&read("input"), &read("output"));
        count += 1;
    }
    assert_eq!(count, 6);
}

#[test]
fn rfc_8785_examples() {
    let Some(folder) = vectors("jcs-rfc8785-text") else { return };
    for name in ["rfc_example", "rfc_sorting"] {
        let read = |kind: &str| fs::read(folder.join(format!("{name}.{kind}.json"))).unwrap();
        assert_canonical_form(&read("input"), &read("expected"));
        // These two are objects already.
        assert_eq!(canonicalize_input(&read("input"), &LIMITS).unwrap(), read("expected"));
    }
}

/// Either the writer gives exactly `expected` and the reader takes it, or, for an integer beyond 2⁵³ − 1, both refuse.
/// Says which.
fn number_is_written_as(bits: u64, expected: &str) -> bool {
    let document = wrapped(expected.as_bytes());
    let written = to_canonical(&json!({ "x": f64::from_bits(bits) }));
    if expected.contains(['.', 'e']) || expected.parse::<i64>().is_ok_and(|n| n.unsigned_abs() < 1 << 53) {
        assert_eq!(written.as_ref(), Ok(&document), "{bits:x}");
        check(&document, &LIMITS).unwrap();
        return true;
    }
    assert!(matches!(written, Err(JsonError::NumberRange { .. })), "{bits:x}");
    assert_eq!(check(&document, &LIMITS).err(), Some(JsonError::NumberRange { at: 5 }), "{expected}");
    false
}

#[test]
fn rfc_8785_appendix_b() {
    let Some(folder) = vectors("jcs-rfc8785-text") else { return };
    let table = fs::read_to_string(folder.join("appendix_b.csv")).unwrap();
    let (mut count, mut refused) = (0, Vec::new());
    for row in table.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        count += 1;
        if !number_is_written_as(u64::from_str_radix(fields[0], 16).unwrap(), fields[1]) {
            refused.push(fields[1].to_owned());
        }
    }
    assert_eq!(count, 24);
    // RFC 8785 can write these; as integers RFC 7493 §2.2 does not vouch for them.
    assert_eq!(
        refused,
        [
            "9007199254740992",
            "-9007199254740992",
            "295147905179352830000",
            "999999999999999700000",
            "999999999999999900000"
        ]
    );
}

#[test]
fn es6_numbers() {
    let Some(folder) = vectors("jcs-es6-numbers") else { return };
    let file = fs::read_to_string(folder.join("es6testfile10k.txt")).unwrap();
    let (mut count, mut refused) = (0, 0);
    for line in file.lines() {
        let (bits, expected) = line.split_once(',').unwrap();
        count += 1;
        refused += usize::from(!number_is_written_as(u64::from_str_radix(bits, 16).unwrap(), expected));
    }
    assert_eq!((count, refused), (10_000, ES6_REFUSED_10K));
}

/// The file goes on for ever: from line 2,169 the numbers are the SHA-256 chain that starts with 32 zero bytes, four
/// to a hash. The published hash of the first 100,000 lines says whether ours are right.
#[test]
fn es6_numbers_beyond_the_file() {
    const LINES: usize = 100_000;
    let Some(folder) = vectors("jcs-es6-numbers") else { return };
    let published: Value =
        serde_json::from_slice(&fs::read(folder.join("published-sha256.json")).unwrap()).unwrap();
    let file = fs::read_to_string(folder.join("es6testfile10k.txt")).unwrap();
    let mut hash = Sha256::new();
    for line in file.split_inclusive('\n').take(2_168) {
        hash.update(line);
    }
    let (mut block, mut lines, mut refused) = ([0; 32], 2_168, 0);
    while lines < LINES {
        block = Sha256::digest(block).into();
        for number in block.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)) {
            if lines == LINES || number == 0.0 || !number.is_finite() {
                continue;
            }
            let mut buffer = ryu_js::Buffer::new();
            let text = match to_canonical(&json!([number])) {
                Ok(array) => String::from_utf8(array).unwrap().trim_matches(['[', ']']).to_owned(),
                Err(_) => buffer.format_finite(number).to_owned(),
            };
            refused += usize::from(!number_is_written_as(number.to_bits(), &text));
            hash.update(format!("{:x},{text}\n", number.to_bits()));
            lines += 1;
        }
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(published["prefix_lines_sha256"][LINES.to_string()], hex);
    assert_eq!(refused, ES6_REFUSED_REST);
}

/// How many of the ECMAScript numbers are integers beyond 2⁵³ − 1 without an exponent: of the first 10,000 lines,
/// and of lines 2,169 to 100,000.
const ES6_REFUSED_10K: usize = 84;
const ES6_REFUSED_REST: usize = 805;

/// The files of JSONTestSuite whose names start with `prefix`, and their bytes.
fn test_suite(prefix: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let folder = vectors("json-parsing-nst")?.join("test_parsing");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files =
        names.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()));
    Some(files.filter(|(name, _)| name.starts_with(prefix)).collect())
}

/// How often `judge` gives each code for `files`; `ok` where it finds no fault.
fn verdicts(
    files: &BTreeMap<String, Vec<u8>>,
    judge: impl Fn(&[u8]) -> Option<JsonError>,
) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for document in files.values() {
        *counts.entry(judge(document).map_or("ok", code)).or_default() += 1;
    }
    counts
}

/// The code of the rule that the document breaks.
fn code(error: JsonError) -> &'static str {
    Malformed::from(error).code.code()
}

fn input_error(document: &[u8]) -> Option<JsonError> {
    canonicalize_input(document, &LIMITS).err()
}

fn check_error(document: &[u8]) -> Option<JsonError> {
    check(document, &LIMITS).err()
}

#[test]
fn json_test_suite_valid() {
    let Some(files) = test_suite("y_") else { return };
    assert_eq!(files.len(), 95);
    let expected = [("json-duplicate-key", 2), ("json-surrogate", 8), ("ok", 85)];
    assert_eq!(verdicts(&files, |document| input_error(&wrapped(document))), expected.into());
    // As they are, most are arrays.
    let as_is = verdicts(&files, input_error);
    assert_eq!(as_is, [("json-duplicate-key", 2), ("json-syntax", 83), ("ok", 10)].into());
    // What is accepted becomes canonical and means the same.
    for (name, document) in &files {
        let document = wrapped(document);
        if let Ok(canonical) = canonicalize_input(&document, &LIMITS) {
            let (before, after): (Value, _) =
                (serde_json::from_slice(&document).unwrap(), parse_value(&canonical, &LIMITS).unwrap());
            assert!(same(&before, &after), "{name}");
        }
    }
}

/// Equal, where a number is what it is however it is spelled.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| same(value, other)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn json_test_suite_invalid() {
    let Some(files) = test_suite("n_") else { return };
    assert_eq!(files.len(), 188);
    for (name, document) in &files {
        for document in [document.clone(), wrapped(document)] {
            assert!(check_error(&document).is_some(), "{name}");
            assert!(input_error(&document).is_some(), "{name}");
        }
    }
    // Each fault is one of the text; none is left to the rules of I-JSON about names and numbers.
    let expected = [
        ("json-depth", 2),
        ("json-surrogate", 6),
        ("json-syntax", 170),
        ("json-trailing", 1),
        ("json-utf8", 9),
    ];
    assert_eq!(verdicts(&files, |document| input_error(&wrapped(document))), expected.into());
}

#[test]
fn json_test_suite_undecided() {
    let Some(files) = test_suite("i_") else { return };
    assert_eq!(files.len(), 35);
    // Overflow 5, underflow 2, integers beyond 2⁵³ 3; 500 levels; and what the I-JSON index lists.
    let expected = [
        ("json-depth", 1),
        ("json-number-range", 10),
        ("json-surrogate", 10),
        ("json-syntax", 3),
        ("json-utf8", 11),
    ];
    assert_eq!(verdicts(&files, |document| input_error(&wrapped(document))), expected.into());
}

#[test]
fn i_json_index() {
    let Some(folder) = vectors("jcs-ijson-index") else { return };
    let Some(files) = test_suite("") else { return };
    assert_eq!(files.len(), 318);
    let index: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(folder.join("ijson-negative.json")).unwrap()).unwrap();
    let codes: BTreeMap<&str, (usize, &[&str])> = [
        ("duplicate_keys", (2, &["json-duplicate-key"][..])),
        ("lone_or_bad_surrogates", (10, &["json-surrogate"])),
        ("noncharacters", (8, &["json-surrogate"])),
        ("number_overflow", (5, &["json-number-range"])),
        ("invalid_utf8_or_bom", (14, &["json-utf8", "json-syntax"])),
    ]
    .into();
    let mut kinds = BTreeSet::new();
    for (kind, names) in index.iter().filter(|(kind, _)| *kind != "comment") {
        let (count, allowed) = codes[kind.as_str()];
        let names = names.as_array().unwrap();
        assert_eq!(names.len(), count, "{kind}");
        for name in names.iter().map(|name| name.as_str().unwrap()) {
            let document = &files[name];
            let code = code(input_error(&wrapped(document)).expect(name));
            assert!(allowed.contains(&code), "{name}: {code}");
            for document in [document.clone(), wrapped(document)] {
                assert!(check_error(&document).is_some(), "{name}");
                assert!(input_error(&document).is_some(), "{name}");
            }
        }
        kinds.insert(kind.as_str());
    }
    assert_eq!(kinds, codes.into_keys().collect());
}
