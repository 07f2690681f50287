//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

use std::time::Duration;

use counterfoil_tlog::{Hash, limits, tile::WIDTH};

/// Bytes of a checkpoint: the largest signed note that is read anywhere.
pub const CHECKPOINT_BYTES: usize = limits::NOTE_BYTES;

/// Bytes of a tile: 256 hashes.
pub const TILE_BYTES: usize = WIDTH as usize * Hash::LEN;

/// Bytes of an entry bundle: 256 entries of the largest size, each with its two-byte length.
pub const BUNDLE_BYTES: usize = WIDTH as usize * (limits::ENTRY_BYTES + 2);

/// For a connection: a host that does not answer in 5 s is not there.
pub const CONNECT: Duration = Duration::from_secs(5);

/// For one request, from the first byte sent to the last byte read: the largest bundle at 0.3 MB/s.
pub const CALL: Duration = Duration::from_secs(60);

/// How often one file is asked for before the source counts as unreachable.
pub const ATTEMPTS: u32 = 4;

/// The pause before the second attempt; it doubles with each. 0.5 + 1 + 2 s outlast the restart of a server.
pub const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause that a `Retry-After` can ask for.
pub const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Threads that fetch and check, at most: more only wait for the network or for the one thread that folds.
pub const JOBS: usize = 64;

/// Bundles under way for each thread: one that it works on and one that waits, so that memory is bounded by
/// `2 × jobs ×` [`BUNDLE_BYTES`], 32 MiB for each thread where every entry has the largest size.
pub const AHEAD: usize = 2;

/// Findings that a report lists; more are counted. A log that breaks one rule in each of a million entries is told in a few.
pub const FINDINGS: usize = 1_000;

/// Bundles after which the state of an audit is kept: 65,536 entries, some seconds of work.
pub const KEPT_EVERY: u64 = 256;

/// Bytes of the state of an audit: the hashes of the largest frontier, and an origin.
pub const STATE_BYTES: usize = 16_384;
