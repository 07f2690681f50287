//! Tests that need more than one crate. The library itself is empty; see the `[[test]]` targets.
