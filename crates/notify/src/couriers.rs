//! The threads that deliver: one for each channel, so that a slow one holds no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use crate::error::OutboxError;
use crate::limits;
use crate::message::ChannelName;
use crate::outbox::{Outbox, Step};

/// Deliver what is in an outbox, as long as they live. Dropped, they wait for the deliveries in flight.
///
/// If the outbox stops because its disk fails they end: [`Outbox::status`] says so.
pub struct Couriers {
    outbox: Arc<Outbox>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Couriers {
    /// Starts a thread for each channel.
    ///
    /// # Errors
    /// [`OutboxError::Thread`].
    pub fn start(outbox: Arc<Outbox>) -> Result<Self, OutboxError> {
        let mut couriers = Self { outbox, stopping: Arc::default(), threads: Vec::new() };
        for name in couriers.outbox.names() {
            let (outbox, stopping) = (Arc::clone(&couriers.outbox), Arc::clone(&couriers.stopping));
            let thread = Builder::new().name(format!("notify-{name}"));
            let thread = thread.spawn(move || run(&outbox, &name, &stopping)).map_err(OutboxError::Thread)?;
            couriers.threads.push(thread);
        }
        Ok(couriers)
    }
}

impl Drop for Couriers {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.outbox.wake();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One channel, until the couriers stop or the disk fails.
fn run(outbox: &Outbox, name: &ChannelName, stopping: &AtomicBool) {
    // Before it is looked whether to stop: whoever says so makes a change afterwards.
    let mut changes = outbox.changes();
    while !stopping.load(Ordering::SeqCst) {
        match outbox.deliver_next(name) {
            Ok(Step::Done) => {}
            Ok(Step::Wait(time)) => outbox.wait(changes, time.unwrap_or(limits::LOOK).min(limits::LOOK)),
            // It is in the outbox's status.
            Err(_) => return,
        }
        changes = outbox.changes();
    }
}
