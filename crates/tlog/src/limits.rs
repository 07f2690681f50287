//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

/// Leaves of a tree: 2^63 − 1, the largest size that readers with signed 64-bit integers can hold. Below it no index
/// arithmetic of this crate overflows 64 bits.
pub const TREE_SIZE: u64 = i64::MAX as u64;

/// Hashes of one inclusion or consistency proof: a tree of [`TREE_SIZE`] leaves is 63 levels high, and a consistency
/// proof may start with one hash more.
pub const PROOF_HASHES: usize = 64;

/// Bytes of a note's text: checkpoints are a few hundred; a bundle carries none larger.
pub const NOTE_TEXT_BYTES: usize = 65_536;

/// Bytes of one signature line. The largest signatures in sight are ML-DSA-87 with 4,627 bytes; with key id and
/// timestamp that is 6,188 characters of base64, and the longest key name leaves room.
pub const SIGNATURE_LINE_BYTES: usize = 8_192;

/// Bytes of a whole note: the largest text and the sixteen of the largest signature lines that C2SP signed-note makes
/// every reader accept, with the empty line between.
pub const NOTE_BYTES: usize = NOTE_TEXT_BYTES + 1 + 16 * SIGNATURE_LINE_BYTES;

/// Signature lines of a note: four times what C2SP signed-note demands. Each known one costs a verification.
pub const NOTE_SIGNATURES: usize = 64;

/// Bytes of a key name or origin: ML-DSA-44 cosignatures sign both with a one-byte length.
pub const NAME_BYTES: usize = 255;

/// POSIX seconds of a cosignature: 2^63 − 1, set by C2SP tlog-cosignature.
pub const TIMESTAMP: u64 = i64::MAX as u64;

/// Bytes of the opaque extra data of a tlog-proof: what one log entry may hold.
pub const PROOF_EXTRA_BYTES: usize = 65_535;

/// Bytes of one log entry: the entry bundle of C2SP tlog-tiles has 16-bit lengths.
pub const ENTRY_BYTES: usize = 65_535;

/// Bytes of a policy: 256 logs and 256 witnesses with ML-DSA-44 keys of 1,751 characters, and their names.
pub const POLICY_BYTES: usize = 1_048_576;

/// Logs of a policy, witnesses of a policy, groups of a policy: eight times what C2SP tlog-policy recommends.
pub const POLICY_ITEMS: usize = 256;
