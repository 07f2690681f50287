//! Ed25519 under strict rules (`spec/records.md` §4): no second spelling of a key or signature, and no point of small order.

use curve25519_dalek::{EdwardsPoint, Scalar, edwards::CompressedEdwardsY};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha512};

/// A public key that can verify: a canonical encoding of a point that is not of small order.
#[derive(Clone, Debug)]
pub struct Ed25519Key(VerifyingKey);

impl Ed25519Key {
    /// The key with these bytes, if they are such an encoding.
    pub fn parse(bytes: &[u8; 32]) -> Option<Self> {
        let key = is_reduced(bytes).then(|| VerifyingKey::from_bytes(bytes).ok()).flatten()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// Whether the signature over exactly this message holds.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.begin(&[message], signature).is_some_and(SignatureCheck::finish)
    }

    /// Does all of [`Ed25519Key::verify`] but its last step, for a message in parts; `None` where the signature can't hold.
    ///
    /// The signature holds if [`SignatureCheck::finish`] says so; many are finished together in less time.
    //
    // The equation without cofactor (RFC 8032 §5.1.7) is judged by comparing the encoding of the computed point with the bytes
    // of R. So R is canonical wherever it holds, and of small order only if it is one of eight encodings: looking there saves
    // the decompression of R, and agrees with the library's `verify_strict` on every input.
    pub fn begin(&self, message: &[&[u8]], signature: &[u8; 64]) -> Option<SignatureCheck> {
        let (r, s) = signature.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(s.try_into().ok()?))?;
        if SMALL_ORDER.contains(r) {
            return None;
        }
        let hash = Sha512::new().chain_update(r).chain_update(self.0.as_bytes());
        let hash = message.iter().fold(hash, |hash, part| hash.chain_update(part));
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let computed = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &-self.0.to_edwards(), &s);
        Some(SignatureCheck { claimed: CompressedEdwardsY(*r), computed })
    }
}

/// A signature check whose last step is left to do: the encoding of a point, which takes a division.
#[derive(Clone, Copy, Debug)]
pub struct SignatureCheck {
    claimed: CompressedEdwardsY,
    computed: EdwardsPoint,
}

impl SignatureCheck {
    /// Whether the signature holds.
    pub fn finish(self) -> bool {
        self.claimed == self.computed.compress()
    }

    /// Whether each of these signatures holds, in their order. Each is judged by itself; only the division is done once for all.
    pub fn finish_all(checks: &[Self]) -> Vec<bool> {
        let computed: Vec<EdwardsPoint> = checks.iter().map(|check| check.computed).collect();
        let encoded = EdwardsPoint::compress_batch_alloc(&computed);
        checks.iter().zip(encoded).map(|(check, encoded)| check.claimed == encoded).collect()
    }
}

/// The canonical encodings of the eight points of small order.
const SMALL_ORDER: [[u8; 32]; 8] = {
    const ORDER_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    const ORDER_8_TOO: [u8; 32] = [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ];
    const ZERO: [u8; 32] = [0; 32];
    let mut one = ZERO;
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [one, minus_one, ZERO, negative(ZERO), ORDER_8, negative(ORDER_8), ORDER_8_TOO, negative(ORDER_8_TOO)]
};

/// The encoding of the point with the other x.
const fn negative(mut point: [u8; 32]) -> [u8; 32] {
    point[31] |= 0x80;
    point
}

