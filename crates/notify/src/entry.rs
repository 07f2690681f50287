//! One line of the outbox's file.
//!
//! A line is a JSON object that ends in `,"sum":"…"}`: the first 8 bytes, in hex, of the SHA-256 of the sum of the line
//! before (eight zero bytes before the first) and all that stands before `,"sum"`. So a line that was changed, left out,
//! repeated or moved is noticed. It is no protection from whoever may write the file.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::UnixMillis;
use crate::message::{ChannelName, Message, canonical};
use crate::secret::to_hex;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Entry {
    /// The first line: what the file is.
    Outbox { format: Format },
    /// These wait from now on.
    Enqueued { at: UnixMillis, messages: Vec<Addressed> },
    /// A try failed; there will be another.
    Failed {
        at: UnixMillis,
        channel: ChannelName,
        failures: u32,
        id: String,
        not_before: UnixMillis,
        why: String,
    },
    /// These are over.
    Settled { at: UnixMillis, deliveries: Vec<Settled> },
    /// What is known of a channel besides, where the file was written anew: it stands for all lines before it.
    Channel { channel: ChannelName, delivered: u64, given_up: u64, last_error: Option<LastError> },
}

/// The version of the file's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    #[serde(rename = "counterfoil-outbox/1")]
    V1,
}

/// A message, and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addressed {
    /// The channels on which it is told.
    pub channels: Vec<ChannelName>,
    /// What is told.
    pub message: Message,
}

/// A delivery that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settled {
    pub channel: ChannelName,
    pub id: String,
    pub not_after: UnixMillis,
    pub outcome: Outcome,
    /// Why it was given up.
    pub why: Option<String>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The channel took it.
    Delivered,
    /// Its time was over, or would have been before another try.
    Expired,
    /// It failed too often.
    Exhausted,
    /// The far side will not have it.
    Refused,
}

/// What went wrong last on a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastError {
    /// When.
    pub at: UnixMillis,
    /// The message.
    pub id: String,
    /// What: one line.
    pub why: String,
}

/// The sum of a line; zeros before the first.
pub(crate) type Sum = [u8; 8];

const SUM_START: &[u8] = b",\"sum\":\"";
/// With its 16 digits, `"` and `}`.
const SUM_BYTES: usize = SUM_START.len() + 18;

impl Entry {
    /// The line, without its end, and its sum.
    pub fn to_line(&self, before: Sum) -> (String, Sum) {
        let mut line = canonical(self);
        line.pop();
        let sum = sum_of(before, line.as_bytes());
        line.push_str(&format!(",\"sum\":\"{}\"}}", to_hex(&sum)));
        (line, sum)
    }

    /// Reads a line, without its end. `None` if its sum is not that.
    pub fn read(line: &[u8], before: Sum) -> Option<(Result<Self, serde_json::Error>, Sum)> {
        let body = line.len().checked_sub(SUM_BYTES).and_then(|at| line.get(..at))?;
        let sum = sum_of(before, body);
        let mut whole = body.to_vec();
        whole.extend_from_slice(SUM_START);
        whole.extend_from_slice(to_hex(&sum).as_bytes());
        whole.extend_from_slice(b"\"}");
        if whole != line {
            return None;
        }
        whole.truncate(body.len());
        whole.push(b'}');
        Some((serde_json::from_slice(&whole), sum))
    }
}

fn sum_of(before: Sum, body: &[u8]) -> Sum {
    let digest = Sha256::new().chain_update(before).chain_update(body).finalize();
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_and_follows_the_one_before() {
        let first = Entry::Outbox { format: Format::V1 };
        let (line, sum) = first.to_line(Sum::default());
        assert_eq!(line, r#"{"entry":"outbox","format":"counterfoil-outbox/1","sum":"5c6d75f320a3eae2"}"#);
        let (read, read_sum) = Entry::read(line.as_bytes(), Sum::default()).unwrap();
        assert_eq!((read.unwrap(), read_sum), (first, sum));
        let second = Entry::Settled { at: UnixMillis(1), deliveries: Vec::new() };
        let (line, _) = second.to_line(sum);
        assert!(Entry::read(line.as_bytes(), sum).is_some());
        assert!(Entry::read(line.as_bytes(), Sum::default()).is_none(), "the line before is gone");
    }

    #[test]
    fn a_line_that_is_not_whole_has_no_sum() {
        let (line, _) = Entry::Outbox { format: Format::V1 }.to_line(Sum::default());
        for end in 0..line.len() {
            assert!(Entry::read(&line.as_bytes()[..end], Sum::default()).is_none(), "{end}");
        }
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            assert!(Entry::read(&bytes, Sum::default()).is_none(), "{at}");
        }
    }
}
