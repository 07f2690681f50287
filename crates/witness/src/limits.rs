//! Every limit of this crate, with its reason. What lies at a limit is accepted, what lies over it refused.

use std::time::Duration;

use counterfoil_http::Bounds;

/// Logs that one witness watches: each has an open file, and 1,024 is what a process may have where nobody raised it.
pub const LOGS: usize = 256;

/// Connections: at a time, with [`LOGS`], still below the 1,024 open files of a process. A request's head may take longer
/// than the minute after which a log whose tree does not grow asks again, so that its connection lasts; answers are small.
pub const CONNECTIONS: Bounds =
    Bounds { connections: 512, head: Duration::from_secs(90), stall: Duration::from_secs(10) };

/// How long a request's body may take: 64 KiB at 20 kbit/s.
pub const BODY_TIME: Duration = Duration::from_secs(30);

/// Bytes of a configuration or list of logs: [`LOGS`] with an ML-DSA-44 key of 1,751 characters each take half.
pub const FILE_BYTES: u64 = 1 << 20;

/// Bytes of what is stored of an origin: a time of 20 and the checkpoint.
pub const STATE_BYTES: usize = counterfoil_log::limits::CHECKPOINT_BYTES;

/// How long one request to a witness may take: a witness needs a disk write and a signature, and the network a second.
pub const REQUEST_TIME: Duration = Duration::from_secs(5);

/// How long a start waits for what witnesses say that they have cosigned last: all are asked at a time, and one that is slower is a
/// warning.
pub const LAST_TIME: Duration = Duration::from_secs(2);

/// How long a connection to a witness is kept for the next request: over [`REFRESH`], and below what witnesses allow.
pub const IDLE: Duration = Duration::from_secs(75);

/// How long a witness that fails is left alone, at first and at most; it doubles in between.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a witness is left alone after an answer: a log that grows all the time asks once a second.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// After what time an unchanged tree is cosigned again: with the time of a request, at least once a minute.
pub const REFRESH: Duration = Duration::from_secs(50);

/// How often a witnessed checkpoint is kept while the tree grows, if nobody waits for one: with [`MIN_INTERVAL`] and
/// [`REQUEST_TIME`], at least once a minute.
pub const KEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Seconds that a witness's clock may be ahead: those of machines that keep time differ by less than one.
pub const CLOCK_AHEAD: u64 = 300;

/// Bytes of one kept checkpoint: that of a note.
pub const KEPT_BYTES: usize = counterfoil_tlog::limits::NOTE_BYTES;
