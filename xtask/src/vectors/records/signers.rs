//! Records whose key or role is wrong, or whose signature is not of what it should be.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use counterfoil_receipt::{Type, UnverifiedRecord};
use counterfoil_testkit::{Actor, Cast};

use super::{Case, Samples, faults::case, sign_anew};

pub(super) fn cases(samples: &Samples) -> Vec<Case> {
    let Cast { ana, scout, gate, engine, root, .. } = samples.cast.clone();
    let by = |kind, actor: &Actor| {
        let text = samples.text(kind);
        let start = text.find(r#""signer":{"#).expect("a signer");
        let end = start + text[start..].find('}').expect("the end of the signer");
        let signer = format!(
            r#""signer":{{"key":"{}","principal":"{}","role":"{}""#,
            actor.key(),
            actor.principal,
            actor.role
        );
        sign_anew(format!("{}{signer}{}", &text[..start], &text[end..]).into_bytes(), actor)
    };
    let spelled = |key: &str| with_key(samples, key);
    let key = scout.key().to_string();
    let material = &key["ed25519:".len()..];
    let last = char::from(material.as_bytes()[42] + 1);
    let plain = samples.text(Type::Trigger);
    vec![
        case(
            "key-unused-bits",
            "R-REC-08",
            &["Base64Spelling"],
            "The unused bits of the key's last character are not zero.",
            spelled(&format!("ed25519:{}{last}", &material[..42])),
        ),
        case(
            "key-padded",
            "R-REC-08",
            &["Base64Spelling"],
            "The key is padded.",
            spelled(&format!("{key}=")),
        ),
        case(
            "key-short",
            "R-REC-08",
            &["InvalidValue"],
            "The key has 31 bytes.",
            spelled(&format!("ed25519:{}", BASE64_URL_SAFE_NO_PAD.encode([1; 31]))),
        ),
        case(
            "key-without-scheme",
            "R-REC-08",
            &["UnknownScheme"],
            "The key names no scheme.",
            spelled(material),
        ),
        case(
            "scheme-reserved",
            "R-SIG-02",
            &["UnknownScheme"],
            "A scheme that is reserved.",
            spelled(&format!("p256:{material}")),
        ),
        case(
            "scheme-upper-case",
            "R-SIG-02",
            &["UnknownScheme"],
            "The scheme in upper case.",
            spelled(&format!("ED25519:{material}")),
        ),
        case(
            "role-agent-decides",
            "R-ROLE-01",
            &["RoleConfusion"],
            "An agent signs a decision, as an agent.",
            by(Type::Decision, &scout),
        ),
        case(
            "role-runtime-decides",
            "R-ROLE-01",
            &["RoleConfusion"],
            "A runtime signs a decision.",
            by(Type::Decision, &gate),
        ),
        case(
            "role-human-executes",
            "R-ROLE-01",
            &["RoleConfusion"],
            "A person signs an execution.",
            by(Type::Execution, &ana),
        ),
        case(
            "role-human-enrols",
            "R-ROLE-01",
            &["RoleConfusion", "AuthorityForgery"],
            "A person signs a keyring record.",
            by(Type::Keyring, &ana),
        ),
        case(
            "role-engine-settles",
            "R-ROLE-01",
            &["RoleConfusion"],
            "A policy engine signs a settlement.",
            by(Type::Settlement, &engine),
        ),
        case(
            "role-authority-snapshots",
            "R-ROLE-01",
            &["RoleConfusion", "SnapshotForgery"],
            "The authority signs a snapshot.",
            by(Type::Snapshot, &root),
        ),
        case(
            "signature-of-another",
            "R-SIG-01",
            &["ForgedSignature"],
            "Somebody else's key signed.",
            sign_anew(plain.clone().into_bytes(), &ana),
        ),
        case(
            "signature-over-other-bytes",
            "R-SIG-01",
            &["ForgedSignature"],
            "The record was changed after it was signed.",
            plain.replace("db-1 is full", "db-2 is full").into_bytes(),
        ),
        case(
            "signature-zero",
            "R-SIG-01",
            &["ForgedSignature"],
            "A signature of zeros.",
            with_signature(&plain, &[0; 64]),
        ),
        case(
            "signature-without-domain",
            "R-SIG-01",
            &["ForgedSignature"],
            "A signature over the record without the domain before it.",
            {
                let record = UnverifiedRecord::parse(plain.as_bytes()).expect("a record");
                let message = &record.preimage()[b"counterfoil/v1/record\n".len()..];
                with_signature(&plain, scout.signer().sign(message).expect("a signature").as_bytes())
            },
        ),
    ]
}

/// A trigger whose signer's key is spelled like this.
pub(super) fn with_key(samples: &Samples, key: &str) -> Vec<u8> {
    let own = samples.cast.scout.key();
    samples.with(
        Type::Trigger,
        &format!(r#""signer":{{"key":"{own}""#),
        &format!(r#""signer":{{"key":"{key}""#),
    )
}

pub(super) fn with_signature(text: &str, signature: &[u8; 64]) -> Vec<u8> {
    let start = text.find(r#""sig":""#).expect("a signature") + 7;
    format!("{}{}{}", &text[..start], BASE64_URL_SAFE_NO_PAD.encode(signature), &text[start + 86..])
        .into_bytes()
}
