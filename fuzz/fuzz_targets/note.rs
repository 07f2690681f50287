//! A note has one spelling, and nobody signed this one.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use counterfoil_tlog::{Checkpoint, UnverifiedNote, VerifierKey};
    if let Ok(note) = UnverifiedNote::parse(data) {
        assert_eq!(note.to_string().as_bytes(), data);
        let keys: [VerifierKey; 0] = [];
        assert!(note.open(&keys).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.to_string(), text);
        }
        if let Ok(key) = VerifierKey::parse(text) {
            assert_eq!(key.to_string(), text);
        }
    }
});
