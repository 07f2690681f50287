//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

use std::time::Duration;

/// Bytes of one entry: a tlog-tiles entry bundle spells its length in 16 bits.
pub const ENTRY_BYTES: usize = counterfoil_tlog::limits::ENTRY_BYTES;

/// Entries of one batch, and of one submission, without the leaf that ends it: at 50 µs each to admit, a batch keeps the
/// writer, and so whoever waits behind it, for 0.2 s.
pub const BATCH_ENTRIES: usize = 4_096;

/// Bytes of the entries of one batch, and of one submission, each with the two bytes of its length: one write of 8 MiB
/// takes a disk of 100 MB/s 80 ms, and it holds more than a hundred entries of the largest size.
pub const BATCH_BYTES: usize = 8 << 20;

/// Bytes of one signed checkpoint: an Ed25519 signature line takes some 150 and an ML-DSA-44 line some 3,350; two of each,
/// while keys are rotated, fit.
pub const CHECKPOINT_BYTES: usize = 8_192;

/// Submissions that may wait: at ten batches a second with one submission each, the last waits two minutes, which is longer
/// than clients do; more would only be work for nobody.
pub const QUEUE_JOBS: usize = 1_024;

/// Bytes of entries that may wait: eight full batches, so that what is queued cannot exhaust memory.
pub const QUEUE_BYTES: usize = 8 * BATCH_BYTES;

/// What a submitter is told to wait when the queue is full: it takes less than a second to write what
/// [`QUEUE_BYTES`] allows, and HTTP's Retry-After counts whole seconds.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Entries that one call reads at most: four entry bundles, 64 MiB if all are of the largest size.
pub const READ_ENTRIES: u64 = 1_024;

/// Rows that one call reads at most: a page of results.
pub const READ_ROWS: usize = 1_024;

/// Entries that may wait for the index: with their hashes in memory some 5 MiB, and at 20,000 a second, which the index
/// manages, three seconds. Then the writer waits.
pub const BACKLOG_ENTRIES: usize = 65_536;

/// Bytes of batches that may wait for the index: eight full ones, as in the queue.
pub const BACKLOG_BYTES: usize = QUEUE_BYTES;

/// What recovery cuts off behind the last whole frame of a damaged journal, in bytes: eight full batches, as many as a
/// recovery of minutes brings back. A crash leaves one frame at most.
pub const RECOVERED_TAIL_BYTES: u64 = 64 << 20;

/// Full tiles kept in memory, with their inner nodes 16 KiB each: 4 MiB. The path of a proof in a log of 2^32 entries
/// passes four, and the upper ones are shared by all.
pub const CACHED_TILES: usize = 256;

/// Checkpoints kept in memory, the latest: less than 100 KiB. Of earlier ones the signature is checked again.
pub const RECENT_CHECKPOINTS: usize = 256;

/// Memory that sled may use for pages of the index, in bytes.
pub const INDEX_CACHE_BYTES: u64 = 64 << 20;

/// Milliseconds since 1970 that the clock may show: 2^53 − 1, the largest integer of I-JSON, in the year 287396.
pub const CLOCK: u64 = (1 << 53) - 1;