/// Whether the y-coordinate is reduced. The library decodes unreduced ones, which would give one point two spellings.
fn is_reduced(point: &[u8; 32]) -> bool {
    let all_ones = point[1..31].iter().all(|byte| *byte == 0xff) && point[31] & 0x7f == 0x7f;
    !(all_ones && point[0] >= 0xed)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;
    use ed25519_dalek::Signature;

    fn vectors(file: &str) -> Option<serde_json::Value> {
        let path = env::var_os("COUNTERFOIL_VECTORS").map(|folder| PathBuf::from(folder).join(file));
        match path.map(fs::read) {
            Some(Ok(bytes)) => Some(serde_json::from_slice(&bytes).unwrap()),
            _ if env::var("CI").is_ok_and(|ci| ci == "true") => panic!("COUNTERFOIL_VECTORS has no {file}"),
            _ => {
                eprintln!("NOT TESTED: COUNTERFOIL_VECTORS has no {file}");
                None
            }
        }
    }

    fn hex<const N: usize>(value: &serde_json::Value) -> Option<[u8; N]> {
        bytes(value).try_into().ok()
    }

    fn bytes(value: &serde_json::Value) -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        text.chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn holds(key: &serde_json::Value, message: &[u8], signature: &serde_json::Value) -> bool {
        let Some(signature) = hex(signature) else { return false };
        hex(key).and_then(|key| Ed25519Key::parse(&key)).is_some_and(|key| key.verify(message, &signature))
    }

    /// What the library's own strict check says, on a key that it takes.
    fn library(key: &serde_json::Value, message: &[u8], signature: &serde_json::Value) -> bool {
        let Some(signature) = hex(signature).map(|bytes| Signature::from_bytes(&bytes)) else { return false };
        let key = hex(key).and_then(|key| VerifyingKey::from_bytes(&key).ok());
        key.is_some_and(|key| key.verify_strict(message, &signature).is_ok())
    }

    #[test]
    fn the_914_cctv_cases_are_judged_as_the_strict_rules_do() {
        let Some(cases) = vectors("ed25519-cctv/ed25519vectors.json") else { return };
        let cases = cases.as_array().unwrap();
        assert_eq!(cases.len(), 914);
        let accepted = cases.iter().filter(|case| {
            let message = case["msg"].as_str().unwrap().as_bytes();
            let ours = holds(&case["key"], message, &case["sig"]);
            assert_eq!(ours, library(&case["key"], message, &case["sig"]), "case {}", case["number"]);
            ours
        });
        assert_eq!(accepted.count(), 43);
    }

    #[test]
    fn whatever_is_finished_together_is_judged_as_by_itself() {
        let Some(cases) = vectors("ed25519-cctv/ed25519vectors.json") else { return };
        let (mut begun, mut alone) = (vec![], vec![]);
        for case in cases.as_array().unwrap() {
            let message = case["msg"].as_str().unwrap().as_bytes();
            let (left, right) = message.split_at(message.len() / 2);
            let Some(key) = hex(&case["key"]).and_then(|key| Ed25519Key::parse(&key)) else { continue };
            if let Some(check) = key.begin(&[left, right], &hex(&case["sig"]).unwrap()) {
                begun.push(check);
                alone.push(holds(&case["key"], message, &case["sig"]));
            }
        }
        assert_eq!(alone.iter().filter(|holds| **holds).count(), 43);
        assert!(alone.iter().any(|holds| !holds));
        assert_eq!(SignatureCheck::finish_all(&begun), alone);
        assert_eq!(SignatureCheck::finish_all(&[]), [false; 0]);
    }

    #[test]
    fn the_151_wycheproof_cases_are_judged_as_they_say() {
        let Some(file) = vectors("ed25519-wycheproof/ed25519_test.json") else { return };
        let mut count = 0;
        for group in file["testGroups"].as_array().unwrap() {
            for case in group["tests"].as_array().unwrap() {
                let holds = holds(&group["publicKey"]["pk"], &bytes(&case["msg"]), &case["sig"]);
                assert_eq!(holds, case["result"] == "valid", "case {}", case["tcId"]);
                count += 1;
            }
        }
        assert_eq!(count, 151);
    }

    #[test]
    fn the_table_holds_exactly_the_points_of_small_order() {
        for encoding in SMALL_ORDER {
            assert!(VerifyingKey::from_bytes(&encoding).unwrap().is_weak());
            assert!(Ed25519Key::parse(&encoding).is_none());
        }
        let distinct: std::collections::BTreeSet<_> = SMALL_ORDER.iter().collect();
        assert_eq!(distinct.len(), 8);
    }

    #[test]
    fn a_key_with_an_unreduced_y_is_no_key() {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (0xed + 3, 0x7f);
        assert!(VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak()), "the library takes it");
        assert!(Ed25519Key::parse(&key).is_none());
        let reduced: [u8; 32] = std::array::from_fn(|at| if at == 0 { 3 } else { 0 });
        assert!(Ed25519Key::parse(&reduced).is_some());
    }
}
