//! `cargo xtask tidy`: holds specification, predicates, codes, vectors and habits together.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use counterfoil_receipt::Code;
use counterfoil_verify::{Dimension, Rule};

/// The most lines of a source file.
const LINES: usize = 800;

/// What must not stand in a source file. Split, so that this file doesn't hold it.
const FORBIDDEN: [&str; 4] =
    [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("dbg", "!("), concat!("#[ig", "nore")];

/// Rows of `spec/limits.md`, and where the constant stands.
const LIMITS: [(&str, &str, &str); 55] = [
    ("record bytes", RECEIPT_LIMITS, "RECORD_BYTES"),
    ("nesting depth", RECEIPT_LIMITS, "DEPTH"),
    ("parents", RECEIPT_LIMITS, "PARENTS"),
    ("decisions of an execution", RECEIPT_LIMITS, "DECISIONS"),
    ("items of a record", RECEIPT_LIMITS, "ITEMS"),
    ("items of an item set", RECEIPT_LIMITS, "SET_ITEMS"),
    ("groups, tags, metadata members", RECEIPT_LIMITS, "NAMES"),
    ("text", RECEIPT_LIMITS, "TEXT_BYTES"),
    ("label, pointer", RECEIPT_LIMITS, "LABEL_BYTES"),
    ("uses of a proposal", RECEIPT_LIMITS, "USES"),
    ("records of a run", RECEIPT_LIMITS, "RUN_RECORDS"),
    ("payload content", RECEIPT_LIMITS, "PAYLOAD_BYTES"),
    ("bundle line", RECEIPT_LIMITS, "LINE_BYTES"),
    ("checkpoints of a bundle", RECEIPT_LIMITS, "CHECKPOINTS"),
    ("policy documents of a bundle", RECEIPT_LIMITS, "DOCUMENTS"),
    ("payloads of a bundle", RECEIPT_LIMITS, "PAYLOADS"),
    ("hashes in one part of a proof", RECEIPT_LIMITS, "PROOF_HASHES"),
    ("cases of an evidence file", RECEIPT_LIMITS, "CASES"),
    ("checkpoint note", RECEIPT_LIMITS, "NOTE_BYTES"),
    ("policy document", POLICY_LIMITS, "DOCUMENT_BYTES"),
    ("rules of a policy", POLICY_LIMITS, "RULES"),
    ("costs, and free paths, of a policy", POLICY_LIMITS, "SOURCES"),
    ("matchers of a rule", POLICY_LIMITS, "RULE_MATCHERS"),
    ("matchers of a policy", POLICY_LIMITS, "MATCHERS"),
    ("nesting of matchers", POLICY_LIMITS, "MATCHER_DEPTH"),
    ("elements of a matcher's list", POLICY_LIMITS, "ELEMENTS"),
    ("stars of a glob", POLICY_LIMITS, "GLOB_STARS"),
    ("requirements of a rule", POLICY_LIMITS, "REQUIREMENTS"),
    ("steps of an escalation", RECEIPT_LIMITS, "STEPS"),
    ("asked in a step", POLICY_LIMITS, "ASKED"),
    ("retries of a use", POLICY_LIMITS, "RETRIES"),
    ("entries of a delegation's scope", RECEIPT_LIMITS, "SCOPE_ENTRIES"),
    ("arguments of an entry of a scope", POLICY_LIMITS, "SCOPE_ARGUMENTS"),
    ("depth of a delegation", RECEIPT_LIMITS, "DELEGATION_DEPTH"),
    ("trust file", "crates/verify/src/trust.rs", "MAX_BYTES"),
    ("records of a run that a verdict keeps whole", VERIFY_LIMITS, "LATEST_RECORDS"),
    ("bytes of those", VERIFY_LIMITS, "LATEST_BYTES"),
    ("summary of a run", VERIFY_LIMITS, "SUMMARY_BYTES"),
    ("text in a summary", VERIFY_LIMITS, "SUMMARY_TEXT_BYTES"),
    ("approvals on a page", SERVER_LIMITS, "APPROVALS"),
    ("proposals that a request for approvals looks at", SERVER_LIMITS, "APPROVALS_LOOKED"),
    ("open proposals that each proposer can be allowed", SERVER_LIMITS, "OPEN_PROPOSALS"),
    ("proposals and decisions that the writer is asked about at a time", SERVER_LIMITS, "VISIT"),
    ("decisions, and executions, that are shown of a proposal", SERVER_LIMITS, "APPROVAL_DECISIONS"),
    ("decisions and executions on a page of approvals", SERVER_LIMITS, "PAGE_DECISIONS"),
    ("ends of approvals that a stream of events knows", SERVER_LIMITS, "WATCHED_ENDS"),
    ("tokens of a token file", SERVER_LIMITS, "TOKENS"),
    ("characters of a token's name", SERVER_LIMITS, "TOKEN_NAME_CHARS"),
    ("wrong tokens of a peer in a minute", SERVER_LIMITS, "WRONG_TOKENS"),
    ("requests that wait of one peer or token", SERVER_LIMITS, "HELD"),
    ("requests that wait, of everybody", SERVER_LIMITS, "HELD_BY_ALL"),
    ("batches that one peer or token sends at a time", SERVER_LIMITS, "BATCHES_OF_ONE"),
    ("receipts that one peer or token waits for", SERVER_LIMITS, "RECEIPTS_ASKED"),
    ("records of a run of which a receipt is made", SERVER_LIMITS, "RECEIPT_RECORDS"),
    ("policies of the well-known document", SERVER_LIMITS, "POLICIES"),
];
const RECEIPT_LIMITS: &str = "crates/receipt/src/limits.rs";
const SERVER_LIMITS: &str = "crates/server/src/limits.rs";
const POLICY_LIMITS: &str = "crates/policy/src/limits.rs";
const VERIFY_LIMITS: &str = "crates/verify/src/limits.rs";

