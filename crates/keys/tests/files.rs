//! What a key file is, and what is refused as one.

#![allow(clippy::unwrap_used)]

use std::{fs, io::ErrorKind, path::PathBuf};

use counterfoil_keys::{KeyFileError, NoteKey, RecordKey, random};
use counterfoil_receipt::{Principal, Role, Signer as _};
use counterfoil_tlog::{Algorithm, Signer as _};
use tempfile::TempDir;

fn alice() -> RecordKey {
    RecordKey::from_seed(Principal::new("alice").unwrap(), Role::Human, &[7; 32])
}

/// A private file with this content.
fn file(dir: &TempDir, content: &str) -> PathBuf {
    let path = dir.path().join(format!("{}.toml", u64::from_ne_bytes(random().unwrap())));
    fs::write(&path, content).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_record_key_survives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.toml");
    alice().write(&path).unwrap();
    let loaded = RecordKey::load(&path).unwrap();
    assert_eq!((loaded.principal().as_str(), loaded.role()), ("alice", Role::Human));
    assert_eq!(loaded.sign(b"x").unwrap(), alice().sign(b"x").unwrap());
    assert!(matches!(alice().write(&path), Err(KeyFileError::Exists { .. })));
    assert_eq!(RecordKey::load(&path).unwrap().key(), alice().key());
}

#[test]
fn a_note_key_of_each_algorithm_survives_its_file() {
    let dir = tempfile::tempdir().unwrap();
    for algorithm in [Algorithm::Ed25519, Algorithm::CosignatureEd25519, Algorithm::CosignatureMlDsa44] {
        let path = dir.path().join(format!("{algorithm:?}.toml"));
        let key = NoteKey::generate("log.example/a\"b", algorithm).unwrap();
        key.write(&path).unwrap();
        assert_eq!(NoteKey::load(&path).unwrap().key(), key.key());
    }
    assert!(matches!(NoteKey::generate("a b", Algorithm::Ed25519), Err(KeyFileError::Name(_))));
}

#[cfg(unix)]
#[test]
fn files_are_written_private_and_refused_when_open_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.toml");
    alice().write(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o610] {
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        let message = RecordKey::load(&path).unwrap_err().to_string();
        assert!(message.contains(&format!("mode {mode:03o}")), "{message}");
        assert!(message.contains(&format!("chmod 600 {}", path.display())), "{message}");
    }
}

#[test]
fn a_directory_and_bytes_that_are_no_text_are_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let fault = RecordKey::load(dir.path()).unwrap_err();
    let is_directory =
        matches!(&fault, KeyFileError::File { io, .. } if io.kind() == ErrorKind::IsADirectory);
    assert!(is_directory, "{fault}");
    let path = file(&dir, "");
    fs::write(&path, [0xff, 0x00]).unwrap();
    let fault = RecordKey::load(&path).unwrap_err();
    assert!(matches!(fault, KeyFileError::Wrong { .. }), "{fault}");
}

#[test]
fn wrong_files_are_refused_and_no_message_shows_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.toml");
    alice().write(&path).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let secret = good.lines().find_map(|line| line.strip_prefix("secret = ")).unwrap().trim_matches('"');
    let other = RecordKey::from_seed(Principal::new("bob").unwrap(), Role::Human, &[8; 32]).key().to_string();
    let cases = [
        (good.replace("human", "king"), "no role"),
        (good.replace("alice", "Alice"), "principal"),
        (good.replace(&alice().key().to_string(), &other), "the secret is that of"),
        (good.replace("ed25519:", "p256:"), "p256"),
        (good.replace(&format!("secret = \"{secret}\""), ""), "neither secret nor exec nor ssh_agent"),
        (format!("{good}exec = \"true\"\n"), "only one of"),
        (format!("{good}ssh_agent = true\n"), "only one of"),
        (format!("{good}colour = \"red\"\n"), "line 5, is wrong: unknown field `colour`"),
        (good.replace(secret, &secret[1..]), "not unpadded base64url of 32 bytes"),
        (good.replace(&format!("\"{secret}\""), &format!("[\"{secret}\"]")), "line 4"),
        (good.replace(&format!("\"{secret}\""), &format!("\"{secret}")), "line 4"),
        (format!("{good}#{}", "x".repeat(16_384)), "more than 16384 bytes"),
        (String::new(), "missing field"),
    ];
    for (content, expected) in cases {
        assert_ne!(content, good);
        let fault = RecordKey::load(&file(&dir, &content)).unwrap_err();
        let message = fault.to_string();
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!format!("{message} {fault:?}").contains(&secret[1..]), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_behind_a_command_signs_only_under_its_own_key() {
    let dir = tempfile::tempdir().unwrap();
    let exec =
        format!("principal = \"alice\"\nrole = \"human\"\nkey = \"{}\"\nexec = \"exit 3\"\n", alice().key());
    let key = RecordKey::load(&file(&dir, &exec)).unwrap();
    assert!(key.sign(b"x").unwrap_err().0.contains("`exit 3`: ended with exit status: 3"));
    key.write(&dir.path().join("new")).unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("new")).unwrap(), exec);
}
