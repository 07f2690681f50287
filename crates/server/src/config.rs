//! The one loader of configuration: a file, then the environment, then flags; the later wins.
//!
//! ```toml
//! [server]
//! listen = "127.0.0.1:7450"        # COUNTERFOIL_LISTEN; on another than a loopback address, reading needs a token:
//! read_token_file = "read.token"   # COUNTERFOIL_READ_TOKEN_FILE; or read_token, COUNTERFOIL_READ_TOKEN
//! reads = "public"                 # COUNTERFOIL_READS; "public", "token" or "local"
//! writes = "public"                # COUNTERFOIL_WRITES; the same, for POST /add of a raw log
//! write_token_file = "write.token" # COUNTERFOIL_WRITE_TOKEN_FILE; or write_token, COUNTERFOIL_WRITE_TOKEN
//! quota = 600                      # COUNTERFOIL_QUOTA; entries a minute of each principal, or peer of a raw log; else unbounded
//! rate = 600                       # COUNTERFOIL_RATE; requests a minute of each peer, or each token of `tokens`; else unbounded
//! tokens = "tokens.toml"           # COUNTERFOIL_TOKENS_FILE; tokens of programs, each for a part of what there is to read
//!
//! [log]
//! mode = "records"                 # COUNTERFOIL_MODE; "raw" is a log of any bytes
//! dir = "log"                      # COUNTERFOIL_LOG_DIR; journal, tiles, index
//! lock_dir = "lock"                # COUNTERFOIL_LOCK_DIR; best on another disk, never in a backup of `dir`
//! payload_dir = "payloads"         # COUNTERFOIL_PAYLOAD_DIR
//! genesis = "genesis.json"         # COUNTERFOIL_GENESIS; the genesis record
//! note_key = "note.key"            # COUNTERFOIL_NOTE_KEY; key file that signs checkpoints, and names a raw log's origin
//! snapshot_key = "snapshot.key"    # COUNTERFOIL_SNAPSHOT_KEY; key file that signs snapshots and rejections
//! policy_key = "policy.key"        # COUNTERFOIL_POLICY_KEY; key file that signs time-outs and escalations; else there are none
//! published = ["https://log.example.org", "/srv/www/log"]   # copies of the log, asked at start how far they are
//!
//! [witnesses]
//! policy = "witnesses.policy"      # COUNTERFOIL_WITNESS_POLICY; a C2SP tlog-policy: whom to ask, and how many are enough
//! fail = "open"                    # COUNTERFOIL_WITNESS_FAIL; "closed": /checkpoint shows only what reached the quorum
//!
//! [approvals]
//! url = "https://approve.example.org"  # COUNTERFOIL_APPROVALS_URL; where people reach this server; else nobody is sent to it
//! link_time = "24h"                # COUNTERFOIL_LINK_TIME; how long somebody may decide by a link: 1m to 30d
//! open = 100                       # COUNTERFOIL_OPEN_PROPOSALS; how many open proposals each proposer may have; else any number
//! outbox_dir = "outbox"            # what is to be told, and how far it was
//! tell = ["ops"]                   # channels on which everything is told, without links to decide by
//!
//! [channels.ops]                   # docs/notifications.md has all kinds
//! kind = "webhook"
//! url = "https://hooks.example.org/counterfoil"
//! secret_files = ["ops.secret"]
//!
//! [people]                         # where each is told what they may decide, with a link of their own
//! ana = ["ana"]
//! ```
//!
//! Without `[witnesses]` nobody is asked. A raw log has no payloads, genesis, snapshot key or policy key. Relative paths in the file are relative to the file, others to the working directory.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::http::Uri;

use crate::{
    access::{Access, Token},
    config_file::{FileValues, beside, read_file, read_text},
    limits,
    notices::{Notices, duration},
};

/// A configuration that can be used.
#[derive(Clone)]
pub struct Config {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Who may read.
    pub reads: Access,
    /// Entries that each principal, or each peer of a raw log, may add in a minute; without it, as many as the log takes.
    pub quota: Option<NonZeroU32>,
    /// Requests that each peer, or each token of [`Config::tokens`], may make in a minute; without it, any number.
    pub rate: Option<NonZeroU32>,
    /// The file of tokens that may read a part of what there is, if there are such; see [`crate::TokenFile`].
    pub tokens: Option<PathBuf>,
    /// The directory of the log.
    pub log_dir: PathBuf,
    /// The directory of the lock store.
    pub lock_dir: PathBuf,
    /// The key file that signs checkpoints.
    pub note_key: PathBuf,
    /// What the log holds.
    pub mode: Mode,
    /// Copies of the log, each an http or https URL or a directory, that are asked at start how far they are: a mirror, an
    /// export, the log's own public address.
    pub published: Vec<String>,
    /// Who witnesses its checkpoints, if somebody does.
    pub witnesses: Option<Witnessing>,
}