/// Constants of `limits.rs` that stand in the tables of `spec/records.md` and `spec/policy.md` instead.
const IN_OTHER_TABLES: [&str; 8] =
    ["OPEN", "NAME_CHARS", "ROOTS", "NOTE_KEYS", "MAX_INTEGER", "WINDOW_MILLIS", "RECORD_JSON", "LINE_JSON"];

/// What is wrong, each with file and line.
pub fn check(root: &Path) -> Vec<String> {
    let mut faults = Vec::new();
    let registry = registry(root, &mut faults);
    codes_agree(&registry, &mut faults);
    each_rule_has_one_predicate(root, &registry, &mut faults);
    each_rule_has_a_failing_vector(root, &registry, &mut faults);
    limits_agree(root, &mut faults);
    habits_hold(root, &mut faults);
    faults
}

/// One row of `spec/rules.md`.
struct Row {
    at: String,
    code: String,
    dimension: String,
}

fn registry(root: &Path, faults: &mut Vec<String>) -> BTreeMap<String, Row> {
    let (mut rows, mut codes) = (BTreeMap::new(), BTreeSet::new());
    for (line, text) in numbered(&read(root, "spec/rules.md")).filter(|(_, text)| text.starts_with("| R-")) {
        let at = format!("spec/rules.md:{line}");
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        let [_, id, kind, code, dimension, _, _] = cells[..] else {
            faults.push(format!("{at}: a row has five cells"));
            continue;
        };
        if !["intrinsic", "positional", "evidence"].contains(&kind) {
            faults.push(format!("{at}: {kind} is no kind of rule"));
        }
        if Dimension::parse(dimension).is_none() {
            faults.push(format!("{at}: {dimension} is no dimension"));
        }
        if !codes.insert(code.to_owned()) {
            faults.push(format!("{at}: the code {code} stands twice"));
        }
        let row = Row { at: at.clone(), code: code.to_owned(), dimension: dimension.to_owned() };
        if rows.insert(id.to_owned(), row).is_some() {
            faults.push(format!("{at}: the rule {id} stands twice"));
        }
    }
    rows
}

