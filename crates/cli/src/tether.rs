//! The tether: what the gate runs gets the gate's signals, and does not outlive it.
//!
//! A process that is killed can't end what it had started. So a process of its own, the tether, leads the process group that
//! a command joins, and holds one end of a pipe whose other end is the gate's. When the pipe closes without a word, the gate
//! is gone, and the tether ends the whole group, itself included. What leaves the group is out of its reach.
//!
//! The group's number is the tether's: while it lives, nobody else can get it, so that no signal meets a stranger.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use counterfoil_gate::{Attempt, Done, Effect, command::RunCommand};
use counterfoil_receipt::Action;
use rustix::process::{Pid, Signal};

use crate::{
    error::{Failure, Outcome},
    interrupt::Interrupt,
    process::{self, Bounds, Ended, Stopped},
};

/// What the tether says once it holds, and what the gate says when it lets go.
const WORD: &[u8] = b".";
/// How often it is asked whether a signal came.
const GLANCE: Duration = Duration::from_millis(20);

/// A tether, seen from the gate. When this goes away, what is left of the group is ended, unless it was let go.
pub struct Tether(Child);

/// Runs a command on a tether, and passes signals on to it.
pub struct Tethered {
    /// The tether.
    pub tether: Tether,
    /// The signals.
    pub interrupt: Interrupt,
    /// Whether the command's output is written to this process's own standard streams, too.
    pub pass_on: bool,
    /// Whether the command changes nothing where it is told that it is a preview.
    pub previews: bool,
}

impl Tether {
    /// Starts one; it holds when this returns.
    pub fn start() -> Outcome<Self> {
        Self::spawn().map_err(|error| {
            let message =
                format!("the process that would end the command with the gate can't be started: {error}");
            Failure::new(
                "tether-not-started",
                message,
                "nothing was logged or run; call this program by its path",
            )
        })
    }

    fn spawn() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own also keeps a terminal's Ctrl-C away: the gate passes it on, once.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(["gate", "tether"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut tether = Self(command.spawn()?);
        let mut said = [0; WORD.len()];
        tether.0.stdout.take().map_or(Ok(()), |mut stdout| stdout.read_exact(&mut said))?;
        Ok(tether)
    }

    /// The process group.
    pub fn group(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    /// Lets what is left of the group live: the command has ended, and what it left behind is its own affair.
    fn let_go(&mut self) {
        // A tether that is gone holds nobody.
        let _ = self.0.stdin.take().map(|mut stdin| stdin.write_all(WORD));
    }
}

impl Drop for Tether {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the tether does: waits until the gate lets go or is gone.
pub fn hold() -> Outcome {
    if rustix::process::getpgrp() != rustix::process::getpid() {
        return Err(Failure::new("usage", "`gate tether` is for the gate's own use", ""));
    }
    // What is passed on to the group comes here, too.
    let unwatched =
        |error| Failure::new("signals", format!("signals can't be held back: {error}"), "try again");
    Interrupt::default().watch().map_err(unwatched)?;
    let mut said = Vec::new();
    let ready = io::stdout().write_all(WORD).and_then(|()| io::stdout().flush());
    let heard = ready.and_then(|()| io::stdin().take(1).read_to_end(&mut said));
    if heard.is_err() || said != WORD {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    Ok(0)
}

impl Effect for Tethered {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        let group = self.tether.group();
        let interrupt = &self.interrupt;
        let (mut done, passed_on) = thread::scope(|scope| {
            let (running, command) = mpsc::channel();
            let passing = scope.spawn(move || pass_on(interrupt, group, &command));
            let mut started = || {
                let _ = running.send(());
            };
            let group = Some(group.as_raw_pid());
            let mut command = RunCommand {
                pass_on: self.pass_on,
                previews: self.previews,
                group,
                started: Some(&mut started),
            };
            let done = command.run(action, attempt);
            drop(running);
            (done, passing.join().unwrap_or_default())
        });
        self.tether.let_go();
        if !passed_on.is_empty() {
            let told = format!("the gate passed {} on", passed_on.join(", "));
            done.detail = Some(done.detail.map_or(told.clone(), |how| format!("{how}; {told}")));
        }
        done
    }

    fn previews(&self) -> bool {
        self.previews
    }
}

/// Passes signals on to a group from the time that the command runs until it has ended; says which.
///
/// One that came earlier waits for the command: in the group there is nobody yet to hear it.
fn pass_on(interrupt: &Interrupt, group: Pid, command: &Receiver<()>) -> Vec<&'static str> {
    let mut passed_on = Vec::new();
    if command.recv().is_err() {
        return passed_on;
    }
    while command.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
        for signal in interrupt.take() {
            // Whoever was stopped, because it asked a terminal that is not its own, has to wake up to hear it.
            let sent = rustix::process::kill_process_group(group, signal)
                .and_then(|()| rustix::process::kill_process_group(group, Signal::CONT));
            if sent.is_ok() {
                passed_on.extend(signal_hook::low_level::signal_name(signal.as_raw()));
            }
        }
    }
    passed_on
}

/// Runs a check on a tether of its own; a signal ends it.
pub fn run_check(command: &mut Command, bounds: Bounds, interrupt: &Interrupt) -> Result<Ended, Stopped> {
    let tether = Tether::spawn().map_err(Stopped::NotStarted)?;
    process::run_in(Some(tether.group()), command, b"", bounds, &|| interrupt.happened())
}
