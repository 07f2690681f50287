//! What witnesses have cosigned last, asked before a log is signed on.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use counterfoil_tlog::{Policy, PosixSeconds, UnverifiedNote, VerifierKey};

use crate::{
    exchange::PushError,
    feeder::{FeederError, peers},
    http::system_clock,
    limits,
    round::Target,
};

/// An address, and whether the witness there knows of nothing more than the log has.
pub type Said = (String, Result<(), PushError>);

/// Shows every witness of a policy the latest checkpoint of a log, all at a time, and gives for each address whether that is all it knows
/// of it: [`PushError::Alarm`] says that it has cosigned a larger tree, or another one of this size; any other error, that it did not
/// say. A smaller tree that it has cosigned is compared only when the next checkpoint is proven to it.
///
/// # Errors
/// [`FeederError`] if the policy or the checkpoint can't be used.
pub fn ask_last(
    policy: &Policy,
    log_keys: &[VerifierKey],
    latest: &UnverifiedNote,
    deadline: Duration,
) -> Result<Vec<Said>, FeederError> {
    let target = Arc::new(Target::new(latest, log_keys)?);
    let not_after = PosixSeconds(system_clock()().0.saturating_add(limits::CLOCK_AHEAD));
    // A thread that waits for an answer ends by itself, later.
    let asked = peers(policy, deadline)?.into_iter().map(|(peer, _)| {
        let (url, target) = (peer.url.clone(), Arc::clone(&target));
        let (sender, answer) = mpsc::channel();
        let ask = move || drop(sender.send(peer.ask_last(&target, not_after)));
        let thread = thread::Builder::new().name("witness-last".to_owned()).spawn(ask);
        thread.map(|_| (url, answer)).map_err(FeederError::Thread)
    });
    let asked: Vec<_> = asked.collect::<Result<_, _>>()?;
    let until = Instant::now() + deadline;
    let late = || Err(PushError::NoAnswer(format!("none in {} s", deadline.as_secs())));
    let said = asked.into_iter().map(|(url, answer)| {
        let left = until.saturating_duration_since(Instant::now());
        (url, answer.recv_timeout(left).unwrap_or_else(|_| late()))
    });
    Ok(said.collect())
}
