//! Runs a workflow in a process of its own, and answers its calls: the other side of `interpreter.rs`.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    interpreter::{Given, Line},
    stop::{REFUSED, Stop},
};

/// Bytes of a workflow's source: pages of text.
const SOURCE: usize = 64 * 1_024;
/// Bytes of a line that it says: no record holds as much.
const LINE: u64 = 256 * 1_024;

/// The process. It ends when this goes away.
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// Runs a workflow to its end, or until `answer` says to stop; that is asked for each call of a capability, by name and arguments. Gives
/// what the workflow returns.
///
/// # Errors
/// What `answer` stopped it with, or `workflow-failed`.
pub fn run(
    source: &str,
    capabilities: &[&str],
    answer: &mut dyn FnMut(&str, Value) -> Result<Value, Stop>,
) -> Result<Value, Stop> {
    if source.len() > SOURCE {
        return Err(failed(&format!("its source is longer than {SOURCE} bytes")));
    }
    let mut process = Process::start().map_err(|error| failed(&error))?;
    let capabilities = capabilities.iter().map(ToString::to_string).collect();
    process.tell(&Given { capabilities, source: source.to_owned() }).map_err(|error| failed(&error))?;
    loop {
        match process.hear()? {
            Line::Call(name, arguments) => {
                let answer = answer(&name, arguments)?;
                process.tell(&answer).map_err(|error| failed(&error))?;
            }
            Line::Returned(value) => return Ok(value),
            Line::Failed(why) => return Err(failed(&why)),
        }
    }
}

impl Process {
    /// Starts it with nothing of this process but two pipes.
    fn start() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("interpreter").env_clear().current_dir("/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(to), Some(from)) => Ok(Self { child, to, from: BufReader::new(from) }),
            _ => Err(io::Error::other("it has no pipes")),
        }
    }

    fn tell(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, line)?;
        self.to.write_all(b"\n")?;
        self.to.flush()
    }

    fn hear(&mut self) -> Result<Line, Stop> {
        let mut line = Vec::new();
        let read = self.from.by_ref().take(LINE).read_until(b'\n', &mut line);
        read.map_err(|error| failed(&error))?;
        if line.last() == Some(&b'\n') {
            return serde_json::from_slice(&line).map_err(|error| failed(&error));
        }
        let _ = self.child.kill();
        let why = match self.child.wait() {
            Ok(status) => format!("it used more than it may, or said too much ({status})"),
            Err(error) => error.to_string(),
        };
        Err(failed(&why))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(why: &dyn std::fmt::Display) -> Stop {
    Stop::new(REFUSED, "workflow-failed", why)
}
