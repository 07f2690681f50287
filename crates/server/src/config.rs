//! The one loader of configuration: a file, then the environment, then flags; the later wins.
//!
//! ```toml
//! [server]
//! listen = "127.0.0.1:7450"        # COUNTERFOIL_LISTEN; on another than a loopback address, reading needs a token:
//! read_token_file = "read.token"   # COUNTERFOIL_READ_TOKEN_FILE; or read_token, COUNTERFOIL_READ_TOKEN
//!
//! [log]
//! dir = "log"                      # COUNTERFOIL_LOG_DIR; journal, tiles, index
//! lock_dir = "lock"                # COUNTERFOIL_LOCK_DIR; best on another disk, never in a backup of `dir`
//! payload_dir = "payloads"         # COUNTERFOIL_PAYLOAD_DIR
//! genesis = "genesis.json"         # COUNTERFOIL_GENESIS; the genesis record
//! note_key = "note.key"            # COUNTERFOIL_NOTE_KEY; key file that signs checkpoints
//! snapshot_key = "snapshot.key"    # COUNTERFOIL_SNAPSHOT_KEY; key file that signs snapshots and rejections
//! ```
//!
//! Relative paths in the file are relative to the file, others to the working directory.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::limits;

/// A configuration that can be used.
#[derive(Clone)]
pub struct Config {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// What reading needs where that is no loopback address.
    pub read_token: Option<ReadToken>,
    /// The directory of the log.
    pub log_dir: PathBuf,
    /// The directory of the lock store.
    pub lock_dir: PathBuf,
    /// The directory of payloads and policy documents.
    pub payload_dir: PathBuf,
    /// The genesis record.
    pub genesis: PathBuf,
    /// The key file that signs checkpoints.
    pub note_key: PathBuf,
    /// The key file that signs snapshots and rejections.
    pub snapshot_key: PathBuf,
}

/// A token that lets its bearer read. Not shown when printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ReadToken(String);

/// What the command line says. It wins over file and environment. Tokens are not given here: other users can see command lines.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "named as the members of the configuration")]
pub struct Overrides {
    pub listen: Option<String>,
    pub read_token_file: Option<String>,
    pub log_dir: Option<String>,
    pub lock_dir: Option<String>,
    pub payload_dir: Option<String>,
    pub genesis: Option<String>,
    pub note_key: Option<String>,
    pub snapshot_key: Option<String>,
}

/// Why there is no usable configuration. Names the source of the value at fault.
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
    /// The file is not TOML, or has members that there are not.
    #[error("the configuration file {path}{at} is wrong: {reason}", at = line.map(|line| format!(", line {line},")).unwrap_or_default())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A value that can't be used.
    #[error("{name} ({source_of}): {reason}")]
    Invalid {
        /// The member.
        name: &'static str,
        /// Where the value comes from.
        source_of: Source,
        /// Why it can't be used.
        reason: String,
    },
    /// A value that is required is nowhere.
    #[error("{name} is missing: set it in the configuration file, as {variable}, or with {flag}")]
    Missing {
        /// The member.
        name: &'static str,
        /// Its variable.
        variable: &'static str,
        /// Its flag.
        flag: &'static str,
    },
    /// Two values that exclude each other.
    #[error("read_token and read_token_file are both set by {source_of}: keep one")]
    TwoTokens {
        /// Where both come from.
        source_of: Source,
    },
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
    /// Nowhere: it is the default.
    Default,
}

/// A member in its three spellings.
struct Member {
    name: &'static str,
    variable: &'static str,
    flag: &'static str,
}

const LISTEN: Member = member("server.listen", "COUNTERFOIL_LISTEN", "--listen");
const READ_TOKEN: Member = member("server.read_token", "COUNTERFOIL_READ_TOKEN", "no flag");
const READ_TOKEN_FILE: Member =
    member("server.read_token_file", "COUNTERFOIL_READ_TOKEN_FILE", "--read-token-file");
