//! How much of an answer is read, and how long it is waited for.

use std::time::Duration;

use counterfoil_receipt::limits::{LINE_BYTES, NOTE_BYTES, RECORD_BYTES};

/// A problem document or a health answer: codes, and sentences for a person.
pub const PROBLEM_BYTES: usize = 65_536;
/// An inclusion: a checkpoint, 63 hashes in base64, an id; twice the largest note for escapes.
pub const INCLUSION_BYTES: usize = 2 * NOTE_BYTES + 8_192;
/// A rejection, or one record.
pub const RECORD_ANSWER_BYTES: usize = RECORD_BYTES;
/// The keyring of one principal or the policy in force: the largest policy document, and what stands around it.
pub const STATE_BYTES: usize = 1_052_672;
/// A list of records: 1,000,000 of a run at about 130 bytes each.
pub const LISTING_BYTES: usize = 167_772_160;
/// An event of a stream: an approval with 100 decisions, and a policy's rules.
pub const EVENT_BYTES: usize = 8_388_608;
/// A payload, as one bundle line.
pub const PAYLOAD_LINE_BYTES: usize = LINE_BYTES;
/// A bundle that is kept in memory: 40 payloads of the largest kind, or 250,000 records. Larger ones are for
/// [`crate::Client::bundle`], which streams.
pub const BUNDLE_BYTES: usize = 268_435_456;
/// Lines of one batch (`spec/http.md`).
pub const BATCH_LINES: usize = 1_024;
/// Bytes of one batch (`spec/http.md`).
pub const BATCH_BYTES: usize = 33_554_432;
/// A batch's answer: an inclusion for each line would be 160 MB of notes; servers repeat one short note.
pub const BATCH_ANSWER_BYTES: usize = 33_554_432;
/// A tile: 256 hashes.
pub const TILE_BYTES: usize = 8_192;
/// Tiles fetched for one consistency proof: two for each of 8 levels of a tree of 2⁶³ leaves, and the rightmost.
pub const PROOF_TILES: usize = 32;

/// For a connection: a host that does not answer in 5 s is not there.
pub const CONNECT: Duration = Duration::from_secs(5);
/// For an ordinary call, from the first byte sent to the last byte read.
pub const CALL: Duration = Duration::from_secs(30);
/// For a bundle: 256 MB at 1 MB/s.
pub const BUNDLE: Duration = Duration::from_secs(300);
/// For a stream of events: whoever hears nothing for so long may be talking to nobody, and asks anew.
pub const EVENTS: Duration = Duration::from_secs(300);
/// The longest that a server is asked to wait for a change (`spec/http.md`).
pub const WAIT: Duration = Duration::from_secs(60);
/// How long a busy log is asked again before a submission fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest and longest pause before a busy log is asked again, whatever `Retry-After` says.
pub const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
