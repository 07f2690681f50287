//! The texts of the witness protocol: one spelling each, third-party requests, and which lines of an answer count.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use counterfoil_tlog::witness::{
    ANSWER_BYTES, AddCheckpoint, Answer, PROOF_HASHES, REQUEST_BYTES, RefusedLine, WitnessTextError,
    parse_size,
};
use counterfoil_tlog::{
    Algorithm, Checkpoint, Hash, MemoryTree, NoteError, PosixSeconds, SeedSigner, Signer as _, TreeSize,
    UnverifiedNote, VerifierKey, consistency, cosign, leaf_hash,
};
use proptest::prelude::*;

const ORIGIN: &str = "example.com/log";

fn log() -> SeedSigner {
    SeedSigner::ed25519(ORIGIN, &[1; 32]).unwrap()
}

fn tree(size: u64) -> MemoryTree {
    (0..size).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

fn request(old: u64, size: u64) -> AddCheckpoint {
    let tree = tree(size);
    let proof =
        if old == 0 { Vec::new() } else { consistency::prove(TreeSize(old), tree.size(), &tree).unwrap() };
    let checkpoint = Checkpoint::new(ORIGIN, tree.head()).unwrap().sign(&log()).unwrap();
    AddCheckpoint { old: TreeSize(old), proof, checkpoint }
}

#[test]
fn third_party_requests_are_read() {
    let Some(folder) = common::vectors("witness-torchwood") else { return };
    let vectors = common::json(folder.join("add-checkpoint.json"));
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let hex = text(&vectors["log_public_key_hex"]);
    let public: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let key = VerifierKey::new(&text(&vectors["origin"]), Algorithm::Ed25519, &public).unwrap();
    let steps = vectors["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 9);
    // What a witness can say without its state: whether the log signed.
    let mut signed = 0;
    for (at, step) in steps.iter().enumerate() {
        let body = text(&step["request"]);
        let request = AddCheckpoint::parse(body.as_bytes());
        if at == 1 {
            // Its wrong signature is spelled with unused bits set, which is no spelling of any signature here.
            assert_eq!(request, Err(NoteError::BadSignatureLine { line: 1 }.into()));
            continue;
        }
        let request = request.unwrap();
        assert_eq!(request.to_string(), body);
        let opened = request.checkpoint.clone().open(&[&key]);
        assert_eq!(opened.is_err(), step["status"] == 403, "{step}");
        signed += usize::from(opened.is_ok());
        if step["status"] == 409 {
            assert!(parse_size(text(&step["body"]).as_bytes()).unwrap() > request.old);
        }
    }
    assert_eq!(signed, 7);
}

#[test]
fn a_request_has_one_spelling() {
    let text = request(3, 5).to_string();
    assert!(AddCheckpoint::parse(text.as_bytes()).is_ok());
    let bad = |line| WitnessTextError::BadLine { line };
    let cases = [
        (text.replacen("old 3", "old 03", 1), bad(1)),
        (text.replacen("old 3", "old +3", 1), bad(1)),
        (text.replacen("old 3", "old  3", 1), bad(1)),
        (text.replacen("old 3", "Old 3", 1), bad(1)),
        (text.replacen("old 3", "old 9223372036854775808", 1), bad(1)),
        (text.replacen("old 3\n", "old 3\r\n", 1), bad(1)),
        (text.replacen("=\n", "\n", 1), bad(2)),
        (text.replacen("=\n", "= \n", 1), bad(2)),
        (format!("\n{text}"), bad(1)),
        (text.replacen("\n\n", "\n", 1), bad(6)),
        ("old 3\n".to_owned(), WitnessTextError::NoCheckpoint),
        ("old 3\n\n".to_owned(), NoteError::NoSignatures.into()),
        (text.trim_end().to_owned(), NoteError::NoSignatures.into()),
    ];
    for (text, expected) in cases {
        assert_eq!(AddCheckpoint::parse(text.as_bytes()), Err(expected), "{text}");
    }
}

#[test]
fn limits_are_held_exactly() {
    let mut long = request(0, 1);
    long.proof = vec![Hash::new([7; 32]); PROOF_HASHES];
    assert_eq!(AddCheckpoint::parse(long.to_string().as_bytes()).as_ref(), Ok(&long));
    long.proof.push(Hash::new([7; 32]));
    assert_eq!(AddCheckpoint::parse(long.to_string().as_bytes()), Err(WitnessTextError::TooManyHashes));
    let padded = |bytes: usize| {
        let text = request(0, 1).to_string();
        let (head, lines) = text.rsplit_once("\n\n").unwrap();
        format!("{head}\n{}\n\n{lines}", "x".repeat(bytes - text.len() - 1))
    };
    assert!(AddCheckpoint::parse(padded(REQUEST_BYTES).as_bytes()).is_ok());
    let over = WitnessTextError::TooLong { len: REQUEST_BYTES + 1, limit: REQUEST_BYTES };
    assert_eq!(AddCheckpoint::parse(padded(REQUEST_BYTES + 1).as_bytes()), Err(over));
    let over = WitnessTextError::TooLong { len: ANSWER_BYTES + 1, limit: ANSWER_BYTES };
    assert_eq!(Answer::read(&[b'x'; ANSWER_BYTES + 1], "", &[], PosixSeconds(1)), Err(over));
}

#[test]
fn a_size_is_a_number_and_a_newline() {
    assert_eq!(parse_size(b"0\n"), Ok(TreeSize(0)));
    assert_eq!(parse_size(b"9223372036854775807\n"), Ok(TreeSize(i64::MAX as u64)));
    for body in ["", "\n", "7", "07\n", "+7\n", "7 \n", "7\n\n", "7\r\n", "9223372036854775808\n", "-1\n"] {
        assert_eq!(parse_size(body.as_bytes()), Err(WitnessTextError::NotASize), "{body:?}");
    }
}

#[test]
fn only_verified_timely_lines_of_the_witness_count() {
    let note = request(0, 4).checkpoint;
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    let other = Checkpoint::new(ORIGIN, tree(5).head()).unwrap();
    let ed = SeedSigner::ed25519_cosigner("w.example", &[2; 32]).unwrap();
    let ml = SeedSigner::ml_dsa_44_cosigner("w.example", &[3; 32]).unwrap();
    let stranger = SeedSigner::ed25519_cosigner("w.example", &[4; 32]).unwrap();
    let keys = [ed.key().clone(), ml.key().clone()];
    let line =
        |checkpoint, time, signer: &SeedSigner| cosign(checkpoint, PosixSeconds(time), signer).unwrap();
    let read = |lines: &[counterfoil_tlog::NoteSignature]| {
        let body: String = lines.iter().map(ToString::to_string).collect();
        Answer::read(body.as_bytes(), note.text(), &keys, PosixSeconds(1_000)).unwrap()
    };

    let both = read(&[
        line(&checkpoint, 1_000, &ed),
        line(&checkpoint, 900, &stranger),
        line(&checkpoint, 999, &ml),
    ]);
    assert_eq!(
        both.cosignatures.iter().map(|c| (c.key, c.time.0)).collect::<Vec<_>>(),
        [(0, 1_000), (1, 999)]
    );
    assert_eq!((both.unknown, both.refused.len()), (1, 0));

    let wrong = read(&[line(&other, 900, &ed), line(&checkpoint, 0, &ml)]);
    assert!(wrong.cosignatures.is_empty());
    assert!(matches!(
        &wrong.refused[..],
        [RefusedLine::Signature(NoteError::InvalidSignature { .. }), RefusedLine::NoTime { .. }]
    ));
    let future = read(&[line(&checkpoint, 1_001, &ed)]);
    assert!(matches!(&future.refused[..], [RefusedLine::Future { time: PosixSeconds(1_001), .. }]));
    let twice = read(&[line(&checkpoint, 7, &ed), line(&checkpoint, 9, &ed), line(&checkpoint, 8, &ed)]);
    assert_eq!(twice.cosignatures.iter().map(|c| c.time.0).collect::<Vec<_>>(), [9]);

    // Appended to the log's own note, what counts opens under the same keys.
    let lines = note.signatures().iter().cloned().chain(both.cosignatures.into_iter().map(|c| c.line));
    let merged = UnverifiedNote::new(note.text(), lines.collect()).unwrap();
    assert_eq!(merged.open(&keys).unwrap().verified().len(), 2);
}

proptest! {
    #[test]
    fn what_is_printed_is_read(old in 0_u64..=9, more in 0_u64..=30, hashes in 0_usize..=63) {
        let mut request = request(old, old + more.max(1));
        request.proof.resize(hashes, Hash::new([9; 32]));
        let text = request.to_string();
        prop_assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(request));
    }

    #[test]
    fn what_is_read_is_printed_the_same(at in 0_usize..400, byte in 0_u8..=127, cut in 0_usize..3) {
        let mut bytes = request(3, 7).to_string().into_bytes();
        let at = at % bytes.len();
        bytes.splice(at..(at + cut).min(bytes.len()), [byte]);
        if let Ok(request) = AddCheckpoint::parse(&bytes) {
            prop_assert_eq!(request.to_string().into_bytes(), bytes);
        }
    }
}
