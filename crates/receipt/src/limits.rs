//! Every limit of a record, with its reason (`spec/limits.md`).

use crate::json;

/// Bytes of one record: the tlog-tiles entry bundle has a 16-bit length.
pub const RECORD_BYTES: usize = 65_535;
/// Nesting of any JSON text: the envelope uses 5, arguments of real tools stay below 20.
pub const DEPTH: usize = 32;
/// `parents` of a record: it need not name every head; 16 ids are 1.2 KB.
pub const PARENTS: usize = 16;
/// `decisions` of an execution: the largest quorum.
pub const DECISIONS: usize = 16;
/// Items and item sets of one record: 64 × 250 bytes are 16 KB; more go into an item set.
pub const ITEMS: usize = 64;
/// Items of one item set: proofs of at most 16 hashes.
pub const SET_ITEMS: u64 = 65_536;
/// Groups of a principal, tags and metadata of a proposal, addressees of an escalation.
pub const NAMES: usize = 32;
/// Steps of an escalation: one an hour for two thirds of a day.
pub const STEPS: u64 = 16;
/// Ids in a handoff's `open`.
pub const OPEN: usize = 64;
/// Entries of a delegation's scope: more are several delegations.
pub const SCOPE_ENTRIES: usize = 64;
/// How often a delegation may be passed on at most. An action is compared with the scope of each link of its chain.
pub const DELEGATION_DEPTH: u64 = 16;
/// Bytes of a free text: readable at a terminal; more goes into an item.
pub const TEXT_BYTES: usize = 4_096;
/// Bytes of a label or pointer: one line.
pub const LABEL_BYTES: usize = 256;
/// Characters of a principal or group.
pub const NAME_CHARS: usize = 64;
/// Uses of one proposal: more is a delegation, not an approval.
pub const USES: u64 = 1_000;
/// Authority roots, and with them the largest threshold.
pub const ROOTS: usize = 16;
/// C2SP note keys of a log: Ed25519 and ML-DSA-44, each with a successor.
pub const NOTE_KEYS: usize = 4;
/// Records of one run: a verifier keeps about 100 bytes for each.
pub const RUN_RECORDS: u64 = 1_000_000;
/// Bytes of a payload's content: a large patch.
pub const PAYLOAD_BYTES: usize = 4_194_304;
/// The largest integer that I-JSON carries exactly.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;
/// A year of 366 days: the longest window that a policy may grant, in milliseconds.
pub const WINDOW_MILLIS: u64 = 31_622_400_000;

/// What the JSON reader is given for a record.
pub const RECORD_JSON: json::Limits = json::Limits { bytes: RECORD_BYTES, depth: DEPTH };

/// Bytes of one bundle line: a payload of [`PAYLOAD_BYTES`] in base64url, and its members.
pub const LINE_BYTES: usize = 6_291_456;
/// What the JSON reader is given for one.
pub const LINE_JSON: json::Limits = json::Limits { bytes: LINE_BYTES, depth: DEPTH };
/// Bytes of a checkpoint's note: a text of 64 KiB, a blank line and 128 KiB of signature lines.
pub const NOTE_BYTES: usize = 196_609;
/// Checkpoints of a bundle: one near each execution and of each basis.
pub const CHECKPOINTS: u64 = 4_096;
/// Policy documents of a bundle.
pub const DOCUMENTS: u64 = 4_096;
/// Payloads of a bundle.
pub const PAYLOADS: u64 = 65_536;
/// Hashes in one part of a proof: a tree of 2⁶³ leaves has at most two for each level beside any leaf.
pub const PROOF_HASHES: usize = 126;
/// Cases of an evidence file: one convicts a log; some dozens tell its operator what went wrong.
pub const CASES: u64 = 64;
