//! Tile paths, tiles, entry bundles and tlog-proofs have one spelling.
#![no_main]

use counterfoil_tlog::{TlogProof, tile};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(path) = text.parse::<tile::TilePath>() {
        assert_eq!(path.to_string(), text);
    }
    if let Ok(proof) = TlogProof::parse(text) {
        assert_eq!(proof.to_string(), text);
    }
    let (path, bytes) = text.split_once('\n').unwrap_or(("tile/entries/000", text));
    if let Ok(path) = path.parse::<tile::TilePath>() {
        let _ = tile::decode_tile(&path, bytes.as_bytes());
        let _ = tile::decode_entries(&path, bytes.as_bytes());
    }
});
