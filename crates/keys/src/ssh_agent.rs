//! Keys in an ssh-agent: asked over the socket that `SSH_AUTH_SOCK` names, by the messages of draft-ietf-sshm-ssh-agent.
//!
//! Two messages are all that is needed; the crates that speak the whole protocol bring every key algorithm of SSH with them. What
//! is signed can be nothing that SSH itself would take: it begins with the letters of `counterfoil/v1/record`, where SSH puts the
//! length of a session id.

use counterfoil_receipt::{PublicKey, SignError, Signature};

/// The name of Ed25519 in SSH (RFC 8709).
const ED25519: &[u8] = b"ssh-ed25519";

/// A key that an agent holds.
pub(crate) struct AgentKey {
    pub key: PublicKey,
}

impl AgentKey {
    pub(crate) fn sign(&self, preimage: &[u8]) -> Result<Signature, SignError> {
        let failed = |why: String| SignError(format!("ssh-agent: {why}"));
        let answer = socket::ask(&sign_request(&self.key, preimage)).map_err(failed)?;
        let bytes = signature(&answer).map_err(failed)?;
        crate::verified(&self.key, preimage, bytes).map_err(failed)
    }
}

/// Reads the Ed25519 key of a line of an OpenSSH public key file, such as `~/.ssh/id_ed25519.pub`.
///
/// ```
/// let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPIpvRqOo6AQS2H7I44tNYMlWeOHnMTLqyXFz9b1tXQe ana@laptop";
/// let key = counterfoil_keys::from_openssh(line).unwrap();
/// assert!(key.to_string().starts_with("ed25519:"));
/// assert!(counterfoil_keys::from_openssh("ssh-rsa AAAA").is_none());
/// ```
pub fn from_openssh(line: &str) -> Option<PublicKey> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let blob = line.strip_prefix("ssh-ed25519 ")?.split_whitespace().next()?;
    let blob = BASE64_STANDARD.decode(blob).ok()?;
    let mut blob = blob.as_slice();
    let (name, key) = (string(&mut blob)?, string(&mut blob)?);
    if name != ED25519 || !blob.is_empty() {
        return None;
    }
    let key = PublicKey::ed25519(key.try_into().ok()?);
    // A key that no record could name is none.
    PublicKey::parse(&key.to_string()).ok()
}

/// SSH_AGENTC_SIGN_REQUEST: the key, what to sign, no flags.
fn sign_request(key: &PublicKey, preimage: &[u8]) -> Vec<u8> {
    let mut blob = Vec::new();
    put(&mut blob, ED25519);
    put(&mut blob, key.material());
    let mut request = vec![13];
    put(&mut request, &blob);
    put(&mut request, preimage);
    request.extend([0; 4]);
    request
}

/// What SSH_AGENT_SIGN_RESPONSE says.
fn signature(answer: &[u8]) -> Result<[u8; 64], String> {
    let Some((14, mut said)) = answer.split_first().map(|(kind, said)| (*kind, said)) else {
        return Err(
            "it holds no such key, or does not sign with it now (`ssh-add -l` lists its keys)".to_owned()
        );
    };
    let signature = string(&mut said).and_then(|mut signature| {
        let (name, bytes) = (string(&mut signature)?, string(&mut signature)?);
        bytes.try_into().ok().filter(|_| name == ED25519 && signature.is_empty())
    });
    signature.filter(|_| said.is_empty()).ok_or_else(|| "its answer is no Ed25519 signature".to_owned())
}

/// Adds a string: its length in four bytes, then its bytes.
fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    to.extend(length.to_be_bytes());
    to.extend(bytes);
}

/// Takes a string off the front.
fn string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(string)
}

#[cfg(unix)]
mod socket {
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    use crate::EXEC_TIMEOUT;

    /// Bytes of an answer: a signature of Ed25519 takes 88.
    const ANSWER_BYTES: u32 = 1_024;

    /// Sends a message and waits for the answer; the agent may ask a person first.
    pub(super) fn ask(request: &[u8]) -> Result<Vec<u8>, String> {
        let path = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
        let path = path.ok_or("SSH_AUTH_SOCK is not set: no agent runs here")?;
        exchange(&path, request).map_err(|io| match io.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
                format!("gave no signature within {} s", EXEC_TIMEOUT.as_secs())
            }
            _ => format!("{}: {io}", std::path::Path::new(&path).display()),
        })
    }

    fn exchange(path: &std::ffi::OsStr, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(EXEC_TIMEOUT))?;
        stream.set_write_timeout(Some(EXEC_TIMEOUT))?;
        let mut message = Vec::new();
        super::put(&mut message, request);
        stream.write_all(&message)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES {
            return Err(std::io::Error::other(format!(
                "an answer of {length} bytes is none to a request to sign"
            )));
        }
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

#[cfg(not(unix))]
mod socket {
    pub(super) fn ask(_: &[u8]) -> Result<Vec<u8>, String> {
        Err("agents are asked over Unix sockets, which this system has none of: use `exec`".to_owned())
    }
}
