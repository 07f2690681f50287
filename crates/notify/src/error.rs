//! Why an outbox does not do what it was asked.

use std::io;
use std::path::PathBuf;

use crate::limits;
use crate::message::ChannelName;

/// Why an outbox does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// Another process, or another outbox of this one, has it.
    #[error("{path} is locked: another process delivers from this outbox; stop it first")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// A line of the file is not what was written. Nothing was changed.
    #[error(
        "{path}, line {line}: {why}; nothing is sent or taken. Bring the file back from a backup, or keep it and begin without it: what waits in it is not told then"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// A file operation failed.
    #[error("can't {doing} {path}: {io}")]
    Io {
        /// What failed.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
    /// An earlier file operation failed: what is on disk is not known, so nothing is taken or sent until the outbox is
    /// opened again.
    #[error("the outbox stopped: {why}; open it again when that is mended")]
    Stopped {
        /// What failed.
        why: String,
    },
    /// Too much waits already. Nothing of the batch was taken.
    #[error("{waiting} deliveries of {bytes} bytes would wait: {max} of {max_bytes} bytes are allowed", max = limits::WAITING, max_bytes = limits::WAITING_BYTES)]
    Full {
        /// How many would wait with these.
        waiting: usize,
        /// How long they would be together.
        bytes: usize,
    },
    /// Too many messages at once. Nothing of the batch was taken.
    #[error("{count} messages at once: {max} are allowed", max = limits::BATCH)]
    Batch {
        /// How many.
        count: usize,
    },
    /// A message is for a channel that there is not. Nothing of the batch was taken.
    #[error("there is no channel {0}")]
    NoSuchChannel(ChannelName),
    /// A message is for nobody. Nothing of the batch was taken.
    #[error("the message {id} is for no channel")]
    NoChannel {
        /// The message.
        id: String,
    },
    /// Two channels have one name.
    #[error("there are two channels {0}")]
    TwoChannels(ChannelName),
    /// There are too many channels.
    #[error("{count} channels: {max} are allowed", max = limits::CHANNELS)]
    Channels {
        /// How many.
        count: usize,
    },
    /// A thread could not be started.
    #[error("can't start a thread: {0}")]
    Thread(#[source] io::Error),
}
