//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

use std::time::Duration;

use counterfoil_http::Bounds;
use counterfoil_receipt::limits::RECORD_BYTES;

/// How long a submission that wants a quorum of witnesses waits for it where it does not say: some rounds, and less than the
/// 30 s after which clients give a request up.
pub const WITNESS_WAIT: Duration = Duration::from_secs(20);

/// How often a witnessed checkpoint is kept where `/checkpoint` shows only those that are: a reader waits for no longer than
/// a round may take, and a log that grows all the time keeps 9 MB a day for each 500 bytes of cosignatures.
pub const KEEP_CLOSED: Duration = Duration::from_secs(5);

/// Bytes of an entry of a raw log: tlog-tiles spells its length in 16 bits.
pub const ENTRY_BYTES: usize = counterfoil_log::limits::ENTRY_BYTES;

/// Entries of a raw log that are read and wait at a time, those of clients that have gone away too: as many as the log's
/// queue takes, so that who would find no place there is told so before its body is read. At [`ENTRY_BYTES`] each, 64 MiB.
pub const ADDS: usize = counterfoil_log::limits::QUEUE_JOBS;

/// Bytes up to which an entry bundle is not compressed: with headers it fits into one packet as it is.
pub const GZIP_BYTES: usize = 256;

/// Bytes of records that are kept as they were read: some thousands. Parsed, they take four times as much; then it begins anew.
pub const READ_BYTES: usize = 4 << 20;

/// How long a thread waits for the rows of what was just logged, to show it with the answers: they take a tenth of a millisecond. Who is
/// not shown it asks for it.
pub const ROWS: Duration = Duration::from_millis(100);

/// Those whose quotas are kept at a time, at some 100 bytes each. They are forgotten once they owe nothing; peers of a raw log that are
/// more within a minute have 65,536 networks.
pub const PAYERS: usize = 65_536;

/// Entries of a quota, at most: what is more than the log takes in a minute bounds nothing.
pub const QUOTA: u32 = 1_000_000;

/// Requests of a rate, at most: what is more than the server answers in a minute bounds nothing.
pub const RATE: u32 = 1_000_000;

/// Wrong tokens of one peer in a minute. Of a read token with the fewest characters, drawn at random, that is one guess in 10²² years;
/// somebody who mistypes has some tries left.
pub const WRONG_TOKENS: u32 = 20;

/// Requests of one peer, or of one token, that wait for something to happen, at a time: a quarter of the connections, so that whoever
/// takes all of these leaves room for others, and that behind a proxy a hundred people still see what changes.
pub const HELD: usize = 128;

/// Requests that wait, of everybody together: three quarters of the connections, so that whoever only asks is answered.
pub const HELD_BY_ALL: usize = 384;

/// Batches that one peer, or one token, sends at a time: a quarter of all.
pub const BATCHES_OF_ONE: usize = 2;

/// Receipts that one peer, or one token, waits for at a time: they are made one by one.
pub const RECEIPTS_ASKED: usize = 4;

/// Tokens of a token file: more programs than read one log; at 400 bytes each, the file may have them.
pub const TOKENS: usize = 1_000;

/// Characters of a token's name: one line of a table.
pub const TOKEN_NAME_CHARS: usize = 64;

/// Records of a run of which a receipt is made: at 50 µs each, the server verifies for a second.
pub const RECEIPT_RECORDS: u64 = 20_000;

/// Receipts that are made at a time: each takes a core.
pub const RECEIPTS: usize = 1;

/// Policies that the well-known document names, the last ones: at 90 bytes each, 90 KB.
pub const POLICIES: usize = 1_000;

/// Connections: at a time half of the 1,024 files that a process may have open where nobody raised it; the log itself has
/// some dozens. A request's head may take longer than the 15 s for which clients keep an idle connection to use it again.
/// A bundle waits in its answer for a slow disk or a sleeping laptop, not for somebody who has gone.
pub const CONNECTIONS: Bounds =
    Bounds { connections: 512, head: Duration::from_secs(20), stall: Duration::from_secs(30) };

