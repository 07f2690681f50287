//! A bundle that nobody made shows nothing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let trust = counterfoil_verify::Trust::parse(include_str!("../trust.toml"))
        .expect("the fixed trust file is sound");
    let verdict = counterfoil_verify::verify(data, &trust, 0);
    assert_ne!(verdict.conclude(&counterfoil_verify::Dimension::ALL), counterfoil_verify::Conclusion::Shown);
});
