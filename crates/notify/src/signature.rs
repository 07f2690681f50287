//! Verifying signed requests, for whoever receives them: of this crate's webhooks, or of Slack.
//!
//! A request counts if its signature is by a secret that is known, if its timestamp is near, and if it did not come before
//! ([`Seen`]): the first two make replays impossible after a while, the third at once.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::clock::UnixMillis;
use crate::limits;
use crate::secret::{Secret, from_hex, to_hex};

/// A webhook as it came in: the values of its headers, and its body, byte by byte.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `Counterfoil-Delivery`.
    pub delivery: &'a str,
    /// `Counterfoil-Timestamp`.
    pub timestamp: &'a str,
    /// `Counterfoil-Signature`.
    pub signature: &'a str,
    /// The body.
    pub body: &'a [u8],
}

/// A request whose signature and timestamp are right. It may have come before: [`Seen::note`] tells.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The same for every copy of it.
    key: [u8; 32],
    /// In seconds: it does not verify after this time.
    until: u64,
}

/// Why a request must not be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotVerified {
    /// A header is not as it is documented.
    #[error("the header {header} is not as documented")]
    Malformed {
        /// Which.
        header: &'static str,
    },
    /// The body is too large to be one.
    #[error("the body has {bytes} bytes: {max} are allowed", max = limits::SIGNED_BYTES)]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// No signature is by a known secret over this timestamp, delivery and body.
    #[error("no signature is by a known secret")]
    Signature,
    /// It is signed, but old, or one of the two clocks is wrong.
    #[error("the timestamp {timestamp} is {by} seconds from the clock here, more than {tolerance}")]
    Stale {
        /// What it says.
        timestamp: u64,
        /// Its distance from the time.
        by: u64,
        /// In seconds.
        tolerance: u64,
    },
}

/// Verifies a webhook at the time `now`. Of several secrets, while they are rotated, one has to match.
///
/// The `tolerance` is how far the timestamp may be from `now`, before or after; [`limits::TOLERANCE`] suits.
///
/// # Errors
/// [`NotVerified`].
pub fn verify(
    secrets: &[Secret],
    request: &SignedRequest<'_>,
    now: UnixMillis,
    tolerance: Duration,
) -> Result<Verified, NotVerified> {
    let SignedRequest { delivery, timestamp, signature, body } = *request;
    let is_id = |id: &str| id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_id(delivery) {
        return Err(NotVerified::Malformed { header: "Counterfoil-Delivery" });
    }
    let seconds =
        parse_seconds(timestamp).ok_or(NotVerified::Malformed { header: "Counterfoil-Timestamp" })?;
    let tags: Option<Vec<[u8; 32]>> =
        signature.split(", ").map(|part| part.strip_prefix("v1=").and_then(from_hex)).collect();
    let tags = tags
        .filter(|tags| tags.len() <= limits::SIGNATURES)
        .ok_or(NotVerified::Malformed { header: "Counterfoil-Signature" })?;
    check_length(body)?;
    let parts = signed_parts(timestamp, delivery, body);
    // All of them are compared, whichever matches.
    let matching = tags.iter().flat_map(|tag| secrets.iter().map(|secret| secret.verifies(&parts, tag)));
    if !matching.fold(false, |any, one| any | one) {
        return Err(NotVerified::Signature);
    }
    check_time(seconds, now, tolerance)?;
    // A delivery that is tried again has another timestamp, and is the same one.
    let key = Sha256::digest(delivery).into();
    Ok(Verified { key, until: seconds.saturating_add(tolerance.as_secs()) })
}

/// Verifies a request by Slack's published scheme, `v0`: `timestamp` and `signature` are the values of
/// `X-Slack-Request-Timestamp` and `X-Slack-Signature`.
///
/// # Errors
/// [`NotVerified`].
pub fn verify_slack(
    secret: &Secret,
    timestamp: &str,
    signature: &str,
    body: &[u8],
    now: UnixMillis,
    tolerance: Duration,
) -> Result<Verified, NotVerified> {
    let seconds =
        parse_seconds(timestamp).ok_or(NotVerified::Malformed { header: "X-Slack-Request-Timestamp" })?;
    let tag = signature
        .strip_prefix("v0=")
        .and_then(from_hex)
        .ok_or(NotVerified::Malformed { header: "X-Slack-Signature" })?;
    check_length(body)?;
    if !secret.verifies(&slack_parts(timestamp, body), &tag) {
        return Err(NotVerified::Signature);
    }
    check_time(seconds, now, tolerance)?;
    Ok(Verified { key: tag, until: seconds.saturating_add(tolerance.as_secs()) })
}

