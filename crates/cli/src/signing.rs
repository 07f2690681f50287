//! Making records: a key file, a draft, a signature.

use std::path::{Path, PathBuf};

use counterfoil_keys::{KeyFileError, RecordKey};
use counterfoil_receipt::{
    Author, Body, Draft, DraftError, Malformed, Place, PublicKey, Role, Signature, Signer, UnverifiedRecord,
    body::Type, field::Field, json, limits,
};
use serde_json::{Map, Value};

use crate::{
    context::Context,
    error::{Failure, Outcome},
    input::shown,
    text::printable,
    time,
};

/// Members of an envelope, by name.
pub type Envelope = Map<String, Value>;

/// Loads the key that `--key` names, or that of `role` in the working directory.
pub fn key(context: &Context, role: Role) -> Outcome<RecordKey> {
    load(&key_path(context, role))
}

/// Where the key is that signs as `role`.
pub fn key_path(context: &Context, role: Role) -> PathBuf {
    let name = match role {
        Role::Log => "log-snapshot",
        other => other.as_str(),
    };
    context.key.clone().unwrap_or_else(|| context.file("keys").join(format!("{name}.key")))
}

/// Loads a key file.
pub fn load(path: &Path) -> Outcome<RecordKey> {
    RecordKey::load(path).map_err(|error| key_failure(&error))
}

/// What a fault of a key file means for a person. Shows no secret.
pub fn key_failure(error: &KeyFileError) -> Failure {
    use std::io::ErrorKind;
    let message = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let (code, hint) = match error {
        KeyFileError::File { io, .. } if io.kind() == ErrorKind::StorageFull => {
            ("output-disk-full", "free some space")
        }
        KeyFileError::File { doing: "create" | "write", .. } => {
            ("key-file-unwritable", "create the directory first, and check that this user may write to it")
        }
        KeyFileError::File { io, .. } if io.kind() == ErrorKind::NotFound => {
            ("key-file-missing", "name it with --key, or make one with `counterfoil keys new`")
        }
        KeyFileError::File { io, .. } if io.kind() == ErrorKind::IsADirectory => {
            ("file-is-directory", "give the path of the key file itself")
        }
        KeyFileError::File { .. } => ("key-file-unreadable", "check the path, its owner and its mode"),
        KeyFileError::Exists { .. } => ("key-file-exists", "choose another path"),
        KeyFileError::OpenToOthers { .. } => {
            ("key-file-open", "if others could have read it, have the key revoked")
        }
        KeyFileError::Wrong { .. } => {
            ("key-file-wrong", "check that this is the key file you meant; `counterfoil keys new` makes one")
        }
        KeyFileError::Name(_) => ("key-name", "an origin is a schema-less URL such as example.org/log"),
        _ => ("key-failed", "try again"),
    };
    Failure::new(code, printable(&message), hint)
}

/// Signs a body as the holder of `key`, now.
pub fn sign(key: &RecordKey, place: Place, body: impl Into<Body>) -> Outcome<UnverifiedRecord> {
    let body = body.into();
    role_fits(key, body.kind())?;
    let time = time::millis(time::now())?;
    let draft = Draft { place, time, principal: key.principal().clone(), role: key.role(), body };
    draft.sign(key).map_err(|error| match error {
        DraftError::Malformed(fault) => malformed("the record", &fault),
        DraftError::Sign(fault) => no_signature(&fault),
    })
}

