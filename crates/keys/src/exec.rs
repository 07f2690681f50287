//! Keys behind a command: a hardware token, an agent, a remote signer.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use counterfoil_receipt::{PublicKey, SignError, Signature};

/// How long a command may take: a person may have to touch a token.
pub const EXEC_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of output that are read: 86 characters of base64url, a line feed, and one more to see that it is too much.
const OUTPUT_BYTES: u64 = 88;

/// A command that signs, run as `sh -c COMMAND`.
pub(crate) struct Command {
    command: String,
    key: PublicKey,
    timeout: Duration,
}

impl Command {
    pub(crate) fn new(command: String, key: PublicKey) -> Self {
        Self { command, key, timeout: EXEC_TIMEOUT }
    }

    pub(crate) const fn key(&self) -> PublicKey {
        self.key
    }

    pub(crate) fn text(&self) -> &str {
        &self.command
    }

    /// Runs the command: the preimage on its standard input, 64 bytes or their base64url on its standard output. What it
    /// writes to standard error is left to the person to see.
    pub(crate) fn sign(&self, preimage: &[u8]) -> Result<Signature, SignError> {
        let failed = |why: String| SignError(format!("`{}`: {why}", self.command));
        let output = self.run(preimage).map_err(failed)?;
        let bytes = signature_bytes(&output).ok_or_else(|| {
            failed(format!("its output is neither 64 bytes nor base64url of them ({} bytes)", output.len()))
        })?;
        crate::verified(&self.key, preimage, bytes).map_err(failed)
    }

    fn run(&self, preimage: &[u8]) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + self.timeout;
        let mut child = std::process::Command::new("sh")
            .args(["-c", &self.command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|io| format!("can't run sh: {io}"))?;
        let output = exchange(&mut child, preimage);
        let left = || deadline.saturating_duration_since(Instant::now());
        let output = output.recv_timeout(left());
        let ended = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) if !left().is_zero() => std::thread::sleep(Duration::from_millis(1)),
                Ok(None) | Err(_) => break None,
            }
        };
        let Some(status) = ended else {
            // Best effort: the command is given up on either way.
            let _ = child.kill().and_then(|()| child.wait().map(drop));
            return Err(format!("gave no signature within {} s", self.timeout.as_secs()));
        };
        if !status.success() {
            return Err(format!("ended with {status}"));
        }
        output.map_err(|_| "ended, but something that it started keeps its output open".to_owned())
    }
}

/// Feeds the command and reads it on threads of their own, so that neither side waits for the other's pipe.
fn exchange(child: &mut Child, preimage: &[u8]) -> mpsc::Receiver<Vec<u8>> {
    let (stdin, stdout, preimage) = (child.stdin.take(), child.stdout.take(), preimage.to_vec());
    std::thread::spawn(move || {
        // A command need not read all of its input; what counts is whether its signature verifies.
        stdin.map(|mut stdin| stdin.write_all(&preimage))
    });
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        if let Some(stdout) = stdout
            && stdout.take(OUTPUT_BYTES).read_to_end(&mut output).is_ok()
        {
            // The receiver is gone if the command took too long.
            let _ = send.send(output);
        }
    });
    receive
}

fn signature_bytes(output: &[u8]) -> Option<[u8; 64]> {
    if let Ok(bytes) = output.try_into() {
        return Some(bytes);
    }
    let text = output.strip_suffix(b"\n").unwrap_or(output);
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(all(test, unix))]
mod tests {
    use counterfoil_receipt::{Signer as _, SigningKey};

    use super::*;

    fn command(text: &str) -> Command {
        let mut command = Command::new(text.to_owned(), SigningKey::from_seed(&[7; 32]).key());
        command.timeout = Duration::from_millis(500);
        command
    }

    #[test]
    fn raw_and_base64url_output_are_taken_and_the_preimage_arrives() {
        let signature = SigningKey::from_seed(&[7; 32]).sign(b"said").unwrap();
        let text = BASE64_URL_SAFE_NO_PAD.encode(signature.as_bytes());
        let octal: String = signature.as_bytes().iter().map(|byte| format!("\\{byte:03o}")).collect();
        for output in [format!("printf %s {text}"), format!("echo {text}"), format!("printf '{octal}'")] {
            let script = format!("test \"$(cat)\" = said && {output}");
            assert_eq!(command(&script).sign(b"said").unwrap(), signature, "{script}");
            assert!(command(&script).sign(b"other").is_err());
        }
    }

    #[test]
    fn every_way_to_give_no_signature_says_which() {
        let zeros = "A".repeat(86);
        let cases = [
            ("exit 3".to_owned(), "exit status: 3"),
            ("true".to_owned(), "(0 bytes)"),
            ("head -c 1000 /dev/zero".to_owned(), "(88 bytes)"),
            (format!("echo {zeros}"), "does not verify"),
            (format!("echo {zeros}="), "neither 64 bytes"),
            ("sleep 5".to_owned(), "within 0 s"),
            ("/nonexistent".to_owned(), "exit status: 127"),
        ];
        for (script, expected) in cases {
            let fault = command(&script).sign(b"said").unwrap_err().0;
            assert!(fault.contains(expected), "{script}: {fault}");
        }
    }

    #[test]
    fn a_preimage_larger_than_a_pipe_blocks_nobody() {
        let fault = command("sleep 0.05; true").sign(&vec![0; 1 << 20]).unwrap_err().0;
        assert!(fault.contains("(0 bytes)"), "{fault}");
    }
}
