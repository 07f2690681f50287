//! The channel that sends e-mail: SMTP, encrypted, to one address.
//!
//! One address, because a server refuses a message for one bad recipient of many: every person is told, or is seen not to
//! be, alone.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lettre::Transport as _;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::{Error, SmtpTransport};
use zeroize::Zeroizing;

use crate::channel::{Channel, Delivery, Failure};
use crate::limits;
use crate::message::Message;
use crate::text::is_printable;

/// What an e-mail channel is made of.
#[derive(Clone, Debug)]
pub struct EmailConfig {
    /// The name or IP address of the server, which its certificate has to name.
    pub host: String,
    /// The port, if it is not the usual one.
    pub port: Option<u16>,
    /// How the connection is protected.
    pub security: Security,
    /// Who we are to the server, if it wants to know.
    pub login: Option<Login>,
    /// Roots that certify the server besides those of the web, in PEM: a company's own.
    pub roots: Option<Vec<u8>>,
    /// The sender: `a@b.example`, or `Name <a@b.example>`.
    pub from: String,
    /// The one who is told.
    pub to: String,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte (RFC 8314), on port 465.
    Tls,
    /// It begins unencrypted and nothing is said until it is not, on port 587. A server without STARTTLS gets nothing.
    StartTls,
    /// Not at all, on port 25, and only to this machine.
    UnencryptedOnLoopback,
}

/// A user and a password.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password, which is wiped from memory when this is dropped.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why there is no such e-mail channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmailError {
    /// It is no address of ASCII, or would break a header.
    #[error("{address:?} is no e-mail address, such as a@b.example or Name <a@b.example>")]
    Address {
        /// What was given.
        address: String,
    },
    /// Unencrypted to another machine.
    #[error("{host} is another machine: e-mail is sent unencrypted to 127.0.0.0/8, ::1 and localhost only")]
    NotLoopback {
        /// The server.
        host: String,
    },
    /// The server's name or the roots can't be used.
    #[error("TLS to {host} can't be set up: {why}")]
    Tls {
        /// The server.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// The PEM holds no certificate.
    #[error("the roots for {host} hold no certificate in PEM")]
    NoRoots {
        /// The server.
        host: String,
    },
}

/// Sends each message to one address.
pub struct Email {
    transport: SmtpTransport,
    host: String,
    from: Mailbox,
    to: Mailbox,
}

impl Email {
    /// Nothing is connected to yet.
    ///
    /// # Errors
    /// [`EmailError`].
    pub fn new(config: EmailConfig) -> Result<Self, EmailError> {
        let EmailConfig { host, port, security, login, roots, from, to } = config;
        let (from, to) = (mailbox(from)?, mailbox(to)?);
        let (tls, usual_port) = match security {
            Security::Tls => (Tls::Wrapper(tls(&host, roots.as_deref())?), 465),
            Security::StartTls => (Tls::Required(tls(&host, roots.as_deref())?), 587),
            Security::UnencryptedOnLoopback if !is_loopback(&host) => {
                return Err(EmailError::NotLoopback { host });
            }
            Security::UnencryptedOnLoopback => (Tls::None, 25),
        };
        // `builder_dangerous` sets nothing; the protection is set here.
        let mut builder = SmtpTransport::builder_dangerous(host.as_str())
            .port(port.unwrap_or(usual_port))
            .tls(tls)
            .timeout(Some(limits::SMTP_TIME));
        if let Some(Login { user, password }) = login {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        Ok(Self { transport: builder.build(), host, from, to })
    }

    fn mail(&self, delivery: &Delivery<'_>) -> Result<Mail, lettre::error::Error> {
        let message = delivery.message;
        let id = format!("<{}@{}>", delivery.id, self.from.email.domain());
        let mut mail = Mail::builder()
            .from(self.from.clone())
            .to(self.to.clone())
            .subject(format!("[{}] {}", message.kind(), plain(message.title())))
            .message_id(Some(id))
            .date(date(delivery.at.0))
            .header(ContentType::TEXT_PLAIN)
            .body(text(delivery))?;
        // So that no machine answers (RFC 3834).
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        mail.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Ok(mail)
    }

    fn failed(&self, error: &Error) -> Failure {
        let why = match error.status() {
            Some(code) => format!("{}: SMTP {code}: {}", self.host, reason(error)),
            None => format!("{}: {}", self.host, reason(error)),
        };
        // Who we are is settled by the operator while the message waits; so is everything that is no answer at all.
        let is_about_us =
            error.status().is_some_and(|code| ["530", "534", "535", "538"].contains(&&*code.to_string()));
        if error.is_permanent() && !is_about_us { Failure::never(&why) } else { Failure::retry(&why) }
    }
}

impl Channel for Email {
    fn deliver(&mut self, delivery: &Delivery<'_>) -> Result<(), Failure> {
        let mail = self.mail(delivery).map_err(|error| Failure::never(&format!("no e-mail: {error}")))?;
        self.transport.send(&mail).map(drop).map_err(|error| self.failed(&error))
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, from, to, transport: _ } = self;
        f.debug_struct("Email")
            .field("host", host)
            .field("from", from)
            .field("to", to)
            .finish_non_exhaustive()
    }
}

/// The text, the fields one to a line, the link, and what identifies it.
fn text(delivery: &Delivery<'_>) -> String {
    let message: &Message = delivery.message;
    let fields: String =
        message.fields().iter().map(|field| format!("{}: {}\n", field.name, field.value)).collect();
    let url = message.url().map(|url| format!("{url}\n")).unwrap_or_default();
    let paragraphs = [message.text().trim_end(), fields.trim_end(), url.trim_end()];
    let mut text: String =
        paragraphs.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n\n")).collect();
    text.push_str(&format!("-- \n{}, delivery {}", message.id(), delivery.id));
    text
}

/// What a mail program would decode (RFC 2047) is spelled out: it could become anything there.
fn plain(title: &str) -> String {
    title.replace("=?", "=\\u{3f}")
}

fn date(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// An error with what caused it: what the server said stands there.
fn reason(error: &Error) -> String {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !reason.contains(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        source = cause.source();
    }
    reason
}

/// An address of ASCII, perhaps with a printable name.
fn mailbox(address: String) -> Result<Mailbox, EmailError> {
    let mailbox = address.parse::<Mailbox>().ok();
    let is_plain =
        |mailbox: &Mailbox| mailbox.email.to_string().is_ascii() && address.chars().all(is_printable);
    mailbox.filter(is_plain).ok_or(EmailError::Address { address })
}

fn tls(host: &str, roots: Option<&[u8]>) -> Result<TlsParameters, EmailError> {
    let failed = |error: Error| EmailError::Tls { host: host.to_owned(), why: reason(&error) };
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(roots) = roots {
        // A PEM without a certificate would be taken for none at all.
        if !roots.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
            return Err(EmailError::NoRoots { host: host.to_owned() });
        }
        parameters = parameters.add_root_certificate(Certificate::from_pem(roots).map_err(failed)?);
    }
    parameters.build().map_err(failed)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
