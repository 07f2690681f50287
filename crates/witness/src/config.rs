//! The configuration of a witness.
//!
//! ```toml
//! listen = "127.0.0.1:7470"
//! prefix = "/w"                     # the path of the submission prefix; none by default
//! state_dir = "state"               # what was cosigned last; never in a backup
//! keys = ["keys/ed25519.key", "keys/ml-dsa-44.key"]
//! logs_file = "logs"                # a list of logs in the format logs/v0, and, or instead:
//!
//! [[logs]]
//! vkeys = ["log.example+…+…"]
//! origin = "log.example"            # the name of the first key by default
//! ```
//!
//! Relative paths are relative to the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use counterfoil_keys::{TomlFault, parse_toml};
use counterfoil_tlog::VerifierKey;
use serde::Deserialize;

use crate::limits;
use crate::log_list;
use crate::server::WatchedLog;

/// A configuration that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the witness listens.
    pub listen: SocketAddr,
    /// The path of the submission prefix: empty, or begins with a slash and does not end with one.
    pub prefix: String,
    /// Where the state is.
    pub state_dir: PathBuf,
    /// The key files.
    pub keys: Vec<PathBuf>,
    /// The logs.
    pub logs: Vec<WatchedLog>,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file can't be read.
    #[error("can't read {path}: {io}")]
    File {
        /// Which.
        path: PathBuf,
        /// How.
        io: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}{at} is wrong: {reason}", at = line.map(|line| format!(", line {line},")).unwrap_or_default())]
    Wrong {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    listen: String,
    #[serde(default)]
    prefix: String,
    state_dir: PathBuf,
    keys: Vec<PathBuf>,
    logs_file: Option<PathBuf>,
    #[serde(default)]
    logs: Vec<LogTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogTable {
    origin: Option<String>,
    vkeys: Vec<String>,
}

impl Config {
    /// Reads a configuration, and the list of logs that it names.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read(path)?;
        let wrong = |line, reason: String| ConfigError::Wrong { path: path.to_owned(), line, reason };
        let file: ConfigFile = parse_toml(&text).map_err(|TomlFault { line, reason }| wrong(line, reason))?;
        let listen = file.listen.parse().map_err(|_| {
            wrong(None, format!("listen: {:?} is no address and port, such as 127.0.0.1:7470", file.listen))
        })?;
        let prefix = file.prefix;
        if !is_prefix(&prefix) {
            let reason = format!("prefix: {prefix:?} is not empty and no path such as \"/w\"");
            return Err(wrong(None, reason));
        }
        let beside = |relative: &Path| path.parent().unwrap_or(Path::new("")).join(relative);
        let mut logs = match &file.logs_file {
            None => Vec::new(),
            Some(list) => {
                let list = beside(list);
                log_list::parse(&read(&list)?).map_err(|(line, reason)| ConfigError::Wrong {
                    path: list,
                    line: Some(line),
                    reason,
                })?
            }
        };
        for table in file.logs {
            logs.push(table.log().map_err(|reason| wrong(None, format!("logs: {reason}")))?);
        }
        let keys = file.keys.iter().map(|key| beside(key)).collect();
        Ok(Self { listen, prefix, state_dir: beside(&file.state_dir), keys, logs })
    }
}

impl LogTable {
    fn log(self) -> Result<WatchedLog, String> {
        let parse = |vkey: &String| VerifierKey::parse(vkey).map_err(|error| format!("{vkey:?}: {error}"));
        let keys = self.vkeys.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let first = keys.first().ok_or("vkeys is empty")?;
        Ok(WatchedLog { origin: self.origin.unwrap_or_else(|| first.name().to_owned()), keys })
    }
}

fn is_prefix(prefix: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    prefix.is_empty() || prefix.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(limits::FILE_BYTES + 1).read_to_string(&mut text));
    read.map_err(|io| ConfigError::File { path: path.to_owned(), io })?;
    if text.len() as u64 > limits::FILE_BYTES {
        let reason = format!("more than {} bytes", limits::FILE_BYTES);
        return Err(ConfigError::Wrong { path: path.to_owned(), line: None, reason });
    }
    Ok(text)
}
