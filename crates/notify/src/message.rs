//! What is told: a message, in a form that no channel can misread.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::UnixMillis;
use crate::limits;
use crate::text::is_printable;

/// A message as somebody wrote it. [`Message::new`] checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnverifiedMessage {
    /// What the text is about, as names and values, to be shown as a table.
    pub fields: Vec<Field>,
    /// What makes two messages the same one: 1–128 of `A–Z a–z 0–9 - . _ ~`.
    pub id: String,
    /// What has happened.
    pub kind: Kind,
    /// After this time nobody needs to be told any more.
    pub not_after: UnixMillis,
    /// Some lines of plain text; may be empty.
    pub text: String,
    /// One line.
    pub title: String,
    /// Where to read on: http or https.
    pub url: Option<String>,
}

/// A message that every channel can show: no field has a character that is not [printable](is_printable), but line feeds and
/// tabs in the text, and all are within [`limits`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UnverifiedMessage", into = "UnverifiedMessage")]
pub struct Message(UnverifiedMessage);

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// One line, not empty.
    pub name: String,
    /// One line; may be empty.
    pub value: String,
}

/// What a message is about. Receivers get to know more kinds with time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Somebody has to decide.
    Requested,
    /// Somebody has to decide still.
    Reminded,
    /// Nobody decided in time, and now others have to.
    Escalated,
    /// Somebody decided.
    Decided,
    /// What was asked for was withdrawn, or its time is over.
    Cancelled,
    /// What was approved was executed, or failed.
    Executed,
    /// A run is over.
    Ended,
    /// The operator tries a channel.
    Test,
}

impl Kind {
    /// Its spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Reminded => "reminded",
            Self::Escalated => "escalated",
            Self::Decided => "decided",
            Self::Cancelled => "cancelled",
            Self::Executed => "executed",
            Self::Ended => "ended",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a message is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The id is not spelled so that it can stand everywhere.
    #[error("{0:?} is no id of a message: 1–{max} of A–Z a–z 0–9 - . _ ~", max = limits::ID_CHARS)]
    Id(String),
    /// A part is too long, or empty where it must not be.
    #[error("the message's {part} has {bytes} bytes: {min}–{max} are allowed")]
    Length {
        /// Which.
        part: &'static str,
        /// How long it is.
        bytes: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// A part has a character that does not show as itself.
    #[error(
        "the message's {part} holds {character:?}, which is not printable: clean it with text::line or text::lines"
    )]
    Unprintable {
        /// Which.
        part: &'static str,
        /// The first such character.
        character: char,
    },
    /// There are too many fields.
    #[error("the message has {count} fields: {max} are allowed", max = limits::FIELDS)]
    Fields {
        /// How many.
        count: usize,
    },
    /// The URL is none that can be shown as a link.
    #[error("{0:?} is no http or https URL of printable ASCII without spaces, quotes, < > | \\ ^ ` {{ }}")]
    Url(String),
    /// The time can't be spelled in JSON.
    #[error("not_after is {0} ms, which is after the year 287396")]
    NotAfter(u64),
}

impl Message {
    /// Checks a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn new(message: UnverifiedMessage) -> Result<Self, MessageError> {
        let UnverifiedMessage { fields, id, not_after, text, title, url, kind: _ } = &message;
        check_id(id)?;
        check_line("title", title, 1, limits::TITLE_BYTES)?;
        check("text", text, 0, limits::TEXT_BYTES, |c| is_printable(c) || matches!(c, '\n' | '\t'))?;
        if fields.len() > limits::FIELDS {
            return Err(MessageError::Fields { count: fields.len() });
        }
        for Field { name, value } in fields {
            check_line("field name", name, 1, limits::FIELD_NAME_BYTES)?;
            check_line("field value", value, 0, limits::FIELD_VALUE_BYTES)?;
        }
        if let Some(url) = url.as_ref().filter(|url| !is_link(url)) {
            return Err(MessageError::Url(url.clone()));
        }
        if *not_after > UnixMillis::LATEST {
            return Err(MessageError::NotAfter(not_after.0));
        }
        let message = Self(message);
        let (bytes, max) = (message.to_line().len(), limits::MESSAGE_BYTES);
        if bytes > max {
            return Err(MessageError::Length { part: "canonical form", bytes, min: 0, max });
        }
        Ok(message)
    }

    /// Its canonical form (RFC 8785): one line, without its end.
    pub fn to_line(&self) -> String {
        canonical(&self.0)
    }

    /// What makes two messages the same one.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// What has happened.
    pub const fn kind(&self) -> Kind {
        self.0.kind
    }

    /// One line.
    pub fn title(&self) -> &str {
        &self.0.title
    }

    /// Some lines, or none.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Names and values.
    pub fn fields(&self) -> &[Field] {
        &self.0.fields
    }

    /// Where to read on.
    pub fn url(&self) -> Option<&str> {
        self.0.url.as_deref()
    }

    /// The last time at which somebody needs to be told.
    pub const fn not_after(&self) -> UnixMillis {
        self.0.not_after
    }
}

impl TryFrom<UnverifiedMessage> for Message {
    type Error = MessageError;

    fn try_from(message: UnverifiedMessage) -> Result<Self, MessageError> {
        Self::new(message)
    }
}

impl From<Message> for UnverifiedMessage {
    fn from(message: Message) -> Self {
        message.0
    }
}

/// The name of a channel: 1–64 of `a–z 0–9 - _`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(std::sync::Arc<str>);

/// No name of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a channel: 1–{max} of a–z 0–9 - _, the first a letter or digit", max = limits::CHANNEL_CHARS)]
pub struct ChannelNameError(String);

impl ChannelName {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;

    fn from_str(name: &str) -> Result<Self, ChannelNameError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_name = (1..=limits::CHANNEL_CHARS).contains(&name.len())
            && name.bytes().all(inner)
            && !name.starts_with(['-', '_']);
        if is_name { Ok(Self(name.into())) } else { Err(ChannelNameError(name.to_owned())) }
    }
}

impl TryFrom<String> for ChannelName {
    type Error = ChannelNameError;

    fn try_from(name: String) -> Result<Self, ChannelNameError> {
        name.parse()
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// JSON with the members of each object in the order in which its type declares them. For a type that declares them in the
/// order of the alphabet and has no fractions, this is the form of RFC 8785.
pub(crate) fn canonical(value: &impl Serialize) -> String {
    // Structs of strings, whole numbers and lists of such always serialise.
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn check_id(id: &str) -> Result<(), MessageError> {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if (1..=limits::ID_CHARS).contains(&id.len()) && id.bytes().all(is_safe) {
        Ok(())
    } else {
        Err(MessageError::Id(id.to_owned()))
    }
}

fn check_line(part: &'static str, text: &str, min: usize, max: usize) -> Result<(), MessageError> {
    check(part, text, min, max, is_printable)
}

fn check(
    part: &'static str,
    text: &str,
    min: usize,
    max: usize,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), MessageError> {
    if !(min..=max).contains(&text.len()) {
        return Err(MessageError::Length { part, bytes: text.len(), min, max });
    }
    match text.chars().find(|character| !is_allowed(*character)) {
        None => Ok(()),
        Some(character) => Err(MessageError::Unprintable { part, character }),
    }
}

/// Whether nothing in it ends a link, in any of the places where links are put.
fn is_link(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    url.len() <= limits::URL_BYTES
        && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>|\\^`{}".contains(&byte))
}
