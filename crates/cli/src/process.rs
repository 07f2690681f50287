//! Running programs: input given, output bounded, time limited, and nothing left behind.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

/// How often a running program is looked at.
const GLANCE: Duration = Duration::from_millis(2);
/// How long the output of a program that ended may stay open, held by something that it started.
const GRACE: Duration = Duration::from_millis(500);

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes kept of each of its two outputs; the rest is read and dropped.
    pub output: usize,
    /// How long it may run.
    pub time: Duration,
}

/// A program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Its standard output, as far as it was kept.
    pub stdout: Vec<u8>,
    /// Its standard error, as far as it was kept.
    pub stderr: Vec<u8>,
}

/// Why there is no [`Ended`].
#[derive(Debug)]
pub enum Stopped {
    /// It could not be started.
    NotStarted(io::Error),
    /// It took longer than it may, and was ended with all that it had started.
    TimedOut,
    /// The caller gave up, and it was ended with all that it had started.
    Interrupted,
}

/// Runs a program in a process group of its own, so that all of it can be ended; `give_up` is asked while it runs.
pub fn run(
    command: &mut Command,
    input: &[u8],
    bounds: Bounds,
    give_up: &dyn Fn() -> bool,
) -> Result<Ended, Stopped> {
    run_in(None, command, input, bounds, give_up)
}

/// The same in a process group that is there already, and that is ended with the program where it has to be.
pub fn run_in(
    group: Option<Pid>,
    command: &mut Command,
    input: &[u8],
    bounds: Bounds,
    give_up: &dyn Fn() -> bool,
) -> Result<Ended, Stopped> {
    command.process_group(group.map_or(0, Pid::as_raw_pid));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Stopped::NotStarted)?;
    let group = group.unwrap_or_else(|| Pid::from_child(&child));
    feed(&mut child, input);
    let stdout = keep(child.stdout.take(), bounds.output);
    let stderr = keep(child.stderr.take(), bounds.output);
    let status = watch(&mut child, bounds.time, give_up);
    if status.is_err() {
        end_group(group, &mut child);
    }
    let mut collect = |output: &Receiver<Vec<u8>>| {
        output.recv_timeout(GRACE).unwrap_or_else(|_| {
            // Something that the program started holds its output open.
            end_group(group, &mut child);
            output.recv_timeout(GRACE).unwrap_or_default()
        })
    };
    let (stdout, stderr) = (collect(&stdout), collect(&stderr));
    Ok(Ended { status: status?, stdout, stderr })
}

/// Waits until a program ends.
pub fn watch(child: &mut Child, time: Duration, give_up: &dyn Fn() -> bool) -> Result<ExitStatus, Stopped> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(status) = child.try_wait().map_err(Stopped::NotStarted)? {
            return Ok(status);
        }
        if give_up() {
            return Err(Stopped::Interrupted);
        }
        if Instant::now() >= deadline {
            return Err(Stopped::TimedOut);
        }
        thread::sleep(GLANCE);
    }
}

/// Feeds the program on a thread of its own, so that neither side waits for the other's pipe. It need not read all of it.
fn feed(child: &mut Child, input: &[u8]) {
    let (stdin, input) = (child.stdin.take(), input.to_vec());
    thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
}

/// Reads an output to its end and keeps the first `most` bytes.
fn keep(output: Option<impl Read + Send + 'static>, most: usize) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut output) = output
            && output.by_ref().take(most as u64).read_to_end(&mut kept).is_ok()
        {
            let _ = io::copy(&mut output, &mut io::sink());
        }
        // Nobody waits any more if the program was given up on.
        let _ = send.send(kept);
    });
    receive
}

fn end_group(group: Pid, child: &mut Child) {
    // Best effort: whatever has ended already can't be ended again.
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { output: 8, time: Duration::from_secs(5) };

    fn sh(script: &str, bounds: Bounds, give_up: &dyn Fn() -> bool) -> Result<Ended, Stopped> {
        run(Command::new("sh").args(["-c", script]), b"input", bounds, give_up)
    }

    #[test]
    fn output_is_kept_up_to_the_limit_and_drained_beyond_it() {
        let ended =
            sh("cat; head -c 300000 /dev/zero | tr '\\0' y; echo aside >&2; exit 3", BOUNDS, &|| false)
                .unwrap();
        assert_eq!(
            (ended.status.code(), &ended.stdout[..], &ended.stderr[..]),
            (Some(3), &b"inputyyy"[..], &b"aside\n"[..])
        );
    }

    #[test]
    fn what_takes_too_long_is_ended_with_all_that_it_started() {
        let began = Instant::now();
        let brief = Bounds { time: Duration::from_millis(100), ..BOUNDS };
        assert!(matches!(sh("sleep 30 & sleep 30", brief, &|| false), Err(Stopped::TimedOut)));
        assert!(matches!(sh("sleep 30", BOUNDS, &|| true), Err(Stopped::Interrupted)));
        // Ends by itself, and leaves something behind that holds its output.
        assert!(sh("sleep 30 & echo on", BOUNDS, &|| false).unwrap().status.success());
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
