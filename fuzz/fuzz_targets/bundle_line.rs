//! Every line has one spelling.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    use counterfoil_receipt::{bundle::*, field::Field};
    fn roundtrip<T: Field>(line: &[u8]) {
        if let Ok(read) = read_line::<T>(line) {
            let mut written = Vec::new();
            write_line(&read, &mut written);
            assert_eq!(written.strip_suffix(b"\n"), Some(line));
        }
    }
    roundtrip::<Header>(data);
    roundtrip::<CheckpointLine>(data);
    roundtrip::<DocumentLine>(data);
    roundtrip::<PositionLine>(data);
    roundtrip::<EndLine>(data);
    roundtrip::<PayloadLine>(data);
});
