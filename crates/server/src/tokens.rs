//! Tokens for programs: each is for a part of what there is to read, and only its digest is kept (`spec/http.md`, "Tokens for
//! programs").
//!
//! ```toml
//! [[token]]
//! id = "7f3a09bc"                  # stands in the token, too
//! name = "deploy bot"
//! sha256 = "…"                     # of the whole token, in hexadecimal digits
//! scopes = ["approvals"]           # log, records, approvals
//! principal = "deploy"             # if it only sees approvals that are this principal's business
//! created = 1795241234567          # milliseconds
//! expires = 1826777234567          # if it ends
//! ```

use std::{
    collections::HashMap,
    fmt,
    fs::{File, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use counterfoil_keys::{KeyFileError, TomlFault, random};
use counterfoil_receipt::Principal;
use counterfoil_review::text::printable;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::limits;

/// Whether it has the form of a token of a file.
pub(crate) fn is_shaped(token: &[u8]) -> bool {
    token.starts_with(PREFIX.as_bytes()) && token.len() == 56 && token.get(12) == Some(&b'_')
}

/// What a token begins with, so that whoever finds one knows what it is.
const PREFIX: &str = "cft_";

/// A part of what there is to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The log: checkpoint, tiles, entries and proofs.
    Log,
    /// Records, payloads, runs, bundles and the state.
    Records,
    /// Proposals and what they wait for.
    Approvals,
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopedToken {
    /// Names it; it stands in the token too.
    pub id: String,
    /// What it is for, in the operator's words.
    pub name: String,
    /// The digest of the token, in lower-case hexadecimal digits.
    pub sha256: String,
    /// What it may read, each once.
    pub scopes: Vec<Scope>,
    /// Whose business an approval has to be for it to be seen; everybody's, if nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// When it was made, in milliseconds.
    pub created: u64,
    /// When it ends, in milliseconds, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// The tokens of a file, each found to be one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TokenFile {
    token: Vec<ScopedToken>,
}

/// Why a token file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFileError {
    /// It can't be read.
    #[error("can't read it: {0}")]
    Io(#[from] io::Error),
    /// Others than its owner may read or write it.
    #[error("mode {:o}: others than its owner may read or write it; `chmod 600` it", .0 & 0o7777)]
    OpenToOthers(u32),
    /// It is no TOML, or has other members than a token file.
    #[error("{at}{reason}", at = line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Malformed {
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// A token that can't be used.
    #[error("token {id:?}: {reason}")]
    Token {
        /// Its id.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// More than a file may have.
    #[error("more than {0} of {1}")]
    TooMany(u64, &'static str),
}

impl TokenFile {
    /// Reads the file at `path`, which only its owner may read or write.
    ///
    /// # Errors
    /// [`TokenFileError`]; whoever gets it takes no token.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        Self::read_open(&File::open(path)?)
    }

    fn read_open(file: &File) -> Result<Self, TokenFileError> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file").into());
        }
        refuse_if_open_to_others(&metadata)?;
        let mut text = String::new();
        file.take(limits::FILE_BYTES + 1).read_to_string(&mut text)?;
        if text.len() as u64 > limits::FILE_BYTES {
            return Err(TokenFileError::TooMany(limits::FILE_BYTES, "bytes"));
        }
        Self::parse(&text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub fn parse(text: &str) -> Result<Self, TokenFileError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Text {
            #[serde(default)]
            token: Vec<ScopedToken>,
        }
        let Text { token } = counterfoil_keys::parse_toml(text)
            .map_err(|TomlFault { line, reason }| TokenFileError::Malformed { line, reason })?;
        token.into_iter().try_fold(Self::default(), |mut file, token| {
            file.add(token)?;
            Ok(file)
        })
    }

    /// As text.
    ///
    /// # Errors
    /// [`TokenFileError::Malformed`]: no file whose tokens were found to be some.
    pub fn to_text(&self) -> Result<String, TokenFileError> {
        toml::to_string(self)
            .map_err(|fault| TokenFileError::Malformed { line: None, reason: fault.to_string() })
    }

    /// Its tokens, in the order in which they were added.
    pub fn tokens(&self) -> &[ScopedToken] {
        &self.token
    }

    /// Adds one.
    ///
    /// # Errors
    /// [`TokenFileError`] if it is none, or there is one with its id.
    pub fn add(&mut self, token: ScopedToken) -> Result<(), TokenFileError> {
        let is_there = self.token.iter().any(|other| other.id == token.id);
        let fault = if is_there { Some("stands twice".to_owned()) } else { token.fault() };
        if let Some(reason) = fault {
            return Err(TokenFileError::Token { id: token.id, reason });
        }
        if self.token.len() == limits::TOKENS {
            return Err(TokenFileError::TooMany(limits::TOKENS as u64, "tokens"));
        }
        self.token.push(token);
        Ok(())
    }

    /// Removes the one with this id.
    pub fn remove(&mut self, id: &str) -> Option<ScopedToken> {
        let at = self.token.iter().position(|token| token.id == id)?;
        Some(self.token.remove(at))
    }
}

impl ScopedToken {
    /// Makes a token, and what is kept of it: the token is nowhere else.
    ///
    /// # Errors
    /// [`KeyFileError::Random`] if the system has no randomness.
    pub fn issue(
        name: String,
        scopes: Vec<Scope>,
        principal: Option<String>,
        (created, expires): (u64, Option<u64>),
    ) -> Result<(Self, String), KeyFileError> {
        let id = hex(&random::<4>()?);
        let token = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?));
        let sha256 = hex(&Sha256::digest(&token));
        Ok((Self { id, name, sha256, scopes, principal, created, expires }, token))
    }

    /// Whether it may read this part.
    pub fn covers(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether it has ended.
    pub fn has_ended(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn is_of(&self, token: &[u8]) -> bool {
        hex(&Sha256::digest(token)).as_bytes().ct_eq(self.sha256.as_bytes()).into()
    }

    fn fault(&self) -> Option<String> {
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let has_twice = self.scopes.iter().enumerate().any(|(at, scope)| self.scopes[..at].contains(scope));
        let is_name = !self.name.is_empty() && self.name.chars().count() <= limits::TOKEN_NAME_CHARS;
        if !is_hex(&self.id, 8) {
            Some("id: it is not 8 lower-case hexadecimal digits".to_owned())
        } else if !is_hex(&self.sha256, 64) {
            Some("sha256: it is not 64 lower-case hexadecimal digits".to_owned())
        } else if !is_name || printable(&self.name) != self.name {
            Some(format!("name: it is not 1 to {} printable characters", limits::TOKEN_NAME_CHARS))
        } else if self.scopes.is_empty() || has_twice {
            Some("scopes: name at least one, and none twice".to_owned())
        } else if self.principal.as_ref().is_some_and(|name| Principal::new(name.as_str()).is_none()) {
            Some(format!("principal: it is not {}", Principal::SYNTAX))
        } else if self.principal.is_some() && self.scopes != [Scope::Approvals] {
            // Records, and the entries of the log, are those of everybody.
            Some(
                "principal: only the scope approvals can be narrowed to one; drop the other scopes"
                    .to_owned(),
            )
        } else {
            None
        }
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Log, Self::Records, Self::Approvals];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Records => "records",
            Self::Approvals => "approvals",
        }
    }

    /// The scope of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tokens of a file as it is now: it is looked at whenever somebody sends one, and read again where it changed.
#[derive(Debug)]
pub(crate) struct Listed {
    path: PathBuf,
    read: Mutex<Read>,
}

/// What was read last.
#[derive(Debug)]
struct Read {
    stamp: Option<Stamp>,
    /// By id, or why none of them is taken.
    tokens: Result<HashMap<String, Arc<ScopedToken>>, Arc<TokenFileError>>,
}

/// What is found for a token.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// It is this one. Whether it has ended was not asked.
    Token(Arc<ScopedToken>),
    /// It is none of the file.
    None,
    /// It may be one, and the file can't be used.
    Unknown,
}

