//! The one place that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use counterfoil_receipt::field::Millis;

use crate::error::ClientError;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`ClientError::Clock`] if the time can't be told; nothing is signed or judged then.
    fn now(&self) -> Result<Millis, ClientError>;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Result<Millis, ClientError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| ClientError::Clock)?;
        u64::try_from(since.as_millis()).ok().and_then(Millis::new).ok_or(ClientError::Clock)
    }
}
