//! How hard tests try: one setting for all of them.

/// The value of `COUNTERFOIL_EFFORT`: a factor for how much is tried (1 if it is not set), or `full` for all there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// This many times as much as usual.
    Times(usize),
    /// Everything.
    Full,
}

impl Effort {
    /// Reads the setting.
    ///
    /// # Panics
    /// On anything but a number above 0 or `full`: a misspelled setting must not pass for less.
    pub fn from_env() -> Self {
        match std::env::var("COUNTERFOIL_EFFORT").as_deref() {
            Err(_) => Self::Times(1),
            Ok("full") => Self::Full,
            Ok(number) => {
                let times = number.parse().ok().filter(|times| *times > 0);
                Self::Times(times.expect("COUNTERFOIL_EFFORT is a number above 0, or full"))
            }
        }
    }

    /// How many of `all` are tried where `usual` are by default.
    pub fn of(self, usual: usize, all: usize) -> usize {
        match self {
            Self::Times(times) => usual.saturating_mul(times).min(all),
            Self::Full => all,
        }
    }
}