/// Bytes of the body of `POST /v1/records`: twice a record, so that one that is a little too large gets the log's signed
/// rejection, and one that is far too large is not read.
pub const RECORD_BODY_BYTES: usize = 2 * RECORD_BYTES;

/// Bytes of the body of `POST /v1/records/batch`: five of the largest payloads, in base64url.
pub const BATCH_BODY_BYTES: usize = 32 << 20;

/// Lines of a batch: records at 50 µs each keep a core for 50 ms, payloads are synced to disk one by one.
pub const BATCH_LINES: usize = 1_024;

/// Records of a batch that is worked on by the thread that read it: at 50 µs each, 0.2 ms.
pub const SMALL_BATCH: usize = 4;

/// Bytes of the address where people reach a server: with a token behind it, it fits into every message.
pub const URL_BYTES: usize = 200;

/// How long a link may work: long enough to be read, and no longer than the proposals that wait.
pub const LINK_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);

/// Bytes of the form of a decision: its longest field, a reason, three times over, as a form spells it.
pub const FORM_BYTES: usize = 32 << 10;

/// Batches that are read at a time: eight bodies of [`BATCH_BODY_BYTES`] take 256 MiB of memory.
pub const BATCHES: usize = 8;

/// How long a client may take to send a body: 32 MiB at 10 Mbit/s.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// The longest that a request waits for a run to grow, or for witnesses: proxies give up after 60 s and more.
pub const WAIT: Duration = Duration::from_secs(60);

/// How often an event stream says that it is alive: proxies end a silent one after 30 s and more.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Delegations on one page: with bodies as large as a record, 6.5 MB.
pub const DELEGATIONS: usize = 100;

/// Runs on one page.
pub const RUNS: usize = 1_000;

/// Approvals on one page: with some decisions, 200 KB.
pub const APPROVALS: usize = 100;

/// Proposals that a request for approvals looks at: at 10 µs each, 40 ms of the writer's time, in parts of [`VISIT`].
pub const APPROVALS_LOOKED: usize = 4_096;
/// The most open proposals that each proposer can be allowed: as many of theirs are looked at before a new one is taken.
pub const OPEN_PROPOSALS: u32 = 4_096;

/// Proposals, and decisions about them, that the writer is asked about at a time: some milliseconds.
pub const VISIT: usize = 256;

/// Decisions, and executions, that are shown of one proposal, the last ones: far more than any policy asks for.
pub const APPROVAL_DECISIONS: usize = 100;

/// Decisions on one page of approvals: with a reason each, 5 MB.
pub const PAGE_DECISIONS: usize = 1_000;

/// Approved proposals of which an event stream knows when their time is over; for more it looks again.
pub const WATCHED_ENDS: usize = 4_096;

/// Bytes of a bundle that are made at a time: a write to a socket costs little beside it.
pub const CHUNK_BYTES: usize = 64 << 10;

/// How long requests in flight may take after the server was told to stop.
pub const SHUTDOWN: Duration = Duration::from_secs(10);

/// Bytes of a configuration file, a token file or a genesis record: far more than any has.
pub const FILE_BYTES: u64 = 1 << 20;

/// Characters of a read token, at least: 16 random characters of base64url are 96 bits.
pub const TOKEN_CHARS: usize = 16;
/// How many proposals the writer is asked about at a time by who tells people of them, at most; and how many times whether one of
/// the people may decide one of them: at some 10 µs each, 10 ms.
pub const TELL: usize = 64;
/// See [`TELL`].
pub const TELL_ASKED: usize = 1_024;
/// How long until it is tried again to tell people: a full outbox empties at the speed of its channels.
pub const TELL_RETRY: Duration = Duration::from_secs(5);
/// How many timers are said in one batch: at 50 µs each, some hundredths of a second of the writer's.
pub const TIMER_BATCH: usize = 256;
/// How many runs the writer is asked about at a time for their timers: some tenths of a millisecond.
pub const TIMER_RUNS: usize = 256;
/// How long until a timer is said again that was not taken: as long as an operator needs to enrol the key, at most.
pub const TIMER_RETRY: Duration = Duration::from_secs(30);
/// The longest sleep until the next timer: the clock may be set meanwhile.
pub const TIMER_SLEEP: Duration = Duration::from_secs(1);