/// Signs an envelope that a person wrote: any spelling of JSON, without `sig`; `signer`, `time` and `v` are filled in.
pub fn sign_envelope(key: &RecordKey, mut envelope: Envelope) -> Outcome<UnverifiedRecord> {
    if envelope.contains_key("sig") {
        let message = "the draft has a signature already";
        return Err(Failure::new("draft-signed", message, "show it with `counterfoil record show`"));
    }
    let author = Author { key: key.key(), principal: key.principal().clone(), role: key.role() };
    envelope.entry("time").or_insert_with(|| time::now().into());
    envelope.entry("v").or_insert_with(|| "counterfoil/1".into());
    let signer = envelope.entry("signer").or_insert_with(|| field_json(&author));
    if *signer != field_json(&author) {
        let message = format!("the draft names another signer than {} with {}", author.principal, author.key);
        return Err(Failure::new(
            "draft-signer",
            message,
            "leave `signer` out, or sign with the key that it names",
        ));
    }
    // Reading the draft with an empty signature checks everything but the signature, and gives the preimage.
    let unsigned = with_signature(&envelope, &Signature::from_bytes([0; 64]))?;
    role_fits(key, unsigned.kind())?;
    let signature = key.sign(&unsigned.preimage()).map_err(|fault| no_signature(&fault))?;
    with_signature(&envelope, &signature)
}

/// Reads a JSON object that a person wrote.
pub fn parse_object(bytes: &[u8], what: &str) -> Outcome<Envelope> {
    let limits = json::Limits { bytes: limits::RECORD_BYTES * 2, depth: limits::DEPTH };
    let canonical = json::canonicalize_input(bytes, &limits).map_err(|error| {
        let fault = Malformed::from(error);
        let message = printable(&format!("{what} is no usable JSON ({}): {}", fault.code.id(), fault.detail));
        Failure::new(fault.code.code(), message, "write one JSON object without duplicate names")
    })?;
    match serde_json::from_slice(&canonical) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Failure::new("json-syntax", format!("{what} is no JSON object"), "write one JSON object")),
    }
}

/// A field of a record as a JSON value.
pub fn field_json(field: &impl Field) -> Value {
    let mut out = Vec::new();
    field.write(&mut out);
    serde_json::from_slice(&out).unwrap_or(Value::Null)
}

/// What a record breaks that its bytes alone show.
pub fn malformed(what: &str, fault: &Malformed) -> Failure {
    let place = if fault.at.is_empty() { String::new() } else { format!("{}: ", fault.at) };
    let message =
        printable(&format!("{what} is not well formed ({}): {place}{}", fault.code.id(), fault.detail));
    Failure::new(fault.code.code(), message, "compare it with spec/records.md")
}

/// A public key on the command line.
pub fn public_key(text: &str) -> Result<PublicKey, String> {
    PublicKey::parse(text).map_err(|fault| fault.to_string())
}

fn with_signature(envelope: &Envelope, signature: &Signature) -> Outcome<UnverifiedRecord> {
    let mut signed = envelope.clone();
    signed.insert("sig".to_owned(), field_json(signature));
    let bytes =
        json::to_canonical(&Value::Object(signed)).map_err(|error| malformed("the draft", &error.into()))?;
    UnverifiedRecord::parse(&bytes).map_err(|fault| malformed("the draft", &fault))
}

fn role_fits(key: &RecordKey, kind: Type) -> Outcome<()> {
    if kind.roles().contains(&key.role()) {
        return Ok(());
    }
    let roles: Vec<&str> = kind.roles().iter().map(|role| role.as_str()).collect();
    let (roles, principal, role) = (roles.join(" or "), key.principal(), key.role());
    let message =
        format!("records of type {kind} are signed as {roles}, and this key is {principal}'s as {role}");
    Err(Failure::new("role-not-allowed", message, "name another key with --key"))
}

/// That a signer gave no signature.
pub fn no_signature(fault: &counterfoil_receipt::SignError) -> Failure {
    Failure::new(
        "no-signature",
        printable(&fault.to_string()),
        "check what the key file names, its command and what that printed, or the agent",
    )
}

/// The record as one line: what commands print and files hold.
pub fn line(record: &UnverifiedRecord) -> Vec<u8> {
    [record.bytes(), b"\n"].concat()
}

/// Reads one record from a file that holds it with or without a line feed at its end.
pub fn read_record(path: &Path) -> Outcome<UnverifiedRecord> {
    let bytes = crate::input::read(path, "record", limits::RECORD_BYTES + 1)?;
    let record = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    UnverifiedRecord::parse(record).map_err(|fault| malformed(&shown(path), &fault))
}
