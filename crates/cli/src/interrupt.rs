//! HUP, INT and TERM, noted instead of obeyed, while something runs that must not be abandoned.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use counterfoil_gate::{Attempt, Done, Effect, Refusal};
use counterfoil_receipt::Action;
use rustix::process::Signal;

/// What asks a process to end.
const SIGNALS: [Signal; 3] = [Signal::HUP, Signal::INT, Signal::TERM];

/// Which of [`SIGNALS`] came and were not taken.
#[derive(Clone, Debug, Default)]
pub struct Interrupt([Arc<AtomicBool>; SIGNALS.len()]);

/// An effect that a signal does not abandon.
///
/// From the start of the effect on, the signals no longer end this process: they are noted for the effect, and what became
/// of it is logged. Before that, a signal ends this process with nothing run.
pub struct Uninterrupted<E> {
    /// Where signals are noted.
    pub interrupt: Interrupt,
    /// The effect.
    pub effect: E,
}

impl Interrupt {
    /// Notes signals from here on, until this process ends; those that it was started to ignore, as by `nohup`, stay so.
    pub fn watch(&self) -> io::Result<()> {
        let ignored = ignored();
        for (signal, came) in SIGNALS.iter().zip(&self.0) {
            if ignored >> (signal.as_raw() - 1) & 1 == 0 {
                signal_hook::flag::register(signal.as_raw(), Arc::clone(came))?;
            }
        }
        Ok(())
    }

    /// Whether one came that nobody took.
    pub fn happened(&self) -> bool {
        self.0.iter().any(|came| came.load(Ordering::Relaxed))
    }

    /// Takes those that came.
    pub fn take(&self) -> Vec<Signal> {
        let came = SIGNALS.into_iter().zip(&self.0);
        came.filter(|(_, came)| came.swap(false, Ordering::Relaxed)).map(|(signal, _)| signal).collect()
    }
}

/// The signals that this process ignores, one bit each from signal 1 on, where the system tells: on Linux.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

impl<E: Effect> Effect for Uninterrupted<E> {
    fn run(&mut self, action: &Action, attempt: &Attempt) -> Done {
        match self.interrupt.watch() {
            Ok(()) => self.effect.run(action, attempt),
            Err(error) => Done::not_started(format!("signals can't be held back: {error}")),
        }
    }

    fn check(&mut self, action: &Action) -> Result<(), Refusal> {
        self.effect.check(action)
    }

    fn is_idempotent(&self) -> bool {
        self.effect.is_idempotent()
    }

    fn previews(&self) -> bool {
        self.effect.previews()
    }
}
