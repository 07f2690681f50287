//! What a figure is, and how medians are taken.

use std::time::Instant;

use serde_json::json;

/// One measured claim.
pub struct Figure {
    /// What is measured.
    pub figure: &'static str,
    /// The value.
    pub value: f64,
    /// What it is held to.
    pub bar: Bar,
    /// How it was measured, with absolute values of this run.
    pub how: String,
}

/// Which way the bar lies.
pub enum Bar {
    /// The value must not be larger.
    AtMost(f64),
    /// The value must not be smaller.
    AtLeast(f64),
}

impl Figure {
    /// The line to print.
    pub fn to_json(&self) -> String {
        let (bar, holds) = match self.bar {
            Bar::AtMost(bar) => (bar, self.value <= bar),
            Bar::AtLeast(bar) => (bar, self.value >= bar),
        };
        let value = (self.value * 1_000.0).round() / 1_000.0;
        json!({"figure": self.figure, "value": value, "bar": bar, "holds": holds, "how": self.how})
            .to_string()
    }
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The value that so many of a hundred do not exceed.
pub fn percentile(mut values: Vec<f64>, of_hundred: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * of_hundred).div_ceil(100).saturating_sub(1);
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// How long `work` takes, in seconds.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// Medians of two pieces of work in turn, A B A B …, and of their ratio pair by pair: `(A, B, A/B)`, in seconds.
pub fn paired(rounds: usize, mut a: impl FnMut(), mut b: impl FnMut()) -> (f64, f64, f64) {
    a();
    b();
    let pairs: Vec<(f64, f64)> = (0..rounds).map(|_| (seconds(&mut a), seconds(&mut b))).collect();
    (
        median(pairs.iter().map(|(a, _)| *a).collect()),
        median(pairs.iter().map(|(_, b)| *b).collect()),
        median(pairs.iter().map(|(a, b)| a / b).collect()),
    )
}