/// The value of `Counterfoil-Signature`: one signature for each secret.
pub(crate) fn sign(secrets: &[Secret], timestamp: &str, delivery: &str, body: &[u8]) -> String {
    let parts = signed_parts(timestamp, delivery, body);
    let signatures: Vec<String> =
        secrets.iter().map(|secret| format!("v1={}", to_hex(&secret.tag(&parts)))).collect();
    signatures.join(", ")
}

/// The value of `X-Slack-Signature`.
pub(crate) fn sign_slack(secret: &Secret, timestamp: &str, body: &[u8]) -> String {
    format!("v0={}", to_hex(&secret.tag(&slack_parts(timestamp, body))))
}

/// `timestamp.delivery.body`: the first two hold no dot, so there is one way to take it apart.
fn signed_parts<'a>(timestamp: &'a str, delivery: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [timestamp.as_bytes(), b".", delivery.as_bytes(), b".", body]
}

/// `v0:timestamp:body`.
fn slack_parts<'a>(timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 4] {
    [b"v0:", timestamp.as_bytes(), b":", body]
}

/// Digits, without a sign or a zero before them.
fn parse_seconds(text: &str) -> Option<u64> {
    let seconds: u64 = text.parse().ok()?;
    (seconds.to_string() == text).then_some(seconds)
}

fn check_length(body: &[u8]) -> Result<(), NotVerified> {
    let bytes = body.len();
    if bytes <= limits::SIGNED_BYTES { Ok(()) } else { Err(NotVerified::TooLarge { bytes }) }
}

fn check_time(timestamp: u64, now: UnixMillis, tolerance: Duration) -> Result<(), NotVerified> {
    let (by, tolerance) = (timestamp.abs_diff(now.seconds()), tolerance.as_secs());
    if by <= tolerance { Ok(()) } else { Err(NotVerified::Stale { timestamp, by, tolerance }) }
}

/// Remembers which requests came, and no more than it was told to.
#[derive(Debug)]
pub struct Seen {
    capacity: usize,
    keep: Duration,
    until: HashMap<[u8; 32], u64>,
    first_to_go: BTreeSet<(u64, [u8; 32])>,
}

/// Whether a request came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It did not: act on it.
    First,
    /// It did, be it a replay or a sender that did not hear the answer: answer as before, and do nothing.
    Again,
}

/// More requests came than can be remembered: whether this one came before is not known, so it must not be acted on. Answer
/// 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {capacity} places for requests that came are taken")]
pub struct SeenFull {
    capacity: usize,
}

impl Seen {
    /// Remembers up to `capacity` requests, each as long as it verifies, and at least for the time `keep`: senders that did
    /// not hear the answer come again after more than the tolerance, with a new timestamp.
    pub fn new(capacity: usize, keep: Duration) -> Self {
        Self { capacity, keep, until: HashMap::new(), first_to_go: BTreeSet::new() }
    }

    /// Notes a request that came at the time `now`.
    ///
    /// # Errors
    /// [`SeenFull`].
    pub fn note(&mut self, verified: &Verified, now: UnixMillis) -> Result<Arrival, SeenFull> {
        self.forget(now.seconds());
        let until = verified.until.max(now.seconds().saturating_add(self.keep.as_secs()));
        let before = self.until.get(&verified.key).copied();
        if before.is_none() && self.until.len() >= self.capacity {
            return Err(SeenFull { capacity: self.capacity });
        }
        if let Some(before) = before {
            self.first_to_go.remove(&(before, verified.key));
        }
        let until = until.max(before.unwrap_or_default());
        self.until.insert(verified.key, until);
        self.first_to_go.insert((until, verified.key));
        Ok(if before.is_some() { Arrival::Again } else { Arrival::First })
    }

    fn forget(&mut self, now: u64) {
        while let Some(&(until, key)) = self.first_to_go.first()
            && until < now
        {
            self.first_to_go.pop_first();
            self.until.remove(&key);
        }
    }
}