/// The configuration of a mirror: a directory to which somebody exports a log. It has no keys and writes nothing.
#[derive(Clone)]
pub struct MirrorConfig {
    /// The directory.
    pub directory: PathBuf,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Who may read.
    pub reads: Access,
    /// As of a log's server, [`Config::rate`].
    pub rate: Option<NonZeroU32>,
    /// As of a log's server, [`Config::tokens`].
    pub tokens: Option<PathBuf>,
}

/// How a log's checkpoints are witnessed.
#[derive(Clone, Debug)]
pub struct Witnessing {
    /// The file with the policy, a C2SP tlog-policy.
    pub policy: PathBuf,
    /// What readers are shown while the quorum is missing.
    pub fail: Fail,
}

/// What readers of `/checkpoint` are shown while the quorum of witnesses is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fail {
    /// The latest checkpoint, with the cosignatures that there are.
    Open,
    /// The latest that reached the quorum.
    Closed,
}

impl Fail {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What a log holds, and what it needs for that.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Records, which prove by themselves who wrote them.
    Records(RecordFiles),
    /// Any bytes.
    Raw {
        /// Who may add an entry.
        writes: Access,
    },
}

/// The files of a log of records, beside the log.
#[derive(Clone, Debug)]
pub struct RecordFiles {
    /// The directory of payloads and policy documents.
    pub payload_dir: PathBuf,
    /// The genesis record.
    pub genesis: PathBuf,
    /// The key file that signs snapshots and rejections.
    pub snapshot_key: PathBuf,
    /// The key file that signs time-outs, escalations and what is decided by link, if this server says them.
    pub policy_key: Option<PathBuf>,
    /// Where people are sent who have to decide, if anywhere.
    pub approvals: Option<Approvals>,
    /// Open proposals that one proposer may have; without it, any number.
    pub open_proposals: Option<NonZeroU32>,
}

/// How people who have to decide reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// Where they reach it: http or https, without query or fragment.
    pub url: String,
    /// How long somebody may decide by a link.
    pub link_time: Duration,
    /// Whom the server tells, if anybody.
    pub notices: Option<Box<Notices>>,
}

