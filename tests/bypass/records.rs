//! Attacks on bytes: one thing is signed, and another is read.

use counterfoil_receipt::UnverifiedRecord;
use counterfoil_testkit::{Scenario, action};
use counterfoil_verify::{KeyCache, check_signature};
use serde_json::json;

fn proposal() -> String {
    let mut s = Scenario::new();
    let run = s.trigger();
    let body = s.proposal(action("pay", json!({"10": 1, "2": 1, "amount": "5"})));
    let record = s.ledger.sign(&s.cast.scout.clone(), Some(run), body);
    String::from_utf8(record.bytes().to_vec()).unwrap()
}

fn code(text: &str) -> &'static str {
    match UnverifiedRecord::parse(text.as_bytes()) {
        Err(fault) => fault.code.code(),
        Ok(record) => match check_signature(record, &mut KeyCache::default()) {
            Ok(_) => "holds",
            Err((_, fault)) => fault.rule.code(),
        },
    }
}

/// 64 bytes fill 85 characters and two bits of the 86th; its other four bits have 16 spellings, of which one is right.
#[test]
fn sixteen_spellings_of_one_signature() {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let text = proposal();
    let last = text.find(r#""sig":""#).unwrap() + 7 + 85;
    let own = ALPHABET.find(&text[last..=last]).unwrap();
    let spellings = ALPHABET.chars().enumerate().filter(|(at, _)| at >> 4 == own >> 4);
    let codes: Vec<_> = spellings
        .map(|(_, other)| {
            let mut text = text.clone();
            text.replace_range(last..=last, &other.to_string());
            code(&text)
        })
        .collect();
    assert_eq!(codes.len(), 16);
    assert_eq!(codes.iter().filter(|code| **code == "holds").count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "field-invalid").count(), 15, "{codes:?}");
}

#[test]
fn other_alphabets_and_padding_spell_a_signature_too() {
    let text = proposal();
    let start = text.find(r#""sig":""#).unwrap() + 7;
    let signature = &text[start..start + 86];
    assert_eq!(code(&text.replace(signature, &format!("{signature}=="))), "field-invalid");
    assert_eq!(code(&text.replace(signature, &format!("{}+", &signature[..85]))), "field-invalid");
}

#[test]
fn integer_like_names_are_sorted_as_numbers() {
    let text = proposal();
    assert_eq!(code(&text), "holds");
    assert_eq!(code(&text.replace(r#""10":1,"2":1"#, r#""2":1,"10":1"#)), "json-not-canonical");
}

#[test]
fn envelope_and_payload_disagree() {
    let text = proposal();
    assert_eq!(code(&text.replace(r#""amount":"5""#, r#""amount":"500""#)), "signature-invalid");
    assert_eq!(code(&text.replace(r#""type":"proposal""#, r#""type":"observation""#)), "field-missing");
    assert_eq!(code(&text.replace(r#""role":"agent""#, r#""role":"human""#)), "role-not-allowed");
}

#[test]
fn a_second_member_of_one_name_overrides_the_first() {
    let text = proposal();
    assert_eq!(
        code(&text.replace(r#""amount":"5""#, r#""amount":"5","amount":"500""#)),
        "json-duplicate-key"
    );
}

#[test]
fn a_batch_array_walks_past_the_check() {
    let text = proposal();
    assert_eq!(code(&format!("[{text}]")), "json-syntax");
    assert_eq!(code(&format!("{text}\n{text}")), "json-trailing");
}

#[test]
fn an_omitted_limit_means_no_limit() {
    let mut s = Scenario::new();
    let run = s.trigger();
    let proposal = s.propose(run, action("pay", json!({})));
    let body = s.decision(run, proposal, counterfoil_receipt::body::Ruling::Approve);
    let record = s.ledger.sign(&s.cast.ana.clone(), Some(run), body);
    let text = String::from_utf8(record.bytes().to_vec()).unwrap();
    assert_eq!(code(&text.replace(r#""uses":1,"#, "")), "decision-terms");
    assert_eq!(code(&text.replace(r#""uses":1,"#, r#""uses":0,"#)), "field-invalid");
}
