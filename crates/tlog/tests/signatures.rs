//! Signing and opening notes, checkpoints and cosignatures with all three algorithms, and what must not open.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use counterfoil_tlog::*;

const ORIGIN: &str = "example.com/log";
const TIME: PosixSeconds = PosixSeconds(1_679_315_147);

fn log() -> SeedSigner {
    SeedSigner::ed25519(ORIGIN, &[1; 32]).unwrap()
}

fn cosigners() -> [SeedSigner; 2] {
    [
        SeedSigner::ed25519_cosigner("w.example/1", &[2; 32]).unwrap(),
        SeedSigner::ml_dsa_44_cosigner("w.example/2", &[3; 32]).unwrap(),
    ]
}

fn checkpoint() -> Checkpoint {
    Checkpoint::new(ORIGIN, TreeHead { size: TreeSize(7), root: leaf_hash(b"root") }).unwrap()
}

fn cosigned(checkpoint: &Checkpoint, time: PosixSeconds) -> UnverifiedNote {
    let mut signatures = vec![sign_note(&checkpoint.to_string(), &log()).unwrap()];
    signatures.extend(cosigners().iter().map(|cosigner| cosign(checkpoint, time, cosigner).unwrap()));
    UnverifiedNote::new(checkpoint.to_string(), signatures).unwrap()
}

fn open(note: UnverifiedNote) -> Result<SignedCheckpoint, CheckpointError> {
    let [w1, w2] = cosigners();
    SignedCheckpoint::open(note, ORIGIN, &[log().key()], &[w1.key(), w2.key()])
}

#[test]
fn a_cosigned_checkpoint_opens_and_reads_as_it_is_written() {
    let note = cosigned(&checkpoint(), TIME);
    let text = note.to_string();
    assert_eq!(UnverifiedNote::parse(text.as_bytes()).as_ref(), Ok(&note));
    let opened = open(note).unwrap();
    assert_eq!((opened.checkpoint(), opened.log_keys(), opened.unknown()), (&checkpoint(), &[0][..], 0));
    let times = [0, 1].map(|cosigner| Cosignature { cosigner, time: Some(TIME) });
    assert_eq!(opened.cosignatures(), times);
}

#[test]
fn time_zero_is_no_time() {
    let opened = open(cosigned(&checkpoint(), PosixSeconds(0))).unwrap();
    assert!(opened.cosignatures().iter().all(|cosignature| cosignature.time.is_none()));
    assert_eq!(opened.cosignatures().len(), 2);
}

#[test]
fn every_key_reads_as_it_is_written() {
    let [w1, w2] = cosigners();
    for (signer, len) in [(log(), 32), (w1, 32), (w2, 1312)] {
        let key = signer.key();
        assert_eq!(VerifierKey::parse(&key.to_string()).as_ref(), Ok(key));
        assert_eq!(key.public_key().len(), len);
        let vkey = key.to_string();
        for bad in
            [&vkey[1..], &vkey[..vkey.len() - 4], &vkey.replace('+', " "), &vkey.replacen('+', "+0", 1)]
        {
            assert!(VerifierKey::parse(bad).is_err(), "{bad}");
        }
    }
}

#[test]
fn key_names_and_bytes_are_checked() {
    let bytes = log().key().public_key().to_vec();
    let code =
        |name: &str, bytes: &[u8]| VerifierKey::new(name, Algorithm::Ed25519, bytes).map_err(|e| e.code());
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb", "a\0b", &"n".repeat(limits::NAME_BYTES + 1)] {
        assert_eq!(code(name, &bytes).unwrap_err(), "key-bad-name", "{name:?}");
    }
    assert!(code(&"n".repeat(limits::NAME_BYTES), &bytes).is_ok());
    assert_eq!(code("n", &bytes[1..]).unwrap_err(), "key-wrong-length");
    let mut identity = [0; 32];
    identity[0] = 1;
    assert_eq!(code("n", &identity).unwrap_err(), "key-invalid-public-key");
    assert_eq!(
        VerifierKey::new("n", Algorithm::CosignatureMlDsa44, &bytes).unwrap_err().code(),
        "key-wrong-length"
    );
    let upper = log().key().to_string().replace(&log().key().id().to_string(), "ABCDEF01");
    assert_eq!(VerifierKey::parse(&upper).unwrap_err().code(), "key-id-mismatch");
    assert_eq!(
        VerifierKey::parse("a+00000000+Ag==").unwrap_err(),
        KeyError::UnknownAlgorithm { type_byte: 2 }
    );
}

/// Changing any single byte of the note makes it malformed, unsigned, or wrongly signed.
#[test]
fn no_byte_of_a_checkpoint_can_change() {
    let text = checkpoint().sign(&log()).unwrap().to_string();
    assert!(open(UnverifiedNote::parse(text.as_bytes()).unwrap()).is_ok());
    for at in 0..text.len() {
        for change in [1, 0x20, 0x80] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= change;
            let opened = UnverifiedNote::parse(&bytes).map_err(CheckpointError::Note).and_then(open);
            assert!(opened.is_err(), "byte {at}: {opened:?}");
        }
    }
}

