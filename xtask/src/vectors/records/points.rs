//! Signatures that a lax verifier of Ed25519 lets pass, and one that a hasty verifier refuses (`spec/records.md` §4).

use counterfoil_receipt::{PublicKey, Type, UnverifiedRecord};
use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION};
use sha2::{Digest, Sha512};

use super::{
    Case, Samples,
    faults::case,
    signers::{with_key, with_signature},
};

/// The neutral point, y = 1: any S = k·a fits it as R.
const NEUTRAL: [u8; 32] = {
    let mut encoding = [0; 32];
    encoding[0] = 1;
    encoding
};

/// The neutral point again, with y = p + 1, which is not reduced.
const NEUTRAL_UNREDUCED: [u8; 32] = {
    let mut encoding = [0xFF; 32];
    encoding[0] = 0xEE;
    encoding[31] = 0x7F;
    encoding
};

pub(super) fn cases(samples: &Samples) -> Vec<Case> {
    let secret = Scalar::from_bytes_mod_order_wide(&Sha512::digest(b"a key of these vectors").into());
    let plain = EdwardsPoint::mul_base(&secret).compress().to_bytes();
    let (small, mixed) = (EIGHT_TORSION[1], EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[1]);
    let [small, mixed] = [small, mixed].map(|point| point.compress().to_bytes());
    let zero = Scalar::ZERO;
    let refused =
        |name, description, bytes| case(name, "R-SIG-01", &["SignatureMalleability"], description, bytes);
    vec![
        Case {
            name: "valid-mixed-order-key".to_owned(),
            description: "A key that is not of small order, though not of prime order either; the equation holds without cofactor.",
            flags: &[],
            bytes: signed(samples, &mixed, secret, |k| k.is_multiple_of_eight()),
            breaks: None,
        },
        refused(
            "signature-with-cofactor",
            "The equation holds only if both sides are multiplied by eight.",
            signed(samples, &mixed, secret, |k| !k.is_multiple_of_eight()),
        ),
        refused("signature-unreduced", "S is not reduced: S plus the order of the group.", {
            let text = samples.text(Type::Trigger);
            let record = UnverifiedRecord::parse(text.as_bytes()).expect("a record");
            with_signature(&text, &unreduced(record.signature().as_bytes()))
        }),
        refused(
            "signature-small-order-key",
            "A key of order eight. Its owner needs no secret: the signature holds the equation without one.",
            signed(samples, &small, zero, |k| k.is_multiple_of_eight()),
        ),
        refused(
            "signature-neutral-key",
            "The neutral point as key: one signature fits every record.",
            signed(samples, &NEUTRAL, zero, |_| true),
        ),
        refused(
            "signature-unreduced-key",
            "The neutral point as key, with a coordinate that is not reduced.",
            signed(samples, &NEUTRAL_UNREDUCED, zero, |_| true),
        ),
        refused(
            "signature-small-order-nonce",
            "R is the neutral point, and the equation holds.",
            with_nonce(samples, &plain, &NEUTRAL, Scalar::ZERO, secret).0,
        ),
        refused(
            "signature-unreduced-nonce",
            "R is the neutral point, with a coordinate that is not reduced, and the equation holds.",
            with_nonce(samples, &plain, &NEUTRAL_UNREDUCED, Scalar::ZERO, secret).0,
        ),
    ]
}

/// The challenge k, before and after it is reduced modulo the order of the group.
struct Challenge {
    wide: [u8; 64],
    reduced: Scalar,
}

impl Challenge {
    /// Whether k takes a point of order eight to the neutral one, to whom reduces it and to whom does not.
    fn is_multiple_of_eight(&self) -> bool {
        self.wide[0].is_multiple_of(8) && self.reduced.as_bytes()[0].is_multiple_of(8)
    }
}

/// A trigger signed by `secret` in the name of `key`, with the first nonce whose challenge is as wanted.
fn signed(samples: &Samples, key: &[u8; 32], secret: Scalar, wanted: fn(&Challenge) -> bool) -> Vec<u8> {
    let nonces = (1_u64..).map(Scalar::from);
    let mut tries = nonces.map(|nonce| {
        let point = EdwardsPoint::mul_base(&nonce).compress().to_bytes();
        with_nonce(samples, key, &point, nonce, secret)
    });
    let (record, _) = tries.find(|(_, challenge)| wanted(challenge)).expect("one nonce in a few fits");
    record
}

/// A trigger in the name of `key` with this R, and S = `nonce` + k·`secret`.
fn with_nonce(
    samples: &Samples,
    key: &[u8; 32],
    point: &[u8; 32],
    nonce: Scalar,
    secret: Scalar,
) -> (Vec<u8>, Challenge) {
    let text = String::from_utf8(with_key(samples, &PublicKey::ed25519(*key).to_string())).expect("UTF-8");
    let preimage = UnverifiedRecord::parse(text.as_bytes()).expect("a record").preimage();
    let wide = Sha512::new().chain_update(point).chain_update(key).chain_update(preimage).finalize().into();
    let challenge = Challenge { wide, reduced: Scalar::from_bytes_mod_order_wide(&wide) };
    let solution = nonce + challenge.reduced * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(point);
    signature[32..].copy_from_slice(solution.as_bytes());
    (with_signature(&text, &signature), challenge)
}

/// The same signature with the group order added to S.
fn unreduced(signature: &[u8; 64]) -> [u8; 64] {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = *signature;
    let mut carry = 0;
    for (byte, add) in out[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    out
}