/// What the command line says. It wins over file and environment. Tokens are not given here: other users can see command lines.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "named as the members of the configuration")]
pub struct Overrides {
    pub listen: Option<String>,
    pub reads: Option<String>,
    pub read_token_file: Option<String>,
    pub writes: Option<String>,
    pub write_token_file: Option<String>,
    pub quota: Option<String>,
    pub rate: Option<String>,
    pub tokens: Option<String>,
    pub mode: Option<String>,
    pub log_dir: Option<String>,
    pub lock_dir: Option<String>,
    pub payload_dir: Option<String>,
    pub genesis: Option<String>,
    pub note_key: Option<String>,
    pub snapshot_key: Option<String>,
    pub policy_key: Option<String>,
    pub approvals_url: Option<String>,
    pub link_time: Option<String>,
    pub open_proposals: Option<String>,
    pub witness_policy: Option<String>,
    pub witness_fail: Option<String>,
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
    #[error("{name} and {name}_file are both set by {source_of}: keep one")]
    TwoTokens {
        /// The first.
        name: &'static str,
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
pub(crate) struct Member {
    name: &'static str,
    variable: &'static str,
    flag: &'static str,
}

const LISTEN: Member = member("server.listen", "COUNTERFOIL_LISTEN", "--listen");
const READ_TOKEN: Member = member("server.read_token", "COUNTERFOIL_READ_TOKEN", "no flag");
const READ_TOKEN_FILE: Member =
    member("server.read_token_file", "COUNTERFOIL_READ_TOKEN_FILE", "--read-token-file");
const READS: Member = member("server.reads", "COUNTERFOIL_READS", "--reads");
const WRITES: Member = member("server.writes", "COUNTERFOIL_WRITES", "--writes");
const WRITE_TOKEN: Member = member("server.write_token", "COUNTERFOIL_WRITE_TOKEN", "no flag");
const WRITE_TOKEN_FILE: Member =
    member("server.write_token_file", "COUNTERFOIL_WRITE_TOKEN_FILE", "--write-token-file");
const QUOTA: Member = member("server.quota", "COUNTERFOIL_QUOTA", "--quota");
const RATE: Member = member("server.rate", "COUNTERFOIL_RATE", "--rate");
const TOKENS: Member = member("server.tokens", "COUNTERFOIL_TOKENS_FILE", "--tokens");
const MODE: Member = member("log.mode", "COUNTERFOIL_MODE", "--mode");
const LOG_DIR: Member = member("log.dir", "COUNTERFOIL_LOG_DIR", "--log-dir");
const LOCK_DIR: Member = member("log.lock_dir", "COUNTERFOIL_LOCK_DIR", "--lock-dir");
const PAYLOAD_DIR: Member = member("log.payload_dir", "COUNTERFOIL_PAYLOAD_DIR", "--payload-dir");
const GENESIS: Member = member("log.genesis", "COUNTERFOIL_GENESIS", "--genesis");
const NOTE_KEY: Member = member("log.note_key", "COUNTERFOIL_NOTE_KEY", "--note-key");
const SNAPSHOT_KEY: Member = member("log.snapshot_key", "COUNTERFOIL_SNAPSHOT_KEY", "--snapshot-key");
const POLICY_KEY: Member = member("log.policy_key", "COUNTERFOIL_POLICY_KEY", "--policy-key");

const APPROVALS_URL: Member = member("approvals.url", "COUNTERFOIL_APPROVALS_URL", "--approvals-url");
const LINK_TIME: Member = member("approvals.link_time", "COUNTERFOIL_LINK_TIME", "--link-time");
const OPEN_PROPOSALS: Member = member("approvals.open", "COUNTERFOIL_OPEN_PROPOSALS", "--open-proposals");
const WITNESS_POLICY: Member = member("witnesses.policy", "COUNTERFOIL_WITNESS_POLICY", "--witness-policy");
const WITNESS_FAIL: Member = member("witnesses.fail", "COUNTERFOIL_WITNESS_FAIL", "--witness-fail");

pub(crate) const MEMBERS: [&Member; 23] = [
    &LISTEN,
    &READS,
    &READ_TOKEN,
    &READ_TOKEN_FILE,
    &WRITES,
    &WRITE_TOKEN,
    &WRITE_TOKEN_FILE,
    &QUOTA,
    &RATE,
    &TOKENS,
    &MODE,
    &LOG_DIR,
    &LOCK_DIR,
    &PAYLOAD_DIR,
    &GENESIS,
    &NOTE_KEY,
    &SNAPSHOT_KEY,
    &POLICY_KEY,
    &APPROVALS_URL,
    &LINK_TIME,
    &OPEN_PROPOSALS,
    &WITNESS_POLICY,
    &WITNESS_FAIL,
];

/// The two spellings of a token.
struct Tokens {
    text: &'static Member,
    file: &'static Member,
}

const READ_TOKENS: Tokens = Tokens { text: &READ_TOKEN, file: &READ_TOKEN_FILE };
const WRITE_TOKENS: Tokens = Tokens { text: &WRITE_TOKEN, file: &WRITE_TOKEN_FILE };

const fn member(name: &'static str, variable: &'static str, flag: &'static str) -> Member {
    Member { name, variable, flag }
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
        let (mut published, mut notices) = (Vec::new(), None);
        if let Some(path) = file {
            let FileValues { members, published: places, told } = read_file(path)?;
            settings.layer(&|_| Source::File(path.to_owned()), members)?;
            published = places.into_iter().map(|place| beside(path, place)).collect();
            let wrong = |(name, reason)| ConfigError::Invalid {
                name,
                source_of: Source::File(path.to_owned()),
                reason,
            };
            notices =
                Notices::read(path.parent().unwrap_or(Path::new("")), told).map_err(wrong)?.map(Box::new);
        }
        settings.layer_process(environment, flags)?;
        let (listen, reads) = settings.listening()?;
        Ok(Self {
            listen,
            log_dir: settings.path(&LOG_DIR)?,
            lock_dir: settings.path(&LOCK_DIR)?,
            note_key: settings.path(&NOTE_KEY)?,
            mode: settings.mode(listen, &reads, notices)?,
            witnesses: settings.witnesses()?,
            quota: settings.number(&QUOTA, limits::QUOTA)?,
            rate: settings.number(&RATE, limits::RATE)?,
            tokens: settings.tokens()?,
            reads,
            published,
        })
    }

    /// Whether somebody may read or write because no other machine reaches the server.
    pub(crate) fn is_local(&self) -> bool {
        let writes_locally = match &self.mode {
            Mode::Records(_) => false,
            Mode::Raw { writes } => *writes == Access::Local,
        };
        self.reads == Access::Local || writes_locally
    }
}

impl MirrorConfig {
    /// The configuration of a mirror of `directory`, from environment and flags: of them, where to listen and who may read.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(
        directory: PathBuf,
        environment: impl Fn(&str) -> Option<String>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut settings = Settings(BTreeMap::new());
        settings.layer_process(environment, flags)?;
        let (listen, reads) = settings.listening()?;
        let (rate, tokens) = (settings.number(&RATE, limits::RATE)?, settings.tokens()?);
        Ok(Self { directory, listen, reads, rate, tokens })
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
        for Tokens { text, file } in [READ_TOKENS, WRITE_TOKENS] {
            let tokens = [text.name, file.name];
            if let [Some((_, source_of)), Some(_)] = tokens.map(|name| set.get(name)) {
                return Err(ConfigError::TwoTokens { name: text.name, source_of: source_of.clone() });
            }
            // Either spelling of the token takes the place of the other.
            if tokens.iter().any(|name| set.contains_key(name)) {
                self.0.retain(|name, _| !tokens.contains(name));
            }
        }
        self.0.extend(set);
        Ok(())
    }

