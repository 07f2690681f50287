//! Tells people what waits for them.
//!
//! An [`Outbox`] keeps messages on disk until each of their channels took them, or their time is over; [`Couriers`] deliver
//! them, one thread for each channel. A channel is what implements [`Channel`]: [`Webhook`], [`Slack`], [`Email`] and
//! [`Terminal`] are here. Nothing that was enqueued is lost by a crash. It is told at least once, and again only if a crash
//! fell between telling it and writing that down, or a far side did not answer: then with the same [`DeliveryId`].
//!
//! Whoever receives webhooks verifies them with [`signature`]; `docs/notifications.md` says how they look.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use counterfoil_notify::*;
//!
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let terminal: Box<dyn Channel> = Box::new(Terminal::new(std::io::stderr()));
//! let outbox = Outbox::open(dir, vec![("terminal".parse()?, terminal)], Config::default())?;
//! let outbox = Arc::new(outbox);
//! let couriers = Couriers::start(Arc::clone(&outbox))?;
//!
//! let message = Message::new(UnverifiedMessage {
//!     id: "proposal-7.requested".to_owned(),
//!     kind: Kind::Requested,
//!     title: text::line("Deploy to production?", limits::TITLE_BYTES),
//!     text: String::new(),
//!     fields: vec![Field { name: "tool".to_owned(), value: "deploy".to_owned() }],
//!     url: None,
//!     not_after: UnixMillis(4_102_444_800_000),
//! })?;
//! let message = Addressed { channels: vec!["terminal".parse()?], message };
//! assert_eq!(outbox.enqueue(&[message.clone()])?.new, 1);
//! assert_eq!(outbox.enqueue(&[message])?.known, 1);
//! # drop(couriers);
//! # Ok(())
//! # }
//! ```

mod backoff;
mod channel;
mod clock;
mod couriers;
mod email;
mod entry;
mod error;
mod journal;
pub mod limits;
mod message;
mod outbox;
mod post;
mod queue;
mod secret;
pub mod signature;
mod slack;
mod terminal;
pub mod text;
mod webhook;

pub use backoff::Retries;
pub use channel::{Channel, Delivery, DeliveryId, Failure};
pub use clock::{Clock, Random, UnixMillis, system_clock, system_random};
pub use couriers::Couriers;
pub use email::{Email, EmailConfig, EmailError, Login, Security};
pub use entry::{Addressed, LastError, Outcome};
pub use error::OutboxError;
pub use journal::Work;
pub use message::{ChannelName, ChannelNameError, Field, Kind, Message, MessageError, UnverifiedMessage};
pub use outbox::{ChannelStatus, Config, Enqueued, Outbox, Status, Step};
pub use post::UrlError;
pub use secret::{Secret, SecretError};
pub use slack::Slack;
pub use terminal::Terminal;
pub use webhook::{Webhook, WebhookError};
