//! What is kept and said of a run for whoever goes on with it, with the reasons (`spec/limits.md`).

/// Records of a run that a verdict keeps whole, the last ones: some days of an agent's work, and more than a summary can tell.
pub const LATEST_RECORDS: usize = 256;
/// Bytes of those together; fewer are kept if they are long.
pub const LATEST_BYTES: usize = 1_048_576;
/// Bytes of a summary as text: 16,000 tokens of a language model, a part of what the smallest in use read.
pub const SUMMARY_BYTES: usize = 65_536;
/// Bytes of one text of a record as a summary quotes it; the record has all of it.
pub const SUMMARY_TEXT_BYTES: usize = 1_024;