    /// Lays the environment, then the flags, over what is there.
    fn layer_process(
        &mut self,
        environment: impl Fn(&str) -> Option<String>,
        flags: Overrides,
    ) -> Result<(), ConfigError> {
        let set = MEMBERS.map(|member| environment(member.variable));
        self.layer(&|member| Source::Environment(member.variable), set)?;
        self.layer(&|member| Source::Flag(member.flag), flags.into_values())
    }

    /// Where to listen, and who may read.
    fn listening(&self) -> Result<(SocketAddr, Access), ConfigError> {
        let listen = self.0.get(LISTEN.name).cloned();
        let (listen, source_of) = listen.unwrap_or_else(|| ("127.0.0.1:7450".to_owned(), Source::Default));
        let listen: SocketAddr = listen.parse().map_err(|_| ConfigError::Invalid {
            name: LISTEN.name,
            source_of: source_of.clone(),
            reason: format!("{listen:?} is no address and port, such as 127.0.0.1:7450 or [::1]:7450"),
        })?;
        let reads = match self.access(&READS, &READ_TOKENS, listen)? {
            Some(reads) => reads,
            None if listen.ip().is_loopback() => Access::Local,
            None => {
                let reason = format!(
                    "{listen} is no loopback address, and there is no read token: set server.read_token_file or \
                     server.reads = \"public\", or listen on 127.0.0.1"
                );
                return Err(ConfigError::Invalid { name: LISTEN.name, source_of, reason });
            }
        };
        Ok((listen, reads))
    }

    /// What the log holds.
    fn mode(
        &self,
        listen: SocketAddr,
        reads: &Access,
        notices: Option<Box<Notices>>,
    ) -> Result<Mode, ConfigError> {
        match self.0.get(MODE.name).map(|(mode, _)| mode.as_str()).unwrap_or("records") {
            "records" => {
                let reason = "only a raw log has it: a record proves by itself who wrote it";
                self.without(&[&WRITES, &WRITE_TOKEN, &WRITE_TOKEN_FILE], reason)?;
                Ok(Mode::Records(RecordFiles {
                    payload_dir: self.path(&PAYLOAD_DIR)?,
                    genesis: self.path(&GENESIS)?,
                    snapshot_key: self.path(&SNAPSHOT_KEY)?,
                    policy_key: self
                        .0
                        .contains_key(POLICY_KEY.name)
                        .then(|| self.path(&POLICY_KEY))
                        .transpose()?,
                    approvals: self.approvals(notices)?,
                    open_proposals: self.number(&OPEN_PROPOSALS, limits::OPEN_PROPOSALS)?,
                }))
            }
            "raw" => {
                let of_records = [
                    &PAYLOAD_DIR,
                    &GENESIS,
                    &SNAPSHOT_KEY,
                    &POLICY_KEY,
                    &APPROVALS_URL,
                    &LINK_TIME,
                    &OPEN_PROPOSALS,
                ];
                self.without(&of_records, "a raw log has none")?;
                if notices.is_some() {
                    return Err(
                        self.invalid(&MODE, "a raw log has no [channels]: nobody is asked".to_owned())
                    );
                }
                Ok(Mode::Raw { writes: self.writes(listen, reads)? })
            }
            other => Err(self.invalid(&MODE, format!("{other:?} is neither \"records\" nor \"raw\""))),
        }
    }

