//! How long is waited before something that failed is tried again. Pure.

use std::time::Duration;

use crate::limits;

/// How often a delivery is tried, and how long is waited in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// After so many tries it is given up.
    pub tries: u32,
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait: every failure doubles it until then.
    pub most: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self { tries: limits::TRIES, first: limits::BACK_OFF.0, most: limits::BACK_OFF.1 }
    }
}

impl Retries {
    /// The wait after so many failures on end, one or more: its second half is multiplied by `random`, as a part of all that a
    /// `u64` can be, so that those who failed together do not come again together.
    pub fn wait(&self, failures: u32, random: u64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let half = self.first.saturating_mul(doubled).min(self.most) / 2;
        half.saturating_add(half.mul_f64(random as f64 / u64::MAX as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_half_of_each_is_chance() {
        let retries = Retries { tries: 9, first: Duration::from_secs(2), most: Duration::from_secs(60) };
        let waits = |random| [1, 2, 3, 5, 6, 32, 33, u32::MAX].map(|n| retries.wait(n, random).as_secs());
        assert_eq!(waits(0), [1, 2, 4, 16, 30, 30, 30, 30]);
        assert_eq!(waits(u64::MAX), [2, 4, 8, 32, 60, 60, 60, 60]);
        assert_eq!(retries.wait(1, u64::MAX / 2).as_millis(), 1500);
    }

    #[test]
    fn no_wait_overflows() {
        let retries = Retries { tries: 9, first: Duration::MAX, most: Duration::MAX };
        assert!(retries.wait(u32::MAX, 0) >= Duration::MAX / 3);
    }
}