/// The same for the cosignatures, where a bit of the key id or name makes a signature by somebody unknown.
#[test]
fn a_wrong_cosignature_is_refused_and_a_foreign_one_ignored() {
    let checkpoint = checkpoint();
    let other = Checkpoint::new(ORIGIN, TreeHead { size: TreeSize(8), ..checkpoint.head() }).unwrap();
    let log_line = sign_note(&checkpoint.to_string(), &log()).unwrap();
    for cosigner in cosigners() {
        let wrong = cosign(&other, TIME, &cosigner).unwrap();
        let note = UnverifiedNote::new(checkpoint.to_string(), vec![log_line.clone(), wrong]).unwrap();
        assert_eq!(open(note).unwrap_err().code(), "note-invalid-signature");

        let foreign = SeedSigner::new("w.example/1", cosigner.key().algorithm(), &[9; 32]).unwrap();
        let line = cosign(&checkpoint, TIME, &foreign).unwrap();
        let note = UnverifiedNote::new(checkpoint.to_string(), vec![log_line.clone(), line.clone()]).unwrap();
        let opened = open(note).unwrap();
        assert_eq!((opened.cosignatures().len(), opened.unknown()), (0, 1));

        // Another time than the one signed.
        let honest = cosign(&checkpoint, TIME, &cosigner).unwrap().to_string();
        let (start, base64) = honest.trim_end().rsplit_once(' ').unwrap();
        let mut bytes = STANDARD.decode(base64).unwrap();
        bytes[11] ^= 1;
        let forged = format!("{start} {}\n", STANDARD.encode(&bytes));
        let forged = parse_signatures(&forged).unwrap().remove(0);
        let note = UnverifiedNote::new(checkpoint.to_string(), vec![log_line.clone(), forged]).unwrap();
        assert_eq!(open(note).unwrap_err().code(), "note-invalid-signature");
    }
}

#[test]
fn a_checkpoint_that_only_cosigners_signed_is_refused() {
    let checkpoint = checkpoint();
    let lines = cosigners().iter().map(|cosigner| cosign(&checkpoint, TIME, cosigner).unwrap()).collect();
    let note = UnverifiedNote::new(checkpoint.to_string(), lines).unwrap();
    assert_eq!(open(note).unwrap_err().code(), "checkpoint-not-signed-by-log");
}

#[test]
fn a_checkpoint_of_another_origin_is_refused() {
    let other = Checkpoint::new("example.com/other", checkpoint().head()).unwrap();
    let error = open(other.sign(&log()).unwrap()).unwrap_err();
    let (expected, found) = (ORIGIN.to_owned(), "example.com/other".to_owned());
    assert_eq!(error, CheckpointError::WrongOrigin { expected, found });
}

#[test]
fn cosignatures_stand_under_checkpoints_only() {
    let text = "not a checkpoint\n";
    let [w1, _] = cosigners();
    let message = format!("cosignature/v1\ntime 5\n{text}");
    let signature = [&5_u64.to_be_bytes(), &*w1.sign(message.as_bytes()).unwrap()].concat();
    let error = cosignature::verify(w1.key(), text, &signature).unwrap_err();
    assert_eq!(error.code(), "signature-not-a-checkpoint");
    assert_eq!(cosignature::verify(w1.key(), text, &[0; 7]), Err(SignatureError::NoTimestamp));
}

#[test]
fn each_kind_of_key_makes_its_kind_of_signature() {
    assert_eq!(cosign(&checkpoint(), TIME, &log()).unwrap_err().code(), "sign-wrong-algorithm");
    for cosigner in cosigners() {
        assert_eq!(sign_note("text\n", &cosigner).unwrap_err().code(), "sign-wrong-algorithm");
        let last = PosixSeconds(limits::TIMESTAMP);
        assert!(cosign(&checkpoint(), last, &cosigner).is_ok());
        let over = PosixSeconds(limits::TIMESTAMP + 1);
        assert_eq!(cosign(&checkpoint(), over, &cosigner).unwrap_err().code(), "sign-timestamp-over-limit");
        let bytes = [&over.0.to_be_bytes(), &[0; 64][..]].concat();
        let text = checkpoint().to_string();
        let error = cosignature::verify(cosigner.key(), &text, &bytes).unwrap_err();
        assert_eq!(error, SignatureError::TimestampOverLimit { time: over });
    }
}

/// A signer that answers with something else than its key's signature.
struct Faulty(SeedSigner);

impl Signer for Faulty {
    fn key(&self) -> &VerifierKey {
        self.0.key()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.0.sign(&[message, b"x"].concat())
    }
}