impl Listed {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokenFileError`].
    pub(crate) fn open(path: PathBuf) -> Result<Self, TokenFileError> {
        let file = File::open(&path)?;
        let (stamp, tokens) = (Stamp::of(&file.metadata()?), by_id(TokenFile::read_open(&file)?));
        Ok(Self { path, read: Mutex::new(Read { stamp: Some(stamp), tokens: Ok(tokens) }) })
    }

    /// Looks for a token by its id, and then compares it.
    pub(crate) fn find(&self, token: &[u8]) -> Found {
        let id = token.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.get(..8));
        let Some(id) = id.and_then(|id| std::str::from_utf8(id).ok()) else { return Found::None };
        match &self.look().tokens {
            Err(_) => Found::Unknown,
            Ok(tokens) => match tokens.get(id).filter(|kept| kept.is_of(token)) {
                Some(kept) => Found::Token(Arc::clone(kept)),
                None => Found::None,
            },
        }
    }

    /// Whether a token that was found is still in the file as it was.
    pub(crate) fn still_has(&self, token: &ScopedToken) -> bool {
        let read = self.look();
        read.tokens.as_ref().is_ok_and(|tokens| tokens.get(&token.id).is_some_and(|kept| **kept == *token))
    }

    /// Why no token of the file is taken, if so.
    pub(crate) fn fault(&self) -> Option<Arc<TokenFileError>> {
        self.look().tokens.as_ref().err().cloned()
    }

    /// What the file says now. That it did not change costs one call of the system.
    fn look(&self) -> std::sync::MutexGuard<'_, Read> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).ok().map(|metadata| Stamp::of(&metadata));
        if now.is_none() || now != read.stamp {
            *read = Read::again(&self.path);
        }
        read
    }
}

impl Read {
    fn again(path: &Path) -> Self {
        // Who opens a pipe waits for somebody to write into it.
        let is_file = std::fs::metadata(path).and_then(|metadata| match metadata.is_file() {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
        });
        let opened =
            is_file.and_then(|()| File::open(path)).and_then(|file| Ok((Stamp::of(&file.metadata()?), file)));
        match opened {
            Err(why) => Self { stamp: None, tokens: Err(Arc::new(why.into())) },
            // What is written while it is read changes the stamp, and is read with the next token.
            Ok((stamp, file)) => {
                Self { stamp: Some(stamp), tokens: TokenFile::read_open(&file).map(by_id).map_err(Arc::new) }
            }
        }
    }
}

fn by_id(file: TokenFile) -> HashMap<String, Arc<ScopedToken>> {
    file.token.into_iter().map(|token| (token.id.clone(), Arc::new(token))).collect()
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, [i128; 4]);

impl Stamp {
    /// The time of the last change of content or mode, which nobody can set, counts: two files may be as long and as old.
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let (device, file) = (metadata.dev().into(), metadata.ino().into());
        Self(metadata.len(), [device, file, metadata.ctime().into(), metadata.ctime_nsec().into()])
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        let since = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).ok();
        let nanos = metadata.modified().ok().and_then(since).map_or(0, |since| since.as_nanos());
        Self(metadata.len(), [i128::try_from(nanos).unwrap_or(0), 0, 0, 0])
    }
}

#[cfg(unix)]
fn refuse_if_open_to_others(metadata: &Metadata) -> Result<(), TokenFileError> {
    use std::os::unix::fs::MetadataExt as _;
    match metadata.mode() & 0o077 {
        0 => Ok(()),
        _ => Err(TokenFileError::OpenToOthers(metadata.mode())),
    }
}

/// Other systems have no such bits; there the directory has to be private.
#[cfg(not(unix))]
fn refuse_if_open_to_others(_: &Metadata) -> Result<(), TokenFileError> {
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
