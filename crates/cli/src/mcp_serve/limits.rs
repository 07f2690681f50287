//! Every limit of `counterfoil mcp serve`, with its reason. A line is bounded as the gate's are (`counterfoil_mcp::limits`).

use std::time::Duration;

/// Requests of a client that are open at a time: an agent asks one thing after another, and several agents may share a client.
pub const OPEN_REQUESTS: usize = 64;
/// Calls that are worked on at a time, each by a thread: all that are open, so that who waits keeps nobody from asking.
pub const RUNNING: usize = OPEN_REQUESTS;
/// Lines that wait to be read by the client; whoever has more to say waits.
pub const WAITING_LINES: usize = 64;

/// For how long `wait` waits where the call does not say, in seconds: clients give up at 60.
pub const WAIT_SECONDS: u64 = 45;
/// For how long it waits at most, in seconds.
pub const MOST_WAIT_SECONDS: u64 = 55;
/// How long it is not noticed that nobody waits any more: clients end a server two seconds after they closed its input.
pub const SLICE: Duration = Duration::from_secs(1);
/// How often a run is verified anew while nothing is said to change in it: windows close, and a server's word is only a hint.
pub const LOOK: Duration = Duration::from_secs(15);
/// How long a run is let be after what it shows can't be relied on.
pub const AFTER_FAULT: Duration = Duration::from_secs(1);
/// How often a client that wants to know is told that its call waits.
pub const PROGRESS: Duration = Duration::from_secs(5);

/// Pages of the log's list, of 100 each, on which an earlier proposal of the same action is looked for.
pub const EARLIER_PAGES: usize = 10;
/// Earlier proposals that could be the same whose event is asked for: each is a question to the log.
pub const EARLIER_LOOKED: usize = 256;
/// Proposals on a page of `approvals`.
pub const APPROVALS: u64 = 50;

/// Bytes of a bundle that `verify` is given in a call: as much as a line has room for, spelled as a string.
pub const INLINE_BUNDLE_BYTES: usize = 4 << 20;
/// Bytes of a bundle that is read as a resource, or from a file.
pub const BUNDLE_BYTES: usize = 32 << 20;

/// Characters of one text in a result. The longest are lines of a summary.
pub const TEXT_CHARS: usize = 4_096;
/// Elements of one list in a result; the first are kept.
pub const LIST: usize = 1_000;
/// Characters of the text of an answer: a summary has half of it, a verdict on a bundle with many faults could have more.
pub const ANSWER_CHARS: usize = 128 << 10;
/// Bytes of the structured content of a result: more is of no use to a model.
pub const RESULT_BYTES: usize = 256 << 10;

/// How long what is left to say is waited for once the client is gone.
pub const SHUTDOWN: Duration = Duration::from_secs(1);