/// The registry and the two enums name the same rules, codes and dimensions.
fn codes_agree(registry: &BTreeMap<String, Row>, faults: &mut Vec<String>) {
    let bytes = Code::ALL.iter().map(|code| (code.id(), code.code(), Dimension::Integrity));
    let rules = Rule::ALL.iter().map(|rule| (rule.id(), rule.code(), rule.dimension()));
    let mut known = BTreeSet::new();
    for (id, code, dimension) in bytes.chain(rules) {
        if !known.insert(id) {
            faults.push(format!("{id}: stands in code twice"));
        }
        match registry.get(id) {
            None => faults.push(format!("spec/rules.md: {id} ({code}) is missing")),
            Some(row) if row.code != code => faults.push(format!("{}: {id} is {code} in code", row.at)),
            Some(row) if row.dimension != dimension.as_str() => {
                faults.push(format!("{}: {id} fails {dimension} in code", row.at));
            }
            Some(_) => {}
        }
    }
    let strangers = registry.iter().filter(|(id, _)| !known.contains(id.as_str()));
    faults.extend(strangers.map(|(id, row)| format!("{}: no code knows {id}", row.at)));
}

/// A predicate is a function with a line of its doc comment that starts with the rule's id and ends there, or goes on after a
/// colon. Rules that one scan of the text judges together are listed at the function that tells them apart.
fn each_rule_has_one_predicate(root: &Path, registry: &BTreeMap<String, Row>, faults: &mut Vec<String>) {
    let mut predicates: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for path in sources(root, &["crates/receipt/src", "crates/verify/src"]) {
        let text = read(root, &path);
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(id) = line.trim().strip_prefix("/// ").and_then(rule_at_start) else { continue };
            let place = format!("{path}:{}", at + 1);
            let is_comment = |line: &&&str| line.trim().starts_with("///") || line.trim().starts_with("#[");
            let documented = lines[at..].iter().find(|line| !is_comment(line));
            if !documented.is_some_and(|line| line.contains("fn ")) {
                faults.push(format!("{place}: {id} documents no function"));
            }
            predicates.entry(id.to_owned()).or_default().push(place);
        }
    }
    for (id, row) in registry {
        match predicates.remove(id).unwrap_or_default().as_slice() {
            [_] => {}
            [] => faults.push(format!("{}: {id} has no predicate", row.at)),
            several => {
                faults.push(format!("{}: {id} has several predicates: {}", row.at, several.join(", ")))
            }
        }
    }
    for (id, places) in predicates {
        faults.push(format!("{}: {id} is no rule of the registry", places.join(", ")));
    }
}

fn rule_at_start(text: &str) -> Option<&str> {
    let end = text
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-'))
        .unwrap_or(text.len());
    let (id, rest) = text.split_at(end);
    let is_id = id.starts_with("R-") && id.len() > 5 && id.split('-').count() == 3;
    (is_id && (rest.is_empty() || rest.starts_with(':'))).then_some(id)
}

fn each_rule_has_a_failing_vector(root: &Path, registry: &BTreeMap<String, Row>, faults: &mut Vec<String>) {
    let files = files(root, &["test-vectors/records", "test-vectors/logs", "test-vectors/bundles"], "json");
    let vectors: Vec<String> = files.iter().map(|path| read(root, path)).collect();
    for (id, row) in registry {
        let (rule, code) = (format!("\"rule\": \"{id}\""), format!("\"code\": \"{}\"", row.code));
        if !vectors.iter().any(|vector| vector.contains(&rule) && vector.contains(&code)) {
            faults.push(format!("{}: no vector breaks {id} ({})", row.at, row.code));
        }
    }
}

