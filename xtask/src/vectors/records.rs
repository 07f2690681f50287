//! `records/`: one record each, judged by its bytes alone.

mod bounds;
mod faults;
mod points;
mod signers;
mod voices;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use counterfoil_receipt::{Body, PolicyDigest, PublicKey, Type, UnverifiedRecord, body::Policy};
use counterfoil_testkit::{Actor, Cast, examples};
use counterfoil_verify::{KeyCache, check_signature};
use serde_json::{Value, json};

use super::{Files, heading, insert};

/// A record, and which rule it breaks.
struct Case {
    name: String,
    description: &'static str,
    flags: &'static [&'static str],
    bytes: Vec<u8>,
    breaks: Option<&'static str>,
}

pub fn generate(files: &mut Files) {
    let samples = Samples::new();
    let cases = [valid, faults::cases, signers::cases, points::cases, bounds::cases, voices::cases];
    for case in cases.into_iter().flat_map(|cases| cases(&samples)) {
        let expect = expect(&case);
        let mut vector = heading(&case.name, case.description, case.flags, case.breaks.is_some());
        vector.insert("record".to_owned(), Value::String(BASE64_STANDARD.encode(&case.bytes)));
        vector.insert("expect".to_owned(), expect);
        insert(files, &format!("records/{}.json", case.name), &Value::Object(vector));
    }
}

/// What the reference implementation says, which must be what the case is for.
fn expect(case: &Case) -> Value {
    let fails = |rule: &str, code: &str, detail: &dyn std::fmt::Display| {
        assert_eq!(Some(rule), case.breaks, "{}: {detail}", case.name);
        json!({"valid": false, "rule": rule, "code": code})
    };
    let record = match UnverifiedRecord::parse(&case.bytes) {
        Ok(record) => record,
        Err(fault) => return fails(fault.code.id(), fault.code.code(), &fault),
    };
    let mut expect = json!({
        "valid": true,
        "id": record.id().to_string(),
        "statement": record.statement().to_string(),
        "type": record.kind().as_str(),
        "signature_valid": true,
    });
    if let Some(action) = record.body().action() {
        expect["action_digest"] = json!(action.digest().to_string());
    }
    if let Body::Policy(body) = record.body() {
        let digest = match &**body {
            Policy::Document(document) => PolicyDigest::of(document.as_str().as_bytes()),
            Policy::Digest(digest) => *digest,
        };
        expect["policy_digest"] = json!(digest.to_string());
    }
    match check_signature(record, &mut KeyCache::default()) {
        Ok(_) => {
            assert_eq!(case.breaks, None, "{} holds", case.name);
            expect
        }
        Err((_, fault)) => fails(fault.rule.id(), fault.rule.code(), &fault),
    }
}

/// A good record of each type, and who signed it.
struct Samples {
    records: Vec<UnverifiedRecord>,
    cast: Cast,
}

impl Samples {
    fn new() -> Self {
        Self { records: examples(), cast: Cast::standard() }
    }

    fn text(&self, kind: Type) -> String {
        let record =
            self.records.iter().find(|record| record.kind() == kind).expect("an example of each type");
        String::from_utf8(record.bytes().to_vec()).expect("UTF-8")
    }

    /// A record of this type in which one thing is other than it should be, signed all the same.
    fn with(&self, kind: Type, from: &str, to: &str) -> Vec<u8> {
        let text = self.text(kind);
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        let key = self.records.iter().find(|record| record.kind() == kind).expect("an example").author().key;
        sign_anew(text.replace(from, to).into_bytes(), &self.signer_of(key))
    }

    fn signer_of(&self, key: PublicKey) -> Actor {
        let Cast { root, spare_root, ana, bo, scout, fixer, gate, engine, log } = self.cast.clone();
        let all = [root, spare_root, ana, bo, scout, fixer, gate, engine, log];
        all.into_iter().find(|actor| actor.key() == key).expect("somebody of the cast signed")
    }
}