    /// Where people are sent who have to decide.
    fn approvals(&self, notices: Option<Box<Notices>>) -> Result<Option<Approvals>, ConfigError> {
        let Some((url, _)) = self.0.get(APPROVALS_URL.name) else {
            self.without(&[&LINK_TIME], "people are sent nowhere: set approvals.url")?;
            if notices.is_some() {
                let reason = "is missing: people who are told are sent there".to_owned();
                return Err(self.invalid(&APPROVALS_URL, reason));
            }
            return Ok(None);
        };
        if !self.0.contains_key(POLICY_KEY.name) {
            let reason = "what is decided there is signed with log.policy_key, which is missing".to_owned();
            return Err(self.invalid(&APPROVALS_URL, reason));
        }
        let is_web = |uri: &Uri| {
            let scheme = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
            scheme && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let parsed = url.parse::<Uri>().ok().filter(|uri| is_web(uri) && uri.query().is_none());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%[]".contains(&byte);
        if parsed.is_none() || url.len() > limits::URL_BYTES || !url.bytes().all(is_plain) {
            let reason = format!("{url:?} is no address such as https://approve.example.org");
            return Err(self.invalid(&APPROVALS_URL, reason));
        }
        let url = url.trim_end_matches('/').to_owned();
        let link_time = self.0.get(LINK_TIME.name).map_or("24h", |(time, _)| time.as_str());
        let wrong = || format!("{link_time:?} is no time from 1m to 30d, such as 90m or 24h");
        let link_time = duration(link_time)
            .filter(|time| limits::LINK_TIME.contains(time))
            .ok_or_else(|| self.invalid(&LINK_TIME, wrong()))?;
        Ok(Some(Approvals { url, link_time, notices }))
    }

    /// How many a minute.
    fn number(&self, member: &Member, most: u32) -> Result<Option<NonZeroU32>, ConfigError> {
        let Some((number, _)) = self.0.get(member.name) else { return Ok(None) };
        let parsed = number.parse().ok().filter(|number: &NonZeroU32| number.get() <= most);
        let wrong = || format!("{number:?} is no number from 1 to {most}");
        parsed.map(Some).ok_or_else(|| self.invalid(member, wrong()))
    }

    /// The file of tokens, if there is one.
    fn tokens(&self) -> Result<Option<PathBuf>, ConfigError> {
        self.0.contains_key(TOKENS.name).then(|| self.path(&TOKENS)).transpose()
    }

    /// Who witnesses the log.
    fn witnesses(&self) -> Result<Option<Witnessing>, ConfigError> {
        if !self.0.contains_key(WITNESS_POLICY.name) {
            self.without(&[&WITNESS_FAIL], "there are no witnesses: set witnesses.policy")?;
            return Ok(None);
        }
        let fail = match self.0.get(WITNESS_FAIL.name).map(|(fail, _)| fail.as_str()) {
            None | Some("open") => Fail::Open,
            Some("closed") => Fail::Closed,
            Some(other) => {
                let reason = format!("{other:?} is neither \"open\" nor \"closed\"");
                return Err(self.invalid(&WITNESS_FAIL, reason));
            }
        };
        Ok(Some(Witnessing { policy: self.path(&WITNESS_POLICY)?, fail }))
    }

    /// Who may add entries. That is only guessed where nobody else can ask: behind a proxy, everybody may seem local.
    fn writes(&self, listen: SocketAddr, reads: &Access) -> Result<Access, ConfigError> {
        match self.access(&WRITES, &WRITE_TOKENS, listen)? {
            Some(writes) => Ok(writes),
            None if *reads == Access::Local => Ok(Access::Local),
            None => {
                let reason = "others than this machine may reach the log, and nothing says who may add entries: set \
                              server.write_token_file, or server.writes = \"public\" or \"local\"";
                Err(self.invalid(&WRITES, reason.to_owned()))
            }
        }
    }

    /// What is said about who may do something, by name or by a token; `None` if nothing is.
    fn access(
        &self,
        member: &'static Member,
        tokens: &Tokens,
        listen: SocketAddr,
    ) -> Result<Option<Access>, ConfigError> {
        // The tokens of the file only read.
        let is_listed = member.name == READS.name && self.0.contains_key(TOKENS.name);
        let token = self.token(tokens)?;
        let named = if token.is_some() { tokens.text.name } else { TOKENS.name };
        let token = token.map(Access::Token).or_else(|| is_listed.then_some(Access::Listed));
        let said = self.0.get(member.name).map(|(said, _)| said.as_str());
        let wrong = |reason: String| Err(self.invalid(member, reason));
        match (said, token) {
            (None | Some("token"), Some(token)) => Ok(Some(token)),
            (None, None) => Ok(None),
            (Some("token"), None) => wrong(format!("there is no token: set {}", tokens.file.name)),
            (Some(said @ ("public" | "local")), Some(_)) => {
                wrong(format!("is {said:?}, and there is a token ({named}): keep one"))
            }
            (Some("public"), None) => Ok(Some(Access::Public)),
            (Some("local"), None) if listen.ip().is_loopback() => Ok(Some(Access::Local)),
            (Some("local"), None) => wrong(format!("is \"local\", and {listen} is no loopback address")),
            (Some(other), _) => wrong(format!("{other:?} is not \"public\", \"token\" or \"local\"")),
        }
    }

    /// Refuses members that do not belong to this mode.
    fn without(&self, members: &[&'static Member], reason: &str) -> Result<(), ConfigError> {
        match members.iter().find(|member| self.0.contains_key(member.name)) {
            None => Ok(()),
            Some(member) => Err(self.invalid(member, reason.to_owned())),
        }
    }

    fn invalid(&self, member: &Member, reason: String) -> ConfigError {
        let source_of = self.0.get(member.name).map_or(Source::Default, |(_, source)| source.clone());
        ConfigError::Invalid { name: member.name, source_of, reason }
    }

    fn path(&self, member: &Member) -> Result<PathBuf, ConfigError> {
        let &Member { name, variable, flag } = member;
        let (value, source_of) = self.0.get(name).ok_or(ConfigError::Missing { name, variable, flag })?;
        if value.is_empty() {
            return Err(self.invalid(member, "is empty".to_owned()));
        }
        Ok(match source_of {
            Source::File(file) => file.parent().unwrap_or(Path::new("")).join(value),
            Source::Environment(_) | Source::Flag(_) | Source::Default => PathBuf::from(value),
        })
    }

    fn token(&self, Tokens { text, file }: &Tokens) -> Result<Option<Token>, ConfigError> {
        let (member, token) = match (self.0.get(text.name), self.0.get(file.name)) {
            (None, None) => return Ok(None),
            (Some((token, _)), _) => (text, token.clone()),
            (None, Some(_)) => {
                let text = read_text(&self.path(file)?)?;
                (file, text.strip_suffix('\n').unwrap_or(&text).to_owned())
            }
        };
        let wrong = |reason: String| self.invalid(member, reason);
        if token.len() < limits::TOKEN_CHARS {
            return Err(wrong(format!("the token has less than {} characters", limits::TOKEN_CHARS)));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("the token has characters that are not printable ASCII, or spaces".to_owned()));
        }
        Ok(Some(Token::new(token)))
    }
}

impl Overrides {
    /// In the order of [`MEMBERS`].
    fn into_values(self) -> [Option<String>; MEMBERS.len()] {
        [
            self.listen,
            self.reads,
            None,
            self.read_token_file,
            self.writes,
            None,
            self.write_token_file,
            self.quota,
            self.rate,
            self.tokens,
            self.mode,
            self.log_dir,
            self.lock_dir,
            self.payload_dir,
            self.genesis,
            self.note_key,
            self.snapshot_key,
            self.policy_key,
            self.approvals_url,
            self.link_time,
            self.open_proposals,
            self.witness_policy,
            self.witness_fail,
        ]
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

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("log_dir", &self.log_dir)
            .finish_non_exhaustive()
    }
}