#[test]
fn a_faulty_signature_never_leaves() {
    assert_eq!(checkpoint().sign(&Faulty(log())).unwrap_err().code(), "sign-does-not-verify");
    for cosigner in cosigners() {
        assert_eq!(
            cosign(&checkpoint(), TIME, &Faulty(cosigner)).unwrap_err().code(),
            "sign-does-not-verify"
        );
    }
}

#[test]
fn checkpoint_texts_have_one_spelling() {
    let root = leaf_hash(b"root").to_base64();
    let code = |text: &str| Checkpoint::parse(text).map_err(|error| error.code());
    assert!(code(&format!("o\n7\n{root}\n")).is_ok());
    let max = limits::TREE_SIZE;
    assert!(code(&format!("o\n{max}\n{root}\next\n")).is_ok());
    for (text, expected) in [
        (format!("o\n7\n{root}"), "checkpoint-no-final-newline"),
        (format!("o\n07\n{root}\n"), "checkpoint-bad-size"),
        (format!("o\n+7\n{root}\n"), "checkpoint-bad-size"),
        (format!("o\n\n{root}\n"), "checkpoint-bad-size"),
        (format!("o\n{}\n{root}\n", max + 1), "checkpoint-bad-size"),
        (format!("o\n0\n{root}\n"), "checkpoint-empty-tree-with-root"),
        (format!("\n7\n{root}\n"), "checkpoint-bad-origin"),
        (format!("{}\n7\n{root}\n", "o".repeat(limits::NAME_BYTES + 1)), "checkpoint-bad-origin"),
        (format!("o\n7\n{root}=\n"), "checkpoint-bad-root"),
        (format!("o\n7\n{root}\n\n"), "checkpoint-bad-extension"),
        (format!("o\n7\n{root}\ne\n\ne\n"), "checkpoint-bad-extension"),
        ("o\n7\n".to_owned(), "checkpoint-too-few-lines"),
        (String::new(), "checkpoint-no-final-newline"),
    ] {
        assert_eq!(code(&text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn notes_are_accepted_at_each_limit_and_refused_over_it() {
    let line = |name: &str, bytes: usize| format!("— {name} {}\n", STANDARD.encode(vec![1; bytes]));
    // Sixteen signatures of ML-DSA-87, with a key id and a time, as every reader must accept.
    let lines: String = (0..16).map(|i| line(&format!("{i:0>255}"), 4 + 8 + 4627)).collect();
    let text = format!("{}\n", "t".repeat(limits::NOTE_TEXT_BYTES - 1));
    let note = UnverifiedNote::parse(format!("{text}\n{lines}").as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 16);
    let error = UnverifiedNote::parse(format!("t{text}\n{lines}").as_bytes()).unwrap_err();
    assert_eq!(
        error,
        NoteError::TooLong { len: limits::NOTE_TEXT_BYTES + 1, limit: limits::NOTE_TEXT_BYTES }
    );

    let many: String = (0..limits::NOTE_SIGNATURES).map(|i| line(&i.to_string(), 5)).collect();
    assert!(UnverifiedNote::parse(format!("t\n\n{many}").as_bytes()).is_ok());
    let error = UnverifiedNote::parse(format!("t\n\n{many}{}", line("n", 5)).as_bytes()).unwrap_err();
    assert_eq!(error, NoteError::TooManySignatures);

    // "— n " and the newline take 7 bytes; base64 comes in fours.
    let longest = (limits::SIGNATURE_LINE_BYTES - 7) / 4 * 3;
    assert!(parse_signatures(&line("n", longest)).is_ok());
    assert_eq!(parse_signatures(&line("n", longest + 3)), Err(NoteError::BadSignatureLine { line: 1 }));

    let over = vec![b't'; limits::NOTE_BYTES + 1];
    let error = UnverifiedNote::parse(&over).unwrap_err();
    assert_eq!(error, NoteError::TooLong { len: limits::NOTE_BYTES + 1, limit: limits::NOTE_BYTES });
    assert_eq!(UnverifiedNote::parse(&over[1..]).unwrap_err(), NoteError::NoSignatures);
}

#[test]
fn signature_lines_have_one_spelling() {
    let good = sign_note("t\n", &log()).unwrap().to_string();
    assert!(parse_signatures(&good).is_ok());
    for bad in [
        good.trim_end().to_owned(),
        format!(" {good}"),
        format!("{good}\n"),
        good.replace('—', "-"),
        good.replacen(' ', "  ", 1),
        good.replace('=', ""),
        good.replace('\n', "\r\n"),
        "— n AAAAAA==\n".to_owned(),
        String::new(),
    ] {
        assert!(parse_signatures(&bad).is_err(), "{bad:?}");
        assert!(UnverifiedNote::parse(format!("t\n\n{bad}").as_bytes()).is_err(), "{bad:?}");
    }
}
