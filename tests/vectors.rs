//! The vectors of this repository, through the public API, as any other implementation would run them.

use std::collections::{BTreeMap, BTreeSet};

use base64::prelude::{BASE64_STANDARD, Engine};
use counterfoil_receipt::{Body, PolicyDigest, UnverifiedRecord, body::Policy};
use counterfoil_testkit::{Asked, Given, own_vectors};
use counterfoil_tlog::{MemoryTree, TreeSize, leaf_hash};
use counterfoil_verify::{
    Answer, Dimension, KeyCache, Roots, Scope, State, Trust, Verdict, check_signature, verify,
};
use serde::{Deserialize, de::DeserializeOwned};

/// How many vectors there are: `(folder, those that hold, those that fail)`. A vector that is not run fails the test.
const COUNTS: [(&str, usize, usize); 4] =
    [("records", 38, 130), ("logs", 89, 284), ("bundles", 29, 82), ("policy", 32, 46)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordVector {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    flags: Vec<String>,
    record: String,
    expect: RecordExpectation,
}

#[derive(Deserialize, PartialEq, Debug, Default)]
#[serde(deny_unknown_fields)]
struct RecordExpectation {
    valid: bool,
    rule: Option<String>,
    code: Option<String>,
    id: Option<String>,
    statement: Option<String>,
    r#type: Option<String>,
    action_digest: Option<String>,
    policy_digest: Option<String>,
    signature_valid: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogVector {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    flags: Vec<String>,
    entries: Vec<String>,
    expect: Vec<FindingExpectation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleVector {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    flags: Vec<String>,
    bundle: String,
    trust: String,
    now: u64,
    expect: BundleExpectation,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct BundleExpectation {
    conclusion: String,
    answers: BTreeMap<String, String>,
    findings: Vec<FindingExpectation>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct FindingExpectation {
    rule: String,
    code: String,
    index: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyVector {
    name: String,
    #[serde(rename = "description")]
    _description: String,
    flags: Vec<String>,
    policy: serde_json::Value,
    request: Asked,
    involved: Vec<String>,
    approvals: Vec<Given>,
    expect: serde_json::Value,
}

impl PolicyVector {
    fn holds(&self) -> bool {
        self.expect.get("uses").is_some()
    }
}

#[test]
fn each_policy_says_what_its_vector_says() {
    for vector in vectors::<PolicyVector>("policy") {
        let said = vector.request.judge(&vector.policy, &vector.involved, &vector.approvals);
        assert_eq!(said, vector.expect, "{}", vector.name);
    }
}

#[test]
fn each_record_is_judged_as_its_vector_says() {
    for vector in vectors::<RecordVector>("records") {
        let record = BASE64_STANDARD.decode(&vector.record).unwrap();
        assert_eq!(judge_record(&record), vector.expect, "{}", vector.name);
    }
}

fn judge_record(bytes: &[u8]) -> RecordExpectation {
    let invalid = |rule: &str, code: &str| RecordExpectation {
        rule: Some(rule.to_owned()),
        code: Some(code.to_owned()),
        ..Default::default()
    };
    let record = match UnverifiedRecord::parse(bytes) {
        Ok(record) => record,
        Err(fault) => return invalid(fault.code.id(), fault.code.code()),
    };
    let policy_digest = match record.body() {
        Body::Policy(body) => Some(match &**body {
            Policy::Document(document) => PolicyDigest::of(document.as_str().as_bytes()),
            Policy::Digest(digest) => *digest,
        }),
        _ => None,
    };
    match check_signature(record, &mut KeyCache::default()) {
        Err((_, fault)) => invalid(fault.rule.id(), fault.rule.code()),
        Ok(record) => RecordExpectation {
            valid: true,
            id: Some(record.id().to_string()),
            statement: Some(record.statement().to_string()),
            r#type: Some(record.kind().to_string()),
            action_digest: record.body().action().map(|action| action.digest().to_string()),
            policy_digest: policy_digest.map(|digest| digest.to_string()),
            signature_valid: Some(true),
            ..Default::default()
        },
    }
}

#[test]
fn each_log_is_folded_as_its_vector_says() {
    for vector in vectors::<LogVector>("logs") {
        let entries: Vec<Vec<u8>> =
            vector.entries.iter().map(|entry| BASE64_STANDARD.decode(entry).unwrap()).collect();
        assert_eq!(fold(&entries), vector.expect, "{}", vector.name);
        let last = entries.len() as u64 - 2;
        assert!(vector.expect.iter().all(|fault| fault.index == Some(last)), "{}", vector.name);
    }
}

/// What the entries of a log break, when all of them are known.
fn fold(entries: &[Vec<u8>]) -> Vec<FindingExpectation> {
    struct Tree(MemoryTree);
    impl Roots for Tree {
        fn root_at(&self, size: u64) -> Option<[u8; 32]> {
            self.0.head_at(TreeSize(size)).map(|head| *head.root.as_bytes())
        }
    }
    let (mut state, mut keys, mut tree) =
        (State::new(Scope::Complete), KeyCache::default(), Tree(MemoryTree::new()));
    let mut faults = Vec::new();
    for (index, bytes) in (0..).zip(entries) {
        let record = UnverifiedRecord::parse(bytes).expect("entries of log vectors are records");
        let record = check_signature(record, &mut keys).expect("their signatures hold");
        if let Err(fault) = state.fold(&record, index, &tree) {
            let (rule, code) = (fault.rule.id().to_owned(), fault.rule.code().to_owned());
            faults.push(FindingExpectation { rule, code, index: Some(index) });
        }
        tree.0.push(leaf_hash(bytes));
    }
    faults
}

#[test]
fn each_bundle_gets_the_verdict_that_its_vector_says() {
    let files = files();
    for vector in vectors::<BundleVector>("bundles") {
        let trust = std::str::from_utf8(&files[&vector.trust]).unwrap();
        let trust = Trust::parse(trust).unwrap();
        let verdict = verify(&files[&vector.bundle], &trust, vector.now);
        assert_eq!(judged(&verdict, &trust), vector.expect, "{}", vector.name);
    }
}

fn judged(verdict: &Verdict, trust: &Trust) -> BundleExpectation {
    let word = |answer: &Answer| match answer {
        Answer::Pass(_) => "pass",
        Answer::Fail => "fail",
        Answer::NotShown(_) => "not_shown",
    };
    let answers = Dimension::ALL.map(|one| (one.to_string(), word(verdict.answer(one)).to_owned()));
    let findings = verdict.findings().iter().map(|finding| FindingExpectation {
        rule: finding.rule.to_owned(),
        code: finding.code.to_owned(),
        index: finding.index,
    });
    BundleExpectation {
        conclusion: verdict.conclude(trust.require()).to_string(),
        answers: answers.into(),
        findings: findings.collect(),
    }
}

/// Everything in `bundles/`, by name.
fn files() -> BTreeMap<String, Vec<u8>> {
    own_vectors("bundles", "").into_iter().collect()
}

#[test]
fn every_file_of_bundles_belongs_to_a_vector() {
    let vectors = vectors::<BundleVector>("bundles");
    let named: BTreeSet<String> = vectors
        .iter()
        .flat_map(|vector| [vector.bundle.clone(), vector.trust.clone(), format!("{}.json", vector.name)])
        .collect();
    assert_eq!(files().into_keys().collect::<BTreeSet<_>>(), named);
}

#[test]
fn every_rule_of_the_registry_has_a_failing_vector() {
    let broken: BTreeSet<(String, String)> = failing().into_iter().flat_map(|(_, rules)| rules).collect();
    let registry = registry();
    assert_eq!(registry.len(), 107, "rules of the registry");
    let missing: Vec<_> = registry.difference(&broken).collect();
    assert!(missing.is_empty(), "no vector breaks {missing:?}");
    let unknown: Vec<_> = broken.difference(&registry).collect();
    assert!(unknown.is_empty(), "vectors break rules that the registry does not have: {unknown:?}");
}

#[test]
fn every_failing_vector_breaks_one_rule() {
    for (name, rules) in failing() {
        assert_eq!(rules.len(), 1, "{name}: {rules:?}");
    }
}

/// The names of failing vectors, each with the rules, by id and code, that it breaks.
fn failing() -> Vec<(String, BTreeSet<(String, String)>)> {
    let records = vectors::<RecordVector>("records").into_iter().filter(|vector| !vector.expect.valid);
    let mut failing: Vec<_> = records
        .map(|vector| {
            let rule = vector.expect.rule.zip(vector.expect.code).expect("what is not valid breaks a rule");
            (vector.name, BTreeSet::from([rule]))
        })
        .collect();
    let rules = |findings: Vec<FindingExpectation>| {
        findings.into_iter().map(|fault| (fault.rule, fault.code)).collect()
    };
    let dimensions = dimensions();
    let logs = vectors::<LogVector>("logs").into_iter().filter(|vector| !vector.expect.is_empty());
    failing.extend(logs.map(|vector| (vector.name, rules(vector.expect))));
    let bundles = vectors::<BundleVector>("bundles");
    let bundles = bundles.into_iter().filter(|vector| vector.expect.conclusion != "shown");
    failing.extend(bundles.map(|mut vector| {
        let files = files();
        let trust = Trust::parse(std::str::from_utf8(&files[&vector.trust]).unwrap()).unwrap();
        let BundleExpectation { answers, findings, .. } = &mut vector.expect;
        // What is not shown is no fault beside what is broken, nor where the reader did not ask for it.
        let fails = |fault: &FindingExpectation| answers[&dimensions[&fault.rule]] == "fail";
        if findings.iter().any(fails) {
            findings.retain(fails);
        } else {
            findings.retain(|fault| {
                trust.require().iter().any(|asked| asked.as_str() == dimensions[&fault.rule])
            });
        }
        (vector.name, rules(vector.expect.findings))
    }));
    failing
}

#[test]
fn failing_vectors_carry_flags_that_say_what_they_are_for() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Flag {
        bug: String,
        effect: String,
    }
    let files: BTreeMap<String, Vec<u8>> = own_vectors("", "flags.json").into_iter().collect();
    let known: BTreeMap<String, Flag> = serde_json::from_slice(&files["flags.json"]).unwrap();
    assert!(known.values().all(|flag| !flag.bug.is_empty() && !flag.effect.is_empty()));
    let records = vectors::<RecordVector>("records").into_iter().map(|v| (v.name, v.flags, v.expect.valid));
    let logs = vectors::<LogVector>("logs").into_iter().map(|v| (v.name, v.flags, v.expect.is_empty()));
    let bundles = vectors::<BundleVector>("bundles").into_iter();
    let bundles = bundles.map(|v| (v.name, v.flags, v.expect.conclusion == "shown"));
    let policies =
        vectors::<PolicyVector>("policy").into_iter().map(|v| (v.name.clone(), v.flags.clone(), v.holds()));
    for (name, flags, holds) in records.chain(logs).chain(bundles).chain(policies) {
        assert_eq!(flags.is_empty(), holds, "{name}: {flags:?}");
        assert!(flags.iter().all(|flag| known.contains_key(flag)), "{name}: {flags:?}");
    }
}

#[test]
fn there_are_as_many_vectors_as_there_should_be() {
    let records = vectors::<RecordVector>("records").iter().map(|v| v.expect.valid).collect();
    let logs = vectors::<LogVector>("logs").iter().map(|v| v.expect.is_empty()).collect();
    let bundles = vectors::<BundleVector>("bundles").iter().map(|v| v.expect.conclusion == "shown").collect();
    let policies = vectors::<PolicyVector>("policy").iter().map(PolicyVector::holds).collect();
    let found = [("records", records), ("logs", logs), ("bundles", bundles), ("policy", policies)].map(
        |(folder, holds): (_, Vec<bool>)| {
            let valid = holds.iter().filter(|holds| **holds).count();
            (folder, valid, holds.len() - valid)
        },
    );
    assert_eq!(found, COUNTS);
    for (folder, valid, failing) in found {
        println!("count vectors that hold, {folder} {valid}");
        println!("count vectors that fail, {folder} {failing}");
    }
    let logs = vectors::<LogVector>("logs").into_iter().map(|vector| vector.name);
    let bundles = vectors::<BundleVector>("bundles").into_iter().map(|vector| vector.name);
    let delegations = logs.chain(bundles).filter(|name| name.contains("delegation")).count();
    println!("count vectors of logs and bundles about delegations {delegations}");
}

/// Ids and codes of `spec/rules.md`.
fn registry() -> BTreeSet<(String, String)> {
    rows().into_iter().map(|[id, code, _]| (id, code)).collect()
}

/// The dimension that each rule of `spec/rules.md` fails, by the rule's id.
fn dimensions() -> BTreeMap<String, String> {
    rows().into_iter().map(|[id, _, dimension]| (id, dimension)).collect()
}

/// Id, code and dimension of each rule of `spec/rules.md`.
fn rows() -> Vec<[String; 3]> {
    let text = include_str!("../spec/rules.md");
    let rows = text.lines().filter(|line| line.starts_with("| R-"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        [cells[1], cells[3], cells[4]].map(str::to_owned)
    })
    .collect()
}

fn vectors<T: DeserializeOwned>(folder: &str) -> Vec<T> {
    let files = own_vectors(folder, ".json").into_iter();
    files
        .map(|(name, text)| serde_json::from_slice(&text).unwrap_or_else(|why| panic!("{name}: {why}")))
        .collect()
}
