//! What the reader brings: the only source of trust (`spec/trust.md`).

use std::time::Duration;

use counterfoil_receipt::{PublicKey, RecordId, limits::MAX_INTEGER};
use counterfoil_tlog::{VerifierKey, policy::Policy as CosignerPolicy};
use serde::Deserialize;
use thiserror::Error;

use crate::rule::Dimension;

/// Bytes of a trust file: thousands of keys.
pub const MAX_BYTES: usize = 1_048_576;

/// What a reader trusts, and what they demand.
#[derive(Clone, Debug)]
pub struct Trust {
    pub(crate) genesis: RecordId,
    pub(crate) origin: String,
    pub(crate) log_keys: Vec<VerifierKey>,
    pub(crate) authority: Vec<AuthorityRange>,
    pub(crate) witnesses: CosignerPolicy,
    pub(crate) require: Vec<Dimension>,
    pub(crate) max_age: Option<Duration>,
}

/// The authority keys that the reader accepts between two indices.
#[derive(Clone, Debug)]
pub(crate) struct AuthorityRange {
    pub from: u64,
    pub until: u64,
    pub roots: Vec<PublicKey>,
}

/// Why a trust file is not usable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// Larger than a trust file may be.
    #[error("trust-too-large: {0} bytes; a trust file has at most {MAX_BYTES}")]
    TooLarge(usize),
    /// Not TOML, or not the members that a trust file has.
    #[error("trust-malformed: {0}")]
    Malformed(String),
    /// A member whose value can't be used.
    #[error("trust-invalid: {member}: {why}")]
    Invalid {
        /// Which.
        member: &'static str,
        /// Why not.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    genesis: String,
    origin: String,
    log_keys: Vec<String>,
    #[serde(default)]
    authority: Vec<FileAuthority>,
    witnesses: FilePolicy,
    require: FileRequire,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAuthority {
    #[serde(default)]
    from: u64,
    until: Option<u64>,
    roots: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePolicy {
    policy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRequire {
    dimensions: Vec<String>,
    max_age: Option<String>,
}

impl Trust {
    /// Reads a trust file.
    ///
    /// # Errors
    /// [`TrustError`]; whoever gets it trusts nothing.
    pub fn parse(toml: &str) -> Result<Self, TrustError> {
        if toml.len() > MAX_BYTES {
            return Err(TrustError::TooLarge(toml.len()));
        }
        let file: File =
            toml::from_str(toml).map_err(|error| TrustError::Malformed(error.message().to_owned()))?;
        if file.version != 1 {
            return Err(invalid("version", format!("{} is not 1", file.version)));
        }
        let genesis = RecordId::parse(&file.genesis).ok_or_else(|| {
            invalid("genesis", format!("{:?} is not sha256: and 64 hex digits", file.genesis))
        })?;
        let log_keys =
            file.log_keys.iter().map(|key| log_key(key, &file.origin)).collect::<Result<Vec<_>, _>>()?;
        if log_keys.is_empty() {
            return Err(invalid("log_keys", "names no key".to_owned()));
        }
        let witnesses = CosignerPolicy::parse(file.witnesses.policy.as_bytes())
            .map_err(|error| invalid("witnesses.policy", error.to_string()))?;
        let authority = file.authority.iter().map(authority_range).collect::<Result<_, _>>()?;
        let require = dimensions(&file.require.dimensions)?;
        let max_age = file.require.max_age.as_deref().map(duration).transpose()?;
        Ok(Self { genesis, origin: file.origin, log_keys, authority, witnesses, require, max_age })
    }

    /// What whoever runs a log trusts of it without asking anybody: what its own keys sign, and the authority that its genesis
    /// names. It demands what [`Dimension`]s a log can show by itself.
    pub fn of_own_log(
        genesis: RecordId,
        origin: String,
        log_keys: Vec<VerifierKey>,
        witnesses: CosignerPolicy,
    ) -> Self {
        use Dimension::{Authority, Conformity, Inclusion, Integrity};
        let require = vec![Integrity, Authority, Conformity, Inclusion];
        Self { genesis, origin, log_keys, authority: Vec::new(), witnesses, require, max_age: None }
    }

    /// The log that the reader trusts, by the id of its genesis.
    pub const fn genesis(&self) -> RecordId {
        self.genesis
    }

    /// The origin of its checkpoints.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The keys that may sign its checkpoints.
    pub fn log_keys(&self) -> &[VerifierKey] {
        &self.log_keys
    }

    /// Whose cosignatures are enough.
    pub const fn witnesses(&self) -> &CosignerPolicy {
        &self.witnesses
    }

    /// What the reader demands unless the caller says otherwise; never empty.
    pub fn require(&self) -> &[Dimension] {
        &self.require
    }
}

/// Parses a list of dimension names; empty lists and repeats are refused.
///
/// # Errors
/// [`TrustError::Invalid`].
fn dimensions(names: &[String]) -> Result<Vec<Dimension>, TrustError> {
    let parse = |name: &String| {
        Dimension::parse(name)
            .ok_or_else(|| invalid("require.dimensions", format!("{name:?} is no dimension")))
    };
    let mut list: Vec<Dimension> = names.iter().map(parse).collect::<Result<_, _>>()?;
    list.sort_unstable();
    list.dedup();
    if list.is_empty() || list.len() != names.len() {
        return Err(invalid(
            "require.dimensions",
            "must name at least one dimension, and none twice".to_owned(),
        ));
    }
    Ok(list)
}

fn log_key(vkey: &str, origin: &str) -> Result<VerifierKey, TrustError> {
    let key = VerifierKey::parse(vkey).map_err(|error| invalid("log_keys", error.to_string()))?;
    if key.name() != origin {
        return Err(invalid("log_keys", format!("{vkey:?} is not a key of {origin:?}")));
    }
    Ok(key)
}

fn authority_range(file: &FileAuthority) -> Result<AuthorityRange, TrustError> {
    let parse =
        |key: &String| PublicKey::parse(key).map_err(|error| invalid("authority.roots", error.to_string()));
    let roots = file.roots.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let until = file.until.unwrap_or(MAX_INTEGER);
    if roots.is_empty() || file.from > until {
        return Err(invalid("authority", "a range needs at least one root and must not be empty".to_owned()));
    }
    Ok(AuthorityRange { from: file.from, until, roots })
}

/// A duration such as `90s`, `10m`, `24h`, `7d`.
fn duration(text: &str) -> Result<Duration, TrustError> {
    let fault = || invalid("require.max_age", format!("{text:?} is not a number and one of s, m, h, d"));
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fault)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(fault()),
    };
    // `u64::from_str` takes a sign.
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault());
    }
    let number: u64 = number.parse().map_err(|_| fault())?;
    number.checked_mul(unit).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(fault)
}

const fn invalid(member: &'static str, why: String) -> TrustError {
    TrustError::Invalid { member, why }
}
