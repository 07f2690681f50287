//! Signed notes: the cases of golang.org/x/mod/sumdb/note, and the examples of the C2SP specifications.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{base64, json, read, read_text, vectors};
use counterfoil_tlog::*;

#[test]
fn golang_open() {
    let Some(folder) = vectors("note-golang-sumdb") else { return };
    let cases = json(folder.join("open.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let keys: Vec<VerifierKey> = case["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key.as_str().unwrap().parse().unwrap())
            .collect();
        let opened = UnverifiedNote::parse(&base64(&case["msg_b64"])).and_then(|note| note.open(&keys));
        match (case["error"].as_str(), opened) {
            (None, Ok(note)) => {
                assert_eq!(note.verified().len() as u64, case["verified"].as_u64().unwrap(), "{name}");
                assert_eq!(note.unknown().len() as u64, case["unverified"].as_u64().unwrap(), "{name}");
            }
            (Some("note has no verifiable signatures"), Err(NoteError::NoKnownSignature { .. }))
            | (Some("ambiguous key"), Err(NoteError::AmbiguousKey { .. }))
            | (Some("invalid signature"), Err(NoteError::InvalidSignature { .. })) => {}
            (Some("malformed note"), Err(error)) => assert!(
                !matches!(
                    error.code(),
                    "note-ambiguous-key" | "note-invalid-signature" | "note-no-known-signature"
                ),
                "{name}: {error}"
            ),
            (wanted, got) => panic!("{name}: wanted {wanted:?}, got {got:?}"),
        }
    }
}

#[test]
fn golang_sign() {
    let Some(folder) = vectors("note-golang-sumdb") else { return };
    let cases = json(folder.join("sign.json"));
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 1);
    for case in cases {
        // PRIVATE+KEY+<name>+<id>+<base64(type byte ‖ seed)>
        let skey: Vec<&str> = case["skey"].as_str().unwrap().splitn(5, '+').collect();
        let seed: [u8; 32] = STANDARD.decode(skey[4]).unwrap()[1..].try_into().unwrap();
        let signer = SeedSigner::ed25519(skey[2], &seed).unwrap();
        assert_eq!(signer.key().to_string(), case["vkey"]);
        let text = case["text"].as_str().unwrap();
        let note = UnverifiedNote::new(text, vec![sign_note(text, &signer).unwrap()]).unwrap();
        assert_eq!(note.to_string(), case["want"]);
    }
}

#[test]
fn c2sp_examples() {
    let Some(folder) = vectors("note-c2sp-examples") else { return };
    let parse = |file: &str| UnverifiedNote::parse(&read(folder.join(file))).unwrap();
    let key: VerifierKey = read_text(folder.join("signed-note-example.vkey")).trim_end().parse().unwrap();
    let note = parse("signed-note-example.note").open(&[key]).unwrap();
    assert_eq!((note.text(), note.verified().len()), ("This is an example message.\n", 1));

    // An empty line inside the text: the last one separates.
    let note = parse("signed-note-parse-only.note");
    assert!(note.text().ends_with("raggio di sole:\n\ned è subito sera.\n"));

    for (file, signatures) in [("tlog-checkpoint-example.note", 1), ("tlog-cosignature-example.note", 2)] {
        let note = parse(file);
        assert_eq!(note.to_string().as_bytes(), read(folder.join(file)));
        assert_eq!(note.signatures().len(), signatures);
        let checkpoint = Checkpoint::parse(note.text()).unwrap();
        assert_eq!(
            (checkpoint.origin(), checkpoint.head().size),
            ("example.com/behind-the-sofa", TreeSize(20_852_163))
        );
        assert_eq!(checkpoint.to_string(), note.text());
    }

    let elided = read_text(folder.join("tlog-proof-example-elided.txt"));
    assert_eq!(TlogProof::parse(&elided), Err(TlogProofError::Note(NoteError::BadSignatureLine { line: 1 })));
}
