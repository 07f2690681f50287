//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

use std::time::Duration;

/// Characters of a message's id: a record's id of 64 hex digits, with a word before and after it.
pub const ID_CHARS: usize = 128;

/// Characters of a channel's name: people type it, and it stands in every line of the outbox.
pub const CHANNEL_CHARS: usize = 64;

/// Bytes of a title: the subject of an e-mail, and a line of a terminal.
pub const TITLE_BYTES: usize = 160;

/// Bytes of a text: a reader on a telephone gives up earlier. Escaped for Slack, five bytes for one, it fills 16 of the 50
/// blocks.
pub const TEXT_BYTES: usize = 8_192;

/// Fields: Slack shows ten to a block, so two blocks.
pub const FIELDS: usize = 20;

/// Bytes of a field's name.
pub const FIELD_NAME_BYTES: usize = 64;

/// Bytes of a field's value: with its name and escaped for Slack, five bytes for one, it stays below the 2,000 characters of
/// a field there.
pub const FIELD_VALUE_BYTES: usize = 320;

/// Bytes of a URL: what browsers and mail programs take without doubt, and escaped it fits a block of Slack's.
pub const URL_BYTES: usize = 512;

/// Bytes of a whole message in its canonical form: all that the limits above allow, where few characters need an escape.
pub const MESSAGE_BYTES: usize = 20_000;

/// Messages that one call enqueues.
pub const BATCH: usize = 256;

/// Channels of an outbox: one thread each. E-mail has one for each address.
pub const CHANNELS: usize = 256;

/// Deliveries that may wait, a message to one channel being one: more than anybody reads, and at most some megabytes of state.
pub const WAITING: usize = 16_384;

/// Bytes of the messages of all deliveries that wait, each counted for every channel: what they may take of memory, and once
/// more of disk.
pub const WAITING_BYTES: usize = 64 << 20;

/// Deliveries that ended and are remembered, so that none of them is begun again: some 300 bytes each.
pub const REMEMBERED: usize = 65_536;

/// How long a delivery that ended is remembered behind the time after which it would be dropped anyway: a restart that enqueues
/// everything again finds what became of it.
pub const REMEMBER: Duration = Duration::from_secs(24 * 60 * 60);

/// Deliveries that are given up in one line of the file because their time is over, so that 10,000 take 40 syncs.
pub const EXPIRE_AT_ONCE: usize = 256;

/// Bytes of one line of the outbox's file: a full batch, to every channel.
pub const LINE_BYTES: usize = BATCH * (MESSAGE_BYTES + CHANNELS * (CHANNEL_CHARS + 3) + 64) + 256;

/// What the file may grow by, besides to double its length after it was written anew, before it is written anew again.
pub const GROWTH_BYTES: u64 = 1 << 20;

/// Bytes of a reason that a channel or its far side gives, as it is kept and shown.
pub const WHY_BYTES: usize = 300;

/// How often one delivery is tried: with the times of [`BACK_OFF`], for some two days.
pub const TRIES: u32 = 100;

/// How long a delivery that failed, and its channel, are left alone, at first and at most; it doubles in between.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30 * 60));

/// The longest that a far side can ask to be left alone: it must not silence a channel for ever.
pub const RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// How long a thread sleeps before it looks at the clock again, which may have been set.
pub const LOOK: Duration = Duration::from_secs(30);

/// How long connecting may take.
pub const CONNECT: Duration = Duration::from_secs(5);

/// How long one delivery over HTTP may take: receivers are told to answer at once and to work afterwards.
pub const HTTP_TIME: Duration = Duration::from_secs(15);

/// How long the server may take for one step of SMTP: checks for spam take seconds, and what is behind waits.
pub const SMTP_TIME: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read: a reason fits, and no more of it is kept.
pub const ANSWER_BYTES: usize = 4 << 10;

/// Bytes of a secret: HMAC-SHA256 gains nothing from more than a block, and is guessed from less than 32.
pub const SECRET_BYTES: (usize, usize) = (32, 64);

/// Signatures of one header that a receiver looks at: secrets are rotated one at a time.
pub const SIGNATURES: usize = 4;

/// How far a request's timestamp may be from the receiver's clock where nothing else is said: Slack's own five minutes.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Bytes of a body that is verified: four times what this crate sends, and Slack's requests are smaller.
pub const SIGNED_BYTES: usize = 1 << 20;