const LOG_DIR: Member = member("log.dir", "COUNTERFOIL_LOG_DIR", "--log-dir");
const LOCK_DIR: Member = member("log.lock_dir", "COUNTERFOIL_LOCK_DIR", "--lock-dir");
const PAYLOAD_DIR: Member = member("log.payload_dir", "COUNTERFOIL_PAYLOAD_DIR", "--payload-dir");
const GENESIS: Member = member("log.genesis", "COUNTERFOIL_GENESIS", "--genesis");
const NOTE_KEY: Member = member("log.note_key", "COUNTERFOIL_NOTE_KEY", "--note-key");
const SNAPSHOT_KEY: Member = member("log.snapshot_key", "COUNTERFOIL_SNAPSHOT_KEY", "--snapshot-key");

const MEMBERS: [&Member; 9] = [
    &LISTEN,
    &READ_TOKEN,
    &READ_TOKEN_FILE,
    &LOG_DIR,
    &LOCK_DIR,
    &PAYLOAD_DIR,
    &GENESIS,
    &NOTE_KEY,
    &SNAPSHOT_KEY,
];

const fn member(name: &'static str, variable: &'static str, flag: &'static str) -> Member {
    Member { name, variable, flag }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: FileServer,
    log: FileLog,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileServer {
    listen: Option<String>,
    read_token: Option<String>,
    read_token_file: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileLog {
    dir: Option<String>,
    lock_dir: Option<String>,
    payload_dir: Option<String>,
    genesis: Option<String>,
    note_key: Option<String>,
    snapshot_key: Option<String>,
}

/// Every value that is set, with where it comes from.
struct Settings(BTreeMap<&'static str, (String, Source)>);

impl Config {
    /// Loads a configuration. `environment` gives the value of a variable, such as `|name| std::env::var(name).ok()`.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut settings = Settings(BTreeMap::new());
        if let Some(path) = file {
            settings.layer(&|_| Source::File(path.to_owned()), read_file(path)?)?;
        }
        let set = MEMBERS.map(|member| environment(member.variable));
        settings.layer(&|member| Source::Environment(member.variable), set)?;
        settings.layer(&|member| Source::Flag(member.flag), flags.into_values())?;
        let listen = settings.0.get(LISTEN.name).cloned();
        let (listen, source_of) = listen.unwrap_or_else(|| ("127.0.0.1:7450".to_owned(), Source::Default));
        let listen: SocketAddr = listen.parse().map_err(|_| ConfigError::Invalid {
            name: LISTEN.name,
            source_of: source_of.clone(),
            reason: format!("{listen:?} is no address and port, such as 127.0.0.1:7450 or [::1]:7450"),
        })?;
        let read_token = settings.token()?;
        if read_token.is_none() && !listen.ip().is_loopback() {
            let reason = format!(
                "{listen} is no loopback address, and there is no read token: set server.read_token_file, or listen on 127.0.0.1"
            );
            return Err(ConfigError::Invalid { name: LISTEN.name, source_of, reason });
        }
        Ok(Self {
            listen,
            read_token,
            log_dir: settings.path(&LOG_DIR)?,
            lock_dir: settings.path(&LOCK_DIR)?,
            payload_dir: settings.path(&PAYLOAD_DIR)?,
            genesis: settings.path(&GENESIS)?,
            note_key: settings.path(&NOTE_KEY)?,
            snapshot_key: settings.path(&SNAPSHOT_KEY)?,
        })
    }
}

impl Settings {
    /// Lays values over those that are there.
    fn layer(
        &mut self,
        source: &dyn Fn(&Member) -> Source,
        values: [Option<String>; MEMBERS.len()],
    ) -> Result<(), ConfigError> {
        let set = MEMBERS.into_iter().zip(values).filter_map(|(member, value)| Some((member, value?)));
        let set: BTreeMap<_, _> = set.map(|(member, value)| (member.name, (value, source(member)))).collect();
        let tokens = [READ_TOKEN.name, READ_TOKEN_FILE.name];
        if let [Some((_, source_of)), Some(_)] = tokens.map(|name| set.get(name)) {
            return Err(ConfigError::TwoTokens { source_of: source_of.clone() });
        }
        // Either spelling of the token takes the place of the other.
        if tokens.iter().any(|name| set.contains_key(name)) {
            self.0.retain(|name, _| !tokens.contains(name));
        }
        self.0.extend(set);
        Ok(())
    }

    fn path(&self, member: &Member) -> Result<PathBuf, ConfigError> {
        let &Member { name, variable, flag } = member;
        let (value, source_of) = self.0.get(name).ok_or(ConfigError::Missing { name, variable, flag })?;
        if value.is_empty() {
            return Err(ConfigError::Invalid {
                name,
                source_of: source_of.clone(),
                reason: "is empty".to_owned(),
            });
        }
        Ok(match source_of {
            Source::File(file) => file.parent().unwrap_or(Path::new("")).join(value),
            Source::Environment(_) | Source::Flag(_) | Source::Default => PathBuf::from(value),
        })
    }

    fn token(&self) -> Result<Option<ReadToken>, ConfigError> {
        let (name, source_of, token) = match (self.0.get(READ_TOKEN.name), self.0.get(READ_TOKEN_FILE.name)) {
            (None, None) => return Ok(None),
            (Some((token, source_of)), _) => (READ_TOKEN.name, source_of, token.clone()),
            (None, Some((_, source_of))) => {
                let text = read_text(&self.path(&READ_TOKEN_FILE)?)?;
                (READ_TOKEN_FILE.name, source_of, text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
        };
        let wrong = |reason: String| ConfigError::Invalid { name, source_of: source_of.clone(), reason };
        if token.len() < limits::TOKEN_CHARS {
            return Err(wrong(format!("the token has less than {} characters", limits::TOKEN_CHARS)));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the token has characters that are not printable ASCII, or spaces".to_owned()));
        }
        Ok(Some(ReadToken(token)))
    }
}

impl Overrides {
    /// In the order of [`MEMBERS`].
    fn into_values(self) -> [Option<String>; MEMBERS.len()] {
        [
            self.listen,
            None,
            self.read_token_file,
            self.log_dir,
            self.lock_dir,
            self.payload_dir,
            self.genesis,
            self.note_key,
            self.snapshot_key,
        ]
    }
}

impl ReadToken {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadToken(…)")
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Environment(variable) => write!(f, "from the environment variable {variable}"),
            Self::Flag(flag) => write!(f, "from the flag {flag}"),
            Self::Default => f.write_str("by default"),
        }
    }
}

/// The values in a file, in the order of [`MEMBERS`].
fn read_file(path: &Path) -> Result<[Option<String>; MEMBERS.len()], ConfigError> {
    let text = read_text(path)?;
    // Of toml's error only message and line: its full text quotes the line, which may be that of the token.
    let File { server, log } =
        toml::from_str(&text).map_err(|fault: toml::de::Error| ConfigError::Malformed {
            path: path.to_owned(),
            line: fault
                .span()
                .and_then(|span| text.get(..span.start))
                .map(|before| before.matches('\n').count() + 1),
            reason: fault.message().lines().next().unwrap_or("not TOML").to_owned(),
        })?;
    Ok([
        server.listen,
        server.read_token,
        server.read_token_file,
        log.dir,
        log.lock_dir,
        log.payload_dir,
        log.genesis,
        log.note_key,
        log.snapshot_key,
    ])
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let file =
        std::fs::File::open(path).and_then(|file| file.take(limits::FILE_BYTES).read_to_string(&mut text));
    file.map_err(|io| ConfigError::File { path: path.to_owned(), io })?;
    Ok(text)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("log_dir", &self.log_dir)
            .finish_non_exhaustive()
    }
}
