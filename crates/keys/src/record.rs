//! Keys that sign records.

use std::path::Path;

use counterfoil_receipt::{Author, Principal, PublicKey, Role, SignError, Signature, Signer, SigningKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::KeyFileError,
    exec::Command,
    file::{self, Seed},
    random,
    ssh_agent::AgentKey,
};

/// A key that signs records, and whose it is.
///
/// ```
/// use counterfoil_keys::RecordKey;
/// use counterfoil_receipt::{Principal, Role, Signer};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("alice.toml");
/// let alice = RecordKey::generate(Principal::new("alice").unwrap(), Role::Human)?;
/// alice.write(&path)?;
/// assert_eq!(RecordKey::load(&path)?.key(), alice.key());
/// assert!(alice.write(&path).is_err(), "a key file is never overwritten");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordKey {
    principal: Principal,
    role: Role,
    means: Means,
}

/// How signatures are made.
enum Means {
    Secret { seed: Seed, key: SigningKey },
    Exec(Command),
    Agent(AgentKey),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    principal: String,
    role: String,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ssh_agent: Option<bool>,
}

impl RecordKey {
    /// Reads a key file. No command is run, and no agent asked, before something is to be signed.
    ///
    /// # Errors
    /// [`KeyFileError`], also if public and secret half do not belong together.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let RecordFile { principal, role, key, secret, exec, ssh_agent } = file::read(path)?;
        let secret = secret.map(Zeroizing::new);
        let wrong = |member: &str, why: String| file::wrong(path, format!("{member}: {why}"));
        let principal = Principal::new(principal.as_str())
            .ok_or_else(|| wrong("principal", format!("{principal:?} is not {}", Principal::SYNTAX)))?;
        let role = Role::parse(&role).ok_or_else(|| wrong("role", format!("{role:?} is no role")))?;
        let claimed = PublicKey::parse(&key).map_err(|fault| wrong("key", fault.to_string()))?;
        let means = match (secret, exec, ssh_agent == Some(true)) {
            (Some(secret), None, false) => Means::of_seed(file::decode_seed(&secret, path)?),
            (None, Some(command), false) => Means::Exec(Command::new(command, claimed)),
            (None, None, true) => Means::Agent(AgentKey { key: claimed }),
            (None, None, false) => {
                return Err(file::wrong(path, "neither secret nor exec nor ssh_agent is there"));
            }
            _ => return Err(file::wrong(path, "only one of secret, exec and ssh_agent can be there")),
        };
        let loaded = Self { principal, role, means };
        if loaded.key() != claimed {
            return Err(wrong("key", format!("claims {claimed}, the secret is that of {}", loaded.key())));
        }
        Ok(loaded)
    }

    /// A new Ed25519 key.
    ///
    /// # Errors
    /// [`KeyFileError::Random`].
    pub fn generate(principal: Principal, role: Role) -> Result<Self, KeyFileError> {
        Ok(Self::from_seed(principal, role, &random()?))
    }

    /// The Ed25519 key with this RFC 8032 seed.
    pub fn from_seed(principal: Principal, role: Role, seed: &[u8; 32]) -> Self {
        Self { principal, role, means: Means::of_seed(Zeroizing::new(*seed)) }
    }

    /// A key that `command` signs with, run by `sh -c`: the preimage on its standard input, the signature on its output.
    pub fn behind_command(principal: Principal, role: Role, key: PublicKey, command: String) -> Self {
        Self { principal, role, means: Means::Exec(Command::new(command, key)) }
    }

    /// A key that the ssh-agent holds.
    pub const fn in_ssh_agent(principal: Principal, role: Role, key: PublicKey) -> Self {
        Self { principal, role, means: Means::Agent(AgentKey { key }) }
    }

    /// Writes a new key file that only its owner can read.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if there is one.
    pub fn write(&self, path: &Path) -> Result<(), KeyFileError> {
        let (secret, exec, ssh_agent) = match &self.means {
            Means::Secret { seed, .. } => (Some(file::encode_seed(seed).to_string()), None, None),
            Means::Exec(command) => (None, Some(command.text().to_owned()), None),
            Means::Agent(_) => (None, None, Some(true)),
        };
        let mut content = RecordFile {
            principal: self.principal.to_string(),
            role: self.role.to_string(),
            key: self.key().to_string(),
            secret,
            exec,
            ssh_agent,
        };
        let written = file::write(path, &content);
        content.secret.take().map(Zeroizing::new);
        written
    }

    /// Who a record names that it signs.
    pub fn author(&self) -> Author {
        Author { key: self.key(), principal: self.principal.clone(), role: self.role }
    }

    /// Whose key it is.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// What its signer acts as.
    pub const fn role(&self) -> Role {
        self.role
    }
}

impl Means {
    fn of_seed(seed: Seed) -> Self {
        Self::Secret { key: SigningKey::from_seed(&seed), seed }
    }
}

impl Signer for RecordKey {
    fn key(&self) -> PublicKey {
        match &self.means {
            Means::Secret { key, .. } => key.key(),
            Means::Exec(command) => command.key(),
            Means::Agent(agent) => agent.key,
        }
    }

    fn sign(&self, preimage: &[u8]) -> Result<Signature, SignError> {
        match &self.means {
            Means::Secret { key, .. } => key.sign(preimage),
            Means::Exec(command) => command.sign(preimage),
            Means::Agent(agent) => agent.sign(preimage),
        }
    }
}

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordKey({} {} {})", self.principal, self.role, self.key())
    }
}
