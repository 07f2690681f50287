//! Trust files and witness policies are read or refused, never half-read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(trust) = counterfoil_verify::Trust::parse(text) {
            assert!(!trust.require().is_empty() && !trust.log_keys().is_empty());
        }
    }
    let _ = counterfoil_tlog::Policy::parse(data);
});
