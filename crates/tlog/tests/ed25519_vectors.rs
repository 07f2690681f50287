//! Ed25519 as keys of this crate check it: Wycheproof, CCTV, and the original known answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{json, read_text, unhex, vectors};
use counterfoil_tlog::{Algorithm, SeedSigner, Signer, VerifierKey};

fn accepts(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    VerifierKey::new("test", Algorithm::Ed25519, public_key)
        .is_ok_and(|key| key.verify_message(message, signature).is_ok())
}

#[test]
fn wycheproof() {
    let Some(folder) = vectors("ed25519-wycheproof") else { return };
    let file = json(folder.join("ed25519_test.json"));
    let (mut valid, mut invalid) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let key = unhex(group["publicKey"]["pk"].as_str().unwrap());
        for case in group["tests"].as_array().unwrap() {
            let [message, signature] = ["msg", "sig"].map(|name| unhex(case[name].as_str().unwrap()));
            let expected = case["result"] == "valid";
            assert_eq!(accepts(&key, &message, &signature), expected, "{case}");
            if expected { valid += 1 } else { invalid += 1 }
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}

/// Every case verifies under the laxest rules. The strict ones let neither small order nor non-canonical points pass.
#[test]
fn cctv() {
    let Some(folder) = vectors("ed25519-cctv") else { return };
    let cases = json(folder.join("ed25519vectors.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 914);
    let refused = ["low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"];
    let mut accepted = 0;
    for case in cases {
        let [key, signature] = ["key", "sig"].map(|name| unhex(case[name].as_str().unwrap()));
        let message = case["msg"].as_str().unwrap();
        let has_refused =
            |flags: &Vec<serde_json::Value>| flags.iter().any(|f| refused.contains(&f.as_str().unwrap()));
        let expected = !case["flags"].as_array().is_some_and(has_refused);
        assert_eq!(accepts(&key, message.as_bytes(), &signature), expected, "{case}");
        accepted += usize::from(expected);
    }
    assert_eq!(accepted, 43);
}

#[test]
fn sign_input() {
    let Some(folder) = vectors("ed25519-sign-input") else { return };
    let text = read_text(folder.join("TESTVECTORS"));
    assert_eq!(text.lines().count(), 128);
    for line in text.lines() {
        let fields: Vec<Vec<u8>> = line.split(':').map(unhex).collect();
        let [secret, public, message, signed] = &fields[..4] else { panic!("{line}") };
        let signer = SeedSigner::ed25519("test", &secret[..32].try_into().unwrap()).unwrap();
        assert_eq!(signer.key().public_key(), public);
        assert_eq!(signer.sign(message).unwrap(), signed[..64]);
        assert!(accepts(public, message, &signed[..64]));
    }
}
