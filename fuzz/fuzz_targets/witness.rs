//! A request to a witness has one spelling, and no line of an answer counts that nobody signed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use counterfoil_tlog::witness::{AddCheckpoint, Answer, parse_size};
    use counterfoil_tlog::{Algorithm, PosixSeconds, VerifierKey};
    if let Ok(request) = AddCheckpoint::parse(data) {
        assert_eq!(request.to_string().as_bytes(), data);
    }
    if let Ok(size) = parse_size(data) {
        assert_eq!(format!("{size}\n").as_bytes(), data);
    }
    // The base point of the curve: a key whose secret half nobody here uses.
    let mut point = [0x66; 32];
    point[0] = 0x58;
    let key = VerifierKey::new("w", Algorithm::CosignatureEd25519, &point).unwrap();
    if let Ok(answer) =
        Answer::read(data, "log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n", &[key], PosixSeconds(1))
    {
        assert!(answer.cosignatures.is_empty());
    }
});