/// Puts a signature over the bytes as they are into their member `sig`.
fn sign_anew(bytes: Vec<u8>, by: &Actor) -> Vec<u8> {
    const OPEN: &[u8] = br#","sig":""#;
    let start = bytes.windows(OPEN.len()).rposition(|window| window == OPEN).expect("a signature");
    let inner = start + OPEN.len();
    let end = inner + bytes[inner..].iter().position(|byte| *byte == b'"').expect("the end of the signature");
    let preimage = [b"counterfoil/v1/record\n", &bytes[..start], &bytes[end + 1..]].concat();
    let signature = by.signer().sign(&preimage).expect("a key in memory signs");
    let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.as_bytes());
    [&bytes[..inner], signature.as_bytes(), &bytes[end..]].concat()
}

fn valid(samples: &Samples) -> Vec<Case> {
    let holds = |name: &str, description: &'static str, bytes: Vec<u8>| Case {
        name: format!("valid-{name}"),
        description,
        flags: &[],
        bytes,
        breaks: None,
    };
    let mut cases: Vec<Case> = samples
        .records
        .iter()
        .map(|record| {
            holds(
                record.kind().as_str(),
                "A record of this type with every member that fits.",
                record.bytes().to_vec(),
            )
        })
        .collect();
    let arguments = r#""arguments":{"amount":"12.50","full":true,"list":[1,2.5,null,"€"]}"#;
    let deepest = format!(r#""arguments":{}"#, nested(29));
    cases.push(holds("depth", "Nesting of exactly 32.", samples.with(Type::Proposal, arguments, &deepest)));
    let largest = sized(samples, 65_535);
    cases.push(holds("size", "Exactly 65,535 bytes.", largest));
    let longest = format!(r#""summary":"{}""#, "a".repeat(4_096));
    let summary = r#""summary":"Make room.""#;
    cases.push(holds(
        "text",
        "A text of exactly 4,096 bytes.",
        samples.with(Type::Proposal, summary, &longest),
    ));
    let parents = parents(16);
    cases.push(holds("parents", "Exactly 16 parents.", with_parents(samples, &parents)));
    let utf16 = "\"arguments\":{\"10\":1,\"2\":1,\"\u{1F600}\":1,\"\u{FB33}\":1}";
    cases.push(holds(
        "utf16-order",
        "Names in the order of UTF-16 code units, integer-like ones as text.",
        samples.with(Type::Proposal, arguments, utf16),
    ));
    let largest_integer = r#""arguments":{"n":-9007199254740991}"#;
    let text = samples.text(Type::Execution);
    let start = text.find(r#""decisions":["#).expect("decisions");
    let end = start + text[start..].find(']').expect("the end of the decisions") + 1;
    let alone =
        text.replace(&text[start..end], r#""break_glass":{"reason":"The site is down."},"decisions":[]"#);
    cases.push(holds(
        "break-glass",
        "An execution that stands on no decision and says why.",
        sign_anew(alone.into_bytes(), &samples.cast.gate),
    ));
    let none = text.replace(&text[start..end], r#""decisions":[]"#);
    cases.push(holds(
        "execution-without-decisions",
        "An execution that names no decision: whether it may is the policy's to say.",
        sign_anew(none.into_bytes(), &samples.cast.gate),
    ));
    cases.push(holds(
        "integer",
        "The smallest integer.",
        samples.with(Type::Proposal, arguments, largest_integer),
    ));
    cases
}

fn with_parents(samples: &Samples, parents: &[String]) -> Vec<u8> {
    let text = samples.text(Type::Observation);
    let start = text.find(r#""parents":["#).expect("parents") + 11;
    let end = start + text[start..].find(']').expect("the end of the parents");
    let parents: Vec<String> = parents.iter().map(|id| format!("\"{id}\"")).collect();
    sign_anew(
        format!("{}{}{}", &text[..start], parents.join(","), &text[end..]).into_bytes(),
        &samples.cast.scout,
    )
}

fn parents(count: u8) -> Vec<String> {
    (0..count).map(|at| format!("sha256:{at:064x}")).collect()
}

/// An object of this many levels.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

/// A proposal of exactly this many bytes.
fn sized(samples: &Samples, bytes: usize) -> Vec<u8> {
    let from = r#""full":true"#;
    let padding = bytes - samples.text(Type::Proposal).len() - r#""f":"""#.len() + from.len();
    let record = samples.with(Type::Proposal, from, &format!(r#""f":"{}""#, "a".repeat(padding)));
    assert_eq!(record.len(), bytes);
    record
}
