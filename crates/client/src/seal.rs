//! Salted commitments to payloads.

use counterfoil_keys::random_salt;
use counterfoil_receipt::{Opening, body::Item, field::Count, limits::PAYLOAD_BYTES, text::Label};

use crate::error::ClientError;

/// A payload: what a record names, and what opens it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// For the record.
    pub item: Item,
    /// For whoever may see the content; the log's server keeps it until it is erased.
    pub opening: Opening,
}

/// Commits to `content` under a fresh salt of 32 random bytes.
///
/// # Errors
/// [`ClientError::Random`] if the system gives no randomness, [`ClientError::Misuse`] for content over 4 MiB.
pub fn seal(label: Label, media_type: Label, content: Vec<u8>) -> Result<Sealed, ClientError> {
    let size = Some(content.len()).filter(|length| *length <= PAYLOAD_BYTES);
    let size = size.and_then(|length| Count::new(length as u64));
    let too_large = || ClientError::Misuse(format!("payload {label}: more than {PAYLOAD_BYTES} bytes"));
    let size = size.ok_or_else(too_large)?;
    let salt = random_salt().map_err(|error| ClientError::Random(error.to_string()))?;
    let opening = Opening { salt, label: label.clone(), content };
    Ok(Sealed { item: Item { commitment: opening.commitment(), label, media_type, size }, opening })
}
