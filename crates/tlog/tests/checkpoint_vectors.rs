//! Checkpoints and tlog-proofs: the cases of transparency-dev/formats, and proofs rewritten from Sigstore's logs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{base64, json, read_text, vectors};
use counterfoil_tlog::*;
use serde_json::Value;

/// That parser takes roots of any length, and empty lines at the end; C2SP tlog-checkpoint does neither.
#[test]
fn checkpoint_bodies() {
    let Some(folder) = vectors("checkpoint-transparency-dev-formats") else { return };
    let cases = json(folder.join("unmarshal.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 12);
    let mut accepted = 0;
    for case in cases {
        let (desc, body) = (case["desc"].as_str().unwrap(), case["body"].as_str().unwrap());
        let valid = !case["wantErr"].as_bool().unwrap();
        let result = Checkpoint::parse(body);
        if !valid {
            assert!(result.is_err(), "{desc}");
            continue;
        }
        assert!(matches!(result, Err(CheckpointError::BadRoot { .. })), "{desc}: {result:?}");
        // With a root of the right length the rest of the case applies.
        let root = leaf_hash(case["hash_utf8"].as_str().unwrap().as_bytes());
        let mut lines: Vec<String> = body.split('\n').map(str::to_owned).collect();
        lines[2] = root.to_base64();
        let body = lines.join("\n");
        let rest = case["rest"].as_str().unwrap_or_default();
        match Checkpoint::parse(&body) {
            Ok(checkpoint) => {
                assert_eq!(checkpoint.origin(), case["origin"], "{desc}");
                let size = TreeSize(case["size"].as_u64().unwrap());
                assert_eq!(checkpoint.head(), TreeHead { size, root }, "{desc}");
                let extensions: String =
                    checkpoint.extensions().iter().map(|line| format!("{line}\n")).collect();
                assert_eq!(extensions, rest, "{desc}");
                assert_eq!(checkpoint.to_string(), body, "{desc}");
                accepted += 1;
            }
            Err(error) => {
                assert_eq!(error, CheckpointError::BadExtension { line: 4 }, "{desc}");
                assert_eq!(desc, "valid with trailing newlines");
            }
        }
    }
    assert_eq!(accepted, 4);
}

/// That parser takes anything as checkpoint; ours demands a note, so it gets one.
#[test]
fn tlog_proof_texts() {
    let Some(folder) = vectors("checkpoint-transparency-dev-formats") else { return };
    let note = "test checkpoint\n\n— example.com/foo AAAAAAA=\n";
    let cases = json(folder.join("tlog-proof-syntax.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 11);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let text = match case["text_repeat"].as_object() {
            None => case["text"].as_str().unwrap().to_owned(),
            Some(repeat) => {
                let count = usize::try_from(repeat["count"].as_u64().unwrap()).unwrap();
                let middle = repeat["char"].as_str().unwrap().repeat(count);
                format!(
                    "{}{middle}{}",
                    repeat["prefix"].as_str().unwrap(),
                    repeat["suffix"].as_str().unwrap()
                )
            }
        };
        let with_note = match text.split_once("\n\n") {
            Some((head, _)) => format!("{head}\n\n{note}"),
            None => text,
        };
        let parsed = TlogProof::parse(&with_note);
        assert_eq!(parsed.is_ok(), case["ok"].as_bool().unwrap(), "{name}: {parsed:?}");
        if let Ok(proof) = parsed {
            assert_eq!(proof.index.0, case["index"].as_u64().unwrap(), "{name}");
            assert_eq!(proof.inclusion.len() as u64, case["hashes"].as_u64().unwrap(), "{name}");
            let extra = (!case["extra_b64"].is_null()).then(|| base64(&case["extra_b64"]));
            assert_eq!(proof.extra, extra, "{name}");
            assert_eq!(proof.to_string(), with_note, "{name}");
        }
    }
}

/// Twenty-five proofs from real logs. Each verdict was computed by an independent implementation.
#[test]
fn sigstore_proofs() {
    let Some(folder) = vectors("tlog-proof-derived") else { return };
    let (proofs, verdicts) = (json(folder.join("proofs.json")), json(folder.join("VERDICTS.json")));
    let (proofs, verdicts) = (proofs.as_array().unwrap(), verdicts.as_array().unwrap());
    assert_eq!((proofs.len(), verdicts.len()), (25, 25));
    let mut verified = 0;
    for (case, verdict) in proofs.iter().zip(verdicts) {
        let name = case["name"].as_str().unwrap();
        assert_eq!(name, verdict["name"]);
        let expected = verdict["log_signature_ok"] == true && verdict["inclusion_ok"] == true;
        let result = verify_sigstore(case);
        assert_eq!(result.is_ok(), expected, "{name}: {result:?}");
        verified += usize::from(expected);
    }
    assert_eq!(verified, 20);
}

fn verify_sigstore(case: &Value) -> Result<SignedCheckpoint, String> {
    let text = case["tlog_proof"].as_str().unwrap();
    let proof = TlogProof::parse(text).map_err(|error| error.to_string())?;
    assert_eq!(proof.to_string(), text);
    // The cases give SPKI keys, all Ed25519: the point is their last 32 bytes. The key name is the log's host.
    let mut policy = String::from("quorum none\n");
    for key in case["log_keys"].as_array().unwrap() {
        assert_eq!(key["keyDetails"], "PKIX_ED25519");
        let name = key["baseUrl"].as_str().unwrap().strip_prefix("https://").unwrap();
        let spki = base64(&key["spki_b64"]);
        let key = VerifierKey::new(name, Algorithm::Ed25519, &spki[spki.len() - 32..]).unwrap();
        policy += &format!("log {key}\n");
    }
    let policy = Policy::parse(policy.as_bytes()).unwrap();
    let leaf = leaf_hash(&base64(&case["leaf_b64"]));
    proof.verify(leaf, &policy).map_err(|error| format!("{}: {error:?}", error.code()))
}

#[test]
fn the_log_testdata_checkpoint_is_read_under_its_policy_only() {
    let Some(folder) = vectors("log-tessera-testdata") else { return };
    let vkey = read_text(folder.join("log.vkey"));
    let note = || UnverifiedNote::parse(read_text(folder.join("checkpoint.7")).as_bytes()).unwrap();
    let policy = Policy::parse(format!("log {}\nquorum none\n", vkey.trim_end()).as_bytes()).unwrap();
    assert_eq!(policy.open(note()).unwrap().head().size, TreeSize(7));
    let empty = Policy::parse(b"quorum none\n").unwrap();
    assert_eq!(empty.open(note()).unwrap_err().code(), "policy-unknown-log");
}
