//! Why a server does not start, and why it stops.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use counterfoil_audit::MirrorError;
use counterfoil_keys::KeyFileError;
use counterfoil_log::{Fatal, OpenError};
use counterfoil_receipt::{Malformed, PublicKey, RecordId};
use counterfoil_witness::FeederError;

use crate::tokens::TokenFileError;

/// Why a server does not start, or a log can't be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A key file holds another key than the genesis names.
    #[error("the key file {path} holds {found}, the genesis names {named}")]
    OtherKey {
        /// The file.
        path: PathBuf,
        /// The key in it.
        found: String,
        /// What the genesis names.
        named: String,
    },
    /// The key that is to sign snapshots may not: the log could not be written.
    #[error("the key file {path} holds {found}, which may sign no snapshot of this log: {reason}")]
    SnapshotKey {
        /// The file.
        path: PathBuf,
        /// The key in it.
        found: PublicKey,
        /// Why not.
        reason: String,
    },
    /// The genesis can't be read.
    #[error("can't read the genesis {path}")]
    GenesisFile {
        /// The file.
        path: PathBuf,
        /// How.
        #[source]
        io: io::Error,
    },
    /// The file is no genesis record.
    #[error("{path} is no genesis record: {reason}")]
    NoGenesis {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The log has another genesis than the file.
    #[error(
        "the log in {dir} starts with {found}, but {path} holds {configured}: this is the configuration of another log"
    )]
    OtherGenesis {
        /// The directory of the log.
        dir: PathBuf,
        /// The id of its entry 0.
        found: RecordId,
        /// The file.
        path: PathBuf,
        /// The id of the record in it.
        configured: RecordId,
    },
    /// The log in the directory holds something else.
    #[error(
        "the log in {dir} is {found}, and the configuration says log.mode = {configured:?}: this is the configuration of another log",
        found = if *is_raw { "raw" } else { "one of records" },
        configured = if *is_raw { "records" } else { "raw" }
    )]
    OtherMode {
        /// The directory of the log.
        dir: PathBuf,
        /// Whether it is raw.
        is_raw: bool,
    },
    /// The genesis is not admitted.
    #[error("the log does not admit {path}: {reason}")]
    GenesisRefused {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: String,
    },
    /// The log does not open.
    #[error("can't open the log in {dir}")]
    Log {
        /// Its directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The directory that was to be mirrored.
    #[error("can't mirror {dir}")]
    Mirror {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: MirrorError,
    },
    /// The directory of payloads.
    #[error("can't use the payload directory: {0}")]
    Payloads(String),
    /// The outbox, or a channel on which people are told.
    #[error("can't tell people what waits for them: {0}")]
    Notices(String),
    /// The file of tokens.
    #[error("can't use the token file {path}")]
    Tokens {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenFileError,
    },
    /// The witness policy.
    #[error("can't use the witness policy {path}: {reason}")]
    WitnessPolicy {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What witnesses have cosigned. [`FeederError::LogBehind`] and [`FeederError::Forked`] say that the log must not be
    /// signed on.
    #[error("can't have the log witnessed")]
    Witnesses(#[source] FeederError),
    /// What was just opened can't be read.
    #[error("can't read the log: {0}")]
    Unreadable(String),
    /// The address.
    #[error("can't listen on {address}{hint}", hint = in_use(io))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// How.
        #[source]
        io: io::Error,
    },
    /// Others can reach the server, and may read or write because they could not.
    #[error(
        "{0} is no loopback address, and there is no read token: set server.read_token_file, or listen on 127.0.0.1"
    )]
    NoToken(SocketAddr),
}

/// Why a server stopped, other than by being told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The log failed. Nothing is acknowledged any more; whoever starts the server again finds out what is on disk.
    #[error("the log stopped, and the server with it")]
    Log(#[source] Arc<Fatal>),
    /// Connections can't be accepted any more.
    #[error("can't accept connections")]
    Accept(#[source] io::Error),
    /// Signals can't be received.
    #[error("can't wait for signals")]
    Signals(#[source] io::Error),
    /// It did not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl StartError {
    /// The file is no genesis record.
    pub(crate) fn no_genesis(path: &std::path::Path, fault: &Malformed) -> Self {
        Self::NoGenesis { path: path.to_owned(), reason: fault.to_string() }
    }
}

fn in_use(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process listens there; stop it or set another server.listen",
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 are not for everybody; set another server.listen"
        }
        _ => "",
    }
}
