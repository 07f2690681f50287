//! A way to tell somebody: what a channel is given, and what it answers.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::UnixMillis;
use crate::limits;
use crate::message::{ChannelName, Message};
use crate::text;

/// A way to tell somebody. A new one is one implementation of this.
pub trait Channel: Send {
    /// Delivers a message, within a time that the channel bounds itself. It may be called again with the same delivery:
    /// after a failure, and after a crash even if it succeeded.
    ///
    /// # Errors
    /// [`Failure`].
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure>;
}

/// One message on its way to one channel.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The same at every try: who receives it tells by it what came before.
    pub id: DeliveryId,
    /// What is told.
    pub message: &'a Message,
    /// The time.
    pub at: UnixMillis,
    /// How often it was tried and failed before.
    pub failures: u32,
}

/// What identifies one message on one channel: it is derived from the two, so that it stays the same whatever happens to the
/// outbox. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId([u8; 16]);

impl DeliveryId {
    /// Of the message `id` on this channel.
    pub fn of(channel: &ChannelName, id: &str) -> Self {
        // Neither of the two holds a line feed.
        let digest = Sha256::digest(format!("counterfoil-delivery/1\n{channel}\n{id}"));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A delivery did not happen, as far as the channel knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another try may succeed.
    #[error("{why}")]
    Retry {
        /// Why, for the operator: one line.
        why: String,
        /// How long the far side asks to be left alone.
        after: Option<Duration>,
    },
    /// No try will: the far side will not have this message.
    #[error("{why}")]
    Never {
        /// Why, for the operator: one line.
        why: String,
    },
}

impl Failure {
    /// A failure after which another try may succeed.
    pub fn retry(why: &str) -> Self {
        Self::Retry { why: text::line(why, limits::WHY_BYTES), after: None }
    }

    /// A failure for good.
    pub fn never(why: &str) -> Self {
        Self::Never { why: text::line(why, limits::WHY_BYTES) }
    }
}
