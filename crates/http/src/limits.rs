//! Every limit of this crate, with its reason.

use std::time::Duration;

/// Bytes of a request's head: the longest path is that of a payload, 90 bytes, and a token has some dozens; proxies add
/// headers of their own.
pub const HEAD_BYTES: usize = 16 << 10;

/// Headers of a request: browsers and proxies send some thirty.
pub const HEADERS: usize = 64;

/// How often accepting a connection may fail on end, once a second: what is short then, files above all, is there again
/// within half that time, or the server can do nothing for anybody.
pub const ACCEPT_TRIES: u32 = 60;

/// Which part of all connections is asked to end at a time while somebody waits for a place: the oldest, so that those who
/// come back find that others go next.
pub const YIELDING: usize = 8;

/// How long a connection that was asked to end may ask nothing before it is closed: whoever is about to ask has done so, and
/// gets its answer with `Connection: close`.
pub const YIELD_IDLE: Duration = Duration::from_secs(2);

/// How long who waits for a place leaves those who were asked last, before more are: twice [`YIELD_IDLE`], because an event
/// stream does not end.
pub const YIELD_TIME: Duration = Duration::from_secs(4);
