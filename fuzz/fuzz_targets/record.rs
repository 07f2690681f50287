//! A record that parses is made of exactly the bytes that were read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(record) = counterfoil_receipt::UnverifiedRecord::parse(data) {
        assert_eq!(record.bytes(), data);
        assert_eq!(record.id(), counterfoil_receipt::RecordId::of(data));
        let draft = counterfoil_receipt::Draft {
            place: record.place().clone(),
            time: record.time(),
            principal: record.author().principal.clone(),
            role: record.author().role,
            body: record.body().clone(),
        };
        assert_eq!(draft.preimage(record.author()), record.preimage(), "writing is the inverse of reading");
    }
});
