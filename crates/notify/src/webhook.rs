//! The channel that posts JSON to somebody's server, signed. `docs/notifications.md` says how it looks there.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::channel::{Channel, Delivery, Failure};
use crate::limits;
use crate::message::{Message, canonical};
use crate::post::{Target, UrlError};
use crate::secret::Secret;
use crate::signature;

/// Posts each message to one URL.
pub struct Webhook {
    target: Target,
    secrets: Vec<Secret>,
}

/// Why there is no such webhook.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// Nothing can be posted there.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Nothing would sign, or more than receivers look at.
    #[error("a webhook has 1–{max} secrets, this one has {count}", max = limits::SIGNATURES)]
    Secrets {
        /// How many.
        count: usize,
    },
}

/// What is posted. The same at every try.
#[derive(Serialize)]
struct Body<'a> {
    delivery: String,
    format: &'static str,
    message: &'a Message,
}

impl Webhook {
    /// Posts to this URL. Each request is signed with every secret: while a secret is rotated, with the old and the new one.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn new(url: &str, secrets: Vec<Secret>) -> Result<Self, WebhookError> {
        let count = secrets.len();
        if !(1..=limits::SIGNATURES).contains(&count) {
            return Err(WebhookError::Secrets { count });
        }
        Ok(Self { target: Target::new(url)?, secrets })
    }

    /// How long one delivery may take; [`limits::HTTP_TIME`] if nothing is said.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { target: self.target.with_timeout(timeout), ..self }
    }
}

impl Channel for Webhook {
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure> {
        let id = delivery.id.to_string();
        let body = body(delivery);
        let timestamp = delivery.at.seconds().to_string();
        let signature = signature::sign(&self.secrets, &timestamp, &id, body.as_bytes());
        let headers = [
            ("Counterfoil-Delivery", id.as_str()),
            ("Counterfoil-Timestamp", &timestamp),
            ("Counterfoil-Signature", &signature),
        ];
        self.target.post(&headers, &body)
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("host", &self.target.host()).finish_non_exhaustive()
    }
}

fn body(delivery: &Delivery<'_>) -> String {
    canonical(&Body {
        delivery: delivery.id.to_string(),
        format: "counterfoil-notification/1",
        message: delivery.message,
    })
}
