//! Where the time and the randomness of an outbox come from; nothing else here looks at a clock or draws.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The latest time there is: 2^53 − 1, the largest integer that every reader of JSON keeps.
    pub const LATEST: Self = Self((1 << 53) - 1);

    /// This long after; [`Self::LATEST`] at most.
    pub fn after(self, time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis)).min(Self::LATEST)
    }

    /// How long it is from `earlier` until this; nothing if it was before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// Tells the time.
pub type Clock = Box<dyn Fn() -> UnixMillis + Send + Sync>;

/// Draws a number, for the jitter between tries.
pub type Random = Box<dyn Fn() -> u64 + Send + Sync>;

/// The time of this machine.
pub fn system_clock() -> Clock {
    Box::new(|| {
        // Before 1970 there is no time, and at 0 nothing is too late.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::default().after(since)
    })
}

/// The randomness of this machine.
pub fn system_random() -> Random {
    // Jitter is no secret: without any, every wait is the longest it can be.
    Box::new(|| counterfoil_keys::random().map_or(u64::MAX, u64::from_le_bytes))
}
