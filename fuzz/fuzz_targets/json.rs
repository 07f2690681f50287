//! Strict and lenient reading agree, and canonical text is its own canonical form.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use counterfoil_receipt::json::{Limits, canonicalize_input, check, parse_value, to_canonical};
    let limits = Limits { bytes: 65_535, depth: 32 };
    let strict = check(data, &limits).is_ok();
    if strict {
        assert_eq!(canonicalize_input(data, &limits).as_deref(), Ok(data));
    }
    if let Ok(canonical) = canonicalize_input(data, &Limits { bytes: 65_535, depth: 32 }) {
        if let Ok(value) = parse_value(&canonical, &Limits { bytes: usize::MAX, depth: 32 }) {
            assert_eq!(to_canonical(&value), Ok(canonical));
        }
    }
});