fn limits_agree(root: &Path, faults: &mut Vec<String>) {
    let mut rows: BTreeMap<String, (String, String)> = BTreeMap::new();
    let is_row = |text: &str| text.starts_with("| ") && !text.starts_with("| name |");
    for (line, text) in numbered(&read(root, "spec/limits.md")).filter(|(_, text)| is_row(text)) {
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        rows.insert(cells[1].to_owned(), (format!("spec/limits.md:{line}"), digits(cells[2])));
    }
    for (name, path, constant) in LIMITS {
        let Some((at, value)) = rows.remove(name) else {
            faults.push(format!("spec/limits.md: {name} is missing"));
            continue;
        };
        match constants(&read(root, path)).get(constant) {
            Some(found) if *found == value => {}
            Some(found) => faults.push(format!("{at}: {name} is {value}, {constant} in {path} is {found}")),
            None => faults.push(format!("{at}: {path} has no {constant}")),
        }
    }
    faults.extend(rows.into_iter().map(|(name, (at, _))| format!("{at}: no constant is known for {name}")));
    for constant in constants(&read(root, RECEIPT_LIMITS)).into_keys() {
        let is_listed = LIMITS.iter().any(|(_, path, listed)| *path == RECEIPT_LIMITS && *listed == constant);
        if !is_listed && !IN_OTHER_TABLES.contains(&constant.as_str()) {
            faults.push(format!("{RECEIPT_LIMITS}: {constant} stands in no table of the specification"));
        }
    }
}

/// Public constants and the digits of their values.
fn constants(text: &str) -> BTreeMap<String, String> {
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": "));
    declared
        .map(|(name, rest)| (name.to_owned(), digits(rest.split_once("= ").map_or("", |(_, value)| value))))
        .collect()
}

/// The digits at the start of a number, without separators.
fn digits(text: &str) -> String {
    let number = text.chars().take_while(|c| c.is_ascii_digit() || matches!(c, ',' | '_'));
    number.filter(char::is_ascii_digit).collect()
}

fn habits_hold(root: &Path, faults: &mut Vec<String>) {
    let folders = ["crates", "tests", "xtask", "benches", "examples", "fuzz"];
    for path in sources(root, &folders) {
        let text = read(root, &path);
        let count = text.lines().count();
        if count > LINES {
            faults.push(format!("{path}:{count}: more than {LINES} lines"));
        }
        for (line, text) in numbered(&text) {
            let found = FORBIDDEN.iter().filter(|word| text.contains(**word));
            faults.extend(found.map(|word| format!("{path}:{line}: {word}")));
        }
    }
    if !root.join("CHANGELOG.md").is_file() {
        faults.push("CHANGELOG.md: is missing".to_owned());
    }
}

fn sources(root: &Path, folders: &[&str]) -> Vec<String> {
    files(root, folders, "rs")
}

/// Files below these folders, build output aside, in order.
fn files(root: &Path, folders: &[&str], extension: &str) -> Vec<String> {
    let mut todo: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    let mut found = BTreeSet::new();
    while let Some(folder) = todo.pop() {
        let Ok(listing) = fs::read_dir(root.join(&folder)) else { continue };
        for entry in listing.flatten() {
            let path = folder.join(entry.file_name());
            if root.join(&path).is_dir()
                && !["target", "node_modules", "corpus"].iter().any(|name| path.ends_with(name))
            {
                todo.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.insert(path.to_string_lossy().into_owned());
            }
        }
    }
    found.into_iter().collect()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// Missing files read as empty: whatever should stand in them is then reported as missing.
fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicate_starts_with_its_rule_and_nothing_else() {
        assert_eq!(rule_at_start("R-EXEC-01: the action"), Some("R-EXEC-01"));
        assert_eq!(rule_at_start("R-REC-07"), Some("R-REC-07"));
        assert_eq!(rule_at_start("R-EXEC-06, R-EXEC-07 and R-EXEC-12"), None);
        assert_eq!(rule_at_start("R-ROLE-01 or R-SIG-01."), None);
        assert_eq!(rule_at_start("RFC 6962"), None);
    }

    #[test]
    fn numbers_are_read_with_their_separators() {
        assert_eq!(
            (digits("65,535"), digits("65_535;"), digits("4,096 bytes")),
            ("65535".into(), "65535".into(), "4096".into())
        );
    }
}
