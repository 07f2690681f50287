//! Every limit of the MCP gate, with its reason.

use std::time::Duration;

use counterfoil_receipt::{json, limits};

/// Bytes of one message: the arguments of a call become a payload at the most, and clients close a connection at 10 MiB.
pub const MESSAGE_BYTES: usize = limits::LINE_BYTES;
/// What the JSON reader is given for a message of the client.
pub const MESSAGE_JSON: json::Limits = limits::LINE_JSON;
/// Bytes of the arguments of an action that stand in the log as they are. Two records carry them, beside what else a record has;
/// arguments that are larger are recorded as commitments, the largest first.
pub const PLAIN_BYTES: usize = 16_384;
/// Tools of a server: far more than a model can choose from.
pub const TOOLS: usize = 4_096;
/// Pages of a list of tools.
pub const PAGES: usize = 100;
/// Requests of the client that are open at a time.
pub const OPEN_REQUESTS: usize = 16_384;
/// Calls that all connections remember at a time, with those that nobody waits for any more: at some kilobytes each, 64 MiB.
pub const CALLS: usize = 16_384;
/// Bytes of arguments too large for a record that all connections remember at a time; a call that has more is not proposed.
pub const CALLS_BYTES: usize = 268_435_456;
/// How often a client may be asked to go on waiting for one call: the official SDKs give up at ten.
pub const ROUNDS: u32 = 9;
/// Requests that wait for their turn at a time, where each waits to be asked: what one client may have open.
pub const QUEUED: usize = OPEN_REQUESTS;
/// Lists of tools that are shown at a time.
pub const LISTS: usize = 4;
/// Lists that wait to be shown, each with what the server said.
pub const LISTS_QUEUED: usize = 512;
/// Requests that are no calls, and of which it is asked what the policy says of them, at a time.
pub const JUDGED: usize = 8;
/// Bytes that wait to be read by a client or a server; one line more than that is taken where none waits.
pub const WAITING_BYTES: usize = 67_108_864;
/// How long the calls of a server that ended are waited for, while their client is there.
pub const AFTER_SERVER: Duration = Duration::from_secs(30);
/// Calls that run at a time; others wait for their turn.
pub const RUNNING: usize = 64;
/// Of them those of one connection of a gate over HTTP: whatever one client does, others have as many.
pub const RUNNING_SHARE: usize = RUNNING / 2;
/// For how many seconds it is believed which policy is in force, where that hides or refuses, or lets a request pass that is no call.
pub const POLICY_SECONDS: u64 = 5;
/// How often it is asked whether another policy is in force, once a client was shown tools: it is told then that they may be others.
pub const POLICY_WATCH: Duration = Duration::from_secs(15);
/// How long the definitions of tools are believed without asking for them again, where the server says of no change. Before something runs
/// that people approved, they are always asked for.
pub const DEFINITIONS: Duration = Duration::from_secs(60);
/// How long a server may take to list its tools, on all pages together.
pub const LISTING: Duration = Duration::from_secs(30);
/// How long a server is waited for after its client cancelled a call that runs.
pub const AFTER_CANCEL: Duration = Duration::from_secs(10);
/// Bytes of an event of a stream: a message in one line of data, beside its other fields.
pub const EVENT_BYTES: usize = MESSAGE_BYTES + 1_024;
/// Bytes of an answer's head.
pub const HEAD_BYTES: usize = 65_536;
/// How long a server that is reached by an address may take to be there.
pub const CONNECT: Duration = Duration::from_secs(10);
/// Requests of one connection that its server has not answered: each has a thread.
pub const UNDER_WAY: usize = 512;
/// Sessions of which the server is told at a time that they are over.
pub const ENDINGS: usize = 4;
/// Requests over HTTP that are open at a time, with streams: each may have a thread.
pub const EXCHANGES: usize = 512;
/// Of them those of one connection: whatever one client leaves open, others have as many.
pub const EXCHANGES_SHARE: usize = EXCHANGES / 2;
/// Bytes that wait to be read by one of them; one message more than that is taken where none waits.
pub const EXCHANGE_BYTES: usize = 1_048_576;
/// Sessions of clients at a time, and clients that have none by what they show: people and programs of one desk.
pub const CONNECTIONS: usize = 256;
/// How long a session of which nothing is open may be silent: an agent's person comes back after lunch.
pub const IDLE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long a session may be there that the server has not begun, once its client no longer waits.
pub const BEGINNING: Duration = Duration::from_secs(10);
/// How long a body may take to come.
pub const BODY: Duration = Duration::from_secs(30);
/// How long a request waits for its answer before it is answered with a stream, which may say that it waits.
pub const FIRST: Duration = Duration::from_secs(2);
/// How often a stream says that it is there.
pub const ALIVE: Duration = Duration::from_secs(15);
/// How long whoever is asked next, or is told something, may take nothing.
pub const STALL: Duration = Duration::from_secs(30);
/// How long calls may take to end once the client is gone, and then the server once its input is closed: clients tell us to end two
/// seconds after they closed our input.
pub const SHUTDOWN: Duration = Duration::from_millis(1_500);
/// The same once the gate is told to end: clients kill us two seconds later, and outcomes have to be recorded before that.
pub const TOLD_TO_END: Duration = Duration::from_millis(500);

/// How soon after its effect an outcome is logged: those that follow meanwhile are logged with it.
pub const OUTCOMES: Duration = Duration::from_millis(20);

/// How long the thread that logs outcomes waits for one before it looks whether it is still wanted.
pub const LINGER: Duration = Duration::from_secs(1);
